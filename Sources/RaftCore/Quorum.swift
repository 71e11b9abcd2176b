internal import Basics

/// What a majority of each half of a configuration agrees on (Raft §6).
enum Quorum {
    /// The highest value that a majority of every half has reached; nil while nobody votes.
    ///
    /// Compares each voter with each other instead of sorting: a half has a handful of voters, and nothing is
    /// allocated.
    static func reached<Value: Comparable>(in configuration: Configuration, _ value: (NodeID) -> Value) -> Value? {
        let asked = Mutant.countLearners.isOn ? configuration.incoming + configuration.learners : configuration.incoming
        guard let incoming = majority(of: asked, value) else { return nil }
        guard let outgoing = majority(of: configuration.outgoing, value), !Mutant.forgetOldMajority.isOn else {
            return incoming
        }
        return min(incoming, outgoing)
    }

    /// True when a majority of every half satisfies `predicate`.
    static func isReached(in configuration: Configuration, by predicate: (NodeID) -> Bool) -> Bool {
        !configuration.incoming.isEmpty && isMajority(of: configuration.incoming, predicate)
            && (configuration.outgoing.isEmpty || isMajority(of: configuration.outgoing, predicate)
                || Mutant.forgetOldMajority.isOn)
    }

    private static func majority<Value: Comparable>(of voters: [NodeID], _ value: (NodeID) -> Value) -> Value? {
        var best: Value?
        for voter in voters {
            let candidate = value(voter)
            if let best, candidate <= best { continue }
            if isMajority(of: voters, { value($0) >= candidate }) { best = candidate }
        }
        return best
    }

    private static func isMajority(of voters: [NodeID], _ predicate: (NodeID) -> Bool) -> Bool {
        var count = 0
        for voter in voters where predicate(voter) { count += 1 }
        return count > voters.count / 2
    }
}

/// Votes received in one election. A voter's first answer stands.
struct VoteTally: Sendable {
    enum Outcome: Hashable, Sendable { case won, lost, pending }

    private(set) var granted: [NodeID] = []
    private(set) var refused: [NodeID] = []

    mutating func record(_ isGranted: Bool, from voter: NodeID) {
        guard !granted.contains(voter), !refused.contains(voter) else { return }
        if isGranted { granted.append(voter) } else { refused.append(voter) }
    }

    /// `.lost` once those who have not refused are no quorum any more.
    func outcome(in configuration: Configuration) -> Outcome {
        if Quorum.isReached(in: configuration, by: granted.contains) { return .won }
        return Quorum.isReached(in: configuration, by: { !refused.contains($0) }) ? .pending : .lost
    }
}
