internal import Basics
internal import MetadataModel
internal import Wire

/// The watches of a node, and the stretch of the change feed that they share.
///
/// A watch is *live* when it has everything through the end of the buffer: then it is in the index, and an event
/// finds it there; one that concerns it not costs it nothing. It is *behind* when it began in the past, or when its
/// client has read too little for it to be sent more: then it is a position, and gets on from the buffer or, before
/// that, from the log, as soon as its client has room. No change is kept for one watch alone.
///
/// Nothing is fed while nobody watches.
struct WatchHub: ~Copyable {
    struct Watch {
        let slot: ConnectionSlot
        let requestID: UInt64
        let table: UInt8
        let span: KeySpan
        let filter: WatchFilter
        let progressInterval: Interval
        /// What may be under way to the client, and how much of that is free.
        let window: Int
        var credit: Int
        /// Nil: live. Else the next revision to look at.
        var next: LogIndex?
        /// The client knows that it has everything through here.
        var toldThrough: LogIndex
        var toldAt: Instant
        /// When its client has last said that it has read something.
        var readAt: Instant
        /// Since when there has been no credit.
        var stalledAt: Instant?
        var isQueued = false
        /// Of this turn.
        var frame: WatchFrame?
        /// What `frame` has cost of the credit so far.
        var spentOfFrame = 0
        /// The revision that is open in `frame`.
        var openRevision = LogIndex.zero

        func wants(_ change: borrowing ChangeView) -> Bool {
            !filter.contains(change.isPut ? .noPuts : .noDeletes)
        }
    }

    /// A watch that begins at a state which this node has not reached yet.
    struct Waiting {
        var slot: ConnectionSlot
        var requestID: UInt64
        var request: WatchRequest
        var deadline: Instant
    }

    private struct Name: Hashable {
        var slot: ConnectionSlot
        var requestID: UInt64
    }

    var watches: [Watch?] = []
    private var freePlaces: [Int] = []
    private var places: [Name: Int] = [:]
    private var countOf: [ConnectionSlot: Int] = [:]
    private(set) var count = 0
    var waiting: [Waiting] = []

    /// Only while somebody watches or waits to.
    private(set) var isActive = false
    var buffer = FeedBuffer(after: .zero)
    var index = WatchIndex()
    /// Those that are behind and may be sent something.
    var runnable: [Int] = []
    /// The stretch of the log that is being read for those that are behind.
    var reading: ClosedRange<LogIndex>?
    /// Readers go round: the next one begins at the lowest position from here on.
    var readCursor = LogIndex.zero
    /// Bytes of all watches that their clients have not said to have read.
    var bytesUnderWay = 0
    var nextSweep = Instant.never
    /// Since when no leader has been known.
    var leaderlessSince: Instant?

    /// - Parameter fed: what was handed to the apply thread; changes after it will be told.
    mutating func activate(after fed: LogIndex, now: Instant) {
        guard !isActive else { return }
        isActive = true
        buffer = FeedBuffer(after: fed)
        nextSweep = now + Self.sweepInterval
    }

    mutating func deactivateIfUnused() {
        guard isActive, count == 0, waiting.isEmpty else { return }
        isActive = false
        buffer = FeedBuffer(after: .zero)
        runnable = []
        reading = nil
        nextSweep = .never
        leaderlessSince = nil
    }

    static let sweepInterval = Limits.watchProgressMin

    func count(of slot: ConnectionSlot) -> Int { countOf[slot] ?? 0 }
    func place(_ slot: ConnectionSlot, _ requestID: UInt64) -> Int? {
        places[Name(slot: slot, requestID: requestID)]
    }

    mutating func add(_ watch: Watch) -> Int {
        let place: Int
        if let free = freePlaces.popLast() {
            place = free
            watches[place] = watch
        } else {
            place = watches.count
            watches.append(watch)
        }
        places[Name(slot: watch.slot, requestID: watch.requestID)] = place
        countOf[watch.slot, default: 0] += 1
        count += 1
        if watch.next == nil {
            index.insert(place, table: watch.table, span: watch.span)
        } else {
            enqueue(place)
        }
        return place
    }

    @discardableResult
    mutating func remove(_ place: Int) -> Watch? {
        guard let watch = watches[place] else { return nil }
        if watch.next == nil { index.remove(place, table: watch.table, span: watch.span) }
        if watch.isQueued { runnable.removeAll { $0 == place } }
        watches[place] = nil
        freePlaces.append(place)
        places[Name(slot: watch.slot, requestID: watch.requestID)] = nil
        let left = count(of: watch.slot) - 1
        countOf[watch.slot] = left > 0 ? left : nil
        count -= 1
        free(watch.window - watch.credit)
        deactivateIfUnused()
        return watch
    }

    mutating func removeWaiting(where isGone: (Waiting) -> Bool) -> [Waiting] {
        guard !waiting.isEmpty else { return [] }
        let gone = waiting.filter(isGone)
        waiting.removeAll(where: isGone)
        deactivateIfUnused()
        return gone
    }

    mutating func removeAll(of slot: ConnectionSlot) {
        _ = removeWaiting { $0.slot == slot }
        guard count(of: slot) > 0 else { return }
        for place in watches.indices where watches[place]?.slot == slot { remove(place) }
    }

    // MARK: Credit

    /// It may be sent one revision more. When all together have much under way, those that have little go on: nobody is
    /// kept waiting by the others' clients. But not without end: a revision is of any size, and they are many.
    func maySend(_ place: Int) -> Bool {
        guard let watch = watches[place], watch.credit > 0 else { return false }
        switch fullness {
        case 0: return true
        case 1: return !hasItsShare(watch)
        default: return false
        }
    }

    /// 0: there is room; 1: for those that have little under way; 2: for none.
    private var fullness: Int { min(bytesUnderWay / Limits.watchBytesUnderWayMax, 2) }

    private func hasItsShare(_ watch: Watch) -> Bool {
        watch.window - watch.credit >= Limits.watchBytesUnderWayMax / max(count, 1)
    }

    /// Others wait for what its client does not read. While there is no room, at least one watch has its share.
    func keepsOthersWaiting(_ watch: Watch, now: Instant) -> Bool {
        fullness > 0 && hasItsShare(watch) && now - max(watch.toldAt, watch.readAt) > Limits.watchStallMax
    }

    mutating func spend(_ bytes: Int, of place: Int, now: Instant) {
        guard watches[place] != nil else { return }
        watches[place]?.credit -= bytes
        bytesUnderWay += bytes
        if let watch = watches[place], watch.credit <= 0, watch.stalledAt == nil { watches[place]?.stalledAt = now }
    }

    /// The frame that is being written has this size now.
    mutating func spend(frameSize: Int, of place: Int, now: Instant) {
        guard let watch = watches[place] else { return }
        spend(frameSize - watch.spentOfFrame, of: place, now: now)
        watches[place]?.spentOfFrame = frameSize
    }

    /// The client has read `bytes` more.
    mutating func grant(_ bytes: Int, to place: Int, now: Instant) {
        guard let watch = watches[place] else { return }
        let taken = min(bytes, watch.window - watch.credit)
        watches[place]?.credit += taken
        if taken > 0 { watches[place]?.readAt = now }
        if watch.credit + taken > 0 { watches[place]?.stalledAt = nil }
        if watch.next != nil { enqueue(place) }
        free(taken)
    }

    private mutating func free(_ bytes: Int) {
        let before = fullness
        bytesUnderWay -= bytes
        guard fullness < before else { return }
        for place in watches.indices where watches[place]?.next != nil && maySend(place) { enqueue(place) }
    }

    mutating func enqueue(_ place: Int) {
        guard let watch = watches[place], !watch.isQueued else { return }
        watches[place]?.isQueued = true
        runnable.append(place)
    }

    // MARK: Live and behind

    /// Its client has to read first: it goes on later, from `next`.
    mutating func fallBehind(_ place: Int, at next: LogIndex) {
        guard let watch = watches[place], watch.next == nil else { return }
        index.remove(place, table: watch.table, span: watch.span)
        watches[place]?.next = next
    }

    mutating func everyoneFallsBehind(at next: LogIndex) {
        for place in watches.indices where watches[place] != nil && watches[place]?.next == nil {
            fallBehind(place, at: next)
            if maySend(place) { enqueue(place) }
        }
    }

    mutating func becomeLive(_ place: Int) {
        guard let watch = watches[place], watch.next != nil else { return }
        watches[place]?.next = nil
        index.insert(place, table: watch.table, span: watch.span)
    }

    /// It has everything through here.
    func through(_ watch: Watch) -> LogIndex { watch.next?.previous ?? buffer.end }

    var nextDeadline: Instant {
        min(nextSweep, waiting.map(\.deadline).min() ?? .never)
    }
}
