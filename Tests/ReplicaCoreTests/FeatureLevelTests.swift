import Basics
import MetadataModel
@testable import ReplicaCore
import Testing
import Wire

@Suite("Feature levels, at the leader")
struct FeatureLevelTests {
    private static let campaign = command(.coordination(.campaign(group: [1], data: [])))

    private static func command(_ mutation: Mutation) -> [UInt8] {
        var writer = ByteWriter()
        CommandHeader(kind: mutation.kind, session: SessionID(1, 1), sequence: 1).encode(into: &writer)
        mutation.encodeBody(into: &writer)
        return writer.takeBytes()
    }

    private static func report(_ level: UInt32) -> MemberReport {
        MemberReport(
            clientAddress: "c:2", softwareVersion: "0.0.9", featureLevel: level, lastApplied: .zero, state: .ok,
            diskFree: 1 << 40)
    }

    /// What the leader says to a command; nil: it has logged it.
    private static func answer(of node: inout Alone, to command: [UInt8] = campaign) -> ReplyError? {
        node.refusals.removeAll()
        node.replica.mutate(
            command.rawSpan, requester: Requester(origin: .client(node.slot), requestID: 1), principal: 0)
        node.turn()
        return node.refusals.first
    }

    private static func raises(_ node: borrowing Alone) -> [UInt32] {
        node.logged.compactMap { if case .featureLevel(let level) = $0 { level } else { nil } }
    }

    @Test("a member that is behind, or has not said what it knows, is named; once all know it, the level rises by itself")
    func raise() throws {
        var node = Alone(learner: true, featureLevel: 1)
        let silentFound = Self.answer(of: &node)
        let silent = try #require(silentFound)
        #expect(silent.code == .featureLevel)
        #expect(silent.message.contains("this needs feature level 2, and the cluster is at 1: n2 has not told yet"))
        // What the first release knew goes on.
        let put = Self.answer(of: &node, to: Self.command(.put(key: [1], value: [])))
        #expect(put == nil)
        node.replica.noteReport(Self.report(1), of: NodeID(2))
        node.live(.seconds(3))
        let behindFound = Self.answer(of: &node)
        let behind = try #require(behindFound)
        #expect(behind.code == .featureLevel && behind.message.contains("n2 runs 0.0.9, which knows 1"))
        #expect(behind.limit == 1)
        let before = Self.raises(node)
        #expect(before == [])
        node.replica.noteReport(Self.report(2), of: NodeID(2))
        node.live(.seconds(5))
        let after = Self.raises(node)
        #expect(after == [2])
        let admitted = Self.answer(of: &node)
        #expect(admitted == nil)
    }

    @Test("what a member said before it went away does not raise the level: it may come back with another release")
    func awayMember() throws {
        var node = Alone(learner: true, featureLevel: 1)
        node.replica.noteReport(Self.report(2), of: NodeID(2))
        node.turn()
        node.replica.peerInboundLost(NodeID(2))
        node.live(.seconds(5))
        let whileAway = Self.raises(node)
        #expect(whileAway == [])
        let refusalFound = Self.answer(of: &node)
        let refusal = try #require(refusalFound)
        #expect(refusal.code == .featureLevel && refusal.retryAfter == nil)
        #expect(refusal.message.hasSuffix("n2 does not answer, and is waited for: if it is gone for good, remove it"))
        // It is back with what it had before, then upgraded again.
        node.replica.peerInboundUp(NodeID(2))
        node.replica.noteReport(Self.report(1), of: NodeID(2))
        node.live(.seconds(2))
        let back = Self.raises(node)
        #expect(back == [])
        node.replica.noteReport(Self.report(2), of: NodeID(2))
        node.live(.seconds(2))
        let after = Self.raises(node)
        #expect(after == [2])
    }

    @Test("a member that has fallen silent, though its connection stands, is away too")
    func silentMember() {
        var node = Alone(learner: true, featureLevel: 1)
        node.replica.noteReport(Self.report(2), of: NodeID(2))
        for position in node.replica.links.indices {
            node.replica.links[position].reportedAt = Instant(nanoseconds: node.now.nanoseconds - 4_000_000_000)
        }
        node.live(.seconds(5))
        let silent = Self.raises(node)
        #expect(silent == [])
        node.replica.noteReport(Self.report(2), of: NodeID(2))
        node.live(.seconds(2))
        let heard = Self.raises(node)
        #expect(heard == [2])
    }

    @Test("a leader that knows less than the others raises nothing")
    func oldLeader() throws {
        var node = Alone(learner: true, featureLevel: 1, known: 1)
        node.replica.noteReport(Self.report(2), of: NodeID(2))
        node.live(.seconds(5))
        let raises = Self.raises(node)
        #expect(raises == [])
        let refusalFound = Self.answer(of: &node)
        let refusal = try #require(refusalFound)
        #expect(refusal.code == .featureLevel && refusal.message.contains("n1 runs t, which knows 1"))
    }

    @Test("a node whose release is behind the cluster does not become a member, and is told why when it calls")
    func memberBehind() throws {
        var node = Alone()
        let refusalFound = node.replica.refusal(ofMember: "n3", knowing: 1)
        let refusal = try #require(refusalFound)
        #expect(refusal.code == .featureLevel && refusal.message.contains("the release that n3 runs knows 1"))
        let fitting = node.replica.refusal(ofMember: "n3", knowing: FeatureLevel.known)
        #expect(fitting == nil)
        let level = node.replica.featureLevel
        func answer(to level: UInt32, of identity: ClusterIdentity?) -> (PeerRefusal, String)? {
            let greeting = PeerGreeting(
                identity: Rig.identity, node: NodeID(1), name: "n1", configuration: (.zero, true), featureLevel: 2)
            let hello = PeerHello(
                identity: identity, sender: NodeID(8), name: "n8", expectedReceiver: nil, peerAddress: "p:8",
                clientAddress: "c:8", softwareVersion: "0.0.9", featureLevel: level, last: .zero,
                configurationIndex: .zero)
            return greeting.refusal(of: hello) { true }
        }
        #expect(level == FeatureLevel.known)
        for identity in [nil, Rig.identity] as [ClusterIdentity?] {
            let (code, message) = try #require(answer(to: 1, of: identity))
            #expect(code == .unsupportedVersion)
            #expect(
                message == "the cluster is at feature level 2, and the release that n8 runs (0.0.9) knows 1: start it with a "
                    + "newer one")
        }
        #expect(answer(to: 2, of: Rig.identity) == nil)
        node.turn()
    }

    @Test("a node that has just begun to lead does not yet know the level, and refuses only for a moment")
    func newLeader() throws {
        var node = Alone(featureLevel: 2)
        node.replica.featureLevel = 1
        node.replica.appliedIndex = .zero
        let refusalFound = Self.answer(of: &node)
        let refusal = try #require(refusalFound)
        #expect(refusal.code == .unavailable && refusal.isRetryable)
        // A raise of the leader before it may not be applied yet: nobody who does not know it becomes a member.
        let tooOldFound = node.replica.refusal(ofMember: "n3", knowing: 1)
        let tooOld = try #require(tooOldFound)
        #expect(tooOld.code == .unavailable && tooOld.retryAfter != nil)
        let fitting = node.replica.refusal(ofMember: "n3", knowing: FeatureLevel.known)
        #expect(fitting == nil)
    }
}
