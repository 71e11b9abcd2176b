internal import RegistryModel

/// Frameworks: whoever runs tasks on agents. What is reserved to their roles outlives them.
extension Registrar {
    /// What is asked of every framework that states itself.
    private static func check(_ info: FrameworkInfo, principal: [UInt8]?) throws(RegistryRefusal) {
        if let labels = info.labels { _ = try Labels(labels) }
        let roles = Set(try info.checkedRoles().map(\.bytes))
        if !info.id.isEmpty { _ = try RegistryID(info.id, "framework id") }
        for filter in info.offerFilters {
            for stated in filter.quantities {
                do throws(RegistryRefusal) {
                    _ = try Scalar(stated.number)
                } catch {
                    throw RegistryRefusal(
                        .frameworkOfferFilter, "\(text(filter.role)), \(text(stated.name)): \(error.detail)")
                }
            }
        }
        _ = try info.checkedFailoverTimeout()
        for role in info.suppressedRoles + info.offerFilters.map(\.role) where !roles.contains(role) {
            throw RegistryRefusal(.frameworkSuppressedRole, "role \(text(role)) is none of the framework's")
        }
        if let principal, let stated = info.principal, principal != stated {
            throw RegistryRefusal(
                .frameworkPrincipalMismatch,
                "it states that it is \(text(stated)), and has authenticated as \(text(principal))")
        }
    }

    func framework(_ id: RegistryID) throws -> FrameworkRow? { try value(at: RegistryKey.framework(id)) }

    /// Its timer too.
    mutating func save(_ row: FrameworkRow, _ id: RegistryID) throws {
        let former = try framework(id)?.deadline.map { Self.timerKey(framework: id, $0) }
        move(former, to: row.deadline.map { Self.timerKey(framework: id, $0) })
        set(RegistryKey.framework(id), to: row)
    }

    private static func checkLives(_ row: FrameworkRow, _ id: RegistryID) throws(RegistryRefusal) {
        guard !row.state.isOver else { throw RegistryRefusal(.frameworkCompleted, "framework \(id) is over") }
    }

    private static func checkPrincipal(_ info: FrameworkInfo, of row: FrameworkRow) throws(RegistryRefusal) {
        guard info.principal == row.info.principal else {
            throw RegistryRefusal(
                .frameworkPrincipalChanged,
                "framework \(text(row.info.id)) belongs to \(row.info.principal.map(text) ?? "nobody")")
        }
    }

    // MARK: - Coming and going

    mutating func subscribe(
        _ info: FrameworkInfo, principal: [UInt8]?, connection: [UInt8], isForced: Bool
    ) throws -> RegistryReply {
        try Self.check(info, principal: principal)
        var info = info
        let wasUnknown: Bool
        if info.id.isEmpty {
            info.id = try newFrameworkID().bytes
            wasUnknown = false
        } else {
            let id = try RegistryID(info.id, "framework id")
            if let former = try framework(id) {
                return try resubscribe(info, id, former, connection: connection, isForced: isForced)
            }
            wasUnknown = true
        }
        let id = RegistryID(unchecked: info.id)
        try save(FrameworkRow(info: info, stateSince: now, connection: connection, attachedFence: fence), id)
        return .changed(.framework(id: id, wasUnknown: wasUnknown))
    }

    /// One that nobody has: a framework may have come with such an id of its own.
    private mutating func newFrameworkID() throws -> RegistryID {
        let registry = try registry()
        var count = registry.frameworkCount
        while true {
            var number = String(count)
            while number.utf8.count < 4 { number = "0" + number }
            count += 1
            let id = try RegistryID((registry.master?.id ?? []) + Array("-\(number)".utf8), "framework id")
            guard try framework(id) == nil else { continue }
            try updateRegistry { $0.frameworkCount = count }
            return id
        }
    }

    private mutating func resubscribe(
        _ stated: FrameworkInfo, _ id: RegistryID, _ former: FrameworkRow, connection: [UInt8], isForced: Bool
    ) throws -> RegistryReply {
        try Self.checkLives(former, id)
        try Self.checkPrincipal(stated, of: former)
        guard former.state != .active || former.connection == connection || isForced else {
            throw RegistryRefusal(
                .frameworkConnectedElsewhere, "framework \(id) is connected already: force it to take its place")
        }
        var row = former
        row.info = stated
        // What cannot change stays, silently: a framework may say it again after years.
        row.info.user = former.info.user
        row.info.isCheckpointing = former.info.isCheckpointing
        if former.state != .active {
            row.state = .active
            row.stateSince = now
        }
        row.deadline = nil
        row.connection = connection
        row.attachedFence = fence
        guard row != former else { return .unchanged(.framework(id: id, wasUnknown: false)) }
        try save(row, id)
        return .changed(.framework(id: id, wasUnknown: false))
    }

    mutating func update(_ info: FrameworkInfo, principal: [UInt8]?) throws -> RegistryReply {
        try Self.check(info, principal: principal)
        let (id, former) = try known(info.id)
        try Self.checkLives(former, id)
        try Self.checkPrincipal(info, of: former)
        guard info.user == former.info.user else {
            throw RegistryRefusal(.frameworkUserChanged, "framework \(id) runs as \(text(former.info.user))")
        }
        guard info.isCheckpointing == former.info.isCheckpointing else {
            throw RegistryRefusal(.frameworkCheckpointChanged, "whether framework \(id) checkpoints cannot change")
        }
        guard info != former.info else { return .unchanged(.nothing) }
        var row = former
        row.info = info
        try save(row, id)
        return .changed(.nothing)
    }

    /// - Throws: `id.*`, `framework.not-found`.
    private func known(_ id: [UInt8]) throws -> (RegistryID, FrameworkRow) {
        let id = try RegistryID(id, "framework id")
        guard let row = try framework(id) else {
            throw RegistryRefusal(.frameworkNotFound, "there is no framework \(id)")
        }
        return (id, row)
    }

    mutating func disconnect(_ id: [UInt8], _ connection: [UInt8]) throws -> RegistryReply {
        let (id, former) = try known(id)
        guard former.state == .active, former.connection == connection else { return .unchanged(.nothing) }
        var row = former
        row.state = .disconnected
        row.stateSince = now
        row.deadline = later(by: try former.info.checkedFailoverTimeout())
        try save(row, id)
        return .changed(.nothing)
    }

    mutating func tearDown(_ id: [UInt8]) throws -> RegistryReply {
        let (id, former) = try known(id)
        guard !former.state.isOver else { return .unchanged(.nothing) }
        try end(former, id, as: .tornDown)
        return .changed(.nothing)
    }

    /// Its tasks are over with it, and nobody acknowledges for it any more.
    mutating func end(_ former: FrameworkRow, _ id: RegistryID, as state: FrameworkRow.State) throws {
        let prefix = RegistryKey(.holdsByFramework).adding(id).bytes
        var agents: [RegistryID] = []
        for (key, _) in try found(prefix) {
            var parts = RegistryKeyParts(key, after: prefix.count)
            let agent = try parts.id()
            if agents.last != agent { agents.append(agent) }
        }
        for agentID in agents {
            guard let book = try agent(agentID) else { continue }
            var released = book
            released.ledger.holds.removeAll { $0.frameworkID == id }
            try save(released, insteadOf: book)
        }
        try orphanOperations(of: id)
        var row = former
        row.state = state
        row.stateSince = now
        row.deadline = nil
        try save(row, id)
    }

    mutating func forget(_ ids: [[UInt8]]) throws -> RegistryReply {
        var isChanged = false
        for id in ids {
            let id = try RegistryID(id, "framework id")
            guard let row = try framework(id) else { continue }
            guard row.state.isOver else { throw RegistryRefusal(.frameworkNotEnded, "framework \(id) is not over") }
            set(RegistryKey.framework(id), to: nil)
            isChanged = true
        }
        return isChanged ? .changed(.nothing) : .unchanged(.nothing)
    }

    /// - Throws: `framework.not-active`.
    func active(_ id: RegistryID) throws -> FrameworkRow {
        guard let row = try framework(id), row.state == .active else {
            throw RegistryRefusal(.frameworkNotActive, "framework \(id) is not connected")
        }
        return row
    }

    // MARK: - Their tasks

    mutating func acquire(
        _ agentID: [UInt8], _ frameworkID: [UInt8], _ holdID: [UInt8], _ role: [UInt8], _ claims: [ResourceClaim]
    ) throws -> RegistryReply {
        let resources = try ResourceList.checked(claims).map(\.unallocated)
        let role = try RoleName(role)
        let agentID = try RegistryID(agentID, "agent id")
        let frameworkID = try RegistryID(frameworkID, "framework id")
        let hold = Ledger.Hold(
            frameworkID: frameworkID, id: try RegistryID(holdID, "hold id").bytes, role: role, resources: resources)
        let former = try agent(agentID)
        if let known = former?.ledger.holds.first(where: { $0.frameworkID == frameworkID && $0.id == hold.id }) {
            guard known == hold else {
                throw RegistryRefusal(
                    .acquireHoldReused, "framework \(frameworkID) holds something else as \(text(hold.id))")
            }
            return .unchanged(.nothing)
        }
        let framework = try active(frameworkID)
        guard let former, former.head.row.state == .admitted else {
            throw RegistryRefusal(.agentNotAdmitted, "agent \(agentID) is not admitted")
        }
        guard !former.head.row.isDeactivated else {
            throw RegistryRefusal(.agentDeactivated, "agent \(agentID) is deactivated, and takes no new tasks")
        }
        guard try framework.info.checkedRoles().contains(role) else {
            throw RegistryRefusal(.acquireRoleNotSubscribed, "framework \(frameworkID) has no role \(role)")
        }
        try Self.check(resources, for: role, framework.info)
        try former.ledger.checkHold(of: resources)
        var book = former
        book.ledger.holds.append(hold)
        try save(book, insteadOf: former)
        return .changed(.nothing)
    }

    /// - Throws: `acquire.not-allocatable`, `acquire.shared-incapable`, `acquire.mixed-revocable`.
    private static func check(
        _ resources: [Resource], for role: RoleName, _ framework: FrameworkInfo
    ) throws(RegistryRefusal) {
        for resource in resources where !resource.isAllocatable(to: role) {
            throw RegistryRefusal(.acquireNotAllocatable, "\(resource) is not for role \(role)")
        }
        for resource in resources where resource.isShared && !framework.capabilities.contains(.sharedResources) {
            throw RegistryRefusal(.acquireSharedIncapable, "\(resource): the framework does not take shared resources")
        }
        for (position, resource) in resources.enumerated() {
            let other = resources[..<position].first {
                $0.name == resource.name && $0.isRevocable != resource.isRevocable
            }
            guard let other else { continue }
            throw RegistryRefusal(
                .acquireMixedRevocable, "\(other) and \(resource): only one of them can be taken back")
        }
    }

    mutating func release(_ agentID: [UInt8], _ frameworkID: [UInt8], _ holdID: [UInt8]) throws -> RegistryReply {
        let agentID = try RegistryID(agentID, "agent id")
        let frameworkID = try RegistryID(frameworkID, "framework id")
        let holdID = try RegistryID(holdID, "hold id").bytes
        guard let former = try agent(agentID) else { return .unchanged(.nothing) }
        var book = former
        book.ledger.holds.removeAll { $0.frameworkID == frameworkID && $0.id == holdID }
        guard book != former else { return .unchanged(.nothing) }
        try save(book, insteadOf: former)
        return .changed(.nothing)
    }
}
