internal import Basics
internal import LogFormat
internal import MetadataModel
internal import StateEngine

/// What entries changed, found again from the log and from what outcome rows say beside it: a function of (record,
/// effects). The one way in which the change feed is made, live and for those that catch up.
enum ChangeDecoder {
    /// What outcome rows say of one entry.
    struct Effects {
        /// Nil: the entry did exactly what its command says.
        var form: Effect.Form?
        var deletedKeys: [[UInt8]] = []
        /// Rows that the command does not show.
        var rows: [ChangedRow] = []
        /// What was there before, by the row's key with its table's byte first.
        var before: [[UInt8]: RowBefore] = [:]
    }

    struct ChangedRow {
        var table: UInt8
        var key: [UInt8]
        /// As stored; nil: deleted.
        var stored: [UInt8]?
    }

    /// Appends the entry's part of a `FeedBatch`; nothing when it changed nothing.
    /// - Throws: when the record cannot be read, or what explains it is missing.
    static func append(
        _ record: borrowing RecordView, _ effects: Effects?, into writer: inout ByteWriter
    ) throws(DecodeError) {
        let revision = record.header.id.index
        guard record.header.type == .command else {
            // Timers that were due at it: its payload says nothing of them.
            guard let effects else { return }
            var rows = Rows()
            for row in effects.rows { try rows.add(row) }
            let origin = ChangeOrigin(session: .housekeeping, principal: 0, time: record.header.time)
            return write(revision, origin, into: &writer) { rows.write(effects.before, into: &$0) }
        }
        var reader = ByteReader(record.payload)
        let header = try CommandHeader(decoding: &reader)
        let origin = ChangeOrigin(
            session: header.session, principal: record.header.principal, time: record.header.time)
        guard let effects else { return try appendPlain(header, &reader, revision, origin, into: &writer) }
        var rows = Rows()
        for row in effects.rows { try rows.add(row) }
        if effects.form != .noChange {
            try addCommand(header, &reader, revision, effects, to: &rows)
        }
        write(revision, origin, into: &writer) { rows.write(effects.before, into: &$0) }
    }

    /// Without an effect of its own an entry is a plain put or delete that took place: written as it is read.
    private static func appendPlain(
        _ header: CommandHeader, _ reader: inout ByteReader, _ revision: LogIndex, _ origin: ChangeOrigin,
        into writer: inout ByteWriter
    ) throws(DecodeError) {
        let session = header.session
        switch header.kind {
        case .put:
            let body = try PutBody(decoding: &reader)
            let owner = body.isOwned ? session : nil
            write(revision, origin, into: &writer) { Self.write(put: body.key, body.value, owner: owner, into: &$0) }
        case .delete:
            let body = try DeleteBody(decoding: &reader)
            write(revision, origin, into: &writer) { writer in
                writer.write(FeedTable.records.rawValue)
                writer.write(UInt8(0))
                writer.write(UInt16(body.key.byteCount))
                writer.write(body.key)
            }
        case .createSequential, .createOwnedSequential:
            let body = try CreateSequentialBody(decoding: &reader)
            let key = Key.sequential(prefix: body.prefix, revision: revision)
            let owner = header.kind == .createOwnedSequential ? session : nil
            write(revision, origin, into: &writer) { Self.write(put: key.rawSpan, body.value, owner: owner, into: &$0) }
        case .deleteRange, .transaction: throw .invalid("entry \(revision), whose effect is not kept")
        // What these change is listed in their outcome, if it is anything.
        case .campaign, .withdraw, .setCandidateData, .acquireLock, .releaseLock, .stateSet, .stateExpunge, .setHistory,
            .registry: break
        case .endSession, .expireSessions, .tick, .digestVerdict, .deleteFloor, .memberInfo, .featureLevel: break
        }
    }

    private static func write(put key: RawSpan, _ value: RawSpan, owner: SessionID?, into writer: inout ByteWriter) {
        writer.write(FeedTable.records.rawValue)
        writer.write(UInt8(owner == nil ? 1 : 3))
        writer.write(UInt16(key.byteCount))
        writer.write(key)
        if let owner { writer.write(owner) }
        writer.write(UInt32(value.byteCount))
        writer.write(value)
    }

    private static func write(
        _ revision: LogIndex, _ origin: ChangeOrigin, into writer: inout ByteWriter, _ body: (inout ByteWriter) -> Void
    ) {
        let start = writer.count
        writer.write(revision.rawValue)
        origin.encode(into: &writer)
        writer.write(UInt32(0))
        let bodyStart = writer.count
        body(&writer)
        if writer.count == bodyStart {
            writer.removeAll(after: start)
        } else {
            writer.overwrite(at: start + 8 + ChangeOrigin.size, with: UInt32(writer.count - bodyStart))
        }
    }

    /// Adds what the command did besides the rows that its outcome lists.
    private static func addCommand(
        _ header: CommandHeader, _ reader: inout ByteReader, _ revision: LogIndex, _ effects: Effects, to rows: inout Rows
    ) throws(DecodeError) {
        for key in effects.deletedKeys { rows.delete(key) }
        let session = header.session
        switch header.kind {
        case .put:
            let body = try PutBody(decoding: &reader)
            rows.put([UInt8](body.key), [UInt8](body.value), owner: body.isOwned ? session : nil)
        case .delete: rows.delete([UInt8](try DeleteBody(decoding: &reader).key))
        case .createSequential, .createOwnedSequential:
            let body = try CreateSequentialBody(decoding: &reader)
            let owner = header.kind == .createOwnedSequential ? session : nil
            rows.put(Key.sequential(prefix: body.prefix, revision: revision), [UInt8](body.value), owner: owner)
        case .transaction:
            guard let form = effects.form, form == .then || form == .otherwise else {
                throw .invalid("transaction \(revision), whose branch is not kept")
            }
            let transaction = try Transaction(decoding: &reader)
            let took = form == .then || Mutant.watchMistakesBranch.isOn
            rows.add(took ? transaction.then : transaction.otherwise, session)
        case .deleteRange:
            guard effects.form == .rows else { throw .invalid("range delete \(revision), whose rows are not kept") }
        case .campaign, .withdraw, .setCandidateData, .acquireLock, .releaseLock, .stateSet, .stateExpunge, .setHistory,
            .registry: break
        case .endSession, .expireSessions, .tick, .digestVerdict, .deleteFloor, .memberInfo, .featureLevel: break
        }
    }

    /// What becomes of each key; the last word counts.
    private struct Rows {
        private struct Place: Hashable {
            var table: UInt8
            var key: [UInt8]
        }
        private struct Content {
            var value: [UInt8]?
            var owner: SessionID?
        }
        private var changed: [Place: Content] = [:]

        mutating func put(_ key: [UInt8], _ value: [UInt8], owner: SessionID? = nil) {
            changed[Place(table: FeedTable.records.rawValue, key: key)] = Content(value: value, owner: owner)
        }

        mutating func delete(_ key: [UInt8]) {
            changed[Place(table: FeedTable.records.rawValue, key: key)] = Content()
        }

        mutating func add(_ row: ChangedRow) throws(DecodeError) {
            guard let table = FeedTable(rawValue: row.table) else {
                throw .unknown("table of a changed row", UInt64(row.table))
            }
            var content = Content(value: row.stored)
            if table == .records, let stored = row.stored {
                do throws(EngineError) {
                    content.owner = try Row.owner(stored.rawSpan)
                    content.value = [UInt8](try Row.value(stored.rawSpan))
                } catch {
                    throw .truncated
                }
            }
            changed[Place(table: row.table, key: row.key)] = content
        }

        /// The keys that prefix deletes found are there already, as deleted. A put after such a delete brings its key
        /// back; a delete after a put takes it again.
        mutating func add(_ branch: [Transaction.Operation], _ session: SessionID) {
            var putKeys: [[UInt8]] = []
            for operation in branch {
                switch operation {
                case .put(let key, let value):
                    put(key, value)
                    putKeys.append(key)
                case .putOwned(let key, let value):
                    put(key, value, owner: session)
                    putKeys.append(key)
                case .delete(let key): delete(key)
                case .deletePrefix(let prefix): for key in putKeys where key.starts(with: prefix) { delete(key) }
                case .get: break
                }
            }
        }

        func write(_ before: [[UInt8]: RowBefore], into writer: inout ByteWriter) {
            let ordered = changed.sorted { left, right in
                left.key.table == right.key.table
                    ? left.key.key.lexicographicallyPrecedes(right.key.key) : left.key.table < right.key.table
            }
            for (place, content) in ordered {
                writer.write(place.table)
                Change(
                    key: place.key, value: content.value, owner: content.owner,
                    before: before.isEmpty
                        ? nil : Mutant.watchShowsWrongBefore.isOn ? .nothing : before[[place.table] + place.key]
                ).encode(into: &writer)
            }
        }
    }
}
