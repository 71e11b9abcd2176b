import Basics
import Disk
import Foundation
import LogFormat
import LogStore
import MetadataMachine
import MetadataModel
import RaftCore
import ReplicaStorage
import Snapshots
import StateEngine
import Synchronization
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
        storage.start(diskReserve: 0) { reports.take($0) }
        // A follower needs all that the state does not hold durably, unless everything is retained anyway.
        var due = Maintenance(
            time: time(of: applied), lastApplied: applied, floor: flushed,
            floorAfterFlush: isRetained ? applied : flushed)
        storage.maintain(due)
        #expect(reports.wait(isFlushed))
        #expect(durable(reports) == [flushed])
        if !isRetained {
            // It has come after.
            due.floorAfterFlush = applied
            storage.maintain(due)
            #expect(reports.wait(for: 2, isFlushed))
            #expect(durable(reports) == [flushed, applied])
        }
        storage.stop()
    }

    // MARK: - Snapshots

    @Test("while a snapshot of a volatile state is being made no further one is ordered")
    func oneSnapshotAtATime() throws {
        let directory = try NodeDirectory { _ in MemoryHome() }
        let opened = try directory.open()
        _ = try Examination.replay(opened, through: opened.log.log.lastIndex)
        let storage = storage(opened, directory)
        let reports = StorageReports()
        // The apply thread takes its next job when it is let: meanwhile it is looked at what is due again and again.
        let mayGoOn = DispatchSemaphore(value: 0)
        storage.start(diskReserve: 0) { report in
            if case .flushed = report { mayGoOn.wait() }
            reports.take(report)
        }
        let last = opened.log.log.lastIndex
        var due = Maintenance(
            time: time(of: last), lastApplied: last + 1_000_000, floor: .zero, floorAfterFlush: .zero)
        for _ in 0..<10 { storage.maintain(due) }
        for _ in 0..<10 { mayGoOn.signal() }
        #expect(reports.wait(for: 10, isFlushed))
        #expect(reports.wait(isBuilt))
        // The next one is not forgotten. What was ordered before is handed on when this look is over.
        storage.maintain(due)
        mayGoOn.signal()
        #expect(reports.wait(for: 2, isBuilt))
        due.lastApplied = last
        storage.maintain(due)
        mayGoOn.signal()
        #expect(reports.wait(for: 12, isFlushed))
        storage.stop()
        #expect(reports.all.filter(isBuilt).count == 2)
    }

    @Test("none is left of a state that is not trusted, not even one that was ordered just before, and none is made of it")
    func discarded() throws {
        let directory = try NodeDirectory { _ in MemoryHome() }
        let opened = try directory.open()
        _ = try Examination.replay(opened, through: opened.log.log.lastIndex)
        let storage = storage(opened, directory)
        let reports = StorageReports()
        storage.start(diskReserve: 0) { reports.take($0) }
        storage.snapshot(.build)
        storage.snapshot(.discard)
        #expect(reports.wait { if case .snapshotsDiscarded(failure: nil) = $0 { true } else { false } })
        #expect(reports.all.filter(isBuilt).count == 1)
        #expect(try FileManager.default.contentsOfDirectory(atPath: "\(directory.path)/snapshots") == [])
        let last = opened.log.log.lastIndex
        storage.maintain(
            Maintenance(
                time: time(of: last), lastApplied: last + 1_000_000, floor: .zero, floorAfterFlush: .zero,
                isQuarantined: true))
        #expect(reports.wait(isFlushed))
        storage.stop()
        #expect(reports.all.filter(isBuilt).count == 1)
    }

    @Test("how much of the disk is free is told while a snapshot is being made")
    func measuresMeanwhile() throws {
        let directory = try NodeDirectory { _ in MemoryHome() }
        let disk = BrokenFileSystem()
        let opened = try directory.open(on: disk)
        _ = try Examination.replay(opened, through: opened.log.log.lastIndex)
        let storage = storage(opened, directory, on: disk)
        let reports = StorageReports()
        storage.start(diskReserve: 0) { reports.take($0) }
        let held = BrokenFileSystem.HeldSync(path: "/chunk-0")
        disk.faults.withLock { $0.heldSync = held }
        storage.snapshot(.build)
        let hasBegun = held.hasBegun.wait(timeout: .now() + .seconds(10)) == .success
        #expect(hasBegun)
        let last = opened.log.log.lastIndex
        storage.maintain(Maintenance(time: time(of: last), lastApplied: last, floor: .zero, floorAfterFlush: .zero))
        #expect(reports.wait { if case .diskChecked = $0 { true } else { false } })
        #expect(!reports.all.contains(where: isBuilt))
        held.mayGoOn.signal()
        #expect(reports.wait(isBuilt))
        storage.stop()
    }

    @Test("a snapshot that cannot be installed leaves neither its pieces nor a state behind")
    func failedInstall() throws {
        let directory = try NodeDirectory { RocksHome(directory: $0, fileSystem: PosixFileSystem()) }
        let opened = try directory.open()
        let taken = try FlippedSnapshotTests.taken(rows: 30, valueSize: 20_000)
        let point = try taken.manifest.point()
        let states = try names(in: directory.path, with: "state-")
        let storage = storage(opened, directory)
        let reports = StorageReports()
        storage.start(diskReserve: 0) { reports.take($0) }
        let manifest = SnapshotPiece(last: point.last, chunk: nil)
        storage.snapshot(.storePiece(manifest, bytes: taken.manifest.encoded()))
        for chunk in taken.chunks {
            let piece = SnapshotPiece(last: point.last, chunk: UInt32(chunk.number))
            storage.snapshot(.storePiece(piece, bytes: chunk.bytes))
        }
        let count = taken.chunks.count
        #expect(reports.wait(for: count) { if case .snapshotChunkStored = $0 { true } else { false } })
        let snapshots = "\(directory.path)/snapshots"
        try FileManager.default.removeItem(atPath: "\(snapshots)/incoming-200-1/chunk-1")
        storage.snapshot(.install(point, resetsLog: true))
        #expect(reports.wait { if case .snapshotInstallFailed = $0 { true } else { false } })
        #expect(try names(in: directory.path, with: "state-") == states)
        #expect(try names(in: snapshots, with: "incoming-") == [])
        storage.stop()
    }

    private func names(in directory: String, with prefix: String) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: directory).filter { $0.hasPrefix(prefix) }.sorted()
    }

    private func isBuilt(_ report: StorageReport) -> Bool { if case .snapshotBuilt = report { true } else { false } }

    // MARK: - A full disk

    /// Hands over entries until the log finds no space for them.
    /// - Returns: the last that was written, and the ticket of those that wait.
    private func fillLog<Home: EngineHome>(
        _ storage: NodeStorage<Home>, after last: LogIndex, _ reports: StorageReports
    ) throws -> (last: LogIndex, waiting: PersistTicket) {
        var last = last
        for number in 1...10_000 as ClosedRange<UInt64> {
            let ticket = PersistTicket(number)
            let write = LogWrite(hardState: hardState, slab: try tick(at: last.next))
            storage.log(LogWork(ticket: ticket, writes: [write]))
            try #require(reports.wait { isWritten($0, ticket) || isFull($0) })
            if reports.all.contains(where: isFull) { return (last, ticket) }
            last = last.next
        }
        throw Unexpected(description: "there is always space")
    }

    private func isFull(_ report: StorageReport) -> Bool {
        if case .diskChecked(_, .exhausted) = report { true } else { false }
    }

    private func isWritten(_ report: StorageReport, _ ticket: PersistTicket) -> Bool {
        if case .logWritten(ticket) = report { true } else { false }
    }

    @Test("entries that wait for space get that of segments which are needed no more")
    func compactsWhileWaiting() throws {
        let directory = try NodeDirectory { _ in MemoryHome() }
        let disk = BrokenFileSystem()
        let opened = try directory.open(on: disk)
        let first = opened.log.log.firstIndex
        let storage = storage(opened, directory, on: disk)
        let reports = StorageReports()
        storage.start(diskReserve: 0) { reports.take($0) }
        disk.faults.withLock { $0.noRoomFor = "/log/spare-" }
        let (last, ticket) = try fillLog(storage, after: opened.log.log.lastIndex, reports)
        storage.maintain(
            Maintenance(time: time(of: last), lastApplied: .zero, floor: last, floorAfterFlush: last))
        #expect(reports.wait { isWritten($0, ticket) })
        #expect(opened.log.log.lastIndex == last.next)
        #expect(opened.log.log.firstIndex > first)
        disk.faults.withLock { $0.noRoomFor = nil }
        storage.stop()
    }

    @Test("a node whose entries wait for space stops all the same")
    func stopsWhileWaiting() throws {
        let directory = try NodeDirectory { _ in MemoryHome() }
        let disk = BrokenFileSystem()
        let opened = try directory.open(on: disk)
        let storage = storage(opened, directory, on: disk)
        let reports = StorageReports()
        storage.start(diskReserve: 0) { reports.take($0) }
        disk.faults.withLock { $0.noRoomFor = "/log/spare-" }
        let (last, ticket) = try fillLog(storage, after: opened.log.log.lastIndex, reports)
        let stopped = DispatchSemaphore(value: 0)
        Thread.detachNewThread {
            storage.stop()
            stopped.signal()
        }
        let hasStopped = stopped.wait(timeout: .now() + .seconds(10)) == .success
        #expect(hasStopped)
        // What was not written was not acknowledged.
        #expect(opened.log.log.lastIndex == last)
        #expect(!reports.all.contains { isWritten($0, ticket) })
        guard !hasStopped else { return }
        disk.faults.withLock { $0.noRoomFor = nil }
        stopped.wait()
    }
}
