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

    // MARK: - What operations bring

    @Test("what was one role's is another's; a volume gives back what it loses")
    mutating func converted() throws {
        let reserved = Claims.cpus(2).reserved("a")
        try book.apply(.reserve([reserved]))
        try book.apply(.reserve([Claims.cpus(0.5).reserved("b"), Claims.cpus(1.5).reserved("b")], source: [reserved]))
        #expect(book.said.contains("cpus(b):2") && book.said.contains("cpus:6"))
        let wal = Claims.path(10).reserved("a").volume("wal")
        try book.apply(.reserve([Claims.path(30).reserved("a")]))
        try book.apply(.create([wal]))
        try book.apply(.shrinkVolume(wal, subtract: 9.5))
        #expect(book.said.contains("disk(a)[path /data]:29.5") && book.said.contains("disk(a)[path /data][wal]:0.5"))
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
