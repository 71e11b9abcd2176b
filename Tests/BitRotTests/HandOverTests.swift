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
import Synchronization
import Testing

@testable import ReplicaCore
@testable import Server

/// The loop hands work to the log thread and to the apply thread and takes their reports, as in a node, with nothing else
/// to do: what two threads touch without order shows under ThreadSanitizer (`ops/sanitize`) only where they meet often.
@Suite("Hand-overs between threads")
struct HandOverTests {
    /// What has been reported, and the loop that waits for it.
    private final class Loop: Sendable {
        struct Progress {
            var durable: UInt64 = 0
            var applied = LogIndex.zero
            var reports: UInt64 = 0
            var failure: String?
        }
        private let progress = Mutex(Progress())
        private let arrived = DispatchSemaphore(value: 0)

        func take(_ report: StorageReport) {
            progress.withLock { progress in
                progress.reports += 1
                switch report {
                case .logWritten(let ticket): progress.durable = ticket.rawValue
                case .outcomes(let outcomes):
                    for case .applied(let applied) in outcomes { progress.applied = applied.range.upperBound }
                case .failed(let failure): progress.failure = failure.message
                default: break
                }
            }
            arrived.signal()
        }

        /// Waits until all is done but so much.
        func wait(_ isEnough: (Progress) -> Bool) -> Progress {
            while true {
                let now = progress.withLock { $0 }
                if now.failure != nil || isEnough(now) { return now }
                arrived.wait()
            }
        }
    }

    @Test("every entry is durable and applied once, and the threads' figures can be read meanwhile")
    func manyHandOvers() throws {
        // Each round is a hand-over to each thread and a report of each.
        let rounds = ProcessInfo.processInfo.environment["QUORATE_HAND_OVERS"].flatMap { UInt64($0) }.map { $0 / 4 } ?? 2_000
        let directory = try NodeDirectory { _ in MemoryHome() }
        let opened = try directory.open()
        _ = try Examination.replay(opened, through: opened.log.log.lastIndex)
        let first = opened.log.log.lastIndex.next
        let storage = NodeStorage(
            log: opened.log, state: opened.state, snapshots: opened.snapshots, founding: .empty,
            logSizeMax: 1 << 30, feed: LogRetention(bytes: 1 << 18, age: .zero), alarmsOnDisk: nil, fileSystem: PosixFileSystem(),
            directory: directory.path, scrubRate: 0, knownFiles: [])
        let loop = Loop()
        storage.start(diskReserve: 0) { loop.take($0) }
        for round in 0..<rounds {
            let slab = try #require(self.slab(at: first + Int(round)))
            let write = LogWrite(hardState: HardState(currentTerm: Term(1), votedFor: TestNode.id), slab: slab)
            storage.log(LogWork(ticket: PersistTicket(round + 1), writes: [write]))
            storage.apply([.entries([slab], range: slab.indexes)])
            if round % 64 == 0 { #expect(storage.figures.logBytes > 0) }
            if round % 1_024 == 0 {
                let now = first + Int(round)
                storage.read(LogRead(purpose: .apply, range: first...now, byteCountMax: 4_096))
                storage.maintain(
                    Maintenance(
                        time: time(of: now), lastApplied: now, floor: now, floorAfterFlush: now, wantsFlush: true))
                storage.remember([NodeID(1): now])
            }
            let progress = loop.wait { $0.durable + 64 > round && $0.applied + 64 > first + Int(round) }
            try #require(progress.failure == nil)
        }
        let last = first + (Int(rounds) - 1)
        let progress = loop.wait { $0.durable == rounds && $0.applied == last }
        storage.stop()
        #expect(progress.failure == nil)
        #expect(progress.applied == last)
        #expect(opened.log.log.lastIndex == last)
    }

    /// Every other entry is one that the loop applies itself while the apply thread sleeps.
    private func slab(at index: LogIndex) -> Slab? {
        var builder = SlabBuilder(term: Term(1), firstIndex: index, salt: TestNode.cluster.salt)
        let payload = index.rawValue % 2 == 0 ? Housekeeping.tick.encoded() : put(at: index)
        builder.append(.command, payload: payload.rawSpan, time: time(of: index))
        return builder.close()
    }

    private func put(at index: LogIndex) -> [UInt8] {
        let mutation = Mutation.put(key: [UInt8(ascii: "k")], value: [], expectedRevision: nil)
        var writer = ByteWriter()
        CommandHeader(
            kind: mutation.kind, session: SessionID(1, index.rawValue), sequence: 1,
            opening: SessionOpening(openedAt: time(of: index), timeout: .seconds(10)), isOneShot: true
        ).encode(into: &writer)
        mutation.encodeBody(into: &writer)
        return writer.takeBytes()
    }

    private func time(of index: LogIndex) -> ClusterTime {
        ClusterTime(nanoseconds: 1_700_000_000_000_000_000 + index.rawValue * 1_000_000)
    }
}
