internal import Basics
internal import Disk
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

/// Everything of one node, waiting or founded: it owns the data directory, listens on both ports, and becomes a replica
/// when there is a cluster to belong to.
final class NodeProcess: @unchecked Sendable {
    // `@unchecked`: used on the event loop only, but for `init`, `start` and `stop`, which hop there.

    private let configuration: ServerConfiguration
    private let loop: any EventLoop
    private let logger: Logger
    private let exit: ExitSignal
    private let fileSystem = PosixFileSystem()
    private let lock: DirectoryLock
    private var identity: NodeIdentity
    private let security: WireSecurity
    private var context: TransportContext?
    private var listeners: [Listener] = []
    private var clientPort: ClientPort?
    private var peers: PeerConnections?
    private var founding: Founding?
    private var node: (any RunningNode)?
    private var reminder: RepeatedTask?
    private var repair: LogRepair?
    private var joining: Joining?
    private var telemetry: TelemetryPort?
    private var alarms: EarlyAlarms

    init(_ configuration: ServerConfiguration, loop: any EventLoop, logger: Logger, exit: ExitSignal) throws {
        self.configuration = configuration
        self.loop = loop
        self.logger = logger
        self.exit = exit
        security = try WireSecurity(configuration, logger: logger)
        let directory = configuration.dataDirectory
        if try !fileSystem.exists(directory) {
            try fileSystem.createDirectory(directory)
            try fileSystem.syncDirectory(SnapshotSink.parent(of: directory))
        }
        try fileSystem.requirePrivate(directory)
        lock = try fileSystem.lock(directory)
        alarms = EarlyAlarms(node: configuration.name, directory: directory, fileSystem: fileSystem, logger: logger)
        guard try !fileSystem.exists("\(directory)/\(RestoredMember<MemoryHome>.markerName)") else {
            throw NodeFailure(
                message: "a restore into \(directory) did not come to its end: empty the directory and restore again")
        }
        guard try !fileSystem.exists("\(directory)/\(ClusterRecovery.unfinishedName)") else {
            throw NodeFailure(
                message: "a recovery of \(directory) was interrupted: run the same `quorate recover` again")
        }
        if let found = try NodeIdentity.load(from: directory, on: fileSystem) {
            try found.check(name: configuration.name, cluster: nil)
            identity = found
        } else {
            var random = SystemRandomNumberGenerator()
            identity = NodeIdentity(
                cluster: nil, name: configuration.name, incarnation: NodeID(random.next() | 1 << 32))
            try identity.store(in: directory, on: fileSystem)
        }
    }

    // MARK: - Start

    func start() async throws {
        try await loop.submit { [self] in try prepare() }.get()
        try await listen(configuration.peerListen, for: .peer) { $0.peers! }
        if let address = configuration.httpListen {
            telemetry = try await TelemetryPort.start(on: address, configuration: configuration, logger: logger) {
                [self] answer in inspect(answer)
            }
        }
        // Last: whoever is answered here finds the others open.
        try await listen(configuration.clientListen, for: .client) { $0.clientPort! }
        logger.notice(
            "listening",
            metadata: [
                "client": "\(configuration.clientListen)", "peer": "\(configuration.peerListen)",
                "data": "\(configuration.dataDirectory)", "version": "\(Version.current)",
                "tls": "\(configuration.tls == nil ? "off" : "on")",
            ])
    }

    private func prepare() throws {
        var settings = TransportSettings()
        let files = OpenFileLimit(for: configuration)
        settings.connectionsMax = try files.connections(wanted: configuration.connectionsMax)
        if settings.connectionsMax < configuration.connectionsMax {
            logger.warning(
                "fewer connections than --connections-max: the limit of open files is low",
                metadata: ["connections": "\(settings.connectionsMax)", "openFilesMax": "\(files.limit)"])
        }
        settings.connectionsPerAddressMax = configuration.connectionsPerAddressMax
        let context = TransportContext(eventLoop: loop, settings: settings, tls: security.source)
        context.onRefused = { [security] in security.refused($0) }
        self.context = context
        security.start(on: loop)
        let peers = PeerConnections(
            context: context, configuration: configuration, node: identity.incarnation, security: security,
            logger: logger)
        self.peers = peers
        clientPort = ClientPort(self)
        let founding = Founding(
            configuration: configuration, incarnation: identity.incarnation, context: context, logger: logger,
            accept: { [unowned self] record in try accept(record) })
        self.founding = founding
        peers.onFoundingFrame = { [weak founding] in founding?.receive($0, body: $1, on: $2) ?? false }
        peers.onHelloWithoutCluster = { [weak founding] in founding?.answerHello($0, on: $1) }
        peers.onEmptyPeer = { [unowned self] in offerFounding(to: $0, $1, on: $2) }
        if identity.cluster != nil {
            if !configuration.join.isEmpty { logger.info("--join is not read: this node belongs to a cluster already") }
            try startReplica()
        } else {
            let joining = Joining(
                configuration: configuration, incarnation: identity.incarnation, context: context, logger: logger)
            self.joining = joining
            founding.joining = joining
            joining.start()
            remindOperator()
        }
    }

    private func listen(
        _ address: HostPort, for purpose: PortPurpose,
        _ delegate: @escaping @Sendable (NodeProcess) -> any FrameConnectionDelegate
    ) async throws {
        let bound = loop.makePromise(of: Void.self)
        loop.execute { [self] in
            guard let context else { return bound.fail(NodeFailure(message: "not prepared")) }
            Listener.bind(to: address, purpose: purpose, context: context, delegate: delegate(self)) { [self] result in
                switch result {
                case .success(let listener):
                    listeners.append(listener)
                    bound.succeed()
                case .failure(let failure): bound.fail(failure)
                }
            }
        }
        try await bound.futureResult.get()
    }

    private func remindOperator() {
        guard configuration.join.isEmpty else { return }
        let names = configuration.cluster.map { "\($0.name) (\($0.address))" }.joined(separator: ", ")
        let text =
            configuration.cluster.isEmpty
            ? "waiting: the data directory is empty and no --cluster was named"
            : "waiting: the data directory is empty. Run `quorate init` once when all of \(names) are up, if the cluster "
                + "is new; a node that lost its directory is not taken back under its old identity"
        reminder = loop.scheduleRepeatedTask(initialDelay: .seconds(1), delay: .seconds(10)) { [logger] _ in
            logger.notice("\(text)")
        }
    }

    // MARK: - Founding

    private func accept(_ record: FoundingRecord) throws {
        var founded = identity
        founded.cluster = record.identity
        founded.foundingRecord = record.encoded()
        try founded.store(in: configuration.dataDirectory, on: fileSystem)
        identity = founded
        logger.notice("founded", metadata: ["cluster": "\(record.identity)"])
        // After the answer to whoever brought the record has gone out.
        loop.execute { [self] in
            do {
                try startReplica()
            } catch {
                logger.error("\(error)")
                exit.finish(1)
            }
        }
    }

    /// A member that answers "no cluster" under the incarnation that the founding record names missed the record.
    private func offerFounding(to member: Member, _ reply: PeerHelloReply, on connection: FrameConnection) {
        guard reply.node == member.id, let record = recordFor(member) else {
            // One that is being replaced by a node at its own address, or is not yet committed, is no news.
            if reply.node == member.id || member.name.hasSuffix(MemberChange.oldName(of: "")) {
                return connection.close()
            }
            let command = "quorate member replace \(member.name) \(member.name)=\(member.peerAddress)"
            logger.warning(
                "a member came back with an empty data directory: it has a new identity and does not vote. Run `\(command)`",
                metadata: ["peer": "\(member.name)", "expected": "\(member.id)", "found": "\(reply.node)"])
            return connection.close()
        }
        var writer = ByteWriter()
        PeerMessage.foundingCommit.encode(payload: record.rawSpan, into: &writer)
        connection.send(writer.takeBytes())
    }

    private func recordFor(_ member: Member) -> [UInt8]? {
        let own = try? FoundingRecord(decoding: identity.foundingRecord.rawSpan)
        return own?.handed(to: member.id, settled: node?.settledMembership)?.encoded()
    }

    /// - Parameter demand: nil: a whole log, all of it verified where damage was found before: there may be more of it.
    private func startReplica(_ demand: LogDemand? = nil) throws {
        reminder?.cancel()
        joining?.stop()
        joining = nil
        founding?.markFounded()
        guard let peers, let cluster = identity.cluster else { return }
        let founders = identity.foundingRecord
        let record = try FoundingRecord(decoding: founders.rawSpan)
        do {
            switch configuration.engine {
            case .rocksdb: try startReplica(cluster, record, peers, rocksHome, demand)
            case .memory: try startReplica(cluster, record, peers, MemoryHome(), demand)
            }
        } catch LogOpenError.damaged(let damages) {
            let remains =
                switch configuration.engine {
                case .rocksdb: try remains(of: record, rocksHome)
                case .memory: try remains(of: record, MemoryHome())
                }
            // Nobody can give them back. If the state holds what they did, nobody has to.
            let isAlone = remains.others.isEmpty
            guard !isAlone || demand == nil else { throw LogOpenError.damaged(damages) }
            for damage in damages { logger.error("\(damage)") }
            alarms.raiseDamage(damages.map(\.description))
            if isAlone { try startReplica(.behindState) } else { try startRepair(cluster, remains, peers) }
        }
    }

    private var rocksHome: RocksHome { RocksHome(directory: configuration.dataDirectory, fileSystem: fileSystem) }

    private func remains(of record: FoundingRecord, _ home: some EngineHome) throws -> DirectoryRemains {
        try DirectoryRemains(
            fileSystem: fileSystem, directory: configuration.dataDirectory, founding: record,
            node: identity.incarnation, home: home)
    }

    /// Among others, the entries of a damaged log come back from them.
    private func startRepair(
        _ cluster: ClusterIdentity, _ remains: DirectoryRemains, _ peers: PeerConnections
    ) throws {
        let damaged = try DamagedLog(
            fileSystem: fileSystem, directory: configuration.dataDirectory, identity: cluster,
            node: identity.incarnation, settings: logSettings)
        let repairing = LogRepair(
            damaged, remains, node: identity.incarnation, identity: cluster, peers: peers, loop: loop, logger: logger,
            finished: { [unowned self] verdict in
                repair = nil
                do {
                    switch verdict {
                    case .whole, .goesOn: try startReplica()
                    case .behindState: try startReplica(.behindState)
                    case .behind(let entry): try startReplica(.behind(entry))
                    case .short: try startReplica(.short)
                    }
                } catch {
                    logger.error("\(error)")
                    exit.finish(1)
                }
            },
            failed: { [logger, exit] failure in
                logger.error("stopping: \(failure.message)")
                exit.finish(1)
            })
        repair = repairing
        repairing.start()
    }

    private var logSettings: LogSettings {
        var settings = LogSettings()
        settings.segmentSize = configuration.segmentSize
        return settings
    }

    private func startReplica<Home: EngineHome>(
        _ cluster: ClusterIdentity, _ record: FoundingRecord, _ peers: PeerConnections, _ home: Home,
        _ demand: LogDemand?
    ) throws {
        let directory = configuration.dataDirectory
        let opened = try OpenedNode(
            fileSystem: fileSystem, directory: directory, identity: cluster, node: identity.incarnation,
            founding: record, home: home, logSettings: logSettings,
            demand: demand ?? .whole(isVerified: alarms.tellOfDamage))
        for note in opened.notes { logger.notice("\(note)") }
        alarms.raiseDamage(opened.damages)
        var restored = opened.restored
        restored.alarms = alarms.latched
        var settings = ReplicaSettings(
            name: configuration.name, clientAddress: configuration.clientAddress.description,
            peerAddress: configuration.peerAddress.description, softwareVersion: Version.current)
        settings.raft.heartbeatInterval = configuration.heartbeatInterval
        settings.raft.electionTimeoutMin = configuration.electionTimeoutMin
        settings.raft.electionTimeoutMax = configuration.electionTimeoutMax
        settings.raft.diskStallTimeout = configuration.diskStallTimeout
        settings.limits.frameSizeMax = UInt32(configuration.frameSizeMax)
        settings.limits.valueSizeMax = UInt32(configuration.valueSizeMax)
        var random = SystemRandomNumberGenerator()
        let replica = Replica(
            restored, settings: settings, seed: random.next(), now: Node<Home>.instant(), wall: wallClock())
        let storage = NodeStorage(
            log: opened.log, state: opened.state, snapshots: opened.snapshots, founding: record.membership,
            logSizeMax: configuration.logSizeMax,
            feed: LogRetention(bytes: configuration.feedSize, age: configuration.feedAge), alarmsOnDisk: alarms.stored,
            fileSystem: fileSystem, directory: directory, scrubRate: UInt64(configuration.scrubRate),
            knownFiles: KnownFiles.all(of: identity, in: directory, on: fileSystem))
        let lastScrub = (try? ScrubSchedule.load(from: directory, on: fileSystem)) ?? nil
        let schedule = ScrubSchedule(
            period: configuration.scrubPeriod, node: identity.incarnation, lastEnded: lastScrub, now: wallClock())
        let node = Node(
            replica: replica, storage: storage, peers: peers, security: security, loop: loop, logger: logger,
            configuration: configuration, scrubSchedule: schedule
        ) { [logger, exit] failure in
            // Nothing that depends on the failed write has been answered, and nothing will be.
            logger.error("stopping: \(failure.message)")
            exit.finish(1)
        }
        self.node = node
        node.start()
    }

    // MARK: - Stop

    private static let drainTime = Interval.seconds(5)

    func stop(gracefully: Bool) async {
        if gracefully {
            logger.notice("stopping")
            await drain()
        }
        await telemetry?.stop()
        let stopped = loop.makePromise(of: (any RunningNode)?.self)
        loop.execute { [self] in
            reminder?.cancel()
            security.stop()
            for listener in listeners { listener.close() }
            repair?.stop()
            joining?.stop()
            peers?.stop()
            node?.stop()
            stopped.succeed(node)
        }
        // On a failure the disk is not touched again.
        if let node = try? await stopped.futureResult.get(), gracefully { node.stopStorage() }
        logger.notice("stopped")
    }

    /// Hands leadership over and lets what is under way end, for at most `drainTime`.
    private func drain() async {
        let deadline = NIODeadline.now() + .nanoseconds(Self.drainTime.nanoseconds)
        let drained = loop.makePromise(of: Void.self)
        loop.execute { [self] in
            guard let node else { return drained.succeed() }
            node.beginStopping()
            poll(node, until: deadline, drained)
        }
        try? await drained.futureResult.get()
    }

    private func poll(_ node: any RunningNode, until deadline: NIODeadline, _ drained: EventLoopPromise<Void>) {
        guard !node.isDrained, NIODeadline.now() < deadline else { return drained.succeed() }
        loop.assumeIsolated().scheduleTask(in: .milliseconds(5)) { [self] in poll(node, until: deadline, drained) }
    }

    // MARK: - Clients before there is a cluster

    func clientOpened(_ connection: FrameConnection) { node?.clientOpened(connection) }
    func clientClosed(_ connection: FrameConnection) { node?.clientClosed(connection) }
    func clientWritabilityChanged(_ connection: FrameConnection) { node?.clientWritabilityChanged(connection) }

    func clientReceived(_ header: FrameHeader, body: RawSpan, on connection: FrameConnection) {
        if let node {
            node.clientReceived(header, body: body, on: connection)
        } else {
            answerWithoutCluster(header, body: body, on: connection)
        }
    }

    private func answerWithoutCluster(_ header: FrameHeader, body: RawSpan, on connection: FrameConnection) {
        do throws(DecodeError) {
            let request = try ClientRequest.decode(header, body: body)
            switch request {
            case .hello(let hello): greet(hello, header.requestID, on: connection)
            case .status: send(.status(statusWithoutNode), header.requestID, on: connection)
            case .ping:
                let pong = PingReply(revision: .zero, clusterTime: clusterTime, leader: nil)
                send(.pong(pong), header.requestID, on: connection)
            case .initialize: initialize(header.requestID, on: connection)
            case .watchCredit, .watchCancel: break
            case .clearAlarm(let name):
                send(alarms.clear(name, isRepairing: repair != nil), header.requestID, on: connection)
            case .mutate, .query, .keepAlive, .snapshot, .snapshotPiece, .changeMembers, .watch, .scrub, .unknown:
                var writer = ByteWriter()
                let error = ReplyError(.notReady, "\(configuration.name) \(whyNotReady)")
                ClientReply.refuse(kind: header.kind, requestID: header.requestID, error, into: &writer)
                connection.send(writer.takeBytes())
            }
        } catch {
            connection.close()
        }
    }

    private func greet(_ hello: ClientHello, _ requestID: UInt64, on connection: FrameConnection) {
        guard let version = ProtocolVersion.chosen(from: hello.versions) else { return connection.close() }
        if let wanted = hello.identity, wanted != identity.cluster {
            // Never an empty answer to one who knows a cluster: this directory has lost it, or never had it.
            let found = identity.cluster.map { "belongs to \($0)" } ?? "has an empty data directory and belongs to no cluster"
            let error = ReplyError(.clusterMismatch, "\(configuration.name) \(found), not to \(wanted)")
            return send(.failed(error, .hello), requestID, on: connection)
        }
        connection.handshakeFinished(frameSizeMax: configuration.frameSizeMax)
        let reply = HelloReply(
            revision: .zero, version: version, identity: identity.cluster, node: identity.incarnation,
            nodeName: configuration.name, softwareVersion: Version.current, clusterTime: clusterTime,
            limits: ConnectionLimits(), leader: nil)
        send(.hello(reply), requestID, on: connection)
    }

    /// Clients believe the latest time that they are told, and this clock may show anything. A member whose log is being
    /// repaired has shared its cluster's time so far.
    private var clusterTime: ClusterTime { identity.cluster == nil ? .zero : wallClock() }

    private var whyNotReady: String {
        if identity.cluster != nil { return "fetches damaged log entries from the others" }
        let todo = configuration.join.isEmpty ? "run `quorate init` once" : "it waits for `quorate member add`"
        return "belongs to no cluster yet: \(todo)"
    }

    private func initialize(_ requestID: UInt64, on connection: FrameConnection) {
        founding?.initialize { [self] result in
            switch result {
            case .success(let identity):
                send(.initialized(InitializeReply(revision: .zero, identity: identity)), requestID, on: connection)
            case .failure(let error): send(.failed(error, .initialize), requestID, on: connection)
            }
        }
    }

    private func send(_ reply: ControlReply, _ requestID: UInt64, on connection: FrameConnection) {
        var writer = ByteWriter()
        reply.encode(requestID: requestID, into: &writer)
        connection.send(writer.takeBytes())
    }

    // MARK: - Seeing inside

    /// From any thread; `answer` runs on the loop.
    private func inspect(_ answer: @escaping @Sendable (NodeInspection) -> Void) {
        let askedAt = Instant(nanoseconds: NIODeadline.now().uptimeNanoseconds)
        loop.execute { [self] in
            let now = Instant(nanoseconds: NIODeadline.now().uptimeNanoseconds)
            answer(
                NodeInspection(
                    status: node?.status ?? statusWithoutNode, figures: node?.figures(at: now),
                    transport: context?.counters, certificateExpiresAt: security.source?.expiresAt, takenAt: now,
                    loopDelay: now - askedAt))
        }
    }

    /// Founded or not: a node whose log is being repaired belongs to its cluster all the same.
    private var statusWithoutNode: StatusReply {
        var status = waitingStatus
        status.identity = identity.cluster
        if repair != nil { status.node.state = .repairing }
        return status
    }

    private var waitingStatus: StatusReply {
        let node = NodeStatus(
            id: identity.incarnation, name: configuration.name, role: .none, state: .waiting, term: .zero,
            commitIndex: .zero, lastApplied: .zero, firstIndex: .zero, lastIndex: .zero, digests: [], diskUsed: 0,
            diskFree: UInt64(max(0, (try? fileSystem.freeSpace(configuration.dataDirectory)) ?? 0)),
            softwareVersion: Version.current, uptimeSeconds: 0, clientAddress: configuration.clientAddress.description,
            peerAddress: configuration.peerAddress.description)
        return StatusReply(
            revision: .zero, identity: nil, node: node, leader: nil, members: [],
            alarms: alarms.alarms(isRepairing: repair != nil))
    }
}

/// A founded node, whatever its engine.
protocol RunningNode: AnyObject, Sendable {
    func start()
    func stop()
    func stopStorage()
    func beginStopping()
    var isDrained: Bool { get }
    /// The members as they are committed, and the index of the entry that says so.
    var settledMembership: (index: LogIndex, membership: Membership)? { get }
    var status: StatusReply { get }
    func figures(at now: Instant) -> NodeFigures
    func clientOpened(_ connection: FrameConnection)
    func clientReceived(_ header: FrameHeader, body: RawSpan, on connection: FrameConnection)
    /// Its socket takes what it is sent again, or does not for now.
    func clientWritabilityChanged(_ connection: FrameConnection)
    func clientClosed(_ connection: FrameConnection)
}

/// What happens on the client port.
final class ClientPort: FrameConnectionDelegate {
    private unowned let process: NodeProcess
    init(_ process: NodeProcess) { self.process = process }

    func opened(_ connection: FrameConnection) { process.clientOpened(connection) }
    func received(_ header: FrameHeader, body: RawSpan, on connection: FrameConnection) {
        process.clientReceived(header, body: body, on: connection)
    }
    func readCompleted(on connection: FrameConnection) {}
    func writabilityChanged(_ connection: FrameConnection) { process.clientWritabilityChanged(connection) }
    func closed(_ connection: FrameConnection, reason: ConnectionEnd) { process.clientClosed(connection) }
}
