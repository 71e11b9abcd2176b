internal import Basics
internal import RegistryModel

/// Commands of the leading master that a run carries out.
package struct RegistryLoad: Hashable, Sendable {
    package enum Commands: Hashable, Sendable {
        /// The master takes over.
        case recovery
        /// Each subscribes.
        case frameworks
        /// Each is admitted.
        case agents
        /// The operations that make all volumes, those of some agents together.
        case volumes
        /// Each agent says that these operations have been carried out.
        case reports
        /// One field of an agent drawn at random changes; without end.
        case updates
        /// An operation on one resource of an agent drawn at random; without end.
        case reservations
        /// The first agents come back, as many together as may.
        case attachments([AgentCheckpoint])
    }

    package var shape: RegistryShape
    /// Of the master.
    package var fence: UInt64
    package var commands: Commands

    package init(shape: RegistryShape, fence: UInt64, commands: Commands) {
        self.shape = shape
        self.fence = fence
        self.commands = commands
    }
}

/// What an agent has on its disk of what it was told last.
package struct AgentCheckpoint: Hashable, Sendable {
    package var generation: UInt64
    package var digest: [UInt8]

    package init(generation: UInt64, digest: [UInt8]) {
        self.generation = generation
        self.digest = digest
    }
}

extension RegistryLoad {
    /// For the report.
    var name: String {
        switch commands {
        case .recovery: "recovery"
        case .frameworks: "frameworks"
        case .agents: "agents"
        case .volumes: "volumes"
        case .reports: "reports"
        case .updates: "agent update"
        case .reservations: "reservation"
        case .attachments: "attachments"
        }
    }

    /// How many commands there are, each to be carried out once; nil: without end.
    var count: Int? {
        switch commands {
        case .recovery: 1
        case .frameworks: shape.frameworks
        case .agents: shape.agents
        case .volumes: (shape.agents + agentsPerBatch - 1) / agentsPerBatch
        case .reports: shape.agents * RegistryShape.operationsPerAgent
        case .attachments(let checkpoints):
            (checkpoints.count + RegistryCommand.objectsMax - 1) / RegistryCommand.objectsMax
        case .updates, .reservations: nil
        }
    }

    /// Commands that are large: fewer of them are under way at a time.
    var isBatched: Bool {
        switch commands {
        case .volumes, .attachments: true
        case .recovery, .frameworks, .agents, .reports, .updates, .reservations: false
        }
    }

    /// Volumes that one command makes, unless a single agent has more. Some 100 KiB.
    private static let volumesPerBatch = 512

    private var agentsPerBatch: Int {
        let fitting = Self.volumesPerBatch * shape.agents / shape.volumes
        return min(max(1, fitting), RegistryCommand.objectsMax / RegistryShape.operationsPerAgent)
    }

    /// - Parameters:
    ///   - number: below `count`; without one, an agent's.
    ///   - chance: makes a command without end differ from those before.
    func command(_ number: Int, chance: UInt64) -> RegistryCommand {
        switch commands {
        case .recovery: return .recover(MasterInfo(id: Array("bench".utf8)))
        case .frameworks:
            return .frameworkSubscribe(
                shape.framework(number), principal: nil, connection: Array("bench".utf8), isForced: true)
        case .agents: return .agentAdmit(shape.agent(number))
        case .volumes:
            let first = number * agentsPerBatch
            let agents = first..<min(first + agentsPerBatch, shape.agents)
            return .operationsApply(agents.flatMap { shape.operations(of: $0) }, isAtomic: true)
        case .reports:
            let (agent, operation) = number.quotientAndRemainder(dividingBy: RegistryShape.operationsPerAgent)
            return shape.report(operation, of: agent)
        case .updates:
            let patch = AgentPatch(attributes: shape.attributes(of: number, image: chance))
            return .agentUpdate(id: shape.agentID(number), patch)
        case .reservations:
            return .operationsApply([shape.reservation(of: number, uuid: chance)], isAtomic: true)
        case .attachments(let checkpoints):
            let first = number * RegistryCommand.objectsMax
            let agents = first..<min(first + RegistryCommand.objectsMax, checkpoints.count)
            return .agentsReregister(
                agents.map { agent in
                    AgentAttachment(
                        agent: shape.agent(agent), generation: checkpoints[agent].generation,
                        digest: checkpoints[agent].digest)
                })
        }
    }
}

extension RegistryReply {
    /// Which rule kept it from doing all that it was to; nil when it did.
    var failure: String? {
        switch self {
        case .postponed(_, let rejection): return String(decoding: rejection.rule, as: UTF8.self)
        case .changed(.attached(let outcomes)), .unchanged(.attached(let outcomes)):
            for outcome in outcomes {
                switch outcome {
                case .upToDate: continue
                case .behind, .reportWanted: return "agentNotUpToDate"
                case .rejected(let rejection): return String(decoding: rejection.rule, as: UTF8.self)
                }
            }
            return nil
        case .changed, .unchanged: return nil
        }
    }
}
