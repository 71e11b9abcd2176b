package import Basics

/// Consecutive records of one term, back to back in one piece of memory: the unit that is written, sent and applied.
///
/// The log thread, the links to both peers and the apply thread share one slab by reference; nobody copies a record again
/// after the leader has copied the client's command into it. Immutable once made.
package struct Slab: Sendable {
    /// The records, as in `RecordFormat`.
    package let bytes: [UInt8]
    /// Where each record starts in `bytes`.
    package let offsets: [UInt32]
    package let firstIndex: LogIndex
    package let term: Term

    package var count: Int { offsets.count }
    package var lastIndex: LogIndex { firstIndex + (offsets.count - 1) }
    package var indexes: ClosedRange<LogIndex> { firstIndex...lastIndex }
    package var last: EntryID { EntryID(term: term, index: lastIndex) }

    /// A slab is never empty; `SlabBuilder` and `Slab(verifying:)` see to it.
    fileprivate init(bytes: [UInt8], offsets: [UInt32], firstIndex: LogIndex, term: Term) {
        invariant(!offsets.isEmpty, "a slab without records")
        self.bytes = bytes
        self.offsets = offsets
        self.firstIndex = firstIndex
        self.term = term
    }

    /// Checks foreign bytes (from a peer, from disk): each record whole and sound, of this cluster, of `term`, indexes
    /// without a gap from `firstIndex`, cluster time not falling.
    package init(verifying bytes: [UInt8], firstIndex: LogIndex, term: Term, salt: UInt32) throws(DecodeError) {
        var offsets: [UInt32] = []
        var offset = 0
        var expected = firstIndex
        var time = ClusterTime.zero
        guard bytes.count <= Int(UInt32.max) else { throw .tooLarge(UInt64(bytes.count)) }
        // No log comes near this; beyond it there might be no next index.
        guard firstIndex.rawValue < Limits.logNumberMax else { throw .invalid("record index") }
        while offset < bytes.count {
            let record = try RecordView(verifying: bytes.rawSpan.extracting(offset..<bytes.count))
            let header = record.header
            guard header.salt == salt else { throw .invalid("record of another cluster or generation") }
            guard header.id == EntryID(term: term, index: expected) else {
                throw .invalid("record \(header.id) where \(term)/\(expected) belongs")
            }
            guard header.time >= time else { throw .invalid("cluster time that falls") }
            time = header.time
            offsets.append(UInt32(offset))
            offset += header.recordSize
            expected = expected.next
        }
        guard !offsets.isEmpty else { throw .truncated }
        self.init(bytes: bytes, offsets: offsets, firstIndex: firstIndex, term: term)
    }

    /// The bytes of the records in `range`, which must lie in this slab.
    @_lifetime(borrow self)
    package func records(in range: ClosedRange<LogIndex>) -> RawSpan {
        bytes.rawSpan.extracting(byteRange(of: range))
    }

    package func byteRange(of range: ClosedRange<LogIndex>) -> Range<Int> {
        invariant(
            range.lowerBound >= firstIndex && range.upperBound <= lastIndex, "\(range) is not in slab \(indexes)")
        let first = range.lowerBound.distance(after: firstIndex)
        let end = range.upperBound.distance(after: firstIndex) + 1
        return Int(offsets[first])..<(end == offsets.count ? bytes.count : Int(offsets[end]))
    }

    /// The record at `index`, which must lie in this slab.
    @_lifetime(borrow self)
    package func record(at index: LogIndex) -> RecordView {
        do {
            return try RecordView(trusted: records(in: index...index))
        } catch {
            fatalError("a slab holds a record that was not verified: \(error)")
        }
    }

    /// The part of this slab that lies in `range`, nil when none does. Shares nothing; for the rare partial overlap.
    package func slice(_ range: ClosedRange<LogIndex>) -> Slab? {
        guard range.overlaps(indexes) else { return nil }
        let part = range.clamped(to: indexes)
        if part == indexes { return self }
        let bounds = byteRange(of: part)
        let first = part.lowerBound.distance(after: firstIndex)
        let moved = offsets[first..<first + part.entryCount].map { $0 - UInt32(bounds.lowerBound) }
        return Slab(bytes: Array(bytes[bounds]), offsets: moved, firstIndex: part.lowerBound, term: term)
    }
}

/// The open slab of a leader: commands are copied in until it is closed.
package struct SlabBuilder: Sendable {
    package let term: Term
    package let firstIndex: LogIndex
    package let salt: UInt32
    private var bytes: [UInt8] = []
    private var offsets: [UInt32] = []

    package init(term: Term, firstIndex: LogIndex, salt: UInt32) {
        self.term = term
        self.firstIndex = firstIndex
        self.salt = salt
    }

    package var count: Int { offsets.count }
    package var byteCount: Int { bytes.count }
    package var nextIndex: LogIndex { firstIndex + offsets.count }

    /// Copies `payload` in as the record at `nextIndex`. The only copy a command ever sees on this node.
    package mutating func append(
        _ type: RecordType, payload: RawSpan, time: ClusterTime, principal: UInt64 = 0
    ) {
        let start = bytes.count
        let index = nextIndex
        offsets.append(UInt32(start))
        bytes.reserveRoom(for: RecordFormat.headerSize + payload.byteCount)
        bytes.append(contentsOf: Self.emptyHeader)
        bytes.store(UInt32(RecordFormat.headerSize - RecordFormat.lengthSize + payload.byteCount), at: start)
        bytes.store(type.rawValue, at: start + 8)
        bytes.store(RecordFormat.version, at: start + 9)
        bytes.store(salt, at: start + 12)
        bytes.store(term.rawValue, at: start + 16)
        bytes.store(index.rawValue, at: start + 24)
        bytes.store(time.nanoseconds, at: start + 32)
        bytes.store(principal, at: start + 40)
        bytes.append(contentsOf: payload)
        let checksum = CRC32C.checksum(of: bytes.rawSpan.extracting(start + 8..<bytes.count))
        bytes.store(checksum, at: start + 4)
    }

    /// The finished slab; nil when nothing was appended.
    package consuming func close() -> Slab? {
        guard !offsets.isEmpty else { return nil }
        return Slab(bytes: bytes, offsets: offsets, firstIndex: firstIndex, term: term)
    }

    private static let emptyHeader = [UInt8](repeating: 0, count: RecordFormat.headerSize)
}

extension Array where Element == UInt8 {
    /// Grows geometrically, so that many small appends cost few reallocations.
    fileprivate mutating func reserveRoom(for more: Int) {
        guard count + more > capacity else { return }
        reserveCapacity(Swift.max(count + more, capacity * 2, 4_096))
    }
}

extension Slab {
    /// The same records under other indexes: a leader's open slab whose place was taken by an entry that the core made.
    package func renumbered(from index: LogIndex, salt: UInt32) -> Slab {
        var builder = SlabBuilder(term: term, firstIndex: index, salt: salt)
        for position in 0..<count {
            let record = record(at: firstIndex + position)
            builder.append(
                record.header.type, payload: record.payload, time: record.header.time,
                principal: record.header.principal)
        }
        guard let slab = builder.close() else { fatalError("a slab lost its records while it was renumbered") }
        return slab
    }
}

extension Slab {
    /// Indexes of the records of one type; looks at one byte of each record.
    package func indexes(of type: RecordType) -> [LogIndex] {
        var found: [LogIndex] = []
        for (position, offset) in offsets.enumerated() where bytes[Int(offset) + 8] == type.rawValue {
            found.append(firstIndex + position)
        }
        return found
    }
}
