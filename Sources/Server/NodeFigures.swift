internal import Basics
internal import MetadataModel
internal import RaftCore
internal import ReplicaCore
internal import Transport
internal import Wire

/// What a node looks like at one moment, taken on its event loop; everything that probes and scrapes are answered from.
struct NodeInspection: Sendable {
    var status: StatusReply
    /// Nil while the node waits to be founded, or its log is being repaired.
    var figures: NodeFigures?
    var transport: TransportCounters?
    /// When the node's certificate ends, in seconds since 1970; nil without TLS.
    var certificateExpiresAt: Int64?
    /// When it was taken, and how long the event loop let the question wait.
    var takenAt: Instant
    var loopDelay: Interval
}

struct NodeFigures: Sendable {
    var replica: ReplicaFigures
    var events: NodeEvents
    var storage: StorageFigures
    var scrubs: ScrubBook
    var lastScrub: ClusterTime?
}

/// What an operator asks "how often?" of. Since the start of the process; on the event loop.
struct NodeEvents: Sendable {
    private(set) var elections: UInt64 = 0
    private(set) var leaderChanges: UInt64 = 0
    private(set) var snapshotsBuilt: UInt64 = 0
    private(set) var snapshotsInstalled: UInt64 = 0
    private(set) var snapshotFailures: UInt64 = 0
    private(set) var badPeerMessages: UInt64 = 0
    private(set) var divergences: UInt64 = 0
    /// The newest snapshot that was built or taken: when, and where it ends.
    private(set) var lastSnapshot: (at: ClusterTime, through: LogIndex)?
    private var lastLeader: NodeID?
    private var wasCandidate = false

    mutating func note(_ notice: Notice) {
        switch notice {
        case .roleChanged(let status):
            if status.role == .candidate, !wasCandidate { elections += 1 }
            wasCandidate = status.role == .candidate
            if let leader = status.leader, leader != lastLeader {
                leaderChanges += 1
                lastLeader = leader
            }
        case .conflictBelowCommit, .badPeerMessage: badPeerMessages += 1
        case .quarantined, .digestsDiffer: divergences += 1
        case .snapshotFailed: snapshotFailures += 1
        default: break
        }
    }

    mutating func note(_ report: StorageReport) {
        switch report {
        case .snapshotBuilt(let point):
            snapshotsBuilt += 1
            lastSnapshot = (wallClock(), point.last.index)
        case .snapshotInstalled(let point, _, _, _):
            snapshotsInstalled += 1
            lastSnapshot = (wallClock(), point.last.index)
        case .snapshotBuildFailed: snapshotFailures += 1
        default: break
        }
    }
}

/// What the storage threads know.
struct StorageFigures: Sendable {
    var logBytes = 0
    var meter = StorageMeter()
}

/// Written by the storage threads, at most a few times for each batch; read on the event loop.
struct StorageMeter: Sendable {
    /// One write of the log, its sync included.
    private(set) var syncs = LatencyHistogram()
    private(set) var syncBeganAt: Instant?
    private(set) var stateBytes: UInt64 = 0
    private(set) var stateMemoryBytes: UInt64 = 0
    private(set) var sessions = 0

    mutating func syncBegan(at now: Instant) { syncBeganAt = now }

    mutating func syncEnded(at now: Instant) {
        if let began = syncBeganAt { syncs.record(now - began) }
        syncBeganAt = nil
    }

    mutating func stateMeasured(bytes: UInt64, memoryBytes: UInt64, sessions: Int) {
        (stateBytes, stateMemoryBytes, self.sessions) = (bytes, memoryBytes, sessions)
    }

    /// How long the write that is under way has taken so far.
    func syncPending(at now: Instant) -> Interval { syncBeganAt.map { max(.zero, now - $0) } ?? .zero }
}
