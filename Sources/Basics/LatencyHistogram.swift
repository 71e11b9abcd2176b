/// How long something took, counted in fixed classes: exact counts, bounded memory, and the classes of all nodes can be
/// added up.
package struct LatencyHistogram: Hashable, Sendable {
    /// Upper ends of the classes, rising; what took longer than the last is in one class more. From a disk with its own
    /// power to one that hangs.
    package static let bounds: [Interval] = [
        .microseconds(100), .microseconds(250), .microseconds(500), .milliseconds(1), .microseconds(2_500),
        .milliseconds(5), .milliseconds(10), .milliseconds(25), .milliseconds(50), .milliseconds(100),
        .milliseconds(250), .milliseconds(500), .seconds(1), .milliseconds(2_500), .seconds(5), .seconds(10),
    ]

    /// By class, not added up. One more than there are bounds.
    package private(set) var counts = [UInt64](repeating: 0, count: bounds.count + 1)
    /// Of everything that was recorded, in nanoseconds.
    package private(set) var sum: UInt64 = 0

    package init() {}

    package var count: UInt64 { counts.reduce(0, &+) }

    /// - Parameter count: how many took that long.
    package mutating func record(_ duration: Interval, count: UInt64 = 1) {
        let nanoseconds = UInt64(max(0, duration.nanoseconds))
        let position = Self.bounds.firstIndex { duration <= $0 } ?? Self.bounds.count
        counts[position] &+= count
        sum &+= nanoseconds &* count
    }
}
