import Basics
import LogFormat
import MetadataModel
import RaftCore
@testable import ReplicaCore
import Testing
import Wire

/// One node, its disk and its clock in the test's hands.
struct Rig: ~Copyable {
    static let identity = ClusterIdentity(id: 7, generation: 1, generationTag: 0)
    var replica: Replica
    var now = Instant(nanoseconds: 1_000_000_000)
    var slot: ConnectionSlot
    var probes: [MemberProbe] = []
    var notices: [Notice] = []
    var replies: [ControlReply] = []

    /// Of every turn since the last look.
    var changedAlarms: [[LatchedAlarm]] = []

    init(
        _ membership: Membership, id: UInt64 = 1, contacts: [Member] = [], joinedAt: UInt64 = 0,
        alarms: [LatchedAlarm] = []
    ) {
        var restored = RestoredReplica.empty(membership, id: id)
        restored.contacts = contacts
        restored.alarms = alarms
        restored.joinedAt = LogIndex(joinedAt)
        let settings = ReplicaSettings.ofNode(id)
        replica = Replica(restored, settings: settings, seed: 1, now: now, wall: ClusterTime(nanoseconds: 1))
        slot = replica.clientConnected()
        let hello = ClientHello(identity: nil, clientName: "t", clientVersion: "1")
        turn { replica, slot in
            Self.send(&replica, slot) { hello.encode(requestID: 1, into: &$0) }
        }
        replies.removeAll()
    }

    static func send(_ replica: inout Replica, _ slot: ConnectionSlot, _ write: (inout ByteWriter) -> Void) {
        var writer = ByteWriter()
        write(&writer)
        let bytes = writer.takeBytes()
        do throws(DecodeError) {
            guard let frame = try FrameHeader.scan(bytes.rawSpan, sizeMax: 4_096) else { return }
            try replica.receiveClientFrame(frame.header, body: frame.body, from: slot)
        } catch {
            Issue.record("\(error)")
        }
    }

    mutating func turn(_ body: (inout Replica, ConnectionSlot) -> Void) {
        var work: LogWork?
        var isFirst = true
        while isFirst || work != nil {
            replica.beginTurn(now: now, wall: ClusterTime(nanoseconds: 1))
            if isFirst { body(&replica, slot) }
            if let work { replica.logWritten(work.ticket) }
            isFirst = false
            let effects = replica.endTurn()
            work = effects.log
            probes += effects.probes
            if effects.alarmsChanged { changedAlarms.append(replica.latchedAlarms) }
            notices += effects.notices
            for (_, bytes) in effects.toClients {
                do throws(DecodeError) {
                    guard let frame = try FrameHeader.scan(bytes.rawSpan, sizeMax: 4_096) else { continue }
                    replies.append(try ControlReply.decode(kind: frame.header.kind, body: frame.body))
                } catch {
                    Issue.record("\(error)")
                }
            }
        }
    }

    mutating func wait(_ interval: Interval) {
        now = now + interval
        turn { _, _ in }
    }

    /// Nil while the answer waits for something.
    mutating func ask(_ change: MemberChange) -> ControlReply? {
        replies.removeAll()
        turn { replica, slot in Self.send(&replica, slot) { change.encode(requestID: 2, into: &$0) } }
        return replies.first
    }

    mutating func code(of change: MemberChange) -> ErrorCode? {
        if case .failed(let error, .changeMembers)? = ask(change) { error.code } else { nil }
    }
}

@Suite("Changes of the members, on one node")
struct MembershipTests {
    private static let alone = Membership(
        members: [Member(id: NodeID(1), name: "n1", peerAddress: "p:1")], incoming: [NodeID(1)])

    private func leader() -> Rig {
        var rig = Rig(Self.alone)
        for _ in 0..<5 { rig.wait(.seconds(3)) }
        return rig
    }

    @Test("a node is added when it has said who it is, and is a learner then; only one that has caught up may vote")
    func add() throws {
        var rig = leader()
        let isLeader = rig.replica.raft.isLeader
        #expect(isLeader)
        let early = rig.ask(.add(name: "n2", peerAddress: "p:2", replacing: nil))
        #expect(early == nil)
        let probes = rig.probes
        let probe = try #require(probes.first)
        #expect(probe.address == "p:2")
        // One at a time.
        let second = rig.code(of: .transfer(name: nil))
        #expect(second == .changeUnderWay)
        rig.replies.removeAll()
        rig.turn { replica, _ in
            replica.probed(probe.token, .answered(isEmpty: true, node: NodeID(2), name: "n2", featureLevel: FeatureLevel.known))
        }
        guard case .membersChanged(let reply)? = rig.replies.first else {
            Issue.record("no answer: \(rig.replies)")
            return
        }
        #expect(reply.node == NodeID(2))
        let learners = rig.replica.membership.learners
        #expect(learners == [NodeID(2)])
        let voters = rig.replica.membership.incoming
        #expect(voters == [NodeID(1)])
        let settledAt = rig.replica.settledMembership?.index
        #expect(settledAt == reply.revision)
        // It counts as just heard, and lacks few entries; but it has not said a word.
        let promotion = rig.code(of: .promote(name: "n2"))
        #expect(promotion == .notCaughtUp)
        let exchange = rig.code(of: .exchange(old: "n1", new: "n2"))
        #expect(exchange == .notCaughtUp)
        let sameAddress = rig.code(of: .add(name: "n3", peerAddress: "p:2", replacing: nil))
        #expect(sameAddress == .memberExists)
        let lastVoter = rig.code(of: .remove(name: "n1"))
        #expect(lastVoter == .quorumAtRisk)
        let toLearner = rig.code(of: .transfer(name: "n2"))
        #expect(toLearner == .invalidRequest)
        // A learner goes in one step.
        if case .membersChanged? = rig.ask(.remove(name: "n2")) {} else { Issue.record("not removed: \(rig.replies)") }
        let membership = rig.replica.membership
        #expect(membership == Self.alone)
    }

    @Test("a node that is not empty, has another name or does not answer is not added")
    func addRefused() throws {
        let answers: [MemberProbeAnswer] = [
            .answered(isEmpty: false, node: NodeID(2), name: "n2", featureLevel: FeatureLevel.known),
            .answered(isEmpty: true, node: NodeID(2), name: "x", featureLevel: 2),
            .failed("refused the connection"),
        ]
        for answer in answers {
            var rig = leader()
            _ = rig.ask(.add(name: "n2", peerAddress: "p:2", replacing: nil))
            let probes = rig.probes
            let token = try #require(probes.first).token
            rig.turn { replica, _ in replica.probed(token, answer) }
            guard case .failed(let error, _)? = rig.replies.first else {
                Issue.record("no refusal of \(answer)")
                continue
            }
            #expect(error.code == .memberUnreachable)
            let membership = rig.replica.membership
            #expect(membership == Self.alone)
        }
    }

    @Test("a question that is not answered in time is given up, and the next change may come")
    func probeTimesOut() {
        var rig = leader()
        _ = rig.ask(.add(name: "n2", peerAddress: "p:2", replacing: nil))
        rig.wait(.seconds(6))
        guard case .failed(let error, _)? = rig.replies.first else {
            Issue.record("no answer")
            return
        }
        #expect(error.code == .unavailable)
        let next = rig.code(of: .remove(name: "n9"))
        #expect(next == .noSuchMember)
    }

    @Test("a caller from a later change of members is linked to; one from an earlier change is not")
    func contacts() {
        let old = Member(id: NodeID(8), name: "n8", peerAddress: "p:8")
        let founders = Membership(
            members: [1, 2].map { Member(id: NodeID($0), name: "n\($0)", peerAddress: "p:\($0)") },
            incoming: [NodeID(1)], learners: [NodeID(2)])
        var rig = Rig(founders, id: 2, contacts: founders.members.filter { $0.id == NodeID(1) }, joinedAt: 40)
        let isMetBefore = rig.replica.meet(old, configurationIndex: LogIndex(40))
        let isMetAfter = rig.replica.meet(old, configurationIndex: LogIndex(41))
        #expect(!isMetBefore && isMetAfter)
        let linked = rig.replica.linkedMembers.map(\.name)
        #expect(linked == ["n1", "n8"])
        // It was given members that its log does not know of yet: that it is not in the log means nothing.
        rig.wait(.seconds(5))
        let isRemoved = rig.replica.isRemoved
        #expect(!isRemoved)
    }

    @Test("a member that has moved is called where it says that it is, if it knows of a later change of members")
    func moved() {
        let founders = Membership(
            members: [1, 2].map { Member(id: NodeID($0), name: "n\($0)", peerAddress: "p:\($0)") },
            incoming: [NodeID(1), NodeID(2)])
        var rig = Rig(founders, id: 2)
        let elsewhere = Member(id: NodeID(1), name: "n1", peerAddress: "p:9")
        let isHeard = rig.replica.meet(elsewhere, configurationIndex: .zero)
        let before = rig.replica.linkedMembers.map(\.peerAddress)
        #expect(isHeard && before == ["p:1"])
        let isStillHeard = rig.replica.meet(elsewhere, configurationIndex: LogIndex(5))
        let after = rig.replica.linkedMembers.map(\.peerAddress)
        #expect(isStillHeard && after == ["p:9"])
    }

    @Test("a member tells who was removed that he was; one that was removed itself does not")
    func removedToldByMembers() {
        var rig = leader()
        func answer(_ replica: borrowing Replica, expected: UInt64 = 1) -> PeerRefusal? {
            let greeting = PeerGreeting(
                identity: Rig.identity, node: NodeID(1), name: "n1", configuration: replica.configurationToGreetWith,
                featureLevel: 1)
            let hello = PeerHello(
                identity: Rig.identity, sender: NodeID(8), name: "n8", expectedReceiver: NodeID(expected),
                peerAddress: "p:8",
                clientAddress: "c:8", softwareVersion: "t", featureLevel: 1, last: .zero, configurationIndex: .zero)
            return greeting.refusal(of: hello) { false }?.0
        }
        let byMember = answer(rig.replica)
        #expect(byMember == .removed)
        let byOneInAnothersPlace = answer(rig.replica, expected: 3)
        #expect(byOneInAnothersPlace == .removed, "all whom it knew may have been replaced since")
        rig.turn { replica, _ in replica.noteRemoval("the change of members at index 9, as n2 says") }
        let byRemoved = answer(rig.replica)
        #expect(byRemoved == .notMember)
    }

    @Test("cluster time does not fall where a change of members overtakes commands that wait for the disk")
    func timeDoesNotFall() throws {
        var rig = leader()
        let command: [UInt8] = [1, 2, 3]
        var times: [ClusterTime] = []
        var work: LogWork?
        func take(_ effects: Effects) {
            guard let log = effects.log else { return }
            work = log
            for case let slab? in log.writes.map(\.slab) {
                times += (0..<slab.count).map { slab.record(at: slab.firstIndex + $0).header.time }
            }
        }
        for step in 0..<3 {
            rig.now = rig.now + .milliseconds(5)
            rig.replica.beginTurn(now: rig.now, wall: ClusterTime(nanoseconds: 1))
            if step < 2 {
                // The first goes to the disk, the second waits for it.
                rig.replica.propose(command.rawSpan, requester: nil)
            } else {
                rig.replica.changeMembers(.update(name: "n1", peerAddress: "p:2"), slot: rig.slot, requestID: 3)
            }
            take(rig.replica.endTurn())
        }
        while let done = work {
            work = nil
            rig.replica.beginTurn(now: rig.now, wall: ClusterTime(nanoseconds: 1))
            rig.replica.logWritten(done.ticket)
            take(rig.replica.endTurn())
        }
        #expect(times.count == 3)
        #expect(times == times.sorted())
    }

    @Test("a removed node never campaigns, refuses by name, and says by what")
    func removed() {
        var rig = leader()
        rig.turn { replica, _ in replica.noteRemoval("the change of members at index 9, as n2 says") }
        let state = rig.replica.statusReply.node.state
        #expect(state == .removed)
        let role = rig.replica.statusReply.node.role
        #expect(role == NodeRole.none)
        let isLinkedToNobody = rig.replica.linkedMembers.isEmpty
        #expect(isLinkedToNobody)
        guard case .failed(let error, _)? = rig.ask(.remove(name: "n1")) else {
            Issue.record("no refusal")
            return
        }
        #expect(error.code == .notReady)
        #expect(
            error.message == "this node was removed from the cluster by the change of members at index 9, as n2 says; its "
                + "data directory can be deleted")
    }
}
