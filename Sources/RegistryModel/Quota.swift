package import Basics

/// Amounts by the name of the resource; in the order of their names, none of them nothing.
public struct Quantities: Hashable, Sendable {
    public struct Item: Hashable, Sendable {
        public var name: [UInt8]
        public var amount: Scalar
    }

    public private(set) var items: [Item]

    public static let none = Quantities()

    public init() { items = [] }

    /// Nil: there is none of it. (Of limits: it is not limited.)
    public subscript(name: [UInt8]) -> Scalar? {
        let (position, isThere) = place(of: name)
        return isThere ? items[position].amount : nil
    }

    /// Where it is, or belongs.
    private func place(of name: [UInt8]) -> (position: Int, isThere: Bool) {
        var (low, high) = (0, items.count)
        while low < high {
            let middle = (low + high) / 2
            if items[middle].name.lexicographicallyPrecedes(name) { low = middle + 1 } else { high = middle }
        }
        return (low, low < items.count && items[low].name == name)
    }

    public var isEmpty: Bool { items.isEmpty }

    /// - Throws: `scalar.overflow`.
    package mutating func add(_ amount: Scalar, of name: [UInt8]) throws(RegistryRefusal) {
        let (position, isThere) = place(of: name)
        guard isThere else { return set(amount, of: name) }
        items[position].amount = try items[position].amount + amount
    }

    /// Adds what a resource comes to; what cannot be counted is left out.
    package mutating func add(_ value: ResourceValue, of name: [UInt8]) {
        guard let amount = try? value.quantity() else { return }
        try? add(amount, of: name)
    }

    /// A limit may be zero, and is kept.
    package mutating func set(_ amount: Scalar, of name: [UInt8], keepingZero: Bool = false) {
        let (position, isThere) = place(of: name)
        guard keepingZero || !amount.isZero else {
            if isThere { items.remove(at: position) }
            return
        }
        guard isThere else { return items.insert(Item(name: name, amount: amount), at: position) }
        items[position].amount = amount
    }
}

/// What a role is to get at least, and at most. A resource without a guarantee is guaranteed none of, one without a
/// limit has none.
public struct QuotaConfig: Hashable, Sendable {
    public var role: [UInt8]
    public var guarantees: [NamedNumber]
    public var limits: [NamedNumber]

    public init(role: [UInt8], guarantees: [NamedNumber] = [], limits: [NamedNumber] = []) {
        self.role = role
        self.guarantees = guarantees
        self.limits = limits
    }

    private static let sizeMax: Double = 1_099_511_627_776
    private static let countMax: Double = 1_000_000_000_000

    /// - Throws: `quota.role-missing`, `role.*`, `resource.list-too-long`, `quota.too-large-bytes`,
    ///   `quota.too-large-count`, `quota.scalar-invalid`, `quota.guarantee-above-limit`.
    package func checked() throws(RegistryRefusal) -> (role: RoleName, quota: QuotaRow) {
        guard !role.isEmpty else { throw RegistryRefusal(.quotaRoleMissing, "a quota without a role") }
        let role = try RoleName(role)
        try ResourceList.checkCount(max(guarantees.count, limits.count))
        let sized = [Array("mem".utf8), Array("disk".utf8)]
        for stated in guarantees + limits where sized.contains(stated.name) && stated.number > Self.sizeMax {
            throw RegistryRefusal(
                .quotaTooLargeBytes, "\(role): \(stated.number) MB of \(text(stated.name)): at most 1 EB")
        }
        for stated in guarantees + limits where !sized.contains(stated.name) && stated.number > Self.countMax {
            throw RegistryRefusal(
                .quotaTooLargeCount, "\(role): \(stated.number) of \(text(stated.name)): at most 10^12")
        }
        var row = QuotaRow()
        for stated in guarantees { row.guarantees.set(try Self.amount(stated, role), of: stated.name) }
        for stated in limits { row.limits.set(try Self.amount(stated, role), of: stated.name, keepingZero: true) }
        for item in row.guarantees.items {
            guard let limit = row.limits[item.name], item.amount > limit else { continue }
            throw RegistryRefusal(
                .quotaGuaranteeAboveLimit,
                "\(role): \(item.amount) of \(text(item.name)) are guaranteed, and the limit is \(limit)")
        }
        return (role, row)
    }

    private static func amount(_ stated: NamedNumber, _ role: RoleName) throws(RegistryRefusal) -> Scalar {
        do throws(RegistryRefusal) {
            return try Scalar(stated.number)
        } catch {
            throw RegistryRefusal(.quotaScalarInvalid, "\(role), \(text(stated.name)): \(error.detail)")
        }
    }
}

public struct QuotaRow: Hashable, Sendable {
    public var guarantees = Quantities.none
    public var limits = Quantities.none
    /// What an imported document said besides, as in `ImportRecord`.
    public var extra: [UInt8] = []

    public init() {}

    public var isDefault: Bool { guarantees.isEmpty && limits.isEmpty }

    /// Names of the resources of which more is consumed than the limit, as after a forced update.
    public func exceeded(by consumption: Quantities) -> [[UInt8]] {
        limits.items.filter { consumption[$0.name] ?? .zero > $0.amount }.map(\.name)
    }
}

/// How much of what is left a role gets, compared with others; 1 where none is stored.
public struct Weight: Hashable, Sendable {
    public var role: [UInt8]
    public var weight: Double
    /// What an imported document said besides, as in `ImportRecord`.
    public var extra: [UInt8]

    public init(role: [UInt8], weight: Double, extra: [UInt8] = []) {
        self.role = role
        self.weight = weight
        self.extra = extra
    }

    /// - Throws: `weight.not-positive`, `weight.not-finite`.
    package func check(for role: RoleName) throws(RegistryRefusal) {
        guard !(weight <= 0) else {
            throw RegistryRefusal(.weightNotPositive, "role \(role): a weight of \(weight)")
        }
        guard weight.isFinite else { throw RegistryRefusal(.weightNotFinite, "role \(role): a weight of \(weight)") }
    }
}

/// When machines are not there.
public struct Unavailability: Hashable, Sendable {
    /// Since 1970, in ns.
    public var start: Int64
    /// In ns; nil: for ever.
    public var duration: Int64?

    public init(start: Int64, duration: Int64? = nil) {
        self.start = start
        self.duration = duration
    }

    /// - Throws: `schedule.duration-negative`.
    package func check() throws(RegistryRefusal) {
        guard duration ?? 0 >= 0 else {
            throw RegistryRefusal(.scheduleDurationNegative, "a window that ends before it begins")
        }
    }
}

public struct MaintenanceWindow: Hashable, Sendable {
    public var machines: [MachineID]
    public var unavailability: Unavailability
    /// What an imported document said besides, as in `ImportRecord`.
    public var extra: [UInt8]

    public init(machines: [MachineID], unavailability: Unavailability, extra: [UInt8] = []) {
        self.machines = machines
        self.unavailability = unavailability
        self.extra = extra
    }
}

/// A machine that is in the schedule.
public struct MachineRow: Hashable, Sendable {
    public enum Mode: UInt8, Hashable, Sendable, CaseIterable {
        case draining = 1
        case down = 2
    }

    public var id: MachineID
    public var mode: Mode
    public var unavailability: Unavailability
    /// In which window of the schedule it is.
    public var window: UInt32
    /// What an imported document said besides, as in `ImportRecord`.
    public var extra: [UInt8]

    public init(id: MachineID, mode: Mode, unavailability: Unavailability, window: UInt32, extra: [UInt8] = []) {
        self.id = id
        self.mode = mode
        self.unavailability = unavailability
        self.window = window
        self.extra = extra
    }
}

public struct ProviderRow: Hashable, Sendable {
    public var isRemoved: Bool
    public var type: [UInt8]?
    public var name: [UInt8]?
    /// What an imported document said besides, as in `ImportRecord`.
    public var extra: [UInt8]

    public init(isRemoved: Bool = false, type: [UInt8]? = nil, name: [UInt8]? = nil, extra: [UInt8] = []) {
        self.isRemoved = isRemoved
        self.type = type
        self.name = name
        self.extra = extra
    }
}

/// The master that leads.
public struct MasterInfo: Hashable, Sendable {
    /// Ids of frameworks begin with it.
    public var id: [UInt8]
    public var hostname: [UInt8]
    public var ip: [UInt8]
    public var port: UInt16
    /// What this release does not know, as JSON: as in `AgentInfo`.
    public var extra: [UInt8]
    /// Roles with `/` may have quota: what a role guarantees to those below it is part of its own.
    public var hasQuotaHierarchy: Bool

    public init(
        id: [UInt8], hostname: [UInt8] = [], ip: [UInt8] = [], port: UInt16 = 5_050, extra: [UInt8] = [],
        hasQuotaHierarchy: Bool = false
    ) {
        self.id = id
        self.hostname = hostname
        self.ip = ip
        self.port = port
        self.extra = extra
        self.hasQuotaHierarchy = hasQuotaHierarchy
    }
}

/// What there is once in a registry.
public struct RegistryRow: Hashable, Sendable {
    /// How many agents are marked unreachable within a time, and how many may be.
    public struct Limiter: Hashable, Sendable {
        /// Cluster time, ns.
        public var windowEnd: UInt64 = 0
        public var removed: UInt64 = 0
        public var budget: UInt64 = 0
        public var approved: UInt64 = 0
        public var approvedUntil: UInt64 = 0
        /// More agents have gone than is usual, and nobody has approved of it.
        public var isAlarmed = false

        public init() {}
    }

    public var master: MasterInfo?
    /// Of the masters' election, when the master took over.
    public var fence: UInt64 = 0
    /// Cluster time, ns.
    public var recoveredAt: UInt64 = 0
    public var frameworkCount: UInt64 = 0
    public var arrivalCount: UInt64 = 0
    public var admittedCount: UInt64 = 0
    /// Admitted or unreachable, and deactivated.
    public var deactivatedCount: UInt64 = 0
    public var quotaCount: UInt64 = 0
    /// Windows of the maintenance schedule; nil: there is no schedule.
    public var windowCount: UInt32?
    public var limiter = Limiter()
    /// Nil: there was none, or nothing of it is left.
    public var lastImport: ImportProgress?

    public init() {}

    /// The import that is under way, or being aborted; nil: none.
    public var importing: ImportProgress? { lastImport?.state == .whole ? nil : lastImport }
}

/// What the next master has to know, or it may not lead.
public struct MinimumCapability: Hashable, Sendable {
    public var name: [UInt8]
    /// What an imported document said besides, as in `ImportRecord`; empty: it was not imported.
    public var extra: [UInt8]

    public init(name: [UInt8], extra: [UInt8] = []) {
        self.name = name
        self.extra = extra
    }

    public static let agentDraining = MinimumCapability(name: Array("AGENT_DRAINING".utf8))
    public static let quota = MinimumCapability(name: Array("QUOTA_V2".utf8))
}

// MARK: - Bytes

extension Quantities: RegistryValue {
    /// `list of text name, u64 thousandths`
    package func encode(into writer: inout ByteWriter) {
        writer.write(list: items) { item, writer in
            writer.writeBytes16(item.name)
            writer.write(item.amount)
        }
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        items = try reader.readList { (reader) throws(DecodeError) in
            Item(name: try reader.readText(), amount: try reader.readValue())
        }
    }
}

extension Scalar: RegistryValue {
    /// `u64 thousandths`
    package func encode(into writer: inout ByteWriter) { writer.write(UInt64(thousandths)) }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        let number = try reader.readUInt64()
        guard let amount = Int64(exactly: number).flatMap(Scalar.init(thousandths:)) else { throw .invalid("amount") }
        self = amount
    }
}

extension QuotaConfig: RegistryValue {
    /// `text role | guarantees | limits`
    package func encode(into writer: inout ByteWriter) {
        writer.writeBytes16(role)
        writer.write(guarantees)
        writer.write(limits)
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        role = try reader.readText()
        guarantees = try reader.readValues()
        limits = try reader.readValues()
    }
}

extension QuotaRow: RegistryValue {
    /// `guarantees | limits | text extra`
    package func encode(into writer: inout ByteWriter) {
        writer.write(guarantees)
        writer.write(limits)
        writer.writeBytes16(extra)
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        guarantees = try reader.readValue()
        limits = try reader.readValue()
        extra = try reader.readText()
    }
}

extension Weight: RegistryValue {
    /// `text role | u64 bits of a double | text extra`
    package func encode(into writer: inout ByteWriter) {
        writer.writeBytes16(role)
        writer.write(double: weight)
        writer.writeBytes16(extra)
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        role = try reader.readText()
        weight = try reader.readDouble()
        extra = try reader.readText()
    }
}

extension Unavailability: RegistryValue {
    /// `u64 start, ns, two's complement | u64? duration, ns`
    package func encode(into writer: inout ByteWriter) {
        writer.write(UInt64(bitPattern: start))
        writer.write(optional: duration.map(UInt64.init(bitPattern:)))
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        start = Int64(bitPattern: try reader.readUInt64())
        duration = try reader.readOptionalUInt64().map(Int64.init(bitPattern:))
    }
}

extension MaintenanceWindow: RegistryValue {
    /// `machines | unavailability | text extra`
    package func encode(into writer: inout ByteWriter) {
        writer.write(machines)
        writer.write(unavailability)
        writer.writeBytes16(extra)
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        machines = try reader.readValues()
        unavailability = try reader.readValue()
        extra = try reader.readText()
    }
}

extension MachineRow: RegistryValue {
    /// `id | u8 mode | unavailability | u32 window | text extra`
    package func encode(into writer: inout ByteWriter) {
        writer.write(id)
        writer.write(mode.rawValue)
        writer.write(unavailability)
        writer.write(window)
        writer.writeBytes16(extra)
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        id = try reader.readValue()
        mode = try reader.readNumber("mode of a machine")
        unavailability = try reader.readValue()
        window = try reader.readUInt32()
        extra = try reader.readText()
    }
}

extension ProviderRow: RegistryValue {
    /// `u8 removed | text? type | text? name | text extra`
    package func encode(into writer: inout ByteWriter) {
        writer.write(isRemoved)
        writer.write(optional: type)
        writer.write(optional: name)
        writer.writeBytes16(extra)
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        isRemoved = try reader.readBool()
        type = try reader.readOptionalText()
        name = try reader.readOptionalText()
        extra = try reader.readText()
    }
}

extension MasterInfo: RegistryValue {
    /// `text id | text host name | text ip | u16 port | text extra | u8 quota hierarchy`
    package func encode(into writer: inout ByteWriter) {
        writer.writeBytes16(id)
        writer.writeBytes16(hostname)
        writer.writeBytes16(ip)
        writer.write(port)
        writer.writeBytes16(extra)
        writer.write(hasQuotaHierarchy)
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        id = try reader.readText()
        hostname = try reader.readText()
        ip = try reader.readText()
        port = try reader.readUInt16()
        extra = try reader.readText()
        hasQuotaHierarchy = try reader.readBool()
    }
}

extension RegistryRow: RegistryValue {
    /// `master? | u64 fence | u64 recovered at, ns | u64 each: frameworks that have had an id, arrivals, admitted,
    /// deactivated, quotas | u64? windows | limiter: u64 window end, ns | u64 removed | u64 budget | u64 approved
    /// | u64 until, ns | u8 alarm | last import?`
    package func encode(into writer: inout ByteWriter) {
        writer.write(master)
        writer.write(fence)
        writer.write(recoveredAt)
        for count in [frameworkCount, arrivalCount, admittedCount, deactivatedCount, quotaCount] { writer.write(count) }
        writer.write(optional: windowCount.map(UInt64.init))
        for number in [
            limiter.windowEnd, limiter.removed, limiter.budget, limiter.approved, limiter.approvedUntil,
        ] { writer.write(number) }
        writer.write(limiter.isAlarmed)
        writer.write(lastImport)
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        master = try reader.readOptionalValue()
        fence = try reader.readUInt64()
        recoveredAt = try reader.readUInt64()
        frameworkCount = try reader.readUInt64()
        arrivalCount = try reader.readUInt64()
        admittedCount = try reader.readUInt64()
        deactivatedCount = try reader.readUInt64()
        quotaCount = try reader.readUInt64()
        windowCount = try reader.readOptionalUInt64().map { UInt32(clamping: $0) }
        limiter.windowEnd = try reader.readUInt64()
        limiter.removed = try reader.readUInt64()
        limiter.budget = try reader.readUInt64()
        limiter.approved = try reader.readUInt64()
        limiter.approvedUntil = try reader.readUInt64()
        limiter.isAlarmed = try reader.readBool()
        lastImport = try reader.readOptionalValue()
    }
}
