import ArgumentParser
import Basics
import Client
import RegistryModel
import Testing

@testable import quorate

@Suite("The commands of the registry")
struct RegistryCommandTests {
    private static func id(_ text: String) -> RegistryID { RegistryID(unchecked: Array(text.utf8)) }
    private static func role(_ text: String) -> RoleName { RoleName(unchecked: Array(text.utf8)) }
    private static func amount(_ thousandths: Int64) throws -> Scalar { try #require(Scalar(thousandths: thousandths)) }

    private static func resource(_ text: String) throws -> Resource {
        try #require(try ResourceNotation.parse(text).first?.checked())
    }

    /// 2026-01-31T13:00:00Z
    private static let time: UInt64 = 1_769_864_400_000_000_000

    /// Two agents, one of them away; a framework that holds something; quota that is exceeded.
    private static func records() throws -> [RegistryRecord] {
        var registry = RegistryRow()
        registry.master = MasterInfo(id: Array("m1".utf8), hostname: Array("h0".utf8), ip: Array("10.0.0.9".utf8))
        registry.fence = 7
        registry.recoveredAt = time
        registry.admittedCount = 1
        registry.windowCount = 1
        registry.limiter.isAlarmed = true
        var draining = AgentRow(state: .admitted, stateSince: time, arrival: 1, attachedFence: 7)
        draining.isDeactivated = true
        draining.drain = AgentRow.Drain(maxGracePeriod: 90_000_000_000, marksGone: true)
        let away = AgentRow(state: .unreachable, stateSince: time, arrival: 2, attachedFence: 5)
        let info = AgentInfo(
            hostname: Array("h1".utf8), ip: Array("10.0.0.1".utf8),
            attributes: [Attribute(name: Array("rack".utf8), value: .text(Array("r\u{1B}1".utf8)))],
            isCheckpointing: true, capabilities: [.agentDraining, .resizeVolume])
        let framework = FrameworkInfo(
            id: Array("f1".utf8), name: Array("pg".utf8), role: Array("db".utf8), failoverTimeout: 600)
        var limits = QuotaRow()
        limits.limits.set(try amount(1_000), of: Array("cpus".utf8))
        let volume = try resource("disk(db)[path /data, volume wal at wal]:45000")
        return [
            .registry(registry), .agent(id("a1"), draining), .agent(id("a2"), away), .agentInfo(id("a1"), info),
            .entry(agent: id("a1"), LedgerEntry(try resource("cpus:8"))),
            .entry(agent: id("a1"), LedgerEntry(volume)),
            .entry(agent: id("a1"), LedgerEntry(try resource("disk(db)[mount /m]:500"))),
            .entry(agent: id("a1"), LedgerEntry(try resource("disk(db)[mount /m]:500"), ordinal: 1)),
            .hold(
                agent: id("a1"), framework: id("f1"), id: Array("h1".utf8),
                HoldRow(role: role("db"), resources: [try resource("cpus:1.5"), volume])),
            .hold(
                agent: id("a1"), framework: id("f1"), id: Array("h2".utf8),
                HoldRow(
                    role: role("db"), resources: [try resource("cpus:2"), try resource("disk(db)[mount /m]:500")])),
            .framework(
                id("f1"), FrameworkRow(info: framework, stateSince: time, connection: [1], attachedFence: 7)),
            .quota(role("db"), limits), .weight(Weight(role: Array("web/eu".utf8), weight: 2.5)),
            .consumption(role("db"), resource: Array("cpus".utf8), try amount(3_500)),
        ]
    }

    private static func book() throws -> RegistryBook { RegistryBook(try records()) }

    // MARK: - Shown

    @Test("Agents are listed with what is unusual about them, and without control characters")
    func agents() throws {
        let book = try Self.book()
        #expect(
            book.agentRows().map { $0.cells.joined(separator: " | ") } == [
                "a1 | admitted | h1 10.0.0.1:5051 | draining, to be marked gone | 1 | 2026-01-31T13:00:00.000Z",
                "a2 | unreachable | - | - | 1 | 2026-01-31T13:00:00.000Z",
            ])
        #expect(book.agentRows(.unreachable).map { $0.cells[0] } == ["a2"])
        #expect(book.agentRows(.attached).map { $0.cells[0] } == ["a1"])
        #expect(book.agentRows(.unattached).isEmpty)
        #expect(book.agentRows(.draining).map { $0.cells[0] } == ["a1"])
        #expect(
            book.agentRows(.unreachable).first?.json.text
                == #"{"id":"a2","state":"unreachable","sinceMs":1769864400000,"attached":false,"deactivated":false,"#
                + #""drain":null,"generation":1,"reportWanted":false}"#)
        let json = try #require(book.agentRows(.draining).first?.json.text)
        #expect(json.contains(#""drain":{"state":"draining","maxGraceMs":90000,"markGone":true}"#))
        #expect(json.contains(#""capabilities":["RESIZE_VOLUME","AGENT_DRAINING"]"#))
        #expect(json.contains(#""attributes":[{"name":"rack","value":"r\u001b1"}]"#))
        let lines = book.lines(of: try book.agent("a1"))
        #expect(lines.contains("grace period: 90.0 s"))
        #expect(lines.allSatisfy { !$0.contains("\u{1B}") })
        #expect(throws: CommandError("notFound", "there is no agent a")) { try book.agent("a") }
    }

    @Test("Of each entry it is shown what tasks hold; of two disks alike, one is free")
    func resources() throws {
        let book = try Self.book()
        #expect(
            book.resourceRows().map { $0.cells.dropFirst().joined(separator: " | ") } == [
                "cpus | 8 | 3.5", "disk(db)[path /data, volume wal at wal] | 45000 | 45000",
                "disk(db)[mount /m] | 500 | 500", "disk(db)[mount /m] | 500 | -",
            ])
        #expect(
            book.resourceRows().first?.json.text
                == #"{"agent":"a1","resource":"cpus:8","name":"cpus","amount":"8","role":null,"held":"3.5"}"#)
        #expect(book.resourceRows(role: Self.role("db")).count == 3)
        #expect(book.resourceRows(role: .any).count == 1)
        #expect(book.resourceRows(role: Self.role("d")).isEmpty)
        #expect(
            book.sumRows().map { $0.cells.joined(separator: " ") } == ["cpus 8 0 3.5", "disk 46000 46000 45500"])
        #expect(
            book.volumeRows().map { $0.cells.joined(separator: " | ") } == [
                "a1 | db | wal | 45000 | 1 | disk(db)[path /data, volume wal at wal]"
            ])
        #expect(book.volumeRows(role: Self.role("web")).isEmpty)
        #expect(try book.volume("wal", of: "db", on: "a1").isVolume)
        #expect(throws: CommandError("notFound", "agent a1 has no volume wal of role web")) {
            try book.volume("wal", of: "web", on: "a1")
        }
    }

    @Test("A role is there while anything names it or one below, and what is over its limits is named")
    func roles() throws {
        let book = try Self.book()
        #expect(book.roles().map(\.description) == ["db", "web", "web/eu"])
        #expect(
            book.roleRows().map { $0.cells.joined(separator: " | ") } == [
                "db | 1.0 | 1 | - | cpus 1 | cpus 3.5", "web | 1.0 | 0 | - | - | -", "web/eu | 2.5 | 0 | - | - | -",
            ])
        #expect(
            book.quotaRow(of: Self.role("db")).json.text
                == #"{"role":"db","guarantees":{},"limits":{"cpus":"1"},"consumption":{"cpus":"3.5"},"#
                + #""overLimit":["cpus"]}"#)
        #expect(book.weightRows().map { $0.json.text } == [#"{"role":"web/eu","weight":"2.5"}"#])
        let lines = book.lines(of: Self.role("db"))
        #expect(lines.contains("reserved: disk 46000"))
        #expect(lines.contains("held: cpus 3.5, disk 45500"))
        #expect(lines.contains("OVER LIMIT: cpus"))
    }

    @Test("A framework that is away says when it is over")
    func frameworks() throws {
        var records = try Self.records()
        for position in records.indices {
            guard case .framework(let id, var row) = records[position] else { continue }
            row.state = .disconnected
            row.deadline = Self.time + 600_000_000_000
            records[position] = .framework(id, row)
        }
        let book = RegistryBook(records)
        #expect(
            book.frameworkRows().map { $0.cells.joined(separator: " | ") } == [
                "f1 | pg | disconnected | db | - | 2026-01-31T13:00:00.000Z | 2026-01-31T13:10:00.000Z"
            ])
        #expect(book.frameworkRows(.active).isEmpty)
        #expect(book.fullJSON(of: try book.framework("f1")).text.contains(#""hold":"h1","role":"db","resources":["#))
    }

    @Test("An operation says what it took and brought, and one that has ended is left out unless asked for")
    func operations() throws {
        let plain = try Self.resource("cpus:4")
        let reserved = try Self.resource("cpus(db):4")
        var row = OperationRow(
            frameworkID: Self.id("f1"), operationID: Self.id("o1"), providerID: nil, digest: [], consumed: [plain],
            outcome: OperationRow.Outcome(generation: 2, converted: [reserved]))
        let uuid = try RegistryUUID.parse("01234567-89ab-cdef-0123-456789ABCDEF", of: "UUID")
        row.statuses = [OperationStatus(state: .finished, uuid: uuid, message: Array("well".utf8))]
        row.acknowledged = [uuid]
        row.latestState = .finished
        var book = RegistryBook([.operation(agent: Self.id("a1"), uuid: uuid, row)])
        #expect(
            book.operationRows().map { $0.cells.joined(separator: " | ") } == [
                "01234567-89ab-cdef-0123-456789abcdef | a1 | f1 | o1 | finished | cpus(db):4"
            ])
        #expect(book.operationRows(framework: Self.id("f2")).isEmpty)
        let operation = try #require(book.operations.first)
        #expect(RegistryBook.lines(of: operation).last?.hasSuffix("yes           well") == true)
        #expect(RegistryBook.json(operation).text.contains(#""acknowledged":true,"message":"well""#))
        row.endedAt = Self.time
        book = RegistryBook([.operation(agent: Self.id("a1"), uuid: uuid, row)])
        #expect(book.operationRows().isEmpty)
        #expect(book.operationRows(all: true).count == 1)
    }

    @Test("The status says who leads, who has taken over, and that an alarm stands")
    func status() throws {
        let book = try Self.book()
        let lines = book.statusLines(leader: 9)
        #expect(lines.first == "a master leads under fence 9")
        #expect(lines.contains("taken over by m1 (h0 10.0.0.9:5050) under fence 7, 2026-01-31T13:00:00.000Z"))
        #expect(lines.contains("the master that leads has not taken over yet"))
        #expect(lines.last?.hasPrefix("ALARM: ") == true)
        #expect(book.statusJSON(leader: nil).text.hasPrefix(#"{"leaderFence":null,"master":"m1","fence":7,"#))
    }

    @Test("While an import is under way the status says how far it is, and what to do")
    func statusOfImport() throws {
        var row = RegistryRow()
        row.lastImport = ImportProgress(id: [0x0a, 0xff], chunks: 14)
        let coming = RegistryBook([.registry(row)])
        let lines = coming.statusLines(leader: 9)
        #expect(lines.prefix(2) == ["a master leads under fence 9", "no master has taken over yet"])
        let last = try #require(lines.last)
        #expect(lines.count == 3 && last.contains("chunks that have come: 14.") && last.contains("begins with 0aff"))
        #expect(last.contains("`quorate registry import FILE`") && last.contains("`quorate registry import --abort`"))
        let json = coming.statusJSON(leader: 9).text
        #expect(json.hasSuffix(#","importing":{"id":"0aff","chunks":14,"aborting":false}}"#))
        // What was not read is not said to be nothing.
        #expect(json.contains(#""capacity":null"#) && json.contains(#""minimumCapabilities":null"#))
        row.lastImport?.state = .aborting
        let aborting = RegistryBook([.registry(row)])
        #expect(aborting.statusLines(leader: nil).last?.hasSuffix("`quorate registry import --abort` again") == true)
        #expect(aborting.statusJSON(leader: nil).text.hasSuffix(#""chunks":14,"aborting":true}}"#))
        row.lastImport?.state = .whole
        let whole = RegistryBook([.registry(row)])
        #expect(whole.statusLines(leader: nil).contains { $0.hasPrefix("capacity: ") })
        #expect(whole.statusJSON(leader: nil).text.hasSuffix(#","importing":null}"#))
    }

    // MARK: - Maintenance

    private func windows(_ text: String) throws -> [MaintenanceWindow] {
        try ScheduleFile.parse(Array(text.utf8), name: "file")
    }

    @Test("Mesos' schedule is read, shown, and read again")
    func schedule() throws {
        let text =
            #"{"windows":[{"machine_ids":[{"hostname":"H1","ip":"10.0.0.1"},{"ip":"10.0.0.2"}],"unavailability":"#
            + #"{"start":{"nanoseconds":1769864400000000000},"duration":{"nanoseconds":3600000000000}}},"#
            + #"{"machine_ids":[{"hostname":"h3"}],"unavailability":{"start":{"nanoseconds":"-5"}}}]}"#
        let read = try windows(text)
        let h1 = MachineID(hostname: Array("H1".utf8), ip: Array("10.0.0.1".utf8))
        #expect(
            read == [
                MaintenanceWindow(
                    machines: [h1, MachineID(hostname: nil, ip: Array("10.0.0.2".utf8))],
                    unavailability: Unavailability(start: 1_769_864_400_000_000_000, duration: 3_600_000_000_000)),
                MaintenanceWindow(
                    machines: [MachineID(hostname: Array("h3".utf8), ip: nil)],
                    unavailability: Unavailability(start: -5)),
            ])
        var registry = RegistryRow()
        registry.windowCount = 2
        let down = MachineRow(id: h1, mode: .down, unavailability: read[0].unavailability, window: 0)
        let book = RegistryBook([
            .registry(registry), .machine(down), .window(number: 0, read[0]), .window(number: 1, read[1]),
        ])
        #expect(
            book.maintenanceLines() == [
                "WINDOW  MACHINE      MODE  FROM                      FOR",
                "1       H1/10.0.0.1  down  2026-01-31T13:00:00.000Z  3600.0 s",
                "1       /10.0.0.2    up    2026-01-31T13:00:00.000Z  3600.0 s",
                "2       h3           up    -5 ns                     for ever",
            ])
        #expect(
            book.maintenanceJSON().text
                == #"{"schedule":"# + text + #","machines":[{"hostname":"H1","ip":"10.0.0.1","mode":"down"}]}"#)
        #expect(RegistryBook([]).maintenanceJSON().text == #"{"schedule":null,"machines":[]}"#)
        #expect(try windows("{}").isEmpty)
    }

    @Test(
        "A schedule that is none is refused with the place",
        arguments: [
            (#"{"window":[]}"#, #"file: "window" is not known here"#),
            (
                #"{"windows":[{"machine_ids":[{"hostname":"h1"}]}]}"#, #"file: windows[0]: "unavailability" is missing"#
            ),
            (
                #"{"windows":[{"unavailability":{"start":{"nanoseconds":1.5}}}]}"#,
                "file: windows[0].unavailability.start.nanoseconds: should be a whole number"
            ),
        ])
    func noSchedule(text: String, message: String) {
        #expect(throws: CommandError.usage(message)) { try windows(text) }
    }

    @Test("A machine is HOSTNAME/IP, or one of them")
    func machines() {
        for text in ["h1/10.0.0.1", "h1", "/10.0.0.1"] { #expect(MachineID(argument: text).argument == text) }
        #expect(MachineID(argument: "h1/") == MachineID(hostname: Array("h1".utf8), ip: nil))
        #expect(MachineID(argument: "") == MachineID(hostname: nil, ip: nil))
    }

    // MARK: - Changing

    @Test("What a change did is said; what was so already changes nothing")
    func outcomes() throws {
        let volume = VolumeID(agentID: Self.id("a1"), role: Self.role("db"), id: Self.id("wal"))
        let gone = try RegistryOutcome(.changed(.lostVolumes([volume])), revision: 5)
        #expect(gone.isChanged)
        #expect(gone.lines == ["lost: volume wal of role db"])
        #expect(JSON.object(gone.members).text == #"{"lostVolumes":[{"agent":"a1","role":"db","id":"wal"}]}"#)
        #expect(try RegistryOutcome(.unchanged(.nothing), revision: 5).isChanged == false)
        // Every id was asked for in both lists.
        let pruned = RegistryResult.pruned(
            deleted: [Self.id("a2")], skipped: [Self.id("a3"), Self.id("a2"), Self.id("a3")])
        #expect(try RegistryOutcome(.changed(pruned), revision: 5).lines == ["forgotten: a2", "left alone: a3"])
        let done = OperationRow.Outcome(generation: 3, converted: [try Self.resource("cpus(db):4")])
        #expect(
            try RegistryOutcome(.changed(.operations([.done(done)])), revision: 5).lines == [
                "cpus(db):4", "generation 3",
            ])
    }

    @Test("A refusal names its rule, in JSON too; what is put off can be tried again")
    func refusals() throws {
        let refusal = ClientError(code: .rejected, message: "agent.gone: agent a1 was marked gone", rule: "agent.gone")
        #expect(
            CommandError(refusal).json.text
                == #"{"error":"rejected","message":"agent.gone: agent a1 was marked gone","retryable":false,"#
                + #""rule":"agent.gone"}"#)
        #expect(CommandError(ClientError(code: .unavailable, message: "nobody")).rule == nil)
        let rejection = Rejection(RegistryRefusal(.agentRemovalLimited, "too many"))
        #expect(
            throws: ClientError(
                code: .rejected, message: "agent.removal-limited: too many: again in 9000 ms", isRetryable: true,
                rule: "agent.removal-limited")
        ) { try RegistryOutcome(.postponed(milliseconds: 9_000, rejection), revision: 1) }
    }

    @Test("A UUID is 32 digits with or without dashes; those that are drawn are of version 4")
    func uuids() throws {
        let text = "00010203-0405-0607-0809-0a0b0c0d0e0f"
        #expect(try RegistryUUID.parse(text, of: "UUID") == Array(0..<16))
        #expect(RegistryUUID.text(Array(0..<16)) == text)
        for wrong in ["", "0", text + "0", "g0010203-0405-0607-0809-0a0b0c0d0e0f", String(text.dropLast())] {
            #expect(throws: CommandError.self) { try RegistryUUID.parse(wrong, of: "UUID") }
        }
        let drawn = RegistryUUID.new()
        #expect(drawn.count == 16)
        #expect(drawn[6] >> 4 == 4)
        #expect(drawn[8] >> 6 == 2)
    }

    @Test("Amounts by name: several at once, and a name may hold =")
    func namedNumbers() throws {
        #expect(
            try NamedNumber.list(["cpus=1.5,mem=2", "a=b=3"], of: "--limit") == [
                NamedNumber(name: Array("cpus".utf8), number: 1.5), NamedNumber(name: Array("mem".utf8), number: 2),
                NamedNumber(name: Array("a=b".utf8), number: 3),
            ])
        for wrong in ["cpus", "cpus=", "=1", "cpus=1,", "cpus=x"] {
            #expect(throws: CommandError.self) { try NamedNumber.list([wrong], of: "--limit") }
        }
    }

    @Test("Quota in the form of before Mesos 1.9 is shown like other quota: what it guarantees is the limit")
    func legacyQuota() throws {
        var guarantee = Quantities.none
        guarantee.set(try Self.amount(2_000), of: Array("cpus".utf8))
        let book = RegistryBook([.legacyQuota(Self.role("db"), LegacyQuotaRow(guarantee: guarantee))])
        #expect(book.quotaRow(of: Self.role("db")).cells == ["db", "cpus 2", "cpus 2", "-", "-"])
        #expect(book.roles() == [Self.role("db")])
    }

    // MARK: - Rules

    @Test("Every rule is explained in a sentence")
    func ruleTexts() {
        for rule in RegistryRule.allCases {
            let text = rule.text
            #expect(text.count > 20 && text.hasSuffix(".") && text.first?.isUppercase == true, "\(rule.rawValue)")
            #expect(!text.contains("  ") && !text.contains("\n"), "\(rule.rawValue)")
        }
    }

    @Test("explain finds a rule, a group of rules, or says what is near")
    func explain() throws {
        #expect(try RegistryExplain.rules("agent.gone") == [.agentGone])
        #expect(try RegistryExplain.rules("shrink").count == 5)
        #expect(try RegistryExplain.rules(nil) == RegistryRule.allCases)
        #expect(
            throws: CommandError(
                "notFound", "this release knows no rule agents.gone: there is agent.already-gone, agent.gone")
        ) { try RegistryExplain.rules("agents.gone") }
    }

    // MARK: - The command line

    private func parse<Command>(_ arguments: String...) throws -> Command {
        try #require(try Quorate.parseAsRoot(["registry"] + arguments) as? Command)
    }

    @Test("Arguments reach their commands")
    func arguments() throws {
        let drain: RegistryAgentDrain = try parse("agents", "drain", "a1", "--max-grace-period", "90s", "--mark-gone")
        #expect(drain.id == "a1" && drain.markGone && drain.maxGracePeriod?.interval == .seconds(90))
        let approve: RegistryAgentsApproveRemovals = try parse(
            "agents", "approve-removals", "50", "--for", "1h", "--fence", "7", "--json")
        #expect(approve.count == 50 && approve.change.fence == 7 && approve.change.options.json)
        let list: RegistryAgentList = try parse("agents", "--state", "drained")
        #expect(list.state == .drained)
        let reserve: RegistryReserve = try parse(
            "resources", "reserve", "a1", "cpus(db):1", "--principal", "ops", "--source", "cpus:1")
        #expect(reserve.operation.agent == "a1" && reserve.resources == "cpus(db):1" && reserve.source == "cpus:1")
        #expect(reserve.operation.principal == "ops" && reserve.operation.uuid == nil)
        let grow: RegistryVolumeGrow = try parse("volumes", "grow", "a1", "db", "wal", "512.5")
        #expect(grow.volume.operation.agent == "a1" && grow.volume.role == "db" && grow.volume.id == "wal")
        #expect(grow.amount == 512.5)
        let set: RegistryQuotaSet = try parse(
            "quota", "set", "db", "--guarantee", "cpus=1", "--limit", "mem=2", "--force")
        #expect(set.role == "db" && set.guarantee == ["cpus=1"] && set.limit == ["mem=2"] && set.force)
        let frameworks: RegistryFrameworkList = try parse("frameworks", "list", "--state", "torn-down")
        #expect(frameworks.state == .tornDown)
        let given: RegistryImport = try parse("import", "registry.json", "--fence", "7")
        #expect(given.file == "registry.json" && given.fence == 7)
        let export: RegistryExport = try parse("export", "registry.json", "--read-level", "stale")
        #expect(export.file == "registry.json" && export.read.readLevel == .stale)
        let start: RegistryMaintenanceStart = try parse("maintenance", "start", "h1/10.0.0.1", "h2/10.0.0.2")
        #expect(start.machines.count == 2)
    }

    @Test(
        "Wrong arguments are a validation failure of the parser, which ends with exit code 2",
        arguments: [
            ["agents", "drain"], ["agents", "list", "--state", "odd"], ["agents", "approve-removals", "x"],
            ["agents", "approve-removals", "1", "--for", "0s"], ["agents", "drain", "a1", "--fence", "0"],
            ["quota", "set", "db"], ["weights", "set"], ["maintenance", "start"],
            ["volumes", "grow", "a1", "db", "wal"], ["import"], ["import", "f", "--fence", "0"],
        ])
    func wrongArguments(arguments: [String]) {
        do {
            _ = try Quorate.parseAsRoot(["registry"] + arguments)
            Issue.record("\(arguments) were accepted")
        } catch {
            #expect(Quorate.exitCode(for: error) == .validationFailure)
        }
    }

    @Test("Every command says what it is for")
    func help() {
        func check(_ command: any ParsableCommand.Type) {
            #expect(!command.configuration.abstract.isEmpty, "\(command)")
            #expect(Quorate.helpMessage(for: command).contains("USAGE: quorate registry"), "\(command)")
            for part in command.configuration.subcommands { check(part) }
        }
        check(Registry.self)
    }
}
