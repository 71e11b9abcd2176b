package import Basics
internal import StateEngine

/// What a snapshot's rows are the state of: all that is needed besides them to go on from there.
package struct SnapshotHead: Hashable, Sendable {
    package var cluster: ClusterIdentity
    /// The last entry whose effects the rows hold.
    package var revision: EntryID
    /// The time that entry carries.
    package var time: ClusterTime
    /// The rolling digest over all changes through `revision`.
    package var changeDigest: UInt64
    /// As the room that owns membership encodes it.
    package var membership: [UInt8]
    /// The sessions' windows, as the state machine encodes them: without them a retry would be applied a second time.
    package var sessions: [UInt8]

    package init(
        cluster: ClusterIdentity, revision: EntryID, time: ClusterTime, changeDigest: UInt64, membership: [UInt8],
        sessions: [UInt8]
    ) {
        self.cluster = cluster
        self.revision = revision
        self.time = time
        self.changeDigest = changeDigest
        self.membership = membership
        self.sessions = sessions
    }
}

/// What the manifest says of one chunk. Its packed size is no part of it: another zstd may pack the same rows
/// otherwise.
package struct ChunkInfo: Hashable, Sendable {
    /// Bytes of rows.
    package var size: Int
    /// Never 0.
    package var rowCount: Int
    /// SHA-256 over the rows: names the chunk wherever it is stored.
    package var digest: ContentDigest
    package var firstKey: [UInt8]
}

/// The table of contents of a snapshot. A function of the state alone: every replica makes the same bytes for one
/// revision, so `id` names a snapshot across senders.
package struct SnapshotManifest: Hashable, Sendable {
    package let head: SnapshotHead
    /// SHA-256 over all rows in key order.
    package let contentDigest: ContentDigest
    /// In key order.
    package let chunks: [ChunkInfo]

    package var rowCount: UInt64 { chunks.reduce(0) { $0 + UInt64($1.rowCount) } }
    /// Bytes of all rows, unpacked.
    package var size: UInt64 { chunks.reduce(0) { $0 + UInt64($1.size) } }

    init(head: SnapshotHead, contentDigest: ContentDigest, chunks: [ChunkInfo]) {
        self.head = head
        self.contentDigest = contentDigest
        self.chunks = chunks
    }

    /// A manifest of more bytes than this is refused unread.
    package static let encodedSizeMax = Limits.snapshotManifestSizeMax

    private static let magic: UInt64 = 0x5041_4E53_524F_5551  // "QUORSNAP"
    private static let version: UInt16 = 1
    private static let checksumSize = 4
    private static let chunkEntrySizeMin = 4 + 4 + ContentDigest.size + 2

    /// SHA-256 over the encoded manifest.
    package var id: ContentDigest { ContentDigest(of: encoded().rawSpan) }

    /// As FORMAT.md draws it.
    package func encoded() -> [UInt8] {
        var writer = ByteWriter(
            reservingCapacity: 256 + head.membership.count + head.sessions.count + chunks.count * 128)
        writer.write(Self.magic)
        writer.write(Self.version)
        writer.write(UInt16(0))
        writer.write(head.cluster.id)
        writer.write(head.cluster.generation)
        writer.write(head.cluster.generationTag)
        writer.write(head.revision.term.rawValue)
        writer.write(head.revision.index.rawValue)
        writer.write(head.time.nanoseconds)
        writer.write(head.changeDigest)
        writer.write(contentDigest.bytes)
        writer.writeBytes32(head.membership)
        writer.writeBytes32(head.sessions)
        writer.write(UInt32(chunks.count))
        for chunk in chunks {
            writer.write(UInt32(chunk.size))
            writer.write(UInt32(chunk.rowCount))
            writer.write(chunk.digest.bytes)
            writer.writeBytes16(chunk.firstKey)
        }
        var bytes = writer.takeBytes()
        let checksum = CRC32C.checksum(of: bytes.rawSpan)
        bytes.append(contentsOf: [0, 0, 0, 0])
        bytes.store(checksum, at: bytes.count - Self.checksumSize)
        return bytes
    }

    /// Reads a manifest from a peer or a file.
    package init(decoding bytes: RawSpan) throws(SnapshotError) {
        do {
            self = try Self.decode(bytes)
        } catch {
            throw .damaged("manifest", error)
        }
    }

    private static func decode(_ bytes: RawSpan) throws(DecodeError) -> SnapshotManifest {
        guard bytes.byteCount <= encodedSizeMax else { throw .tooLarge(UInt64(bytes.byteCount)) }
        guard bytes.byteCount > checksumSize else { throw .truncated }
        let bodySize = bytes.byteCount - checksumSize
        let body = bytes.extracting(0..<bodySize)
        var checksumReader = ByteReader(bytes.extracting(bodySize..<bytes.byteCount))
        let stored = try checksumReader.readUInt32()
        let computed = CRC32C.checksum(of: body)

        var reader = ByteReader(body)
        guard try reader.readUInt64() == magic else { throw .invalid("magic") }
        guard stored == computed else { throw .checksumMismatch(stored: stored, computed: computed) }
        let foundVersion = try reader.readUInt16()
        guard foundVersion == version else { throw .unknown("version", UInt64(foundVersion)) }
        guard try reader.readUInt16() == 0 else { throw .invalid("reserved bytes") }
        let cluster = ClusterIdentity(
            id: try reader.readUInt64(), generation: try reader.readUInt64(),
            generationTag: try reader.readUInt64())
        let term = try reader.readTerm()
        let index = try reader.readLogIndex()
        let time = ClusterTime(nanoseconds: try reader.readUInt64())
        let changeDigest = try reader.readUInt64()
        let contentDigest = try ContentDigest(decoding: &reader)
        let membership = [UInt8](try reader.readBytes32(max: encodedSizeMax))
        let sessions = [UInt8](try reader.readBytes32(max: encodedSizeMax))
        let chunkCount = try reader.readCount32(itemSizeMin: chunkEntrySizeMin)
        var chunks: [ChunkInfo] = []
        chunks.reserveCapacity(chunkCount)
        for _ in 0..<chunkCount {
            let chunk = try decodeChunkInfo(&reader)
            if let previous = chunks.last, previous.firstKey.rawSpan.order(comparedWith: chunk.firstKey.rawSpan) >= 0 {
                throw .invalid("order of chunks")
            }
            chunks.append(chunk)
        }
        guard reader.isAtEnd else { throw .invalid("bytes after the last chunk") }
        return SnapshotManifest(
            head: SnapshotHead(
                cluster: cluster, revision: EntryID(term: term, index: index), time: time, changeDigest: changeDigest,
                membership: membership, sessions: sessions),
            contentDigest: contentDigest, chunks: chunks)
    }

    private static func decodeChunkInfo(_ reader: inout ByteReader) throws(DecodeError) -> ChunkInfo {
        let size = Int(try reader.readUInt32())
        let rowCount = Int(try reader.readUInt32())
        let digest = try ContentDigest(decoding: &reader)
        let firstKey = [UInt8](try reader.readBytes16())
        guard size <= ChunkCut.singleRowSizeMax else { throw .tooLarge(UInt64(size)) }
        guard rowCount > 0, rowCount <= size / RowFormat.headerSize else { throw .invalid("row count") }
        return ChunkInfo(size: size, rowCount: rowCount, digest: digest, firstKey: firstKey)
    }
}
