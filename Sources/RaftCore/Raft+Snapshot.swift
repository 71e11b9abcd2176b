internal import Basics

/// Followers that are behind the log (Raft §7). The leader offers a snapshot; the follower's shell fetches it in
/// chunks, installs it and says so. The core only keeps the order: what is offered, what is awaited, where the log goes
/// on.
extension Raft {
    // MARK: - Leader

    mutating func startSnapshot(for position: Int) {
        leading.peers[position].becomeSnapshot(now: clock)
        offerSnapshot(to: position)
    }

    mutating func snapshotAvailable(_ point: SnapshotPoint) {
        if let availableSnapshot, availableSnapshot.last.index >= point.last.index { return }
        availableSnapshot = point
        if isLeader { sendSnapshotOffers() }
    }

    /// Whoever was offered it is offered the next one, also while it is being taken.
    mutating func withdrawSnapshot() {
        availableSnapshot = nil
        guard isLeader else { return }
        for position in leading.peers.indices {
            guard case .snapshot = leading.peers[position].state else { continue }
            leading.peers[position].setOffer(.init(point: nil, nextOffer: clock))
        }
    }

    /// Offers anew where an offer is due; called with each heartbeat, so that a lost one is repeated.
    mutating func sendSnapshotOffers() {
        for position in leading.peers.indices { offerSnapshot(to: position) }
    }

    private mutating func offerSnapshot(to position: Int) {
        guard case .snapshot(var offer) = leading.peers[position].state else { return }
        // Fetched or not, a snapshot that this log does not go on from would leave the peer where it is.
        if let point = offer.point, point.last.index < log.base.index { offer = .init(point: nil, nextOffer: clock) }
        if offer.point == nil {
            guard let available = availableSnapshot, available.last.index >= log.base.index else {
                requestSnapshotFromShell()
                return
            }
            offer = .init(point: available, nextOffer: clock)
        }
        guard let point = offer.point, clock >= offer.nextOffer else { return }
        offer.nextOffer = clock + settings.heartbeatInterval
        leading.peers[position].setOffer(offer)
        send(
            .installSnapshot(InstallSnapshot(term: currentTerm, snapshot: point)), to: leading.peers[position].id)
    }

    mutating func snapshotAnswered(_ response: InstallSnapshotResponse, from sender: NodeID) {
        guard isLeader, let position = leading.position(of: sender) else { return }
        leading.peers[position].lastHeard = clock
        switch response.outcome {
        case .inProgress:
            // Asked again now and then: the follower may have restarted and forgotten the offer.
            guard case .snapshot(var offer) = leading.peers[position].state else { return }
            offer.nextOffer = clock + settings.electionTimeoutMin
            leading.peers[position].setOffer(offer)
        case .reached(let matchIndex):
            noteMatch(matchIndex, of: position)
        case .failed:
            // Perhaps there is a newer one by now; not at once, or a follower that cannot fetch would be asked for
            // ever.
            guard case .snapshot = leading.peers[position].state else { return }
            leading.peers[position].setOffer(.init(point: nil, nextOffer: clock))
        }
    }

    /// The log no longer begins where it did. Who needs what is gone is found out when it is sent next.
    mutating func compact(through index: LogIndex) {
        invariant(index <= lastApplied, "compaction through \(index) is above lastApplied \(lastApplied)")
        log.compact(through: index)
    }

    // MARK: - Follower

    mutating func follow(_ offer: InstallSnapshot, from leader: NodeID) {
        let last = offer.snapshot.last
        if last.index <= leaderCommit {
            answerOffer(.reached(matchIndex: min(leaderCommit, lastIndex)), to: leader)
        } else if let awaited = awaitedSnapshot {
            if awaited.snapshot != offer.snapshot || awaited.from != leader {
                // A new leader, or the old offer is gone. The shell goes on with the chunks it has where they are
                // equal.
                startFetching(offer.snapshot, from: leader)
            }
            answerOffer(.inProgress, to: leader)
        } else if log.term(at: last.index) == last.term {
            // This log holds all that the snapshot does; and a snapshot holds only what is committed.
            toldCommitted(last)
            answerOffer(.reached(matchIndex: last.index), to: leader)
        } else {
            startFetching(offer.snapshot, from: leader)
            answerOffer(.inProgress, to: leader)
        }
    }

    /// A peer names an entry that is committed. Where the log here holds that very entry, all through it is (Raft §5.3).
    /// A leader, who counts for itself, needs no telling.
    mutating func toldCommitted(_ entry: EntryID) {
        guard !isLeader, entry.index > leaderCommit, log.term(at: entry.index) == entry.term else { return }
        leaderCommit = entry.index
        advanceFollowerCommit()
    }

    private mutating func startFetching(_ snapshot: SnapshotPoint, from leader: NodeID) {
        let fetch = SnapshotFetch(from: leader, snapshot: snapshot)
        awaitedSnapshot = fetch
        fetchSnapshot(fetch)
    }

    private mutating func answerOffer(_ outcome: InstallSnapshotResponse.Outcome, to leader: NodeID) {
        let message = Message.installSnapshotResponse(InstallSnapshotResponse(term: currentTerm, outcome: outcome))
        if case .reached = outcome {
            sendAfterPersist(message, to: leader)
        } else {
            sendWhenTermIsDurable(message, to: leader)
        }
    }

    /// State and log on disk now begin at `point`.
    mutating func snapshotInstalled(_ point: SnapshotPoint) {
        invariant(!isLeader, "a leader's log was replaced by \(point.last)")
        invariant(
            point.last.index > commitIndex, "installed \(point.last) below the commit index \(commitIndex)")
        // An offer that came while this one was being installed may still be worth fetching.
        if let awaited = awaitedSnapshot, awaited.snapshot.last.index <= point.last.index { awaitedSnapshot = nil }
        log = TermRuns(after: point.last)
        replacePersists(by: point.last.index)
        configurations = [point.configuration]
        commitIndex = point.last.index
        leaderCommit = point.last.index
        lastApplied = point.last.index
        applyIssued = point.last.index
        if case .follower(let follower) = role, let leader = follower.leader {
            answerOffer(.reached(matchIndex: point.last.index), to: leader)
        }
    }

    /// A snapshot holds only what is committed, so `last` is, whatever this node has been told of the commit index; and
    /// what it holds is not handed out again. A state that ends below `lastApplied` changes nothing here: the shell
    /// applies again what it was handed.
    ///
    /// Where the log begins behind the entry that made the members what they are, only a state tells who they are. So one
    /// that has started without a state knows older ones until now, and must not have campaigned among those.
    mutating func stateReplaced(by point: SnapshotPoint) {
        let last = point.last
        invariant(log.term(at: last.index) == last.term, "a state through \(last), which is not in the log")
        invariant(last.index <= durableIndex, "a state through \(last), but the log is durable through \(durableIndex)")
        if let awaited = awaitedSnapshot, awaited.snapshot.last.index <= last.index { awaitedSnapshot = nil }
        if point.configuration.index > configurations[0].index {
            configurations = [point.configuration] + configurations.filter { $0.index > point.configuration.index }
        }
        if last.index > commitIndex { setCommit(last.index) }
        applyIssued = max(applyIssued, last.index)
        lastApplied = max(lastApplied, last.index)
    }

    mutating func snapshotFailed(_ point: SnapshotPoint) {
        guard awaitedSnapshot?.snapshot == point else { return }
        awaitedSnapshot = nil
        if case .follower(let follower) = role, let leader = follower.leader {
            answerOffer(.failed, to: leader)
        }
    }
}
