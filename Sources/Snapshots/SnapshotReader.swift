internal import Basics
package import StateEngine

/// Reads the rows of a snapshot from its chunks, in key order, and vouches for them: each chunk against the manifest,
/// the order of keys across chunks, that no row lies outside the tables a snapshot may hold, and in the end the whole
/// against `contentDigest`. Needs no engine, so it verifies a file as well as it installs one.
package struct SnapshotReader: ~Copyable {
    package let manifest: SnapshotManifest
    private let ranges: [KeyRange]
    private let decoder = ChunkDecoder()
    private var hasher = ContentHasher()
    private var lastKey: [UInt8]?
    /// The chunk that is due next, from 0.
    package private(set) var nextNumber = 0

    /// - Parameter ranges: the replicated rows, as the builder was given them. A row outside them is refused: a
    ///   snapshot that a stranger made must not reach this node's own housekeeping.
    package init(_ manifest: SnapshotManifest, ranges: [KeyRange]) {
        self.manifest = manifest
        self.ranges = ranges
    }

    /// Takes chunk `nextNumber`, and calls `body` with each of its rows. A chunk is checked against the manifest before
    /// its first row is given; after an error nothing more is to be asked of this reader.
    package mutating func read(
        _ stored: RawSpan, _ body: (_ key: RawSpan, _ value: RawSpan) -> Void
    ) throws(SnapshotError) {
        guard nextNumber < manifest.chunks.count else { throw .damaged("more chunks than the manifest names") }
        let ranges = self.ranges
        let number = nextNumber
        let (plain, last) = try decoder.decodeRows(stored, as: manifest.chunks[number], after: lastKey) {
            (key, value) throws(SnapshotError) in
            for range in ranges where range.contains(key) {
                body(key, value)
                return
            }
            throw .damaged("chunk \(number): a row outside the replicated tables")
        }
        hasher.update(plain.rawSpan)
        lastKey = last
        nextNumber += 1
    }

    /// The last check, after the last chunk.
    package func finish() throws(SnapshotError) {
        guard nextNumber == manifest.chunks.count else { throw .damaged("chunk \(nextNumber) is missing") }
        guard hasher.finish() == manifest.contentDigest || Mutant.acceptDamagedChunk.isOn else {
            throw .damaged("the rows together are not those of the manifest")
        }
    }
}

/// Writes the rows of a snapshot into an empty engine, chunk by chunk in key order.
///
/// The engine is a new one beside the live state; after an error it is thrown away, and the live state never knew.
package final class SnapshotInstaller<Target: Engine> {
    private let target: Target
    private var reader: SnapshotReader
    private var batch = WriteBatch()

    package init(_ manifest: SnapshotManifest, ranges: [KeyRange], into target: Target) throws(SnapshotError) {
        self.target = target
        reader = SnapshotReader(manifest, ranges: ranges)
        var isEmpty = true
        do throws(EngineError) {
            try target.scan(from: [], to: nil, reversed: false) { _, _ in
                isEmpty = false
                return .stop
            }
        } catch {
            throw .engine(error)
        }
        guard isEmpty else { throw .targetNotEmpty }
    }

    /// The chunk that is due next, from 0.
    package var nextNumber: Int { reader.nextNumber }

    /// Takes chunk `nextNumber`.
    package func install(_ stored: RawSpan) throws(SnapshotError) {
        batch.removeAll()
        try reader.read(stored) { key, value in batch.put(key, value) }
        do throws(EngineError) {
            try target.write(batch)
        } catch {
            throw .engine(error)
        }
    }

    /// After the last chunk: checks the whole, and makes it durable.
    package func finish() throws(SnapshotError) {
        try reader.finish()
        do throws(EngineError) {
            try target.flush()
        } catch {
            throw .engine(error)
        }
    }
}
