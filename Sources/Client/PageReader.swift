internal import Basics
internal import MetadataModel

/// Reads rows page by page, in key order. A reference, so that a reading that is left early lets go of the state that a
/// node keeps for it.
final class PageReader {
    private let client: MetadataClient
    private let keysOnly: Bool
    private let level: ReadLevel
    private let isOneRevision: Bool
    private let timeout: Duration?
    /// View 0: of the live state.
    private let makeQuery: (_ view: UInt64, PageRequest) -> Query
    private var cursor: [UInt8]
    private var rowsLeft: Int
    private var view: (number: UInt64, address: String, revision: UInt64)?
    private var isAtEnd = false
    /// Of the page that was read last.
    private(set) var revision: UInt64?

    init(
        _ client: MetadataClient, after: [UInt8] = [], limit: Int? = nil, keysOnly: Bool = false, level: ReadLevel,
        isOneRevision: Bool = true, timeout: Duration?, _ makeQuery: @escaping (_ view: UInt64, PageRequest) -> Query
    ) {
        self.client = client
        self.keysOnly = keysOnly
        self.level = level
        self.isOneRevision = isOneRevision
        self.timeout = timeout
        self.makeQuery = makeQuery
        cursor = after
        rowsLeft = limit ?? Int.max
    }

    deinit { stop() }

    /// - Returns: nil at the end.
    func next() async throws(ClientError) -> Page? {
        guard !isAtEnd, rowsLeft > 0 else {
            stop()
            return nil
        }
        // A view is worth its price only if there is a second page.
        let pinsView = isOneRevision && view == nil && rowsLeft > Limits.listPageCountMax
        var (page, revision, address) = try await read(pinsView: pinsView)
        if isOneRevision, view == nil, !pinsView, page.hasMore, page.rows.count < rowsLeft {
            // There is one: large rows have cut this page short of the limit.
            (page, revision, address) = try await read(pinsView: true)
        }
        if let view, view.revision != revision {
            // Not to be released here: it is somebody else's.
            self.view = nil
            isAtEnd = true
            throw ClientError.viewIsGone(of: view.revision)
        }
        if view == nil, page.view != 0 { view = (number: page.view, address: address, revision: revision) }
        self.revision = revision
        rowsLeft -= page.rows.count
        isAtEnd = !page.hasMore || page.cursor.isEmpty
        cursor = page.cursor
        return page
    }

    /// No further page is wanted.
    func stop() {
        isAtEnd = true
        guard let view else { return }
        self.view = nil
        client.release(view: view.number, at: view.address)
    }

    private func read(pinsView: Bool) async throws(ClientError) -> (Page, UInt64, String) {
        let request = PageRequest(
            after: cursor, limit: UInt32(clamping: Swift.min(rowsLeft, Limits.listPageCountMax)), isKeysOnly: keysOnly,
            pinsView: pinsView)
        let query = makeQuery(view?.number ?? 0, request)
        return try await client.query(query, view == nil ? level : .stale, view?.address, timeout) {
            revision, reader, address throws(DecodeError) in
            (try Page(decoding: &reader, for: request), revision, address)
        }
    }
}

extension ClientError {
    /// A node that has started again, or has made its state anew, gives its views the same numbers once more. Their
    /// revisions tell them apart.
    static func viewIsGone(of revision: UInt64) -> ClientError {
        ClientError(
            code: .viewReleased,
            message: "the view of revision \(revision) is not kept any more: ask again from the start")
    }
}
