import Basics
import StateEngine
import Testing

/// What every engine must do. Each claim runs over each engine.
@Suite("Every engine")
struct EngineConformanceTests {
    @Test("a row that was put is read back; one that was not is nil", arguments: EngineKind.allCases)
    func putIsReadBack(_ kind: EngineKind) throws {
        let subject = try Subject(kind)
        try subject.write { $0.put(bytes("a"), bytes("1")) }
        #expect(try subject.engine.get("a") == bytes("1"))
        #expect(try subject.engine.get("b") == nil)
        #expect(try subject.engine.get("") == nil)
    }

    @Test("empty key and empty value are rows like others", arguments: EngineKind.allCases)
    func emptyKeyAndValue(_ kind: EngineKind) throws {
        let subject = try Subject(kind)
        try subject.write {
            $0.put([], bytes("nothing"))
            $0.put(bytes("a"), [])
        }
        #expect(try subject.engine.get("") == bytes("nothing"))
        #expect(try subject.engine.get("a") == [])
        #expect(try subject.engine.rows() == [Row("", "nothing"), Row("a", "")])
        #expect(try subject.engine.rows(reversed: true) == [Row("a", ""), Row("", "nothing")])
        #expect(try subject.engine.rows(to: []) == [])
        try subject.write { $0.delete([]) }
        #expect(try subject.engine.rows() == [Row("a", "")])
    }

    @Test("later operations of one batch win over earlier ones", arguments: EngineKind.allCases)
    func orderInsideBatch(_ kind: EngineKind) throws {
        let subject = try Subject(kind)
        try subject.write {
            $0.put(bytes("a"), bytes("1"))
            $0.put(bytes("a"), bytes("2"))
            $0.put(bytes("b"), bytes("1"))
            $0.delete(bytes("b"))
            $0.put(bytes("c"), bytes("1"))
            $0.deleteRange(from: bytes("c"), to: bytes("d"))
            $0.deleteRange(from: bytes("e"), to: bytes("f"))
            $0.put(bytes("e"), bytes("3"))
        }
        #expect(try subject.engine.rows() == [Row("a", "2"), Row("e", "3")])
    }

    @Test("a put joined from pieces is one row", arguments: EngineKind.allCases)
    func pieces(_ kind: EngineKind) throws {
        let subject = try Subject(kind)
        let head: [UInt8] = [0x10]
        let key = bytes("key")
        let header: [UInt8] = [7, 0, 0, 0]
        let value = bytes("value")
        try subject.write {
            $0.put(keyHead: head.rawSpan, key: key.rawSpan, valueHead: header.rawSpan, value: value.rawSpan)
            $0.put(keyHead: head.rawSpan, key: RawSpan(), valueHead: header.rawSpan, value: RawSpan())
        }
        #expect(try subject.engine.rows() == [Row(head, header), Row(head + key, header + value)])
        try subject.write { $0.delete(keyHead: head.rawSpan, key: key.rawSpan) }
        #expect(try subject.engine.rows() == [Row(head, header)])
    }

    @Test("keys order as unsigned bytes, a prefix first, in both directions", arguments: EngineKind.allCases)
    func keyOrder(_ kind: EngineKind) throws {
        let subject = try Subject(kind)
        let keys: [[UInt8]] = [[], [0], [0, 0], [0x7F], [0x80], [0x80, 0xFF], [0xFF], [0xFF, 0], [0xFF, 0xFF]]
        try subject.write { batch in
            for key in keys.reversed() { batch.put(key, key) }
        }
        #expect(try subject.engine.rows().map(\.key) == keys)
        #expect(try subject.engine.rows(reversed: true).map(\.key) == keys.reversed())
        #expect(try subject.engine.rows(from: [0x80], to: [0xFF, 0]).map(\.key) == [[0x80], [0x80, 0xFF], [0xFF]])
        #expect(
            try subject.engine.rows(from: [0x80], to: [0xFF, 0], reversed: true).map(\.key)
                == [[0xFF], [0x80, 0xFF], [0x80]])
        #expect(try subject.engine.rows(from: [0xFF, 0xFF, 0]) == [])
        #expect(try subject.engine.rows(from: bytes("z"), to: bytes("a")) == [])
    }

    @Test("a scan ends where its body says stop, and passes its error on", arguments: EngineKind.allCases)
    func scanStops(_ kind: EngineKind) throws {
        let subject = try Subject(kind)
        try subject.write { batch in
            for index in 0..<300 { batch.put(bytes(String(1_000 + index)), []) }
        }
        #expect(try subject.engine.rows(limit: 3).map(\.key) == [bytes("1000"), bytes("1001"), bytes("1002")])
        #expect(try subject.engine.rows(reversed: true, limit: 2).map(\.key) == [bytes("1299"), bytes("1298")])
        #expect(throws: EngineError.io("mine")) {
            try subject.engine.scan(from: [], to: nil, reversed: false) { (_, _) throws(EngineError) in
                throw .io("mine")
            }
        }
    }

    @Test("a range delete removes from its start up to but without its end", arguments: EngineKind.allCases)
    func rangeDelete(_ kind: EngineKind) throws {
        let subject = try Subject(kind)
        try subject.write { batch in
            for letter in "abcdef" { batch.put(bytes(String(letter)), []) }
        }
        try subject.write { $0.deleteRange(from: bytes("b"), to: bytes("e")) }
        #expect(try subject.engine.rows().map(\.key) == [bytes("a"), bytes("e"), bytes("f")])
        try subject.write {
            $0.deleteRange(from: bytes("f"), to: bytes("a"))
            $0.deleteRange(from: bytes("e"), to: bytes("e"))
            $0.put(bytes("z"), [])
        }
        #expect(try subject.engine.rows().map(\.key) == [bytes("a"), bytes("e"), bytes("f"), bytes("z")])
    }

    @Test("a range delete that finds nothing can be flushed, alone", arguments: EngineKind.allCases)
    func emptyRange(_ kind: EngineKind) throws {
        let subject = try Subject(kind)
        try subject.write { $0.deleteRange(from: bytes("a"), to: bytes("z")) }
        try subject.engine.flush()
        try subject.write { $0.put(bytes("b"), bytes("1")) }
        try subject.engine.flush()
        #expect(try subject.engine.rows() == [Row("b", "1")])
    }

    @Test("a view shows the rows of its moment while the engine goes on", arguments: EngineKind.allCases)
    func viewsArePinned(_ kind: EngineKind) throws {
        let subject = try Subject(kind)
        var model = Model()
        var random = SplitMix64(seed: 11)
        var pinned: [(view: any EngineView, model: Model)] = []
        for round in 0..<20 {
            var batch = WriteBatch()
            randomBatch(&batch, operations: 60, &random)
            try subject.engine.write(batch)
            model.apply(batch)
            pinned.append((try subject.engine.makeView(), model))
            if round % 7 == 6 { try subject.engine.flush() }
        }
        for (view, model) in pinned {
            #expect(try view.rows() == model.rows())
            #expect(try view.rows(reversed: true) == model.rows(reversed: true))
            for (key, value) in model.rows { #expect(try view.get(key) == value) }
        }
    }

    @Test("a view is read from another thread while the engine is written", arguments: EngineKind.allCases)
    func viewsOnOtherThreads(_ kind: EngineKind) async throws {
        let subject = try Subject(kind)
        try subject.write { batch in
            for index in 0..<2_000 { batch.put(bytes(String(index)), bytes("old")) }
        }
        let view = try subject.engine.makeView()
        let reader = Task.detached { try view.rows().count { $0.value == bytes("old") } }
        for index in 0..<2_000 { try subject.write { $0.put(bytes(String(index)), bytes("new")) } }
        #expect(try await reader.value == 2_000)
    }

    @Test("a view outlives its engine", arguments: EngineKind.allCases)
    func viewOutlivesEngine(_ kind: EngineKind) throws {
        var subject: Subject? = try Subject(kind)
        try subject?.write { $0.put(bytes("a"), bytes("1")) }
        let view = try #require(try subject?.engine.makeView())
        subject = nil
        #expect(try view.get("a") == bytes("1"))
    }

    @Test("what was flushed is there after a crash, and what was not is gone", arguments: EngineKind.exact)
    func crashKeepsFlushed(_ kind: EngineKind) throws {
        let subject = try Subject(kind)
        try subject.write {
            $0.put(bytes("a"), bytes("1"))
            $0.put(bytes("b"), bytes("1"))
        }
        try subject.engine.flush()
        try subject.write {
            $0.put(bytes("a"), bytes("2"))
            $0.delete(bytes("b"))
            $0.put(bytes("c"), bytes("2"))
        }
        #expect(try subject.engine.rows() == [Row("a", "2"), Row("c", "2")])
        try subject.crash()
        #expect(try subject.engine.rows() == [Row("a", "1"), Row("b", "1")])
        try subject.write { $0.put(bytes("d"), bytes("3")) }
        try subject.engine.flush()
        try subject.crash()
        #expect(try subject.engine.rows() == [Row("a", "1"), Row("b", "1"), Row("d", "3")])
    }

    @Test("getDurable shows what a crash would leave", arguments: EngineKind.exact)
    func durableReads(_ kind: EngineKind) throws {
        let subject = try Subject(kind)
        func durable(_ key: String) throws -> [UInt8]? { try subject.engine.getDurable(bytes(key)) }
        try subject.write { $0.put(bytes("applied"), bytes("1")) }
        #expect(try durable("applied") == nil)
        try subject.engine.flush()
        #expect(try durable("applied") == bytes("1"))
        try subject.write { $0.put(bytes("applied"), bytes("2")) }
        #expect(try durable("applied") == bytes("1"))
        #expect(try subject.engine.get("applied") == bytes("2"))
        try subject.engine.flush()
        #expect(try durable("applied") == bytes("2"))
        try subject.crash()
        #expect(try durable("applied") == bytes("2"))
    }

    @Test("a value of many megabytes is one row", arguments: EngineKind.allCases)
    func largeValues(_ kind: EngineKind) throws {
        let subject = try Subject(kind)
        let large = (0..<6_000_000).map { UInt8(truncatingIfNeeded: $0 &* 7) }
        try subject.write { batch in
            for key in ["a", "b", "c", "d"] { batch.put(bytes(key), large) }
        }
        try subject.write { $0.delete(bytes("b")) }
        try subject.engine.flush()
        try subject.crash()
        #expect(try subject.engine.get("c") == large)
        #expect(try subject.engine.rows().map(\.key) == [bytes("a"), bytes("c"), bytes("d")])
    }

    @Test("a write batch is used again after removeAll", arguments: EngineKind.allCases)
    func batchIsReused(_ kind: EngineKind) throws {
        let subject = try Subject(kind)
        var batch = WriteBatch(reservingCapacity: 64)
        for round in 0..<50 {
            for index in 0..<20 { batch.put(bytes("key \(index)"), bytes(String(repeating: "\(round)", count: index))) }
            let count = batch.operationCount
            #expect(count == 20)
            try subject.engine.write(batch)
            batch.removeAll()
            let isEmpty = batch.isEmpty && batch.byteCount == 0
            #expect(isEmpty)
        }
        #expect(try subject.engine.rows().count == 20)
        #expect(try subject.engine.get("key 3") == bytes("494949"))
    }

    @Test(
        "random batches, flushes and crashes agree with the model",
        arguments: EngineKind.allCases, 1...6 as ClosedRange<UInt64>)
    func agreesWithModel(_ kind: EngineKind, _ seed: UInt64) throws {
        let subject = try Subject(kind)
        var random = SplitMix64(seed: seed)
        var model = Model()
        var flushed = Model()
        for _ in 0..<120 {
            var batch = WriteBatch()
            randomBatch(&batch, operations: Int.random(in: 0...30, using: &random), &random)
            try subject.engine.write(batch)
            model.apply(batch)
            switch Int.random(in: 0..<12, using: &random) {
            case 0:
                try subject.engine.flush()
                flushed = model
            case 1 where kind == .memory || kind == .rocks && Int.random(in: 0..<4, using: &random) == 0:
                try subject.crash()
                model = flushed
            default: break
            }
            let from = randomKey(&random)
            let to = Bool.random(using: &random) ? randomKey(&random) : nil
            for reversed in [false, true] {
                #expect(
                    try subject.engine.rows(from: from, to: to, reversed: reversed)
                        == model.rows(from: from, to: to, reversed: reversed))
            }
            let key = randomKey(&random)
            #expect(try subject.engine.get(key) == model.rows[key])
            if EngineKind.exact.contains(kind) { #expect(try subject.engine.getDurable(key) == flushed.rows[key]) }
        }
    }

    @Test("statistics grow with what is stored", arguments: EngineKind.exact)
    func statistics(_ kind: EngineKind) throws {
        let subject = try Subject(kind)
        let before = subject.engine.statistics
        try subject.write { batch in
            for index in 0..<1_000 { batch.put(bytes(String(index)), [UInt8](repeating: 1, count: 1_000)) }
        }
        let after = subject.engine.statistics
        #expect(after.rowsEstimated == 1_000)
        #expect(after.residentBytes >= before.residentBytes + 1_000_000)
        #expect(after.unflushedBytes >= 1_000_000)
        try subject.engine.flush()
        #expect(subject.engine.statistics.unflushedBytes < 1_000_000)
    }
}
