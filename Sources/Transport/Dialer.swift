package import Basics
internal import Glibc
internal import NIOCore
internal import NIOPosix
internal import NIOSSL

/// Why a connection could not be made. Nothing is tried again here: whoever dials decides when and where.
package enum ConnectFailure: Error, Equatable, Sendable, CustomStringConvertible {
    /// Nobody listens there.
    case refused
    case timedOut
    /// No route, or the network is down.
    case unreachable
    /// The host name has no address.
    case unknownHost(String)
    case failed(String)
    /// Connected, but the two sides do not agree on TLS; what to do.
    case untrusted(String)

    package var description: String {
        switch self {
        case .refused: "refused the connection"
        case .timedOut: "timed out"
        case .unreachable: "is unreachable"
        case .unknownHost(let host): "has an unknown host name (\(host))"
        case .failed(let message): "failed: \(message)"
        case .untrusted(let message): "cannot be talked to: \(message)"
        }
    }
}

package enum Dialer {
    /// Connects to `address`. On success the delegate has been told `opened` before `completion` runs; on failure only
    /// `completion` runs. Call it on the loop of `context`.
    package static func connect(
        to address: HostPort, timeout: Interval, context: TransportContext, delegate: any FrameConnectionDelegate,
        completion: @escaping (Result<FrameConnection, ConnectFailure>) -> Void
    ) {
        context.eventLoop.assertInEventLoop()
        let attempt = NIOLoopBound(
            Attempt(context: context, delegate: delegate, timeout: timeout, completion: completion),
            eventLoop: context.eventLoop)
        let bootstrap = ClientBootstrap(group: context.eventLoop)
            .connectTimeout(.nanoseconds(max(1, timeout.nanoseconds)))
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .channelOption(.maxMessagesPerRead, value: FrameSocket.messagesPerRead)
            .channelOption(.recvAllocator, value: FrameSocket.receiveAllocator)
            .channelOption(.writeBufferWaterMark, value: FrameSocket.waterMark(context.settings))
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(Establishment(attempt: attempt.value))
                }
            }
        for (option, value) in FrameSocket.presence { _ = bootstrap.channelOption(option, value: value) }
        bootstrap
            .connect(host: address.host, port: Int(address.port))
            .assumeIsolated()
            .whenFailure { error in
                attempt.value.finish(.failure(ConnectFailure(error, host: address.host)))
            }
    }
}

/// One call of `connect`, which may try several addresses of a host at once; one of them becomes the connection.
private final class Attempt {
    let context: TransportContext
    let delegate: any FrameConnectionDelegate
    let timeout: Interval
    /// A socket is connected; only one of them ever is used.
    var isEstablishing = false
    private var completion: ((Result<FrameConnection, ConnectFailure>) -> Void)?

    init(
        context: TransportContext, delegate: any FrameConnectionDelegate, timeout: Interval,
        completion: @escaping (Result<FrameConnection, ConnectFailure>) -> Void
    ) {
        self.context = context
        self.delegate = delegate
        self.timeout = timeout
        self.completion = completion
    }

    var isFinished: Bool { completion == nil }

    func finish(_ result: Result<FrameConnection, ConnectFailure>) {
        let completion = self.completion
        self.completion = nil
        completion?(result)
    }
}

/// Stands in the pipeline until the socket is connected, and puts the connection in its place: only then is there a
/// remote address, and only then may the delegate hear of it.
private final class Establishment: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer
    private let attempt: Attempt

    init(attempt: Attempt) { self.attempt = attempt }

    func channelActive(context: ChannelHandlerContext) {
        guard !attempt.isFinished, !attempt.isEstablishing else { return context.close(promise: nil) }
        attempt.isEstablishing = true
        if let tls = attempt.context.tls { return secure(tls, context) }
        let connection = FrameConnection(
            on: context.channel, context: attempt.context, delegate: attempt.delegate)
        do {
            try context.pipeline.syncOperations.addHandler(connection)
        } catch {
            return context.close(promise: nil)
        }
        context.fireChannelActive()
        context.pipeline.syncOperations.removeHandler(self, promise: nil)
        attempt.finish(.success(connection))
    }

    private func secure(_ tls: TLSSource, _ context: ChannelHandlerContext) {
        let handlers: [any ChannelHandler]
        do {
            handlers = try self.handlers(tls, context.channel)
            try context.pipeline.syncOperations.addHandlers(handlers)
        } catch {
            attempt.finish(.failure(.untrusted("\(error)")))
            return context.close(promise: nil)
        }
        context.fireChannelActive()
        context.pipeline.syncOperations.removeHandler(self, promise: nil)
    }

    private func handlers(_ tls: TLSSource, _ channel: any Channel) throws -> [any ChannelHandler] {
        let (sslContext, purpose) = try tls.contextForDialing()
        // No name of a host: a node is known by its certificate, wherever it is.
        let handler = try NIOSSLClientHandler(context: sslContext, serverHostname: nil)
        let gate = TLSGate(
            tls: handler, files: tls.files, purpose: purpose, isAccepting: false,
            deadline: .now() + .nanoseconds(max(1, attempt.timeout.nanoseconds)),
            established: { [attempt] in attempt.finish(.success($0)) }
        ) { [attempt] outcome in
            guard !attempt.isFinished else { return nil }
            switch outcome {
            case .trusted(let identity):
                return FrameConnection(
                    on: channel, context: attempt.context, delegate: attempt.delegate, identity: identity)
            case .failed(let reason): attempt.finish(.failure(.untrusted(reason)))
            case .timedOut: attempt.finish(.failure(.timedOut))
            }
            return nil
        }
        return [handler, gate]
    }
}

extension ConnectFailure {
    init(_ error: any Error, host: String) {
        switch error {
        case let error as NIOConnectionError:
            // Several addresses may have failed; the first says most, as a name's first address is the usual one.
            if let first = error.connectionErrors.first {
                self.init(first.error, host: host)
            } else {
                self = .unknownHost(host)
            }
        case ChannelError.connectTimeout: self = .timedOut
        case let error as IOError:
            switch error.errnoCode {
            case ECONNREFUSED: self = .refused
            case ETIMEDOUT: self = .timedOut
            case EHOSTUNREACH, ENETUNREACH, ENETDOWN: self = .unreachable
            default: self = .failed(describe(error))
            }
        default: self = .failed("\(error)")
        }
    }
}
