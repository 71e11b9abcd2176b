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

/// A manifest on its way to another node, which may be larger than a frame.
@Suite struct GivenManifestTests {
    @Test("its pieces, put together, are the file; one that is damaged is not begun to be given")
    func pieces() throws {
        let directory = "\(NSTemporaryDirectory())/quorate-given-\(UUID().uuidString)"
        try FileManager.default.createDirectory(
            atPath: directory, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o700])
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let keeper = try SnapshotKeeper(
            fileSystem: PosixFileSystem(), dataDirectory: directory, cluster: TestNode.cluster)
        let engine = MemoryEngine()
        var batch = WriteBatch()
        for number in 0..<4 { batch.put([0x10] + Array("key/\(number)".utf8), [UInt8](repeating: UInt8(number), count: 20)) }
        engine.write(batch)
        let members = Membership(
            members: [Member(id: TestNode.id, name: TestNode.name, peerAddress: "127.0.0.1:7501")],
            incoming: [TestNode.id])
        let machine = try Machine(engine: engine, node: TestNode.id)
        let last = try keeper.build(try machine.snapshotSource(), founding: members).last
        let file = URL(filePath: "\(directory)/snapshots/\(last.index)-\(last.term)/manifest")
        let sound = try [UInt8](Data(contentsOf: file))
        func load(_ offset: Int, _ sizeMax: Int) throws -> (bytes: [UInt8], itemSize: Int) {
            try keeper.load(SnapshotPiece(last: last, chunk: nil, offset: UInt32(offset)), sizeMax: sizeMax)
        }
        for sizeMax in [1, 7, sound.count - 1, sound.count, sound.count + 1] {
            var joined: [UInt8] = []
            while joined.count < sound.count {
                let (bytes, itemSize) = try load(joined.count, sizeMax)
                #expect(bytes.count == min(sizeMax, sound.count - joined.count) && itemSize == sound.count)
                try #require(!bytes.isEmpty)
                joined += bytes
            }
            #expect(joined == sound)
        }
        for offset in [sound.count, sound.count + 1, Int(UInt32.max)] { #expect(try load(offset, 100).bytes.isEmpty) }
        let other = EntryID(term: last.term, index: last.index.next)
        for offset in [0, 7] as [UInt32] {
            #expect(try keeper.load(SnapshotPiece(last: other, chunk: nil, offset: offset), sizeMax: 100).bytes.isEmpty)
        }
        // Not in its first piece.
        var damaged = sound
        damaged[sound.count - 1] ^= 4
        try write(damaged, to: file)
        #expect(throws: SnapshotKeeperError.self) { try load(0, 100) }
    }

    private func write(_ bytes: [UInt8], to path: URL) throws {
        let file = try FileHandle(forUpdating: path)
        defer { try? file.close() }
        try file.truncate(atOffset: 0)
        try file.write(contentsOf: Data(bytes))
    }
}
