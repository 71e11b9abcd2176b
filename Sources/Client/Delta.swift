internal import Basics
internal import MetadataModel

/// What has become of one key since a revision.
public struct ChangedRow: Hashable, Sendable {
    public var key: [UInt8]
    /// Of the last change.
    public var revision: UInt64
    /// Nil: there is no such row any more. There need not have been one then.
    public var value: [UInt8]?

    public init(key: [UInt8], revision: UInt64, value: [UInt8]?) {
        self.key = key
        self.revision = revision
        self.value = value
    }
}

extension MetadataClient {
    /// What has changed under `prefix` since a revision, each key in its last form, all as of one revision: first the rows
    /// that were put, then the keys that are gone, each in key order. What is not told is as it was.
    ///
    /// So a copy of the rows is brought up to date after a watch has ended with `compacted`, without reading all of them:
    ///
    ///     let revision = try await client.changes(under: prefix, since: last) { row in … }
    ///     for try await found in client.watch(prefix: prefix, from: revision + 1) { … }
    ///
    /// It tells what is there now, not each change that led there. Throws `compacted` when deletes since then are no
    /// longer known: then only a listing helps, and what it does not show is gone.
    /// - Parameter begun: called first, with the revision that is shown.
    /// - Returns: that revision.
    @discardableResult
    public func changes(
        under prefix: [UInt8], since revision: UInt64, timeout: Duration? = nil, begun: (UInt64) throws -> Void = { _ in },
        _ body: (ChangedRow) throws -> Void
    ) async throws -> UInt64 {
        var request = DeltaRequest(span: .prefix(prefix), since: LogIndex(revision))
        var address: String?
        var first: UInt64?
        do {
            while true {
                let level: ReadLevel = address == nil ? .linearizable : .stale
                let (page, shown, answerer) = try await query(.changes(request), level, address, timeout) {
                    revision, reader, address throws(DecodeError) in
                    (try DeltaPage(decoding: &reader), revision, address)
                }
                if let first, first != shown {
                    // Not to be released here: it is somebody else's.
                    request.view = 0
                    throw ClientError.viewIsGone(of: first)
                }
                let isFirst = address == nil
                // From here on the node keeps a view, whatever the caller does.
                request.view = page.view
                request.cursor = page.cursor
                address = answerer
                first = shown
                if isFirst { try begun(shown) }
                for item in page.items {
                    try body(ChangedRow(key: item.key, revision: item.revision.rawValue, value: item.value))
                }
                guard page.hasMore else { return shown }
            }
        } catch {
            if request.view != 0, let address { release(view: request.view, at: address) }
            throw error
        }
    }
}
