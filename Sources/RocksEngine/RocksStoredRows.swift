internal import Basics
internal import CRocksDB
package import StateEngine

/// The files of an open `RocksEngine`, verified through a checkpoint: hard links to its tables, which no compaction takes
/// away meanwhile, opened as a database of its own, so that nothing is answered from the engine's caches. Opening it reads
/// the manifest to its end.
///
/// Each row is read by scanning and by its key; the second reads indexes and filters.
package final class RocksStoredRows: StoredRows {
    private let bounds: [[UInt8]]
    private let checkpoint: String
    private let original: String
    private let rows: RocksFiles
    private var next: [UInt8]? = []
    private var reported: Set<RowDamage> = []

    /// - Parameters:
    ///   - checkpoint: must not exist; whoever calls removes it afterwards.
    ///   - original: the engine's own directory, which damage is told of.
    package init(of engine: RocksEngine, checkpoint: String, original: String) throws(EngineError) {
        try engine.checkpoint(to: checkpoint)
        var settings = RocksSettings()
        settings.blockCacheSize = 4 * 1_024 * 1_024
        let database = try RocksDatabase(readingIn: checkpoint, settings: settings)
        rows = RocksFiles(database)
        bounds = database.fileBounds()
        self.checkpoint = checkpoint
        self.original = original
    }

    package func read(
        bytesMax: Int, _ body: (_ key: RawSpan, _ value: RawSpan) -> Void, damaged: (RowDamage) -> Void
    ) throws(EngineError) -> Bool {
        guard let from = next else { return false }
        var last = from
        var size = 0
        next = nil
        do throws(EngineError) {
            try rows.scan(from: from, to: nil, reversed: false) { (key, value) throws(EngineError) in
                guard size < bytesMax else {
                    next = [UInt8](key)
                    return .stop
                }
                size += key.byteCount + value.byteCount
                last = [UInt8](key)
                do throws(EngineError) { _ = try rows.get(key) } catch { try report(error, damaged) }
                body(key, value)
                return .next
            }
        } catch {
            try report(error, damaged)
            // Where the next table begins or ends is the next place that is sure to be found.
            next = bounds.first { last.lexicographicallyPrecedes($0) }
        }
        return next != nil
    }

    private func report(_ error: EngineError, _ damaged: (RowDamage) -> Void) throws(EngineError) {
        guard case .corrupt(let text) = error else { throw error }
        let damage = Self.damage(text, checkpoint: checkpoint, original: original)
        if reported.insert(damage).inserted { damaged(damage) }
    }

    /// As damage to the file that the checkpoint's is a link to.
    package static func damage(_ text: String, checkpoint: String, original: String) -> RowDamage {
        let found = RocksInspection.locate(text, in: checkpoint)
        func named(_ place: String) -> String {
            place.hasPrefix(checkpoint) ? original + place.dropFirst(checkpoint.count) : place
        }
        let reason = found.reason.split(separator: checkpoint, omittingEmptySubsequences: false)
            .joined(separator: original)
        return RowDamage(file: named(found.file), offset: found.offset, reason: reason)
    }
}
