internal import Basics
internal import MetadataModel
internal import NIOCore
internal import Transport
internal import Wire

/// What uses a link. All calls come on the run's event loop.
protocol LinkOwner: AnyObject {
    func greeted(_ hello: HelloReply)
    /// A reply; the time is that of the wake-up.
    func received(_ header: FrameHeader, _ body: RawSpan, at now: NIODeadline)
    /// All that one wake-up brought has been handed over. What was written since is sent afterwards.
    func turnEnded(at now: NIODeadline)
    /// It was not connected, not welcome, or is lost. Comes once for each `dial`, unless `close` was called.
    func ended(_ reason: LinkEnd)
}

enum LinkEnd: CustomStringConvertible {
    /// There never was a connection that could be used.
    case notOpened(String)
    case lost(String)

    var description: String {
        switch self {
        case .notOpened(let reason), .lost(let reason): reason
        }
    }
}

/// One client connection: it says hello, reads the clock once for all that a wake-up brings, and sends what was written
/// meanwhile at once.
final class ClientLink: FrameConnectionDelegate {
    /// Frames that wait for `send`.
    var output = ByteWriter()
    private let context: TransportContext
    private weak var owner: (any LinkOwner)?
    private var connection: FrameConnection?
    private var isGreeted = false
    private var isClosed = false
    private var turnTime: NIODeadline?

    init(_ context: TransportContext, owner: any LinkOwner) {
        self.context = context
        self.owner = owner
    }

    /// Once.
    func dial(_ address: HostPort, timeout: Interval) {
        Dialer.connect(to: address, timeout: timeout, context: context, delegate: self) { [self] result in
            if case .failure(let failure) = result { end(.notOpened("\(address) \(failure)")) }
        }
    }

    func send() {
        guard output.count > 0 else { return }
        connection?.send(output.takeBytes())
    }

    /// The owner hears no more of it.
    func close() {
        isClosed = true
        connection?.close()
    }

    private func end(_ reason: LinkEnd) {
        guard !isClosed else { return }
        isClosed = true
        owner?.ended(reason)
    }

    // MARK: FrameConnectionDelegate

    func opened(_ connection: FrameConnection) {
        guard !isClosed else { return connection.close() }
        self.connection = connection
        ClientHello(identity: nil, clientName: "quorate bench", clientVersion: "").encode(requestID: 0, into: &output)
        send()
    }

    func received(_ header: FrameHeader, body: RawSpan, on connection: FrameConnection) {
        guard !isClosed else { return }
        guard isGreeted else { return greeted(header, body, connection) }
        guard header.isReply else { return }
        owner?.received(header, body, at: now())
    }

    private func greeted(_ header: FrameHeader, _ body: RawSpan, _ connection: FrameConnection) {
        switch try? ControlReply.decode(kind: header.kind, body: body) {
        case .hello(let hello):
            isGreeted = true
            connection.handshakeFinished(frameSizeMax: Int(hello.limits.frameSizeMax))
            owner?.greeted(hello)
        case .failed(let error, _): refuse(error.message, connection)
        default: refuse("its answer to the hello cannot be read", connection)
        }
    }

    private func refuse(_ reason: String, _ connection: FrameConnection) {
        end(.notOpened("\(connection.remoteAddress) \(reason)"))
        connection.close()
    }

    func readCompleted(on connection: FrameConnection) {
        guard !isClosed, isGreeted else { return }
        owner?.turnEnded(at: now())
        turnTime = nil
        send()
    }

    func writabilityChanged(_ connection: FrameConnection) {}

    func closed(_ connection: FrameConnection, reason: ConnectionEnd) {
        self.connection = nil
        let text = "\(connection.remoteAddress) \(reason)"
        end(isGreeted ? .lost(text) : .notOpened(text))
    }

    private func now() -> NIODeadline {
        let now = turnTime ?? .now()
        turnTime = now
        return now
    }
}
