import Basics
import NIOCore
import NIOPosix
import Testing
import Wire

@testable import Transport

/// A listener on a free port of loopback that sends every frame back, with what happened on it.
final class EchoServer: Sendable {
    let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    let port: UInt16
    private let parts: NIOLoopBound<(TransportContext, Echo)>

    init(
        settings: TransportSettings = TransportSettings(), finishesHandshake: Bool = true, frameSizeMax: Int = 2_000_000,
        frameRateMin: Int? = nil, purpose: PortPurpose = .client, tls: (files: TLSFiles, owner: TLSSource.Owner)? = nil
    ) async throws {
        let loop = group.next()
        let (port, parts) = try await loop.flatSubmit {
            () -> EventLoopFuture<(UInt16, NIOLoopBound<(TransportContext, Echo)>)> in
            let promise = loop.makePromise(of: (UInt16, NIOLoopBound<(TransportContext, Echo)>).self)
            let source = tls.map { TLSSource(files: $0.files, owner: $0.owner) }
            let context = TransportContext(eventLoop: loop, settings: settings, tls: source)
            let echo = Echo(frameSizeMax: finishesHandshake ? frameSizeMax : nil, frameRateMin: frameRateMin)
            context.onRefused = { echo.refused($0) }
            source?.onEvent = { echo.changed($0) }
            let address = HostPort(host: "127.0.0.1", port: 0)
            Listener.bind(to: address, purpose: purpose, context: context, delegate: echo) { result in
                switch result {
                case .success(let listener):
                    echo.listener = listener
                    promise.succeed((listener.address.port, NIOLoopBound((context, echo), eventLoop: loop)))
                case .failure(let error): promise.fail(error)
                }
            }
            return promise.futureResult
        }.get()
        self.port = port
        self.parts = parts
    }

    deinit { group.shutdownGracefully { _ in } }

    func counters() async throws -> TransportCounters {
        try await group.next().submit { self.parts.value.0.counters }.get()
    }

    /// The reason of each connection's end, once `count` of them have ended.
    func ends(_ count: Int) async throws -> [ConnectionEnd] {
        try await group.next().flatSubmit { () -> EventLoopFuture<[ConnectionEnd]> in
            let echo = self.parts.value.1
            let promise = self.group.next().makePromise(of: [ConnectionEnd].self)
            echo.waiters.append((count, promise))
            echo.answerWaiters()
            return promise.futureResult
        }.get()
    }

    /// The first `count` connections that were turned away.
    func refusals(_ count: Int) async throws -> [RefusedConnection] {
        try await group.next().flatSubmit { () -> EventLoopFuture<[RefusedConnection]> in
            let echo = self.parts.value.1
            let promise = self.group.next().makePromise(of: [RefusedConnection].self)
            echo.refusalWaiters.append((count, promise))
            echo.answerWaiters()
            return promise.futureResult
        }.get()
    }

    /// What became of changes to the TLS files, after looking whether there are any.
    func refreshTLS() async throws -> [TLSSource.Event] {
        try await group.next().submit {
            self.parts.value.0.tls?.refresh()
            return self.parts.value.1.events
        }.get()
    }

    final class Echo: FrameConnectionDelegate {
        var listener: Listener?
        let frameSizeMax: Int?
        let frameRateMin: Int?
        var collected: [UInt64: [UInt8]] = [:]
        var ends: [ConnectionEnd] = []
        var refusals: [RefusedConnection] = []
        var events: [TLSSource.Event] = []
        var refusalWaiters: [(Int, EventLoopPromise<[RefusedConnection]>)] = []
        var waiters: [(Int, EventLoopPromise<[ConnectionEnd]>)] = []

        init(frameSizeMax: Int?, frameRateMin: Int? = nil) {
            self.frameSizeMax = frameSizeMax
            self.frameRateMin = frameRateMin
        }

        func opened(_ connection: FrameConnection) {
            if let frameSizeMax {
                connection.handshakeFinished(frameSizeMax: frameSizeMax, frameRateMin: frameRateMin)
            }
        }

        func received(_ header: FrameHeader, body: RawSpan, on connection: FrameConnection) {
            collected[connection.id, default: []] += frame(header.requestID, Array(body))
        }

        func readCompleted(on connection: FrameConnection) {
            guard let bytes = collected.removeValue(forKey: connection.id) else { return }
            connection.send(bytes)
        }

        func writabilityChanged(_ connection: FrameConnection) {}

        func closed(_ connection: FrameConnection, reason: ConnectionEnd) {
            ends.append(reason)
            answerWaiters()
        }

        func refused(_ connection: RefusedConnection) {
            refusals.append(connection)
            answerWaiters()
        }

        func changed(_ event: TLSSource.Event) { events.append(event) }

        func answerWaiters() {
            for (count, promise) in refusalWaiters where refusals.count >= count { promise.succeed(refusals) }
            refusalWaiters.removeAll { refusals.count >= $0.0 }
            for (count, promise) in waiters where ends.count >= count { promise.succeed(ends) }
            waiters.removeAll { ends.count >= $0.0 }
        }
    }
}

func frame(_ requestID: UInt64, _ body: [UInt8]) -> [UInt8] {
    var writer = ByteWriter()
    let start = writer.beginFrame(FrameHeader(kind: 7, requestID: requestID))
    writer.write(body)
    writer.endFrame(start)
    return writer.takeBytes()
}
