internal import Basics

/// A node whose log ends before what it has promised to hold, and knows it: damage has taken the end, and nobody who
/// could be asked had the same entries. It runs on what is left, and is bound by its promise:
/// 1. n1, n2 and n3 vote; n1 leads, n2 acknowledges entry 9 of term 3, which is thereby committed. 2. n2 loses 6 to 9 to
/// damage. 3. n1 fails. 4. n3, which ends at 5, asks for votes. 5. With n2's it would lead, and entry 9 be lost.
/// So it votes as though its log still ended at 3/9: that refuses whoever may lack what is committed, and still elects
/// whoever has it all. It acknowledges only what it holds, like everybody. It does not campaign before it holds what it
/// had promised, or what a later leader has put in its place: as of then its log is what it would be without the damage.
extension Raft {
    package var holdsPromised: Bool { lastDurableEntry >= promised }
}
