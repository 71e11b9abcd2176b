import RegistryMachine
import RegistryModel
import Testing

@Suite("The worked example")
struct WorkedExampleTests {
    var master = Master()

    private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }
    private let f1 = "m1-0000"

    private func generation(_ reply: RegistryReply) -> UInt64? {
        guard case .changed(.operations(let outcomes)) = reply, case .done(let outcome)? = outcomes.first else {
            return nil
        }
        return outcome.generation
    }

    /// A framework's operation on what was offered to its role.
    private func apply(_ number: UInt8, _ kind: OperationKind) -> RegistryCommand {
        Operations.apply(number, kind, framework: f1, principal: "p")
    }

    @Test("a master, an agent and a framework, the next master, and the end of each")
    mutating func all() throws {
        master.time = 0
        #expect(try master.call(Agents.admit()) == .changed(.generation(1)))
        #expect(try master.rule(Agents.admit()) == .agentAlreadyAdmitted)
        let subscribed = try master.call(Frameworks.subscribe(Frameworks.info()))
        #expect(subscribed == .changed(.framework(id: try master.id(f1), wasUnknown: false)))

        let (path, mount) = (Claims.path(50_000).reserved("db"), Claims.mount(500_000).reserved("db"))
        #expect(generation(try master.call(apply(1, .reserve([path.allocated("db")])))) == 2)
        #expect(
            try master.rule(apply(2, .reserve([Claims.mount(200_000).reserved("db").allocated("db")])))
                == .ledgerIndivisible)
        #expect(generation(try master.call(apply(3, .reserve([mount.allocated("db")])))) == 3)
        #expect(
            try master.rule(apply(4, .reserve([Claims.cpus(1).reserved("web").allocated("db")])))
                == .reserveAllocationRoleDiffers)
        let wal = Claims.path(40_000).reserved("db").volume("wal")
        let create = apply(5, .create([wal.allocated("db")]))
        #expect(generation(try master.call(create)) == 4)
        #expect(
            try master.entries() == [
                "cpus:8", "disk(db)[mount /mnt/ssd]:500000", "disk(db)[path /data]:10000",
                "disk(db)[path /data][wal]:40000",
                "disk:10240", "disk[path /data]:150000", "mem:16384",
            ])
        let again = try master.call(create)
        guard case .unchanged(.operations(let outcomes)) = again, case .done(let outcome)? = outcomes.first else {
            Issue.record("\(again)")
            return
        }
        #expect(outcome.generation == 4 && outcome.converted.map(\.description) == ["disk(db)[path /data][wal]:40000"])
        let second = Claims.path(1_000).reserved("db").volume("wal").allocated("db")
        #expect(try master.rule(apply(6, .create([second]))) == .createDuplicateId)
        let tooSmall = Claims.mount(400_000).reserved("db").volume("base").allocated("db")
        #expect(try master.rule(apply(7, .create([tooSmall]))) == .ledgerIndivisible)
        let base = Claims.mount(500_000).reserved("db").volume("base")
        #expect(generation(try master.call(apply(8, .create([base.allocated("db")])))) == 5)
        #expect(try master.rule(apply(9, .unreserve([wal.allocated("db")]))) == .unreservePersistentVolume)
        #expect(try master.rule(apply(10, .shrinkVolume(base, subtract: 1))) == .shrinkMount)
        let grow = OperationKind.growVolume(wal, addition: Claims.path(5_000).reserved("db"))
        #expect(generation(try master.call(apply(11, grow))) == 6)

        let grown = Claims.path(45_000).reserved("db").volume("wal")
        try master.call(Operations.acquire("h1", [Claims.cpus(2), Claims.mem(4_096), grown]))
        #expect(try master.rule(apply(12, .destroy([grown.allocated("db")]))) == .destroyInUse)
        let quota = { (limits: [NamedNumber]) in
            RegistryCommand.quotaUpdate([QuotaConfig(role: Array("db".utf8), limits: limits)], isForced: false)
        }
        #expect(try master.rule(quota([NamedNumber(name: bytes("cpus"), number: 1)])) == .quotaConsumptionAboveLimit)
        let allowed = try master.call(
            quota([NamedNumber(name: bytes("cpus"), number: 2), NamedNumber(name: bytes("disk"), number: 600_000)]))
        guard case .changed(.consumption(let roles)) = allowed else {
            Issue.record("\(allowed)")
            return
        }
        #expect(roles.map(\.role.description) == ["db"])
        let consumed = roles[0].quantities.items.map { "\(String(decoding: $0.name, as: UTF8.self)) \($0.amount)" }
        #expect(consumed == ["cpus 2", "disk 550000", "mem 4096"])
        for number: UInt8 in [1, 3, 5, 8, 11] {
            #expect(try master.call(Operations.status(number, .finished)) == .changed(.status(isForwarded: false)))
            #expect(try master.operation(number)?.isOpen == false)
        }

        // m1 stalls; its session is over, and m2 leads.
        let digest = try #require(try master.agent("a1")?.digest)
        master.time = 112
        master.fence = 200
        try master.call(.recover(MasterInfo(id: bytes("m2"))))
        let framework = try #require(try master.framework(f1))
        #expect(framework.state == .disconnected && framework.deadline == 712 * 1_000_000_000)
        let row = try #require(try master.agent("a1"))
        #expect(row.generation == 6 && row.attachedFence == 100)
        var fork = try copy()
        try checkLostCheckpoint(&fork)
        fork = try copy()
        var smaller = Agents.resources
        smaller[3] = Claims.path(40_000)
        let shrunk = Agents.reregister(Agents.claim(resources: smaller), generation: 6, digest: digest)
        #expect(try rejection(fork.call(shrunk)) == "agent.total-below-ledger")

        let back = try master.call(Agents.reregister(Agents.claim(), generation: 6, digest: digest))
        #expect(back == .changed(.attached([.upToDate(generation: 6, drain: nil)])))
        #expect(try master.agent("a1")?.attachedFence == 200)
        #expect(
            try master.rule(Frameworks.subscribe(Frameworks.info(f1, principal: "q"))) == .frameworkPrincipalChanged)
        master.time = 120
        #expect(
            try master.call(Frameworks.subscribe(Frameworks.info(f1), connection: "c2"))
                == .changed(.framework(id: try master.id(f1), wasUnknown: false)))
        #expect(try master.framework(f1)?.deadline == nil)
        try master.call(Operations.release("h1"))
        #expect(generation(try master.call(apply(13, .destroy([grown.allocated("db")])))) == 7)
        #expect(
            generation(try master.call(apply(14, .unreserve([Claims.path(50_000).reserved("db").allocated("db")]))))
                == 8)

        master.time = 200
        try master.call(.frameworkDisconnect(id: bytes(f1), connection: bytes("c2")))
        master.time = 799
        try master.carryOutTimers()
        #expect(try master.framework(f1)?.state == .disconnected)
        master.time = 800
        try master.carryOutTimers()
        #expect(try master.framework(f1)?.state == .completed)
        #expect(try master.rule(Frameworks.subscribe(Frameworks.info(f1))) == .frameworkCompleted)
        let gone = try master.call(.agentMarkGone(id: bytes("a1")))
        guard case .changed(.lostVolumes(let lost)) = gone else {
            Issue.record("\(gone)")
            return
        }
        #expect(lost.map { "\($0.agentID) \($0.role) \($0.id)" } == ["a1 db base"])
        #expect(
            try rejection(master.call(Agents.reregister(Agents.claim(), generation: 8, digest: digest))) == "agent.gone"
        )
    }

    /// The same registry, to try something else with.
    private func copy() throws -> Master {
        var copy = Master(audits: master.audits)
        (copy.fence, copy.time) = (master.fence, master.time)
        for (key, _) in copy.rows.all { copy.rows.set(key, to: nil) }
        for (key, value) in master.rows.all { copy.rows.set(key, to: value) }
        return copy
    }

    private func checkLostCheckpoint(_ master: inout Master) throws {
        let reply = try master.call(Agents.reregister(Agents.claim(), generation: 5))
        guard case .changed(.attached(let outcomes)) = reply, case .behind(6, let entries, nil)? = outcomes.first else {
            Issue.record("\(reply)")
            return
        }
        #expect(
            entries.map(\.description).sorted() == [
                "disk(db)[mount /mnt/ssd][base]:500000", "disk(db)[path /data]:5000", "disk(db)[path /data][wal]:45000",
            ])
    }

    private func rejection(_ reply: RegistryReply) throws -> String? {
        switch reply {
        case .changed(.attached(let outcomes)), .unchanged(.attached(let outcomes)):
            guard case .rejected(let rejection)? = outcomes.first else { return nil }
            return String(decoding: rejection.rule, as: UTF8.self)
        default: return nil
        }
    }
}
