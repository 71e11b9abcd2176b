/// Counts durations in buckets that are never wider than 1/64 of what they hold: exact enough for percentiles, of a
/// size that does not grow with the run.
struct Histogram: Sendable {
    private static let subBucketBits = 6
    private static let subBuckets = 1 << subBucketBits
    /// By position of the highest bit, then by the six bits below it.
    private var counts = [Int](repeating: 0, count: (64 - subBucketBits + 1) * subBuckets)
    private(set) var count = 0
    private(set) var largest: UInt64 = 0

    mutating func add(_ nanoseconds: UInt64) {
        counts[Self.position(of: nanoseconds)] += 1
        count += 1
        largest = max(largest, nanoseconds)
    }

    /// The least duration, in nanoseconds, that this share of all is not above; 0 when nothing was counted.
    func percentile(_ share: Double) -> UInt64 {
        guard count > 0 else { return 0 }
        var left = max(1, Int((Double(count) * share).rounded(.up)))
        for (position, counted) in counts.enumerated() {
            left -= counted
            if left <= 0 { return min(Self.upperEnd(of: position), largest) }
        }
        return largest
    }

    private static func position(of value: UInt64) -> Int {
        guard value >= UInt64(subBuckets) else { return Int(value) }
        let shift = 63 - value.leadingZeroBitCount - subBucketBits
        return (shift + 1) * subBuckets + Int(value >> UInt64(shift)) - subBuckets
    }

    private static func upperEnd(of position: Int) -> UInt64 {
        guard position >= subBuckets else { return UInt64(position) }
        let shift = position / subBuckets - 1
        let leading = UInt64(position % subBuckets + subBuckets)
        return ((leading + 1) << UInt64(shift)) - 1
    }
}
