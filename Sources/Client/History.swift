internal import Basics
internal import MetadataModel

/// A prefix under which previous values are kept.
public struct KeptHistory: Hashable, Sendable {
    public var prefix: [UInt8]
    /// The revision that switched it on, and its cluster time in nanoseconds since 1970.
    public var since: UInt64
    public var time: UInt64

    public init(prefix: [UInt8], since: UInt64, time: UInt64) {
        self.prefix = prefix
        self.since = since
        self.time = time
    }
}

/// A point in the past of the cluster.
public enum PastPoint: Hashable, Sendable {
    case revision(UInt64)
    /// Cluster time, in nanoseconds since 1970.
    case time(UInt64)
}

/// History: what was there before, who changed it, and when. It is kept for the keys for which it was switched on, for as
/// long as the nodes keep the log that brought the changes.
extension MetadataClient {
    /// Switches history on or off for the keys that begin with `prefix`; for all keys when it is empty. Switching it on
    /// where it is on changes nothing.
    /// - Returns: whether it was otherwise, and since which revision it is on; nil: it is off.
    @discardableResult
    public func setHistory(
        prefix: [UInt8], isOn: Bool, guards: [Fence] = [], isOneShot: Bool = false, timeout: Duration? = nil
    ) async throws(ClientError) -> (isChanged: Bool, since: UInt64?) {
        try await mutate(
            .setHistory(prefix: prefix, isOn: isOn), keys: [prefix], guards, isOneShot, timeout
        ) { _, reader throws(DecodeError) in
            let result = try SetHistoryResult(decoding: &reader)
            return (isChanged: result.isChanged, since: result.since > .zero ? result.since.rawValue : nil)
        }
    }

    /// The prefixes under which it is on, in order.
    public func history(timeout: Duration? = nil) async throws(ClientError) -> [KeptHistory] {
        try await query(.history, .linearizable, nil, timeout) { _, reader, _ throws(DecodeError) in
            try ListPart<HistoryPrefix>(decoding: &reader).items.map {
                KeptHistory(prefix: $0.prefix, since: $0.since.rawValue, time: $0.time.nanoseconds)
            }
        }
    }

    /// The row of `key` as it was at a revision, or after everything that had happened by a time.
    ///
    /// It is made from what changed since: the first change after that point says what was there before, and without one
    /// the row is as it was. Throws `historyOff` when no history was kept then, `compacted` when no node tells so old
    /// changes any more, `invalidRequest` for a revision that is yet to come.
    /// - Returns: nil when there was no such row.
    public func get(
        _ key: [UInt8], at point: PastPoint, timeout: Duration? = nil
    ) async throws(ClientError) -> KeyValue? {
        let start = try await start(of: key, at: point, timeout)
        let (now, row): (UInt64, RowResult?) = try await query(.get(key: key), .linearizable, nil, timeout) {
            revision, reader, _ throws(DecodeError) in (revision, try reader.readRowResult())
        }
        let current = row.map { KeyValue(key: key, value: $0.value, revision: $0.revision.rawValue) }
        // Unchanged since, or nothing can have changed.
        guard start.revision < now, (current?.revision ?? .max) > start.revision else { return current }
        let watch = watch(
            key: key, from: start.revision + 1, filter: [.keysOnly, .valuesBefore, .origins],
            progressEvery: Self.progress, timeout: timeout)
        for try await found in watch {
            if !found.changes.isEmpty, try !start.isBefore(found) {
                return try Self.row(key, before: found, since: start.since)
            }
            if found.revision >= now { break }
        }
        return current
    }

    /// Calls `body` with each revision that changed something under `prefix`, from a point in the past to now, with all
    /// changes of keys that have history; until it answers false. Throws as `get(_:at:)` does.
    /// - Parameters:
    ///   - start: nil: as far back as there is history and a node tells it.
    ///   - values: with the values put and those before.
    /// - Returns: false when only some of the keys under `prefix` have history.
    @discardableResult
    public func changeLog(
        prefix: [UInt8], from start: PastPoint? = nil, values: Bool = false, timeout: Duration? = nil,
        _ body: (WatchedChanges) throws -> Bool
    ) async throws -> Bool {
        let coverage = try await coverage(of: prefix, timeout)
        let now = try await currentRevision(timeout: timeout)
        var from = coverage.since.rawValue + 1
        var earliest: UInt64 = 0
        if let start {
            let found = try await self.start(of: prefix, at: start, isLog: true, timeout)
            from = found.revision + 1
            if case .time(let time) = start { earliest = time }
        }
        var isOldestWanted = start == nil
        while from <= now {
            let watch = watch(
                prefix: prefix, from: from,
                filter: values ? [.valuesBefore, .origins] : [.keysOnly, .before, .origins],
                progressEvery: Self.progress, timeout: timeout)
            do {
                for try await found in watch {
                    // What is missed from here on would be a gap between what was told.
                    isOldestWanted = false
                    if found.revision > now { break }
                    if !found.changes.isEmpty {
                        let known = try Self.withHistory(found)
                        if known.origin?.time ?? 0 >= earliest, !known.changes.isEmpty, try !body(known) { break }
                    }
                    if found.revision >= now { break }
                }
                break
            } catch let error as ClientError where error.code == .compacted && isOldestWanted {
                // What there was before is not asked for.
                guard let floor = error.currentRevision, floor > from else { throw error }
                from = floor
                isOldestWanted = false
            }
        }
        return coverage.isWhole
    }

    /// The oldest moment that is known where the log of the node that answers begins, or a little before.
    public func oldestMoment(timeout: Duration? = nil) async throws(ClientError) -> (revision: UInt64, time: UInt64) {
        let found = try await query(.moment(.zero), .linearizable, nil, timeout) { _, reader, _ throws(DecodeError) in
            try MomentResult(decoding: &reader)
        }
        return (found.revision.rawValue, found.time.nanoseconds)
    }

    /// How often a watch that is read to its end says how far it has come.
    private static var progress: Duration { .nanoseconds(Limits.watchProgressMin.nanoseconds) }

    // MARK: Where to begin

    private struct Start {
        /// What was there after this revision is told by the changes after it.
        var revision: UInt64
        /// Changes through this time belong to the past that is asked for.
        var time: UInt64?
        var since: UInt64

        func isBefore(_ found: WatchedChanges) throws(ClientError) -> Bool {
            guard let time else { return false }
            guard let origin = found.origin else { throw MetadataClient.olderNode }
            return origin.time <= time
        }
    }

    private static var olderNode: ClientError {
        ClientError(code: .init(rawValue: "unimplemented"), message: "the node is of a release that keeps no history")
    }

    private func coverage(of prefix: [UInt8], _ timeout: Duration?) async throws(ClientError) -> HistoryCoverage {
        try await query(.historyOf(prefix: prefix), .linearizable, nil, timeout) { _, reader, _ throws(DecodeError) in
            try HistoryCoverage(decoding: &reader)
        }
    }

    /// - Parameter isLog: changes at the point itself are wanted too.
    private func start(
        of key: [UInt8], at point: PastPoint, isLog: Bool = false, _ timeout: Duration?
    ) async throws(ClientError) -> Start {
        let coverage = try await coverage(of: key, timeout)
        let since = coverage.since.rawValue
        switch point {
        case .revision(let revision):
            let now = try await currentRevision(timeout: timeout)
            guard revision <= now else {
                throw ClientError(
                    code: .invalidRequest, message: "revision \(revision) is yet to come: the newest is \(now)")
            }
            let first = isLog ? revision - min(revision, 1) : revision
            guard first >= since else { throw Self.historyOff(key, since: since) }
            return Start(revision: first, since: since)
        case .time(let time):
            guard time >= coverage.time.nanoseconds else { throw Self.historyOff(key, since: since) }
            // For a log the entries of the very moment come too.
            let wanted = ClusterTime(nanoseconds: isLog ? time - min(time, 1) : time)
            let moment = try await query(.moment(wanted), .linearizable, nil, timeout) {
                _, reader, _ throws(DecodeError) in try MomentResult(decoding: &reader)
            }
            guard moment.time.nanoseconds <= time else {
                throw ClientError(
                    code: .compacted,
                    message: "changes of that time are no longer told: the oldest are those after revision "
                        + "\(moment.revision)",
                    currentRevision: moment.revision.rawValue)
            }
            let from = moment.time > wanted ? moment.revision.previous : moment.revision
            return Start(revision: max(from.rawValue, since), time: time, since: since)
        }
    }

    private static func historyOff(_ key: [UInt8], since: UInt64) -> ClientError {
        let name = key.isEmpty ? "\"\"" : String(decoding: key, as: UTF8.self)
        return ClientError(
            code: .historyOff,
            message: "history of \(name) is kept since revision \(since): `quorate history on` keeps what comes after it",
            currentRevision: since)
    }

    private static func row(
        _ key: [UInt8], before found: WatchedChanges, since: UInt64
    ) throws(ClientError) -> KeyValue? {
        guard found.origin != nil else { throw olderNode }
        switch found.before.first {
        case .some(.some(.nothing)): return nil
        case .some(.some(.row(let revision, let value))):
            guard let value else {
                throw ClientError(
                    code: .tooLarge, message: "the value of then was too large for revision \(found.revision) to keep")
            }
            return KeyValue(key: key, value: value, revision: revision)
        case .some(nil), nil:
            // It was switched off meanwhile.
            throw ClientError(
                code: .historyOff,
                message: "no history is kept of \(String(decoding: key, as: UTF8.self)) at revision \(found.revision): "
                    + "`quorate history on` keeps it",
                currentRevision: 0)
        }
    }

    /// The changes of keys that have history.
    private static func withHistory(_ found: WatchedChanges) throws(ClientError) -> WatchedChanges {
        guard found.origin != nil else { throw olderNode }
        let places = found.changes.indices.filter { found.before[$0] != nil }
        return WatchedChanges(
            revision: found.revision, changes: places.map { found.changes[$0] }, before: places.map { found.before[$0] },
            origin: found.origin)
    }
}
