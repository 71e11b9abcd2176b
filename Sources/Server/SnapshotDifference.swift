/// How the records of two snapshot files differ. Both are read once, in key order, a chunk of each at a time.
package struct SnapshotDifference: Hashable, Sendable {
    package struct Record: Hashable, Sendable {
        package var revision: UInt64
        package var value: [UInt8]
    }

    package struct Change: Hashable, Sendable {
        package var key: [UInt8]
        /// Nil: only the second file has it.
        package var before: Record?
        /// Nil: only the first file has it.
        package var after: Record?
    }

    package private(set) var added: UInt64 = 0
    package private(set) var removed: UInt64 = 0
    package private(set) var changed: UInt64 = 0

    package var isEmpty: Bool { added == 0 && removed == 0 && changed == 0 }

    /// - Parameter body: gets each key whose value or revision differs, in key order.
    package init(
        from first: StoredSnapshot, to second: StoredSnapshot, _ body: (Change) -> Void
    ) throws(SnapshotFileError) {
        let (before, after) = (SnapshotRows(first), SnapshotRows(second))
        var (left, right) = (try before.next(), try after.next())
        while left != nil || right != nil {
            switch Self.order(left?.key, right?.key) {
            case .first:
                if let left { body(Change(key: left.key, before: Record(left), after: nil)) }
                removed += 1
                left = try before.next()
            case .second:
                if let right { body(Change(key: right.key, before: nil, after: Record(right))) }
                added += 1
                right = try after.next()
            case .both:
                if let left, let right, left != right {
                    body(Change(key: left.key, before: Record(left), after: Record(right)))
                    changed += 1
                }
                left = try before.next()
                right = try after.next()
            }
        }
    }

    private enum Order {
        case first, second, both
    }

    /// Which of the two keys comes first; one that is not there comes after all others.
    private static func order(_ left: [UInt8]?, _ right: [UInt8]?) -> Order {
        guard let left else { return .second }
        guard let right else { return .first }
        if left == right { return .both }
        return left.lexicographicallyPrecedes(right) ? .first : .second
    }
}

extension SnapshotDifference.Record {
    init(_ record: SnapshotRows.Record) { self.init(revision: record.revision, value: record.value) }
}
