internal import Basics
package import Disk
internal import Foundation
internal import ReplicaStorage
package import RocksEngine
package import StateEngine
internal import Synchronization

/// The state in RocksDB: directories `state-N` below the data directory, and the file `state` that names the live one;
/// without that file it is `state-1`, or the only one that is there.
///
///     state-N crc32c C\n       C: that of "state-N", eight hexadecimal digits
package final class RocksHome: EngineHome {
    private let directory: String
    private let fileSystem: any FileSystem
    /// The number of the one that was made last and is not live yet.
    private let successor = Mutex<Int?>(nil)

    static let fileName = "state"

    package init(directory: String, fileSystem: any FileSystem) {
        self.directory = directory
        self.fileSystem = fileSystem
    }

    package var isVolatile: Bool { false }

    package func openLive() throws(EngineError) -> RocksEngine {
        removeTree("\(directory)/\(Self.checkpointName)")
        let path = try livePath()
        // Where CURRENT is lost RocksDB makes a new database and removes the tables of the old one.
        let files = try onDisk { () throws(DiskError) in try fileSystem.exists(path) ? fileSystem.list(path) : [] }
        if files.contains(where: { $0.hasSuffix(".sst") }) { try checkCurrent(in: path) }
        return try RocksEngine(directory: path)
    }

    package func makeSuccessor() throws(EngineError) -> RocksEngine {
        // Beside everything there is: when nobody knows which is live, none is written over.
        let number: Int
        do throws(EngineError) {
            number = try liveNumber() + 1
        } catch {
            guard case .corrupt = error else { throw error }
            number = (try stateNumbers().max() ?? 0) + 1
        }
        removeTree(path(of: number))
        successor.withLock { $0 = number }
        return try RocksEngine(directory: path(of: number))
    }

    package func adoptSuccessor() throws(EngineError) {
        guard let number = successor.withLock({ $0 }) else { throw .io("there is no state to adopt in \(directory)") }
        try onDisk { () throws(DiskError) in
            try fileSystem.replaceFile(Self.fileName, in: directory, with: Self.encoded(number))
        }
        successor.withLock { $0 = nil }
    }

    package func discardSuccessor() {
        let number = successor.withLock { number in
            defer { number = nil }
            return number
        }
        if let number { removeTree(path(of: number)) }
    }

    package func removeOthers() throws(EngineError) {
        let live = try liveNumber()
        for number in try stateNumbers() where number != live { removeTree(path(of: number)) }
    }

    package func beginFlush(_ engine: RocksEngine) -> @Sendable () -> Void { engine.beginFlush() }

    package func openStored(_ engine: RocksEngine) throws(EngineError) -> any StoredRows {
        let original = try livePath()
        let checkpoint = "\(directory)/\(Self.checkpointName)"
        removeTree(checkpoint)
        do throws(EngineError) {
            try checkCurrent(in: original)
            return CheckpointedRows(
                try RocksStoredRows(of: engine, checkpoint: checkpoint, original: original), at: checkpoint)
        } catch {
            removeTree(checkpoint)
            guard case .corrupt(let text) = error else { throw error }
            let damage = RocksStoredRows.damage(text, checkpoint: checkpoint, original: original)
            throw .corrupt(damage.reason)
        }
    }

    /// Nobody reads it while the database is open, and without it the database does not open again.
    private func checkCurrent(in state: String) throws(EngineError) {
        let path = "\(state)/CURRENT"
        let problem: String?
        do throws(DiskError) {
            let text = String(decoding: try fileSystem.open(path, .readOnly).read(at: 0, count: 256), as: UTF8.self)
            let name = text.dropLast()
            let isName = text.hasSuffix("\n") && name.hasPrefix("MANIFEST-") && Int(name.dropFirst(9)) != nil
            let isThere = isName ? try fileSystem.exists("\(state)/\(name)") : false
            problem = isThere ? nil : "it names no MANIFEST that is there"
        } catch {
            problem = error.description
        }
        if let problem { throw .corrupt("Corruption: \(path): \(problem)") }
    }

    /// Where the files of the live state are linked to while they are verified; a crash may leave it.
    private static let checkpointName = "scrub-state"

    /// The directory of the live state, whether it is there or not.
    package func livePath() throws(EngineError) -> String { path(of: try liveNumber()) }

    private func path(of number: Int) -> String { "\(directory)/state-\(number)" }

    private func liveNumber() throws(EngineError) -> Int {
        let path = "\(directory)/\(Self.fileName)"
        let bytes = try onDisk { () throws(DiskError) -> [UInt8]? in
            guard try fileSystem.exists(path) else { return nil }
            return try fileSystem.open(path, .existing).read(at: 0, count: 256)
        }
        let there = try stateNumbers()
        guard let bytes else {
            if there.isEmpty || there.contains(1) { return 1 }
            guard there.count == 1 else {
                throw .corrupt("\(path) is missing, and \(there.count) states could be the one it named")
            }
            return there[0]
        }
        if let number = Self.number(in: bytes) {
            guard there.contains(number) else { throw .corrupt("\(path) names state-\(number), which is not there") }
            return number
        }
        // A successor is never there without the state that it succeeds: if there is one, it is the live one.
        guard there.count == 1 else {
            throw .corrupt("\(path) is damaged, and \(there.count) states could be the one it names")
        }
        return there[0]
    }

    /// Throws when the file that names the live state does not do so.
    func checkName() throws {
        let path = "\(directory)/\(Self.fileName)"
        guard try fileSystem.exists(path) else { return }
        let bytes = try fileSystem.open(path, .existing).read(at: 0, count: 256)
        guard let number = Self.number(in: bytes), try stateNumbers().contains(number) else {
            throw EngineError.corrupt("\(path) names no state that is there")
        }
    }

    /// Possible where there is only one state.
    func rewriteName() throws {
        try fileSystem.replaceFile(Self.fileName, in: directory, with: Self.encoded(try liveNumber()))
    }

    private func stateNumbers() throws(EngineError) -> [Int] {
        let names = try onDisk { () throws(DiskError) in try fileSystem.list(directory) }
        return names.compactMap { $0.hasPrefix("state-") ? Int($0.dropFirst("state-".count)) : nil }
    }

    private static func encoded(_ number: Int) -> [UInt8] {
        let name = Array("state-\(number)".utf8)
        let checksum = String(CRC32C.checksum(of: name.rawSpan), radix: 16)
        return name + Array(" crc32c \(String(repeating: "0", count: 8 - checksum.count))\(checksum)\n".utf8)
    }

    /// Nil when the bytes are not what `encoded` makes of any number.
    private static func number(in bytes: [UInt8]) -> Int? {
        let digits = bytes.dropFirst("state-".utf8.count).prefix { $0 != UInt8(ascii: " ") }
        guard let number = Int(String(decoding: digits, as: UTF8.self)), number > 0 else { return nil }
        return bytes == encoded(number) ? number : nil
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

/// Takes the links away when the rows are read.
private final class CheckpointedRows: StoredRows {
    private let rows: RocksStoredRows
    private let directory: String

    init(_ rows: RocksStoredRows, at directory: String) {
        self.rows = rows
        self.directory = directory
    }

    deinit { try? FileManager.default.removeItem(atPath: directory) }

    func read(
        bytesMax: Int, _ body: (_ key: RawSpan, _ value: RawSpan) -> Void, damaged: (RowDamage) -> Void
    ) throws(EngineError) -> Bool {
        try rows.read(bytesMax: bytesMax, body, damaged: damaged)
    }
}

/// The state in memory. It is gone when the process ends, and comes back from the newest snapshot and the log after it.
package final class MemoryHome: EngineHome {
    package init() {}

    package var isVolatile: Bool { true }
    package func openLive() -> MemoryEngine { MemoryEngine() }
    package func makeSuccessor() -> MemoryEngine { MemoryEngine() }
    package func adoptSuccessor() {}
    package func discardSuccessor() {}
    package func removeOthers() {}
    package func beginFlush(_ engine: MemoryEngine) -> @Sendable () -> Void { {} }
    package func openStored(_ engine: MemoryEngine) -> any StoredRows { MemoryStoredRows(engine.makeView()) }
}
