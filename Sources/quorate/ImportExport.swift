internal import ArgumentParser
internal import Client

struct Import: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Store the records of a file, one {\"key\":…,\"value\":…} a line.",
        discussion: """
            Bytes that are not UTF-8 are given as "keyBase64" and "base64". Each transaction stores up to 1,000 lines and,
            with them, how far it has come: an import that was interrupted goes on where it ended when it is run again,
            and a file that was imported is not imported a second time.
            """)

    @OptionGroup var options: ClientOptions
    @Argument(help: "The file.") var file: String

    func run() async throws {
        let file = try ImportFile(path: file)
        let summary = try file.summarize()
        let importer = Importer(summary: summary)
        let result = try await ClusterClient.with(options) { try await importer.run(file, through: $0) }
        if options.json {
            Output.line(
                JSON.object([
                    ("lines", .number(UInt64(summary.lineCount))), ("imported", .number(UInt64(result.imported))),
                    ("alreadyDone", .number(UInt64(result.alreadyDone))), ("revision", .optional(result.revision)),
                ]).text)
        } else {
            let earlier = result.alreadyDone > 0 ? " (\(result.alreadyDone) lines were there from an earlier run)" : ""
            Output.line("\(result.imported) lines imported\(earlier)")
        }
    }
}

/// Rows that this command keeps for itself. Their keys begin with a zero byte, which no prefix that a person types
/// does; a listing of everything leaves them out.
enum ReservedKeys {
    static let prefix: [UInt8] = [0] + Array("quorate/".utf8)

    static func importProgress(hash: String) -> [UInt8] { prefix + Array("import/\(hash)".utf8) }

    /// Whether rows with `prefix` may be reserved ones that the caller did not ask for by name.
    static func mayAppear(under prefix: [UInt8]) -> Bool {
        prefix.count < Self.prefix.count && Self.prefix.starts(with: prefix)
    }
}

/// Sends a file's records in transactions, each of which moves the progress row from the number of lines done before it
/// to the number after it, and only if it stands where it is expected: so no line is stored twice, whatever is killed.
struct Importer {
    let summary: ImportFile.Summary
    /// How long the cluster may be unable to do anything before the import gives up.
    var patience = Duration.seconds(60)

    struct Result: Hashable {
        var imported = 0
        var alreadyDone = 0
        var revision: UInt64?
    }

    func run(_ file: ImportFile, through client: ClusterClient) async throws -> Result {
        let progressKey = ReservedKeys.importProgress(hash: summary.hash)
        var done = try await progress(progressKey, client)
        var result = Result(alreadyDone: done ?? 0)
        var bar = ProgressBar("import")
        defer { bar.finish() }
        try await file.forEachBatch(from: done ?? 0) { batch in
            let transaction = Self.transaction(batch, progressKey: progressKey, done: done)
            let outcome = try await patiently { try await client.transact(transaction) }
            if outcome.succeeded {
                done = batch.end
                result.imported += batch.lineCount
                result.revision = outcome.revision
            } else {
                // Another import of this file is running, or this is a retry of what an earlier client sent last.
                let found = try await progress(progressKey, client)
                guard let found, found != done ?? 0 else {
                    throw CommandError("conflict", "the progress of this import was deleted while it ran; run it again")
                }
                result.alreadyDone += max(0, found - (done ?? 0))
                done = found
            }
            bar.update(done ?? 0, of: summary.lineCount)
            return done ?? 0
        }
        return result
    }

    static func transaction(_ batch: ImportBatch, progressKey: [UInt8], done: Int?) -> MetadataTransaction {
        let expected: MetadataTransaction.Condition =
            if let done { .value(key: progressKey, Array(String(done).utf8)) } else { .exists(key: progressKey, false) }
        return MetadataTransaction(
            if: [expected],
            then: batch.records.map { .put(key: $0.key, value: $0.value) }
                + [.put(key: progressKey, value: Array(String(batch.end).utf8))])
    }

    /// Lines done, or nil when the file was never imported.
    private func progress(_ key: [UInt8], _ client: ClusterClient) async throws -> Int? {
        guard let row = try await patiently({ try await client.get(key: key, level: .linearizable) }) else {
            return nil
        }
        guard let done = Int(String(decoding: row.value, as: UTF8.self)), done >= 0 else {
            throw CommandError("invalidRequest", "the progress row of this import is no number")
        }
        return done
    }

    /// Repeats what may succeed later. An outcome that is not known is no danger: the comparison decides.
    private func patiently<T>(_ body: () async throws -> T) async throws -> T {
        let startedAt = ContinuousClock.now
        while true {
            do {
                return try await body()
            } catch let error as CommandError {
                guard error.isRetryable, ContinuousClock.now - startedAt < patience else { throw error }
                try await Task.sleep(for: .milliseconds(100))
            }
        }
    }
}

struct Export: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Print the records under a prefix as lines that import reads.",
        discussion: "In key order, all of one revision, each record always as the same text.")

    @OptionGroup var options: ClientOptions
    @OptionGroup var read: ReadOptions
    @Argument(help: "The prefix; \"\" for every key.") var prefix: String = ""

    func run() async throws {
        let bytes = Array(prefix.utf8)
        try await ClusterClient.with(options) { client in
            var output = LineBuffer()
            var bar = ProgressBar("export")
            var count = 0
            defer { bar.finish() }
            try await client.list(prefix: bytes, keysOnly: false, limit: nil, level: read.readLevel) { row in
                output.append(JSON.exported(key: row.key, value: row.value).bytes)
                count += 1
                if count % 256 == 0, !Output.isTerminal { bar.update(count, of: nil) }
            }
            output.flush()
        }
    }
}
