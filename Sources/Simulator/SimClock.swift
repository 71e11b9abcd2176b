internal import Basics

/// The clocks of one machine: a monotonic one that starts anywhere and runs a little fast or slow, and a wall clock
/// that an operator may set.
struct SimClock {
    /// What the monotonic clock showed when the world began.
    private var base: UInt64
    /// Nanoseconds that it gains in a millisecond of world time.
    private var drift: Int64
    /// How far the wall clock is from the world's.
    private var wallOffset = Interval.zero

    /// The wall time at which the world begins.
    static let epoch: UInt64 = 1_700_000_000_000_000_000
    static let driftMax: Int64 = 50_000

    init(chance: inout Chance, drifts: Bool) {
        base = chance.next() % 1_000_000_000_000
        drift = drifts ? Int64(chance.number(in: Int(-Self.driftMax)...Int(Self.driftMax))) : 0
    }

    mutating func setWall(offset: Interval) { wallOffset = offset }

    func monotonic(at time: Instant) -> Instant {
        let passed = Int64(time.nanoseconds)
        return Instant(nanoseconds: base + UInt64(passed + passed / 1_000_000 * drift))
    }

    func wall(at time: Instant) -> ClusterTime {
        ClusterTime(nanoseconds: UInt64(Int64(Self.epoch + time.nanoseconds) + wallOffset.nanoseconds))
    }

    /// The world time at which the monotonic clock has certainly reached `reading`.
    func worldTime(of reading: Instant) -> Instant {
        guard reading != .never else { return .never }
        guard reading.nanoseconds > base else { return .zero }
        let local = Int64(reading.nanoseconds - base)
        // The clock gains in steps of a millisecond; one step more is late enough.
        let passed = local / (1_000_000 + drift) * 1_000_000 + local % (1_000_000 + drift)
        return Instant(nanoseconds: UInt64(max(0, passed + abs(drift))))
    }
}
