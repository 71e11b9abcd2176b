import Basics
import NIOCore
import NIOPosix
import Telemetry
import Testing

@Suite("HTTP for probes and scrapes", .timeLimit(.minutes(1)))
struct HTTPServerTests {
    private static let page = HTTPAnswer(.ok, "all is well\n")

    private static func withServer(
        _ settings: HTTPServer.Settings = HTTPServer.Settings(), _ body: (HTTPServer) async throws -> Void
    ) async throws {
        let group = MultiThreadedEventLoopGroup.singleton
        let loop = group.next()
        let server = try await HTTPServer.start(
            on: HostPort(host: "127.0.0.1", port: 0), loop: loop, settings: settings
        ) { path in
            switch path {
            case "/page": loop.makeSucceededFuture(page)
            case "/never": loop.scheduleTask(in: .seconds(1)) { HTTPAnswer?.none }.futureResult
            default: loop.makeSucceededFuture(nil)
            }
        }
        do {
            try await body(server)
        } catch {
            await server.stop()
            throw error
        }
        await server.stop()
    }

    private static func talk(_ server: HTTPServer, _ request: String, endsInput: Bool = false) async throws -> String {
        try await RawHTTP.talk(to: server.address, request, endsInput: endsInput)
    }

    @Test("GET answers the page with its length, and ends the connection")
    func get() async throws {
        try await Self.withServer { server in
            let text = try await Self.talk(server, "GET /page?verbose HTTP/1.1\r\nHost: x\r\n\r\n")
            #expect(text.hasPrefix("HTTP/1.1 200 OK\r\n"))
            #expect(text.contains("\r\nContent-Length: 12\r\n"))
            #expect(text.lowercased().contains("\r\nconnection: close\r\n"))
            #expect(text.hasSuffix("\r\n\r\nall is well\n"))
        }
    }

    @Test("HEAD answers what GET would, without the page")
    func head() async throws {
        try await Self.withServer { server in
            let text = try await Self.talk(server, "HEAD /page HTTP/1.1\r\nHost: x\r\n\r\n")
            #expect(text.contains("\r\nContent-Length: 12\r\n"))
            #expect(text.hasSuffix("\r\n\r\n"))
        }
    }

    @Test(
        "what is no request for a page is refused by its name",
        arguments: [
            ("GET /other HTTP/1.1\r\nHost: x\r\n\r\n", "404"), ("POST /page HTTP/1.1\r\nHost: x\r\n\r\n", "405"),
            ("DELETE /page HTTP/1.1\r\nHost: x\r\n\r\n", "405"), ("\u{1}\u{2} rubbish\r\n\r\n", "400"),
            ("GET /page HTTP/1.1\r\nHost: x\r\nX: \(String(repeating: "a", count: 20_000))\r\n\r\n", "431"),
        ])
    func refusals(request: String, status: String) async throws {
        try await Self.withServer { server in
            let text = try await Self.talk(server, request)
            #expect(text.hasPrefix("HTTP/1.1 \(status) "), "\(text.prefix(200))")
            if status == "405" { #expect(text.contains("\r\nAllow: GET, HEAD\r\n")) }
        }
    }

    @Test("one request is answered on a connection; what follows it is not")
    func pipelining() async throws {
        try await Self.withServer { server in
            let request = "GET /page HTTP/1.1\r\nHost: x\r\n\r\n"
            let text = try await Self.talk(server, request + request + request)
            #expect(text.ranges(of: "HTTP/1.1 200").count == 1)
        }
    }

    @Test("a client that ends its half after the request is answered all the same")
    func halfClosed() async throws {
        try await Self.withServer { server in
            let text = try await Self.talk(server, "GET /page HTTP/1.1\r\nHost: x\r\n\r\n", endsInput: true)
            #expect(text.hasSuffix("all is well\n"))
        }
    }

    @Test("silence, a request that does not end and an answer that does not come end with the time allowed")
    func timeouts() async throws {
        var settings = HTTPServer.Settings()
        settings.exchangeTimeout = .milliseconds(200)
        try await Self.withServer(settings) { server in
            for request in ["", "GET /page HT", "GET /never HTTP/1.1\r\nHost: x\r\n\r\n"] {
                let text = try await Self.talk(server, request)
                #expect(text == "", "\(request)")
            }
        }
    }

    @Test("a connection above the limit is closed, and its place is free again when one ends")
    func connectionLimit() async throws {
        var settings = HTTPServer.Settings()
        settings.connectionsMax = 2
        try await Self.withServer(settings) { server in
            let bootstrap = ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            var held: [any Channel] = []
            for _ in 0..<2 {
                held.append(try await bootstrap.connect(host: "127.0.0.1", port: Int(server.address.port)).get())
            }
            let request = "GET /page HTTP/1.1\r\nHost: x\r\n\r\n"
            #expect(try await Self.talk(server, request) == "")
            try await held.removeLast().close()
            // The server hears of the close in its own time; until then it goes on refusing.
            var text = ""
            while text.isEmpty { text = try await Self.talk(server, request) }
            #expect(text.hasSuffix("all is well\n"))
            for channel in held { try await channel.close() }
        }
    }
}
