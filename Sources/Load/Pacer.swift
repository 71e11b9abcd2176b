internal import NIOCore

/// Says when requests are due that come at a fixed rate, whatever becomes of those before them. What waits, here or
/// anywhere, counts from the time at which it was due: a server that stalls does not keep its clients from asking, so
/// the requests that a stall would have kept from being sent are in the figures too (coordinated omission).
struct Pacer {
    private let rate: Int64
    private let start: NIODeadline
    private var taken: Int64 = 0

    /// - Parameter rate: requests a second, above 0.
    init(rate: Int, from start: NIODeadline) {
        self.rate = Int64(rate)
        self.start = start
    }

    /// When the next request is due, or was.
    var nextDue: NIODeadline { due(taken) }

    /// When the request was due that may be sent now; nil when none may.
    mutating func take(at now: NIODeadline) -> NIODeadline? {
        let due = nextDue
        guard due <= now else { return nil }
        taken += 1
        return due
    }

    /// Requests that were due before `end` and that nobody has taken.
    func untaken(before end: NIODeadline) -> Int {
        guard nextDue < end else { return 0 }
        // They are due at 0, 1/rate, 2/rate, … s.
        let whole = Self.scaled((end - start).nanoseconds, by: rate, over: 1_000_000_000)
        let count = due(whole) < end ? whole + 1 : whole
        return Int(count - taken)
    }

    private func due(_ number: Int64) -> NIODeadline {
        start + .nanoseconds(Self.scaled(number, by: 1_000_000_000, over: rate))
    }

    /// `value * factor / divisor`, whatever the product comes to; rounded down.
    private static func scaled(_ value: Int64, by factor: Int64, over divisor: Int64) -> Int64 {
        let product = value.multipliedFullWidth(by: factor)
        return divisor.dividingFullWidth(product).quotient
    }
}
