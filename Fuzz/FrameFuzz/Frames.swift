internal import Basics
internal import FuzzSupport
internal import Wire

/// Every frame of the protocol as the tests know it.
let catalogue: [[UInt8]] =
    (Catalogue.client + Catalogue.coordination + Catalogue.history).map(\.bytes)
    + Catalogue.peer.map { Catalogue.encoded($0.message, payload: $0.payload) }

/// Bytes off a connection, read by everybody who could be at its other end.
let connection = Decoder(
    "connection", seeds: { catalogue + [Array(catalogue.prefix(4).joined())] }, repair: repairFrames
) { bytes in
    var offset = 0
    while let frame = try? FrameHeader.scan(bytes.rawSpan.extracting(offset..<bytes.count), sizeMax: 1 << 20) {
        check(frame.totalSize > 0 && offset + frame.totalSize <= bytes.count, "a frame beyond its bytes")
        _ = isRequest(frame.header, frame.body)
        _ = isReply(frame.header, frame.body)
        _ = isPeerMessage(frame.header, frame.body)
        offset += frame.totalSize
    }
    return offset > 0
}

/// The bodies of the catalogue's frames of a kind, behind the byte that has their flags.
func bodies(_ kind: UInt16, isReply: Bool) -> [[UInt8]] {
    catalogue.compactMap { bytes in
        guard let frame = try? FrameHeader.scan(bytes.rawSpan, sizeMax: 1 << 20) else { return nil }
        guard frame.header.kind == kind, frame.header.isReply == isReply else { return nil }
        return [frame.header.flags.rawValue] + [UInt8](frame.body)
    }
}

/// Reads a frame that `write` makes.
func withFrame<T>(_ write: (inout ByteWriter) -> Void, _ read: (FrameHeader, RawSpan) -> T) -> T {
    let bytes = written(write)
    guard let frame = try? FrameHeader.scan(bytes.rawSpan, sizeMax: 1 << 22) else {
        fail("what was read cannot be written as a frame")
    }
    check(frame.totalSize == bytes.count, "bytes after a frame")
    return read(frame.header, frame.body)
}

/// Takes the bytes for frames that follow one another; one whose length cannot be right becomes the last.
func repairFrames(_ bytes: [UInt8]) -> [UInt8] {
    var bytes = bytes
    var offset = 0
    while bytes.count - offset >= FrameFormat.overhead {
        let rest = bytes.count - offset
        let claimed = (0..<4).reduce(0) { $0 | Int(bytes[offset + $1]) << ($1 * 8) } + 4
        let isLast = claimed < FrameFormat.overhead || claimed > rest - FrameFormat.overhead
        let size = isLast ? rest : claimed
        bytes.store(UInt32(size - 4), at: offset)
        bytes[offset + 4] = FrameFormat.version
        let end = offset + size - FrameFormat.checksumSize
        let checksum = CRC32C.checksum(of: bytes.rawSpan.extracting(offset..<end))
        bytes.store(checksum, at: end)
        offset += size
    }
    return bytes
}
