import Basics
import MetadataModel
import RaftCore
import Testing
import Wire

@testable import ReplicaCore

@Suite("Giving a snapshot away")
struct SnapshotGivingTests {
    private static let membership = Membership(
        members: [
            Member(id: NodeID(1), name: "n1", peerAddress: "p:1"),
            Member(id: NodeID(2), name: "n2", peerAddress: "p:2"),
        ], incoming: [NodeID(1), NodeID(2)])
    private static let configuration = IndexedConfiguration(
        index: .zero, configuration: membership.configuration)
    private static let point = SnapshotPoint(
        last: EntryID(term: Term(1), index: LogIndex(5)), configuration: configuration)

    private func replica(needsState: Bool = false) -> Replica {
        let restored = RestoredReplica(
            identity: ClusterIdentity(id: 7, generation: 1, generationTag: 0), id: NodeID(1),
            raft: RestoredState(
                hardState: .initial, log: TermRuns(after: .zero), lastApplied: .zero,
                configurations: [Self.configuration]),
            membership: Self.membership, memberInfo: [:], lastTime: .zero, needsState: needsState)
        let settings = ReplicaSettings(name: "n1", clientAddress: "c:1", peerAddress: "p:1", softwareVersion: "t")
        let now = Instant(nanoseconds: 1_000_000_000)
        var replica = Replica(restored, settings: settings, seed: 1, now: now, wall: ClusterTime(nanoseconds: 1))
        replica.beginTurn(now: now, wall: ClusterTime(nanoseconds: 1))
        return replica
    }

    private func builds(_ replica: inout Replica) -> Int {
        replica.effects.snapshot.count { if case .build = $0 { true } else { false } }
    }

    @Test("where nobody leads, a node without a state asks whoever is there: perhaps nobody can lead before it has one")
    func asksWithoutLeader() {
        var replica = replica(needsState: true)
        replica.peerUp(NodeID(2))
        _ = replica.endTurn()
        let leader = replica.raft.leader
        let giver = replica.snapshots.fetch?.from
        #expect(leader == nil)
        #expect(giver == NodeID(2))
    }

    @Test("one that is damaged on this node's disk is made anew, once, and is not offered any more")
    func damagedPiece() {
        var replica = replica()
        replica.snapshotBuilt(Self.point)
        replica.loadPiece(SnapshotPiece(last: Self.point.last, chunk: 3), for: NodeID(2))
        #expect(builds(&replica) == 0)
        // The peer asks for further pieces before the new one is there.
        for chunk: UInt32 in 3...4 {
            let piece = SnapshotPiece(last: Self.point.last, chunk: chunk)
            replica.snapshotPieceDamaged(piece, reason: "chunk-\(chunk): checksum", for: NodeID(2))
        }
        #expect(builds(&replica) == 1)
        #expect(replica.snapshots.built == nil)
        let newer = SnapshotPoint(
            last: EntryID(term: Term(1), index: LogIndex(9)), configuration: Self.configuration)
        replica.snapshotBuilt(newer)
        // Late news of the old one says nothing of the new.
        replica.snapshotPieceDamaged(
            SnapshotPiece(last: Self.point.last, chunk: 5), reason: "chunk-5: checksum", for: NodeID(2))
        #expect(replica.snapshots.built == newer)
        #expect(builds(&replica) == 1)
    }

    @Test("one that is gone is not made again at the word of whoever asks for it: it would take the place of another")
    func goneSnapshot() {
        var replica = replica()
        let newer = SnapshotPoint(
            last: EntryID(term: Term(1), index: LogIndex(9)), configuration: Self.configuration)
        replica.snapshotBuilt(newer)
        replica.loadPiece(SnapshotPiece(last: Self.point.last, chunk: 3), for: NodeID(2))
        #expect(builds(&replica) == 0)
        // Any will do that is new enough.
        replica.loadPiece(SnapshotPiece(last: EntryID(term: .zero, index: LogIndex(12)), chunk: nil), for: NodeID(2))
        #expect(builds(&replica) == 1)
    }

    @Test("a state that ends before the log begins is not taken for whole")
    func stateBehindLog() {
        var replica = replica(needsState: true)
        replica.snapshots.fetch = SnapshotTransfer.Fetch(
            point: Self.point, from: NodeID(2), isInstalling: true, askAgainAt: .never, resetsLog: false)
        replica.snapshotInstalled(Self.point, membership: Self.membership, time: .zero, featureLevel: FeatureLevel.known)
        let isQuarantined = replica.isQuarantined
        #expect(isQuarantined)
        replica.peerUp(NodeID(2))
        _ = replica.endTurn()
        let giver = replica.snapshots.fetch?.from
        #expect(giver == NodeID(2), "it asks for another")
    }

    @Test("while a snapshot takes the state's place no entries are fed to it that it may hold already")
    func feedsNothingWhileInstalling() {
        var replica = replica()
        replica.applyTarget = LogIndex(3)
        replica.snapshots.fetch = SnapshotTransfer.Fetch(
            point: Self.point, from: NodeID(2), isInstalling: true, askAgainAt: .never, resetsLog: true)
        let effects = replica.endTurn()
        #expect(effects.apply.isEmpty && effects.logReads.isEmpty)
        replica.beginTurn(now: Instant(nanoseconds: 1_100_000_000), wall: ClusterTime(nanoseconds: 1))
        replica.snapshotInstallFailed(reason: "test")
        #expect(replica.endTurn().logReads.count == 1, "it goes on")
    }
}
