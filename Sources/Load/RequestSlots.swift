internal import Basics
internal import NIOCore

/// The requests of one connection that have no reply yet. A request's id names its place, so replies may come in any
/// order and nothing is searched.
struct RequestSlots {
    struct Entry {
        var request: Request
        /// When it was to be sent, which is when it was unless requests come at a rate.
        var due: NIODeadline
        /// Of a mutation: which of the connection's sessions, one after the other, it belongs to.
        var session: UInt64
    }

    private var entries: [(id: UInt64, entry: Entry)?]
    private var free: [Int]
    private var nextNumber: UInt64 = 1

    init(count: Int) {
        entries = Array(repeating: nil, count: count)
        free = Array(0..<count)
    }

    var isFull: Bool { free.isEmpty }
    var isEmpty: Bool { free.count == entries.count }

    /// - Returns: the id of the request; there must be room. Never 0, and never used twice.
    mutating func take(_ entry: Entry) -> UInt64 {
        guard let place = free.popLast() else { fatalError("all \(entries.count) places are taken") }
        let id = nextNumber * UInt64(entries.count) + UInt64(place)
        nextNumber += 1
        entries[place] = (id, entry)
        return id
    }

    /// The request with this id, whose place is free again; nil when none has it.
    mutating func finish(_ id: UInt64) -> Entry? {
        let place = Int(id % UInt64(entries.count))
        guard let (found, entry) = entries[place], found == id else { return nil }
        entries[place] = nil
        free.append(place)
        return entry
    }

    /// All that are left, whose places are free again.
    mutating func finishAll() -> [Entry] {
        let left = entries.compactMap { $0?.entry }
        entries = Array(repeating: nil, count: entries.count)
        free = Array(entries.indices)
        return left
    }
}
