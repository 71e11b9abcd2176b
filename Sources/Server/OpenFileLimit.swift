internal import Glibc
internal import RocksEngine

/// What this process may have open, shared out: its own files come first, and clients get what is left. Without room for the
/// next segment of the log a node has to stop, and clients are mostly the same at all nodes.
struct OpenFileLimit: Hashable {
    /// Files and sockets together.
    var limit: Int
    /// That the node itself may come to need.
    var own: Int

    /// Peers, an administrator and a few clients; with less a node does not start.
    private static let connectionsMin = 16
    /// Snapshots, listeners, peers, the HTTP port and what libraries open.
    private static let others = 256

    /// Raises the limit as far as the system lets this process.
    init(for configuration: ServerConfiguration) {
        var found = rlimit()
        let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
        if getrlimit(resource, &found) == 0, found.rlim_cur < found.rlim_max {
            found.rlim_cur = found.rlim_max
            _ = setrlimit(resource, &found)
            _ = getrlimit(resource, &found)
        }
        let segments = configuration.logSizeMax / configuration.segmentSize
        self.init(limit: Int(clamping: found.rlim_cur), own: RocksSettings().openFilesMax + segments + Self.others)
    }

    init(limit: Int, own: Int) {
        self.limit = limit
        self.own = own
    }

    /// How many connections of clients there is room for; at most `wanted`.
    func connections(wanted: Int) throws(NodeFailure) -> Int {
        guard limit - own >= Self.connectionsMin else {
            throw NodeFailure(
                message: "this process may have \(limit) files open and needs \(own + Self.connectionsMin) at least: raise "
                    + "the limit (`ulimit -n`; LimitNOFILE= in a unit of systemd), or lower --log-max")
        }
        return min(wanted, limit - own)
    }
}
