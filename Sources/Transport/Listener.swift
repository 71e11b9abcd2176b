package import Basics
internal import NIOCore
internal import NIOPosix

/// Accepts connections on one address and makes each a `FrameConnection`. Used on its event loop only.
///
/// At a limit (per remote address, and in all) a new connection is closed before a byte of it is read. A process that
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
        to address: HostPort, context: TransportContext, delegate: any FrameConnectionDelegate,
        completion: @escaping (Result<Listener, BindFailure>) -> Void
    ) {
        context.eventLoop.assertInEventLoop()
        let admission = NIOLoopBound(Admission(context: context, delegate: delegate), eventLoop: context.eventLoop)
        ServerBootstrap(group: context.eventLoop)
            .serverChannelOption(.backlog, value: 1_024)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelOption(.maxMessagesPerRead, value: FrameSocket.messagesPerRead)
            .childChannelOption(.recvAllocator, value: FrameSocket.receiveAllocator)
            .childChannelOption(.writeBufferWaterMark, value: FrameSocket.waterMark(context.settings))
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try admission.value.admit(channel) }
            }
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
    private let context: TransportContext
    private let delegate: any FrameConnectionDelegate
    private var connectionCount = 0
    /// Only addresses with at least one connection, so it is as bounded as they are.
    private var countByHost: [String: Int] = [:]

    init(context: TransportContext, delegate: any FrameConnectionDelegate) {
        self.context = context
        self.delegate = delegate
    }

    func admit(_ channel: any Channel) throws {
        let host = channel.remoteAddress?.ipAddress ?? "unknown"
        guard connectionCount < context.settings.connectionsMax,
            countByHost[host, default: 0] < context.settings.connectionsPerAddressMax
        else {
            context.counters.connectionsRefused &+= 1
            try channel.pipeline.syncOperations.addHandler(Refusal())
            return
        }
        connectionCount += 1
        countByHost[host, default: 0] += 1
        let connection = FrameConnection(on: channel, context: context, delegate: delegate) { [self] in
            connectionCount -= 1
            let left = countByHost[host, default: 1] - 1
            countByHost[host] = left > 0 ? left : nil
        }
        try channel.pipeline.syncOperations.addHandler(connection)
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
}
