package import Basics

/// What a leader knows of one peer (Raft fig. 2, `nextIndex` and `matchIndex`; the states are those of the pipelining
/// in thesis §10.2.1).
struct Progress: Sendable {
    enum State: Sendable {
        /// Where the logs part is not known: one append, then wait for its answer or for a heartbeat's.
        case probe(isPaused: Bool)
        /// The logs agree up to `nextIndex`: appends are sent without waiting, up to the window.
        case replicate
        /// The peer ends before this log begins; it is offered a snapshot.
        case snapshot(SnapshotOffer)
    }

    struct SnapshotOffer: Sendable {
        /// Stays the same until it fails or the log no longer goes on after it: a newer snapshot every minute must not
        /// restart a transfer that takes two.
        var point: SnapshotPoint?
        /// When to send the offer again.
        var nextOffer: Instant
    }

    let id: NodeID
    /// Highest index known to be durable on this peer and equal to this log. Monotonic within a term, but for a peer
    /// that says itself that it has lost what it acknowledged.
    /// Invariant: `matchIndex < nextIndex`.
    private(set) var matchIndex = LogIndex.zero
    private(set) var nextIndex: LogIndex
    private(set) var state = State.probe(isPaused: false)
    /// Last index of each unanswered append, oldest first; only while replicating.
    private(set) var inflight: [LogIndex] = []
    /// When the peer last answered in this term.
    var lastHeard: Instant
    /// Highest commit index that the peer has been told and can act on.
    var commitSent = LogIndex.zero
    /// Since when the oldest unanswered append, or the probe, is waited for; moved on by each answer.
    private var waitingSince = Instant.zero

    init(id: NodeID, nextIndex: LogIndex, now: Instant) {
        self.id = id
        self.nextIndex = nextIndex
        self.lastHeard = now
    }

    func canSend(through lastIndex: LogIndex, windowMax: Int) -> Bool {
        switch state {
        case .probe(let isPaused): !isPaused
        case .replicate: nextIndex <= lastIndex && inflight.count < windowMax
        case .snapshot: false
        }
    }

    /// Everything that was sent is answered.
    var isIdle: Bool {
        if case .replicate = state { inflight.isEmpty } else { false }
    }

    mutating func noteSent(_ append: AppendEntries, now: Instant) {
        commitSent = max(commitSent, min(append.leaderCommit, append.lastIndex))
        if inflight.isEmpty { waitingSince = now }
        switch state {
        case .probe: state = .probe(isPaused: true)
        case .replicate:
            guard append.lastIndex > append.previous.index else { return }
            inflight.append(append.lastIndex)
            nextIndex = append.lastIndex.next
        case .snapshot: invariant(false, "append to \(id), which waits for a snapshot")
        }
    }

    /// The peer's log equals this one through `index` and is durable there. `base`: the entry before this log's first.
    mutating func accepted(through index: LogIndex, base: LogIndex, now: Instant) {
        waitingSince = now
        matchIndex = max(matchIndex, index)
        nextIndex = max(nextIndex, matchIndex.next)
        switch state {
        case .probe: becomeReplicate()
        case .replicate:
            var answered = 0
            while answered < inflight.count, inflight[answered] <= index { answered += 1 }
            inflight.removeFirst(answered)
        case .snapshot:
            // The log can go on from here, so it does not matter whether it was the snapshot that got the peer here.
            if matchIndex >= base { becomeReplicate() }
        }
    }

    /// The peer lacks the entry at `previous`. `shared` is where the logs may still agree. False: an answer to
    /// something that was overtaken since.
    mutating func rejected(previous: LogIndex, resumeAfter shared: LogIndex) -> Bool {
        switch state {
        case .probe:
            guard previous == nextIndex.previous else { return false }
        case .replicate:
            guard previous > matchIndex else { return false }
        case .snapshot:
            return false
        }
        guard previous > matchIndex else {
            // It has lost what it had acknowledged, or this answer is an old one: in either case it must acknowledge
            // anew, and is asked again with the heartbeats.
            becomeRegressed(resumeAfter: min(previous.previous, shared), isPaused: true)
            return true
        }
        becomeProbe(nextIndex: max(matchIndex.next, min(previous, shared.next)))
        return true
    }

    mutating func becomeProbe(nextIndex: LogIndex, isPaused: Bool = false) {
        state = .probe(isPaused: isPaused)
        waitingSince = .zero
        inflight.removeAll(keepingCapacity: true)
        self.nextIndex = nextIndex
    }

    /// What was on the connection before may be lost, and the peer's process another: a probe tells.
    mutating func linkRestored() {
        switch state {
        case .probe: becomeProbe(nextIndex: nextIndex)
        case .replicate: becomeProbe(nextIndex: matchIndex.next)
        case .snapshot: break
        }
    }

    /// The peer has lost entries that it had acknowledged: begins anew, as with a peer of which nothing is known.
    mutating func becomeRegressed(resumeAfter shared: LogIndex, isPaused: Bool = false) {
        matchIndex = .zero
        commitSent = .zero
        becomeProbe(nextIndex: shared.next, isPaused: isPaused)
    }

    mutating func becomeSnapshot(now: Instant) {
        state = .snapshot(SnapshotOffer(point: nil, nextOffer: now))
        inflight.removeAll(keepingCapacity: true)
    }

    mutating func setOffer(_ offer: SnapshotOffer) { state = .snapshot(offer) }

    /// A heartbeat came back, so the link works; what has been waited for longer than `patience` may be lost.
    /// Heartbeats of read rounds come back much more often than that, and must not each repeat an append.
    /// Ends the wait of a probe. True: appends are unanswered and none was answered of late; ask with an empty one.
    mutating func heartbeatAnswered(now: Instant, patience: Interval) -> Bool {
        guard now - waitingSince >= patience else { return false }
        switch state {
        case .probe:
            state = .probe(isPaused: false)
            return false
        case .replicate:
            waitingSince = now
            return !inflight.isEmpty
        case .snapshot: return false
        }
    }

    private mutating func becomeReplicate() {
        state = .replicate
        inflight.removeAll(keepingCapacity: true)
        nextIndex = matchIndex.next
    }
}

/// A leader's view of one peer, for `status`.
package struct PeerProgress: Hashable, Sendable {
    package enum StateName: String, Hashable, Sendable { case probe, replicate, snapshot }
    package var id: NodeID
    package var matchIndex: LogIndex
    package var nextIndex: LogIndex
    package var state: StateName
    /// Heard within the last election timeout.
    package var isActive: Bool
}

extension Progress {
    var stateName: PeerProgress.StateName {
        switch state {
        case .probe: .probe
        case .replicate: .replicate
        case .snapshot: .snapshot
        }
    }
}
