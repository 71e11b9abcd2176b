internal import Basics
internal import MetadataModel
internal import Wire

/// Watches: asked for at one node, and when that is gone at another, from the revision after the last one told. Each
/// revision is told whole, once and in order, whatever nodes it took.
extension ClientState {
    // MARK: From the caller

    mutating func beginWatch(_ id: WatchID, _ options: WatchOptions, by deadline: Instant) {
        let watch = ClientWatch(options: options, beginBy: deadline, next: options.from)
        watches[id] = watch
        if let foreign { return endWatch(id, foreign) }
        if isClosing { return endWatch(id, .madeHere(.shuttingDown, "the client is closed")) }
        unplaced.append(id)
    }

    /// The caller has read `size` bytes of what it was told.
    mutating func watchRead(_ id: WatchID, _ size: Int) {
        guard var watch = watches[id] else { return }
        watch.unread -= size
        let before = min(size, watch.unreadOfBefore)
        watch.unreadOfBefore -= before
        watch.owed += size - before
        watches[id] = watch
        // Not for each little frame.
        if watch.owed >= min(Int(watch.options.window) / 4, Limits.watchCreditOwedMax) { giveCredit(id) }
    }

    private mutating func giveCredit(_ id: WatchID) {
        guard let watch = watches[id], watch.owed > 0, watch.isPlaced, let place = nodePlace(watch.address) else {
            return
        }
        ClientRequest.encodeWatchCredit(
            requestID: watch.requestID, bytes: UInt32(clamping: watch.owed), into: &nodes[place].outbox)
        watches[id]?.owed = 0
    }

    /// The caller is no longer interested.
    mutating func cancelWatch(_ id: WatchID) {
        guard let watch = watches.removeValue(forKey: id) else { return }
        unplaced.removeAll { $0 == id }
        guard watch.isPlaced, let place = nodePlace(watch.address) else { return }
        ClientRequest.encodeWatchCancel(requestID: watch.requestID, into: &nodes[place].outbox)
    }

    mutating func endWatch(_ id: WatchID, _ error: ReplyError) {
        guard watches.removeValue(forKey: id) != nil else { return }
        unplaced.removeAll { $0 == id }
        effects.append(.watch(id, .ended(CallFailure(error, mayHaveTakenEffect: false))))
    }

    mutating func endWatches(_ error: ReplyError) {
        for id in watches.keys.sorted() { endWatch(id, error) }
    }

    // MARK: Placing

    /// A watch waits for a node, or for time to pass, and not for its caller to read.
    var hasUnplacedWatch: Bool { unplaced.contains { watches[$0]?.hasRoom == true } }

    mutating func placeWatches() {
        guard !unplaced.isEmpty else { return }
        for id in unplaced {
            guard let watch = watches[id] else { continue }
            if !watch.hasBegun, watch.beginBy <= now {
                var error = watch.lastError ?? .madeHere(.unavailable)
                if !nodes.contains(where: \.isUsable) {
                    error = .madeHere(.unavailable, "no node can be watched: \(reachability)")
                }
                endWatch(id, error)
                continue
            }
            if let error = compactionEverywhere(watch) {
                endWatch(id, error)
                continue
            }
            guard watch.hasRoom, watch.retryAt <= now, let place = place(for: watch) else { continue }
            send(id, watch, to: place)
        }
        unplaced.removeAll { watches[$0].map(\.isPlaced) ?? true }
    }

    /// The node that other requests go to, unless it has said that it does not know enough; one that could not help last
    /// time only where there is no other.
    private func place(for watch: ClientWatch) -> Int? {
        if let route, mayServe(watch, route) { return route }
        let able = (0..<nodes.count).map { (rotation + $0) % nodes.count }.filter { mayServe(watch, $0) }
        return able.first { !nodes[$0].hasTurnedUsAway } ?? able.first
    }

    private func mayServe(_ watch: ClientWatch, _ place: Int) -> Bool {
        nodes[place].isUsable && nodes[place].watchCount < Limits.watchesPerConnectionMax
            && !watch.compactedAt.contains { $0.address == nodes[place].address }
    }

    /// No node that is known tells so old changes: the error of the one that goes back furthest.
    private func compactionEverywhere(_ watch: ClientWatch) -> ReplyError? {
        guard !watch.compactedAt.isEmpty else { return nil }
        for node in nodes where (node.isConfigured || node.isMember) && !node.hasLeft {
            let hasRefused = watch.compactedAt.contains { $0.address == node.address }
            // One that cannot be reached, or that cannot help, is tried a few times.
            let failures = node.isUsable ? (node.hasTurnedUsAway ? watch.failures : 0) : node.failures
            guard hasRefused || failures >= 3 else { return nil }
        }
        return watch.compactedAt.map(\.error).min {
            ($0.currentRevision ?? .zero) < ($1.currentRevision ?? .zero)
        }
    }

    /// Nodes that a watch would like to ask, because those with a connection do not know enough.
    func isWantedForWatch(_ place: Int) -> Bool {
        guard nodes[place].isConfigured || nodes[place].isMember, !nodes[place].hasLeft else { return false }
        return unplaced.contains { id in
            guard let watch = watches[id], watch.hasRoom, !watch.compactedAt.isEmpty else { return false }
            let able = self.place(for: watch).map { !nodes[$0].hasTurnedUsAway } ?? false
            return !able && !watch.compactedAt.contains { $0.address == nodes[place].address }
        }
    }

    private mutating func send(_ id: WatchID, _ watch: ClientWatch, to place: Int) {
        let requestID = takeRequestID()
        let options = watch.options
        WatchRequest(
            table: options.table.rawValue, span: options.span, from: watch.next,
            // What this watch itself has not told yet it may not skip; what the client has seen elsewhere, neither.
            atLeast: watch.next == .zero ? revisionSeen : .zero, filter: options.filter,
            progressInterval: options.progressInterval, credit: options.window
        ).encode(requestID: requestID, into: &nodes[place].outbox)
        expectReply(requestID, from: place, for: .watch(id))
        watches[id]?.requestID = requestID
        watches[id]?.address = nodes[place].address
        watches[id]?.owed = 0
        watches[id]?.unreadOfBefore = watch.unread
    }

    /// It has no node any more and looks for one, at once or after a pause.
    private mutating func unplace(_ id: WatchID, after pause: Interval) {
        guard let watch = watches[id] else { return }
        // The next node begins with this revision; the caller will not read what there was of it.
        watches[id]?.unread -= watch.partial?.size ?? 0
        watches[id]?.partial = nil
        watches[id]?.requestID = 0
        watches[id]?.address = ""
        watches[id]?.retryAt = now + pause
        unplaced.append(id)
    }

    mutating func watchLost(_ id: WatchID, requestID: UInt64) {
        guard watches[id]?.requestID == requestID else { return }
        unplace(id, after: .zero)
    }

    /// When an unplaced watch is to be looked at if nothing else happens.
    var nextWatchDeadline: Instant {
        var next = Instant.never
        for id in unplaced {
            guard let watch = watches[id], watch.hasRoom else { continue }
            if watch.retryAt > now { next = min(next, watch.retryAt) }
            if !watch.hasBegun { next = min(next, watch.beginBy) }
        }
        return next
    }

    // MARK: What comes

    mutating func watchAnswered(
        _ id: WatchID, requestID: UInt64, _ body: RawSpan, isLast: Bool, from place: Int
    ) throws(DecodeError) {
        let event: WatchEvent
        do throws(DecodeError) {
            event = try WatchEvent(decoding: body)
        } catch .unknown("error code", let number) {
            event = .failed(.madeHere(.unimplemented, "error \(number) of a later release"))
        }
        guard let watch = watches[id], watch.requestID == requestID else { return }
        let size = body.byteCount + FrameFormat.overhead
        switch event {
        case .created(let revision, _):
            saw(revision)
            nodes[place].hasTurnedUsAway = false
            watches[id]?.failures = 0
            watches[id]?.compactedAt = []
            if watch.next == .zero { watches[id]?.next = revision.next }
            guard watch.next == .zero || watch.next == revision.next else {
                throw .invalid("a watch that begins elsewhere")
            }
            if !watch.hasBegun {
                watches[id]?.hasBegun = true
                effects.append(.watch(id, .begun(after: revision)))
            }
        case .changes(let revisions, let through, let goesOn):
            saw(through)
            try take(revisions, through: through, goesOn: goesOn, size: size, of: id)
        case .progress(let through):
            guard !isLast else { return unplace(id, after: .zero) }
            saw(through)
            watches[id]?.next = max(watch.next, through.next)
            watches[id]?.unread += size
            effects.append(.watch(id, .progress(through, size: size)))
        case .failed(let error): failed(id, watch, error, from: place)
        }
    }

    private mutating func take(
        _ revisions: [WatchEvent.RevisionChanges], through: LogIndex, goesOn: Bool, size: Int, of id: WatchID
    ) throws(DecodeError) {
        guard var watch = watches[id] else { return }
        guard watch.hasBegun, through >= watch.next else { throw .invalid("a watch that goes back") }
        watch.unread += size
        // The frame's size goes with the last revision that it completes; without one, with what completes it.
        var sizeLeft = size + (watch.partial?.size ?? 0)
        for (position, found) in revisions.enumerated() {
            guard found.revision >= watch.next else { throw .invalid("a watch that goes back") }
            let isLast = position == revisions.count - 1
            var changes = found.changes
            if let partial = watch.partial {
                guard partial.revision == found.revision else { throw .invalid("a revision that does not go on") }
                changes = partial.changes + changes
                watch.partial = nil
            }
            if isLast, goesOn {
                watch.partial = (found.revision, changes, sizeLeft)
                sizeLeft = 0
            } else {
                watch.next = found.revision.next
                let part = isLast ? sizeLeft : 0
                sizeLeft -= part
                effects.append(.watch(id, .changes(found.revision, changes, found.origin, size: part)))
            }
        }
        if !goesOn { watch.next = max(watch.next, through.next) }
        watches[id] = watch
        // A node does not tell again what it has said with changes: who asks for marks gets this one from here.
        if !goesOn, watch.options.progressInterval > .zero, through > revisions.last?.revision ?? .zero {
            effects.append(.watch(id, .progress(through, size: 0)))
        }
        if sizeLeft > 0, watch.partial == nil { watchRead(id, sizeLeft) }
    }

    private mutating func failed(_ id: WatchID, _ watch: ClientWatch, _ error: ReplyError, from place: Int) {
        watches[id]?.lastError = error
        switch error.code {
        case .compacted:
            watches[id]?.compactedAt.append((nodes[place].address, error))
            unplace(id, after: .zero)
        case .lagged: unplace(id, after: .zero)
        case _ where error.isWorthRetrying:
            if error.code.isOfOneNode { turnAway(from: place) }
            watches[id]?.failures += 1
            unplace(id, after: error.retryAfter ?? backoff(afterFailures: watch.failures + 1))
        default: endWatch(id, error)
        }
    }
}
