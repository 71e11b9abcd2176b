internal import Glibc

/// What the kernel says of a process in `/proc`.
struct ProcessFigures {
    /// User and system time since it started.
    var cpuMicroseconds: Double
    var residentBytes: Int

    /// Nil when there is no such process, or none any more.
    init?(of processID: Int32) {
        guard let stat = Self.read("/proc/\(processID)/stat"), let memory = Self.read("/proc/\(processID)/statm") else {
            return nil
        }
        // The name in parentheses may hold blanks; what follows the last one is fields 3, 4, ….
        guard let nameEnd = stat.lastIndex(of: ")") else { return nil }
        let fields = stat[stat.index(after: nameEnd)...].split(separator: " ")
        let pages = memory.split(separator: " ")
        guard fields.count > 12, let user = Double(fields[11]), let system = Double(fields[12]), pages.count > 1,
            let resident = Int(pages[1])
        else { return nil }
        cpuMicroseconds = (user + system) * 1_000_000 / Double(sysconf(Int32(_SC_CLK_TCK)))
        residentBytes = resident * Int(sysconf(Int32(_SC_PAGESIZE)))
    }

    private static func read(_ path: String) -> String? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 4_096)
        let count = Glibc.read(descriptor, &bytes, bytes.count)
        return count > 0 ? String(decoding: bytes[..<count], as: UTF8.self) : nil
    }
}
