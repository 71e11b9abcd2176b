internal import Basics

/// One stream of chance. Each concern draws from a stream of its own, so that a change in one (another fault, another
/// client) does not reshuffle all others.
struct Chance {
    private(set) var generator: SplitMix64

    init(seed: UInt64, stream: UInt64) {
        var mixer = SplitMix64(seed: seed ^ stream &* 0xD1B5_4A32_D192_ED03)
        generator = SplitMix64(seed: mixer.next())
    }

    mutating func next() -> UInt64 { generator.next() }

    /// True in `percent` of a hundred cases.
    mutating func happens(percent: Int) -> Bool { number(in: 0...99) < percent }

    mutating func number(in range: ClosedRange<Int>) -> Int {
        let count = UInt64(range.upperBound - range.lowerBound + 1)
        return range.lowerBound + Int(generator.next() % count)
    }

    mutating func interval(_ low: Interval, _ high: Interval) -> Interval {
        generator.interval(from: low, through: high)
    }

    /// Mostly near `low`, now and then up to `high`: as latencies are.
    mutating func skewed(_ low: Interval, _ high: Interval) -> Interval {
        let span = UInt64((high - low).nanoseconds)
        let position = generator.next() >> 40
        // The cube of a number between 0 and 1, in fixed point.
        let cubed = (position * position >> 24) * position >> 24
        return low + Interval(nanoseconds: Int64(span / (1 << 12) * (cubed >> 12)))
    }

    mutating func pick<T>(_ list: [T]) -> T { list[number(in: 0...list.count - 1)] }
}
