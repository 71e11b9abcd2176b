internal import Glibc

/// What the kernel counts of this process, under the names that every Prometheus client library uses.
package enum ProcessFigures {
    package static func families() -> [MetricFamily] {
        [
            MetricFamily(
                "process_cpu_seconds_total", .counter, "CPU time that the process has used.",
                cpuSeconds().map { .number($0) }),
            MetricFamily(
                "process_resident_memory_bytes", .gauge, "Memory of the process that is in RAM.",
                residentBytes().map { .whole($0) }),
            MetricFamily(
                "process_open_fds", .gauge, "File descriptors that are open. Look when it nears process_max_fds.",
                openDescriptors().map { .whole($0) }),
            MetricFamily(
                "process_max_fds", .gauge, "File descriptors that may be open.", descriptorsMax().map { .whole($0) }),
            MetricFamily(
                "process_start_time_seconds", .gauge, "When the process started, in seconds since 1970.",
                startTime().map { .number($0) }),
        ]
    }

    private static func cpuSeconds() -> Double? {
        var time = timespec()
        guard clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time) == 0 else { return nil }
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }

    private static func residentBytes() -> UInt64? {
        let fields = read("/proc/self/statm").split(separator: " ")
        guard fields.count > 1, let pages = UInt64(fields[1]) else { return nil }
        return pages * UInt64(sysconf(Int32(_SC_PAGESIZE)))
    }

    private static func openDescriptors() -> UInt64? {
        guard let directory = opendir("/proc/self/fd") else { return nil }
        defer { closedir(directory) }
        var count: UInt64 = 0
        while readdir(directory) != nil { count += 1 }
        // ".", ".." and the descriptor of the listing itself.
        return count > 3 ? count - 3 : 0
    }

    private static func descriptorsMax() -> UInt64? {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return nil }
        return UInt64(limit.rlim_cur)
    }

    /// Field 22 of `stat` counts ticks since the machine started. The second field is the process's name in
    /// parentheses, which may hold blanks and parentheses itself.
    private static func startTime() -> Double? {
        let text = read("/proc/self/stat")
        guard let end = text.lastIndex(of: ")") else { return nil }
        let fields = text[end...].split(separator: " ")
        guard fields.count > 20, let ticks = Double(fields[20]), let boot = bootTime() else { return nil }
        return boot + ticks / Double(sysconf(Int32(_SC_CLK_TCK)))
    }

    private static func bootTime() -> Double? {
        for line in read("/proc/stat").split(separator: "\n") where line.hasPrefix("btime ") {
            return Double(line.dropFirst(6))
        }
        return nil
    }

    /// Empty when the file cannot be read: then the figure is left out.
    private static func read(_ path: String) -> String {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return "" }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 16_384)
        while true {
            let count = Glibc.read(descriptor, &chunk, chunk.count)
            guard count > 0 else { break }
            bytes.append(contentsOf: chunk[..<count])
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
