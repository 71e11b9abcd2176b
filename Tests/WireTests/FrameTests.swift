import Basics
import Testing
import Wire

@Suite struct FrameTests {
    private let frame = Catalogue.bytes { writer in
        let start = writer.beginFrame(FrameHeader(kind: 0x0203, flags: [.reply, .moreToCome], requestID: 0x0807_0605))
        writer.write([0xAA, 0xBB])
        writer.endFrame(start)
    }

    @Test("a frame is laid out as documented, byte for byte")
    func layout() throws {
        #expect(hex(Array(frame.prefix(18))) == "12000000" + "01" + "03" + "0302" + "0506070800000000" + "aabb")
        let checksum = CRC32C.checksum(of: frame.rawSpan.extracting(0..<18))
        #expect(hex(Array(frame.suffix(4))) == hex((0..<4).map { UInt8(truncatingIfNeeded: checksum >> ($0 * 8)) }))
        let header = FrameHeader(kind: 0x0203, flags: [.reply, .moreToCome], requestID: 0x0807_0605)
        let expected = OwnedFrame(header: header, body: [0xAA, 0xBB], totalSize: 22)
        #expect(try scanFrame(frame.rawSpan, sizeMax: 22) == expected)
    }

    @Test("a frame that is cut anywhere asks for more bytes and is no error")
    func cutAnywhere() throws {
        for size in 0..<frame.count {
            let part = Array(frame[..<size])
            #expect(try scanFrame(part.rawSpan, sizeMax: 64) == nil)
        }
    }

    @Test("no bit of a frame can change unnoticed")
    func everyBitIsCovered() {
        for bit in 0..<frame.count * 8 {
            var damaged = frame
            damaged[bit / 8] ^= 1 << (bit % 8)
            // Either refused, or (a longer length) waiting for bytes that are not there.
            do throws(DecodeError) {
                let scan = try scanFrame(damaged.rawSpan, sizeMax: 1_024)
                #expect(scan == nil, "bit \(bit)")
                #expect(bit < 32, "bit \(bit) is not in the length")
            } catch {}
        }
    }

    @Test("a frame above the limit is refused by its length alone")
    func tooLargeEarly() {
        let header: [UInt8] = [0xFF, 0xFF, 0xFF, 0x7F]
        #expect(throws: DecodeError.tooLarge(0x7FFF_FFFF)) { try expectNone(header, sizeMax: 4_096) }
        #expect(throws: DecodeError.tooLarge(18)) { try expectNone(Array(frame.prefix(4)), sizeMax: 21) }
        #expect(throws: DecodeError.invalid("frame length")) { try expectNone([15, 0, 0, 0], sizeMax: 4_096) }
    }

    @Test("a compressed body, an unknown flag and another version are refused")
    func reservedIsRefused() {
        for flags in [UInt8(4), 16, 128] {
            #expect(throws: DecodeError.invalid("frame flags")) {
                try expectNone([16, 0, 0, 0, 1, flags, 0, 0], sizeMax: 64)
            }
        }
        #expect(throws: DecodeError.unknown("frame version", 2)) {
            try expectNone([16, 0, 0, 0, 2, 0, 0, 0], sizeMax: 64)
        }
    }

    @Test("many frames in one buffer are found one after the other")
    func manyFrames() throws {
        let all = Catalogue.client.flatMap(\.bytes)
        var offset = 0
        var count = 0
        while offset < all.count {
            let rest = all.rawSpan.extracting(offset..<all.count)
            let size = try scanFrame(rest, sizeMax: 4_096)?.totalSize
            offset += try #require(size)
            count += 1
        }
        #expect(count == Catalogue.client.count)
    }

    private func expectNone(_ bytes: [UInt8], sizeMax: Int) throws {
        #expect(try scanFrame(bytes.rawSpan, sizeMax: sizeMax) == nil)
    }
}
