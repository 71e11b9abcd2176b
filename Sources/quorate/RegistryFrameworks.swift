internal import ArgumentParser
internal import RegistryModel

struct RegistryFrameworks: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "frameworks", abstract: "Show frameworks; end them; forget those that have ended.",
        subcommands: [
            RegistryFrameworkList.self, RegistryFrameworkShow.self, RegistryFrameworkTeardown.self,
            RegistryFrameworksForget.self,
        ], defaultSubcommand: RegistryFrameworkList.self)
}

enum FrameworkCondition: String, CaseIterable, ExpressibleByArgument {
    case active, disconnected, completed
    case tornDown = "torn-down"

    init(_ state: FrameworkRow.State) {
        switch state {
        case .active: self = .active
        case .disconnected: self = .disconnected
        case .completed: self = .completed
        case .tornDown: self = .tornDown
        }
    }
}

struct RegistryFrameworkList: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List frameworks: name, state, roles, and when one that is away is over.")

    @Option(help: "Only those in this state.") var state: FrameworkCondition?
    @OptionGroup var read: ReadOptions
    @OptionGroup var options: ClientOptions

    func run() async throws {
        let book = try await ClusterClient.with(options) { cluster in
            try await cluster.registry(RegistryPart.all(.registry, .frameworks), level: read.readLevel)
        }
        RegistryOutput.list(RegistryBook.frameworkHeader, book.frameworkRows(state), asJSON: options.json)
    }
}

struct RegistryFrameworkShow: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Show all that is known of a framework, what it holds, and its operations.")

    @Argument(help: ArgumentHelp(valueName: "FRAMEWORK")) var id: String
    @OptionGroup var read: ReadOptions
    @OptionGroup var options: ClientOptions

    func run() async throws {
        let parts = RegistryPart.all(.registry, .frameworks, .holds, .operations)
        let book = try await ClusterClient.with(options) { cluster in
            try await cluster.registry(parts, level: read.readLevel)
        }
        let framework = try book.framework(id)
        RegistryOutput.one(book.lines(of: framework), book.fullJSON(of: framework), asJSON: options.json)
    }
}

struct RegistryFrameworkTeardown: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "teardown", abstract: "End a framework, for ever: what its tasks hold is released.",
        discussion: "Reservations and volumes of its roles stay. Its tasks are for the master to kill.")

    @Argument(help: ArgumentHelp(valueName: "FRAMEWORK")) var id: String
    @OptionGroup var change: RegistryChangeOptions

    func run() async throws {
        try await change.carryOut(.frameworkTeardown(id: Array(id.utf8)), "framework \(id) is over")
    }
}

struct RegistryFrameworksForget: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "forget", abstract: "Forget frameworks that have ended.")

    @Argument(help: ArgumentHelp(valueName: "FRAMEWORK")) var ids: [String]
    @OptionGroup var change: RegistryChangeOptions

    func run() async throws {
        try await change.carryOut(
            .frameworksForget(ids.map { Array($0.utf8) }), "forgotten: \(ids.joined(separator: ", "))")
    }
}

// MARK: - What is shown

extension FrameworkRow {
    /// In whichever field they stand.
    var roles: [RoleName] { (try? info.checkedRoles()) ?? [] }
}

extension RegistryBook {
    static let frameworkHeader = ["FRAMEWORK", "NAME", "STATE", "ROLES", "PRINCIPAL", "SINCE", "OVER AT"]

    func frameworkRows(_ condition: FrameworkCondition? = nil) -> [RegistryOutput.Row] {
        frameworks.filter { condition == nil || FrameworkCondition($0.row.state) == condition }.map {
            framework -> RegistryOutput.Row in
            let row = framework.row
            let cells = [
                framework.id.bytes.shown, row.info.name.shown, FrameworkCondition(row.state).rawValue,
                row.roles.map(\.bytes.shown).joined(separator: ", "), row.info.principal?.shown ?? "-",
                Moment.text(row.stateSince), row.deadline.map { Moment.text($0) } ?? "-",
            ]
            return (cells: cells, json: JSON.object(members(of: framework)))
        }
    }

    private func members(of framework: Framework) -> [(String, JSON)] {
        let (row, info) = (framework.row, framework.row.info)
        return [
            ("id", framework.id.bytes.json), ("name", info.name.json), ("user", info.user.json),
            ("principal", info.principal?.json ?? .null), ("state", .string(FrameworkCondition(row.state).rawValue)),
            ("sinceMs", .milliseconds(row.stateSince)),
            ("overAtMs", row.deadline.map { JSON.milliseconds($0) } ?? .null),
            ("attached", .bool(row.state == .active && row.attachedFence == registry.fence)),
            ("roles", .texts(row.roles.map(\.bytes))), ("suppressedRoles", .texts(info.suppressedRoles)),
            ("capabilities", .array(info.capabilities.names.map { .string($0) })),
            ("failoverTimeoutSeconds", .string("\(info.failoverTimeout)")),
            ("checkpointing", .bool(info.isCheckpointing)), ("hostname", info.hostname.json),
            ("webuiURL", info.webuiURL.json), ("labels", info.labels.map { JSON.labels($0) } ?? .null),
        ]
    }

    private func holds(of framework: Framework) -> [Hold] { holds.filter { $0.framework == framework.id } }

    func lines(of framework: Framework) -> [String] {
        let (row, info) = (framework.row, framework.row.info)
        var lines = [
            "framework \(framework.id.bytes.shown), \(info.name.shown)",
            "\(FrameworkCondition(row.state).rawValue) since \(Moment.text(row.stateSince))",
            "roles: \(row.roles.map(\.bytes.shown).joined(separator: ", "))",
            "user \(info.user.shown), principal \(info.principal?.shown ?? "-"), on \(info.hostname.shown)",
            "capabilities: \(info.capabilities.names.joined(separator: ", "))",
            "may be away for \(info.failoverTimeout) s",
        ]
        if let deadline = row.deadline { lines.append("over at \(Moment.text(deadline)), unless it comes back") }
        lines += RegistryOutput.section(
            "holds", ["AGENT", "HOLD", "ROLE", "RESOURCES"],
            holds(of: framework).map { hold in
                [
                    hold.agent.bytes.shown, hold.id.shown, hold.row.role.bytes.shown,
                    ResourceNotation.text(hold.row.resources),
                ]
            })
        lines += RegistryOutput.section(
            "operations", Self.operationHeader, operationRows(framework: framework.id).map(\.cells))
        return lines
    }

    func fullJSON(of framework: Framework) -> JSON {
        let further: [(String, JSON)] = [
            ("holds", .array(holds(of: framework).map { Self.json($0) })),
            ("operations", .array(operationRows(framework: framework.id).map(\.json))),
        ]
        return .object(members(of: framework) + further)
    }
}

extension FrameworkCapabilities {
    private static let all: [(FrameworkCapabilities, String)] = [
        (.multiRole, "MULTI_ROLE"), (.sharedResources, "SHARED_RESOURCES"),
        (.reservationRefinement, "RESERVATION_REFINEMENT"), (.revocableResources, "REVOCABLE_RESOURCES"),
        (.gpuResources, "GPU_RESOURCES"), (.partitionAware, "PARTITION_AWARE"), (.regionAware, "REGION_AWARE"),
    ]

    /// As Mesos names them.
    fileprivate var names: [String] { Self.all.filter { contains($0.0) }.map(\.1) }
}
