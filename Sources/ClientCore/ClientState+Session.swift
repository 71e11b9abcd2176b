internal import Basics
internal import MetadataModel
internal import Wire

/// Ordered mutations and the session that carries them.
///
/// The session is taken out of the state while it is changed and put back afterwards: a second reference to its queue
/// would have all of it copied, for each reply.
extension ClientState {
    // MARK: Sending

    /// Sends what may go: first what is to be sent again, then new mutations as far as window and connection allow.
    mutating func sendMutations() {
        guard foreign == nil, let place = route, let connection = nodes[place].connection else { return }
        if session == nil, !unsent.isEmpty { openSession(over: place) }
        guard let pausedUntil = session?.pausedUntil, pausedUntil <= now, var current = session.take() else { return }
        if current.connection != connection {
            // Over another connection the order of what is still under way on the old one is not known: all go again.
            current.rewind(to: 0)
            current.connection = connection
        }
        while nodes[place].hasRoom {
            // What is behind one that the cluster will not take cannot apply: it would be logged for nothing, each time.
            if current.obstacle != nil, current.sentCount > 0 { break }
            if current.sentCount == current.assigned.count, !assignNext(in: &current, for: place) { break }
            send(current.sentCount, of: &current, over: place)
            current.sentCount += 1
        }
        session = current
    }

    /// Gives the next mutation that somebody still waits for a sequence.
    private mutating func assignNext(in current: inout Session, for place: Int) -> Bool {
        while current.hasWindow, let id = unsent.popFirst() {
            guard case .mutate(let content)? = calls[id]?.call else { continue }
            if let error = nodes[place].refusal(ofBodySize: content.body.count) {
                complete(id, .failed(CallFailure(error, mayHaveTakenEffect: false)))
                continue
            }
            calls[id]?.sequence = current.nextSequence
            current.assigned.append(SequencedMutation(call: id, content: content))
            return true
        }
        return false
    }

    private mutating func send(_ position: Int, of current: inout Session, over place: Int) {
        guard !current.assigned[position].isAnswered else { return }
        let sequence = current.firstSequence + UInt64(position)
        let requestID = takeRequestID()
        current.assigned[position].requestID = requestID
        if current.assigned[position].copiesAlive == 0 { current.assigned[position].firstSentAt = now }
        current.assigned[position].copiesAlive += 1
        let content = current.assigned[position].content
        let header = CommandHeader(
            kind: content.kind, session: current.id, sequence: sequence,
            acknowledgedThrough: current.acknowledgedThrough, opening: current.isOpen ? nil : current.opening,
            guards: content.guards)
        expectReply(requestID, from: place, for: .mutation(sessionNumber: current.number, sequence: sequence))
        ClientRequest.encodeMutation(requestID: requestID, mayForward: true, into: &nodes[place].outbox) { writer in
            header.encode(into: &writer)
            writer.write(content.body)
        }
    }

    /// A session exists, for this client, once it has a name; for the cluster with its first mutation.
    private mutating func openSession(over place: Int) {
        guard let opening = makeOpening(over: place) else { return }
        session = Session(id: makeSessionID(), number: nextRequest, opening: opening)
    }

    /// Nil while the cluster's time is not known; then the node is asked.
    mutating func makeOpening(over place: Int) -> SessionOpening? {
        guard let time = estimatedClusterTime else {
            ask(place)
            return nil
        }
        return SessionOpening(openedAt: time, timeout: settings.sessionTimeout)
    }

    mutating func makeSessionID() -> SessionID {
        var id = SessionID.housekeeping
        while id == .housekeeping { id = SessionID(random.next(), idRandom.next()) }
        return id
    }

    // MARK: Answers

    mutating func mutationAnswered(
        sessionNumber: UInt64, sequence: UInt64, requestID: UInt64, answer: Answer, from place: Int
    ) {
        tellWhatStays(sessionNumber: sessionNumber, sequence: sequence, answer: answer, from: place)
        // The process may have stood still: what its caller is told now he would take for what holds now.
        watchSession()
        guard session?.number == sessionNumber, let position = session?.place(of: sequence),
            let mutation = session?.assigned[position], !mutation.isAnswered
        else { return }
        guard let error = answer.error, !answer.isFinal else {
            return mutationLogged(position, answer: answer, from: place)
        }
        if error.code.provesNoEffect || error.code == .sessionExpired { session?.assigned[position].copiesAlive -= 1 }
        if error.code == .sessionExpired { return sessionExpired(at: position, error) }
        // A refusal of an older copy says nothing about the one under way now.
        guard mutation.requestID == requestID else { return }
        if let call = mutation.call { calls[call]?.lastError = error }
        switch error.code {
        case .sequenceGap: closeGap(expected: error.expectedSequence, at: position, error)
        case .notLeader:
            turnAway(from: place, namingLeader: error.leaderHint != nil)
            follow(error.leaderHint)
            pauseMutations(from: position, after: pause(afterNotLeaderFrom: place))
        default:
            if error.isWorthRetrying {
                if error.code.isOfOneNode { turnAway(from: place) }
                pauseMutations(from: position, after: error.retryAfter)
            } else if session?.assigned[position].copiesAlive ?? 0 > 0 {
                // An earlier copy may have been logged before this one was refused: only its own answer can tell.
                session?.obstacle = error
                pauseMutations(from: position, after: nil)
            } else {
                mutationRefused(position, error)
            }
        }
    }

    /// What was done stays done, whatever has become of the session since: its answer is never too late. Not so that of
    /// an owned row, a campaign or a lock, which may be another's by now.
    private mutating func tellWhatStays(sessionNumber: UInt64, sequence: UInt64, answer: Answer, from place: Int) {
        guard answer.error == nil || answer.isFinal, session?.number == sessionNumber,
            let position = session?.place(of: sequence), let call = session?.assigned[position].call,
            session?.assigned[position].content.isOwned == false
        else { return }
        session?.assigned[position].call = nil
        complete(call, outcome(of: answer, from: place))
    }

    /// The log has decided: this is the answer, now and for every copy.
    private mutating func mutationLogged(_ position: Int, answer: Answer, from place: Int) {
        nodes[place].hasTurnedUsAway = false
        openingsRefused = 0
        guard sessionIsHeard(since: position), var current = session.take() else { return }
        current.assigned[position].isAnswered = true
        current.failures = 0
        current.obstacle = nil
        let mutation = current.assigned[position]
        let sequence = current.firstSequence + UInt64(position)
        current.dropAnswered()
        session = current
        if let call = mutation.call { complete(call, outcome(of: answer, from: place)) }
        if mutation.content.kind == .endSession, answer.error == nil { abandonSession(appliedBefore: sequence) }
    }

    /// The first answer from the log: the session exists, and was heard of when the mutation was first sent, not when the
    /// copy was that brought the answer:
    ///
    /// 1. A asks for a lock and gets it; the reply is lost, and A is cut off.
    /// 2. The session expires, and the lock goes to B.
    /// 3. A is connected again and sends the same sequence. The answer is the one that was kept: "you hold it".
    ///
    /// - Returns: false when the cluster may have ended it since. Then it is lost, and what was sent of unknown outcome.
    private mutating func sessionIsHeard(since position: Int) -> Bool {
        guard session?.isOpen == false, let firstSentAt = session?.assigned[position].firstSentAt else { return true }
        session?.isOpen = true
        session?.state = .connected
        session?.heardAt = firstSentAt
        session?.nextKeepAlive = firstSentAt + settings.sessionTimeout / 3
        watchSession()
        guard let id = session?.id else { return false }
        if session?.state == .connected { effects.append(.session(SessionEvent(session: id, state: .connected))) }
        return true
    }

    /// Refused before it was logged, every copy of it: it has no effect, and its sequence is free. If no later one has
    /// been given out it is simply used again. Otherwise copies with later sequences are under way, which apply only
    /// after this one: an empty transaction takes its place.
    private mutating func mutationRefused(_ position: Int, _ error: ReplyError) {
        guard let mutation = session?.assigned[position] else { return }
        let call = mutation.call
        if call == nil, mutation.content == Self.filler {
            // Even that is refused. What is behind it can never apply in this session, so it is safe in another; not so
            // what is before it.
            return position == 0 ? abandonSession() : pauseMutations(from: position, after: nil)
        }
        session?.giveUp(position, filler: Self.filler)
        if let call { complete(call, .failed(CallFailure(error, mayHaveTakenEffect: false))) }
    }

    /// A transaction of nothing: logged, answered, and without effect.
    private static let filler: CommandContent = CommandContent(.transaction(Transaction(then: [])))

    /// The cluster misses a sequence before this one: send again from there.
    private mutating func closeGap(expected: UInt64?, at position: Int, _ error: ReplyError) {
        // It cannot miss what it has answered, nor what comes after this one; if it says so, the session is not the one
        // that it was.
        guard let expected, let missing = session?.place(of: expected), missing <= position else {
            return sessionIsLost(error)
        }
        if missing < position { session?.rewind(to: missing) } else { pauseMutations(from: missing, after: nil) }
    }

    /// Nothing of the session is sent before `interval` has passed; nil: longer each time.
    private mutating func pauseMutations(from position: Int, after interval: Interval?) {
        session?.rewind(to: position)
        if interval == nil { session?.failures += 1 }
        let pause = interval ?? backoff(afterFailures: session?.failures ?? 1)
        session?.pausedUntil = now + pause
    }

    // MARK: Keeping it alive

    mutating func sendKeepAlive() {
        moveKeepAlive()
        guard let id = session?.id, session?.isOpen == true, session?.keepAlive == nil,
            let due = session?.nextKeepAlive, due <= now, let place = keepAliveRoute,
            let connection = nodes[place].connection
        else { return }
        let requestID = takeRequestID()
        session?.keepAlive = (requestID, now, connection)
        expectReply(requestID, from: place, for: .keepAlive(session: id, sentAt: now))
        nodes[place].owesKeepAlive = true
        ClientRequest.encodeKeepAlive(
            requestID: requestID, sessions: [id], mayForward: true, into: &nodes[place].outbox)
    }

    /// One that has brought no answer for a while goes again, to another node: whoever has it may have gone silent, or
    /// wait for a leader that has, and the session cannot wait until that is certain. A node of which something else has
    /// come meanwhile is only busy: everything else stays with it, for sending all mutations again would help nobody.
    private mutating func moveKeepAlive() {
        guard let sent = session?.keepAlive, sent.sentAt + settings.keepAlivePatience <= now else { return }
        session?.keepAlive = nil
        session?.nextKeepAlive = now
        if let place = nodeOfConnection[sent.connection], nodes[place].silentSince <= sent.sentAt {
            turnAway(from: place)
        }
    }

    /// A keep-alive is due, and every node with a connection owes the answer to one.
    var keepAliveLacksNode: Bool {
        guard let session, session.isOpen, session.keepAlive == nil, session.nextKeepAlive <= now else { return false }
        return keepAliveRoute == nil
    }

    /// Where the next keep-alive goes; nil while every node that can be reached owes the answer to one.
    private var keepAliveRoute: Int? {
        if let route, !nodes[route].owesKeepAlive { return route }
        for step in 0..<nodes.count {
            let place = (rotation + step) % nodes.count
            if nodes[place].isUsable, !nodes[place].owesKeepAlive { return place }
        }
        return nil
    }

    mutating func keepAliveAnswered(
        _ requestID: UInt64, _ id: SessionID, sentAt: Instant, _ reply: KeepAliveReply
    ) {
        follow(reply.leader)
        guard session?.id == id, var current = session.take() else { return }
        // A late answer to one that has gone again elsewhere tells as much.
        if current.keepAlive?.requestID == requestID { current.keepAlive = nil }
        if reply.notOpen.contains(current.id) {
            session = current
            return sessionIsLost(ReplyError.madeHere(.sessionExpired))
        }
        current.heardAt = max(current.heardAt, sentAt)
        current.nextKeepAlive = current.heardAt + settings.sessionTimeout / 3
        if current.state == .suspended, current.suspendedAt(timeout: settings.sessionTimeout) > now {
            current.state = .connected
            effects.append(.session(SessionEvent(session: current.id, state: .connected)))
        }
        session = current
    }

    mutating func keepAliveFailed(_ requestID: UInt64, _ error: ReplyError, from place: Int) {
        guard session?.keepAlive?.requestID == requestID else { return }
        let pause = error.retryAfter ?? backoff(afterFailures: 3)
        session?.keepAlive = nil
        session?.nextKeepAlive = now + pause
        if error.isRetryable { turnAway(from: place) }
        follow(error.leaderHint)
    }

    /// Tells of the risk, and of the end, when the time for it has come.
    mutating func watchSession() {
        guard let current = session, current.isOpen else { return }
        if current.lostAt(timeout: settings.sessionTimeout) <= now {
            sessionIsLost(ReplyError.madeHere(.sessionExpired))
        } else if current.state == .connected, current.suspendedAt(timeout: settings.sessionTimeout) <= now {
            session?.state = .suspended
            effects.append(.session(SessionEvent(session: current.id, state: .suspended)))
        }
    }

    // MARK: Its end

    /// The cluster does not know the session. One that was never open had an opening that was too old: nothing of it
    /// has been or will be applied, unless copies were under way before.
    private mutating func sessionExpired(at position: Int, _ error: ReplyError) {
        guard let current = session else { return }
        if !current.isOpen, position == 0, current.assigned[0].copiesAlive == 0, openingsRefused < 3 {
            openingsRefused += 1
            clusterTime = nil
            abandonSession()
        } else {
            sessionIsLost(error)
        }
    }

    /// What was sent has an outcome that nobody can learn any more; the rest waits for the next session.
    mutating func sessionIsLost(_ error: ReplyError) {
        guard var current = session.take() else { return }
        if current.isOpen {
            effects.append(.session(SessionEvent(session: current.id, state: .lost)))
        }
        for mutation in current.assigned.takeAll() where !mutation.isAnswered {
            guard let call = mutation.call else { continue }
            let isUncertain = mutation.copiesAlive > 0
            let reason = isUncertain ? ReplyError.madeHere(.unknown, error.message) : error
            complete(call, .failed(CallFailure(reason, mayHaveTakenEffect: isUncertain)))
        }
    }

    /// Ends the session where nothing of what it still holds can ever apply, because what it must follow never will:
    /// that goes into the next one.
    /// - Parameter appliedBefore: mutations before this one have been applied in their order, though their answers have not
    ///   come; in another session they would be applied once more.
    private mutating func abandonSession(appliedBefore sequence: UInt64 = 0) {
        guard var current = session.take() else { return }
        if current.isOpen {
            effects.append(.session(SessionEvent(session: current.id, state: .lost)))
        }
        var moved: [CallID] = []
        for (offset, mutation) in current.assigned.takeAll().enumerated() where !mutation.isAnswered {
            guard let call = mutation.call else { continue }
            guard current.firstSequence + UInt64(offset) > sequence else {
                let reason = ReplyError.madeHere(.unknown, "the session was ended before the answer came")
                complete(call, .failed(CallFailure(reason, mayHaveTakenEffect: true)))
                continue
            }
            calls[call]?.sequence = nil
            moved.append(call)
        }
        unsent.prepend(contentsOf: moved)
    }

    /// The caller ended it, or the cluster is another.
    mutating func endSession() {
        guard let current = session.take(), current.isOpen else { return }
        effects.append(.session(SessionEvent(session: current.id, state: .lost)))
    }

    /// Nobody waits for the mutation any more.
    /// - Returns: whether it may take effect all the same.
    mutating func abandonMutation(sequence: UInt64) -> Bool {
        guard let position = session?.place(of: sequence), let mutation = session?.assigned[position] else {
            return false
        }
        if mutation.copiesAlive > 0 {
            session?.assigned[position].call = nil
            return true
        }
        session?.giveUp(position, filler: Self.filler)
        return false
    }
}
