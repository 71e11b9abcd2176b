internal import ArgumentParser
internal import RegistryModel

struct RegistryVolumes: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "volumes", abstract: "Show persistent volumes on agents; create, destroy, resize them.",
        subcommands: [
            RegistryVolumeList.self, RegistryVolumeCreate.self, RegistryVolumeDestroy.self, RegistryVolumeGrow.self,
            RegistryVolumeShrink.self,
        ], defaultSubcommand: RegistryVolumeList.self)
}

struct RegistryVolumeList: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List volumes: agent, role, id, MB, how many tasks hold it, on which disk.")

    @Option(help: ArgumentHelp("Only of this agent.", valueName: "AGENT")) var agent: String?
    @Option(help: ArgumentHelp("Only of this role or one below.", valueName: "ROLE")) var role: String?
    @Flag(help: "Those that were lost with agents that are gone.") var lost = false
    @OptionGroup var read: ReadOptions
    @OptionGroup var options: ClientOptions

    func run() async throws {
        let prefix = RegistryPart.prefix(of: agent)
        let parts = lost ? [RegistryPart(table: .lostVolumes, prefix: prefix)] : RegistryPart.ledger(of: agent)
        let book = try await ClusterClient.with(options) { cluster in
            try await cluster.registry(parts, level: read.readLevel)
        }
        let rows = book.volumeRows(role: role.map { RoleName(unchecked: Array($0.utf8)) }, lost: lost)
        RegistryOutput.list(RegistryBook.volumeHeader, rows, asJSON: options.json)
    }
}

struct RegistryVolumeCreate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "create", abstract: "Make volumes of reserved disk of an agent.",
        discussion: """
            VOLUMES name the disk, its reservations, and what the volume is to be; a disk of mount, block or raw with
            an id is taken whole:
              quorate registry volumes create a1 'disk(db)[path /data, volume wal at data]:40000'
            `quorate registry resources --help` has the form.
            """)

    @OptionGroup var operation: RegistryOperationOptions
    @Argument(help: ArgumentHelp(valueName: "VOLUMES")) var volumes: String

    func run() async throws {
        let volumes = try ResourceNotation.parse(volumes, of: "VOLUMES")
        try await operation.apply(.create(volumes), "created")
    }
}

/// For commands that change a volume that is there.
struct RegistryVolumeOptions: ParsableArguments {
    @OptionGroup var operation: RegistryOperationOptions
    @Argument(help: ArgumentHelp("The role that it is reserved to.", valueName: "ROLE")) var role: String
    @Argument(help: ArgumentHelp("The id of the volume.", valueName: "VOLUME")) var id: String

    /// Looks the volume up, and does with it what `kind` says.
    func apply(_ done: String, _ kind: (Resource) -> OperationKind) async throws {
        try await operation.apply("volume \(id) of role \(role) is \(done)") { cluster in
            let book = try await cluster.registry(
                [RegistryPart(table: .entries, prefix: Array(operation.agent.utf8) + [0])], level: .linearizable)
            return kind(try book.volume(id, of: role, on: operation.agent))
        }
    }
}

struct RegistryVolumeDestroy: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "destroy", abstract: "Make a volume plain disk again: what is on it is deleted.",
        discussion: "The disk stays reserved. It is refused while a task holds the volume.")

    @OptionGroup var volume: RegistryVolumeOptions

    func run() async throws {
        try await volume.apply("destroyed") { .destroy([ResourceClaim($0)]) }
    }
}

struct RegistryVolumeGrow: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "grow", abstract: "Add disk of the same reservation to a volume.")

    @OptionGroup var volume: RegistryVolumeOptions
    @Argument(help: ArgumentHelp("How much more.", valueName: "MB")) var amount: Double

    func run() async throws {
        try await volume.apply("\(amount) MB larger") { resource in
            var addition = ResourceClaim(resource.plainDisk)
            addition.scalar = amount
            return .growVolume(ResourceClaim(resource), addition: addition)
        }
    }
}

struct RegistryVolumeShrink: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "shrink", abstract: "Take disk away from a volume; it stays reserved.",
        discussion: "The file system on it is for the agent to shrink, and its files must fit.")

    @OptionGroup var volume: RegistryVolumeOptions
    @Argument(help: ArgumentHelp("How much less.", valueName: "MB")) var amount: Double

    func run() async throws {
        try await volume.apply("\(amount) MB smaller") { .shrinkVolume(ResourceClaim($0), subtract: amount) }
    }
}

// MARK: - What is shown

extension RegistryBook {
    static let volumeHeader = ["AGENT", "ROLE", "VOLUME", "MB", "HOLDS", "RESOURCE"]

    /// - Parameters:
    ///   - role: nil: of whichever role.
    ///   - lost: those of agents that are gone.
    func volumeRows(role: RoleName? = nil, lost: Bool = false) -> [RegistryOutput.Row] {
        let known =
            lost
            ? lostVolumes.map { Share(agent: $0.agent, resource: $0.resource, held: nil, holderCount: 0) } : shares()
        return known.compactMap { share -> RegistryOutput.Row? in
            guard let id = share.resource.disk?.persistence?.id, let owner = share.resource.reservationRole,
                role.map({ owner.isSameOrSubrole(of: $0) }) ?? true
            else { return nil }
            let kind = ResourceNotation.kind(of: share.resource)
            let amount = ResourceNotation.text(share.resource.value)
            let cells = [
                share.agent.bytes.shown, owner.bytes.shown, id.bytes.shown, amount, "\(share.holderCount)", kind,
            ]
            let json = JSON.object([
                ("agent", share.agent.bytes.json), ("role", owner.bytes.json), ("id", id.bytes.json),
                ("amount", .string(amount)), ("shared", .bool(share.resource.isShared)),
                ("holds", .number(UInt64(share.holderCount))), ("lost", .bool(lost)),
                ("resource", .string(ResourceNotation.text(share.resource))),
            ])
            return (cells: cells, json: json)
        }
    }

    /// - Throws: `notFound`.
    func volume(_ id: String, of role: String, on agent: String) throws -> Resource {
        let found = entries.first { entry in
            entry.agent.bytes == Array(agent.utf8) && entry.resource.reservationRole?.bytes == Array(role.utf8)
                && entry.resource.disk?.persistence?.id.bytes == Array(id.utf8)
        }
        guard let found else {
            throw CommandError("notFound", "agent \(agent) has no volume \(id) of role \(role)")
        }
        return found.resource
    }
}
