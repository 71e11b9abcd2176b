package import Basics
package import MetadataModel
package import Wire

/// Every decision of a client, as a value: events and time in, effects out. Whoever drives it (sockets and a clock in
/// `Client`, the simulator) only carries them out, in order.
///
/// What it decides:
/// - Where to send. Nodes name the leader in their greeting and when they refuse; without one, the nodes take turns.
/// - When to send again. A mutation keeps its session and sequence for ever, so it can be sent to any node any number
///   of times and takes effect once; the reply to a retry is the first reply.
/// - What to tell a caller whose deadline has passed. Nothing was sent, or every copy was refused before it was logged:
///   "no effect". Otherwise `unknown`, and the mutation goes on being delivered in the background, because those behind
///   it have later sequences and apply only after it.
/// - Whether the session still holds: *suspended* at 2/3 of its timeout since it was last known to be heard, *lost* at
///   all of it. The cluster waits longer than that, so a client knows of the end before anybody else can act on it.
///
/// Topics: `+Nodes` connections and the leader, `+Members` who belongs to the cluster, `+Session` ordered mutations,
/// `+Calls` everything without an order, `+Watches` changes as they come.
package struct ClientState: Sendable {
    package let settings: ClientSettings
    var random: SplitMix64
    /// For one half of a session's id: two generators with seeds of their own keep the ids of all clients apart, where
    /// one with 64 bits of seed would not.
    var idRandom: SplitMix64
    var now: Instant
    var effects: [ClientEffect] = []
    var isClosing = false
    /// Something has happened since the last turn.
    private var needsTurn = false

    // Nodes: `+Nodes`, `+Members`. Those that the caller named come first. A node keeps its place in `nodes` until one
    // before it is found to have left the cluster.
    var nodes: [Node] = []
    var nodeOfConnection: [ConnectionID: Int] = [:]
    /// Place of the node that is believed to lead.
    var leader: Int?
    /// Whose turn it is when nobody is known to lead.
    var rotation = 0
    /// Whose turn it is to be dialled. Not the same: a node that is down is dialled again and again, and that is no
    /// reason to ask the one after it again and again.
    var dialRotation = 0
    var nextConnectAt = Instant.zero
    var nextConnection: UInt64 = 1
    var nextRequest: UInt64 = 1
    var identity: ClusterIdentity?
    /// The cluster is not the one it was (restored, or another one): nothing it says may be taken for an answer.
    var foreign: ReplyError?
    var clusterTime: (time: ClusterTime, at: Instant)?
    /// Sessions in a row that were refused because the time they named was too old.
    var openingsRefused = 0
    /// When to ask again who leads, while nobody is known to.
    var nextLeaderQuestion = Instant.zero
    /// The highest revision any reply has shown; reads name it, so that no node answers from before it.
    package internal(set) var revisionSeen = LogIndex.zero

    // Calls: `+Calls`, `+Session`. Dictionaries are only looked up in, except in sorted order.
    var calls: [CallID: PendingCall] = [:]
    var waiting = Queue<CallID>()
    var addressed: [CallID] = []
    var timers = TimerQueue<CallTimer>()
    var session: Session?
    /// Its session, and when it sent the last message that is known to have kept it alive.
    package var sessionHeard: (id: SessionID, at: Instant)? {
        session.flatMap { $0.heardAt == .never ? nil : ($0.id, $0.heardAt) }
    }
    /// Mutations without a sequence yet.
    var unsent = Queue<CallID>()

    // Watches: `+Watches`. The dictionary is only looked up in, except in sorted order.
    var watches: [WatchID: ClientWatch] = [:]
    /// Those without a node.
    var unplaced: [WatchID] = []

    /// - Parameters seed, idSeed: random, and independent of each other: session ids are drawn from them.
    package init(settings: ClientSettings, seed: UInt64, idSeed: UInt64, now: Instant) {
        self.settings = settings
        self.now = now
        random = SplitMix64(seed: seed)
        idRandom = SplitMix64(seed: idSeed)
        identity = settings.identity
        for address in settings.endpoints where !nodes.contains(where: { $0.address == address }) {
            nodes.append(Node(address: address, isConfigured: true))
        }
        if !nodes.isEmpty { rotation = Int(random.next() % UInt64(nodes.count)) }
        dialRotation = rotation
    }

    /// Any number of events may be given before `takeEffects`, which draws the consequences of all of them together.
    package mutating func step(_ event: ClientEvent, now: Instant) {
        advance(to: now)
        switch event {
        case .connected(let connection): greet(connection)
        case .disconnected(let connection, let end): connectionEnded(connection, end)
        case .submitted(let id, let call, let deadline): submit(id, call, deadline: deadline)
        case .cancelled(let id): cancel(id)
        case .watchBegun(let id, let options, let deadline): beginWatch(id, options, by: deadline)
        case .watchRead(let id, let size): watchRead(id, size)
        case .watchCancelled(let id): cancelWatch(id)
        case .deadlineReached: break
        case .closing:
            isClosing = true
            endWatches(.madeHere(.shuttingDown, "the client is closed"))
        }
        needsTurn = true
    }

    /// A frame has come on `connection`; its checksum has been verified.
    /// - Returns: why it cannot be read, where it cannot: its connection is given up.
    @discardableResult
    package mutating func receive(
        _ header: FrameHeader, body: RawSpan, on connection: ConnectionID, now: Instant
    ) -> DecodeError? {
        advance(to: now)
        needsTurn = true
        return received(header, body: body, on: connection)
    }

    /// Hands the effects over exactly once, in the order in which they are to be carried out.
    package mutating func takeEffects() -> [ClientEffect] {
        if needsTurn {
            needsTurn = false
            proceed()
        }
        for place in nodes.indices where nodes[place].outbox.count > 0 {
            let bytes = nodes[place].outbox.takeBytes()
            if let connection = nodes[place].connection { effects.append(.send(connection, bytes)) }
        }
        var taken: [ClientEffect] = []
        swap(&taken, &effects)
        return taken
    }

    /// When to call `step(.deadlineReached)` if nothing else happens before; as of the last `takeEffects`.
    package var nextDeadline: Instant {
        if isClosing, calls.isEmpty { return .never }
        var next = min(calls.isEmpty ? .never : timers.nextDue, min(nextNodeDeadline, nextWatchDeadline))
        if let session {
            let hasUnsent = !unsent.isEmpty
            let due = session.nextDeadline(
                timeout: settings.sessionTimeout, patience: settings.keepAlivePatience, hasUnsent: hasUnsent, after: now)
            next = min(next, due)
        }
        return next
    }

    /// Of the session that is open; nil: there is none. As of the last `takeEffects`.
    package var sessionState: SessionState? { session?.state }
    package var sessionID: SessionID? { session?.id }

    private mutating func advance(to instant: Instant) {
        // A monotonic clock does not fall; should the caller's do, time stands still here.
        now = max(now, instant)
    }

    /// Everything that follows from the state and the time.
    private mutating func proceed() {
        fireTimers()
        if isClosing, calls.isEmpty { return closeAll() }
        watchSession()
        watchConnections()
        askForMembers()
        // Before the mutations: it may find that the node they go to has gone silent.
        sendKeepAlive()
        sendMutations()
        sendCalls()
        placeWatches()
        connectWhereNeeded()
    }

    private mutating func fireTimers() {
        // Timers of calls that have been answered are left where they are until they are most of what there is.
        if timers.count > 1_024, timers.count > 4 * calls.count {
            timers.keep { timer in
                switch timer {
                case .deadline(let id), .retry(let id): calls[id] != nil
                }
            }
        }
        while let timer = timers.popDue(by: now) {
            switch timer {
            case .deadline(let id): deadlinePassed(id)
            case .retry(let id): retryDue(id)
            }
        }
    }

    // MARK: Small helpers of all topics

    mutating func complete(_ id: CallID, _ outcome: CallOutcome) {
        guard calls.removeValue(forKey: id) != nil else { return }
        effects.append(.complete(id, outcome))
    }

    mutating func takeRequestID() -> UInt64 {
        defer { nextRequest += 1 }
        return nextRequest
    }

    /// Doubles with each failure, drawn from the upper half so that clients spread out.
    mutating func backoff(afterFailures failures: Int) -> Interval {
        let doubled = settings.backoffMin * (1 << Int64(min(max(failures - 1, 0), 16)))
        let most = min(doubled, settings.backoffMax)
        return random.interval(from: most / 2, through: most)
    }

    /// The cluster's time now, as far as this client can tell; it never runs ahead of the cluster by more than the
    /// drift of two clocks since the last greeting.
    var estimatedClusterTime: ClusterTime? {
        clusterTime.map { $0.time + (now - $0.at) }
    }
}
