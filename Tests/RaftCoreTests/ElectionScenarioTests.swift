import Basics
import RaftCore
import Testing

/// Named scenarios about who may lead. Each stands for a bug that some system shipped.
@Suite struct ElectionScenarioTests {
    private func vote(_ term: UInt64, last: (term: UInt64, index: UInt64) = (0, 0)) -> Message {
        .requestVote(
            VoteRequest(
                term: Term(term), lastEntry: EntryID(term: Term(last.term), index: LogIndex(last.index))))
    }

    private func granted(_ term: UInt64) -> Message {
        .requestVoteResponse(VoteResponse(term: Term(term), isGranted: true))
    }

    private func refused(_ term: UInt64) -> Message {
        .requestVoteResponse(VoteResponse(term: Term(term), isGranted: false))
    }

    @Test("§5.1: a voter that crashes between the sync of its vote and the reply votes the same after it")
    func voteSurvivesRestart() {
        var cluster = TestCluster(3)
        cluster.forge(vote(5), from: 1, to: 3)
        #expect(cluster.takeNetwork().isEmpty)
        cluster.crash(3, persistsDone: 1)
        cluster.restart(3)
        cluster.forge(vote(5), from: 2, to: 3)
        #expect(cluster.answers(from: 3, to: 2) == [refused(5)])
        cluster.forge(vote(5), from: 1, to: 3)
        #expect(cluster.answers(from: 3, to: 1) == [granted(5)])
    }

    @Test("a vote that was not on disk when its voter crashed was never sent")
    func unsyncedVoteIsNotSent() {
        var cluster = TestCluster(3)
        cluster.forge(vote(5), from: 1, to: 3)
        cluster.crash(3)
        cluster.restart(3)
        cluster.forge(vote(5), from: 2, to: 3)
        #expect(cluster.answers(from: 3, to: 2) == [granted(5)])
    }

    @Test("a candidate asks for votes only when its own is on disk, so a crash cannot make it vote twice")
    func ownVoteIsDurable() throws {
        var cluster = TestCluster(3)
        cluster[1].isDiskStalled = true
        cluster.campaign(1, attempts: 1)
        #expect(cluster.raft(1).status.role == .candidate)
        #expect(cluster.raft(1).currentTerm == Term(1))
        #expect(!cluster.trace.contains { $0.contains("requestVote") })
        cluster[1].isDiskStalled = false
        cluster.syncDisks()
        #expect(cluster.takeNetwork().count == 2)
        cluster.crash(1)
        cluster.restart(1)
        cluster.forge(vote(1), from: 2, to: 1)
        #expect(cluster.answers(from: 1, to: 2) == [refused(1)])
    }

    @Test("a candidate that has the votes of others still waits for the sync of its own, not of something earlier")
    func ownVoteCountsAfterSync() {
        var cluster = TestCluster(3)
        cluster[1].isDiskStalled = true
        // A vote given earlier is still on its way to the disk, too.
        cluster.forge(vote(1), from: 2, to: 1)
        while cluster.raft(1).status.role != .candidate { cluster.campaign(1, attempts: 1) }
        #expect(cluster.raft(1).currentTerm == Term(2))
        cluster.forge(granted(2), from: 2, to: 1)
        #expect(cluster[1].persistQueue.count == 2)
        cluster.finishPersist(0)
        #expect(!cluster.raft(1).isLeader)
        cluster.finishPersist(0)
        #expect(cluster.raft(1).isLeader)
    }

    @Test("thesis §9.6: granting or asking a PreVote moves neither term, vote nor election timer")
    func preVoteChangesNothing() {
        var cluster = TestCluster(3)
        let deadline = cluster.raft(2).nextDeadline
        let preVote = VoteRequest(term: Term(7), lastEntry: .zero)
        cluster.forge(.preVote(preVote), from: 1, to: 2)
        #expect(
            cluster.answers(from: 2, to: 1) == [.preVoteResponse(VoteResponse(term: Term(7), isGranted: true))])
        #expect(cluster.raft(2).currentTerm == .zero)
        #expect(cluster.raft(2).nextDeadline == deadline)
        #expect(cluster[2].diskHardState == .initial)
        // The vote is still free for anybody.
        cluster.forge(vote(7), from: 3, to: 2)
        #expect(cluster.answers(from: 2, to: 3) == [granted(7)])

        // With nothing but the election timer running, that one is not moved either.
        var silent = TestCluster(3)
        silent.campaign(1)
        silent.crash(1)
        silent.now = silent.now + .milliseconds(999)
        let timer = silent.raft(2).nextDeadline
        silent.now = silent.now + .milliseconds(1)
        let last = EntryID(term: Term(1), index: LogIndex(1))
        silent.forge(.preVote(VoteRequest(term: Term(2), lastEntry: last)), from: 3, to: 2)
        #expect(
            silent.answers(from: 2, to: 3) == [.preVoteResponse(VoteResponse(term: Term(2), isGranted: true))])
        #expect(silent.raft(2).nextDeadline == timer)

        cluster.isolate(1)
        cluster.advance(milliseconds: 30_000)
        #expect(cluster.trace.contains { $0.hasPrefix("1 -> 2: preVote") })
        #expect(cluster.raft(1).currentTerm == .zero)
        #expect(cluster[1].diskHardState == .initial)
    }

    @Test("with CheckQuorum, both live nodes of three campaign and one wins", arguments: 1...20)
    func preCandidateForgetsLeader(seed: UInt64) {
        var cluster = TestCluster(3, seed: seed)
        cluster.campaign(1)
        cluster.crash(1)
        cluster.advance(milliseconds: 10_000)
        #expect(cluster.leader != nil)
    }

    @Test("a long isolated node comes back with its old term, and the leader stays")
    func inflatedTermReturns() {
        var cluster = TestCluster(3)
        cluster.campaign(1)
        let term = cluster.raft(1).currentTerm
        cluster.isolate(3)
        cluster.advance(milliseconds: 60_000)
        cluster.propose(1, count: 10)
        cluster.settle()
        cluster.heal()
        cluster.advance(milliseconds: 5_000)
        #expect(cluster.leader == 1)
        #expect(cluster.raft(1).currentTerm == term)
        #expect(cluster[3].applied.count == 11)
        #expect(cluster.elections == 1)
    }

    @Test("thesis §6.2: a leader that can send but not hear a majority steps down within one election timeout")
    func deafLeaderStepsDown() {
        var cluster = TestCluster(3)
        cluster.campaign(1)
        cluster.advance(milliseconds: 500)
        cluster.cut(2, 1)
        cluster.cut(3, 1)
        cluster.advance(milliseconds: 899)
        #expect(cluster.raft(1).isLeader)
        cluster.advance(milliseconds: 101)
        #expect(!cluster.raft(1).isLeader)
        cluster.advance(milliseconds: 5_000)
        #expect(cluster.leader == 2 || cluster.leader == 3)
    }

    /// The first leads, and the second gets no entries: what it lacks would have to be read from the first one's disk.
    private static func clusterWithLaggard() -> TestCluster {
        var cluster = TestCluster(3)
        cluster.campaign(1)
        cluster.advance(milliseconds: 200)
        cluster.dropped = { packet in
            if case .appendEntries = packet.message { packet.from == NodeID(1) && packet.to == NodeID(2) } else { false }
        }
        return cluster
    }

    @Test("a leader whose disk is stuck hands over to one who has everything, although the third lags behind")
    func stuckDiskWithOneSuccessor() {
        var cluster = Self.clusterWithLaggard()
        cluster[1].isDiskStalled = true
        cluster.propose(1, count: 3)
        cluster.advance(milliseconds: 10_000)
        #expect(cluster.leader == 3)
        #expect(cluster.raft(2).commitIndex == cluster.raft(3).lastIndex)
    }

    @Test("so does one whose disk is stuck while nothing is written, where somebody waits for what only it can read")
    func stuckDiskOfIdleLeader() {
        var cluster = Self.clusterWithLaggard()
        cluster.propose(1, count: 3)
        cluster.advance(milliseconds: 200)
        #expect(cluster.raft(1).durableIndex == cluster.raft(3).lastIndex)
        cluster[1].isDiskStalled = true
        cluster.advance(milliseconds: 10_000)
        #expect(cluster.leader == 3)
        #expect(cluster.raft(2).commitIndex == cluster.raft(3).lastIndex)
    }

    @Test("a leader whose disk works is not moved by a follower that lags for long, and writes little for it")
    func laggingFollowerOfIdleLeader() {
        var cluster = Self.clusterWithLaggard()
        cluster.propose(1, count: 3)
        cluster.advance(milliseconds: 200)
        let before = cluster[1].persistsFinished
        cluster.advance(milliseconds: 10_000)
        #expect(cluster.leader == 1)
        #expect((1...5).contains(cluster[1].persistsFinished - before))
        cluster.dropped = { _ in false }
        cluster.advance(milliseconds: 2_000)
        let settled = cluster[1].persistsFinished
        cluster.advance(milliseconds: 10_000)
        #expect(cluster[1].persistsFinished == settled)
    }

    @Test("early PreVotes that were given at different times are no majority")
    func earlyGrantsDoNotAddUp() {
        var cluster = TestCluster(5)
        cluster.campaign(1)
        cluster.advance(milliseconds: 500)
        let term = cluster.raft(5).currentTerm
        cluster.step(5, .linkLost(NodeID(1)))
        for voter in UInt64(2)...3 {
            // The voter itself hears the leader again by the time at which the other does not.
            cluster.advance(milliseconds: 250)
            let grant = VoteResponse(term: term.next, isGranted: true)
            cluster.forge(.preVoteResponse(grant), from: voter, to: 5)
            cluster.settle()
        }
        #expect(cluster.raft(5).currentTerm == term)
        #expect(cluster.leader == 1)
    }

    @Test("entries that are only in memory do not make a candidate more up to date, and still bind its voters")
    func voteComparesPersistedLog() {
        var cluster = TestCluster(3)
        cluster.campaign(1)
        let durable = cluster.raft(2).lastIndex
        cluster[2].isDiskStalled = true
        cluster.propose(1, count: 3)
        cluster.settle()
        #expect(cluster.raft(2).lastIndex == durable + 3)

        // As candidate it speaks for what a crash would leave.
        cluster.crash(1)
        cluster.trace = []
        cluster.now = cluster.raft(2).nextDeadline
        cluster.step(2, .deadlineReached)
        #expect(cluster.trace == ["2 -> 1: preVote term 2 log 1/1", "2 -> 3: preVote term 2 log 1/1"])

        // As voter it may still acknowledge the three; a vote for a log without them could lose what that commits.
        cluster.forge(vote(9, last: (1, durable.rawValue)), from: 3, to: 2)
        cluster[2].isDiskStalled = false
        #expect(cluster.answers(from: 2, to: 3).contains(refused(9)))
        // Had they never reached the disk, nothing would bind it.
        cluster.crash(1)
        var lost = TestCluster(3)
        lost.campaign(1)
        lost[2].isDiskStalled = true
        lost.propose(1, count: 3)
        lost.settle()
        lost.crash(2)
        lost.restart(2)
        lost.forge(vote(9, last: (1, durable.rawValue)), from: 3, to: 2)
        #expect(lost.answers(from: 2, to: 3) == [granted(9)])
    }

    @Test("§5.4.1: the later last term wins with a shorter log; equal terms compare the index; nothing else enters")
    func upToDateIsTermThenIndex() {
        // The voter's log ends at 3/5.
        var log = TermRuns()
        log.append(through: LogIndex(2), term: Term(1))
        log.append(through: LogIndex(5), term: Term(3))
        let cases: [(UInt64, UInt64, Bool)] = [
            (3, 5, true), (3, 6, true), (3, 4, false), (4, 1, true), (2, 9, false), (2, 5, false), (0, 0, false),
        ]
        for (term, index, isGranted) in cases {
            var raft = Raft(
                id: NodeID(1), settings: RaftSettings(),
                restored: RestoredState(
                    hardState: HardState(currentTerm: Term(3), votedFor: nil), log: log, lastApplied: LogIndex(5),
                    configurations: [
                        IndexedConfiguration(
                            index: .zero, configuration: Configuration(incoming: [NodeID(1), NodeID(2), NodeID(3)]))
                    ]), seed: 1, now: .zero)
            raft.step(.received(vote(8, last: (term, index)), from: NodeID(2)), now: .zero)
            let answers = raft.takeReady()?.persist?.thenSend.map(\.message)
            #expect(answers == [isGranted ? granted(8) : refused(8)], "candidate at \(term)/\(index)")
        }
    }

    @Test("§6: a learner votes when a candidate, whose configuration may be newer, asks it")
    func learnerAskedVotes() {
        var cluster = TestCluster(3, learners: [4])
        cluster.forge(vote(2), from: 1, to: 4)
        #expect(cluster.answers(from: 4, to: 1) == [granted(2)])
        cluster.isolate(4)
        cluster.trace = []
        cluster.advance(milliseconds: 20_000)
        #expect(!cluster.trace.contains { $0.hasPrefix("4 -> ") })
    }

    @Test("a node that lost synced data answers no vote and never asks for one")
    func dataLossNodeDoesNotVote() {
        var cluster = TestCluster(3)
        cluster[3].votingAllowed = false
        cluster.crash(3)
        cluster.restart(3)
        cluster.forge(vote(2), from: 1, to: 3)
        cluster.forge(.preVote(VoteRequest(term: Term(2), lastEntry: .zero)), from: 1, to: 3)
        #expect(cluster.answers(from: 3, to: 1).isEmpty)
        cluster.isolate(3)
        cluster.trace = []
        cluster.advance(milliseconds: 20_000)
        #expect(!cluster.trace.contains { $0.hasPrefix("3 -> ") })
    }

    @Test("votes are refused while a leader is heard, whatever the term, and the term stays")
    func heardLeaderBindsVoters() {
        var cluster = TestCluster(3)
        cluster.campaign(1)
        for term in UInt64(2)...50 {
            for target in UInt64(1)...2 {
                cluster.forge(vote(term, last: (term, 99)), from: 3, to: target)
                #expect(cluster.answers(from: target, to: 3) == [refused(1)])
            }
        }
        #expect(cluster.leader == 1)
        cluster.advance(milliseconds: 1_000)
        #expect(cluster.raft(1).currentTerm == Term(1))
    }

    // MARK: - Early PreVote

    /// n1 led and is gone; both others know that their links to it have ended.
    private func leaderLost(seed: UInt64) -> TestCluster {
        var cluster = TestCluster(3, seed: seed)
        cluster.campaign(1)
        cluster.advance(milliseconds: 500)
        cluster.crash(1)
        cluster.step(2, .linkLost(NodeID(1)))
        cluster.step(3, .linkLost(NodeID(1)))
        return cluster
    }

    @Test("a leader whose links end is replaced in less than 200 ms, not an election timeout", arguments: 1...20)
    func lostLinkElectsEarly(seed: UInt64) {
        var cluster = leaderLost(seed: seed)
        cluster.advance(milliseconds: 200)
        #expect(cluster.leader == 2 || cluster.leader == 3)
    }

    @Test("one follower's lost link disturbs nobody while the others hear the leader")
    func oneLostLinkIsHarmless() {
        var cluster = TestCluster(3)
        cluster.campaign(1)
        cluster.cut(1, 2)
        cluster.cut(2, 1)
        cluster.step(2, .linkLost(NodeID(1)))
        cluster.advance(milliseconds: 20_000)
        #expect(cluster.trace.contains { $0.hasPrefix("2 -> 3: preVote") })
        #expect(cluster.leader == 1)
        #expect(cluster.raft(2).currentTerm == Term(1))
        cluster.heal()
        cluster.step(2, .linkRestored(NodeID(1)))
        cluster.advance(milliseconds: 200)
        cluster.trace = []
        cluster.advance(milliseconds: 3_000)
        #expect(!cluster.trace.contains { $0.contains("preVote") })
        #expect(cluster.raft(2).leader == NodeID(1))
    }

    @Test("a follower whose leader's link is lost does not count that leader as heard when it is asked")
    func lostLinkUnbindsVoter() {
        var cluster = TestCluster(3)
        cluster.campaign(1)
        let preVote = Message.preVote(VoteRequest(term: Term(2), lastEntry: EntryID(term: Term(1), index: LogIndex(1))))
        let yes = Message.preVoteResponse(VoteResponse(term: Term(2), isGranted: true))
        let no = Message.preVoteResponse(VoteResponse(term: Term(1), isGranted: false))
        cluster.forge(preVote, from: 3, to: 2)
        #expect(cluster.answers(from: 2, to: 3) == [no])
        cluster.step(2, .linkLost(NodeID(3)))
        cluster.forge(preVote, from: 3, to: 2)
        #expect(cluster.answers(from: 2, to: 3) == [no])
        cluster.step(2, .linkLost(NodeID(1)))
        cluster.forge(preVote, from: 3, to: 2)
        #expect(cluster.answers(from: 2, to: 3) == [yes])
        // The link is back, but that alone is no sign of the leader.
        cluster.step(2, .linkRestored(NodeID(1)))
        cluster.forge(preVote, from: 3, to: 2)
        #expect(cluster.answers(from: 2, to: 3) == [yes])
        let heartbeat = Heartbeat(term: Term(1), commitIndex: .zero, readRound: 0)
        cluster.forge(.heartbeat(heartbeat), from: 1, to: 2)
        _ = cluster.takeNetwork()
        cluster.forge(preVote, from: 3, to: 2)
        #expect(cluster.answers(from: 2, to: 3) == [no])
    }

    @Test("who has just voted does not ask at once: the candidate would agree before it counts that vote", arguments: 1...20)
    func voterWaitsBeforeItAsks(seed: UInt64) {
        var cluster = leaderLost(seed: seed)
        // The vote takes its time.
        cluster.dropped = {
            if case .requestVoteResponse = $0.message { true } else { false }
        }
        while cluster.raft(2).currentTerm == Term(1) || cluster.raft(3).currentTerm == Term(1) {
            cluster.advance(milliseconds: 1)
        }
        let voter: UInt64 = cluster.trace.contains { $0.hasPrefix("2 -> 3: requestVote term 2") } ? 3 : 2
        cluster.trace = []
        cluster.advance(milliseconds: 48)
        #expect(!cluster.trace.contains { $0.hasPrefix("\(voter) -> \(5 - voter): preVote term") })
        cluster.advance(milliseconds: 152)
        cluster.dropped = { _ in false }
        cluster.advance(milliseconds: 400)
        #expect(cluster.leader == 2 || cluster.leader == 3)
    }

    @Test("a leader that a newer term deposes leads again soon when only it can", arguments: 1...20)
    func deposedLeaderAsksEarly(seed: UInt64) {
        var cluster = TestCluster(3, seed: seed)
        cluster.campaign(1)
        cluster.advance(milliseconds: 500)
        cluster.crash(3)
        cluster.cut(1, 2)
        cluster.propose(1)
        cluster.settle()
        cluster.heal()
        cluster.crash(2)
        cluster.restart(2)
        cluster.forge(vote(5), from: 3, to: 2)
        cluster.advance(milliseconds: 500)
        #expect(cluster.leader == 1)
        #expect(cluster.raft(1).currentTerm > Term(5))
    }

    @Test("nodes that start together have a leader in less than 300 ms", arguments: 1...20)
    func coldStartIsQuick(seed: UInt64) {
        var cluster = TestCluster(5, seed: seed)
        cluster.advance(milliseconds: 300)
        #expect(cluster.leader != nil)
    }

    // MARK: - Removed nodes, transfer, giving up

    @Test("thesis §4.2.3: a removed node that runs on and campaigns for ever has no effect")
    func removedNodeIsHarmless() {
        var cluster = TestCluster(3)
        cluster.campaign(1)
        cluster.change(1, to: [1, 2])
        #expect(cluster.raft(1).configuration == Configuration(incoming: [NodeID(1), NodeID(2)]))
        let term = cluster.raft(1).currentTerm
        for round in UInt64(1)...100 {
            cluster.advance(milliseconds: 500)
            for target in UInt64(1)...2 {
                cluster.forge(vote(term.rawValue + round, last: (term.rawValue + round, 999)), from: 3, to: target)
                let response = HeartbeatResponse(term: Term(term.rawValue + round), readRound: 0)
                cluster.forge(.heartbeatResponse(response), from: 3, to: target)
                let no = VoteResponse(term: Term(term.rawValue + round), isGranted: false)
                cluster.forge(.preVoteResponse(no), from: 3, to: target)
            }
            cluster.settle()
        }
        #expect(cluster.leader == 1)
        #expect(cluster.raft(1).currentTerm == term)
        #expect(cluster.elections == 1)
    }

    @Test("thesis §3.10: leadership goes to a voter that has caught up, at once")
    func leaderTransfer() {
        var cluster = TestCluster(3)
        cluster.campaign(1)
        cluster.propose(1, count: 3)
        cluster.settle()
        cluster.step(1, .transferRequested(to: NodeID(3)))
        #expect(!cluster.raft(1).canPropose)
        cluster.settle()
        #expect(cluster.leader == 3)
        #expect(cluster.raft(3).currentTerm == Term(2))
        #expect(!cluster.trace.contains { $0.contains("preVote term 3") })
        cluster.step(3, .transferRequested(to: nil))
        cluster.settle()
        #expect(cluster.leader == 1 || cluster.leader == 2)
    }

    @Test("a transfer to itself, a learner or a stranger is none")
    func transferToNobody() {
        var cluster = TestCluster(3, learners: [4])
        cluster.campaign(1)
        for target in [UInt64(1), 4, 77] {
            cluster.step(1, .transferRequested(to: NodeID(target)))
            cluster.settle()
            #expect(cluster.raft(1).canPropose)
            #expect(cluster.leader == 1)
        }
    }

    @Test("a transfer to a slow voter waits until it has caught up")
    func transferToSlowVoter() {
        var cluster = TestCluster(3)
        cluster.campaign(1)
        cluster[3].isDiskStalled = true
        cluster.propose(1, count: 3)
        cluster.settle()
        cluster.step(1, .transferRequested(to: NodeID(3)))
        cluster.advance(milliseconds: 300)
        #expect(!cluster.trace.contains { $0.contains("timeoutNow") })
        cluster[3].isDiskStalled = false
        cluster.settle()
        #expect(cluster.leader == 3)
    }

    @Test("a transfer that does not come about is abandoned after an election timeout; nothing is lost")
    func transferTimesOut() {
        var cluster = TestCluster(3)
        cluster.campaign(1)
        cluster.isolate(3)
        cluster.propose(1, count: 2)
        cluster.settle()
        cluster.step(1, .transferRequested(to: NodeID(3)))
        cluster.advance(milliseconds: 999)
        #expect(!cluster.raft(1).canPropose)
        cluster.advance(milliseconds: 1)
        #expect(cluster.raft(1).canPropose)
        cluster.propose(1)
        cluster.settle()
        #expect(cluster[2].applied.count == 4)
    }

    @Test("a second transfer replaces the first; one to a voter that is removed meanwhile ends")
    func transferIsReplaced() {
        var cluster = TestCluster(3)
        cluster.campaign(1)
        cluster.isolate(3)
        cluster.propose(1)
        cluster.settle()
        cluster.step(1, .transferRequested(to: NodeID(3)))
        cluster.settle()
        #expect(cluster.leader == 1)
        cluster.step(1, .transferRequested(to: NodeID(2)))
        cluster.settle()
        #expect(cluster.leader == 2)
    }

    @Test("a lost TimeoutNow is sent again")
    func timeoutNowIsRepeated() {
        var cluster = TestCluster(3)
        cluster.campaign(1)
        cluster.dropped = { if case .timeoutNow = $0.message { true } else { false } }
        cluster.step(1, .transferRequested(to: NodeID(2)))
        cluster.settle()
        #expect(cluster.leader == 1)
        cluster.dropped = { _ in false }
        cluster.advance(milliseconds: 100)
        #expect(cluster.leader == 2)
    }

    @Test("a leader whose disk is stuck hands over when the others go on without it, and does not campaign")
    func stalledDiskHandsOver() {
        var cluster = TestCluster(3)
        cluster.campaign(1)
        cluster[1].isDiskStalled = true
        cluster.propose(1, count: 2)
        cluster.settle()
        #expect(cluster.raft(1).commitIndex == LogIndex(3))
        cluster.advance(milliseconds: 1_900)
        #expect(cluster.leader == 1)
        cluster.advance(milliseconds: 300)
        #expect(!cluster.raft(1).isLeader)
        let leader = cluster.leader
        #expect(leader == 2 || leader == 3)
        // The others fall silent: the stuck node waits all the same.
        cluster.isolate(1)
        cluster.trace = []
        cluster.advance(milliseconds: 10_000)
        #expect(!cluster.trace.contains { $0.hasPrefix("1 -> 2: preVote") })
        cluster[1].isDiskStalled = false
        cluster.settle()
        cluster.advance(milliseconds: 3_000)
        #expect(cluster.trace.contains { $0.hasPrefix("1 -> 2: preVote") })
    }

    @Test("if all disks are stuck, nobody moves")
    func allDisksStalled() {
        var cluster = TestCluster(3)
        cluster.campaign(1)
        for id in UInt64(1)...3 { cluster[id].isDiskStalled = true }
        cluster.propose(1, count: 2)
        cluster.advance(milliseconds: 10_000)
        #expect(cluster.leader == 1)
        #expect(cluster.elections == 1)
    }

    @Test("a node that may not campaign hands leadership over, and keeps voting")
    func forbiddenNodeHandsOver() {
        var cluster = TestCluster(3)
        cluster.campaign(1)
        cluster.step(1, .campaigningAllowed(false))
        cluster.settle()
        let leader = cluster.leader
        #expect(leader == 2 || leader == 3)
        cluster.crash(leader == 2 ? 3 : 2)
        cluster.propose(leader!)
        cluster.settle()
        #expect(cluster[1].applied.count == 3)
    }

    @Test("a node that may not campaign and finds nobody to take over stops leading in one election timeout")
    func forbiddenNodeStepsDown() {
        var cluster = TestCluster(3)
        cluster.campaign(1)
        cluster.dropped = { if case .timeoutNow = $0.message { true } else { false } }
        cluster.step(1, .campaigningAllowed(false))
        cluster.advance(milliseconds: 1_000)
        #expect(!cluster.raft(1).isLeader)
    }
}
