internal import Basics

/// What a message does to the term (Raft §5.1), before it does anything else.
extension Raft {
    mutating func receive(_ message: Message, from sender: NodeID) {
        guard sender != id, message.isPlausible else { return }
        switch message {
        case .preVote(let request): answerPreVote(request, from: sender)
        case .requestVote(let request): answerVote(request, from: sender)
        case .preVoteResponse(let response): preVoteAnswered(response, from: sender)
        case .requestVoteResponse(let response):
            guard acceptResponse(term: response.term, from: sender) else { return }
            voteAnswered(response, from: sender)

        case .appendEntries(let append):
            guard acceptLeader(sender, term: append.term) else {
                let outcome = AppendEntriesResponse.Outcome.rejected(
                    previousIndex: append.previous.index, hint: .zero)
                refuseStale(
                    .appendEntriesResponse(AppendEntriesResponse(term: currentTerm, outcome: outcome)),
                    term: append.term, to: sender)
                return
            }
            follow(append, from: sender)
        case .heartbeat(let heartbeat):
            guard acceptLeader(sender, term: heartbeat.term) else {
                refuseStale(
                    .heartbeatResponse(HeartbeatResponse(term: currentTerm, readRound: 0)),
                    term: heartbeat.term, to: sender)
                return
            }
            follow(heartbeat, from: sender)
        case .installSnapshot(let offer):
            guard acceptLeader(sender, term: offer.term) else {
                refuseStale(
                    .installSnapshotResponse(InstallSnapshotResponse(term: currentTerm, outcome: .failed)),
                    term: offer.term, to: sender)
                return
            }
            follow(offer, from: sender)
        case .timeoutNow(let request):
            guard acceptLeader(sender, term: request.term) else { return }
            campaignNow()

        case .appendEntriesResponse(let response):
            guard acceptResponse(term: response.term, from: sender) else { return }
            appendAnswered(response, from: sender)
        case .heartbeatResponse(let response):
            guard acceptResponse(term: response.term, from: sender) else { return }
            heartbeatAnswered(response, from: sender)
        case .installSnapshotResponse(let response):
            guard acceptResponse(term: response.term, from: sender) else { return }
            snapshotAnswered(response, from: sender)

        case .readIndex(let request): answerReadIndex(request, from: sender)
        case .readIndexResponse(let response): readIndexAnswered(response, from: sender)
        }
    }

    /// True when `sender` is the leader of this term, which it is from now on if it was not known.
    ///
    /// Membership is not asked: a node may be told of the configuration that holds its leader by that very message.
    private mutating func acceptLeader(_ sender: NodeID, term: Term) -> Bool {
        guard term >= currentTerm else { return false }
        if term > currentTerm { becomeFollower(term: term) }
        switch role {
        case .leader:
            return false
        case .preCandidate, .candidate:
            becomeFollower(term: term)
        case .follower(let follower):
            // Two leaders in one term cannot be; the second is a liar or another cluster's, and is not followed.
            guard follower.leader == nil || follower.leader == sender else { return false }
        }
        heardLeader(sender)
        return true
    }

    /// Tells a sender from an old term what term it is, so that a leader that was deposed steps down and a node that
    /// fell behind catches up. Nothing to say when the term is the same.
    private mutating func refuseStale(_ answer: Message, term: Term, to sender: NodeID) {
        if term < currentTerm { sendWhenTermIsDurable(answer, to: sender) }
    }

    /// True when a response belongs to this term. A higher term deposes; but only a member can: a node that was removed
    /// may run on with any term (thesis §4.2.3).
    mutating func acceptResponse(term: Term, from sender: NodeID) -> Bool {
        guard configuration.contains(sender) else { return false }
        if term > currentTerm { becomeFollower(term: term) }
        return term == currentTerm
    }
}

extension Message {
    /// False for what no honest peer sends: terms and indexes that no cluster reaches would overflow where they are added
    /// to. Checked once, so that nothing behind it needs to.
    var isPlausible: Bool {
        func isPlausible(_ term: Term) -> Bool { term.rawValue < Limits.logNumberMax }
        func isPlausible(_ index: LogIndex) -> Bool { index.rawValue < Limits.logNumberMax }
        func isPlausible(_ entry: EntryID) -> Bool { isPlausible(entry.term) && isPlausible(entry.index) }

        switch self {
        case .preVote(let request), .requestVote(let request):
            return isPlausible(request.term) && isPlausible(request.lastEntry) && request.lastEntry.term <= request.term
        case .preVoteResponse(let response), .requestVoteResponse(let response):
            return isPlausible(response.term)
        case .appendEntries(let append):
            guard isPlausible(append.term), isPlausible(append.previous), isPlausible(append.lastIndex),
                isPlausible(append.leaderCommit), append.previous.term <= append.term
            else { return false }
            return append.entries.map { entries in
                append.entryTerm <= append.term && append.entryTerm >= append.previous.term
                    && append.configurations.allSatisfy { entries.contains($0.index) }
                    && zip(append.configurations, append.configurations.dropFirst()).allSatisfy { $0.index < $1.index }
            } ?? (append.lastIndex == append.previous.index && append.configurations.isEmpty)
        case .appendEntriesResponse(let response):
            guard isPlausible(response.term) else { return false }
            switch response.outcome {
            case .accepted(let matchIndex): return isPlausible(matchIndex)
            case .rejected(let previousIndex, let hint): return isPlausible(previousIndex) && isPlausible(hint)
            }
        case .heartbeat(let heartbeat):
            return isPlausible(heartbeat.term) && isPlausible(heartbeat.commitIndex)
        case .heartbeatResponse(let response):
            return isPlausible(response.term)
        case .installSnapshot(let offer):
            let point = offer.snapshot
            return isPlausible(offer.term) && isPlausible(point.last) && point.last.term <= offer.term
                && point.configuration.index <= point.last.index
        case .installSnapshotResponse(let response):
            if case .reached(let matchIndex) = response.outcome, !isPlausible(matchIndex) { return false }
            return isPlausible(response.term)
        case .readIndex(let request):
            return isPlausible(request.term)
        case .readIndexResponse(let response):
            return isPlausible(response.term) && isPlausible(response.readIndex ?? .zero)
        case .timeoutNow(let request):
            return isPlausible(request.term)
        }
    }
}
