internal import ArgumentParser
internal import Client
internal import ExampleMail
internal import RegistryModel

/// A master: campaigns, and while it leads admits agents, subscribes frameworks and carries out what they ask for. It
/// keeps nothing that the next master would miss.
@main
struct Master: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "example-master", abstract: "A master of agents and frameworks, by the registry.",
        subcommands: [Lead.self, Audit.self, Stale.self], defaultSubcommand: Lead.self)
}

struct Lead: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Campaign, and serve while leading.")

    @Option(help: "Tells this master from others.") var id: String
    @OptionGroup var cluster: ClusterOptions

    func run() async throws {
        let client = cluster.client("master \(id)")
        say("waiting", ["master": id])
        do {
            try await LeadingMaster.serve(try await turn(client), id)
        } catch let error as ClientError {
            say("over", ["master": id, "error": error.code.rawValue, "message": error.message])
            throw ExitCode(1)
        }
    }

    /// Who has lost its place in the line, because the cluster was away for too long, takes the last one.
    private func turn(_ client: MetadataClient) async throws(ClientError) -> MasterRegistry {
        while true {
            do throws(ClientError) {
                return try await MasterRegistry.lead(client, data: Array(id.utf8))
            } catch where error.code == .notLeading || error.code == .unknown || error.isRetryable {
                say("waiting", ["master": id, "after": error.message])
            }
        }
    }
}

/// What a master that was deposed while it was not looking would do.
struct Stale: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Try to change the registry under an old fence.")

    @Option(help: "Of a master that leads no more.") var fence: UInt64
    @Option(help: "The agent that it would deactivate.") var agent: String
    @OptionGroup var cluster: ClusterOptions

    func run() async throws {
        let client = cluster.client("stale master")
        let registry = MasterRegistry(client, fence: .election(MasterRegistry.group, fence))
        do throws(ClientError) {
            try await registry.deactivate(Array(agent.utf8))
            say("taken")
        } catch {
            guard error.code == .fenced else { throw error }
            say("refused", ["error": error.code.rawValue, "currentFence": error.currentFence ?? 0])
        }
        await client.shutdown()
    }
}
