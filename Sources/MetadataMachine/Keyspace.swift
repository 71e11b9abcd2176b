package import Basics
package import StateEngine

/// Every row prefix of the service, in one table. A key is the table's byte, then the fields in order, numbers
/// big-endian.
///
///     01              membership in force: u64 index of its entry | Membership
///     02 u64 node     what a member tells of itself: MemberInfo
///     03              feature level: u32
///     04              delete floor: u64
///     10 key          a row of the keyspace: u64 revision of its last change | value
///     11 key          a tombstone: u64 revision of the delete
///     F0              Applied
///     F1 u64 index    outcome of the apply group that ends at this index
///     F2              checkpoint of the sessions
///     F3              feed floor: u64; what entries after it changed can be told
///
/// Tables from F0 on are this node's own: how entries were grouped differs from node to node, so these rows are outside
/// every digest and snapshot.
package enum Keyspace {
    static let membership: [UInt8] = [0x01]
    static let memberInfoTable: UInt8 = 0x02
    static let featureLevel: [UInt8] = [0x03]
    static let deleteFloor: [UInt8] = [0x04]
    static let rowTable: [UInt8] = [0x10]
    static let tombstoneTable: [UInt8] = [0x11]
    static let applied: [UInt8] = [0xF0]
    static let outcomeTable: UInt8 = 0xF1
    static let sessions: [UInt8] = [0xF2]
    static let feedFloor: [UInt8] = [0xF3]

    /// The rows that every replica has alike.
    package static let replicated = [KeyRange(from: [], to: [0xF0])]
    /// The rows that a snapshot carries: all but who keeps them. Tables 01 and 02 change when a snapshot is restored
    /// into other nodes, and what is kept does not; so they stand in its manifest (`SnapshotMembership`), and its
    /// contentDigest is that of the records alone.
    package static let carried = [KeyRange(from: featureLevel, to: [0xF0])]
    /// The records as clients know them, each row `rowTable | key`.
    package static let records = KeyRange(prefix: rowTable)

    static func memberInfo(_ node: NodeID) -> [UInt8] { [memberInfoTable] + bigEndian(node.rawValue) }
    static func outcome(_ last: LogIndex) -> [UInt8] { [outcomeTable] + bigEndian(last.rawValue) }

    static func bigEndian(_ value: UInt64) -> [UInt8] {
        (0..<8).map { UInt8(truncatingIfNeeded: value >> (56 - 8 * $0)) }
    }

    static func littleEndian(_ value: UInt64) -> [UInt8] {
        (0..<8).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
    }
}

/// How far the state has come; in the same batch as the rows it speaks of.
///
///     u64 term | u64 index | u64 cluster time, ns | u64 rolling digest
package struct Applied: Hashable, Sendable {
    package var last: EntryID
    package var time: ClusterTime
    /// Folded over every change since the first entry: two replicas that differ anywhere differ here.
    package var changeDigest: UInt64

    package init(last: EntryID, time: ClusterTime, changeDigest: UInt64) {
        self.last = last
        self.time = time
        self.changeDigest = changeDigest
    }

    package static let nothing = Applied(last: .zero, time: .zero, changeDigest: 0)

    func encoded() -> [UInt8] {
        var writer = ByteWriter(reservingCapacity: 32)
        writer.write(last.term.rawValue)
        writer.write(last.index.rawValue)
        writer.write(time.nanoseconds)
        writer.write(changeDigest)
        return writer.takeBytes()
    }

    init(decoding bytes: RawSpan) throws(DecodeError) {
        var reader = ByteReader(bytes)
        let term = Term(try reader.readUInt64())
        last = EntryID(term: term, index: LogIndex(try reader.readUInt64()))
        time = ClusterTime(nanoseconds: try reader.readUInt64())
        changeDigest = try reader.readUInt64()
    }

    /// The digest after an entry whose row operations have this checksum.
    mutating func fold(_ checksum: UInt32, at index: LogIndex) {
        var mixer = SplitMix64(seed: changeDigest ^ (UInt64(checksum) << 32) ^ index.rawValue)
        changeDigest = mixer.next()
    }
}
