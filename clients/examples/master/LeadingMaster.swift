internal import Client
internal import ExampleMail
internal import RegistryModel

/// What a master does while it leads. Some tasks, each of which follows something; when one ends, the master is over.
struct LeadingMaster: Sendable {
    let registry: MasterRegistry
    let id: String
    let book: Book

    static func serve(_ registry: MasterRegistry, _ id: String) async throws {
        let began = ContinuousClock.now
        try await registry.recover(MasterInfo(id: Array(id.utf8)))
        var view = RegistryView()
        for try await page in registry.records() { view.apply(page) }
        let milliseconds = Int((ContinuousClock.now - began) / .milliseconds(1))
        let facts: [String: Any] = ["master": id, "fence": registry.fence.number, "milliseconds": milliseconds]
        say("leading", facts.merging(view.counts) { old, _ in old })
        let master = LeadingMaster(registry: registry, id: id, book: Book(view))
        // Only for frameworks that are subscribed something can be done, and they may have asked for it already.
        var frameworks = registry.client.observeFrameworks().makeAsyncIterator()
        if let now = try await frameworks.next() { try await master.take(now) }
        try await master.follow(from: view.revision)
    }

    private func follow(from revision: UInt64) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await self.followSession() }
            group.addTask { try await self.followRegistry(from: revision) }
            group.addTask { try await self.followAgents() }
            group.addTask { try await self.followFrameworks() }
            group.addTask { try await self.followRequests() }
            group.addTask { try await self.followOperations() }
            defer { group.cancelAll() }
            _ = try await group.next()
        }
    }

    /// Who is not heard of leads no more.
    private func followSession() async throws {
        for await state in registry.client.sessionStates where state == .lost {
            throw ClientError(code: .notLeading, message: "the session is lost")
        }
    }

    private func followRegistry(from revision: UInt64) async throws {
        for try await changes in registry.changes(after: revision) {
            guard let agents = await book.apply(changes) else { continue }
            say("serving", ["master": id, "agents": agents])
        }
    }

    // MARK: - Agents

    private func followAgents() async throws {
        try await withThrowingDiscardingTaskGroup { group in
            // Those that are attached to this master.
            var attached: Set<[UInt8]> = []
            for try await now in registry.client.observeAgents() {
                let new = now.present.filter { !attached.contains($0.agent.id) }
                let known = await book.known(new.map(\.agent.id))
                let back = new.filter { known.contains($0.agent.id) }
                if !back.isEmpty { attached.formUnion(try await attach(back)) }
                for agent in new where !known.contains(agent.agent.id) {
                    attached.insert(agent.agent.id)
                    group.addTask { try await ignoringRefusals { try await registry.admit(agent.agent) } }
                }
                for agentID in now.gone {
                    attached.remove(agentID)
                    try await ignoringRefusals { try await registry.markUnreachable(agentID) }
                }
            }
        }
    }

    /// - Returns: those that need nothing more from this master.
    private func attach(_ agents: [AgentAttachment]) async throws -> [[UInt8]] {
        let began = ContinuousClock.now
        let outcomes = try await registry.reregister(agents)
        var attached: [[UInt8]] = []
        var (upToDate, behind) = (0, 0)
        for (agent, outcome) in zip(agents, outcomes) {
            switch outcome {
            case .upToDate: upToDate += 1
            // It sees in the registry itself what it has missed.
            case .behind: behind += 1
            case .reportWanted, .rejected: continue
            }
            attached.append(agent.agent.id)
        }
        say(
            "attached",
            [
                "master": id, "agents": agents.count, "upToDate": upToDate, "behind": behind,
                "milliseconds": Int((ContinuousClock.now - began) / .milliseconds(1)),
            ])
        return attached
    }

    /// What agents say of operations.
    private func followOperations() async throws {
        try await withThrowingDiscardingTaskGroup { group in
            for try await now in registry.client.observeRows(prefix: Mail.finished) {
                for message in now.present { group.addTask { try await finish(message) } }
            }
        }
    }

    private func finish(_ message: KeyValue) async throws {
        let parts = Mail.parts(of: message.key, behind: Mail.finished)
        if parts.count == 2, let uuid = Hex.bytes(parts[1]) {
            try await ignoringRefusals {
                try await registry.updateStatus(
                    of: uuid, on: Array(parts[0].utf8), OperationStatus(state: .finished))
            }
        }
        try await registry.client.delete(message.key, guards: [registry.fence])
    }

    // MARK: - Frameworks

    private func followFrameworks() async throws {
        for try await now in registry.client.observeFrameworks() { try await take(now) }
    }

    private func take(_ now: Presence<FrameworkConnection>) async throws {
        for found in now.present {
            var framework = found.framework
            // It may not have heard yet which id it was given.
            if framework.id.isEmpty { framework.id = await book.framework(found.connection)?.bytes ?? [] }
            let stated = framework
            try await ignoringRefusals {
                let id = try await registry.subscribe(stated, connection: found.connection, isForced: true)
                await book.note(id, found.connection)
            }
        }
        for connection in now.gone {
            guard let framework = await book.framework(connection) else { continue }
            try await registry.disconnect(framework.bytes, connection: connection)
        }
    }

    private func followRequests() async throws {
        try await withThrowingDiscardingTaskGroup { group in
            for try await now in registry.client.observeRows(prefix: Mail.requests) {
                for message in now.present { group.addTask { try await answer(message) } }
            }
        }
    }

    /// If the master before has carried it out and not answered, it is not done again: its operations are known.
    private func answer(_ message: KeyValue) async throws {
        let parts = Mail.parts(of: message.key, behind: Mail.requests)
        var answer = "not understood"
        if parts.count == 2, let request = Request(message.value) {
            answer = try await outcome(of: request.operations(by: Array(parts[0].utf8)))
        }
        let key = Mail.answers + message.key.dropFirst(Mail.requests.count)
        let answering = MetadataTransaction(then: [
            .put(key: key, value: Array(answer.utf8)), .delete(key: message.key),
        ])
        _ = try await registry.client.transaction(answering, guards: [registry.fence])
    }

    private func outcome(of operations: [OperationRequest]) async throws(ClientError) -> String {
        do throws(ClientError) {
            _ = try await registry.apply(operations)
            return "done"
        } catch {
            guard error.code == .rejected else { throw error }
            return error.rule ?? error.message
        }
    }

    private func ignoringRefusals(_ body: () async throws -> Void) async throws {
        do {
            try await body()
        } catch let error as ClientError where error.code == .rejected {
            say("rejected", ["master": id, "message": error.message])
        }
    }
}

/// What a master looks up, kept up to date by the change feed.
actor Book {
    private var agents: Set<[UInt8]> = []
    private var frameworks: [[UInt8]: RegistryID] = [:]
    private var lastTold = 0

    init(_ view: RegistryView) {
        for record in view.records.values {
            if case .agent(let id, _) = record { agents.insert(id.bytes) }
            if case .framework(let id, let row) = record { frameworks[row.connection] = id }
        }
        lastTold = agents.count
    }

    /// - Returns: how many agents there are, once for each hundred.
    func apply(_ changes: TableChanges<RegistryChange>) -> Int? {
        for change in changes.changes {
            if case .agent(let id, _)? = change.record { agents.insert(id.bytes) }
            if case .framework(let id, let row)? = change.record { frameworks[row.connection] = id }
        }
        guard agents.count >= lastTold + 100 else { return nil }
        lastTold = agents.count
        return agents.count
    }

    /// Those of the agents that the registry knows.
    func known(_ ids: [[UInt8]]) -> Set<[UInt8]> { agents.intersection(ids) }

    func framework(_ connection: [UInt8]) -> RegistryID? { frameworks[connection] }

    func note(_ framework: RegistryID, _ connection: [UInt8]) { frameworks[connection] = framework }
}

extension RegistryView {
    /// For a person.
    var counts: [String: Any] {
        var (agents, frameworks, reservations, volumes) = (0, 0, 0, 0)
        for record in records.values {
            switch record {
            case .agent: agents += 1
            case .framework: frameworks += 1
            case .entry(_, let entry):
                if entry.resource.isVolume { volumes += 1 } else if !entry.resource.stack.isEmpty { reservations += 1 }
            default: continue
            }
        }
        return [
            "records": records.count, "agents": agents, "frameworks": frameworks, "reservations": reservations,
            "volumes": volumes,
        ]
    }
}

extension Request {
    /// RESERVE of both, CREATE of the volume.
    func operations(by framework: [UInt8]) -> [OperationRequest] {
        let (cpus, disk) = (claim("cpus", cpus), claim("disk", disk))
        var made = disk
        made.disk = ResourceClaim.DiskClaim(
            persistence: ResourceClaim.PersistenceClaim(id: Array(volume.utf8)),
            volume: VolumeMount(containerPath: Array(volume.utf8)))
        return [OperationKind.reserve([cpus, disk]), .create([made])].enumerated().map { number, kind in
            OperationRequest(
                agentID: Array(agent.utf8), frameworkID: framework, uuid: operationUUID(UInt8(number)), kind: kind)
        }
    }

    private func claim(_ name: String, _ amount: Double) -> ResourceClaim {
        ResourceClaim(
            name: Array(name.utf8), type: .scalar, scalar: amount,
            reservations: [ResourceClaim.ReservationClaim(kind: .dynamic, role: Array(role.utf8))],
            allocationRole: Array(role.utf8))
    }
}
