package import Basics
package import Disk
package import LogFormat
package import RaftCore
internal import Synchronization

/// A log that has lost entries to damage, until other members have given them back; a value of decisions, fed by whoever
/// has connections.
///
/// The node takes no part in elections and acknowledges nothing meanwhile, but it gives to others in the same need what
/// it has itself: two members that are damaged at different places heal each other, without a leader.
///
/// An entry is taken from whoever has the same log behind the hole (see `RepairQuestion`), or knows it to be committed.
/// Where nobody can give it, one of these holds:
/// - Somebody has all that he has promised, and his log is at least as far as this one was. Then everything of this log
///   that is committed is in his (a log is further than one that holds a committed entry only if it holds that, too), and
///   this node may let go of what is behind the hole: it *starts short*, bound by its promise (see Raft+Damage).
/// - What he gives as committed contradicts what stands behind the hole: that was never committed, and goes the same way.
/// - This node's own state holds what the missing entries did: then they are not needed here, and the log may begin later.
/// - Another's state holds what they did, and the entry that his log begins behind stands in this log, too: so everything
///   before it is the same, and committed. Then this log may begin there as well, and the state comes from him.
/// - Nobody is there who has it. Then the node waits: what it has behind the hole may be the last copy.
///
/// When the term and the vote are lost as well, every other voter is asked for his own. Whoever this node has voted for
/// has that term on disk, so the highest of them is at least that; whatever was committed with this node's word is on
/// another disk of the same majority, so the furthest of their logs is at least that far. The node takes both for its own
/// promise, with its vote in that term given away to itself. It asks all, because any one of them may be the one that
/// matters; the only voter of a cluster has nobody to ask.
package final class LogHealer {
    package enum Verdict: Hashable, Sendable {
        /// Questions are open.
        case goesOn
        /// Nothing is missing.
        case whole
        /// What is missing is missed by nobody: the state has taken it in.
        case behindState
        /// What is missing is before this entry, through which another's state has taken everything in.
        case behind(EntryID)
        /// To be opened with what is left, under the promise of this entry.
        case short(promised: EntryID)
    }

    package let log: SegmentedLog
    package private(set) var verdict = Verdict.goesOn
    /// Whether term, vote and last entry are known.
    package private(set) var knowsPromises: Bool
    private let node: NodeID
    private let applied: LogIndex
    /// The last entry that this node has promised.
    private var promised: EntryID
    private var asked = -1
    /// Rounds since an entry has come.
    private var vainRounds = 0
    private var contradicted = false
    /// What each has said last.
    private var answers: [NodeID: RepairAnswer] = [:]
    /// Where each one's log begins, if that entry stands in this one.
    private var beginnings: [NodeID: EntryID] = [:]
    private var promises: [NodeID: KnownPromises] = [:]
    /// Whose promises count: the voters of the newest configuration that anybody has named.
    private var voters: Set<NodeID>
    private var votersOf = LogIndex.zero
    private var isOnlyVoter = false

    /// Long enough that whoever has just been started can be asked as well.
    private static let vainRoundsMax = 15

    /// - Parameters:
    ///   - promised: what this node is bound by besides what its log says; zero for nothing.
    ///   - voters: the other members, as far as this node knows them.
    ///   - applied: the state of this node holds everything through here, durably.
    package init(
        _ log: SegmentedLog, node: NodeID, knowsPromises: Bool, promised: EntryID, voters: [NodeID], applied: LogIndex
    ) {
        self.applied = applied
        self.log = log
        self.node = node
        self.knowsPromises = knowsPromises || Mutant.voteAfterLostHardState.isOn
        self.voters = Set(voters)
        self.promised = max(promised, log.last)
        review()
    }

    // MARK: Asking

    /// What to ask everybody next, a few times a second; nil when it is for their promises.
    package func nextQuestion() -> RepairQuestion? {
        vainRounds += 1
        review()
        let ranges = log.faultyRanges
        guard knowsPromises, !ranges.isEmpty else { return nil }
        // One range after the other: nobody may have the first of them, and somebody the next.
        asked += 1
        let range = ranges[asked % ranges.count]
        return RepairQuestion(wanted: range, anchor: log.anchor(of: range), last: log.last)
    }

    /// - Returns: whether something has come of it, so that the next question need not wait.
    package func heard(
        _ answer: RepairAnswer, records: [UInt8], from peer: NodeID
    ) throws(LogHealingError) -> Bool {
        guard verdict == .goesOn else { return false }
        answers[peer] = answer
        let isShared = log.knownTerm(at: answer.beginning.index) == answer.beginning.term
        beginnings[peer] = isShared ? answer.beginning : nil
        defer { review() }
        guard answer.basis != .nothing, !records.isEmpty,
            log.faultyRanges.contains(where: { $0.contains(answer.first) })
        else { return false }
        let slab = try Self.verified(records, first: answer.first, salt: log.salt)
        do throws(DiskError) {
            guard try log.repair(slab) else {
                // Not the same log after all, or what stands behind the hole was never committed.
                if answer.basis == .committed { contradicted = true }
                return false
            }
        } catch {
            throw .disk(error)
        }
        vainRounds = 0
        return true
    }

    private static func verified(
        _ records: [UInt8], first: LogIndex, salt: UInt32
    ) throws(LogHealingError) -> Slab {
        do throws(DecodeError) {
            let term = try RecordView(verifying: records.rawSpan).header.id.term
            return try Slab(verifying: records, firstIndex: first, term: term, salt: salt)
        } catch {
            throw .invalid(error)
        }
    }

    /// - Parameter voters: of the configuration that the peer names; nil when it names none.
    /// - Returns: whether that configuration is newer than all before: its members are to be asked as well.
    @discardableResult
    package func heard(
        _ known: KnownPromises, voters named: [NodeID]?, from peer: NodeID
    ) throws(LogHealingError) -> Bool {
        guard verdict == .goesOn, !knowsPromises else { return false }
        promises[peer] = known
        let isNews = named?.isEmpty == false && known.configurationIndex > votersOf
        if let named, known.configurationIndex >= votersOf, !named.isEmpty {
            votersOf = known.configurationIndex
            voters = Set(named).subtracting([node])
            isOnlyVoter = voters.isEmpty
        }
        guard !isOnlyVoter, voters.allSatisfy({ promises[$0] != nil }) else { return isNews }
        let told = promises.values
        let term = told.reduce(log.hardState.currentTerm) { max($0, $1.currentTerm) }
        do throws(DiskError) {
            try log.append([LogTask(hardState: HardState(currentTerm: term, votedFor: node))])
        } catch {
            throw .disk(error)
        }
        knowsPromises = true
        promised = told.reduce(promised) { max($0, $1.last) }
        review()
        return isNews
    }

    // MARK: Answering

    /// What this log has of what another lacks.
    package func answer(_ question: RepairQuestion) -> (RepairAnswer, Slab?) {
        var answer = RepairAnswer(
            first: question.wanted.lowerBound, basis: .nothing, isWhole: false, last: log.last)
        let basis = question.basis(committed: .zero) { log.knownTerm(at: $0) }
        guard knowsPromises, basis != .nothing,
            let range = log.readable(in: question.wanted),
            let slab = try? log.read(
                from: range.lowerBound, through: range.upperBound, bytesMax: Limits.slabSizeMax
            ).first
        else { return (answer, nil) }
        answer.basis = basis
        answer.first = slab.firstIndex
        return (answer, slab)
    }

    /// Nil while it does not know them itself.
    package func ownPromises() -> KnownPromises? {
        guard knowsPromises else { return nil }
        return KnownPromises(
            currentTerm: log.hardState.currentTerm, last: promised, configurationIndex: .zero)
    }

    // MARK: Deciding

    private func review() {
        guard verdict == .goesOn, knowsPromises else { return }
        let ranges = log.faultyRanges
        guard let missing = ranges.last?.upperBound else {
            verdict = promises.isEmpty ? .whole : .short(promised: promised)
            return
        }
        let mayBeginLater = !contradicted && promises.isEmpty && isVain(ranges) && applied <= log.lastIndex
        if mayBeginLater, missing <= applied {
            verdict = .behindState
        } else if contradicted || isVain(ranges) && answers.values.contains(where: { $0.isWhole && $0.last >= promised }) {
            verdict = .short(promised: promised)
        } else if mayBeginLater, let furthest = beginnings.values.max(), missing <= furthest.index {
            verdict = .behind(furthest)
        }
    }

    private func isVain(_ ranges: [ClosedRange<LogIndex>]) -> Bool {
        vainRounds > max(Self.vainRoundsMax, 2 * ranges.count)
    }

    /// A peer cannot be reached any more: what it said counts no longer.
    package func lost(_ peer: NodeID) {
        answers[peer] = nil
        beginnings[peer] = nil
    }

    /// What is waited for, for a person.
    package var need: String {
        guard knowsPromises else {
            let missing = voters.filter { promises[$0] == nil }.sorted()
            return isOnlyVoter
                ? "term and vote, which nobody but this node could know"
                : "term and vote, and an answer of \(missing.map(\.description).joined(separator: ", "))"
        }
        let ranges = log.faultyRanges.map { "\($0.lowerBound)-\($0.upperBound)" }.joined(separator: ", ")
        return "entries \(ranges) of a log that ends at \(log.last), from a member that has them"
    }
}

package enum LogHealingError: Error, Sendable {
    case disk(DiskError)
    /// A peer has sent what are no records.
    case invalid(DecodeError)
}

extension SegmentedLog {
    package func knownTerm(at index: LogIndex) -> Term? { shared.withLock { $0.table.knownTerm(at: index) } }

    /// An entry at the end of a hole or right behind it; zero when neither's term is known.
    package func anchor(of range: ClosedRange<LogIndex>) -> EntryID {
        for index in [range.upperBound, range.upperBound.next] {
            if let term = knownTerm(at: index) { return EntryID(term: term, index: index) }
        }
        return .zero
    }

    /// The first stretch of `range` that is there and can be read.
    func readable(in range: ClosedRange<LogIndex>) -> ClosedRange<LogIndex>? {
        shared.withLock { state in
            let table = state.table
            guard var part = range.trimmed(through: table.last.index), part.upperBound > table.start.index else {
                return nil
            }
            part = max(part.lowerBound, table.start.index.next)...part.upperBound
            for hole in table.faulty where hole.overlaps(part) {
                if hole.lowerBound > part.lowerBound { return part.lowerBound...hole.lowerBound.previous }
                guard hole.upperBound < part.upperBound else { return nil }
                part = hole.upperBound.next...part.upperBound
            }
            return part
        }
    }

    /// Begins behind the last hole that the state covers, which has no need of what is before.
    package func letGoOfHoles(through applied: EntryID) throws(DiskError) {
        guard applied.index <= lastIndex,
            let hole = faultyRanges.last(where: { $0.upperBound <= applied.index })
        else { return }
        let term = startIsKnown ? knownTerm(at: hole.upperBound) : nil
        try begin(behind: term.map { EntryID(term: $0, index: hole.upperBound) } ?? applied)
    }

    /// - Parameter entry: not behind the end.
    package func begin(behind entry: EntryID) throws(DiskError) {
        forget(through: entry)
        // The segments that held nothing else need not be found damaged at the next start as well.
        try compact(through: entry.index)
    }

    /// The header that names the entry before the first may have rotted.
    private var startIsKnown: Bool { previous.index == .zero || previous.term > .zero }

    /// Lets go of everything from the first hole on; not to be done before the promise is kept elsewhere. What the state
    /// has taken in already needs no log, so a hole there only makes the log begin later.
    package func cutAtDamage(applied: EntryID) throws(DiskError) {
        let startIsKnown = startIsKnown
        if applied.index < previous.index, !startIsKnown { return try reset(to: applied) }
        let isBehindState = faultyRanges.contains { $0.lowerBound <= applied.index } || !startIsKnown
        if isBehindState, applied.index <= lastIndex { forget(through: applied) }
        guard let hole = faultyRanges.first else { return }
        try append([LogTask(hardState: hardState, truncateAfter: hole.lowerBound.previous)])
        try seal()
    }
}
