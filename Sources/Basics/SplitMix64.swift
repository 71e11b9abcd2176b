/// A small seeded generator (Steele, Lea, Flood 2014). The only source of chance in the pure rooms: it is part of the
/// state, so the same seed gives the same run.
package struct SplitMix64: RandomNumberGenerator, Hashable, Sendable {
    package var state: UInt64

    package init(seed: UInt64) { self.state = seed }

    package mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }

    /// A uniform interval from `low` through `high`.
    package mutating func interval(from low: Interval, through high: Interval) -> Interval {
        guard high > low else { return low }
        return Interval(nanoseconds: Int64.random(in: low.nanoseconds...high.nanoseconds, using: &self))
    }
}
