internal import Basics
internal import RaftCore

/// Reads on their way: linearizable ones gather into a batch that asks for one ReadIndex (thesis §6.4) and then wait
/// until everything through it has been handed to the apply thread; stale ones that name a revision wait for it.
///
/// Because the apply thread works first in, first out, a read handed over after an entry sees that entry.
struct ReadBarriers: ~Copyable {
    private struct Asked {
        var token: ReadToken
        var batch: QueryBatch
        var deadline: Instant
    }
    private struct Waiting {
        var index: LogIndex
        var batch: QueryBatch
        var deadline: Instant
    }

    /// Begins at random: an answer to an earlier process of this node, which may be older than a read, must not be taken for
    /// one to a question of this one.
    private var lastToken: UInt64
    /// Arrived since the last ReadIndex was asked for.
    private var gathering = QueryBatch()
    private var asked: [Asked] = []
    private var waiting: [Waiting] = []

    init(lastToken: UInt64) { self.lastToken = lastToken }

    var isGathering: Bool { !gathering.items.isEmpty }

    mutating func gather(_ query: RawSpan, slot: ConnectionSlot, requestID: UInt64) {
        gathering.append(query, slot: slot, requestID: requestID)
    }

    /// Closes the batch that is gathering; the core is to be asked for a ReadIndex under this token.
    mutating func ask(deadline: Instant) -> ReadToken {
        lastToken += 1
        let token = ReadToken(lastToken)
        asked.append(Asked(token: token, batch: gathering, deadline: deadline))
        gathering = QueryBatch()
        return token
    }

    /// The core's answer. Returns the batch when no leader could confirm it: its reads are answered `unavailable`.
    mutating func granted(_ grant: ReadGrant) -> QueryBatch? {
        guard let position = asked.firstIndex(where: { $0.token == grant.token }) else { return nil }
        let entry = asked.remove(at: position)
        guard let index = grant.readIndex else { return entry.batch }
        waiting.append(Waiting(index: index, batch: entry.batch, deadline: entry.deadline))
        return nil
    }

    /// A stale read that must see `index`, which has not been handed to the apply thread yet.
    mutating func wait(for index: LogIndex, _ query: RawSpan, slot: ConnectionSlot, requestID: UInt64, deadline: Instant) {
        var batch = QueryBatch()
        batch.append(query, slot: slot, requestID: requestID)
        waiting.append(Waiting(index: index, batch: batch, deadline: deadline))
    }

    /// Batches that may go to the apply thread now.
    mutating func takeReady(handedOver: LogIndex) -> [QueryBatch] {
        guard !waiting.isEmpty else { return [] }
        let ready = waiting.filter { $0.index <= handedOver }.map(\.batch)
        if !ready.isEmpty { waiting.removeAll { $0.index <= handedOver } }
        return ready
    }

    /// Batches whose time is over.
    mutating func takeExpired(now: Instant) -> [QueryBatch] {
        guard nextDeadline <= now else { return [] }
        let expired = asked.filter { $0.deadline <= now }.map(\.batch)
            + waiting.filter { $0.deadline <= now }.map(\.batch)
        asked.removeAll { $0.deadline <= now }
        waiting.removeAll { $0.deadline <= now }
        return expired
    }

    mutating func takeAll() -> [QueryBatch] {
        var all = asked.map(\.batch) + waiting.map(\.batch)
        if isGathering { all.append(gathering) }
        asked = []
        waiting = []
        gathering = QueryBatch()
        return all
    }

    var nextDeadline: Instant {
        min(asked.map(\.deadline).min() ?? .never, waiting.map(\.deadline).min() ?? .never)
    }
}
