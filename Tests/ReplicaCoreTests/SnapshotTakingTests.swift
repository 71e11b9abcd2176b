import Basics
import MetadataModel
import RaftCore
@testable import ReplicaCore
import Testing
import Wire

/// A node that takes a snapshot from another, and what it asks for and keeps in each turn.
private struct Taker: ~Copyable {
    struct Turn {
        /// The pieces of a manifest that it asks for.
        var asked: [PeerMessage] = []
        var kept: [[UInt8]] = []
        var reasons: [String] = []
    }

    static let giver = NodeID(2)
    static let membership = Membership(
        members: [
            Member(id: NodeID(1), name: "n1", peerAddress: "p:1"), Member(id: giver, name: "n2", peerAddress: "p:2"),
        ], incoming: [NodeID(1), giver])
    static let configuration = IndexedConfiguration(index: .zero, configuration: membership.configuration)
    private static let wall = ClusterTime(nanoseconds: 1)

    var replica: Replica
    private var now = Instant(nanoseconds: 1_000_000_000)

    init(needsState: Bool = false, log: TermRuns = TermRuns(after: .zero)) {
        let restored = RestoredReplica.empty(Self.membership, needsState: needsState, log: log)
        let settings = ReplicaSettings.ofNode()
        replica = Replica(restored, settings: settings, seed: 1, now: now, wall: Self.wall)
    }

    @discardableResult
    mutating func turn(
        after pause: Interval = .zero, _ body: (inout Replica) throws -> Void = { _ in }
    ) throws -> Turn {
        now = now + pause
        replica.beginTurn(now: now, wall: Self.wall)
        try body(&replica)
        let effects = replica.endTurn()
        var turn = Turn()
        for (_, bytes) in effects.toPeers {
            var offset = 0
            while let frame = try FrameHeader.scan(bytes.rawSpan.extracting(offset..<bytes.count), sizeMax: 1 << 20) {
                offset += frame.totalSize
                let message = try PeerMessage.decode(frame.header, body: frame.body).message
                if case .snapshotManifest = message { turn.asked.append(message) }
            }
        }
        for case .storePiece(_, let bytes) in effects.snapshot { turn.kept.append(bytes) }
        for case .snapshotFailed(let reason) in effects.notices { turn.reasons.append(reason) }
        return turn
    }

    /// The other node can be reached, and offers this one.
    @discardableResult
    mutating func begin(_ offered: SnapshotPoint?) throws -> Turn {
        try turn { replica in
            replica.peerUp(Self.giver)
            if let offered { replica.fetchSnapshot(SnapshotFetch(from: Self.giver, snapshot: offered)) }
        }
    }

    /// A piece comes, from where it stands in the manifest.
    /// - Parameter size: what it says of the whole.
    @discardableResult
    mutating func give(_ piece: ArraySlice<UInt8>, of last: EntryID, size: Int) throws -> Turn {
        let payload = Array(piece)
        let message = PeerMessage.snapshotManifestReply(
            last: last, offset: UInt32(piece.startIndex), size: UInt32(size))
        var writer = ByteWriter()
        message.encode(payload: payload.rawSpan, into: &writer)
        let bytes = writer.takeBytes()
        return try turn { replica in
            guard let frame = try FrameHeader.scan(bytes.rawSpan, sizeMax: 1 << 20) else {
                Issue.record("half a frame")
                return
            }
            try replica.receivePeerFrame(frame.header, body: frame.body, from: Self.giver)
        }
    }
}

@Suite("Taking a snapshot")
struct SnapshotTakingTests {
    private static let manifest = (0..<2_500).map { UInt8(truncatingIfNeeded: $0) }

    private static func entry(_ index: UInt64) -> EntryID { EntryID(term: Term(1), index: LogIndex(index)) }

    private static func point(_ index: UInt64) -> SnapshotPoint {
        SnapshotPoint(last: entry(index), configuration: Taker.configuration)
    }

    private static func question(_ last: EntryID, _ offset: UInt32) -> PeerMessage {
        .snapshotManifest(last: last, offset: offset)
    }

    @Test("a manifest that comes in pieces is asked for from where the last one ended, and kept when it is whole")
    func pieces() throws {
        let last = Self.entry(5)
        var taker = Taker()
        let begun = try taker.begin(Self.point(5))
        #expect(begun.asked == [Self.question(last, 0)])
        let first = try taker.give(Self.manifest[..<1_000], of: last, size: 2_500)
        #expect(first.asked == [Self.question(last, 1_000)] && first.kept.isEmpty)
        // The answer to a question that was asked twice.
        let again = try taker.give(Self.manifest[..<1_000], of: last, size: 2_500)
        #expect(again.asked.isEmpty && again.kept.isEmpty)
        let second = try taker.give(Self.manifest[1_000..<2_000], of: last, size: 2_500)
        #expect(second.asked == [Self.question(last, 2_000)] && second.kept.isEmpty)
        let third = try taker.give(Self.manifest[2_000...], of: last, size: 2_500)
        #expect(third.asked.isEmpty && third.kept == [Self.manifest])
    }

    @Test("another snapshot that is offered meanwhile is fetched from its beginning; pieces of the first are ignored")
    func otherOffer() throws {
        let other = Array(Self.manifest.reversed().prefix(1_500))
        var taker = Taker()
        try taker.begin(Self.point(5))
        try taker.give(Self.manifest[..<1_000], of: Self.entry(5), size: 2_500)
        let offered = try taker.turn { replica in
            replica.fetchSnapshot(SnapshotFetch(from: Taker.giver, snapshot: Self.point(9)))
        }
        #expect(offered.asked == [Self.question(Self.entry(9), 0)])
        for piece in [Self.manifest[1_000..<2_000], Self.manifest[..<1_000]] {
            let late = try taker.give(piece, of: Self.entry(5), size: 2_500)
            #expect(late.asked.isEmpty && late.kept.isEmpty && late.reasons.isEmpty)
        }
        let first = try taker.give(other[..<1_000], of: Self.entry(9), size: 1_500)
        #expect(first.asked == [Self.question(Self.entry(9), 1_000)])
        let second = try taker.give(other[1_000...], of: Self.entry(9), size: 1_500)
        #expect(second.kept == [other])
    }

    @Test("a rebuild goes on with the snapshot that the first piece is of, and begins with any once that one is gone")
    func rebuild() throws {
        var taker = Taker(needsState: true)
        let begun = try taker.begin(nil)
        #expect(begun.asked == [Self.question(.zero, 0)])
        let first = try taker.give(Self.manifest[..<1_000], of: Self.entry(5), size: 2_500)
        #expect(first.asked == [Self.question(Self.entry(5), 1_000)])
        let gone = try taker.give(Self.manifest[1_000..<1_000], of: Self.entry(5), size: 0)
        #expect(gone.asked.isEmpty && gone.kept.isEmpty)
        let later = try taker.turn(after: .seconds(1))
        #expect(later.asked == [Self.question(.zero, 0)])
        let next = try taker.give(Self.manifest[..<2_500], of: Self.entry(9), size: 2_500)
        #expect(next.kept == [Self.manifest])
    }

    @Test("one that is gone each time before its end is not begun anew for ever at the same node")
    func goneAgainAndAgain() throws {
        var taker = Taker()
        try taker.begin(Self.point(5))
        var attempts = 0
        for _ in 0..<20 {
            try taker.give(Self.manifest[..<1_000], of: Self.entry(5), size: 2_500)
            try taker.give(Self.manifest[1_000..<1_000], of: Self.entry(5), size: 0)
            attempts += try taker.turn(after: .seconds(1)).asked.count
        }
        let isOver = taker.replica.snapshots.fetch == nil
        #expect(isOver && attempts > 1 && attempts <= SnapshotTransfer.failuresMax)
    }

    @Test("after a cut the manifest is asked for from where it stopped")
    func cut() throws {
        var taker = Taker()
        try taker.begin(Self.point(5))
        try taker.give(Self.manifest[..<1_000], of: Self.entry(5), size: 2_500)
        let cut = try taker.turn(after: .seconds(1)) { $0.peerDown(Taker.giver) }
        #expect(cut.asked.isEmpty)
        let back = try taker.turn(after: .seconds(1)) { $0.peerUp(Taker.giver) }
        #expect(back.asked == [Self.question(Self.entry(5), 1_000)])
    }

    @Test("a manifest that is said to be larger than any is refused, says why, and takes no memory")
    func tooLarge() throws {
        let claim = Limits.snapshotManifestSizeMax + 1
        var taker = Taker()
        try taker.begin(Self.point(5))
        let refused = try taker.give(Self.manifest[..<1_000], of: Self.entry(5), size: claim)
        #expect(refused.asked.isEmpty && refused.kept.isEmpty)
        #expect(refused.reasons.count == 1)
        #expect(refused.reasons.first?.contains("has \(claim) bytes, and at most \(claim - 1) are taken") == true)
        let held = taker.replica.snapshots.manifest.bytes.count
        #expect(held == 0)
        // Asked again now and then, and given up in the end.
        var attempts = 0
        for _ in 0..<20 {
            attempts += try taker.turn(after: .seconds(1)).asked.count
            try taker.give(Self.manifest[..<1_000], of: Self.entry(5), size: claim)
        }
        let isOver = taker.replica.snapshots.fetch == nil
        #expect(isOver && attempts > 1 && attempts < SnapshotTransfer.failuresMax)
    }

    @Test("pieces that do not agree on the size of the whole are refused, and the manifest is begun anew")
    func contradiction() throws {
        var taker = Taker()
        try taker.begin(Self.point(5))
        try taker.give(Self.manifest[..<1_000], of: Self.entry(5), size: 2_500)
        let refused = try taker.give(Self.manifest[1_000..<2_000], of: Self.entry(5), size: 2_600)
        #expect(refused.asked.isEmpty)
        #expect(refused.reasons.first?.contains("does not fit together") == true)
        let later = try taker.turn(after: .seconds(1))
        #expect(later.asked == [Self.question(Self.entry(5), 0)])
    }

    @Test("a manifest that is whole and damaged is fetched from its beginning, but not for ever")
    func damaged() throws {
        var taker = Taker()
        try taker.begin(Self.point(5))
        try taker.give(Self.manifest[..<2_500], of: Self.entry(5), size: 2_500)
        let refused = try taker.turn { $0.snapshotPieceRefused(reason: "manifest: checksum") }
        #expect(refused.asked == [Self.question(Self.entry(5), 0)])
        for _ in 0..<20 {
            try taker.give(Self.manifest[..<1_000], of: Self.entry(5), size: 2_500)
            try taker.give(Self.manifest[1_000...], of: Self.entry(5), size: 2_500)
            try taker.turn { $0.snapshotPieceRefused(reason: "manifest: checksum") }
        }
        let isOver = taker.replica.snapshots.fetch == nil
        #expect(isOver)
    }

    @Test("a node without a state says first where its log begins, which is committed; then any newer snapshot will do")
    func saysWhereItsLogBegins() throws {
        var log = TermRuns(after: Self.entry(5))
        log.append(through: LogIndex(9), term: Term(1))
        var taker = Taker(needsState: true, log: log)
        let begun = try taker.begin(nil)
        #expect(begun.asked == [Self.question(Self.entry(5), 0)])
        // Not there.
        let second = try taker.give([], of: Self.entry(5), size: 0)
        let newer = EntryID(term: .zero, index: LogIndex(5))
        #expect(second.asked == [Self.question(newer, 0)])
        let third = try taker.give([], of: newer, size: 0)
        #expect(third.asked.isEmpty, "it waits before it asks again")
        let given = try taker.give(Self.manifest[...], of: Self.entry(7), size: 2_500)
        #expect(given.kept == [Self.manifest])
    }
}
