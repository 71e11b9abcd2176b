internal import Basics
internal import LogFormat
package import MetadataModel
package import RaftCore
internal import Wire

/// What a node does without being asked: roles, sessions, digests, members.
extension Replica {
    // MARK: - Roles

    mutating func statusChanged(to status: RaftStatus) {
        let old = lastStatus
        lastStatus = status
        guard old.role != status.role || old.term != status.term || old.leader != status.leader else { return }
        effects.notices.append(.roleChanged(status))
        let isNewReign = status.role == .leader && (old.role != .leader || old.term != status.term)
        if old.role == .leader, status.role != .leader || isNewReign { reignEnded() }
        if isNewReign {
            clock = ClusterClock(last: lastTime, wall: wall, now: now)
            // Handed over behind all applies so far; sessions opened later are noted as they are applied.
            effects.apply.append(.listSessions(term: status.term))
            // Only a restored or recovered state has owners without a session.
            if identity.generation > 1 { effects.apply.append(.findOrphans(after: nil, term: status.term)) }
        }
        if old.leader != status.leader { failForwarded() }
    }

    /// Requests whose entries may or may not survive under the next leader are told so; a retry gets the first reply.
    private mutating func reignEnded() {
        for requester in pending.takeAll() {
            answer(requester, Mutant.answerLostAsRefused.isOn ? ReplyError(.invalidRequest) : outcomeUnknownError)
        }
        counters.reignEnded()
        leases.removeAll()
        tickedFor = nil
        sweptFrom = nil
        raisedTo = 0
        decided.removeAll()
        ballots.removeAll()
        for position in links.indices { links[position].appends.removeAll() }
    }

    // MARK: - Each turn

    mutating func keepHouse() {
        // Whoever was heard in this turn is not silent, also when the turn comes late: before anybody is called so.
        for waiting in touches.takeExpired(now: now) {
            let error = ReplyError(.unavailable, "the leader does not answer \(settings.name)")
            answer(waiting.slot, waiting.requestID, .keepAlive, error: error)
        }
        while touches.isGathering { sendTouches() }
        if raft.isLeader, raft.canPropose {
            logWhatWasDecided()
            let expired = leases.takeExpired(now: now)
            if !expired.isEmpty { log(.expireSessions(expired)) }
            tickForTimer()
            sweepTombstones()
        }
        if now >= nextReport {
            nextReport = now + settings.reportInterval
            expireForwarded()
            tellOfMyself()
            raiseFeatureLevel()
            reviewAlarms()
            rememberAcknowledgements()
            // Cluster time goes on while nothing is written, or the next leader would start from a time long past.
            if raft.canPropose, lastStatus.hasCommittedInTerm, clusterTime - lastTime > Self.silenceMax { log(.tick) }
        }
    }

    /// Logs the entry with which something falls due, unless another one comes first.
    private mutating func tickForTimer() {
        guard let due = nextTimer, lastStatus.hasCommittedInTerm, tickedFor != due, due <= clusterTime else { return }
        tickedFor = due
        if lastTime < due { log(.tick) }
    }

    /// When the next timer has to be looked at. Cluster time runs up to 1 % slower than this node's clock.
    var timerDeadline: Instant {
        guard let due = nextTimer, raft.canPropose, lastStatus.hasCommittedInTerm, tickedFor != due else { return .never }
        return now + max(.milliseconds(1), due - clusterTime)
    }

    /// Tombstones are kept for a bounded stretch of revisions; the floor moves in steps, because after each of them all
    /// tombstones are read, a part with an entry.
    mutating func moveDeleteFloor(after range: ClosedRange<LogIndex>) {
        let step = Limits.tombstoneRevisionsMax / 4
        let last = range.upperBound.rawValue
        guard last / step > range.lowerBound.previous.rawValue / step, last > Limits.tombstoneRevisionsMax else { return }
        log(.deleteFloor(LogIndex(last - Limits.tombstoneRevisionsMax)))
    }

    /// Logs the entry that removes the next part of the tombstones below the floor, once the one before it is applied. Only
    /// what an entry of this leader's own term has left: an earlier leader's may still be on their way.
    private mutating func sweepTombstones() {
        guard let sweep = tombstoneSweep, sweep != sweptFrom, raft.term(at: appliedIndex) == raft.currentTerm else { return }
        sweptFrom = sweep
        log(.deleteFloor(sweep.floor))
    }

    /// What the leader decides is logged, now or when it can: while leadership is being handed over, which may fail, or
    /// too much is uncommitted, it waits. The next leader decides for itself.
    mutating func log(_ command: Housekeeping) {
        guard raft.isLeader else { return }
        guard raft.canPropose else { return decided.append(command) }
        propose(command.encoded().rawSpan, requester: nil)
    }

    private mutating func logWhatWasDecided() {
        guard !decided.isEmpty else { return }
        var waiting: [Housekeeping] = []
        swap(&waiting, &decided)
        for command in waiting { log(command) }
    }

    /// Of a slab that is not logged: this node's own commands wait on.
    mutating func keepDecided(in slab: Slab, of requesters: [Requester?]) {
        guard raft.isLeader, raft.currentTerm == slab.term else { return }
        for (offset, requester) in requesters.enumerated() where requester == nil {
            var reader = ByteReader(slab.record(at: slab.firstIndex + offset).payload)
            guard let header = try? CommandHeader(decoding: &reader),
                let command = try? Housekeeping(kind: header.kind, decoding: &reader)
            else { continue }
            decided.append(command)
        }
    }

    // MARK: - Sessions

    /// Notes that these sessions were heard of. Nil where this node cannot tell whether they are open: it does not lead,
    /// or does not know yet which sessions there are, or is just ending one of them.
    /// - Returns: those that are not open.
    mutating func touch(_ sessions: [SessionID]) -> [SessionID]? {
        // Before an entry of its own term is applied, others may be committed and not yet applied here, and with them the
        // openings of sessions: those would be called unknown, and their clients would give them up.
        guard raft.isLeader, leases.isComplete, raft.term(at: appliedIndex) == raft.currentTerm else { return nil }
        let notOpen = sessions.filter { !leases.touch($0, now: now) }
        return sessions.contains { leases.isEnding($0) } ? nil : notOpen
    }

    private mutating func sendTouches() {
        if let leader = raft.leader, leader != id, let position = links.position(of: leader), links[position].isUp {
            lastForwardToken += 1
            // A leader answers these at once. One that does not is silent, or cannot be reached: the client is to try
            // another node while its session lives.
            let deadline = now + settings.raft.electionTimeoutMin
            let sessions = touches.send(token: lastForwardToken, deadline: deadline)
            links[position].send(.sessionTouches(sessions), requestID: lastForwardToken)
        } else {
            for waiting in touches.takeAll() { answerKeepAlive(waiting, notOpen: touch(waiting.sessions)) }
        }
    }

    mutating func finishTouches(_ token: UInt64, _ reply: SessionTouchesReply) {
        let notOpen = Set(reply.notOpen)
        for waiting in touches.finish(token: token) {
            answerKeepAlive(waiting, notOpen: reply.isLeader ? waiting.sessions.filter(notOpen.contains) : nil)
        }
    }

    private mutating func answerKeepAlive(_ waiting: SessionTouches.Waiting, notOpen: [SessionID]?) {
        if let notOpen {
            let reply = KeepAliveReply(revision: appliedIndex, notOpen: notOpen, leader: leaderHint)
            answer(waiting.slot, waiting.requestID, .keepAlive(reply))
        } else {
            answer(waiting.slot, waiting.requestID, .keepAlive, error: unavailableError)
        }
    }

    // MARK: - Digests

    mutating func reportDigest(_ digest: IndexedDigest) {
        if raft.isLeader {
            noteDigest(digest.index, digest.digest, of: id)
        } else if let leader = raft.leader {
            send(.digestReport(index: digest.index, digest: digest.digest), to: leader)
        }
    }

    mutating func noteDigest(_ index: LogIndex, _ digest: UInt64, of node: NodeID) {
        guard raft.isLeader,
            let verdict = ballots.note(index, digest, of: node, voters: raft.configuration.voters)
        else { return }
        log(.digestVerdict(verdict))
    }

    /// A state that differs from the majority's serves nobody. The log is whole, so the node goes on voting and storing.
    mutating func act(on finding: DigestFinding) {
        switch finding {
        case .ownStateDiffers(let index, let own, let majority):
            guard !isQuarantined else { return }
            effects.notices.append(.quarantined(index: index, own: own, majority: majority))
            raise(.diverged, "its state at entry \(index) was not that of the majority; it was taken out of service")
            quarantine(because: .diverged)
        case .noMajority(let index):
            effects.notices.append(.digestsDiffer(index: index))
            raise(.statesDiffer, "at entry \(index) no state was that of a majority")
        }
    }

    /// The rows of this node's state are not what was written there. Others have them: the state is taken from theirs.
    /// The only member goes on with the rows that can be read, and stops where that is not possible.
    package mutating func stateDamaged(reason: String, isUsable: Bool) {
        guard !isQuarantined else { return }
        raise(.damage, "state: \(reason)")
        if membership.members.contains(where: { $0.id != id }) {
            effects.notices.append(.stateDamaged(reason: reason, isRebuilt: true))
            quarantine(because: .damage)
        } else {
            servesDamagedRows = true
            effects.notices.append(
                isUsable ? .stateDamaged(reason: reason, isRebuilt: false) : .stateLost(reason: reason))
        }
    }

    private mutating func quarantine(because cause: AlarmName) {
        isQuarantined = true
        quarantineCause = cause
        endWatches { _ in ReplyError(.quarantined, "this node does not trust its state any more: watch at another one") }
        for batch in barriers.takeAll() { refuse(batch, quarantinedError) }
        snapshots.askForStateAt = now
        // Damaged rows do not get into a snapshot, so that one that was made before may be the last sound copy.
        if cause == .diverged { discardSnapshots() }
        reviewCampaigning()
    }

    // MARK: - Members

    /// Tells the leader of this node, and the cluster of an address or version that has changed.
    private mutating func tellOfMyself() {
        let report = MemberReport(
            clientAddress: settings.clientAddress, softwareVersion: settings.softwareVersion,
            featureLevel: settings.featureLevel, lastApplied: appliedIndex, state: state, diskFree: disk.free)
        for position in links.indices { links[position].send(.memberReport(report)) }
        noteMember(id, report)
    }

    mutating func noteReport(_ report: MemberReport, of peer: NodeID) {
        guard let position = links.position(of: peer) else { return }
        links[position].report = report
        links[position].reportedAt = now
        noteMember(peer, report)
        reviewSpace()
    }

    /// The leader logs what a member says of itself when it is news, so that every node can name every other to clients.
    private mutating func noteMember(_ node: NodeID, _ report: MemberReport) {
        let info = MemberInfo(
            node: node, clientAddress: report.clientAddress, version: report.softwareVersion,
            featureLevel: report.featureLevel)
        guard raft.canPropose, lastStatus.hasCommittedInTerm, memberInfo[node] != info, membership.member(node) != nil
        else { return }
        // Noted before it is applied, so that it is logged once.
        memberInfo[node] = info
        log(.memberInfo(info))
    }

    /// Well below the age at which a session is no longer opened (`Limits.sessionOpeningAgeMax`).
    private static var silenceMax: Interval { .seconds(20) }

    // MARK: - Membership

    /// Configuration records among `slabs` are in force from now on (Raft §6).
    mutating func noteConfigurations(in slabs: [Slab]) {
        for slab in slabs {
            guard let found = try? memberships(in: slab) else { continue }
            for (index, membership) in found { adopt(membership, at: index) }
        }
    }

    /// A truncation took configuration entries with it: what was in force before them is again.
    mutating func forgetConfigurations(after index: LogIndex) {
        guard let last = membershipHistory.last, last.index > index else { return }
        let oldest = membershipHistory[0].index
        membershipHistory.removeAll { $0.index > index && $0.index > oldest }
        install(membershipHistory[membershipHistory.count - 1].membership)
    }

    mutating func adopt(_ membership: Membership, at index: LogIndex) {
        membershipHistory.removeAll { $0.index >= index }
        membershipHistory.append((index, membership))
        pruneMembershipHistory()
        install(membership)
    }

    /// What a state from a peer says of the members: news where this log begins behind the entry that made them so.
    mutating func learn(_ membership: Membership, at index: LogIndex) {
        guard index > membershipHistory[0].index else { return }
        let later = membershipHistory.filter { $0.index > index }
        guard !later.isEmpty else { return adopt(membership, at: index) }
        membershipHistory = [(index, membership)] + later
        pruneMembershipHistory()
        linkToMembers()
    }

    private mutating func install(_ membership: Membership) {
        self.membership = membership
        linkToMembers()
        spaceShortage = findSpaceShortage()
    }

    func memberships(in slab: Slab) throws(DecodeError) -> [(LogIndex, Membership)] {
        var found: [(LogIndex, Membership)] = []
        for index in slab.indexes(of: .configuration) {
            var reader = ByteReader(slab.record(at: index).payload)
            found.append((index, try Membership(decoding: &reader)))
        }
        return found
    }
}

extension Membership {
    package var configuration: Configuration {
        Configuration(incoming: incoming, outgoing: outgoing, learners: learners)
    }

    /// The same members in the parts that `configuration` gives them; those that it leaves out are members no more.
    func applying(_ configuration: Configuration) -> Membership {
        Membership(
            members: members.filter { configuration.contains($0.id) }, incoming: configuration.incoming,
            outgoing: configuration.outgoing, learners: configuration.learners)
    }
}
