import Basics
import Foundation
import RocksEngine
import StateEngine
import Testing

/// What is RocksDB's own: files, crashes, damage.
@Suite("RocksEngine")
struct RocksEngineTests {
    /// Directories that vanish with the test.
    final class Scratch {
        let root = FileManager.default.temporaryDirectory.appending(path: "rocks-\(UUID().uuidString)")
        init() throws { try FileManager.default.createDirectory(at: root, withIntermediateDirectories: true) }
        deinit { try? FileManager.default.removeItem(at: root) }
        func path(_ name: String) -> String { root.appending(path: name).path }

        func files(_ name: String) throws -> [String] {
            try FileManager.default.contentsOfDirectory(atPath: path(name))
        }

        /// Copies what a process that is killed now would leave, of the files that hold rows. The manifest comes first,
        /// so that every table it names is there when the tables are copied.
        func copyCrashImage(_ name: String, to copy: String) throws {
            try FileManager.default.createDirectory(atPath: path(copy), withIntermediateDirectories: false)
            for kind in ["CURRENT", "MANIFEST", "IDENTITY", ".sst"] {
                for file in try files(name) where file.hasPrefix(kind) || file.hasSuffix(kind) {
                    try FileManager.default.copyItem(atPath: path("\(name)/\(file)"), toPath: path("\(copy)/\(file)"))
                }
            }
        }
    }

    private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

    private func rows(_ reader: some EngineReader) throws -> [[UInt8]: [UInt8]] {
        var rows: [[UInt8]: [UInt8]] = [:]
        try reader.scan(from: [], to: nil, reversed: false) { key, value in
            rows[[UInt8](key)] = [UInt8](value)
            return .next
        }
        return rows
    }

    /// Batch `number` as apply would make it: rows of its own, one row that all batches write, and how far the log was
    /// applied.
    private func write(_ number: Int, to engine: RocksEngine) throws {
        var batch = WriteBatch()
        for row in 0..<10 {
            batch.put(bytes("row \(number) \(row)"), [UInt8](repeating: UInt8(number % 251), count: 400))
        }
        batch.put(bytes("shared"), bytes("\(number)"))
        if number > 5 { batch.delete(bytes("row \(number - 5) 3")) }
        batch.put(bytes("applied"), bytes("\(number)"))
        try engine.write(batch)
    }

    @Test("a directory that is not there is made, private to its owner, and so is every file in it")
    func privateFiles() throws {
        let scratch = try Scratch()
        let engine = try RocksEngine(directory: scratch.path("db"))
        try write(1, to: engine)
        try engine.flush()
        func mode(_ path: String) throws -> Int {
            try #require(FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int)
        }
        #expect(try mode(scratch.path("db")) == 0o700)
        let files = try scratch.files("db")
        #expect(files.contains { $0.hasSuffix(".sst") })
        for file in files { #expect(try mode(scratch.path("db/\(file)")) & 0o077 == 0, "\(file)") }
    }

    @Test("closing keeps everything, flushed or not")
    func reopen() throws {
        let scratch = try Scratch()
        var engine: RocksEngine? = try RocksEngine(directory: scratch.path("db"))
        try write(1, to: #require(engine))
        let before = try rows(#require(engine))
        engine = nil
        #expect(try rows(RocksEngine(directory: scratch.path("db"))) == before)
    }

    @Test("a directory that is in use, and one whose parent is missing, are errors")
    func cannotOpen() throws {
        let scratch = try Scratch()
        let engine = try RocksEngine(directory: scratch.path("db"))
        #expect(throws: EngineError.self) { try RocksEngine(directory: scratch.path("db")) }
        #expect(throws: EngineError.self) { try RocksEngine(directory: scratch.path("missing/db")) }
        #expect(try rows(engine).isEmpty)
    }

    @Test("a crash without a flush loses exactly the batches after the last flush")
    func unflushedSuffixIsLost() throws {
        let scratch = try Scratch()
        let engine = try RocksEngine(directory: scratch.path("db"))
        for number in 1...20 { try write(number, to: engine) }
        try engine.flush()
        let flushed = try rows(engine)
        for number in 21...30 { try write(number, to: engine) }
        try scratch.copyCrashImage("db", to: "image")
        let revived = try RocksEngine(directory: scratch.path("image"))
        #expect(try rows(revived) == flushed)
    }

    @Test("while rows are stored in the background, every crash comes back to the end of one batch")
    func backgroundFilesAreAtomic() throws {
        let scratch = try Scratch()
        // So small that rows are stored every few batches; but too few files for a compaction, which would delete tables
        // under the copy.
        let engine = try RocksEngine(
            directory: scratch.path("db"), settings: RocksSettings(writeBufferSize: 64 * 1_024))
        var states: [[[UInt8]: [UInt8]]] = [[:]]
        var applied = 0
        for number in 1...200 {
            try write(number, to: engine)
            var state = states[number - 1]
            for row in 0..<10 {
                state[bytes("row \(number) \(row)")] = [UInt8](repeating: UInt8(number % 251), count: 400)
            }
            state[bytes("shared")] = bytes("\(number)")
            if number > 5 { state[bytes("row \(number - 5) 3")] = nil }
            state[bytes("applied")] = bytes("\(number)")
            states.append(state)
            guard number % 20 == 0 else { continue }
            try scratch.copyCrashImage("db", to: "image \(number)")
            let revived = try RocksEngine(directory: scratch.path("image \(number)"))
            let text = try get(revived, bytes("applied")).map { String(decoding: $0, as: UTF8.self) }
            let revivedApplied = text.flatMap { Int($0) } ?? 0
            #expect(revivedApplied >= applied && revivedApplied <= number)
            #expect(try rows(revived) == states[revivedApplied])
            applied = revivedApplied
        }
        #expect(applied > 0, "nothing was ever stored")
    }

    @Test("a checkpoint holds the rows of its moment, those not flushed included, and opens as an engine of its own")
    func checkpoint() throws {
        let scratch = try Scratch()
        let engine = try RocksEngine(directory: scratch.path("db"))
        try write(1, to: engine)
        try engine.flush()
        try write(2, to: engine)
        let moment = try rows(engine)
        try engine.checkpoint(to: scratch.path("checkpoint"))
        try write(3, to: engine)
        let copy = try RocksEngine(directory: scratch.path("checkpoint"))
        #expect(try rows(copy) == moment)
        try write(9, to: copy)
        #expect(try get(engine, bytes("applied")) == bytes("3"))
        #expect(throws: EngineError.self) { try engine.checkpoint(to: scratch.path("checkpoint")) }
    }

    @Test("a flipped bit in a table file is reported as damage or changes nothing: never a wrong or missing row")
    func flippedBitsInTables() throws {
        let scratch = try Scratch()
        let (name, state) = try makeImage(scratch)
        let table = try #require(try scratch.files(name).first { $0.hasSuffix(".sst") })
        let outcomes = try flipBits(in: table, of: name, scratch, count: 80) { #expect($0 == state) }
        // Most of the file is rows, each under a checksum.
        #expect(outcomes.corrupt > 60)
        #expect(outcomes.other == 0)
    }

    @Test("a flipped bit in the manifest is an error, or leads back to a whole earlier state: never to a mixture")
    func flippedBitsInManifest() throws {
        let scratch = try Scratch()
        let (name, state) = try makeImage(scratch)
        let manifest = try #require(try scratch.files(name).first { $0.hasPrefix("MANIFEST") })
        let outcomes = try flipBits(in: manifest, of: name, scratch, count: 40) { #expect($0 == state || $0.isEmpty) }
        #expect(outcomes.corrupt > 0)
    }

    /// An image of a database with one flushed table.
    private func makeImage(_ scratch: Scratch) throws -> (name: String, state: [[UInt8]: [UInt8]]) {
        let engine = try RocksEngine(
            directory: scratch.path("db"), settings: RocksSettings(compression: .none))
        var random = SplitMix64(seed: 5)
        var batch = WriteBatch()
        for number in 0..<300 {
            batch.put(bytes("key \(number)"), (0..<60).map { _ in UInt8.random(in: 0...255, using: &random) })
        }
        try engine.write(batch)
        try engine.flush()
        try scratch.copyCrashImage("db", to: "whole")
        return ("whole", try rows(engine))
    }

    private func flipBits(
        in file: String, of name: String, _ scratch: Scratch, count: Int,
        _ check: ([[UInt8]: [UInt8]]) -> Void
    ) throws -> (corrupt: Int, other: Int) {
        var random = SplitMix64(seed: 77)
        var corrupt = 0
        var other = 0
        for flip in 0..<count {
            let copy = "flip \(flip)"
            try FileManager.default.copyItem(atPath: scratch.path(name), toPath: scratch.path(copy))
            let path = scratch.path("\(copy)/\(file)")
            var content = try Data(contentsOf: URL(filePath: path))
            let offset = Int.random(in: 0..<content.count, using: &random)
            content[offset] ^= 1 << UInt8.random(in: 0..<8, using: &random)
            try content.write(to: URL(filePath: path))
            do {
                let engine = try RocksEngine(directory: scratch.path(copy))
                let found = try rows(engine)
                check(found)
                for (key, value) in found { #expect(try get(engine, key) == value) }
            } catch EngineError.corrupt {
                corrupt += 1
            } catch {
                other += 1
            }
            try FileManager.default.removeItem(atPath: scratch.path(copy))
        }
        return (corrupt, other)
    }

    private func get(_ engine: RocksEngine, _ key: [UInt8]) throws -> [UInt8]? { try engine.get(key.rawSpan) }
}
