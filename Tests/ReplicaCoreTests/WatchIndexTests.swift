import Basics
import MetadataModel
@testable import ReplicaCore
import Testing

/// Which watches a key concerns, held against looking at each of them.
@Suite struct WatchIndexTests {
    private static func key(_ number: UInt64) -> [UInt8] { Array(String(1_000_000 + number).utf8) }

    private static func contains(_ span: KeySpan, _ key: [UInt8]) -> Bool {
        switch span {
        case .prefix(let prefix): key.starts(with: prefix)
        case .range(let from, let to):
            !key.lexicographicallyPrecedes(from) && (to.map { key.lexicographicallyPrecedes($0) } ?? true)
        }
    }

    private static func randomSpan(_ random: inout SplitMix64) -> KeySpan {
        let from = key(random.next() % 300)
        switch random.next() % 6 {
        case 0: return .prefix(Array(from.prefix(Int(random.next() % 8))))
        case 1: return .range(from: from, to: from + [0])
        case 2: return .range(from: from, to: nil)
        // Also ranges that hold nothing.
        case 3: return .range(from: from, to: key(random.next() % 300))
        default: return .range(from: from, to: key(random.next() % 20) + from)
        }
    }

    @Test("whatever comes and goes, exactly the watches of a key are found", arguments: 1...20 as ClosedRange<UInt64>)
    func findsAll(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        var index = WatchIndex()
        var watches: [Int: KeySpan] = [:]
        for step in 0..<300 {
            if random.next() % 3 == 0, let gone = watches.keys.sorted().randomElement(using: &random) {
                if let span = watches.removeValue(forKey: gone) { index.remove(gone, table: 16, span: span) }
            } else {
                let span = Self.randomSpan(&random)
                watches[step] = span
                index.insert(step, table: 16, span: span)
            }
            let key = Self.key(random.next() % 300)
            var found: [Int] = []
            index.forEach(table: 16, key: key.rawSpan) { found.append($0) }
            let expected = watches.filter { Self.contains($0.value, key) }.keys.sorted()
            #expect(found.sorted() == expected)
            index.forEach(table: 32, key: key.rawSpan) { _ in Issue.record("of another table") }
        }
        #expect(index.count == watches.count)
    }

    @Test("a change among a thousand watched ranges costs about what it costs among ten", .timeLimit(.minutes(1)))
    func manyRanges() {
        func time(_ count: UInt64) -> Duration {
            var index = WatchIndex()
            for number in 0..<count {
                index.insert(Int(number), table: 16, span: .range(from: Self.key(10 * number), to: Self.key(10 * number + 9)))
            }
            let keys = (0..<1_000 as Range<UInt64>).map { Self.key(10 * ($0 % count) + 5) }
            var hits = 0
            let best = (0..<5).map { _ in
                ContinuousClock().measure {
                    for key in keys { index.forEach(table: 16, key: key.rawSpan) { _ in hits += 1 } }
                }
            }.min() ?? .zero
            #expect(hits == 5_000)
            return best
        }
        let (few, many) = (time(10), time(1_000))
        print("1,000 changes: \(few) among 10 ranges, \(many) among 1,000")
        // Looked at one by one it is a hundred times as much.
        #expect(many < few * 20)
    }
}
