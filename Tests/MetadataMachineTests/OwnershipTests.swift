import Basics
import LogFormat
import MetadataMachine
import MetadataModel
import Testing

@Suite("Owned rows and locks")
struct OwnershipTests {
    private let rig: Rig
    private let a: RigClient
    private let b: RigClient
    private let c: RigClient

    init() throws {
        rig = try Rig()
        a = RigClient(rig, 1)
        b = RigClient(rig, 2)
        c = RigClient(rig, 3)
    }

    private func owned(_ key: String, _ value: String = "v") -> Mutation {
        .put(key: Array(key.utf8), value: Array(value.utf8), isOwned: true)
    }

    // MARK: - Records

    @Test("an owned record reads like any other and goes with its session", arguments: [true, false])
    func goesWithSession(isExpired: Bool) throws {
        try a.send(owned("k", "mine"))
        let created = try a.send(.createSequential(prefix: Array("q/".utf8), value: [], isOwned: true)).createdKey()
        let transaction = Transaction(
            comparisons: [.value(key: Array("k".utf8), equals: Array("mine".utf8))],
            then: [.putOwned(key: Array("t".utf8), value: [1]), .get(key: Array("k".utf8))])
        let result = try a.send(.transaction(transaction)).transaction()
        #expect(result.succeeded)
        #expect(result.results[1] == .get(RowResult(revision: LogIndex(1), value: Array("mine".utf8))))
        try a.send(put("stays"))
        #expect(try rig.value("k") == "mine")
        #expect(try rig.revision("k") == LogIndex(1))
        #expect(try rig.keys() == ["k", created, "stays", "t"])
        let before = rig.machine.applied.last.index
        if isExpired { try rig.expire(a) } else { try a.send(.endSession) }
        #expect(try rig.keys() == ["stays"])
        #expect(try rig.rows(of: 0x12).isEmpty)
        #expect(Set(try rig.rowItems().keys) == Set(["k", created, "t"].map { [0x10] + Array($0.utf8) }))
        // The deletes are seen by whoever asks what has changed.
        let unchanged = Transaction(comparisons: [.unchanged(prefix: Array("k".utf8), since: before)], then: [])
        #expect(try b.send(.transaction(unchanged)).transaction().succeeded == false)
    }

    @Test("a plain put, a delete and another owner end the ownership")
    func ownershipEnds() throws {
        for key in ["plain", "deleted", "taken", "kept"] { try a.send(owned(key)) }
        try b.send(put("plain", "b"))
        try b.send(delete("deleted"))
        try b.send(put("deleted", "again"))
        try b.send(owned("taken"))
        try rig.expire(a)
        #expect(try rig.keys() == ["deleted", "plain", "taken"])
        try rig.expire(b)
        #expect(try rig.keys() == ["deleted", "plain"])
    }

    @Test("at the limit a session may own no more, until it gives something up")
    func limit() throws {
        let limit = Limits.ownedRowsPerSessionMax
        let keys = (0..<limit).map { Array("k/\($0)".utf8) }
        for start in stride(from: 0, to: limit, by: 2_500) {
            let puts = keys[start..<start + 2_500].map { Transaction.Operation.putOwned(key: $0, value: []) }
            #expect(try a.send(.transaction(Transaction(then: puts))).code == nil)
        }
        let more = try a.send(owned("more"))
        #expect(more.code == .tooLarge)
        #expect(more.error?.limit == UInt64(limit))
        #expect(try a.lock("l").code == .tooLarge)
        #expect(try a.send(.coordination(.campaign(group: [1], data: []))).code == .tooLarge)
        #expect(try rig.keys("more").isEmpty)
        // Given up without a word to the index: it is swept when room is needed.
        try b.send(.deleteRange(.prefix(Array("k/1".utf8))))
        #expect(try a.send(owned("more")).code == nil)
        try rig.expire(a)
        #expect(try rig.keys().isEmpty)
        #expect(try rig.rows(of: 0x12).isEmpty)
    }

    @Test("what is more than one entry may end stays, and is told to be ended by the next")
    func expiryIsBounded() throws {
        let clients = (0..<8).map { RigClient(rig, UInt64(100 + $0)) }
        for client in clients {
            for part in 0..<4 {
                let puts = (0..<2_450).map {
                    Transaction.Operation.putOwned(key: Array("\(client.session)/\(part)/\($0)".utf8), value: [])
                }
                #expect(try client.send(.transaction(Transaction(then: puts))).code == nil)
            }
        }
        try rig.housekeep(.expireSessions(clients.map(\.session)))
        let report = try #require(rig.lastReport)
        #expect(report.sessionsEnded == clients.prefix(6).map(\.session))
        #expect(report.sessionsKept == clients.suffix(2).map(\.session))
        #expect(rig.machine.openSessions().count == 2)
        try rig.housekeep(.expireSessions(report.sessionsKept))
        #expect(try rig.keys().isEmpty)
        #expect(rig.lastReport?.sessionsKept.isEmpty == true)
    }

    @Test("what several expiries of one group leave is told of all of them")
    func severalExpiries() throws {
        let clients = (0..<4).map { RigClient(rig, UInt64(100 + $0)) }
        // Long keys: two sessions are too much for the bytes of one entry.
        let tail = String(repeating: "x", count: 4_000)
        for client in clients {
            for part in 0..<3 {
                let puts = (0..<1_000).map {
                    Transaction.Operation.putOwned(key: Array("\(client.session)/\(part)/\($0)/\(tail)".utf8), value: [])
                }
                #expect(try client.send(.transaction(Transaction(then: puts))).code == nil)
            }
        }
        let ids = clients.map(\.session)
        try rig.logTogether([Housekeeping.expireSessions([ids[0], ids[1]]), .expireSessions([ids[2], ids[3]])])
        let report = try #require(rig.lastReport)
        #expect(report.sessionsEnded == [ids[0], ids[2]])
        #expect(report.sessionsKept == [ids[1], ids[3]])
    }

    @Test("owners without a session, as a restored state has them, are found and ended")
    func orphans() throws {
        try a.send(owned("k"))
        try a.campaign("m")
        try b.lock("l")
        try b.send(put("stays"))
        let refounded = try rig.machine.refounded(
            after: EntryID(term: Term(9), index: LogIndex(1 << 32)), membership: .empty)
        let engine = try Rig.install(refounded)
        let machine = try Machine(engine: engine, node: NodeID(1))
        #expect(machine.openSessions().isEmpty)
        #expect(try machine.findOrphans(after: nil, limit: 100).orphans == [a.session, b.session])
        let first = try machine.findOrphans(after: nil, limit: 1)
        #expect(first.orphans == [a.session])
        let second = try machine.findOrphans(after: first.lookedThrough, limit: 1)
        #expect(second.orphans == [b.session])
        #expect(try machine.findOrphans(after: second.lookedThrough, limit: 1).lookedThrough == nil)
        // In the living state nobody is one; ending an owner that has no session ends what it owns.
        #expect(try rig.machine.findOrphans(after: nil, limit: 100).orphans.isEmpty)
    }

    // MARK: - Locks

    private func holders(_ name: String) throws -> [SessionID] {
        try rig.lockLine(name).filter(\.isHeld).map(\.session)
    }

    @Test("an exclusive lock has one holder; who waits gets it in order, each with a higher fence")
    func exclusive() throws {
        #expect(try a.lock("l").ticket() == TicketResult(ticket: LogIndex(1), fence: 1))
        #expect(try b.lock("l").ticket().fence == 0)
        #expect(try c.lock("l").ticket().fence == 0)
        #expect(try a.lock("l").ticket() == TicketResult(ticket: LogIndex(1), fence: 1), "the same once more")
        #expect(try c.release("l").flag(), "who waits withdraws")
        #expect(try c.lock("l").ticket().ticket == LogIndex(6))
        #expect(try a.release("l").flag())
        #expect(try holders("l") == [b.session])
        #expect(try rig.lockLine("l").first?.fence == 7)
        try rig.expire(b)
        #expect(try holders("l") == [c.session])
        #expect(try c.release("l").flag())
        #expect(try !c.release("l").flag())
        #expect(try rig.lockLine("l").isEmpty)
    }

    @Test("shared holders are together, and nobody passes an exclusive one that waits")
    func shared() throws {
        let d = RigClient(rig, 4)
        #expect(try a.lock("l", .shared).ticket().fence > 0)
        #expect(try b.lock("l", .shared).ticket().fence > 0)
        #expect(try c.lock("l", .exclusive).ticket().fence == 0)
        #expect(try d.lock("l", .shared).ticket().fence == 0)
        try a.release("l")
        #expect(try holders("l") == [b.session])
        try c.release("l")
        #expect(try holders("l") == [b.session, d.session], "who waited behind the exclusive one need wait no longer")
        try c.lock("l", .exclusive)
        try rig.expire(b, d)
        #expect(try holders("l") == [c.session])
    }

    @Test("try takes no place in the line; the other mode is refused while one is held")
    func tries() throws {
        #expect(try a.lock("l", isTry: true).ticket().fence == 1)
        #expect(try b.lock("l", isTry: true).code == .lockHeld)
        #expect(try b.lock("l", .shared, isTry: true).code == .lockHeld)
        #expect(try rig.lockLine("l").count == 1)
        #expect(try a.lock("l", .shared).code == .lockHeld)
        try b.lock("l")
        #expect(try b.lock("l", isTry: true).code == .lockHeld)
        #expect(try rig.lockLine("l").count == 2, "its place, taken before, stays")
    }

    @Test("with a delay the lock outlives its session by that time, and is released by whatever entry comes then")
    func delay() throws {
        try a.lock("l", delay: .seconds(5))
        try b.lock("l", delay: .seconds(5))
        let fence = try #require(try rig.lockLine("l").first).fence
        let condition = Guard(kind: .lock, name: Array("l".utf8), fence: fence)
        try rig.expire(a)
        let due = rig.time + .seconds(5)
        #expect(try rig.lockLine("l").first?.heldUntil == due)
        #expect(rig.lastReport?.nextTimer == due)
        #expect(try rig.check(condition).holds)
        rig.pass(.milliseconds(4_999))
        try rig.apply([], type: .noop)
        #expect(try holders("l") == [a.session])
        #expect(rig.lastReport?.nextTimer == due)
        try rig.restart()
        #expect(rig.machine.nextTimer == due)
        rig.pass(.milliseconds(1))
        // The command that comes then sees the lock free already.
        #expect(try c.send(put("k"), guards: [condition]).code == .fenced)
        #expect(try holders("l") == [b.session])
        #expect(rig.lastReport?.nextTimer == nil)
        // Who lets go, or only waits, is not delayed.
        try c.lock("l", delay: .seconds(5))
        try b.release("l")
        #expect(try holders("l") == [c.session])
        #expect(try rig.rows(of: 0x22).isEmpty)
    }

    @Test("sessions are listed in parts with what they own")
    func sessionList() throws {
        for client in [c, a, b] { try client.send(owned("\(client.session)")) }
        try b.lock("l")
        try rig.expire(c)
        let first = try rig.ask(.sessions(after: SessionID(0, 0), limit: 1)).part(of: SessionInfo.self)
        #expect(first.hasMore)
        #expect(first.items.map(\.id) == [a.session])
        let rest = try rig.ask(.sessions(after: a.session, limit: 10)).part(of: SessionInfo.self)
        let expected = SessionInfo(id: b.session, timeout: .seconds(10), openedAt: Rig.start, ownedCount: 2)
        #expect(rest == ListPart(hasMore: false, items: [expected]))
    }
}
