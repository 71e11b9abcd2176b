internal import Basics
internal import MetadataModel
internal import Wire

/// What one node says of itself, and of the members if it leads.
public struct NodeReport: Hashable, Sendable {
    public struct Digest: Hashable, Sendable {
        public var index: UInt64
        public var digest: UInt64
    }

    public struct Member: Hashable, Sendable {
        public var id: UInt64
        public var name: String
        public var peerAddress: String
        /// Empty when the node that answers does not know it.
        public var clientAddress: String
        public var softwareVersion: String
        public var isVoter: Bool
        /// Only in the leader's report.
        public var progress: Progress?
    }

    public struct Progress: Hashable, Sendable {
        public var isReachable: Bool
        public var state: String
        public var matchIndex: UInt64
        public var appliedIndex: UInt64
        public var lag: UInt64
    }

    public struct Alarm: Hashable, Sendable {
        public var name: String
        /// The member that it is about.
        public var node: String
        /// When it was first seen, in nanoseconds since 1970.
        public var since: UInt64
        /// Its cause goes on. False: it is over, and the alarm stands until it is cleared.
        public var isActive: Bool
        public var detail: String
        /// What to do.
        public var remedy: String
    }

    /// Nil while the node belongs to no cluster.
    public var clusterID: UInt64?
    public var generation: UInt64?
    public var id: UInt64
    public var name: String
    /// "leader", "follower", "candidate", "learner"; nil while the node belongs to no cluster.
    public var role: String?
    /// "ok", "quarantined", "repairing", "diskLow", "waiting", "stopping", "regressed".
    public var state: String
    public var term: UInt64
    public var commitIndex: UInt64
    public var appliedIndex: UInt64
    public var firstIndex: UInt64
    public var lastIndex: UInt64
    /// At the last multiples of 4,096 that the node has applied, oldest first.
    public var digests: [Digest]
    public var diskUsed: UInt64
    public var diskFree: UInt64
    public var softwareVersion: String
    public var uptimeSeconds: UInt64
    public var clientAddress: String
    public var peerAddress: String
    /// Name and client address of the leader, as far as the node knows.
    public var leaderName: String?
    public var leaderAddress: String?
    public var members: [Member]
    /// What a person should look at, as this node sees it.
    public var alarms: [Alarm] = []
    /// The oldest revision that a watch may begin with at this node; nil where it does not say.
    public var feedFloor: UInt64?
}

extension NodeReport {
    init(_ reply: StatusReply) {
        let node = reply.node
        self.init(
            clusterID: reply.identity?.id, generation: reply.identity?.generation, id: node.id.rawValue,
            name: node.name, role: node.role == .none ? nil : "\(node.role)", state: "\(node.state)",
            term: node.term.rawValue, commitIndex: node.commitIndex.rawValue, appliedIndex: node.lastApplied.rawValue,
            firstIndex: node.firstIndex.rawValue, lastIndex: node.lastIndex.rawValue,
            digests: node.digests.map { Digest(index: $0.index.rawValue, digest: $0.digest) },
            diskUsed: node.diskUsed, diskFree: node.diskFree, softwareVersion: node.softwareVersion,
            uptimeSeconds: node.uptimeSeconds, clientAddress: node.clientAddress, peerAddress: node.peerAddress,
            leaderName: reply.leader?.name, leaderAddress: reply.leader?.clientAddress,
            members: reply.members.map(Member.init),
            alarms: reply.alarms.map { alarm in
                Alarm(
                    name: alarm.name, node: alarm.node, since: alarm.since.nanoseconds, isActive: alarm.isActive,
                    detail: alarm.detail, remedy: alarm.remedy)
            },
            feedFloor: reply.feedFloor == .zero ? nil : reply.feedFloor.rawValue)
    }
}

extension NodeReport.Member {
    init(_ member: MemberStatus) {
        self.init(
            id: member.id.rawValue, name: member.name, peerAddress: member.peerAddress,
            clientAddress: member.clientAddress, softwareVersion: member.softwareVersion, isVoter: member.isVoter,
            progress: member.progress.map {
                NodeReport.Progress(
                    isReachable: $0.isReachable, state: "\($0.state)", matchIndex: $0.matchIndex.rawValue,
                    appliedIndex: $0.lastApplied.rawValue, lag: $0.lag)
            })
    }
}
