import RegistryMachine
import RegistryModel
import Testing

private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

/// Tables of what each command makes of each state. A cell is the state that is left, `=` for the same, `unchanged`
/// when the command says that nothing differs, or the rule that refuses it, without its first part.
private struct StateTable {
    struct Cell {
        var command: String
        var state: String
        var expected: String
    }

    let cells: [Cell]

    init(_ text: String) {
        let lines = text.split(separator: "\n").map { line in
            line.split(separator: "|").map { $0.split(separator: " ").joined(separator: " ") }
        }
        var cells: [Cell] = []
        for line in lines.dropFirst() {
            var before = ""
            for (state, expected) in zip(lines[0].dropFirst(), line.dropFirst()) {
                if expected != "same" { before = expected }
                if before != "–" { cells.append(Cell(command: line[0], state: state, expected: before)) }
            }
        }
        self.cells = cells
    }
}

@Suite("What each command makes of each state")
struct StateTableTests {
    // MARK: - Agents

    /// A admitted, U unreachable; active, deactivated, draining, drained.
    private static let agents = """
        Command | ABSENT | A-act | A-dea | A-ing | A-ed | U-act | U-dea | U-ing | U-ed | GONE
        Admit | A-act | already-admitted | same | same | same | id-in-use | same | same | same | same
        Update | not-admitted | = | = | = | = | not-admitted | same | same | same | same
        Reregister | A-act | = | = | = | = | A-act | A-dea | A-ing | A-ed | gone
        MarkReachable | A-act | unchanged | same | same | same | A-act | A-dea | A-ing | A-ed | gone
        MarkUnreachable | not-admitted | U-act | U-dea | U-ing | U-ed | not-admitted | same | same | same | same
        MarkGone | not-found | GONE | GONE | GONE | GONE | GONE | GONE | GONE | GONE | already-gone
        Remove | not-admitted | ABSENT | ABSENT | ABSENT | ABSENT | not-admitted | same | same | same | same
        Prune | unchanged | same | same | same | same | ABSENT | ABSENT | ABSENT | ABSENT | ABSENT
        Drain | not-found | A-ing | same | = | A-ing | U-ing | same | = | U-ing | not-found
        MarkDrained | unchanged | not-draining | same | A-ed | not-draining | same | same | U-ed | not-draining | unchanged
        Deactivate | not-found | A-dea | unchanged | same | same | U-dea | unchanged | same | same | not-found
        Reactivate | not-deactivated | same | A-act | still-draining | A-act | not-deactivated | U-act | still-draining | U-act | not-deactivated
        MaintenanceStart | – | U-act | U-dea | U-ing | U-ed | = | = | = | = | =
        """

    private static let a1 = bytes("a1")

    /// What brings an agent into a state.
    private static func way(to state: String) -> [RegistryCommand] {
        let parts = state.split(separator: "-").map(String.init)
        switch parts[0] {
        case "ABSENT": return []
        case "GONE": return [Agents.admit(), .agentMarkGone(id: a1)]
        default:
            let flag: [RegistryCommand]
            switch parts[1] {
            case "dea": flag = [.agentDeactivate(id: a1)]
            case "ing": flag = [.agentDrain(id: a1, maxGracePeriod: 5, marksGone: false)]
            case "ed": flag = [.agentDrain(id: a1, maxGracePeriod: 5, marksGone: false), .agentMarkDrained(id: a1)]
            default: flag = []
            }
            return [Agents.admit()] + flag + (parts[0] == "U" ? [.agentMarkUnreachable(id: a1)] : [])
        }
    }

    private static func command(_ name: String) -> [RegistryCommand] {
        switch name {
        case "Admit": [Agents.admit()]
        case "Update": [.agentUpdate(id: a1, AgentPatch(port: 9))]
        case "Reregister": [Agents.reregister(Agents.claim(), generation: 1)]
        case "MarkReachable": [.agentMarkReachable(Agents.claim())]
        case "MarkUnreachable": [.agentMarkUnreachable(id: a1)]
        case "MarkGone": [.agentMarkGone(id: a1)]
        case "Remove": [.agentRemove(id: a1, discardsVolumes: false)]
        case "Prune": [.agentsPrune(unreachable: [a1], gone: [a1], includesVolumes: false)]
        case "Drain": [.agentDrain(id: a1, maxGracePeriod: 7, marksGone: true)]
        case "MarkDrained": [.agentMarkDrained(id: a1)]
        case "Deactivate": [.agentDeactivate(id: a1)]
        case "Reactivate": [.agentReactivate(id: a1)]
        case "MaintenanceStart":
            [
                .scheduleUpdate([
                    MaintenanceWindow(machines: [Agents.machine()], unavailability: Unavailability(start: 0))
                ]),
                .maintenanceStart([Agents.machine()]),
            ]
        default: []
        }
    }

    private func state(_ row: AgentRow?) -> String {
        guard let row else { return "ABSENT" }
        guard row.state != .gone else { return "GONE" }
        let flag = row.drain.map { $0.isDrained ? "ed" : "ing" } ?? (row.isDeactivated ? "dea" : "act")
        return (row.state == .admitted ? "A-" : "U-") + flag
    }

    /// Carries the command out, the last of them last.
    private func said(_ commands: [RegistryCommand], _ master: Master) throws -> String? {
        for command in commands.dropLast() { try master.call(command) }
        guard let last = commands.last else { return nil }
        let (rule, reply) = try master.outcome(of: last)
        if let rule { return rule.rawValue.split(separator: ".").last.map(String.init) }
        if case .unchanged? = reply { return "unchanged" }
        return nil
    }

    @Test("agents")
    func agentTable() throws {
        let table = StateTable(Self.agents)
        #expect(table.cells.count == 129)
        for cell in table.cells {
            let master = Master()
            for command in Self.way(to: cell.state) { try master.call(command) }
            #expect(state(try master.agent("a1")) == cell.state)
            let before = master.rows.all
            let said = try said(Self.command(cell.command), master)
            let after = state(try master.agent("a1"))
            switch cell.expected {
            case "unchanged":
                #expect(master.rows.all == before && after == cell.state, "\(cell)")
            case "=":
                #expect(
                    after == cell.state && said == nil || said == "unchanged" && after == cell.state,
                    "\(cell): \(said ?? after)")
            case let expected where expected.first?.isUppercase == true:
                #expect(after == expected, "\(cell): \(said ?? after)")
            case let expected: #expect(said == expected && after == cell.state, "\(cell): \(said ?? after)")
            }
        }
    }

    // MARK: - Frameworks

    private static let frameworks = """
        Command | ABSENT | ACTIVE | DISCONNECTED | COMPLETED | TORN_DOWN
        Subscribe | ACTIVE | = | ACTIVE | completed | completed
        Elsewhere | ACTIVE | connected-elsewhere | ACTIVE | completed | completed
        Force | ACTIVE | = | ACTIVE | completed | completed
        Update | not-found | = | = | completed | completed
        Disconnect | not-found | DISCONNECTED | unchanged | unchanged | unchanged
        Teardown | not-found | TORN_DOWN | TORN_DOWN | unchanged | unchanged
        Deadline | – | = | COMPLETED | = | =
        NewFence | – | DISCONNECTED | = | = | =
        Forget | unchanged | not-ended | not-ended | ABSENT | ABSENT
        """

    private static let f1 = bytes("f1")

    private func state(_ row: FrameworkRow?) -> String {
        switch row?.state {
        case nil: "ABSENT"
        case .active: "ACTIVE"
        case .disconnected: "DISCONNECTED"
        case .completed: "COMPLETED"
        case .tornDown: "TORN_DOWN"
        }
    }

    private func bring(_ master: inout Master, to state: String) throws {
        guard state != "ABSENT" else { return }
        try master.call(Frameworks.subscribe(Frameworks.info("f1")))
        switch state {
        case "DISCONNECTED", "COMPLETED":
            try master.call(.frameworkDisconnect(id: Self.f1, connection: bytes("c1")))
            guard state == "COMPLETED" else { return }
            master.time += 600
            try master.carryOutTimers()
        case "TORN_DOWN": try master.call(.frameworkTeardown(id: Self.f1))
        default: break
        }
    }

    @Test("frameworks")
    func frameworkTable() throws {
        for cell in StateTable(Self.frameworks).cells {
            var master = Master()
            try bring(&master, to: cell.state)
            #expect(state(try master.framework("f1")) == cell.state)
            let deadline = try master.framework("f1")?.deadline
            var updated = Frameworks.info("f1")
            updated.name = bytes("another")
            var said: String?
            switch cell.command {
            case "Subscribe": said = try self.said([Frameworks.subscribe(Frameworks.info("f1"))], master)
            case "Elsewhere":
                said = try self.said([Frameworks.subscribe(Frameworks.info("f1"), connection: "c2")], master)
            case "Force":
                said = try self.said(
                    [Frameworks.subscribe(Frameworks.info("f1"), connection: "c2", isForced: true)], master)
            case "Update": said = try self.said([.frameworkUpdate(updated, principal: nil)], master)
            case "Disconnect":
                said = try self.said([.frameworkDisconnect(id: Self.f1, connection: bytes("c1"))], master)
            case "Teardown": said = try self.said([.frameworkTeardown(id: Self.f1)], master)
            case "Deadline":
                master.time += 600
                try master.carryOutTimers()
            case "NewFence":
                master.fence += 1
                try master.call(.recover(MasterInfo(id: bytes("m2"))))
                if cell.state == "DISCONNECTED" { #expect(try master.framework("f1")?.deadline == deadline) }
            default: said = try self.said([.frameworksForget([Self.f1])], master)
            }
            let after = state(try master.framework("f1"))
            switch cell.expected {
            case "=", "unchanged":
                #expect(after == cell.state && (said == nil || said == "unchanged"), "\(cell): \(said ?? after)")
            case let expected where expected.first?.isUppercase == true:
                #expect(after == expected, "\(cell): \(said ?? after)")
            case let expected: #expect(said == expected && after == cell.state, "\(cell): \(said ?? after)")
            }
        }
    }

    // MARK: - Operations

    private static let operations = """
        Command | ABSENT | PENDING | UNREACHABLE | terminal | tombstone
        Apply | PENDING | unchanged | – | unchanged | unchanged
        ApplyOther | – | uuid-reused | – | uuid-reused | uuid-reused
        StatusPending | unknown | = | – | = | unchanged
        StatusFinished | unknown | terminal | – | = | unchanged
        StatusFailed | unknown | terminal | – | = | unchanged
        WithoutUUID | unknown | tombstone | – | = | unchanged
        StatusGone | unknown | state-not-reportable | – | state-not-reportable | state-not-reportable
        Acknowledge | unknown-name | unknown-status | – | tombstone | unchanged
        AgentAway | – | UNREACHABLE | – | = | =
        AgentBack | – | = | PENDING | = | =
        AgentGone | – | tombstone | tombstone | tombstone | =
        FrameworkEnds | – | = | = | tombstone | =
        DayLater | – | = | = | = | ABSENT
        """

    private func state(_ row: OperationRow?) -> String {
        guard let row else { return "ABSENT" }
        guard row.isOpen else { return "tombstone" }
        return row.latestState.isTerminal ? "terminal" : row.latestState == .pending ? "PENDING" : "UNREACHABLE"
    }

    @Test("operations")
    func operationTable() throws {
        let reserve = OperationKind.reserve([Claims.cpus(1).reserved("db").allocated("db")])
        let apply = Operations.apply(1, reserve, framework: "f1", id: "o1")
        for cell in StateTable(Self.operations).cells {
            var master = Master()
            try master.call(Agents.admit())
            try master.call(Frameworks.subscribe(Frameworks.info("f1")))
            let way: [RegistryCommand]
            switch cell.state {
            case "PENDING": way = [apply]
            case "UNREACHABLE": way = [apply, .agentMarkUnreachable(id: Self.a1)]
            case "terminal": way = [apply, Operations.status(1, .finished, uuid: 1)]
            case "tombstone": way = [apply, Operations.status(1, .finished)]
            default: way = []
            }
            for command in way { try master.call(command) }
            #expect(state(try master.operation(1)) == cell.state)
            var said: String?
            switch cell.command {
            case "Apply": said = try self.said([apply], master)
            case "ApplyOther": said = try self.said([Operations.apply(1, reserve, framework: "f1", id: "o2")], master)
            case "StatusPending": said = try self.said([Operations.status(1, .pending)], master)
            case "StatusFinished": said = try self.said([Operations.status(1, .finished, uuid: 1)], master)
            case "StatusFailed": said = try self.said([Operations.status(1, .failed, uuid: 2)], master)
            case "WithoutUUID": said = try self.said([Operations.status(1, .finished)], master)
            case "StatusGone": said = try self.said([Operations.status(1, .goneByOperator)], master)
            case "Acknowledge":
                said = try self.said(
                    [
                        .operationAcknowledge(
                            frameworkID: Self.f1, operationID: bytes("o1"), statusUUID: Operations.uuid(1),
                            agentID: Self.a1)
                    ], master)
            case "AgentAway": said = try self.said([.agentMarkUnreachable(id: Self.a1)], master)
            case "AgentBack": said = try self.said([.agentMarkReachable(Agents.claim())], master)
            case "AgentGone": said = try self.said([.agentMarkGone(id: Self.a1)], master)
            case "FrameworkEnds":
                said = try self.said([.frameworkTeardown(id: Self.f1)], master)
                if cell.state == "PENDING" { #expect(try master.operation(1)?.isOrphan == true) }
            default:
                master.time += 24 * 3_600
                try master.carryOutTimers()
            }
            let after = state(try master.operation(1))
            switch cell.expected {
            case "=", "unchanged":
                #expect(after == cell.state && (said == nil || said == "unchanged"), "\(cell): \(said ?? after)")
            case let expected where expected.contains("-"):
                #expect(said == expected && after == cell.state, "\(cell): \(said ?? after)")
            case "unknown": #expect(said == "unknown", "\(cell): \(said ?? after)")
            case let expected: #expect(after == expected, "\(cell): \(said ?? after)")
            }
        }
    }

    /// The agent says that it could not do what the quorum decided.
    @Test("a conversion that failed is undone while nobody uses what it brought")
    func undo() throws {
        for state in [OperationState.failed, .error, .dropped] {
            let master = Master()
            try master.call(Agents.admit())
            try master.call(Frameworks.subscribe(Frameworks.info("f1")))
            try master.call(Operations.apply(1, .reserve([Claims.cpus(2).reserved("db")])))
            try master.call(Operations.apply(2, .reserve([Claims.mem(10).reserved("db")])))
            try master.call(Operations.acquire("h", [Claims.mem(10).reserved("db")], framework: "f1"))
            try master.call(Operations.status(1, state))
            #expect(try master.entries().first == "cpus:8")
            #expect(try master.agent("a1")?.generation == 4)
            try master.call(Operations.status(2, state))
            #expect(try master.entries().contains("mem(db):10") == true)
            #expect(try master.operation(2)?.isUndoBlocked == true)
            #expect(try master.operation(1)?.isUndoBlocked == false)
        }
    }

    // MARK: - Machines

    private static let machines = """
        Command | UP | DRAINING | DOWN
        Schedule | DRAINING | = | =
        Without | = | UP | down-machine-removed
        Start | not-scheduled | DOWN | not-draining
        Stop | not-scheduled | not-down | UP
        """

    private func state(_ row: MachineRow?) -> String {
        switch row?.mode {
        case nil: "UP"
        case .draining: "DRAINING"
        case .down: "DOWN"
        }
    }

    @Test("machines")
    func machineTable() throws {
        func window(_ id: String, start: Int64) -> RegistryCommand {
            .scheduleUpdate([
                MaintenanceWindow(machines: [Agents.machine(id)], unavailability: Unavailability(start: start))
            ])
        }
        for cell in StateTable(Self.machines).cells {
            let master = Master()
            if cell.state != "UP" { try master.call(window("a1", start: 1)) }
            if cell.state == "DOWN" { try master.call(.maintenanceStart([Agents.machine()])) }
            var said: String?
            switch cell.command {
            case "Schedule":
                said = try self.said([window("a1", start: 2)], master)
                #expect(try master.machine()?.unavailability.start == 2)
            case "Without": said = try self.said([window("a2", start: 1)], master)
            case "Start": said = try self.said([.maintenanceStart([Agents.machine()])], master)
            default: said = try self.said([.maintenanceStop([Agents.machine()])], master)
            }
            let after = state(try master.machine())
            switch cell.expected {
            case "=": #expect(after == cell.state && said == nil, "\(cell): \(said ?? after)")
            case let expected where expected.first?.isUppercase == true:
                #expect(after == expected, "\(cell): \(said ?? after)")
            case let expected: #expect(said == expected && after == cell.state, "\(cell): \(said ?? after)")
            }
        }
    }
}

extension Master {
    fileprivate func machine() throws -> MachineRow? {
        try rows.row(at: RegistryKey(.machines).adding(Agents.machine().key).bytes).map(MachineRow.init)
    }
}
