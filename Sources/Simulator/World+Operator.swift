internal import Basics
internal import ClientCore
internal import MetadataModel
internal import RaftCore
internal import ReplicaCore
internal import Wire

/// What the operator of a world whose members change does: it draws a task, carries out its steps one after the other,
/// asks again after a refusal that may pass, and goes on with what was left half done. It knows the members as they are
/// committed, as if it always read the right list; all that it changes goes through its client.
extension World {
    /// Spare machines, and an operator with a client.
    func prepareChanges(_ endpoints: [String]) {
        var shape = Chance(seed: seed, stream: 8)
        for number in nodes.count..<nodes.count + settings.spareCount {
            let home = SimEngineHome(isVolatile: settings.hasVolatileState)
            let node = SimNode(
                number: number, id: NodeID(0), disk: SimDisk(seed: 0), home: home,
                clock: SimClock(chance: &shape, drifts: settings.driftsClocks))
            node.becomeEmpty(diskSeed: shape.next(), isVolatile: settings.hasVolatileState)
            node.isInUse = false
            nodes.append(node)
        }
        let client = SimClient(
            number: clients.count, endpoints: endpoints, identity: identity, chance: &shape, settings: settings)
        client.isWorking = false
        admin = Operator(client: client.number)
        clients.append(client)
        schedule(.operatorActs, after: .seconds(2))
    }

    private static let pauseMax = Interval.milliseconds(600)
    private static let patience = Interval.seconds(8)
    /// Without faults a step takes no longer.
    private static let patienceAtPeace = Interval.seconds(12)
    private static let votersMax = 5

    func operatorActs() {
        guard !admin.isWaiting, majority == nil else { return }
        // Between bursts it does something now and then.
        if !isBusy, isFaulty, admin.steps.isEmpty, adminChance.happens(percent: 75) {
            return schedule(.operatorActs, after: adminChance.interval(.seconds(1), .seconds(12)))
        }
        if let step = admin.steps.first {
            carryOut(step)
        } else if isFaulty || isHalfDone {
            admin.steps = nextTask()
            beginStep()
            operatorRests(max: isFaulty ? settings.operatorPauseMax : Self.pauseMax)
        }
    }

    /// True when nothing is left to do for it.
    var isOperatorDone: Bool {
        admin.steps.isEmpty && !admin.isWaiting && !isHalfDone
    }

    /// Nothing that it has asked for can still change the members.
    var isOperatorIdle: Bool {
        let happened = matchedRequests().used
        return !admin.isWaiting && !isHalfDone
            && !admin.requests.enumerated().contains { $1.isOpen && !$1.change.isTransfer && !happened.contains($0) }
    }

    private func operatorRests(max: Interval) {
        schedule(.operatorActs, after: adminChance.interval(.milliseconds(20), max))
    }

    private func beginStep() {
        admin.deadline = now + (isFaulty ? Self.patience : Self.patienceAtPeace)
        admin.isUncertain = false
    }

    /// The faults are over: what is under way has all the time that it should need.
    func operatorFinishes() {
        guard settings.changesMembers else { return }
        isAtPeace = true
        admin.deadline = now + Self.patienceAtPeace
        operatorRests(max: .milliseconds(100))
    }

    // MARK: - What it sees

    private var members: Membership { oracle.members.newest.membership }
    private func number(of member: Member) -> Int? { nodes.firstIndex { $0.id == member.id } }

    /// Members whose directory is gone: they will never answer again.
    var lostMembers: [Member] { members.members.filter { lostLogs.keys.contains($0.id) } }

    /// A directory is lost, a new node waits for the place of another that has its name, or a node has moved and the
    /// others do not know it.
    private var isHalfDone: Bool { !lostMembers.isEmpty || aside != nil || moved != nil }

    private var aside: Member? { members.members.first { $0.name.hasSuffix(MemberChange.oldName(of: "")) } }

    private var moved: Member? {
        members.members.first { member in nodes.contains { $0.id == member.id && $0.peerAddress != member.peerAddress } }
    }

    /// Machines on which no member is: what runs there has been removed, or never was one.
    private var spares: [SimNode] {
        nodes.filter { members.member($0.id) == nil }
    }

    /// Requests that may still take a voter out, though the operator was not told so.
    private var mayStillRemove: Bool {
        let happened = matchedRequests().used
        return admin.requests.enumerated().contains {
            $1.outcome == .unknown && $1.change.takesAway && !happened.contains($0)
        }
    }

    /// Clients begin with the founders' addresses, so that one of them stays. And somebody stays who has what another voter
    /// has lost, perhaps without knowing it yet.
    private func mayGo(_ member: Member) -> Bool {
        guard !mayStillRemove,
            members.incoming.contains(where: { id in
                id != member.id && nodes.contains { $0.id == id && !$0.isWounded && !$0.hasLogDamage && $0.hasSoundState }
            })
        else { return false }
        return members.incoming.contains { id in
            id != member.id && nodes.contains { $0.id == id && $0.number < settings.nodeCount }
        }
    }

    // MARK: - Drawing a task

    private func nextTask() -> [Operator.Step] {
        guard !oracle.members.newest.isJoint else { return [] }
        if let lost = lostMembers.first { return putInPlace(of: lost) }
        if let aside { return putInPlace(of: aside) }
        if let moved, let node = nodes.first(where: { $0.id == moved.id }) {
            return [.ask(.update(name: moved.name, peerAddress: node.peerAddress), .update)]
        }
        let voters = members.incoming.compactMap { members.member($0) }
        let learners = members.learners.compactMap { members.member($0) }
        let all = members.members
        let victim = adminChance.pick(voters)
        switch adminChance.number(in: 0...99) {
        case 0..<45:
            if let learner = learners.first, adminChance.happens(percent: 75) {
                if voters.count < Self.votersMax, adminChance.happens(percent: 70) {
                    return [.ask(.promote(name: learner.name), .promote)]
                }
                guard mayGo(victim) else { return [] }
                return [.ask(.exchange(old: victim.name, new: learner.name), .replace), .takeAway(victim.id)]
            }
            guard let spare = anySpare() else { return [] }
            let add = Operator.Step.ask(.add(name: spare.name, peerAddress: spare.peerAddress, replacing: nil), .add)
            let alsoVotes = adminChance.happens(percent: 60) && voters.count < Self.votersMax
            return [.start(spare.number), add] + (alsoVotes ? [.ask(.promote(name: spare.name), .promote)] : [])
        case 45..<62:
            let leaving = adminChance.happens(percent: 20) ? learners.first ?? victim : victim
            guard learners.contains(leaving) || (voters.count > 1 && mayGo(leaving)) else { return [] }
            return [.ask(.remove(name: leaving.name), .remove), .takeAway(leaving.id)]
        case 62..<72:
            // Another machine takes the place of this one.
            guard let spare = anySpare(), mayGo(victim) else { return [] }
            return [
                .start(spare.number),
                .ask(.add(name: spare.name, peerAddress: spare.peerAddress, replacing: victim.name), .add),
                .ask(.exchange(old: victim.name, new: spare.name), .replace), .takeAway(victim.id),
            ]
        case 72..<80:
            // A directory is lost; a majority of the voters still has theirs.
            guard voters.count >= 3, !mayStillRemove, let number = number(of: victim), isFaulty else { return [] }
            return [.lose(number)] + putInPlace(of: victim)
        case 80..<90:
            // Until the others know where it is, they are a majority without it.
            let moving = adminChance.pick(all)
            let isSafe = learners.contains(moving) || (voters.count > 2 && !mayStillRemove)
            guard isSafe, let number = number(of: moving) else { return [] }
            let port = nodes[number].peerPort + 1
            return [
                .move(number, port: port),
                .ask(.update(name: moving.name, peerAddress: nodes[number].peerAddress(port: port)), .update),
            ]
        default:
            let target = adminChance.happens(percent: 60) ? adminChance.pick(all).name : nil
            return [.ask(.transfer(name: target), .transfer)]
        }
    }

    /// Rather one that nobody uses: those that were removed and run on are to be seen for a while.
    private func anySpare() -> SimNode? {
        let free = spares.filter { $0.joining != nil || !$0.isInUse }
        if !free.isEmpty { return adminChance.pick(free) }
        return spares.isEmpty || adminChance.happens(percent: 70) ? nil : adminChance.pick(spares)
    }

    /// Of a member whose directory is lost, or that has been set aside: the node that waits on its machine gets its
    /// place. Run again, it goes on where it stopped.
    private func putInPlace(of member: Member) -> [Operator.Step] {
        let suffix = MemberChange.oldName(of: "")
        let isAside = member.name.hasSuffix(suffix)
        let name = isAside ? String(member.name.dropLast(suffix.count)) : member.name
        guard !members.learners.contains(member.id), let node = nodes.first(where: { $0.name == name }) else {
            return [.ask(.remove(name: member.name), .remove)]
        }
        let successor = isAside ? members.member(named: name) : nil
        if let successor, members.incoming.contains(successor.id) {
            return [.ask(.remove(name: member.name), .remove)]
        }
        let exchange = Operator.Step.ask(
            .exchange(old: MemberChange.oldName(of: name), new: name), .replace)
        if successor != nil { return [exchange, .takeAway(member.id)] }
        let add = Operator.Step.ask(.add(name: name, peerAddress: node.peerAddress, replacing: member.name), .add)
        let goes = isAside ? member.name : MemberChange.oldName(of: name)
        return [add, .ask(.exchange(old: goes, new: name), .replace), .takeAway(member.id)]
    }

    // MARK: - Doing it

    private func carryOut(_ step: Operator.Step) {
        switch step {
        case .start(let number):
            let node = nodes[number]
            if node.record != nil || node.isFounder { loseDirectory(of: node) }
            node.isInUse = true
            schedule(.start(node: number), after: .zero)
            stepDone(pause: .milliseconds(200))
        case .lose(let number):
            counters.add(.lostDirectory)
            loseDirectory(of: nodes[number])
            schedule(.start(node: number), after: adminChance.interval(.zero, .seconds(1)))
            stepDone(pause: .seconds(1))
        case .move(let number, let port):
            let node = nodes[number]
            stopProcess(of: node, losingPower: false)
            stopJoining(node, losingPower: false)
            node.peerPort = port
            tell("\(node.name) moves to \(node.peerAddress)")
            schedule(.start(node: number), after: adminChance.interval(.zero, .milliseconds(500)))
            stepDone(pause: .milliseconds(500))
        case .takeAway(let id):
            if let node = nodes.first(where: { $0.id == id }), members.member(id) == nil { takeAway(node) }
            stepDone(pause: .zero)
        case .ask(let change, _): ask(change)
        }
    }

    /// Some removed nodes run on until the end; they must disturb nobody. Some are stopped, at once or after a while.
    private func takeAway(_ node: SimNode) {
        let fate = adminChance.number(in: 0...99)
        guard fate < 60 else { return }
        let pause = fate < 20 ? Interval.zero : adminChance.interval(.zero, .seconds(6))
        schedule(.retire(node: node.number, id: node.id), after: pause)
    }

    func retire(_ node: SimNode, _ id: NodeID) {
        guard node.id == id, members.member(id) == nil, node.isInUse else { return }
        tell("\(node.name) is taken away")
        stopProcess(of: node, losingPower: false)
        stopJoining(node, losingPower: false)
        node.isInUse = false
    }

    private func stepDone(pause: Interval) {
        if !admin.steps.isEmpty { admin.steps.removeFirst() }
        beginStep()
        operatorRests(max: max(pause, .milliseconds(30)))
    }

    private func ask(_ change: MemberChange) {
        tell("operator: \(change)")
        admin.isWaiting = true
        admin.requests.append(Operator.Request(change: change, sentAt: now))
        let item = WorkItem(
            call: .changeMembers(change), expectation: .members(request: admin.requests.count - 1), group: nil,
            operation: Operation(client: admin.client, called: now.nanoseconds, returned: nil))
        submit(item, by: clients[admin.client], within: adminChance.interval(.seconds(2), .seconds(6)))
        // Now and then whoever leads is killed while it is at work on this.
        if isFaulty, adminChance.happens(percent: 30) {
            schedule(.leaderIsStruck, after: adminChance.skewed(.milliseconds(1), .milliseconds(150)))
        }
    }

    func strikeLeader() {
        guard isFaulty, let leader = nodes.first(where: { $0.process?.replica.raft.isLeader == true }) else { return }
        crash(leader)
    }

    // MARK: - Being told

    func membersChanged(_ request: Int, _ reply: MemberChangeReply) {
        admin.isWaiting = false
        admin.requests[request].outcome = .done(reply.revision)
        if case .ask(_, let kind)? = admin.steps.first { counters.add(kind) }
        stepDone(pause: Self.pauseMax)
    }

    func changeFailed(_ request: Int, _ failure: CallFailure) {
        admin.isWaiting = false
        admin.requests[request].outcome = failure.mayHaveTakenEffect ? .unknown : .refused
        if failure.mayHaveTakenEffect { admin.isUncertain = true }
        tell("operator: \(failure.error.code.name) \(failure.error.message)")
        guard case .ask(let change, _)? = admin.steps.first else { return }
        if admin.isUncertain, change.isFulfilled(in: members) { return stepDone(pause: Self.pauseMax) }
        let isFinal =
            switch failure.error.code {
            case .invalidRequest, .memberExists, .noSuchMember, .tooLarge: true
            default: false
            }
        // Of a hand-over nobody can say later whether it was this request that did it.
        var isGivenUp = now >= admin.deadline || (isFinal && !admin.isUncertain)
        if change.isTransfer, isFinal || failure.mayHaveTakenEffect { isGivenUp = true }
        guard isGivenUp else { return operatorRests(max: Self.pauseMax) }
        let isAlone = change.isTransfer && members.incoming.count == 1
        if isAtPeace, now >= admin.deadline, !isAlone {
            let reason = "\(failure.error.code.name) \(failure.error.message)"
            fail("without faults, \(change) does not come about: \(reason); \(unrest)")
        }
        tell("operator: gives up \(change)")
        admin.steps = []
        operatorRests(max: Self.pauseMax)
    }
}
