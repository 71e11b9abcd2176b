internal import ArgumentParser
internal import Basics
internal import Client
internal import Crypto
internal import MesosRegistry
internal import RegistryModel

struct RegistryImport: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "import", abstract: "Import the registry of a Mesos master into an empty one.",
        usage: """
            quorate registry import FILE
            quorate registry import FILE --check
            quorate registry import --abort
            """,
        discussion: """
            FILE (- for standard input) is the JSON document of the registry. A document of which any part cannot be
            taken is refused whole, and each such part is named; members that this release does not know are kept, and
            exported again.

            The command leads the group masters for as long as it runs; with --fence it acts for the master that leads.
            One that was interrupted goes on where it ended when it is run again; until then, or until it was aborted,
            the registry takes no other change, and `quorate registry status` says how far it is. Of the file that was
            imported last, and is still there, nothing is imported again.
            """)

    @Argument(help: ArgumentHelp("The file; - for standard input.", valueName: "FILE")) var file: String?
    @Flag(help: "Only say what is wrong with the file, or what it holds; no cluster is asked.") var check = false
    @Flag(help: "Delete what came of an import that is to go no further.") var abort = false
    @Option(help: ArgumentHelp("Only while this fence of the election `masters` holds.", valueName: "N"))
    var fence: UInt64?
    @OptionGroup var options: ClientOptions

    /// A document of 50,000 agents has some 100 MiB.
    private static let sizeMax = 1_024 * 1_024 * 1_024

    mutating func validate() throws {
        guard (file != nil) != abort else { throw ValidationError("Name a FILE, or give --abort.") }
        if check, abort { throw ValidationError("--check is for a FILE.") }
        if fence == 0 { throw ValidationError("--fence must be 1 or more.") }
    }

    func run() async throws {
        guard let file else { return try await abortImport() }
        let bytes = try InputFile.read(file, sizeMax: Self.sizeMax)
        let document: RegistryDocument
        do throws(RegistryDocument.Refusal) {
            document = try RegistryDocument(bytes)
        } catch {
            Self.tell(error.problems, in: InputFile.name(file), asJSON: options.json)
            throw ExitCode(1)
        }
        guard !check else { return tell(document, nil) }
        let id = Array(SHA256.hash(data: bytes).prefix(16))
        let outcome = try await asMaster { registry in
            var bar = ProgressBar("registry import, chunks")
            defer { bar.finish() }
            let chunks = ImportRecord.chunks(of: document.records)
            return try await Self.send(chunks, id, through: registry) { bar.update($0, of: chunks.count) }
        }
        tell(document, outcome)
    }

    /// - Returns: whether anything was to be imported still, and a revision at which all of it is there.
    private static func send(
        _ chunks: [[ImportRecord]], _ id: [UInt8], through registry: MasterRegistry, _ progress: (Int) -> Void
    ) async throws -> (isChanged: Bool, revision: UInt64) {
        var number = 0
        var isChanged = false
        while number < chunks.count {
            let (reply, revision) = try await change(
                .importChunk(
                    id: id, number: UInt64(number), isLast: number == chunks.count - 1, chunks[number]),
                through: registry)
            guard let done = reply.imported else { throw unexpected }
            if case .changed = reply { isChanged = true }
            guard !done.isDone else { return (isChanged, revision) }
            number = Int(clamping: done.chunks)
            progress(number)
        }
        throw unexpected
    }

    private func abortImport() async throws {
        let revision = try await asMaster { registry in
            while true {
                let (reply, revision) = try await Self.change(.importAbort, through: registry)
                guard let done = reply.imported else { throw Self.unexpected }
                if done.isDone { return revision }
            }
        }
        Output.line(
            options.json ? JSON.object([("revision", .number(revision))]).text : "no import is under way any more")
    }

    private static var unexpected: CommandError {
        CommandError("badReply", "the registry answered something else")
    }

    /// How long the cluster may be unable to do anything before the import gives up.
    private static let patience = Duration.seconds(60)

    /// A chunk that has come is not taken again, so it may be sent again.
    private static func change(
        _ command: RegistryCommand, through registry: MasterRegistry
    ) async throws -> (reply: RegistryReply, revision: UInt64) {
        let startedAt = ContinuousClock.now
        while true {
            do throws(ClientError) {
                return try await registry.change(command)
            } catch {
                guard error.isRetryable, ContinuousClock.now - startedAt < patience else { throw error }
                try await Task.sleep(for: .milliseconds(100))
            }
        }
    }

    /// With the fence that was given, or as the master that leads for the time of it.
    private func asMaster<Value>(_ body: (MasterRegistry) async throws -> Value) async throws -> Value {
        try await ClusterClient.with(options) { cluster in
            let group = MasterRegistry.group
            if let fence { return try await body(MasterRegistry(cluster.client, fence: .election(group, fence))) }
            if let leader = try await cluster.client.leader(group) {
                let address = String(decoding: leader.data, as: UTF8.self)
                throw CommandError(
                    "notLeading",
                    "a master leads (\(address)): stop it, or act for it with --fence "
                        + "\(leader.ticket.fence ?? leader.ticket.number)")
            }
            let registry = try await MasterRegistry.lead(
                cluster.client, data: Array("quorate registry import".utf8),
                deadline: .nanoseconds(options.timeout.interval.nanoseconds))
            let result: Result<Value, any Error>
            do {
                result = .success(try await body(registry))
            } catch {
                result = .failure(error)
            }
            _ = try? await cluster.client.withdraw(group)
            return try result.get()
        }
    }

    /// - Parameter outcome: nil: the document was only looked through.
    private func tell(_ document: RegistryDocument, _ outcome: (isChanged: Bool, revision: UInt64)?) {
        let counts = document.counts
        if options.json {
            var members = counts.map { ($0.what, JSON.number(UInt64($0.count))) }
            if let outcome {
                members += [("changed", .bool(outcome.isChanged)), ("revision", .number(outcome.revision))]
            }
            return Output.line(JSON.object(members).text)
        }
        let said = counts.filter { $0.count > 0 }.map { "\($0.count) \($0.what)" }.joined(separator: ", ")
        let verb = outcome.map { $0.isChanged ? "imported" : "imported already:" } ?? "holds"
        let last = outcome.map { ", revision \($0.revision)" } ?? ""
        Output.line("\(verb) \(said.isEmpty ? "an empty registry" : said)\(last)")
    }

    /// All of them, each on a line.
    private static func tell(_ problems: [ImportProblem], in name: String, asJSON: Bool) {
        let summary = "\(name) cannot be imported; parts of it that are wrong: \(problems.count)"
        guard !asJSON else { return Output.line(json(problems, summary).text) }
        Output.error((["Error: \(summary)"] + problems.map { "  \($0)" }).joined(separator: "\n"))
    }

    static func json(_ problems: [ImportProblem], _ summary: String) -> JSON {
        let parts: [JSON] = problems.map { problem in
            JSON.object([
                ("path", .string(problem.path)), ("rule", .string(problem.rule.rawValue)),
                ("message", .string(problem.detail)),
            ])
        }
        return JSON.object([
            ("error", .string("rejected")), ("message", .string(summary)), ("retryable", .bool(false)),
            ("problems", .array(parts)),
        ])
    }
}

extension RegistryReply {
    /// What it says of an import; nil: nothing.
    fileprivate var imported: (chunks: UInt64, isDone: Bool)? {
        switch self {
        case .changed(.imported(let chunks, let isDone)), .unchanged(.imported(let chunks, let isDone)):
            return (chunks, isDone)
        case .changed, .unchanged, .postponed: return nil
        }
    }
}
