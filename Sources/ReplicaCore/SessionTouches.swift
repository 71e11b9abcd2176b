internal import Basics
internal import MetadataModel
internal import Wire

/// Keep-alives that came to a follower, on their way to the leader: gathered for a short while, sent in one message,
/// answered when the leader has answered. A client whose keep-alive is answered here has really been heard.
struct SessionTouches: ~Copyable {
    struct Waiting {
        var slot: ConnectionSlot
        var requestID: UInt64
        var sessions: [SessionID]
    }

    private var gathering: [Waiting] = []
    private var sent: [(token: UInt64, waiting: [Waiting], deadline: Instant)] = []
    /// Sessions that all who wait have named.
    private(set) var sessionCount = 0

    /// When the first of those who wait has waited long enough.
    var nextDeadline: Instant { sent.first?.deadline ?? .never }

    var isGathering: Bool { !gathering.isEmpty }

    mutating func gather(_ waiting: Waiting) {
        gathering.append(waiting)
        sessionCount += waiting.sessions.count
    }

    private mutating func forget(_ waiting: [Waiting]) {
        for entry in waiting { sessionCount -= entry.sessions.count }
    }

    /// Sessions to ask the leader about, each once, in order; of what has gathered as much as one message may list. One
    /// client's frame lists no more than that, so somebody is always taken.
    mutating func send(token: UInt64, deadline: Instant) -> [SessionID] {
        var waiting: [Waiting] = []
        var count = 0
        for next in gathering {
            count += next.sessions.count
            guard waiting.isEmpty || count <= PeerMessage.sessionsMax else { break }
            waiting.append(next)
        }
        gathering.removeFirst(waiting.count)
        sent.append((token, waiting, deadline))
        var sessions: [SessionID] = []
        for id in waiting.flatMap(\.sessions).sorted() where sessions.last != id { sessions.append(id) }
        return sessions
    }

    /// Whoever waited for this message.
    mutating func finish(token: UInt64) -> [Waiting] {
        guard let position = sent.firstIndex(where: { $0.token == token }) else { return [] }
        let waiting = sent.remove(at: position).waiting
        forget(waiting)
        return waiting
    }

    /// Whoever has waited too long: the leader's answer is lost.
    mutating func takeExpired(now: Instant) -> [Waiting] {
        let expired = sent.filter { $0.deadline <= now }.flatMap(\.waiting)
        sent.removeAll { $0.deadline <= now }
        forget(expired)
        return expired
    }

    mutating func takeAll() -> [Waiting] {
        let all = sent.flatMap(\.waiting) + gathering
        sent = []
        gathering = []
        sessionCount = 0
        return all
    }
}
