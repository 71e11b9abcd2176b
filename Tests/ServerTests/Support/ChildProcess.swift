import Foundation
import Glibc

/// A process under test. Its standard input is a pipe that only this process holds: with `--stop-with-standard-input` a
/// node ends when the tests end, however they do.
final class ChildProcess {
    enum Ending: Hashable, CustomStringConvertible {
        case exited(Int32)
        case signalled(Int32)

        var description: String {
            switch self {
            case .exited(let code): "exit code \(code)"
            case .signalled(let signal): "signal \(signal)"
            }
        }
    }

    let processID: pid_t
    let arguments: [String]
    let outputPath: String
    private let standardInput: Int32
    private var ending: Ending?

    /// Output and errors go to the end of the file at `outputPath`; its errors alone to `errorPath`, if there is one.
    init(
        _ executable: String, _ arguments: [String], outputPath: String, errorPath: String? = nil,
        environment: [String: String] = [:]
    ) throws {
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { throw TestFailure("no pipe: \(errno)") }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        defer { close(ends[0]) }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        let flags = O_WRONLY | O_CREAT | O_APPEND
        posix_spawn_file_actions_adddup2(&actions, ends[0], STDIN_FILENO)
        posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, outputPath, flags, 0o600)
        if let errorPath {
            posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, errorPath, flags, 0o600)
        } else {
            posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO)
        }
        Self.keepDescriptorsHere()
        // Settings of the shell that runs the tests are not to reach the program.
        var variables = ProcessInfo.processInfo.environment.filter { !$0.key.hasPrefix("QUORATE_") }
        variables.merge(environment) { $1 }
        var texts: [UnsafeMutablePointer<CChar>?] = ([executable] + arguments).map { strdup($0) } + [nil]
        var settings: [UnsafeMutablePointer<CChar>?] = variables.map { strdup("\($0)=\($1)") } + [nil]
        defer { for text in texts + settings { free(text) } }
        var processID = pid_t()
        let result = posix_spawn(&processID, executable, &actions, nil, &texts, &settings)
        guard result == 0 else {
            close(ends[1])
            throw TestFailure("cannot start \(executable): \(String(cString: strerror(result)))")
        }
        self.processID = processID
        self.arguments = arguments
        self.outputPath = outputPath
        standardInput = ends[1]
    }

    /// Connections of the clients in this process must not live on in the nodes that it starts: a node would never learn
    /// that one was closed.
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
        }
        close(standardInput)
    }

    /// How it ended; nil while it runs.
    func poll() -> Ending? {
        if let ending { return ending }
        var status: Int32 = 0
        guard waitpid(processID, &status, WNOHANG) == processID else { return nil }
        let signal = status & 0x7F
        ending = signal == 0 ? .exited((status >> 8) & 0xFF) : .signalled(signal)
        return ending
    }

    func send(_ signal: Int32) {
        guard poll() == nil else { return }
        kill(processID, signal)
    }

    /// SIGSTOP, and no thread of it runs any more when this returns.
    func pause() async throws {
        send(SIGSTOP)
        let tasks = "/proc/\(processID)/task"
        try await eventually("process \(processID) stands still") {
            try FileManager.default.contentsOfDirectory(atPath: tasks).allSatisfy { task in
                let status = try String(contentsOfFile: "\(tasks)/\(task)/status", encoding: .utf8)
                return status.contains("State:\tT")
            }
        }
    }

    @discardableResult
    func waitUntilEnded(_ timeout: Duration = .seconds(20)) async throws -> Ending {
        try await eventually("process \(processID) (\(arguments.first ?? "")) ends", within: timeout) { self.poll() }
    }

    /// SIGKILL, and gone when this returns.
    func killAndWait() async throws {
        send(SIGKILL)
        try await waitUntilEnded()
    }

    var output: String { (try? String(contentsOfFile: outputPath, encoding: .utf8)) ?? "" }
}

/// The first value that `body` gives, asked for again and again until `timeout` has passed. An error of `body` counts as
/// no value, and stands in the failure's message.
func eventually<Value>(
    _ claim: String, within timeout: Duration = .seconds(20), _ body: () async throws -> Value?
) async throws -> Value {
    let deadline = ContinuousClock.now + timeout
    var lastError = ""
    while true {
        do {
            if let value = try await body() { return value }
            lastError = ""
        } catch {
            lastError = "; last: \(error)"
        }
        guard ContinuousClock.now < deadline else { throw TestFailure("not within \(timeout): \(claim)\(lastError)") }
        try await Task.sleep(for: .milliseconds(10))
    }
}

func eventually(_ claim: String, within timeout: Duration = .seconds(20), holds body: () async throws -> Bool) async throws {
    _ = try await eventually(claim, within: timeout) { try await body() ? true : nil }
}
