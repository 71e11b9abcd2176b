internal import Basics
internal import Glibc
internal import Logging
internal import NIOCore
internal import NIOPosix
internal import Telemetry

/// `--http`: what probes and Prometheus are told. It has a thread of its own: it answers that the node hangs when the
/// node hangs, and a thousand scrapes cost the node one short look every `inspectionAge`.
final class TelemetryPort: Sendable {
    private let group: MultiThreadedEventLoopGroup
    private let server: HTTPServer

    private init(group: MultiThreadedEventLoopGroup, server: HTTPServer) {
        self.group = group
        self.server = server
    }

    var address: HostPort { server.address }

    /// - Parameter inspect: asks the node's event loop how the node is, and hands over the answer, on any thread.
    static func start(
        on address: HostPort, configuration: ServerConfiguration, logger: Logger,
        inspect: @escaping @Sendable (@escaping @Sendable (NodeInspection) -> Void) -> Void
    ) async throws -> TelemetryPort {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let loop = group.next()
        let desk = InspectionDesk(loop: loop, inspect: inspect)
        do {
            let server = try await HTTPServer.start(on: address, loop: loop) { path in
                switch path {
                case "/livez":
                    desk.current().map { Health.live($0).answer }
                case "/readyz":
                    desk.current().map { Health.ready($0, configuration, at: InspectionDesk.now()).answer }
                case "/metrics":
                    desk.current().map { inspection in
                        let families = Metrics.families(inspection, configuration, at: InspectionDesk.now())
                        return HTTPAnswer(
                            .ok, PrometheusText.render(families + ProcessFigures.families()),
                            contentType: PrometheusText.contentType)
                    }
                case "/": loop.makeSucceededFuture(HTTPAnswer(.ok, "/livez\n/readyz\n/metrics\n"))
                default: loop.makeSucceededFuture(nil)
                }
            }
            logger.notice("serving probes and metrics", metadata: ["http": "\(server.address)"])
            return TelemetryPort(group: group, server: server)
        } catch {
            try? await group.shutdownGracefully()
            throw BindFailure(address: address, error: error)
        }
    }

    private struct BindFailure: Error, CustomStringConvertible {
        let address: HostPort
        let error: any Error

        var description: String {
            let reason = (error as? IOError).map { String(cString: strerror($0.errnoCode)) } ?? "\(error)"
            return "cannot listen on \(address) for --http: \(reason)"
        }
    }

    func stop() async {
        await server.stop()
        try? await group.shutdownGracefully()
    }
}

/// Asks the node, for all who want to know at the same time, once.
private final class InspectionDesk: @unchecked Sendable {
    // `@unchecked`: everything that changes is used on `loop` only.

    private let loop: any EventLoop
    private let inspect: @Sendable (@escaping @Sendable (NodeInspection) -> Void) -> Void
    private var latest: NodeInspection?
    /// While the node has not answered, it is not asked again.
    private var isAsking = false
    private var waiting: [EventLoopPromise<NodeInspection?>] = []

    /// An inspection that is younger than this is good enough.
    private static let inspectionAge = Interval.milliseconds(100)
    /// A node that is silent for longer is told to hang.
    static let patience = Interval.seconds(2)

    init(
        loop: any EventLoop, inspect: @escaping @Sendable (@escaping @Sendable (NodeInspection) -> Void) -> Void
    ) {
        self.loop = loop
        self.inspect = inspect
    }

    static func now() -> Instant { Instant(nanoseconds: NIODeadline.now().uptimeNanoseconds) }

    /// Nil when the node's event loop does not answer. On `loop`.
    func current() -> EventLoopFuture<NodeInspection?> {
        loop.assertInEventLoop()
        if let latest, Self.now() - latest.takenAt < Self.inspectionAge { return loop.makeSucceededFuture(latest) }
        let promise = loop.makePromise(of: NodeInspection?.self)
        waiting.append(promise)
        loop.scheduleTask(in: .nanoseconds(Self.patience.nanoseconds)) { promise.succeed(nil) }
        if !isAsking {
            isAsking = true
            inspect { [self] inspection in loop.execute { self.answered(inspection) } }
        }
        return promise.futureResult
    }

    private func answered(_ inspection: NodeInspection) {
        isAsking = false
        latest = inspection
        for promise in waiting { promise.succeed(inspection) }
        waiting = []
    }
}
