internal import Basics

/// A whole snapshot in one file: the chunks back to back, then manifest, index and a footer of fixed size. Written
/// front to back without seeking, so it can go down a pipe; read from the footer, so any chunk is found at once.
///
///     header    u64 magic "QUORFILE" | u16 version (1) | 6 zero bytes
///     chunks    as ChunkFormat
///     manifest  as SnapshotManifest
///     index     u32 stored size, for each chunk in order
///     footer    u64 manifest size | u32 chunk count | u32 CRC-32C of header, index and the fields before | u64 magic
///
/// Chunks and manifest carry checksums of their own.
enum SnapshotFileFormat {
    static let magic: UInt64 = 0x454C_4946_524F_5551
    static let version: UInt16 = 1
    static let headerSize = 16
    static let footerSize = 24
    static let indexEntrySize = 4

    static var header: [UInt8] {
        var writer = ByteWriter()
        writer.write(magic)
        writer.write(version)
        writer.write([0, 0, 0, 0, 0, 0])
        return writer.takeBytes()
    }
}

/// Gives the bytes of a snapshot file in order; its owner writes them.
package struct SnapshotFileWriter {
    private var storedSizes: [UInt32] = []

    package init() {}

    /// The first bytes of the file; after them the `bytes` of each chunk go in, in order.
    package var header: [UInt8] { SnapshotFileFormat.header }

    /// To be called for each chunk whose bytes were written.
    package mutating func add(_ chunk: SnapshotChunk) {
        invariant(chunk.number == storedSizes.count, "chunk \(chunk.number) written as number \(storedSizes.count)")
        storedSizes.append(UInt32(chunk.bytes.count))
    }

    /// The last bytes of the file.
    package consuming func finish(_ manifest: SnapshotManifest) -> [UInt8] {
        invariant(storedSizes.count == manifest.chunks.count, "the file has \(storedSizes.count) chunks")
        let encoded = manifest.encoded()
        var covered = ByteWriter()
        for size in storedSizes { covered.write(size) }
        covered.write(UInt64(encoded.count))
        covered.write(UInt32(storedSizes.count))
        let start = CRC32C.checksum(of: header.rawSpan)
        var tail = ByteWriter(appendingTo: encoded)
        tail.write(covered.bytes)
        tail.write(CRC32C.checksum(of: covered.bytes.rawSpan, continuing: start))
        tail.write(SnapshotFileFormat.magic)
        return tail.takeBytes()
    }
}

/// Where the parts of a snapshot file lie, learnt from its two ends. Then its owner reads index and manifest, and from
/// there on any chunk.
package struct SnapshotFileLayout {
    package static let headerSize = SnapshotFileFormat.headerSize
    package static let footerSize = SnapshotFileFormat.footerSize

    package let manifest: Range<Int>
    package let index: Range<Int>
    private let header: [UInt8]
    private let footer: [UInt8]

    /// - Parameters:
    ///   - header: the first `headerSize` bytes of the file.
    ///   - footer: the last `footerSize` bytes.
    package init(header: [UInt8], footer: [UInt8], fileSize: Int) throws(SnapshotError) {
        do throws(DecodeError) {
            (manifest, index) = try Self.findParts(header: header, footer: footer, fileSize: fileSize)
        } catch {
            throw .damaged("file", error)
        }
        self.header = header
        self.footer = footer
    }

    /// Where each chunk lies, from the bytes of the index. Chunks fill the file up to the manifest.
    package func chunks(index bytes: [UInt8]) throws(SnapshotError) -> [Range<Int>] {
        do throws(DecodeError) {
            return try decodeIndex(bytes)
        } catch {
            throw .damaged("file", error)
        }
    }

    private static func findParts(
        header: [UInt8], footer: [UInt8], fileSize: Int
    ) throws(DecodeError) -> (manifest: Range<Int>, index: Range<Int>) {
        guard header.count == headerSize, footer.count == footerSize, fileSize >= headerSize + footerSize else {
            throw .truncated
        }
        var headerReader = ByteReader(header.rawSpan)
        guard try headerReader.readUInt64() == SnapshotFileFormat.magic else { throw .invalid("magic") }
        let version = try headerReader.readUInt16()
        guard version == SnapshotFileFormat.version else { throw .unknown("version", UInt64(version)) }
        var reader = ByteReader(footer.rawSpan)
        let manifestSize = try reader.readUInt64()
        let chunkCount = Int(try reader.readUInt32())
        _ = try reader.readUInt32()
        // A file that was not written to its end has no footer: whatever lies there instead does not end like one.
        guard try reader.readUInt64() == SnapshotFileFormat.magic else { throw .truncated }
        let room = fileSize - headerSize - footerSize
        let indexSize = chunkCount * SnapshotFileFormat.indexEntrySize
        guard indexSize <= room else { throw .tooLarge(UInt64(chunkCount)) }
        guard let manifestCount = Int(exactly: manifestSize), manifestCount <= room - indexSize,
            manifestCount <= SnapshotManifest.encodedSizeMax
        else { throw .tooLarge(manifestSize) }
        let indexStart = fileSize - footerSize - indexSize
        return (indexStart - manifestCount..<indexStart, indexStart..<indexStart + indexSize)
    }

    private func decodeIndex(_ bytes: [UInt8]) throws(DecodeError) -> [Range<Int>] {
        let fieldsSize = 12
        var checksumReader = ByteReader(footer.rawSpan.extracting(fieldsSize..<footer.count))
        let stored = try checksumReader.readUInt32()
        var computed = CRC32C.checksum(of: header.rawSpan)
        computed = CRC32C.checksum(of: bytes.rawSpan, continuing: computed)
        computed = CRC32C.checksum(of: footer.rawSpan.extracting(0..<fieldsSize), continuing: computed)
        guard stored == computed else { throw .checksumMismatch(stored: stored, computed: computed) }
        guard bytes.count == index.count else { throw .truncated }
        var reader = ByteReader(bytes.rawSpan)
        var chunks: [Range<Int>] = []
        var start = Self.headerSize
        while !reader.isAtEnd {
            let end = start + Int(try reader.readUInt32())
            guard end <= manifest.lowerBound else { throw .invalid("index") }
            chunks.append(start..<end)
            start = end
        }
        guard start == manifest.lowerBound else { throw .invalid("index") }
        return chunks
    }
}
