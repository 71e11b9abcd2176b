internal import Basics
package import MetadataModel
internal import StateEngine

/// What goes with a session: records that it put as its own, its tickets in elections and locks.
///
/// A record names its owner; table 12 is an index of what a session owns, so that its end finds that without looking
/// at every row. For records the index may say too much, because a plain put or delete of an owned record ends the
/// ownership without reading anything: only what still names the session is deleted with it. For tickets it is exact.
extension Machine {
    // MARK: - Owning

    /// Enters the row at `key` (its table's byte first) as one that goes with the session of `entry`.
    func own(_ key: [UInt8], _ entry: Entry) throws(EngineError) {
        let index = Keyspace.owned(key, by: entry.session)
        guard try stage.get(index.rawSpan) == nil else { return }
        stage.batch.put(index, [])
        try addToOwnedCount(1, of: entry.session)
    }

    /// The ticket at `key` is given up; its session goes on.
    func disown(_ key: [UInt8], of session: SessionID) throws(EngineError) {
        stage.batch.delete(Keyspace.owned(key, by: session).rawSpan)
        try addToOwnedCount(-1, of: session)
    }

    /// How many rows the index holds for `session`.
    func ownedCount<Reader: EngineReader>(of session: SessionID, in reader: Reader) throws(EngineError) -> Int {
        guard let row = try reader.get(Keyspace.owner(session).rawSpan) else { return 0 }
        do throws(DecodeError) {
            var reader = ByteReader(row.rawSpan)
            return Int(try reader.readUInt32())
        } catch {
            throw .corrupt("how much a session owns: \(error)")
        }
    }

    private func addToOwnedCount(_ change: Int, of session: SessionID) throws(EngineError) {
        try setOwnedCount(try ownedCount(of: session, in: stage) + change, of: session)
    }

    private func setOwnedCount(_ count: Int, of session: SessionID) throws(EngineError) {
        guard count > 0 else { return stage.batch.delete(Keyspace.owner(session).rawSpan) }
        var writer = ByteWriter()
        writer.write(UInt32(clamping: count))
        stage.batch.put(Keyspace.owner(session), writer.takeBytes())
    }

    /// Why the session of `entry` may not own `count` rows more; nil when it may. At the limit, what the index still
    /// has of records that are not the session's any more is swept out of it first.
    func refusalToOwn(_ count: Int, _ entry: Entry) throws(EngineError) -> ReplyError? {
        guard !entry.isOneShot else {
            return ReplyError(.invalidRequest, "a one-shot session ends at once: it cannot own anything")
        }
        let limit = Limits.ownedRowsPerSessionMax
        guard try ownedCount(of: entry.session, in: stage) + count > limit else { return nil }
        var left = 0
        for index in try ownedIndex(of: entry.session) {
            let key = Keyspace.ownedKey(index)
            if key[0] == Keyspace.rowTable[0], try owner(ofRecordAt: key) != entry.session {
                stage.batch.delete(index.rawSpan)
            } else {
                left += 1
            }
        }
        try setOwnedCount(left, of: entry.session)
        guard left + count > limit else { return nil }
        return ReplyError(.tooLarge, "a session that owns \(left + count) rows", limit: UInt64(limit))
    }

    /// Keys of the index, without the row that counts them.
    private func ownedIndex(of session: SessionID) throws(EngineError) -> [[UInt8]] {
        let owner = Keyspace.owner(session)
        let range = KeyRange(prefix: owner)
        var keys: [[UInt8]] = []
        try stage.scan(from: range.from, to: range.to, reversed: false) { key, _ in
            if key.byteCount > owner.count { keys.append([UInt8](key)) }
            return .next
        }
        return keys
    }

    private func owner(ofRecordAt key: [UInt8]) throws(EngineError) -> SessionID? {
        guard let stored = try stage.get(key.rawSpan) else { return nil }
        return try Row.owner(stored.rawSpan)
    }

    /// A put of a record that goes with the session; there is room for it.
    func putOwned(_ key: RawSpan, _ value: RawSpan, _ entry: Entry) throws(EngineError) {
        let (table, head) = (Keyspace.rowTable, Row.head(entry.index, owner: entry.session))
        stage.batch.put(keyHead: table.rawSpan, key: key, valueHead: unsafe head.span.bytes, value: value)
        try own(Row.key(key), entry)
    }

    // MARK: - The end of a session

    /// Ends those of `ids` that are open, and what they own with them: also of owners that have no session, as a
    /// restored state has them. What is beyond the bounds of an entry stays, and is told.
    /// - Returns: the sessions that were open and are not any more.
    func expire(_ ids: [SessionID], _ entry: Entry, _ report: inout ApplyReport) throws(EngineError) -> [SessionID] {
        var gone: [SessionID] = []
        var rows = 0
        var size = 0
        for (position, id) in ids.enumerated() {
            let index = try ownedIndex(of: id)
            rows += index.count
            size += index.reduce(0) { $0 + $1.count }
            let isBeyond = rows > Limits.rowsPerExpiryMax || size > Limits.expiryKeySizeMax
            if isBeyond, position > 0 {
                report.sessionsKept += ids[position...]
                break
            }
            try release(index, of: id, entry)
            if sessions.end(id, at: entry.time) { gone.append(id) }
        }
        try settle(entry)
        return gone
    }

    /// What the session of `entry` owns goes.
    func releaseOwned(_ entry: Entry) throws(EngineError) {
        try release(try ownedIndex(of: entry.session), of: entry.session, entry)
        try settle(entry)
    }

    private func release(_ index: [[UInt8]], of session: SessionID, _ entry: Entry) throws(EngineError) {
        guard !index.isEmpty else { return }
        stage.batch.delete(Keyspace.owner(session).rawSpan)
        for item in index {
            stage.batch.delete(item.rawSpan)
            let key = Keyspace.ownedKey(item)
            switch key[0] {
            case Keyspace.rowTable[0]:
                guard try owner(ofRecordAt: key) == session else { continue }
                delete(key.rawSpan.extracting(1..<key.count), entry)
                changes.note(key, nil)
            case Keyspace.electionTable: try removeCandidate(at: key)
            case Keyspace.lockTable: try endHolding(ofTicketAt: key, entry)
            default: throw .corrupt("an index of owned rows with table \(key[0])")
            }
        }
    }

    // MARK: - Owners without a session

    /// Looks through up to `limit` owners after `after`, for some that have no open session.
    /// - Returns: these, and where to go on; nil: there are no more.
    package func findOrphans(
        after: SessionID?, limit: Int
    ) throws(MachineError) -> (orphans: [SessionID], lookedThrough: SessionID?) {
        let table = KeyRange(prefix: [Keyspace.ownerTable])
        var from = after.flatMap { KeyRange.end(ofPrefix: Keyspace.owner($0)) } ?? table.from
        var orphans: [SessionID] = []
        var last = after
        for _ in 0..<limit {
            var found: [UInt8]?
            try onEngine { () throws(EngineError) in
                try engine.scan(from: from, to: table.to, reversed: false) { key, _ in
                    found = [UInt8](key)
                    return .stop
                }
            }
            guard let found else { return (orphans, nil) }
            let owner = try decoding("an owner") { () throws(DecodeError) in
                var reader = ByteReader(found.rawSpan)
                _ = try reader.readUInt8()
                return try reader.readSessionID()
            }
            if !sessions.isOpen(owner) { orphans.append(owner) }
            guard let next = KeyRange.end(ofPrefix: Keyspace.owner(owner)) else { return (orphans, nil) }
            if orphans.count == Limits.sessionsPerExpiryMax { return (orphans, owner) }
            from = next
            last = owner
        }
        return (orphans, last)
    }
}

/// The changes of one entry that its command does not show: what ended with a session, what a typed command made of
/// its rows, what was due. Each key once, as the entry left it.
struct RowChanges {
    private var order: [[UInt8]] = []
    private var values: [[UInt8]: [UInt8]?] = [:]

    var isEmpty: Bool { order.isEmpty }

    /// - Parameters:
    ///   - key: its table's byte first.
    ///   - value: what is stored now; nil: nothing.
    mutating func note(_ key: [UInt8], _ value: [UInt8]?) {
        if values.updateValue(value, forKey: key) == nil { order.append(key) }
    }

    /// In the order in which the keys were first changed.
    mutating func takeAll() -> [(key: [UInt8], value: [UInt8]?)] {
        let all = order.map { (key: $0, value: values[$0] ?? nil) }
        self = RowChanges()
        return all
    }
}
