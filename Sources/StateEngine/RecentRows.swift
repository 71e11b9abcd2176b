internal import Basics

/// What was last done to some rows, over rows kept elsewhere that do not know of it yet.
///
/// A copy shares its memory with the original until one of them is changed, so it is a cheap view of the moment, and may be
/// read on another thread.
package struct RecentRows: Sendable {
    private enum Row: Sendable {
        case value([UInt8])
        case deleted
    }

    /// The last operation on each key.
    private var rows = SortedPages<Row>()
    /// Keys below that a range delete has hidden.
    private var hidden = HiddenRanges()
    /// Bytes of all operations that were recorded, those that others took the place of included.
    package private(set) var recordedBytes = 0

    package init() {}

    package var isEmpty: Bool { rows.count == 0 && hidden.isEmpty }
    package var rowCount: Int { rows.count }

    // MARK: Changing

    package mutating func record(_ batch: borrowing WriteBatch) {
        batch.forEach { kind, first, second in record(kind, first, second) }
        recordedBytes += batch.byteCount
    }

    mutating func record(_ kind: WriteBatch.Kind, _ first: RawSpan, _ second: RawSpan) {
        switch kind {
        case .put: rows.set(first, to: .value([UInt8](second)))
        case .delete: rows.set(first, to: .deleted)
        case .deleteRange:
            rows.removeAll(from: first, to: second)
            hidden.insert(from: [UInt8](first), to: [UInt8](second))
        }
    }

    // MARK: Reading

    /// As `EngineReader.get`, of these rows over those of `below`.
    package func get(_ key: RawSpan, over below: some EngineReader) throws(EngineError) -> [UInt8]? {
        switch rows.value(for: key) {
        case .value(let value): value
        case .deleted: nil
        case nil: hidden.contains(key) ? nil : try below.get(key)
        }
    }

    /// As `EngineReader.scan`, of these rows over those of `below`.
    package func scan(
        from: [UInt8], to: [UInt8]?, reversed: Bool, over below: some EngineReader,
        _ body: (_ key: RawSpan, _ value: RawSpan) throws(EngineError) -> ScanStep
    ) throws(EngineError) {
        guard !isEmpty else { return try below.scan(from: from, to: to, reversed: reversed, body) }
        var own = Cursor(rows, from: from, to: to, reversed: reversed)
        var isStopped = false
        try below.scan(from: from, to: to, reversed: reversed) { (key, value) throws(EngineError) in
            // Own rows whose turn is before this one; then this one, unless an own one takes its place.
            while let ownKey = own.key {
                let order = ownKey.rawSpan.order(comparedWith: key) * (reversed ? -1 : 1)
                guard order <= 0 else { break }
                let step = try own.emit(to: body)
                own.advance()
                if step == .stop {
                    isStopped = true
                    return .stop
                }
                if order == 0 { return .next }
            }
            if hidden.contains(key) { return .next }
            let step = try body(key, value)
            isStopped = step == .stop
            return step
        }
        while !isStopped, own.key != nil {
            isStopped = try own.emit(to: body) == .stop
            own.advance()
        }
    }

    /// The puts and deletes that make `below` say the same by itself, each key once, in key order. A range delete becomes a
    /// delete of each row that is there.
    package func makeSame(
        _ below: some EngineReader, put: (_ key: RawSpan, _ value: RawSpan) throws(EngineError) -> Void,
        delete: (_ key: RawSpan) throws(EngineError) -> Void
    ) throws(EngineError) {
        var hiddenKeys: [[UInt8]] = []
        try hidden.forEach { (from, to) throws(EngineError) in
            try below.scan(from: from, to: to, reversed: false) { key, _ in
                hiddenKeys.append([UInt8](key))
                return .next
            }
        }
        var next = 0
        try rows.scan(from: [], to: nil, reversed: false) { (key, row) throws(EngineError) in
            while next < hiddenKeys.count {
                let hiddenKey = hiddenKeys[next]
                let order = hiddenKey.rawSpan.order(comparedWith: key)
                guard order <= 0 else { break }
                if order < 0 { try delete(hiddenKey.rawSpan) }
                next += 1
            }
            switch row {
            case .value(let value): try put(key, value.rawSpan)
            case .deleted: try delete(key)
            }
            return .next
        }
        for key in hiddenKeys[next...] { try delete(key.rawSpan) }
    }

    /// Walks the rows of a range in the direction of a scan.
    private struct Cursor {
        private let rows: SortedPages<Row>
        private let range: KeyRange
        private let isReversed: Bool
        private var position: SortedPages<Row>.Position?
        /// The row that is next; nil at the end.
        private(set) var key: [UInt8]?

        init(_ rows: SortedPages<Row>, from: [UInt8], to: [UInt8]?, reversed: Bool) {
            self.rows = rows
            range = KeyRange(from: from, to: to)
            isReversed = reversed
            position = reversed ? rows.lastPosition(before: to) : rows.firstPosition(from: from.rawSpan)
            load()
        }

        /// Hands over the row at `key`; nothing where that was deleted.
        func emit(to body: (RawSpan, RawSpan) throws(EngineError) -> ScanStep) throws(EngineError) -> ScanStep {
            guard let key, let position, case .value(let value) = rows.value(at: position) else { return .next }
            return try body(key.rawSpan, value.rawSpan)
        }

        mutating func advance() {
            guard let current = position else { return }
            position = isReversed ? rows.position(before: current) : rows.position(after: current)
            load()
        }

        private mutating func load() {
            guard let current = position, !rows.isAtEnd(current) else {
                key = nil
                return
            }
            let candidate = rows.key(at: current)
            key = range.contains(candidate.rawSpan) ? candidate : nil
        }
    }
}

/// Recent rows over others, as one.
package final class OverlaidRows<Below: EngineReader>: EngineReader {
    private let recent: RecentRows
    private let below: Below

    package init(_ recent: RecentRows, over below: Below) {
        self.recent = recent
        self.below = below
    }

    package func get(_ key: RawSpan) throws(EngineError) -> [UInt8]? { try recent.get(key, over: below) }

    package func scan(
        from: [UInt8], to: [UInt8]?, reversed: Bool,
        _ body: (_ key: RawSpan, _ value: RawSpan) throws(EngineError) -> ScanStep
    ) throws(EngineError) {
        try recent.scan(from: from, to: to, reversed: reversed, over: below, body)
    }
}

/// A set of keys made of ranges that are joined where they touch.
struct HiddenRanges: Sendable {
    /// By where a range begins, the key before which it ends. Disjoint.
    private var ends = SortedPages<[UInt8]>()

    var isEmpty: Bool { ends.count == 0 }

    func contains(_ key: RawSpan) -> Bool {
        guard ends.count > 0 else { return false }
        let after = KeyRange.successor(of: [UInt8](key))
        guard let position = ends.lastPosition(before: after) else { return false }
        let end = ends.value(at: position)
        return key.order(comparedWith: end.rawSpan) < 0
    }

    func forEach(
        _ body: (_ from: [UInt8], _ to: [UInt8]) throws(EngineError) -> Void
    ) throws(EngineError) {
        try ends.scan(from: [], to: nil, reversed: false) { (from, to) throws(EngineError) in
            try body([UInt8](from), to)
            return .next
        }
    }

    mutating func insert(from: [UInt8], to: [UInt8]) {
        guard from.rawSpan.order(comparedWith: to.rawSpan) < 0 else { return }
        var from = from
        var to = to
        if let position = ends.lastPosition(before: from) {
            let end = ends.value(at: position)
            if end.rawSpan.order(comparedWith: from.rawSpan) >= 0 {
                from = ends.key(at: position)
                to = Self.later(to, end)
            }
        }
        // Every range that begins inside the new one, or where it ends, becomes part of it.
        let after = KeyRange.successor(of: to)
        ends.scan(from: from, to: after, reversed: false) { _, end in
            to = Self.later(to, end)
            return .next
        }
        ends.removeAll(from: from.rawSpan, to: after.rawSpan)
        ends.set(from.rawSpan, to: to)
    }

    private static func later(_ left: [UInt8], _ right: [UInt8]) -> [UInt8] {
        left.rawSpan.order(comparedWith: right.rawSpan) < 0 ? right : left
    }
}
