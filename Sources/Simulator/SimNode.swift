internal import Basics
internal import Disk
internal import LogFormat
internal import LogStore
internal import MetadataMachine
internal import MetadataModel
internal import RaftCore
internal import ReplicaCore
internal import ReplicaStorage
internal import StateEngine

/// Where a simulated node keeps its state: a `MemoryEngine` that forgets what no flush has made durable.
final class SimEngineHome: EngineHome, @unchecked Sendable {
    // `@unchecked`: a world runs on one thread.
    private(set) var live = MemoryEngine()
    private var successor: MemoryEngine?
    /// The whole state is gone when the process ends.
    let isVolatile: Bool

    init(isVolatile: Bool) { self.isVolatile = isVolatile }

    func openLive() -> MemoryEngine { live }

    func makeSuccessor() -> MemoryEngine {
        let engine = MemoryEngine()
        successor = engine
        return engine
    }

    func adoptSuccessor() {
        guard let successor else { return }
        live = successor
        self.successor = nil
    }

    func discardSuccessor() { successor = nil }
    func removeOthers() { successor = nil }
    func beginFlush(_ engine: MemoryEngine) -> @Sendable () -> Void { {} }
    func openStored(_ engine: MemoryEngine) -> any StoredRows { MemoryStoredRows(engine.makeView()) }

    /// The state as it would be found after a crash, in a home of its own.
    func durableCopy() -> SimEngineHome {
        let other = SimEngineHome(isVolatile: isVolatile)
        other.live = live.durableCopy()
        return other
    }

    func processEnded() {
        successor = nil
        if isVolatile { live = MemoryEngine() } else { live.crash() }
    }
}

/// Jobs of one thread of a node: one at a time, in order. A job's work is done at the end of the time that it takes.
struct Worker<Job> {
    private(set) var jobs: [Job] = []
    var isBusy = false

    mutating func add(_ job: Job) { jobs.append(job) }
    mutating func takeFirst() -> Job? { jobs.isEmpty ? nil : jobs.removeFirst() }
    var first: Job? { jobs.first }
}

enum LogJob {
    case work(LogWork)
    case compact(through: LogIndex, time: ClusterTime)
    case reset(SnapshotPoint, Membership, ClusterTime)
    case seal
    case repair(Slab)
}

enum StateJob {
    case work(ApplyWork)
    case flush
    case checkFlush
    case snapshotSource
    case discardSnapshots
    case adopt(MemoryEngine, SnapshotPoint, Membership, ClusterTime, resetsLog: Bool)
}

enum SnapshotJob {
    case work(SnapshotWork)
    case build(SnapshotSource<MemoryView>)
    case installed(SnapshotPoint)
}

/// What maintenance goes by: while none of it changes, there is nothing to do.
struct Maintained: Equatable {
    var applied = LogIndex.zero
    var floor = LogIndex.zero
    var last = LogIndex.zero
    var logSize = 0
    var usage = DiskUsage(used: 0, free: 0)
}

/// A running process: the replica, its storage, and what its threads have to do.
final class SimProcess {
    var replica: Replica
    let log: LogKeeper
    let state: StateKeeper<SimEngineHome>
    let snapshots: SnapshotKeeper
    let exports: SnapshotExports<MemoryView>
    var logThread = Worker<LogJob>()
    var stateThread = Worker<StateJob>()
    var snapshotThread = Worker<SnapshotJob>()
    /// The connections on which this node sends to its peers, by their number; nil while there is none.
    var outgoing: [SimConnection?]
    /// Those on which peers send to it.
    var incoming: [SimConnection?]
    /// What the newest snapshot on this disk holds.
    var snapshotThrough = LogIndex.zero
    /// Snapshots of the state that are ordered and have not ended.
    var buildsUnderWay = 0
    /// Of those that a volatile state is kept by.
    var buildPause = RetryPause()
    /// By slot position.
    var clients: [SimConnection?] = []
    var slots: [ConnectionSlot?] = []
    // Where the members change.
    var links: [SimLink] = []
    var told = ToldAddresses()
    /// Whose greeting was accepted, on which connection.
    var heard: [(node: NodeID, connection: SimConnection)] = []
    /// Nodes that are being asked who they are; no connection where there is nobody to ask.
    var questions: [(token: UInt64, connection: SimConnection?)] = []
    var scrub: SimScrub?
    /// A scrub has found one damaged, and no other was made since.
    var hasDamagedSnapshot = false
    /// When its replica wants to be woken, by its own clock.
    var deadline = Instant.never
    /// The one event that wakes it: its number, and its time. It may come too early, and is then put off.
    var deadlineNumber = 0
    var wakesAt = Instant.never
    /// A node whose deadline is over and over in the past would burn a processor for nothing.
    var wokenAt = Instant.zero
    var wakeUpsAtOnce = 0
    /// What the last look at log, state and disk has found.
    var maintained = Maintained()

    init(
        replica: consuming Replica, log: LogKeeper, state: StateKeeper<SimEngineHome>,
        snapshots: SnapshotKeeper, exports: SnapshotExports<MemoryView>, nodeCount: Int
    ) {
        self.replica = replica
        self.log = log
        self.state = state
        self.snapshots = snapshots
        self.exports = exports
        outgoing = [SimConnection?](repeating: nil, count: nodeCount)
        incoming = outgoing
    }
}

extension SimProcess {
    /// What its threads have not done, for whoever reads a violation.
    var unrest: String {
        var parts = ""
        for (name, count) in [
            ("log", logThread.jobs.count), ("state", stateThread.jobs.count), ("snapshot", snapshotThread.jobs.count),
        ] where count > 0 {
            parts += " \(count) \(name) jobs"
        }
        return parts
    }
}

/// One machine: its disk, its clocks, and the process on it when one runs.
final class SimNode {
    let number: Int
    /// The incarnation: another one when the directory was lost.
    var id: NodeID
    private(set) var disk: SimDisk
    private(set) var home: SimEngineHome
    var clock: SimClock
    var process: SimProcess?
    /// Rises with each start.
    var life = 0
    var pausedUntil = Instant.zero
    /// What happens to it when it wakes.
    var held: [World.Event] = []
    /// The life in which it was asked to stop.
    var stoppingLife: Int?
    /// The machine has died in the middle of something (CrashPoints), and nothing it does counts any more.
    var struckAt: CrashPoint?
    /// What a write takes.
    var diskLatencyMin = Interval.microseconds(150)
    var diskLatencyMax = Interval.milliseconds(4)
    /// No write ends before then.
    var diskStuckUntil = Instant.zero
    /// What this node's disk is known to hold, whoever runs: its log as of the last finished write.
    var log: SegmentedLog?
    /// A write that has not ended cuts the log after this.
    var cutUnderWay: LogIndex?
    var hardState = HardState.initial
    /// Votes that were on its disk at some time. Only looked up in.
    var votesSynced: [Term: NodeID] = [:]
    /// How far entries were written in each term, though they may have been cut since. Only looked up in.
    var reached: [Term: LogIndex] = [:]
    /// How far what it takes for committed was held against the disks.
    var commitChecked = LogIndex.zero
    /// Its commit index when it was last seen to lead, and in which term.
    var leaderCommit: (term: Term, index: LogIndex)?
    /// Through here its state was durable when it was last asked.
    var lastRevision = LogIndex.zero
    /// Its log is being repaired; then there is no process.
    var repair: SimRepair?
    /// Something was done to its disk that it has not got over yet.
    var isWounded = false
    /// Nobody has cleared the alarm: it verifies its whole log whenever it starts.
    var wasDamaged = false
    /// The next start finds less than it had promised, and is told of the rest by others.
    var losesPromises = false
    /// Its log as it was before damage took the end; what was there binds it still.
    var boundBy: SegmentedLog?
    /// What its disk will turn out to hold when it has gone down.
    var memory: SimMemory?
    /// Where its log ended before it forgot without knowing it.
    var forgotten: EntryID?
    /// Its own contents, while it is given another's.
    var ownDisk: SimDisk?
    /// Bytes of its log were damaged while it ran, and are not mended yet.
    var hasLogDamage = false
    /// Bytes of a snapshot of its own were damaged, and it has made or taken no other since.
    var hasSnapshotDamage = false
    /// The next piece of a snapshot that it gives is damaged after it was checked.
    var damagesNextPiece = false
    /// The disk does not give back what is next read from the log.
    var failsNextLogRead = false
    /// Until then it does not give back what it has refused.
    var refusesUntil = Instant.zero
    /// When the newest scrub began that came to its end.
    var scrubbedAt = Instant.zero

    // Where the members change.
    /// It was there when the cluster was founded, and has its directory still.
    private(set) var isFounder = true
    /// Somebody wants a node to run here.
    var isInUse = true
    /// Looks for a cluster; then there is no process.
    var joining: SimJoining?
    /// What it was given when it joined.
    var record: FoundingRecord?
    /// It has told its incarnation to others.
    var isKnown = false
    var peerPort = 7101
    /// The highest that the release knows which runs here.
    var featureLevel = FeatureLevel.known
    /// Somebody put that release in the place of one that had seen a higher level.
    var isDowngraded = false

    var name: String { "n\(number + 1)" }
    var clientAddress: String { "10.0.0.\(number + 1):7001" }
    var peerAddress: String { peerAddress(port: peerPort) }
    func peerAddress(port: Int) -> String { "10.0.0.\(number + 1):\(port)" }
    var isRunning: Bool { process != nil || joining != nil }

    init(number: Int, id: NodeID, disk: SimDisk, home: SimEngineHome, clock: SimClock) {
        self.number = number
        self.id = id
        self.disk = disk
        self.home = home
        self.clock = clock
    }

    /// Its rows are whole, and where they are only in memory, so is what they come back from.
    var hasSoundState: Bool {
        home.live.damagedRows == nil && home.live.readFault == nil && process?.replica.isQuarantined != true
            && !(home.isVolatile && hasSnapshotDamage)
    }

    /// The state of an older moment.
    func takeBack(_ older: SimEngineHome) { home = older }

    /// An empty disk, on which the member `id` of a restored cluster is to be made.
    func becomeRestored(_ id: NodeID, diskSeed: UInt64, isVolatile: Bool) {
        let (wasFounder, port) = (isFounder, peerPort)
        becomeEmpty(diskSeed: diskSeed, isVolatile: isVolatile)
        self.id = id
        isFounder = wasFounder
        peerPort = port
        leaderCommit = nil
        ownDisk = nil
        hasLogDamage = false
        hasSnapshotDamage = false
        damagesNextPiece = false
        failsNextLogRead = false
        refusesUntil = .zero
    }

    /// Nothing is left of what was on this disk, nor of who it was.
    func becomeEmpty(diskSeed: UInt64, isVolatile: Bool) {
        id = NodeID(0)
        disk = SimDisk(seed: diskSeed)
        disk.makeDurableDirectory("/data")
        home = SimEngineHome(isVolatile: isVolatile)
        isFounder = false
        isKnown = false
        record = nil
        log = nil
        cutUnderWay = nil
        hardState = .initial
        votesSynced = [:]
        reached = [:]
        lastRevision = .zero
        repair = nil
        isWounded = false
        wasDamaged = false
        losesPromises = false
        boundBy = nil
        memory = nil
        forgotten = nil
    }
}
