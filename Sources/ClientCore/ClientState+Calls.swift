internal import Basics
internal import MetadataModel
internal import Wire

/// Calls of all kinds from submission to answer, and those without an order among them: reads, mutations with a session
/// of their own, control.
struct PendingCall: Sendable {
    var call: Call
    var deadline: Instant
    /// Of an ordered mutation that has been sent.
    var sequence: UInt64?
    /// Of a mutation with a session of its own; drawn when it is first sent and kept for every retry.
    var ownSession: (id: SessionID, opening: SessionOpening)?
    /// The request that carries it at present; 0: none.
    var requestID: UInt64 = 0
    /// Copies that were sent and have not been refused.
    var copiesAlive = 0
    var failures = 0
    /// The last reason for another try.
    var lastError: ReplyError?

    /// The one node that can answer.
    var address: String? {
        switch call {
        case .query(_, _, let address): address
        case .status(let address), .snapshot(_, let address), .snapshotPiece(_, let address),
            .clearAlarm(_, let address), .scrub(_, let address):
            address
        case .mutate, .mutateOnce, .initialize, .changeMembers: nil
        }
    }
}

enum CallTimer: Sendable {
    case deadline(CallID)
    case retry(CallID)
}

/// The body of a reply, read as far as all replies are alike.
struct Answer: Sendable {
    var revision: LogIndex
    var error: ReplyError?
    var body: [UInt8]

    /// Of a mutation: the log has decided, once and for every copy. A refusal before that carries revision 0.
    var isFinal: Bool {
        guard let error else { return true }
        if error.code == .resultNotKept || error.code == .sequenceTooOld { return true }
        return revision != .zero && error.code.usesSequence
    }
}

extension ClientState {
    // MARK: Submission and end

    mutating func submit(_ id: CallID, _ call: Call, deadline: Instant) {
        if let foreign { return refuse(id, foreign) }
        if isClosing { return refuse(id, .madeHere(.shuttingDown, "the client is closed")) }
        if calls.count >= settings.callsMax {
            return refuse(id, ReplyError(.overloaded, "too many calls at once", limit: UInt64(settings.callsMax)))
        }
        calls[id] = PendingCall(call: call, deadline: deadline)
        if case .mutate(let content) = call, content.kind == .endSession, session == nil, unsent.isEmpty {
            // There is none to end; opening one for that would be odd.
            var writer = ByteWriter()
            Reply.writeSuccess(revision: revisionSeen, into: &writer)
            return complete(id, .answered(body: writer.takeBytes(), address: ""))
        }
        timers.add(.deadline(id), at: deadline)
        switch call {
        case .mutate: unsent.append(id)
        case .mutateOnce, .initialize, .changeMembers: waiting.append(id)
        case .query(_, _, let address): address == nil ? waiting.append(id) : awaitNode(id)
        case .status, .snapshot, .snapshotPiece, .clearAlarm, .scrub: awaitNode(id)
        }
    }

    private mutating func refuse(_ id: CallID, _ error: ReplyError) {
        effects.append(.complete(id, .failed(CallFailure(error, mayHaveTakenEffect: false))))
    }

    private mutating func awaitNode(_ id: CallID) {
        guard let address = calls[id]?.address, makeNode(address) != nil else {
            return complete(
                id, .failed(CallFailure(.madeHere(.overloaded, "too many nodes"), mayHaveTakenEffect: false)))
        }
        addressed.append(id)
    }

    func mayHaveTakenEffect(_ call: PendingCall) -> Bool {
        switch call.call {
        case .query, .status, .snapshot, .snapshotPiece, .scrub: return false
        case .mutateOnce, .initialize, .changeMembers, .clearAlarm: return call.copiesAlive > 0
        case .mutate:
            guard let session, let sequence = call.sequence, let place = session.place(of: sequence) else {
                return false
            }
            return session.assigned[place].copiesAlive > 0
        }
    }

    mutating func deadlinePassed(_ id: CallID) {
        guard let call = calls[id] else { return }
        end(id, call, code: .timeout, why: "no answer in time")
    }

    mutating func cancel(_ id: CallID) {
        guard let call = calls[id] else { return }
        end(id, call, code: .timeout, why: "cancelled")
    }

    private mutating func end(_ id: CallID, _ call: PendingCall, code: ErrorCode, why: String) {
        var mayTakeEffect = mayHaveTakenEffect(call)
        if let sequence = call.sequence { mayTakeEffect = abandonMutation(sequence: sequence) }
        let lastError = call.lastError ?? (call.isMutation ? session?.obstacle : nil)
        var error = lastError ?? .madeHere(code)
        let hasNode = nodes.contains { $0.isUsable }
        error.code = mayTakeEffect ? .unknown : (hasNode ? lastError?.code ?? code : .unavailable)
        error.message = summary(why: why, lastError: lastError)
        complete(id, .failed(CallFailure(error, mayHaveTakenEffect: mayTakeEffect)))
        addressed.removeAll { $0 == id }
    }

    /// "no quorum: reached 1 of 3; n2 refused the connection, n3 timed out".
    private func summary(why: String, lastError: ReplyError?) -> String {
        guard nodes.contains(where: \.isUsable) else {
            let noCluster = nodes.contains { $0.hello != nil && $0.hello?.identity == nil }
            return (noCluster ? "no cluster: " : "no quorum: ") + reachability
        }
        guard let lastError else { return "\(why): \(reachability)" }
        return lastError.code.saysNoQuorum ? "no quorum: \(reachability)" : lastError.message
    }

    // MARK: Sending

    mutating func sendCalls() {
        for id in addressed {
            guard let call = calls[id] else {
                addressed.removeAll { $0 == id }
                continue
            }
            guard call.requestID == 0, let address = call.address, let place = nodePlace(address),
                nodes[place].hello != nil, nodes[place].hasRoom
            else { continue }
            send(id, over: place)
        }
        if leader == nil, nextLeaderQuestion <= now, !waiting.isEmpty || session?.isOpen == true, let place = route {
            nextLeaderQuestion = now + .seconds(1)
            ask(place)
        }
        var held: [CallID] = []
        while let id = waiting.popFirst() {
            guard let call = calls[id] else { continue }
            if case .initialize = call.call {
                // Any node that answers will do, one that belongs to no cluster above all.
                if let place = nodes.firstIndex(where: { $0.hello != nil && $0.hasRoom }) {
                    send(id, over: place)
                } else {
                    held.append(id)
                }
                continue
            }
            if call.isMemberChange, let leader, !nodes[leader].isUsable {
                // Others do not pass it on: it waits for the connection to the leader.
                held.append(id)
                continue
            }
            guard let place = route, nodes[place].hasRoom else {
                held.append(id)
                break
            }
            if !send(id, over: place) { held.append(id) }
        }
        if !held.isEmpty { waiting.prepend(contentsOf: held) }
    }

    /// - Returns: false when it has to wait for something.
    @discardableResult
    private mutating func send(_ id: CallID, over place: Int) -> Bool {
        guard var call = calls[id] else { return true }
        let requestID = takeRequestID()
        switch call.call {
        case .mutate: return true
        case .mutateOnce(let content):
            if let error = nodes[place].refusal(ofBodySize: content.body.count) {
                complete(id, .failed(CallFailure(error, mayHaveTakenEffect: call.copiesAlive > 0)))
                return true
            }
            if call.ownSession == nil, let opening = makeOpening(over: place) {
                call.ownSession = (makeSessionID(), opening)
            }
            guard let own = call.ownSession else { return false }
            let header = CommandHeader(
                kind: content.kind, session: own.id, sequence: 1, opening: own.opening, isOneShot: true,
                guards: content.guards)
            ClientRequest.encodeMutation(
                requestID: requestID, mayForward: true, into: &nodes[place].outbox
            ) { writer in
                header.encode(into: &writer)
                writer.write(content.body)
            }
        case .query(let query, let level, _):
            let header = ReadHeader(level: level, atLeast: revisionSeen)
            ClientRequest.encodeQuery(
                requestID: requestID, header: header, query: query, into: &nodes[place].outbox)
        case .status: ClientRequest.encodeEmpty(.status, requestID: requestID, into: &nodes[place].outbox)
        case .snapshot(let atLeast, _):
            ClientRequest.encodeSnapshot(requestID: requestID, atLeast: atLeast, into: &nodes[place].outbox)
        case .snapshotPiece(let request, _): request.encode(requestID: requestID, into: &nodes[place].outbox)
        case .initialize: ClientRequest.encodeEmpty(.initialize, requestID: requestID, into: &nodes[place].outbox)
        case .changeMembers(let change): change.encode(requestID: requestID, into: &nodes[place].outbox)
        case .clearAlarm(let name, _): AlarmClearing.encode(name, requestID: requestID, into: &nodes[place].outbox)
        case .scrub(let request, _): request.encode(requestID: requestID, into: &nodes[place].outbox)
        }
        call.requestID = requestID
        call.copiesAlive += 1
        calls[id] = call
        expectReply(requestID, from: place, for: .call(id))
        return true
    }

    /// Tries again, at once or after a pause.
    private mutating func retry(_ id: CallID, after interval: Interval?) {
        guard var call = calls[id] else { return }
        call.requestID = 0
        call.failures += 1
        let pause = interval ?? backoff(afterFailures: call.failures)
        calls[id] = call
        if pause > .zero { timers.add(.retry(id), at: now + pause) } else { retryDue(id) }
    }

    mutating func retryDue(_ id: CallID) {
        guard let call = calls[id], call.requestID == 0, call.address == nil else { return }
        waiting.append(id)
    }

    // MARK: Answers

    mutating func received(_ header: FrameHeader, body: RawSpan, on connection: ConnectionID) -> DecodeError? {
        guard let place = nodeOfConnection[connection] else { return nil }
        nodes[place].silentSince = now
        do throws(DecodeError) {
            if !header.isReply {
                guard header.kind == ClientFrameKind.goingAway.rawValue else { return nil }
                nodes[place].isLeaving = true
                turnAway(from: place)
                follow(try GoingAway(decoding: body).leader)
                return nil
            }
            // A reply to what nobody waits for any more.
            guard let target = nodes[place].outstanding[header.requestID] else { return nil }
            let isLast = !header.flags.contains(.moreToCome)
            if isLast { nodes[place].outstanding[header.requestID] = nil }
            if case .watch(let id) = target {
                if isLast { nodes[place].watchCount -= 1 }
                try watchAnswered(id, requestID: header.requestID, body, isLast: isLast, from: place)
                return nil
            }
            try answered(target, requestID: header.requestID, header.kind, body, from: place)
            return nil
        } catch {
            giveUp(place, LinkEnd.badFrame(error.description).reason)
            return error
        }
    }

    private mutating func answered(
        _ target: RequestTarget, requestID: UInt64, _ kind: UInt16, _ body: RawSpan, from place: Int
    ) throws(DecodeError) {
        switch target {
        case .hello, .ping, .keepAlive:
            if case .keepAlive = target { nodes[place].owesKeepAlive = false }
            switch try ControlReply.decode(kind: kind, body: body) {
            case .hello(let hello): greeted(place, hello)
            case .pong(let pong):
                nodes[place].hasPinged = false
                // A node without a cluster has a clock of its own.
                if nodes[place].hello?.identity != nil { learnTime(pong.clusterTime) }
                saw(pong.revision)
                follow(pong.leader)
            case .keepAlive(let reply):
                guard case .keepAlive(let id, let sentAt) = target else { throw .invalid("reply to another request") }
                keepAliveAnswered(requestID, id, sentAt: sentAt, reply)
            case .failed(let error, _):
                switch target {
                case .hello: refusedAsForeign(place, error, reason: "refused: \(error.message)")
                case .keepAlive: keepAliveFailed(requestID, error, from: place)
                case .ping: nodes[place].hasPinged = false
                case .members, .call, .watch, .mutation: break
                }
            case .status, .initialized, .snapshot, .snapshotPiece, .membersChanged, .alarmCleared, .scrub:
                throw .invalid("reply to another request")
            }
        case .members:
            let reply: ControlReply
            do throws(DecodeError) {
                reply = try ControlReply.decode(kind: kind, body: body)
            } catch .unknown {
                // A role or state of a later release. The members are not worth the connection.
                return membersRefused(by: place)
            }
            switch reply {
            case .status(let status): membersAnswered(status, from: place)
            case .failed: membersRefused(by: place)
            case .hello, .pong, .keepAlive, .initialized, .snapshot, .snapshotPiece, .membersChanged, .alarmCleared, .scrub:
                throw .invalid("reply to another request")
            }
        case .mutation(let sessionNumber, let sequence):
            let answer = try readAnswer(body)
            mutationAnswered(
                sessionNumber: sessionNumber, sequence: sequence, requestID: requestID, answer: answer, from: place)
        case .watch: throw .invalid("reply to another request")
        case .call(let id):
            callAnswered(id, requestID: requestID, answer: try readAnswer(body), from: place)
        }
    }

    private mutating func readAnswer(_ body: RawSpan) throws(DecodeError) -> Answer {
        var reader = ByteReader(body)
        let head: ReplyHead
        do throws(DecodeError) {
            head = try ReplyHead(decoding: &reader)
        } catch .unknown("error code", let number) {
            // Of a later release. With revision 0 such a one, too, says that nothing was logged.
            var fields = ByteReader(body)
            _ = try fields.readUInt16()
            let revision = LogIndex(try fields.readUInt64())
            head = .failure(.madeHere(.unimplemented, "error \(number) of a later release"), revision: revision)
        }
        switch head {
        case .success(let revision):
            saw(revision)
            return Answer(revision: revision, error: nil, body: [UInt8](body))
        case .failure(let error, let revision):
            saw(revision)
            return Answer(revision: revision, error: error, body: [])
        }
    }

    func outcome(of answer: Answer, from place: Int) -> CallOutcome {
        guard let error = answer.error else { return .answered(body: answer.body, address: nodes[place].address) }
        return .failed(
            CallFailure(error, mayHaveTakenEffect: error.code == .resultNotKept || error.code == .sequenceTooOld))
    }

    private mutating func callAnswered(_ id: CallID, requestID: UInt64, answer: Answer, from place: Int) {
        guard let call = calls[id] else { return }
        guard let error = answer.error, !(call.isMutation && answer.isFinal) else {
            nodes[place].hasTurnedUsAway = false
            complete(id, outcome(of: answer, from: place))
            addressed.removeAll { $0 == id }
            return
        }
        // A node that cannot change the members now has not begun to.
        if error.code.provesNoEffect || (call.isMemberChange && error.code == .unavailable) {
            calls[id]?.copiesAlive -= 1
        }
        calls[id]?.lastError = error
        guard call.requestID == requestID else { return }
        let isUncertain = (calls[id]?.copiesAlive ?? 0) > 0 && call.isMutation
        if error.code == .notLeader, call.address == nil {
            turnAway(from: place, namingLeader: error.leaderHint != nil)
            follow(error.leaderHint)
            retry(id, after: pause(afterNotLeaderFrom: place))
        } else if error.isWorthRetrying, call.address == nil, !call.isInitialize,
            !(call.isMemberChange && error.code == .unknown)
        {
            if error.code.isOfOneNode { turnAway(from: place) }
            retry(id, after: error.retryAfter)
        } else if error.code == .sessionExpired, call.copiesAlive == 1, call.failures < 3 {
            // The opening was too old when it was logged; the only copy had no effect.
            calls[id]?.ownSession = nil
            calls[id]?.copiesAlive = 0
            clusterTime = nil
            retry(id, after: .zero)
        } else if isUncertain, error.code != .sessionExpired {
            retry(id, after: nil)
        } else {
            let reason = isUncertain ? ReplyError.madeHere(.unknown, error.message) : error
            let mayTakeEffect = isUncertain || (call.isMemberChange && error.code == .unknown)
            complete(id, .failed(CallFailure(reason, mayHaveTakenEffect: mayTakeEffect)))
            addressed.removeAll { $0 == id }
        }
    }

    /// The connection that carried it is gone. A read and a mutation with its session simply go again.
    mutating func connectionLost(under id: CallID, requestID: UInt64) {
        guard let call = calls[id], call.requestID == requestID else { return }
        switch call.call {
        case .mutate: break
        case .mutateOnce: retry(id, after: .zero)
        case .query where call.address == nil: retry(id, after: .zero)
        case .query, .status, .snapshot, .snapshotPiece, .scrub: break
        case .initialize, .changeMembers, .clearAlarm:
            let error = ReplyError.madeHere(.unknown, "the connection was lost; ask for the status")
            complete(id, .failed(CallFailure(error, mayHaveTakenEffect: true)))
        }
    }

    /// Whoever wants just this node learns at once that it cannot be reached.
    mutating func failAddressed(to place: Int) {
        let node = nodes[place]
        for id in addressed where calls[id]?.address == node.address {
            let error = ReplyError.madeHere(.unavailable, "\(node.displayName) \(node.failure ?? "")")
            complete(id, .failed(CallFailure(error, mayHaveTakenEffect: false)))
        }
        addressed.removeAll { calls[$0] == nil }
    }
}

extension PendingCall {
    var isMutation: Bool {
        switch call {
        case .mutate, .mutateOnce: true
        case .query, .status, .snapshot, .snapshotPiece, .initialize, .changeMembers, .clearAlarm, .scrub: false
        }
    }

    /// Not asked again when its fate is unknown: a second removal would find that there is no such member.
    var isMemberChange: Bool {
        if case .changeMembers = call { true } else { false }
    }

    var isInitialize: Bool {
        if case .initialize = call { true } else { false }
    }
}
