package import RegistryModel

/// What an operation takes out of an agent's ledger, and what it puts in its place.
package struct Conversion: Hashable, Sendable {
    package var consumed: [Resource]
    package var converted: [Resource]
}

/// On whose behalf an operation is carried out.
package struct ActingParty: Hashable, Sendable {
    /// Nil: an operator.
    package var framework: Framework?
    /// Who authenticated; nil: nobody did.
    package var principal: [UInt8]?

    /// What is asked about a framework that acts.
    package struct Framework: Hashable, Sendable {
        package var roles: [RoleName]
        package var takesSharedResources: Bool

        package init(roles: [RoleName], takesSharedResources: Bool) {
            self.roles = roles
            self.takesSharedResources = takesSharedResources
        }
    }

    package init(framework: Framework? = nil, principal: [UInt8]? = nil) {
        self.framework = framework
        self.principal = principal
    }
}

/// An operation of which each resource, and each list of them, is well-formed: what can be said before anything is
/// asked about the agent.
package enum CheckedOperation: Hashable, Sendable {
    case reserve([Resource], source: [Resource]?)
    case unreserve([Resource])
    case create([Resource])
    case destroy([Resource])
    case growVolume(Resource, addition: Resource)
    case shrinkVolume(Resource, subtract: Double)

    package init(_ kind: OperationKind) throws(RegistryRefusal) {
        self =
            switch kind {
            case .reserve(let claims, let source):
                .reserve(
                    try ResourceList.checked(claims),
                    source: try source.map { (claims) throws(RegistryRefusal) in try ResourceList.checked(claims) })
            case .unreserve(let claims): .unreserve(try ResourceList.checked(claims))
            case .create(let claims): .create(try ResourceList.checked(claims))
            case .destroy(let claims): .destroy(try ResourceList.checked(claims).map(\.unallocated))
            case .growVolume(let volume, let addition):
                .growVolume(try Self.checkedAlone(volume), addition: try Self.checkedAlone(addition))
            case .shrinkVolume(let volume, let subtract):
                .shrinkVolume(try Self.checkedAlone(volume), subtract: subtract)
            }
    }

    /// As part of no list.
    private static func checkedAlone(_ claim: ResourceClaim) throws(RegistryRefusal) -> Resource {
        let resource = try claim.checked()
        try ResourceList.checkVolumePath(of: resource)
        return resource
    }

    private var lists: [[Resource]] {
        switch self {
        case .reserve(let resources, let source): [resources, source ?? []]
        case .unreserve(let resources), .create(let resources), .destroy(let resources): [resources]
        case .growVolume(let volume, let addition): [[volume], [addition]]
        case .shrinkVolume(let volume, _): [[volume]]
        }
    }

    var isEmpty: Bool { lists.allSatisfy(\.isEmpty) }
    var providerID: RegistryID? { lists.first { !$0.isEmpty }?.first?.providerID }
}

extension Conversion {
    /// The rules of each kind of operation, in their order, up to what the ledger says.
    ///
    /// A function of its arguments: what it refuses, it refuses on every replica.
    package init(
        _ operation: CheckedOperation, by actor: ActingParty, capabilities: AgentCapabilities, ledger: Ledger
    ) throws(RegistryRefusal) {
        let rules = ConversionRules(actor: actor, capabilities: capabilities, ledger: ledger)
        switch operation {
        case .reserve(let resources, let source): self = try rules.reserve(resources, source)
        case .unreserve(let resources): self = try rules.unreserve(resources)
        case .create(let volumes): self = try rules.create(volumes)
        case .destroy(let volumes): self = try rules.destroy(volumes)
        case .growVolume(let volume, let addition): self = try rules.grow(volume, by: addition)
        case .shrinkVolume(let volume, let subtract): self = try rules.shrink(volume, by: subtract)
        }
    }
}

private struct ConversionRules {
    let actor: ActingParty
    let capabilities: AgentCapabilities
    let ledger: Ledger

    // MARK: - Reservations

    func reserve(_ resources: [Resource], _ source: [Resource]?) throws(RegistryRefusal) -> Conversion {
        if let source {
            guard !source.isEmpty, !resources.isEmpty else {
                throw RegistryRefusal(
                    .reserveListEmpty, "both what is there now and what is to be there have to be named")
            }
            for list in [source, resources] where list.contains(where: { $0.stack != list[0].stack }) {
                throw RegistryRefusal(.reserveMixedStacks, "\(list.map(\.description)) are not all reserved alike")
            }
            guard try Self.unreserved(source) == Self.unreserved(resources) else {
                throw RegistryRefusal(
                    .reserveQuantityDiffers,
                    "\(source.map(\.description)) and \(resources.map(\.description)) differ otherwise too"
                )
            }
        }
        try checkProviders(of: resources + (source ?? []))
        for resource in resources { try checkReserved(resource) }
        try checkAllocation(of: resources)
        return Conversion(consumed: source ?? resources.map(\.popped), converted: resources)
    }

    /// Sums of what there is, whoever it is reserved to.
    private static func unreserved(_ resources: [Resource]) throws(RegistryRefusal) -> [UnreservedKind: ResourceValue] {
        var sums: [UnreservedKind: ResourceValue] = [:]
        for var resource in resources {
            resource.stack = []
            let kind = UnreservedKind(bytes: resource.kindBytes, allocationRole: resource.allocationRole)
            guard let sum = sums[kind] else {
                sums[kind] = resource.value
                continue
            }
            sums[kind] = try sum.adding(resource.value)
        }
        return sums
    }

    private struct UnreservedKind: Hashable {
        var bytes: [UInt8]
        var allocationRole: RoleName?
    }

    private func checkReserved(_ resource: Resource) throws(RegistryRefusal) {
        guard let top = resource.stack.last, top.kind == .dynamic else {
            throw RegistryRefusal(.reserveNotDynamic, "\(resource): says no dynamic reservation")
        }
        guard !resource.isVolume else {
            throw RegistryRefusal(.reservePersistentVolume, "\(resource): a volume stays reserved as it is")
        }
        try checkCapabilities(for: resource)
        try checkPrincipal(
            top.principal, of: resource, missing: .reservePrincipalMissing, differs: .reservePrincipalDiffers)
        guard let framework = actor.framework else {
            guard resource.allocationRole == nil else {
                throw RegistryRefusal(
                    .reserveAllocated, "\(resource): an operator reserves what is allocated to nobody")
            }
            return
        }
        guard let allocated = resource.allocationRole else {
            throw RegistryRefusal(.reserveUnallocated, "\(resource): the role is missing that it was offered to")
        }
        guard allocated == top.role else {
            throw RegistryRefusal(
                .reserveAllocationRoleDiffers, "\(resource): offered to \(allocated), to be reserved to \(top.role)")
        }
        guard framework.roles.contains(allocated) else {
            throw RegistryRefusal(.reserveRoleNotSubscribed, "\(resource): the framework has no role \(allocated)")
        }
    }

    func unreserve(_ resources: [Resource]) throws(RegistryRefusal) -> Conversion {
        try checkProviders(of: resources)
        for resource in resources {
            guard resource.stack.last?.kind == .dynamic else {
                throw RegistryRefusal(.unreserveNotDynamic, "\(resource): has no dynamic reservation on top")
            }
            guard !resource.isVolume else {
                throw RegistryRefusal(.unreservePersistentVolume, "\(resource): the volume has to be destroyed first")
            }
        }
        try checkRoles(of: resources)
        return Conversion(consumed: resources, converted: resources.map(\.popped))
    }

    // MARK: - Volumes

    func create(_ volumes: [Resource]) throws(RegistryRefusal) -> Conversion {
        try checkProviders(of: volumes)
        for volume in volumes { try Self.checkVolume(volume) }
        var created: Set<VolumeName> = []
        for volume in volumes {
            guard let name = volume.volumeName else { continue }
            guard created.insert(name).inserted, !ledger.hasVolume(named: name) else {
                throw RegistryRefusal(.createDuplicateId, "role \(name.role) has a volume \(name.id) on this agent")
            }
        }
        for volume in volumes {
            if volume.isShared, let framework = actor.framework, !framework.takesSharedResources {
                throw RegistryRefusal(.createSharedIncapable, "\(volume): the framework does not take shared resources")
            }
            try checkCapabilities(for: volume)
            try checkPrincipal(
                volume.disk?.persistence?.principal, of: volume, missing: .createPrincipalMissing,
                differs: .createPrincipalDiffers)
        }
        try checkAllocation(of: volumes)
        try checkRoles(of: volumes)
        return Conversion(consumed: volumes.map(\.plainDisk), converted: volumes)
    }

    func destroy(_ volumes: [Resource]) throws(RegistryRefusal) -> Conversion {
        try checkProviders(of: volumes)
        for volume in volumes { try Self.checkVolume(volume) }
        for volume in volumes {
            guard ledger.entries.contains(where: { $0.resource.isSameVolume(as: volume) }) else {
                throw RegistryRefusal(.destroyNotFound, "the agent has no \(volume)")
            }
        }
        for volume in volumes {
            if let hold = ledger.holds.first(where: { $0.resources.contains { $0.isSameVolume(as: volume) } }) {
                throw RegistryRefusal(.destroyInUse, "\(volume): a task of framework \(hold.frameworkID) uses it")
            }
        }
        try checkRoles(of: volumes)
        return Conversion(consumed: volumes, converted: volumes.map(\.plainDisk))
    }

    func grow(_ volume: Resource, by addition: Resource) throws(RegistryRefusal) -> Conversion {
        guard !addition.value.isEmpty else {
            throw RegistryRefusal(.growAdditionZero, "nothing is to be added to \(volume)")
        }
        guard volume.providerID == nil, addition.providerID == nil else {
            throw RegistryRefusal(.growProvider, "\(volume): its resource provider would have to do it")
        }
        try Self.checkVolume(volume)
        guard !volume.isShared else { throw RegistryRefusal(.growShared, "\(volume): it is shared") }
        let disk = volume.plainDisk
        guard disk.isDivisible, disk.kindBytes == addition.kindBytes, let sum = try volume.value.adding(addition.value)
        else {
            throw RegistryRefusal(.growIncompatible, "\(addition) does not add up with \(disk)")
        }
        try checkResize(volume)
        var grown = volume
        grown.value = sum
        return Conversion(consumed: [volume, addition], converted: [grown])
    }

    func shrink(_ volume: Resource, by stated: Double) throws(RegistryRefusal) -> Conversion {
        let subtract = try Scalar(stated)
        guard !subtract.isZero else {
            throw RegistryRefusal(.shrinkSubtractZero, "nothing is to be taken from \(volume)")
        }
        guard let left = volume.value.subtracting(.scalar(subtract)), !left.isEmpty else {
            throw RegistryRefusal(.shrinkNothingLeft, "\(volume): nothing would be left of it without \(subtract)")
        }
        guard volume.providerID == nil else {
            throw RegistryRefusal(.shrinkProvider, "\(volume): its resource provider would have to do it")
        }
        guard volume.disk?.source?.isDivisible ?? true else {
            throw RegistryRefusal(.shrinkMount, "\(volume): such a disk is given away whole")
        }
        try Self.checkVolume(volume)
        guard !volume.isShared else { throw RegistryRefusal(.shrinkShared, "\(volume): it is shared") }
        try checkResize(volume)
        var smaller = volume
        smaller.value = left
        var rest = volume.plainDisk
        rest.value = .scalar(subtract)
        return Conversion(consumed: [volume], converted: [smaller, rest])
    }

    // MARK: - What several ask

    private static func checkVolume(_ resource: Resource) throws(RegistryRefusal) {
        guard let disk = resource.disk else { throw RegistryRefusal(.volumeNoDisk, "\(resource): says no disk") }
        guard disk.persistence != nil else {
            throw RegistryRefusal(.volumeNoPersistence, "\(resource): a volume needs a persistence id")
        }
        guard let volume = disk.volume else {
            throw RegistryRefusal(.volumeNoMount, "\(resource): a volume needs a path in the container")
        }
        guard !volume.isReadOnly else {
            throw RegistryRefusal(.volumeReadOnly, "\(resource): a volume has to be writable")
        }
    }

    private func checkProviders(of resources: [Resource]) throws(RegistryRefusal) {
        guard let first = resources.first, let other = resources.first(where: { $0.providerID != first.providerID })
        else {
            return
        }
        throw RegistryRefusal(.operationMixedProviders, "\(first) and \(other) are not of one resource provider")
    }

    private func checkCapabilities(for resource: Resource) throws(RegistryRefusal) {
        guard resource.reservationRole?.isNested != true || capabilities.contains(.hierarchicalRole) else {
            throw RegistryRefusal(.agentNoHierarchicalRole, "\(resource): the agent does not know roles with /")
        }
        guard resource.stack.count <= 1 || capabilities.contains(.reservationRefinement) else {
            throw RegistryRefusal(
                .agentNoRefinement, "\(resource): the agent does not know reservations on reservations")
        }
    }

    private func checkResize(_ volume: Resource) throws(RegistryRefusal) {
        guard capabilities.contains(.resizeVolume) else {
            throw RegistryRefusal(.agentNoResize, "\(volume): the agent cannot change the size of a volume")
        }
    }

    private func checkPrincipal(
        _ named: [UInt8]?, of resource: Resource, missing: RegistryRule, differs: RegistryRule
    ) throws(RegistryRefusal) {
        guard let principal = actor.principal else { return }
        guard let named else { throw RegistryRefusal(missing, "\(resource): does not name who asks for it") }
        guard named == principal else {
            throw RegistryRefusal(differs, "\(resource): names somebody else than who asks for it")
        }
    }

    /// A framework asks for what was offered to one of its roles.
    private func checkAllocation(of resources: [Resource]) throws(RegistryRefusal) {
        guard actor.framework != nil, let first = resources.first else { return }
        guard first.allocationRole != nil, resources.allSatisfy({ $0.allocationRole == first.allocationRole }) else {
            throw RegistryRefusal(
                .operationMixedAllocation, "\(resources.map(\.description)) were not all offered to one role")
        }
    }

    private func checkRoles(of resources: [Resource]) throws(RegistryRefusal) {
        guard let framework = actor.framework else { return }
        for resource in resources {
            guard let reserved = resource.reservationRole else { continue }
            guard framework.roles.contains(where: { $0.isSameOrSubrole(of: reserved) }) else {
                throw RegistryRefusal(.operationAlienRole, "\(resource): the framework has no role that may use it")
            }
        }
    }
}

extension Resource {
    /// Equal in kind and size.
    func isSameVolume(as other: Resource) -> Bool {
        volumeName == other.volumeName && value == other.value && kindBytes == other.kindBytes
    }
}
