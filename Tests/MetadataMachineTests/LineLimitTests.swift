import Basics
import Foundation
@testable import MetadataMachine
import MetadataModel
import StateEngine
import Testing

@Suite("Limits of lines")
struct LineLimitTests {
    /// Of a cluster that was founded by this release.
    private static let levels = FeatureLevels(founding: 2)

    private func count(_ rig: Rig) throws -> [[UInt8]: UInt32] {
        try rig.rows(of: 0x23).mapValues { value in
            var reader = ByteReader(value.rawSpan)
            return try reader.readUInt32()
        }
    }

    /// By line, as in table 23, of what is there.
    private func tickets(_ rig: Rig) throws -> [[UInt8]: UInt32] {
        var found: [[UInt8]: UInt32] = [:]
        for table in [0x20, 0x21] as [UInt8] {
            for key in try rig.rows(of: table).keys { found[[table] + key.dropLast(8), default: 0] += 1 }
        }
        return found
    }

    @Test("how many stand in each line is counted, whatever comes and goes")
    func counted() throws {
        let rig = try Rig(levels: Self.levels)
        var random = SplitMix64(seed: 4)
        var clients = (1...6).map { RigClient(rig, UInt64($0)) }
        for round in 0..<600 {
            let place = Int(random.next() % 6)
            let client = clients[place]
            let name = ["a", "b"][Int(random.next() % 2)]
            switch random.next() % 12 {
            case 0..<3: try client.campaign(name)
            case 3..<7:
                let mode: LockMode = random.next() % 2 == 0 ? .shared : .exclusive
                try client.lock(name, mode, delay: random.next() % 4 == 0 ? .seconds(2) : .zero)
            case 7: try client.send(.coordination(.withdraw(group: Array(name.utf8))))
            case 8..<10: try client.release(name)
            default:
                try rig.expire(client)
                clients[place] = RigClient(rig, UInt64(100 + round))
            }
            rig.time = rig.time + .milliseconds(300)
            #expect(try count(rig) == tickets(rig), "round \(round)")
        }
        try rig.crashAndReplay()
        #expect(try count(rig) == tickets(rig))
    }

    @Test("a line takes no more than it may; who is in it may campaign anew, and one who leaves makes room")
    func full() throws {
        let rig = try Rig(levels: Self.levels)
        let (first, second, third) = (RigClient(rig, 1), RigClient(rig, 2), RigClient(rig, 3))
        try first.campaign("g")
        try first.lock("l")
        try second.lock("l")
        var limit = ByteWriter()
        limit.write(UInt32(Limits.ticketsPerLineMax - 1))
        var batch = WriteBatch()
        for line in [[0x20] + Array("g".utf8), [0x21] + Array("l".utf8)] as [[UInt8]] {
            batch.put([0x23] + line + [0], limit.bytes)
        }
        rig.engine.write(batch)
        try second.campaign("g")
        try third.lock("m")
        #expect(throws: ReplyError.self) { try third.campaign("g") }
        let refusal = try third.send(.coordination(.campaign(group: Array("g".utf8), data: []))).error
        #expect(refusal?.code == .lineFull)
        #expect(refusal?.limit == UInt64(Limits.ticketsPerLineMax))
        #expect(refusal?.isRetryable == false)
        try second.campaign("g")
        try rig.expire(second)
        #expect(try third.campaign("g").ticket > .zero)
        let fourth = RigClient(rig, 4)
        #expect(try fourth.lock("l").error == nil)
        #expect(try RigClient(rig, 5).lock("l").error == nil)
        #expect(try RigClient(rig, 6).lock("l").error?.code == .lineFull)
    }

    @Test("a line that an older release has left uncounted is counted when somebody comes")
    func uncounted() throws {
        let rig = try Rig(levels: Self.levels)
        for number in 1...3 { try RigClient(rig, UInt64(number)).campaign("g") }
        var batch = WriteBatch()
        batch.deleteRange(from: [0x23], to: [0x24])
        rig.engine.write(batch)
        try RigClient(rig, 4).campaign("g")
        #expect(try count(rig) == tickets(rig))
    }

    @Test("at the first level a line is neither counted nor bounded, as older releases have it; once it rises, it is both")
    func olderRelease() throws {
        let rig = try Rig()
        let clients = (1...4).map { RigClient(rig, UInt64($0)) }
        for client in clients {
            try client.campaign("g")
            try client.lock("l", .shared)
        }
        try clients[3].release("l")
        try rig.expire(clients[2])
        #expect(try count(rig).isEmpty)
        // Not even a row that says that the line is full.
        let line = [0x23, 0x20] + Array("g".utf8) + [0]
        var full = WriteBatch()
        var size = ByteWriter()
        size.write(UInt32(Limits.ticketsPerLineMax))
        full.put(line, size.bytes)
        rig.engine.write(full)
        #expect(try RigClient(rig, 5).campaign("g").ticket > .zero)
        var none = WriteBatch()
        none.delete(line.rawSpan)
        rig.engine.write(none)
        try rig.housekeep(.featureLevel(2))
        #expect(try count(rig).isEmpty)
        try RigClient(rig, 6).campaign("g")
        try clients[0].release("l")
        #expect(try count(rig) == tickets(rig))
        try rig.crashAndReplay()
        #expect(try count(rig) == tickets(rig))
    }

    /// `QUORATE_SESSIONS=100000` for the whole of it.
    @Test("sessions that end together are ended by few entries, and what each costs is told")
    func manySessions() throws {
        let total = ProcessInfo.processInfo.environment["QUORATE_SESSIONS"].flatMap(Int.init) ?? 5_000
        let rig = try Rig()
        for number in 0..<total { try RigClient(rig, UInt64(1 + number)).send(put("k")) }
        #expect(rig.machine.openSessionCount == total)
        let ids = rig.machine.openSessions().map(\.id)
        let clock = ContinuousClock()
        var longest = Duration.zero
        let all = try clock.measure {
            for start in stride(from: 0, to: ids.count, by: Limits.sessionsPerExpiryMax) {
                let part = Array(ids[start...].prefix(Limits.sessionsPerExpiryMax))
                longest = max(longest, try clock.measure { try rig.housekeep(.expireSessions(part)) })
            }
        }
        #expect(rig.machine.openSessionCount == 0)
        print("\(total) sessions end in \(all), an entry in at most \(longest)")
    }
}
