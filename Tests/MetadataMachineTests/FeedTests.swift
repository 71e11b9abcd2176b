import Basics
import LogFormat
import MetadataMachine
import MetadataModel
import StateEngine
import Testing

/// What the feed tells, replayed onto nothing, must be the rows.
@Suite("The change feed")
struct FeedTests {
    static let base = ReplayTests.base
    static let count = 400

    struct Row: Equatable {
        var revision: LogIndex
        var value: [UInt8]
    }

    /// The changes of one revision, taken apart.
    struct Told: Equatable {
        var revision: LogIndex
        var changes: [(table: UInt8, change: Change)]

        static func == (left: Told, right: Told) -> Bool {
            left.revision == right.revision
                && left.changes.elementsEqual(right.changes) { $0.table == $1.table && $0.change == $1.change }
        }
    }

    static func told(_ batch: FeedBatch) -> [Told] {
        var told: [Told] = []
        batch.forEachRevision { revision, changes in
            var list: [(table: UInt8, change: Change)] = []
            changes.forEach { table, view in
                list.append((table, Change(view)))
            }
            told.append(Told(revision: revision, changes: list))
            return true
        }
        return told
    }

    private static func slabs(_ items: [RandomLog.Item], _ range: ClosedRange<LogIndex>) -> [Slab] {
        var builder = SlabBuilder(term: Term(1), firstIndex: range.lowerBound, salt: 9)
        for raw in range.lowerBound.rawValue...range.upperBound.rawValue {
            let entry = items[Int(raw - Self.base.rawValue - 1)].entry
            builder.append(entry.type, payload: entry.payload.rawSpan, time: entry.time)
        }
        return [builder.close()].compactMap { $0 }
    }

    static func rows(_ engine: MemoryEngine) throws -> [[UInt8]: Row] {
        var rows: [[UInt8]: Row] = [:]
        try engine.scan(from: [0x10], to: [0x11], reversed: false) { key, value in
            var reader = ByteReader(value)
            let revision = LogIndex((try? reader.readUInt64()) ?? 0)
            rows[Array([UInt8](key).dropFirst())] = Row(revision: revision, value: [UInt8](reader.readRemaining()))
            return .next
        }
        return rows
    }

    /// Carries the changes of one revision over, and checks their order.
    private static func carry(_ told: Told, into rows: inout [[UInt8]: Row]) {
        var last: [UInt8]?
        for (table, change) in told.changes {
            #expect(table == 0x10)
            if let last { #expect(last.lexicographicallyPrecedes(change.key), "order in \(told.revision)") }
            last = change.key
            rows[change.key] = change.value.map { Row(revision: told.revision, value: $0) }
        }
    }

    @Test("replayed onto nothing it gives the rows at each revision", arguments: 1...24)
    func likeTheRows(seed: Int) throws {
        let items = RandomLog(seed: UInt64(seed), base: Self.base, count: Self.count).items
        let engine = try Rig.emptyEngine(at: Self.base)
        let machine = try Machine(engine: engine, node: NodeID(1))
        var replayed: [[UInt8]: Row] = [:]
        var changeCount = 0
        for position in items.indices {
            let index = Self.base + (position + 1)
            let slabs = Self.slabs(items, index...index)
            _ = try machine.apply(slabs, in: index...index)
            let batch = try #require(try machine.feed(slabs, in: index...index))
            for told in Self.told(batch) {
                #expect(told.revision == index)
                changeCount += told.changes.count
                Self.carry(told, into: &replayed)
            }
            #expect(replayed == (try Self.rows(engine)), "at \(index)")
        }
        #expect(changeCount > 100)
    }

    /// The feed of everything that can be watched: records with their owners, elections, locks, the State API's entries,
    /// whether a command, a timer or the end of a session changed them.
    @Test("elections, locks, owned rows and entries too, at each revision", arguments: 1...24)
    func everyTable(seed: Int) throws {
        let items = RandomLog(seed: UInt64(seed), base: Self.base, count: Self.count, coordinates: true).items
        let engine = try Rig.emptyEngine(at: Self.base)
        let machine = try Machine(engine: engine, node: NodeID(1))
        var replayed: [[UInt8]: [UInt8]] = [:]
        var tables: Set<UInt8> = []
        var ownedCount = 0
        for position in items.indices {
            let index = Self.base + (position + 1)
            let slabs = Self.slabs(items, index...index)
            _ = try machine.apply(slabs, in: index...index)
            for told in Self.told(try #require(try machine.feed(slabs, in: index...index))) {
                for (table, change) in told.changes {
                    tables.insert(table)
                    var stored = ByteWriter()
                    if table == 0x10 {
                        stored.write(told.revision.rawValue | (change.owner == nil ? 0 : 1 << 63))
                        if let owner = change.owner {
                            stored.write(owner)
                            ownedCount += 1
                        }
                    }
                    stored.write(change.value ?? [])
                    replayed[[table] + change.key] = change.value == nil ? nil : stored.takeBytes()
                }
            }
            var rows: [[UInt8]: [UInt8]] = [:]
            for table in [UInt8(0x10), 0x20, 0x21, 0x30] {
                try engine.scan(from: [table], to: [table + 1], reversed: false) { key, value in
                    rows[[UInt8](key)] = [UInt8](value)
                    return .next
                }
            }
            #expect(replayed == rows, "at \(index)")
        }
        #expect(tables == [0x10, 0x20, 0x21, 0x30])
        #expect(ownedCount > 0)
    }

    @Test("groups, crashes and where a read begins and ends change nothing of what is told", arguments: 1...12)
    func sameWhateverTheWay(seed: Int) throws {
        let items = RandomLog(seed: UInt64(seed), base: Self.base, count: Self.count).items
        let end = Self.base + items.count
        let plainEngine = try Rig.emptyEngine(at: Self.base)
        let plain = try Machine(engine: plainEngine, node: NodeID(1))
        var expected: [Told] = []
        for position in items.indices {
            let index = Self.base + (position + 1)
            let slabs = Self.slabs(items, index...index)
            _ = try plain.apply(slabs, in: index...index)
            expected += Self.told(try #require(try plain.feed(slabs, in: index...index)))
        }
        var chance = SplitMix64(seed: UInt64(seed) &* 31)
        let engine = try Rig.emptyEngine(at: Self.base)
        var machine = try Machine(engine: engine, node: NodeID(1))
        while machine.applied.last.index < end {
            let from = machine.applied.last.index.next
            let through = min(end, from + Int.random(in: 0..<40, using: &chance))
            _ = try machine.apply(Self.slabs(items, from...through), in: from...through)
            switch Int.random(in: 0..<4, using: &chance) {
            case 0: engine.flush()
            case 1:
                engine.crash()
                machine = try Machine(engine: engine, node: NodeID(1))
            default: break
            }
        }
        #expect(machine.feedFloor == Self.base)
        for sizeMax in [1, 7, 60, items.count] {
            var found: [Told] = []
            var from = Self.base.next
            while from <= end {
                let through = min(end, from + (sizeMax - 1))
                // A slab may hold more than is asked for.
                let slabs = Self.slabs(items, max(Self.base.next, LogIndex(from.rawValue - 1))...through)
                found += Self.told(try #require(try machine.feed(slabs, in: from...through)))
                from = through.next
            }
            #expect(found == expected, "reads of \(sizeMax)")
        }
    }

    @Test("a state that came from a snapshot tells nothing of before, nor a restart of it")
    func floorOfASnapshot() throws {
        let rig = try Rig()
        for number in 0..<5 { try rig.mutate(put("k", "\(number)")) }
        #expect(rig.machine.feedFloor == .zero)
        try rig.moveToSnapshot()
        #expect(rig.machine.feedFloor == LogIndex(5))
        try rig.mutate(put("k", "new"))
        for _ in 0..<2 {
            let range = LogIndex(5)...LogIndex(6)
            #expect(try rig.machine.feed(rig.slabs(range), in: range) == nil)
            let new = LogIndex(6)...LogIndex(6)
            let batch = try #require(try rig.machine.feed(rig.slabs(new), in: new))
            #expect(Self.told(batch).first?.changes.first?.change.value == Array("new".utf8))
            try rig.restart()
        }
        let notApplied = LogIndex(7)...LogIndex(7)
        #expect(try rig.machine.feed(rig.slabs(LogIndex(6)...LogIndex(6)), in: notApplied) == nil)
    }

    @Test("a state of an earlier release begins its feed where it is found")
    func floorOfAnOldState() throws {
        let rig = try Rig()
        try rig.mutate(put("a"))
        try rig.mutate(put("b"))
        var batch = WriteBatch()
        batch.delete([0xF3])
        rig.engine.write(batch)
        try rig.restart()
        #expect(rig.machine.feedFloor == LogIndex(2))
        try rig.mutate(put("c"))
        try rig.mutate(put("d"))
        try rig.restart()
        #expect(rig.machine.feedFloor == LogIndex(2))
    }

    @Test("rows that a command does not show are told from its outcome, before what the command did")
    func listedRows() throws {
        let rig = try Rig()
        let tick = Housekeeping.tick.encoded()
        try rig.apply(tick)
        try rig.mutate(put("k", "mine"))
        try rig.mutate(put("k", "refused", ifRevision: LogIndex(99)))
        // By hand: what elections, locks and ended sessions leave.
        var writer = ByteWriter()
        func item(_ index: UInt64, _ rows: [(table: UInt8, key: String, stored: [UInt8]?)]) {
            writer.write(UInt8(5))
            writer.write(index)
            writer.write(UInt32(rows.count))
            for row in rows {
                writer.write(row.table)
                writer.writeBytes16(Array(row.key.utf8))
                writer.write(row.stored != nil)
                if let stored = row.stored { writer.writeBytes32(stored) }
            }
        }
        let owner = SessionID(3, 4)
        var owned = ByteWriter()
        owned.write(UInt64(1) | 1 << 63)
        owned.write(owner)
        owned.write(Array("v".utf8))
        item(1, [(0x21, "lock", [7]), (0x10, "owned", owned.takeBytes()), (0x20, "group", nil)])
        item(2, [(0x10, "k", nil), (0x10, "gone", nil)])
        item(3, [(0x30, "state", [1, 2])])
        var batch = WriteBatch()
        for index in UInt64(1)...3 {
            let key = [UInt8](repeating: 0, count: 7) + [UInt8(index)]
            let stored = try rig.engine.get(([0xF1] + key).rawSpan) ?? []
            batch.put([0xF1] + key, index == 3 ? stored + writer.bytes : stored)
        }
        rig.engine.write(batch)
        let range = LogIndex(1)...LogIndex(3)
        let told = Self.told(try #require(try rig.machine.feed(rig.slabs(range), in: range)))
        #expect(told.map(\.revision) == [LogIndex(1), LogIndex(2), LogIndex(3)])
        #expect(told[0].changes.map(\.table) == [0x10, 0x20, 0x21])
        #expect(told[0].changes[0].change == Change(key: Array("owned".utf8), value: Array("v".utf8), owner: owner))
        #expect(told[0].changes[1].change == Change(key: Array("group".utf8), value: nil))
        #expect(told[0].changes[2].change == Change(key: Array("lock".utf8), value: [7]))
        #expect(told[1].changes.map(\.change.key) == [Array("gone".utf8), Array("k".utf8)])
        #expect(told[1].changes[1].change.value == Array("mine".utf8))
        #expect(told[2].changes.map(\.change) == [Change(key: Array("state".utf8), value: [1, 2])])
    }

    @Test("an entry whose effect is gone is an error, never a guess")
    func missingEffect() throws {
        let rig = try Rig()
        try rig.mutate(.transaction(Transaction(then: [.put(key: [1], value: [])])))
        var batch = WriteBatch()
        batch.deleteRange(from: [0xF1], to: [0xF2])
        rig.engine.write(batch)
        let range = LogIndex(1)...LogIndex(1)
        #expect(throws: MachineError.self) { try rig.machine.feed(rig.slabs(range), in: range) }
    }

    @Test("a change without its value says so, and comes back as it was written")
    func codec() throws {
        let changes = [
            Change(key: [1], value: [2, 3]), Change(key: [], value: nil),
            Change(key: [9], value: [], owner: SessionID(1, 2)),
            Change(key: [4], value: [], isValueLeftOut: true), Change(key: [5], value: [6], before: .nothing),
            Change(key: [5], value: nil, before: .nothing),
            Change(key: [5], value: [6], before: .row(revision: LogIndex(7), value: [8, 9])),
            Change(key: [5], value: nil, before: .row(revision: LogIndex(7), value: [8])),
            Change(key: [5], value: [6], owner: SessionID(1, 2), before: .row(revision: LogIndex(7), value: nil)),
        ]
        let details: [ChangeDetail] = [
            [], .value, [.before], [.value, .before], [.before, .valueBefore], [.value, .before, .valueBefore],
        ]
        for change in changes {
            var writer = ByteWriter()
            change.encode(into: &writer)
            let bytes = writer.takeBytes()
            var reader = ByteReader(bytes.rawSpan)
            #expect(try Change(decoding: &reader) == change)
            var again = ByteReader(bytes.rawSpan)
            let view = try ChangeView(decoding: &again)
            for detail in details {
                var copy = ByteWriter()
                view.encode(detail, into: &copy)
                #expect(copy.count == view.encodedSize(detail))
                var reader = ByteReader(copy.bytes.rawSpan)
                let read = try Change(decoding: &reader)
                let isAtEnd = reader.isAtEnd
                #expect(isAtEnd)
                #expect(read.key == change.key)
                let leavesOut = !detail.contains(.value)
                #expect(read.isValueLeftOut == (change.value != nil && leavesOut || change.isValueLeftOut))
                guard detail.contains(.before), !detail.contains(.valueBefore),
                    case .row(let revision, _?) = change.before
                else {
                    #expect(read.before == (detail.contains(.before) ? change.before : nil))
                    continue
                }
                #expect(read.before == .row(revision: revision, value: nil))
            }
        }
        let foreign: [[UInt8]] = [
            [], [2, 0, 0], [4, 0, 0], [64, 0, 0], [16, 0, 0], [32, 0, 0], [40, 0, 0], [24, 0, 0, 1], [1, 1, 0, 7],
            [1, 0, 0, 9, 0, 0, 0],
        ]
        for bytes in foreign {
            #expect(throws: DecodeError.self) {
                var reader = ByteReader(bytes.rawSpan)
                _ = try Change(decoding: &reader)
            }
        }
    }
    /// Its payload says nothing, and its outcome says all.
    @Test("a delayed lock that is released at an entry without a command is told", arguments: [RecordType.noop, .command])
    func timerAtAnyEntry(type: RecordType) throws {
        let rig = try Rig()
        let holder = RigClient(rig, 1)
        try holder.lock("l", delay: .seconds(5))
        try RigClient(rig, 2).lock("l")
        try rig.expire(holder)
        rig.pass(.seconds(5))
        try rig.apply(type == .command ? Housekeeping.tick.encoded() : [], type: type)
        let index = rig.machine.applied.last.index
        let batch = try #require(try rig.machine.feed(rig.slabs(index...index), in: index...index))
        let told = Self.told(batch)
        #expect(told.map(\.revision) == [index])
        #expect(told.first?.changes.map(\.table) == [0x21, 0x21])
        #expect(told.first?.changes.map { $0.change.value == nil } == [true, false])
    }

    @Test("the largest entry of the State API is told, with the head that it is stored with")
    func largestStateEntry() {
        var row = ByteWriter()
        let value = [UInt8](repeating: 7, count: Limits.valueSizeMaxCeiling)
        StateEntry(version: StateVersion(1, 2), value: value).encodeRow(into: &row)
        let change = Change(key: Array("s".utf8), value: row.takeBytes())
        var writer = ByteWriter()
        writer.write(UInt64(1))
        ChangeOrigin(session: SessionID(1, 2), principal: 3, time: .zero).encode(into: &writer)
        writer.write(UInt32(0))
        writer.write(FeedTable.state.rawValue)
        change.encode(into: &writer)
        writer.overwrite(at: 8 + ChangeOrigin.size, with: UInt32(writer.count - 12 - ChangeOrigin.size))
        let told = Self.told(FeedBatch(range: LogIndex(1)...LogIndex(1), bytes: writer.takeBytes()))
        #expect(told.first?.changes.first?.change == change)
    }
}
