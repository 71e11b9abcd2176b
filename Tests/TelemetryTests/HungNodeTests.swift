import Basics
import Logging
import Synchronization
import Testing

@testable import Server

@Suite("A node that hangs", .timeLimit(.minutes(1)))
struct HungNodeTests {
    @Test("it is said to hang, by livez, readyz and metrics, and it is asked once, however many want to know")
    func hangs() async throws {
        let asked = Atomic(0)
        let configuration = ServerConfiguration(
            name: "n1", dataDirectory: "nowhere", clientListen: HostPort(host: "127.0.0.1", port: 0),
            peerListen: HostPort(host: "127.0.0.1", port: 0))
        let port = try await TelemetryPort.start(
            on: HostPort(host: "127.0.0.1", port: 0), configuration: configuration,
            logger: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })
        ) { _ in asked.add(1, ordering: .relaxed) }
        let address = port.address
        let pages = try await withThrowingTaskGroup(of: (String, String).self) { group in
            for path in ["/livez", "/readyz", "/metrics"] + Array(repeating: "/metrics", count: 20) {
                group.addTask { (path, try await RawHTTP.get(path, from: address)) }
            }
            return try await group.reduce(into: [:]) { $0[$1.0] = $1.1 }
        }
        for path in ["/livez", "/readyz"] {
            let page = try #require(pages[path])
            #expect(page.hasPrefix("HTTP/1.1 503 "))
            #expect(page.contains("\r\n\r\nfailed the node has not answered for 2 s: its event loop hangs."))
        }
        let metrics = try #require(pages["/metrics"])
        #expect(metrics.hasPrefix("HTTP/1.1 200 "))
        #expect(metrics.contains("\nquorate_up 0\n"))
        #expect(metrics.contains("\nprocess_cpu_seconds_total "))
        #expect(asked.load(ordering: .relaxed) == 1)
        await port.stop()
    }
}
