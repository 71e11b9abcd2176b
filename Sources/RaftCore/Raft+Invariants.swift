internal import Basics

/// What must hold after every step. A replica that has broken one of these must not go on (see `invariant`).
extension Raft {
    /// The cheap ones, in release too.
    func checkStepInvariants() {
        invariant(
            log.base.index <= lastApplied, "the log begins after \(log.base), but only \(lastApplied) is applied")
        invariant(lastApplied <= applyIssued, "applied \(lastApplied) was never handed out (\(applyIssued))")
        invariant(
            applyIssued <= min(commitIndex, durableIndex),
            "handed out \(applyIssued) beyond commit \(commitIndex) or disk \(durableIndex)")
        invariant(commitIndex <= lastIndex, "commitIndex \(commitIndex) is past the log's end \(lastIndex)")
        invariant(durableIndex <= lastIndex, "durable through \(durableIndex), past the log's end \(lastIndex)")
        invariant(log.last.term <= currentTerm, "the log's last term \(log.last.term) is above \(currentTerm)")
        if case .leader = role {
            invariant(hardState.votedFor == id, "\(id) leads term \(currentTerm) without its own vote")
        }
    }

    /// All of them: for tests and the simulator.
    package func checkInvariants() {
        checkStepInvariants()
        invariant(leaderCommit >= commitIndex, "commitIndex \(commitIndex) is ahead of the leader's \(leaderCommit)")
        invariant(
            durableHardState.currentTerm <= currentTerm,
            "the term on disk \(durableHardState.currentTerm) is above \(currentTerm)")
        checkLog()
        checkConfigurations()
        for (earlier, later) in zip(unfinishedPersists, unfinishedPersists.dropFirst()) {
            invariant(earlier.ticket < later.ticket, "persists out of order: \(earlier.ticket), \(later.ticket)")
        }
        if case .leader(let leader) = role { check(leader) }
    }

    private func checkLog() {
        var previous = log.base
        for (position, run) in log.runs.enumerated() {
            let isFirst = position == 0
            invariant(
                isFirst ? run.first == log.firstIndex : run.first > previous.index,
                "term \(run.term) begins at \(run.first), after \(previous)")
            invariant(
                isFirst ? run.term >= previous.term : run.term > previous.term,
                "term \(run.term) at \(run.first) after \(previous)")
            invariant(run.first <= lastIndex, "term \(run.term) begins past the log's end \(lastIndex)")
            previous = EntryID(term: run.term, index: run.first)
        }
        invariant(
            log.runs.isEmpty == (lastIndex == log.base.index),
            "\(log.runs.count) runs in a log from \(log.firstIndex) through \(lastIndex)")
    }

    private func checkConfigurations() {
        invariant(!configurations.isEmpty, "no configuration is in force")
        for (earlier, later) in zip(configurations, configurations.dropFirst()) {
            invariant(
                earlier.index < later.index, "configurations out of order at \(earlier.index), \(later.index)")
            invariant(
                later.index > commitIndex, "the configuration at \(earlier.index) can no longer be fallen back to")
        }
        invariant(configurationIndex <= lastIndex, "a configuration past the log's end \(lastIndex)")
    }

    private func check(_ leader: Leader) {
        invariant(early == nil, "\(id) leads and asks for votes")
        invariant(awaitedSnapshot == nil, "\(id) leads and waits for a snapshot")
        invariant(
            leader.peers.map(\.id) == configuration.members.filter { $0 != id },
            "progress of \(leader.peers.map(\.id)) in \(configuration)")
        for peer in leader.peers {
            invariant(peer.matchIndex < peer.nextIndex, "\(peer.id): match \(peer.matchIndex), next \(peer.nextIndex)")
            invariant(peer.matchIndex <= lastIndex, "\(peer.id) matches through \(peer.matchIndex) of \(lastIndex)")
            invariant(peer.nextIndex <= lastIndex.next, "\(peer.id): next \(peer.nextIndex), log ends at \(lastIndex)")
            invariant(
                peer.inflight.count <= settings.inflightMessagesMax, "\(peer.id): \(peer.inflight.count) in flight")
            for (earlier, later) in zip(peer.inflight, peer.inflight.dropFirst()) {
                invariant(earlier < later, "\(peer.id): in flight out of order, \(earlier), \(later)")
            }
        }
    }
}
