internal import ArgumentParser
internal import Basics
internal import Client

/// What can be watched besides records.
enum WatchedTable: String, CaseIterable, ExpressibleByArgument {
    case records, elections, locks, state
}

struct Watch: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Print changes as they happen, of records or of what clients coordinate by, until interrupted.",
        usage: "quorate watch [PREFIX] [--from R] [--limit N] [--previous] [--table TABLE]",
        discussion: """
            One line for each change: revision, put or deleted, key, value. With --json one line for each revision:
              {"revision":R,"changes":[{"key":K,"value":V,"owner":SESSION},{"key":K,"deleted":true}]}
            What a transaction changed comes together. The first line has no changes and names the revision after which
            nothing is missed; to go on later, use --from with the last revision printed plus one. The watch outlives its
            node: it goes on at another one without a gap. "owner" is there for a record that goes with a session.

            With --table elections, locks or state, PREFIX is that of a group, a lock or a variable. Their changes with
            --json:
              {"group":G,"ticket":T,"session":S,"fence":F,"value":V}      fence null: others come first
              {"lock":L,"ticket":T,"session":S,"shared":B,"fence":F,"releasedLater":B}
              {"name":N,"uuid":U,"value":V}
            and {"group":G,"ticket":T,"deleted":true} and the like for what is gone.

            With --previous a change of a key that has history (`quorate history on PREFIX`) also says what was there before:
            on its line created, or the revision and the value; with --json "created":true, or
            "previous":{"revision":R,"value":V}. Where no history is kept nothing is said.
            """)

    @OptionGroup var options: ClientOptions
    @Argument(help: "The prefix of the keys or names; \"\" for all of them.") var prefix: String = ""
    @Option(help: ArgumentHelp("Begin with the changes of revision R; without it, with those to come.", valueName: "R"))
    var from: UInt64?
    @Option(help: ArgumentHelp("End after N changes; those of one revision are never divided.", valueName: "N"))
    var limit: Int?
    @Flag(help: "Keys without values.") var keysOnly = false
    @Flag(help: "Say what was there before, where history is kept.") var previous = false
    @Option(help: "What is watched.") var table = WatchedTable.records

    mutating func validate() throws {
        if let limit, limit < 1 { throw ValidationError("--limit must be 1 or more.") }
        if from == 0 { throw ValidationError("--from must be 1 or more: the first revision is 1.") }
        if keysOnly, table != .records { throw ValidationError("--keys-only is for records: leave out --table.") }
        if previous, table != .records { throw ValidationError("--previous is for records: leave out --table.") }
    }

    func run() async throws {
        let bytes = Array(prefix.utf8)
        try await ClusterClient.with(options) { client in
            switch table {
            case .records:
                try await tell(client.watch(prefix: bytes, from: from, filter: filter)) { found in
                    let changes = zip(found.changes, previous ? found.before : found.changes.map { _ in nil })
                        .filter { !$0.0.key.starts(with: ReservedKeys.prefix) }
                    // A revision that concerned only what this command keeps for itself.
                    if changes.isEmpty, !found.changes.isEmpty { return nil }
                    return (found.revision, changes.map { WatchedLine($0.0, keysOnly: keysOnly, before: $0.1) })
                }
            case .elections:
                try await tell(client.client.watchElections(prefix: bytes, from: from)) { found in
                    (found.revision, found.changes.map { WatchedLine($0) })
                }
            case .locks:
                try await tell(client.client.watchLocks(prefix: bytes, from: from)) { found in
                    (found.revision, found.changes.map { WatchedLine($0) })
                }
            case .state:
                try await tell(client.client.watchState(prefix: bytes, from: from)) { found in
                    (found.revision, found.changes.map { WatchedLine($0) })
                }
            }
        }
    }

    private var filter: WatchFilter {
        var filter: WatchFilter = keysOnly ? .keysOnly : []
        if previous { filter.insert(keysOnly ? .before : .valuesBefore) }
        return filter
    }

    /// - Parameter lines: nil for a revision of which nothing is told.
    private func tell<Changes: AsyncSequence>(
        _ watch: Changes, _ lines: (Changes.Element) -> (revision: UInt64, changes: [WatchedLine])?
    ) async throws {
        var left = limit ?? Int.max
        for try await found in watch {
            guard let (revision, changes) = lines(found) else { continue }
            write(revision, changes)
            left -= changes.count
            if left <= 0 { return }
        }
    }

    private func write(_ revision: UInt64, _ changes: [WatchedLine]) {
        if options.json {
            let array = JSON.array(changes.map { .object($0.members) })
            return Output.line(JSON.object([("revision", .number(revision)), ("changes", array)]).text)
        }
        // For a person; what scripts read has only changes in it.
        guard !changes.isEmpty else { return Output.error("watching after revision \(revision)") }
        var lines: [UInt8] = []
        for change in changes {
            lines += "\(revision)\t".utf8
            lines += change.fields.joined(separator: [0x09])
            lines.append(0x0A)
        }
        Output.write(lines)
    }
}

/// A change as `quorate watch` prints it.
struct WatchedLine {
    /// For a person, without the revision.
    var fields: [[UInt8]]
    var members: [(String, JSON)]

    init(_ change: WatchedChanges.Change, keysOnly: Bool, before: RowBefore?) {
        members = [JSON.member("key", orBase64: "keyBase64", change.key)]
        switch change {
        case .put(let key, let value, let owner):
            fields = [Array("put".utf8), List.readable(key)]
            if !keysOnly {
                fields.append(List.readable(value))
                members.append(JSON.member("value", orBase64: "base64", value))
            }
            if let owner { members.append(("owner", .string(owner))) }
        case .deleted(let key):
            fields = [Array("deleted".utf8), List.readable(key)]
            members.append(("deleted", .bool(true)))
        }
        switch before {
        case .nothing?:
            fields.append(Array("created".utf8))
            if case .put = change { members.append(("created", .bool(true))) }
        case .row(let revision, let value)?:
            fields.append(Array("before: revision \(revision)".utf8))
            if let value { fields.append(List.readable(value)) }
            if case .put = change { members.append(("created", .bool(false))) }
            members += Self.members(ofPrevious: before)
        case nil: break
        }
    }

    /// What a change says of the row before it; nothing where that is not known.
    static func members(ofPrevious before: RowBefore?) -> [(String, JSON)] {
        guard case .row(let revision, let value) = before else { return [] }
        var row: [(String, JSON)] = [("revision", .number(revision))]
        if let value { row.append(JSON.member("value", orBase64: "base64", value)) }
        return [("previous", .object(row))]
    }

    init(_ change: ElectionChange) {
        members = [
            JSON.member("group", orBase64: "groupBase64", change.group), ("ticket", .number(change.ticket)),
        ]
        fields = [List.readable(change.group), Array("ticket \(change.ticket)".utf8)]
        guard let candidate = change.candidate else {
            addDeletion()
            return
        }
        addPlace(candidate.session, candidate.ticket.fence, "leads")
        fields.append(List.readable(candidate.data))
        members.append(JSON.member("value", orBase64: "base64", candidate.data))
    }

    init(_ change: LockChange) {
        members = [JSON.member("lock", orBase64: "lockBase64", change.name), ("ticket", .number(change.ticket))]
        fields = [List.readable(change.name), Array("ticket \(change.ticket)".utf8)]
        guard let place = change.place else {
            addDeletion()
            return
        }
        members.append(("shared", .bool(place.sharing == .shared)))
        addPlace(place.session, place.ticket.fence, place.sharing == .shared ? "holds shared" : "holds")
        members.append(("releasedLater", .bool(place.isReleasedLater)))
        if place.isReleasedLater { fields.append(Array("released after its delay".utf8)) }
    }

    init(_ change: StateChange) {
        members = [JSON.member("name", orBase64: "nameBase64", change.name)]
        fields = [List.readable(change.name)]
        guard let variable = change.variable else {
            addDeletion()
            return
        }
        members += [("uuid", .string(variable.uuid)), JSON.member("value", orBase64: "base64", variable.value)]
        fields += [Array(variable.uuid.utf8), List.readable(variable.value)]
    }

    private mutating func addDeletion() {
        members.append(("deleted", .bool(true)))
        fields.append(Array("gone".utf8))
    }

    private mutating func addPlace(_ session: String, _ fence: UInt64?, _ holds: String) {
        members += [("session", .string(session)), ("fence", JSON.optional(fence))]
        fields.append(Array((fence.map { "\(holds), fence \($0)" } ?? "waits").utf8))
    }
}
