internal import Basics
internal import Disk
internal import LogFormat
internal import LogStore
internal import Logging
internal import MetadataModel
internal import NIOCore
internal import ReplicaCore
internal import Transport
internal import Wire

/// A node whose log has lost synced entries to damage, until peers have given them back.
///
/// It takes no part in elections and acknowledges nothing meanwhile, so it cannot help to elect someone who lacks what it
/// once promised to hold. Entries are taken only from a peer that knows them to be committed: then they are what stood
/// here, or what must stand here. Used on the event loop.
final class LogRepair: PeerHandler, @unchecked Sendable {
    // `@unchecked`: everything here is used on the event loop only.

    private let log: SegmentedLog
    private let identity: ClusterIdentity
    private let peers: PeerConnections
    private let loop: any EventLoop
    private let logger: Logger
    private let finished: () -> Void
    private let stuck: (_ byEveryone: Bool) -> Void
    private let failed: (NodeFailure) -> Void
    private var members: [NodeID] = []
    private var reachable: [NodeID] = []
    private var ticker: RepeatedTask?
    private var rounds = 0
    private var asked = -1
    /// Since entries came last: for how many rounds, and who has said that it has none to give.
    private var vainRounds = 0
    private var empty: Set<NodeID> = []

    /// Ten seconds: whoever is up has found a leader by then, and knows what is committed.
    private static let vainRoundsMax = 50

    /// - Parameter stuck: nobody who can be asked has what is missing; whether that is everyone. The repair has ended.
    init(
        _ log: SegmentedLog, identity: ClusterIdentity, peers: PeerConnections, loop: any EventLoop, logger: Logger,
        finished: @escaping () -> Void, stuck: @escaping (_ byEveryone: Bool) -> Void,
        failed: @escaping (NodeFailure) -> Void
    ) {
        self.log = log
        self.identity = identity
        self.peers = peers
        self.loop = loop
        self.logger = logger
        self.finished = finished
        self.stuck = stuck
        self.failed = failed
    }

    /// It does not know who the members are now, so it neither judges nor believes.
    var ownConfiguration: (index: LogIndex, tellsOfRemoval: Bool) { (.zero, false) }
    func peerMet(_ member: Member, configurationIndex: LogIndex) -> Bool { false }
    func removedByPeer(_ name: String, message: String) {
        failed(NodeFailure(message: Replica.removedText(by: "\(message), as \(name) says")))
    }

    func start(_ members: [Member]) {
        peers.handler = self
        peers.setMembers(members)
        self.members = members.map(\.id)
        ticker = loop.scheduleRepeatedTask(initialDelay: .milliseconds(50), delay: .milliseconds(200)) { [weak self] _ in
            self?.tick()
        }
    }

    private func tick() {
        if rounds % 50 == 0 {
            logger.warning("repairing the log from peers", metadata: ["missing": "\(log.faultyRanges)"])
        }
        rounds += 1
        vainRounds += 1
        if vainRounds >= Self.vainRoundsMax, !reachable.isEmpty, empty.isSuperset(of: reachable) {
            return giveUp()
        }
        askEveryone()
    }

    func stop() {
        ticker?.cancel()
        ticker = nil
        peers.handler = nil
        // What peers sent meanwhile was not taken, and the replica counts on no connection: both sides start anew.
        peers.setMembers([])
    }

    /// For one range after the other: nobody may have the first of them, and somebody the next.
    private func askEveryone() {
        let ranges = log.faultyRanges
        guard !ranges.isEmpty else { return finish() }
        asked += 1
        let range = ranges[asked % ranges.count]
        var writer = ByteWriter()
        PeerMessage.logEntries(from: range.lowerBound, through: range.upperBound).encode(into: &writer)
        let bytes = writer.takeBytes()
        for node in reachable { peers.send(bytes, to: node) }
    }

    private func giveUp() {
        stop()
        do throws(DiskError) {
            try log.seal()
            stuck(empty.isSuperset(of: members))
        } catch {
            failed(NodeFailure(message: "the log under repair cannot be sealed: \(error)"))
        }
    }

    private func finish() {
        stop()
        do throws(DiskError) {
            try log.seal()
            logger.notice("the log is whole again")
            finished()
        } catch {
            failed(NodeFailure(message: "the repaired log cannot be sealed: \(error)"))
        }
    }

    // MARK: - PeerHandler

    var ownHello: (ClusterIdentity, LogIndex) { (identity, log.lastIndex) }
    /// It cannot tell; its replica, and those that it asks, can.
    var featureLevel: UInt32 { FeatureLevel.first }
    func acknowledged(by node: NodeID) -> LogIndex { .zero }
    func peerSaysLastIndex(_ last: LogIndex, _ node: NodeID) {}
    // It takes no part in elections anyhow; its replica is told on connections of its own.
    func toldOfAcknowledgement(_ index: LogIndex, by node: NodeID) {}
    func peerUp(_ node: NodeID) { reachable.append(node) }
    func peerDown(_ node: NodeID) { reachable.removeAll { $0 == node } }
    func peerInboundUp(_ node: NodeID) {}
    func peerInboundLost(_ node: NodeID) {}
    func peerWritable(_ node: NodeID, _ isWritable: Bool) {}

    func peerReceived(_ header: FrameHeader, body: RawSpan, from node: NodeID) -> Bool {
        guard let received = try? PeerMessage.decode(header, body: body) else { return false }
        // Everything else waits until this node is whole.
        guard case .logEntriesReply(let first) = received.message,
            log.faultyRanges.contains(where: { $0.lowerBound == first })
        else { return true }
        guard received.payload.byteCount > 0 else {
            empty.insert(node)
            return true
        }
        do {
            let records = [UInt8](received.payload)
            let term = try RecordView(verifying: records.rawSpan).header.id.term
            let slab = try Slab(verifying: records, firstIndex: first, term: term, salt: identity.salt)
            guard try log.repair(slab) else {
                failed(
                    NodeFailure(
                        message: "entries \(slab.indexes) of a peer contradict the intact entries around the damage: "
                            + "move the data directory away, the node then comes back as a new member"))
                return true
            }
            vainRounds = 0
            empty.removeAll()
            askEveryone()
        } catch let error as DiskError {
            failed(NodeFailure(message: "the log cannot be repaired: \(error)"))
        } catch {
            return false
        }
        return true
    }
}
