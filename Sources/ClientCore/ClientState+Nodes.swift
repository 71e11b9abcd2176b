internal import Basics
internal import MetadataModel
internal import Wire

/// Connections: whom to call, what their greetings and silences mean, who leads.
extension ClientState {
    // MARK: Connecting

    /// Opens what is needed and not there: the node that one call names, the leader, else one node after the other.
    mutating func connectWhereNeeded() {
        for id in addressed {
            guard let address = calls[id]?.address, let place = nodePlace(address), nodes[place].isIdle,
                nodes[place].retryAt <= now
            else { continue }
            connect(place)
        }
        for place in nodes.indices where nodes[place].isIdle && nodes[place].retryAt <= now && isWantedForWatch(place) {
            connect(place)
        }
        guard needsNode else { return }
        if let leader, nodes[leader].isIdle, nodes[leader].retryAt <= now { connect(leader) }
        guard !hasHelper, nextConnectAt <= now else { return }
        for step in 0..<nodes.count {
            let place = (dialRotation + step) % nodes.count
            guard nodes[place].isIdle, nodes[place].retryAt <= now else { continue }
            dialRotation = (place + 1) % nodes.count
            connect(place)
            nextConnectAt = now + settings.connectStagger
            return
        }
    }

    /// Some call, or the session, cannot do without a node.
    private var needsNode: Bool {
        if foreign != nil || (isClosing && calls.isEmpty) { return false }
        if !waiting.isEmpty || !unsent.isEmpty || hasUnplacedWatch { return true }
        // One that pauses before it is tried again, because a node could not help: the next try is to reach another one.
        if nodes.contains(where: \.hasTurnedUsAway),
            calls.values.contains(where: { $0.requestID == 0 && $0.address == nil })
        {
            return true
        }
        guard let session else { return false }
        return session.isOpen || !session.assigned.isEmpty
    }

    /// Nobody else has to be found.
    private var hasHelper: Bool {
        nodes.contains { $0.isUsable && !$0.hasTurnedUsAway } && !keepAliveLacksNode
    }

    private mutating func connect(_ place: Int) {
        let connection = ConnectionID(nextConnection)
        nextConnection += 1
        nodes[place].link = .connecting(connection, since: now)
        nodes[place].hasTurnedUsAway = false
        nodes[place].isLeaving = false
        nodeOfConnection[connection] = place
        effects.append(.connect(connection, address: nodes[place].address))
    }

    mutating func greet(_ connection: ConnectionID) {
        guard let place = nodeOfConnection[connection], case .connecting = nodes[place].link else { return }
        nodes[place].link = .greeting(connection, since: now)
        nodes[place].outbox.removeAll()
        let requestID = takeRequestID()
        nodes[place].outstanding[requestID] = .hello
        let hello = ClientHello(
            identity: identity, clientName: settings.clientName, clientVersion: settings.clientVersion)
        hello.encode(requestID: requestID, into: &nodes[place].outbox)
    }

    mutating func greeted(_ place: Int, _ hello: HelloReply) {
        guard case .greeting(let connection, _) = nodes[place].link else { return }
        nodes[place].name = hello.nodeName
        guard ProtocolVersion.supported.contains(hello.version) else {
            return giveUp(place, "speaks another version of the protocol")
        }
        if let theirs = hello.identity {
            // The node refuses a client of another cluster itself; one that does not is not to be believed either.
            if let ours = identity, ours != theirs {
                let code: ErrorCode = ours.id == theirs.id ? .generationChanged : .clusterMismatch
                return refusedAsForeign(place, .madeHere(code), reason: "belongs to another cluster")
            }
            identity = theirs
        }
        nodes[place].link = .ready(connection, hello)
        nodes[place].membersQuestion = MembersQuestion()
        nodes[place].failures = 0
        nodes[place].failure = hello.identity == nil ? "belongs to no cluster yet" : nil
        nodes[place].retryAt = hello.identity == nil ? now + .milliseconds(250) : now
        saw(hello.revision)
        guard hello.identity != nil else { return }
        learnTime(hello.clusterTime)
        follow(hello.leader)
        // A pause was meant for the nodes that were there.
        session?.pausedUntil = now
    }

    /// The latest of what the nodes of the cluster say: one that lags behind tells an old time.
    mutating func learnTime(_ time: ClusterTime) {
        guard time != .zero, estimatedClusterTime.map({ time > $0 }) ?? true else { return }
        clusterTime = (time, now)
    }

    mutating func saw(_ revision: LogIndex) { revisionSeen = max(revisionSeen, revision) }

    /// A node refused the greeting, or should have. After a restore nothing of this cluster is the same: every call
    /// ends with that error rather than with an answer from the wrong state. One node of another cluster among the
    /// endpoints is only a node that is of no use; so is one whose directory was emptied. Which of them it is, the node
    /// says best.
    mutating func refusedAsForeign(_ place: Int, _ error: ReplyError, reason: String) {
        if error.code == .generationChanged {
            foreign = error
            for id in calls.keys.sorted() {
                let mayHaveTakenEffect = calls[id].map(mayHaveTakenEffect) ?? false
                complete(id, .failed(CallFailure(error, mayHaveTakenEffect: mayHaveTakenEffect)))
            }
            waiting.removeAll()
            unsent.removeAll()
            addressed.removeAll()
            endSession()
            endWatches(error)
            closeAll()
        } else {
            giveUp(place, reason)
            nodes[place].retryAt = now + .seconds(1)
        }
    }

    // MARK: The leader

    /// Takes a node's word for who leads; nil: it knows nobody.
    mutating func follow(_ hint: LeaderHint?) {
        guard let hint, !hint.clientAddress.isEmpty else { return }
        let former = leader
        leader = makeNode(hint.clientAddress)
        guard let leader else { return }
        nodes[leader].hasTurnedUsAway = false
        if nodes[leader].name == nil { nodes[leader].name = hint.name }
        if leader != former { askForMembersSoon(leader) }
    }

    /// Place of the node with that address; made when there is none and room for it.
    func nodePlace(_ address: String) -> Int? { nodes.firstIndex { $0.address == address } }

    mutating func makeNode(_ address: String) -> Int? {
        if let place = nodePlace(address) { return place }
        guard nodes.count < settings.nodesMax else { return nil }
        nodes.append(Node(address: address, isConfigured: false))
        return nodes.count - 1
    }

    /// Where requests go: the leader, else any node, each in its turn. While the connection to the leader is being
    /// made, others take what there is.
    var route: Int? {
        if let leader, nodes[leader].isUsable { return leader }
        for step in 0..<nodes.count {
            let place = (rotation + step) % nodes.count
            if nodes[place].isUsable { return place }
        }
        return nil
    }

    /// How long to wait after the node at `place` has said that it does not lead: not at all when the leader is there.
    /// Otherwise longer each time (nil): asking at once, again and again, would not end an election.
    func pause(afterNotLeaderFrom place: Int) -> Interval? {
        guard let leader, leader != place, nodes[leader].isUsable else { return nil }
        return .zero
    }

    /// Asks the node at `place` for the time and the leader, unless that is under way.
    mutating func ask(_ place: Int) {
        guard !nodes[place].hasPinged else { return }
        let requestID = takeRequestID()
        expectReply(requestID, from: place, for: .ping)
        nodes[place].hasPinged = true
        ClientRequest.encodeEmpty(.ping, requestID: requestID, into: &nodes[place].outbox)
    }

    /// The node at `place` could not help: let another one try. One that names the leader has helped all the same.
    mutating func turnAway(from place: Int, namingLeader: Bool = false) {
        if leader == place { leader = nil }
        nodes[place].hasTurnedUsAway = !namingLeader
        rotation = (place + 1) % nodes.count
    }

    // MARK: Ends

    mutating func connectionEnded(_ connection: ConnectionID, _ end: LinkEnd) {
        guard let place = nodeOfConnection[connection] else { return }
        lose(place, end.reason)
    }

    /// Closes the connection because of what came, or did not come, over it.
    mutating func giveUp(_ place: Int, _ reason: String) {
        guard let connection = nodes[place].connection else { return }
        effects.append(.close(connection))
        lose(place, reason)
    }

    /// What was on its way is of unknown fate: the mutations go again over the next connection, the reads too.
    private mutating func lose(_ place: Int, _ reason: String) {
        guard let connection = nodes[place].connection else { return }
        nodeOfConnection[connection] = nil
        let outstanding = nodes[place].outstanding
        let wasLeaving = nodes[place].isLeaving
        let wasUsable = nodes[place].isUsable
        nodes[place].link = .idle
        nodes[place].outstanding = [:]
        nodes[place].watchCount = 0
        nodes[place].outbox.removeAll()
        nodes[place].hasPinged = false
        nodes[place].owesKeepAlive = false
        nodes[place].isLeaving = false
        nodes[place].failure = reason
        nodes[place].failures += 1
        nodes[place].retryAt = now + backoff(afterFailures: wasLeaving ? 4 : nodes[place].failures)
        nextConnectAt = now
        // Nobody was asked there if it never came to that.
        let rotation = rotation
        turnAway(from: place)
        if !wasUsable { self.rotation = rotation }
        if session?.connection == connection {
            session?.rewind(to: 0)
            session?.connection = nil
        }
        for requestID in outstanding.keys.sorted() {
            switch outstanding[requestID] {
            case .call(let id): connectionLost(under: id, requestID: requestID)
            case .watch(let id): watchLost(id, requestID: requestID)
            case .keepAlive:
                if session?.keepAlive?.requestID == requestID {
                    session?.keepAlive = nil
                    session?.nextKeepAlive = now
                }
            case .hello, .ping, .members, .mutation, nil: break
            }
        }
        failAddressed(to: place)
    }

    mutating func closeAll() {
        for place in nodes.indices {
            guard let connection = nodes[place].connection else { continue }
            takeOutbox(place)
            effects.append(.close(connection))
            nodeOfConnection[connection] = nil
            nodes[place].link = .idle
            nodes[place].outstanding = [:]
            nodes[place].watchCount = 0
        }
        leader = nil
    }

    /// What is written must go out before the connection is closed.
    private mutating func takeOutbox(_ place: Int) {
        guard let connection = nodes[place].connection, nodes[place].outbox.count > 0 else { return }
        effects.append(.send(connection, nodes[place].outbox.takeBytes()))
    }

    // MARK: Silence

    /// Gives up connections that are not made in time, and those that owe a reply and say nothing, not even to a ping.
    mutating func watchConnections() {
        for place in nodes.indices {
            switch nodes[place].link {
            case .idle: break
            case .connecting(_, let since), .greeting(_, let since):
                if since + settings.connectTimeout <= now { giveUp(place, LinkEnd.timedOut.reason) }
            case .ready(_, let hello):
                guard !nodes[place].outstanding.isEmpty else {
                    if nodes[place].isLeaving { giveUp(place, "is shutting down") }
                    // It may have become part of a cluster since it was greeted: greet it again.
                    if hello.identity == nil, needsNode, nodes[place].retryAt <= now {
                        giveUp(place, "belongs to no cluster yet")
                    }
                    continue
                }
                if nodes[place].silentSince + settings.silenceMax <= now {
                    giveUp(place, LinkEnd.timedOut.reason)
                } else if !nodes[place].hasPinged, nodes[place].silentSince + settings.silenceMax / 2 <= now {
                    ask(place)
                }
            }
        }
    }

    /// Notes that a reply is due from now on.
    mutating func expectReply(_ requestID: UInt64, from place: Int, for target: RequestTarget) {
        if nodes[place].outstanding.isEmpty { nodes[place].silentSince = now }
        nodes[place].outstanding[requestID] = target
        if case .watch = target { nodes[place].watchCount += 1 }
    }

    var nextNodeDeadline: Instant {
        var next = Instant.never
        let isNeeded = needsNode
        let hasHelper = self.hasHelper
        for (place, node) in nodes.enumerated() {
            switch node.link {
            case .idle:
                if isNeeded, !hasHelper { next = min(next, max(node.retryAt, nextConnectAt)) }
                if isNeeded, place == leader || isWantedForWatch(place) { next = min(next, node.retryAt) }
                if addressed.contains(where: { calls[$0]?.address == node.address }) {
                    next = min(next, node.retryAt)
                }
            case .connecting(_, let since), .greeting(_, let since):
                next = min(next, since + settings.connectTimeout)
            case .ready(_, let hello):
                guard !node.outstanding.isEmpty else {
                    if hello.identity == nil, isNeeded { next = min(next, node.retryAt) }
                    continue
                }
                next = min(next, node.silentSince + (node.hasPinged ? settings.silenceMax : settings.silenceMax / 2))
            }
        }
        return next
    }

    // MARK: What a person is told

    /// "reached 1 of 3; n2 refused the connection, n3 timed out".
    var reachability: String {
        let configured = nodes.filter(\.isConfigured)
        // A member may have been named by another address than its own.
        let members = nodes.filter { node in
            node.isMember && !node.isConfigured && !configured.contains { $0.name != nil && $0.name == node.name }
        }
        let named = configured + members
        let reached = named.count { $0.hello != nil }
        let failures = named.filter { $0.failure != nil }.map { "\($0.displayName) \($0.failure ?? "")" }
        let summary = "reached \(reached) of \(named.count)"
        return failures.isEmpty ? summary : summary + "; " + failures.joined(separator: ", ")
    }
}

extension LinkEnd {
    var reason: String {
        switch self {
        case .refused: "refused the connection"
        case .timedOut: "timed out"
        case .unreachable(let why): "cannot be reached (\(why))"
        case .closed: "closed the connection"
        case .badFrame(let why): "sent what is not the protocol (\(why))"
        }
    }
}
