internal import ArgumentParser
internal import Basics
internal import Client
internal import Dispatch
internal import Load

enum BenchTarget: String, CaseIterable, ExpressibleByArgument {
    case leader, all
}

/// What all of `quorate bench` takes.
struct BenchOptions: ParsableArguments {
    @Option(help: ArgumentHelp("Connections (default: 100; watch: 1).", valueName: "C")) var connections: Int?
    @Option(help: ArgumentHelp("Requests under way on each.", valueName: "N")) var inFlight = 10
    @Option(help: ArgumentHelp("Seconds that are measured (default: 10; import: until all is in).", valueName: "S"))
    var seconds: Double?
    @Option(help: ArgumentHelp("Seconds before that, which do not count.", valueName: "S")) var warmUp = 1.0
    @Option(
        help: ArgumentHelp(
            "Requests a second over all connections, each due at its time; else as many as there is room for.",
            valueName: "R"))
    var rate: Int?
    @Option(help: ArgumentHelp("Bytes of a value; they are random.", valueName: "B")) var valueSize = 256
    @Option(help: ArgumentHelp("How many different keys.", valueName: "K")) var keys = 10_000
    @Option(help: ArgumentHelp("With what all keys begin.", valueName: "PREFIX")) var prefix = "bench/"
    @OptionGroup var read: ReadOptions
    @Option(help: "All connections to the leader, or spread over all of --endpoints.") var target = BenchTarget.leader
    @Option(help: ArgumentHelp("Draws keys and values.", valueName: "SEED")) var seed: UInt64 = 1
    @Option(
        help: ArgumentHelp(
            "Server processes whose CPU and memory are told, instead of those found.", valueName: "PID,…"))
    var pids: String?
    @Flag(
        help: """
            Read lines from standard input: each begins a window of this name, which is told apart; the end of the input
            ends the run.
            """)
    var windows = false

    private static let secondsMax = 86_400.0
    private static let rateMax = 10_000_000
    /// What is appended to the prefix: a word and ten digits.
    private static let keyRestSize = "session/".utf8.count + NumberedKeys.digits

    mutating func validate() throws {
        guard (1...Limits.connectionsMax).contains(connections ?? 1) else {
            throw ValidationError("--connections is from 1 to \(Limits.connectionsMax).")
        }
        guard (1...Limits.requestsPerConnectionMax).contains(inFlight) else {
            throw ValidationError("--in-flight is from 1 to \(Limits.requestsPerConnectionMax).")
        }
        let seconds = seconds ?? 1
        guard seconds > 0, seconds <= Self.secondsMax else {
            throw ValidationError("--seconds must be above 0 and at most a day.")
        }
        guard warmUp >= 0, warmUp <= Self.secondsMax else {
            throw ValidationError("--warm-up must be 0 or more and at most a day.")
        }
        guard (1...Self.rateMax).contains(rate ?? 1) else {
            throw ValidationError("--rate is from 1 to \(Self.rateMax).")
        }
        guard (0...Limits.valueSizeMaxCeiling).contains(valueSize) else {
            throw ValidationError("--value-size is from 0 to \(Limits.valueSizeMaxCeiling).")
        }
        guard (1...NumberedKeys.countMax).contains(keys) else {
            throw ValidationError("--keys is from 1 to \(NumberedKeys.countMax).")
        }
        guard !prefix.isEmpty, prefix.utf8.count + Self.keyRestSize <= Limits.keySizeMax else {
            throw ValidationError(
                "--prefix must have 1 to \(Limits.keySizeMax - Self.keyRestSize) bytes: no other keys are touched.")
        }
        guard prefix.utf8.count(where: { $0 == UInt8(ascii: "/") }) < Limits.pathDepthMax else {
            throw ValidationError("--prefix must have fewer than \(Limits.pathDepthMax) slashes.")
        }
        _ = try processes()
    }

    func processes() throws -> [Int32]? {
        try pids?.split(separator: ",").map { text in
            guard let process = Int32(text), process > 0 else {
                throw ValidationError("--pids: \"\(text)\" is not a process id.")
            }
            return process
        }
    }

    func plan(_ workload: LoadPlan.Workload, _ options: ClientOptions) throws -> LoadPlan {
        var plan = try LoadPlan(workload, options)
        plan.usesAllNodes = target == .all
        plan.connectionCount = connections ?? plan.connectionCount
        plan.inFlight = inFlight
        plan.rate = rate
        plan.warmUp = Interval(seconds: warmUp)
        let endsByItself = windows || workload == .importing
        plan.duration = seconds.map { Interval(seconds: $0) } ?? (endsByItself ? nil : .seconds(10))
        plan.keyCount = keys
        plan.valueSize = valueSize
        plan.prefix = Array(prefix.utf8)
        plan.readsStale = read.readLevel == .stale
        plan.seed = seed
        plan.serverProcesses = try processes()
        return plan
    }

    /// Prints the figures; ends with 1 when there are none.
    func run(_ workload: LoadPlan.Workload, _ options: ClientOptions) async throws {
        let plan = try plan(workload, options)
        let report: LoadReport
        do {
            report = try await LoadGenerator.run(plan, windows: windows ? StandardInput.lines() : nil)
        } catch {
            throw CommandError(error)
        }
        Output.line(options.json ? report.json.text : report.text(plan))
        guard report.operations > 0 else { throw ExitCode(1) }
    }
}

enum StandardInput {
    /// As they come.
    static func lines() -> AsyncStream<String> {
        AsyncStream { continuation in
            DispatchQueue(label: "lines").async {
                while let line = readLine() { continuation.yield(line) }
                continuation.finish()
            }
        }
    }
}

extension LoadPlan {
    /// Of a cluster where the options say that it is.
    init(_ workload: Workload, _ options: ClientOptions) throws {
        let endpoints = try options.endpointList().compactMap { HostPort($0) }
        guard !endpoints.isEmpty else { throw CommandError.usage("--endpoints names nobody") }
        self.init(workload, endpoints: endpoints)
        tls = try options.tls.files().map {
            TLSFiles(certificate: $0.certificate, key: $0.key, authority: $0.authority)
        }
        timeout = options.timeout.interval
    }
}

extension CommandError {
    init(_ failure: LoadFailure) {
        self =
            switch failure.kind {
            case .usage: .usage(failure.message)
            case .unavailable: CommandError("unavailable", failure.message, isRetryable: true)
            }
    }
}

extension Interval {
    init(seconds: Double) { self.init(nanoseconds: Int64(seconds * 1e9)) }
}
