internal import Basics
internal import MetadataMachine
internal import MetadataModel
internal import RaftCore
internal import ReplicaCore
internal import ReplicaStorage
internal import StateEngine

/// The members that are healed when faults have struck for long enough, while all others stay as they are, or become
/// worse.
struct Majority {
    /// By number.
    var inside: [Int]
    var outside: [Int]
    /// Of those outside, who does not come back.
    var dead: Set<Int> = []

    func isDead(_ node: Int) -> Bool { dead.contains(node) }
}

/// Between the faults and the end of all faults: a majority is whole and connected, and nothing else is. It has to elect
/// a leader, to agree, to answer everybody and to keep its leader, whatever those outside it do.
extension World {
    /// How a node outside the majority is when the majority has to get well.
    private enum Outside: CaseIterable {
        case asItIs, dead, asleep, cutOff, deaf, mute, partial, slowDisk, stuckDisk
    }

    /// Chooses a majority, and heals it.
    /// - Returns: false where there is no node that could be left out.
    func healMajority() -> Bool {
        guard violation == nil, let voters = settledVoters else { return false }
        // What is newer than the cluster's level is refused, and holds up its session, until all members are upgraded.
        guard !settings.mixesReleases || membersAreAtKnownLevel else { return false }
        var order = voters
        for place in order.indices { order.swapAt(place, majorityChance.number(in: place...order.count - 1)) }
        let quorum = voters.count / 2 + 1
        guard quorum < voters.count else { return false }
        // Mostly just enough of them.
        let size = majorityChance.happens(percent: 75) ? quorum : majorityChance.number(in: quorum...voters.count - 1)
        // Whatever was damaged inside has to be mended from what is inside. So if they cannot, the sound ones come first.
        let atlas = FaultAtlas(self)
        if !atlas.standAlone(Set(order.prefix(size))) {
            order = order.filter { atlas.standAlone([$0]) } + order.filter { !atlas.standAlone([$0]) }
            guard atlas.standAlone(Set(order.prefix(size))) else { return false }
        }
        majority = Majority(inside: order.prefix(size).sorted(), outside: order.dropFirst(size).sorted())
        isFaulty = false
        isBusy = false
        network.lossPercent = 0
        lags = NetworkLags()
        crashes.mode = .none
        for client in clients { client.isWorking = false }
        tell("\(majorityNames) are healed")
        for number in majority?.inside ?? [] { heal(nodes[number]) }
        for number in majority?.outside ?? [] { leaveBroken(nodes[number], quorum: quorum, voters: voters) }
        waysBlocked()
        waysFreed()
        return true
    }

    var majorityNames: String { (majority?.inside ?? []).map { nodes[$0].name }.joined(separator: " ") }

    /// Numbers of all voters, where no change of them is under way or may still come; nil where one is.
    private var settledVoters: [Int]? {
        guard settings.changesMembers else { return Array(nodes.indices) }
        guard isOperatorIdle else { return nil }
        let newest = oracle.members.newest
        let voters = newest.membership.incoming.compactMap { id in nodes.firstIndex { $0.id == id } }
        // An entry that is not committed yet may bring other members.
        let isKnownToAll = nodes.allSatisfy { ($0.process?.replica.raft.configurationIndex ?? newest.index) <= newest.index }
        return !newest.isJoint && isKnownToAll && voters.count == newest.membership.incoming.count ? voters : nil
    }

    // MARK: - Inside

    private func heal(_ node: SimNode) {
        let hosts = (majority?.inside ?? []) + (nodes.count..<nodes.count + clients.count)
        for other in hosts where other != node.number {
            reachability.free(node.number, other)
            reachability.free(other, node.number)
        }
        makeWhole(node)
    }

    /// Its disk and its process, not its links.
    func makeWhole(_ node: SimNode) {
        node.disk.quota = .max
        node.disk.failsNextSync = false
        node.disk.failsNextWrite = false
        node.damagesNextPiece = false
        node.failsNextLogRead = false
        node.home.live.readFault = nil
        node.diskLatencyMax = .milliseconds(4)
        if node.pausedUntil > now {
            node.pausedUntil = now
            wake(node)
        }
        // A disk that hangs, or a process that was asked to end, takes a new start.
        if node.diskStuckUntil > now || (node.process != nil && node.stoppingLife == node.life) {
            stopProcess(of: node, losingPower: true)
        }
        node.diskStuckUntil = .zero
        schedule(.start(node: node.number), after: .zero)
    }

    // MARK: - Outside

    private func leaveBroken(_ node: SimNode, quorum: Int, voters: [Int]) {
        let drawn = majorityChance.pick(Outside.allCases)
        if drawn != .asItIs { counters.add(.outsideMajority) }
        tell("\(node.name) is left outside: \(drawn)")
        if !node.isRunning || drawn == .dead { majority?.dead.insert(node.number) }
        let others = Array(0..<nodes.count + clients.count).filter { $0 != node.number }
        switch drawn {
        case .asItIs: break
        case .dead: stopProcess(of: node, losingPower: true)
        case .asleep: if node.process != nil { node.pausedUntil = .never }
        case .cutOff: for other in others { cutOff(node.number, other) }
        case .deaf: for other in others { reachability.block(other, node.number) }
        case .mute: for other in others { reachability.block(node.number, other) }
        case .partial: for other in others where majorityChance.happens(percent: 60) { cutOff(node.number, other) }
        case .slowDisk: node.diskLatencyMax = .seconds(1)
        case .stuckDisk: node.diskStuckUntil = now + .seconds(3_600)
        }
        keepApart(node.number, quorum: quorum, voters: voters)
    }

    private func cutOff(_ one: Int, _ other: Int) {
        reachability.block(one, other)
        reachability.block(other, one)
    }

    /// Whoever reaches a quorum may lead it, and is right to; a member that it does not reach is then behind, because
    /// nobody passes entries on. So nobody outside reaches a quorum, unless he reaches the whole majority.
    private func keepApart(_ node: Int, quorum: Int, voters: [Int]) {
        func reaches(_ other: Int) -> Bool {
            !reachability.isStalled(node, other) && !reachability.isStalled(other, node)
        }
        let inside = majority?.inside ?? []
        guard !inside.allSatisfy(reaches), voters.count(where: { $0 == node || reaches($0) }) >= quorum else { return }
        for other in inside { cutOff(node, other) }
    }

    // MARK: - The demand

    var isLedFromInside: Bool {
        majority?.inside.contains { nodes[$0].process?.replica.raft.isLeader == true } ?? false
    }

    /// One leader, the members of the majority agree with it, and no call is open.
    var isMajoritySettled: Bool {
        guard clients.allSatisfy({ $0.items.isEmpty }), let majority else { return false }
        let members = majority.inside.compactMap { nodes[$0].process }
        guard members.count == majority.inside.count, let first = members.first else { return false }
        let raft = first.replica.raft
        guard let leader = raft.leader, let leading = nodes.first(where: { $0.id == leader })?.process,
            leading.replica.raft.isLeader, leading.replica.raft.currentTerm == raft.currentTerm
        else { return false }
        let last = leading.replica.raft.lastIndex
        return members.allSatisfy {
            $0.replica.raft.leader == leader && $0.replica.raft.currentTerm == raft.currentTerm
                && $0.replica.raft.lastIndex == last && $0.state.machine.applied.last.index == last
                && !$0.replica.isDiskLow
        }
    }
}
