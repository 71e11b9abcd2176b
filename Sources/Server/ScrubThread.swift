internal import Basics
internal import Foundation
internal import ReplicaCore
internal import ReplicaStorage
internal import StateEngine
internal import Synchronization

/// What a scrub needs of the threads that own what it reads.
struct ScrubSource: Sendable {
    /// On the apply thread, when the state is that of the revision: opens the rows to be read; nil when there is nothing
    /// to read now: the state is being rebuilt, or the node stops.
    var openRows: @Sendable (LogIndex) -> Result<UncheckedBox<any StoredRows>?, EngineError>
    /// On the snapshot thread.
    var readSnapshots: @Sendable (UncheckedBox<Scrub>) -> Scrub.Step
    /// Rises when the state is replaced.
    var stateGeneration: @Sendable () -> Int
    /// What is damaged when the rows cannot be opened.
    var stateFile: @Sendable () -> String
}

enum ScrubNews: Sendable {
    case advanced(UInt64, ScrubProgress)
    case found(UInt64, ScrubFinding)
    case ended(UInt64, isComplete: Bool)
}

/// The thread that reads everything, slowly: a piece, then a sleep for as long as the rate asks for. Its priority is low:
/// who writes goes first.
final class ScrubThread: Sendable {
    private enum Job: Sendable {
        case lowerPriority
        case run(ScrubPlan, UncheckedBox<Scrub>)
    }
    private let thread: WorkThread<Job>
    private let orders: Condition

    /// - Parameter rate: bytes a second, where a plan does not say.
    init(rate: UInt64, source: ScrubSource, report: @escaping @Sendable (ScrubNews) -> Void) {
        let orders = Condition()
        self.orders = orders
        thread = WorkThread(name: "scrub") { jobs in
            for job in jobs {
                switch job {
                // On Linux the priority is the thread's own.
                case .lowerPriority: setpriority(Int32(PRIO_PROCESS.rawValue), 0, 15)
                case .run(let plan, let scrub):
                    Self.run(plan, scrub.value, rate: plan.rate > 0 ? plan.rate : rate, source, orders, report)
                }
            }
        }
        thread.add(.lowerPriority)
    }

    func start(_ plan: ScrubPlan, _ scrub: UncheckedBox<Scrub>) {
        orders.want(plan.number)
        thread.add(.run(plan, scrub))
    }

    /// The one under way ends with its piece.
    func stopScrub() { orders.want(0) }

    func stop() {
        orders.want(0)
        thread.stop()
    }

    /// Of one piece; few enough that a pace of some MiB/s is even, and the end of a scrub near.
    private static var pieceSize: Int { 256 * 1_024 }

    private static func run(
        _ plan: ScrubPlan, _ scrub: Scrub, rate: UInt64, _ source: ScrubSource, _ orders: Condition,
        _ report: @Sendable (ScrubNews) -> Void
    ) {
        let began = ContinuousClock.now
        var reported = began
        var generation = source.stateGeneration()
        var areRowsOpen = false
        var slept = ContinuousClock.now
        while scrub.part != .over {
            guard orders.isWanted(plan.number) else { return report(.ended(plan.number, isComplete: false)) }
            var step = Scrub.Step()
            switch scrub.part {
            case .rows where !areRowsOpen:
                areRowsOpen = true
                generation = source.stateGeneration()
                switch source.openRows(plan.digestAt) {
                case .success(let rows?): scrub.setRows(rows.value)
                case .success(nil): scrub.leaveRows()
                case .failure(let error): step.findings = scrub.rowsFailed(error, file: source.stateFile())
                }
            case .rows:
                step = scrub.step(bytesMax: pieceSize)
                if source.stateGeneration() != generation {
                    scrub.leaveRows()
                    step.findings.removeAll { $0.kind == .state }
                }
            case .snapshots: step = source.readSnapshots(UncheckedBox(scrub))
            case .files, .log, .over: step = scrub.step(bytesMax: pieceSize)
            }
            for finding in step.findings { report(.found(plan.number, finding)) }
            let now = ContinuousClock.now
            if now - reported > .milliseconds(200) || !step.findings.isEmpty {
                reported = now
                report(.advanced(plan.number, scrub.progress))
            }
            // Not what was missed while the disk was slow: a rate is a bound.
            let pause = Duration.seconds(Double(step.byteCount) / Double(max(1, rate))) - (now - slept)
            if pause > .zero { orders.sleep(pause, unlessUnwanted: plan.number) }
            slept = ContinuousClock.now
        }
        report(.advanced(plan.number, scrub.progress))
        report(.ended(plan.number, isComplete: true))
    }

    /// Which scrub is wanted; a sleep ends when it is another one.
    private final class Condition: @unchecked Sendable {
        // `@unchecked`: `wanted` is used under the lock only.
        private let condition = NSCondition()
        private var wanted: UInt64 = 0

        func want(_ number: UInt64) {
            condition.lock()
            wanted = number
            condition.broadcast()
            condition.unlock()
        }

        func isWanted(_ number: UInt64) -> Bool {
            condition.lock()
            defer { condition.unlock() }
            return wanted == number
        }

        func sleep(_ duration: Duration, unlessUnwanted number: UInt64) {
            let seconds = Double(duration.components.seconds) + Double(duration.components.attoseconds) / 1e18
            let deadline = Date(timeIntervalSinceNow: min(seconds, 3_600))
            condition.lock()
            while wanted == number, condition.wait(until: deadline) {}
            condition.unlock()
        }
    }
}

/// Something that one thread hands to another, which waits for it.
final class Handover<Value: Sendable>: Sendable {
    private let value = Mutex<Value?>(nil)
    private let isThere = DispatchSemaphore(value: 0)

    func give(_ given: Value) {
        value.withLock { $0 = given }
        isThere.signal()
    }

    /// Nil when it does not come in time.
    func take(within limit: DispatchTimeInterval? = nil) -> Value? {
        if let limit {
            guard isThere.wait(timeout: .now() + limit) == .success else { return nil }
        } else {
            isThere.wait()
        }
        return value.withLock { $0 }
    }
}
