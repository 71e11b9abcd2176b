internal import Basics
internal import RegistryModel

/// Agents: how they come, what becomes of them, and how they come back.
extension Registrar {
    // MARK: - Coming

    mutating func admit(_ agent: AgentClaim) throws -> RegistryReply {
        let resources = try ResourceList.checked(agent.resources)
        let id = try Self.id(of: agent)
        try checkMachine(of: agent)
        try Self.checkCheckpointing(id, agent.info, resources)
        if let former = try head(id) {
            throw former.row.state == .admitted
                ? RegistryRefusal(.agentAlreadyAdmitted, "agent \(id) is admitted")
                : RegistryRefusal(.agentIdInUse, "agent \(id) is \(former.row.state), and keeps its id")
        }
        let book = try newBook(id, agent.info, resources)
        try save(book, insteadOf: nil)
        return .changed(.generation(book.head.row.generation))
    }

    static func checkCheckpointing(
        _ id: RegistryID, _ info: AgentInfo, _ resources: [Resource]
    ) throws(RegistryRefusal) {
        guard info.isCheckpointing || !resources.contains(where: \.isCheckpointed) else {
            throw RegistryRefusal(
                .agentCheckpointedWithoutCheckpointing,
                "agent \(id) has reservations or volumes, and does not keep on its disk what it has")
        }
    }

    /// - Parameter rule: what refuses two volumes of one name.
    /// - Throws: `create.duplicate-id`; `scalar.overflow`.
    mutating func newBook(
        _ id: RegistryID, _ info: AgentInfo, _ resources: [Resource], duplicates rule: RegistryRule = .createDuplicateId
    ) throws -> AgentBook {
        var book = AgentBook(
            head: AgentHead(
                id: id, row: AgentRow(state: .admitted, stateSince: now, arrival: 0, attachedFence: fence), info: info))
        try enter(.admitted, &book.head)
        for resource in resources {
            guard !book.ledger.hasVolume(named: resource.volumeName) else {
                throw RegistryRefusal(rule, "agent \(id): another volume has the role and the id of \(resource)")
            }
            try book.ledger.add(resource)
        }
        book.head.row.digest = CheckpointDigest.of(book.ledger.entries)
        book.head.row.totalsDigest = CheckpointDigest.ofTotals(resources)
        return book
    }

    /// Of one that comes back, and of which nothing is known: it has to report what it has checkpointed.
    private mutating func unknownBook(
        _ id: RegistryID, _ agent: AgentClaim, _ totals: [Resource]
    ) throws -> AgentBook {
        try checkMachine(of: agent)
        var book = try newBook(id, agent.info, totals.map(\.configured))
        book.head.row.totalsDigest = CheckpointDigest.ofTotals(totals)
        book.head.row.isReportWanted = true
        return book
    }

    static func id(of agent: AgentClaim) throws(RegistryRefusal) -> RegistryID {
        guard !agent.id.isEmpty else { throw RegistryRefusal(.agentIdMissing, "an agent without an id") }
        return try RegistryID(agent.id, "agent id")
    }

    func checkMachine(of agent: AgentClaim) throws { try checkMachine(agent.info.machine, of: agent.id) }

    /// - Throws: `agent.machine-down`.
    func checkMachine(_ machine: MachineID, of agent: [UInt8]) throws {
        guard try self.machine(machine)?.mode == .down else { return }
        throw RegistryRefusal(.agentMachineDown, "agent \(text(agent)): machine \(machine) is down for maintenance")
    }

    mutating func update(_ id: [UInt8], _ patch: AgentPatch) throws -> RegistryReply {
        let totals = try patch.resources.map { try ResourceList.checked($0) }
        let former = try admitted(id)
        var head = former
        let ledgers = try totals.flatMap { try rebase(&head, on: $0) }
        head.info = head.info.map(patch.applied)
        guard head.info != former.info || ledgers.map({ $0.before != $0.now }) ?? false else {
            return .unchanged(.nothing)
        }
        if let machine = head.info?.machine, machine != former.info?.machine { try checkMachine(machine, of: id) }
        try save(head, insteadOf: former, ledgers)
        return .changed(.nothing)
    }

    /// - Throws: `id.*`, `agent.not-admitted`.
    func admitted(_ id: [UInt8]) throws -> AgentHead {
        let id = try RegistryID(id, "agent id")
        guard let head = try head(id), head.row.state == .admitted else {
            throw RegistryRefusal(.agentNotAdmitted, "agent \(id) is not admitted")
        }
        return head
    }

    /// - Throws: `id.*`, `agent.not-admitted`.
    func admittedBook(_ id: [UInt8]) throws -> AgentBook {
        let head = try admitted(id)
        return AgentBook(head: head, ledger: try ledger(of: head.id))
    }

    private typealias Ledgers = (before: Ledger, now: Ledger)

    /// What the agent has by its new totals. Nobody need look at what it has when they are those that it stated last:
    /// no command changes what all its entries come to.
    /// - Returns: nil: it has what it had.
    /// - Throws: `agent.total-below-ledger`.
    private func rebase(_ head: inout AgentHead, on totals: [Resource]) throws -> Ledgers? {
        let digest = CheckpointDigest.ofTotals(totals)
        guard digest != head.row.totalsDigest else { return nil }
        head.row.totalsDigest = digest
        let ledger = try ledger(of: head.id)
        return (ledger, try ledger.rebased(on: totals))
    }

    private mutating func save(_ head: AgentHead, insteadOf former: AgentHead, _ ledgers: Ledgers?) throws {
        guard ledgers != nil || head.isCounted != former.isCounted else { return try save(head, insteadOf: former) }
        let before = try ledgers?.before ?? ledger(of: head.id)
        let now = ledgers?.now ?? before
        try save(AgentBook(head: head, ledger: now), insteadOf: AgentBook(head: former, ledger: before))
    }

    // MARK: - Coming back

    mutating func reregister(_ agents: [AgentAttachment]) throws -> RegistryReply {
        var outcomes: [AttachOutcome] = []
        var isChanged = false
        var size = 0
        for agent in agents {
            do {
                let (outcome, hasChanged) = try attempt { registrar in
                    let (outcome, hasChanged) = try registrar.attach(agent)
                    if case .behind(_, let entries, _) = outcome {
                        let isFirst = size == 0
                        size += entries.reduce(0) { $0 + $1.encoded().count }
                        guard isFirst || size <= Limits.attachReplySizeMax else {
                            throw RegistryRefusal(
                                .agentReplyFull,
                                "what agent \(text(agent.agent.id)) has missed does not fit beside what others have: again")
                        }
                    }
                    return (outcome, hasChanged)
                }
                outcomes.append(outcome)
                isChanged = isChanged || hasChanged
            } catch let refusal as RegistryRefusal {
                outcomes.append(.rejected(Rejection(refusal)))
            }
        }
        return isChanged ? .changed(.attached(outcomes)) : .unchanged(.attached(outcomes))
    }

    private mutating func attach(_ attachment: AgentAttachment) throws -> (AttachOutcome, hasChanged: Bool) {
        let agent = attachment.agent
        let totals = try ResourceList.checked(agent.resources)
        let id = try Self.id(of: agent)
        guard attachment.generation <= AgentRow.generationMax else {
            throw RegistryRefusal(
                .agentGenerationAhead,
                "agent \(id) is at generation \(attachment.generation), which none ever gets to: is its state damaged?")
        }
        guard let former = try head(id) else {
            var book = try unknownBook(id, agent, totals)
            book.head.row.generation = max(1, attachment.generation)
            book.head.row.versions = attachment.versions
            try save(book, insteadOf: nil)
            return (try outcome(of: attachment, book.head), true)
        }
        try checkComesBack(former, agent)
        var head = former
        let ledgers = try rebase(&head, on: totals)
        if former.row.isReportWanted { head.row.generation = max(former.row.generation, attachment.generation) }
        guard attachment.generation <= head.row.generation else {
            throw RegistryRefusal(
                .agentGenerationAhead,
                "agent \(id) is at generation \(attachment.generation), the registry at \(former.row.generation): "
                    + "was an old state restored?")
        }
        let isSame = attachment.generation == former.row.generation && attachment.digest == former.row.digest
        guard attachment.generation < former.row.generation || former.row.isReportWanted || isSame else {
            throw RegistryRefusal(
                .agentDigestMismatch,
                "agent \(id) has other entries at generation \(attachment.generation): it has to report them"
            )
        }
        if isSame { head.row.isReportWanted = false }
        if former.row.state == .unreachable { try makeReachable(&head) }
        head.info = agent.info.keepingExtra(of: former.info)
        head.row.attachedFence = fence
        head.row.versions = attachment.versions
        try save(head, insteadOf: former, ledgers)
        let hasChanged = head != former || ledgers.map { $0.before != $0.now } ?? false
        return (try outcome(of: attachment, head), hasChanged)
    }

    /// - Throws: `agent.gone`, `agent.machine-down`, `agent.address-changed`.
    private func checkComesBack(_ head: AgentHead, _ agent: AgentClaim) throws {
        guard head.row.state != .gone else {
            throw RegistryRefusal(.agentGone, "agent \(head.id) was marked gone, which is for ever: it needs a new id")
        }
        try checkMachine(of: agent)
        guard head.row.state == .admitted, head.row.attachedFence == fence, let info = head.info else { return }
        guard info.ip == agent.info.ip, info.hostname == agent.info.hostname else {
            throw RegistryRefusal(
                .agentAddressChanged,
                "agent \(head.id) is attached from \(info.machine), and comes from \(agent.info.machine)")
        }
    }

    private func outcome(of attachment: AgentAttachment, _ head: AgentHead) throws -> AttachOutcome {
        let (row, drain) = (head.row, head.row.drain)
        guard attachment.generation > 0, !row.isReportWanted else { return .reportWanted(drain: drain) }
        guard attachment.generation < row.generation else { return .upToDate(generation: row.generation, drain: drain) }
        let entries = try ledger(of: head.id).checkpointed.map(\.resource)
        return .behind(generation: row.generation, entries: entries, drain: drain)
    }

    mutating func report(_ id: [UInt8], _ generation: UInt64, _ entries: [ResourceClaim]) throws -> RegistryReply {
        let entries = try ResourceList.checked(entries).filter(\.isCheckpointed)
        let former = try admittedBook(id)
        var book = former
        let isAdopting = former.head.row.isReportWanted && former.ledger.checkpointed.isEmpty
        guard isAdopting || generation >= former.head.row.generation || generation == 0 else {
            throw RegistryRefusal(
                .agentGenerationStale,
                "the report is of generation \(generation), and agent \(book.id) is at \(former.head.row.generation)")
        }
        book.head.row.isReportWanted = false
        var result = ReportResult()
        let known = book.ledger.checkpointed
        var unreported = Dictionary(grouping: known.indices) { known[$0].kindBytes }
        for entry in entries {
            let kind = entry.kindBytes
            if let place = unreported[kind]?.firstIndex(where: { known[$0].resource.value == entry.value }) {
                unreported[kind]?.remove(at: place)
            } else if isAdopting, let ledger = try? book.ledger.replacing([entry.configured], by: [entry]) {
                book.ledger = ledger
                result.adopted.append(entry.unallocated)
            } else {
                result.orphans.append(entry.unallocated)
            }
        }
        result.missing = unreported.values.flatMap(\.self).sorted().map { known[$0].resource }
        book.noteCheckpointedChange(since: former.ledger)
        result.generation = book.head.row.generation
        try save(book, insteadOf: former)
        let isChanged = try setOrphans(of: book.id, to: result.orphans) || book != former
        return isChanged ? .changed(.report(result)) : .unchanged(.report(result))
    }

    /// - Returns: whether that is news.
    private mutating func setOrphans(of id: RegistryID, to resources: [Resource]) throws -> Bool {
        let prefix = RegistryKey(.orphans).adding(id)
        let former = try found(prefix.bytes)
        var ledger = Ledger()
        for resource in resources { try ledger.add(resource) }
        let rows = ledger.entries.map { (key: prefix.adding($0.key.bytes).bytes, value: $0.resource.encoded()) }
        guard rows.map(\.key) != former.map(\.key) || rows.map(\.value) != former.map(\.value) else { return false }
        for row in former { set(row.key, to: nil) }
        for row in rows { set(row.key, to: row.value) }
        return true
    }

    // MARK: - Being away

    mutating func markUnreachable(_ id: [UInt8]) throws -> RegistryReply {
        let former = try admitted(id)
        if let postponed = try limitRemoval() { return postponed }
        try makeUnreachable(former)
        return .changed(.nothing)
    }

    mutating func makeUnreachable(_ former: AgentHead) throws {
        var head = former
        try enter(.unreachable, &head)
        try setOperations(of: head.id, from: .pending, to: .unreachable)
        try save(head, insteadOf: former, nil)
    }

    private mutating func makeReachable(_ head: inout AgentHead) throws {
        try enter(.admitted, &head)
        try setOperations(of: head.id, from: .unreachable, to: .pending)
    }

    /// Of a window's agents a tenth may go; when more do, something else is wrong than these agents.
    private static var limiterWindow: UInt64 { 600 * 1_000_000_000 }

    /// - Returns: what is answered when no more may go for now; else this one is counted.
    private mutating func limitRemoval() throws -> RegistryReply? {
        let registry = try registry()
        var limiter = registry.limiter
        if now >= limiter.windowEnd {
            limiter.windowEnd = later(by: Self.limiterWindow)
            limiter.removed = 0
            limiter.budget = max(1, registry.admittedCount / 10)
        }
        let approved = now < limiter.approvedUntil ? limiter.approved : 0
        let isTooMany = limiter.removed >= limiter.budget + approved
        if isTooMany { limiter.isAlarmed = true } else { limiter.removed += 1 }
        try updateRegistry { $0.limiter = limiter }
        guard isTooMany else { return nil }
        let rest = (limiter.windowEnd - now) / 1_000_000
        let refusal = RegistryRefusal(
            .agentRemovalLimited,
            "\(limiter.removed) agents became unreachable within 10 minutes, \(registry.admittedCount) are left: "
                + "approve of more, or wait \(rest) ms")
        return .postponed(milliseconds: rest, Rejection(refusal))
    }

    mutating func approveRemoval(_ count: UInt64, until: UInt64) throws -> RegistryReply {
        guard count > 0 else { throw RegistryRefusal(.limiterCountZero, "approve of how many agents?") }
        let now = now
        try updateRegistry { registry in
            let left = now < registry.limiter.approvedUntil ? registry.limiter.approved : 0
            registry.limiter.approved =
                left.addingReportingOverflow(count).overflow ? .max / 2 : min(left + count, .max / 2)
            registry.limiter.approvedUntil = until
            registry.limiter.isAlarmed = false
        }
        return .changed(.nothing)
    }

    mutating func markReachable(_ agent: AgentClaim) throws -> RegistryReply {
        let totals = try ResourceList.checked(agent.resources)
        let id = try Self.id(of: agent)
        guard let former = try head(id) else {
            var book = try unknownBook(id, agent, totals)
            book.head.row.attachedFence = 0
            try save(book, insteadOf: nil)
            return .changed(.generation(book.head.row.generation))
        }
        guard former.row.state != .gone else {
            throw RegistryRefusal(.agentGone, "agent \(id) was marked gone, which is for ever")
        }
        try checkMachine(of: agent)
        guard former.row.state == .unreachable else { return .unchanged(.generation(former.row.generation)) }
        var head = former
        let ledgers = try rebase(&head, on: totals)
        head.info = agent.info.keepingExtra(of: former.info)
        try makeReachable(&head)
        try save(head, insteadOf: former, ledgers)
        return .changed(.generation(head.row.generation))
    }

    // MARK: - Going

    mutating func markGone(_ id: [UInt8]) throws -> RegistryReply {
        let id = try RegistryID(id, "agent id")
        guard let former = try agent(id) else { throw RegistryRefusal(.agentNotFound, "there is no agent \(id)") }
        guard former.head.row.state != .gone else { throw RegistryRefusal(.agentAlreadyGone, "agent \(id) is gone already") }
        var book = former
        try enter(.gone, &book.head)
        book.head.info = nil
        book.ledger = Ledger()
        book.head.row.digest = CheckpointDigest.ofNothing
        book.head.row.totalsDigest = []
        book.head.row.isDeactivated = false
        book.head.row.drain = nil
        book.head.row.versions = []
        try save(book, insteadOf: former)
        try endOperations(of: id)
        _ = try setOrphans(of: id, to: [])
        return .changed(.lostVolumes(try loseVolumes(of: former)))
    }

    /// Writes down what is lost with the agent.
    private mutating func loseVolumes(of book: AgentBook) throws -> [VolumeID] {
        var lost: [VolumeID] = []
        for entry in book.ledger.entries {
            guard let name = entry.resource.volumeName else { continue }
            let key = RegistryKey(.lostVolumes).adding(book.id).adding(sized: name.role.bytes).adding(name.id.bytes)
            set(key.bytes, to: entry.resource)
            lost.append(VolumeID(agentID: book.id, role: name.role, id: name.id))
        }
        return lost
    }

    mutating func remove(_ id: [UInt8], discardsVolumes: Bool) throws -> RegistryReply {
        let former = try admittedBook(id)
        guard discardsVolumes || !former.ledger.hasVolumes else {
            throw RegistryRefusal(
                .agentHasVolumes,
                "agent \(former.id) has volumes, which would be forgotten with it: say that they may be")
        }
        try forget(former)
        return .changed(.nothing)
    }

    private mutating func forget(_ former: AgentBook) throws {
        try save(nil, insteadOf: former)
        try endOperations(of: former.id)
        _ = try setOrphans(of: former.id, to: [])
    }

    mutating func prune(unreachable: [[UInt8]], gone: [[UInt8]], includesVolumes: Bool) throws -> RegistryReply {
        var (deleted, skipped): ([RegistryID], [RegistryID]) = ([], [])
        for (ids, state) in [(unreachable, AgentRow.State.unreachable), (gone, .gone)] {
            for id in ids {
                let id = try RegistryID(id, "agent id")
                guard let book = try agent(id), book.head.row.state == state, includesVolumes || !book.ledger.hasVolumes
                else {
                    skipped.append(id)
                    continue
                }
                try forget(book)
                deleted.append(id)
            }
        }
        let result = RegistryResult.pruned(deleted: deleted, skipped: skipped)
        return deleted.isEmpty ? .unchanged(result) : .changed(result)
    }

    // MARK: - Draining

    /// - Throws: `id.*`, `agent.not-found` also of one that is gone.
    private func living(_ id: [UInt8]) throws -> AgentHead {
        let id = try RegistryID(id, "agent id")
        guard let head = try head(id), head.row.state != .gone else {
            throw RegistryRefusal(.agentNotFound, "there is no agent \(id)")
        }
        return head
    }

    mutating func drain(_ id: [UInt8], maxGracePeriod: UInt64?, marksGone: Bool) throws -> RegistryReply {
        let former = try living(id)
        var head = former
        if former.row.state == .admitted, let info = former.info {
            guard try machine(info.machine) == nil else {
                throw RegistryRefusal(
                    .agentScheduledMachine, "agent \(head.id): machine \(info.machine) is in the maintenance schedule")
            }
            guard info.capabilities.contains(.agentDraining) else {
                throw RegistryRefusal(.agentDrainIncapable, "agent \(head.id) does not know how to drain")
            }
        }
        head.row.drain = AgentRow.Drain(
            maxGracePeriod: maxGracePeriod ?? former.row.drain?.maxGracePeriod, marksGone: marksGone)
        head.row.isDeactivated = true
        return try saveDeactivated(head, insteadOf: former)
    }

    private mutating func saveDeactivated(_ head: AgentHead, insteadOf former: AgentHead) throws -> RegistryReply {
        guard head != former else { return .unchanged(.nothing) }
        try setCapability(.agentDraining, to: true)
        try save(head, insteadOf: former)
        return .changed(.nothing)
    }

    mutating func markDrained(_ id: [UInt8]) throws -> RegistryReply {
        let id = try RegistryID(id, "agent id")
        guard let former = try head(id), former.row.state != .gone else { return .unchanged(.nothing) }
        guard former.row.isDraining else {
            throw RegistryRefusal(.agentNotDraining, "agent \(id) is not being drained")
        }
        if former.row.state == .admitted {
            let isBusy = try !ledger(of: id).holds.isEmpty || hasOpenOperation(id)
            guard !isBusy else {
                throw RegistryRefusal(.agentDrainBusy, "agent \(id) has tasks or operations that have not ended")
            }
        }
        var head = former
        head.row.drain?.isDrained = true
        try save(head, insteadOf: former)
        return .changed(.nothing)
    }

    mutating func deactivate(_ id: [UInt8]) throws -> RegistryReply {
        let former = try living(id)
        var head = former
        head.row.isDeactivated = true
        return try saveDeactivated(head, insteadOf: former)
    }

    mutating func reactivate(_ id: [UInt8]) throws -> RegistryReply {
        let id = try RegistryID(id, "agent id")
        guard let former = try head(id), former.row.isDeactivated else {
            throw RegistryRefusal(.agentNotDeactivated, "agent \(id) is not deactivated")
        }
        guard !former.row.isDraining else {
            throw RegistryRefusal(.agentStillDraining, "agent \(id) is still being drained")
        }
        var head = former
        head.row.isDeactivated = false
        head.row.drain = nil
        try save(head, insteadOf: former)
        if try registry().deactivatedCount == 0 { try setCapability(.agentDraining, to: false) }
        return .changed(.nothing)
    }
}
