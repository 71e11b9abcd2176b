import Basics
import MetadataMachine
import MetadataModel
import Testing

@Suite("Elections, guards and the State API")
struct ElectionTests {
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

    private func guarded(_ group: String, _ fence: UInt64) -> [Guard] {
        [Guard(kind: .election, name: Array(group.utf8), fence: fence)]
    }

    @Test("the first to campaign leads; the next one leads in the entry in which it goes")
    func succession() throws {
        let first = try a.campaign("m", "one")
        #expect(first == TicketResult(ticket: LogIndex(1), fence: 1))
        let second = try b.campaign("m", "two")
        #expect(second == TicketResult(ticket: LogIndex(2), fence: 0))
        #expect(try rig.leader("m")?.data == Array("one".utf8))
        #expect(try a.send(.coordination(.withdraw(group: Array("m".utf8)))).flag())
        let leader = try #require(try rig.leader("m"))
        #expect(leader.session == b.session)
        #expect(leader.fence == 3)
        #expect(leader.data == Array("two".utf8))
        #expect(try !a.send(.coordination(.withdraw(group: Array("m".utf8)))).flag(), "nothing is left to withdraw")
    }

    @Test("the largest number in each place where a client may name an index is only a number")
    func largestIndexes() throws {
        let largest = LogIndex(.max)
        let name = Array("m".utf8)
        let key = Array("k".utf8)
        try a.campaign("m")
        _ = try a.lock("m")
        try rig.mutate(put("k"))
        let candidates = try rig.ask(.candidates(group: name, after: largest, limit: 0)).part(of: Candidate.self)
        #expect(candidates.items.isEmpty)
        #expect(try rig.ask(.lock(name: name, after: largest, limit: 0)).part(of: LockTicket.self).items.isEmpty)
        _ = try rig.check(Guard(kind: .election, name: name, fence: .max))
        _ = try rig.check(Guard(kind: .lock, name: name, fence: .max))
        #expect(try rig.mutate(put("k", "w", ifRevision: largest)).code == .conflict)
        #expect(try rig.mutate(delete("k", ifRevision: largest)).code == .conflict)
        for comparison in [
            Transaction.Comparison.revision(key: key, equals: largest), .unchanged(prefix: key, since: largest),
        ] {
            let transaction = Transaction(comparisons: [comparison], then: [.get(key: key)])
            #expect(try rig.mutate(.transaction(transaction)).code == nil)
        }
        #expect(try rig.value("k") == "v")
    }

    @Test("who campaigns again gives up the first ticket and goes last")
    func again() throws {
        try a.campaign("m")
        try b.campaign("m")
        let again = try a.campaign("m", "new")
        #expect(again == TicketResult(ticket: LogIndex(3), fence: 0))
        #expect(try rig.candidates("m").map(\.session) == [b.session, a.session])
        #expect(try rig.leader("m")?.fence == 3)
        // Alone it leads again, under a new fence.
        try rig.expire(b)
        #expect(try a.campaign("m").fence == 5)
    }

    @Test("only the leader sets its data, and keeps its fence")
    func data() throws {
        try a.campaign("m", "one")
        try b.campaign("m")
        let set = CoordinationCommand.setCandidateData(group: Array("m".utf8), data: [7])
        #expect(try b.send(.coordination(set)).code == .notLeading)
        #expect(try a.send(.coordination(set)).code == nil)
        #expect(try rig.leader("m") == Candidate(ticket: LogIndex(1), session: a.session, fence: 1, data: [7]))
        #expect(try c.send(.coordination(set)).code == .notLeading)
    }

    @Test("a mutation under an old fence is refused, whatever it is, and says the current one")
    func guards() throws {
        let old = try a.campaign("m").fence
        try b.campaign("m")
        #expect(try a.send(put("k"), guards: guarded("m", old)).code == nil)
        #expect(try rig.check(guarded("m", old)[0]) == GuardResult(holds: true, currentFence: old))
        try rig.expire(a)
        let current = try #require(try rig.leader("m")).fence
        #expect(current > old)
        let key = Array("k".utf8)
        let mutations: [Mutation] = [
            put("k", "late"), delete("k"), .deleteRange(.prefix([])), .createSequential(prefix: key, value: []),
            .transaction(Transaction(then: [.put(key: key, value: [])])), .put(key: key, value: [], isOwned: true),
            .coordination(.campaign(group: key, data: [])), .endSession,
        ]
        for mutation in mutations {
            let answer = try c.send(mutation, guards: guarded("m", old))
            #expect(answer.code == .fenced, "\(mutation)")
            #expect(answer.error?.currentFence == current)
        }
        #expect(try rig.value("k") == "v")
        #expect(try c.send(put("k", "new"), guards: guarded("m", current)).code == nil, "its session did not end")
        #expect(try rig.check(guarded("m", old)[0]) == GuardResult(holds: false, currentFence: current))
        try rig.expire(b)
        let refused = try c.send(put("k"), guards: guarded("m", current))
        #expect(refused.error?.currentFence == 0)
        // Every guard must hold.
        let again = try RigClient(rig, 9).campaign("m").fence
        let both = guarded("m", again) + guarded("other", 1)
        #expect(try c.send(put("k"), guards: both).code == .fenced)
    }

    @Test("a refused mutation's retry is refused alike, though the guard would hold by then")
    func refusalIsKept() throws {
        let guards = guarded("m", 2)
        let command = a.next(put("k"), guards: guards)
        #expect(try rig.send(command).code == .fenced)
        #expect(try b.campaign("m").fence == 2)
        #expect(try rig.send(command).code == .fenced)
        #expect(try a.send(put("k"), guards: guards).code == nil)
    }

    @Test("a one-shot session can own nothing, also where the node did not refuse it")
    func oneShot() throws {
        let group = Array("m".utf8)
        let mutations: [Mutation] = [
            .put(key: group, value: [], isOwned: true), .createSequential(prefix: group, value: [], isOwned: true),
            .transaction(Transaction(then: [.putOwned(key: group, value: [])])),
            .coordination(.campaign(group: group, data: [])),
            .coordination(.acquireLock(LockRequest(name: group, mode: .shared))),
        ]
        for (number, mutation) in mutations.enumerated() {
            let command = rig.command(mutation, 1, session: SessionID(50, UInt64(number)), oneShot: true)
            #expect(throws: ReplyError.self) { try Command.validate(command.rawSpan) }
            #expect(try rig.send(command).code == .invalidRequest)
        }
        #expect(try rig.rows(of: 0x10).isEmpty)
        #expect(try rig.rows(of: 0x12).isEmpty)
    }

    // MARK: - State API

    private func store(_ name: String, _ version: UInt64, expected: UInt64, _ value: String) throws -> Bool {
        let entry = StateEntry(version: StateVersion(0, version), value: Array(value.utf8))
        let store = StateStore(name: Array(name.utf8), entry: entry, expected: StateVersion(0, expected))
        return try a.send(.coordination(.stateSet(store))).flag()
    }

    private func fetch(_ name: String) throws -> StateEntry? {
        let answer = try rig.ask(.stateGet(name: Array(name.utf8)))
        var reader = ByteReader(answer.rest.rawSpan)
        return try reader.readBool() ? try StateEntry(decodingRow: &reader) : nil
    }

    @Test("a missing name is stored whatever is expected; a stored one only over its version; expunge likewise")
    func stateAPI() throws {
        #expect(try fetch("x") == nil)
        #expect(try store("x", 1, expected: 99, "one"))
        #expect(try !store("x", 2, expected: 99, "two"))
        #expect(try fetch("x") == StateEntry(version: StateVersion(0, 1), value: Array("one".utf8)))
        #expect(try store("x", 2, expected: 1, "one"), "an equal value is stored all the same")
        #expect(try fetch("x")?.version == StateVersion(0, 2))
        try _ = store("w\u{0}", 1, expected: 0, "")
        let names = try rig.ask(.stateNames(after: [], limit: 1)).part(of: StateName.self)
        #expect(names == ListPart(hasMore: true, items: [StateName(Array("w\u{0}".utf8))]))
        let rest = try rig.ask(.stateNames(after: names.items[0].bytes, limit: 1)).part(of: StateName.self)
        #expect(rest == ListPart(hasMore: false, items: [StateName(Array("x".utf8))]))
        let name = Array("x".utf8)
        #expect(try !a.send(.coordination(.stateExpunge(name: name, version: StateVersion(0, 1)))).flag())
        #expect(try a.send(.coordination(.stateExpunge(name: name, version: StateVersion(0, 2)))).flag())
        #expect(try !a.send(.coordination(.stateExpunge(name: name, version: StateVersion(0, 2)))).flag())
        #expect(try fetch("x") == nil)
    }

    @Test("names that no group may have are refused, so that lines cannot run into each other")
    func names() throws {
        for name in [[], [1, 0, 2], [UInt8](repeating: 1, count: Limits.nameSizeMax + 1)] {
            #expect(CoordinationName.refusal(of: name) != nil)
            if name.count <= Limits.nameSizeMax {
                #expect(try rig.ask(.leader(group: name)).code == .invalidRequest)
                #expect(try rig.ask(.lock(name: name, after: .zero, limit: 0)).code == .invalidRequest)
            }
        }
        #expect(CoordinationName.refusal(of: [UInt8](repeating: 1, count: Limits.nameSizeMax)) == nil)
        // One name is the beginning of another.
        try a.campaign("m")
        try b.campaign("ma")
        #expect(try rig.candidates("m").map(\.session) == [a.session])
    }
}
