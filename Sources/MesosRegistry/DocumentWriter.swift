package import RegistryModel

/// Makes the JSON document of a Mesos master's registry of the records of one. What the document has no place for is
/// left out: frameworks, operations, what is held, where an agent is attached. What came with an import is written as it
/// came, as long as it says what is stored.
package struct DocumentWriter {
    private var registry = RegistryRow()
    private var agents: [RegistryID: AgentRow] = [:]
    private var infos: [RegistryID: AgentInfo] = [:]
    private var entries: [RegistryID: [Resource]] = [:]
    private var machines: [[UInt8]: MachineRow] = [:]
    private var windows: [UInt32: MaintenanceWindow] = [:]
    private var quotas: [JSONValue] = []
    private var legacyQuotas: [JSONValue] = []
    private var weights: [JSONValue] = []
    private var providers: [JSONValue] = []
    private var removedProviders: [JSONValue] = []
    private var capabilities: [JSONValue] = []
    private var documents: [[UInt8]: [UInt8]] = [:]

    package init() {}

    /// Records come in any order, all of one revision.
    package mutating func add(_ record: RegistryRecord) {
        switch record {
        case .registry(let row): registry = row
        case .agent(let id, let row): agents[id] = row
        case .agentInfo(let id, let info): infos[id] = info
        case .entry(let agent, let entry): entries[agent, default: []].append(entry.resource)
        case .machine(let row): machines[row.id.key] = row
        case .window(let number, let window): windows[number] = window
        case .quota(let role, let row): quotas.append(Self.json(role, row))
        case .legacyQuota(let role, let row): legacyQuotas.append(Self.json(role, row))
        case .weight(let weight): weights.append(Self.json(weight))
        case .provider(let id, let row):
            let entry = Self.json(id, row)
            if row.isRemoved { removedProviders.append(entry) } else { providers.append(entry) }
        case .capability(let capability):
            let entry = JSONValue.members(["capability": .string(capability.name)])
            capabilities.append(entry.adding(extra: JSONValue.extra(capability.extra)))
        case .document(let name, let json): documents[name] = json
        case .hold, .operation, .framework, .consumption, .capacity, .rateLimits, .lostVolume, .orphan: break
        }
    }

    /// Why there is no document.
    package struct Refusal: Error, Hashable, CustomStringConvertible {
        package var description: String
    }

    /// In canonical form.
    /// - Throws: what a JSON document cannot hold: a name that is not UTF-8, a number that is none; or that the registry
    ///   is being imported.
    package func document() throws(Refusal) -> JSONValue {
        guard registry.importing == nil else {
            throw Refusal(description: "an import is under way: the registry is not whole")
        }
        func wrapped(_ name: String, _ members: KeyValuePairs<String, JSONValue?>) -> JSONValue {
            let besides = documents[Array(name.utf8)].flatMap { JSONValue.extra($0) }
            return JSONValue.members(members).adding(extra: besides)
        }
        let away = Self.inOrder(agents.filter { $0.value.state == .unreachable }).map { Self.away($0, $1) }
        let gone = Self.inOrder(agents.filter { $0.value.state == .gone }).map { Self.gone($0, $1) }
        let admitted = agents.filter { $0.value.state == .admitted }.map { agent($0.key, $0.value) }
        var master: JSONValue?
        if let info = registry.master { master = wrapped("master", ["info": Self.json(info)]) }
        var schedules: [JSONValue] = []
        if registry.windowCount != nil {
            let inOrder = windows.sorted { $0.key < $1.key }.map { window($0.value) }
            schedules = [wrapped("schedules", ["windows": .array(inOrder)])]
        }
        let document = JSONValue.members([
            "master": master,
            "slaves": wrapped("slaves", ["slaves": .array(admitted)]),
            "unreachable": wrapped("unreachable", ["slaves": .array(away)]),
            "gone": wrapped("gone", ["slaves": .array(gone)]),
            "machines": wrapped("machines", ["machines": .array(machines.values.map { Self.json($0) })]),
            "schedules": .array(schedules),
            "quotas": .array(legacyQuotas),
            "quota_configs": .array(quotas),
            "weights": .array(weights),
            "resource_provider_registry": wrapped(
                "resource_provider_registry",
                [
                    "resource_providers": .array(providers), "removed_resource_providers": .array(removedProviders),
                ]),
            "minimum_capabilities": .array(capabilities),
        ])
        let whole = withUnknownMembers(document).canonicalRegistry
        try Self.check(whole, at: .root)
        return whole
    }

    private func withUnknownMembers(_ document: JSONValue) -> JSONValue {
        guard case .object(var members) = document else { return document }
        for (name, json) in documents where !members.contains(where: { $0.name == name }) {
            // Of a member that this release knows and has nothing of, only what it said besides was kept.
            guard !RegistryDocument.knows(name), let value = try? JSONValue(json) else { continue }
            members.append(JSONValue.Member(name, value))
        }
        return .object(members)
    }

    private static func check(_ value: JSONValue, at path: Path) throws(Refusal) {
        func check(_ text: [UInt8]) throws(Refusal) {
            guard String(validating: text, as: UTF8.self) == nil else { return }
            throw Refusal(
                description: "\(path): \(String(decoding: text, as: UTF8.self)) is not UTF-8, and JSON cannot hold it")
        }
        switch value {
        case .null, .bool: return
        case .number(let digits):
            guard let number = Double(String(decoding: digits, as: UTF8.self)), !number.isNaN else {
                throw Refusal(description: "\(path): JSON has no number for this")
            }
            guard number.isInfinite, digits.last.map({ !(0x30...0x39).contains($0) }) ?? true else { return }
            throw Refusal(description: "\(path): JSON has no number for this")
        case .string(let text): try check(text)
        case .array(let values):
            for (position, value) in values.enumerated() { try Self.check(value, at: path.adding(position)) }
        case .object(let members):
            for member in members {
                try check(member.name)
                try Self.check(member.value, at: path.adding(String(decoding: member.name, as: UTF8.self)))
            }
        }
    }

    // MARK: - Agents

    private static func inOrder(_ agents: [RegistryID: AgentRow]) -> [(RegistryID, AgentRow)] {
        agents.sorted { $0.value.arrival < $1.value.arrival }.map { ($0.key, $0.value) }
    }

    private static func standing(_ row: AgentRow) -> (drain: JSONValue?, isDeactivated: JSONValue) {
        var json: JSONValue?
        if let drain = row.drain {
            var period: JSONValue?
            if let nanoseconds = drain.maxGracePeriod { period = time(nanoseconds) }
            json = .members([
                "state": .text(drain.isDrained ? "DRAINED" : "DRAINING"),
                "config": .members(["max_grace_period": period, "mark_gone": .bool(drain.marksGone)]),
            ])
        }
        return (json, .bool(row.isDeactivated))
    }

    private static func time<Number: FixedWidthInteger>(_ nanoseconds: Number) -> JSONValue {
        .members(["nanoseconds": .integer(nanoseconds)])
    }

    private static func id(_ bytes: [UInt8]) -> JSONValue { .members(["value": .string(bytes)]) }

    private static func away(_ agent: RegistryID, _ row: AgentRow) -> JSONValue {
        let standing = Self.standing(row)
        let entry = JSONValue.members([
            "id": id(agent.bytes), "timestamp": time(row.stateSince), "drain_info": standing.drain,
            "deactivated": standing.isDeactivated,
        ])
        return entry.adding(extra: JSONValue.extra(row.extra))
    }

    private static func gone(_ agent: RegistryID, _ row: AgentRow) -> JSONValue {
        let entry = JSONValue.members(["id": id(agent.bytes), "timestamp": time(row.stateSince)])
        return entry.adding(extra: JSONValue.extra(row.extra))
    }

    private func agent(_ agent: RegistryID, _ row: AgentRow) -> JSONValue {
        var json: JSONValue?
        if let info = infos[agent] {
            let extra = JSONValue.extra(info.extra)
            let resources = ResourceForm.write(entries[agent] ?? [], form: extra?.form("resources"))
            let attributes = AttributeForm.write(info.attributes, form: extra?.form("attributes"))
            let domain: JSONValue? = info.domain.flatMap { try? JSONValue($0) }
            let known = JSONValue.members([
                "id": Self.id(agent.bytes), "hostname": .string(info.hostname), "port": .integer(info.port),
                "resources": .array(resources), "attributes": .array(attributes),
                "checkpoint": .bool(info.isCheckpointing), "domain": domain,
            ])
            json = known.adding(extra: extra)
        }
        let standing = Self.standing(row)
        let entry = JSONValue.members([
            "info": json, "drain_info": standing.drain, "deactivated": standing.isDeactivated,
        ])
        return entry.adding(extra: JSONValue.extra(row.extra))
    }

    private static func json(_ master: MasterInfo) -> JSONValue {
        var (ip, hostname): (JSONValue?, JSONValue?) = (nil, nil)
        if let packed = PackedAddress.packed(master.ip) { ip = .integer(packed) }
        if !master.hostname.isEmpty { hostname = .string(master.hostname) }
        let info = JSONValue.members([
            "id": .string(master.id), "ip": ip, "port": .integer(master.port), "hostname": hostname,
        ])
        return info.adding(extra: JSONValue.extra(master.extra))
    }

    // MARK: - Maintenance

    private static func json(_ id: MachineID) -> JSONValue {
        .members(["hostname": string(id.hostname), "ip": string(id.ip)])
    }

    private static func json(_ unavailability: Unavailability) -> JSONValue {
        var duration: JSONValue?
        if let nanoseconds = unavailability.duration { duration = time(nanoseconds) }
        return .members(["start": time(unavailability.start), "duration": duration])
    }

    private static func json(_ machine: MachineRow) -> JSONValue {
        let info = JSONValue.members([
            "id": json(machine.id), "mode": .text(machine.mode == .down ? "DOWN" : "DRAINING"),
            "unavailability": json(machine.unavailability),
        ])
        return JSONValue.members(["info": info]).adding(extra: JSONValue.extra(machine.extra)?["machine"])
    }

    private func window(_ window: MaintenanceWindow) -> JSONValue {
        let ids: [JSONValue] = window.machines.map { id in
            let besides = machines[id.key].flatMap { JSONValue.extra($0.extra)?["scheduled"] }
            return Self.json(id).adding(extra: besides)
        }
        let known = JSONValue.members([
            "machine_ids": .array(ids), "unavailability": Self.json(window.unavailability),
        ])
        return known.adding(extra: JSONValue.extra(window.extra))
    }

    // MARK: - Quota, weights, providers

    private static func json(_ role: RoleName, _ row: QuotaRow) -> JSONValue {
        let extra = JSONValue.extra(row.extra)
        var members: [JSONValue.Member] = [JSONValue.Member(Array("role".utf8), .string(role.bytes))]
        for (name, stored) in [("guarantees", row.guarantees), ("limits", row.limits)] {
            var json = stored.json
            if let stated = extra?.form(name)?.first, Quantities(stated, keepingZero: name == "limits") == stored {
                json = stated
            }
            members.append(JSONValue.Member(Array(name.utf8), json))
        }
        return JSONValue.object(members).adding(extra: extra)
    }

    private static func json(_ role: RoleName, _ row: LegacyQuotaRow) -> JSONValue {
        let extra = JSONValue.extra(row.extra)
        // Nothing changes it.
        let guarantee = extra?.extra(within: "info")?.form("guarantee") ?? row.guarantee.legacyJSON
        let info = JSONValue.members([
            "role": .string(role.bytes), "principal": string(row.principal), "guarantee": .array(guarantee),
        ])
        return JSONValue.members(["info": info]).adding(extra: extra)
    }

    private static func json(_ weight: Weight) -> JSONValue {
        let info = JSONValue.members(["role": .string(weight.role), "weight": .double(weight.weight)])
        return JSONValue.members(["info": info]).adding(extra: JSONValue.extra(weight.extra))
    }

    private static func json(_ provider: RegistryID, _ row: ProviderRow) -> JSONValue {
        let entry = JSONValue.members(["id": id(provider.bytes), "type": string(row.type), "name": string(row.name)])
        return entry.adding(extra: JSONValue.extra(row.extra))
    }
}

extension Quantities {
    /// What `{"cpus":{"value":2}}` says, as it is stored; nil: nothing that could be.
    fileprivate init?(_ json: JSONValue, keepingZero: Bool) {
        let problems = ProblemList()
        let reader = ObjectReader(.object([JSONValue.Member(Array("numbers".utf8), json)]), .root, problems)
        self.init()
        for stated in reader.numbers("numbers") {
            guard let amount = try? Scalar(stated.number) else { return nil }
            set(amount, of: stated.name, keepingZero: keepingZero)
        }
        guard problems.problems.isEmpty else { return nil }
    }
}
