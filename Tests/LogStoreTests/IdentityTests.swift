import Basics
import Disk
import LogStore
import Testing

@Suite struct IdentityTests {
    private let identity = NodeIdentity(
        cluster: ClusterIdentity(id: 0x1111, generation: 2, generationTag: 0x3333), name: "alpha",
        incarnation: NodeID(0xABCD), foundingRecord: [1, 2, 3])

    @Test("What was stored is loaded; a new directory has no identity")
    func roundTrip() throws {
        let disk = MemoryDisk()
        #expect(try NodeIdentity.load(from: "data", on: disk) == nil)
        var waiting = identity
        waiting.cluster = nil
        waiting.foundingRecord = []
        try waiting.store(in: "data", on: disk)
        #expect(try NodeIdentity.load(from: "data", on: disk) == waiting)
        try identity.store(in: "data", on: disk)
        #expect(try NodeIdentity.load(from: "data", on: disk) == identity)
    }

    /// Seed 104 of profile swarm: a node that was killed at its first start said who it is at the second, and the power failed.
    @Test("An identity that has been read is there after a power loss, whoever was killed before its name was durable")
    func readIsDurable() throws {
        for effects in 0..<10 {
            let disk = MemoryDisk()
            disk.effectsLeft = effects
            _ = try? identity.store(in: "data", on: disk)
            disk.effectsLeft = nil
            disk.isDead = false
            guard let found = try NodeIdentity.load(from: "data", on: disk) else { continue }
            for seed in 0..<20 as Range<UInt64> {
                var random = SplitMix64(seed: seed)
                #expect(try NodeIdentity.load(from: "data", on: disk.crashed(&random)) == found, "\(effects), seed \(seed)")
            }
        }
    }

    @Test("A crash while storing leaves the old identity or the new one")
    func crash() throws {
        for seed in 0..<100 {
            var random = SplitMix64(seed: UInt64(seed))
            let disk = MemoryDisk()
            try identity.store(in: "data", on: disk)
            var renamed = identity
            renamed.name = "beta"
            disk.effectsLeft = Int(random.next() % 8)
            _ = try? renamed.store(in: "data", on: disk)
            let after = disk.crashed(&random)
            let found = try NodeIdentity.load(from: "data", on: after)
            #expect(found == identity || found == renamed)
            try renamed.store(in: "data", on: after)
            #expect(try NodeIdentity.load(from: "data", on: after) == renamed)
        }
    }

    @Test("Every flipped byte and every shorter file is refused as damaged, with the file's name")
    func damage() throws {
        let disk = MemoryDisk()
        try identity.store(in: "data", on: disk)
        let file = disk.names["data/identity"]!
        for offset in file.bytes.indices {
            let copy = disk.copy()
            copy.names["data/identity"]!.bytes[offset] ^= 0x10
            let error = #expect(throws: IdentityError.self) { try NodeIdentity.load(from: "data", on: copy) }
            guard case .damaged("data/identity", _) = error else {
                Issue.record("byte \(offset): \(String(describing: error))")
                continue
            }
            let short = disk.copy()
            short.names["data/identity"]!.bytes.removeLast(offset + 1)
            #expect(throws: IdentityError.self) { try NodeIdentity.load(from: "data", on: short) }
        }
    }

    @Test("The errors say which: another cluster, another node, a newer release")
    func refusals() throws {
        try identity.check(name: "alpha", cluster: identity.cluster)
        try identity.check(name: "alpha", cluster: nil)
        let name = #expect(throws: IdentityError.self) { try identity.check(name: "beta", cluster: nil) }
        #expect(name == .otherName(found: "alpha", expected: "beta"))
        var other = identity.cluster!
        other.generation = 3
        let cluster = #expect(throws: IdentityError.self) { try identity.check(name: "alpha", cluster: other) }
        #expect(cluster == .otherCluster(found: identity.cluster!, expected: other))

        let disk = MemoryDisk()
        try identity.store(in: "data", on: disk)
        var bytes = disk.names["data/identity"]!.bytes
        bytes[8] = 2
        let checksum = CRC32C.checksum(
            of: Array(bytes[16...]).rawSpan, continuing: CRC32C.checksum(of: Array(bytes[..<12]).rawSpan))
        bytes.store(checksum, at: 12)
        disk.names["data/identity"]!.bytes = bytes
        #expect(throws: IdentityError.newerFormat(file: "data/identity", version: 2)) {
            try NodeIdentity.load(from: "data", on: disk)
        }
    }
}

@Suite struct PeerMemoryTests {
    @Test("what is known of peers comes back; damage to it is noticed, and without a file there is nothing")
    func roundTrip() throws {
        let disk = MemoryDisk()
        #expect(try PeerMemory.load(from: "data", on: disk) == PeerMemory())
        let memory = PeerMemory([NodeID(3): LogIndex(9), NodeID(1): LogIndex(1 << 40)])
        try memory.store(in: "data", on: disk)
        #expect(try PeerMemory.load(from: "data", on: disk) == memory)
        let path = "data/\(PeerMemory.fileName)"
        for offset in disk.names[path]!.bytes.indices {
            disk.names[path]!.bytes[offset] ^= UInt8(1 << (offset & 7))
            #expect(throws: IdentityError.self, "byte \(offset)") { try PeerMemory.load(from: "data", on: disk) }
            disk.names[path]!.bytes[offset] ^= UInt8(1 << (offset & 7))
        }
        for size in 0..<disk.names[path]!.bytes.count {
            let bytes = Array(memory.encoded().prefix(size))
            #expect(throws: (any Error).self) { try PeerMemory(decoding: bytes.rawSpan) }
        }
    }
}
