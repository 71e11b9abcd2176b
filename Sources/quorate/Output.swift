internal import Glibc

/// Writing to the terminal or a pipe. What a script reads goes to standard output, what a person should notice to
/// standard error.
enum Output {
    static func line(_ text: String) { write(Array(text.utf8) + [0x0A], to: STDOUT_FILENO) }

    static func error(_ text: String) { write(Array(text.utf8) + [0x0A], to: STDERR_FILENO) }

    /// Writes everything. Whoever reads may have gone: then there is nobody to tell, and the command ends.
    static func write(_ bytes: [UInt8], to descriptor: Int32 = STDOUT_FILENO) {
        var written = 0
        while written < bytes.count {
            let count = bytes[written...].withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count > 0 {
                written += count
            } else if errno != EINTR {
                Glibc.exit(errno == EPIPE ? 0 : 1)
            }
        }
    }

    static var isErrorTerminal: Bool { isatty(STDERR_FILENO) == 1 }
    static var isTerminal: Bool { isatty(STDOUT_FILENO) == 1 }
}

/// Collects lines and writes them in large pieces: a listing may have millions.
struct LineBuffer {
    private var pending: [UInt8] = []
    private let sizeMax = 1 << 16

    mutating func append(_ line: [UInt8]) {
        pending += line
        pending.append(0x0A)
        if pending.count >= sizeMax { flush() }
    }

    mutating func flush() {
        Output.write(pending)
        pending.removeAll(keepingCapacity: true)
    }
}

/// A bar on standard error for what takes longer than a second; nothing when no terminal is attached.
struct ProgressBar {
    private let title: String
    private let startedAt = ContinuousClock.now
    private var drawnAt: ContinuousClock.Instant?
    private let isShown = Output.isErrorTerminal

    init(_ title: String) { self.title = title }

    /// - Parameter total: nil when nobody knows.
    mutating func update(_ done: Int, of total: Int?) {
        let now = ContinuousClock.now
        guard isShown, now - startedAt >= .seconds(1) else { return }
        if let drawnAt, now - drawnAt < .milliseconds(100) { return }
        drawnAt = now
        let elapsed = max(0.001, (now - startedAt) / .seconds(1))
        let text = Self.text(title: title, done: done, total: total, rate: Double(done) / elapsed)
        Output.write(Array("\r\u{1B}[K\(text)".utf8), to: STDERR_FILENO)
    }

    /// Leaves an empty line where the bar was.
    mutating func finish() {
        guard drawnAt != nil else { return }
        Output.write(Array("\r\u{1B}[K".utf8), to: STDERR_FILENO)
        drawnAt = nil
    }

    static func text(title: String, done: Int, total: Int?, rate: Double) -> String {
        let speed = "\(Int(rate)) per s"
        guard let total, total > 0 else { return "\(title)  \(done)  \(speed)" }
        let width = 30
        let filled = min(width, done * width / total)
        let bar = String(repeating: "#", count: filled) + String(repeating: ".", count: width - filled)
        let left = rate > 0 ? "  \(Int(Double(max(0, total - done)) / rate)) s left" : ""
        return "\(title)  [\(bar)] \(done * 100 / total) %  \(done) of \(total)  \(speed)\(left)"
    }
}
