internal import Basics
internal import MetadataModel

/// The sessions and, for each, the replies that its client may still ask for again: what makes a retry, to any node, after
/// any failover, return the first result instead of being done a second time.
///
/// A function of the log alone: replies leave a window only because the client acknowledged them, sessions only because
/// an entry ended them and cluster time has gone on. The same on every replica at the same index.
struct SessionTable: ~Copyable {
    struct Session {
        var timeout: Interval
        /// Replies through here will not be asked for again.
        var acknowledgedThrough: UInt64 = 0
        /// Replies to `acknowledgedThrough + 1 …`, oldest first.
        var replies: [[UInt8]] = []
        /// Set once the session has ended; its id and replies are kept for a while, so that no late copy of a command
        /// opens it again.
        var endedAt: ClusterTime?

        var expected: UInt64 { acknowledgedThrough + UInt64(replies.count) + 1 }
    }

    /// What is to be done with a command.
    enum Verdict {
        /// It is the next one of its session (opened just now when `opens`).
        case apply(opens: Bool)
        case answer([UInt8])
        case refuse(ReplyError)
    }

    private var sessions: [SessionID: Session] = [:]
    /// Ended sessions in the order of their end; those before `endedHead` are forgotten.
    private var ended: [(id: SessionID, at: ClusterTime)] = []
    private var endedHead = 0

    init() {}

    // MARK: Deciding

    func verdict(on header: CommandHeader, time: ClusterTime) -> Verdict {
        guard let session = sessions[header.session] else {
            guard let opening = header.opening, time < opening.openedAt + Limits.sessionOpeningAgeMax else {
                return .refuse(ReplyError(.sessionExpired))
            }
            guard sessions.count < Limits.sessionsMax else {
                return .refuse(ReplyError(.sessionLimit, limit: UInt64(Limits.sessionsMax)))
            }
            guard header.sequence == 1 else { return .refuse(ReplyError(.sequenceGap, expectedSequence: 1)) }
            return .apply(opens: true)
        }
        if header.sequence <= session.acknowledgedThrough { return .refuse(ReplyError(.sequenceTooOld)) }
        if header.sequence < session.expected {
            return .answer(session.replies[Int(header.sequence - session.acknowledgedThrough - 1)])
        }
        if session.endedAt != nil { return .refuse(ReplyError(.sessionExpired)) }
        guard header.sequence == session.expected else {
            return .refuse(ReplyError(.sequenceGap, expectedSequence: session.expected))
        }
        let dropped = Int(clamping: max(header.acknowledgedThrough, session.acknowledgedThrough) - session.acknowledgedThrough)
        guard session.replies.count - min(dropped, session.replies.count) < Limits.sessionWindowMax else {
            return .refuse(ReplyError(.sessionLimit, limit: UInt64(Limits.sessionWindowMax)))
        }
        return .apply(opens: false)
    }

    // MARK: Changing

    /// What an applied command does to its session; the same call when it is read back from an outcome row.
    mutating func record(_ change: SessionChange) {
        var session = sessions[change.id] ?? Session(timeout: change.timeout ?? Limits.sessionTimeoutDefault)
        session.replies.append(change.reply)
        if change.acknowledgedThrough > session.acknowledgedThrough {
            let dropped = min(Int(clamping: change.acknowledgedThrough - session.acknowledgedThrough), session.replies.count)
            session.replies.removeFirst(dropped)
            session.acknowledgedThrough += UInt64(dropped)
        }
        if let endedAt = change.endedAt {
            session.endedAt = endedAt
            ended.append((change.id, endedAt))
        }
        sessions[change.id] = session
    }

    /// - Returns: false when there is no such session, or it has ended before.
    mutating func end(_ id: SessionID, at time: ClusterTime) -> Bool {
        guard let session = sessions[id], session.endedAt == nil else { return false }
        sessions[id]?.endedAt = time
        ended.append((id, time))
        return true
    }

    /// Forgets sessions that ended long enough ago that no copy of their commands can open them again.
    mutating func prune(at time: ClusterTime) {
        while endedHead < ended.count, time - ended[endedHead].at > Limits.endedSessionKept {
            sessions[ended[endedHead].id] = nil
            endedHead += 1
        }
        if endedHead > 1_024, endedHead * 2 > ended.count {
            ended.removeFirst(endedHead)
            endedHead = 0
        }
    }

    /// Open sessions, ordered by id.
    func openSessions() -> [OpenSession] {
        sessions.filter { $0.value.endedAt == nil }
            .map { OpenSession(id: $0.key, timeout: $0.value.timeout) }
            .sorted { $0.id < $1.id }
    }

    // MARK: Checkpoint

    /// Everything, in one canonical form:
    ///
    ///     u32 count, then ordered by id:
    ///       16 B id | u64 timeout, ns | u64 acknowledgedThrough | u16 count | (u16 size, reply) each
    ///     u32 count, then in order of their end: 16 B id | u64 ended at, ns
    func encoded() -> [UInt8] {
        var writer = ByteWriter(reservingCapacity: 64 + sessions.count * 64)
        writer.write(UInt32(sessions.count))
        for (id, session) in sessions.sorted(by: { $0.key < $1.key }) {
            writer.write(id)
            writer.write(UInt64(session.timeout.nanoseconds))
            writer.write(session.acknowledgedThrough)
            writer.write(UInt16(session.replies.count))
            for reply in session.replies { writer.writeBytes16(reply) }
        }
        writer.write(UInt32(ended.count - endedHead))
        for entry in ended[endedHead...] {
            writer.write(entry.id)
            writer.write(entry.at.nanoseconds)
        }
        return writer.takeBytes()
    }

    init(decoding bytes: RawSpan) throws(DecodeError) {
        var reader = ByteReader(bytes)
        for _ in 0..<(try reader.readCount32(itemSizeMin: 34)) {
            let id = try reader.readSessionID()
            let timeout = Int64(clamping: try reader.readUInt64())
            var session = Session(timeout: .nanoseconds(timeout))
            session.acknowledgedThrough = try reader.readUInt64()
            let count = Int(try reader.readUInt16())
            guard count <= Limits.sessionWindowMax else { throw .tooLarge(UInt64(count)) }
            for _ in 0..<count {
                session.replies.append([UInt8](try reader.readBytes16(max: Limits.storedReplySizeMax)))
            }
            sessions[id] = session
        }
        for _ in 0..<(try reader.readCount32(itemSizeMin: 24)) {
            let id = try reader.readSessionID()
            let at = ClusterTime(nanoseconds: try reader.readUInt64())
            guard sessions[id] != nil else { throw .invalid("end of a session that is not there") }
            sessions[id]?.endedAt = at
            ended.append((id, at))
        }
        guard reader.isAtEnd else { throw .invalid("bytes after the sessions") }
    }
}

/// What one applied command did to its session.
struct SessionChange {
    var id: SessionID
    /// Only of the command that opens it.
    var timeout: Interval?
    var acknowledgedThrough: UInt64
    var endedAt: ClusterTime?
    /// For a retry: the reply, or where that is too large what says so.
    var reply: [UInt8]
}
