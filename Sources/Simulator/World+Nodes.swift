internal import Basics
internal import Disk
internal import LogFormat
internal import LogStore
internal import MetadataMachine
internal import MetadataModel
internal import RaftCore
internal import ReplicaCore
internal import ReplicaStorage
internal import Snapshots
internal import StateEngine

/// Processes: how they start, what they do in each turn, how they end. What their threads do is in World+Threads.
extension World {
    private static let directory = "/data"

    // MARK: - Start

    func start(_ node: SimNode) {
        guard !node.isRunning, node.repair == nil, node.isInUse, violation == nil,
            majority?.isDead(node.number) != true
        else { return }
        node.life += 1
        node.pausedUntil = .zero
        wake(node)
        do {
            if settings.changesMembers, try !during(.start, node, { try takeIdentity(node) }) { return }
        } catch {
            return refusedToStart(node, error)
        }
        guard !endedByCrash(node) else { return }
        startReplica(node)
    }

    func startReplica(_ node: SimNode, _ demand: LogDemand? = nil) {
        var logSettings = LogSettings()
        logSettings.segmentSize = settings.segmentSize
        let live = node.home.live
        defer {
            // A start that found its state damaged and has not come to its end, but so far that another took its place:
            // the next start finds that one, and no damage.
            if node.process == nil, node.home.live !== live { node.lastRevision = .zero }
        }
        do {
            let opened = try during(.start, node) {
                try OpenedNode(
                    fileSystem: node.disk, directory: Self.directory, identity: identity, node: node.id,
                    founding: node.record ?? founding, home: node.home, logSettings: logSettings,
                    demand: demand ?? .whole(isVerified: node.wasDamaged), knownLevel: node.featureLevel)
            }
            guard !endedByCrash(node) else { return }
            for note in opened.notes { tell("\(node.name) \(note)") }
            checkReopened(node, opened.log.log)
            let replica = Replica(
                opened.restored, settings: replicaSettings(of: node), seed: nodeChance.next(),
                now: node.clock.monotonic(at: now), wall: node.clock.wall(at: now))
            node.process = SimProcess(
                replica: replica, log: opened.log, state: opened.state, snapshots: opened.snapshots,
                exports: SnapshotExports(cluster: identity, founding: (node.record ?? founding).membership),
                nodeCount: nodes.count)
            opened.state.machine.checkpointInterval = settings.checkpointInterval
            opened.snapshots.spaceKept = (
                making: node.home.isVolatile ? diskReserve / 2 : diskReserve, taking: diskReserve / 2
            )
            node.process?.snapshotThrough = opened.state.machine.applied.last.index
            node.commitChecked = .zero
            if opened.damages.isEmpty {
                checkStateReopened(node, opened.state.machine.applied.last.index)
            } else {
                // What took the place of a damaged state may be older, and the next start finds that.
                node.lastRevision = .zero
            }
        } catch LogOpenError.damaged(let damages) {
            return beginRepair(of: node, damages)
        } catch {
            return refusedToStart(node, error)
        }
        if settings.changesMembers { linksChanged(node) }
        for peer in nodes where peer !== node && !settings.changesMembers {
            schedule(
                .dialPeer(node: node.number, life: node.life, peer: peer.number),
                after: nodeChance.interval(.zero, .milliseconds(20)))
        }
        schedule(.maintain(node: node.number, life: node.life), after: .milliseconds(500))
        turn(node) { _ in }
    }

    /// Right where the disk failed or is another's, wrong everywhere else.
    func refusedToStart(_ node: SimNode, _ error: any Error) {
        guard !endedByCrash(node) else { return }
        tell("\(node.name) does not start: \(error)")
        if isTooOld(node, error) {
            node.disk.processEnded()
            node.home.processEnded()
        } else if Self.diskError(in: error) != nil {
            node.disk.losePower()
            node.home.processEnded()
        } else if !putBackOwn(node, error) {
            return fail("\(node.name) does not start: \(error)")
        }
        schedule(.start(node: node.number), after: .milliseconds(500))
    }

    private static func diskError(in error: any Error) -> DiskError? {
        switch error {
        case let error as DiskError: error
        case LogOpenError.disk(let error): error
        case IdentityError.disk(let error): error
        case SnapshotKeeperError.disk(let error): error
        default: nil
        }
    }

    private func replicaSettings(of node: SimNode) -> ReplicaSettings {
        var replica = ReplicaSettings(
            name: node.name, clientAddress: node.clientAddress, peerAddress: node.peerAddress, softwareVersion: "sim")
        replica.tailSizeMax = settings.tailSizeMax
        if settings.entriesPerAppendMax > 0 { replica.raft.entriesPerAppendMax = settings.entriesPerAppendMax }
        if settings.inflightMessagesMax > 0 { replica.raft.inflightMessagesMax = settings.inflightMessagesMax }
        replica.raft.heartbeatInterval = settings.heartbeatInterval
        if settings.requestsPendingMax > 0 { replica.requestsPendingMax = settings.requestsPendingMax }
        replica.snapshotPieceSizeMax = settings.snapshotPieceSize
        replica.featureLevel = node.featureLevel
        return replica
    }

    // MARK: - Turns

    func turn(_ node: SimNode, _ body: (inout Replica) -> Void) {
        guard let process = node.process, node.struckAt == nil else { return }
        process.replica.beginTurn(now: node.clock.monotonic(at: now), wall: node.clock.wall(at: now))
        body(&process.replica)
        let effects = process.replica.endTurn()
        check(node, process)
        carryOut(effects, of: node, process)
    }

    private func carryOut(_ effects: Effects, of node: SimNode, _ process: SimProcess) {
        if let work = effects.log {
            process.logThread.add(.work(work))
            goOn(node, log: process)
        }
        for work in effects.apply { process.stateThread.add(.work(work)) }
        goOn(node, state: process)
        for read in effects.logReads {
            schedule(
                .logRead(node: node.number, life: node.life, read),
                after: nodeChance.skewed(.microseconds(50), .milliseconds(5)))
        }
        if effects.rereadsLog {
            schedule(
                .logReread(node: node.number, life: node.life),
                after: nodeChance.skewed(.microseconds(50), .milliseconds(5)))
        }
        for slab in effects.logRepairs {
            process.logThread.add(.repair(slab))
            goOn(node, log: process)
        }
        for order in effects.scrubs { carryOut(order, of: node, process) }
        for work in effects.snapshot {
            switch work {
            case .build: orderBuild(of: node, process)
            case .discard:
                process.stateThread.add(.discardSnapshots)
                goOn(node, state: process)
            case .loadPiece, .storePiece, .install:
                process.snapshotThread.add(.work(work))
                goOn(node, snapshots: process)
            }
        }
        for work in effects.exports { carryOut(work, of: node, process) }
        for (slot, bytes) in effects.toClients {
            guard let connection = process.clients[Int(slot.position)] else { continue }
            send(bytes, over: connection, toCalled: false)
            guard !dies(node, at: .afterSend) else { return }
        }
        for slot in effects.closingClients {
            guard let connection = process.clients[Int(slot.position)] else { continue }
            close(connection, atCalled: true)
            endReachedLocally(connection, atCalled: true)
        }
        for (peer, bytes) in effects.toPeers {
            guard let connection = connection(of: process, to: peer) else { continue }
            checkSaid(bytes, to: peer, by: node)
            send(bytes, over: connection, toCalled: true)
            guard !dies(node, at: .afterSend) else { return }
        }
        for peer in effects.closingPeers {
            for connection in inbound(of: process, from: peer) {
                close(connection, atCalled: true)
                endReachedLocally(connection, atCalled: true)
            }
        }
        for probe in effects.probes { ask(probe, by: node) }
        for notice in effects.notices { noticed(notice, by: node) }
        guard effects.nextDeadline != process.deadline else { return }
        process.deadline = effects.nextDeadline
        // An event that comes earlier is put off when it comes.
        if dueTime(node, process) < process.wakesAt { wakeLater(node, process) }
    }

    private func dueTime(_ node: SimNode, _ process: SimProcess) -> Instant {
        max(now, node.clock.worldTime(of: process.deadline))
    }

    private func wakeLater(_ node: SimNode, _ process: SimProcess) {
        guard process.deadline != .never else { return }
        process.wakesAt = dueTime(node, process)
        process.deadlineNumber += 1
        queue.add(
            .deadline(node: node.number, life: node.life, number: process.deadlineNumber), at: process.wakesAt)
    }

    func deadlineReached(_ node: SimNode, _ number: Int) {
        guard let process = node.process, process.deadlineNumber == number else { return }
        process.wakesAt = .never
        guard dueTime(node, process) <= now else { return wakeLater(node, process) }
        process.deadline = .never
        process.wakeUpsAtOnce = process.wokenAt == now ? process.wakeUpsAtOnce + 1 : 0
        process.wokenAt = now
        if process.wakeUpsAtOnce > 100 {
            let raft = process.replica.raft
            let clock = node.clock.monotonic(at: now)
            return fail(
                "\(node.name) (\(raft.status.role.rawValue)) wants to be woken again and again: "
                    + "it is \(clock.nanoseconds), its core waits for \(raft.nextDeadline.nanoseconds)")
        }
        turn(node) { _ in }
    }

    private func noticed(_ notice: Notice, by node: SimNode) {
        switch notice {
        case .snapshotInstalled: counters.add(.snapshotInstalled)
        case .conflictBelowCommit(let peer): fail("\(node.name) says that \(peer) contradicts a committed entry")
        case .quarantined(let index, _, _):
            if !diverged.contains(node.number) { fail("\(node.name) quarantines itself at \(index)") }
        case .stateRebuilt: diverged.remove(node.number)
        case .logMended:
            counters.add(.logMended)
            if node.process?.replica.isMending == false { node.hasLogDamage = false }
        case .digestsDiffer(let index): fail("digests differ at \(index)")
        case .regressed:
            if node.forgotten == nil {
                fail("\(node.name) says of itself that it has lost what was on its disk: \(notice)")
            }
            counters.add(.regressionTold)
        case .membershipChanged:
            if settings.changesMembers { schedule(.linksChanged(node: node.number, life: node.life), after: .zero) }
        default: break
        }
        tell("\(node.name) \(notice)")
    }

    // MARK: - Maintenance

    private var diskReserve: Int { 4 * settings.segmentSize }

    func maintain(_ node: SimNode) {
        guard let process = node.process else { return }
        let free = max(0, node.disk.quota - node.disk.usedBytes)
        let usage = DiskUsage(used: UInt64(node.disk.usedBytes), free: UInt64(free))
        scrubIfDue(node)
        let floor = process.replica.compactionFloor(isLogFull: false)
        let found = Maintained(
            applied: process.state.machine.applied.last.index, floor: floor, last: process.log.log.lastIndex,
            logSize: process.log.log.byteCount, usage: usage)
        // Where nothing has happened since, nothing is to be done, and the next look has time.
        guard found != process.maintained || nodeChance.happens(percent: 20) else {
            return schedule(.maintain(node: node.number, life: node.life), after: .seconds(2))
        }
        process.maintained = found
        schedule(.maintain(node: node.number, life: node.life), after: .milliseconds(500))
        if nodeChance.happens(percent: 60) { process.stateThread.add(.flush) }
        process.stateThread.add(.checkFlush)
        let isLogLong =
            process.log.log.byteCount > settings.logRetention
            && process.state.machine.applied.last.index.distance(after: process.snapshotThrough) > 100
        if node.home.isVolatile, !process.replica.isQuarantined, process.replica.wantsFlush || isLogLong,
            process.buildsUnderWay == 0, now >= process.buildPause.end
        {
            orderBuild(of: node, process)
        }
        goOn(node, state: process)
        let isWaiting = process.logThread.jobs.contains { if case .compact = $0 { true } else { false } }
        if !isWaiting { process.logThread.add(.compact(through: floor, time: node.clock.wall(at: now))) }
        goOn(node, log: process)
        turn(node) { $0.diskChanged(usage, DiskLevel(free: usage.free, reserve: UInt64(diskReserve))) }
    }

    // MARK: - The end of a process

    /// The process is gone between two instructions. Its sockets close; what its threads were doing stops where it was.
    /// - Parameter losingPower: the machine goes with it: what was not synced may be lost.
    /// - Parameter interrupting: its threads may have been anywhere in what they were doing.
    func stopProcess(of node: SimNode, losingPower: Bool, interrupting: Bool = true) {
        guard let process = node.process else { return }
        let raft = process.replica.raft
        if raft.isLeader, raft.configuration.isJoint || raft.configurationIndex > raft.commitIndex {
            counters.add(.changeMeetsCrash)
        }
        countRefusals(of: node, process)
        if interrupting { interruptThreads(of: node, process) }
        if losingPower {
            counters.add(.powerLoss)
            node.disk.losePower()
        } else {
            node.disk.processEnded()
        }
        node.home.processEnded()
        node.process = nil
        closeConnections(of: node)
    }

    func closeConnections(of node: SimNode) {
        for connection in connections {
            if case .node(node.number, _) = connection.caller { close(connection, atCalled: false) }
            if case .node(node.number, _) = connection.called { close(connection, atCalled: true) }
        }
        connections.removeAll(where: \.isGone)
    }

    /// A write that is under way has not begun, has ended unheard, or breaks off at any operation on the disk.
    private func interruptThreads(of node: SimNode, _ process: SimProcess) {
        if process.logThread.isBusy, let job = process.logThread.first {
            let operations = faultChance.number(in: 0...6)
            node.disk.fuse = operations
            switch job {
            case .work(let work):
                let isWhole = (try? begin(work, by: node, process)) != nil
                counters.add(isWhole ? .crashAfterPersist : .crashInPersist)
            case .compact(let floor, let time):
                let before = process.log.log.firstIndex
                let first = try? process.log.compact(through: floor, LogRetention(), time: time)
                if first.map({ $0 > before }) ?? true { counters.add(.crashInLogTrim) }
            case .reset(let point, _, _):
                counters.add(.crashInSnapshotInstall)
                try? process.log.log.reset(to: point.last)
            case .seal:
                counters.add(.crashInSegmentRoll)
                try? process.log.log.seal()
            case .repair(let slab): _ = try? process.log.log.repair(slab)
            }
            node.disk.fuse = nil
        } else {
            counters.add(.crashIdle)
        }
        if process.stateThread.isBusy {
            if case .flush? = process.stateThread.first {
                counters.add(.crashInFlush)
                if faultChance.happens(percent: 50) { process.state.machine.engine.flush() }
            } else {
                counters.add(.crashBeforeApply)
            }
        }
        if process.snapshotThread.isBusy, let job = process.snapshotThread.first {
            node.disk.fuse = faultChance.number(in: 0...12)
            switch job {
            case .build(let source):
                counters.add(.crashInSnapshotBuild)
                _ = try? process.snapshots.build(source, founding: (node.record ?? founding).membership)
            case .work(.storePiece(let piece, let bytes)):
                counters.add(.crashInSnapshotReceive)
                if let number = piece.chunk {
                    try? process.snapshots.store(bytes, number: number)
                } else {
                    _ = try? process.snapshots.begin(bytes)
                }
            case .work, .installed: break
            }
            node.disk.fuse = nil
        }
    }
}
