import Basics
import Foundation
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
        let accepted = try await holdsSoon { try areAsked(1, port: server.port, isLocal: true) }
        #expect(accepted)
        #expect(try areAsked(0, port: server.port, isLocal: false))

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
        let dialled = try await holdsSoon { try areAsked(1, port: server.port, isLocal: false) }
        #expect(dialled)
        let both = try await holdsSoon { try areAsked(2, port: server.port, isLocal: true) }
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

    /// Whether that many of the established connections with this port at one end have the kernel's timer for such
    /// questions, due in time.
    private func areAsked(_ count: Int, port: UInt16, isLocal: Bool) throws -> Bool {
        let keepAliveTimer = 2
        let ticksPerSecond = 100
        let suffix = String(format: ":%04X", Int(port))
        let table = try String(contentsOfFile: "/proc/self/net/tcp", encoding: .utf8)
        let asked = table.split(separator: "\n").dropFirst().count { line in
            // Number, local and remote address, state, queues, timer and when it is due: all hexadecimal.
            let fields = line.split(separator: " ")
            guard fields.count > 5, fields[3] == "01", fields[isLocal ? 1 : 2].hasSuffix(suffix) else { return false }
            let timer = fields[5].split(separator: ":").compactMap { Int($0, radix: 16) }
            guard timer.count == 2, timer[0] == keepAliveTimer else { return false }
            return Interval.seconds(Int64(timer[1] / ticksPerSecond)) <= Limits.keepAliveIdle
        }
        return asked == count
    }

    private func holdsSoon(_ claim: () throws -> Bool) async throws -> Bool {
        for _ in 0..<300 {
            if try claim() { return true }
            try await Task.sleep(for: .milliseconds(10))
        }
        return try claim()
    }
}
