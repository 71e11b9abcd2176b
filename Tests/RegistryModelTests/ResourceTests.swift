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

    @Test("a part may be taken of a directory and of a pool, and of no other disk")
    func divisible() throws {
        func isDivisible(_ source: Source) throws -> Bool { try disk(1, Disk(source: source)).checked().isDivisible }
        #expect(try isDivisible(Source(kind: .path, path: .init())) && isDivisible(Source(kind: .raw)))
        #expect(try !isDivisible(Source(kind: .mount, mount: .init())) && !isDivisible(Source(kind: .block)))
        #expect(try !isDivisible(Source(kind: .raw, id: bytes("v"))))
    }

    @Test("the former form of a reservation says what the present one does")
    func formerForm() throws {
        var claim = cpus()
        claim.formerRole = bytes("*")
        #expect(try claim.checked().stack.isEmpty)
        claim.formerRole = bytes("db")
        #expect(try claim.checked().stack == [Reservation(kind: .static, role: RoleName(bytes("db")))])
        claim.formerReservation = Level(principal: bytes("p"))
        let stack = try claim.checked().stack
        #expect(try stack == [Reservation(kind: .dynamic, role: RoleName(bytes("db")), principal: bytes("p"))])
        claim.reservations = [dynamic("db")]
        #expect(try claim.checked().stack == stack)
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
