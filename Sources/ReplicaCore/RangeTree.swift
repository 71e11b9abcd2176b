/// Ranges of keys, each of a watch, and which of them a key lies in.
///
/// Sorted by where they begin; the middle one of each stretch is the root of a tree of those before and after it, and
/// knows which of its tree ends last. So a question passes by what lies before the key or after it. The order is made
/// when it is needed: who comes and goes costs little until the next question, and who goes leaves the others sorted.
struct RangeTree {
    private struct Range {
        var from: [UInt8]
        /// Nil: no end.
        var to: [UInt8]?
        var watch: Int
        /// Place of the one that ends last in the tree whose root this is.
        var endsLast = 0

        func ends(after key: [UInt8]) -> Bool { to.map { key.lexicographicallyPrecedes($0) } ?? true }
    }

    private var ranges: [Range] = []
    private var isSorted = true
    /// Every `endsLast` holds.
    private var isTree = true

    mutating func insert(_ watch: Int, from: [UInt8], to: [UInt8]?) {
        ranges.append(Range(from: from, to: to, watch: watch))
        isSorted = false
        isTree = false
    }

    mutating func remove(_ watch: Int) {
        ranges.removeAll { $0.watch == watch }
        isTree = false
    }

    /// Calls `body` with the watch of each range that `key` lies in.
    mutating func forEach(containing key: [UInt8], _ body: (Int) -> Void) {
        if !isTree { order() }
        find(key, 0, ranges.count, body)
    }

    private func find(_ key: [UInt8], _ low: Int, _ high: Int, _ body: (Int) -> Void) {
        guard low < high else { return }
        let root = (low + high) / 2
        guard ranges[ranges[root].endsLast].ends(after: key) else { return }
        find(key, low, root, body)
        // Those after the root begin no earlier than it.
        guard !key.lexicographicallyPrecedes(ranges[root].from) else { return }
        if ranges[root].ends(after: key) { body(ranges[root].watch) }
        find(key, root + 1, high, body)
    }

    private mutating func order() {
        if !isSorted {
            ranges.sort { left, right in
                left.from == right.from ? left.watch < right.watch : left.from.lexicographicallyPrecedes(right.from)
            }
        }
        isSorted = true
        isTree = true
        _ = orderTree(0, ranges.count)
    }

    /// - Returns: which of the tree ends last; nil when it is empty.
    private mutating func orderTree(_ low: Int, _ high: Int) -> Int? {
        guard low < high else { return nil }
        let root = (low + high) / 2
        var last = root
        for other in [orderTree(low, root), orderTree(root + 1, high)] {
            guard let other, let end = ranges[last].to else { continue }
            if ranges[other].ends(after: end) { last = other }
        }
        ranges[root].endsLast = last
        return last
    }
}
