internal import Basics
internal import FuzzSupport
internal import MetadataModel
internal import Wire

/// What a client sends, as a node reads it: the body of each kind of frame, behind a byte of flags.
let requests = ClientFrameKind.allCases.filter { $0 != .goingAway }.map { kind in
    Decoder("request \(kind)", seeds: { bodies(kind.rawValue, isReply: false) }) { bytes in
        guard let flags = bytes.first else { return false }
        let header = FrameHeader(kind: kind.rawValue, flags: FrameFlags(rawValue: flags), requestID: 5)
        return isRequest(header, bytes.rawSpan.extracting(1..<bytes.count))
    }
}

func isRequest(_ header: FrameHeader, _ body: RawSpan) -> Bool {
    guard let request = try? ClientRequest.decode(header, body: body) else { return false }
    switch request {
    case .hello(let hello):
        let again = withFrame { hello.encode(requestID: 5, into: &$0) } _: { try? ClientHello(decoding: $1) }
        check(again == hello, "\(hello)")
    case .mutate(let command, _): _ = try? Command.validate(command)
    case .query(_, let query): return isQuery(query)
    case .keepAlive(let sessions, let mayForward):
        withFrame {
            ClientRequest.encodeKeepAlive(requestID: 5, sessions: sessions, mayForward: mayForward, into: &$0)
        } _: { header, body in
            guard case .keepAlive(sessions, mayForward)? = try? ClientRequest.decode(header, body: body) else {
                fail("\(sessions.count) sessions to keep alive became something else")
            }
        }
    case .snapshotPiece(let piece):
        withFrame { piece.encode(requestID: 5, into: &$0) } _: { header, body in
            guard case .snapshotPiece(piece)? = try? ClientRequest.decode(header, body: body) else {
                fail("\(piece) became something else")
            }
        }
    case .changeMembers(let change):
        withFrame { change.encode(requestID: 5, into: &$0) } _: { header, body in
            guard case .changeMembers(change)? = try? ClientRequest.decode(header, body: body) else {
                fail("\(change) became something else")
            }
        }
    case .clearAlarm(let name):
        withFrame { AlarmClearing.encode(name, requestID: 5, into: &$0) } _: { header, body in
            guard case .clearAlarm(name)? = try? ClientRequest.decode(header, body: body) else {
                fail("the alarm \(name) became another")
            }
        }
    case .watch(let watch):
        withFrame { watch.encode(requestID: 5, into: &$0) } _: { header, body in
            guard case .watch(watch)? = try? ClientRequest.decode(header, body: body) else {
                fail("\(watch) became something else")
            }
        }
    default: break
    }
    return true
}

private func isQuery(_ bytes: RawSpan) -> Bool {
    guard let query = try? Query(decoding: bytes) else { return false }
    let again = query.encoded()
    check((try? Query(decoding: again.rawSpan)) == query, "\(query)")
    return true
}
