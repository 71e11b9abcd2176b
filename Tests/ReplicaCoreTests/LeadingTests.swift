import Basics
import MetadataModel
@testable import RaftCore
@testable import ReplicaCore
import Testing
import Wire

/// One node of three that leads; what the others say is said by the test.
private struct LeaderRig: ~Copyable {
    private static let members = (1...3).map { Member(id: NodeID($0), name: "n\($0)", peerAddress: "p:\($0)") }
    var rig = Rig(Membership(members: members, incoming: members.map(\.id)))

    init() {
        hear { replica in
            for peer in [NodeID(2), NodeID(3)] { replica.peerUp(peer) }
        }
        for _ in 0..<100 where !rig.replica.raft.isLeader {
            rig.wait(.milliseconds(50))
            let term = rig.replica.raft.currentTerm
            receive(.preVoteResponse(VoteResponse(term: term.next, isGranted: true)), from: 2)
            let asked = rig.replica.raft.currentTerm
            if asked > term || asked > .zero {
                receive(.requestVoteResponse(VoteResponse(term: asked, isGranted: true)), from: 2)
            }
        }
        let isLeader = rig.replica.raft.isLeader
        #expect(isLeader)
    }

    mutating func hear(_ body: (inout Replica) -> Void) { rig.turn { replica, _ in body(&replica) } }

    mutating func receive(_ message: Message, from peer: UInt64) {
        let now = rig.now
        hear { $0.raft.step(.received(message, from: NodeID(peer)), now: now) }
    }

    mutating func acknowledge(from peer: UInt64) {
        let (term, last) = (rig.replica.raft.currentTerm, rig.replica.raft.lastIndex)
        receive(
            .appendEntriesResponse(AppendEntriesResponse(term: term, outcome: .accepted(matchIndex: last))), from: peer)
    }

    /// Time passes in which both others are heard.
    mutating func live(_ interval: Interval) {
        let end = rig.now + interval
        while rig.now < end {
            rig.wait(.milliseconds(50))
            for peer: UInt64 in 2...3 {
                let alive = HeartbeatResponse(term: rig.replica.raft.currentTerm, readRound: 0)
                receive(.heartbeatResponse(alive), from: peer)
            }
        }
    }

    mutating func report(_ state: NodeState, of peer: UInt64) {
        hear { replica in
            let report = MemberReport(
                clientAddress: "c:\(peer)", softwareVersion: "t", featureLevel: FeatureLevel.known, lastApplied: .zero,
                state: state, diskFree: 1 << 30)
            replica.noteReport(report, of: NodeID(peer))
        }
    }
}

@Suite("What a leader does by itself")
struct LeadingTests {
    @Test("an entry that the core logs when its timer runs out comes before the slab that is open in that turn")
    func entryOfTimerBeforeOpenSlab() {
        var leader = LeaderRig()
        leader.acknowledge(from: 2)
        // The third lags and nothing is written: the leader tries its disk before long, with a slab open each time.
        for _ in 0..<200 {
            leader.rig.now = leader.rig.now + .milliseconds(50)
            let now = leader.rig.now
            leader.hear { replica in
                for peer: UInt64 in 2...3 {
                    let alive = HeartbeatResponse(term: replica.raft.currentTerm, readRound: 0)
                    replica.raft.step(.received(.heartbeatResponse(alive), from: NodeID(peer)), now: now)
                }
                let isDue = now >= replica.raft.nextDeadline
                let isQuiet = now - replica.raft.persistIssuedAt >= replica.settings.raft.diskStallTimeout
                if isDue, isQuiet { replica.log(.tick) }
            }
        }
        let isLeader = leader.rig.replica.raft.isLeader
        #expect(isLeader)
    }

    @Test("a leader short of space hands over to a voter that has space and the log, and goes on leading while there is none")
    func shortOfSpace() {
        var leader = LeaderRig()
        leader.hear { $0.diskChanged(DiskUsage(used: 0, free: 5 << 20), .low) }
        leader.report(.diskLow, of: 2)
        // This one has space, and lacks entries that only the others can give it.
        leader.report(.regressed, of: 3)
        leader.live(.seconds(5))
        let leads = leader.rig.replica.raft.isLeader && leader.rig.replica.raft.campaigningAllowed
        #expect(leads && !leader.rig.replica.raft.isTransferring)
        leader.acknowledge(from: 3)
        leader.report(.ok, of: 3)
        let isTransferring = leader.rig.replica.raft.isTransferring
        #expect(isTransferring)
        // It does not take over: the leader goes on, and does not ask again at once.
        leader.live(.seconds(3))
        leader.report(.ok, of: 3)
        let goesOn = leader.rig.replica.raft.isLeader && !leader.rig.replica.raft.isTransferring
        #expect(goesOn)
    }

    @Test("what is certainly not logged is told so although the disk is stuck")
    func refusedWhileDiskIsStuck() {
        var leader = LeaderRig()
        let now = leader.rig.now
        leader.rig.replica.beginTurn(now: now, wall: ClusterTime(nanoseconds: 1))
        leader.rig.replica.log(.tick)
        let isWriting = leader.rig.replica.endTurn().log != nil
        #expect(isWriting)
        // The write does not return, and more comes in.
        leader.rig.replica.beginTurn(now: now, wall: ClusterTime(nanoseconds: 1))
        leader.rig.replica.log(.tick)
        _ = leader.rig.replica.endTurn()
        let waiting = leader.rig.replica.openRequesters.count
        #expect(waiting == 1)
        leader.rig.replica.beginTurn(now: now, wall: ClusterTime(nanoseconds: 1))
        let heartbeat = Heartbeat(term: leader.rig.replica.raft.currentTerm.next, commitIndex: .zero, readRound: 0)
        leader.rig.replica.raft.step(.received(.heartbeat(heartbeat), from: NodeID(2)), now: now)
        _ = leader.rig.replica.endTurn()
        let left = leader.rig.replica.openRequesters.count
        #expect(left == 0)
    }

    @Test("reads that wait are refused when the state turns out to be wrong")
    func waitingReads() {
        var leader = LeaderRig()
        leader.hear { replica in
            let slot = ConnectionSlot(position: 0, generation: 0)
            replica.barriers.wait(for: LogIndex(1_000), [0].span.bytes, slot: slot, requestID: 9, deadline: .never)
            replica.barriers.gather([0].span.bytes, slot: slot, requestID: 10)
            replica.stateDamaged(reason: "test", isUsable: true)
        }
        let left = leader.rig.replica.barriers.takeAll().count
        #expect(left == 0)
    }
}
