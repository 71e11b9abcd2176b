package import Basics
internal import LogFormat
internal import MetadataModel
internal import RaftCore
internal import Wire

/// Damage to the log that is found while the node runs. What it has promised it knows by heart (which entries, of which
/// terms, how far), so it goes on, and writes the damaged entries anew: from memory, or as another member has them. An
/// entry of the same index and term is the same entry (Raft §5.3), so nothing has to be believed.
extension Replica {
    /// Entries cannot be read back, or a scrub has found that they cannot.
    /// - Returns: false when only a start can set it right: what is damaged is not known to be committed, or is needed and
    ///   nobody else can have it.
    package mutating func logDamaged(_ lost: ClosedRange<LogIndex>, reason: String) -> Bool {
        let first = max(lost.lowerBound, raft.firstIndex)
        let last = min(lost.upperBound, raft.lastIndex)
        // Not needed any more, or known already.
        guard first <= last, !mending.covers(first...last) else { return true }
        let range = first...last
        let inMemory = tail.slabs(in: range, byteCountMax: .max) ?? []
        let isInMemory = inMemory.last?.lastIndex == last
        let isElsewhere = last <= raft.commitIndex && hasOtherMembers
        let isDispensable = last <= appliedIndex
        guard isInMemory || isElsewhere || isDispensable else { return false }
        raise(.damage, reason)
        effects.notices.append(.logDamaged(range, reason: reason))
        mending.add(range, now: now)
        return true
    }

    /// A read met damage: what asked for it waits, and asks again.
    /// - Returns: as `logDamaged`.
    package mutating func logReadFailed(_ read: LogRead, _ lost: ClosedRange<LogIndex>?, reason: String) -> Bool {
        guard logDamaged(lost ?? read.range, reason: reason) else { return false }
        switch read.purpose {
        case .apply:
            // It would meet the same again.
            if mending.isUnderWay { mending.stopsApply = true } else { isReadingForApply = false }
        case .peer(let id):
            guard let position = links.position(of: id), links[position].isReadingLog else { return true }
            links[position].isReadingLog = false
            // As if lost on the way: the core asks again, or finds out that this follower needs a snapshot.
            if !links[position].appends.isEmpty { links[position].appends.removeFirst() }
        case .repair(let peer, let question): helped(peer, with: question, nil)
        case .feed: feedFailed(read.range, reason: reason)
        }
        return true
    }

    private var hasOtherMembers: Bool { membership.members.contains { $0.id != id } }

    /// Reads again, writes what is in memory, and asks all for the rest, again and again; gives up what nobody has. One piece is
    /// written at a time: before the log thread has done with it, more would only wait there, and a disk may be stuck for long.
    mutating func mendLog() {
        guard !mending.isWriting else { return }
        mending.forget(after: raft.lastIndex)
        guard let range = mending.next(now: now) else { return }
        effects.rereadsLog = true
        // Behind the durable end, the disk may hold still what is about to be cut.
        if range.lowerBound <= raft.durableIndex,
            let slab = tail.slabs(in: range.clamped(to: .zero...raft.durableIndex), byteCountMax: 1)?.first
        {
            return repairLog(with: slab)
        }
        let question = RepairQuestion(wanted: range, anchor: raft.lastDurableEntry, last: raft.lastDurableEntry)
        for position in links.indices where links[position].isUp {
            links[position].send(.logEntries(question))
        }
        var reachable: [NodeID] = []
        for position in links.indices where links[position].isUp { reachable.append(links[position].id) }
        let isVain = mending.vainRounds >= LogMending.vainRoundsMax && mending.empty.isSuperset(of: reachable)
        if isVain || !hasOtherMembers { letGoOfLog() }
        if isVain, !reachable.isEmpty { askForStateInstead() }
    }

    private mutating func repairLog(with slab: Slab) {
        mending.isWriting = true
        effects.logRepairs.append(slab)
    }

    /// The state holds what these entries did, durably: the log may begin behind them, as after a compaction. Followers
    /// that need them get a snapshot, and watches begin later.
    private mutating func letGoOfLog() {
        // The state that is to come has to reach the log.
        guard !isQuarantined else { return }
        let floor = min(durableApplied, raft.lastApplied)
        for range in mending.letGo(through: floor) {
            effects.notices.append(.logLetGo(range))
            feedUnreadable(through: range.upperBound)
            raft.step(.compacted(through: range.upperBound), now: now)
            drainReady()
        }
        mending.forget(through: raft.firstIndex.previous)
    }

    /// Committed entries are damaged that this state has not taken in, and whose log holds them no more has them in his state
    /// only: so it is asked for. What it covers is let go after that.
    private mutating func askForStateInstead() {
        guard let lost = mending.ranges.first(where: { $0.upperBound > appliedIndex }), lost.upperBound <= raft.commitIndex
        else { return }
        stateDamaged(
            reason: "entries \(lost.lowerBound)-\(lost.upperBound) are damaged here and in no other log any more", isUsable: false)
    }

    /// Entries that this node has promised to hold cannot be read just now.
    package var isMending: Bool { mending.isUnderWay }

    /// Damaged entries through here are done without.
    package var letGoThrough: LogIndex { mending.letGo.map(\.upperBound).max() ?? .zero }

    /// Some damaged entries can be done without as soon as the state is durable: the shell is to flush it, or to
    /// make a snapshot of it where it is volatile.
    package var wantsFlush: Bool {
        mending.vainRounds >= (hasOtherMembers ? LogMending.vainRoundsMax : 1)
            && mending.ranges.contains { $0.upperBound <= appliedIndex && $0.upperBound > durableApplied }
    }

    /// Throws when what came is not what it says.
    mutating func takeEntries(_ answer: RepairAnswer, _ payload: RawSpan, of peer: NodeID) throws(DecodeError) {
        let first = answer.first
        // An answer that came late, or to this node as it was before its start; or several have answered.
        guard !mending.isWriting, mending.ranges.contains(where: { $0.contains(first) }) else { return }
        guard payload.byteCount > 0 else { return mending.noteEmpty(peer) }
        let bytes = [UInt8](payload)
        let term = try RecordView(verifying: bytes.rawSpan).header.id.term
        let slab = try Slab(verifying: bytes, firstIndex: first, term: term, salt: salt)
        guard slab.lastIndex <= raft.durableIndex else { return }
        // Where the peer knows them to be committed and they are others, these here never were, and a leader will cut them.
        var index = slab.firstIndex
        while index <= slab.lastIndex {
            guard raft.term(at: index) == slab.term else { return mending.noteEmpty(peer) }
            index = index.next
        }
        repairLog(with: slab)
    }

    /// Entries were written in the place of damaged ones, or could not be.
    /// - Parameter faulty: what still cannot be read.
    package mutating func logRepaired(faulty: [ClosedRange<LogIndex>]) {
        mending.isWriting = false
        logReread(faulty: faulty)
    }

    /// Entries that the disk did not give back are there again.
    /// - Parameter faulty: as of `logRepaired`.
    package mutating func logReread(faulty: [ClosedRange<LogIndex>]) {
        let before = mending.ranges
        mending.keep(faulty, now: now)
        for range in before where !mending.overlaps(range) { effects.notices.append(.logMended(range)) }
        reviewApply()
    }

    /// The apply thread goes on where what it waited for is there, or no more needed.
    mutating func reviewApply() {
        guard mending.stopsApply, !mending.ranges.contains(where: { $0.contains(applyFed.next) }) else { return }
        mending.stopsApply = false
        isReadingForApply = false
    }
}
