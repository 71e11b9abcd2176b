import Basics
import Disk
import Foundation
import LogFormat
import LogStore
import MetadataMachine
import MetadataModel
import RaftCore
import ReplicaStorage
import StateEngine
import Testing

@testable import ReplicaCore
@testable import Server

/// The threads behind a node, and when they do what is due.
@Suite("The storage of a node") struct NodeStorageTests {
    private func storage<Home: EngineHome>(
        _ opened: OpenedNode<Home>, _ directory: NodeDirectory<Home>, logSizeMax: Int = 1 << 30,
        feed: LogRetention = LogRetention(bytes: 0, age: .zero), on disk: any FileSystem = PosixFileSystem()
    ) -> NodeStorage<Home> {
        NodeStorage(
            log: opened.log, state: opened.state, snapshots: opened.snapshots, founding: .empty, logSizeMax: logSizeMax,
            feed: feed, alarmsOnDisk: nil, fileSystem: disk, directory: directory.path, scrubRate: 0, knownFiles: [])
    }

    private func time(of index: LogIndex) -> ClusterTime {
        ClusterTime(nanoseconds: 1_700_000_000_000_000_000 + index.rawValue * 1_000_000)
    }

    private func tick(at index: LogIndex) throws -> Slab {
        var builder = SlabBuilder(term: Term(1), firstIndex: index, salt: TestNode.cluster.salt)
        let tick = Housekeeping.tick.encoded()
        builder.append(.command, payload: tick.rawSpan, time: time(of: index))
        let slab = builder.close()
        return try #require(slab)
    }

    private var hardState: HardState { HardState(currentTerm: Term(1), votedFor: TestNode.id) }

    // MARK: - Flushes

    private func isFlushed(_ report: StorageReport) -> Bool { if case .flushed = report { true } else { false } }

    private func durable(_ reports: StorageReports) -> [LogIndex] {
        var found: [LogIndex] = []
        for case .flushed(let index) in reports.all { found.append(index) }
        return found
    }

    @Test("a long log has the state flushed only where segments go by it", arguments: [true, false])
    func flushes(isRetained: Bool) throws {
        let directory = try NodeDirectory { RocksHome(directory: $0, fileSystem: PosixFileSystem()) }
        let opened = try directory.open()
        _ = try Examination.replay(opened, through: opened.log.log.lastIndex)
        for _ in 0..<400 {
            let slab = try tick(at: opened.log.log.lastIndex.next)
            try opened.log.log.append([LogTask(hardState: hardState, slab: slab)])
            _ = try opened.state.perform(.entries([slab], range: slab.indexes), now: .zero)
        }
        let applied = opened.state.machine.applied.last.index
        let flushed = try opened.state.machine.durableApplied()
        try #require(flushed < applied)
        // The log is longer than half of its bound; what is retained of it is as much as that half.
        let size = opened.log.log.byteCount
        let storage = storage(
            opened, directory, logSizeMax: isRetained ? 2 * (size - 1) : 2,
            feed: LogRetention(bytes: size, age: .seconds(3_600)))
        let reports = StorageReports()
        storage.start { reports.take($0) }
        // A follower needs all that the state does not hold durably, unless everything is retained anyway.
        var due = Maintenance(
            time: time(of: applied), lastApplied: applied, floor: flushed,
            floorAfterFlush: isRetained ? applied : flushed)
        storage.maintain(due, reserve: 0)
        #expect(reports.wait(isFlushed))
        #expect(durable(reports) == [flushed])
        if !isRetained {
            // It has come after.
            due.floorAfterFlush = applied
            storage.maintain(due, reserve: 0)
            #expect(reports.wait(for: 2, isFlushed))
            #expect(durable(reports) == [flushed, applied])
        }
        storage.stop()
    }
}
