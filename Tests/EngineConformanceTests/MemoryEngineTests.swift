import Basics
import StateEngine
import Testing

@Suite("The memory engine")
struct MemoryEngineTests {
    @Test("grows and shrinks through page splits and merges without losing a row", arguments: [3, 4] as [UInt64])
    func pages(_ seed: UInt64) throws {
        let engine = MemoryEngine()
        var model = Model()
        var random = SplitMix64(seed: seed)
        func key(_ number: Int) -> [UInt8] { bytes(String(10_000 + number)) }
        for round in 0..<60 {
            var batch = WriteBatch()
            // Growing, then shrinking, then growing again, mostly in key order or mostly at random.
            for step in 0..<200 {
                let number = round % 2 == 0 ? round * 100 + step : Int.random(in: 0..<6_000, using: &random)
                if (round / 10) % 2 == 0 {
                    batch.put(key(number), bytes("\(round)"))
                } else {
                    batch.delete(key(number))
                }
            }
            if round % 9 == 8 {
                let from = Int.random(in: 0..<6_000, using: &random)
                batch.deleteRange(from: key(from), to: key(min(9_999, from + 900)))
            }
            engine.write(batch)
            model.apply(batch)
            #expect(try engine.rows() == model.rows())
            #expect(engine.statistics.rowsEstimated == UInt64(model.rows.count))
        }
        var batch = WriteBatch()
        batch.deleteRange(from: [], to: [0xFF])
        engine.write(batch)
        #expect(try engine.rows() == [])
        #expect(engine.statistics.residentBytes == 0)
    }

    @Test("an injected fault is reported once, for a key in its range, by get and by scan")
    func readFault() throws {
        let engine = MemoryEngine()
        var batch = WriteBatch()
        batch.put(bytes("a/1"), [])
        batch.put(bytes("b/1"), [])
        engine.write(batch)
        engine.readFault = KeyRange(prefix: bytes("b/"))
        #expect(try engine.get("a/1") == [])
        #expect(throws: EngineError.self) { try engine.get("b/1") }
        #expect(try engine.get("b/1") == [])
        engine.readFault = KeyRange(prefix: bytes("b/"))
        #expect(try engine.rows(to: bytes("b")).count == 1)
        #expect(throws: EngineError.self) { try engine.rows() }
        #expect(try engine.rows().count == 2)
    }

    @Test("the end of a prefix is the first key after all that begin with it")
    func prefixEnds() {
        #expect(KeyRange.end(ofPrefix: bytes("ab")) == bytes("ac"))
        #expect(KeyRange.end(ofPrefix: [1, 0xFF, 0xFF]) == [2])
        #expect(KeyRange.end(ofPrefix: [0xFF, 0xFF]) == nil)
        #expect(KeyRange.end(ofPrefix: []) == nil)
        func contains(_ range: KeyRange, _ key: [UInt8]) -> Bool { range.contains(key.rawSpan) }
        #expect(contains(KeyRange(prefix: [0xFF]), [0xFF, 0xFF, 3]))
        #expect(!contains(KeyRange(prefix: [1]), [2]))
        #expect(!contains(KeyRange(prefix: [1, 5]), [1]))
    }

    @Test("operations have the documented bytes")
    func goldenBytes() {
        var batch = WriteBatch()
        batch.put(bytes("k"), bytes("vv"))
        let mark = batch.mark
        batch.delete(bytes("k"))
        batch.deleteRange(from: [1], to: [2])
        let put: [UInt8] = [1, 1, 0, 0, 0, 2, 0, 0, 0] + bytes("kvv")
        let deletes: [UInt8] = [2, 1, 0, 0, 0, 0, 0, 0, 0] + bytes("k") + [3, 1, 0, 0, 0, 1, 0, 0, 0, 1, 2]
        let all = [UInt8](batch.bytes())
        let sinceMark = [UInt8](batch.bytes(since: mark))
        #expect(all == put + deletes)
        #expect(sinceMark == deletes)
    }
}
