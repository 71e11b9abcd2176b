import Client
import Foundation
import Glibc
import Testing

/// Nodes of one cluster as processes, with their directories in a place of their own.
final class Cluster {
    struct Node {
        let name: String
        let directory: String
        let client: String
        let peer: String
        /// Of a node that came later: peer address of the member that it asks.
        var joins: String?
        var process: ChildProcess?
    }

    let directory: String
    let executable: String
    private(set) var nodes: [Node]
    private let furtherFlags: [String]
    /// With them all connections are TLS.
    let certificates: Certificates?
    /// What stands between a node and those that connect to it: they know the proxy's address only.
    var clientProxies: [String: FlippingProxy] = [:]
    var peerProxies: [String: FlippingProxy] = [:]
    /// Of nodes that are started from now on.
    var environment: [String: String] = [:]
    /// Ask one node each about itself; they have no session.
    private var observers: [String: MetadataClient] = [:]

    init(nodes count: Int = 3, flags: [String] = [], certificates: Certificates? = nil) throws {
        self.certificates = certificates
        executable = try Binary.path()
        directory = try Scratch.makeDirectory()
        let (root, ports) = (directory, try Ports.free(2 * count))
        nodes = (0..<count).map { position in
            Node(
                name: "n\(position + 1)", directory: "\(root)/n\(position + 1)",
                client: "127.0.0.1:\(ports[2 * position])", peer: "127.0.0.1:\(ports[2 * position + 1])")
        }
        // Small segments: a test's cluster does not reserve a gigabyte of disk.
        furtherFlags = ["--segment-size", "2MiB", "--log-max", "64MiB"] + flags
    }

    var names: [String] { nodes.map(\.name) }
    var endpoints: [String] { nodes.map(\.client) }
    var founders: String {
        nodes.filter { $0.joins == nil }.map { "\($0.name)=\(peerProxies[$0.name]?.address ?? $0.peer)" }
            .joined(separator: ",")
    }

    subscript(name: String) -> Node { nodes[position(name)] }

    private func position(_ name: String) -> Int {
        guard let position = nodes.firstIndex(where: { $0.name == name }) else { fatalError("no node \(name)") }
        return position
    }

    // MARK: Processes

    func arguments(of name: String) -> [String] {
        let node = self[name]
        return [
            "serve", "--name", name, "--data", node.directory, "--client", node.client, "--peer", node.peer,
            "--stop-with-standard-input",
        ] + (node.joins.map { ["--join", $0] } ?? ["--cluster", founders]) + furtherFlags
            + (certificates?.flags(name) ?? [])
            + (clientProxies[name].map { ["--advertise-client", $0.address] } ?? [])
            + (peerProxies[name].map { ["--advertise-peer", $0.address] } ?? [])
    }

    func logPath(_ name: String) -> String { "\(directory)/\(name).log" }

    @discardableResult
    func start(_ name: String, environment special: [String: String] = [:]) throws -> ChildProcess {
        let process = try ChildProcess(
            executable, arguments(of: name), outputPath: logPath(name),
            environment: environment.merging(special) { $1 })
        nodes[position(name)].process = process
        return process
    }

    /// The process of a node that is thought to run; fails when it has ended by itself.
    func process(_ name: String) throws -> ChildProcess {
        guard let process = self[name].process else { throw TestFailure("\(name) does not run") }
        if let ending = process.poll() { throw TestFailure("\(name) ended by itself: \(ending)\n\(logTail(name))") }
        return process
    }

    /// SIGKILL to all of `names` before any is waited for.
    func kill(_ names: String...) async throws { try await kill(names) }

    func kill(_ names: [String]) async throws {
        let processes = try names.map(process)
        for process in processes { process.send(SIGKILL) }
        for process in processes { try await process.waitUntilEnded() }
        for name in names { nodes[position(name)].process = nil }
    }

    /// SIGTERM to all of `names` at once; how they ended.
    func stop(_ names: String...) async throws -> [ChildProcess.Ending] { try await stop(names) }

    func stop(_ names: [String]) async throws -> [ChildProcess.Ending] {
        let processes = try names.map(process)
        for process in processes { process.send(SIGTERM) }
        var endings: [ChildProcess.Ending] = []
        for process in processes { endings.append(try await process.waitUntilEnded()) }
        for name in names { nodes[position(name)].process = nil }
        return endings
    }

    /// The directory of a stopped node is lost.
    func wipe(_ name: String) async throws {
        try FileManager.default.removeItem(atPath: self[name].directory)
        // A client that knows a cluster does not take a node without one for a member.
        await observers.removeValue(forKey: name)?.shutdown()
    }

    /// Runs the command to its end, as a person would.
    func run(_ arguments: [String]) async throws -> (ending: ChildProcess.Ending, output: String, errors: String) {
        try await Command.run(executable, arguments, in: directory)
    }

    /// Starts a further node, empty, that waits to be added. It counts among `names` from then on.
    func join(_ name: String, through member: String) async throws {
        let ports = try Ports.free(2)
        nodes.append(
            Node(
                name: name, directory: "\(directory)/\(name)", client: "127.0.0.1:\(ports[0])",
                peer: "127.0.0.1:\(ports[1])", joins: self[member].peer))
        try start(name)
        _ = try await eventually("\(name) answers") { try await self.status(name) }
    }

    /// A node that is no member any more, and does not run.
    func forget(_ name: String) async {
        await observers.removeValue(forKey: name)?.shutdown()
        nodes.removeAll { $0.name == name }
    }

    // MARK: The cluster

    /// All nodes up, the cluster formed, a leader found.
    static func founded(
        nodes: Int = 3, flags: [String] = [], certificates: Certificates? = nil,
        prepare: (Cluster) throws -> Void = { _ in }
    ) async throws -> Cluster {
        let cluster = try Cluster(nodes: nodes, flags: flags, certificates: certificates)
        try prepare(cluster)
        for name in cluster.names { try cluster.start(name) }
        for name in cluster.names {
            _ = try await eventually("\(name) answers") { try await cluster.status(name) }
        }
        let (ending, output, errors) = try await cluster.run(
            ["init", "--endpoints", cluster.endpoints[0]] + (certificates?.flags("client") ?? []))
        guard ending == .exited(0) else { throw TestFailure("init: \(ending)\n\(output)\(errors)") }
        try await cluster.waitUntilWhole()
        return cluster
    }

    func status(_ name: String) async throws -> NodeReport {
        _ = try process(name)
        let address = self[name].client
        var configuration = MetadataClientConfiguration(endpoints: [address])
        configuration.tls = certificates?.client
        let observer = observers[name] ?? MetadataClient(configuration)
        observers[name] = observer
        return try await observer.status(of: address, timeout: .milliseconds(500))
    }

    /// What all of `names` say that answer.
    func statuses(_ names: [String]) async -> [NodeReport] {
        var reports: [NodeReport] = []
        for name in names { if let report = try? await status(name) { reports.append(report) } }
        return reports
    }

    /// The node that leads with the highest term.
    func leader(within timeout: Duration = .seconds(20), among names: [String]? = nil) async throws -> NodeReport {
        let running = (names ?? self.names).filter { self[$0].process != nil }
        return try await eventually("there is a leader among \(running)", within: timeout) {
            await self.statuses(running).filter { $0.role == "leader" }.max { $0.term < $1.term }
        }
    }

    func followers() async throws -> [String] {
        let leader = try await leader().name
        return names.filter { $0 != leader }
    }

    /// Every node runs, follows the same leader, and has applied what that leader had committed.
    func waitUntilWhole(within timeout: Duration = .seconds(30)) async throws {
        try await eventually("all nodes follow one leader and have caught up", within: timeout) {
            // Before the others are asked: under load it has committed more by then.
            let leader = try await self.leader()
            for name in self.names {
                let report = try await self.status(name)
                let isInLine =
                    report.term == leader.term && report.leaderName == leader.name && report.state == "ok"
                    && report.appliedIndex >= leader.commitIndex
                guard isInLine else {
                    throw TestFailure(
                        "\(report.name) is \(report.role ?? "no member") of \(report.leaderName ?? "nobody"), "
                            + "\(report.state), term \(report.term), applied \(report.appliedIndex), while "
                            + "\(leader.name) leads in term \(leader.term) and has committed \(leader.commitIndex)")
                }
            }
            return true
        }
    }

    func client(
        of names: [String]? = nil, timeout: Duration = .seconds(30), sessionTimeout: Duration = .seconds(30)
    ) -> MetadataClient {
        var configuration = MetadataClientConfiguration(
            endpoints: (names ?? self.names).map { clientProxies[$0]?.address ?? self[$0].client })
        configuration.timeout = timeout
        configuration.sessionTimeout = sessionTimeout
        configuration.tls = certificates?.client
        return MetadataClient(configuration)
    }

    // MARK: The end

    func log(_ name: String) throws -> String { try String(contentsOfFile: logPath(name), encoding: .utf8) }

    func logTail(_ name: String, lines: Int = 12) -> String {
        let tail = ((try? log(name)) ?? "").split(separator: "\n").suffix(lines).joined(separator: "\n  ")
        return "\(name).log ends with:\n  \(tail)"
    }

    /// A node that was not told to end must still be there.
    fileprivate func checkThatNobodyFell() {
        for node in nodes {
            guard let ending = node.process?.poll() else { continue }
            Issue.record("\(node.name) ended by itself: \(ending)\n\(logTail(node.name))")
        }
    }

    fileprivate func remove(keepingFiles: Bool) async {
        for observer in observers.values { await observer.shutdown() }
        for proxy in clientProxies.values { proxy.stop() }
        for proxy in peerProxies.values { proxy.stop() }
        for position in nodes.indices { nodes[position].process = nil }
        if !keepingFiles { try? FileManager.default.removeItem(atPath: directory) }
    }
}

/// A cluster for the length of `body`. Its processes are gone afterwards in any case; its files stay when `body` throws.
func withCluster(
    nodes: Int = 3, flags: [String] = [], certificates: Certificates? = nil,
    prepare: (Cluster) throws -> Void = { _ in }, _ body: (Cluster) async throws -> Void
) async throws {
    let cluster = try await Cluster.founded(nodes: nodes, flags: flags, certificates: certificates, prepare: prepare)
    do {
        try await body(cluster)
    } catch {
        print("the files of the cluster are kept in \(cluster.directory)")
        for name in cluster.names { print(cluster.logTail(name)) }
        await cluster.remove(keepingFiles: true)
        throw error
    }
    cluster.checkThatNobodyFell()
    await cluster.remove(keepingFiles: false)
}

enum Command {
    /// Runs the command to its end; output and errors apart.
    static func run(
        _ executable: String, _ arguments: [String], in directory: String, timeout: Duration = .seconds(30)
    ) async throws -> (ending: ChildProcess.Ending, output: String, errors: String) {
        let name = "\(directory)/command-\(UUID().uuidString)"
        defer { for suffix in ["out", "err"] { unlink("\(name).\(suffix)") } }
        let process = try ChildProcess(
            executable, arguments, outputPath: "\(name).out", errorPath: "\(name).err")
        let ending = try await process.waitUntilEnded(timeout)
        let errors = (try? String(contentsOfFile: "\(name).err", encoding: .utf8)) ?? ""
        return (ending, process.output, errors)
    }
}

enum Scratch {
    static func makeDirectory() throws -> String {
        let path = "\(FileManager.default.temporaryDirectory.path)/quorate-tests-\(getpid())-\(UUID().uuidString.prefix(8))"
        try FileManager.default.createDirectory(
            atPath: path, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        return path
    }
}

/// Ports of the loopback address that nobody uses.
///
/// They lie below the range from which Linux takes ports for outgoing connections (32768 and up, unless configured
/// otherwise). A port from that range, as port 0 would give, could be taken by somebody's connection while its node is
/// down; and a peer that dials such a port again and again may be given that very port and then connects to itself.
enum Ports {
    private static let candidates = 12_000..<32_000

    /// The first of `count` ports in a row, `offset` apart from as many more, and those again: what `quorate local` uses.
    static func freeBase(_ count: Int, offset: Int) throws -> Int {
        for _ in 0..<1_000 {
            let base = Int.random(in: candidates)
            let isWhole = (0..<count).allSatisfy { position in
                (0...2).allSatisfy { isFree(base + $0 * offset + position) }
            }
            if isWhole { return base }
        }
        throw TestFailure("no free ports in \(candidates)")
    }

    static func free(_ count: Int) throws -> [Int] {
        var ports: Set<Int> = []
        for _ in 0..<1_000 where ports.count < count {
            let port = Int.random(in: candidates)
            if isFree(port) { ports.insert(port) }
        }
        guard ports.count == count else { throw TestFailure("no free ports in \(candidates)") }
        return Array(ports)
    }

    private static func isFree(_ port: Int) -> Bool {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        var address = LoopbackAddress.of(port: port)
        return withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
    }
}

enum LoopbackAddress {
    static func of(port: Int) -> sockaddr_in {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(port).bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        return address
    }
}
