internal import Basics
package import StateEngine

/// A chunk as it is stored and sent.
package struct SnapshotChunk: Hashable, Sendable {
    /// Its place in the manifest, from 0.
    package let number: Int
    package let info: ChunkInfo
    /// Header and packed rows.
    package let bytes: [UInt8]
}

/// Makes a snapshot from the rows of one moment, a chunk at a time, so that its maker can pace itself and never holds
/// more than a chunk.
///
/// The reader is a view or an engine opened on a checkpoint: nothing may write to it meanwhile.
package final class SnapshotBuilder<Reader: EngineReader> {
    private let reader: Reader
    /// The replicated rows; the state machine, which owns the key space, says where they are.
    private let ranges: [KeyRange]
    private let head: SnapshotHead
    private let encoder = ChunkEncoder()

    private var chunks: [ChunkInfo] = []
    private var hasher = ContentHasher()
    /// Where the next chunk begins: in this range, from this key (nil: from the range's start).
    private var rangeNumber = 0
    private var nextKey: [UInt8]?
    /// Room for one chunk's rows, used again for each.
    private var room: [UInt8] = []

    /// - Parameter ranges: in key order, without overlap.
    package init(_ reader: Reader, ranges: [KeyRange], head: SnapshotHead) {
        for (left, right) in zip(ranges, ranges.dropFirst()) {
            let isOrdered = left.to.map { $0.rawSpan.order(comparedWith: right.from.rawSpan) <= 0 } ?? false
            invariant(isOrdered, "the ranges of a snapshot overlap or are out of order")
        }
        self.reader = reader
        self.ranges = ranges
        self.head = head
    }

    /// The next chunk in key order; nil when all rows are taken.
    package func nextChunk() throws(SnapshotError) -> SnapshotChunk? {
        var rows: [UInt8] = []
        swap(&rows, &room)
        defer { swap(&rows, &room) }
        let (rowCount, firstKey) = try takeRows(into: &rows)
        guard rowCount > 0 else { return nil }
        guard rows.count <= ChunkCut.singleRowSizeMax, firstKey.count <= Int(UInt16.max) else {
            throw .damaged("a row of \(rows.count) bytes under a key of \(firstKey.count)")
        }
        hasher.update(rows.rawSpan)
        let info = ChunkInfo(
            size: rows.count, rowCount: rowCount, digest: ContentDigest(of: rows.rawSpan), firstKey: firstKey)
        chunks.append(info)
        return SnapshotChunk(number: chunks.count - 1, info: info, bytes: encoder.encode(rows.rawSpan))
    }

    /// The manifest, once `nextChunk` has given nil.
    package func manifest() -> SnapshotManifest {
        invariant(rangeNumber == ranges.count, "the manifest is asked for before the last chunk")
        return SnapshotManifest(head: head, contentDigest: hasher.finish(), chunks: chunks)
    }

    /// Fills `room` with the rows up to the next boundary.
    private func takeRows(into room: inout [UInt8]) throws(SnapshotError) -> (count: Int, firstKey: [UInt8]) {
        var count = 0
        var firstKey: [UInt8] = []
        var isFull = false
        room.removeAll(keepingCapacity: true)
        while !isFull, rangeNumber < ranges.count {
            let range = ranges[rangeNumber]
            do throws(EngineError) {
                try reader.scan(from: nextKey ?? range.from, to: range.to, reversed: false) { key, value in
                    let rowSize = RowFormat.headerSize + key.byteCount + value.byteCount
                    if ChunkCut.isBefore(rowOfSize: rowSize, chunkSize: room.count) {
                        nextKey = [UInt8](key)
                        isFull = true
                        return .stop
                    }
                    if count == 0 { firstKey = [UInt8](key) }
                    RowFormat.append(key, value, to: &room)
                    count += 1
                    if ChunkCut.isAfter(rowWithKey: key, rowSize: rowSize, chunkSize: room.count) {
                        nextKey = KeyRange.successor(of: [UInt8](key))
                        isFull = true
                        return .stop
                    }
                    return .next
                }
            } catch {
                throw .engine(error)
            }
            if !isFull {
                rangeNumber += 1
                nextKey = nil
            }
        }
        return (count, firstKey)
    }
}
