internal import Glibc

/// What a command writes into a data directory belongs to whoever runs it, and a node that runs as a user of its own
/// cannot open what root has made. It would be known only when the node is started, after the old content has gone.
enum DataOwner {
    /// Refuses when root is about to write where another user's node keeps its data.
    static func check(_ directory: String, for command: String) throws {
        guard geteuid() == 0, let owner = owner(of: directory), owner != 0 else { return }
        let name = getpwuid(owner).map { String(cString: $0.pointee.pw_name) } ?? "\(owner)"
        throw CommandError(
            "wrongUser",
            "\(directory) belongs to \(name), and a node that runs as \(name) could not open what root makes there. Run it "
                + "as that user: runuser -u \(name) -- quorate \(command) …")
    }

    /// Of a directory that is not there yet: the owner of the one that it will be in.
    private static func owner(of directory: String) -> uid_t? {
        var path = directory
        var status = stat()
        while stat(path, &status) != 0 {
            while path.last == "/" { path.removeLast() }
            guard let slash = path.lastIndex(of: "/") else { return stat(".", &status) == 0 ? status.st_uid : nil }
            path = slash == path.startIndex ? "/" : String(path[..<slash])
            if path.isEmpty { return nil }
        }
        return status.st_uid
    }
}
