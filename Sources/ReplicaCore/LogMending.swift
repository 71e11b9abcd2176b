internal import Basics

/// Entries of the log that a running node has found damaged, until they are there again.
struct LogMending: Sendable {
    /// In order; disjoint.
    private(set) var ranges: [ClosedRange<LogIndex>] = []
    /// Those that nobody had and this node could do without.
    private(set) var letGo: [ClosedRange<LogIndex>] = []
    private var askAt = Instant.never
    private var asked = 0
    /// Since entries came last: how often they were asked for, and who has said that it has none to give.
    private(set) var vainRounds = 0
    private(set) var empty: Set<NodeID> = []
    /// The log thread writes some of them anew.
    var isWriting = false
    /// The apply thread waits for some of them.
    var stopsApply = false

    /// The others answer from their disks, and may be busy.
    private static let interval = Interval.milliseconds(200)
    /// Five seconds: whoever is up has heard from the leader by then, and knows what is committed.
    static let vainRoundsMax = 25
    private static let letGoMax = 64

    var isUnderWay: Bool { !ranges.isEmpty }
    var nextDeadline: Instant { isUnderWay && !isWriting ? askAt : .never }

    func covers(_ range: ClosedRange<LogIndex>) -> Bool {
        ranges.contains { $0.lowerBound <= range.lowerBound && range.upperBound <= $0.upperBound }
    }

    func overlaps(_ range: ClosedRange<LogIndex>) -> Bool { ranges.contains { $0.overlaps(range) } }

    mutating func add(_ range: ClosedRange<LogIndex>, now: Instant) {
        var merged = range
        ranges.removeAll { other in
            guard other.overlaps(merged) else { return false }
            merged = min(other.lowerBound, merged.lowerBound)...max(other.upperBound, merged.upperBound)
            return true
        }
        ranges.append(merged)
        ranges.sort { $0.lowerBound < $1.lowerBound }
        vainRounds = 0
        empty = []
        askAt = now
    }

    /// The range to ask for now, one after the other: nobody may have the first of them, and somebody the next.
    mutating func next(now: Instant) -> ClosedRange<LogIndex>? {
        guard isUnderWay, now >= askAt else { return nil }
        askAt = now + Self.interval
        defer { asked += 1 }
        vainRounds += 1
        return ranges[asked % ranges.count]
    }

    mutating func noteEmpty(_ node: NodeID) { empty.insert(node) }

    /// Keeps what is still damaged.
    mutating func keep(_ faulty: [ClosedRange<LogIndex>], now: Instant) {
        let before = ranges
        ranges = ranges.flatMap { range in
            faulty.compactMap { $0.overlaps(range) ? $0.clamped(to: range) : nil }
        }
        vainRounds = 0
        empty = []
        // Without space it helps nothing to try again at once.
        askAt = ranges == before ? now + Self.interval : now
    }

    mutating func letGo(through index: LogIndex) -> [ClosedRange<LogIndex>] {
        let gone = ranges.filter { $0.upperBound <= index }
        ranges.removeAll { $0.upperBound <= index }
        letGo = Array((letGo + gone).suffix(Self.letGoMax))
        // What only waits for the state to be durable has been asked for in vain still.
        if !gone.isEmpty { vainRounds = 0 }
        return gone
    }

    /// The log starts after `index` now: what was damaged there is done without.
    mutating func forget(through index: LogIndex) {
        letGo = Array((letGo + ranges.filter { $0.upperBound <= index }).suffix(Self.letGoMax))
        ranges = ranges.compactMap { range in
            range.upperBound <= index ? nil : max(range.lowerBound, index.next)...range.upperBound
        }
    }

    /// The log ends with `index` now: what was cut off, and what is written in its place, is not damaged.
    mutating func forget(after index: LogIndex) {
        ranges = ranges.compactMap { range in
            range.lowerBound > index ? nil : range.lowerBound...min(range.upperBound, index)
        }
    }

    mutating func forgetAll() {
        ranges = []
        stopsApply = false
    }
}
