import Basics
import MetadataModel
import RaftCore
@testable import ReplicaCore
import Testing
import Wire

@Suite("Alarms of one node")
struct AlarmTests {
    private static let alone = Membership(
        members: [Member(id: NodeID(1), name: "n1", peerAddress: "p:1")], incoming: [NodeID(1)])
    private static let three = Membership(
        members: (1...3).map { Member(id: NodeID($0), name: "n\($0)", peerAddress: "p:\($0)") },
        incoming: [NodeID(1), NodeID(2), NodeID(3)])

    private func clear(_ name: String, _ rig: inout Rig) -> ControlReply? {
        rig.replies.removeAll()
        rig.turn { replica, slot in Rig.send(&replica, slot) { AlarmClearing.encode(name, requestID: 3, into: &$0) } }
        return rig.replies.first
    }

    private func refusal(_ name: String, _ rig: inout Rig) -> ErrorCode? {
        if case .failed(let error, .clearAlarm)? = clear(name, &rig) { error.code } else { nil }
    }

    private func names(_ rig: borrowing Rig) -> [String] {
        rig.replica.statusReply.alarms.map { "\($0.name) \($0.isActive ? "active" : "over")" }
    }

    @Test("what stood before a restart stands after it, until it is cleared")
    func restored() {
        let kept = [LatchedAlarm(name: "damage", since: ClusterTime(nanoseconds: 5), detail: "log: file 3")]
        var rig = Rig(Self.alone, alarms: kept)
        #expect(names(rig) == ["damage over"])
        #expect(rig.replica.statusReply.alarms.first?.since == ClusterTime(nanoseconds: 5))
        let elsewhere = refusal("regressed", &rig)
        #expect(elsewhere == .noSuchAlarm)
        #expect(rig.changedAlarms.isEmpty)
        let cleared = clear("damage", &rig)
        #expect(cleared == .alarmCleared(AlarmClearedReply(revision: .zero, count: 1)))
        #expect(rig.changedAlarms == [[]])
        #expect(names(rig) == [])
        let again = refusal("damage", &rig)
        #expect(again == .noSuchAlarm)
    }

    @Test("a name that this release does not know is listed and cleared like any other")
    func unknownName() {
        var rig = Rig(Self.alone, alarms: [LatchedAlarm(name: "ofLater", since: .zero, detail: "d")])
        #expect(names(rig) == ["ofLater over"])
        let refused = refusal("ofLater", &rig)
        #expect(refused == nil)
        #expect(names(rig) == [])
    }

    @Test("a disk's alarms follow its space, keep the time since when, and cannot be cleared")
    func disk() {
        var rig = Rig(Self.alone)
        rig.wait(.seconds(2))
        #expect(names(rig) == [])
        rig.turn { replica, _ in replica.diskChanged(DiskUsage(used: 0, free: 5 << 20), .low) }
        // Alone it cannot hand over, so nothing that takes space is admitted once it leads.
        #expect(names(rig).first == "diskLow active")
        let whileLow = refusal("diskLow", &rig)
        #expect(whileLow == .alarmHolds)
        rig.turn { replica, _ in replica.diskChanged(DiskUsage(used: 0, free: 1 << 20), .exhausted) }
        #expect(names(rig).first == "diskFull active")
        let whileFull = refusal("diskLow", &rig)
        #expect(whileFull == .noSuchAlarm)
        rig.turn { replica, _ in replica.diskChanged(DiskUsage(used: 0, free: 50 << 20), .ample) }
        #expect(names(rig) == [])
        #expect(rig.changedAlarms.isEmpty)
    }

    @Test("damage among others is active while the state is rebuilt; alone it is as long as the rows are served")
    func damagedState() {
        for (membership, isQuarantined) in [(Self.three, true), (Self.alone, false)] {
            var rig = Rig(membership)
            rig.turn { replica, _ in replica.stateDamaged(reason: "file 3", isUsable: true) }
            rig.turn { replica, _ in replica.stateDamaged(reason: "file 3", isUsable: true) }
            let quarantined = rig.replica.isQuarantined
            #expect(quarantined == isQuarantined)
            #expect(names(rig) == ["damage active"])
            #expect(rig.changedAlarms.map { $0.map(\.detail) } == [["state: file 3"]])
            let whileDamaged = refusal("damage", &rig)
            #expect(whileDamaged == .alarmHolds)
        }
    }

    @Test("a divergence stands as active while the state is rebuilt, and members that all differ are an alarm too")
    func diverged() {
        var rig = Rig(Self.three)
        rig.turn { replica, _ in replica.act(on: .noMajority(index: LogIndex(4_096))) }
        rig.turn { replica, _ in replica.act(on: .ownStateDiffers(index: LogIndex(8_192), own: 1, majority: 2)) }
        #expect(names(rig) == ["statesDiffer over", "diverged active"])
        #expect(rig.changedAlarms.count == 2)
        let whileRebuilding = refusal("diverged", &rig)
        #expect(whileRebuilding == .alarmHolds)
        let cleared = refusal("statesDiffer", &rig)
        #expect(cleared == nil)
        #expect(names(rig) == ["diverged active"])
    }

    @Test("while the state is rebuilt for one cause, what stands of another is over and can be cleared")
    func causes() {
        for (cause, other) in [("damage", "diverged"), ("diverged", "damage")] {
            let old = LatchedAlarm(name: other, since: ClusterTime(nanoseconds: 5), detail: "of last week")
            var rig = Rig(Self.three, alarms: [old])
            rig.turn { replica, _ in
                if cause == "damage" {
                    replica.stateDamaged(reason: "file 3", isUsable: true)
                } else {
                    replica.act(on: .ownStateDiffers(index: LogIndex(8_192), own: 1, majority: 2))
                }
            }
            #expect(names(rig) == ["\(other) over", "\(cause) active"])
            let cleared = refusal(other, &rig)
            #expect(cleared == nil)
            let kept = refusal(cause, &rig)
            #expect(kept == .alarmHolds)
            rig.wait(.seconds(2))
            #expect(names(rig) == ["\(cause) active"])
        }
    }

    @Test("a regression stands as active until the log has caught up")
    func regressed() {
        var rig = Rig(Self.three)
        rig.turn { replica, _ in replica.toldOfAcknowledgement(EntryID(term: .zero, index: LogIndex(9)), by: NodeID(2)) }
        #expect(names(rig) == ["regressed active"])
        let whileRegressed = refusal("regressed", &rig)
        #expect(whileRegressed == .alarmHolds)
        #expect(rig.changedAlarms.count == 1)
    }

    @Test("a leader tells of members that it does not hear")
    func unreachable() {
        var rig = Rig(Self.alone)
        for _ in 0..<5 { rig.wait(.seconds(3)) }
        #expect(names(rig) == [])
        let isLeader = rig.replica.raft.isLeader
        #expect(isLeader)
        rig.turn { replica, _ in
            replica.shellSees([AlarmBook.Condition(.certificateExpiring, detail: "its certificate ends on 2026-12-01")])
        }
        rig.wait(.seconds(2))
        #expect(names(rig) == ["certificateExpiring active"])
        rig.turn { replica, _ in replica.shellSees([]) }
        rig.wait(.seconds(2))
        #expect(names(rig) == [])
    }

    // MARK: The book

    @Test("the same damage twice is one alarm, of many damages the first are kept, and what happened again is told once")
    func book() {
        var book = AlarmBook(node: "n1")
        let times = (0..<40).map { ClusterTime(nanoseconds: UInt64($0)) }
        for number in 0..<40 {
            let isNew = book.raise(.damage, "file \(number)", at: times[number])
            #expect(isNew == (number < AlarmBook.latchedMax))
            let isSecond = book.raise(.damage, "file \(number)", at: times[39])
            #expect(!isSecond)
        }
        #expect(book.latched.count == AlarmBook.latchedMax && book.latched.first?.since == times[0])
        let isRaised = book.raise(.regressed, "at 5", at: times[1])
        #expect(isRaised)
        let isNews = book.raise(.regressed, "at 9", at: times[2])
        #expect(isNews)
        let isSame = book.raise(.regressed, "at 9", at: times[3])
        #expect(!isSame)
        #expect(book.latched.last == LatchedAlarm(name: "regressed", since: times[1], detail: "at 9"))
        let cleared = book.clear("damage", active: [])
        #expect(cleared == .cleared(AlarmBook.latchedMax))
        #expect(book.latched.map(\.name) == ["regressed"])
    }

    @Test("a condition that goes on keeps its time; one that comes again begins anew")
    func conditions() {
        var book = AlarmBook(node: "n1")
        func update(_ nodes: [String], at time: UInt64) -> [String] {
            book.update(
                nodes.map { AlarmBook.Condition(.unreachable, node: $0, detail: "d") }, at: ClusterTime(nanoseconds: time))
            return book.alarms(active: []).map { "\($0.node) \($0.since.nanoseconds)" }
        }
        let first = update(["n2"], at: 1)
        #expect(first == ["n2 1"])
        let both = update(["n2", "n3"], at: 2)
        #expect(both == ["n2 1", "n3 2"])
        let one = update(["n3"], at: 3)
        #expect(one == ["n3 2"])
        let later = update(["n2", "n3"], at: 4)
        #expect(later == ["n2 4", "n3 2"])
    }
}
