internal import Basics
internal import ClientCore
internal import MetadataModel

/// A place in the line of an election group, as a change has left it.
public struct ElectionChange: Hashable, Sendable {
    public var group: [UInt8]
    public var ticket: UInt64
    /// Nil: the candidate has withdrawn, or its session has ended.
    public var candidate: ElectionCandidate?
}

/// A place in the line of a lock, as a change has left it.
public struct LockChange: Hashable, Sendable {
    public var name: [UInt8]
    public var ticket: UInt64
    /// Nil: it was released or given up, or its session has ended.
    public var place: LockPlace?
}

/// A variable of the State API, as a change has left it.
public struct StateChange: Hashable, Sendable {
    public var name: [UInt8]
    /// Nil: expunged.
    public var variable: StateVariable?
}

/// What one revision changed.
public struct TableChanges<Change: Hashable & Sendable>: Hashable, Sendable {
    public var revision: UInt64
    /// All of them, in the order of names and tickets, none twice. Empty in a mark that says how far the watch has
    /// come.
    public var changes: [Change]
}

/// A `Watch` of something other than records: the same order, the same promises, the same end.
public struct TableWatch<Change: Hashable & Sendable>: AsyncSequence, Sendable {
    public typealias Element = TableChanges<Change>
    public typealias Failure = ClientError

    let client: MetadataClient
    let options: WatchOptions
    let timeout: Duration?
    /// Nil: of something that this release does not know.
    let read: @Sendable (MetadataModel.Change) throws(DecodeError) -> Change?

    public func makeAsyncIterator() -> Iterator {
        Iterator(reader: WatchReader(client.open(options, timeout: timeout)), read: read)
    }

    public struct Iterator: AsyncIteratorProtocol {
        let reader: WatchReader
        let read: @Sendable (MetadataModel.Change) throws(DecodeError) -> Change?

        public mutating func next() async throws(ClientError) -> TableChanges<Change>? { try await following() }

        public mutating func next(
            isolation actor: isolated (any Actor)?
        ) async throws(ClientError) -> TableChanges<Change>? { try await following() }

        private func following() async throws(ClientError) -> TableChanges<Change>? {
            guard let found = try await reader.next() else { return nil }
            do throws(DecodeError) {
                var changes: [Change] = []
                for change in found.changes {
                    if let change = try read(change) { changes.append(change) }
                }
                return TableChanges(revision: found.revision.rawValue, changes: changes)
            } catch {
                throw .badReply(error)
            }
        }
    }
}

extension MetadataClient {
    /// Watches the lines of all election groups whose names begin with `prefix`. Who only wants to know who leads one
    /// of them uses `observe`.
    /// - Parameter revision: the first one that is wanted; nil: what comes from now on.
    public func watchElections(
        prefix: [UInt8] = [], from revision: UInt64? = nil, timeout: Duration? = nil
    ) -> TableWatch<ElectionChange> {
        watch(.elections, prefix, revision, timeout) { change throws(DecodeError) in
            let change = try LineChange<Candidate>(change)
            return ElectionChange(
                group: change.name, ticket: change.ticket.rawValue, candidate: change.row.map { .init($0) })
        }
    }

    /// Watches the lines of all locks whose names begin with `prefix`. Who only wants to know who holds one of them
    /// uses `watchLock`.
    public func watchLocks(
        prefix: [UInt8] = [], from revision: UInt64? = nil, timeout: Duration? = nil
    ) -> TableWatch<LockChange> {
        watch(.locks, prefix, revision, timeout) { change throws(DecodeError) in
            let change = try LineChange<LockTicket>(change)
            return LockChange(name: change.name, ticket: change.ticket.rawValue, place: change.row.map { .init($0) })
        }
    }

    /// Watches all variables of the State API whose names begin with `prefix`.
    public func watchState(
        prefix: [UInt8] = [], from revision: UInt64? = nil, timeout: Duration? = nil
    ) -> TableWatch<StateChange> {
        watchState(.prefix(prefix), revision, timeout)
    }

    /// Watches one variable of the State API.
    public func watchState(
        name: String, from revision: UInt64? = nil, timeout: Duration? = nil
    ) -> TableWatch<StateChange> {
        watchState(.range(from: Array(name.utf8), to: Array(name.utf8) + [0]), revision, timeout)
    }

    private func watchState(
        _ span: KeySpan, _ revision: UInt64?, _ timeout: Duration?
    ) -> TableWatch<StateChange> {
        watch(.state, span, revision, timeout) { change throws(DecodeError) in
            let change = try StateEntryChange(change)
            let variable = change.entry.map { StateVariable(name: change.name, entry: $0, isStored: true) }
            return StateChange(name: change.name, variable: variable)
        }
    }

    func watch<Change>(
        _ table: FeedTable, _ prefix: [UInt8], _ revision: UInt64?, _ timeout: Duration?,
        _ read: @escaping @Sendable (MetadataModel.Change) throws(DecodeError) -> Change?
    ) -> TableWatch<Change> {
        watch(table, .prefix(prefix), revision, timeout, read)
    }

    func watch<Change>(
        _ table: FeedTable, _ span: KeySpan, _ revision: UInt64?, _ timeout: Duration?,
        _ read: @escaping @Sendable (MetadataModel.Change) throws(DecodeError) -> Change?
    ) -> TableWatch<Change> {
        var options = WatchOptions(span: span, from: LogIndex(revision.map { Swift.max($0, 1) } ?? 0))
        options.table = table
        return TableWatch(client: self, options: options, timeout: timeout, read: read)
    }
}
