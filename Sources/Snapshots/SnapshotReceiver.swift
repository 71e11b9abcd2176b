internal import Basics
package import StateEngine

/// Takes a snapshot that comes as its file is laid out: the chunks first, their table of contents last. It holds one
/// chunk at a time, checks each when it comes, and in the end that the manifest names exactly what has come.
///
/// That the rows are those of the manifest is proven by the SHA-256 of each chunk, their number and their order. Its
/// `contentDigest` is a second SHA-256 over the same rows, by the same hand: it is kept in the file, and compared by
/// whoever reads that (`SnapshotReader`).
package struct SnapshotReceiver: ~Copyable {
    private let ranges: [KeyRange]
    private let decoder = ChunkDecoder()
    private var lastKey: [UInt8]?
    private var chunks: [ChunkInfo] = []
    private var file = SnapshotFileWriter()

    /// - Parameter ranges: where rows may lie; one outside is refused.
    package init(ranges: [KeyRange]) { self.ranges = ranges }

    /// The first bytes of the file; after them, the bytes of each chunk that was accepted.
    package var header: [UInt8] { file.header }
    package var rowCount: UInt64 { chunks.reduce(0) { $0 + UInt64($1.rowCount) } }

    /// Checks the next chunk to its last row.
    package mutating func accept(_ stored: [UInt8]) throws(SnapshotError) {
        let number = chunks.count
        let plain = try decoder.decode(stored.rawSpan)
        let ranges = self.ranges
        var firstKey: [UInt8]?
        let (count, last) = try RowFormat.forEachRow(
            in: plain.rawSpan, after: lastKey, orThrow: { SnapshotError.damaged("chunk \(number)", $0) }
        ) { (key, _) throws(SnapshotError) in
            if firstKey == nil { firstKey = [UInt8](key) }
            for range in ranges where range.contains(key) { return }
            throw .damaged("chunk \(number): a row outside the replicated tables")
        }
        guard let firstKey else { throw .damaged("chunk \(number): no rows") }
        lastKey = last
        let info = ChunkInfo(
            size: plain.count, rowCount: count, digest: ContentDigest(of: plain.rawSpan), firstKey: firstKey)
        chunks.append(info)
        file.add(SnapshotChunk(number: number, info: info, bytes: stored))
    }

    /// Checks what has come against its table of contents.
    /// - Returns: the last bytes of the file.
    package consuming func finish(_ manifest: SnapshotManifest) throws(SnapshotError) -> [UInt8] {
        guard manifest.chunks == chunks else { throw .damaged("the chunks that came are not those of the manifest") }
        return file.finish(manifest)
    }
}
