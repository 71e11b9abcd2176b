internal import Basics

/// How a resource is counted.
public enum ResourceValue: Hashable, Sendable {
    case scalar(Scalar)
    case ranges(IntegerRanges)
    case set(ItemSet)

    public enum Kind: UInt8, Hashable, Sendable, CaseIterable {
        case scalar = 0
        case ranges = 1
        case set = 2
    }

    public var kind: Kind {
        switch self {
        case .scalar: .scalar
        case .ranges: .ranges
        case .set: .set
        }
    }

    public var isEmpty: Bool {
        switch self {
        case .scalar(let amount): amount.isZero
        case .ranges(let ranges): ranges.isEmpty
        case .set(let items): items.isEmpty
        }
    }

    /// - Throws: `ranges.too-many`.
    package func checkSize(of name: [UInt8]) throws(RegistryRefusal) {
        guard case .ranges(let ranges) = self, ranges.ranges.count > Limits.resourceRangesMax else { return }
        throw RegistryRefusal(
            .rangesTooMany, "\(text(name)) falls into more than \(Limits.resourceRangesMax) ranges")
    }

    /// As `Quantities` count it: a range and a set by their members.
    /// - Throws: `scalar.overflow` when there are more members than an amount can tell.
    public func quantity() throws(RegistryRefusal) -> Scalar {
        switch self {
        case .scalar(let amount): return amount
        case .ranges(let ranges): return try Self.quantity(ofMembers: ranges.count)
        case .set(let items): return try Self.quantity(ofMembers: UInt64(items.count))
        }
    }

    private static func quantity(ofMembers count: UInt64?) throws(RegistryRefusal) -> Scalar {
        guard let count, count <= UInt64(Scalar.max.thousandths / 1_000),
            let quantity = Scalar(thousandths: Int64(count) * 1_000)
        else { throw RegistryRefusal(.scalarOverflow, "more members than can be counted") }
        return quantity
    }

    /// Nil for values of different kinds.
    /// - Throws: `scalar.overflow`.
    public func adding(_ other: ResourceValue) throws(RegistryRefusal) -> ResourceValue? {
        switch (self, other) {
        case (.scalar(let left), .scalar(let right)): .scalar(try left + right)
        case (.ranges(let left), .ranges(let right)): .ranges(left.union(right))
        case (.set(let left), .set(let right)): .set(left.union(right))
        case (.scalar, _), (.ranges, _), (.set, _): nil
        }
    }

    /// Nil when `other` is not all here.
    public func subtracting(_ other: ResourceValue) -> ResourceValue? {
        switch (self, other) {
        case (.scalar(let left), .scalar(let right)): left.subtracting(right).map { .scalar($0) }
        case (.ranges(let left), .ranges(let right)): left.contains(right) ? .ranges(left.subtracting(right)) : nil
        case (.set(let left), .set(let right)): left.contains(right) ? .set(left.subtracting(right)) : nil
        case (.scalar, _), (.ranges, _), (.set, _): nil
        }
    }
}

extension ResourceValue: CustomStringConvertible {
    public var description: String {
        switch self {
        case .scalar(let amount): amount.description
        case .ranges(let ranges): ranges.description
        case .set(let items): items.description
        }
    }
}

/// One level of a reservation. Equal only when all of it is.
public struct Reservation: Hashable, Sendable {
    public enum Kind: UInt8, Hashable, Sendable, CaseIterable {
        /// By the agent's own configuration.
        case `static` = 1
        /// By a RESERVE.
        case dynamic = 2
    }

    public var kind: Kind
    public var role: RoleName
    public var principal: [UInt8]?
    public var labels: Labels?

    public init(kind: Kind, role: RoleName, principal: [UInt8]? = nil, labels: Labels? = nil) {
        self.kind = kind
        self.role = role
        self.principal = principal
        self.labels = labels
    }
}

/// Where a disk's bytes are. All of it takes part in equality; absent is not empty.
public struct DiskSource: Hashable, Sendable {
    public enum Kind: UInt8, Hashable, Sendable, CaseIterable {
        /// A directory: parts of it can be given away.
        case path = 1
        /// A mounted file system: given away whole.
        case mount = 2
        /// A block device: given away whole.
        case block = 3
        /// With an id a volume of a provider, given away whole; without one a pool, of which parts can be given away.
        case raw = 4
    }

    public var kind: Kind
    /// Of `path` and `mount`.
    public var root: [UInt8]?
    public var vendor: [UInt8]?
    public var id: [UInt8]?
    public var metadata: Labels?
    public var profile: [UInt8]?

    public init(
        kind: Kind, root: [UInt8]? = nil, vendor: [UInt8]? = nil, id: [UInt8]? = nil, metadata: Labels? = nil,
        profile: [UInt8]? = nil
    ) {
        self.kind = kind
        self.root = root
        self.vendor = vendor
        self.id = id
        self.metadata = metadata
        self.profile = profile
    }

    /// Two equal ones add up, and a part of one may be taken.
    public var isDivisible: Bool {
        switch kind {
        case .path: true
        case .mount, .block: false
        case .raw: id == nil
        }
    }
}

/// What makes a disk outlive the task that uses it. The principal takes no part in equality.
public struct Persistence: Hashable, Sendable {
    public var id: RegistryID
    public var principal: [UInt8]?

    public init(id: RegistryID, principal: [UInt8]? = nil) {
        self.id = id
        self.principal = principal
    }

    public static func == (left: Persistence, right: Persistence) -> Bool { left.id == right.id }
    public func hash(into hasher: inout Hasher) { hasher.combine(id) }
}

/// How a task sees a volume. Takes no part in equality.
public struct VolumeMount: Hashable, Sendable {
    public var containerPath: [UInt8]
    public var isReadOnly: Bool
    public var hostPath: [UInt8]?

    public init(containerPath: [UInt8], isReadOnly: Bool = false, hostPath: [UInt8]? = nil) {
        self.containerPath = containerPath
        self.isReadOnly = isReadOnly
        self.hostPath = hostPath
    }
}

public struct DiskInfo: Hashable, Sendable {
    /// Nil: the agent's root disk.
    public var source: DiskSource?
    public var persistence: Persistence?
    public var volume: VolumeMount?

    public init(source: DiskSource? = nil, persistence: Persistence? = nil, volume: VolumeMount? = nil) {
        self.source = source
        self.persistence = persistence
        self.volume = volume
    }

    public static func == (left: DiskInfo, right: DiskInfo) -> Bool {
        left.source == right.source && left.persistence == right.persistence
    }

    public func hash(into hasher: inout Hasher) {
        hasher.combine(source)
        hasher.combine(persistence)
    }
}

/// An amount of something that an agent has, and whom it is reserved to. Checked: `ResourceClaim` is how it comes in.
public struct Resource: Hashable, Sendable {
    public var name: [UInt8]
    public var value: ResourceValue
    /// Bottom first; empty: unreserved. Only the bottom may be static; each higher role is a strict subrole of the one
    /// below.
    public var stack: [Reservation]
    /// Only of `disk`.
    public var disk: DiskInfo?
    public var isRevocable: Bool
    /// Only of volumes: may be held many times at once.
    public var isShared: Bool
    /// Nil: the agent's own.
    public var providerID: RegistryID?
    /// In requests only: which role of the framework it was offered to.
    public var allocationRole: RoleName?

    public init(
        name: [UInt8], value: ResourceValue, stack: [Reservation] = [], disk: DiskInfo? = nil,
        isRevocable: Bool = false,
        isShared: Bool = false, providerID: RegistryID? = nil, allocationRole: RoleName? = nil
    ) {
        self.name = name
        self.value = value
        self.stack = stack
        self.disk = disk
        self.isRevocable = isRevocable
        self.isShared = isShared
        self.providerID = providerID
        self.allocationRole = allocationRole
    }

    public var isVolume: Bool { disk?.persistence != nil }

    /// That of the top of the stack; nil: unreserved.
    public var reservationRole: RoleName? { stack.last?.role }

    /// Who may use it: everybody, or its role and the roles below that one.
    public func isAllocatable(to role: RoleName) -> Bool {
        guard let reserved = reservationRole else { return true }
        return role.isSameOrSubrole(of: reserved)
    }

    /// Two of the same kind add up, and a part may be taken.
    public var isDivisible: Bool { !isVolume && (disk?.source?.isDivisible ?? true) }

    /// Without the uppermost reservation.
    public var popped: Resource {
        var resource = self
        _ = resource.stack.popLast()
        return resource
    }

    /// Without what makes it a volume; the same stack.
    public var plainDisk: Resource {
        var resource = self
        resource.isShared = false
        resource.disk = disk?.source.map { DiskInfo(source: $0) }
        return resource
    }

    public var unallocated: Resource {
        var resource = self
        resource.allocationRole = nil
        return resource
    }
}

extension Resource: CustomStringConvertible {
    /// As people write it: `disk(db)[wal]:45000`.
    public var description: String {
        var said = text(name)
        if !stack.isEmpty { said += "(" + stack.map(\.role.description).joined(separator: ", ") + ")" }
        if let source = disk?.source {
            said +=
                "[\(source.kind)" + (source.root.map { " " + text($0) } ?? "")
                + (source.id.map { " " + text($0) } ?? "") + "]"
        }
        if let persistence = disk?.persistence { said += "[\(persistence.id)]" }
        if isRevocable { said += "{revocable}" }
        if isShared { said += "{shared}" }
        return said + ":\(value)"
    }
}
