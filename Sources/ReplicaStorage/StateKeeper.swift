package import Basics
package import MetadataMachine
package import MetadataModel
package import ReplicaCore
package import StateEngine

/// The state machine's side of a node: carries out what the replica asks of the state, first in, first out. Blocking; on
/// the apply thread.
package final class StateKeeper<Home: EngineHome> {
    package let home: Home
    package private(set) var machine: Machine<Home.StateEngineType>
    package let node: NodeID

    package init(home: Home, node: NodeID) throws(MachineError) {
        self.home = home
        self.node = node
        let engine: Home.StateEngineType
        do throws(EngineError) {
            engine = try home.openLive()
        } catch {
            throw .engine(error)
        }
        machine = try Machine(engine: engine, node: node)
    }

    init(home: Home, node: NodeID, engine: Home.StateEngineType) throws(MachineError) {
        self.home = home
        self.node = node
        machine = try Machine(engine: engine, node: node)
    }

    package func perform(_ work: ApplyWork, now: Instant) throws(MachineError) -> StateOutcome {
        switch work {
        case .entries(let slabs, let range): return .applied(try machine.apply(slabs, in: range))
        case .queries(let batch): return .answered(answers(to: batch, now: now))
        case .listSessions(let term): return .sessionsListed(machine.openSessions(), term: term)
        case .forgetOutcomes(let index):
            try machine.forgetOutcomes(through: index)
            return .nothing
        }
    }

    private func answers(to batch: QueryBatch, now: Instant) -> AnswerBatch {
        var answers = AnswerBatch()
        var writer = ByteWriter(reservingCapacity: batch.items.count * 64)
        for item in batch.items {
            let start = writer.count
            machine.answer(batch.bytes.rawSpan.extracting(item.bytes), at: now, into: &writer)
            answers.items.append(
                AnswerBatch.Item(slot: item.slot, requestID: item.requestID, bytes: start..<writer.count))
        }
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
        machine = try Machine(engine: successor, node: node)
    }
}

/// What the replica is to be told.
package enum StateOutcome: Sendable {
    case applied(ApplyReport)
    case answered(AnswerBatch)
    case sessionsListed([OpenSession], term: Term)
    case nothing

    package func deliver(to replica: inout Replica) {
        switch self {
        case .applied(let report): replica.applied(report)
        case .answered(let answers): replica.answered(answers)
        case .sessionsListed(let sessions, let term): replica.sessionsListed(sessions, term: term)
        case .nothing: break
        }
    }
}
