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

/// What the threads of a process do: the same as those of the server, by the same keepers of log, state and snapshots; here each
/// job happens at the end of the time that it takes.
extension World {
    // MARK: - Log thread

    private func diskLatency(_ node: SimNode) -> Interval {
        let latency = nodeChance.skewed(node.diskLatencyMin, node.diskLatencyMax)
        return now + latency < node.diskStuckUntil ? node.diskStuckUntil - now : latency
    }

    func goOn(_ node: SimNode, log process: SimProcess) {
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
                try during(.beforePersist, node) { () throws(DiskError) in try begin(work, by: node, process) }
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

    /// Its end may stay unheard: until then either what it cuts or what it leaves is there.
    func begin(_ work: LogWork, by node: SimNode, _ process: SimProcess) throws(DiskError) {
        node.cutUnderWay = work.writes.compactMap(\.truncateAfter).min()
        try process.log.perform(work)
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
        // A read error takes entries out until the disk gives them back, or the next start. Somebody must have them meanwhile.
        let isDiskFailing =
            node.failsNextLogRead
            && nodes.contains { $0 !== node && $0.process.map { !$0.replica.isMending } ?? false }
        if isDiskFailing {
            counters.add(.readError)
            node.refusesUntil = now + nodeChance.interval(.zero, .seconds(10))
        }
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

    func logReread(_ node: SimNode) {
        guard let process = node.process else { return }
        node.disk.failsReads = now < node.refusesUntil
        let isAnyThere = process.log.log.reread()
        node.disk.failsReads = false
        guard isAnyThere else { return }
        turn(node) { $0.logReread(faulty: process.log.log.faultyRanges) }
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

    func goOn(_ node: SimNode, state process: SimProcess) {
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

    func perform(_ work: ApplyWork, _ node: SimNode, _ process: SimProcess) throws {
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

    func goOn(_ node: SimNode, snapshots process: SimProcess) {
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
}
