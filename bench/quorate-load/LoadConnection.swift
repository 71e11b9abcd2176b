internal import Basics
internal import MetadataModel
internal import NIOCore
internal import Transport
internal import Wire

/// One client connection that keeps a number of requests under way: each reply makes room for the next request, and
/// what the replies of one wake-up have made room for goes out with one write. Its mutations are a session of their own,
/// in order, as every client's are.
final class LoadConnection: FrameConnectionDelegate {
    private let run: LoadRun
    private let inFlight: Int
    private var connection: FrameConnection?
    private var session: SessionID
    /// Of the session's next mutation; request ids rise by one too, but over all requests.
    private var nextSequence: UInt64 = 1
    private var acknowledgedThrough: UInt64 = 0
    private var nextRequestID: UInt64 = 1
    /// Until the first reply of the session has come.
    private var opening: SessionOpening?
    private var clusterTimeAtHello = ClusterTime.zero
    private var helloAt = NIODeadline.distantPast
    private var awaiting = 0
    private var isReady = false
    private var hasAskedForAll = false
    /// When each request under way was sent, by request id modulo the size.
    private var sentAt: [NIODeadline]
    private var output = ByteWriter()
    /// The clock is read once for all replies of a wake-up.
    private var turnTime: NIODeadline?

    init(_ run: LoadRun, inFlight: Int) {
        self.run = run
        self.inFlight = inFlight
        session = run.drawSession()
        sentAt = Array(repeating: .distantPast, count: inFlight)
    }

    // MARK: Asking

    /// Asks for what is due; at most for `limit` requests.
    func fill(limit: Int = .max) {
        guard isReady else { return }
        let now = NIODeadline.now()
        var left = limit
        while awaiting < inFlight, left > 0, run.mayAsk {
            guard let due = run.takeTurn(now) else { break }
            guard let key = run.workload.takeKey() else {
                hasAskedForAll = true
                break
            }
            // Of a request that had to wait for room, the time at which it was due.
            sentAt[Int(nextRequestID % UInt64(inFlight))] = due
            left -= 1
            if run.workload.operation == .read { writeQuery(key) } else { writeMutation(key) }
            nextRequestID += 1
            awaiting += 1
        }
        send()
        if awaiting == 0, hasAskedForAll { run.finished(self) }
    }

    private func send() {
        guard output.count > 0 else { return }
        connection?.send(output.takeBytes())
    }

    private func writeMutation(_ key: [UInt8]) {
        let header = CommandHeader(
            kind: .put, session: session, sequence: nextSequence, acknowledgedThrough: acknowledgedThrough,
            opening: opening)
        nextSequence += 1
        let mutation = Mutation.put(key: key, value: run.workload.takeValue())
        ClientRequest.encodeMutation(requestID: nextRequestID, mayForward: run.mayForward, into: &output) { writer in
            header.encode(into: &writer)
            mutation.encodeBody(into: &writer)
        }
    }

    private func writeQuery(_ key: [UInt8]) {
        ClientRequest.encodeQuery(
            requestID: nextRequestID, header: ReadHeader(level: run.workload.readLevel),
            query: Query.get(key: key).encoded(), into: &output)
    }

    /// A session that has lost a mutation cannot go on: this connection takes a new one.
    private func beginSession() {
        session = run.drawSession()
        nextSequence = 1
        acknowledgedThrough = 0
        let passed = NIODeadline.now() - helloAt
        opening = SessionOpening(
            openedAt: clusterTimeAtHello + .nanoseconds(passed.nanoseconds), timeout: Limits.sessionTimeoutDefault)
    }

    // MARK: FrameConnectionDelegate

    func opened(_ connection: FrameConnection) {
        self.connection = connection
        ClientHello(identity: nil, clientName: "quorate-load", clientVersion: "").encode(requestID: 0, into: &output)
        send()
    }

    func received(_ header: FrameHeader, body: RawSpan, on connection: FrameConnection) {
        guard isReady else { return greeted(header, body) }
        guard header.isReply, awaiting > 0 else { return }
        awaiting -= 1
        let now = turnTime ?? .now()
        turnTime = now
        var reader = ByteReader(body)
        switch try? ReplyHead(decoding: &reader) {
        case .success:
            let sent = sentAt[Int(header.requestID % UInt64(inFlight))]
            run.succeeded(after: (now - sent).nanoseconds)
            opening = nil
            acknowledgedThrough += 1
        case .failure(let error, _):
            run.failed("\(error.code)")
            if run.workload.operation != .read { beginSession() }
        case nil: run.failed("unreadable reply")
        }
    }

    private func greeted(_ header: FrameHeader, _ body: RawSpan) {
        guard case .hello(let hello)? = try? ControlReply.decode(kind: header.kind, body: body), hello.identity != nil
        else { return run.abort("a node refused the connection's hello") }
        clusterTimeAtHello = hello.clusterTime
        helloAt = .now()
        connection?.handshakeFinished(frameSizeMax: Int(hello.limits.frameSizeMax))
        beginSession()
        run.ready(self, leader: hello.leader?.clientAddress)
    }

    /// All connections are there.
    func start() {
        isReady = true
        fill()
    }

    func readCompleted(on connection: FrameConnection) {
        turnTime = nil
        fill()
    }

    func writabilityChanged(_ connection: FrameConnection) {}

    func closed(_ connection: FrameConnection, reason: ConnectionEnd) {
        isReady = false
        run.lost(self, reason: "\(reason)", awaiting: awaiting)
    }

    func close() { connection?.close() }
}
