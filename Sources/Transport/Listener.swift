package import Basics
internal import Glibc
internal import NIOCore
internal import NIOPosix
internal import NIOSSL

/// Accepts connections on one address and makes each a `FrameConnection`. Used on its event loop only.
///
/// At a limit (per remote address, and in all) a new connection is closed before a byte of it is read; those that have
/// not said yet who they are have limits of their own. A process that
/// is out of file descriptors accepts nothing for a second and then tries again; the listener stays.
package final class Listener {
    /// Where it really listens: the port is known here when 0 was asked for.
    package let address: HostPort
    private let channel: any Channel

    private init(address: HostPort, channel: any Channel) {
        self.address = address
        self.channel = channel
    }

    /// Why nothing can be accepted at an address.
    package struct BindFailure: Error, Equatable, Sendable, CustomStringConvertible {
        package var address: HostPort
        package var message: String

        package var description: String { "cannot listen on \(address): \(message)" }
    }

    /// Starts to listen; `completion` runs on the loop. Call it on the loop.
    package static func bind(
        to address: HostPort, purpose: PortPurpose = .client, context: TransportContext,
        delegate: any FrameConnectionDelegate,
        completion: @escaping (Result<Listener, BindFailure>) -> Void
    ) {
        context.eventLoop.assertInEventLoop()
        let admission = NIOLoopBound(Admission(purpose: purpose, context: context, delegate: delegate), eventLoop: context.eventLoop)
        let bootstrap = ServerBootstrap(group: context.eventLoop)
            .serverChannelOption(.backlog, value: 1_024)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelOption(.maxMessagesPerRead, value: FrameSocket.messagesPerRead)
            .childChannelOption(.recvAllocator, value: FrameSocket.receiveAllocator)
            .childChannelOption(.writeBufferWaterMark, value: FrameSocket.waterMark(context.settings))
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try admission.value.admit(channel) }
            }
        for (option, value) in FrameSocket.presence { _ = bootstrap.childChannelOption(option, value: value) }
        bootstrap
            .bind(host: address.host, port: Int(address.port))
            .assumeIsolated()
            .whenComplete { result in
                switch result {
                case .success(let channel):
                    let port = channel.localAddress?.port.flatMap { UInt16(exactly: $0) } ?? address.port
                    completion(.success(Listener(address: HostPort(host: address.host, port: port), channel: channel)))
                case .failure(let error):
                    completion(.failure(BindFailure(address: address, message: describe(error))))
                }
            }
    }

    /// Accepts no more; connections that are open stay open.
    package func close() { channel.close(promise: nil) }
}

@available(*, unavailable)
extension Listener: Sendable {}

/// Counts what a listener has let in.
private final class Admission {
    private let purpose: PortPurpose
    private let context: TransportContext
    private let delegate: any FrameConnectionDelegate
    private var all = Count()
    /// Only addresses with at least one connection, so it is as bounded as they are.
    private var byHost: [String: Count] = [:]

    private struct Count {
        var connections = 0
        var halfOpen = 0
    }

    init(purpose: PortPurpose, context: TransportContext, delegate: any FrameConnectionDelegate) {
        self.purpose = purpose
        self.context = context
        self.delegate = delegate
    }

    func admit(_ channel: any Channel) throws {
        let host = channel.remoteAddress?.ipAddress ?? "unknown"
        if let limit = limitReached(by: host) {
            context.counters.connectionsRefused &+= 1
            report(limit, host, channel)
            try channel.pipeline.syncOperations.addHandler(Refusal())
            return
        }
        let pipeline = channel.pipeline.syncOperations
        guard let tls = context.tls else {
            let place = enter(host, channel)
            try pipeline.addHandler(FrameConnection(on: channel, context: context, delegate: delegate, place: place))
            return
        }
        let handler = NIOSSLServerHandler(context: try tls.contextForAccepting(purpose))
        let deadline = NIODeadline.now() + .nanoseconds(context.settings.handshakeTimeout.nanoseconds)
        let place = enter(host, channel)
        let gate = TLSGate(
            tls: handler, files: tls.files, purpose: purpose, isAccepting: true, deadline: deadline
        ) { [context, delegate] outcome in
            switch outcome {
            case .trusted(let identity):
                return FrameConnection(
                    on: channel, context: context, delegate: delegate, place: place, identity: identity,
                    handshakeDeadline: deadline)
            case .failed(let reason):
                context.counters.connectionsRefused &+= 1
                place.leave(because: .refused(reason))
            case .timedOut:
                context.counters.timeouts &+= 1
                place.leave(because: .handshakeTimeout)
            }
            return nil
        }
        try pipeline.addHandlers([handler, gate])
    }

    private func limitReached(by host: String) -> String? {
        let settings = context.settings
        let own = byHost[host] ?? Count()
        if all.connections >= settings.connectionsMax { return "\(all.connections) connections are open, the most here" }
        if own.connections >= settings.connectionsPerAddressMax {
            return "\(own.connections) connections of its address are open, the most for one"
        }
        if own.halfOpen >= settings.halfOpenPerAddressMax || all.halfOpen >= settings.halfOpenMax {
            return "too many connections are open that have not said who they are"
        }
        return nil
    }

    private func enter(_ host: String, _ channel: any Channel) -> ListenerPlace {
        all.connections += 1
        all.halfOpen += 1
        byHost[host, default: Count()].connections += 1
        byHost[host, default: Count()].halfOpen += 1
        return ListenerPlace(
            handshakeFinished: { [self] in
                all.halfOpen -= 1
                byHost[host]?.halfOpen -= 1
            },
            left: { [self] reason in
                all.connections -= 1
                byHost[host]?.connections -= 1
                if byHost[host]?.connections == 0 { byHost[host] = nil }
                switch reason {
                case .refused, .unexpectedTLS: report(reason.description, host, channel)
                default: break
                }
            })
    }

    private func report(_ reason: String, _ host: String, _ channel: any Channel) {
        context.onRefused?(
            RefusedConnection(
                remoteHost: host, remoteAddress: channel.remoteAddress.map { HostPort.text(of: $0) } ?? host,
                port: purpose, reason: reason))
    }
}

/// A connection's place at the listener that let it in: given up once, whatever ends it.
final class ListenerPlace {
    private var onHandshakeFinished: (() -> Void)?
    private var onLeft: ((ConnectionEnd) -> Void)?

    init(handshakeFinished: @escaping () -> Void, left: @escaping (ConnectionEnd) -> Void) {
        onHandshakeFinished = handshakeFinished
        onLeft = left
    }

    func handshakeFinished() {
        onHandshakeFinished?()
        onHandshakeFinished = nil
    }

    func leave(because reason: ConnectionEnd) {
        handshakeFinished()
        onLeft?(reason)
        onLeft = nil
    }
}

/// Closes a connection that was one too many.
private final class Refusal: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    func channelActive(context: ChannelHandlerContext) { context.close(promise: nil) }
}

/// Socket options of accepted and dialled connections alike.
enum FrameSocket {
    /// Reads of one wake-up: enough to empty a socket, few enough that others get their turn.
    static let messagesPerRead: UInt = 4
    /// Grows with what a connection sends: a client that asks one thing at a time holds 2 KiB, a peer 256 KiB.
    static var receiveAllocator: AdaptiveRecvByteBufferAllocator {
        AdaptiveRecvByteBufferAllocator(minimum: 2_048, initial: 16_384, maximum: 262_144)
    }
    static func waterMark(_ settings: TransportSettings) -> ChannelOptions.Types.WriteBufferWaterMark {
        .init(low: settings.writeLowWaterMark, high: settings.writeHighWaterMark)
    }

    /// Has the kernel find out that the other side is gone. Without it a connection on which nothing is to be sent would
    /// keep its place at the listener for ever.
    static var presence: [(option: ChannelOptions.Types.SocketOption, value: SocketOptionValue)] {
        func tcp(_ name: Int32) -> ChannelOptions.Types.SocketOption {
            ChannelOptions.Types.SocketOption(level: .tcp, name: NIOBSDSocket.Option(rawValue: name))
        }
        func units(_ interval: Interval, of nanoseconds: Int64) -> SocketOptionValue {
            SocketOptionValue(interval.nanoseconds / nanoseconds)
        }
        let (second, millisecond) = (Int64(1_000_000_000), Int64(1_000_000))
        return [
            (ChannelOptions.Types.SocketOption(level: .socket, name: .so_keepalive), 1),
            (tcp(TCP_KEEPIDLE), units(Limits.keepAliveIdle, of: second)),
            (tcp(TCP_KEEPINTVL), units(Limits.keepAliveInterval, of: second)),
            (tcp(TCP_KEEPCNT), SocketOptionValue(Limits.keepAliveCount)),
            (tcp(TCP_USER_TIMEOUT), units(Limits.unacknowledgedMax, of: millisecond)),
        ]
    }
}
