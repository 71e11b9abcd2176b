internal import ArgumentParser
internal import Glibc

/// This very program, started once more: a broken invariant ends a process, and there is more than one processor.
struct ChildProcess {
    let id: pid_t
    /// Its standard input; -1 where it has none.
    let input: Int32
    /// What it writes to both its streams.
    let output: Int32

    /// - Parameter hasInput: it is told what to do through its standard input.
    init(_ arguments: [String], hasInput: Bool) throws {
        // Closed in all other children, so that each sees the end of its own.
        var outputs: [Int32] = [0, 0]
        var inputs: [Int32] = [-1, -1]
        guard pipe(&outputs) == 0, !hasInput || pipe(&inputs) == 0 else {
            throw ValidationError("no pipe: error \(errno)")
        }
        for end in outputs + inputs where end >= 0 { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        for stream: Int32 in [1, 2] { posix_spawn_file_actions_adddup2(&actions, outputs[1], stream) }
        if hasInput { posix_spawn_file_actions_adddup2(&actions, inputs[0], 0) }
        let own = "/proc/self/exe"
        let words: [String] = [own] + arguments
        // The runtime's own report of a crash takes longer than many seeds.
        let settings: [String] = ["SWIFT_BACKTRACE=enable=no"]
        var argv: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) }
        argv.append(nil)
        defer { for argument in argv { free(argument) } }
        var environment: [UnsafeMutablePointer<CChar>?] = settings.map { strdup($0) }
        environment.append(nil)
        defer { for variable in environment { free(variable) } }
        var child: pid_t = 0
        let error = posix_spawn(&child, own, &actions, nil, argv, environment)
        close(outputs[1])
        if hasInput { close(inputs[0]) }
        guard error == 0 else { throw ValidationError("cannot start itself: error \(error)") }
        id = child
        input = inputs[1]
        output = outputs[0]
    }

    /// What there is to read, as soon as there is something; empty when it has closed its streams.
    func read() -> [UInt8] {
        var buffer = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = Glibc.read(output, &buffer, buffer.count)
            if count < 0, errno == EINTR { continue }
            return Array(buffer[..<max(0, count)])
        }
    }

    /// Waits until it has ended.
    /// - Returns: the signal that ended it, or 0.
    @discardableResult
    func end(killing: Bool = false) -> Int32 {
        if killing { kill(id, SIGKILL) }
        if input >= 0 { close(input) }
        close(output)
        var status: Int32 = 0
        while waitpid(id, &status, 0) < 0, errno == EINTR {}
        return status & 0x7F
    }

    /// All that a run of this program writes.
    static func outputOfItself(_ arguments: [String]) throws -> String {
        let child = try ChildProcess(arguments, hasInput: false)
        var bytes: [UInt8] = []
        while true {
            let more = child.read()
            guard !more.isEmpty else { break }
            bytes += more
        }
        child.end()
        return String(decoding: bytes, as: UTF8.self)
    }

    /// The same of several runs, some of them at once; in their order.
    static func outputs(of runs: [[String]], atOnce count: Int) throws -> [String] {
        var outputs = [[UInt8]](repeating: [], count: runs.count)
        var next = 0
        var underWay: [(run: Int, child: ChildProcess)] = []
        defer { for (_, child) in underWay { child.end(killing: true) } }
        while next < runs.count || !underWay.isEmpty {
            while next < runs.count, underWay.count < max(1, count) {
                underWay.append((next, try ChildProcess(runs[next], hasInput: false)))
                next += 1
            }
            var streams = underWay.map { pollfd(fd: $0.child.output, events: Int16(POLLIN), revents: 0) }
            guard poll(&streams, nfds_t(streams.count), 1_000) > 0 else { continue }
            for place in streams.indices.reversed() where streams[place].revents != 0 {
                let bytes = underWay[place].child.read()
                outputs[underWay[place].run] += bytes
                if bytes.isEmpty { underWay.remove(at: place).child.end() }
            }
        }
        return outputs.map { String(decoding: $0, as: UTF8.self) }
    }

    /// Processor seconds of all children that have ended.
    static var processorTime: Double {
        var usage = rusage()
        getrusage(__rusage_who_t(RUSAGE_CHILDREN.rawValue), &usage)
        return [usage.ru_utime, usage.ru_stime].reduce(0) { $0 + Double($1.tv_sec) + Double($1.tv_usec) / 1_000_000 }
    }
}
