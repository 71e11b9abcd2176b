internal import Basics
internal import Glibc
internal import MetadataMachine
internal import MetadataModel
internal import NIOCore
internal import ReplicaCore
internal import ReplicaStorage
internal import StateEngine
internal import Wire

/// What the thread of the exports tells the loop.
enum ExportReport: Sendable {
    case answered(ConnectionSlot, requestID: UInt64, ControlReply, isOver: Bool)
    /// Nothing is kept for this connection any more.
    case ended(ConnectionSlot)
}

/// The thread on which snapshots for clients are made, a chunk at a time. Its priority is low: who writes goes first.
final class ExportThread<View: EngineView>: Sendable {
    private enum Job: Sendable {
        case begin(ConnectionSlot, requestID: UInt64, SnapshotSource<View>)
        case read(ConnectionSlot, requestID: UInt64, SnapshotPieceRequest)
        case end(ConnectionSlot)
        case endAll
        case expire
        case lowerPriority
    }
    private let thread: WorkThread<Job>

    init(cluster: ClusterIdentity, founding: Membership, report: @escaping @Sendable (ExportReport) -> Void) {
        let exports = SnapshotExports<View>(cluster: cluster, founding: founding)
        thread = WorkThread(name: "export") { jobs in
            for job in jobs { Self.perform(job, exports, report) }
        }
        thread.add(.lowerPriority)
    }

    func begin(_ slot: ConnectionSlot, requestID: UInt64, _ source: SnapshotSource<View>) {
        thread.add(.begin(slot, requestID: requestID, source))
    }

    func read(_ slot: ConnectionSlot, requestID: UInt64, _ request: SnapshotPieceRequest) {
        thread.add(.read(slot, requestID: requestID, request))
    }

    func end(_ slot: ConnectionSlot) { thread.add(.end(slot)) }
    /// The state was replaced: nothing of the old one is given out any more.
    func endAll() { thread.add(.endAll) }
    func expire() { thread.add(.expire) }
    func stop() { thread.stop() }

    private static func perform(
        _ job: Job, _ exports: SnapshotExports<View>, _ report: (ExportReport) -> Void
    ) {
        let now = Instant(nanoseconds: NIODeadline.now().uptimeNanoseconds)
        switch job {
        case .begin(let slot, let requestID, let source):
            let reply = exports.begin(slot, source, now: now)
            report(.answered(slot, requestID: requestID, .snapshot(reply), isOver: false))
            exports.prepareNext(slot)
        case .read(let slot, let requestID, let request):
            let (reply, isOver) = exports.read(slot, request, now: now)
            report(.answered(slot, requestID: requestID, reply, isOver: isOver))
            exports.prepareNext(slot)
        case .end(let slot): exports.end(slot)
        case .endAll: for slot in exports.endAll() { report(.ended(slot)) }
        case .expire: for slot in exports.expire(now: now) { report(.ended(slot)) }
        // On Linux the priority is the thread's own.
        case .lowerPriority: setpriority(Int32(PRIO_PROCESS.rawValue), 0, 10)
        }
    }
}
