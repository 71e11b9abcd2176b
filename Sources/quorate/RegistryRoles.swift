internal import ArgumentParser
internal import RegistryModel

struct RegistryRoles: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "roles", abstract: "Show roles: weight, quota, what they use, who has them.",
        discussion: """
            A role is there while anything names it or a role below it: a framework, a weight, a quota, a reservation.
            It uses what is reserved to it, held or not, and what its frameworks hold besides; roles below count in.
            """,
        subcommands: [RegistryRoleList.self, RegistryRoleShow.self], defaultSubcommand: RegistryRoleList.self)
}

struct RegistryRoleList: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "list", abstract: "List all roles.")

    @OptionGroup var read: ReadOptions
    @OptionGroup var options: ClientOptions

    func run() async throws {
        let book = try await ClusterClient.with(options) { cluster in
            try await cluster.registry(
                RegistryPart.all(.quotas, .legacyQuotas, .weights, .consumption, .frameworks), level: read.readLevel)
        }
        RegistryOutput.list(RegistryBook.roleHeader, book.roleRows(), asJSON: options.json)
    }
}

struct RegistryRoleShow: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Show a role, with what is reserved to it and held by it.",
        discussion: "What is reserved and held counts agents that are unreachable too; what it uses does not.")

    @Argument(help: ArgumentHelp(valueName: "ROLE")) var role: String
    @OptionGroup var read: ReadOptions
    @OptionGroup var options: ClientOptions

    func run() async throws {
        let parts =
            RegistryPart.all(.quotas, .legacyQuotas, .weights, .consumption, .frameworks)
            + RegistryPart.ledger(of: nil)
        let book = try await ClusterClient.with(options) { cluster in
            try await cluster.registry(parts, level: read.readLevel)
        }
        let name = RoleName(unchecked: Array(role.utf8))
        guard book.roles().contains(name) else { throw CommandError("notFound", "nothing names a role \(role)") }
        RegistryOutput.one(book.lines(of: name), book.fullJSON(of: name), asJSON: options.json)
    }
}

// MARK: - Quota

struct RegistryQuota: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "quota", abstract: "Show and change what roles get at least, and at most.",
        subcommands: [
            RegistryQuotaList.self, RegistryQuotaShow.self, RegistryQuotaSet.self, RegistryQuotaRemove.self,
        ], defaultSubcommand: RegistryQuotaList.self)
}

struct RegistryQuotaList: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "list", abstract: "List the roles that have quota.")

    @OptionGroup var read: ReadOptions
    @OptionGroup var options: ClientOptions

    func run() async throws {
        let book = try await RegistryQuota.read(options, read)
        let rows = book.quotas.keys.sorted().map { book.quotaRow(of: $0) }
        RegistryOutput.list(RegistryBook.quotaHeader, rows, asJSON: options.json)
    }
}

struct RegistryQuotaShow: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Show the quota of a role, beside what it uses.")

    @Argument(help: ArgumentHelp(valueName: "ROLE")) var role: String
    @OptionGroup var read: ReadOptions
    @OptionGroup var options: ClientOptions

    func run() async throws {
        let book = try await RegistryQuota.read(options, read)
        let row = book.quotaRow(of: RoleName(unchecked: Array(role.utf8)))
        RegistryOutput.list(RegistryBook.quotaHeader, [row], asJSON: options.json)
    }
}

extension RegistryQuota {
    fileprivate static func read(_ options: ClientOptions, _ read: ReadOptions) async throws -> RegistryBook {
        try await ClusterClient.with(options) { cluster in
            try await cluster.registry(
                RegistryPart.all(.quotas, .legacyQuotas, .consumption), level: read.readLevel)
        }
    }
}

struct RegistryQuotaSet: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "set", abstract: "Set the whole quota of a role.",
        discussion: """
            What is not named is not guaranteed, or not limited any more; mem and disk are MB:
              quorate registry quota set db --guarantee cpus=10,mem=4096 --limit cpus=20
            """)

    @Argument(help: ArgumentHelp(valueName: "ROLE")) var role: String
    @Option(help: ArgumentHelp("What it gets at least; may be given several times.", valueName: "NAME=NUMBER,…"))
    var guarantee: [String] = []
    @Option(help: ArgumentHelp("What it gets at most; may be given several times.", valueName: "NAME=NUMBER,…"))
    var limit: [String] = []
    @Flag(help: "Also when it uses more than a limit, or more is guaranteed than there is.") var force = false
    @OptionGroup var change: RegistryChangeOptions

    mutating func validate() throws {
        if guarantee.isEmpty, limit.isEmpty {
            throw ValidationError("Name a --guarantee or a --limit, or use `quorate registry quota remove`.")
        }
    }

    func run() async throws {
        let config = QuotaConfig(
            role: Array(role.utf8), guarantees: try NamedNumber.list(guarantee, of: "--guarantee"),
            limits: try NamedNumber.list(limit, of: "--limit"))
        try await change.carryOut(.quotaUpdate([config], isForced: force), "role \(role) has this quota")
    }
}

struct RegistryQuotaRemove: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "remove", abstract: "Take the quota of roles away: nothing guaranteed, nothing limited.")

    @Argument(help: ArgumentHelp(valueName: "ROLE")) var roles: [String]
    @Flag(help: "Also when more is guaranteed to others than there is.") var force = false
    @OptionGroup var change: RegistryChangeOptions

    func run() async throws {
        try await change.carryOut(
            .quotaUpdate(roles.map { QuotaConfig(role: Array($0.utf8)) }, isForced: force),
            "no quota: \(roles.joined(separator: ", "))")
    }
}

// MARK: - Weights

struct RegistryWeights: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "weights", abstract: "Show and change how much roles get compared with others; 1 if not set.",
        subcommands: [RegistryWeightList.self, RegistryWeightsSet.self], defaultSubcommand: RegistryWeightList.self)
}

struct RegistryWeightList: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "list", abstract: "List the weights that are set.")

    @OptionGroup var read: ReadOptions
    @OptionGroup var options: ClientOptions

    func run() async throws {
        let book = try await ClusterClient.with(options) { cluster in
            try await cluster.registry(RegistryPart.all(.weights), level: read.readLevel)
        }
        RegistryOutput.list(["ROLE", "WEIGHT"], book.weightRows(), asJSON: options.json)
    }
}

struct RegistryWeightsSet: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "set", abstract: "Set the weights of roles: all of them, or none.")

    @Argument(help: ArgumentHelp(valueName: "ROLE=WEIGHT")) var weights: [String]
    @OptionGroup var change: RegistryChangeOptions

    func run() async throws {
        let stated = try weights.map { try NamedNumber(argument: $0[...], of: "ROLE=WEIGHT") }
        try await change.carryOut(
            .weightsUpdate(stated.map { Weight(role: $0.name, weight: $0.number) }),
            "weights: \(weights.joined(separator: ", "))")
    }
}

// MARK: - What is shown

extension RegistryBook {
    static let roleHeader = ["ROLE", "WEIGHT", "FRAMEWORKS", "GUARANTEED", "LIMITS", "USES"]
    static let quotaHeader = ["ROLE", "GUARANTEED", "LIMITS", "USES", "OVER LIMIT"]

    /// All that anything names, in order.
    func roles() -> [RoleName] {
        var named = Set(quotas.keys).union(weights.keys).union(consumption.keys)
        for framework in frameworks where !framework.row.state.isOver { named.formUnion(framework.row.roles) }
        for entry in entries { if let role = entry.resource.reservationRole { named.insert(role) } }
        return named.union(named.flatMap(\.ancestors)).sorted()
    }

    private func frameworks(of role: RoleName) -> [Framework] {
        frameworks.filter { framework in
            !framework.row.state.isOver && framework.row.roles.contains { $0.isSameOrSubrole(of: role) }
        }
    }

    /// What a role uses beyond its limits.
    func excess(of role: RoleName) -> [[UInt8]] {
        (quotas[role] ?? QuotaRow()).exceeded(by: consumption[role] ?? .none)
    }

    private func members(of role: RoleName) -> [(String, JSON)] {
        let quota = quotas[role] ?? QuotaRow()
        return [
            ("role", role.bytes.json), ("weight", .string("\(weights[role] ?? 1)")),
            ("guarantees", quota.guarantees.json), ("limits", quota.limits.json),
            ("consumption", (consumption[role] ?? .none).json), ("overLimit", .texts(excess(of: role))),
        ]
    }

    func quotaRow(of role: RoleName) -> RegistryOutput.Row {
        let quota = quotas[role] ?? QuotaRow()
        let excess = excess(of: role).map(\.shown).joined(separator: ", ")
        let cells = [
            role.bytes.shown, quota.guarantees.text, quota.limits.text, (consumption[role] ?? .none).text,
            excess.isEmpty ? "-" : excess,
        ]
        return (cells: cells, json: JSON.object(members(of: role).filter { $0.0 != "weight" }))
    }

    func roleRows() -> [RegistryOutput.Row] {
        roles().map { role -> RegistryOutput.Row in
            let quota = quotas[role] ?? QuotaRow()
            let having = frameworks(of: role)
            let cells = [
                role.bytes.shown, "\(weights[role] ?? 1)", "\(having.count)", quota.guarantees.text, quota.limits.text,
                (consumption[role] ?? .none).text,
            ]
            let further: [(String, JSON)] = [("frameworks", .texts(having.map(\.id.bytes)))]
            return (cells: cells, json: JSON.object(members(of: role) + further))
        }
    }

    func weightRows() -> [RegistryOutput.Row] {
        weights.sorted { $0.key < $1.key }.map { role, weight -> RegistryOutput.Row in
            let json = JSON.object([("role", role.bytes.json), ("weight", .string("\(weight)"))])
            return (cells: [role.bytes.shown, "\(weight)"], json: json)
        }
    }

    /// Reserved to the role or one below, and held under it or one below.
    func shares(of role: RoleName) -> (reserved: Quantities, held: Quantities) {
        var (reserved, held) = (Quantities.none, Quantities.none)
        for entry in entries where entry.resource.reservationRole?.isSameOrSubrole(of: role) == true {
            reserved.add(entry.resource.value, of: entry.resource.name)
        }
        for hold in holds where hold.row.role.isSameOrSubrole(of: role) {
            for resource in hold.row.resources { held.add(resource.value, of: resource.name) }
        }
        return (reserved, held)
    }

    func lines(of role: RoleName) -> [String] {
        let quota = quotas[role] ?? QuotaRow()
        let (reserved, held) = shares(of: role)
        let excess = excess(of: role).map(\.shown)
        var lines = [
            "role \(role.bytes.shown), weight \(weights[role] ?? 1)", "guaranteed: \(quota.guarantees.text)",
            "limits: \(quota.limits.text)", "uses: \((consumption[role] ?? .none).text)",
            "reserved: \(reserved.text)", "held: \(held.text)",
        ]
        if !excess.isEmpty { lines.append("OVER LIMIT: \(excess.joined(separator: ", "))") }
        lines += RegistryOutput.section(
            "frameworks", ["FRAMEWORK", "NAME"],
            frameworks(of: role).map { [$0.id.bytes.shown, $0.row.info.name.shown] })
        return lines
    }

    func fullJSON(of role: RoleName) -> JSON {
        let (reserved, held) = shares(of: role)
        let further: [(String, JSON)] = [
            ("reserved", reserved.json), ("held", held.json),
            ("frameworks", .texts(frameworks(of: role).map(\.id.bytes))),
        ]
        return .object(members(of: role) + further)
    }
}
