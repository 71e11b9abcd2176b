internal import Basics
internal import FuzzSupport
internal import Wire

/// What one node sends to another: the body of each kind of frame, asked and answered.
let messages = PeerFrameKind.allCases.map { kind in
    Decoder(
        "peer \(kind)",
        seeds: { bodies(kind.rawValue, isReply: false) + bodies(kind.rawValue, isReply: true) }
    ) { bytes in
        guard let flags = bytes.first else { return false }
        let header = FrameHeader(kind: kind.rawValue, flags: FrameFlags(rawValue: flags), requestID: 5)
        return isPeerMessage(header, bytes.rawSpan.extracting(1..<bytes.count))
    }
}

/// A message that is understood has one meaning: written again and read again it is the same.
func isPeerMessage(_ header: FrameHeader, _ body: RawSpan) -> Bool {
    guard let received = try? PeerMessage.decode(header, body: body) else { return false }
    // The only message with a field that may be missing at its end: what follows is no payload then.
    let mayEndEarly = if case .foundingProbeReply = received.message { true } else { false }
    var writer = ByteWriter()
    let start = received.message.beginFrame(requestID: 5, into: &writer)
    if !mayEndEarly { writer.write(received.payload) }
    writer.endFrame(start)
    let bytes = writer.takeBytes()
    guard let frame = try? FrameHeader.scan(bytes.rawSpan, sizeMax: 1 << 22) else {
        fail("a message that was read cannot be written: \(received.message)")
    }
    guard let again = try? PeerMessage.decode(frame.header, body: frame.body) else {
        fail("a message that was written cannot be read: \(received.message)")
    }
    check(again.message == received.message, "\(received.message) became \(again.message)")
    check(mayEndEarly || again.payload.hasSameBytes(as: received.payload), "\(received.message) has another payload")
    return true
}
