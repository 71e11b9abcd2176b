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

/// What snapshots may take of a disk, and what they leave on it when they come to nothing.
@Suite struct SnapshotSpaceTests {
    private static let mebibyte = 1 << 20
    private static let members = Membership(
        members: [Member(id: TestNode.id, name: TestNode.name, peerAddress: "127.0.0.1:7501")], incoming: [TestNode.id])

    private func withDirectory(_ body: (String) throws -> Void) throws {
        let path = "\(NSTemporaryDirectory())/quorate-space-\(UUID().uuidString)"
        try FileManager.default.createDirectory(
            atPath: path, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o700])
        defer { try? FileManager.default.removeItem(atPath: path) }
        try body(path)
    }

    private func keeper(_ directory: String, _ disk: BrokenFileSystem) throws -> SnapshotKeeper {
        try SnapshotKeeper(fileSystem: disk, dataDirectory: directory, cluster: TestNode.cluster)
    }

    /// A state whose snapshot has several chunks.
    private func machine() throws -> Machine<MemoryEngine> {
        let engine = MemoryEngine()
        var batch = WriteBatch()
        var random = SplitMix64(seed: 6)
        for number in 0..<150 {
            let value = (0..<20_000).map { _ in UInt8(truncatingIfNeeded: random.next()) }
            batch.put([0x10] + Array("key/\(number + 1_000)".utf8), value)
        }
        engine.write(batch)
        return try Machine(engine: engine, node: TestNode.id)
    }

    private func names(in directory: String) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: "\(directory)/snapshots").sorted()
    }

    /// As a process leaves it that was killed.
    private func leave(_ name: String, in directory: String) throws {
        let path = "\(directory)/snapshots/\(name)"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
        try Data("rows".utf8).write(to: URL(filePath: "\(path)/chunk-0"))
    }

    @Test("one that is made takes nothing of the reserve, and nothing of it is left when that is all there is")
    func makingLeavesReserve() throws {
        let machine = try machine()
        try withDirectory { (directory: String) throws in
            let disk = BrokenFileSystem()
            let snapshots = try keeper(directory, disk)
            let reserve = 8 * Self.mebibyte
            snapshots.spaceKept = (making: reserve, taking: reserve / 2)
            try leave("7-1", in: directory)
            disk.faults.withLock { $0.freeSpace = reserve + Self.mebibyte }
            let error = #expect(throws: SnapshotKeeperError.self) {
                try snapshots.build(try machine.snapshotSource(), founding: Self.members)
            }
            #expect(error?.isLackOfSpace == true)
            let left = disk.faults.withLock { $0.freeSpace ?? 0 }
            #expect(left >= reserve && left < reserve + Self.mebibyte, "\(left)")
            #expect(try names(in: directory) == [])
            // Space is enough.
            disk.faults.withLock { $0.freeSpace = 2 * reserve }
            let point = try snapshots.build(try machine.snapshotSource(), founding: Self.members)
            #expect(try names(in: directory) == ["\(point.last.index)-\(point.last.term)"])
        }
    }

    @Test("one for which the disk has no room after all is gone again")
    func makingFindsNoRoom() throws {
        let machine = try machine()
        try withDirectory { (directory: String) throws in
            let disk = BrokenFileSystem()
            let snapshots = try keeper(directory, disk)
            disk.faults.withLock { $0.noRoomFor = "/chunk-1" }
            let error = #expect(throws: SnapshotKeeperError.self) {
                try snapshots.build(try machine.snapshotSource(), founding: Self.members)
            }
            #expect(error?.isLackOfSpace == true)
            #expect(try names(in: directory) == [])
        }
    }

    @Test("one that is taken leaves half of the reserve, and gives its space back")
    func takingLeavesHalf() throws {
        let taken = try FlippedSnapshotTests.taken(rows: 30, valueSize: 20_000)
        try withDirectory { (directory: String) throws in
            let disk = BrokenFileSystem()
            let snapshots = try keeper(directory, disk)
            snapshots.spaceKept = (making: 8 * Self.mebibyte, taking: 4 * Self.mebibyte)
            disk.faults.withLock { $0.freeSpace = 6 * Self.mebibyte }
            _ = try snapshots.begin(taken.manifest.encoded())
            try snapshots.store(taken.chunks[0].bytes, number: 0)
            disk.faults.withLock { $0.freeSpace = 4 * Self.mebibyte + 1_000 }
            let error = #expect(throws: SnapshotKeeperError.self) { try snapshots.store(taken.chunks[1].bytes, number: 1) }
            #expect(error?.isLackOfSpace == true)
            #expect(try names(in: directory) == [])
            disk.faults.withLock { $0.freeSpace = 6 * Self.mebibyte }
            #expect(try snapshots.begin(taken.manifest.encoded()).firstMissing == 0)
            for chunk in taken.chunks { try snapshots.store(chunk.bytes, number: UInt32(chunk.number)) }
            disk.faults.withLock { $0.freeSpace = 4 * Self.mebibyte }
            #expect(throws: SnapshotKeeperError.self) { try snapshots.install(into: MemoryEngine()) }
            #expect(try names(in: directory) == [])
        }
    }

    @Test("a start removes what nobody goes on with, and keeps what is still being taken")
    func remains() throws {
        let directory = try NodeDirectory { _ in MemoryHome() }
        let before = try names(in: directory.path)
        #expect(before == ["90-1"])
        for name in ["101-1", "incoming-60-1", "incoming-500-1"] { try leave(name, in: directory.path) }
        let opened = try directory.open()
        #expect(opened.state.machine.applied.last.index == LogIndex(90))
        #expect(try names(in: directory.path) == ["90-1", "incoming-500-1"])
    }
}
