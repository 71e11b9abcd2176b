internal import Basics
internal import RegistryModel

/// Operations: what changes whom an agent's resources are reserved to, and its volumes. The quorum decides them; the
/// agent says afterwards how it went.
extension Registrar {
    // MARK: - Applying

    mutating func apply(_ requests: [OperationRequest], isAtomic: Bool) throws -> RegistryReply {
        var outcomes: [OperationOutcome] = []
        var isChanged = false
        for request in requests {
            do {
                let (outcome, hasChanged) = try attempt { try $0.apply(request) }
                outcomes.append(.done(outcome))
                isChanged = isChanged || hasChanged
            } catch let refusal as RegistryRefusal {
                guard !isAtomic else { throw refusal }
                outcomes.append(.rejected(Rejection(refusal)))
            }
        }
        return isChanged ? .changed(.operations(outcomes)) : .unchanged(.operations(outcomes))
    }

    private mutating func apply(_ request: OperationRequest) throws -> (OperationRow.Outcome, hasChanged: Bool) {
        let operation = try CheckedOperation(request.kind)
        let agentID = try RegistryID(request.agentID, "agent id")
        let frameworkID = try request.frameworkID.map { try RegistryID($0, "framework id") }
        let operationID = try request.operationID.map { try RegistryID($0, "operation id") }
        guard request.uuid.count == OperationRequest.uuidSize else {
            throw RegistryRefusal(.operationUuidSize, "a uuid of \(request.uuid.count) bytes: it has 16")
        }
        if let known = try self.operation(request.uuid, of: agentID), !Mutant.applyOperationAgain.isOn {
            guard known.digest == request.digest else {
                throw RegistryRefusal(
                    .operationUuidReused, "this uuid is that of another operation on agent \(agentID)")
            }
            return (known.outcome, false)
        }
        let head = try admitted(request.agentID)
        try checkVersion(request.resourceVersion, of: operation.providerID, head)
        guard !operation.isEmpty else { throw RegistryRefusal(.operationEmpty, "an operation on no resources") }
        if let frameworkID, let operationID { try checkName(operationID, of: frameworkID) }
        let actor = ActingParty(framework: try frameworkID.map(actingFramework), principal: request.principal)
        let former = AgentBook(head: head, ledger: try ledger(of: agentID))
        let conversion = try Conversion(
            operation, by: actor, capabilities: head.info?.capabilities ?? [], ledger: former.ledger)
        var book = former
        book.ledger = try former.ledger.replacing(conversion.consumed, by: conversion.converted)
        book.noteCheckpointedChange(since: former.ledger)
        try save(book, insteadOf: former)
        let outcome = OperationRow.Outcome(
            generation: book.head.row.generation, converted: conversion.converted.map(\.unallocated))
        let row = OperationRow(
            frameworkID: frameworkID, operationID: operationID, providerID: conversion.consumed.first?.providerID,
            digest: request.digest, consumed: conversion.consumed.map(\.unallocated), outcome: outcome)
        try save(row, request.uuid, of: agentID)
        return (outcome, true)
    }

    private func actingFramework(_ id: RegistryID) throws -> ActingParty.Framework {
        let info = try active(id).info
        return ActingParty.Framework(
            roles: try info.checkedRoles(), takesSharedResources: info.capabilities.contains(.sharedResources))
    }

    /// - Parameter provider: nil: the agent's own resources.
    private func checkVersion(
        _ version: [UInt8]?, of provider: RegistryID?, _ head: AgentHead
    ) throws(RegistryRefusal) {
        guard let version else { return }
        let known = head.row.versions.first { $0.providerID == provider?.bytes }?.version
        guard known == version else {
            throw RegistryRefusal(
                .operationVersionStale,
                "the resources of agent \(head.id) are of another release than the operation was made for")
        }
    }

    private func checkName(_ operationID: RegistryID, of frameworkID: RegistryID) throws {
        guard let (agent, uuid) = try named(operationID, of: frameworkID),
            try operation(uuid, of: agent)?.isOpen == true
        else {
            return
        }
        throw RegistryRefusal(.operationNameReused, "framework \(frameworkID) has an open operation \(operationID)")
    }

    // MARK: - Their rows

    func operation(_ uuid: [UInt8], of agent: RegistryID) throws -> OperationRow? {
        try value(at: RegistryKey.operations(of: agent).adding(uuid).bytes)
    }

    private static func nameKey(_ operationID: RegistryID, of frameworkID: RegistryID) -> [UInt8] {
        RegistryKey(.operationNames).adding(frameworkID).adding(operationID.bytes).bytes
    }

    private func named(
        _ operationID: RegistryID, of frameworkID: RegistryID
    ) throws -> (agent: RegistryID, uuid: [UInt8])? {
        guard let row = try row(at: Self.nameKey(operationID, of: frameworkID)) else { return nil }
        var parts = RegistryKeyParts(row, after: 0)
        return (try parts.id(), parts.takeRest())
    }

    /// Its indexes and its timer too.
    private mutating func save(_ row: OperationRow, _ uuid: [UInt8], of agent: RegistryID) throws {
        let former = try operation(uuid, of: agent)
        set(RegistryKey.operations(of: agent).adding(uuid).bytes, to: row)
        if let framework = row.frameworkID {
            let index = RegistryKey(.operationsByFramework).adding(framework).adding(agent).adding(uuid).bytes
            move(former.flatMap { $0.isOpen ? index : nil }, to: row.isOpen ? index : nil)
            if former == nil, let name = row.operationID {
                set(Self.nameKey(name, of: framework), to: agent.bytes + [0] + uuid)
            }
        }
        move(former.flatMap { timer(of: $0, uuid, of: agent) }, to: timer(of: row, uuid, of: agent))
    }

    /// When it is forgotten.
    func timer(of row: OperationRow, _ uuid: [UInt8], of agent: RegistryID) -> [UInt8]? {
        row.endedAt.map { Self.timerKey(operation: uuid, of: agent, $0 &+ Self.tombstoneAge) }
    }

    /// For so long whoever asks for it again is told what it did.
    private static var tombstoneAge: UInt64 { 24 * 3_600 * 1_000_000_000 }

    mutating func forgetOperation(_ uuid: [UInt8], of agent: RegistryID) throws {
        guard let row = try operation(uuid, of: agent), let timer = timer(of: row, uuid, of: agent) else { return }
        set(RegistryKey.operations(of: agent).adding(uuid).bytes, to: nil)
        set(timer, to: nil)
        guard let framework = row.frameworkID, let name = row.operationID,
            let known = try named(name, of: framework), known.agent == agent, known.uuid == uuid
        else { return }
        set(Self.nameKey(name, of: framework), to: nil)
    }

    private mutating func end(_ former: OperationRow, _ uuid: [UInt8], of agent: RegistryID) throws {
        var row = former
        row.endedAt = now
        row.statuses = []
        row.acknowledged = []
        row.consumed = []
        try save(row, uuid, of: agent)
    }

    private func openOperations(of agent: RegistryID) throws -> [(uuid: [UInt8], row: OperationRow)] {
        let prefix = RegistryKey.operations(of: agent).bytes
        return try found(prefix).compactMap { key, value in
            let row = try OperationRow(value)
            return row.isOpen ? (Array(key[prefix.count...]), row) : nil
        }
    }

    func hasOpenOperation(_ agent: RegistryID) throws -> Bool { try !openOperations(of: agent).isEmpty }

    /// The agent is away, or is back.
    mutating func setOperations(of agent: RegistryID, from: OperationState, to: OperationState) throws {
        for (uuid, former) in try openOperations(of: agent) where former.latestState == from {
            var row = former
            row.latestState = to
            try save(row, uuid, of: agent)
        }
    }

    /// The agent is no more.
    mutating func endOperations(of agent: RegistryID) throws {
        for (uuid, former) in try openOperations(of: agent) {
            var row = former
            if !row.latestState.isTerminal { row.latestState = .goneByOperator }
            try end(row, uuid, of: agent)
        }
    }

    /// The framework is no more: nobody acknowledges for it.
    mutating func orphanOperations(of framework: RegistryID) throws {
        let prefix = RegistryKey(.operationsByFramework).adding(framework).bytes
        for (key, _) in try found(prefix) {
            var parts = RegistryKeyParts(key, after: prefix.count)
            let (agent, uuid) = (try parts.id(), parts.takeRest())
            guard var row = try operation(uuid, of: agent) else { continue }
            row.isOrphan = true
            if row.latestState.isTerminal { try end(row, uuid, of: agent) } else { try save(row, uuid, of: agent) }
        }
    }

    // MARK: - How they went

    mutating func updateStatus(
        _ agentID: [UInt8], _ uuid: [UInt8], _ status: OperationStatus, _ latest: OperationState?
    ) throws -> RegistryReply {
        let head = try admitted(agentID)
        guard let former = try operation(uuid, of: head.id) else {
            throw RegistryRefusal(.operationUnknown, "agent \(head.id) has no operation of this uuid")
        }
        for state in [status.state, latest ?? status.state] where !state.isReportable {
            throw RegistryRefusal(.operationStateNotReportable, "an agent does not report \(state)")
        }
        guard former.isOpen else { return .unchanged(.status(isForwarded: false)) }
        var row = former
        let isNews = !former.latestState.isTerminal
        if isNews { row.latestState = latest ?? status.state }
        if row.statuses.last != status {
            let isEnd = status.state.isTerminal && !row.statuses.contains { $0.state.isTerminal }
            guard row.statuses.count < Limits.operationStatusesMax || isEnd else {
                throw RegistryRefusal(
                    .operationStatusesFull,
                    "the operation has had \(row.statuses.count) statuses: only how it ends is taken down, once")
            }
            row.statuses.append(status)
        }
        if isNews, row.latestState.isTerminal, row.latestState != .finished {
            row.isUndoBlocked = try !undo(row, head)
        }
        let isHeard = row.operationID != nil && !row.isOrphan
        if status.state.isTerminal, isNews || status.uuid != nil, status.uuid == nil || !isHeard {
            try end(row, uuid, of: head.id)
            return .changed(.status(isForwarded: false))
        }
        guard row != former else { return .unchanged(.status(isForwarded: isHeard)) }
        try save(row, uuid, of: head.id)
        return .changed(.status(isForwarded: isHeard))
    }

    /// The agent could not do it: what it was to bring is taken back.
    /// - Returns: false when somebody uses it already.
    private mutating func undo(_ row: OperationRow, _ head: AgentHead) throws -> Bool {
        let former = AgentBook(head: head, ledger: try ledger(of: head.id))
        var book = former
        guard let ledger = try? former.ledger.replacing(row.outcome.converted, by: row.consumed) else { return false }
        book.ledger = ledger
        book.noteCheckpointedChange(since: former.ledger)
        try save(book, insteadOf: former)
        return true
    }

    mutating func acknowledge(
        _ frameworkID: [UInt8], _ operationID: [UInt8], _ statusUUID: [UInt8], _ agentID: [UInt8]
    ) throws -> RegistryReply {
        let framework = try RegistryID(frameworkID, "framework id")
        let name = try RegistryID(operationID, "operation id")
        guard statusUUID.count == OperationRequest.uuidSize else {
            throw RegistryRefusal(
                .operationAckUuidSize, "the uuid of a status has 16 bytes, and not \(statusUUID.count)")
        }
        guard !agentID.isEmpty else {
            throw RegistryRefusal(.operationAckNoAgent, "on which agent is operation \(name)?")
        }
        let agentID = try RegistryID(agentID, "agent id")
        guard let (agent, uuid) = try named(name, of: framework), agent == agentID,
            let former = try operation(uuid, of: agent)
        else {
            throw RegistryRefusal(
                .operationUnknownName, "framework \(framework) has no operation \(name) on agent \(agentID)")
        }
        guard former.isOpen else { return .unchanged(.nothing) }
        guard let status = former.statuses.first(where: { $0.uuid == statusUUID }) else {
            throw RegistryRefusal(.operationUnknownStatus, "operation \(name) has no status of this uuid")
        }
        guard let head = try head(agent), head.row.state == .admitted, head.row.attachedFence == fence else {
            throw RegistryRefusal(.agentNotAttached, "agent \(agent) is not attached to this master")
        }
        guard !status.state.isTerminal else {
            try end(former, uuid, of: agent)
            return .changed(.nothing)
        }
        guard !former.acknowledged.contains(statusUUID) else { return .unchanged(.nothing) }
        var row = former
        row.acknowledged.append(statusUUID)
        try save(row, uuid, of: agent)
        return .changed(.nothing)
    }
}

extension OperationState {
    fileprivate var isReportable: Bool {
        switch self {
        case .pending, .finished, .failed, .error, .dropped: true
        case .unreachable, .goneByOperator, .recovering, .unknown, .unsupported: false
        }
    }
}
