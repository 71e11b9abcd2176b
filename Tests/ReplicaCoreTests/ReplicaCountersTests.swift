import Basics
import MetadataModel
import Testing

@testable import ReplicaCore

@Suite("What a replica counts")
struct ReplicaCountersTests {
    private func instant(_ milliseconds: UInt64) -> Instant { Instant(nanoseconds: milliseconds * 1_000_000) }

    @Test("each command of a batch counts with its batch's time, from the proposal and from the first arrival")
    func latencies() {
        var counters = ReplicaCounters()
        counters.batchBegan(at: instant(0))
        counters.batchProposed(through: LogIndex(3), count: 3, at: instant(2))
        counters.batchBegan(at: instant(2))
        counters.batchProposed(through: LogIndex(4), count: 1, at: instant(4))
        counters.committed(through: LogIndex(2), at: instant(5))
        #expect(counters.commitLatencies.count == 0, "half a batch is not committed")
        counters.committed(through: LogIndex(3), at: instant(6))
        counters.committed(through: LogIndex(3), at: instant(7))
        #expect(counters.commitLatencies.count == 3)
        #expect(counters.commitLatencies.sum == 3 * 4_000_000)
        #expect(counters.writes == 0)
        counters.applied(through: LogIndex(4), at: instant(8))
        #expect(counters.commitLatencies.count == 4)
        #expect(counters.commitLatencies.sum == 4 * 4_000_000)
        #expect(counters.writes == 4)
        #expect(counters.proposals == 4)
        #expect(counters.writeLatencies.sum == 3 * 8_000_000 + 6_000_000)
    }

    @Test("what was proposed in a reign that ended is not counted as written later")
    func endOfReign() {
        var counters = ReplicaCounters()
        counters.batchBegan(at: instant(0))
        counters.batchProposed(through: LogIndex(3), count: 3, at: instant(1))
        counters.committed(through: LogIndex(3), at: instant(2))
        counters.reignEnded()
        counters.applied(through: LogIndex(3), at: instant(3))
        counters.batchBegan(at: instant(4))
        counters.batchProposed(through: LogIndex(5), count: 2, at: instant(4))
        counters.applied(through: LogIndex(5), at: instant(5))
        #expect(counters.proposals == 5)
        #expect(counters.writes == 2)
        #expect(counters.commitLatencies.count == 5)
        #expect(counters.writeLatencies.count == 2)
    }

    @Test("refusals are counted by code, and every code is told from the start")
    func refusals() {
        var counters = ReplicaCounters()
        #expect(counters.refusalsByCode.map(\.code) == ErrorCode.allCases)
        counters.refused(.sessionLimit)
        counters.refused(.notLeader)
        counters.refused(.notLeader)
        let counts = counters.refusalsByCode.filter { $0.count > 0 }
        #expect(counts.map(\.code) == [.notLeader, .sessionLimit])
        #expect(counts.map(\.count) == [2, 1])
    }
}
