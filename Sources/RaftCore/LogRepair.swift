package import Basics

/// What a node whose log has a hole asks the others. The hole was there once, whole, so its log is known by any entry
/// behind the hole: whoever has an entry of the same index and term has the same entries before it (Raft §5.3, Log
/// Matching), committed or not, leader or not.
package struct RepairQuestion: Hashable, Sendable {
    package var wanted: ClosedRange<LogIndex>
    /// An entry of the asking log at or behind the end of the hole; zero when none is known.
    package var anchor: EntryID
    /// The last entry that the asking node has promised to hold.
    package var last: EntryID

    package init(wanted: ClosedRange<LogIndex>, anchor: EntryID, last: EntryID) {
        self.wanted = wanted
        self.anchor = anchor
        self.last = last
    }

    /// What makes the entries of the asked log those that are wanted.
    /// - Parameters:
    ///   - committed: the asked node knows everything through here to be committed.
    ///   - term: of an entry of the asked log; nil where that is not known.
    package func basis(committed: LogIndex, term: (LogIndex) -> Term?) -> RepairBasis {
        for known in [anchor, last]
        where known.index >= wanted.upperBound && known.term > .zero && term(known.index) == known.term {
            return .sameLog
        }
        return wanted.upperBound <= committed ? .committed : .nothing
    }
}

/// Numbers are forever.
package enum RepairBasis: UInt8, Hashable, Sendable, CaseIterable {
    /// The asked node does not have them, or cannot know whether they are the same.
    case nothing = 0
    /// Both logs have an entry in common that comes after them.
    case sameLog = 1
    /// They are committed: so they are what stood there, or what must stand there.
    case committed = 2
}

/// What goes with the entries, or stands instead of them.
package struct RepairAnswer: Hashable, Sendable {
    /// Index of the first record that follows, or of what was asked for.
    package var first: LogIndex
    package var basis: RepairBasis
    /// The asked node lacks nothing that it has promised to hold.
    package var isWhole: Bool
    /// Its last durable entry.
    package var last: EntryID
    /// The entry that its log begins behind, which its state has taken in; zero when it has no state to give.
    package var beginning: EntryID

    package init(first: LogIndex, basis: RepairBasis, isWhole: Bool, last: EntryID, beginning: EntryID = .zero) {
        self.first = first
        self.basis = basis
        self.isWhole = isWhole
        self.last = last
        self.beginning = beginning
    }
}

/// How far one node has gone, for another that does not know any more what it has promised itself.
package struct KnownPromises: Hashable, Sendable {
    package var currentTerm: Term
    /// The last entry of its log, durable or not.
    package var last: EntryID
    /// Of the members that it names; zero when it names none.
    package var configurationIndex: LogIndex

    package init(currentTerm: Term, last: EntryID, configurationIndex: LogIndex) {
        self.currentTerm = currentTerm
        self.last = last
        self.configurationIndex = configurationIndex
    }
}
