package import Basics

/// Who leads (Raft §5.2, §5.4.1; PreVote, thesis §9.6). How a leader stops leading is in Raft+HandOver.
///
/// PreVote, CheckQuorum and the refusal of votes while a leader is heard are one design. PreVote alone lets a node that
/// hears its leader badly ask again and again; refusal alone would leave two nodes waiting for each other after their
/// leader is gone, so a node that asks forgets its leader first, and a leader that hears no majority stops being one.
extension Raft {
    var electionDeadline: Instant { electionTimerStart + electionTimeout }

    mutating func restartElectionTimer() {
        electionTimerStart = clock
        electionTimeout = random.interval(from: settings.electionTimeoutMin, through: settings.electionTimeoutMax)
    }

    /// Older entries would be durable by now if this disk worked. Such a node could not even count its own vote.
    var isDiskStalled: Bool {
        guard let oldest = unfinishedPersists.first else { return false }
        return clock - oldest.issuedAt >= settings.diskStallTimeout
    }

    private var mayCampaign: Bool {
        votingAllowed && campaigningAllowed && isElectable && awaitedSnapshot == nil && !isDiskStalled
            && (holdsPromised || Mutant.campaignWhileDamaged.isOn)
    }

    /// A voter, or one that is being removed by an entry not known to be committed (thesis §4.2.2). Of the latter:
    /// 1. n1 and n2 vote; n1 leads and appends its own removal. 2. n1 steps down before n2 has that entry. 3. n2 may not
    /// win, for n1 must vote for it and has the longer log. Only n1 can go on: to bring n2 that entry.
    private var isElectable: Bool { configurations.contains { $0.configuration.isVoter(id) } }

    /// A leader is at work as far as this node can tell, so whoever asks for a vote is to wait. While the leader's link
    /// is lost, or back but silent, the leader does not count as heard.
    private var isLeaderHeard: Bool {
        switch role {
        case .leader: return true
        case .preCandidate, .candidate: return false
        case .follower(let follower):
            return follower.leader != nil && early == nil
                && clock - follower.leaderHeardAt < settings.electionTimeoutMin
        }
    }

    mutating func heardLeader(_ sender: NodeID) {
        // A message that was under way when the link broke is no sign that the leader lives.
        let isOverLostLink = following.leader == sender && (early?.deadline ?? .never) != .never
        following.leader = sender
        following.leaderHeardAt = clock
        electionTimerStart = clock
        if !isOverLostLink { early = nil }
    }

    // MARK: - Timers

    mutating func electionTimerExpired() {
        postponeEarlyQuestion()
        if mayCampaign {
            becomePreCandidate()
        } else {
            becomeFollower(term: currentTerm)
            restartElectionTimer()
        }
    }

    /// A hint that the leader may be gone; never proof.
    mutating func linkLost(_ peer: NodeID) {
        switch role {
        case .follower(let follower):
            guard follower.leader == peer else { return }
            failForwardedReads()
            early = EarlyElection(
                deadline: clock + random.interval(from: settings.earlyPreVoteMin, through: settings.earlyPreVoteMax))
        case .leader(let leader):
            // What was on that connection is lost. Go on when the peer answers again.
            guard let position = leader.position(of: peer), case .replicate = leader.peers[position].state else {
                return
            }
            leading.peers[position].becomeProbe(nextIndex: leader.peers[position].matchIndex.next, isPaused: true)
        case .preCandidate, .candidate: break
        }
    }

    mutating func linkRestored(_ peer: NodeID) {
        switch role {
        case .follower(let follower):
            if follower.leader == peer { early?.deadline = .never }
        case .leader(let leader):
            guard let position = leader.position(of: peer) else { return }
            // It may be another process by now, perhaps with less than it had: one append tells whether the logs agree
            // still, and lets the peer believe what heartbeats say of the commit index.
            leading.peers[position].linkRestored()
            replicate(to: position)
            sendHeartbeat(to: position)
        case .preCandidate, .candidate: break
        }
    }

    /// Asks PreVote ahead of the timer. A refusal moves no term, vote or timer, so asking is free.
    mutating func askEarly() {
        postponeEarlyQuestion()
        guard mayCampaign else { return }
        switch role {
        case .follower:
            // Grants that were given hours apart are no majority.
            early?.tally = VoteTally()
            early?.tally.record(true, from: id)
            askPreVote()
            if early?.tally.outcome(in: configuration) == .won { becomeCandidate() }
        case .preCandidate: askPreVote()
        case .candidate, .leader: break
        }
    }

    private mutating func postponeEarlyQuestion() {
        guard let deadline = early?.deadline, deadline != .never else { return }
        let next = clock + earlyInterval()
        early?.deadline = next
    }

    private mutating func earlyInterval() -> Interval {
        random.interval(from: settings.earlyPreVoteMax, through: settings.earlyPreVoteMax * 2)
    }

    // MARK: - Roles

    /// Leaves whatever role this was. The vote and the term only move when `term` is new; a leader's name is forgotten.
    /// The election timer keeps running, except that a leader had none.
    mutating func becomeFollower(term: Term) {
        invariant(term >= currentTerm, "term moved back: \(currentTerm) -> \(term)")
        let isNewTerm = term > currentTerm
        if isNewTerm {
            hardState = HardState(currentTerm: term, votedFor: nil)
            agreed = .zero
            requirePersist()
            early?.tally = VoteTally()
        }
        switch role {
        case .leader:
            failLeaderReads()
            restartElectionTimer()
            // Whoever opened that term may lack what this node has appended: then only this node can win the next, and
            // all would wait for its whole election timeout.
            if isNewTerm {
                let deadline = clock + earlyInterval()
                early = EarlyElection(deadline: deadline)
            }
        case .follower: failForwardedReads()
        case .preCandidate, .candidate: break
        }
        role = .follower(Follower())
    }

    private mutating func becomePreCandidate() {
        failForwardedReads()
        restartElectionTimer()
        var tally = VoteTally()
        tally.record(true, from: id)
        role = .preCandidate(tally)
        askPreVote()
        settlePreVote(tally)
    }

    /// Opens a new term. The votes of others are asked for only when the own vote is on disk, and the own vote counts
    /// only then, too. Otherwise: 1. A votes for itself and asks. 2. A crashes and forgets. 3. A votes for B in the
    /// same term. 4. B and A's first request both win.
    private mutating func becomeCandidate(isTransfer: Bool = false) {
        failForwardedReads()
        hardState = HardState(currentTerm: currentTerm.next, votedFor: id)
        agreed = .zero
        role = .candidate(VoteTally())
        restartElectionTimer()
        if early != nil {
            // Two nodes that both lost the leader's link may have split the vote; a second try should not wait for the
            // whole election timeout.
            let factor = Int64(1) << Int64(min(early?.candidacies ?? 0, 20))
            electionTimeout = min(electionTimeout, earlyInterval() * factor)
            early?.candidacies += 1
            early?.tally = VoteTally()
        }
        requirePersist()
        let request = VoteRequest(term: currentTerm, lastEntry: lastDurableEntry, isTransfer: isTransfer)
        for voter in configuration.voters where voter != id { sendAfterPersist(.requestVote(request), to: voter) }
    }

    /// The leader wants this node to take over.
    mutating func campaignNow() {
        if mayCampaign { becomeCandidate(isTransfer: true) }
    }

    private mutating func becomeLeader() {
        invariant(hardState.votedFor == id, "\(id) leads term \(currentTerm) but voted for someone else")
        early = nil
        // Acknowledged to somebody by an earlier leader, so committed; a follower's disk held it back.
        commitIndex = max(commitIndex, leaderCommit)
        let peers = configuration.members.filter { $0 != id }.map { peer in
            Progress(id: peer, nextIndex: lastIndex.next, now: clock)
        }
        role = .leader(
            Leader(
                peers: peers, termStart: lastIndex.next, heartbeatDeadline: clock + settings.heartbeatInterval,
                quorumDeadline: clock + settings.electionTimeoutMin))
        // Commits what earlier terms left behind, which counting alone must not (Raft §5.4.2, §8).
        if !Mutant.dropNoOp.isOn { appendGenerated(.noop) }
    }

    // MARK: - Asking for votes

    /// Candidates speak for what is on their disk only: what a crash could take back must not win an election.
    package var lastDurableEntry: EntryID {
        log.lastEntry(through: durableIndex, termAtMost: currentTerm)
    }

    private mutating func askPreVote() {
        let request = VoteRequest(term: currentTerm.next, lastEntry: lastDurableEntry)
        for voter in configuration.voters where voter != id { send(.preVote(request), to: voter) }
    }

    mutating func preVoteAnswered(_ response: VoteResponse, from sender: NodeID) {
        if response.isGranted {
            guard configuration.contains(sender), response.term == currentTerm.next else { return }
        } else {
            guard acceptResponse(term: response.term, from: sender) else { return }
        }
        switch role {
        case .follower:
            guard early != nil, response.isGranted, mayCampaign else { return }
            early?.tally.record(true, from: sender)
            if early?.tally.outcome(in: configuration) == .won { becomeCandidate() }
        case .preCandidate(var tally):
            tally.record(response.isGranted, from: sender)
            settlePreVote(tally)
        case .candidate, .leader: break
        }
    }

    private mutating func settlePreVote(_ tally: VoteTally) {
        role = .preCandidate(tally)
        switch tally.outcome(in: configuration) {
        case .won: if mayCampaign { becomeCandidate() }
        case .lost: becomeFollower(term: currentTerm)
        case .pending: break
        }
    }

    mutating func voteAnswered(_ response: VoteResponse, from sender: NodeID) {
        guard case .candidate(var tally) = role else { return }
        tally.record(response.isGranted, from: sender)
        settleVote(tally)
    }

    /// The own vote, once it is on disk.
    mutating func countOwnVote() {
        guard case .candidate(var tally) = role, durableHardState == hardState else { return }
        tally.record(true, from: id)
        settleVote(tally)
    }

    private mutating func settleVote(_ tally: VoteTally) {
        role = .candidate(tally)
        switch tally.outcome(in: configuration) {
        case .won: becomeLeader()
        case .lost: becomeFollower(term: currentTerm)
        case .pending: break
        }
    }

    // MARK: - Giving votes

    /// Raft §5.4.1: last term, then last index, and nothing else. Entries that are still on their way to this disk
    /// count here: their acknowledgements are on the way too and cannot be called back, so a vote that overlooked them
    /// could elect a leader without an entry that they commit.
    private func isUpToDate(_ candidate: EntryID) -> Bool {
        let last = Mutant.voteWhileDamaged.isOn ? log.last : max(log.last, promised)
        return candidate >= last || Mutant.voteForStaleLog.isOn
    }

    /// Whether the voter is a member is not asked, here and below: a candidate's newer configuration may have made it
    /// one (Raft §6).
    mutating func answerPreVote(_ request: VoteRequest, from sender: NodeID) {
        guard votingAllowed else { return }
        // The leader itself asks: then it leads no more.
        let isBound = isLeaderHeard && leader != sender
        let isGranted = !isBound && request.term > currentTerm && isUpToDate(request.lastEntry)
        let response = VoteResponse(term: isGranted ? request.term : currentTerm, isGranted: isGranted)
        if isGranted {
            send(.preVoteResponse(response), to: sender)
        } else {
            sendWhenTermIsDurable(.preVoteResponse(response), to: sender)
        }
    }

    mutating func answerVote(_ request: VoteRequest, from sender: NodeID) {
        guard votingAllowed else { return }
        let isBound = isLeaderHeard && leader != sender && !request.isTransfer
        if request.term > currentTerm && !isBound { becomeFollower(term: request.term) }

        var isGranted = false
        if request.term == currentTerm, isUpToDate(request.lastEntry) {
            isGranted = hardState.votedFor == sender || (hardState.votedFor == nil && leader == nil)
        }
        let response = VoteResponse(term: currentTerm, isGranted: isGranted)
        guard isGranted else {
            sendWhenTermIsDurable(.requestVoteResponse(response), to: sender)
            return
        }
        hardState.votedFor = sender
        electionTimerStart = clock
        // Otherwise: 1. A and B lose the leader's link, and B votes for A. 2. B's next question reaches A before that
        // vote, so A agrees. 3. A leads, and B opens the next term.
        postponeEarlyQuestion()
        if Mutant.voteBeforeSync.isOn { send(.requestVoteResponse(response), to: sender) }
        sendAfterPersist(.requestVoteResponse(response), to: sender)
    }
}
