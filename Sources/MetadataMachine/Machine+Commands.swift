internal import Basics
internal import MetadataModel
internal import StateEngine

/// What each command does.
extension Machine {
    func applyCommand(_ payload: RawSpan, _ entry: Entry, _ report: inout ApplyReport) throws(MachineError) {
        var reader = ByteReader(payload)
        let header: CommandHeader
        do throws(DecodeError) {
            header = try CommandHeader(decoding: &reader)
        } catch {
            throw .malformed("entry \(entry.index): \(error)")
        }
        guard header.session != .housekeeping else {
            return try applyHousekeeping(header.kind, &reader, entry, &report)
        }
        switch sessions.verdict(on: header, time: entry.time) {
        case .answer(let reply):
            replies.write(reply)
            outcome.add(Effect(form: .noChange), at: entry.index)
        case .refuse(let error):
            error.encode(revision: entry.index, into: &replies)
            outcome.add(Effect(form: .noChange), at: entry.index)
        case .apply(let opens):
            let start = replies.count
            let succeeded: Bool?
            do {
                succeeded = try applyMutation(header.kind, reader.readRemaining(), entry)
            } catch let error as EngineError {
                throw .engine(error)
            } catch {
                throw .malformed("entry \(entry.index): \(error)")
            }
            finish(header, opens: opens, entry, replyStart: start, succeeded: succeeded, &report)
        }
    }

    private func finish(
        _ header: CommandHeader, opens: Bool, _ entry: Entry, replyStart: Int, succeeded: Bool?,
        _ report: inout ApplyReport
    ) {
        let timeout = opens ? header.opening?.timeout : nil
        let ends = header.isOneShot || header.kind == .endSession
        var reply = [UInt8](replies.bytes.rawSpan.extracting(replyStart..<replies.count))
        if reply.count > Limits.storedReplySizeMax {
            var writer = ByteWriter()
            ReplyError(.resultNotKept, currentRevision: entry.index, succeeded: succeeded)
                .encode(revision: entry.index, into: &writer)
            reply = writer.takeBytes()
        }
        let change = SessionChange(
            id: header.session, timeout: timeout, acknowledgedThrough: header.acknowledgedThrough,
            endedAt: ends ? entry.time : nil, reply: reply)
        sessions.record(change)
        outcome.add(change)
        if let timeout, !ends { report.sessionsOpened.append(OpenSession(id: header.session, timeout: timeout)) }
        if ends, !opens { report.sessionsEnded.append(header.session) }
    }

    /// Carries a mutation out and appends its reply. Throws `EngineError` or `DecodeError`.
    /// - Returns: of a transaction, the branch that it took.
    private func applyMutation(_ kind: CommandKind, _ body: RawSpan, _ entry: Entry) throws -> Bool? {
        var reader = ByteReader(body)
        switch kind {
        case .put:
            let body = try PutBody(decoding: &reader)
            if try refuses(body.expectedRevision, on: body.key, entry) { return nil }
            put(body.key, body.value, entry)
            Reply.writeSuccess(revision: entry.index, into: &replies)
        case .delete:
            let body = try DeleteBody(decoding: &reader)
            if try refuses(body.expectedRevision, on: body.key, entry) { return nil }
            delete(body.key, entry)
            Reply.writeSuccess(revision: entry.index, into: &replies)
        case .deleteRange: try applyDeleteRange(try DeleteRangeBody(decoding: &reader), entry)
        case .createSequential:
            let body = try CreateSequentialBody(decoding: &reader)
            let key = Key.sequential(prefix: body.prefix, revision: entry.index)
            put(key.rawSpan, body.value, entry)
            Reply.writeSuccess(revision: entry.index, into: &replies)
            replies.writeBytes16(key)
        case .transaction: return try applyTransaction(try Transaction(decoding: &reader), entry)
        case .endSession: Reply.writeSuccess(revision: entry.index, into: &replies)
        case .tick, .expireSessions, .digestVerdict, .deleteFloor, .memberInfo, .featureLevel:
            throw DecodeError.invalid("housekeeping under a client's session")
        }
        return nil
    }

    // MARK: - Rows

    private func put(_ key: RawSpan, _ value: RawSpan, _ entry: Entry) {
        let (table, revision) = (Keyspace.rowTable, Keyspace.littleEndian(entry.index.rawValue))
        stage.batch.put(
            keyHead: table.rawSpan, key: key, valueHead: revision.rawSpan, value: value)
    }

    /// Leaves a tombstone whether there was a row or not: looking would cost more than the tombstone.
    private func delete(_ key: RawSpan, _ entry: Entry) {
        let (rows, tombstones) = (Keyspace.rowTable, Keyspace.tombstoneTable)
        let revision = Keyspace.littleEndian(entry.index.rawValue)
        stage.batch.delete(keyHead: rows.rawSpan, key: key)
        stage.batch.put(
            keyHead: tombstones.rawSpan, key: key, valueHead: revision.rawSpan, value: RawSpan())
    }

    /// The row under `key` as the staged group sees it.
    private func row(_ key: RawSpan) throws -> RowResult? {
        guard let stored = try stage.get((Keyspace.rowTable + [UInt8](key)).rawSpan) else { return nil }
        return try Row.decode(stored.rawSpan)
    }

    /// Answers `conflict` and is true when the row's revision is not the expected one (0: no row).
    private func refuses(_ expected: LogIndex?, on key: RawSpan, _ entry: Entry) throws -> Bool {
        guard let expected else { return false }
        let current = try row(key)?.revision ?? .zero
        guard current != expected else { return false }
        ReplyError(.conflict, currentRevision: current).encode(revision: entry.index, into: &replies)
        outcome.add(Effect(form: .noChange), at: entry.index)
        return true
    }

    // MARK: - Ranges

    private func applyDeleteRange(_ body: DeleteRangeBody, _ entry: Entry) throws {
        let limit = body.limit == 0 ? Limits.rangeDeleteRowsMax : Int(body.limit)
        var keys = try keys(in: body.span, countMax: limit + 1)
        let hasMore = keys.count > limit
        if hasMore, body.limit == 0 {
            ReplyError(
                .tooLarge, "more than \(limit) rows: delete them in parts, with a limit", limit: UInt64(limit)
            ).encode(revision: entry.index, into: &replies)
            outcome.add(Effect(form: .noChange), at: entry.index)
            return
        }
        if hasMore { keys.removeLast() }
        for key in keys { delete(key.rawSpan, entry) }
        outcome.add(Effect(form: .rows, deletedKeys: keys), at: entry.index)
        Reply.writeSuccess(revision: entry.index, into: &replies)
        DeleteRangeResult(rowCount: UInt32(keys.count), hasMore: hasMore).encode(into: &replies)
    }

    /// Keys of rows, as clients know them, in order.
    private func keys(in span: KeySpan, countMax: Int) throws -> [[UInt8]] {
        let range = Row.range(of: span, in: Keyspace.rowTable)
        var keys: [[UInt8]] = []
        try stage.scan(from: range.from, to: range.to, reversed: false) { key, _ in
            keys.append([UInt8](key.extracting(1..<key.byteCount)))
            return keys.count < countMax ? .next : .stop
        }
        return keys
    }

    // MARK: - Transactions

    private func applyTransaction(_ transaction: Transaction, _ entry: Entry) throws -> Bool? {
        var succeeded = true
        for comparison in transaction.comparisons {
            switch try holds(comparison) {
            case .success(let isTrue): succeeded = isTrue
            case .failure(let error):
                error.encode(revision: entry.index, into: &replies)
                outcome.add(Effect(form: .noChange), at: entry.index)
                return nil
            }
            if !succeeded { break }
        }
        let branch = succeeded ? transaction.then : transaction.otherwise
        var deletions: [Int: [[UInt8]]] = [:]
        var results: [TransactionResult.Result] = []
        var deletedKeys: [[UInt8]] = []
        // Reads see the state that the comparisons saw.
        for (position, operation) in branch.enumerated() {
            switch operation {
            case .put: results.append(.put)
            case .delete: results.append(.delete)
            case .get(let key): results.append(.get(try row(key.rawSpan)))
            case .deletePrefix(let prefix):
                let keys = try keys(in: .prefix(prefix), countMax: Limits.rangeDeleteRowsMax + 1)
                guard deletedKeys.count + keys.count <= Limits.rangeDeleteRowsMax else {
                    ReplyError(
                        .tooLarge, "a transaction that deletes more than \(Limits.rangeDeleteRowsMax) rows",
                        limit: UInt64(Limits.rangeDeleteRowsMax)
                    ).encode(revision: entry.index, into: &replies)
                    outcome.add(Effect(form: .noChange), at: entry.index)
                    return nil
                }
                deletions[position] = keys
                deletedKeys += keys
                results.append(.deletePrefix(rowCount: UInt32(keys.count)))
            }
        }
        for (position, operation) in branch.enumerated() {
            switch operation {
            case .put(let key, let value): put(key.rawSpan, value.rawSpan, entry)
            case .delete(let key): delete(key.rawSpan, entry)
            case .get: break
            case .deletePrefix: for key in deletions[position] ?? [] { delete(key.rawSpan, entry) }
            }
        }
        outcome.add(Effect(form: succeeded ? .then : .otherwise, deletedKeys: deletedKeys), at: entry.index)
        Reply.writeSuccess(revision: entry.index, into: &replies)
        TransactionResult(succeeded: succeeded, results: results).encode(into: &replies)
        return succeeded
    }

    private func holds(_ comparison: Transaction.Comparison) throws -> Result<Bool, ReplyError> {
        switch comparison {
        case .revision(let key, let expected):
            return .success(try row(key.rawSpan)?.revision ?? .zero == expected)
        case .value(let key, let expected): return .success(try row(key.rawSpan)?.value == expected)
        case .exists(let key, let expected): return .success((try row(key.rawSpan) != nil) == expected)
        case .unchanged(let prefix, let since):
            guard since >= deleteFloor else {
                return .failure(
                    ReplyError(
                        .compacted, "deletes before revision \(deleteFloor) are no longer known",
                        currentRevision: deleteFloor))
            }
            for table in [Keyspace.rowTable, Keyspace.tombstoneTable]
            where try changed(in: Row.range(of: .prefix(prefix), in: table), after: since) {
                return .success(false)
            }
            return .success(true)
        }
    }

    private func changed(in range: KeyRange, after since: LogIndex) throws -> Bool {
        var isChanged = false
        try stage.scan(from: range.from, to: range.to, reversed: false) { (_, value) throws(EngineError) in
            isChanged = try Row.revision(value) > since
            return isChanged ? .stop : .next
        }
        return isChanged
    }

    // MARK: - Housekeeping

    private func applyHousekeeping(
        _ kind: CommandKind, _ reader: inout ByteReader, _ entry: Entry, _ report: inout ApplyReport
    ) throws(MachineError) {
        let command: Housekeeping?
        do throws(DecodeError) {
            command = try Housekeeping(kind: kind, decoding: &reader)
        } catch {
            throw .malformed("entry \(entry.index): \(error)")
        }
        guard let command else { throw .malformed("entry \(entry.index): a client's command without a session") }
        switch command {
        case .tick: break
        case .expireSessions(let ids):
            let gone = ids.filter { sessions.end($0, at: entry.time) }
            outcome.addExpired(gone, at: entry.time)
            report.sessionsEnded += gone
        case .digestVerdict(let verdict): judge(verdict, &report)
        case .deleteFloor(let floor): try moveDeleteFloor(to: floor)
        case .memberInfo(let info):
            var writer = ByteWriter()
            info.encode(into: &writer)
            stage.batch.put(Keyspace.memberInfo(info.node), writer.takeBytes())
            memberInfo[info.node] = info
            report.memberInfo.append(info)
        case .featureLevel(let level):
            var writer = ByteWriter()
            writer.write(level)
            stage.batch.put(Keyspace.featureLevel, writer.takeBytes())
            featureLevel = level
            report.featureLevel = level
        }
    }

    private func judge(_ verdict: DigestVerdict, _ report: inout ApplyReport) {
        guard let own = recentDigests.first(where: { $0.index == verdict.index })?.digest else { return }
        guard let majority = verdict.majority else {
            report.digestFindings.append(.noMajority(index: verdict.index))
            return
        }
        guard own != majority else { return }
        report.digestFindings.append(.ownStateDiffers(index: verdict.index, own: own, majority: majority))
    }

    /// Tombstones at or below the floor go; who asks for changes since before it is told `compacted`.
    private func moveDeleteFloor(to floor: LogIndex) throws(MachineError) {
        guard floor > deleteFloor else { return }
        var old: [[UInt8]] = []
        try onEngine { () throws(EngineError) in
            let range = KeyRange(prefix: Keyspace.tombstoneTable)
            try stage.scan(from: range.from, to: range.to, reversed: false) { (key, value) throws(EngineError) in
                if try Row.revision(value) <= floor { old.append([UInt8](key)) }
                return .next
            }
        }
        for key in old { stage.batch.delete(key.rawSpan) }
        stage.batch.put(Keyspace.deleteFloor, Keyspace.littleEndian(floor.rawValue))
        deleteFloor = floor
    }
}

/// Rows of the keyspace as they are stored.
enum Row {
    static func decode(_ stored: RawSpan) throws(EngineError) -> RowResult {
        RowResult(revision: try revision(stored), value: [UInt8](stored.extracting(8..<stored.byteCount)))
    }

    static func revision(_ stored: RawSpan) throws(EngineError) -> LogIndex {
        var reader = ByteReader(stored)
        do throws(DecodeError) {
            return LogIndex(try reader.readUInt64())
        } catch {
            throw .corrupt("a row of \(stored.byteCount) bytes")
        }
    }

    /// The stored keys of `table` that `span` speaks of.
    static func range(of span: KeySpan, in table: [UInt8]) -> KeyRange {
        switch span {
        case .prefix(let prefix): KeyRange(prefix: table + prefix)
        case .range(let from, let to):
            KeyRange(from: table + from, to: to.map { table + $0 } ?? KeyRange.end(ofPrefix: table))
        }
    }
}
