import Basics
import LogFormat
import MetadataMachine
import MetadataModel
import StateEngine
import Testing

/// One log, applied entry by entry, is what every other way of applying it must equal.
@Suite("One log, one state")
struct ReplayTests {
    /// Shortly before a checkpoint of the sessions and a report of the digest.
    static let base = LogIndex(Limits.sessionCheckpointInterval - 150)
    static let count = 400

    /// What applying a log brought, by position in the log.
    struct Course {
        var replies: [[UInt8]] = []
        var digests: [IndexedDigest] = []
        var rows: [[UInt8]] = []
        var sessions: [UInt8] = []
        var applied = Applied.nothing
    }

    private func slabs(
        _ items: [RandomLog.Item], _ range: ClosedRange<LogIndex>, _ chance: inout SplitMix64
    ) -> [Slab] {
        var slabs: [Slab] = []
        var builder = SlabBuilder(term: Term(1), firstIndex: range.lowerBound, salt: 9)
        for raw in range.lowerBound.rawValue...range.upperBound.rawValue {
            let entry = items[Int(raw - Self.base.rawValue - 1)].entry
            builder.append(entry.type, payload: entry.payload.rawSpan, time: entry.time)
            if Int.random(in: 0..<5, using: &chance) == 0 || raw == range.upperBound.rawValue {
                slabs += [builder.close()].compactMap { $0 }
                builder = SlabBuilder(term: Term(1), firstIndex: LogIndex(raw + 1), salt: 9)
            }
        }
        return slabs
    }

    /// Applies all of `items` in groups of at most `groupMax` entries. With faults, crashes, moves by snapshot and
    /// forgotten outcomes come in between; an entry that is applied again must answer what it answered before.
    private func course(of items: [RandomLog.Item], groupMax: Int, faultSeed: UInt64?) throws -> Course {
        var chance = SplitMix64(seed: faultSeed ?? 1)
        var engine = try Rig.emptyEngine(at: Self.base)
        var machine = try Machine(engine: engine, node: NodeID(1))
        var replies = [[UInt8]?](repeating: nil, count: items.count)
        var digests: [LogIndex: UInt64] = [:]
        let end = Self.base + items.count
        while machine.applied.last.index < end {
            let from = machine.applied.last.index.next
            let through = min(end, from + Int.random(in: 0..<groupMax, using: &chance))
            let report = try machine.apply(slabs(items, from...through, &chance), in: from...through)
            for raw in from.rawValue...through.rawValue {
                let position = Int(raw - Self.base.rawValue - 1)
                let reply = Array(report.replyBytes[report.reply(at: LogIndex(raw))])
                if let before = replies[position] { #expect(before == reply, "entry \(raw) answers otherwise") }
                replies[position] = reply
            }
            for digest in report.digests {
                if let before = digests[digest.index] { #expect(before == digest.digest) }
                digests[digest.index] = digest.digest
            }
            guard faultSeed != nil else { continue }
            switch Int.random(in: 0..<12, using: &chance) {
            case 0..<3: engine.flush()
            case 3:
                engine.crash()
                machine = try Machine(engine: engine, node: NodeID(1))
            case 4:
                engine = try Rig.install(machine.snapshotSource())
                machine = try Machine(engine: engine, node: NodeID(1))
            case 5: try machine.forgetOutcomes(through: machine.durableApplied())
            default: break
            }
        }
        return Course(
            replies: replies.map { $0 ?? [] },
            digests: digests.sorted { $0.key < $1.key }.map { IndexedDigest(index: $0.key, digest: $0.value) },
            rows: try Rig.replicatedRows(engine), sessions: try machine.snapshotSource().sessions,
            applied: machine.applied)
    }

    @Test(
        "grouping, slabs, crashes and snapshots change neither rows nor digests nor replies", arguments: 1...12,
        [false, true])
    func sameWhateverTheWay(seed: Int, coordinates: Bool) throws {
        // With and without history too.
        let items = RandomLog(
            seed: UInt64(seed), base: Self.base, count: Self.count, coordinates: coordinates,
            switchesHistory: seed % 2 == 0
        ).items
        let plain = try course(of: items, groupMax: 1, faultSeed: nil)
        #expect(plain.digests.map(\.index) == [LogIndex(Limits.sessionCheckpointInterval)])
        for variant in UInt64(0)..<5 {
            let other = try course(
                of: items, groupMax: [1, 4, 40, 400, 9][Int(variant)],
                faultSeed: variant == 3 ? nil : UInt64(seed) &* 100 + variant)
            #expect(other.replies == plain.replies)
            #expect(other.digests == plain.digests)
            #expect(other.rows == plain.rows)
            #expect(other.sessions == plain.sessions)
            #expect(other.applied == plain.applied)
        }
    }

    @Test("entries of which it is said that no row is needed are applied without one")
    func appliesInMemory() throws {
        var counts = [true: 0, false: 0]
        for seed in UInt64(1)...12 {
            let items = RandomLog(
                seed: seed, base: Self.base, count: Self.count, coordinates: seed % 3 == 0, switchesHistory: seed % 2 == 0
            ).items
            var chance = SplitMix64(seed: seed)
            let engine = try Rig.emptyEngine(at: Self.base)
            let machine = try Machine(engine: engine, node: NodeID(1))
            while machine.applied.last.index < Self.base + items.count {
                let from = machine.applied.last.index.next
                let range = from...min(Self.base + items.count, from + Int.random(in: 0..<3, using: &chance))
                let slabs = slabs(items, range, &chance)
                let isInMemory = machine.appliesInMemory(slabs, in: range, byteCountMax: 16_384)
                engine.damagedRows = isInMemory ? KeyRange(from: [], to: nil) : nil
                _ = try machine.apply(slabs, in: range)
                counts[isInMemory, default: 0] += range.entryCount
            }
        }
        #expect(counts.values.allSatisfy { $0 > 100 }, "\(counts)")
    }

    @Test("nothing is applied twice, and what is applied is what a simple model does", arguments: 1...12)
    func likeTheModel(seed: Int) throws {
        let items = RandomLog(seed: UInt64(seed), base: Self.base, count: Self.count).items
        let course = try course(of: items, groupMax: 7, faultSeed: UInt64(seed) &+ 7_000)
        var model = NaiveState()
        var first: [String: Answer] = [:]
        var sessionCodes: [ErrorCode: Int] = [:]
        var appliedCount = 0
        var repeatedCount = 0
        for (position, item) in items.enumerated() {
            let index = Self.base + (position + 1)
            guard let request = item.request else {
                #expect(course.replies[position].isEmpty)
                continue
            }
            let answer = try Answer(course.replies[position])
            let name = "\(request.session) \(request.sequence)"
            if let before = first[name] {
                // A retry: the first reply, or no reply, never a second result.
                if answer.bytes == before.bytes {
                    repeatedCount += 1
                } else {
                    let allowed: [ErrorCode] = [.sequenceTooOld, .sessionExpired, .resultNotKept]
                    #expect(answer.code.map(allowed.contains) == true, "entry \(index) answers \(answer)")
                }
                continue
            }
            switch answer.code {
            case .sequenceGap, .sessionExpired, .sequenceTooOld, .sessionLimit, .resultNotKept:
                sessionCodes[answer.code ?? .unknown, default: 0] += 1
                continue
            case .compacted:
                break
            case nil, .conflict:
                appliedCount += 1
                let expected = model.carryOut(request.mutation, at: index)
                #expect(answer.revision == index)
                #expect((answer.code == nil) == (expected != nil), "entry \(index)")
                if let expected { #expect(answer.rest == expected, "entry \(index)") }
            default: Issue.record("entry \(index) answers \(answer)")
            }
            first[name] = answer
        }
        var rows: [[UInt8]: NaiveState.Row] = [:]
        for position in stride(from: 0, to: course.rows.count, by: 2) where course.rows[position].first == 0x10 {
            let stored = course.rows[position + 1]
            var reader = ByteReader(stored.rawSpan)
            let revision = LogIndex(try reader.readUInt64())
            rows[Array(course.rows[position].dropFirst())] = .init(
                revision: revision, value: [UInt8](reader.readRemaining()))
        }
        #expect(rows == model.rows)
        // The log is worth its name: much was applied, repeated, and refused.
        #expect(appliedCount > 80)
        #expect(repeatedCount > 15)
        #expect(sessionCodes[.sequenceGap, default: 0] > 0)
        #expect(sessionCodes[.sessionExpired, default: 0] > 0)
    }
}
