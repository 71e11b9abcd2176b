package import Basics

/// Who waits for the reply to a logged command.
package struct Requester: Hashable, Sendable {
    package enum Origin: Hashable, Sendable {
        case client(ConnectionSlot)
        /// A follower that forwarded its client's request.
        case peer(NodeID)
    }
    package var origin: Origin
    /// The client's request id, or the follower's token.
    package var requestID: UInt64

    package init(origin: Origin, requestID: UInt64) {
        self.origin = origin
        self.requestID = requestID
    }
}

/// Requests whose entries are in the log and not yet applied: a ring indexed by log index, because a dictionary would
/// cost more than everything else that happens to a request here.
///
/// Invariant: a slot is answered exactly once: with the outcome of its entry when that entry is applied in the term it
/// was proposed in, else with `unknown`.
struct PendingRequests: ~Copyable {
    private struct Slot {
        var index: LogIndex
        var term: Term
        var requester: Requester
    }

    private var slots: [Slot?]
    private(set) var count = 0

    init() { slots = [Slot?](repeating: nil, count: 1_024) }

    mutating func insert(_ requester: Requester, at id: EntryID) {
        while slots[position(of: id.index)] != nil { grow() }
        slots[position(of: id.index)] = Slot(index: id.index, term: id.term, requester: requester)
        count += 1
    }

    /// Removes and returns whoever waits at `index`, with the term it was proposed in.
    mutating func take(at index: LogIndex) -> (requester: Requester, term: Term)? {
        let position = position(of: index)
        guard let slot = slots[position], slot.index == index else { return nil }
        slots[position] = nil
        count -= 1
        return (slot.requester, slot.term)
    }

    mutating func takeAll() -> [Requester] { take(through: LogIndex(.max)) }

    /// Removes everybody who waits at or below `index`, in log order.
    mutating func take(through index: LogIndex) -> [Requester] {
        guard count > 0 else { return [] }
        let waiting = slots.compactMap { $0 }.filter { $0.index <= index }.sorted { $0.index < $1.index }
        for slot in waiting { slots[position(of: slot.index)] = nil }
        count -= waiting.count
        return waiting.map(\.requester)
    }

    private func position(of index: LogIndex) -> Int {
        Int(truncatingIfNeeded: index.rawValue & UInt64(slots.count - 1))
    }

    private mutating func grow() {
        let old = slots
        slots = [Slot?](repeating: nil, count: old.count * 2)
        for slot in old {
            guard let slot else { continue }
            invariant(slots[position(of: slot.index)] == nil, "two requests wait at one ring position")
            slots[position(of: slot.index)] = slot
        }
    }
}
