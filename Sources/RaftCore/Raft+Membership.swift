internal import Basics

/// Who is asked (Raft §6): a configuration is in force as soon as it is in the log, and steps from one to the next only
/// through a joint one, where each half has its own majority. Learners are told everything and asked nothing.
///
/// The shell passes the joint configuration itself; the core leaves it. So a leader that dies in between is followed by
/// one that finishes the change without being asked.
extension Raft {
    /// Leadership is on its way to another voter.
    package var isTransferring: Bool {
        guard case .leader(let leader) = role else { return false }
        return leader.transfer != nil
    }

    mutating func propose(_ configuration: Configuration) {
        invariant(canProposeConfiguration, "\(roleDescription) cannot change the configuration now")
        invariant(
            isStep(to: configuration),
            "no step from \(self.configuration) to \(configuration): voters change through a joint configuration")
        appendGenerated(.configuration(configuration))
    }

    /// Two configurations that follow each other must share a majority: the same voters, or the old ones as `outgoing`.
    private func isStep(to next: Configuration) -> Bool {
        guard !next.incoming.isEmpty else { return false }
        return next.isJoint ? next.outgoing == configuration.incoming : next.incoming == configuration.incoming
    }

    /// Puts a configuration in force that was just appended.
    mutating func adopt(_ configuration: IndexedConfiguration) {
        configurations.append(configuration)
        guard case .leader(let leader) = role else { return }
        let members = configuration.configuration.members.filter { $0 != id }
        // A peer that stays keeps its progress. A new one counts as just heard: it has had no chance to speak.
        leading.peers = members.map { member in
            leader.position(of: member).map { leader.peers[$0] }
                ?? Progress(id: member, nextIndex: lastIndex.next, now: clock)
        }
        if let transfer = leader.transfer, !configuration.configuration.isVoter(transfer.target) {
            // Whoever must not lead goes on leaving, to somebody else or to nobody.
            leading.transfer = transfer.stepsDownAtDeadline ? transfer : nil
            if let target = mostUpToDateVoter { leading.transfer?.target = target }
        }
        reviewReadRound()
    }

    /// Keeps the one in force at `commitIndex` and those that may still be taken back.
    mutating func pruneConfigurations() {
        var position = configurations.count - 1
        while position > 0, configurations[position].index > commitIndex { position -= 1 }
        if position > 0 { configurations.removeFirst(position) }
    }

    /// The commit index has moved: a joint configuration under it is left, and a leader that the newest one does not
    /// name has done its last duty (Raft §6).
    mutating func configurationCommitted() {
        guard configurationIndex <= commitIndex, hasCommittedInTerm else { return }
        if configuration.isJoint {
            appendGenerated(
                .configuration(Configuration(incoming: configuration.incoming, learners: configuration.learners)))
        } else if !configuration.isVoter(id) {
            for position in leading.peers.indices { sendHeartbeat(to: position) }
            if let successor = mostUpToDateVoter, let position = leading.position(of: successor),
                leading.peers[position].matchIndex == lastIndex
            {
                send(.timeoutNow(TimeoutNow(term: currentTerm)), to: successor)
            }
            becomeFollower(term: currentTerm)
        }
    }
}
