internal import Basics
internal import MetadataModel
internal import Wire

/// Whatever a socket brings must end in a value or in a `DecodeError`, never in a trap.
///
/// The input is used twice: as it is, as bytes off a connection; and as the inside of a frame with a right length and
/// checksum, since chance alone does not get past a checksum. Then its first three bytes choose kind and flags.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOne(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let bytes = [UInt8](UnsafeBufferPointer(start: start, count: count))
    readConnection(bytes)
    guard bytes.count >= 3 else { return 0 }
    let kinds = ClientFrameKind.allCases.map(\.rawValue) + PeerFrameKind.allCases.map(\.rawValue)
    // Most inputs take a kind that exists; the others show what an unknown one does.
    let kind = bytes[0] < 250 ? kinds[Int(bytes[0]) % kinds.count] : UInt16(bytes[0]) << 8 | UInt16(bytes[1])
    var writer = ByteWriter()
    let frame = writer.beginFrame(
        FrameHeader(kind: kind, flags: FrameFlags(rawValue: bytes[1] & 0x0F), requestID: UInt64(bytes[2])))
    writer.write(Array(bytes[3...]))
    writer.endFrame(frame)
    readConnection(writer.takeBytes())
    return 0
}

private func readConnection(_ bytes: [UInt8]) {
    var offset = 0
    while let frame = try? FrameHeader.scan(bytes.rawSpan.extracting(offset..<bytes.count), sizeMax: 1 << 20) {
        precondition(frame.totalSize > 0 && offset + frame.totalSize <= bytes.count, "a frame beyond its bytes")
        readAsClient(frame.header, frame.body)
        readAsNode(frame.header, frame.body)
        readAsPeer(frame.header, frame.body)
        offset += frame.totalSize
    }
}

/// A client's request, as a node reads it.
private func readAsNode(_ header: FrameHeader, _ body: RawSpan) {
    guard let request = try? ClientRequest.decode(header, body: body) else { return }
    switch request {
    case .mutate(let command, _): _ = try? Command.validate(command)
    case .query(_, let query): _ = try? Query(decoding: query)
    default: break
    }
}

/// A node's reply, as a client reads it.
private func readAsClient(_ header: FrameHeader, _ body: RawSpan) {
    _ = try? ControlReply.decode(kind: header.kind, body: body)
    _ = try? WatchEvent(decoding: body)
    var reader = ByteReader(body)
    guard case .success? = try? ReplyHead(decoding: &reader) else { return }
    for isKeysOnly in [false, true] {
        var page = reader
        _ = try? Page(decoding: &page, for: PageRequest(isKeysOnly: isKeysOnly))
    }
    var result = reader
    _ = try? TransactionResult(decoding: &result)
    result = reader
    _ = try? result.readRowResult()
}

/// A message between nodes. One that is understood has one meaning: written again and read again it is the same.
private func readAsPeer(_ header: FrameHeader, _ body: RawSpan) {
    guard let received = try? PeerMessage.decode(header, body: body) else { return }
    var writer = ByteWriter()
    received.message.encode(requestID: header.requestID, payload: received.payload, into: &writer)
    let again = writer.takeBytes()
    guard let frame = try? FrameHeader.scan(again.rawSpan, sizeMax: 1 << 21) else {
        preconditionFailure("a message that was read cannot be written: \(received.message)")
    }
    guard let second = try? PeerMessage.decode(frame.header, body: frame.body) else {
        preconditionFailure("a message that was written cannot be read: \(received.message)")
    }
    precondition(second.message == received.message, "\(received.message) became \(second.message)")
}

// MARK: - Mutation

/// Changes the input, and three times out of four puts lengths and checksums of its frames right again: so what is
/// tried gets past them, and they are tried too.
@_cdecl("LLVMFuzzerCustomMutator")
public func mutate(_ data: UnsafeMutablePointer<UInt8>, _ size: Int, _ sizeMax: Int, _ seed: CUnsignedInt) -> Int {
    let size = mutateBytes(data, size, sizeMax)
    guard seed % 4 != 0 else { return size }
    let bytes = UnsafeMutableBufferPointer(start: data, count: size)
    let repaired = repairFrames(Array(bytes))
    _ = bytes.update(fromContentsOf: repaired)
    return size
}

/// Takes the bytes for frames that follow one another; one whose length cannot be right becomes the last.
private func repairFrames(_ bytes: [UInt8]) -> [UInt8] {
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

@_silgen_name("LLVMFuzzerMutate")
func mutateBytes(_: UnsafeMutablePointer<UInt8>, _: Int, _: Int) -> Int

// MARK: - Start

@_silgen_name("LLVMFuzzerRunDriver")
func runDriver(
    _: UnsafeMutablePointer<CInt>, _: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?>,
    _: @convention(c) (UnsafePointer<UInt8>?, Int) -> CInt
) -> CInt

/// What SwiftPM links as the program's start.
@_cdecl("FrameFuzz_main")
public func run(_ argc: CInt, _ argv: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?) -> CInt {
    var argc = argc
    var argv = argv
    return runDriver(&argc, &argv, fuzzOne)
}
