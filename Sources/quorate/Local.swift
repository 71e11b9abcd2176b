internal import ArgumentParser
internal import Glibc

struct Local: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Run a whole cluster on this machine, for trying out and for tests.",
        discussion: """
            Starts that many nodes as processes of their own, forms the cluster the first time, and says when there is a
            leader. Ctrl-C or SIGTERM stops all of them; run again with the same directory, everything is still there.
            A node that ends is named and stays down, unless --restart is given.
            """)

    @Option(help: ArgumentHelp("How many nodes. (default: what the directory has, else 3)", valueName: "N"))
    var nodes: Int?
    @Option(help: ArgumentHelp("Directory for the data of all nodes.", valueName: "DIR")) var data: String
    @Option(
        help: ArgumentHelp(
            "Clients connect to P, P+1, …; nodes to each other at P+100, …. (default: the directory's, else 7400)",
            valueName: "P"))
    var basePort: Int?
    @Option(help: ArgumentHelp("rocksdb or memory.", valueName: "ENGINE")) var engine: String?
    @Option(help: ArgumentHelp("Configuration file for all nodes.", valueName: "FILE")) var config: String?
    @Option(help: ArgumentHelp("trace, debug, info, notice, warning or error.", valueName: "LEVEL"))
    var logLevel: String?
    @Option(help: ArgumentHelp("text or json.", valueName: "FORMAT")) var logFormat: String?
    @Flag(help: "Serve /livez, /readyz and /metrics by HTTP, at P+200, P+201, ….") var http = false
    @Flag(help: "Start a node again when it ends.") var restart = false
    @Flag(help: "One line of JSON when there is a leader.") var json = false

    func run() async throws {
        // Its nodes are on loopback and speak plain text; certificates in the environment are for a cluster elsewhere.
        for name in ["QUORATE_TLS_CERT", "QUORATE_TLS_KEY", "QUORATE_TLS_CA"] { unsetenv(name) }
        let layout = try layout()
        let cluster = LocalCluster(
            layout: layout, dataDirectory: data, executable: try Self.ownExecutable(),
            furtherArguments: furtherArguments, servesHTTP: http, restartsNodes: restart)
        let code = try await cluster.run { seconds, cluster in
            Output.line(json ? cluster.readyJSON.text : cluster.readyText(seconds: seconds))
        }
        guard code == 0 else { throw ExitCode(code) }
    }

    private func layout() throws -> LocalLayout {
        try Self.makeDirectory(data)
        let stored = try LocalLayout.stored(in: data)
        let layout = LocalLayout(
            nodes: nodes ?? stored?.nodes ?? 3,
            basePort: basePort ?? stored?.basePort ?? LocalLayout.basePortDefault)
        try layout.validate()
        if let stored, stored != layout {
            throw CommandError.usage(
                "\(data) holds a cluster of \(stored.nodes) nodes with base port \(stored.basePort), and its nodes know "
                    + "each other by these addresses. Leave out --nodes and --base-port, or name another directory")
        }
        if stored == nil { try layout.store(in: data) }
        return layout
    }

    private var furtherArguments: [String] {
        [("--engine", engine), ("--config", config), ("--log-level", logLevel), ("--log-format", logFormat)].flatMap { flag, value in
            value.map { [flag, $0] } ?? []
        }
    }

    private static func makeDirectory(_ path: String) throws {
        var built = path.hasPrefix("/") ? "/" : ""
        for part in path.split(separator: "/") {
            built += built.isEmpty || built.hasSuffix("/") ? part : "/\(part)"
            guard mkdir(built, 0o700) == 0 || errno == EEXIST else {
                throw CommandError("file", "cannot make the directory \(built): \(String(cString: strerror(errno)))")
            }
        }
    }

    private static func ownExecutable() throws -> String {
        var path = [UInt8](repeating: 0, count: Int(PATH_MAX))
        let count = path.withUnsafeMutableBytes {
            readlink("/proc/self/exe", $0.baseAddress!.assumingMemoryBound(to: CChar.self), $0.count)
        }
        guard count > 0 else { throw CommandError("process", "cannot find the path of this program") }
        return String(decoding: path[..<count], as: UTF8.self)
    }
}
