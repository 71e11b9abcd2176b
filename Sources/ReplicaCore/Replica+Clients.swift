package import Basics
internal import LogFormat
internal import MetadataModel
internal import RaftCore
package import Wire

/// What a client may ask, and how it is answered. Each request gets exactly one reply, unless its connection goes first.
extension Replica {
    package mutating func clientConnected() -> ConnectionSlot { clients.open() }

    package mutating func clientDisconnected(_ slot: ConnectionSlot) {
        guard clients.isOpen(slot) else { return }
        requestCount -= clients.pendingCount(slot)
        if clients.export(slot) != .none { effects.exports.append(.end(slot)) }
        if hub.isActive { hub.removeAll(of: slot) }
        reads.forget(clients.takeHeld(slot))
        clients.close(slot)
    }

    /// The socket to the client is above or again below its high-water mark. Above it nothing follows at once: this may be
    /// said outside of a turn.
    package mutating func clientWritable(_ slot: ConnectionSlot, _ isWritable: Bool) {
        clients.setWritable(slot, isWritable)
        if isWritable { reads.addFirst(clients.takeHeld(slot)) }
    }

    /// A frame from a client. Throws what makes the connection unusable: the shell closes it.
    package mutating func receiveClientFrame(
        _ header: FrameHeader, body: RawSpan, from slot: ConnectionSlot
    ) throws(DecodeError) {
        let request = try ClientRequest.decode(header, body: body)
        let requestID = header.requestID
        // Whoever ignores the limit that `hello` told is sent away, so the tables cannot grow.
        guard clients.pendingCount(slot) < Limits.requestsPerConnectionMax else {
            throw .tooLarge(UInt64(clients.pendingCount(slot) + 1))
        }
        switch request {
        case .watchCredit(let bytes): return grantCredit(bytes, slot: slot, requestID: requestID)
        case .watchCancel: return cancelWatch(slot: slot, requestID: requestID)
        default: break
        }
        clients.addPending(slot)
        requestCount += 1
        counters.requestCame()
        if case .hello(let hello) = request {
            greet(slot, hello, requestID: requestID)
            return
        }
        guard clients.hasSaidHello(slot) else { throw .invalid("first frame: it must be hello") }
        if let error = removedError {
            switch request {
            case .mutate, .query, .keepAlive, .changeMembers, .snapshot, .snapshotPiece, .watch:
                write(slot) { ClientReply.refuse(kind: header.kind, requestID: requestID, error, into: &$0) }
                // It never gets better here; a client without a connection looks for another node.
                effects.closingClients.append(slot)
                return
            case .hello, .status, .ping, .initialize, .clearAlarm, .scrub, .watchCredit, .watchCancel, .unknown: break
            }
        }
        switch request {
        case .hello, .watchCredit, .watchCancel: break
        case .watch(let request): watch(request, slot: slot, requestID: requestID)
        case .mutate(let command, let mayForward):
            let requester = Requester(origin: .client(slot), requestID: requestID)
            mutate(command, requester: requester, principal: 0, mayForward: mayForward)
        case .query(let readHeader, let query): read(readHeader, query, slot: slot, requestID: requestID)
        case .keepAlive(let sessions, _): keepAlive(sessions, slot: slot, requestID: requestID)
        case .status:
            // A small question with a long answer: what one read brings of them could take all memory.
            if clients.outputSize(slot) > Limits.answerBatchSizeMax {
                answer(slot, requestID, .status, error: overloaded("bytes of replies", Limits.answerBatchSizeMax))
            } else {
                answer(slot, requestID, .status(statusReply))
            }
        case .ping:
            let pong = PingReply(revision: appliedIndex, clusterTime: clusterTime, leader: leaderHint)
            answer(slot, requestID, .pong(pong))
        case .snapshot(let atLeast): beginExport(slot, requestID: requestID, atLeast: atLeast)
        case .snapshotPiece(let request): readExport(slot, requestID: requestID, request)
        case .initialize:
            let error = ReplyError(.alreadyInitialized, "this node belongs to cluster \(identity) already")
            answer(slot, requestID, .initialize, error: error)
        case .changeMembers(let change): changeMembers(change, slot: slot, requestID: requestID)
        case .scrub(let request): scrub(request, slot: slot, requestID: requestID)
        case .clearAlarm(let name): clearAlarm(name, slot: slot, requestID: requestID)
        case .unknown(let kind):
            let error = ReplyError(.unimplemented, "requests of kind \(kind) are not known to this release")
            write(slot) { ClientReply.refuse(kind: kind, requestID: requestID, error, into: &$0) }
        }
    }

    /// Cluster time as this node knows it; a session that opens names it.
    var clusterTime: ClusterTime {
        var clock = self.clock
        return clock.read(now: now, wall: wall)
    }

    // MARK: - hello and status

    private mutating func greet(_ slot: ConnectionSlot, _ hello: ClientHello, requestID: UInt64) {
        if let error = refusal(of: hello) {
            answer(slot, requestID, .hello, error: error)
            effects.closingClients.append(slot)
            return
        }
        clients.markHello(slot)
        let helloReply = HelloReply(
            revision: appliedIndex, version: ProtocolVersion.chosen(from: hello.versions) ?? 0, identity: identity,
            node: id, nodeName: settings.name, softwareVersion: settings.softwareVersion, clusterTime: clusterTime,
            limits: settings.limits, leader: leaderHint)
        answer(slot, requestID, .hello(helloReply))
    }

    private func refusal(of hello: ClientHello) -> ReplyError? {
        guard ProtocolVersion.chosen(from: hello.versions) != nil else {
            return ReplyError(
                .unimplemented,
                "this node speaks protocol \(ProtocolVersion.supported), the client \(hello.versions): update the older")
        }
        guard let wanted = hello.identity, wanted != identity else { return nil }
        guard wanted.id == identity.id else {
            return ReplyError(
                .clusterMismatch,
                "this is cluster \(identity), not \(wanted): the endpoint belongs to another cluster")
        }
        return ReplyError(
            .generationChanged,
            "the cluster was restored or recovered: generation \(identity.generation), not \(wanted.generation)")
    }

    var leaderHint: LeaderHint? {
        guard let leader = raft.leader, let member = membership.member(leader) else { return nil }
        return LeaderHint(name: member.name, clientAddress: clientAddress(of: leader))
    }

    func clientAddress(of node: NodeID) -> String {
        if node == id { return settings.clientAddress }
        if let position = links.position(of: node), let report = links[position].report { return report.clientAddress }
        return memberInfo[node]?.clientAddress ?? ""
    }

    package var statusReply: StatusReply {
        let status = raft.status
        let role: NodeRole =
            switch status.role {
            case .follower: .follower
            case .candidate: .candidate
            case .leader: .leader
            case .learner: .learner
            }
        let node = NodeStatus(
            id: id, name: settings.name, role: isRemoved ? .none : role, state: state, term: status.term,
            commitIndex: status.commitIndex,
            lastApplied: appliedIndex, firstIndex: raft.firstIndex, lastIndex: raft.lastIndex, digests: recentDigests,
            diskUsed: disk.used, diskFree: disk.free, softwareVersion: settings.softwareVersion,
            uptimeSeconds: UInt64((now - startedAt).nanoseconds / 1_000_000_000),
            clientAddress: settings.clientAddress, peerAddress: settings.peerAddress)
        let progress = raft.peers
        let members = membership.members.map { member in
            let report = links.position(of: member.id).flatMap { links[$0].report }
            let peer = progress.first { $0.id == member.id }
            return MemberStatus(
                id: member.id, name: member.name, peerAddress: member.peerAddress,
                clientAddress: clientAddress(of: member.id),
                softwareVersion: member.id == id ? settings.softwareVersion : report?.softwareVersion ?? "",
                isVoter: !membership.learners.contains(member.id),
                progress: peer.map { peer in
                    MemberProgress(
                        isReachable: peer.isActive, state: report?.state ?? .ok, matchIndex: peer.matchIndex,
                        lastApplied: report?.lastApplied ?? .zero,
                        lag: UInt64(raft.lastIndex.distance(after: peer.matchIndex)))
                })
        }
        return StatusReply(
            revision: appliedIndex, identity: identity, node: node, leader: leaderHint, members: members,
            alarms: alarms.alarms(active: activeAlarms), feedFloor: feedFloor)
    }

    // MARK: - Mutations

    mutating func mutate(_ command: RawSpan, requester: Requester, principal: UInt64, mayForward: Bool = false) {
        let (header, level): (CommandHeader, UInt32)
        do {
            (header, level) = try Command.validate(command, valueSizeMax: Int(settings.limits.valueSizeMax))
        } catch {
            answer(requester, error)
            return
        }
        leases.touch(header.session, now: now)
        if isStopping {
            answer(requester, ReplyError(.shuttingDown, "this node is stopping: ask another one"))
        } else if raft.isLeader {
            if let refusal = refusalForSpace(header.kind) ?? refusal(ofLevel: level) {
                answer(requester, refusal)
            } else if pending.count + openRequesters.count >= settings.requestsPendingMax,
                !Mutant.ignorePendingLimit.isOn
            {
                answer(requester, overloadedError)
            } else if logSizeInMemory + command.byteCount > settings.logInMemorySizeMax {
                answer(requester, overloaded("bytes of commands", settings.logInMemorySizeMax))
            } else {
                propose(command, requester: requester, principal: principal)
            }
        } else if mayForward, case .client(let slot) = requester.origin,
            forwarded.count < settings.requestsPendingMax, hasRoomToForward(command.byteCount),
            forward(command, from: slot, requestID: requester.requestID)
        {
            return
        } else {
            answer(requester, notLeaderError)
        }
    }

    /// What is not applied yet is held in memory, and a little behind it.
    private var logSizeInMemory: Int { tail.byteCount + (openSlab?.byteCount ?? 0) }

    // MARK: - Reads

    private mutating func read(_ header: ReadHeader, _ query: RawSpan, slot: ConnectionSlot, requestID: UInt64) {
        guard !isQuarantined else { return answer(slot, requestID, .query, error: quarantinedError) }
        guard requestCount <= settings.requestsPendingMax, reads.count < settings.requestsPendingMax else {
            answer(slot, requestID, .query, error: overloadedError)
            return
        }
        guard reads.size + query.byteCount <= settings.queriesSizeMax else {
            answer(slot, requestID, .query, error: overloaded("bytes of queries", settings.queriesSizeMax))
            return
        }
        reads.admit(size: query.byteCount)
        switch header.level {
        case .linearizable: barriers.gather(query, slot: slot, requestID: requestID)
        case .stale:
            barriers.wait(
                for: Mutant.ignoreReadRevision.isOn ? .zero : header.atLeast, query, slot: slot, requestID: requestID, deadline: now + settings.requestTimeout)
        }
    }

    var quarantinedError: ReplyError {
        ReplyError(.quarantined, "this node's state differs from the majority's and is being rebuilt")
    }

    mutating func refuse(_ batch: QueryBatch, _ error: ReplyError) {
        reads.forget(batch)
        for item in batch.waiting { answer(item.slot, item.requestID, .query, error: error) }
    }

    // MARK: - Keep-alives

    private mutating func keepAlive(_ sessions: [SessionID], slot: ConnectionSlot, requestID: UInt64) {
        // No more than there can be, however often each is named.
        guard touches.sessionCount + sessions.count <= Limits.sessionsMax else {
            return answer(slot, requestID, .keepAlive, error: overloaded("keep-alives", Limits.sessionsMax))
        }
        touches.gather(SessionTouches.Waiting(slot: slot, requestID: requestID, sessions: sessions))
    }

    // MARK: - Answers

    mutating func answer(_ requester: Requester, _ error: ReplyError) {
        switch requester.origin {
        case .client(let slot): answer(slot, requester.requestID, .mutate, error: error)
        case .peer(let peer):
            var writer = ByteWriter()
            error.encode(revision: .zero, into: &writer)
            send(
                .forwardedMutationReply, to: peer, requestID: requester.requestID,
                payload: writer.takeBytes().rawSpan)
        }
    }

    mutating func answer(_ requester: Requester, body: RawSpan) {
        switch requester.origin {
        case .client(let slot): answer(slot, requester.requestID, .mutate, body: body)
        case .peer(let peer):
            send(.forwardedMutationReply, to: peer, requestID: requester.requestID, payload: body)
        }
    }

    mutating func answer(_ slot: ConnectionSlot, _ requestID: UInt64, _ kind: ClientFrameKind, error: ReplyError) {
        counters.refused(error.code)
        write(slot) { ClientReply.refuse(kind: kind.rawValue, requestID: requestID, error, into: &$0) }
    }

    mutating func answer(_ slot: ConnectionSlot, _ requestID: UInt64, _ kind: ClientFrameKind, body: RawSpan) {
        write(slot) { ClientReply.encode(kind, requestID: requestID, body: body, into: &$0) }
    }

    mutating func answer(_ slot: ConnectionSlot, _ requestID: UInt64, _ reply: ControlReply) {
        write(slot) { reply.encode(requestID: requestID, into: &$0) }
    }

    /// Appends the one reply of a request to its connection's output of this turn.
    mutating func write(_ slot: ConnectionSlot, _ frame: (inout ByteWriter) -> Void) {
        guard clients.isOpen(slot) else { return }
        requestCount -= 1
        clients.write(to: slot, endsRequest: true, frame)
    }

    // MARK: - Errors that several places give

    var notLeaderError: ReplyError {
        guard let hint = leaderHint, raft.leader != id else { return unavailableError }
        return ReplyError(
            .notLeader, "\(settings.name) does not lead; \(hint.name) does", leaderName: hint.name,
            leaderAddress: hint.clientAddress)
    }

    var unavailableError: ReplyError {
        ReplyError(
            .unavailable, "no leader is known to \(settings.name): fewer than a majority of the members reach each other",
            retryAfter: settings.raft.heartbeatInterval)
    }

    var overloadedError: ReplyError { overloaded("requests", settings.requestsPendingMax) }

    func overloaded(_ what: String, _ limit: Int) -> ReplyError {
        ReplyError(
            .overloaded, "\(limit) \(what) are waiting", limit: UInt64(limit), retryAfter: .milliseconds(10))
    }

    var outcomeUnknownError: ReplyError {
        ReplyError(.unknown, "leadership changed while the command was under way: ask again with the same sequence")
    }
}
