internal import ArgumentParser
internal import Basics
internal import Load

struct BenchRegistry: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "registry",
        abstract: "Lead the masters, fill their registry, and measure changes, reading and take-over.",
        discussion: """
            For a cluster of its own, or one whose registry was filled with the same numbers before: nothing is
            removed afterwards. In order:

            1. Fill: frameworks, agents, and two operations for each agent that reserve and make its volumes.
            2. Change: one field of an agent, and a reservation, beside a plain put: one at a time, then as many as
               --connections and --in-flight say. Log is what an entry takes there, with the record's header.
            3. Read all records at one revision, again and again for --seconds, while 500 puts a second are due.
            4. The next master takes over: it waits in line, the first resigns, and --returning agents come back with
               generation and digest as stored.
            5. --heart-beats sessions are kept alive; the entries by which the log grows meanwhile.

            With --stand-by only 4 and 5 are done: it waits for the loss of another bench, one with --stay, and must be
            given the same numbers. It prints "stands by" to standard error. A line on standard input at the moment of
            the loss says from when times are counted; without one it is from when this master leads.
            """)

    @Option(help: ArgumentHelp("How many.", valueName: "N")) var agents = 50_000
    @Option(help: ArgumentHelp("How many.", valueName: "N")) var frameworks = 1_000
    @Option(help: ArgumentHelp("How many, over all agents.", valueName: "N")) var volumes = 1_000_000
    @Option(help: ArgumentHelp("How many (default: 10 for each framework).", valueName: "N")) var roles: Int?
    @Option(help: ArgumentHelp("Agents that come back (default: 10000, or all).", valueName: "N")) var returning: Int?
    @Option(help: ArgumentHelp("Agents that send heart-beats.", valueName: "N")) var heartBeats = 10_000
    @Option(help: ArgumentHelp("Seconds of each part that has no end by itself.", valueName: "S")) var seconds = 5.0
    @Option(help: ArgumentHelp("Connections, where many requests are under way.", valueName: "C"))
    var connections = 100
    @Option(help: ArgumentHelp("Requests under way on each of them.", valueName: "N")) var inFlight = 10
    @Option(help: ArgumentHelp("Bytes of a put's value; they are random.", valueName: "B")) var valueSize = 256
    @Option(help: ArgumentHelp("A master that is silent for so long leads no more.", valueName: "TIME"))
    var ttl = TimeQuantity(.seconds(2))
    @Flag(help: "Wait for the loss of the master that leads, and take over.") var standBy = false
    @Flag(help: "Go on leading after the figures, until standard input ends.") var stay = false
    @OptionGroup var options: ClientOptions

    /// Addresses of agents begin with 10.
    private static let agentsMax = 1 << 24
    /// One operation makes them all.
    private static let volumesPerAgentMax = 256
    private static let secondsMax = 3_600.0
    private static let returningDefault = 10_000

    mutating func validate() throws {
        guard (1...Self.agentsMax).contains(agents) else {
            throw ValidationError("--agents is from 1 to \(Self.agentsMax).")
        }
        guard (1...100_000).contains(frameworks) else { throw ValidationError("--frameworks is from 1 to 100000.") }
        guard volumes >= agents, volumes <= agents * Self.volumesPerAgentMax else {
            throw ValidationError("--volumes is from 1 to \(Self.volumesPerAgentMax) for each agent.")
        }
        guard (1...1_000_000).contains(roles ?? 1) else { throw ValidationError("--roles is from 1 to 1000000.") }
        guard (1...agents).contains(returning ?? 1) else {
            throw ValidationError("--returning is from 1 to the number of agents.")
        }
        guard (1...Limits.sessionsMax).contains(heartBeats) else {
            throw ValidationError("--heart-beats is from 1 to \(Limits.sessionsMax).")
        }
        guard seconds > 0, seconds <= Self.secondsMax else {
            throw ValidationError("--seconds must be above 0 and at most an hour.")
        }
        guard (1...Limits.connectionsPerAddressMax / 2).contains(connections) else {
            throw ValidationError("--connections is from 1 to \(Limits.connectionsPerAddressMax / 2).")
        }
        guard (1...Limits.requestsPerConnectionMax).contains(inFlight) else {
            throw ValidationError("--in-flight is from 1 to \(Limits.requestsPerConnectionMax).")
        }
        guard (0...Limits.valueSizeMaxCeiling).contains(valueSize) else {
            throw ValidationError("--value-size is from 0 to \(Limits.valueSizeMaxCeiling).")
        }
        guard Limits.sessionTimeoutMin <= ttl.interval, ttl.interval <= Limits.sessionTimeoutMax else {
            throw ValidationError("--ttl is from \(Limits.sessionTimeoutMin) to \(Limits.sessionTimeoutMax).")
        }
        guard !standBy || !stay else { throw ValidationError("--stand-by and --stay: one of the two.") }
    }

    func plan() throws -> RegistryPlan {
        var load = try LoadPlan(.write, options)
        load.connectionCount = connections
        load.inFlight = inFlight
        load.valueSize = valueSize
        let shape = RegistryShape(
            agents: agents, frameworks: frameworks, volumes: volumes, roles: roles ?? 10 * frameworks)
        var plan = RegistryPlan(
            shape: shape, load: load, returningAgents: returning ?? min(agents, Self.returningDefault),
            heartBeatingAgents: heartBeats)
        plan.duration = Interval(seconds: seconds)
        plan.masterTimeout = ttl.interval
        plan.standsBy = standBy
        plan.stays = stay
        return plan
    }

    func run() async throws {
        let plan = try plan()
        let bench = RegistryBench(plan) { Output.error($0) }
        do {
            try await bench.run(lines: StandardInput.lines()) { report in
                Output.line(options.json ? report.json(plan).text : report.text(plan))
            }
        } catch {
            throw CommandError(error)
        }
    }
}

extension RegistryReport {
    /// One object; what was not measured is null or empty.
    func json(_ plan: RegistryPlan) -> JSON {
        let shape = plan.shape
        return .object([
            ("agents", .number(UInt64(shape.agents))), ("frameworks", .number(UInt64(shape.frameworks))),
            ("volumes", .number(UInt64(shape.volumes))), ("roles", .number(UInt64(shape.roles))),
            ("filling", .array(filling.map(\.partJSON))), ("alone", .array(alone.map(\.partJSON))),
            ("together", .array(together.map(\.partJSON))), ("reading", reading?.json ?? .null),
            ("takeOver", takeOver?.json ?? .null), ("heartBeats", heartBeats?.json ?? .null),
        ])
    }

    func text(_ plan: RegistryPlan) -> String {
        let shape = plan.shape
        var lines = [
            "\(shape.agents) agents, \(shape.frameworks) frameworks, \(shape.volumes) volumes of \(shape.roles) roles"
        ]
        for (title, loads) in [("filling", filling), ("one at a time", alone), ("many under way", together)]
        where !loads.isEmpty {
            var headings = LoadReport.Part.headings
            headings[0] = title
            let rows = [headings + ["log", "errors"]] + loads.map { $0.whole.cells + [$0.logText, $0.errorsText] }
            lines += [""] + StatusReport.table(rows)
        }
        lines.append("")
        if let reading {
            let writes = reading.writes.parts.map { part in
                "\(Latencies.text(micros: part.latencies.micros(atPercentile: 99))) \(part.name)"
            }
            lines.append(
                "reading      \(reading.recordCount) records, \(SizeQuantity.text(UInt64(reading.size))), "
                    + "\(UInt64(reading.recordsPerSecond)) per second; p99 of puts \(writes.joined(separator: ", ")), "
                    + "errors \(reading.writes.errorsText)")
        }
        if let takeOver {
            let times = [takeOver.leadsAfter, takeOver.recoveredAfter, takeOver.attachedAfter]
                .map { JSON.decimal($0).text }
            lines.append(
                "take-over    leads after \(times[0]) s, first command after \(times[1]) s, \(takeOver.agents) agents "
                    + "attached after \(times[2]) s, errors \(takeOver.attaching.errorsText)")
        }
        if let heartBeats {
            let rate = JSON.decimal(heartBeats.logEntriesPerSecond).text
            lines.append(
                "heart-beats  \(heartBeats.agents) agents, \(rate) log entries a second, "
                    + "errors \(heartBeats.keepAlives.errorsText)")
        }
        return lines.joined(separator: "\n")
    }
}

extension LoadReport {
    fileprivate var logText: String { logSizeMean.map { "\(UInt64($0.rounded())) B" } ?? "" }

    fileprivate var partJSON: JSON {
        var members: [(String, JSON)] = [("name", .string(whole.name))] + whole.figures
        members.append(("errors", errorsJSON))
        members.append(("latencyMicros", whole.latencies.json))
        members.append(("logBytesPerOperation", logSizeMean.map { .decimal($0) } ?? .null))
        members.append(("serverCPUMicrosPerOperation", serverCPUMicrosPerOperation.map { .decimal($0) } ?? .null))
        return .object(members)
    }
}

extension RegistryReport.Reading {
    fileprivate var json: JSON {
        .object([
            ("records", .number(UInt64(recordCount))), ("bytes", .number(UInt64(size))),
            ("seconds", .array(seconds.map { .decimal($0) })),
            ("recordsPerSecond", .number(UInt64(recordsPerSecond.rounded()))),
            ("puts", .array(writes.parts.map(\.json))), ("errors", writes.errorsJSON),
        ])
    }
}

extension RegistryReport.TakeOver {
    fileprivate var json: JSON {
        .object([
            ("agents", .number(UInt64(agents))), ("leadsAfterSeconds", .decimal(leadsAfter)),
            ("recoveredAfterSeconds", .decimal(recoveredAfter)), ("attachedAfterSeconds", .decimal(attachedAfter)),
            ("errors", attaching.errorsJSON),
        ])
    }
}

extension RegistryReport.HeartBeats {
    fileprivate var json: JSON {
        .object([
            ("agents", .number(UInt64(agents))), ("seconds", .decimal(seconds)),
            ("logEntries", .number(UInt64(logEntries))), ("logEntriesPerSecond", .decimal(logEntriesPerSecond)),
            ("latencyMicros", keepAlives.whole.latencies.json), ("errors", keepAlives.errorsJSON),
        ])
    }
}
