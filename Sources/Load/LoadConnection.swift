internal import Basics
internal import MetadataModel
internal import NIOCore
internal import RegistryModel
internal import Transport
internal import Wire

/// One connection that keeps a number of requests under way: each reply makes room for the next request, and what the
/// replies of one wake-up have made room for goes out with one write. When it is lost it is made anew.
final class LoadConnection: LinkOwner {
    /// Fixed for the run; where it stands among the others.
    let number: Int
    private unowned let run: LoadRun
    private var link: ClientLink?
    private var slots: RequestSlots
    private var session = MutationSession()
    private var clusterTimeAtHello = ClusterTime.zero
    private var helloAt = NIODeadline.distantPast
    private var isReady = false
    /// After a failure it waits a moment: a cluster that refuses at once is not to be asked as fast as it refuses.
    private var isPausing = false
    private static let pause = Interval.milliseconds(10)

    init(_ run: LoadRun, number: Int) {
        self.run = run
        self.number = number
        slots = RequestSlots(count: run.plan.inFlight)
    }

    func dial(_ address: HostPort) {
        let link = ClientLink(run.context, owner: self)
        self.link = link
        link.dial(address, timeout: run.plan.timeout)
    }

    func close() { link?.close() }

    var hasAll: Bool { slots.isEmpty }

    /// The requests that have no reply, of which none is expected any more.
    func takeUnanswered() -> [RequestSlots.Entry] { slots.finishAll() }

    // MARK: Asking

    /// Asks for what is due; at most for `limit` requests.
    func ask(at now: NIODeadline, limit: Int = .max) {
        write(at: now, limit: limit)
        link?.send()
    }

    private func write(at now: NIODeadline, limit: Int) {
        guard isReady, !isPausing, let link else { return }
        var left = limit
        while left > 0, !slots.isFull, let (request, due) = run.takeRequest(at: now) {
            left -= 1
            let id = slots.take(RequestSlots.Entry(request: request, due: due, session: session.number))
            let before = link.output.count
            write(request, id, due: due, now, into: &link.output)
            run.wrote(bodySize: link.output.count - before - FrameFormat.overhead, due: due)
        }
    }

    private func write(
        _ request: Request, _ id: UInt64, due: NIODeadline, _ now: NIODeadline, into output: inout ByteWriter
    ) {
        switch request {
        case .put(let key): write(run.content.put(key, due: due), id, into: &output)
        case .puts(let keys): write(run.content.puts(keys), id, into: &output)
        case .transaction(let first, let second):
            write(run.content.transaction(first, second), id, into: &output)
        case .registry(let number):
            let mutation = run.content.registry(number)
            write(session.takeHeader(mutation.kind, guards: run.content.guards), mutation, id, into: &output)
        case .openSession(let number):
            let opened = run.content.drawSession(number)
            let header = CommandHeader(
                kind: .put, session: opened, sequence: 1,
                opening: SessionOpening(openedAt: clusterTime(now), timeout: run.content.sessionTimeout))
            write(header, run.content.sessionRow(number), id, into: &output)
        case .get(let key):
            ClientRequest.encodeQuery(
                requestID: id, header: ReadHeader(level: run.plan.readsStale ? .stale : .linearizable),
                query: run.content.get(key).encoded(), into: &output)
        case .keepAlive(let group):
            ClientRequest.encodeKeepAlive(
                requestID: id, sessions: run.content.group(group), mayForward: true, into: &output)
        }
    }

    private func write(_ mutation: Mutation, _ id: UInt64, into output: inout ByteWriter) {
        write(session.takeHeader(mutation.kind), mutation, id, into: &output)
    }

    /// A node that does not lead any more passes it on.
    private func write(_ header: CommandHeader, _ mutation: Mutation, _ id: UInt64, into output: inout ByteWriter) {
        ClientRequest.encodeMutation(requestID: id, mayForward: true, into: &output) { writer in
            header.encode(into: &writer)
            mutation.encodeBody(into: &writer)
        }
    }

    private func clusterTime(_ now: NIODeadline) -> ClusterTime {
        clusterTimeAtHello + .nanoseconds((now - helloAt).nanoseconds)
    }

    private func beginSession(_ now: NIODeadline) {
        session.begin(run.content.drawSession(), at: clusterTime(now), timeout: run.plan.ownSessionTimeout)
    }

    private func pause() {
        guard !isPausing else { return }
        isPausing = true
        run.after(Self.pause) { [self] _ in
            isPausing = false
            ask(at: .now())
        }
    }

    // MARK: LinkOwner

    func greeted(_ hello: HelloReply) {
        clusterTimeAtHello = hello.clusterTime
        helloAt = .now()
        beginSession(helloAt)
        isReady = true
        run.ready()
    }

    func received(_ header: FrameHeader, _ body: RawSpan, at now: NIODeadline) {
        guard let entry = slots.finish(header.requestID) else { return }
        if let code = entry.request.failure(in: body, header.kind) {
            run.failed(entry, code)
            if entry.request.isOfOwnSession, entry.session == session.number { beginSession(now) }
            pause()
        } else {
            if entry.request.isOfOwnSession { session.succeeded(in: entry.session) }
            run.succeeded(entry, at: now)
        }
    }

    func turnEnded(at now: NIODeadline) { write(at: now, limit: .max) }

    func ended(_ reason: LinkEnd) {
        isReady = false
        for entry in slots.finishAll() { run.failed(entry, "connectionLost") }
        run.lost(reason, number) { [self] in dial($0) }
    }
}

extension Request {
    fileprivate var isOfOwnSession: Bool {
        switch self {
        case .put, .puts, .transaction, .registry: true
        case .get, .openSession, .keepAlive: false
        }
    }

    /// Why the reply is no success; nil when it is one.
    fileprivate func failure(in body: RawSpan, _ kind: UInt16) -> String? {
        do throws(DecodeError) {
            var reader = ByteReader(body)
            if case .failure(let error, _) = try ReplyHead(decoding: &reader) {
                // So it is when an admission is sent again, or the registry had been filled before.
                if case .registry = self, error.rule == RegistryRule.agentAlreadyAdmitted.rawValue { return nil }
                return error.rule ?? error.code.name
            }
            switch self {
            case .put, .puts, .get, .openSession: return nil
            case .transaction: return try TransactionResult(decoding: &reader).succeeded ? nil : "conditionFailed"
            case .registry: return try RegistryReply(decoding: &reader).failure
            case .keepAlive:
                guard case .keepAlive(let reply) = try ControlReply.decode(kind: kind, body: body) else {
                    return "unreadableReply"
                }
                return reply.notOpen.isEmpty ? nil : ErrorCode.sessionExpired.name
            }
        } catch {
            return "unreadableReply"
        }
    }
}
