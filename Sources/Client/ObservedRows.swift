internal import Basics
internal import ClientCore
internal import MetadataModel

/// Rows under a prefix: at first all that there are, then what has become of them.
public struct ObservedRows: Hashable, Sendable {
    public var revision: UInt64
    /// Rows that are there and were not told of, or are there with another value.
    public var present: [KeyValue]
    /// Keys of rows that were told of and are not there any more.
    public var gone: [[UInt8]]
}

extension MetadataClient {
    /// The rows whose keys begin with `prefix`: as they are at present, all in memory, and then each change.
    ///
    ///     for try await now in client.observeRows(prefix: Array("services/".utf8)) {
    ///         for row in now.present { … }
    ///         for key in now.gone { … }
    ///     }
    ///
    /// - Parameter timeout: for the beginning. Once it has begun, it goes on for as long as it takes.
    public func observeRows(prefix: [UInt8], timeout: Duration? = nil) -> Observation<ObservedRows> {
        observeRows(prefix: prefix, timeout: timeout) { $0 }
    }

    func observeRows<Element: Hashable & Sendable>(
        prefix: [UInt8], timeout: Duration?, _ makeElement: @escaping @Sendable (ObservedRows) -> Element
    ) -> Observation<Element> {
        Observation { RowsCursor<Element>(self, prefix, timeout: timeout, makeElement) }
    }
}

/// Lists the rows, watches them from there, and lists them again when the watch cannot go on.
final class RowsCursor<Element: Sendable>: ObservationCursor {
    private let client: MetadataClient
    private let prefix: [UInt8]
    private let timeout: Duration?
    private let makeElement: (ObservedRows) -> Element
    private var watch: WatchReader?
    /// Keys of the rows that are there, as far as was told.
    private var known: Set<[UInt8]> = []
    /// Up to which was told.
    private var revision: UInt64 = 0
    private var hasBegun = false

    init(
        _ client: MetadataClient, _ prefix: [UInt8], timeout: Duration?,
        _ makeElement: @escaping (ObservedRows) -> Element
    ) {
        self.client = client
        self.prefix = prefix
        self.timeout = timeout
        self.makeElement = makeElement
    }

    func next() async throws(ClientError) -> Element? {
        while true {
            do throws(ClientError) {
                guard let watch else { return makeElement(try await begin()) }
                guard let found = try await watch.next() else {
                    self.watch = nil
                    continue
                }
                let rows = take(found)
                if !rows.present.isEmpty || !rows.gone.isEmpty { return makeElement(rows) }
            } catch where hasBegun && (client.isWorthReadingAgain(error) || error.code == .viewReleased) {
                watch = nil
                try await MetadataClient.pauseBeforeReadingAgain()
            }
        }
    }

    private func begin() async throws(ClientError) -> ObservedRows {
        var listing = client.list(prefix: prefix, timeout: timeout).makeAsyncIterator()
        var present: [KeyValue] = []
        var listed: Set<[UInt8]> = []
        while let row = try await listing.next() {
            listed.insert(row.key)
            if row.revision > revision { present.append(row) }
        }
        let gone = known.subtracting(listed).sorted { $0.lexicographicallyPrecedes($1) }
        known = listed
        revision = listing.revision ?? revision
        let options = WatchOptions(span: .prefix(prefix), from: LogIndex(revision + 1))
        watch = WatchReader(client.open(options, timeout: timeout))
        hasBegun = true
        return ObservedRows(revision: revision, present: present, gone: gone)
    }

    private func take(_ found: WatchReader.Found) -> ObservedRows {
        revision = max(revision, found.revision.rawValue)
        var rows = ObservedRows(revision: revision, present: [], gone: [])
        for change in found.changes {
            if let value = change.value {
                known.insert(change.key)
                let owner = change.owner?.description
                rows.present.append(KeyValue(key: change.key, value: value, revision: revision, owner: owner))
            } else if known.remove(change.key) != nil {
                rows.gone.append(change.key)
            }
        }
        return rows
    }
}
