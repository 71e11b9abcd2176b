internal import Basics
internal import MetadataModel
internal import StateEngine

/// Reads of elections, locks, sessions and the State API; always of the live state.
extension Machine {
    /// Appends the whole reply. Throws `ReplyError` or `EngineError`, and has appended nothing then.
    func answerCoordination(_ query: Query, into writer: inout ByteWriter) throws {
        switch query {
        case .leader(let group):
            let line = try Self.line(Keyspace.electionTable, group)
            let leader = try firstCandidate(in: line, of: engine)
            writeHead(into: &writer)
            writer.write(leader != nil)
            leader?.encodeItem(into: &writer)
        case .candidates(let group, let after, let limit):
            let line = try Self.line(Keyspace.electionTable, group)
            var part = PartCollector<Candidate>(limit: limit)
            try forEachCandidate(in: line, after: after, of: engine) { part.add($0, size: 32 + $0.data.count) }
            writeHead(into: &writer)
            part.part.encode(into: &writer)
        case .lock(let name, let after, let limit):
            let line = try Self.line(Keyspace.lockTable, name)
            var part = PartCollector<LockTicket>(limit: limit)
            try forEachLockTicket(in: line, after: after, of: engine) { part.add($0, size: 45) }
            writeHead(into: &writer)
            part.part.encode(into: &writer)
        case .validate(let condition):
            let result = try check(condition, in: engine)
            writeHead(into: &writer)
            result.encode(into: &writer)
        case .stateGet(let name):
            if let refusal = CoordinationName.refusal(ofEntry: name) { throw refusal }
            let entry = try stateEntry(at: Keyspace.stateEntry(name), in: engine)
            writeHead(into: &writer)
            writer.write(entry != nil)
            entry?.encodeRow(into: &writer)
        case .stateNames(let after, let limit):
            var part = PartCollector<StateName>(limit: limit)
            let range = KeyRange(prefix: [Keyspace.stateTable])
            let from = after.isEmpty ? range.from : KeyRange.successor(of: Keyspace.stateEntry(after))
            try engine.scan(from: from, to: range.to, reversed: false) { key, _ in
                part.add(StateName([UInt8](key.extracting(1..<key.byteCount))), size: key.byteCount + 2)
            }
            writeHead(into: &writer)
            part.part.encode(into: &writer)
        case .sessions(let after, let limit):
            var part = sessions.open(after: after, limit: PartCollector<SessionInfo>.bounded(limit))
            rowsLookedAt += sessions.openCount
            for position in part.items.indices {
                let count = try ownedCount(of: part.items[position].id, in: engine)
                part.items[position].ownedCount = UInt32(clamping: count)
            }
            writeHead(into: &writer)
            part.encode(into: &writer)
        case .get, .list, .page, .releaseView, .history, .changes, .moment, .historyOf, .registry: break
        }
    }

    private func writeHead(into writer: inout ByteWriter) {
        Reply.writeSuccess(revision: applied.last.index, into: &writer)
    }

    private static func line(_ table: UInt8, _ name: [UInt8]) throws(ReplyError) -> [UInt8] {
        if let refusal = CoordinationName.refusal(of: name) { throw refusal }
        return Keyspace.line(table, name)
    }
}

/// Takes items until a part of a list is full, and notices that there are more.
private struct PartCollector<Item: ListItem> {
    private(set) var part = ListPart<Item>(hasMore: false, items: [])
    private let limit: Int
    private var size = 0

    init(limit: UInt32) { self.limit = Self.bounded(limit) }

    static func bounded(_ limit: UInt32) -> Int {
        limit == 0 ? Limits.listPageCountMax : min(Int(limit), Limits.listPageCountMax)
    }

    mutating func add(_ item: Item, size itemSize: Int) -> ScanStep {
        size += itemSize
        guard part.items.count < limit, size <= Limits.listPageSizeMax || part.items.isEmpty else {
            part.hasMore = true
            return .stop
        }
        part.items.append(item)
        return .next
    }
}
