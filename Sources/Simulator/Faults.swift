internal import Basics
internal import Disk
internal import MetadataMachine
internal import RaftCore
internal import ReplicaCore
internal import ReplicaStorage
internal import StateEngine

/// A fault that lasts until it is ended.
struct Fault {
    enum Class: Int, CaseIterable {
        case crash, crashAll, partition, cut, clog, pause, slowDisk, diskError, fullDisk, bitFlip, wireDamage, clock
        case transfer, swizzle
    }

    enum Kind {
        case blocked([(from: Int, to: Int)])
        case clogged([(from: Int, to: Int)])
        case slowDisk(node: Int)
        case fullDisk(node: Int)
        case stopping(node: Int, life: Int)
        /// Ways that are clogged one after the other, and freed one after the other.
        case swizzling(clogs: [(from: Int, to: Int)], frees: [(from: Int, to: Int)])
    }

    var kind: Kind
}

extension World {
    // MARK: - Drawing

    /// Draws and begins the next fault, and plans the one after it.
    func nextFault() {
        guard isFaulty else { return }
        schedule(.nextFault(round: rhythmRound), after: nextFaultPause())
        let drawn = faultChance.pick(Fault.Class.allCases)
        guard settings.enabled[drawn.rawValue] else { return }
        switch drawn {
        case .crash: crash()
        case .crashAll: if faultChance.happens(percent: 25) { crashAll() }
        case .partition: partition()
        case .cut: cutSome()
        case .clog: clogSome()
        case .pause: pause()
        case .slowDisk: slowDisk()
        case .diskError: failDisk()
        case .fullDisk: fillDisk()
        case .bitFlip: if diskChance.happens(percent: 50) { beginForgetting() } else { damageDisk() }
        case .wireDamage: damageWire()
        case .clock: jumpWall()
        case .transfer: transferLeadership()
        case .swizzle: swizzle()
        }
    }

    func lasts(_ low: Interval, _ high: Interval, _ kind: Fault.Kind) {
        schedule(.faultEnds(Fault(kind: kind)), after: faultChance.skewed(low, high))
    }

    // MARK: - Processes

    private func crash() {
        let node = faultChance.pick(nodes)
        crash(node)
    }

    func crash(_ node: SimNode) {
        guard node.isRunning || node.repair != nil else { return }
        let losesPower = faultChance.happens(percent: 60)
        tell("\(node.name) \(losesPower ? "loses power" : "is killed")")
        stopProcess(of: node, losingPower: losesPower)
        stopJoining(node, losingPower: losesPower)
        stopRepair(of: node, losingPower: losesPower)
        if settings.enabled[Fault.Class.bitFlip.rawValue] {
            forget(node)
            if diskChance.happens(percent: 20) { damageDisk(of: node) }
        }
        // Now and then it stays away for long enough that the log goes on without it.
        let isLong = faultChance.happens(percent: 25)
        schedule(
            .start(node: node.number),
            after: faultChance.skewed(.milliseconds(20), isLong ? .seconds(10) : .seconds(2)))
    }

    private func crashAll() {
        counters.add(.crashAllNodes)
        for node in nodes { crash(node) }
    }

    private func pause() {
        let node = faultChance.pick(nodes)
        guard node.process != nil, node.pausedUntil <= now else { return }
        counters.add(.pause)
        sleep(node, until: now + faultChance.skewed(.milliseconds(100), .seconds(15)))
        tell("\(node.name) is paused until \(node.pausedUntil)")
    }

    private func jumpWall() {
        counters.add(.wallJump)
        let node = faultChance.pick(nodes)
        node.clock.setWall(offset: faultChance.interval(.seconds(-3_600), .seconds(3_600)))
    }

    private func transferLeadership() {
        guard let leader = nodes.first(where: { $0.process?.replica.raft.isLeader == true }) else { return }
        counters.add(.transfer)
        stopGracefully(leader)
    }

    /// As an operator stops a node: it hands leadership over, drains for a while, and is ended.
    private func stopGracefully(_ node: SimNode) {
        tell("\(node.name) is asked to stop")
        turn(node) { $0.stop() }
        node.stoppingLife = node.life
        lasts(.milliseconds(100), .milliseconds(800), .stopping(node: node.number, life: node.life))
    }

    // MARK: - Network

    private func partition() {
        guard nodes.count > 1 else { return }
        var hosts = Array(nodes.indices)
        for place in hosts.indices { hosts.swapAt(place, faultChance.number(in: place...hosts.count - 1)) }
        var ways: [(from: Int, to: Int)] = []
        switch faultChance.number(in: 0...5) {
        case 0, 1:
            counters.add(.partitionSymmetric)
            let minority = hosts.prefix(faultChance.number(in: 1...nodes.count / 2))
            for one in minority {
                for other in hosts where !minority.contains(other) { ways += [(one, other), (other, one)] }
            }
        case 2:
            counters.add(.partitionOneWay)
            for other in hosts.dropFirst() {
                ways.append(faultChance.happens(percent: 50) ? (hosts[0], other) : (other, hosts[0]))
            }
        case 3 where hosts.count > 2:
            // Two halves, and one node that both of them reach.
            counters.add(.partitionBridge)
            let middle = 1 + (hosts.count - 1) / 2
            for one in hosts[1..<middle] { for other in hosts[middle...] { ways += [(one, other), (other, one)] } }
        case 4 where hosts.count > 3:
            // Each node reaches the one before it and the one after it.
            counters.add(.partitionRing)
            for one in hosts.indices {
                for other in hosts.indices where (other - one + hosts.count) % hosts.count > 1 {
                    guard (one - other + hosts.count) % hosts.count > 1 else { continue }
                    ways.append((hosts[one], hosts[other]))
                }
            }
        default:
            counters.add(.partitionNonTransitive)
            ways = [(hosts[0], hosts[1]), (hosts[1], hosts[0])]
        }
        // Now and then some clients are cut off with the first.
        for client in clients where faultChance.happens(percent: 15) {
            let host = nodes.count + client.number
            ways += [(hosts[0], host), (host, hosts[0])]
        }
        for way in ways { reachability.block(way.from, way.to) }
        tell("blocked: \(ways)")
        waysBlocked()
        lasts(.milliseconds(200), .seconds(12), .blocked(ways))
    }

    private func clogSome() {
        counters.add(.clog)
        let from = faultChance.pick(nodes).number
        var ways: [(from: Int, to: Int)] = []
        for to in 0..<nodes.count + clients.count where to != from && faultChance.happens(percent: 40) {
            ways.append(faultChance.happens(percent: 50) ? (from, to) : (to, from))
        }
        for way in ways { reachability.clog(way.from, way.to) }
        lasts(.milliseconds(50), .seconds(5), .clogged(ways))
    }

    /// Some links stall, one after the other, and go on, one after the other, in another order.
    private func swizzle() {
        let node = faultChance.pick(nodes).number
        var clogs: [(from: Int, to: Int)] = []
        for other in 0..<nodes.count + clients.count where other != node && faultChance.happens(percent: 50) {
            clogs.append(faultChance.happens(percent: 50) ? (node, other) : (other, node))
        }
        guard !clogs.isEmpty else { return }
        counters.add(.swizzle)
        func shuffle(_ ways: inout [(from: Int, to: Int)]) {
            for place in ways.indices { ways.swapAt(place, faultChance.number(in: place...ways.count - 1)) }
        }
        shuffle(&clogs)
        var frees = clogs
        shuffle(&frees)
        lasts(.milliseconds(1), .milliseconds(300), .swizzling(clogs: clogs, frees: frees))
    }

    private func goOn(swizzling clogs: [(from: Int, to: Int)], _ frees: [(from: Int, to: Int)]) {
        if let way = clogs.first {
            reachability.clog(way.from, way.to)
            return lasts(
                .milliseconds(1), .milliseconds(500), .swizzling(clogs: Array(clogs.dropFirst()), frees: frees))
        }
        guard let way = frees.first else { return }
        reachability.unclog(way.from, way.to)
        waysFreed()
        lasts(.milliseconds(1), .milliseconds(500), .swizzling(clogs: [], frees: Array(frees.dropFirst())))
    }

    private func cutSome() {
        connections.removeAll(where: \.isGone)
        for connection in connections where faultChance.happens(percent: 30) {
            counters.add(.reset)
            cut(connection)
        }
    }

    /// Some bytes arrive that were never sent: the checksum of the frame tells, and the connection ends.
    private func damageWire() {
        connections.removeAll(where: \.isGone)
        guard !connections.isEmpty else { return }
        let connection = faultChance.pick(connections)
        guard connection.isOpenAtCalled, connection.isOpenAtCaller else { return }
        counters.add(.bitFlipOnWire)
        damagedConnections.append(connection)
        let rubbish = (0..<faultChance.number(in: 20...200)).map { _ in UInt8(truncatingIfNeeded: faultChance.next()) }
        send(rubbish, over: connection, toCalled: true)
    }

    // MARK: - Disks

    private func slowDisk() {
        let node = faultChance.pick(nodes)
        if faultChance.happens(percent: 40) {
            counters.add(.stuckDisk)
            node.diskStuckUntil = now + faultChance.skewed(.seconds(1), .seconds(8))
        } else {
            counters.add(.slowDisk)
            node.diskLatencyMax = .milliseconds(400)
            lasts(.seconds(1), .seconds(10), .slowDisk(node: node.number))
        }
    }

    private func failDisk() {
        let node = faultChance.pick(nodes)
        guard node.process != nil else { return }
        if faultChance.happens(percent: 50) { node.disk.failsNextSync = true } else { node.disk.failsNextWrite = true }
    }

    private func fillDisk() {
        let node = faultChance.pick(nodes)
        counters.add(.fullDisk)
        node.disk.quota = node.disk.usedBytes + faultChance.number(in: 0...3) * settings.segmentSize
        lasts(.milliseconds(500), .seconds(6), .fullDisk(node: node.number))
    }

    // MARK: - The end of a fault

    func end(_ fault: Fault) {
        if case .stopping(let node, let life) = fault.kind {
            guard isRunning(node, life) else { return }
            stopProcess(of: nodes[node], losingPower: false)
            return schedule(.start(node: node), after: faultChance.interval(.milliseconds(100), .seconds(1)))
        }
        guard isFaulty else { return }
        switch fault.kind {
        case .blocked(let ways):
            for way in ways { reachability.unblock(way.from, way.to) }
            waysFreed()
        case .clogged(let ways):
            for way in ways { reachability.unclog(way.from, way.to) }
            waysFreed()
        case .slowDisk(let node): nodes[node].diskLatencyMax = .milliseconds(4)
        case .fullDisk(let node): nodes[node].disk.quota = .max
        case .swizzling(let clogs, let frees): goOn(swizzling: clogs, frees)
        case .stopping: break
        }
    }
}

// MARK: - Healing

extension World {
    /// Every fault ends, every node runs, and the clients want nothing more.
    func heal() {
        isFaulty = false
        isBusy = false
        majority = nil
        network.lossPercent = 0
        keepStateToRebuild()
        crashes.mode = .none
        healedAt = now
        for node in nodes { upgrade(node.number) }
        reachability = Reachability(hosts: settings.hostCount)
        lags = NetworkLags()
        waysFreed()
        for node in nodes { makeWhole(node) }
        for client in clients { client.isWorking = false }
    }

    var isSettled: Bool {
        guard areStatesWhole else { return false }
        // Once all know it, the level rises by itself.
        guard membersAreAtKnownLevel else { return false }
        guard !settings.changesMembers else { return areMembersSettled }
        guard clients.allSatisfy({ $0.items.isEmpty }), nodes.allSatisfy({ $0.process != nil }) else { return false }
        guard nodes.contains(where: { $0.process?.replica.raft.isLeader == true }) else { return false }
        // A disk that has room again is noticed with the next look at it.
        guard nodes.allSatisfy({ $0.process?.replica.isDiskLow == false }) else { return false }
        let applied = nodes.map { $0.process?.state.machine.applied.last }
        let last = nodes.map { $0.process?.replica.raft.lastIndex }
        return zip(applied, last).allSatisfy { $0 == applied[0] && $1 == $0?.index }
    }
}
