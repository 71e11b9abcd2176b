internal import Basics

/// An ordered map in two levels: a list of pages, each a sorted list of some rows.
///
/// All of it is plain arrays, so a copy of the map is one reference, shares every page, and costs the writer one copy
/// of each page that it changes afterwards. That makes a pinned view cheap, and the map safe to read on another thread.
struct SortedPages<Value: Sendable>: Sendable {
    private struct Page: Sendable {
        /// Sorted, never empty, at most `pageCountMax`.
        var keys: PackedKeys
        var values: [Value]
    }

    /// Where a row is, or would be inserted. Void after the next change.
    struct Position: Equatable, Sendable {
        var page: Int
        var slot: Int
    }

    private var pages: [Page] = []
    private(set) var count = 0

    /// A larger page costs each insertion more moved slots, a smaller one each view more pages to share.
    private static var pageCountMax: Int { 128 }

    // MARK: Reading

    func value(for key: RawSpan) -> Value? {
        let (position, isThere) = find(key)
        return isThere ? pages[position.page].values[position.slot] : nil
    }

    /// The first row at or after `key`.
    func firstPosition(from key: RawSpan) -> Position { normalized(find(key).position) }

    /// The last row before `key` (nil: the last of all); nil when there is none.
    func lastPosition(before key: [UInt8]?) -> Position? {
        let end = key.map { find($0.rawSpan).position } ?? Position(page: pages.count, slot: 0)
        return position(before: end)
    }

    func isAtEnd(_ position: Position) -> Bool { position.page == pages.count }

    func position(after position: Position) -> Position {
        normalized(Position(page: position.page, slot: position.slot + 1))
    }

    func position(before position: Position) -> Position? {
        if position.slot > 0 { return Position(page: position.page, slot: position.slot - 1) }
        guard position.page > 0 else { return nil }
        return Position(page: position.page - 1, slot: pages[position.page - 1].keys.count - 1)
    }

    func key(at position: Position) -> [UInt8] {
        let keys = pages[position.page].keys
        return [UInt8](keys[position.slot])
    }

    func value(at position: Position) -> Value { pages[position.page].values[position.slot] }

    /// Calls `body` with each row of the range, as `EngineReader.scan` says.
    func scan<Failure: Error>(
        from: [UInt8], to: [UInt8]?, reversed: Bool,
        _ body: (_ key: RawSpan, _ value: Value) throws(Failure) -> ScanStep
    ) throws(Failure) {
        if reversed {
            var position = lastPosition(before: to)
            while let current = position {
                let page = pages[current.page]
                let key = page.keys[current.slot]
                guard key.order(comparedWith: from.rawSpan) >= 0 else { return }
                guard try body(key, page.values[current.slot]) == .next else { return }
                position = self.position(before: current)
            }
        } else {
            var position = firstPosition(from: from.rawSpan)
            while !isAtEnd(position) {
                let page = pages[position.page]
                let key = page.keys[position.slot]
                if let to, key.order(comparedWith: to.rawSpan) >= 0 { return }
                guard try body(key, page.values[position.slot]) == .next else { return }
                position = self.position(after: position)
            }
        }
    }

    // MARK: Changing

    /// Sets the row; returns the value it replaces.
    @discardableResult
    mutating func set(_ key: RawSpan, to value: Value) -> Value? {
        let (position, isThere) = find(key)
        if isThere {
            var other = value
            swap(&pages[position.page].values[position.slot], &other)
            return other
        }
        count += 1
        if position.page == pages.count { pages.append(Page(keys: PackedKeys(), values: [])) }
        pages[position.page].keys.insert(key, at: position.slot)
        pages[position.page].values.insert(value, at: position.slot)
        splitIfFull(position)
        return nil
    }

    /// Removes the row; returns the value that was there.
    @discardableResult
    mutating func remove(_ key: RawSpan) -> Value? {
        let (position, isThere) = find(key)
        guard isThere else { return nil }
        let old = pages[position.page].values.remove(at: position.slot)
        pages[position.page].keys.removeSubrange(position.slot..<position.slot + 1)
        count -= 1
        mergeIfSmall(position.page)
        return old
    }

    /// Removes every row from `from` up to but without `to`; `removed` sees each of them.
    mutating func removeAll(from: RawSpan, to: RawSpan, removed: (_ key: RawSpan, _ value: Value) -> Void = { _, _ in })
    {
        guard from.order(comparedWith: to) < 0 else { return }
        let start = find(from).position
        let end = find(to).position
        var page = start.page
        while page <= end.page, page < pages.count {
            let rows = pages[page]
            let first = page == start.page ? start.slot : 0
            let last = page == end.page ? end.slot : rows.keys.count
            for slot in first..<last { removed(rows.keys[slot], rows.values[slot]) }
            count -= last - first
            page += 1
        }
        if start.page == end.page, start.page < pages.count {
            removeSlots(start.slot..<end.slot, of: start.page)
            mergeIfSmall(start.page)
            return
        }
        if end.page < pages.count { removeSlots(0..<end.slot, of: end.page) }
        guard start.page < pages.count else { return }
        removeSlots(start.slot..<pages[start.page].keys.count, of: start.page)
        pages.removeSubrange(start.page + 1..<min(end.page, pages.count))
        if start.page + 1 < pages.count { mergeIfSmall(start.page + 1) }
        mergeIfSmall(start.page)
    }

    // MARK: -

    /// The row with `key`, or the place where it belongs: in the page whose keys begin at or before it.
    private func find(_ key: RawSpan) -> (position: Position, isThere: Bool) {
        // Spans lend what arrays would count references to, several times on the way to one row.
        let pages = pages.span
        guard !pages.isEmpty else { return (Position(page: 0, slot: 0), false) }
        // The last page whose first key is not after `key`, or the first page.
        var low = 0
        var high = pages.count
        while high - low > 1 {
            let middle = (low + high) / 2
            if pages[middle].keys[0].order(comparedWith: key) <= 0 { low = middle } else { high = middle }
        }
        let (slot, isThere) = pages[low].keys.find(key)
        return (Position(page: low, slot: slot), isThere)
    }

    /// The same place, named by the row that is there: the slot after a page's last is the next page's first.
    private func normalized(_ position: Position) -> Position {
        guard position.page < pages.count, position.slot == pages[position.page].keys.count else { return position }
        return Position(page: position.page + 1, slot: 0)
    }

    private mutating func removeSlots(_ slots: Range<Int>, of page: Int) {
        pages[page].keys.removeSubrange(slots)
        pages[page].values.removeSubrange(slots)
    }

    private mutating func splitIfFull(_ position: Position) {
        let page = position.page
        let size = pages[page].keys.count
        guard size > Self.pageCountMax else { return }
        // Rows that arrive in key order leave full pages behind, not half-full ones.
        let middle = position.slot == size - 1 ? size - 1 : size / 2
        var upper = Page(keys: pages[page].keys, values: Array(pages[page].values[middle...]))
        upper.keys.removeSubrange(0..<middle)
        removeSlots(middle..<size, of: page)
        pages.insert(upper, at: page + 1)
    }

    private mutating func mergeIfSmall(_ page: Int) {
        let size = pages[page].keys.count
        if size == 0 {
            pages.remove(at: page)
        } else if page + 1 < pages.count, size + pages[page + 1].keys.count <= Self.pageCountMax / 2 {
            let upper = pages.remove(at: page + 1)
            pages[page].keys.append(upper.keys)
            pages[page].values += upper.values
        }
    }
}
