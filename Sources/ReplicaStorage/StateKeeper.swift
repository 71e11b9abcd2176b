package import Basics
internal import LogFormat
package import MetadataMachine
package import MetadataModel
package import ReplicaCore
package import StateEngine

/// The state machine's side of a node: carries out what the replica asks of the state, first in, first out. Blocking but for
/// what `isQuick`; on the apply thread.
package final class StateKeeper<Home: EngineHome> {
    package let home: Home
    package private(set) var machine: Machine<Home.StateEngineType>
    package let node: NodeID
    /// Applying has met damage half-way: what this machine says of itself cannot be trusted until it is replaced.
    package private(set) var isBroken = false

    private let levels: FeatureLevels
    /// A batch of queries was not answered to its end: those that were handed over before the replica knew of it go back
    /// as they are, or later queries would be answered before earlier ones.
    private var hasLeftQueries = false
    private var pause: (index: LogIndex, body: () -> Void)?

    package init(home: Home, node: NodeID, levels: FeatureLevels = FeatureLevels()) throws(MachineError) {
        self.home = home
        self.node = node
        self.levels = levels
        let engine: Home.StateEngineType
        do throws(EngineError) {
            engine = try home.openLive()
        } catch {
            throw .engine(error)
        }
        machine = try Machine(engine: engine, node: node, levels: levels)
    }

    init(home: Home, node: NodeID, levels: FeatureLevels, engine: Home.StateEngineType) throws(MachineError) {
        self.home = home
        self.node = node
        self.levels = levels
        machine = try Machine(engine: engine, node: node, levels: levels)
    }

    /// Damage to rows is an outcome, because the others of the cluster have them; what else goes wrong is thrown.
    package func perform(_ work: ApplyWork, now: Instant) throws(MachineError) -> StateOutcome {
        guard !isBroken else { return refuse(work) }
        do throws(MachineError) {
            return try carryOut(work, now: now)
        } catch {
            return try broke(error)
        }
    }

    /// Whether the work takes microseconds and waits for nothing, so that it may be done where nothing may wait.
    package func isQuick(_ work: ApplyWork) -> Bool {
        guard case .entries(let slabs, let range) = work, range.entryCount <= Self.quickEntriesMax else { return false }
        return !isBroken && pause == nil && machine.appliesInMemory(slabs, in: range, byteCountMax: Self.quickSizeMax)
    }

    /// Of more, the loop has others to take in meanwhile, and these then share a sync.
    private static var quickEntriesMax: Int { 2 }
    private static var quickSizeMax: Int { 16 * 1_024 }

    /// To be called with what a use of `machine` has thrown.
    package func broke(_ error: MachineError) throws(MachineError) -> StateOutcome {
        guard case .engine(.corrupt(let reason)) = error else { throw error }
        isBroken = true
        return .damaged(reason, isUsable: false)
    }

    private func refuse(_ work: ApplyWork) -> StateOutcome {
        guard case .queries(let batch) = work else { return .nothing }
        var answers = AnswerBatch()
        var writer = ByteWriter()
        for item in batch.waiting {
            let start = writer.count
            ReplyError(.quarantined, "this node's state is damaged and is being rebuilt").encode(
                revision: .zero, into: &writer)
            answers.items.append(
                AnswerBatch.Item(slot: item.slot, requestID: item.requestID, bytes: start..<writer.count))
        }
        answers.bytes = writer.takeBytes()
        return .answered(answers)
    }

    private func carryOut(_ work: ApplyWork, now: Instant) throws(MachineError) -> StateOutcome {
        switch work {
        case .entries(let slabs, let range): return .applied(try apply(slabs, in: range))
        case .queries(let batch):
            let hadDamage = machine.damage != nil
            let answers = answers(to: batch, now: now)
            guard let damage = machine.damage, !hadDamage else { return .answered(answers) }
            return .answeredWithDamage(answers, damage)
        case .listSessions(let term):
            return .sessionsListed(machine.openSessions(), nextTimer: machine.nextTimer, term: term)
        case .findOrphans(let after, let term):
            let found = try machine.findOrphans(after: after, limit: Self.ownersPerSearch)
            return .orphansFound(found.orphans, next: found.lookedThrough, term: term)
        case .feed(let slabs, let range, let isLive):
            return feed(slabs, in: range, isLive: isLive)
        case .forgetOutcomes(let index):
            try machine.forgetOutcomes(through: index)
            return .nothing
        }
    }

    /// In two parts where somebody wants to see the state in between. How entries are grouped is this node's own affair.
    private func apply(_ slabs: [Slab], in range: ClosedRange<LogIndex>) throws(MachineError) -> ApplyReport {
        guard let pause, range.contains(pause.index) else { return try machine.apply(slabs, in: range) }
        self.pause = nil
        var report: ApplyReport
        do throws(MachineError) {
            report = try machine.apply(slabs, in: range.lowerBound...pause.index)
        } catch {
            // Whoever waits sees that the state is broken.
            pause.body()
            throw error
        }
        pause.body()
        if pause.index < range.upperBound {
            report.append(try machine.apply(slabs, in: pause.index.next...range.upperBound))
        }
        return report
    }

    /// Calls `body` when exactly the entries through `index` are applied; at once when more are already.
    package func pause(at index: LogIndex, _ body: @escaping () -> Void) {
        guard machine.applied.last.index < index else {
            pause = nil
            return body()
        }
        pause = (index, body)
    }

    /// Whoever waits for entries that do not come takes the state as it is.
    package func endPause() {
        guard let pause else { return }
        self.pause = nil
        pause.body()
    }

    /// Owners looked at in one go: a seek each, so that applies and reads do not wait long behind it.
    private static var ownersPerSearch: Int { 256 }

    /// Nil when this state does not know what the entries did. Watches are not worth a node's life.
    private func feed(
        _ slabs: [Slab], in range: ClosedRange<LogIndex>, isLive: Bool
    ) -> StateOutcome {
        do throws(MachineError) {
            return .fed(try machine.feed(slabs, in: range), range: range, isLive: isLive)
        } catch .malformed {
            return .fed(nil, range: range, isLive: isLive)
        } catch .engine(.corrupt(let reason)) {
            // Rows that only a watch has asked for: what is applied stays as good as it was.
            return .feedDamaged(reason, range: range, isLive: isLive)
        } catch {
            // They may be read the next time.
            return .feedFailed("\(error)", range: range, isLive: isLive)
        }
    }

    /// As many as one go makes: the rest waits until these have been taken, and entries have had their turn.
    private func answers(to batch: QueryBatch, now: Instant) -> AnswerBatch {
        var answers = AnswerBatch()
        if batch.isAlone { hasLeftQueries = false }
        guard !hasLeftQueries else { return answers }
        var writer = ByteWriter(reservingCapacity: min(batch.waiting.count * 64, Limits.answerBatchSizeMax))
        let rowsBefore = machine.rowsLookedAt
        for item in batch.waiting {
            let start = writer.count
            machine.answer(batch.bytes.rawSpan.extracting(item.bytes), at: now, into: &writer)
            answers.items.append(
                AnswerBatch.Item(slot: item.slot, requestID: item.requestID, bytes: start..<writer.count))
            guard writer.count < Limits.answerBatchSizeMax, machine.rowsLookedAt - rowsBefore < Limits.countRowsMax else {
                break
            }
        }
        hasLeftQueries = answers.items.count < batch.waiting.count
        answers.bytes = writer.takeBytes()
        return answers
    }

    package func snapshotSource() throws(MachineError) -> SnapshotSource<Home.StateEngineType.View> {
        try machine.snapshotSource()
    }

    /// Takes the successor that `SnapshotKeeper.install` has built: from here on it is the state.
    package func adopt(_ successor: Home.StateEngineType) throws(MachineError) {
        do throws(EngineError) {
            try home.adoptSuccessor()
        } catch {
            throw .engine(error)
        }
        machine = try Machine(engine: successor, node: node, levels: levels)
        isBroken = false
    }
}

/// What the replica is to be told.
package enum StateOutcome: Sendable {
    case applied(ApplyReport)
    case answered(AnswerBatch)
    /// Some of them could not be answered, because rows are damaged; says which.
    case answeredWithDamage(AnswerBatch, String)
    /// Rows are damaged; says which. Not usable: nothing more can be applied to this state.
    case damaged(String, isUsable: Bool)
    case sessionsListed([OpenSession], nextTimer: ClusterTime?, term: Term)
    case orphansFound([SessionID], next: SessionID?, term: Term)
    /// What the entries of the range changed; nil when this state cannot tell.
    case fed(FeedBatch?, range: ClosedRange<LogIndex>, isLive: Bool)
    /// What entries changed cannot be told, because rows are damaged; says which.
    case feedDamaged(String, range: ClosedRange<LogIndex>, isLive: Bool)
    /// What entries changed could not be read this time; says why.
    case feedFailed(String, range: ClosedRange<LogIndex>, isLive: Bool)
    case nothing

    package func deliver(to replica: inout Replica) {
        switch self {
        case .applied(let report): replica.applied(report)
        case .answered(let answers): replica.answered(answers)
        case .answeredWithDamage(let answers, let reason):
            replica.stateDamaged(reason: reason, isUsable: true)
            replica.answered(answers)
        case .damaged(let reason, let isUsable): replica.stateDamaged(reason: reason, isUsable: isUsable)
        case .sessionsListed(let sessions, let nextTimer, let term):
            replica.sessionsListed(sessions, nextTimer: nextTimer, term: term)
        case .orphansFound(let orphans, let next, let term): replica.orphansFound(orphans, next: next, term: term)
        case .fed(let batch, let range, let isLive): replica.fed(batch, range: range, isLive: isLive)
        case .feedDamaged(let reason, let range, let isLive):
            replica.stateDamaged(reason: reason, isUsable: true)
            replica.fed(nil, range: range, isLive: isLive)
        case .feedFailed(let reason, let range, let isLive):
            if isLive { replica.fed(nil, range: range, isLive: true) } else { replica.feedFailed(range, reason: reason) }
        case .nothing: break
        }
    }
}
