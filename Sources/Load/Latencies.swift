internal import Histogram

/// How long operations took: three significant digits from a microsecond to an hour, in memory that does not grow with
/// the run.
package struct Latencies: Sendable {
    private static let longest: UInt64 = 3_600_000_000_000
    private var histogram = Histogram<UInt64>(
        lowestDiscernibleValue: 1_000, highestTrackableValue: longest, numberOfSignificantValueDigits: .three)

    package init() {}

    package var count: Int { Int(clamping: histogram.totalCount) }

    /// What took longer than an hour counts as an hour.
    package mutating func record(nanoseconds: Int64, count: Int = 1) {
        histogram.record(min(UInt64(max(0, nanoseconds)), Self.longest), count: UInt64(count))
    }

    /// The least duration that so much of a hundred is not above; 0 when nothing was recorded.
    package func micros(atPercentile percentile: Double) -> UInt64 {
        count == 0 ? 0 : histogram.valueAtPercentile(percentile) / 1_000
    }

    package var largestMicros: UInt64 { histogram.maxRecorded / 1_000 }
}
