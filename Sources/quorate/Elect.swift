internal import ArgumentParser
internal import Basics
internal import Client
internal import Dispatch
internal import Glibc

/// For commands that hold something for as long as they run.
struct HolderOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "The cluster takes this command for gone when it has not heard of it for so long.", valueName: "TIME"))
    var ttl = TimeQuantity(Limits.sessionTimeoutDefault)

    mutating func validate() throws {
        guard ttl.interval >= Limits.sessionTimeoutMin, ttl.interval <= Limits.sessionTimeoutMax else {
            throw ValidationError("--ttl must lie between 1s and 24h.")
        }
    }
}

/// What happens to a command that holds something.
enum HolderEvent: Sendable {
    case session(SessionState)
    /// Its turn has come.
    case holds(Fence)
    case failed(ClientError)
    case signalled(Int32)
    case childEnded

    /// Events of the client's session and of the signals that end or concern a command, one after another. The sources
    /// must be kept for as long as signals matter.
    static func stream(
        of client: MetadataClient, signals: [Int32]
    ) -> (AsyncStream<HolderEvent>, AsyncStream<HolderEvent>.Continuation, [any DispatchSourceSignal]) {
        let (events, continuation) = AsyncStream.makeStream(of: HolderEvent.self)
        let states = client.sessionStates
        Task { for await state in states { continuation.yield(.session(state)) } }
        let sources = signals.map { number in
            signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
            source.setEventHandler { continuation.yield(.signalled(number)) }
            source.resume()
            return source
        }
        return (events, continuation, sources)
    }
}

struct Elect: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Campaign in an election group, and lead when it is one's turn, until stopped.",
        discussion: """
            Prints a line for each change: waiting, leading (with the fence), suspended (the cluster has not answered for
            two thirds of --ttl: stop acting as the leader), lost. After "lost" the command ends with exit code 1; SIGINT
            and SIGTERM end it with 0, and the next candidate leads at once.
            """)

    @Argument(help: ArgumentHelp("The election group.", valueName: "GROUP")) var group: String
    @Option(help: ArgumentHelp("What others are told of this candidate, as its address.", valueName: "V"))
    var value: String
    @OptionGroup var holder: HolderOptions
    @OptionGroup var options: ClientOptions

    func run() async throws {
        let isLost = try await ClusterClient.with(options, sessionTimeout: holder.ttl.interval) {
            try await campaign($0.client)
        }
        guard isLost else { return }
        Output.error(
            "the candidacy in \(group) is over: the cluster and this command have not heard of each other for --ttl "
                + "\(holder.ttl.defaultValueDescription); run it again to campaign anew")
        throw ExitCode(1)
    }

    /// - Returns: whether it ended because the candidacy was lost.
    private func campaign(_ client: MetadataClient) async throws -> Bool {
        let (events, continuation, sources) = HolderEvent.stream(of: client, signals: [SIGINT, SIGTERM])
        defer { for source in sources { source.cancel() } }
        let ticket = try await client.campaign(group, data: Array(value.utf8))
        let waiting = Task {
            do throws(ClientError) {
                continuation.yield(.holds(try await client.waitToLead(group, ticket)))
            } catch {
                continuation.yield(.failed(error))
            }
        }
        defer { waiting.cancel() }
        var fence = ticket.fence
        var isSuspended = false
        if fence == nil { tell("waiting", nil) }
        var hasToldLeading = false
        for await event in events {
            switch event {
            case .holds(let held):
                fence = held.number
                if !isSuspended { tell("leading", fence) }
                hasToldLeading = true
            case .session(.suspended):
                isSuspended = true
                tell("suspended", fence)
            case .session(.connected):
                guard isSuspended else { continue }
                isSuspended = false
                tell(hasToldLeading ? "leading" : "waiting", fence)
            case .session(.lost):
                tell("lost", fence)
                return true
            case .failed(let error):
                guard error.code == .notLeading else { throw error }
                tell("lost", fence)
                return true
            case .signalled: return false
            case .childEnded: continue
            }
        }
        return true
    }

    private func tell(_ state: String, _ fence: UInt64?) {
        if options.json {
            Output.line(JSON.object([("state", .string(state)), ("fence", JSON.optional(fence))]).text)
        } else {
            Output.line(state + (fence.map { ", fence \($0)" } ?? ""))
        }
    }
}
