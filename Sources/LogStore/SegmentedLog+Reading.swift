package import Basics
internal import Disk
package import LogFormat
internal import Synchronization

extension SegmentedLog {
    /// The entries `first … last`, verified, as slabs of one term each. Stops after the batch with which `bytesMax` is
    /// reached, so at least one batch is there. Nothing beyond the end of the log: it may have been cut since the caller
    /// looked. From any thread.
    ///
    /// A read may meet a file that compaction has just turned into another segment. Its headers then do not verify, and
    /// the answer is `.compacted`, not damage: who is right is asked once more before damage is claimed.
    package func read(
        from first: LogIndex, through last: LogIndex, bytesMax: Int
    ) throws(LogReadError) -> [Slab] {
        invariant(first <= last, "read of \(first) through \(last)")
        let plan = try plan(first...last, bytesMax: bytesMax)
        do throws(LogReadError) {
            return try slabs(of: plan, bytesMax: bytesMax)
        } catch {
            if case .damaged = error, !isCurrent(plan) { throw .compacted(firstIndex: firstIndex) }
            throw error
        }
    }

    private func slabs(of plan: [ReadPart], bytesMax: Int) throws(LogReadError) -> [Slab] {
        var assembler = SlabAssembler(salt: salt, bytesMax: bytesMax)
        for part in plan where !assembler.isFull {
            let bytes = try part.read()
            try part.forEachBatch(in: bytes) { header, records throws(LogReadError) in
                guard !assembler.isFull, let indexes = header.indexes, indexes.overlaps(part.wanted) else { return }
                let taken = indexes.clamped(to: part.wanted)
                guard let range = recordBytes(of: taken, in: bytes, records, firstIndex: header.firstIndex) else {
                    throw .damaged(part.damage(at: records.lowerBound, taken, "record length"))
                }
                try assembler.add(
                    bytes, range, indexes: taken, term: header.term, file: part.file.path,
                    offset: part.extent.start + range.lowerBound)
            }
        }
        try assembler.finish()
        return assembler.slabs
    }

    /// Tries to read again what the disk did not give back. A cable or a path to a remote disk comes back, and what verifies
    /// then is as good as it was. From any thread.
    /// - Returns: whether some of it is in service again.
    package func reread() -> Bool {
        let waiting = shared.withLock { state in
            state.unread = state.unread.filter { !state.missing(of: $0).isEmpty }
            return state.unread.flatMap { extent -> [ReadPart] in
                guard let file = state.segments.first(where: { $0.sequence == extent.sequence })?.file else { return [] }
                return state.missing(of: extent).map { ReadPart(extent: extent, wanted: $0, file: file, salt: salt) }
            }
        }
        var isAnyThere = false
        for part in waiting {
            guard let slabs = try? slabs(of: [part], bytesMax: .max), slabs.reduce(0, { $0 + $1.count }) == part.wanted.entryCount
            else { continue }
            let configurations = slabs.flatMap(Self.configurations)
            shared.withLock { state in
                // As far as they are missing still.
                for indexes in state.missing(of: part.extent) where indexes.overlaps(part.wanted) {
                    state.table.repair(
                        indexes.clamped(to: part.wanted), term: part.extent.term, sequence: part.extent.sequence,
                        start: part.extent.start, end: part.extent.end, configurations: configurations)
                    isAnyThere = true
                }
            }
        }
        return isAnyThere
    }

    private func plan(
        _ range: ClosedRange<LogIndex>, bytesMax: Int
    ) throws(LogReadError) -> [ReadPart] {
        let result: Result<[ReadPart], LogReadError> = shared.withLock { state in
            let table = state.table
            guard range.lowerBound > table.start.index else {
                return .failure(.compacted(firstIndex: table.start.index.next))
            }
            guard let range = range.trimmed(through: table.last.index) else { return .success([]) }
            var parts: [ReadPart] = []
            var size = 0
            var next = range.lowerBound
            for extent in table.extents(in: range) {
                // What lies before a faulty range is still an answer.
                guard extent.first <= next, size < bytesMax,
                    let segment = state.segments.first(where: { $0.sequence == extent.sequence })
                else { break }
                let wanted = extent.indexes.clamped(to: range)
                parts.append(ReadPart(extent: extent, wanted: wanted, file: segment.file, salt: salt))
                size += extent.end - extent.start
                next = extent.last.next
            }
            guard parts.isEmpty else { return .success(parts) }
            return .failure(
                .damaged(
                    LogDamage(
                        file: directory, offset: 0, indexes: table.faulty.first { $0.contains(range.lowerBound) },
                        reason: "entries that wait for repair")))
        }
        return try result.get()
    }

    private func isCurrent(_ plan: [ReadPart]) -> Bool {
        shared.withLock { state in
            plan.allSatisfy { part in state.segments.contains { $0.sequence == part.extent.sequence } }
        }
    }

    /// The bytes of the records `taken` among those at `records`; nil when the lengths in them lead astray.
    private func recordBytes(
        of taken: ClosedRange<LogIndex>, in bytes: [UInt8], _ records: Range<Int>, firstIndex: LogIndex
    ) -> Range<Int>? {
        let skipped = taken.lowerBound.distance(after: firstIndex)
        var position = records.lowerBound
        var start = position
        for step in 0..<skipped + taken.entryCount {
            if step == skipped { start = position }
            var reader = ByteReader(bytes.rawSpan.extracting(position..<records.upperBound))
            guard let length = try? reader.readUInt32(), Int(length) <= reader.remaining else { return nil }
            position += RecordFormat.lengthSize + Int(length)
        }
        return start..<position
    }
}

extension SegmentedLog.Shared {
    /// The entries at this place that the log lacks: not those that were cut, have come back elsewhere, or went with their
    /// segment.
    fileprivate func missing(of extent: Extent) -> [ClosedRange<LogIndex>] {
        guard segments.contains(where: { $0.sequence == extent.sequence }) else { return [] }
        return table.faulty.filter { $0.overlaps(extent.indexes) }.map { $0.clamped(to: extent.indexes) }
            .filter { table.knownTerm(at: $0.lowerBound) == extent.term && table.knownTerm(at: $0.upperBound) == extent.term }
    }
}

/// One extent that a read takes entries from.
private struct ReadPart {
    let extent: Extent
    let wanted: ClosedRange<LogIndex>
    let file: any File
    let salt: UInt32

    func read() throws(LogReadError) -> [UInt8] {
        let size = extent.end - extent.start
        do throws(DiskError) {
            let bytes = try file.read(at: extent.start, count: size)
            guard bytes.count == size else { throw DiskError(.io, .read, path: file.path, reason: "the file ends") }
            return bytes
        } catch {
            // An unreadable sector is damage like any other: the entries are to be had elsewhere.
            var damage = damage(at: 0, wanted, error.reason)
            damage.isUnread = true
            throw .damaged(damage)
        }
    }

    /// Hands over each batch's header and where in `bytes` its records are.
    func forEachBatch(
        in bytes: [UInt8], _ body: (BatchHeader, Range<Int>) throws(LogReadError) -> Void
    ) throws(LogReadError) {
        var position = 0
        var next = extent.first
        while position < bytes.count, next <= wanted.upperBound {
            let header: BatchHeader
            do throws(DecodeError) {
                header = try BatchHeader.decode(
                    bytes.rawSpan.extracting(position..<bytes.count), at: extent.start + position, of: extent.sequence,
                    salt: salt
                ).header
                guard header.paddedSize <= bytes.count - position else { throw .truncated }
            } catch {
                throw .damaged(damage(at: position, next...extent.last, "batch header: \(error)"))
            }
            let start = position + BatchHeader.size
            try body(header, start..<start + header.recordsSize)
            position += header.paddedSize
            if let indexes = header.indexes { next = max(next, indexes.upperBound.next) }
        }
    }

    func damage(at position: Int, _ indexes: ClosedRange<LogIndex>, _ reason: String) -> LogDamage {
        LogDamage(file: file.path, offset: extent.start + position, indexes: indexes, reason: reason)
    }
}

/// Joins the records of small batches into slabs, and verifies each record once.
private struct SlabAssembler {
    let salt: UInt32
    let bytesMax: Int
    private(set) var slabs: [Slab] = []
    private var byteCount = 0
    private var open: Open?

    private struct Open {
        var bytes: [UInt8]
        var first: LogIndex
        var next: LogIndex
        var term: Term
        /// Where the pieces came from, to say what is damaged.
        var sources: [Source]
    }

    private struct Source {
        var position: Int
        var indexes: ClosedRange<LogIndex>
        var file: String
        var offset: Int
    }

    init(salt: UInt32, bytesMax: Int) {
        self.salt = salt
        self.bytesMax = bytesMax
    }

    var isFull: Bool { byteCount >= bytesMax }

    mutating func add(
        _ bytes: [UInt8], _ range: Range<Int>, indexes: ClosedRange<LogIndex>, term: Term, file: String, offset: Int
    ) throws(LogReadError) {
        if let open, open.term != term || open.next != indexes.lowerBound
            || open.bytes.count + range.count > Limits.slabSizeMax
        {
            try finish()
        }
        byteCount += range.count
        let source = Source(position: open?.bytes.count ?? 0, indexes: indexes, file: file, offset: offset)
        if open == nil {
            open = Open(
                bytes: Array(bytes[range]), first: indexes.lowerBound, next: indexes.upperBound.next, term: term,
                sources: [source])
        } else {
            open?.bytes.append(contentsOf: bytes[range])
            open?.next = indexes.upperBound.next
            open?.sources.append(source)
        }
    }

    mutating func finish() throws(LogReadError) {
        guard let finished = open else { return }
        open = nil
        do throws(DecodeError) {
            slabs.append(
                try Slab(verifying: finished.bytes, firstIndex: finished.first, term: finished.term, salt: salt))
        } catch {
            throw .damaged(Self.locate(finished, salt: salt, error))
        }
    }

    /// The piece that does not verify by itself; the whole when each does.
    private static func locate(_ slab: Open, salt: UInt32, _ error: DecodeError) -> LogDamage {
        for (number, source) in slab.sources.enumerated() {
            let following = slab.sources.index(after: number)
            let end = following < slab.sources.count ? slab.sources[following].position : slab.bytes.count
            let piece = Array(slab.bytes[source.position..<end])
            do throws(DecodeError) {
                _ = try Slab(verifying: piece, firstIndex: source.indexes.lowerBound, term: slab.term, salt: salt)
            } catch {
                return LogDamage(
                    file: source.file, offset: source.offset, indexes: source.indexes, reason: "record: \(error)")
            }
        }
        return LogDamage(
            file: slab.sources[0].file, offset: slab.sources[0].offset, indexes: slab.first...slab.next.previous,
            reason: "record: \(error)")
    }
}
