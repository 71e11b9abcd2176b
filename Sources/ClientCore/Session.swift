internal import Basics
internal import MetadataModel

/// The session through which ordered mutations go.
///
/// Sequences are given out when a mutation is first sent, so that one that never leaves takes none and leaves no gap.
/// `assigned` holds what has a sequence and no answer at the front: contiguous, from `firstSequence`.
struct Session: Sendable {
    let id: SessionID
    /// Rises with each session of this client; a late reply to a mutation of an earlier one is told by it.
    let number: UInt64
    /// Fixed for the life of the session: a copy of an old command must not look like a new one.
    let opening: SessionOpening
    /// A mutation has been answered from the log, so the session exists.
    var isOpen = false
    var assigned = Queue<SequencedMutation>()
    var firstSequence: UInt64 = 1
    /// How many of `assigned`, from the front, are on their way at present.
    var sentCount = 0
    /// The connection they went over.
    var connection: ConnectionID?
    /// Not before then.
    var pausedUntil = Instant.zero
    /// Why the first mutation cannot get on; what waits behind it fails for the same reason.
    var obstacle: ReplyError?
    var failures = 0

    var state: SessionState?
    /// When the last message was sent that is known to have kept the session alive.
    var heardAt = Instant.never
    /// The keep-alive on its way. By its connection: the places of nodes move.
    var keepAlive: (requestID: UInt64, sentAt: Instant, connection: ConnectionID)?
    var nextKeepAlive = Instant.never

    init(id: SessionID, number: UInt64, opening: SessionOpening) {
        self.id = id
        self.number = number
        self.opening = opening
    }

    var nextSequence: UInt64 { firstSequence + UInt64(assigned.count) }
    var acknowledgedThrough: UInt64 { firstSequence - 1 }
    var hasWindow: Bool { assigned.count < Limits.sessionWindowMax }

    /// Place in `assigned`; nil when the sequence has been answered or was never given out.
    func place(of sequence: UInt64) -> Int? {
        guard sequence >= firstSequence, sequence < nextSequence else { return nil }
        return Int(sequence - firstSequence)
    }

    /// Everything from `place` on goes again.
    mutating func rewind(to place: Int) {
        for later in place..<assigned.count { assigned[later].requestID = 0 }
        sentCount = min(sentCount, place)
    }

    /// The mutation at `place`, no copy of which is alive, is not to be delivered: its sequence becomes free, or, where
    /// later ones have been given out, is filled with a mutation that does nothing.
    mutating func giveUp(_ place: Int, filler: CommandContent) {
        if place == assigned.count - 1 {
            assigned.removeLast()
            sentCount = min(sentCount, assigned.count)
        } else {
            assigned[place].content = filler
            assigned[place].call = nil
            rewind(to: place)
        }
    }

    /// Drops what is answered from the front.
    mutating func dropAnswered() {
        while !assigned.isEmpty, assigned[0].isAnswered {
            _ = assigned.popFirst()
            firstSequence += 1
            sentCount = max(0, sentCount - 1)
        }
    }

    /// At 2/3 of the timeout since it was last known to be heard.
    func suspendedAt(timeout: Interval) -> Instant { heardAt + (timeout * 2) / 3 }
    func lostAt(timeout: Interval) -> Instant { heardAt + timeout }

    /// When something is to be done for the session if nothing happens before. What is due already waits for a node,
    /// and that will be an event of its own.
    /// - Parameters:
    ///   - patience: how long a keep-alive may be without an answer.
    ///   - hasUnsent: mutations that have no sequence yet wait for the end of a pause too.
    func nextDeadline(timeout: Interval, patience: Interval, hasUnsent: Bool, after now: Instant) -> Instant {
        var next = Instant.never
        if sentCount < assigned.count || hasUnsent, pausedUntil > now { next = pausedUntil }
        guard isOpen else { return next }
        if let keepAlive {
            next = min(next, keepAlive.sentAt + patience)
        } else if nextKeepAlive > now {
            next = min(next, nextKeepAlive)
        }
        return min(next, state == .connected ? suspendedAt(timeout: timeout) : lostAt(timeout: timeout))
    }
}

/// A mutation that has a sequence.
struct SequencedMutation: Sendable {
    /// Nil when nobody waits for it any more: it is delivered all the same, or the sequences behind it could never
    /// apply.
    var call: CallID?
    var content: CommandContent
    /// The request that carries it at present; 0: none.
    var requestID: UInt64 = 0
    /// Copies that were sent and have not been refused: each may take effect, now or later.
    var copiesAlive = 0
    /// When the first of these was sent. An answer does not tell which of them it is of: one that is sent again is answered
    /// from what is kept.
    var firstSentAt = Instant.never
    var isAnswered = false
}
