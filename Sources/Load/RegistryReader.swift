internal import Basics
internal import MetadataModel
internal import NIOCore
internal import RegistryModel
internal import Transport
internal import Wire

/// Reads the records of the registry as a new master does: page by page, all of one revision. Each is decoded.
final class RegistryReader: LinkOwner {
    struct Finding {
        var recordCount = 0
        /// Bytes of keys and values.
        var size = 0
        var time = Interval.zero
        /// Of the agents of a bench, by their number.
        var checkpoints: [Int: AgentCheckpoint] = [:]
    }

    private let context: TransportContext
    private let prefix: [UInt8]
    private let completion: (Result<Finding, LoadFailure>) -> Void
    private var link: ClientLink?
    private var page = PageRequest(pinsView: true)
    private var view: UInt64 = 0
    private var finding = Finding()
    private var startedAt = NIODeadline.distantPast
    private var isReleasing = false

    /// - Parameter table: only its records; nil: all.
    init(
        _ table: RegistryTable?, context: TransportContext,
        completion: @escaping (Result<Finding, LoadFailure>) -> Void
    ) {
        prefix = table.map { [$0.rawValue] } ?? []
        self.context = context
        self.completion = completion
    }

    func start(at node: HostPort, timeout: Interval) {
        let link = ClientLink(context, owner: self)
        self.link = link
        link.dial(node, timeout: timeout)
    }

    private func ask(_ query: Query) {
        guard let link else { return }
        ClientRequest.encodeQuery(
            requestID: 1, header: ReadHeader(level: view == 0 ? .linearizable : .stale), query: query.encoded(),
            into: &link.output)
    }

    func greeted(_ hello: HelloReply) {
        startedAt = .now()
        ask(.registry(view: view, prefix: prefix, page))
    }

    func received(_ header: FrameHeader, _ body: RawSpan, at now: NIODeadline) {
        guard !isReleasing else { return finish() }
        do {
            var reader = ByteReader(body)
            if case .failure(let error, _) = try ReplyHead(decoding: &reader) { return fail(error.message) }
            let found = try Page(decoding: &reader, for: page)
            let isAtIndexes = try take(found)
            view = found.view
            page.after = found.cursor
            guard !found.hasMore || isAtIndexes else { return ask(.registry(view: view, prefix: prefix, page)) }
            finding.time = Interval(nanoseconds: (now - startedAt).nanoseconds)
            guard found.hasMore else { return finish() }
            isReleasing = true
            ask(.releaseView(view))
        } catch {
            fail("\(error)")
        }
    }

    private func finish() {
        link?.close()
        completion(.success(finding))
    }

    /// - Returns: whether there are no more records: indexes, which say nothing that records do not, stand behind them.
    private func take(_ page: Page) throws -> Bool {
        for row in page.rows {
            let value = row.value ?? []
            guard let key = RegistryRecordKey(row.key), let record = try RegistryRecord(key, value) else { return true }
            finding.recordCount += 1
            finding.size += row.key.count + value.count
            guard case .agent(let id, let agent) = record, let number = RegistryShape.agentNames.number(of: id.bytes)
            else { continue }
            finding.checkpoints[number] = AgentCheckpoint(generation: agent.generation, digest: agent.digest)
        }
        return false
    }

    func turnEnded(at now: NIODeadline) {}

    func ended(_ reason: LinkEnd) { fail("\(reason)") }

    private func fail(_ reason: String) {
        link?.close()
        completion(.failure(LoadFailure(kind: .unavailable, message: "the registry cannot be read: \(reason)")))
    }
}
