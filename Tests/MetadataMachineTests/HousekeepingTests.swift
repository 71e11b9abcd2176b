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

    // MARK: Tombstones in parts

    /// Of the keys k100000, k100001 and so on, as many with one entry as a transaction may name.
    private func leaveTombstones(_ count: Int, on rig: Rig) throws {
        let most = Limits.transactionOperationsMax
        for first in stride(from: 0, to: count, by: most) {
            let keys = (first..<min(count, first + most)).map { Array("k\(100_000 + $0)".utf8) }
            let answer = try rig.mutate(.transaction(Transaction(then: keys.map { .delete(key: $0) })))
            #expect(answer.error == nil)
        }
    }

    private static let many = Limits.tombstonesPerSweepMax * 2 + 10

    private func unchanged(_ prefix: String, since: LogIndex) throws -> Answer {
        let comparison = Transaction.Comparison.unchanged(prefix: Array(prefix.utf8), since: since)
        return try rig.mutate(.transaction(Transaction(comparisons: [comparison], then: [])))
    }

    @Test("an entry removes so many tombstones and no more; from the first on, what is known of deletes begins at the floor")
    func sweepInParts() throws {
        try leaveTombstones(Self.many, on: rig)
        let floor = try rig.mutate(delete("k")).revision
        try rig.mutate(delete("z"))
        #expect(try tombstoneCount() == Self.many + 2)

        try rig.housekeep(.deleteFloor(floor))
        #expect(try tombstoneCount() == Self.many + 2 - Limits.tombstonesPerSweepMax)
        // "k" was the first of them.
        let next = Array("k\(100_000 + Limits.tombstonesPerSweepMax - 1)".utf8)
        #expect(rig.lastReport?.tombstoneSweep == TombstoneSweep(floor: floor, next: next))
        var row = ByteWriter()
        row.write(floor.rawValue)
        let stored: [[UInt8]: [UInt8]] = [[]: row.takeBytes() + next]
        #expect(try rig.rows(of: 0x06) == stored)
        // Those that are left tell nobody anything.
        let before = try unchanged("k", since: floor.previous)
        #expect(before.code == .compacted)
        #expect(before.error?.currentRevision == floor)
        #expect(try unchanged("k", since: floor).transaction().succeeded)
        #expect(try !unchanged("", since: floor).transaction().succeeded, "the last delete is known")
        let answer = try rig.ask(.changes(DeltaRequest(span: prefix(""), since: floor)))
        var reader = ByteReader(answer.rest.rawSpan)
        let changed = try DeltaPage(decoding: &reader)
        #expect(changed.items.map(\.key) == [Array("z".utf8)])

        // Any such entry goes on, whatever floor it names.
        try rig.housekeep(.deleteFloor(LogIndex(1)))
        #expect(try tombstoneCount() == Self.many + 2 - 2 * Limits.tombstonesPerSweepMax)
        try rig.housekeep(.deleteFloor(floor))
        #expect(try tombstoneCount() == 1)
        #expect(rig.lastReport?.tombstoneSweep == nil)
        #expect(try rig.rows(of: 0x06).isEmpty)
        let rows = try rig.replicatedRows()
        try rig.housekeep(.deleteFloor(floor))
        #expect(try rig.replicatedRows() == rows, "with nothing left it does nothing")
    }

    @Test("a floor that rises while tombstones are removed holds at once; those that were passed go too, in the end")
    func floorRisesMeanwhile() throws {
        try leaveTombstones(Self.many, on: rig)
        try rig.housekeep(.deleteFloor(rig.machine.applied.last.index))
        // At a key that was passed.
        let later = try rig.mutate(delete("k100000")).revision
        let left = try tombstoneCount()
        let sweep = rig.machine.tombstoneSweep
        try rig.housekeep(.deleteFloor(later))
        #expect(try tombstoneCount() == left)
        #expect(rig.machine.tombstoneSweep == sweep, "the leader's next entry goes on")
        #expect(try unchanged("k", since: later.previous).error?.currentRevision == later)
        var parts = 0
        while let sweep = rig.machine.tombstoneSweep, parts < 10 {
            try rig.housekeep(.deleteFloor(sweep.floor))
            parts += 1
        }
        #expect(parts == 3, "two to the end, one from the beginning")
        #expect(try tombstoneCount() == 0)
    }

    /// The state once all tombstones are gone, and how many entries that took after the first.
    private func swept(_ between: (Rig) throws -> Void) throws -> (rig: Rig, parts: Int) {
        let rig = try Rig(base: self.rig.base)
        try leaveTombstones(Self.many, on: rig)
        try rig.housekeep(.deleteFloor(rig.machine.applied.last.index))
        var parts = 0
        while let sweep = rig.machine.tombstoneSweep, parts < 10 {
            try between(rig)
            #expect(rig.machine.tombstoneSweep == sweep)
            try rig.housekeep(.deleteFloor(sweep.floor))
            parts += 1
        }
        return (rig, parts)
    }

    @Test("a restart, a crash or a snapshot between two parts changes nothing", arguments: ["restart", "crash", "snapshot"])
    func sweepGoesOn(after event: String) throws {
        let plain = try swept { _ in }
        let other = try swept { rig in
            switch event {
            case "restart": try rig.restart()
            case "crash": try rig.crashAndReplay()
            default: try rig.moveToSnapshot()
            }
        }
        #expect(other.parts == 2)
        #expect(other.parts == plain.parts)
        #expect(other.rig.machine.applied == plain.rig.machine.applied)
        #expect(try other.rig.replicatedRows() == plain.rig.replicatedRows())
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
