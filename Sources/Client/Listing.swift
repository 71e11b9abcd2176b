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

    public func makeAsyncIterator() -> Iterator { Iterator(pages: Pages(self)) }

    public struct Iterator: AsyncIteratorProtocol {
        fileprivate let pages: Pages

        public mutating func next() async throws(ClientError) -> KeyValue? { try await pages.nextRow() }

        public mutating func next(
            isolation actor: isolated (any Actor)?
        ) async throws(ClientError) -> KeyValue? { try await pages.nextRow() }
    }

    /// Where an iteration is. A reference, so that a listing that is left early lets go of the state that a node keeps.
    fileprivate final class Pages {
        private let listing: Listing
        private var rows: ArraySlice<KeyValue> = []
        private var cursor: [UInt8]
        private var rowsLeft: Int
        private var view: (number: UInt64, address: String, revision: UInt64)?
        private var isAtEnd = false

        init(_ listing: Listing) {
            self.listing = listing
            cursor = listing.after
            rowsLeft = listing.limit ?? Int.max
        }

        deinit { releaseView() }

        func nextRow() async throws(ClientError) -> KeyValue? {
            while rows.isEmpty {
                guard !isAtEnd, rowsLeft > 0 else {
                    releaseView()
                    return nil
                }
                try await fetch()
            }
            rowsLeft -= 1
            return rows.popFirst()
        }

        private func fetch() async throws(ClientError) {
            // A view is worth its price only if there is a second page.
            let pinsView = listing.isOneRevision && view == nil && rowsLeft > Limits.listPageCountMax
            var (page, revision, address) = try await read(pinsView: pinsView)
            if listing.isOneRevision, view == nil, !pinsView, page.hasMore, page.rows.count < rowsLeft {
                // There is one: large rows have cut this page short of the limit.
                (page, revision, address) = try await read(pinsView: true)
            }
            if let view {
                guard revision == view.revision else {
                    // Not to be released here: it is somebody else's.
                    self.view = nil
                    isAtEnd = true
                    throw ClientError.viewIsGone(of: view.revision)
                }
            } else if page.view != 0 {
                view = (page.view, address, revision)
            }
            let found = page.rows.map {
                KeyValue(
                    key: $0.key, value: $0.value ?? [], revision: $0.revision.rawValue, owner: $0.owner?.description)
            }
            rows = found[...]
            isAtEnd = !page.hasMore || page.cursor.isEmpty
            cursor = page.cursor
        }

        private func read(pinsView: Bool) async throws(ClientError) -> (Page, UInt64, String) {
            let request = PageRequest(
                after: cursor, limit: UInt32(clamping: Swift.min(rowsLeft, Limits.listPageCountMax)),
                isKeysOnly: listing.keysOnly, pinsView: pinsView)
            let span = KeySpan.prefix(listing.prefix)
            let query: Query =
                if let view { .page(view: view.number, span, request) } else { .list(span, request) }
            return try await listing.client.query(
                query, view == nil ? listing.level : .stale, view?.address, listing.timeout
            ) { revision, reader, address throws(DecodeError) in
                (try Page(decoding: &reader, for: request), revision, address)
            }
        }

        private func releaseView() {
            guard let view else { return }
            self.view = nil
            listing.client.release(view: view.number, at: view.address)
        }
    }
}

extension ClientError {
    /// A node that has started again, or has made its state anew, gives its views the same numbers once more. Their
    /// revisions tell them apart.
    static func viewIsGone(of revision: UInt64) -> ClientError {
        ClientError(
            code: .viewReleased, message: "the view of revision \(revision) is not kept any more: ask again from the start")
    }
}
