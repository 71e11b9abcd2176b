package import Basics
package import MetadataModel
package import Wire

/// How a client behaves; each has a default that fits.
package struct ClientSettings: Hashable, Sendable {
    /// HOST:PORT of the client ports of some or all nodes. Further nodes are found through the ones named.
    package var endpoints: [String]
    /// The cluster that is meant; nil: whichever the first node belongs to, and from then on only that one.
    package var identity: ClusterIdentity?
    package var clientName: String
    package var clientVersion: String
    /// Silence after which the cluster ends the session.
    package var sessionTimeout = Limits.sessionTimeoutDefault
    package var connectTimeout = Interval.seconds(2)
    /// While no node has answered, the next one is tried after this long.
    package var connectStagger = Interval.milliseconds(100)
    /// A connection on which a reply is due and nothing comes is given up after this long; half way, it is asked.
    package var silenceMax = Interval.seconds(3)
    /// A keep-alive without an answer goes to another node after this. They are sent at a third of the timeout, so that
    /// leaves one more attempt before the session is at risk.
    var keepAlivePatience: Interval { min(silenceMax, sessionTimeout / 6) }
    /// Pause before trying again; doubles from the least to the most, and is drawn from its upper half.
    package var backoffMin = Interval.milliseconds(10)
    package var backoffMax = Interval.milliseconds(250)
    /// Calls without an answer; at the bound a further one is refused.
    package var callsMax = 16_384
    /// Nodes that are remembered, those found through hints included.
    package var nodesMax = 64

    package init(
        endpoints: [String], identity: ClusterIdentity? = nil, clientName: String = "", clientVersion: String = ""
    ) {
        self.endpoints = endpoints
        self.identity = identity
        self.clientName = clientName
        self.clientVersion = clientVersion
    }
}

/// Names one connection of this client, once.
package struct ConnectionID: Hashable, Comparable, Sendable {
    package var rawValue: UInt64
    package init(_ rawValue: UInt64) { self.rawValue = rawValue }
    package static func < (left: ConnectionID, right: ConnectionID) -> Bool { left.rawValue < right.rawValue }
}

/// Names one call; chosen by whoever submits it, once.
package struct CallID: Hashable, Comparable, Sendable {
    package var rawValue: UInt64
    package init(_ rawValue: UInt64) { self.rawValue = rawValue }
    package static func < (left: CallID, right: CallID) -> Bool { left.rawValue < right.rawValue }
}

/// A command without its header: the client puts session and sequence before it.
package struct CommandContent: Hashable, Sendable {
    package var kind: CommandKind
    package var body: [UInt8]
    /// What the command relies on; part of its header.
    package var guards: [Guard]
    /// What it makes goes with the session.
    package let isOwned: Bool

    package init(_ mutation: Mutation, guards: [Guard] = []) {
        var writer = ByteWriter()
        mutation.encodeBody(into: &writer)
        kind = mutation.kind
        body = writer.takeBytes()
        self.guards = guards
        isOwned = mutation.isOwned
    }
}

/// What a caller wants.
package enum Call: Sendable {
    /// In the order of submission, through the client's session.
    case mutate(CommandContent)
    /// On its own, through a session that lasts for this mutation only.
    case mutateOnce(CommandContent)
    /// `address`: only that node can answer (it holds the view); nil: any.
    case query([UInt8], level: ReadLevel, address: String?)
    case status(address: String)
    /// A snapshot from one node, and then its pieces from the same.
    case snapshot(atLeast: LogIndex, address: String)
    case snapshotPiece(SnapshotPieceRequest, address: String)
    /// Forms the cluster, through any node.
    case initialize
    /// Changes who the members are, through the leader.
    case changeMembers(MemberChange)
    /// At one node.
    case clearAlarm(String, address: String)
    /// At one node.
    case scrub(ScrubRequest, address: String)
}

/// Why a connection could not be made, or ended.
package enum LinkEnd: Hashable, Sendable {
    case refused
    case timedOut
    case unreachable(String)
    case closed
    /// What came was not the protocol.
    case badFrame(String)
}

package enum ClientEvent: Sendable {
    /// The connection is made; the core greets the node itself.
    case connected(ConnectionID)
    case disconnected(ConnectionID, LinkEnd)
    case submitted(CallID, Call, deadline: Instant)
    case cancelled(CallID)
    /// `deadline`: when it must have begun.
    case watchBegun(WatchID, WatchOptions, deadline: Instant)
    /// The caller has read so many bytes of what it was told.
    case watchRead(WatchID, Int)
    case watchCancelled(WatchID)
    /// `now` has reached `nextDeadline`.
    case deadlineReached
    /// No calls any more; connections are closed once what was sent has been answered or its deadline has passed.
    case closing
}

package enum ClientEffect: Sendable {
    case connect(ConnectionID, address: String)
    case close(ConnectionID)
    /// One or several frames.
    case send(ConnectionID, [UInt8])
    case complete(CallID, CallOutcome)
    case watch(WatchID, WatchNews)
    case session(SessionEvent)
}

package enum CallOutcome: Sendable {
    /// The body of the reply, which is no error, and the node that gave it.
    case answered(body: [UInt8], address: String)
    case failed(CallFailure)
}

/// Why a call has no answer.
package struct CallFailure: Error, Hashable, Sendable {
    /// The reply that said so; or, when the client itself gave up, one that it made.
    package var error: ReplyError
    /// False: it is certain that the call has had and will have no effect.
    package var mayHaveTakenEffect: Bool

    package init(_ error: ReplyError, mayHaveTakenEffect: Bool) {
        self.error = error
        self.mayHaveTakenEffect = mayHaveTakenEffect
    }
}

/// What a holder of a session may count on.
package enum SessionState: String, Hashable, Sendable {
    /// The cluster has heard of the session lately.
    case connected
    /// The session is at risk: stop acting on what it protects.
    case suspended
    /// The session is over. The next mutation opens another.
    case lost
}

package struct SessionEvent: Hashable, Sendable {
    package var session: SessionID
    package var state: SessionState

    package init(session: SessionID, state: SessionState) {
        self.session = session
        self.state = state
    }
}
