internal import Basics
internal import Disk

/// Finds batch headers in one segment file: at a place where one should be, or, behind damage, wherever the next is.
///
/// A header that decodes says of itself that it belongs to this segment and this offset, under a checksum, so what an
/// earlier life of the file has left is never found.
final class SegmentScanner {
    typealias Found = (header: BatchHeader, checksum: UInt32)

    let file: any File
    let sequence: UInt64
    let salt: UInt32
    let size: Int
    /// Where the disk refused to read. What stood there counts as damaged, never as the end of the log.
    private(set) var unreadable: [Range<Int>] = []
    private var window: [UInt8] = []
    private var windowOffset = 0

    private static let blockSize = 4_096
    private static let windowSize = 128 * 1_024
    private static let chunkSize = 64 * 1_024
    private static let zeroChecksum = CRC32C.checksum(of: [UInt8](repeating: 0, count: chunkSize).rawSpan)

    init(file: any File, sequence: UInt64, salt: UInt32) throws(DiskError) {
        self.file = file
        self.sequence = sequence
        self.salt = salt
        size = try file.size()
    }

    /// `count` bytes from `offset`, fewer at the end of the file. Neighbouring calls share one read.
    func bytes(at offset: Int, count: Int) throws(DiskError) -> [UInt8] {
        guard count <= Self.windowSize / 2 else { return try readAroundErrors(at: offset, count: count) }
        if offset < windowOffset || offset + count > windowOffset + window.count {
            window = try readAroundErrors(at: offset, count: Self.windowSize)
            windowOffset = offset
        }
        let start = offset - windowOffset
        return Array(window[min(start, window.count)..<min(start + count, window.count)])
    }

    /// The header at `offset`, if a sound one of this segment is there and its records lie inside the file.
    func header(at offset: Int) throws(DiskError) -> Found? {
        guard offset >= SegmentHeader.areaSize, offset + BatchHeader.size <= size else { return nil }
        return decode(try bytes(at: offset, count: BatchHeader.size), at: offset)
    }

    /// The first sound header at or after `offset` and before `end` that satisfies `condition`.
    func firstHeader(
        from offset: Int, end: Int?, where condition: (BatchHeader) -> Bool
    ) throws(DiskError) -> Found? {
        let end = min(end ?? size, size)
        var chunkStart = max(offset, SegmentHeader.areaSize) & ~7
        while chunkStart + BatchHeader.size <= end {
            // Headers that begin in this chunk may end in the next.
            let chunk = try readAroundErrors(at: chunkStart, count: Self.chunkSize + BatchHeader.size)
            defer { chunkStart += Self.chunkSize }
            guard !Self.isZero(chunk) else { continue }
            var position = 0
            while position < Self.chunkSize, position + BatchHeader.size <= chunk.count,
                chunkStart + position + BatchHeader.size <= end
            {
                if Self.looksLikeHeader(chunk, at: position, offset: chunkStart + position),
                    let found = decode(Array(chunk[position..<position + BatchHeader.size]), at: chunkStart + position),
                    condition(found.header)
                {
                    return found
                }
                position += 8
            }
        }
        return nil
    }

    /// True when a batch with this number was begun at `offset`, sound or not.
    func isBegun(_ number: UInt64, at offset: Int) throws(DiskError) -> Bool {
        let bytes = try bytes(at: offset, count: BatchHeader.size)
        guard bytes.count == BatchHeader.size else { return false }
        return bytes.readUInt64(at: BatchHeader.numberOffset) == number
            && bytes.readUInt64(at: BatchHeader.sequenceOffset) == sequence
    }

    /// Overwrites every header at or after `offset`: what a torn tail has left must not be found behind later batches.
    func eraseHeaders(from offset: Int) throws(DiskError) {
        let zeros = [UInt8](repeating: 0, count: BatchHeader.size)
        if offset + zeros.count <= size { try file.write([zeros], at: offset) }
        var next = offset
        while let found = try firstHeader(from: next, end: nil, where: { _ in true }) {
            next = Int(found.header.offset)
            try file.write([zeros], at: next)
        }
        window = []
    }

    /// Writes once more what stands there.
    func rewrite(_ range: Range<Int>) throws(DiskError) {
        var offset = range.lowerBound
        while offset < range.upperBound {
            let bytes = try file.read(at: offset, count: min(Self.chunkSize, range.upperBound - offset))
            guard !bytes.isEmpty else { return }
            try file.write([bytes], at: offset)
            offset += bytes.count
        }
    }

    /// Reads block by block where the whole cannot be read; a block that cannot is given as zeros and remembered.
    private func readAroundErrors(at offset: Int, count: Int) throws(DiskError) -> [UInt8] {
        if let bytes = try readIfPossible(at: offset, count: count) { return bytes }
        var bytes: [UInt8] = []
        let end = min(offset + count, size)
        while offset + bytes.count < end {
            let start = offset + bytes.count
            let blockEnd = min((start / Self.blockSize + 1) * Self.blockSize, end)
            if let block = try readIfPossible(at: start, count: blockEnd - start), !block.isEmpty {
                bytes += block
            } else {
                unreadable.append(start..<blockEnd)
                bytes += [UInt8](repeating: 0, count: blockEnd - start)
            }
        }
        return bytes
    }

    private func readIfPossible(at offset: Int, count: Int) throws(DiskError) -> [UInt8]? {
        do {
            return try file.read(at: offset, count: count)
        } catch {
            guard error.kind == .io else { throw error }
            return nil
        }
    }

    private func decode(_ bytes: [UInt8], at offset: Int) -> Found? {
        guard let found = try? BatchHeader.decode(bytes.rawSpan, at: offset, of: sequence, salt: salt),
            found.header.paddedSize <= size - offset
        else { return nil }
        return found
    }

    private static func looksLikeHeader(_ bytes: [UInt8], at position: Int, offset: Int) -> Bool {
        bytes.readUInt32(at: position) == UInt32(BatchHeader.size - 4)
            && bytes.readUInt64(at: position + BatchHeader.offsetOffset) == UInt64(offset)
    }

    /// A file that was only reserved reads as zeros; a checksum tells so many times faster than looking at each word.
    private static func isZero(_ chunk: [UInt8]) -> Bool {
        guard chunk.count >= chunkSize else { return false }
        return CRC32C.checksum(of: chunk.rawSpan.extracting(0..<chunkSize)) == zeroChecksum
    }
}

extension Array where Element == UInt8 {
    /// Little-endian; the bytes must be there.
    func readUInt32(at offset: Int) -> UInt32 {
        UInt32(self[offset]) | UInt32(self[offset + 1]) << 8 | UInt32(self[offset + 2]) << 16
            | UInt32(self[offset + 3]) << 24
    }

    func readUInt64(at offset: Int) -> UInt64 {
        UInt64(readUInt32(at: offset)) | UInt64(readUInt32(at: offset + 4)) << 32
    }
}
