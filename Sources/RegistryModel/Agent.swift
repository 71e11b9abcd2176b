package import Basics

/// What an agent is, besides what it has.
public struct AgentInfo: Hashable, Sendable {
    public var hostname: [UInt8]
    /// IPv4, as text.
    public var ip: [UInt8]
    public var port: UInt16
    public var attributes: [Attribute]
    /// JSON, as stated.
    public var domain: [UInt8]?
    /// It keeps on its disk what it was told that it has.
    public var isCheckpointing: Bool
    public var capabilities: AgentCapabilities
    /// The members of its JSON object that nobody here knows, as an object; empty: none. Under the empty name what an
    /// imported document said besides of objects within.
    public var extra: [UInt8]

    public static let portDefault: UInt16 = 5_051

    public init(
        hostname: [UInt8], ip: [UInt8], port: UInt16 = portDefault, attributes: [Attribute] = [],
        domain: [UInt8]? = nil,
        isCheckpointing: Bool = false, capabilities: AgentCapabilities = [], extra: [UInt8] = []
    ) {
        self.hostname = hostname
        self.ip = ip
        self.port = port
        self.attributes = attributes
        self.domain = domain
        self.isCheckpointing = isCheckpointing
        self.capabilities = capabilities
        self.extra = extra
    }

    /// Where it runs.
    public var machine: MachineID { MachineID(hostname: hostname, ip: ip) }

    /// Of an agent that states nothing else what was known besides stays.
    package func keepingExtra(of former: AgentInfo?) -> AgentInfo {
        var info = self
        if info.extra.isEmpty { info.extra = former?.extra ?? [] }
        return info
    }
}

/// Something that is said of an agent; nothing is taken from it.
public struct Attribute: Hashable, Sendable {
    public enum Value: Hashable, Sendable {
        case scalar(Double)
        case ranges([ClosedRange<UInt64>])
        case set([[UInt8]])
        case text([UInt8])
    }

    public var name: [UInt8]
    public var value: Value

    public init(name: [UInt8], value: Value) {
        self.name = name
        self.value = value
    }
}

/// An agent as somebody states it: what it is, and the totals of what it has, with the reservations of its
/// configuration.
public struct AgentClaim: Hashable, Sendable {
    public var id: [UInt8]
    public var info: AgentInfo
    public var resources: [ResourceClaim]

    public init(id: [UInt8], info: AgentInfo, resources: [ResourceClaim]) {
        self.id = id
        self.info = info
        self.resources = resources
    }
}

/// Which fields of an agent change.
public struct AgentPatch: Hashable, Sendable {
    public var hostname: [UInt8]?
    public var ip: [UInt8]?
    public var port: UInt16?
    public var attributes: [Attribute]?
    public var domain: [UInt8]?
    public var isCheckpointing: Bool?
    public var capabilities: AgentCapabilities?
    /// All of its totals.
    public var resources: [ResourceClaim]?

    public init(
        hostname: [UInt8]? = nil, ip: [UInt8]? = nil, port: UInt16? = nil, attributes: [Attribute]? = nil,
        domain: [UInt8]? = nil, isCheckpointing: Bool? = nil, capabilities: AgentCapabilities? = nil,
        resources: [ResourceClaim]? = nil
    ) {
        self.hostname = hostname
        self.ip = ip
        self.port = port
        self.attributes = attributes
        self.domain = domain
        self.isCheckpointing = isCheckpointing
        self.capabilities = capabilities
        self.resources = resources
    }

    package func applied(to info: AgentInfo) -> AgentInfo {
        var info = info
        info.hostname = hostname ?? info.hostname
        info.ip = ip ?? info.ip
        info.port = port ?? info.port
        info.attributes = attributes ?? info.attributes
        info.domain = domain ?? info.domain
        info.isCheckpointing = isCheckpointing ?? info.isCheckpointing
        info.capabilities = capabilities ?? info.capabilities
        return info
    }
}

/// The release of a resource provider's, or of the agent's own, resources: an operation names the one that it was made
/// for.
public struct ResourceVersion: Hashable, Sendable {
    /// Nil: the agent's own.
    public var providerID: [UInt8]?
    /// A UUID.
    public var version: [UInt8]

    public init(providerID: [UInt8]?, version: [UInt8]) {
        self.providerID = providerID
        self.version = version
    }
}

/// An agent that comes back to a master.
public struct AgentAttachment: Hashable, Sendable {
    public var agent: AgentClaim
    /// 0: it was never attached to a quorum.
    public var generation: UInt64
    /// Of its checkpointed entries: `CheckpointDigest`.
    public var digest: [UInt8]
    public var versions: [ResourceVersion]

    public init(agent: AgentClaim, generation: UInt64, digest: [UInt8], versions: [ResourceVersion] = []) {
        self.agent = agent
        self.generation = generation
        self.digest = digest
        self.versions = versions
    }
}

/// What is stored of an agent besides `AgentInfo` and its entries.
public struct AgentRow: Hashable, Sendable {
    public enum State: UInt8, Hashable, Sendable, CaseIterable {
        case admitted = 1
        case unreachable = 2
        case gone = 3
    }

    public struct Drain: Hashable, Sendable {
        public var isDrained: Bool
        /// In ns.
        public var maxGracePeriod: UInt64?
        /// Once it is drained it is marked gone.
        public var marksGone: Bool

        public init(isDrained: Bool = false, maxGracePeriod: UInt64? = nil, marksGone: Bool = false) {
            self.isDrained = isDrained
            self.maxGracePeriod = maxGracePeriod
            self.marksGone = marksGone
        }
    }

    public var state: State
    /// Cluster time, ns.
    public var stateSince: UInt64
    /// Which one it was, of all agents, to come into its state.
    public var arrival: UInt64
    public var isDeactivated: Bool
    /// Draining and drained agents are deactivated too.
    public var drain: Drain?
    /// Rises by one with each change of its checkpointed entries; 1 at admission.
    public var generation: UInt64
    /// Of its checkpointed entries.
    public var digest: [UInt8]
    public var versions: [ResourceVersion]
    /// Under which fence of the masters it attached last; not the current one: recovered, and not yet attached. 0:
    /// never.
    public var attachedFence: UInt64
    /// Nobody knows yet what it has checkpointed: it was never attached to this registry.
    public var isReportWanted: Bool
    /// Of the totals that it stated last: `CheckpointDigest.ofTotals`. Empty: it has stated none.
    public var totalsDigest: [UInt8]
    /// What an imported document said besides of its being in this state, as in `ImportRecord`.
    public var extra: [UInt8]

    public init(state: State, stateSince: UInt64, arrival: UInt64, attachedFence: UInt64) {
        self.state = state
        self.stateSince = stateSince
        self.arrival = arrival
        isDeactivated = false
        drain = nil
        generation = 1
        digest = CheckpointDigest.ofNothing
        versions = []
        self.attachedFence = attachedFence
        isReportWanted = false
        totalsDigest = []
        extra = []
    }

    public var isDraining: Bool { drain.map { !$0.isDrained } ?? false }

    /// What an agent may say that its generation is: from there on it rises with changes, which no log has so many of.
    package static let generationMax = Limits.logNumberMax
}

/// A machine as maintenance names it: by host name, by address, or by both.
public struct MachineID: Hashable, Sendable {
    public var hostname: [UInt8]?
    /// IPv4, as text.
    public var ip: [UInt8]?

    public init(hostname: [UInt8]?, ip: [UInt8]?) {
        self.hostname = hostname
        self.ip = ip
    }

    /// Host names differ by case (of ASCII) for nobody; one that is absent is not one that is empty.
    package var key: [UInt8] {
        var writer = ByteWriter()
        writer.write(optional: hostname.map { $0.map { (0x41...0x5A).contains($0) ? $0 + 0x20 : $0 } })
        writer.write(optional: ip)
        return writer.takeBytes()
    }

    /// - Throws: `machine.too-long`.
    package func checkSize() throws(RegistryRefusal) {
        guard max(hostname?.count ?? 0, ip?.count ?? 0) <= Limits.registryNameSizeMax else {
            throw RegistryRefusal(
                .machineTooLong,
                "a host name or an address of more than \(Limits.registryNameSizeMax) bytes")
        }
    }

    /// - Throws: `machine.id-empty`, `machine.too-long`, `machine.ip-invalid`.
    package func check() throws(RegistryRefusal) {
        guard hostname?.isEmpty == false || ip?.isEmpty == false else {
            throw RegistryRefusal(.machineIdEmpty, "a machine has a host name, an address or both")
        }
        try checkSize()
        guard let ip, !ip.isEmpty else { return }
        let parts = ip.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        let isAddress =
            parts.count == 4
            && parts.allSatisfy { part in
                (1...3).contains(part.count) && part.allSatisfy { (0x30...0x39).contains($0) }
                    && part.reduce(0) { $0 * 10 + Int($1 - 0x30) } <= 255
            }
        guard isAddress else { throw RegistryRefusal(.machineIpInvalid, "\(text(ip)) is no IPv4 address") }
    }
}

extension MachineID: CustomStringConvertible {
    public var description: String {
        switch (hostname, ip) {
        case (let hostname?, let ip?): "\(text(hostname)) (\(text(ip)))"
        case (let name?, nil), (nil, let name?): text(name)
        case (nil, nil): "no machine"
        }
    }
}

// MARK: - Bytes

extension Attribute: RegistryValue {
    /// `text name | u8 type, as in a resource | value`
    package func encode(into writer: inout ByteWriter) {
        writer.writeBytes16(name)
        switch value {
        case .scalar(let number):
            writer.write(ResourceClaim.ValueType.scalar.rawValue)
            writer.write(double: number)
        case .ranges(let ranges):
            writer.write(ResourceClaim.ValueType.ranges.rawValue)
            writer.write(ranges: ranges)
        case .set(let items):
            writer.write(ResourceClaim.ValueType.set.rawValue)
            writer.write(texts: items)
        case .text(let text):
            writer.write(ResourceClaim.ValueType.text.rawValue)
            writer.writeBytes16(text)
        }
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        name = try reader.readText()
        let type: ResourceClaim.ValueType = try reader.readNumber("type of an attribute")
        switch type {
        case .scalar: value = .scalar(try reader.readDouble())
        case .ranges:
            var ranges: [ClosedRange<UInt64>] = []
            for (begin, end) in try reader.readRanges() {
                guard begin <= end else { throw .invalid("range of an attribute") }
                ranges.append(begin...end)
            }
            value = .ranges(ranges)
        case .set: value = .set(try reader.readTexts())
        case .text: value = .text(try reader.readText())
        }
    }
}

extension AgentInfo: RegistryValue {
    /// `text host name | text ip | u16 port | attributes | text? domain | u8 checkpointing | u16 capabilities | text
    /// extra`
    package func encode(into writer: inout ByteWriter) {
        writer.writeBytes16(hostname)
        writer.writeBytes16(ip)
        writer.write(port)
        writer.write(attributes)
        writer.write(optional: domain)
        writer.write(isCheckpointing)
        writer.write(capabilities.rawValue)
        writer.writeBytes16(extra)
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        hostname = try reader.readText()
        ip = try reader.readText()
        port = try reader.readUInt16()
        attributes = try reader.readValues()
        domain = try reader.readOptionalText()
        isCheckpointing = try reader.readBool()
        capabilities = AgentCapabilities(rawValue: try reader.readUInt16())
        extra = try reader.readText()
    }
}

extension AgentClaim: RegistryValue {
    /// `text id | info | resources`
    package func encode(into writer: inout ByteWriter) {
        writer.writeBytes16(id)
        writer.write(info)
        writer.write(resources)
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        id = try reader.readText()
        info = try reader.readValue()
        resources = try reader.readValues()
    }
}

extension AgentPatch: RegistryValue {
    /// `u8 parts, from bit 0 on: host name, ip, port, attributes, domain, checkpointing, capabilities, resources |
    /// those that are there`
    package func encode(into writer: inout ByteWriter) {
        let there = [
            hostname != nil, ip != nil, port != nil, attributes != nil, domain != nil, isCheckpointing != nil,
            capabilities != nil, resources != nil,
        ]
        writer.write(there.enumerated().reduce(UInt8(0)) { $0 | ($1.element ? 1 << UInt8($1.offset) : 0) })
        if let hostname { writer.writeBytes16(hostname) }
        if let ip { writer.writeBytes16(ip) }
        if let port { writer.write(port) }
        if let attributes { writer.write(attributes) }
        if let domain { writer.writeBytes16(domain) }
        if let isCheckpointing { writer.write(isCheckpointing) }
        if let capabilities { writer.write(capabilities.rawValue) }
        if let resources { writer.write(resources) }
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        let parts = try reader.readUInt8()
        hostname = parts & 1 != 0 ? try reader.readText() : nil
        ip = parts & 2 != 0 ? try reader.readText() : nil
        port = parts & 4 != 0 ? try reader.readUInt16() : nil
        attributes = parts & 8 != 0 ? try reader.readValues() : nil
        domain = parts & 16 != 0 ? try reader.readText() : nil
        isCheckpointing = parts & 32 != 0 ? try reader.readBool() : nil
        capabilities = parts & 64 != 0 ? AgentCapabilities(rawValue: try reader.readUInt16()) : nil
        resources = parts & 128 != 0 ? try reader.readValues() : nil
    }
}

extension ResourceVersion: RegistryValue {
    /// `text? provider | 16 B version`
    package func encode(into writer: inout ByteWriter) {
        writer.write(optional: providerID)
        writer.writeBytes16(version)
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        providerID = try reader.readOptionalText()
        version = try reader.readText()
    }
}

extension AgentAttachment: RegistryValue {
    /// `agent | u64 generation | text digest | versions`
    package func encode(into writer: inout ByteWriter) {
        writer.write(agent)
        writer.write(generation)
        writer.writeBytes16(digest)
        writer.write(versions)
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        agent = try reader.readValue()
        generation = try reader.readUInt64()
        digest = try reader.readText()
        versions = try reader.readValues()
    }
}

extension AgentRow.Drain: RegistryValue {
    /// `u8 drained | u64? grace period, ns | u8 marks gone`
    package func encode(into writer: inout ByteWriter) {
        writer.write(isDrained)
        writer.write(optional: maxGracePeriod)
        writer.write(marksGone)
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        isDrained = try reader.readBool()
        maxGracePeriod = try reader.readOptionalUInt64()
        marksGone = try reader.readBool()
    }
}

extension AgentRow: RegistryValue {
    /// `u8 state | u64 since, ns | u64 arrival | u8 deactivated | drain? | u64 generation | text digest | versions
    /// | u64 attached fence | u8 report wanted | text totals' digest | text extra`
    package func encode(into writer: inout ByteWriter) {
        writer.write(state.rawValue)
        writer.write(stateSince)
        writer.write(arrival)
        writer.write(isDeactivated)
        writer.write(drain)
        writer.write(generation)
        writer.writeBytes16(digest)
        writer.write(versions)
        writer.write(attachedFence)
        writer.write(isReportWanted)
        writer.writeBytes16(totalsDigest)
        writer.writeBytes16(extra)
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        state = try reader.readNumber("state of an agent")
        stateSince = try reader.readUInt64()
        arrival = try reader.readUInt64()
        isDeactivated = try reader.readBool()
        drain = try reader.readOptionalValue()
        generation = try reader.readUInt64()
        digest = try reader.readText()
        versions = try reader.readValues()
        attachedFence = try reader.readUInt64()
        isReportWanted = try reader.readBool()
        totalsDigest = try reader.readText()
        extra = try reader.readText()
    }
}

extension MachineID: RegistryValue {
    /// `text? host name | text? ip`
    package func encode(into writer: inout ByteWriter) {
        writer.write(optional: hostname)
        writer.write(optional: ip)
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        hostname = try reader.readOptionalText()
        ip = try reader.readOptionalText()
    }
}
