import Basics
import Disk
import Foundation
import LogStore
import ReplicaCore
import ReplicaStorage
import Server
import StateEngine
import Testing

/// What a start must not throw away: a state that nobody has replaced yet.
@Suite struct KeptStateTests {
    private func state(in path: String) throws -> String {
        let names = try FileManager.default.contentsOfDirectory(atPath: path).filter { $0.hasPrefix("state-") }
        return "\(path)/\(try #require(names.sorted().first))"
    }

    @Test("a damaged state stays until a peer has given another one, however often the node starts")
    func damaged() throws {
        let directory = try NodeDirectory { RocksHome(directory: $0, fileSystem: PosixFileSystem()) }
        try FileManager.default.removeItem(atPath: "\(directory.path)/snapshots")
        let live = try state(in: directory.path)
        try Data("MANIFEST-999999\n".utf8).write(to: URL(filePath: "\(live)/CURRENT"))
        let tables = try FileManager.default.contentsOfDirectory(atPath: live).filter { $0.hasSuffix(".sst") }
        for _ in 0..<2 {
            let opened = try directory.open()
            #expect(opened.restored.needsState)
            #expect(try state(in: directory.path) == live)
            #expect(try Set(FileManager.default.contentsOfDirectory(atPath: live)).isSuperset(of: tables))
        }
    }

    @Test("the only state is the live one, also without the file that says so; of several none is guessed")
    func nameIsMissing() throws {
        let directory = try NodeDirectory { RocksHome(directory: $0, fileSystem: PosixFileSystem()) }
        let live = try state(in: directory.path)
        #expect(!live.hasSuffix("/state-1"))
        try FileManager.default.removeItem(atPath: "\(directory.path)/state")
        guard case .read(let content, _) = try directory.examine(after: { _ in }) else {
            Issue.record("the state is not found")
            return
        }
        #expect(content == directory.content)
        let home = RocksHome(directory: directory.path, fileSystem: PosixFileSystem())
        #expect(try home.livePath() == live)
        try FileManager.default.createDirectory(atPath: "\(directory.path)/state-9", withIntermediateDirectories: false)
        #expect(throws: EngineError.self) { try home.livePath() }
        try FileManager.default.createDirectory(atPath: "\(directory.path)/state-1", withIntermediateDirectories: false)
        #expect(try home.livePath() == "\(directory.path)/state-1")
    }

    /// Once a start sealed what was left of the log, and the next one took that for all that the node had promised.
    @Test("a log that does not tell what an only node has promised stays as it is, however often the node starts")
    func promisesAreLost() throws {
        let directory = try NodeDirectory(isAlone: true) { RocksHome(directory: $0, fileSystem: PosixFileSystem()) }
        let segments = try directory.files().filter { $0.hasPrefix("log/") && $0.hasSuffix(".segment") }
        let newest = URL(filePath: "\(directory.path)/\(try #require(segments.last))")
        let sound = try Data(contentsOf: newest)
        var rotten = sound
        for offset in stride(from: 17, to: rotten.count, by: 64) { rotten[offset] ^= 0x04 }
        for damaged in [rotten, sound.prefix(sound.count / 2)] {
            try damaged.write(to: newest)
            for demand in [.whole(isVerified: false), .behindState, .whole(isVerified: true), .behindState] as [LogDemand] {
                #expect(throws: LogOpenError.self, "\(demand)") { try directory.open(demand) }
                #expect(try Data(contentsOf: newest) == damaged)
            }
        }
        try sound.write(to: newest)
        #expect(try directory.open().log.log.lastIndex == directory.content.last.index)
    }
}
