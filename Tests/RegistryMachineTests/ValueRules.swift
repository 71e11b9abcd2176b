import RegistryModel

private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

/// The rules of names, and of resources: each by itself, and lists of them. An agent has them, or is refused for them.
enum ValueRules {
    static let cases: [RuleCase] = [names, amounts, disks, reservations, volumes, lists, sizes].flatMap { $0 }

    // MARK: - Names

    private static let roles: [(String, RegistryRule, String)] = [
        ("/a", .roleSlashEdge, "a"), ("a/", .roleSlashEdge, "a/b"), ("/", .roleSlashEdge, "x"),
        ("a//b", .roleSlashDouble, "a/b"), ("", .roleEmpty, "*"), ("a/./b", .roleDotComponent, "a/.b"),
        ("..", .roleDotComponent, "..."), ("a/*", .roleStarComponent, "a/**"), ("-a", .roleDashStart, "a-"),
        ("a/-b", .roleDashStart, "a/b-"), ("a b", .roleCharacter, "a_b"), ("a\u{7F}", .roleCharacter, "a\u{80}"),
        ("a\tb", .roleCharacter, "a\u{8}b"), ("a\rb", .roleCharacter, "a.b"),
        (String(repeating: "r", count: 1_025), .roleTooLong, String(repeating: "r", count: 1_024)),
        (String(repeating: "r/", count: 64) + "r", .roleTooLong, String(repeating: "r/", count: 63) + "r"),
    ]

    private static let ids: [(String, RegistryRule, String)] = [
        ("", .idEmpty, "x"), (String(repeating: "i", count: 256), .idTooLong, String(repeating: "i", count: 255)),
        (".", .idDots, ".x"), ("..", .idDots, "..."), ("a/b", .idCharacter, "a-b"), ("a\\b", .idCharacter, "a|b"),
        ("a\u{0}", .idCharacter, "a b"), ("a\u{7F}", .idCharacter, "ä"),
    ]

    private static func weigh(_ role: String) -> RegistryCommand {
        .weightsUpdate([Weight(role: bytes(role), weight: 2)])
    }

    private static func provider(_ id: String) -> RegistryCommand {
        .providerAdmit(id: bytes(id), type: nil, name: nil)
    }

    private static var names: [RuleCase] {
        roles.map { refused, rule, passes in RuleCase(rule, weigh(refused), passes: weigh(passes)) }
            + ids.map { refused, rule, passes in RuleCase(rule, provider(refused), passes: provider(passes)) }
    }

    // MARK: - Amounts

    private static func admit(_ resources: [ResourceClaim]) -> RegistryCommand {
        .agentAdmit(Agents.claim(resources: resources))
    }

    private static func refuses(
        _ rule: RegistryRule, _ refused: ResourceClaim..., passes: ResourceClaim...
    ) -> RuleCase {
        RuleCase(rule, admit(refused), passes: admit(passes))
    }

    private static func ports(_ ranges: (UInt64, UInt64)...) -> ResourceClaim {
        ResourceClaim(name: bytes("ports"), type: .ranges, ranges: ranges.map { (begin: $0.0, end: $0.1) })
    }

    private static func zones(_ items: String...) -> ResourceClaim {
        ResourceClaim(name: bytes("zones"), type: .set, set: items.map(bytes))
    }

    private static let x = bytes("x")
    /// The largest number without a fraction.
    private static let most = Claims.cpus(9_007_199_254_740)

    private static let amounts: [RuleCase] = [
        refuses(
            .resourceNameEmpty, ResourceClaim(name: [], type: .scalar, scalar: 1),
            passes: ResourceClaim(name: x, type: .scalar, scalar: 1)),
        // Text; none that is known; not that of the value; no value; more than one.
        refuses(.resourceTypeInvalid, ResourceClaim(name: x, type: .text), passes: zones("a")),
        refuses(
            .resourceTypeInvalid, ResourceClaim(name: x, type: nil, scalar: 1),
            passes: ResourceClaim(name: x, type: .scalar, scalar: 1)),
        refuses(.resourceTypeInvalid, ResourceClaim(name: x, type: .ranges, scalar: 1), passes: ports((1, 1))),
        refuses(.resourceTypeInvalid, ResourceClaim(name: x, type: .scalar), passes: Claims.cpus(0)),
        refuses(
            .resourceTypeInvalid, ResourceClaim(name: x, type: .scalar, scalar: 1, set: []),
            passes: ResourceClaim(name: x, type: .set, set: [])),
        refuses(.scalarInvalid, Claims.cpus(-1), passes: Claims.cpus(0)),
        refuses(.scalarInvalid, Claims.cpus(.nan), passes: Claims.cpus(1)),
        refuses(.scalarNotPositive, Claims.cpus(0.000_4), passes: Claims.cpus(0.000_5)),
        refuses(.scalarOverflow, Claims.cpus(9_007_199_254_741), passes: most),
        refuses(.scalarOverflow, most, Claims.cpus(1), passes: most, Claims.cpus(0.5)),
        // What all agents have together is counted too.
        RuleCase(
            .scalarOverflow, given: [admit([most])], .agentAdmit(Agents.claim("a2", resources: [Claims.cpus(1)])),
            passes: .agentAdmit(Agents.claim("a2", resources: [Claims.cpus(0.5)]))),
        // More than a counter could hold before it is judged.
        RuleCase(
            .scalarOverflow, admit([ResourceClaim](repeating: Claims.mount(9_007_199_254_740), count: 1_025)),
            passes: admit([Claims.mount(9_007_199_254_740)])),
        refuses(.rangesInverted, ports((1, 2), (5, 4)), passes: ports((1, 2), (5, 5))),
        refuses(.rangesOverlap, ports((5, 8), (1, 5)), passes: ports((6, 8), (1, 5))),
        refuses(.setDuplicate, zones("a", "b", "a"), passes: zones("a", "b")),
    ]

    // MARK: - Disks

    private typealias Disk = ResourceClaim.DiskClaim
    private typealias Source = ResourceClaim.SourceClaim

    private static func disk(_ info: Disk?) -> ResourceClaim {
        var claim = Claims.root(100)
        claim.disk = info
        return claim
    }

    private static func disk(_ source: Source) -> ResourceClaim { disk(Disk(source: source)) }

    private static var cpusOnDisk: ResourceClaim {
        var cpus = Claims.cpus(1)
        cpus.disk = Disk(source: Source(kind: .mount))
        return cpus
    }

    private static let disks: [RuleCase] = [
        refuses(.diskWrongName, cpusOnDisk, passes: disk(Source(kind: .mount))),
        refuses(
            .diskRootOnBlock, disk(Source(kind: .block, path: .init())),
            passes: disk(Source(kind: .path, path: .init()))),
        refuses(
            .diskRootOnBlock, disk(Source(kind: .block, mount: .init())),
            passes: disk(Source(kind: .mount, mount: .init()))),
        refuses(.diskRootOnBlock, disk(Source(kind: .raw, path: .init())), passes: disk(Source(kind: .raw))),
        refuses(.diskRootOnBlock, disk(Source(kind: .raw, mount: .init())), passes: disk(Source(kind: .block))),
        refuses(.diskTypeUnknown, disk(Source()), passes: disk(Source(kind: .raw, id: x))),
        refuses(.diskEmpty, disk(Disk()), passes: disk(nil)),
    ]

    // MARK: - Reservations

    private typealias Level = ResourceClaim.ReservationClaim

    private static func level(_ role: String, _ kind: Reservation.Kind = .dynamic) -> Level {
        Level(kind: kind, role: bytes(role), principal: bytes("p"))
    }

    private static func reserved(_ levels: Level...) -> ResourceClaim {
        var claim = Claims.cpus(1)
        claim.reservations = levels
        return claim
    }

    /// In the former form, and perhaps in the present one beside it.
    private static func formerly(_ role: String?, beside levels: Level...) -> ResourceClaim {
        var claim = Claims.cpus(1)
        claim.formerRole = role.map(bytes)
        claim.formerReservation = Level(principal: bytes("p"))
        claim.reservations = levels
        return claim
    }

    private static func revocable(_ claim: ResourceClaim) -> ResourceClaim {
        var claim = claim
        claim.isRevocable = true
        return claim
    }

    private static let reservations: [RuleCase] = [
        refuses(.reservationKindMissing, reserved(Level(role: bytes("a"))), passes: reserved(level("a"))),
        refuses(.reservationRoleMissing, reserved(Level(kind: .dynamic)), passes: reserved(level("a"))),
        refuses(.roleSlashDouble, reserved(level("a//b")), passes: reserved(level("a/b"))),
        refuses(.reservationRoleIsStar, reserved(level("*")), passes: reserved(level("**"))),
        refuses(.reservationRoleIsStar, formerly("*"), passes: formerly("db")),
        refuses(.reservationRoleIsStar, formerly(nil), passes: formerly("db")),
        refuses(
            .reservationStaticRefinement, reserved(level("a"), level("a/b", .static)),
            passes: reserved(level("a", .static), level("a/b"))),
        refuses(.reservationNotASubrole, reserved(level("a"), level("ab")), passes: reserved(level("a"), level("a/b"))),
        refuses(
            .reservationNotASubrole, reserved(level("a"), level("a")),
            passes: reserved(level("a"), level("a/a"), level("a/a/a"))),
        refuses(
            .reservationFormsDisagree, formerly("db", beside: level("web")), passes: formerly("db", beside: level("db"))
        ),
        refuses(
            .reservationFormsDisagree, formerly("db", beside: level("db"), level("db/x")),
            passes: reserved(level("db"), level("db/x"))),
        refuses(.reservationFormsDisagree, formerly(nil, beside: level("db")), passes: reserved(level("db"))),
        refuses(
            .reservationDynamicRevocable, revocable(reserved(level("db"))),
            passes: revocable(reserved(level("db", .static)))),
    ]

    // MARK: - Volumes

    private static func volume(_ change: (inout ResourceClaim) -> Void = { _ in }) -> ResourceClaim {
        var claim = Claims.path(100).reserved("db").volume("wal")
        change(&claim)
        return claim
    }

    private static func shared(_ claim: ResourceClaim) -> ResourceClaim {
        var claim = claim
        claim.isShared = true
        return claim
    }

    private static func mounted(at path: String) -> ResourceClaim {
        volume { $0.disk?.volume?.containerPath = bytes(path) }
    }

    private static let volumes: [RuleCase] = [
        refuses(.sharedWrongName, shared(Claims.cpus(1)), passes: Claims.cpus(1)),
        refuses(.sharedNotVolume, shared(Claims.path(100)), passes: shared(volume())),
        refuses(.volumeRevocable, revocable(volume()), passes: volume()),
        refuses(.createDuplicateId, volume(), volume(), passes: volume()),
        // Of two rules the first.
        refuses(.volumeRevocable, revocable(volume { $0.reservations = [] }), passes: volume()),
        refuses(.volumeUnreserved, volume { $0.reservations = [] }, passes: volume()),
        refuses(.volumeMountMissing, volume { $0.disk?.volume = nil }, passes: volume()),
        refuses(.volumeHostPath, volume { $0.disk?.volume?.hostPath = x }, passes: volume()),
        refuses(
            .idCharacter, volume { $0.disk?.persistence?.id = bytes("a/b") },
            passes: volume { $0.disk?.persistence?.id = bytes("a-b") }),
        refuses(.volumeNotPersistent, volume { $0.disk?.persistence = nil }, passes: volume()),
        refuses(.volumePathAbsolute, mounted(at: ""), passes: mounted(at: "a")),
        refuses(.volumePathAbsolute, mounted(at: "/a"), passes: mounted(at: "a/b")),
        refuses(.volumePathAbsolute, mounted(at: "a/../b"), passes: mounted(at: "a/..b")),
    ]

    // MARK: - Lists

    private static func gpus(_ count: Double) -> ResourceClaim {
        ResourceClaim(name: bytes("gpus"), type: .scalar, scalar: count)
    }

    private static let lists: [RuleCase] = [
        refuses(.gpusFractional, gpus(0.5), passes: gpus(0.5), gpus(1.5)),
        refuses(.resourceListOverlap, ports((1, 5)), ports((5, 9)), passes: ports((1, 5)), ports((6, 9))),
        // Of another stack it is another thing.
        refuses(
            .resourceListOverlap, ports((1, 5)), ports((5, 9)),
            passes: ports((1, 5)), ports((5, 9)).reserved("db")),
        refuses(.resourceListOverlap, zones("a"), zones("a", "b"), passes: zones("a"), zones("b")),
    ]

    // MARK: - Sizes

    private static func named(_ size: Int) -> ResourceClaim {
        ResourceClaim(name: [UInt8](repeating: 65, count: size), type: .scalar, scalar: 1)
    }

    private static func reserve(asPrincipal size: Int) -> RegistryCommand {
        Operations.apply(
            1, .reserve([Claims.cpus(1).reserved("db", principal: String(repeating: "p", count: size))]))
    }

    private static func admit(_ count: Int) -> RegistryCommand {
        admit([ResourceClaim](repeating: Claims.cpus(1), count: count))
    }

    /// The role has limits of so many resources.
    private static func limit(_ count: Int) -> RegistryCommand {
        let limits = (0..<count).map { NamedNumber(name: bytes("r\($0)"), number: 1) }
        return .quotaUpdate([QuotaConfig(role: bytes("db"), limits: limits)], isForced: false)
    }

    private static let sizes: [RuleCase] = [
        refuses(.resourceTooLarge, named(256), passes: named(255)),
        RuleCase(
            .resourceTooLarge, given: [Agents.admit()], reserve(asPrincipal: 2_560),
            passes: reserve(asPrincipal: 2_500)),
        RuleCase(.resourceListTooLong, admit(4_097), passes: admit(4_096)),
        RuleCase(.resourceListTooLong, limit(4_097), passes: limit(4_096)),
        refuses(.rangesTooMany, Claims.ports(10_001), passes: Claims.ports(10_000)),
        // Every second port of them, so that what is left falls into as many ranges and one more.
        RuleCase(
            .rangesTooMany, given: [admit([Claims.ports(through: 20_000)])],
            Operations.apply(1, .reserve([Claims.ports(10_000).reserved("db")])),
            passes: Operations.apply(1, .reserve([Claims.ports(10_000).reserved("db")])),
            after: [admit([Claims.ports(through: 19_999)])]),
    ]
}
