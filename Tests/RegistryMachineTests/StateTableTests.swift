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
    private let states: [String]

    init(_ text: String) {
        let lines = text.split(separator: "\n").map { line in
            line.split(separator: "|").map { $0.split(separator: " ").joined(separator: " ") }
        }
        states = Array(lines[0].dropFirst())
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

    /// - Parameters:
    ///   - said: the rule, without its first part, or that nothing differs; nil: neither.
    ///   - isSame: no row has changed.
    func check(_ cell: Cell, said: String?, after: String, isSame: Bool) {
        switch cell.expected {
        case "=": #expect(after == cell.state && (said ?? "unchanged") == "unchanged", "\(cell): \(said ?? after)")
        case "unchanged": #expect(said == "unchanged" && isSame, "\(cell): \(said ?? after)")
        case let state where states.contains(state):
            #expect(after == state && said == nil, "\(cell): \(said ?? after)")
        case let rule: #expect(said == rule && isSame, "\(cell): \(said ?? after)")
        }
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

    /// Carries the commands out.
    /// - Returns: what is said of the last of them, and whether it has changed no row.
    private func carryOut(_ commands: [RegistryCommand], _ master: Master) throws -> (said: String?, isSame: Bool) {
        for command in commands.dropLast() { try master.call(command) }
        guard let last = commands.last else { return (nil, true) }
        let before = master.rows.all
        let (rule, reply) = try master.outcome(of: last)
        let isSame = master.rows.all == before
        if let rule { return (rule.rawValue.split(separator: ".").last.map(String.init), isSame) }
        if case .unchanged? = reply { return ("unchanged", isSame) }
        return (nil, isSame)
    }

    @Test("agents")
    func agentTable() throws {
        let table = StateTable(Self.agents)
        #expect(table.cells.count == 129)
        for cell in table.cells {
            let master = Master()
            for command in Self.way(to: cell.state) { try master.call(command) }
            #expect(state(try master.agent("a1")) == cell.state)
            let (said, isSame) = try carryOut(Self.command(cell.command), master)
            let after = try master.agent("a1")
            table.check(cell, said: said, after: state(after), isSame: isSame)
            if cell.command == "Drain", after?.isDraining == true {
                #expect(after?.drain == AgentRow.Drain(maxGracePeriod: 7, marksGone: true))
            }
        }
    }

    @Test("a drain that says no grace period keeps the one that it had")
    func gracePeriod() throws {
        for state in ["A-ing", "A-ed", "U-ing", "U-ed"] {
            let master = Master()
            for command in Self.way(to: state) { try master.call(command) }
            try master.call(.agentDrain(id: Self.a1, maxGracePeriod: nil, marksGone: true))
            #expect(try master.agent("a1")?.drain == AgentRow.Drain(maxGracePeriod: 5, marksGone: true))
        }
    }

    // MARK: - Frameworks

    private static let frameworks = """
        Command | ABSENT | ACTIVE | DISCONNECTED | COMPLETED | TORN_DOWN
        WithoutID | ACTIVE | – | – | – | –
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

    private static func frameworkCommand(_ name: String) -> [RegistryCommand] {
        switch name {
        case "WithoutID": [Frameworks.subscribe(Frameworks.info())]
        case "Subscribe": [Frameworks.subscribe(Frameworks.info("f1"))]
        case "Elsewhere": [Frameworks.subscribe(Frameworks.info("f1"), connection: "c2")]
        case "Force": [Frameworks.subscribe(Frameworks.info("f1"), connection: "c2", isForced: true)]
        case "Update": [.frameworkUpdate(Frameworks.info("f1", roles: ["db", "web"]), principal: nil)]
        case "Disconnect": [.frameworkDisconnect(id: f1, connection: bytes("c1"))]
        case "Teardown": [.frameworkTeardown(id: f1)]
        case "NewFence": [.recover(MasterInfo(id: bytes("m2")))]
        case "Forget": [.frameworksForget([f1])]
        default: []
        }
    }

    @Test("frameworks")
    func frameworkTable() throws {
        let table = StateTable(Self.frameworks)
        #expect(table.cells.count == 44)
        for cell in table.cells {
            var master = Master()
            try bring(&master, to: cell.state)
            let before = try master.framework("f1")
            #expect(state(before) == cell.state)
            switch cell.command {
            case "Deadline": master.time += 600
            case "NewFence": (master.fence, master.time) = (master.fence + 1, master.time + 1)
            default: break
            }
            let (said, isSame) = try carryOut(Self.frameworkCommand(cell.command), master)
            if cell.command == "Deadline" { try master.carryOutTimers() }
            let after = try master.framework(cell.command == "WithoutID" ? "m1-0000" : "f1")
            table.check(cell, said: said, after: state(after), isSame: isSame)
            guard cell.command == "NewFence" else { continue }
            // Whoever was there has the time to find the new master; whoever was away has what it had.
            let grace: UInt64? = cell.state == "ACTIVE" ? (master.time + 600) * 1_000_000_000 : before?.deadline
            #expect(after?.deadline == grace)
        }
    }

    @Test("whether anybody has known of the framework that comes with an id")
    func wasUnknown() throws {
        let master = Master()
        let replies = try [Frameworks.info("f1"), Frameworks.info("f1"), Frameworks.info()].map {
            try master.call(Frameworks.subscribe($0))
        }
        #expect(
            try replies == [
                .changed(.framework(id: master.id("f1"), wasUnknown: true)),
                .unchanged(.framework(id: master.id("f1"), wasUnknown: false)),
                .changed(.framework(id: master.id("m1-0000"), wasUnknown: false)),
            ])
    }

    // MARK: - Operations

    /// As long as an operation is UNREACHABLE its agent is, and no report of it is taken.
    private static let operations = """
        Command | ABSENT | PENDING | UNREACHABLE | terminal | tombstone
        Apply | PENDING | unchanged | unchanged | unchanged | unchanged
        ApplyOther | – | uuid-reused | uuid-reused | uuid-reused | uuid-reused
        StatusPending | unknown | = | not-admitted | = | unchanged
        StatusTerminal | unknown | terminal | not-admitted | = | unchanged
        WithoutUUID | unknown | tombstone | not-admitted | = | unchanged
        StatusOther | unknown | state-not-reportable | not-admitted | state-not-reportable | state-not-reportable
        Acknowledge | unknown-name | unknown-status | unknown-status | tombstone | unchanged
        AgentAway | – | UNREACHABLE | not-admitted | = | =
        AgentBack | – | = | PENDING | = | =
        AgentGone | – | tombstone | tombstone | tombstone | =
        AgentRemoved | – | tombstone | tombstone | tombstone | =
        FrameworkEnds | – | = | = | tombstone | =
        DayLater | – | = | = | = | ABSENT
        """

    private func state(_ row: OperationRow?) -> String {
        guard let row else { return "ABSENT" }
        guard row.isOpen else { return "tombstone" }
        return row.latestState.isTerminal ? "terminal" : row.latestState == .pending ? "PENDING" : "UNREACHABLE"
    }

    private static let reserve = OperationKind.reserve([Claims.cpus(1).reserved("db").allocated("db")])
    private static let apply = Operations.apply(1, reserve, framework: "f1", id: "o1")
    private static let ends: [OperationState] = [.finished, .failed, .error, .dropped]
    private static let comingBack: [RegistryCommand] = [
        .agentMarkReachable(Agents.claim()), Agents.reregister(Agents.claim(), generation: 1),
    ]

    private static func operationWay(to state: String) -> [RegistryCommand] {
        let there = [Agents.admit(), Frameworks.subscribe(Frameworks.info("f1"))]
        return switch state {
        case "PENDING": there + [apply]
        case "UNREACHABLE": there + [apply, .agentMarkUnreachable(id: a1)]
        case "terminal": there + [apply, Operations.status(1, .finished, uuid: 1)]
        case "tombstone": there + [apply, Operations.status(1, .finished)]
        default: there
        }
    }

    /// What the command may be, each of which does the same.
    private static func operationCommands(_ cell: StateTable.Cell) -> [[RegistryCommand]] {
        let isAway = cell.state == "UNREACHABLE"
        return switch cell.command {
        case "Apply": [[apply]]
        case "ApplyOther": [[Operations.apply(1, reserve, framework: "f1", id: "o2")]]
        case "StatusPending": [[Operations.status(1, .pending)]]
        case "StatusTerminal": ends.map { [Operations.status(1, $0, uuid: 2)] }
        case "WithoutUUID": ends.map { [Operations.status(1, $0)] }
        case "StatusOther":
            OperationState.allCases.filter { $0 != .pending && !ends.contains($0) }.map { [Operations.status(1, $0)] }
        case "Acknowledge":
            [
                [
                    .operationAcknowledge(
                        frameworkID: f1, operationID: bytes("o1"), statusUUID: Operations.uuid(1), agentID: a1)
                ]
            ]
        case "AgentAway": [[.agentMarkUnreachable(id: a1)]]
        case "AgentBack": comingBack.map { isAway ? [$0] : [.agentMarkUnreachable(id: a1), $0] }
        case "AgentGone": [[.agentMarkGone(id: a1)]]
        case "AgentRemoved":
            isAway
                ? [[.agentsPrune(unreachable: [a1], gone: [], includesVolumes: false)]]
                : [[.agentRemove(id: a1, discardsVolumes: false)]]
        case "FrameworkEnds": [[.frameworkTeardown(id: f1)]]
        default: [[]]
        }
    }

    @Test("operations")
    func operationTable() throws {
        let table = StateTable(Self.operations)
        #expect(table.cells.count == 58)
        for cell in table.cells {
            for commands in Self.operationCommands(cell) {
                var master = Master()
                for command in Self.operationWay(to: cell.state) { try master.call(command) }
                let before = try master.operation(1)
                #expect(state(before) == cell.state)
                let (said, isSame) = try carryOut(commands, master)
                if cell.command == "DayLater" {
                    master.time += 24 * 3_600
                    try master.carryOutTimers()
                }
                let after = try master.operation(1)
                table.check(cell, said: said, after: state(after), isSame: isSame)
                check(cell, before, after)
            }
        }
    }

    /// What a state does not tell.
    private func check(_ cell: StateTable.Cell, _ before: OperationRow?, _ after: OperationRow?) {
        switch (cell.command, cell.state) {
        case ("StatusPending", "terminal"), ("StatusTerminal", "terminal"), ("WithoutUUID", "terminal"):
            #expect(after?.latestState == .finished && after?.statuses.count == 2, "\(cell)")
        case ("AgentGone", "PENDING"), ("AgentGone", "UNREACHABLE"), ("AgentRemoved", "PENDING"),
            ("AgentRemoved", "UNREACHABLE"):
            #expect(after?.latestState == .goneByOperator, "\(cell)")
        case ("AgentGone", "terminal"), ("AgentRemoved", "terminal"):
            #expect(after?.latestState == .finished, "\(cell)")
        case ("FrameworkEnds", "PENDING"), ("FrameworkEnds", "UNREACHABLE"):
            #expect(after?.isOrphan == true, "\(cell)")
        case (_, "tombstone") where cell.command != "DayLater": #expect(after == before, "\(cell)")
        default: break
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

    @Test("a volume that was not destroyed after all does not come back beside another of its name")
    func undoOfDestroy() throws {
        let volume = Claims.path(100).reserved("db").volume("v")
        for isMadeAgain in [false, true] {
            let master = Master()
            try master.call(Agents.admit())
            try master.call(Operations.apply(1, .reserve([Claims.path(200).reserved("db")])))
            try master.call(Operations.apply(2, .create([volume])))
            try master.call(Operations.apply(3, .destroy([volume])))
            if isMadeAgain { try master.call(Operations.apply(4, .create([volume]))) }
            try master.call(Operations.status(3, .failed))
            #expect(try master.operation(3)?.isUndoBlocked == isMadeAgain)
            #expect(try master.entries().filter { $0.contains("[v]") }.count == 1)
        }
    }

    @Test("a volume that one command destroys and makes again is stored as it is by now")
    func volumeMadeAgain() throws {
        let volume = Claims.path(100).reserved("db").volume("v")
        var moved = volume
        moved.disk?.volume = VolumeMount(containerPath: Array("elsewhere".utf8))
        let master = Master()
        try master.call(Agents.admit())
        try master.call(Operations.apply(1, .reserve([Claims.path(100).reserved("db")])))
        try master.call(Operations.apply(2, .create([volume])))
        try master.call(
            .operationsApply(
                [Operations.request(3, .destroy([volume])), Operations.request(4, .create([moved]))], isAtomic: true))
        var paths: [[UInt8]] = []
        try master.rows.scan(RegistryKey.entries(of: try master.id("a1")).bytes) { _, value in
            if let mount = try Resource(value).disk?.volume { paths.append(mount.containerPath) }
            return true
        }
        #expect(paths == [Array("elsewhere".utf8)])
    }

    // MARK: - Machines

    @Test("machines of several windows end their maintenance together")
    func stopSeveral() throws {
        let master = Master()
        let machines = ["a1", "a2", "a3"].map { Agents.machine($0) }
        let unavailability = Unavailability(start: 5)
        try master.call(
            .scheduleUpdate([
                MaintenanceWindow(machines: [machines[0], machines[1]], unavailability: unavailability),
                MaintenanceWindow(machines: [machines[2]], unavailability: unavailability),
            ]))
        try master.call(.maintenanceStart(machines))
        try master.call(.maintenanceStop([machines[0], machines[2]]))
        #expect(try master.count(.windows) == 1)
        #expect(try master.count(.machines) == 1)
        try master.call(.maintenanceStop([machines[1]]))
        #expect(try master.count(.windows) == 0)
        #expect(try master.count(.machines) == 0)
    }

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
        let table = StateTable(Self.machines)
        #expect(table.cells.count == 12)
        for cell in table.cells {
            let master = Master()
            if cell.state != "UP" { try master.call(window("a1", start: 1)) }
            if cell.state == "DOWN" { try master.call(.maintenanceStart([Agents.machine()])) }
            #expect(state(try master.machine()) == cell.state)
            let command: RegistryCommand =
                switch cell.command {
                case "Schedule": window("a1", start: 2)
                case "Without": window("a2", start: 1)
                case "Start": .maintenanceStart([Agents.machine()])
                default: .maintenanceStop([Agents.machine()])
                }
            let (said, isSame) = try carryOut([command], master)
            let after = try master.machine()
            table.check(cell, said: said, after: state(after), isSame: isSame)
            if cell.command == "Schedule" { #expect(after?.unavailability.start == 2) }
        }
    }
}

extension Master {
    fileprivate func machine() throws -> MachineRow? {
        try rows.row(at: RegistryKey(.machines).adding(Agents.machine().key).bytes).map(MachineRow.init)
    }
}
