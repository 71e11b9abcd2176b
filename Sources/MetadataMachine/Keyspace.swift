package import Basics
internal import MetadataModel
package import StateEngine

/// Every row prefix of the service, in one table. A key is the table's byte, then the fields in order, numbers
/// big-endian.
///
///     01              membership in force: u64 index of its entry | Membership
///     02 u64 node     what a member tells of itself: MemberInfo
///     03              feature level: u32
///     04              delete floor: u64
///     05 prefix       history is kept under the prefix: u64 since revision | u64 its cluster time
///     06              tombstones below the floor are left: u64 floor when their removal began | key to go on from
///     10 key          a row of the keyspace: u64 revision of its last change, its top bit set when an owner
///                     follows | [16 B owner] | value
///     11 key          a tombstone: u64 revision of the delete
///     12 session      how many rows the session owns: u32
///     12 session | table | key   a row that goes with the session: nothing
///     20 group 00 | u64 ticket   Candidate
///     21 name 00 | u64 ticket    LockTicket
///     22 u64 time | name 00 | u64 ticket   when a lock is released whose session is gone: nothing
///     23 table | name 00   how many tickets that line has: u32
///     30 name         StateEntry
///     40 table, key   a row of the registry: `RegistryTable`
///     F0              Applied
///     F1 u64 index    outcome of the apply group that ends at this index
///     F2              checkpoint of the sessions
///     F3              feed floor: u64; what entries after it changed can be told
///     F4 u64 index    cluster time of the entry: u64
///
/// Tables from F0 on are this node's own: how entries were grouped differs from node to node, so these rows are outside
/// every digest and snapshot.
package enum Keyspace {
    static let membership: [UInt8] = [0x01]
    static let memberInfoTable: UInt8 = 0x02
    static let featureLevel: [UInt8] = [0x03]
    static let deleteFloor: [UInt8] = [0x04]
    static let historyTable: UInt8 = 0x05
    static let tombstoneSweep: [UInt8] = [0x06]
    static let rowTable: [UInt8] = [0x10]
    static let tombstoneTable: [UInt8] = [0x11]
    static let ownerTable: UInt8 = 0x12
    package static let electionTable: UInt8 = 0x20
    package static let lockTable: UInt8 = 0x21
    static let timerTable: UInt8 = 0x22
    static let lineSizeTable: UInt8 = 0x23
    package static let stateTable: UInt8 = 0x30
    package static let registryTable: UInt8 = 0x40
    static let applied: [UInt8] = [0xF0]
    static let outcomeTable: UInt8 = 0xF1
    static let sessions: [UInt8] = [0xF2]
    static let feedFloor: [UInt8] = [0xF3]
    static let timeMarkTable: UInt8 = 0xF4

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
    static func history(_ prefix: [UInt8]) -> [UInt8] { [historyTable] + prefix }
    static func timeMark(_ index: LogIndex) -> [UInt8] { [timeMarkTable] + bigEndian(index.rawValue) }

    /// Where everything that `session` owns begins.
    static func owner(_ session: SessionID) -> [UInt8] {
        [ownerTable] + littleEndian(session.first) + littleEndian(session.second)
    }

    /// Says that the row at `key`, its table's byte first, goes with `session`.
    static func owned(_ key: [UInt8], by session: SessionID) -> [UInt8] { owner(session) + key }

    /// The row that an index key speaks of.
    static func ownedKey(_ index: [UInt8]) -> [UInt8] { Array(index[ownerSize...]) }

    private static let ownerSize = 17

    /// All tickets of a group or a lock begin with this.
    static func line(_ table: UInt8, _ name: [UInt8]) -> [UInt8] { [table] + name + [0] }

    /// Where it is counted how many tickets a line has.
    static func size(ofLine line: [UInt8]) -> [UInt8] { [lineSizeTable] + line }

    static func ticket(_ ticket: LogIndex, in line: [UInt8]) -> [UInt8] { line + bigEndian(ticket.rawValue) }

    /// Where what comes after a ticket begins. Clients say which: any number, the largest too.
    static func afterTicket(_ ticket: LogIndex, in line: [UInt8]) -> [UInt8] { Self.ticket(ticket, in: line) + [0] }

    static func line(ofTicketAt key: [UInt8]) -> [UInt8] { Array(key.dropLast(8)) }

    /// The ticket at the end of a key.
    static func ticket(ofKey key: RawSpan) throws(DecodeError) -> LogIndex {
        guard key.byteCount >= 8 else { throw .truncated }
        return LogIndex(try number(key.extracting((key.byteCount - 8)..<key.byteCount)))
    }

    static func stateEntry(_ name: [UInt8]) -> [UInt8] { [stateTable] + name }

    static func timer(_ time: ClusterTime, ofTicketAt key: [UInt8]) -> [UInt8] {
        [timerTable] + bigEndian(time.nanoseconds) + key[1...]
    }

    static func time(ofTimer key: RawSpan) throws(DecodeError) -> ClusterTime {
        guard key.byteCount >= 9 else { throw .truncated }
        return ClusterTime(nanoseconds: try number(key.extracting(1..<9)))
    }

    static func ticketKey(ofTimer key: [UInt8]) throws(DecodeError) -> [UInt8] {
        guard key.count >= 9 else { throw .truncated }
        return [lockTable] + key[9...]
    }

    /// Timers before this are due at `time`.
    static func timersEnd(after time: ClusterTime) -> [UInt8]? {
        KeyRange.end(ofPrefix: [timerTable] + bigEndian(time.nanoseconds))
    }

    private static func number(_ bytes: RawSpan) throws(DecodeError) -> UInt64 {
        var reader = ByteReader(bytes)
        return try reader.readUInt64().byteSwapped
    }

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
        let term = try reader.readTerm()
        last = EntryID(term: term, index: try reader.readLogIndex())
        time = ClusterTime(nanoseconds: try reader.readUInt64())
        changeDigest = try reader.readUInt64()
    }

    /// The digest after an entry whose row operations have this checksum.
    mutating func fold(_ checksum: UInt32, at index: LogIndex) {
        var mixer = SplitMix64(seed: changeDigest ^ (UInt64(checksum) << 32) ^ index.rawValue)
        changeDigest = mixer.next()
    }
}
