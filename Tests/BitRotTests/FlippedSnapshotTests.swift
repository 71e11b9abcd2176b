import Basics
import Disk
import Foundation
import MetadataMachine
import MetadataModel
import RaftCore
import ReplicaCore
import ReplicaStorage
import Server
import Snapshots
import StateEngine
import Synchronization
import Testing

/// Snapshots outside of a node's own state: the file that an operator has saved, and what a transfer that was cut off
/// has left.
@Suite struct FlippedSnapshotTests {
    private static let members = Membership(
        members: [Member(id: TestNode.id, name: TestNode.name, peerAddress: "127.0.0.1:7501")], incoming: [TestNode.id])

    /// A snapshot of another member, at 200-1.
    static func taken(rows: Int, valueSize: Int) throws -> (manifest: SnapshotManifest, chunks: [SnapshotChunk]) {
        var random = SplitMix64(seed: 4)
        return try taken(
            (0..<rows).map { _ in (0..<8 + valueSize).map { _ in UInt8(truncatingIfNeeded: random.next()) } })
    }

    private static func taken(
        _ values: [[UInt8]]
    ) throws -> (manifest: SnapshotManifest, chunks: [SnapshotChunk]) {
        let engine = MemoryEngine()
        var batch = WriteBatch()
        for (number, value) in values.enumerated() {
            batch.put([0x10] + Array("key/\(number + 1_000)".utf8), value)
        }
        engine.write(batch)
        let members = SnapshotMembership(
            stored: StoredMembership(index: LogIndex(1), membership: Self.members), info: [])
        let builder = SnapshotBuilder(
            engine.makeView(), ranges: Keyspace.carried,
            head: SnapshotHead(
                cluster: TestNode.cluster, revision: EntryID(term: Term(1), index: LogIndex(200)),
                time: ClusterTime(nanoseconds: 1_700_000_000_000_000_000), changeDigest: 1,
                membership: members.encoded(), sessions: NoSessions.encoded))
        var chunks: [SnapshotChunk] = []
        while let chunk = try builder.nextChunk() { chunks.append(chunk) }
        return (builder.manifest(), chunks)
    }

    private func withDirectory(_ body: (String) throws -> Void) throws {
        let path = "\(NSTemporaryDirectory())/quorate-flipped-\(UUID().uuidString)"
        try FileManager.default.createDirectory(
            atPath: path, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o700])
        defer { try? FileManager.default.removeItem(atPath: path) }
        try body(path)
    }

    @Test("a saved file with any bit flipped is refused, with its name and an offset", arguments: [1, 3])
    func savedFile(_ rows: Int) throws {
        let taken = try Self.taken(rows: rows, valueSize: 10)
        var writer = SnapshotFileWriter()
        var bytes = writer.header
        for chunk in taken.chunks {
            bytes += chunk.bytes
            writer.add(chunk)
        }
        bytes += writer.finish(taken.manifest)
        try withDirectory { (directory: String) throws in
            let path = "\(directory)/saved"
            func read(_ bytes: [UInt8]) throws -> UInt64 {
                try Data(bytes).write(to: URL(filePath: path))
                return try StoredSnapshot(path).verify()
            }
            let count = try read(bytes)
            #expect(count == UInt64(rows))
            for offset in bytes.indices {
                for bit in 0..<8 {
                    var damaged = bytes
                    damaged[offset] ^= 1 << bit
                    let error = #expect(throws: SnapshotFileError.self, "byte \(offset), bit \(bit)") {
                        try read(damaged)
                    }
                    let text = error?.description ?? ""
                    #expect(text.contains(path) && text.contains("offset"), "byte \(offset), bit \(bit): \(text)")
                }
            }
        }
    }

    @Test("a saved file goes to the disk while it grows, and what fails there ends it before its last part has come")
    func savedWhileItGrows() throws {
        var random = SplitMix64(seed: 9)
        // A revision, and what does not pack; so large that each row is a chunk by itself.
        var value: [UInt8] = [1, 0, 0, 0, 0, 0, 0, 0]
        for _ in 0..<1_000_000 { value.append(UInt8(truncatingIfNeeded: random.next())) }
        let taken = try Self.taken(Array(repeating: value, count: 20))
        #expect(taken.chunks.count == 20)
        try withDirectory { (directory: String) throws in
            let path = "\(directory)/saved"
            let disk = BrokenFileSystem()
            let sink = try SnapshotSink(path, on: disk)
            for chunk in taken.chunks { try sink.append(chunk: chunk.bytes) }
            #expect(try sink.finish(manifest: taken.manifest.encoded()).rowCount == 20)
            #expect(try StoredSnapshot(path).verify() == 20)
            disk.faults.withLock { $0.failingSync = "/saved.partial" }
            let error = #expect(throws: SnapshotFileError.self) {
                let sink = try SnapshotSink(path, on: disk)
                for chunk in taken.chunks { try sink.append(chunk: chunk.bytes) }
            }
            #expect(error?.code == "file")
            #expect(try FileManager.default.contentsOfDirectory(atPath: directory) == ["saved"])
            #expect(try StoredSnapshot(path).verify() == 20)
        }
    }

    @Test("a piece whose sync has failed is fetched again, although it can be read")
    func unsyncedPiece() throws {
        let taken = try Self.taken(rows: 30, valueSize: 20_000)
        try withDirectory { (directory: String) throws in
            let disk = BrokenFileSystem()
            func keeper() throws -> SnapshotKeeper {
                try SnapshotKeeper(fileSystem: disk, dataDirectory: directory, cluster: TestNode.cluster)
            }
            let first = try keeper()
            _ = try first.begin(taken.manifest.encoded())
            try first.store(taken.chunks[0].bytes, number: 0)
            disk.faults.withLock { $0.failingSync = "/chunk-1" }
            #expect(throws: SnapshotKeeperError.self) { try first.store(taken.chunks[1].bytes, number: 1) }
            disk.faults.withLock { $0.failingSync = nil }
            // Each byte of it is there, for as long as the machine has power.
            let again = try keeper()
            #expect(try again.begin(taken.manifest.encoded()).firstMissing == 1)
            for chunk in taken.chunks[1...] { try again.store(chunk.bytes, number: UInt32(chunk.number)) }
            try again.keepTaken()
            #expect(try again.newest(damaged: { _ in }) == taken.manifest)
            let names = try FileManager.default.contentsOfDirectory(atPath: "\(directory)/snapshots/200-1")
            #expect(names.sorted() == (taken.chunks.map { "chunk-\($0.number)" } + ["manifest"]).sorted())
        }
    }

    @Test("what a transfer that was cut off has left, with any bit flipped, is fetched again and never installed")
    func takenPieces() throws {
        let taken = try Self.taken(rows: 30, valueSize: 20_000)
        #expect(taken.chunks.count > 1)
        let digest = taken.manifest.contentDigest
        try withDirectory { (directory: String) throws in
            func keeper() throws -> SnapshotKeeper {
                try SnapshotKeeper(
                    fileSystem: PosixFileSystem(), dataDirectory: directory, cluster: TestNode.cluster)
            }
            let first = try keeper()
            _ = try first.begin(taken.manifest.encoded())
            try first.store(taken.chunks[0].bytes, number: 0)
            let file = "\(directory)/snapshots/incoming-200-1/chunk-0"
            let sound = try Data(contentsOf: URL(filePath: file))
            #expect(try keeper().begin(taken.manifest.encoded()).firstMissing == 1)
            var random = SplitMix64(seed: 8)
            for round in 0..<200 {
                var damaged = sound
                let offset = round < 24 ? round : Int(random.next() % UInt64(sound.count))
                damaged[offset] ^= 1 << UInt8(random.next() % 8)
                try damaged.write(to: URL(filePath: file))
                #expect(try keeper().begin(taken.manifest.encoded()).firstMissing == 0, "byte \(offset)")
            }
            // The rest comes, and the piece again; then one is damaged between its coming and the install.
            let last = try keeper()
            _ = try last.begin(taken.manifest.encoded())
            for chunk in taken.chunks { try last.store(chunk.bytes, number: UInt32(chunk.number)) }
            var damaged = sound
            damaged[sound.count / 2] ^= 4
            try damaged.write(to: URL(filePath: file))
            let error = #expect(throws: SnapshotKeeperError.self) { try last.install(into: MemoryEngine()) }
            #expect(error?.description.contains("incoming-200-1/chunk-0") == true, "\(String(describing: error))")

            let again = try keeper()
            #expect(try again.begin(taken.manifest.encoded()).firstMissing == 0)
            for chunk in taken.chunks { try again.store(chunk.bytes, number: UInt32(chunk.number)) }
            let engine = MemoryEngine()
            _ = try again.install(into: engine)
            #expect(try ContentDigest(ofRowsIn: Keyspace.carried, of: engine) == digest)
        }
    }
}
