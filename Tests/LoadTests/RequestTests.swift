import Basics
import MetadataModel
import NIOCore
import Testing

@testable import Load

@Suite("What is asked")
struct RequestTests {
    private func draw(_ count: Int, from queue: RequestQueue) -> [Request] {
        var queue = queue
        return (0..<count).compactMap { _ in queue.next() }
    }

    private func isGet(_ request: Request) -> Bool { if case .get = request { true } else { false } }

    @Test("The same seed gives the same requests, another one others")
    func seeds() {
        let first = draw(50, from: .records(keys: 1_000, getPercent: 50, seed: 1))
        #expect(first.count == 50)
        #expect(first == draw(50, from: .records(keys: 1_000, getPercent: 50, seed: 1)))
        #expect(first != draw(50, from: .records(keys: 1_000, getPercent: 50, seed: 2)))
    }

    @Test("Reads have their share", arguments: [0, 10, 90, 100])
    func share(percent: Int) {
        let reads = draw(10_000, from: .records(keys: 10, getPercent: percent, seed: 7)).count(where: isGet)
        #expect(abs(reads - 100 * percent) <= (percent % 100 == 0 ? 0 : 200))
    }

    @Test("A transaction never has the same key twice, and both are among the keys")
    func transactions() {
        for keys in [2, 3, 1_000] {
            for request in draw(500, from: .transactions(keys: keys, seed: 3)) {
                guard case .transaction(let first, let second) = request else {
                    Issue.record("\(request)")
                    continue
                }
                #expect(first != second && (0..<keys).contains(first) && (0..<keys).contains(second))
            }
        }
    }

    @Test("Groups of sessions have their turn one after the other")
    func keepAlives() {
        #expect(draw(4, from: .keepAlives(groups: 3)) == [.keepAlive(0), .keepAlive(1), .keepAlive(2), .keepAlive(0)])
    }

    @Test("A list is done when each has succeeded; one that failed comes again")
    func lists() {
        var queue = RequestQueue.puts(of: [4, 5])
        #expect(!queue.isDone && queue.untakenCount == 2)
        #expect(queue.next() == .put(4))
        #expect(queue.next() == .put(5))
        #expect(queue.next() == nil && !queue.hasNext && !queue.isDone)
        queue.finished(.put(5), isSuccess: false)
        #expect(queue.hasNext && queue.untakenCount == 1)
        queue.finished(.put(4), isSuccess: true)
        #expect(!queue.isDone)
        #expect(queue.next() == .put(5))
        // Of another stage of the run.
        queue.finished(.get(5), isSuccess: true)
        #expect(!queue.isDone)
        queue.finished(.put(5), isSuccess: true)
        #expect(queue.isDone && queue.untakenCount == 0)
        #expect(RequestQueue.openings(of: []).isDone)
        #expect(!RequestQueue.keepAlives(groups: 1).isDone)
    }

    @Test("Puts of a list go together, and come again together when they fail")
    func together() {
        var queue = RequestQueue.puts(of: [1, 2, 3, 4, 5], together: 2)
        #expect(queue.next() == .puts([1, 2]) && queue.next() == .puts([3, 4]) && queue.next() == .put(5))
        #expect(Request.puts([1, 2]).operationCount == 2 && Request.put(5).operationCount == 1)
        queue.finished(.puts([3, 4]), isSuccess: false)
        queue.finished(.puts([1, 2]), isSuccess: true)
        queue.finished(.put(5), isSuccess: true)
        #expect(!queue.isDone && queue.untakenCount == 2)
        #expect(queue.next() == .puts([3, 4]))
        queue.finished(.puts([3, 4]), isSuccess: true)
        #expect(queue.isDone)
    }

    @Test("A reply frees the place of its request and no other, whatever the order")
    func slots() {
        func entry(_ key: Int) -> RequestSlots.Entry { .init(request: .put(key), due: .uptimeNanoseconds(1), session: 1) }
        var slots = RequestSlots(count: 2)
        let first = slots.take(entry(1))
        let second = slots.take(entry(2))
        #expect(slots.isFull && first != 0 && second != 0 && first != second)
        #expect(slots.finish(second)?.request == .put(2))
        let third = slots.take(entry(3))
        #expect(third != second)
        // A reply that comes twice, and one to nothing.
        #expect(slots.finish(second) == nil)
        #expect(slots.finish(0) == nil && slots.finish(.max) == nil)
        #expect(slots.finish(first)?.request == .put(1))
        #expect(slots.finishAll().map(\.request) == [.put(3)])
        #expect(slots.isEmpty && slots.finish(third) == nil)
        _ = slots.take(entry(4))
        #expect(!slots.isFull && !slots.isEmpty)
    }

    @Test("Keys are the prefix and ten digits; no other key is taken for one")
    func keys() {
        var keys = NumberedKeys(prefix: Array("bench/".utf8))
        #expect(keys[0] == Array("bench/0000000000".utf8))
        #expect(keys[1_234_567_890] == Array("bench/1234567890".utf8))
        #expect(keys[7] == Array("bench/0000000007".utf8))
        #expect(keys.number(of: Array("bench/0000000042".utf8)) == 42)
        for other in ["bench/000000042", "bench/00000000042", "bench/000000004x", "other/0000000042", ""] {
            #expect(keys.number(of: Array(other.utf8)) == nil, "\(other)")
        }
    }

    @Test("Values have their size, differ, and with a stamp say who wrote them when")
    func values() {
        for size in [0, 1, 7, 8, 9, 256] {
            var values = ChanceValues(size: size, seed: 5)
            let first = values.next()
            #expect(first.count == size)
            // A byte may be the same by chance.
            if size > 1 { #expect(first != values.next(), "\(size)") }
        }
        var values = ChanceValues(size: WriteStamp.size + 3, seed: 5)
        let stamp = WriteStamp(run: 77, due: .uptimeNanoseconds(123))
        let stamped = values.next(with: stamp)
        #expect(stamped.count == WriteStamp.size + 3)
        #expect(WriteStamp(of: stamped) == stamp)
        #expect(WriteStamp(of: Array(repeating: 0, count: WriteStamp.size - 1)) == nil)
    }

    /// A reply to the session before must not acknowledge what the new one has not sent: the node would refuse that.
    @Test("Replies to a session that was given up do not concern the one after it")
    func sessions() {
        var session = MutationSession()
        session.begin(SessionID(1, 1), at: ClusterTime(nanoseconds: 5), timeout: .seconds(10))
        let old = session.number
        #expect(session.takeHeader(.put).sequence == 1)
        #expect(session.takeHeader(.put).opening?.timeout == .seconds(10))
        session.succeeded(in: old)
        let third = session.takeHeader(.put)
        #expect(third.sequence == 3 && third.acknowledgedThrough == 1 && third.opening == nil)
        session.begin(SessionID(2, 2), at: ClusterTime(nanoseconds: 9), timeout: .seconds(10))
        session.succeeded(in: old)
        let fresh = session.takeHeader(.transaction)
        #expect(fresh.session == SessionID(2, 2) && fresh.sequence == 1 && fresh.acknowledgedThrough == 0)
        #expect(fresh.opening?.openedAt == ClusterTime(nanoseconds: 9))
        #expect(fresh.kind == .transaction)
    }
}
