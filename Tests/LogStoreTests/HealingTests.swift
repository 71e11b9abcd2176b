import Basics
import LogFormat
import LogStore
import RaftCore
import Testing

/// Who may give a damaged log what it lacks, and when it goes on without.
@Suite struct HealingTests {
    private let others = [NodeID(8), NodeID(9)]

    /// Entries 1…`count` of term 1, and `count + 1` of term 2.
    private func log(_ count: UInt64 = 20) throws -> MemoryDisk {
        let disk = MemoryDisk()
        let (log, _) = try open(disk, settings: smallSettings(65_536))
        for first in 1...count { try log.append([task(slab(first, payloadSize: 600), vote: 5)]) }
        try log.append([task(slab(count + 1, term: 2, payloadSize: 600), term: 2, vote: 5)])
        try log.seal()
        return disk
    }

    /// Turns a bit in the payload of one entry.
    private func damage(_ index: UInt64, term: UInt64 = 1, on disk: MemoryDisk) throws {
        let text = payload(index, term: term, size: 600)
        let path = disk.segments[0]
        let bytes = disk.names[path]!.bytes
        let start = bytes.indices.first { bytes[$0] == text[0] && bytes[$0...].prefix(600).elementsEqual(text) }
        disk.names[path]!.bytes[try #require(start) + 300] ^= 1
    }

    private func healer(_ disk: MemoryDisk, applied: UInt64 = 0) throws -> LogHealer {
        let (log, report) = try open(disk, settings: smallSettings(65_536), acceptingDamage: true)
        return LogHealer(
            log, node: node, knowsPromises: report.promisesAreKnown, promised: .zero, voters: others,
            applied: LogIndex(applied))
    }

    private func ask(_ one: LogHealer, _ other: LogHealer, _ id: NodeID) throws {
        guard let question = one.nextQuestion() else { return }
        let (answer, slab) = other.answer(question)
        _ = try one.heard(answer, records: slab?.bytes ?? [], from: id)
    }

    @Test("two members that are damaged at different places heal each other, and nobody leads")
    func eachOther() throws {
        let (one, other) = (try log(), try log())
        for index: UInt64 in [3, 4, 12] { try damage(index, on: one) }
        try damage(21, term: 2, on: one)
        for index: UInt64 in [5, 13] { try damage(index, on: other) }
        let (first, second) = (try healer(one), try healer(other))
        #expect(first.log.faultyRanges.count == 3 && second.log.faultyRanges.count == 2)
        for _ in 0..<20 {
            try ask(first, second, others[0])
            try ask(second, first, others[0])
        }
        #expect(first.verdict == .whole && second.verdict == .whole, "\(first.need); \(second.need)")
        for disk in [one, other] {
            let (log, _) = try open(disk, settings: smallSettings(65_536))
            #expect(try contents(log) == entries(1...20).merging(entries(21...21, term: 2)) { $1 })
        }
    }

    @Test("where both have lost the same entry, each waits, and keeps what it has behind it")
    func samePlace() throws {
        let (one, other) = (try log(), try log())
        try damage(12, on: one)
        try damage(12, on: other)
        let (first, second) = (try healer(one), try healer(other))
        for _ in 0..<100 {
            try ask(first, second, others[0])
            try ask(second, first, others[0])
        }
        #expect(first.verdict == .goesOn && second.verdict == .goesOn)
        #expect(first.need.contains("entries 12-12"))
        // The third comes back, and has it.
        let third = try healer(log())
        #expect(third.verdict == .whole)
        try ask(first, third, others[1])
        try ask(second, third, others[1])
        _ = (first.nextQuestion(), second.nextQuestion())
        #expect(first.verdict == .whole && second.verdict == .whole)
    }

    @Test("a hole is filled from its middle by who has no more, and the rest by another")
    func partsOfAHole() throws {
        let (one, other) = (try log(), try log())
        for index: UInt64 in 3...6 { try damage(index, on: one) }
        for index: UInt64 in [3, 5] { try damage(index, on: other) }
        let (first, second) = (try healer(one), try healer(other))
        #expect(first.log.faultyRanges == [LogIndex(3)...LogIndex(6)])
        for _ in 0..<10 { try ask(first, second, others[0]) }
        #expect(first.log.faultyRanges == [LogIndex(3)...LogIndex(3), LogIndex(5)...LogIndex(5)])
        let third = try healer(log())
        for _ in 0..<10 { try ask(first, third, others[1]) }
        #expect(first.verdict == .whole)
        let (healed, _) = try open(one, settings: smallSettings(65_536))
        #expect(try contents(healed) == entries(1...20).merging(entries(21...21, term: 2)) { $1 })
    }

    @Test("nothing is taken from a log that is another one behind the hole, unless it is known to be committed")
    func anotherLog() throws {
        let disk = try log()
        try damage(12, on: disk)
        let healer = try healer(disk)
        let question = try #require(healer.nextQuestion())
        #expect(question.wanted == LogIndex(12)...LogIndex(12))
        #expect(question.basis(committed: LogIndex(11)) { $0.rawValue < 12 ? Term(1) : Term(4) } == .nothing)
        #expect(question.basis(committed: LogIndex(11)) { _ in Term(1) } == .sameLog)
        #expect(question.basis(committed: LogIndex(12)) { _ in nil } == .committed)
        // Committed, and of a later term than what stands behind: that was never committed.
        let answer = RepairAnswer(
            first: LogIndex(12), basis: .committed, isWhole: true, last: EntryID(term: Term(4), index: LogIndex(12)))
        #expect(try !healer.heard(answer, records: slab(12, term: 4).bytes, from: others[0]))
        #expect(healer.verdict == .short(promised: EntryID(term: Term(2), index: LogIndex(21))))
        try healer.log.cutAtDamage(applied: .zero)
        #expect(healer.log.last == EntryID(term: Term(1), index: LogIndex(11)))
    }

    @Test("what nobody has is given up only when somebody whole is as far as this log was")
    func givesUp() throws {
        for (last, isWhole, isGivenUp) in [(21, true, true), (20, true, false), (30, false, false)] as [(UInt64, Bool, Bool)] {
            let disk = try log()
            try damage(12, on: disk)
            let healer = try healer(disk)
            let answer = RepairAnswer(
                first: LogIndex(12), basis: .nothing, isWhole: isWhole,
                last: EntryID(term: Term(2), index: LogIndex(last)))
            for _ in 0..<100 where healer.nextQuestion() != nil {
                _ = try healer.heard(answer, records: [], from: others[0])
            }
            let promised = EntryID(term: Term(2), index: LogIndex(21))
            #expect(healer.verdict == (isGivenUp ? .short(promised: promised) : .goesOn))
        }
    }

    @Test("what nobody has and the own state holds is done without: the log begins behind it, and is whole")
    func behindState() throws {
        for (applied, isCovered) in [(UInt64(12), true), (11, false)] {
            let disk = try log()
            for index: UInt64 in [5, 12] { try damage(index, on: disk) }
            let healer = try healer(disk, applied: applied)
            for _ in 0..<100 { _ = healer.nextQuestion() }
            #expect(healer.verdict == (isCovered ? .behindState : .goesOn))
            guard isCovered else { continue }
            try healer.log.letGoOfHoles(through: EntryID(term: Term(1), index: LogIndex(applied)))
            #expect(healer.log.faultyRanges.isEmpty)
            #expect(healer.log.previous == EntryID(term: Term(1), index: LogIndex(12)))
            #expect(healer.log.last == EntryID(term: Term(2), index: LogIndex(21)))
        }
    }

    @Test("what another's state holds is done without where his log begins with an entry of this one: else it may be another log")
    func behindAnothersState() throws {
        for (index, term, isShared) in [(UInt64(14), UInt64(1), true), (14, 3, false), (11, 1, false), (30, 2, false)] {
            let disk = try log()
            for index: UInt64 in [5, 12] { try damage(index, on: disk) }
            let healer = try healer(disk, applied: 4)
            let beginning = EntryID(term: Term(term), index: LogIndex(index))
            // His log ends before this one: what is behind the holes may be the last copy.
            let answer = RepairAnswer(
                first: LogIndex(5), basis: .nothing, isWhole: true, last: EntryID(term: Term(1), index: LogIndex(20)),
                beginning: beginning)
            for _ in 0..<100 where healer.nextQuestion() != nil {
                _ = try healer.heard(answer, records: [], from: others[0])
            }
            #expect(healer.verdict == (isShared ? .behind(beginning) : .goesOn))
            guard isShared else { continue }
            try healer.log.begin(behind: beginning)
            #expect(healer.log.faultyRanges.isEmpty && healer.log.previous == beginning)
            #expect(healer.log.last == EntryID(term: Term(2), index: LogIndex(21)))
        }
    }

    @Test("term and vote are taken from all other voters, and its own vote is given away")
    func lostPromises() throws {
        let disk = try log()
        let path = disk.segments[0]
        for offset in stride(from: 17, to: disk.end(of: path), by: 64) { disk.names[path]!.bytes[offset] ^= 4 }
        let healer = try healer(disk)
        #expect(!healer.knowsPromises && healer.nextQuestion() == nil)
        #expect(healer.ownPromises() == nil)
        let known = KnownPromises(
            currentTerm: Term(7), last: EntryID(term: Term(6), index: LogIndex(30)), configurationIndex: LogIndex(2))
        try healer.heard(known, voters: [node, NodeID(8), NodeID(11)], from: NodeID(8))
        #expect(healer.verdict == .goesOn, "a later configuration has another voter")
        try healer.heard(
            KnownPromises(currentTerm: Term(9), last: .zero, configurationIndex: .zero), voters: nil, from: NodeID(11))
        #expect(healer.verdict == .short(promised: known.last))
        #expect(healer.log.hardState == HardState(currentTerm: Term(9), votedFor: node))
    }

    @Test("the only voter of a cluster finds nobody who could know its promises")
    func onlyVoter() throws {
        let disk = try log()
        let path = disk.segments[0]
        for offset in stride(from: 17, to: disk.end(of: path), by: 64) { disk.names[path]!.bytes[offset] ^= 4 }
        let healer = try healer(disk)
        let known = KnownPromises(currentTerm: Term(7), last: .zero, configurationIndex: LogIndex(2))
        for other in others { try healer.heard(known, voters: [node], from: other) }
        #expect(healer.verdict == .goesOn && healer.need.contains("nobody but this node"))
    }
}
