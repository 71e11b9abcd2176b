import Basics
import MetadataModel
import RaftCore
import ReplicaCore

extension RestoredReplica {
    /// What a node restores whose log and state are empty, or that holds a log of which nothing is applied.
    static func empty(
        _ membership: Membership, id: UInt64 = 1, generation: UInt64 = 1, needsState: Bool = false,
        log: TermRuns = TermRuns(after: .zero)
    ) -> RestoredReplica {
        RestoredReplica(
            identity: ClusterIdentity(id: 7, generation: generation, generationTag: 0), id: NodeID(id),
            raft: RestoredState(
                hardState: HardState(currentTerm: log.last.term, votedFor: nil), log: log, lastApplied: log.base.index,
                configurations: [IndexedConfiguration(index: .zero, configuration: membership.configuration)]),
            membership: membership, memberInfo: [:], lastTime: .zero, needsState: needsState)
    }
}

extension ReplicaSettings {
    static func ofNode(_ id: UInt64 = 1) -> ReplicaSettings {
        ReplicaSettings(name: "n\(id)", clientAddress: "c:\(id)", peerAddress: "p:\(id)", softwareVersion: "t")
    }
}
