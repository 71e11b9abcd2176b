import Basics
import Foundation
import RocksEngine
import Snapshots
import StateEngine
import Testing

func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

/// Replicated rows lie in two tables; 0xF0 is a node's own housekeeping.
let replicated = [KeyRange(prefix: [0x01]), KeyRange(prefix: [0x10])]

let head = SnapshotHead(
    cluster: ClusterIdentity(id: 0x1122_3344_5566_7788, generation: 3, generationTag: 9),
    revision: EntryID(term: Term(7), index: LogIndex(4_096)), time: ClusterTime(nanoseconds: 1_700_000_000_000_000_000),
    changeDigest: 0xFEED_BEEF, membership: bytes("members"), sessions: bytes("windows"))

/// A snapshot as its maker has it.
struct Taken {
    var manifest: SnapshotManifest
    var chunks: [SnapshotChunk]

    init(_ reader: some EngineReader, head: SnapshotHead = head, ranges: [KeyRange] = replicated) throws {
        let builder = SnapshotBuilder(reader, ranges: ranges, head: head)
        chunks = []
        while let chunk = try builder.nextChunk() { chunks.append(chunk) }
        manifest = builder.manifest()
    }

    func install(into engine: some Engine, ranges: [KeyRange] = replicated) throws {
        let installer = try SnapshotInstaller(manifest, ranges: ranges, into: engine)
        for chunk in chunks { try installChunk(chunk.bytes, with: installer) }
        try installer.finish()
    }
}

func contentDigest(_ reader: some EngineReader) throws -> ContentDigest {
    try ContentDigest(ofRowsIn: replicated, of: reader)
}

func accept(_ assembler: inout SnapshotAssembler, _ stored: [UInt8], number: Int) throws(SnapshotError) {
    try assembler.accept(stored.rawSpan, number: number)
}

func installChunk(_ stored: [UInt8], with installer: SnapshotInstaller<some Engine>) throws(SnapshotError) {
    try installer.install(stored.rawSpan)
}

func decodeManifest(_ encoded: [UInt8]) throws(SnapshotError) -> SnapshotManifest {
    try SnapshotManifest(decoding: encoded.rawSpan)
}

/// With a sound checksum.
func withWrongContentDigest(_ manifest: SnapshotManifest) throws -> SnapshotManifest {
    var encoded = manifest.encoded()
    let offset = 68
    #expect(Array(encoded[offset..<offset + 32]) == manifest.contentDigest.bytes)
    encoded[offset] ^= 1
    encoded.store(CRC32C.checksum(of: encoded.rawSpan.extracting(0..<encoded.count - 4)), at: encoded.count - 4)
    return try decodeManifest(encoded)
}

/// Rows of a made-up state: some table 1, mostly table 0x10, and housekeeping that no snapshot may hold.
func fill(_ engine: some Engine, rows: Int, seed: UInt64 = 1, valueSize: Int = 256) throws {
    var random = SplitMix64(seed: seed)
    var batch = WriteBatch()
    for number in 0..<rows {
        var value: [UInt8] = []
        while value.count < valueSize { value += String(random.next() | 1 << 63, radix: 16).utf8 }
        value.removeLast(value.count - valueSize)
        batch.put([0x10] + bytes("volumes/\(100_000 + number)"), value)
        if number % 100 == 0 { batch.put([0x01, UInt8(truncatingIfNeeded: number / 100)], [1]) }
    }
    batch.put([0xF0], bytes("applied"))
    try engine.write(batch)
}

func rows(_ reader: some EngineReader, in ranges: [KeyRange] = [.everything]) throws -> [[UInt8]: [UInt8]] {
    var rows: [[UInt8]: [UInt8]] = [:]
    for range in ranges {
        try reader.scan(from: range.from, to: range.to, reversed: false) { key, value in
            rows[[UInt8](key)] = [UInt8](value)
            return .next
        }
    }
    return rows
}

final class Scratch {
    let root = FileManager.default.temporaryDirectory.appending(path: "snapshots-\(UUID().uuidString)")
    init() throws { try FileManager.default.createDirectory(at: root, withIntermediateDirectories: true) }
    deinit { try? FileManager.default.removeItem(at: root) }
    func path(_ name: String) -> String { root.appending(path: name).path }
}

@Suite("A snapshot")
struct SnapshotsTests {
    @Test("goes from memory to RocksDB and back, the same to the byte at each step")
    func roundTrip() throws {
        let scratch = try Scratch()
        let first = MemoryEngine()
        try fill(first, rows: 12_000)
        let taken = try Taken(first.makeView())
        #expect(taken.chunks.count > 3)
        #expect(try taken.manifest.contentDigest == contentDigest(first))

        let rocks = try RocksEngine(directory: scratch.path("rocks"))
        try taken.install(into: rocks)
        let replicatedRows = try rows(first, in: replicated)
        #expect(try rows(rocks) == replicatedRows)
        let fromRocks = try Taken(rocks.makeView())
        #expect(fromRocks.manifest == taken.manifest)
        #expect(fromRocks.chunks == taken.chunks)
        #expect(fromRocks.manifest.id == taken.manifest.id)

        let second = MemoryEngine()
        try fromRocks.install(into: second)
        #expect(try rows(second) == replicatedRows)
        #expect(try contentDigest(second) == taken.manifest.contentDigest)
        second.crash()
        #expect(try rows(second) == replicatedRows, "finish makes the rows durable")
    }

    @Test("of a checkpoint shows the checkpoint's moment, while the engine goes on")
    func fromCheckpoint() throws {
        let scratch = try Scratch()
        let engine = try RocksEngine(directory: scratch.path("db"))
        try fill(engine, rows: 3_000)
        let digest = try contentDigest(engine)
        try engine.checkpoint(to: scratch.path("checkpoint"))
        try fill(engine, rows: 3_000, seed: 2)
        let taken = try Taken(RocksEngine(directory: scratch.path("checkpoint")))
        #expect(taken.manifest.contentDigest == digest)
        #expect(try contentDigest(engine) != digest)
    }

    @Test("of a view shows the view's moment, though rows change, go and are flushed between its chunks")
    func fromViewUnderWrites() throws {
        let scratch = try Scratch()
        let engine = try RocksEngine(directory: scratch.path("db"))
        try fill(engine, rows: 9_000)
        let digest = try contentDigest(engine)
        let builder = SnapshotBuilder(try engine.makeView(), ranges: replicated, head: head)
        var seed: UInt64 = 2
        while try builder.nextChunk() != nil {
            try fill(engine, rows: 9_000, seed: seed)
            var batch = WriteBatch()
            batch.deleteRange(from: [0x10] + bytes("volumes/103"), to: [0x10] + bytes("volumes/106"))
            try engine.write(batch)
            try engine.flush()
            seed += 1
        }
        #expect(seed > 4)
        #expect(builder.manifest().contentDigest == digest)
        #expect(try contentDigest(engine) != digest)
    }

    @Test("holds no row outside the ranges it was given, and counts what it holds")
    func rangesOnly() throws {
        let engine = MemoryEngine()
        try fill(engine, rows: 250)
        let taken = try Taken(engine)
        let target = MemoryEngine()
        try taken.install(into: target)
        #expect(try rows(target)[[0xF0]] == nil)
        let installed = try rows(target)
        #expect(taken.manifest.rowCount == UInt64(installed.count))
        #expect(taken.manifest.size == installed.reduce(0) { $0 + 8 + UInt64($1.key.count + $1.value.count) })
        #expect(
            taken.manifest.chunks.map(\.firstKey)
                == taken.manifest.chunks.map(\.firstKey).sorted { $0.lexicographicallyPrecedes($1) })
    }

    @Test("of an empty state has no chunks and still installs")
    func empty() throws {
        let taken = try Taken(MemoryEngine())
        #expect(taken.chunks.isEmpty)
        let decoded = try decodeManifest(taken.manifest.encoded())
        #expect(decoded == taken.manifest)
        let target = MemoryEngine()
        try taken.install(into: target)
        #expect(try contentDigest(target) == taken.manifest.contentDigest)
    }

    @Test("is cut into chunks of bounded size; a giant row is a chunk by itself")
    func chunkSizes() throws {
        let engine = MemoryEngine()
        try fill(engine, rows: 12_000)
        var batch = WriteBatch()
        batch.put([0x10] + bytes("volumes/105000/giant"), [UInt8](repeating: 7, count: 3_000_000))
        engine.write(batch)
        let taken = try Taken(engine)
        for info in taken.manifest.chunks.dropLast() {
            #expect(info.rowCount == 1 || info.size <= 1_024 * 1_024)
        }
        #expect(taken.manifest.chunks.contains { $0.rowCount == 1 && $0.size > 3_000_000 })
        let target = MemoryEngine()
        try taken.install(into: target)
        #expect(try rows(target) == rows(engine, in: replicated))
    }

    @Test("shares its chunks with an earlier one, except where rows changed")
    func chunksResynchronize() throws {
        let engine = MemoryEngine()
        try fill(engine, rows: 24_000)
        let before = try Taken(engine)
        var batch = WriteBatch()
        // One row more near the front, one changed in the middle: with chunks of fixed size all would move.
        batch.put([0x10] + bytes("volumes/100003/new"), [UInt8](repeating: 1, count: 300))
        batch.put([0x10] + bytes("volumes/112000"), bytes("short"))
        engine.write(batch)
        let after = try Taken(engine)
        let known = Set(before.manifest.chunks.map(\.digest))
        let new = after.manifest.chunks.filter { !known.contains($0.digest) }
        #expect(after.manifest.chunks.count >= 8)
        #expect(new.count >= 2 && new.count <= 5)
    }

    @Test("that took damage underneath is an error, not a shorter snapshot")
    func damagedSource() throws {
        let engine = MemoryEngine()
        try fill(engine, rows: 9_000)
        let builder = SnapshotBuilder(engine, ranges: replicated, head: head)
        #expect(try builder.nextChunk() != nil)
        engine.readFault = KeyRange(prefix: [0x10] + bytes("volumes/1085"))
        #expect(throws: SnapshotError.self) { while try builder.nextChunk() != nil {} }
    }
}

@Suite("A snapshot's transfer")
struct SnapshotTransferTests {
    @Test("takes chunks in any order, names those missing, and goes on with another sender")
    func resumesFromAnotherSender() throws {
        let scratch = try Scratch()
        let memory = MemoryEngine()
        let rocks = try RocksEngine(directory: scratch.path("db"))
        try fill(memory, rows: 14_000)
        try fill(rocks, rows: 14_000)
        let first = try Taken(memory)
        let second = try Taken(rocks)
        #expect(first.manifest.id == second.manifest.id)

        var assembler = SnapshotAssembler(first.manifest)
        var kept: [Int: [UInt8]] = [:]
        let count = first.chunks.count
        let all = assembler.missing(limit: .max)
        #expect(all == Array(0..<count))
        // The first sender gives every other chunk, last first, one of them twice; then it is gone.
        for number in stride(from: 0, to: count, by: 2).reversed() {
            try accept(&assembler, first.chunks[number].bytes, number: number)
            kept[number] = first.chunks[number].bytes
        }
        try accept(&assembler, first.chunks[0].bytes, number: 0)
        let missing = assembler.missing(limit: 2)
        #expect(missing == [1, 3])

        // The receiver restarts, offers what it kept, and asks the second sender for the rest.
        var again = SnapshotAssembler(try decodeManifest(second.manifest.encoded()))
        for (number, stored) in kept { try accept(&again, stored, number: number) }
        var isComplete = again.isComplete
        #expect(!isComplete)
        for number in again.missing(limit: .max) {
            try accept(&again, second.chunks[number].bytes, number: number)
            kept[number] = second.chunks[number].bytes
        }
        isComplete = again.isComplete && again.missingCount == 0
        #expect(isComplete)

        let target = MemoryEngine()
        let installer = try SnapshotInstaller(again.manifest, ranges: replicated, into: target)
        while let stored = kept[installer.nextNumber] { try installChunk(stored, with: installer) }
        try installer.finish()
        #expect(try contentDigest(target) == first.manifest.contentDigest)
    }

    @Test("refuses a chunk in another's place, one of another snapshot, and a number out of range")
    func wrongChunks() throws {
        let engine = MemoryEngine()
        try fill(engine, rows: 6_000)
        let taken = try Taken(engine)
        try fill(engine, rows: 6_000, seed: 2)
        let other = try Taken(engine)
        var assembler = SnapshotAssembler(taken.manifest)
        #expect(throws: SnapshotError.self) { try accept(&assembler, taken.chunks[1].bytes, number: 0) }
        #expect(throws: SnapshotError.self) { try accept(&assembler, other.chunks[1].bytes, number: 1) }
        #expect(throws: SnapshotError.self) { try accept(&assembler, taken.chunks[1].bytes, number: -1) }
        #expect(throws: SnapshotError.self) {
            try accept(&assembler, taken.chunks[1].bytes, number: taken.chunks.count)
        }
        let missingCount = assembler.missingCount
        #expect(missingCount == taken.chunks.count)
    }

    @Test("does not install with a chunk missing, in the wrong order, or into an engine that holds rows")
    func incompleteInstall() throws {
        let engine = MemoryEngine()
        try fill(engine, rows: 6_000)
        let taken = try Taken(engine)
        let partial = try SnapshotInstaller(taken.manifest, ranges: replicated, into: MemoryEngine())
        try installChunk(taken.chunks[0].bytes, with: partial)
        #expect(throws: SnapshotError.self) { try partial.finish() }
        #expect(throws: SnapshotError.self) { try installChunk(taken.chunks[0].bytes, with: partial) }
        #expect(throws: SnapshotError.targetNotEmpty) {
            try SnapshotInstaller(taken.manifest, ranges: replicated, into: engine)
        }
    }

    @Test("refuses rows outside the replicated tables, whoever vouches for them")
    func housekeepingIsOutOfReach() throws {
        let engine = MemoryEngine()
        try fill(engine, rows: 10)
        let hostile = try Taken(engine, ranges: [.everything])
        let target = MemoryEngine()
        #expect(throws: SnapshotError.self) { try hostile.install(into: target) }
        #expect(try rows(target).isEmpty)
    }

    @Test("refuses a manifest whose contentDigest is that of other rows")
    func wrongContentDigest() throws {
        let engine = MemoryEngine()
        try fill(engine, rows: 10)
        let taken = try Taken(engine)
        let forged = try withWrongContentDigest(taken.manifest)
        let installer = try SnapshotInstaller(forged, ranges: replicated, into: MemoryEngine())
        try installChunk(taken.chunks[0].bytes, with: installer)
        #expect(throws: SnapshotError.self) { try installer.finish() }
    }
}
