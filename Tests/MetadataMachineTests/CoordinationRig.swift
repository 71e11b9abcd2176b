import Basics
import MetadataMachine
import MetadataModel
import StateEngine

/// A client of a rig, with a session of its own.
final class RigClient {
    let rig: Rig
    let session: SessionID
    private var sequence: UInt64 = 0

    init(_ rig: Rig, _ number: UInt64) {
        self.rig = rig
        session = SessionID(number, 0)
    }

    @discardableResult
    func send(_ mutation: Mutation, guards: [Guard] = []) throws -> Answer {
        try rig.send(next(mutation, guards: guards))
    }

    func next(_ mutation: Mutation, guards: [Guard] = []) -> [UInt8] {
        sequence += 1
        return rig.command(mutation, sequence, session: session, acknowledged: sequence - 1, guards: guards)
    }

    @discardableResult
    func campaign(_ group: String, _ data: String = "") throws -> TicketResult {
        try send(.coordination(.campaign(group: Array(group.utf8), data: Array(data.utf8)))).ticket()
    }

    @discardableResult
    func lock(
        _ name: String, _ mode: LockMode = .exclusive, isTry: Bool = false, delay: Interval = .zero
    ) throws -> Answer {
        let request = LockRequest(name: Array(name.utf8), mode: mode, isTry: isTry, delay: delay)
        return try send(.coordination(.acquireLock(request)))
    }

    @discardableResult
    func release(_ name: String) throws -> Answer { try send(.coordination(.releaseLock(name: Array(name.utf8)))) }
}

extension Answer {
    func ticket() throws -> TicketResult {
        if let error { throw error }
        var reader = ByteReader(rest.rawSpan)
        return try TicketResult(decoding: &reader)
    }

    func flag() throws -> Bool {
        if let error { throw error }
        var reader = ByteReader(rest.rawSpan)
        return try reader.readBool()
    }

    func part<Item: ListItem>(of: Item.Type) throws -> ListPart<Item> {
        if let error { throw error }
        var reader = ByteReader(rest.rawSpan)
        return try ListPart(decoding: &reader)
    }
}

extension Rig {
    func leader(_ group: String) throws -> Candidate? {
        let answer = try ask(.leader(group: Array(group.utf8)))
        var reader = ByteReader(answer.rest.rawSpan)
        return try reader.readBool() ? try Candidate(decodingItem: &reader) : nil
    }

    func candidates(_ group: String) throws -> [Candidate] {
        try ask(.candidates(group: Array(group.utf8), after: .zero, limit: 0)).part(of: Candidate.self).items
    }

    func lockLine(_ name: String) throws -> [LockTicket] {
        try ask(.lock(name: Array(name.utf8), after: .zero, limit: 0)).part(of: LockTicket.self).items
    }

    func check(_ condition: Guard) throws -> GuardResult {
        let answer = try ask(.validate(condition))
        var reader = ByteReader(answer.rest.rawSpan)
        return try GuardResult(decoding: &reader)
    }

    func expire(_ clients: RigClient...) throws { try housekeep(.expireSessions(clients.map(\.session))) }

    /// Rows whose key begins with `table`, without it.
    func rows(of table: UInt8) throws -> [[UInt8]: [UInt8]] {
        var rows: [[UInt8]: [UInt8]] = [:]
        try engine.scan(from: [table], to: [table + 1], reversed: false) { key, value in
            rows[Array([UInt8](key).dropFirst())] = [UInt8](value)
            return .next
        }
        return rows
    }

    /// What the outcome of the group that ends here says of rows, by key with its table first.
    func rowItems() throws -> [[UInt8]: [UInt8]?] {
        let last = machine.applied.last.index.rawValue
        let key = [0xF1] + (0..<8).map { UInt8(truncatingIfNeeded: last >> (56 - 8 * $0)) }
        guard let outcome = try engine.get(key.rawSpan) else { return [:] }
        var reader = ByteReader(outcome.rawSpan)
        var items: [[UInt8]: [UInt8]?] = [:]
        while !reader.isAtEnd {
            switch try reader.readUInt8() {
            case 1:
                _ = try reader.readBytes(16)
                let flags = try reader.readUInt8()
                _ = try reader.readBytes(8 + (flags != 0 ? 8 : 0) + (flags & 1 != 0 ? 16 : 0))
                _ = try reader.readBytes16()
            case 2:
                _ = try reader.readBytes(8)
                let count = Int(try reader.readUInt16())
                _ = try reader.readBytes(16 * count)
            case 3:
                _ = try reader.readBytes(9)
                for _ in 0..<(try reader.readUInt32()) { _ = try reader.readBytes16() }
            case 4: _ = try reader.readBytes(32)
            case 6:
                _ = try reader.readBytes(8)
                for _ in 0..<(try reader.readUInt32()) {
                    _ = try reader.readUInt8()
                    _ = try reader.readBytes16()
                    let what = try reader.readUInt8()
                    if what > 0 { _ = try reader.readUInt64() }
                    if what == 1 { _ = try reader.readBytes32(max: .max) }
                }
            default:
                guard try reader.readUInt64() == last else { throw DecodeError.invalid("index of an item") }
                for _ in 0..<(try reader.readUInt32()) {
                    let row = [try reader.readUInt8()] + [UInt8](try reader.readBytes16())
                    let value = try reader.readBool() ? [UInt8](try reader.readBytes32(max: .max)) : nil
                    guard items.updateValue(value, forKey: row) == nil else { throw DecodeError.invalid("a row twice") }
                }
            }
        }
        return items
    }
}
