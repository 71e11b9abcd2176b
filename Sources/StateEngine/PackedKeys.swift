internal import Basics

/// Some keys in order, one after the other in one piece of memory: a search among them touches few cache lines, and a key
/// costs no allocation.
struct PackedKeys: Sendable {
    private var bytes: [UInt8] = []
    /// Where each of them ends in `bytes`; the next one begins there.
    private var ends: [Int] = []

    var count: Int { ends.count }

    subscript(slot: Int) -> RawSpan {
        @_lifetime(borrow self)
        @inline(__always)
        get { bytes.rawSpan.extracting(start(of: slot)..<ends[slot]) }
    }

    /// Where `key` is, or belongs.
    @inline(__always)
    func find(_ key: RawSpan) -> (slot: Int, isThere: Bool) {
        let bytes = bytes.rawSpan
        let ends = ends.span
        var low = 0
        var high = ends.count
        while low < high {
            let middle = (low + high) / 2
            let start = middle == 0 ? 0 : ends[middle - 1]
            let order = bytes.extracting(start..<ends[middle]).order(comparedWith: key)
            if order == 0 { return (middle, true) }
            if order < 0 { low = middle + 1 } else { high = middle }
        }
        return (low, false)
    }

    mutating func insert(_ key: RawSpan, at slot: Int) {
        let start = start(of: slot)
        let size = key.byteCount
        unsafe key.withUnsafeBytes { unsafe bytes.insert(contentsOf: $0, at: start) }
        ends.insert(start + size, at: slot)
        for later in slot + 1..<ends.count { ends[later] += size }
    }

    mutating func removeSubrange(_ slots: Range<Int>) {
        guard !slots.isEmpty else { return }
        let start = start(of: slots.lowerBound)
        let size = ends[slots.upperBound - 1] - start
        bytes.removeSubrange(start..<start + size)
        ends.removeSubrange(slots)
        for later in slots.lowerBound..<ends.count { ends[later] -= size }
    }

    /// Adds keys that come after all of these.
    mutating func append(_ others: PackedKeys) {
        let start = bytes.count
        bytes += others.bytes
        for end in others.ends { ends.append(start + end) }
    }

    @inline(__always)
    private func start(of slot: Int) -> Int { slot == 0 ? 0 : ends[slot - 1] }
}
