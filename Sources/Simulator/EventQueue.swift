internal import Basics

/// What is still to happen, earliest first; equal instants in the order in which they were added. So a run is a
/// function of its seed alone.
///
/// What moves in the heap is small: an event itself, which may hold bytes and references, stays where it was put until it
/// is taken out.
struct EventQueue<Event> {
    private struct Slot {
        var time: UInt64
        var order: UInt64
        /// Where the event is in `events`.
        var place: Int

        func isBefore(_ other: Slot) -> Bool { time < other.time || (time == other.time && order < other.order) }
    }

    private var slots: [Slot] = []
    private var events: [Event?] = []
    private var freePlaces: [Int] = []
    private var nextOrder: UInt64 = 0

    var count: Int { slots.count }

    mutating func add(_ event: consuming Event, at time: Instant) {
        guard time != .never else { return }
        let place: Int
        if let free = freePlaces.popLast() {
            place = free
            events[place] = consume event
        } else {
            place = events.count
            events.append(consume event)
        }
        rise(Slot(time: time.nanoseconds, order: nextOrder, place: place))
        nextOrder += 1
    }

    /// The next event and its time, if that is not after `end`.
    mutating func pop(notAfter end: Instant) -> (time: Instant, event: Event)? {
        guard let first = slots.first, first.time <= end.nanoseconds else { return nil }
        let last = slots.removeLast()
        if !slots.isEmpty { sink(last) }
        freePlaces.append(first.place)
        guard let event = events[first.place].take() else { fatalError("an event is in the queue twice") }
        return (Instant(nanoseconds: first.time), event)
    }

    /// Finds the place of `slot` from the end of the heap.
    private mutating func rise(_ slot: Slot) {
        var child = slots.count
        slots.append(slot)
        slots.withUnsafeMutableBufferPointer { slots in
            while child > 0 {
                let parent = (child - 1) / 2
                guard slot.isBefore(slots[parent]) else { break }
                slots[child] = slots[parent]
                child = parent
            }
            slots[child] = slot
        }
    }

    /// Finds the place of `slot` from the top, where there is none any more.
    private mutating func sink(_ slot: Slot) {
        slots.withUnsafeMutableBufferPointer { slots in
            var parent = 0
            while true {
                var least = 2 * parent + 1
                guard least < slots.count else { break }
                if least + 1 < slots.count, slots[least + 1].isBefore(slots[least]) { least += 1 }
                guard slots[least].isBefore(slot) else { break }
                slots[parent] = slots[least]
                parent = least
            }
            slots[parent] = slot
        }
    }
}
