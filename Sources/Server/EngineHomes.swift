internal import Disk
internal import Foundation
internal import ReplicaStorage
internal import RocksEngine
internal import StateEngine

/// The state in RocksDB: directories `state-N` below the data directory, and the file `state` that names the live one.
final class RocksHome: EngineHome {
    private let directory: String
    private let fileSystem: any FileSystem

    init(directory: String, fileSystem: any FileSystem) {
        self.directory = directory
        self.fileSystem = fileSystem
    }

    var isVolatile: Bool { false }

    func openLive() throws(EngineError) -> RocksEngine {
        try RocksEngine(directory: path(of: try liveNumber()))
    }

    func makeSuccessor() throws(EngineError) -> RocksEngine {
        let path = path(of: try liveNumber() + 1)
        removeTree(path)
        return try RocksEngine(directory: path)
    }

    func adoptSuccessor() throws(EngineError) {
        let number = try liveNumber() + 1
        try onDisk { () throws(DiskError) in
            try fileSystem.replaceFile("state", in: directory, with: Array("\(number)\n".utf8))
        }
    }

    func removeOthers() throws(EngineError) {
        let live = try liveNumber()
        let names = try onDisk { () throws(DiskError) in try fileSystem.list(directory) }
        for name in names where name.hasPrefix("state-") && name != "state-\(live)" {
            removeTree("\(directory)/\(name)")
        }
    }

    /// The directory of the live state, whether it is there or not.
    func livePath() throws(EngineError) -> String { path(of: try liveNumber()) }

    private func path(of number: Int) -> String { "\(directory)/state-\(number)" }

    private func liveNumber() throws(EngineError) -> Int {
        let path = "\(directory)/state"
        let text = try onDisk { () throws(DiskError) in
            guard try fileSystem.exists(path) else { return "1" }
            let bytes = try fileSystem.open(path, .existing).read(at: 0, count: 32)
            return String(decoding: bytes, as: UTF8.self)
        }
        guard let number = Int(text.trimmingCharacters(in: .whitespacesAndNewlines)), number > 0 else {
            throw .corrupt("\(path) does not name a state")
        }
        return number
    }

    private func removeTree(_ path: String) { try? FileManager.default.removeItem(atPath: path) }

    private func onDisk<T>(_ body: () throws(DiskError) -> T) throws(EngineError) -> T {
        do throws(DiskError) {
            return try body()
        } catch {
            throw .io(error.description)
        }
    }
}

/// The state in memory. It is gone when the process ends, and comes back from the newest snapshot and the log after it.
final class MemoryHome: EngineHome {
    init() {}

    var isVolatile: Bool { true }
    func openLive() -> MemoryEngine { MemoryEngine() }
    func makeSuccessor() -> MemoryEngine { MemoryEngine() }
    func adoptSuccessor() {}
    func removeOthers() {}
}
