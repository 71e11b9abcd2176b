package import Basics
package import NIOCore
internal import NIOHTTP1
internal import NIOPosix

/// A page of plain text.
package struct HTTPAnswer: Sendable {
    package enum Status: Int, Sendable {
        case ok = 200
        case badRequest = 400
        case notFound = 404
        case methodNotAllowed = 405
        case requestTooLarge = 431
        case internalServerError = 500
        case serviceUnavailable = 503
    }

    package var status: Status
    package var contentType: String
    package var body: String

    package init(_ status: Status, _ body: String, contentType: String = "text/plain; charset=utf-8") {
        self.status = status
        self.contentType = contentType
        self.body = body
    }
}

/// Answers GET and HEAD on one address, for probes and scrapes. Not meant for many or for strangers: a connection carries
/// one request, and connections, bytes and time are few. It runs on an event loop of its own, so that nobody who talks
/// HTTP takes time from the node.
package final class HTTPServer: Sendable {
    package struct Settings: Sendable {
        package var connectionsMax = 64
        /// Bytes of a request, with whatever follows it on its connection.
        package var requestSizeMax = 16 * 1_024
        /// From the opening of a connection to the end of the answer.
        package var exchangeTimeout = Interval.seconds(10)

        package init() {}
    }

    /// Runs on the server's event loop; nil: there is no such page.
    package typealias Responder = @Sendable (_ path: String) -> EventLoopFuture<HTTPAnswer?>

    /// Where it really listens: the port is known here when 0 was asked for.
    package let address: HostPort
    private let channel: any Channel

    private init(address: HostPort, channel: any Channel) {
        self.address = address
        self.channel = channel
    }

    package static func start(
        on address: HostPort, loop: any EventLoop, settings: Settings = Settings(), respond: @escaping Responder
    ) async throws -> HTTPServer {
        let admission = NIOLoopBoundBox.makeEmptyBox(valueType: Admission.self, eventLoop: loop)
        let channel = try await ServerBootstrap(group: loop)
            .serverChannelOption(.backlog, value: 128)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let gate = admission.value ?? Admission(settings, respond)
                    admission.value = gate
                    try gate.admit(channel)
                }
            }
            .bind(host: address.host, port: Int(address.port)).get()
        let port = channel.localAddress?.port.flatMap { UInt16(exactly: $0) } ?? address.port
        return HTTPServer(address: HostPort(host: address.host, port: port), channel: channel)
    }

    package func stop() async { try? await channel.close() }
}

/// Counts the connections of one server.
private final class Admission {
    private let settings: HTTPServer.Settings
    private let respond: HTTPServer.Responder
    private var connectionCount = 0

    init(_ settings: HTTPServer.Settings, _ respond: @escaping HTTPServer.Responder) {
        self.settings = settings
        self.respond = respond
    }

    func admit(_ channel: any Channel) throws {
        guard connectionCount < settings.connectionsMax else {
            return channel.close(promise: nil)
        }
        connectionCount += 1
        let pipeline = channel.pipeline.syncOperations
        try pipeline.addHandler(RequestSizeLimit(settings.requestSizeMax))
        try pipeline.configureHTTPServerPipeline(withPipeliningAssistance: false, withErrorHandling: false)
        try pipeline.addHandler(
            Exchange(settings, respond) { [self] in connectionCount -= 1 })
    }
}

/// Stands before the parser, which would take headers without end.
private final class RequestSizeLimit: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer

    struct Exceeded: Error {}

    private var left: Int

    init(_ bytes: Int) { left = bytes }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard left >= 0 else { return }
        left -= unwrapInboundIn(data).readableBytes
        if left >= 0 {
            context.fireChannelRead(data)
        } else {
            context.fireErrorCaught(Exceeded())
        }
    }
}

/// One request and its answer. Then this side ends its half of the connection and waits for the other to end: closing at
/// once, with bytes of the client unread, would be a reset, which can take the answer away from under its reader.
private final class Exchange: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    private enum Stage { case waiting, answering, answered }

    private let settings: HTTPServer.Settings
    private let respond: HTTPServer.Responder
    private let ended: () -> Void
    private var stage = Stage.waiting
    private var deadline: Scheduled<Void>?
    private var isInputClosed = false
    private static let lingerTime = TimeAmount.seconds(2)

    init(_ settings: HTTPServer.Settings, _ respond: @escaping HTTPServer.Responder, ended: @escaping () -> Void) {
        self.settings = settings
        self.respond = respond
        self.ended = ended
    }

    func handlerAdded(context: ChannelHandlerContext) {
        close(context.channel, in: .nanoseconds(settings.exchangeTimeout.nanoseconds))
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        deadline?.cancel()
        ended()
    }

    private func close(_ channel: any Channel, in time: TimeAmount) {
        deadline?.cancel()
        deadline = channel.eventLoop.scheduleTask(in: time) { channel.close(promise: nil) }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard case .head(let head) = unwrapInboundIn(data), stage == .waiting else { return }
        stage = .answering
        guard head.method == .GET || head.method == .HEAD else {
            let answer = HTTPAnswer(.methodNotAllowed, "only GET and HEAD are answered here\n")
            return write(answer, isHead: false, further: [("Allow", "GET, HEAD")], context)
        }
        let path = String(head.uri.prefix { $0 != "?" })
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        let isHead = head.method == .HEAD
        respond(path).hop(to: context.eventLoop).whenComplete { result in
            let (exchange, context) = bound.value
            let answer =
                switch result {
                case .success(let answer?): answer
                case .success(nil): HTTPAnswer(.notFound, "there is no page \(path.prefix(100))\n")
                case .failure(let error): HTTPAnswer(.internalServerError, "\(error)\n")
                }
            exchange.write(answer, isHead: isHead, further: [], context)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // After the answer has begun there is nothing left to say.
        guard stage == .waiting, context.channel.isActive else { return context.close(promise: nil) }
        stage = .answering
        let answer =
            error is RequestSizeLimit.Exceeded
            ? HTTPAnswer(.requestTooLarge, "a request has at most \(settings.requestSizeMax) bytes\n")
            : HTTPAnswer(.badRequest, "this is no HTTP request\n")
        write(answer, isHead: false, further: [], context)
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case ChannelEvent.inputClosed = event {
            isInputClosed = true
            if stage != .answering { context.close(promise: nil) }
        }
        context.fireUserInboundEventTriggered(event)
    }

    private func write(
        _ answer: HTTPAnswer, isHead: Bool, further: [(String, String)], _ context: ChannelHandlerContext
    ) {
        guard context.channel.isActive else { return }
        var headers = HTTPHeaders([
            ("Content-Type", answer.contentType), ("Content-Length", "\(answer.body.utf8.count)"),
            ("Cache-Control", "no-store"), ("Connection", "close"),
        ])
        headers.add(contentsOf: further)
        let head = HTTPResponseHead(
            version: .http1_1, status: HTTPResponseStatus(statusCode: answer.status.rawValue), headers: headers)
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        if !isHead { context.write(wrapOutboundOut(.body(.byteBuffer(ByteBuffer(string: answer.body)))), promise: nil) }
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        context.writeAndFlush(wrapOutboundOut(.end(nil))).whenComplete { _ in
            let (exchange, context) = bound.value
            exchange.finish(context)
        }
    }

    private func finish(_ context: ChannelHandlerContext) {
        stage = .answered
        guard !isInputClosed else { return context.close(promise: nil) }
        context.close(mode: .output, promise: nil)
        close(context.channel, in: Self.lingerTime)
    }
}
