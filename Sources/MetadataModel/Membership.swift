package import Basics

/// One node as the cluster knows it.
package struct Member: Hashable, Sendable {
    /// The incarnation, drawn anew whenever a data directory is made.
    package var id: NodeID
    package var name: String
    /// HOST:PORT where it listens for the other members.
    package var peerAddress: String

    package init(id: NodeID, name: String, peerAddress: String) {
        self.id = id
        self.name = name
        self.peerAddress = peerAddress
    }
}

/// Who the members are and which of them vote; the payload of a log record of type `configuration`.
///
///     u16 count | count × (u64 id | u16 size, name | u16 size, peer address)
///     three times, for incoming voters, outgoing voters, learners:  u16 count | count × u64 id
///
/// Joint while `outgoing` is not empty (Raft §6). Each list is sorted by id, so equal memberships have equal bytes.
package struct Membership: Hashable, Sendable {
    package var members: [Member]
    package var incoming: [NodeID]
    package var outgoing: [NodeID]
    package var learners: [NodeID]

    package init(members: [Member], incoming: [NodeID], outgoing: [NodeID] = [], learners: [NodeID] = []) {
        self.members = members.sorted { $0.id < $1.id }
        self.incoming = incoming.sorted()
        self.outgoing = outgoing.sorted()
        self.learners = learners.sorted()
    }

    /// Nobody: what a node has before it belongs to a cluster.
    package static let empty = Membership(members: [], incoming: [])

    package func member(_ id: NodeID) -> Member? { members.first { $0.id == id } }
    package func member(named name: String) -> Member? { members.first { $0.name == name } }

    /// Far more than ever vote together; a longer list is damage.
    package static let membersMax = 64
    package static let textSizeMax = 1_024

    package func encode(into writer: inout ByteWriter) {
        writer.write(UInt16(clamping: members.count))
        for member in members {
            writer.write(member.id.rawValue)
            writer.writeString16(member.name)
            writer.writeString16(member.peerAddress)
        }
        for list in [incoming, outgoing, learners] {
            writer.write(UInt16(clamping: list.count))
            for id in list { writer.write(id.rawValue) }
        }
    }

    package func encoded() -> [UInt8] {
        var writer = ByteWriter()
        encode(into: &writer)
        return writer.takeBytes()
    }

    /// Refuses lists in which an id or a name is there twice, or that count in somebody who is not a member, or a
    /// learner among the voters.
    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        var members: [Member] = []
        for _ in 0..<(try Self.readCount(&reader)) {
            let id = NodeID(try reader.readUInt64())
            let name = try reader.readString16(max: Self.textSizeMax)
            let address = try reader.readString16(max: Self.textSizeMax)
            for member in members where member.id == id || member.name == name {
                throw .invalid("membership: \(name) is listed twice")
            }
            members.append(Member(id: id, name: name, peerAddress: address))
        }
        let incoming = try Self.readIDs(&reader)
        let outgoing = try Self.readIDs(&reader)
        self.init(members: members, incoming: incoming, outgoing: outgoing, learners: try Self.readIDs(&reader))
        for id in incoming + outgoing + learners where member(id) == nil { throw .invalid("voter who is no member") }
        for id in learners where incoming.contains(id) || outgoing.contains(id) {
            throw .invalid("learner who votes")
        }
    }

    package init(decoding bytes: RawSpan) throws(DecodeError) {
        var reader = ByteReader(bytes)
        try self.init(decoding: &reader)
    }

    private static func readCount(_ reader: inout ByteReader) throws(DecodeError) -> Int {
        let count = Int(try reader.readUInt16())
        guard count <= membersMax else { throw .tooLarge(UInt64(count)) }
        return count
    }

    private static func readIDs(_ reader: inout ByteReader) throws(DecodeError) -> [NodeID] {
        var ids: [NodeID] = []
        for _ in 0..<(try readCount(&reader)) {
            let id = NodeID(try reader.readUInt64())
            guard !ids.contains(id) else { throw .invalid("voter listed twice") }
            ids.append(id)
        }
        return ids
    }
}

/// What a cluster is founded on: drawn once, persisted by every member before the first vote.
///
///     u8 version = 1 | u64 id | u64 generation | u64 generation tag | u64 created, ns since 1970 | `Membership`
///
/// A node that joins later gets the members as they were when it was added, and version 2, at whose end stands
///
///     u64 index of the log entry that this membership is of
///
/// Where the cluster was founded at another feature level than the first it is version 3, at whose end stand
///
///     u64 index, 0 for a founder | u32 feature level
package struct FoundingRecord: Hashable, Sendable {
    package var identity: ClusterIdentity
    /// The wall clock of the node that founded, for people.
    package var createdAt: ClusterTime
    package var membership: Membership
    /// Of a founder 0; of a node that joined, the log entry that made it a member or a later one.
    package var membershipIndex: LogIndex
    /// That of the state before the first entry: what all founders knew.
    package var featureLevel: UInt32

    package init(
        identity: ClusterIdentity, createdAt: ClusterTime, membership: Membership, membershipIndex: LogIndex = .zero,
        featureLevel: UInt32 = FeatureLevel.first
    ) {
        self.featureLevel = featureLevel
        self.identity = identity
        self.createdAt = createdAt
        self.membership = membership
        self.membershipIndex = membershipIndex
    }

    /// What a member that knows no cluster yet is to keep: this, if it was there at the founding, else the members as they
    /// are now, its name among them. Nil while that is not committed.
    package func handed(to member: NodeID, settled: (index: LogIndex, membership: Membership)?) -> FoundingRecord? {
        if membershipIndex == .zero, membership.member(member) != nil { return self }
        guard let settled, settled.membership.member(member) != nil else { return nil }
        return FoundingRecord(
            identity: identity, createdAt: createdAt, membership: settled.membership, membershipIndex: settled.index,
            featureLevel: featureLevel)
    }

    private static let version: UInt8 = 1
    private static let versionOfJoined: UInt8 = 2
    private static let versionWithLevel: UInt8 = 3

    private var version: UInt8 {
        guard featureLevel == FeatureLevel.first else { return Self.versionWithLevel }
        return membershipIndex == .zero ? Self.version : Self.versionOfJoined
    }

    package func encoded() -> [UInt8] {
        var writer = ByteWriter()
        writer.write(version)
        writer.write(identity.id)
        writer.write(identity.generation)
        writer.write(identity.generationTag)
        writer.write(createdAt.nanoseconds)
        membership.encode(into: &writer)
        if version != Self.version { writer.write(membershipIndex.rawValue) }
        if version == Self.versionWithLevel { writer.write(featureLevel) }
        return writer.takeBytes()
    }

    package init(decoding bytes: RawSpan) throws(DecodeError) {
        var reader = ByteReader(bytes)
        let version = try reader.readUInt8()
        guard (Self.version...Self.versionWithLevel).contains(version) else {
            throw .unknown("founding record version", UInt64(version))
        }
        let id = try reader.readUInt64()
        let generation = try reader.readUInt64()
        identity = ClusterIdentity(id: id, generation: generation, generationTag: try reader.readUInt64())
        createdAt = ClusterTime(nanoseconds: try reader.readUInt64())
        membership = try Membership(decoding: &reader)
        membershipIndex = version == Self.version ? .zero : try reader.readLogIndex()
        featureLevel = version == Self.versionWithLevel ? try reader.readUInt32() : FeatureLevel.first
        guard !membership.incoming.isEmpty, membership.outgoing.isEmpty else { throw .invalid("founding voters") }
    }
}
