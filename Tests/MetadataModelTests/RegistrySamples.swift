import MetadataModel
import RegistryModel

/// One value of every form of the masters' registry, with each optional part once there and once not.
enum RegistrySamples {
    private static func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }
    private static func id(_ text: String) -> RegistryID { RegistryID(unchecked: bytes(text)) }
    private static func role(_ text: String) -> RoleName { RoleName(unchecked: bytes(text)) }

    private static let agentID = bytes("a1")
    private static let frameworkID = bytes("f1")
    private static let uuid: [UInt8] = Array(0x10..<0x20)
    private static let labels = [
        Labels.Label(key: bytes("k"), value: nil), Labels.Label(key: bytes("l"), value: bytes("v")),
    ]

    // MARK: As stated

    static let claims: [ResourceClaim] = [
        ResourceClaim(
            name: bytes("disk"), type: .scalar, scalar: 1.5,
            reservations: [
                ResourceClaim.ReservationClaim(kind: .static, role: bytes("r")),
                ResourceClaim.ReservationClaim(
                    kind: .dynamic, role: bytes("r/s"), principal: bytes("p"), labels: labels),
            ],
            formerRole: bytes("r"), formerReservation: ResourceClaim.ReservationClaim(principal: bytes("p")),
            disk: ResourceClaim.DiskClaim(
                source: ResourceClaim.SourceClaim(
                    kind: .mount, path: ResourceClaim.SourceClaim.Root(),
                    mount: ResourceClaim.SourceClaim.Root(bytes("/m")), vendor: bytes("v"), id: bytes("i"),
                    metadata: labels, profile: bytes("q")),
                persistence: ResourceClaim.PersistenceClaim(id: bytes("w"), principal: bytes("p")),
                volume: VolumeMount(containerPath: bytes("c"), isReadOnly: true, hostPath: bytes("/h"))),
            isRevocable: true, isShared: true, providerID: bytes("p1"), allocationRole: bytes("r")),
        ResourceClaim(name: bytes("ports"), type: .ranges, ranges: [(begin: 1, end: 2), (begin: 4, end: 4)]),
        ResourceClaim(
            name: bytes("zones"), type: .set, set: [bytes("x"), bytes("y")],
            disk: ResourceClaim.DiskClaim(source: ResourceClaim.SourceClaim())),
        ResourceClaim(name: bytes("t"), type: .text),
        ResourceClaim(name: [], type: nil),
    ]

    private static let cpus = ResourceClaim(name: bytes("cpus"), type: .scalar, scalar: 2)
    static let info = AgentInfo(
        hostname: bytes("h"), ip: bytes("10.0.0.1"),
        attributes: [
            Attribute(name: bytes("s"), value: .scalar(0.5)), Attribute(name: bytes("r"), value: .ranges([1...2])),
            Attribute(name: bytes("i"), value: .set([bytes("x")])),
            Attribute(name: bytes("t"), value: .text(bytes("y"))),
        ],
        domain: bytes("{}"), isCheckpointing: true, capabilities: [.multiRole, .taskResourceLimits], extra: bytes("{}"))
    private static let agent = AgentClaim(id: agentID, info: info, resources: claims)
    private static let plainAgent = AgentClaim(
        id: agentID, info: AgentInfo(hostname: bytes("h"), ip: bytes("10.0.0.1"), port: 7), resources: [cpus])
    private static let versions = [
        ResourceVersion(providerID: nil, version: uuid), ResourceVersion(providerID: bytes("p1"), version: uuid),
    ]
    private static let framework = FrameworkInfo(
        id: frameworkID, name: bytes("n"), user: bytes("u"), principal: bytes("p"), role: bytes("r"),
        roles: [bytes("r"), bytes("s")], capabilities: [.multiRole, .regionAware], failoverTimeout: 600,
        isCheckpointing: true, hostname: bytes("h"), webuiURL: bytes("http://h"), labels: labels,
        offerFilters: [OfferFilter(role: bytes("r"), quantities: [NamedNumber(name: bytes("cpus"), number: 1)])],
        suppressedRoles: [bytes("s")])
    private static let machines = [
        MachineID(hostname: bytes("H"), ip: bytes("10.0.0.1")), MachineID(hostname: nil, ip: bytes("10.0.0.2")),
        MachineID(hostname: bytes("i"), ip: nil),
    ]
    private static let away = Unavailability(start: -1, duration: 5)
    private static let status = OperationStatus(state: .finished, uuid: uuid, message: bytes("m"))
    private static let rateLimits = RateLimits(
        limits: [
            RateLimits.Limit(principal: bytes("p"), rate: 2, capacity: 3), RateLimits.Limit(principal: bytes("q")),
        ], aggregateRate: 0.5, aggregateCapacity: 4)

    private static let extra = bytes("{}")
    private static let imported: [ImportRecord] = [
        .master(MasterInfo(id: bytes("m1"), extra: extra)),
        .quota(
            QuotaConfig(role: bytes("r"), guarantees: [NamedNumber(name: bytes("cpus"), number: 1)]), extra: extra),
        .legacyQuota(LegacyQuota(role: bytes("s"), principal: bytes("p"), guarantee: [cpus], extra: extra)),
        .legacyQuota(LegacyQuota(role: bytes("t"), guarantee: [])),
        .weight(Weight(role: bytes("r"), weight: 2, extra: extra)), .schedule,
        .window(
            away,
            [
                ImportedMachine(
                    scheduled: machines[0], id: machines[1], mode: .draining, unavailability: away, extra: extra)
            ], extra: extra),
        .machines([
            ImportedMachine(
                scheduled: machines[2], id: machines[2], mode: .down, unavailability: Unavailability(start: 4))
        ]),
        .agent(plainAgent, ImportedStanding(isDeactivated: true, drain: drain, extra: extra)),
        .unreachable(id: agentID, since: 6, ImportedStanding()), .gone(id: agentID, since: 7, extra: extra),
        .provider(id: bytes("p1"), ProviderRow(isRemoved: true, name: bytes("n"), extra: extra)),
        .capability(MinimumCapability(name: bytes("X"), extra: extra)), .document(name: bytes("d"), json: bytes("[]")),
    ]

    private static func request(_ kind: OperationKind, isFrameworks: Bool = false) -> OperationRequest {
        OperationRequest(
            agentID: agentID, frameworkID: isFrameworks ? frameworkID : nil,
            principal: isFrameworks ? bytes("p") : nil, uuid: uuid, operationID: isFrameworks ? bytes("o1") : nil,
            resourceVersion: isFrameworks ? uuid : nil, kind: kind)
    }

    static let commands: [(name: String, command: RegistryCommand)] = [
        (
            "recover",
            .recover(
                MasterInfo(
                    id: bytes("m1"), hostname: bytes("h"), ip: bytes("10.0.0.1"), port: 7, extra: bytes("{}"),
                    hasQuotaHierarchy: true))
        ),
        ("agent admit", .agentAdmit(agent)),
        (
            "agent update",
            .agentUpdate(
                id: agentID,
                AgentPatch(
                    hostname: bytes("h"), ip: bytes("10.0.0.1"), port: 7, attributes: [], domain: bytes("{}"),
                    isCheckpointing: false, capabilities: [.multiRole], resources: [cpus]))
        ),
        ("agent update of one field", .agentUpdate(id: agentID, AgentPatch(port: 7))),
        (
            "agents reregister",
            .agentsReregister([AgentAttachment(agent: plainAgent, generation: 3, digest: uuid, versions: versions)])
        ),
        ("agent report", .agentReport(id: agentID, generation: 3, entries: [cpus])),
        ("agent mark unreachable", .agentMarkUnreachable(id: agentID)),
        ("agent mark reachable", .agentMarkReachable(plainAgent)),
        ("agent mark gone", .agentMarkGone(id: agentID)),
        ("agent remove", .agentRemove(id: agentID, discardsVolumes: true)),
        ("agents prune", .agentsPrune(unreachable: [agentID], gone: [bytes("a2")], includesVolumes: true)),
        ("agent drain", .agentDrain(id: agentID, maxGracePeriod: 5, marksGone: true)),
        ("agent drain as before", .agentDrain(id: agentID, maxGracePeriod: nil, marksGone: false)),
        ("agent mark drained", .agentMarkDrained(id: agentID)),
        ("agent deactivate", .agentDeactivate(id: agentID)),
        ("agent reactivate", .agentReactivate(id: agentID)),
        ("agents approve removal", .agentsApproveRemoval(count: 5, until: 0x1122)),
        (
            "framework subscribe",
            .frameworkSubscribe(framework, principal: bytes("p"), connection: bytes("c"), isForced: true)
        ),
        (
            "framework subscribe without id",
            .frameworkSubscribe(
                FrameworkInfo(name: bytes("n")), principal: nil, connection: bytes("c"), isForced: false)
        ),
        ("framework update", .frameworkUpdate(FrameworkInfo(id: frameworkID, name: bytes("n")), principal: nil)),
        ("framework disconnect", .frameworkDisconnect(id: frameworkID, connection: bytes("c"))),
        ("framework teardown", .frameworkTeardown(id: frameworkID)),
        ("frameworks forget", .frameworksForget([frameworkID])),
        ("weights update", .weightsUpdate([Weight(role: bytes("r"), weight: 2)])),
        (
            "quota update",
            .quotaUpdate(
                [
                    QuotaConfig(
                        role: bytes("r"), guarantees: [NamedNumber(name: bytes("cpus"), number: 1)],
                        limits: [NamedNumber(name: bytes("cpus"), number: 2)])
                ], isForced: true)
        ),
        ("schedule update", .scheduleUpdate([MaintenanceWindow(machines: machines, unavailability: away)])),
        ("no schedule", .scheduleUpdate(nil)),
        ("maintenance start", .maintenanceStart(machines)),
        ("maintenance stop", .maintenanceStop([machines[0]])),
        (
            "operations apply",
            .operationsApply(
                [
                    request(.reserve([cpus], source: [cpus]), isFrameworks: true), request(.reserve([cpus])),
                    request(.unreserve([cpus])), request(.create([cpus])), request(.destroy([cpus])),
                    request(.growVolume(cpus, addition: cpus)), request(.shrinkVolume(cpus, subtract: 0.5)),
                ], isAtomic: true)
        ),
        (
            "acquire",
            .acquire(
                agentID: agentID, frameworkID: frameworkID, holdID: bytes("h1"), role: bytes("r"), resources: [cpus])
        ),
        ("release", .release(agentID: agentID, frameworkID: frameworkID, holdID: bytes("h1"))),
        ("provider admit", .providerAdmit(id: bytes("p1"), type: bytes("t"), name: nil)),
        ("provider remove", .providerRemove(id: bytes("p1"))),
        (
            "operation status update",
            .operationStatusUpdate(agentID: agentID, uuid: uuid, status: status, latest: .failed)
        ),
        (
            "operation acknowledge",
            .operationAcknowledge(
                frameworkID: frameworkID, operationID: bytes("o1"), statusUUID: uuid, agentID: agentID)
        ),
        ("rate limits set", .rateLimitsSet(rateLimits)),
        ("no rate limits", .rateLimitsSet(nil)),
        ("import chunk", .importChunk(id: uuid, number: 3, isLast: true, imported)),
        ("import abort", .importAbort),
    ]

    // MARK: As stored

    private static func amount(_ thousandths: Int64) -> Scalar { Scalar(thousandths: thousandths) ?? .zero }
    private static func labelled() -> Labels? { try? Labels(labels) }

    static var resources: [Resource] {
        [
            Resource(
                name: bytes("disk"), value: .scalar(amount(1_500)),
                stack: [
                    Reservation(kind: .static, role: role("r")),
                    Reservation(kind: .dynamic, role: role("r/s"), principal: bytes("p"), labels: labelled()),
                ],
                disk: DiskInfo(
                    source: DiskSource(
                        kind: .mount, root: bytes("/m"), vendor: bytes("v"), id: bytes("i"), metadata: labelled(),
                        profile: bytes("q")),
                    persistence: Persistence(id: id("w"), principal: bytes("p")),
                    volume: VolumeMount(containerPath: bytes("c"))),
                isRevocable: true, isShared: true, providerID: id("p1"), allocationRole: role("r")),
            Resource(name: bytes("ports"), value: .ranges(IntegerRanges(1...2))),
            Resource(name: bytes("zones"), value: .set((try? ItemSet([bytes("x"), bytes("y")])) ?? ItemSet.none)),
        ]
    }

    private static let drain = AgentRow.Drain(isDrained: true, maxGracePeriod: 5, marksGone: true)
    private static let rejection = Rejection(RegistryRefusal(.agentGone, "d"))
    private static var quantities: Quantities {
        var quantities = Quantities.none
        quantities.set(amount(2_000), of: bytes("cpus"))
        quantities.set(.zero, of: bytes("mem"), keepingZero: true)
        return quantities
    }

    static var replies: [(name: String, reply: RegistryReply)] {
        [
            ("nothing", .unchanged(.nothing)), ("postponed", .postponed(milliseconds: 7, rejection)),
            ("generation", .changed(.generation(3))),
            (
                "attached",
                .changed(
                    .attached([
                        .upToDate(generation: 3, drain: nil),
                        .behind(generation: 3, entries: resources, drain: drain),
                        .reportWanted(drain: AgentRow.Drain()), .rejected(rejection),
                    ]))
            ),
            (
                "report",
                .changed(
                    .report(ReportResult(generation: 3, adopted: resources, orphans: [resources[1]], missing: [])))
            ),
            ("lost volumes", .changed(.lostVolumes([VolumeID(agentID: id("a1"), role: role("r"), id: id("w"))]))),
            ("pruned", .changed(.pruned(deleted: [id("a1")], skipped: [id("a2")]))),
            ("framework", .changed(.framework(id: id("f1"), wasUnknown: true))),
            ("agents", .changed(.agents([id("a1")]))),
            ("consumption", .changed(.consumption([RoleConsumption(role: role("r"), quantities: quantities)]))),
            (
                "operations",
                .changed(
                    .operations([
                        .done(OperationRow.Outcome(generation: 3, converted: [resources[1]])), .rejected(rejection),
                    ]))
            ),
            ("status", .changed(.status(isForwarded: true))),
            ("imported", .changed(.imported(chunks: 3, isDone: true))),
        ]
    }

    private static var registryRow: RegistryRow {
        var row = RegistryRow()
        row.master = MasterInfo(id: bytes("m1"))
        (row.fence, row.recoveredAt, row.frameworkCount, row.arrivalCount) = (1, 2, 3, 4)
        (row.admittedCount, row.deactivatedCount, row.quotaCount) = (5, 6, 7)
        row.windowCount = 8
        (row.limiter.windowEnd, row.limiter.removed, row.limiter.budget) = (9, 10, 11)
        (row.limiter.approved, row.limiter.approvedUntil, row.limiter.isAlarmed) = (12, 13, true)
        row.lastImport = ImportProgress(id: uuid, chunks: 14, state: .aborting)
        return row
    }

    private static var agentRow: AgentRow {
        var row = AgentRow(state: .unreachable, stateSince: 2, arrival: 3, attachedFence: 4)
        row.isDeactivated = true
        row.drain = drain
        row.generation = 5
        row.digest = uuid
        row.versions = versions
        row.isReportWanted = true
        row.totalsDigest = uuid
        row.extra = extra
        return row
    }

    private static var frameworkRow: FrameworkRow {
        var row = FrameworkRow(info: framework, stateSince: 2, connection: bytes("c"), attachedFence: 4)
        row.state = .disconnected
        row.deadline = 5
        return row
    }

    private static var operationRow: OperationRow {
        var row = OperationRow(
            frameworkID: id("f1"), operationID: id("o1"), providerID: nil, digest: uuid, consumed: [resources[1]],
            outcome: OperationRow.Outcome(generation: 3, converted: [resources[2]]))
        row.latestState = .failed
        row.statuses = [status]
        row.acknowledged = [uuid]
        row.isOrphan = true
        row.isUndoBlocked = true
        row.endedAt = 5
        return row
    }

    private static var quotaRow: QuotaRow {
        var row = QuotaRow()
        (row.guarantees, row.limits, row.extra) = (quantities, quantities, extra)
        return row
    }

    /// One of each table that is not an index.
    static var rows: [(name: String, key: [UInt8], value: [UInt8])] {
        let entry = LedgerEntry(resources[0], ordinal: 0x0102)
        let sizedRole = RegistryKey(.consumption).adding(sized: bytes("r"))
        return [
            ("registry", RegistryKey(.registry).bytes, registryRow.encoded()),
            ("new registry", RegistryKey(.registry).bytes, RegistryRow().encoded()),
            ("agent", RegistryKey.agent(id("a1")), agentRow.encoded()),
            ("agent info", RegistryKey.agentInfo(id("a1")), info.encoded()),
            (
                "entry", RegistryKey.entries(of: id("a1")).adding(entry.key.bytes).bytes, entry.resource.encoded()
            ),
            (
                "hold", RegistryKey.holds(of: id("a1")).adding(id("f1")).adding(bytes("h1")).bytes,
                HoldRow(role: role("r"), resources: resources).encoded()
            ),
            ("operation", RegistryKey.operations(of: id("a1")).adding(uuid).bytes, operationRow.encoded()),
            ("framework", RegistryKey.framework(id("f1")), frameworkRow.encoded()),
            ("quota", RegistryKey(.quotas).adding(bytes("r")).bytes, quotaRow.encoded()),
            (
                "weight", RegistryKey(.weights).adding(bytes("r")).bytes,
                Weight(role: bytes("r"), weight: 2, extra: extra).encoded()
            ),
            ("consumption", sizedRole.adding(bytes("cpus")).bytes, amount(2_000).encoded()),
            ("capacity", RegistryKey(.capacity).adding(bytes("cpus")).bytes, amount(2_000).encoded()),
            (
                "machine", RegistryKey(.machines).adding(machines[0].key).bytes,
                MachineRow(id: machines[0], mode: .down, unavailability: away, window: 3, extra: extra).encoded()
            ),
            (
                "window", RegistryKey(.windows).adding(UInt32(3)).bytes,
                MaintenanceWindow(machines: machines, unavailability: Unavailability(start: 4), extra: extra).encoded()
            ),
            (
                "provider", RegistryKey(.providers).adding(bytes("p1")).bytes,
                ProviderRow(isRemoved: true, type: bytes("t"), name: bytes("n"), extra: extra).encoded()
            ),
            ("capability", RegistryKey(.capabilities).adding(MinimumCapability.quota.name).bytes, []),
            ("imported capability", RegistryKey(.capabilities).adding(bytes("X")).bytes, extra),
            (
                "lost volume",
                RegistryKey(.lostVolumes).adding(id("a1")).adding(sized: bytes("r")).adding(bytes("w")).bytes,
                resources[0].encoded()
            ),
            (
                "orphan", RegistryKey(.orphans).adding(id("a1")).adding(entry.key.bytes).bytes,
                entry.resource.encoded()
            ),
            ("rate limits", RegistryKey(.rateLimits).bytes, rateLimits.encoded()),
            (
                "legacy quota", RegistryKey(.legacyQuotas).adding(bytes("r")).bytes,
                LegacyQuotaRow(principal: bytes("p"), guarantee: quantities, extra: extra).encoded()
            ),
            ("document", RegistryKey(.documents).adding(bytes("d")).bytes, bytes("[]")),
        ]
    }

    // MARK: - Whole

    static let guards = [Guard(kind: .election, name: RegistryCommand.electionGroup, fence: 7)]

    /// Every form, by name.
    static var all: [(name: String, bytes: [UInt8])] {
        var all: [(name: String, bytes: [UInt8])] = []
        for sample in commands { all.append(("command " + sample.name, sample.command.encoded())) }
        for sample in replies { all.append(("reply " + sample.name, sample.reply.encoded())) }
        for sample in rows {
            all.append(("key of " + sample.name, sample.key))
            all.append(("row of " + sample.name, sample.value))
        }
        return all
    }
}
