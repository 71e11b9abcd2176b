internal import Glibc

/// The real disk. With `PosixFile` the only place in the repository that makes file system calls, all of them through
/// libc, so that a preloaded library can count, delay and fail them.
package final class PosixFileSystem: FileSystem {
    package init() {}

    package func open(_ path: String, _ mode: FileMode) throws(DiskError) -> any File {
        let flags: CInt =
            switch mode {
            case .create: O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC
            case .existing: O_RDWR | O_CLOEXEC
            case .readOnly: O_RDONLY | O_CLOEXEC
            }
        let descriptor = Glibc.open(path, flags, 0o600)
        guard descriptor >= 0 else {
            let number = errno
            if mode == .create, number == ENOSPC || number == EDQUOT {
                throw DiskError(.noSpace, .create, path: path, reason: text(of: number))
            }
            throw DiskError(errno: number, mode == .create ? .create : .open, path: path)
        }
        let file = PosixFile(path: path, descriptor: descriptor)
        if mode == .existing { try requirePrivate(path) }
        return file
    }

    package func list(_ directory: String) throws(DiskError) -> [String] {
        guard let stream = opendir(directory) else { throw .ofErrno(.list, directory) }
        defer { closedir(stream) }
        var names: [String] = []
        while true {
            errno = 0
            guard let entry = readdir(stream) else { break }
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != "." && name != ".." { names.append(name) }
        }
        guard errno == 0 else { throw .ofErrno(.list, directory) }
        return names.sorted()
    }

    package func exists(_ path: String) throws(DiskError) -> Bool {
        var status = stat()
        if stat(path, &status) == 0 { return true }
        guard errno == ENOENT || errno == ENOTDIR else { throw .ofErrno(.open, path) }
        return false
    }

    package func createDirectory(_ path: String) throws(DiskError) {
        guard mkdir(path, 0o700) == 0 else {
            let number = errno
            if number == ENOSPC || number == EDQUOT {
                throw DiskError(.noSpace, .createDirectory, path: path, reason: text(of: number))
            }
            throw DiskError(errno: number, .createDirectory, path: path)
        }
    }

    package func rename(_ source: String, to target: String) throws(DiskError) {
        guard Glibc.rename(source, target) == 0 else { throw .ofErrno(.rename, source) }
    }

    package func remove(_ path: String) throws(DiskError) {
        guard Glibc.remove(path) == 0 else { throw .ofErrno(.remove, path) }
    }

    package func syncDirectory(_ directory: String) throws(DiskError) {
        let descriptor = Glibc.open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .ofErrno(.syncDirectory, directory) }
        defer { close(descriptor) }
        guard fsync(descriptor) == 0 else { throw .ofErrno(.syncDirectory, directory) }
    }

    package func freeSpace(_ directory: String) throws(DiskError) -> Int {
        var status = statvfs()
        guard statvfs(directory, &status) == 0 else { throw .ofErrno(.freeSpace, directory) }
        let (bytes, overflow) = UInt64(status.f_bavail).multipliedReportingOverflow(by: UInt64(status.f_frsize))
        return overflow ? .max : Int(clamping: bytes)
    }

    /// Refuses a directory wider than 0700 or a file wider than 0600: what it holds is as good as every password in it.
    package func requirePrivate(_ path: String) throws(DiskError) {
        var status = stat()
        guard stat(path, &status) == 0 else { throw .ofErrno(.checkPermissions, path) }
        let isDirectory = status.st_mode & S_IFMT == S_IFDIR
        let widest: mode_t = isDirectory ? 0o700 : 0o600
        let mode = status.st_mode & 0o777
        guard mode & ~widest & 0o077 == 0 else {
            throw DiskError(
                .permission, .checkPermissions, path: path,
                reason: "mode \(String(mode, radix: 8)) lets others in; run: chmod \(String(widest, radix: 8)) \(path)")
        }
    }

    /// Keeps a second process out of `directory` for as long as the result lives.
    package func lock(_ directory: String) throws(DiskError) -> DirectoryLock {
        try DirectoryLock(directory: directory)
    }

    /// Keeps those out of `directory` who would change it, and makes no file for it: where no lock is, nobody has ever
    /// used the directory, and nil is the answer.
    package func lockForReading(_ directory: String) throws(DiskError) -> DirectoryLock? {
        guard try exists("\(directory)/lock") else { return nil }
        return try DirectoryLock(readingIn: directory)
    }
}

/// An advisory lock on the file `lock` in a data directory. The system drops it when the process ends, however it ends.
package final class DirectoryLock: Sendable {
    private let descriptor: CInt

    fileprivate convenience init(directory: String) throws(DiskError) {
        try self.init("\(directory)/lock", O_RDWR | O_CREAT, LOCK_EX)
    }

    /// Many may read at a time.
    fileprivate convenience init(readingIn directory: String) throws(DiskError) {
        try self.init("\(directory)/lock", O_RDONLY, LOCK_SH)
    }

    private init(_ path: String, _ flags: CInt, _ operation: CInt) throws(DiskError) {
        let opened = Glibc.open(path, flags | O_CLOEXEC, 0o600)
        guard opened >= 0 else { throw .ofErrno(.lock, path) }
        guard flock(opened, operation | LOCK_NB) == 0 else {
            let number = errno
            close(opened)
            guard number == EWOULDBLOCK else { throw DiskError(errno: number, .lock, path: path) }
            throw DiskError(.locked, .lock, path: path, reason: "another process uses this directory")
        }
        descriptor = opened
    }

    deinit { close(descriptor) }
}
