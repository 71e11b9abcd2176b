import Basics
import MetadataModel
import Testing

/// Bytes from a socket or a file: cut, flipped or made up, they end in an error, never in a trap.
@Suite("Foreign bytes")
struct ForeignBytesTests {
    /// Everything that reads foreign bytes in this room.
    private static func readEverything(_ bytes: [UInt8]) {
        _ = try? Command.validate(bytes.rawSpan)
        _ = try? Query(decoding: bytes.rawSpan)
        _ = try? Membership(decoding: bytes.rawSpan)
        _ = try? FoundingRecord(decoding: bytes.rawSpan)
        read(bytes) { _ = try ReplyHead(decoding: &$0) }
        read(bytes) { _ = try DeleteRangeResult(decoding: &$0) }
        read(bytes) { _ = try TransactionResult(decoding: &$0) }
        read(bytes) { _ = try $0.readRowResult() }
        read(bytes) { _ = try ListPart<Candidate>(decoding: &$0) }
        read(bytes) { _ = try ListPart<LockTicket>(decoding: &$0) }
        read(bytes) { _ = try ListPart<StateName>(decoding: &$0) }
        read(bytes) { _ = try ListPart<SessionInfo>(decoding: &$0) }
        read(bytes) { _ = try StateEntry(decodingRow: &$0) }
        read(bytes) { _ = try $0.readCreatedKey() }
        for request in [PageRequest(), PageRequest(isKeysOnly: true), PageRequest(isCountOnly: true)] {
            read(bytes) { _ = try Page(decoding: &$0, for: request) }
        }
        read(bytes) { reader in
            let header = try CommandHeader(decoding: &reader)
            _ = try Housekeeping(kind: header.kind, decoding: &reader)
        }
    }

    private static func read(_ bytes: [UInt8], _ body: (inout ByteReader) throws -> Void) {
        var reader = ByteReader(bytes.rawSpan)
        try? body(&reader)
    }

    @Test("every form, cut after each byte")
    func cut() {
        for sample in Samples.all {
            for count in 0...sample.bytes.count { Self.readEverything(Array(sample.bytes.prefix(count))) }
        }
    }

    @Test("every form, with each bit flipped")
    func flipped() {
        for sample in Samples.all {
            for bit in 0..<sample.bytes.count * 8 {
                var bytes = sample.bytes
                bytes[bit / 8] ^= 1 << UInt8(bit % 8)
                Self.readEverything(bytes)
            }
        }
    }

    @Test("every form with any two bytes at their largest: lengths and counts that lie")
    func lyingCounts() {
        for sample in Samples.all where sample.bytes.count > 1 {
            for offset in 0..<sample.bytes.count - 1 {
                var bytes = sample.bytes
                bytes[offset] = 0xFF
                bytes[offset + 1] = 0xFF
                Self.readEverything(bytes)
            }
        }
    }

    @Test("chance", arguments: 1...4)
    func chance(seed: Int) {
        var chance = SplitMix64(seed: UInt64(seed))
        for _ in 0..<500 {
            let bytes = (0..<Int.random(in: 0...120, using: &chance)).map { _ in
                // Small numbers pass more checks than large ones.
                Bool.random(using: &chance)
                    ? UInt8.random(in: 0...4, using: &chance) : UInt8.random(in: 0...255, using: &chance)
            }
            Self.readEverything(bytes)
        }
    }

    @Test("a command that was cut is refused at each length, and its bytes whole are not")
    func cutCommands() throws {
        for sample in Samples.mutations {
            let bytes = Samples.command(sample.mutation)
            try Command.validate(bytes.rawSpan)
            for count in 0..<bytes.count {
                let part = Array(bytes.prefix(count))
                #expect(throws: ReplyError.self, "\(sample.name) cut after \(count) bytes") {
                    try Command.validate(part.rawSpan)
                }
            }
        }
    }

    @Test("a query, membership or founding record that was cut is refused at each length")
    func cutOthers() {
        for sample in Samples.queries {
            let bytes = sample.query.encoded()
            for count in 0..<bytes.count {
                let part = Array(bytes.prefix(count))
                #expect(throws: DecodeError.self, "\(sample.name)") { try Query(decoding: part.rawSpan) }
            }
        }
        let membership = Samples.membership.encoded()
        for count in 0..<membership.count {
            let part = Array(membership.prefix(count))
            #expect(throws: DecodeError.self) { try Membership(decoding: part.rawSpan) }
        }
        let founding = Samples.founding.encoded()
        for count in 0..<founding.count {
            let part = Array(founding.prefix(count))
            #expect(throws: DecodeError.self) { try FoundingRecord(decoding: part.rawSpan) }
        }
    }

    // MARK: Memberships that are none

    private func refuses(_ bytes: [UInt8]) -> Bool {
        do {
            _ = try Membership(decoding: bytes.rawSpan)
            return false
        } catch {
            return true
        }
    }

    private func bytes(
        _ members: [(id: UInt64, name: String)], _ incoming: [UInt64], _ outgoing: [UInt64] = [],
        _ learners: [UInt64] = []
    ) -> [UInt8] {
        Samples.bytes { writer in
            writer.write(UInt16(members.count))
            for member in members {
                writer.write(member.id)
                writer.writeString16(member.name)
                writer.writeString16("h:1")
            }
            for list in [incoming, outgoing, learners] {
                writer.write(UInt16(list.count))
                for id in list { writer.write(id) }
            }
        }
    }

    @Test("a membership with somebody twice, a voter who is no member, or a learner who votes is refused")
    func impossibleMemberships() {
        let two = [(id: UInt64(1), name: "a"), (id: UInt64(2), name: "b")]
        #expect(!refuses(bytes(two, [1], [], [2])))
        #expect(refuses(bytes([(1, "a"), (1, "b")], [1])), "an id twice")
        #expect(refuses(bytes([(1, "a"), (2, "a")], [1])), "a name twice")
        #expect(refuses(bytes(two, [1, 1])), "a voter twice")
        #expect(refuses(bytes(two, [3])), "no member")
        #expect(refuses(bytes(two, [1], [], [3])), "a learner who is no member")
        #expect(refuses(bytes(two, [1], [], [1])), "a learner who votes")
        #expect(refuses(bytes(two, [1], [2], [2])), "a learner who still votes")
    }

    @Test("a founding record without voters, joint, or of another version is refused")
    func impossibleFounding() {
        var joint = Samples.founding
        joint.membership = Samples.membership
        var nobody = Samples.founding
        nobody.membership = .empty
        for founding in [joint, nobody] {
            let bytes = founding.encoded()
            #expect(throws: DecodeError.self) { try FoundingRecord(decoding: bytes.rawSpan) }
        }
        var version = Samples.founding.encoded()
        version[0] = 4
        #expect(throws: DecodeError.unknown("founding record version", 4)) {
            try FoundingRecord(decoding: version.rawSpan)
        }
    }
}
