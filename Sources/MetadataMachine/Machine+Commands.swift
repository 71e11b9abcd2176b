internal import Basics
internal import MetadataModel
internal import RegistryModel
internal import StateEngine

/// What each command does.
extension Machine {
    func applyCommand(_ payload: RawSpan, _ entry: Entry, _ report: inout ApplyReport) throws(MachineError) {
        var reader = ByteReader(payload)
        let header: CommandHeader
        do throws(DecodeError) {
            header = try CommandHeader(decoding: &reader)
        } catch {
            throw unreadable(entry, error)
        }
        guard header.session != .housekeeping else {
            return try applyHousekeeping(header.kind, &reader, entry, &report)
        }
        var entry = entry
        entry.session = header.session
        entry.isOneShot = header.isOneShot
        if header.kind == .registry { entry.mastersFence = header.mastersFence ?? 0 }
        switch sessions.verdict(on: header, time: entry.time) {
        case .answer(let reply):
            reply.write(into: &replies)
            outcome.add(Effect(form: .noChange), at: entry.index)
        case .refuse(let refusal): refuse(refusal.error, entry)
        case .open(let opening):
            let slot = sessions.open(header.session, opening)
            try applyMutation(header, reader.readRemaining(), in: slot, opening: opening, entry, &report)
        case .apply(let slot):
            try applyMutation(header, reader.readRemaining(), in: slot, opening: nil, entry, &report)
        }
    }

    /// - Parameters:
    ///   - slot: of the command's session.
    ///   - opening: when the command opens it.
    private func applyMutation(
        _ header: CommandHeader, _ body: RawSpan, in slot: Int, opening: SessionOpening?, _ entry: Entry,
        _ report: inout ApplyReport
    ) throws(MachineError) {
        let start = replies.count
        var succeeded: Bool?
        var isOver = header.isOneShot
        do {
            let isHeldToGuards = header.kind != .registry || !Mutant.skipMastersFence.isOn
            if !header.guards.isEmpty, isHeldToGuards, let refusal = try refusal(by: header.guards) {
                refuse(refusal, entry)
            } else {
                succeeded = try carryOut(header.kind, body, entry)
                if header.kind == .endSession { isOver = true }
            }
        } catch let error as EngineError {
            throw .engine(error)
        } catch let error as DecodeError {
            throw unreadable(entry, error)
        } catch {
            throw .malformed("entry \(entry.index): \(error)")
        }
        let change = SessionChange(
            id: header.session, opening: opening, acknowledgedThrough: header.acknowledgedThrough,
            ends: isOver, time: entry.time,
            reply: keptReply(from: start, succeeded: succeeded, entry))
        // Small transactions can read much, and a group holds many of them: behind so much, each is told what a retry would
        // be. Replies are no part of the state, so it does not matter that groups begin elsewhere on other nodes.
        if start > Limits.groupReplySizeMax, replies.count - start > Limits.storedReplySizeMax {
            replies.removeAll(after: start)
            change.reply.write(into: &replies)
        }
        sessions.record(change, in: slot)
        outcome.add(change)
        switch (opening, change.ends) {
        case (let opening?, false):
            report.sessionsOpened.append(OpenSession(id: change.id, timeout: opening.timeout))
        case (nil, true): report.sessionsEnded.append(change.id)
        case (_?, true), (nil, false): break
        }
    }

    /// Of the reply that begins at `start`, what a retry will be told.
    private func keptReply(from start: Int, succeeded: Bool?, _ entry: Entry) -> KeptReply {
        guard replies.count - start > Limits.storedReplySizeMax else {
            let written = replies.bytes
            return KeptReply(written.rawSpan.extracting(start..<written.count))
        }
        var writer = ByteWriter()
        ReplyError(.resultNotKept, currentRevision: entry.index, succeeded: succeeded)
            .encode(revision: entry.index, into: &writer)
        let said = writer.takeBytes()
        return KeptReply(said.rawSpan)
    }

    /// Answers an error; the entry changes nothing.
    func refuse(_ error: ReplyError, _ entry: Entry) {
        error.encode(revision: entry.index, into: &replies)
        outcome.add(Effect(form: .noChange), at: entry.index)
    }

    /// Carries a mutation out and appends its reply. Throws `EngineError` or `DecodeError`.
    /// - Returns: of a transaction, the branch that it took.
    private func carryOut(_ kind: CommandKind, _ body: RawSpan, _ entry: Entry) throws -> Bool? {
        var reader = ByteReader(body)
        switch kind {
        case .put:
            let body = try PutBody(decoding: &reader)
            if try refuses(body.expectedRevision, on: body.key, entry) { return nil }
            if body.isOwned {
                guard try putOwnedIfRoom(body.key, body.value, entry) else { return nil }
            } else {
                try put(body.key, body.value, entry)
            }
            Reply.writeSuccess(revision: entry.index, into: &replies)
        case .delete:
            let body = try DeleteBody(decoding: &reader)
            if try refuses(body.expectedRevision, on: body.key, entry) { return nil }
            try delete(body.key, entry)
            Reply.writeSuccess(revision: entry.index, into: &replies)
        case .deleteRange: try applyDeleteRange(try DeleteRangeBody(decoding: &reader), entry)
        case .createSequential, .createOwnedSequential:
            let body = try CreateSequentialBody(decoding: &reader)
            let key = Key.sequential(prefix: body.prefix, revision: entry.index)
            // Somebody may have put this very key by name before its turn came.
            if try refuses(.zero, on: key.rawSpan, entry) { return nil }
            if kind == .createOwnedSequential {
                guard try putOwnedIfRoom(key.rawSpan, body.value, entry) else { return nil }
            } else {
                try put(key.rawSpan, body.value, entry)
            }
            Reply.writeSuccess(revision: entry.index, into: &replies)
            replies.writeBytes16(key)
        case .transaction: return try applyTransaction(try Transaction(decoding: &reader), entry)
        case .endSession:
            try releaseOwned(entry)
            Reply.writeSuccess(revision: entry.index, into: &replies)
        case .campaign, .withdraw, .setCandidateData, .acquireLock, .releaseLock, .stateSet, .stateExpunge:
            guard let command = try CoordinationCommand(kind: kind, decoding: &reader) else { return nil }
            try apply(command, entry)
        case .setHistory: setHistory(try SetHistoryBody(decoding: &reader), entry)
        case .registry: try apply(try RegistryCommand(decoding: &reader), entry)
        case .tick, .expireSessions, .digestVerdict, .deleteFloor, .memberInfo, .featureLevel:
            throw DecodeError.invalid("housekeeping under a client's session")
        }
        return nil
    }

    /// - Returns: false when the session may own no more, which is answered.
    private func putOwnedIfRoom(_ key: RawSpan, _ value: RawSpan, _ entry: Entry) throws(EngineError) -> Bool {
        if let refusal = try refusalToOwn(1, entry) {
            refuse(refusal, entry)
            return false
        }
        try putOwned(key, value, entry)
        return true
    }

    // MARK: - Rows

    func put(_ key: RawSpan, _ value: RawSpan, _ entry: Entry) throws(EngineError) {
        if !history.isEmpty { try noteBefore(key) }
        let (table, revision) = (Keyspace.rowTable, Row.head(entry.index))
        stage.batch.put(
            keyHead: table.rawSpan, key: key, valueHead: unsafe revision.span.bytes, value: value)
    }

    /// Leaves a tombstone whether there was a row or not: looking would cost more than the tombstone.
    func delete(_ key: RawSpan, _ entry: Entry) throws(EngineError) {
        if !history.isEmpty { try noteBefore(key) }
        let (rows, tombstones) = (Keyspace.rowTable, Keyspace.tombstoneTable)
        let revision = Row.head(entry.index)
        if Mutant.applyDependsOnNode.isOn, node.rawValue % 3 == 0 { return }
        stage.batch.delete(keyHead: rows.rawSpan, key: key)
        stage.batch.put(
            keyHead: tombstones.rawSpan, key: key, valueHead: unsafe revision.span.bytes, value: RawSpan())
    }

    /// What is stored under `key`, as the staged group sees it.
    func stored(_ key: RawSpan) throws(EngineError) -> [UInt8]? {
        let key = Row.key(key)
        return try stage.get(key.rawSpan)
    }

    /// The row's revision; 0: there is no row.
    func revision(of key: RawSpan) throws(EngineError) -> LogIndex {
        guard let stored = try stored(key) else { return .zero }
        return try Row.revision(stored.rawSpan)
    }

    /// Answers `conflict` and is true when the row's revision is not the expected one (0: no row).
    private func refuses(_ expected: LogIndex?, on key: RawSpan, _ entry: Entry) throws(EngineError) -> Bool {
        guard let expected else { return false }
        let current = try revision(of: key)
        guard current != expected, !Mutant.ignoreCondition.isOn else { return false }
        refuse(ReplyError(.conflict, currentRevision: current), entry)
        return true
    }

    // MARK: - Ranges

    private func applyDeleteRange(_ body: DeleteRangeBody, _ entry: Entry) throws {
        let limit = body.limit == 0 ? Limits.rangeDeleteRowsMax : Int(body.limit)
        var keys = try keys(in: body.span, countMax: limit + 1)
        let hasMore = keys.count > limit
        if hasMore, body.limit == 0 {
            let advice = "more than \(limit) rows: delete them in parts, with a limit"
            return refuse(ReplyError(.tooLarge, advice, limit: UInt64(limit)), entry)
        }
        if hasMore { keys.removeLast() }
        if !history.isEmpty {
            let noted = before.rows.count
            guard let kept = try keys.firstIndex(where: { try !keepsBefore($0.rawSpan) }) else {
                return try delete(keys, hasMore: hasMore, entry)
            }
            before.cut(to: noted)
            // With a limit, what the caller does not get now comes with the next part.
            guard body.limit > 0 else { return refuse(Self.historyRefusal, entry) }
            return try delete(Array(keys[..<kept]), hasMore: true, entry)
        }
        try delete(keys, hasMore: hasMore, entry)
    }

    private func delete(_ keys: [[UInt8]], hasMore: Bool, _ entry: Entry) throws {
        for key in keys { try delete(key.rawSpan, entry) }
        outcome.add(Effect(form: .rows, deletedKeys: keys), at: entry.index)
        Reply.writeSuccess(revision: entry.index, into: &replies)
        DeleteRangeResult(rowCount: UInt32(keys.count), hasMore: hasMore).encode(into: &replies)
    }

    /// Keys of rows, as clients know them, in order.
    func keys(in span: KeySpan, countMax: Int) throws(EngineError) -> [[UInt8]] {
        let range = Row.range(of: span, in: Keyspace.rowTable)
        var keys: [[UInt8]] = []
        try stage.scan(from: range.from, to: range.to, reversed: false) { key, _ in
            keys.append([UInt8](key.extracting(1..<key.byteCount)))
            return keys.count < countMax ? .next : .stop
        }
        return keys
    }

    // MARK: - Housekeeping

    private func applyHousekeeping(
        _ kind: CommandKind, _ reader: inout ByteReader, _ entry: Entry, _ report: inout ApplyReport
    ) throws(MachineError) {
        let command: Housekeeping?
        do throws(DecodeError) {
            command = try Housekeeping(kind: kind, decoding: &reader)
        } catch {
            throw unreadable(entry, error)
        }
        guard let command else { throw .malformed("entry \(entry.index): a client's command without a session") }
        switch command {
        case .tick: break
        case .expireSessions(let ids):
            let gone = try onEngine { () throws(EngineError) in try expire(ids, entry, &report) }
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
            if let refusal = levels.refusal(of: level) { throw .tooNew("entry \(entry.index): \(refusal)") }
            guard level > featureLevel else { return }
            featureLevel = level
            storeFeatureLevel()
        }
    }

    func storeFeatureLevel() {
        var writer = ByteWriter()
        writer.write(featureLevel)
        stage.batch.put(Keyspace.featureLevel, writer.takeBytes())
    }

    /// What this release does not know was logged by a newer one; the cluster's level should have kept it out.
    private func unreadable(_ entry: Entry, _ error: DecodeError) -> MachineError {
        guard case .unknown(let what, let number) = error else { return .malformed("entry \(entry.index): \(error)") }
        return .tooNew(
            "entry \(entry.index) of the log holds what this release does not know (\(what) \(number)): a newer release "
                + "has logged it. Start the node with that release")
    }

    private func judge(_ verdict: DigestVerdict, _ report: inout ApplyReport) {
        guard let majority = verdict.majority else {
            report.digestFindings.append(.noMajority(index: verdict.index))
            return
        }
        // A node that was away when the index was applied has nothing to compare.
        guard let own = recentDigests.last(where: { $0.index == verdict.index })?.digest else { return }
        guard own != majority else { return }
        report.digestFindings.append(.ownStateDiffers(index: verdict.index, own: own, majority: majority))
    }

    /// Raises the floor, or removes more of the tombstones below it. From the entry on that raises it, whoever asks for
    /// changes since before it is told `compacted`, so the tombstones that are left tell nobody anything. They go in parts,
    /// because a single revision may have left tens of thousands, and every replica applies an entry in one go.
    private func moveDeleteFloor(to floor: LogIndex) throws(MachineError) {
        let isRaised = floor > deleteFloor
        if isRaised {
            stage.batch.put(Keyspace.deleteFloor, Keyspace.littleEndian(floor.rawValue))
            deleteFloor = floor
        }
        let stored = tombstoneSweep
        // A raise begins a sweep. One that is under way is gone on with by the leader's next entry, and begins anew for the
        // higher floor when it has come to the end: so it gets there, however often the floor rises.
        guard isRaised == (stored == nil) else { return }
        tombstoneSweep = try sweepTombstones(stored ?? TombstoneSweep(floor: floor, next: []))
        if let left = tombstoneSweep {
            stage.batch.put(Keyspace.tombstoneSweep, Keyspace.littleEndian(left.floor.rawValue) + left.next)
        } else if stored != nil {
            stage.batch.delete(Keyspace.tombstoneSweep)
        }
    }

    /// Looks at the next tombstones, and removes those at or below the floor.
    /// - Returns: where to go on; nil: none are left.
    private func sweepTombstones(_ sweep: TombstoneSweep) throws(MachineError) -> TombstoneSweep? {
        let floor = deleteFloor
        var old: [[UInt8]] = []
        var looked = 0
        var next: [UInt8]?
        try onEngine { () throws(EngineError) in
            let (from, end) = (Keyspace.tombstoneTable + sweep.next, KeyRange.end(ofPrefix: Keyspace.tombstoneTable))
            try stage.scan(from: from, to: end, reversed: false) { (key, value) throws(EngineError) in
                guard looked < Limits.tombstonesPerSweepMax else {
                    next = [UInt8](key.extracting(1..<key.byteCount))
                    return .stop
                }
                looked += 1
                if try Row.revision(value) <= floor { old.append([UInt8](key)) }
                return .next
            }
        }
        for key in old { stage.batch.delete(key.rawSpan) }
        if let next { return TombstoneSweep(floor: sweep.floor, next: next) }
        return sweep.floor < floor ? TombstoneSweep(floor: floor, next: []) : nil
    }
}

/// Rows of the keyspace as they are stored.
enum Row {
    private static let headSize = 8
    private static let ownedHeadSize = 24
    private static let ownedBit: UInt64 = 1 << 63

    /// What stands before the value: the revision.
    static func head(_ revision: LogIndex) -> InlineArray<1, UInt64> { [revision.rawValue.littleEndian] }

    /// What stands before the value of a row that goes with a session.
    static func head(_ revision: LogIndex, owner: SessionID) -> InlineArray<3, UInt64> {
        [(revision.rawValue | ownedBit).littleEndian, owner.first.littleEndian, owner.second.littleEndian]
    }

    /// Where the row of a client's key is stored.
    static func key(_ key: RawSpan) -> [UInt8] {
        var stored: [UInt8] = []
        stored.reserveCapacity(Keyspace.rowTable.count + key.byteCount)
        stored.append(contentsOf: Keyspace.rowTable)
        stored.append(contentsOf: key)
        return stored
    }

    static func decode(_ stored: RawSpan) throws(EngineError) -> RowResult {
        RowResult(revision: try revision(stored), value: [UInt8](try value(stored)))
    }

    static func revision(_ stored: RawSpan) throws(EngineError) -> LogIndex {
        LogIndex(try headWord(stored) & ~ownedBit)
    }

    @_lifetime(copy stored)
    static func value(_ stored: RawSpan) throws(EngineError) -> RawSpan {
        let isOwned = try headWord(stored) & ownedBit != 0
        return stored.extracting((isOwned ? ownedHeadSize : headSize)..<stored.byteCount)
    }

    /// The session with which the row goes.
    static func owner(_ stored: RawSpan) throws(EngineError) -> SessionID? {
        guard try headWord(stored) & ownedBit != 0 else { return nil }
        var reader = ByteReader(stored.extracting(headSize..<ownedHeadSize))
        do throws(DecodeError) {
            return try reader.readSessionID()
        } catch {
            throw .corrupt("a row of \(stored.byteCount) bytes")
        }
    }

    /// Throws when `stored` is too short to be a row: after it, the whole head is there.
    private static func headWord(_ stored: RawSpan) throws(EngineError) -> UInt64 {
        var reader = ByteReader(stored)
        do throws(DecodeError) {
            let word = try reader.readUInt64()
            guard word & ownedBit == 0 || stored.byteCount >= ownedHeadSize else { throw .truncated }
            return word
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
