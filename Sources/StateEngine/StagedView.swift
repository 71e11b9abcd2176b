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

    /// What is staged through `indexedThrough`.
    private var index = RecentRows()
    private var indexedThrough = 0
    private var indexedGeneration: UInt64 = 0

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
        return try index.get(key, over: base)
    }

    package func scan(
        from: [UInt8], to: [UInt8]?, reversed: Bool,
        _ body: (_ key: RawSpan, _ value: RawSpan) throws(EngineError) -> ScanStep
    ) throws(EngineError) {
        guard !batch.isEmpty else { return try base.scan(from: from, to: to, reversed: reversed, body) }
        updateIndex()
        try index.scan(from: from, to: to, reversed: reversed, over: base, body)
    }

    private func updateIndex() {
        if indexedGeneration != batch.generation {
            index = RecentRows()
            indexedThrough = 0
            indexedGeneration = batch.generation
        }
        batch.forEach(since: indexedThrough) { kind, first, second in index.record(kind, first, second) }
        indexedThrough = batch.byteCount
    }
}
