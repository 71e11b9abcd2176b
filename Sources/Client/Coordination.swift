internal import Basics
internal import MetadataModel

/// Elections and locks, what they prove to others, and the State API.
///
///     let ticket = try await client.campaign("masters", data: Array("10.0.0.1:5050".utf8))
///     let fence = try await client.waitToLead("masters", ticket)
///     try await client.put("registry/x", "1", guards: [fence])
///
/// Tickets, locks and owned rows belong to the client's session: when `sessionStates` says `lost`, all of them are gone,
/// and when it says `suspended` they may be soon.
extension MetadataClient {
    // MARK: - Elections

    /// Takes the last place in the line for leading `group`; a place that this client has there is given up.
    /// - Parameter data: what others are told of this candidate; at most 64 KiB.
    public func campaign(
        _ group: String, data: [UInt8], guards: [Fence] = [], timeout: Duration? = nil
    ) async throws(ClientError) -> Ticket {
        try await coordinate(.campaign(group: Array(group.utf8), data: data), guards, timeout) {
            reader throws(DecodeError) in Ticket(try TicketResult(decoding: &reader))
        }
    }

    /// Gives up leading, or the place in the line.
    /// - Returns: false when there was none.
    @discardableResult
    public func withdraw(
        _ group: String, guards: [Fence] = [], timeout: Duration? = nil
    ) async throws(ClientError) -> Bool {
        try await coordinate(.withdraw(group: Array(group.utf8)), guards, timeout) { reader throws(DecodeError) in
            try reader.readBool()
        }
    }

    /// Changes what others are told of the leader, which must be this client: else `notLeading` is thrown.
    public func setCandidateData(
        _ group: String, _ data: [UInt8], guards: [Fence] = [], timeout: Duration? = nil
    ) async throws(ClientError) {
        try await coordinate(.setCandidateData(group: Array(group.utf8), data: data), guards, timeout) { _ in }
    }

    /// - Returns: nil when nobody campaigns.
    public func leader(
        _ group: String, level: ReadLevel = .linearizable, timeout: Duration? = nil
    ) async throws(ClientError) -> ElectionCandidate? {
        let query = Query.leader(group: try Self.name(group))
        return try await self.query(query, level, nil, timeout) { _, reader, _ throws(DecodeError) in
            try reader.readBool() ? ElectionCandidate(try Candidate(decodingItem: &reader)) : nil
        }
    }

    /// All candidates, in the order in which they will lead.
    public func candidates(
        _ group: String, level: ReadLevel = .linearizable, timeout: Duration? = nil
    ) async throws(ClientError) -> [ElectionCandidate] {
        let name = try Self.name(group)
        var all: [ElectionCandidate] = []
        var after = LogIndex.zero
        while true {
            let part: ListPart<Candidate> = try await list(
                .candidates(group: name, after: after, limit: 0), level, timeout)
            all += part.items.map { ElectionCandidate($0) }
            guard part.hasMore, let last = part.items.last else { return all }
            after = last.ticket
        }
    }

    /// Returns once the ticket leads. Throws `notLeading` when it is gone: the session was lost, or the client has
    /// withdrawn.
    /// - Parameter deadline: how long to wait; nil: until then, or until the task is cancelled.
    public func waitToLead(
        _ group: String, _ ticket: Ticket, deadline: Duration? = nil
    ) async throws(ClientError) -> Fence {
        let bytes = try Self.name(group)
        let number = try await turn(of: Candidate.self, ticket, in: bytes, deadline)
        guard let number else { throw ClientError(code: .notLeading, message: "the candidacy is over") }
        return .election(group, number)
    }

    // MARK: - Locks

    /// Takes a place in the line for the lock. Asked again with the same sharing, it answers the place that this client
    /// has.
    /// - Parameters:
    ///   - isTry: only if the lock is free; else `lockHeld` is thrown and no place is taken.
    ///   - delay: how long the lock stays held when the session ends without releasing it; at most an hour.
    public func acquireLock(
        _ name: String, _ sharing: LockSharing = .exclusive, isTry: Bool = false, delay: Duration = .zero,
        guards: [Fence] = [], timeout: Duration? = nil
    ) async throws(ClientError) -> Ticket {
        let request = LockRequest(
            name: Array(name.utf8), mode: sharing.mode, isTry: isTry, delay: Interval(delay))
        return try await coordinate(.acquireLock(request), guards, timeout) { reader throws(DecodeError) in
            Ticket(try TicketResult(decoding: &reader))
        }
    }

    /// Lets go of the lock, or of the place in its line.
    /// - Returns: false when there was none.
    @discardableResult
    public func releaseLock(
        _ name: String, guards: [Fence] = [], timeout: Duration? = nil
    ) async throws(ClientError) -> Bool {
        try await coordinate(.releaseLock(name: Array(name.utf8)), guards, timeout) { reader throws(DecodeError) in
            try reader.readBool()
        }
    }

    /// Who holds the lock and who waits, in order.
    public func lockLine(
        _ name: String, level: ReadLevel = .linearizable, timeout: Duration? = nil
    ) async throws(ClientError) -> [LockPlace] {
        let bytes = try Self.name(name)
        var all: [LockPlace] = []
        var after = LogIndex.zero
        while true {
            let part: ListPart<LockTicket> = try await list(.lock(name: bytes, after: after, limit: 0), level, timeout)
            all += part.items.map { LockPlace($0) }
            guard part.hasMore, let last = part.items.last else { return all }
            after = last.ticket
        }
    }

    /// Returns once the ticket holds the lock. Throws `lockHeld` when it is gone, or when the deadline has passed: then
    /// the place in the line is given up.
    public func waitToHold(
        _ name: String, _ ticket: Ticket, deadline: Duration? = nil
    ) async throws(ClientError) -> Fence {
        do throws(ClientError) {
            let bytes = try Self.name(name)
            let number = try await turn(of: LockTicket.self, ticket, in: bytes, deadline)
            guard let number else { throw ClientError(code: .lockHeld, message: "the place in the line is gone") }
            return .lock(name, number)
        } catch {
            if error.code == .timeout { try await releaseLock(name) }
            throw error
        }
    }

    // MARK: - Fences and sessions

    /// Whether the fence is that of who leads or holds now. For systems that the cluster cannot guard: they ask before
    /// they act on what a leader or holder says.
    /// - Returns: and the current fence; nil: nobody leads or holds.
    public func validate(
        _ fence: Fence, timeout: Duration? = nil
    ) async throws(ClientError) -> (holds: Bool, current: UInt64?) {
        _ = try Self.name(String(decoding: fence.name, as: UTF8.self))
        return try await query(.validate(fence.model), .linearizable, nil, timeout) {
            _, reader, _ throws(DecodeError) in
            let result = try GuardResult(decoding: &reader)
            return (result.holds, result.currentFence > 0 ? result.currentFence : nil)
        }
    }

    /// The sessions that are open, in no order that means anything.
    public func sessions(timeout: Duration? = nil) async throws(ClientError) -> [SessionReport] {
        var all: [SessionReport] = []
        var after = SessionID.housekeeping
        while true {
            let part: ListPart<SessionInfo> = try await list(.sessions(after: after, limit: 0), .linearizable, timeout)
            all += part.items.map { SessionReport($0) }
            guard part.hasMore, let last = part.items.last else { return all }
            after = last.id
        }
    }

    // MARK: - State API

    /// What is stored under `name`. Of a name that is not there: an empty value under a version drawn here; nothing is
    /// written.
    public func stateFetch(
        _ name: String, level: ReadLevel = .linearizable, timeout: Duration? = nil
    ) async throws(ClientError) -> StateVariable {
        let bytes = Array(name.utf8)
        try Self.check(CoordinationName.refusal(ofEntry: bytes))
        let entry = try await query(.stateGet(name: bytes), level, nil, timeout) { _, reader, _ throws(DecodeError) in
            try reader.readBool() ? try StateEntry(decodingRow: &reader) : nil
        }
        if let entry { return StateVariable(name: bytes, entry: entry, isStored: true) }
        return StateVariable(name: bytes, entry: StateEntry(version: Self.newVersion(), value: []), isStored: false)
    }

    /// Stores the variable's value, unless somebody else has stored one since it was fetched.
    /// - Returns: the variable as it is stored now; nil: somebody else was first, fetch it again.
    public func stateStore(
        _ variable: StateVariable, guards: [Fence] = [], isOneShot: Bool = false, timeout: Duration? = nil
    ) async throws(ClientError) -> StateVariable? {
        let entry = StateEntry(version: Self.newVersion(), value: variable.value)
        let store = StateStore(name: variable.name, entry: entry, expected: variable.modelVersion)
        let isStored = try await coordinate(.stateSet(store), guards, isOneShot: isOneShot, timeout) {
            reader throws(DecodeError) in try reader.readBool()
        }
        return isStored ? StateVariable(name: variable.name, entry: entry, isStored: true) : nil
    }

    /// Removes the variable, unless it was stored again since it was fetched, or is not there.
    /// - Returns: whether it was removed.
    public func stateExpunge(
        _ variable: StateVariable, guards: [Fence] = [], isOneShot: Bool = false, timeout: Duration? = nil
    ) async throws(ClientError) -> Bool {
        let command = CoordinationCommand.stateExpunge(name: variable.name, version: variable.modelVersion)
        return try await coordinate(command, guards, isOneShot: isOneShot, timeout) { reader throws(DecodeError) in
            try reader.readBool()
        }
    }

    /// The names under which something is stored, in order.
    public func stateNames(
        level: ReadLevel = .linearizable, timeout: Duration? = nil
    ) async throws(ClientError) -> [[UInt8]] {
        var all: [[UInt8]] = []
        while true {
            let part: ListPart<StateName> = try await list(
                .stateNames(after: all.last ?? [], limit: 0), level, timeout)
            all += part.items.map(\.bytes)
            guard part.hasMore, !part.items.isEmpty else { return all }
        }
    }

    private static func newVersion() -> StateVersion {
        StateVersion(UInt64.random(in: 1...UInt64.max), UInt64.random(in: 0...UInt64.max))
    }

    // MARK: - What they share

    private func coordinate<Value>(
        _ command: CoordinationCommand, _ guards: [Fence], isOneShot: Bool = false, _ timeout: Duration?,
        _ read: (inout ByteReader) throws(DecodeError) -> Value
    ) async throws(ClientError) -> Value {
        switch command {
        case .campaign(let name, _), .withdraw(let name), .setCandidateData(let name, _), .releaseLock(let name):
            try Self.check(CoordinationName.refusal(of: name))
        case .acquireLock(let request): try Self.check(CoordinationName.refusal(of: request.name))
        case .stateSet(let store): try Self.check(CoordinationName.refusal(ofEntry: store.name))
        case .stateExpunge(let name, _): try Self.check(CoordinationName.refusal(ofEntry: name))
        }
        return try await mutate(.coordination(command), keys: [], guards, isOneShot, timeout) {
            _, reader throws(DecodeError) in try read(&reader)
        }
    }

    private func list<Item: ListItem>(
        _ query: Query, _ level: ReadLevel, _ timeout: Duration?
    ) async throws(ClientError) -> ListPart<Item> {
        try await self.query(query, level, nil, timeout) { _, reader, _ throws(DecodeError) in
            try ListPart<Item>(decoding: &reader)
        }
    }

    /// The name of a group or a lock, where it may be one.
    private static func name(_ text: String) throws(ClientError) -> [UInt8] {
        let name = Array(text.utf8)
        try check(CoordinationName.refusal(of: name))
        return name
    }

    static func check(_ refusal: ReplyError?) throws(ClientError) {
        guard let refusal else { return }
        throw ClientError(code: .init(rawValue: refusal.code.name), message: refusal.message, limit: refusal.limit)
    }
}

extension Ticket {
    init(_ result: TicketResult) {
        self.init(number: result.ticket.rawValue, fence: result.fence > 0 ? result.fence : nil)
    }
}
