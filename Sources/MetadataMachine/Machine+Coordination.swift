internal import Basics
internal import MetadataModel
internal import StateEngine

/// Elections, locks and the State API.
///
/// A group and a lock are lines of tickets, each the log index of the entry that took it. The lowest ticket of a group
/// leads. Of a lock the first ticket holds if it is exclusive, and every shared one before the first exclusive: so what
/// is held is always the beginning of the line, and nobody is passed by. Who comes to lead or to hold gets a fence: the
/// index of the entry that brought it. So fences of a name only rise.
extension Machine {
    func apply(_ command: CoordinationCommand, _ entry: Entry) throws {
        switch command {
        case .campaign(let group, let data): try campaign(group, data, entry)
        case .withdraw(let group):
            let line = Keyspace.line(Keyspace.electionTable, group)
            let key = try ticketKey(of: entry.session, in: line)
            if let key {
                try disown(key, of: entry.session)
                try removeCandidate(at: key)
                try settle(entry)
            }
            answer(entry) { $0.write(key != nil) }
        case .setCandidateData(let group, let data):
            let line = Keyspace.line(Keyspace.electionTable, group)
            guard var leader = try firstCandidate(in: line, of: stage), leader.session == entry.session else {
                return refuse(ReplyError(.notLeading), entry)
            }
            leader.data = data
            try set(leader, in: line)
            answer(entry) { _ in }
        case .acquireLock(let request): try acquire(request, entry)
        case .releaseLock(let name):
            let line = Keyspace.line(Keyspace.lockTable, name)
            let key = try ticketKey(of: entry.session, in: line)
            if let key {
                try disown(key, of: entry.session)
                try removeLockTicket(at: key)
                try settle(entry)
            }
            answer(entry) { $0.write(key != nil) }
        case .stateSet(let store):
            let key = Keyspace.stateEntry(store.name)
            let current = try stateEntry(at: key, in: stage)
            let isSet = current == nil || current?.version == store.expected
            if isSet {
                var writer = ByteWriter(reservingCapacity: store.entry.value.count + 20)
                store.entry.encodeRow(into: &writer)
                try setRow(key, writer.takeBytes())
            }
            answer(entry) { $0.write(isSet) }
        case .stateExpunge(let name, let version):
            let key = Keyspace.stateEntry(name)
            let isGone = try stateEntry(at: key, in: stage)?.version == version
            if isGone { try removeRow(key) }
            answer(entry) { $0.write(isGone) }
        }
    }

    private func answer(_ entry: Entry, _ body: (inout ByteWriter) -> Void) {
        Reply.writeSuccess(revision: entry.index, into: &replies)
        body(&replies)
    }

    func setRow(_ key: [UInt8], _ value: [UInt8]) throws(EngineError) {
        try noteBefore(at: key)
        stageRow(key, value)
    }

    func removeRow(_ key: [UInt8]) throws(EngineError) {
        try noteBefore(at: key)
        stageRow(key, nil)
    }

    /// - Parameter value: nil deletes.
    func stageRow(_ key: [UInt8], _ value: [UInt8]?) {
        if key.first == Keyspace.electionTable { electionFences.removeAll() }
        if let value { stage.batch.put(key, value) } else { stage.batch.delete(key.rawSpan) }
        changes.note(key, value)
    }

    /// The row of the ticket that `session` has in a line; nil when it has none.
    private func ticketKey(of session: SessionID, in line: [UInt8]) throws(EngineError) -> [UInt8]? {
        let range = KeyRange(prefix: Keyspace.owned(line, by: session))
        var key: [UInt8]?
        try stage.scan(from: range.from, to: range.to, reversed: false) { index, _ in
            key = Keyspace.ownedKey([UInt8](index))
            return .stop
        }
        return key
    }

    // MARK: - How long a line is

    // Lines are counted, and bounded, from feature level 2 on only. Nodes of an older release know neither, and until then
    // there may be such: their states would come apart from those that do.
    private var countsLines: Bool { featureLevel >= 2 }

    /// Counted before a ticket is put into it or taken out of it.
    private func lineSize(_ line: [UInt8]) throws(EngineError) -> Int {
        if let row = try stage.get(Keyspace.size(ofLine: line).rawSpan) {
            return try Self.row("the size of a line") { () throws(DecodeError) in
                var reader = ByteReader(row.rawSpan)
                return Int(try reader.readUInt32())
            }
        }
        var count = 0
        try stage.scan(from: line, to: KeyRange.end(ofPrefix: line), reversed: false) { _, _ in
            count += 1
            return .next
        }
        return count
    }

    private func addToLine(_ line: [UInt8], _ change: Int) throws(EngineError) {
        guard countsLines else { return }
        let key = Keyspace.size(ofLine: line)
        let count = try lineSize(line) + change
        guard count > 0 else { return stage.batch.delete(key.rawSpan) }
        var writer = ByteWriter()
        writer.write(UInt32(clamping: count))
        stage.batch.put(key, writer.takeBytes())
    }

    /// Why nobody may take one more place in the line; nil when there is room.
    private func refusal(ofPlaceIn line: [UInt8]) throws(EngineError) -> ReplyError? {
        let limit = Limits.ticketsPerLineMax
        guard countsLines, try lineSize(line) >= limit else { return nil }
        return ReplyError(.lineFull, "\(limit) stand in this line already", limit: UInt64(limit))
    }

    // MARK: - Elections

    private func campaign(_ group: [UInt8], _ data: [UInt8], _ entry: Entry) throws {
        let line = Keyspace.line(Keyspace.electionTable, group)
        let former = try ticketKey(of: entry.session, in: line)
        if former == nil, let refusal = try refusal(ofPlaceIn: line) ?? refusalToOwn(1, entry) {
            return refuse(refusal, entry)
        }
        if let former {
            try disown(former, of: entry.session)
            try removeCandidate(at: former)
        }
        try addToLine(line, 1)
        let candidate = Candidate(ticket: entry.index, session: entry.session, fence: 0, data: data)
        try set(candidate, in: line)
        try own(Keyspace.ticket(entry.index, in: line), entry)
        lines.electionsChanged.insert(line)
        try settle(entry)
        let leads = try firstCandidate(in: line, of: stage)?.ticket == entry.index
        let result = TicketResult(ticket: entry.index, fence: leads ? entry.index.rawValue : 0)
        answer(entry) { result.encode(into: &$0) }
    }

    private func set(_ candidate: Candidate, in line: [UInt8]) throws(EngineError) {
        var writer = ByteWriter()
        candidate.encodeRow(into: &writer)
        try setRow(Keyspace.ticket(candidate.ticket, in: line), writer.takeBytes())
    }

    func removeCandidate(at key: [UInt8]) throws(EngineError) {
        let line = Keyspace.line(ofTicketAt: key)
        try addToLine(line, -1)
        try removeRow(key)
        lines.electionsChanged.insert(line)
    }

    func firstCandidate<Reader: EngineReader>(
        in line: [UInt8], of reader: Reader
    ) throws(EngineError) -> Candidate? {
        var first: Candidate?
        try forEachCandidate(in: line, after: .zero, of: reader) {
            first = $0
            return .stop
        }
        return first
    }

    func forEachCandidate<Reader: EngineReader>(
        in line: [UInt8], after: LogIndex, of reader: Reader, _ body: (Candidate) -> ScanStep
    ) throws(EngineError) {
        let from = Keyspace.afterTicket(after, in: line)
        try reader.scan(from: from, to: KeyRange.end(ofPrefix: line), reversed: false) {
            (key, value) throws(EngineError) in
            body(try Self.row("a candidate") { () throws(DecodeError) in
                var reader = ByteReader(value)
                return try Candidate(ticket: try Keyspace.ticket(ofKey: key), decodingRow: &reader)
            })
        }
    }

    // MARK: - Locks

    private func acquire(_ request: LockRequest, _ entry: Entry) throws {
        let line = Keyspace.line(Keyspace.lockTable, request.name)
        if let key = try ticketKey(of: entry.session, in: line), let own = try lockTicket(at: key) {
            guard own.mode == request.mode else {
                let advice = "this session has a place in the line for the lock, in the other mode: release it first"
                return refuse(ReplyError(.lockHeld, advice), entry)
            }
            guard own.isHeld || !request.isTry else { return refuse(ReplyError(.lockHeld), entry) }
            let result = TicketResult(ticket: own.ticket, fence: own.fence)
            return answer(entry) { result.encode(into: &$0) }
        }
        let last = try lastLockTicket(in: line, before: nil)
        let isFree =
            last.map { (request.mode == .shared && $0.mode == .shared && $0.isHeld) || Mutant.lockForTwo.isOn } ?? true
        guard isFree || !request.isTry else { return refuse(ReplyError(.lockHeld), entry) }
        if let refusal = try refusal(ofPlaceIn: line) ?? refusalToOwn(1, entry) { return refuse(refusal, entry) }
        try addToLine(line, 1)
        let ticket = LockTicket(
            ticket: entry.index, session: entry.session, mode: request.mode,
            fence: isFree ? entry.index.rawValue : 0, delay: request.delay)
        try set(ticket, in: line)
        try own(Keyspace.ticket(entry.index, in: line), entry)
        let result = TicketResult(ticket: ticket.ticket, fence: ticket.fence)
        answer(entry) { result.encode(into: &$0) }
    }

    private func set(_ ticket: LockTicket, in line: [UInt8]) throws(EngineError) {
        var writer = ByteWriter()
        ticket.encodeRow(into: &writer)
        try setRow(Keyspace.ticket(ticket.ticket, in: line), writer.takeBytes())
    }

    private func removeLockTicket(at key: [UInt8]) throws(EngineError) {
        try addToLine(Keyspace.line(ofTicketAt: key), -1)
        try removeRow(key)
        lines.lockTicketsGone.insert(key)
    }

    /// The session of the ticket is over: it is given up, unless it holds the lock and asked for a delay.
    func endHolding(ofTicketAt key: [UInt8], _ entry: Entry) throws(EngineError) {
        guard var ticket = try lockTicket(at: key) else { return }
        guard ticket.isHeld, ticket.delay > .zero else { return try removeLockTicket(at: key) }
        let due = entry.time + ticket.delay
        ticket.heldUntil = due
        try set(ticket, in: Keyspace.line(ofTicketAt: key))
        stage.batch.put(Keyspace.timer(due, ofTicketAt: key), [])
        nextTimer = nextTimer.map { min($0, due) } ?? due
    }

    private func lockTicket(at key: [UInt8]) throws(EngineError) -> LockTicket? {
        guard let row = try stage.get(key.rawSpan) else { return nil }
        return try Self.lockTicket(key.rawSpan, row.rawSpan)
    }

    private static func lockTicket(_ key: RawSpan, _ value: RawSpan) throws(EngineError) -> LockTicket {
        try row("a lock") { () throws(DecodeError) in
            var reader = ByteReader(value)
            return try LockTicket(ticket: try Keyspace.ticket(ofKey: key), decodingRow: &reader)
        }
    }

    private func lastLockTicket(in line: [UInt8], before key: [UInt8]?) throws(EngineError) -> LockTicket? {
        var last: LockTicket?
        try stage.scan(from: line, to: key ?? KeyRange.end(ofPrefix: line), reversed: true) {
            (key, value) throws(EngineError) in
            last = try Self.lockTicket(key, value)
            return .stop
        }
        return last
    }

    func forEachLockTicket<Reader: EngineReader>(
        in line: [UInt8], after: LogIndex, of reader: Reader, _ body: (LockTicket) -> ScanStep
    ) throws(EngineError) {
        let from = Keyspace.afterTicket(after, in: line)
        try reader.scan(from: from, to: KeyRange.end(ofPrefix: line), reversed: false) {
            (key, value) throws(EngineError) in body(try Self.lockTicket(key, value))
        }
    }

    // MARK: - Who is next

    /// Gives those their fence who lead or hold now that others are gone. After every change that takes tickets away,
    /// within the same entry: so between two entries nobody who is first is without one.
    func settle(_ entry: Entry) throws(EngineError) {
        guard !lines.isEmpty else { return }
        let changed = lines
        lines = ChangedLines()
        for line in changed.electionsChanged.sorted(by: { $0.lexicographicallyPrecedes($1) }) {
            guard var first = try firstCandidate(in: line, of: stage), first.fence == 0 else { continue }
            first.fence = entry.index.rawValue
            try set(first, in: line)
        }
        for key in changed.lockTicketsGone.sorted(by: { $0.lexicographicallyPrecedes($1) }) {
            try grant(fromTicketAt: key, entry)
        }
    }

    /// Those who waited behind the ticket that was at `key`, as far as their turn has come.
    private func grant(fromTicketAt key: [UInt8], _ entry: Entry) throws(EngineError) {
        let line = Keyspace.line(ofTicketAt: key)
        let before = try lastLockTicket(in: line, before: key)
        if let before, !before.isHeld || before.mode == .exclusive { return }
        var granted: [LockTicket] = []
        try stage.scan(from: key, to: KeyRange.end(ofPrefix: line), reversed: false) {
            (key, value) throws(EngineError) in
            let ticket = try Self.lockTicket(key, value)
            guard !ticket.isHeld else { return .stop }
            guard ticket.mode == .exclusive else {
                granted.append(ticket)
                return .next
            }
            if before == nil, granted.isEmpty { granted.append(ticket) }
            return .stop
        }
        for var ticket in granted {
            ticket.fence = entry.index.rawValue
            try set(ticket, in: line)
        }
    }

    // MARK: - What is due

    /// Carries out the delayed releases whose time has come with `entry`.
    func carryOutTimers(_ entry: Entry) throws(EngineError) {
        guard let due = nextTimer, due <= entry.time else { return }
        var timers: [[UInt8]] = []
        try stage.scan(from: [Keyspace.timerTable], to: Keyspace.timersEnd(after: entry.time), reversed: false) {
            key, _ in
            timers.append([UInt8](key))
            return timers.count < Limits.timersPerEntryMax ? .next : .stop
        }
        for timer in timers {
            stage.batch.delete(timer.rawSpan)
            try removeLockTicket(
                at: Self.row("a timer") { () throws(DecodeError) in try Keyspace.ticketKey(ofTimer: timer) })
        }
        try settle(entry)
        try carryOutRegistryTimers(entry)
        nextTimer = try firstTimer(in: stage)
    }

    func firstTimer<Reader: EngineReader>(in reader: Reader) throws(EngineError) -> ClusterTime? {
        let range = KeyRange(prefix: [Keyspace.timerTable])
        var first: ClusterTime?
        try reader.scan(from: range.from, to: range.to, reversed: false) { (key, _) throws(EngineError) in
            first = try Self.row("a timer") { () throws(DecodeError) in try Keyspace.time(ofTimer: key) }
            return .stop
        }
        return [first, try firstRegistryTimer(in: reader)].compactMap(\.self).min()
    }

    // MARK: - Guards and entries

    /// Why a mutation with these guards may not be carried out; nil when all hold.
    func refusal(by guards: [Guard]) throws(EngineError) -> ReplyError? {
        for condition in guards {
            let result =
                switch condition.kind {
                case .election: GuardResult(of: condition, electionFence: try electionFence(condition.name))
                case .lock: try check(condition, in: stage)
                }
            guard result.holds || Mutant.skipGuard.isOn else {
                let what = condition.kind == .election ? "the election" : "the lock"
                let name = String(decoding: condition.name, as: UTF8.self)
                let current = result.currentFence
                return ReplyError(
                    .fenced,
                    "fence \(condition.fence) of \(what) \(name) does not hold: "
                        + (current == 0 ? "nobody has it now" : "the current one is \(current)"),
                    currentFence: current)
            }
        }
        return nil
    }

    /// That of the first candidate as the group sees it; 0: nobody leads. A scan of table files costs more than most
    /// commands that a leader guards, and who leads changes rarely.
    private func electionFence(_ group: [UInt8]) throws(EngineError) -> UInt64 {
        if let known = electionFences[group] { return known }
        let fence = try firstCandidate(in: Keyspace.line(Keyspace.electionTable, group), of: stage)?.fence ?? 0
        if electionFences.count >= Self.electionFencesMax { electionFences.removeAll() }
        electionFences[group] = fence
        return fence
    }

    private static var electionFencesMax: Int { 64 }

    func check<Reader: EngineReader>(_ condition: Guard, in reader: Reader) throws(EngineError) -> GuardResult {
        switch condition.kind {
        case .election:
            let line = Keyspace.line(Keyspace.electionTable, condition.name)
            return GuardResult(of: condition, electionFence: try firstCandidate(in: line, of: reader)?.fence ?? 0)
        case .lock:
            var result = GuardResult(holds: false, currentFence: 0)
            let line = Keyspace.line(Keyspace.lockTable, condition.name)
            try forEachLockTicket(in: line, after: .zero, of: reader) { ticket in
                guard ticket.isHeld else { return .stop }
                if result.currentFence == 0 { result.currentFence = ticket.fence }
                result.holds = ticket.fence == condition.fence
                return result.holds ? .stop : .next
            }
            if result.holds { result.currentFence = condition.fence }
            return result
        }
    }

    func stateEntry<Reader: EngineReader>(at key: [UInt8], in reader: Reader) throws(EngineError) -> StateEntry? {
        guard let row = try reader.get(key.rawSpan) else { return nil }
        return try Self.row("a State API entry") { () throws(DecodeError) in
            var reader = ByteReader(row.rawSpan)
            return try StateEntry(decodingRow: &reader)
        }
    }

    static func row<T>(_ what: String, _ body: () throws(DecodeError) -> T) throws(EngineError) -> T {
        do throws(DecodeError) {
            return try body()
        } catch {
            throw .corrupt("the row of \(what): \(error)")
        }
    }
}

extension GuardResult {
    /// - Parameter fence: the current one; 0: there is none.
    fileprivate init(of condition: Guard, electionFence fence: UInt64) {
        self.init(holds: fence == condition.fence && fence > 0, currentFence: fence)
    }
}

/// Lines from which tickets were taken away, until `settle` has looked at them.
struct ChangedLines {
    /// Groups, as `Keyspace.line`.
    var electionsChanged: Set<[UInt8]> = []
    /// Where the tickets were.
    var lockTicketsGone: Set<[UInt8]> = []

    var isEmpty: Bool { electionsChanged.isEmpty && lockTicketsGone.isEmpty }
}
