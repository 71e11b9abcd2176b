internal import ArgumentParser
internal import Basics
internal import Client

struct Watch: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Print changes of records as they happen, until interrupted.",
        usage: "quorate watch [PREFIX] [--from R] [--limit N] [--previous]",
        discussion: """
            One line for each change: revision, put or deleted, key, value. With --json one line for each revision:
              {"revision":R,"changes":[{"key":K,"value":V},{"key":K,"deleted":true}]}
            What a transaction changed comes together. The first line has no changes and names the revision after which
            nothing is missed; to go on later, use --from with the last revision printed plus one. The watch outlives its
            node: it goes on at another one without a gap.

            With --previous a change of a key that has history (`quorate history on PREFIX`) also says what was there before:
            on its line created, or the revision and the value; with --json "created":true, or
            "previous":{"revision":R,"value":V}. Where no history is kept nothing is said.
            """)

    @OptionGroup var options: ClientOptions
    @Argument(help: "The prefix of the keys; \"\" for every key.") var prefix: String = ""
    @Option(help: ArgumentHelp("Begin with the changes of revision R; without it, with those to come.", valueName: "R"))
    var from: UInt64?
    @Option(help: ArgumentHelp("End after N changes; those of one revision are never divided.", valueName: "N"))
    var limit: Int?
    @Flag(help: "Keys without values.") var keysOnly = false
    @Flag(help: "Say what was there before, where history is kept.") var previous = false

    mutating func validate() throws {
        if let limit, limit < 1 { throw ValidationError("--limit must be 1 or more.") }
        if from == 0 { throw ValidationError("--from must be 1 or more: the first revision is 1.") }
    }

    func run() async throws {
        let bytes = Array(prefix.utf8)
        try await ClusterClient.with(options) { client in
            var left = limit ?? Int.max
            for try await found in client.watch(prefix: bytes, from: from, filter: filter) {
                let changes = zip(found.changes, previous ? found.before : found.changes.map { _ in nil })
                    .filter { !$0.0.key.starts(with: ReservedKeys.prefix) }
                // A revision that concerned only what this command keeps for itself.
                if changes.isEmpty, !found.changes.isEmpty { continue }
                write(found.revision, changes)
                left -= changes.count
                if left <= 0 { return }
            }
        }
    }

    private var filter: WatchFilter {
        var filter: WatchFilter = keysOnly ? .keysOnly : []
        if previous { filter.insert(keysOnly ? .before : .valuesBefore) }
        return filter
    }

    private func write(_ revision: UInt64, _ changes: [(WatchedChanges.Change, RowBefore?)]) {
        if options.json {
            return Output.line(
                JSON.object([("revision", .number(revision)), ("changes", .array(changes.map(json)))]).text)
        }
        // For a person; what scripts read has only changes in it.
        guard !changes.isEmpty else { return Output.error("watching after revision \(revision)") }
        var lines: [UInt8] = []
        for (change, before) in changes {
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
            switch before {
            case .nothing: lines += "\tcreated".utf8
            case .row(let revision, let value):
                lines += "\tbefore: revision \(revision)".utf8
                if let value { lines += [0x09] + List.readable(value) }
            case nil: break
            }
            lines.append(0x0A)
        }
        Output.write(lines)
    }

    /// What a change says of the row before it; nothing where that is not known.
    static func members(ofPrevious before: RowBefore?) -> [(String, JSON)] {
        guard case .row(let revision, let value) = before else { return [] }
        var row: [(String, JSON)] = [("revision", .number(revision))]
        if let value { row.append(JSON.member("value", orBase64: "base64", value)) }
        return [("previous", .object(row))]
    }

    private func json(_ change: WatchedChanges.Change, _ before: RowBefore?) -> JSON {
        var found = before.map { [("created", JSON.bool($0 == .nothing))] + Self.members(ofPrevious: $0) } ?? []
        if case .deleted = change { found.removeAll { $0.0 == "created" } }
        switch change {
        case .put(let key, let value):
            var members = [JSON.member("key", orBase64: "keyBase64", key)]
            if !keysOnly { members.append(JSON.member("value", orBase64: "base64", value)) }
            return .object(members + found)
        case .deleted(let key):
            return .object([JSON.member("key", orBase64: "keyBase64", key), ("deleted", .bool(true))] + found)
        }
    }
}
