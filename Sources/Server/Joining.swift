internal import Basics
internal import Logging
internal import MetadataModel
internal import NIOCore
internal import Transport
internal import Wire

/// A node with an empty directory that looks for a cluster to enter: it asks the members that `--join` names (or those of
/// `--cluster`, when they have founded without it, or it has lost its directory) which cluster they belong to. It takes
/// part when the leader, told to by an operator, brings it the members of that very cluster.
final class Joining: FrameConnectionDelegate, @unchecked Sendable {
    // `@unchecked`: everything here is used on the event loop only.

    private let configuration: ServerConfiguration
    private let incarnation: NodeID
    private let context: TransportContext
    private let logger: Logger
    private var ticker: RepeatedTask?
    private var rounds = 0
    private var connections: [FrameConnection] = []
    private var isStopped = false
    /// What each address last said.
    private var found: [HostPort: ClusterIdentity] = [:]
    private var addressOf: [UInt64: HostPort] = [:]
    /// Refusals that were logged, so that each is once.
    private var said: [HostPort: String] = [:]

    private static let interval = Interval.seconds(1)
    /// Rounds between two lines in the log.
    private static let roundsPerLine = 10

    init(configuration: ServerConfiguration, incarnation: NodeID, context: TransportContext, logger: Logger) {
        self.configuration = configuration
        self.incarnation = incarnation
        self.context = context
        self.logger = logger
    }

    /// True: a member that the operator named belongs to that cluster.
    func expects(_ identity: ClusterIdentity) -> Bool { found.values.contains(identity) }

    private var addresses: [HostPort] {
        let cluster = configuration.cluster.filter { $0.name != configuration.name }.map(\.address)
        return configuration.join + cluster
    }

    func start() {
        guard !addresses.isEmpty else { return }
        ticker = context.eventLoop.scheduleRepeatedTask(
            initialDelay: .milliseconds(10), delay: .nanoseconds(Self.interval.nanoseconds)
        ) { [weak self] _ in self?.askAll() }
    }

    func stop() {
        isStopped = true
        ticker?.cancel()
        for connection in connections { connection.close() }
    }

    private func askAll() {
        if rounds % Self.roundsPerLine == Self.roundsPerLine / 5 { sayWhatIsAwaited() }
        rounds += 1
        for address in addresses {
            Dialer.connect(to: address, timeout: Self.interval, context: context, delegate: self) { [weak self] result in
                self?.dialled(address, result)
            }
        }
    }

    private func sayWhatIsAwaited() {
        guard let (address, identity) = found.min(by: { "\($0.key)" < "\($1.key)" }) else {
            if !configuration.join.isEmpty {
                let names = addresses.map(\.description).joined(separator: ", ")
                logger.notice("waiting: none of \(names) answers as a member of a cluster")
            }
            return
        }
        let (name, own) = (configuration.name, configuration.peerAddress)
        logger.notice(
            "waiting to be added: run `quorate member add \(name)=\(own)`, or `quorate member replace OLD \(name)=\(own)`",
            metadata: ["cluster": "\(identity)", "member": "\(address)"])
    }

    private func dialled(_ address: HostPort, _ result: Result<FrameConnection, ConnectFailure>) {
        guard case .success(let connection) = result else { return }
        guard !isStopped else { return connection.close() }
        connections.append(connection)
        addressOf[connection.id] = address
        let hello = PeerHello(
            identity: nil, sender: incarnation, name: configuration.name, expectedReceiver: nil,
            peerAddress: configuration.peerAddress.description, clientAddress: configuration.clientAddress.description,
            softwareVersion: Version.current, featureLevel: FeatureLevel.known, last: .zero,
            configurationIndex: .zero)
        var writer = ByteWriter()
        PeerMessage.hello(hello).encode(into: &writer)
        connection.send(writer.takeBytes())
    }

    // MARK: - FrameConnectionDelegate

    func opened(_ connection: FrameConnection) {}
    func readCompleted(on connection: FrameConnection) {}
    func writabilityChanged(_ connection: FrameConnection) {}

    func received(_ header: FrameHeader, body: RawSpan, on connection: FrameConnection) {
        if case .helloReply(let reply)? = (try? PeerMessage.decode(header, body: body))?.message,
            let address = addressOf[connection.id]
        {
            found[address] = reply.identity
            // What keeps this node from ever becoming a member of that cluster.
            if reply.refusal == .unsupportedVersion, said[address] != reply.message {
                said[address] = reply.message
                logger.warning("a member refuses this node", metadata: ["reason": "\(reply.message)"])
            }
        }
        connection.close()
    }

    func closed(_ connection: FrameConnection, reason: ConnectionEnd) {
        addressOf[connection.id] = nil
        connections.removeAll { $0 === connection }
    }
}
