import Basics
import Glibc
import NIOCore
import NIOPosix
import Testing
import Wire

@testable import Transport

/// A machine that lost power, or a router that forgot a connection, ends nothing.
@Suite("Connections whose other side may be gone", .timeLimit(.minutes(1)))
struct PresenceTests {
    @Test("The kernel asks after silence on connections that were let in, and on those that were dialled")
    func silentConnections() async throws {
        let server = try await EchoServer()
        // Sets no such option itself.
        let peer = try RawPeer(port: server.port)
        let sent = frame(1, [9])
        peer.send(sent)
        #expect(peer.receive(sent.count) == sent)
        let accepted = try await holdsSoon { areAsked(1, port: server.port, isLocal: true) }
        #expect(accepted)
        #expect(areAsked(0, port: server.port, isLocal: false))

        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        defer { group.shutdownGracefully { _ in } }
        let loop = group.next()
        try await loop.flatSubmit { () -> EventLoopFuture<Void> in
            let promise = loop.makePromise(of: Void.self)
            let address = HostPort(host: "127.0.0.1", port: server.port)
            Dialer.connect(
                to: address, timeout: .seconds(5), context: TransportContext(eventLoop: loop), delegate: Silent()
            ) { result in
                switch result {
                case .success(let connection):
                    connection.handshakeFinished(frameSizeMax: 1_000)
                    promise.succeed()
                case .failure(let error): promise.fail(error)
                }
            }
            return promise.futureResult
        }.get()
        let dialled = try await holdsSoon { areAsked(1, port: server.port, isLocal: false) }
        #expect(dialled)
        let both = try await holdsSoon { areAsked(2, port: server.port, isLocal: true) }
        #expect(both)
        // Its end is open until here.
        withExtendedLifetime(peer) {}
    }

    private final class Silent: FrameConnectionDelegate {
        func opened(_ connection: FrameConnection) {}
        func received(_ header: FrameHeader, body: RawSpan, on connection: FrameConnection) {}
        func readCompleted(on connection: FrameConnection) {}
        func writabilityChanged(_ connection: FrameConnection) {}
        func closed(_ connection: FrameConnection, reason: ConnectionEnd) {}
    }

    /// Whether the kernel asks on that many of this process' connections with this port at one end.
    private func areAsked(_ count: Int, port: UInt16, isLocal: Bool) -> Bool {
        let sockets = (0..<1_024 as Range<Int32>).filter { socket in
            let ends = (Self.port(of: socket, getsockname), Self.port(of: socket, getpeername))
            return ends.0 != nil && ends.1 != nil && (isLocal ? ends.0 : ends.1) == port
        }
        let asked = sockets.count { socket in
            Self.option(socket, SOL_SOCKET, SO_KEEPALIVE) == 1
                && Self.option(socket, Int32(IPPROTO_TCP), TCP_KEEPIDLE).map { .seconds(Int64($0)) } == Limits.keepAliveIdle
                && Self.option(socket, Int32(IPPROTO_TCP), TCP_USER_TIMEOUT).map { .milliseconds(Int64($0)) }
                    == Limits.unacknowledgedMax
        }
        return asked == count
    }

    private static func port(
        of socket: Int32, _ end: (Int32, UnsafeMutablePointer<sockaddr>, UnsafeMutablePointer<socklen_t>) -> Int32
    ) -> UInt16? {
        var address = sockaddr_in()
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let result = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { end(socket, $0, &size) }
        }
        return result == 0 && address.sin_family == sa_family_t(AF_INET) ? UInt16(bigEndian: address.sin_port) : nil
    }

    private static func option(_ socket: Int32, _ level: Int32, _ name: Int32) -> Int32? {
        var value: Int32 = 0
        var size = socklen_t(MemoryLayout<Int32>.size)
        return getsockopt(socket, level, name, &value, &size) == 0 ? value : nil
    }

    private func holdsSoon(_ claim: () -> Bool) async throws -> Bool {
        for _ in 0..<300 {
            if claim() { return true }
            try await Task.sleep(for: .milliseconds(10))
        }
        return claim()
    }
}
