internal import ArgumentParser
internal import Basics
internal import Client

struct Watch: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Print changes of records as they happen, until interrupted.",
        usage: "quorate watch [PREFIX] [--from R] [--limit N]",
        discussion: """
            One line for each change: revision, put or deleted, key, value. With --json one line for each revision:
              {"revision":R,"changes":[{"key":K,"value":V},{"key":K,"deleted":true}]}
            What a transaction changed comes together. The first line has no changes and names the revision after which
            nothing is missed; to go on later, use --from with the last revision printed plus one. The watch outlives its
            node: it goes on at another one without a gap.
            """)

    @OptionGroup var options: ClientOptions
    @Argument(help: "The prefix of the keys; \"\" for every key.") var prefix: String = ""
    @Option(help: ArgumentHelp("Begin with the changes of revision R; without it, with those to come.", valueName: "R"))
    var from: UInt64?
    @Option(help: ArgumentHelp("End after N changes; those of one revision are never divided.", valueName: "N"))
    var limit: Int?
    @Flag(help: "Keys without values.") var keysOnly = false

    mutating func validate() throws {
        if let limit, limit < 1 { throw ValidationError("--limit must be 1 or more.") }
        if from == 0 { throw ValidationError("--from must be 1 or more: the first revision is 1.") }
    }

    func run() async throws {
        let bytes = Array(prefix.utf8)
        try await ClusterClient.with(options) { client in
            var left = limit ?? Int.max
            for try await found in client.watch(prefix: bytes, from: from, keysOnly: keysOnly) {
                let changes = found.changes.filter { !$0.key.starts(with: ReservedKeys.prefix) }
                // A revision that concerned only what this command keeps for itself.
                if changes.isEmpty, !found.changes.isEmpty { continue }
                write(found.revision, changes)
                left -= changes.count
                if left <= 0 { return }
            }
        }
    }

    private func write(_ revision: UInt64, _ changes: [WatchedChanges.Change]) {
        if options.json {
            return Output.line(
                JSON.object([("revision", .number(revision)), ("changes", .array(changes.map(json)))]).text)
        }
        // For a person; what scripts read has only changes in it.
        guard !changes.isEmpty else { return Output.error("watching after revision \(revision)") }
        var lines: [UInt8] = []
        for change in changes {
            lines += "\(revision)\t".utf8
            switch change {
            case .put(let key, let value):
                lines += "put\t".utf8
                lines += List.readable(key)
                if !keysOnly { lines += [0x09] + List.readable(value) }
            case .deleted(let key):
                lines += "deleted\t".utf8
                lines += List.readable(key)
            }
            lines.append(0x0A)
        }
        Output.write(lines)
    }

    private func json(_ change: WatchedChanges.Change) -> JSON {
        switch change {
        case .put(let key, let value):
            var members = [JSON.member("key", orBase64: "keyBase64", key)]
            if !keysOnly { members.append(JSON.member("value", orBase64: "base64", value)) }
            return .object(members)
        case .deleted(let key):
            return .object([JSON.member("key", orBase64: "keyBase64", key), ("deleted", .bool(true))])
        }
    }
}
