package import Basics
package import Disk
package import LogFormat
package import RaftCore
internal import Synchronization

/// The replicated log on disk, and with it the hard state: what a node has promised.
///
/// The log is a chain of *batches* in a row of *segment* files. A batch is what one task of the log thread became: a
/// header with term, vote, perhaps a truncation, then the records of at most one slab, as they came. Several tasks are
/// written with one call and made durable by one `fdatasync`. Nothing is ever overwritten: a truncation is a fact that
/// is appended, and a vote is a batch without records.
///
/// What a crash leaves and what rots away are told apart by what each header says about the batches before it. It names
/// the newest batch that was synced when it was written (`acknowledgedThrough`); when the log falls silent a *seal*
/// says the same of the last batch. At start, the first header or record that does not verify is
/// - a **torn tail** when no readable header calls it synced: nobody was told of it, and it is cut;
/// - **damage** when one does: it is never cut. The log opens with a *faulty range*, or not at all, as the caller
///   chose. The last entry, term and vote that were promised are known even so, because later headers repeat them.
///
/// Files are reserved before anything is promised in them, so running out of space is an answer (`.noSpace`), not a
/// failure. A failed write or sync is final: the log refuses everything after it, and the process must end.
///
/// Threads: `read` and the properties from any thread, everything else from the log thread.
package final class SegmentedLog: @unchecked Sendable {
    // `@unchecked`: what readers use is behind `shared`; the rest belongs to the log thread.

    struct Shared {
        var table: LogTable
        /// In order of sequence; the last is the one that is written.
        var segments: [Segment]
        /// Where what is written ends in the last segment.
        var end: Int
        /// Where entries lie that the disk did not give back when they were read.
        var unread: [Extent] = []

        /// How many of the oldest segments hold nothing behind `floor`; the one that is being written always stays.
        func droppableCount(through floor: LogIndex) -> Int {
            let keep = segments.indices.dropFirst().last { position in
                guard let last = table.lastEntry(below: segments[position].sequence) else { return true }
                return last.index <= floor
            }
            return keep ?? 0
        }
    }

    let fileSystem: any FileSystem
    package let directory: String
    package let salt: UInt32
    let nodeID: NodeID
    let settings: LogSettings
    let shared: Mutex<Shared>

    private var current: Segment
    /// Where the next batch goes in `current`.
    private var offset: Int
    /// As after the last batch that was written.
    private var point: ChainPoint
    private var acknowledgedThrough: UInt64
    private var isSealed: Bool
    private var spares: SpareSegments
    private var failure: DiskError?

    /// What recovery hands over: a log whose files are in order.
    struct Opened {
        var table: LogTable
        var segments: [Segment]
        var offset: Int
        var point: ChainPoint
        var acknowledgedThrough: UInt64
        var isSealed: Bool
        var spares: SpareSegments
    }

    init(
        fileSystem: any FileSystem, directory: String, salt: UInt32, nodeID: NodeID, settings: LogSettings,
        opened: Opened
    ) {
        invariant(!opened.segments.isEmpty, "a log without a segment")
        self.fileSystem = fileSystem
        self.directory = directory
        self.salt = salt
        self.nodeID = nodeID
        self.settings = settings
        current = opened.segments[opened.segments.count - 1]
        offset = opened.offset
        point = opened.point
        acknowledgedThrough = opened.acknowledgedThrough
        isSealed = opened.isSealed
        spares = opened.spares
        shared = Mutex(Shared(table: opened.table, segments: opened.segments, end: opened.offset))
    }

    // MARK: What it holds

    package var firstIndex: LogIndex { shared.withLock { $0.table.start.index.next } }
    package var lastIndex: LogIndex { last.index }
    /// The last entry that this node has promised to hold, also when it cannot be read just now.
    package var last: EntryID { shared.withLock { $0.table.last } }
    /// The entry before the first; its term is kept.
    package var previous: EntryID { shared.withLock { $0.table.start } }
    package var termRuns: [TermRun] { shared.withLock { $0.table.termRuns } }
    /// The configuration entries in the log, in order.
    package var configurations: [ConfigurationEntry] { shared.withLock { $0.table.configurations } }
    /// Entries that are promised and cannot be read, in order; a log is whole when there are none.
    package var faultyRanges: [ClosedRange<LogIndex>] { shared.withLock { $0.table.faulty } }
    /// nil outside the log and inside a faulty range.
    package func term(at index: LogIndex) -> Term? { shared.withLock { $0.table.term(at: index) } }
    /// Bytes that the segments take on disk, without spares.
    package var byteCount: Int { shared.withLock { $0.segments.reduce(0) { $0 + $1.capacity } } }
    /// Log thread only.
    package var hardState: HardState { point.hardState }

    // MARK: Writing

    /// Makes all tasks durable, in order, with one write and one sync; more only where a segment ends.
    /// - Throws: `.noSpace` when no room could be reserved: then nothing was written and the log is as before. Any
    ///   other error is final.
    package func append(_ tasks: [LogTask]) throws(DiskError) {
        if let failure { throw failure }
        try reserve(tasks.map { BatchHeader.paddedSize(recordsSize: $0.slab?.bytes.count ?? 0) })
        do throws(DiskError) {
            var group = WriteGroup(start: offset)
            for task in tasks {
                var cut: EntryID?
                if let index = task.truncateAfter, index < point.last.index {
                    // Rare; and what is looked up must be there, though perhaps it cannot be read just now.
                    try flush(&group)
                    let term = term(at: index) ?? knownTerm(at: index)
                    invariant(term != nil, "truncation after \(index), which is not in the log")
                    cut = term.map { EntryID(term: $0, index: index) }
                }
                invariant(
                    task.hardState.currentTerm >= point.hardState.currentTerm,
                    "term moved back: \(point.hardState.currentTerm) -> \(task.hardState.currentTerm)")
                try add(.batch, hardState: task.hardState, truncateAfter: cut, slab: task.slab, to: &group)
            }
            try flush(&group)
        } catch {
            failure = error
            throw error
        }
    }

    /// Makes the end of the log provably synced. To be called when no batch has followed the last for a moment; does
    /// nothing when that is so already.
    package func seal() throws(DiskError) {
        if let failure { throw failure }
        guard !isSealed else { return }
        do throws(DiskError) {
            var group = WriteGroup(start: offset)
            try add(.seal, hardState: hardState, truncateAfter: nil, slab: nil, to: &group)
            try flush(&group)
            isSealed = true
        } catch {
            failure = error
            throw error
        }
    }

    /// Fills entries of a faulty range from a peer's slab. The caller has checked that the peer's log is the one that
    /// this node promised to hold.
    /// - Returns: false when the slab contradicts the entries around the range; then nothing is written.
    package func repair(_ slab: Slab) throws(DiskError) -> Bool {
        if let failure { throw failure }
        for range in faultyRanges {
            guard let part = slab.slice(range) else { continue }
            let before = term(at: part.firstIndex.previous) ?? .zero
            let after = term(at: part.lastIndex.next) ?? last.term
            let fits = part.term >= before && part.term <= after && (part.lastIndex < lastIndex || part.term == last.term)
            guard fits else { return false }
            try reserve([BatchHeader.paddedSize(recordsSize: part.bytes.count)])
            do throws(DiskError) {
                var group = WriteGroup(start: offset)
                try add(.repair, hardState: hardState, truncateAfter: nil, slab: part, to: &group)
                try flush(&group)
            } catch {
                failure = error
                throw error
            }
        }
        return true
    }

    /// The log starts after `entry`, which its segments may hold all the same: what lies before is damaged, and the state
    /// does not need it. On disk nothing changes.
    package func forget(through entry: EntryID) { shared.withLock { $0.table.forget(through: entry) } }

    /// Reserves the next segment ahead of time; for the log thread when it is idle. Throws `.noSpace` harmlessly.
    package func prepareNextSegment() throws(DiskError) {
        if spares.count(ofSize: settings.segmentSize) == 0 { try spares.make(size: settings.segmentSize) }
    }

    // MARK: Batches

    /// Batches that go out with one write.
    private struct WriteGroup {
        struct Item {
            var header: BatchHeader
            var offset: Int
            var configurations: [ConfigurationEntry]
        }
        var start: Int
        var pieces: [[UInt8]] = []
        var items: [Item] = []
    }

    private static let padding = (0..<8).map { [UInt8](repeating: 0, count: $0) }

    private func add(
        _ kind: BatchHeader.Kind, hardState: HardState, truncateAfter: EntryID?, slab: Slab?,
        to group: inout WriteGroup
    ) throws(DiskError) {
        let size = BatchHeader.paddedSize(recordsSize: slab?.bytes.count ?? 0)
        if kind != .seal, !fits(size, at: offset, in: current.capacity) {
            try flush(&group)
            try roll(toSize: segmentSize(for: size))
            group.start = offset
        }
        // Only now: the header of a new segment speaks of what came before this batch.
        let vote = Mutant.forgetVote.isOn ? nil : hardState.votedFor
        point.hardState = HardState(currentTerm: hardState.currentTerm, votedFor: vote)
        let configurations = slab.map(Self.configurations) ?? []
        let header = BatchHeader(
            kind: kind, salt: salt, sequence: current.sequence, offset: UInt64(offset),
            acknowledgedThrough: acknowledgedThrough, point: point, truncateAfter: truncateAfter, slab: slab,
            holdsConfiguration: !configurations.isEmpty)
        if kind == .batch, let slab {
            let before = truncateAfter ?? point.last
            invariant(
                slab.firstIndex == before.index.next && slab.term >= before.term,
                "slab \(slab.indexes) of term \(slab.term) after \(before)")
        }
        let (bytes, checksum) = header.encoded()
        group.pieces.append(bytes)
        if let slab {
            group.pieces.append(slab.bytes)
            let padding = size - BatchHeader.size - slab.bytes.count
            if padding > 0 { group.pieces.append(Self.padding[padding]) }
        }
        group.items.append(.init(header: header, offset: offset, configurations: configurations))
        point = header.pointAfter(checksum: checksum)
        offset += size
    }

    private func flush(_ group: inout WriteGroup) throws(DiskError) {
        guard !group.items.isEmpty else { return }
        try current.file.write(group.pieces, at: group.start)
        if !Mutant.skipSync.isOn { try current.file.sync() }
        acknowledgedThrough = point.number - 1
        isSealed = false
        let items = group.items
        shared.withLock { state in
            for item in items {
                state.table.apply(item.header, at: item.offset, configurations: item.configurations)
                state.segments[state.segments.count - 1].lastTime.advance(to: item.header.lastTime)
            }
            state.end = offset
        }
        group = WriteGroup(start: offset)
    }

    /// Of the type in a record; looking there is much less than reading every record of a slab.
    private static let recordTypeOffset = 8

    static func configurations(in slab: Slab) -> [ConfigurationEntry] {
        var found: [ConfigurationEntry] = []
        for (position, start) in slab.offsets.enumerated()
        where slab.bytes[Int(start) + recordTypeOffset] == RecordType.configuration.rawValue {
            let index = slab.firstIndex + position
            found.append(ConfigurationEntry(index: index, payload: [UInt8](slab.record(at: index).payload)))
        }
        return found
    }

    // MARK: Segments

    /// The seal that may follow always finds room.
    private func fits(_ size: Int, at offset: Int, in capacity: Int) -> Bool {
        offset + size + BatchHeader.size <= capacity
    }

    private func segmentSize(for batchSize: Int) -> Int {
        let needed = SegmentHeader.areaSize + batchSize + BatchHeader.size
        return max(settings.segmentSize, (needed + 4_095) & ~4_095)
    }

    /// Has all the segments at hand that batches of these sizes will need.
    private func reserve(_ sizes: [Int]) throws(DiskError) {
        var position = offset
        var capacity = current.capacity
        var needed: [Int: Int] = [:]
        for size in sizes {
            if !fits(size, at: position, in: capacity) {
                capacity = segmentSize(for: size)
                position = SegmentHeader.areaSize
                needed[capacity, default: 0] += 1
                while spares.count(ofSize: capacity) < needed[capacity, default: 0] { try spares.make(size: capacity) }
            }
            position += size
        }
    }

    /// Goes on in a new segment. Everything before it is synced, so its header may say so.
    private func roll(toSize size: Int) throws(DiskError) {
        let header = SegmentHeader(
            salt: salt, startsLog: false, nodeID: nodeID, sequence: current.sequence + 1, segmentSize: UInt64(size),
            previousSegmentEnd: UInt64(offset), point: point)
        let segment = try Self.createSegment(header, from: spares.take(size: size), in: directory, on: fileSystem)
        current = segment
        offset = SegmentHeader.areaSize
        isSealed = true
        shared.withLock { state in
            state.segments.append(segment)
            state.end = offset
            state.table.beginSegment(segment.sequence)
        }
    }

    /// Writes header and `firstBatch` before the file gets its name, so that a segment by name always has them.
    static func createSegment(
        _ header: SegmentHeader, firstBatch: [UInt8] = [], from spare: String, in directory: String,
        on fileSystem: any FileSystem
    ) throws(DiskError) -> Segment {
        let file = try fileSystem.open(spare, .existing)
        try file.write([header.encoded()], at: 0)
        if !firstBatch.isEmpty { try file.write([firstBatch], at: SegmentHeader.areaSize) }
        try file.sync()
        let name = SegmentName(sequence: header.sequence, firstIndex: header.point.last.index.next)
        let path = "\(directory)/\(name.text)"
        try fileSystem.rename(spare, to: path)
        if !Mutant.skipDirectorySync.isOn { try fileSystem.syncDirectory(directory) }
        return Segment(
            sequence: header.sequence, file: try fileSystem.open(path, .existing), capacity: Int(header.segmentSize),
            lastTime: .zero)
    }

    // MARK: Letting go

    /// Drops whole segments all of whose entries are at or below `floor`; the one that is being written always stays.
    package func compact(through floor: LogIndex) throws(DiskError) {
        if let failure { throw failure }
        let dropped = shared.withLock { state -> [Segment] in
            let keep = state.droppableCount(through: floor)
            guard keep > 0 else { return [] }
            state.table.dropSegments(below: state.segments[keep].sequence)
            let dropped = Array(state.segments[..<keep])
            state.segments.removeFirst(keep)
            return dropped
        }
        do throws(DiskError) {
            try discard(dropped)
        } catch {
            failure = error
            throw error
        }
    }

    /// How many segments `compact(through:)` would drop.
    package func droppableCount(through floor: LogIndex) -> Int { shared.withLock { $0.droppableCount(through: floor) } }

    /// How far whole segments may go when the newest `bytes` bytes of the log are to stay unless they are older than
    /// `oldest`; for the caller to bound by what has been made durable elsewhere.
    package func floor(keepingBytes bytes: Int, youngerThan oldest: ClusterTime) -> LogIndex {
        shared.withLock { state in
            var newerBytes = state.end
            for position in state.segments.indices.dropLast().reversed() {
                let segment = state.segments[position]
                if newerBytes >= bytes || segment.lastTime < oldest {
                    let following = state.segments[position + 1].sequence
                    return state.table.lastEntry(below: following)?.index ?? state.table.start.index
                }
                newerBytes += segment.capacity
            }
            return state.table.start.index
        }
    }

    /// Empties the log: it now starts after `entry`, the last of an installed snapshot. A crash leaves the old log or
    /// the new one.
    package func reset(to entry: EntryID) throws(DiskError) {
        if let failure { throw failure }
        try prepareNextSegment()
        do throws(DiskError) {
            point.last = entry
            let sequence = current.sequence + 1
            let segmentHeader = SegmentHeader(
                salt: salt, startsLog: true, nodeID: nodeID, sequence: sequence,
                segmentSize: UInt64(settings.segmentSize), previousSegmentEnd: 0, point: point)
            let seal = BatchHeader(
                kind: .seal, salt: salt, sequence: sequence, offset: UInt64(SegmentHeader.areaSize),
                acknowledgedThrough: acknowledgedThrough, point: point)
            let (bytes, checksum) = seal.encoded()
            let segment = try Self.createSegment(
                segmentHeader, firstBatch: bytes, from: spares.take(size: settings.segmentSize), in: directory,
                on: fileSystem)
            point = seal.pointAfter(checksum: checksum)
            acknowledgedThrough = point.number - 1
            current = segment
            offset = SegmentHeader.areaSize + seal.paddedSize
            isSealed = true
            let old = shared.withLock { state -> [Segment] in
                let old = state.segments
                state.table = LogTable(start: entry)
                state.table.beginSegment(sequence)
                state.segments = [segment]
                state.end = offset
                return old
            }
            try discard(old)
        } catch {
            failure = error
            throw error
        }
    }

    /// Oldest first, each durably before the next: a crash never leaves a hole in the row.
    private func discard(_ segments: [Segment]) throws(DiskError) {
        for segment in segments {
            let isKept =
                segment.capacity == settings.segmentSize
                && spares.count(ofSize: settings.segmentSize) < settings.sparesMax
            if isKept {
                try spares.recycle(segment.file.path, size: segment.capacity)
            } else {
                try fileSystem.remove(segment.file.path)
            }
            try fileSystem.syncDirectory(directory)
        }
    }
}

extension ClusterTime {
    mutating func advance(to other: ClusterTime) { if other > self { self = other } }
}

extension LogTable {
    /// Takes in a batch whose records are sound (or empty).
    mutating func apply(_ header: BatchHeader, at offset: Int, configurations: [ConfigurationEntry]) {
        if let entry = header.truncateAfter { truncate(after: entry) }
        guard let indexes = header.indexes else { return }
        let end = offset + header.paddedSize
        switch header.kind {
        case .batch:
            append(
                indexes, term: header.term, sequence: header.sequence, start: offset, end: end,
                configurations: configurations)
        case .repair:
            repair(
                indexes, term: header.term, sequence: header.sequence, start: offset, end: end,
                configurations: configurations)
        case .seal: break
        }
    }
}
