import Basics
import Disk
import LogFormat
import LogStore
import RaftCore
import Testing

/// What a crash leaves of a write that nobody was told of is cut; what was acknowledged stays.
@Suite struct TornTailTests {
    /// A log with entries 1…5 acknowledged and a group of batches in flight behind them: the disk before and after the
    /// group, and where in the one segment it lies.
    private func inFlight() throws -> (before: MemoryDisk, after: MemoryDisk, range: Range<Int>) {
        let disk = MemoryDisk()
        let (log, _) = try open(disk)
        try log.append([task(slab(1, count: 5), term: 3, vote: 2)])
        try log.seal()
        let before = disk.copy()
        try log.append([task(slab(6, count: 2), term: 3, vote: 2), task(slab(8, term: 4), term: 4, truncateAfter: 7)])
        let old = before.names[disk.segments[0]]!.bytes
        let new = disk.names[disk.segments[0]]!.bytes
        let changed = new.indices.filter { old[$0] != new[$0] }
        return (before, disk, changed.first!..<changed.last! + 1)
    }

    /// Not that the file is shorter: its size was synced before it got its name (see ByteSweepTests).
    private enum Tear: CaseIterable { case zeroed, garbage, oldTail }

    @Test("A torn tail at any byte is cut, and what was acknowledged is intact")
    func everyOffset() throws {
        let (_, disk, range) = try inFlight()
        let path = disk.segments[0]
        var random = SplitMix64(seed: 1)
        for offset in range {
            for tear in Tear.allCases {
                let torn = disk.copy()
                let file = torn.names[path]!
                switch tear {
                case .zeroed: for place in offset..<range.upperBound { file.bytes[place] = 0 }
                case .garbage:
                    for place in offset..<range.upperBound {
                        file.bytes[place] = UInt8(truncatingIfNeeded: random.next())
                    }
                case .oldTail: for place in range.lowerBound...offset { file.bytes[place] = 0 }
                }
                // Even when all of it is applied elsewhere, the tail is verified.
                let (log, report) = try open(torn, verifyFrom: LogIndex(1_000))
                let last = log.lastIndex.rawValue
                #expect(try contents(log).filter { $0.key <= 5 } == entries(1...5), "\(tear) at \(offset)")
                #expect([5, 7, 8].contains(last), "\(tear) at \(offset)")
                #expect(report.damages.isEmpty, "\(tear) at \(offset)")
                if offset <= range.lowerBound || tear == .oldTail { #expect(last == 5, "\(tear) at \(offset)") }
                #expect(log.hardState.currentTerm == Term(last == 8 ? 4 : 3), "\(tear) at \(offset)")
                // It is usable, and nothing that was cut comes back.
                try log.append([task(slab(last + 1, term: 9), term: 9)])
                let (again, second) = try open(torn)
                #expect(again.lastIndex == LogIndex(last + 1), "\(tear) at \(offset)")
                #expect(second.tornTail == nil && second.damages.isEmpty, "\(tear) at \(offset)")
            }
        }
    }

    @Test("A torn tail is reported with file and offset")
    func reported() throws {
        let (_, disk, range) = try inFlight()
        disk.names[disk.segments[0]]!.bytes[range.lowerBound + 200] ^= 1
        let report = try open(disk).report
        #expect(report.tornTail?.file == disk.segments[0])
        #expect(report.tornTail.map { $0.offset >= range.lowerBound && $0.offset < range.upperBound } == true)
    }

    @Test("Leftovers of a cut tail never join the batches written over it")
    func leftoversStayDead() throws {
        // Batch A of the group is torn, batch B behind it is whole. After the cut, a batch of A's exact size is written
        // in A's place; B must not follow it.
        let (_, disk, range) = try inFlight()
        disk.names[disk.segments[0]]!.bytes[range.lowerBound + 160] ^= 1
        let (log, _) = try open(disk, settings: smallSettings())
        #expect(log.lastIndex == LogIndex(5))
        try log.append([task(slab(6, count: 2), term: 3, vote: 2)])
        for _ in 0..<3 {
            let again = try open(disk).log
            #expect(again.last == EntryID(term: Term(1), index: LogIndex(7)))
            #expect(try contents(again) == entries(1...7))
        }
    }

    /// Draws appends, truncations, seals, compactions, resets and reopenings, cuts the power at a random effect, and
    /// compares what is found with what was promised: the state acknowledged last, or that after any of the tasks in
    /// flight.
    @Test("Whatever is in flight when the power fails, what was acknowledged is there", arguments: 0..<200)
    func powerLoss(seed: Int) throws {
        var random = SplitMix64(seed: UInt64(seed))
        var disk = MemoryDisk()
        var possible = [LogModel()]
        for round in 0..<8 {
            disk.effectsLeft = Int(random.next() % 150)
            do {
                let (log, report) = try open(disk, verifyFrom: .zero)
                #expect(report.damages.isEmpty, "seed \(seed), round \(round)")
                possible = [try #require(possible.last { $0.describes(log) }).adopting(log)]
                while true {
                    let operation = possible[0].draw(&random)
                    possible = [possible[0]] + operation.states
                    try operation.run(log)
                    possible = [possible[possible.count - 1].adopting(log)]
                }
            } catch is DiskError {
            } catch LogOpenError.disk(_) {
            }
            if random.next() % 3 == 0 {
                // Only the process is gone; what it wrote is still in the cache, synced or not.
                disk.isDead = false
            } else {
                disk = disk.crashed(&random)
            }
            try expect(disk, toHoldOneOf: possible, "seed \(seed), round \(round)")
        }
    }

    @Test("The power may fail at any single effect of a script")
    func everyEffect() throws {
        for effects in 0..<2_000 {
            var script = SplitMix64(seed: 11)
            var survival = SplitMix64(seed: UInt64(effects))
            let disk = MemoryDisk()
            disk.effectsLeft = effects
            var possible = [LogModel()]
            do {
                let (log, _) = try open(disk, verifyFrom: .zero)
                for _ in 0..<60 {
                    let operation = possible[0].draw(&script)
                    possible = [possible[0]] + operation.states
                    try operation.run(log)
                    possible = [possible[possible.count - 1].adopting(log)]
                }
                return
            } catch is DiskError {
            } catch LogOpenError.disk(_) {
            }
            for _ in 0..<3 { try expect(disk.crashed(&survival), toHoldOneOf: possible, "effect \(effects)") }
        }
        Issue.record("the script does not end")
    }

    private func expect(_ disk: MemoryDisk, toHoldOneOf possible: [LogModel], _ when: String) throws {
        let (log, report) = try open(disk.copy(), verifyFrom: LogIndex(1_000_000))
        #expect(report.damages.isEmpty, "\(when)")
        guard let state = possible.last(where: { $0.describes(log) }) else {
            Issue.record("\(when): \(log.firstIndex)-\(log.last) \(log.hardState), not \(possible)")
            return
        }
        let held = try contents(log)
        #expect(held.count == log.lastIndex.distance(after: log.firstIndex.previous), "\(when)")
        for (index, term) in held { #expect(state.terms[index] == term, "\(when)") }
    }
}

/// What a log should hold.
private struct LogModel {
    var terms: [UInt64: UInt64] = [:]
    var last: UInt64 = 0
    var first: UInt64 = 1
    var committed: UInt64 = 0
    var term: UInt64 = 0
    var vote: UInt64?

    /// What to do to the log, and the states that it goes through.
    struct Operation {
        var states: [LogModel]
        var run: (SegmentedLog) throws -> Void
    }

    func draw(_ random: inout SplitMix64) -> Operation {
        switch random.next() % 16 {
        case 0..<8:
            var states = [self]
            var tasks: [LogTask] = []
            for _ in 0..<1 + random.next() % 3 {
                var state = states[states.count - 1]
                tasks.append(state.drawTask(&random))
                states.append(state)
            }
            return Operation(states: states) { try $0.append(tasks) }
        case 8..<11: return Operation(states: [self]) { try $0.seal() }
        case 11:
            var state = self
            state.committed = max(committed, first - 1, last - min(last, random.next() % 3))
            return Operation(states: [state]) { _ in }
        case 12, 13:
            let floor = LogIndex(committed)
            return Operation(states: [self]) { try $0.compact(through: floor) }
        case 14: return Operation(states: [self]) { try $0.prepareNextSegment() }
        default:
            guard random.next() % 4 == 0 else { return Operation(states: [self]) { _ in } }
            var state = self
            state.last = last + 10
            state.first = state.last + 1
            state.committed = state.last
            state.terms = [:]
            let entry = EntryID(term: Term(term), index: LogIndex(state.last))
            return Operation(states: [state]) { try $0.reset(to: entry) }
        }
    }

    private mutating func drawTask(_ random: inout SplitMix64) -> LogTask {
        if term == 0 || random.next() % 4 == 0 {
            term += 1
            vote = random.next() % 2 == 0 ? nil : 3
        }
        var cut: UInt64?
        if random.next() % 4 == 0, last > committed, last >= first, terms[last]! < term {
            let floor = max(committed, first - 1)
            let kept = floor + random.next() % (last - floor)
            for index in kept + 1...last { terms[index] = nil }
            last = kept
            cut = kept
        }
        var added: Slab?
        let count = random.next() % 4
        if count > 0 {
            added = slab(last + 1, count: Int(count), term: term, payloadSize: Int(random.next() % 400))
            for index in last + 1...last + count { terms[index] = term }
            last += count
        }
        return task(added, term: term, vote: vote, truncateAfter: cut)
    }

    /// The log may start anywhere at or below the floor of compaction.
    func describes(_ log: SegmentedLog) -> Bool {
        let held = log.firstIndex.rawValue
        guard log.lastIndex.rawValue == last, held >= first, held <= max(committed + 1, first) else { return false }
        let hardState = HardState(currentTerm: Term(term), votedFor: vote.map { NodeID($0) })
        guard log.hardState == hardState else { return false }
        return held > last || (held...last).allSatisfy { log.term(at: LogIndex($0))?.rawValue == terms[$0] }
    }

    func adopting(_ log: SegmentedLog) -> LogModel {
        var state = self
        state.first = log.firstIndex.rawValue
        return state
    }
}
