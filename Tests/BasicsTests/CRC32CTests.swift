import Basics
import LogFormat
import Testing

@Suite("Basics and the record format")
struct BasicsTests {
    private func checksum(_ bytes: [UInt8], continuing previous: UInt32 = 0) -> UInt32 {
        CRC32C.checksum(of: bytes.rawSpan, continuing: previous)
    }

    @Test("RFC 3720 B.4: the four published CRC-32C vectors")
    func publishedVectors() {
        #expect(checksum([UInt8](repeating: 0, count: 32)) == 0x8A91_36AA)
        #expect(checksum([UInt8](repeating: 0xFF, count: 32)) == 0x62A8_AB43)
        #expect(checksum([UInt8](0..<32)) == 0x46DD_794E)
        #expect(checksum([UInt8]((0..<32).reversed())) == 0x113F_DB5C)
    }

    @Test("checksums of adjacent ranges chain, at every cut")
    func checksumsChain() {
        let bytes = [UInt8]("the quick brown fox jumps over".utf8)
        let whole = checksum(bytes)
        for cut in 0...bytes.count {
            #expect(checksum(Array(bytes[cut...]), continuing: checksum(Array(bytes[..<cut]))) == whole)
        }
    }

    private static func sampleSlab() -> Slab {
        var builder = SlabBuilder(term: Term(3), firstIndex: LogIndex(7), salt: 0x1234_5678)
        builder.append(.noop, payload: [UInt8]().rawSpan, time: ClusterTime(nanoseconds: 1_000))
        builder.append(.command, payload: [UInt8]([1, 2, 3]).rawSpan, time: ClusterTime(nanoseconds: 1_001), principal: 9)
        guard let slab = builder.close() else { fatalError("two records make a slab") }
        return slab
    }

    @Test("a record's bytes are pinned")
    func goldenRecord() {
        let hex = Self.sampleSlab().bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
        #expect(
            hex
                == "2c000000dc776f40010100007856341203000000000000000700000000000000e8030000000000000000000000000000"
                + "2f000000ce77b2c5020100007856341203000000000000000800000000000000e9030000000000000900000000000000010203")
    }

    @Test("a slab reads back what was put in")
    func roundTrip() throws {
        let slab = Self.sampleSlab()
        let read = try Slab(verifying: slab.bytes, firstIndex: LogIndex(7), term: Term(3), salt: 0x1234_5678)
        #expect(read.indexes == LogIndex(7)...LogIndex(8))
        let record = read.record(at: LogIndex(8))
        let header = record.header
        #expect(header.type == .command)
        #expect(header.principal == 9)
        let payload = [UInt8](record.payload)
        #expect(payload == [1, 2, 3])
        let part = try #require(read.slice(LogIndex(8)...LogIndex(99)))
        let partHeader = part.record(at: LogIndex(8)).header
        #expect(partHeader == header)
        #expect(read.slice(LogIndex(9)...LogIndex(99)) == nil)
    }

    @Test("a flip of any bit and a cut at any byte of a slab are refused")
    func damageIsRefused() {
        let bytes = Self.sampleSlab().bytes
        for position in bytes.indices {
            for bit in 0..<8 {
                var damaged = bytes
                damaged[position] ^= 1 << bit
                #expect(throws: DecodeError.self) {
                    try Slab(verifying: damaged, firstIndex: LogIndex(7), term: Term(3), salt: 0x1234_5678)
                }
            }
        }
        for count in bytes.indices where count != 48 {
            #expect(throws: DecodeError.self) {
                try Slab(
                    verifying: Array(bytes[..<count]), firstIndex: LogIndex(7), term: Term(3), salt: 0x1234_5678)
            }
        }
    }

    @Test("a slab at the end of all indexes is refused, where the index after it could not be computed")
    func largestIndexIsRefused() {
        var builder = SlabBuilder(term: Term(3), firstIndex: LogIndex(.max), salt: 1)
        builder.append(.noop, payload: RawSpan(), time: ClusterTime(nanoseconds: 1))
        guard let slab = builder.close() else { return #expect(Bool(false), "a slab with one record is empty") }
        #expect(throws: DecodeError.invalid("record index")) {
            try Slab(verifying: slab.bytes, firstIndex: LogIndex(.max), term: Term(3), salt: 1)
        }
    }

    @Test("a claimed count that cannot be in what remains is refused before anything is reserved")
    func countsAreBounded() {
        let bytes: [UInt8] = [0xFF, 0xFF, 0xFF, 0x7F, 1, 2]
        #expect(throws: DecodeError.tooLarge(0x7FFF_FFFF)) {
            var reader = ByteReader(bytes.rawSpan)
            _ = try reader.readCount32(itemSizeMin: 1)
        }
    }
}
