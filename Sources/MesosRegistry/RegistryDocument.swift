package import RegistryModel

/// The registry of a Mesos master as the JSON document that `mesos-master` and its tools read: what of it the registry
/// holds, in the order in which it is imported.
package struct RegistryDocument: Sendable {
    package let records: [ImportRecord]

    /// A document that cannot be imported, with all that is wrong with it.
    package struct Refusal: Error {
        package var problems: [ImportProblem]
    }

    /// - Throws: `Refusal`.
    package init(_ text: [UInt8]) throws(Refusal) {
        let document: JSONValue
        do throws(JSONSyntaxError) {
            document = try JSONValue(text)
        } catch {
            throw Refusal(problems: [ImportProblem(path: "", rule: .importShape, detail: error.description)])
        }
        let problems = ProblemList()
        var reading = DocumentReading(document, problems)
        let records = reading.records()
        guard problems.problems.isEmpty else { throw Refusal(problems: problems.problems) }
        self.records = records
    }

    /// Of a document's own members.
    static func knows(_ name: [UInt8]) -> Bool { known.contains { $0.utf8.elementsEqual(name) } }

    private static let known = [
        "master", "slaves", "unreachable", "gone", "machines", "schedules", "quotas", "quota_configs", "weights",
        "resource_provider_registry", "minimum_capabilities",
    ]

    /// How many records there are of each kind that people count.
    package var counts: [(what: String, count: Int)] {
        var (agents, unreachable, gone, machines, quotas, weights, providers) = (0, 0, 0, 0, 0, 0, 0)
        for record in records {
            switch record {
            case .agent: agents += 1
            case .unreachable: unreachable += 1
            case .gone: gone += 1
            case .window(_, let added, _), .machines(let added): machines += added.count
            case .quota, .legacyQuota: quotas += 1
            case .weight: weights += 1
            case .provider: providers += 1
            case .master, .schedule, .capability, .document: break
            }
        }
        return [
            ("agents", agents), ("unreachable", unreachable), ("gone", gone), ("machines", machines),
            ("quotas", quotas), ("weights", weights), ("providers", providers),
        ]
    }
}

/// Reads a document part by part. Everything that is wrong is noted, and reading goes on behind it.
private struct DocumentReading {
    private let root: ObjectReader
    private let problems: ProblemList
    private var result: [ImportRecord] = []
    private var agentIDs: Set<[UInt8]> = []

    init(_ document: JSONValue, _ problems: ProblemList) {
        root = ObjectReader(document, .root, problems)
        self.problems = problems
    }

    mutating func records() -> [ImportRecord] {
        let capabilities = self.capabilities()
        readMaster()
        let quotaCount = readQuotas()
        if quotaCount > 0 {
            expect(MinimumCapability.quota, in: capabilities, because: "there are quota_configs")
        } else if capabilities.contains(where: { $0.name == MinimumCapability.quota.name }) {
            root.problem("minimum_capabilities", "QUOTA_V2 is there, and no quota_configs are")
        }
        readWeights()
        readSchedule()
        if readAgents() { expect(.agentDraining, in: capabilities, because: "an agent is deactivated") }
        readProviders()
        for capability in capabilities { result.append(.capability(capability)) }
        for name in root.names where !RegistryDocument.knows(name) {
            let name = String(decoding: name, as: UTF8.self)
            guard let value = root.value(name) else { continue }
            addDocument(name, value.canonical().bytes, root.path.adding(name))
        }
        return result
    }

    private func expect(_ capability: MinimumCapability, in stated: [MinimumCapability], because reason: String) {
        guard !stated.contains(where: { $0.name == capability.name }) else { return }
        let name = String(decoding: capability.name, as: UTF8.self)
        root.problem("minimum_capabilities", "\(name) is missing, and \(reason)")
    }

    private mutating func addDocument(_ name: String, _ json: [UInt8], _ path: Path) {
        guard !name.isEmpty, name.utf8.count <= ImportRecord.nameSizeMax else {
            return problems.add(path, .importShape, "a name has 1 to \(ImportRecord.nameSizeMax) bytes")
        }
        add(.document(name: Array(name.utf8), json: json), path)
    }

    /// What nobody takes of an object that only holds others.
    private mutating func addRest(_ name: String, _ wrapper: ObjectReader) {
        let extra = wrapper.extra()
        if !extra.isEmpty { addDocument(name, extra, wrapper.path) }
    }

    private mutating func add(_ record: ImportRecord, _ path: Path) {
        guard record.hasRoom else {
            return problems.add(path, .importShape, "this is larger than \(ImportRecord.sizeMax) bytes")
        }
        result.append(record)
    }

    // MARK: - Small parts

    private static func role(_ name: [UInt8], _ path: Path, _ problems: ProblemList) -> RoleName? {
        problems.catching(path) { () throws(RegistryRefusal) in try RoleName(name) }
    }

    private func checkedID(_ bytes: [UInt8], _ what: String, _ path: Path) -> RegistryID? {
        problems.catching(path) { () throws(RegistryRefusal) in try RegistryID(bytes, what) }
    }

    private mutating func readMaster() {
        guard let wrapper = root.object("master"), let info = wrapper.requiredObject("info", keepsRest: false) else {
            return
        }
        let hostname = info.string("hostname")
        if hostname?.isEmpty == true { info.keep("hostname", .string([])) }
        var master = MasterInfo(
            id: info.requiredString("id"), hostname: hostname ?? [],
            ip: info.integer("ip", UInt32.self).map(PackedAddress.text) ?? [])
        if let port = info.integer("port", UInt16.self) { master.port = port }
        master.extra = info.extra()
        if checkedID(master.id, "master id", info.path) != nil { add(.master(master), info.path) }
        addRest("master", wrapper)
    }

    private func capabilities() -> [MinimumCapability] {
        var capabilities: [MinimumCapability] = []
        var seen: Set<[UInt8]> = []
        for entry in root.objects("minimum_capabilities") {
            let name = entry.requiredString("capability")
            guard (1...ImportRecord.nameSizeMax).contains(name.count) else {
                entry.problem("capability", "a name has 1 to \(ImportRecord.nameSizeMax) bytes")
                continue
            }
            guard seen.insert(name).inserted else {
                problems.add(entry.path, .importDuplicate, "\(String(decoding: name, as: UTF8.self)) is there twice")
                continue
            }
            capabilities.append(MinimumCapability(name: name, extra: entry.extra()))
        }
        return capabilities
    }

    // MARK: - Quota and weights

    /// - Returns: how many there are in the present form.
    private mutating func readQuotas() -> Int {
        let problems = problems
        var seen: Set<[UInt8]> = []
        func isNew(_ role: [UInt8], _ reader: ObjectReader) -> Bool {
            if seen.insert(role).inserted { return true }
            problems.add(
                reader.path, .importDuplicate, "role \(String(decoding: role, as: UTF8.self)) has two quotas")
            return false
        }
        let configs = root.objects("quota_configs")
        for reader in configs {
            let config = QuotaConfig(
                role: reader.requiredString("role"), guarantees: reader.numbers("guarantees"),
                limits: reader.numbers("limits"))
            let row = problems.catching(reader.path) { () throws(RegistryRefusal) in try config.checked().quota }
            guard let row else { continue }
            guard !row.isDefault else {
                reader.problem("a quota that says nothing")
                continue
            }
            for (name, stored) in [("guarantees", row.guarantees), ("limits", row.limits)] {
                let stated = (reader.value(name) ?? .object([])).canonical()
                if stated != stored.json { reader.keepForm(name, [stated]) }
            }
            guard isNew(config.role, reader) else { continue }
            add(.quota(config, extra: reader.extra()), reader.path)
        }
        for entry in root.objects("quotas") {
            guard let info = entry.requiredObject("info") else { continue }
            let items = info.items("guarantee")
            let readers = items.enumerated().map {
                ObjectReader($0.element, info.path.adding("guarantee").adding($0.offset), problems)
            }
            var quota = LegacyQuota(
                role: info.requiredString("role"), principal: info.string("principal"),
                guarantee: readers.map { ResourceForm.claim($0) })
            let row = problems.catching(info.path) { () throws(RegistryRefusal) in try quota.checked().quota }
            guard let row, isNew(quota.role, entry) else { continue }
            let stated = ResourceForm.sorted(items)
            if stated != row.guarantee.legacyJSON { info.keepForm("guarantee", stated) }
            quota.extra = entry.extra()
            add(.legacyQuota(quota), entry.path)
        }
        return configs.count
    }

    private mutating func readWeights() {
        var seen: Set<[UInt8]> = []
        for entry in root.objects("weights") {
            guard let info = entry.requiredObject("info") else { continue }
            let name = info.requiredString("role")
            guard let number = info.requiredDouble("weight"), let role = Self.role(name, info.path, problems) else {
                continue
            }
            var weight = Weight(role: name, weight: number)
            let isRight: Void? = problems.catching(info.path) { () throws(RegistryRefusal) in
                try weight.check(for: role)
            }
            guard isRight != nil else { continue }
            guard seen.insert(name).inserted else {
                problems.add(entry.path, .importDuplicate, "role \(role) has two weights")
                continue
            }
            weight.extra = entry.extra()
            add(.weight(weight), entry.path)
        }
    }

    // MARK: - Maintenance

    private static func unavailability(_ reader: ObjectReader, _ problems: ProblemList) -> Unavailability? {
        guard let reader = reader.requiredObject("unavailability"), let start = reader.requiredObject("start"),
            let nanoseconds = start.requiredInteger("nanoseconds", Int64.self)
        else { return nil }
        var unavailability = Unavailability(start: nanoseconds)
        if let duration = reader.object("duration") {
            guard let nanoseconds = duration.requiredInteger("nanoseconds", Int64.self) else { return nil }
            unavailability.duration = nanoseconds
        }
        let isRight: Void? = problems.catching(reader.path) { () throws(RegistryRefusal) in
            try unavailability.check()
        }
        return isRight == nil ? nil : unavailability
    }

    private static func machineID(_ reader: ObjectReader, _ problems: ProblemList) -> MachineID? {
        let id = MachineID(hostname: reader.string("hostname"), ip: reader.string("ip"))
        let isRight: Void? = problems.catching(reader.path) { () throws(RegistryRefusal) in try id.check() }
        return isRight == nil ? nil : id
    }

    private struct Machine {
        var id: MachineID
        var mode: MachineRow.Mode
        var unavailability: Unavailability
        var extra: [UInt8]
        var path: Path
    }

    private mutating func readMachines() -> [[UInt8]: Machine] {
        var machines: [[UInt8]: Machine] = [:]
        guard let wrapper = root.object("machines") else { return machines }
        for entry in wrapper.objects("machines") {
            guard let info = entry.requiredObject("info"), let idReader = info.requiredObject("id") else { continue }
            let id = Self.machineID(idReader, problems)
            let mode: MachineRow.Mode? = info.requiredWord("mode", ["DRAINING": .draining, "DOWN": .down])
            guard let id, let mode, let unavailability = Self.unavailability(info, problems) else { continue }
            guard machines[id.key] == nil else {
                problems.add(entry.path, .importDuplicate, "machine \(id) is there twice")
                continue
            }
            machines[id.key] = Machine(
                id: id, mode: mode, unavailability: unavailability, extra: entry.extra(), path: entry.path)
        }
        addRest("machines", wrapper)
        return machines
    }

    private mutating func readSchedule() {
        var machines = readMachines()
        let schedules = root.objects("schedules")
        if schedules.count > 1 { root.problem("schedules", "\(schedules.count) schedules, and one is the most") }
        if let schedule = schedules.first {
            result.append(.schedule)
            var seen: Set<[UInt8]> = []
            for window in schedule.objects("windows") { readWindow(window, &machines, &seen) }
            addRest("schedules", schedule)
        }
        for machine in machines.values.sorted(by: { $0.id.key.lexicographicallyPrecedes($1.id.key) }) {
            problems.add(machine.path, .importShape, "machine \(machine.id) is not in the schedule")
        }
    }

    private mutating func readWindow(
        _ window: ObjectReader, _ machines: inout [[UInt8]: Machine], _ seen: inout Set<[UInt8]>
    ) {
        let unavailability = Self.unavailability(window, problems)
        var scheduled: [ImportedMachine] = []
        let readers = window.objects("machine_ids")
        if readers.isEmpty { problems.add(window.path, .scheduleWindowEmpty, "a window without a machine") }
        for reader in readers {
            guard let id = Self.machineID(reader, problems) else { continue }
            guard seen.insert(id.key).inserted else {
                problems.add(reader.path, .scheduleMachineTwice, "machine \(id) is in the schedule twice")
                continue
            }
            guard let machine = machines.removeValue(forKey: id.key) else {
                problems.add(reader.path, .importShape, "machine \(id) is not among the machines")
                continue
            }
            let extra = MachineExtra.joined(machine: machine.extra, scheduled: reader.extra())
            guard extra.count <= ObjectReader.sizeMax else {
                reader.problem("what is not known of the machine has \(extra.count) bytes, more than can be kept")
                continue
            }
            scheduled.append(
                ImportedMachine(
                    scheduled: id, id: machine.id, mode: machine.mode, unavailability: machine.unavailability,
                    extra: extra))
        }
        guard let unavailability, !scheduled.isEmpty else { return }
        let first = Array(scheduled.prefix(ImportRecord.machinesMax))
        add(.window(unavailability, first, extra: window.extra()), window.path)
        var rest = scheduled.dropFirst(first.count)
        while !rest.isEmpty {
            add(.machines(Array(rest.prefix(ImportRecord.machinesMax))), window.path)
            rest = rest.dropFirst(ImportRecord.machinesMax)
        }
    }

    // MARK: - Agents

    /// - Returns: whether one of them is deactivated.
    private mutating func readAgents() -> Bool {
        var isOneDeactivated = false
        if let wrapper = root.object("slaves") {
            for entry in wrapper.objects("slaves") {
                if readAgent(entry) { isOneDeactivated = true }
            }
            addRest("slaves", wrapper)
        }
        if let wrapper = root.object("unreachable") {
            for entry in wrapper.objects("slaves") {
                if readUnreachable(entry) { isOneDeactivated = true }
            }
            addRest("unreachable", wrapper)
        }
        if let wrapper = root.object("gone") {
            for entry in wrapper.objects("slaves") {
                let id = agentID(entry)
                let since = timestamp(entry)
                guard let id, let since else { continue }
                add(.gone(id: id, since: since, extra: entry.extra()), entry.path)
            }
            addRest("gone", wrapper)
        }
        return isOneDeactivated
    }

    private mutating func agentID(_ entry: ObjectReader) -> [UInt8]? {
        guard let reader = entry.requiredObject("id") else { return nil }
        guard let id = checkedID(reader.requiredString("value"), "agent id", reader.path) else { return nil }
        guard agentIDs.insert(id.bytes).inserted else {
            problems.add(reader.path, .importDuplicate, "agent \(id) is there twice")
            return nil
        }
        return id.bytes
    }

    private func timestamp(_ entry: ObjectReader) -> UInt64? {
        guard let reader = entry.requiredObject("timestamp") else { return nil }
        guard let nanoseconds = reader.requiredInteger("nanoseconds", Int64.self) else { return nil }
        guard nanoseconds >= 0 else {
            reader.problem("nanoseconds", "a time before 1970")
            return nil
        }
        return UInt64(nanoseconds)
    }

    /// - Returns: without what nobody takes of the entry.
    private func readStanding(_ entry: ObjectReader) -> ImportedStanding {
        var standing = ImportedStanding(isDeactivated: entry.bool("deactivated") ?? false)
        guard let reader = entry.object("drain_info") else { return standing }
        let isDrained: Bool? = reader.requiredWord("state", ["DRAINING": false, "DRAINED": true])
        guard let config = reader.requiredObject("config"), let isDrained else { return standing }
        var drain = AgentRow.Drain(isDrained: isDrained, marksGone: config.bool("mark_gone") ?? false)
        if let period = config.object("max_grace_period"),
            let nanoseconds = period.requiredInteger("nanoseconds", Int64.self)
        {
            if nanoseconds < 0 { period.problem("nanoseconds", "a period that ends before it begins") }
            drain.maxGracePeriod = UInt64(max(0, nanoseconds))
        }
        standing.drain = drain
        if !standing.isDeactivated {
            entry.problem("deactivated", "an agent that is being drained, or was, has to be deactivated")
        }
        return standing
    }

    /// - Returns: whether it is deactivated.
    private mutating func readUnreachable(_ entry: ObjectReader) -> Bool {
        let id = agentID(entry)
        let since = timestamp(entry)
        var standing = readStanding(entry)
        standing.extra = entry.extra()
        if let id, let since { add(.unreachable(id: id, since: since, standing), entry.path) }
        return standing.isDeactivated
    }

    private mutating func readAgent(_ entry: ObjectReader) -> Bool {
        let info = entry.requiredObject("info", keepsRest: false)
        var standing = readStanding(entry)
        standing.extra = entry.extra()
        if let info { readAgent(info, standing) }
        return standing.isDeactivated
    }

    private mutating func readAgent(_ reader: ObjectReader, _ standing: ImportedStanding) {
        let id = agentID(reader)
        var info = AgentInfo(hostname: reader.requiredString("hostname"), ip: [])
        if let port = reader.integer("port", UInt16.self) { info.port = port }
        info.isCheckpointing = reader.bool("checkpoint") ?? false
        if let domain = reader.object("domain", keepsRest: false), let value = reader.value("domain") {
            info.domain = value.canonical().bytes
            if info.domain?.count ?? 0 > ObjectReader.sizeMax {
                domain.problem("this is larger than \(ObjectReader.sizeMax) bytes")
                info.domain = nil
            }
        }
        let (attributes, form) = AttributeForm.read(
            reader.items("attributes"), reader.path.adding("attributes"), problems)
        info.attributes = attributes
        if let form { reader.keepForm("attributes", form) }
        let items = reader.items("resources")
        let path = reader.path.adding("resources")
        guard items.count <= ImportRecord.resourcesMax else {
            return problems.add(
                path, .importShape, "\(items.count) resources, and \(ImportRecord.resourcesMax) are the most")
        }
        guard let resources = ResourceForm.read(items, path, problems) else { return }
        if let form = resources.form { reader.keepForm("resources", form) }
        if !info.isCheckpointing, resources.claims.contains(where: { (try? $0.checked().isCheckpointed) ?? false }) {
            problems.add(
                path, .agentCheckpointedWithoutCheckpointing,
                "reservations or volumes of an agent that does not keep on its disk what it has")
        }
        info.extra = reader.extra()
        guard let id else { return }
        add(.agent(AgentClaim(id: id, info: info, resources: resources.claims), standing), reader.path)
    }

    // MARK: - Resource providers

    private mutating func readProviders() {
        guard let wrapper = root.object("resource_provider_registry") else { return }
        var seen: Set<[UInt8]> = []
        for (name, isRemoved) in [("resource_providers", false), ("removed_resource_providers", true)] {
            for entry in wrapper.objects(name) {
                guard let reader = entry.requiredObject("id") else { continue }
                let stated = reader.requiredString("value")
                var row = ProviderRow(isRemoved: isRemoved, type: entry.string("type"), name: entry.string("name"))
                row.extra = entry.extra()
                guard let id = checkedID(stated, "resource provider id", reader.path) else { continue }
                guard seen.insert(id.bytes).inserted else {
                    problems.add(reader.path, .importDuplicate, "resource provider \(id) is there twice")
                    continue
                }
                add(.provider(id: id.bytes, row), entry.path)
            }
        }
        addRest("resource_provider_registry", wrapper)
    }
}

/// What a document said besides of a machine, and of it in its window.
enum MachineExtra {
    static func joined(machine: [UInt8], scheduled: [UInt8]) -> [UInt8] {
        guard !machine.isEmpty || !scheduled.isEmpty else { return [] }
        return JSONValue.members(["machine": JSONValue.extra(machine), "scheduled": JSONValue.extra(scheduled)]).bytes
    }
}

/// An IPv4 address as Mesos packs it: its bytes in the order of the network, read as a little-endian number.
enum PackedAddress {
    static func text(_ packed: UInt32) -> [UInt8] {
        Array((0..<4).map { String(packed >> UInt32(8 * $0) & 0xFF) }.joined(separator: ".").utf8)
    }

    /// Nil for a text that is no address.
    static func packed(_ text: [UInt8]) -> UInt32? {
        let parts = String(decoding: text, as: UTF8.self).split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 4 else { return nil }
        var packed: UInt32 = 0
        for (position, part) in parts.enumerated() {
            guard let byte = UInt8(part) else { return nil }
            packed |= UInt32(byte) << UInt32(8 * position)
        }
        return packed
    }
}

extension Quantities {
    var json: JSONValue {
        .object(items.map { JSONValue.Member($0.name, .members(["value": .double($0.amount.double)])) })
    }

    /// As a list of resources.
    var legacyJSON: [JSONValue] {
        ResourceForm.sorted(
            items.map { item in
                JSONValue.members([
                    "name": .string(item.name), "type": .text("SCALAR"),
                    "scalar": .members(["value": .double(item.amount.double)]),
                ])
            })
    }
}
