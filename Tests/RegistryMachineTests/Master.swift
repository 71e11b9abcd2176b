import RegistryMachine
import RegistryModel
import Testing

/// The rows of a registry in memory, in order.
final class MemoryRows: RegistryRows {
    private var keys: [[UInt8]] = []
    private var values: [[UInt8]: [UInt8]] = [:]

    func row(at key: [UInt8]) -> [UInt8]? { values[key] }

    private func position(of key: [UInt8]) -> Int {
        var (low, high) = (0, keys.count)
        while low < high {
            let middle = (low + high) / 2
            if keys[middle].lexicographicallyPrecedes(key) { low = middle + 1 } else { high = middle }
        }
        return low
    }

    func scan(_ prefix: [UInt8], _ body: ([UInt8], [UInt8]) throws -> Bool) throws {
        var position = position(of: prefix)
        while position < keys.count, keys[position].starts(with: prefix) {
            guard try body(keys[position], values[keys[position]] ?? []) else { return }
            position += 1
        }
    }

    func set(_ key: [UInt8], to value: [UInt8]?) {
        let isThere = values[key] != nil
        values[key] = value
        guard isThere != (value != nil) else { return }
        if isThere { keys.remove(at: position(of: key)) } else { keys.insert(key, at: position(of: key)) }
    }

    var count: Int { keys.count }
    var all: [[UInt8]: [UInt8]] { values }
}

/// A master that leads, and its registry.
struct Master {
    let rows = MemoryRows()
    var fence: UInt64 = 100
    /// In s.
    var time: UInt64 = 1_000
    /// Every command is followed by a look through the whole registry.
    var audits = true

    static let everything: AgentCapabilities = [
        .hierarchicalRole, .reservationRefinement, .resizeVolume, .agentDraining,
    ]

    init(audits: Bool = true, hasQuotaHierarchy: Bool = false) {
        self.audits = audits
        _ = try? call(.recover(MasterInfo(id: Array("m1".utf8), hasQuotaHierarchy: hasQuotaHierarchy)))
    }

    var registrar: Registrar<MemoryRows> { Registrar(rows: rows, now: time * 1_000_000_000, fence: fence) }

    @discardableResult
    func call(_ command: RegistryCommand) throws -> RegistryReply {
        // As it comes out of the log.
        let command = try RegistryCommand(command.encoded())
        var registrar = registrar
        let reply = try registrar.carryOut(command)
        audit()
        #expect(try RegistryReply(reply.encoded()) == reply)
        return reply
    }

    private func audit() {
        guard audits else { return }
        #expect((try? RegistryAudit.findings(in: rows, fence: fence)) == [])
    }

    func carryOutTimers() throws {
        var registrar = registrar
        try registrar.carryOutTimers()
        audit()
    }

    /// The rule that refuses the command; nil: none does. A refusal changes no row.
    func rule(_ command: RegistryCommand) throws -> RegistryRule? { try outcome(of: command).rule }

    func outcome(of command: RegistryCommand) throws -> (rule: RegistryRule?, reply: RegistryReply?) {
        let before = rows.all
        do {
            let reply = try call(command)
            switch reply {
            case .changed(.attached(let outcomes)), .unchanged(.attached(let outcomes)):
                guard case .rejected(let rejection)? = outcomes.first else { return (nil, reply) }
                return (RegistryRule(rawValue: String(decoding: rejection.rule, as: UTF8.self)), reply)
            case .postponed(_, let rejection):
                return (RegistryRule(rawValue: String(decoding: rejection.rule, as: UTF8.self)), reply)
            case .changed, .unchanged: return (nil, reply)
            }
        } catch let refusal as RegistryRefusal {
            #expect(rows.all == before, "\(refusal) left something behind")
            return (refusal.rule, nil)
        }
    }

    func agent(_ id: String) throws -> AgentRow? {
        try rows.row(at: RegistryKey.agent(try self.id(id))).map(AgentRow.init)
    }

    func framework(_ id: String) throws -> FrameworkRow? {
        try rows.row(at: RegistryKey.framework(try self.id(id))).map(FrameworkRow.init)
    }

    func operation(_ uuid: UInt8, of agent: String = "a1") throws -> OperationRow? {
        let key = RegistryKey.operations(of: try id(agent)).adding(Operations.uuid(uuid)).bytes
        return try rows.row(at: key).map(OperationRow.init)
    }

    func id(_ id: String) throws -> RegistryID { try RegistryID(Array(id.utf8), "id") }

    /// Entries of an agent, as people read them, in alphabetical order.
    func entries(of agent: String = "a1") throws -> [String] {
        var said: [String] = []
        try rows.scan(RegistryKey.entries(of: try id(agent)).bytes) { _, value in
            said.append(try Resource(value).description)
            return true
        }
        return said.sorted()
    }

    func count(_ table: RegistryTable) throws -> Int {
        var count = 0
        try rows.scan([table.rawValue]) { _, _ in
            count += 1
            return true
        }
        return count
    }
}

// MARK: - Commands as tests write them

enum Agents {
    static let resources = [
        Claims.cpus(8), Claims.mem(16_384), Claims.root(10_240), Claims.path(200_000), Claims.mount(500_000),
    ]

    static func claim(
        _ id: String = "a1", host: String? = nil, ip: String = "10.0.0.1", resources: [ResourceClaim] = resources,
        isCheckpointing: Bool = true, capabilities: AgentCapabilities = Master.everything
    ) -> AgentClaim {
        AgentClaim(
            id: Array(id.utf8),
            info: AgentInfo(
                hostname: Array((host ?? "\(id).example").utf8), ip: Array(ip.utf8), isCheckpointing: isCheckpointing,
                capabilities: capabilities), resources: resources)
    }

    static func admit(_ id: String = "a1") -> RegistryCommand { .agentAdmit(claim(id)) }

    static func reregister(
        _ agent: AgentClaim, generation: UInt64, digest: [UInt8] = CheckpointDigest.ofNothing
    ) -> RegistryCommand {
        .agentsReregister([AgentAttachment(agent: agent, generation: generation, digest: digest)])
    }

    static func machine(_ id: String = "a1") -> MachineID {
        MachineID(hostname: Array("\(id.uppercased()).example".utf8), ip: Array("10.0.0.1".utf8))
    }
}

enum Frameworks {
    static func info(
        _ id: String = "", roles: [String] = ["db"], principal: String? = "p", timeout: Double = 600,
        capabilities: FrameworkCapabilities = .multiRole
    ) -> FrameworkInfo {
        FrameworkInfo(
            id: Array(id.utf8), name: Array("pg".utf8), principal: principal.map { Array($0.utf8) },
            roles: roles.map { Array($0.utf8) }, capabilities: capabilities, failoverTimeout: timeout)
    }

    static func subscribe(
        _ info: FrameworkInfo, connection: String = "c1", principal: String? = nil, isForced: Bool = false
    ) -> RegistryCommand {
        .frameworkSubscribe(
            info, principal: principal.map { Array($0.utf8) }, connection: Array(connection.utf8), isForced: isForced)
    }
}

enum Operations {
    static func uuid(_ number: UInt8) -> [UInt8] { [UInt8](repeating: number, count: 16) }

    /// One operation, alone: its refusal is the command's.
    static func apply(
        _ number: UInt8, _ kind: OperationKind, agent: String = "a1", framework: String? = nil,
        principal: String? = nil,
        id: String? = nil, version: [UInt8]? = nil
    ) -> RegistryCommand {
        .operationsApply(
            [request(number, kind, agent: agent, framework: framework, principal: principal, id: id, version: version)],
            isAtomic: true)
    }

    static func request(
        _ number: UInt8, _ kind: OperationKind, agent: String = "a1", framework: String? = nil,
        principal: String? = nil,
        id: String? = nil, version: [UInt8]? = nil
    ) -> OperationRequest {
        OperationRequest(
            agentID: Array(agent.utf8), frameworkID: framework.map { Array($0.utf8) },
            principal: principal.map { Array($0.utf8) }, uuid: uuid(number), operationID: id.map { Array($0.utf8) },
            resourceVersion: version, kind: kind)
    }

    static func status(
        _ number: UInt8, _ state: OperationState, uuid statusUUID: UInt8? = nil, agent: String = "a1",
        latest: OperationState? = nil
    ) -> RegistryCommand {
        .operationStatusUpdate(
            agentID: Array(agent.utf8), uuid: uuid(number),
            status: OperationStatus(state: state, uuid: statusUUID.map(uuid)), latest: latest)
    }

    static func acquire(
        _ hold: String, role: String = "db", _ resources: [ResourceClaim], framework: String = "m1-0000",
        agent: String = "a1"
    ) -> RegistryCommand {
        .acquire(
            agentID: Array(agent.utf8), frameworkID: Array(framework.utf8), holdID: Array(hold.utf8),
            role: Array(role.utf8),
            resources: resources)
    }

    static func release(_ hold: String, framework: String = "m1-0000", agent: String = "a1") -> RegistryCommand {
        .release(agentID: Array(agent.utf8), frameworkID: Array(framework.utf8), holdID: Array(hold.utf8))
    }
}
