import Basics
import Disk
import LogFormat
import LogStore
import RaftCore
import Testing

/// A disk in memory that keeps the promises of `FileSystem` and no others: `crashed` gives one of the disks that a
/// power loss may leave. Counts what is asked of it, runs out of space, and can stop working at any effect.
final class MemoryDisk: FileSystem, @unchecked Sendable {
    // `@unchecked`: each test uses its own from one thread.

    final class Node {
        var bytes: [UInt8] = []
        var durable: [UInt8] = []
        /// Sectors of 512 bytes that the next sync writes.
        var dirty: Set<Int> = []
    }

    enum NameChange {
        case add(String, Node)
        case rename(String, String)
        case remove(String)
    }

    var names: [String: Node] = [:]
    var durableNames: [String: Node] = [:]
    var changes: [NameChange] = []
    var syncCount = 0
    var writeCount = 0
    var capacity = Int.max
    /// Effects (writes, syncs, changes of names) until every further call fails; nil = never.
    var effectsLeft: Int?
    var effectCount = 0
    var isDead = false
    /// The next sync fails as Linux lets it: its pages stay readable, and no later sync writes them.
    var failsNextSync = false
    /// Bytes of files that cannot be read.
    var badSectors: [String: Range<Int>] = [:]

    func effect(_ operation: DiskError.Operation, _ path: String) throws(DiskError) {
        if let left = effectsLeft {
            if left == 0 { isDead = true } else { effectsLeft = left - 1 }
        }
        guard !isDead else { throw DiskError(.io, operation, path: path, reason: "the power is off") }
        effectCount += 1
    }

    var usedBytes: Int { names.values.reduce(0) { $0 + $1.bytes.count } }

    func open(_ path: String, _ mode: FileMode) throws(DiskError) -> any File {
        if mode == .create {
            guard names[path] == nil else { throw DiskError(.alreadyExists, .create, path: path, reason: "exists") }
            try effect(.create, path)
            let node = Node()
            names[path] = node
            changes.append(.add(path, node))
            return MemoryFile(path: path, node: node, disk: self)
        }
        guard let node = names[path] else { throw DiskError(.notFound, .open, path: path, reason: "not there") }
        return MemoryFile(path: path, node: node, disk: self)
    }

    func list(_ directory: String) throws(DiskError) -> [String] {
        names.keys.filter { $0.hasPrefix(directory + "/") }.map { String($0.dropFirst(directory.count + 1)) }.sorted()
    }

    func exists(_ path: String) throws(DiskError) -> Bool { names[path] != nil }
    func createDirectory(_ path: String) throws(DiskError) {}

    func rename(_ source: String, to target: String) throws(DiskError) {
        try effect(.rename, source)
        guard let node = names.removeValue(forKey: source) else {
            throw DiskError(.notFound, .rename, path: source, reason: "not there")
        }
        names[target] = node
        changes.append(.rename(source, target))
    }

    func remove(_ path: String) throws(DiskError) {
        try effect(.remove, path)
        guard names.removeValue(forKey: path) != nil else {
            throw DiskError(.notFound, .remove, path: path, reason: "not there")
        }
        changes.append(.remove(path))
    }

    func syncDirectory(_ directory: String) throws(DiskError) {
        try effect(.syncDirectory, directory)
        durableNames = names
        changes = []
    }

    func freeSpace(_ directory: String) throws(DiskError) -> Int { capacity - usedBytes }

    /// A disk as it may be after the power was lost: what was synced, and of the rest any part that `random` picks.
    func crashed(_ random: inout SplitMix64) -> MemoryDisk {
        let after = MemoryDisk()
        var kept = durableNames
        for change in changes where random.next() & 1 == 0 {
            switch change {
            case .add(let name, let node): kept[name] = node
            case .rename(let source, let target):
                if let node = kept.removeValue(forKey: source) { kept[target] = node }
            case .remove(let name): kept[name] = nil
            }
        }
        for (name, node) in kept.sorted(by: { $0.key < $1.key }) {
            var bytes = node.durable
            if node.bytes.count > bytes.count, random.next() & 1 == 0 {
                bytes += [UInt8](repeating: 0, count: node.bytes.count - bytes.count)
            }
            for start in stride(from: 0, to: bytes.count, by: 512) {
                let end = min(start + 512, bytes.count, node.bytes.count)
                guard start < end, bytes[start..<end] != node.bytes[start..<end] else { continue }
                if random.next() & 1 == 0 { bytes.replaceSubrange(start..<end, with: node.bytes[start..<end]) }
            }
            let copy = Node()
            copy.bytes = bytes
            copy.durable = bytes
            after.names[name] = copy
        }
        after.durableNames = after.names
        return after
    }

    /// Where the last byte that is not zero ends.
    func end(of path: String) -> Int { (names[path]!.bytes.lastIndex { $0 != 0 } ?? -1) + 1 }

    /// An independent copy of what is there now.
    func copy() -> MemoryDisk {
        let copy = MemoryDisk()
        for (name, node) in names {
            let twin = Node()
            twin.bytes = node.bytes
            twin.durable = node.bytes
            copy.names[name] = twin
        }
        copy.durableNames = copy.names
        return copy
    }

    /// The segments' paths in order.
    var segments: [String] { names.keys.filter { $0.hasSuffix(".segment") }.sorted() }
}

final class MemoryFile: File, @unchecked Sendable {
    let path: String
    private let node: MemoryDisk.Node
    private let disk: MemoryDisk

    init(path: String, node: MemoryDisk.Node, disk: MemoryDisk) {
        self.path = path
        self.node = node
        self.disk = disk
    }

    func size() throws(DiskError) -> Int { node.bytes.count }

    func read(at offset: Int, count: Int) throws(DiskError) -> [UInt8] {
        if let bad = disk.badSectors[path], bad.overlaps(offset..<offset + count) {
            throw DiskError(.io, .read, path: path, offset: offset, reason: "Input/output error")
        }
        let start = min(offset, node.bytes.count)
        return Array(node.bytes[start..<min(start + count, node.bytes.count)])
    }

    func write(_ pieces: [[UInt8]], at offset: Int) throws(DiskError) {
        disk.writeCount += 1
        var position = offset
        for piece in pieces {
            try disk.effect(.write, path)
            let end = position + piece.count
            if end > node.bytes.count { node.bytes += [UInt8](repeating: 0, count: end - node.bytes.count) }
            node.bytes.replaceSubrange(position..<end, with: piece)
            if position < end { node.dirty.formUnion(position / 512...(end - 1) / 512) }
            position = end
        }
    }

    func preallocate(_ size: Int) throws(DiskError) {
        let more = max(0, size - node.bytes.count)
        guard disk.usedBytes + more <= disk.capacity else {
            throw DiskError(.noSpace, .preallocate, path: path, reason: "no space")
        }
        try disk.effect(.preallocate, path)
        node.bytes += [UInt8](repeating: 0, count: more)
    }

    func sync() throws(DiskError) {
        try disk.effect(.sync, path)
        disk.syncCount += 1
        let dirty = node.dirty
        node.dirty = []
        if disk.failsNextSync {
            disk.failsNextSync = false
            throw DiskError(.io, .sync, path: path, reason: "Input/output error")
        }
        let grown = node.bytes.count - node.durable.count
        if grown < 0 { node.durable.removeLast(-grown) } else { node.durable += [UInt8](repeating: 0, count: grown) }
        for sector in dirty where sector * 512 < node.bytes.count {
            let range = sector * 512..<min((sector + 1) * 512, node.bytes.count)
            node.durable.replaceSubrange(range, with: node.bytes[range])
        }
    }

    func truncate(to size: Int) throws(DiskError) {
        try disk.effect(.truncate, path)
        node.bytes.removeLast(max(0, node.bytes.count - size))
    }
}

let salt: UInt32 = 0x5EED_0001
let node = NodeID(7)
let directory = "log"

func smallSettings(_ segmentSize: Int = 8_192) -> LogSettings {
    var settings = LogSettings()
    settings.segmentSize = segmentSize
    return settings
}

@discardableResult
func open(
    _ disk: any FileSystem, settings: LogSettings = smallSettings(), verifyFrom: LogIndex = LogIndex(1),
    acceptingDamage: Bool = false
) throws(LogOpenError) -> (log: SegmentedLog, report: RecoveryReport) {
    try SegmentedLog.open(
        fileSystem: disk, directory: directory, salt: salt, nodeID: node, settings: settings, verifyFrom: verifyFrom,
        acceptingDamage: acceptingDamage)
}

/// A slab of entries whose payloads tell term and index, so that a wrong entry shows itself.
func slab(
    _ first: UInt64, count: Int = 1, term: UInt64 = 1, payloadSize: Int = 24, type: RecordType = .command
) -> Slab {
    var builder = SlabBuilder(term: Term(term), firstIndex: LogIndex(first), salt: salt)
    for position in 0..<count {
        let bytes = payload(first + UInt64(position), term: term, size: payloadSize)
        builder.append(type, payload: bytes.rawSpan, time: ClusterTime(nanoseconds: 1_000 * (first + UInt64(position))))
    }
    return builder.close()!
}

func payload(_ index: UInt64, term: UInt64, size: Int = 24) -> [UInt8] {
    let text = Array("\(term)/\(index);".utf8)
    return (0..<size).map { text[$0 % text.count] }
}

func task(_ slab: Slab?, term: UInt64 = 1, vote: UInt64? = nil, truncateAfter: UInt64? = nil) -> LogTask {
    LogTask(
        hardState: HardState(currentTerm: Term(term), votedFor: vote.map { NodeID($0) }),
        truncateAfter: truncateAfter.map { LogIndex($0) }, slab: slab)
}

/// Every readable entry: index → term. Fails the test when a payload is not that of its entry.
func contents(_ log: SegmentedLog) throws -> [UInt64: UInt64] {
    var found: [UInt64: UInt64] = [:]
    var next = log.firstIndex
    while next <= log.lastIndex {
        if let faulty = log.faultyRanges.first(where: { $0.contains(next) }) {
            next = faulty.upperBound.next
            continue
        }
        let end = log.faultyRanges.first { $0.lowerBound > next }?.lowerBound.previous ?? log.lastIndex
        for slab in try log.read(from: next, through: end, bytesMax: 1 << 20) {
            #expect(slab.firstIndex == next)
            for position in 0..<slab.count {
                let index = slab.firstIndex + position
                let record = slab.record(at: index)
                let bytes = [UInt8](record.payload)
                #expect(bytes == payload(index.rawValue, term: slab.term.rawValue, size: bytes.count))
                found[index.rawValue] = slab.term.rawValue
            }
            next = slab.lastIndex.next
        }
    }
    return found
}

func entries(_ range: ClosedRange<UInt64>, term: UInt64 = 1) -> [UInt64: UInt64] {
    Dictionary(uniqueKeysWithValues: range.map { ($0, term) })
}
