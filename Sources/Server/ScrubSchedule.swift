internal import Basics
internal import Disk

/// When a node is to read everything that it keeps, by itself: a period after it last did, remembered in the file `scrub`
/// of the data directory; without that file, or when it is damaged, as if never.
///
///     ended NANOSECONDS crc32c C\n       C: that of "ended NANOSECONDS", eight hexadecimal digits
struct ScrubSchedule: Sendable {
    static let fileName = "scrub"

    private let period: Interval
    /// Which part of a quarter of the period this node comes earlier than others.
    private let share: UInt64
    private let began: ClusterTime
    private(set) var lastEnded: ClusterTime?

    /// - Parameter period: zero: never.
    init(period: Interval, node: NodeID, lastEnded: ClusterTime?, now: ClusterTime) {
        self.period = period
        var mixed = SplitMix64(seed: node.rawValue)
        share = mixed.next() % 1_024
        // A clock that was set back must not put it off for years.
        self.lastEnded = lastEnded.map { min($0, now) }
        began = now
    }

    /// Nodes that were started, or scrubbed, at one moment come one after the other.
    func isDue(at now: ClusterTime) -> Bool {
        guard period > .zero else { return false }
        let nanoseconds = UInt64(period.nanoseconds)
        let part = nanoseconds / 4_096 * share
        let due = lastEnded.map { $0.nanoseconds &+ nanoseconds - part } ?? began.nanoseconds &+ part
        return now.nanoseconds >= due
    }

    mutating func ended(at time: ClusterTime) { lastEnded = time }

    // MARK: The file

    static func load(from directory: String, on fileSystem: any FileSystem) throws -> ClusterTime? {
        let path = "\(directory)/\(fileName)"
        guard try fileSystem.exists(path) else { return nil }
        let bytes = try fileSystem.open(path, .existing).read(at: 0, count: 128)
        let digits = bytes.dropFirst("ended ".utf8.count).prefix { $0 != UInt8(ascii: " ") }
        guard let nanoseconds = UInt64(String(decoding: digits, as: UTF8.self)),
            bytes == encoded(ClusterTime(nanoseconds: nanoseconds))
        else { throw NodeFailure(message: "\(path) is damaged") }
        return ClusterTime(nanoseconds: nanoseconds)
    }

    static func store(_ time: ClusterTime, in directory: String, on fileSystem: any FileSystem) throws(DiskError) {
        try fileSystem.replaceFile(fileName, in: directory, with: encoded(time))
    }

    private static func encoded(_ time: ClusterTime) -> [UInt8] {
        let text = Array("ended \(time.nanoseconds)".utf8)
        let checksum = String(CRC32C.checksum(of: text.rawSpan), radix: 16)
        return text + Array(" crc32c \(String(repeating: "0", count: 8 - checksum.count))\(checksum)\n".utf8)
    }
}
