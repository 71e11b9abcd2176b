import Basics
import Foundation
import Snapshots
import StateEngine
import Testing

/// The bytes: golden ones, damaged ones, hostile ones.
@Suite("The snapshot format")
struct SnapshotFormatTests {
    /// Two rows too small for zstd to shrink, so the chunk is plain and the golden bytes do not depend on zstd.
    private func tiny() throws -> Taken {
        let engine = MemoryEngine()
        var batch = WriteBatch()
        batch.put([0x01], bytes("a"))
        batch.put([0x10] + bytes("k"), bytes("value"))
        engine.write(batch)
        return try Taken(engine)
    }

    private func hex(_ bytes: some Sequence<UInt8>) -> String {
        bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }

    @Test("a chunk has its golden bytes")
    func goldenChunk() throws {
        let taken = try tiny()
        #expect(taken.chunks.count == 1)
        #expect(hex(taken.chunks[0].bytes) == Golden.chunk)
    }

    @Test("a manifest has its golden bytes")
    func goldenManifest() throws {
        let manifest = try tiny().manifest
        #expect(hex(manifest.encoded()) == Golden.manifest)
        let decoded = try decodeManifest(manifest.encoded())
        #expect(decoded == manifest)
        #expect(decoded.head == head)
        #expect(manifest.id.description == Golden.manifestID)
    }

    @Test("a file has its golden bytes")
    func goldenFile() throws {
        #expect(hex(file(try tiny())) == Golden.file)
    }

    @Test("a chunk packed by zstd long ago is still read")
    func goldenPackedChunk() throws {
        let engine = MemoryEngine()
        var batch = WriteBatch()
        for number in 10..<20 { batch.put([0x10] + bytes("key/\(number)"), bytes("the same value every time")) }
        engine.write(batch)
        let taken = try Taken(engine)
        var assembler = SnapshotAssembler(taken.manifest)
        let stored = stride(from: 0, to: Golden.packedChunk.count, by: 2).compactMap { offset -> UInt8? in
            let start = Golden.packedChunk.index(Golden.packedChunk.startIndex, offsetBy: offset)
            return UInt8(Golden.packedChunk[start..<Golden.packedChunk.index(start, offsetBy: 2)], radix: 16)
        }
        #expect(stored[5] == 1, "packed")
        try accept(&assembler, stored, number: 0)
    }

    @Test("every flipped bit of a chunk is refused, packed or plain", arguments: [1, 200])
    func flippedChunkBits(_ rowCount: Int) throws {
        let engine = MemoryEngine()
        try fill(engine, rows: rowCount, valueSize: 8)
        let taken = try Taken(engine)
        #expect(taken.chunks[0].bytes[5] == (rowCount == 1 ? 0 : 1))
        var assembler = SnapshotAssembler(taken.manifest)
        let stored = taken.chunks[0].bytes
        for offset in stored.indices {
            for bit in 0..<8 {
                var damaged = stored
                damaged[offset] ^= 1 << bit
                #expect(throws: SnapshotError.self, "bit \(bit) of byte \(offset)") {
                    try accept(&assembler, damaged, number: 0)
                }
            }
        }
        for size in 0..<stored.count {
            #expect(throws: SnapshotError.self) { try accept(&assembler, Array(stored[..<size]), number: 0) }
        }
        #expect(throws: SnapshotError.self) { try accept(&assembler, stored + [0], number: 0) }
        try accept(&assembler, stored, number: 0)
    }

    @Test("every flipped bit of a manifest is refused, and every shorter or longer one")
    func flippedManifestBits() throws {
        let encoded = try tiny().manifest.encoded()
        for offset in encoded.indices {
            for bit in 0..<8 {
                var damaged = encoded
                damaged[offset] ^= 1 << bit
                #expect(throws: SnapshotError.self) { try decodeManifest(damaged) }
            }
        }
        for size in 0..<encoded.count {
            #expect(throws: SnapshotError.self) { try decodeManifest(Array(encoded[..<size])) }
        }
        #expect(throws: SnapshotError.self) { try decodeManifest(encoded + [0]) }
    }

    @Test("a manifest with any field changed, and its checksum made right again, never traps")
    func hostileManifests() throws {
        let encoded = try tiny().manifest.encoded()
        var refused = 0
        for offset in 0..<encoded.count - 4 {
            for value: UInt8 in [0, 1, 0x7F, 0x80, 0xFF] {
                var hostile = encoded
                hostile[offset] = value
                hostile.store(
                    CRC32C.checksum(of: hostile.rawSpan.extracting(0..<hostile.count - 4)), at: hostile.count - 4)
                do {
                    _ = try decodeManifest(hostile)
                } catch {
                    refused += 1
                }
            }
        }
        #expect(refused > 100)
    }

    @Test("a manifest of a later version is unsupported, not damaged")
    func laterVersion() throws {
        var encoded = try tiny().manifest.encoded()
        encoded[8] = 2
        encoded.store(CRC32C.checksum(of: encoded.rawSpan.extracting(0..<encoded.count - 4)), at: encoded.count - 4)
        #expect(throws: SnapshotError.unsupported("manifest: unknown version 2")) { try decodeManifest(encoded) }
    }

    /// A chunk around `payload` that is right in every checksum.
    private func chunk(codec: UInt8, size: Int, payload: [UInt8]) -> [UInt8] {
        var writer = ByteWriter()
        writer.write(UInt32(0x4B48_4351))
        writer.write(UInt8(1))
        writer.write(codec)
        writer.write(UInt16(0))
        writer.write(UInt32(size))
        writer.write(UInt32(payload.count))
        var checksum = CRC32C.checksum(of: writer.bytes.rawSpan)
        checksum = CRC32C.checksum(of: payload.rawSpan, continuing: checksum)
        writer.write(checksum)
        writer.write(payload)
        return writer.takeBytes()
    }

    /// A zstd frame made by hand (RFC 8878): `start` as it is, then `count` times `byte`.
    private func frame(_ start: [UInt8], then byte: UInt8, count: Int) -> [UInt8] {
        var writer = ByteWriter()
        writer.write(UInt32(0xFD2F_B528))
        writer.write(UInt8(0xA0))  // one segment, content size in four bytes
        writer.write(UInt32(start.count + count))
        func writeBlock(isLast: Bool, type: Int, size: Int, _ content: [UInt8]) {
            let header = (isLast ? 1 : 0) | type << 1 | size << 3
            writer.write([UInt8(header & 0xFF), UInt8(header >> 8 & 0xFF), UInt8(header >> 16)])
            writer.write(content)
        }
        writeBlock(isLast: count == 0, type: 0, size: start.count, start)
        var remaining = count
        while remaining > 0 {
            let size = min(remaining, 128 * 1_024)
            remaining -= size
            writeBlock(isLast: remaining == 0, type: 1, size: size, [byte])
        }
        return writer.takeBytes()
    }

    @Test("rows that shrink beyond a hundredth are stored plain; a frame that claims to unpack so far is refused")
    func decompressionBombs() throws {
        for (size, isBomb) in [(500, false), (1_000_000, true)] {
            let engine = MemoryEngine()
            var batch = WriteBatch()
            batch.put([0x10], [UInt8](repeating: 0, count: size))
            engine.write(batch)
            let taken = try Taken(engine)
            #expect(taken.chunks[0].bytes[5] == (isBomb ? 0 : 1))
            var header = ByteWriter()
            header.write(UInt32(1))
            header.write(UInt32(size))
            header.write(UInt8(0x10))
            let packed = frame(header.bytes, then: 0, count: size)
            let stored = chunk(codec: 1, size: header.count + size, payload: packed)
            var assembler = SnapshotAssembler(taken.manifest)
            if isBomb {
                #expect(throws: SnapshotError.self) { try accept(&assembler, stored, number: 0) }
                try accept(&assembler, taken.chunks[0].bytes, number: 0)
            } else {
                try accept(&assembler, stored, number: 0)
            }
        }
    }

    @Test("a frame of another size, two frames, no frame, and codecs nobody knows are refused")
    func hostileFrames() throws {
        let engine = MemoryEngine()
        try fill(engine, rows: 100, valueSize: 30)
        let taken = try Taken(engine)
        let size = taken.manifest.chunks[0].size
        var assembler = SnapshotAssembler(taken.manifest)
        let whole = Array(taken.chunks[0].bytes[20...])
        let hostileChunks: [[UInt8]] = [
            chunk(codec: 1, size: size, payload: whole + frame([1, 2, 3], then: 0, count: 0)),
            chunk(codec: 1, size: size, payload: frame([], then: 5, count: size - 1)),
            chunk(codec: 1, size: size, payload: frame([], then: 5, count: size + 1)),
            chunk(codec: 1, size: size + 1, payload: whole),
            chunk(codec: 1, size: size, payload: []),
            chunk(codec: 1, size: size, payload: [UInt8](repeating: 0xA5, count: size)),
            chunk(codec: 0, size: size, payload: whole),
            chunk(codec: 0, size: size, payload: [UInt8](repeating: 0, count: size)),
            chunk(codec: 2, size: size, payload: whole),
        ]
        for hostile in hostileChunks {
            #expect(throws: SnapshotError.self) { try accept(&assembler, hostile, number: 0) }
        }
        try accept(&assembler, chunk(codec: 1, size: size, payload: whole), number: 0)
    }

    @Test("rows that a manifest vouches for are still refused when they overlap, are out of order or end early")
    func hostileRows() throws {
        func row(_ key: [UInt8], _ value: [UInt8]) -> [UInt8] {
            var writer = ByteWriter()
            writer.write(UInt32(key.count))
            writer.write(UInt32(value.count))
            writer.write(key)
            writer.write(value)
            return writer.takeBytes()
        }
        let first = row([0x10, 1], [1])
        let second = row([0x10, 2], [2])
        func offer(_ plain: [UInt8], rowCount: UInt32, firstKey: [UInt8]) throws {
            // The tiny manifest with its only chunk replaced; the digest is right.
            var encoded = try tiny().manifest.encoded()
            let entryAndChecksumSize = 4 + 4 + 32 + 2 + 1 + 4
            encoded.removeLast(entryAndChecksumSize)
            var writer = ByteWriter(appendingTo: encoded)
            writer.write(UInt32(plain.count))
            writer.write(rowCount)
            writer.write(ContentDigest(of: plain.rawSpan).bytes)
            writer.writeBytes16(firstKey)
            writer.write(CRC32C.checksum(of: writer.bytes.rawSpan))
            var assembler = SnapshotAssembler(try decodeManifest(writer.bytes))
            try accept(&assembler, chunk(codec: 0, size: plain.count, payload: plain), number: 0)
        }
        try offer(first + second, rowCount: 2, firstKey: [0x10, 1])
        #expect(throws: SnapshotError.self) { try offer(second + first, rowCount: 2, firstKey: [0x10, 2]) }
        #expect(throws: SnapshotError.self) { try offer(first + first, rowCount: 2, firstKey: [0x10, 1]) }
        #expect(throws: SnapshotError.self) { try offer(first + second, rowCount: 1, firstKey: [0x10, 1]) }
        #expect(throws: SnapshotError.self) { try offer(first + second, rowCount: 2, firstKey: [0x10, 2]) }
        #expect(throws: SnapshotError.self) { try offer(first + second.dropLast(), rowCount: 2, firstKey: [0x10, 1]) }
        let cutHeader: [UInt8] = first + [1, 0, 0]
        #expect(throws: SnapshotError.self) { try offer(cutHeader, rowCount: 1, firstKey: [0x10, 1]) }
        let hugeSizes: [UInt8] = first + [UInt8](repeating: 0xFF, count: 8)
        #expect(throws: SnapshotError.self) { try offer(hugeSizes, rowCount: 2, firstKey: [0x10, 1]) }
    }

    // MARK: File

    private func file(_ taken: Taken) -> [UInt8] {
        var writer = SnapshotFileWriter()
        var bytes = writer.header
        for chunk in taken.chunks {
            bytes += chunk.bytes
            writer.add(chunk)
        }
        return bytes + writer.finish(taken.manifest)
    }

    /// Reads a file as an operator's `verify` does: every part, every row.
    private func verify(_ file: [UInt8]) throws -> SnapshotManifest {
        let layout = try SnapshotFileLayout(
            header: Array(file.prefix(SnapshotFileLayout.headerSize)),
            footer: Array(file.suffix(SnapshotFileLayout.footerSize)), fileSize: file.count)
        let manifest = try decodeManifest(Array(file[layout.manifest]))
        let ranges = try layout.chunks(index: Array(file[layout.index]))
        var reader = SnapshotReader(manifest, ranges: replicated)
        for range in ranges { try reader.read(file.rawSpan.extracting(range)) { _, _ in } }
        try reader.finish()
        return manifest
    }

    @Test("a file gives back manifest and chunks")
    func fileRoundTrip() throws {
        let engine = MemoryEngine()
        try fill(engine, rows: 5_000)
        let taken = try Taken(engine)
        #expect(try verify(file(taken)) == taken.manifest)
        #expect(try verify(file(Taken(MemoryEngine()))).chunks.isEmpty)
    }

    @Test("every flipped bit and every missing end of a file is found")
    func damagedFiles() throws {
        let engine = MemoryEngine()
        try fill(engine, rows: 3, valueSize: 5)
        let whole = file(try Taken(engine))
        for offset in whole.indices {
            for bit in 0..<8 {
                var damaged = whole
                damaged[offset] ^= 1 << bit
                #expect(throws: SnapshotError.self, "bit \(bit) of byte \(offset)") { try verify(damaged) }
            }
        }
        for size in 0..<whole.count { #expect(throws: SnapshotError.self) { try verify(Array(whole[..<size])) } }
        #expect(throws: SnapshotError.self) { try verify(whole + whole) }
    }
}
