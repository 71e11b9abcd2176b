internal import Basics
internal import ClientCore
internal import MetadataModel
internal import RegistryModel
internal import Wire

/// Masters in the workload: some clients campaign, and whoever leads recovers the registry and does with it what masters
/// do, at random, over a small cast. It goes by its fence until it is refused, and now and then by one that it had before.
extension World {
    func isMaster(_ client: SimClient) -> Bool { client.number < RegistryCast.masterCount }

    /// The next thing that `client` does as a master.
    func nextRegistryItem(for client: SimClient) -> WorkItem {
        let master = client.master
        if let fence = master.formerFence, registryChance.happens(percent: 6) {
            return commandItem(client, nextCommand(under: fence), fence)
        }
        let group = RegistryCommand.electionGroup
        guard let fence = master.fence else {
            guard let ticket = master.ticket else {
                let data = Array("master \(client.number)".utf8)
                return registryItem(client, .stand, .coordination(.campaign(group: group, data: data)))
            }
            let query = Query.candidates(group: group, after: ticket.previous, limit: 1)
            return WorkItem(
                call: .query(query.encoded(), level: .linearizable, address: nil),
                expectation: .registry(.find(ticket: ticket), content: []), group: nil,
                operation: operation(of: client))
        }
        if registryChance.happens(percent: 2) {
            return registryItem(client, .leave, .coordination(.withdraw(group: group)))
        }
        guard master.hasTakenOver else {
            let info = MasterInfo(id: Array("m\(client.number)".utf8), hasQuotaHierarchy: true)
            return commandItem(client, .recover(info), fence)
        }
        return commandItem(client, nextCommand(under: fence), fence)
    }

    private func operation(of client: SimClient) -> Operation {
        Operation(client: client.number, called: now.nanoseconds, returned: nil)
    }

    private func registryItem(
        _ client: SimClient, _ ask: RegistryAsk, _ mutation: Mutation, guards: [Guard] = [], isOnce: Bool = false
    ) -> WorkItem {
        let content = CommandContent(mutation, guards: guards)
        return WorkItem(
            call: isOnce ? .mutateOnce(content) : .mutate(content),
            expectation: .registry(ask, content: [content.kind.rawValue] + content.body), group: nil,
            operation: operation(of: client))
    }

    private func commandItem(_ client: SimClient, _ command: RegistryCommand, _ fence: UInt64) -> WorkItem {
        let condition = Guard(kind: .election, name: RegistryCommand.electionGroup, fence: fence)
        // Not only through the session that leads: whoever was given the fence may use it.
        return registryItem(
            client, .command(command, fence: fence), .registry(command), guards: [condition],
            isOnce: registryChance.happens(percent: 25))
    }

    // MARK: - What masters ask for

    private func nextCommand(under fence: UInt64) -> RegistryCommand {
        let agent = registryChance.pick(cast.agents)
        if agent.isReportWanted, registryChance.happens(percent: 70) { return agent.report }
        // Whoever lost its master comes to the next one before long.
        let strayed = cast.agents.filter { $0.attachedFence != fence }
        if !strayed.isEmpty, registryChance.happens(percent: 30) {
            let count = registryChance.number(in: 1...strayed.count)
            return .agentsReregister(strayed.prefix(count).map(\.attachment))
        }
        let framework = cast.frameworks.first { $0.attachedFence != fence }
        if let framework, registryChance.happens(percent: 30) { return subscription(of: framework) }
        switch registryChance.number(in: 0...99) {
        case 0..<34: return operations()
        case 34..<42: return repeatedOperations()
        case 42..<50: return acquisition()
        case 50..<55: return release()
        case 55..<65: return status()
        case 65..<70: return acknowledgement()
        case 70..<88: return agentCommand(agent)
        case 88..<93: return frameworkCommand()
        default: return otherCommand(agent)
        }
    }

    private func agentCommand(_ agent: SimAgent) -> RegistryCommand {
        switch registryChance.number(in: 0...39) {
        case 0..<5: return .agentAdmit(agent.claim)
        case 5..<9: return .agentsReregister([agent.attachment])
        case 9..<13: return .agentMarkUnreachable(id: agent.id)
        case 13..<16: return .agentMarkReachable(agent.claim)
        case 16: return .agentMarkGone(id: agent.id)
        case 17: return .agentRemove(id: agent.id, discardsVolumes: registryChance.happens(percent: 50))
        case 18:
            return .agentsPrune(
                unreachable: [agent.id], gone: cast.goneIDs, includesVolumes: registryChance.happens(percent: 30))
        case 19:
            // Its disk is lost.
            var empty = agent
            empty.forget()
            cast.changeAgent(agent.id) { $0 = empty }
            return .agentsReregister([empty.attachment])
        case 20..<24:
            var changed = agent
            changed.cpus = registryChance.number(in: 6...12)
            cast.changeAgent(agent.id) { $0 = changed }
            return .agentUpdate(id: agent.id, AgentPatch(resources: changed.claim.resources))
        case 24, 25:
            let period: UInt64? = registryChance.happens(percent: 50) ? 1_000_000_000 : nil
            return .agentDrain(id: agent.id, maxGracePeriod: period, marksGone: false)
        case 26..<29: return .agentMarkDrained(id: agent.id)
        case 29: return .agentDeactivate(id: agent.id)
        case 30..<35: return .agentReactivate(id: agent.id)
        default: return .agentsApproveRemoval(count: 5, until: .max)
        }
    }

    private func subscription(of framework: SimFramework) -> RegistryCommand {
        .frameworkSubscribe(
            framework.info, principal: registryChance.happens(percent: 50) ? RegistryCast.principal : nil,
            connection: connection(), isForced: registryChance.happens(percent: 50))
    }

    private func connection() -> [UInt8] { Array("c\(registryChance.number(in: 0...2))".utf8) }

    private func frameworkCommand() -> RegistryCommand {
        let framework = registryChance.pick(cast.frameworks)
        switch registryChance.number(in: 0...9) {
        case 0..<4: return subscription(of: framework)
        case 4:
            var info = framework.info
            info.hostname = Array("host\(registryChance.number(in: 0...2))".utf8)
            return .frameworkUpdate(info, principal: nil)
        case 5..<8: return .frameworkDisconnect(id: framework.id, connection: connection())
        case 8: return .frameworkTeardown(id: framework.id)
        default: return .frameworksForget([framework.id])
        }
    }

    private func otherCommand(_ agent: SimAgent) -> RegistryCommand {
        let role = registryChance.pick(RegistryCast.roles).bytes
        switch registryChance.number(in: 0...9) {
        case 0: return .weightsUpdate([Weight(role: role, weight: Double(registryChance.number(in: 1...4)) / 2)])
        case 1, 2:
            let cpus = Array("cpus".utf8)
            let guarantee = NamedNumber(name: cpus, number: Double(registryChance.number(in: 0...2)))
            let limit = NamedNumber(name: cpus, number: Double(registryChance.number(in: 2...40)))
            return .quotaUpdate(
                [QuotaConfig(role: role, guarantees: [guarantee], limits: [limit])],
                isForced: registryChance.happens(percent: 50))
        case 3:
            let window = MaintenanceWindow(machines: [agent.machine], unavailability: Unavailability(start: 0))
            return .scheduleUpdate(registryChance.happens(percent: 70) ? [window] : nil)
        case 4: return .maintenanceStart([agent.machine])
        case 5..<8: return .maintenanceStop([agent.machine])
        default:
            let id = Array("provider\(registryChance.number(in: 0...5))".utf8)
            guard registryChance.happens(percent: 30) else { return .providerAdmit(id: id, type: nil, name: nil) }
            return .providerRemove(id: id)
        }
    }

    // MARK: - Operations

    private func operations() -> RegistryCommand {
        var requests: [OperationRequest] = []
        for _ in 0..<registryChance.pick([1, 1, 1, 2, 3]) {
            let request = nextRequest()
            cast.add(SimOperation(request: request))
            requests.append(request)
        }
        // Within one command too it is carried out once.
        if registryChance.happens(percent: 10) { requests.append(requests[0]) }
        return .operationsApply(requests, isAtomic: registryChance.happens(percent: 40))
    }

    /// What was asked for before: its outcome may be unknown, or somebody else may have asked.
    private func repeatedOperations() -> RegistryCommand {
        guard !cast.operations.isEmpty else { return operations() }
        let request = registryChance.pick(cast.operations).request
        return .operationsApply([request], isAtomic: registryChance.happens(percent: 50))
    }

    /// What the agent has, as a master with a current view knows it; where it is not there, what it would have.
    private func resources(of agent: SimAgent) -> [Resource] {
        oracle.registry?.ledger(of: agent.id)?.resources ?? agent.totals
    }

    private func nextRequest() -> OperationRequest {
        let agent = registryChance.pick(cast.agents)
        let framework = registryChance.pick(cast.frameworks)
        let isOfFramework = !framework.id.isEmpty && registryChance.happens(percent: 60)
        let role = registryChance.pick(isOfFramework ? framework.roles : RegistryCast.roles)
        let kind = nextKind(on: resources(of: agent), to: role, isOffered: isOfFramework)
        let uuid = cast.newUUID()
        return OperationRequest(
            agentID: agent.id, frameworkID: isOfFramework ? framework.id : nil,
            principal: registryChance.happens(percent: 50) ? RegistryCast.principal : nil, uuid: uuid,
            operationID: isOfFramework && registryChance.happens(percent: 60) ? cast.newUUID().hexadecimal : nil,
            kind: kind)
    }

    private func nextKind(on resources: [Resource], to role: RoleName, isOffered: Bool) -> OperationKind {
        let resource = registryChance.pick(resources)
        func claim(_ resource: Resource) -> ResourceClaim { ResourceClaim(resource, offeredTo: isOffered ? role : nil) }
        if resource.isVolume {
            switch registryChance.number(in: 0...9) {
            case 0..<5: return .destroy([claim(resource)])
            case 5..<7:
                return .growVolume(claim(resource), addition: claim(resource.plainDisk.with(.scalar(one))))
            case 7..<9: return .shrinkVolume(claim(resource), subtract: 1)
            default: return .unreserve([claim(resource)])
            }
        }
        var part = part(of: resource)
        let level = Reservation(kind: .dynamic, role: role, principal: RegistryCast.principal)
        guard part.stack.last?.kind == .dynamic else {
            // On what is reserved by configuration stands a role below that one.
            let tools = Reservation(kind: .dynamic, role: RegistryCast.tools, principal: RegistryCast.principal)
            part.stack.append(part.stack.isEmpty ? level : tools)
            return .reserve([claim(part)])
        }
        switch registryChance.number(in: 0...9) {
        case 0..<5 where part.name == Array("disk".utf8):
            var disk = part.disk ?? DiskInfo()
            let name = Array("v\(registryChance.number(in: 0...3))".utf8)
            disk.persistence = Persistence(id: RegistryID(unchecked: name), principal: RegistryCast.principal)
            disk.volume = VolumeMount(containerPath: name)
            part.disk = disk
            return .create([claim(part)])
        case 0..<7: return .unreserve([claim(part)])
        case 7, 8:
            var other = part
            other.stack = [level]
            return .reserve([claim(other)], source: [claim(part)])
        default:
            part.stack.append(Reservation(kind: .dynamic, role: RegistryCast.logs, principal: RegistryCast.principal))
            return .reserve([claim(part)])
        }
    }

    private var one: Scalar { Scalar(thousandths: 1_000) ?? .zero }

    /// Some of it; all of what is given away whole, mostly.
    private func part(of resource: Resource) -> Resource {
        switch resource.value {
        case .scalar(let amount) where resource.isDivisible:
            let wanted = Int64(registryChance.pick([1, 1, 2, 4])) * 1_000
            return resource.with(.scalar(Scalar(thousandths: min(wanted, amount.thousandths)) ?? amount))
        case .scalar(let amount):
            guard registryChance.happens(percent: 10) else { return resource }
            return resource.with(.scalar(Scalar(thousandths: amount.thousandths / 2) ?? amount))
        case .ranges(let ranges):
            guard let first = ranges.ranges.first else { return resource }
            return resource.with(.ranges(IntegerRanges(first.lowerBound...min(first.upperBound, first.lowerBound + 4))))
        case .set: return resource
        }
    }

    // MARK: - Tasks, and how operations went

    private func holdID() -> [UInt8] { Array("task\(registryChance.number(in: 0...4))".utf8) }

    private func acquisition() -> RegistryCommand {
        let (agent, framework) = (registryChance.pick(cast.agents), registryChance.pick(cast.frameworks))
        let role = registryChance.pick(framework.roles)
        let mine = resources(of: agent).filter { $0.isAllocatable(to: role) }
        guard !mine.isEmpty else { return release() }
        let part = part(of: registryChance.pick(mine))
        return .acquire(
            agentID: agent.id, frameworkID: framework.id, holdID: holdID(), role: role.bytes,
            resources: [ResourceClaim(part)])
    }

    private func release() -> RegistryCommand {
        let (agent, framework) = (registryChance.pick(cast.agents), registryChance.pick(cast.frameworks))
        return .release(agentID: agent.id, frameworkID: framework.id, holdID: holdID())
    }

    private func status() -> RegistryCommand {
        guard !cast.operations.isEmpty else { return operations() }
        let place = registryChance.number(in: 0...cast.operations.count - 1)
        let operation = cast.operations[place]
        var status = OperationStatus(state: registryChance.pick([.finished, .finished, .finished, .failed, .pending]))
        if operation.request.operationID != nil { status.uuid = cast.newUUID() }
        // An agent says it again until it is acknowledged.
        if let said = operation.status, registryChance.happens(percent: 60) { status = said }
        cast.changeOperation(at: place) { $0.status = status }
        return .operationStatusUpdate(
            agentID: operation.request.agentID, uuid: operation.request.uuid, status: status, latest: nil)
    }

    private func acknowledgement() -> RegistryCommand {
        let waiting = cast.operations.filter { $0.status?.uuid != nil }
        guard !waiting.isEmpty else { return status() }
        let operation = registryChance.pick(waiting)
        return .operationAcknowledge(
            frameworkID: operation.request.frameworkID ?? [], operationID: operation.request.operationID ?? [],
            statusUUID: operation.status?.uuid ?? [], agentID: operation.request.agentID)
    }
}

extension [UInt8] {
    fileprivate var hexadecimal: [UInt8] {
        flatMap { byte in [byte >> 4, byte & 15].map { $0 < 10 ? 0x30 + $0 : 0x57 + $0 } }
    }
}
