import Basics
import LogFormat
import MetadataMachine
import MetadataModel
import RegistryModel
import StateEngine
import Testing

private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

/// A master that leads, and asks for changes of the registry.
private struct LeadingMaster {
    let client: RigClient
    let fence: UInt64

    init(_ rig: Rig, _ number: UInt64) throws {
        client = RigClient(rig, number)
        let ticket = try client.campaign("masters")
        fence = ticket.fence
    }

    var guards: [Guard] { [Guard(kind: .election, name: RegistryCommand.electionGroup, fence: fence)] }

    @discardableResult
    func call(_ command: RegistryCommand) throws -> RegistryReply {
        let answer = try client.send(.registry(command), guards: guards)
        if let error = answer.error { throw error }
        return try RegistryReply(answer.rest)
    }

    func refusal(_ command: RegistryCommand) throws -> ReplyError? {
        try client.send(.registry(command), guards: guards).error
    }
}

@Suite("The registry in the state")
struct RegistryTests {
    private static let levels = FeatureLevels(founding: 3)

    private static func agent(_ id: String, cpus: Double = 8) -> AgentClaim {
        AgentClaim(
            id: bytes(id), info: AgentInfo(hostname: bytes(id), ip: bytes("10.0.0.1"), isCheckpointing: true),
            resources: [ResourceClaim(name: bytes("cpus"), type: .scalar, scalar: cpus)])
    }

    private static func framework(timeout: Double) -> RegistryCommand {
        .frameworkSubscribe(
            FrameworkInfo(id: bytes("f1"), name: bytes("f"), failoverTimeout: timeout), principal: nil, connection: bytes("c"),
            isForced: false)
    }

    private static func rows(_ rig: Rig, _ table: RegistryTable) throws -> Int {
        try rig.rows(of: 0x40).keys.count { $0.first == table.rawValue }
    }

    @Test("a command of the leading master is carried out; one of a master that led before is not")
    func fenced() throws {
        let rig = try Rig(levels: Self.levels)
        let first = try LeadingMaster(rig, 1)
        try first.call(.recover(MasterInfo(id: bytes("m1"))))
        #expect(try first.call(.agentAdmit(Self.agent("a1"))) == .changed(.generation(1)))
        try rig.expire(first.client)
        let second = try LeadingMaster(rig, 2)
        let late = RigClient(rig, 3)
        let refusal = try late.send(.registry(.agentMarkUnreachable(id: bytes("a1"))), guards: first.guards).error
        #expect(refusal?.code == .fenced && refusal?.currentFence == second.fence)
        #expect(try second.call(.agentMarkUnreachable(id: bytes("a1"))) == .changed(.nothing))
        #expect(try Self.rows(rig, .agents) == 1)
    }

    @Test("a command without the masters' fence, or with bytes behind it, is no command")
    func guarded() throws {
        let rig = try Rig(levels: Self.levels)
        let command = Mutation.registry(.agentMarkGone(id: bytes("a1")))
        for guards in [[], [Guard(kind: .election, name: bytes("others"), fence: 1)]] {
            let bytes = rig.command(command, 1, guards: guards)
            #expect(throws: ReplyError.self) { try Command.validate(bytes.rawSpan) }
        }
        let guards = [Guard(kind: .election, name: RegistryCommand.electionGroup, fence: 1)]
        let good = rig.command(command, 1, guards: guards)
        #expect(try Command.validate(good.rawSpan).featureLevel == 3)
        #expect(throws: ReplyError.self) { try Command.validate((good + [0]).rawSpan) }
    }

    @Test("a refusal says which rule, and changes nothing")
    func refused() throws {
        let rig = try Rig(levels: Self.levels)
        let master = try LeadingMaster(rig, 1)
        try master.call(.agentAdmit(Self.agent("a1")))
        let before = try rig.rows(of: 0x40)
        let refusal = try #require(try master.refusal(.agentAdmit(Self.agent("a1"))))
        #expect(refusal.code == .rejected && refusal.rule == "agent.already-admitted" && !refusal.isRetryable)
        #expect(refusal.message == "agent.already-admitted: agent a1 is admitted")
        #expect(try rig.rows(of: 0x40) == before)
    }

    @Test("a retry is answered what the first was, and a restart or a snapshot leaves every row")
    func kept() throws {
        let rig = try Rig(levels: Self.levels)
        let master = try LeadingMaster(rig, 1)
        try master.call(.recover(MasterInfo(id: bytes("m1"))))
        let command = master.client.next(.registry(.agentAdmit(Self.agent("a1"))), guards: master.guards)
        let reply = try rig.send(command).bytes
        #expect(try rig.send(command).bytes == reply)
        try master.call(Self.framework(timeout: 5))
        let rows = try rig.rows(of: 0x40)
        try rig.crashAndReplay()
        #expect(try rig.rows(of: 0x40) == rows)
        try rig.moveToSnapshot()
        #expect(try rig.rows(of: 0x40) == rows)
    }

    @Test("a framework that does not come back is over with the first entry after its time, also after a restart")
    func timers() throws {
        for restarts in [false, true] {
            let rig = try Rig(levels: Self.levels)
            let master = try LeadingMaster(rig, 1)
            try master.call(Self.framework(timeout: 5))
            #expect(rig.lastReport?.nextTimer == nil)
            try master.call(.frameworkDisconnect(id: bytes("f1"), connection: bytes("c")))
            let due = try #require(rig.lastReport?.nextTimer)
            #expect(due == rig.time + .seconds(5))
            if restarts { try rig.restart() }
            #expect(rig.machine.nextTimer == due)
            let framework = { () throws -> FrameworkRow.State? in
                try rig.rows(of: 0x40)[[RegistryTable.frameworks.rawValue] + bytes("f1")].map { try FrameworkRow($0).state }
            }
            rig.pass(.milliseconds(4_999))
            try rig.housekeep(.tick)
            #expect(try framework() == .disconnected)
            rig.pass(.milliseconds(1))
            try rig.housekeep(.tick)
            #expect(try framework() == .completed)
            #expect(rig.machine.nextTimer == nil)
        }
    }

    @Test("the feed tells every row that a command changes")
    func fed() throws {
        let rig = try Rig(levels: Self.levels)
        let master = try LeadingMaster(rig, 1)
        let from = rig.machine.applied.last.index.next
        try master.call(.recover(MasterInfo(id: bytes("m1"))))
        for number in 1...3 { try master.call(.agentAdmit(Self.agent("a\(number)"))) }
        try master.call(.agentRemove(id: bytes("a2"), discardsVolumes: false))
        _ = try master.refusal(.agentMarkGone(id: bytes("a2")))
        try master.call(Self.framework(timeout: 5))
        try master.call(.frameworkDisconnect(id: bytes("f1"), connection: bytes("c")))
        rig.pass(.seconds(6))
        try rig.housekeep(.tick)
        let range = from...rig.machine.applied.last.index
        let batch = try #require(try rig.machine.feed(rig.slabs(range), in: range))
        var rows: [[UInt8]: [UInt8]] = [:]
        for told in FeedTests.told(batch) {
            for (table, change) in told.changes {
                #expect(table == FeedTable.registry.rawValue)
                rows[change.key] = change.value
            }
        }
        #expect(try rows == rig.rows(of: 0x40))
    }

    @Test("all pages of a view show one revision, and a part of the registry can be read")
    func pages() throws {
        let rig = try Rig(levels: Self.levels)
        let master = try LeadingMaster(rig, 1)
        for number in 1...9 { try master.call(.agentAdmit(Self.agent("a\(number)"))) }
        let rows = try rig.rows(of: 0x40)
        var read: [[UInt8]: [UInt8]] = [:]
        var (view, cursor): (UInt64, [UInt8]) = (0, [])
        repeat {
            let request = PageRequest(after: cursor, limit: 7, pinsView: true)
            let page = try rig.ask(.registry(view: view, prefix: [], request)).page(for: request)
            #expect(page.rows.count <= 7)
            for row in page.rows { read[row.key] = row.value }
            (view, cursor) = (page.view, page.hasMore ? page.cursor : [])
            // What is changed meanwhile is not in it.
            try master.call(.agentUpdate(id: bytes("a9"), AgentPatch(port: UInt16(read.count))))
        } while !cursor.isEmpty
        #expect(read == rows)
        let request = PageRequest()
        let agents = try rig.ask(.registry(view: 0, prefix: [RegistryTable.agents.rawValue], request)).page(for: request)
        #expect(agents.rows.map { String(decoding: $0.key.dropFirst(), as: UTF8.self) } == (1...9).map { "a\($0)" })
    }

    @Test("a registry that is being imported is not read; views of before go on, and once it is whole it is read")
    func imported() throws {
        let rig = try Rig(levels: Self.levels)
        let master = try LeadingMaster(rig, 1)
        try master.call(.recover(MasterInfo(id: bytes("m1"))))
        try master.call(Self.framework(timeout: 5))
        let start = PageRequest(limit: 1, pinsView: true)
        let first = try rig.ask(.registry(view: 0, prefix: [], start)).page(for: start)
        #expect(first.view != 0)
        func chunk(_ number: UInt64, isLast: Bool) -> RegistryCommand {
            .importChunk(
                id: [1], number: number, isLast: isLast, [.agent(Self.agent("a\(number)"), ImportedStanding())])
        }
        func refusal() throws -> ReplyError? { try rig.ask(.registry(view: 0, prefix: [], PageRequest())).error }
        #expect(try master.call(chunk(0, isLast: false)) == .changed(.imported(chunks: 1, isDone: false)))
        for prefix in [[], [RegistryTable.agents.rawValue]] {
            let error = try rig.ask(.registry(view: 0, prefix: prefix, PageRequest())).error
            #expect(error?.code == .rejected && error?.rule == "import.under-way")
        }
        // Only how far it is.
        let whole = PageRequest()
        let own = try rig.ask(.registry(view: 0, prefix: RegistryKey(.registry).bytes, whole)).page(for: whole)
        let stored = try #require(own.rows.first?.value)
        #expect(try RegistryRow(stored).importing == ImportProgress(id: [1], chunks: 1) && own.rows.count == 1)
        let next = PageRequest(after: first.cursor, pinsView: true)
        let rest = try rig.ask(.registry(view: first.view, prefix: [], next)).page(for: next)
        #expect(rest.rows.allSatisfy { $0.key.first != RegistryTable.agents.rawValue } && !rest.rows.isEmpty)
        try rig.restart()
        #expect(try refusal()?.rule == "import.under-way")
        #expect(try master.call(chunk(1, isLast: true)) == .changed(.imported(chunks: 2, isDone: true)))
        #expect(try refusal() == nil)
        #expect(try Self.rows(rig, .agents) == 2)
    }

    @Test("what came of an import that is aborted goes, and then the registry is read again")
    func aborted() throws {
        let rig = try Rig(levels: Self.levels)
        let master = try LeadingMaster(rig, 1)
        try master.call(
            .importChunk(id: [1], number: 0, isLast: false, [.agent(Self.agent("a1"), ImportedStanding())]))
        #expect(try master.call(.importAbort) == .changed(.imported(chunks: 1, isDone: true)))
        #expect(try rig.ask(.registry(view: 0, prefix: [], PageRequest())).error == nil)
        #expect(try Self.rows(rig, .agents) == 0)
    }
}
