package import Basics
internal import LogStore

/// Everything that an operator decides about one node. A plain value: `quorate serve` fills it from flags, environment
/// and file, `validate()` says whether it makes sense, and nothing reads settings from anywhere else afterwards.
package struct ServerConfiguration: Hashable, Sendable {
    /// What people call the node; unique in its cluster.
    package var name: String
    package var dataDirectory: String
    package var clientListen: HostPort
    package var peerListen: HostPort
    /// Where probes and metrics are served by HTTP; nil: nowhere.
    package var httpListen: HostPort?
    /// Where clients and peers find the node; nil: where it listens.
    package var clientAdvertise: HostPort?
    package var peerAdvertise: HostPort?
    /// The nodes that found the cluster together, this one among them. Read only while the data directory is empty.
    package var cluster: [Founder]
    /// Peer addresses of members of the cluster that this node is to join. Read only while the data directory is empty.
    package var join: [HostPort] = []
    package var engine: Engine = .rocksdb
    /// Certificate, key and authorities for both ports; nil: plain TCP, for loopback addresses.
    package var tls: TLSFiles?
    /// Plain TCP on any address: connections are neither encrypted nor authenticated.
    package var isInsecure = false
    /// HTTP, which is never encrypted, on any address. Apart from `isInsecure`, which a node with TLS cannot have.
    package var isHTTPInsecure = false

    package var heartbeatInterval = Interval.milliseconds(100)
    package var electionTimeoutMin = Interval.milliseconds(1_000)
    package var electionTimeoutMax = Interval.milliseconds(2_000)
    /// A leader whose oldest unfinished sync is older than this hands over.
    package var diskStallTimeout = Interval.seconds(2)

    /// Bytes of one log segment.
    package var segmentSize = LogSettings.segmentSizeDefault
    /// Bytes of log that are kept at most, for followers that lag.
    package var logSizeMax = 1_024 * 1_024 * 1_024
    /// How much of the log is kept as the change feed, beyond what replication needs; of `logSizeMax` at most half.
    package var feedSize = feedSizeDefault
    package var feedAge = Interval.seconds(24 * 3_600)
    /// Free bytes below which the node takes no new entries; nil: max(256 MiB, 4 segments).
    package var diskReserve: Int?
    /// How often the node reads every byte that it keeps; zero: only when it is asked to.
    package var scrubPeriod = Interval.seconds(24 * 3_600)
    /// Bytes a second that it reads for that.
    package var scrubRate = 8 * 1_024 * 1_024
    package var valueSizeMax = Limits.valueSizeMaxDefault
    package var connectionsMax = Limits.connectionsMax
    package var connectionsPerAddressMax = Limits.connectionsPerAddressMax
    package var logLevel: LogLevel = .info
    package var logFormat: LogFormat = .text

    private static let feedSizeDefault = 96 * 1_024 * 1_024

    package struct Founder: Hashable, Sendable {
        package var name: String
        /// Its peer address.
        package var address: HostPort

        package init(name: String, address: HostPort) {
            self.name = name
            self.address = address
        }
    }

    package enum Engine: String, Hashable, Sendable, CaseIterable {
        case rocksdb, memory
    }

    package enum LogLevel: String, Hashable, Sendable, CaseIterable {
        case trace, debug, info, notice, warning, error
    }

    package enum LogFormat: String, Hashable, Sendable, CaseIterable {
        case text, json
    }

    package init(
        name: String, dataDirectory: String, clientListen: HostPort, peerListen: HostPort, cluster: [Founder] = []
    ) {
        self.name = name
        self.dataDirectory = dataDirectory
        self.clientListen = clientListen
        self.peerListen = peerListen
        self.cluster = cluster
    }

    package var clientAddress: HostPort { clientAdvertise ?? clientListen }
    package var peerAddress: HostPort { peerAdvertise ?? peerListen }
    /// Largest frame that a client or peer may send: a value and what stands around it.
    package var frameSizeMax: Int { valueSizeMax + Limits.frameEnvelopeSize }
    /// Between nodes: a slab, a piece of a snapshot, or one record with the largest value.
    package var peerFrameSizeMax: Int { 2 * Limits.slabSizeMax + frameSizeMax }
    package var diskReserveSize: Int { diskReserve ?? max(256 * 1_024 * 1_024, 4 * segmentSize) }
}

/// What is wrong with a configuration, and what to change.
package struct ConfigurationError: Error, Equatable, Sendable, CustomStringConvertible {
    package var message: String
    package init(_ message: String) { self.message = message }
    package var description: String { message }
}

extension ServerConfiguration {
    /// Checks every value, and those that depend on one another against each other.
    package func validate() throws(ConfigurationError) {
        try validateName(name, flag: "--name")
        try require(!dataDirectory.isEmpty, "--data needs a directory")
        try validateAddresses()
        try validateCluster()
        try validateTimes()
        try validateSizes()
    }

    /// What `restore` needs of it: name, directory and members.
    func validateMembers() throws(ConfigurationError) {
        try validateName(name, flag: "--name")
        try require(!dataDirectory.isEmpty, "--data needs a directory")
        try require(!cluster.isEmpty, "--cluster needs the members of the new cluster")
        try validateCluster()
    }

    private func validateName(_ name: String, flag: String) throws(ConfigurationError) {
        let isSound =
            (1...64).contains(name.utf8.count)
            && name.utf8.allSatisfy { (0x21...0x7E).contains($0) && $0 != UInt8(ascii: "=") && $0 != UInt8(ascii: ",") }
        try require(isSound, "\(flag) \"\(name)\": a name has 1 to 64 visible ASCII characters, no '=' and no ','")
    }

    private func validateAddresses() throws(ConfigurationError) {
        try require(
            tls == nil || !isInsecure,
            "--insecure means that nothing is encrypted, --tls-cert, --tls-key and --tls-ca that everything is: leave one "
                + "of them out")
        for (flag, address) in [("--client", clientListen), ("--peer", peerListen)] {
            try require(
                tls != nil || isInsecure || address.isLoopback,
                "\(flag) \(address) can be reached from other machines, and without TLS whoever reaches the port can read "
                    + "and change everything. Give --tls-cert, --tls-key and --tls-ca, listen on 127.0.0.1, or, on a "
                    + "network that you trust, add --insecure")
        }
        try validateHTTP()
        try require(
            clientListen != peerListen || clientListen.port == 0, "--client and --peer need two different ports")
        try require(
            clientAdvertise != nil || !clientListen.isWildcard,
            "--client \(clientListen) is no address that others could connect to: add --advertise-client HOST:PORT")
        try require(
            peerAdvertise != nil || !peerListen.isWildcard,
            "--peer \(peerListen) is no address that others could connect to: add --advertise-peer HOST:PORT")
        for (flag, address) in [("--advertise-client", clientAddress), ("--advertise-peer", peerAddress)] {
            try require(!address.isWildcard, "\(flag) \(address) is no address that others could connect to")
        }
    }

    private func validateHTTP() throws(ConfigurationError) {
        guard let httpListen else { return }
        try require(
            isInsecure || isHTTPInsecure || httpListen.isLoopback,
            "--http \(httpListen) can be reached from other machines, and HTTP has neither encryption nor passwords here: "
                + "whoever reaches the port sees names, addresses and load, though no records. Listen on 127.0.0.1, or, "
                + "on a network that you trust, add --http-insecure")
        for (flag, address) in [("--client", clientListen), ("--peer", peerListen)] {
            try require(
                httpListen != address || httpListen.port == 0, "--http and \(flag) need two different ports")
        }
    }

    private func validateCluster() throws(ConfigurationError) {
        try require(
            cluster.isEmpty || join.isEmpty,
            "--cluster founds a cluster and --join enters one that is there: name only one of them")
        try require(!join.contains(peerAddress), "--join \(peerAddress) is this node itself: name a member")
        guard !cluster.isEmpty else { return }
        for founder in cluster { try validateName(founder.name, flag: "--cluster") }
        try require(
            Set(cluster.map(\.name)).count == cluster.count, "--cluster names a node twice")
        try require(
            Set(cluster.map(\.address)).count == cluster.count, "--cluster gives two nodes the same address")
        try require(cluster.count <= 9, "--cluster has \(cluster.count) nodes; 9 are the most, 3 or 5 the usual")
        guard let own = cluster.first(where: { $0.name == name }) else {
            throw ConfigurationError(
                "--cluster does not name this node, \(name): it lists \(cluster.map(\.name).joined(separator: ", "))")
        }
        try require(
            own.address == peerAddress,
            "--cluster says that \(name) is at \(own.address), but its peer address is \(peerAddress): make them "
                + "equal, with --peer or --advertise-peer")
    }

    private func validateTimes() throws(ConfigurationError) {
        try require(
            heartbeatInterval >= .milliseconds(5) && heartbeatInterval <= .seconds(10),
            "--heartbeat-interval must be from 5ms to 10s")
        try require(
            electionTimeoutMin >= heartbeatInterval * 3,
            "--election-timeout must begin at 3 × --heartbeat-interval (\(heartbeatInterval * 3)) or more, or one late "
                + "heartbeat costs the leader its office")
        try require(
            electionTimeoutMax >= electionTimeoutMin + electionTimeoutMin / 5,
            "--election-timeout needs a range whose end is at least 1.2 × its beginning, or the nodes campaign at the "
                + "same moment")
        try require(
            scrubPeriod == .zero || (scrubPeriod >= .seconds(1) && scrubPeriod <= .seconds(366 * 24 * 3_600)),
            "--scrub-period must be 0s (never) or from 1s to 8784h")
        try require(electionTimeoutMax <= .seconds(60), "--election-timeout may be 60s at most")
        try require(
            diskStallTimeout >= electionTimeoutMin / 2 && diskStallTimeout <= .seconds(60),
            "--disk-stall-timeout must be from half the least --election-timeout to 60s")
    }

    private func validateSizes() throws(ConfigurationError) {
        let mebibyte = 1_024 * 1_024
        try require(
            (mebibyte...1_024 * mebibyte).contains(segmentSize), "--segment-size must be from 1MiB to 1GiB")
        try require(
            (1...Limits.valueSizeMaxCeiling).contains(valueSizeMax),
            "--value-size-max may be \(Limits.valueSizeMaxCeiling / mebibyte)MiB at most")
        try require(
            logSizeMax >= 4 * segmentSize,
            "--log-max must hold at least 4 segments (\(4 * segmentSize / mebibyte)MiB)")
        try require(
            (0...logSizeMax / 2).contains(feedSize) || feedSize == Self.feedSizeDefault,
            "--feed-size may be half of --log-max at most (\(logSizeMax / 2 / mebibyte)MiB)")
        try require(
            feedAge >= .seconds(1) && feedAge <= .seconds(366 * 24 * 3_600), "--feed-age must be from 1s to 8784h")
        try require(
            (64 * 1_024...16 * 1_024 * mebibyte).contains(scrubRate), "--scrub-rate must be from 64KiB to 16GiB a second")
        try require(diskReserveSize >= 0, "--disk-reserve cannot be negative")
        try require(
            connectionsMax >= 16, "--connections-max must be 16 or more: peers and an administrator need places too")
        try require(
            (1...connectionsMax).contains(connectionsPerAddressMax),
            "--connections-per-address must be from 1 to --connections-max (\(connectionsMax))")
    }

    private func require(_ condition: Bool, _ message: String) throws(ConfigurationError) {
        guard condition else { throw ConfigurationError(message) }
    }
}
