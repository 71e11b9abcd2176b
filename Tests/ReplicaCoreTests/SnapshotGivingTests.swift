import Basics
import LogFormat
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

    private static let newer = SnapshotPoint(
        last: EntryID(term: Term(1), index: LogIndex(9)), configuration: configuration)

    private func replica(needsState: Bool = false, log: TermRuns = TermRuns(after: .zero)) -> Replica {
        let restored = RestoredReplica.empty(Self.membership, needsState: needsState, log: log)
        let settings = ReplicaSettings.ofNode()
        let now = Instant(nanoseconds: 1_000_000_000)
        var replica = Replica(restored, settings: settings, seed: 1, now: now, wall: ClusterTime(nanoseconds: 1))
        replica.beginTurn(now: now, wall: ClusterTime(nanoseconds: 1))
        return replica
    }

    private func builds(_ replica: inout Replica) -> Int {
        replica.effects.snapshot.count { if case .build = $0 { true } else { false } }
    }

    private func alarms(_ replica: inout Replica) -> [String] {
        replica.reviewAlarms()
        return replica.alarms.alarms(active: []).map(\.name)
    }

    private func pass(_ time: Interval, _ replica: inout Replica) {
        replica.beginTurn(now: replica.now + time, wall: ClusterTime(nanoseconds: 1))
    }

    @Test("after one that could not be made the next is begun when a pause is over, not whenever somebody asks")
    func pausesBetweenBuilds() {
        var replica = replica()
        let wanted = SnapshotPiece(last: EntryID(term: .zero, index: LogIndex(1)), chunk: nil)
        replica.loadPiece(wanted, for: NodeID(2))
        var count = 1
        // Each pause is twice as long as the one before it.
        for seconds: Int64 in [1, 2, 4] {
            #expect(builds(&replica) == count)
            replica.snapshotBuildFailed(reason: "no room for it", lacksSpace: true)
            #expect(alarms(&replica) == ["diskLow"])
            pass(Interval.seconds(seconds) - .milliseconds(1), &replica)
            replica.loadPiece(wanted, for: NodeID(2))
            #expect(builds(&replica) == count)
            pass(.milliseconds(1), &replica)
            replica.loadPiece(wanted, for: NodeID(2))
            count += 1
        }
        #expect(builds(&replica) == count)
        replica.snapshotBuilt(Self.point)
        #expect(alarms(&replica) == [])
    }

    @Test("nobody is asked again at once for a snapshot that found no space, and the alarm ends when none is needed")
    func pausesBetweenFetches() {
        var replica = replica()
        let offer = SnapshotFetch(from: NodeID(2), snapshot: Self.point)
        replica.fetchSnapshot(offer)
        let giver = replica.snapshots.fetch?.from
        #expect(giver == NodeID(2))
        replica.snapshots.fetch?.isStoring = true
        replica.snapshotLacksSpace(reason: "no room for it")
        replica.fetchSnapshot(offer)
        let giverAtOnce = replica.snapshots.fetch?.from
        #expect(giverAtOnce == nil)
        #expect(alarms(&replica) == ["diskLow"])
        pass(.seconds(1), &replica)
        replica.fetchSnapshot(offer)
        let giverLater = replica.snapshots.fetch?.from
        #expect(giverLater == NodeID(2))
        replica.snapshots.fetch?.isInstalling = true
        replica.snapshotInstallFailed(reason: "no room for its rows", lacksSpace: true)
        #expect(alarms(&replica) == ["diskLow"])
        // It has caught up from another's log, say.
        pass(.seconds(10), &replica)
        #expect(alarms(&replica) == [])
    }

    @Test("what was made of a state that is not the others' is neither given away nor kept")
    func diverged() {
        var replica = replica()
        replica.snapshotBuilt(Self.point)
        // Another is on its way when the others' verdict comes.
        replica.offerSnapshot()
        replica.act(on: .ownStateDiffers(index: LogIndex(4), own: 1, majority: 2))
        let built = replica.snapshots.built
        #expect(built == nil)
        let discards = replica.effects.snapshot.count { if case .discard = $0 { true } else { false } }
        #expect(discards == 1)
        replica.snapshotBuilt(Self.newer)
        let builtBefore = replica.snapshots.built
        #expect(builtBefore == nil)
        replica.snapshotsDiscarded(failure: nil)
        // None is made before the state is another one.
        pass(.seconds(100), &replica)
        replica.offerSnapshot()
        #expect(builds(&replica) == 1)
    }

    @Test("a state that was replaced takes what was made of it with it")
    func replaced() {
        var replica = replica()
        replica.snapshotBuilt(Self.point)
        replica.stateDamaged(reason: "a row", isUsable: true)
        let kept = replica.snapshots.built
        #expect(kept == Self.point)
        replica.peerUp(NodeID(2))
        _ = replica.endTurn()
        let giver = replica.snapshots.fetch?.from
        #expect(giver == NodeID(2))
        let taken = SnapshotPoint(last: .zero, configuration: Self.configuration)
        replica.snapshotInstalled(
            taken, membership: Self.membership, time: .zero, featureLevel: FeatureLevel.first)
        let isQuarantined = replica.isQuarantined
        let built = replica.snapshots.built
        #expect(!isQuarantined && built == nil)
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

    @Test("a manifest is given from where it is asked for on, in pieces of bounded size that say whose they are")
    func manifestPieces() throws {
        var replica = replica()
        replica.peerUp(NodeID(2))
        replica.snapshotBuilt(Self.point)
        // Any snapshot of at least this index.
        let wanted = EntryID(term: .zero, index: LogIndex(2))
        replica.loadPiece(SnapshotPiece(last: wanted, chunk: nil, offset: 7), for: NodeID(2))
        var orders: [(piece: SnapshotPiece, sizeMax: Int)] = []
        for case .loadPiece(let piece, let sizeMax, _) in replica.effects.snapshot { orders.append((piece, sizeMax)) }
        let order = try #require(orders.first)
        #expect(order.piece == SnapshotPiece(last: Self.point.last, chunk: nil, offset: 7))
        #expect(order.sizeMax == Limits.snapshotPieceSizeMax)
        replica.snapshotPieceLoaded(order.piece, bytes: [1, 2, 3], itemSize: 12, for: NodeID(2))
        let effects = replica.endTurn()
        var given: [(message: PeerMessage, payload: [UInt8])] = []
        for (_, bytes) in effects.toPeers {
            var offset = 0
            while let frame = try FrameHeader.scan(bytes.rawSpan.extracting(offset..<bytes.count), sizeMax: 1 << 20) {
                offset += frame.totalSize
                let received = try PeerMessage.decode(frame.header, body: frame.body)
                guard case .snapshotManifestReply = received.message else { continue }
                given.append((received.message, [UInt8](received.payload)))
            }
        }
        #expect(given.count == 1)
        let reply = try #require(given.first)
        #expect(reply.message == PeerMessage.snapshotManifestReply(last: Self.point.last, offset: 7, size: 12))
        #expect(reply.payload == [1, 2, 3])
    }

    @Test("the newest is not made anew because somebody asks for an older one, which would go on for ever")
    func olderIsGone() {
        var replica = replica()
        replica.snapshotBuilt(Self.point)
        let older = EntryID(term: Term(1), index: LogIndex(3))
        replica.loadPiece(SnapshotPiece(last: older, chunk: 0), for: NodeID(2))
        let forOlder = builds(&replica)
        #expect(forOlder == 0)
        let newer = EntryID(term: Term(1), index: LogIndex(9))
        replica.loadPiece(SnapshotPiece(last: newer, chunk: 0), for: NodeID(2))
        let forNewer = builds(&replica)
        #expect(forNewer == 1)
    }

    @Test("whoever asks for a snapshot by its last entry knows that one to be committed, and nobody else may say so")
    func namesCommittedEntry() {
        var log = TermRuns(after: .zero)
        log.append(through: LogIndex(7), term: Term(1))
        for (term, index, commit) in [(Term(1), 5, 5), (Term(2), 5, 0), (.zero, 5, 0), (Term(1), 9, 0)] as [(Term, UInt64, UInt64)] {
            var replica = replica(log: log)
            let named = EntryID(term: term, index: LogIndex(index))
            replica.loadPiece(SnapshotPiece(last: named, chunk: nil), for: NodeID(2))
            let reached = replica.raft.commitIndex
            #expect(reached == LogIndex(commit), "told of \(named)")
        }
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
        replica.snapshotBuilt(Self.newer)
        // Late news of the old one says nothing of the new.
        replica.snapshotPieceDamaged(
            SnapshotPiece(last: Self.point.last, chunk: 5), reason: "chunk-5: checksum", for: NodeID(2))
        #expect(replica.snapshots.built == Self.newer)
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

    @Test("who gets its state back, and has no entry after it, goes on from the state's cluster time, not from its own clock")
    func timeOfTheState() {
        let alone = Membership(
            members: [Member(id: NodeID(1), name: "n1", peerAddress: "p:1")], incoming: [NodeID(1)])
        let (wall, time) = (ClusterTime(nanoseconds: 1), ClusterTime(nanoseconds: 3_600_000_000_000))
        var now = Instant(nanoseconds: 1_000_000_000)
        var replica = Replica(
            .empty(alone, needsState: true, log: TermRuns(after: Self.point.last)), settings: .ofNode(), seed: 1, now: now,
            wall: wall)
        replica.snapshots.fetch = SnapshotTransfer.Fetch(
            point: Self.point, from: NodeID(2), isInstalling: true, askAgainAt: .never, resetsLog: false)
        replica.snapshotInstalled(Self.point, membership: alone, time: time, featureLevel: FeatureLevel.known)
        var written: [ClusterTime] = []
        for _ in 0..<100 where written.isEmpty {
            now = now + .milliseconds(100)
            replica.beginTurn(now: now, wall: wall)
            guard let work = replica.endTurn().log else { continue }
            written = work.writes.compactMap(\.slab).map { $0.record(at: $0.firstIndex).header.time }
            replica.logWritten(work.ticket)
        }
        #expect(written.count == 1 && written.allSatisfy { $0 >= time })
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
