internal import Basics
internal import ClientCore
internal import RegistryModel

/// What a client that stands for master believes of its part.
struct SimMaster {
    var ticket: LogIndex?
    var fence: UInt64?
    /// The registry is recovered under that fence.
    var hasTakenOver = false
    /// A fence that it had before. A master that was stopped for long would still go by it.
    var formerFence: UInt64?

    /// It has learnt that it does not lead.
    mutating func stepDown() {
        formerFence = fence ?? formerFence
        ticket = nil
        fence = nil
        hasTakenOver = false
    }
}

/// What a master asks, with what it means if it is done.
enum RegistryAsk {
    case stand
    case find(ticket: LogIndex)
    case leave
    case command(RegistryCommand, fence: UInt64)

    var isMutation: Bool {
        if case .find = self { false } else { true }
    }
}

/// An agent, as far as it knows itself: it keeps what it was told of its reservations and volumes, and tells it to each
/// new master. What it was not told it misses until then.
struct SimAgent {
    let number: Int
    /// How many of its number were marked gone: each has a new id.
    private(set) var life = 0
    var cpus = 8
    /// Of what it has checkpointed; 0: it knows of none.
    private(set) var generation: UInt64 = 0
    private var checkpointed = AgentLedger()
    /// Under which fence it came to a master last.
    var attachedFence: UInt64 = 0
    var isReportWanted = false

    init(number: Int) { self.number = number }

    var id: [UInt8] { Array("a\(number).\(life)".utf8) }
    /// Some share one.
    var machine: MachineID {
        MachineID(hostname: Array("host\(number % 3)".utf8), ip: Array("10.1.0.\(number % 3)".utf8))
    }

    private static let capabilities: AgentCapabilities = [
        .multiRole, .hierarchicalRole, .reservationRefinement, .resizeVolume, .agentDraining,
    ]

    var claim: AgentClaim {
        AgentClaim(
            id: id,
            info: AgentInfo(
                hostname: machine.hostname ?? [], ip: machine.ip ?? [], isCheckpointing: true,
                capabilities: Self.capabilities),
            resources: totals.map { ResourceClaim($0) })
    }

    var totals: [Resource] {
        func amount(_ name: String, _ whole: Int, _ source: DiskSource? = nil) -> Resource {
            Resource(
                name: Array(name.utf8), value: .scalar(Scalar(thousandths: Int64(whole) * 1_000) ?? .zero),
                disk: source.map { DiskInfo(source: $0) })
        }
        var configured = amount("cpus", 4)
        configured.stack = [Reservation(kind: .static, role: RegistryCast.operators)]
        return [
            amount("cpus", cpus), configured, amount("mem", 1_024), amount("disk", 1_000),
            amount("disk", 2_000, DiskSource(kind: .path, root: Array("/data".utf8))),
            amount("disk", 500, DiskSource(kind: .mount, root: Array("/mnt/1".utf8))),
            amount("disk", 500, DiskSource(kind: .mount, root: Array("/mnt/2".utf8))),
            Resource(name: Array("ports".utf8), value: .ranges(IntegerRanges(31_000...31_099))),
        ]
    }

    var attachment: AgentAttachment {
        AgentAttachment(
            agent: claim, generation: generation,
            digest: CheckpointDigest.of(checkpointed.resources.map { LedgerEntry($0) }))
    }

    var report: RegistryCommand {
        .agentReport(id: id, generation: generation, entries: checkpointed.resources.map { ResourceClaim($0) })
    }

    // MARK: What becomes of it

    /// All that it has checkpointed, as a master tells it.
    mutating func learn(_ entries: [Resource], generation: UInt64) {
        checkpointed = AgentLedger(entries)
        self.generation = generation
    }

    /// An operation on it: of use only where it knows all those before.
    mutating func learn(_ effect: OperationEffect, generation: UInt64) {
        guard generation == self.generation + 1 else { return }
        for resource in effect.consumed where resource.isCheckpointed { checkpointed.take(resource) }
        for resource in effect.converted where resource.isCheckpointed { checkpointed.add(resource) }
        self.generation = generation
    }

    mutating func learn(_ result: ReportResult) {
        for orphan in result.orphans { checkpointed.take(orphan) }
        for missing in result.missing { checkpointed.add(missing) }
        generation = result.generation
        isReportWanted = false
    }

    /// Its disk is empty.
    mutating func forget() {
        checkpointed = AgentLedger()
        generation = 0
        isReportWanted = false
    }

    mutating func beginAnew() {
        forget()
        life += 1
        attachedFence = 0
    }
}

struct SimFramework {
    let number: Int
    /// Empty: it has none yet.
    var id: [UInt8] = []
    var attachedFence: UInt64 = 0

    init(number: Int) { self.number = number }

    /// Some have roles in common.
    var roles: [RoleName] {
        switch number {
        case 0: [RegistryCast.database, RegistryCast.logs]
        case 1: [RegistryCast.web]
        default: [RegistryCast.database, RegistryCast.web]
        }
    }

    var info: FrameworkInfo {
        FrameworkInfo(
            id: id, name: Array("framework\(number)".utf8), user: Array("root".utf8), principal: RegistryCast.principal,
            roles: roles.map(\.bytes), capabilities: .multiRole, failoverTimeout: [1, 4, 600][number % 3],
            isCheckpointing: true)
    }
}

/// An operation that somebody has asked for, and what was said of it since.
struct SimOperation {
    var request: OperationRequest
    /// Somebody was answered that it was carried out.
    var isDone = false
    var status: OperationStatus?
}

/// Whoever wants to know all of the registry: reads it page by page, watches it from there, and reads it again when the
/// changes are lost.
final class RegistryReader {
    let number: Int
    let client: Int
    /// It has to read, as soon as its client thinks again.
    var isLost = true
    /// Of the pages that it is reading; zero: it waits for the first.
    var revision = LogIndex.zero
    /// It knows everything through here; nil: it is not so far.
    var knownThrough: LogIndex?
    var watch: WatchID
    var unread = 0

    init(number: Int, client: Int) {
        self.number = number
        self.client = client
        // Apart from those of records and of observers.
        watch = WatchID(UInt64(2_000_000 + number) << 32)
    }
}

/// Whom the masters of a world have to do with: few agents, frameworks and roles, so that everything collides.
struct RegistryCast {
    static let masterCount = 3
    static let readerCount = 2

    static let principal = Array("p".utf8)
    static let database = RoleName(unchecked: Array("db".utf8))
    static let logs = RoleName(unchecked: Array("db/logs".utf8))
    static let web = RoleName(unchecked: Array("web".utf8))
    static let operators = RoleName(unchecked: Array("ops".utf8))
    static let tools = RoleName(unchecked: Array("ops/tools".utf8))
    static let roles = [database, logs, web]

    var agents = (0..<5).map { SimAgent(number: $0) }
    var frameworks = (0..<3).map { SimFramework(number: $0) }
    /// The newest, in the order in which they were asked for first.
    private(set) var operations: [SimOperation] = []
    var readers: [RegistryReader] = []
    var goneIDs: [[UInt8]] = []
    /// The newest under which a master has taken over.
    var newestFence: UInt64 = 0
    /// Commands that were carried out when all rows were looked at last.
    var lookedAt = 0
    var rowsRead = 0
    var changesTold = 0
    private var lastUUID: UInt64 = 0

    private static let operationsMax = 60

    mutating func newUUID() -> [UInt8] {
        lastUUID += 1
        var writer = ByteWriter()
        writer.write(UInt64(0))
        writer.write(lastUUID)
        return writer.takeBytes()
    }

    mutating func add(_ operation: SimOperation) {
        if operations.count == Self.operationsMax { operations.removeFirst() }
        operations.append(operation)
    }

    /// Nil: it was asked for so long ago that nobody thinks of it any more.
    func place(ofOperation uuid: [UInt8]) -> Int? { operations.firstIndex { $0.request.uuid == uuid } }

    mutating func changeOperation(at place: Int, _ body: (inout SimOperation) -> Void) { body(&operations[place]) }

    /// Nil: it has another id by now.
    func place(ofAgent id: [UInt8]) -> Int? { agents.firstIndex { $0.id == id } }

    mutating func changeAgent(_ id: [UInt8], _ body: (inout SimAgent) -> Void) {
        guard let place = place(ofAgent: id) else { return }
        body(&agents[place])
    }
}

extension ResourceClaim {
    /// A resource as somebody states it.
    /// - Parameter role: of a framework, to which it was offered.
    init(_ resource: Resource, offeredTo role: RoleName? = nil) {
        self.init(name: resource.name, type: nil)
        switch resource.value {
        case .scalar(let amount):
            type = .scalar
            scalar = amount.double
        case .ranges(let value):
            type = .ranges
            ranges = value.ranges.map { (begin: $0.lowerBound, end: $0.upperBound) }
        case .set(let value):
            type = .set
            set = value.items
        }
        reservations = resource.stack.map {
            ReservationClaim(kind: $0.kind, role: $0.role.bytes, principal: $0.principal, labels: $0.labels?.items)
        }
        disk = resource.disk.map { disk in
            DiskClaim(
                source: disk.source.map { SourceClaim($0) },
                persistence: disk.persistence.map { PersistenceClaim(id: $0.id.bytes, principal: $0.principal) },
                volume: disk.volume)
        }
        isRevocable = resource.isRevocable
        isShared = resource.isShared
        providerID = resource.providerID?.bytes
        allocationRole = role?.bytes
    }
}

extension ResourceClaim.SourceClaim {
    fileprivate init(_ source: DiskSource) {
        self.init(
            kind: source.kind, path: source.kind == .path ? Root(source.root) : nil,
            mount: source.kind == .mount ? Root(source.root) : nil, vendor: source.vendor, id: source.id,
            metadata: source.metadata?.items, profile: source.profile)
    }
}
