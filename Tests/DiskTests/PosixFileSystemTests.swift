import Disk
import Foundation
import Testing

@Suite struct PosixFileSystemTests {
    let fileSystem = PosixFileSystem()

    /// Runs `body` in a fresh directory.
    private func inDirectory(_ body: (String) throws -> Void) throws {
        let path = NSTemporaryDirectory() + "quorate-disk-" + UUID().uuidString
        try fileSystem.createDirectory(path)
        defer { try? FileManager.default.removeItem(atPath: path) }
        try body(path)
    }

    private func mode(_ path: String) throws -> Int {
        (try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int) ?? -1
    }

    @Test("Many pieces are written back to back, and read back")
    func pieces() throws {
        try inDirectory { directory in
            let file = try fileSystem.open("\(directory)/f", .create)
            let pieces = (0..<300).map { [UInt8](repeating: UInt8($0 & 255), count: $0 % 7) }
            try file.write(pieces, at: 10)
            try file.sync()
            let expected = [UInt8](repeating: 0, count: 10) + pieces.flatMap { $0 }
            #expect(try file.size() == expected.count)
            #expect(try file.read(at: 0, count: 10_000) == expected)
            #expect(try file.read(at: expected.count + 5, count: 3) == [])
            try file.truncate(to: 12)
            #expect(try file.size() == 12)
        }
    }

    @Test("What begins to be synced is there as before, wherever the range ends")
    func beginSync() throws {
        try inDirectory { directory in
            let file = try fileSystem.open("\(directory)/f", .create)
            let bytes = (0..<300_000).map { UInt8(truncatingIfNeeded: $0 / 7) }
            try file.write([bytes], at: 0)
            file.beginSync(0..<1)
            file.beginSync(5_000..<150_001)
            file.beginSync(150_001..<1_000_000)
            #expect(try file.read(at: 0, count: 1_000_000) == bytes)
            try file.sync()
            #expect(try fileSystem.open("\(directory)/f", .existing).read(at: 0, count: 1_000_000) == bytes)
        }
    }

    @Test("Files are made 0600 and directories 0700, whatever the umask")
    func modes() throws {
        try inDirectory { directory in
            _ = try fileSystem.open("\(directory)/f", .create)
            #expect(try mode("\(directory)/f") == 0o600)
            #expect(try mode(directory) == 0o700)
        }
    }

    @Test("What others may read is refused, and the message says what to do", arguments: [0o640, 0o604, 0o660])
    func wideFile(mode: Int) throws {
        try inDirectory { directory in
            let path = "\(directory)/f"
            _ = try fileSystem.open(path, .create)
            try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: path)
            let error = #expect(throws: DiskError.self) { try fileSystem.open(path, .existing) }
            #expect(error?.kind == .permission)
            #expect(error?.description.contains("chmod 600 \(path)") == true)
            _ = try fileSystem.open(path, .readOnly)
        }
    }

    @Test("A directory that others may enter is refused")
    func wideDirectory() throws {
        try inDirectory { directory in
            try fileSystem.requirePrivate(directory)
            try FileManager.default.setAttributes([.posixPermissions: 0o750], ofItemAtPath: directory)
            let error = #expect(throws: DiskError.self) { try fileSystem.requirePrivate(directory) }
            #expect(error?.description.contains("chmod 700 \(directory)") == true)
        }
    }

    @Test("Two processes never share a data directory; the lock goes with its holder")
    func locking() throws {
        try inDirectory { directory in
            var lock: DirectoryLock? = try fileSystem.lock(directory)
            let error = #expect(throws: DiskError.self) { try fileSystem.lock(directory) }
            #expect(error?.kind == .locked)
            #expect(lock != nil)
            lock = nil
            _ = try fileSystem.lock(directory)
        }
    }

    @Test("Names: list is sorted, rename replaces, errors have a kind and the path")
    func names() throws {
        try inDirectory { directory in
            for name in ["b", "a", "c"] { _ = try fileSystem.open("\(directory)/\(name)", .create) }
            #expect(try fileSystem.list(directory) == ["a", "b", "c"])
            try fileSystem.rename("\(directory)/a", to: "\(directory)/b")
            try fileSystem.remove("\(directory)/c")
            try fileSystem.syncDirectory(directory)
            #expect(try fileSystem.list(directory) == ["b"])
            let missing = #expect(throws: DiskError.self) { try fileSystem.open("\(directory)/x", .existing) }
            #expect(missing?.kind == .notFound && missing?.path == "\(directory)/x")
            let taken = #expect(throws: DiskError.self) { try fileSystem.open("\(directory)/b", .create) }
            #expect(taken?.kind == .alreadyExists)
            #expect(try fileSystem.exists("\(directory)/b") && !fileSystem.exists("\(directory)/c"))
            #expect(try fileSystem.freeSpace(directory) > 0)
        }
    }

    @Test("Reserving keeps what is there and gives the file its size")
    func preallocation() throws {
        try inDirectory { directory in
            let file = try fileSystem.open("\(directory)/f", .create)
            try file.write([[1, 2, 3]], at: 0)
            try file.preallocate(100_000)
            #expect(try file.size() == 100_000)
            #expect(try file.read(at: 0, count: 4) == [1, 2, 3, 0])
        }
    }

    @Test("Replacing a small file leaves the new content and nothing else")
    func replacing() throws {
        try inDirectory { directory in
            try fileSystem.replaceFile("f", in: directory, with: [1, 2, 3])
            try fileSystem.replaceFile("f", in: directory, with: [4, 5])
            #expect(try fileSystem.open("\(directory)/f", .existing).read(at: 0, count: 10) == [4, 5])
            #expect(try fileSystem.list(directory) == ["f"])
        }
    }
}
