internal import Basics
internal import NIOCore
internal import NIOSSL
internal import NIOTLS

/// Stands behind TLS until the other side has shown who it is, and only then lets a `FrameConnection` take its place: no
/// owner ever hears of a connection whose certificate was not looked at.
final class TLSGate: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// What happens in the end, exactly once.
    enum Outcome {
        case trusted(CertificateIdentity)
        case failed(String)
        case timedOut
    }

    private let tls: NIOSSLHandler
    private let files: TLSFiles
    private let purpose: PortPurpose
    private let isAccepting: Bool
    private let deadline: NIODeadline
    /// Returns the handler that goes on with the connection.
    private var finish: ((Outcome) -> FrameConnection?)?
    /// The connection has been opened.
    private let established: (FrameConnection) -> Void
    private var timer: Scheduled<Void>?

    init(
        tls: NIOSSLHandler, files: TLSFiles, purpose: PortPurpose, isAccepting: Bool, deadline: NIODeadline,
        established: @escaping (FrameConnection) -> Void = { _ in }, finish: @escaping (Outcome) -> FrameConnection?
    ) {
        self.tls = tls
        self.files = files
        self.purpose = purpose
        self.isAccepting = isAccepting
        self.deadline = deadline
        self.established = established
        self.finish = finish
    }

    func channelActive(context: ChannelHandlerContext) {
        timer = context.eventLoop.assumeIsolated().scheduleTask(deadline: deadline) { [self] in
            settle(.timedOut)
            context.close(promise: nil)
        }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard case .handshakeCompleted(let chosen) = event as? TLSUserEvent else {
            return context.fireUserInboundEventTriggered(event)
        }
        let identity = CertificateIdentity(tls.peerCertificate)
        if let refusal = isAccepting ? purpose.refusal(of: identity) : Self.refusal(ofCallee: identity) {
            return turnAway(refusal, context)
        }
        guard chosen == purpose.applicationProtocol else {
            return turnAway(TLSFailure.wrongPort(purpose, isAccepting: isAccepting), context)
        }
        guard let connection = settle(.trusted(identity)) else { return context.close(promise: nil) }
        do {
            try context.pipeline.syncOperations.addHandler(connection)
        } catch {
            return context.close(promise: nil)
        }
        context.fireChannelActive()
        context.pipeline.syncOperations.removeHandler(self, promise: nil)
        established(connection)
    }

    /// Whoever calls, node or client, wants a node at the other end.
    private static func refusal(ofCallee identity: CertificateIdentity) -> String? {
        guard identity.nodes.isEmpty else { return nil }
        return "its certificate is not that of a node: it needs the name quorate://peer/NAME (subjectAltName, URI)"
    }

    private func turnAway(_ reason: String, _ context: ChannelHandlerContext) {
        settle(.failed(reason))
        if isAccepting {
            let line = context.channel.allocator.buffer(bytes: RefusalLine.bytes(reason))
            context.writeAndFlush(Self.wrapOutboundOut(line), promise: nil)
        }
        context.close(promise: nil)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        // What one who was turned away had sent already.
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        let reason = TLSFailure.describe(
            error, certificate: tls.peerCertificate, files: files, isAccepting: isAccepting)
        settle(.failed(reason))
        context.close(promise: nil)
    }

    func channelInactive(context: ChannelHandlerContext) {
        settle(.failed("it closed the connection during the TLS handshake"))
        context.fireChannelInactive()
    }

    @discardableResult
    private func settle(_ outcome: Outcome) -> FrameConnection? {
        timer?.cancel()
        timer = nil
        let finish = self.finish
        self.finish = nil
        return finish?(outcome)
    }
}
