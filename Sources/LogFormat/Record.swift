package import Basics

/// One log record as it is on disk, in memory and on the wire between peers: made once by the leader, copied as it is
/// ever after.
///
///      0  u32  length      bytes of the record after this field: 44 + payload
///      4  u32  crc32c      over bytes 8 … end
///      8  u8   type        `RecordType`
///      9  u8   version     of this layout; 1
///     10  u16  reserved    0
///     12  u32  salt        `ClusterIdentity.salt`: a record of another cluster or generation does not verify
///     16  u64  term
///     24  u64  index
///     32  u64  time        cluster time in ns; what apply takes for "now"
///     40  u64  principal   who asked, as authenticated by the node that took the request; 0 = nobody
///     48  …    payload
package enum RecordFormat {
    package static let version: UInt8 = 1
    package static let headerSize = 48
    /// What `length` does not count.
    package static let lengthSize = 4
}

/// What a record's payload is. Numbers are forever; a node that meets one that it does not know stops, because it cannot
/// apply it.
package enum RecordType: UInt8, Hashable, Sendable {
    /// Empty: the first entry of a term.
    case noop = 1
    /// A `MetadataModel` command, as the client (or the leader's own housekeeping) encoded it.
    case command = 2
    /// A `MetadataModel` membership.
    case configuration = 3
}

/// A record's fields, without its payload.
package struct RecordHeader: Hashable, Sendable {
    package var type: RecordType
    package var salt: UInt32
    package var id: EntryID
    package var time: ClusterTime
    package var principal: UInt64
    package var payloadSize: Int

    package init(
        type: RecordType, salt: UInt32, id: EntryID, time: ClusterTime, principal: UInt64 = 0, payloadSize: Int
    ) {
        self.type = type
        self.salt = salt
        self.id = id
        self.time = time
        self.principal = principal
        self.payloadSize = payloadSize
    }

    /// Bytes of the whole record.
    package var recordSize: Int { RecordFormat.headerSize + payloadSize }
}

/// One record, read in place.
package struct RecordView: ~Escapable {
    package let header: RecordHeader
    package let payload: RawSpan

    /// Reads and verifies the record at the start of `bytes` (length, version, checksum, type).
    /// - Throws: `.truncated` when `bytes` end before the record does, `.checksumMismatch`, `.unknown`, `.tooLarge`.
    @_lifetime(copy bytes)
    package init(verifying bytes: RawSpan, payloadSizeMax: Int = Limits.recordPayloadSizeMax) throws(DecodeError) {
        try self.init(bytes, payloadSizeMax: payloadSizeMax, checkingChecksum: true)
    }

    /// Reads a record that this process has verified before (it is in a `Slab`).
    @_lifetime(copy bytes)
    package init(trusted bytes: RawSpan) throws(DecodeError) {
        try self.init(bytes, payloadSizeMax: Int(UInt32.max), checkingChecksum: false)
    }

    @_lifetime(copy bytes)
    private init(_ bytes: RawSpan, payloadSizeMax: Int, checkingChecksum: Bool) throws(DecodeError) {
        var reader = ByteReader(bytes)
        let length = Int(try reader.readUInt32())
        guard length >= RecordFormat.headerSize - RecordFormat.lengthSize else { throw .invalid("record length") }
        let payloadSize = length - (RecordFormat.headerSize - RecordFormat.lengthSize)
        guard payloadSize <= payloadSizeMax else { throw .tooLarge(UInt64(payloadSize)) }
        guard length <= reader.remaining else { throw .truncated }
        let stored = try reader.readUInt32()
        if checkingChecksum {
            let covered = bytes.extracting(8..<RecordFormat.lengthSize + length)
            let computed = CRC32C.checksum(of: covered)
            guard stored == computed else { throw .checksumMismatch(stored: stored, computed: computed) }
        }
        let typeNumber = try reader.readUInt8()
        let version = try reader.readUInt8()
        guard version == RecordFormat.version else { throw .unknown("record version", UInt64(version)) }
        guard let type = RecordType(rawValue: typeNumber) else { throw .unknown("record type", UInt64(typeNumber)) }
        guard try reader.readUInt16() == 0 else { throw .invalid("reserved record field") }
        let salt = try reader.readUInt32()
        let term = Term(try reader.readUInt64())
        let index = LogIndex(try reader.readUInt64())
        let time = ClusterTime(nanoseconds: try reader.readUInt64())
        let principal = try reader.readUInt64()
        header = RecordHeader(
            type: type, salt: salt, id: EntryID(term: term, index: index), time: time, principal: principal,
            payloadSize: payloadSize)
        payload = try reader.readBytes(payloadSize)
    }
}
