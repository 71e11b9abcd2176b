import Basics
import Foundation
import LogFormat
import MetadataMachine
import MetadataModel
import StateEngine
import Testing

@Suite("Rows on disk")
struct GoldenRowsTests {
    private static let golden = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "Golden/rows.txt")

    private static func hex(_ bytes: RawSpan) -> String {
        [UInt8](bytes).map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }

    /// One entry for each table, and what an apply group leaves beside the rows.
    private static func rows() throws -> [String] {
        let rig = try Rig()
        let membership = Membership(
            members: [Member(id: NodeID(1), name: "n1", peerAddress: "127.0.0.1:7500")], incoming: [NodeID(1)])
        try rig.apply(membership.encoded(), type: .configuration)
        let info = MemberInfo(node: NodeID(1), clientAddress: "127.0.0.1:7400", version: "0.1.0", featureLevel: 1)
        try rig.apply(Housekeeping.memberInfo(info).encoded())
        try rig.apply(Housekeeping.featureLevel(2).encoded())
        try rig.mutate(.put(key: Array("a".utf8), value: Array("1".utf8)))
        try rig.mutate(.delete(key: Array("b".utf8)))
        try rig.mutate(.transaction(Transaction(then: [.put(key: Array("c".utf8), value: [])])))
        try rig.apply(Housekeeping.deleteFloor(LogIndex(1)).encoded())
        try rig.apply(Housekeeping.expireSessions([Rig.session]).encoded())
        var rows: [String] = []
        try rig.engine.scan(from: [], to: nil, reversed: false) { key, value in
            rows.append("\(hex(key)) \(hex(value))")
            return .next
        }
        return rows
    }

    private static let coordinationGolden = URL(filePath: #filePath).deletingLastPathComponent()
        .appending(path: "Golden/coordination-rows.txt")

    /// A row of each table of elections, locks, owners and the State API, and the outcome that tells of them.
    private static func coordinationRows() throws -> [String] {
        let rig = try Rig(levels: FeatureLevels(founding: 2))
        let (a, b) = (RigClient(rig, 0x0102), RigClient(rig, 0x0304))
        try a.send(.put(key: Array("k".utf8), value: [0xAA], isOwned: true))
        try a.campaign("m", "one")
        try b.campaign("m", "two")
        try a.lock("l", delay: .seconds(5))
        try b.lock("l", .shared)
        let entry = StateEntry(version: StateVersion(1, 2), value: [0xBB])
        let store = StateStore(name: Array("s".utf8), entry: entry, expected: StateVersion(0, 0))
        try b.send(.coordination(.stateSet(store)))
        try rig.expire(a)
        var rows: [String] = []
        try rig.engine.scan(from: [], to: nil, reversed: false) { key, value in
            rows.append("\(hex(key)) \(hex(value))")
            return .next
        }
        return rows
    }

    private static let historyGolden = URL(filePath: #filePath).deletingLastPathComponent()
        .appending(path: "Golden/history-rows.txt")

    /// A prefix with history, what a put and a delete found there, and when the first entry was.
    @Test("the rows of history are pinned likewise")
    func historyGoldenRows() throws {
        let rig = try Rig()
        try rig.mutate(.setHistory(prefix: Array("h/".utf8), isOn: true))
        try rig.mutate(put("h/k", "old"))
        try rig.mutate(put("h/k", "new"))
        try rig.mutate(delete("h/k"))
        var rows: [String] = []
        try rig.engine.scan(from: [], to: nil, reversed: false) { key, value in
            rows.append("\(Self.hex(key)) \(Self.hex(value))")
            return .next
        }
        if ProcessInfo.processInfo.environment["QUORATE_RECORD"] == "1" {
            try (rows.joined(separator: "\n") + "\n").write(
                to: Self.historyGolden, atomically: true, encoding: .utf8)
        }
        let pinned = try String(contentsOf: Self.historyGolden, encoding: .utf8).split(separator: "\n")
        #expect(rows == pinned.map(String.init))
        #expect(Set(rows.map { $0.prefix(2) }).isSuperset(of: ["05", "11", "f1", "f4"]))
    }

    @Test("the rows of elections, locks and the State API are pinned likewise")
    func coordinationGoldenRows() throws {
        let rows = try Self.coordinationRows()
        if ProcessInfo.processInfo.environment["QUORATE_RECORD"] == "1" {
            try (rows.joined(separator: "\n") + "\n").write(
                to: Self.coordinationGolden, atomically: true, encoding: .utf8)
        }
        let pinned = try String(contentsOf: Self.coordinationGolden, encoding: .utf8).split(separator: "\n")
        #expect(rows == pinned.map(String.init))
        #expect(Set(rows.map { $0.prefix(2) }).isSuperset(of: ["11", "12", "20", "21", "22", "30", "f1"]))
    }

    @Test("every table's rows are pinned; QUORATE_RECORD=1 writes them anew, on purpose only")
    func goldenRows() throws {
        let rows = try Self.rows()
        if ProcessInfo.processInfo.environment["QUORATE_RECORD"] == "1" {
            try (rows.joined(separator: "\n") + "\n").write(to: Self.golden, atomically: true, encoding: .utf8)
        }
        let pinned = try String(contentsOf: Self.golden, encoding: .utf8).split(separator: "\n").map(String.init)
        #expect(rows == pinned)
        let tables = Set(rows.map { $0.prefix(2) })
        #expect(tables.isSuperset(of: ["01", "02", "03", "04", "10", "11", "f0", "f1"]))
    }
}
