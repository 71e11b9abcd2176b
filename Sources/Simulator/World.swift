internal import Basics
internal import Disk
internal import LogFormat
internal import LogStore
internal import MetadataMachine
internal import MetadataModel
internal import RaftCore
internal import ReplicaCore
internal import StateEngine

/// A cluster, its clients, its network and its disks in one value of time, all of it a function of one seed.
///
/// What runs here is what ships: `Replica`, `SegmentedLog`, the snapshot and state rooms, `ClientState`. What is
/// simulated is everything below them: machines that crash, disks that tear, connections that stall, clocks that drift.
/// There is one queue of events; each is taken at its time, and everything that follows from it is put back into the
/// queue. After each, the checkers look at what no single node can see.
///
/// A run has two phases. In the first, faults strike (World+Faults). Then everything is healed, the workload ends, and
/// the cluster has to get well within a bound: one leader, every call ended, all states equal.
///
/// Topics: SimNetwork (connections), World+Nodes (processes and their threads), World+Clients, World+Faults,
/// World+Checks.
package final class World {
    enum Event {
        case delivered(SimConnection, toCalled: Bool, bytes: [UInt8])
        case closeArrived(SimConnection, atCalled: Bool)
        case dialArrived(SimConnection)
        case dialSucceeded(SimConnection)
        case dialFailed(SimConnection, isRefused: Bool)
        case blockedTooLong(SimConnection)
        case start(node: Int)
        case dialPeer(node: Int, life: Int, peer: Int)
        case deadline(node: Int, life: Int, number: Int)
        case maintain(node: Int, life: Int)
        case logDone(node: Int, life: Int)
        case logIdle(node: Int, life: Int)
        case stateDone(node: Int, life: Int)
        case snapshotDone(node: Int, life: Int)
        case logRead(node: Int, life: Int, LogRead)
        case logReread(node: Int, life: Int)
        case clientDeadline(client: Int, number: Int)
        case clientThinks(client: Int, round: Int)
        case nextFault(round: Int)
        case faultEnds(Fault)
        // Where the members change.
        case linksChanged(node: Int, life: Int)
        case callMember(node: Int, life: Int, member: NodeID)
        case questionEnds(node: Int, life: Int, token: UInt64)
        case joinRound(node: Int, life: Int)
        case operatorActs
        case leaderIsStruck
        case retire(node: Int, id: NodeID)
        case upgrade(node: Int)
        case rhythmChanges
        case wake(node: Int)
        case repairRound(node: Int, life: Int)
        case special(Special)
        case state(StateEvent)
    }

    package let seed: UInt64
    let settings: WorldSettings
    /// Of the generation at present.
    var identity: ClusterIdentity
    var founding: FoundingRecord
    var now = Instant.zero
    var queue = EventQueue<Event>()
    var nodes: [SimNode] = []
    var clients: [SimClient] = []
    var connections: [SimConnection] = []
    var reachability: Reachability
    var network = NetworkSettings()
    var isFaulty = true
    /// A majority is healed, and whoever is outside it is not.
    var majority: Majority?
    var majoritiesHealed = 0
    /// Clients work and faults strike, often; else both do now and then.
    var isBusy = true
    /// Rises whenever that changes.
    var rhythmRound = 0
    /// Events since time went on.
    private var eventsAtOnce = 0

    // One stream of chance for each concern.
    var networkChance: Chance
    var nodeChance: Chance
    var workChance: Chance
    var faultChance: Chance
    var adminChance: Chance
    var coordinationChance: Chance
    var watchChance: Chance
    var registryChance: Chance
    var releaseChance: Chance
    var rhythmChance: Chance
    var lossChance: Chance
    var majorityChance: Chance
    var diskChance: Chance

    /// Where processes die, beside the faults that are drawn by time.
    var crashes: CrashPlan
    var oldLeaderChance: Chance
    var clientChance: Chance
    var restoreChance: Chance
    var stateFaults: StateFaults
    /// When the faults ended.
    var healedAt = Instant.zero

    // What the checkers keep outside the nodes.
    var oracle: CommitOracle
    /// Whatever anybody has written.
    var logs = LogHistory()
    /// A state to be made again from a snapshot and the log at the end.
    var rebuilding: SnapshotSource<MemoryView>?
    var leaders: [Term: NodeID] = [:]
    /// From when to when somebody was seen to lead this term.
    var led: [Term: (since: Instant, until: Instant)] = [:]
    var history: [[Operation]]
    /// Mutations of which a client does not know whether they took effect, by group.
    var unknown: [[(operation: Operation, content: [UInt8])]]
    /// The highest revision that any client was told, but for stale reads.
    var revisionAnswered = LogIndex.zero
    var ackedMutations = 0
    var answeredReads = 0
    var unknownOutcomes = 0
    /// Writes under a fence that held no more.
    package internal(set) var fencedRefusals = 0
    var lastValueNumber: UInt32 = 0
    /// Revisions of mutations that their clients know of.
    var acknowledged: Set<LogIndex> = []
    /// Commands that clients were told to have had no effect.
    var refusedContents: [[UInt8]] = []
    var watchers: [SimWatcher] = []
    /// Those whose feed was lost, until they begin again.
    var lostWatches: [Int] = []
    var watchedChanges = 0
    var observers: [SimObserver] = []
    /// By all observers together.
    package internal(set) var leadersSeen = 0
    /// Where there are masters, whom they have to do with.
    var cast = RegistryCast()
    /// Changes whose row before was told, and right.
    var historyChecked = 0
    /// Connections whose bytes this world has damaged.
    var damagedConnections: [SimConnection] = []

    // Where the members change: who does it, and what is needed to judge what comes of it.
    var admin = Operator(client: 0)
    /// Configurations under which somebody led, in the order in which they were seen.
    var leaderConfigurations: [IndexedConfiguration] = []
    /// The newest of each term. Only looked up in.
    var configurationOfTerm: [Term: IndexedConfiguration] = [:]
    /// Incarnations whose directory is gone, with what their logs held. Only looked up in.
    var lostLogs: [NodeID: SegmentedLog?] = [:]
    /// What is on its way from one host to another takes this much longer.
    var lags = NetworkLags()
    /// In a world that is restored from a snapshot of its own.
    var restoration = Restoration()
    /// The faults are over, everybody is awake, and the operator may expect that whatever it wants comes about.
    var isAtPeace = false

    package internal(set) var counters = FaultCounters()
    package internal(set) var violation: String?
    /// Nodes whose state a scenario has made wrong, until they have found out and rebuilt it.
    package internal(set) var diverged: Set<Int> = []
    /// Of everything that happened, in order.
    package private(set) var eventHash: UInt64 = 0xCBF2_9CE4_8422_2325
    package private(set) var eventCount = 0
    /// Told each event, when somebody wants to read along.
    package var trace: ((String) -> Void)?

    package init(seed: UInt64, settings given: WorldSettings = WorldSettings()) {
        self.seed = seed
        var shape = Chance(seed: seed, stream: 1)
        var swarmChance = Chance(seed: seed, stream: 10)
        var limitsChance = Chance(seed: seed, stream: 43)
        settings = given.drawn(&shape, swarm: &swarmChance, limits: &limitsChance)
        networkChance = Chance(seed: seed, stream: 2)
        nodeChance = Chance(seed: seed, stream: 3)
        workChance = Chance(seed: seed, stream: 4)
        faultChance = Chance(seed: seed, stream: 5)
        adminChance = Chance(seed: seed, stream: 6)
        coordinationChance = Chance(seed: seed, stream: 7)
        watchChance = Chance(seed: seed, stream: 8)
        registryChance = Chance(seed: seed, stream: 45)
        releaseChance = Chance(seed: seed, stream: 9)
        rhythmChance = Chance(seed: seed, stream: 20)
        lossChance = Chance(seed: seed, stream: 21)
        majorityChance = Chance(seed: seed, stream: 22)
        diskChance = Chance(seed: seed, stream: 23)
        crashes = CrashPlan(seed: seed)
        oldLeaderChance = Chance(seed: seed, stream: 41)
        clientChance = Chance(seed: seed, stream: 44)
        restoreChance = Chance(seed: seed, stream: 42)
        stateFaults = StateFaults(seed: seed)
        identity = ClusterIdentity(id: shape.next(), generation: 1, generationTag: shape.next())
        reachability = Reachability(hosts: settings.hostCount)
        history = [[Operation]](repeating: [], count: Workload.groupCount)
        unknown = [[(operation: Operation, content: [UInt8])]](repeating: [], count: Workload.groupCount)
        network.delayMax = settings.networkDelayMax
        network.lossPercent = settings.lossPercent
        if network.isSlow { counters.add(.delay) }

        for number in 0..<settings.nodeCount {
            let disk = SimDisk(seed: shape.next())
            disk.makeDurableDirectory("/data")
            let clock = SimClock(chance: &shape, drifts: settings.driftsClocks)
            let home = SimEngineHome(isVolatile: settings.hasVolatileState)
            nodes.append(
                SimNode(number: number, id: NodeID(shape.next() | 1), disk: disk, home: home, clock: clock))
        }
        if settings.driftsClocks { counters.add(.clockDrift, settings.nodeCount) }
        let founders = nodes.map(\.clientAddress)
        let members = nodes.map { Member(id: $0.id, name: $0.name, peerAddress: $0.peerAddress) }
        founding = FoundingRecord(
            identity: identity, createdAt: ClusterTime(nanoseconds: SimClock.epoch),
            membership: Membership(members: members, incoming: members.map(\.id)))
        oracle = CommitOracle(founding: founding.membership)
        for number in 0..<settings.clientCount {
            clients.append(
                SimClient(
                    number: number, endpoints: founders, identity: identity, chance: &shape, settings: settings))
        }
        if settings.changesMembers { prepareChanges(founders) }
        drawReleases()
        founding.featureLevel = foundingLevel
        for node in nodes { schedule(.start(node: node.number), after: nodeChance.interval(.zero, .milliseconds(200))) }
        for client in clients {
            schedule(
                .clientThinks(client: client.number, round: 0), after: nodeChance.interval(.zero, .milliseconds(500)))
        }
        if settings.injectsFaults {
            schedule(.nextFault(round: 0), after: .seconds(2))
            if settings.enabled[Fault.Class.crash.rawValue] { crashes.mode = .drawn }
        }
        startRhythm()
        startStateFaults()
        startWatchers()
        startObservers()
        startRegistry()
        planOldLeaders()
        planClientFaults()
        planRestore()
    }

    // MARK: - Time

    func schedule(_ event: Event, after interval: Interval) { queue.add(event, at: now + interval) }

    /// Nothing that makes sense happens so often at one instant.
    private static let eventsAtOnceMax = 1_000_000

    /// Runs until `end` or the first violation.
    func run(until end: Instant) {
        while violation == nil, let next = queue.pop(notAfter: end) {
            eventsAtOnce = next.time == now ? eventsAtOnce + 1 : 0
            if eventsAtOnce > Self.eventsAtOnceMax { fail("time stands still") }
            now = next.time
            handle(next.event)
        }
        if violation == nil { now = end }
    }

    func fail(_ text: @autoclosure () -> String) {
        if violation == nil { violation = "at \(now.nanoseconds / 1_000_000) ms: \(text())" }
    }

    // MARK: - Events

    private func handle(_ event: Event) {
        if let number = node(concernedBy: event), nodes[number].pausedUntil > now {
            nodes[number].held.append(event)
            return
        }
        note(event)
        switch event {
        case .delivered(let connection, let toCalled, let bytes):
            delivered(bytes, over: connection, toCalled: toCalled)
        case .closeArrived(let connection, let atCalled): endReached(connection, atCalled: atCalled)
        case .dialArrived(let connection): dialArrived(connection)
        case .dialSucceeded(let connection): dialSucceeded(connection)
        case .dialFailed(let connection, let isRefused): dialFailed(connection, isRefused: isRefused)
        case .blockedTooLong(let connection): blockedTooLong(connection)
        case .start(let node): start(nodes[node])
        case .dialPeer(let node, let life, let peer): if isRunning(node, life) { dialPeer(nodes[node], peer) }
        case .deadline(let node, let life, let number):
            if isRunning(node, life) { deadlineReached(nodes[node], number) }
        case .maintain(let node, let life): if isRunning(node, life) { maintain(nodes[node]) }
        case .logDone(let node, let life): if isRunning(node, life) { logDone(nodes[node]) }
        case .logIdle(let node, let life): if isRunning(node, life) { logIdle(nodes[node]) }
        case .stateDone(let node, let life): if isRunning(node, life) { stateDone(nodes[node]) }
        case .snapshotDone(let node, let life): if isRunning(node, life) { snapshotDone(nodes[node]) }
        case .logRead(let node, let life, let read): if isRunning(node, life) { logRead(nodes[node], read) }
        case .logReread(let node, let life): if isRunning(node, life) { logReread(nodes[node]) }
        case .clientDeadline(let client, let number): clientDeadlineReached(clients[client], number)
        case .clientThinks(let client, let round): if round == rhythmRound { clientThinks(clients[client]) }
        case .nextFault(let round): if round == rhythmRound { nextFault() }
        case .faultEnds(let fault): end(fault)
        case .linksChanged(let node, let life): if isRunning(node, life) { linksChanged(nodes[node]) }
        case .callMember(let node, let life, let member):
            if isRunning(node, life) { callMember(nodes[node], member) }
        case .questionEnds(let node, let life, let token):
            if isRunning(node, life) { questionEnds(nodes[node], token, .failed("does not answer")) }
        case .joinRound(let node, let life): if nodes[node].life == life { joinRound(nodes[node]) }
        case .operatorActs: operatorActs()
        case .leaderIsStruck: strikeLeader()
        case .retire(let node, let id): retire(nodes[node], id)
        case .upgrade(let node): upgradeIsDue(node)
        case .rhythmChanges: rhythmChanges()
        case .wake(let node): wake(nodes[node])
        case .repairRound(let node, let life): if nodes[node].life == life { repairRound(nodes[node]) }
        case .special(let special): happened(special)
        case .state(let event): stateEvent(event)
        }
    }

    func isRunning(_ node: Int, _ life: Int) -> Bool { nodes[node].life == life && nodes[node].process != nil }

    /// Whose process would have to run for this to happen.
    private func node(concernedBy event: Event) -> Int? {
        func number(_ end: SimConnection.End) -> Int? { if case .node(let number, _) = end { number } else { nil } }
        switch event {
        case .delivered(let connection, let toCalled, _): return number(connection.end(called: toCalled))
        case .closeArrived(let connection, let atCalled): return number(connection.end(called: atCalled))
        case .dialSucceeded(let connection), .dialFailed(let connection, _): return number(connection.caller)
        case .dialPeer(let node, _, _), .deadline(let node, _, _), .maintain(let node, _), .logDone(let node, _),
            .logIdle(let node, _), .stateDone(let node, _), .snapshotDone(let node, _), .logRead(let node, _, _),
            .logReread(let node, _), .linksChanged(let node, _), .callMember(let node, _, _), .questionEnds(let node, _, _),
            .joinRound(let node, _), .repairRound(let node, _), .state(.scrubStep(let node, _, _)):
            return node
        case .dialArrived, .blockedTooLong, .start, .clientDeadline, .clientThinks, .nextFault, .faultEnds,
            .operatorActs, .leaderIsStruck, .retire, .upgrade, .rhythmChanges, .wake, .state(.nextFault):
            return nil
        case .special(let special): return special.node
        }
    }

    // MARK: - The hash of a run

    private func note(_ event: Event) {
        eventCount += 1
        mix(now.nanoseconds)
        switch event {
        case .delivered(let connection, let toCalled, let bytes):
            mix(UInt64(host(of: connection.end(called: toCalled))) << 8 | 1)
            mix(UInt64(CRC32C.checksum(of: bytes.rawSpan)))
        case .closeArrived(let connection, let atCalled):
            mix(UInt64(host(of: connection.end(called: atCalled))) << 8 | 2)
        case .dialArrived(let connection): mix(UInt64(host(of: connection.called)) << 8 | 3)
        case .dialSucceeded(let connection): mix(UInt64(host(of: connection.caller)) << 8 | 4)
        case .dialFailed(let connection, _): mix(UInt64(host(of: connection.caller)) << 8 | 5)
        case .blockedTooLong(let connection): mix(UInt64(host(of: connection.caller)) << 8 | 6)
        case .start(let node): mix(UInt64(node) << 8 | 7)
        case .dialPeer(let node, _, let peer): mix(UInt64(node << 4 | peer) << 8 | 8)
        case .deadline(let node, _, _): mix(UInt64(node) << 8 | 9)
        case .maintain(let node, _): mix(UInt64(node) << 8 | 10)
        case .logDone(let node, _): mix(UInt64(node) << 8 | 11)
        case .logIdle(let node, _): mix(UInt64(node) << 8 | 12)
        case .stateDone(let node, _): mix(UInt64(node) << 8 | 13)
        case .snapshotDone(let node, _): mix(UInt64(node) << 8 | 14)
        case .logRead(let node, _, let read): mix(read.range.lowerBound.rawValue << 16 | UInt64(node) << 8 | 15)
        case .logReread(let node, _): mix(UInt64(node) << 8 | 34)
        case .clientDeadline(let client, _): mix(UInt64(client) << 8 | 16)
        case .clientThinks(let client, _): mix(UInt64(client) << 8 | 17)
        case .nextFault: mix(18)
        case .faultEnds: mix(19)
        case .linksChanged(let node, _): mix(UInt64(node) << 8 | 20)
        case .callMember(let node, _, let member): mix((member.rawValue << 4 ^ UInt64(node)) << 8 | 21)
        case .questionEnds(let node, _, let token): mix((token << 4 ^ UInt64(node)) << 8 | 22)
        case .joinRound(let node, _): mix(UInt64(node) << 8 | 23)
        case .operatorActs: mix(24)
        case .leaderIsStruck: mix(25)
        case .retire(let node, _): mix(UInt64(node) << 8 | 26)
        case .upgrade(let node): mix(UInt64(node) << 8 | 27)
        case .rhythmChanges: mix(28)
        case .wake(let node): mix(UInt64(node) << 8 | 29)
        case .repairRound(let node, _): mix(UInt64(node) << 8 | 30)
        case .special(let special): mix(special.number << 8 | 31)
        case .state(.nextFault): mix(32)
        case .state(.scrubStep(let node, _, _)): mix(UInt64(node) << 8 | 33)
        }
    }

    func mix(_ value: UInt64) {
        eventHash = (eventHash ^ value) &* 0x9E37_79B9_7F4A_7C15
        eventHash ^= eventHash >> 29
    }

    func tell(_ text: @autoclosure () -> String) {
        trace?("\(now.nanoseconds / 1_000) us  \(text())")
    }
}
