import Basics
import MetadataModel
import RegistryModel
import Wire

/// The masters' registry: its commands under the masters' fence, its replies, its rows.
extension Catalogue {
    private static func text(_ text: String) -> [UInt8] { Array(text.utf8) }
    private static func uuid(_ first: UInt8) -> [UInt8] { Array(first..<first + 16) }
    private static func id(_ name: String) -> RegistryID { RegistryID(unchecked: text(name)) }

    private static let masters = Guard(kind: .election, name: RegistryCommand.electionGroup, fence: 11)
    private static let start: UInt64 = 1_700_000_000_000_000_000

    private static func command(_ request: UInt64, _ sequence: UInt64, _ command: RegistryCommand) -> [UInt8] {
        mutation(request, sequence, .registry(command), guards: [masters])
    }

    private static func answer(_ request: UInt64, _ revision: UInt64, _ answer: RegistryReply) -> [UInt8] {
        reply(.mutate, request, revision) { answer.encode(into: &$0) }
    }

    private static func rejection(_ rule: RegistryRule, _ detail: String) -> Rejection {
        Rejection(RegistryRefusal(rule, detail))
    }

    // MARK: As stated

    private static let info = AgentInfo(
        hostname: text("h2"), ip: text("10.0.0.2"),
        attributes: [Attribute(name: text("rack"), value: .text(text("r1")))], isCheckpointing: true,
        capabilities: [.hierarchicalRole, .reservationRefinement, .resizeVolume, .agentDraining])
    private static let agent = AgentClaim(
        id: text("a1"), info: info,
        resources: [
            ResourceClaim(name: text("cpus"), type: .scalar, scalar: 8),
            ResourceClaim(name: text("ports"), type: .ranges, ranges: [(begin: 31_000, end: 32_000)]),
            ResourceClaim(name: text("disk"), type: .scalar, scalar: 100_000, disk: pathClaim),
        ])
    private static let framework = FrameworkInfo(
        name: text("pg"), user: text("u"), principal: text("p"), roles: [text("db")], capabilities: [.multiRole],
        failoverTimeout: 600, hostname: text("h3"))

    private static let twoCores = ResourceClaim(name: text("cpus"), type: .scalar, scalar: 2)
    private static let pathClaim = ResourceClaim.DiskClaim(
        source: ResourceClaim.SourceClaim(kind: .path, path: ResourceClaim.SourceClaim.Root(text("/data"))))
    private static let walClaim = ResourceClaim.DiskClaim(
        source: pathClaim.source,
        persistence: ResourceClaim.PersistenceClaim(id: text("wal"), principal: text("p")),
        volume: VolumeMount(containerPath: text("wal")))

    private static func reserved(
        _ amount: Double, _ disk: ResourceClaim.DiskClaim, allocationRole: [UInt8]? = text("db")
    ) -> ResourceClaim {
        ResourceClaim(
            name: text("disk"), type: .scalar, scalar: amount,
            reservations: [
                ResourceClaim.ReservationClaim(kind: .dynamic, role: text("db"), principal: text("p"))
            ], disk: disk, allocationRole: allocationRole)
    }

    private static let reserve = OperationRequest(
        agentID: text("a1"), frameworkID: text("m1-0000"), principal: text("p"), uuid: uuid(0x10),
        operationID: text("o1"), kind: .reserve([reserved(50_000, pathClaim)]))
    private static let create = OperationRequest(
        agentID: text("a1"), frameworkID: text("m1-0000"), principal: text("p"), uuid: uuid(0x40),
        kind: .create([reserved(40_000, walClaim)]))

    // MARK: As stored

    private static let path = DiskSource(kind: .path, root: text("/data"))
    private static let db = Reservation(kind: .dynamic, role: RoleName(unchecked: text("db")), principal: text("p"))

    private static func amount(_ thousandths: Int64) -> Scalar { Scalar(thousandths: thousandths) ?? .zero }

    private static func disk(
        _ thousandths: Int64, _ stack: [Reservation], _ disk: DiskInfo = DiskInfo(source: path)
    ) -> Resource {
        Resource(name: text("disk"), value: .scalar(amount(thousandths)), stack: stack, disk: disk)
    }

    private static func cpus(_ thousandths: Int64) -> Resource {
        Resource(name: text("cpus"), value: .scalar(amount(thousandths)))
    }

    private static let wal = disk(
        40_000_000, [db],
        DiskInfo(
            source: path, persistence: Persistence(id: id("wal"), principal: text("p")),
            volume: VolumeMount(containerPath: text("wal"))))

    private static var consumption: RoleConsumption {
        var quantities = Quantities.none
        quantities.set(amount(2_000), of: text("cpus"))
        quantities.set(amount(50_000_000), of: text("disk"))
        return RoleConsumption(role: RoleName(unchecked: text("db")), quantities: quantities)
    }

    private static var registryRow: RegistryRow {
        var row = RegistryRow()
        row.master = MasterInfo(id: text("m1"), hostname: text("h1"), ip: text("10.0.0.1"))
        row.fence = 11
        row.recoveredAt = start
        (row.frameworkCount, row.arrivalCount, row.admittedCount, row.quotaCount) = (1, 1, 1, 1)
        row.windowCount = 1
        row.limiter.windowEnd = start + 600_000_000_000
        (row.limiter.removed, row.limiter.budget, row.limiter.isAlarmed) = (5, 5, true)
        return row
    }

    private static var agentRow: AgentRow {
        var row = AgentRow(state: .admitted, stateSince: start, arrival: 1, attachedFence: 11)
        row.generation = 3
        row.digest = uuid(0x30)
        row.versions = [ResourceVersion(providerID: nil, version: uuid(0x10))]
        return row
    }

    private static func row(_ key: [UInt8], _ value: [UInt8]) -> Page.Row {
        Page.Row(key: key, revision: .zero, value: value)
    }

    private static func entry(_ resource: Resource) -> Page.Row {
        row(RegistryKey.entries(of: id("a1")).adding(LedgerEntry(resource).key.bytes).bytes, resource.encoded())
    }

    private static var firstPage: Page {
        let info = RegistryKey.agentInfo(id("a1"))
        return Page(
            view: 7, hasMore: true, cursor: info, count: 3,
            rows: [
                row(RegistryKey(.registry).bytes, registryRow.encoded()),
                row(RegistryKey.agent(id("a1")), agentRow.encoded()), row(info, Self.info.encoded()),
            ])
    }

    private static var entriesPage: Page {
        let ports = Resource(name: text("ports"), value: .ranges(IntegerRanges(31_000...32_000)))
        let entries = [
            entry(cpus(8_000)), entry(disk(50_000_000, [])), entry(disk(10_000_000, [db])), entry(wal), entry(ports),
        ]
        return Page(view: 0, hasMore: false, cursor: [], count: 5, rows: entries)
    }

    private static var acquired: [Change] {
        let hold = HoldRow(role: RoleName(unchecked: text("db")), resources: [cpus(2_000), wal])
        return [
            Change(
                key: RegistryKey.holds(of: id("a1")).adding(id("m1-0000")).adding(text("t1")).bytes,
                value: hold.encoded()),
            Change(
                key: RegistryKey(.consumption).adding(sized: text("db")).adding(text("cpus")).bytes,
                value: amount(2_000).encoded()),
            Change(
                key: RegistryKey(.holdsByFramework).adding(id("m1-0000")).adding(id("a1")).adding(text("t1")).bytes,
                value: []),
        ]
    }

    // MARK: Frames

    private static let registryAgents: [(name: String, bytes: [UInt8])] = [
        (
            "mutate registry recover",
            command(50, 10, .recover(MasterInfo(id: text("m1"), hostname: text("h1"), ip: text("10.0.0.1"))))
        ),
        ("mutate registry reply", answer(50, 20, .changed(.nothing))),
        ("mutate registry admit agent", command(51, 11, .agentAdmit(agent))),
        ("mutate registry admit agent reply", answer(51, 21, .changed(.generation(1)))),
        (
            "mutate registry rejected",
            bytes { writer in
                let start = ClientReply.begin(.mutate, requestID: 52, into: &writer)
                ReplyError(
                    .rejected, "agent.already-admitted: agent a1 is admitted",
                    rule: RegistryRule.agentAlreadyAdmitted.rawValue
                ).encode(revision: LogIndex(22), into: &writer)
                writer.endFrame(start)
            }
        ),
        (
            "mutate registry reregister agents",
            command(
                58, 18,
                .agentsReregister([
                    AgentAttachment(
                        agent: agent, generation: 1, digest: uuid(0x30),
                        versions: [ResourceVersion(providerID: nil, version: uuid(0x10))])
                ]))
        ),
        (
            "mutate registry reregister agents reply",
            answer(
                58, 28,
                .changed(
                    .attached([
                        .behind(
                            generation: 3, entries: [wal],
                            drain: AgentRow.Drain(maxGracePeriod: 60_000_000_000, marksGone: true)),
                        .rejected(
                            rejection(.agentGone, "agent a2 was marked gone, which is for ever: it needs a new id")),
                    ])))
        ),
        ("mutate registry mark unreachable", command(59, 19, .agentMarkUnreachable(id: text("a1")))),
        (
            "mutate registry postponed",
            answer(
                59, 29,
                .postponed(
                    milliseconds: 540_000,
                    rejection(
                        .agentRemovalLimited,
                        "5 agents became unreachable within 10 minutes, 45 are left: "
                            + "approve of more, or wait 540000 ms")))
        ),
    ]

    private static let registryFrameworks: [(name: String, bytes: [UInt8])] = [
        (
            "mutate registry subscribe framework",
            command(
                53, 13, .frameworkSubscribe(framework, principal: text("p"), connection: text("c1"), isForced: false))
        ),
        (
            "mutate registry subscribe framework reply",
            answer(53, 23, .changed(.framework(id: id("m1-0000"), wasUnknown: false)))
        ),
        ("mutate registry reserve", command(54, 14, .operationsApply([reserve], isAtomic: true))),
        (
            "mutate registry reserve reply",
            answer(
                54, 24,
                .changed(
                    .operations([
                        .done(OperationRow.Outcome(generation: 2, converted: [disk(50_000_000, [db])]))
                    ])))
        ),
        ("mutate registry create volume", command(55, 15, .operationsApply([create], isAtomic: false))),
        (
            "mutate registry create volume reply",
            answer(
                55, 25,
                .unchanged(
                    .operations([
                        .rejected(rejection(.createDuplicateId, "role db has a volume wal on this agent"))
                    ])))
        ),
        (
            "mutate registry operation status",
            command(
                56, 16,
                .operationStatusUpdate(
                    agentID: text("a1"), uuid: uuid(0x10),
                    status: OperationStatus(state: .finished, uuid: uuid(0x20)), latest: nil))
        ),
        ("mutate registry operation status reply", answer(56, 26, .changed(.status(isForwarded: true)))),
        (
            "mutate registry acquire",
            command(
                57, 17,
                .acquire(
                    agentID: text("a1"), frameworkID: text("m1-0000"), holdID: text("t1"), role: text("db"),
                    resources: [twoCores, reserved(40_000, walClaim, allocationRole: nil)]))
        ),
        (
            "mutate registry quota",
            command(
                60, 20,
                .quotaUpdate(
                    [
                        QuotaConfig(
                            role: text("db"), guarantees: [NamedNumber(name: text("cpus"), number: 2)],
                            limits: [
                                NamedNumber(name: text("cpus"), number: 4),
                                NamedNumber(name: text("mem"), number: 8_192),
                            ])
                    ], isForced: false))
        ),
        ("mutate registry quota reply", answer(60, 30, .changed(.consumption([consumption])))),
        (
            "mutate registry schedule",
            command(
                61, 21,
                .scheduleUpdate([
                    MaintenanceWindow(
                        machines: [
                            MachineID(hostname: text("h2"), ip: text("10.0.0.2")),
                            MachineID(hostname: nil, ip: text("10.0.0.9")),
                        ], unavailability: Unavailability(start: Int64(start), duration: 3_600_000_000_000))
                ]))
        ),
    ]

    private static let registryImport: [(name: String, bytes: [UInt8])] = [
        (
            "mutate registry import",
            command(
                66, 22,
                .importChunk(
                    id: uuid(0x50), number: 1, isLast: true,
                    [
                        .legacyQuota(LegacyQuota(role: text("web"), guarantee: [twoCores])),
                        .unreachable(
                            id: text("a3"), since: start,
                            ImportedStanding(isDeactivated: true, drain: AgentRow.Drain(isDrained: true))),
                        .document(name: text("site"), json: text(#"{"x":1}"#)),
                    ]))
        ),
        ("mutate registry import reply", answer(66, 31, .changed(.imported(chunks: 2, isDone: true)))),
    ]

    private static let registryRows: [(name: String, bytes: [UInt8])] = [
        (
            "query registry",
            query(62, .registry(view: 0, prefix: [], PageRequest(limit: 3, pinsView: true)))
        ),
        ("query registry reply", reply(.query, 62, 30) { firstPage.encode(into: &$0) }),
        (
            "query registry, next page",
            query(
                63,
                .registry(
                    view: 7, prefix: [], PageRequest(after: RegistryKey.agentInfo(id("a1")), limit: 3, pinsView: true)))
        ),
        (
            "query registry, one agent",
            query(
                64, .registry(view: 0, prefix: RegistryKey.entries(of: id("a1")).bytes, PageRequest(pinsView: true)))
        ),
        ("query registry, one agent reply", reply(.query, 64, 30) { entriesPage.encode(into: &$0) }),
        (
            "watch registry",
            bytes {
                WatchRequest(table: FeedTable.registry.rawValue, span: .prefix([]), from: LogIndex(27)).encode(
                    requestID: 65, into: &$0)
            }
        ),
        ("watch changes, registry", changes(requestID: 65, filter: [], [(27, acquired)])),
    ]

    static let registry = registryAgents + registryFrameworks + registryImport + registryRows
}
