import Basics
import Testing

@testable import ClientCore

@Suite struct QueueTests {
    @Test("a queue behaves like an array, whatever is done to it")
    func queueLikeArray() {
        var random = SplitMix64(seed: 1)
        var queue = Queue<Int>()
        var model: [Int] = []
        for step in 0..<20_000 {
            switch random.next() % 8 {
            case 0...3:
                queue.append(step)
                model.append(step)
            case 4, 5: #expect(queue.popFirst() == (model.isEmpty ? nil : model.removeFirst()))
            case 6 where !model.isEmpty:
                queue.removeLast()
                model.removeLast()
            default:
                if random.next() % 16 == 0 {
                    queue.prepend(contentsOf: [step, step + 1])
                    model = [step, step + 1] + model
                } else if let place = model.indices.randomElement(using: &random) {
                    queue[place] += 1
                    model[place] += 1
                }
            }
            #expect(queue.count == model.count)
        }
        #expect(queue.takeAll() == model)
        #expect(queue.isEmpty)
    }

    @Test("timers come in the order of their instants, equal ones in the order of their making")
    func timersInOrder() {
        var random = SplitMix64(seed: 2)
        var timers = TimerQueue<Int>()
        var expected: [(due: UInt64, item: Int)] = []
        for item in 0..<2_000 {
            let due = random.next() % 100
            timers.add(item, at: Instant(nanoseconds: due))
            expected.append((due, item))
        }
        timers.add(-1, at: .never)
        timers.keep { $0 % 3 != 0 }
        expected.removeAll { $0.item % 3 == 0 }
        expected.sort { ($0.due, $0.item) < ($1.due, $1.item) }
        var taken: [Int] = []
        for now in 0..<100 as Range<UInt64> {
            while let item = timers.popDue(by: Instant(nanoseconds: now)) { taken.append(item) }
        }
        #expect(taken == expected.map(\.item))
        #expect(timers.nextDue == .never)
    }
}
