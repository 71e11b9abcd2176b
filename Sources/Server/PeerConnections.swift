internal import Basics
internal import Logging
internal import MetadataModel
internal import NIOCore
internal import ReplicaCore
internal import Transport
internal import Wire

/// What peers do, told to the node.
protocol PeerHandler: AnyObject {
    /// Which cluster this node belongs to, and where its log ends.
    var ownHello: (ClusterIdentity, EntryID) { get }
    /// Of the cluster.
    var featureLevel: UInt32 { get }
    /// Of the newest change of members that this node knows to be committed, and whether it can tell who was removed.
    var ownConfiguration: (index: LogIndex, tellsOfRemoval: Bool) { get }
    /// One of this cluster, a member or one who speaks from a later change of members. True: it is to be heard.
    func peerMet(_ member: Member, configurationIndex: LogIndex) -> Bool
    /// A member says that this node is none any more.
    func removedByPeer(_ name: String, message: String)
    /// How far a peer has acknowledged committed entries to this node, as far as that is remembered.
    func acknowledged(by node: NodeID) -> EntryID
    /// A peer's hello said where its log ends.
    func peerSaysLast(_ last: EntryID, _ node: NodeID)
    /// A peer's answer to our hello said how far this node had acknowledged to it.
    func toldOfAcknowledgement(_ known: EntryID, by node: NodeID)
    func peerUp(_ node: NodeID)
    func peerDown(_ node: NodeID)
    func peerInboundUp(_ node: NodeID)
    func peerInboundLost(_ node: NodeID)
    func peerWritable(_ node: NodeID, _ isWritable: Bool)
    /// False: the bytes cannot be what they claim; the connection is closed.
    func peerReceived(_ header: FrameHeader, body: RawSpan, from node: NodeID) -> Bool
}

/// The connections between members: this node dials every other member and sends on what it dialled; it listens on what
/// the others dialled. Either side says first who it is (cluster, generation, incarnation), and nothing else is read from
/// one who is not a member. Used on the event loop only.
final class PeerConnections: FrameConnectionDelegate {
    private struct Outgoing {
        let member: Member
        var connection: FrameConnection?
        var isUp = false
        var failures = 0
        var isDialing = false
        /// Bytes sent on the connection so far; those before the newest ping, and before the newest that was answered.
        var sentSize = 0
        var sizeBeforePing = 0
        var sizeAnswered = 0
        /// Turns of the watch since the ping that has no answer yet.
        var turnsWaiting: Int?
    }

    weak var handler: (any PeerHandler)?
    /// Told of a node that answers from an empty directory: founding goes on there, or an operator is needed.
    var onEmptyPeer: ((Member, PeerHelloReply, FrameConnection) -> Void)?
    /// Frames on an incoming connection before its hello was accepted, which only a founding sends.
    var onFoundingFrame: ((FrameHeader, RawSpan, FrameConnection) -> Bool)?
    /// A member's hello while this node belongs to no cluster.
    var onHelloWithoutCluster: ((PeerHello, FrameConnection) -> Void)?
    let context: TransportContext
    private let configuration: ServerConfiguration
    private let node: NodeID
    private let security: WireSecurity
    private let logger: Logger
    private var outgoing: [Outgoing] = []
    private var members: Set<NodeID> = []
    private var told = ToldAddresses()
    /// Incoming connections whose hello was accepted, by connection.
    private var incoming: [UInt64: (node: NodeID, connection: FrameConnection)] = [:]
    private var isStopped = false

    private static let dialTimeout = Interval.seconds(2)
    private static let redialMin = Interval.milliseconds(50)
    private static let redialMax = Interval.seconds(1)
    /// A connection is asked whether it still leads anywhere, this often.
    private static let pingInterval = Interval.seconds(1)
    /// And is given up when it has not answered for so many times that long.
    private static let turnsMax = 3

    init(
        context: TransportContext, configuration: ServerConfiguration, node: NodeID, security: WireSecurity,
        logger: Logger
    ) {
        self.context = context
        self.configuration = configuration
        self.node = node
        self.security = security
        self.logger = logger
    }

    func setMembers(_ list: [Member]) {
        members = Set(list.map(\.id))
        told.keep(list)
        for gone in outgoing where !list.contains(gone.member) { gone.connection?.close() }
        outgoing.removeAll { !list.contains($0.member) }
        for member in list where !outgoing.contains(where: { $0.member == member }) {
            outgoing.append(Outgoing(member: member))
            dial(member.id)
        }
        for (_, entry) in incoming where !members.contains(entry.node) { entry.connection.close() }
    }

    func send(_ bytes: [UInt8], to node: NodeID) {
        guard let position = position(of: node), outgoing[position].isUp else { return }
        outgoing[position].sentSize += bytes.count
        outgoing[position].connection?.send(bytes)
    }

    func closeInbound(from node: NodeID) {
        for (_, entry) in incoming where entry.node == node { entry.connection.close() }
    }

    func stop() {
        isStopped = true
        for entry in outgoing { entry.connection?.close() }
        for (_, entry) in incoming { entry.connection.close() }
    }

    // MARK: - Dialling

    private func position(of node: NodeID) -> Int? { outgoing.firstIndex { $0.member.id == node } }

    private func dial(_ node: NodeID) {
        guard !isStopped, let position = position(of: node), !outgoing[position].isDialing,
            outgoing[position].connection == nil
        else { return }
        let text = told.address(of: outgoing[position].member, after: outgoing[position].failures)
        guard let address = HostPort(text) else {
            if outgoing[position].failures < 2 {
                logger.error("a member's peer address cannot be read", metadata: ["address": "\(text)"])
            }
            return redial(node)
        }
        outgoing[position].isDialing = true
        Dialer.connect(to: address, timeout: Self.dialTimeout, context: context, delegate: self) { [weak self] result in
            self?.dialled(node, result)
        }
    }

    private func dialled(_ node: NodeID, _ result: Result<FrameConnection, ConnectFailure>) {
        guard let position = position(of: node) else {
            if case .success(let connection) = result { connection.close() }
            return
        }
        outgoing[position].isDialing = false
        switch result {
        case .failure(let failure):
            if case .untrusted(let reason) = failure {
                security.cannotTalk(to: outgoing[position].member.name, because: reason)
            } else if outgoing[position].failures == 0 {
                logger.info("peer \(failure)", metadata: ["peer": "\(outgoing[position].member.name)"])
            }
            redial(node)
        case .success(let connection):
            let name = outgoing[position].member.name
            outgoing[position].connection = connection
            if let reason = mismatch(of: connection, to: name) {
                security.cannotTalk(to: name, because: reason)
                return connection.close()
            }
            greet(outgoing[position].member, on: connection)
        }
    }

    private func redial(_ node: NodeID) {
        guard !isStopped, let position = position(of: node) else { return }
        outgoing[position].failures += 1
        let factor = Int64(1) << min(5, outgoing[position].failures - 1)
        let delay = min(Self.redialMin * factor, Self.redialMax)
        context.eventLoop.assumeIsolated().scheduleTask(in: .nanoseconds(delay.nanoseconds)) { [weak self] in
            self?.dial(node)
        }
    }

    private func greet(_ member: Member, on connection: FrameConnection) {
        guard let handler else { return }
        let (identity, last) = handler.ownHello
        let hello = PeerHello(
            identity: identity, sender: node, name: configuration.name, expectedReceiver: member.id,
            peerAddress: configuration.peerAddress.description, clientAddress: configuration.clientAddress.description,
            softwareVersion: Version.current, featureLevel: FeatureLevel.known, last: last,
            configurationIndex: handler.ownConfiguration.index)
        var writer = ByteWriter()
        PeerMessage.hello(hello).encode(into: &writer)
        connection.send(writer.takeBytes())
    }

    private func answered(_ reply: PeerHelloReply, on connection: FrameConnection) {
        guard let position = outgoing.firstIndex(where: { $0.connection === connection }) else { return }
        let member = outgoing[position].member
        if let refusal = reply.refusal {
            if refusal == .noCluster {
                onEmptyPeer?(member, reply, connection)
            } else {
                if outgoing[position].failures == 0 {
                    logger.warning(
                        "a peer refuses this node", metadata: ["peer": "\(member.name)", "reason": "\(reply.message)"])
                }
                connection.close()
                if refusal == .removed { handler?.removedByPeer(member.name, message: reply.message) }
            }
            return
        }
        connection.handshakeFinished(
            frameSizeMax: configuration.peerFrameSizeMax, frameRateMin: Limits.peerFrameRateMin)
        outgoing[position].isUp = true
        outgoing[position].failures = 0
        outgoing[position].sentSize = 0
        outgoing[position].sizeAnswered = 0
        outgoing[position].turnsWaiting = nil
        watch(connection, to: member.id)
        handler?.toldOfAcknowledgement(reply.acknowledgedByCaller, by: member.id)
        handler?.peerUp(member.id)
    }

    // MARK: - Connections that lead nowhere

    /// What this node sends is answered on other connections. So it would not notice that the other side of this one is
    /// gone, without a word, while something between them still takes the bytes, or TCP waits ever longer to send them
    /// again. Turns are counted, not the time: a process that stood still has not listened.
    private func watch(_ connection: FrameConnection, to node: NodeID) {
        context.eventLoop.assumeIsolated().scheduleTask(in: .nanoseconds(Self.pingInterval.nanoseconds)) {
            [weak self] in self?.watchTurn(connection, to: node)
        }
    }

    private func watchTurn(_ connection: FrameConnection, to node: NodeID) {
        guard !isStopped, let position = position(of: node), outgoing[position].connection === connection,
            outgoing[position].isUp
        else { return }
        if let turns = outgoing[position].turnsWaiting {
            // The answer may have to wait for all that was sent before the question.
            let size = outgoing[position].sizeBeforePing - outgoing[position].sizeAnswered
            guard turns < Self.turnsMax + size / Limits.peerFrameRateMin else {
                let name = outgoing[position].member.name
                logger.info("a connection to a peer leads nowhere", metadata: ["peer": "\(name)"])
                return connection.close()
            }
            outgoing[position].turnsWaiting = turns + 1
        } else {
            outgoing[position].sizeBeforePing = outgoing[position].sentSize
            outgoing[position].turnsWaiting = 0
            connection.send(Self.frame(.ping))
        }
        watch(connection, to: node)
    }

    private func answeredPing(_ node: NodeID) {
        guard let position = position(of: node), outgoing[position].turnsWaiting != nil else { return }
        outgoing[position].turnsWaiting = nil
        outgoing[position].sizeAnswered = outgoing[position].sizeBeforePing
    }

    private static func frame(_ message: PeerMessage) -> [UInt8] {
        var writer = ByteWriter()
        message.encode(into: &writer)
        return writer.takeBytes()
    }

    /// A certificate speaks for the nodes that it names and for no other.
    private func mismatch(of connection: FrameConnection, to name: String) -> String? {
        guard !connection.maySpeak(forNode: name) else { return nil }
        let names = connection.certificateIdentity?.nodes.joined(separator: ", ") ?? ""
        return "the certificate shown by \(connection.remoteAddress) is that of \(names): \(name) needs one with the "
            + "name quorate://peer/\(name)"
    }

    // MARK: - Being dialled

    private func receiveHello(_ hello: PeerHello, on connection: FrameConnection) {
        guard let handler else {
            onHelloWithoutCluster?(hello, connection)
            return
        }
        let (identity, last) = handler.ownHello
        let mismatch = mismatch(of: connection, to: hello.name).map { (PeerRefusal.notMember, $0) }
        let refusal = mismatch ?? refusal(of: hello, identity: identity, handler)
        let reply = PeerHelloReply(
            refusal: refusal?.0, message: refusal?.1 ?? "",
            version: ProtocolVersion.chosen(from: hello.versions) ?? 0, identity: identity, node: node,
            name: configuration.name, clientAddress: configuration.clientAddress.description,
            softwareVersion: Version.current, featureLevel: FeatureLevel.known, lastIndex: last.index,
            acknowledgedByCaller: refusal == nil ? handler.acknowledged(by: hello.sender) : .zero)
        var writer = ByteWriter()
        PeerMessage.helloReply(reply).encode(into: &writer)
        connection.send(writer.takeBytes())
        guard let refusal else {
            connection.handshakeFinished(
                frameSizeMax: configuration.peerFrameSizeMax, frameRateMin: Limits.peerFrameRateMin)
            // It has one for sending: what is still to be read on an older one may be of a process that is no more.
            let earlier = incoming.values.filter { $0.node == hello.sender }
            incoming[connection.id] = (hello.sender, connection)
            for (_, connection) in earlier { connection.close() }
            if !earlier.isEmpty { handler.peerInboundLost(hello.sender) }
            told.note(hello.peerAddress, of: hello.sender)
            handler.peerSaysLast(hello.last, hello.sender)
            handler.peerInboundUp(hello.sender)
            // Whoever can reach us can be reached: do not wait for the next attempt.
            dial(hello.sender)
            return
        }
        // One that looks for a cluster to join asks again and again, and says so itself.
        logger.log(
            level: hello.identity == nil ? .debug : .warning, "refusing a peer",
            metadata: ["peer": "\(hello.name)", "address": "\(connection.remoteAddress)", "reason": "\(refusal.1)"])
        connection.close()
    }

    private func refusal(
        of hello: PeerHello, identity: ClusterIdentity, _ handler: any PeerHandler
    ) -> (PeerRefusal, String)? {
        let greeting = PeerGreeting(
            identity: identity, node: node, name: configuration.name, configuration: handler.ownConfiguration,
            featureLevel: handler.featureLevel)
        return greeting.refusal(of: hello) { isNews(hello, handler) || members.contains(hello.sender) }
    }

    /// A configuration that this node's log has not reached yet may name whom it does not know, or at another address.
    private func isNews(_ hello: PeerHello, _ handler: any PeerHandler) -> Bool {
        let member = Member(id: hello.sender, name: hello.name, peerAddress: hello.peerAddress)
        guard handler.peerMet(member, configurationIndex: hello.configurationIndex) else { return false }
        members.insert(hello.sender)
        return true
    }

    // MARK: - FrameConnectionDelegate

    func opened(_ connection: FrameConnection) {}

    func received(_ header: FrameHeader, body: RawSpan, on connection: FrameConnection) {
        if let entry = incoming[connection.id] {
            guard header.kind != PeerFrameKind.ping.rawValue else {
                // Where it was asked, not on the connection that this node dialled: that may be in another state.
                if header.isReply { answeredPing(entry.node) } else { connection.send(Self.frame(.pong)) }
                return
            }
            if handler?.peerReceived(header, body: body, from: entry.node) != true { connection.close() }
            return
        }
        do throws(DecodeError) {
            let received = try PeerMessage.decode(header, body: body)
            switch received.message {
            case .hello(let hello): receiveHello(hello, on: connection)
            case .helloReply(let reply): answered(reply, on: connection)
            case .foundingCommitReply: connection.close()
            case .pong:
                if let entry = outgoing.first(where: { $0.connection === connection }) { answeredPing(entry.member.id) }
            default:
                guard onFoundingFrame?(header, body, connection) == true else {
                    throw .invalid("peer message before hello")
                }
            }
        } catch {
            logger.debug(
                "closing a connection on the peer port",
                metadata: ["address": "\(connection.remoteAddress)", "reason": "\(error)"])
            connection.close()
        }
    }

    func readCompleted(on connection: FrameConnection) {}

    func writabilityChanged(_ connection: FrameConnection) {
        guard let entry = outgoing.first(where: { $0.connection === connection }), entry.isUp else { return }
        handler?.peerWritable(entry.member.id, connection.isWritable)
    }

    func closed(_ connection: FrameConnection, reason: ConnectionEnd) {
        if let entry = incoming.removeValue(forKey: connection.id) {
            // A peer that dialled anew before this end was noticed is not lost.
            let hasAnother = incoming.values.contains { $0.node == entry.node }
            if !hasAnother { handler?.peerInboundLost(entry.node) }
            return
        }
        guard let position = outgoing.firstIndex(where: { $0.connection === connection }) else { return }
        let wasUp = outgoing[position].isUp
        if case .refused(let reason) = reason {
            security.cannotTalk(to: outgoing[position].member.name, because: reason)
        }
        let id = outgoing[position].member.id
        outgoing[position].connection = nil
        outgoing[position].isUp = false
        if wasUp { handler?.peerDown(id) }
        redial(id)
    }
}
