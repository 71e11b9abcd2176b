internal import Basics

/// Linearizable reads without a log entry (ReadIndex, thesis §6.4). There are no lease reads: a paused process cannot
/// tell that its lease has run out.
///
/// 1. The leader notes its commit index. 2. It learns from a majority, asked after that, that it is still the leader.
/// 3. Whoever asked serves the read once its state machine has reached that index. Before the no-op of its term is
/// committed a leader may not know all that earlier leaders acknowledged, so reads wait for it.
///
/// Every token is answered: with an index, or with nil when leadership was lost, or was never found.
extension Raft {
    /// Reads that may wait for one round. The shell bounds its own; this bounds what other nodes may ask for.
    private static let waitingReadsMax = 65_536

    mutating func requestRead(_ token: ReadToken) {
        switch role {
        case .leader: enqueueRead(ReadRounds.Read(token: token, requester: nil))
        case .follower(let follower):
            guard let leader = follower.leader, early == nil else {
                grantRead(token, at: nil)
                return
            }
            following.forwardedReads.append(
                Follower.ForwardedRead(token: token, deadline: clock + settings.electionTimeoutMin))
            send(.readIndex(ReadIndexRequest(term: currentTerm, token: token)), to: leader)
        case .preCandidate, .candidate: grantRead(token, at: nil)
        }
    }

    // MARK: - Leader

    mutating func answerReadIndex(_ request: ReadIndexRequest, from sender: NodeID) {
        guard isLeader, request.term == currentTerm, configuration.contains(sender) else {
            answer(ReadRounds.Read(token: request.token, requester: sender), with: nil)
            return
        }
        enqueueRead(ReadRounds.Read(token: request.token, requester: sender))
    }

    private mutating func enqueueRead(_ read: ReadRounds.Read) {
        guard leading.reads.waiting.count < Self.waitingReadsMax else {
            answer(read, with: nil)
            return
        }
        leading.reads.waiting.append(read)
        startReadRound()
    }

    /// Starts the next round with all that waits, unless one is under way.
    mutating func startReadRound() {
        guard hasCommittedInTerm || Mutant.readBeforeNoOp.isOn, leading.reads.underWay == nil, !leading.reads.waiting.isEmpty else { return }
        leading.reads.lastNumber += 1
        let round = ReadRounds.Round(
            number: leading.reads.lastNumber, readIndex: commitIndex, reads: leading.reads.waiting)
        leading.reads.waiting = []
        leading.reads.underWay = round
        guard !isConfirmed(round), !Mutant.readWithoutRound.isOn else {
            finishReadRound()
            return
        }
        for position in leading.peers.indices where configuration.isVoter(leading.peers[position].id) {
            sendHeartbeat(to: position)
        }
    }

    mutating func confirmReadRound(_ number: UInt64, by peer: NodeID) {
        guard isLeader, let round = leading.reads.underWay, round.number == number || Mutant.readFromOldRound.isOn,
            !round.confirmedBy.contains(peer)
        else { return }
        leading.reads.underWay?.confirmedBy.append(peer)
        reviewReadRound()
    }

    /// Other members are asked from now on. Whom the round has waited for may be none of them any more.
    mutating func reviewReadRound() {
        if let round = leading.reads.underWay, isConfirmed(round) { finishReadRound() }
    }

    private func isConfirmed(_ round: ReadRounds.Round) -> Bool {
        Quorum.isReached(in: configuration) { $0 == id || round.confirmedBy.contains($0) }
    }

    private mutating func finishReadRound() {
        guard let round = leading.reads.underWay else { return }
        leading.reads.underWay = nil
        for read in round.reads { answer(read, with: round.readIndex) }
        startReadRound()
    }

    private mutating func answer(_ read: ReadRounds.Read, with readIndex: LogIndex?) {
        if let requester = read.requester {
            let response = ReadIndexResponse(term: currentTerm, token: read.token, readIndex: readIndex)
            send(.readIndexResponse(response), to: requester)
        } else {
            grantRead(read.token, at: readIndex)
        }
    }

    /// Leadership is lost, so what was asked under it can be confirmed no more.
    mutating func failLeaderReads() {
        let reads = leading.reads
        leading.reads = ReadRounds()
        for read in (reads.underWay?.reads ?? []) + reads.waiting { answer(read, with: nil) }
    }

    // MARK: - Follower

    mutating func readIndexAnswered(_ response: ReadIndexResponse, from sender: NodeID) {
        guard case .follower(let follower) = role, follower.leader == sender,
            let position = follower.forwardedReads.firstIndex(where: { $0.token == response.token })
        else { return }
        following.forwardedReads.remove(at: position)
        grantRead(response.token, at: response.readIndex)
    }

    mutating func failForwardedReads() {
        guard case .follower(let follower) = role, !follower.forwardedReads.isEmpty else { return }
        following.forwardedReads = []
        for read in follower.forwardedReads { grantRead(read.token, at: nil) }
    }

    /// The question or its answer was lost.
    mutating func expireForwardedReads() {
        while case .follower(let follower) = role, let read = follower.forwardedReads.first, clock >= read.deadline {
            following.forwardedReads.removeFirst()
            grantRead(read.token, at: nil)
        }
    }
}
