internal import Basics

/// A node that has lost synced data: its disk lied, or an old copy of its data directory was put back. Its log ends
/// before what it has acknowledged, and others have counted on that:
/// 1. n1, n2 and n3 vote; n1 leads, n2 acknowledges entry 9, which is thereby committed. 2. n2 comes back with a copy
/// of yesterday, which ends at 5. 3. n1 fails. 4. n3, which ends at 5 as well, asks for votes. 5. With n2's it leads,
/// and entry 9 is lost.
/// So it does not vote before it holds again what it had acknowledged. A node that knows which entry it had promised last
/// need not wait for that: see Raft+Damage.
extension Raft {
    mutating func setVotingAllowed(_ isAllowed: Bool) {
        guard isAllowed != votingAllowed else { return }
        votingAllowed = isAllowed
        switch role {
        case .follower:
            // A vote in this term may be among what was lost. Only the leader's is safe to repeat.
            if isAllowed, hardState.votedFor == nil, let leader { hardState.votedFor = leader }
        case .preCandidate, .candidate: if !isAllowed { becomeFollower(term: currentTerm) }
        case .leader: if !isAllowed { becomeFollower(term: currentTerm) }
        }
    }

    /// A peer tells where its log ends. One that holds an entry never ends before it, in the order of terms, then
    /// indexes (Raft §5.4.1), so a leader sees whether it still has what it has acknowledged. What is committed stays
    /// committed; the peer is counted again when it has acknowledged again.
    mutating func peerSaysLast(_ peer: NodeID, _ peerLast: EntryID) {
        guard case .leader(let leader) = role, let position = leader.position(of: peer) else { return }
        let matchIndex = leader.peers[position].matchIndex
        let match = EntryID(term: log.term(at: matchIndex) ?? .zero, index: matchIndex)
        guard peerLast.endsBefore(match) else { return }
        leading.peers[position].becomeRegressed(resumeAfter: min(peerLast.index, lastIndex))
        sendHeartbeat(to: position)
    }
}
