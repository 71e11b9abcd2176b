import Basics
import LogFormat
import MetadataMachine
import MetadataModel
import StateEngine
import Testing

@Suite("Puts, deletes and ranges")
struct CommandTests {
    let rig: Rig

    init() throws { rig = try Rig() }

    // MARK: Put and delete

    @Test("a row's revision is the index of the entry that wrote it last")
    func revisions() throws {
        #expect(try rig.mutate(put("a", "1")).revision == LogIndex(1))
        #expect(try rig.mutate(put("a", "2")).revision == LogIndex(2))
        try rig.mutate(put("b"))
        let row = try rig.ask(.get(key: Array("a".utf8)))
        #expect(try row.row() == RowResult(revision: LogIndex(2), value: Array("2".utf8)))
        #expect(row.revision == LogIndex(3), "of the state that answered")
    }

    @Test("keys and values are any bytes")
    func anyBytes() throws {
        let key: [UInt8] = [0xFF, 0, 0xFF]
        try rig.mutate(.put(key: key, value: []))
        #expect(try rig.ask(.get(key: key)).row() == RowResult(revision: LogIndex(1), value: []))
        #expect(try rig.ask(.get(key: [0xFF])).row() == nil)
    }

    @Test("a plain put reads nothing: it passes a row that the engine cannot read")
    func putReadsNothing() throws {
        try rig.mutate(put("a", "1"))
        rig.engine.readFault = KeyRange(from: [0x10], to: [0x12])
        try rig.mutate(put("a", "2"))
        try rig.mutate(delete("a"))
        #expect(rig.engine.readFault != nil)
        #expect(throws: MachineError.self) { try rig.mutate(put("a", ifRevision: .zero)) }
    }

    @Test("a conditional put takes place only over the revision that it expects")
    func conditionalPut() throws {
        try rig.mutate(put("a", "1"))
        let refused = try rig.mutate(put("a", "2", ifRevision: LogIndex(7)))
        #expect(refused.code == .conflict)
        #expect(refused.error?.currentRevision == LogIndex(1))
        #expect(refused.revision == LogIndex(2))
        #expect(try rig.value("a") == "1")
        #expect(try rig.mutate(put("a", "3", ifRevision: LogIndex(1))).error == nil)
        #expect(try rig.value("a") == "3")
    }

    @Test("expected revision 0 means: there is no row")
    func mustNotExist() throws {
        #expect(try rig.mutate(put("a", "1", ifRevision: .zero)).error == nil)
        #expect(try rig.mutate(put("a", "2", ifRevision: .zero)).error?.currentRevision == LogIndex(1))
        try rig.mutate(delete("a"))
        #expect(try rig.mutate(put("a", "4", ifRevision: .zero)).error == nil)
        #expect(try rig.value("a") == "4")
        let missing = try rig.mutate(put("b", ifRevision: LogIndex(1)))
        #expect(missing.error?.currentRevision == .zero)
    }

    @Test("a condition sees what earlier entries of its group did")
    func conditionInGroup() throws {
        let answers = try rig.applyTogether([
            rig.next(put("a", "1")), rig.next(put("a", "2", ifRevision: LogIndex(1))),
            rig.next(put("a", "3", ifRevision: LogIndex(1))), rig.next(delete("a", ifRevision: LogIndex(2))),
            rig.next(put("a", "5", ifRevision: .zero)),
        ])
        #expect(answers.map(\.code) == [nil, nil, .conflict, nil, nil])
        #expect(try rig.value("a") == "5")
    }

    @Test("a delete removes the row and leaves a tombstone, whether there was a row or not")
    func deleteLeavesTombstone() throws {
        try rig.mutate(put("a"))
        #expect(try rig.mutate(delete("a")).revision == LogIndex(2))
        #expect(try rig.mutate(delete("never")).error == nil)
        #expect(try rig.value("a") == nil)
        #expect(try tombstones() == ["a", "never"])
    }

    @Test("a conditional delete of another revision is a conflict")
    func conditionalDelete() throws {
        try rig.mutate(put("a"))
        #expect(try rig.mutate(delete("a", ifRevision: LogIndex(9))).error?.currentRevision == LogIndex(1))
        #expect(try rig.mutate(delete("b", ifRevision: LogIndex(1))).code == .conflict)
        #expect(try rig.mutate(delete("a", ifRevision: LogIndex(1))).error == nil)
        #expect(try rig.keys().isEmpty)
        #expect(try tombstones() == ["a"])
    }

    private func tombstones() throws -> [String] {
        var found: [String] = []
        try rig.engine.scan(from: [0x11], to: [0x12], reversed: false) { key, _ in
            found.append(String(decoding: [UInt8](key).dropFirst(), as: UTF8.self))
            return .next
        }
        return found
    }

    // MARK: Sequential

    @Test("a sequential create makes rising keys of one length under its prefix")
    func sequential() throws {
        let create = Mutation.createSequential(prefix: Array("q/".utf8), value: [1])
        let keys = try (0..<12).map { _ in try rig.mutate(create).createdKey() }
        #expect(keys == keys.sorted())
        #expect(Set(keys).count == 12)
        #expect(keys[1] == "q/00000000000000000002")
        #expect(try rig.keys("q/") == keys)
    }

    @Test("a sequential create never replaces a row that was put by name")
    func sequentialTaken() throws {
        try rig.mutate(put("q/00000000000000000002", "mine"))
        let refused = try rig.mutate(.createSequential(prefix: Array("q/".utf8), value: []))
        #expect(refused.code == .conflict)
        #expect(refused.error?.currentRevision == LogIndex(1))
        #expect(try rig.value("q/00000000000000000002") == "mine")
        #expect(try rig.mutate(.createSequential(prefix: Array("q/".utf8), value: [])).error == nil)
    }

    // MARK: Ranges

    @Test("a range delete deletes the rows of its prefix or range and says how many")
    func deleteRange() throws {
        for key in ["a", "a/1", "a/2", "a/3", "b", "c"] { try rig.mutate(put(key)) }
        let deleted = try rig.mutate(.deleteRange(prefix("a/")))
        #expect(try deleted.deleteRange() == DeleteRangeResult(rowCount: 3, hasMore: false))
        #expect(try rig.keys() == ["a", "b", "c"])
        try rig.mutate(.deleteRange(.range(from: Array("b".utf8), to: Array("c".utf8))))
        #expect(try rig.keys() == ["a", "c"])
        try rig.mutate(.deleteRange(.range(from: Array("b".utf8), to: nil)))
        #expect(try rig.keys() == ["a"])
        #expect(try rig.mutate(.deleteRange(prefix("x"))).deleteRange().rowCount == 0)
        #expect(
            try rig.mutate(.deleteRange(.range(from: Array("z".utf8), to: Array("a".utf8)))).deleteRange().rowCount == 0
        )
        #expect(try rig.mutate(.deleteRange(prefix(""))).deleteRange().rowCount == 1)
        #expect(try tombstones() == ["a", "a/1", "a/2", "a/3", "b", "c"])
    }

    @Test("a range delete with a limit takes the first rows and says whether there are more")
    func deleteRangeInParts() throws {
        for key in ["a", "b", "c"] { try rig.mutate(put(key)) }
        let part = Mutation.deleteRange(prefix(""), limit: 2)
        #expect(try rig.mutate(part).deleteRange() == DeleteRangeResult(rowCount: 2, hasMore: true))
        #expect(try rig.keys() == ["c"])
        #expect(try rig.mutate(part).deleteRange() == DeleteRangeResult(rowCount: 1, hasMore: false))
    }

    @Test("a range delete of more rows than may go at once deletes nothing; with a limit it goes on in parts")
    func deleteRangeTooLarge() throws {
        let limit = Limits.rangeDeleteRowsMax
        _ = try rig.applyTogether((0...limit).map { rig.next(put("k\($0)")) })
        let refused = try rig.mutate(.deleteRange(prefix("k")))
        #expect(refused.code == .tooLarge)
        #expect(refused.error?.limit == UInt64(limit))
        #expect(try rig.value("k0") != nil)
        let part = try rig.mutate(.deleteRange(prefix("k"), limit: UInt32(limit))).deleteRange()
        #expect(part == DeleteRangeResult(rowCount: UInt32(limit), hasMore: true))
        #expect(try rig.keys().count == 1)
    }

    @Test("a range delete sees what earlier entries of its group did")
    func deleteRangeInGroup() throws {
        let answers = try rig.applyTogether([
            rig.next(put("a/1")), rig.next(put("a/2")), rig.next(delete("a/1")), rig.next(.deleteRange(prefix("a/"))),
            rig.next(put("a/3")),
        ])
        #expect(try answers[3].deleteRange().rowCount == 1)
        #expect(try rig.keys() == ["a/3"])
    }

    // MARK: Entries

    @Test("a noop and a configuration have empty replies and move what was applied")
    func emptyReplies() throws {
        #expect(try rig.apply([], type: .noop).isEmpty)
        #expect(rig.machine.applied.last.index == LogIndex(1))
        let members = Membership(
            members: [Member(id: NodeID(1), name: "n1", peerAddress: "h:1")], incoming: [NodeID(1)])
        #expect(try rig.apply(members.encoded(), type: .configuration).isEmpty)
        #expect(rig.lastReport?.membership == members)
        let stored = StoredMembership(index: LogIndex(2), membership: members)
        #expect(rig.machine.membership == stored)
        try rig.restart()
        #expect(rig.machine.membership == stored)
        try rig.moveToSnapshot()
        #expect(rig.machine.membership == stored)
    }

    @Test("the report covers its range, with the cluster time of the last entry")
    func report() throws {
        let answers = try rig.applyTogether([rig.next(put("a")), rig.next(put("b"))])
        #expect(answers.map(\.revision) == [LogIndex(1), LogIndex(2)])
        rig.pass(.seconds(5))
        try rig.housekeep(.tick)
        #expect(rig.lastReport?.range == LogIndex(3)...LogIndex(3))
        #expect(rig.lastReport?.time == rig.time)
        #expect(rig.machine.applied.time == rig.time)
    }

    @Test("a group that changes much is written in parts; applied again after a crash it is the same")
    func largeGroup() throws {
        let value = [UInt8](repeating: 1, count: Limits.applyBatchSizeMax / 2)
        _ = try rig.applyTogether(["a", "b", "c"].map { rig.next(.put(key: Array($0.utf8), value: value)) })
        for _ in 0..<2 {
            // The first two rows with what stands before them are more than a batch should be.
            #expect(try rig.rows(of: 0xF1).count == 2)
            #expect(try rig.revision("b") == LogIndex(2))
            #expect(try rig.revision("c") == LogIndex(3))
            try rig.crashAndReplay()
        }
    }

    @Test("an entry of an unknown kind stops the machine")
    func unknownKind() throws {
        #expect(throws: MachineError.self) { try rig.apply([77] + [UInt8](repeating: 0, count: 33)) }
    }

    @Test("what was applied is durable once a flush has returned")
    func durableApplied() throws {
        try rig.mutate(put("a"))
        #expect(try rig.machine.durableApplied() == .zero)
        rig.engine.flush()
        try rig.mutate(put("a"))
        #expect(try rig.machine.durableApplied() == LogIndex(1))
    }

    @Test("a damaged row of the machine's own refuses to start", arguments: [UInt8(0x06), 0xF0, 0xF2])
    func damagedHousekeeping(table: UInt8) throws {
        try rig.mutate(put("a"))
        var batch = WriteBatch()
        batch.put([table], [1, 2, 3])
        rig.engine.write(batch)
        #expect(throws: MachineError.self) { try rig.restart() }
    }
}
