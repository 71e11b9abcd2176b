import RegistryModel

private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

/// The rules of operations on the resources of one agent.
enum ConversionRules {
    static let cases: [RuleCase] = [
        fromSource, reserving, unreserving, volumes, creating, principals, destroying, growing, shrinking, ledger,
        capabilities,
    ].flatMap { $0 }

    // MARK: - What has happened, and what is asked for

    private static func been(through operations: [OperationKind]) -> [RegistryCommand] {
        [Agents.admit()] + operations.enumerated().map { Operations.apply(UInt8($0.offset), $0.element) }
    }

    private static let framework = "m1-0000"

    /// Asked for by an operator.
    private static func refuses(
        _ rule: RegistryRule, given: [OperationKind] = [], _ refused: OperationKind, passes: OperationKind
    ) -> RuleCase {
        RuleCase(
            rule, given: been(through: given), Operations.apply(100, refused), passes: Operations.apply(101, passes))
    }

    /// Asked for by a framework of these roles.
    private static func refuses(
        _ rule: RegistryRule, by roles: [String], given: [OperationKind] = [], _ refused: OperationKind,
        passes: OperationKind
    ) -> RuleCase {
        RuleCase(
            rule, given: been(through: given) + [Frameworks.subscribe(Frameworks.info(roles: roles))],
            Operations.apply(100, refused, framework: framework),
            passes: Operations.apply(101, passes, framework: framework))
    }

    /// Asked for by whoever has authenticated as `p`, and as nobody.
    private static func refuses(
        _ rule: RegistryRule, asking refused: OperationKind, passes: OperationKind, given: [OperationKind] = []
    ) -> [RuleCase] {
        let given = been(through: given)
        let asked = Operations.apply(100, refused, principal: "p")
        return [
            RuleCase(rule, given: given, asked, passes: Operations.apply(101, passes, principal: "p")),
            RuleCase(rule, given: given, asked, passes: Operations.apply(101, refused)),
        ]
    }

    /// Asked of an agent that can do only this by now.
    private static func refuses(
        _ rule: RegistryRule, of capabilities: AgentCapabilities, given: [OperationKind] = [], _ refused: OperationKind
    ) -> RuleCase {
        let update = RegistryCommand.agentUpdate(id: bytes("a1"), AgentPatch(capabilities: capabilities))
        let (given, asked) = (been(through: given), Operations.apply(100, refused))
        return RuleCase(rule, given: given + [update], asked, passes: asked, after: given)
    }

    private static func provided(_ claim: ResourceClaim) -> ResourceClaim {
        var claim = claim
        claim.providerID = bytes("rp")
        return claim
    }

    private static func shared(_ claim: ResourceClaim) -> ResourceClaim {
        var claim = claim
        claim.isShared = true
        return claim
    }

    private static let cpus = Claims.cpus(1).reserved("a")
    private static let path = Claims.path(10).reserved("a")
    private static let wal = path.volume("wal")
    private static let mount = Claims.mount(500_000).reserved("a")
    /// A volume, and as much again of what it is made of.
    private static let withVolume: [OperationKind] = [.reserve([Claims.path(20).reserved("a")]), .create([wal])]

    // MARK: - Reservations

    private static let a = Claims.cpus(2).reserved("a")
    private static let b = Claims.cpus(2).reserved("b")
    private static let mixed = [cpus, Claims.cpus(1).reserved("c")]

    private static let fromSource: [RuleCase] = [
        refuses(.reserveListEmpty, given: [.reserve([a])], .reserve([b], source: []), passes: .reserve([b])),
        refuses(
            .reserveListEmpty, given: [.reserve([a])], .reserve([], source: [a]), passes: .reserve([b], source: [a])),
        refuses(
            .reserveMixedStacks, given: [.reserve([a])], .reserve([b], source: mixed),
            passes: .reserve([b], source: [cpus, cpus])),
        refuses(
            .reserveMixedStacks, given: [.reserve([a])], .reserve(mixed, source: [a]),
            passes: .reserve([Claims.cpus(0.5).reserved("b"), Claims.cpus(1.5).reserved("b")], source: [a])),
        refuses(
            .reserveQuantityDiffers, given: [.reserve([a])], .reserve([Claims.cpus(3).reserved("b")], source: [a]),
            passes: .reserve([b], source: [a])),
        refuses(
            .reserveQuantityDiffers, given: [.reserve([a])], .reserve([b.allocated("b")], source: [a]),
            passes: .reserve([b], source: [a])),
    ]

    private static let reserving: [RuleCase] = [
        refuses(
            .operationMixedProviders, .reserve([cpus, provided(cpus)]),
            passes: .reserve([cpus, Claims.mem(1).reserved("a")])),
        refuses(.reserveNotDynamic, .reserve([Claims.cpus(1)]), passes: .reserve([cpus])),
        refuses(.reserveNotDynamic, .reserve([Claims.cpus(1).reserved("a", .static)]), passes: .reserve([cpus])),
        refuses(.reservePersistentVolume, .reserve([wal]), passes: .reserve([path])),
        refuses(.reserveUnallocated, by: ["a"], .reserve([cpus]), passes: .reserve([cpus.allocated("a")])),
        refuses(
            .reserveAllocationRoleDiffers, by: ["a", "b"], .reserve([cpus.allocated("b")]),
            passes: .reserve([cpus.allocated("a")])),
        refuses(
            .reserveRoleNotSubscribed, by: ["b"], .reserve([cpus.allocated("a")]),
            passes: .reserve([b.allocated("b")])),
        refuses(.reserveAllocated, .reserve([cpus.allocated("a")]), passes: .reserve([cpus])),
        refuses(
            .operationMixedAllocation, by: ["a", "b"], .reserve([cpus.allocated("a"), b.allocated("b")]),
            passes: .reserve([cpus.allocated("a"), a.allocated("a")])),
    ]

    private static let unreserving: [RuleCase] = [
        refuses(
            .operationMixedProviders, given: [.reserve([cpus])], .unreserve([provided(cpus), cpus]),
            passes: .unreserve([cpus])),
        refuses(
            .unreserveNotDynamic, given: [.reserve([cpus])], .unreserve([Claims.cpus(1)]), passes: .unreserve([cpus])),
        refuses(.unreservePersistentVolume, given: withVolume, .unreserve([wal]), passes: .unreserve([path])),
        // What is reserved may be used by the roles below.
        refuses(
            .operationAlienRole, by: ["b/x"], given: [.reserve([a, b])], .unreserve([a]), passes: .unreserve([b])),
    ]

    // MARK: - Volumes

    private static var readOnly: ResourceClaim {
        var claim = wal
        claim.disk?.volume?.isReadOnly = true
        return claim
    }

    private static var unmounted: ResourceClaim {
        var claim = wal
        claim.disk?.volume = nil
        return claim
    }

    private static let volumes: [RuleCase] = [
        refuses(.volumeNoDisk, given: [.reserve([path])], .create([cpus]), passes: .create([wal])),
        refuses(.volumeNoDisk, given: withVolume, .destroy([cpus]), passes: .destroy([wal])),
        refuses(.volumeNoPersistence, given: [.reserve([path])], .create([path]), passes: .create([wal])),
        refuses(.volumeNoPersistence, given: withVolume, .destroy([path]), passes: .destroy([wal])),
        refuses(.volumeReadOnly, given: [.reserve([path])], .create([readOnly]), passes: .create([wal])),
        refuses(.volumeReadOnly, given: withVolume, .destroy([readOnly]), passes: .destroy([wal])),
        // A list with one that is not mounted is refused as such.
        refuses(
            .volumeNoMount, given: withVolume, .shrinkVolume(unmounted, subtract: 1),
            passes: .shrinkVolume(wal, subtract: 1)),
        refuses(
            .volumeNoMount, given: withVolume, .growVolume(unmounted, addition: path),
            passes: .growVolume(wal, addition: path)),
    ]

    private static let bothPaths = OperationKind.reserve([Claims.path(20).reserved("a"), Claims.path(10).reserved("b")])
    private static let walOfB = Claims.path(10).reserved("b").volume("wal")

    private static let creating: [RuleCase] = [
        refuses(
            .operationMixedProviders, given: [bothPaths], .create([provided(wal), walOfB]),
            passes: .create([wal, walOfB])),
        refuses(
            .createDuplicateId, given: [bothPaths], .create([wal, wal]), passes: .create([wal, path.volume("base")])),
        refuses(.createDuplicateId, given: [bothPaths, .create([wal])], .create([wal]), passes: .create([walOfB])),
        RuleCase(
            .createSharedIncapable,
            given: been(through: [.reserve([path])]) + [Frameworks.subscribe(Frameworks.info(roles: ["a"]))],
            Operations.apply(100, .create([shared(wal).allocated("a")]), framework: framework),
            passes: Operations.apply(101, .create([shared(wal).allocated("a")]), framework: framework),
            after: been(through: [.reserve([path])]) + [
                Frameworks.subscribe(
                    Frameworks.info(roles: ["a"], capabilities: [.multiRole, .sharedResources]))
            ]),
        refuses(
            .operationMixedAllocation, by: ["a"], given: [bothPaths], .create([wal]),
            passes: .create([wal.allocated("a")])),
        refuses(
            .operationAlienRole, by: ["b"], given: [bothPaths], .create([wal.allocated("b")]),
            passes: .create([walOfB.allocated("b")])),
    ]

    private static func reserved(by principal: String?) -> OperationKind {
        .reserve([Claims.cpus(1).reserved("a", principal: principal)])
    }

    private static func made(by principal: String?) -> OperationKind {
        var claim = wal
        claim.disk?.persistence?.principal = principal.map(bytes)
        return .create([claim])
    }

    private static var principals: [RuleCase] {
        let first: [OperationKind] = [.reserve([path])]
        let each: [[RuleCase]] = [
            refuses(.reservePrincipalMissing, asking: reserved(by: nil), passes: reserved(by: "p")),
            refuses(.reservePrincipalDiffers, asking: reserved(by: "q"), passes: reserved(by: "p")),
            refuses(.createPrincipalMissing, asking: made(by: nil), passes: made(by: "p"), given: first),
            refuses(.createPrincipalDiffers, asking: made(by: "q"), passes: made(by: "p"), given: first),
        ]
        return each.flatMap { $0 }
    }

    private static let beforeHold =
        been(through: withVolume) + [Frameworks.subscribe(Frameworks.info(roles: ["a"]))]

    private static let destroying: [RuleCase] = [
        refuses(
            .operationMixedProviders, given: [bothPaths, .create([wal, walOfB])], .destroy([provided(wal), walOfB]),
            passes: .destroy([wal, walOfB])),
        // The size, the stack and the id have to be those of the volume.
        refuses(
            .destroyNotFound, given: withVolume, .destroy([Claims.path(9).reserved("a").volume("wal")]),
            passes: .destroy([wal])),
        refuses(.destroyNotFound, given: withVolume, .destroy([walOfB]), passes: .destroy([wal])),
        refuses(.destroyNotFound, given: withVolume, .destroy([path.volume("base")]), passes: .destroy([wal])),
        RuleCase(
            .destroyInUse, given: beforeHold + [Operations.acquire("h", role: "a", [wal])],
            Operations.apply(100, .destroy([wal])), passes: Operations.apply(101, .destroy([wal])), after: beforeHold),
        refuses(
            .operationAlienRole, by: ["b"], given: [bothPaths, .create([wal, walOfB])], .destroy([wal]),
            passes: .destroy([walOfB.allocated("b")])),
    ]

    private static let growing: [RuleCase] = [
        refuses(
            .growAdditionZero, given: withVolume, .growVolume(wal, addition: Claims.path(0).reserved("a")),
            passes: .growVolume(wal, addition: Claims.path(0.001).reserved("a"))),
        refuses(
            .growProvider, given: withVolume, .growVolume(provided(wal), addition: path),
            passes: .growVolume(wal, addition: path)),
        refuses(
            .growShared, given: withVolume, .growVolume(shared(wal), addition: path),
            passes: .growVolume(wal, addition: path)),
        refuses(
            .growIncompatible, given: withVolume, .growVolume(wal, addition: Claims.path(10)),
            passes: .growVolume(wal, addition: path)),
        refuses(
            .growIncompatible, given: withVolume, .growVolume(wal, addition: Claims.root(10).reserved("a")),
            passes: .growVolume(wal, addition: path)),
        // What is given away whole adds up with nothing.
        refuses(
            .growIncompatible, given: withVolume, .growVolume(mount.volume("wal"), addition: mount),
            passes: .growVolume(wal, addition: path)),
    ]

    private static let shrinking: [RuleCase] = [
        refuses(
            .shrinkSubtractZero, given: withVolume, .shrinkVolume(wal, subtract: 0),
            passes: .shrinkVolume(wal, subtract: 0.001)),
        refuses(
            .scalarInvalid, given: withVolume, .shrinkVolume(wal, subtract: -1),
            passes: .shrinkVolume(wal, subtract: 1)),
        refuses(
            .shrinkNothingLeft, given: withVolume, .shrinkVolume(wal, subtract: 10),
            passes: .shrinkVolume(wal, subtract: 9.999)),
        refuses(
            .shrinkProvider, given: withVolume, .shrinkVolume(provided(wal), subtract: 1),
            passes: .shrinkVolume(wal, subtract: 1)),
        refuses(
            .shrinkMount, given: withVolume + [.reserve([mount]), .create([mount.volume("base")])],
            .shrinkVolume(mount.volume("base"), subtract: 1), passes: .shrinkVolume(wal, subtract: 1)),
        refuses(
            .shrinkShared, given: withVolume, .shrinkVolume(shared(wal), subtract: 1),
            passes: .shrinkVolume(wal, subtract: 1)),
    ]

    // MARK: - What the agent has, and can do

    private static let ledger: [RuleCase] = [
        refuses(
            .ledgerIndivisible, .reserve([Claims.mount(200_000).reserved("a")]),
            passes: .reserve([mount])),
        refuses(
            .ledgerInsufficient, .reserve([Claims.cpus(8.001).reserved("a")]),
            passes: .reserve([Claims.cpus(8).reserved("a")])),
        // One list names one thing twice: it has to be there twice.
        refuses(
            .ledgerInsufficient, .reserve([Claims.cpus(5).reserved("a"), Claims.cpus(4).reserved("b")]),
            passes: .reserve([Claims.cpus(5).reserved("a"), Claims.cpus(3).reserved("b")])),
        refuses(.ledgerInsufficient, given: [.reserve([cpus])], .unreserve([a]), passes: .unreserve([cpus])),
        RuleCase(
            .ledgerInUse,
            given: [
                Agents.admit(), Frameworks.subscribe(Frameworks.info()), Operations.acquire("h", [Claims.cpus(6)]),
            ],
            Operations.apply(100, .reserve([Claims.cpus(2.001).reserved("a")])),
            passes: Operations.apply(101, .reserve([Claims.cpus(2).reserved("a")]))),
    ]

    private static let nested = Claims.path(10).reserved("a/b")
    private static let layered = path.reserved("a/b")

    private static let capabilities: [RuleCase] = [
        refuses(.agentNoHierarchicalRole, of: .reservationRefinement, .reserve([nested])),
        refuses(
            .agentNoHierarchicalRole, of: .reservationRefinement, given: [.reserve([nested])],
            .create([nested.volume("wal")])),
        refuses(.agentNoRefinement, of: .hierarchicalRole, given: [.reserve([path])], .reserve([layered])),
        refuses(
            .agentNoRefinement, of: .hierarchicalRole, given: [.reserve([path]), .reserve([layered])],
            .create([layered.volume("wal")])),
        refuses(.agentNoResize, of: [], given: withVolume, .growVolume(wal, addition: path)),
        refuses(.agentNoResize, of: [], given: withVolume, .shrinkVolume(wal, subtract: 1)),
    ]
}
