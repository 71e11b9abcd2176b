internal import Basics
package import RegistryModel

/// Carries one command out: a function of (command, rows, cluster time, fence).
///
/// What it changes is kept apart until the whole command has passed its rules, so that a refusal leaves nothing behind,
/// and one of a batch can be undone by itself. Each object is a row of its own; a command reads the rows of the objects
/// that it names, and a few counters. What is counted over all agents is counted by difference, whenever an agent is
/// saved.
package struct Registrar<Rows: RegistryRows> {
    let rows: Rows
    /// Of the entry: cluster time, ns.
    let now: UInt64
    /// Of the masters' election: that of the master whose command it is.
    let fence: UInt64
    /// What the command has changed so far; above that what its item has that is under way.
    private var layers = [RegistryChanges()]

    package init(rows: Rows, now: UInt64, fence: UInt64) {
        self.rows = rows
        self.now = now
        self.fence = fence
    }

    /// - Throws: `RegistryRefusal`, and then no row is changed; what the rows throw.
    package mutating func carryOut(_ command: RegistryCommand) throws -> RegistryReply {
        try checkNothingIsImported(but: command)
        let reply = try apply(command)
        try store()
        return reply
    }

    private func store() throws {
        layers[0].checkInvariants()
        for row in layers[0].writes { try rows.set(row.key, to: row.value) }
    }

    private mutating func apply(_ command: RegistryCommand) throws -> RegistryReply {
        switch command {
        case .recover(let master): try recover(master)
        case .agentAdmit(let agent): try admit(agent)
        case .agentUpdate(let id, let patch): try update(id, patch)
        case .agentsReregister(let agents): try reregister(agents)
        case .agentReport(let id, let generation, let entries): try report(id, generation, entries)
        case .agentMarkUnreachable(let id): try markUnreachable(id)
        case .agentMarkReachable(let agent): try markReachable(agent)
        case .agentMarkGone(let id): try markGone(id)
        case .agentRemove(let id, let discardsVolumes): try remove(id, discardsVolumes: discardsVolumes)
        case .agentsPrune(let unreachable, let gone, let includesVolumes):
            try prune(unreachable: unreachable, gone: gone, includesVolumes: includesVolumes)
        case .agentDrain(let id, let maxGracePeriod, let marksGone):
            try drain(id, maxGracePeriod: maxGracePeriod, marksGone: marksGone)
        case .agentMarkDrained(let id): try markDrained(id)
        case .agentDeactivate(let id): try deactivate(id)
        case .agentReactivate(let id): try reactivate(id)
        case .agentsApproveRemoval(let count, let until): try approveRemoval(count, until: until)
        case .frameworkSubscribe(let info, let principal, let connection, let isForced):
            try subscribe(info, principal: principal, connection: connection, isForced: isForced)
        case .frameworkUpdate(let info, let principal): try update(info, principal: principal)
        case .frameworkDisconnect(let id, let connection): try disconnect(id, connection)
        case .frameworkTeardown(let id): try tearDown(id)
        case .frameworksForget(let ids): try forget(ids)
        case .weightsUpdate(let weights): try update(weights)
        case .quotaUpdate(let configs, let isForced): try update(configs, isForced: isForced)
        case .rateLimitsSet(let limits): try setRateLimits(limits)
        case .scheduleUpdate(let windows): try updateSchedule(windows)
        case .maintenanceStart(let machines): try startMaintenance(machines)
        case .maintenanceStop(let machines): try stopMaintenance(machines)
        case .operationsApply(let requests, let isAtomic): try apply(requests, isAtomic: isAtomic)
        case .acquire(let agentID, let frameworkID, let holdID, let role, let resources):
            try acquire(agentID, frameworkID, holdID, role, resources)
        case .release(let agentID, let frameworkID, let holdID): try release(agentID, frameworkID, holdID)
        case .providerAdmit(let id, let type, let name): try admitProvider(id, type, name)
        case .providerRemove(let id): try removeProvider(id)
        case .operationStatusUpdate(let agentID, let uuid, let status, let latest):
            try updateStatus(agentID, uuid, status, latest)
        case .operationAcknowledge(let frameworkID, let operationID, let statusUUID, let agentID):
            try acknowledge(frameworkID, operationID, statusUUID, agentID)
        case .importChunk(let id, let number, let isLast, let records):
            try importChunk(id, number, isLast: isLast, records)
        case .importAbort: try abortImport()
        }
    }

    // MARK: - Rows as this command sees them

    func row(at key: [UInt8]) throws -> [UInt8]? {
        for layer in layers.reversed() {
            if let value = layer.rows[key] { return value }
        }
        return try rows.row(at: key)
    }

    func value<Value: RegistryValue>(at key: [UInt8]) throws -> Value? { try row(at: key).map(Value.init) }

    /// All rows whose keys begin with `prefix`, in order. Of agents' rows, those before the command.
    func found(_ prefix: [UInt8]) throws -> [(key: [UInt8], value: [UInt8])] {
        var own: [[UInt8]: [UInt8]?] = [:]
        for layer in layers {
            for (key, value) in layer.rows where key.starts(with: prefix) { own.updateValue(value, forKey: key) }
        }
        let stored = try stored(prefix)
        guard !own.isEmpty else { return stored }
        let set = own.compactMap { key, value in value.map { (key: key, value: $0) } }
        return (stored.filter { own[$0.key] == nil } + set).sorted { $0.key.lexicographicallyPrecedes($1.key) }
    }

    /// As before the command.
    func stored(_ prefix: [UInt8]) throws -> [(key: [UInt8], value: [UInt8])] {
        var stored: [(key: [UInt8], value: [UInt8])] = []
        try rows.scan(prefix) { key, value in
            stored.append((key, value))
            return true
        }
        return stored
    }

    func found(_ table: RegistryTable) throws -> [(key: [UInt8], value: [UInt8])] { try found([table.rawValue]) }

    mutating func set(_ key: [UInt8], to value: [UInt8]?) { change { $0.rows.updateValue(value, forKey: key) } }

    mutating func change(_ body: (inout RegistryChanges) -> Void) { body(&layers[layers.count - 1]) }

    /// The newest of what the command has made of something; nil: nothing so far.
    func altered<Value>(_ part: (RegistryChanges) -> Altered<Value>?) -> Altered<Value>? {
        for layer in layers.reversed() {
            if let altered = part(layer) { return altered }
        }
        return nil
    }

    /// Of the timers that the command has set: cluster time, ns.
    package var earliestTimerSet: UInt64? {
        layers[0].rows.compactMap { key, value in
            value != nil && key.first == RegistryTable.timers.rawValue ? RegistryKey.time(ofTimer: key) : nil
        }.min()
    }

    mutating func set<Value: RegistryValue>(_ key: [UInt8], to value: Value) { set(key, to: value.encoded()) }

    /// Moves a row: an index row, or any that may or may not be there.
    mutating func move(_ old: [UInt8]?, to new: [UInt8]?, _ value: [UInt8] = []) {
        guard old != new else { return }
        if let old { set(old, to: nil) }
        if let new { set(new, to: value) }
    }

    /// Does all of it, or nothing.
    mutating func attempt<Value>(_ body: (inout Registrar) throws -> Value) throws -> Value {
        layers.append(RegistryChanges())
        do {
            let value = try body(&self)
            let item = layers.removeLast()
            change { $0.merge(item) }
            return value
        } catch {
            layers.removeLast()
            throw error
        }
    }

    // MARK: - The registry as a whole

    private static var registryKey: [UInt8] { RegistryKey(.registry).bytes }

    func registry() throws -> RegistryRow { try value(at: Self.registryKey) ?? RegistryRow() }

    mutating func updateRegistry(_ body: (inout RegistryRow) -> Void) throws {
        let before = try registry()
        var after = before
        body(&after)
        if after != before { set(Self.registryKey, to: after) }
    }

    func capabilityKey(_ capability: MinimumCapability) -> [UInt8] {
        RegistryKey(.capabilities).adding(capability.name).bytes
    }

    mutating func setCapability(_ capability: MinimumCapability, to isThere: Bool) throws {
        let key = capabilityKey(capability)
        guard try (row(at: key) != nil) != isThere else { return }
        set(key, to: isThere ? [] : nil)
    }

    // MARK: - Masters

    /// Frameworks whose master is gone have some time to find the new one.
    private static var reattachGrace: UInt64 { 600 * 1_000_000_000 }

    private mutating func recover(_ master: MasterInfo) throws -> RegistryReply {
        _ = try RegistryID(master.id, "master id")
        let before = try registry()
        if before.fence == fence, before.master == master { return .unchanged(.nothing) }
        if before.fence != fence {
            for (key, value) in try found(.frameworks) {
                var framework = try FrameworkRow(value)
                guard framework.state == .active else { continue }
                let timeout = try framework.info.checkedFailoverTimeout()
                let id = RegistryID(unchecked: Array(key.dropFirst()))
                framework.state = .disconnected
                framework.stateSince = now
                framework.deadline = later(by: max(timeout, Self.reattachGrace))
                try save(framework, id)
            }
        }
        let (fence, now) = (fence, now)
        try updateRegistry {
            $0.master = master
            $0.fence = fence
            $0.recoveredAt = now
        }
        return .changed(.nothing)
    }

    func later(by interval: UInt64) -> UInt64 {
        let (sum, overflow) = now.addingReportingOverflow(interval)
        return overflow ? .max : sum
    }

    // MARK: - Providers

    private mutating func admitProvider(_ id: [UInt8], _ type: [UInt8]?, _ name: [UInt8]?) throws -> RegistryReply {
        let key = RegistryKey(.providers).adding(try RegistryID(id, "resource provider id").bytes).bytes
        if let row: ProviderRow = try value(at: key) {
            throw row.isRemoved
                ? RegistryRefusal(.providerRemoved, "provider \(text(id)) was removed, which is for ever")
                : RegistryRefusal(.providerAlreadyAdmitted, "provider \(text(id)) is there already")
        }
        set(key, to: ProviderRow(type: type, name: name))
        return .changed(.nothing)
    }

    private mutating func removeProvider(_ id: [UInt8]) throws -> RegistryReply {
        let key = RegistryKey(.providers).adding(try RegistryID(id, "resource provider id").bytes).bytes
        guard var row: ProviderRow = try value(at: key), !row.isRemoved else {
            throw RegistryRefusal(.providerUnknown, "there is no provider \(text(id))")
        }
        row.isRemoved = true
        set(key, to: row)
        return .changed(.nothing)
    }

    // MARK: - What is due

    private enum Timer: UInt8 {
        case framework = 1
        case operation = 2
    }

    static func timerKey(framework id: RegistryID, _ deadline: UInt64) -> [UInt8] {
        RegistryKey(.timers).adding(deadline).adding(Timer.framework.rawValue).adding(id.bytes).bytes
    }

    static func timerKey(operation uuid: [UInt8], of agent: RegistryID, _ deadline: UInt64) -> [UInt8] {
        RegistryKey(.timers).adding(deadline).adding(Timer.operation.rawValue).adding(agent).adding(uuid).bytes
    }

    /// At most this many timers are carried out with one entry.
    package static var timersMax: Int { 256 }

    /// Carries out what is due at `now`: frameworks that have not come back are over, operations that have ended long
    /// ago are forgotten.
    package mutating func carryOutTimers() throws {
        var due: [[UInt8]] = []
        try rows.scan([RegistryTable.timers.rawValue]) { key, _ in
            guard RegistryKey.time(ofTimer: key) <= now, due.count < Self.timersMax else { return false }
            due.append(key)
            return true
        }
        for key in due {
            guard key.count > 10 else { throw DecodeError.truncated }
            var parts = RegistryKeyParts(key, after: 10)
            switch Timer(rawValue: key[9]) {
            case .framework:
                let id = RegistryID(unchecked: parts.takeRest())
                guard let framework: FrameworkRow = try value(at: RegistryKey.framework(id)) else {
                    throw DecodeError.invalid("timer of framework \(id), which is not there")
                }
                try end(framework, id, as: .completed)
            case .operation:
                let agent = try parts.id()
                try forgetOperation(parts.takeRest(), of: agent)
            case nil: throw DecodeError.unknown("timer", UInt64(key[9]))
            }
        }
        try store()
    }
}
