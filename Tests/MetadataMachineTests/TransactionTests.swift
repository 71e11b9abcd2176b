import Basics
import MetadataMachine
import MetadataModel
import StateEngine
import Testing

@Suite("Transactions")
struct TransactionTests {
    let rig: Rig

    init() throws { rig = try Rig() }

    private func put(_ key: String, _ value: String = "v") -> Transaction.Operation {
        .put(key: Array(key.utf8), value: Array(value.utf8))
    }

    private func get(_ key: String) -> Transaction.Operation { .get(key: Array(key.utf8)) }

    private func deletePrefix(_ prefix: String) -> Transaction.Operation { .deletePrefix(Array(prefix.utf8)) }

    private func run(
        _ comparisons: [Transaction.Comparison] = [], then: [Transaction.Operation] = [],
        otherwise: [Transaction.Operation] = []
    ) throws -> Answer {
        try rig.mutate(.transaction(Transaction(comparisons: comparisons, then: then, otherwise: otherwise)))
    }

    private func holds(_ comparison: Transaction.Comparison) throws -> Bool {
        try run([comparison]).transaction().succeeded
    }

    @Test("all comparisons must hold for the first branch, else the second is taken; never both")
    func branches() throws {
        let a = Array("a".utf8)
        let taken = try run([.exists(key: a, false)], then: [put("a", "then")], otherwise: [put("b")])
        #expect(try taken.transaction() == TransactionResult(succeeded: true, results: [.put]))
        let other = try run(
            [.exists(key: a, true), .value(key: a, equals: [1])], then: [put("c")], otherwise: [put("a", "else")])
        #expect(try other.transaction() == TransactionResult(succeeded: false, results: [.put]))
        #expect(try rig.keys() == ["a"])
        #expect(try rig.value("a") == "else")
    }

    @Test("every change of a transaction has its one revision")
    func oneRevision() throws {
        try rig.mutate(MetadataMachineTests.put("x/1"))
        let answer = try run(then: [put("a"), put("b"), deletePrefix("x/")])
        #expect(answer.revision == LogIndex(2))
        #expect(try rig.revision("a") == LogIndex(2))
        #expect(try rig.revision("b") == LogIndex(2))
        #expect(try rig.keys() == ["a", "b"])
    }

    @Test("comparisons: revision, value, existence")
    func comparisons() throws {
        let (a, none) = (Array("a".utf8), Array("none".utf8))
        try rig.mutate(MetadataMachineTests.put("a", "1"))
        #expect(try holds(.revision(key: a, equals: LogIndex(1))))
        #expect(try !holds(.revision(key: a, equals: LogIndex(2))))
        #expect(try holds(.revision(key: none, equals: .zero)))
        #expect(try holds(.value(key: a, equals: Array("1".utf8))))
        #expect(try !holds(.value(key: a, equals: Array("12".utf8))))
        #expect(try !holds(.value(key: none, equals: [])))
        #expect(try holds(.exists(key: a, true)))
        #expect(try !holds(.exists(key: none, true)))
        #expect(try holds(.exists(key: none, false)))
    }

    @Test("unchanged since: sees puts, deletes and range deletes under the prefix, and nothing beside it")
    func unchangedSince() throws {
        let prefix = Array("p/".utf8)
        for key in ["p/1", "p/2", "p/3"] { try rig.mutate(MetadataMachineTests.put(key)) }
        #expect(try holds(.unchanged(prefix: prefix, since: LogIndex(3))))
        #expect(try !holds(.unchanged(prefix: prefix, since: LogIndex(2))))
        try rig.mutate(MetadataMachineTests.put("p"))
        try rig.mutate(MetadataMachineTests.put("p0"))
        #expect(try holds(.unchanged(prefix: prefix, since: LogIndex(3))))
        let deleted = try rig.mutate(delete("p/1")).revision
        #expect(try !holds(.unchanged(prefix: prefix, since: LogIndex(3))))
        #expect(try holds(.unchanged(prefix: prefix, since: deleted)))
        let range = try rig.mutate(.deleteRange(.prefix(prefix))).revision
        #expect(try !holds(.unchanged(prefix: prefix, since: deleted)))
        #expect(try holds(.unchanged(prefix: prefix, since: range)))
        try rig.mutate(MetadataMachineTests.put("p/1"))
        #expect(try !holds(.unchanged(prefix: prefix, since: range)), "a put over a tombstone is a change")
    }

    @Test("unchanged since a revision below the delete floor is compacted, and nothing is done")
    func compacted() throws {
        try rig.mutate(delete("p/1"))
        try rig.mutate(delete("p/2"))
        try rig.housekeep(.deleteFloor(LogIndex(1)))
        let below = try run(
            [.unchanged(prefix: Array("p/".utf8), since: .zero)], then: [put("x")], otherwise: [put("y")])
        #expect(below.code == .compacted)
        #expect(below.error?.currentRevision == LogIndex(1))
        #expect(try rig.keys().isEmpty)
        #expect(try !holds(.unchanged(prefix: Array("p/".utf8), since: LogIndex(1))), "the second delete is known")
        #expect(try holds(.unchanged(prefix: Array("p/".utf8), since: LogIndex(2))))
        try rig.restart()
        #expect(try run([.unchanged(prefix: [], since: .zero)]).code == .compacted)
    }

    @Test("unchanged since a revision of before a restore is compacted: what was done after the snapshot is not known")
    func unchangedBeforeRestore() throws {
        for key in ["p/1", "p/2"] { try rig.mutate(MetadataMachineTests.put(key)) }
        let restored = try Rig(restoring: rig)
        func check(since: LogIndex) throws -> Answer {
            let comparison = Transaction.Comparison.unchanged(prefix: Array("p/".utf8), since: since)
            return try restored.mutate(
                .transaction(Transaction(comparisons: [comparison], then: [put("x")], otherwise: [put("y")])))
        }
        // The last of the snapshot, and one that the cluster had come to before it was rolled back.
        for since in [LogIndex(2), LogIndex(1_000)] { #expect(try check(since: since).code == .compacted) }
        // Of which revision it is told is the same for whoever gets the state later.
        try restored.moveToSnapshot()
        let late = try check(since: LogIndex(1_000))
        #expect(late.code == .compacted)
        #expect(late.error?.currentRevision == LogIndex(late.revision.rawValue - 1 - (1 << 31)))
        #expect(try restored.keys() == ["p/1", "p/2"])
        // What the new generation did is known.
        #expect(try check(since: restored.base).transaction().succeeded)
        let deleted = try restored.mutate(delete("p/1")).revision
        #expect(try !check(since: restored.base).transaction().succeeded)
        #expect(try check(since: deleted).transaction().succeeded)
        // The query says the same.
        #expect(try restored.ask(.changes(DeltaRequest(span: prefix("p/"), since: LogIndex(2)))).code == .compacted)
    }

    @Test("a get answers from the state before the operations, also when it stands after them")
    func getsSeeTheStateBefore() throws {
        try rig.mutate(MetadataMachineTests.put("a", "old"))
        let answer = try run(then: [put("a", "new"), get("a"), get("none"), deletePrefix("a")])
        let old = RowResult(revision: LogIndex(1), value: Array("old".utf8))
        #expect(
            try answer.transaction().results == [.put, .get(old), .get(nil), .deletePrefix(rowCount: 1)])
        #expect(try rig.keys().isEmpty)
    }

    @Test("puts and deletes happen in order: a prefix delete takes what was put before it, not what comes after")
    func prefixDeleteInOrder() throws {
        try rig.mutate(MetadataMachineTests.put("p/old"))
        try rig.mutate(MetadataMachineTests.put("p/gone"))
        let answer = try run(
            then: [
                put("p/new"), .delete(key: Array("p/gone".utf8)), deletePrefix("p/"), put("p/after"),
                deletePrefix("p/"), put("p/last"),
            ])
        let counts = try answer.transaction().results.compactMap { result -> UInt32? in
            if case .deletePrefix(let count) = result { count } else { nil }
        }
        #expect(counts == [2, 1], "old and new, then after")
        #expect(try rig.keys() == ["p/last"])
    }

    @Test("a transaction sees what earlier entries of its group did")
    func inGroup() throws {
        let swap = Transaction(
            comparisons: [.value(key: Array("a".utf8), equals: Array("1".utf8))], then: [put("a", "2")],
            otherwise: [put("a", "wrong")])
        let answers = try rig.applyTogether([
            rig.next(MetadataMachineTests.put("a", "1")), rig.next(.transaction(swap)), rig.next(.transaction(swap)),
        ])
        #expect(try answers[1].transaction().succeeded)
        #expect(try !answers[2].transaction().succeeded)
        #expect(try rig.value("a") == "wrong")
    }

    @Test("prefix deletes of a transaction are bounded together; above the bound nothing is done")
    func tooManyDeletes() throws {
        let half = Limits.rangeDeleteRowsMax / 2 + 1
        _ = try rig.applyTogether((0..<half).map { rig.next(MetadataMachineTests.put("a\($0)")) })
        _ = try rig.applyTogether((0..<half).map { rig.next(MetadataMachineTests.put("b\($0)")) })
        let refused = try run(then: [put("c"), deletePrefix("a"), deletePrefix("b")])
        #expect(refused.code == .tooLarge)
        #expect(refused.error?.limit == UInt64(Limits.rangeDeleteRowsMax))
        #expect(try rig.value("c") == nil)
        #expect(try rig.value("a0") != nil)
        #expect(try run(then: [deletePrefix("a")]).error == nil)
    }

    @Test("the gets of a transaction answer no more than a frame holds, unless there is only one row")
    func tooMuchRead() throws {
        let value = [UInt8](repeating: 1, count: Limits.transactionReadSizeMax / 2 + 1)
        try rig.mutate(.put(key: Array("a".utf8), value: value))
        try rig.mutate(.put(key: Array("b".utf8), value: value))
        try rig.mutate(.put(key: Array("huge".utf8), value: value + value))
        #expect(try run(then: [get("a"), get("b"), put("c")]).code == .tooLarge)
        #expect(try rig.value("c") == nil)
        #expect(try run(then: [get("a"), put("c")]).error == nil)
        #expect(try run(then: [get("none"), get("huge")]).error == nil)
        #expect(try run(then: [get("huge"), get("a")]).code == .tooLarge)
    }

    @Test("a refused transaction uses its sequence, and its retry is refused the same way")
    func refusedUsesSequence() throws {
        try rig.housekeep(.deleteFloor(LogIndex(1)))
        let command = rig.command(
            .transaction(Transaction(comparisons: [.unchanged(prefix: [], since: .zero)], then: [])), 1)
        let refused = try rig.send(command)
        #expect(refused.code == .compacted)
        #expect(try rig.send(command) == refused)
        #expect(try rig.send(rig.command(MetadataMachineTests.put("a"), 2)).error == nil)
    }
}
