internal import Basics
internal import LogStore
internal import Logging
internal import MetadataModel
internal import NIOCore
internal import Transport
internal import Wire

/// How a cluster begins. Nothing forms by itself: a node with an empty directory waits until `initialize` comes to one of
/// them. That one asks every node of its list, waiting a moment for those that do not listen yet; all must answer, be
/// empty and name the same list. Then it draws the cluster's identity and has every node make the founding record durable,
/// itself last, before the first vote.
///
/// A node that misses the record because its founder died half-way gets it from any member that has it: members offer it
/// to whoever answers "no cluster" under the incarnation that the record names. Used on the event loop only.
final class Founding: FrameConnectionDelegate {
    private let configuration: ServerConfiguration
    private let context: TransportContext
    private let logger: Logger
    let incarnation: NodeID
    /// Makes the record durable and starts the node; throws when it cannot.
    private let accept: (FoundingRecord) throws -> Void
    private(set) var isFounded = false
    /// Knows which cluster this node is to enter, if it is there already.
    var joining: Joining?

    private var attempt: Attempt?

    /// One `initialize` under way.
    private struct Attempt {
        var connections: [Int: FrameConnection] = [:]
        /// Why the node could not be reached so far.
        var failures: [Int: ConnectFailure] = [:]
        var probes: [Int: FoundingProbeReply] = [:]
        var committed: Set<Int> = []
        var record: FoundingRecord?
        var completion: (Result<ClusterIdentity, ReplyError>) -> Void
        var timeout: Scheduled<Void>?
    }

    private static let timeout = Interval.seconds(4)
    private static let redialPause = Interval.milliseconds(100)

    init(
        configuration: ServerConfiguration, incarnation: NodeID, context: TransportContext, logger: Logger,
        accept: @escaping (FoundingRecord) throws -> Void
    ) {
        self.configuration = configuration
        self.incarnation = incarnation
        self.context = context
        self.logger = logger
        self.accept = accept
    }

    private var members: [FoundingMember] {
        configuration.cluster.map { FoundingMember(name: $0.name, peerAddress: $0.address.description) }
    }

    // MARK: - Being asked

    /// A founding frame on the peer port. False: it is none.
    func receive(_ header: FrameHeader, body: RawSpan, on connection: FrameConnection) -> Bool {
        guard let received = try? PeerMessage.decode(header, body: body) else { return false }
        switch received.message {
        case .foundingProbe:
            reply(
                .foundingProbeReply(
                    FoundingProbeReply(
                        isEmpty: !isFounded, node: incarnation, name: configuration.name, members: members)),
                to: header, on: connection)
            return true
        case .foundingCommit:
            reply(.foundingCommitReply(commit(received.payload)), to: header, on: connection)
            return true
        default: return false
        }
    }

    /// The answer to a member's hello while this node belongs to no cluster.
    func answerHello(_ hello: PeerHello, on connection: FrameConnection) {
        let helloReply = PeerHelloReply(
            refusal: .noCluster, message: "\(configuration.name) belongs to no cluster: its data directory is empty",
            version: ProtocolVersion.chosen(from: hello.versions) ?? 0, identity: nil, node: incarnation,
            name: configuration.name, clientAddress: configuration.clientAddress.description,
            softwareVersion: Version.current, featureLevel: FeatureLevel.known, lastIndex: .zero,
            acknowledgedByCaller: .zero)
        var writer = ByteWriter()
        PeerMessage.helloReply(helloReply).encode(into: &writer)
        connection.send(writer.takeBytes())
    }

    /// The directory knows a cluster: nothing is founded here any more.
    func markFounded() { isFounded = true }

    private func commit(_ payload: RawSpan) -> FoundingOutcome {
        guard let record = try? FoundingRecord(decoding: payload) else { return .mismatch }
        // A founder that has given its own record away does not take another's as well.
        guard !isFounded, attempt?.record == nil else { return .notEmpty }
        if let refusal = FeatureLevels().refusal(of: record.featureLevel) {
            logger.error("\(refusal)")
            return .mismatch
        }
        guard let own = record.membership.member(incarnation), own.name == configuration.name else { return .mismatch }
        let isMeant = record.membershipIndex == .zero ? matchesConfiguration(record.membership)
            : joining?.expects(record.identity) == true
        guard isMeant else { return .mismatch }
        return found(record) ? .accepted : .notEmpty
    }

    private func matchesConfiguration(_ membership: Membership) -> Bool {
        let theirs = Set(membership.members.map { "\($0.name)=\($0.peerAddress)" })
        return theirs == Set(members.map { "\($0.name)=\($0.peerAddress)" })
    }

    private func found(_ record: FoundingRecord) -> Bool {
        do {
            isFounded = true
            try accept(record)
            return true
        } catch {
            logger.error("the founding record cannot be kept", metadata: ["reason": "\(error)"])
            isFounded = false
            return false
        }
    }

    private func reply(_ message: PeerMessage, to header: FrameHeader, on connection: FrameConnection) {
        var writer = ByteWriter()
        message.encode(requestID: header.requestID, into: &writer)
        connection.send(writer.takeBytes())
    }

    // MARK: - Asking

    func initialize(completion: @escaping (Result<ClusterIdentity, ReplyError>) -> Void) {
        guard !isFounded else {
            return completion(.failure(ReplyError(.alreadyInitialized, "this node belongs to a cluster already")))
        }
        guard attempt == nil else {
            return completion(.failure(ReplyError(.foundingRefused, "another `init` is under way: wait for it")))
        }
        guard !configuration.cluster.isEmpty else {
            return completion(
                .failure(
                    ReplyError(
                        .foundingRefused,
                        "\(configuration.name) was started without --cluster: it does not know whom to found with")))
        }
        attempt = Attempt(completion: completion)
        attempt?.timeout = context.eventLoop.assumeIsolated().scheduleTask(in: .nanoseconds(Self.timeout.nanoseconds)) {
            [weak self] in self?.timedOut()
        }
        attempt?.probes[ownPosition] = FoundingProbeReply(
            isEmpty: true, node: incarnation, name: configuration.name, members: members)
        for position in configuration.cluster.indices where position != ownPosition { dial(position) }
        goOn()
    }

    private func dial(_ position: Int) {
        Dialer.connect(
            to: configuration.cluster[position].address, timeout: .seconds(2), context: context, delegate: self
        ) { [weak self] result in self?.dialled(position, result) }
    }

    private var ownPosition: Int { configuration.cluster.firstIndex { $0.name == configuration.name } ?? 0 }

    private func dialled(_ position: Int, _ result: Result<FrameConnection, ConnectFailure>) {
        let founder = configuration.cluster[position]
        switch result {
        case .failure(let failure):
            // Nodes are started together with `init`, by scripts and by hand: one may need a moment more.
            attempt?.failures[position] = failure
            context.eventLoop.assumeIsolated().scheduleTask(in: .nanoseconds(Self.redialPause.nanoseconds)) { [weak self] in
                self?.redial(position)
            }
        case .success(let connection):
            guard attempt != nil else { return connection.close() }
            guard connection.maySpeak(forNode: founder.name) else {
                connection.close()
                let message = "the certificate of the node at \(founder.address) is not that of \(founder.name)"
                return finish(.failure(ReplyError(.foundingRefused, message)))
            }
            attempt?.connections[position] = connection
            send(.foundingProbe(members), to: connection)
        }
    }

    private func redial(_ position: Int) {
        guard let attempt, attempt.failures[position] != nil, attempt.connections[position] == nil else { return }
        dial(position)
    }

    private func send(_ message: PeerMessage, payload: [UInt8] = [], to connection: FrameConnection) {
        var writer = ByteWriter()
        message.encode(payload: payload.rawSpan, into: &writer)
        connection.send(writer.takeBytes())
    }

    private func goOn() {
        guard let current = attempt, current.probes.count == configuration.cluster.count else { return }
        guard !isFounded else {
            return finish(.failure(ReplyError(.alreadyInitialized, "another `init` has just formed the cluster")))
        }
        if let record = current.record {
            guard current.committed.count == configuration.cluster.count - 1 else { return }
            finish(found(record) ? .success(record.identity) : .failure(ReplyError(.foundingRefused, "disk failed")))
            return
        }
        let record = makeRecord(current.probes)
        attempt?.record = record
        let bytes = record.encoded()
        for (_, connection) in current.connections.sorted(by: { $0.key < $1.key }) {
            send(.foundingCommit, payload: bytes, to: connection)
        }
        goOn()
    }

    private func makeRecord(_ probes: [Int: FoundingProbeReply]) -> FoundingRecord {
        let list = configuration.cluster.enumerated().compactMap { position, founder in
            probes[position].map { Member(id: $0.node, name: founder.name, peerAddress: founder.address.description) }
        }
        var random = SystemRandomNumberGenerator()
        return FoundingRecord(
            identity: ClusterIdentity(id: random.next(), generation: 1, generationTag: random.next()),
            createdAt: wallClock(), membership: Membership(members: list, incoming: list.map(\.id)),
            featureLevel: probes.values.map(\.featureLevel).min() ?? FeatureLevel.first)
    }

    private func check(_ reply: FoundingProbeReply, at position: Int) -> ReplyError? {
        let founder = configuration.cluster[position]
        guard reply.isEmpty else {
            return ReplyError(
                .alreadyInitialized,
                "\(founder.name) (\(founder.address)) belongs to a cluster already; `init` forms a new one from empty nodes")
        }
        guard reply.name == founder.name else {
            return ReplyError(
                .foundingRefused, "\(founder.address) is \(reply.name), --cluster says that it is \(founder.name)")
        }
        guard Set(reply.members) == Set(members) else {
            let theirs = reply.members.map { "\($0.name)=\($0.peerAddress)" }.joined(separator: ",")
            return ReplyError(
                .foundingRefused, "\(founder.name) was started with --cluster \(theirs): all nodes must name the same list")
        }
        return nil
    }

    private func timedOut() {
        guard let attempt else { return }
        let silent = configuration.cluster.indices.filter {
            attempt.record == nil ? attempt.probes[$0] == nil : $0 != ownPosition && !attempt.committed.contains($0)
        }
        let nodes = silent.map { position in
            let founder = configuration.cluster[position]
            let reason = attempt.connections[position] == nil ? attempt.failures[position].map { ": \($0)" } : nil
            return "\(founder.name) (\(founder.address)\(reason ?? ""))"
        }
        let message = "no answer within \(Self.timeout) from \(nodes.joined(separator: ", "))"
            + ": all nodes of --cluster must run before `init`"
        finish(.failure(ReplyError(.foundingRefused, message)))
    }

    private func finish(_ result: Result<ClusterIdentity, ReplyError>) {
        guard let ended = attempt else { return }
        attempt = nil
        ended.timeout?.cancel()
        for (_, connection) in ended.connections { connection.close() }
        ended.completion(result)
    }

    // MARK: - FrameConnectionDelegate, for the connections that this attempt dialled

    func opened(_ connection: FrameConnection) {}
    func readCompleted(on connection: FrameConnection) {}
    func writabilityChanged(_ connection: FrameConnection) {}

    func received(_ header: FrameHeader, body: RawSpan, on connection: FrameConnection) {
        guard let position = attempt?.connections.first(where: { $0.value === connection })?.key,
            let received = try? PeerMessage.decode(header, body: body)
        else { return connection.close() }
        switch received.message {
        case .foundingProbeReply(let reply):
            if let error = check(reply, at: position) { return finish(.failure(error)) }
            attempt?.probes[position] = reply
        case .foundingCommitReply(.accepted): attempt?.committed.insert(position)
        case .foundingCommitReply:
            let name = configuration.cluster[position].name
            return finish(.failure(ReplyError(.foundingRefused, "\(name) refuses the founding record")))
        default: return connection.close()
        }
        goOn()
    }

    func closed(_ connection: FrameConnection, reason: ConnectionEnd) {
        guard let position = attempt?.connections.first(where: { $0.value === connection })?.key else { return }
        let name = configuration.cluster[position].name
        finish(.failure(ReplyError(.foundingRefused, "\(name): the connection ended: \(reason)")))
    }
}
