internal import ArgumentParser
internal import Client
internal import RegistryModel

struct RegistryResources: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "resources", abstract: "Show what agents have and who has it; reserve it as an operator.",
        discussion: ResourceNotation.help,
        subcommands: [RegistryResourceList.self, RegistryReserve.self, RegistryUnreserve.self],
        defaultSubcommand: RegistryResourceList.self)
}

struct RegistryResourceList: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List the entries of the agents' ledgers: resource, amount, how much is held.")

    @Option(help: ArgumentHelp("Only of this agent.", valueName: "AGENT")) var agent: String?
    @Option(help: ArgumentHelp("Only what is reserved to this role or one below; *: to nobody.", valueName: "ROLE"))
    var role: String?
    @Flag(help: "Only sums by name: how much there is, is reserved, is held.") var sum = false
    @OptionGroup var read: ReadOptions
    @OptionGroup var options: ClientOptions

    func run() async throws {
        let book = try await ClusterClient.with(options) { cluster in
            try await cluster.registry(RegistryPart.ledger(of: agent), level: read.readLevel)
        }
        let role = role.map { RoleName(unchecked: Array($0.utf8)) }
        if sum {
            RegistryOutput.list(RegistryBook.sumHeader, book.sumRows(role: role), asJSON: options.json)
        } else {
            RegistryOutput.list(RegistryBook.resourceHeader, book.resourceRows(role: role), asJSON: options.json)
        }
    }
}

/// For operations of an operator on the resources of an agent.
struct RegistryOperationOptions: ParsableArguments {
    @Argument(help: ArgumentHelp("The agent that has them.", valueName: "AGENT")) var agent: String

    @Option(
        help: ArgumentHelp(
            "On whose behalf: the reservations or volumes have to name the same principal.", valueName: "P"))
    var principal: String?

    @Option(
        help: ArgumentHelp(
            "Names the operation: asked for again under the same UUID, it is not carried out twice.",
            discussion: "Default: one that is drawn at random, and printed.", valueName: "UUID"))
    var uuid: String?

    @OptionGroup var change: RegistryChangeOptions

    func apply(_ kind: OperationKind, _ done: String) async throws {
        try await apply(done) { _ in kind }
    }

    /// - Parameter kind: may ask the cluster first.
    func apply(_ done: String, _ kind: (ClusterClient) async throws -> OperationKind) async throws {
        let uuid = try self.uuid.map { try RegistryUUID.parse($0, of: "--uuid") } ?? RegistryUUID.new()
        let name = RegistryUUID.text(uuid)
        let outcome = try await ClusterClient.with(change.options) { cluster in
            let request = OperationRequest(
                agentID: Array(agent.utf8), principal: principal.map { Array($0.utf8) }, uuid: uuid,
                kind: try await kind(cluster))
            do {
                return try await change.carryOut(.operationsApply([request], isAtomic: true), cluster)
            } catch let failure as ClientError where failure.mayHaveTakenEffect {
                var error = failure
                error.message += "; run it again with --uuid \(name), and it is done once"
                throw error
            }
        }
        change.tell(outcome, "\(done), operation \(name)", [("uuid", .string(name))])
    }
}

struct RegistryReserve: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "reserve", abstract: "Reserve resources of an agent to a role.",
        discussion: """
            RESOURCES name the reservations as they are to be; the uppermost is the new one:
              quorate registry resources reserve a1 'cpus(db):4; mem(db):8192'
              quorate registry resources reserve a1 'cpus(db, db/eu):2'          (out of what db has)
            With --source the reservations of SOURCE, whatever they are, are replaced by those of RESOURCES.
            `quorate registry resources --help` has the form.
            """)

    @OptionGroup var operation: RegistryOperationOptions
    @Argument(help: ArgumentHelp(valueName: "RESOURCES")) var resources: String
    @Option(help: ArgumentHelp("What it is now.", valueName: "RESOURCES")) var source: String?

    func run() async throws {
        let resources = try ResourceNotation.parse(resources, of: "RESOURCES")
        let source = try source.map { try ResourceNotation.parse($0, of: "--source") }
        try await operation.apply(.reserve(resources, source: source), "reserved")
    }
}

struct RegistryUnreserve: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "unreserve", abstract: "Take the uppermost reservation of resources away.",
        discussion: """
            RESOURCES are written as `quorate registry resources list` shows them, with all their reservations; a part
            of the amount may be named.
            """)

    @OptionGroup var operation: RegistryOperationOptions
    @Argument(help: ArgumentHelp(valueName: "RESOURCES")) var resources: String

    func run() async throws {
        let resources = try ResourceNotation.parse(resources, of: "RESOURCES")
        try await operation.apply(.unreserve(resources), "unreserved")
    }
}

// MARK: - What is shown

extension RegistryBook {
    static let resourceHeader = ["AGENT", "RESOURCE", "AMOUNT", "HELD"]
    static let sumHeader = ["NAME", "TOTAL", "RESERVED", "HELD"]

    private func shares(reservedTo role: RoleName?) -> [Share] {
        guard let role else { return shares() }
        return shares().filter { share in
            guard let reserved = share.resource.reservationRole else { return role == .any }
            return reserved.isSameOrSubrole(of: role)
        }
    }

    /// - Parameter role: nil: whoever it is reserved to.
    func resourceRows(role: RoleName? = nil) -> [RegistryOutput.Row] {
        shares(reservedTo: role).map { share -> RegistryOutput.Row in
            let held = share.held.map { ResourceNotation.text($0) }
            let cells = [
                share.agent.bytes.shown, ResourceNotation.kind(of: share.resource),
                ResourceNotation.text(share.resource.value), held ?? "-",
            ]
            guard case .object(let members) = share.resource.json else { return (cells: cells, json: .null) }
            let agent = JSON.Member(name: "agent", value: share.agent.bytes.json)
            let last = JSON.Member(name: "held", value: .optional(held))
            return (cells: cells, json: JSON.object([agent] + members + [last]))
        }
    }

    func sumRows(role: RoleName? = nil) -> [RegistryOutput.Row] {
        var (total, reserved, held) = (Quantities.none, Quantities.none, Quantities.none)
        for share in shares(reservedTo: role) {
            let resource = share.resource
            total.add(resource.value, of: resource.name)
            if !resource.stack.isEmpty { reserved.add(resource.value, of: resource.name) }
            if let value = share.held { held.add(value, of: resource.name) }
        }
        return total.items.map { item -> RegistryOutput.Row in
            let amounts = [item.amount, reserved[item.name] ?? .zero, held[item.name] ?? .zero].map(\.description)
            let json = JSON.object([
                ("name", item.name.json), ("total", .string(amounts[0])), ("reserved", .string(amounts[1])),
                ("held", .string(amounts[2])),
            ])
            return (cells: [item.name.shown] + amounts, json: json)
        }
    }
}
