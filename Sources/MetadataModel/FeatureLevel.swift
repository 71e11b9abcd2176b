/// What may stand in the log. A node that meets a command which it does not know cannot go on; so a command is logged
/// only once every member is known to understand it, and which commands those are is told by one number that only rises:
/// the cluster's feature level, a row of the state. Each member reports the highest level that its release knows, the
/// leader raises the cluster to what all of them know, and refuses what is above.
///
///     1   puts, deletes and transactions over records, sessions, members
///     2   rows that go with their session, elections, locks, fences, the State API, history
///     3   the masters' registry
package enum FeatureLevel {
    /// That of a cluster of which nothing else is known.
    package static let first: UInt32 = 1
    /// The highest that this release knows.
    package static let known: UInt32 = 3

    /// The level that a command needs: the only place that says so.
    /// - Parameter ownsRows: its body may put rows that go with the session.
    static func needed(by header: CommandHeader, ownsRows: Bool) -> UInt32 {
        guard header.kind != .registry else { return 3 }
        guard !ownsRows, header.guards.isEmpty else { return 2 }
        return switch header.kind {
        case .put, .delete, .deleteRange, .createSequential, .transaction, .endSession: 1
        case .expireSessions, .tick, .digestVerdict, .deleteFloor, .memberInfo, .featureLevel: 1
        case .createOwnedSequential, .campaign, .withdraw, .setCandidateData, .acquireLock, .releaseLock, .stateSet,
            .stateExpunge, .setHistory:
            2
        case .registry: 3
        }
    }
}

/// What a node's state is measured by.
package struct FeatureLevels: Hashable, Sendable {
    /// The highest that the node's release knows: a state above it cannot be gone on from.
    package var known: UInt32
    /// That of a state to which nothing was applied yet: the cluster was founded at it.
    package var founding: UInt32

    package init(known: UInt32 = FeatureLevel.known, founding: UInt32 = FeatureLevel.first) {
        self.known = known
        self.founding = founding
    }

    /// Why the node cannot go on with a state, or a log, at `level`; nil when it can.
    package func refusal(of level: UInt32) -> String? {
        guard level > known else { return nil }
        return "the cluster is at feature level \(level), and this release knows no higher one than \(known): start the node "
            + "with the release that it ran before, or a newer one"
    }
}
