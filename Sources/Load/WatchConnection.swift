internal import Basics
internal import MetadataModel
internal import NIOCore
internal import Transport
internal import Wire

/// One connection with some watches of all keys that the run writes. A watch that ends begins anew.
final class WatchConnection: LinkOwner {
    /// Fixed for the run; where it stands among the others.
    let number: Int
    private unowned let run: LoadRun
    private var link: ClientLink?
    /// By request id, which begin at 1: bytes that were read and not said to be.
    private var owed: [Int]
    private var createdCount = 0

    private static let creditGivenFrom = Int(Limits.watchCreditOwedMax)
    private static let pause = Interval.milliseconds(100)

    init(_ run: LoadRun, number: Int, watches: Int) {
        self.run = run
        self.number = number
        owed = Array(repeating: 0, count: watches)
    }

    func dial(_ address: HostPort) {
        createdCount = 0
        let link = ClientLink(run.context, owner: self)
        self.link = link
        link.dial(address, timeout: run.plan.timeout)
    }

    func close() { link?.close() }

    private func begin(_ watch: Int) {
        guard let link else { return }
        owed[watch] = 0
        WatchRequest(span: .prefix(run.plan.watchedPrefix), filter: .noDeletes)
            .encode(requestID: UInt64(watch + 1), into: &link.output)
    }

    // MARK: LinkOwner

    func greeted(_ hello: HelloReply) { for watch in owed.indices { begin(watch) } }

    func received(_ header: FrameHeader, _ body: RawSpan, at now: NIODeadline) {
        guard let link, (1...UInt64(owed.count)).contains(header.requestID) else { return }
        let watch = Int(header.requestID) - 1
        switch try? WatchEvent(decoding: body) {
        case .created:
            createdCount += 1
            if createdCount == owed.count { run.ready() }
        case .changes(let revisions, _, _):
            for revision in revisions { for change in revision.changes { run.delivered(change, at: now) } }
            owed[watch] += body.byteCount + FrameFormat.overhead
            guard owed[watch] >= Self.creditGivenFrom else { return }
            ClientRequest.encodeWatchCredit(
                requestID: header.requestID, bytes: UInt32(clamping: owed[watch]), into: &link.output)
            owed[watch] = 0
        case .progress: return
        case .failed(let error): renew(watch, error.code.name)
        case nil: renew(watch, "unreadableReply")
        }
    }

    /// What changes meanwhile is missed, and told as not delivered.
    private func renew(_ watch: Int, _ code: String) {
        run.failed(code)
        let link = link
        run.after(Self.pause) { [self] _ in
            guard link === self.link else { return }
            begin(watch)
            link?.send()
        }
    }

    func turnEnded(at now: NIODeadline) {}

    func ended(_ reason: LinkEnd) { run.lost(reason, number) { [self] in dial($0) } }
}
