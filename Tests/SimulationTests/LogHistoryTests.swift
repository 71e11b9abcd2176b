import Basics
import LogFormat
import Simulator
import Testing

@Suite("Log Matching")
struct LogHistoryTests {
    private static func slab(_ term: UInt64, from first: UInt64, _ payloads: [UInt8]) throws -> Slab {
        var builder = SlabBuilder(term: Term(term), firstIndex: LogIndex(first), salt: 7)
        for payload in payloads { builder.append(.command, payload: [payload].rawSpan, time: .zero) }
        return try #require(builder.close())
    }

    @Test("the same entries anywhere, in other pieces, and others of other terms are well")
    func accepts() throws {
        var history = LogHistory()
        #expect(try history.written(Self.slab(1, from: 1, [1, 2, 3]), after: .zero) == nil)
        #expect(try history.written(Self.slab(1, from: 2, [2, 3]), after: Term(1)) == nil)
        #expect(try history.written(Self.slab(2, from: 3, [9, 9]), after: Term(1)) == nil)
        #expect(try history.written(Self.slab(1, from: 1, [1]), after: nil) == nil)
    }

    @Test("another content under one term and index, or another entry before it, is not")
    func refuses() throws {
        var history = LogHistory()
        #expect(try history.written(Self.slab(1, from: 1, [1, 2, 3]), after: .zero) == nil)
        #expect(try history.written(Self.slab(1, from: 3, [4]), after: Term(1)) != nil)
        #expect(try history.written(Self.slab(2, from: 4, [5]), after: Term(1)) == nil)
        #expect(try history.written(Self.slab(2, from: 4, [5]), after: Term(2)) != nil)
    }
}
