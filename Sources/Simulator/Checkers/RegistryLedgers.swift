package import RegistryModel

/// Resources that an agent has: what adds up once, what is given away whole as often as it is there.
package struct AgentLedger: Hashable, Sendable {
    private var entries: [[UInt8]: [Resource]] = [:]

    package init(_ resources: [Resource] = []) {
        for resource in resources { add(resource) }
    }

    /// In the order of their kinds.
    package var resources: [Resource] {
        entries.sorted { $0.key.lexicographicallyPrecedes($1.key) }.flatMap(\.value)
    }

    package mutating func add(_ resource: Resource) {
        guard !resource.value.isEmpty else { return }
        let added = resource.unallocated
        let kind = added.kindBytes
        guard added.isDivisible, var known = entries[kind]?.first, let sum = try? known.value.adding(added.value) else {
            entries[kind, default: []].append(added)
            return
        }
        known.value = sum
        entries[kind] = [known]
    }

    /// - Returns: false when it is not there, or only as a part of what is given away whole; then nothing is taken.
    @discardableResult
    package mutating func take(_ resource: Resource) -> Bool {
        guard !resource.value.isEmpty else { return true }
        let kind = resource.kindBytes
        guard var known = entries[kind] else { return false }
        if resource.isDivisible {
            guard var entry = known.first, let left = entry.value.subtracting(resource.value) else { return false }
            entry.value = left
            known = left.isEmpty ? [] : [entry]
        } else {
            guard let place = known.firstIndex(where: { $0.value == resource.value }) else { return false }
            known.remove(at: place)
        }
        entries[kind] = known.isEmpty ? nil : known
        return true
    }

    /// - Returns: nil when not all of `consumed` is there.
    func replacing(_ consumed: [Resource], by converted: [Resource]) -> AgentLedger? {
        var ledger = self
        for resource in consumed { guard ledger.take(resource) else { return nil } }
        for resource in converted { ledger.add(resource) }
        return ledger
    }
}

/// What an operation takes from an agent, and what it puts in its place, as the words for it say.
struct OperationEffect {
    let consumed: [Resource]
    let converted: [Resource]

    /// - Throws: where nothing could be meant by it.
    init(_ kind: OperationKind) throws(RegistryRefusal) {
        switch kind {
        case .reserve(let claims, let source):
            let reserved = try Self.checked(claims)
            converted = reserved
            if let source { consumed = try Self.checked(source) } else { consumed = reserved.map(\.popped) }
        case .unreserve(let claims):
            consumed = try Self.checked(claims)
            converted = consumed.map(\.popped)
        case .create(let claims):
            converted = try Self.checked(claims)
            consumed = converted.map(\.plainDisk)
        case .destroy(let claims):
            consumed = try Self.checked(claims)
            converted = consumed.map(\.plainDisk)
        case .growVolume(let claim, let more):
            let (volume, addition) = (try claim.checked().unallocated, try more.checked().unallocated)
            guard let sum = try volume.value.adding(addition.value) else {
                throw RegistryRefusal(.growIncompatible, "\(volume) and \(addition) do not add up")
            }
            consumed = [volume, addition]
            converted = [volume.with(sum)]
        case .shrinkVolume(let claim, let subtract):
            let volume = try claim.checked().unallocated
            let part = ResourceValue.scalar(try Scalar(subtract))
            guard let left = volume.value.subtracting(part) else {
                throw RegistryRefusal(.shrinkNothingLeft, "\(volume) is less than \(part)")
            }
            consumed = [volume]
            converted = [volume.with(left), volume.plainDisk.with(part)]
        }
    }

    private static func checked(_ claims: [ResourceClaim]) throws(RegistryRefusal) -> [Resource] {
        var resources: [Resource] = []
        for claim in claims { resources.append(try claim.checked().unallocated) }
        return resources
    }
}

extension Resource {
    func with(_ value: ResourceValue) -> Resource {
        var resource = self
        resource.value = value
        return resource
    }

    /// Nil: it is no volume.
    fileprivate var volumeName: String? {
        guard let role = reservationRole, let persistence = disk?.persistence else { return nil }
        return "\(role) \(persistence.id)"
    }

    /// As the agent's configuration has it, before anything was reserved or made of it.
    fileprivate var original: Resource {
        var resource = plainDisk.unallocated
        resource.stack = stack.first.map { $0.kind == .static ? [$0] : [] } ?? []
        return resource
    }
}

/// What agents have, kept outside the nodes and without the code that decides it: amounts by what they are of, and of
/// each operation what it takes and brings. It is told every command that was carried out, and what was answered; what
/// an agent has by it must be what the agent's rows say.
///
/// It knows no rules: whether something should have been refused is for the tests of the rules. It knows what must
/// never come of anything that was carried out: that something is lost, is there twice, or is done twice. Uuids are
/// remembered for ever, where the registry forgets them a day after their operation: no world lasts so long.
package struct RegistryLedgers {
    private struct Place: Hashable {
        var agent: RegistryID
        var uuid: [UInt8]
    }

    private struct Done {
        var request: OperationRequest
        var effect: OperationEffect
        var outcome: OperationRow.Outcome
        /// The agent has said how it went, or is no more.
        var hasEnded = false
    }

    /// Admitted or unreachable.
    private var agents: [RegistryID: AgentLedger] = [:]
    /// As they stated them last.
    private var totals: [RegistryID: [Resource]] = [:]
    private var operations: [Place: Done] = [:]
    private var touched: Set<RegistryID> = []

    package init() {}

    package func ledger(of agent: RegistryID) -> AgentLedger? { agents[agent] }

    /// Agents whose resources were to change since this was asked last.
    mutating func takeTouched() -> Set<RegistryID> {
        defer { touched = [] }
        return touched
    }

    /// - Parameter entries: what the agent has by its rows.
    /// - Returns: what is wrong; nil: nothing.
    package func difference(of agent: RegistryID, from entries: [Resource]) -> String? {
        let expected = (agents[agent]?.resources ?? []).map(\.description).sorted()
        let found = entries.map(\.description).sorted()
        return expected == found ? nil : "agent \(agent) has \(found), not \(expected)"
    }

    // MARK: - What was done

    /// - Parameter held: what tasks hold of an agent's resources.
    /// - Returns: what is wrong with the answer; nil: nothing.
    package mutating func apply(
        _ command: RegistryCommand, _ reply: RegistryReply, held: (RegistryID) -> [Resource]
    ) -> String? {
        switch reply {
        case .changed(let result): apply(command, result, isChanged: true, held: held)
        case .unchanged(let result): apply(command, result, isChanged: false, held: held)
        case .postponed: nil
        }
    }

    private mutating func apply(
        _ command: RegistryCommand, _ result: RegistryResult, isChanged: Bool, held: (RegistryID) -> [Resource]
    ) -> String? {
        switch (command, result) {
        case (.agentAdmit(let agent), _):
            let id = RegistryID(unchecked: agent.id)
            guard agents[id] == nil else { return "agent \(id) is admitted, and was there" }
            totals[id] = Self.checked(agent.resources)
            set(AgentLedger(Self.checked(agent.resources)), of: id)
        case (.agentMarkReachable(let agent), _):
            return isChanged ? comeBack(agent.id, agent.resources) : nil
        case (.agentsReregister(let attachments), .attached(let outcomes)):
            for (attachment, outcome) in zip(attachments, outcomes) {
                if case .rejected = outcome { continue }
                if let fault = comeBack(attachment.agent.id, attachment.agent.resources) { return fault }
            }
        case (.agentUpdate(let name, let patch), _):
            guard isChanged, let resources = patch.resources else { return nil }
            return comeBack(name, resources)
        case (.agentReport(let name, _, _), .report(let report)):
            let id = RegistryID(unchecked: name)
            for resource in report.adopted {
                guard let ledger = agents[id]?.replacing([resource.original], by: [resource]) else {
                    return "agent \(id) is taken to have \(resource), which it has not"
                }
                set(ledger, of: id)
            }
        case (.agentMarkGone(let name), .lostVolumes(let lost)):
            let id = RegistryID(unchecked: name)
            let volumes = (agents[id]?.resources ?? []).compactMap(\.volumeName)
            let said = lost.map { "\($0.role) \($0.id)" }
            guard volumes.sorted() == said.sorted() else {
                return "agent \(id) is gone, and with it \(said) are said to be lost, not \(volumes)"
            }
            end(id)
        case (.agentRemove(let name, _), _): end(RegistryID(unchecked: name))
        case (.agentsPrune, .pruned(let deleted, _)): for id in deleted { end(id) }
        case (.operationsApply(let requests, _), .operations(let outcomes)):
            guard requests.count == outcomes.count else { return "\(outcomes.count) outcomes of \(requests.count)" }
            for (request, outcome) in zip(requests, outcomes) {
                if let fault = note(request, outcome) { return fault }
            }
        case (.operationStatusUpdate(let name, let uuid, let status, let latest), _):
            let id = RegistryID(unchecked: name)
            went(Place(agent: id, uuid: uuid), latest ?? status.state, held: held(id))
        default: break
        }
        return nil
    }

    private static func checked(_ claims: [ResourceClaim]) -> [Resource] { claims.compactMap { try? $0.checked() } }

    private mutating func set(_ ledger: AgentLedger?, of id: RegistryID) {
        agents[id] = ledger
        touched.insert(id)
    }

    /// With these totals: what was reserved or made a volume before is so still. With those that it had, all is.
    private mutating func comeBack(_ name: [UInt8], _ claims: [ResourceClaim]) -> String? {
        let id = RegistryID(unchecked: name)
        let stated = Self.checked(claims)
        touched.insert(id)
        guard agents[id] == nil || totals[id] != stated else { return nil }
        totals[id] = stated
        var ledger = AgentLedger(stated.map(\.original))
        for resource in agents[id]?.resources ?? [] where resource.original.kindBytes != resource.kindBytes {
            guard let next = ledger.replacing([resource.original], by: [resource]) else {
                return "agent \(id) comes back without \(resource), which it has"
            }
            ledger = next
        }
        set(ledger, of: id)
        return nil
    }

    private mutating func end(_ id: RegistryID) {
        totals[id] = nil
        set(nil, of: id)
        for place in Array(operations.keys) where place.agent == id { operations[place]?.hasEnded = true }
    }

    private mutating func note(_ request: OperationRequest, _ outcome: OperationOutcome) -> String? {
        let id = RegistryID(unchecked: request.agentID)
        let place = Place(agent: id, uuid: request.uuid)
        let known = operations[place]
        guard case .done(let done) = outcome else {
            guard let known, known.request == request else { return nil }
            return "an operation on agent \(id) that was carried out is refused when it is asked for again"
        }
        if let known {
            guard known.request == request, known.outcome == done else {
                return "an operation on agent \(id) was carried out at generation \(known.outcome.generation), and "
                    + "again at \(done.generation)"
            }
            return nil
        }
        guard let effect = try? OperationEffect(request.kind), let ledger = agents[id] else {
            return "an operation was carried out on agent \(id), which is not there, or means nothing"
        }
        guard let next = ledger.replacing(effect.consumed, by: effect.converted) else {
            return "\(effect.consumed.map(\.description)) were taken from agent \(id), which has "
                + "\(ledger.resources.map(\.description))"
        }
        let said = done.converted.map(\.description).sorted()
        guard said == effect.converted.map(\.description).sorted() else {
            return "an operation on agent \(id) brings \(said), not \(effect.converted.map(\.description))"
        }
        set(next, of: id)
        operations[place] = Done(request: request, effect: effect, outcome: done)
        return nil
    }

    /// The agent says how it went. What it could not do is taken back, unless somebody uses it already.
    private mutating func went(_ place: Place, _ state: OperationState, held: [Resource]) {
        guard let done = operations[place], !done.hasEnded, state.isTerminal else { return }
        operations[place]?.hasEnded = true
        guard state != .finished, let ledger = agents[place.agent] else { return }
        var free = ledger
        for resource in held { free.take(resource) }
        guard free.replacing(done.effect.converted, by: []) != nil,
            let left = ledger.replacing(done.effect.converted, by: []),
            let undone = ledger.replacing(done.effect.converted, by: done.effect.consumed)
        else { return }
        // Of a volume that was not destroyed, another of its name may have been made meanwhile.
        let names = left.resources.compactMap(\.volumeName)
        guard !done.effect.consumed.compactMap(\.volumeName).contains(where: { names.contains($0) }) else { return }
        set(undone, of: place.agent)
    }
}
