internal import Basics
internal import RegistryModel

/// How large a registry is that a run fills. What stands in it follows from these numbers, so whoever knows them can
/// state each of its agents again. All ids and roles begin with `bench-`.
package struct RegistryShape: Hashable, Sendable {
    package var agents: Int
    package var frameworks: Int
    /// Each of them is reserved to a role, then made. At least as many as agents; they are spread evenly.
    package var volumes: Int
    /// Of frameworks and volumes.
    package var roles: Int

    package init(agents: Int, frameworks: Int, volumes: Int, roles: Int) {
        self.agents = agents
        self.frameworks = frameworks
        self.volumes = volumes
        self.roles = roles
    }
}

extension RegistryShape {
    static let agentNames = NumberedKeys(prefix: Array("bench-agent-".utf8))

    func agentID(_ agent: Int) -> [UInt8] {
        var names = Self.agentNames
        return names[agent]
    }

    private static func name(_ kind: String, _ number: Int) -> [UInt8] {
        var names = NumberedKeys(prefix: utf8("bench-\(kind)-"))
        return names[number]
    }

    private static func utf8(_ text: String) -> [UInt8] { Array(text.utf8) }

    func volumes(of agent: Int) -> Range<Int> { agent * volumes / agents..<(agent + 1) * volumes / agents }

    // MARK: Agents

    /// As it states itself, with the totals of what it has: eight resources.
    func agent(_ agent: Int) -> AgentClaim {
        let address = [10, agent >> 16 & 0xFF, agent >> 8 & 0xFF, agent & 0xFF].map { "\($0)" }.joined(separator: ".")
        let info = AgentInfo(
            hostname: Self.name("host", agent), ip: Self.utf8(address),
            attributes: attributes(of: agent, image: 0),
            domain: Self.utf8(
                #"{"fault_domain":{"region":{"name":"eu-1"},"zone":{"name":"eu-1-\#(agent % 3)"}}}"#),
            isCheckpointing: true,
            capabilities: [
                .multiRole, .hierarchicalRole, .reservationRefinement, .resizeVolume, .agentOperationFeedback,
                .agentDraining,
            ])
        return AgentClaim(id: agentID(agent), info: info, resources: resources(of: agent))
    }

    /// - Parameter image: what somebody installs anew from time to time.
    func attributes(of agent: Int, image: UInt64) -> [Attribute] {
        let texts = [
            ("rack", "r\(agent / 40)"), ("zone", "eu-1-\(agent % 3)"), ("os", "debian-13.2"),
            ("kernel", "6.12.48-amd64"), ("cpu", "epyc-9654"), ("image", "\(image)"),
        ]
        return texts.map { Attribute(name: Self.utf8($0), value: .text(Self.utf8($1))) }
    }

    private func resources(of agent: Int) -> [ResourceClaim] {
        let pathSize = Double(volumes(of: agent).count) * Self.volumeSize + Self.freeSize
        var mount = Self.amount("disk", 1_920_000)
        mount.disk = ResourceClaim.DiskClaim(
            source: ResourceClaim.SourceClaim(
                kind: .mount, mount: ResourceClaim.SourceClaim.Root(Self.utf8("/mnt/nvme"))))
        return [
            Self.amount("cpus", 64), Self.amount("mem", 262_144), Self.amount("gpus", 4),
            ResourceClaim(name: Self.utf8("ports"), type: .ranges, ranges: [(begin: 31_000, end: 32_000)]),
            Self.amount("disk", Self.freeSize), Self.path(0, pathSize), Self.path(1, pathSize), mount,
        ]
    }

    /// In MB.
    private static let volumeSize = 10_240.0
    private static let freeSize = 102_400.0

    private static func amount(_ name: String, _ amount: Double) -> ResourceClaim {
        ResourceClaim(name: utf8(name), type: .scalar, scalar: amount)
    }

    private static func path(_ number: Int, _ size: Double) -> ResourceClaim {
        var claim = amount("disk", size)
        claim.disk = ResourceClaim.DiskClaim(
            source: ResourceClaim.SourceClaim(
                kind: .path, path: ResourceClaim.SourceClaim.Root(utf8("/data/\(number)"))))
        return claim
    }

    // MARK: Frameworks

    /// Roles go round among the frameworks.
    func framework(_ framework: Int) -> FrameworkInfo {
        FrameworkInfo(
            id: Self.name("framework", framework), name: Self.utf8("bench"), user: Self.utf8("bench"),
            roles: stride(from: framework, to: roles, by: frameworks).map { role($0) }, capabilities: .multiRole,
            failoverTimeout: 604_800, isCheckpointing: true, hostname: Self.name("scheduler", framework))
    }

    private func role(_ number: Int) -> [UInt8] { Self.name("role", number % roles) }

    // MARK: Operations

    /// All that an agent's volumes take: an operator reserves their disks, then makes them.
    func operations(of agent: Int) -> [OperationRequest] {
        let own = volumes(of: agent)
        return [
            operation(.reserve(own.map { disk(of: $0) }), 0, of: agent),
            operation(.create(own.map { volume($0) }), 1, of: agent),
        ]
    }

    /// How many of them there are for an agent.
    static let operationsPerAgent = 2

    /// A thousandth of a core, for a role that has a volume there.
    func reservation(of agent: Int, uuid: UInt64) -> OperationRequest {
        var cpus = Self.amount("cpus", 0.001)
        cpus.reservations = [reservation(to: volumes(of: agent).lowerBound)]
        return operation(.reserve([cpus]), uuid, of: agent)
    }

    /// The agent has carried out one of `operations(of:)`.
    func report(_ operation: Int, of agent: Int) -> RegistryCommand {
        .operationStatusUpdate(
            agentID: agentID(agent), uuid: Self.uuid(UInt64(operation), of: agent),
            status: OperationStatus(state: .finished), latest: nil)
    }

    private func operation(_ kind: OperationKind, _ uuid: UInt64, of agent: Int) -> OperationRequest {
        OperationRequest(agentID: agentID(agent), uuid: Self.uuid(uuid, of: agent), kind: kind)
    }

    private static func uuid(_ number: UInt64, of agent: Int) -> [UInt8] {
        var writer = ByteWriter(reservingCapacity: OperationRequest.uuidSize)
        writer.write(UInt64(agent))
        writer.write(number)
        return writer.takeBytes()
    }

    private func reservation(to volume: Int) -> ResourceClaim.ReservationClaim {
        ResourceClaim.ReservationClaim(kind: .dynamic, role: role(volume), principal: Self.utf8("bench"))
    }

    private func disk(of volume: Int) -> ResourceClaim {
        var disk = Self.path(volume % 2, Self.volumeSize)
        disk.reservations = [reservation(to: volume)]
        return disk
    }

    private func volume(_ number: Int) -> ResourceClaim {
        var volume = disk(of: number)
        volume.disk?.persistence = ResourceClaim.PersistenceClaim(
            id: Self.name("volume", number), principal: Self.utf8("bench"))
        volume.disk?.volume = VolumeMount(containerPath: Self.utf8("data"))
        return volume
    }
}
