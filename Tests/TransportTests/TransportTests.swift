import Basics
import Glibc
import NIOCore
import NIOPosix
import Testing
import Wire

@testable import Transport

@Suite("Transport on loopback", .timeLimit(.minutes(1)))
struct TransportTests {
    @Test("A frame that arrives byte by byte is one frame")
    func frameArrivesByteByByte() async throws {
        let server = try await EchoServer()
        let peer = try RawPeer(port: server.port)
        let sent = frame(42, Array("hello".utf8))
        for byte in sent { #expect(peer.send([byte])) }
        #expect(peer.receive(sent.count) == sent)
        #expect(try await server.counters().framesReceived == 1)
    }

    @Test("Many frames in one read are each delivered, in order, and the cut one at the end is kept")
    func manyFramesInOneRead() async throws {
        let server = try await EchoServer()
        let peer = try RawPeer(port: server.port)
        let all = (1...2_000).flatMap { frame($0, [UInt8](repeating: UInt8($0 % 251), count: Int($0) % 97)) }
        let cut = all.count - 30
        #expect(peer.send(Array(all[..<cut])))
        #expect(peer.send(Array(all[cut...])))
        #expect(peer.receive(all.count) == all)
        #expect(try await server.counters().framesReceived == 2_000)
    }

    @Test("A frame of a megabyte, in pieces of odd sizes, comes back whole")
    func largeFrameInPieces() async throws {
        let server = try await EchoServer()
        let peer = try RawPeer(port: server.port)
        let sent = frame(1, (0..<1_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31) })
        var offset = 0
        while offset < sent.count {
            let next = min(sent.count, offset + 77_777)
            #expect(peer.send(Array(sent[offset..<next])))
            offset = next
        }
        #expect(peer.receive(sent.count) == sent)
    }

    @Test("A wrong checksum closes the connection, and the frames before it still count")
    func wrongChecksumCloses() async throws {
        let server = try await EchoServer()
        let peer = try RawPeer(port: server.port)
        var bad = frame(2, [1, 2, 3])
        bad[bad.count - 1] ^= 1
        peer.send(frame(1, []) + bad + frame(3, []))
        #expect(peer.isClosedByPeer())
        let counters = try await server.counters()
        #expect(counters.framesReceived == 1)
        #expect(counters.badFrames == 1)
        guard case .badFrame(.checksumMismatch) = try await server.ends(1)[0] else {
            Issue.record("ended for another reason")
            return
        }
    }

    @Test("A length above the limit closes the connection before its body has come")
    func oversizeCloses() async throws {
        let server = try await EchoServer(frameSizeMax: 10_000)
        let peer = try RawPeer(port: server.port)
        peer.send([0xFF, 0xFF, 0xFF, 0x7F])
        #expect(peer.isClosedByPeer())
        #expect(try await server.ends(1) == [.badFrame(.tooLarge(0x7FFF_FFFF))])
    }

    @Test("Before the handshake a frame may have 4 KiB, not more")
    func strangersFramesAreSmall() async throws {
        let server = try await EchoServer(finishesHandshake: false)
        let largest = frame(1, [UInt8](repeating: 7, count: Limits.frameSizeBeforeHelloMax - FrameFormat.overhead))
        let honest = try RawPeer(port: server.port)
        honest.send(largest)
        #expect(honest.receive(largest.count) == largest)
        let greedy = try RawPeer(port: server.port)
        greedy.send(frame(1, [UInt8](repeating: 7, count: Limits.frameSizeBeforeHelloMax)))
        #expect(greedy.isClosedByPeer())
    }

    @Test("A megabyte of rubbish costs its sender the connection, and a neighbour nothing")
    func rubbishHarmsNobodyElse() async throws {
        let server = try await EchoServer()
        let neighbour = try RawPeer(port: server.port)
        var generator = SplitMix64(seed: 20)
        for round in 1...10 as ClosedRange<UInt64> {
            let rubbish = try RawPeer(port: server.port)
            // The first byte of the length is large, so that no round can be an honest beginning.
            rubbish.send([0, 0, 0, 0xFF] + (0..<100_000).map { _ in UInt8(truncatingIfNeeded: generator.next()) })
            #expect(rubbish.isClosedByPeer())
            let sent = frame(round, [1, 2, 3])
            neighbour.send(sent)
            #expect(neighbour.receive(sent.count) == sent)
        }
        #expect(try await server.counters().badFrames == 10)
    }

    @Test("A peer that never says hello is closed when its time is over")
    func handshakeTimesOut() async throws {
        var settings = TransportSettings()
        settings.handshakeTimeout = .milliseconds(50)
        let server = try await EchoServer(settings: settings, finishesHandshake: false)
        let peer = try RawPeer(port: server.port)
        #expect(peer.isClosedByPeer())
        #expect(try await server.ends(1) == [.handshakeTimeout])
    }

    @Test("Silence inside a frame ends the connection; silence between frames does not")
    func silenceInsideFrame() async throws {
        var settings = TransportSettings()
        settings.frameSilenceMax = .milliseconds(50)
        let server = try await EchoServer(settings: settings)
        let quiet = try RawPeer(port: server.port)
        let sent = frame(1, [])
        quiet.send(sent)
        #expect(quiet.receive(sent.count) == sent)
        let stuck = try RawPeer(port: server.port)
        stuck.send(Array(sent[..<7]))
        #expect(stuck.isClosedByPeer())
        #expect(try await server.ends(1) == [.silentInsideFrame])
        quiet.send(sent)
        #expect(quiet.receive(sent.count) == sent)
    }

    @Test("A frame whose length was damaged on the way does not take everything behind it for its body for ever")
    func frameThatNeverEnds() async throws {
        var settings = TransportSettings()
        settings.frameTimeMax = .milliseconds(100)
        let server = try await EchoServer(settings: settings, frameRateMin: 10_000_000)
        let peer = try RawPeer(port: server.port)
        let sent = frame(1, [1, 2, 3])
        peer.send(sent)
        #expect(peer.receive(sent.count) == sent)
        var damaged = sent
        damaged[2] ^= 0x10  // a mebibyte more
        peer.send(damaged)
        // Sound frames keep coming, as heartbeats would; none of them is heard, so that silence alone never tells.
        var count = 0
        while count < 10_000, peer.send(sent) {
            count += 1
            usleep(1_000)
        }
        #expect(count < 10_000)
        #expect(try await server.ends(1) == [.silentInsideFrame])
        #expect(try await server.counters().framesReceived == 1)
    }

    @Test("A peer that does not read what it asked for is given up at the bound")
    func slowReaderIsGivenUp() async throws {
        var settings = TransportSettings()
        settings.writeHighWaterMark = 65_536
        settings.writeLowWaterMark = 16_384
        settings.pendingWriteSizeMax = 1_000_000
        let server = try await EchoServer(settings: settings)
        let peer = try RawPeer(port: server.port)
        let large = frame(1, [UInt8](repeating: 1, count: 1_000_000))
        var rounds = 0
        while rounds < 100, peer.send(large) { rounds += 1 }
        #expect(rounds < 100)
        guard case .slowReader = try await server.ends(1)[0] else {
            Issue.record("ended for another reason")
            return
        }
    }

    @Test("Peers that together leave too much unread are given up until there is room; one that reads stays")
    func slowReadersTogether() async throws {
        var settings = TransportSettings()
        settings.writeHighWaterMark = 65_536
        settings.writeLowWaterMark = 16_384
        settings.unsentSizeMax = 20_000_000
        let server = try await EchoServer(settings: settings)
        let reader = try RawPeer(port: server.port)
        let slow = try (0..<6).map { _ in try RawPeer(port: server.port) }
        // For none of them alone it is too much.
        let large = frame(1, [UInt8](repeating: 1, count: 999_000))
        for peer in slow { for _ in 0..<20 { peer.send(large) } }
        guard case .slowReader(let pendingBytes) = try await server.ends(1)[0] else {
            Issue.record("ended for another reason")
            return
        }
        #expect(pendingBytes < settings.unsentSizeMax)
        let sent = frame(2, [9])
        reader.send(sent)
        #expect(reader.receive(sent.count) == sent)
        withExtendedLifetime(slow) {}
    }

    @Test("Connections above the limit of an address are closed at once, and a freed place can be taken")
    func connectionCap() async throws {
        var settings = TransportSettings()
        settings.connectionsPerAddressMax = 2
        let server = try await EchoServer(settings: settings)
        let sent = frame(1, [9])
        let first = try RawPeer(port: server.port)
        var second: RawPeer? = try RawPeer(port: server.port)
        for peer in [first, second!] {
            peer.send(sent)
            #expect(peer.receive(sent.count) == sent)
        }
        #expect(try RawPeer(port: server.port).isClosedByPeer())
        #expect(try await server.counters().connectionsRefused == 1)
        second = nil
        #expect(try await server.ends(1) == [.closedByPeer])
        let third = try RawPeer(port: server.port)
        third.send(sent)
        #expect(third.receive(sent.count) == sent)
    }

    @Test("A dialled connection carries frames both ways")
    func dialledConnection() async throws {
        let server = try await EchoServer()
        let (opened, body) = try await dial(HostPort(host: "127.0.0.1", port: server.port), sending: frame(5, [1, 2]))
        #expect(opened)
        #expect(body == [1, 2])
    }

    @Test("The owner hears of an end that it caused itself after its call, never inside it")
    func closedComesInALaterTurn() async throws {
        let server = try await EchoServer()
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        defer { group.shutdownGracefully { _ in } }
        let loop = group.next()
        let wasInside = try await loop.flatSubmit { () -> EventLoopFuture<Bool> in
            let promise = loop.makePromise(of: Bool.self)
            let delegate = Closer(promise: promise)
            let address = HostPort(host: "127.0.0.1", port: server.port)
            Dialer.connect(
                to: address, timeout: .seconds(5), context: TransportContext(eventLoop: loop), delegate: delegate
            ) { if case .failure(let error) = $0 { promise.fail(error) } }
            return promise.futureResult
        }.get()
        #expect(!wasInside)
    }

    private final class Closer: FrameConnectionDelegate {
        let promise: EventLoopPromise<Bool>
        var isClosing = false

        init(promise: EventLoopPromise<Bool>) { self.promise = promise }

        func opened(_ connection: FrameConnection) {
            isClosing = true
            connection.close()
            isClosing = false
        }
        func received(_ header: FrameHeader, body: RawSpan, on connection: FrameConnection) {}
        func readCompleted(on connection: FrameConnection) {}
        func writabilityChanged(_ connection: FrameConnection) {}
        func closed(_ connection: FrameConnection, reason: ConnectionEnd) { promise.succeed(isClosing) }
    }

    @Test("A port where nobody listens is refused, a name without address is unknown")
    func dialFailures() async throws {
        let port: UInt16
        do {
            // A port that was free a moment ago: bound, then closed.
            let server = try await EchoServer()
            port = server.port
            try await server.group.shutdownGracefully()
        }
        await #expect(throws: ConnectFailure.refused) {
            try await dial(HostPort(host: "127.0.0.1", port: port), sending: [])
        }
        await #expect(throws: ConnectFailure.unknownHost("no-such-host.invalid")) {
            try await dial(HostPort(host: "no-such-host.invalid", port: port), sending: [])
        }
    }

    @Test("An address that is in use cannot be bound, and the error names it")
    func bindFailure() async throws {
        let server = try await EchoServer()
        let loop = server.group.next()
        let message = try await loop.flatSubmit { () -> EventLoopFuture<String> in
            let promise = loop.makePromise(of: String.self)
            let context = TransportContext(eventLoop: loop)
            let delegate = EchoServer.Echo(frameSizeMax: nil)
            Listener.bind(to: HostPort(host: "127.0.0.1", port: server.port), context: context, delegate: delegate) {
                switch $0 {
                case .success: promise.succeed("bound twice")
                case .failure(let error): promise.succeed(error.description)
                }
            }
            return promise.futureResult
        }.get()
        #expect(message.hasPrefix("cannot listen on 127.0.0.1:\(server.port): "))
        #expect(message.contains("in use"))
    }

    /// Connects, sends, and returns whether `opened` came and the body of the first frame that comes back.
    @discardableResult
    private func dial(_ address: HostPort, sending bytes: [UInt8]) async throws -> (Bool, [UInt8]) {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        defer { group.shutdownGracefully { _ in } }
        let loop = group.next()
        return try await loop.flatSubmit { () -> EventLoopFuture<(Bool, [UInt8])> in
            let promise = loop.makePromise(of: (Bool, [UInt8]).self)
            let delegate = FirstFrame(promise: promise)
            let context = TransportContext(eventLoop: loop)
            Dialer.connect(to: address, timeout: .seconds(5), context: context, delegate: delegate) { result in
                switch result {
                case .success(let connection): connection.send(bytes)
                case .failure(let error): promise.fail(error)
                }
            }
            return promise.futureResult
        }.get()
    }

    private final class FirstFrame: FrameConnectionDelegate {
        let promise: EventLoopPromise<(Bool, [UInt8])>
        var hasOpened = false

        init(promise: EventLoopPromise<(Bool, [UInt8])>) { self.promise = promise }

        func opened(_ connection: FrameConnection) {
            hasOpened = true
            connection.handshakeFinished(frameSizeMax: 1_000_000)
        }
        func received(_ header: FrameHeader, body: RawSpan, on connection: FrameConnection) {
            promise.succeed((hasOpened, Array(body)))
            connection.close()
        }
        func readCompleted(on connection: FrameConnection) {}
        func writabilityChanged(_ connection: FrameConnection) {}
        func closed(_ connection: FrameConnection, reason: ConnectionEnd) {}
    }
}
