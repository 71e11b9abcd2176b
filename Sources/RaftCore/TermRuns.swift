package import Basics

/// Which term wrote each entry, for the whole log, as the index where each term begins. Terms never fall along a log
/// (Raft §5.3), so this stays as small as the number of elections, and the core needs no entry to know its term.
package struct TermRuns: Hashable, Sendable {
    package struct Run: Hashable, Sendable {
        package var first: LogIndex
        package var term: Term

        package init(first: LogIndex, term: Term) {
            self.first = first
            self.term = term
        }
    }

    /// The entry before the first one held; its term is kept, so that an append that starts there can be checked.
    package private(set) var base: EntryID
    /// Sorted by index and by term, both strictly rising.
    package private(set) var runs: [Run] = []
    package private(set) var lastIndex: LogIndex

    /// An empty log that goes on after `base`.
    package init(after base: EntryID = .zero) {
        self.base = base
        self.lastIndex = base.index
    }

    package var firstIndex: LogIndex { base.index.next }
    package var last: EntryID { EntryID(term: runs.last?.term ?? base.term, index: lastIndex) }

    /// Term of the entry at `index`; nil when it is compacted away or not there yet.
    package func term(at index: LogIndex) -> Term? {
        if index == base.index { return base.term }
        guard let position = position(of: index) else { return nil }
        return runs[position].term
    }

    /// Last index of the run of equal terms that `index` lies in; nil when `index` is not held.
    package func runEnd(from index: LogIndex) -> LogIndex? {
        guard let position = position(of: index) else { return nil }
        return position + 1 < runs.count ? runs[position + 1].first.previous : lastIndex
    }

    /// Appends entries of `term` through `index`.
    package mutating func append(through index: LogIndex, term: Term) {
        invariant(index > lastIndex, "append through \(index) behind the end of the log \(lastIndex)")
        let lastTerm = runs.last?.term ?? base.term
        invariant(term >= lastTerm, "term falls along the log: \(lastTerm) -> \(term) at \(lastIndex.next)")
        if runs.isEmpty || term > lastTerm { runs.append(Run(first: lastIndex.next, term: term)) }
        lastIndex = index
    }

    package mutating func truncate(after index: LogIndex) {
        invariant(index >= base.index, "truncation after \(index) is below the start of the log \(base.index)")
        while let run = runs.last, run.first > index { runs.removeLast() }
        lastIndex = min(lastIndex, index)
    }

    /// Forgets entries through `index`, except the term of that entry itself.
    package mutating func compact(through index: LogIndex) {
        guard index > base.index else { return }
        guard let term = term(at: index) else {
            invariant(false, "compaction through \(index) is past the end of the log \(lastIndex)")
            return
        }
        base = EntryID(term: term, index: index)
        while runs.count > 1, runs[1].first <= index.next { runs.removeFirst() }
        if index == lastIndex {
            runs.removeAll()
        } else {
            runs[0].first = max(runs[0].first, index.next)
        }
    }

    /// First entry in `range` that is held with another term than `term`. `range` starts above `base`.
    package func firstConflict(in range: ClosedRange<LogIndex>, term: Term) -> LogIndex? {
        guard let position = position(of: range.lowerBound) else { return nil }
        guard runs[position].term == term else { return range.lowerBound }
        guard position + 1 < runs.count else { return nil }
        let next = runs[position + 1].first
        return next <= range.upperBound ? next : nil
    }

    /// The last entry at or before `index` whose term is at most `term`, or `base`: the furthest point that a log which
    /// has `(term, index)` may share with this one.
    package func lastEntry(through index: LogIndex, termAtMost term: Term) -> EntryID {
        let index = min(index, lastIndex)
        guard var position = position(of: index) else { return base }
        if runs[position].term <= term { return EntryID(term: runs[position].term, index: index) }
        while runs[position].term > term {
            guard position > 0 else { return base }
            position -= 1
        }
        return EntryID(term: runs[position].term, index: runs[position + 1].first.previous)
    }

    /// Position of the run that holds `index`. The newest runs are asked for most, so they are tried first.
    private func position(of index: LogIndex) -> Int? {
        guard index > base.index, index <= lastIndex, let last = runs.last else { return nil }
        if index >= last.first { return runs.count - 1 }
        var low = 0
        var high = runs.count - 1
        while low < high {
            let middle = (low + high + 1) / 2
            if runs[middle].first <= index { low = middle } else { high = middle - 1 }
        }
        return low
    }
}
