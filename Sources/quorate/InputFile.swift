internal import Glibc

/// Reading what a command was pointed at.
enum InputFile {
    /// All of a file, or of standard input for `-`.
    static func read(_ path: String, sizeMax: Int) throws -> [UInt8] {
        let descriptor = path == "-" ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw failure(path) }
        defer { if path != "-" { close(descriptor) } }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = Glibc.read(descriptor, &chunk, chunk.count)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw failure(path) }
            guard count > 0 else { return bytes }
            bytes += chunk[..<count]
            guard bytes.count <= sizeMax else {
                throw CommandError("tooLarge", "\(name(path)) has more than \(sizeMax) bytes, the most that fits")
            }
        }
    }

    static func name(_ path: String) -> String { path == "-" ? "standard input" : path }

    static func failure(_ path: String) -> CommandError {
        CommandError("file", "cannot read \(name(path)): \(String(cString: strerror(errno)))")
    }
}
