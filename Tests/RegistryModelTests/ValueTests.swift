import RegistryModel
import Testing

@Suite("Ranges, sets, names and labels")
struct ValueTests {
    private func ranges(_ stated: (UInt64, UInt64)...) throws -> IntegerRanges {
        try IntegerRanges(stated.map { (begin: $0.0, end: $0.1) })
    }

    // MARK: - Ranges

    @Test("ranges that touch are one, whatever their order")
    func coalesced() throws {
        #expect(try ranges((5, 8), (1, 4)).ranges == [1...8])
        #expect(try ranges((1, 4)).union(ranges((5, 8))).ranges == [1...8])
        #expect(try ranges((0, 0), (UInt64.max, UInt64.max), (1, 1)).ranges == [0...1, UInt64.max...UInt64.max])
        #expect(try ranges((0, UInt64.max - 1), (.max, .max)).ranges == [0...UInt64.max])
    }

    @Test("ranges.inverted; a range of one number is none")
    func inverted() throws {
        #expect(rule { try ranges((1, 2), (5, 4)) } == .rangesInverted)
        #expect(try ranges((5, 5)).count == 1)
    }

    @Test("ranges.overlap, in any order; ranges that only touch do not")
    func overlap() throws {
        #expect(rule { try ranges((1, 5), (5, 8)) } == .rangesOverlap)
        #expect(rule { try ranges((7, 9), (1, 20)) } == .rangesOverlap)
        #expect(try ranges((1, 5), (6, 8)).count == 8)
    }

    @Test("taking away needs no containment; containment is by range")
    func subtraction() throws {
        let all = try ranges((1, 10), (20, 30))
        #expect(try all.subtracting(ranges((5, 22))).ranges == [1...4, 23...30])
        #expect(try all.subtracting(ranges((0, 1), (10, 10), (25, 25))).ranges == [2...9, 20...24, 26...30])
        #expect(try all.subtracting(ranges((0, UInt64.max))).isEmpty)
        #expect(try ranges((0, UInt64.max)).subtracting(ranges((0, 0), (.max, .max))).ranges == [1...(UInt64.max - 1)])
        #expect(try all.contains(ranges((1, 3), (9, 10), (20, 20))))
        #expect(try !all.contains(ranges((9, 11))))
        #expect(try !all.contains(ranges((8, 20))))
        #expect(all.contains(.none))
    }

    @Test("how many numbers there are; 2^64 of them cannot be told")
    func count() throws {
        #expect(try ranges((0, UInt64.max)).count == nil)
        #expect(try ranges((1, UInt64.max)).count == .max)
        #expect(try ranges((0, UInt64.max - 1), (.max, .max)).count == nil)
        #expect(rule { try ResourceValue.ranges(ranges((0, .max))).quantity() } == .scalarOverflow)
        #expect(try ResourceValue.ranges(ranges((31_000, 32_000))).quantity() == Scalar(1_001))
    }

    @Test("sums and differences are those of sets of numbers", arguments: 1...200)
    func randomRanges(seed: UInt64) {
        var random = SplitMix(seed)
        func some() -> (IntegerRanges, Set<UInt64>) {
            var numbers: Set<UInt64> = []
            for _ in 0..<(random.next() % 12) { numbers.insert(random.next() % 24) }
            let ranges = numbers.reduce(IntegerRanges.none) { $0.union(IntegerRanges($1...$1)) }
            return (ranges, numbers)
        }
        func numbers(_ ranges: IntegerRanges) -> Set<UInt64> { Set(ranges.ranges.flatMap { Array($0) }) }
        let ((left, leftNumbers), (right, rightNumbers)) = (some(), some())
        #expect(numbers(left.union(right)) == leftNumbers.union(rightNumbers))
        #expect(numbers(left.subtracting(right)) == leftNumbers.subtracting(rightNumbers))
        #expect(numbers(left.intersection(right)) == leftNumbers.intersection(rightNumbers))
        #expect(left.contains(right) == leftNumbers.isSuperset(of: rightNumbers))
        #expect(left.isDisjoint(with: right) == leftNumbers.isDisjoint(with: rightNumbers))
        #expect(left.count == UInt64(leftNumbers.count))
        for (former, latter) in zip(left.ranges, left.ranges.dropFirst()) {
            #expect(former.upperBound + 1 < latter.lowerBound)
        }
    }

    // MARK: - Sets

    @Test("set.duplicate; items are sorted")
    func set() throws {
        #expect(rule { try ItemSet([Array("b".utf8), Array("a".utf8), Array("b".utf8)]) } == .setDuplicate)
        let set = try ItemSet([Array("b".utf8), Array("a".utf8)])
        #expect(set.description == "{a, b}")
        let other = try ItemSet([Array("c".utf8), Array("b".utf8)])
        #expect(set.union(other).description == "{a, b, c}")
        #expect(set.subtracting(other).description == "{a}")
        #expect(!set.contains(other) && set.union(other).contains(other) && !set.isDisjoint(with: other))
    }

    // MARK: - Names

    @Test("a subrole is longer and goes on after a slash; ancestors from the nearest")
    func subroles() throws {
        func role(_ name: String) throws -> RoleName { try RoleName(Array(name.utf8)) }
        #expect(try role("a/b").isStrictSubrole(of: role("a")))
        #expect(try !role("ab").isStrictSubrole(of: role("a")))
        #expect(try !role("a").isStrictSubrole(of: role("a")) && role("a").isSameOrSubrole(of: role("a")))
        #expect(try role("a/b/c").ancestors == [role("a/b"), role("a")])
        #expect(try role("a").ancestors.isEmpty)
    }

    @Test("the order of labels says nothing; absent is not empty")
    func labels() throws {
        let one = Labels.Label(key: [1], value: [2])
        let two = Labels.Label(key: [1], value: nil)
        let three = Labels.Label(key: [1], value: [])
        #expect(try Labels([one, two, three]) == Labels([three, one, two]))
        #expect(try Labels([two]) != Labels([three]))
        #expect(try Labels([one, two, three]).items == [two, three, one])
    }

    @Test("labels.too-large: more than 64, or than 4 KiB")
    func manyLabels() throws {
        let small = (0..<65).map { Labels.Label(key: [UInt8($0)], value: nil) }
        #expect(rule { try Labels(small) } == .labelsTooLarge)
        #expect(try Labels(Array(small.dropLast())).items.count == 64)
        let large = Labels.Label(key: [1], value: [UInt8](repeating: 0, count: 4_095))
        #expect(try Labels([large]).items.count == 1)
        #expect(rule { try Labels([large, Labels.Label(key: [2], value: nil)]) } == .labelsTooLarge)
    }
}

/// A small generator: the same numbers for a seed everywhere.
struct SplitMix {
    private var state: UInt64

    init(_ seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}
