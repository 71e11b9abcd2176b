internal import ArgumentParser
internal import Basics
internal import FoundationEssentials
internal import Server

struct Debug: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Look into the data directory of a stopped node, and verify it.",
        discussion: "Nothing in the directory is changed.", subcommands: [DebugLog.self, DebugRows.self])
}

struct DebugLog: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "log",
        abstract: "Verify a stopped node's whole log and print its entries.",
        discussion: """
            Entries go to standard output, one a line; what was found to standard error. With --json, everything is on
            standard output: objects with "index" are entries, those with "damage" say what is damaged, and one with
            "log" comes last. The exit code is 1 when entries are damaged that have not come back from other nodes.
            """)

    @Argument(help: "The data directory.") var directory: String
    @Option(help: ArgumentHelp("Print from this entry on.", valueName: "I")) var from: UInt64?
    @Option(help: ArgumentHelp("Print up to this entry.", valueName: "I")) var to: UInt64?
    @Flag(help: "Print JSON.") var json = false

    mutating func validate() throws {
        let bounds = 1...Limits.logNumberMax
        for case let bound? in [from, to] where !bounds.contains(bound) {
            throw ValidationError("--from and --to are indexes of entries: 1 or more.")
        }
        if let from, let to, from > to { throw ValidationError("--from \(from) is after --to \(to).") }
    }

    func run() throws {
        let range = LogIndex(from ?? 1)...LogIndex(to ?? Limits.logNumberMax)
        try Offline.run {
            var output = LineBuffer()
            let report = try StoppedNode(directory).readLog(in: range) { entry in
                output.append(json ? entry.json.bytes : Array(entry.text.utf8))
            }
            output.flush()
            Offline.report(report.damages, asJSON: json)
            if json {
                Output.line(
                    JSON.object([
                        (
                            "log",
                            .object([
                                ("firstIndex", .number(report.firstIndex)), ("lastIndex", .number(report.lastIndex)),
                                ("lastTerm", .number(report.lastTerm)), ("currentTerm", .number(report.currentTerm)),
                                ("tornTail", .optional(report.tornTail)),
                            ])
                        )
                    ]).text)
            } else {
                if let torn = report.tornTail {
                    Output.error(
                        "a write that a crash interrupted, promised to nobody; the next start cuts it off: \(torn)")
                }
                Output.error(
                    "entries \(report.firstIndex) to \(report.lastIndex), the last of term \(report.lastTerm); current "
                        + "term \(report.currentTerm)")
            }
            return report.damages
        }
    }
}

struct DebugRows: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rows",
        abstract: "Verify all rows of a stopped node and print its records.",
        discussion: """
            They are the state as it was last made durable: entries after it are in the log, and are applied at the next
            start. Records go to standard output as `list` prints them, what was found to standard error; with --json,
            everything is on standard output, damage in objects with "damage", and one with "rows" comes last. The exit
            code is 1 when something is damaged.
            """)

    @Argument(help: "The data directory.") var directory: String
    @Option(help: ArgumentHelp("Only records whose keys begin with P.", valueName: "P")) var prefix: String = ""
    @Flag(help: "Print JSON.") var json = false

    func run() throws {
        try Offline.run {
            var output = LineBuffer()
            let report = try StoppedNode(directory).readRows(prefix: Array(prefix.utf8)) { row in
                output.append(
                    json
                        ? JSON.row(key: row.key, value: row.value, revision: row.revision).bytes
                        : List.readable(row.key) + [0x09] + List.readable(row.value))
            }
            output.flush()
            Offline.report(report.damages, asJSON: json)
            if json {
                Output.line(
                    JSON.object([
                        (
                            "rows",
                            .object([
                                ("records", .number(report.records)), ("tombstones", .number(report.tombstones)),
                                ("system", .number(report.systemRows)), ("appliedIndex", .number(report.appliedIndex)),
                                ("appliedTerm", .number(report.appliedTerm)),
                            ])
                        )
                    ]).text)
            } else {
                Output.error(
                    "\(report.records) records, \(report.tombstones) tombstones, \(report.systemRows) system rows; "
                        + "applied  through entry \(report.appliedIndex) of term \(report.appliedTerm)")
            }
            return report.damages
        }
    }
}

/// What the commands share that work on a stopped node.
enum Offline {
    /// Ends with exit code 1 when `body` has found damage that is still there.
    static func run(_ body: () throws -> [OfflineDamage]) throws {
        let damages = try refusing(body)
        if damages.contains(where: { !$0.isRepaired }) { throw ExitCode(1) }
    }

    static func refusing<Result>(_ body: () throws -> Result) throws -> Result {
        do {
            return try body()
        } catch let error as OfflineError {
            throw CommandError(error.code, error.message)
        }
    }

    static func report(_ damages: [OfflineDamage], asJSON: Bool) {
        for damage in damages {
            if asJSON {
                Output.line(JSON.object([("damage", damage.json)]).text)
            } else {
                Output.error(damage.text)
            }
        }
    }
}

extension OfflineDamage {
    var text: String {
        let place = offset.map { " at offset \($0)" } ?? ""
        let lost = entries.map { "; entries \($0.lowerBound)-\($0.upperBound)" } ?? ""
        return "damaged: \(file)\(place): \(reason)\(lost)\(isRepaired ? ", which have come back since" : "")"
    }

    var json: JSON {
        var members: [(String, JSON)] = [
            ("file", .string(file)), ("offset", .optional(offset)), ("reason", .string(reason)),
        ]
        if let entries {
            members += [("firstIndex", .number(entries.lowerBound)), ("lastIndex", .number(entries.upperBound))]
        }
        return .object(members + [("repaired", .bool(isRepaired))])
    }
}

extension OfflineEntry {
    var text: String {
        (["\(index)", "\(term)", "\(ClusterDate.text(time))", kind] + fields.map(\.text)).joined(separator: "  ")
    }

    var json: JSON {
        .object(
            [
                ("index", .number(index)), ("term", .number(term)), ("time", .number(time)), ("kind", .string(kind)),
            ] + fields.map(\.json))
    }
}

extension OfflineEntry.Field {
    var text: String {
        switch value {
        case .number(let number): "\(name)=\(number)"
        case .flag(let flag): "\(name)=\(flag)"
        case .text(let text): "\(name)=\(text)"
        case .bytes(let bytes): "\(name)=\(String(decoding: List.readable(bytes), as: UTF8.self))"
        case .object(let fields): "\(name)=(\(fields.map(\.text).joined(separator: " ")))"
        case .list(let list): "\(name)=[\(list.map { $0.map(\.text).joined(separator: " ") }.joined(separator: "; "))]"
        }
    }

    /// Bytes that are not text have names as everywhere else: "keyBase64", and "base64" for a value.
    var json: (String, JSON) {
        switch value {
        case .number(let number): (name, .number(number))
        case .flag(let flag): (name, .bool(flag))
        case .text(let text): (name, .string(text))
        case .bytes(let bytes): JSON.member(name, orBase64: name == "value" ? "base64" : "\(name)Base64", bytes)
        case .object(let fields): (name, .object(fields.map(\.json)))
        case .list(let list): (name, .array(list.map { .object($0.map(\.json)) }))
        }
    }
}

/// Cluster time as people write it: "2026-01-31T12:34:56.789Z".
enum ClusterDate {
    static func text(_ nanoseconds: UInt64) -> String {
        let date = Date(timeIntervalSince1970: Double(nanoseconds / 1_000_000) / 1_000)
        return date.formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true))
    }
}
