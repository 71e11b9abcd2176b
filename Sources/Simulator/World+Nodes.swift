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

/// Processes: how they start, what their threads do, how they end. The threads do what those of the server do, by the
/// same keepers of log, state and snapshots; here each job happens at the end of the time that it takes.
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

    // MARK: - Log thread

    private func diskLatency(_ node: SimNode) -> Interval {
        let latency = nodeChance.skewed(node.diskLatencyMin, node.diskLatencyMax)
        return now + latency < node.diskStuckUntil ? node.diskStuckUntil - now : latency
    }

    private func goOn(_ node: SimNode, log process: SimProcess) {
        guard !process.logThread.isBusy, process.logThread.first != nil else { return }
        process.logThread.isBusy = true
        schedule(.logDone(node: node.number, life: node.life), after: diskLatency(node))
    }

    func logDone(_ node: SimNode) {
        guard let process = node.process, let job = process.logThread.first else { return }
        do throws(DiskError) {
            switch job {
            case .work(let work):
                checkCuts(work, by: node, process)
                try during(.beforePersist, node) { () throws(DiskError) in try process.log.perform(work) }
                logWritten(work, by: node, process.log.log)
                checkWritten(work, by: node, process.log.log)
                guard !dies(node, at: .afterPersist) else { return }
                finishLogJob(node, process)
                turn(node) { $0.logWritten(work.ticket) }
                schedule(.logIdle(node: node.number, life: node.life), after: .milliseconds(2))
            case .compact(let floor, let time):
                let before = process.log.log.firstIndex
                var retention = LogRetention()
                retention.bytes = settings.logRetention
                let first = try during(.logTrim, node) { () throws(DiskError) in
                    try process.log.compact(through: floor, retention, time: time)
                }
                finishLogJob(node, process)
                checkCompacted(node, process)
                if first > before { turn(node) { $0.compacted(through: first.previous) } }
            case .reset(let point, let membership, let time):
                try during(.snapshotInstall, node) { () throws(DiskError) in
                    try process.log.log.reset(to: point.last)
                }
                finishLogJob(node, process)
                snapshotInstalled(point, membership, time, on: node, process)
            case .seal:
                try during(.segmentRoll, node) { () throws(DiskError) in
                    try process.log.log.seal()
                    try process.log.log.prepareNextSegment()
                }
                finishLogJob(node, process)
            case .repair(let slab):
                guard try process.log.log.repair(slab) else {
                    return fail("\(node.name): entries \(slab.indexes) contradict those around the damage")
                }
                checkRepaired(process.log.log, of: node)
                finishLogJob(node, process)
                turn(node) { $0.logRepaired(faulty: process.log.log.faultyRanges) }
            }
        } catch {
            process.maintained = Maintained()
            guard !endedByCrash(node) else { return }
            switch (error.kind, job) {
            case (.noSpace, .work):
                // Nothing was promised: it waits until there is room.
                schedule(.logDone(node: node.number, life: node.life), after: .milliseconds(250))
                turn(node) { $0.diskChanged(DiskUsage(used: 0, free: 0), .exhausted) }
            case (.noSpace, .compact), (.noSpace, .seal): finishLogJob(node, process)
            case (.noSpace, .repair):
                checkRepaired(process.log.log, of: node)
                finishLogJob(node, process)
                turn(node) { $0.logRepaired(faulty: process.log.log.faultyRanges) }
            default:
                // A failed write or sync is final: the process ends, and has answered nothing that depends on it.
                tell("\(node.name) stops: \(error)")
                stopProcess(of: node, losingPower: true)
                schedule(.start(node: node.number), after: nodeChance.interval(.milliseconds(100), .seconds(2)))
            }
        }
    }

    private func finishLogJob(_ node: SimNode, _ process: SimProcess) {
        _ = process.logThread.takeFirst()
        process.logThread.isBusy = false
        goOn(node, log: process)
    }

    func logIdle(_ node: SimNode) {
        guard let process = node.process, process.logThread.first == nil else { return }
        process.logThread.add(.seal)
        goOn(node, log: process)
    }

    func logRead(_ node: SimNode, _ read: LogRead) {
        guard let process = node.process else { return }
        // A read error takes entries out until the next start. Somebody must have them meanwhile.
        let isDiskFailing =
            node.failsNextLogRead
            && nodes.contains { $0 !== node && $0.process.map { !$0.replica.isMending } ?? false }
        if isDiskFailing { counters.add(.readError) }
        node.disk.failsReads = isDiskFailing
        node.failsNextLogRead = false
        defer { node.disk.failsReads = false }
        do throws(LogReadError) {
            let slabs = try process.log.perform(read)
            node.disk.failsReads = false
            turn(node) { $0.logRead(read, slabs: slabs) }
        } catch {
            node.disk.failsReads = false
            logReadFailed(node, read, error, isDiskFailing: isDiskFailing)
        }
    }

    func logReadFailed(_ node: SimNode, _ read: LogRead, _ error: LogReadError, isDiskFailing: Bool = false) {
        switch error {
        case .compacted where read.purpose == .feed: turn(node) { $0.feedUnreadable(through: read.range.upperBound) }
        case .compacted, .disk: fail("\(node.name) cannot read its log: \(error)")
        case .damaged(let damage):
            node.process?.log.log.takeOut(damage)
            var isMended = false
            turn(node) { isMended = $0.logReadFailed(read, damage.indexes, reason: damage.description) }
            if !isMended { stopForDamage(node, damage.description, isPassing: isDiskFailing) }
        }
    }

    // MARK: - Apply thread

    func orderBuild(of node: SimNode, _ process: SimProcess) {
        process.buildsUnderWay += 1
        process.stateThread.add(.snapshotSource)
        goOn(node, state: process)
    }

    private func goOn(_ node: SimNode, state process: SimProcess) {
        guard !process.stateThread.isBusy, process.stateThread.first != nil else { return }
        process.stateThread.isBusy = true
        schedule(
            .stateDone(node: node.number, life: node.life),
            after: nodeChance.skewed(.microseconds(5), .milliseconds(3)))
    }

    func stateDone(_ node: SimNode) {
        guard let process = node.process, let job = process.stateThread.takeFirst() else { return }
        process.stateThread.isBusy = false
        do {
            switch job {
            case .work(let work): try perform(work, node, process)
            case .flush:
                guard !dies(node, at: .flush) else { return }
                process.state.machine.engine.flush()
                guard !dies(node, at: .flush) else { return }
            case .checkFlush where process.state.isBroken: break
            case .snapshotSource where process.state.isBroken:
                process.buildsUnderWay -= 1
                turn(node) { $0.snapshotBuildFailed(reason: "the state is damaged") }
            case .checkFlush:
                let index = try durableApplied(process)
                checkDurable(index, of: node, process)
                turn(node) { $0.flushed(through: index) }
            case .snapshotSource:
                do {
                    process.snapshotThread.add(.build(try process.state.snapshotSource()))
                } catch {
                    process.buildsUnderWay -= 1
                    turn(node) { $0.snapshotBuildFailed(reason: "\(error)") }
                    throw error
                }
                goOn(node, snapshots: process)
            case .discardSnapshots:
                process.snapshotThread.add(.work(.discard))
                goOn(node, snapshots: process)
            case .adopt(let engine, let point, let membership, let time, let resetsLog):
                guard !dies(node, at: .snapshotInstall) else { return }
                try process.state.adopt(engine)
                process.state.machine.checkpointInterval = settings.checkpointInterval
                for slot in process.exports.endAll() { turn(node) { $0.exportEnded(slot) } }
                checkAdopted(node, process)
                try checkDurableAdopted(node, process)
                guard !dies(node, at: .snapshotInstall) else { return }
                process.snapshotThread.add(.installed(point))
                goOn(node, snapshots: process)
                if resetsLog {
                    process.logThread.add(.reset(point, membership, time))
                    goOn(node, log: process)
                } else {
                    snapshotInstalled(point, membership, time, on: node, process)
                }
            }
        } catch {
            if let error = error as? MachineError, let outcome = try? process.state.broke(error) {
                turn(node) { outcome.deliver(to: &$0) }
            } else if isTooOld(node, error) {
                // An older state took the place of a damaged one, and what raised the level is applied again.
                tell("\(node.name) stops: \(error)")
                stopProcess(of: node, losingPower: false)
                schedule(.start(node: node.number), after: .milliseconds(500))
            } else {
                fail("the state of \(node.name) cannot be kept: \(error)")
            }
        }
        if let process = node.process { goOn(node, state: process) }
    }

    /// A volatile state is as durable as the newest snapshot of it.
    func durableApplied(_ process: SimProcess) throws -> LogIndex {
        process.state.home.isVolatile ? process.snapshotThrough : try process.state.machine.durableApplied()
    }

    private func perform(_ work: ApplyWork, _ node: SimNode, _ process: SimProcess) throws {
        if case .entries = work { guard !dies(node, at: .beforeApply) else { return } }
        let outcome = try process.state.perform(work, now: node.clock.monotonic(at: now))
        switch outcome {
        case .applied(let report):
            if case .entries(let slabs, _) = work { checkApplied(slabs, report, by: node, process) }
            guard !dies(node, at: .afterApply) else { return }
            turn(node) { $0.applied(report) }
        case .answered, .answeredWithDamage, .damaged, .sessionsListed, .orphansFound, .fed, .feedDamaged,
            .feedFailed:
            turn(node) { outcome.deliver(to: &$0) }
        case .nothing: break
        }
    }

    // MARK: - Snapshot thread

    private func goOn(_ node: SimNode, snapshots process: SimProcess) {
        guard !process.snapshotThread.isBusy, process.snapshotThread.first != nil else { return }
        process.snapshotThread.isBusy = true
        schedule(.snapshotDone(node: node.number, life: node.life), after: diskLatency(node))
    }

    func snapshotDone(_ node: SimNode) {
        guard let process = node.process, let job = process.snapshotThread.takeFirst() else { return }
        process.snapshotThread.isBusy = false
        switch job {
        case .build(let source):
            process.buildsUnderWay -= 1
            do throws(SnapshotKeeperError) {
                let point = try during(.snapshotBuild, node) { () throws(SnapshotKeeperError) in
                    try process.snapshots.build(source, founding: (node.record ?? founding).membership)
                }
                process.snapshotThrough = point.last.index
                process.buildPause.reset()
                process.hasDamagedSnapshot = false
                node.hasSnapshotDamage = false
                turn(node) { $0.snapshotBuilt(point) }
            } catch {
                process.buildPause.begin(at: now)
                turn(node) { replica in
                    replica.snapshotBuildFailed(reason: "\(error)", lacksSpace: error.isLackOfSpace)
                    if case .snapshot(.engine(.corrupt(let reason))) = error {
                        replica.stateDamaged(reason: reason, isUsable: true)
                    }
                }
            }
        case .installed(let point):
            forgetReplaced(by: point, node, process)
        case .work(let work): perform(work, node, process)
        }
        guard !endedByCrash(node) else { return }
        if let process = node.process { goOn(node, snapshots: process) }
    }

    private func forgetReplaced(by point: SnapshotPoint, _ node: SimNode, _ process: SimProcess) {
        do throws(SnapshotKeeperError) {
            if process.state.home.isVolatile {
                try during(.snapshotInstall, node) { () throws(SnapshotKeeperError) in
                    try process.snapshots.keepTaken()
                }
                process.snapshotThrough = point.last.index
                node.hasSnapshotDamage = false
                turn(node) { $0.snapshotBuilt(point) }
            } else {
                try during(.snapshotInstall, node) { () throws(SnapshotKeeperError) in
                    try process.snapshots.discardTaken()
                }
            }
        } catch {
            // What stays is removed before the next attempt; a volatile state is kept by the next snapshot.
        }
        process.state.home.removeOthers()
    }

    private func perform(_ work: SnapshotWork, _ node: SimNode, _ process: SimProcess) {
        switch work {
        case .build: break
        case .discard:
            process.snapshotThrough = .zero
            do throws(SnapshotKeeperError) {
                try during(.snapshotInstall, node) { () throws(SnapshotKeeperError) in
                    try process.snapshots.discardMade()
                }
                process.hasDamagedSnapshot = false
                node.hasSnapshotDamage = false
                turn(node) { $0.snapshotsDiscarded(failure: nil) }
            } catch {
                turn(node) { $0.snapshotsDiscarded(failure: "\(error)") }
            }
        case .loadPiece(let piece, let sizeMax, let peer):
            do throws(SnapshotKeeperError) {
                let (loaded, itemSize) = try process.snapshots.load(piece, sizeMax: sizeMax)
                var bytes = loaded
                if piece.offset > 0, !bytes.isEmpty { counters.add(.manifestInPieces) }
                if node.damagesNextPiece, !bytes.isEmpty {
                    node.damagesNextPiece = false
                    counters.add(.damagedSnapshotPiece)
                    bytes[bytes.count / 2] ^= 0x20
                }
                turn(node) { $0.snapshotPieceLoaded(piece, bytes: bytes, itemSize: itemSize, for: peer) }
            } catch {
                turn(node) { $0.snapshotPieceDamaged(piece, reason: "\(error)", for: peer) }
            }
        case .storePiece(let piece, let bytes):
            do throws(SnapshotKeeperError) {
                if let number = piece.chunk {
                    try during(.snapshotReceive, node) { () throws(SnapshotKeeperError) in
                        try process.snapshots.store(bytes, number: number)
                    }
                    turn(node) { $0.snapshotChunkStored(number) }
                } else {
                    let (point, count, firstMissing) =
                        try during(.snapshotReceive, node) { () throws(SnapshotKeeperError) in
                            try process.snapshots.begin(bytes)
                        }
                    turn(node) { $0.snapshotManifestStored(point, chunkCount: count, firstMissing: firstMissing) }
                }
            } catch {
                turn(node) { replica in
                    if error.isLackOfSpace {
                        replica.snapshotLacksSpace(reason: "\(error)")
                    } else {
                        replica.snapshotPieceRefused(reason: "\(error)")
                    }
                }
            }
        case .install(let point, let resetsLog):
            do throws(SnapshotKeeperError) {
                let engine = process.state.home.makeSuccessor()
                let (membership, time) = try during(.snapshotInstall, node) { () throws(SnapshotKeeperError) in
                    try process.snapshots.install(into: engine)
                }
                process.stateThread.add(.adopt(engine, point, membership, time, resetsLog: resetsLog))
                goOn(node, state: process)
            } catch {
                process.state.home.discardSuccessor()
                turn(node) { $0.snapshotInstallFailed(reason: "\(error)", lacksSpace: error.isLackOfSpace) }
            }
        }
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
        if node.home.isVolatile, !process.replica.isQuarantined, process.log.log.byteCount > settings.logRetention,
            process.state.machine.applied.last.index.distance(after: process.snapshotThrough) > 100,
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
                let isWhole = (try? process.log.perform(work)) != nil
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
