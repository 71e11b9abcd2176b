internal import RegistryModel

/// When machines are not there.
extension Registrar {
    func machine(_ id: MachineID) throws -> MachineRow? { try value(at: Self.machineKey(id)) }

    static func machineKey(_ id: MachineID) -> [UInt8] { RegistryKey(.machines).adding(id.key).bytes }
    static func windowKey(_ number: UInt32) -> [UInt8] { RegistryKey(.windows).adding(number).bytes }

    private func windows() throws -> [(key: [UInt8], window: MaintenanceWindow)] {
        try found(.windows).map { ($0.key, try MaintenanceWindow($0.value)) }
    }

    // MARK: - The schedule

    mutating func updateSchedule(_ windows: [MaintenanceWindow]?) throws -> RegistryReply {
        try Self.check(windows ?? [])
        var rows: [[UInt8]: MachineRow] = [:]
        for (number, window) in (windows ?? []).enumerated() {
            for id in window.machines {
                let former = try machine(id)
                rows[id.key] = MachineRow(
                    id: id, mode: former?.mode ?? .draining, unavailability: window.unavailability,
                    window: UInt32(number), extra: former?.extra ?? [])
            }
        }
        let former = try found(.machines)
        for (_, value) in former {
            let row = try MachineRow(value)
            guard row.mode == .down, rows[row.id.key] == nil else { continue }
            throw RegistryRefusal(
                .scheduleDownMachineRemoved,
                "machine \(row.id) is down, and not in the new schedule: end its maintenance first")
        }
        let before = try self.windows()
        let count = windows.map { UInt32($0.count) }
        guard try registry().windowCount != count || before.map(\.window) != windows ?? [] else {
            return .unchanged(.nothing)
        }
        for (key, _) in former where rows[Array(key.dropFirst())] == nil { set(key, to: nil) }
        for row in rows.values { set(Self.machineKey(row.id), to: row) }
        for (key, _) in before { set(key, to: nil) }
        for (number, window) in (windows ?? []).enumerated() { set(Self.windowKey(UInt32(number)), to: window) }
        try updateRegistry { $0.windowCount = count }
        return .changed(.nothing)
    }

    private static func check(_ windows: [MaintenanceWindow]) throws(RegistryRefusal) {
        var seen: Set<[UInt8]> = []
        for window in windows {
            guard !window.machines.isEmpty else {
                throw RegistryRefusal(.scheduleWindowEmpty, "a window without a machine")
            }
            try window.unavailability.check()
            for machine in window.machines {
                try machine.check()
                guard seen.insert(machine.key).inserted else {
                    throw RegistryRefusal(.scheduleMachineTwice, "machine \(machine) is in the schedule twice")
                }
            }
        }
    }

    // MARK: - Beginning and ending

    /// - Throws: `machine.list-empty`, `machine.id-empty`, `machine.ip-invalid`, `machine.listed-twice`,
    ///   `machine.not-scheduled`.
    private func scheduled(
        _ machines: [MachineID], _ mode: MachineRow.Mode, otherwise rule: RegistryRule
    ) throws -> [MachineRow] {
        guard !machines.isEmpty else { throw RegistryRefusal(.machineListEmpty, "which machines?") }
        var seen: Set<[UInt8]> = []
        for machine in machines {
            try machine.check()
            guard seen.insert(machine.key).inserted else {
                throw RegistryRefusal(.machineListedTwice, "machine \(machine) is listed twice")
            }
        }
        return try machines.map { machine in
            guard let row = try self.machine(machine) else {
                throw RegistryRefusal(.machineNotScheduled, "machine \(machine) is not in the maintenance schedule")
            }
            guard row.mode == mode else {
                throw RegistryRefusal(rule, "machine \(machine) is \(row.mode), not \(mode)")
            }
            return row
        }
    }

    mutating func startMaintenance(_ machines: [MachineID]) throws -> RegistryReply {
        var away: [RegistryID] = []
        let rows = try scheduled(machines, .draining, otherwise: .machineNotDraining)
        for row in rows {
            let prefix = AgentHead.machineKey(row.id).bytes
            for (key, _) in try stored(prefix) {
                let id = RegistryID(unchecked: Array(key[prefix.count...]))
                guard let head = try head(id), head.row.state == .admitted else { continue }
                try makeUnreachable(head)
                away.append(id)
            }
        }
        for var row in rows {
            row.mode = .down
            set(Self.machineKey(row.id), to: row)
        }
        return .changed(.agents(away))
    }

    mutating func stopMaintenance(_ machines: [MachineID]) throws -> RegistryReply {
        // Of each window all at once: each time it is as long as it has machines.
        var ended: [UInt32: Set<[UInt8]>] = [:]
        for row in try scheduled(machines, .down, otherwise: .machineNotDown) {
            set(Self.machineKey(row.id), to: nil)
            ended[row.window, default: []].insert(row.id.key)
        }
        for (number, machines) in ended {
            let key = Self.windowKey(number)
            guard var window: MaintenanceWindow = try value(at: key) else { continue }
            window.machines.removeAll { machines.contains($0.key) }
            set(key, to: window.machines.isEmpty ? nil : window.encoded())
            guard window.machines.isEmpty else { continue }
            try updateRegistry { registry in
                let left = (registry.windowCount ?? 1) - 1
                registry.windowCount = left == 0 ? nil : left
            }
        }
        return .changed(.nothing)
    }
}
