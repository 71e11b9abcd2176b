internal import Basics
internal import CZstd

/// A chunk as it is stored and sent.
///
///     0  u32 magic "QCHK"
///     4  u8  version (1)
///     5  u8  codec: 0 plain, 1 one zstd frame (RFC 8878)
///     6  u16 0
///     8  u32 size of the rows
///    12  u32 size of the payload
///    16  u32 CRC-32C of bytes 0 ..< 16 and of the payload
///    20  payload
///
/// The manifest says which rows belong here, by SHA-256 over them; this envelope's checksum finds damage before
/// anything is unpacked, and in the bits of a zstd frame that do not change what comes out.
enum ChunkFormat {
    static let magic: UInt32 = 0x4B48_4351
    static let version: UInt8 = 1
    static let headerSize = 20
    static let checksumOffset = 16

    enum Codec: UInt8 {
        case plain = 0
        case zstd = 1
    }

    /// A stranger's frame may unpack to this many times its size. What shrinks further is stored plain.
    static let ratioMax = 100
    /// zstd's fastest ordinary level: higher ones cost the writers' processor for a few percent.
    static let level: Int32 = 1
}

/// Packs rows into chunks.
struct ChunkEncoder: ~Copyable {
    private let context: OpaquePointer? = ZSTD_createCCtx()

    deinit { ZSTD_freeCCtx(context) }

    func encode(_ plain: RawSpan) -> [UInt8] {
        let plainSize = plain.byteCount
        let headerSize = ChunkFormat.headerSize
        var isPacked = false
        // Larger than the plain form is never needed, so what does not fit there is stored plain.
        var bytes = plain.withUnsafeBytes { source in
            [UInt8](unsafeUninitializedCapacity: headerSize + plainSize) { buffer, count in
                let target = UnsafeMutableRawBufferPointer(buffer)
                let payload = UnsafeMutableRawBufferPointer(rebasing: target[headerSize...])
                let written = ZSTD_compressCCtx(
                    context, payload.baseAddress, payload.count, source.baseAddress, source.count, ChunkFormat.level)
                isPacked =
                    ZSTD_isError(written) == 0 && written < plainSize && plainSize / ChunkFormat.ratioMax < written
                if !isPacked { payload.copyMemory(from: source) }
                for offset in 0..<headerSize { target[offset] = 0 }
                count = headerSize + (isPacked ? written : plainSize)
            }
        }
        bytes.store(ChunkFormat.magic, at: 0)
        bytes.store(ChunkFormat.version, at: 4)
        bytes.store((isPacked ? ChunkFormat.Codec.zstd : .plain).rawValue, at: 5)
        bytes.store(UInt32(plainSize), at: 8)
        bytes.store(UInt32(bytes.count - headerSize), at: 12)
        bytes.store(ChunkFormat.checksum(of: bytes.rawSpan), at: ChunkFormat.checksumOffset)
        return bytes
    }
}

/// A chunk as it was kept.
package enum StoredChunk {
    /// Whether its bytes are still those that were written, without unpacking them.
    package static func check(_ stored: RawSpan) throws(SnapshotError) {
        do throws(DecodeError) {
            _ = try ChunkFormat.readHeader(stored)
        } catch {
            throw .damaged("chunk", error)
        }
    }
}

/// Unpacks chunks that a peer or a file gave.
struct ChunkDecoder: ~Copyable {
    private let context: OpaquePointer? = ZSTD_createDCtx()

    deinit { ZSTD_freeDCtx(context) }

    /// The rows that `info` names; nothing else passes.
    func decode(_ stored: RawSpan, as info: ChunkInfo) throws(SnapshotError) -> [UInt8] {
        let plain: [UInt8]
        do {
            plain = try decodeEnvelope(stored, plainSize: info.size)
        } catch {
            throw .damaged("chunk", error)
        }
        guard ContentDigest(of: plain.rawSpan) == info.digest else {
            throw .damaged("chunk: the rows are not those of the manifest")
        }
        return plain
    }

    /// The rows of a chunk whose manifest is still to come.
    func decode(_ stored: RawSpan) throws(SnapshotError) -> [UInt8] {
        do {
            return try decodeEnvelope(stored, plainSize: nil)
        } catch {
            throw .damaged("chunk", error)
        }
    }

    /// - Parameter expectedSize: as the manifest has it; nil where it is not known, then any that a chunk may have.
    private func decodeEnvelope(_ stored: RawSpan, plainSize expectedSize: Int?) throws(DecodeError) -> [UInt8] {
        let (codec, plainSize, payloadSize) = try ChunkFormat.readHeader(stored)
        if let expectedSize {
            guard plainSize == expectedSize else {
                throw .invalid("size \(plainSize), the manifest says \(expectedSize)")
            }
        } else {
            guard plainSize <= ChunkCut.singleRowSizeMax else { throw .tooLarge(UInt64(plainSize)) }
        }
        let payload = stored.extracting(ChunkFormat.headerSize..<stored.byteCount)
        switch codec {
        case .plain:
            guard payloadSize == plainSize else { throw .invalid("size of a plain chunk") }
            return [UInt8](payload)
        case .zstd:
            guard plainSize / ChunkFormat.ratioMax <= payloadSize else { throw .tooLarge(UInt64(plainSize)) }
            return try decompress(payload, plainSize: plainSize)
        }
    }

    /// In one call, into room of the known size: so no frame, whatever window it claims, makes zstd take memory for it.
    private func decompress(_ payload: RawSpan, plainSize: Int) throws(DecodeError) -> [UInt8] {
        let isOneFrame = payload.withUnsafeBytes {
            ZSTD_findFrameCompressedSize($0.baseAddress, $0.count) == $0.count
                && ZSTD_getFrameContentSize($0.baseAddress, $0.count) == UInt64(plainSize)
        }
        guard isOneFrame else { throw .invalid("zstd frame") }
        var isWhole = false
        let plain = payload.withUnsafeBytes { source in
            [UInt8](unsafeUninitializedCapacity: plainSize) { target, count in
                let size = ZSTD_decompressDCtx(
                    context, target.baseAddress, plainSize, source.baseAddress, source.count)
                isWhole = ZSTD_isError(size) == 0 && size == plainSize
                count = isWhole ? plainSize : 0
            }
        }
        guard isWhole else { throw .invalid("zstd frame") }
        return plain
    }
}

extension ChunkFormat {
    /// The fields of the header, once the checksum over all of the chunk is found right.
    fileprivate static func readHeader(
        _ stored: RawSpan
    ) throws(DecodeError) -> (codec: Codec, plainSize: Int, payloadSize: Int) {
        var reader = ByteReader(stored)
        guard try reader.readUInt32() == magic else { throw .invalid("magic") }
        let version = try reader.readUInt8()
        guard version == Self.version else { throw .unknown("version", UInt64(version)) }
        let codecNumber = try reader.readUInt8()
        guard let codec = Codec(rawValue: codecNumber) else { throw .unknown("codec", UInt64(codecNumber)) }
        guard try reader.readUInt16() == 0 else { throw .invalid("reserved bytes") }
        let plainSize = Int(try reader.readUInt32())
        let payloadSize = Int(try reader.readUInt32())
        let claimed = try reader.readUInt32()
        guard payloadSize == reader.remaining else { throw .truncated }
        let computed = checksum(of: stored)
        guard claimed == computed || Mutant.acceptDamagedChunk.isOn else { throw .checksumMismatch(stored: claimed, computed: computed) }
        return (codec, plainSize, payloadSize)
    }

    /// Over everything but the checksum itself. `bytes` holds the header at least.
    fileprivate static func checksum(of bytes: RawSpan) -> UInt32 {
        let header = CRC32C.checksum(of: bytes.extracting(0..<checksumOffset))
        return CRC32C.checksum(of: bytes.extracting(headerSize..<bytes.byteCount), continuing: header)
    }
}
