import Basics
import Snapshots
import StateEngine
import Testing

@Suite("A snapshot that comes chunks first")
struct SnapshotReceiverTests {
    private func taken(_ rows: Int = 9_000, valueSize: Int = 256) throws -> Taken {
        let engine = MemoryEngine()
        try fill(engine, rows: rows, valueSize: valueSize)
        return try Taken(engine)
    }

    private func file(_ taken: Taken) -> [UInt8] {
        var writer = SnapshotFileWriter()
        var bytes = writer.header
        for chunk in taken.chunks {
            bytes += chunk.bytes
            writer.add(chunk)
        }
        return bytes + writer.finish(taken.manifest)
    }

    /// What a receiver makes of these chunks and this manifest.
    private func receive(
        _ chunks: [[UInt8]], _ manifest: SnapshotManifest, ranges: [KeyRange] = replicated
    ) throws -> [UInt8] {
        var receiver = SnapshotReceiver(ranges: ranges)
        var bytes = receiver.header
        for chunk in chunks {
            try receiver.accept(chunk)
            bytes += chunk
        }
        return bytes + (try receiver.finish(manifest))
    }

    @Test("makes the very file that its sender would have written")
    func roundTrip() throws {
        for rows in [0, 3, 9_000] {
            let taken = try taken(rows)
            #expect(try receive(taken.chunks.map(\.bytes), taken.manifest) == file(taken))
        }
    }

    @Test("is refused with any flipped bit, a chunk missing, twice, or in another's place")
    func damage() throws {
        let small = try taken(3, valueSize: 8)
        let stored = small.chunks[0].bytes
        for offset in stored.indices {
            for bit in 0..<8 {
                var damaged = stored
                damaged[offset] ^= 1 << bit
                #expect(throws: SnapshotError.self) { try receive([damaged], small.manifest) }
            }
        }
        let large = try taken()
        let chunks = large.chunks.map(\.bytes)
        #expect(chunks.count > 2)
        #expect(throws: SnapshotError.self) { try receive(Array(chunks.dropFirst()), large.manifest) }
        #expect(throws: SnapshotError.self) { try receive(Array(chunks.dropLast()), large.manifest) }
        #expect(throws: SnapshotError.self) { try receive([chunks[0]] + chunks, large.manifest) }
        #expect(throws: SnapshotError.self) { try receive([chunks[1], chunks[0]] + chunks[2...], large.manifest) }
        #expect(throws: SnapshotError.self) { try receive(chunks, small.manifest) }
    }

    @Test("leaves the digest of all rows to whoever reads the file: that of other rows is refused then")
    func wrongContentDigest() throws {
        let taken = try taken()
        let forged = try withWrongContentDigest(taken.manifest)
        _ = try receive(taken.chunks.map(\.bytes), forged)
        let installer = try SnapshotInstaller(forged, ranges: replicated, into: MemoryEngine())
        for chunk in taken.chunks { try installChunk(chunk.bytes, with: installer) }
        #expect(throws: SnapshotError.self) { try installer.finish() }
    }

    @Test("is refused with rows outside the tables that it may hold")
    func foreignRows() throws {
        let engine = MemoryEngine()
        try fill(engine, rows: 10)
        let hostile = try Taken(engine, ranges: [.everything])
        #expect(throws: SnapshotError.self) { try receive(hostile.chunks.map(\.bytes), hostile.manifest) }
    }
}
