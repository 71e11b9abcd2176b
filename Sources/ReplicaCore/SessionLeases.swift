internal import Basics
internal import MetadataModel

/// When each open session was last heard of, kept by the leader in memory only.
///
/// Keep-alives are not logged: 100,000 sessions would cost 100,000 entries a second. Expiry is: the leader decides it by
/// its own monotonic clock and writes one entry for many sessions. A new leader knows nothing of earlier keep-alives, so
/// it grants every session its whole timeout first; a session therefore ends late after a failover, never early.
struct SessionLeases: ~Copyable {
    private struct Lease {
        var timeout: Interval
        var touchedAt: Instant
        /// Its end is being logged.
        var isEnding = false

        func isOverdue(at now: Instant) -> Bool {
            now - touchedAt > (Mutant.expireEarly.isOn ? timeout / 2 : timeout + timeout / 10)
        }
    }

    private var leases: [SessionID: Lease] = [:]
    /// Found silent too long and not yet handed out, the first at the end. Looking for them and putting them in order is
    /// done once for all, however many entries they take.
    private var overdue: [SessionID] = []
    private var nextScan = Instant.never
    /// The state machine has told which sessions there are; before that nobody can be called unknown.
    private(set) var isComplete = false
    private static let scanInterval = Interval.milliseconds(250)

    var nextDeadline: Instant { nextScan }

    /// Starts over with these sessions, each with its whole timeout from now.
    mutating func grantAll(_ sessions: [OpenSession], now: Instant) {
        isComplete = true
        leases.removeAll(keepingCapacity: true)
        overdue.removeAll()
        for session in sessions { opened(session, now: Mutant.expireAtFailover.isOn ? .zero : now) }
    }

    mutating func removeAll() {
        isComplete = false
        leases.removeAll()
        overdue.removeAll()
        nextScan = .never
    }

    mutating func opened(_ session: OpenSession, now: Instant) {
        leases[session.id] = Lease(timeout: session.timeout, touchedAt: now)
        nextScan = min(nextScan, now + Self.scanInterval)
    }

    /// This much time has passed in which nobody could be heard.
    mutating func excuse(_ time: Interval) {
        for (id, lease) in leases { leases[id]?.touchedAt = lease.touchedAt + time }
    }

    mutating func ended(_ id: SessionID) { leases[id] = nil }

    /// Its end was handed out and is not applied yet. Nobody may be told that it lives, for it is about to end, nor that
    /// it has ended: the next leader may not have that entry.
    func isEnding(_ id: SessionID) -> Bool { leases[id]?.isEnding == true }

    /// True when the session is known; a keep-alive for another one is answered `sessionExpired`.
    @discardableResult
    mutating func touch(_ id: SessionID, now: Instant) -> Bool {
        guard leases[id] != nil else { return false }
        leases[id]?.touchedAt = now
        return true
    }

    /// Sessions silent for 1.1 × their timeout, in order of id, at most one expiry entry's worth. They stay known until
    /// the entry that ends them is applied, but are not returned again before another timeout has passed.
    mutating func takeExpired(now: Instant) -> [SessionID] {
        guard now >= nextScan else { return [] }
        if overdue.isEmpty {
            for (id, lease) in leases where lease.isOverdue(at: now) { overdue.append(id) }
            overdue.sort(by: >)
        }
        var expired: [SessionID] = []
        while expired.count < Limits.sessionsPerExpiryMax, let id = overdue.popLast() {
            // One that was heard of, or ended, since it was found is not.
            guard leases[id]?.isOverdue(at: now) == true else { continue }
            leases[id]?.touchedAt = now
            leases[id]?.isEnding = true
            expired.append(id)
        }
        nextScan = leases.isEmpty ? .never : overdue.isEmpty ? now + Self.scanInterval : now
        return expired
    }
}
