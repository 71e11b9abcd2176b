internal import Basics
internal import MetadataModel
public import RegistryModel

/// A record of the registry, as a change has left it.
public struct RegistryChange: Hashable, Sendable {
    public var key: RegistryRecordKey
    /// Nil: it is gone.
    public var record: RegistryRecord?
}

/// The records of a registry at one revision.
///
/// All of them are in memory, some hundred bytes each. Who keeps what it needs in tables of its own reads page by page,
/// with `MetadataClient.registryRecords`.
public struct RegistryView: Hashable, Sendable {
    public var revision: UInt64
    public var records: [RegistryRecordKey: RegistryRecord]

    public init(revision: UInt64 = 0, records: [RegistryRecordKey: RegistryRecord] = [:]) {
        self.revision = revision
        self.records = records
    }

    /// Takes in what one revision changed, or a page of what there is.
    public mutating func apply(_ changes: TableChanges<RegistryChange>) {
        revision = Swift.max(revision, changes.revision)
        for change in changes.changes { records[change.key] = change.record }
    }
}

/// The records of the registry at one revision, page by page: what is in memory is a page. Each iteration reads anew.
///
/// A node keeps the state of that revision for the reading, for half an hour at most. If that node goes away, the
/// reading ends with `viewReleased` or `unavailable`: begin again.
public struct RegistryListing: AsyncSequence, Sendable {
    /// A page, in the form of changes that lead from nothing to what there is.
    public typealias Element = TableChanges<RegistryChange>
    public typealias Failure = ClientError

    let client: MetadataClient
    let prefix: [UInt8]
    let limit: Int?
    let level: ReadLevel
    let timeout: Duration?

    public func makeAsyncIterator() -> Iterator {
        let prefix = self.prefix
        let pages = PageReader(client, limit: limit, level: level, timeout: timeout) { view, request in
            Query.registry(view: view, prefix: prefix, request)
        }
        return Iterator(pages)
    }

    public struct Iterator: AsyncIteratorProtocol {
        private let pages: PageReader

        fileprivate init(_ pages: PageReader) { self.pages = pages }

        public mutating func next() async throws(ClientError) -> TableChanges<RegistryChange>? {
            guard let page = try await pages.next(), let revision = pages.revision else { return nil }
            var found: [RegistryChange] = []
            found.reserveCapacity(page.rows.count)
            do throws(DecodeError) {
                for row in page.rows {
                    // They come behind all records.
                    guard !RegistryTable.isIndex(row.key) else {
                        pages.stop()
                        break
                    }
                    if let record = try RegistryChange(key: row.key, value: row.value) { found.append(record) }
                }
            } catch {
                throw .badReply(error)
            }
            return TableChanges(revision: revision, changes: found)
        }

        public mutating func next(
            isolation actor: isolated (any Actor)?
        ) async throws(ClientError) -> TableChanges<RegistryChange>? { try await next() }
    }
}

extension MetadataClient {
    /// Reads the registry, or one table of it, into memory; who does not lead may, too.
    /// - Throws: `rejected`, with the rule `import.under-way`: a registry is being imported, and not all of it has come.
    ///   Only the table `.registry` is read also then: its record says how far the import is.
    public func registry(
        _ table: RegistryTable? = nil, level: ReadLevel = .linearizable, timeout: Duration? = nil
    ) async throws(ClientError) -> RegistryView {
        var view = RegistryView()
        var pages = registryRecords(table, level: level, timeout: timeout).makeAsyncIterator()
        while let page = try await pages.next() { view.apply(page) }
        return view
    }

    /// Reads the registry, or one table of it, page by page, all of one revision; in the order of tables, then keys.
    ///
    ///     var last: UInt64 = 0
    ///     for try await page in client.registryRecords() {
    ///         for change in page.changes { take(change.key, change.record) }
    ///         last = page.revision
    ///     }
    ///     for try await changes in client.watchRegistry(from: last + 1) { … }
    ///
    /// - Parameter timeout: for each page.
    public func registryRecords(
        _ table: RegistryTable? = nil, level: ReadLevel = .linearizable, timeout: Duration? = nil
    ) -> RegistryListing {
        registryRecords(prefix: table.map { [$0.rawValue] } ?? [], level: level, timeout: timeout)
    }

    /// - Parameter prefix: of the keys of rows, the table first.
    package func registryRecords(
        prefix: [UInt8], limit: Int? = nil, level: ReadLevel = .linearizable, timeout: Duration? = nil
    ) -> RegistryListing {
        RegistryListing(client: self, prefix: prefix, limit: limit, level: level, timeout: timeout)
    }

    /// Watches the registry, or one table of it; indexes are not told.
    /// - Parameter revision: the first one that is wanted; nil: what comes from now on.
    public func watchRegistry(
        _ table: RegistryTable? = nil, from revision: UInt64? = nil, timeout: Duration? = nil
    ) -> TableWatch<RegistryChange> {
        let span: KeySpan =
            if let table { .prefix([table.rawValue]) } else { .range(from: [], to: [RegistryTable.firstIndex]) }
        return watch(.registry, span, revision, timeout) { change throws(DecodeError) in
            try RegistryChange(key: change.key, value: change.value)
        }
    }
}

extension RegistryTable {
    /// Indexes say nothing that records do not.
    fileprivate static var firstIndex: UInt8 { agentsByState.rawValue }

    /// - Parameter key: of a row.
    fileprivate static func isIndex(_ key: [UInt8]) -> Bool { key.first.map { $0 >= firstIndex } ?? false }
}

extension RegistryChange {
    /// Nil: of a table that this release does not know, or of an index.
    fileprivate init?(key bytes: [UInt8], value: [UInt8]?) throws(DecodeError) {
        guard !RegistryTable.isIndex(bytes), let key = RegistryRecordKey(bytes) else { return nil }
        self.key = key
        record = nil
        if let value { record = try RegistryRecord(key, value) }
    }
}
