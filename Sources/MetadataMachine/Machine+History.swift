internal import Basics
internal import MetadataModel
internal import StateEngine

/// Previous values, kept where they were asked for: what an entry finds under the keys that it changes stands in its
/// outcome. So the change feed can tell it for as long as it tells the change, and no replicated row knows of it.
///
/// Without history a put asks whether any prefix has some, and reads nothing.
extension Machine {
    // MARK: - Switching

    func setHistory(_ body: SetHistoryBody, _ entry: Entry) {
        var result = SetHistoryResult(isChanged: false, since: history.since(of: body.prefix) ?? .zero)
        let isOn = result.since > .zero
        if body.isOn, !isOn {
            guard history.prefixes.count < Limits.historyPrefixesMax else {
                let limit = Limits.historyPrefixesMax
                let advice = "history is kept under \(limit) prefixes already: switch it off for some, or on for a shorter one"
                return refuse(ReplyError(.tooLarge, advice, limit: UInt64(limit)), entry)
            }
            let row = Keyspace.littleEndian(entry.index.rawValue) + Keyspace.littleEndian(entry.time.nanoseconds)
            stage.batch.put(Keyspace.history(body.prefix), row)
            history.insert(HistoryPrefix(prefix: body.prefix, since: entry.index, time: entry.time))
            result = SetHistoryResult(isChanged: true, since: entry.index)
        } else if !body.isOn, isOn {
            stage.batch.delete(Keyspace.history(body.prefix).rawSpan)
            history.remove(body.prefix)
            result = SetHistoryResult(isChanged: true, since: .zero)
        }
        Reply.writeSuccess(revision: entry.index, into: &replies)
        result.encode(into: &replies)
    }

    // MARK: - What was there

    /// Before the record of a client's key is changed.
    func noteBefore(_ key: RawSpan) throws(EngineError) {
        guard !history.isEmpty, history.covers(key) else { return }
        let key = Row.key(key)
        guard !before.contains(key) else { return }
        guard let stored = try stage.get(key.rawSpan) else { return before.note(key, .nothing) }
        let row = try Row.decode(stored.rawSpan)
        before.note(key, .row(revision: row.revision, value: row.value))
    }

    /// Before a row of an election, a lock or the State API is changed: these always have history. Such rows do not say
    /// when they were changed last.
    func noteBefore(at key: [UInt8]) throws(EngineError) {
        guard !before.contains(key) else { return }
        let stored = try stage.get(key.rawSpan)
        before.note(key, stored.map { .row(revision: .zero, value: $0) } ?? .nothing)
    }

    /// Looks at what is under `key`, if that is to be kept.
    /// - Returns: false when all of the entry together is more than may be kept.
    func keepsBefore(_ key: RawSpan) throws(EngineError) -> Bool {
        try noteBefore(key)
        return !before.isCut
    }

    static var historyRefusal: ReplyError {
        let limit = Limits.historyPerEntryMax
        return ReplyError(
            .tooLarge, "the values that it replaces are more than history keeps at once: change fewer rows at a time",
            limit: UInt64(limit))
    }

    // MARK: - When

    /// Notes the time of every so many entries: so a moment is found in the log.
    func markTime(_ entry: Entry) {
        guard !hasTimeMarks || entry.index.rawValue % Limits.timeMarkInterval == 0 else { return }
        stage.batch.put(Keyspace.timeMark(entry.index), Keyspace.littleEndian(entry.time.nanoseconds))
        hasTimeMarks = true
    }

    /// The newest mark at or before the moment; the oldest one when all are later.
    func moment(_ time: ClusterTime) throws(EngineError) -> MomentResult {
        let last = applied.last.index
        guard let first = try timeMark(from: .zero, through: last, isLast: false) else {
            return MomentResult(revision: last, time: applied.time, newestTime: applied.time)
        }
        var best = first
        var low = first.index.next
        var high = last
        while low <= high {
            let middle = LogIndex(low.rawValue + (high.rawValue - low.rawValue) / 2)
            guard let mark = try timeMark(from: low, through: middle, isLast: true) else {
                low = middle.next
                continue
            }
            if mark.time <= time {
                best = mark
                low = middle.next
            } else {
                high = mark.index.previous
            }
        }
        return MomentResult(revision: best.index, time: best.time, newestTime: applied.time)
    }

    func timeMark(
        from: LogIndex, through: LogIndex, isLast: Bool
    ) throws(EngineError) -> (index: LogIndex, time: ClusterTime)? {
        var found: (index: LogIndex, time: ClusterTime)?
        try engine.scan(from: Keyspace.timeMark(from), to: Keyspace.timeMark(through.next), reversed: isLast) {
            (key, value) throws(EngineError) in
            found = try Self.row("a mark of time") { () throws(DecodeError) in
                var keyReader = ByteReader(key)
                _ = try keyReader.readUInt8()
                let index = LogIndex(try keyReader.readUInt64().byteSwapped)
                var reader = ByteReader(value)
                return (index, ClusterTime(nanoseconds: try reader.readUInt64()))
            }
            return .stop
        }
        return found
    }

    // MARK: - What changed since

    /// Rows put and keys deleted since a revision, each in its last form.
    func delta<Reader: EngineReader>(
        of reader: Reader, _ request: DeltaRequest
    ) throws -> DeltaPage {
        let cap = Limits.listPageCountMax
        let limit = request.limit == 0 ? cap : min(Int(request.limit), cap)
        var page = DeltaPage(view: 0, hasMore: false, cursor: [], items: [])
        // Rows that are passed over cost too: their bytes, and a look for each key that was put again.
        var (size, passed, looked, looks) = (0, 0, 0, 0)
        for table in [Keyspace.rowTable, Keyspace.tombstoneTable] {
            let isRow = table == Keyspace.rowTable
            var range = Row.range(of: request.span, in: table)
            if let first = request.cursor.first {
                if first > table[0] { continue }
                let next = KeyRange.successor(of: request.cursor)
                if range.from.lexicographicallyPrecedes(next) { range.from = next }
            }
            try reader.scan(from: range.from, to: range.to, reversed: false) { (key, stored) throws(EngineError) in
                let revision = try Row.revision(stored)
                let bare = key.extracting(1..<key.byteCount)
                var isWanted = revision > request.since
                // One that was put again since has been told.
                if isWanted, !isRow {
                    looks += 1
                    isWanted = try reader.get(Row.key(bare).rawSpan) == nil
                }
                let value = isRow ? try Row.value(stored) : RawSpan()
                let itemSize = isWanted ? bare.byteCount + value.byteCount + Self.itemOverhead : 0
                // One item is always admitted, however large; it fits a frame, as the put did that brought it.
                guard page.items.count < limit, looked < Limits.countRowsMax, looks <= cap,
                    passed <= Limits.listPageSizeMax,
                    size + itemSize <= Limits.listPageSizeMax || page.items.isEmpty
                else {
                    page.hasMore = true
                    return .stop
                }
                looked += 1
                size += itemSize
                page.cursor = [UInt8](key)
                guard isWanted else {
                    passed += stored.byteCount
                    return .next
                }
                page.items.append(
                    DeltaPage.Item(key: [UInt8](bare), revision: revision, value: isRow ? [UInt8](value) : nil))
                return .next
            }
            if page.hasMore { break }
        }
        rowsLookedAt += looked
        if !page.hasMore { page.cursor = [] }
        return page
    }

    /// What was deleted since a revision before this one is not known any more. A function of the log: `applied` is the
    /// entry before, while one is being applied.
    var oldestKnown: LogIndex { max(deleteFloor, oldestOfGeneration) }

    /// A restored or recovered cluster goes on 2^32 revisions after the snapshot, and nobody in it knows what was deleted
    /// between that and the end of the one before. No revision of the same generation lies so far back and is asked for:
    /// the delete floor follows much closer.
    private var oldestOfGeneration: LogIndex {
        let last = applied.last.index.rawValue
        return LogIndex(last - min(last, 1 << 31))
    }

    /// Of an item of a delta, besides its key and value.
    private static var itemOverhead: Int { 15 }

    func answer(_ request: DeltaRequest, at now: Instant, into writer: inout ByteWriter) throws {
        guard request.view == 0 else {
            guard let (view, revision) = views.use(request.view, now: now) else {
                throw ReplyError(.viewReleased, "view \(request.view) is not kept any more: ask again from the start")
            }
            var page = try delta(of: view, request)
            if page.hasMore { page.view = request.view } else { views.release(request.view) }
            Reply.writeSuccess(revision: revision, into: &writer)
            return page.encode(into: &writer)
        }
        let oldest = oldestKnown
        guard request.since >= oldest else {
            throw ReplyError(
                .compacted,
                "deletes before revision \(oldest) are no longer known: read all rows, and go on from their revision",
                currentRevision: oldest)
        }
        guard request.since <= applied.last.index else {
            throw ReplyError(
                .invalidRequest, "revision \(request.since) is not here yet: the state is at \(applied.last.index)")
        }
        var page = try delta(of: engine, request)
        if page.hasMore, request.pinsView {
            page.view = try views.add(try engine.makeView(), revision: applied.last.index, now: now)
        }
        Reply.writeSuccess(revision: applied.last.index, into: &writer)
        page.encode(into: &writer)
    }
}

/// The prefixes under which history is kept.
struct KeptHistory {
    /// In order.
    private(set) var prefixes: [HistoryPrefix] = []
    /// Those of them that lie under no other, in order: of these at most one covers a key, the last one that is not after
    /// the key.
    private var roots: [[UInt8]] = []

    var isEmpty: Bool { roots.isEmpty }

    func since(of prefix: [UInt8]) -> LogIndex? { prefixes.first { $0.prefix == prefix }?.since }

    mutating func insert(_ new: HistoryPrefix) {
        let position =
            prefixes.firstIndex { new.prefix.lexicographicallyPrecedes($0.prefix) } ?? prefixes.count
        prefixes.insert(new, at: position)
        findRoots()
    }

    mutating func remove(_ prefix: [UInt8]) {
        prefixes.removeAll { $0.prefix == prefix }
        findRoots()
    }

    private mutating func findRoots() {
        roots = []
        for kept in prefixes where !(roots.last.map { kept.prefix.starts(with: $0) } ?? false) {
            roots.append(kept.prefix)
        }
    }

    /// Since when there is history of what begins with `prefix`; throws `historyOff` when of nothing that does.
    func coverage(of prefix: [UInt8]) throws(ReplyError) -> HistoryCoverage {
        let over = prefixes.filter { prefix.starts(with: $0.prefix) }
        let isWhole = !over.isEmpty
        let first = (isWhole ? over : prefixes.filter { $0.prefix.starts(with: prefix) }).min { $0.since < $1.since }
        guard let first else {
            let name = prefix.isEmpty ? "\"\"" : String(decoding: prefix, as: UTF8.self)
            throw ReplyError(
                .historyOff, "no history is kept of \(name): `quorate history on \(name)` keeps it from now on",
                currentRevision: .zero)
        }
        return HistoryCoverage(since: first.since, time: first.time, isWhole: isWhole)
    }

    func covers(_ key: RawSpan) -> Bool {
        var (low, high) = (0, roots.count)
        while low < high {
            let middle = (low + high) / 2
            let root = roots[middle]
            if root.rawSpan.order(comparedWith: key) > 0 { high = middle } else { low = middle + 1 }
        }
        guard low > 0 else { return false }
        let root = roots[low - 1]
        return key.byteCount >= root.count && key.extracting(0..<root.count).hasSameBytes(as: root.rawSpan)
    }
}

/// What one entry found under the keys that it changes. Each key once, as it was before the entry.
struct RowsBefore {
    private(set) var rows: [(key: [UInt8], before: RowBefore)] = []
    private var keys: Set<[UInt8]> = []
    private var size = 0
    /// Some values were left out: they are too much for one entry.
    private(set) var isCut = false

    var isEmpty: Bool { rows.isEmpty }

    func contains(_ key: [UInt8]) -> Bool { keys.contains(key) }

    /// - Parameter key: its table's byte first.
    mutating func note(_ key: [UInt8], _ before: RowBefore) {
        keys.insert(key)
        var before = before
        if case .row(let revision, let value?) = before {
            // A single value is kept whatever its size: the log has had it too.
            if size > 0, size + value.count > Limits.historyPerEntryMax {
                before = .row(revision: revision, value: nil)
                isCut = true
            } else {
                size += value.count
            }
        }
        rows.append((key, before))
    }

    /// Forgets what was noted after the first `count` rows.
    mutating func cut(to count: Int) {
        guard rows.count > count else { return }
        let kept = rows[..<count]
        self = RowsBefore()
        for row in kept { note(row.key, row.before) }
    }

    mutating func removeAll() { self = RowsBefore() }
}
