package import Basics

/// One replica's part in Raft: a value that takes inputs one at a time and says what has to be done next.
///
/// It has no clock, no entropy, no sockets and no files. Time comes in with each `step`, chance is a seeded generator
/// in the state, the next wake-up goes out as `nextDeadline`. It keeps no entry bytes either: `TermRuns` knows the term
/// of every index, and messages, persists and applies name ranges. So a step costs the same for one entry as for a
/// thousand, and a test may copy a replica to ask "and what if this message is lost?".
///
/// The shell feeds it with `step`, then takes `Ready` values until there is none, and carries each out in order:
/// messages in `sendNow` at once, `persist` on the log thread, `apply` on the apply thread. What vouches for the disk
/// (a vote, an acknowledgement) can only be reached through `Ready.Persist.thenSend`, so it cannot overtake its own
/// sync. The leader's disk writes in parallel with its followers' and counts like theirs: after `.persisted`.
///
/// Where to go on: Raft+Output (how a `Ready` comes about), Raft+Receive (what each message does to the term),
/// Raft+Election (PreVote, votes, timers),
/// Raft+HandOver (stepping down, transfer), Raft+Replication (append, match, commit), Raft+Membership, Raft+Reads,
/// Raft+Snapshot. What must always hold is in Raft+Invariants.
package struct Raft: Sendable {
    package let id: NodeID
    let settings: RaftSettings
    var random: SplitMix64
    /// The latest `now`. Never falls, whatever the shell says.
    var clock: Instant

    // MARK: Persistent state (Raft fig. 2) and how much of it is durable

    var hardState: HardState
    /// What the last finished persist left on disk.
    var durableHardState: HardState
    var log: TermRuns
    /// Everything through here is on disk and equal to `log`. Falls only with a truncation.
    package internal(set) var durableIndex: LogIndex
    /// Configurations by log index, ascending. The last is in force (Raft §6); the first is at or below `commitIndex`,
    /// those between are what a truncation may fall back to.
    var configurations: [IndexedConfiguration]
    var drafts: [Draft] = []
    /// Handed to the shell and not reported back yet, oldest first.
    var unfinishedPersists: [UnfinishedPersist] = []
    /// When the last of them was handed out.
    var persistIssuedAt: Instant
    var lastTicket = PersistTicket(0)

    // MARK: Volatile state

    var role = Role.follower(Follower())
    /// Never falls. A follower moves it only up to `durableIndex`; a leader counts its own disk like any other, so
    /// there it may be ahead.
    package internal(set) var commitIndex: LogIndex
    /// What leaders have said is committed and this log is known to hold; `commitIndex` follows as the disk allows.
    var leaderCommit: LogIndex
    /// Through here this log is known to be the same as that of the leader of `currentTerm`: this process has accepted
    /// an append of that term that ends there.
    var agreed = LogIndex.zero
    package internal(set) var lastApplied: LogIndex
    /// End of the last range handed out in `Ready.apply`.
    var applyIssued: LogIndex
    package internal(set) var votingAllowed: Bool
    /// The last entry that this node has promised to hold, where damage has taken it; see Raft+Damage.
    package internal(set) var promised: EntryID
    package internal(set) var campaigningAllowed = true
    /// The election timer of every role but the leader's.
    var electionTimerStart: Instant
    var electionTimeout: Interval
    var early: EarlyElection?
    /// The newest snapshot that the shell can offer to followers.
    var availableSnapshot: SnapshotPoint?
    /// Being fetched by the shell. Until it reports, no entry is appended: the log is about to be replaced.
    var awaitedSnapshot: SnapshotFetch?
    var reportedStatus: RaftStatus?

    package init(id: NodeID, settings: RaftSettings, restored: RestoredState, seed: UInt64, now: Instant) {
        self.id = id
        self.settings = settings
        self.random = SplitMix64(seed: seed)
        self.clock = now
        self.hardState = restored.hardState
        self.durableHardState = restored.hardState
        self.persistIssuedAt = now
        self.log = restored.log
        self.durableIndex = restored.log.lastIndex
        self.configurations = restored.configurations
        self.commitIndex = restored.lastApplied
        self.leaderCommit = restored.lastApplied
        self.lastApplied = restored.lastApplied
        self.applyIssued = restored.lastApplied
        self.votingAllowed = restored.votingAllowed
        self.promised = restored.promised
        self.electionTimerStart = now
        self.electionTimeout = settings.electionTimeoutMax
        restartElectionTimer()
        // Nobody is heard yet. Where a leader serves, its heartbeat ends this before long; where all nodes have just
        // started, it spares them the election timeout.
        self.early = EarlyElection(
            deadline: now + random.interval(from: settings.earlyPreVoteMin, through: settings.earlyPreVoteMax))
        pruneConfigurations()
        checkInvariants()
    }

    // MARK: - Input

    package mutating func step(_ input: Input, now: Instant) {
        clock = max(clock, now)
        switch input {
        case .received(let message, let sender): receive(message, from: sender)
        case .proposed(let count): propose(count: count)
        case .proposedConfiguration(let configuration): propose(configuration)
        case .readRequested(let token): requestRead(token)
        case .deadlineReached: deadlineReached()
        case .persisted(let ticket): persisted(ticket)
        case .applied(let index): applied(through: index)
        case .compacted(let index): compact(through: index)
        case .linkLost(let peer): linkLost(peer)
        case .linkRestored(let peer): linkRestored(peer)
        case .transferRequested(let target): requestTransfer(to: target)
        case .snapshotAvailable(let point): snapshotAvailable(point)
        case .snapshotWithdrawn: withdrawSnapshot()
        case .snapshotInstalled(let point): snapshotInstalled(point)
        case .snapshotFailed(let point): snapshotFailed(point)
        case .stateReplaced(let point): stateReplaced(by: point)
        case .campaigningAllowed(let isAllowed): setCampaigningAllowed(isAllowed)
        case .votingAllowed(let isAllowed): setVotingAllowed(isAllowed)
        case .toldCommitted(let entry): toldCommitted(entry)
        case .peerSaysLast(let peer, let last): peerSaysLast(peer, last)
        }
        checkStepInvariants()
    }

    private mutating func applied(through index: LogIndex) {
        invariant(index <= applyIssued, "applied through \(index), but only \(applyIssued) was handed out")
        lastApplied = max(lastApplied, index)
    }

    /// The shell's disk is done with everything up to this ticket.
    private mutating func persisted(_ ticket: PersistTicket) {
        var finished: UnfinishedPersist?
        while let first = unfinishedPersists.first, first.ticket <= ticket {
            finished = first
            unfinishedPersists.removeFirst()
        }
        guard let finished else { return }
        durableIndex = max(durableIndex, finished.logEnd)
        durableHardState = finished.hardState
        switch role {
        case .follower, .preCandidate: advanceFollowerCommit()
        case .candidate:
            advanceFollowerCommit()
            countOwnVote()
        case .leader: advanceLeaderCommit()
        }
    }

    private mutating func deadlineReached() {
        switch role {
        case .leader: leaderDeadlineReached()
        case .follower, .preCandidate, .candidate:
            expireForwardedReads()
            if clock >= electionDeadline {
                electionTimerExpired()
            } else if let early, clock >= early.deadline {
                askEarly()
            }
        }
    }

    // MARK: - Output

    /// The next thing to do; nil when there is none. Work is handed over once, so call until nil after each step.
    package mutating func takeReady() -> Ready? {
        sendCommitNotices()
        let status = self.status
        let applyEnd = min(commitIndex, durableIndex)
        guard !drafts.isEmpty || applyEnd > applyIssued || status != reportedStatus else { return nil }

        var ready = Ready()
        if !drafts.isEmpty {
            let draft = drafts.removeFirst()
            ready = draft.ready
            issuePersist(of: draft, in: &ready)
        }
        if applyEnd > applyIssued {
            ready.apply = applyIssued.next...applyEnd
            applyIssued = applyEnd
        }
        if status != reportedStatus {
            ready.status = status
            reportedStatus = status
        }
        ready.nextDeadline = nextDeadline
        return ready
    }

    private mutating func issuePersist(of draft: Draft, in ready: inout Ready) {
        guard ready.persist != nil else { return }
        lastTicket = PersistTicket(lastTicket.rawValue + 1)
        ready.persist?.ticket = lastTicket
        ready.persist?.hardState = hardState
        persistIssuedAt = clock
        unfinishedPersists.append(
            UnfinishedPersist(ticket: lastTicket, logEnd: draft.logEnd, hardState: hardState, issuedAt: clock))
    }

    /// When the shell should step `.deadlineReached`, unless something else happens first.
    package var nextDeadline: Instant {
        switch role {
        case .leader(let leader):
            return min(leader.heartbeatDeadline, leader.quorumDeadline, leader.transfer?.deadline ?? .never)
        case .follower(let follower):
            let readDeadline = follower.forwardedReads.first?.deadline ?? .never
            return min(electionDeadline, early?.deadline ?? .never, readDeadline)
        case .preCandidate, .candidate:
            return min(electionDeadline, early?.deadline ?? .never)
        }
    }

    package var status: RaftStatus {
        RaftStatus(
            role: roleName, term: currentTerm, leader: leader, commitIndex: commitIndex,
            hasCommittedInTerm: hasCommittedInTerm)
    }

    private var roleName: RaftStatus.RoleName {
        switch role {
        case .follower: configuration.isLearner(id) ? .learner : .follower
        case .preCandidate, .candidate: .candidate
        case .leader: .leader
        }
    }
}

// MARK: - What the shell may ask

extension Raft {
    package var currentTerm: Term { hardState.currentTerm }
    package var lastIndex: LogIndex { log.lastIndex }
    package var last: EntryID { log.last }
    package var firstIndex: LogIndex { log.firstIndex }
    /// The entry that the log begins behind; zero while it holds the first.
    package var beginning: EntryID { log.base }
    package func term(at index: LogIndex) -> Term? { log.term(at: index) }

    /// The configuration in force: the newest in the log, committed or not.
    package var configuration: Configuration { configurations[configurations.count - 1].configuration }
    package var configurationIndex: LogIndex { configurations[configurations.count - 1].index }

    /// The newest configuration that is known to be committed; those behind it may still be taken back.
    package var committedConfigurationIndex: LogIndex {
        configurations.last { $0.index <= commitIndex }?.index ?? configurations[0].index
    }

    package var isLeader: Bool { if case .leader = role { true } else { false } }

    /// Leader of `currentTerm` as far as this node knows.
    package var leader: NodeID? {
        switch role {
        case .leader: id
        case .follower(let follower): follower.leader
        case .preCandidate, .candidate: nil
        }
    }

    package var canPropose: Bool {
        guard case .leader(let leader) = role else { return false }
        return leader.transfer == nil && lastIndex.distance(after: commitIndex) < settings.uncommittedEntriesMax
    }

    /// One change at a time, and none before an entry of the leader's own term is committed: without the latter, two
    /// leaders could each take a change back that the other has built on.
    package var canProposeConfiguration: Bool {
        canPropose && (hasCommittedInTerm && configurationIndex <= commitIndex || Mutant.changeMembersEarly.isOn)
            && !configuration.isJoint
    }

    /// Leader only: every other member, sorted by id.
    package var peers: [PeerProgress] {
        guard case .leader(let leader) = role else { return [] }
        return leader.peers.map { peer in
            PeerProgress(
                id: peer.id, matchIndex: peer.matchIndex, nextIndex: peer.nextIndex, state: peer.stateName,
                isActive: clock - peer.lastHeard < settings.electionTimeoutMin)
        }
    }

    var hasCommittedInTerm: Bool {
        guard case .leader(let leader) = role else { return false }
        return commitIndex >= leader.termStart
    }
}

/// What a node finds on its disk at start.
package struct RestoredState: Sendable {
    package var hardState: HardState
    /// The whole log, all of it durable.
    package var log: TermRuns
    /// What the state machine holds durably; the rest of the log is committed and applied again as it becomes known.
    package var lastApplied: LogIndex
    /// Ascending by index and not empty: the one in force at `lastApplied` and each that comes after it in the log. A
    /// node that belongs to no cluster yet has an empty one at index 0.
    package var configurations: [IndexedConfiguration]
    /// False for a node that knows it has lost synced data: it answers no votes and does not campaign.
    package var votingAllowed: Bool
    /// The last entry that this node has promised to hold, where it is behind the end of `log`; see Raft+Damage.
    package var promised = EntryID.zero

    package init(
        hardState: HardState, log: TermRuns, lastApplied: LogIndex, configurations: [IndexedConfiguration],
        votingAllowed: Bool = true
    ) {
        self.hardState = hardState
        self.log = log
        self.lastApplied = lastApplied
        self.configurations = configurations
        self.votingAllowed = votingAllowed
    }
}
