internal import Client
internal import FoundationEssentials
internal import Glibc

/// The nodes under torture: processes, their directories, what stands before their peer ports.
final class Nodes {
    struct Node {
        let name: String
        let directory: String
        let clientPort: Int
        let peerPort: Int
        let proxy: Proxy
        /// Of a node that came later: the peer address of a member.
        var joins: String?
        /// A file system of its own, which can be filled.
        var isSmall = false
        var process: Child?
        var isPaused = false
    }

    let directory: String
    let binary: String
    let links = Links()
    private(set) var nodes: [Node] = []
    private let syncLibrary: String?
    private var founders = ""
    private var nextNumber = 1
    private var observers: [String: MetadataClient] = [:]

    init(directory: String, binary: String, syncLibrary: String?) {
        self.directory = directory
        self.binary = binary
        self.syncLibrary = syncLibrary
    }

    var names: [String] { nodes.map(\.name) }
    var endpoints: [String] { nodes.map { "127.0.0.1:\($0.clientPort)" } }
    var canFailSync: Bool { syncLibrary != nil }

    subscript(name: String) -> Node { nodes[position(name)] }

    private func position(_ name: String) -> Int {
        guard let position = nodes.firstIndex(where: { $0.name == name }) else { fatalError("no node \(name)") }
        return position
    }

    // MARK: Processes

    /// - Parameter small: on a file system of its own, where that can be had.
    private func make(joins: String?, small: Bool) throws -> Node {
        let name = "n\(nextNumber)"
        nextNumber += 1
        let ports = try Ports.free(2)
        let path = "\(directory)/\(name)"
        try FileManager.default.createDirectory(
            atPath: path, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        let isSmall = small && SmallDisk.mount(at: path)
        let node = Node(
            name: name, directory: path, clientPort: ports[0], peerPort: ports[1],
            proxy: try Proxy(before: name, target: ports[1], links: links), joins: joins, isSmall: isSmall)
        nodes.append(node)
        return node
    }

    func found(_ count: Int) async throws {
        // A minority can have its disk filled.
        for number in 0..<count { _ = try make(joins: nil, small: number < (count - 1) / 2) }
        founders = nodes.map { "\($0.name)=127.0.0.1:\($0.proxy.port)" }.joined(separator: ",")
        for name in names { try start(name) }
        for name in names {
            _ = try await eventually("\(name) answers", within: .seconds(30)) { try await self.status(name) }
        }
        let (ending, output) = try await command(["init", "--endpoints", endpoints[0]], name: "init", .seconds(30))
        guard ending == .exited(0) else { throw TortureFailure("init: \(output)") }
    }

    func start(_ name: String) throws {
        let node = self[name]
        var environment: [String: String] = [:]
        if let syncLibrary {
            environment["LD_PRELOAD"] = syncLibrary
            environment["QUORATE_TORTURE_SYNC"] = syncFailurePath(name)
        }
        let arguments =
            [
                "serve", "--name", name, "--data", "\(node.directory)/data", "--client", "127.0.0.1:\(node.clientPort)",
                "--peer", "127.0.0.1:\(node.peerPort)", "--advertise-peer", "127.0.0.1:\(node.proxy.port)",
                "--segment-size", "2MiB", "--log-max", "96MiB", "--disk-reserve", "16MiB",
                "--stop-with-standard-input",
            ] + (node.joins.map { ["--join", $0] } ?? ["--cluster", founders])
        nodes[position(name)].process = try Child(
            binary, arguments, outputPath: logPath(name), environment: environment)
    }

    func logPath(_ name: String) -> String { "\(directory)/\(name).log" }
    func syncFailurePath(_ name: String) -> String { "\(directory)/\(name).sync-fails" }

    func kill(_ names: [String]) async throws {
        let processes = names.compactMap { self[$0].process }
        for process in processes { process.send(SIGKILL) }
        for process in processes { try await process.waitUntilEnded() }
        for name in names {
            nodes[position(name)].process = nil
            nodes[position(name)].isPaused = false
        }
    }

    func pause(_ name: String, _ isPaused: Bool) {
        self[name].process?.send(isPaused ? SIGSTOP : SIGCONT)
        nodes[position(name)].isPaused = isPaused
    }

    /// Starts what does not run. A node that ended by itself without reason is an error of the cluster.
    func reviveAll() throws {
        for node in nodes {
            if node.isPaused { pause(node.name, false) }
            if node.process == nil || node.process?.poll() != nil { try start(node.name) }
        }
    }

    /// Nodes that have ended though nobody made them.
    func fallen() -> [String] { nodes.filter { $0.process?.poll() != nil }.map(\.name) }

    func stopAll() async throws -> [String: Child.Ending] {
        for node in nodes { node.process?.send(SIGTERM) }
        var endings: [String: Child.Ending] = [:]
        for node in nodes { endings[node.name] = try await node.process?.waitUntilEnded(.seconds(60)) }
        for observer in observers.values { await observer.shutdown() }
        return endings
    }

    /// Lets go of proxies and file systems.
    func release() {
        for node in nodes { node.proxy.stop() }
        SmallDisk.unmountAll()
    }

    // MARK: Members

    /// A node that waits to be added.
    func addEmpty(through member: String) async throws -> Node {
        let node = try make(joins: "127.0.0.1:\(self[member].proxy.port)", small: false)
        try start(node.name)
        _ = try await eventually("\(node.name) answers", within: .seconds(30)) { try await self.status(node.name) }
        return node
    }

    /// A node that is no member any more.
    func forget(_ name: String) async throws {
        try await kill([name])
        let node = self[name]
        node.proxy.stop()
        await observers.removeValue(forKey: name)?.shutdown()
        try FileManager.default.removeItem(atPath: node.directory)
        nodes.removeAll { $0.name == name }
    }

    // MARK: Questions

    func status(_ name: String) async throws -> NodeReport {
        let address = "127.0.0.1:\(self[name].clientPort)"
        let observer = observers[name] ?? MetadataClient(MetadataClientConfiguration(endpoints: [address]))
        observers[name] = observer
        return try await observer.status(of: address, timeout: .milliseconds(500))
    }

    func leader(within timeout: Duration = .seconds(10)) async throws -> String {
        try await eventually("there is a leader", within: timeout) {
            var reports: [NodeReport] = []
            for node in self.nodes where node.process != nil && !node.isPaused {
                if let report = try? await self.status(node.name) { reports.append(report) }
            }
            return reports.filter { $0.role == "leader" }.max { $0.term < $1.term }?.name
        }
    }

    /// Every node runs, follows one leader, and has applied what is committed.
    func waitUntilWhole(within timeout: Duration) async throws -> [NodeReport] {
        try await eventually("all nodes follow one leader and have caught up", within: timeout) {
            var reports: [NodeReport] = []
            for name in self.names { reports.append(try await self.status(name)) }
            guard let leader = reports.first(where: { $0.role == "leader" }) else {
                throw TortureFailure("nobody leads")
            }
            for report in reports {
                let isInLine =
                    report.term == leader.term && report.leaderName == leader.name && report.state == "ok"
                    && report.appliedIndex >= leader.commitIndex
                guard isInLine else {
                    throw TortureFailure(
                        "\(report.name) is \(report.role ?? "no member") of \(report.leaderName ?? "nobody"), "
                            + "\(report.state), applied \(report.appliedIndex), committed \(leader.commitIndex)")
                }
            }
            return reports
        }
    }

    func command(
        _ arguments: [String], name: String, _ timeout: Duration
    ) async throws -> (ending: Child.Ending, output: String) {
        try await Child.run(binary, arguments, outputPath: "\(directory)/\(name).out", timeout: timeout)
    }
}
