internal import Basics
internal import MetadataModel

/// The leader's tally of what members say their rolling digest was. Once more than half of the voters have reported an
/// index, the verdict is logged, so that every member compares itself at the same place in the log.
struct DigestBallots: ~Copyable {
    private struct Ballot {
        var index: LogIndex
        var votes: [DigestVerdict.Vote]
    }

    private var ballots: [Ballot] = []
    /// Verdicts at or below this have been logged.
    private var decidedThrough = LogIndex.zero
    private static let ballotsMax = 16

    mutating func removeAll() { ballots.removeAll() }

    /// - Returns: the verdict to log, once.
    mutating func note(_ index: LogIndex, _ digest: UInt64, of node: NodeID, voters: [NodeID]) -> DigestVerdict? {
        guard index > decidedThrough, voters.contains(node) else { return nil }
        let position = ballots.firstIndex { $0.index == index } ?? ballots.count
        if position == ballots.count { ballots.append(Ballot(index: index, votes: [])) }
        ballots[position].votes.removeAll { $0.node == node }
        ballots[position].votes.append(DigestVerdict.Vote(node: node, digest: digest))
        ballots[position].votes.sort { $0.node < $1.node }
        let votes = ballots[position].votes.filter { voters.contains($0.node) }
        let majority = majority(of: votes, voterCount: voters.count)
        // A late minority vote is not waited for; a tally without a majority is, because it may still get one.
        guard majority != nil || votes.count == voters.count else {
            if ballots.count > Self.ballotsMax { ballots.removeFirst() }
            return nil
        }
        decidedThrough = index
        ballots.removeAll { $0.index <= index }
        return DigestVerdict(index: index, majority: majority, votes: votes)
    }

    private func majority(of votes: [DigestVerdict.Vote], voterCount: Int) -> UInt64? {
        votes.map(\.digest).first { digest in votes.count { $0.digest == digest } * 2 > voterCount }
    }
}
