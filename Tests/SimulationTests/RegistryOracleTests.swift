import Basics
import RegistryModel
import Simulator
import Testing

/// The checks that have to find the planted bugs of the registry: each is told of what such a bug would do.
@Suite("Checkers of registries")
struct RegistryOracleTests {
    private static let agent = RegistryID(unchecked: Array("a1".utf8))

    /// - Parameter role: whom it is reserved to; nil: nobody.
    private static func amount(_ name: String, _ amount: Int64, for role: String? = nil) -> Resource {
        var resource = Resource(
            name: Array(name.utf8), value: .scalar(Scalar(thousandths: amount * 1_000) ?? .zero))
        if let role {
            resource.stack = [Reservation(kind: .dynamic, role: RoleName(unchecked: Array(role.utf8)))]
        }
        return resource
    }

    private static func cpus(_ count: Int64, for role: String? = nil) -> Resource { amount("cpus", count, for: role) }

    private static func mount(for role: String? = nil) -> Resource {
        var resource = amount("disk", 500, for: role)
        resource.disk = DiskInfo(source: DiskSource(kind: .mount, root: Array("/mnt".utf8)))
        return resource
    }

    private static func claim(_ resource: Resource) -> ResourceClaim {
        var claim = ResourceClaim(name: resource.name, type: .scalar)
        if case .scalar(let amount) = resource.value { claim.scalar = amount.double }
        claim.reservations = resource.stack.map {
            ResourceClaim.ReservationClaim(kind: $0.kind, role: $0.role.bytes)
        }
        if let source = resource.disk?.source {
            let root = ResourceClaim.SourceClaim.Root(source.root)
            claim.disk = ResourceClaim.DiskClaim(source: ResourceClaim.SourceClaim(kind: source.kind, mount: root))
        }
        return claim
    }

    private static let info = AgentInfo(
        hostname: Array("host".utf8), ip: Array("10.0.0.1".utf8), isCheckpointing: true)
    private static let admission = RegistryCommand.agentAdmit(
        AgentClaim(id: agent.bytes, info: info, resources: [claim(cpus(8)), claim(mount())]))

    private static func reserve(_ resource: Resource, uuid: UInt8) -> RegistryCommand {
        let request = OperationRequest(
            agentID: agent.bytes, uuid: [UInt8](repeating: uuid, count: 16), kind: .reserve([claim(resource)]))
        return .operationsApply([request], isAtomic: true)
    }

    private static func done(_ resource: Resource, at generation: UInt64) -> RegistryReply {
        .changed(.operations([.done(OperationRow.Outcome(generation: generation, converted: [resource]))]))
    }

    /// Of an agent that has 8 cpus and a MOUNT disk, of which 2 cpus are reserved.
    private final class Told {
        private typealias Story = RegistryOracleTests
        private var ledgers = RegistryLedgers()

        init() {
            let reserved = Story.cpus(2, for: "db")
            #expect(apply(Story.admission, .changed(.generation(1))) == nil)
            #expect(apply(Story.reserve(reserved, uuid: 1), Story.done(reserved, at: 2)) == nil)
        }

        func apply(_ command: RegistryCommand, _ reply: RegistryReply, held: [Resource] = []) -> String? {
            ledgers.apply(command, reply, held: { _ in held })
        }

        func difference(from resources: [Resource]) -> String? { ledgers.difference(of: Story.agent, from: resources) }
    }

    private static let sound = [cpus(6), cpus(2, for: "db"), mount()]

    @Test("a reservation that is lost: the agent's rows lack what was answered to be reserved (loseReservation)")
    func lostReservation() {
        let told = Told()
        #expect(told.difference(from: Self.sound) == nil)
        #expect(told.difference(from: [Self.cpus(6), Self.mount()]) != nil)
        #expect(told.difference(from: [Self.cpus(6), Self.cpus(1, for: "db"), Self.mount()]) != nil)
    }

    @Test("a MOUNT disk that is reserved and free as well, or given away to two (bookMountTwice)")
    func mountBookedTwice() {
        let told = Told()
        let (first, second) = (Self.mount(for: "db"), Self.mount(for: "web"))
        #expect(told.apply(Self.reserve(first, uuid: 2), Self.done(first, at: 3)) == nil)
        let cpus = [Self.cpus(6), Self.cpus(2, for: "db")]
        #expect(told.difference(from: cpus + [first]) == nil)
        #expect(told.difference(from: cpus + [first, Self.mount()]) != nil)
        #expect(told.apply(Self.reserve(second, uuid: 3), Self.done(second, at: 4)) != nil)
    }

    @Test("an operation that is asked for again: the same answer, and nothing more is reserved (applyOperationAgain)")
    func operationAppliedAgain() {
        let told = Told()
        let cpus = Self.cpus(2, for: "db")
        #expect(told.apply(Self.reserve(cpus, uuid: 1), Self.done(cpus, at: 2)) == nil)
        #expect(told.difference(from: Self.sound) == nil)
        #expect(told.apply(Self.reserve(cpus, uuid: 1), Self.done(cpus, at: 3)) != nil)
    }

    @Test("an operation that the agent could not do is taken back, unless a task holds what it brought")
    func undone() {
        let failure = RegistryCommand.operationStatusUpdate(
            agentID: Self.agent.bytes, uuid: [UInt8](repeating: 1, count: 16), status: OperationStatus(state: .failed),
            latest: nil)
        let reply = RegistryReply.changed(.status(isForwarded: false))
        let (free, held) = (Told(), Told())
        #expect(free.apply(failure, reply) == nil)
        #expect(free.difference(from: [Self.cpus(8), Self.mount()]) == nil)
        #expect(held.apply(failure, reply, held: [Self.cpus(2, for: "db")]) == nil)
        #expect(held.difference(from: Self.sound) == nil)
    }

    @Test("a command under a fence that is not the leading master's (skipMastersFence)")
    func oldFence() {
        let oracle = RegistryOracle()
        #expect(oracle.begin(LogIndex(8), at: ClusterTime(nanoseconds: 1)) == nil)
        let recovery = RegistryCommand.recover(MasterInfo(id: Array("m1".utf8)))
        #expect(oracle.apply(recovery, under: 7, leading: 7, .changed(.nothing)) == nil)
        #expect(oracle.begin(LogIndex(9), at: ClusterTime(nanoseconds: 2)) == nil)
        #expect(oracle.apply(recovery, under: 5, leading: 7, .changed(.nothing)) != nil)
        #expect(oracle.apply(recovery, under: 7, leading: nil, .changed(.nothing)) != nil)
    }

    @Test("another answer than the command has, or a command that its rules refuse")
    func wrongAnswer() {
        let oracle = RegistryOracle()
        #expect(oracle.begin(LogIndex(8), at: ClusterTime(nanoseconds: 1)) == nil)
        #expect(oracle.apply(Self.admission, under: 7, leading: 7, .changed(.generation(1))) == nil)
        #expect(oracle.begin(LogIndex(9), at: ClusterTime(nanoseconds: 2)) == nil)
        let cpus = Self.cpus(2, for: "db")
        let reservation = Self.reserve(cpus, uuid: 1)
        #expect(oracle.apply(reservation, under: 7, leading: 7, Self.done(cpus, at: 2)) == nil)
        #expect(oracle.begin(LogIndex(10), at: ClusterTime(nanoseconds: 3)) == nil)
        // The stored answer is due, and nothing else.
        #expect(oracle.apply(reservation, under: 7, leading: 7, Self.done(cpus, at: 3)) != nil)
        #expect(oracle.apply(Self.admission, under: 7, leading: 7, .changed(.generation(1))) != nil)
    }
}
