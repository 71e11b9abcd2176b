internal import ArgumentParser
internal import Server

struct Snapshot: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Save the state of a cluster into a file, and look into such files.",
        discussion: """
            A snapshot holds every record of one revision, checksummed throughout, whatever engine the nodes use. `save`
            needs one running node; the others need none. `quorate restore` makes a new cluster from a file.
            """,
        subcommands: [SnapshotSave.self, SnapshotInspect.self, SnapshotVerify.self, SnapshotDiff.self])
}

struct SnapshotSave: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "save",
        abstract: "Write a snapshot of the cluster into a file, while writes go on.",
        discussion: """
            Any node can give it; those of --endpoints are asked in their order. It holds every write that was
            acknowledged before the command began; with --read-level stale, what the node asked has, which needs no
            quorum. --timeout is for each answer of a node, not for the whole. Every chunk is checked as it comes. The
            file is readable by its owner only and has its name when it is whole: one that was there is replaced then.
            """)

    @OptionGroup var options: ClientOptions
    @OptionGroup var read: ReadOptions
    @Argument(help: "The file to write.") var file: String

    func run() async throws {
        let startedAt = ContinuousClock.now
        let (summary, endpoint) = try await ClusterClient.with(options) {
            try await $0.saveSnapshot(file, level: read.readLevel)
        }
        let seconds = max(0.001, (ContinuousClock.now - startedAt) / .seconds(1))
        if options.json {
            Output.line(
                JSON.object(
                    summary.fields + [
                        ("endpoint", .string(endpoint)), ("milliseconds", .number(UInt64(seconds * 1_000))),
                    ]
                ).text)
        } else {
            Output.line("saved from \(endpoint) in \((seconds * 100).rounded() / 100) s")
            Output.line(summary.text)
        }
    }
}

/// What the commands without a server take.
struct OfflineOptions: ParsableArguments {
    @Flag(name: .long, help: "Print JSON, errors included.") var json = false
}

struct SnapshotInspect: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "inspect", abstract: "Show what a snapshot file says of itself.",
        discussion: "Reads the table of contents only; `verify` checks every byte.")

    @OptionGroup var options: OfflineOptions
    @Argument(help: "The file.") var file: String

    func run() throws {
        let summary = try SnapshotCommands.open(file).summary
        Output.line(options.json ? JSON.object(summary.fields).text : summary.text)
    }
}

struct SnapshotVerify: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify", abstract: "Check every byte of a snapshot file. Exit code 1 when it is damaged.",
        discussion: "Reads every chunk and row, and compares the digests. Damage is named with its offset in the file.")

    @OptionGroup var options: OfflineOptions
    @Argument(help: "The file.") var file: String

    func run() throws {
        let snapshot = try SnapshotCommands.open(file)
        let count = try SnapshotCommands.attempt { () throws(SnapshotFileError) in try snapshot.verify() }
        if options.json {
            Output.line(
                JSON.object(
                    [("ok", .bool(true)), ("records", .number(count))] + snapshot.summary.fields
                ).text)
        } else {
            Output.line("\(file) is sound: \(count) records")
            Output.line(snapshot.summary.text)
        }
    }
}

struct SnapshotDiff: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "diff", abstract: "Show the records in which two snapshot files differ.",
        discussion: """
            One line a key, in key order: + only in B, - only in A, ~ another value or revision; with --json one object
            a line. Exit codes as of diff: 0 no record differs, 1 some do, or a file cannot be read or is damaged (then
            there is a message on standard error, or with --json an object with "error").
            """)

    @OptionGroup var options: OfflineOptions
    @Flag(help: "Print no keys, only how many differ.") var summary = false
    @Argument(help: "The file with the state before.") var a: String
    @Argument(help: "The file with the state after.") var b: String

    func run() throws {
        let (before, after) = (try SnapshotCommands.open(a), try SnapshotCommands.open(b))
        var lines = LineBuffer()
        let difference = try SnapshotCommands.attempt { () throws(SnapshotFileError) in
            try SnapshotDifference(from: before, to: after) { change in
                guard !summary else { return }
                lines.append(options.json ? change.json.bytes : Array(change.line.utf8))
            }
        }
        lines.flush()
        if options.json {
            if summary { Output.line(difference.json.text) }
        } else if summary || !difference.isEmpty {
            Output.line("\(difference.added) added, \(difference.removed) removed, \(difference.changed) changed")
        }
        guard difference.isEmpty else { throw ExitCode(1) }
    }
}

enum SnapshotCommands {
    static func open(_ path: String) throws -> StoredSnapshot {
        try attempt { () throws(SnapshotFileError) in try StoredSnapshot(path) }
    }

    static func attempt<T>(_ body: () throws(SnapshotFileError) -> T) throws -> T {
        do throws(SnapshotFileError) {
            return try body()
        } catch {
            throw CommandError(error.code, error.description)
        }
    }
}

extension SnapshotSummary {
    var fields: [(String, JSON)] {
        [
            ("file", .string(path)), ("fileSize", .number(UInt64(fileSize))),
            ("clusterID", .string(JSON.hexadecimal(clusterID))), ("generation", .number(generation)),
            ("generationTag", .string(JSON.hexadecimal(generationTag))), ("revision", .number(revision)),
            ("term", .number(term)), ("time", .number(time)), ("contentDigest", .string(contentDigest)),
            ("snapshotID", .string(id)), ("rows", .number(rowCount)), ("rowBytes", .number(rowsSize)),
            ("chunks", .number(UInt64(chunkCount))),
            (
                "members",
                .array(
                    members.map {
                        .object([
                            ("name", .string($0.name)), ("peerAddress", .string($0.peerAddress)),
                            ("voter", .bool($0.isVoter)),
                        ])
                    })
            ),
        ]
    }

    var text: String {
        let names = members.map { "\($0.name)=\($0.peerAddress)\($0.isVoter ? "" : " (learner)")" }
        return """
            file           \(path), \(fileSize) bytes
            cluster        \(JSON.hexadecimal(clusterID)), generation \(generation)
            revision       \(revision), term \(term)
            rows           \(rowCount), \(rowsSize) bytes in \(chunkCount) chunks
            members        \(names.joined(separator: ", "))
            contentDigest  \(contentDigest)
            """
    }
}

extension SnapshotDifference {
    var json: JSON {
        .object([("added", .number(added)), ("removed", .number(removed)), ("changed", .number(changed))])
    }
}

extension SnapshotDifference.Change {
    private var kind: (sign: String, name: String) {
        if before == nil { return ("+", "added") }
        return after == nil ? ("-", "removed") : ("~", "changed")
    }

    /// A key that is not text is shown in Base64, as in JSON.
    var line: String {
        let text = String(validating: key, as: UTF8.self) ?? "base64:\(Base64.encode(key))"
        let revisions = [before, after].compactMap { $0.map { String($0.revision) } }.joined(separator: " -> ")
        let isSameValue = before != nil && before?.value == after?.value
        return "\(kind.sign) \(text) (revision \(revisions)\(isSameValue ? ", same value" : ""))"
    }

    var json: JSON {
        var members = [("change", JSON.string(kind.name)), JSON.member("key", orBase64: "keyBase64", key)]
        if let before {
            members.append(("revisionBefore", .number(before.revision)))
            members.append(JSON.member("valueBefore", orBase64: "base64Before", before.value))
        }
        if let after {
            members.append(("revisionAfter", .number(after.revision)))
            members.append(JSON.member("valueAfter", orBase64: "base64After", after.value))
        }
        return .object(members)
    }
}
