internal import Basics
internal import Foundation

/// A thread that carries out items in order, taking all that wait at once. The one who hands over never waits, and a
/// sleeping thread is woken once for many items. What is quickly done may be done in its place instead (`performHere`).
final class WorkThread<Item: Sendable>: @unchecked Sendable {
    // `@unchecked`: `waiting`, `isWorking` and `isStopping` are used under `condition` only.
    private let condition = NSCondition()
    private var waiting: [Item] = []
    /// Items are being carried out, by the thread or in its place.
    private var isWorking = false
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

    /// Carries the items out on the calling thread, if this one sleeps and `isQuick` allows it. That saves waking it, and being
    /// woken by it, which costs more than a few small items do.
    /// - Parameter isQuick: may look at what `body` uses.
    /// - Returns: whether they were carried out.
    func performHere(_ items: [Item], if isQuick: () -> Bool) -> Bool {
        condition.lock()
        guard !isWorking, waiting.isEmpty, !isStopping else {
            condition.unlock()
            return false
        }
        isWorking = true
        condition.unlock()
        defer {
            condition.lock()
            isWorking = false
            let isNeeded = !waiting.isEmpty || isStopping
            condition.unlock()
            if isNeeded { condition.signal() }
        }
        guard isQuick() else { return false }
        body(items)
        return true
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
        while let items = take(hasWorked: &hasWorked) {
            body(items)
            condition.withLock { isWorking = false }
        }
        finished.signal()
    }

    private func take(hasWorked: inout Bool) -> [Item]? {
        condition.lock()
        while waiting.isEmpty || isWorking {
            if isStopping, !isWorking {
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
        isWorking = true
        condition.unlock()
        hasWorked = true
        return items
    }
}
