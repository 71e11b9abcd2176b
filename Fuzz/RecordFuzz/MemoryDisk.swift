internal import Disk

/// As much of a disk as the log asks for, in memory, for one input.
final class MemoryDisk: FileSystem, @unchecked Sendable {
    // `@unchecked`: used from one thread.
    private(set) var files: [String: MemoryFile] = [:]

    func put(_ path: String, _ bytes: [UInt8]) { files[path] = MemoryFile(path: path, bytes: bytes) }

    func open(_ path: String, _ mode: FileMode) throws(DiskError) -> any File {
        if mode == .create { put(path, []) }
        guard let file = files[path] else { throw DiskError(.notFound, .open, path: path, reason: "not there") }
        return file
    }

    func list(_ directory: String) throws(DiskError) -> [String] {
        files.keys.map { String($0.dropFirst(directory.count + 1)) }.sorted()
    }

    func exists(_ path: String) throws(DiskError) -> Bool { files[path] != nil }
    func createDirectory(_ path: String) throws(DiskError) {}
    func rename(_ source: String, to target: String) throws(DiskError) {
        files[target] = files.removeValue(forKey: source)
    }
    func remove(_ path: String) throws(DiskError) { files[path] = nil }
    func syncDirectory(_ directory: String) throws(DiskError) {}
    func freeSpace(_ directory: String) throws(DiskError) -> Int { 1 << 40 }
}

final class MemoryFile: File, @unchecked Sendable {
    // `@unchecked`: used from one thread.
    let path: String
    private var bytes: [UInt8]
    private static let sizeMax = 1 << 18

    init(path: String, bytes: [UInt8]) {
        self.path = path
        self.bytes = bytes
    }

    func size() throws(DiskError) -> Int { bytes.count }

    func read(at offset: Int, count: Int) throws(DiskError) -> [UInt8] {
        guard offset >= 0, count >= 0 else { throw DiskError(.io, .read, path: path, reason: "no such place") }
        let start = min(offset, bytes.count)
        return Array(bytes[start..<start + min(count, bytes.count - start)])
    }

    func write(_ pieces: [[UInt8]], at offset: Int) throws(DiskError) {
        var position = offset
        for piece in pieces {
            try preallocate(position + piece.count)
            bytes.replaceSubrange(position..<position + piece.count, with: piece)
            position += piece.count
        }
    }

    func preallocate(_ size: Int) throws(DiskError) {
        // What a forged header claims to have reserved finds no room here.
        guard size <= Self.sizeMax else { throw DiskError(.noSpace, .preallocate, path: path, reason: "a small disk") }
        if size > bytes.count { bytes += [UInt8](repeating: 0, count: size - bytes.count) }
    }

    func sync() throws(DiskError) {}
    func truncate(to size: Int) throws(DiskError) { bytes.removeLast(max(0, bytes.count - size)) }
}
