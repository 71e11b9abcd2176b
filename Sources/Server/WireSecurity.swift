internal import Basics
internal import Glibc
internal import Logging
internal import NIOCore
internal import ReplicaCore
internal import Transport

/// A node's certificates while it runs: looks every second whether the files have changed, and says what became of that,
/// and who was turned away. Used on the event loop only.
final class WireSecurity {
    /// nil: plain TCP.
    let source: TLSSource?
    private let logger: Logger
    private var refusals = RefusalLog()
    private var watch: RepeatedTask?
    private var expiryWarnedAt: Int64?

    private static let watchInterval = TimeAmount.seconds(1)
    /// Before a certificate ends, and how often that is said.
    private static let expiryNotice: Int64 = 30 * 86_400
    private static let expiryPause: Int64 = 86_400

    /// - Throws: `TLSFilesError` when the files cannot be used.
    init(_ configuration: ServerConfiguration, logger: Logger) throws {
        self.logger = logger
        source = configuration.tls.map {
            TLSSource(files: $0, owner: .node(configuration.name))
        }
        try source?.load()
        source?.onEvent = { [weak self] in self?.tell($0) }
    }

    func start(on loop: any EventLoop) {
        guard source != nil else { return }
        warnOfExpiry()
        let bound = NIOLoopBound(self, eventLoop: loop)
        watch = loop.scheduleRepeatedTask(initialDelay: Self.watchInterval, delay: Self.watchInterval) { _ in
            bound.value.source?.refresh()
            bound.value.warnOfExpiry()
        }
    }

    func stop() { watch?.cancel() }

    /// The alarm that is due, if one is.
    var alarms: [AlarmBook.Condition] {
        guard let expiresAt = source?.expiresAt, expiresAt - Int64(time(nil)) < Self.expiryNotice else { return [] }
        return [AlarmBook.Condition(.certificateExpiring, detail: "its certificate ends on \(utcDay(expiresAt))")]
    }

    private func tell(_ event: TLSSource.Event) {
        switch event {
        case .reloaded(let expiresAt):
            expiryWarnedAt = nil
            logger.notice("the TLS files have changed and are in use", metadata: ["expires": "\(utcDay(expiresAt))"])
            warnOfExpiry()
        case .kept(let error):
            logger.error("the TLS files have changed and cannot be used; those from before stay: \(error)")
        }
    }

    private func warnOfExpiry() {
        guard let expiresAt = source?.expiresAt else { return }
        let now = Int64(time(nil))
        guard expiresAt - now < Self.expiryNotice, now - (expiryWarnedAt ?? 0) >= Self.expiryPause else { return }
        expiryWarnedAt = now
        let day = utcDay(expiresAt)
        if expiresAt < now {
            logger.error("this node's certificate expired on \(day): nobody accepts it, put a new one in its place")
        } else {
            logger.warning("this node's certificate expires on \(day): put a new one in its place, no restart is needed")
        }
    }

    // MARK: Refusals

    /// Somebody called and was not let in.
    func refused(_ connection: RefusedConnection) {
        guard let others = refusals.shouldSay("\(connection.port) \(connection.remoteHost) \(connection.reason)") else {
            return
        }
        var metadata: Logger.Metadata = [
            "port": "\(connection.port)", "address": "\(connection.remoteAddress)", "reason": "\(connection.reason)",
        ]
        if others > 0 { metadata["unreported"] = "\(others)" }
        logger.warning("refusing a connection", metadata: metadata)
    }

    /// A node that this one called does not let it in, or is not trusted.
    func cannotTalk(to node: String, because reason: String) {
        guard refusals.shouldSay("to \(node) \(reason)") != nil else { return }
        logger.warning("no connection to a peer", metadata: ["peer": "\(node)", "reason": "\(reason)"])
    }
}

/// Lets each source say the same thing once a minute, so that one who calls again and again fills no log.
struct RefusalLog {
    private var saidAt: [String: NIODeadline] = [:]
    private var unreported = 0

    private static let pause = TimeAmount.seconds(60)
    /// Sources remembered; strangers choose how many there are.
    static let sourcesMax = 1_024

    /// - Returns: how many were passed over since the last that was said; nil: pass over this one too.
    mutating func shouldSay(_ what: String, now: NIODeadline = .now()) -> Int? {
        if let last = saidAt[what], now - last < Self.pause {
            unreported += 1
            return nil
        }
        if saidAt.count >= Self.sourcesMax { saidAt = saidAt.filter { now - $0.value < Self.pause } }
        guard saidAt.count < Self.sourcesMax else {
            unreported += 1
            return nil
        }
        saidAt[what] = now
        defer { unreported = 0 }
        return unreported
    }
}
