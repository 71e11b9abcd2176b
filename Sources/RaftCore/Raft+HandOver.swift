internal import Basics

/// How a leader finds out that it should not lead, and hands over (CheckQuorum, thesis §6.2; transfer, thesis §3.10).
extension Raft {
    mutating func leaderDeadlineReached() {
        if clock >= leading.quorumDeadline { checkQuorum() }
        if isLeader, let transfer = leading.transfer, clock >= transfer.deadline {
            leading.transfer = nil
            if transfer.stepsDownAtDeadline { becomeFollower(term: currentTerm) }
        }
        if isLeader, clock >= leading.heartbeatDeadline {
            leading.heartbeatDeadline = clock + settings.heartbeatInterval
            for position in leading.peers.indices { sendHeartbeat(to: position) }
            sendSnapshotOffers()
            sendTimeoutNow()
            checkDisk()
        }
    }

    /// Steps down when a majority was silent for an election timeout; else sets the time when it would have been.
    private mutating func checkQuorum() {
        let leader = leading
        let heardSince = Quorum.reached(in: configuration) { voter in
            voter == id ? clock : leader.position(of: voter).map { leader.peers[$0].lastHeard } ?? .zero
        }
        let deadline = (heardSince ?? .zero) + settings.electionTimeoutMin
        if deadline > clock {
            leading.quorumDeadline = deadline
        } else {
            becomeFollower(term: currentTerm)
        }
    }

    /// Heartbeats do not wait for the disk, so nobody else would notice that it is stuck. If others go on without this
    /// disk, one of them should lead. So should one who has everything on his, where a majority without this node can be
    /// reached: those who are behind may wait for what only this disk could give them. If all disks are stuck, moving
    /// helps nobody. The price: whether those who are behind wait for this disk or for their own cannot be told, and in
    /// the second case nobody leads until one of these disks goes on.
    private mutating func checkDisk() {
        guard isDiskStalled else { return probeDisk() }
        let leader = leading
        let reachedByOthers = Quorum.reached(in: configuration) { voter in
            leader.position(of: voter).map { leader.peers[$0].matchIndex } ?? .zero
        }
        let othersHeardSince = Quorum.reached(in: configuration) { voter in
            leader.position(of: voter).map { leader.peers[$0].lastHeard } ?? .zero
        }
        let hasSuccessor = leader.peers.contains { peer in
            configuration.isVoter(peer.id) && peer.matchIndex == lastIndex
                && clock - peer.lastHeard < settings.electionTimeoutMin
        }
        let isHeard = othersHeardSince.map { clock - $0 < settings.electionTimeoutMin } ?? false
        let canOtherLead = hasSuccessor && isHeard && lastIndex > durableIndex
        guard canOtherLead || reachedByOthers.map({ $0 > durableIndex }) ?? false else { return }
        handOver()
    }

    /// Where nothing is written, only followers that lag wait for this disk: for a read of the log, or for a snapshot.
    /// How long these may take is not known. An entry is written soon, or the disk is stuck; and who has it on his own
    /// disk by then can lead.
    private mutating func probeDisk() {
        let leader = leading
        let isAwaited = leader.peers.contains { peer in
            peer.matchIndex < lastIndex && clock - peer.lastHeard < settings.electionTimeoutMin
        }
        guard isAwaited, leader.transfer == nil, campaigningAllowed,
            clock - persistIssuedAt >= settings.diskStallTimeout
        else { return }
        appendGenerated(.noop)
    }

    mutating func setCampaigningAllowed(_ isAllowed: Bool) {
        campaigningAllowed = isAllowed
        switch role {
        case .leader:
            // Alone there is nobody to hand over to, and serving reads is better than nothing.
            if !isAllowed, configuration.voters != [id] { handOver() }
        case .follower: break
        case .preCandidate, .candidate: if !isAllowed { becomeFollower(term: currentTerm) }
        }
    }

    /// Stops leading: by transfer if anybody can take over, within one election timeout in any case.
    private mutating func handOver() {
        if leading.transfer != nil {
            leading.transfer?.stepsDownAtDeadline = true
            return
        }
        guard let target = mostUpToDateVoter else {
            becomeFollower(term: currentTerm)
            return
        }
        startTransfer(to: target, stepsDownAtDeadline: true)
    }

    /// Asked for from outside. To itself, to a learner or to a stranger is no transfer; a second one replaces the
    /// first.
    mutating func requestTransfer(to requested: NodeID?) {
        guard isLeader, let target = requested ?? mostUpToDateVoter, target != id, configuration.isVoter(target),
            leading.transfer?.target != target
        else { return }
        startTransfer(to: target, stepsDownAtDeadline: leading.transfer?.stepsDownAtDeadline ?? false)
    }

    private mutating func startTransfer(to target: NodeID, stepsDownAtDeadline: Bool) {
        leading.transfer = Transfer(
            target: target, deadline: clock + settings.electionTimeoutMin, stepsDownAtDeadline: stepsDownAtDeadline)
        sendTimeoutNow()
    }

    /// Nothing new is proposed during a transfer, so the target needs only to catch up with what there is.
    mutating func sendTimeoutNow() {
        guard let target = leading.transfer?.target, let position = leading.position(of: target) else { return }
        if leading.peers[position].matchIndex == lastIndex {
            send(.timeoutNow(TimeoutNow(term: currentTerm)), to: target)
        }
    }

    /// Among the voters that were heard of late, the one with the longest log.
    var mostUpToDateVoter: NodeID? {
        var best: Progress?
        for peer in leading.peers where configuration.isVoter(peer.id) {
            guard clock - peer.lastHeard < settings.electionTimeoutMin else { continue }
            if let best, best.matchIndex >= peer.matchIndex { continue }
            best = peer
        }
        return best?.id
    }
}
