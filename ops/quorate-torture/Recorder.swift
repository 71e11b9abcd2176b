internal import Client
internal import Simulator
internal import Synchronization

/// What clients were told, for the checkers.
final class Recorder: Sendable {
    /// A put that was acknowledged.
    struct Acknowledged: Sendable {
        var revision: UInt64
        var key: [UInt8]
        var number: UInt32
    }

    /// A row as a read told it.
    struct Seen: Sendable {
        var key: [UInt8]
        var revision: UInt64
        var number: UInt32
    }

    struct State: Sendable {
        /// By group of keys.
        var history: [String: [Operation]] = [:]
        var acknowledged: [Acknowledged] = []
        var seen: [Seen] = []
        /// Of writes that were refused for good: they must not be found anywhere.
        var refusedNumbers: Set<UInt32> = []
        var unknownCount = 0
        var counts: [String: Int] = [:]
        var errors: [String: Int] = [:]
        var lastAnswerAt: UInt64 = 0
        var longestGap: UInt64 = 0
        var longestGapDuring = ""
        var fault = "nothing"
        var faultsInGap: [String] = []
        var nextNumber: UInt32 = 0
        var violations: [String] = []
        var isOver = false
    }

    private let state = Mutex(State())

    func with<T>(_ body: (inout sending State) -> sending T) -> T { state.withLock { body(&$0) } }

    func newNumber() -> UInt32 {
        with {
            $0.nextNumber += 1
            return $0.nextNumber
        }
    }

    /// From now on time without service counts.
    func begin() { with { $0.lastAnswerAt = Clock.now() } }

    /// Whoever asks, asks nothing new.
    func end() { with { $0.isOver = true } }

    var isOver: Bool { with { $0.isOver } }

    func faultBegins(_ name: String) {
        with {
            $0.fault = name
            $0.faultsInGap.append(name)
        }
    }

    /// A write or a linearizable read was answered.
    func answered(_ kind: String) {
        with { state in
            let now = Clock.now()
            let gap = now - state.lastAnswerAt
            if gap > state.longestGap {
                state.longestGap = gap
                state.longestGapDuring = state.faultsInGap.joined(separator: ", then ")
            }
            state.lastAnswerAt = now
            state.faultsInGap = [state.fault]
            state.counts[kind, default: 0] += 1
        }
    }

    func failed(_ error: ClientError) { with { $0.errors[error.code.rawValue, default: 0] += 1 } }

    func violation(_ text: String) { with { $0.violations.append(text) } }
}
