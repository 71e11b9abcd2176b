package import Basics
package import MetadataModel

/// How fresh an answer must be. Numbers are forever.
package enum ReadLevel: UInt8, Hashable, Sendable, CaseIterable {
    /// Sees every write that was acknowledged before the read was sent (ReadIndex, thesis §6.4).
    case linearizable = 0
    /// Sees a state that existed, at least that of `atLeast`; answered by any node from what it has applied.
    case stale = 1
}

/// Stands before the query in the body of a `query` frame: `u8` read level, `u64` revision.
package struct ReadHeader: Hashable, Sendable {
    package var level: ReadLevel
    /// The answer comes from a state of at least this revision: a client that names the highest it has seen never goes
    /// back in time, at whatever node.
    package var atLeast: LogIndex

    package init(level: ReadLevel, atLeast: LogIndex = .zero) {
        self.level = level
        self.atLeast = atLeast
    }
}

/// What a client asks, read in place out of its frame.
package enum ClientRequest: ~Escapable {
    case hello(ClientHello)
    /// The command is still to be validated by `MetadataModel`.
    case mutate(command: RawSpan, mayForward: Bool)
    case query(ReadHeader, query: RawSpan)
    case keepAlive([SessionID], mayForward: Bool)
    case status
    case initialize
    case ping
    case snapshot(atLeast: LogIndex)
    case snapshotPiece(SnapshotPieceRequest)
    case changeMembers(MemberChange)
    case clearAlarm(String)
    case scrub(ScrubRequest)
    case watch(WatchRequest)
    /// Of the watch that the frame's request id names; no reply.
    case watchCredit(bytes: UInt32)
    case watchCancel
    /// Of a later release; answered `unimplemented`.
    case unknown(kind: UInt16)

    /// Reads the body of a frame. Throws when the body is not what its kind says, or when the frame is none that a
    /// client may send: the connection is closed.
    @_lifetime(copy body)
    package static func decode(_ header: FrameHeader, body: RawSpan) throws(DecodeError) -> ClientRequest {
        guard !header.isReply, !header.flags.contains(.moreToCome) else { throw .invalid("reply from a client") }
        guard let kind = ClientFrameKind(rawValue: header.kind) else { return .unknown(kind: header.kind) }
        var reader = ByteReader(body)
        switch kind {
        case .hello: return .hello(try ClientHello(decoding: body))
        case .mutate: return .mutate(command: body, mayForward: header.flags.contains(.forward))
        case .query:
            let levelNumber = try reader.readUInt8()
            guard let level = ReadLevel(rawValue: levelNumber) else {
                throw .unknown("read level", UInt64(levelNumber))
            }
            let atLeast = LogIndex(try reader.readUInt64())
            return .query(ReadHeader(level: level, atLeast: atLeast), query: reader.readRemaining())
        case .keepAlive:
            return .keepAlive(try reader.readSessions(), mayForward: header.flags.contains(.forward))
        case .status: return .status
        case .initialize: return .initialize
        case .ping: return .ping
        case .snapshot: return .snapshot(atLeast: LogIndex(try reader.readUInt64()))
        case .snapshotPiece: return .snapshotPiece(try SnapshotPieceRequest(decoding: &reader))
        case .changeMembers: return .changeMembers(try MemberChange(decoding: &reader))
        case .clearAlarm: return .clearAlarm(try reader.readText())
        case .scrub: return .scrub(try ScrubRequest(decoding: &reader))
        case .watch: return .watch(try WatchRequest(decoding: &reader))
        case .watchCredit: return .watchCredit(bytes: try reader.readUInt32())
        case .watchCancel: return .watchCancel
        case .goingAway: throw .invalid("goingAway from a client")
        }
    }
}

// MARK: Frames that a client sends

extension ClientRequest {
    /// `appendCommand` writes the command straight into the frame.
    package static func encodeMutation(
        requestID: UInt64, mayForward: Bool, into writer: inout ByteWriter, appendCommand: (inout ByteWriter) -> Void
    ) {
        let header = FrameHeader(
            kind: ClientFrameKind.mutate.rawValue, flags: mayForward ? .forward : [], requestID: requestID)
        let start = writer.beginFrame(header)
        appendCommand(&writer)
        writer.endFrame(start)
    }

    package static func encodeQuery(
        requestID: UInt64, header: ReadHeader, query: [UInt8], into writer: inout ByteWriter
    ) {
        let start = writer.beginFrame(FrameHeader(kind: ClientFrameKind.query.rawValue, requestID: requestID))
        writer.write(header.level.rawValue)
        writer.write(header.atLeast.rawValue)
        writer.write(query)
        writer.endFrame(start)
    }

    package static func encodeKeepAlive(
        requestID: UInt64, sessions: [SessionID], mayForward: Bool, into writer: inout ByteWriter
    ) {
        let header = FrameHeader(
            kind: ClientFrameKind.keepAlive.rawValue, flags: mayForward ? .forward : [], requestID: requestID)
        let start = writer.beginFrame(header)
        writer.write(sessions)
        writer.endFrame(start)
    }

    /// `status`, `initialize` and `ping` have no body.
    package static func encodeEmpty(_ kind: ClientFrameKind, requestID: UInt64, into writer: inout ByteWriter) {
        let start = writer.beginFrame(FrameHeader(kind: kind.rawValue, requestID: requestID))
        writer.endFrame(start)
    }
}
