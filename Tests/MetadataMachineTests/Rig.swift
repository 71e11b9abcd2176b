import Basics
import LogFormat
import MetadataMachine
import MetadataModel
import StateEngine

/// One entry of a test's log.
struct LoggedEntry {
    var type = RecordType.command
    var payload: [UInt8]
    var time: ClusterTime
}

/// A reply taken apart.
struct Answer: Equatable {
    var bytes: [UInt8]
    /// Nil for success.
    var error: ReplyError?
    var revision: LogIndex
    /// What follows the head of a success.
    var rest: [UInt8]

    init(_ bytes: [UInt8]) throws {
        self.bytes = bytes
        var reader = ByteReader(bytes.rawSpan)
        switch try ReplyHead(decoding: &reader) {
        case .success(let revision):
            self.revision = revision
            rest = [UInt8](reader.readRemaining())
        case .failure(let error, let revision):
            self.error = error
            self.revision = revision
            rest = []
        }
    }

    var code: ErrorCode? { error?.code }

    func transaction() throws -> TransactionResult {
        var reader = ByteReader(rest.rawSpan)
        return try TransactionResult(decoding: &reader)
    }

    func deleteRange() throws -> DeleteRangeResult {
        var reader = ByteReader(rest.rawSpan)
        return try DeleteRangeResult(decoding: &reader)
    }

    func createdKey() throws -> String {
        var reader = ByteReader(rest.rawSpan)
        return String(decoding: try reader.readCreatedKey(), as: UTF8.self)
    }

    func row() throws -> RowResult? {
        var reader = ByteReader(rest.rawSpan)
        return try reader.readRowResult()
    }

    func page(for request: PageRequest) throws -> Page {
        var reader = ByteReader(rest.rawSpan)
        return try Page(decoding: &reader, for: request)
    }
}

/// A machine on a memory engine, the log that it was given, and one session that is opened by its first command.
final class Rig {
    private(set) var engine: MemoryEngine
    private(set) var machine: Machine<MemoryEngine>
    /// Every entry since `base`.
    private(set) var log: [LoggedEntry] = []
    let base: LogIndex
    private let levels: FeatureLevels
    var time = Rig.start
    private(set) var lastReport: ApplyReport?
    private var nextSequence: UInt64 = 1

    static let start = ClusterTime(nanoseconds: 1_700_000_000_000_000_000)
    static let session = SessionID(7, 7)

    /// Begins as after a snapshot of nothing at `base`.
    init(base: LogIndex = .zero, levels: FeatureLevels = FeatureLevels()) throws {
        self.base = base
        self.levels = levels
        engine = try Rig.emptyEngine(at: base)
        machine = try Machine(engine: engine, node: NodeID(1), levels: levels)
    }

    /// Goes on from the rows of `old`, as a cluster does that was restored from its snapshot: 2^32 entries later.
    init(restoring old: Rig) throws {
        levels = old.levels
        time = old.time
        base = LogIndex(old.machine.applied.last.index.rawValue + (1 << 32))
        let last = EntryID(term: Term(1), index: base)
        engine = try Rig.install(old.machine.refounded(after: last, membership: .empty))
        machine = try Machine(engine: engine, node: NodeID(1), levels: levels)
    }

    static func emptyEngine(at base: LogIndex) throws -> MemoryEngine {
        let engine = MemoryEngine()
        guard base > .zero else { return engine }
        let applied = Applied(last: EntryID(term: Term(1), index: base), time: start, changeDigest: 0)
        let nobody = SnapshotMembership(stored: StoredMembership(index: .zero, membership: .empty), info: [])
        try Machine.prepare(engine, applied: applied, members: nobody, sessions: [UInt8](repeating: 0, count: 4))
        return engine
    }

    // MARK: Applying

    /// The entries of `range` in slabs that are cut after the indexes of `cuts`.
    func slabs(_ range: ClosedRange<LogIndex>, cuts: Set<UInt64> = []) -> [Slab] {
        var slabs: [Slab] = []
        var builder = SlabBuilder(term: Term(1), firstIndex: range.lowerBound, salt: 9)
        for raw in range.lowerBound.rawValue...range.upperBound.rawValue {
            let entry = log[Int(raw - base.rawValue - 1)]
            builder.append(entry.type, payload: entry.payload.rawSpan, time: entry.time)
            if cuts.contains(raw), raw < range.upperBound.rawValue {
                slabs += [builder.close()].compactMap { $0 }
                builder = SlabBuilder(term: Term(1), firstIndex: LogIndex(raw + 1), salt: 9)
            }
        }
        return slabs + [builder.close()].compactMap { $0 }
    }

    /// Logs an entry and applies it in a group of its own.
    @discardableResult
    func apply(_ payload: [UInt8], type: RecordType = .command) throws -> [UInt8] {
        log.append(LoggedEntry(type: type, payload: payload, time: time))
        let index = base + log.count
        let report = try machine.apply(slabs(index...index), in: index...index)
        lastReport = report
        return Array(report.replyBytes[report.reply(at: index)])
    }

    /// Logs entries and applies them as one group.
    func applyTogether(_ payloads: [[UInt8]]) throws -> [Answer] {
        let first = base + log.count + 1
        for payload in payloads { log.append(LoggedEntry(payload: payload, time: time)) }
        let range = first...(base + log.count)
        let report = try machine.apply(slabs(range), in: range)
        lastReport = report
        return try (0..<payloads.count).map { try Answer(Array(report.replyBytes[report.reply(at: first + $0)])) }
    }

    /// Logs entries of the leader's own and applies them as one group.
    func logTogether(_ commands: [Housekeeping]) throws {
        let first = base + log.count + 1
        for command in commands { log.append(LoggedEntry(payload: command.encoded(), time: time)) }
        let range = first...(base + log.count)
        lastReport = try machine.apply(slabs(range), in: range)
    }

    @discardableResult
    func send(_ command: [UInt8]) throws -> Answer { try Answer(apply(command)) }

    /// The next mutation of the rig's own session.
    @discardableResult
    func mutate(_ mutation: Mutation) throws -> Answer { try send(next(mutation)) }

    /// Bytes of the next mutation of the rig's own session.
    func next(_ mutation: Mutation) -> [UInt8] {
        defer { nextSequence += 1 }
        return command(mutation, nextSequence, acknowledged: max(1, nextSequence) - 1)
    }

    func command(
        _ mutation: Mutation, _ sequence: UInt64, session: SessionID = Rig.session, acknowledged: UInt64 = 0,
        openedAt: ClusterTime? = nil, opens: Bool = true, timeout: Interval = .seconds(10), oneShot: Bool = false,
        guards: [Guard] = []
    ) -> [UInt8] {
        var writer = ByteWriter()
        let opening = opens ? SessionOpening(openedAt: openedAt ?? time, timeout: timeout) : nil
        CommandHeader(
            kind: mutation.kind, session: session, sequence: sequence, acknowledgedThrough: acknowledged,
            opening: opening, isOneShot: oneShot, guards: guards
        ).encode(into: &writer)
        mutation.encodeBody(into: &writer)
        return writer.takeBytes()
    }

    func housekeep(_ command: Housekeeping) throws { try apply(command.encoded()) }

    func pass(_ interval: Interval) { time = time + interval }

    // MARK: Reading

    func ask(_ query: Query, at now: Instant = .zero) throws -> Answer {
        var writer = ByteWriter()
        let bytes = query.encoded()
        machine.answer(bytes.rawSpan, at: now, into: &writer)
        return try Answer(writer.takeBytes())
    }

    func value(_ key: String) throws -> String? {
        try ask(.get(key: Array(key.utf8))).row().map { String(decoding: $0.value, as: UTF8.self) }
    }

    func revision(_ key: String) throws -> LogIndex? { try ask(.get(key: Array(key.utf8))).row()?.revision }

    func keys(_ prefix: String = "") throws -> [String] {
        let request = PageRequest()
        return try ask(.list(.prefix(Array(prefix.utf8)), request)).page(for: request).rows
            .map { String(decoding: $0.key, as: UTF8.self) }
    }

    /// Every row that all replicas have alike.
    func replicatedRows() throws -> [[UInt8]] { try Rig.replicatedRows(engine) }

    static func replicatedRows<Reader: EngineReader>(_ reader: Reader) throws -> [[UInt8]] {
        try rows(in: Keyspace.replicated, of: reader)
    }

    private static func rows<Reader: EngineReader>(in ranges: [KeyRange], of reader: Reader) throws -> [[UInt8]] {
        var rows: [[UInt8]] = []
        for range in ranges {
            try reader.scan(from: range.from, to: range.to, reversed: false) { key, value in
                rows.append([UInt8](key))
                rows.append([UInt8](value))
                return .next
            }
        }
        return rows
    }

    func sessionBytes() throws -> [UInt8] { try machine.snapshotSource().sessions }

    // MARK: Crashes and snapshots

    /// Goes back to the last flush and applies the log from there in one group.
    func crashAndReplay() throws {
        engine.crash()
        machine = try Machine(engine: engine, node: NodeID(1), levels: levels)
        let from = machine.applied.last.index.next
        let through = base + log.count
        guard from <= through else { return }
        lastReport = try machine.apply(slabs(from...through), in: from...through)
    }

    /// Stops and starts without losing anything.
    func restart() throws {
        engine.flush()
        machine = try Machine(engine: engine, node: NodeID(1), levels: levels)
    }

    /// Puts the state on a new engine, as another node does that gets a snapshot.
    func moveToSnapshot() throws {
        let successor = try Rig.install(machine.snapshotSource())
        engine = successor
        machine = try Machine(engine: successor, node: NodeID(1), levels: levels)
    }

    static func install(_ source: SnapshotSource<MemoryView>) throws -> MemoryEngine {
        let engine = MemoryEngine()
        let rows = try rows(in: Keyspace.carried, of: source.view)
        var batch = WriteBatch()
        for position in stride(from: 0, to: rows.count, by: 2) { batch.put(rows[position], rows[position + 1]) }
        engine.write(batch)
        // Who the members are goes through the manifest.
        let members = try SnapshotMembership(decoding: source.members(founding: .empty).encoded().rawSpan)
        try Machine.prepare(engine, applied: source.applied, members: members, sessions: source.sessions)
        return engine
    }
}

func put(_ key: String, _ value: String = "v", ifRevision expected: LogIndex? = nil) -> Mutation {
    .put(key: Array(key.utf8), value: Array(value.utf8), expectedRevision: expected)
}

func delete(_ key: String, ifRevision expected: LogIndex? = nil) -> Mutation {
    .delete(key: Array(key.utf8), expectedRevision: expected)
}

func prefix(_ text: String) -> KeySpan { .prefix(Array(text.utf8)) }
