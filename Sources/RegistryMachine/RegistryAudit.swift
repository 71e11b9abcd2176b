internal import Basics
internal import RegistryModel

/// Looks through a whole registry for what must never be: after every step of a simulation, and in tests.
package enum RegistryAudit {
    /// - Parameter fence: the newest that a master has had.
    /// - Returns: what is wrong, for a person; empty: nothing.
    package static func findings<Rows: RegistryRows>(in rows: Rows, fence: UInt64) throws -> [String] {
        let audit = Audit(registrar: Registrar(rows: rows, now: 0, fence: fence))
        try audit.run()
        return audit.findings
    }
}

private final class Audit<Rows: RegistryRows> {
    let registrar: Registrar<Rows>
    var findings: [String] = []
    /// Rows that follow from others.
    var expected: [[UInt8]: [UInt8]] = [:]
    var registry = RegistryRow()

    init(registrar: Registrar<Rows>) { self.registrar = registrar }

    func claim(_ holds: Bool, _ what: @autoclosure () -> String) {
        if !holds { findings.append(what()) }
    }

    func run() throws {
        registry = try registrar.registry()
        // What is left of an import is deleted row by row.
        guard registry.importing?.isAborting != true else { return }
        claim(
            registry.fence <= registrar.fence,
            "the registry was recovered under fence \(registry.fence), which nobody has had")
        try checkAgents()
        try checkFrameworks()
        try checkOperations()
        try checkMachines()
        try checkQuotas()
        let derived: [RegistryTable] = [
            .agents, .agentInfo, .entries, .holds, .consumption, .capacity, .agentsByState, .agentsByMachine,
            .reservationsByRole, .volumes, .holdsByFramework, .operationsByFramework, .timers,
        ]
        for table in derived {
            let found = try registrar.found(table)
            let wanted = expected.filter { $0.key.first == table.rawValue }
            claim(found.count == wanted.count, "\(table): \(found.count) rows, and there should be \(wanted.count)")
            for (key, value) in found where wanted[key] != value {
                findings.append("\(table): a row that is not as it should be")
            }
        }
    }

    private func checkAgents() throws {
        var counts: [[UInt8]: Int64] = [:]
        var (admitted, deactivated): (UInt64, UInt64) = (0, 0)
        for (key, _) in try registrar.found(.agents) {
            let id = RegistryID(unchecked: Array(key.dropFirst()))
            guard let book = try registrar.agent(id) else { continue }
            book.head.checkInvariants()
            book.checkInvariants()
            for row in book.head.rows + book.ledger.rows(of: id) { expected[row.key] = row.value }
            counts.merge(try book.counts(), uniquingKeysWith: +)
            if book.head.row.state == .admitted { admitted += 1 }
            if book.head.row.isDeactivated, book.head.row.state != .gone { deactivated += 1 }
            claim(
                book.head.row.attachedFence <= registrar.fence, "agent \(id) is attached under a fence that nobody has had")
            for hold in book.ledger.holds {
                let framework = try registrar.framework(hold.frameworkID)
                claim(
                    framework?.state.isOver == false,
                    "agent \(id) is used by framework \(hold.frameworkID), which is over")
            }
            guard let info = book.head.info, book.head.row.state == .admitted else { continue }
            claim(try registrar.machine(info.machine)?.mode != .down, "agent \(id) is there, and its machine is down")
        }
        for (key, count) in counts where count != 0 { expected[key] = Scalar(thousandths: count)?.encoded() }
        claim(registry.admittedCount == admitted, "\(registry.admittedCount) agents are counted, of \(admitted)")
        claim(
            registry.deactivatedCount == deactivated,
            "\(registry.deactivatedCount) agents count as deactivated, of \(deactivated)")
        let hasCapability = try registrar.row(at: registrar.capabilityKey(.agentDraining)) != nil
        claim(deactivated == 0 || hasCapability, "agents are deactivated, and the next master need not know of it")
    }

    private func checkFrameworks() throws {
        for (key, value) in try registrar.found(.frameworks) {
            let id = RegistryID(unchecked: Array(key.dropFirst()))
            let row = try FrameworkRow(value)
            claim(
                (row.deadline != nil) == (row.state == .disconnected),
                "framework \(id) is \(row.state), and has a deadline or none")
            claim(row.attachedFence <= registrar.fence, "framework \(id) is attached under a fence that nobody has had")
            if let deadline = row.deadline { expected[Registrar<Rows>.timerKey(framework: id, deadline)] = [] }
        }
    }

    private func checkOperations() throws {
        for (key, value) in try registrar.found(.operations) {
            var parts = RegistryKeyParts(key, after: 1)
            let (agent, uuid) = (try parts.id(), parts.takeRest())
            let row = try OperationRow(value)
            if let timer = registrar.timer(of: row, uuid, of: agent) { expected[timer] = [] }
            guard row.isOpen else { continue }
            if let framework = row.frameworkID {
                expected[RegistryKey(.operationsByFramework).adding(framework).adding(agent).adding(uuid).bytes] = []
            }
            let state = try registrar.head(agent)?.row.state
            claim(state == .admitted || state == .unreachable, "agent \(agent) has an open operation, and is gone")
            claim(
                state != .unreachable || row.latestState != .pending,
                "agent \(agent) is away, and an operation on it is pending")
        }
    }

    private func checkMachines() throws {
        var scheduled: [[UInt8]: UInt32] = [:]
        let windows = try registrar.found(.windows)
        for (key, value) in windows {
            let number = key.dropFirst().reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
            for machine in try MaintenanceWindow(value).machines { scheduled[machine.key] = number }
        }
        claim(
            UInt32(windows.count) == registry.windowCount ?? 0,
            "\(windows.count) windows, of \(registry.windowCount ?? 0)")
        let machines = try registrar.found(.machines)
        claim(machines.count == scheduled.count, "\(machines.count) machines, and \(scheduled.count) in the schedule")
        for (key, value) in machines {
            let row = try MachineRow(value)
            claim(
                scheduled[Array(key.dropFirst())] == row.window, "machine \(row.id) is not in the window that it names")
        }
    }

    private func checkQuotas() throws {
        let quotas = try registrar.found(.quotas)
        claim(UInt64(quotas.count) == registry.quotaCount, "\(quotas.count) quotas, of \(registry.quotaCount)")
        for (_, value) in quotas { claim(try !QuotaRow(value).isDefault, "a quota that says nothing is stored") }
        let hasCapability = try registrar.row(at: registrar.capabilityKey(.quota)) != nil
        claim(quotas.isEmpty != hasCapability, "the next master is told of quota, or not, wrongly")
    }
}
