internal import Basics
internal import RaftCore

/// What a header says about everything that was written before it. Each batch and each segment carries one, so that a
/// reader who has lost what lies between two headers still knows how many batches are gone, which indexes they can have
/// held, and what term, vote and last entry this node has promised.
struct ChainPoint: Hashable {
    /// Number of the next batch. Batches are numbered from 1 over the whole life of the log, seals and repairs
    /// included.
    var number: UInt64
    /// `crc32c` of the header before it; 0 before the first.
    var previousChecksum: UInt32
    /// The log's last entry.
    var last: EntryID
    /// How many batches have truncated the log so far, and after which entry the newest of them did.
    var truncationCount: UInt32
    var lastTruncation: EntryID
    /// In a segment header the state so far; in a batch header the state from that batch on.
    var hardState: HardState

    static func beforeFirst(_ last: EntryID) -> ChainPoint {
        ChainPoint(
            number: 1, previousChecksum: 0, last: last, truncationCount: 0, lastTruncation: .zero, hardState: .initial)
    }

    /// True when nothing is missing between this point, which a header states, and `other`, where a reader stands.
    func follows(_ other: ChainPoint) -> Bool {
        number == other.number && previousChecksum == other.previousChecksum && last == other.last
            && truncationCount == other.truncationCount
    }
}

/// The first 128 bytes of a segment file; batches begin at `SegmentHeader.areaSize`, so that no later write touches the
/// sector that this is in. Drawn in FORMAT.md.
struct SegmentHeader: Hashable {
    var salt: UInt32
    /// The log begins with this segment: all segments of a lower sequence are obsolete.
    var startsLog: Bool
    var nodeID: NodeID
    var sequence: UInt64
    var segmentSize: UInt64
    /// Where the batches of the segment before this one end; 0 when there is none.
    var previousSegmentEnd: UInt64
    var point: ChainPoint

    static let magic: [UInt8] = Array("QUORLOG\n".utf8)
    static let formatVersion: UInt32 = 1
    static let size = 128
    static let areaSize = 4_096

    func encoded() -> [UInt8] {
        var writer = ByteWriter(reservingCapacity: Self.size)
        writer.write(Self.magic)
        writer.write(Self.formatVersion)
        writer.write(UInt32(0))
        writer.write(salt)
        writer.write(UInt32(startsLog ? 1 : 0))
        writer.write(nodeID.rawValue)
        writer.write(sequence)
        writer.write(segmentSize)
        writer.write(point.number)
        writer.write(point.last.term.rawValue)
        writer.write(point.last.index.rawValue)
        writer.write(previousSegmentEnd)
        writer.write(point.previousChecksum)
        writer.write(point.truncationCount)
        writer.write(point.lastTruncation.term.rawValue)
        writer.write(point.lastTruncation.index.rawValue)
        writer.write(point.hardState.currentTerm.rawValue)
        writer.write(point.hardState.votedFor?.rawValue ?? 0)
        writer.write(UInt64(0))
        writer.overwrite(at: 12, with: Self.checksum(of: writer.bytes.rawSpan))
        return writer.takeBytes()
    }

    /// The checksum stands at 12 and covers everything else, in every version of the format.
    private static func checksum(of bytes: RawSpan) -> UInt32 {
        CRC32C.checksum(
            of: bytes.extracting(16..<size), continuing: CRC32C.checksum(of: bytes.extracting(0..<12)))
    }

    init(
        salt: UInt32, startsLog: Bool, nodeID: NodeID, sequence: UInt64, segmentSize: UInt64,
        previousSegmentEnd: UInt64, point: ChainPoint
    ) {
        self.salt = salt
        self.startsLog = startsLog
        self.nodeID = nodeID
        self.sequence = sequence
        self.segmentSize = segmentSize
        self.previousSegmentEnd = previousSegmentEnd
        self.point = point
    }

    /// - Throws: `.unknown` for a sound header of a newer format; anything else means damage.
    init(decoding bytes: RawSpan) throws(DecodeError) {
        var reader = ByteReader(bytes)
        guard bytes.byteCount >= Self.size else { throw .truncated }
        guard try reader.readBytes(8).hasSameBytes(as: Self.magic.rawSpan) else { throw .invalid("segment magic") }
        let version = try reader.readUInt32()
        let stored = try reader.readUInt32()
        let computed = Self.checksum(of: bytes)
        guard stored == computed else { throw .checksumMismatch(stored: stored, computed: computed) }
        guard version == Self.formatVersion else { throw .unknown("segment format version", UInt64(version)) }
        salt = try reader.readUInt32()
        let flags = try reader.readUInt32()
        guard flags <= 1 else { throw .invalid("segment flags") }
        startsLog = flags == 1
        nodeID = NodeID(try reader.readUInt64())
        sequence = try reader.readUInt64()
        segmentSize = try reader.readUInt64()
        let number = try reader.readBounded("batch number", in: 1...Limits.logNumberMax)
        let last = try EntryID(decoding: &reader)
        previousSegmentEnd = try reader.readUInt64()
        let previousChecksum = try reader.readUInt32()
        let truncationCount = try reader.readUInt32()
        let lastTruncation = try EntryID(decoding: &reader)
        point = ChainPoint(
            number: number, previousChecksum: previousChecksum, last: last, truncationCount: truncationCount,
            lastTruncation: lastTruncation, hardState: try HardState(decoding: &reader))
        guard try reader.readUInt64() == 0 else { throw .invalid("reserved segment field") }
    }
}

extension ByteReader {
    @_lifetime(self: copy self)
    mutating func readBounded(_ what: String, in range: ClosedRange<UInt64>) throws(DecodeError) -> UInt64 {
        let value = try readUInt64()
        guard range.contains(value) else { throw .invalid(what) }
        return value
    }
}

extension EntryID {
    init(decoding reader: inout ByteReader) throws(DecodeError) {
        let term = try reader.readTerm()
        let index = try reader.readLogIndex()
        self.init(term: term, index: index)
    }
}

extension HardState {
    init(decoding reader: inout ByteReader) throws(DecodeError) {
        let term = try reader.readTerm()
        let vote = try reader.readUInt64()
        self.init(currentTerm: term, votedFor: vote == 0 ? nil : NodeID(vote))
    }
}
