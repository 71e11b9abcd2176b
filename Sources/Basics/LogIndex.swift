/// A position in the replicated log. The first entry has index 1; 0 means "before the log".
/// Also the revision of every row that the entry wrote.
package struct LogIndex: Hashable, Comparable, Sendable, CustomStringConvertible {
    package var rawValue: UInt64

    @inlinable package init(_ rawValue: UInt64) { self.rawValue = rawValue }

    /// Before the first entry.
    @inlinable package static var zero: LogIndex { LogIndex(0) }

    @inlinable package var next: LogIndex { LogIndex(rawValue + 1) }

    /// The index before this one; 0 stays 0.
    @inlinable package var previous: LogIndex { LogIndex(rawValue == 0 ? 0 : rawValue - 1) }

    @inlinable package static func < (left: LogIndex, right: LogIndex) -> Bool { left.rawValue < right.rawValue }

    @inlinable package static func + (left: LogIndex, count: Int) -> LogIndex {
        LogIndex(left.rawValue + UInt64(count))
    }

    /// Entries from `earlier` (exclusive) through `self` (inclusive); 0 when `self` is not later.
    @inlinable package func distance(after earlier: LogIndex) -> Int {
        rawValue > earlier.rawValue ? Int(clamping: rawValue - earlier.rawValue) : 0
    }

    package var description: String { String(rawValue) }
}

extension ClosedRange where Bound == LogIndex {
    /// Number of entries in the range.
    package var entryCount: Int { upperBound.distance(after: lowerBound) + 1 }
}

/// An entry's place and the term that wrote it; two logs that share an `EntryID` share everything before it
/// (Raft §5.3, Log Matching).
package struct EntryID: Hashable, Comparable, Sendable, CustomStringConvertible {
    package var term: Term
    package var index: LogIndex

    @inlinable package init(term: Term, index: LogIndex) {
        self.term = term
        self.index = index
    }

    package static let zero = EntryID(term: .zero, index: .zero)

    /// "Up to date" order: term first, then index (Raft §5.4.1).
    @inlinable package static func < (left: EntryID, right: EntryID) -> Bool {
        (left.term.rawValue, left.index.rawValue) < (right.term.rawValue, right.index.rawValue)
    }

    /// A log that ends with this entry does not hold `other`: one that holds an entry never ends before it in the order
    /// above (Raft §5.4.1). A term that is not known is zero; then the indexes alone tell.
    package func endsBefore(_ other: EntryID) -> Bool {
        index < other.index || (term > .zero && self < other)
    }

    package var description: String { "\(term)/\(index)" }
}
