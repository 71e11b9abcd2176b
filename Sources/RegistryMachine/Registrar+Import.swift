internal import RegistryModel

/// A registry that comes as a whole, in chunks, into an empty one. Each record is judged by the rules of its values as
/// if it had come by a command of its own; what follows from it (counters, indexes, capabilities) is written with it, so
/// that the registry is sound after each chunk. Its own row says that an import is under way.
extension Registrar {
    /// - Throws: `import.under-way`.
    func checkNothingIsImported(but command: RegistryCommand) throws {
        switch command {
        case .importChunk, .importAbort: return
        default: break
        }
        if let other = try registry().importing { throw Self.underWay(other) }
    }

    private static func underWay(_ other: ImportProgress) -> RegistryRefusal {
        RegistryRefusal(
            .importUnderWay,
            other.isAborting
                ? "an import is being aborted: abort it again, until nothing of it is left"
                : "an import is under way, \(other.chunks) chunks of which have come: go on with it, or abort it")
    }

    mutating func importChunk(
        _ id: [UInt8], _ number: UInt64, isLast: Bool, _ records: [ImportRecord]
    ) throws -> RegistryReply {
        guard (1...64).contains(id.count) else {
            throw RegistryRefusal(.importShape, "the id of an import has 1 to 64 bytes, not \(id.count)")
        }
        let last = try registry().lastImport
        var expected: UInt64 = 0
        if let last, last.state != .whole {
            guard last.id == id, !last.isAborting else { throw Self.underWay(last) }
            guard number >= last.chunks else { return .unchanged(.imported(chunks: last.chunks, isDone: false)) }
            expected = last.chunks
        } else if let found = try whatIsThere() {
            // The answer to its last chunk may have been lost. Once all that came is gone again it is taken anew.
            guard let last, last.id == id, number < last.chunks else {
                throw RegistryRefusal(
                    .importNotEmpty, "the registry has \(found) already, and only an empty one takes an import")
            }
            return .unchanged(.imported(chunks: last.chunks, isDone: true))
        } else {
            try clearLeftovers()
        }
        guard number == expected else {
            throw RegistryRefusal(.importShape, "chunk \(number) of an import of which chunk \(expected) is the next")
        }
        var window: MaintenanceWindow?
        for record in records { try take(record, window: &window) }
        try closeWindow(&window)
        let progress = ImportProgress(id: id, chunks: expected + 1, state: isLast ? .whole : .coming)
        try updateRegistry { $0.lastImport = progress }
        return .changed(.imported(chunks: expected + 1, isDone: isLast))
    }

    /// Which of what an import brings is there already, leftovers aside; nil: nothing.
    private func whatIsThere() throws -> String? {
        for table in [RegistryTable.agents, .machines, .quotas, .legacyQuotas, .weights, .providers] {
            var isEmpty = true
            try rows.scan([table.rawValue]) { _, _ in
                isEmpty = false
                return false
            }
            if !isEmpty { return "\(table)" }
        }
        return try registry().windowCount == nil ? nil : "a schedule"
    }

    /// Deletes what outlives the records with which it came: capabilities, members of a document, a document's master.
    private mutating func clearLeftovers() throws {
        for table in [RegistryTable.capabilities, .documents] {
            for (key, _) in try found(table) { set(key, to: nil) }
        }
        try updateRegistry { if $0.fence == 0 { $0.master = nil } }
    }

    // MARK: - Records

    private mutating func take(_ record: ImportRecord, window: inout MaintenanceWindow?) throws {
        switch record {
        case .master(let info): try take(info)
        case .quota(let config, let extra):
            let (role, stated) = try config.checked()
            guard !stated.isDefault else {
                throw RegistryRefusal(.importShape, "role \(role): a quota that says nothing")
            }
            try checkHasNoQuota(role)
            var quota = stated
            quota.extra = extra
            try set(quota, of: role)
        case .legacyQuota(let stated):
            let (role, quota) = try stated.checked()
            try checkHasNoQuota(role)
            set(RegistryKey(.legacyQuotas).adding(role.bytes).bytes, to: quota)
        case .weight(let weight):
            let role = try RoleName(weight.role)
            try weight.check(for: role)
            try put(RegistryKey(.weights).adding(role.bytes), weight, "the weight of role \(role)")
        case .schedule:
            guard try registry().windowCount == nil else {
                throw RegistryRefusal(.importShape, "more than one schedule")
            }
            try updateRegistry { $0.windowCount = 0 }
        case .window(let unavailability, let machines, let extra):
            try closeWindow(&window)
            try openWindow(&window, unavailability, machines, extra)
        case .machines(let machines):
            let number = try lastWindow()
            var continued: MaintenanceWindow
            if let window {
                continued = window
            } else {
                guard let stored: MaintenanceWindow = try value(at: Self.windowKey(number)) else {
                    throw RegistryRefusal(.importShape, "machines without a window")
                }
                continued = stored
            }
            // One that is held twice is copied with each machine that it gets.
            window = nil
            try add(machines, to: &continued, number)
            window = continued
        case .agent(let agent, let standing): try take(agent, standing)
        case .unreachable(let id, let since, let standing): try take(id, .unreachable, since: since, standing)
        case .gone(let id, let since, let extra): try take(id, .gone, since: since, ImportedStanding(extra: extra))
        case .provider(let id, let row):
            let id = try RegistryID(id, "resource provider id")
            try put(RegistryKey(.providers).adding(id.bytes), row, "resource provider \(id)")
        case .capability(let capability): try take(capability)
        case .document(let name, let json):
            try Self.checkName(name)
            let key = RegistryKey(.documents).adding(name).bytes
            try checkIsNew(key, "member \(text(name))")
            set(key, to: json)
        }
    }

    /// - Throws: `import.duplicate`.
    private func checkIsNew(_ key: [UInt8], _ what: @autoclosure () -> String) throws {
        guard try row(at: key) != nil else { return }
        throw RegistryRefusal(.importDuplicate, "\(what()) is there twice")
    }

    /// - Throws: `import.duplicate`.
    private func checkIsNew(_ agent: RegistryID) throws {
        guard try head(agent) != nil else { return }
        throw RegistryRefusal(.importDuplicate, "agent \(agent) is there twice")
    }

    private mutating func put<Value: RegistryValue>(_ key: RegistryKey, _ value: Value, _ what: String) throws {
        try checkIsNew(key.bytes, what)
        set(key.bytes, to: value)
    }

    private static func checkName(_ name: [UInt8]) throws(RegistryRefusal) {
        guard (1...ImportRecord.nameSizeMax).contains(name.count) else {
            throw RegistryRefusal(
                .importShape, "a name of \(name.count) bytes: 1 to \(ImportRecord.nameSizeMax) are possible")
        }
    }

    /// Once a master has taken over, it is that one which is known.
    private mutating func take(_ info: MasterInfo) throws {
        _ = try RegistryID(info.id, "master id")
        let registry = try registry()
        guard registry.fence == 0 else { return }
        guard registry.master == nil else { throw RegistryRefusal(.importDuplicate, "the master is there twice") }
        try updateRegistry { $0.master = info }
    }

    private func checkHasNoQuota(_ role: RoleName) throws {
        for table in [RegistryTable.quotas, .legacyQuotas] {
            try checkIsNew(RegistryKey(table).adding(role.bytes).bytes, "the quota of role \(role)")
        }
    }

    private mutating func take(_ capability: MinimumCapability) throws {
        try Self.checkName(capability.name)
        guard try capability.name != MinimumCapability.quota.name || registry().quotaCount > 0 else {
            throw RegistryRefusal(.importShape, "\(text(capability.name)) without a quota")
        }
        let key = capabilityKey(capability)
        // One that a record before this needs is there already, and says nothing.
        guard try row(at: key)?.isEmpty != false else {
            throw RegistryRefusal(.importDuplicate, "capability \(text(capability.name)) is there twice")
        }
        set(key, to: capability.extra.isEmpty ? Array("{}".utf8) : capability.extra)
    }

    // MARK: - Maintenance

    /// - Returns: the number of the last window.
    private func lastWindow() throws -> UInt32 {
        guard let count = try registry().windowCount, count > 0 else {
            throw RegistryRefusal(.importShape, "machines without a window")
        }
        return count - 1
    }

    private mutating func openWindow(
        _ window: inout MaintenanceWindow?, _ unavailability: Unavailability, _ machines: [ImportedMachine],
        _ extra: [UInt8]
    ) throws {
        guard let number = try registry().windowCount else {
            throw RegistryRefusal(.importShape, "a window without a schedule")
        }
        guard !machines.isEmpty else { throw RegistryRefusal(.scheduleWindowEmpty, "a window without a machine") }
        try unavailability.check()
        var opened = MaintenanceWindow(machines: [], unavailability: unavailability, extra: extra)
        try updateRegistry { $0.windowCount = number + 1 }
        try add(machines, to: &opened, number)
        window = opened
    }

    private mutating func add(
        _ machines: [ImportedMachine], to window: inout MaintenanceWindow, _ number: UInt32
    ) throws {
        for machine in machines {
            try machine.scheduled.check()
            guard machine.id.key == machine.scheduled.key else {
                throw RegistryRefusal(.importShape, "machine \(machine.id) in the place of \(machine.scheduled)")
            }
            try machine.unavailability.check()
            let key = Self.machineKey(machine.id)
            guard try row(at: key) == nil else {
                throw RegistryRefusal(.scheduleMachineTwice, "machine \(machine.id) is in the schedule twice")
            }
            set(
                key,
                to: MachineRow(
                    id: machine.id, mode: machine.mode, unavailability: machine.unavailability, window: number,
                    extra: machine.extra))
            window.machines.append(machine.scheduled)
        }
    }

    /// Writes the last window, once for all machines that a chunk brings.
    private mutating func closeWindow(_ window: inout MaintenanceWindow?) throws {
        guard let closed = window else { return }
        set(Self.windowKey(try lastWindow()), to: closed)
        window = nil
    }

    // MARK: - Agents

    private mutating func take(_ agent: AgentClaim, _ standing: ImportedStanding) throws {
        guard agent.resources.count <= ImportRecord.resourcesMax else {
            throw RegistryRefusal(
                .importShape,
                "agent \(text(agent.id)): \(agent.resources.count) resources, "
                    + "and \(ImportRecord.resourcesMax) are the most")
        }
        let resources = try ResourceList.checked(agent.resources)
        let id = try Self.id(of: agent)
        try checkMachine(of: agent)
        try Self.checkCheckpointing(id, agent.info, resources)
        try checkIsNew(id)
        var book = try newBook(id, agent.info, resources, duplicates: .importShape)
        book.head.row.attachedFence = 0
        try admit(&book, standing)
    }

    private mutating func take(
        _ id: [UInt8], _ state: AgentRow.State, since: UInt64, _ standing: ImportedStanding
    ) throws {
        let id = try RegistryID(id, "agent id")
        try checkIsNew(id)
        var book = AgentBook(
            head: AgentHead(
                id: id, row: AgentRow(state: state, stateSince: since, arrival: 0, attachedFence: 0), info: nil))
        try enter(state, &book.head)
        book.head.row.stateSince = since
        try admit(&book, standing)
    }

    private mutating func admit(_ book: inout AgentBook, _ standing: ImportedStanding) throws {
        guard standing.drain == nil || standing.isDeactivated else {
            throw RegistryRefusal(.importShape, "agent \(book.id) is drained, and not deactivated")
        }
        book.head.row.isReportWanted = book.head.row.state != .gone
        book.head.row.isDeactivated = standing.isDeactivated
        book.head.row.drain = standing.drain
        book.head.row.extra = standing.extra
        if standing.isDeactivated { try setCapability(.agentDraining, to: true) }
        try save(book, insteadOf: nil)
    }

    // MARK: - Aborting

    /// What one command deletes at most.
    private static var abortedRowsMax: Int { 4_096 }

    /// All that an import writes rows of, their indexes first.
    private static var importedTables: [RegistryTable] {
        [
            .agentsByState, .agentsByMachine, .reservationsByRole, .volumes, .entries, .agentInfo, .agents,
            .consumption, .capacity, .quotas, .legacyQuotas, .weights, .machines, .windows, .providers, .capabilities,
            .documents,
        ]
    }

    mutating func abortImport() throws -> RegistryReply {
        guard var underWay = try registry().importing else { return .unchanged(.imported(chunks: 0, isDone: true)) }
        underWay.state = .aborting
        var keys: [[UInt8]] = []
        for table in Self.importedTables where keys.count < Self.abortedRowsMax {
            try rows.scan([table.rawValue]) { key, _ in
                keys.append(key)
                return keys.count < Self.abortedRowsMax
            }
        }
        for key in keys { set(key, to: nil) }
        let isDone = keys.count < Self.abortedRowsMax
        try updateRegistry { registry in
            registry.lastImport = isDone ? nil : underWay
            guard isDone else { return }
            registry.admittedCount = 0
            registry.deactivatedCount = 0
            registry.quotaCount = 0
            registry.windowCount = nil
            if registry.fence == 0 { registry.master = nil }
        }
        return .changed(.imported(chunks: underWay.chunks, isDone: isDone))
    }
}
