internal import Basics
internal import MetadataModel
internal import NIOCore
internal import Transport
internal import Wire

/// Finds out which of the first keys are not there yet, page by page.
final class KeyCensus: LinkOwner {
    private var keys: NumberedKeys
    private var isThere: [Bool]
    private let span: KeySpan
    private var page = PageRequest(isKeysOnly: true)
    private var link: ClientLink?
    private let completion: (Result<[Int], LoadFailure>) -> Void

    /// - Parameter completion: gets the numbers of the missing keys, in order.
    init(of keys: NumberedKeys, count: Int, completion: @escaping (Result<[Int], LoadFailure>) -> Void) {
        self.keys = keys
        self.completion = completion
        isThere = Array(repeating: false, count: count)
        span = .range(from: self.keys[0], to: self.keys[count - 1] + [0])
    }

    func start(at node: HostPort, timeout: Interval, context: TransportContext) {
        let link = ClientLink(context, owner: self)
        self.link = link
        link.dial(node, timeout: timeout)
    }

    func greeted(_ hello: HelloReply) { ask() }

    private func ask() {
        guard let link else { return }
        ClientRequest.encodeQuery(
            requestID: 1, header: ReadHeader(level: .linearizable), query: Query.list(span, page).encoded(),
            into: &link.output)
    }

    func received(_ header: FrameHeader, _ body: RawSpan, at now: NIODeadline) {
        do {
            var reader = ByteReader(body)
            if case .failure(let error, _) = try ReplyHead(decoding: &reader) { return fail(error.message) }
            let found = try Page(decoding: &reader, for: page)
            for row in found.rows {
                if let number = keys.number(of: row.key), number < isThere.count { isThere[number] = true }
            }
            page.after = found.cursor
            guard !found.hasMore else { return ask() }
        } catch {
            return fail("\(error)")
        }
        link?.close()
        completion(.success(isThere.indices.filter { !isThere[$0] }))
    }

    func turnEnded(at now: NIODeadline) {}

    func ended(_ reason: LinkEnd) { fail("\(reason)") }

    private func fail(_ reason: String) {
        link?.close()
        completion(
            .failure(LoadFailure(kind: .unavailable, message: "the keys that are there cannot be listed: \(reason)")))
    }
}
