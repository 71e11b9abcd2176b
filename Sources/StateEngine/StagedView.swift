internal import Basics

/// An engine as it will be once the operations staged in `batch` are written.
///
/// One apply group stages many log entries and writes them together; entry k + 1 must see what entry k did. Entries
/// that only put never read, so the batch is indexed at the first read and brought up to date at later ones: a group of
/// plain puts pays nothing for being readable.
package final class StagedView<Base: Engine>: EngineReader {
    package let base: Base

    /// What is staged. Add to it freely between reads.
    package var batch: WriteBatch

    /// The staged rows through `indexedThrough`, by key: the last operation on each.
    private var rows = SortedPages<StagedRow>()
    /// Keys of the base that a staged range delete has hidden.
    private var hidden = HiddenRanges()
    private var indexedThrough = 0
    private var indexedGeneration: UInt64 = 0

    private enum StagedRow: Sendable {
        /// The value's bytes in the batch.
        case value(Range<Int>)
        case deleted
    }

    package init(_ base: Base) {
        self.base = base
        batch = WriteBatch()
    }

    /// Writes what is staged, all or nothing, and starts anew.
    package func commit() throws(EngineError) {
        try base.write(batch)
        batch.removeAll()
    }

    // MARK: Reading

    package func get(_ key: RawSpan) throws(EngineError) -> [UInt8]? {
        guard !batch.isEmpty else { return try base.get(key) }
        updateIndex()
        switch rows.value(for: key) {
        case .value(let range): return batch.withBytes(in: range) { [UInt8]($0) }
        case .deleted: return nil
        case nil: return hidden.contains(key) ? nil : try base.get(key)
        }
    }

    package func scan(
        from: [UInt8], to: [UInt8]?, reversed: Bool,
        _ body: (_ key: RawSpan, _ value: RawSpan) throws(EngineError) -> ScanStep
    ) throws(EngineError) {
        guard !batch.isEmpty else { return try base.scan(from: from, to: to, reversed: reversed, body) }
        updateIndex()
        var staged = StagedCursor(rows, from: from, to: to, reversed: reversed)
        var isStopped = false
        try base.scan(from: from, to: to, reversed: reversed) { (key, value) throws(EngineError) in
            // Staged rows whose turn is before this one; then this one, unless something staged took its place.
            while let stagedKey = staged.key {
                let order = stagedKey.rawSpan.order(comparedWith: key) * (reversed ? -1 : 1)
                guard order <= 0 else { break }
                let step = try emit(staged.value, of: stagedKey, to: body)
                staged.advance()
                if step == .stop {
                    isStopped = true
                    return .stop
                }
                if order == 0 { return .next }
            }
            if hidden.contains(key) { return .next }
            let step = try body(key, value)
            isStopped = step == .stop
            return step
        }
        while !isStopped, let stagedKey = staged.key {
            isStopped = try emit(staged.value, of: stagedKey, to: body) == .stop
            staged.advance()
        }
    }

    private func emit(
        _ row: StagedRow, of key: [UInt8], to body: (RawSpan, RawSpan) throws(EngineError) -> ScanStep
    ) throws(EngineError) -> ScanStep {
        guard case .value(let range) = row else { return .next }
        return try batch.withBytes(in: range) { (value) throws(EngineError) in try body(key.rawSpan, value) }
    }

    // MARK: Index

    private func updateIndex() {
        if indexedGeneration != batch.generation {
            rows = SortedPages()
            hidden = HiddenRanges()
            indexedThrough = 0
            indexedGeneration = batch.generation
        }
        while indexedThrough < batch.byteCount {
            let operation = batch.operation(at: indexedThrough)
            let key = batch.withBytes(in: operation.first) { [UInt8]($0) }
            switch operation.kind {
            case .put: rows.set(key.rawSpan, to: .value(operation.second))
            case .delete: rows.set(key.rawSpan, to: .deleted)
            case .deleteRange:
                let end = batch.withBytes(in: operation.second) { [UInt8]($0) }
                rows.removeAll(from: key.rawSpan, to: end.rawSpan)
                hidden.insert(from: key, to: end)
            }
            indexedThrough = operation.second.upperBound
        }
    }

    /// Walks the staged rows of a range in the direction of a scan.
    private struct StagedCursor {
        private let rows: SortedPages<StagedRow>
        private let range: KeyRange
        private let isReversed: Bool
        private var position: SortedPages<StagedRow>.Position?
        /// The row that is next; nil at the end.
        private(set) var key: [UInt8]?

        init(_ rows: SortedPages<StagedRow>, from: [UInt8], to: [UInt8]?, reversed: Bool) {
            self.rows = rows
            range = KeyRange(from: from, to: to)
            isReversed = reversed
            position = reversed ? rows.lastPosition(before: to) : rows.firstPosition(from: from.rawSpan)
            load()
        }

        /// The row at `key`; only while that is not nil.
        var value: StagedRow { position.map(rows.value(at:)) ?? .deleted }

        mutating func advance() {
            guard let current = position else { return }
            position = isReversed ? rows.position(before: current) : rows.position(after: current)
            load()
        }

        private mutating func load() {
            guard let current = position, !rows.isAtEnd(current) else {
                key = nil
                return
            }
            let candidate = rows.key(at: current)
            key = range.contains(candidate.rawSpan) ? candidate : nil
        }
    }
}

/// A set of keys made of ranges that are joined where they touch.
struct HiddenRanges: Sendable {
    /// By where a range begins, the key before which it ends. Disjoint.
    private var ends = SortedPages<[UInt8]>()

    func contains(_ key: RawSpan) -> Bool {
        guard ends.count > 0 else { return false }
        let after = KeyRange.successor(of: [UInt8](key))
        guard let position = ends.lastPosition(before: after) else { return false }
        let end = ends.value(at: position)
        return key.order(comparedWith: end.rawSpan) < 0
    }

    mutating func insert(from: [UInt8], to: [UInt8]) {
        guard from.rawSpan.order(comparedWith: to.rawSpan) < 0 else { return }
        var from = from
        var to = to
        if let position = ends.lastPosition(before: from) {
            let end = ends.value(at: position)
            if end.rawSpan.order(comparedWith: from.rawSpan) >= 0 {
                from = ends.key(at: position)
                to = Self.later(to, end)
            }
        }
        // Every range that begins inside the new one, or where it ends, becomes part of it.
        let after = KeyRange.successor(of: to)
        ends.scan(from: from, to: after, reversed: false) { _, end in
            to = Self.later(to, end)
            return .next
        }
        ends.removeAll(from: from.rawSpan, to: after.rawSpan)
        ends.set(from.rawSpan, to: to)
    }

    private static func later(_ left: [UInt8], _ right: [UInt8]) -> [UInt8] {
        left.rawSpan.order(comparedWith: right.rawSpan) < 0 ? right : left
    }
}
