internal import ArgumentParser
internal import Basics
internal import Client

struct Put: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Store a value under a key.",
        usage:
            "quorate put KEY VALUE [--if-revision R]\n       quorate put KEY -        (the value comes from standard input)"
    )

    @OptionGroup var options: ClientOptions
    @Argument(help: "The key.") var key: String
    @Argument(help: "The value; - reads it from standard input.") var value: String
    @Option(
        help: ArgumentHelp("Only if the key was last changed at R; 0: only if there is no such key.", valueName: "R"))
    var ifRevision: UInt64?
    @OptionGroup var guards: GuardOptions

    func run() async throws {
        let fences = try guards.fences()
        let bytes = value == "-" ? try InputFile.read("-", sizeMax: Limits.valueSizeMaxCeiling) : Array(value.utf8)
        let revision = try await ClusterClient.with(options) {
            try await $0.put(key: Array(key.utf8), value: bytes, ifRevision: ifRevision, guards: fences)
        }
        Output.line(options.json ? JSON.object([("revision", .number(revision))]).text : "revision \(revision)")
    }
}

struct Get: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Print the value of a key; exit code 1 when there is none.",
        discussion: """
            With --at the value as it was then, for a key that has history (`quorate history on PREFIX`), as far back as the
            nodes keep the log of its changes.
            """)

    @OptionGroup var options: ClientOptions
    @OptionGroup var read: ReadOptions
    @Argument(help: "The key.") var key: String
    @Option(help: ArgumentHelp("As it was then: \(PastPointArgument.form).", valueName: "R|TIME"))
    var at: PastPointArgument?

    mutating func validate() throws {
        try at?.checkForm("--at")
        if at != nil, read.readLevel == .stale {
            throw ValidationError("--at is exact: leave out --read-level stale.")
        }
    }

    func run() async throws {
        let bytes = Array(key.utf8)
        let point = try at?.point()
        let row = try await ClusterClient.with(options) { cluster in
            guard let point else { return try await cluster.get(key: bytes, level: read.readLevel) }
            do {
                return try await cluster.client.get(bytes, at: point)
            } catch let error as ClientError where error.code == .compacted {
                throw try await cluster.explained(error)
            }
        }
        guard let row else {
            if options.json {
                Output.line(JSON.object([("key", .string(key)), ("found", .bool(false))]).text)
            } else {
                Output.error("no such key: \(key)")
            }
            throw ExitCode(1)
        }
        if options.json {
            Output.line(JSON.row(key: row.key, value: row.value, revision: row.revision, owner: row.owner).text)
        } else {
            Output.write(row.value + [0x0A])
        }
    }
}

struct Delete: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Delete a key, or every key that begins with a prefix.",
        discussion: """
            With --prefix the records go in batches, each at once: what is put under the prefix meanwhile may stay. If it
            is interrupted, run it again. Deletes are accepted also while writes are refused for full disks.
            """)

    @OptionGroup var options: ClientOptions
    @Argument(help: "The key, or with --prefix the prefix.") var key: String
    @Flag(help: "Delete every record whose key begins with it.") var prefix = false
    @Option(help: ArgumentHelp("Only if the key was last changed at R.", valueName: "R"))
    var ifRevision: UInt64?
    @OptionGroup var guards: GuardOptions

    mutating func validate() throws {
        guard prefix else { return }
        if ifRevision != nil { throw ValidationError("--if-revision is for one key: leave out --prefix.") }
        if !guards.guards.isEmpty { throw ValidationError("--guard is for one key: leave out --prefix.") }
        if key.isEmpty { throw ValidationError("An empty prefix would delete every record: name one.") }
    }

    func run() async throws {
        let bytes = Array(key.utf8)
        let fences = try guards.fences()
        if prefix {
            let deleted = try await ClusterClient.with(options) { try await $0.delete(prefix: bytes) }
            let fields = [("deleted", JSON.number(deleted.count)), ("revision", .number(deleted.revision))]
            let text = "deleted \(deleted.count) records, revision \(deleted.revision)"
            return Output.line(options.json ? JSON.object(fields).text : text)
        }
        let revision = try await ClusterClient.with(options) {
            try await $0.delete(key: bytes, ifRevision: ifRevision, guards: fences)
        }
        Output.line(options.json ? JSON.object([("revision", .number(revision))]).text : "revision \(revision)")
    }
}

struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Print the records whose keys begin with a prefix, in key order.",
        discussion: """
            All of them are of one revision, however long the list is.

            With --since R only what has changed after revision R, each key in its last form: the records that were put, then
            the keys that are gone. A line is put or deleted, the revision of the last change, the key, the value; the
            revision that the list shows comes first, on standard error. With --json:
              {"revision":N}
              {"key":K,"value":V,"revision":R}
              {"key":K,"deleted":true,"revision":R}
            """)

    @OptionGroup var options: ClientOptions
    @OptionGroup var read: ReadOptions
    @Argument(help: "The prefix; \"\" for every key.") var prefix: String = ""
    @Flag(help: "Keys without values.") var keysOnly = false
    @Flag(help: "Only how many there are.") var count = false
    @Option(help: ArgumentHelp("Stop after N records.", valueName: "N")) var limit: Int?
    @Option(help: ArgumentHelp("Only what has changed after revision R.", valueName: "R")) var since: UInt64?

    mutating func validate() throws {
        if since != nil, count || limit != nil || read.readLevel == .stale {
            throw ValidationError("--since lists all changes: leave out --count, --limit and --read-level stale.")
        }
        if let limit, limit < 1 { throw ValidationError("--limit must be 1 or more.") }
        if count && (keysOnly || limit != nil) {
            throw ValidationError("--count counts all of them: leave out --keys-only and --limit.")
        }
    }

    func run() async throws {
        let bytes = Array(prefix.utf8)
        if let since { return try await listChanges(bytes, since: since) }
        if count {
            let number = try await ClusterClient.with(options) {
                try await $0.count(prefix: bytes, level: read.readLevel)
            }
            Output.line(options.json ? JSON.object([("count", .number(number))]).text : "\(number)")
            return
        }
        try await ClusterClient.with(options) { client in
            var output = LineBuffer()
            try await client.list(prefix: bytes, keysOnly: keysOnly, limit: limit, level: read.readLevel) { row in
                output.append(line(of: row))
            }
            output.flush()
        }
    }

    private func listChanges(_ prefix: [UInt8], since: UInt64) async throws {
        try await ClusterClient.with(options) { cluster in
            var output = LineBuffer()
            try await cluster.client.changes(under: prefix, since: since) { revision in
                if options.json {
                    output.append(JSON.object([("revision", .number(revision))]).bytes)
                } else {
                    Output.error("changes after revision \(since), as of revision \(revision)")
                }
            } _: { row in
                guard !row.key.starts(with: ReservedKeys.prefix) else { return }
                output.append(line(of: row))
            }
            output.flush()
        }
    }

    private func line(of row: ChangedRow) -> [UInt8] {
        if options.json {
            guard row.value == nil else {
                return JSON.row(key: row.key, value: keysOnly ? nil : row.value, revision: row.revision).bytes
            }
            let key = JSON.member("key", orBase64: "keyBase64", row.key)
            return JSON.object([key, ("deleted", .bool(true)), ("revision", .number(row.revision))]).bytes
        }
        let line = Array("\(row.value == nil ? "deleted" : "put")\t\(row.revision)\t".utf8) + Self.readable(row.key)
        guard let value = row.value, !keysOnly else { return line }
        return line + [0x09] + Self.readable(value)
    }

    private func line(of row: KeyValue) -> [UInt8] {
        if options.json {
            let value = keysOnly ? nil : row.value
            return JSON.row(key: row.key, value: value, revision: row.revision, owner: row.owner).bytes
        }
        return keysOnly ? Self.readable(row.key) : Self.readable(row.key) + [0x09] + Self.readable(row.value)
    }

    /// As it is when it is text without control characters; else in quotes and escapes, or in Base64.
    static func readable(_ bytes: [UInt8]) -> [UInt8] {
        guard let text = String(validating: bytes, as: UTF8.self) else {
            return Array("base64:\(Base64.encode(bytes))".utf8)
        }
        return bytes.contains { $0 < 0x20 || $0 == 0x7F } ? JSON.string(text).bytes : bytes
    }
}

struct Txn: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Do several things at once, if what they rest on still holds.",
        discussion: """
            FILE (- for standard input) holds one JSON object:
              {"if":   [{"key":K,"revision":R} | {"key":K,"value":V} | {"key":K,"exists":true}
                        | {"prefix":P,"unchangedSince":R}],
               "then": [{"put":{"key":K,"value":V}} | {"delete":{"key":K}} | {"deletePrefix":P} | {"get":{"key":K}}],
               "else": [the same]}
            "keyBase64", "base64" and "prefixBase64" stand for "key", "value" and "prefix" that are not UTF-8.
            """)

    @OptionGroup var options: ClientOptions
    @Argument(help: "The file; - for standard input.") var file: String
    @OptionGroup var guards: GuardOptions

    func run() async throws {
        let fences = try guards.fences()
        let transaction = try TransactionFile.parse(
            try InputFile.read(file, sizeMax: 2 * Limits.valueSizeMaxCeiling), name: InputFile.name(file))
        let outcome = try await ClusterClient.with(options) { try await $0.transact(transaction, guards: fences) }
        if options.json { return Output.line(outcome.json.text) }
        Output.line("\(outcome.succeeded ? "then" : "else"), revision \(outcome.revision)")
        for result in outcome.results { Output.line("  \(result.text)") }
    }
}
