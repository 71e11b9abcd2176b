import Disk
import Foundation
import Synchronization

/// The real file system, but for what a test breaks of it.
final class BrokenFileSystem: FileSystem {
    struct Faults: Sendable {
        /// What is written to files whose path contains it is there, and their sync fails.
        var failingSync: String?
        /// There is no room for files whose path contains it.
        var noRoomFor: String?
        /// Bytes free on the volume, of which each file takes what is reserved for it; nil: as it is.
        var freeSpace: Int?
        var heldSync: HeldSync?
    }

    /// The sync of files whose path contains `path` says that it has begun, and waits until it may go on.
    struct HeldSync: Sendable {
        var path: String
        let hasBegun = DispatchSemaphore(value: 0)
        let mayGoOn = DispatchSemaphore(value: 0)
    }

    let faults = Mutex(Faults())
    private let disk = PosixFileSystem()

    func open(_ path: String, _ mode: FileMode) throws(DiskError) -> any File {
        BrokenFile(try disk.open(path, mode), on: self)
    }

    func list(_ directory: String) throws(DiskError) -> [String] { try disk.list(directory) }
    func exists(_ path: String) throws(DiskError) -> Bool { try disk.exists(path) }
    func createDirectory(_ path: String) throws(DiskError) { try disk.createDirectory(path) }
    func rename(_ source: String, to target: String) throws(DiskError) { try disk.rename(source, to: target) }
    func remove(_ path: String) throws(DiskError) { try disk.remove(path) }
    func syncDirectory(_ directory: String) throws(DiskError) { try disk.syncDirectory(directory) }

    func freeSpace(_ directory: String) throws(DiskError) -> Int {
        if let left = faults.withLock({ $0.freeSpace }) { return left }
        return try disk.freeSpace(directory)
    }
}

private final class BrokenFile: File {
    private let file: any File
    private let fileSystem: BrokenFileSystem

    init(_ file: any File, on fileSystem: BrokenFileSystem) {
        self.file = file
        self.fileSystem = fileSystem
    }

    var path: String { file.path }
    func size() throws(DiskError) -> Int { try file.size() }
    func read(at offset: Int, count: Int) throws(DiskError) -> [UInt8] { try file.read(at: offset, count: count) }
    func write(_ pieces: [[UInt8]], at offset: Int) throws(DiskError) { try file.write(pieces, at: offset) }
    func truncate(to size: Int) throws(DiskError) { try file.truncate(to: size) }
    func beginSync(_ range: Range<Int>) { file.beginSync(range) }

    func preallocate(_ size: Int) throws(DiskError) {
        let faults = fileSystem.faults.withLock { faults in
            faults.freeSpace = faults.freeSpace.map { $0 - size }
            return faults
        }
        if let part = faults.noRoomFor, path.contains(part) {
            throw DiskError(.noSpace, .preallocate, path: path, reason: "no room in this test")
        }
        try file.preallocate(size)
    }

    func sync() throws(DiskError) {
        let faults = fileSystem.faults.withLock { $0 }
        if let held = faults.heldSync, path.contains(held.path) {
            held.hasBegun.signal()
            held.mayGoOn.wait()
        }
        if let part = faults.failingSync, path.contains(part) {
            throw DiskError(.io, .sync, path: path, reason: "it fails in this test")
        }
        try file.sync()
    }
}
