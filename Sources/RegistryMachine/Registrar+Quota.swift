internal import RegistryModel

/// What roles may have.
extension Registrar {
    // MARK: - Weights

    mutating func update(_ weights: [Weight]) throws -> RegistryReply {
        var isChanged = false
        for stated in weights {
            let role = try RoleName(Self.trimmed(stated.role))
            try stated.check(for: role)
            let key = RegistryKey(.weights).adding(role.bytes).bytes
            let former: Weight? = try value(at: key)
            guard former?.weight ?? 1 != stated.weight else { continue }
            set(key, to: Weight(role: role.bytes, weight: stated.weight, extra: former?.extra ?? stated.extra))
            isChanged = true
        }
        return isChanged ? .changed(.nothing) : .unchanged(.nothing)
    }

    private static func trimmed(_ role: [UInt8]) -> [UInt8] {
        let isBlank = { (byte: UInt8) in byte == 0x20 || (0x09...0x0D).contains(byte) }
        guard let first = role.firstIndex(where: { !isBlank($0) }), let last = role.lastIndex(where: { !isBlank($0) })
        else {
            return []
        }
        return Array(role[first...last])
    }

    // MARK: - Rate limits

    /// The masters keep them: what is stored here is only what they are.
    mutating func setRateLimits(_ limits: RateLimits?) throws -> RegistryReply {
        try limits?.check()
        let key = RegistryKey(.rateLimits).bytes
        guard try value(at: key) != limits else { return .unchanged(.nothing) }
        set(key, to: limits?.encoded())
        return .changed(.nothing)
    }

    // MARK: - Quota

    mutating func update(_ configs: [QuotaConfig], isForced: Bool) throws -> RegistryReply {
        let hasHierarchy = try registry().master?.hasQuotaHierarchy ?? false
        var updates: [(role: RoleName, quota: QuotaRow)] = []
        for config in configs {
            guard hasHierarchy || !config.role.contains(UInt8(ascii: "/")) else {
                throw RegistryRefusal(
                    .quotaNestedRole, "role \(text(config.role)): only roles without / have quota here")
            }
            updates.append(try config.checked())
        }
        if !isForced { for (role, quota) in updates { try checkConsumption(of: role, quota) } }
        for (role, quota) in updates { try set(quota, of: role) }
        let quotas = try quotas()
        if hasHierarchy { try Self.checkChildren(quotas) }
        if !isForced { try checkCapacity(quotas) }
        // Of each role once: what one uses up may be much.
        var told: Set<RoleName> = []
        let roles = updates.map(\.role).filter { told.insert($0).inserted }
        return .changed(
            .consumption(try roles.map { RoleConsumption(role: $0, quantities: try consumption(of: $0)) }))
    }

    /// In the place of what the role had in the one form or the other.
    mutating func set(_ quota: QuotaRow, of role: RoleName) throws {
        let legacyKey = RegistryKey(.legacyQuotas).adding(role.bytes).bytes
        if try row(at: legacyKey) != nil { set(legacyKey, to: nil) }
        let key = RegistryKey(.quotas).adding(role.bytes).bytes
        let former: QuotaRow? = try value(at: key)
        let wasThere = former != nil
        var quota = quota
        if quota.extra.isEmpty { quota.extra = former?.extra ?? [] }
        set(key, to: quota.isDefault ? nil : quota.encoded())
        guard wasThere == quota.isDefault else { return }
        try updateRegistry { $0.quotaCount = wasThere ? $0.quotaCount - 1 : $0.quotaCount + 1 }
        try setCapability(.quota, to: try registry().quotaCount > 0)
    }

    private func consumption(of role: RoleName) throws -> Quantities {
        let prefix = RegistryKey(.consumption).adding(sized: role.bytes).bytes
        var sum = Quantities.none
        for (key, value) in try found(prefix) { sum.set(try Scalar(value), of: Array(key[prefix.count...])) }
        return sum
    }

    private func checkConsumption(of role: RoleName, _ quota: QuotaRow) throws {
        let consumption = try consumption(of: role)
        for limit in quota.limits.items {
            guard let consumed = consumption[limit.name], consumed > limit.amount else { continue }
            throw RegistryRefusal(
                .quotaConsumptionAboveLimit,
                "role \(role) uses \(consumed) of \(text(limit.name)), above \(limit.amount): free some, or force it"
            )
        }
    }

    private func quotas() throws -> [(role: RoleName, quota: QuotaRow)] {
        let quotas = try found(.quotas).map {
            (role: RoleName(unchecked: Array($0.key.dropFirst())), quota: try QuotaRow($0.value))
        }
        let legacy = try found(.legacyQuotas).map {
            (role: RoleName(unchecked: Array($0.key.dropFirst())), quota: try LegacyQuotaRow($0.value).quota)
        }
        return quotas + legacy
    }

    /// What a role is guaranteed has to hold what those right below it are.
    private static func checkChildren(_ quotas: [(role: RoleName, quota: QuotaRow)]) throws(RegistryRefusal) {
        var sums: [RoleName: Quantities] = [:]
        var guarantees: [RoleName: Quantities] = [:]
        for (role, quota) in quotas {
            guarantees[role] = quota.guarantees
            guard let parent = role.ancestors.first else { continue }
            for item in quota.guarantees.items { try sums[parent, default: .none].add(item.amount, of: item.name) }
        }
        for (parent, sum) in sums.sorted(by: { $0.key < $1.key }) {
            let own = guarantees[parent]
            for item in sum.items where item.amount > own?[item.name] ?? .zero {
                throw RegistryRefusal(
                    .quotaChildSumAboveParent,
                    "roles below \(parent) are guaranteed \(item.amount) of \(text(item.name)), and it only "
                        + "\(own?[item.name] ?? .zero)")
            }
        }
    }

    private func checkCapacity(_ quotas: [(role: RoleName, quota: QuotaRow)]) throws {
        var sum = Quantities.none
        for (role, quota) in quotas where !role.isNested {
            for item in quota.guarantees.items { try sum.add(item.amount, of: item.name) }
        }
        for item in sum.items {
            let capacity = try amount(at: AgentBook.capacityKey(item.name))
            guard item.amount > capacity else { continue }
            throw RegistryRefusal(
                .quotaOvercommit,
                "\(item.amount) of \(text(item.name)) guaranteed, of \(capacity) in all: add agents, or force it"
            )
        }
    }
}
