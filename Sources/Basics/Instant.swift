/// Length of time in nanoseconds; may be negative.
package struct Interval: Hashable, Comparable, Sendable, CustomStringConvertible {
    package var nanoseconds: Int64

    @inlinable package init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }

    @inlinable package static var zero: Interval { Interval(nanoseconds: 0) }
    @inlinable package static func nanoseconds(_ count: Int64) -> Interval { Interval(nanoseconds: count) }
    @inlinable package static func microseconds(_ count: Int64) -> Interval { Interval(nanoseconds: count * 1_000) }
    @inlinable package static func milliseconds(_ count: Int64) -> Interval { Interval(nanoseconds: count * 1_000_000) }
    @inlinable package static func seconds(_ count: Int64) -> Interval { Interval(nanoseconds: count * 1_000_000_000) }

    @inlinable package static func < (left: Interval, right: Interval) -> Bool { left.nanoseconds < right.nanoseconds }
    @inlinable package static func + (left: Interval, right: Interval) -> Interval {
        Interval(nanoseconds: left.nanoseconds + right.nanoseconds)
    }
    @inlinable package static func - (left: Interval, right: Interval) -> Interval {
        Interval(nanoseconds: left.nanoseconds - right.nanoseconds)
    }
    @inlinable package static func * (left: Interval, factor: Int64) -> Interval {
        Interval(nanoseconds: left.nanoseconds * factor)
    }
    @inlinable package static func / (left: Interval, divisor: Int64) -> Interval {
        Interval(nanoseconds: left.nanoseconds / divisor)
    }

    package var description: String {
        nanoseconds % 1_000_000_000 == 0 ? "\(nanoseconds / 1_000_000_000) s" : "\(nanoseconds / 1_000_000) ms"
    }
}

/// A reading of this node's monotonic clock, in nanoseconds since an arbitrary start. Comparable on one node only; never
/// written to disk or sent.
package struct Instant: Hashable, Comparable, Sendable, CustomStringConvertible {
    package var nanoseconds: UInt64

    @inlinable package init(nanoseconds: UInt64) { self.nanoseconds = nanoseconds }

    @inlinable package static var zero: Instant { Instant(nanoseconds: 0) }
    /// Later than every reading: "no deadline".
    @inlinable package static var never: Instant { Instant(nanoseconds: .max) }

    @inlinable package static func < (left: Instant, right: Instant) -> Bool { left.nanoseconds < right.nanoseconds }
    @inlinable package static func + (left: Instant, right: Interval) -> Instant {
        guard left != .never else { return .never }
        return Instant(nanoseconds: UInt64(clamping: Int64(clamping: left.nanoseconds) &+ right.nanoseconds))
    }
    @inlinable package static func - (left: Instant, right: Instant) -> Interval {
        Interval(nanoseconds: Int64(clamping: left.nanoseconds) - Int64(clamping: right.nanoseconds))
    }

    package var description: String { self == .never ? "never" : "\(nanoseconds / 1_000_000) ms" }
}

/// The time that the log itself carries, in nanoseconds since 1970; what apply takes for "now".
/// Starts at the first leader's wall clock, never falls and never jumps, so it is the same on every replica.
package struct ClusterTime: Hashable, Comparable, Sendable, CustomStringConvertible {
    package var nanoseconds: UInt64

    @inlinable package init(nanoseconds: UInt64) { self.nanoseconds = nanoseconds }

    @inlinable package static var zero: ClusterTime { ClusterTime(nanoseconds: 0) }
    @inlinable package static func < (left: ClusterTime, right: ClusterTime) -> Bool {
        left.nanoseconds < right.nanoseconds
    }
    @inlinable package static func + (left: ClusterTime, right: Interval) -> ClusterTime {
        let (sum, overflow) = left.nanoseconds.addingReportingOverflow(UInt64(max(0, right.nanoseconds)))
        return ClusterTime(nanoseconds: overflow ? .max : sum)
    }
    @inlinable package static func - (left: ClusterTime, right: ClusterTime) -> Interval {
        left >= right
            ? Interval(nanoseconds: Int64(clamping: left.nanoseconds - right.nanoseconds))
            : Interval(nanoseconds: -Int64(clamping: right.nanoseconds - left.nanoseconds))
    }

    package var description: String { "\(nanoseconds / 1_000_000) ms" }
}
