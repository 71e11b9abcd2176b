internal import ArgumentParser
internal import Glibc
internal import Server

/// The one command of Quorate: a node, a cluster on this machine, and everything that a person or a script asks of one.
@main
struct Quorate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "quorate",
        abstract: "A metadata service: linearizable records, kept by a quorum of nodes.",
        discussion: """
            A first cluster on this machine:
              quorate local --nodes 3 --data ./data
              quorate put hello world
              quorate get hello

            Exit codes: 0 done, 1 refused or failed, 2 the command line is wrong.
            """,
        version: softwareVersion,
        subcommands: [
            Serve.self, Init.self, Local.self, Status.self, Put.self, Get.self, Delete.self, List.self, Watch.self, Txn.self,
            History.self, Log.self, Registry.self,
            Leader.self, Elect.self, LockCommand.self, FenceCommand.self, Session.self, StateCommand.self,
            Import.self, Export.self, Member.self, Alarm.self, Snapshot.self, Restore.self, Recover.self, Scrub.self, Bench.self,
            Debug.self, Version.self,
        ])

    static let softwareVersion = Server.Version.current

    static func main() async {
        // A closed pipe (`quorate list | head`) ends in a failed write, not in a signal that cuts a command in half.
        signal(SIGPIPE, SIG_IGN)
        do {
            var command = try parseAsRoot()
            if var command = command as? any AsyncParsableCommand {
                try await command.run()
            } else {
                try command.run()
            }
        } catch {
            finish(with: error)
        }
    }

    /// Prints what the error says and ends the process with the code that scripts rely on.
    private static func finish(with error: any Error) -> Never {
        if let code = error as? ExitCode { Glibc.exit(code.rawValue) }
        if let error = error as? CommandError {
            error.report(asJSON: CommandLine.arguments.contains("--json"))
            Glibc.exit(error.exitCode)
        }
        if error is CancellationError { Glibc.exit(130) }
        let code = exitCode(for: error)
        let message = fullMessage(for: error)
        if code == .success {
            if !message.isEmpty { Output.line(message) }
            Glibc.exit(0)
        }
        Output.error(message)
        Glibc.exit(code == .validationFailure ? 2 : 1)
    }
}

struct Version: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Print the version.")

    @Flag(help: "Print JSON.") var json = false

    func run() throws {
        let version = Quorate.softwareVersion
        Output.line(json ? JSON.object([("version", .string(version))]).text : "quorate \(version)")
    }
}
