internal import Basics
internal import Foundation
internal import LogFormat
internal import LogStore
internal import Logging
internal import MetadataModel
internal import NIOCore
internal import RaftCore
internal import ReplicaCore
internal import ReplicaStorage
internal import StateEngine
internal import Transport
internal import Wire

/// A founded node on its event loop: the replica, and around it sockets, threads and timers. It decides nothing: it
/// carries events in and effects out.
///
/// Every event of one wake-up of the loop falls into one *turn*: the first begins it, and a task that runs after the
/// wake-up's last event ends it, so that what a hundred connections asked together is logged, sent and answered together.
final class Node<Home: EngineHome>: RunningNode, @unchecked Sendable {
    // `@unchecked`: everything here is used on the event loop only. Other threads reach it through `loop.execute`.

    let loop: any EventLoop
    let logger: Logger
    let configuration: ServerConfiguration
    var replica: Replica
    let storage: NodeStorage<Home>
    private let security: WireSecurity
    private var certificateAlarms: [AlarmBook.Condition] = []

    private var isInTurn = false
    private var timer: Scheduled<Void>?
    private var timerDeadline = Instant.never
    private var maintenance: RepeatedTask?
    /// When to keep again what is known of other nodes.
    private var rememberAt = Instant.zero
    /// By slot position; nil where no connection is.
    private var clientConnections: [FrameConnection?] = []
    private var clientSlots: [UInt64: ConnectionSlot] = [:]
    let peers: PeerConnections
    private var events = NodeEvents()
    /// Damage in the log that somebody needed, until the node has stopped for it.
    private var readDamage: String?
    private var scrubTimer: ScrubSchedule
    private var scrubNotBefore = Instant.zero
    private static var stoppedScrubPause: Interval { .seconds(3_600) }
    private let fail: (NodeFailure) -> Void

    init(
        replica: consuming Replica, storage: NodeStorage<Home>, peers: PeerConnections, security: WireSecurity,
        loop: any EventLoop,
        logger: Logger, configuration: ServerConfiguration, scrubSchedule: ScrubSchedule, fail: @escaping (NodeFailure) -> Void
    ) {
        self.replica = replica
        self.storage = storage
        self.peers = peers
        self.security = security
        self.loop = loop
        self.logger = logger
        self.configuration = configuration
        self.fail = fail
        scrubTimer = scrubSchedule
    }

    func start() {
        storage.start(diskReserve: configuration.diskReserveSize) { [self] report in
            loop.execute { self.storageReported(report) }
        }
        peers.handler = self
        peers.setMembers(replica.linkedMembers)
        compareAddress()
        // What the disk has is known before anybody can ask, and before there is an election.
        let (usage, level) = storage.measureDisk()
        turn { $0.diskChanged(usage, level) }
        reviewCertificate()
        maintenance = loop.scheduleRepeatedTask(initialDelay: .milliseconds(500), delay: .milliseconds(500)) { [self] _ in
            maintain()
        }
    }

    /// Hands leadership over; new requests are sent elsewhere.
    func beginStopping() {
        sayGoodbye()
        turn { $0.stop() }
    }

    var isDrained: Bool { replica.isDrained }

    var status: StatusReply { replica.statusReply }

    func figures(at now: Instant) -> NodeFigures {
        NodeFigures(
            replica: replica.figures(at: now), events: events, storage: storage.figures, scrubs: replica.scrubs,
            lastScrub: scrubTimer.lastEnded)
    }

    /// On the loop; after it, `stopStorage` elsewhere, because it waits.
    func stop() {
        storage.remember(replica.acknowledgements)
        storage.keep(replica.latchedAlarms)
        maintenance?.cancel()
        timer?.cancel()
        peers.handler = nil
    }

    func stopStorage() { storage.stop() }

    // MARK: - Turns

    static func instant() -> Instant { Instant(nanoseconds: NIODeadline.now().uptimeNanoseconds) }

    func turn(_ body: (inout Replica) -> Void) {
        loop.assertInEventLoop()
        if !isInTurn {
            isInTurn = true
            replica.beginTurn(now: Self.instant(), wall: wallClock())
            loop.execute { self.endTurn() }
        }
        body(&replica)
    }

    private func endTurn() {
        isInTurn = false
        let effects = replica.endTurn()
        if let work = effects.log { storage.log(work) }
        storage.apply(effects.apply)
        for read in effects.logReads { storage.read(read) }
        if effects.rereadsLog { storage.rereadLog() }
        for work in effects.snapshot { storage.snapshot(work) }
        for work in effects.exports { storage.export(work) }
        storage.repairLog(effects.logRepairs)
        for order in effects.scrubs { storage.scrub(order) }
        for (slot, bytes) in effects.toClients {
            guard let connection = clientConnections[Int(slot.position)] else { continue }
            connection.send(bytes)
            if !connection.isWritable { holdBack(connection) }
        }
        for slot in effects.closingClients { clientConnections[Int(slot.position)]?.close() }
        for (node, bytes) in effects.toPeers { peers.send(bytes, to: node) }
        for node in effects.closingPeers { peers.closeInbound(from: node) }
        for notice in effects.notices { log(notice) }
        for probe in effects.probes { ask(probe) }
        if effects.alarmsChanged { storage.keep(replica.latchedAlarms) }
        schedule(effects.nextDeadline)
    }

    private func schedule(_ deadline: Instant) {
        guard deadline != timerDeadline else { return }
        timer?.cancel()
        timerDeadline = deadline
        guard deadline != .never else {
            timer = nil
            return
        }
        timer = loop.scheduleTask(deadline: .uptimeNanoseconds(deadline.nanoseconds)) { [self] in
            timerDeadline = .never
            turn { _ in }
        }
    }

    // MARK: - What the threads report

    private func storageReported(_ report: StorageReport) {
        events.note(report)
        switch report {
        case .failed(let failure): fail(failure)
        case .logReadFailed(let read, let damage):
            var isMended = false
            turn { isMended = $0.logReadFailed(read, damage.indexes, reason: damage.description) }
            if !isMended { stop(for: damage.description) }
        case .scrub(.advanced(let number, let progress)): turn { $0.scrubAdvanced(number, progress) }
        case .scrub(.ended(let number, let isComplete)): turn { $0.scrubEnded(number, isComplete: isComplete) }
        case .scrub(.found(let number, let finding)):
            logger.error(
                "damage found",
                metadata: [
                    "file": "\(finding.file)", "offset": "\(finding.offset.map { "\($0)" } ?? "unknown")",
                    "reason": "\(finding.reason)",
                ])
            var isMended = false
            turn { isMended = $0.scrubFound(number, finding) }
            if !isMended { stop(for: "damaged log: \(finding.file): \(finding.reason)") }
        default: turn { storage.deliver(report, to: &$0) }
        }
    }

    /// It is known at the next start, which then verifies the whole log and has the others repair it. The thread that
    /// notes it may be busy with a snapshot for long: then the node stops first, and waits for that after.
    private func stop(for damage: String) {
        turn { $0.logIsLost(damage) }
        readDamage = damage
        loop.scheduleTask(in: .seconds(1)) { self.failForReadDamage() }
        storage.keep(replica.latchedAlarms) { [self] in loop.execute { self.failForReadDamage() } }
    }

    private func failForReadDamage() {
        guard let damage = readDamage else { return }
        readDamage = nil
        fail(NodeFailure(message: "\(damage). Started again, the node gets it from the others"))
    }

    // MARK: - Maintenance

    private func maintain() {
        reviewCertificate()
        let now = Self.instant()
        if now >= rememberAt {
            rememberAt = now + .seconds(10)
            storage.remember(replica.acknowledgements)
            storage.keep(replica.latchedAlarms)
        }
        let isLogFull = storage.logSize > configuration.logSizeMax
        let due = Maintenance(
            time: wallClock(), lastApplied: replica.appliedThrough,
            floor: replica.compactionFloor(isLogFull: isLogFull),
            floorAfterFlush: replica.compactionFloorAfterFlush(isLogFull: isLogFull), letGo: replica.letGoThrough,
            wantsFlush: replica.wantsFlush, isQuarantined: replica.isQuarantined)
        storage.maintain(due)
        if now >= scrubNotBefore, scrubTimer.isDue(at: wallClock()) { turn { $0.scrubIsDue() } }
    }

    private func reviewCertificate() {
        let found = security.alarms
        guard found != certificateAlarms else { return }
        certificateAlarms = found
        turn { $0.shellSees(found) }
    }

    // MARK: - Clients

    func clientOpened(_ connection: FrameConnection) {
        turn { replica in
            let slot = replica.clientConnected()
            clientSlots[connection.id] = slot
            while clientConnections.count <= Int(slot.position) { clientConnections.append(nil) }
            clientConnections[Int(slot.position)] = connection
        }
    }

    func clientReceived(_ header: FrameHeader, body: RawSpan, on connection: FrameConnection) {
        // A connection from before the founding is new to the replica, and has to say hello to it.
        if clientSlots[connection.id] == nil { clientOpened(connection) }
        guard let slot = clientSlots[connection.id] else { return }
        var failure: DecodeError?
        turn { replica in
            do throws(DecodeError) {
                try replica.receiveClientFrame(header, body: body, from: slot)
                if header.kind == ClientFrameKind.hello.rawValue {
                    connection.handshakeFinished(frameSizeMax: configuration.frameSizeMax)
                }
            } catch {
                failure = error
            }
        }
        // Outside of the turn's body: closing tells the replica, which must not be in use just then.
        guard let failure else { return }
        logger.debug(
            "closing a client's connection",
            metadata: ["client": "\(connection.remoteAddress)", "reason": "\(failure)"])
        connection.close()
    }

    /// The replica answers no queries of a client that does not read. Other replies come all the same: where they grow to
    /// much, the client is not read from either. Not before that, because keep-alives come on the same connection.
    private func holdBack(_ connection: FrameConnection) {
        if connection.pendingWriteBytes > 2 * configuration.frameSizeMax { connection.pauseReading() }
    }

    func clientWritabilityChanged(_ connection: FrameConnection) {
        if connection.isWritable { connection.resumeReading() }
        guard let slot = clientSlots[connection.id] else { return }
        if connection.isWritable {
            turn { $0.clientWritable(slot, true) }
        } else {
            replica.clientWritable(slot, false)
        }
    }

    func clientClosed(_ connection: FrameConnection) {
        guard let slot = clientSlots.removeValue(forKey: connection.id) else { return }
        clientConnections[Int(slot.position)] = nil
        turn { $0.clientDisconnected(slot) }
    }

    /// Tells every client that this node is about to stop.
    private func sayGoodbye() {
        var writer = ByteWriter()
        GoingAway(leader: replica.statusReply.leader).encode(into: &writer)
        let bytes = writer.takeBytes()
        for connection in clientConnections { connection?.send(bytes) }
    }

    // MARK: - Notices

    private func log(_ notice: Notice) {
        events.note(notice)
        switch notice {
        case .roleChanged(let status):
            logger.notice(
                "\(status.role.rawValue)",
                metadata: [
                    "term": "\(status.term)", "leader": "\(status.leader.map(name) ?? "none")",
                    "commitIndex": "\(status.commitIndex)",
                ])
        case .conflictBelowCommit(let peer):
            logger.error(
                "raft.conflictBelowCommit: a peer contradicts a committed entry; its connection is closed",
                metadata: ["peer": "\(name(peer))"])
        case .badPeerMessage(let peer, let reason):
            logger.warning("closing a peer's connection", metadata: ["peer": "\(name(peer))", "reason": "\(reason)"])
        case .quarantined(let index, let own, let majority):
            logger.error(
                "this node's state differs from the majority's: quarantined until it is rebuilt",
                metadata: [
                    "index": "\(index)", "own": "\(String(own, radix: 16))", "majority": "\(String(majority, radix: 16))",
                ])
        case .stateDamaged(let reason, isRebuilt: true):
            logger.error(
                "this node's state is damaged: quarantined until it is rebuilt from another member",
                metadata: ["reason": "\(reason)"])
        case .stateDamaged(let reason, isRebuilt: false):
            logger.error(
                "this node's state is damaged and no other member has it: what cannot be read is refused",
                metadata: ["reason": "\(reason)"])
        case .stateLost(let reason):
            fail(NodeFailure(message: "the state is damaged and no other member has it: \(reason). Restore a snapshot"))
        case .regressed(let peer, let last, let acknowledged):
            logger.error(
                """
                regressed: this node's log lacks entries that it had acknowledged. Was an old copy of its directory \
                put back? It does not vote until it has caught up
                """,
                metadata: ["peer": "\(name(peer))", "last": "\(last)", "acknowledged": "\(acknowledged)"])
        case .caughtUp(let index): logger.notice("caught up after a regression", metadata: ["index": "\(index)"])
        case .stateRebuilt(let index): logger.notice("state rebuilt", metadata: ["index": "\(index)"])
        case .digestsDiffer(let index):
            logger.error("members' states differ and none has a majority", metadata: ["index": "\(index)"])
        case .alarmCleared(let name): logger.notice("alarm cleared", metadata: ["alarm": "\(name)"])
        case .snapshotOffered(let from, let last):
            logger.notice("fetching a snapshot", metadata: ["from": "\(name(from))", "last": "\(last)"])
        case .snapshotInstalled(let last): logger.notice("snapshot installed", metadata: ["last": "\(last)"])
        case .snapshotFailed(let reason): logger.warning("snapshot transfer failed", metadata: ["reason": "\(reason)"])
        case .changesUnread(let range, let reason, isLasting: false):
            logger.warning(
                "a watch needs entries that the disk does not give",
                metadata: ["entries": "\(range)", "reason": "\(reason)"])
        case .changesUnread(let range, let reason, isLasting: true):
            logger.error(
                "the disk still does not give entries that a watch needs: watches cannot begin before their end",
                metadata: ["entries": "\(range)", "reason": "\(reason)"])
        case .logDamaged(let range, let reason):
            logger.error("entries of the log are damaged", metadata: ["entries": "\(range)", "reason": "\(reason)"])
        case .logMended(let range): logger.notice("entries of the log are whole again", metadata: ["entries": "\(range)"])
        case .logLetGo(let range):
            logger.warning(
                "nobody has damaged entries of the log, and the state does not need them: the log begins behind them",
                metadata: ["entries": "\(range)"])
        case .snapshotDamaged(let reason):
            logger.error("a snapshot is damaged; another is made", metadata: ["reason": "\(reason)"])
        case .scrubEnded(let report): scrubEnded(report)
        case .featureLevel(let level): logger.notice("feature level", metadata: ["level": "\(level)"])
        case .membershipChanged: peers.setMembers(replica.linkedMembers)
        case .removedFromCluster(let cause):
            logger.error("\(Replica.removedText(by: cause))")
        }
    }

    private func scrubEnded(_ report: ScrubReport) {
        logger.log(
            level: report.damageCount == 0 ? .info : .warning, "\(report.state == .ended ? "scrubbed" : "scrub stopped")",
            metadata: [
                "bytes": "\(report.byteCount)", "records": "\(report.recordCount)", "rows": "\(report.rowCount)",
                "damages": "\(report.damageCount)",
            ])
        guard report.state == .ended else {
            // Whoever stopped it wants the disk for something else.
            scrubNotBefore = Self.instant() + Self.stoppedScrubPause
            return
        }
        scrubTimer.ended(at: report.endedAt)
        storage.rememberScrub(report.endedAt)
    }

    private func name(_ node: NodeID) -> String { replica.membership.member(node)?.name ?? node.description }
}

// MARK: - Peers

extension Node: PeerHandler {
    var ownConfiguration: (index: LogIndex, tellsOfRemoval: Bool) { replica.configurationToGreetWith }

    func peerMet(_ member: Member, configurationIndex: LogIndex) -> Bool {
        var isMet = false
        turn { isMet = $0.meet(member, configurationIndex: configurationIndex) }
        return isMet
    }

    func removedByPeer(_ name: String, message: String) {
        turn { $0.noteRemoval("\(message), as \(name) says") }
        // Nobody listens any more.
        peers.setMembers([])
    }

    /// Settled here means committed: what a node that joins is given can not be taken back.
    var settledMembership: (index: LogIndex, membership: Membership)? { replica.settledMembership }

    private func ask(_ probe: MemberProbe) {
        MemberQuestion.ask(probe.address, context: peers.context) { [self] result in
            turn { $0.probed(probe.token, result) }
        }
    }

    private func compareAddress() {
        guard let own = replica.membership.member(replica.id),
            own.peerAddress != configuration.peerAddress.description
        else { return }
        let command = "quorate member update \(own.name) --peer \(configuration.peerAddress)"
        logger.warning(
            "the other members look for this node elsewhere: if it has moved, run `\(command)`",
            metadata: ["known": "\(own.peerAddress)", "own": "\(configuration.peerAddress)"])
    }

    var featureLevel: UInt32 { replica.featureLevel }
    var ownHello: (ClusterIdentity, EntryID) { (replica.identity, replica.raft.last) }

    func acknowledged(by node: NodeID) -> EntryID { replica.acknowledged(by: node) }
    func peerSaysLast(_ last: EntryID, _ node: NodeID) { turn { $0.peerSaysLast(last, node) } }
    func toldOfAcknowledgement(_ known: EntryID, by node: NodeID) {
        turn { $0.toldOfAcknowledgement(known, by: node) }
    }
    func peerUp(_ node: NodeID) { turn { $0.peerUp(node) } }
    func peerDown(_ node: NodeID) { turn { $0.peerDown(node) } }
    func peerInboundUp(_ node: NodeID) { turn { $0.peerInboundUp(node) } }
    func peerInboundLost(_ node: NodeID) { turn { $0.peerInboundLost(node) } }
    func peerWritable(_ node: NodeID, _ isWritable: Bool) { turn { $0.peerWritable(node, isWritable) } }

    func peerReceived(_ header: FrameHeader, body: RawSpan, from node: NodeID) -> Bool {
        var isSound = true
        turn { replica in
            do throws(DecodeError) {
                try replica.receivePeerFrame(header, body: body, from: node)
            } catch {
                logger.warning("a peer's message cannot be read", metadata: ["peer": "\(node)", "reason": "\(error)"])
                isSound = false
            }
        }
        return isSound
    }
}

/// Why the node cannot go on.
struct NodeFailure: Error, Sendable, CustomStringConvertible {
    var message: String
    var description: String { message }
}

/// The wall clock, as cluster time counts.
func wallClock() -> ClusterTime {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    return ClusterTime(nanoseconds: UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec))
}
