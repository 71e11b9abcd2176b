import Basics
import LogFormat
import MetadataMachine
import MetadataModel
import StateEngine
import Testing

/// Whatever comes in whatever order: after every entry the rows are as elections and locks have to be, and the outcome
/// tells exactly what changed.
@Suite("Coordination, whatever comes")
struct CoordinationPropertyTests {
    private static func split(_ key: [UInt8]) -> (name: [UInt8], ticket: LogIndex) {
        (Array(key.dropLast(9)), LogIndex(key.suffix(8).reduce(0) { $0 << 8 | UInt64($1) }))
    }

    private final class Course {
        let rig: Rig
        var clients: [RigClient]
        var ended: Set<SessionID> = []
        var chance: SplitMix64
        var lastNumber: UInt64
        var highestFence: [[UInt8]: (fence: UInt64, ticket: LogIndex)] = [:]
        var electionCount = 0
        var grantCount = 0

        init(seed: UInt64) throws {
            rig = try Rig(base: LogIndex(1_000))
            chance = SplitMix64(seed: seed)
            lastNumber = 5
            clients = []
            for number in 1...5 { clients.append(RigClient(rig, UInt64(number))) }
        }

        func below(_ bound: Int) -> Int { Int.random(in: 0..<bound, using: &chance) }

        func end(_ position: Int) {
            ended.insert(clients[position].session)
            lastNumber += 1
            clients[position] = RigClient(rig, lastNumber)
        }

        /// One entry.
        func step() throws {
            if below(3) == 0 { rig.pass(.milliseconds(Int64(below(900)))) }
            let position = below(clients.count)
            let client = clients[position]
            let name = "n\(below(2))"
            let bytes = Array(name.utf8)
            switch below(24) {
            case 0..<5: try client.campaign(name, "\(below(9))")
            case 5: try client.send(.coordination(.withdraw(group: bytes)))
            case 6: try client.send(.coordination(.setCandidateData(group: bytes, data: [UInt8(below(9))])))
            case 7..<12:
                let delay = below(2) == 0 ? Interval.zero : .milliseconds(Int64(1 + below(3_000)))
                try client.lock(name, below(2) == 0 ? .exclusive : .shared, isTry: below(5) == 0, delay: delay)
            case 12, 13: try client.release(name)
            case 14, 15: try client.send(.put(key: Array("k\(below(4))".utf8), value: bytes, isOwned: true))
            case 16: try client.send(put("k\(below(4))"))
            case 17: try client.send(delete("k\(below(4))"))
            case 18:
                try client.send(.endSession)
                end(position)
            case 19:
                let other = below(clients.count)
                try rig.expire(client, clients[other])
                end(position)
                if other != position { end(other) }
            case 20: try rig.housekeep(.tick)
            case 21: try rig.apply([], type: .noop)
            case 22:
                let entry = StateEntry(version: StateVersion(0, UInt64(below(3))), value: [UInt8(below(9))])
                let store = StateStore(name: bytes, entry: entry, expected: StateVersion(0, UInt64(below(3))))
                try client.send(.coordination(.stateSet(store)))
            default:
                try client.send(.coordination(.stateExpunge(name: bytes, version: StateVersion(0, UInt64(below(3))))))
            }
        }
    }

    @Test("one leader a group, one exclusive holder a lock, rising fences, an index that is true", arguments: 1...20)
    func invariants(seed: Int) throws {
        let course = try Course(seed: UInt64(seed))
        let rig = course.rig
        for number in 0..<600 {
            let tables: [UInt8] = [0x20, 0x21, 0x30]
            let before = try tables.map { try rig.rows(of: $0) }
            let records = try rig.rows(of: 0x10)
            try course.step()
            try check(course)
            // What the outcome says is the difference, no more and no less.
            let items = try rig.rowItems()
            for (table, old) in zip(tables, before) {
                let new = try rig.rows(of: table)
                for key in Set(old.keys).union(new.keys) where old[key] != new[key] {
                    #expect(items[[table] + key] == .some(new[key]), "entry \(number): \(key) of \(table)")
                }
            }
            for (key, value) in items {
                #expect(try rig.rows(of: key[0])[Array(key.dropFirst())] == value, "entry \(number)")
                if key[0] == 0x10 { #expect(value == nil && records[Array(key.dropFirst())] != nil) }
            }
            switch course.below(60) {
            case 0: try rig.restart()
            case 1: try rig.crashAndReplay()
            case 2: try rig.moveToSnapshot()
            default: break
            }
        }
        #expect(course.electionCount > 20)
        #expect(course.grantCount > 20)
    }

    private func check(_ course: Course) throws {
        let rig = course.rig
        var owned: Set<[UInt8]> = []
        var timers: Set<[UInt8]> = []
        var lines: [[UInt8]: [Candidate]] = [:]
        for (key, value) in try rig.rows(of: 0x20) {
            let (name, ticket) = Self.split(key)
            var reader = ByteReader(value.rawSpan)
            let candidate = try Candidate(ticket: ticket, decodingRow: &reader)
            lines[name, default: []].append(candidate)
            owned.insert(index(candidate.session) + [0x20] + key)
            #expect(!course.ended.contains(candidate.session), "a candidate without a session")
        }
        for (name, line) in lines {
            let line = line.sorted { $0.ticket < $1.ticket }
            #expect(line.dropFirst().allSatisfy { $0.fence == 0 }, "two leaders")
            let isNew = try risen(line[0].fence, line[0].ticket, [1] + name, course)
            course.electionCount += isNew ? 1 : 0
            #expect(Set(line.map(\.session)).count == line.count, "a session with two tickets")
        }
        var locks: [[UInt8]: [LockTicket]] = [:]
        for (key, value) in try rig.rows(of: 0x21) {
            let (name, ticket) = Self.split(key)
            var reader = ByteReader(value.rawSpan)
            let lock = try LockTicket(ticket: ticket, decodingRow: &reader)
            locks[name, default: []].append(lock)
            if let until = lock.heldUntil {
                #expect(lock.isHeld && until > rig.machine.applied.time, "a release that is overdue")
                #expect(course.ended.contains(lock.session))
                timers.insert((0..<8).map { UInt8(truncatingIfNeeded: until.nanoseconds >> (56 - 8 * $0)) } + key)
            } else {
                #expect(!course.ended.contains(lock.session), "a ticket without a session")
                owned.insert(index(lock.session) + [0x21] + key)
            }
        }
        for (name, line) in locks {
            let line = line.sorted { $0.ticket < $1.ticket }
            let sharedCount = line.prefix { $0.mode == .shared }.count
            let heldCount = max(1, sharedCount)
            let held = line.map(\.isHeld)
            #expect(!held.prefix(heldCount).contains(false), "somebody waits whose turn it is")
            #expect(!held.dropFirst(heldCount).contains(true), "a holder out of turn")
            for lock in line.prefix(heldCount) {
                let isNew = try risen(lock.fence, lock.ticket, [UInt8(2)] + name, course, isShared: sharedCount > 0)
                course.grantCount += isNew ? 1 : 0
            }
        }
        #expect(Set(try rig.rows(of: 0x22).keys) == timers)
        let due = timers.map { $0.prefix(8).reduce(0) { $0 << 8 | UInt64($1) } }.min()
        #expect(rig.machine.nextTimer?.nanoseconds == due)
        // The index: of tickets exactly what there is, of records at least that.
        var counts: [[UInt8]: Int] = [:]
        var stored: [[UInt8]: Int] = [:]
        var indexed: Set<[UInt8]> = []
        for (key, value) in try rig.rows(of: 0x12) {
            let session = Array(key.prefix(16))
            #expect(!course.ended.contains { index($0) == session }, "something is left of a session that ended")
            if key.count == 16 {
                stored[session] = Int(value[0]) + Int(value[1]) << 8
            } else {
                counts[session, default: 0] += 1
                indexed.insert(key)
            }
        }
        #expect(stored == counts)
        #expect(indexed.filter { $0[16] != 0x10 } == owned)
        for (key, value) in try rig.rows(of: 0x10) where value[7] & 0x80 != 0 {
            #expect(indexed.contains(Array(value[8..<24]) + [0x10] + key), "an owned record that nobody would end")
        }
    }

    private func index(_ session: SessionID) -> [UInt8] {
        [session.first, session.second].flatMap { part in (0..<8).map { UInt8(truncatingIfNeeded: part >> (8 * $0)) } }
    }

    /// A fence that was not there before is higher than every earlier one of the name.
    private func risen(
        _ fence: UInt64, _ ticket: LogIndex, _ name: [UInt8], _ course: Course, isShared: Bool = false
    ) throws -> Bool {
        #expect(fence > 0)
        guard let highest = course.highestFence[name] else {
            course.highestFence[name] = (fence, ticket)
            return true
        }
        if fence > highest.fence {
            course.highestFence[name] = (fence, ticket)
            return true
        }
        // Shared holders keep theirs while others come and go.
        if !isShared { #expect(fence == highest.fence && ticket == highest.ticket, "a fence that does not rise") }
        return false
    }
}
