internal import Basics
internal import Disk
internal import Foundation
internal import LogFormat
internal import LogStore
internal import MetadataMachine
internal import MetadataModel
internal import RaftCore
internal import ReplicaCore
internal import ReplicaStorage
internal import Snapshots
internal import StateEngine
internal import Synchronization

/// What a storage thread tells the loop.
enum StorageReport: Sendable {
    case logWritten(PersistTicket)
    case logRead(LogRead, [Slab])
    /// Entries that were asked for are not what was written: the others have them.
    case logReadFailed(LogRead, LogDamage)
    /// Entries were written in the place of damaged ones, or could not be for lack of space; what is still damaged.
    case logRepaired
    /// Entries that the disk did not give back are there again.
    case logReread
    case scrub(ScrubNews)
    /// Old entries that only watches still ask for are gone.
    case feedUnreadable(through: LogIndex)
    case outcomes([StateOutcome])
    case flushed(through: LogIndex)
    case compacted(through: LogIndex)
    case diskChecked(DiskUsage, DiskLevel)
    case snapshotBuilt(SnapshotPoint)
    case snapshotBuildFailed(String, lacksSpace: Bool)
    case snapshotPieceLoaded(SnapshotPiece, [UInt8], itemSize: Int, for: NodeID)
    case snapshotPieceDamaged(SnapshotPiece, String, for: NodeID)
    case snapshotManifestStored(SnapshotPoint, chunkCount: UInt32, firstMissing: UInt32)
    case snapshotChunkStored(UInt32)
    case snapshotPieceRefused(String)
    /// For a piece, and so for the snapshot.
    case snapshotLacksSpace(String)
    case snapshotInstalled(SnapshotPoint, Membership, ClusterTime, featureLevel: UInt32)
    case snapshotInstallFailed(String, lacksSpace: Bool)
    case snapshotsDiscarded(failure: String?)
    case export(ExportReport)
    /// The disk has failed: nothing may be acknowledged any more, and nothing is tried again.
    case failed(NodeFailure)
}

/// What the loop knows of the work that is due twice a second.
struct Maintenance: Sendable {
    var time: ClusterTime
    var lastApplied: LogIndex
    /// How far the log may be cut, and how far it could be if all that is applied were durable.
    var floor: LogIndex
    var floorAfterFlush: LogIndex
    /// Damaged entries through here are done without.
    var letGo = LogIndex.zero
    /// The state is to be made durable, however long the log is: by a flush, or by a snapshot where it is volatile.
    var wantsFlush = false
    /// It is to be replaced: no snapshot is made of it.
    var isQuarantined = false
}

/// The threads behind a node. Log thread: appends, syncs, seals. Apply thread: the state machine, but for what is so small that
/// the loop does it while that thread sleeps. Read thread: log entries
/// that are no longer in memory, and how much of the disk is free. Snapshot thread: everything that takes long. None of them
/// decides anything.
final class NodeStorage<Home: EngineHome>: @unchecked Sendable {
    // `@unchecked`: `state` belongs to the apply thread, or whoever works in its place, and `snapshots` to the snapshot thread,
    // once `start` was called.

    private let log: LogKeeper
    private let state: StateKeeper<Home>
    private let snapshots: SnapshotKeeper
    private let fileSystem: any FileSystem
    private let directory: String
    private let founding: Membership
    private let retention: LogRetention
    private let logSizeMax: Int
    /// Bytes of the volume that are for what the node has promised, and for itself to go on.
    private var diskReserve = 0
    /// Bytes of the state on disk, as the apply thread last saw it.
    private let stateSize = Mutex<UInt64>(0)
    private let meter = Mutex(StorageMeter())
    /// Where the newest snapshot that is whole on disk ends.
    private let snapshotThrough = Mutex(LogIndex.zero)

    /// Snapshots of the state that are ordered and have not ended.
    private let buildsUnderWay = Mutex(0)
    /// Of those that a volatile state is kept by.
    private let buildPause = Mutex(RetryPause())

    /// What of the log can go, as the loop has seen it last.
    private let newestMaintenance = Mutex<Maintenance?>(nil)
    /// The log thread has not come to it yet. A disk may be stuck for long, and one compaction does for all.
    private let isCompactionWaiting = Mutex(false)
    private let isStopping = Mutex(false)

    /// As it is on disk, for the snapshot thread.
    private var memory = PeerMemory()
    /// Nil when it is not known what the disk has of them.
    private var alarmsOnDisk: [LatchedAlarm]?

    private static var volatileSnapshotEntries: Int { 100_000 }

    private enum LogJob: Sendable {
        case work(LogWork)
        case compact
        case reset(EntryID, then: @Sendable () -> Void)
        case repair(Slab)
    }
    private enum StateJob: Sendable {
        case work(ApplyWork)
        case checkFlush(Maintenance)
        case scrubRows(LogIndex, Handover<Result<UncheckedBox<any StoredRows>?, EngineError>>)
        case beginFlush(Handover<@Sendable () -> Void>)
        case endScrubPause
        case snapshotSource
        case discardSnapshots
        case exportSource(ConnectionSlot, requestID: UInt64)
        case exportEnd(ConnectionSlot)
        case adopt(UncheckedBox<Home.StateEngineType>, SnapshotPoint, Membership, ClusterTime, resetsLog: Bool)
    }
    private enum ReadJob: Sendable {
        case read(LogRead)
        case reread
        /// Here, because it is soon done with what it has to do.
        case checkDisk
    }
    private enum SnapshotJob: Sendable {
        case work(SnapshotWork)
        case build(SnapshotSource<Home.StateEngineType.View>)
        case remember(PeerMemory)
        case keepAlarms([LatchedAlarm], then: (@Sendable () -> Void)?)
        /// The snapshot that was taken is installed.
        case installed(SnapshotPoint)
        case scrub(UncheckedBox<Scrub>, Handover<Scrub.Step>)
        case scrubbed(ClusterTime)
    }
    private var logThread: WorkThread<LogJob>?
    private var stateThread: WorkThread<StateJob>?
    private var readThread: WorkThread<ReadJob>?
    private var snapshotThread: WorkThread<SnapshotJob>?
    private var exportThread: ExportThread<Home.StateEngineType.View>?
    private var scrubThread: ScrubThread?
    private let scrubRate: UInt64
    /// How often the state was replaced.
    private let stateGeneration = Mutex(0)
    /// Files that the node knows by heart, besides those of this room.
    private let knownFiles: [UncheckedBox<ScrubbedFile>]
    private var report: @Sendable (StorageReport) -> Void = { _ in }

    init(
        log: LogKeeper, state: StateKeeper<Home>, snapshots: SnapshotKeeper, founding: Membership, logSizeMax: Int,
        feed: LogRetention, alarmsOnDisk: [LatchedAlarm]?, fileSystem: any FileSystem, directory: String,
        scrubRate: UInt64, knownFiles: [UncheckedBox<ScrubbedFile>]
    ) {
        self.scrubRate = scrubRate
        self.knownFiles = knownFiles
        self.alarmsOnDisk = alarmsOnDisk
        var retention = feed
        retention.bytes = min(retention.bytes, logSizeMax / 2)
        self.retention = retention
        self.logSizeMax = logSizeMax
        self.log = log
        self.state = state
        self.snapshots = snapshots
        self.founding = founding
        self.fileSystem = fileSystem
        self.directory = directory
        stateSize.withLock { $0 = state.machine.engine.statistics.diskBytes }
    }

    func start(diskReserve: Int, report: @escaping @Sendable (StorageReport) -> Void) {
        self.report = report
        self.diskReserve = diskReserve
        // No node gets low on space because it makes a snapshot for another. But without one the log of a volatile state
        // gets no shorter, and without the one that it takes a node is of no use: these may have half of the reserve, as
        // entries may.
        snapshots.spaceKept = (making: state.home.isVolatile ? diskReserve / 2 : diskReserve, taking: diskReserve / 2)
        logThread = WorkThread(
            name: "log", idleAfter: .milliseconds(2), idle: { [self] in logIsIdle() }
        ) { [self] jobs in for job in jobs { perform(job) } }
        stateThread = WorkThread(name: "apply") { [self] jobs in perform(jobs) }
        readThread = WorkThread(name: "log-read") { [self] jobs in for job in jobs { perform(job) } }
        snapshotThread = WorkThread(name: "snapshot") { [self] jobs in for job in jobs { perform(job) } }
        exportThread = ExportThread(cluster: snapshots.cluster, founding: founding) { report(.export($0)) }
        scrubThread = ScrubThread(rate: scrubRate, source: scrubSource) { report(.scrub($0)) }
    }

    /// Waits for everything handed over, and seals the log. Entries for which there is no space are not waited for: nobody
    /// was told that they are kept.
    func stop() {
        isStopping.withLock { $0 = true }
        // First, because it waits for the others.
        scrubThread?.stop()
        readThread?.stop()
        exportThread?.stop()
        snapshotThread?.stop()
        stateThread?.stop()
        logThread?.stop()
        try? log.log.seal()
        try? state.machine.engine.flush()
    }

    // MARK: - Handing over, from the loop

    func log(_ work: LogWork) { logThread?.add(.work(work)) }
    func apply(_ work: [ApplyWork]) {
        guard !work.isEmpty else { return }
        let jobs = work.map { StateJob.work($0) }
        // A write that comes alone waits for one thread less.
        let isDone = work.count == 1 && stateThread?.performHere(jobs, if: { state.isQuick(work[0]) }) == true
        if !isDone { stateThread?.add(jobs) }
    }
    func read(_ read: LogRead) { readThread?.add(.read(read)) }
    func rereadLog() { readThread?.add(.reread) }
    func repairLog(_ slabs: [Slab]) { for slab in slabs { logThread?.add(.repair(slab)) } }

    func scrub(_ order: ScrubOrder) {
        switch order {
        case .stop: scrubThread?.stopScrub()
        case .start(let plan): scrubThread?.start(plan, UncheckedBox(makeScrub()))
        }
    }

    func snapshot(_ work: SnapshotWork) {
        switch work {
        case .build: orderBuild()
        // It takes the way of those whose making was ordered before, so that it cannot overtake one.
        case .discard: stateThread?.add(.discardSnapshots)
        case .loadPiece, .storePiece, .install: snapshotThread?.add(.work(work))
        }
    }

    private func orderBuild() {
        buildsUnderWay.withLock { $0 += 1 }
        stateThread?.add(.snapshotSource)
    }

    /// `end` takes the way of `begin`, so that it cannot overtake it.
    func export(_ work: ExportWork) {
        switch work {
        case .begin(let slot, let requestID): stateThread?.add(.exportSource(slot, requestID: requestID))
        case .read(let slot, let requestID, let request): exportThread?.read(slot, requestID: requestID, request)
        case .end(let slot): stateThread?.add(.exportEnd(slot))
        }
    }

    /// Keeps what is known of other nodes, when it is news.
    func remember(_ acknowledged: [NodeID: LogIndex]) { snapshotThread?.add(.remember(PeerMemory(acknowledged))) }

    /// The same for the alarms that somebody must see.
    func keep(_ alarms: [LatchedAlarm], then: (@Sendable () -> Void)? = nil) {
        snapshotThread?.add(.keepAlarms(alarms, then: then))
    }

    func rememberScrub(_ time: ClusterTime) { snapshotThread?.add(.scrubbed(time)) }

    var logSize: Int { log.log.byteCount }

    var figures: StorageFigures { StorageFigures(logBytes: logSize, meter: meter.withLock { $0 }) }

    /// Called twice a second: how far the state is durable, how much space is left, what of the log can go.
    func maintain(_ due: Maintenance) {
        stateThread?.add(.checkFlush(due))
        exportThread?.expire()
        readThread?.add(.checkDisk)
        // A volatile state is kept by snapshots, so that the log need not hold everything for ever. One takes longer than it
        // is to the next look.
        let isLogLong =
            log.log.byteCount > retention.bytes
            && due.lastApplied.distance(after: snapshotThrough.withLock { $0 }) > Self.volatileSnapshotEntries
        if state.home.isVolatile, !due.isQuarantined, due.wantsFlush || isLogLong,
            buildsUnderWay.withLock({ $0 }) == 0, Self.now() >= buildPause.withLock({ $0.end })
        {
            orderBuild()
        }
        newestMaintenance.withLock { $0 = due }
        let isWaiting = isCompactionWaiting.withLock { isWaiting in
            defer { isWaiting = true }
            return isWaiting
        }
        if !isWaiting { logThread?.add(.compact) }
    }

    func deliver(_ report: StorageReport, to replica: inout Replica) {
        switch report {
        case .logWritten(let ticket): replica.logWritten(ticket)
        case .logRead(let read, let slabs): replica.logRead(read, slabs: slabs)
        case .outcomes(let outcomes):
            for outcome in outcomes { outcome.deliver(to: &replica) }
        // As it is now: what a scrub has found meanwhile is not mended.
        case .logRepaired: replica.logRepaired(faulty: log.log.faultyRanges)
        case .logReread: replica.logReread(faulty: log.log.faultyRanges)
        case .feedUnreadable(let index): replica.feedUnreadable(through: index)
        case .flushed(let index): replica.flushed(through: index)
        case .compacted(let index): replica.compacted(through: index)
        case .diskChecked(let usage, let level): replica.diskChanged(usage, level)
        case .snapshotBuilt(let point): replica.snapshotBuilt(point)
        case .snapshotBuildFailed(let reason, let lacksSpace):
            replica.snapshotBuildFailed(reason: reason, lacksSpace: lacksSpace)
        case .snapshotPieceLoaded(let piece, let bytes, let itemSize, let peer):
            replica.snapshotPieceLoaded(piece, bytes: bytes, itemSize: itemSize, for: peer)
        case .snapshotPieceDamaged(let piece, let reason, let peer):
            replica.snapshotPieceDamaged(piece, reason: reason, for: peer)
        case .snapshotManifestStored(let point, let count, let firstMissing):
            replica.snapshotManifestStored(point, chunkCount: count, firstMissing: firstMissing)
        case .snapshotChunkStored(let number): replica.snapshotChunkStored(number)
        case .snapshotPieceRefused(let reason): replica.snapshotPieceRefused(reason: reason)
        case .snapshotLacksSpace(let reason): replica.snapshotLacksSpace(reason: reason)
        case .snapshotInstalled(let point, let membership, let time, let level):
            replica.snapshotInstalled(point, membership: membership, time: time, featureLevel: level)
        case .snapshotInstallFailed(let reason, let lacksSpace):
            replica.snapshotInstallFailed(reason: reason, lacksSpace: lacksSpace)
        case .snapshotsDiscarded(let failure): replica.snapshotsDiscarded(failure: failure)
        case .export(.answered(let slot, let requestID, let reply, let isOver)):
            replica.exportAnswered(slot, requestID: requestID, reply, isOver: isOver)
        case .export(.ended(let slot)): replica.exportEnded(slot)
        // The shell may have to stop the node for them.
        case .logReadFailed, .scrub, .failed: break
        }
    }

    // MARK: - Log thread

    private func perform(_ job: LogJob) {
        do throws(DiskError) {
            switch job {
            case .work(let work):
                if try write(work) { report(.logWritten(work.ticket)) }
            case .compact:
                isCompactionWaiting.withLock { $0 = false }
                try compact()
            case .reset(let entry, let then):
                try log.log.reset(to: entry)
                then()
            case .repair(let slab): try repair(slab)
            }
        } catch {
            report(.failed(NodeFailure(message: "the log cannot be written: \(error)")))
        }
    }

    /// No space was found before anything was promised: the entries wait, unacknowledged, until there is some. What is
    /// queued behind them waits too, so segments that are not needed any more are let go from here: they may be the space.
    /// - Returns: false when the node stops before there was any. The replica hands over nothing more until it hears of
    ///   this work.
    private func write(_ work: LogWork) throws(DiskError) -> Bool {
        meter.withLock { $0.syncBegan(at: Self.now()) }
        defer { meter.withLock { $0.syncEnded(at: Self.now()) } }
        while true {
            do throws(DiskError) {
                try log.perform(work)
                return true
            } catch where error.kind == .noSpace {
                report(.diskChecked(diskUsage(), .exhausted))
            }
            if try compact() { continue }
            guard !isStopping.withLock({ $0 }) else { return false }
            Thread.sleep(forTimeInterval: 0.25)
        }
    }

    /// - Returns: whether the log takes less than before.
    @discardableResult
    private func compact() throws(DiskError) -> Bool {
        guard let due = newestMaintenance.withLock({ $0 }) else { return false }
        let (first, size) = (log.log.firstIndex, log.log.byteCount)
        let left = try log.compact(through: due.floor, retention, time: due.time, letGo: due.letGo)
        if left > first { report(.compacted(through: left.previous)) }
        return log.log.byteCount < size
    }

    /// Without space it is tried again with the next answer of a peer.
    private func repair(_ slab: Slab) throws(DiskError) {
        do throws(DiskError) {
            guard try log.log.repair(slab) else {
                return report(
                    .failed(NodeFailure(message: "entries \(slab.indexes) contradict the intact ones around the damage")))
            }
        } catch where error.kind == .noSpace {}
        report(.logRepaired)
    }

    private func logIsIdle() {
        do throws(DiskError) {
            try log.log.seal()
        } catch where error.kind != .noSpace {
            report(.failed(NodeFailure(message: "the log cannot be sealed: \(error)")))
        } catch {
            // The seal is only a help for recovery; the next batch says the same.
        }
        // Space for the next segment is an offer too: it is asked for again when it is needed.
        try? log.log.prepareNextSegment()
    }

    // MARK: - Apply thread

    private func perform(_ jobs: [StateJob]) {
        var outcomes: [StateOutcome] = []
        do throws(MachineError) {
            for job in jobs {
                do throws(MachineError) {
                    try perform(job, &outcomes)
                } catch {
                    outcomes.append(try state.broke(error))
                }
            }
        } catch {
            report(.failed(NodeFailure(message: "the state cannot be kept: \(error)")))
        }
        if !outcomes.isEmpty { report(.outcomes(outcomes)) }
    }

    private func perform(_ job: StateJob, _ outcomes: inout [StateOutcome]) throws(MachineError) {
        switch job {
        case .work(let work):
            outcomes.append(try state.perform(work, now: Self.now()))
        case .scrubRows(let index, let handover):
            state.pause(at: index) { [self] in handover.give(openRows()) }
        case .beginFlush(let handover): handover.give(state.home.beginFlush(state.machine.engine))
        case .endScrubPause: state.endPause()
        case .checkFlush(let due):
            guard !state.isBroken else { return }
            try flushIfLogIsLong(due)
            let figures = state.machine.engine.statistics
            let sessions = state.machine.openSessionCount
            stateSize.withLock { $0 = figures.diskBytes }
            meter.withLock {
                $0.stateMeasured(bytes: figures.diskBytes, memoryBytes: figures.residentBytes, sessions: sessions)
            }
            report(.flushed(through: try durableApplied()))
        case .snapshotSource:
            guard !state.isBroken else { return buildFailed("the state is damaged") }
            do throws(MachineError) {
                snapshotThread?.add(.build(try state.snapshotSource()))
            } catch {
                buildFailed("\(error)")
                throw error
            }
        case .discardSnapshots: snapshotThread?.add(.work(.discard))
        case .exportSource(let slot, let requestID):
            exportThread?.begin(slot, requestID: requestID, try state.snapshotSource())
        case .exportEnd(let slot): exportThread?.end(slot)
        case .adopt(let engine, let point, let membership, let time, let resetsLog):
            report(.outcomes(outcomes))
            outcomes = []
            try state.adopt(engine.value)
            stateGeneration.withLock { $0 += 1 }
            exportThread?.endAll()
            snapshotThread?.add(.installed(point))
            finishInstall(point, membership, time, resetsLog: resetsLog)
        }
    }

    /// The log is cut only to what is flushed. RocksDB flushes by itself when enough has gathered; where the bound on the
    /// log is smaller than that, it is told to, once that lets segments go. While they stay all the same, for watches or for
    /// a late follower, it would be told so at each look, and write small files without end.
    private func flushIfLogIsLong(_ due: Maintenance) throws(MachineError) {
        guard !state.home.isVolatile, due.wantsFlush || log.log.byteCount > logSizeMax / 2 else { return }
        let durable = try state.machine.durableApplied()
        guard durable < state.machine.applied.last.index,
            due.wantsFlush
                || log.waitsForFlush(beyond: durable, through: due.floorAfterFlush, retention, time: due.time)
        else { return }
        do throws(EngineError) {
            try state.machine.engine.flush()
        } catch {
            throw .engine(error)
        }
    }

    /// A volatile state is as durable as the newest snapshot of it.
    private func durableApplied() throws(MachineError) -> LogIndex {
        state.home.isVolatile ? snapshotThrough.withLock { $0 } : try state.machine.durableApplied()
    }

    private func buildFailed(_ reason: String, lacksSpace: Bool = false) {
        buildsUnderWay.withLock { $0 -= 1 }
        buildPause.withLock { $0.begin(at: Self.now()) }
        report(.snapshotBuildFailed(reason, lacksSpace: lacksSpace))
    }

    private func finishInstall(_ point: SnapshotPoint, _ membership: Membership, _ time: ClusterTime, resetsLog: Bool) {
        let done = StorageReport.snapshotInstalled(point, membership, time, featureLevel: state.machine.featureLevel)
        if resetsLog {
            logThread?.add(.reset(point.last) { [report] in report(done) })
        } else {
            report(done)
        }
    }

    private static func now() -> Instant {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Instant(nanoseconds: UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec))
    }

    // MARK: - Read thread

    private func perform(_ job: ReadJob) {
        switch job {
        case .read(let read): perform(read)
        case .reread: if log.log.reread() { report(.logReread) }
        case .checkDisk:
            let (usage, level) = measureDisk()
            report(.diskChecked(usage, level))
        }
    }

    private func perform(_ read: LogRead) {
        do throws(LogReadError) {
            report(.logRead(read, try log.perform(read)))
        } catch {
            switch error {
            case .damaged(let damage):
                log.log.takeOut(damage)
                report(.logReadFailed(read, damage))
            case .disk(let failure) where read.purpose == .feed:
                report(.outcomes([.feedFailed(failure.description, range: read.range, isLive: false)]))
            case .compacted where read.purpose == .feed: report(.feedUnreadable(through: read.range.upperBound))
            case .disk, .compacted: report(.failed(NodeFailure(message: "the log cannot be read: \(error)")))
            }
        }
    }

    // MARK: - Snapshot thread

    private func perform(_ job: SnapshotJob) {
        switch job {
        case .build(let source):
            do throws(SnapshotKeeperError) {
                let point = try snapshots.build(source, founding: founding)
                snapshotThrough.withLock { $0 = point.last.index }
                buildsUnderWay.withLock { $0 -= 1 }
                buildPause.withLock { $0.reset() }
                report(.snapshotBuilt(point))
            } catch {
                buildFailed("\(error)", lacksSpace: error.isLackOfSpace)
                if case .snapshot(.engine(.corrupt(let reason))) = error {
                    report(.outcomes([.damaged(reason, isUsable: true)]))
                }
            }
        case .remember(let news):
            // A failure costs nothing but this memory, and the log will meet the same disk.
            guard news != memory, (try? news.store(in: directory, on: fileSystem)) != nil else { return }
            memory = news
        case .keepAlarms(let news, let then):
            defer { then?() }
            // On a full disk it is tried again with the next.
            guard news != alarmsOnDisk else { return }
            alarmsOnDisk = (try? AlarmMemory.store(news, in: directory, on: fileSystem)) == nil ? nil : news
        case .scrubbed(let time):
            // Forgotten, it costs one scrub that comes early.
            try? ScrubSchedule.store(time, in: directory, on: fileSystem)
        case .scrub(let scrub, let handover): handover.give(scrub.value.step(over: snapshots))
        case .installed(let point):
            forgetReplaced(by: point)
        case .work(let work): perform(work)
        }
    }

    private func forgetReplaced(by point: SnapshotPoint) {
        do throws(SnapshotKeeperError) {
            if state.home.isVolatile {
                try snapshots.keepTaken()
                snapshotThrough.withLock { $0 = point.last.index }
                report(.snapshotBuilt(point))
            } else {
                try snapshots.discardTaken()
            }
        } catch {
            // What stays is removed before the next attempt; a volatile state is kept by the next snapshot.
        }
        try? state.home.removeOthers()
    }

    private func perform(_ work: SnapshotWork) {
        switch work {
        case .build: break
        case .discard:
            snapshotThrough.withLock { $0 = .zero }
            do throws(SnapshotKeeperError) {
                try snapshots.discardMade()
                report(.snapshotsDiscarded(failure: nil))
            } catch {
                report(.snapshotsDiscarded(failure: "\(error)"))
            }
        case .loadPiece(let piece, let sizeMax, let peer):
            do throws(SnapshotKeeperError) {
                let (bytes, itemSize) = try snapshots.load(piece, sizeMax: sizeMax)
                report(.snapshotPieceLoaded(piece, bytes, itemSize: itemSize, for: peer))
            } catch {
                report(.snapshotPieceDamaged(piece, "\(error)", for: peer))
            }
        case .storePiece(let piece, let bytes):
            do throws(SnapshotKeeperError) {
                if let number = piece.chunk {
                    try snapshots.store(bytes, number: number)
                    report(.snapshotChunkStored(number))
                } else {
                    let (point, count, firstMissing) = try snapshots.begin(bytes)
                    report(.snapshotManifestStored(point, chunkCount: count, firstMissing: firstMissing))
                }
            } catch {
                report(error.isLackOfSpace ? .snapshotLacksSpace("\(error)") : .snapshotPieceRefused("\(error)"))
            }
        case .install(let point, let resetsLog):
            do {
                let engine = try state.home.makeSuccessor()
                let (membership, time) = try snapshots.install(into: engine)
                stateThread?.add(.adopt(UncheckedBox(engine), point, membership, time, resetsLog: resetsLog))
            } catch {
                state.home.discardSuccessor()
                report(.snapshotInstallFailed("\(error)", lacksSpace: Self.isLackOfSpace(error)))
            }
        }
    }

    private static func isLackOfSpace(_ error: any Error) -> Bool {
        switch error {
        case let error as SnapshotKeeperError: error.isLackOfSpace
        case EngineError.noSpace: true
        default: false
        }
    }

    // MARK: - Scrub

    private func makeScrub() -> Scrub {
        let figures = meter.withLock { $0.stateBytes }
        return Scrub(log: log.log, files: knownFiles.map(\.value), byteCountExpected: figures)
    }

    private var scrubSource: ScrubSource {
        ScrubSource(
            openRows: { [self] index in
                let flushed = Handover<@Sendable () -> Void>()
                stateThread?.add(.beginFlush(flushed))
                flushed.take()?()
                let handover = Handover<Result<UncheckedBox<any StoredRows>?, EngineError>>()
                stateThread?.add(.scrubRows(index, handover))
                if let rows = handover.take(within: Self.pauseMax) { return rows }
                stateThread?.add(.endScrubPause)
                return handover.take() ?? .success(nil)
            },
            readSnapshots: { [self] scrub in
                let handover = Handover<Scrub.Step>()
                snapshotThread?.add(.scrub(scrub, handover))
                return handover.take() ?? Scrub.Step()
            },
            stateGeneration: { [self] in stateGeneration.withLock { $0 } },
            stateFile: { [directory] in "\(directory)/state" })
    }

    /// How long a scrub waits for the revision that another node's rows are of.
    private static var pauseMax: DispatchTimeInterval { .seconds(2) }

    private func openRows() -> Result<UncheckedBox<any StoredRows>?, EngineError> {
        guard !state.isBroken else { return .success(nil) }
        do throws(EngineError) {
            return .success(UncheckedBox(try state.home.openStored(state.machine.engine)))
        } catch {
            return .failure(error)
        }
    }

    /// From any thread.
    func measureDisk() -> (DiskUsage, DiskLevel) {
        let usage = diskUsage()
        return (usage, DiskLevel(free: usage.free, reserve: UInt64(diskReserve)))
    }

    private func diskUsage() -> DiskUsage {
        let free = (try? fileSystem.freeSpace(directory)) ?? 0
        return DiskUsage(
            used: UInt64(log.log.byteCount) + stateSize.withLock { $0 }, free: UInt64(max(0, free)))
    }
}

/// Moves an engine from the thread that built it to the one that will own it; the first lets go of it.
struct UncheckedBox<Value>: @unchecked Sendable {
    // `@unchecked`: handed over once, through a queue.
    let value: Value
    init(_ value: Value) { self.value = value }
}
