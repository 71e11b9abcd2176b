internal import Glibc

/// A process that this one started. Its standard input is a pipe whose other end only this process has, so it learns of
/// our end whatever way we went; its output goes to a file.
final class ChildProcess: Sendable {
    let processID: pid_t
    private let pipeEnd: Int32

    enum Ending: Hashable, Sendable {
        case exited(Int32)
        case killed(signal: Int32)

        var text: String {
            switch self {
            case .exited(let code): "ended with exit code \(code)"
            case .killed(let signal): "was ended by signal \(signal) (\(String(cString: strsignal(signal))))"
            }
        }
    }

    init(executable: String, arguments: [String], logPath: String) throws(CommandError) {
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { throw Self.failure("a node", errno) }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        defer { close(ends[0]) }

        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, ends[0], STDIN_FILENO)
        posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, logPath, O_WRONLY | O_CREAT | O_APPEND, 0o600)
        posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO)
        // Sockets of this process are not the child's: held open there, they would outlive their end here.
        for descriptor in (STDERR_FILENO + 1)..<1_024 { _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC) }

        // A group of its own, so that Ctrl-C reaches only us and nodes are stopped in order; and the signals that we
        // ignore or block are as they were.
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        posix_spawnattr_setpgroup(&attributes, 0)
        var signals = sigset_t()
        sigemptyset(&signals)
        posix_spawnattr_setsigmask(&attributes, &signals)
        for signal in [SIGINT, SIGTERM, SIGHUP, SIGPIPE] { sigaddset(&signals, signal) }
        posix_spawnattr_setsigdefault(&attributes, &signals)
        posix_spawnattr_setflags(
            &attributes, Int16(POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK))

        var texts: [UnsafeMutablePointer<CChar>?] = ([executable] + arguments).map { strdup($0) } + [nil]
        defer { for text in texts { free(text) } }
        var processID = pid_t()
        let result = posix_spawn(&processID, executable, &actions, &attributes, &texts, environ)
        guard result == 0 else {
            close(ends[1])
            throw Self.failure(executable, result)
        }
        self.processID = processID
        pipeEnd = ends[1]
    }

    deinit { close(pipeEnd) }

    func send(signal: Int32) { kill(processID, signal) }

    /// Runs `body` on a thread of its own when the process has ended. The process stays a zombie until `reap`, so its
    /// id cannot be another's when a signal is sent to it.
    func whenEnded(_ body: @escaping @Sendable () -> Void) {
        let box = Unmanaged.passRetained(Watch(processID: processID, body: body))
        var thread = pthread_t()
        let result = pthread_create(
            &thread, nil,
            { pointer in
                let watch = Unmanaged<Watch>.fromOpaque(pointer!).takeRetainedValue()
                var info = siginfo_t()
                while waitid(P_PID, id_t(watch.processID), &info, WEXITED | WNOWAIT) != 0, errno == EINTR {}
                watch.body()
                return nil
            }, box.toOpaque())
        guard result == 0 else { fatalError("no thread to watch process \(processID): error \(result)") }
        pthread_detach(thread)
    }

    /// Only after `whenEnded` has reported.
    func reap() -> Ending {
        var status: Int32 = 0
        while waitpid(processID, &status, 0) < 0, errno == EINTR {}
        let signal = status & 0x7F
        return signal == 0 ? .exited((status >> 8) & 0xFF) : .killed(signal: signal)
    }

    private final class Watch: Sendable {
        let processID: pid_t
        let body: @Sendable () -> Void

        init(processID: pid_t, body: @escaping @Sendable () -> Void) {
            self.processID = processID
            self.body = body
        }
    }

    private static func failure(_ what: String, _ number: Int32) -> CommandError {
        CommandError("process", "cannot start \(what): \(String(cString: strerror(number)))")
    }
}
