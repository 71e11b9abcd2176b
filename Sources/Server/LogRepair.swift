internal import Basics
internal import Disk
internal import LogFormat
internal import LogStore
internal import Logging
internal import MetadataModel
internal import NIOCore
internal import RaftCore
internal import ReplicaCore
internal import ReplicaStorage
internal import Transport
internal import Wire

/// A node whose log has lost synced entries to damage, until peers have given them back: `LogHealer` on connections.
/// Used on the event loop.
final class LogRepair: PeerHandler, @unchecked Sendable {
    // `@unchecked`: everything here is used on the event loop only.

    private let damaged: DamagedLog
    private let healer: LogHealer
    private let node: NodeID
    private let identity: ClusterIdentity
    private let peers: PeerConnections
    private let loop: any EventLoop
    private let logger: Logger
    private let finished: (LogHealer.Verdict) -> Void
    private let failed: (NodeFailure) -> Void
    private var members: [Member] = []
    private var reachable: [NodeID] = []
    private var ticker: RepeatedTask?
    private var rounds = 0

    /// - Parameter finished: the log is whole, or there is a reason to go on without what is missing. The repair has ended.
    init(
        _ damaged: DamagedLog, _ remains: DirectoryRemains, node: NodeID, identity: ClusterIdentity,
        peers: PeerConnections, loop: any EventLoop, logger: Logger, finished: @escaping (LogHealer.Verdict) -> Void,
        failed: @escaping (NodeFailure) -> Void
    ) {
        self.damaged = damaged
        self.node = node
        healer = damaged.healer(remains)
        members = remains.others
        self.identity = identity
        self.peers = peers
        self.loop = loop
        self.logger = logger
        self.finished = finished
        self.failed = failed
    }

    /// It does not know who the members are now, so it neither judges nor believes.
    var ownConfiguration: (index: LogIndex, tellsOfRemoval: Bool) { (.zero, false) }
    func peerMet(_ member: Member, configurationIndex: LogIndex) -> Bool { false }
    func removedByPeer(_ name: String, message: String) {
        failed(NodeFailure(message: Replica.removedText(by: "\(message), as \(name) says")))
    }

    func start() {
        peers.handler = self
        peers.setMembers(members)
        ticker = loop.scheduleRepeatedTask(initialDelay: .milliseconds(50), delay: .milliseconds(200)) { [weak self] _ in
            self?.tick()
        }
    }

    private func tick() {
        if rounds % 50 == 0 {
            logger.warning("repairing the log from peers", metadata: ["missing": "\(healer.need)"])
        }
        rounds += 1
        askEveryone()
    }

    func stop() {
        ticker?.cancel()
        ticker = nil
        peers.handler = nil
        // What peers sent meanwhile was not taken, and the replica counts on no connection: both sides start anew.
        peers.setMembers([])
    }

    private func askEveryone() {
        let question = healer.nextQuestion()
        guard healer.verdict == .goesOn else { return finish() }
        let message = question.map { PeerMessage.logEntries($0) } ?? .promises
        for node in reachable { send(message, to: node) }
    }

    private func send(_ message: PeerMessage, payload: [UInt8] = [], to node: NodeID) {
        var writer = ByteWriter()
        message.encode(payload: payload.rawSpan, into: &writer)
        peers.send(writer.takeBytes(), to: node)
    }

    private func finish() {
        stop()
        do throws(DiskError) {
            try damaged.keep(healer.verdict)
            switch healer.verdict {
            case .short(let promised):
                logger.warning(
                    "nobody has the entries that are missing, and nobody needs them: starting without them",
                    metadata: ["missing": "\(damaged.log.faultyRanges)", "promised": "\(promised)"])
            case .behindState:
                logger.warning(
                    "nobody has the entries that are missing, and the state of this node holds what they did",
                    metadata: ["missing": "\(damaged.log.faultyRanges)"])
            case .behind(let entry):
                logger.warning(
                    "nobody has the entries that are missing, and another node's state holds what they did",
                    metadata: ["missing": "\(damaged.log.faultyRanges)", "begins behind": "\(entry)"])
            case .whole, .goesOn: logger.notice("the log is whole again")
            }
            finished(healer.verdict)
        } catch {
            failed(NodeFailure(message: "the log under repair cannot be sealed: \(error)"))
        }
    }

    // MARK: - PeerHandler

    var ownHello: (ClusterIdentity, EntryID) { (identity, damaged.log.last) }
    /// It cannot tell; its replica, and those that it asks, can.
    var featureLevel: UInt32 { FeatureLevel.first }
    func acknowledged(by node: NodeID) -> EntryID { .zero }
    func peerSaysLast(_ last: EntryID, _ node: NodeID) {}
    // It takes no part in elections anyhow; its replica is told on connections of its own.
    func toldOfAcknowledgement(_ known: EntryID, by node: NodeID) {}
    func peerUp(_ node: NodeID) { reachable.append(node) }
    func peerDown(_ node: NodeID) {
        reachable.removeAll { $0 == node }
        healer.lost(node)
    }
    func peerInboundUp(_ node: NodeID) {}
    func peerInboundLost(_ node: NodeID) {}
    func peerWritable(_ node: NodeID, _ isWritable: Bool) {}

    func peerReceived(_ header: FrameHeader, body: RawSpan, from peer: NodeID) -> Bool {
        guard let received = try? PeerMessage.decode(header, body: body) else { return false }
        do throws(LogHealingError) {
            switch received.message {
            case .logEntries(let question):
                let (answer, slab) = healer.answer(question)
                send(.logEntriesReply(answer), payload: slab?.bytes ?? [], to: peer)
            case .logEntriesReply(let answer):
                if try healer.heard(answer, records: [UInt8](received.payload), from: peer) { askEveryone() }
            case .promises: if let own = healer.ownPromises() { send(.promisesReply(own), to: peer) }
            case .promisesReply(let known):
                let named = try? Membership(decoding: received.payload)
                let voters = named.map { $0.incoming + $0.outgoing }
                if try healer.heard(known, voters: voters, from: peer), let named { adopt(named) }
            // Everything else waits until this node is whole.
            default: break
            }
            return true
        } catch {
            guard case .disk(let error) = error else { return false }
            failed(NodeFailure(message: "the log cannot be repaired: \(error)"))
            return true
        }
    }

    /// A later configuration than this node's disk names may have others in it, who are asked as well.
    private func adopt(_ membership: Membership) {
        guard ticker != nil else { return }
        let known = Set(members.map(\.id))
        members += membership.members.filter { $0.id != node && !known.contains($0.id) }
        peers.setMembers(members)
    }
}
