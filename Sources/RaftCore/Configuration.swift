package import Basics

/// Who votes and who listens (Raft §6). Simple while `outgoing` is empty, joint otherwise: then a decision needs a
/// majority of `incoming` and a majority of `outgoing`.
/// Invariant: each list is sorted and free of duplicates; a learner is in neither voter list.
package struct Configuration: Hashable, Sendable {
    package private(set) var incoming: [NodeID]
    package private(set) var outgoing: [NodeID]
    package private(set) var learners: [NodeID]

    package init(incoming: [NodeID], outgoing: [NodeID] = [], learners: [NodeID] = []) {
        func normalized(_ list: [NodeID]) -> [NodeID] {
            var result: [NodeID] = []
            for id in list.sorted() where result.last != id { result.append(id) }
            return result
        }
        self.incoming = normalized(incoming)
        self.outgoing = normalized(outgoing)
        self.learners = normalized(learners)
        invariant(
            self.learners.allSatisfy { !self.incoming.contains($0) && !self.outgoing.contains($0) },
            "a learner is a voter too: \(self)")
    }

    package var isJoint: Bool { !outgoing.isEmpty }

    /// Every voter of either half, sorted.
    package var voters: [NodeID] {
        outgoing.isEmpty ? incoming : Configuration(incoming: incoming + outgoing).incoming
    }

    /// Voters and learners, sorted.
    package var members: [NodeID] { Configuration(incoming: voters + learners).incoming }

    package func isVoter(_ id: NodeID) -> Bool { incoming.contains(id) || outgoing.contains(id) }
    package func isLearner(_ id: NodeID) -> Bool { learners.contains(id) }
    package func contains(_ id: NodeID) -> Bool { isVoter(id) || isLearner(id) }
}

/// A configuration and the log entry that holds it; in force as soon as that entry is appended.
package struct IndexedConfiguration: Hashable, Sendable {
    package var index: LogIndex
    package var configuration: Configuration

    package init(index: LogIndex, configuration: Configuration) {
        self.index = index
        self.configuration = configuration
    }
}

/// Where a snapshot ends: everything through `last` is in it, and so is the configuration in force there (Raft §7).
package struct SnapshotPoint: Hashable, Sendable {
    package var last: EntryID
    package var configuration: IndexedConfiguration

    package init(last: EntryID, configuration: IndexedConfiguration) {
        self.last = last
        self.configuration = configuration
    }
}
