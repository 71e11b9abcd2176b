internal import Basics
internal import NIOCore
internal import ReplicaCore
internal import Transport
internal import Wire

/// Asks a node that is to become a member who it is: one connection to its peer port, one question, one answer.
/// Used on the event loop only.
final class MemberQuestion: FrameConnectionDelegate {
    private var completion: ((MemberProbeAnswer) -> Void)?
    /// Kept until the answer is there: nobody else does.
    private var own: MemberQuestion?

    private static let timeout = Interval.seconds(2)

    private init(_ completion: @escaping (MemberProbeAnswer) -> Void) {
        self.completion = completion
        own = self
    }

    static func ask(
        _ address: String, context: TransportContext, completion: @escaping (MemberProbeAnswer) -> Void
    ) {
        guard let target = HostPort(address) else { return completion(.failed("is no HOST:PORT")) }
        let question = MemberQuestion(completion)
        Dialer.connect(to: target, timeout: timeout, context: context, delegate: question) { result in
            switch result {
            case .failure(let failure): question.finish(.failed("\(failure)"))
            case .success(let connection):
                var writer = ByteWriter()
                PeerMessage.foundingProbe([]).encode(into: &writer)
                connection.send(writer.takeBytes())
                context.eventLoop.assumeIsolated().scheduleTask(in: .nanoseconds(timeout.nanoseconds)) {
                    question.finish(.failed("does not answer"))
                    connection.close()
                }
            }
        }
    }

    private func finish(_ answer: MemberProbeAnswer) {
        completion?(answer)
        completion = nil
        own = nil
    }

    // MARK: - FrameConnectionDelegate

    func opened(_ connection: FrameConnection) {}
    func readCompleted(on connection: FrameConnection) {}
    func writabilityChanged(_ connection: FrameConnection) {}

    func received(_ header: FrameHeader, body: RawSpan, on connection: FrameConnection) {
        if case .foundingProbeReply(let reply)? = (try? PeerMessage.decode(header, body: body))?.message {
            finish(
                .answered(
                    isEmpty: reply.isEmpty, node: reply.node, name: reply.name, featureLevel: reply.featureLevel))
        } else {
            finish(.failed("answers what no node of this service says"))
        }
        connection.close()
    }

    func closed(_ connection: FrameConnection, reason: ConnectionEnd) {
        finish(.failed("closed the connection: \(reason)"))
    }
}
