import Basics
import RegistryModel
import Testing

private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

@Suite("Resources")
struct ResourceTests {
    typealias Level = ResourceClaim.ReservationClaim
    typealias Disk = ResourceClaim.DiskClaim
    typealias Source = ResourceClaim.SourceClaim

    private func cpus(_ amount: Double = 1) -> ResourceClaim {
        ResourceClaim(name: bytes("cpus"), type: .scalar, scalar: amount)
    }

    private func disk(_ amount: Double = 1_024, _ info: Disk? = nil) -> ResourceClaim {
        ResourceClaim(name: bytes("disk"), type: .scalar, scalar: amount, disk: info)
    }

    private func dynamic(_ role: String) -> Level { Level(kind: .dynamic, role: bytes(role), principal: bytes("p")) }

    private func volume(_ change: (inout ResourceClaim) -> Void = { _ in }) -> ResourceClaim {
        var claim = disk(
            100,
            Disk(
                source: Source(kind: .path, path: .init(bytes("/data"))),
                persistence: .init(id: bytes("wal"), principal: bytes("p")),
                volume: VolumeMount(containerPath: bytes("wal"))))
        claim.reservations = [dynamic("db")]
        change(&claim)
        return claim
    }

    private func ports(_ ranges: (UInt64, UInt64)...) -> ResourceClaim {
        ResourceClaim(name: bytes("ports"), type: .ranges, ranges: ranges.map { (begin: $0.0, end: $0.1) })
    }

    // MARK: - One by itself

    @Test("a well-formed claim, and the resource that it states, are what their bytes say")
    func wellFormed() throws {
        var raw = disk(
            5, Disk(source: Source(kind: .raw, vendor: bytes("v"), id: bytes("i"), metadata: [], profile: bytes("p"))))
        raw.providerID = bytes("rp")
        raw.allocationRole = bytes("db")
        let zones = ResourceClaim(name: bytes("zones"), type: .set, set: [bytes("b"), bytes("a")])
        for claim in [cpus(0.5), disk(), ports((1, 5)), zones, raw, volume(), volume { $0.isShared = true }] {
            let resource = try claim.checked()
            #expect(try ResourceClaim(claim.encoded()) == claim)
            let read = try Resource(resource.encoded())
            #expect(read == resource && read.disk?.volume == resource.disk?.volume)
            #expect(read.disk?.persistence?.principal == resource.disk?.persistence?.principal)
            #expect(throws: DecodeError.self) { try Resource(Array(resource.encoded().dropLast())) }
        }
    }

    @Test("resource.name-empty")
    func nameEmpty() {
        #expect(rule { try ResourceClaim(name: [], type: .scalar, scalar: 1).checked() } == .resourceNameEmpty)
    }

    @Test("resource.type-invalid: text, none that is known, not that of the value, more than one value")
    func typeInvalid() {
        let name = bytes("x")
        #expect(rule { try ResourceClaim(name: name, type: .text).checked() } == .resourceTypeInvalid)
        #expect(rule { try ResourceClaim(name: name, type: nil, scalar: 1).checked() } == .resourceTypeInvalid)
        #expect(rule { try ResourceClaim(name: name, type: .ranges, scalar: 1).checked() } == .resourceTypeInvalid)
        #expect(rule { try ResourceClaim(name: name, type: .scalar).checked() } == .resourceTypeInvalid)
        let two = ResourceClaim(name: name, type: .scalar, scalar: 1, set: [])
        #expect(rule { try two.checked() } == .resourceTypeInvalid)
    }

    @Test("scalar.* of a resource, and ranges.* and set.*")
    func values() {
        #expect(rule { try cpus(.nan).checked() } == .scalarInvalid)
        #expect(rule { try cpus(0.0001).checked() } == .scalarNotPositive)
        #expect(rule { try cpus(1e300).checked() } == .scalarOverflow)
        #expect(rule { try ports((2, 1)).checked() } == .rangesInverted)
        #expect(rule { try ports((1, 2), (2, 3)).checked() } == .rangesOverlap)
        let twice = ResourceClaim(name: bytes("zones"), type: .set, set: [bytes("a"), bytes("a")])
        #expect(rule { try twice.checked() } == .setDuplicate)
    }

    @Test("disk.wrong-name, disk.root-on-block, disk.type-unknown")
    func disks() throws {
        var wrong = cpus()
        wrong.disk = Disk(source: Source(kind: .mount))
        #expect(rule { try wrong.checked() } == .diskWrongName)
        for kind in [DiskSource.Kind.block, .raw] {
            #expect(rule { try disk(1, Disk(source: Source(kind: kind, path: .init()))).checked() } == .diskRootOnBlock)
            #expect(
                rule { try disk(1, Disk(source: Source(kind: kind, mount: .init()))).checked() } == .diskRootOnBlock)
            #expect(try disk(1, Disk(source: Source(kind: kind))).checked().disk?.source?.kind == kind)
        }
        #expect(rule { try disk(1, Disk(source: Source())).checked() } == .diskTypeUnknown)
        #expect(try disk(1, Disk(source: Source(kind: .path, path: .init()))).checked().isDivisible)
        #expect(try !disk(1, Disk(source: Source(kind: .mount, mount: .init()))).checked().isDivisible)
        #expect(try disk(1, Disk(source: Source(kind: .raw))).checked().isDivisible)
        #expect(try !disk(1, Disk(source: Source(kind: .raw, id: bytes("v")))).checked().isDivisible)
    }

    @Test("reservation.* of a stack")
    func stacks() throws {
        func refused(_ levels: [Level]) -> RegistryRule? {
            rule {
                var claim = cpus()
                claim.reservations = levels
                return try claim.checked()
            }
        }
        #expect(refused([Level(role: bytes("a"))]) == .reservationKindMissing)
        #expect(refused([Level(kind: .dynamic)]) == .reservationRoleMissing)
        #expect(refused([dynamic("a//b")]) == .roleSlashDouble)
        #expect(refused([dynamic("*")]) == .reservationRoleIsStar)
        #expect(refused([dynamic("a"), Level(kind: .static, role: bytes("a/b"))]) == .reservationStaticRefinement)
        #expect(refused([dynamic("a"), dynamic("ab")]) == .reservationNotASubrole)
        #expect(refused([dynamic("a"), dynamic("a")]) == .reservationNotASubrole)
        #expect(refused([Level(kind: .static, role: bytes("a")), dynamic("a/b"), dynamic("a/b/c")]) == nil)
    }

    @Test("the former form of a reservation, and reservation.forms-disagree")
    func formerForm() throws {
        var claim = cpus()
        claim.formerRole = bytes("*")
        #expect(try claim.checked().stack.isEmpty)
        claim.formerRole = bytes("db")
        #expect(try claim.checked().stack == [Reservation(kind: .static, role: RoleName(bytes("db")))])
        claim.formerReservation = Level(principal: bytes("p"))
        let dynamicStack = try claim.checked().stack
        #expect(try dynamicStack == [Reservation(kind: .dynamic, role: RoleName(bytes("db")), principal: bytes("p"))])
        // Both forms, of one mind.
        claim.reservations = [dynamic("db")]
        #expect(try claim.checked().stack == dynamicStack)
        claim.reservations = [dynamic("web")]
        #expect(rule { try claim.checked() } == .reservationFormsDisagree)
        claim.reservations = [dynamic("db"), dynamic("db/x")]
        #expect(rule { try claim.checked() } == .reservationFormsDisagree)
        claim.reservations = []
        claim.formerRole = bytes("*")
        #expect(rule { try claim.checked() } == .reservationRoleIsStar)
        claim.formerRole = nil
        #expect(rule { try claim.checked() } == .reservationRoleIsStar)
        claim.reservations = [dynamic("db")]
        #expect(rule { try claim.checked() } == .reservationFormsDisagree)
    }

    @Test("shared.wrong-name, shared.not-volume")
    func shared() throws {
        var claim = cpus()
        claim.isShared = true
        #expect(rule { try claim.checked() } == .sharedWrongName)
        claim = disk()
        claim.isShared = true
        #expect(rule { try claim.checked() } == .sharedNotVolume)
        #expect(try volume { $0.isShared = true }.checked().isShared)
    }

    // MARK: - Lists

    @Test("gpus.fractional: of all in the list together")
    func gpus() throws {
        func gpus(_ amount: Double) -> ResourceClaim {
            ResourceClaim(name: bytes("gpus"), type: .scalar, scalar: amount)
        }
        #expect(rule { try ResourceList.checked([gpus(0.5)]) } == .gpusFractional)
        #expect(try ResourceList.checked([gpus(0.5), gpus(1.5)]).count == 2)
    }

    @Test("resource.list-overlap: one name and one stack; of other stacks it is none")
    func overlap() throws {
        #expect(rule { try ResourceList.checked([ports((1, 5)), ports((5, 9))]) } == .resourceListOverlap)
        var reserved = ports((5, 9))
        reserved.reservations = [dynamic("db")]
        #expect(try ResourceList.checked([ports((1, 5)), reserved]).count == 2)
        let zones = ResourceClaim(name: bytes("zones"), type: .set, set: [bytes("a")])
        #expect(rule { try ResourceList.checked([zones, zones]) } == .resourceListOverlap)
    }

    @Test("volume.* and disk.empty, in their order")
    func volumes() throws {
        func refused(_ change: (inout ResourceClaim) -> Void) -> RegistryRule? {
            rule { try ResourceList.checked([volume(change)]) }
        }
        #expect(refused { _ in } == nil)
        #expect(refused { $0.isRevocable = true } == .volumeRevocable)
        #expect(refused { $0.reservations = [] } == .volumeUnreserved)
        #expect(refused { $0.disk?.volume = nil } == .volumeMountMissing)
        #expect(refused { $0.disk?.volume?.hostPath = bytes("/x") } == .volumeHostPath)
        #expect(refused { $0.disk?.persistence?.id = bytes("a/b") } == .idCharacter)
        #expect(refused { $0.disk?.persistence = nil } == .volumeNotPersistent)
        #expect(refused { $0.disk = Disk() } == .diskEmpty)
        #expect(refused { $0.disk?.volume?.containerPath = [] } == .volumePathAbsolute)
        #expect(refused { $0.disk?.volume?.containerPath = bytes("/abs") } == .volumePathAbsolute)
        #expect(refused { $0.disk?.volume?.containerPath = bytes("a/../b") } == .volumePathAbsolute)
        #expect(refused { $0.disk?.volume?.containerPath = bytes("a/..b") } == nil)
        // Of the first rules the first is told.
        #expect(
            refused {
                $0.isRevocable = true
                $0.reservations = []
            } == .volumeRevocable)
    }

    @Test("reservation.dynamic-revocable; a static one may be")
    func revocable() throws {
        var claim = cpus()
        claim.isRevocable = true
        claim.reservations = [dynamic("db")]
        #expect(rule { try ResourceList.checked([claim]) } == .reservationDynamicRevocable)
        claim.reservations = [Level(kind: .static, role: bytes("db"))]
        #expect(try ResourceList.checked([claim]).count == 1)
    }

    // MARK: - What resources are to each other

    @Test("how a volume is mounted, and who made it, is no part of what it is")
    func equality() throws {
        let one = try volume().checked()
        let other = try volume {
            $0.disk?.volume?.containerPath = bytes("elsewhere")
            $0.disk?.persistence?.principal = nil
        }.checked()
        #expect(one == other && one.hashValue == other.hashValue)
        #expect(try one != volume { $0.disk?.persistence?.id = bytes("base") }.checked())
        #expect(try one != volume { $0.reservations[0].labels = [] }.checked())
    }

    @Test("who may use what is reserved: its role and those below")
    func allocatable() throws {
        let role = { (name: String) in try RoleName(bytes(name)) }
        let reserved = try volume().checked()
        #expect(try reserved.isAllocatable(to: role("db")) && reserved.isAllocatable(to: role("db/x")))
        #expect(try !reserved.isAllocatable(to: role("dbx")) && !reserved.isAllocatable(to: .any))
        #expect(try cpus().checked().isAllocatable(to: role("web")))
    }

    @Test("claims survive their encoding; foreign bytes end in an error")
    func codec() throws {
        var odd = ResourceClaim(
            name: bytes("disk"), type: nil, scalar: .nan, ranges: [(begin: 9, end: 1)], set: [[]],
            reservations: [Level(), Level(kind: .static, role: [], labels: [Labels.Label(key: [], value: nil)])],
            formerRole: [], formerReservation: Level(kind: .dynamic),
            disk: Disk(
                source: Source(
                    kind: nil, path: .init(), mount: .init([1]), vendor: [], id: [], metadata: [], profile: []),
                persistence: .init(id: []), volume: VolumeMount(containerPath: [], isReadOnly: true, hostPath: [])),
            isRevocable: true, isShared: true, providerID: [], allocationRole: [])
        for claim in [cpus(), ports((1, 2), (4, 5)), volume(), odd] {
            var writer = ByteWriter()
            claim.encode(into: &writer)
            let encoded = writer.takeBytes()
            var reader = ByteReader(encoded.rawSpan)
            #expect(try ResourceClaim(decoding: &reader) == claim)
            let isAtEnd = reader.isAtEnd
            #expect(isAtEnd)
            for size in encoded.indices {
                var cut = ByteReader(encoded.rawSpan.extracting(0..<size))
                #expect(throws: DecodeError.self) { try ResourceClaim(decoding: &cut) }
            }
        }
        odd.name = [UInt8](repeating: 1, count: 3)
        var writer = ByteWriter()
        odd.encode(into: &writer)
        var foreign = writer.takeBytes()
        foreign[7] = 0xFF
        var reader = ByteReader(foreign.rawSpan)
        #expect(throws: DecodeError.unknown("part of a resource", 0xFFFF & (UInt64(foreign[6]) | 0xFF00))) {
            try ResourceClaim(decoding: &reader)
        }
    }
}
