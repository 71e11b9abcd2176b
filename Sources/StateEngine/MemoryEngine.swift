internal import Basics

/// The reference engine: an ordered map in memory. The simulator runs on it, and `--engine memory` serves from it.
///
/// It models a crash: `flush` keeps an image of the rows, `crash` goes back to the last one. Image and views share
/// pages with the rows, so each costs what is changed afterwards, not what is stored.
package final class MemoryEngine: Engine {
    private var rows = SortedPages<[UInt8]>()
    /// The rows at the last flush.
    private var durableRows = SortedPages<[UInt8]>()
    private var byteCount = 0
    private var durableByteCount = 0
    private var unflushedByteCount = 0

    /// The next read that touches a key in this range finds it damaged, once. For the simulator.
    package var readFault: KeyRange?
    /// Every read that touches a key in this range finds it damaged, also in views that there are already. For the
    /// simulator.
    package var damagedRows: KeyRange? {
        get { damage.range }
        set { damage.range = newValue }
    }
    private let damage = MemoryDamage()

    package init() {}

    // MARK: Reading

    package func get(_ key: RawSpan) throws(EngineError) -> [UInt8]? {
        try checkFault(key)
        return rows.value(for: key)
    }

    package func getDurable(_ key: RawSpan) throws(EngineError) -> [UInt8]? {
        try checkFault(key)
        return durableRows.value(for: key)
    }

    package func scan(
        from: [UInt8], to: [UInt8]?, reversed: Bool,
        _ body: (_ key: RawSpan, _ value: RawSpan) throws(EngineError) -> ScanStep
    ) throws(EngineError) {
        // A copy, so that `body` sees the rows of one moment whatever happens to the engine meanwhile.
        let rows = self.rows
        try rows.scan(from: from, to: to, reversed: reversed) { (key, value) throws(EngineError) in
            try checkFault(key)
            return try body(key, value.rawSpan)
        }
    }

    package func makeView() -> MemoryView { MemoryView(rows, damage) }

    // MARK: Writing

    package func takesAtOnce(byteCount: Int) -> Bool { true }

    package func write(_ batch: borrowing WriteBatch) {
        batch.forEach { kind, first, second in
            switch kind {
            case .put: put(first, [UInt8](second))
            case .delete: delete(first)
            case .deleteRange: deleteRange(from: first, to: second)
            }
        }
        unflushedByteCount += batch.byteCount
    }

    package func flush() {
        durableRows = rows
        durableByteCount = byteCount
        unflushedByteCount = 0
    }

    /// What a crash leaves: the rows of the last flush.
    package func crash() {
        rows = durableRows
        byteCount = durableByteCount
        unflushedByteCount = 0
    }

    /// Another engine with the rows of the last flush.
    package func durableCopy() -> MemoryEngine {
        let other = MemoryEngine()
        other.durableRows = durableRows
        other.durableByteCount = durableByteCount
        other.crash()
        return other
    }

    package var statistics: EngineStatistics {
        EngineStatistics(
            rowsEstimated: UInt64(rows.count), residentBytes: UInt64(byteCount),
            unflushedBytes: UInt64(unflushedByteCount), diskBytes: 0)
    }

    // MARK: -

    /// Two array headers and two allocations' slack for each row, besides its bytes.
    private static let rowOverhead = 96

    private static func size(_ keySize: Int, _ value: [UInt8]) -> Int { keySize + value.count + rowOverhead }

    private func put(_ key: RawSpan, _ value: [UInt8]) {
        byteCount += Self.size(key.byteCount, value)
        if let old = rows.set(key, to: value) { byteCount -= Self.size(key.byteCount, old) }
    }

    private func delete(_ key: RawSpan) {
        if let old = rows.remove(key) { byteCount -= Self.size(key.byteCount, old) }
    }

    private func deleteRange(from: RawSpan, to: RawSpan) {
        var freed = 0
        rows.removeAll(from: from, to: to) { key, value in freed += Self.size(key.byteCount, value) }
        byteCount -= freed
    }

    private func checkFault(_ key: RawSpan) throws(EngineError) {
        try damage.check(key)
        guard let readFault, readFault.contains(key) else { return }
        self.readFault = nil
        throw .corrupt("injected fault in a row of \(key.byteCount) bytes of key")
    }
}

/// Which rows of an engine and its views cannot be read.
///
/// `@unchecked Sendable`: set by the simulator only, in which everything happens on one thread.
private final class MemoryDamage: @unchecked Sendable {
    var range: KeyRange?

    func check(_ key: RawSpan) throws(EngineError) {
        guard let range, range.contains(key) else { return }
        throw .corrupt("a damaged row of \(key.byteCount) bytes of key")
    }
}

/// The rows of a `MemoryEngine` at one moment.
package final class MemoryView: EngineView {
    private let rows: SortedPages<[UInt8]>
    private let damage: MemoryDamage

    fileprivate init(_ rows: SortedPages<[UInt8]>, _ damage: MemoryDamage) {
        self.rows = rows
        self.damage = damage
    }

    package func get(_ key: RawSpan) throws(EngineError) -> [UInt8]? {
        try damage.check(key)
        return rows.value(for: key)
    }

    package func scan(
        from: [UInt8], to: [UInt8]?, reversed: Bool,
        _ body: (_ key: RawSpan, _ value: RawSpan) throws(EngineError) -> ScanStep
    ) throws(EngineError) {
        try rows.scan(from: from, to: to, reversed: reversed) { (key, value) throws(EngineError) in
            try damage.check(key)
            return try body(key, value.rawSpan)
        }
    }
}
