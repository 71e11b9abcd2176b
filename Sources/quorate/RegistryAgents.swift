internal import ArgumentParser
internal import Basics
internal import RegistryModel

struct RegistryAgents: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "agents", abstract: "Show agents; drain them, let them go, bring them back.",
        subcommands: [
            RegistryAgentList.self, RegistryAgentShow.self, RegistryAgentDrain.self, RegistryAgentMarkDrained.self,
            RegistryAgentDeactivate.self, RegistryAgentReactivate.self, RegistryAgentMarkUnreachable.self,
            RegistryAgentMarkGone.self, RegistryAgentRemove.self, RegistryAgentsPrune.self,
            RegistryAgentsApproveRemovals.self,
        ], defaultSubcommand: RegistryAgentList.self)
}

/// What can be asked of an agent.
enum AgentCondition: String, CaseIterable, ExpressibleByArgument {
    case admitted, unreachable, gone, deactivated, draining, drained, attached, unattached

    func holds(of agent: RegistryBook.Agent, in book: RegistryBook) -> Bool {
        switch self {
        case .admitted: agent.row.state == .admitted
        case .unreachable: agent.row.state == .unreachable
        case .gone: agent.row.state == .gone
        case .deactivated: agent.row.isDeactivated
        case .draining: agent.row.isDraining
        case .drained: agent.row.drain?.isDrained == true
        case .attached: book.isAttached(agent)
        case .unattached: agent.row.state == .admitted && !book.isAttached(agent)
        }
    }
}

struct RegistryAgentList: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List agents: state, address, whether they are drained, generation.",
        discussion: """
            An agent is attached when it has told the master that leads now what it has; one that is admitted and
            unattached was known to the master before and has not come yet.
            """)

    @Option(help: "Only those of which this holds.") var state: AgentCondition?
    @OptionGroup var read: ReadOptions
    @OptionGroup var options: ClientOptions

    func run() async throws {
        let book = try await ClusterClient.with(options) { cluster in
            try await cluster.registry(RegistryPart.all(.registry, .agents, .agentInfo), level: read.readLevel)
        }
        RegistryOutput.list(RegistryBook.agentHeader, book.agentRows(state), asJSON: options.json)
    }
}

struct RegistryAgentShow: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Show all that is known of an agent: resources, holds, operations.")

    @Argument(help: ArgumentHelp(valueName: "AGENT")) var id: String
    @OptionGroup var read: ReadOptions
    @OptionGroup var options: ClientOptions

    func run() async throws {
        let own = Array(id.utf8)
        let parts =
            [
                RegistryPart(table: .registry), RegistryPart(table: .agents, prefix: own),
                RegistryPart(table: .agentInfo, prefix: own), RegistryPart(table: .lostVolumes, prefix: own + [0]),
                RegistryPart(table: .orphans, prefix: own + [0]),
            ] + RegistryPart.ledger(of: id) + [RegistryPart.operations(of: id)]
        let book = try await ClusterClient.with(options) { cluster in
            try await cluster.registry(parts, level: read.readLevel)
        }
        let agent = try book.agent(id)
        RegistryOutput.one(book.lines(of: agent), book.fullJSON(of: agent), asJSON: options.json)
    }
}

struct RegistryAgentDrain: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "drain", abstract: "Take no new tasks to an agent, and have those that it has end.",
        discussion: "Run again it changes --mark-gone, and the grace period if one is given. `reactivate` ends it.")

    @Argument(help: ArgumentHelp(valueName: "AGENT")) var id: String
    @Option(help: ArgumentHelp("After this long a task is killed. Default: as long as it takes.", valueName: "TIME"))
    var maxGracePeriod: TimeQuantity?
    @Flag(help: "Once it is drained, it is to be marked gone.") var markGone = false
    @OptionGroup var change: RegistryChangeOptions

    func run() async throws {
        let period = maxGracePeriod.map { UInt64(clamping: $0.interval.nanoseconds) }
        try await change.carryOut(
            .agentDrain(id: Array(id.utf8), maxGracePeriod: period, marksGone: markGone),
            "agent \(id) is being drained")
    }
}

struct RegistryAgentMarkDrained: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "mark-drained", abstract: "Say that an agent that is being drained has no tasks any more.",
        discussion: "The master does so by itself; it is refused while something of the agent is held.")

    @Argument(help: ArgumentHelp(valueName: "AGENT")) var id: String
    @OptionGroup var change: RegistryChangeOptions

    func run() async throws {
        try await change.carryOut(.agentMarkDrained(id: Array(id.utf8)), "agent \(id) is drained")
    }
}

struct RegistryAgentDeactivate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "deactivate", abstract: "Offer nothing of an agent any more; tasks that it has go on.")

    @Argument(help: ArgumentHelp(valueName: "AGENT")) var id: String
    @OptionGroup var change: RegistryChangeOptions

    func run() async throws {
        try await change.carryOut(.agentDeactivate(id: Array(id.utf8)), "agent \(id) is deactivated")
    }
}

struct RegistryAgentReactivate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "reactivate", abstract: "Use an agent again that was deactivated or drained.")

    @Argument(help: ArgumentHelp(valueName: "AGENT")) var id: String
    @OptionGroup var change: RegistryChangeOptions

    func run() async throws {
        try await change.carryOut(.agentReactivate(id: Array(id.utf8)), "agent \(id) is active")
    }
}

struct RegistryAgentMarkUnreachable: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "mark-unreachable", abstract: "Say that an agent does not answer; it may come back.",
        discussion: """
            Its resources leave the capacity; reservations and volumes stay known. At most a tenth of the agents within
            ten minutes, unless `approve-removals` allows more.
            """)

    @Argument(help: ArgumentHelp(valueName: "AGENT")) var id: String
    @OptionGroup var change: RegistryChangeOptions

    func run() async throws {
        try await change.carryOut(.agentMarkUnreachable(id: Array(id.utf8)), "agent \(id) is unreachable")
    }
}

struct RegistryAgentMarkGone: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "mark-gone", abstract: "Say that an agent never comes back. This is for ever.",
        discussion: "Its volumes are lost, and printed; `quorate registry volumes list --lost` lists them later.")

    @Argument(help: ArgumentHelp(valueName: "AGENT")) var id: String
    @OptionGroup var change: RegistryChangeOptions

    func run() async throws {
        try await change.carryOut(.agentMarkGone(id: Array(id.utf8)), "agent \(id) is gone")
    }
}

struct RegistryAgentRemove: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "remove", abstract: "Forget an admitted agent, as if it had never been there.")

    @Argument(help: ArgumentHelp(valueName: "AGENT")) var id: String
    @Flag(help: "Also when volumes are forgotten with it.") var discardVolumes = false
    @OptionGroup var change: RegistryChangeOptions

    func run() async throws {
        try await change.carryOut(
            .agentRemove(id: Array(id.utf8), discardsVolumes: discardVolumes), "agent \(id) is removed")
    }
}

struct RegistryAgentsPrune: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "prune", abstract: "Forget agents that are unreachable or gone; others are left alone.")

    @Argument(help: ArgumentHelp(valueName: "AGENT")) var ids: [String]
    @Flag(help: "Also unreachable ones that have volumes.") var discardVolumes = false
    @OptionGroup var change: RegistryChangeOptions

    func run() async throws {
        let ids = ids.map { Array($0.utf8) }
        try await change.carryOut(
            .agentsPrune(unreachable: ids, gone: ids, includesVolumes: discardVolumes), "agents are pruned")
    }
}

struct RegistryAgentsApproveRemovals: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "approve-removals", abstract: "Allow more agents than usual to become unreachable.",
        discussion: """
            When more than a tenth of the agents become unreachable within ten minutes, something else is wrong as a
            rule: the rest is put off, and an alarm stands. Approve when they are really away; it ends the alarm.
            """)

    @Argument(help: ArgumentHelp("How many more.", valueName: "COUNT")) var count: UInt64
    @Option(name: .customLong("for"), help: ArgumentHelp("For how long.", valueName: "TIME"))
    var period = TimeQuantity(.seconds(600))
    @OptionGroup var change: RegistryChangeOptions

    mutating func validate() throws {
        guard period.interval > .zero else { throw ValidationError("--for must be longer than nothing.") }
    }

    func run() async throws {
        let until = Moment.now() + UInt64(clamping: period.interval.nanoseconds)
        try await change.carryOut(
            .agentsApproveRemoval(count: count, until: until),
            "\(count) more agents may become unreachable until \(Moment.text(until))")
    }
}

// MARK: - What is shown

extension RegistryBook {
    static let agentHeader = ["AGENT", "STATE", "ADDRESS", "CONDITION", "GENERATION", "SINCE"]

    func agentRows(_ condition: AgentCondition? = nil) -> [RegistryOutput.Row] {
        agents.filter { condition?.holds(of: $0, in: self) ?? true }.map { agent -> RegistryOutput.Row in
            let cells = [
                agent.id.bytes.shown, "\(agent.row.state)", address(of: agent), self.condition(of: agent),
                "\(agent.row.generation)", Moment.text(agent.row.stateSince),
            ]
            return (cells: cells, json: JSON.object(members(of: agent)))
        }
    }

    private func address(of agent: Agent) -> String {
        agent.info.map { "\($0.hostname.shown) \($0.ip.shown):\($0.port)" } ?? "-"
    }

    /// What is unusual about it.
    private func condition(of agent: Agent) -> String {
        let row = agent.row
        let parts: [String?] = [
            row.drain.map { $0.isDrained ? "drained" : "draining" } ?? (row.isDeactivated ? "deactivated" : nil),
            row.drain?.marksGone == true ? "to be marked gone" : nil,
            row.state == .admitted && !isAttached(agent) ? "unattached" : nil,
            row.isReportWanted ? "report wanted" : nil,
        ]
        let said = parts.compactMap { $0 }.joined(separator: ", ")
        return said.isEmpty ? "-" : said
    }

    private func members(of agent: Agent) -> [(String, JSON)] {
        let row = agent.row
        let drain = row.drain.map { drain in
            JSON.object([
                ("state", .string(drain.isDrained ? "drained" : "draining")),
                ("maxGraceMs", drain.maxGracePeriod.map { JSON.milliseconds($0) } ?? .null),
                ("markGone", .bool(drain.marksGone)),
            ])
        }
        let members: [(String, JSON)] = [
            ("id", agent.id.bytes.json), ("state", .string("\(row.state)")), ("sinceMs", .milliseconds(row.stateSince)),
            ("attached", .bool(isAttached(agent))), ("deactivated", .bool(row.isDeactivated)),
            ("drain", drain ?? .null), ("generation", .number(row.generation)),
            ("reportWanted", .bool(row.isReportWanted)),
        ]
        guard let info = agent.info else { return members }
        let further: [(String, JSON)] = [
            ("hostname", info.hostname.json), ("ip", info.ip.json), ("port", .number(UInt64(info.port))),
            ("checkpointing", .bool(info.isCheckpointing)),
            ("capabilities", .array(info.capabilities.names.map { .string($0) })),
            (
                "attributes",
                .array(
                    info.attributes.map {
                        JSON.object([("name", $0.name.json), ("value", $0.value.json)])
                    })
            ),
            ("domain", info.domain?.json ?? .null),
        ]
        return members + further
    }

    func lines(of agent: Agent) -> [String] {
        let row = agent.row
        var lines = [
            "agent \(agent.id.bytes.shown): \(row.state) since \(Moment.text(row.stateSince)), "
                + (isAttached(agent) ? "attached" : "not attached"),
            "address: \(address(of: agent))", "condition: \(condition(of: agent))",
        ]
        if let period = row.drain?.maxGracePeriod {
            lines.append("grace period: \(Double(period) / 1_000_000_000) s")
        }
        if let info = agent.info {
            lines.append("capabilities: \(info.capabilities.names.joined(separator: ", "))")
            if !info.attributes.isEmpty {
                lines.append(
                    "attributes: "
                        + info.attributes.map { "\($0.name.shown):\($0.value.text)" }.joined(separator: "; "))
            }
            if let domain = info.domain { lines.append("domain: \(domain.shown)") }
            if !info.isCheckpointing { lines.append("does not checkpoint") }
        }
        lines.append("generation \(row.generation), digest \(row.digest.hexadecimal)")
        lines += RegistryOutput.section(
            "resources", ["RESOURCE", "AMOUNT", "HELD"], resourceRows().map { Array($0.cells.dropFirst()) })
        lines += RegistryOutput.section(
            "holds", ["FRAMEWORK", "HOLD", "ROLE", "RESOURCES"], holds.map { Self.holdCells($0) })
        lines += RegistryOutput.section("operations", Self.operationHeader, operationRows().map(\.cells))
        lines += RegistryOutput.section(
            "lost with it", ["VOLUME"], lostVolumes.map { [ResourceNotation.text($0.resource)] })
        lines += RegistryOutput.section(
            "known to the agent only", ["RESOURCE"], orphans.map { [ResourceNotation.text($0.resource)] })
        return lines
    }

    func fullJSON(of agent: Agent) -> JSON {
        let further: [(String, JSON)] = [
            ("digest", .string(agent.row.digest.hexadecimal)), ("resources", .array(resourceRows().map(\.json))),
            ("holds", .array(holds.map { Self.json($0) })), ("operations", .array(operationRows().map(\.json))),
            ("lostVolumes", .array(lostVolumes.map(\.resource.json))),
            ("orphans", .array(orphans.map(\.resource.json))),
        ]
        return .object(members(of: agent) + further)
    }

    private static func holdCells(_ hold: Hold) -> [String] {
        [
            hold.framework.bytes.shown, hold.id.shown, hold.row.role.bytes.shown,
            ResourceNotation.text(hold.row.resources),
        ]
    }

    static func json(_ hold: Hold) -> JSON {
        .object([
            ("agent", hold.agent.bytes.json), ("framework", hold.framework.bytes.json), ("hold", hold.id.json),
            ("role", hold.row.role.bytes.json), ("resources", .array(hold.row.resources.map(\.json))),
        ])
    }
}

extension AgentCapabilities {
    private static let all: [(AgentCapabilities, String)] = [
        (.multiRole, "MULTI_ROLE"), (.hierarchicalRole, "HIERARCHICAL_ROLE"),
        (.reservationRefinement, "RESERVATION_REFINEMENT"), (.resourceProvider, "RESOURCE_PROVIDER"),
        (.resizeVolume, "RESIZE_VOLUME"), (.agentOperationFeedback, "AGENT_OPERATION_FEEDBACK"),
        (.agentDraining, "AGENT_DRAINING"), (.taskResourceLimits, "TASK_RESOURCE_LIMITS"),
    ]

    /// As Mesos names them.
    fileprivate var names: [String] { Self.all.filter { contains($0.0) }.map(\.1) }
}

extension Attribute.Value {
    fileprivate var text: String {
        switch self {
        case .scalar(let number): "\(number)"
        case .ranges(let ranges):
            "[" + ranges.map { "\($0.lowerBound)-\($0.upperBound)" }.joined(separator: ", ") + "]"
        case .set(let items): "{" + items.map(\.shown).joined(separator: ", ") + "}"
        case .text(let text): text.shown
        }
    }

    fileprivate var json: JSON {
        guard case .text(let bytes) = self else { return .string(text) }
        return bytes.json
    }
}
