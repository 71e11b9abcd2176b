import Basics
import Disk
import Foundation
import LogStore
import MetadataMachine
import MetadataModel
import RaftCore
import ReplicaCore
import ReplicaStorage
import Server
import StateEngine
import Testing

/// A node that is told to go on with less of its log than it has promised.
@Suite("A log that is cut at damage")
struct ShortLogTests {
    /// Seed 368 of the profile `releases`, 20 s: members had compacted what the damage took.
    @Test("it may end with an entry that is damaged as well and that only the state holds")
    func endsInDamage() throws {
        let directory = try NodeDirectory { RocksHome(directory: $0, fileSystem: PosixFileSystem()) }
        // The state is that of entry 90, so that nothing up to there is looked at; 91 is where the log is cut.
        for index in [90, 92] { try damage(index, in: directory) }
        #expect(throws: LogOpenError.self) { try directory.open() }
        let opened = try directory.open(.short)
        #expect(opened.log.log.last == EntryID(term: Term(1), index: LogIndex(90)))
        #expect(opened.restored.lastTime == opened.state.machine.applied.time)
        #expect(!opened.restored.needsState)
    }

    @Test("it begins behind damage that another member's state covers, and takes that state; also when it starts once more")
    func beginsBehindDamage() throws {
        let directory = try NodeDirectory { RocksHome(directory: $0, fileSystem: PosixFileSystem()) }
        try damage(92, in: directory)
        let beginning = EntryID(term: Term(1), index: LogIndex(100))
        for _ in 0..<2 {
            #expect(throws: LogOpenError.self) { try directory.open() }
            let opened = try directory.open(.behind(beginning))
            #expect(opened.log.log.previous == beginning)
            #expect(opened.log.log.last.index == directory.content.last.index)
            #expect(opened.restored.needsState)
            #expect(opened.restored.raft.lastApplied == beginning.index)
        }
    }

    private func damage<Home: EngineHome>(_ index: Int, in directory: NodeDirectory<Home>) throws {
        let logs = try directory.files().filter { $0.hasSuffix(".segment") }
        for file in logs.map({ URL(filePath: "\(directory.path)/\($0)") }) {
            var bytes = try Data(contentsOf: file)
            guard let place = bytes.firstRange(of: Data("value-\(index)-".utf8)) else { continue }
            bytes[place.lowerBound] ^= 1
            return try bytes.write(to: file)
        }
        Issue.record("entry \(index) is in no segment")
    }
}
