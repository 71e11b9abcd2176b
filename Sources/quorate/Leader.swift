internal import ArgumentParser
internal import Client
internal import Dispatch
internal import Glibc
internal import Synchronization

struct Leader: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Print who leads an election group; exit code 1 when nobody does.",
        usage: "quorate leader GROUP\n       quorate leader GROUP --watch [--limit N]",
        discussion: """
            With --watch: who leads now, and then a line each time when it is another, or nobody, or the leader has changed
            its value, in order and none left out, whatever nodes go away meanwhile. SIGINT and SIGTERM end it with exit
            code 0. With --json a line is {"group":G,"value":V,"fence":F,"ticket":T,"session":S,"revision":R}, or
            {"group":G,"found":false,"revision":R} while nobody leads.
            """)

    @Argument(help: ArgumentHelp("The election group.", valueName: "GROUP")) var group: String
    @Flag(help: "Go on and print each change.") var watch = false
    @Option(help: ArgumentHelp("With --watch: end after N lines.", valueName: "N")) var limit: Int?
    @OptionGroup var read: ReadOptions
    @OptionGroup var options: ClientOptions

    mutating func validate() throws {
        if limit != nil, !watch { throw ValidationError("--limit is for --watch.") }
        if let limit, limit < 1 { throw ValidationError("--limit must be 1 or more.") }
        if watch, read.readLevel == .stale {
            throw ValidationError("--watch begins with what is so now: leave out --read-level.")
        }
    }

    func run() async throws {
        guard !watch else { return try await observe() }
        let leader = try await ClusterClient.with(options) {
            try await $0.client.leader(group, level: read.readLevel.level)
        }
        tell(leader, nil)
        if leader?.ticket.fence == nil { throw ExitCode(1) }
    }

    private func observe() async throws {
        try await ClusterClient.with(options) { cluster in
            try await UntilSignalled.run(SIGINT, SIGTERM) {
                var left = limit ?? Int.max
                for try await now in cluster.client.observe(group) {
                    tell(now.leader, now.revision)
                    left -= 1
                    if left == 0 { return }
                }
            }
        }
    }

    private func tell(_ leader: ElectionCandidate?, _ revision: UInt64?) {
        let last = revision.map { [("revision", JSON.number($0))] } ?? []
        guard let leader, let fence = leader.ticket.fence else {
            if options.json {
                Output.line(JSON.object([("group", .string(group)), ("found", .bool(false))] + last).text)
            } else if watch {
                Output.line("nobody")
            } else {
                Output.error("nobody leads \(group)")
            }
            return
        }
        if options.json {
            let object = JSON.object(
                [
                    ("group", .string(group)), JSON.member("value", orBase64: "base64", leader.data),
                    ("fence", .number(fence)), ("ticket", .number(leader.ticket.number)),
                    ("session", .string(leader.session)),
                ] + last)
            Output.line(object.text)
        } else {
            Output.write(leader.data + Array(", fence \(fence)\n".utf8))
        }
    }
}

/// Work that goes on until it ends, or until the process is asked to end: that is no failure.
enum UntilSignalled {
    static func run(_ signals: Int32..., body: @escaping @Sendable () async throws -> Void) async throws {
        let task = Task { try await body() }
        let isAsked = Flag()
        let sources = signals.map { number in
            signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
            source.setEventHandler {
                isAsked.value.store(true, ordering: .relaxed)
                task.cancel()
            }
            source.resume()
            return source
        }
        defer { for source in sources { source.cancel() } }
        do {
            try await task.value
        } catch where isAsked.value.load(ordering: .relaxed) {
            return
        }
    }

    private final class Flag: Sendable {
        let value = Atomic(false)
    }
}
