internal import ArgumentParser
internal import Basics
internal import Client

struct Log: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Print who changed what, and when, up to now.",
        usage: "quorate log [PREFIX] [--from R|TIME] [--limit N] [--values]",
        discussion: """
            One line for each change of a key that has history (`quorate history on PREFIX`), oldest first: time, revision,
            who, created, updated or deleted, key; with --values also the value, and the one before it. Who is the session
            of the change, or - for the cluster itself, which removes what goes with a session that has ended. A key that
            was not there can be deleted: that is printed too.

            Without --from it begins where history does, or with the oldest change that a node still tells.
            """)

    @OptionGroup var options: ClientOptions
    @Argument(help: "The prefix of the keys; \"\" for every key.") var prefix: String = ""
    @Option(help: ArgumentHelp("Where to begin: \(PastPointArgument.form).", valueName: "R|TIME"))
    var from: PastPointArgument?
    @Option(help: ArgumentHelp("End after N changes; those of one revision are never divided.", valueName: "N"))
    var limit: Int?
    @Flag(help: "Print values, those before too.") var values = false

    mutating func validate() throws {
        if let limit, limit < 1 { throw ValidationError("--limit must be 1 or more.") }
        try from?.checkForm("--from")
    }

    func run() async throws {
        let start = try from?.point()
        let isWhole = try await ClusterClient.with(options) { cluster in
            var left = limit ?? Int.max
            var lines = LineBuffer()
            defer { lines.flush() }
            do {
                return try await cluster.client.changeLog(
                    prefix: Array(prefix.utf8), from: start, values: values
                ) { found in
                    for position in found.changes.indices
                    where !found.changes[position].key.starts(with: ReservedKeys.prefix) {
                        lines.append(line(of: found, position))
                        left -= 1
                    }
                    return left > 0
                }
            } catch let error as ClientError where error.code == .compacted {
                throw try await cluster.explained(error)
            }
        }
        guard !isWhole, !options.json else { return }
        Output.error("only some keys under \"\(prefix)\" have history; `quorate history` lists their prefixes")
    }

    private func line(of found: WatchedChanges, _ position: Int) -> [UInt8] {
        let change = found.changes[position]
        let who = found.origin?.session ?? "-"
        let time = Moment.text(found.origin?.time ?? 0)
        var (previous, action): (RowBefore?, String) = (found.before[position], "updated")
        if previous == .nothing { previous = nil }
        switch change {
        case .put: action = previous == nil ? "created" : "updated"
        case .deleted: action = "deleted"
        }
        guard !options.json else {
            var members: [(String, JSON)] = [
                ("time", .string(time)), ("revision", .number(found.revision)),
                ("session", JSON.optional(found.origin?.session)),
                ("principal", .number(found.origin?.principal ?? 0)), ("action", .string(action)),
                JSON.member("key", orBase64: "keyBase64", change.key),
            ]
            if values, case .put(_, let value, _) = change {
                members.append(JSON.member("value", orBase64: "base64", value))
            }
            members += WatchedLine.members(ofPrevious: previous)
            return JSON.object(members).bytes
        }
        let principal = found.origin.map { $0.principal > 0 ? "/\($0.principal)" : "" } ?? ""
        var line = Array("\(time)\t\(found.revision)\t\(who)\(principal)\t\(action)\t".utf8) + List.readable(change.key)
        guard values else { return line }
        line.append(0x09)
        if case .put(_, let value, _) = change { line += List.readable(value) }
        line.append(0x09)
        if case .row(_, let value) = previous { line += value.map { List.readable($0) } ?? Array("(too large)".utf8) }
        return line
    }
}

extension ClusterClient {
    /// An error about changes that are no longer told, with the time of the oldest that are.
    func explained(_ error: ClientError) async throws -> CommandError {
        var found = CommandError(error)
        if let oldest = try? await client.oldestMoment() {
            found.message += "; the log goes back to \(Moment.text(oldest.time)), revision \(oldest.revision)"
        }
        return found
    }
}
