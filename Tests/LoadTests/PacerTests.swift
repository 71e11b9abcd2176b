import NIOCore
import Testing

@testable import Load

@Suite("Requests at a rate")
struct PacerTests {
    private let start = NIODeadline.uptimeNanoseconds(1_000)

    @Test("They are due evenly, and not before")
    func even() {
        var pacer = Pacer(rate: 1_000, from: start)
        #expect(pacer.take(at: start - .nanoseconds(1)) == nil)
        #expect(pacer.take(at: start) == start)
        #expect(pacer.take(at: start + .microseconds(999)) == nil)
        #expect(pacer.nextDue == start + .milliseconds(1))
        #expect(pacer.take(at: start + .milliseconds(1)) == start + .milliseconds(1))
    }

    @Test("After a stall all that came due meanwhile are taken, each with its own time")
    func stall() {
        var pacer = Pacer(rate: 10, from: start)
        let late = start + .seconds(1)
        let due = (0..<20).compactMap { _ in pacer.take(at: late) }
        #expect(due == (0...10).map { start + .milliseconds(100 * $0) })
    }

    @Test("A rate that does not divide a second drifts by nothing in a day")
    func noDrift() {
        var pacer = Pacer(rate: 7, from: start)
        let day = start + .seconds(86_400)
        var count = 0
        while pacer.take(at: day) != nil { count += 1 }
        #expect(count == 7 * 86_400 + 1)
    }

    @Test("What nobody took is counted, up to the end and not at it", arguments: [1, 3, 7, 1_000, 10_000_000])
    func untaken(rate: Int) {
        var pacer = Pacer(rate: rate, from: start)
        #expect(pacer.untaken(before: start) == 0)
        #expect(pacer.untaken(before: start + .nanoseconds(1)) == 1)
        #expect(pacer.untaken(before: start + .seconds(2)) == 2 * rate)
        #expect(pacer.untaken(before: start + .seconds(2) + .nanoseconds(1)) == 2 * rate + 1)
        _ = pacer.take(at: start)
        #expect(pacer.untaken(before: start + .seconds(2)) == 2 * rate - 1)
        #expect(pacer.untaken(before: start) == 0)
    }
}
