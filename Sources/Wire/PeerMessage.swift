package import Basics
package import MetadataModel
package import RaftCore

/// What one node says to another, besides the bytes that travel with it untouched (log records, a client's command, a
/// reply, a piece of a snapshot): those stand at the end of the frame's body and are handed out as `payload`.
package enum PeerMessage: Hashable, Sendable {
    /// Members that a message may list.
    package static let membersMax = 64
    /// Names, versions and addresses, in bytes.
    package static let textSizeMax = 256
    /// Sessions that one message may list.
    package static let sessionsMax = 4_096

    /// First on a connection, from the side that opened it.
    case hello(PeerHello)
    case helloReply(PeerHelloReply)
    case ping
    case pong
    /// The payload of an AppendEntries with a range: its records, as they are in the log.
    case raft(Message)
    /// Payload: the command, as its client encoded it. `principal` is the client, as the sender authenticated it.
    case forwardedMutation(principal: UInt64)
    /// Payload: the body of the reply for the client.
    case forwardedMutationReply
    case sessionTouches([SessionID])
    case sessionTouchesReply(SessionTouchesReply)
    /// The sender's `changeDigest` at a multiple of `Limits.digestInterval`.
    case digestReport(index: LogIndex, digest: UInt64)
    case memberReport(MemberReport)
    /// Asks for the manifest of the snapshot that ends at `last`, from `offset` on as much as one reply holds. Of term 0:
    /// for that of any snapshot of at least that index. Otherwise `last` is an entry that the sender knows to be committed.
    case snapshotManifest(last: EntryID, offset: UInt32)
    /// Payload: the manifest from `offset` on, of `size` bytes as a whole; empty when the sender does not have that
    /// snapshot.
    case snapshotManifestReply(last: EntryID, offset: UInt32, size: UInt32)
    /// Asks for one chunk of it.
    case snapshotChunk(last: EntryID, number: UInt32)
    /// Payload: the chunk; empty when the sender does not have it.
    case snapshotChunkReply(number: UInt32)
    /// Asks a node whether it may become part of a new cluster of these members.
    case foundingProbe([FoundingMember])
    case foundingProbeReply(FoundingProbeReply)
    /// Payload: the founding record. The node is to make it durable before it answers.
    case foundingCommit
    case foundingCommitReply(FoundingOutcome)
    /// Asks for entries, from the first on as many as one reply holds.
    case logEntries(RepairQuestion)
    /// Payload: records of one term, the first of which is `first`; empty when the sender does not have them, or does
    /// not know whether they are those that are asked for.
    case logEntriesReply(RepairAnswer)
    /// Asks what a node has promised that has lost this of itself.
    case promises
    /// Payload: the members as the sender knows them; empty when it does not.
    case promisesReply(KnownPromises)

    package var kind: PeerFrameKind {
        switch self {
        case .hello, .helloReply: .hello
        case .ping, .pong: .ping
        case .raft: .raft
        case .forwardedMutation, .forwardedMutationReply: .forwardedMutation
        case .sessionTouches, .sessionTouchesReply: .sessionTouches
        case .digestReport: .digestReport
        case .memberReport: .memberReport
        case .snapshotManifest, .snapshotManifestReply: .snapshotManifest
        case .snapshotChunk, .snapshotChunkReply: .snapshotChunk
        case .foundingProbe, .foundingProbeReply: .foundingProbe
        case .foundingCommit, .foundingCommitReply: .foundingCommit
        case .logEntries, .logEntriesReply: .logEntries
        case .promises, .promisesReply: .promises
        }
    }

    package var isReply: Bool {
        switch self {
        case .helloReply, .pong, .forwardedMutationReply, .sessionTouchesReply, .snapshotManifestReply,
            .snapshotChunkReply, .foundingProbeReply, .foundingCommitReply, .logEntriesReply, .promisesReply:
            true
        case .hello, .ping, .raft, .forwardedMutation, .sessionTouches, .digestReport, .memberReport,
            .snapshotManifest, .snapshotChunk, .foundingProbe, .foundingCommit, .logEntries, .promises:
            false
        }
    }
}

/// Who calls, and whom it expects to reach. A caller of another cluster, or one that reached another node than it meant
/// to, is refused before anything else is read.
package struct PeerHello: Hashable, Sendable {
    package var versions: ClosedRange<UInt16>
    /// Nil while the caller belongs to no cluster: it may take part in a founding, or ask to join, and nothing else.
    package var identity: ClusterIdentity?
    package var sender: NodeID
    package var name: String
    /// Nil when the caller knows only an address, as before a founding.
    package var expectedReceiver: NodeID?
    package var peerAddress: String
    package var clientAddress: String
    package var softwareVersion: String
    package var featureLevel: UInt32
    /// Last entry of the caller's log. Peers remember what it has acknowledged to them: less than that means that its
    /// disk has lost synced data.
    package var last: EntryID
    /// Of the newest log entry that changed the members, as far as the caller knows that it is committed.
    package var configurationIndex: LogIndex

    package init(
        versions: ClosedRange<UInt16> = ProtocolVersion.supported, identity: ClusterIdentity?, sender: NodeID,
        name: String, expectedReceiver: NodeID?, peerAddress: String, clientAddress: String, softwareVersion: String,
        featureLevel: UInt32, last: EntryID, configurationIndex: LogIndex
    ) {
        self.versions = versions
        self.identity = identity
        self.sender = sender
        self.name = name
        self.expectedReceiver = expectedReceiver
        self.peerAddress = peerAddress
        self.clientAddress = clientAddress
        self.softwareVersion = softwareVersion
        self.featureLevel = featureLevel
        self.last = last
        self.configurationIndex = configurationIndex
    }
}

/// Why a node does not speak with a caller on the peer port. Numbers are forever.
package enum PeerRefusal: UInt16, Hashable, Sendable, CaseIterable {
    case unsupportedVersion = 1
    /// The caller belongs to another cluster.
    case wrongCluster = 2
    /// The same cluster, but before or after a restore or a forced recovery.
    case wrongGeneration = 3
    /// The caller meant another node: an address that now belongs to somebody else.
    case wrongReceiver = 4
    /// The caller is no member, or an old incarnation of one.
    case notMember = 5
    /// The node that was called belongs to no cluster yet.
    case noCluster = 6
    /// The caller's log ends before an entry that it has acknowledged: it must come back as a learner.
    case regressed = 7
    /// A node that called itself.
    case isSelf = 8
    case shuttingDown = 9
    /// The caller was a member and was removed: it can delete its data directory.
    case removed = 10
}

package struct PeerHelloReply: Hashable, Sendable {
    package var refusal: PeerRefusal?
    /// For people; empty when accepted.
    package var message: String
    /// Chosen from the caller's range; 0 in a refusal of the versions.
    package var version: UInt16
    package var identity: ClusterIdentity?
    package var node: NodeID
    package var name: String
    package var clientAddress: String
    package var softwareVersion: String
    package var featureLevel: UInt32
    package var lastIndex: LogIndex
    /// The last committed entry that the caller's incarnation has acknowledged to this node; its term is zero where this
    /// node's log begins later.
    package var acknowledgedByCaller: EntryID

    package init(
        refusal: PeerRefusal? = nil, message: String = "", version: UInt16, identity: ClusterIdentity?, node: NodeID,
        name: String, clientAddress: String, softwareVersion: String, featureLevel: UInt32, lastIndex: LogIndex,
        acknowledgedByCaller: EntryID
    ) {
        self.refusal = refusal
        self.message = message
        self.version = version
        self.identity = identity
        self.node = node
        self.name = name
        self.clientAddress = clientAddress
        self.softwareVersion = softwareVersion
        self.featureLevel = featureLevel
        self.lastIndex = lastIndex
        self.acknowledgedByCaller = acknowledgedByCaller
    }
}

/// The leader's answer to `sessionTouches`.
package struct SessionTouchesReply: Hashable, Sendable {
    /// False: the receiver does not lead, and nothing was touched.
    package var isLeader: Bool
    /// Sessions among those asked for that are not open.
    package var notOpen: [SessionID]

    package init(isLeader: Bool, notOpen: [SessionID]) {
        self.isLeader = isLeader
        self.notOpen = notOpen
    }
}

/// What the leader knows of a member besides its log, for `status` and for choosing whom to hand over to.
package struct MemberReport: Hashable, Sendable {
    package var clientAddress: String
    package var softwareVersion: String
    package var featureLevel: UInt32
    package var lastApplied: LogIndex
    package var state: NodeState
    package var diskFree: UInt64

    package init(
        clientAddress: String, softwareVersion: String, featureLevel: UInt32, lastApplied: LogIndex, state: NodeState,
        diskFree: UInt64
    ) {
        self.clientAddress = clientAddress
        self.softwareVersion = softwareVersion
        self.featureLevel = featureLevel
        self.lastApplied = lastApplied
        self.state = state
        self.diskFree = diskFree
    }
}

/// A member of a cluster that is about to be founded, as the node's own configuration names it.
package struct FoundingMember: Hashable, Sendable {
    package var name: String
    package var peerAddress: String

    package init(name: String, peerAddress: String) {
        self.name = name
        self.peerAddress = peerAddress
    }
}

package struct FoundingProbeReply: Hashable, Sendable {
    /// The node's directory holds no cluster.
    package var isEmpty: Bool
    package var node: NodeID
    package var name: String
    /// The list in the node's own configuration; all must be the same.
    package var members: [FoundingMember]
    /// The highest that the node's release knows.
    package var featureLevel: UInt32

    package init(
        isEmpty: Bool, node: NodeID, name: String, members: [FoundingMember],
        featureLevel: UInt32 = FeatureLevel.known
    ) {
        self.featureLevel = featureLevel
        self.isEmpty = isEmpty
        self.node = node
        self.name = name
        self.members = members
    }
}

/// Numbers are forever.
package enum FoundingOutcome: UInt8, Hashable, Sendable, CaseIterable {
    /// The founding record is durable.
    case accepted = 0
    /// The node belongs to a cluster already.
    case notEmpty = 1
    /// The record does not name this node or not its list of members.
    case mismatch = 2
}
