import Basics
@testable import Simulator
import Testing

@Suite("The queue of events")
struct EventQueueTests {
    @Test("what is earlier comes first, and of one instant what was added first", arguments: 1...5 as ClosedRange<UInt64>)
    func order(seed: UInt64) {
        var chance = Chance(seed: seed, stream: 1)
        var queue = EventQueue<Int>()
        // What is in the queue: time and number, in the order in which they were added.
        var waiting: [(time: UInt64, number: Int)] = []
        var now: UInt64 = 0
        for number in 0..<2_000 {
            if chance.happens(percent: 60) {
                let time = now + UInt64(chance.number(in: 0...50))
                queue.add(number, at: Instant(nanoseconds: time))
                waiting.append((time, number))
            } else {
                let end = now + UInt64(chance.number(in: 0...20))
                let first = waiting.indices.min { (waiting[$0].time, $0) < (waiting[$1].time, $1) }
                let expected = first.flatMap { waiting[$0].time <= end ? waiting.remove(at: $0) : nil }
                let found = queue.pop(notAfter: Instant(nanoseconds: end))
                #expect(found?.event == expected?.number)
                #expect(found?.time.nanoseconds == expected?.time)
                now = expected?.time ?? now
            }
            #expect(queue.count == waiting.count)
        }
    }

    @Test("what is never to happen is not kept")
    func never() {
        var queue = EventQueue<Int>()
        queue.add(1, at: .never)
        #expect(queue.count == 0)
    }
}
