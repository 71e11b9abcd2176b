internal import NIOCore

/// Says when requests are due that come at a fixed rate, whatever becomes of those before them. What waits, here or
/// anywhere, counts from the time at which it was due: a server that stalls does not keep its clients from asking.
struct Pacer {
    private let rate: Int
    private let start: NIODeadline
    private var taken: Int64 = 0

    init(rate: Int, from start: NIODeadline) {
        self.rate = rate
        self.start = start
    }

    /// When the next request is due; nil when that is not yet.
    mutating func take(at now: NIODeadline) -> NIODeadline? {
        let due = start + .nanoseconds(taken * 1_000_000_000 / Int64(rate))
        guard due <= now else { return nil }
        taken += 1
        return due
    }
}
