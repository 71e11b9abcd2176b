package import Basics
internal import LogFormat
internal import MetadataModel
internal import RaftCore
package import Wire

/// What the other members say.
extension Replica {
    /// A connection to `peer` on which this node may send is up.
    package mutating func peerUp(_ peer: NodeID) {
        guard let position = links.position(of: peer) else { return }
        links[position].wentDown()
        links[position].isUp = true
        // It is to know at once what can be expected of this node.
        nextReport = now
        reviewSpace()
        peerInboundUp(peer)
    }

    /// That connection is gone: what was on its way is lost, as on any network.
    package mutating func peerDown(_ peer: NodeID) {
        guard let position = links.position(of: peer) else { return }
        links[position].wentDown()
        if raft.leader == peer { failForwarded() }
        reviewSpace()
    }

    /// A connection on which `peer` sends to this node is up.
    package mutating func peerInboundUp(_ peer: NodeID) {
        forgetWhenReported(peer)
        raft.step(.linkRestored(peer), now: now)
        drainReady()
    }

    /// The connection on which `peer` sends to this node has ended.
    package mutating func peerInboundLost(_ peer: NodeID) {
        forgetWhenReported(peer)
        // Answers that were on their way are lost with it.
        if raft.leader == peer { failForwarded() }
        raft.step(.linkLost(peer), now: now)
        drainReady()
    }

    /// What it says of itself counts from the next report on: it may have been started with another release.
    private mutating func forgetWhenReported(_ peer: NodeID) {
        if let position = links.position(of: peer) { links[position].reportedAt = nil }
    }

    /// The socket to `peer` is above or again below its high-water mark.
    package mutating func peerWritable(_ peer: NodeID, _ isWritable: Bool) {
        guard let position = links.position(of: peer) else { return }
        links[position].isWritable = isWritable
    }

    /// A frame from a member whose `hello` was accepted. Throws what makes the connection unusable.
    package mutating func receivePeerFrame(
        _ header: FrameHeader, body: RawSpan, from peer: NodeID
    ) throws(DecodeError) {
        let received = try PeerMessage.decode(header, body: body)
        let payload = received.payload
        switch received.message {
        case .raft(let message): try receive(message, payload: payload, from: peer)
        case .forwardedMutation(let principal):
            mutate(payload, requester: Requester(origin: .peer(peer), requestID: header.requestID), principal: principal)
        case .forwardedMutationReply: finishForwarded(header.requestID, reply: payload)
        case .sessionTouches(let ids):
            let notOpen = touch(ids)
            let reply = SessionTouchesReply(isLeader: notOpen != nil, notOpen: notOpen ?? [])
            send(.sessionTouchesReply(reply), to: peer, requestID: header.requestID)
        case .sessionTouchesReply(let reply): finishTouches(header.requestID, reply)
        case .digestReport(let index, let digest): noteDigest(index, digest, of: peer)
        case .memberReport(let report): noteReport(report, of: peer)
        case .snapshotManifest(let last, let offset):
            loadPiece(SnapshotPiece(last: last, chunk: nil, offset: offset), for: peer)
        case .snapshotChunk(let last, let number): loadPiece(SnapshotPiece(last: last, chunk: number), for: peer)
        case .snapshotManifestReply(let last, let offset, let size):
            receiveManifest(of: last, offset: offset, size: size, payload, from: peer)
        case .snapshotChunkReply(let number): receiveChunk(number, payload, from: peer)
        case .logEntries(let question): help(peer, with: question)
        case .promises: tellPromises(to: peer)
        case .logEntriesReply(let answer): try takeEntries(answer, payload, of: peer)
        // An answer to this node as it was before its start.
        case .promisesReply: break
        case .ping: send(.pong, to: peer, requestID: header.requestID)
        case .pong: break
        case .hello, .helloReply, .foundingProbe, .foundingProbeReply, .foundingCommit, .foundingCommitReply:
            throw .invalid("peer message after the handshake")
        }
    }

    mutating func send(
        _ message: PeerMessage, to peer: NodeID, requestID: UInt64 = 0, payload: RawSpan = RawSpan()
    ) {
        guard let position = links.position(of: peer) else { return }
        links[position].send(message, requestID: requestID, payload: payload)
    }

    private mutating func receive(
        _ message: Message, payload: RawSpan, from peer: NodeID
    ) throws(DecodeError) {
        // As if lost on the way: the leader asks again, with its heartbeats, until there is space.
        if case .appendEntries(let append) = message, append.entries != nil, diskLevel == .exhausted { return }
        guard case .appendEntries(var append) = message, append.entries != nil else {
            raft.step(.received(message, from: peer), now: now)
            drainReady()
            return
        }
        // Checked before the core hears of it: a slab that is not whole, not of this cluster or out of order is refused
        // with its connection.
        let slab = try Slab(
            verifying: [UInt8](payload), firstIndex: append.previous.index.next, term: append.entryTerm, salt: salt)
        guard slab.lastIndex == append.lastIndex else { throw .invalid("AppendEntries with another number of records") }
        for (index, membership) in try memberships(in: slab) {
            append.configurations.append(
                IndexedConfiguration(index: index, configuration: membership.configuration))
        }
        raft.step(.received(.appendEntries(append), from: peer), now: now)
        drainReady(arriving: slab)
    }

    // MARK: - Passing a client's mutation on

    func hasRoomToForward(_ size: Int) -> Bool {
        forwarded.isEmpty || forwardedSize + size <= Limits.forwardedSizeMax
    }

    mutating func forward(_ command: RawSpan, from slot: ConnectionSlot, requestID: UInt64) -> Bool {
        guard let leader = raft.leader, leader != id, let position = links.position(of: leader),
            links[position].isUp
        else { return false }
        lastForwardToken += 1
        forwarded[lastForwardToken] = ForwardedRequest(
            slot: slot, requestID: requestID, size: command.byteCount, leader: leader,
            deadline: now + settings.requestTimeout)
        forwardedSize += command.byteCount
        links[position].send(.forwardedMutation(principal: 0), requestID: lastForwardToken, payload: command)
        return true
    }

    private mutating func finishForwarded(_ token: UInt64, reply: RawSpan) {
        guard let request = forwarded.removeValue(forKey: token) else { return }
        forwardedSize -= request.size
        answer(request.slot, request.requestID, .mutate, body: reply)
    }

    /// What was passed on and has not been answered in time.
    mutating func expireForwarded() {
        for (token, request) in forwarded.filter({ $0.value.deadline <= now }).sorted(by: { $0.key < $1.key }) {
            forwarded[token] = nil
            forwardedSize -= request.size
            answer(request.slot, request.requestID, .mutate, error: outcomeUnknownError)
        }
    }

    /// The leader they went to is out of reach or leads no more: they may or may not have been logged.
    mutating func failForwarded() {
        for waiting in touches.takeAll() {
            answer(waiting.slot, waiting.requestID, .keepAlive, error: unavailableError)
        }
        guard !forwarded.isEmpty else { return }
        let lost = forwarded.sorted { $0.key < $1.key }
        forwarded.removeAll()
        forwardedSize = 0
        for (_, request) in lost {
            answer(request.slot, request.requestID, .mutate, error: outcomeUnknownError)
        }
    }
}

/// A client's mutation that this node passed on.
struct ForwardedRequest {
    var slot: ConnectionSlot
    var requestID: UInt64
    /// Of its command.
    var size: Int
    var leader: NodeID
    /// An answer that was lost on its way never comes.
    var deadline: Instant
}
