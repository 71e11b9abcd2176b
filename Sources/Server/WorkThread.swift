internal import Basics
internal import Foundation

/// A thread that carries out items in order, taking all that wait at once. The one who hands over never waits, and a
/// sleeping thread is woken once for many items.
final class WorkThread<Item: Sendable>: @unchecked Sendable {
    // `@unchecked`: `waiting` and `isStopping` are used under `condition` only.
    private let condition = NSCondition()
    private var waiting: [Item] = []
    private var isStopping = false
    private let body: ([Item]) -> Void
    private let idle: (() -> Void)?
    private let idleAfter: Interval
    private let finished = DispatchSemaphore(value: 0)

    /// - Parameters:
    ///   - body: runs on the thread with everything that has gathered, at least one item.
    ///   - idle: runs on the thread once when nothing has come for `idleAfter` after some work.
    init(
        name: String, idleAfter: Interval = .zero, idle: (() -> Void)? = nil, body: @escaping ([Item]) -> Void
    ) {
        self.body = body
        self.idle = idle
        self.idleAfter = idleAfter
        let thread = Thread { [self] in
            // Set from outside, before the start, the name would not reach the kernel.
            Thread.current.name = name
            run()
        }
        thread.stackSize = 4 * 1_024 * 1_024
        thread.start()
    }

    func add(_ item: Item) { add([item]) }

    func add(_ items: [Item]) {
        guard !items.isEmpty else { return }
        condition.lock()
        let wasEmpty = waiting.isEmpty
        waiting.append(contentsOf: items)
        condition.unlock()
        // After the unlock: a thread woken before it would wait a second time, for the lock.
        if wasEmpty { condition.signal() }
    }

    /// Ends the thread once everything handed over is done, and waits for that.
    func stop() {
        condition.lock()
        isStopping = true
        condition.signal()
        condition.unlock()
        finished.wait()
    }

    private func run() {
        var hasWorked = false
        while let items = take(hasWorked: &hasWorked) { body(items) }
        finished.signal()
    }

    private func take(hasWorked: inout Bool) -> [Item]? {
        condition.lock()
        while waiting.isEmpty {
            if isStopping {
                condition.unlock()
                return nil
            }
            if hasWorked, let idle {
                let deadline = Date(timeIntervalSinceNow: Double(idleAfter.nanoseconds) / 1e9)
                if !condition.wait(until: deadline), waiting.isEmpty, !isStopping {
                    hasWorked = false
                    condition.unlock()
                    idle()
                    condition.lock()
                }
            } else {
                condition.wait()
            }
        }
        var items: [Item] = []
        swap(&items, &waiting)
        condition.unlock()
        hasWorked = true
        return items
    }
}
