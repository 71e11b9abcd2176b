import RegistryMachine
import RegistryModel
import Testing

private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

@Suite("A registry that is imported")
struct ImportTests {
    private static func chunk(
        _ records: [ImportRecord], number: UInt64 = 0, isLast: Bool = true, id: UInt8 = 1
    ) -> RegistryCommand {
        .importChunk(id: [id], number: number, isLast: isLast, records)
    }

    private static func agent(
        _ id: String = "a1", resources: [ResourceClaim] = Agents.resources, isCheckpointing: Bool = true,
        _ standing: ImportedStanding = ImportedStanding()
    ) -> ImportRecord {
        let info = AgentInfo(hostname: bytes("\(id).example"), ip: [], isCheckpointing: isCheckpointing)
        return .agent(AgentClaim(id: bytes(id), info: info, resources: resources), standing)
    }

    private static func away(_ id: String, _ standing: ImportedStanding = ImportedStanding()) -> ImportRecord {
        .unreachable(id: bytes(id), since: 7, standing)
    }

    private static func machine(_ name: String, asListed listed: String? = nil) -> ImportedMachine {
        ImportedMachine(
            scheduled: MachineID(hostname: bytes(name), ip: nil),
            id: MachineID(hostname: bytes(listed ?? name), ip: nil), mode: .down, unavailability: Unavailability(start: 1))
    }

    private static func window(_ machines: [ImportedMachine], duration: Int64? = nil) -> ImportRecord {
        .window(Unavailability(start: 1, duration: duration), machines, extra: [])
    }

    private static func quota(_ role: String, _ limits: [NamedNumber] = [NamedNumber(name: bytes("cpus"), number: 4)])
        -> ImportRecord
    {
        .quota(QuotaConfig(role: bytes(role), limits: limits), extra: [])
    }

    private static func legacy(_ role: String, _ guarantee: [ResourceClaim]) -> ImportRecord {
        .legacyQuota(LegacyQuota(role: bytes(role), guarantee: guarantee))
    }

    private static func capability(_ name: String) -> ImportRecord { .capability(MinimumCapability(name: bytes(name))) }
    private static func weight(_ role: String, _ weight: Double = 2) -> ImportRecord {
        .weight(Weight(role: bytes(role), weight: weight))
    }
    private static let cpus = Claims.cpus(1)

    // MARK: - Rules

    private static let drained = ImportedStanding(isDeactivated: true, drain: AgentRow.Drain(isDrained: true))

    private static func refuses(
        _ rule: RegistryRule, _ refused: [ImportRecord], passes: [ImportRecord]
    ) -> RuleCase {
        RuleCase(rule, chunk(refused), passes: chunk(passes))
    }

    private static let p = bytes("p")
    private static let goneA = ImportRecord.gone(id: bytes("a"), since: 1, extra: [])
    private static let document = ImportRecord.document(name: [1], json: [2])

    private static let duplicates: [RuleCase] = [
        refuses(.importDuplicate, [agent("a"), away("a")], passes: [agent("a"), away("b")]),
        refuses(.importDuplicate, [away("a"), goneA], passes: [goneA]),
        refuses(.importDuplicate, [quota("q"), legacy("q", [cpus])], passes: [quota("q"), legacy("r", [cpus])]),
        refuses(.importDuplicate, [weight("w"), weight("w")], passes: [weight("w"), weight("v")]),
        refuses(
            .importDuplicate, [.provider(id: p, ProviderRow()), .provider(id: p, ProviderRow(isRemoved: true))],
            passes: [.provider(id: p, ProviderRow(isRemoved: true))]),
        refuses(.importDuplicate, [capability("X"), capability("X")], passes: [capability("X"), capability("Y")]),
        refuses(.importDuplicate, [document, document], passes: [document, .document(name: [2], json: [2])]),
    ]

    private static let maintenance: [RuleCase] = [
        refuses(.importShape, [.schedule, .schedule], passes: [.schedule]),
        refuses(.importShape, [window([machine("m")])], passes: [.schedule, window([machine("m")])]),
        refuses(
            .importShape, [.schedule, .machines([machine("m")])],
            passes: [.schedule, window([machine("n")]), .machines([machine("m")])]),
        refuses(
            .importShape, [.schedule, window([machine("m", asListed: "n")])],
            passes: [.schedule, window([machine("m", asListed: "M")])]),
        refuses(
            .scheduleMachineTwice, [.schedule, window([machine("m")]), window([machine("M")])],
            passes: [.schedule, window([machine("m")]), window([machine("n")])]),
        refuses(.scheduleWindowEmpty, [.schedule, window([])], passes: [.schedule, window([machine("m")])]),
        refuses(
            .scheduleDurationNegative, [.schedule, window([machine("m")], duration: -1)],
            passes: [.schedule, window([machine("m")], duration: 0)]),
    ]

    private static let values: [RuleCase] = [
        refuses(.importShape, [capability("QUOTA_V2")], passes: [quota("q"), capability("QUOTA_V2")]),
        refuses(.importShape, [quota("q", [])], passes: [quota("q")]),
        refuses(.importShape, [.document(name: [], json: [1])], passes: [document]),
        refuses(.importShape, [capability("")], passes: [capability("Z")]),
        refuses(.quotaLegacyEmpty, [legacy("q", [])], passes: [legacy("q", [cpus])]),
        refuses(.quotaLegacyField, [legacy("q", [cpus.reserved("r")])], passes: [legacy("q", [cpus])]),
        refuses(.quotaLegacyField, [legacy("q", [Claims.path(1)])], passes: [legacy("q", [Claims.root(1)])]),
        refuses(.quotaLegacyDuplicate, [legacy("q", [cpus, cpus])], passes: [legacy("q", [cpus, Claims.mem(1)])]),
        refuses(.weightNotPositive, [weight("w", 0)], passes: [weight("w", 0.5)]),
        refuses(.roleSlashEdge, [weight("/w")], passes: [weight("v/w")]),
    ]

    private static let volume = Claims.path(100).reserved("db").volume("wal")

    private static func agent(withResources count: Int) -> ImportRecord {
        agent(resources: [ResourceClaim](repeating: cpus, count: count))
    }

    private static let agentValues: [RuleCase] = [
        refuses(.importShape, [away("a", ImportedStanding(drain: AgentRow.Drain()))], passes: [away("a", drained)]),
        refuses(.importShape, [agent(withResources: ImportRecord.resourcesMax + 1)], passes: [agent(withResources: 9)]),
        refuses(
            .importShape, [agent(resources: [volume, volume])], passes: [agent(resources: [volume])]),
        refuses(.scalarInvalid, [agent(resources: [Claims.cpus(-1)])], passes: [agent(resources: [Claims.cpus(0)])]),
        refuses(
            .agentCheckpointedWithoutCheckpointing, [agent(resources: [cpus.reserved("r")], isCheckpointing: false)],
            passes: [agent(resources: [cpus.reserved("r")])]),
    ]

    private static let first = chunk([agent("a1")], isLast: false)
    private static let last = chunk([agent("a2")], number: 1)

    /// Each leaves something that an import brings.
    private static let bringing: [RegistryCommand] = [
        Agents.admit(), .weightsUpdate([Weight(role: bytes("w"), weight: 2)]),
        .quotaUpdate(
            [QuotaConfig(role: bytes("q"), limits: [NamedNumber(name: bytes("cpus"), number: 1)])], isForced: true),
        .scheduleUpdate([]), .providerAdmit(id: p, type: nil, name: nil),
    ]

    private static let notEmpty: [RuleCase] = bringing.map {
        RuleCase(
            .importNotEmpty, given: [$0], chunk([]), passes: chunk([agent()]),
            after: [Frameworks.subscribe(Frameworks.info())])
    }

    private static let others: [RegistryCommand] = [
        Agents.admit("b"), .recover(MasterInfo(id: bytes("m2"))), Frameworks.subscribe(Frameworks.info()),
    ]

    /// Until the last chunk nothing else is done.
    private static let underWay: [RuleCase] =
        others.map { RuleCase(.importUnderWay, given: [first], $0, passes: $0, after: [first, last]) } + [
            RuleCase(.importUnderWay, given: [first], chunk([], id: 2), passes: last),
            RuleCase(.importShape, given: [first], chunk([], number: 2), passes: last),
            RuleCase(.importShape, chunk([], number: 1), passes: chunk([])),
        ]

    static let rules: [RuleCase] =
        [duplicates, maintenance, values, agentValues, notEmpty, underWay].flatMap { $0 }

    // MARK: - Chunks

    @Test("a chunk that has come is not taken again, and the last ends the import")
    func chunks() throws {
        let master = Master()
        #expect(try master.call(Self.first) == .changed(.imported(chunks: 1, isDone: false)))
        #expect(try master.call(Self.first) == .unchanged(.imported(chunks: 1, isDone: false)))
        // A refusal leaves the import where it was.
        #expect(try master.rule(Self.chunk([Self.agent("a1")], number: 1)) == .importDuplicate)
        #expect(try master.call(Self.last) == .changed(.imported(chunks: 2, isDone: true)))
        #expect(try master.rule(Agents.admit("b")) == nil)
        #expect(try master.count(.agents) == 3)
    }

    @Test("a chunk of an import that is whole is answered as done, for as long as any of what came is there")
    func repeated() throws {
        let master = Master()
        try master.call(Self.first)
        try master.call(Self.last)
        // Whatever else was done since: who sends it again may not have heard that it was taken.
        try master.call(Frameworks.subscribe(Frameworks.info()))
        let before = master.rows.all
        for chunk in [Self.last, Self.first] {
            #expect(try master.call(chunk) == .unchanged(.imported(chunks: 2, isDone: true)))
        }
        #expect(try master.call(.importAbort) == .unchanged(.imported(chunks: 0, isDone: true)))
        #expect(master.rows.all == before)
        #expect(try master.rule(Self.chunk([], number: 2)) == .importNotEmpty)
        #expect(try master.rule(Self.chunk([], number: 1, id: 2)) == .importNotEmpty)
        for id in ["a1", "a2"] { try master.call(.agentRemove(id: bytes(id), discardsVolumes: false)) }
        #expect(try master.rule(Self.last) == .importShape)
        #expect(try master.call(Self.first) == .changed(.imported(chunks: 1, isDone: false)))
        #expect(try master.call(Self.last) == .changed(.imported(chunks: 2, isDone: true)))
        #expect(try master.count(.agents) == 2)
    }

    @Test("one that was aborted is not taken for one that was whole before it")
    func repeatedAfterAbort() throws {
        let master = Master()
        let whole = Self.chunk([Self.agent("a1")])
        try master.call(whole)
        try master.call(.agentRemove(id: bytes("a1"), discardsVolumes: false))
        try master.call(Self.chunk([Self.agent("a2")], isLast: false, id: 2))
        #expect(try master.rule(whole) == .importUnderWay)
        #expect(try master.call(.importAbort) == .changed(.imported(chunks: 1, isDone: true)))
        try master.call(Agents.admit("b"))
        #expect(try master.rule(whole) == .importNotEmpty)
    }

    @Test("the id of an import has 1 to 64 bytes")
    func shape() throws {
        let sizes: [(Int, RegistryRule?)] = [(0, .importShape), (1, nil), (64, nil), (65, .importShape)]
        for (size, rule) in sizes {
            let id = [UInt8](repeating: 1, count: size)
            #expect(try Master().rule(.importChunk(id: id, number: 0, isLast: true, [])) == rule)
        }
    }

    @Test("machines of one window may come in many chunks")
    func windows() throws {
        let master = Master()
        let names = (0..<700).map { "m\($0)" }
        try master.call(Self.chunk([.schedule, Self.window([Self.machine(names[0])])], isLast: false))
        for (number, start) in stride(from: 1, to: names.count, by: 100).enumerated() {
            let part = names[start..<min(start + 100, names.count)].map { ImportRecord.machines([Self.machine($0)]) }
            try master.call(Self.chunk(part, number: UInt64(number + 1), isLast: start + 100 >= names.count))
        }
        let key = RegistryKey(.windows).adding(UInt32(0)).bytes
        let window = try MaintenanceWindow(try #require(master.rows.row(at: key)))
        #expect(window.machines.map { String(decoding: $0.hostname ?? [], as: UTF8.self) } == names)
        #expect(try master.count(.machines) == 700)
    }

    @Test("an import that is aborted leaves nothing, a bounded part at a time")
    func aborted() throws {
        let master = Master(audits: false)
        let before = master.rows.all
        #expect(try master.call(.importAbort) == .unchanged(.imported(chunks: 0, isDone: true)))
        for number in 0..<30 {
            let agents = (0..<50).map { Self.agent("a\(number)-\($0)", Self.drained) }
            try master.call(Self.chunk(agents, number: UInt64(number), isLast: false))
        }
        let others = [
            Self.quota("q"), Self.weight("w"), .schedule, Self.window([Self.machine("m")]), Self.capability("X"),
        ]
        try master.call(Self.chunk(others, number: 30, isLast: false))
        var counts = [master.rows.count]
        while true {
            let reply = try master.call(.importAbort)
            counts.append(master.rows.count)
            if reply == .changed(.imported(chunks: 31, isDone: true)) { break }
            #expect(reply == .changed(.imported(chunks: 31, isDone: false)))
            #expect(try master.rule(Self.chunk([], number: 31)) == .importUnderWay)
        }
        #expect(counts.count > 3)
        #expect(zip(counts, counts.dropFirst()).allSatisfy { $0 - $1 <= 4_096 })
        // All but the number of agents that have come into a state.
        let key = RegistryKey(.registry).bytes
        var after = master.rows.all
        var row = try RegistryRow(try #require(after[key]))
        row.arrivalCount = 0
        after[key] = row.encoded()
        #expect(after == before)
        #expect(try master.rule(Self.chunk([Self.agent()])) == nil)
        #expect(try RegistryAudit.findings(in: master.rows, fence: master.fence) == [])
    }

    // MARK: - What it makes

    @Test("agents come into their states in order, with what was said of them")
    func agents() throws {
        let master = Master()
        try master.call(
            Self.chunk([
                Self.agent("a"), Self.away("u2", Self.drained), Self.away("u1"),
                .gone(id: bytes("g"), since: 9, extra: bytes("{}")),
            ]))
        let (admitted, drained) = (try #require(try master.agent("a")), try #require(try master.agent("u2")))
        let (away, gone) = (try #require(try master.agent("u1")), try #require(try master.agent("g")))
        #expect(admitted.state == .admitted && admitted.isReportWanted && admitted.attachedFence == 0)
        #expect(drained.state == .unreachable && drained.stateSince == 7 && drained.isDeactivated)
        #expect(drained.drain == AgentRow.Drain(isDrained: true) && drained.arrival < away.arrival)
        #expect(gone.state == .gone && gone.stateSince == 9 && gone.extra == bytes("{}") && !gone.isReportWanted)
        // Whoever is deactivated makes the next master know of it.
        #expect(master.rows.row(at: RegistryKey(.capabilities).adding(bytes("AGENT_DRAINING")).bytes) == [])
    }

    @Test("an imported agent comes back with whatever generation it had elsewhere, and reports what it has")
    func comingBack() throws {
        for generation: UInt64 in [0, 1, 57] {
            let master = Master()
            try master.call(Self.chunk([Self.agent(), Self.away("u")]))
            for id in ["a1", "u"] {
                let claim = Agents.claim(id)
                let digest = [UInt8](repeating: 9, count: 16)
                let reply = try master.call(Agents.reregister(claim, generation: generation, digest: digest))
                #expect(reply == .changed(.attached([.reportWanted(drain: try master.agent(id)?.drain)])))
                let entry = Claims.path(100).reserved("db")
                try master.call(.agentReport(id: bytes(id), generation: generation, entries: [entry]))
                #expect(try master.entries(of: id).contains("disk(db)[path /data]:100"))
                #expect(try master.agent(id)?.generation == max(1, generation) + 1)
            }
        }
    }

    @Test("of two volumes of one name that an agent reports one is taken for its own")
    func twoOfOneName() throws {
        let master = Master()
        try master.call(Self.chunk([Self.agent()]))
        try master.call(Agents.reregister(Agents.claim(), generation: 0))
        let other = Claims.mount(500_000).reserved("db").volume("wal")
        let reply = try master.call(.agentReport(id: bytes("a1"), generation: 0, entries: [Self.volume, other]))
        guard case .changed(.report(let result)) = reply else {
            Issue.record("\(reply)")
            return
        }
        #expect(result.adopted.map(\.description) == ["disk(db)[path /data][wal]:100"])
        #expect(result.orphans.map(\.description) == ["disk(db)[mount /mnt/ssd][wal]:500000"])
    }

    @Test("what is known of an agent besides outlives its coming back, and what was said of its state does not")
    func extras() throws {
        let master = Master()
        var info = AgentInfo(hostname: bytes("a1.example"), ip: [], extra: bytes(#"{"x":1}"#))
        info.isCheckpointing = true
        let claim = AgentClaim(id: bytes("a1"), info: info, resources: Agents.resources)
        try master.call(Self.chunk([.agent(claim, ImportedStanding(extra: bytes(#"{"y":2}"#)))]))
        try master.call(Agents.reregister(Agents.claim(), generation: 0))
        let id = try master.id("a1")
        let stored = try AgentInfo(try #require(master.rows.row(at: RegistryKey.agentInfo(id))))
        #expect(stored.extra == bytes(#"{"x":1}"#) && stored.ip == bytes("10.0.0.1"))
        #expect(try master.agent("a1")?.extra == bytes(#"{"y":2}"#))
        try master.call(.agentMarkUnreachable(id: bytes("a1")))
        #expect(try master.agent("a1")?.extra == [])
    }

    @Test("quota in the former form counts until there is one in the present form")
    func legacyQuota() throws {
        let master = Master()
        try master.call(Self.chunk([Self.agent(), Self.legacy("old", [Claims.cpus(6)])]))
        func update(_ role: String, _ guarantee: Double) -> RegistryCommand {
            .quotaUpdate(
                [QuotaConfig(role: bytes(role), guarantees: [NamedNumber(name: bytes("cpus"), number: guarantee)])],
                isForced: false)
        }
        #expect(try master.rule(update("new", 3)) == .quotaOvercommit)
        #expect(try master.rule(update("new", 2)) == nil)
        #expect(try master.rule(update("old", 5)) == nil)
        #expect(try master.count(.legacyQuotas) == 0)
    }

    @Test("the master of the document stands until one takes over; then it is that one")
    func master() throws {
        let info = MasterInfo(id: bytes("former"))
        let rows = MemoryRows()
        var registrar = Registrar(rows: rows, now: 1, fence: 100)
        _ = try registrar.carryOut(Self.chunk([.master(info)]))
        let key = RegistryKey(.registry).bytes
        #expect(try RegistryRow(try #require(rows.row(at: key))).master == info)
        // Sent again, it finds nothing that an import brings, and is taken anew.
        registrar = Registrar(rows: rows, now: 2, fence: 100)
        _ = try registrar.carryOut(Self.chunk([.master(info)]))
        let master = Master()
        try master.call(Self.chunk([.master(info)]))
        #expect(try RegistryRow(try #require(master.rows.row(at: key))).master?.id == bytes("m1"))
    }
}
