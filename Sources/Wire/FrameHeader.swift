package import Basics

/// One frame as it is on a connection, between a client and a node and between two nodes alike. Little-endian.
///
///      0  u32  length      bytes of the frame after this field: 16 + body
///      4  u8   version     of this layout; 1
///      5  u8   flags       `FrameFlags`
///      6  u16  kind        `ClientFrameKind` or `PeerFrameKind`
///      8  u64  requestID   chosen by whoever asks; a reply carries that of its request; 0 in what nobody asked for
///     16  …    body
///      …  u32  crc32c      over bytes 0 … end of body
package enum FrameFormat {
    package static let version: UInt8 = 1
    package static let headerSize = 16
    package static let checksumSize = 4
    /// What a frame takes besides its body.
    package static let overhead = headerSize + checksumSize
    /// What `length` does not count.
    static let lengthSize = 4
}

/// Bits 4 … 7 are not in use: a frame that sets one is refused.
package struct FrameFlags: OptionSet, Hashable, Sendable {
    package let rawValue: UInt8
    @inlinable package init(rawValue: UInt8) { self.rawValue = rawValue }

    /// Answers the request of the same `requestID`.
    @inlinable package static var reply: FrameFlags { FrameFlags(rawValue: 1) }
    /// More frames of the same reply follow.
    @inlinable package static var moreToCome: FrameFlags { FrameFlags(rawValue: 2) }
    /// Reserved for a compressed body; a frame that sets it is refused.
    @inlinable package static var zstd: FrameFlags { FrameFlags(rawValue: 4) }
    /// The node may pass the request on to the leader; without it the answer of a follower is `notLeader`.
    @inlinable package static var forward: FrameFlags { FrameFlags(rawValue: 8) }

    @inlinable static var accepted: UInt8 { 1 | 2 | 8 }
}

/// A frame's fields, without its body. `kind` stays a number here, so that a kind that is not known can be answered.
package struct FrameHeader: Hashable, Sendable {
    package var kind: UInt16
    package var flags: FrameFlags
    package var requestID: UInt64

    package init(kind: UInt16, flags: FrameFlags = [], requestID: UInt64) {
        self.kind = kind
        self.flags = flags
        self.requestID = requestID
    }

    package var isReply: Bool { flags.contains(.reply) }
}

/// A whole, sound frame at the start of some bytes.
package struct FrameScan: ~Escapable {
    package let header: FrameHeader
    package let body: RawSpan
    /// Bytes that the frame takes; the next one starts there.
    package let totalSize: Int

    @_lifetime(copy body)
    init(header: FrameHeader, body: RawSpan, totalSize: Int) {
        self.header = header
        self.body = body
        self.totalSize = totalSize
    }
}

extension FrameHeader {
    /// Reads the frame at the start of `bytes`; nil when more bytes are needed to see all of it.
    ///
    /// What cannot become a frame is refused as early as the bytes show it: a length above `sizeMax` (bytes of the
    /// whole frame) before its body has come, so that nobody buffers on the word of a stranger. After a throw the
    /// connection cannot be read on: where the next frame starts is not known.
    @_lifetime(copy bytes)
    package static func scan(_ bytes: RawSpan, sizeMax: Int) throws(DecodeError) -> FrameScan? {
        var reader = ByteReader(bytes)
        guard reader.remaining >= FrameFormat.lengthSize else { return nil }
        let length = Int(try reader.readUInt32())
        guard length >= FrameFormat.overhead - FrameFormat.lengthSize else { throw .invalid("frame length") }
        guard length <= sizeMax - FrameFormat.lengthSize else { throw .tooLarge(UInt64(length)) }
        guard reader.remaining >= 4 else { return nil }
        let version = try reader.readUInt8()
        guard version == FrameFormat.version else { throw .unknown("frame version", UInt64(version)) }
        let flags = try reader.readUInt8()
        guard flags & ~FrameFlags.accepted == 0 else { throw .invalid("frame flags") }
        let kind = try reader.readUInt16()
        let totalSize = FrameFormat.lengthSize + length
        guard bytes.byteCount >= totalSize else { return nil }
        let requestID = try reader.readUInt64()
        let body = try reader.readBytes(totalSize - FrameFormat.overhead)
        let stored = try reader.readUInt32()
        let computed = CRC32C.checksum(of: bytes.extracting(0..<totalSize - FrameFormat.checksumSize))
        guard stored == computed else { throw .checksumMismatch(stored: stored, computed: computed) }
        let header = FrameHeader(kind: kind, flags: FrameFlags(rawValue: flags), requestID: requestID)
        return FrameScan(header: header, body: body, totalSize: totalSize)
    }
}

/// Where a frame that is being written starts.
package struct FrameStart: Sendable {
    fileprivate let offset: Int
}

extension ByteWriter {
    /// Starts a frame; its body is what is written until `endFrame`. Many frames may follow one another in one writer.
    package mutating func beginFrame(_ header: FrameHeader) -> FrameStart {
        let start = FrameStart(offset: count)
        write(UInt32(0))
        write(FrameFormat.version)
        write(header.flags.rawValue)
        write(header.kind)
        write(header.requestID)
        return start
    }

    /// Fills in length and checksum.
    package mutating func endFrame(_ start: FrameStart) {
        let length = count - start.offset - FrameFormat.lengthSize + FrameFormat.checksumSize
        overwrite(at: start.offset, with: UInt32(length))
        write(checksum(from: start.offset))
    }
}
