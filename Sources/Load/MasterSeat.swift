internal import Basics
internal import MetadataModel
internal import NIOCore
internal import RegistryModel
internal import Transport
internal import Wire

/// A candidate for leading the masters: takes its place in the line, and keeps its session alive until it resigns, at
/// whichever node there is.
final class MasterSeat: LinkOwner {
    /// Of its requests; there is never more than one of a kind.
    private enum Ask {
        static let campaign: UInt64 = 1
        static let leader: UInt64 = 2
        static let keepAlive: UInt64 = 3
        static let end: UInt64 = 4
    }

    private let plan: LoadPlan
    private let context: TransportContext
    private let session: SessionID
    private let sessionTimeout: Interval
    private let waits: Bool
    private let placed: (Result<Void, LoadFailure>) -> Void
    private let led: (Result<UInt64, LoadFailure>) -> Void
    private var resigned: (() -> Void)?
    /// Without a place in the line by then there is nothing to wait for.
    private let placingDeadline: NIODeadline
    private var link: ClientLink?
    private var isReady = false
    private var nextEndpoint = 0
    private var opening: SessionOpening?
    private var hasPlace = false
    private var isLeading = false
    private var isKeepAliveUnanswered = false
    private var isOver = false

    /// While it waits for its turn, and before it dials or asks again.
    private static let pause = TimeAmount.milliseconds(10)
    /// Keep-alives in the time after which a silent session ends.
    private static let keepAlivesPerTimeout: Int64 = 4

    /// - Parameters:
    ///   - waits: others may lead before it; else that is a failure.
    ///   - placed: told once it has its place in the line, or that it gets none.
    ///   - led: told its fence once it leads, or why it never will.
    init(
        _ plan: LoadPlan, sessionTimeout: Interval, waits: Bool, context: TransportContext,
        placed: @escaping (Result<Void, LoadFailure>) -> Void, led: @escaping (Result<UInt64, LoadFailure>) -> Void
    ) {
        self.plan = plan
        self.sessionTimeout = sessionTimeout
        self.waits = waits
        self.context = context
        self.placed = placed
        self.led = led
        var random = SystemRandomNumberGenerator()
        session = SessionID(random.next(), random.next())
        placingDeadline = .now() + .nanoseconds(plan.timeout.nanoseconds)
    }

    func start() {
        dial()
        keepAlive()
    }

    /// Ends the session, so that the next in line leads at once.
    /// - Parameter completion: called when that is done, or nobody can be told.
    func resign(_ completion: @escaping () -> Void) {
        guard !isOver, let link, isReady, hasPlace else {
            stop()
            return completion()
        }
        isOver = true
        resigned = completion
        let header = CommandHeader(kind: .endSession, session: session, sequence: 2, acknowledgedThrough: 1)
        send(.endSession, Ask.end, header, on: link)
        context.eventLoop.assumeIsolated().scheduleTask(in: .nanoseconds(plan.timeout.nanoseconds)) { [self] in stop() }
    }

    // MARK: Asking

    private func dial() {
        guard !isOver else { return }
        isReady = false
        isKeepAliveUnanswered = false
        let link = ClientLink(context, owner: self)
        self.link = link
        link.dial(plan.endpoints[nextEndpoint % plan.endpoints.count], timeout: plan.timeout)
        nextEndpoint += 1
    }

    private func redial(because reason: String) {
        guard !isOver else { return stop() }
        link?.close()
        link = nil
        isReady = false
        if !hasPlace, NIODeadline.now() >= placingDeadline {
            return fail(LoadFailure(kind: .unavailable, message: "no node takes a candidate: \(reason)"))
        }
        after(Self.pause) { $0.dial() }
    }

    private func campaign() {
        guard let link, isReady else { return }
        // Sent again it has the same number: it is carried out once.
        let header = CommandHeader(kind: .campaign, session: session, sequence: 1, opening: opening)
        let data = Array("quorate bench".utf8)
        send(.coordination(.campaign(group: RegistryCommand.electionGroup, data: data)), Ask.campaign, header, on: link)
    }

    private func askForLeader() {
        guard let link, isReady, !isLeading else { return }
        ClientRequest.encodeQuery(
            requestID: Ask.leader, header: ReadHeader(level: .linearizable),
            query: Query.leader(group: RegistryCommand.electionGroup).encoded(), into: &link.output)
        link.send()
    }

    private func keepAlive() {
        guard !isOver else { return }
        if isKeepAliveUnanswered {
            redial(because: "a keep-alive was not answered")
        } else if hasPlace, isReady, let link {
            isKeepAliveUnanswered = true
            ClientRequest.encodeKeepAlive(
                requestID: Ask.keepAlive, sessions: [session], mayForward: true, into: &link.output)
            link.send()
        }
        after(.nanoseconds(sessionTimeout.nanoseconds / Self.keepAlivesPerTimeout)) { $0.keepAlive() }
    }

    private func send(_ mutation: Mutation, _ id: UInt64, _ header: CommandHeader, on link: ClientLink) {
        ClientRequest.encodeMutation(requestID: id, mayForward: true, into: &link.output) { writer in
            header.encode(into: &writer)
            mutation.encodeBody(into: &writer)
        }
        link.send()
    }

    private func after(_ time: TimeAmount, _ body: @escaping (MasterSeat) -> Void) {
        context.eventLoop.assumeIsolated().scheduleTask(in: time) { [self] in
            if !isOver { body(self) }
        }
    }

    // MARK: Its end

    private func fail(_ failure: LoadFailure) {
        stop()
        placed(.failure(failure))
        led(.failure(failure))
    }

    private func stop() {
        isOver = true
        link?.close()
        link = nil
        let completion = resigned
        resigned = nil
        completion?()
    }

    // MARK: LinkOwner

    func greeted(_ hello: HelloReply) {
        isReady = true
        if opening == nil { opening = SessionOpening(openedAt: hello.clusterTime, timeout: sessionTimeout) }
        if hasPlace { askForLeader() } else { campaign() }
    }

    func received(_ header: FrameHeader, _ body: RawSpan, at now: NIODeadline) {
        do {
            switch header.requestID {
            case Ask.campaign: try campaigned(body)
            case Ask.leader: try heardOfLeader(body)
            case Ask.keepAlive: try keptAlive(header, body)
            case Ask.end: stop()
            default: return
            }
        } catch {
            redial(because: "an answer cannot be read: \(error)")
        }
    }

    private func campaigned(_ body: RawSpan) throws {
        guard !hasPlace else { return }
        var reader = ByteReader(body)
        if case .failure(let error, _) = try ReplyHead(decoding: &reader) {
            guard error.isRetryable else { return fail(LoadFailure(kind: .unavailable, message: error.message)) }
            return redial(because: error.message)
        }
        let result = try TicketResult(decoding: &reader)
        hasPlace = true
        guard result.fence > 0 || waits else {
            let message = "another master leads: a bench of the registry is for a cluster of its own"
            resign { [self] in fail(LoadFailure(kind: .usage, message: message)) }
            return
        }
        placed(.success(()))
        if result.fence > 0 { lead(result.fence) } else { askForLeader() }
    }

    private func heardOfLeader(_ body: RawSpan) throws {
        guard !isLeading else { return }
        var reader = ByteReader(body)
        if case .success = try ReplyHead(decoding: &reader), try reader.readBool() {
            let leader = try Candidate(decodingItem: &reader)
            if leader.session == session { return lead(leader.fence) }
        }
        after(Self.pause) { $0.askForLeader() }
    }

    private func lead(_ fence: UInt64) {
        isLeading = true
        led(.success(fence))
    }

    private func keptAlive(_ header: FrameHeader, _ body: RawSpan) throws {
        isKeepAliveUnanswered = false
        guard case .keepAlive(let reply) = try ControlReply.decode(kind: header.kind, body: body),
            reply.notOpen.contains(session)
        else { return }
        fail(LoadFailure(kind: .unavailable, message: "the master's session has ended: it was silent for too long"))
    }

    func turnEnded(at now: NIODeadline) {}

    func ended(_ reason: LinkEnd) { redial(because: "\(reason)") }
}
