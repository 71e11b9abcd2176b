package import Basics
internal import Disk
internal import LogFormat
internal import Synchronization

/// How far a walk over the whole log has come. What is appended to the newest segment after the walk has looked at its
/// size belongs to the next walk.
package struct LogScrub: Sendable {
    package fileprivate(set) var byteCount = 0
    package fileprivate(set) var recordCount = 0
    /// The segment that is read, or the one after the last.
    fileprivate var sequence: UInt64 = 0
    fileprivate var offset = 0
    fileprivate var end = 0
    /// Of the batches read in this segment: the highest index in the extent that is read.
    fileprivate var lastIndex: (extentStart: Int, index: LogIndex)?

    package init() {}

    fileprivate mutating func enterSegment(after sequence: UInt64) {
        self.sequence = sequence + 1
        offset = 0
        lastIndex = nil
    }
}

extension SegmentedLog {
    /// Reads on where `walk` has come to, about `bytesMax` bytes, and verifies every header and record: those of entries
    /// that are no longer part of the log too, because the next start walks over them. From any thread.
    ///
    /// Damaged entries are taken out of service at once (`faultyRanges`). Damage that takes no entry is told with
    /// `indexes` nil: later headers repeat what was lost, and it goes with its segment.
    /// - Returns: what is damaged; nil at the end of the log.
    package func scrub(_ walk: inout LogScrub, bytesMax: Int) -> [LogDamage]? {
        guard let place = place(for: walk) else { return nil }
        var damages: [LogDamage] = []
        // The one that was being read may have been given back by a compaction.
        if walk.offset == 0 || walk.sequence != place.segment.sequence {
            walk.lastIndex = nil
            walk.sequence = place.segment.sequence
            walk.end = end(of: place)
            if let reason = reasonAgainstHeader(of: place.segment) {
                damages.append(LogDamage(file: place.segment.file.path, offset: 0, indexes: nil, reason: reason))
            }
            walk.offset = SegmentHeader.areaSize
            walk.byteCount += SegmentHeader.areaSize
        }
        readBatches(of: place, &walk, bytesMax: bytesMax, &damages)
        if walk.offset >= walk.end { walk.enterSegment(after: walk.sequence) }
        guard !damages.isEmpty, isPart(place.segment) else { return [] }
        return damages.flatMap { takeOut($0, of: place.segment) }
    }

    private struct Place {
        var segment: Segment
        var next: Segment?
        /// Live entries in the segment, in the order of their places.
        var extents: [Extent]
    }

    private func place(for walk: LogScrub) -> Place? {
        shared.withLock { state in
            guard let position = state.segments.firstIndex(where: { $0.sequence >= walk.sequence }) else { return nil }
            let segment = state.segments[position]
            let following = position + 1 < state.segments.count ? state.segments[position + 1] : nil
            let extents = state.table.extents.filter { $0.sequence == segment.sequence }.sorted { $0.start < $1.start }
            return Place(segment: segment, next: following, extents: extents)
        }
    }

    /// Whether it was not given back by a compaction meanwhile.
    private func isPart(_ segment: Segment) -> Bool {
        shared.withLock { $0.segments.contains { $0.sequence == segment.sequence } }
    }

    /// The next segment knows where the batches of this one end; in the newest, what is live is on disk.
    private func end(of place: Place) -> Int {
        let live = place.extents.map(\.end).max() ?? SegmentHeader.areaSize
        guard let next = place.next, let bytes = try? next.file.read(at: 0, count: SegmentHeader.size),
            let header = try? SegmentHeader(decoding: bytes.rawSpan), header.sequence == place.segment.sequence + 1
        else { return live }
        return max(live, Int(clamping: header.previousSegmentEnd))
    }

    private func reasonAgainstHeader(of segment: Segment) -> String? {
        do {
            let bytes = try segment.file.read(at: 0, count: SegmentHeader.size)
            let header = try SegmentHeader(decoding: bytes.rawSpan)
            let isOurs = header.salt == salt && header.nodeID == nodeID && header.sequence == segment.sequence
            return isOurs ? nil : "segment header: of another segment"
        } catch {
            return "segment header: \(error)"
        }
    }

    private func readBatches(
        of place: Place, _ walk: inout LogScrub, bytesMax: Int, _ damages: inout [LogDamage]
    ) {
        let until = walk.offset + bytesMax
        var window = ReadWindow(file: place.segment.file, start: walk.offset, size: bytesMax)
        while walk.offset < min(walk.end, until) {
            let offset = walk.offset
            do throws(ScrubStop) {
                let header = try header(at: offset, of: place.segment, &window)
                let next = offset + header.paddedSize
                walk.byteCount += header.paddedSize
                walk.offset = next
                guard let indexes = header.indexes else { continue }
                defer { noteRead(indexes, at: offset, of: place, &walk) }
                do throws(ScrubStop) {
                    try verifyRecords(of: header, at: offset, &window)
                    walk.recordCount += header.count
                } catch {
                    for extent in place.extents where extent.start <= offset && offset < extent.end {
                        guard extent.indexes.overlaps(indexes) else { continue }
                        damages.append(
                            LogDamage(
                                file: place.segment.file.path, offset: offset + BatchHeader.size,
                                // A read takes an extent as a whole.
                                indexes: error.isUnread ? extent.indexes : indexes.clamped(to: extent.indexes),
                                reason: "record: \(error.reason)",
                                isUnread: error.isUnread))
                    }
                }
            } catch {
                // Behind it, the next place that is sure to be found is where the next live entries begin.
                let resumed = place.extents.first { $0.start > offset }?.start ?? walk.end
                let lost = lostEntries(at: offset, of: place, error.isUnread ? LogScrub() : walk)
                for indexes in lost.isEmpty ? [nil] : lost.map(Optional.some) {
                    damages.append(
                        LogDamage(
                            file: place.segment.file.path, offset: offset, indexes: indexes,
                            reason: "batch header: \(error.reason)", isUnread: error.isUnread))
                }
                walk.byteCount += resumed - offset
                walk.offset = resumed
            }
        }
    }

    private func header(at offset: Int, of segment: Segment, _ window: inout ReadWindow) throws(ScrubStop) -> BatchHeader {
        let bytes = try window.bytes(at: offset, count: BatchHeader.size)
        do throws(DecodeError) {
            return try BatchHeader.decode(bytes.rawSpan, at: offset, of: segment.sequence, salt: salt).header
        } catch {
            throw ScrubStop("\(error)")
        }
    }

    private func verifyRecords(of header: BatchHeader, at offset: Int, _ window: inout ReadWindow) throws(ScrubStop) {
        let bytes = try window.bytes(at: offset + BatchHeader.size, count: header.recordsSize)
        do throws(DecodeError) {
            let slab = try Slab(verifying: bytes, firstIndex: header.firstIndex, term: header.term, salt: salt)
            guard slab.count == header.count else { throw .truncated }
        } catch {
            throw ScrubStop("\(error)")
        }
    }

    private func noteRead(_ indexes: ClosedRange<LogIndex>, at offset: Int, of place: Place, _ walk: inout LogScrub) {
        guard let extent = place.extents.first(where: { $0.start <= offset && offset < $0.end }) else { return }
        walk.lastIndex = (extent.start, indexes.upperBound)
    }

    /// A read walks an extent's batches from its start: behind a header that is not one, nothing of it is found.
    private func lostEntries(at offset: Int, of place: Place, _ walk: LogScrub) -> [ClosedRange<LogIndex>] {
        place.extents.compactMap { extent in
            guard extent.start <= offset, offset < extent.end else { return nil }
            var first = extent.first
            if let read = walk.lastIndex, read.extentStart == extent.start { first = max(first, read.index.next) }
            return first <= extent.last ? first...extent.last : nil
        }
    }

    private func takeOut(_ damage: LogDamage, of segment: Segment) -> [LogDamage] {
        guard damage.indexes != nil else { return [damage] }
        return takeOut(damage).map { range in
            var found = damage
            found.indexes = range
            return found
        }
    }

    /// Takes damaged entries out of service that a read has met, as far as they still lie there: meanwhile they may have
    /// been cut, or have come back elsewhere. From any thread.
    /// - Returns: those that wait for repair because of it.
    @discardableResult
    package func takeOut(_ damage: LogDamage) -> [ClosedRange<LogIndex>] {
        guard let indexes = damage.indexes else { return [] }
        return shared.withLock { state in
            guard let sequence = state.segments.first(where: { $0.file.path == damage.file })?.sequence else { return [] }
            let extents = state.table.extents(in: indexes).filter { extent in
                extent.sequence == sequence && extent.start <= damage.offset && damage.offset < extent.end
            }
            let lost = extents.map { $0.indexes.clamped(to: indexes) }
            for range in lost { state.table.markFaulty(range) }
            if damage.isUnread { state.unread += extents }
            return lost
        }
    }
}

private struct ScrubStop: Error {
    var reason: String
    var isUnread: Bool

    init(_ reason: String, isUnread: Bool = false) {
        self.reason = reason
        self.isUnread = isUnread
    }
}

/// Neighbouring bytes of a file with one read; where the disk refuses the whole, each piece by itself, twice.
private struct ReadWindow {
    let file: any File
    private let start: Int
    private let bytes: [UInt8]

    init(file: any File, start: Int, size: Int) {
        self.file = file
        self.start = start
        bytes = (try? file.read(at: start, count: size)) ?? []
    }

    mutating func bytes(at offset: Int, count: Int) throws(ScrubStop) -> [UInt8] {
        let position = offset - start
        if position >= 0, position + count <= bytes.count { return Array(bytes[position..<position + count]) }
        var failure = "the file ends"
        for _ in 0..<2 {
            do throws(DiskError) {
                let found = try file.read(at: offset, count: count)
                if found.count == count { return found }
            } catch {
                failure = error.reason
            }
        }
        throw ScrubStop(failure, isUnread: true)
    }
}
