/// Closed ranges of integers, such as ports: sorted, disjoint, and those that touch are one.
public struct IntegerRanges: Hashable, Sendable {
    public private(set) var ranges: [ClosedRange<UInt64>]

    public static let none = IntegerRanges(normal: [])

    private init(normal ranges: [ClosedRange<UInt64>]) { self.ranges = ranges }

    public init(_ range: ClosedRange<UInt64>) { ranges = [range] }

    /// The ranges as somebody states them, in any order.
    /// - Throws: `ranges.inverted`; `ranges.overlap` when two of them share a number.
    public init(_ stated: [(begin: UInt64, end: UInt64)]) throws(RegistryRefusal) {
        if let inverted = stated.first(where: { $0.begin > $0.end }) {
            throw RegistryRefusal(.rangesInverted, "[\(inverted.begin)-\(inverted.end)] ends before it begins")
        }
        let sorted = stated.map { $0.begin...$0.end }.sorted { $0.lowerBound < $1.lowerBound }
        for (former, latter) in zip(sorted, sorted.dropFirst()) where latter.lowerBound <= former.upperBound {
            throw RegistryRefusal(
                .rangesOverlap,
                "\(IntegerRanges(former)) and \(IntegerRanges(latter)) share a number"
            )
        }
        self = Self.joining(sorted)
    }

    /// Joins what overlaps or touches.
    private static func joining(_ sorted: [ClosedRange<UInt64>]) -> IntegerRanges {
        var joined: [ClosedRange<UInt64>] = []
        for range in sorted {
            guard let last = joined.last, range.lowerBound <= last.upperBound || range.lowerBound - 1 == last.upperBound
            else {
                joined.append(range)
                continue
            }
            joined[joined.count - 1] = last.lowerBound...Swift.max(last.upperBound, range.upperBound)
        }
        return IntegerRanges(normal: joined)
    }

    public var isEmpty: Bool { ranges.isEmpty }

    /// How many numbers there are; nil when they do not fit: all 2^64.
    public var count: UInt64? {
        var count: UInt64 = 0
        for range in ranges {
            let (size, isAll) = (range.upperBound - range.lowerBound).addingReportingOverflow(1)
            let (sum, isTooMany) = count.addingReportingOverflow(size)
            guard !isAll, !isTooMany else { return nil }
            count = sum
        }
        return count
    }

    public func isDisjoint(with other: IntegerRanges) -> Bool {
        intersection(other).isEmpty
    }

    public func intersection(_ other: IntegerRanges) -> IntegerRanges {
        var common: [ClosedRange<UInt64>] = []
        var (left, right) = (0, 0)
        while left < ranges.count, right < other.ranges.count {
            let (mine, theirs) = (ranges[left], other.ranges[right])
            if mine.overlaps(theirs) { common.append(mine.clamped(to: theirs)) }
            if mine.upperBound < theirs.upperBound { left += 1 } else { right += 1 }
        }
        return IntegerRanges(normal: common)
    }

    public func union(_ other: IntegerRanges) -> IntegerRanges {
        Self.joining((ranges + other.ranges).sorted { $0.lowerBound < $1.lowerBound })
    }

    /// What is left without the numbers of `other`, whether they are all here or not.
    public func subtracting(_ other: IntegerRanges) -> IntegerRanges {
        var left: [ClosedRange<UInt64>] = []
        var cuts = other.ranges[...]
        for range in ranges {
            var begin = range.lowerBound
            var isUsedUp = false
            cuts = cuts.drop { $0.upperBound < range.lowerBound }
            for cut in cuts {
                guard cut.lowerBound <= range.upperBound else { break }
                if cut.lowerBound > begin { left.append(begin...(cut.lowerBound - 1)) }
                guard cut.upperBound < range.upperBound else {
                    isUsedUp = true
                    break
                }
                begin = cut.upperBound + 1
            }
            if !isUsedUp { left.append(begin...range.upperBound) }
        }
        return IntegerRanges(normal: left)
    }

    public func contains(_ other: IntegerRanges) -> Bool { other.subtracting(self).isEmpty }
}

extension IntegerRanges: CustomStringConvertible {
    public var description: String {
        "[" + ranges.map { "\($0.lowerBound)-\($0.upperBound)" }.joined(separator: ", ") + "]"
    }
}
