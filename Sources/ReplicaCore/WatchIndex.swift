internal import Basics
internal import MetadataModel

/// Finds the watches that a key concerns. A change costs a look-up for each length that a watched prefix has, one way
/// down a tree of the watched ranges, and then only the watches that it concerns.
///
/// Dictionaries are looked up in only; what is found comes in an order that depends on the calls alone.
struct WatchIndex: ~Copyable {
    fileprivate struct Table {
        var prefixes: [[UInt8]: [Int]] = [:]
        /// Lengths of watched prefixes, ascending, with how many prefixes have it.
        var lengths: [(length: Int, count: Int)] = []
        var keys: [[UInt8]: [Int]] = [:]
        var ranges = RangeTree()
    }
    private var tables: [Table] = Array(repeating: Table(), count: FeedTable.allCases.count)
    private(set) var count = 0

    private static func place(of table: UInt8) -> Int? {
        FeedTable.allCases.firstIndex { $0.rawValue == table }
    }

    mutating func insert(_ watch: Int, table: UInt8, span: KeySpan) {
        guard let place = Self.place(of: table) else { return }
        count += 1
        switch span {
        case .prefix(let prefix):
            if tables[place].prefixes[prefix] == nil { tables[place].addLength(prefix.count) }
            tables[place].prefixes[prefix, default: []].append(watch)
        case .range(let from, let to):
            if to == from + [0] {
                tables[place].keys[from, default: []].append(watch)
            } else {
                tables[place].ranges.insert(watch, from: from, to: to)
            }
        }
    }

    mutating func remove(_ watch: Int, table: UInt8, span: KeySpan) {
        guard let place = Self.place(of: table) else { return }
        count -= 1
        switch span {
        case .prefix(let prefix):
            tables[place].prefixes[prefix]?.removeAll { $0 == watch }
            if tables[place].prefixes[prefix]?.isEmpty == true {
                tables[place].prefixes[prefix] = nil
                tables[place].removeLength(prefix.count)
            }
        case .range(let from, let to):
            if to == from + [0] {
                tables[place].keys[from]?.removeAll { $0 == watch }
                if tables[place].keys[from]?.isEmpty == true { tables[place].keys[from] = nil }
            } else {
                tables[place].ranges.remove(watch)
            }
        }
    }

    /// Calls `body` with each watch that the key concerns.
    mutating func forEach(table: UInt8, key: RawSpan, _ body: (Int) -> Void) {
        guard count > 0, let place = Self.place(of: table) else { return }
        let key = [UInt8](key)
        for (length, _) in tables[place].lengths {
            guard length <= key.count else { break }
            for watch in tables[place].prefixes[Array(key[..<length])] ?? [] { body(watch) }
        }
        for watch in tables[place].keys[key] ?? [] { body(watch) }
        tables[place].ranges.forEach(containing: key, body)
    }
}

extension WatchIndex.Table {
    fileprivate mutating func addLength(_ length: Int) {
        let position = lengths.firstIndex { $0.length >= length } ?? lengths.count
        if position < lengths.count, lengths[position].length == length {
            lengths[position].count += 1
        } else {
            lengths.insert((length, 1), at: position)
        }
    }

    fileprivate mutating func removeLength(_ length: Int) {
        guard let position = lengths.firstIndex(where: { $0.length == length }) else { return }
        lengths[position].count -= 1
        if lengths[position].count == 0 { lengths.remove(at: position) }
    }
}

extension KeySpan {
    /// Whether the key is one of those that are meant.
    func contains(_ key: RawSpan) -> Bool {
        switch self {
        case .prefix(let prefix):
            guard key.byteCount >= prefix.count else { return false }
            return key.extracting(0..<prefix.count).hasSameBytes(as: prefix.rawSpan)
        case .range(let from, let to):
            guard !key.precedes(from) else { return false }
            return to.map { key.precedes($0) } ?? true
        }
    }
}

extension RawSpan {
    /// Sorts before `other`, as unsigned bytes, a prefix first.
    fileprivate func precedes(_ other: [UInt8]) -> Bool {
        for offset in 0..<Swift.min(byteCount, other.count) {
            // The bound is checked by the load itself; any bit pattern is a byte.
            let byte = unsafe unsafeLoad(fromByteOffset: offset, as: UInt8.self)
            if byte != other[offset] { return byte < other[offset] }
        }
        return byteCount < other.count
    }
}
