internal import Basics
internal import MetadataModel

/// The newest stretch of the change feed, in memory, once for all watches of the node. Bounded: what is older is read
/// from the log again.
///
/// Invariant: the batches are adjacent and in order; the last one ends at `end`.
struct FeedBuffer: ~Copyable {
    private var batches: [FeedBatch] = []
    /// Batches before this position are gone; compacted now and then.
    private var head = 0
    private(set) var byteCount = 0
    /// Everything through here has been taken in, or lies before the buffer was begun.
    private(set) var end: LogIndex

    /// What a batch takes besides its bytes, roughly.
    private static let batchOverhead = 96

    init(after index: LogIndex) { end = index }

    /// The first revision that is held; `end.next` when none is.
    var start: LogIndex { head < batches.count ? batches[head].range.lowerBound : end.next }

    var count: Int { batches.count - head }

    mutating func append(_ batch: FeedBatch, sizeMax: Int) {
        invariant(batch.range.lowerBound == end.next, "changes of \(batch.range) after \(end)")
        batches.append(batch)
        byteCount += batch.bytes.count + Self.batchOverhead
        end = batch.range.upperBound
        // The newest stays whatever its size: those who are at the end take it from here.
        while byteCount > sizeMax, count > 1 {
            byteCount -= batches[head].bytes.count + Self.batchOverhead
            head += 1
        }
        if head > 256, head * 2 > batches.count {
            batches.removeFirst(head)
            head = 0
        }
    }

    /// The batch that holds `index`, which lies in `start … end`.
    func batch(holding index: LogIndex) -> FeedBatch {
        var low = head
        var high = batches.count - 1
        while low < high {
            let middle = (low + high) / 2
            if batches[middle].range.upperBound < index { low = middle + 1 } else { high = middle }
        }
        return batches[low]
    }
}
