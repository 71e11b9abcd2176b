internal import Basics
internal import MetadataModel

/// What an apply group brought besides its rows, for two readers: a start after a crash, which goes on from the last
/// checkpoint of the sessions with the changes that came after it, and the change feed, to which a command alone does
/// not say what it did. One row for each group, in the same batch as the group's rows.
///
/// A row is a list of items:
///
///     u8 1 change    16 B session | u8 flags: 1 opened, 2 ended | u64 acknowledgedThrough
///                    | with a flag: u64 time of the entry, ns | opened: u64 opened at, ns | u64 timeout, ns
///                    | u16 size, reply
///     u8 2 expired   u64 ended at, ns | u16 count | 16 B each
///     u8 3 effect    u64 index | u8 what: 0 no change, 1 then, 2 else, 3 neither command nor branch says all
///                    | u32 count | (u16 size, deleted key) each
///     u8 4 plain     16 B session | u64 acknowledgedThrough | u64 revision
///                    a change without flags whose reply is success at that revision and nothing else
///     u8 5 rows      u64 index | u32 count | u8 table | u16 size, key | u8 0 deleted, 1 put: u32 size, stored value
///                    each: what the entry changed besides what its command shows; of a typed command all that it did
///     u8 6 before    u64 index | u32 count | u8 table | u16 size, key | u8 0 no row, 1 a row: u64 revision | u32 size,
///                    value, 2 a row whose value is left out: u64 revision, each: what was there before the entry,
///                    where history is kept
struct OutcomeWriter {
    private var writer = ByteWriter()

    var isEmpty: Bool { writer.count == 0 }

    var size: Int { writer.count }

    var bytes: [UInt8] { writer.bytes }

    /// The room is kept for the next group, unless an unusual one made it large.
    mutating func removeAll() { writer.removeAll(keepingCapacity: writer.count <= Self.roomKeptMax) }

    private static let roomKeptMax = 1_024 * 1_024

    mutating func add(_ change: SessionChange) {
        if let revision = change.reply.plainRevision, change.opening == nil, !change.ends {
            let fields: InlineArray<4, UInt64> = [
                change.id.first.littleEndian, change.id.second.littleEndian,
                change.acknowledgedThrough.littleEndian, revision.rawValue.littleEndian,
            ]
            writer.write(UInt8(4))
            writer.write(unsafe fields.span.bytes)
            return
        }
        writer.write(UInt8(1))
        writer.write(change.id)
        writer.write(UInt8((change.opening != nil ? 1 : 0) | (change.ends ? 2 : 0)))
        writer.write(change.acknowledgedThrough)
        if change.opening != nil || change.ends { writer.write(change.time.nanoseconds) }
        if let opening = change.opening {
            writer.write(opening.openedAt.nanoseconds)
            writer.write(UInt64(opening.timeout.nanoseconds))
        }
        change.reply.writeSized(into: &writer)
    }

    mutating func addExpired(_ sessions: [SessionID], at time: ClusterTime) {
        writer.write(UInt8(2))
        writer.write(time.nanoseconds)
        writer.write(UInt16(sessions.count))
        for id in sessions { writer.write(id) }
    }

    mutating func add(_ effect: Effect, at index: LogIndex) {
        writer.write(UInt8(3))
        writer.write(index.rawValue)
        writer.write(effect.form.rawValue)
        writer.write(UInt32(effect.deletedKeys.count))
        for key in effect.deletedKeys { writer.writeBytes16(key) }
    }

    mutating func add(_ changes: [(key: [UInt8], value: [UInt8]?)], at index: LogIndex) {
        writer.write(UInt8(5))
        writer.write(index.rawValue)
        writer.write(UInt32(clamping: changes.count))
        for (key, value) in changes {
            writer.write(key[0])
            writer.writeBytes16(Array(key[1...]))
            writer.write(value != nil)
            if let value { writer.writeBytes32(value) }
        }
    }

    mutating func add(_ rows: [(key: [UInt8], before: RowBefore)], at index: LogIndex) {
        writer.write(UInt8(6))
        writer.write(index.rawValue)
        writer.write(UInt32(clamping: rows.count))
        for (key, before) in rows {
            writer.write(key[0])
            writer.writeBytes16(Array(key[1...]))
            switch before {
            case .nothing: writer.write(UInt8(0))
            case .row(let revision, let value):
                writer.write(UInt8(value == nil ? 2 : 1))
                writer.write(revision.rawValue)
                if let value { writer.writeBytes32(value) }
            }
        }
    }

    /// Carries the session changes of a row over into `sessions`.
    static func replay(_ row: RawSpan, into sessions: inout SessionTable) throws(DecodeError) {
        var reader = ByteReader(row)
        while !reader.isAtEnd {
            let form = try reader.readUInt8()
            switch form {
            case 1: try replayChange(&reader, into: &sessions)
            case 2:
                let time = ClusterTime(nanoseconds: try reader.readUInt64())
                for _ in 0..<(try reader.readUInt16()) { _ = sessions.end(try reader.readSessionID(), at: time) }
            case 3:
                _ = try reader.readBytes(9)
                for _ in 0..<(try reader.readUInt32()) { _ = try reader.readBytes16() }
            case 4:
                let id = try reader.readSessionID()
                let acknowledged = try reader.readUInt64()
                let reply = KeptReply(plainAt: LogIndex(try reader.readUInt64()))
                try record(
                    SessionChange(
                        id: id, opening: nil, acknowledgedThrough: acknowledged, ends: false, time: .zero,
                        reply: reply), in: &sessions)
            case 5:
                _ = try reader.readBytes(8)
                for _ in 0..<(try reader.readUInt32()) {
                    _ = try reader.readUInt8()
                    _ = try reader.readBytes16()
                    if try reader.readBool() { _ = try reader.readBytes32(max: .max) }
                }
            case 6:
                _ = try reader.readBytes(8)
                for _ in 0..<(try reader.readUInt32()) {
                    _ = try reader.readUInt8()
                    _ = try reader.readBytes16()
                    let what = try reader.readUInt8()
                    if what > 0 { _ = try reader.readUInt64() }
                    if what == 1 { _ = try reader.readBytes32(max: .max) }
                }
            default: throw .unknown("outcome item", UInt64(form))
            }
        }
    }

    private static func replayChange(
        _ reader: inout ByteReader, into sessions: inout SessionTable
    ) throws(DecodeError) {
        let id = try reader.readSessionID()
        let flags = try reader.readUInt8()
        let acknowledged = try reader.readUInt64()
        let time = flags & 3 != 0 ? ClusterTime(nanoseconds: try reader.readUInt64()) : .zero
        var opening: SessionOpening?
        if flags & 1 != 0 {
            let openedAt = ClusterTime(nanoseconds: try reader.readUInt64())
            let timeout = Interval.nanoseconds(Int64(clamping: try reader.readUInt64()))
            opening = SessionOpening(openedAt: openedAt, timeout: timeout)
        }
        try record(
            SessionChange(
                id: id, opening: opening, acknowledgedThrough: acknowledged, ends: flags & 2 != 0, time: time,
                reply: KeptReply(try reader.readBytes16(max: Limits.storedReplySizeMax))), in: &sessions)
    }

    private static func record(_ change: SessionChange, in sessions: inout SessionTable) throws(DecodeError) {
        if let opening = change.opening {
            // The id may have been in use before, by a session that was forgotten when this one was opened.
            sessions.prune(at: change.time)
            guard sessions.slot(of: change.id) == nil else { throw .invalid("session opened twice") }
            sessions.record(change, in: sessions.open(change.id, opening))
        } else {
            guard let slot = sessions.slot(of: change.id) else {
                throw .invalid("change of a session that is not there")
            }
            sessions.record(change, in: slot)
        }
    }
}

/// What an entry did, where that is not exactly what its command says.
struct Effect {
    enum Form: UInt8 {
        case noChange = 0
        case then = 1
        case otherwise = 2
        case rows = 3
    }
    var form: Form
    var deletedKeys: [[UInt8]] = []
}
