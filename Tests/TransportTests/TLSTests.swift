import Basics
import Foundation
import NIOCore
import NIOPosix
import Testing
import Wire

@testable import Transport

@Suite("TLS on loopback", .timeLimit(.minutes(2)))
struct TLSTests {
    @Test("A client and a node of one CA exchange frames, small and large")
    func framesUnderTLS() async throws {
        let certificates = try Certificates("n1")
        let server = try await EchoServer(tls: (certificates.files("n1"), .node("n1")))
        for size in [0, 1, 100_000, 1_900_000] {
            let body = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31) }
            #expect(try await dial(server, (certificates.files("client"), .client), body) == .answered(body))
        }
        let counters = try await server.counters()
        #expect(counters.connectionsOpened == 4)
        #expect(counters.connectionsRefused == 0)
    }

    @Test("Nodes call the peer port of one another; what a certificate names is known on both sides")
    func peers() async throws {
        let certificates = try Certificates("n1", "n2")
        let server = try await EchoServer(purpose: .peer, tls: (certificates.files("n1"), .node("n1")))
        #expect(try await dial(server, (certificates.files("n2"), .node("n2")), [1]) == .answered([1], from: ["n1"]))
    }

    @Test("Another CA: both sides say so, and name the file that would have to hold it")
    func wrongAuthority() async throws {
        let (ours, theirs) = (try Certificates("n1"), try Certificates("n1"))
        let server = try await EchoServer(tls: (ours.files("n1"), .node("n1")))
        // The client does not trust the node …
        let distrusting = try await dial(server, (theirs.files("client"), .client), [1])
        #expect(distrusting.text.contains("was not signed by a CA in \(theirs.directory)/ca.pem (--tls-ca)"))
        // … and the node does not trust the client.
        let distrusted = theirs.files("client", authority: "\(ours.directory)/ca.pem")
        let outcome = try await dial(server, (distrusted, .client), [1])
        #expect(outcome.text.contains("it refuses the certificate in \(distrusted.certificate) (--tls-cert)"))
        #expect(outcome.text.contains("both sides need certificates of one CA"))
        let refusals = try await server.refusals(2)
        #expect(refusals[0].reason.contains("does not know the CA that signed it"))
        #expect(refusals[1].reason.contains("was not signed by a CA in \(ours.directory)/ca.pem"))
        #expect(refusals.allSatisfy { $0.remoteHost == "127.0.0.1" && $0.port == .client })
        #expect(try await server.counters().connectionsOpened == 0)
    }

    @Test("An expired certificate is refused by either side, with the day")
    func expired() async throws {
        let certificates = try Certificates("n1")
        let server = try await EchoServer(tls: (certificates.files("n1"), .node("n1")))
        let old = try certificates.sign("old", uri: "quorate://client/old", days: -1)
        let refused = try await dial(server, (old, .client), [1])
        #expect(refused.text.contains("old.pem (--tls-cert): it has expired; renew it"))
        #expect(try await server.refusals(1)[0].reason.contains("its certificate expired on 20"))

        let oldNode = try certificates.sign("oldnode", uri: "quorate://peer/n1", days: -1)
        let oldServer = try await EchoServer(tls: (oldNode, .node("n1")))
        let distrusted = try await dial(oldServer, (certificates.files("client"), .client), [1])
        #expect(distrusted.text.contains("its certificate expired on 20"))
        #expect(try await oldServer.refusals(1)[0].reason.contains("it has expired; renew it"))
    }

    @Test("A client's certificate opens no peer port, whatever is asked for there")
    func clientCertificateOnPeerPort() async throws {
        let certificates = try Certificates("n1")
        let server = try await EchoServer(purpose: .peer, tls: (certificates.files("n1"), .node("n1")))
        let outcome = try await dial(server, (certificates.files("client"), .client), [1])
        #expect(outcome.text.contains("is no client port of a node"))
        // One who pretends to be a node reads the reason.
        let seen = try certificates.openssl("client", port: server.port, protocol: "quorate-peer/1")
        #expect(seen.contains("quorate: the certificate belongs to the client client, and this port is for nodes only"))
        for refusal in try await server.refusals(2) {
            #expect(refusal.reason.contains("this port is for nodes only"))
            #expect(refusal.port == .peer)
        }
        #expect(try await server.counters().connectionsOpened == 0)
    }

    @Test("A well-signed certificate that names nobody opens no port, and is no node's")
    func certificateWithoutRole() async throws {
        let certificates = try Certificates("n1")
        _ = try certificates.sign("web", uri: nil)
        let server = try await EchoServer(tls: (certificates.files("n1"), .node("n1")))
        let seen = try certificates.openssl("web", port: server.port, protocol: "quorate-client/1")
        #expect(seen.contains("quorate: the certificate names neither a node nor a client"))
        #expect(try await server.refusals(1)[0].reason.contains("quorate://client/NAME"))
        #expect(try await server.counters().connectionsOpened == 0)
        #expect(throws: TLSFilesError.self) {
            try TLSSource(files: certificates.files("web"), owner: .client).load()
        }
        #expect(throws: TLSFilesError.self) {
            try TLSSource(files: certificates.files("n1"), owner: .node("n2")).load()
        }
    }

    @Test("A client's certificate stands for no node, and one for calling only cannot be called")
    func callee() async throws {
        let certificates = try Certificates("n1")
        // With the name of a node, but made for calling only.
        let caller = try certificates.sign("caller", uri: "quorate://peer/n1", usage: "clientAuth")
        let server = try await EchoServer(tls: (caller, .node("n1")))
        let outcome = try await dial(server, (certificates.files("client"), .client), [1])
        #expect(outcome.text.contains("or not for this use"))
        let impostor = try await EchoServer(tls: (certificates.files("client"), .client))
        let second = try await dial(impostor, (certificates.files("client"), .client), [1])
        #expect(!second.isAnswer)
    }

    @Test("Plain text on a TLS port, and TLS on a plain port: both sides say which is which")
    func plainAndTLS() async throws {
        let certificates = try Certificates("n1")
        let secure = try await EchoServer(tls: (certificates.files("n1"), .node("n1")))
        let plainClient = try await dial(secure, nil, [1])
        #expect(plainClient.text == "it speaks TLS: give --tls-cert, --tls-key and --tls-ca")
        #expect(try await secure.refusals(1)[0].reason.contains("it speaks plain text, and this port TLS"))

        let browser = try RawPeer(port: secure.port)
        browser.send(Array("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".utf8))
        #expect(browser.isClosedByPeer())
        #expect(try await secure.refusals(2)[1].reason.contains("it speaks plain text, and this port TLS"))

        let plain = try await EchoServer(finishesHandshake: false)
        let tlsClient = try await dial(plain, (certificates.files("client"), .client), [1])
        #expect(tlsClient.text.contains("it answers in plain text"))
        let refusal = try await plain.refusals(1)[0]
        #expect(refusal.reason.contains("this node was started without --tls-cert"))
    }

    @Test("TLS before 1.3, no certificate, and no protocol named: each is refused by name")
    func handshakesThatLackSomething() async throws {
        let certificates = try Certificates("n1")
        let server = try await EchoServer(tls: (certificates.files("n1"), .node("n1")))
        _ = try certificates.openssl("client", port: server.port, protocol: "quorate-client/1", further: ["-tls1_2"])
        _ = try certificates.openssl(nil, port: server.port, protocol: "quorate-client/1")
        let seen = try certificates.openssl("client", port: server.port, protocol: "h2")
        #expect(seen.contains("quorate: this is the client port of a node"))
        let reasons = try await server.refusals(3).map(\.reason)
        #expect(reasons[0].contains("does not speak TLS 1.3"))
        #expect(reasons[1].contains("it shows no certificate"))
        #expect(reasons[2].contains("quorate-client/1 (ALPN)"))
        #expect(try await server.counters().connectionsOpened == 0)
    }

    @Test("Rubbish and silence on a TLS port end, and harm nobody")
    func rubbishAndSilence() async throws {
        let certificates = try Certificates("n1")
        var settings = TransportSettings()
        settings.handshakeTimeout = .milliseconds(300)
        let server = try await EchoServer(settings: settings, tls: (certificates.files("n1"), .node("n1")))
        let silent = try RawPeer(port: server.port)
        #expect(silent.isClosedByPeer())
        #expect(try await server.counters().timeouts == 1)
        for _ in 0..<50 {
            let peer = try RawPeer(port: server.port)
            peer.send((0..<3_000).map { _ in UInt8.random(in: 0...255) })
            #expect(peer.isClosedByPeer())
        }
        #expect(try await dial(server, (certificates.files("client"), .client), [7]).isAnswer)
    }

    @Test("Those who do not say who they are have few places, and give them back")
    func halfOpenLimit() async throws {
        let certificates = try Certificates("n1")
        var settings = TransportSettings()
        settings.halfOpenPerAddressMax = 3
        let server = try await EchoServer(settings: settings, tls: (certificates.files("n1"), .node("n1")))
        var silent: [RawPeer] = []
        for _ in 0..<3 { silent.append(try RawPeer(port: server.port)) }
        let fourth = try RawPeer(port: server.port)
        #expect(fourth.isClosedByPeer())
        #expect(try await server.refusals(1)[0].reason.contains("have not said who they are"))
        silent.removeAll()
        // Their ends are noticed in a moment.
        var outcome = Outcome.failed("never tried")
        for _ in 0..<100 where !outcome.isAnswer {
            outcome = try await dial(server, (certificates.files("client"), .client), [1])
        }
        #expect(outcome.isAnswer)
    }

    @Test("New files are used for new connections, those that are open go on; broken files change nothing")
    func replacedFiles() async throws {
        let certificates = try Certificates("n1")
        let before = certificates.files("n1")
        let server = try await EchoServer(tls: (before, .node("n1")))
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        defer { group.shutdownGracefully { _ in } }
        let client = (certificates.files("client"), TLSSource.Owner.client)
        let held = try await HeldConnection(group.next(), server.port, client)
        #expect(try await held.echo([1]) == [1])

        // A certificate without its key is what the node sees in the middle of a replacement, or of a mistake.
        let key = try Data(contentsOf: URL(filePath: before.key))
        _ = try certificates.sign("other", uri: "quorate://peer/n1")
        let other = try Data(contentsOf: URL(filePath: "\(certificates.directory)/other.key"))
        try other.write(to: URL(filePath: before.key))
        #expect(try await server.refreshTLS().isEmpty)
        try await Task.sleep(for: .seconds(1))
        let events = try await server.refreshTLS()
        guard case .kept(let error)? = events.first, events.count == 1 else {
            Issue.record("a broken key went unnoticed: \(events)")
            return
        }
        #expect(error.message.contains("is not that of the certificate"))
        #expect(try await dial(server, client, [2]).isAnswer)
        #expect(try await server.refreshTLS().count == 1, "the same error is said once")

        // A new CA, and new certificates for both.
        try key.write(to: URL(filePath: before.key))
        for name in ["ca.pem", "ca.key"] { try FileManager.default.removeItem(atPath: "\(certificates.directory)/\(name)") }
        try certificates.make(["n1"])
        guard case .reloaded? = try await server.refreshTLS().last else {
            Issue.record("new files were not taken")
            return
        }
        #expect(try await dial(server, client, [3]).isAnswer)
        #expect(try await held.echo([4]) == [4])
    }

    // MARK: Dialling

    enum Outcome: Equatable {
        /// The echo, and the nodes that the other side's certificate names.
        case answered([UInt8], from: [String] = ["n1"])
        case failed(String)

        var isAnswer: Bool { if case .answered = self { true } else { false } }
        var text: String { if case .failed(let text) = self { text } else { "answered" } }
    }

    private func dial(
        _ server: EchoServer, _ tls: (files: TLSFiles, owner: TLSSource.Owner)?, _ body: [UInt8]
    ) async throws -> Outcome {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        defer { group.shutdownGracefully { _ in } }
        let loop = group.next()
        let port = server.port
        return try await loop.flatSubmit { () -> EventLoopFuture<Outcome> in
            let promise = loop.makePromise(of: Outcome.self)
            let delegate = OneAnswer(promise)
            let source = tls.map { TLSSource(files: $0.files, owner: $0.owner) }
            let context = TransportContext(eventLoop: loop, tls: source)
            let address = HostPort(host: "127.0.0.1", port: port)
            Dialer.connect(to: address, timeout: .seconds(10), context: context, delegate: delegate) { result in
                switch result {
                case .success(let connection): connection.send(frame(5, body))
                case .failure(.untrusted(let text)): promise.succeed(.failed(text))
                case .failure(let failure): promise.succeed(.failed("\(failure)"))
                }
            }
            return promise.futureResult
        }.get()
    }

    private final class OneAnswer: FrameConnectionDelegate {
        let promise: EventLoopPromise<Outcome>
        init(_ promise: EventLoopPromise<Outcome>) { self.promise = promise }

        func opened(_ connection: FrameConnection) {
            if connection.certificateIdentity != nil { connection.handshakeFinished(frameSizeMax: 4_000_000) }
        }
        func received(_ header: FrameHeader, body: RawSpan, on connection: FrameConnection) {
            promise.succeed(.answered(Array(body), from: connection.certificateIdentity?.nodes ?? []))
            connection.close()
        }
        func readCompleted(on connection: FrameConnection) {}
        func writabilityChanged(_ connection: FrameConnection) {}
        func closed(_ connection: FrameConnection, reason: ConnectionEnd) { promise.succeed(.failed("\(reason)")) }
    }
}

/// A dialled connection that stays open.
private final class HeldConnection: Sendable {
    private let loop: any EventLoop
    private let parts: NIOLoopBound<(FrameConnection, Answers)>

    init(_ loop: any EventLoop, _ port: UInt16, _ tls: (files: TLSFiles, owner: TLSSource.Owner)) async throws {
        self.loop = loop
        parts = try await loop.flatSubmit {
            let promise = loop.makePromise(of: NIOLoopBound<(FrameConnection, Answers)>.self)
            let context = TransportContext(eventLoop: loop, tls: TLSSource(files: tls.files, owner: tls.owner))
            let answers = Answers()
            let address = HostPort(host: "127.0.0.1", port: port)
            Dialer.connect(to: address, timeout: .seconds(10), context: context, delegate: answers) { result in
                switch result {
                case .success(let connection): promise.succeed(NIOLoopBound((connection, answers), eventLoop: loop))
                case .failure(let failure): promise.fail(failure)
                }
            }
            return promise.futureResult
        }.get()
    }

    func echo(_ body: [UInt8]) async throws -> [UInt8] {
        try await loop.flatSubmit { () -> EventLoopFuture<[UInt8]> in
            let (connection, answers) = self.parts.value
            let promise = self.loop.makePromise(of: [UInt8].self)
            guard !answers.isClosed else { return self.loop.makeFailedFuture(ConnectFailure.failed("closed before")) }
            answers.waiting = promise
            connection.handshakeFinished(frameSizeMax: 1_000)
            connection.send(frame(1, body))
            return promise.futureResult
        }.get()
    }

    final class Answers: FrameConnectionDelegate {
        var waiting: EventLoopPromise<[UInt8]>?
        var isClosed = false

        func opened(_ connection: FrameConnection) {}
        func received(_ header: FrameHeader, body: RawSpan, on connection: FrameConnection) {
            waiting?.succeed(Array(body))
            waiting = nil
        }
        func readCompleted(on connection: FrameConnection) {}
        func writabilityChanged(_ connection: FrameConnection) {}
        func closed(_ connection: FrameConnection, reason: ConnectionEnd) {
            isClosed = true
            waiting?.fail(ConnectFailure.failed("\(reason)"))
            waiting = nil
        }
    }
}
