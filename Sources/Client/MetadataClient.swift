internal import Basics
internal import ClientCore
internal import MetadataModel
internal import NIOCore
internal import NIOPosix
internal import Synchronization
internal import Wire

/// How a client behaves.
public struct MetadataClientConfiguration: Hashable, Sendable {
    /// HOST:PORT of the client ports of some or all nodes; the others are found through them.
    public var endpoints: [String]
    /// nil: plain TCP.
    public var tls: MetadataClientTLS?
    /// For the servers' logs.
    public var clientName = "client"
    /// How long a call may take, unless it says otherwise.
    public var timeout = Duration.seconds(5)
    /// Silence after which the cluster ends the client's session; 1 s to 24 h.
    public var sessionTimeout = Duration.seconds(10)

    public init(endpoints: [String]) { self.endpoints = endpoints }
}

/// A client of a Quorate cluster.
///
///     let client = MetadataClient(MetadataClientConfiguration(endpoints: ["127.0.0.1:7400"]))
///     let revision = try await client.put("services/web", "10.0.0.1:80")
///     let row = try await client.get("services/web")
///     await client.shutdown()
///
/// It keeps one connection to a node, sends any number of calls over it at once, follows the leader, and sends again
/// what a lost connection or a change of leader has left open, for as long as the call's timeout allows. A mutation
/// that was sent twice takes effect once. If a call ends in an error with `mayHaveTakenEffect == false`, nothing
/// happened; a mutation whose outcome cannot be known ends in `unknown`.
///
/// **Order.** Mutations of one client take effect in the order in which they were called, even when many are on their
/// way at once. Calls with `isOneShot` stand outside this order, as do reads: a read sees every mutation that was
/// answered before the read was called.
/// One that ended in `unknown` because its session was lost may take effect until the cluster ends that session too.
///
/// **Session.** The first mutation opens a session, which the client keeps alive by itself; `sessionStates` tells when
/// it is at risk and when it is over. Until then the cluster remembers what it answered.
///
/// Call `shutdown()` when done. All methods may be called from any task.
public final class MetadataClient: Sendable {
    private let driver: ClientDriver
    private let timeout: Duration
    private let nextCall = Atomic<UInt64>(1)
    private let nextWatch = Atomic<UInt64>(1)
    private let shutdownCalled = Atomic<Bool>(false)

    /// Nothing is connected before the first call.
    public init(_ configuration: MetadataClientConfiguration) {
        var settings = ClientSettings(
            endpoints: configuration.endpoints, clientName: configuration.clientName, clientVersion: "1")
        settings.sessionTimeout = min(
            max(Interval(configuration.sessionTimeout), Limits.sessionTimeoutMin), Limits.sessionTimeoutMax)
        timeout = configuration.timeout
        driver = ClientDriver(
            settings: settings, tls: configuration.tls?.files, eventLoop: MultiThreadedEventLoopGroup.singleton.next())
    }

    // MARK: Writing

    /// Stores `value` under `key`.
    /// - Parameters:
    ///   - ifRevision: only if the row has this revision; 0: only if there is none. Otherwise `conflict` is thrown.
    ///   - isOwned: the row goes when this client's session ends, unless somebody else has put it again by then.
    ///   - guards: only while all of them hold. Otherwise `fenced` is thrown.
    ///   - isOneShot: with a session of its own, for a program that does one thing and ends. No order with other calls.
    /// - Returns: the revision of the change.
    @discardableResult
    public func put(
        _ key: [UInt8], _ value: [UInt8], ifRevision: UInt64? = nil, isOwned: Bool = false, guards: [Fence] = [],
        isOneShot: Bool = false, timeout: Duration? = nil
    ) async throws(ClientError) -> UInt64 {
        let mutation = Mutation.put(
            key: key, value: value, expectedRevision: ifRevision.map { LogIndex($0) }, isOwned: isOwned)
        return try await mutate(mutation, keys: [key], guards, isOneShot, timeout) { revision, _ in revision }
    }

    @discardableResult
    public func put(
        _ key: String, _ value: String, ifRevision: UInt64? = nil, isOwned: Bool = false, guards: [Fence] = [],
        isOneShot: Bool = false, timeout: Duration? = nil
    ) async throws(ClientError) -> UInt64 {
        try await put(
            Array(key.utf8), Array(value.utf8), ifRevision: ifRevision, isOwned: isOwned, guards: guards,
            isOneShot: isOneShot, timeout: timeout)
    }

    /// Removes the row; without `ifRevision` it need not be there.
    /// - Returns: the revision of the change.
    @discardableResult
    public func delete(
        _ key: [UInt8], ifRevision: UInt64? = nil, guards: [Fence] = [], isOneShot: Bool = false,
        timeout: Duration? = nil
    ) async throws(ClientError) -> UInt64 {
        let mutation = Mutation.delete(key: key, expectedRevision: ifRevision.map { LogIndex($0) })
        return try await mutate(mutation, keys: [key], guards, isOneShot, timeout) { revision, _ in revision }
    }

    @discardableResult
    public func delete(
        _ key: String, ifRevision: UInt64? = nil, guards: [Fence] = [], isOneShot: Bool = false,
        timeout: Duration? = nil
    ) async throws(ClientError) -> UInt64 {
        try await delete(
            Array(key.utf8), ifRevision: ifRevision, guards: guards, isOneShot: isOneShot, timeout: timeout)
    }

    /// Removes every row whose key begins with `prefix`, at one revision.
    /// - Parameter limit: the first so many rows in key order; 0: all of them, or `tooLarge` when they are too many.
    @discardableResult
    public func deletePrefix(
        _ prefix: [UInt8], limit: UInt32 = 0, guards: [Fence] = [], isOneShot: Bool = false,
        timeout: Duration? = nil
    ) async throws(ClientError) -> DeletedRange {
        let mutation = Mutation.deleteRange(.prefix(prefix), limit: limit)
        return try await mutate(
            mutation, keys: [prefix], guards, isOneShot, timeout
        ) { revision, reader throws(DecodeError) in
            let result = try DeleteRangeResult(decoding: &reader)
            return DeletedRange(revision: revision, count: UInt64(result.rowCount), hasMore: result.hasMore)
        }
    }

    /// Stores `value` under `prefix` followed by 20 digits, larger than in any key made this way before.
    /// - Returns: the key and its revision.
    public func createSequential(
        prefix: [UInt8], value: [UInt8], isOwned: Bool = false, guards: [Fence] = [], isOneShot: Bool = false,
        timeout: Duration? = nil
    ) async throws(ClientError) -> (key: [UInt8], revision: UInt64) {
        let mutation = Mutation.createSequential(prefix: prefix, value: value, isOwned: isOwned)
        return try await mutate(
            mutation, keys: [prefix], guards, isOneShot, timeout
        ) { revision, reader throws(DecodeError) in
            (key: try reader.readCreatedKey(), revision: revision)
        }
    }

    /// Carries out one branch of the transaction, all or nothing.
    public func transaction(
        _ transaction: MetadataTransaction, guards: [Fence] = [], isOneShot: Bool = false, timeout: Duration? = nil
    ) async throws(ClientError) -> MetadataTransaction.Outcome {
        let model = transaction.model
        guard model.count <= Limits.transactionOperationsMax else {
            throw ClientError(
                code: .tooLarge, message: "a transaction of \(model.count) conditions and operations",
                limit: UInt64(Limits.transactionOperationsMax))
        }
        return try await mutate(
            .transaction(model), keys: transaction.keys, guards, isOneShot, timeout
        ) { revision, reader throws(DecodeError) in
            transaction.outcome(try TransactionResult(decoding: &reader), revision: revision)
        }
    }

    // MARK: Reading

    /// - Returns: nil when there is no such row.
    public func get(
        _ key: [UInt8], level: ReadLevel = .linearizable, timeout: Duration? = nil
    ) async throws(ClientError) -> KeyValue? {
        try checkSize([key])
        return try await query(.get(key: key), level, nil, timeout) { _, reader, _ throws(DecodeError) in
            guard let row = try reader.readRowResult() else { return nil }
            let owner = try reader.readRowOwner()?.description
            return KeyValue(key: key, value: row.value, revision: row.revision.rawValue, owner: owner)
        }
    }

    public func get(
        _ key: String, level: ReadLevel = .linearizable, timeout: Duration? = nil
    ) async throws(ClientError) -> KeyValue? {
        try await get(Array(key.utf8), level: level, timeout: timeout)
    }

    /// The rows whose keys begin with `prefix`, in key order, fetched page by page as they are read.
    ///
    ///     for try await row in client.list(prefix: Array("services/".utf8)) { … }
    ///
    /// - Parameters:
    ///   - keysOnly: without the values.
    ///   - after: only keys after this one.
    ///   - limit: at most so many rows; nil: all.
    ///   - isOneRevision: true: all pages show the state at one revision, which one node keeps for the listing; if that
    ///     node goes away the listing ends with `viewReleased` or `unavailable`. False: each page shows the state at
    ///     the time it is read, and any node gives the next.
    public func list(
        prefix: [UInt8], keysOnly: Bool = false, after: [UInt8] = [], limit: Int? = nil,
        level: ReadLevel = .linearizable, isOneRevision: Bool = true, timeout: Duration? = nil
    ) -> Listing {
        Listing(
            client: self, prefix: prefix, keysOnly: keysOnly, after: after, limit: limit, level: level,
            isOneRevision: isOneRevision, timeout: timeout)
    }

    /// How many rows have keys that begin with `prefix`.
    public func count(
        prefix: [UInt8], level: ReadLevel = .linearizable, timeout: Duration? = nil
    ) async throws(ClientError) -> UInt64 {
        var total: UInt64 = 0
        var cursor: [UInt8] = []
        while true {
            let request = PageRequest(after: cursor, isCountOnly: true)
            let page = try await query(
                .list(.prefix(prefix), request), level, nil, timeout
            ) { _, reader, _ throws(DecodeError) in try Page(decoding: &reader, for: request) }
            total += UInt64(page.count)
            guard page.hasMore, !page.cursor.isEmpty else { return total }
            cursor = page.cursor
        }
    }

    // MARK: Watching

    func open(_ options: WatchOptions, timeout: Duration?) -> WatchHandle {
        let id = WatchID(nextWatch.wrappingAdd(1, ordering: .relaxed).oldValue)
        let limit = Interval(timeout ?? self.timeout)
        driver.eventLoop.execute { [driver] in driver.watch(id, options, timeout: limit) }
        return WatchHandle(id: id, driver: driver)
    }

    // MARK: The cluster

    /// Asks one node about itself; fails at once when it cannot be reached.
    /// - Parameter endpoint: HOST:PORT of its client port, one of the configured ones or any other.
    public func status(of endpoint: String, timeout: Duration? = nil) async throws(ClientError) -> NodeReport {
        let body = try await call(.status(address: endpoint), timeout).body
        switch try Self.control(.status, body) {
        case .status(let reply): return NodeReport(reply)
        default: throw .badReply(.invalid("status"))
        }
    }

    /// Forgets the alarms of that name at one node, which somebody has seen to. Refused with `alarmHolds` while their
    /// cause goes on, and with `noSuchAlarm` when none stands there.
    /// - Returns: how many there were.
    @discardableResult
    public func clearAlarm(
        _ name: String, at endpoint: String, timeout: Duration? = nil
    ) async throws(ClientError) -> Int {
        let body = try await call(.clearAlarm(name, address: endpoint), timeout).body
        switch try Self.control(.clearAlarm, body) {
        case .alarmCleared(let reply): return Int(reply.count)
        default: throw .badReply(.invalid("clearing of an alarm"))
        }
    }

    /// Has one node read every byte that it keeps and verify it; returns when that has begun. `scrubReport(of:)` tells how
    /// far it is. Not accepted while one that a client asked for is under way there.
    /// - Parameters:
    ///   - rate: bytes a second; nil: as the node is set.
    ///   - revision: the rows are to be those of this revision, so that `contentDigest` can be compared with that of another
    ///     node; one that is past it takes the revision that it has.
    @discardableResult
    public func startScrub(
        at endpoint: String, rate: UInt64? = nil, revision: UInt64? = nil, timeout: Duration? = nil
    ) async throws(ClientError) -> ScrubReport {
        let request = ScrubRequest(.start, rate: rate ?? 0, digestAt: LogIndex(revision ?? 0))
        return try await scrub(request, at: endpoint, timeout)
    }

    /// What the node's newest scrub has read and found.
    public func scrubReport(of endpoint: String, timeout: Duration? = nil) async throws(ClientError) -> ScrubReport {
        try await scrub(ScrubRequest(.look), at: endpoint, timeout)
    }

    /// Ends the scrub that is under way at the node; it is not finished later.
    public func stopScrub(at endpoint: String, timeout: Duration? = nil) async throws(ClientError) {
        _ = try await scrub(ScrubRequest(.stop), at: endpoint, timeout)
    }

    private func scrub(
        _ request: ScrubRequest, at endpoint: String, _ timeout: Duration?
    ) async throws(ClientError) -> ScrubReport {
        let body = try await call(.scrub(request, address: endpoint), timeout).body
        switch try Self.control(.scrub, body) {
        case .scrub(let reply): return ScrubReport(reply.report)
        default: throw .badReply(.invalid("scrub"))
        }
    }

    /// Forms the cluster, through any node: every node named in its `--cluster` list must answer, be empty and name the
    /// same list. Needed once in the life of a cluster.
    /// - Returns: the new cluster's id.
    @discardableResult
    public func initialize(timeout: Duration? = nil) async throws(ClientError) -> UInt64 {
        let body = try await call(.initialize, timeout).body
        switch try Self.control(.initialize, body) {
        case .initialized(let reply): return reply.identity.id
        default: throw .badReply(.invalid("initialize"))
        }
    }

    /// Changes of the session's state from now on. Each reader gets its own stream.
    public var sessionStates: AsyncStream<SessionState> {
        let (stream, continuation) = AsyncStream.makeStream(
            of: SessionState.self, bufferingPolicy: .bufferingNewest(16))
        driver.eventLoop.execute { [driver] in driver.observe(continuation) }
        return stream
    }

    /// Whether what goes with that session may be relied on now: it is this client's own, and lives. One at risk is waited
    /// for until that is decided.
    func isConnected(_ session: SessionID) async -> Bool {
        let states = sessionStates
        let state = await withCheckedContinuation { continuation in
            driver.eventLoop.execute { [driver] in continuation.resume(returning: driver.state(of: session)) }
        }
        guard state == .suspended else { return state == .connected }
        for await state in states where state != .suspended { return state == .connected }
        return false
    }

    /// Ends the session, so that the cluster need not wait for its timeout, and closes the connections. Calls that are
    /// still open are waited for; what is observed or watched ends with an error.
    public func shutdown() async {
        shutdownCalled.store(true, ordering: .relaxed)
        _ = try? await endSession()
        driver.eventLoop.execute { [driver] in driver.close() }
    }

    var isShutDown: Bool { shutdownCalled.load(ordering: .relaxed) }

    // MARK: Calls

    func query<Value>(
        _ query: Query, _ level: ReadLevel, _ address: String?, _ timeout: Duration?,
        _ read: (UInt64, inout ByteReader, String) throws(DecodeError) -> Value
    ) async throws(ClientError) -> Value {
        let wireLevel: Wire.ReadLevel = level == .stale ? .stale : .linearizable
        let answer = try await call(.query(query.encoded(), level: wireLevel, address: address), timeout)
        return try Self.read(answer.body) { revision, reader throws(DecodeError) in
            try read(revision, &reader, answer.address)
        }
    }

    /// Lets a node forget the state that it keeps for a listing; nobody waits for the answer.
    func release(view: UInt64, at address: String) {
        Task {
            _ = try? await query(.releaseView(view), .stale, address, nil) { _, _, _ in }
        }
    }

    private func endSession() async throws(ClientError) {
        _ = try await call(.mutate(CommandContent(.endSession)), .seconds(1))
    }

    func mutate<Value>(
        _ mutation: Mutation, keys: [[UInt8]], _ guards: [Fence], _ isOneShot: Bool, _ timeout: Duration?,
        _ read: (UInt64, inout ByteReader) throws(DecodeError) -> Value
    ) async throws(ClientError) -> Value {
        try checkSize(keys)
        guard guards.count <= Limits.guardsMax else {
            throw ClientError(
                code: .tooLarge, message: "\(guards.count) guards of one mutation", limit: UInt64(Limits.guardsMax))
        }
        let content = CommandContent(mutation, guards: guards.map(\.model))
        guard content.body.count <= Limits.frameSizeMaxCeiling - Limits.frameEnvelopeSize / 2 else {
            throw ClientError(
                code: .tooLarge, message: "a mutation of \(content.body.count) bytes",
                limit: UInt64(Limits.valueSizeMaxCeiling))
        }
        let answer = try await call(isOneShot ? .mutateOnce(content) : .mutate(content), timeout)
        return try Self.read(answer.body, read)
    }

    /// What does not fit the encoding is refused here; every other rule is the cluster's to judge.
    private func checkSize(_ keys: [[UInt8]]) throws(ClientError) {
        guard let longest = keys.max(by: { $0.count < $1.count }), longest.count > Limits.keySizeMax else { return }
        throw ClientError(
            code: .tooLarge, message: "a key of \(longest.count) bytes", limit: UInt64(Limits.keySizeMax))
    }

    func call(_ call: Call, _ timeout: Duration?) async throws(ClientError) -> (body: [UInt8], address: String)
    {
        let id = CallID(nextCall.wrappingAdd(1, ordering: .relaxed).oldValue)
        let limit = Interval(timeout ?? self.timeout)
        let outcome = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                driver.eventLoop.execute { [driver] in
                    driver.submit(id, call, timeout: limit, continuation: continuation)
                }
            }
        } onCancel: {
            driver.eventLoop.execute { [driver] in driver.cancel(id) }
        }
        switch outcome {
        case .answered(let body, let address): return (body, address)
        case .failed(let failure):
            var error = ClientError(failure)
            if Task.isCancelled {
                driver.eventLoop.execute { [driver] in driver.forget(id) }
                error.code = .cancelled
            }
            throw error
        }
    }

    private static func read<Value>(
        _ body: [UInt8], _ read: (UInt64, inout ByteReader) throws(DecodeError) -> Value
    ) throws(ClientError) -> Value {
        do throws(DecodeError) {
            var reader = ByteReader(body.rawSpan)
            guard case .success(let revision) = try ReplyHead(decoding: &reader) else {
                throw .invalid("reply: an error where there is none")
            }
            return try read(revision.rawValue, &reader)
        } catch {
            throw .badReply(error)
        }
    }

    func changeMembers(_ change: MemberChange, timeout: Duration?) async throws(ClientError) -> MemberChangeReply {
        let body = try await call(.changeMembers(change), timeout).body
        switch try Self.control(.changeMembers, body) {
        case .membersChanged(let reply): return reply
        default: throw .badReply(.invalid("change of the members"))
        }
    }

    static func control(_ kind: ClientFrameKind, _ body: [UInt8]) throws(ClientError) -> ControlReply {
        do throws(DecodeError) {
            return try ControlReply.decode(kind: kind.rawValue, body: body.rawSpan)
        } catch {
            throw .badReply(error)
        }
    }
}

extension MetadataTransaction {
    fileprivate var keys: [[UInt8]] {
        conditions.map { condition in
            switch condition {
            case .revision(let key, _), .value(let key, _), .exists(let key, _), .unchanged(let key, _): key
            }
        } + (then + otherwise).map(\.key)
    }
}

extension Interval {
    init(_ duration: Duration) {
        let (seconds, attoseconds) = duration.components
        let bounded = min(max(seconds, 0), 1_000_000_000)
        self.init(nanoseconds: bounded * 1_000_000_000 + (seconds == bounded ? attoseconds / 1_000_000_000 : 0))
    }
}
