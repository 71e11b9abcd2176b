internal import ArgumentParser
internal import RegistryModel

struct RegistryOperations: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "operations", abstract: "Show operations on the resources of agents, and how they went.",
        discussion: """
            What an operation changes is decided when it is asked for; it stays open until its agent has confirmed it
            and, where a framework wants to hear of it, that one has acknowledged. One that has ended is known for 24
            hours more.
            """,
        subcommands: [RegistryOperationList.self, RegistryOperationShow.self],
        defaultSubcommand: RegistryOperationList.self)
}

struct RegistryOperationList: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List operations: agent, framework, state, what they brought.")

    @Option(help: ArgumentHelp("Only on this agent.", valueName: "AGENT")) var agent: String?
    @Option(help: ArgumentHelp("Only of this framework.", valueName: "FRAMEWORK")) var framework: String?
    @Flag(help: "Also those that have ended.") var all = false
    @OptionGroup var read: ReadOptions
    @OptionGroup var options: ClientOptions

    func run() async throws {
        let book = try await ClusterClient.with(options) { cluster in
            try await cluster.registry([RegistryPart.operations(of: agent)], level: read.readLevel)
        }
        let framework = framework.map { RegistryID(unchecked: Array($0.utf8)) }
        RegistryOutput.list(
            RegistryBook.operationHeader, book.operationRows(framework: framework, all: all), asJSON: options.json)
    }
}

struct RegistryOperationShow: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Show an operation: what it took, what it brought, what was said of it.")

    @Argument(help: ArgumentHelp(valueName: "UUID")) var uuid: String
    @Option(help: ArgumentHelp("On this agent; faster where there are many.", valueName: "AGENT")) var agent: String?
    @OptionGroup var read: ReadOptions
    @OptionGroup var options: ClientOptions

    func run() async throws {
        let wanted = try RegistryUUID.parse(uuid, of: "UUID")
        let book = try await ClusterClient.with(options) { cluster in
            try await cluster.registry([RegistryPart.operations(of: agent)], level: read.readLevel)
        }
        let found = book.operations.filter { $0.uuid == wanted }
        guard !found.isEmpty else { throw CommandError("notFound", "no operation \(uuid) is known") }
        // A UUID is of one agent: two of them may have drawn the same.
        for operation in found {
            RegistryOutput.one(
                RegistryBook.lines(of: operation), RegistryBook.json(operation), asJSON: options.json)
        }
    }
}

// MARK: - What is shown

extension RegistryBook {
    static let operationHeader = ["OPERATION", "AGENT", "FRAMEWORK", "NAME", "STATE", "BROUGHT"]

    /// - Parameters:
    ///   - framework: nil: whoever asked for it.
    ///   - all: also those that have ended.
    func operationRows(framework: RegistryID? = nil, all: Bool = false) -> [RegistryOutput.Row] {
        operations.filter { (framework == nil || $0.row.frameworkID == framework) && (all || $0.row.isOpen) }.map {
            operation -> RegistryOutput.Row in
            let row = operation.row
            let cells = [
                RegistryUUID.text(operation.uuid), operation.agent.bytes.shown, row.frameworkID?.bytes.shown ?? "-",
                row.operationID?.bytes.shown ?? "-", Self.state(of: row),
                ResourceNotation.text(row.outcome.converted),
            ]
            return (cells: cells, json: Self.json(operation))
        }
    }

    private static func state(of row: OperationRow) -> String {
        "\(row.latestState)" + (row.isOpen ? "" : ", ended") + (row.isOrphan ? ", orphan" : "")
            + (row.isUndoBlocked ? ", UNDO BLOCKED" : "")
    }

    static func lines(of operation: Operation) -> [String] {
        let row = operation.row
        var lines = [
            "operation \(RegistryUUID.text(operation.uuid)) on agent \(operation.agent.bytes.shown): \(state(of: row))",
            "framework \(row.frameworkID?.bytes.shown ?? "-"), name \(row.operationID?.bytes.shown ?? "-")",
            "generation \(row.outcome.generation)",
        ]
        if let endedAt = row.endedAt { lines.append("ended at \(Moment.text(endedAt))") }
        if row.isUndoBlocked {
            lines.append("the agent could not do it, and what it brought is in use already: it was not taken back")
        }
        lines += RegistryOutput.section("took", ["RESOURCE"], row.consumed.map { [ResourceNotation.text($0)] })
        lines += RegistryOutput.section(
            "brought", ["RESOURCE"], row.outcome.converted.map { [ResourceNotation.text($0)] })
        lines += RegistryOutput.section(
            "statuses", ["STATE", "UUID", "ACKNOWLEDGED", "MESSAGE"],
            row.statuses.map { status in
                [
                    "\(status.state)", status.uuid.map { RegistryUUID.text($0) } ?? "-",
                    isAcknowledged(status, row) ? "yes" : "no", status.message.shown,
                ]
            })
        return lines
    }

    private static func isAcknowledged(_ status: OperationStatus, _ row: OperationRow) -> Bool {
        status.uuid.map { row.acknowledged.contains($0) } ?? false
    }

    static func json(_ operation: Operation) -> JSON {
        let row = operation.row
        let statuses = row.statuses.map { status in
            JSON.object([
                ("state", .string("\(status.state)")),
                ("uuid", .optional(status.uuid.map { RegistryUUID.text($0) })),
                ("acknowledged", .bool(isAcknowledged(status, row))), ("message", status.message.json),
            ])
        }
        return .object([
            ("uuid", .string(RegistryUUID.text(operation.uuid))), ("agent", operation.agent.bytes.json),
            ("framework", row.frameworkID?.bytes.json ?? .null), ("name", row.operationID?.bytes.json ?? .null),
            ("provider", row.providerID?.bytes.json ?? .null), ("state", .string("\(row.latestState)")),
            ("open", .bool(row.isOpen)), ("orphan", .bool(row.isOrphan)), ("undoBlocked", .bool(row.isUndoBlocked)),
            ("endedAtMs", row.endedAt.map { JSON.milliseconds($0) } ?? .null),
            ("generation", .number(row.outcome.generation)), ("took", .array(row.consumed.map(\.json))),
            ("brought", .array(row.outcome.converted.map(\.json))), ("statuses", .array(statuses)),
        ])
    }
}
