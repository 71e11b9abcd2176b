internal import ArgumentParser
internal import Client
internal import ExampleMail
internal import RegistryModel

/// Reads the whole registry at one revision, and compares sums: what an agent's entries come to with what the agent
/// says that it has, and what all of them come to with what the registry counts.
struct Audit: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Check every sum of the ledger, and print what is reserved: a line each.")

    @OptionGroup var cluster: ClusterOptions

    func run() async throws {
        let client = cluster.client("audit")
        var present = client.observeAgents().makeAsyncIterator()
        let agents = try await present.next()?.present ?? []
        let view = try await client.registry()
        await client.shutdown()

        var wrong: [String] = []
        var ledgers: [[UInt8]: Sums] = [:]
        var capacity = Sums()
        for record in view.records.values {
            guard case .entry(let agentID, let entry) = record else { continue }
            try ledgers[agentID.bytes, default: Sums()].add(entry.resource)
            if view.agent(agentID)?.state == .admitted { try capacity.add(named: entry.resource) }
            tell(entry.resource, of: agentID)
        }
        for attachment in agents {
            var stated = Sums()
            for claim in attachment.agent.resources { try stated.add(try claim.checked()) }
            if ledgers[attachment.agent.id] != stated {
                wrong.append("\(String(decoding: attachment.agent.id, as: UTF8.self)): entries are not what it has")
            }
        }
        var counted = Sums()
        for record in view.records.values {
            if case .capacity(let resource, let amount) = record { counted.amounts[resource] = .scalar(amount) }
        }
        if counted != capacity { wrong.append("capacity") }
        // Nothing is held here: what roles consume is what is reserved to them.
        for role in view.roles().values where role.consumption != role.reserved {
            wrong.append("role \(role.role)")
        }
        say(
            "audited",
            [
                "revision": view.revision, "agents": ledgers.count, "present": agents.count, "wrong": wrong.sorted(),
                "fence": view.registry.fence,
            ])
        if !wrong.isEmpty { throw ExitCode(1) }
    }

    private func tell(_ resource: Resource, of agent: RegistryID) {
        guard let role = resource.reservationRole, case .scalar(let amount) = resource.value else { return }
        say(
            "reserved",
            [
                "agent": agent.description, "role": role.description, "amount": amount.double,
                "resource": String(decoding: resource.name, as: UTF8.self),
                "volume": resource.disk?.persistence?.id.description ?? "",
            ])
    }
}

/// Amounts by what they are of.
private struct Sums: Equatable {
    var amounts: [[UInt8]: ResourceValue] = [:]

    /// Whomever it is reserved to, and whatever was made of it.
    mutating func add(_ resource: Resource) throws(RegistryRefusal) {
        var plain = resource.plainDisk
        plain.stack = []
        try add(plain.value, plain.kindBytes)
    }

    mutating func add(named resource: Resource) throws(RegistryRefusal) {
        guard case .scalar = resource.value, !resource.isRevocable else { return }
        try add(resource.value, resource.name)
    }

    private mutating func add(_ value: ResourceValue, _ key: [UInt8]) throws(RegistryRefusal) {
        guard let sum = amounts[key] else {
            amounts[key] = value
            return
        }
        amounts[key] = try sum.adding(value)
    }
}
