internal import Basics
internal import RegistryModel

/// All that is stored of one agent but its operations. A value: a command changes a copy and saves it.
struct AgentBook: Equatable {
    let id: RegistryID
    var row: AgentRow
    /// Nil: nobody knows, as of one that was marked gone.
    var info: AgentInfo?
    var ledger = Ledger()

    /// The checkpointed entries have changed.
    mutating func noteCheckpointedChange(since before: Ledger) {
        guard before.checkpointed != ledger.checkpointed else { return }
        row.generation += 1
        row.digest = CheckpointDigest.of(ledger.entries)
    }

    var isCounted: Bool { row.state == .admitted }

    /// What operations make of ranges, and what an agent says of its machine, may be more than what a row has room for.
    /// - Throws: `machine.too-long`, `ranges.too-many`.
    func checkSizes() throws(RegistryRefusal) {
        try info?.machine.checkSize()
        for entry in ledger.entries { try entry.resource.value.checkSize(of: entry.resource.name) }
    }

    // MARK: - What must be true of it

    func checkInvariants() {
        for entry in ledger.entries {
            let resource = entry.resource
            invariant(!resource.value.isEmpty, "agent \(id) has an empty entry \(resource)")
            invariant(!resource.isVolume || !resource.stack.isEmpty, "agent \(id): volume \(resource) is not reserved")
            for (below, level) in zip(resource.stack, resource.stack.dropFirst()) {
                invariant(
                    level.kind == .dynamic && level.role.isStrictSubrole(of: below.role),
                    "agent \(id): \(level.role) stands on \(below.role) in \(resource)")
            }
        }
        var volumes: Set<[UInt8]> = []
        for entry in ledger.entries {
            guard let role = entry.resource.reservationRole, let persistence = entry.resource.disk?.persistence else {
                continue
            }
            invariant(
                volumes.insert(role.bytes + [0] + persistence.id.bytes).inserted,
                "agent \(id): two volumes \(persistence.id) of role \(role)")
        }
        invariant((try? ledger.free()) != nil, "agent \(id): something is held that is not there, or twice")
        invariant(
            row.digest == CheckpointDigest.of(ledger.entries), "agent \(id): its digest is not that of its entries")
        invariant(!row.isDraining || row.isDeactivated, "agent \(id) is drained, and takes on tasks")
        invariant(
            row.state != .gone || ledger.entries.isEmpty && ledger.holds.isEmpty,
            "agent \(id) is gone, and has something")
    }

    // MARK: - What is counted over all agents

    /// By the key of the row that counts it, in thousandths.
    /// - Parameter other: what both have alike is left out.
    func counts(without other: AgentBook? = nil) throws(RegistryRefusal) -> [[UInt8]: Int64] {
        guard isCounted else { return [:] }
        let other = other.flatMap { $0.isCounted ? $0.ledger : nil }
        var counts: [[UInt8]: Int64] = [:]
        func count(_ resource: Resource, for role: RoleName) throws(RegistryRefusal) {
            counts[Self.consumptionKey(role, resource.name), default: 0] += try resource.value.quantity().thousandths
        }
        for entry in ledger.entries.different(from: other?.entries) {
            let resource = entry.resource
            if !resource.isRevocable, case .scalar(let amount) = resource.value {
                counts[Self.capacityKey(resource.name), default: 0] += amount.thousandths
            }
            guard let role = resource.reservationRole else { continue }
            for role in [role] + role.ancestors { try count(resource, for: role) }
        }
        // One by one they cannot be told: whoever shares a volume counts once.
        guard other?.holds != ledger.holds else { return counts }
        var shared: Set<[UInt8]> = []
        for hold in ledger.holds {
            for role in [hold.role] + hold.role.ancestors {
                for resource in hold.resources {
                    // What is reserved within the role counts for it already.
                    if let reserved = resource.reservationRole, reserved.isSameOrSubrole(of: role) { continue }
                    if resource.isShared, !shared.insert(role.bytes + [0] + resource.kindBytes).inserted { continue }
                    try count(resource, for: role)
                }
            }
        }
        return counts
    }

    static func consumptionKey(_ role: RoleName, _ name: [UInt8]) -> [UInt8] {
        RegistryKey(.consumption).adding(sized: role.bytes).adding(name).bytes
    }

    static func capacityKey(_ name: [UInt8]) -> [UInt8] { RegistryKey(.capacity).adding(name).bytes }

    // MARK: - Its rows

    /// Its rows, indexes too.
    /// - Parameter other: the rows of entries and holds that both have are left out.
    func rows(without other: AgentBook? = nil) -> [[UInt8]: [UInt8]] {
        var rows: [[UInt8]: [UInt8]] = [:]
        rows[RegistryKey.agent(id)] = row.encoded()
        rows[RegistryKey(.agentsByState).adding(row.state.rawValue).adding(row.arrival).adding(id.bytes).bytes] = []
        if let info {
            rows[RegistryKey.agentInfo(id)] = info.encoded()
            rows[Self.machineKey(info.machine).adding(id.bytes).bytes] = []
        }
        for entry in ledger.entries.different(from: other?.ledger.entries) {
            let key = entry.key.bytes
            rows[RegistryKey.entries(of: id).adding(key).bytes] = entry.resource.encoded()
            guard let role = entry.resource.reservationRole else { continue }
            rows[RegistryKey(.reservationsByRole).adding(sized: role.bytes).adding(id).adding(key).bytes] = []
            guard let persistence = entry.resource.disk?.persistence else { continue }
            rows[RegistryKey(.volumes).adding(id).adding(sized: role.bytes).adding(persistence.id.bytes).bytes] = key
        }
        for hold in ledger.holds.different(from: other?.ledger.holds) {
            let row = HoldRow(role: hold.role, resources: hold.resources)
            rows[RegistryKey.holds(of: id).adding(hold.frameworkID).adding(hold.id).bytes] = row.encoded()
            rows[RegistryKey(.holdsByFramework).adding(hold.frameworkID).adding(id).adding(hold.id).bytes] = []
        }
        return rows
    }

    static func machineKey(_ machine: MachineID) -> RegistryKey {
        RegistryKey(.agentsByMachine).adding(sized: machine.key)
    }
}

extension Registrar {
    func agent(_ id: RegistryID) throws -> AgentBook? {
        guard let row: AgentRow = try value(at: RegistryKey.agent(id)) else { return nil }
        let entriesKey = RegistryKey.entries(of: id).bytes
        let entries = try found(entriesKey).map { key, value in
            try LedgerEntry(key: Array(key.dropFirst(entriesKey.count)), value)
        }
        let holdsKey = RegistryKey.holds(of: id).bytes
        let holds = try found(holdsKey).map { key, value in
            let row = try HoldRow(value)
            var parts = RegistryKeyParts(key, after: holdsKey.count)
            return Ledger.Hold(
                frameworkID: try parts.id(), id: parts.takeRest(), role: row.role, resources: row.resources)
        }
        return AgentBook(
            id: id, row: row, info: try value(at: RegistryKey.agentInfo(id)),
            ledger: Ledger(entries: entries, holds: holds))
    }

    /// Writes the rows in which the two differ, and what is counted of them.
    mutating func save(_ book: AgentBook?, insteadOf former: AgentBook?) throws {
        try book?.checkSizes()
        if former?.row != book?.row || former?.ledger != book?.ledger { book?.checkInvariants() }
        let (before, after) = (former?.rows(without: book) ?? [:], book?.rows(without: former) ?? [:])
        for key in before.keys where after[key] == nil { set(key, to: nil) }
        for (key, value) in after where before[key] != value { set(key, to: value) }
        try count(book, insteadOf: former)
    }

    private mutating func count(_ book: AgentBook?, insteadOf former: AgentBook?) throws {
        let (before, after) = (try former?.counts(without: book) ?? [:], try book?.counts(without: former) ?? [:])
        for key in Set(before.keys).union(after.keys) {
            let difference = (after[key] ?? 0) - (before[key] ?? 0)
            guard difference != 0 else { continue }
            let sum = try amount(at: key).thousandths + difference
            invariant(sum >= 0, "less than nothing is counted")
            guard let total = Scalar(thousandths: sum) else {
                throw RegistryRefusal(.scalarOverflow, "more than can be counted over all agents")
            }
            set(key, to: total.isZero ? nil : total.encoded())
        }
        let (wasCounted, isCounted) = (former?.isCounted == true, book?.isCounted == true)
        let (wasDeactivated, isDeactivated) = (former?.isDeactivatedHere == true, book?.isDeactivatedHere == true)
        guard wasCounted != isCounted || wasDeactivated != isDeactivated else { return }
        try updateRegistry { registry in
            registry.admittedCount += isCounted ? 1 : 0
            registry.admittedCount -= wasCounted ? 1 : 0
            registry.deactivatedCount += isDeactivated ? 1 : 0
            registry.deactivatedCount -= wasDeactivated ? 1 : 0
        }
    }

    /// What a counter says.
    func amount(at key: [UInt8]) throws -> Scalar { try value(at: key) ?? .zero }

    /// The agent comes into a state: the last, so far, to do so.
    mutating func enter(_ state: AgentRow.State, _ book: inout AgentBook) throws {
        var arrival: UInt64 = 0
        try updateRegistry {
            $0.arrivalCount += 1
            arrival = $0.arrivalCount
        }
        book.row.state = state
        book.row.stateSince = now
        book.row.arrival = arrival
        // It was said of the former state.
        book.row.extra = []
    }
}

extension Array where Element: Equatable {
    /// Those that `other` has not. A command changes few of many: what both begin and end with is soon found.
    fileprivate func different(from other: [Element]?) -> [Element] {
        guard let other else { return self }
        let head = zip(self, other).prefix { $0 == $1 }.count
        let tail = zip(dropFirst(head).reversed(), other.dropFirst(head).reversed()).prefix { $0 == $1 }.count
        let others = other[head..<(other.count - tail)]
        return self[head..<(count - tail)].filter { !others.contains($0) }
    }
}

extension AgentBook {
    fileprivate var isDeactivatedHere: Bool { row.isDeactivated && row.state != .gone }
}
