package import Basics
internal import LogFormat
package import MetadataModel
package import RaftCore
package import Wire

/// One node of the cluster, as a value: the Raft core, the clients and peers that wait on it, and the bytes on their way
/// between sockets, log and state machine. Events in, effects out; it has no clock, no sockets, no files and no threads,
/// so the simulator runs the very same node.
///
/// The shell hands over whatever one wake-up brought (frames, finished writes, finished applies, the passing of a
/// deadline), then calls `endTurn` once and carries out the effects. What costs the same for one request as for a hundred
/// happens there: the open slab is closed when the log thread is free, so that one slab is one AppendEntries and one
/// sync; reads share one ReadIndex; each connection is written once.
///
/// A command's bytes are copied once, from the socket's buffer into the open slab. Log thread, peers and apply thread
/// read that slab.
///
/// Where to go on: Replica+Clients (what a client may ask), Replica+Peers, Replica+Log (Raft's orders carried out),
/// Replica+Apply (what comes back from the state machine), Replica+Housekeeping (sessions, digests, members).
package struct Replica: ~Copyable {
    package let settings: ReplicaSettings
    package let identity: ClusterIdentity
    package let id: NodeID
    let salt: UInt32

    package internal(set) var raft: Raft
    /// The turn's reading of both clocks.
    var now: Instant
    var wall: ClusterTime

    // MARK: Clients and what they wait for
    var clients = ClientTable()
    var pending = PendingRequests()
    /// Requests of this node without a reply, wherever they wait, of clients that are there.
    var requestCount = 0
    var barriers: ReadBarriers
    var reads = ReadQueue()
    /// Mutations that were passed on to the leader: token → who asked.
    var forwarded: [UInt64: ForwardedRequest] = [:]
    /// Bytes of their commands.
    var forwardedSize = 0
    /// Begins at random: an answer to an earlier process of this node must not be taken for one to a request of this one.
    var lastForwardToken: UInt64

    // MARK: The log
    var tail = TailCache()
    /// The leader's open slab, and who waits for its records, in order.
    var openSlab: SlabBuilder?
    var openRequesters: [Requester?] = []
    var clock: ClusterClock
    /// Cluster time of the newest record in the log.
    var lastTime: ClusterTime
    /// The hard state that is on disk once everything queued is.
    var promised: HardState
    var queuedWrites: [LogWrite] = []
    var queuedTicket: PersistTicket?
    var isLogBusy = false
    /// Messages that vouch for a persist, by its ticket, oldest first.
    var heldMessages: [(ticket: PersistTicket, envelopes: [Envelope])] = []

    // MARK: Apply
    var applyTarget: LogIndex
    /// Handed to the apply thread through here.
    var applyFed: LogIndex
    var appliedIndex: LogIndex
    var appliesInFlight = 0
    var isReadingForApply = false
    var durableApplied: LogIndex
    var recentDigests: [IndexedDigest] = []

    // MARK: Watches
    var hub = WatchHub()
    /// The state cannot tell what entries through here changed.
    var feedBase: LogIndex
    /// Where reads for watches begin that have failed and not succeeded since, and since when.
    var failedFeeds: [(first: LogIndex, since: Instant)] = []

    // MARK: Damage
    var mending = LogMending()
    package internal(set) var scrubs = ScrubBook()
    /// How many snapshots were made here; a damaged one is good again with the next.
    var snapshotsBuilt: UInt64 = 0

    // MARK: The cluster
    package internal(set) var membership: Membership
    /// The memberships in the log from the last committed one on, by the index of their entries.
    var membershipHistory: [(index: LogIndex, membership: Membership)]
    var links = PeerLinks()
    var leases = SessionLeases()
    /// When the state has something to carry out that no request will bring, in cluster time.
    var nextTimer: ClusterTime?
    /// The leader has logged a tick for it.
    var tickedFor: ClusterTime?
    /// Where the state goes on to remove tombstones, and where the leader has logged an entry to do so.
    var tombstoneSweep: TombstoneSweep?
    var sweptFrom: TombstoneSweep?
    /// What the leader has decided while it could log nothing; logged as soon as it can.
    var decided: [Housekeeping] = []
    var ballots = DigestBallots()
    var memberInfo: [NodeID: MemberInfo]
    /// Of the cluster, as far as it is applied here.
    package internal(set) var featureLevel: UInt32
    /// The leader has logged a raise to it.
    var raisedTo: UInt32 = 0
    var touches = SessionTouches()
    var nextReport: Instant
    var members = MemberWork()
    var snapshots = SnapshotTransfer()
    var lastStatus: RaftStatus
    /// How far other incarnations have acknowledged committed entries to this node while it led.
    var acknowledgedByPeers: [NodeID: LogIndex] = [:]
    /// This node had acknowledged entries through here and does not hold them any more; 0 when that is not so.
    var regressedBelow = LogIndex.zero

    // MARK: How this node is
    /// Its state differs from the majority's: nothing is served from it until it is rebuilt.
    package internal(set) var isQuarantined = false
    /// Why it has to be rebuilt, where that is an alarm of its own: it is not over before then.
    var quarantineCause: AlarmName?
    var isStopping = false
    package internal(set) var diskLevel = DiskLevel.ample
    /// Not before, a leader below its reserve asks somebody to take over (again).
    var nextHandOverForSpace = Instant.zero
    package var isDiskLow: Bool { diskLevel != .ample }
    /// What commands that take space are refused with, when fewer than a majority of the voters have some.
    var spaceShortage: ReplyError?
    package var disk = DiskUsage(used: 0, free: .max)
    var alarms: AlarmBook
    var shellConditions: [AlarmBook.Condition] = []
    /// Some rows cannot be read, and nobody else has them.
    var servesDamagedRows = false
    let startedAt: Instant
    var counters = ReplicaCounters()

    var effects = Effects()

    package init(_ restored: RestoredReplica, settings: ReplicaSettings, seed: UInt64, now: Instant, wall: ClusterTime) {
        self.settings = settings
        identity = restored.identity
        id = restored.id
        salt = restored.identity.salt
        raft = Raft(id: restored.id, settings: settings.raft, restored: restored.raft, seed: seed, now: now)
        self.now = now
        self.wall = wall
        clock = ClusterClock(last: restored.lastTime, wall: wall, now: now)
        lastTime = restored.lastTime
        var tokens = SplitMix64(seed: ~seed)
        lastForwardToken = tokens.next() >> 1
        barriers = ReadBarriers(lastToken: tokens.next() >> 1)
        promised = restored.raft.hardState
        applyTarget = restored.raft.lastApplied
        applyFed = restored.raft.lastApplied
        appliedIndex = restored.raft.lastApplied
        durableApplied = restored.raft.lastApplied
        feedBase = restored.feedFloor
        membership = restored.membership
        membershipHistory =
            restored.membershipHistory.isEmpty
            ? [(raft.configurationIndex, restored.membership)] : restored.membershipHistory
        memberInfo = restored.memberInfo
        featureLevel = restored.featureLevel
        acknowledgedByPeers = restored.acknowledged
        alarms = AlarmBook(node: settings.name, latched: restored.alarms)
        nextReport = now
        lastStatus = raft.status
        startedAt = now
        members.joinedAt = restored.joinedAt
        members.contacts = restored.contacts.map { MemberWork.Contact(member: $0, index: restored.joinedAt) }
        linkToMembers()
        if restored.needsState {
            isQuarantined = true
            // The opening has found it damaged, or a start before this one has, and nobody has given another yet.
            if restored.alarms.contains(where: { $0.name == AlarmName.damage.rawValue }) { quarantineCause = .damage }
            snapshots.askForStateAt = now
            reviewCampaigning()
        }
    }

    /// Entries through here are in the state that this node serves.
    package var appliedThrough: LogIndex { appliedIndex }

    // MARK: - Turns

    /// Begins a turn: everything until `endTurn` happens at this moment.
    package mutating func beginTurn(now: Instant, wall: ClusterTime) {
        // A process that was stopped has heard nobody meanwhile: that time is not the sessions' silence. One that runs has
        // a turn at least for each report.
        if raft.isLeader, now - self.now > settings.reportInterval * 2 { leases.excuse(now - self.now) }
        self.now = max(self.now, now)
        self.wall = wall
    }

    /// Ends the turn and returns what is to be done.
    package mutating func endTurn() -> Effects {
        runTimers()
        closeSlabIfLogIsFree()
        if barriers.isGathering {
            let token = barriers.ask(deadline: now + settings.requestTimeout)
            raft.step(.readRequested(token: token), now: now)
        }
        drainReady()
        settleMemberChange()
        counters.committed(through: raft.commitIndex, at: now)
        feedApply()
        sendAppends()
        handOverWrites()
        evictTail()
        serveWatches()

        effects.toClients = clients.takeOutput()
        for position in links.indices {
            let bytes = links[position].output.takeBytes()
            if !bytes.isEmpty { effects.toPeers.append((links[position].id, bytes)) }
        }
        links.endTurn()
        effects.nextDeadline = nextDeadline
        var taken = Effects()
        swap(&taken, &effects)
        return taken
    }

    private var nextDeadline: Instant {
        min(
            min(min(raft.nextDeadline, touches.nextDeadline), barriers.nextDeadline, nextReport),
            // A leader that hands over logs no expiries; who leads next grants every session its whole timeout.
            min(
                raft.canPropose ? leases.nextDeadline : .never,
                min(min(snapshots.nextDeadline, timerDeadline), min(members.waiting?.deadline ?? .never, hub.nextDeadline))),
            mending.nextDeadline)
    }

    private mutating func runTimers() {
        if now >= raft.nextDeadline {
            raft.step(.deadlineReached, now: now)
            // What it has logged has its place before the slab that is closed later in this turn.
            drainReady()
        }
        for batch in barriers.takeExpired(now: now) {
            refuse(batch, ReplyError(.unavailable, "no leader confirmed the read in time"))
        }
        retrySnapshotTransfer()
        mendLog()
        endRegression()
        keepHouse()
    }

    // MARK: - Events from the node itself

    /// Graceful stop: takes no new requests and hands leadership over. `isDrained` tells when nothing is left to wait for.
    package mutating func stop() {
        guard !isStopping else { return }
        isStopping = true
        endWatches { _ in ReplyError(.shuttingDown, "this node is stopping: watch at another one") }
        rememberAcknowledgements()
        if raft.isLeader { raft.step(.transferRequested(to: nil), now: now) }
    }

    package var isDrained: Bool {
        pending.count == 0 && forwarded.isEmpty && openRequesters.isEmpty && (!raft.isLeader || !hasOtherVoters)
    }

    private var hasOtherVoters: Bool { raft.configuration.voters.contains { $0 != id } }

    /// Space on the data directory's volume went below its reserve, or came back.
    package mutating func diskChanged(_ usage: DiskUsage, _ level: DiskLevel) {
        disk = usage
        guard level != diskLevel else { return }
        diskLevel = level
        reviewSpace()
        // The others decide by it who may lead and what is refused: they hear it now.
        nextReport = now
    }

    var state: NodeState {
        if isStopping { return .stopping }
        if isRemoved { return .removed }
        if isQuarantined { return .quarantined }
        if regressedBelow > .zero { return .regressed }
        return isDiskLow ? .diskLow : .ok
    }
}

/// Sizes of the data directory and what is free around it, in bytes.
package struct DiskUsage: Hashable, Sendable {
    package var used: UInt64
    package var free: UInt64

    package init(used: UInt64, free: UInt64) {
        self.used = used
        self.free = free
    }
}

/// What an operator may set, as the replica uses it.
package struct ReplicaSettings: Sendable {
    package var raft = RaftSettings()
    package var name: String
    package var clientAddress: String
    package var peerAddress: String
    package var softwareVersion: String
    /// The highest feature level that this release knows.
    package var featureLevel = FeatureLevel.known
    package var limits = ConnectionLimits()
    package var requestsPendingMax = Limits.requestsPendingMax
    package var logInMemorySizeMax = Limits.logInMemorySizeMax
    package var queriesSizeMax = Limits.queriesSizeMax
    package var feedBufferSizeMax = Limits.feedBufferSizeMax
    /// Bytes of changes that one turn goes through for watches that are behind.
    package var feedScanSizeMax = 4 * 1_024 * 1_024
    /// A read that no leader confirms, or a stale one whose revision does not come, is answered after this.
    package var requestTimeout = Interval.seconds(5)
    /// Log bytes kept in memory beyond what is under way, for followers that are a little late.
    package var tailSizeMax = 16 * 1_024 * 1_024
    /// Apply groups handed over and not yet reported.
    package var appliesInFlightMax = 4
    /// Bytes of a snapshot's manifest that are given to another node at a time.
    package var snapshotPieceSizeMax = Limits.snapshotPieceSizeMax
    /// Members tell the leader of themselves this often.
    package var reportInterval = Interval.seconds(1)

    package init(name: String, clientAddress: String, peerAddress: String, softwareVersion: String) {
        self.name = name
        self.clientAddress = clientAddress
        self.peerAddress = peerAddress
        self.softwareVersion = softwareVersion
    }
}

/// What a node finds in its data directory.
package struct RestoredReplica: Sendable {
    package var identity: ClusterIdentity
    package var id: NodeID
    package var raft: RestoredState
    package var membership: Membership
    /// The memberships in the log from the last applied one on: those that are not committed may be taken back. Empty: the
    /// log holds no other than `membership`.
    package var membershipHistory: [(index: LogIndex, membership: Membership)] = []
    package var memberInfo: [NodeID: MemberInfo]
    /// Cluster time of the newest record in the log, or of the state when the log is empty.
    package var lastTime: ClusterTime
    /// The state is older than the log's first entry: it has to be fetched from a peer before anything is applied.
    package var needsState: Bool
    /// Of a node that joined: the members as they were when it was added, and the index of that entry. They bring the log
    /// that names them.
    package var contacts: [Member] = []
    package var joinedAt = LogIndex.zero
    /// The state can tell what entries after this one changed.
    package var feedFloor = LogIndex.zero
    /// The cluster's, as the state says.
    package var featureLevel = FeatureLevel.first
    /// How far other nodes have acknowledged committed entries to this one.
    package var acknowledged: [NodeID: LogIndex]
    /// What a person has not cleared yet.
    package var alarms: [LatchedAlarm] = []

    package init(
        identity: ClusterIdentity, id: NodeID, raft: RestoredState, membership: Membership,
        memberInfo: [NodeID: MemberInfo], lastTime: ClusterTime, needsState: Bool,
        acknowledged: [NodeID: LogIndex] = [:]
    ) {
        self.acknowledged = acknowledged
        self.identity = identity
        self.id = id
        self.raft = raft
        self.membership = membership
        self.memberInfo = memberInfo
        self.lastTime = lastTime
        self.needsState = needsState
    }
}
