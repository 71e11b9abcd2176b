internal import Basics
internal import MetadataModel
public import RegistryModel

/// The registry as the leading master has it: everything that it must not lose, with the rules enforced by the cluster.
///
///     let registry = try await MasterRegistry.lead(client, data: Array("10.0.0.1:5050".utf8))
///     try await registry.recover(MasterInfo(id: Array("m1".utf8)))
///     var state = try await registry.view()                     // everything, at one revision
///     for try await changes in registry.changes(after: state.revision) { … }   // and what becomes of it
///     let generation = try await registry.admit(agent)
///
/// Every change names this master's fence. Once another master leads, changes throw `fenced`, and nothing is done; so a
/// master that was stopped for an hour can do no harm. What a rule refuses throws `rejected`, with the rule's id in
/// `rule`, and nothing is done either. `RegistryRule` lists the ids, which are for ever.
///
/// Ids, roles and names are bytes as somebody states them: whether they may be such is for the rules to say. A method
/// that answers a Bool answers false where everything was so already.
public struct MasterRegistry: Sendable {
    public let client: MetadataClient
    /// Of the election of the masters.
    public let fence: Fence

    /// In which masters campaign.
    public static let group = String(decoding: RegistryCommand.electionGroup, as: UTF8.self)

    /// - Parameter fence: what `waitToLead` has given for `group`.
    public init(_ client: MetadataClient, fence: Fence) {
        self.client = client
        self.fence = fence
    }

    /// Campaigns for leading the masters, and returns once this client does. From then on the client's `sessionStates`
    /// say whether it still does: `suspended` means to stop acting as the master, `lost` that another leads, or will.
    /// - Parameters:
    ///   - data: what others are told of this master; at most 64 KiB.
    ///   - deadline: how long to wait; nil: until then, or until the task is cancelled. Once it has passed, `timeout` is
    ///     thrown, and the place in the line is given up.
    public static func lead(
        _ client: MetadataClient, data: [UInt8] = [], deadline: Duration? = nil
    ) async throws(ClientError) -> MasterRegistry {
        let ticket = try await client.campaign(group, data: data)
        do throws(ClientError) {
            return MasterRegistry(client, fence: try await client.waitToLead(group, ticket, deadline: deadline))
        } catch {
            if error.code == .timeout { try await client.withdraw(group) }
            throw error
        }
    }

    /// Makes room for the next master.
    /// - Returns: false when this client did not lead, nor wait to.
    @discardableResult
    public func resign(timeout: Duration? = nil) async throws(ClientError) -> Bool {
        try await client.withdraw(Self.group, timeout: timeout)
    }

    // MARK: - Knowing

    /// The whole registry, or one table of it, at one revision, in memory.
    public func view(
        _ table: RegistryTable? = nil, timeout: Duration? = nil
    ) async throws(ClientError) -> RegistryView {
        try await client.registry(table, timeout: timeout)
    }

    /// The same page by page: memory is bounded by a page.
    public func records(_ table: RegistryTable? = nil, timeout: Duration? = nil) -> RegistryListing {
        client.registryRecords(table, timeout: timeout)
    }

    /// What has changed since a revision, and goes on changing. Ends with `compacted` when no node knows that any more:
    /// then read everything again.
    public func changes(after revision: UInt64) -> TableWatch<RegistryChange> {
        client.watchRegistry(from: revision + 1)
    }

    // MARK: - Changing

    /// Carries any command out.
    /// - Returns: what it did, and the revision at which.
    /// - Throws: `rejected` with `rule`; `fenced`: another master leads.
    @discardableResult
    public func change(
        _ command: RegistryCommand, timeout: Duration? = nil
    ) async throws(ClientError) -> (reply: RegistryReply, revision: UInt64) {
        try await client.mutate(.registry(command), keys: [], [fence], false, timeout) {
            revision, reader throws(DecodeError) in
            (reply: try RegistryReply(decoding: &reader), revision: revision)
        }
    }

    /// Takes over: frameworks that were connected to the master before have their failover timeout, or ten minutes if
    /// that is longer, to come to this one. No agent's record changes.
    /// - Returns: the revision from which on the registry is this master's.
    @discardableResult
    public func recover(_ master: MasterInfo, timeout: Duration? = nil) async throws(ClientError) -> UInt64 {
        try await change(.recover(master), timeout: timeout).revision
    }

    // MARK: - Agents

    /// A new agent. `agent.already-admitted`, `agent.id-in-use`: the id is known; then it re-registers.
    /// - Returns: the generation of its checkpointed entries.
    @discardableResult
    public func admit(_ agent: AgentClaim, timeout: Duration? = nil) async throws(ClientError) -> UInt64 {
        let result = try await outcome(of: .agentAdmit(agent), timeout).result
        guard case .generation(let generation) = result else { throw Self.unexpected }
        return generation
    }

    /// Other facts, or totals, of an admitted agent. `agent.total-below-ledger`: something reserved or held is not in
    /// the new totals.
    @discardableResult
    public func update(
        _ agentID: [UInt8], _ patch: AgentPatch, timeout: Duration? = nil
    ) async throws(ClientError) -> Bool {
        try await isChanged(.agentUpdate(id: agentID, patch), timeout)
    }

    /// Agents that come back, after a failover or by themselves; any number, sent in commands of
    /// `RegistryCommand.objectsMax`. One whose generation and digest are those of the registry has nothing to send.
    /// - Returns: one outcome for each, in order; a refusal is one of them.
    public func reregister(
        _ agents: [AgentAttachment], timeout: Duration? = nil
    ) async throws(ClientError) -> [AttachOutcome] {
        var outcomes: [AttachOutcome] = []
        var rest = agents[...]
        while !rest.isEmpty {
            let part = Array(rest.prefix(RegistryCommand.objectsMax))
            let result = try await outcome(of: .agentsReregister(part), timeout).result
            guard case .attached(let some) = result, some.count == part.count else { throw Self.unexpected }
            outcomes += some
            rest = rest.dropFirst(part.count)
        }
        return outcomes
    }

    /// What an agent has checkpointed, when an outcome of `reregister` wants to be told.
    @discardableResult
    public func report(
        _ agentID: [UInt8], generation: UInt64, entries: [ResourceClaim], timeout: Duration? = nil
    ) async throws(ClientError) -> ReportResult {
        let command = RegistryCommand.agentReport(id: agentID, generation: generation, entries: entries)
        guard case .report(let report) = try await outcome(of: command, timeout).result else { throw Self.unexpected }
        return report
    }

    /// The agent has not been heard of. When a tenth of all agents became so within ten minutes, `rejected` with
    /// `agent.removal-limited` is thrown, which is retryable: wait, or `approveRemoval`.
    @discardableResult
    public func markUnreachable(_ agentID: [UInt8], timeout: Duration? = nil) async throws(ClientError) -> Bool {
        try await isChanged(.agentMarkUnreachable(id: agentID), timeout)
    }

    /// - Returns: the generation of its checkpointed entries.
    @discardableResult
    public func markReachable(_ agent: AgentClaim, timeout: Duration? = nil) async throws(ClientError) -> UInt64 {
        let result = try await outcome(of: .agentMarkReachable(agent), timeout).result
        guard case .generation(let generation) = result else { throw Self.unexpected }
        return generation
    }

    /// The agent will never come back, and what it had is lost.
    /// - Returns: its volumes.
    @discardableResult
    public func markGone(_ agentID: [UInt8], timeout: Duration? = nil) async throws(ClientError) -> [VolumeID] {
        let result = try await outcome(of: .agentMarkGone(id: agentID), timeout).result
        guard case .lostVolumes(let volumes) = result else { throw Self.unexpected }
        return volumes
    }

    /// The agent has left in order, and is forgotten. `agent.has-volumes`: say that they may be.
    @discardableResult
    public func remove(
        _ agentID: [UInt8], discardsVolumes: Bool = false, timeout: Duration? = nil
    ) async throws(ClientError) -> Bool {
        try await isChanged(.agentRemove(id: agentID, discardsVolumes: discardsVolumes), timeout)
    }

    /// Forgets exactly these agents, of those that are still in the state named: see `RegistryView.prunePlan`.
    /// - Parameter includesVolumes: unreachable ones with volumes too.
    @discardableResult
    public func prune(
        unreachable: [[UInt8]], gone: [[UInt8]], includesVolumes: Bool = false, timeout: Duration? = nil
    ) async throws(ClientError) -> (deleted: [RegistryID], skipped: [RegistryID]) {
        let command = RegistryCommand.agentsPrune(
            unreachable: unreachable, gone: gone, includesVolumes: includesVolumes)
        guard case .pruned(let deleted, let skipped) = try await outcome(of: command, timeout).result else {
            throw Self.unexpected
        }
        return (deleted: deleted, skipped: skipped)
    }

    /// No new tasks; the agent is drained once `markDrained` says so.
    /// - Parameters:
    ///   - maxGracePeriod: for its tasks to end; nil: as it was said before, if it was.
    ///   - marksGone: it is to be marked gone when it is drained.
    @discardableResult
    public func drain(
        _ agentID: [UInt8], maxGracePeriod: Duration? = nil, marksGone: Bool = false, timeout: Duration? = nil
    ) async throws(ClientError) -> Bool {
        let nanoseconds = maxGracePeriod.map { UInt64(clamping: Interval($0).nanoseconds) }
        return try await isChanged(
            .agentDrain(id: agentID, maxGracePeriod: nanoseconds, marksGone: marksGone), timeout)
    }

    /// `agent.drain-busy`: it has tasks, or operations that have not ended.
    @discardableResult
    public func markDrained(_ agentID: [UInt8], timeout: Duration? = nil) async throws(ClientError) -> Bool {
        try await isChanged(.agentMarkDrained(id: agentID), timeout)
    }

    /// No new tasks; those that it has go on.
    @discardableResult
    public func deactivate(_ agentID: [UInt8], timeout: Duration? = nil) async throws(ClientError) -> Bool {
        try await isChanged(.agentDeactivate(id: agentID), timeout)
    }

    /// Of a deactivated or drained one.
    @discardableResult
    public func reactivate(_ agentID: [UInt8], timeout: Duration? = nil) async throws(ClientError) -> Bool {
        try await isChanged(.agentReactivate(id: agentID), timeout)
    }

    /// So many more agents may become unreachable; ends the alarm of that.
    /// - Parameter until: cluster time, ns since 1970.
    public func approveRemoval(
        of count: UInt64, until: UInt64, timeout: Duration? = nil
    ) async throws(ClientError) {
        try await change(.agentsApproveRemoval(count: count, until: until), timeout: timeout)
    }

    // MARK: - Frameworks

    /// A framework comes, or comes back. `framework.connected-elsewhere`: it is connected already.
    /// - Parameters:
    ///   - principal: who authenticated; nil: nobody did.
    ///   - connection: tells this connection from earlier ones: what is said of those counts no more.
    ///   - isForced: takes the place of another connection.
    /// - Returns: the framework's id: a new one if it stated none.
    @discardableResult
    public func subscribe(
        _ framework: FrameworkInfo, principal: [UInt8]? = nil, connection: [UInt8], isForced: Bool = false,
        timeout: Duration? = nil
    ) async throws(ClientError) -> RegistryID {
        let command = RegistryCommand.frameworkSubscribe(
            framework, principal: principal, connection: connection, isForced: isForced)
        guard case .framework(let id, _) = try await outcome(of: command, timeout).result else { throw Self.unexpected }
        return id
    }

    /// Other facts of a framework; its principal, its user and whether it checkpoints cannot change.
    @discardableResult
    public func update(
        _ framework: FrameworkInfo, principal: [UInt8]? = nil, timeout: Duration? = nil
    ) async throws(ClientError) -> Bool {
        try await isChanged(.frameworkUpdate(framework, principal: principal), timeout)
    }

    /// The connection has ended: unless the framework comes back within its failover timeout, it is over.
    @discardableResult
    public func disconnect(
        _ frameworkID: [UInt8], connection: [UInt8], timeout: Duration? = nil
    ) async throws(ClientError) -> Bool {
        try await isChanged(.frameworkDisconnect(id: frameworkID, connection: connection), timeout)
    }

    /// The framework is over at once. What is reserved to its roles stays.
    @discardableResult
    public func tearDown(_ frameworkID: [UInt8], timeout: Duration? = nil) async throws(ClientError) -> Bool {
        try await isChanged(.frameworkTeardown(id: frameworkID), timeout)
    }

    /// Of frameworks that are over nothing is kept any more.
    @discardableResult
    public func forget(_ frameworkIDs: [[UInt8]], timeout: Duration? = nil) async throws(ClientError) -> Bool {
        try await isChanged(.frameworksForget(frameworkIDs), timeout)
    }

    // MARK: - Weights, quota, maintenance

    /// All of them, or none.
    @discardableResult
    public func setWeights(_ weights: [Weight], timeout: Duration? = nil) async throws(ClientError) -> Bool {
        try await isChanged(.weightsUpdate(weights), timeout)
    }

    /// What masters hold frameworks to, by a `RateLimiter`; nil: nothing. To hold them to it is each master's part.
    @discardableResult
    public func setRateLimits(_ limits: RateLimits?, timeout: Duration? = nil) async throws(ClientError) -> Bool {
        try await isChanged(.rateLimitsSet(limits), timeout)
    }

    /// All of them, or none; one without guarantees and limits removes the role's.
    /// - Parameter isForced: also limits below what is consumed, and guarantees above what there is.
    /// - Returns: what each of the roles consumes, in order.
    @discardableResult
    public func setQuota(
        _ quota: [QuotaConfig], isForced: Bool = false, timeout: Duration? = nil
    ) async throws(ClientError) -> [RoleConsumption] {
        let result = try await outcome(of: .quotaUpdate(quota, isForced: isForced), timeout).result
        guard case .consumption(let roles) = result else { throw Self.unexpected }
        return roles
    }

    /// Takes the place of the whole schedule; nil: none.
    @discardableResult
    public func setSchedule(
        _ windows: [MaintenanceWindow]?, timeout: Duration? = nil
    ) async throws(ClientError) -> Bool {
        try await isChanged(.scheduleUpdate(windows), timeout)
    }

    /// These machines are down from now on.
    /// - Returns: the agents that became unreachable by it.
    @discardableResult
    public func startMaintenance(
        _ machines: [MachineID], timeout: Duration? = nil
    ) async throws(ClientError) -> [RegistryID] {
        guard case .agents(let ids) = try await outcome(of: .maintenanceStart(machines), timeout).result else {
            throw Self.unexpected
        }
        return ids
    }

    /// These machines are up again, and leave the schedule.
    @discardableResult
    public func stopMaintenance(
        _ machines: [MachineID], timeout: Duration? = nil
    ) async throws(ClientError) -> Bool {
        try await isChanged(.maintenanceStop(machines), timeout)
    }

    // MARK: - Resources and operations

    /// Carries one operation out; asked for again under its uuid, it is answered what it did then.
    @discardableResult
    public func apply(
        _ operation: OperationRequest, timeout: Duration? = nil
    ) async throws(ClientError) -> OperationRow.Outcome {
        let outcomes = try await apply([operation], timeout: timeout)
        guard outcomes.count == 1, case .done(let outcome) = outcomes[0] else { throw Self.unexpected }
        return outcome
    }

    /// Carries operations out, at most `RegistryCommand.objectsMax`; later ones see what earlier ones did.
    /// - Parameter isAtomic: all or none: the first refusal is thrown. Otherwise it is one of the outcomes.
    /// - Returns: one outcome for each, in order.
    public func apply(
        _ operations: [OperationRequest], isAtomic: Bool = true, timeout: Duration? = nil
    ) async throws(ClientError) -> [OperationOutcome] {
        guard operations.count <= RegistryCommand.objectsMax else {
            throw ClientError(
                code: .tooLarge, message: "\(operations.count) operations at once",
                limit: UInt64(RegistryCommand.objectsMax))
        }
        let result = try await outcome(of: .operationsApply(operations, isAtomic: isAtomic), timeout).result
        guard case .operations(let outcomes) = result else { throw Self.unexpected }
        return outcomes
    }

    /// A task of the framework takes resources of an agent.
    /// - Parameter holdID: names what it holds there. `acquire.hold-reused`: it names something else already.
    @discardableResult
    public func acquire(
        _ resources: [ResourceClaim], of agentID: [UInt8], for frameworkID: [UInt8], role: [UInt8], holdID: [UInt8],
        timeout: Duration? = nil
    ) async throws(ClientError) -> Bool {
        let command = RegistryCommand.acquire(
            agentID: agentID, frameworkID: frameworkID, holdID: holdID, role: role, resources: resources)
        return try await isChanged(command, timeout)
    }

    @discardableResult
    public func release(
        _ holdID: [UInt8], of agentID: [UInt8], for frameworkID: [UInt8], timeout: Duration? = nil
    ) async throws(ClientError) -> Bool {
        try await isChanged(.release(agentID: agentID, frameworkID: frameworkID, holdID: holdID), timeout)
    }

    public func admitProvider(
        _ id: [UInt8], type: [UInt8]? = nil, name: [UInt8]? = nil, timeout: Duration? = nil
    ) async throws(ClientError) {
        try await change(.providerAdmit(id: id, type: type, name: name), timeout: timeout)
    }

    /// For ever.
    public func removeProvider(_ id: [UInt8], timeout: Duration? = nil) async throws(ClientError) {
        try await change(.providerRemove(id: id), timeout: timeout)
    }

    /// What an agent says of an operation.
    /// - Parameters:
    ///   - uuid: of the operation.
    ///   - latest: what it is at by now, if it went on meanwhile.
    /// - Returns: whether its framework is to be told, and to acknowledge; else the agent may take it for acknowledged.
    @discardableResult
    public func updateStatus(
        of uuid: [UInt8], on agentID: [UInt8], _ status: OperationStatus, latest: OperationState? = nil,
        timeout: Duration? = nil
    ) async throws(ClientError) -> Bool {
        let command = RegistryCommand.operationStatusUpdate(
            agentID: agentID, uuid: uuid, status: status, latest: latest)
        guard case .status(let isForwarded) = try await outcome(of: command, timeout).result else {
            throw Self.unexpected
        }
        return isForwarded
    }

    /// The framework has taken note of a status.
    /// - Parameter operationID: the framework's name for the operation.
    @discardableResult
    public func acknowledge(
        _ statusUUID: [UInt8], of operationID: [UInt8], on agentID: [UInt8], by frameworkID: [UInt8],
        timeout: Duration? = nil
    ) async throws(ClientError) -> Bool {
        let command = RegistryCommand.operationAcknowledge(
            frameworkID: frameworkID, operationID: operationID, statusUUID: statusUUID, agentID: agentID)
        return try await isChanged(command, timeout)
    }

    // MARK: - What they share

    private func isChanged(_ command: RegistryCommand, _ timeout: Duration?) async throws(ClientError) -> Bool {
        try await outcome(of: command, timeout).isChanged
    }

    private func outcome(
        of command: RegistryCommand, _ timeout: Duration?
    ) async throws(ClientError) -> (result: RegistryResult, isChanged: Bool) {
        try await change(command, timeout: timeout).reply.outcome()
    }

    private static var unexpected: ClientError {
        ClientError(
            code: .badReply, message: "the registry answered something else than was asked", mayHaveTakenEffect: true)
    }
}

extension MetadataClient {
    /// Which master leads: at present, and then each change. Agents and frameworks follow it by this.
    public func observeMasters(timeout: Duration? = nil) -> Observation<Leadership> {
        observe(MasterRegistry.group, timeout: timeout)
    }
}

extension RegistryReply {
    /// What a command did.
    /// - Throws: `rejected`, retryable, when it was put off.
    package func outcome() throws(ClientError) -> (result: RegistryResult, isChanged: Bool) {
        switch self {
        case .changed(let result): return (result: result, isChanged: true)
        case .unchanged(let result): return (result: result, isChanged: false)
        case .postponed(let milliseconds, let rejection):
            let rule = String(decoding: rejection.rule, as: UTF8.self)
            let detail = String(decoding: rejection.detail, as: UTF8.self)
            throw ClientError(
                code: .rejected, message: "\(rule): \(detail): again in \(milliseconds) ms", isRetryable: true, rule: rule)
        }
    }
}
