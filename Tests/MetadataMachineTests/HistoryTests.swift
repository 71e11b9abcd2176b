import Basics
import LogFormat
import MetadataMachine
import MetadataModel
import StateEngine
import Testing

/// What the feed says of the row before a change must be the row that was there, where history is kept, and nothing
/// anywhere else.
@Suite("History")
struct HistoryTests {
    private func on(_ prefix: String) -> Mutation { .setHistory(prefix: Array(prefix.utf8), isOn: true) }
    private func off(_ prefix: String) -> Mutation { .setHistory(prefix: Array(prefix.utf8), isOn: false) }

    /// What each revision from `first` on told of the rows before, by key.
    private func told(_ rig: Rig, from first: LogIndex) throws -> [LogIndex: [String: RowBefore?]] {
        let range = first...rig.machine.applied.last.index
        let batch = try #require(try rig.machine.feed(rig.slabs(range), in: range))
        var told: [LogIndex: [String: RowBefore?]] = [:]
        for item in FeedTests.told(batch) {
            for (_, change) in item.changes {
                told[item.revision, default: [:]][String(decoding: change.key, as: UTF8.self)] = .some(change.before)
            }
        }
        return told
    }

    /// The last entry's.
    private func before(_ rig: Rig) throws -> [String: RowBefore?] {
        try told(rig, from: rig.machine.applied.last.index)[rig.machine.applied.last.index] ?? [:]
    }

    private func expect(
        _ rig: Rig, _ expected: [String: RowBefore?], sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let found = try before(rig)
        #expect(found == expected, sourceLocation: sourceLocation)
    }

    private let unknown: RowBefore? = nil

    private func row(_ revision: LogIndex, _ value: String) -> RowBefore? {
        .row(revision: revision, value: Array(value.utf8))
    }

    private func switched(_ answer: Answer) throws -> SetHistoryResult {
        if let error = answer.error { throw error }
        var reader = ByteReader(answer.rest.rawSpan)
        return try SetHistoryResult(decoding: &reader)
    }

    private func coverage(_ rig: Rig, _ prefix: String) throws -> HistoryCoverage {
        let answer = try rig.ask(.historyOf(prefix: Array(prefix.utf8)))
        if let error = answer.error { throw error }
        var reader = ByteReader(answer.rest.rawSpan)
        return try HistoryCoverage(decoding: &reader)
    }

    @Test("each kind of change tells what was there, under the prefix and not beside it")
    func everyKind() throws {
        let rig = try Rig()
        let first = try rig.mutate(put("a/1", "old")).revision
        try expect(rig, ["a/1": unknown])
        try rig.mutate(on("a/"))
        let second = try rig.mutate(put("a/1", "new")).revision
        try expect(rig, ["a/1": row(first, "old")])
        try rig.mutate(put("a/2", "x"))
        try expect(rig, ["a/2": RowBefore.nothing])
        try rig.mutate(put("b/1", "x"))
        try rig.mutate(put("b/1", "y"))
        try expect(rig, ["b/1": unknown])
        try rig.mutate(delete("a/1"))
        try expect(rig, ["a/1": row(second, "new")])
        try rig.mutate(delete("a/1"))
        try expect(rig, ["a/1": RowBefore.nothing])
        let created = try rig.mutate(.createSequential(prefix: Array("a/q".utf8), value: [1]))
        try expect(rig, [try created.createdKey(): RowBefore.nothing])
        // Several operations on one key in one entry: what was there before all of them.
        let put3 = try rig.mutate(put("a/3", "3")).revision
        try rig.mutate(
            .transaction(
                Transaction(
                    then: [
                        .put(key: Array("a/3".utf8), value: [4]), .deletePrefix(Array("a/3".utf8)),
                        .put(key: Array("a/4".utf8), value: [5]), .put(key: Array("b/1".utf8), value: [6]),
                    ])))
        try expect(rig, ["a/3": row(put3, "3"), "a/4": RowBefore.nothing, "b/1": unknown])
        let rows = try rig.keys("a/")
        try rig.mutate(.deleteRange(.prefix(Array("a/".utf8))))
        let gone = try before(rig)
        #expect(gone.keys.sorted() == rows)
        for (key, found) in gone {
            guard case .some(.row(_, .some)) = found else {
                Issue.record("\(key): \(found as Any)")
                continue
            }
        }
    }

    @Test("what goes with a session, and what a refused or repeated command leaves alone")
    func expiryAndRefusal() throws {
        let rig = try Rig()
        let owner = RigClient(rig, 5)
        try rig.mutate(on(""))
        let put1 = try owner.send(.put(key: Array("o".utf8), value: [7], isOwned: true)).revision
        try expect(rig, ["o": RowBefore.nothing])
        let again = try owner.send(.put(key: Array("o".utf8), value: [8], isOwned: true)).revision
        try expect(rig, ["o": .row(revision: put1, value: [7])])
        try rig.expire(owner)
        try expect(rig, ["o": .row(revision: again, value: [8])])
        #expect(try rig.mutate(put("k", "v", ifRevision: LogIndex(3))).code == .conflict)
        #expect(try before(rig).isEmpty)
        let bytes = rig.next(put("k", "v"))
        let first = try rig.send(bytes)
        try expect(rig, ["k": RowBefore.nothing])
        #expect(try rig.send(bytes) == first)
        #expect(try before(rig).isEmpty)
    }

    @Test("on, off and on again; the first revision holds, and one prefix may lie in another")
    func switching() throws {
        let rig = try Rig()
        let since = try rig.mutate(on("a/")).revision
        #expect(try switched(rig.mutate(on("a/"))) == SetHistoryResult(isChanged: false, since: since))
        let inner = try rig.mutate(on("a/b/")).revision
        #expect(try coverage(rig, "a/b/c").since == since)
        #expect(try switched(rig.mutate(off("a/"))) == SetHistoryResult(isChanged: true, since: .zero))
        try rig.mutate(put("a/b/c", "1"))
        try expect(rig, ["a/b/c": RowBefore.nothing])
        try rig.mutate(put("a/c", "1"))
        try expect(rig, ["a/c": unknown])
        #expect(try coverage(rig, "a/b/c") == HistoryCoverage(since: inner, time: rig.time, isWhole: true))
        #expect(try coverage(rig, "a/") == HistoryCoverage(since: inner, time: rig.time, isWhole: false))
        #expect(throws: ReplyError.self) { try coverage(rig, "a/c") }
        #expect(try rig.ask(.historyOf(prefix: Array("a/c".utf8))).error?.message.contains("quorate history on a/c") == true)
        #expect(try switched(rig.mutate(off("a/"))) == SetHistoryResult(isChanged: false, since: .zero))
        let later = try rig.mutate(on("a/")).revision
        #expect(try coverage(rig, "a/c").since == later)
        #expect(try coverage(rig, "a/b/c").since == inner)
        let listed = try rig.ask(.history).part(of: HistoryPrefix.self).items
        #expect(listed.map(\.prefix) == [Array("a/".utf8), Array("a/b/".utf8)])
        #expect(listed.map(\.since) == [later, inner])
    }

    @Test("at most so many prefixes, and the sentence says what to do")
    func prefixLimit() throws {
        let rig = try Rig()
        for number in 0..<Limits.historyPrefixesMax { try rig.mutate(on("p\(number)/")) }
        let refused = try rig.mutate(on("one more"))
        #expect(refused.code == .tooLarge)
        #expect(refused.error?.limit == UInt64(Limits.historyPrefixesMax))
        #expect(try switched(rig.mutate(on("p7/"))).isChanged == false)
        try rig.mutate(off("p7/"))
        #expect(try switched(rig.mutate(on("one more"))).isChanged)
    }

    @Test("a restart and a snapshot carry it; what came before a snapshot is not told by it")
    func carried() throws {
        let rig = try Rig()
        try rig.mutate(on("a/"))
        try rig.mutate(put("a/1", "1"))
        try rig.restart()
        let second = try rig.mutate(put("a/1", "2")).revision
        try rig.moveToSnapshot()
        let third = try rig.mutate(put("a/1", "3")).revision
        try expect(rig, ["a/1": row(second, "2")])
        #expect(try rig.machine.feed(rig.slabs(second...third), in: second...third) == nil)
        try rig.crashAndReplay()
        #expect(try told(rig, from: third)[third] == ["a/1": row(second, "2")])
        #expect(try coverage(rig, "a/1").isWhole)
    }

    @Test("elections, locks and entries of the State API always tell what was there")
    func typedTables() throws {
        let rig = try Rig()
        let a = RigClient(rig, 1)
        let version = StateVersion(0, 1)
        for value in [UInt8(1), 2] {
            let entry = StateEntry(version: version, value: [value])
            try a.send(.coordination(.stateSet(StateStore(name: [0x73], entry: entry, expected: version))))
        }
        var stored = ByteWriter()
        StateEntry(version: version, value: [1]).encodeRow(into: &stored)
        try expect(rig, ["s": .row(revision: .zero, value: stored.bytes)])
        try a.campaign("g", "x")
        #expect(try before(rig).values.map { $0 } == [RowBefore.nothing])
    }

    // MARK: Bounds

    private static let large = [UInt8](repeating: 1, count: Limits.historyPerEntryMax / 4)

    private func rigWithLargeRows() throws -> Rig {
        let rig = try Rig()
        try rig.mutate(on("h/"))
        for number in 0..<6 {
            try rig.mutate(.put(key: Array("h/\(number)".utf8), value: Self.large))
        }
        return rig
    }

    @Test("a range delete of more than an entry keeps is refused; with a limit it goes in parts")
    func largeRangeDelete() throws {
        let rig = try rigWithLargeRows()
        let refused = try rig.mutate(.deleteRange(.prefix(Array("h/".utf8))))
        #expect(refused.code == .tooLarge)
        #expect(refused.error?.limit == UInt64(Limits.historyPerEntryMax))
        #expect(try rig.revision("h/0") != nil)
        #expect(try before(rig).isEmpty)
        let part = try rig.mutate(.deleteRange(.prefix(Array("h/".utf8)), limit: 100)).deleteRange()
        #expect(part == DeleteRangeResult(rowCount: 4, hasMore: true))
        #expect(try before(rig).count == 4)
        let rest = try rig.mutate(.deleteRange(.prefix(Array("h/".utf8)), limit: 100)).deleteRange()
        #expect(rest == DeleteRangeResult(rowCount: 2, hasMore: false))
    }

    @Test("a transaction over it is refused whole")
    func largeTransaction() throws {
        let rig = try rigWithLargeRows()
        let keys = (0..<6).map { "h/\($0)" }
        let refused = try rig.mutate(
            .transaction(Transaction(then: keys.map { .put(key: Array($0.utf8), value: [2]) })))
        #expect(refused.code == .tooLarge)
        #expect(try before(rig).isEmpty)
        #expect(try rig.value("h/0")?.utf8.count == Self.large.count)
        // Beside the history it is none of its business.
        try rig.mutate(off("h/"))
        #expect(try rig.mutate(.transaction(Transaction(then: keys.map { .delete(key: Array($0.utf8)) }))).error == nil)
    }

    @Test("what goes with a session goes; values beyond the bound are left out, and that is told")
    func largeExpiry() throws {
        let rig = try Rig()
        let owner = RigClient(rig, 5)
        try rig.mutate(on("h/"))
        for number in 0..<6 {
            try owner.send(.put(key: Array("h/\(number)".utf8), value: Self.large, isOwned: true))
        }
        try rig.expire(owner)
        let found = try before(rig)
        #expect(found.count == 6)
        let kept = found.values.count { if case .some(.row(_, .some)) = $0 { true } else { false } }
        let leftOut = found.values.count { if case .some(.row(_, .none)) = $0 { true } else { false } }
        #expect(kept == 4)
        #expect(leftOut == 2)
    }

    @Test("many small deletes of large rows: a group is written in parts, and the feed comes in stretches")
    func manyLargeValues() throws {
        let rig = try Rig()
        try rig.mutate(on("h/"))
        let count = 24
        for number in 0..<count {
            try rig.mutate(.put(key: Array("h/\(number)".utf8), value: [UInt8](repeating: 2, count: 1_024 * 1_024)))
        }
        let first = rig.machine.applied.last.index.next
        _ = try rig.applyTogether((0..<count).map { rig.next(delete("h/\($0)")) })
        let last = rig.machine.applied.last.index
        #expect(try rig.rows(of: 0xF1).keys.count { $0.last.map { UInt64($0) >= first.rawValue } ?? false } >= 3)
        var next = first
        var parts = 0
        var found = 0
        while next <= last {
            let batch = try #require(try rig.machine.feed(rig.slabs(next...last), in: next...last))
            #expect(batch.range.lowerBound == next)
            #expect(batch.bytes.count <= 2 * Limits.feedStretchSizeMax)
            parts += 1
            for item in FeedTests.told(batch) {
                for (_, change) in item.changes {
                    if case .row(_, let value?) = change.before, value.count == 1_024 * 1_024 { found += 1 }
                }
            }
            next = batch.range.upperBound.next
        }
        #expect(found == count)
        #expect(parts > 1)
        try rig.crashAndReplay()
        #expect(try rig.keys("h/").isEmpty)
    }

    // MARK: When

    private func moment(_ rig: Rig, _ time: ClusterTime) throws -> MomentResult {
        let answer = try rig.ask(.moment(time))
        var reader = ByteReader(answer.rest.rawSpan)
        return try MomentResult(decoding: &reader)
    }

    @Test("a moment is found within so many revisions; below what is kept the oldest is told")
    func moments() throws {
        let rig = try Rig()
        var times: [ClusterTime] = [.zero]
        for _ in 0..<5_000 {
            rig.pass(.milliseconds(3))
            times.append(rig.time)
            try rig.housekeep(.tick)
        }
        for index in stride(from: 1, to: 5_000, by: 37) {
            let found = try moment(rig, times[index])
            #expect(found.time <= times[index])
            #expect(found.revision.rawValue <= UInt64(index))
            #expect(UInt64(index) - found.revision.rawValue < Limits.timeMarkInterval)
            #expect(found.newestTime == rig.time)
        }
        #expect(try moment(rig, .zero).revision == LogIndex(1))
        #expect(try moment(rig, rig.time + .seconds(100)).revision == LogIndex(4_096))
        // What the log no longer holds is not found; the mark that its beginning lies behind stays.
        var batch = WriteBatch()
        batch.put([0xF2], [UInt8](repeating: 0, count: 12))
        rig.engine.write(batch)
        try rig.moveToSnapshot()
        #expect(try moment(rig, .zero).revision == LogIndex(5_000))
        rig.pass(.seconds(1))
        try rig.housekeep(.tick)
        #expect(try moment(rig, .zero).time == times[5_000])
    }

    // MARK: What changed since

    @Test("what changed since a revision, laid over the rows of then, gives the rows of now", arguments: 1...12)
    func delta(seed: Int) throws {
        let base = ReplayTests.base
        let items = RandomLog(seed: UInt64(seed), base: base, count: 300).items
        let engine = try Rig.emptyEngine(at: base)
        let machine = try Machine(engine: engine, node: NodeID(1))
        var snapshots: [(revision: LogIndex, rows: [[UInt8]: FeedTests.Row])] = []
        for position in items.indices {
            let index = base + (position + 1)
            _ = try machine.apply(Self.slabs(items, index...index), in: index...index)
            if position % 10 == 0 { snapshots.append((index, try FeedTests.rows(engine))) }
        }
        let now = try FeedTests.rows(engine)
        var compacted = 0
        for snapshot in snapshots {
            var request = DeltaRequest(span: .prefix([]), since: snapshot.revision, limit: 3)
            var rows = snapshot.rows
            while true {
                var writer = ByteWriter()
                machine.answer(Query.changes(request).encoded().rawSpan, at: .zero, into: &writer)
                let answer = try Answer(writer.takeBytes())
                guard answer.error == nil else {
                    #expect(answer.code == .compacted)
                    compacted += 1
                    rows = now
                    break
                }
                var reader = ByteReader(answer.rest.rawSpan)
                let page = try DeltaPage(decoding: &reader)
                #expect(page.items.count <= 3)
                for item in page.items {
                    #expect(item.revision > snapshot.revision)
                    rows[item.key] = item.value.map { FeedTests.Row(revision: item.revision, value: $0) }
                }
                guard page.hasMore else { break }
                request.view = page.view
                request.cursor = page.cursor
            }
            #expect(rows == now, "since \(snapshot.revision)")
        }
        #expect(compacted < snapshots.count)
    }

    @Test("what is not kept, what is yet to come, and a foreign cursor")
    func deltaRefusals() throws {
        let rig = try Rig()
        try rig.mutate(put("a", "1"))
        try rig.mutate(delete("a"))
        try rig.housekeep(.deleteFloor(LogIndex(2)))
        let early = try rig.ask(.changes(DeltaRequest(span: prefix(""), since: LogIndex(1))))
        #expect(early.code == .compacted)
        #expect(early.error?.currentRevision == LogIndex(2))
        #expect(try rig.ask(.changes(DeltaRequest(span: prefix(""), since: LogIndex(9)))).code == .invalidRequest)
        try rig.mutate(put("b", "1"))
        for cursor: [UInt8] in [[0], [0x10], [0x10, 0x61], [0x10, 0x62], [0x11], [0xFF, 1], [0x12, 7]] {
            let request = DeltaRequest(span: prefix("b"), since: LogIndex(2), cursor: cursor)
            let answer = try rig.ask(.changes(request))
            var reader = ByteReader(answer.rest.rawSpan)
            let page = try DeltaPage(decoding: &reader)
            #expect(page.items.allSatisfy { $0.key == Array("b".utf8) })
        }
        #expect(try rig.ask(.changes(DeltaRequest(view: 9, span: prefix(""), since: .zero))).code == .viewReleased)
    }

    // MARK: Against a model

    private static func slabs(_ items: [RandomLog.Item], _ range: ClosedRange<LogIndex>) -> [Slab] {
        var builder = SlabBuilder(term: Term(1), firstIndex: range.lowerBound, salt: 9)
        for raw in range.lowerBound.rawValue...range.upperBound.rawValue {
            let entry = items[Int(raw - ReplayTests.base.rawValue - 1)].entry
            builder.append(entry.type, payload: entry.payload.rawSpan, time: entry.time, principal: raw % 3)
        }
        return [builder.close()].compactMap { $0 }
    }

    private static let tables: [UInt8] = [0x10, 0x20, 0x21, 0x30]

    private func rows(_ engine: MemoryEngine) throws -> [[UInt8]: [UInt8]] {
        var rows: [[UInt8]: [UInt8]] = [:]
        for table in Self.tables {
            try engine.scan(from: [table], to: [table + 1], reversed: false) { key, value in
                rows[[UInt8](key)] = [UInt8](value)
                return .next
            }
        }
        return rows
    }

    private func expected(_ stored: [UInt8]?, isRecord: Bool) -> RowBefore {
        guard let stored else { return .nothing }
        guard isRecord else { return .row(revision: .zero, value: stored) }
        var reader = ByteReader(stored.rawSpan)
        let head = (try? reader.readUInt64()) ?? 0
        if head >> 63 == 1 { _ = try? reader.readBytes(16) }
        return .row(revision: LogIndex(head & ~(1 << 63)), value: [UInt8](reader.readRemaining()))
    }

    @Test("whatever happens, what was before is right where it is told, and told where history is kept", arguments: 1...16)
    func likeTheRowsBefore(seed: Int) throws {
        let items = RandomLog(
            seed: UInt64(seed), base: ReplayTests.base, count: 400, coordinates: true, switchesHistory: true).items
        let engine = try Rig.emptyEngine(at: ReplayTests.base)
        let machine = try Machine(engine: engine, node: NodeID(1))
        var kept: Set<[UInt8]> = []
        var all: [FeedTests.Told] = []
        var (known, unknown) = (0, 0)
        for position in items.indices {
            let index = ReplayTests.base + (position + 1)
            let before = try rows(engine)
            let slabs = Self.slabs(items, index...index)
            let report = try machine.apply(slabs, in: index...index)
            for told in FeedTests.told(try #require(try machine.feed(slabs, in: index...index))) {
                all.append(told)
                for (table, change) in told.changes {
                    let isRecord = table == 0x10
                    guard !isRecord || kept.contains(where: { change.key.starts(with: $0) }) else {
                        #expect(change.before == nil, "\(index)")
                        unknown += 1
                        continue
                    }
                    known += 1
                    #expect(
                        change.before == expected(before[[table] + change.key], isRecord: isRecord), "\(index)")
                }
            }
            guard let request = items[position].request, case .setHistory(let prefix, let isOn) = request.mutation else {
                continue
            }
            let answer = try Answer(Array(report.replyBytes[report.reply(at: index)]))
            guard answer.error == nil, answer.revision == index else { continue }
            if isOn { kept.insert(prefix) } else { kept.remove(prefix) }
        }
        #expect(known > 50)
        #expect(unknown > 5)
        // Groups and crashes leave the same to be read later.
        var chance = SplitMix64(seed: UInt64(seed))
        let other = try Rig.emptyEngine(at: ReplayTests.base)
        var late = try Machine(engine: other, node: NodeID(1))
        let end = ReplayTests.base + items.count
        while late.applied.last.index < end {
            let from = late.applied.last.index.next
            let through = min(end, from + Int.random(in: 0..<60, using: &chance))
            _ = try late.apply(Self.slabs(items, from...through), in: from...through)
            switch Int.random(in: 0..<5, using: &chance) {
            case 0: other.flush()
            case 1:
                other.crash()
                late = try Machine(engine: other, node: NodeID(1))
            default: break
            }
        }
        let whole = ReplayTests.base.next...end
        let readBack = try #require(try late.feed(Self.slabs(items, whole), in: whole))
        #expect(FeedTests.told(readBack) == all)
        var next = whole.lowerBound
        var inParts: [FeedTests.Told] = []
        while next <= end {
            let batch = try #require(try late.feed(Self.slabs(items, next...end), in: next...end, sizeMax: 300))
            inParts += FeedTests.told(batch)
            next = batch.range.upperBound.next
        }
        #expect(inParts == all)
    }

    @Test("the feed names who made a revision, and when")
    func origins() throws {
        let rig = try Rig()
        rig.pass(.seconds(3))
        try rig.mutate(put("a", "1"))
        let index = rig.machine.applied.last.index
        let batch = try #require(try rig.machine.feed(rig.slabs(index...index), in: index...index))
        var origins: [ChangeOrigin] = []
        batch.forEachRevision { _, changes in
            origins.append(changes.origin)
            return true
        }
        #expect(origins == [ChangeOrigin(session: Rig.session, principal: 0, time: rig.time)])
    }
}
