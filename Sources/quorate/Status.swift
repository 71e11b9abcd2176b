internal import ArgumentParser

struct Status: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show every node: role, term, indexes, disk, versions. Exit code 1 when there is no quorum.")

    @OptionGroup var options: ClientOptions

    func run() async throws {
        let report = StatusReport(try await ClusterClient.with(options) { await $0.probe() })
        Output.line(options.json ? report.json.text : report.text)
        guard report.hasQuorum else { throw ExitCode(1) }
    }
}

struct Init: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Form the cluster, once, through any of its nodes.",
        discussion: """
            Every node that --cluster names must be up, empty and name the same nodes. Nothing forms by itself: a node
            without data waits, so nodes that lost their disks cannot pass for an empty cluster.
            """)

    @OptionGroup var options: ClientOptions

    func run() async throws {
        let identity = try await ClusterClient.with(options) { try await $0.initialize() }
        if options.json {
            Output.line(
                JSON.object([("clusterID", .string(JSON.hexadecimal(identity)))]).text)
        } else {
            Output.line("formed cluster \(JSON.hexadecimal(identity))")
        }
    }
}
