internal import Glibc
internal import Synchronization

/// File systems in memory, small enough to be filled. Only root can have them.
enum SmallDisk {
    private static let paths = Mutex<[String]>([])

    /// False where there can be none.
    static func mount(at path: String) -> Bool {
        guard Glibc.mount("quorate-torture", path, "tmpfs", 0, "size=384m,mode=0700") == 0 else { return false }
        paths.withLock { $0.append(path) }
        return true
    }

    /// All that were made here. What lies in them is gone.
    static func unmountAll() {
        for path in paths.withLock({ $0 }) { umount2(path, Int32(MNT_DETACH)) }
    }
}
