import Basics
import RaftCore
import Testing

/// Cores under a random network, random disks, random crashes and random administration. `TestCluster` checks safety at
/// every step; here are the schedules, and progress once the faults stop.
@Suite struct RandomScheduleTests {
    @Test("random schedules break no safety property, and healed clusters make progress", arguments: 0..<10)
    func randomSchedules(group: UInt64) {
        for seed in group * 20..<group * 20 + 20 {
            var schedule = Schedule(seed: seed)
            schedule.cluster.isTracing = false
            schedule.run()
        }
    }

    /// A property that no schedule can break proves nothing.
    @Test("the schedules reach every kind of event") func schedulesReachEverything() {
        var missing: Set = [
            "preVote yes", "preVote no", "vote yes", "vote no", "not after", "empty", "snapshot term", "in progress",
            "snapshot reached", "readIndex is unknown", "readIndex is 1", "timeoutNow", "transfer",
            "round 2", "commit 30",
        ]
        var joint = 0
        for seed in UInt64(3_000)..<3_060 {
            var schedule = Schedule(seed: seed)
            schedule.run()
            for line in schedule.cluster.trace where !missing.isEmpty {
                for kind in missing where line.contains(kind) { missing.remove(kind) }
            }
            joint += schedule.cluster.committed.filter { entry in
                if case .configuration(let configuration) = entry.content { configuration.isJoint } else { false }
            }.count
        }
        #expect(missing.isEmpty)
        #expect(joint >= 10)
    }

    @Test("the same seed gives the same run") func sameSeedSameRun() {
        for seed in UInt64(1_000)..<1_010 {
            var first = Schedule(seed: seed)
            var second = Schedule(seed: seed)
            first.run()
            second.run()
            #expect(first.cluster.trace == second.cluster.trace)
        }
    }
}

/// One random run: a faulty phase, then a healed one in which there must be a leader and everything must converge.
struct Schedule {
    var cluster: TestCluster
    private var random: SplitMix64
    private let seed: UInt64
    private var dueTimes: [(packet: Packet, due: Instant)] = []
    /// The sync under way at each disk: when it returns, and how many persists it covers.
    private var syncs: [NodeID: (due: Instant, count: Int)] = [:]
    private let lossPercent: Int
    private let duplicatePercent: Int
    private let delayMax: Interval
    private let persistDelayMax: Interval
    private let changesMembers: Bool
    private let compacts: Bool
    private var isFaulty = true
    private var isReported = false

    init(seed: UInt64) {
        self.seed = seed
        var random = SplitMix64(seed: seed)
        var settings = RaftSettings()
        settings.inflightMessagesMax = Int.random(in: 1...8, using: &random)
        settings.entriesPerAppendMax = Int.random(in: 1...6, using: &random)
        settings.uncommittedEntriesMax = 40
        let voters = [1, 2, 3, 3, 3, 4, 5, 5][Int.random(in: 0..<8, using: &random)]
        changesMembers = Bool.random(using: &random)
        compacts = Int.random(in: 0..<2, using: &random) == 0
        lossPercent = [0, 0, 2, 10, 30].randomElement(using: &random)!
        duplicatePercent = [0, 0, 5, 30].randomElement(using: &random)!
        delayMax = .milliseconds([1, 5, 30, 120].randomElement(using: &random)!)
        persistDelayMax = .milliseconds([0, 1, 20, 200].randomElement(using: &random)!)
        cluster = TestCluster(
            voters, learners: Bool.random(using: &random) ? [8] : [], strangers: [9], settings: settings, seed: seed)
        self.random = random
    }

    mutating func run() {
        for _ in 0..<2_500 {
            advance()
            if chance(oneIn: 12) { act() }
            if chance(oneIn: 90) { injectFault() }
        }
        heal()
        requireProgress()
    }

    // MARK: - Time

    /// The next thing that happens by itself: a packet arrives, a sync returns, a timer runs out.
    private mutating func advance() {
        enum Event { case nothing, packet(Int), sync(NodeID), timer(NodeID) }
        scheduleNew()
        var (next, event) = (cluster.now + .milliseconds(20), Event.nothing)
        for (position, item) in dueTimes.enumerated() where item.due < next {
            (next, event) = (item.due, .packet(position))
        }
        for node in cluster.nodes where node.isUp {
            if !node.isDiskStalled, let sync = syncs[node.id], sync.due < next {
                (next, event) = (sync.due, .sync(node.id))
            }
            if node.raft.nextDeadline < next { (next, event) = (node.raft.nextDeadline, .timer(node.id)) }
        }
        cluster.now = max(cluster.now, next)
        switch event {
        case .nothing: break
        case .timer(let id): cluster.step(id.rawValue, .deadlineReached)
        case .sync(let id):
            let count = syncs.removeValue(forKey: id)?.count ?? 0
            for _ in 0..<count { cluster.finishPersist(cluster.position(id.rawValue)) }
        case .packet(let position):
            let packet = dueTimes.remove(at: position).packet
            if !cluster.isLost(packet) { cluster.deliver(packet) }
        }
    }

    private mutating func scheduleNew() {
        for packet in cluster.takeNetwork() {
            if isFaulty, chance(percent: lossPercent) { continue }
            let copies = isFaulty && chance(percent: duplicatePercent) ? 2 : 1
            for _ in 0..<copies { dueTimes.append((packet, cluster.now + delay(upTo: delayMax))) }
        }
        for node in cluster.nodes where node.isUp && !node.persistQueue.isEmpty && syncs[node.id] == nil {
            syncs[node.id] = (cluster.now + delay(upTo: persistDelayMax), node.persistQueue.count)
        }
    }

    private mutating func delay(upTo limit: Interval) -> Interval {
        random.interval(from: .microseconds(50), through: max(limit, .microseconds(60)))
    }

    private mutating func chance(oneIn count: Int) -> Bool { Int.random(in: 0..<count, using: &random) == 0 }
    private mutating func chance(percent: Int) -> Bool { Int.random(in: 0..<100, using: &random) < percent }
    private mutating func anyNode() -> UInt64 { cluster.nodes.randomElement(using: &random)!.id.rawValue }

    // MARK: - Clients and operators

    private mutating func act() {
        let id = anyNode()
        guard cluster[id].isUp else { return }
        let raft = cluster.raft(id)
        switch Int.random(in: 0..<24, using: &random) {
        case 0..<9:
            guard raft.canPropose else { return }
            cluster.propose(id, count: Int.random(in: 1...5, using: &random))
        case 9..<12: _ = cluster.read(id)
        case 12: cluster.step(id, .transferRequested(to: Bool.random(using: &random) ? nil : NodeID(anyNode())))
        case 13 where compacts: compact(id)
        case 14: cluster.step(id, .linkLost(NodeID(anyNode())))
        case 15: cluster.step(id, .linkRestored(NodeID(anyNode())))
        case 16 where isFaulty: cluster.step(id, .campaigningAllowed(Bool.random(using: &random)))
        case 17...19 where changesMembers: changeMembers(id)
        default: serveSnapshots(id)
        }
    }

    private mutating func compact(_ id: UInt64) {
        let node = cluster[id]
        let first = node.log.base.index.rawValue
        // A shell compacts to what is durable in its state machine: here, no more than a restart would keep.
        let last = first + (UInt64(node.applied.count) - first) / 2
        guard last > first else { return }
        cluster.compact(id, through: UInt64.random(in: first...last, using: &random))
    }

    private mutating func serveSnapshots(_ id: UInt64) {
        if cluster[id].snapshotsWanted > 0, !cluster[id].applied.isEmpty {
            cluster[id].snapshotsWanted = 0
            cluster.step(id, .snapshotAvailable(cluster.snapshotPoint(id)))
        }
        guard let fetch = cluster[id].fetch else { return }
        if isFaulty, chance(oneIn: 2) {
            cluster[id].fetch = nil
            cluster.step(id, .snapshotFailed(fetch.snapshot))
        } else {
            cluster.installSnapshot(id)
        }
    }

    private mutating func changeMembers(_ id: UInt64) {
        let raft = cluster.raft(id)
        guard raft.canProposeConfiguration else { return }
        let all = cluster.nodes.map(\.id)
        let current = raft.configuration
        if chance(oneIn: 3) {
            let learners = all.filter { !current.isVoter($0) && Bool.random(using: &random) }
            cluster.step(
                id, .proposedConfiguration(Configuration(incoming: current.incoming, learners: learners)))
            return
        }
        var incoming = all.filter { _ in Int.random(in: 0..<3, using: &random) > 0 }
        if incoming.isEmpty { incoming = current.incoming }
        let learners = current.learners.filter { !incoming.contains($0) && !current.incoming.contains($0) }
        cluster.step(
            id,
            .proposedConfiguration(
                Configuration(incoming: incoming, outgoing: current.incoming, learners: learners)))
    }

    // MARK: - Faults

    private mutating func injectFault() {
        let id = anyNode()
        switch Int.random(in: 0..<10, using: &random) {
        case 0..<3:
            guard cluster[id].isUp else {
                cluster.restart(id)
                return
            }
            let queued = cluster[id].persistQueue.count
            cluster.crash(id, persistsDone: Int.random(in: 0...queued, using: &random))
            syncs[NodeID(id)] = nil
            for node in cluster.nodes where node.isUp && Bool.random(using: &random) {
                cluster.step(node.id.rawValue, .linkLost(NodeID(id)))
            }
        case 3: cluster.isolate(id)
        case 4: cluster.cut(id, anyNode())
        case 5, 6, 7: cluster.heal()
        case 8: cluster[id].isDiskStalled.toggle()
        default: if !cluster[id].isUp { cluster.restart(id) }
        }
    }

    private mutating func heal() {
        isFaulty = false
        cluster.heal()
        for node in cluster.nodes {
            let id = node.id.rawValue
            cluster[id].isDiskStalled = false
            if !node.isUp { cluster.restart(id) }
            cluster.step(id, .campaigningAllowed(true))
            for peer in cluster.nodes where peer.id != node.id { cluster.step(id, .linkRestored(peer.id)) }
        }
    }

    /// Ten election timeouts and some more for snapshots: one leader, everything applied everywhere, every read
    /// answered.
    private mutating func requireProgress() {
        let end = cluster.now + .seconds(40)
        var proposed: EntryID?
        while cluster.now < end {
            advance()
            if chance(oneIn: 5) { for node in cluster.nodes { serveSnapshots(node.id.rawValue) } }
            guard let leader = cluster.leader else { continue }
            // A leader that is deposed may take its proposal along, so each leader gets one.
            if proposed?.term != cluster.raft(leader).currentTerm, cluster.raft(leader).canPropose {
                cluster.propose(leader)
                proposed = EntryID(term: cluster.raft(leader).currentTerm, index: cluster.raft(leader).lastIndex)
            }
            if let proposed, hasConverged(through: proposed.index.rawValue) { return }
        }
        for node in cluster.nodes {
            print(node.id, node.raft.status, node.applied.count, node.raft.peers, node.raft.configuration)
        }
        preconditionFailure("seed \(seed): no progress after healing")
    }

    private func hasConverged(through index: UInt64) -> Bool {
        guard let leader = cluster.leader else { return false }
        let configuration = cluster.raft(leader).configuration
        return !configuration.isJoint
            && cluster.nodes.allSatisfy { !configuration.contains($0.id) || $0.applied.count >= index }
            && UInt64(cluster.committed.count) >= index
    }
}
