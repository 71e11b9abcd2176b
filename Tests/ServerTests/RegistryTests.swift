import Client
import Glibc
import RegistryModel
import Testing

extension ServerTests {
    /// The masters' registry between real processes, as masters, agents and frameworks use it.
    @Suite struct RegistryTests {
        private static func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

        private static func agent(_ id: String) -> AgentClaim {
            AgentClaim(
                id: bytes(id),
                info: AgentInfo(hostname: bytes("\(id).example"), ip: bytes("10.0.0.1"), isCheckpointing: true),
                resources: [amount("cpus", 8), amount("disk", 1_000)])
        }

        private static func amount(_ name: String, _ amount: Double) -> ResourceClaim {
            ResourceClaim(name: bytes(name), type: .scalar, scalar: amount)
        }

        /// Disk that is reserved to role db; a volume if it has an id.
        private static func disk(_ size: Double, _ volume: String? = nil, allocated: Bool = true) -> ResourceClaim {
            var claim = amount("disk", size)
            claim.reservations = [.init(kind: .dynamic, role: bytes("db"))]
            claim.allocationRole = allocated ? bytes("db") : nil
            if let volume {
                claim.disk = ResourceClaim.DiskClaim(
                    persistence: ResourceClaim.PersistenceClaim(id: bytes(volume)),
                    volume: VolumeMount(containerPath: bytes(volume)))
            }
            return claim
        }

        private static func operation(
            _ number: UInt8, on agent: String = "a1", by framework: RegistryID? = nil, _ kind: OperationKind
        ) -> OperationRequest {
            let uuid = [UInt8](repeating: number, count: OperationRequest.uuidSize)
            return OperationRequest(agentID: bytes(agent), frameworkID: framework?.bytes, uuid: uuid, kind: kind)
        }

        private static let framework = FrameworkInfo(
            name: bytes("pg"), roles: [bytes("db")], capabilities: .multiRole, failoverTimeout: 600)

        private static func id(_ text: String) throws -> RegistryID { try RegistryID(bytes(text), "id") }

        @Test(
            "the next master finds everything in pages and in the feed, and what the one before sends is refused",
            .timeLimit(.minutes(2)))
        func succession() async throws {
            try await withCluster { cluster in
                let (first, second, other) = (cluster.client(), cluster.client(), cluster.client())
                let old = try await MasterRegistry.lead(first, data: Self.bytes("first"))
                async let turn = MasterRegistry.lead(second, data: Self.bytes("second"))
                try await old.recover(MasterInfo(id: Self.bytes("m1")))
                var state = try await old.view()
                var feed = old.changes(after: state.revision).makeAsyncIterator()

                for name in ["a1", "a2"] { #expect(try await old.admit(Self.agent(name)) == 1) }
                let framework = try await old.subscribe(Self.framework, connection: Self.bytes("c1"))
                #expect(framework.bytes == Self.bytes("m1-0000"))
                let reserve = Self.operation(1, by: framework, .reserve([Self.disk(100)]))
                #expect(try await old.apply(reserve).generation == 2)
                let create = Self.operation(2, by: framework, .create([Self.disk(60, "wal")]))
                #expect(try await old.apply(create).generation == 3)
                let hasAcquired = try await old.acquire(
                    [Self.amount("cpus", 2)], of: Self.bytes("a1"), for: framework.bytes, role: Self.bytes("db"),
                    holdID: Self.bytes("h1"))
                #expect(hasAcquired)
                let limits = [NamedNumber(name: Self.bytes("disk"), number: 1_000)]
                let consumed = try await old.setQuota([QuotaConfig(role: Self.bytes("db"), limits: limits)])
                #expect(consumed.first?.quantities[Self.bytes("disk")]?.double == 100)
                let last = try await old.change(.agentDeactivate(id: Self.bytes("a2"))).revision
                while state.revision < last { state.apply(try #require(try await feed.next())) }
                let whole = try await other.registry()
                #expect(state.records == whole.records)

                await first.shutdown()
                let new = try await turn
                #expect(new.fence.number > old.fence.number)
                // What the one before has sent arrives only now.
                let late = MasterRegistry(other, fence: old.fence)
                let fenced = await #expect(throws: ClientError.self) { try await late.deactivate(Self.bytes("a1")) }
                #expect(fenced?.code == .fenced)
                #expect(fenced?.currentFence == new.fence.number)

                var found = RegistryView()
                var pages = new.records().makeAsyncIterator()
                while let page = try await pages.next() { found.apply(page) }
                #expect(found.records == state.records)
                try await new.recover(MasterInfo(id: Self.bytes("m2")))
                found = try await new.view()
                #expect(found.registry.fence == new.fence.number)
                #expect(found.framework(framework)?.state == .disconnected)
                let row = try #require(found.agent(try Self.id("a1")))
                #expect(row.generation == 3)
                #expect(!found.isAttached(row))
                let asked = [OperationReference(operationID: try Self.id("o9"), agentID: try Self.id("a1"))]
                #expect(found.reconcile(framework, asked).map(\.status.state) == [.recovering])
                let role = try #require(found.roles()[try RoleName(Self.bytes("db"))])
                #expect(role.reserved[Self.bytes("disk")]?.double == 100)
                #expect(role.held[Self.bytes("cpus")]?.double == 2)
                #expect(role.consumption[Self.bytes("cpus")]?.double == 2)
                // Nobody has come back to this master yet; what was done once is known all the same.
                #expect(try await new.apply(create).generation == 3)

                let back = AgentAttachment(agent: Self.agent("a1"), generation: 3, digest: row.digest)
                #expect(try await new.reregister([back]) == [.upToDate(generation: 3, drain: nil)])
                found = try await new.view()
                #expect(found.reconcile(framework, asked).map(\.status.state) == [.unknown])
                await second.shutdown()
                await other.shutdown()
            }
        }

        @Test("a refused command throws its rule, and one that is put off says that it may be tried again")
        func refusals() async throws {
            try await withCluster(nodes: 1) { cluster in
                let client = cluster.client()
                let registry = try await MasterRegistry.lead(client)
                try await registry.recover(MasterInfo(id: Self.bytes("m1")))
                for name in ["a1", "a2"] { try await registry.admit(Self.agent(name)) }
                let again = await #expect(throws: ClientError.self) { try await registry.admit(Self.agent("a1")) }
                #expect(again?.code == .rejected)
                #expect(again?.rule == "agent.already-admitted")
                #expect(again?.mayHaveTakenEffect == false)
                // The first undoes nothing of the second where each answers for itself.
                let operations = [
                    Self.operation(1, .reserve([Self.disk(2_000, allocated: false)])),
                    Self.operation(2, .reserve([Self.disk(100, allocated: false)])),
                ]
                let whole = await #expect(throws: ClientError.self) { try await registry.apply(operations) }
                #expect(whole?.rule == "ledger.insufficient")
                let outcomes = try await registry.apply(operations, isAtomic: false)
                guard outcomes.count == 2, case .rejected(let rejection) = outcomes[0], case .done = outcomes[1] else {
                    throw TestFailure("\(outcomes)")
                }
                #expect(rejection.rule == Self.bytes("ledger.insufficient"))

                #expect(try await registry.markUnreachable(Self.bytes("a1")))
                let limited = await #expect(throws: ClientError.self) {
                    try await registry.markUnreachable(Self.bytes("a2"))
                }
                #expect(limited?.rule == "agent.removal-limited")
                #expect(limited?.isRetryable == true)
                let view = try await registry.view()
                let plan = view.prunePlan(now: .max, age: .zero)
                #expect(plan.unreachable.map(\.bytes) == [Self.bytes("a1")])
                let pruned = try await registry.prune(unreachable: plan.unreachable.map(\.bytes), gone: [])
                #expect(pruned.deleted == plan.unreachable)
                await client.shutdown()
            }
        }

        @Test("a registry of several pages is of one revision, whatever is written meanwhile", .timeLimit(.minutes(1)))
        func pages() async throws {
            try await withCluster(nodes: 1) { cluster in
                let client = cluster.client()
                let registry = try await MasterRegistry.lead(client)
                try await registry.recover(MasterInfo(id: Self.bytes("m1")))
                // Four records each.
                let agents = (0..<600).map { number in
                    AgentAttachment(agent: Self.agent("a\(number)"), generation: 0, digest: CheckpointDigest.ofNothing)
                }
                #expect(try await registry.reregister(agents).allSatisfy(\.isReportWanted))
                let state = try await registry.view()
                var pages = registry.records().makeAsyncIterator()
                var found = RegistryView()
                var count = 0
                while let page = try await pages.next() {
                    #expect(count == 0 || page.revision == found.revision)
                    found.apply(page)
                    count += 1
                    try await registry.deactivate(Self.bytes("a\(count)"))
                }
                #expect(count > 2)
                #expect(found.records == state.records)
                let now = try await registry.view()
                #expect(now.records != state.records)
                await client.shutdown()
            }
        }

        @Test("agents are seen to come, to have another checkpoint, and to go", .timeLimit(.minutes(2)))
        func agents() async throws {
            try await withCluster { cluster in
                let (masters, agents) = (cluster.client(), cluster.client(sessionTimeout: .seconds(5)))
                let registry = try await MasterRegistry.lead(masters)
                try await registry.recover(MasterInfo(id: Self.bytes("m1")))
                let session = AgentSession(agents, Self.agent("a1"))
                let keeping = Task { try await session.keep() }
                var seen = masters.observeAgents().makeAsyncIterator()
                var now = try #require(try await seen.next())
                while now.present.isEmpty { now = try #require(try await seen.next()) }
                #expect(now.present.map(\.agent) == [Self.agent("a1")])
                #expect(now.present.map(\.generation) == [0])

                let isKnown = try await session.known() != nil
                #expect(!isKnown)
                try await registry.admit(Self.agent("a1"))
                let admitted = try #require(try await session.known())
                #expect(AgentCheckpoint().standing(admitted.row) == .behind)
                try await session.announce(admitted.checkpoint)
                now = try #require(try await seen.next())
                #expect(now.present.map(\.generation) == [1])
                let before = try #require(now.present.first)

                try await registry.apply(Self.operation(1, .reserve([Self.disk(100, allocated: false)])))
                let reserved = try #require(try await session.known())
                #expect(reserved.checkpoint.entries.map(\.resource.description) == ["disk(db):100"])
                #expect(admitted.checkpoint.standing(reserved.row) == .behind)
                #expect(reserved.checkpoint.standing(reserved.row) == .upToDate)
                let outcomes = try await registry.reregister([before])
                guard case .behind(let generation, let entries, _)? = outcomes.first else {
                    throw TestFailure("\(outcomes)")
                }
                #expect(generation == 2)
                #expect(entries == reserved.checkpoint.entries.map(\.resource))
                try await session.announce(reserved.checkpoint)
                now = try #require(try await seen.next())
                #expect(try await registry.reregister(now.present) == [.upToDate(generation: 2, drain: nil)])

                // The node that the watch is at may be the one that goes.
                try await cluster.kill(try await cluster.leader().name)
                _ = try await cluster.leader()
                await agents.shutdown()
                _ = await keeping.result
                now = try #require(try await seen.next())
                #expect(now.gone == [Self.bytes("a1")])
                await masters.shutdown()
            }
        }

        @Test("an agent whose session was lost is present again by the next one", .timeLimit(.minutes(1)))
        func lostSession() async throws {
            try await withCluster(nodes: 1) { cluster in
                let (agents, other) = (cluster.client(sessionTimeout: .seconds(1)), cluster.client())
                let session = AgentSession(agents, Self.agent("a1"))
                let keeping = Task { try await session.keep() }
                let key = Self.bytes("registry/agents/a1")
                let before = try await eventually("the agent is present") { try await other.get(key)?.owner }
                let node = try cluster.process("n1")
                try await node.pause()
                try await Task.sleep(for: .seconds(2))
                node.send(SIGCONT)
                let after = try await eventually("it is present by another session") {
                    try await other.get(key)?.owner.flatMap { $0 == before ? nil : $0 }
                }
                #expect(after != before)
                keeping.cancel()
                _ = await keeping.result
                try await session.leave()
                #expect(try await other.get(key) == nil)
                await agents.shutdown()
                await other.shutdown()
            }
        }

        @Test("a framework hears that it was subscribed, and its master hears that it went", .timeLimit(.minutes(2)))
        func frameworks() async throws {
            try await withCluster { cluster in
                let (masters, client) = (cluster.client(), cluster.client())
                let registry = try await MasterRegistry.lead(masters)
                try await registry.recover(MasterInfo(id: Self.bytes("m1")))
                let session = FrameworkSession(client, Self.framework)
                let keeping = Task { try await session.keep() }
                async let subscribed = session.subscribed()
                var seen = masters.observeFrameworks().makeAsyncIterator()
                var now = try #require(try await seen.next())
                while now.present.isEmpty { now = try #require(try await seen.next()) }
                let connected = try #require(now.present.first)
                #expect(connected.framework == Self.framework)
                #expect(connected.connection == session.connection)
                let id = try await registry.subscribe(connected.framework, connection: connected.connection)
                let heard = try await subscribed
                #expect(heard.id == id)
                #expect(heard.row.attachedFence == registry.fence.number)

                await client.shutdown()
                _ = await keeping.result
                now = try #require(try await seen.next())
                #expect(now.gone == [session.connection])
                #expect(try await registry.disconnect(id.bytes, connection: session.connection))
                let row = try #require(try await registry.view(.frameworks).framework(id))
                #expect(row.state == .disconnected)
                #expect(row.deadline == row.stateSince + 600 * 1_000_000_000)
                var leader = masters.observeMasters().makeAsyncIterator()
                #expect(try await leader.next()?.leader?.ticket.fence == registry.fence.number)
                await masters.shutdown()
            }
        }
    }
}
