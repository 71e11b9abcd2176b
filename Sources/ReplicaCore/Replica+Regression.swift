package import Basics
internal import RaftCore

/// Old copies of data directories, found out by what the others remember.
///
/// Each node remembers how far each other incarnation has acknowledged committed entries to it, and says so in its
/// answer to that one's hello. Committed entries are never cut, so a log that ends before that has lost synced data.
extension Replica {
    /// The highest committed entry that `peer` is known to have had on disk. Its term is zero where this log begins later.
    package func acknowledged(by peer: NodeID) -> EntryID {
        let index = max(acknowledgedByPeers[peer] ?? .zero, acknowledgedInThisReign(by: peer))
        return EntryID(term: raft.term(at: index) ?? .zero, index: index)
    }

    private func acknowledgedInThisReign(by peer: NodeID) -> LogIndex {
        guard raft.isLeader, let progress = raft.peers.first(where: { $0.id == peer }) else { return .zero }
        return min(progress.matchIndex, raft.commitIndex)
    }

    /// To be called now and then: what a leader knows of its followers is gone when its reign ends.
    mutating func rememberAcknowledgements() {
        guard raft.isLeader else { return }
        for peer in raft.peers { acknowledgedByPeers[peer.id] = acknowledged(by: peer.id).index }
    }

    /// To be kept on disk.
    package var acknowledgements: [NodeID: LogIndex] { acknowledgedByPeers }

    /// A peer's hello says where its log ends. A leader that took it to be further must find anew where it is.
    package mutating func peerSaysLast(_ last: EntryID, _ peer: NodeID) {
        guard raft.isLeader else { return }
        // What it has acknowledged and is not committed counts no longer either, but nobody needs to remember that.
        let known = acknowledged(by: peer).index
        if known > .zero { acknowledgedByPeers[peer] = known }
        raft.step(.peerSaysLast(peer, last), now: now)
        drainReady()
    }

    /// A peer's answer to our hello says how far we had acknowledged to it.
    package mutating func toldOfAcknowledgement(_ known: EntryID, by peer: NodeID) {
        // One that knows what it lacks is bound by that already.
        guard raft.last.endsBefore(known), raft.promised.endsBefore(known), known.index > regressedBelow else { return }
        if regressedBelow == .zero {
            effects.notices.append(.regressed(peer: peer, last: raft.lastIndex, acknowledged: known.index))
            raise(.regressed, "its log ended at entry \(raft.last); it had acknowledged through \(known)")
        }
        regressedBelow = known.index
        raft.step(.votingAllowed(false), now: now)
        drainReady()
    }

    /// What is committed and durable here again needs nobody's memory.
    mutating func endRegression() {
        guard regressedBelow > .zero, raft.commitIndex >= regressedBelow, raft.durableIndex >= regressedBelow else {
            return
        }
        effects.notices.append(.caughtUp(through: regressedBelow))
        regressedBelow = .zero
        raft.step(.votingAllowed(true), now: now)
        drainReady()
    }
}
