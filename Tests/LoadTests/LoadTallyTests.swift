import NIOCore
import Testing

@testable import Load

@Suite("What counts of a run")
struct LoadTallyTests {
    private let start = NIODeadline.uptimeNanoseconds(1_000_000)

    private func at(_ milliseconds: Int64) -> NIODeadline { start + .milliseconds(milliseconds) }

    @Test("What was due while it is measured does, whenever its reply comes")
    func dueTimeDecides() {
        var tally = LoadTally()
        tally.succeeded(due: at(0), at: at(1))
        tally.failed("overloaded", due: at(0))
        tally.begin(at: at(10))
        tally.succeeded(due: at(9), at: at(12))
        tally.succeeded(due: at(10), at: at(12))
        tally.failed("overloaded", due: at(11))
        tally.end(at: at(20))
        tally.succeeded(due: at(19), at: at(49))
        tally.succeeded(due: at(20), at: at(21))
        tally.failed("timeout", due: at(20))
        tally.failed("timeout", due: at(19))
        tally.count("notSent", times: 3)
        tally.count("notDelivered", times: 0)
        let report = tally.report("write")
        #expect(report.operations == 2)
        #expect(report.whole.seconds == 0.01)
        #expect(report.whole.operationsPerSecond == 200)
        #expect(report.errors == ["overloaded": 1, "timeout": 1, "notSent": 3])
        // Three digits are kept of a duration.
        #expect((29_970...30_030).contains(report.whole.latencies.largestMicros))
    }

    /// 1. Requests are due every millisecond. 2. Each takes 1 ms, but the server stands still for the second half of a
    /// second. Who measures from the moment of sending sees one slow request.
    @Test("A stall of half a second is half of the latencies, when requests count from when they were due")
    func coordinatedOmission() {
        var pacer = Pacer(rate: 1_000, from: start)
        var tally = LoadTally()
        tally.begin(at: start)
        for tick in 0..<1_000 {
            let now = at(Int64(tick))
            guard tick < 500 || tick == 999 else { continue }
            while let due = pacer.take(at: now) { tally.succeeded(due: due, at: now + .milliseconds(1)) }
        }
        tally.end(at: at(1_000))
        let latencies = tally.report("write").whole.latencies
        #expect(latencies.count == 1_000)
        #expect(latencies.micros(atPercentile: 50) <= 1_001)
        #expect((249_000...251_000).contains(latencies.micros(atPercentile: 75)))
        #expect((449_000...451_000).contains(latencies.micros(atPercentile: 95)))
        #expect((499_000...501_000).contains(latencies.largestMicros))
    }

    @Test("A part has what was due in it, and ends where the next begins or the run does")
    func parts() {
        var tally = LoadTally()
        tally.beginPart("filling", at: at(0))
        tally.succeeded(due: at(1), at: at(2))
        tally.endPart(at: at(4))
        tally.succeeded(due: at(5), at: at(6))
        tally.begin(at: at(10))
        tally.beginPart("a", at: at(20))
        tally.succeeded(due: at(25), at: at(45))
        tally.beginPart("b", at: at(40))
        tally.succeeded(due: at(39), at: at(46))
        tally.succeeded(due: at(40), at: at(46))
        tally.end(at: at(50))
        let report = tally.report("write")
        #expect(report.parts.map(\.name) == ["filling", "a", "b"])
        #expect(report.parts.map(\.latencies.count) == [1, 2, 1])
        #expect(report.parts.map(\.seconds) == [0.004, 0.02, 0.01])
        #expect(report.operations == 3)
    }

    @Test("Latencies keep three digits from a microsecond to an hour; what is beyond counts as an hour")
    func range() {
        var latencies = Latencies()
        #expect(latencies.micros(atPercentile: 99) == 0)
        #expect(latencies.largestMicros == 0)
        for nanoseconds: Int64 in [-5, 1_000_000, 2_000_000, .max] { latencies.record(nanoseconds: nanoseconds) }
        #expect(latencies.count == 4)
        #expect(latencies.micros(atPercentile: 25) == 0)
        #expect((1_000...1_001).contains(latencies.micros(atPercentile: 50)))
        #expect((2_000...2_002).contains(latencies.micros(atPercentile: 75)))
        #expect(latencies.largestMicros == 3_600_000_000)
    }

    @Test("What the nodes took is told for one operation, and not at all where nothing was done")
    func perOperation() {
        var latencies = Latencies()
        for _ in 0..<4 { latencies.record(nanoseconds: 1) }
        let part = LoadReport.Part(name: "read", seconds: 2, latencies: latencies)
        #expect(LoadReport(whole: part, serverCPUMicros: 10).serverCPUMicrosPerOperation == 2.5)
        #expect(LoadReport(whole: part).serverCPUMicrosPerOperation == nil)
        #expect(LoadReport(whole: .init(name: "read"), serverCPUMicros: 10).serverCPUMicrosPerOperation == nil)
    }
}
