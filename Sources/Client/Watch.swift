internal import Basics
internal import ClientCore
internal import MetadataModel
internal import NIOCore
internal import Synchronization
internal import Wire

/// What one revision changed among the keys that are watched.
public struct WatchedChanges: Hashable, Sendable {
    public enum Change: Hashable, Sendable {
        /// The row is there with this value; empty in a watch of keys only. An owner is the session that the row goes
        /// with.
        case put(key: [UInt8], value: [UInt8], owner: String? = nil)
        /// There is no such row. There need not have been one before.
        case deleted(key: [UInt8])

        public var key: [UInt8] {
            switch self {
            case .put(let key, _, _), .deleted(let key): key
            }
        }
    }

    public var revision: UInt64
    /// All of them: what a transaction changed comes together. In key order, no key twice. Empty in a mark that says
    /// how far the watch has come: everything through `revision` has been told.
    public var changes: [Change]
    /// What was there before each of them, in the same order; empty unless the watch asks for it. Nil of a key of which no
    /// history is kept: then it is not known whether the change created it.
    public var before: [RowBefore?]
    /// Who made the revision, and when; nil unless the watch asks for it, and in marks.
    public var origin: ChangeOrigin?

    public init(
        revision: UInt64, changes: [Change], before: [RowBefore?] = [], origin: ChangeOrigin? = nil
    ) {
        self.revision = revision
        self.changes = changes
        self.before = before
        self.origin = origin
    }
}

/// What was under a key before a change.
public enum RowBefore: Hashable, Sendable {
    /// There was no such row: a put created it.
    case nothing
    /// - Parameter value: nil when it was not asked for, or is too large to be told with the change.
    case row(revision: UInt64, value: [UInt8]?)
}

/// Who made a change, and when.
public struct ChangeOrigin: Hashable, Sendable {
    /// 32 hexadecimal digits; nil: the cluster itself, which ends sessions.
    public var session: String?
    /// As authenticated by the node that took the request; 0: nobody.
    public var principal: UInt64
    /// Cluster time, in nanoseconds since 1970.
    public var time: UInt64

    public init(session: String?, principal: UInt64, time: UInt64) {
        self.session = session
        self.principal = principal
        self.time = time
    }
}

/// Which changes a watch leaves out.
public struct WatchFilter: OptionSet, Hashable, Sendable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }

    public static let noPuts = WatchFilter(rawValue: 1)
    public static let noDeletes = WatchFilter(rawValue: 2)
    /// Puts come without their values.
    public static let keysOnly = WatchFilter(rawValue: 4)

    /// Where history is kept, `before` says whether there was a row, and at what revision. Leaves nothing out.
    public static let before = WatchFilter(rawValue: 8)
    /// The same, with the values of then.
    public static let valuesBefore = WatchFilter(rawValue: 8 | 16)
    /// `origin` says who made a revision, and when. Leaves nothing out.
    public static let origins = WatchFilter(rawValue: 32)
}

/// Changes as they come, in the order of their revisions, each once. Each iteration is a watch of its own.
///
/// Its first element is a mark without changes: from then on nothing after its revision is missed. When the node that
/// it runs at is gone, it goes on at another one; the caller notices nothing. To go on after a restart of the
/// program, watch from the last revision seen plus one.
///
/// It ends with an error when the changes asked for are no longer kept by any node (`compacted`: read the rows again,
/// and watch from there), when the cluster is not the one it was, or when no node could be watched in the time
/// allowed.
public struct Watch: AsyncSequence, Sendable {
    public typealias Element = WatchedChanges
    public typealias Failure = ClientError

    let client: MetadataClient
    let options: WatchOptions
    let timeout: Duration?

    public func makeAsyncIterator() -> Iterator {
        let reader = WatchReader(client.open(options, timeout: timeout))
        return Iterator(reader: reader, tellsBefore: options.filter.contains(.before))
    }

    public struct Iterator: AsyncIteratorProtocol {
        fileprivate let reader: WatchReader
        fileprivate let tellsBefore: Bool

        public mutating func next() async throws(ClientError) -> WatchedChanges? {
            try await reader.next().map { WatchedChanges($0, tellsBefore: tellsBefore) }
        }

        public mutating func next(isolation actor: isolated (any Actor)?) async throws(ClientError) -> WatchedChanges? {
            try await next()
        }
    }
}

extension WatchedChanges {
    fileprivate init(_ found: WatchReader.Found, tellsBefore: Bool) {
        self.init(
            revision: found.revision.rawValue, changes: found.changes.map { Change($0) },
            before: tellsBefore ? found.changes.map { $0.before.map { RowBefore($0) } } : [],
            origin: found.origin.map { ChangeOrigin($0) })
    }
}

/// What one watch tells, element by element. A reference, so that a watch that is left ends.
final class WatchReader {
    /// What one revision changed; without changes a mark that says how far the watch has come.
    typealias Found = (revision: LogIndex, changes: [MetadataModel.Change], origin: MetadataModel.ChangeOrigin?)

    private let handle: WatchHandle
    private var taken: ArraySlice<WatchNews> = []
    private var readSize = 0
    private var isOver = false

    init(_ handle: WatchHandle) { self.handle = handle }

    deinit { handle.cancel() }

    func next() async throws(ClientError) -> Found? {
        while !isOver {
            guard let news = taken.popFirst() else {
                let handle = self.handle
                let readSize = self.readSize
                self.readSize = 0
                let items = await withTaskCancellationHandler {
                    await handle.take(afterReading: readSize)
                } onCancel: {
                    handle.cancel()
                }
                guard !items.isEmpty else {
                    isOver = true
                    throw ClientError(code: .cancelled, message: "the watch was cancelled")
                }
                taken = items[...]
                continue
            }
            switch news {
            case .begun(let revision): return (revision, [], nil)
            case .changes(let revision, let changes, let origin, let size):
                readSize += size
                return (revision, changes, origin)
            case .progress(let revision, let size):
                readSize += size
                return (revision, [], nil)
            case .ended(let failure):
                isOver = true
                throw ClientError(failure)
            }
        }
        return nil
    }
}

extension WatchedChanges.Change {
    fileprivate init(_ change: MetadataModel.Change) {
        guard let value = change.value else {
            self = .deleted(key: change.key)
            return
        }
        self = .put(key: change.key, value: value, owner: change.owner?.description)
    }
}

extension RowBefore {
    init(_ before: MetadataModel.RowBefore) {
        switch before {
        case .nothing: self = .nothing
        case .row(let revision, let value): self = .row(revision: revision.rawValue, value: value)
        }
    }
}

extension ChangeOrigin {
    init(_ origin: MetadataModel.ChangeOrigin) {
        self.init(
            session: origin.session == .housekeeping ? nil : origin.session.description, principal: origin.principal,
            time: origin.time.nanoseconds)
    }
}

/// One watch of the driver, from any task.
struct WatchHandle: Sendable {
    let id: WatchID
    let driver: ClientDriver

    /// What has come since, at least one item; nothing when the watch was cancelled.
    func take(afterReading size: Int) async -> [WatchNews] {
        await withCheckedContinuation { continuation in
            driver.eventLoop.execute { [self] in driver.takeNews(of: id, afterReading: size, continuation) }
        }
    }

    func cancel() {
        driver.eventLoop.execute { [self] in driver.cancelWatch(id) }
    }
}

extension MetadataClient {
    /// Watches every key that begins with `prefix`; all keys when it is empty.
    /// - Parameters:
    ///   - revision: the first one that is wanted; nil: what comes from now on.
    ///   - progressEvery: while nothing of interest changes, a mark comes this often that says how far the watch has
    ///     come.
    ///   - timeout: for the beginning. Once it has begun, it goes on for as long as it takes.
    public func watch(
        prefix: [UInt8], from revision: UInt64? = nil, filter: WatchFilter = [], progressEvery: Duration? = nil,
        timeout: Duration? = nil
    ) -> Watch {
        watch(.prefix(prefix), revision, filter, progressEvery, timeout)
    }

    public func watch(prefix: String, from revision: UInt64? = nil, timeout: Duration? = nil) -> Watch {
        watch(prefix: Array(prefix.utf8), from: revision, timeout: timeout)
    }

    /// Watches one key.
    public func watch(
        key: [UInt8], from revision: UInt64? = nil, filter: WatchFilter = [], progressEvery: Duration? = nil,
        timeout: Duration? = nil
    ) -> Watch {
        watch(.range(from: key, to: key + [0]), revision, filter, progressEvery, timeout)
    }

    private func watch(
        _ span: KeySpan, _ revision: UInt64?, _ filter: WatchFilter, _ progressEvery: Duration?, _ timeout: Duration?
    ) -> Watch {
        var options = WatchOptions(span: span, from: LogIndex(revision.map { Swift.max($0, 1) } ?? 0))
        options.filter = Wire.WatchFilter(rawValue: filter.rawValue)
        options.progressInterval = progressEvery.map { Interval($0) } ?? .zero
        return Watch(client: self, options: options, timeout: timeout)
    }
}
