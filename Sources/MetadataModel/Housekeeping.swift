package import Basics

/// What the leader logs on its own account: session zero, sequence zero, no reply.
package enum Housekeeping: Hashable, Sendable {
    /// Only its record's cluster time counts.
    case tick
    /// These sessions were silent for too long; at most `Limits.sessionsPerExpiryMax`.
    case expireSessions([SessionID])
    case digestVerdict(DigestVerdict)
    /// Deletes at or below this revision are not known any longer, and the first of their tombstones go; where the floor is
    /// as high already, the next ones.
    case deleteFloor(LogIndex)
    case memberInfo(MemberInfo)
    /// Every member knows this level from now on.
    case featureLevel(UInt32)

    package var kind: CommandKind {
        switch self {
        case .tick: .tick
        case .expireSessions: .expireSessions
        case .digestVerdict: .digestVerdict
        case .deleteFloor: .deleteFloor
        case .memberInfo: .memberInfo
        case .featureLevel: .featureLevel
        }
    }

    /// A whole command:
    ///
    ///     tick             nothing
    ///     expireSessions   u16 count | 16 each
    ///     digestVerdict    u64 index | u8 has majority, [u64 digest] | u16 count | count × (u64 node, u64 digest)
    ///     deleteFloor      u64 revision
    ///     memberInfo       u64 node | u16 size, client address | u16 size, version | u32 feature level
    ///     featureLevel     u32 level
    package func encoded() -> [UInt8] {
        var writer = ByteWriter()
        CommandHeader(kind: kind, session: .housekeeping, sequence: 0).encode(into: &writer)
        switch self {
        case .tick: break
        case .expireSessions(let sessions):
            invariant(sessions.count <= Limits.sessionsPerExpiryMax, "\(sessions.count) sessions in one expiry")
            writer.write(UInt16(sessions.count))
            for session in sessions { writer.write(session) }
        case .digestVerdict(let verdict): verdict.encode(into: &writer)
        case .deleteFloor(let revision): writer.write(revision.rawValue)
        case .memberInfo(let info): info.encode(into: &writer)
        case .featureLevel(let level): writer.write(level)
        }
        return writer.takeBytes()
    }

    /// Reads the part after the header, whose kind this is; nil for a client's kind.
    package init?(kind: CommandKind, decoding reader: inout ByteReader) throws(DecodeError) {
        switch kind {
        case .tick: self = .tick
        case .expireSessions:
            let count = Int(try reader.readUInt16())
            guard count <= Limits.sessionsPerExpiryMax else { throw .tooLarge(UInt64(count)) }
            var sessions: [SessionID] = []
            for _ in 0..<count { sessions.append(try reader.readSessionID()) }
            self = .expireSessions(sessions)
        case .digestVerdict: self = .digestVerdict(try DigestVerdict(decoding: &reader))
        case .deleteFloor: self = .deleteFloor(try reader.readLogIndex())
        case .memberInfo: self = .memberInfo(try MemberInfo(decoding: &reader))
        case .featureLevel: self = .featureLevel(try reader.readUInt32())
        case .put, .delete, .deleteRange, .createSequential, .createOwnedSequential, .transaction, .endSession,
            .campaign, .withdraw, .setCandidateData, .acquireLock, .releaseLock, .stateSet, .stateExpunge,
            .setHistory, .registry:
            return nil
        }
    }
}

/// What the members say the state's rolling digest was at one index.
package struct DigestVerdict: Hashable, Sendable {
    package struct Vote: Hashable, Sendable {
        package var node: NodeID
        package var digest: UInt64

        package init(node: NodeID, digest: UInt64) {
            self.node = node
            self.digest = digest
        }
    }

    package var index: LogIndex
    /// The value that more than half of all voters share; nil when there is none.
    package var majority: UInt64?
    /// What was reported, in order of node.
    package var votes: [Vote]

    package init(index: LogIndex, majority: UInt64?, votes: [Vote]) {
        self.index = index
        self.majority = majority
        self.votes = votes
    }

    fileprivate func encode(into writer: inout ByteWriter) {
        writer.write(index.rawValue)
        writer.write(majority != nil)
        if let majority { writer.write(majority) }
        writer.write(UInt16(clamping: votes.count))
        for vote in votes {
            writer.write(vote.node.rawValue)
            writer.write(vote.digest)
        }
    }

    fileprivate init(decoding reader: inout ByteReader) throws(DecodeError) {
        index = try reader.readLogIndex()
        majority = try reader.readBool() ? try reader.readUInt64() : nil
        votes = []
        for _ in 0..<(try reader.readUInt16()) {
            let node = NodeID(try reader.readUInt64())
            votes.append(Vote(node: node, digest: try reader.readUInt64()))
        }
    }
}

/// What a member tells the cluster of itself.
package struct MemberInfo: Hashable, Sendable {
    package var node: NodeID
    /// HOST:PORT where it serves clients.
    package var clientAddress: String
    /// Of the software that it runs.
    package var version: String
    /// The highest feature level that it knows.
    package var featureLevel: UInt32

    package init(node: NodeID, clientAddress: String, version: String, featureLevel: UInt32) {
        self.node = node
        self.clientAddress = clientAddress
        self.version = version
        self.featureLevel = featureLevel
    }

    package func encode(into writer: inout ByteWriter) {
        writer.write(node.rawValue)
        writer.writeString16(clientAddress)
        writer.writeString16(version)
        writer.write(featureLevel)
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        node = NodeID(try reader.readUInt64())
        clientAddress = try reader.readString16(max: Self.textSizeMax)
        version = try reader.readString16(max: Self.textSizeMax)
        featureLevel = try reader.readUInt32()
    }

    package static let textSizeMax = 1_024
}
