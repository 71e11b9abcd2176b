internal import Basics

/// Consecutive live entries of one term that lie in consecutive batches of one segment.
struct Extent: Hashable {
    var first: LogIndex
    var last: LogIndex
    var term: Term
    var sequence: UInt64
    /// Offset of the header of the first batch.
    var start: Int
    /// Where the last batch ends.
    var end: Int

    var indexes: ClosedRange<LogIndex> { first...last }
}

/// Which entries the log holds and where. A value without files, the same for the writer and for recovery, so that a
/// log that is opened again knows exactly what it knew before.
///
/// Invariant: extents are sorted by index and disjoint; with `faulty` they cover `start.index + 1 … last.index`.
struct LogTable {
    /// The entry before the first.
    private(set) var start: EntryID
    private(set) var last: EntryID
    private(set) var extents: [Extent] = []
    /// Entries that this node has promised to hold and cannot read. Sorted, disjoint.
    private(set) var faulty: [ClosedRange<LogIndex>] = []
    /// Terms of unreadable entries, as far as headers tell them or have told them before: they say whose log is the same,
    /// and a truncation may end among such entries. Disjoint.
    private var lostTerms: [LostTerm] = []
    /// Payloads of the configuration entries, by index.
    private(set) var configurations: [ConfigurationEntry] = []
    /// The log's last entry when each segment began; without those that a truncation has made wrong since.
    private var segmentStarts: [SegmentStart] = []
    /// Whether the next batch may join the last extent.
    private var canExtend = false

    private struct LostTerm: Hashable {
        var indexes: ClosedRange<LogIndex>
        var term: Term
    }

    private struct SegmentStart: Hashable {
        var sequence: UInt64
        var last: EntryID
    }

    /// Small batches share an extent up to this size in the file: the table stays small, a read starts near its entry.
    static let extentSizeMax = 64 * 1_024

    init(start: EntryID) {
        self.start = start
        last = start
    }

    mutating func beginSegment(_ sequence: UInt64) {
        segmentStarts.append(SegmentStart(sequence: sequence, last: last))
        canExtend = false
    }

    mutating func append(
        _ indexes: ClosedRange<LogIndex>, term: Term, sequence: UInt64, start: Int, end: Int,
        configurations found: [ConfigurationEntry]
    ) {
        invariant(indexes.lowerBound == last.index.next, "entries \(indexes) after \(last.index)")
        let added = Extent(
            first: indexes.lowerBound, last: indexes.upperBound, term: term, sequence: sequence, start: start, end: end)
        if canExtend, let tail = extents.last, tail.sequence == sequence, tail.term == term,
            tail.last.next == added.first, end - tail.start <= Self.extentSizeMax
        {
            extents[extents.count - 1].last = added.last
            extents[extents.count - 1].end = end
        } else {
            extents.append(added)
            canExtend = true
        }
        last = EntryID(term: term, index: indexes.upperBound)
        configurations += found
    }

    /// Cuts everything after `entry`. When it lies before the start, nothing is left and the log starts after it.
    mutating func truncate(after entry: EntryID) {
        removeExtents(in: entry.index.next...LogIndex(.max))
        faulty = faulty.compactMap { $0.trimmed(through: entry.index) }
        forgetLostTerms(in: entry.index.next...LogIndex(.max))
        if faulty.last?.upperBound == entry.index { noteLostTerm(of: entry) }
        configurations.removeAll { $0.index > entry.index }
        segmentStarts.removeAll { $0.last.index > entry.index }
        last = entry
        if entry.index < start.index { start = entry }
        canExtend = false
    }

    /// Entries after `last` through `entry` exist, but cannot be read.
    mutating func appendFaulty(through entry: EntryID) {
        invariant(entry.index >= last.index, "faulty entries end at \(entry.index), before \(last.index)")
        if entry.index > last.index {
            markFaulty(last.index.next...entry.index)
            noteLostTerm(of: entry)
        }
        last = entry
        canExtend = false
    }

    mutating func markFaulty(_ range: ClosedRange<LogIndex>) {
        if let term = term(at: range.upperBound) { noteLostTerm(of: EntryID(term: term, index: range.upperBound)) }
        for extent in extents(in: range) {
            let indexes = extent.indexes.clamped(to: range)
            forgetLostTerms(in: indexes)
            lostTerms.append(LostTerm(indexes: indexes, term: extent.term))
        }
        removeExtents(in: range)
        configurations.removeAll { range.contains($0.index) }
        var merged = range
        faulty.removeAll { other in
            let touches = other.lowerBound <= merged.upperBound.next && merged.lowerBound <= other.upperBound.next
            if touches {
                merged = min(other.lowerBound, merged.lowerBound)...max(other.upperBound, merged.upperBound)
            }
            return touches
        }
        faulty.append(merged)
        faulty.sort { $0.lowerBound < $1.lowerBound }
        canExtend = false
    }

    /// Entries of `indexes` are now to be found elsewhere. Those outside the log are ignored.
    mutating func repair(
        _ indexes: ClosedRange<LogIndex>, term: Term, sequence: UInt64, start offset: Int, end: Int,
        configurations found: [ConfigurationEntry]
    ) {
        canExtend = false
        guard indexes.upperBound > start.index, indexes.lowerBound <= last.index else { return }
        let part = max(indexes.lowerBound, start.index.next)...min(indexes.upperBound, last.index)
        removeExtents(in: part)
        configurations.removeAll { part.contains($0.index) }
        faulty = faulty.flatMap { $0.subtracting(part) }
        forgetLostTerms(in: part)
        extents.append(
            Extent(
                first: part.lowerBound, last: part.upperBound, term: term, sequence: sequence, start: offset, end: end))
        extents.sort { $0.first < $1.first }
        configurations += found.filter { part.contains($0.index) }
        configurations.sort { $0.index < $1.index }
    }

    /// Forgets what lies in segments below `sequence`; the log then starts after the highest entry that was there.
    mutating func dropSegments(below sequence: UInt64) {
        guard let dropped = lastEntry(below: sequence), dropped.index > start.index else { return }
        segmentStarts.removeAll { $0.sequence < sequence }
        forget(through: dropped)
    }

    /// The log starts after `entry`, wherever its segments do.
    mutating func forget(through entry: EntryID) {
        invariant(entry.index <= last.index, "the log is to start after \(entry), behind its end \(last)")
        start = entry
        extents.removeAll { $0.last <= entry.index }
        if let first = extents.first, first.first <= entry.index { extents[0].first = entry.index.next }
        configurations.removeAll { $0.index <= entry.index }
        forgetLostTerms(in: LogIndex.zero...entry.index)
        faulty = faulty.compactMap { range in
            range.upperBound <= entry.index ? nil : Swift.max(range.lowerBound, entry.index.next)...range.upperBound
        }
        if entry.index == last.index { last = entry }
        canExtend = false
    }

    // MARK: Questions

    /// nil outside the log and in a faulty range.
    func term(at index: LogIndex) -> Term? {
        if index == last.index { return last.term }
        if index == start.index { return start.term }
        return extent(holding: index)?.term
    }

    /// Also of an entry that cannot be read, where a header tells it.
    func knownTerm(at index: LogIndex) -> Term? {
        let found = term(at: index) ?? lostTerms.first { $0.indexes.contains(index) }?.term
        return found == .zero ? nil : found
    }

    func extent(holding index: LogIndex) -> Extent? {
        let position = firstExtent(endingAtOrAfter: index)
        guard position < extents.count, extents[position].first <= index else { return nil }
        return extents[position]
    }

    /// Highest live entry in the segments below `sequence`; nil when nothing in them is live.
    func lastEntry(below sequence: UInt64) -> EntryID? {
        if let known = segmentStarts.first(where: { $0.sequence == sequence }) { return known.last }
        return extents.last { $0.sequence < sequence }.map { EntryID(term: $0.term, index: $0.last) }
    }

    /// The extents that hold `range`, in order.
    func extents(in range: ClosedRange<LogIndex>) -> ArraySlice<Extent> {
        extents[firstExtent(endingAtOrAfter: range.lowerBound)...].prefix { $0.first <= range.upperBound }
    }

    /// The terms of the readable entries: where each begins.
    var termRuns: [TermRun] {
        var runs: [TermRun] = []
        for extent in extents where runs.last?.term != extent.term {
            runs.append(TermRun(term: extent.term, firstIndex: extent.first))
        }
        return runs
    }

    private func firstExtent(endingAtOrAfter index: LogIndex) -> Int {
        var low = 0
        var high = extents.count
        while low < high {
            let middle = (low + high) / 2
            if extents[middle].last < index { low = middle + 1 } else { high = middle }
        }
        return low
    }

    private mutating func noteLostTerm(of entry: EntryID) {
        forgetLostTerms(in: entry.index...entry.index)
        lostTerms.append(LostTerm(indexes: entry.index...entry.index, term: entry.term))
    }

    private mutating func forgetLostTerms(in range: ClosedRange<LogIndex>) {
        lostTerms = lostTerms.flatMap { lost in
            lost.indexes.subtracting(range).map { LostTerm(indexes: $0, term: lost.term) }
        }
    }

    /// What remains of an extent in front of or behind `range` keeps its place in the file: a read walks the batches
    /// from its start and takes only what is in its range of indexes.
    private mutating func removeExtents(in range: ClosedRange<LogIndex>) {
        let from = firstExtent(endingAtOrAfter: range.lowerBound)
        var to = from
        var kept: [Extent] = []
        while to < extents.count, extents[to].first <= range.upperBound {
            for part in extents[to].indexes.subtracting(range) {
                var extent = extents[to]
                extent.first = part.lowerBound
                extent.last = part.upperBound
                kept.append(extent)
            }
            to += 1
        }
        extents.replaceSubrange(from..<to, with: kept)
    }
}

extension ClosedRange where Bound == LogIndex {
    /// The part at or below `bound`.
    func trimmed(through bound: LogIndex) -> ClosedRange<LogIndex>? {
        lowerBound > bound ? nil : lowerBound...Swift.min(upperBound, bound)
    }

    /// What is left on both sides when `other` is taken out.
    func subtracting(_ other: ClosedRange<LogIndex>) -> [ClosedRange<LogIndex>] {
        guard overlaps(other) else { return [self] }
        var parts: [ClosedRange<LogIndex>] = []
        if lowerBound < other.lowerBound { parts.append(lowerBound...other.lowerBound.previous) }
        if upperBound > other.upperBound { parts.append(other.upperBound.next...upperBound) }
        return parts
    }
}
