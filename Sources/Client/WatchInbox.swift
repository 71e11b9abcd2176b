internal import ClientCore

/// What has come for one watch and its caller has not taken. On the event loop only. Bounded by what the client lets
/// the nodes send.
struct WatchInbox {
    private(set) var news: [WatchNews] = []
    private(set) var isEnded = false
    private var waiting: CheckedContinuation<[WatchNews], Never>?

    /// Nil when the watch has ended and everything was taken.
    mutating func take(_ continuation: CheckedContinuation<[WatchNews], Never>) {
        guard news.isEmpty, !isEnded else {
            continuation.resume(returning: news)
            news = []
            return
        }
        waiting = continuation
    }

    mutating func add(_ item: WatchNews) {
        if case .ended = item { isEnded = true }
        guard let waiting else { return news.append(item) }
        self.waiting = nil
        waiting.resume(returning: [item])
    }

    /// Nobody is interested any more: whoever waits is told nothing.
    mutating func end() {
        isEnded = true
        waiting?.resume(returning: [])
        waiting = nil
    }
}
