internal import ArgumentParser
internal import Basics
internal import Glibc
internal import MetadataModel
internal import NIOCore
internal import NIOPosix
internal import Transport
internal import Wire

/// Loads a running cluster and prints what it did as one line of JSON. It speaks the protocol itself, with as little
/// work per request as it can, because it shares the machine with what it measures.
@main
struct QuorateLoad: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "quorate-load", abstract: "Load a cluster and print throughput, latency and what it cost.")

    enum Mode: String, ExpressibleByArgument { case write, read, load, sessions }
    enum Level: String, ExpressibleByArgument { case linearizable, stale }
    enum Target: String, ExpressibleByArgument { case leader, all }

    @Argument(
        help: """
            write or read for some seconds; load: put every key once; sessions: open many, keep them alive, let them
            end.
            """)
    var mode: Mode
    @Option(help: "Client addresses, separated by commas.")
    var endpoints = "127.0.0.1:7400,127.0.0.1:7401,127.0.0.1:7402"
    @Option(help: "All connections to the leader, or spread over all endpoints.") var target = Target.leader
    @Option(help: "How many connections.") var connections = 100
    @Option(help: "Requests under way on each.") var inFlight = 10
    @Option(help: "How many different keys.") var keys = 10_000
    @Option(help: "Bytes of a value.") var valueSize = 256
    @Option(help: "Seconds measured.") var seconds = 10.0
    @Option(help: "Seconds before that.") var warmUp = 2.0
    @Option(help: "How fresh reads must be.") var readLevel = Level.linearizable
    @Option(help: "Requests a second, each at its time, also when those before it are late; else as many as can be.")
    var rate: Int?
    @Flag(
        help: """
            Read lines from standard input: each begins a window of this name, which is told apart; the end of the input
            ends the run.
            """)
    var windows = false
    @Option(help: "How many sessions.") var sessions = 10_000
    @Option(help: "Their timeout in seconds.") var ttl = 10.0
    @Option(help: "Sessions that one keep-alive names.") var sessionsPerKeepAlive = 1
    @Option(help: "Server processes whose time and memory are told, separated by commas.") var pids = ""
    @Option(help: "Own certificate (PEM); with --tls-key and --tls-ca all connections are TLS.") var tlsCert: String?
    @Option(help: "The certificate's private key (PEM).") var tlsKey: String?
    @Option(help: "Certificates of the CAs that are trusted (PEM).") var tlsCa: String?
    @Option(help: "Draws the keys.") var seed: UInt64 = 1

    func validate() throws {
        guard connections > 0, keys > 0, valueSize >= 0, seconds > 0, warmUp >= 0, seconds + warmUp < 86_400 else {
            throw ValidationError("--connections, --keys and --seconds must be above 0")
        }
        guard (1...Limits.requestsPerConnectionMax).contains(inFlight) else {
            throw ValidationError("--in-flight must be from 1 to \(Limits.requestsPerConnectionMax)")
        }
        let tlsFlags = [tlsCert, tlsKey, tlsCa].count { $0 != nil }
        guard tlsFlags == 0 || tlsFlags == 3 else {
            throw ValidationError("--tls-cert, --tls-key and --tls-ca go together")
        }
        guard sessions >= connections || mode != .sessions, (1...3_600).contains(ttl) else {
            throw ValidationError("--sessions must be at least --connections, and --ttl from 1 to 3600")
        }
        guard (1...4_096).contains(sessionsPerKeepAlive) else {
            throw ValidationError("--sessions-per-keep-alive must be from 1 to 4096")
        }
        guard rate ?? 1 > 0 else { throw ValidationError("--rate must be above 0") }
        guard valueSize <= Limits.valueSizeMaxDefault else { throw ValidationError("--value-size is too large") }
    }

    func run() async throws {
        let plan = try plan()
        guard mode != .sessions else { return try await runSessions(plan) }
        let workload = Workload(
            operation: Workload.Operation(rawValue: mode.rawValue) ?? .write,
            readLevel: readLevel == .stale ? .stale : .linearizable, keyCount: keys, valueSize: valueSize, seed: seed)
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let report = try await Self.report(of: plan, workload, on: loop)
        print(report.json(command: Array(CommandLine.arguments.dropFirst())))
        guard report.errors.isEmpty else { throw ExitCode(1) }
    }

    private static func report(
        of plan: LoadRun.Plan, _ workload: Workload, on loop: any EventLoop
    ) async throws -> LoadReport {
        let promise = loop.makePromise(of: LoadReport.self)
        loop.execute {
            let context = TransportContext(
                eventLoop: loop, tls: plan.tls.map { TLSSource(files: $0, owner: .client) })
            let run = LoadRun(plan, workload: workload, context: context) { promise.completeWith($0.mapError { $0 }) }
            run.start()
            if plan.hasWindows { Self.readWindows(NIOLoopBound(run, eventLoop: loop), on: loop) }
        }
        return try await promise.futureResult.get()
    }

    private func runSessions(_ plan: LoadRun.Plan) async throws {
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let promise = loop.makePromise(of: SessionReport.self)
        let sessionPlan = SessionRun.Plan(
            sessionCount: sessions, timeout: .nanoseconds(Int64(ttl * 1e9)), sessionsPerKeepAlive: sessionsPerKeepAlive)
        loop.execute {
            let context = TransportContext(
                eventLoop: loop, tls: plan.tls.map { TLSSource(files: $0, owner: .client) })
            SessionRun(plan, sessionPlan, context: context) { promise.completeWith($0.mapError { $0 }) }.start()
        }
        let report = try await promise.futureResult.get()
        print(report.json(command: Array(CommandLine.arguments.dropFirst())))
        guard report.isClean else { throw ExitCode(1) }
    }

    private static func readWindows(_ run: NIOLoopBound<LoadRun>, on loop: any EventLoop) {
        NIOThreadPool.singleton.submit { _ in
            while let name = readLine() { loop.execute { run.value.beginWindow(name) } }
            loop.execute { run.value.end() }
        }
    }

    private func plan() throws -> LoadRun.Plan {
        let addresses = try endpoints.split(separator: ",").map { text in
            guard let address = HostPort(String(text)) else { throw ValidationError("\(text) is not HOST:PORT") }
            return address
        }
        guard !addresses.isEmpty else { throw ValidationError("--endpoints names nobody") }
        let processes = try pids.split(separator: ",").map { text in
            guard let process = Int32(text) else { throw ValidationError("\(text) is not a process id") }
            return process
        }
        return LoadRun.Plan(
            endpoints: addresses, usesAllNodes: target == .all, connectionCount: connections, inFlight: inFlight,
            warmUp: .nanoseconds(Int64(warmUp * 1e9)), duration: .nanoseconds(Int64(seconds * 1e9)),
            rate: rate, hasWindows: windows, tls: tlsFiles,
            serverProcesses: processes)
    }

    private var tlsFiles: TLSFiles? {
        guard let tlsCert, let tlsKey, let tlsCa else { return nil }
        return TLSFiles(certificate: tlsCert, key: tlsKey, authority: tlsCa)
    }
}
