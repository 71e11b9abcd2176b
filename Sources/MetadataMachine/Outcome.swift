internal import Basics
internal import MetadataModel

/// What an apply group brought besides its rows, for two readers: a start after a crash, which goes on from the last
/// checkpoint of the sessions with the changes that came after it, and the change feed, to which a command alone does not
/// say what it did. One row for each group, in the same batch as the group's rows.
///
/// A row is a list of items:
///
///     u8 1 change    16 B session | u8 flags: 1 opened, 2 ended | [u64 timeout, ns] | u64 acknowledgedThrough
///                    | [u64 ended at, ns] | u16 size, reply
///     u8 2 expired   u64 ended at, ns | u16 count | 16 B each
///     u8 3 effect    u64 index | u8 what: 0 no change, 1 then, 2 else, 3 neither command nor branch says all
///                    | u32 count | (u16 size, deleted key) each
struct OutcomeWriter {
    private var writer = ByteWriter()

    mutating func takeBytes() -> [UInt8] { writer.takeBytes() }

    mutating func add(_ change: SessionChange) {
        writer.write(UInt8(1))
        writer.write(change.id)
        writer.write(UInt8((change.timeout != nil ? 1 : 0) | (change.endedAt != nil ? 2 : 0)))
        if let timeout = change.timeout { writer.write(UInt64(timeout.nanoseconds)) }
        writer.write(change.acknowledgedThrough)
        if let endedAt = change.endedAt { writer.write(endedAt.nanoseconds) }
        writer.writeBytes16(change.reply)
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

    /// Carries the session changes of a row over into `sessions`.
    static func replay(_ row: RawSpan, into sessions: inout SessionTable) throws(DecodeError) {
        var reader = ByteReader(row)
        while !reader.isAtEnd {
            let form = try reader.readUInt8()
            switch form {
            case 1:
                let id = try reader.readSessionID()
                let flags = try reader.readUInt8()
                let timeout = flags & 1 != 0 ? Interval.nanoseconds(Int64(clamping: try reader.readUInt64())) : nil
                let acknowledged = try reader.readUInt64()
                let endedAt = flags & 2 != 0 ? ClusterTime(nanoseconds: try reader.readUInt64()) : nil
                sessions.record(
                    SessionChange(
                        id: id, timeout: timeout, acknowledgedThrough: acknowledged, endedAt: endedAt,
                        reply: [UInt8](try reader.readBytes16())))
            case 2:
                let time = ClusterTime(nanoseconds: try reader.readUInt64())
                for _ in 0..<(try reader.readUInt16()) { _ = sessions.end(try reader.readSessionID(), at: time) }
            case 3:
                _ = try reader.readBytes(9)
                for _ in 0..<(try reader.readUInt32()) { _ = try reader.readBytes16() }
            default: throw .unknown("outcome item", UInt64(form))
            }
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
