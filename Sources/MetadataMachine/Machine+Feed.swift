package import Basics
package import LogFormat
package import MetadataModel
internal import StateEngine

/// The change feed: what entries of the log changed, read back from the log and the outcome rows.
extension Machine {
    /// All changes of the entries of `range`, which have been applied; `slabs` hold them in order, and may hold more. When
    /// they are many bytes, those of its beginning: the batch says how far it goes. Nil when this state does not know what they did: it was taken from a snapshot that is newer.
    package func feed(
        _ slabs: [Slab], in range: ClosedRange<LogIndex>, sizeMax: Int = Limits.feedStretchSizeMax
    ) throws(MachineError) -> FeedBatch? {
        guard range.lowerBound > feedFloor, range.upperBound <= applied.last.index else { return nil }
        let (effects, end) = try effects(in: range, sizeMax: sizeMax)
        let range = range.lowerBound...end
        var writer = ByteWriter()
        var next = range.lowerBound
        for slab in slabs {
            let from = max(slab.firstIndex, next)
            let through = min(slab.lastIndex, range.upperBound)
            guard from <= through else { continue }
            invariant(from == next, "entry \(next) is not in the slabs")
            var index = from
            while index <= through {
                do throws(DecodeError) {
                    try ChangeDecoder.append(slab.record(at: index), effects[index.rawValue], into: &writer)
                } catch {
                    throw .malformed("entry \(index) for the change feed: \(error)")
                }
                if writer.count > sizeMax {
                    return FeedBatch(range: range.lowerBound...index, bytes: writer.takeBytes())
                }
                index = index.next
            }
            next = through.next
        }
        invariant(next == range.upperBound.next, "\(range) was not all in the slabs")
        return FeedBatch(range: range, bytes: writer.takeBytes())
    }

    /// Of the entries of `range` that have some. A group's row stands under its last index, so the first one at or
    /// after the end may speak of the range too.
    /// - Returns: also how far they go: through the end, or what is `sizeMax` bytes of rows from the beginning.
    private func effects(
        in range: ClosedRange<LogIndex>, sizeMax: Int
    ) throws(MachineError) -> (effects: [UInt64: ChangeDecoder.Effects], through: LogIndex) {
        var size = 0
        var through = range.upperBound
        var effects: [UInt64: ChangeDecoder.Effects] = [:]
        var failure: DecodeError?
        let end = Keyspace.outcome(range.upperBound)
        try onEngine { () throws(EngineError) in
            try engine.scan(
                from: Keyspace.outcome(range.lowerBound), to: Keyspace.outcome(LogIndex(.max)), reversed: false
            ) { key, row in
                do throws(DecodeError) {
                    try OutcomeReader.forEachEffect(row) { index, effect in
                        guard range.contains(LogIndex(index)) else { return }
                        effect(&effects[index, default: ChangeDecoder.Effects()])
                    }
                } catch {
                    failure = error
                    return .stop
                }
                guard !key.hasBytesAtLeast(end) else { return .stop }
                size += row.byteCount
                guard size > sizeMax else { return .next }
                var reader = ByteReader(key.extracting(1..<key.byteCount))
                do throws(DecodeError) { through = LogIndex(try reader.readUInt64().byteSwapped) } catch {
                    failure = error
                }
                return .stop
            }
        }
        if let failure { throw .engine(.corrupt("an outcome row: \(failure)")) }
        return (effects, through)
    }
}

extension RawSpan {
    fileprivate func hasBytesAtLeast(_ other: [UInt8]) -> Bool { order(comparedWith: other.rawSpan) >= 0 }
}

/// Outcome rows as the change feed reads them. Besides the items that `OutcomeWriter` lists:
///
///     u8 5 rows   u64 index | u32 count | (u8 table | u16 size, key | u8 0 deleted, 1 put: u32 size, stored value) each
///                 rows that the entry changed and its command does not show
///     u8 6 before what was there before the entry, where history is kept
enum OutcomeReader {
    /// Calls `body` with each item that says what an entry did, and with what adds it to the entry's effects.
    static func forEachEffect(
        _ row: RawSpan, _ body: (UInt64, (inout ChangeDecoder.Effects) -> Void) -> Void
    ) throws(DecodeError) {
        var reader = ByteReader(row)
        while !reader.isAtEnd {
            let item = try reader.readUInt8()
            switch item {
            case 3:
                let index = try reader.readUInt64()
                let number = try reader.readUInt8()
                guard let form = Effect.Form(rawValue: number) else { throw .unknown("effect", UInt64(number)) }
                var keys: [[UInt8]] = []
                for _ in 0..<(try reader.readUInt32()) { keys.append([UInt8](try reader.readBytes16())) }
                body(index) { effects in
                    effects.form = form
                    effects.deletedKeys = keys
                }
            case 5:
                let index = try reader.readUInt64()
                var rows: [ChangeDecoder.ChangedRow] = []
                for _ in 0..<(try reader.readUInt32()) { rows.append(try readRow(&reader)) }
                body(index) { $0.rows += rows }
            case 6:
                let index = try reader.readUInt64()
                var rows: [[UInt8]: RowBefore] = [:]
                for _ in 0..<(try reader.readUInt32()) {
                    let table = try reader.readUInt8()
                    let key = [table] + [UInt8](try reader.readBytes16())
                    rows[key] = try readBefore(&reader)
                }
                body(index) { $0.before = rows }
            default: try skip(item, &reader)
            }
        }
    }

    private static func readRow(_ reader: inout ByteReader) throws(DecodeError) -> ChangeDecoder.ChangedRow {
        let table = try reader.readUInt8()
        let key = [UInt8](try reader.readBytes16())
        let isPut = try reader.readBool()
        let stored = isPut ? [UInt8](try reader.readBytes32(max: Limits.recordPayloadSizeMax)) : nil
        return ChangeDecoder.ChangedRow(table: table, key: key, stored: stored)
    }

    private static func readBefore(_ reader: inout ByteReader) throws(DecodeError) -> RowBefore {
        let what = try reader.readUInt8()
        guard what > 0 else { return .nothing }
        guard what <= 2 else { throw .unknown("row before a change", UInt64(what)) }
        let revision = LogIndex(try reader.readUInt64())
        let value = what == 1 ? [UInt8](try reader.readBytes32(max: Limits.recordPayloadSizeMax)) : nil
        return .row(revision: revision, value: value)
    }

    /// What sessions go through says nothing of rows.
    private static func skip(_ item: UInt8, _ reader: inout ByteReader) throws(DecodeError) {
        switch item {
        case 1:
            _ = try reader.readSessionID()
            let flags = try reader.readUInt8()
            _ = try reader.readUInt64()
            if flags & 3 != 0 { _ = try reader.readUInt64() }
            if flags & 1 != 0 { _ = try reader.readBytes(16) }
            _ = try reader.readBytes16()
        case 2:
            _ = try reader.readUInt64()
            _ = try reader.readBytes(16 * Int(try reader.readUInt16()))
        case 4: _ = try reader.readBytes(32)
        default: throw .unknown("outcome item", UInt64(item))
        }
    }
}
