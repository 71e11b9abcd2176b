internal import Basics
package import Disk

/// A disk that keeps every promise of `FileSystem` and, when the power fails, breaks everything that was not promised.
///
/// A file has the bytes that a process sees and those that are on the platter; what was written since the last sync is
/// in sectors of 512 bytes, each of which a power loss keeps or drops by itself. Names are the same: a create, rename
/// or remove since the last sync of the directory may or may not have happened. A killed process loses nothing, because
/// the operating system lives on. A sync that fails leaves sectors of chance on the platter and takes all of them for
/// written, as Linux does: they are read back until the power fails, and no later sync writes them.
package final class SimDisk: FileSystem, @unchecked Sendable {
    // `@unchecked`: a world runs on one thread.

    package static let sectorSize = 512

    final class Node {
        var bytes: [UInt8] = []
        var durable: [UInt8] = []
        /// Sectors written since the last sync.
        var dirty: Set<Int> = []
        /// A sync has failed: what a process sees may not be on the platter although no sector is dirty.
        var hasFailedSync = false
    }

    private enum NameChange {
        case bind(String, Node)
        case unbind(String)
        case move(from: String, to: String, Node)
        case moveDirectory(from: String, to: String)
    }

    private var names: [String: Node] = [:]
    private var durableNames: [String: Node] = [:]
    private var directories: Set<String> = []
    private var durableDirectories: Set<String> = []
    /// Since the last sync of each directory, in order.
    private var changes: [String: [NameChange]] = [:]
    private var chance: Chance

    /// Bytes that files may take together.
    package var quota = Int.max
    /// Operations that still succeed; then the machine is off. Nil: no end in sight.
    package var fuse: Int?
    /// Asked before each operation that changes the disk: true when the machine is gone before it happens.
    var strikes: ((DiskError.Operation) -> Bool)?
    /// The next sync, or the next write, fails.
    package var failsNextSync = false
    /// What is read is not given back.
    package var failsReads = false
    package var failsNextWrite = false
    /// Who counts what happened.
    package private(set) var faults = DiskFaults()

    package struct DiskFaults: Hashable, Sendable {
        package var sectorsDropped = 0
        package var tornWrites = 0
        package var namesDropped = 0
        package var syncErrors = 0
        package var writeErrors = 0
        package var noSpace = 0
    }

    package init(seed: UInt64) { chance = Chance(seed: seed, stream: 7) }

    // MARK: Faults

    /// The power fails: what a platter and a directory hold afterwards.
    package func losePower() {
        for path in names.keys.sorted() { if let node = names[path] { dropSectors(of: node) } }
        for directory in changes.keys.sorted() {
            for change in changes[directory] ?? [] {
                guard chance.happens(percent: 50) else {
                    faults.namesDropped += 1
                    continue
                }
                apply(change, to: &durableNames)
                if case .moveDirectory(let source, let target) = change {
                    durableDirectories.remove(source)
                    durableDirectories.insert(target)
                }
            }
        }
        changes = [:]
        directories = durableDirectories
        // What was written through a name that is gone is gone; what is bound still has its platter bytes.
        names = durableNames.filter { directories.contains(Self.parent(of: $0.key)) }
        durableNames = names
        for path in names.keys.sorted() { if let node = names[path] { dropSectors(of: node) } }
        fuse = nil
    }

    /// The process is gone and the machine lives: all that was written is there.
    package func processEnded() { fuse = nil }

    private func dropSectors(of node: Node) {
        guard !node.dirty.isEmpty || node.hasFailedSync || node.bytes.count != node.durable.count else { return }
        node.hasFailedSync = false
        var dropped = 0
        var kept = 0
        var platter = node.durable
        // A size that no sync has made durable may be there or not.
        if node.bytes.count != platter.count, chance.happens(percent: 50) {
            if platter.count > node.bytes.count {
                platter.removeLast(platter.count - node.bytes.count)
            } else {
                platter.append(contentsOf: repeatElement(0, count: node.bytes.count - platter.count))
            }
        }
        for sector in node.dirty.sorted() {
            let start = sector * Self.sectorSize
            let end = min(start + Self.sectorSize, min(platter.count, node.bytes.count))
            guard start < end, chance.happens(percent: 50) else {
                dropped += 1
                continue
            }
            platter.replaceSubrange(start..<end, with: node.bytes[start..<end])
            kept += 1
        }
        faults.sectorsDropped += dropped
        if dropped > 0, kept > 0 { faults.tornWrites += 1 }
        node.bytes = platter
        node.durable = platter
        node.dirty = []
    }

    /// What the platter and the process see of a file, both.
    package func contents(of path: String) -> [UInt8] { names[path]?.bytes ?? [] }

    /// Changes bytes of a file behind the back of whoever wrote it, on the platter, too. Its size stays.
    package func alter(_ path: String, _ body: (inout [UInt8]) -> Void) {
        guard let node = names[path] else { return }
        let count = node.bytes.count
        body(&node.bytes)
        invariant(node.bytes.count == count, "a fault changed the size of \(path)")
        let end = min(count, node.durable.count)
        node.durable.replaceSubrange(0..<end, with: node.bytes[0..<end])
        node.dirty.removeAll()
    }

    /// Another disk with the same contents, all of it durable.
    package func copy(seed: UInt64) -> SimDisk {
        let other = SimDisk(seed: seed)
        other.assume(self)
        return other
    }

    /// A disk that holds what this one would hold after a power loss that keeps nothing unsynced.
    package func durableCopy(seed: UInt64) -> SimDisk {
        let other = SimDisk(seed: seed)
        for path in durableNames.keys.sorted() where durableDirectories.contains(Self.parent(of: path)) {
            let taken = Node()
            taken.bytes = durableNames[path]?.durable ?? []
            taken.durable = taken.bytes
            other.names[path] = taken
        }
        other.durableNames = other.names
        other.directories = durableDirectories
        other.durableDirectories = durableDirectories
        return other
    }

    /// Takes on all that another disk holds, as if it had been so for long.
    package func assume(_ other: SimDisk) {
        names = other.names.mapValues { node in
            let taken = Node()
            taken.bytes = node.bytes
            taken.durable = node.bytes
            return taken
        }
        durableNames = names
        directories = other.directories
        durableDirectories = directories
        changes = [:]
    }

    /// Turns one bit of a file's platter bytes; what turns it back, or nil when there is no such byte.
    package func flipBit(in path: String, at offset: Int, bit: Int) -> (() -> Void)? {
        guard let node = names[path], offset < node.durable.count, offset < node.bytes.count else { return nil }
        let mask = UInt8(1) << UInt8(bit & 7)
        let turn = {
            node.bytes[offset] ^= mask
            node.durable[offset] ^= mask
        }
        turn()
        return turn
    }

    package var usedBytes: Int { names.values.reduce(0) { $0 + $1.bytes.count } }

    /// Paths of all files, sorted.
    package var paths: [String] { names.keys.sorted() }

    /// A file of that kind with something that a power loss could take back; nil when there is none.
    package func unsyncedPath(endingIn suffix: String) -> String? {
        names.keys.filter { $0.hasSuffix(suffix) }.sorted().first { path in
            guard let node = names[path] else { return false }
            return !node.dirty.isEmpty || durableNames[path] !== node
        }
    }

    // MARK: Names

    private static func parent(of path: String) -> String {
        guard let slash = path.lastIndex(of: "/") else { return "" }
        return String(path[..<slash])
    }

    private func apply(_ change: NameChange, to table: inout [String: Node]) {
        switch change {
        case .bind(let path, let node): table[path] = node
        case .unbind(let path): table[path] = nil
        case .move(let source, let target, let node):
            table[source] = nil
            table[target] = node
        case .moveDirectory(let source, let target):
            for path in table.keys where path.hasPrefix("\(source)/") {
                table[target + path.dropFirst(source.count)] = table.removeValue(forKey: path)
            }
        }
    }

    private func record(_ change: NameChange, in directory: String) {
        apply(change, to: &names)
        changes[directory, default: []].append(change)
    }

    fileprivate func burn(_ operation: DiskError.Operation, _ path: String) throws(DiskError) {
        if fuse == nil, let strikes, Self.isChange(operation), strikes(operation) { fuse = 0 }
        guard let left = fuse else { return }
        guard left > 0 else { throw DiskError(.io, operation, path: path, reason: "the machine is off") }
        fuse = left - 1
    }

    private static func isChange(_ operation: DiskError.Operation) -> Bool {
        switch operation {
        case .open, .read, .list: false
        default: true
        }
    }

    package func open(_ path: String, _ mode: FileMode) throws(DiskError) -> any File {
        try burn(mode == .create ? .create : .open, path)
        if mode == .create {
            guard directories.contains(Self.parent(of: path)) else {
                throw DiskError(.notFound, .create, path: path, reason: "no such directory")
            }
            guard names[path] == nil else {
                throw DiskError(.alreadyExists, .create, path: path, reason: "file exists")
            }
            let node = Node()
            record(.bind(path, node), in: Self.parent(of: path))
            return SimFile(path: path, disk: self, node: node)
        }
        guard let node = names[path] else { throw DiskError(.notFound, .open, path: path, reason: "no such file") }
        return SimFile(path: path, disk: self, node: node)
    }

    package func list(_ directory: String) throws(DiskError) -> [String] {
        try burn(.list, directory)
        guard directories.contains(directory) else {
            throw DiskError(.notFound, .list, path: directory, reason: "no such directory")
        }
        let files = names.keys.filter { Self.parent(of: $0) == directory }
        let children = directories.filter { Self.parent(of: $0) == directory && $0 != directory }
        return (files + children).map { String($0.dropFirst(directory.count + 1)) }.sorted()
    }

    package func exists(_ path: String) throws(DiskError) -> Bool {
        try burn(.open, path)
        return names[path] != nil || directories.contains(path)
    }

    package func createDirectory(_ path: String) throws(DiskError) {
        try burn(.createDirectory, path)
        guard !directories.contains(path) else {
            throw DiskError(.alreadyExists, .createDirectory, path: path, reason: "directory exists")
        }
        let parent = Self.parent(of: path)
        guard parent.isEmpty || directories.contains(parent) else {
            throw DiskError(.notFound, .createDirectory, path: path, reason: "no such directory")
        }
        directories.insert(path)
    }

    package func rename(_ source: String, to target: String) throws(DiskError) {
        try burn(.rename, source)
        let directory = Self.parent(of: target)
        guard Self.parent(of: source) == directory else {
            throw DiskError(.io, .rename, path: source, reason: "to another directory")
        }
        if directories.contains(source) {
            guard changes[source] == nil, !directories.contains(target) else {
                throw DiskError(.io, .rename, path: source, reason: "not synced, or the target exists")
            }
            directories.remove(source)
            directories.insert(target)
            return record(.moveDirectory(from: source, to: target), in: directory)
        }
        guard let node = names[source] else {
            throw DiskError(.notFound, .rename, path: source, reason: "no such file")
        }
        record(.move(from: source, to: target, node), in: directory)
    }

    package func remove(_ path: String) throws(DiskError) {
        try burn(.remove, path)
        if directories.contains(path) {
            guard !names.keys.contains(where: { Self.parent(of: $0) == path }) else {
                throw DiskError(.io, .remove, path: path, reason: "directory not empty")
            }
            directories.remove(path)
            // What had been removed from it does not come back, nor is it removed once more from a directory that later
            // gets the same name.
            changes[path] = nil
            for name in durableNames.keys where Self.parent(of: name) == path { durableNames[name] = nil }
            return
        }
        guard names[path] != nil else { throw DiskError(.notFound, .remove, path: path, reason: "no such file") }
        record(.unbind(path), in: Self.parent(of: path))
    }

    package func syncDirectory(_ directory: String) throws(DiskError) {
        try burn(.syncDirectory, directory)
        for change in changes.removeValue(forKey: directory) ?? [] { apply(change, to: &durableNames) }
        let isChild: (String) -> Bool = { Self.parent(of: $0) == directory }
        durableDirectories.formUnion(directories.filter(isChild))
        durableDirectories = durableDirectories.filter { !isChild($0) || directories.contains($0) }
    }

    package func freeSpace(_ directory: String) throws(DiskError) -> Int { max(0, quota - usedBytes) }

    /// Makes a directory that is there for good.
    package func makeDurableDirectory(_ path: String) {
        directories.insert(path)
        durableDirectories.insert(path)
    }

    fileprivate func countWriteError() { faults.writeErrors += 1 }

    fileprivate func syncFailed(_ node: Node) {
        faults.syncErrors += 1
        for sector in node.dirty.sorted() where chance.happens(percent: 50) {
            let start = sector * Self.sectorSize
            let end = min(start + Self.sectorSize, min(node.bytes.count, node.durable.count))
            if start < end { node.durable.replaceSubrange(start..<end, with: node.bytes[start..<end]) }
        }
        node.dirty = []
        node.hasFailedSync = true
    }
    fileprivate func countNoSpace() { faults.noSpace += 1 }
}

/// An open file of a `SimDisk`.
private final class SimFile: File, @unchecked Sendable {
    // `@unchecked`: a world runs on one thread.
    let path: String
    private let disk: SimDisk
    private let node: SimDisk.Node

    init(path: String, disk: SimDisk, node: SimDisk.Node) {
        self.path = path
        self.disk = disk
        self.node = node
    }

    func size() throws(DiskError) -> Int { node.bytes.count }

    func read(at offset: Int, count: Int) throws(DiskError) -> [UInt8] {
        try disk.burn(.read, path)
        if disk.failsReads { throw DiskError(.io, .read, path: path, offset: offset, reason: "injected error") }
        let start = min(offset, node.bytes.count)
        return Array(node.bytes[start..<min(start + count, node.bytes.count)])
    }

    func write(_ pieces: [[UInt8]], at offset: Int) throws(DiskError) {
        try disk.burn(.write, path)
        let fails = disk.failsNextWrite
        disk.failsNextWrite = false
        var position = offset
        for (number, piece) in pieces.enumerated() where !piece.isEmpty {
            // A write that fails may have written a part.
            if fails, number > 0 { break }
            let end = position + piece.count
            if end > node.bytes.count {
                node.bytes.append(contentsOf: repeatElement(0, count: end - node.bytes.count))
            }
            node.bytes.replaceSubrange(position..<end, with: piece)
            for sector in position / SimDisk.sectorSize...(end - 1) / SimDisk.sectorSize { node.dirty.insert(sector) }
            position = end
        }
        if fails {
            disk.countWriteError()
            throw DiskError(.io, .write, path: path, offset: offset, reason: "injected error")
        }
    }

    func preallocate(_ size: Int) throws(DiskError) {
        try disk.burn(.preallocate, path)
        guard size > node.bytes.count else { return }
        guard disk.usedBytes + size - node.bytes.count <= disk.quota else {
            disk.countNoSpace()
            throw DiskError(.noSpace, .preallocate, path: path, reason: "no space left on device")
        }
        node.bytes.append(contentsOf: repeatElement(0, count: size - node.bytes.count))
    }

    func sync() throws(DiskError) {
        try disk.burn(.sync, path)
        if disk.failsNextSync {
            disk.failsNextSync = false
            disk.syncFailed(node)
            throw DiskError(.io, .sync, path: path, reason: "injected error")
        }
        resizeDurable()
        for sector in node.dirty {
            let start = sector * SimDisk.sectorSize
            let end = min(start + SimDisk.sectorSize, node.bytes.count)
            if start < end { node.durable.replaceSubrange(start..<end, with: node.bytes[start..<end]) }
        }
        node.dirty = []
    }

    private func resizeDurable() {
        let difference = node.bytes.count - node.durable.count
        if difference > 0 {
            node.durable.append(contentsOf: repeatElement(0, count: difference))
        } else if difference < 0 {
            node.durable.removeLast(-difference)
        }
    }

    func truncate(to size: Int) throws(DiskError) {
        try disk.burn(.truncate, path)
        if size < node.bytes.count {
            node.bytes.removeLast(node.bytes.count - size)
        } else {
            node.bytes.append(contentsOf: repeatElement(0, count: size - node.bytes.count))
        }
    }
}
