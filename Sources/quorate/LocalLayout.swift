internal import Basics
internal import FoundationEssentials
internal import Glibc

/// Where the nodes of `quorate local` listen and keep their data. Kept in the directory, since a cluster's members know
/// each other by these addresses: the same directory with other ports would be nodes that cannot find each other.
struct LocalLayout: Hashable, Codable {
    static let basePortDefault = 7_400
    /// Peers listen this far above clients.
    static let peerOffset = 100
    /// Probes and metrics, where they are asked for, this far above clients.
    static let httpOffset = 200
    static let nodeCountMax = 9

    var nodes: Int
    var basePort: Int

    struct Node: Hashable {
        var name: String
        var client: HostPort
        var peer: HostPort
        var http: HostPort
    }

    var members: [Node] {
        (0..<nodes).map { position in
            Node(
                name: "n\(position + 1)", client: Self.address(basePort + position),
                peer: Self.address(basePort + Self.peerOffset + position),
                http: Self.address(basePort + Self.httpOffset + position))
        }
    }

    var endpoints: [String] { members.map(\.client.description) }
    /// Fewest nodes that can decide.
    var majority: Int { nodes / 2 + 1 }
    /// `quorate put` finds the nodes without being told.
    var isFoundByDefault: Bool {
        ClientOptions.localEndpoints.starts(with: endpoints) || endpoints.starts(with: ClientOptions.localEndpoints)
    }

    func validate() throws(CommandError) {
        guard (1...Self.nodeCountMax).contains(nodes) else {
            throw .usage("--nodes must be from 1 to \(Self.nodeCountMax); 3 survive the loss of one, 5 of two")
        }
        guard (1...65_535 - Self.httpOffset - Self.nodeCountMax).contains(basePort) else {
            throw .usage("--base-port must be from 1 to \(65_535 - Self.httpOffset - Self.nodeCountMax)")
        }
    }

    /// Arguments of one node's `serve`.
    func arguments(for node: Node, dataDirectory: String, withHTTP: Bool = false, further: [String]) -> [String] {
        [
            "serve", "--name", node.name, "--data", "\(dataDirectory)/\(node.name)", "--client",
            node.client.description,
            "--peer", node.peer.description, "--cluster",
            members.map { "\($0.name)=\($0.peer)" }.joined(separator: ","), "--stop-with-standard-input",
        ] + (withHTTP ? ["--http", node.http.description] : []) + further
    }

    /// A port that another program listens on would make that program answer in a node's place.
    func checkPortsAreFree(withHTTP: Bool) throws(CommandError) {
        for address in members.flatMap({ [$0.client, $0.peer] + (withHTTP ? [$0.http] : []) }) where !Self.isFree(port: address.port) {
            throw CommandError(
                "addressInUse",
                "\(address) is in use: is another `quorate local` running? Stop it, or give another --base-port"
            )
        }
    }

    private static func isFree(port: UInt16) -> Bool {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return true }
        defer { close(descriptor) }
        var yes: Int32 = 1
        // As the node itself will: a port whose last connections are still winding up can be listened on.
        setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &yes, socklen_t(MemoryLayout<Int32>.size))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        return withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
    }

    // MARK: The file

    static func fileName(in dataDirectory: String) -> String { "\(dataDirectory)/local.json" }

    /// What the directory was made with; nil for a new one.
    static func stored(in dataDirectory: String) throws -> LocalLayout? {
        let path = fileName(in: dataDirectory)
        guard FileManager.default.fileExists(atPath: path) else { return nil }
        let bytes = try InputFile.read(path, sizeMax: 65_536)
        guard let layout = try? JSONDecoder().decode(LocalLayout.self, from: Data(bytes)) else {
            throw CommandError("file", "\(path) is not what quorate local wrote there")
        }
        return layout
    }

    func store(in dataDirectory: String) throws {
        let json = JSON.object([("nodes", .number(UInt64(nodes))), ("basePort", .number(UInt64(basePort)))])
        do {
            try Data(json.bytes + [0x0A]).write(to: URL(filePath: Self.fileName(in: dataDirectory)), options: .atomic)
        } catch {
            throw CommandError("file", "cannot write \(Self.fileName(in: dataDirectory)): \(error)")
        }
    }

    private static func address(_ port: Int) -> HostPort {
        HostPort(host: "127.0.0.1", port: UInt16(clamping: port))
    }
}
