internal import Basics
internal import LogFormat
internal import RaftCore

/// What one synced write puts on disk starts with one of these, in front of the records of at most one slab. Drawn in
/// FORMAT.md.
///
/// It describes itself — cluster, segment, offset, number, checksum of the header before — so that a header left over
/// in a recycled file, or one that the disk put in the wrong place, is never taken for the one that belongs there.
struct BatchHeader: Hashable {
    enum Kind: UInt8 {
        /// Hard state, perhaps a truncation, perhaps entries at the end of the log.
        case batch = 200
        /// Says only that all before it is synced.
        case seal = 201
        /// Entries that were damaged, back from a peer; they do not touch the end of the log.
        case repair = 202
    }

    var kind: Kind
    var salt: UInt32
    var sequence: UInt64
    /// Where this header is in its file.
    var offset: UInt64
    /// Everything through the batch of this number was synced before this one was written.
    var acknowledgedThrough: UInt64
    /// `point.number` is the number of this batch, `point.hardState` its hard state; the rest is as before this batch.
    var point: ChainPoint
    /// Entries after this one are cut before those of this batch are added.
    var truncateAfter: EntryID?
    var holdsConfiguration: Bool
    /// Of the entries, as are the fields below; 0 when there are none.
    var term: Term
    var firstIndex: LogIndex
    var lastTime: ClusterTime
    var count: Int
    var recordsSize: Int

    static let version: UInt8 = 1
    static let size = 152
    static let numberOffset = 16
    static let sequenceOffset = 24
    static let offsetOffset = 32
    private static let truncatesFlag: UInt16 = 1
    private static let configurationFlag: UInt16 = 2

    /// Batches start at multiples of 8, so that a search for one need not look in between.
    static func paddedSize(recordsSize: Int) -> Int { (size + recordsSize + 7) & ~7 }
    var paddedSize: Int { Self.paddedSize(recordsSize: recordsSize) }

    var indexes: ClosedRange<LogIndex>? { count == 0 ? nil : firstIndex...firstIndex + (count - 1) }

    /// The log's last entry once this batch is applied.
    var lastAfter: EntryID {
        guard kind == .batch else { return point.last }
        if let indexes { return EntryID(term: term, index: indexes.upperBound) }
        return truncateAfter ?? point.last
    }

    /// Where a reader stands after this batch; `checksum` is that of this header.
    func pointAfter(checksum: UInt32) -> ChainPoint {
        ChainPoint(
            number: point.number + 1, previousChecksum: checksum, last: lastAfter,
            truncationCount: point.truncationCount &+ (truncateAfter == nil ? 0 : 1),
            lastTruncation: truncateAfter ?? point.lastTruncation, hardState: point.hardState)
    }

    /// The bytes, and the checksum in them.
    func encoded() -> (bytes: [UInt8], checksum: UInt32) {
        var writer = ByteWriter(reservingCapacity: Self.size)
        writer.write(UInt32(Self.size - 4))
        writer.write(UInt32(0))
        writer.write(kind.rawValue)
        writer.write(Self.version)
        writer.write(
            (truncateAfter == nil ? 0 : Self.truncatesFlag) | (holdsConfiguration ? Self.configurationFlag : 0))
        writer.write(salt)
        writer.write(point.number)
        writer.write(sequence)
        writer.write(offset)
        writer.write(point.hardState.currentTerm.rawValue)
        writer.write(point.hardState.votedFor?.rawValue ?? 0)
        writer.write(acknowledgedThrough)
        writer.write(point.last.term.rawValue)
        writer.write(point.last.index.rawValue)
        writer.write(point.lastTruncation.term.rawValue)
        writer.write(point.lastTruncation.index.rawValue)
        writer.write((truncateAfter ?? .zero).term.rawValue)
        writer.write((truncateAfter ?? .zero).index.rawValue)
        writer.write(term.rawValue)
        writer.write(firstIndex.rawValue)
        writer.write(lastTime.nanoseconds)
        writer.write(UInt32(count))
        writer.write(UInt32(recordsSize))
        writer.write(point.truncationCount)
        writer.write(point.previousChecksum)
        let checksum = CRC32C.checksum(of: writer.bytes.rawSpan.extracting(8..<Self.size))
        writer.overwrite(at: 4, with: checksum)
        return (writer.takeBytes(), checksum)
    }

    init(
        kind: Kind, salt: UInt32, sequence: UInt64, offset: UInt64, acknowledgedThrough: UInt64, point: ChainPoint,
        truncateAfter: EntryID? = nil, slab: Slab? = nil, holdsConfiguration: Bool = false
    ) {
        self.kind = kind
        self.salt = salt
        self.sequence = sequence
        self.offset = offset
        self.acknowledgedThrough = acknowledgedThrough
        self.point = point
        self.truncateAfter = truncateAfter
        self.holdsConfiguration = holdsConfiguration
        term = slab?.term ?? .zero
        firstIndex = slab?.firstIndex ?? .zero
        lastTime = slab.map { $0.record(at: $0.lastIndex).header.time } ?? .zero
        count = slab?.count ?? 0
        recordsSize = slab?.bytes.count ?? 0
    }

    /// Reads the header that is at `offset` of segment `sequence`; anything that belongs elsewhere does not decode.
    static func decode(
        _ bytes: RawSpan, at offset: Int, of sequence: UInt64, salt: UInt32
    ) throws(DecodeError) -> (header: BatchHeader, checksum: UInt32) {
        var reader = ByteReader(bytes)
        guard try reader.readUInt32() == UInt32(size - 4) else { throw .invalid("batch length") }
        let stored = try reader.readUInt32()
        guard bytes.byteCount >= size else { throw .truncated }
        let computed = CRC32C.checksum(of: bytes.extracting(8..<size))
        guard stored == computed else { throw .checksumMismatch(stored: stored, computed: computed) }
        let header = try BatchHeader(decodingBody: &reader)
        guard header.salt == salt else { throw .invalid("batch of another cluster or generation") }
        guard header.sequence == sequence, header.offset == UInt64(offset) else {
            throw .invalid("batch of segment \(header.sequence), offset \(header.offset)")
        }
        return (header, stored)
    }

    private init(decodingBody reader: inout ByteReader) throws(DecodeError) {
        let kindNumber = try reader.readUInt8()
        guard let kind = Kind(rawValue: kindNumber) else { throw .unknown("batch type", UInt64(kindNumber)) }
        self.kind = kind
        let version = try reader.readUInt8()
        guard version == Self.version else { throw .unknown("batch version", UInt64(version)) }
        let flags = try reader.readUInt16()
        guard flags & ~(Self.truncatesFlag | Self.configurationFlag) == 0 else { throw .invalid("batch flags") }
        salt = try reader.readUInt32()
        let number = try reader.readBounded("batch number", in: 1...Limits.logNumberMax)
        sequence = try reader.readUInt64()
        offset = try reader.readUInt64()
        let hardState = try HardState(decoding: &reader)
        acknowledgedThrough = try reader.readBounded("acknowledged batch", in: 0...number - 1)
        let last = try EntryID(decoding: &reader)
        let lastTruncation = try EntryID(decoding: &reader)
        let cut = try EntryID(decoding: &reader)
        truncateAfter = flags & Self.truncatesFlag != 0 ? cut : nil
        holdsConfiguration = flags & Self.configurationFlag != 0
        term = try reader.readTerm()
        firstIndex = try reader.readLogIndex()
        lastTime = ClusterTime(nanoseconds: try reader.readUInt64())
        count = Int(try reader.readUInt32())
        recordsSize = Int(try reader.readUInt32())
        let truncationCount = try reader.readUInt32()
        point = ChainPoint(
            number: number, previousChecksum: try reader.readUInt32(), last: last, truncationCount: truncationCount,
            lastTruncation: lastTruncation, hardState: hardState)
        try checkEntries()
    }

    /// A writer never breaks these; a forged file may.
    private func checkEntries() throws(DecodeError) {
        if let truncateAfter {
            guard kind == .batch, truncateAfter.index <= point.last.index else { throw .invalid("truncation") }
        }
        guard count > 0 else {
            guard recordsSize == 0, kind != .repair else { throw .invalid("records of an empty batch") }
            return
        }
        guard recordsSize / RecordFormat.headerSize >= count else { throw .invalid("count of records") }
        let before = truncateAfter ?? point.last
        switch kind {
        case .batch:
            guard firstIndex == before.index.next, term >= before.term else { throw .invalid("place of a batch") }
        case .repair:
            guard firstIndex > .zero, firstIndex + (count - 1) <= point.last.index else {
                throw .invalid("place of a repair")
            }
        case .seal:
            throw .invalid("records in a seal")
        }
    }
}
