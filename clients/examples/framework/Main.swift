internal import ArgumentParser
internal import Client
internal import ExampleMail
internal import RegistryModel

/// A framework: asks for resources of many agents, a few at a time, and writes down what it was told that it owns.
@main
struct Framework: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "example-framework", abstract: "A framework that has resources reserved to its role.")

    @Option(help: "Its name and its role.") var role: String
    @Option(help: "How many agents there are.") var agents: Int
    @Option(help: "Of how many of them it wants something.") var requests: Int
    @Option(help: "Where among them it begins.") var offset = 0
    @Option(help: "Milliseconds that it takes its time after each answer.") var pause = 0
    @OptionGroup var cluster: ClusterOptions

    /// Requests that are on their way at once.
    private static let openMax = 4

    func validate() throws {
        guard agents > 0, requests >= 0, requests <= agents, offset >= 0, pause >= 0 else {
            throw ValidationError("No number may be negative, and --requests not more than --agents.")
        }
    }

    func run() async throws {
        let client = cluster.client("framework \(role)")
        var framework = FrameworkInfo(
            name: Array(role.utf8), role: Array(role.utf8), failoverTimeout: 600, isCheckpointing: true)
        let session = FrameworkSession(client, framework)
        async let presence: Void = session.keep()
        let (id, _) = try await session.subscribed()
        // From now on it comes back as the one that it is.
        framework.id = id.bytes
        try await session.announce(framework)
        say("subscribed", ["framework": id.description, "role": role])
        try await askForAll(client, id)
        try await presence
    }

    private func askForAll(_ client: MetadataClient, _ id: RegistryID) async throws {
        let own = id.bytes + Array("/".utf8)
        var open: [String: Request] = [:]
        var (asked, owned) = (0, 0)
        for try await now in client.observeRows(prefix: Mail.answers + own) {
            for answer in now.present {
                guard let number = Mail.parts(of: answer.key, behind: Mail.answers).last,
                    let request = open.removeValue(forKey: number)
                else { continue }
                if answer.value == Array("done".utf8) {
                    owned += 1
                    say(
                        "owns",
                        [
                            "agent": request.agent, "role": role, "cpus": request.cpus, "disk": request.disk,
                            "volume": request.volume,
                        ])
                } else {
                    say("refused", ["agent": request.agent, "why": String(decoding: answer.value, as: UTF8.self)])
                }
                try await client.delete(answer.key)
            }
            try await Task.sleep(for: .milliseconds(pause))
            while open.count < Self.openMax, asked < requests {
                let request = Request(
                    agent: "agent-\((offset + asked) % agents)", role: role, cpus: 1, disk: 100, volume: "v\(asked)")
                let number = String(asked)
                open[number] = request
                try await client.put(Mail.requests + own + Array(number.utf8), request.message)
                asked += 1
            }
            if open.isEmpty { break }
        }
        say("done", ["framework": id.description, "owns": owned, "asked": asked])
    }
}
