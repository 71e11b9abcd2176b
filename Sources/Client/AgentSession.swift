internal import Basics
public import RegistryModel

/// What an agent keeps on its own disk of what the quorum has decided about it: its reservations and volumes.
public struct AgentCheckpoint: Hashable, Sendable {
    /// Rises by one with each change of the entries; 1 at admission. 0: the agent was never attached to this registry.
    public var generation: UInt64
    public var entries: [LedgerEntry]

    public init(generation: UInt64 = 0, entries: [LedgerEntry] = []) {
        self.generation = generation
        self.entries = entries
    }

    /// What tells it from other entries: 16 bytes.
    public var digest: [UInt8] { CheckpointDigest.of(entries) }

    /// How it compares with what the registry says of the agent.
    /// - Parameter row: nil: the registry does not know the agent.
    public func standing(_ row: AgentRow?) -> AgentStanding {
        guard let row else { return generation == 0 && entries.isEmpty ? .upToDate : .reportWanted }
        guard row.state != .gone else { return .gone }
        guard generation <= row.generation else { return .ahead }
        if generation == row.generation, digest == row.digest { return .upToDate }
        let hasNothingToSay = generation == 0 && entries.isEmpty
        let isOlder = generation > 0 && generation < row.generation
        return !row.isReportWanted && (isOlder || hasNothingToSay) ? .behind : .reportWanted
    }
}

/// What has to be done before an agent and the registry know the same.
public enum AgentStanding: String, Hashable, Sendable, CaseIterable {
    /// Nothing.
    case upToDate
    /// The agent takes over what the registry says: `AgentSession.known`.
    case behind
    /// The agent has to report: what it has checkpointed goes to the leading master (`MasterRegistry.report`).
    case reportWanted
    /// The agent is newer than the registry, which was restored, perhaps: somebody has to look.
    case ahead
    /// It was marked gone, which is for ever: it needs a new id.
    case gone
}

extension AttachOutcome {
    /// The master needs a report of what the agent has checkpointed.
    public var isReportWanted: Bool {
        switch self {
        case .reportWanted: true
        case .rejected(let rejection): rejection.rule == Array(RegistryRule.agentDigestMismatch.rawValue.utf8)
        case .upToDate, .behind: false
        }
    }
}

/// What an agent uses: it is present while its client's session lives, and compares what it has with what the registry
/// knows.
///
///     let session = AgentSession(client, agent, checkpoint: checkpointOnDisk)
///     async let presence: Void = session.keep()             // masters see it, until the task is cancelled
///     if let (row, checkpoint) = try await session.known(), checkpointOnDisk.standing(row) == .behind {
///         try save(checkpoint)                               // on the agent's disk
///         try await session.announce(checkpoint)
///     }
///     for try await now in client.observeMasters() { … }     // whom to speak to
///
/// What says that it is present is an owned record at `registry/agents/ID`: the bytes of an `AgentAttachment`, which is
/// all that a master needs to admit or re-register it. It costs nothing while nothing changes: keep-alives of sessions
/// are not logged. Agents that share a client come and go together.
public struct AgentSession: Sendable {
    public let client: MetadataClient
    public let agent: AgentClaim
    public let versions: [ResourceVersion]
    private let record: OwnedRecord

    static let prefix = Array("registry/agents/".utf8)

    /// Nothing is said before `keep` or `announce`.
    /// - Parameters:
    ///   - checkpoint: as the agent has it on its disk; one that has just been set up has nothing.
    ///   - versions: of the agent's own resources, and of its resource providers'.
    public init(
        _ client: MetadataClient, _ agent: AgentClaim, checkpoint: AgentCheckpoint = AgentCheckpoint(),
        versions: [ResourceVersion] = []
    ) {
        self.client = client
        self.agent = agent
        self.versions = versions
        record = OwnedRecord(
            client, key: Self.prefix + agent.id, value: Self.value(agent, checkpoint, versions))
    }

    private static func value(
        _ agent: AgentClaim, _ checkpoint: AgentCheckpoint, _ versions: [ResourceVersion]
    ) -> [UInt8] {
        AgentAttachment(
            agent: agent, generation: checkpoint.generation, digest: checkpoint.digest, versions: versions
        ).encoded()
    }

    /// Is present, again after each loss of the session, until the task is cancelled or the client is shut down. Throws
    /// only what waiting does not help against.
    public func keep() async throws(ClientError) { try await record.keep() }

    /// Says what the agent has on its disk by now. A master to which it is news compares it with the registry.
    public func announce(_ checkpoint: AgentCheckpoint) async throws(ClientError) {
        try await record.set(Self.value(agent, checkpoint, versions))
    }

    /// Is present no more. End `keep` before.
    public func leave() async throws(ClientError) { try await record.remove() }

    /// What the registry knows of the agent.
    /// - Returns: nil: it does not know it.
    public func known(
        timeout: Duration? = nil
    ) async throws(ClientError) -> (row: AgentRow, checkpoint: AgentCheckpoint)? {
        guard let id = try? RegistryID(agent.id, "agent id") else { return nil }
        for _ in 0..<Self.attemptsMax {
            let rows = try await records(RegistryKey.agent(id), limit: 1, timeout)
            // Without its row the first that is found may be of an agent whose id begins with this one.
            guard case .agent(id, let row)? = rows.first else { return nil }
            let entries = try await records(RegistryKey.entries(of: id).bytes, limit: nil, timeout)
            let checkpoint = AgentCheckpoint(
                generation: row.generation,
                entries: entries.compactMap { record in
                    guard case .entry(_, let entry) = record, entry.resource.isCheckpointed else { return nil }
                    return entry
                })
            // The two were read one after the other: with something changed in between they do not fit.
            if checkpoint.digest == row.digest { return (row: row, checkpoint: checkpoint) }
        }
        throw ClientError(
            code: .conflict, message: "the entries of agent \(id) change faster than they can be read",
            isRetryable: true)
    }

    private static let attemptsMax = 16

    private func records(
        _ prefix: [UInt8], limit: Int?, _ timeout: Duration?
    ) async throws(ClientError) -> [RegistryRecord] {
        var pages = client.registryRecords(prefix: prefix, limit: limit, timeout: timeout).makeAsyncIterator()
        var records: [RegistryRecord] = []
        while let page = try await pages.next() { records += page.changes.compactMap(\.record) }
        return records
    }
}

extension MetadataClient {
    /// The agents that are present, for masters: at first all of them, then who comes, has another checkpoint, or goes.
    ///
    ///     for try await now in client.observeAgents() {
    ///         let outcomes = try await registry.reregister(now.present)      // those that the registry knows
    ///         for id in now.gone { … }                                       // unreachable, unless it comes back soon
    ///     }
    public func observeAgents(timeout: Duration? = nil) -> Observation<Presence<AgentAttachment>> {
        observeRows(prefix: AgentSession.prefix, timeout: timeout) { rows in
            Presence(rows, prefix: AgentSession.prefix) { row in
                guard let found = try? AgentAttachment(row.value),
                    AgentSession.prefix + found.agent.id == row.key
                else { return nil }
                return found
            }
        }
    }
}
