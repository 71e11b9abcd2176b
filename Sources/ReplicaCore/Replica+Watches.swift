package import Basics
internal import LogFormat
package import MetadataModel
internal import RaftCore
internal import Wire

/// Watches: who asks for one, what they are sent, how those that are behind get on, how they end.
extension Replica {
    /// The oldest revision that a watch may begin with here.
    package var feedFloor: LogIndex { max(raft.firstIndex, feedBase.next) }

    package var watchCount: Int { hub.count }

    // MARK: - Asking

    mutating func watch(_ request: WatchRequest, slot: ConnectionSlot, requestID: UInt64) {
        if let error = refusal(of: request, slot: slot, requestID: requestID) {
            return answer(slot, requestID, .watch, error: error)
        }
        hub.activate(after: applyFed, now: now)
        guard hub.buffer.end >= needed(for: request) else {
            hub.waiting.append(
                WatchHub.Waiting(
                    slot: slot, requestID: requestID, request: request, deadline: now + settings.requestTimeout))
            return
        }
        begin(request, slot: slot, requestID: requestID)
        hub.deactivateIfUnused()
    }

    /// The revision through which this node must have come before the watch can begin.
    private func needed(for request: WatchRequest) -> LogIndex { max(request.atLeast, request.from.previous) }

    private func refusal(of request: WatchRequest, slot: ConnectionSlot, requestID: UInt64) -> ReplyError? {
        if isQuarantined { return quarantinedError }
        if isStopping { return ReplyError(.shuttingDown, "this node is stopping: ask another one") }
        guard FeedTable(rawValue: request.table) != nil else {
            return ReplyError(.invalidRequest, "table \(request.table) cannot be watched")
        }
        guard request.credit > 0 else {
            return ReplyError(.invalidRequest, "a watch that may send nothing: its credit is 0")
        }
        let isWaiting = hub.waiting.contains { $0.slot == slot && $0.requestID == requestID }
        guard hub.place(slot, requestID) == nil, !isWaiting else {
            return ReplyError(.invalidRequest, "request \(requestID) is a watch already")
        }
        guard hub.count(of: slot) < Limits.watchesPerConnectionMax else {
            return ReplyError(
                .overloaded, "\(Limits.watchesPerConnectionMax) watches are open on this connection",
                limit: UInt64(Limits.watchesPerConnectionMax), retryAfter: .seconds(1))
        }
        guard hub.count + hub.waiting.count < Limits.watchesMax else {
            return ReplyError(
                .overloaded, "\(Limits.watchesMax) watches are open on \(settings.name)",
                limit: UInt64(Limits.watchesMax), retryAfter: .seconds(1))
        }
        return nil
    }

    private mutating func begin(_ request: WatchRequest, slot: ConnectionSlot, requestID: UInt64) {
        guard request.from == .zero || request.from >= feedFloor else {
            answer(slot, requestID, .watch, error: compactedError)
            return
        }
        var begunAfter = request.from == .zero ? hub.buffer.end : request.from.previous
        if Mutant.watchRepeatsRevision.isOn, request.from > feedFloor { begunAfter = begunAfter.previous }
        let window = min(Int(request.credit), Limits.watchCreditMax)
        let interval = request.progressInterval
        _ = hub.add(
            WatchHub.Watch(
                slot: slot, requestID: requestID, table: request.table, span: request.span, filter: request.filter,
                progressInterval: interval == .zero ? .zero : max(interval, Limits.watchProgressMin), window: window,
                credit: window, next: begunAfter == hub.buffer.end ? nil : begunAfter.next, toldThrough: begunAfter,
                toldAt: now, readAt: now))
        let floor = feedFloor
        write(slot) {
            WatchFrame.writeCreated(requestID: requestID, revision: begunAfter, floor: floor, into: &$0)
        }
    }

    private var compactedError: ReplyError {
        ReplyError(
            .compacted, "\(settings.name) tells changes from revision \(feedFloor) on, not those before",
            currentRevision: feedFloor)
    }

    /// Those that waited for a state which is here now.
    private mutating func beginWaiting() {
        guard !hub.waiting.isEmpty else { return }
        let end = hub.buffer.end
        var ready: [WatchHub.Waiting] = []
        hub.waiting.removeAll { waiting in
            guard end >= max(waiting.request.atLeast, waiting.request.from.previous) else { return false }
            ready.append(waiting)
            return true
        }
        for waiting in ready { begin(waiting.request, slot: waiting.slot, requestID: waiting.requestID) }
        hub.deactivateIfUnused()
    }

    mutating func grantCredit(_ bytes: UInt32, slot: ConnectionSlot, requestID: UInt64) {
        guard let place = hub.place(slot, requestID) else { return }
        hub.grant(Int(bytes), to: place, now: now)
    }

    mutating func cancelWatch(slot: ConnectionSlot, requestID: UInt64) {
        let waited = hub.removeWaiting { $0.slot == slot && $0.requestID == requestID }
        if !waited.isEmpty {
            write(slot) { WatchFrame.writeProgress(requestID: requestID, through: .zero, isLast: true, into: &$0) }
        }
        guard let place = hub.place(slot, requestID), let watch = hub.watches[place] else { return }
        let through = hub.through(watch)
        hub.remove(place)
        clients.write(to: slot, endsRequest: false) {
            WatchFrame.writeProgress(requestID: requestID, through: through, isLast: true, into: &$0)
        }
    }

    // MARK: - Ends

    /// Every watch of this node ends; their clients go on elsewhere, or here a little later.
    mutating func endWatches(_ error: (LogIndex) -> ReplyError) {
        for place in hub.watches.indices { endWatch(place, error) }
        for waiting in hub.removeWaiting(where: { _ in true }) {
            answer(waiting.slot, waiting.requestID, .watch, error: error(waiting.request.from))
        }
    }

    /// - Parameter error: made from the revision to go on with.
    private mutating func endWatch(_ place: Int, _ error: (LogIndex) -> ReplyError) {
        guard let watch = hub.watches[place] else { return }
        let through = hub.through(watch)
        hub.remove(place)
        clients.write(to: watch.slot, endsRequest: false) { writer in
            let start = ClientReply.begin(.watch, requestID: watch.requestID, into: &writer)
            error(through.next).encode(revision: through, into: &writer)
            writer.endFrame(start)
        }
    }

    static func laggedError(_ reason: String) -> (LogIndex) -> ReplyError {
        { ReplyError(.lagged, reason, currentRevision: $0) }
    }

    /// The state is another one: what the feed knew of the old one's way is gone.
    mutating func stateReplaced(at index: LogIndex) {
        endWatches(Self.laggedError("this node's state was replaced by a snapshot"))
        feedBase = max(feedBase, index)
    }

    /// What lies below the floor is gone, and so are the watches that had not come so far.
    mutating func endWatchesBelowFloor() {
        guard hub.isActive else { return }
        let floor = feedFloor
        let error = compactedError
        for place in hub.watches.indices {
            guard let next = hub.watches[place]?.next, next < floor else { continue }
            endWatch(place) { _ in error }
        }
    }

    // MARK: - What has been fed

    /// The changes of a stretch of the log; nil when they cannot be told from this state.
    package mutating func fed(_ batch: FeedBatch?, range: ClosedRange<LogIndex>, isLive: Bool) {
        guard hub.isActive else { return }
        if isLive {
            // Of an earlier time in which somebody watched.
            guard range.lowerBound == hub.buffer.end.next else { return }
            guard let batch else {
                let error = ReplyError(.unavailable, "\(settings.name) cannot read what changed at \(range)")
                return endWatches { _ in error }
            }
            guard batch.range == range else {
                // More than is held at once: those at the end read it back, part by part.
                hub.everyoneFallsBehind(at: range.lowerBound)
                hub.buffer = FeedBuffer(after: range.upperBound)
                return beginWaiting()
            }
            deliverLive(batch)
            hub.buffer.append(batch, sizeMax: settings.feedBufferSizeMax)
            beginWaiting()
        } else {
            guard hub.reading == range else { return }
            hub.reading = nil
            guard let batch else {
                feedBase = max(feedBase, range.upperBound)
                return endWatchesBelowFloor()
            }
            if !failedFeeds.isEmpty { failedFeeds.removeAll { batch.range.contains($0.first) } }
            hub.readCursor = batch.range.upperBound.next
            for place in hub.runnable where hub.watches[place]?.next.map(batch.range.contains) == true {
                deliver(batch, to: place)
            }
        }
    }

    /// To those at the end, found by the keys that changed.
    private mutating func deliverLive(_ batch: FeedBatch) {
        guard hub.index.count > 0 else { return }
        var written: [Int] = []
        var concerned: [Int] = []
        batch.forEachRevision { revision, changes in
            concerned.removeAll(keepingCapacity: true)
            changes.forEach { table, change in
                var found: [Int] = []
                hub.index.forEach(table: table, key: change.key) { found.append($0) }
                for place in found where hub.watches[place]?.wants(change) == true {
                    if hub.watches[place]?.openRevision != revision {
                        guard hub.maySend(place) else {
                            hub.fallBehind(place, at: revision)
                            continue
                        }
                        if hub.watches[place]?.frame == nil { written.append(place) }
                        open(revision, changes.origin, for: place)
                        concerned.append(place)
                    }
                    append(change, of: revision, changes.origin, to: place)
                }
            }
            for place in concerned { close(revision, of: place) }
            return true
        }
        for place in written {
            guard let watch = hub.watches[place] else { continue }
            // One that fell behind in the middle has what came before.
            sendFrame(of: place, through: watch.next?.previous ?? batch.range.upperBound)
        }
    }

    /// What the watch wants of the batch from its position on, as far as its client has room.
    private mutating func deliver(_ batch: FeedBatch, to place: Int) {
        guard let watch = hub.watches[place], let first = watch.next else { return }
        var stoppedAt: LogIndex?
        batch.forEachRevision(from: first) { revision, changes in
            var isOpen = false
            changes.forEach { table, change in
                guard stoppedAt == nil, table == watch.table, watch.span.contains(change.key), watch.wants(change)
                else { return }
                if !isOpen {
                    guard hub.maySend(place) else {
                        stoppedAt = revision
                        return
                    }
                    open(revision, changes.origin, for: place)
                    isOpen = true
                }
                append(change, of: revision, changes.origin, to: place)
            }
            if isOpen { close(revision, of: place) }
            return stoppedAt == nil
        }
        let next = stoppedAt.map { Mutant.watchSkipsBatch.isOn ? $0.next : $0 } ?? batch.range.upperBound.next
        hub.watches[place]?.next = next
        if hub.watches[place]?.frame != nil { sendFrame(of: place, through: next.previous) }
    }

    // MARK: - Frames

    private mutating func open(_ revision: LogIndex, _ origin: ChangeOrigin, for place: Int) {
        guard
            var frame = hub.watches[place]?.frame
                ?? hub.watches[place].map({
                    WatchFrame(requestID: $0.requestID, hasOrigins: $0.filter.contains(.origins))
                })
        else { return }
        hub.watches[place]?.frame = nil
        frame.begin(revision, origin)
        hub.watches[place]?.frame = frame
        hub.watches[place]?.openRevision = revision
    }

    /// A frame that is large enough goes out, also in the middle of a revision: the next one goes on with it.
    private mutating func append(
        _ change: borrowing ChangeView, of revision: LogIndex, _ origin: ChangeOrigin, to place: Int
    ) {
        // The frame is not held here: it grows in place.
        guard var detail = hub.watches[place]?.filter.detail, let size = hub.watches[place]?.frame?.byteCount,
            let hasChanges = hub.watches[place]?.frame?.hasOpenChanges
        else { return }
        // Two large values together may be more than a frame: then the newer one is told, and that there was one before.
        if change.encodedSize(detail) > Int(settings.limits.valueSizeMax) + Limits.frameEnvelopeSize / 2 {
            detail.remove(.valueBefore)
        }
        if size + change.encodedSize(detail) > Limits.watchFrameSizeMax {
            if hasChanges {
                sendFrame(of: place, through: revision, goesOn: true)
            } else if hub.watches[place]?.frame?.takeBack() == true {
                // A large change goes alone: with others it might be more than a frame may be.
                sendFrame(of: place, through: revision.previous)
            }
            open(revision, origin, for: place)
        }
        hub.watches[place]?.frame?.append(change, detail)
        // At once: others of this turn are to see what it takes.
        hub.spend(frameSize: hub.watches[place]?.frame?.byteCount ?? 0, of: place, now: now)
    }

    private mutating func close(_ revision: LogIndex, of place: Int) {
        hub.watches[place]?.frame?.endRevision()
        hub.watches[place]?.openRevision = .zero
        guard let size = hub.watches[place]?.frame?.byteCount else { return }
        if size >= Limits.watchFrameSizeMax { sendFrame(of: place, through: revision) }
    }

    private mutating func sendFrame(of place: Int, through: LogIndex, goesOn: Bool = false) {
        guard let slot = hub.watches[place]?.slot, hub.watches[place]?.frame != nil else { return }
        hub.watches[place]?.frame?.finish(through: through, goesOn: goesOn)
        let bytes = hub.watches[place]?.frame?.writer.bytes ?? []
        hub.watches[place]?.frame = nil
        hub.spend(frameSize: bytes.count, of: place, now: now)
        hub.watches[place]?.spentOfFrame = 0
        if !goesOn { hub.watches[place]?.toldThrough = through }
        hub.watches[place]?.toldAt = now
        clients.write(to: slot, endsRequest: false) { $0.write(bytes) }
    }

    // MARK: - Getting on

    /// Serves those that are behind and have room: from the buffer, or by asking for the next stretch of the log.
    /// Each turn does a bounded part of it.
    mutating func serveWatches() {
        guard hub.isActive else { return }
        sweepWatches()
        guard !hub.runnable.isEmpty else { return }
        var scanned = 0
        var position = 0
        while position < hub.runnable.count {
            let place = hub.runnable[position]
            while let next = hub.watches[place]?.next, next >= hub.buffer.start, next <= hub.buffer.end,
                hub.maySend(place), scanned < settings.feedScanSizeMax
            {
                let batch = hub.buffer.batch(holding: next)
                scanned += batch.bytes.count + 64
                deliver(batch, to: place)
            }
            if hub.watches[place]?.next == hub.buffer.end.next { hub.becomeLive(place) }
            if hub.watches[place]?.next == nil || !hub.maySend(place) {
                hub.watches[place]?.isQueued = false
                hub.runnable.remove(at: position)
            } else {
                position += 1
            }
        }
        // What is left of the buffer's part goes on in the next turn, after what has come meanwhile.
        if scanned >= settings.feedScanSizeMax, !hub.runnable.isEmpty { hub.nextSweep = now }
        readForWatches()
    }

    /// One stretch at a time, for the lowest position from the cursor on: so each has its turn, and those that meet
    /// on the way go on together.
    private mutating func readForWatches() {
        guard hub.reading == nil, !isQuarantined else { return }
        let behind = hub.runnable.compactMap { hub.watches[$0]?.next }.filter { $0 < hub.buffer.start }
        guard let lowest = behind.min() else { return }
        let first = behind.filter { $0 >= hub.readCursor }.min() ?? lowest
        let range = first...hub.buffer.start.previous
        if let slabs = tail.slabs(in: range, byteCountMax: Limits.slabSizeMax), let last = slabs.last {
            feed(slabs, in: first...last.lastIndex)
        } else {
            hub.reading = range
            effects.logReads.append(LogRead(purpose: .feed, range: range, byteCountMax: Limits.slabSizeMax))
        }
    }

    /// Entries for those that are behind, back from disk; empty when the log no longer holds the first of them.
    mutating func logReadForWatches(_ read: LogRead, slabs: [Slab]) {
        guard hub.isActive, hub.reading == read.range else { return }
        hub.reading = nil
        guard read.range.lowerBound >= feedFloor else { return endWatchesBelowFloor() }
        let slabs = slabs.compactMap { $0.slice(read.range) }
        guard let last = slabs.last else {
            // Cut just now; the log says so itself in a moment.
            return feedUnreadable(through: read.range.lowerBound)
        }
        feed(slabs, in: read.range.lowerBound...last.lastIndex)
    }

    /// What changed through here cannot be told any more: the log does not hold it, or holds it damaged.
    package mutating func feedUnreadable(through index: LogIndex) {
        hub.reading = nil
        feedBase = max(feedBase, min(index, appliedIndex))
        endWatchesBelowFloor()
    }

    /// How long a disk may go on not giving the same entries before that counts as damage.
    private static var feedPatience: Interval { .seconds(10) }
    /// A disk that fails everywhere is told of, and remembered, here and there.
    private static var failedFeedsMax: Int { 64 }

    /// The disk has not given what some watches need, and may the next time: they end, and go on here or elsewhere. Where
    /// there is no elsewhere they would come back for ever: so what stays unreadable is damaged.
    package mutating func feedFailed(_ range: ClosedRange<LogIndex>, reason: String) {
        guard hub.isActive, hub.reading == range else { return }
        if let earlier = failedFeeds.first(where: { $0.first == range.lowerBound }) {
            if now - earlier.since >= Self.feedPatience {
                failedFeeds.removeAll { range.contains($0.first) }
                effects.notices.append(.changesUnread(range, reason: reason, isLasting: true))
                raise(.damage, "what entries \(range) changed cannot be read: \(reason)")
                return feedUnreadable(through: range.upperBound)
            }
        } else {
            if failedFeeds.count == Self.failedFeedsMax { failedFeeds.removeFirst() }
            failedFeeds.append((range.lowerBound, now))
            effects.notices.append(.changesUnread(range, reason: reason, isLasting: false))
        }
        hub.reading = nil
        let error = ReplyError(.unavailable, "\(settings.name) cannot read what changed: \(reason)")
        for place in hub.watches.indices {
            guard let next = hub.watches[place]?.next, range.contains(next) else { continue }
            endWatch(place) { _ in error }
        }
    }

    private mutating func feed(_ slabs: [Slab], in range: ClosedRange<LogIndex>) {
        hub.reading = range
        hub.readCursor = range.upperBound.next
        effects.apply.append(.feed(slabs, range: range, isLive: false))
    }

    // MARK: - Time

    private mutating func sweepWatches() {
        for waiting in hub.removeWaiting(where: { $0.deadline <= now }) {
            let error = ReplyError(
                .unavailable,
                "\(settings.name) has applied entries through \(appliedIndex), not yet \(needed(for: waiting.request))",
                retryAfter: .milliseconds(20))
            answer(waiting.slot, waiting.requestID, .watch, error: error)
        }
        guard hub.isActive, now >= hub.nextSweep else { return }
        hub.nextSweep = now + WatchHub.sweepInterval
        if raft.leader != nil {
            hub.leaderlessSince = nil
        } else if let since = hub.leaderlessSince {
            if now - since > settings.requestTimeout {
                let error = unavailableError
                return endWatches { _ in error }
            }
        } else {
            hub.leaderlessSince = now
        }
        for place in hub.watches.indices {
            guard let watch = hub.watches[place] else { continue }
            let isStalled = watch.next != nil && (watch.stalledAt.map { now - $0 > Limits.watchStallMax } ?? false)
            if isStalled || hub.keepsOthersWaiting(watch, now: now) {
                endWatch(place, Self.laggedError("the client has read nothing for \(Limits.watchStallMax)"))
            } else if watch.progressInterval > .zero, now - watch.toldAt >= watch.progressInterval {
                tellProgress(place, watch)
            }
        }
    }

    private mutating func tellProgress(_ place: Int, _ watch: WatchHub.Watch) {
        let through = hub.through(watch)
        guard through > watch.toldThrough, hub.maySend(place) else { return }
        hub.watches[place]?.toldThrough = through
        hub.watches[place]?.toldAt = now
        hub.spend(WatchFrame.progressSize, of: place, now: now)
        clients.write(to: watch.slot, endsRequest: false) {
            WatchFrame.writeProgress(requestID: watch.requestID, through: through, isLast: false, into: &$0)
        }
    }
}
