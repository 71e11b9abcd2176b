internal import Basics
internal import MetadataModel
internal import NIOCore
internal import Transport
internal import Wire

/// Asks one endpoint after the other until one says who leads and who else is there.
final class Scout: LinkOwner {
    struct Finding {
        var leader: HostPort
        var limits: ConnectionLimits
        /// Where clients find the nodes, as far as this one knows.
        var nodes: [HostPort]
        /// Of the log of the node that answered.
        var lastIndex: LogIndex
    }

    private let endpoints: [HostPort]
    private let context: TransportContext
    private let deadline: NIODeadline
    private let completion: (Result<Finding, LoadFailure>) -> Void
    /// The last of several must not seem to be slow because there is no time left.
    private static let dialTimeoutMin = Interval.milliseconds(100)
    private var link: ClientLink?
    private var next = 0
    private var hello: HelloReply?
    /// What each endpoint had to say the last time.
    private var refusals: [String]

    init(
        _ endpoints: [HostPort], timeout: Interval, context: TransportContext,
        completion: @escaping (Result<Finding, LoadFailure>) -> Void
    ) {
        self.endpoints = endpoints
        self.context = context
        self.completion = completion
        deadline = .now() + .nanoseconds(timeout.nanoseconds)
        refusals = endpoints.map { "\($0) was not asked" }
    }

    func start() {
        let link = ClientLink(context, owner: self)
        self.link = link
        let left = Interval.nanoseconds((deadline - .now()).nanoseconds)
        link.dial(endpoints[next], timeout: max(left, Self.dialTimeoutMin))
    }

    func greeted(_ hello: HelloReply) {
        self.hello = hello
        guard hello.identity != nil else { return skip("belongs to no cluster: run `quorate init`") }
        guard hello.leader.flatMap({ HostPort($0.clientAddress) }) != nil else { return skip("knows no leader") }
        guard let link else { return }
        ClientRequest.encodeEmpty(.status, requestID: 1, into: &link.output)
    }

    func received(_ header: FrameHeader, _ body: RawSpan, at now: NIODeadline) {
        guard case .status(let status)? = try? ControlReply.decode(kind: header.kind, body: body), let hello,
            let leader = hello.leader.flatMap({ HostPort($0.clientAddress) })
        else { return skip("does not tell its status") }
        link?.close()
        let nodes = status.members.compactMap { HostPort($0.clientAddress) }
        completion(
            .success(
                Finding(leader: leader, limits: hello.limits, nodes: nodes, lastIndex: status.node.lastIndex)))
    }

    func turnEnded(at now: NIODeadline) {}

    func ended(_ reason: LinkEnd) { turnAway("\(reason)") }

    private func skip(_ reason: String) {
        link?.close()
        turnAway("\(endpoints[next]) \(reason)")
    }

    private func turnAway(_ refusal: String) {
        refusals[next] = refusal
        next = (next + 1) % endpoints.count
        guard NIODeadline.now() < deadline else {
            let message = "no node can be used: \(refusals.joined(separator: ", "))"
            return completion(.failure(LoadFailure(kind: .unavailable, message: message)))
        }
        // All have been asked: one of them may be a leader in a moment.
        let pause = next == 0 ? TimeAmount.milliseconds(100) : .zero
        context.eventLoop.assumeIsolated().scheduleTask(in: pause) { [self] in start() }
    }
}
