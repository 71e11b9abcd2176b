internal import ArgumentParser
internal import Client
internal import ExampleMail
internal import RegistryModel

/// Agents: they are present, and keep what the registry says that is reserved on them. What they would have on their
/// disks is in memory here.
@main
struct Agents: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "example-agent", abstract: "Agents that masters find by the registry; many in one process.")

    @Option(help: "How many agents.") var count = 1
    @Option(help: "The number of the first.") var first = 0
    @OptionGroup var cluster: ClusterOptions

    func validate() throws {
        guard count >= 0, first >= 0, count <= 10_000, first <= 50_000 else {
            throw ValidationError("--count must be 0 … 10000, --first 0 … 50000.")
        }
    }

    func run() async throws {
        let client = cluster.client("agents \(first)")
        let host = Host(client, agents: (first..<first + count).map(Self.agent))
        try await withThrowingTaskGroup(of: Void.self) { group in
            for session in host.sessions.values { group.addTask { try await session.keep() } }
            group.addTask { try await host.follow() }
            say("present", ["agents": count])
            defer { group.cancelAll() }
            _ = try await group.next()
        }
    }

    private static func agent(_ number: Int) -> AgentClaim {
        func amount(_ name: String, _ amount: Double) -> ResourceClaim {
            ResourceClaim(name: Array(name.utf8), type: .scalar, scalar: amount)
        }
        let info = AgentInfo(
            hostname: Array("agent-\(number).example".utf8), ip: Array("10.1.\(number / 250).\(number % 250)".utf8),
            isCheckpointing: true, capabilities: [.hierarchicalRole, .reservationRefinement, .resizeVolume])
        return AgentClaim(
            id: Array("agent-\(number)".utf8), info: info,
            resources: [amount("cpus", 32), amount("mem", 65_536), amount("disk", 100_000)])
    }
}

/// The agents of this process, which share a session.
actor Host {
    nonisolated let sessions: [[UInt8]: AgentSession]
    private let client: MetadataClient
    /// As they would be on the agents' disks.
    private var checkpoints: [[UInt8]: AgentCheckpoint] = [:]

    init(_ client: MetadataClient, agents: [AgentClaim]) {
        self.client = client
        sessions = Dictionary(uniqueKeysWithValues: agents.map { ($0.id, AgentSession(client, $0)) })
    }

    /// Sees in the registry what is decided about the agents: nobody has to tell them.
    nonisolated func follow() async throws {
        try await withThrowingDiscardingTaskGroup { group in
            var revision: UInt64 = 0
            for try await page in client.registryRecords() {
                take(page, &group)
                revision = page.revision
            }
            for try await changes in client.watchRegistry(from: revision + 1) { take(changes, &group) }
        }
    }

    private nonisolated func take(
        _ changes: TableChanges<RegistryChange>, _ group: inout ThrowingDiscardingTaskGroup<any Error>
    ) {
        var changed: Set<[UInt8]> = []
        var pending: [[UInt8]: [[UInt8]]] = [:]
        for record in changes.changes.compactMap(\.record) {
            switch record {
            case .agent(let id, _) where sessions[id.bytes] != nil: changed.insert(id.bytes)
            case .operation(let id, let uuid, let row)
            where sessions[id.bytes] != nil && row.isOpen && row.latestState == .pending:
                pending[id.bytes, default: []].append(uuid)
            default: continue
            }
        }
        for id in changed.union(pending.keys) {
            let uuids = pending[id] ?? []
            group.addTask { try await self.catchUp(id, finishing: uuids) }
        }
    }

    /// Saves what the registry says by now, and then says that the operations which led there are done.
    private func catchUp(_ id: [UInt8], finishing uuids: [[UInt8]]) async throws {
        guard let session = sessions[id], let known = try await session.known() else { return }
        let own = checkpoints[id] ?? AgentCheckpoint()
        if own.standing(known.row) == .behind, own.generation < known.checkpoint.generation {
            checkpoints[id] = known.checkpoint
            try await session.announce(known.checkpoint)
        }
        for uuid in uuids {
            let key = Mail.finished + id + Array("/\(Hex.text(uuid))".utf8)
            try await client.put(key, Array("finished".utf8))
        }
    }
}
