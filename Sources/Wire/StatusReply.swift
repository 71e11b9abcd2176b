package import Basics
package import MetadataModel

/// What a node says of itself and, if it leads, of the members.
package struct StatusReply: Hashable, Sendable {
    package var revision: LogIndex
    package var identity: ClusterIdentity?
    package var node: NodeStatus
    package var leader: LeaderHint?
    /// The members of the configuration in force, in the order of their ids. Progress only in the leader's answer.
    package var members: [MemberStatus]
    /// What stands at this node, oldest first within a name.
    package var alarms: [Alarm]
    /// The oldest revision that a watch may begin with at this node; 0: it does not say.
    package var feedFloor: LogIndex

    package init(
        revision: LogIndex, identity: ClusterIdentity?, node: NodeStatus, leader: LeaderHint?, members: [MemberStatus],
        alarms: [Alarm] = [], feedFloor: LogIndex = .zero
    ) {
        self.feedFloor = feedFloor
        self.revision = revision
        self.identity = identity
        self.node = node
        self.leader = leader
        self.members = members
        self.alarms = alarms
    }
}

/// Numbers are forever.
package enum NodeRole: UInt8, Hashable, Sendable, CaseIterable {
    /// Belongs to no cluster.
    case none = 0
    case follower = 1
    case candidate = 2
    case leader = 3
    case learner = 4
}

package struct NodeStatus: Hashable, Sendable {
    /// A status lists at most this many digests.
    package static let digestsMax = 64
    package var id: NodeID
    package var name: String
    package var role: NodeRole
    package var state: NodeState
    package var term: Term
    package var commitIndex: LogIndex
    package var lastApplied: LogIndex
    package var firstIndex: LogIndex
    package var lastIndex: LogIndex
    /// The node's `changeDigest` at the last multiples of `Limits.digestInterval` that it applied, oldest first.
    /// Several, so that whoever compares nodes finds an index that all have reached.
    package var digests: [IndexedDigest]
    /// Bytes of the data directory, and free on its file system.
    package var diskUsed: UInt64
    package var diskFree: UInt64
    package var softwareVersion: String
    package var uptimeSeconds: UInt64
    package var clientAddress: String
    package var peerAddress: String

    package init(
        id: NodeID, name: String, role: NodeRole, state: NodeState, term: Term, commitIndex: LogIndex,
        lastApplied: LogIndex, firstIndex: LogIndex, lastIndex: LogIndex, digests: [IndexedDigest], diskUsed: UInt64,
        diskFree: UInt64, softwareVersion: String, uptimeSeconds: UInt64, clientAddress: String, peerAddress: String
    ) {
        self.id = id
        self.name = name
        self.role = role
        self.state = state
        self.term = term
        self.commitIndex = commitIndex
        self.lastApplied = lastApplied
        self.firstIndex = firstIndex
        self.lastIndex = lastIndex
        self.digests = digests
        self.diskUsed = diskUsed
        self.diskFree = diskFree
        self.softwareVersion = softwareVersion
        self.uptimeSeconds = uptimeSeconds
        self.clientAddress = clientAddress
        self.peerAddress = peerAddress
    }
}

package struct MemberStatus: Hashable, Sendable {
    package var id: NodeID
    package var name: String
    package var peerAddress: String
    /// Empty while the node that answers has not heard it.
    package var clientAddress: String
    package var softwareVersion: String
    package var isVoter: Bool
    /// What the leader knows; nil in the answer of any other node.
    package var progress: MemberProgress?

    package init(
        id: NodeID, name: String, peerAddress: String, clientAddress: String, softwareVersion: String, isVoter: Bool,
        progress: MemberProgress?
    ) {
        self.id = id
        self.name = name
        self.peerAddress = peerAddress
        self.clientAddress = clientAddress
        self.softwareVersion = softwareVersion
        self.isVoter = isVoter
        self.progress = progress
    }
}

package struct MemberProgress: Hashable, Sendable {
    /// Heard within the last election timeout.
    package var isReachable: Bool
    package var state: NodeState
    package var matchIndex: LogIndex
    package var lastApplied: LogIndex
    /// Entries of the leader's log that the member has not acknowledged.
    package var lag: UInt64

    package init(
        isReachable: Bool, state: NodeState, matchIndex: LogIndex, lastApplied: LogIndex, lag: UInt64
    ) {
        self.isReachable = isReachable
        self.state = state
        self.matchIndex = matchIndex
        self.lastApplied = lastApplied
        self.lag = lag
    }
}

// MARK: Codec

extension StatusReply {
    func encodeFields(into writer: inout ByteWriter) {
        writer.write(identity)
        node.encode(into: &writer)
        writer.write(leader)
        writer.write(UInt16(members.count))
        for member in members { member.encode(into: &writer) }
        let listed = alarms.prefix(Alarm.countMax)
        writer.write(UInt16(listed.count))
        for alarm in listed { alarm.encode(into: &writer) }
        writer.write(feedFloor.rawValue)
    }

    init(decoding reader: inout ByteReader, revision: LogIndex) throws(DecodeError) {
        self.revision = revision
        identity = try reader.readIdentity()
        node = try NodeStatus(decoding: &reader)
        leader = try reader.readLeaderHint()
        let count = Int(try reader.readUInt16())
        guard count <= PeerMessage.membersMax else { throw .tooLarge(UInt64(count)) }
        members = []
        for _ in 0..<count { members.append(try MemberStatus(decoding: &reader)) }
        alarms = []
        feedFloor = .zero
        // A node of the first releases ends here.
        guard !reader.isAtEnd else { return }
        let alarmCount = Int(try reader.readUInt16())
        guard alarmCount <= Alarm.countMax else { throw .tooLarge(UInt64(alarmCount)) }
        for _ in 0..<alarmCount { alarms.append(try Alarm(decoding: &reader)) }
        feedFloor = try reader.readLogIndex()
    }
}

extension NodeStatus {
    fileprivate func encode(into writer: inout ByteWriter) {
        writer.write(id.rawValue)
        writer.writeText(name)
        writer.write(role.rawValue)
        writer.write(state.rawValue)
        writer.write(term.rawValue)
        writer.write(commitIndex.rawValue)
        writer.write(lastApplied.rawValue)
        writer.write(firstIndex.rawValue)
        writer.write(lastIndex.rawValue)
        let listed = digests.suffix(Self.digestsMax)
        writer.write(UInt16(listed.count))
        for digest in listed {
            writer.write(digest.index.rawValue)
            writer.write(digest.digest)
        }
        writer.write(diskUsed)
        writer.write(diskFree)
        writer.writeText(softwareVersion)
        writer.write(uptimeSeconds)
        writer.writeText(clientAddress)
        writer.writeText(peerAddress)
    }

    fileprivate init(decoding reader: inout ByteReader) throws(DecodeError) {
        id = NodeID(try reader.readUInt64())
        name = try reader.readText()
        let roleNumber = try reader.readUInt8()
        guard let role = NodeRole(rawValue: roleNumber) else { throw .unknown("role", UInt64(roleNumber)) }
        self.role = role
        state = try reader.readNodeState()
        term = try reader.readTerm()
        commitIndex = try reader.readLogIndex()
        lastApplied = try reader.readLogIndex()
        firstIndex = try reader.readLogIndex()
        lastIndex = try reader.readLogIndex()
        let count = Int(try reader.readUInt16())
        guard count <= Self.digestsMax else { throw .tooLarge(UInt64(count)) }
        digests = []
        for _ in 0..<count {
            let index = try reader.readLogIndex()
            digests.append(IndexedDigest(index: index, digest: try reader.readUInt64()))
        }
        diskUsed = try reader.readUInt64()
        diskFree = try reader.readUInt64()
        softwareVersion = try reader.readText()
        uptimeSeconds = try reader.readUInt64()
        clientAddress = try reader.readText()
        peerAddress = try reader.readText()
    }
}

extension MemberStatus {
    fileprivate func encode(into writer: inout ByteWriter) {
        writer.write(id.rawValue)
        writer.writeText(name)
        writer.writeText(peerAddress)
        writer.writeText(clientAddress)
        writer.writeText(softwareVersion)
        writer.write(isVoter)
        writer.write(progress != nil)
        guard let progress else { return }
        writer.write(progress.isReachable)
        writer.write(progress.state.rawValue)
        writer.write(progress.matchIndex.rawValue)
        writer.write(progress.lastApplied.rawValue)
        writer.write(progress.lag)
    }

    fileprivate init(decoding reader: inout ByteReader) throws(DecodeError) {
        id = NodeID(try reader.readUInt64())
        name = try reader.readText()
        peerAddress = try reader.readText()
        clientAddress = try reader.readText()
        softwareVersion = try reader.readText()
        isVoter = try reader.readBool()
        guard try reader.readBool() else {
            progress = nil
            return
        }
        let isReachable = try reader.readBool()
        let state = try reader.readNodeState()
        let matchIndex = try reader.readLogIndex()
        let lastApplied = try reader.readLogIndex()
        progress = MemberProgress(
            isReachable: isReachable, state: state, matchIndex: matchIndex, lastApplied: lastApplied,
            lag: try reader.readUInt64())
    }
}
