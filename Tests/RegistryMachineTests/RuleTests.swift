import RegistryMachine
import RegistryModel
import Testing

/// A rule, what it refuses, and a neighbour of that which passes.
struct RuleCase: CustomTestStringConvertible {
    var rule: RegistryRule
    /// What has happened before.
    var given: [RegistryCommand]
    var refused: RegistryCommand
    var passes: RegistryCommand
    /// What has happened before the neighbour instead.
    var otherwise: [RegistryCommand]?
    var hasQuotaHierarchy = false

    init(
        _ rule: RegistryRule, given: [RegistryCommand] = [], _ refused: RegistryCommand, passes: RegistryCommand,
        after otherwise: [RegistryCommand]? = nil, hasQuotaHierarchy: Bool = false
    ) {
        self.rule = rule
        self.given = given
        self.refused = refused
        self.passes = passes
        self.otherwise = otherwise
        self.hasQuotaHierarchy = hasQuotaHierarchy
    }

    var testDescription: String { rule.rawValue }
}

private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

@Suite("Each rule of the commands, and a neighbour that passes")
struct RuleTests {
    private static let a1 = bytes("a1")
    private static let f1 = bytes("m1-0000")
    private static let admitted = [Agents.admit()]
    private static let ready = [Agents.admit(), Frameworks.subscribe(Frameworks.info())]
    private static let reserved = ready + [Operations.apply(1, .reserve([Claims.cpus(2).reserved("db")]))]
    private static let volume = Claims.path(100).reserved("db").volume("v")
    private static let withVolume =
        admitted + [
            Operations.apply(1, .reserve([Claims.path(100).reserved("db")])), Operations.apply(2, .create([volume])),
        ]
    private static let schedule = RegistryCommand.scheduleUpdate([
        MaintenanceWindow(machines: [Agents.machine()], unavailability: Unavailability(start: 5))
    ])

    private static func quota(
        _ role: String, guarantees: [String: Double] = [:], limits: [String: Double] = [:], isForced: Bool = false
    ) -> RegistryCommand {
        let numbers = { (named: [String: Double]) in
            named.sorted { $0.key < $1.key }.map { NamedNumber(name: bytes($0.key), number: $0.value) }
        }
        return .quotaUpdate(
            [QuotaConfig(role: bytes(role), guarantees: numbers(guarantees), limits: numbers(limits))],
            isForced: isForced)
    }

    private static func principal(_ name: String, rate: Double? = 1) -> RateLimits.Limit {
        RateLimits.Limit(principal: bytes(name), rate: rate)
    }

    private static func limit(_ name: String, rate: Double?) -> RegistryCommand {
        .rateLimitsSet(RateLimits(limits: [principal(name, rate: rate)]))
    }

    private static func windows(_ machines: [[MachineID]], duration: Int64? = nil) -> RegistryCommand {
        .scheduleUpdate(
            machines.map {
                MaintenanceWindow(machines: $0, unavailability: Unavailability(start: -5, duration: duration))
            })
    }

    private static func other(_ change: (inout FrameworkInfo) -> Void) -> FrameworkInfo {
        var info = Frameworks.info()
        change(&info)
        return info
    }

    // MARK: - Agents

    static let agents: [RuleCase] = [
        RuleCase(.agentIdMissing, .agentAdmit(Agents.claim("")), passes: Agents.admit()),
        RuleCase(.idCharacter, .agentAdmit(Agents.claim("a/1")), passes: .agentAdmit(Agents.claim("a-1"))),
        RuleCase(
            .agentMachineDown, given: [schedule, .maintenanceStart([Agents.machine()])], Agents.admit(),
            passes: Agents.admit(), after: [schedule]),
        RuleCase(
            .agentMachineDown, given: [schedule, .maintenanceStart([Agents.machine()])],
            Agents.reregister(Agents.claim(), generation: 1), passes: Agents.reregister(Agents.claim(), generation: 1),
            after: [schedule]),
        RuleCase(
            .agentMachineDown, given: [schedule, .maintenanceStart([Agents.machine()])],
            .agentMarkReachable(Agents.claim()), passes: .agentMarkReachable(Agents.claim()), after: [schedule]),
        RuleCase(
            .agentMachineDown, given: [schedule, .maintenanceStart([Agents.machine()]), Agents.admit("a2")],
            .agentUpdate(id: bytes("a2"), AgentPatch(hostname: bytes("a1.example"))),
            passes: .agentUpdate(id: bytes("a2"), AgentPatch(hostname: bytes("a3.example")))),
        RuleCase(
            .agentCheckpointedWithoutCheckpointing,
            .agentAdmit(Agents.claim(resources: [Claims.cpus(1).reserved("db")], isCheckpointing: false)),
            passes: .agentAdmit(
                Agents.claim(resources: [Claims.cpus(1).reserved("db", .static)], isCheckpointing: false))),
        RuleCase(
            .machineTooLong, .agentAdmit(Agents.claim(host: String(repeating: "h", count: 256))),
            passes: .agentAdmit(Agents.claim(host: String(repeating: "h", count: 255)))),
        RuleCase(.agentAlreadyAdmitted, given: admitted, Agents.admit(), passes: Agents.admit("a2")),
        RuleCase(
            .agentIdInUse, given: admitted + [.agentMarkUnreachable(id: a1)], Agents.admit(), passes: Agents.admit(),
            after: admitted + [.agentRemove(id: a1, discardsVolumes: false)]),
        RuleCase(
            .agentNotAdmitted, .agentUpdate(id: a1, AgentPatch(port: 1)),
            passes: .agentUpdate(id: a1, AgentPatch(port: 1)),
            after: admitted),
        RuleCase(
            .agentNotAdmitted, .agentReport(id: a1, generation: 1, entries: []),
            passes: .agentReport(id: a1, generation: 1, entries: []), after: admitted),
        RuleCase(
            .agentTotalBelowLedger, given: reserved, .agentUpdate(id: a1, AgentPatch(resources: [Claims.cpus(1.999)])),
            passes: .agentUpdate(id: a1, AgentPatch(resources: [Claims.cpus(2)]))),
        RuleCase(
            .agentTotalBelowLedger, given: reserved,
            Agents.reregister(Agents.claim(resources: [Claims.cpus(1.999)]), generation: 1),
            passes: Agents.reregister(Agents.claim(resources: [Claims.cpus(2)]), generation: 1)),
        RuleCase(
            .agentTotalBelowLedger, given: reserved + [.agentMarkUnreachable(id: a1)],
            .agentMarkReachable(Agents.claim(resources: [Claims.cpus(1.999)])),
            passes: .agentMarkReachable(Agents.claim(resources: [Claims.cpus(2)]))),
        RuleCase(
            .agentGone, given: admitted + [.agentMarkGone(id: a1)], Agents.reregister(Agents.claim(), generation: 1),
            passes: Agents.reregister(Agents.claim(), generation: 1),
            after: admitted + [.agentMarkUnreachable(id: a1)]),
        RuleCase(
            .agentGone, given: admitted + [.agentMarkGone(id: a1)], .agentMarkReachable(Agents.claim()),
            passes: .agentMarkReachable(Agents.claim()), after: admitted + [.agentMarkUnreachable(id: a1)]),
        RuleCase(
            .agentAddressChanged, given: admitted, Agents.reregister(Agents.claim(ip: "10.0.0.2"), generation: 1),
            passes: Agents.reregister(Agents.claim(ip: "10.0.0.2"), generation: 1),
            after: admitted + [.agentMarkUnreachable(id: a1)]),
        RuleCase(
            .agentGenerationAhead, given: admitted, Agents.reregister(Agents.claim(), generation: 2),
            passes: Agents.reregister(Agents.claim(), generation: 1)),
        // Of one that nobody knows, and is to report, what it says is taken: it has to leave room for the next ones.
        RuleCase(
            .agentGenerationAhead, Agents.reregister(Agents.claim(), generation: .max),
            passes: Agents.reregister(Agents.claim(), generation: 1 << 62)),
        RuleCase(
            .agentDigestMismatch, given: admitted,
            Agents.reregister(Agents.claim(), generation: 1, digest: [UInt8](repeating: 7, count: 16)),
            passes: Agents.reregister(Agents.claim(), generation: 1)),
        RuleCase(
            .agentGenerationStale, given: reserved, .agentReport(id: a1, generation: 1, entries: []),
            passes: .agentReport(id: a1, generation: 2, entries: [])),
        RuleCase(
            .agentRemovalLimited, given: [Agents.admit(), Agents.admit("a2"), .agentMarkUnreachable(id: a1)],
            .agentMarkUnreachable(id: bytes("a2")), passes: .agentMarkUnreachable(id: bytes("a2")),
            after: [
                Agents.admit(), Agents.admit("a2"), .agentMarkUnreachable(id: a1),
                .agentsApproveRemoval(count: 1, until: 2_000_000_000_000),
            ]),
        RuleCase(
            .limiterCountZero, .agentsApproveRemoval(count: 0, until: 1),
            passes: .agentsApproveRemoval(count: 1, until: 1)),
        RuleCase(
            .agentAlreadyGone, given: admitted + [.agentMarkGone(id: a1)], .agentMarkGone(id: a1),
            passes: .agentMarkGone(id: a1),
            after: admitted),
        RuleCase(.agentNotFound, .agentMarkGone(id: a1), passes: .agentMarkGone(id: a1), after: admitted),
        RuleCase(
            .agentHasVolumes, given: withVolume, .agentRemove(id: a1, discardsVolumes: false),
            passes: .agentRemove(id: a1, discardsVolumes: true)),
        RuleCase(
            .agentScheduledMachine, given: admitted + [schedule],
            .agentDrain(id: a1, maxGracePeriod: nil, marksGone: false),
            passes: .agentDrain(id: a1, maxGracePeriod: nil, marksGone: false), after: admitted),
        RuleCase(
            .agentDrainIncapable, given: [.agentAdmit(Agents.claim(capabilities: []))],
            .agentDrain(id: a1, maxGracePeriod: nil, marksGone: false),
            passes: .agentDrain(id: a1, maxGracePeriod: nil, marksGone: false), after: admitted),
        RuleCase(
            .agentNotDraining, given: admitted, .agentMarkDrained(id: a1), passes: .agentMarkDrained(id: a1),
            after: admitted + [.agentDrain(id: a1, maxGracePeriod: nil, marksGone: false)]),
        RuleCase(
            .agentDrainBusy,
            given: ready + [
                Operations.acquire("h", [Claims.cpus(1)]), .agentDrain(id: a1, maxGracePeriod: nil, marksGone: false),
            ],
            .agentMarkDrained(id: a1), passes: .agentMarkDrained(id: a1),
            after: ready + [
                Operations.acquire("h", [Claims.cpus(1)]), .agentDrain(id: a1, maxGracePeriod: nil, marksGone: false),
                Operations.release("h"),
            ]),
        RuleCase(
            .agentNotDeactivated, given: admitted, .agentReactivate(id: a1), passes: .agentReactivate(id: a1),
            after: admitted + [.agentDeactivate(id: a1)]),
        RuleCase(
            .agentStillDraining, given: admitted + [.agentDrain(id: a1, maxGracePeriod: nil, marksGone: false)],
            .agentReactivate(id: a1), passes: .agentReactivate(id: a1),
            after: admitted + [.agentDrain(id: a1, maxGracePeriod: nil, marksGone: false), .agentMarkDrained(id: a1)]),
        RuleCase(
            .agentDeactivated, given: ready + [.agentDeactivate(id: a1)], Operations.acquire("h", [Claims.cpus(1)]),
            passes: Operations.acquire("h", [Claims.cpus(1)]), after: ready),
        RuleCase(
            .providerAlreadyAdmitted, given: [.providerAdmit(id: bytes("p"), type: nil, name: nil)],
            .providerAdmit(id: bytes("p"), type: nil, name: nil),
            passes: .providerAdmit(id: bytes("q"), type: nil, name: nil)),
        RuleCase(
            .providerRemoved,
            given: [.providerAdmit(id: bytes("p"), type: nil, name: nil), .providerRemove(id: bytes("p"))],
            .providerAdmit(id: bytes("p"), type: nil, name: nil),
            passes: .providerAdmit(id: bytes("q"), type: nil, name: nil)),
        RuleCase(
            .providerUnknown, .providerRemove(id: bytes("p")), passes: .providerRemove(id: bytes("p")),
            after: [.providerAdmit(id: bytes("p"), type: nil, name: nil)]),
    ]

    // MARK: - Frameworks

    static let frameworks: [RuleCase] = [
        RuleCase(
            .frameworkRoleFields, Frameworks.subscribe(other { $0.role = bytes("db") }),
            passes: Frameworks.subscribe(Frameworks.info())),
        RuleCase(
            .frameworkRoleFields, Frameworks.subscribe(Frameworks.info(capabilities: [])),
            passes: Frameworks.subscribe(
                other { info in
                    info.capabilities = []
                    info.roles = []
                    info.role = bytes("db")
                })),
        RuleCase(
            .frameworkDuplicateRole, Frameworks.subscribe(Frameworks.info(roles: ["db", "db"])),
            passes: Frameworks.subscribe(Frameworks.info(roles: ["db", "web"]))),
        RuleCase(
            .roleDotComponent, Frameworks.subscribe(Frameworks.info(roles: ["db/.."])),
            passes: Frameworks.subscribe(Frameworks.info(roles: ["db/..."]))),
        RuleCase(
            .frameworkOfferFilter,
            Frameworks.subscribe(
                other {
                    $0.offerFilters = [
                        OfferFilter(role: bytes("db"), quantities: [NamedNumber(name: bytes("cpus"), number: -1)])
                    ]
                }),
            passes: Frameworks.subscribe(
                other {
                    $0.offerFilters = [
                        OfferFilter(role: bytes("db"), quantities: [NamedNumber(name: bytes("cpus"), number: 1)])
                    ]
                })),
        RuleCase(
            .frameworkFailoverTimeoutRange, Frameworks.subscribe(Frameworks.info(timeout: -1)),
            passes: Frameworks.subscribe(Frameworks.info(timeout: 0))),
        RuleCase(
            .frameworkFailoverTimeoutRange, Frameworks.subscribe(Frameworks.info(timeout: .nan)),
            passes: Frameworks.subscribe(Frameworks.info(timeout: 9_000_000_000))),
        RuleCase(
            .frameworkFailoverTimeoutRange, Frameworks.subscribe(Frameworks.info(timeout: 9_300_000_000)),
            passes: Frameworks.subscribe(Frameworks.info(timeout: 9_200_000_000))),
        RuleCase(
            .frameworkSuppressedRole, Frameworks.subscribe(other { $0.suppressedRoles = [bytes("web")] }),
            passes: Frameworks.subscribe(other { $0.suppressedRoles = [bytes("db")] })),
        RuleCase(
            .frameworkPrincipalMismatch, Frameworks.subscribe(Frameworks.info(), principal: "q"),
            passes: Frameworks.subscribe(Frameworks.info(), principal: "p")),
        RuleCase(
            .labelsTooLarge,
            Frameworks.subscribe(
                other { $0.labels = [Labels.Label(key: [UInt8](repeating: 65, count: 4_097), value: nil)] }),
            passes: Frameworks.subscribe(
                other { $0.labels = [Labels.Label(key: [UInt8](repeating: 65, count: 4_096), value: nil)] })),
        RuleCase(
            .frameworkCompleted, given: ready + [.frameworkTeardown(id: f1)],
            Frameworks.subscribe(Frameworks.info("m1-0000")),
            passes: Frameworks.subscribe(Frameworks.info("m1-0000")), after: ready),
        RuleCase(
            .frameworkPrincipalChanged, given: ready, Frameworks.subscribe(Frameworks.info("m1-0000", principal: nil)),
            passes: Frameworks.subscribe(Frameworks.info("m1-0000"))),
        RuleCase(
            .frameworkPrincipalChanged, given: ready,
            .frameworkUpdate(Frameworks.info("m1-0000", principal: "q"), principal: nil),
            passes: .frameworkUpdate(Frameworks.info("m1-0000"), principal: nil)),
        RuleCase(
            .frameworkConnectedElsewhere, given: ready,
            Frameworks.subscribe(Frameworks.info("m1-0000"), connection: "c2"),
            passes: Frameworks.subscribe(Frameworks.info("m1-0000"), connection: "c2", isForced: true)),
        RuleCase(
            .frameworkNotFound, .frameworkUpdate(Frameworks.info("m1-0000"), principal: nil),
            passes: .frameworkUpdate(Frameworks.info("m1-0000"), principal: nil), after: ready),
        RuleCase(
            .frameworkUserChanged, given: ready,
            .frameworkUpdate(
                other { info in
                    info.id = f1
                    info.user = bytes("u")
                }, principal: nil), passes: .frameworkUpdate(other { $0.id = f1 }, principal: nil)),
        RuleCase(
            .frameworkCheckpointChanged, given: ready,
            .frameworkUpdate(
                other { info in
                    info.id = f1
                    info.isCheckpointing = true
                }, principal: nil), passes: .frameworkUpdate(other { $0.id = f1 }, principal: nil)),
        RuleCase(
            .frameworkNotEnded, given: ready, .frameworksForget([f1]), passes: .frameworksForget([f1]),
            after: ready + [.frameworkTeardown(id: f1)]),
        RuleCase(
            .frameworkNotActive, given: ready + [.frameworkDisconnect(id: f1, connection: bytes("c1"))],
            Operations.acquire("h", [Claims.cpus(1)]), passes: Operations.acquire("h", [Claims.cpus(1)]), after: ready),
        RuleCase(
            .agentNotAdmitted, given: [Frameworks.subscribe(Frameworks.info())],
            Operations.acquire("h", [Claims.cpus(1)]), passes: Operations.acquire("h", [Claims.cpus(1)]), after: ready),
        RuleCase(
            .acquireRoleNotSubscribed, given: ready, Operations.acquire("h", role: "web", [Claims.cpus(1)]),
            passes: Operations.acquire("h", [Claims.cpus(1)])),
        RuleCase(
            .acquireNotAllocatable,
            given: ready + [Operations.apply(1, .reserve([Claims.cpus(2).reserved("web")]))],
            Operations.acquire("h", [Claims.cpus(1).reserved("web")]), passes: Operations.acquire("h", [Claims.cpus(1)])
        ),
        RuleCase(
            .acquireSharedIncapable, given: ready + sharedVolume, Operations.acquire("h", [shared]),
            passes: Operations.acquire("h", [shared]),
            after: [
                Agents.admit(), Frameworks.subscribe(Frameworks.info(capabilities: [.multiRole, .sharedResources])),
            ] + sharedVolume),
        RuleCase(
            .acquireMixedRevocable, given: ready, Operations.acquire("h", [Claims.cpus(1), revocable]),
            passes: Operations.acquire("h", [Claims.cpus(1), Claims.mem(1)])),
        RuleCase(
            .acquireHoldReused, given: ready + [Operations.acquire("h", [Claims.cpus(1)])],
            Operations.acquire("h", [Claims.cpus(2)]), passes: Operations.acquire("h", [Claims.cpus(1)])),
        RuleCase(
            .ledgerInUse, given: ready + [Operations.acquire("h", [Claims.cpus(7)])],
            Operations.acquire("i", [Claims.cpus(2)]),
            passes: Operations.acquire("i", [Claims.cpus(1)])),
        RuleCase(
            .ledgerInsufficient, given: ready, Operations.acquire("h", [Claims.cpus(9)]),
            passes: Operations.acquire("h", [Claims.cpus(8)])),
    ]

    private static var shared: ResourceClaim {
        var shared = volume
        shared.isShared = true
        return shared
    }

    private static var sharedVolume: [RegistryCommand] {
        [Operations.apply(1, .reserve([Claims.path(100).reserved("db")])), Operations.apply(2, .create([shared]))]
    }

    private static var revocable: ResourceClaim {
        var revocable = Claims.cpus(1)
        revocable.isRevocable = true
        return revocable
    }

    // MARK: - Quota, weights, maintenance

    static let limits: [RuleCase] = [
        RuleCase(
            .weightNotPositive, .weightsUpdate([Weight(role: bytes("db"), weight: 0)]),
            passes: .weightsUpdate([Weight(role: bytes(" db "), weight: 0.5)])),
        RuleCase(
            .weightNotFinite, .weightsUpdate([Weight(role: bytes("db"), weight: .infinity)]),
            passes: .weightsUpdate([Weight(role: bytes("db"), weight: 1e300)])),
        RuleCase(
            .weightNotFinite, .weightsUpdate([Weight(role: bytes("db"), weight: .nan)]),
            passes: .weightsUpdate([Weight(role: bytes("db"), weight: 1)])),
        RuleCase(.roleEmpty, .weightsUpdate([Weight(role: bytes("  "), weight: 1)]), passes: .weightsUpdate([])),
        RuleCase(.quotaNestedRole, quota("a/b", limits: ["cpus": 1]), passes: quota("a", limits: ["cpus": 1])),
        RuleCase(.quotaRoleMissing, quota("", limits: ["cpus": 1]), passes: quota("*", limits: ["cpus": 1])),
        RuleCase(.roleDashStart, quota("-a", limits: ["cpus": 1]), passes: quota("a-", limits: ["cpus": 1])),
        RuleCase(
            .quotaTooLargeBytes, quota("a", limits: ["mem": 1_099_511_627_777]),
            passes: quota("a", limits: ["mem": 1_099_511_627_776])),
        RuleCase(
            .quotaTooLargeCount, quota("a", limits: ["cpus": 1_000_000_000_001]),
            passes: quota("a", limits: ["cpus": 1_000_000_000_000])),
        RuleCase(.quotaScalarInvalid, quota("a", limits: ["cpus": -1]), passes: quota("a", limits: ["cpus": 0])),
        RuleCase(.quotaScalarInvalid, quota("a", limits: ["cpus": .nan]), passes: quota("a", limits: ["cpus": 1])),
        RuleCase(
            .quotaGuaranteeAboveLimit, given: admitted, quota("a", guarantees: ["cpus": 2], limits: ["cpus": 1]),
            passes: quota("a", guarantees: ["cpus": 2], limits: ["cpus": 2])),
        RuleCase(
            .quotaConsumptionAboveLimit, given: reserved, quota("db", limits: ["cpus": 1.999]),
            passes: quota("db", limits: ["cpus": 2])),
        RuleCase(
            .quotaConsumptionAboveLimit, given: reserved, quota("db", limits: ["cpus": 1]),
            passes: quota("db", limits: ["cpus": 1], isForced: true)),
        RuleCase(
            .quotaOvercommit, given: admitted, quota("a", guarantees: ["cpus": 9]),
            passes: quota("a", guarantees: ["cpus": 8])),
        RuleCase(
            .quotaOvercommit, quota("a", guarantees: ["cpus": 1]),
            passes: quota("a", guarantees: ["cpus": 1], isForced: true)),
        RuleCase(
            .quotaChildSumAboveParent,
            given: admitted + [quota("a", guarantees: ["cpus": 2]), quota("a/b", guarantees: ["cpus": 1])],
            quota("a/c", guarantees: ["cpus": 2]), passes: quota("a/c", guarantees: ["cpus": 1]),
            hasQuotaHierarchy: true),
        RuleCase(.ratelimitShape, limit("", rate: 1), passes: limit("p", rate: 1)),
        RuleCase(
            .ratelimitDuplicatePrincipal, .rateLimitsSet(RateLimits(limits: [principal("p"), principal("p")])),
            passes: .rateLimitsSet(RateLimits(limits: [principal("p"), principal("q")]))),
        RuleCase(.ratelimitQpsNotPositive, limit("p", rate: 0), passes: limit("p", rate: 0.1)),
        RuleCase(.ratelimitQpsNotPositive, limit("p", rate: .nan), passes: limit("p", rate: nil)),
        RuleCase(
            .ratelimitAggregateQpsNotPositive, .rateLimitsSet(RateLimits(aggregateRate: -1)),
            passes: .rateLimitsSet(RateLimits(aggregateRate: 1))),
        RuleCase(
            .ratelimitAggregateQpsNotPositive, .rateLimitsSet(RateLimits(aggregateRate: .infinity)),
            passes: .rateLimitsSet(nil)),
        RuleCase(.scheduleWindowEmpty, windows([[]]), passes: windows([[Agents.machine()]])),
        RuleCase(
            .scheduleDurationNegative, windows([[Agents.machine()]], duration: -1),
            passes: windows([[Agents.machine()]], duration: 0)),
        RuleCase(
            .machineIdEmpty, windows([[MachineID(hostname: [], ip: nil)]]),
            passes: windows([[MachineID(hostname: nil, ip: bytes("1.2.3.4"))]])),
        RuleCase(
            .machineTooLong, windows([[MachineID(hostname: [UInt8](repeating: 65, count: 256), ip: nil)]]),
            passes: windows([[MachineID(hostname: [UInt8](repeating: 65, count: 255), ip: nil)]])),
        RuleCase(
            .machineIpInvalid, windows([[MachineID(hostname: bytes("h"), ip: bytes("1.2.3.256"))]]),
            passes: windows([[MachineID(hostname: bytes("h"), ip: bytes("1.2.3.255"))]])),
        RuleCase(
            .scheduleMachineTwice,
            windows([[Agents.machine()], [MachineID(hostname: bytes("a1.EXAMPLE"), ip: bytes("10.0.0.1"))]]),
            passes: windows([[Agents.machine()], [MachineID(hostname: bytes("a1.EXAMPLE"), ip: nil)]])),
        RuleCase(
            .scheduleDownMachineRemoved, given: [schedule, .maintenanceStart([Agents.machine()])],
            windows([[Agents.machine("a2")]]),
            passes: windows([[Agents.machine("a2")], [Agents.machine()]])),
        RuleCase(
            .machineListEmpty, given: [schedule], .maintenanceStart([]), passes: .maintenanceStart([Agents.machine()])),
        RuleCase(
            .machineListEmpty, given: [schedule, .maintenanceStart([Agents.machine()])], .maintenanceStop([]),
            passes: .maintenanceStop([Agents.machine()])),
        RuleCase(
            .machineIdEmpty, given: [schedule], .maintenanceStart([MachineID(hostname: nil, ip: nil)]),
            passes: .maintenanceStart([Agents.machine()])),
        RuleCase(
            .machineIpInvalid, given: [schedule], .maintenanceStart([MachineID(hostname: nil, ip: bytes("1.2.3"))]),
            passes: .maintenanceStart([Agents.machine()])),
        RuleCase(
            .machineListedTwice, given: [schedule], .maintenanceStart([Agents.machine(), Agents.machine()]),
            passes: .maintenanceStart([Agents.machine()])),
        RuleCase(
            .machineNotScheduled, given: [schedule], .maintenanceStart([Agents.machine("a2")]),
            passes: .maintenanceStart([Agents.machine()])),
        RuleCase(
            .machineNotDraining, given: [schedule, .maintenanceStart([Agents.machine()])],
            .maintenanceStart([Agents.machine()]),
            passes: .maintenanceStop([Agents.machine()])),
        RuleCase(
            .machineNotDown, given: [schedule], .maintenanceStop([Agents.machine()]),
            passes: .maintenanceStop([Agents.machine()]),
            after: [schedule, .maintenanceStart([Agents.machine()])]),
    ]

    // MARK: - Operations

    private static let named =
        ready + [
            Operations.apply(
                1, .reserve([Claims.cpus(1).reserved("db").allocated("db")]), framework: "m1-0000", id: "o1")
        ]

    private static func acknowledge(
        _ status: UInt8, id: String = "o1", agent: String = "a1", uuid: [UInt8]? = nil
    ) -> RegistryCommand {
        .operationAcknowledge(
            frameworkID: f1, operationID: bytes(id), statusUUID: uuid ?? Operations.uuid(status), agentID: bytes(agent))
    }

    private static func odd(_ uuid: [UInt8]) -> RegistryCommand {
        var request = Operations.request(1, .reserve([Claims.cpus(1).reserved("db")]))
        request.uuid = uuid
        return .operationsApply([request], isAtomic: true)
    }

    static let operations: [RuleCase] = [
        RuleCase(.operationUuidSize, given: admitted, odd([1, 2, 3]), passes: odd(Operations.uuid(9))),
        RuleCase(
            .agentNotAdmitted, Operations.apply(1, .reserve([Claims.cpus(1).reserved("db")])),
            passes: Operations.apply(1, .reserve([Claims.cpus(1).reserved("db")])), after: admitted),
        RuleCase(
            .frameworkNotActive, given: ready + [.frameworkDisconnect(id: f1, connection: bytes("c1"))],
            Operations.apply(1, .reserve([Claims.cpus(1).reserved("db").allocated("db")]), framework: "m1-0000"),
            passes: Operations.apply(
                1, .reserve([Claims.cpus(1).reserved("db").allocated("db")]), framework: "m1-0000"),
            after: ready),
        RuleCase(
            .operationUuidReused, given: reserved, Operations.apply(1, .reserve([Claims.cpus(3).reserved("db")])),
            passes: Operations.apply(1, .reserve([Claims.cpus(2).reserved("db")]))),
        RuleCase(
            .operationEmpty, given: admitted, Operations.apply(1, .reserve([])),
            passes: Operations.apply(1, .reserve([Claims.cpus(1).reserved("db")]))),
        RuleCase(
            .operationVersionStale, given: admitted,
            Operations.apply(1, .reserve([Claims.cpus(1).reserved("db")]), version: Operations.uuid(5)),
            passes: Operations.apply(1, .reserve([Claims.cpus(1).reserved("db")]), version: Operations.uuid(5)),
            after: [
                .agentsReregister([
                    AgentAttachment(
                        agent: Agents.claim(), generation: 1, digest: CheckpointDigest.ofNothing,
                        versions: [ResourceVersion(providerID: nil, version: Operations.uuid(5))])
                ])
            ]),
        RuleCase(
            .operationNameReused, given: named,
            Operations.apply(
                2, .reserve([Claims.cpus(1).reserved("db").allocated("db")]), framework: "m1-0000", id: "o1"),
            passes: Operations.apply(
                2, .reserve([Claims.cpus(1).reserved("db").allocated("db")]), framework: "m1-0000", id: "o2")),
        RuleCase(
            .operationUnknown, given: admitted, Operations.status(1, .finished),
            passes: Operations.status(1, .finished), after: reserved),
        RuleCase(
            .operationStateNotReportable, given: reserved, Operations.status(1, .unreachable),
            passes: Operations.status(1, .pending)),
        RuleCase(
            .operationStatusesFull,
            given: named + (1...100).map { Operations.status(1, .pending, uuid: $0) },
            Operations.status(1, .pending, uuid: 101), passes: Operations.status(1, .failed, uuid: 101)),
        RuleCase(
            .operationStatusesFull,
            given: named + (1...100).map { Operations.status(1, .finished, uuid: $0) },
            Operations.status(1, .finished, uuid: 101), passes: Operations.status(1, .finished, uuid: 100)),
        RuleCase(
            .operationAckUuidSize, given: named, acknowledge(1, uuid: [1]), passes: acknowledge(1),
            after: named + [Operations.status(1, .finished, uuid: 1)]),
        RuleCase(
            .operationAckNoAgent, given: named, acknowledge(1, agent: ""), passes: acknowledge(1),
            after: named + [Operations.status(1, .finished, uuid: 1)]),
        RuleCase(
            .operationUnknownName, given: named + [Operations.status(1, .finished, uuid: 1)], acknowledge(1, id: "o2"),
            passes: acknowledge(1)),
        RuleCase(
            .operationUnknownStatus, given: named + [Operations.status(1, .finished, uuid: 1)], acknowledge(2),
            passes: acknowledge(1)),
        RuleCase(
            .agentNotAttached,
            given: named + [Operations.status(1, .finished, uuid: 1), .agentMarkUnreachable(id: a1)], acknowledge(1),
            passes: acknowledge(1), after: named + [Operations.status(1, .finished, uuid: 1)]),
    ]

    @Test("agent.reply-full: what agents have missed fits one reply, or they ask again")
    func replyFull() throws {
        let master = Master(audits: false)
        let ports = (0..<4).map { "ports\($0)" }
        let totals = ports.map { Claims.ports(through: 20_000, named: $0) }
        for name in ["a1", "a2", "a3"] {
            try master.call(.agentAdmit(Agents.claim(name, resources: totals)))
            for (number, ports) in ports.enumerated() {
                let reserved = Claims.ports(9_000, named: ports).reserved("db")
                try master.call(Operations.apply(UInt8(number), .reserve([reserved]), agent: name))
            }
        }
        func attachment(_ name: String, _ generation: UInt64) throws -> AgentAttachment {
            AgentAttachment(
                agent: Agents.claim(name, resources: totals), generation: generation,
                digest: try #require(try master.agent(name)).digest)
        }
        let reply = try master.call(
            .agentsReregister([try attachment("a1", 1), try attachment("a2", 1), try attachment("a3", 5)]))
        guard case .unchanged(.attached(let outcomes)) = reply, outcomes.count == 3, case .behind = outcomes[0],
            case .rejected(let rejection) = outcomes[1], case .upToDate = outcomes[2]
        else {
            Issue.record("\(reply)")
            return
        }
        #expect(rejection.rule == Array("agent.reply-full".utf8))
        // By itself, there is room for it.
        guard case .unchanged(.attached(let again)) = try master.call(.agentsReregister([try attachment("a2", 1)])),
            case .behind(5, let entries, _)? = again.first
        else {
            Issue.record("a2 by itself")
            return
        }
        #expect(entries.count == 4)
    }

    // MARK: - All of them

    static let all: [RuleCase] = [
        agents, frameworks, limits, operations, ValueRules.cases, ConversionRules.cases, ImportTests.rules,
    ].flatMap { $0 }

    @Test("a rule and its neighbour", arguments: all)
    func rule(_ example: RuleCase) throws {
        var master = Master(hasQuotaHierarchy: example.hasQuotaHierarchy)
        for command in example.given { #expect(try master.rule(command) == nil) }
        #expect(try master.rule(example.refused) == example.rule)
        if let otherwise = example.otherwise {
            master = Master(hasQuotaHierarchy: example.hasQuotaHierarchy)
            for command in otherwise { #expect(try master.rule(command) == nil) }
        }
        #expect(try master.rule(example.passes) == nil)
    }

    /// What no command is refused for as a whole: `replyFull` refuses an agent of a batch for what those before it
    /// have missed, and so never the first.
    private static let ofBatches: Set<RegistryRule> = [.agentReplyFull]

    @Test("every rule has a case")
    func complete() {
        let untested = Set(RegistryRule.allCases).subtracting(Self.all.map(\.rule))
        #expect(untested.symmetricDifference(Self.ofBatches).map(\.rawValue).sorted() == [])
    }
}
