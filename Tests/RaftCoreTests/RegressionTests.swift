import Basics
import RaftCore
import Testing

/// A node that comes back with less than it had acknowledged.
@Suite struct RegressionTests {
    /// n1 leads; n2 and n3 have acknowledged entries that the copy of n2's disk does not hold, which then comes back.
    private func clusterWithOldCopy() -> (cluster: TestCluster, known: LogIndex) {
        var cluster = TestCluster(3)
        cluster.campaign(1)
        cluster.propose(1, count: 3)
        cluster.settle()
        cluster.advance(milliseconds: 200)
        let copy = cluster[2]
        cluster.propose(1, count: 20)
        cluster.settle()
        cluster.advance(milliseconds: 200)
        let known = cluster.raft(2).lastIndex
        cluster.crash(2)
        cluster.step(1, .linkLost(NodeID(2)))
        cluster[2].diskLog = copy.diskLog
        cluster[2].diskHardState = copy.diskHardState
        cluster[2].applied = copy.applied
        cluster.restart(2)
        return (cluster, known)
    }

    @Test("a leader that is told how short a follower's log is, or finds out, sends it everything again", arguments: [true, false])
    func catchesUp(isTold: Bool) {
        var (cluster, known) = clusterWithOldCopy()
        #expect(cluster.raft(2).lastIndex < known)
        if isTold { cluster.step(1, .peerSaysLast(NodeID(2), cluster.raft(2).last)) }
        cluster.step(1, .linkRestored(NodeID(2)))
        cluster.advance(milliseconds: 800)
        #expect(cluster.raft(1).isLeader)
        #expect(cluster.raft(2).durableIndex == cluster.raft(1).lastIndex)
        #expect(cluster.raft(2).commitIndex == cluster.raft(1).commitIndex)
    }

    @Test("what a follower had acknowledged and has lost before it was committed is not counted")
    func lostBeforeCommit() {
        var cluster = TestCluster(5)
        cluster.campaign(1)
        cluster.advance(milliseconds: 200)
        let copy = cluster[2]
        let before = cluster.raft(1).lastIndex
        for id: UInt64 in 3...5 { cluster.cut(1, id) }
        cluster.propose(1)
        cluster.settle()
        #expect(cluster.raft(1).commitIndex == before)
        #expect(cluster.raft(1).peers.first?.matchIndex == before.next)
        cluster.crash(2)
        cluster[2].diskLog = copy.diskLog
        cluster[2].diskHardState = copy.diskHardState
        cluster[2].applied = copy.applied
        cluster.restart(2)
        cluster.cut(1, 2)
        cluster.step(1, .peerSaysLast(NodeID(2), cluster.raft(2).last))
        // A third disk would be a majority if the second one counted; the cluster holds each commit against the disks.
        cluster.heal()
        for id: UInt64 in [2, 4, 5] { cluster.cut(1, id) }
        cluster.advance(milliseconds: 200)
        #expect(cluster.raft(3).durableIndex == before.next)
        #expect(cluster.raft(1).commitIndex == before)
        cluster.heal()
        cluster.advance(milliseconds: 400)
        #expect(cluster.raft(1).commitIndex >= before.next)
    }

    @Test("a heartbeat commits only what this process has accepted in this term; an old copy may hold other entries there")
    func oldEntriesAreNotCommitted() {
        var log = TermRuns()
        log.append(through: LogIndex(9), term: Term(2))
        let voters = Configuration(incoming: [NodeID(1), NodeID(2), NodeID(3)])
        var raft = Raft(
            id: NodeID(2), settings: RaftSettings(),
            restored: RestoredState(
                hardState: HardState(currentTerm: Term(3), votedFor: nil), log: log, lastApplied: .zero,
                configurations: [IndexedConfiguration(index: .zero, configuration: voters)]),
            seed: 1, now: .zero)
        let heartbeat = Message.heartbeat(Heartbeat(term: Term(3), commitIndex: LogIndex(9), readRound: 0))
        raft.step(.received(heartbeat, from: NodeID(1)), now: .zero)
        #expect(raft.commitIndex == .zero)
        let agreed = AppendEntries(
            term: Term(3), previous: EntryID(term: Term(2), index: LogIndex(5)), lastIndex: LogIndex(5), entryTerm: Term(2),
            leaderCommit: LogIndex(3))
        raft.step(.received(.appendEntries(agreed), from: NodeID(1)), now: .zero)
        #expect(raft.commitIndex == LogIndex(3))
        raft.step(.received(heartbeat, from: NodeID(1)), now: .zero)
        #expect(raft.commitIndex == LogIndex(5))
        // Whoever leads next may have other entries from there on.
        let next = Message.heartbeat(Heartbeat(term: Term(4), commitIndex: LogIndex(9), readRound: 0))
        raft.step(.received(next, from: NodeID(3)), now: .zero)
        #expect(raft.commitIndex == LogIndex(5))
    }

    @Test("a log of the same length that ends in an older term has lost what was acknowledged")
    func olderTermOfSameLength() {
        let known = EntryID(term: Term(3), index: LogIndex(9))
        #expect(EntryID(term: Term(2), index: LogIndex(9)).endsBefore(known))
        #expect(EntryID(term: Term(3), index: LogIndex(8)).endsBefore(known))
        #expect(!EntryID(term: Term(4), index: LogIndex(9)).endsBefore(known))
        #expect(!EntryID(term: .zero, index: LogIndex(9)).endsBefore(known))
        // Where the term is not known, the index alone tells.
        #expect(!EntryID(term: Term(2), index: LogIndex(9)).endsBefore(EntryID(term: .zero, index: LogIndex(9))))
    }

    @Test("a hello that was overtaken by acknowledgements changes nothing")
    func overtakenHello() {
        var cluster = TestCluster(3)
        cluster.campaign(1)
        cluster.propose(1, count: 5)
        cluster.settle()
        let before = cluster.raft(1).peers
        cluster.step(1, .peerSaysLast(NodeID(2), cluster.raft(2).last))
        #expect(cluster.raft(1).peers == before)
    }

    @Test("a node that may not vote gives no vote and asks for none; later it repeats none but the leader's")
    func doesNotVote() {
        var (cluster, known) = clusterWithOldCopy()
        cluster.step(2, .votingAllowed(false))
        cluster.crash(1)
        _ = cluster.takeNetwork()
        let request = VoteRequest(term: Term(9), lastEntry: EntryID(term: Term(1), index: LogIndex(4)))
        cluster.forge(.requestVote(request), from: 3, to: 2)
        cluster.forge(.preVote(request), from: 3, to: 2)
        #expect(cluster.answers(from: 2, to: 3).isEmpty)
        cluster.campaign(2, attempts: 5)
        #expect(!cluster.raft(2).isLeader && cluster.takeNetwork().isEmpty)

        // n1 comes back, is elected by n3, and brings n2 what it lacks.
        cluster.restart(1)
        #expect(cluster.elect() != 2)
        let leader = cluster.leader ?? 0
        cluster.step(leader, .peerSaysLast(NodeID(2), cluster.raft(2).last))
        cluster.advance(milliseconds: 1_000)
        #expect(cluster.raft(2).durableIndex >= known)
        cluster.step(2, .votingAllowed(true))
        cluster.settle()
        let term = cluster.raft(2).currentTerm
        let other: UInt64 = leader == 1 ? 3 : 1
        let last = cluster.raft(2).lastIndex
        let rival = VoteRequest(term: term, lastEntry: EntryID(term: term, index: last + 100))
        cluster.forge(.requestVote(rival), from: other, to: 2)
        let refusal = Message.requestVoteResponse(VoteResponse(term: term, isGranted: false))
        #expect(cluster.answers(from: 2, to: other) == [refusal])
    }

    @Test("a leader that learns that it has regressed stops leading")
    func leaderStops() {
        var cluster = TestCluster(3)
        cluster.campaign(1)
        cluster.step(1, .votingAllowed(false))
        #expect(!cluster.raft(1).isLeader)
    }

    @Test("a node that lacks what it promised votes as though it had it, and does not campaign before it has")
    func boundByPromise() {
        var cluster = TestCluster(3)
        cluster.campaign(1)
        cluster.propose(1, count: 20)
        cluster.settle()
        cluster.advance(milliseconds: 200)
        let promised = EntryID(term: cluster.raft(2).currentTerm, index: cluster.raft(2).lastIndex)
        var short = TermRuns()
        short.append(through: LogIndex(3), term: promised.term)
        var restored = RestoredState(
            hardState: cluster[2].diskHardState, log: short, lastApplied: .zero,
            configurations: [cluster[2].baseConfiguration])
        restored.promised = promised
        var raft = Raft(id: NodeID(2), settings: RaftSettings(), restored: restored, seed: 1, now: .zero)
        #expect(!raft.holdsPromised)
        raft.step(.deadlineReached, now: .zero + .seconds(60))
        #expect(raft.status.role != .candidate && raft.leader == nil)
        func isGranted(_ last: EntryID, term: UInt64) -> Bool {
            raft.step(
                .received(.requestVote(VoteRequest(term: Term(term), lastEntry: last)), from: NodeID(3)),
                now: .zero + .seconds(61))
            let granted = Message.requestVoteResponse(VoteResponse(term: Term(term), isGranted: true))
            var messages: [Message] = []
            while let ready = raft.takeReady() {
                messages += (ready.sendNow + (ready.persist?.thenSend ?? [])).map(\.message)
            }
            return messages.contains(granted)
        }
        #expect(!isGranted(EntryID(term: promised.term, index: promised.index.previous), term: 8))
        #expect(isGranted(promised, term: 9))
    }
}
