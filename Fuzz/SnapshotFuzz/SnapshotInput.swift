internal import Basics
internal import Snapshots

/// The input as a snapshot file. `Sources/Snapshots/FORMAT.md` draws what is taken apart here.
struct SnapshotInput {
    let manifest: SnapshotManifest
    /// Where each chunk is in the input.
    let chunks: [Range<Int>]

    /// In the order in which a file on disk is read.
    init(_ bytes: [UInt8]) throws(SnapshotError) {
        let layout = try SnapshotFileLayout(
            header: Array(bytes.prefix(SnapshotFileLayout.headerSize)),
            footer: Array(bytes.suffix(SnapshotFileLayout.footerSize)), fileSize: bytes.count)
        chunks = try layout.chunks(index: Array(bytes[layout.index]))
        manifest = try SnapshotManifest(decoding: bytes.rawSpan.extracting(layout.manifest))
    }

    // MARK: Repair

    private static let chunkHeaderSize = 20
    private static let contentDigestOffset = 68
    private static let fixedFieldsSize = 100

    /// Puts right what a checksum, a digest or the sum of sizes would refuse; what the fields say stays as it is.
    static func repaired(_ input: [UInt8]) -> [UInt8] {
        let (headerSize, footerSize) = (SnapshotFileLayout.headerSize, SnapshotFileLayout.footerSize)
        guard input.count >= headerSize + footerSize + fixedFieldsSize else { return input }
        var bytes = input
        let footer = bytes.count - footerSize
        bytes.replaceSubrange(0..<8, with: Array("QUORFILE".utf8))
        bytes.replaceSubrange(8..<16, with: [1, 0, 0, 0, 0, 0, 0, 0])
        bytes.replaceSubrange(bytes.count - 8..<bytes.count, with: Array("QUORFILE".utf8))
        let room = footer - headerSize - fixedFieldsSize
        let chunkCount = min(Int(readUInt32(bytes, at: footer + 8)), 8, room / (4 + chunkHeaderSize))
        let index = footer - 4 * chunkCount
        let claimed = Int(readUInt32(bytes, at: footer))
        let manifest = max(headerSize + chunkCount * chunkHeaderSize, index - max(claimed, fixedFieldsSize))
        bytes.store(UInt64(index - manifest), at: footer)
        bytes.store(UInt32(chunkCount), at: footer + 8)
        let chunks = repairChunks(&bytes, index: index, count: chunkCount, end: manifest)
        repairManifest(&bytes, manifest..<index, chunks)
        var checksum = CRC32C.checksum(of: bytes.rawSpan.extracting(0..<headerSize))
        checksum = CRC32C.checksum(of: bytes.rawSpan.extracting(index..<footer + 12), continuing: checksum)
        bytes.store(checksum, at: footer + 12)
        return bytes
    }

    static func repairedChunk(_ input: [UInt8]) -> [UInt8] {
        guard input.count > chunkHeaderSize else { return input }
        var bytes = input
        repairChunk(&bytes, bytes.indices)
        return bytes
    }

    static func repairedManifest(_ input: [UInt8]) -> [UInt8] {
        guard input.count >= fixedFieldsSize + 4 else { return input }
        var bytes = input
        bytes.replaceSubrange(0..<12, with: Array("QUORSNAP".utf8) + [1, 0, 0, 0])
        let checksum = CRC32C.checksum(of: bytes.rawSpan.extracting(0..<bytes.count - 4))
        bytes.store(checksum, at: bytes.count - 4)
        return bytes
    }

    /// - Returns: the rows of each chunk, where they are stored plain.
    private static func repairChunks(_ bytes: inout [UInt8], index: Int, count: Int, end: Int) -> [[UInt8]?] {
        var chunks: [[UInt8]?] = []
        var start = SnapshotFileLayout.headerSize
        for number in 0..<count {
            let behind = (count - number - 1) * chunkHeaderSize
            let largest = end - start - behind
            let claimed = Int(readUInt32(bytes, at: index + 4 * number))
            let size = number == count - 1 ? largest : min(max(claimed, chunkHeaderSize), largest)
            bytes.store(UInt32(size), at: index + 4 * number)
            repairChunk(&bytes, start..<start + size)
            chunks.append(bytes[start + 5] == 0 ? Array(bytes[start + chunkHeaderSize..<start + size]) : nil)
            start += size
        }
        return chunks
    }

    private static func repairChunk(_ bytes: inout [UInt8], _ range: Range<Int>) {
        let start = range.lowerBound
        bytes.replaceSubrange(start..<start + 5, with: Array("QCHK".utf8) + [1])
        bytes.replaceSubrange(start + 6..<start + 8, with: [0, 0])
        let payloadSize = UInt32(range.count - chunkHeaderSize)
        if bytes[start + 5] == 0 { bytes.store(payloadSize, at: start + 8) }
        bytes.store(payloadSize, at: start + 12)
        let head = CRC32C.checksum(of: bytes.rawSpan.extracting(start..<start + 16))
        let checksum = CRC32C.checksum(
            of: bytes.rawSpan.extracting(start + chunkHeaderSize..<range.upperBound), continuing: head)
        bytes.store(checksum, at: start + 16)
    }

    private static func repairManifest(_ bytes: inout [UInt8], _ range: Range<Int>, _ chunks: [[UInt8]?]) {
        let start = range.lowerBound
        guard range.count >= fixedFieldsSize + 4 else { return }
        bytes.replaceSubrange(start..<start + 12, with: Array("QUORSNAP".utf8) + [1, 0, 0, 0])
        let rows = chunks.compactMap { $0 }
        if rows.count == chunks.count {
            let digest = ContentDigest(of: Array(rows.joined()).rawSpan)
            bytes.replaceSubrange(start + contentDigestOffset..<start + fixedFieldsSize, with: digest.bytes)
        }
        repairChunkList(&bytes, start + fixedFieldsSize..<range.upperBound - 4, chunks)
        let checksum = CRC32C.checksum(of: bytes.rawSpan.extracting(start..<range.upperBound - 4))
        bytes.store(checksum, at: range.upperBound - 4)
    }

    /// Behind membership and sessions: how many chunks there are, and size and digest of each.
    private static func repairChunkList(_ bytes: inout [UInt8], _ range: Range<Int>, _ chunks: [[UInt8]?]) {
        var place = range.lowerBound
        for _ in 0..<2 {
            guard place + 4 <= range.upperBound else { return }
            place += 4 + Int(readUInt32(bytes, at: place))
        }
        guard place + 4 <= range.upperBound else { return }
        bytes.store(UInt32(chunks.count), at: place)
        place += 4
        for rows in chunks {
            guard place + 42 <= range.upperBound else { return }
            if let rows {
                bytes.store(UInt32(rows.count), at: place)
                bytes.replaceSubrange(place + 8..<place + 40, with: ContentDigest(of: rows.rawSpan).bytes)
            }
            place += 42 + Int(bytes[place + 40]) + Int(bytes[place + 41]) << 8
        }
    }

    private static func readUInt32(_ bytes: [UInt8], at offset: Int) -> UInt32 {
        (0..<4).reduce(0) { $0 | UInt32(bytes[offset + $1]) << UInt32($1 * 8) }
    }
}
