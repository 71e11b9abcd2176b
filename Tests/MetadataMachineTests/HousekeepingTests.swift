import Basics
import MetadataMachine
import MetadataModel
import StateEngine
import Testing

@Suite("Housekeeping")
struct HousekeepingTests {
    let rig: Rig

    init() throws { rig = try Rig(base: LogIndex(Limits.digestInterval - 3)) }

    private func tombstoneCount() throws -> Int {
        var count = 0
        try rig.engine.scan(from: [0x11], to: [0x12], reversed: false) { _, _ in
            count += 1
            return .next
        }
        return count
    }

    // MARK: Delete floor

    @Test("the delete floor takes the tombstones at or below it, never falls, and is kept")
    func deleteFloor() throws {
        let first = try rig.mutate(delete("a")).revision
        let second = try rig.mutate(delete("b")).revision
        try rig.mutate(delete("c"))
        try rig.housekeep(.deleteFloor(second))
        #expect(try tombstoneCount() == 1)
        try rig.housekeep(.deleteFloor(first))
        let since = Mutation.transaction(
            Transaction(comparisons: [.unchanged(prefix: [], since: first)], then: []))
        #expect(try rig.mutate(since).error?.currentRevision == second)
        try rig.moveToSnapshot()
        #expect(try rig.mutate(since).error?.currentRevision == second)
    }

    @Test("a tombstone that a later delete renewed stays")
    func renewedTombstone() throws {
        let first = try rig.mutate(delete("a")).revision
        try rig.mutate(delete("a"))
        try rig.housekeep(.deleteFloor(first))
        #expect(try tombstoneCount() == 1)
    }

    // MARK: Digests

    /// The digest that the machine reports at the interval, after `keys` were put.
    private func digest(of keys: [String], on rig: Rig) throws -> IndexedDigest? {
        var found: [IndexedDigest] = []
        for key in keys {
            try rig.mutate(put(key))
            found += rig.lastReport?.digests ?? []
        }
        return found.last
    }

    @Test("the digest is reported at each multiple of the interval, the same for the same log")
    func digestReported() throws {
        let twin = try Rig(base: rig.base)
        let own = try digest(of: ["a", "b", "c", "d"], on: rig)
        #expect(own?.index == LogIndex(Limits.digestInterval))
        #expect(try digest(of: ["a", "b", "c", "d"], on: twin) == own)
    }

    @Test("the digest differs when any change before it differed")
    func digestDiffers() throws {
        let other = try Rig(base: rig.base)
        let own = try digest(of: ["a", "b", "c"], on: rig)
        let different = try digest(of: ["x", "b", "c"], on: other)
        #expect(own != nil)
        #expect(own != different)
    }

    @Test("a verdict against this node's digest is found, one that agrees is not")
    func verdict() throws {
        guard let own = try digest(of: ["a", "b", "c"], on: rig) else {
            Issue.record("no digest was reported")
            return
        }
        try rig.housekeep(.digestVerdict(DigestVerdict(index: own.index, majority: own.digest, votes: [])))
        #expect(rig.lastReport?.digestFindings == [])
        let majority = own.digest ^ 1
        try rig.housekeep(.digestVerdict(DigestVerdict(index: own.index, majority: majority, votes: [])))
        #expect(
            rig.lastReport?.digestFindings
                == [.ownStateDiffers(index: own.index, own: own.digest, majority: majority)])
        try rig.restart()
        try rig.housekeep(.digestVerdict(DigestVerdict(index: own.index, majority: majority, votes: [])))
        #expect(rig.lastReport?.digestFindings == [], "a node that does not know its own digest is not accused")
    }

    @Test("a verdict without a majority is an alarm on every node")
    func noMajority() throws {
        let index = LogIndex(1)
        try rig.housekeep(.digestVerdict(DigestVerdict(index: index, majority: nil, votes: [])))
        #expect(rig.lastReport?.digestFindings == [.noMajority(index: index)])
    }

    // MARK: Members

    @Test("what members tell of themselves is reported and kept, the newest of each")
    func memberInfo() throws {
        func info(_ node: UInt64, _ version: String) -> MemberInfo {
            MemberInfo(node: NodeID(node), clientAddress: "h:\(node)", version: version, featureLevel: 1)
        }
        try rig.housekeep(.memberInfo(info(2, "1.0")))
        try rig.housekeep(.memberInfo(info(1, "1.0")))
        try rig.housekeep(.memberInfo(info(2, "1.1")))
        #expect(rig.lastReport?.memberInfo == [info(2, "1.1")])
        let expected = [NodeID(1): info(1, "1.0"), NodeID(2): info(2, "1.1")]
        #expect(rig.machine.memberInfo == expected)
        try rig.restart()
        #expect(rig.machine.memberInfo == expected)
        try rig.moveToSnapshot()
        #expect(rig.machine.memberInfo == expected)
    }

    @Test("the feature level rises and never falls")
    func featureLevel() throws {
        #expect(rig.machine.featureLevel == 1)
        try rig.housekeep(.featureLevel(2))
        #expect(rig.lastReport?.featureLevel == 2)
        try rig.housekeep(.featureLevel(1))
        #expect(rig.lastReport?.featureLevel == 2)
        try rig.restart()
        #expect(rig.machine.featureLevel == 2)
    }

    @Test("housekeeping has no reply and opens no session")
    func noReply() throws {
        #expect(try rig.apply(Housekeeping.tick.encoded()).isEmpty)
        #expect(rig.machine.openSessions().isEmpty)
    }
}
