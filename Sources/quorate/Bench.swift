internal import ArgumentParser
internal import Basics
internal import Load

struct Bench: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Load a cluster and print throughput, latency and what it costs.",
        discussion: """
            Closed loop: each of --connections keeps --in-flight requests under way, so a cluster that stalls is asked
            less. Open loop, with --rate R: R requests a second are due whatever becomes of those before them, and a
            latency counts from the moment at which its request was due, not from that at which there was room to send it.
            So a stall is in the figures with every request that it would have delayed (coordinated omission).

            What is due while it is measured counts, also when the reply comes later. Errors are counted by code and end
            nothing; "notSent" are requests that were due and for which there was never room, "timeout" those without a
            reply --timeout after the end. The exit code is 1 when nothing succeeded.

            CPU and memory are those of the nodes that run on this machine: they are found by the loopback addresses at
            which they listen, or named with --pids.

            Everything that is written has a key that begins with --prefix, and stays there: `quorate delete bench/
            --prefix` removes it. Reads, mixed and txn first put the keys that are missing.
            """,
        subcommands: [
            BenchWrite.self, BenchRead.self, BenchMixed.self, BenchWatch.self, BenchSession.self, BenchTxn.self,
            BenchImport.self, BenchRegistry.self,
        ])
}

struct BenchWrite: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "write", abstract: "Put values under keys that are drawn at random.")

    @OptionGroup var load: BenchOptions
    @OptionGroup var options: ClientOptions

    func run() async throws { try await load.run(.write, options) }
}

struct BenchRead: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "read", abstract: "Get keys that are drawn at random.",
        discussion: "With --read-level stale and --target all every node answers for itself.")

    @OptionGroup var load: BenchOptions
    @OptionGroup var options: ClientOptions

    func run() async throws { try await load.run(.read, options) }
}

struct BenchMixed: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "mixed", abstract: "Get and put keys that are drawn at random.")

    @Option(help: ArgumentHelp("So many of a hundred requests are reads.", valueName: "PERCENT")) var readShare = 90
    @OptionGroup var load: BenchOptions
    @OptionGroup var options: ClientOptions

    mutating func validate() throws {
        guard (0...100).contains(readShare) else { throw ValidationError("--read-share is from 0 to 100.") }
    }

    func run() async throws { try await load.run(.mixed(readPercent: readShare), options) }
}

struct BenchWatch: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "watch", abstract: "Put values while others watch the keys.",
        discussion: """
            An operation is one change that has arrived at one watch; its latency counts from the moment at which the put
            was sent, or was due. "notDelivered" are changes that had not arrived --timeout after the end. --connections
            are those that write, 1 unless told otherwise; watches have connections of their own. The keys begin with
            the prefix and watch/.
            """)

    @Option(help: ArgumentHelp("Watches, each of all keys.", valueName: "W")) var watchers = 10
    @OptionGroup var load: BenchOptions
    @OptionGroup var options: ClientOptions

    mutating func validate() throws {
        guard (1...Limits.watchesMax).contains(watchers) else {
            throw ValidationError("--watchers is from 1 to \(Limits.watchesMax).")
        }
        guard load.valueSize >= LoadPlan.watchedValueSizeMin else {
            throw ValidationError(
                "--value-size must be at least \(LoadPlan.watchedValueSizeMin): the value says when it was written.")
        }
        if load.connections == nil { load.connections = 1 }
    }

    func run() async throws { try await load.run(.watch(watchers: watchers), options) }
}

struct BenchSession: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "session", abstract: "Open sessions, each with a record that goes with it, and keep them alive.",
        discussion: """
            An operation is one keep-alive. What opening all of them took comes first, as the part "opening". Without
            --rate they are kept alive as fast as can be; agents would do so every third of --ttl, which is a rate of
            3 × sessions / ttl / per-keep-alive. They end by themselves, --ttl after the run, and their records with them.
            The keys begin with the prefix and session/.
            """)

    @Option(help: ArgumentHelp("How many.", valueName: "N")) var sessions = 1_000
    @Option(help: ArgumentHelp("A session ends when it was not kept alive for so long.", valueName: "TIME"))
    var ttl = TimeQuantity(Limits.sessionTimeoutDefault)
    @Option(help: ArgumentHelp("Sessions that one keep-alive names.", valueName: "N")) var perKeepAlive = 1
    @OptionGroup var load: BenchOptions
    @OptionGroup var options: ClientOptions

    /// More do not fit the two bytes in which a keep-alive counts them.
    private static let perKeepAliveMax = 4_096

    mutating func validate() throws {
        guard (1...Limits.sessionsMax).contains(sessions) else {
            throw ValidationError("--sessions is from 1 to \(Limits.sessionsMax).")
        }
        guard Limits.sessionTimeoutMin <= ttl.interval, ttl.interval <= Limits.sessionTimeoutMax else {
            throw ValidationError("--ttl is from \(Limits.sessionTimeoutMin) to \(Limits.sessionTimeoutMax).")
        }
        guard (1...Self.perKeepAliveMax).contains(perKeepAlive) else {
            throw ValidationError("--per-keep-alive is from 1 to \(Self.perKeepAliveMax).")
        }
    }

    func run() async throws {
        let sessions = LoadPlan.Sessions(count: sessions, timeout: ttl.interval, perKeepAlive: perKeepAlive)
        try await load.run(.session(sessions), options)
    }
}

struct BenchTxn: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "txn", abstract: "Run transactions: if a key is there, put it and another one.",
        discussion: """
            Keys are drawn at random. A transaction whose condition does not hold is an error, "conditionFailed".
            """)

    @OptionGroup var load: BenchOptions
    @OptionGroup var options: ClientOptions

    mutating func validate() throws {
        guard load.keys >= 2 else { throw ValidationError("--keys must be at least 2: a transaction puts two.") }
    }

    func run() async throws { try await load.run(.transaction, options) }
}

struct BenchImport: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "import", abstract: "Put every key once, as fast as can be.",
        discussion: """
            A hundred keys go in with one transaction, or fewer where values are large; each counts as an operation, with
            the latency of its transaction. Ends when all of --keys are in, or with --seconds after that time at the
            latest. A transaction that fails is sent again; when none succeeds for --timeout, the import gives up. Nothing
            is warmed up.
            """)

    @OptionGroup var load: BenchOptions
    @OptionGroup var options: ClientOptions

    func run() async throws { try await load.run(.importing, options) }
}
