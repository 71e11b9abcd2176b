internal import FoundationEssentials
internal import Glibc
internal import Synchronization

/// A process of the run. Its standard input is a pipe that only this process holds: it ends when this one does.
final class Child: Sendable {
    enum Ending: Hashable, Sendable {
        case exited(Int32)
        case signalled(Int32)
    }

    let processID: pid_t
    let outputPath: String
    private let standardInput: Int32
    private let ending = Mutex<Ending?>(nil)

    /// All that run, so that none outlives the run.
    private static let running = Mutex<Set<pid_t>>([])

    /// Output and errors go to the end of the file at `outputPath`.
    init(_ executable: String, _ arguments: [String], outputPath: String, environment: [String: String] = [:]) throws {
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { throw TortureFailure("no pipe: \(errno)") }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        defer { close(ends[0]) }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, ends[0], STDIN_FILENO)
        posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, outputPath, O_WRONLY | O_CREAT | O_APPEND, 0o600)
        posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO)
        Self.keepDescriptorsHere()
        // Settings of the shell that runs this are not to reach a node.
        var variables = ProcessInfo.processInfo.environment.filter { !$0.key.hasPrefix("QUORATE_") }
        variables.merge(environment) { $1 }
        let texts: [UnsafeMutablePointer<CChar>?] = ([executable] + arguments).map { strdup($0) } + [nil]
        let settings: [UnsafeMutablePointer<CChar>?] = variables.map { strdup("\($0)=\($1)") } + [nil]
        defer { for text in texts + settings { free(text) } }
        var processID = pid_t()
        let result = posix_spawn(&processID, executable, &actions, nil, texts, settings)
        guard result == 0 else {
            close(ends[1])
            throw TortureFailure("cannot start \(executable): \(String(cString: strerror(result)))")
        }
        self.processID = processID
        self.outputPath = outputPath
        standardInput = ends[1]
        Self.running.withLock { _ = $0.insert(processID) }
    }

    /// Connections of this process must not live on in those that it starts.
    private static func keepDescriptorsHere() {
        let descriptors = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd")) ?? []
        for descriptor in descriptors.compactMap({ Int32($0) }) where descriptor > STDERR_FILENO {
            _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
        }
    }

    deinit {
        if poll() == nil {
            kill(processID, SIGKILL)
            var status: Int32 = 0
            waitpid(processID, &status, 0)
            Self.running.withLock { _ = $0.remove(processID) }
        }
        close(standardInput)
    }

    /// SIGKILL to everything that was started here and still runs.
    static func killAll() {
        for processID in running.withLock({ $0 }) { kill(processID, SIGKILL) }
    }

    /// How it ended; nil while it runs.
    func poll() -> Ending? {
        ending.withLock { ending in
            if let ending { return ending }
            var status: Int32 = 0
            guard waitpid(processID, &status, WNOHANG) == processID else { return nil }
            let signal = status & 0x7F
            ending = signal == 0 ? .exited((status >> 8) & 0xFF) : .signalled(signal)
            Self.running.withLock { _ = $0.remove(processID) }
            return ending
        }
    }

    func send(_ signal: Int32) {
        if poll() == nil { kill(processID, signal) }
    }

    @discardableResult
    func waitUntilEnded(_ timeout: Duration = .seconds(30)) async throws -> Ending {
        try await eventually("process \(processID) ends", within: timeout) { poll() }
    }

    func killAndWait() async throws {
        send(SIGKILL)
        try await waitUntilEnded()
    }

    /// Runs a command to its end; what it printed.
    static func run(
        _ executable: String, _ arguments: [String], outputPath: String, timeout: Duration
    ) async throws -> (ending: Ending, output: String) {
        unlink(outputPath)
        let child = try Child(executable, arguments, outputPath: outputPath)
        let ending = try await child.waitUntilEnded(timeout)
        let output = (try? String(contentsOfFile: outputPath, encoding: .utf8)) ?? ""
        return (ending, output)
    }
}
