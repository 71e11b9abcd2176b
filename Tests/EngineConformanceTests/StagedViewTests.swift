import Basics
import StateEngine
import Testing

/// Reading through a batch that is not written yet.
@Suite("A staged view")
struct StagedViewTests {
    @Test("shows staged puts, deletes and range deletes over the rows below", arguments: EngineKind.allCases)
    func showsStaged(_ kind: EngineKind) throws {
        let subject = try Subject(kind)
        try subject.write { batch in
            for letter in "bdfhj" { batch.put(bytes(String(letter)), bytes("old")) }
        }
        func check(_ staged: StagedView<some Engine>) throws {
            staged.batch.put(bytes("a"), bytes("new"))
            staged.batch.put(bytes("d"), bytes("new"))
            staged.batch.delete(bytes("f"))
            staged.batch.put(bytes("k"), bytes("new"))
            #expect(try staged.get("a") == bytes("new"))
            #expect(try staged.get("b") == bytes("old"))
            #expect(try staged.get("d") == bytes("new"))
            #expect(try staged.get("f") == nil)
            let expected = [
                Row("a", "new"), Row("b", "old"), Row("d", "new"), Row("h", "old"), Row("j", "old"), Row("k", "new"),
            ]
            #expect(try staged.rows() == expected)
            #expect(try staged.rows(reversed: true) == expected.reversed())
            #expect(try staged.rows(from: bytes("b"), to: bytes("k"), limit: 2) == Array(expected[1...2]))

            staged.batch.deleteRange(from: bytes("b"), to: bytes("j"))
            staged.batch.put(bytes("c"), bytes("later"))
            #expect(try staged.rows() == [Row("a", "new"), Row("c", "later"), Row("j", "old"), Row("k", "new")])
            #expect(try staged.get("h") == nil)
            #expect(try staged.get("c") == bytes("later"))

            #expect(try staged.base.get("a") == nil)
            let before = try staged.rows()
            try staged.commit()
            let isEmpty = staged.batch.isEmpty
            #expect(isEmpty)
            #expect(try staged.rows() == before)
            #expect(try staged.base.rows() == before)
        }
        func opened(_ engine: some Engine) throws { try check(StagedView(engine)) }
        try opened(subject.engine)
    }

    @Test("forgets what was staged when the batch is emptied without being written")
    func forgets() throws {
        let staged = StagedView(MemoryEngine())
        staged.batch.put(bytes("a"), bytes("1"))
        #expect(try staged.get("a") == bytes("1"))
        staged.batch.removeAll()
        #expect(try staged.get("a") == nil)
        staged.batch.put(bytes("b"), bytes("2"))
        #expect(try staged.rows() == [Row("b", "2")])
    }

    @Test("passes on damage found below")
    func passesDamageOn() throws {
        let engine = MemoryEngine()
        var batch = WriteBatch()
        batch.put(bytes("a"), bytes("1"))
        engine.write(batch)
        let staged = StagedView(engine)
        staged.batch.put(bytes("b"), bytes("2"))
        engine.readFault = KeyRange(prefix: bytes("a"))
        #expect(throws: EngineError.self) { try staged.rows() }
        #expect(try staged.rows() == [Row("a", "1"), Row("b", "2")])
    }

    @Test(
        "agrees with writing at once, whatever is staged",
        arguments: EngineKind.allCases, 1...6 as ClosedRange<UInt64>)
    func agreesWithModel(_ kind: EngineKind, _ seed: UInt64) throws {
        let subject = try Subject(kind)
        func check(_ staged: StagedView<some Engine>) throws {
            var random = SplitMix64(seed: seed)
            var model = Model()
            for round in 0..<150 {
                let mark = staged.batch.mark
                randomBatch(&staged.batch, operations: Int.random(in: 0...12, using: &random), &random)
                staged.batch.forEach(since: mark) { kind, first, second in
                    var one = WriteBatch()
                    switch kind {
                    case .put: one.put(first, second)
                    case .delete: one.delete(first)
                    case .deleteRange: one.deleteRange(from: [UInt8](first), to: [UInt8](second))
                    }
                    model.apply(one)
                }
                let from = randomKey(&random)
                let to = Bool.random(using: &random) ? randomKey(&random) : nil
                let limit = Int.random(in: 1...40, using: &random)
                for reversed in [false, true] {
                    #expect(
                        try staged.rows(from: from, to: to, reversed: reversed, limit: limit)
                            == Array(model.rows(from: from, to: to, reversed: reversed).prefix(limit)))
                }
                let key = randomKey(&random)
                #expect(try staged.get(key) == model.rows[key])
                if round % 10 == 9 { try staged.commit() }
            }
        }
        func opened(_ engine: some Engine) throws { try check(StagedView(engine)) }
        try opened(subject.engine)
    }
}
