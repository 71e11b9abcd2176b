internal import Basics
internal import FuzzSupport
internal import MetadataModel
internal import RegistryModel

/// The parts of the masters' registry, below the command that holds them.
let registry = [
    Decoder("registry command", seeds: { RegistrySamples.commands.map { $0.command.encoded() } }) {
        isRegistryCommand($0)
    },
    Decoder("registry reply", seeds: { RegistrySamples.replies.map { $0.reply.encoded() } }) {
        roundTrip($0) { try RegistryReply(decoding: &$0) } write: { $0.encode(into: &$1) }
    },
    Decoder("registry claim", seeds: { RegistrySamples.claims.map { $0.encoded() } }) { isClaim($0) },
]

/// What is read has one form of bytes. (A number in it may be none, and is not equal to itself then.)
func isRegistryCommand(_ bytes: [UInt8]) -> Bool {
    guard let command = try? RegistryCommand(bytes) else { return false }
    let written = command.encoded()
    check((try? RegistryCommand(written))?.encoded() == written, "\(command)")
    return true
}

/// What somebody states is judged; what is found right is stored, and is the same when it is read.
private func isClaim(_ bytes: [UInt8]) -> Bool {
    guard let claim = try? ResourceClaim(bytes) else { return false }
    guard let resource = try? ResourceList.checked([claim]).first else { return true }
    let again = try? Resource(resource.encoded())
    check(again == resource && again?.kindBytes == resource.kindBytes, "\(resource) became another")
    return true
}

/// The life of an agent and a framework, by commands that no rule refuses.
enum RegistryStory {
    private static func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }
    private static let agentID = bytes("a1")
    /// The first that is given out.
    private static let frameworkID = bytes("m1-0000")

    private static func disk(_ amount: Double) -> ResourceClaim {
        let source = ResourceClaim.SourceClaim(kind: .path, path: ResourceClaim.SourceClaim.Root(bytes("/d")))
        return ResourceClaim(
            name: bytes("disk"), type: .scalar, scalar: amount, disk: ResourceClaim.DiskClaim(source: source))
    }

    private static func reserved(_ amount: Double) -> ResourceClaim {
        var claim = disk(amount)
        claim.reservations = [ResourceClaim.ReservationClaim(kind: .dynamic, role: bytes("r"))]
        claim.allocationRole = bytes("r")
        return claim
    }

    private static func volume(_ amount: Double) -> ResourceClaim {
        var claim = reserved(amount)
        claim.disk?.persistence = ResourceClaim.PersistenceClaim(id: bytes("v"))
        claim.disk?.volume = VolumeMount(containerPath: bytes("v"))
        return claim
    }

    private static let cpus = ResourceClaim(name: bytes("cpus"), type: .scalar, scalar: 2)
    private static let agent = AgentClaim(
        id: agentID,
        info: AgentInfo(
            hostname: bytes("h"), ip: bytes("10.0.0.1"), isCheckpointing: true,
            capabilities: [.resizeVolume, .agentDraining]),
        resources: [
            cpus, disk(1_000), ResourceClaim(name: bytes("ports"), type: .ranges, ranges: [(begin: 1, end: 9)]),
        ])

    private static func apply(_ number: UInt8, _ kind: OperationKind) -> RegistryCommand {
        .operationsApply(
            [
                OperationRequest(
                    agentID: agentID, frameworkID: frameworkID, uuid: [UInt8](repeating: number, count: 16),
                    operationID: [0x6F, 0x30 + number], kind: kind)
            ], isAtomic: number % 2 == 0)
    }

    static let commands: [RegistryCommand] = [
        .recover(MasterInfo(id: bytes("m1"))), .agentAdmit(agent),
        .frameworkSubscribe(
            FrameworkInfo(name: bytes("f"), role: bytes("r"), failoverTimeout: 1), principal: nil,
            connection: bytes("c"), isForced: false),
        apply(1, .reserve([reserved(500)])), apply(2, .create([volume(300)])),
        apply(3, .growVolume(volume(300), addition: reserved(100))), apply(4, .shrinkVolume(volume(400), subtract: 50)),
        .acquire(
            agentID: agentID, frameworkID: frameworkID, holdID: bytes("t"), role: bytes("r"),
            resources: [cpus, volume(350)]),
        .quotaUpdate(
            [QuotaConfig(role: bytes("r"), limits: [NamedNumber(name: bytes("cpus"), number: 4)])], isForced: false),
        .weightsUpdate([Weight(role: bytes("r"), weight: 2)]),
        .scheduleUpdate([
            MaintenanceWindow(
                machines: [MachineID(hostname: bytes("i"), ip: nil)], unavailability: Unavailability(start: 1))
        ]),
        .maintenanceStart([MachineID(hostname: bytes("i"), ip: nil)]),
        .operationStatusUpdate(
            agentID: agentID, uuid: [UInt8](repeating: 1, count: 16),
            status: OperationStatus(state: .finished, uuid: [UInt8](repeating: 9, count: 16)), latest: nil),
        .operationAcknowledge(
            frameworkID: frameworkID, operationID: [0x6F, 0x31], statusUUID: [UInt8](repeating: 9, count: 16),
            agentID: agentID),
        .operationStatusUpdate(
            agentID: agentID, uuid: [UInt8](repeating: 4, count: 16), status: OperationStatus(state: .failed),
            latest: nil),
        .agentDrain(id: agentID, maxGracePeriod: 5, marksGone: true), .agentMarkUnreachable(id: agentID),
        .agentsReregister([AgentAttachment(agent: agent, generation: 1, digest: [])]),
        .frameworkDisconnect(id: frameworkID, connection: bytes("c")),
        .providerAdmit(id: bytes("p"), type: nil, name: nil),
    ]

    static func payload(_ mutation: Mutation, _ sequence: UInt64, at time: ClusterTime, fence: UInt64) -> [UInt8] {
        let masters = Guard(kind: .election, name: RegistryCommand.electionGroup, fence: fence)
        return written { writer in
            CommandHeader(
                kind: mutation.kind, session: SessionID(4, 1), sequence: sequence,
                opening: SessionOpening(openedAt: time, timeout: .seconds(10)), guards: fence > 0 ? [masters] : []
            ).encode(into: &writer)
            mutation.encodeBody(into: &writer)
        }
    }
}
