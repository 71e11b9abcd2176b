internal import ArgumentParser
internal import Client

struct Alarm: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show what a person should look at, and say that it was seen to.",
        discussion: """
            An alarm is active while its cause goes on. Most end with their cause. What a person must know of also when it
            is over (damage, a member that diverged or came back with old data) stands until it is cleared.
            """,
        subcommands: [AlarmList.self, AlarmClear.self])
}

struct AlarmList: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "Show the alarms of all members that can be reached, and what to do.",
        discussion: "The exit code is 0 with and without alarms; 1 when no member answers.")

    @OptionGroup var options: ClientOptions

    func run() async throws {
        let report = try await ClusterClient.with(options) { try await $0.alarms() }
        Output.line(options.json ? report.json.text : report.text)
        if !report.unheard.isEmpty, !options.json {
            Output.error("not asked, because they do not answer: \(report.unheard.joined(separator: ", "))")
        }
    }
}

struct AlarmClear: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "clear", abstract: "Forget the alarms of a name whose cause is over, on every member that has some.",
        discussion: "One whose cause goes on is refused: it ends, or can be cleared, when that is mended.")

    @Argument(help: ArgumentHelp("As `quorate alarm list` shows it.", valueName: "NAME")) var name: String
    @Option(help: ArgumentHelp("On this member only.", valueName: "NAME")) var node: String?
    @OptionGroup var options: ClientOptions

    func run() async throws {
        let cleared = try await ClusterClient.with(options) { try await $0.clearAlarm(name, node: node) }
        if options.json {
            Output.line(
                JSON.object([
                    ("name", .string(name)),
                    (
                        "cleared",
                        .array(cleared.map { .object([("node", .string($0.node)), ("count", .number(UInt64($0.count)))]) })
                    ),
                ]).text)
        } else {
            for one in cleared {
                Output.line("\(one.node): cleared \(name)\(one.count > 1 ? ", \(one.count) of them" : "")")
            }
        }
    }
}

extension ClusterClient {
    func alarms() async throws -> AlarmReport { AlarmReport(try await answered()) }

    private func answered() async throws -> StatusReport {
        let report = StatusReport(await probe())
        guard report.nodes.contains(where: { $0.status != nil }) else {
            throw CommandError("unavailable", "no member answers: \(report.headline)", isRetryable: true)
        }
        return report
    }

    /// - Returns: where alarms were cleared, and how many. Throws when one could not be, and says which were.
    func clearAlarm(_ name: String, node: String?) async throws -> [(node: String, count: Int)] {
        let report = try await answered()
        let alarms = AlarmReport(report)
        let tellers = report.nodes.filter { found in
            (node == nil || found.name == node) && found.status?.alarms.contains { $0.name == name } == true
        }
        guard !tellers.isEmpty else { throw Self.nothingToClear(name, node, alarms) }
        var cleared: [(node: String, count: Int)] = []
        var refusal: ClientError?
        for teller in tellers {
            do throws(ClientError) {
                cleared.append((teller.name ?? "?", try await client.clearAlarm(name, at: teller.clientAddress)))
            } catch {
                refusal = refusal ?? error
            }
        }
        guard let refusal else { return cleared }
        let done = cleared.isEmpty ? "" : ". Cleared at \(cleared.map(\.node).joined(separator: ", "))"
        throw CommandError(refusal.code.rawValue, refusal.message + done, isRetryable: refusal.isRetryable)
    }

    private static func nothingToClear(_ name: String, _ node: String?, _ alarms: AlarmReport) -> CommandError {
        if let seen = alarms.entries.first(where: { $0.name == name && (node == nil || $0.node == node) }) {
            return CommandError(
                "alarmHolds", "\(name) holds (\(seen.detail)) and ends with its cause: \(seen.remedy)", isRetryable: true)
        }
        let standing = alarms.entries.isEmpty ? "none stands" : "there are \(alarms.names)"
        let unheard = alarms.unheard.isEmpty ? "" : "; not asked: \(alarms.unheard.joined(separator: ", "))"
        return CommandError("noSuchAlarm", "no alarm \(name) stands\(node.map { " at \($0)" } ?? ""): \(standing)\(unheard)")
    }
}
