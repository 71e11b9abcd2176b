import Basics
import RaftCore
import Testing

/// Named scenarios about what is appended, committed, read and caught up.
@Suite struct ReplicationScenarioTests {
    // MARK: - Commit

    /// Figure 8, with an own-term entry held back so that the old one could be miscounted:
    /// 1. n1 leads term 1, its entry reaches n2 only, n1 crashes. 2. n5 leads term 2 by n3 and n4, its entry reaches
    /// nobody, n5 crashes. 3. n1 leads term 3 and brings its old entry to a majority. 4. n1 crashes; n5 may still win.
    @Test("§5.4.2, figure 8: an entry of an old term on a majority is not committed before one of the own term is")
    func figureEight() {
        var cluster = TestCluster(5)
        cluster.campaign(1)
        let old = cluster.raft(1).lastIndex.next
        for id in UInt64(3)...5 { cluster.cut(1, id) }
        cluster[1].isDiskStalled = true
        cluster.propose(1)
        cluster.settle()
        cluster.crash(1, persistsDone: 1)
        #expect(cluster[2].diskLog.lastIndex == old)
        cluster.heal()

        for id in UInt64(1)...4 { cluster.cut(5, id) }
        cluster.crash(2)
        cluster.heal()
        // Votes may travel, entries may not.
        cluster.dropped = { if case .appendEntries = $0.message { $0.from == NodeID(5) } else { false } }
        cluster.campaign(5)
        #expect(cluster.raft(5).isLeader)
        #expect(cluster[5].diskLog[old]?.term == cluster.raft(5).currentTerm)
        cluster.crash(5)

        cluster.restart(1)
        cluster.restart(2)
        cluster.dropped = { packet in
            guard case .appendEntries(let append) = packet.message else { return false }
            return append.entryTerm == append.term && append.entries != nil
        }
        cluster.crash(4)
        cluster.campaign(1, attempts: 200)
        cluster.advance(milliseconds: 500)
        #expect(cluster.raft(1).isLeader)
        // What the leader sends on the way to its no-op: n2 has the old entry already, n3 gets it.
        let term = cluster.raft(1).currentTerm
        for (id, previous) in [(UInt64(2), old), (3, old.previous)] {
            let append = AppendEntries(
                term: term, previous: EntryID(term: Term(1), index: previous), lastIndex: old, entryTerm: Term(1),
                leaderCommit: cluster.raft(1).commitIndex)
            cluster.forge(.appendEntries(append), from: 1, to: id, entries: id == 3 ? [cluster[1].log[old]!] : [])
            cluster.settle()
        }
        #expect(cluster.raft(1).peers.prefix(2).map(\.matchIndex) == [old, old])
        for id in UInt64(1)...3 { #expect(cluster[id].diskLog[old]?.term == Term(1), "old entry on a majority") }
        #expect(cluster.raft(1).commitIndex < old)

        for id in UInt64(1)...2 { cluster.crash(id) }
        cluster.dropped = { _ in false }
        cluster.restart(4)
        cluster.restart(5)
        cluster.campaign(5, attempts: 200)
        #expect(cluster.raft(5).isLeader)
        cluster.advance(milliseconds: 500)
        #expect(cluster[3].diskLog[old]?.term == Term(2), "it was not committed, so it may be overwritten")
    }

    @Test("thesis §6.4: a new leader's reads wait until its no-op is committed")
    func noopBeforeReads() {
        var cluster = TestCluster(3)
        cluster.campaign(1)
        cluster.propose(1, count: 4)
        cluster.settle()
        cluster.crash(1)
        cluster.dropped = { if case .appendEntriesResponse = $0.message { true } else { false } }
        cluster.campaign(2, attempts: 100)
        #expect(cluster.raft(2).isLeader)
        let token = cluster.read(2)
        cluster.advance(milliseconds: 300)
        #expect(cluster[2].reads.isEmpty)
        cluster.dropped = { _ in false }
        cluster.advance(milliseconds: 300)
        #expect(cluster[2].reads == [ReadGrant(token: token, readIndex: LogIndex(6))])
    }

    @Test("with its own disk stalled, a leader commits by the other replicas, and only by them")
    func leaderCountsAfterPersist() {
        var cluster = TestCluster(3)
        cluster.campaign(1)
        cluster[1].isDiskStalled = true
        cluster.propose(1)
        cluster.settle()
        #expect(cluster.raft(1).commitIndex == LogIndex(2))
        #expect(cluster[1].applied.count == 1, "committed, but not on this disk yet")
        #expect(cluster[2].applied.count == 2)

        cluster.isolate(3)
        cluster.propose(1)
        cluster.settle()
        #expect(cluster.raft(1).commitIndex == LogIndex(2), "one follower and a stalled leader are no majority")
        cluster[1].isDiskStalled = false
        cluster.settle()
        #expect(cluster.raft(1).commitIndex == LogIndex(3))
        #expect(cluster[1].applied.count == 3)
    }

    @Test("one node alone answers after its sync, and after a restart applies all that was committed")
    func singleNodeWaits() {
        var cluster = TestCluster(1)
        cluster.campaign(1)
        #expect(cluster.raft(1).isLeader)
        cluster[1].isDiskStalled = true
        cluster.propose(1, count: 9)
        cluster.settle()
        #expect(cluster.raft(1).commitIndex == LogIndex(1))
        cluster[1].isDiskStalled = false
        cluster.settle()
        #expect(cluster[1].applied.count == 10)
        cluster.crash(1)
        cluster.restart(1)
        #expect(cluster[1].applied.count == 5, "the state machine had flushed half of it")
        cluster.advance(milliseconds: 100)
        #expect(cluster[1].applied.count == 11)
    }

    @Test("a commit index that lags behind a lost message catches up by heartbeat")
    func laggingCommitRecovers() {
        var cluster = TestCluster(3)
        cluster.campaign(1)
        cluster.dropped = { packet in
            if case .heartbeat = packet.message { packet.to == NodeID(3) } else { false }
        }
        cluster.propose(1)
        cluster.settle()
        #expect(cluster.raft(2).commitIndex == LogIndex(2))
        #expect(cluster.raft(3).commitIndex == LogIndex(1))
        cluster.dropped = { _ in false }
        cluster.advance(milliseconds: 100)
        #expect(cluster.raft(3).commitIndex == LogIndex(2))
    }

    @Test("followers learn of a commit at once, without waiting for a heartbeat")
    func commitIsToldAtOnce() {
        var cluster = TestCluster(3)
        cluster.campaign(1)
        cluster.propose(1)
        cluster.settle()
        for id in UInt64(1)...3 { #expect(cluster[id].applied.count == 2) }
    }

    @Test("a follower commits no further than its own disk reaches")
    func followerCommitsWhatIsDurable() {
        var cluster = TestCluster(3)
        cluster.campaign(1)
        cluster[3].isDiskStalled = true
        cluster.propose(1)
        cluster.settle()
        cluster.propose(1)
        cluster.settle()
        #expect(cluster.raft(2).commitIndex == LogIndex(3))
        #expect(cluster.raft(3).commitIndex == LogIndex(1))
        cluster[3].isDiskStalled = false
        cluster.settle()
        #expect(cluster[3].applied.count == 3)
    }

    // MARK: - Append

    @Test("§5.3: an append against a committed entry is refused and reported, cuts nothing, and the node goes on")
    func conflictBelowCommitRefused() {
        var cluster = TestCluster(3)
        cluster.campaign(1)
        cluster.propose(1, count: 5)
        cluster.settle()
        let log = cluster[2].log
        let term = Term(3)
        // Entries in place of committed ones, and a predecessor that contradicts one.
        let forged = [
            AppendEntries(
                term: term, previous: EntryID(term: Term(1), index: LogIndex(3)), lastIndex: LogIndex(4),
                entryTerm: Term(2), leaderCommit: LogIndex(4)),
            AppendEntries(
                term: term, previous: EntryID(term: Term(2), index: LogIndex(5)), lastIndex: LogIndex(6),
                entryTerm: Term(2), leaderCommit: LogIndex(6)),
        ]
        for (count, append) in forged.enumerated() {
            let entry = Entry(term: Term(2), content: .command(999))
            cluster.forge(.appendEntries(append), from: 3, to: 2, entries: [entry])
            #expect(cluster.answers(from: 2, to: 3).isEmpty)
            #expect(cluster[2].conflicts == Array(repeating: NodeID(3), count: count + 1))
            #expect(cluster[2].log == log)
            #expect(cluster.raft(2).commitIndex == LogIndex(6))
        }
        cluster.advance(milliseconds: 5_000)
        let leader = cluster.leader!
        cluster.propose(leader)
        cluster.settle()
        #expect(cluster[2].applied.last == cluster[leader].applied.last)
    }

    @Test("§5.3: duplicated, reordered and shorter appends never cut a longer log that matches")
    func lateAppendDoesNotCut() {
        var cluster = TestCluster(3)
        cluster.campaign(1)
        var late: [Packet] = []
        for _ in 0..<5 {
            cluster.propose(1, count: 3)
            late += cluster.network.filter { $0.to == NodeID(2) }
            cluster.settle()
        }
        let log = cluster[2].log
        for packet in late.reversed() + late {
            cluster.deliver(packet)
            cluster.settle()
            #expect(cluster[2].log == log)
            #expect(cluster.raft(2).lastIndex == LogIndex(16))
        }
        #expect(cluster[2].diskLog == log)
        #expect(late.contains { $0.entries.count == 3 })
    }

    @Test("§5.3: a follower with entries of a deposed leader drops them and takes the new leader's, in few questions")
    func conflictingSuffixIsReplaced() {
        var cluster = TestCluster(3)
        cluster.campaign(1)
        // n1 writes much that nobody gets; n2 leads the others.
        cluster.isolate(1)
        cluster.propose(1, count: 500)
        cluster.settle()
        cluster.campaign(2, attempts: 100)
        cluster.advance(milliseconds: 3_000)
        let leader = cluster.nodes.filter { $0.id != NodeID(1) && $0.raft.isLeader }.first!.id.rawValue
        cluster.propose(leader, count: 300)
        cluster.settle()
        cluster.heal()
        cluster.trace = []
        cluster.advance(milliseconds: 500)
        #expect(cluster[1].log == cluster[leader].log)
        #expect(cluster[1].diskLog == cluster[leader].diskLog)
        #expect(cluster.trace.filter { $0.contains("not after") }.count <= 3)
    }

    @Test("a heartbeat's answer ends the wait of a probe whose answer was lost")
    func probeEndsByHeartbeat() {
        var cluster = TestCluster(3)
        cluster.dropped = { packet in
            if case .appendEntries = packet.message { packet.to == NodeID(3) } else { false }
        }
        cluster.campaign(1)
        cluster.propose(1, count: 2)
        cluster.settle()
        #expect(cluster.raft(1).peers.last?.state == .probe)
        cluster.dropped = { _ in false }
        cluster.settle()
        #expect(cluster[3].applied.isEmpty)
        cluster.advance(milliseconds: 200)
        #expect(cluster.raft(1).peers.last?.state == .replicate)
        #expect(cluster[3].applied.count == 3)
    }

    @Test("a full window with lost answers recovers, and the log of a leader that cannot commit stays bounded")
    func fullWindowRecovers() {
        var settings = RaftSettings()
        settings.inflightMessagesMax = 2
        settings.uncommittedEntriesMax = 10
        var cluster = TestCluster(3, settings: settings)
        cluster.campaign(1)
        cluster.dropped = { if case .appendEntriesResponse = $0.message { true } else { false } }
        var proposed = 0
        while cluster.raft(1).canPropose, proposed < 100 {
            cluster.propose(1)
            cluster.settle()
            proposed += 1
        }
        #expect(proposed == 10)
        #expect(cluster.raft(1).commitIndex == LogIndex(1))
        #expect(cluster[2].log.lastIndex == LogIndex(3), "two messages fill the window")
        cluster.dropped = { _ in false }
        cluster.advance(milliseconds: 300)
        #expect(cluster.raft(1).commitIndex == LogIndex(11))
        #expect(cluster[3].applied.count == 11)
        #expect(cluster.raft(1).canPropose)
    }

    @Test("lost appends are noticed when the next one does not fit, and sent again")
    func lostAppendIsResent() {
        var cluster = TestCluster(3)
        cluster.campaign(1)
        cluster.dropped = { $0.to == NodeID(3) && !$0.entries.isEmpty }
        cluster.propose(1, count: 3)
        cluster.settle()
        cluster.dropped = { _ in false }
        cluster.propose(1)
        cluster.settle()
        #expect(cluster[3].applied.count == 5)
    }

    @Test("an append names entries of one term only, and no more than the limit")
    func appendsAreSplit() {
        var settings = RaftSettings()
        settings.entriesPerAppendMax = 4
        var cluster = TestCluster(3, settings: settings)
        cluster.isolate(3)
        for id in [UInt64(1), 2, 1] {
            cluster.step(id == 1 ? 2 : 1, .transferRequested(to: NodeID(id)))
            cluster.settle()
            cluster.campaign(id, attempts: 60)
            cluster.propose(id, count: 6)
            cluster.settle()
        }
        cluster.trace = []
        cluster.heal()
        cluster.advance(milliseconds: 500)
        #expect(cluster[3].log == cluster[1].log)
        // Two terms or more than four entries in one would have stopped the cluster's own checks.
        #expect(cluster.trace.filter { $0.contains("-> 3: append") && $0.contains("entries") }.count >= 6)
    }

    // MARK: - Reads

    @Test("thesis §6.4: reads that arrive during a round share the next, and one round serves them all")
    func readsShareRounds() {
        var cluster = TestCluster(3)
        cluster.campaign(1)
        cluster.trace = []
        let tokens = (0..<5).map { _ in cluster.read(1) }
        #expect(cluster.trace.filter { $0.contains("round 1") }.count == 2)
        cluster.settle()
        #expect(cluster[1].reads == tokens.map { ReadGrant(token: $0, readIndex: LogIndex(1)) })
        #expect(cluster.trace.contains { $0.contains("round 2") })
        #expect(!cluster.trace.contains { $0.contains("round 3") })
    }

    @Test("a read that comes after a write was acknowledged sees its index, at the leader and at a follower")
    func readsSeeWrites() {
        var cluster = TestCluster(3)
        cluster.campaign(1)
        cluster.propose(1, count: 7)
        cluster.settle()
        let own = cluster.read(1)
        let forwarded = cluster.read(3)
        cluster.settle()
        #expect(cluster[1].reads == [ReadGrant(token: own, readIndex: LogIndex(8))])
        #expect(cluster[3].reads == [ReadGrant(token: forwarded, readIndex: LogIndex(8))])
    }

    @Test("thesis §6.4: a round that began under one leader is never answered by its quorum once it leads no more")
    func readRoundOfOldLeader() {
        var cluster = TestCluster(3)
        cluster.campaign(1)
        let token = cluster.read(1)
        let forwarded = cluster.read(3)
        // The questions arrive, the answers are late.
        for packet in cluster.takeNetwork() { cluster.deliver(packet) }
        let late = cluster.takeNetwork()
        #expect(late.contains { if case .heartbeatResponse = $0.message { true } else { false } })
        cluster.isolate(1)
        cluster.campaign(2, attempts: 100)
        cluster.advance(milliseconds: 3_000)
        cluster.propose(cluster.nodes.first { $0.raft.isLeader && $0.id != NodeID(1) }!.id.rawValue)
        cluster.settle()
        for packet in late { cluster.deliver(packet) }
        cluster.heal()
        cluster.advance(milliseconds: 1_000)
        #expect(cluster[1].reads == [ReadGrant(token: token, readIndex: nil)])
        #expect(cluster[3].reads == [ReadGrant(token: forwarded, readIndex: nil)])
    }

    @Test("no read is left: without a leader, with a lost question, with a lost link, it is answered nil")
    func readsAreAlwaysAnswered() {
        var cluster = TestCluster(3)
        let early = cluster.read(2)
        #expect(cluster[2].reads == [ReadGrant(token: early, readIndex: nil)])
        cluster.campaign(1)
        cluster.cut(2, 1)
        let lost = cluster.read(2)
        cluster.advance(milliseconds: 999)
        #expect(cluster[2].reads.count == 1)
        cluster.advance(milliseconds: 1)
        #expect(cluster[2].reads.last == ReadGrant(token: lost, readIndex: nil))
        let cutOff = cluster.read(2)
        cluster.step(2, .linkLost(NodeID(1)))
        #expect(cluster[2].reads.last == ReadGrant(token: cutOff, readIndex: nil))
        let refused = cluster.read(2)
        #expect(cluster[2].reads.last == ReadGrant(token: refused, readIndex: nil))
    }

    @Test("a leader that cannot reach a majority answers no read")
    func deafLeaderServesNoRead() {
        var cluster = TestCluster(3)
        cluster.campaign(1)
        cluster.isolate(1)
        let token = cluster.read(1)
        cluster.advance(milliseconds: 900)
        #expect(cluster[1].reads.isEmpty)
        cluster.advance(milliseconds: 200)
        #expect(cluster[1].reads == [ReadGrant(token: token, readIndex: nil)])
    }

    // MARK: - Snapshots

    @Test("a follower behind the compacted log gets a snapshot, then the log without a gap")
    func slowFollowerGetsSnapshot() {
        var cluster = TestCluster(3)
        cluster.campaign(1)
        cluster.isolate(3)
        cluster.propose(1, count: 20)
        cluster.settle()
        cluster.compact(1, through: 15)
        cluster.heal()
        cluster.advance(milliseconds: 300)
        #expect(cluster.raft(1).peers.last?.state == .snapshot)
        #expect(cluster[1].snapshotsWanted > 0)
        cluster.step(1, .snapshotAvailable(cluster.snapshotPoint(1)))
        cluster.settle()
        #expect(cluster[3].fetch?.snapshot.last == EntryID(term: Term(1), index: LogIndex(21)))
        // Writing goes on meanwhile, and so does the follower's answering.
        cluster.propose(1, count: 5)
        cluster.advance(milliseconds: 1_500)
        #expect(cluster.trace.contains { $0 == "3 -> 1: snapshot in progress term 1" })
        cluster.installSnapshot(3)
        cluster.settle()
        #expect(cluster.raft(1).peers.last?.state == .replicate)
        #expect(cluster[3].applied == cluster[1].applied)
        #expect(cluster.raft(3).firstIndex == LogIndex(22))
        #expect(cluster.leader == 1)
    }

    @Test("an offer is repeated with each heartbeat until it is answered, and fetched once")
    func offerIsRepeated() {
        var cluster = TestCluster(3)
        cluster.campaign(1)
        cluster.isolate(3)
        cluster.propose(1, count: 20)
        cluster.settle()
        cluster.compact(1, through: 15)
        cluster.step(1, .snapshotAvailable(cluster.snapshotPoint(1)))
        cluster.heal()
        cluster.dropped = { if case .installSnapshot = $0.message { true } else { false } }
        cluster.advance(milliseconds: 1_000)
        #expect(cluster.trace.filter { $0.contains("snapshot term") }.count >= 7)
        cluster.dropped = { _ in false }
        cluster.advance(milliseconds: 100)
        #expect(cluster[3].fetch != nil)
        cluster[3].fetch = nil
        cluster.trace = []
        cluster.advance(milliseconds: 900)
        #expect(!cluster.trace.contains { $0.contains("snapshot term") })
        cluster.advance(milliseconds: 2_000)
        #expect(cluster.trace.contains { $0.contains("snapshot term") })
        #expect(cluster[3].fetch == nil, "the same offer is not fetched twice")
    }

    @Test("a state taken from a peer counts as applied and committed; the log goes on after it and may be cut through it")
    func replacedStateIsApplied() {
        var cluster = TestCluster(3)
        cluster.campaign(1)
        cluster.propose(1, count: 20)
        cluster.settle()
        let last = EntryID(term: Term(1), index: cluster.raft(3).lastIndex)
        // It has the entries on disk, and has not heard that they are committed.
        let restored = RestoredState(
            hardState: HardState(currentTerm: Term(1), votedFor: nil), log: cluster[3].log.termRuns,
            lastApplied: LogIndex(1), configurations: [cluster[3].configuration(at: LogIndex(1))])
        var raft = Raft(id: NodeID(3), settings: RaftSettings(), restored: restored, seed: 1, now: .zero)
        raft.step(
            .stateReplaced(SnapshotPoint(last: last, configuration: cluster[3].configuration(at: last.index))), now: .zero)
        #expect(raft.lastApplied == last.index)
        #expect(raft.commitIndex == last.index)
        while let ready = raft.takeReady() { #expect(ready.apply == nil) }
        raft.step(.compacted(through: last.index), now: .zero)
        #expect(raft.firstIndex == last.index.next)
    }

    @Test("who has started without a state, with a log that begins behind the last change of members, learns of them with the state")
    func replacedStateTellsMembers() {
        var log = TermRuns(after: EntryID(term: Term(3), index: LogIndex(90)))
        log.append(through: LogIndex(99), term: Term(3))
        let founders = Configuration(incoming: [NodeID(1), NodeID(2), NodeID(3)])
        var raft = Raft(
            id: NodeID(1), settings: RaftSettings(),
            restored: RestoredState(
                hardState: HardState(currentTerm: Term(3), votedFor: nil), log: log, lastApplied: LogIndex(90),
                configurations: [IndexedConfiguration(index: .zero, configuration: founders)]),
            seed: 1, now: .zero)
        let members = Configuration(incoming: [NodeID(1), NodeID(2), NodeID(3), NodeID(5)])
        let point = SnapshotPoint(
            last: EntryID(term: Term(3), index: LogIndex(95)),
            configuration: IndexedConfiguration(index: LogIndex(79), configuration: members))
        raft.step(.stateReplaced(point), now: .zero)
        #expect(raft.configuration == members)
        #expect(raft.configurationIndex == LogIndex(79))
        // An older one changes nothing.
        let older = SnapshotPoint(
            last: EntryID(term: Term(3), index: LogIndex(96)),
            configuration: IndexedConfiguration(index: LogIndex(56), configuration: founders))
        raft.step(.stateReplaced(older), now: .zero)
        #expect(raft.configuration == members)
    }

    @Test("a snapshot that cannot be fetched is offered again")
    func failedSnapshotIsOfferedAgain() {
        var cluster = TestCluster(3)
        cluster.campaign(1)
        cluster.isolate(3)
        cluster.propose(1, count: 20)
        cluster.settle()
        cluster.compact(1, through: 15)
        cluster.step(1, .snapshotAvailable(cluster.snapshotPoint(1)))
        cluster.heal()
        cluster.advance(milliseconds: 300)
        let first = cluster[3].fetch!.snapshot
        cluster[3].fetch = nil
        cluster.step(3, .snapshotFailed(first))
        cluster.advance(milliseconds: 200)
        #expect(cluster[3].fetch != nil)
        cluster.installSnapshot(3)
        cluster.settle()
        #expect(cluster[3].applied == cluster[1].applied)
    }

    @Test("a snapshot that is withdrawn is not offered any more; the next one is, also to whoever was taking the old one")
    func withdrawnSnapshot() {
        var cluster = TestCluster(3)
        cluster.campaign(1)
        cluster.isolate(3)
        cluster.propose(1, count: 20)
        cluster.settle()
        cluster.compact(1, through: 15)
        cluster.step(1, .snapshotAvailable(cluster.snapshotPoint(1)))
        cluster.heal()
        cluster.advance(milliseconds: 300)
        #expect(cluster[3].fetch != nil)
        cluster[1].snapshotsWanted = 0
        cluster.step(1, .snapshotWithdrawn)
        cluster.trace = []
        cluster.advance(milliseconds: 2_000)
        #expect(!cluster.trace.contains { $0.contains("snapshot term") })
        #expect(cluster[1].snapshotsWanted > 0)
        cluster.propose(1)
        cluster.settle()
        let next = cluster.snapshotPoint(1)
        cluster.step(1, .snapshotAvailable(next))
        cluster.advance(milliseconds: 300)
        #expect(cluster[3].fetch?.snapshot == next)
        cluster.installSnapshot(3)
        cluster.settle()
        #expect(cluster[3].applied == cluster[1].applied)
    }

    @Test("a node that waits for a snapshot falls back to follower, votes, and takes the new leader's offer")
    func snapshotWaiterFallsBack() {
        var cluster = TestCluster(3)
        cluster.campaign(1)
        cluster.isolate(3)
        cluster.propose(1, count: 20)
        cluster.settle()
        for id in UInt64(1)...2 {
            cluster.compact(id, through: 15)
            cluster.step(id, .snapshotAvailable(cluster.snapshotPoint(id)))
        }
        // Cut off, it campaigns; the offer makes it a follower again.
        cluster.advance(milliseconds: 5_000)
        #expect(cluster.raft(3).status.role == .candidate)
        cluster.heal()
        cluster.advance(milliseconds: 300)
        #expect(cluster.raft(3).status.role == .follower)
        #expect(cluster[3].fetch?.from == NodeID(1))
        // The leader dies. The waiter does not campaign, its log is about to be replaced; but it votes.
        cluster.crash(1)
        cluster.trace = []
        cluster.advance(milliseconds: 5_000)
        #expect(!cluster.trace.contains { $0.hasPrefix("3 -> 2: preVote term") })
        #expect(cluster.leader == 2)
        #expect(cluster[3].fetch?.from == NodeID(2))
        cluster.installSnapshot(3)
        cluster.settle()
        #expect(cluster[3].applied == cluster[2].applied)
    }
}
