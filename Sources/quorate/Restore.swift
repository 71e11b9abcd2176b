internal import ArgumentParser
internal import Basics
internal import Server

struct Restore: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Make the data directory of one member of a new cluster from a snapshot file.",
        discussion: """
            Run it once for each member, with the same file, list and token, then start the members with
            `quorate serve`; no `init` is needed. The new cluster may have any size. It has the old one's id and a new
            generation: nodes of the old one are foreign to it, and clients of the old one are told generationChanged.

            The file is verified to its last byte before anything is written, and the directory must be empty. To
            restore the same file into the same members another time, name another --token: the nodes of two restores
            that are told apart by nothing would take each other for their own.
            """)

    @OptionGroup var options: OfflineOptions
    @Argument(help: "The snapshot file.") var file: String
    @Option(help: ArgumentHelp("Which of the members this directory is for.", valueName: "NAME")) var name: String
    @Option(help: ArgumentHelp("Its data directory: empty, or not there.", valueName: "DIR")) var data: String
    @Option(help: ArgumentHelp("Peer addresses of all members of the new cluster.", valueName: "n1=HOST:PORT,…"))
    var cluster: String
    @Option(help: ArgumentHelp("Any text; the same for all members of one restore.", valueName: "TEXT"))
    var token = ""
    @Option(help: ArgumentHelp("rocksdb or memory, as `serve` will have it.", valueName: "ENGINE"))
    var engine = EngineOption.rocksdb

    enum EngineOption: String, CaseIterable, ExpressibleByArgument {
        case rocksdb, memory
    }

    func run() throws {
        let members = try ServeSettings().cluster(ServeSettings.Given(text: cluster, source: "--cluster"))
        let restore: Server.Restore
        do throws(ConfigurationError) {
            restore = try Server.Restore(
                name: name, dataDirectory: data, members: members, engine: engine == .memory ? .memory : .rocksdb,
                token: token)
        } catch {
            throw CommandError.usage(error.message)
        }
        try DataOwner.check(data, for: "restore")
        let result = try SnapshotCommands.attempt { () throws(SnapshotFileError) in try restore.run(file) }
        if options.json {
            Output.line(
                JSON.object([
                    ("name", .string(name)), ("data", .string(data)),
                    ("clusterID", .string(JSON.hexadecimal(result.clusterID))),
                    ("generation", .number(result.generation)),
                    ("generationTag", .string(JSON.hexadecimal(result.generationTag))),
                    ("firstRevision", .number(result.firstRevision)), ("records", .number(result.recordCount)),
                    ("contentDigest", .string(result.contentDigest)),
                ]).text)
        } else {
            let peer = members.first { $0.name == name }.map { $0.address.description } ?? "HOST:PORT"
            Output.line(
                """
                \(data) is \(name) of cluster \(JSON.hexadecimal(result.clusterID)), generation \(result.generation), \
                with \(result.recordCount) records
                contentDigest  \(result.contentDigest)
                Restore the other members too, then start this one:
                  quorate serve --name \(name) --data \(data) --client HOST:PORT --peer \(peer)\
                \(engine == .memory ? " --engine memory" : "")
                """)
        }
    }
}
