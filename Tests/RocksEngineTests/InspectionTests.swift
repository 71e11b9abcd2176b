import Basics
import Foundation
import RocksEngine
import StateEngine
import Testing

extension RocksEngineTests {
    /// The rows of a stopped node, looked at and not changed.
    @Suite struct InspectionTests {
        private func database(_ scratch: Scratch, rows: Int) throws -> String {
            let engine = try RocksEngine(directory: scratch.path("db"))
            var batch = WriteBatch()
            for row in 0..<rows { batch.put(Array("key \(1_000 + row)".utf8), Array("value \(row)".utf8)) }
            try engine.write(batch)
            try engine.flush()
            return scratch.path("db")
        }

        private func read(_ directory: String) throws -> (rows: [[UInt8]: [UInt8]], damages: [RocksInspection.Damage]) {
            var rows: [[UInt8]: [UInt8]] = [:]
            var damages: [RocksInspection.Damage] = []
            try RocksInspection(directory: directory).scan(from: [], to: nil) { key, value in
                rows[[UInt8](key)] = [UInt8](value)
            } damaged: {
                damages.append($0)
            }
            return (rows, damages)
        }

        @Test("a flipped bit anywhere in a table file is found or harmless, and no byte of the directory changes")
        func everyByte() throws {
            let scratch = try Scratch()
            let directory = try database(scratch, rows: 60)
            let whole = try read(directory)
            #expect(whole.rows.count == 60 && whole.damages.isEmpty)
            let table = try #require(try scratch.files("db").first { $0.hasSuffix(".sst") })
            let path = "\(directory)/\(table)"
            let sound = try #require(FileManager.default.contents(atPath: path))
            let files = try scratch.files("db").sorted()
            var detected = 0
            for offset in stride(from: 0, to: sound.count, by: 3) {
                var bytes = sound
                bytes[offset] ^= UInt8(1 << (offset & 7))
                try bytes.write(to: URL(filePath: path))
                do {
                    let found = try read(directory)
                    for (key, value) in found.rows { #expect(whole.rows[key] == value, "byte \(offset)") }
                    if found.damages.isEmpty {
                        #expect(found.rows == whole.rows, "byte \(offset)")
                    } else {
                        detected += 1
                    }
                    #expect(found.damages.allSatisfy { $0.file.hasSuffix(table) }, "byte \(offset): \(found.damages)")
                } catch {
                    detected += 1
                }
            }
            #expect(detected > sound.count / 6)
            try sound.write(to: URL(filePath: path))
            #expect(try scratch.files("db").sorted() == files)
            #expect(try read(directory).rows == whole.rows)
        }

        @Test("reading goes on behind damage")
        func goesOn() throws {
            let scratch = try Scratch()
            let engine = try RocksEngine(directory: scratch.path("db"))
            for table in 0..<3 {
                var batch = WriteBatch()
                for row in 0..<50 { batch.put(Array("key \(table) \(100 + row)".utf8), Array("value \(row)".utf8)) }
                try engine.write(batch)
                try engine.flush()
            }
            let tables = try scratch.files("db").filter { $0.hasSuffix(".sst") }.sorted()
            #expect(tables.count == 3)
            let path = scratch.path("db/\(tables[1])")
            var bytes = try #require(FileManager.default.contents(atPath: path))
            bytes[20] ^= 1
            try bytes.write(to: URL(filePath: path))
            let found = try read(scratch.path("db"))
            #expect(
                found.damages.count == 1 && found.damages[0].file.hasSuffix(tables[1]) && found.damages[0].offset == 0)
            #expect(
                found.rows.keys.contains(Array("key 2 100".utf8)) && !found.rows.keys.contains(Array("key 1 100".utf8)))
            withExtendedLifetime(engine) {}
        }
    }
}
