import Basics
import MetadataModel
import NIOCore
import NIOPosix
import Transport
import Wire

/// One node on a loopback port that keeps puts and deletes in a dictionary and the first reply of each sequence.
///
/// Unchecked: everything in it is touched on its event loop only.
final class FakeNode: FrameConnectionDelegate, @unchecked Sendable {
    private let context: TransportContext
    private var listener: Listener?
    private(set) var address = ""
    private var connections: [UInt64: FrameConnection] = [:]
    private var rows: [[UInt8]: RowResult] = [:]
    private var replies: [SessionID: [UInt64: [UInt8]]] = [:]
    private var revision: UInt64 = 10
    private var applied = 0
    /// The connection is cut instead of answering so many mutations, after applying them.
    private var cutsLeft = 0
    private var rowsPerPage = Limits.listPageCountMax

    /// The line of a group, as queries show it; and where watches are told of changes.
    private var line: [Candidate] = []
    private var lastCampaigner: SessionID?
    private var watches: [(connection: UInt64, requestID: UInt64)] = []
    /// Kinds of the queries and watches that came, in order.
    private var asked: [String] = []
    private var askedWaiters: [(count: Int, promise: EventLoopPromise<[String]>)] = []

    private init(_ eventLoop: any EventLoop) { context = TransportContext(eventLoop: eventLoop) }

    static func start(cutting cuts: Int = 0, rowsPerPage: Int = Limits.listPageCountMax) async throws -> FakeNode {
        let eventLoop = MultiThreadedEventLoopGroup.singleton.next()
        let promise = eventLoop.makePromise(of: FakeNode.self)
        eventLoop.execute {
            let node = FakeNode(eventLoop)
            node.cutsLeft = cuts
            node.rowsPerPage = rowsPerPage
            Listener.bind(
                to: HostPort(host: "127.0.0.1", port: 0), context: node.context, delegate: node
            ) { result in
                switch result {
                case .success(let listener):
                    node.listener = listener
                    node.address = listener.address.description
                    promise.succeed(node)
                case .failure(let failure): promise.fail(failure)
                }
            }
        }
        return try await promise.futureResult.get()
    }

    func stop() async {
        try? await context.eventLoop.submit {
            self.listener?.close()
            for connection in self.connections.values { connection.close() }
        }.get()
    }

    /// Mutations that changed something.
    func appliedCount() async throws -> Int { try await context.eventLoop.submit { self.applied }.get() }

    // MARK: A line that is watched

    func setLine(_ candidates: [Candidate]) async throws {
        try await context.eventLoop.submit { self.line = candidates }.get()
    }

    /// The session that campaigned last.
    func campaigner() async throws -> SessionID? {
        try await context.eventLoop.submit { self.lastCampaigner }.get()
    }

    /// All that was asked, once so many queries and watches have come.
    func asked(count: Int) async throws -> [String] {
        let promise = context.eventLoop.makePromise(of: [String].self)
        context.eventLoop.execute {
            self.askedWaiters.append((count, promise))
            self.tellAsked()
        }
        return try await promise.futureResult.get()
    }

    private func note(_ name: String) {
        asked.append(name)
        tellAsked()
    }

    private func tellAsked() {
        for waiter in askedWaiters where waiter.count <= asked.count { waiter.promise.succeed(asked) }
        askedWaiters.removeAll { $0.count <= asked.count }
    }

    /// The candidates are what they are now, and every watch is told of these changes.
    func tell(_ changes: [Change], line: [Candidate]) async throws {
        try await context.eventLoop.submit {
            self.line = line
            self.revision += 1
            for watch in self.watches {
                var frame = WatchFrame(requestID: watch.requestID)
                let origin = ChangeOrigin(session: .housekeeping, principal: 0, time: .zero)
                frame.begin(LogIndex(self.revision), origin)
                for change in changes {
                    var writer = ByteWriter()
                    change.encode(into: &writer)
                    let bytes = writer.takeBytes()
                    var reader = ByteReader(bytes.rawSpan)
                    if let view = try? ChangeView(decoding: &reader) { frame.append(view, .value) }
                }
                frame.finish(through: LogIndex(self.revision), goesOn: false)
                self.connections[watch.connection]?.send(frame.writer.bytes)
            }
        }.get()
    }

    /// Every watch ends with this.
    func endWatches(_ error: ReplyError) async throws {
        try await context.eventLoop.submit {
            for watch in self.watches {
                var writer = ByteWriter()
                ClientReply.refuse(
                    kind: ClientFrameKind.watch.rawValue, requestID: watch.requestID, error, into: &writer)
                self.connections[watch.connection]?.send(writer.takeBytes())
            }
            self.watches = []
        }.get()
    }

    // MARK: Connections

    func opened(_ connection: FrameConnection) { connections[connection.id] = connection }
    func closed(_ connection: FrameConnection, reason: ConnectionEnd) { connections[connection.id] = nil }
    func readCompleted(on connection: FrameConnection) {}
    func writabilityChanged(_ connection: FrameConnection) {}

    func received(_ header: FrameHeader, body: RawSpan, on connection: FrameConnection) {
        do throws(DecodeError) {
            var writer = ByteWriter()
            let id = header.requestID
            let leader = LeaderHint(name: "n1", clientAddress: address)
            switch try ClientRequest.decode(header, body: body) {
            case .hello:
                connection.handshakeFinished(frameSizeMax: Limits.frameSizeMaxDefault)
                let reply = HelloReply(
                    revision: LogIndex(revision), version: 1,
                    identity: ClusterIdentity(id: 5, generation: 1, generationTag: 0), node: NodeID(1), nodeName: "n1",
                    softwareVersion: "fake", clusterTime: ClusterTime(nanoseconds: 1_700_000_000_000_000_000),
                    limits: ConnectionLimits(), leader: leader)
                ControlReply.hello(reply).encode(requestID: id, into: &writer)
            case .mutate(let command, _):
                let reply = try mutate(command)
                if cutsLeft > 0 {
                    cutsLeft -= 1
                    return connection.close()
                }
                ClientReply.encode(.mutate, requestID: id, body: reply.rawSpan, into: &writer)
            case .query(_, let query):
                note("query")
                let start = ClientReply.begin(.query, requestID: id, into: &writer)
                answer(try Query(decoding: query), into: &writer)
                writer.endFrame(start)
            case .keepAlive:
                let reply = KeepAliveReply(revision: LogIndex(revision), notOpen: [], leader: leader)
                ControlReply.keepAlive(reply).encode(requestID: id, into: &writer)
            case .ping:
                ControlReply.pong(PingReply(revision: .zero, clusterTime: .zero, leader: leader)).encode(
                    requestID: id, into: &writer)
            case .initialize:
                ControlReply.failed(ReplyError(.alreadyInitialized), .initialize).encode(requestID: id, into: &writer)
            case .status:
                let node = NodeStatus(
                    id: NodeID(1), name: "n1", role: .leader, state: .diskLow, term: Term(2), commitIndex: LogIndex(9),
                    lastApplied: LogIndex(8), firstIndex: LogIndex(1), lastIndex: LogIndex(10), digests: [],
                    diskUsed: 1, diskFree: 2, softwareVersion: "fake", uptimeSeconds: 3, clientAddress: address,
                    peerAddress: "")
                let reply = StatusReply(
                    revision: LogIndex(8), identity: ClusterIdentity(id: 5, generation: 1, generationTag: 0),
                    node: node, leader: leader, members: [])
                ControlReply.status(reply).encode(requestID: id, into: &writer)
            case .watch(let request):
                note("watch")
                watches.append((connection.id, id))
                WatchFrame.writeCreated(
                    requestID: id, revision: request.from.previous, floor: LogIndex(1), into: &writer)
            case .watchCredit, .watchCancel: return
            case .changeMembers, .clearAlarm, .scrub, .snapshot, .snapshotPiece, .unknown:
                ClientReply.refuse(kind: header.kind, requestID: id, ReplyError(.unimplemented), into: &writer)
            }
            connection.send(writer.takeBytes())
        } catch {
            connection.close()
        }
    }

    // MARK: State

    private func mutate(_ command: RawSpan) throws(DecodeError) -> [UInt8] {
        var reader = ByteReader(command)
        let header = try CommandHeader(decoding: &reader)
        if let first = replies[header.session]?[header.sequence] { return first }
        revision += 1
        var writer = ByteWriter()
        var result = ByteWriter()
        var conflict: LogIndex?
        switch header.kind {
        case .put:
            let put = try PutBody(decoding: &reader)
            let key = [UInt8](put.key)
            let current = rows[key]?.revision ?? .zero
            if let expected = put.expectedRevision, expected != current {
                conflict = current
            } else {
                rows[key] = RowResult(revision: LogIndex(revision), value: [UInt8](put.value))
            }
        case .delete: rows[[UInt8](try DeleteBody(decoding: &reader).key)] = nil
        case .deleteRange:
            guard case .prefix(let prefix) = try DeleteRangeBody(decoding: &reader).span else { break }
            let keys = rows.keys.filter { $0.starts(with: prefix) }
            for key in keys { rows[key] = nil }
            DeleteRangeResult(rowCount: UInt32(keys.count), hasMore: false).encode(into: &result)
        case .createSequential:
            let create = try CreateSequentialBody(decoding: &reader)
            let key = Key.sequential(prefix: create.prefix, revision: LogIndex(revision))
            rows[key] = RowResult(revision: LogIndex(revision), value: [UInt8](create.value))
            result.writeBytes16(key)
        case .transaction:
            let transaction = try Transaction(decoding: &reader)
            let results = transaction.otherwise.map { operation -> TransactionResult.Result in
                if case .get(let key) = operation { .get(rows[key]) } else { .put }
            }
            TransactionResult(succeeded: false, results: results).encode(into: &result)
        case .campaign:
            lastCampaigner = header.session
            TicketResult(ticket: LogIndex(revision), fence: 0).encode(into: &result)
        default: break
        }
        if let conflict {
            ReplyError(.conflict, currentRevision: conflict).encode(revision: LogIndex(revision), into: &writer)
        } else {
            applied += 1
            Reply.writeSuccess(revision: LogIndex(revision), into: &writer)
            writer.write(result.takeBytes())
        }
        replies[header.session, default: [:]][header.sequence] = writer.bytes
        return writer.takeBytes()
    }

    private func answer(_ query: Query, into writer: inout ByteWriter) {
        // What has changed is shown in parts without end, each of another view by the same number.
        if case .changes(let request) = query, request.view != 0 { revision += 1 }
        Reply.writeSuccess(revision: LogIndex(revision), into: &writer)
        switch query {
        case .get(let key): writer.write(rows[key])
        case .list(.prefix(let prefix), let page), .page(_, .prefix(let prefix), let page):
            let limit = min(Int(page.limit), rowsPerPage)
            let keys = rows.keys.filter { $0.starts(with: prefix) && page.after.lexicographicallyPrecedes($0) }
                .sorted { $0.lexicographicallyPrecedes($1) }
            let shown = keys.prefix(limit).map {
                Page.Row(key: $0, revision: rows[$0]?.revision ?? .zero, value: page.isKeysOnly ? nil : rows[$0]?.value)
            }
            let hasMore = keys.count > shown.count
            Page(
                view: page.pinsView && hasMore ? 9 : 0, hasMore: hasMore, cursor: shown.last?.key ?? [],
                count: UInt32(shown.count), rows: shown
            ).encode(into: &writer)
        case .candidates(_, let after, let limit):
            let items = Array(line.filter { $0.ticket > after }.prefix(Int(limit)))
            ListPart(hasMore: false, items: items).encode(into: &writer)
        case .changes:
            // The first of several parts, and a view of them.
            let item = DeltaPage.Item(key: [1], revision: LogIndex(revision), value: [2])
            DeltaPage(view: 9, hasMore: true, cursor: [1], items: [item]).encode(into: &writer)
        case .releaseView(let view): note("release \(view)")
        case .list, .page, .leader, .lock, .validate, .stateGet, .stateNames, .sessions, .history, .moment, .historyOf,
            .registry:
            break
        }
    }
}
