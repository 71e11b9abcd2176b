internal import Basics

/// What is still to happen, earliest first; equal instants in the order in which they were added. So a run is a
/// function of its seed alone.
struct EventQueue<Event> {
    private struct Slot {
        var time: Instant
        var order: UInt64
        var event: Event

        func isBefore(_ other: Slot) -> Bool { (time.nanoseconds, order) < (other.time.nanoseconds, other.order) }
    }

    private var slots: [Slot] = []
    private var nextOrder: UInt64 = 0

    var count: Int { slots.count }

    mutating func add(_ event: Event, at time: Instant) {
        guard time != .never else { return }
        slots.append(Slot(time: time, order: nextOrder, event: event))
        nextOrder += 1
        var child = slots.count - 1
        while child > 0, slots[child].isBefore(slots[(child - 1) / 2]) {
            slots.swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    /// The next event and its time, if that is not after `end`.
    mutating func pop(notAfter end: Instant) -> (time: Instant, event: Event)? {
        guard let first = slots.first, first.time <= end else { return nil }
        let last = slots.removeLast()
        if !slots.isEmpty {
            slots[0] = last
            sink()
        }
        return (first.time, first.event)
    }

    private mutating func sink() {
        var parent = 0
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2]
            where child < slots.count && slots[child].isBefore(slots[least]) {
                least = child
            }
            guard least != parent else { return }
            slots.swapAt(parent, least)
            parent = least
        }
    }
}
