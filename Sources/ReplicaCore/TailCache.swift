internal import Basics
internal import LogFormat

/// The newest slabs of the log, in memory: what is being written, sent and applied, and a bounded stretch behind it for
/// followers that are a little late. Older entries are read from disk.
///
/// Invariant: the slabs are adjacent and in order; none is empty.
struct TailCache: ~Copyable {
    private var slabs: [Slab] = []
    /// Slabs before this position have been evicted. They are let go of together, when they have come to some bytes: to
    /// move the others each time would cost more.
    private var head = 0
    private var evictedByteCount = 0
    private(set) var byteCount = 0

    var firstIndex: LogIndex? { head < slabs.count ? slabs[head].firstIndex : nil }
    var lastIndex: LogIndex? { slabs.last?.lastIndex }

    mutating func append(_ slab: Slab) {
        if let lastIndex {
            invariant(slab.firstIndex == lastIndex.next, "slab \(slab.indexes) does not follow \(lastIndex)")
        }
        slabs.append(slab)
        byteCount += slab.bytes.count
    }

    /// Forgets entries after `index`, because the log no longer has them.
    mutating func truncate(after index: LogIndex) {
        while let last = slabs.last, slabs.count > head, last.lastIndex > index {
            slabs.removeLast()
            byteCount -= last.bytes.count
            if let kept = last.slice(LogIndex.zero...index) {
                slabs.append(kept)
                byteCount += kept.bytes.count
            }
        }
        if slabs.count <= head { removeAll() }
    }

    mutating func removeAll() {
        slabs = []
        head = 0
        evictedByteCount = 0
        byteCount = 0
    }

    /// Evicts old slabs while more than `byteCountMax` are held, but none that has an entry after `needed`. A quarter more
    /// may stay in memory.
    mutating func evict(byteCountMax: Int, neededAfter needed: LogIndex) {
        while byteCount > byteCountMax, head < slabs.count, slabs[head].lastIndex <= needed {
            byteCount -= slabs[head].bytes.count
            evictedByteCount += slabs[head].bytes.count
            head += 1
        }
        if head == slabs.count {
            removeAll()
        } else if evictedByteCount > byteCountMax / 4 {
            slabs.removeFirst(head)
            head = 0
            evictedByteCount = 0
        }
    }

    /// Slabs, or parts of them, that start at `range.lowerBound` and go on without a gap, of about `byteCountMax` bytes
    /// together, at least one. nil when the first entry is not held.
    func slabs(in range: ClosedRange<LogIndex>, byteCountMax: Int) -> [Slab]? {
        guard var position = position(holding: range.lowerBound) else { return nil }
        var found: [Slab] = []
        var size = 0
        while position < slabs.count, size < byteCountMax {
            guard let part = slabs[position].slice(range) else { break }
            found.append(part)
            size += part.bytes.count
            position += 1
        }
        return found
    }

    private func position(holding index: LogIndex) -> Int? {
        guard let firstIndex, let lastIndex, index >= firstIndex, index <= lastIndex else { return nil }
        var low = head
        var high = slabs.count - 1
        while low < high {
            let middle = (low + high) / 2
            if slabs[middle].lastIndex < index { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
