internal import Basics
internal import StateEngine

/// A row in a chunk, and in every digest over rows:
///
///     u32 size of key | u32 size of value | key | value        little-endian
enum RowFormat {
    static let headerSize = 8

    static func append(_ key: RawSpan, _ value: RawSpan, to bytes: inout [UInt8]) {
        let sizes = UInt64(UInt32(key.byteCount)) | UInt64(UInt32(value.byteCount)) << 32
        withUnsafeBytes(of: sizes.littleEndian) { bytes.append(contentsOf: $0) }
        bytes.append(contentsOf: key)
        bytes.append(contentsOf: value)
    }

    /// Calls `body` with each row; refuses rows that do not fill `bytes` exactly, and keys that do not rise strictly
    /// after `previousKey`.
    /// - Returns: the number of rows and the last key.
    static func forEachRow<Failure: Error>(
        in bytes: RawSpan, after previousKey: [UInt8]?, orThrow failure: (DecodeError) -> Failure,
        _ body: (_ key: RawSpan, _ value: RawSpan) throws(Failure) -> Void
    ) throws(Failure) -> (count: Int, lastKey: [UInt8]?) {
        var reader = ByteReader(bytes)
        var count = 0
        var lastKey = RawSpan()
        while !reader.isAtEnd {
            let key: RawSpan
            let value: RawSpan
            do throws(DecodeError) {
                let keySize = Int(try reader.readUInt32())
                let valueSize = Int(try reader.readUInt32())
                key = try reader.readBytes(keySize)
                value = try reader.readBytes(valueSize)
            } catch {
                throw failure(error)
            }
            let rises =
                if count > 0 {
                    lastKey.order(comparedWith: key) < 0
                } else {
                    previousKey.map { Self.precedes($0, key) } ?? true
                }
            guard rises else { throw failure(.invalid("order of keys")) }
            try body(key, value)
            lastKey = key
            count += 1
        }
        return (count, count > 0 ? [UInt8](lastKey) : previousKey)
    }

    private static func precedes(_ left: [UInt8], _ right: RawSpan) -> Bool {
        left.rawSpan.order(comparedWith: right) < 0
    }
}

/// Where one chunk ends and the next begins.
///
/// The answer depends on the rows since the last boundary alone, so every replica cuts the same rows into the same
/// chunks: a transfer goes on with another sender, and a chunk that did not change since the last snapshot is stored
/// once.
///
/// A boundary follows a row that its own key marks, so where two states differ in some rows their boundaries fall
/// together again soon after: were chunks of fixed size, one more row at the front would move every boundary behind it.
enum ChunkCut {
    /// No boundary before this many bytes of rows.
    static let sizeMin = 256 * 1_024
    /// On average, the bytes from `sizeMin` to a row that is marked.
    static let sizeExtraMean = 384 * 1_024
    /// A row that would go beyond starts a chunk, marked or not.
    static let sizeMax = Limits.snapshotChunkSize
    /// A chunk of one giant row.
    static let singleRowSizeMax = Limits.recordPayloadSizeMax + Limits.frameEnvelopeSize

    static func isBefore(rowOfSize rowSize: Int, chunkSize: Int) -> Bool {
        chunkSize > 0 && chunkSize + rowSize > sizeMax
    }

    /// `chunkSize` includes the row.
    static func isAfter(rowWithKey key: RawSpan, rowSize: Int, chunkSize: Int) -> Bool {
        guard chunkSize >= sizeMin else { return false }
        // A larger row is marked more often, so that the mean is one of bytes, whatever the rows' size.
        var mixer = SplitMix64(seed: UInt64(CRC32C.checksum(of: key)))
        return (mixer.next() >> 32) * UInt64(sizeExtraMean) < UInt64(rowSize) << 32
    }
}
