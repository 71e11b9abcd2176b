internal import Basics
internal import ClientCore
internal import MetadataModel

/// Who leads an election group.
public struct Leadership: Hashable, Sendable {
    /// It is so since some change up to this revision, and was not told of before.
    public var revision: UInt64
    /// Nil: nobody campaigns.
    public var leader: ElectionCandidate?
}

/// Who holds a lock.
public struct LockHolders: Hashable, Sendable {
    public var revision: UInt64
    /// In the order in which they asked; more than one only where it is held shared. Empty: it is free.
    public var holders: [LockPlace]
}

/// How things stand, and then each change: once, in order, whatever nodes go away meanwhile. Each iteration begins
/// anew.
///
/// Where the changes since the last element are no longer kept by any node, because the client was away from all of
/// them for hours, it goes on with how things stand then; what was in between is not told.
///
/// It ends with an error when the cluster is not the one it was, when nothing could be read to begin with in the time
/// allowed, or when the client is shut down.
public struct Observation<Element: Hashable & Sendable>: AsyncSequence, Sendable {
    public typealias Failure = ClientError

    let begin: @Sendable () -> any ObservationCursor<Element>

    public func makeAsyncIterator() -> Iterator { Iterator(cursor: begin()) }

    public struct Iterator: AsyncIteratorProtocol {
        let cursor: any ObservationCursor<Element>

        public mutating func next() async throws(ClientError) -> Element? { try await cursor.next() }

        public mutating func next(
            isolation actor: isolated (any Actor)?
        ) async throws(ClientError) -> Element? { try await cursor.next() }
    }
}

protocol ObservationCursor<Element>: AnyObject {
    associatedtype Element
    func next() async throws(ClientError) -> Element?
}

/// Reads the line, watches it from there, and reads it again when the watch cannot go on.
final class LineCursor<Row: LineRow & ListItem, Element: Sendable>: ObservationCursor {
    private let client: MetadataClient
    private let timeout: Duration?
    private let makeElement: (LogIndex, [Row]) -> Element
    private var follower: LineFollower<Row>
    private var watch: WatchReader?
    private var hasBegun = false

    init(
        _ client: MetadataClient, _ name: [UInt8], timeout: Duration?,
        _ makeElement: @escaping (LogIndex, [Row]) -> Element
    ) {
        self.client = client
        self.timeout = timeout
        self.makeElement = makeElement
        follower = LineFollower(name: name)
    }

    func next() async throws(ClientError) -> Element? {
        try MetadataClient.check(CoordinationName.refusal(of: follower.name))
        while true {
            if let news = follower.takeNews() { return makeElement(news.revision, news.holders) }
            do throws(ClientError) {
                if watch == nil { try await begin() }
                guard let found = try await watch?.next() else {
                    watch = nil
                    continue
                }
                do throws(DecodeError) {
                    try follower.apply(found.changes, at: found.revision)
                } catch {
                    throw .badReply(error)
                }
            } catch where hasBegun && client.isWorthReadingAgain(error) {
                watch = nil
                try await MetadataClient.pauseBeforeReadingAgain()
            }
        }
    }

    private func begin() async throws(ClientError) {
        var after = LogIndex.zero
        var parts = 0
        while true {
            let query = Row.lineQuery(follower.name, after: after, limit: Row.holdersAtOnce)
            let (revision, part): (LogIndex, ListPart<Row>) = try await client.part(query, timeout)
            follower.read(part.items, at: revision, isFirst: parts == 0)
            parts += 1
            guard part.hasMore, let last = part.items.last, last.fence > 0, Row.holdersAtOnce != 1 else { break }
            after = last.ticket
        }
        var options = WatchOptions(span: .prefix(LineKey.line(follower.name)), from: follower.watchedAfter.next)
        options.table = Row.table
        // Parts of a line are of several revisions: a mark says when the watch has come past the last of them.
        if parts > 1 { options.progressInterval = Limits.watchProgressMin }
        watch = WatchReader(client.open(options, timeout: timeout))
        hasBegun = true
    }
}

extension LineRow where Self: ListItem {
    fileprivate static func lineQuery(_ name: [UInt8], after: LogIndex, limit: UInt32) -> Query {
        switch table {
        case .elections: .candidates(group: name, after: after, limit: limit)
        default: .lock(name: name, after: after, limit: limit)
        }
    }

    /// Only the first of an election leads.
    fileprivate static var holdersAtOnce: UInt32 { table == .elections ? 1 : 0 }
}

extension MetadataClient {
    /// Of a watch: its changes are gone, or no node can be had for the moment. Once the client is shut down, none will
    /// be had any more.
    func isWorthReadingAgain(_ error: ClientError) -> Bool {
        !isShutDown && (error.isRetryable || error.code == .compacted || error.code == .timeout)
    }

    /// Who leads the group: at present, and then whenever it is another, or nobody, or the leader changes its data.
    ///
    ///     for try await now in client.observe("masters") { print(now.leader?.data ?? []) }
    ///
    /// - Parameter timeout: for the beginning. Once it has begun, it goes on for as long as it takes.
    public func observe(_ group: String, timeout: Duration? = nil) -> Observation<Leadership> {
        Observation {
            LineCursor<Candidate, Leadership>(self, Array(group.utf8), timeout: timeout) { revision, rows in
                Leadership(revision: revision.rawValue, leader: rows.first.map { ElectionCandidate($0) })
            }
        }
    }

    /// Who holds the lock: at present, and then whenever that changes.
    public func watchLock(_ name: String, timeout: Duration? = nil) -> Observation<LockHolders> {
        Observation {
            LineCursor<LockTicket, LockHolders>(self, Array(name.utf8), timeout: timeout) { revision, rows in
                LockHolders(revision: revision.rawValue, holders: rows.map { LockPlace($0) })
            }
        }
    }

    // MARK: Waiting for one's turn

    /// Returns once the ticket has a fence and the session that it goes with is known to live; nil: it is gone, or goes
    /// with a session that this client has lost: the cluster ends that one soon.
    ///
    /// While nothing changes for the ticket, nothing is asked: its row is watched. Where the watch cannot go on, the row
    /// is read again.
    func turn<Row: LineRow & ListItem>(
        of type: Row.Type, _ ticket: Ticket, in name: [UInt8], _ deadline: Duration?
    ) async throws(ClientError) -> UInt64? {
        if let fence = ticket.fence { return fence }
        // From here on: what is lost meanwhile is not missed.
        let states = sessionStates
        let result = await withTaskGroup(of: Result<UInt64?, ClientError>.self) { group in
            group.addTask {
                do throws(ClientError) {
                    guard let row = try await self.heldRow(of: type, LogIndex(ticket.number), in: name) else {
                        return .success(nil)
                    }
                    return .success(await self.isConnected(row.session) ? row.fence : nil)
                } catch {
                    return .failure(error)
                }
            }
            group.addTask {
                for await state in states where state == .lost { return .success(nil) }
                return .failure(ClientError(code: .cancelled, message: "cancelled"))
            }
            if let deadline {
                group.addTask {
                    guard (try? await Task.sleep(for: deadline)) != nil else {
                        return .failure(ClientError(code: .cancelled, message: "cancelled"))
                    }
                    let message = "others came first for as long as was allowed"
                    return .failure(ClientError(code: .timeout, message: message))
                }
            }
            defer { group.cancelAll() }
            return await group.next() ?? .success(nil)
        }
        return try result.get()
    }

    /// The ticket's row, once it has a fence; nil: it is gone.
    private func heldRow<Row: LineRow & ListItem>(
        of type: Row.Type, _ ticket: LogIndex, in name: [UInt8]
    ) async throws(ClientError) -> Row? {
        while true {
            do throws(ClientError) {
                let query = Row.lineQuery(name, after: ticket.previous, limit: 1)
                let (revision, part): (LogIndex, ListPart<Row>) = try await part(query, nil)
                guard let row = part.items.first, row.ticket == ticket else { return nil }
                if row.fence > 0 { return row }
                var options = WatchOptions(span: .prefix(LineKey.ticket(ticket, of: name)), from: revision.next)
                options.table = Row.table
                let watch = WatchReader(open(options, timeout: nil))
                while let found = try await watch.next() {
                    for change in found.changes {
                        let place: LineChange<Row>
                        do throws(DecodeError) {
                            place = try LineChange(change)
                        } catch {
                            throw .badReply(error)
                        }
                        guard place.ticket == ticket, place.name == name else { continue }
                        guard let row = place.row else { return nil }
                        if row.fence > 0 { return row }
                    }
                }
            } catch where isWorthReadingAgain(error) {
                // The cluster cannot be reached for a moment; the session's own state says when that is too long.
                try await Self.pauseBeforeReadingAgain()
            }
        }
    }

    /// Drawn at random, so that many who wait for one do not ask in step.
    static func pauseBeforeReadingAgain() async throws(ClientError) {
        do {
            try await Task.sleep(for: .milliseconds(Int64.random(in: 100...300)))
        } catch {
            throw ClientError(code: .cancelled, message: "cancelled")
        }
    }

    /// A part of a list, and the revision of which it is.
    func part<Item: ListItem>(
        _ query: Query, _ timeout: Duration?
    ) async throws(ClientError) -> (LogIndex, ListPart<Item>) {
        try await self.query(query, .linearizable, nil, timeout) { revision, reader, _ throws(DecodeError) in
            (LogIndex(revision), try ListPart<Item>(decoding: &reader))
        }
    }
}
