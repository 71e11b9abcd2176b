internal import ArgumentParser
internal import Basics
internal import Client

/// For commands that change something.
struct GuardOptions: ParsableArguments {
    @Option(
        name: .customLong("guard"),
        help: ArgumentHelp(
            "Only while this fence holds, as election:GROUP=N or lock:NAME=N; may be given several times.",
            valueName: "FENCE"))
    var guards: [String] = []

    func fences() throws -> [Fence] { try guards.map { try Self.fence($0, of: "--guard") } }

    static func fence(_ text: String, of source: String) throws -> Fence {
        guard let fence = Fence(text) else {
            throw CommandError.usage(
                "\(source): \"\(text)\" is no fence; it has the form election:GROUP=N or lock:NAME=N, N above 0")
        }
        return fence
    }
}

// MARK: - Elections, sessions, fences

struct Session: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Look at the sessions of clients.", subcommands: [SessionList.self])
}

struct SessionList: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "Print the open sessions: id, timeout, age, and what goes with them.")

    @OptionGroup var options: ClientOptions

    func run() async throws {
        let sessions = try await ClusterClient.with(options) { try await $0.client.sessions() }
        var lines = LineBuffer()
        for session in sessions {
            let line =
                options.json
                ? JSON.object([
                    ("id", .string(session.id)), ("timeoutMs", .number(session.timeoutMilliseconds)),
                    ("openedAtMs", .number(session.openedAtMilliseconds)),
                    ("owned", .number(UInt64(session.ownedCount))),
                ]).text
                : "\(session.id)  timeout \(session.timeoutMilliseconds) ms, owns \(session.ownedCount)"
            lines.append(Array(line.utf8))
        }
        lines.flush()
    }
}

struct FenceCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "fence", abstract: "Look at fences of elections and locks.", subcommands: [FenceValidate.self])
}

struct FenceValidate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "validate", abstract: "Say whether a fence still holds; exit code 1 when it does not.",
        discussion: "For what the cluster cannot guard itself: ask before acting on what a leader or a holder says.")

    @Argument(help: ArgumentHelp("As election:GROUP=N or lock:NAME=N.", valueName: "FENCE")) var fence: String
    @OptionGroup var options: ClientOptions

    func run() async throws {
        let wanted = try GuardOptions.fence(fence, of: "FENCE")
        let answer = try await ClusterClient.with(options) { try await $0.client.validate(wanted) }
        if options.json {
            let object = JSON.object([
                ("fence", .string(wanted.description)), ("holds", .bool(answer.holds)),
                ("current", JSON.optional(answer.current)),
            ])
            Output.line(object.text)
        } else if answer.holds {
            Output.line("\(wanted) holds")
        } else {
            Output.line("\(wanted) does not hold: " + (answer.current.map { "\($0) does" } ?? "nobody has it"))
        }
        guard answer.holds else { throw ExitCode(1) }
    }
}

// MARK: - State API

struct StateCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "state", abstract: "Read and change variables of the State API.",
        discussion: "A variable has a UUID that changes with each store: who stores names the one that it has read.",
        subcommands: [StateGet.self, StateSet.self, StateExpunge.self, StateNames.self])
}

struct StateGet: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "get", abstract: "Print the value of a variable; exit code 1 when there is none.")

    @Argument(help: ArgumentHelp(valueName: "NAME")) var name: String
    @OptionGroup var read: ReadOptions
    @OptionGroup var options: ClientOptions

    func run() async throws {
        let variable = try await ClusterClient.with(options) {
            try await $0.client.stateFetch(name, level: read.readLevel.level)
        }
        guard variable.isStored else {
            if options.json {
                Output.line(JSON.object([("name", .string(name)), ("found", .bool(false))]).text)
            } else {
                Output.error("no such variable: \(name)")
            }
            throw ExitCode(1)
        }
        if options.json {
            let object = JSON.object([
                ("name", .string(name)), JSON.member("value", orBase64: "base64", variable.value),
                ("uuid", .string(variable.uuid)),
            ])
            Output.line(object.text)
        } else {
            Output.write(variable.value + [0x0A])
        }
    }
}

/// For commands that change a variable.
struct StateChangeOptions: ParsableArguments {
    @Argument(help: ArgumentHelp(valueName: "NAME")) var name: String
    @Option(help: ArgumentHelp("Only if the variable was last stored under this UUID.", valueName: "UUID"))
    var ifUuid: String?

    /// The variable as it is, if it is what the command line says.
    func fetch(_ client: MetadataClient) async throws -> StateVariable {
        let variable = try await client.stateFetch(name)
        guard let ifUuid, !variable.isStored || variable.uuid != ifUuid.lowercased() else { return variable }
        throw CommandError(
            "conflict", variable.isStored ? "\(name) was stored under \(variable.uuid)" : "no such variable: \(name)")
    }

    func conflict() -> CommandError {
        CommandError("conflict", "somebody else has changed \(name) meanwhile", isRetryable: true)
    }
}

struct StateSet: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "set", abstract: "Store a variable, and print the UUID under which it is stored.",
        usage: "quorate state set NAME VALUE [--if-uuid UUID]\n       quorate state set NAME -")

    @OptionGroup var change: StateChangeOptions
    @Argument(help: ArgumentHelp("The value; - reads it from standard input.")) var value: String
    @OptionGroup var guards: GuardOptions
    @OptionGroup var options: ClientOptions

    func run() async throws {
        let bytes = value == "-" ? try InputFile.read("-", sizeMax: Limits.valueSizeMaxCeiling) : Array(value.utf8)
        let fences = try guards.fences()
        let stored = try await ClusterClient.with(options) { cluster in
            var variable = try await change.fetch(cluster.client)
            variable.value = bytes
            return try await cluster.client.stateStore(variable, guards: fences, isOneShot: true)
        }
        guard let stored else { throw change.conflict() }
        let object = JSON.object([("name", .string(change.name)), ("uuid", .string(stored.uuid))])
        Output.line(options.json ? object.text : stored.uuid)
    }
}

struct StateExpunge: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "expunge", abstract: "Remove a variable; exit code 1 when there is none.")

    @OptionGroup var change: StateChangeOptions
    @OptionGroup var guards: GuardOptions
    @OptionGroup var options: ClientOptions

    func run() async throws {
        let fences = try guards.fences()
        let isGone = try await ClusterClient.with(options) { cluster in
            let variable = try await change.fetch(cluster.client)
            guard variable.isStored else { throw CommandError("notFound", "no such variable: \(change.name)") }
            return try await cluster.client.stateExpunge(variable, guards: fences, isOneShot: true)
        }
        guard isGone else { throw change.conflict() }
        let object = JSON.object([("name", .string(change.name)), ("expunged", .bool(true))])
        Output.line(options.json ? object.text : "expunged \(change.name)")
    }
}

struct StateNames: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "names", abstract: "Print the names of all variables, in order.")

    @OptionGroup var read: ReadOptions
    @OptionGroup var options: ClientOptions

    func run() async throws {
        let names = try await ClusterClient.with(options) {
            try await $0.client.stateNames(level: read.readLevel.level)
        }
        var lines = LineBuffer()
        for name in names {
            lines.append(
                options.json ? JSON.object([JSON.member("name", orBase64: "nameBase64", name)]).bytes : name)
        }
        lines.flush()
    }
}
