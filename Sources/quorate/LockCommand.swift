internal import ArgumentParser
internal import Basics
internal import Client
internal import Dispatch
internal import Glibc

struct LockCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "lock", abstract: "Run a command while holding a lock.",
        usage: "quorate lock NAME [--shared] [--try | --wait TIME] [--delay TIME] -- COMMAND …",
        discussion: """
            The command gets the number of the fence as QUORATE_FENCE, and what --guard takes as QUORATE_GUARD. When it
            ends the lock is released, and its exit code is passed on. When the lock is lost, because the cluster could
            not be reached for the whole of --ttl, the command is sent SIGTERM, after --grace SIGKILL, and the exit code
            is 1.
            """)

    @Argument(help: ArgumentHelp("The lock.", valueName: "NAME")) var name: String
    @Flag(help: "Together with others that ask for it so, while nobody holds it alone.") var shared = false
    @Flag(name: .customLong("try"), help: "Only if it is free now.") var isTry = false
    @Option(help: ArgumentHelp("Wait no longer than this for the lock.", valueName: "TIME")) var wait: TimeQuantity?
    @Option(
        help: ArgumentHelp("If this command dies, the lock stays held for so long, at most 1h.", valueName: "TIME"))
    var delay = TimeQuantity(.zero)
    @Option(help: ArgumentHelp("Between SIGTERM and SIGKILL when the lock is lost.", valueName: "TIME"))
    var grace = TimeQuantity(.seconds(5))
    @OptionGroup var holder: HolderOptions
    @OptionGroup var options: ClientOptions
    @Argument(parsing: .postTerminator, help: ArgumentHelp("What to run.", valueName: "COMMAND")) var command: [String]

    mutating func validate() throws {
        guard !command.isEmpty else { throw ValidationError("Say after -- what to run: quorate lock NAME -- COMMAND …") }
        guard !isTry || wait == nil else { throw ValidationError("--try does not wait: leave out --wait.") }
    }

    func run() async throws {
        let code = try await ClusterClient.with(options, sessionTimeout: holder.ttl.interval) {
            try await runHolding($0.client)
        }
        if code != 0 { throw ExitCode(code) }
    }

    private func runHolding(_ client: MetadataClient) async throws -> Int32 {
        let (events, continuation, sources) = HolderEvent.stream(
            of: client, signals: [SIGINT, SIGTERM, SIGHUP])
        defer { for source in sources { source.cancel() } }
        let delay = Duration.nanoseconds(delay.interval.nanoseconds)
        let ticket = try await client.acquireLock(name, shared ? .shared : .exclusive, isTry: isTry, delay: delay)
        let deadline = wait.map { Duration.nanoseconds($0.interval.nanoseconds) }
        let waiting = Task {
            do throws(ClientError) {
                continuation.yield(.holds(try await client.waitToHold(name, ticket, deadline: deadline)))
            } catch {
                continuation.yield(.failed(error))
            }
        }
        defer { waiting.cancel() }
        var child: HeldCommand?
        var isLost = false
        for await event in events {
            switch event {
            case .holds(let fence):
                let started = try HeldCommand(command, fence: fence)
                started.whenEnded { continuation.yield(.childEnded) }
                child = started
            case .session(.lost):
                isLost = true
                guard let child else { throw CommandError("sessionExpired", "the session was lost while waiting") }
                Output.error("the lock \(name) is lost: stopping the command")
                child.send(signal: SIGTERM)
                let grace = grace.interval.nanoseconds
                DispatchQueue.global().asyncAfter(deadline: .now() + .nanoseconds(Int(grace))) {
                    child.send(signal: SIGKILL)
                }
            case .session(.suspended), .session(.connected): continue
            case .failed(let error): throw error
            case .signalled(let number):
                // The terminal has sent SIGINT to the command too.
                guard let child else { return 128 + number }
                if number != SIGINT { child.send(signal: number) }
            case .childEnded:
                guard let child else { continue }
                let code = child.reap()
                return isLost ? 1 : code
            }
        }
        return 1
    }
}

/// The command that runs while a lock is held, with this process' input, output and group.
final class HeldCommand: Sendable {
    private let process: pid_t

    init(_ command: [String], fence: Fence) throws(CommandError) {
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        // Signals that are ignored here, because they are waited for otherwise, are not ignored there.
        var signals = sigset_t()
        sigemptyset(&signals)
        posix_spawnattr_setsigmask(&attributes, &signals)
        for signal in [SIGINT, SIGTERM, SIGHUP, SIGPIPE] { sigaddset(&signals, signal) }
        posix_spawnattr_setsigdefault(&attributes, &signals)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK))
        for descriptor in (STDERR_FILENO + 1)..<1_024 { _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC) }
        setenv("QUORATE_FENCE", String(fence.number), 1)
        setenv("QUORATE_GUARD", fence.description, 1)
        var texts: [UnsafeMutablePointer<CChar>?] = command.map { strdup($0) } + [nil]
        defer { for text in texts { free(text) } }
        var process = pid_t()
        let result = posix_spawnp(&process, command[0], nil, &attributes, &texts, environ)
        guard result == 0 else {
            throw CommandError("process", "cannot start \(command[0]): \(String(cString: strerror(result)))")
        }
        self.process = process
    }

    func send(signal: Int32) { kill(process, signal) }

    /// Runs `body` when the command has ended. It stays a zombie until `reap`, so that no signal reaches another process.
    func whenEnded(_ body: @escaping @Sendable () -> Void) {
        let id = id_t(process)
        DispatchQueue(label: "command").async {
            var info = siginfo_t()
            while waitid(P_PID, id, &info, WEXITED | WNOWAIT) != 0, errno == EINTR {}
            body()
        }
    }

    /// - Returns: its exit code, as a shell reports it.
    func reap() -> Int32 {
        var status: Int32 = 0
        while waitpid(process, &status, 0) < 0, errno == EINTR {}
        let signal = status & 0x7F
        return signal == 0 ? (status >> 8) & 0xFF : 128 + signal
    }
}
