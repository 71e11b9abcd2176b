internal import Basics
internal import MetadataModel

/// The sessions and, for each, the replies that its client may still ask for again: what makes a retry, to any node,
/// after any failover, return the first result instead of being done a second time.
///
/// A function of the log alone: replies leave a window only because the client acknowledged them, sessions only because
/// an entry ended them and cluster time has gone on. The same on every replica at the same index.
struct SessionTable: ~Copyable {
    private struct Session {
        var id: SessionID
        var timeout: Interval
        /// What its opening named.
        var openedAt: ClusterTime
        /// Replies through here will not be asked for again.
        var acknowledgedThrough: UInt64 = 0
        /// Replies to `acknowledgedThrough + 1 …`, oldest first.
        var replies = ReplyWindow()
        /// Set once the session has ended; its id and replies are kept for a while, so that no late copy of a command
        /// opens it again.
        var endedAt: ClusterTime?

        /// When no copy of the opening is recent any more. The opening may name a time ahead of the log's: the node
        /// that the client asked for it need not be the leader.
        func forgottenAt(endedAt: ClusterTime) -> ClusterTime {
            max(endedAt + Limits.endedSessionKept, openedAt + Limits.sessionOpeningAgeMax)
        }

        var expected: UInt64 { acknowledgedThrough + UInt64(replies.count) + 1 }
    }

    /// What is to be done with a command.
    enum Verdict {
        /// It is the first one of a new session.
        case open(SessionOpening)
        /// It is the next one of the session in this slot.
        case apply(slot: Int)
        case answer(KeptReply)
        case refuse(Refusal)
    }

    enum Refusal {
        case expired
        case tooOld
        case gap(expected: UInt64)
        case tooManySessions
        case tooManyReplies

        var error: ReplyError {
            switch self {
            case .expired: ReplyError(.sessionExpired)
            case .tooOld: ReplyError(.sequenceTooOld)
            case .gap(let expected): ReplyError(.sequenceGap, expectedSequence: expected)
            case .tooManySessions: ReplyError(.sessionLimit, limit: UInt64(Limits.sessionsMax))
            case .tooManyReplies: ReplyError(.sessionLimit, limit: UInt64(Limits.sessionWindowMax))
            }
        }
    }

    /// Sessions stay in their slot, so that one lookup serves both the verdict and the change, and the change is made
    /// in place.
    private var slots: [Session] = []
    private var slotOf: [SessionID: Int] = [:]
    private var freeSlots: [Int] = []
    private var ended = ForgettingQueue()

    init() {}

    // MARK: Deciding

    func verdict(on header: CommandHeader, time: ClusterTime) -> Verdict {
        guard let slot = slotOf[header.session] else {
            guard let opening = header.opening, time < opening.openedAt + Limits.sessionOpeningAgeMax else {
                return .refuse(.expired)
            }
            guard slotOf.count < Limits.sessionsMax else { return .refuse(.tooManySessions) }
            guard header.sequence == 1 else { return .refuse(.gap(expected: 1)) }
            return .open(opening)
        }
        let acknowledged = slots[slot].acknowledgedThrough
        if header.sequence <= acknowledged { return .refuse(.tooOld) }
        let expected = slots[slot].expected
        if header.sequence < expected, !Mutant.applyRetryAgain.isOn {
            return .answer(slots[slot].replies[Int(header.sequence - acknowledged - 1)])
        }
        if slots[slot].endedAt != nil { return .refuse(.expired) }
        guard header.sequence == expected || Mutant.applyRetryAgain.isOn else {
            return .refuse(.gap(expected: expected))
        }
        let dropped = header.acknowledgedThrough > acknowledged ? header.acknowledgedThrough - acknowledged : 0
        guard slots[slot].replies.count - Int(clamping: dropped) < Limits.sessionWindowMax else {
            return .refuse(.tooManyReplies)
        }
        return .apply(slot: slot)
    }

    // MARK: Changing

    /// What an applied command does to its session, which is in `slot`; the same call when it is read back from an
    /// outcome row.
    mutating func record(_ change: SessionChange, in slot: Int) {
        slots[slot].replies.append(change.reply)
        if Mutant.windowForgetsEarly.isOn {
            slots[slot].replies.removeFirst(1)
            slots[slot].acknowledgedThrough += 1
        }
        if change.acknowledgedThrough > slots[slot].acknowledgedThrough {
            let acknowledged = Int(clamping: change.acknowledgedThrough - slots[slot].acknowledgedThrough)
            let dropped = min(acknowledged, slots[slot].replies.count)
            slots[slot].replies.removeFirst(dropped)
            slots[slot].acknowledgedThrough += UInt64(dropped)
        }
        if change.ends { end(slot, at: change.time) }
    }

    /// Makes room for a session that is not there yet.
    /// - Returns: its slot.
    mutating func open(_ id: SessionID, _ opening: SessionOpening) -> Int {
        let session = Session(id: id, timeout: opening.timeout, openedAt: opening.openedAt)
        let slot: Int
        if let free = freeSlots.popLast() {
            slot = free
            slots[slot] = session
        } else {
            slot = slots.count
            slots.append(session)
        }
        slotOf[id] = slot
        return slot
    }

    func slot(of id: SessionID) -> Int? { slotOf[id] }

    /// - Returns: false when there is no such session, or it has ended before.
    mutating func end(_ id: SessionID, at time: ClusterTime) -> Bool {
        guard let slot = slotOf[id], slots[slot].endedAt == nil else { return false }
        end(slot, at: time)
        return true
    }

    private mutating func end(_ slot: Int, at time: ClusterTime) {
        slots[slot].endedAt = time
        ended.add(slots[slot].id, forgottenAt: slots[slot].forgottenAt(endedAt: time))
    }

    /// Forgets sessions that ended long enough ago that no copy of their commands can open them again.
    mutating func prune(at time: ClusterTime) {
        while let id = ended.takeFirst(before: time) {
            guard let slot = slotOf.removeValue(forKey: id) else { continue }
            slots[slot].replies = ReplyWindow()
            freeSlots.append(slot)
        }
    }

    /// Open sessions, ordered by id.
    func openSessions() -> [OpenSession] {
        slotOf.values.filter { slots[$0].endedAt == nil }
            .map { OpenSession(id: slots[$0].id, timeout: slots[$0].timeout) }
            .sorted { $0.id < $1.id }
    }

    func isOpen(_ id: SessionID) -> Bool { slotOf[id].map { slots[$0].endedAt == nil } ?? false }

    /// The first open sessions after `after`, ordered by id. What they own is not known here.
    func open(after: SessionID, limit: Int) -> ListPart<SessionInfo> {
        var first: [SessionInfo] = []
        var isMore = false
        for (id, slot) in slotOf where after < id && slots[slot].endedAt == nil {
            first.append(
                SessionInfo(id: id, timeout: slots[slot].timeout, openedAt: slots[slot].openedAt, ownedCount: 0))
            // Sorted now and then, so that a page out of a million sessions holds no more than two pages.
            guard first.count > 2 * limit else { continue }
            first.sort { $0.id < $1.id }
            first.removeLast(first.count - limit)
            isMore = true
        }
        first.sort { $0.id < $1.id }
        if first.count > limit {
            first.removeLast(first.count - limit)
            isMore = true
        }
        return ListPart(hasMore: isMore, items: first)
    }

    /// How many are open, at no cost.
    var openCount: Int { slotOf.count - ended.count }

    // MARK: Checkpoint

    /// Everything, in one canonical form:
    ///
    ///     u32 count, then ordered by id:
    ///       16 B id | u64 timeout, ns | u64 opened at, ns | u8 has ended | [u64 ended at, ns]
    ///       | u64 acknowledgedThrough | u16 count | (u16 size, reply) each
    func encoded() -> [UInt8] {
        var writer = ByteWriter(reservingCapacity: 64 + slotOf.count * 64)
        writer.write(UInt32(slotOf.count))
        for (id, slot) in slotOf.sorted(by: { $0.key < $1.key }) {
            writer.write(id)
            writer.write(UInt64(slots[slot].timeout.nanoseconds))
            writer.write(slots[slot].openedAt.nanoseconds)
            writer.write(slots[slot].endedAt != nil)
            if let endedAt = slots[slot].endedAt { writer.write(endedAt.nanoseconds) }
            writer.write(slots[slot].acknowledgedThrough)
            let count = slots[slot].replies.count
            writer.write(UInt16(count))
            for position in 0..<count { slots[slot].replies[position].writeSized(into: &writer) }
        }
        return writer.takeBytes()
    }

    init(decoding bytes: RawSpan) throws(DecodeError) {
        var reader = ByteReader(bytes)
        for _ in 0..<(try reader.readCount32(itemSizeMin: 43)) {
            let id = try reader.readSessionID()
            guard slotOf[id] == nil else { throw .invalid("a session that is there twice") }
            let timeout = Interval.nanoseconds(Int64(clamping: try reader.readUInt64()))
            let openedAt = ClusterTime(nanoseconds: try reader.readUInt64())
            let slot = open(id, SessionOpening(openedAt: openedAt, timeout: timeout))
            if try reader.readBool() { end(slot, at: ClusterTime(nanoseconds: try reader.readUInt64())) }
            let acknowledged = try reader.readUInt64()
            guard acknowledged < .max - UInt64(UInt16.max) else { throw .invalid("acknowledged sequence") }
            slots[slot].acknowledgedThrough = acknowledged
            let count = Int(try reader.readUInt16())
            guard count <= Limits.sessionWindowMax else { throw .tooLarge(UInt64(count)) }
            for _ in 0..<count {
                slots[slot].replies.append(KeptReply(try reader.readBytes16(max: Limits.storedReplySizeMax)))
            }
        }
        guard reader.isAtEnd else { throw .invalid("bytes after the sessions") }
    }
}

/// What one applied command did to its session.
struct SessionChange {
    var id: SessionID
    /// Only of the command that opens it.
    var opening: SessionOpening?
    var acknowledgedThrough: UInt64
    /// The session is over.
    var ends: Bool
    /// The entry's.
    var time: ClusterTime
    /// For a retry: the reply, or where that is too large what says so.
    var reply: KeptReply
}

/// A reply that may be asked for again. Most say "well, at this revision" and no more: these need no memory of their
/// own.
struct KeptReply {
    /// Only when `bytes` is empty: the whole of a plain reply.
    private let revision: LogIndex
    private let bytes: [UInt8]

    init(_ body: RawSpan) {
        if let revision = Self.plainRevision(body) {
            self.revision = revision
            bytes = []
        } else {
            revision = .zero
            bytes = [UInt8](body)
        }
    }

    /// Success at `revision` and nothing else.
    init(plainAt revision: LogIndex) {
        self.revision = revision
        bytes = []
    }

    /// Of a reply that says nothing else.
    var plainRevision: LogIndex? { bytes.isEmpty ? revision : nil }

    func write(into writer: inout ByteWriter) {
        if bytes.isEmpty { Reply.writeSuccess(revision: revision, into: &writer) } else { writer.write(bytes) }
    }

    /// `u16` size, then the reply.
    func writeSized(into writer: inout ByteWriter) {
        writer.write(UInt16(bytes.isEmpty ? Reply.headSize : bytes.count))
        write(into: &writer)
    }

    private static func plainRevision(_ body: RawSpan) -> LogIndex? {
        guard body.byteCount == Reply.headSize else { return nil }
        var reader = ByteReader(body)
        guard let code = try? reader.readUInt16(), code == 0, let revision = try? reader.readUInt64() else {
            return nil
        }
        return LogIndex(revision)
    }
}

/// Replies in order; taking one away at the front does not move the others each time.
private struct ReplyWindow {
    private var replies: [KeptReply] = []
    /// Replies before this are gone.
    private var head = 0

    var count: Int { replies.count - head }

    subscript(position: Int) -> KeptReply { replies[head + position] }

    mutating func append(_ reply: KeptReply) { replies.append(reply) }

    mutating func removeFirst(_ count: Int) {
        head += count
        guard head >= 16, head * 2 >= replies.count else { return }
        replies.removeFirst(head)
        head = 0
    }
}

/// Ended sessions by the time at which they are forgotten: a binary heap. Most are added in that order, which costs one
/// comparison.
private struct ForgettingQueue {
    private var heap: [(at: ClusterTime, id: SessionID)] = []

    var count: Int { heap.count }

    mutating func add(_ id: SessionID, forgottenAt at: ClusterTime) {
        var position = heap.count
        heap.append((at, id))
        while position > 0, isBefore(position, (position - 1) / 2) {
            heap.swapAt(position, (position - 1) / 2)
            position = (position - 1) / 2
        }
    }

    /// The next session that is forgotten before `time`.
    mutating func takeFirst(before time: ClusterTime) -> SessionID? {
        guard let first = heap.first, first.at < time else { return nil }
        heap.swapAt(0, heap.count - 1)
        heap.removeLast()
        var position = 0
        while true {
            var child = position * 2 + 1
            guard child < heap.count else { return first.id }
            if child + 1 < heap.count, isBefore(child + 1, child) { child += 1 }
            guard isBefore(child, position) else { return first.id }
            heap.swapAt(child, position)
            position = child
        }
    }

    private func isBefore(_ left: Int, _ right: Int) -> Bool {
        (heap[left].at, heap[left].id) < (heap[right].at, heap[right].id)
    }
}
