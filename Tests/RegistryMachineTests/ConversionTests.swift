import RegistryMachine
import RegistryModel
import Testing

@Suite("Operations on a ledger")
struct ConversionTests {
    var book = Book()

    // MARK: - The worked example, as far as one agent's ledger goes

    @Test("reservations and volumes of a framework, one after the other")
    mutating func workedExample() throws {
        let framework = Claims.framework(["db"])
        func allocated(_ claim: ResourceClaim) -> ResourceClaim { claim.allocated("db") }
        let (path, mount) = (Claims.path(50_000).reserved("db"), Claims.mount(500_000).reserved("db"))
        try book.apply(.reserve([allocated(path)]), by: framework)
        #expect(
            book.rule(.reserve([allocated(Claims.mount(200_000).reserved("db"))]), by: framework) == .ledgerIndivisible)
        try book.apply(.reserve([allocated(mount)]), by: framework)
        #expect(
            book.rule(.reserve([Claims.cpus(1).reserved("web").allocated("db")]), by: framework)
                == .reserveAllocationRoleDiffers)
        let wal = Claims.path(40_000).reserved("db").volume("wal")
        try book.apply(.create([allocated(wal)]), by: framework)
        #expect(
            book.said == [
                "cpus:8", "disk(db)[mount /mnt/ssd]:500000", "disk(db)[path /data]:10000",
                "disk(db)[path /data][wal]:40000",
                "disk:10240", "disk[path /data]:150000", "mem:16384",
            ])
        #expect(
            book.rule(.create([allocated(Claims.path(1_000).reserved("db").volume("wal"))]), by: framework)
                == .createDuplicateId)
        #expect(
            book.rule(.create([allocated(Claims.mount(400_000).reserved("db").volume("base"))]), by: framework)
                == .ledgerIndivisible)
        let base = Claims.mount(500_000).reserved("db").volume("base")
        try book.apply(.create([allocated(base)]), by: framework)
        #expect(book.rule(.unreserve([wal]), by: framework) == .unreservePersistentVolume)
        #expect(book.rule(.shrinkVolume(base, subtract: 1), by: framework) == .shrinkMount)
        try book.apply(.growVolume(wal, addition: Claims.path(5_000).reserved("db")), by: framework)
        let grown = Claims.path(45_000).reserved("db").volume("wal")
        try book.hold([Claims.cpus(2), Claims.mem(4_096), grown])
        #expect(book.rule(.destroy([grown]), by: framework) == .destroyInUse)
        book.ledger.holds = []
        try book.apply(.destroy([grown]), by: framework)
        try book.apply(.unreserve([Claims.path(50_000).reserved("db")]), by: framework)
        #expect(
            book.said == [
                "cpus:8", "disk(db)[mount /mnt/ssd][base]:500000", "disk:10240", "disk[path /data]:200000", "mem:16384",
            ])
    }

    // MARK: - Each rule, and a neighbour that passes

    @Test("reserve.list-empty, reserve.mixed-stacks, reserve.quantity-differs: only with a source")
    mutating func reserveFromSource() throws {
        try book.apply(.reserve([Claims.cpus(2).reserved("a")]))
        let (a, b) = (Claims.cpus(2).reserved("a"), Claims.cpus(2).reserved("b"))
        #expect(book.rule(.reserve([b], source: [])) == .reserveListEmpty)
        #expect(book.rule(.reserve([], source: [a])) == .reserveListEmpty)
        let mixed = [Claims.cpus(1).reserved("a"), Claims.cpus(1).reserved("c")]
        #expect(book.rule(.reserve([b], source: mixed)) == .reserveMixedStacks)
        #expect(book.rule(.reserve(mixed, source: [a])) == .reserveMixedStacks)
        #expect(book.rule(.reserve([Claims.cpus(3).reserved("b")], source: [a])) == .reserveQuantityDiffers)
        #expect(book.rule(.reserve([b.allocated("b")], source: [a])) == .reserveQuantityDiffers)
        try book.apply(.reserve([Claims.cpus(0.5).reserved("b"), Claims.cpus(1.5).reserved("b")], source: [a]))
        #expect(book.said.contains("cpus(b):2") && book.said.contains("cpus:6"))
    }

    @Test("reserve.not-dynamic, reserve.persistent-volume")
    func reserveForm() {
        #expect(book.rule(.reserve([Claims.cpus(1)])) == .reserveNotDynamic)
        #expect(book.rule(.reserve([Claims.cpus(1).reserved("a", .static)])) == .reserveNotDynamic)
        #expect(book.rule(.reserve([Claims.path(1).reserved("a").volume("v")])) == .reservePersistentVolume)
        #expect(book.rule(.reserve([Claims.cpus(1).reserved("a")])) == nil)
    }

    @Test("operation.mixed-providers")
    func mixedProviders() {
        var other = Claims.cpus(1).reserved("a")
        other.providerID = Array("rp".utf8)
        #expect(book.rule(.reserve([Claims.cpus(1).reserved("a"), other])) == .operationMixedProviders)
        #expect(book.rule(.unreserve([other, Claims.cpus(1).reserved("a")])) == .operationMixedProviders)
    }

    @Test("agent.no-hierarchical-role, agent.no-refinement, agent.no-resize")
    mutating func capabilities() throws {
        let nested = Claims.cpus(1).reserved("a/b")
        let refined = Claims.cpus(1).reserved("a").reserved("a/b")
        #expect(book.rule(.reserve([nested]), capabilities: [.reservationRefinement]) == .agentNoHierarchicalRole)
        #expect(book.rule(.reserve([nested]), capabilities: [.hierarchicalRole]) == nil)
        #expect(book.rule(.reserve([refined]), capabilities: [.hierarchicalRole]) == .agentNoRefinement)
        try book.apply(.reserve([Claims.cpus(1).reserved("a")]))
        #expect(book.rule(.reserve([refined]), capabilities: [.hierarchicalRole, .reservationRefinement]) == nil)
        let wal = Claims.path(10).reserved("a").volume("wal")
        try book.apply(.reserve([Claims.path(20).reserved("a")]))
        try book.apply(.create([wal]))
        #expect(book.rule(.growVolume(wal, addition: Claims.path(1).reserved("a")), capabilities: []) == .agentNoResize)
        #expect(book.rule(.shrinkVolume(wal, subtract: 1), capabilities: []) == .agentNoResize)
        #expect(book.rule(.shrinkVolume(wal, subtract: 1), capabilities: .resizeVolume) == nil)
    }

    @Test("reserve.principal-missing, reserve.principal-differs: only where somebody authenticated")
    func reservePrincipal() {
        let asked = ActingParty(principal: Array("p".utf8))
        #expect(
            book.rule(.reserve([Claims.cpus(1).reserved("a", principal: nil)]), by: asked) == .reservePrincipalMissing)
        #expect(
            book.rule(.reserve([Claims.cpus(1).reserved("a", principal: "q")]), by: asked) == .reservePrincipalDiffers)
        #expect(book.rule(.reserve([Claims.cpus(1).reserved("a")]), by: asked) == nil)
        #expect(book.rule(.reserve([Claims.cpus(1).reserved("a", principal: "q")])) == nil)
    }

    @Test("reserve.unallocated, reserve.allocation-role-differs, reserve.role-not-subscribed, reserve.allocated")
    func reserveAllocation() {
        let framework = Claims.framework(["a", "b"])
        let claim = Claims.cpus(1).reserved("a")
        #expect(book.rule(.reserve([claim]), by: framework) == .reserveUnallocated)
        #expect(book.rule(.reserve([claim.allocated("b")]), by: framework) == .reserveAllocationRoleDiffers)
        #expect(book.rule(.reserve([claim.allocated("a")]), by: Claims.framework(["b"])) == .reserveRoleNotSubscribed)
        #expect(book.rule(.reserve([claim.allocated("a")])) == .reserveAllocated)
        #expect(book.rule(.reserve([claim.allocated("a")]), by: framework) == nil)
        let two = [claim.allocated("a"), Claims.mem(1).reserved("b").allocated("b")]
        #expect(book.rule(.reserve(two), by: framework) == .operationMixedAllocation)
    }

    @Test("unreserve.not-dynamic, unreserve.persistent-volume, operation.alien-role")
    mutating func unreserve() throws {
        let claim = Claims.cpus(1).reserved("a")
        try book.apply(.reserve([claim]))
        #expect(book.rule(.unreserve([Claims.cpus(1)])) == .unreserveNotDynamic)
        #expect(book.rule(.unreserve([Claims.path(1).reserved("a").volume("v")])) == .unreservePersistentVolume)
        #expect(book.rule(.unreserve([claim]), by: Claims.framework(["b"])) == .operationAlienRole)
        #expect(book.rule(.unreserve([claim]), by: Claims.framework(["a/x"])) == nil)
    }

    @Test("volume.no-disk, volume.no-persistence, volume.read-only; volume.no-mount outside of lists")
    mutating func volumes() throws {
        try book.apply(.reserve([Claims.path(10).reserved("a")]))
        let wal = Claims.path(10).reserved("a").volume("wal")
        for kind in [OperationKind.create, OperationKind.destroy] as [([ResourceClaim]) -> OperationKind] {
            #expect(book.rule(kind([Claims.cpus(1).reserved("a")])) == .volumeNoDisk)
            #expect(book.rule(kind([Claims.path(10).reserved("a")])) == .volumeNoPersistence)
            var readOnly = wal
            readOnly.disk?.volume?.isReadOnly = true
            #expect(book.rule(kind([readOnly])) == .volumeReadOnly)
        }
        var unmounted = wal
        unmounted.disk?.volume = nil
        #expect(book.rule(.create([unmounted])) == .volumeMountMissing)
        #expect(book.rule(.shrinkVolume(unmounted, subtract: 1)) == .volumeNoMount)
        #expect(book.rule(.create([wal])) == nil)
    }

    @Test("create.*: the id is the role's, the principal is named, shared ones only for who takes them")
    mutating func create() throws {
        try book.apply(.reserve([Claims.path(30).reserved("a"), Claims.path(10).reserved("b")]))
        let wal = Claims.path(10).reserved("a").volume("wal")
        #expect(book.rule(.create([wal, wal])) == .createDuplicateId)
        try book.apply(.create([wal]))
        #expect(book.rule(.create([wal])) == .createDuplicateId)
        #expect(book.rule(.create([Claims.path(10).reserved("b").volume("wal")])) == nil)
        var shared = Claims.path(10).reserved("a").volume("s").allocated("a")
        shared.isShared = true
        #expect(book.rule(.create([shared]), by: Claims.framework(["a"])) == .createSharedIncapable)
        #expect(book.rule(.create([shared]), by: Claims.framework(["a"], takesShared: true)) == nil)
        let asked = ActingParty(principal: Array("p".utf8))
        var anonymous = Claims.path(10).reserved("a").volume("x")
        anonymous.disk?.persistence?.principal = nil
        #expect(book.rule(.create([anonymous]), by: asked) == .createPrincipalMissing)
        anonymous.disk?.persistence?.principal = Array("q".utf8)
        #expect(book.rule(.create([anonymous]), by: asked) == .createPrincipalDiffers)
        let framework = Claims.framework(["b"])
        #expect(
            book.rule(.create([Claims.path(10).reserved("a").volume("y")]), by: framework) == .operationMixedAllocation)
        #expect(
            book.rule(.create([Claims.path(10).reserved("a").volume("y").allocated("b")]), by: framework)
                == .operationAlienRole)
    }

    @Test("destroy.not-found: size, stack and id have to be those of the volume; destroy.in-use; operation.alien-role")
    mutating func destroy() throws {
        let wal = Claims.path(10).reserved("a").volume("wal")
        try book.apply(.reserve([Claims.path(30).reserved("a")]))
        #expect(book.rule(.destroy([wal])) == .destroyNotFound)
        try book.apply(.create([wal]))
        #expect(book.rule(.destroy([Claims.path(9).reserved("a").volume("wal")])) == .destroyNotFound)
        #expect(book.rule(.destroy([Claims.path(10).reserved("b").volume("wal")])) == .destroyNotFound)
        #expect(book.rule(.destroy([wal]), by: Claims.framework(["b"])) == .operationAlienRole)
        #expect(book.rule(.destroy([wal.allocated("a")]), by: Claims.framework(["a"])) == nil)
        try book.hold([wal])
        #expect(book.rule(.destroy([wal])) == .destroyInUse)
    }

    @Test("a shared volume is held many times, and destroyed when nobody holds it")
    mutating func shared() throws {
        var shared = Claims.path(10).reserved("a").volume("s")
        shared.isShared = true
        try book.apply(.reserve([Claims.path(10).reserved("a")]))
        try book.apply(.create([shared]))
        try book.hold([shared])
        try book.hold([shared])
        #expect(book.rule(.destroy([shared])) == .destroyInUse)
        book.ledger.holds.removeLast()
        #expect(book.rule(.destroy([shared])) == .destroyInUse)
        book.ledger.holds.removeLast()
        try book.apply(.destroy([shared]))
        #expect(book.said.contains("disk(a)[path /data]:10"))
    }

    @Test("grow.addition-zero, grow.provider, grow.shared, grow.incompatible")
    mutating func grow() throws {
        try book.apply(.reserve([Claims.path(30).reserved("a"), Claims.mount(500_000).reserved("a")]))
        let wal = Claims.path(10).reserved("a").volume("wal")
        try book.apply(.create([wal]))
        let more = Claims.path(5).reserved("a")
        #expect(book.rule(.growVolume(wal, addition: Claims.path(0).reserved("a"))) == .growAdditionZero)
        var provided = wal
        provided.providerID = Array("rp".utf8)
        #expect(book.rule(.growVolume(provided, addition: more)) == .growProvider)
        var shared = wal
        shared.isShared = true
        #expect(book.rule(.growVolume(shared, addition: more)) == .growShared)
        #expect(book.rule(.growVolume(wal, addition: Claims.path(5))) == .growIncompatible)
        #expect(book.rule(.growVolume(wal, addition: Claims.root(5).reserved("a"))) == .growIncompatible)
        let mounted = Claims.mount(500_000).reserved("a").volume("m")
        #expect(book.rule(.growVolume(mounted, addition: Claims.mount(500_000).reserved("a"))) == .growIncompatible)
        #expect(book.rule(.growVolume(wal, addition: more)) == nil)
    }

    @Test("shrink.subtract-zero, shrink.nothing-left, shrink.provider, shrink.mount, shrink.shared")
    mutating func shrink() throws {
        try book.apply(.reserve([Claims.path(30).reserved("a")]))
        let wal = Claims.path(10).reserved("a").volume("wal")
        try book.apply(.create([wal]))
        #expect(book.rule(.shrinkVolume(wal, subtract: 0)) == .shrinkSubtractZero)
        #expect(book.rule(.shrinkVolume(wal, subtract: -1)) == .scalarInvalid)
        #expect(book.rule(.shrinkVolume(wal, subtract: 10)) == .shrinkNothingLeft)
        var provided = wal
        provided.providerID = Array("rp".utf8)
        #expect(book.rule(.shrinkVolume(provided, subtract: 1)) == .shrinkProvider)
        #expect(book.rule(.shrinkVolume(Claims.mount(500_000).reserved("a").volume("m"), subtract: 1)) == .shrinkMount)
        var shared = wal
        shared.isShared = true
        #expect(book.rule(.shrinkVolume(shared, subtract: 1)) == .shrinkShared)
        try book.apply(.shrinkVolume(wal, subtract: 9.5))
        #expect(book.said.contains("disk(a)[path /data]:29.5") && book.said.contains("disk(a)[path /data][wal]:0.5"))
    }

    // MARK: - The ledger

    @Test("ledger.insufficient: not there, or not so much; ledger.in-use: there, but held")
    mutating func ledger() throws {
        #expect(book.rule(.reserve([Claims.cpus(9).reserved("a")])) == .ledgerInsufficient)
        #expect(book.rule(.unreserve([Claims.cpus(1).reserved("a")])) == .ledgerInsufficient)
        try book.hold([Claims.cpus(6)])
        #expect(book.rule(.reserve([Claims.cpus(3).reserved("a")])) == .ledgerInUse)
        try book.apply(.reserve([Claims.cpus(2).reserved("a")]))
        #expect(throws: RegistryRefusal.self) { try book.ledger.checkHold(of: [Claims.cpus(1).checked()]) }
    }

    @Test("one list names one thing twice: it has to be there twice")
    mutating func listed() throws {
        #expect(
            book.rule(.reserve([Claims.cpus(5).reserved("a"), Claims.cpus(4).reserved("b")])) == .ledgerInsufficient)
        try book.apply(.reserve([Claims.cpus(5).reserved("a"), Claims.cpus(3).reserved("b")]))
        #expect(!book.said.contains { $0.hasPrefix("cpus:") })
    }

    @Test("two disks that nothing tells apart are two entries, each given away whole")
    mutating func twins() throws {
        try book.ledger.add(Claims.mount(500_000).checked())
        #expect(book.said.count { $0 == "disk[mount /mnt/ssd]:500000" } == 2)
        try book.apply(.reserve([Claims.mount(500_000).reserved("a")]))
        try book.apply(.reserve([Claims.mount(500_000).reserved("a")]))
        #expect(book.said.count { $0 == "disk(a)[mount /mnt/ssd]:500000" } == 2)
        #expect(book.rule(.reserve([Claims.mount(500_000).reserved("a")])) == .ledgerInsufficient)
        #expect(Set(book.ledger.entries.map(\.key)).count == book.ledger.entries.count)
    }
}
