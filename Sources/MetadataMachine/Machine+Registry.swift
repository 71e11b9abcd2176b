internal import Basics
internal import MetadataModel
internal import RegistryMachine
internal import RegistryModel
internal import StateEngine

/// The masters' registry: rows of a table of its own, which only its commands change.
extension Machine {
    /// Carries out a command whose guard holds, or answers which rule refuses it.
    func apply(_ command: RegistryCommand, _ entry: Entry) throws {
        var registrar = Registrar(
            rows: StagedRegistry(machine: self), now: entry.time.nanoseconds, fence: entry.mastersFence)
        do {
            let reply = try registrar.carryOut(command)
            Reply.writeSuccess(revision: entry.index, into: &replies)
            reply.encode(into: &replies)
        } catch let error as DecodeError {
            // The command has been read: it is a row that cannot be.
            throw EngineError.corrupt("a row of the registry: \(error)")
        } catch let refusal as RegistryRefusal {
            let message = "\(refusal.rule.rawValue): \(refusal.detail)"
            return refuse(ReplyError(.rejected, message, rule: refusal.rule.rawValue), entry)
        }
        // It may have set a timer; one that it has taken away is found out when it would have been due.
        guard let due = registrar.earliestTimerSet.map(ClusterTime.init(nanoseconds:)) else { return }
        nextTimer = nextTimer.map { min($0, due) } ?? due
    }

    func carryOutRegistryTimers(_ entry: Entry) throws(EngineError) {
        var registrar = Registrar(rows: StagedRegistry(machine: self), now: entry.time.nanoseconds, fence: 0)
        do {
            try registrar.carryOutTimers()
        } catch let error as EngineError {
            throw error
        } catch {
            throw .corrupt("a timer of the registry: \(error)")
        }
    }

    func firstRegistryTimer<Reader: EngineReader>(in reader: Reader) throws(EngineError) -> ClusterTime? {
        let range = KeyRange(prefix: [Keyspace.registryTable, RegistryTable.timers.rawValue])
        var first: ClusterTime?
        try reader.scan(from: range.from, to: range.to, reversed: false) { key, _ in
            first = ClusterTime(nanoseconds: RegistryKey.time(ofTimer: [UInt8](key.extracting(1..<key.byteCount))))
            return .stop
        }
        return first
    }

    // MARK: - Reading

    func answerRegistry(
        _ id: UInt64, _ prefix: [UInt8], _ request: PageRequest, at now: Instant, into writer: inout ByteWriter
    ) throws {
        guard id > 0 else {
            if prefix != RegistryKey(.registry).bytes { try checkNothingIsImported() }
            var page = try registryPage(of: engine, prefix, request)
            if page.hasMore, request.pinsView {
                page.view = try views.add(try engine.makeView(), revision: applied.last.index, now: now)
            }
            Reply.writeSuccess(revision: applied.last.index, into: &writer)
            return page.encode(into: &writer)
        }
        guard let (view, revision) = views.use(id, now: now) else {
            throw ReplyError(.viewReleased, "view \(id) is not kept any more: read the registry again from the start")
        }
        var page = try registryPage(of: view, prefix, request)
        if page.hasMore { page.view = id } else { views.release(id) }
        Reply.writeSuccess(revision: revision, into: &writer)
        page.encode(into: &writer)
    }

    /// Half a registry is none: nobody is to take what has come of an import for all that there is. The registry's own
    /// row says how far the import is, and is read by itself also meanwhile.
    private func checkNothingIsImported() throws {
        let key = [Keyspace.registryTable] + RegistryKey(.registry).bytes
        guard let stored = try engine.get(key.rawSpan) else { return }
        let row: RegistryRow
        do throws(DecodeError) {
            row = try RegistryRow(stored)
        } catch {
            throw EngineError.corrupt("a row of the registry: \(error)")
        }
        guard row.importing != nil else { return }
        let rule = RegistryRule.importUnderWay.rawValue
        throw ReplyError(
            .rejected, "\(rule): the registry is being imported: read it once all of it has come, or none is left; "
                + "`quorate registry status` says how far it is",
            rule: rule)
    }

    private func registryPage<Reader: EngineReader>(
        of reader: Reader, _ prefix: [UInt8], _ request: PageRequest
    ) throws -> Page {
        let range = KeyRange(prefix: [Keyspace.registryTable] + prefix)
        let from = request.after.isEmpty ? range.from : KeyRange.successor(of: [Keyspace.registryTable] + request.after)
        let limit = request.limit == 0 ? Limits.listPageCountMax : min(Int(request.limit), Limits.listPageCountMax)
        var page = Page(view: 0, hasMore: false, cursor: [], count: 0, rows: [])
        var size = 0
        try reader.scan(from: from, to: range.to, reversed: false) { key, value in
            size += key.byteCount + value.byteCount + Self.registryRowOverhead
            guard page.count < limit, size <= Limits.listPageSizeMax || page.count == 0 else {
                page.hasMore = true
                return .stop
            }
            page.count += 1
            page.rows.append(
                Page.Row(
                    key: [UInt8](key.extracting(1..<key.byteCount)), revision: .zero,
                    value: request.isKeysOnly ? nil : [UInt8](value), owner: nil))
            return .next
        }
        rowsLookedAt += Int(page.count)
        if page.hasMore, let last = page.rows.last { page.cursor = last.key }
        return page
    }

    /// Of a row on a page, besides its key and value.
    private static var registryRowOverhead: Int { 14 }
}

/// The registry's rows as the group that is being applied sees them.
private struct StagedRegistry<E: Engine>: RegistryRows {
    let machine: Machine<E>

    private func key(_ key: [UInt8]) -> [UInt8] { [Keyspace.registryTable] + key }

    func row(at key: [UInt8]) throws -> [UInt8]? {
        let key = self.key(key)
        return try machine.stage.get(key.rawSpan)
    }

    func scan(_ prefix: [UInt8], _ body: (_ key: [UInt8], _ value: [UInt8]) throws -> Bool) throws {
        let range = KeyRange(prefix: key(prefix))
        var failure: (any Error)?
        try machine.stage.scan(from: range.from, to: range.to, reversed: false) { key, value in
            do {
                return try body([UInt8](key.extracting(1..<key.byteCount)), [UInt8](value)) ? .next : .stop
            } catch {
                failure = error
                return .stop
            }
        }
        if let failure { throw failure }
    }

    func set(_ key: [UInt8], to value: [UInt8]?) {
        // What was there before nobody is told: a master follows its own view.
        machine.stageRow(self.key(key), value)
    }
}
