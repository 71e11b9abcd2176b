import Basics
import RaftCore
import Testing

/// Learners and joint consensus (Raft §6, thesis §4).
@Suite struct MembershipTests {
    private func configuration(
        _ incoming: [UInt64], from outgoing: [UInt64] = [], learners: [UInt64] = []
    ) -> Configuration {
        Configuration(
            incoming: incoming.map { NodeID($0) }, outgoing: outgoing.map { NodeID($0) },
            learners: learners.map { NodeID($0) })
    }

    @Test("§6: a change of voters passes through a joint configuration that the core leaves by itself")
    func jointConsensusCompletes() {
        var cluster = TestCluster(3, strangers: [4])
        cluster.campaign(1)
        cluster.change(1, to: [1, 2, 4])
        #expect(cluster.raft(1).configuration == configuration([1, 2, 4]))
        #expect(cluster.raft(4).configuration == configuration([1, 2, 4]))
        #expect(cluster[4].applied == cluster[1].applied)
        let contents = cluster[1].applied.suffix(2).map(\.content)
        #expect(
            contents == [
                .configuration(configuration([1, 2, 4], from: [1, 2, 3])), .configuration(configuration([1, 2, 4])),
            ])
    }

    @Test("§6: in a joint configuration each half needs its own majority, for entries and for votes")
    func bothHalvesDecide() {
        var cluster = TestCluster(3, strangers: [4, 5])
        cluster.campaign(1)
        // The new half's majority is cut off, so nothing commits, though the old half agrees.
        for id in UInt64(1)...3 {
            for new in UInt64(4)...5 {
                cluster.cut(id, new)
                cluster.cut(new, id)
            }
        }
        cluster.change(1, to: [3, 4, 5])
        let joint = cluster.raft(1).lastIndex
        #expect(cluster.raft(3).configuration.isJoint)
        #expect(cluster.raft(1).commitIndex < joint)
        // Nor can the old half alone elect anybody.
        cluster.crash(1)
        cluster.campaign(2, attempts: 100)
        #expect(cluster.leader == nil)
        cluster.heal()
        cluster.restart(1)
        #expect(cluster.elect() != nil)
        cluster.advance(milliseconds: 2_000)
        let leader = cluster.leader!
        #expect(cluster.raft(leader).commitIndex >= joint)
    }

    @Test("reads that wait for a member's answer are answered when that member is one no more")
    func readRoundOfLeavingMember() {
        var cluster = TestCluster(2)
        cluster.campaign(1)
        // What the other has on its disk arrives; what confirms the round does not.
        cluster.dropped = { packet in if case .heartbeatResponse = packet.message { true } else { false } }
        let token = cluster.read(1)
        cluster.settle()
        #expect(cluster[1].reads.isEmpty)
        cluster.change(1, to: [1])
        #expect(cluster.raft(1).configuration == configuration([1]))
        #expect(cluster[1].reads.map(\.token) == [token])
        let later = cluster.read(1)
        cluster.settle()
        #expect(cluster[1].reads.map(\.token) == [token, later])
    }

    @Test("a leader that must not lead leaves also when the member that was to follow it is removed meanwhile")
    func successorIsRemoved() {
        var cluster = TestCluster(3)
        cluster.campaign(1)
        cluster.dropped = { packet in
            if case .timeoutNow = packet.message { packet.to == NodeID(2) } else { false }
        }
        cluster.step(1, .proposedConfiguration(configuration([1, 3], from: [1, 2, 3])))
        cluster.step(1, .campaigningAllowed(false))
        #expect(cluster.raft(1).isTransferring)
        cluster.settle()
        #expect(cluster.raft(1).configuration == configuration([1, 3]) || cluster.leader == 3)
        cluster.advance(milliseconds: 5_000)
        #expect(cluster.leader == 3)
    }

    @Test("§6: a leader that dies inside a change is followed by one that finishes it")
    func nextLeaderLeavesJoint() {
        var cluster = TestCluster(3, strangers: [4])
        cluster.campaign(1)
        cluster.dropped = { if case .appendEntriesResponse = $0.message { true } else { false } }
        cluster.change(1, to: [2, 3, 4])
        cluster.advance(milliseconds: 300)
        #expect(cluster.raft(1).configuration.isJoint)
        cluster.crash(1)
        cluster.dropped = { _ in false }
        cluster.advance(milliseconds: 5_000)
        let leader = cluster.leader!
        #expect(cluster.raft(leader).configuration == configuration([2, 3, 4]))
        #expect(cluster.raft(leader).commitIndex == cluster.raft(leader).lastIndex)
    }

    @Test("§6: a leader that removes itself does not count itself, completes the removal and steps down")
    func removedLeaderFinishes() {
        var cluster = TestCluster(3)
        cluster.campaign(1)
        cluster.isolate(3)
        cluster.step(
            1, .proposedConfiguration(configuration([2, 3], from: [1, 2, 3])))
        cluster.settle()
        let joint = cluster.raft(1).lastIndex
        #expect(cluster.raft(1).commitIndex < joint, "n1 and n2 hold it, but n1 is not one of the new voters")
        cluster.heal()
        cluster.advance(milliseconds: 300)
        #expect(!cluster.raft(1).isLeader)
        #expect(cluster.raft(1).commitIndex > joint)
        let leader = cluster.leader
        #expect(leader == 2 || leader == 3)
        #expect(cluster.raft(leader!).configuration == configuration([2, 3]))
        cluster.propose(leader!)
        cluster.settle()
        #expect(cluster[2].applied == cluster[3].applied)
        // It neither campaigns nor leads any more.
        cluster.trace = []
        cluster.advance(milliseconds: 20_000)
        #expect(!cluster.trace.contains { $0.hasPrefix("1 -> ") })
    }

    @Test("thesis §4.2.2: a voter whose removal is not committed may still have to lead, and finishes it")
    func removedVoterMayHaveToLead() {
        var cluster = TestCluster(2)
        cluster.campaign(1)
        // The joint configuration is committed; the one behind it, which removes n1, reaches n1's disk only.
        cluster.dropped = { packet in
            packet.entries.contains {
                if case .configuration(let configuration) = $0.content { !configuration.isJoint } else { false }
            }
        }
        cluster.step(1, .proposedConfiguration(configuration([2], from: [1, 2])))
        cluster.settle()
        #expect(cluster.raft(1).configuration == configuration([2]))
        cluster.crash(1)
        cluster.dropped = { _ in false }
        cluster.restart(1)
        cluster.advance(milliseconds: 10_000)
        #expect(cluster.leader == 2)
        #expect(cluster.raft(2).configuration == configuration([2]))
        #expect(cluster.raft(1).commitIndex >= LogIndex(3))
    }

    @Test("no change before an entry of the leader's own term is committed, and one at a time")
    func oneChangeAtATime() {
        var cluster = TestCluster(3, strangers: [4])
        cluster.dropped = { if case .appendEntriesResponse = $0.message { true } else { false } }
        cluster.campaign(1)
        #expect(cluster.raft(1).canPropose)
        #expect(!cluster.raft(1).canProposeConfiguration)
        cluster.dropped = { _ in false }
        cluster.advance(milliseconds: 200)
        #expect(cluster.raft(1).canProposeConfiguration)
        cluster.isolate(1)
        cluster.step(1, .proposedConfiguration(configuration([1, 2, 3], learners: [4])))
        #expect(!cluster.raft(1).canProposeConfiguration)
        #expect(cluster.raft(1).canPropose)
        cluster.heal()
        cluster.advance(milliseconds: 200)
        #expect(cluster.raft(1).canProposeConfiguration)
        #expect(cluster[4].applied == cluster[1].applied)
    }

    @Test("§6: a configuration that is cut from the log is in force no more")
    func truncatedConfigurationIsForgotten() {
        var cluster = TestCluster(3, strangers: [4])
        cluster.campaign(1)
        cluster.isolate(1)
        cluster.step(1, .proposedConfiguration(configuration([1, 4], from: [1, 2, 3])))
        cluster.settle()
        #expect(cluster.raft(1).configuration == configuration([1, 4], from: [1, 2, 3]))
        cluster.advance(milliseconds: 5_000)
        cluster.heal()
        cluster.advance(milliseconds: 3_000)
        #expect(cluster.raft(1).configuration == configuration([1, 2, 3]))
        #expect(cluster[1].log == cluster[2].log)
    }

    @Test("thesis §4.2.1: a learner gets every entry and counts for nothing")
    func learnersDoNotCount() {
        var cluster = TestCluster(3, learners: [4, 5, 6])
        cluster.campaign(1)
        cluster.propose(1, count: 2)
        cluster.settle()
        #expect(cluster[5].applied.count == 3)
        #expect(cluster.raft(5).status.role == .learner)
        cluster.crash(2)
        cluster.crash(3)
        cluster.propose(1)
        cluster.settle()
        #expect(cluster.raft(1).commitIndex == LogIndex(3))
        cluster.advance(milliseconds: 1_100)
        #expect(!cluster.raft(1).isLeader, "three learners are no quorum to be heard by")
        let token = cluster.read(5)
        cluster.advance(milliseconds: 3_000)
        #expect(cluster[5].reads.last?.token == token)
        #expect(cluster[5].reads.last?.readIndex == nil)
    }

    @Test("a learner's reads are answered through the leader")
    func learnersRead() {
        var cluster = TestCluster(3, learners: [4])
        cluster.campaign(1)
        let token = cluster.read(4)
        cluster.settle()
        #expect(cluster[4].reads == [ReadGrant(token: token, readIndex: LogIndex(1))])
    }

    @Test("§7: after compaction and restart, membership is the snapshot's plus the log's")
    func configurationFromSnapshot() {
        var cluster = TestCluster(3, strangers: [4, 5])
        cluster.campaign(1)
        cluster.change(1, to: [1, 2, 3, 4])
        let changed = cluster.raft(1).lastIndex.rawValue
        cluster.propose(1, count: 10)
        cluster.settle()
        cluster.compact(1, through: changed + 5)
        #expect(cluster.raft(1).firstIndex > LogIndex(changed))

        // From the compacted part alone.
        cluster.crash(1)
        cluster.restart(1)
        #expect(cluster.raft(1).configuration == configuration([1, 2, 3, 4]))

        // From the log behind it.
        cluster.advance(milliseconds: 3_000)
        let leader = cluster.leader!
        cluster.step(leader, .proposedConfiguration(configuration([1, 2, 3, 4], learners: [5])))
        cluster.settle()
        cluster.crash(1)
        cluster.restart(1)
        #expect(cluster.raft(1).configuration == configuration([1, 2, 3, 4], learners: [5]))

        // And from a snapshot that was installed.
        cluster.advance(milliseconds: 3_000)
        cluster.isolate(5)
        let sender = cluster.leader!
        cluster.propose(sender, count: 10)
        cluster.settle()
        let applied = UInt64(cluster[sender].applied.count)
        cluster.compact(sender, through: applied)
        cluster.step(sender, .snapshotAvailable(cluster.snapshotPoint(sender)))
        cluster.heal()
        cluster.advance(milliseconds: 2_000)
        if cluster[5].fetch != nil { cluster.installSnapshot(5) }
        cluster.settle()
        #expect(cluster[5].applied.count >= Int(applied))
        #expect(cluster.raft(5).configuration == configuration([1, 2, 3, 4], learners: [5]))
        cluster.crash(5)
        cluster.restart(5)
        #expect(cluster.raft(5).configuration == configuration([1, 2, 3, 4], learners: [5]))
    }

    @Test("a cluster of one grows to three and shrinks back without losing an entry")
    func growAndShrink() {
        var cluster = TestCluster(1, strangers: [2, 3])
        cluster.campaign(1)
        cluster.propose(1, count: 5)
        cluster.settle()
        cluster.step(1, .proposedConfiguration(configuration([1], learners: [2, 3])))
        cluster.settle()
        #expect(cluster[3].applied == cluster[1].applied)
        cluster.change(1, to: [1, 2, 3])
        cluster.propose(1, count: 5)
        cluster.settle()
        cluster.step(1, .transferRequested(to: NodeID(3)))
        cluster.settle()
        #expect(cluster.leader == 3)
        cluster.change(3, to: [3])
        cluster.propose(3, count: 5)
        cluster.settle()
        #expect(cluster.raft(3).configuration == configuration([3]))
        #expect(cluster[3].applied.filter { if case .command = $0.content { true } else { false } }.count == 15)
    }

    @Test("a node of no cluster neither asks nor is in the way, until an append tells it where it belongs")
    func strangerWaits() {
        var cluster = TestCluster(3, strangers: [9])
        cluster.campaign(1)
        cluster.advance(milliseconds: 20_000)
        #expect(!cluster.trace.contains { $0.hasPrefix("9 -> ") })
        #expect(cluster.raft(9).currentTerm == .zero)
        cluster.step(1, .proposedConfiguration(configuration([1, 2, 3], learners: [9])))
        cluster.settle()
        #expect(cluster.raft(9).status.role == .learner)
        #expect(cluster[9].applied == cluster[1].applied)
    }
}
