internal import Basics
internal import MetadataModel
internal import NIOCore
internal import Transport
internal import Wire

/// One client connection of a run with sessions: it says hello, and then sends what the run gives it.
final class SessionConnection: FrameConnectionDelegate {
    enum Reply {
        case success
        /// How many of the sessions named are not open.
        case keptAlive(lost: Int)
        case rows(Int)
        case applied(LogIndex)
        case failure(String)
    }

    private let run: SessionRun
    private var connection: FrameConnection?
    private var nextRequestID: UInt64 = 1
    private var clusterTimeAtHello = ClusterTime.zero
    private var helloAt = NIODeadline.distantPast
    private var isGreeted = false
    private var output = ByteWriter()
    /// By request id: when it was sent, and what to do with the answer.
    private var open: [UInt64: (sentAt: NIODeadline, done: (Reply, NIODeadline) -> Void)] = [:]
    /// The clock is read once for all replies of a wake-up.
    private var turnTime: NIODeadline?

    init(_ run: SessionRun) { self.run = run }

    var openCount: Int { open.count }

    // MARK: Asking

    private func next(_ done: @escaping (Reply, NIODeadline) -> Void) -> UInt64 {
        defer { nextRequestID += 1 }
        open[nextRequestID] = (turnTime ?? .now(), done)
        return nextRequestID
    }

    /// A put by a session of its own, which it opens; `isOneShot`: and ends.
    func put(
        _ key: [UInt8], by session: SessionID, timeout: Interval, isOneShot: Bool,
        _ done: @escaping (Reply, NIODeadline) -> Void
    ) {
        let passed = NIODeadline.now() - helloAt
        let opening = SessionOpening(
            openedAt: clusterTimeAtHello + .nanoseconds(passed.nanoseconds), timeout: timeout)
        let header = CommandHeader(
            kind: .put, session: session, sequence: 1, opening: opening, isOneShot: isOneShot)
        let mutation = Mutation.put(key: key, value: Array("alive".utf8), isOwned: !isOneShot)
        ClientRequest.encodeMutation(requestID: next(done), mayForward: true, into: &output) { writer in
            header.encode(into: &writer)
            mutation.encodeBody(into: &writer)
        }
    }

    func keepAlive(_ sessions: [SessionID], _ done: @escaping (Reply, NIODeadline) -> Void) {
        ClientRequest.encodeKeepAlive(requestID: next(done), sessions: sessions, mayForward: true, into: &output)
    }

    func count(prefix: [UInt8], _ done: @escaping (Reply, NIODeadline) -> Void) {
        ClientRequest.encodeQuery(
            requestID: next(done), header: ReadHeader(level: .stale),
            query: Query.list(.prefix(prefix), PageRequest(isCountOnly: true)).encoded(), into: &output)
    }

    func status(_ done: @escaping (Reply, NIODeadline) -> Void) {
        ClientRequest.encodeEmpty(.status, requestID: next(done), into: &output)
    }

    func send() {
        guard output.count > 0 else { return }
        connection?.send(output.takeBytes())
    }

    // MARK: FrameConnectionDelegate

    func opened(_ connection: FrameConnection) {
        self.connection = connection
        ClientHello(identity: nil, clientName: "quorate-load", clientVersion: "").encode(requestID: 0, into: &output)
        send()
    }

    func received(_ header: FrameHeader, body: RawSpan, on connection: FrameConnection) {
        guard isGreeted else { return greeted(header, body) }
        guard header.isReply, let request = open.removeValue(forKey: header.requestID) else { return }
        let now = turnTime ?? .now()
        turnTime = now
        request.done(Self.reply(header.kind, body), request.sentAt)
    }

    private static func reply(_ kind: UInt16, _ body: RawSpan) -> Reply {
        do {
            var reader = ByteReader(body)
            switch try ReplyHead(decoding: &reader) {
            case .failure(let error, _): return .failure("\(error.code)")
            case .success: break
            }
            switch ClientFrameKind(rawValue: kind) {
            case .mutate: return .success
            // Their number; who they are, is of no use here.
            case .keepAlive: return .keptAlive(lost: Int(try reader.readUInt16()))
            case .query: return .rows(Int(try Page(decoding: &reader, for: PageRequest(isCountOnly: true)).count))
            default:
                guard case .status(let status) = try ControlReply.decode(kind: kind, body: body) else {
                    return .failure("reply of another kind")
                }
                return .applied(status.node.lastApplied)
            }
        } catch {
            return .failure("unreadable reply")
        }
    }

    private func greeted(_ header: FrameHeader, _ body: RawSpan) {
        guard case .hello(let hello)? = try? ControlReply.decode(kind: header.kind, body: body), hello.identity != nil
        else { return run.abort("a node refused the connection's hello") }
        clusterTimeAtHello = hello.clusterTime
        helloAt = .now()
        isGreeted = true
        connection?.handshakeFinished(frameSizeMax: Int(hello.limits.frameSizeMax))
        run.ready(self, leader: hello.leader?.clientAddress)
    }

    func readCompleted(on connection: FrameConnection) {
        turnTime = nil
        send()
    }

    func writabilityChanged(_ connection: FrameConnection) {}

    func closed(_ connection: FrameConnection, reason: ConnectionEnd) { run.lost(self, reason: "\(reason)") }

    func close() { connection?.close() }
}
