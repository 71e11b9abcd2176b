package import Basics
package import LogFormat
package import MetadataModel
package import StateEngine

/// The state machine: log entries in, rows and replies out. A function of (entry, state); what it takes for "now" is
/// the entry's own cluster time.
///
/// Entries are applied in groups, and a group becomes one batch: the rows, the row that says how far the log was
/// applied, and the outcome row. So a crash leaves the state as it was after some entry, whole, and the log is applied
/// again from there. A plain put reads nothing and writes one row.
///
/// Not thread-safe: the apply thread owns it, and whoever works in its place.
package final class Machine<E: Engine> {
    package let engine: E
    package let node: NodeID
    package private(set) var applied: Applied
    package internal(set) var membership: StoredMembership?
    package internal(set) var memberInfo: [NodeID: MemberInfo] = [:]
    package internal(set) var featureLevel: UInt32
    let levels: FeatureLevels
    var deleteFloor = LogIndex.zero
    /// Below the floor there are tombstones left.
    package internal(set) var tombstoneSweep: TombstoneSweep?
    var history = KeptHistory()
    /// What entries after this one changed can be told; outcome rows of earlier ones were never here.
    package private(set) var feedFloor: LogIndex
    private var isFeedFloorStored: Bool
    var hasTimeMarks = false
    var sessions: SessionTable
    /// Through here the sessions are in the checkpoint row; outcome rows after it are needed to start.
    private var checkpointed: LogIndex
    /// Entries between two checkpoints. What is on disk does not depend on it, only how long a start takes.
    package var checkpointInterval = Limits.sessionCheckpointInterval
    var recentDigests: [IndexedDigest] = []
    let stage: StagedView<E>
    var outcome = OutcomeWriter()
    /// Of the entry that is being applied.
    var changes = RowChanges()
    var before = RowsBefore()
    var lines = ChangedLines()
    /// Current fences of elections that guards have named, while no row of an election changes.
    var electionFences: [[UInt8]: UInt64] = [:]
    /// When the first delayed release, or timer of the registry, is due.
    package internal(set) var nextTimer: ClusterTime?
    var replies = ByteWriter()
    var views = ViewTable<E.View>()
    /// What a query has found to be damaged, and where. What was answered before and after is sound.
    package internal(set) var damage: String?
    /// Rows and sessions that queries have looked through since the start: the size of an answer does not show them.
    package internal(set) var rowsLookedAt = 0

    /// Goes on from what `engine` holds.
    package init(engine: E, node: NodeID, levels: FeatureLevels = FeatureLevels()) throws(MachineError) {
        self.engine = engine
        self.node = node
        self.levels = levels
        featureLevel = FeatureLevel.first
        stage = StagedView(engine)
        let found = try Self.load(engine)
        applied = found.applied
        sessions = try Self.loadSessions(engine, from: found.checkpoint, through: applied)
        checkpointed = found.checkpoint?.index ?? .zero
        feedFloor = found.feedFloor ?? found.applied.last.index
        isFeedFloorStored = found.feedFloor != nil
        if applied == .nothing { featureLevel = levels.founding }
        try loadSystemRows()
        if let refusal = levels.refusal(of: featureLevel) { throw .tooNew(refusal) }
        (nextTimer, hasTimeMarks) = try onEngine { () throws(EngineError) in
            (try firstTimer(in: engine), try timeMark(from: .zero, through: applied.last.index, isLast: true) != nil)
        }
    }

    /// How far a flush has made the state durable: the log after it is what a start needs.
    package func durableApplied() throws(MachineError) -> LogIndex {
        let key = Keyspace.applied
        let row = try onEngine { () throws(EngineError) in try engine.getDurable(key.rawSpan) }
        guard let row else { return .zero }
        return try decoding("the applied row") { () throws(DecodeError) in try Applied(decoding: row.rawSpan) }.last
            .index
    }

    package func openSessions() -> [OpenSession] { sessions.openSessions() }
    package var openSessionCount: Int { sessions.openCount }

    // MARK: - Applying

    /// Applies the entries of `range`, which follow what was applied; `slabs` hold them in order, and may hold more.
    package func apply(_ slabs: [Slab], in range: ClosedRange<LogIndex>) throws(MachineError) -> ApplyReport {
        invariant(range.lowerBound == applied.last.index.next, "apply of \(range) after \(applied.last.index)")
        var report = ApplyReport(range: range)
        report.replyEnds.reserveCapacity(range.entryCount)
        replies = ByteWriter(reservingCapacity: range.entryCount * Reply.headSize)
        for slab in slabs {
            let from = max(slab.firstIndex, range.lowerBound)
            let through = min(slab.lastIndex, range.upperBound)
            guard from <= through else { continue }
            var index = from
            while index <= through {
                try apply(slab.record(at: index), &report)
                // What is kept of each entry, and what it changes, may be much more than the entry.
                let isMuch = outcome.size > Limits.outcomeSizeMax || stage.batch.byteCount > Limits.applyBatchSizeMax
                if isMuch, index < range.upperBound { try commit(withCheckpoint: false) }
                index = index.next
            }
        }
        invariant(applied.last.index == range.upperBound, "\(range) was not all in the slabs")
        try commit(withCheckpoint: isCheckpointDue(after: applied.last.index))
        report.replyBytes = replies.takeBytes()
        report.time = applied.time
        report.featureLevel = featureLevel
        report.nextTimer = nextTimer
        report.tombstoneSweep = tombstoneSweep
        return report
    }

    /// Whether `apply` of these entries reads no row and does not wait for the engine: plain puts and deletes of at most
    /// `byteCountMax` bytes, and nothing else that is due.
    package func appliesInMemory(_ slabs: [Slab], in range: ClosedRange<LogIndex>, byteCountMax: Int) -> Bool {
        guard history.isEmpty, !isCheckpointDue(after: range.upperBound) else { return false }
        var byteCount = 0
        for slab in slabs {
            let from = max(slab.firstIndex, range.lowerBound)
            let through = min(slab.lastIndex, range.upperBound)
            guard from <= through else { continue }
            for raw in from.rawValue...through.rawValue {
                let record = slab.record(at: LogIndex(raw))
                byteCount += record.payload.byteCount
                guard byteCount <= byteCountMax, Self.readsNothing(record) else { return false }
                if let due = nextTimer, due <= record.header.time { return false }
            }
        }
        return engine.takesAtOnce(byteCount: byteCountMax)
    }

    private static func readsNothing(_ record: borrowing RecordView) -> Bool {
        guard record.header.type != .noop else { return true }
        guard record.header.type == .command else { return false }
        var reader = ByteReader(record.payload)
        do throws(DecodeError) {
            let header = try CommandHeader(decoding: &reader)
            guard header.session != .housekeeping, header.guards.isEmpty else { return false }
            switch header.kind {
            case .put:
                let body = try PutBody(decoding: &reader)
                return body.expectedRevision == nil && !body.isOwned
            case .delete: return try DeleteBody(decoding: &reader).expectedRevision == nil
            default: return false
            }
        } catch {
            return false
        }
    }

    private func isCheckpointDue(after index: LogIndex) -> Bool {
        index.rawValue / checkpointInterval > checkpointed.rawValue / checkpointInterval
    }

    private func apply(_ record: borrowing RecordView, _ report: inout ApplyReport) throws(MachineError) {
        let header = record.header
        invariant(header.id.index == applied.last.index.next, "entry \(header.id) after \(applied.last)")
        let mark = stage.batch.mark
        let entry = Entry(index: header.id.index, time: header.time)
        sessions.prune(at: entry.time)
        // What the founders knew is a row like any other, or a snapshot would not tell it.
        if applied == .nothing, featureLevel > FeatureLevel.first { storeFeatureLevel() }
        if nextTimer != nil { try onEngine { () throws(EngineError) in try carryOutTimers(entry) } }
        switch header.type {
        case .noop: break
        case .configuration: try applyMembership(record.payload, entry, &report)
        case .command: try applyCommand(record.payload, entry, &report)
        }
        if !changes.isEmpty { outcome.add(changes.takeAll(), at: entry.index) }
        if !before.isEmpty {
            outcome.add(before.rows, at: entry.index)
            before.removeAll()
        }
        report.replyEnds.append(replies.count)
        applied.fold(stage.checksum(since: mark), at: entry.index)
        applied.last = header.id
        applied.time = header.time
        markTime(entry)
        if entry.index.rawValue % Limits.digestInterval == 0 {
            let digest = IndexedDigest(index: entry.index, digest: applied.changeDigest)
            report.digests.append(digest)
            recentDigests.append(digest)
            if recentDigests.count > 64 { recentDigests.removeFirst() }
        }
    }

    private func commit(withCheckpoint: Bool) throws(MachineError) {
        if !Mutant.applyBehindState.isOn { stage.batch.put(Keyspace.applied, applied.encoded()) }
        if withCheckpoint {
            stage.batch.put(Keyspace.sessions, Keyspace.littleEndian(applied.last.index.rawValue) + sessions.encoded())
            checkpointed = applied.last.index
        }
        if !isFeedFloorStored {
            stage.batch.put(Keyspace.feedFloor, Keyspace.littleEndian(feedFloor.rawValue))
            isFeedFloorStored = true
        }
        if !outcome.isEmpty {
            stage.batch.put(Keyspace.outcome(applied.last.index), outcome.bytes)
            outcome.removeAll()
        }
        try onEngine { () throws(EngineError) in try stage.commit() }
        if Mutant.applyBehindState.isOn { stage.batch.put(Keyspace.applied, applied.encoded()) }
    }

    private func applyMembership(
        _ payload: RawSpan, _ entry: Entry, _ report: inout ApplyReport
    ) throws(MachineError) {
        let found = try decoding("a configuration entry") { () throws(DecodeError) in try Membership(decoding: payload)
        }
        let stored = StoredMembership(index: entry.index, membership: found)
        stage.batch.put(Keyspace.membership, stored.encoded())
        membership = stored
        report.membership = found
    }

    /// The log at or below `index` is gone; so is the need for what explains it, but for what the sessions start from.
    package func forgetOutcomes(through index: LogIndex) throws(MachineError) {
        let last = Mutant.forgetOutcomesEarly.isOn ? index : min(index, checkpointed)
        guard last > .zero else { return }
        feedFloor = max(feedFloor, last)
        var batch = WriteBatch()
        batch.deleteRange(from: Keyspace.outcome(.zero), to: Keyspace.outcome(last.next))
        try onEngine { () throws(EngineError) in
            // The last mark before what is left says how far back that goes.
            if let mark = try timeMark(from: .zero, through: last, isLast: true) {
                batch.deleteRange(from: Keyspace.timeMark(.zero), to: Keyspace.timeMark(mark.index))
            }
            try engine.write(batch)
        }
    }

    // MARK: - Snapshots

    /// The state as it is, and what is needed besides the rows to go on from it.
    package func snapshotSource() throws(MachineError) -> SnapshotSource<E.View> {
        let view = try onEngine { () throws(EngineError) in try engine.makeView() }
        return SnapshotSource(
            view: view, applied: applied, membership: membership, memberInfo: memberInfo, sessions: sessions.encoded())
    }

    /// Adds to an engine that holds a snapshot's rows what makes a machine start from them.
    package static func prepare(
        _ engine: E, applied: Applied, members: SnapshotMembership, sessions: [UInt8]
    ) throws(MachineError) {
        var batch = WriteBatch()
        // Before the first change of members there is no row: the founding record says who they are.
        if members.stored.index > .zero { batch.put(Keyspace.membership, members.stored.encoded()) }
        for info in members.info {
            var writer = ByteWriter()
            info.encode(into: &writer)
            batch.put(Keyspace.memberInfo(info.node), writer.takeBytes())
        }
        batch.put(Keyspace.applied, applied.encoded())
        let sessions = Mutant.snapshotForgetsSessions.isOn ? SessionTable().encoded() : sessions
        batch.put(Keyspace.sessions, Keyspace.littleEndian(applied.last.index.rawValue) + sessions)
        batch.put(Keyspace.feedFloor, Keyspace.littleEndian(applied.last.index.rawValue))
        batch.put(Keyspace.timeMark(applied.last.index), Keyspace.littleEndian(applied.time.nanoseconds))
        do throws(EngineError) {
            try engine.write(batch)
            try engine.flush()
        } catch {
            throw .engine(error)
        }
    }

    // MARK: - Loading

    private struct Checkpoint {
        var index: LogIndex
        var bytes: [UInt8]
    }

    private struct Found {
        var applied = Applied.nothing
        var checkpoint: Checkpoint?
        var feedFloor: LogIndex?
    }

    private static func load(_ engine: E) throws(MachineError) -> Found {
        do throws(EngineError) {
            guard let row = try engine.row(Keyspace.applied) else { return Found() }
            let sessions = try engine.row(Keyspace.sessions)
            let floor = try engine.row(Keyspace.feedFloor)
            do throws(DecodeError) {
                var found = Found(applied: try Applied(decoding: row.rawSpan))
                if let sessions {
                    var reader = ByteReader(sessions.rawSpan)
                    let index = try reader.readLogIndex()
                    found.checkpoint = Checkpoint(index: index, bytes: [UInt8](reader.readRemaining()))
                }
                if let floor {
                    var reader = ByteReader(floor.rawSpan)
                    found.feedFloor = try reader.readLogIndex()
                }
                return found
            } catch {
                throw .corrupt("the applied row, the sessions' checkpoint or the feed's floor: \(error)")
            }
        } catch {
            throw .engine(error)
        }
    }

    private static func loadSessions(
        _ engine: E, from checkpoint: Checkpoint?, through applied: Applied
    ) throws(MachineError) -> SessionTable {
        var sessions = SessionTable()
        do throws(EngineError) {
            var broken: DecodeError?
            if let checkpoint {
                do throws(DecodeError) { sessions = try SessionTable(decoding: checkpoint.bytes.rawSpan) } catch {
                    broken = error
                }
            }
            let from = Keyspace.outcome((checkpoint?.index ?? .zero).next)
            try engine.scan(from: from, to: Keyspace.outcome(applied.last.index.next), reversed: false) {
                (_, value) throws(EngineError) in
                do throws(DecodeError) { try OutcomeWriter.replay(value, into: &sessions) } catch { broken = error }
                return broken == nil ? .next : .stop
            }
            if let broken { throw .corrupt("the sessions: \(broken)") }
        } catch {
            throw .engine(error)
        }
        sessions.prune(at: applied.time)
        return sessions
    }

    private func loadSystemRows() throws(MachineError) {
        let (membershipRow, level, floor, sweep) = try onEngine { () throws(EngineError) in
            (
                try engine.row(Keyspace.membership), try engine.row(Keyspace.featureLevel),
                try engine.row(Keyspace.deleteFloor), try engine.row(Keyspace.tombstoneSweep)
            )
        }
        var rows: [[UInt8]] = []
        var historyRows: [(prefix: [UInt8], value: [UInt8])] = []
        try onEngine { () throws(EngineError) in
            let histories = KeyRange(prefix: [Keyspace.historyTable])
            try engine.scan(from: histories.from, to: histories.to, reversed: false) { key, value in
                historyRows.append(([UInt8](key.extracting(1..<key.byteCount)), [UInt8](value)))
                return .next
            }
            let range = KeyRange(prefix: [Keyspace.memberInfoTable])
            try engine.scan(from: range.from, to: range.to, reversed: false) { _, value in
                rows.append([UInt8](value))
                return .next
            }
        }
        try decoding("a system row") { () throws(DecodeError) in
            if let membershipRow { membership = try StoredMembership(decoding: membershipRow.rawSpan) }
            if let level {
                var reader = ByteReader(level.rawSpan)
                featureLevel = try reader.readUInt32()
            }
            if let floor {
                var reader = ByteReader(floor.rawSpan)
                deleteFloor = try reader.readLogIndex()
            }
            if let sweep {
                var reader = ByteReader(sweep.rawSpan)
                let began = try reader.readLogIndex()
                tombstoneSweep = TombstoneSweep(floor: began, next: [UInt8](reader.readRemaining()))
            }
            for row in historyRows {
                var reader = ByteReader(row.value.rawSpan)
                let since = try reader.readLogIndex()
                let time = ClusterTime(nanoseconds: try reader.readUInt64())
                history.insert(HistoryPrefix(prefix: row.prefix, since: since, time: time))
            }
            for row in rows {
                var reader = ByteReader(row.rawSpan)
                let info = try MemberInfo(decoding: &reader)
                memberInfo[info.node] = info
            }
        }
    }

    // MARK: - Errors

    func onEngine<T>(_ body: () throws(EngineError) -> T) throws(MachineError) -> T {
        do throws(EngineError) {
            return try body()
        } catch {
            throw .engine(error)
        }
    }

    func decoding<T>(_ what: String, _ body: () throws(DecodeError) -> T) throws(MachineError) -> T {
        do throws(DecodeError) {
            return try body()
        } catch {
            throw .malformed("\(what) at \(applied.last.index.next): \(error)")
        }
    }
}

extension Engine {
    fileprivate func row(_ key: [UInt8]) throws(EngineError) -> [UInt8]? { try get(key.rawSpan) }
}

extension StagedView {
    /// Of the operations staged since `mark`; their layout is the same on every replica.
    fileprivate func checksum(since mark: Int) -> UInt32 { Self.checksum(of: batch, since: mark) }

    private static func checksum(of batch: borrowing WriteBatch, since mark: Int) -> UInt32 {
        CRC32C.checksum(of: batch.bytes(since: mark))
    }
}

/// The entry that is being applied.
struct Entry {
    var index: LogIndex
    var time: ClusterTime
    /// Whose command it is.
    var session = SessionID.housekeeping
    /// The session ends with the command.
    var isOneShot = false
    /// Of the masters' election, as the command is guarded by it; 0: it is not.
    var mastersFence: UInt64 = 0
}

/// Why a state machine cannot go on; the node stops, or rebuilds its state.
package enum MachineError: Error, Equatable, Sendable, CustomStringConvertible {
    case engine(EngineError)
    /// An entry that this release cannot read: damaged before it was logged.
    case malformed(String)
    /// A state, or an entry, of a newer release.
    case tooNew(String)

    package var description: String {
        switch self {
        case .engine(let error): error.description
        case .malformed(let text): "cannot apply: \(text)"
        case .tooNew(let text): text
        }
    }
}

/// A membership and the index of the entry that holds it.
package struct StoredMembership: Hashable, Sendable {
    package var index: LogIndex
    package var membership: Membership

    package init(index: LogIndex, membership: Membership) {
        self.index = index
        self.membership = membership
    }

    package func encoded() -> [UInt8] { Keyspace.littleEndian(index.rawValue) + membership.encoded() }

    package init(decoding bytes: RawSpan) throws(DecodeError) {
        var reader = ByteReader(bytes)
        try self.init(decoding: &reader)
    }

    init(decoding reader: inout ByteReader) throws(DecodeError) {
        index = try reader.readLogIndex()
        membership = try Membership(decoding: &reader)
    }
}

/// The members as a snapshot's manifest has them, beside the rows:
///
///     as in row 01 | u16 count | MemberInfo each, ordered by node
package struct SnapshotMembership: Hashable, Sendable {
    package var stored: StoredMembership
    /// Ordered by node.
    package var info: [MemberInfo]

    package init(stored: StoredMembership, info: [MemberInfo]) {
        self.stored = stored
        self.info = info.sorted { $0.node < $1.node }
    }

    package func encoded() -> [UInt8] {
        var writer = ByteWriter(appendingTo: stored.encoded())
        writer.write(UInt16(clamping: info.count))
        for member in info { member.encode(into: &writer) }
        return writer.takeBytes()
    }

    package init(decoding bytes: RawSpan) throws(DecodeError) {
        var reader = ByteReader(bytes)
        stored = try StoredMembership(decoding: &reader)
        info = []
        for _ in 0..<(try reader.readUInt16()) {
            let member = try MemberInfo(decoding: &reader)
            if let last = info.last, last.node >= member.node { throw .invalid("order of members") }
            info.append(member)
        }
        guard reader.isAtEnd else { throw .invalid("bytes after the members") }
    }
}

/// The sessions of a state that nobody has a session with.
package enum NoSessions {
    package static var encoded: [UInt8] { SessionTable().encoded() }
}

/// What a snapshot is made from.
package struct SnapshotSource<View: EngineView>: Sendable {
    package let view: View
    package let applied: Applied
    package let membership: StoredMembership?
    package let memberInfo: [NodeID: MemberInfo]
    package let sessions: [UInt8]

    /// - Parameter founding: who the members are before the first change of members.
    package func members(founding: Membership) -> SnapshotMembership {
        SnapshotMembership(
            stored: membership ?? StoredMembership(index: .zero, membership: founding), info: Array(memberInfo.values))
    }
}
