internal import Basics
internal import StateEngine

/// Collects the chunks of a snapshot: in any order, from any sender, with any number of interruptions.
///
/// It holds no rows: whoever drives it keeps each accepted chunk where it likes, and after a restart offers those
/// again.
package struct SnapshotAssembler: ~Copyable {
    package let manifest: SnapshotManifest
    private var hasArrived: [Bool]
    package private(set) var missingCount: Int
    private let decoder = ChunkDecoder()

    package init(_ manifest: SnapshotManifest) {
        self.manifest = manifest
        hasArrived = Array(repeating: false, count: manifest.chunks.count)
        missingCount = manifest.chunks.count
    }

    package var isComplete: Bool { missingCount == 0 }

    /// The first `limit` chunks that are still to come.
    package func missing(limit: Int) -> [Int] {
        Array(hasArrived.indices.lazy.filter { [hasArrived] in !hasArrived[$0] }.prefix(limit))
    }

    /// Checks a chunk to the last row. A chunk that passes is one to keep; one that is refused changes nothing.
    package mutating func accept(_ stored: RawSpan, number: Int) throws(SnapshotError) {
        guard hasArrived.indices.contains(number) else { throw .damaged("chunk \(number): the manifest has no such") }
        _ = try decoder.decodeRows(stored, as: manifest.chunks[number], after: nil) { _, _ in }
        guard !hasArrived[number] else { return }
        hasArrived[number] = true
        missingCount -= 1
    }
}

extension ChunkDecoder {
    /// Unpacks and checks a chunk, and calls `body` with each row.
    func decodeRows(
        _ stored: RawSpan, as info: ChunkInfo, after previousKey: [UInt8]?,
        _ body: (_ key: RawSpan, _ value: RawSpan) throws(SnapshotError) -> Void
    ) throws(SnapshotError) -> (plain: [UInt8], lastKey: [UInt8]?) {
        let plain = try decode(stored, as: info)
        var isFirst = true
        let (count, lastKey) = try RowFormat.forEachRow(
            in: plain.rawSpan, after: previousKey, orThrow: { SnapshotError.damaged("chunk", $0) }
        ) { (key, value) throws(SnapshotError) in
            if isFirst, !key.hasSameBytes(as: info.firstKey.rawSpan) { throw .damaged("chunk: not its first key") }
            isFirst = false
            try body(key, value)
        }
        guard count == info.rowCount else { throw .damaged("chunk: \(count) rows, the manifest says \(info.rowCount)") }
        return (plain, lastKey)
    }
}
