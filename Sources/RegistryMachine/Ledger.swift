internal import Basics
package import RegistryModel

/// What one agent has, entry by entry, and which parts of it are held. A value: a command changes a copy, and the copy
/// takes the place of the agent's rows only when nothing was refused.
package struct Ledger: Hashable, Sendable {
    /// What a framework's task uses of the agent.
    package struct Hold: Hashable, Sendable {
        package var frameworkID: RegistryID
        package var id: [UInt8]
        package var role: RoleName
        package var resources: [Resource]

        package init(frameworkID: RegistryID, id: [UInt8], role: RoleName, resources: [Resource]) {
            self.frameworkID = frameworkID
            self.id = id
            self.role = role
            self.resources = resources
        }
    }

    /// In the order of their keys.
    package private(set) var entries: [LedgerEntry] = []
    package var holds: [Hold] = []

    package init() {}

    /// As it is stored.
    package init(entries: [LedgerEntry], holds: [Hold]) {
        self.entries = entries
        self.holds = holds
    }

    // MARK: - Looking

    package var hasVolumes: Bool { entries.contains { $0.resource.isVolume } }
    package var checkpointed: [LedgerEntry] { entries.filter(\.resource.isCheckpointed) }

    package func hasVolume(named name: VolumeName?) -> Bool {
        guard let name else { return false }
        return entries.contains { $0.resource.volumeName == name }
    }

    // MARK: - Taking and adding

    /// The ledger with `consumed` replaced by `converted`.
    /// - Throws: `ledger.insufficient`, `ledger.indivisible`, `ledger.in-use`; `create.duplicate-id`;
    ///   `scalar.overflow`.
    package func replacing(_ consumed: [Resource], by converted: [Resource]) throws(RegistryRefusal) -> Ledger {
        var ledger = self
        for resource in consumed { try ledger.take(resource) }
        var free = try self.free()
        for resource in consumed { try free.takeUnheld(resource) }
        for resource in converted {
            // Of one that was not destroyed after all, another of its name may have been made meanwhile.
            guard !ledger.hasVolume(named: resource.volumeName) else {
                throw RegistryRefusal(.createDuplicateId, "another volume has the role and the id of \(resource)")
            }
            try ledger.add(resource)
        }
        return ledger
    }

    /// What nobody holds. Copies of a shared volume are what holds it: it can be held again, and is not free
    /// for anything else.
    package func free() throws(RegistryRefusal) -> Ledger {
        var free = self
        free.holds = []
        for resource in holds.flatMap(\.resources) {
            if resource.isShared, free.position(of: resource) == nil { continue }
            try free.take(resource)
        }
        return free
    }

    /// What a hold may be made of: what is free, and shared volumes that are held already.
    package func checkHold(of resources: [Resource]) throws(RegistryRefusal) {
        var all = self
        var free = try self.free()
        for resource in resources {
            guard !resource.isShared else {
                guard position(of: resource).map({ entries[$0].resource.value == resource.value }) ?? false else {
                    throw insufficient(resource)
                }
                continue
            }
            try all.take(resource)
            try free.takeUnheld(resource)
        }
    }

    /// The ledger of an agent that has these totals by now: what was reserved or made a volume since its configuration
    /// stays as it is, and is taken out of them.
    /// - Throws: `agent.total-below-ledger`: what is reserved, or held, is not in them.
    package func rebased(on totals: [Resource]) throws(RegistryRefusal) -> Ledger {
        var ledger = Ledger()
        for resource in totals { try ledger.add(resource.configured) }
        let kept = entries.map(\.resource).filter { $0.configured.kindBytes != $0.kindBytes }
        do throws(RegistryRefusal) {
            for resource in kept { try ledger.take(resource.configured) }
            for resource in kept { try ledger.add(resource) }
            ledger.holds = holds
            _ = try ledger.free()
        } catch {
            throw RegistryRefusal(.agentTotalBelowLedger, "the new totals do not hold what is in use: \(error.detail)")
        }
        return ledger
    }

    private func position(of resource: Resource) -> Int? { positions(of: resource.kindBytes).first }

    /// Entries are in the order of their kinds, those of one kind in that of their ordinals: no kind begins with another.
    private func positions(of kind: [UInt8]) -> Range<Int> {
        var (low, high) = (0, entries.count)
        while low < high {
            let middle = (low + high) / 2
            if entries[middle].kindBytes.lexicographicallyPrecedes(kind) { low = middle + 1 } else { high = middle }
        }
        while high < entries.count, entries[high].kindBytes == kind { high += 1 }
        return low..<high
    }

    private mutating func take(_ resource: Resource) throws(RegistryRefusal) {
        guard !resource.value.isEmpty else { return }
        let candidates = positions(of: resource.kindBytes)
        guard resource.isDivisible else {
            if let position = candidates.first(where: { entries[$0].resource.value == resource.value }) {
                if resource.isVolume || !Mutant.bookMountTwice.isOn { entries.remove(at: position) }
                return
            }
            guard candidates.contains(where: { entries[$0].resource.value.subtracting(resource.value) != nil }) else {
                throw insufficient(resource)
            }
            throw RegistryRefusal(.ledgerIndivisible, "\(resource) is a part of what is given away whole")
        }
        guard let position = candidates.first, let left = entries[position].resource.value.subtracting(resource.value)
        else {
            throw insufficient(resource)
        }
        if left.isEmpty { entries.remove(at: position) } else { entries[position].setValue(left) }
    }

    /// Of the free part of a ledger that has the resource.
    private mutating func takeUnheld(_ resource: Resource) throws(RegistryRefusal) {
        do throws(RegistryRefusal) {
            try take(resource)
        } catch {
            throw RegistryRefusal(.ledgerInUse, "\(resource) is there, but a task holds it")
        }
    }

    private func insufficient(_ resource: Resource) -> RegistryRefusal {
        RegistryRefusal(.ledgerInsufficient, "the agent has no \(resource)")
    }

    package mutating func add(_ resource: Resource) throws(RegistryRefusal) {
        guard !resource.value.isEmpty else { return }
        let same = positions(of: resource.kindBytes)
        if resource.isDivisible, let position = same.first {
            if Mutant.loseReservation.isOn, resource.reservationRole != nil { return }
            guard let sum = try entries[position].resource.value.adding(resource.value) else { return }
            entries[position].setValue(sum)
            return
        }
        // The first that is free: one that an entry before its place does not have.
        let gap = same.first { Int(entries[$0].ordinal) != $0 - same.lowerBound } ?? same.upperBound
        let ordinal = UInt16(clamping: gap - same.lowerBound)
        entries.insert(LedgerEntry(resource, ordinal: resource.isDivisible ? 0 : ordinal), at: gap)
    }
}

/// What tells a persistent volume from the others of its agent.
package struct VolumeName: Hashable {
    package var role: RoleName
    package var id: RegistryID
}

extension Resource {
    /// Nil: it is none, or is reserved to nobody.
    package var volumeName: VolumeName? {
        guard let role = reservationRole, let persistence = disk?.persistence else { return nil }
        return VolumeName(role: role, id: persistence.id)
    }

    /// As the agent's configuration has it: without what was reserved or made of it since.
    var configured: Resource {
        var resource = plainDisk.unallocated
        resource.stack = stack.first.map { $0.kind == .static ? [$0] : [] } ?? []
        return resource
    }
}
