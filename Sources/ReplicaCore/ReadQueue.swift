/// Reads whose barrier is behind them, on their way to the apply thread and back. They are answered in order.
///
/// How large answers are is known only once they are made. So the apply thread makes a bounded lot of them in one go, and
/// has at most `handedOverMax` batches at a time: one that it works on, and one so that it need not wait for the loop.
/// What one go has left over comes back, with the batch behind it as it is, and goes first in the next. A read that is
/// handed over later than it could be only sees a newer state.
struct ReadQueue: ~Copyable {
    /// In the order in which the apply thread gives them back.
    private var handedOver: [QueryBatch] = []
    /// Came back without all their answers; they go on when nothing is left with the apply thread.
    private var returned: [QueryBatch] = []
    private var waiting: [QueryBatch] = []
    /// All queries of this node without an answer: also those that wait for their barrier, and those of clients that have
    /// gone, which may cost their work all the same. Else whoever asks, goes and comes again would have no bound.
    private(set) var count = 0
    /// Their bytes.
    private(set) var size = 0

    private static let handedOverMax = 2
    /// Small batches become one up to this many queries, so that not every stale read takes a turn of its own.
    private static let joinedCountMax = 1_024

    mutating func admit(size querySize: Int) {
        count += 1
        size += querySize
    }

    /// These are answered without the apply thread, or nobody waits for them any more.
    mutating func forget(_ batch: QueryBatch) { forget(batch.waiting) }

    mutating func forget(_ items: ArraySlice<QueryBatch.Item>) {
        count -= items.count
        for item in items { size -= item.bytes.count }
    }

    mutating func forget(_ item: QueryBatch.Item) {
        count -= 1
        size -= item.bytes.count
    }

    mutating func add(_ batch: QueryBatch) {
        guard let last = waiting.indices.last,
            waiting[last].items.count + batch.items.count <= Self.joinedCountMax
        else { return waiting.append(batch) }
        for item in batch.waiting { waiting[last].append(item, of: batch) }
    }

    /// These have waited already, for something else.
    mutating func addFirst(_ batch: QueryBatch) {
        if !batch.waiting.isEmpty { waiting.insert(batch, at: 0) }
    }

    var mayHandOver: Bool { handedOver.count < (returned.isEmpty ? Self.handedOverMax : 1) }

    mutating func takeFirst() -> QueryBatch? {
        if !returned.isEmpty { return returned.removeFirst() }
        return waiting.isEmpty ? nil : waiting.removeFirst()
    }

    /// - Returns: what the apply thread is to be given.
    mutating func handOver(_ batch: QueryBatch) -> QueryBatch {
        var batch = batch
        batch.isAlone = handedOver.isEmpty
        handedOver.append(batch)
        return batch
    }

    /// The apply thread has answered so many queries, the first of the batch that it has had for longest.
    mutating func answered(_ answeredCount: Int) {
        guard !handedOver.isEmpty else { return }
        var batch = handedOver.removeFirst()
        forget(batch.waiting.prefix(answeredCount))
        batch.answered(answeredCount)
        guard !batch.waiting.isEmpty else { return }
        // What came back before it was behind it, if nothing else was under way with it.
        returned.insert(batch, at: batch.isAlone ? 0 : returned.count)
    }
}
