internal import ArgumentParser
internal import Basics
internal import Client
internal import FoundationEssentials
internal import Glibc

@main
struct QuorateTorture: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "quorate-torture",
        abstract: "Run a cluster of real processes under load and faults, and check what clients were told.",
        subcommands: [Torture.self, Actor.self], defaultSubcommand: Torture.self)
}

/// Real processes on this machine, under load and under every fault that can be made here, for as long as one likes;
/// everything that clients were told is then held against what must be so.
struct Torture: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run",
        abstract: "Run a cluster of real processes under load and faults, and check what clients were told.",
        discussion: """
            The seed decides which faults come in which order; their timing is that of the machine. Exit code 1: a
            checker has found something; the evidence is in the folder that the last lines name. Disks are filled only
            where it may mount file systems (as root), syncs fail only with --sync-library.
            """)

    @Option(help: "Minutes under faults.") var minutes = 1.0
    @Option(help: "Nodes: 3 or 5.") var nodes = 3
    @Option(help: "Draws the faults.") var seed: UInt64?
    @Option(help: "The program under torture.") var binary = "./quorate"
    @Option(help: "What is preloaded into nodes so that their syncs can fail.") var syncLibrary: String?
    @Option(help: "Clients that work on keys.") var clients = 8
    @Option(help: "Processes that campaign and lock.") var actors = 4
    @Option(help: "Election groups in which each of them campaigns.") var groups = 6
    @Option(help: "Locks that each of them takes in turn.") var locks = 3
    @Option(help: "Milliseconds between two writes of one holder.") var holderPause = 150
    @Option(help: "Timeout of sessions, in seconds.") var ttl = 3
    @Flag(help: "No faults of nodes and links, only of the processes that campaign.") var sparesNodes = false
    @Option(help: "Only faults of this kind, as the summary names it; may be given several times.") var only: [String] = []
    @Flag(help: "Print JSON.") var json = false

    mutating func validate() throws {
        guard nodes == 3 || nodes == 5 else { throw ValidationError("--nodes is 3 or 5.") }
        guard minutes > 0, minutes <= 24 * 60 else { throw ValidationError("--minutes must be above 0.") }
        for name in only where Faults.Kind(rawValue: name) == nil {
            throw ValidationError("--only is one of: \(Faults.Kind.allCases.map(\.rawValue).joined(separator: ", ")).")
        }
        guard (1...64).contains(clients), (2...32).contains(actors), (1...100).contains(groups),
            (0...100).contains(locks), (1...60).contains(ttl), holderPause >= 10
        else { throw ValidationError("--clients 1…64, --actors 2…32, --groups 1…100, --locks 0…100, --ttl 1…60.") }
    }

    func run() async throws {
        let seed = self.seed ?? UInt64.random(in: 1...999_999)
        let directory = "\(FileManager.default.temporaryDirectory.path)/quorate-torture-\(getpid())"
        try FileManager.default.createDirectory(
            atPath: directory, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        for number in [SIGINT, SIGTERM] {
            signal(number) { _ in
                Child.killAll()
                SmallDisk.unmountAll()
                _exit(130)
            }
        }
        let nodes = Nodes(directory: directory, binary: binary, syncLibrary: syncLibrary)
        var run = Run(self, seed: seed, nodes: nodes, directory: directory)
        let summary: Summary
        do {
            summary = try await run.carryOut()
        } catch {
            Child.killAll()
            nodes.release()
            run.writeTimeline()
            print("seed \(seed): the run broke off: \(error)\nevidence: \(directory)")
            throw ExitCode(1)
        }
        nodes.release()
        print(json ? summary.json : summary.text)
        guard summary.violations.isEmpty else {
            run.writeTimeline()
            print("evidence: \(directory)")
            throw ExitCode(1)
        }
        try? FileManager.default.removeItem(atPath: directory)
    }
}
