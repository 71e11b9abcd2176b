internal import Basics
internal import RegistryModel

/// What is stored of one agent itself. What it has is in its ledger, which most commands about it need not look at.
struct AgentHead: Equatable {
    let id: RegistryID
    var row: AgentRow
    /// Nil: nobody knows, as of one that was marked gone.
    var info: AgentInfo?

    var isCounted: Bool { row.state == .admitted }
    fileprivate var isDeactivatedHere: Bool { row.isDeactivated && row.state != .gone }

    func checkInvariants() {
        invariant(!row.isDraining || row.isDeactivated, "agent \(id) is drained, and takes on tasks")
    }

    // MARK: - Its rows

    /// Its rows, indexes too.
    var rows: [RegistryWrite] {
        var rows = [
            RegistryWrite(RegistryKey.agent(id), row.encoded()),
            RegistryWrite(RegistryKey(.agentsByState).adding(row.state.rawValue).adding(row.arrival).adding(id.bytes).bytes, []),
        ]
        guard let info else { return rows }
        rows.append(RegistryWrite(RegistryKey.agentInfo(id), info.encoded()))
        rows.append(RegistryWrite(Self.machineKey(info.machine).adding(id.bytes).bytes, []))
        return rows
    }

    static func machineKey(_ machine: MachineID) -> RegistryKey {
        RegistryKey(.agentsByMachine).adding(sized: machine.key)
    }
}

/// All that is stored of one agent but its operations. A value: a command changes a copy and saves it.
struct AgentBook: Equatable {
    var head: AgentHead
    var ledger = Ledger()

    var id: RegistryID { head.id }

    /// The checkpointed entries have changed.
    mutating func noteCheckpointedChange(since before: Ledger) {
        guard before.checkpointed != ledger.checkpointed else { return }
        head.row.generation += 1
        head.row.digest = CheckpointDigest.of(ledger.entries)
    }

    /// What operations make of ranges, and what an agent says of its machine, may be more than what a row has room for.
    /// - Throws: `machine.too-long`, `ranges.too-many`.
    func checkSizes() throws(RegistryRefusal) {
        try head.info?.machine.checkSize()
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
        var volumes: Set<VolumeName> = []
        for entry in ledger.entries {
            guard let name = entry.resource.volumeName else { continue }
            invariant(
                volumes.insert(name).inserted, "agent \(id): two volumes \(name.id) of role \(name.role)")
        }
        invariant((try? ledger.free()) != nil, "agent \(id): something is held that is not there, or twice")
        invariant(
            head.row.digest == CheckpointDigest.of(ledger.entries), "agent \(id): its digest is not that of its entries")
        invariant(
            head.row.state != .gone || ledger.entries.isEmpty && ledger.holds.isEmpty,
            "agent \(id) is gone, and has something")
    }

    // MARK: - What is counted over all agents

    /// By the key of the row that counts it, in thousandths.
    /// - Parameter other: what both have alike is left out.
    func counts(without other: AgentBook? = nil) throws(RegistryRefusal) -> [[UInt8]: Int64] {
        guard head.isCounted else { return [:] }
        let other = other.flatMap { $0.head.isCounted ? $0.ledger : nil }
        var counts: [[UInt8]: Int64] = [:]
        func add(_ amount: Scalar, at key: [UInt8]) throws(RegistryRefusal) {
            counts[key] = try Self.sum(counts[key] ?? 0, amount.thousandths)
        }
        func count(_ resource: Resource, for role: RoleName) throws(RegistryRefusal) {
            try add(try resource.value.quantity(), at: Self.consumptionKey(role, resource.name))
        }
        for entry in ledger.entries(without: other) {
            let resource = entry.resource
            if !resource.isRevocable, case .scalar(let amount) = resource.value {
                try add(amount, at: Self.capacityKey(resource.name))
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

    /// - Throws: `scalar.overflow`.
    static func sum(_ left: Int64, _ right: Int64) throws(RegistryRefusal) -> Int64 {
        let (sum, isOverflow) = left.addingReportingOverflow(right)
        guard !isOverflow else { throw isTooMuch }
        return sum
    }

    static var isTooMuch: RegistryRefusal {
        RegistryRefusal(.scalarOverflow, "more than can be counted over all agents")
    }

    static func consumptionKey(_ role: RoleName, _ name: [UInt8]) -> [UInt8] {
        RegistryKey(.consumption).adding(sized: role.bytes).adding(name).bytes
    }

    static func capacityKey(_ name: [UInt8]) -> [UInt8] { RegistryKey(.capacity).adding(name).bytes }
}

extension Ledger {
    /// The rows of what an agent has, indexes too.
    /// - Parameter other: the rows of entries and holds that both have are left out.
    func rows(of id: RegistryID, without other: Ledger? = nil) -> [RegistryWrite] {
        var rows: [RegistryWrite] = []
        for entry in entries(without: other) {
            let key = entry.key.bytes
            rows.append(RegistryWrite(RegistryKey.entries(of: id).adding(key).bytes, entry.resource.encoded()))
            guard let role = entry.resource.reservationRole else { continue }
            rows.append(
                RegistryWrite(RegistryKey(.reservationsByRole).adding(sized: role.bytes).adding(id).adding(key).bytes, []))
            guard let name = entry.resource.volumeName else { continue }
            let volume = RegistryKey(.volumes).adding(id).adding(sized: role.bytes).adding(name.id.bytes)
            rows.append(RegistryWrite(volume.bytes, key))
        }
        for hold in holds(without: other) {
            let row = HoldRow(role: hold.role, resources: hold.resources)
            let key = RegistryKey.holds(of: id).adding(hold.frameworkID).adding(hold.id)
            rows.append(RegistryWrite(key.bytes, row.encoded()))
            let index = RegistryKey(.holdsByFramework).adding(hold.frameworkID).adding(id).adding(hold.id)
            rows.append(RegistryWrite(index.bytes, []))
        }
        return rows
    }
}

extension Registrar {
    func head(_ id: RegistryID) throws -> AgentHead? {
        if let altered = altered({ $0.heads[id] }) { return altered.now }
        guard let row: AgentRow = try value(at: RegistryKey.agent(id)) else { return nil }
        return AgentHead(id: id, row: row, info: try value(at: RegistryKey.agentInfo(id)))
    }

    func ledger(of id: RegistryID) throws -> Ledger {
        if let altered = altered({ $0.ledgers[id] }) { return altered.now ?? Ledger() }
        let entriesKey = RegistryKey.entries(of: id).bytes
        let entries = try stored(entriesKey).map { key, value in
            try LedgerEntry(key: Array(key.dropFirst(entriesKey.count)), value)
        }
        let holdsKey = RegistryKey.holds(of: id).bytes
        let holds = try stored(holdsKey).map { key, value in
            let row = try HoldRow(value)
            var parts = RegistryKeyParts(key, after: holdsKey.count)
            return Ledger.Hold(
                frameworkID: try parts.id(), id: parts.takeRest(), role: row.role, resources: row.resources)
        }
        return Ledger(entries: entries, holds: holds)
    }

    func agent(_ id: RegistryID) throws -> AgentBook? {
        guard let head = try head(id) else { return nil }
        return AgentBook(head: head, ledger: try ledger(of: id))
    }

    /// Of an agent whose ledger stays, and counts as it did.
    mutating func save(_ head: AgentHead, insteadOf former: AgentHead) throws {
        invariant(head.isCounted == former.isCounted, "agent \(head.id) comes or goes, and what it has is not counted")
        try head.info?.machine.checkSize()
        note(head, insteadOf: former, of: head.id)
        try count(head, insteadOf: former)
    }

    mutating func save(_ book: AgentBook?, insteadOf former: AgentBook?) throws {
        guard let id = book?.id ?? former?.id else { return }
        try book?.checkSizes()
        note(book?.head, insteadOf: former?.head, of: id)
        let before = altered { $0.ledgers[id] }.map(\.before) ?? former?.ledger
        change { $0.ledgers[id] = Altered(before: before, now: book?.ledger) }
        try count(book, insteadOf: former)
        try count(book?.head, insteadOf: former?.head)
    }

    private mutating func note(_ head: AgentHead?, insteadOf former: AgentHead?, of id: RegistryID) {
        let before = altered { $0.heads[id] }.map(\.before) ?? former
        change { $0.heads[id] = Altered(before: before, now: head) }
    }

    private mutating func count(_ book: AgentBook?, insteadOf former: AgentBook?) throws {
        let (before, after) = (try former?.counts(without: book) ?? [:], try book?.counts(without: former) ?? [:])
        for key in Set(before.keys).union(after.keys) {
            let difference = (after[key] ?? 0) - (before[key] ?? 0)
            guard difference != 0 else { continue }
            let sum = try AgentBook.sum(try amount(at: key).thousandths, difference)
            invariant(sum >= 0, "less than nothing is counted")
            guard let total = Scalar(thousandths: sum) else { throw AgentBook.isTooMuch }
            set(key, to: total.isZero ? nil : total.encoded())
        }
    }

    private mutating func count(_ head: AgentHead?, insteadOf former: AgentHead?) throws {
        let (wasCounted, isCounted) = (former?.isCounted == true, head?.isCounted == true)
        let (wasDeactivated, isDeactivated) = (former?.isDeactivatedHere == true, head?.isDeactivatedHere == true)
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
    mutating func enter(_ state: AgentRow.State, _ head: inout AgentHead) throws {
        var arrival: UInt64 = 0
        try updateRegistry {
            $0.arrivalCount += 1
            arrival = $0.arrivalCount
        }
        head.row.state = state
        head.row.stateSince = now
        head.row.arrival = arrival
        // It was said of the former state.
        head.row.extra = []
    }
}

extension Ledger {
    /// Those that the other has not as they are stored: also how a volume is mounted, and who made it.
    fileprivate func entries(without other: Ledger?) -> [LedgerEntry] {
        entries.different(from: other?.entries) { left, right in
            guard left == right else { return false }
            guard let disk = left.resource.disk, let other = right.resource.disk else { return true }
            return disk.volume == other.volume && disk.persistence?.principal == other.persistence?.principal
        } precedes: { left, right in
            left.kindBytes == right.kindBytes
                ? left.ordinal < right.ordinal : left.kindBytes.lexicographicallyPrecedes(right.kindBytes)
        }
    }

    fileprivate func holds(without other: Ledger?) -> [Hold] {
        let precedes = { (left: Hold, right: Hold) in
            left.frameworkID == right.frameworkID
                ? left.id.lexicographicallyPrecedes(right.id) : left.frameworkID < right.frameworkID
        }
        return holds.sorted(by: precedes).different(
            from: other?.holds.sorted(by: precedes), isSame: { $0 == $1 }, precedes: precedes)
    }
}

extension Array {
    /// Those that `other` has not. Both are in one order, in which no two have the same place.
    fileprivate func different(
        from other: [Element]?, isSame: (Element, Element) -> Bool, precedes: (Element, Element) -> Bool
    ) -> [Element] {
        guard let other else { return self }
        var different: [Element] = []
        var place = 0
        for element in self {
            while place < other.count, !isSame(other[place], element), precedes(other[place], element) { place += 1 }
            if place < other.count, isSame(other[place], element) { place += 1 } else { different.append(element) }
        }
        return different
    }
}
