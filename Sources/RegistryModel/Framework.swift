package import Basics

/// What a framework's release can do.
public struct FrameworkCapabilities: OptionSet, Hashable, Sendable {
    public let rawValue: UInt16
    public init(rawValue: UInt16) { self.rawValue = rawValue }

    public static let multiRole = FrameworkCapabilities(rawValue: 1)
    public static let sharedResources = FrameworkCapabilities(rawValue: 2)
    public static let reservationRefinement = FrameworkCapabilities(rawValue: 4)
    public static let revocableResources = FrameworkCapabilities(rawValue: 8)
    public static let gpuResources = FrameworkCapabilities(rawValue: 16)
    public static let partitionAware = FrameworkCapabilities(rawValue: 32)
    public static let regionAware = FrameworkCapabilities(rawValue: 64)
}

/// A number by its name, as somebody states it.
public struct NamedNumber: Hashable, Sendable {
    public var name: [UInt8]
    public var number: Double

    public init(name: [UInt8], number: Double) {
        self.name = name
        self.number = number
    }
}

/// A framework takes no offer of the role that has less than this.
public struct OfferFilter: Hashable, Sendable {
    public var role: [UInt8]
    public var quantities: [NamedNumber]

    public init(role: [UInt8], quantities: [NamedNumber]) {
        self.role = role
        self.quantities = quantities
    }
}

/// A framework as it states itself.
public struct FrameworkInfo: Hashable, Sendable {
    /// Empty: it has none yet.
    public var id: [UInt8]
    public var name: [UInt8]
    public var user: [UInt8]
    public var principal: [UInt8]?
    /// Without MULTI_ROLE its only role; nil: `*`.
    public var role: [UInt8]?
    /// With MULTI_ROLE.
    public var roles: [[UInt8]]
    public var capabilities: FrameworkCapabilities
    /// For how long it may be away before it is over, in seconds.
    public var failoverTimeout: Double
    public var isCheckpointing: Bool
    public var hostname: [UInt8]
    public var webuiURL: [UInt8]
    public var labels: [Labels.Label]?
    public var offerFilters: [OfferFilter]
    public var suppressedRoles: [[UInt8]]

    public init(
        id: [UInt8] = [], name: [UInt8], user: [UInt8] = [], principal: [UInt8]? = nil, role: [UInt8]? = nil,
        roles: [[UInt8]] = [], capabilities: FrameworkCapabilities = [], failoverTimeout: Double = 0,
        isCheckpointing: Bool = false, hostname: [UInt8] = [], webuiURL: [UInt8] = [], labels: [Labels.Label]? = nil,
        offerFilters: [OfferFilter] = [], suppressedRoles: [[UInt8]] = []
    ) {
        self.id = id
        self.name = name
        self.user = user
        self.principal = principal
        self.role = role
        self.roles = roles
        self.capabilities = capabilities
        self.failoverTimeout = failoverTimeout
        self.isCheckpointing = isCheckpointing
        self.hostname = hostname
        self.webuiURL = webuiURL
        self.labels = labels
        self.offerFilters = offerFilters
        self.suppressedRoles = suppressedRoles
    }

    /// The roles that it has, whichever field they stand in.
    /// - Throws: `framework.role-fields`, `framework.duplicate-role`, `role.*`.
    package func checkedRoles() throws(RegistryRefusal) -> [RoleName] {
        guard capabilities.contains(.multiRole) else {
            guard roles.isEmpty else {
                throw RegistryRefusal(.frameworkRoleFields, "a framework without MULTI_ROLE has one role, in `role`")
            }
            return [try RoleName(role ?? RoleName.any.bytes)]
        }
        guard role == nil else {
            throw RegistryRefusal(.frameworkRoleFields, "a framework with MULTI_ROLE has its roles in `roles`")
        }
        var seen: Set<[UInt8]> = []
        for role in roles where !seen.insert(role).inserted {
            throw RegistryRefusal(.frameworkDuplicateRole, "role \(text(role)) is there twice")
        }
        return try roles.map { (role) throws(RegistryRefusal) in try RoleName(role) }
    }

    /// In ns.
    /// - Throws: `framework.failover-timeout-range`.
    package func checkedFailoverTimeout() throws(RegistryRefusal) -> UInt64 {
        let nanoseconds = (failoverTimeout * 1_000_000_000).rounded()
        // The largest Int64 is no double; this is the first double above it.
        guard failoverTimeout >= 0, nanoseconds < 9_223_372_036_854_775_808 else {
            throw RegistryRefusal(
                .frameworkFailoverTimeoutRange,
                "a failover timeout of \(failoverTimeout) s: 0 to 292 years are possible")
        }
        return UInt64(nanoseconds)
    }
}

public struct FrameworkRow: Hashable, Sendable {
    public enum State: UInt8, Hashable, Sendable, CaseIterable {
        case active = 1
        case disconnected = 2
        case completed = 3
        case tornDown = 4

        public var isOver: Bool { self == .completed || self == .tornDown }
    }

    public var info: FrameworkInfo
    public var state: State
    /// Cluster time, ns.
    public var stateSince: UInt64
    /// Whichever connection it came by last; what an older one says counts no more.
    public var connection: [UInt8]
    /// When it is over if it does not come back: cluster time, ns. Only while it is disconnected.
    public var deadline: UInt64?
    /// Under which fence of the masters it subscribed last.
    public var attachedFence: UInt64

    public init(info: FrameworkInfo, stateSince: UInt64, connection: [UInt8], attachedFence: UInt64) {
        self.info = info
        state = .active
        self.stateSince = stateSince
        self.connection = connection
        deadline = nil
        self.attachedFence = attachedFence
    }
}

/// What a framework's task uses of an agent.
public struct HoldRow: Hashable, Sendable {
    public var role: RoleName
    public var resources: [Resource]

    public init(role: RoleName, resources: [Resource]) {
        self.role = role
        self.resources = resources
    }
}

// MARK: - Bytes

extension NamedNumber: RegistryValue {
    /// `text name | u64 bits of a double`
    package func encode(into writer: inout ByteWriter) {
        writer.writeBytes16(name)
        writer.write(double: number)
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        name = try reader.readText()
        number = try reader.readDouble()
    }
}

extension OfferFilter: RegistryValue {
    /// `text role | quantities`
    package func encode(into writer: inout ByteWriter) {
        writer.writeBytes16(role)
        writer.write(quantities)
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        role = try reader.readText()
        quantities = try reader.readValues()
    }
}

extension FrameworkInfo: RegistryValue {
    /// `text id | text name | text user | text? principal | text? role | texts roles | u16 capabilities
    /// | u64 bits of the failover timeout, s | u8 checkpointing | text host name | text web UI | labels? | offer
    /// filters | texts suppressed roles`
    package func encode(into writer: inout ByteWriter) {
        writer.writeBytes16(id)
        writer.writeBytes16(name)
        writer.writeBytes16(user)
        writer.write(optional: principal)
        writer.write(optional: role)
        writer.write(texts: roles)
        writer.write(capabilities.rawValue)
        writer.write(double: failoverTimeout)
        writer.write(isCheckpointing)
        writer.writeBytes16(hostname)
        writer.writeBytes16(webuiURL)
        writer.write(optional: labels) { $1.write($0) }
        writer.write(offerFilters)
        writer.write(texts: suppressedRoles)
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        id = try reader.readText()
        name = try reader.readText()
        user = try reader.readText()
        principal = try reader.readOptionalText()
        role = try reader.readOptionalText()
        roles = try reader.readTexts()
        capabilities = FrameworkCapabilities(rawValue: try reader.readUInt16())
        failoverTimeout = try reader.readDouble()
        isCheckpointing = try reader.readBool()
        hostname = try reader.readText()
        webuiURL = try reader.readText()
        labels = try reader.readOptional { (reader) throws(DecodeError) in try reader.readValues() }
        offerFilters = try reader.readValues()
        suppressedRoles = try reader.readTexts()
    }
}

extension FrameworkRow: RegistryValue {
    /// `info | u8 state | u64 since, ns | text connection | u64? deadline, ns | u64 attached fence`
    package func encode(into writer: inout ByteWriter) {
        writer.write(info)
        writer.write(state.rawValue)
        writer.write(stateSince)
        writer.writeBytes16(connection)
        writer.write(optional: deadline)
        writer.write(attachedFence)
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        info = try reader.readValue()
        state = try reader.readNumber("state of a framework")
        stateSince = try reader.readUInt64()
        connection = try reader.readText()
        deadline = try reader.readOptionalUInt64()
        attachedFence = try reader.readUInt64()
    }
}

extension HoldRow: RegistryValue {
    /// `text role | resources`
    package func encode(into writer: inout ByteWriter) {
        writer.write(role)
        writer.write(resources)
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        role = try reader.readValue()
        resources = try reader.readValues()
    }
}
