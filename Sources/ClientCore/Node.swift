internal import Basics
internal import MetadataModel
internal import Wire

/// What the client knows of one node. At most one connection each.
struct Node: Sendable {
    enum Link: Sendable {
        case idle
        case connecting(ConnectionID, since: Instant)
        /// Connected; the greeting has been sent.
        case greeting(ConnectionID, since: Instant)
        case ready(ConnectionID, HelloReply)
    }

    /// `CommandHeader` with everything that it may have.
    private static let commandHeaderSizeMax = 46

    let address: String
    /// The caller named it; the others were found through what nodes say.
    let isConfigured: Bool
    /// The cluster counts it among its members.
    var isMember = false
    /// The leader has listed all members, and none of this name.
    var hasLeft = false
    var name: String?
    var link = Link.idle
    /// Why it cannot be used; nil after a success.
    var failure: String?
    var failures = 0
    /// Not before then.
    var retryAt = Instant.zero
    /// It said that it is going away: no new requests.
    var isLeaving = false
    /// Requests without a reply, by id. Iterated in sorted order only.
    var outstanding: [UInt64: RequestTarget] = [:]
    /// Watches among them.
    var watchCount = 0
    /// Since when a reply has been due with nothing heard: the first of those outstanding was sent, or a frame came.
    var silentSince = Instant.zero
    /// A ping is among the outstanding requests.
    var hasPinged = false
    /// A keep-alive is: no other one is sent there before it is answered.
    var owesKeepAlive = false
    var membersQuestion = MembersQuestion()
    /// Frames on their way out.
    var outbox = ByteWriter()

    init(address: String, isConfigured: Bool) {
        self.address = address
        self.isConfigured = isConfigured
    }

    var connection: ConnectionID? {
        switch link {
        case .idle: nil
        case .connecting(let connection, _), .greeting(let connection, _), .ready(let connection, _): connection
        }
    }

    var hello: HelloReply? {
        if case .ready(_, let hello) = link { hello } else { nil }
    }

    var isIdle: Bool {
        if case .idle = link { true } else { false }
    }

    /// It answers reads and mutations.
    var isUsable: Bool { hello?.identity != nil && !isLeaving }

    /// It answers, but could not help the last time: it is cut off from a majority, or about to stop. Until it helps
    /// again, others are tried beside it.
    var hasTurnedUsAway = false

    /// Those that the node counts as waiting: a watch that has begun does not.
    var requestCount: Int { outstanding.count - watchCount }

    /// It takes one more call. Three places are kept free, for a ping, a keep-alive and the question for the members:
    /// under full load the session must not starve, and a node closes the connection of whoever goes beyond its limit.
    var hasRoom: Bool {
        guard let hello else { return false }
        return requestCount < max(1, Int(hello.limits.requestsMax) - 3)
    }

    /// Why a command with a body of `size` bytes cannot be sent there: the node would close the connection, and every
    /// other call on it would suffer.
    func refusal(ofBodySize size: Int) -> ReplyError? {
        guard let limits = hello?.limits else { return nil }
        let frameSize = size + FrameFormat.overhead + Self.commandHeaderSizeMax
        guard frameSize > Int(limits.frameSizeMax) else { return nil }
        return ReplyError(.tooLarge, "a mutation of \(size) bytes", limit: UInt64(limits.valueSizeMax))
    }

    var displayName: String { name ?? address }
}

/// What a reply is for.
enum RequestTarget: Sendable {
    case hello
    case ping
    case keepAlive(session: SessionID, sentAt: Instant)
    /// A status that the client asks for itself, to learn the members.
    case members
    /// A call without an order.
    case call(CallID)
    /// A watch, for as long as it is at that node.
    case watch(WatchID)
    /// The mutation of that sequence, if the session is still that one.
    case mutation(sessionNumber: UInt64, sequence: UInt64)
}
