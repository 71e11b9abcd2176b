internal import Basics
internal import MetadataModel

/// The rows of a listing, fetched page by page. Each iteration reads anew.
public struct Listing: AsyncSequence, Sendable {
    public typealias Element = KeyValue
    public typealias Failure = ClientError

    let client: MetadataClient
    let prefix: [UInt8]
    let keysOnly: Bool
    let after: [UInt8]
    let limit: Int?
    let level: ReadLevel
    let isOneRevision: Bool
    let timeout: Duration?

    public func makeAsyncIterator() -> Iterator {
        let span = KeySpan.prefix(prefix)
        let pages = PageReader(
            client, after: after, limit: limit, keysOnly: keysOnly, level: level, isOneRevision: isOneRevision,
            timeout: timeout
        ) { view, request in
            view == 0 ? Query.list(span, request) : Query.page(view: view, span, request)
        }
        return Iterator(pages)
    }

    public struct Iterator: AsyncIteratorProtocol {
        private let pages: PageReader
        private var rows: ArraySlice<KeyValue> = []

        fileprivate init(_ pages: PageReader) { self.pages = pages }

        /// Of the page that was read last: of a listing of one revision that revision, from which a watch can go on.
        /// Nil before the first row.
        public var revision: UInt64? { pages.revision }

        public mutating func next() async throws(ClientError) -> KeyValue? {
            while rows.isEmpty {
                guard let page = try await pages.next() else { return nil }
                let found = page.rows.map {
                    KeyValue(
                        key: $0.key, value: $0.value ?? [], revision: $0.revision.rawValue,
                        owner: $0.owner?.description)
                }
                rows = found[...]
            }
            return rows.popFirst()
        }

        public mutating func next(
            isolation actor: isolated (any Actor)?
        ) async throws(ClientError) -> KeyValue? { try await next() }
    }
}
