internal import Basics

/// Append, match, commit (Raft §5.3, §5.4; pipelining, thesis §10.2.1).
extension Raft {
    // MARK: - Leader: appending

    /// Takes a slab of commands. Costs the same for one as for thousands.
    mutating func propose(count: Int) {
        invariant(canPropose, "proposal while \(roleDescription) in term \(currentTerm) cannot take one")
        invariant(count > 0, "proposal of \(count) entries")
        let first = lastIndex.next
        log.append(through: lastIndex + count, term: currentTerm)
        persist(first...lastIndex)
        replicateToAll()
    }

    /// An entry of the core's own, at the end of the log. It is sent with or after the persist that makes the shell
    /// encode it, never before.
    mutating func appendGenerated(_ content: GeneratedEntry.Content) {
        let index = lastIndex.next
        log.append(through: index, term: currentTerm)
        persist(index...index, generated: [GeneratedEntry(index: index, content: content)])
        if case .configuration(let configuration) = content {
            adopt(IndexedConfiguration(index: index, configuration: configuration))
        }
        replicateToAll()
    }

    mutating func replicateToAll() {
        for position in leading.peers.indices { replicate(to: position) }
    }

    /// Sends what the peer's window has room for.
    mutating func replicate(to position: Int) {
        while isLeader,
            leading.peers[position].canSend(through: lastIndex, windowMax: settings.inflightMessagesMax)
        {
            let peer = leading.peers[position]
            guard let append = appendEntries(from: peer.nextIndex) else {
                startSnapshot(for: position)
                return
            }
            send(.appendEntries(append), to: peer.id)
            leading.peers[position].noteSent(append, now: clock)
        }
    }

    /// As many entries from `nextIndex` on as one message may name, all of one term; nil when the entry before them is
    /// compacted away. Configurations among them are read out of the bytes where these arrive.
    private func appendEntries(from nextIndex: LogIndex) -> AppendEntries? {
        guard let previousTerm = log.term(at: nextIndex.previous) else { return nil }
        let previous = EntryID(term: previousTerm, index: nextIndex.previous)
        guard let runEnd = log.runEnd(from: nextIndex), let entryTerm = log.term(at: nextIndex) else {
            return AppendEntries(
                term: currentTerm, previous: previous, lastIndex: previous.index, entryTerm: previousTerm,
                leaderCommit: commitIndex)
        }
        return AppendEntries(
            term: currentTerm, previous: previous,
            lastIndex: min(runEnd, previous.index + settings.entriesPerAppendMax), entryTerm: entryTerm,
            leaderCommit: commitIndex)
    }

    // MARK: - Leader: answers

    mutating func appendAnswered(_ response: AppendEntriesResponse, from sender: NodeID) {
        guard isLeader, let position = leading.position(of: sender) else { return }
        leading.peers[position].lastHeard = clock
        switch response.outcome {
        case .accepted(let matchIndex):
            noteMatch(matchIndex, of: position)
        case .rejected(let previousIndex, let hint):
            // Skips whole terms: the peer named its last entry of a term not above the one asked for, and this log
            // answers in kind (the optimisation at the end of Raft §5.3).
            let shared = log.lastEntry(through: hint.index, termAtMost: hint.term).index
            let resumeAfter = hint.index < log.base.index ? hint.index : shared
            guard leading.peers[position].rejected(previous: previousIndex, resumeAfter: resumeAfter) else { return }
            replicate(to: position)
        }
    }

    /// `sender`'s log equals this one through `matchIndex`, durably.
    mutating func noteMatch(_ matchIndex: LogIndex, of position: Int) {
        guard matchIndex <= lastIndex else { return }
        let id = leading.peers[position].id
        leading.peers[position].accepted(through: matchIndex, base: log.base.index, now: clock)
        advanceLeaderCommit()
        // A commit may have ended this leadership or taken the peer out of the configuration.
        guard isLeader, let position = leading.position(of: id) else { return }
        replicate(to: position)
        if leading.transfer?.target == id { sendTimeoutNow() }
    }

    /// Only entries of the leader's own term are committed by counting; those before them follow (Raft §5.4.2). By
    /// counting alone, an old entry on a majority may still be overwritten (figure 8).
    mutating func advanceLeaderCommit() {
        let leader = leading
        let reached = Quorum.reached(in: configuration) { voter in
            voter == id ? (Mutant.countUnsyncedLeader.isOn ? lastIndex : durableIndex) : leader.position(of: voter).map { leader.peers[$0].matchIndex } ?? .zero
        }
        guard let reached, reached > commitIndex,
            log.term(at: reached) == currentTerm || Mutant.countOldTermReplicas.isOn
        else { return }
        let wasCommittedInTerm = hasCommittedInTerm
        setCommit(reached)
        if !wasCommittedInTerm { startReadRound() }
        configurationCommitted()
    }

    mutating func setCommit(_ index: LogIndex) {
        invariant(index >= commitIndex, "commitIndex moved back: \(commitIndex) -> \(index)")
        invariant(index <= lastIndex, "commit \(index) is past the end of the log \(lastIndex)")
        commitIndex = index
        leaderCommit = max(leaderCommit, index)
        pruneConfigurations()
    }

    // MARK: - Leader: heartbeats

    mutating func sendHeartbeat(to position: Int) {
        let peer = leading.peers[position]
        let commit = Mutant.commitByHeartbeat.isOn ? commitIndex : min(commitIndex, peer.matchIndex)
        let round = leading.reads.underWay?.number ?? 0
        send(.heartbeat(Heartbeat(term: currentTerm, commitIndex: commit, readRound: round)), to: peer.id)
        leading.peers[position].commitSent = max(peer.commitSent, commit)
    }

    /// Tells those who have answered everything that the commit index has moved; to the others the next append says
    /// it. So an idle cluster applies at once, and a busy one pays nothing.
    mutating func sendCommitNotices() {
        guard case .leader(let leader) = role else { return }
        for (position, peer) in leader.peers.enumerated()
        where peer.isIdle && min(commitIndex, peer.matchIndex) > peer.commitSent {
            sendHeartbeat(to: position)
        }
    }

    mutating func heartbeatAnswered(_ response: HeartbeatResponse, from sender: NodeID) {
        guard isLeader, let position = leading.position(of: sender) else { return }
        leading.peers[position].lastHeard = clock
        if leading.peers[position].heartbeatAnswered(now: clock, patience: settings.heartbeatInterval) {
            askAgain(position)
        }
        replicate(to: position)
        confirmReadRound(response.readRound, by: sender)
    }

    /// An empty append at the end of what was sent: accepted, it frees the window; rejected, it ends pipelining and
    /// finds out where to go on.
    private mutating func askAgain(_ position: Int) {
        let previousIndex = leading.peers[position].nextIndex.previous
        guard let previousTerm = log.term(at: previousIndex) else {
            startSnapshot(for: position)
            return
        }
        let question = AppendEntries(
            term: currentTerm, previous: EntryID(term: previousTerm, index: previousIndex), lastIndex: previousIndex,
            entryTerm: previousTerm, leaderCommit: commitIndex)
        send(.appendEntries(question), to: leading.peers[position].id)
    }

    // MARK: - Follower

    mutating func follow(_ append: AppendEntries, from leader: NodeID) {
        // What lies before this log is in the snapshot, hence committed, hence the same in every leader's log.
        guard append.lastIndex > log.base.index || append.previous.index == log.base.index else {
            agreed = max(agreed, append.lastIndex)
            acknowledge(through: append.lastIndex, to: leader)
            return
        }
        guard isContinuous(append) else {
            refuse(append, from: leader)
            return
        }
        // This log is about to be replaced, so nothing is added to it or vouched for. A refusal, above, is as true as
        // ever, and leads a new leader to offer its own snapshot.
        guard awaitedSnapshot == nil else { return }
        if let entries = append.entries {
            let first = max(entries.lowerBound, log.firstIndex)
            let conflict = log.firstConflict(in: first...entries.upperBound, term: append.entryTerm)
            if let conflict, conflict <= leaderCommit {
                reportConflictBelowCommit(leader)
                return
            }
            let late = Mutant.truncateMatchingTail.isOn && entries.upperBound < lastIndex ? first : nil
            take(
                append, from: conflict ?? late ?? max(first, lastIndex.next), truncating: conflict != nil || late != nil)
        }
        agreed = max(agreed, append.lastIndex)
        leaderCommit = max(leaderCommit, min(append.leaderCommit, append.lastIndex))
        advanceFollowerCommit()
        acknowledge(through: append.lastIndex, to: leader)
    }

    /// The append goes on from an entry that this log has, or covers the one before its first.
    private func isContinuous(_ append: AppendEntries) -> Bool {
        append.previous.index >= log.base.index
            ? log.term(at: append.previous.index) == append.previous.term : append.entryTerm == log.base.term
    }

    /// Appends what of `append` is at `first` or later. A log that holds all of it already, and more, keeps it: a late
    /// or repeated append says nothing about what comes after it (Raft §5.3).
    private mutating func take(_ append: AppendEntries, from first: LogIndex, truncating: Bool) {
        guard first <= append.lastIndex else { return }
        if truncating {
            log.truncate(after: first.previous)
            limitPersists(to: first.previous)
            configurations.removeAll { $0.index >= first }
        }
        log.append(through: append.lastIndex, term: append.entryTerm)
        persist(first...append.lastIndex, truncateAfter: truncating ? first.previous : nil)
        for configuration in append.configurations where configuration.index >= first { adopt(configuration) }
    }

    /// This log does not have the entry that the append goes on from.
    private mutating func refuse(_ append: AppendEntries, from leader: NodeID) {
        guard append.previous.index > leaderCommit else {
            // It contradicts what is committed. Nothing is cut and nothing is answered: the shell closes the link.
            reportConflictBelowCommit(leader)
            return
        }
        // What is committed is shared with every leader, so the hint never lies below it.
        let shared = log.lastEntry(through: append.previous.index, termAtMost: append.previous.term)
        let floor = min(leaderCommit, lastIndex)
        let hint = shared.index >= floor ? shared : EntryID(term: log.term(at: floor) ?? log.base.term, index: floor)
        let outcome = AppendEntriesResponse.Outcome.rejected(previousIndex: append.previous.index, hint: hint)
        sendWhenTermIsDurable(
            .appendEntriesResponse(AppendEntriesResponse(term: currentTerm, outcome: outcome)), to: leader)
    }

    private mutating func acknowledge(through index: LogIndex, to leader: NodeID) {
        let response = AppendEntriesResponse(term: currentTerm, outcome: .accepted(matchIndex: index))
        if Mutant.acknowledgeBeforeSync.isOn { return send(.appendEntriesResponse(response), to: leader) }
        sendAfterPersist(.appendEntriesResponse(response), to: leader)
    }

    /// The leader tells no more than this node has acknowledged to it in this term, and of that this process must know
    /// itself. Otherwise: 1. n2 acknowledges entry 9 of term 3 to n1, which cuts what n2 had there before. 2. n2's old
    /// directory is put back: entry 9 of term 2. 3. n1 has not noticed, and tells n2 that 9 is committed.
    mutating func follow(_ heartbeat: Heartbeat, from leader: NodeID) {
        let known = Mutant.commitByHeartbeat.isOn ? heartbeat.commitIndex : min(heartbeat.commitIndex, agreed)
        leaderCommit = max(leaderCommit, known)
        advanceFollowerCommit()
        let response = HeartbeatResponse(term: currentTerm, readRound: heartbeat.readRound)
        send(.heartbeatResponse(response), to: leader)
    }

    mutating func advanceFollowerCommit() {
        let reached = min(leaderCommit, Mutant.commitPastDisk.isOn ? lastIndex : durableIndex)
        if reached > commitIndex { setCommit(reached) }
    }

    var roleDescription: String { "\(id), \(status.role.rawValue)," }
}
