package import Basics
package import MetadataModel
internal import RaftCore
internal import Wire

/// What comes back from the apply thread.
extension Replica {
    package mutating func applied(_ group: ApplyReport) {
        appliesInFlight -= 1
        appliedIndex = max(appliedIndex, group.range.upperBound)
        raft.step(.applied(through: group.range.upperBound), now: now)
        counters.applied(through: group.range.upperBound, at: now)
        nextTimer = group.nextTimer
        tombstoneSweep = group.tombstoneSweep
        noteFeatureLevel(group.featureLevel)
        answerRequesters(of: group)
        if raft.isLeader {
            for session in group.sessionsOpened { leases.opened(session, now: now) }
            for id in group.sessionsEnded { leases.ended(id) }
            // Their end was decided; they only own more than one entry ends.
            for start in stride(from: 0, to: group.sessionsKept.count, by: Limits.sessionsPerExpiryMax) {
                let part = group.sessionsKept[start...].prefix(Limits.sessionsPerExpiryMax)
                log(.expireSessions(Array(part)))
            }
            // More is due than one entry carries out.
            if let due = group.nextTimer, due <= group.time { log(.tick) }
            moveDeleteFloor(after: group.range)
        }
        for info in group.memberInfo { memberInfo[info.node] = info }
        for digest in group.digests {
            recentDigests.append(digest)
            if recentDigests.count > NodeStatus.digestsMax { recentDigests.removeFirst() }
            reportDigest(digest)
        }
        for finding in group.digestFindings { act(on: finding) }
        drainReady()
    }

    private mutating func answerRequesters(of group: ApplyReport) {
        guard pending.count > 0 else { return }
        for offset in 0..<group.range.entryCount {
            let index = group.range.lowerBound + offset
            guard let waiting = pending.take(at: index) else { continue }
            guard raft.term(at: index) == waiting.term else {
                answer(waiting.requester, outcomeUnknownError)
                continue
            }
            answer(waiting.requester, body: group.replyBytes.rawSpan.extracting(group.reply(at: index)))
        }
    }

    package mutating func answered(_ answers: AnswerBatch) {
        counters.readsAnswered(answers.items.count)
        reads.answered(answers.items.count)
        for item in answers.items {
            answer(item.slot, item.requestID, .query, body: answers.bytes.rawSpan.extracting(item.bytes))
        }
    }

    /// The sessions that are open now: a new leader grants each its whole timeout.
    package mutating func sessionsListed(_ sessions: [OpenSession], nextTimer: ClusterTime?, term: Term) {
        guard raft.isLeader, raft.currentTerm == term else { return }
        leases.grantAll(sessions, now: now)
        self.nextTimer = nextTimer
    }

    /// Owners that have no session, as after a restore: what is theirs goes as if it had expired.
    /// - Parameter next: where to look on; nil: there are no more owners.
    package mutating func orphansFound(_ orphans: [SessionID], next: SessionID?, term: Term) {
        guard raft.isLeader, raft.currentTerm == term else { return }
        if !orphans.isEmpty { log(.expireSessions(orphans)) }
        if let next { effects.apply.append(.findOrphans(after: next, term: term)) }
    }

    /// A flush has made the state durable through here; the log below it is not needed to start again.
    package mutating func flushed(through index: LogIndex) { durableApplied = max(durableApplied, index) }

    /// How far the log may be cut: what a flush has made durable here and, while the log is within its bound, what no live
    /// follower still needs. Above the bound a late follower gets a snapshot instead.
    package func compactionFloor(isLogFull: Bool) -> LogIndex {
        compactionFloor(isLogFull: isLogFull, durable: durableApplied)
    }

    /// How far it could be cut if all that is applied were durable. Where that is no further, a flush would be for nothing.
    package func compactionFloorAfterFlush(isLogFull: Bool) -> LogIndex {
        compactionFloor(isLogFull: isLogFull, durable: appliedIndex)
    }

    private func compactionFloor(isLogFull: Bool, durable: LogIndex) -> LogIndex {
        // What a rebuilt state has to go on from stays.
        guard !isQuarantined else { return .zero }
        // A state that was taken from a peer is durable a moment before the log is reset to go on from it.
        let floor = Mutant.compactPastFlush.isOn ? raft.lastApplied : min(durable, raft.lastApplied)
        guard raft.isLeader, !isLogFull else { return floor }
        let needed = raft.peers.filter(\.isActive).map(\.matchIndex).min() ?? floor
        return min(floor, needed)
    }

    /// The log no longer holds entries at or below `index`.
    package mutating func compacted(through index: LogIndex) {
        guard index >= raft.firstIndex else { return }
        raft.step(.compacted(through: index), now: now)
        // What nobody holds any more is not asked for; an answer that is on its way comes too late.
        mending.forget(through: raft.firstIndex.previous)
        effects.apply.append(.forgetOutcomes(through: index))
        endWatchesBelowFloor()
        drainReady()
    }
}
