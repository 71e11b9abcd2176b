import Basics
import RaftCore
import Testing

/// One sentence of the paper each: a core alone, one input, its `Ready`. "Thesis" is Ongaro's, 2014.
@Suite struct PaperTests {
    private static let configuration = IndexedConfiguration(
        index: .zero, configuration: Configuration(incoming: [NodeID(1), NodeID(2), NodeID(3)]))

    /// Node 1 of three, with a log of the given terms, all of it durable; `applied` of it in the state machine.
    private func node(term: UInt64 = 0, votedFor: UInt64? = nil, log terms: [UInt64] = [], applied: Int = 0) -> Raft {
        var log = TermRuns()
        for term in terms { log.append(through: log.lastIndex.next, term: Term(term)) }
        let hardState = HardState(currentTerm: Term(max(term, terms.last ?? 0)), votedFor: votedFor.map { NodeID($0) })
        var raft = Raft(
            id: NodeID(1), settings: RaftSettings(),
            restored: RestoredState(
                hardState: hardState, log: log, lastApplied: LogIndex(UInt64(applied)),
                configurations: [Self.configuration]), seed: 3, now: .zero)
        while raft.takeReady() != nil {}
        return raft
    }

    /// Everything that one input asks for, with the disk done at once.
    private struct Outcome {
        var sentNow: [Envelope] = []
        var sentAfterSync: [Envelope] = []
        var persists: [Ready.Persist] = []
        var applied: ClosedRange<LogIndex>?
        var sent: [Envelope] { sentNow + sentAfterSync }
    }

    private func step(_ raft: inout Raft, _ input: Input, syncing: Bool = true) -> Outcome {
        var outcome = Outcome()
        raft.step(input, now: .zero)
        drain(&raft, into: &outcome, syncing: syncing)
        return outcome
    }

    private func drain(_ raft: inout Raft, into outcome: inout Outcome, syncing: Bool) {
        while let ready = raft.takeReady() {
            outcome.sentNow += ready.sendNow
            outcome.applied = ready.apply ?? outcome.applied
            guard let persist = ready.persist else { continue }
            outcome.persists.append(persist)
            outcome.sentAfterSync += persist.thenSend
            if syncing { raft.step(.persisted(persist.ticket), now: .zero) }
        }
        raft.checkInvariants()
    }

    private func append(
        term: UInt64, after previous: (UInt64, UInt64), through last: UInt64, of entryTerm: UInt64, commit: UInt64 = 0
    ) -> Input {
        .received(
            .appendEntries(
                AppendEntries(
                    term: Term(term), previous: EntryID(term: Term(previous.0), index: LogIndex(previous.1)),
                    lastIndex: LogIndex(last), entryTerm: Term(entryTerm), leaderCommit: LogIndex(commit))),
            from: NodeID(2))
    }

    private func accepted(_ term: UInt64, _ index: UInt64) -> [Envelope] {
        let response = AppendEntriesResponse(term: Term(term), outcome: .accepted(matchIndex: LogIndex(index)))
        return [Envelope(to: NodeID(2), message: .appendEntriesResponse(response))]
    }

    private func rejected(_ term: UInt64, _ previous: UInt64, _ hint: (UInt64, UInt64)) -> [Envelope] {
        let response = AppendEntriesResponse(
            term: Term(term),
            outcome: .rejected(
                previousIndex: LogIndex(previous), hint: EntryID(term: Term(hint.0), index: LogIndex(hint.1))))
        return [Envelope(to: NodeID(2), message: .appendEntriesResponse(response))]
    }

    // MARK: - §5.1

    @Test("§5.1: if one server's term is smaller than the other's, it updates its term to the larger value")
    func largerTermIsAdopted() {
        var raft = node(term: 2)
        let outcome = step(&raft, append(term: 7, after: (0, 0), through: 1, of: 7))
        #expect(raft.currentTerm == Term(7))
        #expect(outcome.persists.last?.hardState == HardState(currentTerm: Term(7), votedFor: nil))
    }

    @Test("§5.1: if a leader discovers that its term is out of date, it reverts to follower")
    func staleLeaderStepsDown() {
        var cluster = TestCluster(3)
        cluster.campaign(1)
        cluster.forge(.heartbeatResponse(HeartbeatResponse(term: Term(9), readRound: 0)), from: 2, to: 1)
        #expect(!cluster.raft(1).isLeader)
        #expect(cluster.raft(1).currentTerm == Term(9))
    }

    @Test("§5.1: a server rejects a request with a stale term, and says what the term is")
    func staleRequestIsRejected() {
        var raft = node(term: 5)
        #expect(step(&raft, append(term: 4, after: (0, 0), through: 1, of: 4)).sent == rejected(5, 0, (0, 0)))
        #expect(raft.lastIndex == .zero)
        let vote = VoteRequest(term: Term(4), lastEntry: .zero)
        let refusal = VoteResponse(term: Term(5), isGranted: false)
        #expect(
            step(&raft, .received(.requestVote(vote), from: NodeID(3))).sent
                == [Envelope(to: NodeID(3), message: .requestVoteResponse(refusal))])
    }

    // MARK: - §5.2

    @Test("§5.2: a candidate with the votes of a majority leads, and its heartbeats make the others followers")
    func majorityElects() {
        var cluster = TestCluster(3)
        cluster.campaign(1)
        #expect(cluster.raft(1).isLeader)
        #expect(cluster.raft(2).leader == NodeID(1))
        #expect(cluster.raft(3).leader == NodeID(1))
    }

    @Test("§5.2: each server votes for at most one candidate in a term, first come first served")
    func oneVoteATerm() {
        var raft = node()
        let vote = VoteRequest(term: Term(1), lastEntry: .zero)
        let yes = Message.requestVoteResponse(VoteResponse(term: Term(1), isGranted: true))
        let no = Message.requestVoteResponse(VoteResponse(term: Term(1), isGranted: false))
        let first = step(&raft, .received(.requestVote(vote), from: NodeID(2)))
        #expect(first.sentNow.isEmpty, "a vote leaves only behind its sync")
        #expect(first.sentAfterSync == [Envelope(to: NodeID(2), message: yes)])
        #expect(first.persists.first?.hardState == HardState(currentTerm: Term(1), votedFor: NodeID(2)))
        #expect(
            step(&raft, .received(.requestVote(vote), from: NodeID(3))).sent == [Envelope(to: NodeID(3), message: no)])
        #expect(
            step(&raft, .received(.requestVote(vote), from: NodeID(2))).sent == [Envelope(to: NodeID(2), message: yes)])
    }

    @Test("§5.2: a candidate that hears a leader of its term returns to follower; of an older term, it goes on")
    func candidateYields() {
        var cluster = TestCluster(3)
        cluster[1].isDiskStalled = true
        cluster.campaign(1, attempts: 1)
        #expect(cluster.raft(1).currentTerm == Term(1))
        let old = Heartbeat(term: Term(0), commitIndex: .zero, readRound: 0)
        cluster.forge(.heartbeat(old), from: 2, to: 1)
        #expect(cluster.raft(1).status.role == .candidate)
        cluster.forge(.heartbeat(Heartbeat(term: Term(1), commitIndex: .zero, readRound: 0)), from: 2, to: 1)
        #expect(cluster.raft(1).status.role == .follower)
        #expect(cluster.raft(1).leader == NodeID(2))
    }

    // MARK: - §5.3

    @Test("§5.3: an entry on a majority is committed, and all apply it in log order")
    func replicates() {
        var cluster = TestCluster(3)
        cluster.campaign(1)
        cluster.propose(1, count: 5)
        cluster.settle()
        for id in UInt64(1)...3 { #expect(cluster[id].applied.count == 6) }
    }

    @Test("§5.3: the leader sends new entries while it writes them, not after")
    func diskAndNetworkInParallel() {
        var cluster = TestCluster(3)
        cluster.campaign(1)
        cluster.propose(1, count: 3)
        #expect(cluster.network.filter { $0.entries.count == 3 }.count == 2)
        #expect(cluster[1].persistQueue.count == 1)
    }

    @Test("§5.3: a follower that lacks the entry before the new ones refuses them, and says where it may agree")
    func consistencyCheck() {
        var raft = node(log: [1, 1, 3, 3], applied: 1)
        // Too short; then another term there, whose whole run is skipped.
        #expect(
            step(&raft, append(term: 5, after: (4, 9), through: 10, of: 5)).sent == rejected(5, 9, (3, 4)))
        #expect(
            step(&raft, append(term: 5, after: (2, 4), through: 5, of: 5)).sent == rejected(5, 4, (1, 2)))
        #expect(raft.lastIndex == LogIndex(4))
    }

    @Test("§5.3: an entry that conflicts is deleted with all that follow it, before the new ones are written")
    func conflictIsDeleted() {
        var raft = node(log: [1, 1, 2, 2, 2], applied: 1)
        let outcome = step(&raft, append(term: 4, after: (1, 2), through: 3, of: 4))
        #expect(outcome.persists.count == 1)
        #expect(outcome.persists.first?.truncateAfter == LogIndex(2))
        #expect(outcome.persists.first?.entries == LogIndex(3)...LogIndex(3))
        #expect(outcome.sentNow.isEmpty, "an acknowledgement leaves only behind its sync")
        #expect(outcome.sentAfterSync == accepted(4, 3))
        #expect(raft.lastIndex == LogIndex(3))
        #expect(raft.term(at: LogIndex(3)) == Term(4))
    }

    @Test("§5.3: entries that are there already are not written again, and are acknowledged")
    func duplicateIsAcknowledged() {
        var raft = node(log: [1, 1, 2, 2], applied: 1)
        let outcome = step(&raft, append(term: 2, after: (1, 2), through: 3, of: 2))
        #expect(outcome.persists.allSatisfy { $0.entries == nil && $0.truncateAfter == nil })
        #expect(outcome.sent == accepted(2, 3))
        #expect(raft.lastIndex == LogIndex(4))
    }

    @Test("fig. 2: commitIndex is min(leaderCommit, index of last new entry), and what it covers is applied once")
    func followerCommit() {
        var raft = node(log: [1, 1, 1, 1], applied: 1)
        #expect(
            step(&raft, append(term: 1, after: (1, 2), through: 3, of: 1, commit: 9)).applied
                == LogIndex(2)...LogIndex(3))
        #expect(step(&raft, append(term: 1, after: (1, 4), through: 6, of: 1, commit: 4)).applied
            == LogIndex(4)...LogIndex(4))
        #expect(raft.commitIndex == LogIndex(4))
    }

    // MARK: - §5.4 and after

    @Test("§5.4.2: a new leader commits what earlier terms left behind by an entry of its own term")
    func ownTermEntryCommits() {
        var cluster = TestCluster(3)
        cluster.campaign(1)
        cluster.dropped = { if case .appendEntriesResponse = $0.message { true } else { false } }
        cluster.propose(1, count: 3)
        cluster.settle()
        #expect(cluster.raft(1).commitIndex == LogIndex(1))
        cluster.crash(1)
        cluster.dropped = { _ in false }
        cluster.campaign(2, attempts: 100)
        #expect(cluster.raft(2).commitIndex == LogIndex(5))
        #expect(cluster[3].applied.last?.content == .noop)
    }

    @Test("§8: each leader opens its term with a no-op, the first entry of that term")
    func noopOpensTerm() {
        var cluster = TestCluster(3)
        cluster.campaign(1)
        #expect(cluster[3].log.entries == [Entry(term: Term(1), content: .noop)])
    }

    @Test("thesis §10.2.1: the leader goes on sending before earlier appends are answered")
    func pipelining() {
        var cluster = TestCluster(3)
        cluster.campaign(1)
        for _ in 0..<4 { cluster.propose(1) }
        let sent = cluster.network.filter { $0.to == NodeID(2) }.map(\.description)
        #expect(
            sent == (2...5).map { "1 -> 2: append term 1 after 1/\($0 - 1) entries \($0)-\($0) of 1 commit 1" })
        cluster.settle()
        #expect(cluster[2].applied.count == 5)
    }
}
