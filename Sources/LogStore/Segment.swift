internal import Basics
internal import Disk

/// One file of the log.
struct Segment: Sendable {
    let sequence: UInt64
    let file: any File
    /// Bytes that are reserved in it.
    let capacity: Int
    /// Cluster time of the newest record in it.
    var lastTime: ClusterTime
}

/// `<sequence>-<first index>.segment`, both as 16 hexadecimal digits, so that names sort as the log goes. The sequence
/// makes a name unique: after a truncation two segments may begin at one index.
struct SegmentName: Hashable {
    var sequence: UInt64
    var firstIndex: LogIndex

    static let suffix = ".segment"

    init(sequence: UInt64, firstIndex: LogIndex) {
        self.sequence = sequence
        self.firstIndex = firstIndex
    }

    init?(_ name: String) {
        guard name.hasSuffix(Self.suffix) else { return nil }
        let parts = name.dropLast(Self.suffix.count).split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count == 2, parts.allSatisfy({ $0.utf8.count == 16 }),
            let sequence = UInt64(parts[0], radix: 16), let index = UInt64(parts[1], radix: 16)
        else { return nil }
        self.init(sequence: sequence, firstIndex: LogIndex(index))
    }

    var text: String { "\(hexadecimal(sequence))-\(hexadecimal(firstIndex.rawValue))\(Self.suffix)" }
}

func hexadecimal(_ value: UInt64) -> String {
    let digits = String(value, radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
}

/// Files that are reserved and hold nothing: the next segments. A segment that compaction has emptied becomes one,
/// because its blocks are there already.
struct SpareSegments {
    private struct Spare {
        var name: String
        var size: Int
    }

    private let fileSystem: any FileSystem
    private let directory: String
    private var spares: [Spare] = []
    private var nextNumber: UInt64 = 1

    static let prefix = "spare-"

    init(fileSystem: any FileSystem, directory: String) {
        self.fileSystem = fileSystem
        self.directory = directory
    }

    func count(ofSize size: Int) -> Int { spares.count { $0.size == size } }

    /// Takes note of a spare that an earlier run has left. One of another size is not used, but its name is taken.
    mutating func adopt(_ name: String, size: Int, isUsable: Bool) {
        if isUsable { spares.append(Spare(name: name, size: size)) }
        if let number = UInt64(name.dropFirst(Self.prefix.count), radix: 16), number >= nextNumber {
            nextNumber = number &+ 1
        }
    }

    /// Reserves a new one. Throws `.noSpace` without having changed anything.
    mutating func make(size: Int) throws(DiskError) {
        let name = nextName()
        let path = "\(directory)/\(name)"
        let file = try fileSystem.open(path, .create)
        do {
            try file.preallocate(size)
        } catch {
            try fileSystem.remove(path)
            throw error
        }
        try file.sync()
        spares.append(Spare(name: name, size: size))
    }

    /// The path of a spare of exactly `size`, no longer ours; a new one when there is none.
    mutating func take(size: Int) throws(DiskError) -> String {
        if count(ofSize: size) == 0 { try make(size: size) }
        let position = spares.firstIndex { $0.size == size }
        return "\(directory)/\(spares.remove(at: position ?? 0).name)"
    }

    /// Turns a segment's file, which is no longer part of the log, into a spare.
    mutating func recycle(_ path: String, size: Int) throws(DiskError) {
        let name = nextName()
        try fileSystem.rename(path, to: "\(directory)/\(name)")
        spares.append(Spare(name: name, size: size))
    }

    private mutating func nextName() -> String {
        defer { nextNumber &+= 1 }
        return "\(Self.prefix)\(hexadecimal(nextNumber))"
    }
}
