internal import Basics

/// A resource as somebody states it, before anything about it is known to be right: what stands in a command.
/// `checked()` makes a `Resource` of it, or says which rule it breaks.
public struct ResourceClaim: Hashable, Sendable {
    /// What the claim says that its value is.
    public enum ValueType: UInt8, Hashable, Sendable, CaseIterable {
        case scalar = 0
        case ranges = 1
        case set = 2
        /// Of attributes only.
        case text = 3
    }

    public struct ReservationClaim: Hashable, Sendable {
        public var kind: Reservation.Kind?
        public var role: [UInt8]?
        public var principal: [UInt8]?
        public var labels: [Labels.Label]?

        public init(
            kind: Reservation.Kind? = nil, role: [UInt8]? = nil, principal: [UInt8]? = nil,
            labels: [Labels.Label]? = nil
        ) {
            self.kind = kind
            self.role = role
            self.principal = principal
            self.labels = labels
        }
    }

    public struct SourceClaim: Hashable, Sendable {
        /// Nil: none given, or one that nobody knows.
        public var kind: DiskSource.Kind?
        /// The part for `path` is there, with or without a root.
        public var path: Root?
        public var mount: Root?
        public var vendor: [UInt8]?
        public var id: [UInt8]?
        public var metadata: [Labels.Label]?
        public var profile: [UInt8]?

        public struct Root: Hashable, Sendable {
            public var root: [UInt8]?
            public init(_ root: [UInt8]? = nil) { self.root = root }
        }

        public init(
            kind: DiskSource.Kind? = nil, path: Root? = nil, mount: Root? = nil, vendor: [UInt8]? = nil,
            id: [UInt8]? = nil,
            metadata: [Labels.Label]? = nil, profile: [UInt8]? = nil
        ) {
            self.kind = kind
            self.path = path
            self.mount = mount
            self.vendor = vendor
            self.id = id
            self.metadata = metadata
            self.profile = profile
        }
    }

    public struct PersistenceClaim: Hashable, Sendable {
        public var id: [UInt8]
        public var principal: [UInt8]?

        public init(id: [UInt8], principal: [UInt8]? = nil) {
            self.id = id
            self.principal = principal
        }
    }

    public struct DiskClaim: Hashable, Sendable {
        public var source: SourceClaim?
        public var persistence: PersistenceClaim?
        public var volume: VolumeMount?

        public init(source: SourceClaim? = nil, persistence: PersistenceClaim? = nil, volume: VolumeMount? = nil) {
            self.source = source
            self.persistence = persistence
            self.volume = volume
        }
    }

    public var name: [UInt8]
    /// Nil: none given, or one that nobody knows.
    public var type: ValueType?
    public var scalar: Double?
    public var ranges: [(begin: UInt64, end: UInt64)]?
    public var set: [[UInt8]]?
    /// The form that Mesos has had since 1.2: levels, bottom first.
    public var reservations: [ReservationClaim]
    /// The form before: a role, and a reservation when it is dynamic.
    public var formerRole: [UInt8]?
    public var formerReservation: ReservationClaim?
    public var disk: DiskClaim?
    public var isRevocable: Bool
    public var isShared: Bool
    public var providerID: [UInt8]?
    public var allocationRole: [UInt8]?

    public init(
        name: [UInt8], type: ValueType?, scalar: Double? = nil, ranges: [(begin: UInt64, end: UInt64)]? = nil,
        set: [[UInt8]]? = nil, reservations: [ReservationClaim] = [], formerRole: [UInt8]? = nil,
        formerReservation: ReservationClaim? = nil, disk: DiskClaim? = nil, isRevocable: Bool = false,
        isShared: Bool = false, providerID: [UInt8]? = nil, allocationRole: [UInt8]? = nil
    ) {
        self.name = name
        self.type = type
        self.scalar = scalar
        self.ranges = ranges
        self.set = set
        self.reservations = reservations
        self.formerRole = formerRole
        self.formerReservation = formerReservation
        self.disk = disk
        self.isRevocable = isRevocable
        self.isShared = isShared
        self.providerID = providerID
        self.allocationRole = allocationRole
    }

    public static func == (left: ResourceClaim, right: ResourceClaim) -> Bool {
        left.name == right.name && left.type == right.type && left.scalar?.bitPattern == right.scalar?.bitPattern
            && left.ranges?.map(\.begin) == right.ranges?.map(\.begin)
            && left.ranges?.map(\.end) == right.ranges?.map(\.end) && left.set == right.set
            && left.reservations == right.reservations && left.formerRole == right.formerRole
            && left.formerReservation == right.formerReservation && left.disk == right.disk
            && left.disk?.volume == right.disk?.volume && left.isRevocable == right.isRevocable
            && left.isShared == right.isShared && left.providerID == right.providerID
            && left.allocationRole == right.allocationRole
    }

    public func hash(into hasher: inout Hasher) {
        hasher.combine(name)
        hasher.combine(scalar?.bitPattern)
        hasher.combine(reservations)
    }
}

// MARK: - Checking

extension ResourceClaim {
    /// What is claimed, if each part of it is as it should be: the rules of a resource by itself, in their order.
    /// - Throws: `resource.*`, `scalar.*`, `ranges.*`, `set.*`, `disk.*`, `reservation.*`, `role.*`, `labels.*`,
    ///   `shared.*`, `id.*`.
    public func checked() throws(RegistryRefusal) -> Resource {
        var resource = Resource(name: name, value: try checkedValue())
        resource.disk = try checkedDisk()
        resource.stack = try checkedStack()
        resource.isRevocable = isRevocable
        if isShared {
            guard name == Array("disk".utf8) else {
                throw RegistryRefusal(.sharedWrongName, "\(text(name)) cannot be shared: only volumes can")
            }
            guard disk?.persistence != nil else {
                throw RegistryRefusal(.sharedNotVolume, "a disk that is no persistent volume cannot be shared")
            }
            resource.isShared = true
        }
        if let providerID { resource.providerID = try RegistryID(providerID, "resource provider id") }
        if let allocationRole { resource.allocationRole = try RoleName(allocationRole) }
        guard resource.kindBytes.count <= Limits.resourceKindSizeMax else {
            throw RegistryRefusal(
                .resourceTooLarge,
                "\(text(name)): its reservations and its source say more than \(Limits.resourceKindSizeMax) bytes")
        }
        return resource
    }

    private func checkedValue() throws(RegistryRefusal) -> ResourceValue {
        guard !name.isEmpty else { throw RegistryRefusal(.resourceNameEmpty, "a resource without a name") }
        guard name.count <= Limits.registryNameSizeMax else {
            throw RegistryRefusal(
                .resourceTooLarge,
                "a resource's name of \(name.count) bytes: \(Limits.registryNameSizeMax) are allowed")
        }
        let given = [scalar != nil, ranges != nil, set != nil].count { $0 }
        guard given <= 1 else {
            throw RegistryRefusal(.resourceTypeInvalid, "\(text(name)) has more than one value")
        }
        switch (type, scalar, ranges, set) {
        case (.scalar, let scalar?, _, _): return .scalar(try Scalar(scalar))
        case (.ranges, _, let ranges?, _):
            let value = ResourceValue.ranges(try IntegerRanges(ranges))
            try value.checkSize(of: name)
            return value
        case (.set, _, _, let items?): return .set(try ItemSet(items))
        case (.text, _, _, _):
            throw RegistryRefusal(.resourceTypeInvalid, "\(text(name)) is text, and only attributes can be")
        case (nil, _, _, _), (.scalar, nil, _, _), (.ranges, _, nil, _), (.set, _, _, nil):
            throw RegistryRefusal(
                .resourceTypeInvalid,
                "\(text(name)) has no value of its type (\(type.map { "\($0)" } ?? "none that is known"))")
        }
    }

    private func checkedDisk() throws(RegistryRefusal) -> DiskInfo? {
        guard let disk else { return nil }
        guard name == Array("disk".utf8) else {
            throw RegistryRefusal(.diskWrongName, "\(text(name)) says what disk it is, and is none")
        }
        var info = DiskInfo(volume: disk.volume)
        if let source = disk.source {
            switch source.kind {
            case nil: throw RegistryRefusal(.diskTypeUnknown, "a disk whose source has no type that is known")
            case .block, .raw:
                guard source.path == nil, source.mount == nil else {
                    throw RegistryRefusal(.diskRootOnBlock, "a block or raw disk has no path and no mount point")
                }
            case .path, .mount: break
            }
            let root = source.kind == .path ? source.path?.root : source.kind == .mount ? source.mount?.root : nil
            info.source = DiskSource(
                kind: source.kind ?? .raw, root: root, vendor: source.vendor, id: source.id,
                metadata: try source.metadata.map { (labels) throws(RegistryRefusal) in try Labels(labels) },
                profile: source.profile)
        }
        // Whether the id is one is asked where the list is judged, behind what else a volume needs.
        if let persistence = disk.persistence {
            info.persistence = Persistence(id: RegistryID(unchecked: persistence.id), principal: persistence.principal)
        }
        return info
    }

    private func checkedStack() throws(RegistryRefusal) -> [Reservation] {
        let former = try checkedFormerStack()
        var stack: [Reservation] = []
        for claim in reservations {
            guard let kind = claim.kind else {
                throw RegistryRefusal(
                    .reservationKindMissing, "a reservation of \(text(name)) that is neither static nor dynamic")
            }
            guard let role = claim.role else {
                throw RegistryRefusal(.reservationRoleMissing, "a reservation of \(text(name)) without a role")
            }
            let level = Reservation(
                kind: kind, role: try RoleName(role), principal: claim.principal,
                labels: try claim.labels.map { (labels) throws(RegistryRefusal) in try Labels(labels) })
            guard level.role != .any else {
                throw RegistryRefusal(.reservationRoleIsStar, "\(text(name)) is reserved to *, which is everybody")
            }
            if let below = stack.last {
                guard kind == .dynamic else {
                    throw RegistryRefusal(
                        .reservationStaticRefinement, "\(text(name)): only the lowest reservation may be static")
                }
                guard level.role.isStrictSubrole(of: below.role) else {
                    throw RegistryRefusal(
                        .reservationNotASubrole, "\(text(name)): \(level.role) is no role below \(below.role)")
                }
            }
            stack.append(level)
        }
        guard let former, !reservations.isEmpty else { return former ?? stack }
        guard former == stack else {
            throw RegistryRefusal(
                .reservationFormsDisagree, "\(text(name)): its role and its reservations say different things")
        }
        return stack
    }

    /// What the former form says; nil: nothing.
    private func checkedFormerStack() throws(RegistryRefusal) -> [Reservation]? {
        let role = try formerRole.map { (role) throws(RegistryRefusal) in try RoleName(role) }
        guard let reservation = formerReservation else {
            guard let role else { return nil }
            return role == .any ? [] : [Reservation(kind: .static, role: role)]
        }
        guard let role, role != .any else {
            guard reservations.isEmpty else {
                throw RegistryRefusal(
                    .reservationFormsDisagree, "\(text(name)): a reservation without a role beside others")
            }
            throw RegistryRefusal(.reservationRoleIsStar, "\(text(name)) is reserved to *, which is everybody")
        }
        return [
            Reservation(
                kind: .dynamic, role: role, principal: reservation.principal,
                labels: try reservation.labels.map { (labels) throws(RegistryRefusal) in try Labels(labels) })
        ]
    }
}

/// The rules of a list of resources.
public enum ResourceList {
    /// All of them checked, and the list as a whole.
    public static func checked(_ claims: [ResourceClaim]) throws(RegistryRefusal) -> [Resource] {
        try checkCount(claims.count)
        var resources: [Resource] = []
        for claim in claims { resources.append(try claim.checked()) }
        try check(resources)
        return resources
    }

    /// - Throws: `resource.list-too-long`.
    static func checkCount(_ count: Int) throws(RegistryRefusal) {
        guard count <= Limits.resourcesMax else {
            throw RegistryRefusal(
                .resourceListTooLong, "\(count) resources: a command names at most \(Limits.resourcesMax)")
        }
    }

    /// - Throws: `gpus.fractional`, `resource.list-overlap`, `volume.*`, `disk.empty`, `reservation.dynamic-revocable`.
    public static func check(_ resources: [Resource]) throws(RegistryRefusal) {
        var gpus = Scalar.zero
        for resource in resources where resource.name == Array("gpus".utf8) {
            if case .scalar(let amount) = resource.value { gpus = try gpus + amount }
        }
        guard gpus.isWhole else { throw RegistryRefusal(.gpusFractional, "\(gpus) gpus: they are given away whole") }
        try checkMembers(of: resources)
        for resource in resources { try checkDisk(of: resource) }
        for resource in resources { try checkVolumePath(of: resource) }
    }

    /// What has a name and a stack, and members that no two such resources share.
    private struct Owner: Hashable {
        var name: [UInt8]
        var stack: [Reservation]
    }

    /// - Throws: `resource.list-overlap`.
    private static func checkMembers(of resources: [Resource]) throws(RegistryRefusal) {
        var ranges: [Owner: [(begin: UInt64, end: UInt64)]] = [:]
        var items: [Owner: [[UInt8]]] = [:]
        for resource in resources {
            switch resource.value {
            case .scalar: continue
            case .ranges(let value):
                ranges[Owner(name: resource.name, stack: resource.stack), default: []] += value.ranges.map {
                    (begin: $0.lowerBound, end: $0.upperBound)
                }
            case .set(let value):
                items[Owner(name: resource.name, stack: resource.stack), default: []] += value.items
            }
        }
        // The refusal is the same on every node: it names the first.
        for resource in resources where resource.value.kind != .scalar {
            let owner = Owner(name: resource.name, stack: resource.stack)
            do throws(RegistryRefusal) {
                if let stated = ranges.removeValue(forKey: owner) { _ = try IntegerRanges(stated) }
                if let stated = items.removeValue(forKey: owner) { _ = try ItemSet(stated) }
            } catch {
                throw RegistryRefusal(
                    .resourceListOverlap, "resources of one name and stack have something in common: \(error.detail)")
            }
        }
    }

    private static func checkDisk(of resource: Resource) throws(RegistryRefusal) {
        if let disk = resource.disk {
            if let persistence = disk.persistence {
                guard !resource.isRevocable else {
                    throw RegistryRefusal(.volumeRevocable, "\(resource): a volume cannot be revocable")
                }
                guard !resource.stack.isEmpty else {
                    throw RegistryRefusal(.volumeUnreserved, "\(resource): a volume has to be reserved")
                }
                guard let volume = disk.volume else {
                    throw RegistryRefusal(.volumeMountMissing, "\(resource): a volume needs a path in the container")
                }
                guard volume.hostPath == nil else {
                    throw RegistryRefusal(
                        .volumeHostPath, "\(resource): where a volume is on the host is the agent's choice")
                }
                _ = try RegistryID(persistence.id.bytes, "persistence id")
            } else {
                guard disk.volume == nil else {
                    throw RegistryRefusal(
                        .volumeNotPersistent, "\(resource): a path in the container without a persistence id")
                }
                guard disk.source != nil else {
                    throw RegistryRefusal(.diskEmpty, "\(resource): says neither what disk it is nor what volume")
                }
            }
        }
        guard !resource.isRevocable || resource.stack.last?.kind != .dynamic else {
            throw RegistryRefusal(.reservationDynamicRevocable, "\(resource): what is revocable cannot be reserved")
        }
    }

    /// - Throws: `volume.path-absolute`.
    public static func checkVolumePath(of resource: Resource) throws(RegistryRefusal) {
        guard resource.isVolume, let path = resource.disk?.volume?.containerPath else { return }
        let slash = UInt8(ascii: "/")
        guard !path.isEmpty, path.first != slash,
            !path.split(separator: slash).contains(where: { Array($0) == Array("..".utf8) })
        else {
            throw RegistryRefusal(
                .volumePathAbsolute,
                "\(resource): its path, \(text(path)), has to be relative and to stay below the sandbox"
            )
        }
    }
}
