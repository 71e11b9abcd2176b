package import Basics
package import Disk
internal import LogFormat
internal import RaftCore

extension SegmentedLog {
    /// Opens the log in `directory`, which exists, or makes an empty one there.
    ///
    /// Headers are read from all segments; records from the entry `verifyFrom` on and in the last segment. Older ones
    /// are verified when they are read. On success the end of the log is sealed: what is there counts as promised.
    ///
    /// - Parameter acceptingDamage: open although synced entries cannot be read; see `faultyRanges`.
    /// - Throws: `.damaged` without having changed anything on disk.
    package static func open(
        fileSystem: any FileSystem, directory: String, salt: UInt32, nodeID: NodeID, settings: LogSettings,
        verifyFrom: LogIndex, acceptingDamage: Bool = false
    ) throws(LogOpenError) -> (log: SegmentedLog, report: RecoveryReport) {
        do throws(RecoveryStop) {
            var recovery = Recovery(
                fileSystem: fileSystem, directory: directory, salt: salt, nodeID: nodeID, settings: settings,
                verifyFrom: verifyFrom)
            try recovery.findSegments()
            try recovery.walk()
            let opened = try recovery.finish(acceptingDamage: acceptingDamage)
            let log = SegmentedLog(
                fileSystem: fileSystem, directory: directory, salt: salt, nodeID: nodeID, settings: settings,
                opened: opened)
            try stopping { () throws(DiskError) in try log.seal() }
            return (log, recovery.report)
        } catch {
            throw error.reason
        }
    }
}

/// Carries a `LogOpenError` out of recovery.
struct RecoveryStop: Error {
    var reason: LogOpenError
    init(_ reason: LogOpenError) { self.reason = reason }
}

func stopping<T>(_ body: () throws(DiskError) -> T) throws(RecoveryStop) -> T {
    do {
        return try body()
    } catch {
        throw RecoveryStop(.disk(error))
    }
}

/// Walks the chain of batches from the first segment to the end of the log and rebuilds what `SegmentedLog` knew.
///
/// Where a header or a record does not verify, nobody can know at once whether a crash tore it or it rotted: that
/// depends on what later headers say was synced. So the walk goes on behind it with the next header that can be read,
/// and remembers the state before as a *suspect*. A later header that calls the suspect's batch synced confirms it as
/// damage; the first suspect that none has confirmed is where the torn tail begins, and the log ends there.
struct Recovery {
    struct Found {
        var name: String
        var segmentName: SegmentName
        var scanner: SegmentScanner
        /// nil when it does not verify.
        var header: SegmentHeader?
        var lastTime = ClusterTime.zero
    }

    /// Everything that a torn tail takes back.
    private struct State {
        var table: LogTable
        /// Where the reader stands in the chain.
        var point: ChainPoint
        /// Position in `segments` and in the file where the next batch belongs.
        var segment = 0
        var offset = SegmentHeader.areaSize
        var lastKind: BatchHeader.Kind?
        var damages: [LogDamage] = []
        var promisesAreKnown = true
    }

    private struct Suspect {
        /// First batch that could not be read.
        var number: UInt64
        var before: State
        var damage: LogDamage
    }

    /// What a header claims to have reserved is believed up to here.
    private static let reservedMax = 1 << 30

    let fileSystem: any FileSystem
    let directory: String
    let salt: UInt32
    let nodeID: NodeID
    let settings: LogSettings
    let verifyFrom: LogIndex
    /// `.readOnly` where nothing may be changed.
    let mode: FileMode
    private(set) var report = RecoveryReport()
    private var segments: [Found] = []
    /// Files to remove once the log is known to be sound.
    private var obsolete: [String] = []
    private var spares: SpareSegments
    private var state: State
    private var suspects: [Suspect] = []
    /// The newest batch that some readable header calls synced.
    private var acknowledgedThrough: UInt64 = 0
    /// Where the batches of the last segment stand that no header calls synced, in order.
    private var unconfirmed: [(number: UInt64, offset: Int)] = []

    init(
        fileSystem: any FileSystem, directory: String, salt: UInt32, nodeID: NodeID, settings: LogSettings,
        verifyFrom: LogIndex, mode: FileMode = .existing
    ) {
        self.fileSystem = fileSystem
        self.directory = directory
        self.salt = salt
        self.nodeID = nodeID
        self.settings = settings
        self.verifyFrom = verifyFrom
        self.mode = mode
        spares = SpareSegments(fileSystem: fileSystem, directory: directory)
        state = State(table: LogTable(start: .zero), point: .beforeFirst(.zero))
    }

    // MARK: Files

    mutating func findSegments() throws(RecoveryStop) {
        let (fileSystem, directory, mode) = (fileSystem, directory, mode)
        for name in try stopping({ () throws(DiskError) in try fileSystem.list(directory) }) {
            let path = "\(directory)/\(name)"
            if name.hasPrefix(SpareSegments.prefix) {
                let file = try stopping { () throws(DiskError) in try fileSystem.open(path, mode) }
                let size = try stopping { () throws(DiskError) in try file.size() }
                let isUsable = size == settings.segmentSize ? try isReserved(file, size) : false
                spares.adopt(name, size: size, isUsable: isUsable)
                if !isUsable { obsolete.append(path) }
            } else if let segmentName = SegmentName(name) {
                let scanner = try stopping { () throws(DiskError) in
                    try SegmentScanner(
                        file: try fileSystem.open(path, mode), sequence: segmentName.sequence, salt: salt)
                }
                let header = try readHeader(of: scanner, segmentName)
                segments.append(Found(name: name, segmentName: segmentName, scanner: scanner, header: header))
            }
        }
        segments.sort { $0.segmentName.sequence < $1.segmentName.sequence }
        if let start = segments.lastIndex(where: { $0.header?.startsLog == true }) {
            obsolete += segments[..<start].map { "\(directory)/\($0.name)" }
            segments.removeFirst(start)
        }
    }

    /// Whether there is a block for each of its bytes: a copy of the directory may have holes where the file was empty.
    private func isReserved(_ file: any File, _ size: Int) throws(RecoveryStop) -> Bool {
        guard mode != .readOnly else { return true }
        do throws(DiskError) {
            try file.preallocate(size)
            return true
        } catch {
            guard error.kind == .noSpace else { throw RecoveryStop(.disk(error)) }
            return false
        }
    }

    private func readHeader(
        of scanner: SegmentScanner, _ name: SegmentName
    ) throws(RecoveryStop) -> SegmentHeader? {
        let bytes = try stopping { () throws(DiskError) in try scanner.bytes(at: 0, count: SegmentHeader.size) }
        let path = scanner.file.path
        let header: SegmentHeader
        do throws(DecodeError) {
            header = try SegmentHeader(decoding: bytes.rawSpan)
        } catch {
            if case .unknown(let what, let version) = error {
                throw RecoveryStop(.newerFormat(file: path, reason: "\(what) \(version)"))
            }
            return nil
        }
        guard header.salt == salt else {
            throw RecoveryStop(.foreign(file: path, reason: "another cluster or generation"))
        }
        guard header.nodeID == nodeID else {
            throw RecoveryStop(.foreign(file: path, reason: "written by node \(header.nodeID)"))
        }
        // A sound header under another name is a file that somebody moved.
        guard header.sequence == name.sequence, header.point.last.index.next == name.firstIndex else { return nil }
        return header
    }

    // MARK: The walk

    mutating func walk() throws(RecoveryStop) {
        for position in segments.indices {
            try enter(position)
            let end = knownEnd(of: position)
            while try step(in: position, end: end) {}
        }
    }

    /// Where the batches of a segment end, as the next one's header says.
    private func knownEnd(of position: Int) -> Int? {
        let next = position + 1
        guard next < segments.count, let header = segments[next].header,
            header.sequence == segments[position].segmentName.sequence &+ 1
        else { return nil }
        return Int(exactly: header.previousSegmentEnd)
    }

    private mutating func enter(_ position: Int) throws(RecoveryStop) {
        let found = segments[position]
        let endOfPrevious = state.offset
        state.offset = SegmentHeader.areaSize
        // It got its name when all before it was synced, whatever its header says by now: nothing there was torn.
        if position > 0 { confirm(state.point.number - 1) }
        if let header = found.header {
            if position == 0 {
                state.table = LogTable(start: header.point.last)
                state.point = header.point
            } else if header.point.follows(state.point) {
                state.point.hardState = header.point.hardState
            } else if canFollow(header.point) {
                lose(
                    until: header.point, file: segments[position - 1].scanner.file.path, offset: endOfPrevious,
                    reason: "batches \(state.point.number)-\(header.point.number - 1) cannot be read")
            } else {
                note(file: found.scanner.file.path, offset: 0, reason: "header contradicts the batches before it")
                if position == segments.count - 1 { state.promisesAreKnown = false }
            }
            confirm(header.point.number - 1)
            if position == segments.count - 1, UInt64(found.scanner.size) < header.segmentSize {
                // It was reserved whole before it got its name. What was cut off may have held anything.
                note(
                    file: found.scanner.file.path, offset: found.scanner.size,
                    reason: "the file ends here, of \(header.segmentSize) bytes")
                state.promisesAreKnown = false
            }
        } else {
            // A segment by name has had a synced header, so this one rotted. The batches say all that it said.
            note(file: found.scanner.file.path, offset: 0, reason: "segment header")
            let first = try stopping { () throws(DiskError) in
                try found.scanner.firstHeader(from: SegmentHeader.areaSize, end: nil) { _ in true }
            }
            if let first {
                if position == 0 { begin(at: first.header, of: found) }
            } else if position == segments.count - 1 {
                // It may have held anything.
                state.promisesAreKnown = false
            }
        }
        state.table.beginSegment(found.segmentName.sequence)
        state.segment = position
        state.lastKind = nil
        unconfirmed = []
    }

    /// Starts the log without the header of its first segment, at the first batch that can be read.
    private mutating func begin(at first: BatchHeader, of found: Found) {
        let before = found.segmentName.firstIndex.previous
        if first.offset == UInt64(SegmentHeader.areaSize), first.point.last.index == before {
            state.table = LogTable(start: first.point.last)
            state.point = first.point
        } else {
            let start = before < first.point.last.index ? EntryID(term: .zero, index: before) : first.point.last
            state.table = LogTable(start: start)
            state.point.truncationCount = first.point.truncationCount
            lose(
                until: first.point, file: found.scanner.file.path, offset: SegmentHeader.areaSize,
                reason: "first batches cannot be read")
            state.offset = Int(first.offset)
        }
    }

    /// Reads what is at the current place. False at the end of the segment.
    private mutating func step(in position: Int, end: Int?) throws(RecoveryStop) -> Bool {
        let offset = state.offset
        if let end, offset >= end { return false }
        let scanner = segments[position].scanner
        let path = scanner.file.path
        var expected = try stopping { () throws(DiskError) in try scanner.header(at: offset) }
        if let found = expected, !found.header.point.follows(state.point) { expected = nil }
        guard let found = expected else {
            guard let next = try nextHeader(in: position, from: offset, end: end) else { return false }
            let reason = "batches \(state.point.number)-\(next.header.point.number - 1) cannot be read"
            suspect(LogDamage(file: path, offset: offset, indexes: nil, reason: reason))
            lose(until: next.header.point, file: path, offset: offset, reason: reason)
            state.offset = Int(next.header.offset)
            return true
        }
        let header = found.header
        confirm(header.acknowledgedThrough)
        unconfirmed.append((header.point.number, offset))
        let records = try checkRecords(of: header, in: position)
        switch records {
        case .sound(let configurations):
            state.table.apply(header, at: offset, configurations: configurations)
        case .damaged(let damage):
            suspect(damage)
            state.damages.append(damage)
            if let entry = header.truncateAfter { state.table.truncate(after: entry) }
            if header.kind == .batch {
                state.table.appendFaulty(through: header.lastAfter)
            } else if let indexes = header.indexes {
                let first = max(indexes.lowerBound, state.table.start.index.next)
                let last = min(indexes.upperBound, state.table.last.index)
                if first <= last { state.table.markFaulty(first...last) }
            }
        }
        segments[position].lastTime.advance(to: header.lastTime)
        state.point = header.pointAfter(checksum: found.checksum)
        state.lastKind = header.kind
        state.offset = offset + header.paddedSize
        return true
    }

    private enum Records {
        case sound([ConfigurationEntry])
        case damaged(LogDamage)
    }

    private mutating func checkRecords(of header: BatchHeader, in position: Int) throws(RecoveryStop) -> Records {
        guard let indexes = header.indexes else { return .sound([]) }
        let isLast = position == segments.count - 1
        guard isLast || header.holdsConfiguration || indexes.upperBound >= verifyFrom else { return .sound([]) }
        let scanner = segments[position].scanner
        let start = Int(header.offset) + BatchHeader.size
        let size = header.recordsSize
        let bytes = try stopping { () throws(DiskError) in try scanner.bytes(at: start, count: size) }
        report.bytesVerified += bytes.count
        do throws(DecodeError) {
            let slab = try Slab(verifying: bytes, firstIndex: header.firstIndex, term: header.term, salt: salt)
            guard slab.count == header.count, bytes.count == size else { throw .truncated }
            guard header.holdsConfiguration else { return .sound([]) }
            var found: [ConfigurationEntry] = []
            for position in 0..<slab.count {
                let record = slab.record(at: slab.firstIndex + position)
                if record.header.type == .configuration {
                    found.append(
                        ConfigurationEntry(index: record.header.id.index, payload: [UInt8](record.payload)))
                }
            }
            return .sound(found)
        } catch {
            return .damaged(
                LogDamage(file: scanner.file.path, offset: start, indexes: indexes, reason: "record: \(error)"))
        }
    }

    // MARK: What cannot be read

    private mutating func confirm(_ number: UInt64) {
        if Mutant.cutDamagedMiddle.isOn { return }
        acknowledgedThrough = max(acknowledgedThrough, number)
        suspects.removeAll { $0.number <= acknowledgedThrough }
        unconfirmed.removeAll { $0.number <= acknowledgedThrough }
    }

    private mutating func suspect(_ damage: LogDamage) {
        guard state.point.number > acknowledgedThrough else { return }
        suspects.append(Suspect(number: state.point.number, before: state, damage: damage))
    }

    /// Damage that loses nothing that is not said again elsewhere.
    private mutating func note(file: String, offset: Int, reason: String) {
        state.damages.append(LogDamage(file: file, offset: offset, indexes: nil, reason: reason))
    }

    /// Whether a header that states `point` can be a later one of the chain that this walk is in.
    private func canFollow(_ point: ChainPoint) -> Bool {
        guard point.number > state.point.number, point.truncationCount >= state.point.truncationCount else {
            return false
        }
        let floor = floorOfLoss(until: point)
        return point.last.index >= floor.index && point.hardState.currentTerm >= state.point.hardState.currentTerm
    }

    /// The last entry that the lost batches have certainly left alone.
    private func floorOfLoss(until point: ChainPoint) -> EntryID {
        switch point.truncationCount - state.point.truncationCount {
        case 0: state.table.last
        case 1: point.lastTruncation.index < state.table.last.index ? point.lastTruncation : state.table.last
        // How low the others cut is not known.
        default: state.table.start
        }
    }

    /// Goes on at `point`; what the batches in between have added cannot be read.
    private mutating func lose(until point: ChainPoint, file: String, offset: Int, reason: String) {
        let floor = floorOfLoss(until: point)
        if floor.index < state.table.last.index { state.table.truncate(after: floor) }
        let lost = point.last.index > floor.index ? floor.index.next...point.last.index : nil
        state.table.appendFaulty(through: point.last)
        state.point = point
        state.damages.append(LogDamage(file: file, offset: offset, indexes: lost, reason: reason))
    }

    /// The next header behind `offset` that can belong to this chain.
    private func nextHeader(
        in position: Int, from offset: Int, end: Int?
    ) throws(RecoveryStop) -> SegmentScanner.Found? {
        try stopping { () throws(DiskError) in
            try segments[position].scanner.firstHeader(from: offset, end: end) { canFollow($0.point) }
        }
    }

    // MARK: The end

    /// Decides where the log ends.
    private mutating func settle() {
        if let torn = suspects.first {
            state = torn.before
            report.tornTail = torn.damage
        }
        if let last = segments.last, let hole = last.scanner.unreadable.first(where: { $0.upperBound > state.offset }) {
            note(
                file: last.scanner.file.path, offset: hole.lowerBound,
                reason: "the disk does not read what may be the end")
            state.promisesAreKnown = false
        }
        report.damages = state.damages
        report.promisesAreKnown = state.promisesAreKnown
    }

    /// As `finish`, for one who only looks: nothing is cut, repaired or made. Nil when there is no log.
    mutating func inspect() throws(RecoveryStop) -> SegmentedLog.Opened? {
        settle()
        guard !segments.isEmpty else { return nil }
        if report.tornTail == nil {
            let (scanner, number, offset) = (segments[state.segment].scanner, state.point.number, state.offset)
            let isBegun = try stopping { () throws(DiskError) in try scanner.isBegun(number, at: offset) }
            if isBegun { report.tornTail = unfinishedBatch(in: scanner) }
        }
        let opened = segments[...state.segment].map { found in
            Segment(
                sequence: found.segmentName.sequence, file: found.scanner.file, capacity: found.scanner.size,
                lastTime: found.lastTime)
        }
        return SegmentedLog.Opened(
            table: state.table, segments: opened, offset: state.offset, point: state.point,
            acknowledgedThrough: acknowledgedThrough, isSealed: true, spares: spares)
    }

    private func unfinishedBatch(in scanner: SegmentScanner) -> LogDamage {
        LogDamage(
            file: scanner.file.path, offset: state.offset, indexes: nil,
            reason: "batch \(state.point.number) was not written whole")
    }

    mutating func finish(acceptingDamage: Bool) throws(RecoveryStop) -> SegmentedLog.Opened {
        settle()
        let isSound = state.table.faulty.isEmpty && state.promisesAreKnown
        guard isSound || acceptingDamage else {
            let losses = state.damages.filter { damage in
                guard let indexes = damage.indexes else { return false }
                return state.table.faulty.contains { $0.overlaps(indexes) }
            }
            throw RecoveryStop(.damaged(losses.isEmpty ? state.damages : losses))
        }
        guard !segments.isEmpty else { return try makeFirstSegment() }
        // Segments behind a torn tail held nothing that was acknowledged.
        obsolete += segments[(state.segment + 1)...].map { "\(directory)/\($0.name)" }
        segments.removeLast(segments.count - state.segment - 1)
        let capacity = try stopping { () throws(DiskError) in try makeEndDurable() }
        var opened: [Segment] = []
        for found in segments {
            opened.append(
                Segment(
                    sequence: found.segmentName.sequence, file: found.scanner.file,
                    capacity: opened.count == state.segment ? capacity : found.scanner.size, lastTime: found.lastTime))
        }
        // Where something was cut or is damaged, what confirmed the last batch may be gone: it is said again.
        let isSealed = state.lastKind == .seal && report.tornTail == nil && state.damages.isEmpty
        let isUntouched = state.offset == SegmentHeader.areaSize && segments[state.segment].header != nil
        return SegmentedLog.Opened(
            table: state.table, segments: opened, offset: state.offset, point: state.point,
            acknowledgedThrough: state.point.number - 1, isSealed: isSealed || isUntouched,
            spares: spares)
    }

    /// What was read may be in the page cache only, if the process alone has crashed; from here on it counts as
    /// promised. To sync it is not enough: where the last sync failed, the kernel takes its pages for written all the
    /// same, and the next sync succeeds without writing them. So they are written again first.
    /// - Returns: the reserved size of the last segment.
    private mutating func makeEndDurable() throws(DiskError) -> Int {
        let scanner = segments[state.segment].scanner
        // Of a file that was cut short it is known by now; the seal must fit.
        let reserved = segments[state.segment].header.map { Int(clamping: $0.segmentSize) } ?? 0
        let capacity = max(scanner.size, state.offset + BatchHeader.size, min(reserved, Self.reservedMax))
        // Also where the size is right already: a copy of the directory may have holes.
        try scanner.file.preallocate(capacity)
        let isBegun = try scanner.isBegun(state.point.number, at: state.offset)
        if report.tornTail == nil, isBegun { report.tornTail = unfinishedBatch(in: scanner) }
        if report.tornTail != nil { try scanner.eraseHeaders(from: state.offset) }
        if let first = unconfirmed.first, first.offset < state.offset {
            try scanner.rewrite(first.offset..<state.offset)
        }
        try scanner.file.sync()
        try fileSystem.syncDirectory(directory)
        try removeObsolete()
        return capacity
    }

    private func removeObsolete() throws(DiskError) {
        for path in obsolete {
            try fileSystem.remove(path)
            try fileSystem.syncDirectory(directory)
        }
    }

    private mutating func makeFirstSegment() throws(RecoveryStop) -> SegmentedLog.Opened {
        report.isNew = true
        let (fileSystem, directory, size) = (fileSystem, directory, settings.segmentSize)
        let header = SegmentHeader(
            salt: salt, startsLog: true, nodeID: nodeID, sequence: 1, segmentSize: UInt64(size),
            previousSegmentEnd: 0, point: state.point)
        var spares = spares
        let segment = try stopping { () throws(DiskError) in
            try removeObsolete()
            return try SegmentedLog.createSegment(
                header, from: spares.take(size: size), in: directory, on: fileSystem)
        }
        state.table.beginSegment(1)
        return SegmentedLog.Opened(
            table: state.table, segments: [segment], offset: SegmentHeader.areaSize, point: state.point,
            acknowledgedThrough: 0, isSealed: true, spares: spares)
    }
}
