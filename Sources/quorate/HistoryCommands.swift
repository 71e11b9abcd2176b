internal import ArgumentParser
internal import Basics
internal import Client

struct History: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Keep previous values under a prefix, or show where they are kept.",
        discussion: """
            With history on, `quorate get --at`, `quorate log` and `quorate watch --previous` tell what was there before,
            for as long as the nodes keep the log of the change. A change then reads what it replaces.
            """,
        subcommands: [HistoryList.self, HistoryOn.self, HistoryOff.self], defaultSubcommand: HistoryList.self)
}

struct HistoryList: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "Print the prefixes under which history is kept, and since when.")

    @OptionGroup var options: ClientOptions

    func run() async throws {
        let kept = try await ClusterClient.with(options) { try await $0.client.history() }
        var lines = LineBuffer()
        for item in kept {
            if options.json {
                let object = JSON.object([
                    JSON.member("prefix", orBase64: "prefixBase64", item.prefix), ("since", .number(item.since)),
                    ("time", .string(Moment.text(item.time))),
                ])
                lines.append(object.bytes)
            } else {
                let prefix = item.prefix.isEmpty ? Array("\"\"".utf8) : List.readable(item.prefix)
                lines.append(prefix + Array("\tsince revision \(item.since), \(Moment.text(item.time))".utf8))
            }
        }
        lines.flush()
    }
}

/// For `on` and `off`.
struct HistorySwitch: ParsableArguments {
    @Argument(help: "The prefix of the keys; \"\" for every key.") var prefix: String
    @OptionGroup var guards: GuardOptions
    @OptionGroup var options: ClientOptions

    func set(_ isOn: Bool) async throws {
        let fences = try guards.fences()
        let result = try await ClusterClient.with(options) {
            try await $0.client.setHistory(
                prefix: Array(prefix.utf8), isOn: isOn, guards: fences, isOneShot: true)
        }
        if options.json {
            let object = JSON.object([
                ("prefix", .string(prefix)), ("on", .bool(isOn)), ("changed", .bool(result.isChanged)),
                ("since", JSON.optional(result.since)),
            ])
            return Output.line(object.text)
        }
        let name = prefix.isEmpty ? "every key" : prefix
        if let since = result.since {
            Output.line("history of \(name) is kept since revision \(since)")
        } else {
            Output.line(result.isChanged ? "history of \(name) is kept no longer" : "no history was kept of \(name)")
        }
    }
}

struct HistoryOn: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "on", abstract: "Keep previous values of the keys with this prefix from now on.",
        discussion: "Where it is on already nothing changes, and the revision printed is the first one.")

    @OptionGroup var change: HistorySwitch

    func run() async throws { try await change.set(true) }
}

struct HistoryOff: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "off", abstract: "Keep them no longer.",
        discussion: "For this very prefix: what another one covers goes on being kept.")

    @OptionGroup var change: HistorySwitch

    func run() async throws { try await change.set(false) }
}
