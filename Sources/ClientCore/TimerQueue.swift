internal import Basics

/// Instants with what is due then, earliest first; equal instants in the order in which they were added. Nothing is
/// taken out early: whoever takes an item checks whether it still means something.
struct TimerQueue<Item: Sendable>: Sendable {
    private struct Slot: Sendable {
        var due: Instant
        var order: UInt64
        var item: Item

        func isBefore(_ other: Slot) -> Bool { (due.nanoseconds, order) < (other.due.nanoseconds, other.order) }
    }

    private var slots: [Slot] = []
    private var nextOrder: UInt64 = 0

    var count: Int { slots.count }
    var nextDue: Instant { slots.first?.due ?? .never }

    mutating func add(_ item: Item, at due: Instant) {
        guard due != .never else { return }
        slots.append(Slot(due: due, order: nextOrder, item: item))
        nextOrder += 1
        var child = slots.count - 1
        while child > 0, slots[child].isBefore(slots[(child - 1) / 2]) {
            slots.swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    /// Drops the items that mean nothing any more.
    mutating func keep(where isKept: (Item) -> Bool) {
        slots.removeAll { !isKept($0.item) }
        // A sorted array is a heap.
        slots.sort { $0.isBefore($1) }
    }

    /// The earliest item, if it is due by `now`.
    mutating func popDue(by now: Instant) -> Item? {
        guard let first = slots.first, first.due <= now else { return nil }
        slots.swapAt(0, slots.count - 1)
        slots.removeLast()
        var parent = 0
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2] where child < slots.count {
                if slots[child].isBefore(slots[least]) { least = child }
            }
            if least == parent { break }
            slots.swapAt(parent, least)
            parent = least
        }
        return first.item
    }
}
