internal import ArgumentParser
internal import Glibc
internal import Server

struct Serve: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Run one node of a cluster.",
        discussion: """
            Every flag can stand in the file that --config names (TOML, the same names without --) or in the environment
            (QUORATE_SEGMENT_SIZE for --segment-size). The environment goes above the file, flags above both.
            SIGTERM and SIGINT stop the node cleanly: it hands over leadership and finishes what is in flight.
            """)

    @Option(help: ArgumentHelp("What people call this node.", valueName: "NAME")) var name: String?
    @Option(help: ArgumentHelp("Its data directory; made when it is not there.", valueName: "DIR")) var data: String?
    @Option(help: ArgumentHelp("Where it listens for clients.", valueName: "HOST:PORT")) var client: String?
    @Option(help: ArgumentHelp("Where it listens for other nodes.", valueName: "HOST:PORT")) var peer: String?
    @Option(
        help: ArgumentHelp(
            "Where it answers /livez, /readyz and /metrics by HTTP. (default: nowhere)", valueName: "HOST:PORT"))
    var http: String?
    @Option(help: ArgumentHelp("Peer addresses of the nodes that found the cluster.", valueName: "n1=HOST:PORT,…"))
    var cluster: String?
    @Option(help: ArgumentHelp("Peer addresses of members of the cluster that it is to join.", valueName: "HOST:PORT,…"))
    var join: String?
    @Option(help: ArgumentHelp("rocksdb, or memory: state in memory, log on disk.", valueName: "ENGINE"))
    var engine: String?
    @Option(help: ArgumentHelp("Configuration file.", valueName: "FILE")) var config: String?
    @OptionGroup(title: "TLS on both ports") var tls: TLSOptions
    @Flag(help: "Accept addresses that other machines can reach, without encryption.") var insecure = false
    @Flag(help: "Answer HTTP on an address that other machines can reach; it is never encrypted.")
    var httpInsecure = false
    @Option(help: ArgumentHelp("Where clients find it, if not where it listens.", valueName: "HOST:PORT"))
    var advertiseClient: String?
    @Option(help: ArgumentHelp("Where other nodes find it, if not where it listens.", valueName: "HOST:PORT"))
    var advertisePeer: String?
    @Option(help: ArgumentHelp("Pause between heartbeats. (default: 100ms)", valueName: "TIME"))
    var heartbeatInterval: String?
    @Option(help: ArgumentHelp("Silence of a leader before an election. (default: 1s-2s)", valueName: "MIN-MAX"))
    var electionTimeout: String?
    @Option(help: ArgumentHelp("Age of a disk sync at which a leader hands over. (default: 2s)", valueName: "TIME"))
    var diskStallTimeout: String?
    @Option(help: ArgumentHelp("Size of a log segment. (default: 16MiB)", valueName: "SIZE")) var segmentSize: String?
    @Option(help: ArgumentHelp("Log that is kept at most for others to catch up. (default: 1GiB)", valueName: "SIZE"))
    var logMax: String?
    @Option(help: ArgumentHelp("Log that is kept for watches. (default: 96MiB)", valueName: "SIZE"))
    var feedSize: String?
    @Option(help: ArgumentHelp("Age up to which it is kept. (default: 24h)", valueName: "TIME")) var feedAge: String?
    @Option(
        help: ArgumentHelp(
            "Free space below which it takes nothing new. (default: 256MiB or 4 segments)", valueName: "SIZE"))
    var diskReserve: String?
    @Option(help: ArgumentHelp("How often it reads every byte that it keeps. (default: 24h; 0s: never)", valueName: "TIME"))
    var scrubPeriod: String?
    @Option(help: ArgumentHelp("Bytes a second that it reads for that. (default: 8MiB)", valueName: "SIZE"))
    var scrubRate: String?
    @Option(help: ArgumentHelp("Largest value. (default: 4MiB)", valueName: "SIZE")) var valueSizeMax: String?
    @Option(help: ArgumentHelp("Connections in all. (default: 10000)", valueName: "N")) var connectionsMax: String?
    @Option(help: ArgumentHelp("Connections from one address. (default: 1000)", valueName: "N"))
    var connectionsPerAddress: String?
    @Option(help: ArgumentHelp("trace, debug, info, notice, warning or error. (default: info)", valueName: "LEVEL"))
    var logLevel: String?
    @Option(help: ArgumentHelp("text, or json: one object a line. (default: text)", valueName: "FORMAT"))
    var logFormat: String?

    @Flag(help: .hidden) var stopWithStandardInput = false

    func run() async throws {
        let configuration = try configuration()
        if stopWithStandardInput { ParentWatch.start() }
        let code = await ServerMain.run(configuration)
        guard code == 0 else { throw ExitCode(code) }
    }

    func configuration() throws -> ServerConfiguration {
        func environment(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }
        var settings = ServeSettings()
        if let path = config ?? environment("QUORATE_CONFIG") { settings.overlay(try ConfigurationFile.read(path)) }
        settings.overlay(ServeSettings.environment(environment))
        settings.overlay(flags)
        return try settings.configuration()
    }

    private var flags: [ServeSetting: ServeSettings.Given] {
        let texts: [(ServeSetting, String?)] = [
            (.name, name), (.data, data), (.client, client), (.peer, peer), (.http, http), (.cluster, cluster),
            (.join, join),
            (.engine, engine), (.insecure, insecure ? "true" : nil),
            (.httpInsecure, httpInsecure ? "true" : nil), (.advertiseClient, advertiseClient),
            (.advertisePeer, advertisePeer), (.heartbeatInterval, heartbeatInterval),
            (.electionTimeout, electionTimeout), (.diskStallTimeout, diskStallTimeout), (.segmentSize, segmentSize),
            (.logMax, logMax), (.feedSize, feedSize), (.feedAge, feedAge), (.diskReserve, diskReserve),
            (.scrubPeriod, scrubPeriod), (.scrubRate, scrubRate), (.valueSizeMax, valueSizeMax),
            (.tlsCert, tls.tlsCert), (.tlsKey, tls.tlsKey), (.tlsCA, tls.tlsCa),
            (.connectionsMax, connectionsMax), (.connectionsPerAddress, connectionsPerAddress), (.logLevel, logLevel),
            (.logFormat, logFormat),
        ]
        var values: [ServeSetting: ServeSettings.Given] = [:]
        for case (let setting, let text?) in texts {
            values[setting] = ServeSettings.Given(text: text, source: setting.flag)
        }
        return values
    }
}

/// Ends a node when the `quorate local` that started it is gone, however it went: the read end of a pipe is the node's
/// standard input, and the operating system closes the write end with the process that holds it.
enum ParentWatch {
    private static let secondsToStop: UInt32 = 10

    static func start() {
        var thread = pthread_t()
        let result = pthread_create(
            &thread, nil,
            { _ in
                var byte: UInt8 = 0
                while true {
                    let count = read(STDIN_FILENO, &byte, 1)
                    if count == 0 || (count < 0 && errno != EINTR) { break }
                }
                kill(getpid(), SIGTERM)
                sleep(ParentWatch.secondsToStop)
                _exit(1)
            }, nil)
        guard result == 0 else { fatalError("no thread to watch the parent process: error \(result)") }
        pthread_detach(thread)
    }
}
