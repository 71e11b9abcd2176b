internal import Glibc

/// What the kernel says of a process in `/proc`.
struct ProcessFigures {
    /// User and system time since it started.
    var cpuMicros: Double
    var residentBytes: Int

    /// Nil when there is no such process, or none any more.
    init?(of process: Int32) {
        guard let stat = ProcFile.text("/proc/\(process)/stat"), let memory = ProcFile.text("/proc/\(process)/statm")
        else { return nil }
        // The name in parentheses may hold blanks; what follows the last one is fields 3, 4, ….
        guard let nameEnd = stat.lastIndex(of: ")") else { return nil }
        let fields = stat[stat.index(after: nameEnd)...].split(separator: " ")
        let pages = memory.split(separator: " ")
        guard fields.count > 12, let user = Double(fields[11]), let system = Double(fields[12]), pages.count > 1,
            let resident = Int(pages[1])
        else { return nil }
        cpuMicros = (user + system) * 1_000_000 / Double(sysconf(Int32(_SC_CLK_TCK)))
        residentBytes = resident * Int(sysconf(Int32(_SC_PAGESIZE)))
    }
}
