import Basics
import Disk
import Foundation
import MetadataMachine
import MetadataModel
import RaftCore
import ReplicaCore
import ReplicaStorage
import Snapshots
import StateEngine
import Testing

/// A snapshot on a node's own disk: every byte of it turned, zeroed, and every length cut.
@Suite struct ScrubbedSnapshotTests {
    /// What a scrub says of the directory: the damaged files.
    private func scrub(_ keeper: SnapshotKeeper) throws -> (files: [String], byteCount: Int) {
        var walk = SnapshotScrub()
        var files: [String] = []
        var size = 0
        while let step = try keeper.scrub(&walk) {
            size += step.byteCount
            if let damage = step.damage { files.append(damage.file) }
        }
        return (files, size)
    }

    @Test("each is found by a scrub, and never becomes a state", .timeLimit(.minutes(5)))
    func everyByte() throws {
        let directory = "\(NSTemporaryDirectory())/quorate-scrubbed-\(UUID().uuidString)"
        try FileManager.default.createDirectory(
            atPath: directory, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o700])
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let fileSystem = PosixFileSystem()
        let engine = MemoryEngine()
        var batch = WriteBatch()
        for number in 0..<4 { batch.put([0x10] + Array("key/\(number)".utf8), [UInt8](repeating: UInt8(number), count: 20)) }
        engine.write(batch)
        let digest = try ContentDigest(ofRowsIn: Keyspace.carried, of: engine)
        let keeper = try SnapshotKeeper(fileSystem: fileSystem, dataDirectory: directory, cluster: TestNode.cluster)
        let members = Membership(
            members: [Member(id: TestNode.id, name: TestNode.name, peerAddress: "127.0.0.1:7501")],
            incoming: [TestNode.id])
        let machine = try Machine(engine: engine, node: TestNode.id)
        let point = try keeper.build(try machine.snapshotSource(), founding: members)
        let files = ["manifest", "chunk-0"].map { "\(directory)/snapshots/\(point.last.index)-\(point.last.term)/\($0)" }
        let sound = try scrub(keeper)
        #expect(sound.files.isEmpty && sound.byteCount > 0)
        var harmless = 0
        var count = 0
        for path in files {
            let bytes = try [UInt8](Data(contentsOf: URL(filePath: path)))
            var versions: [(String, [UInt8])] = []
            for offset in bytes.indices {
                for bit in 0..<8 {
                    var changed = bytes
                    changed[offset] ^= 1 << UInt8(bit)
                    versions.append(("byte \(offset) bit \(bit)", changed))
                }
                var zeroed = bytes
                zeroed[offset] = 0
                if zeroed != bytes { versions.append(("byte \(offset) zero", zeroed)) }
                versions.append(("cut to \(offset)", Array(bytes[..<offset])))
            }
            for (what, changed) in versions {
                count += 1
                try write(changed, to: path)
                let found = try scrub(keeper)
                var told = 0
                let target = MemoryEngine()
                do {
                    if let newest = try keeper.newest(damaged: { _ in told += 1 }) {
                        try keeper.restore(newest, into: target)
                        #expect(try ContentDigest(ofRowsIn: Keyspace.carried, of: target) == digest, "\(path) \(what)")
                    } else {
                        // Without a manifest it is no snapshot.
                        #expect(told == 1 || changed.isEmpty, "\(path) \(what)")
                    }
                } catch {
                    told += 1
                }
                if found.files.isEmpty { harmless += 1 }
                #expect(found.files == [path] || (found.files.isEmpty && changed.isEmpty), "\(path) \(what): \(found)")
            }
            try write(bytes, to: path)
        }
        #expect(try scrub(keeper).files.isEmpty)
        print("\(count) damaged forms of a snapshot: \(count - harmless) named, \(harmless) no snapshot at all")
    }

    private func write(_ bytes: [UInt8], to path: String) throws {
        let file = try FileHandle(forUpdating: URL(filePath: path))
        defer { try? file.close() }
        try file.truncate(atOffset: 0)
        try file.write(contentsOf: Data(bytes))
    }
}
