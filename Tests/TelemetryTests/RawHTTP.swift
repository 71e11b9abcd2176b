import Basics
import NIOCore
import NIOPosix

/// A client that says what it is told to, be it HTTP or not.
enum RawHTTP {
    /// Everything that comes back on one connection, until the other side ends it.
    static func talk(to address: HostPort, _ request: String, endsInput: Bool = false) async throws -> String {
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let ended = loop.makePromise(of: String.self)
        let connecting = ClientBootstrap(group: loop)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(Collector(ended))
                }
            }
            .connect(host: address.host, port: Int(address.port))
        connecting.whenFailure { ended.fail($0) }
        let channel = try await connecting.get()
        // It may hang up before everything is sent.
        try? await channel.writeAndFlush(ByteBuffer(string: request))
        if endsInput { try? await channel.close(mode: .output) }
        return try await ended.futureResult.get()
    }

    static func get(_ path: String, from address: HostPort) async throws -> String {
        try await talk(to: address, "GET \(path) HTTP/1.1\r\nHost: \(address)\r\n\r\n")
    }
}

/// Gathers what comes, and hands it over when the connection has ended.
private final class Collector: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let ended: EventLoopPromise<String>
    private var bytes = ByteBuffer()

    init(_ ended: EventLoopPromise<String>) { self.ended = ended }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) { bytes.writeImmutableBuffer(unwrapInboundIn(data)) }
    func channelInactive(context: ChannelHandlerContext) { ended.succeed(String(buffer: bytes)) }
    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
