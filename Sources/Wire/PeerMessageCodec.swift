package import Basics
internal import MetadataModel
internal import RaftCore

/// A peer message and the bytes that came with it, borrowed from the frame.
package struct ReceivedPeerMessage: ~Escapable {
    package let message: PeerMessage
    package let payload: RawSpan

    @_lifetime(copy payload)
    fileprivate init(_ message: PeerMessage, payload: RawSpan) {
        self.message = message
        self.payload = payload
    }
}

extension PeerMessage {
    /// Appends this message and the bytes that travel with it as one frame.
    package func encode(requestID: UInt64 = 0, payload: RawSpan = RawSpan(), into writer: inout ByteWriter) {
        let start = beginFrame(requestID: requestID, into: &writer)
        writer.write(payload)
        writer.endFrame(start)
    }

    /// As `encode`, for a payload in several pieces: write them, then `endFrame`.
    package func beginFrame(requestID: UInt64 = 0, into writer: inout ByteWriter) -> FrameStart {
        let header = FrameHeader(kind: kind.rawValue, flags: isReply ? .reply : [], requestID: requestID)
        let start = writer.beginFrame(header)
        encodeFields(into: &writer)
        return start
    }

    /// Reads the body of a frame. Bytes after the known fields of a message without payload are ignored: a later
    /// release may have put a field there.
    @_lifetime(copy body)
    package static func decode(_ header: FrameHeader, body: RawSpan) throws(DecodeError) -> ReceivedPeerMessage {
        guard let kind = PeerFrameKind(rawValue: header.kind) else {
            throw .unknown("frame kind between nodes", UInt64(header.kind))
        }
        var reader = ByteReader(body)
        let message = header.isReply ? try decodeReply(kind, &reader) : try decodeRequest(kind, &reader)
        return ReceivedPeerMessage(message, payload: reader.readRemaining())
    }

    private static func decodeRequest(
        _ kind: PeerFrameKind, _ reader: inout ByteReader
    ) throws(DecodeError) -> PeerMessage {
        switch kind {
        case .hello: return .hello(try PeerHello(decoding: &reader))
        case .ping: return .ping
        case .raft: return .raft(try RaftMessageCodec.decode(&reader))
        case .forwardedMutation: return .forwardedMutation(principal: try reader.readUInt64())
        case .sessionTouches: return .sessionTouches(try reader.readSessions())
        case .digestReport:
            let index = try reader.readLogIndex()
            return .digestReport(index: index, digest: try reader.readUInt64())
        case .memberReport: return .memberReport(try MemberReport(decoding: &reader))
        case .snapshotManifest:
            let last = try reader.readEntryID()
            return .snapshotManifest(last: last, offset: try reader.readUInt32())
        case .snapshotChunk:
            let last = try reader.readEntryID()
            return .snapshotChunk(last: last, number: try reader.readUInt32())
        case .foundingProbe: return .foundingProbe(try reader.readFoundingMembers())
        case .foundingCommit: return .foundingCommit
        case .logEntries:
            let first = try reader.readLogIndex()
            let last = try reader.readLogIndex()
            guard first > .zero, first <= last else { throw .invalid("range of log entries") }
            let anchor = try reader.readEntryID()
            return .logEntries(RepairQuestion(wanted: first...last, anchor: anchor, last: try reader.readEntryID()))
        case .promises: return .promises
        }
    }

    private static func decodeReply(
        _ kind: PeerFrameKind, _ reader: inout ByteReader
    ) throws(DecodeError) -> PeerMessage {
        switch kind {
        case .hello: return .helloReply(try PeerHelloReply(decoding: &reader))
        case .ping: return .pong
        case .forwardedMutation: return .forwardedMutationReply
        case .sessionTouches:
            let isLeader = try reader.readBool()
            return .sessionTouchesReply(SessionTouchesReply(isLeader: isLeader, notOpen: try reader.readSessions()))
        case .snapshotManifest:
            let last = try reader.readEntryID()
            let offset = try reader.readUInt32()
            let size = try reader.readUInt32()
            let count = reader.remaining
            guard count == 0 || Int(offset) + count <= Int(size) else {
                throw .invalid("a piece beyond the end of its manifest")
            }
            return .snapshotManifestReply(last: last, offset: offset, size: size)
        case .snapshotChunk: return .snapshotChunkReply(number: try reader.readUInt32())
        case .foundingProbe: return .foundingProbeReply(try FoundingProbeReply(decoding: &reader))
        case .foundingCommit:
            let number = try reader.readUInt8()
            guard let outcome = FoundingOutcome(rawValue: number) else {
                throw .unknown("founding outcome", UInt64(number))
            }
            return .foundingCommitReply(outcome)
        case .logEntries:
            let first = try reader.readLogIndex()
            let number = try reader.readUInt8()
            guard let basis = RepairBasis(rawValue: number) else { throw .unknown("basis", UInt64(number)) }
            let isWhole = try reader.readBool()
            let last = try reader.readEntryID()
            return .logEntriesReply(
                RepairAnswer(first: first, basis: basis, isWhole: isWhole, last: last, beginning: try reader.readEntryID()))
        case .promises:
            let term = try reader.readTerm()
            let last = try reader.readEntryID()
            return .promisesReply(
                KnownPromises(currentTerm: term, last: last, configurationIndex: try reader.readLogIndex()))
        case .raft, .digestReport, .memberReport: throw .invalid("reply to what asks for none")
        }
    }

    private func encodeFields(into writer: inout ByteWriter) {
        switch self {
        case .ping, .pong, .forwardedMutationReply, .foundingCommit, .promises: break
        case .hello(let hello): hello.encode(into: &writer)
        case .helloReply(let reply): reply.encode(into: &writer)
        case .raft(let message): RaftMessageCodec.encode(message, into: &writer)
        case .forwardedMutation(let principal): writer.write(principal)
        case .sessionTouches(let sessions): writer.write(sessions)
        case .sessionTouchesReply(let reply):
            writer.write(reply.isLeader)
            writer.write(reply.notOpen)
        case .digestReport(let index, let digest):
            writer.write(index.rawValue)
            writer.write(digest)
        case .memberReport(let report): report.encode(into: &writer)
        case .snapshotManifest(let last, let offset):
            writer.write(last)
            writer.write(offset)
        case .snapshotManifestReply(let last, let offset, let size):
            writer.write(last)
            writer.write(offset)
            writer.write(size)
        case .snapshotChunk(let last, let number):
            writer.write(last)
            writer.write(number)
        case .snapshotChunkReply(let number): writer.write(number)
        case .foundingProbe(let members): writer.write(members)
        case .foundingProbeReply(let reply): reply.encode(into: &writer)
        case .foundingCommitReply(let outcome): writer.write(outcome.rawValue)
        case .logEntries(let question):
            writer.write(question.wanted.lowerBound.rawValue)
            writer.write(question.wanted.upperBound.rawValue)
            writer.write(question.anchor)
            writer.write(question.last)
        case .logEntriesReply(let answer):
            writer.write(answer.first.rawValue)
            writer.write(answer.basis.rawValue)
            writer.write(answer.isWhole)
            writer.write(answer.last)
            writer.write(answer.beginning)
        case .promisesReply(let promises):
            writer.write(promises.currentTerm.rawValue)
            writer.write(promises.last)
            writer.write(promises.configurationIndex.rawValue)
        }
    }
}

extension PeerHello {
    func encode(into writer: inout ByteWriter) {
        writer.write(versions)
        writer.write(identity)
        writer.write(sender.rawValue)
        writer.writeText(name)
        writer.write(expectedReceiver?.rawValue ?? 0)
        writer.writeText(peerAddress)
        writer.writeText(clientAddress)
        writer.writeText(softwareVersion)
        writer.write(featureLevel)
        writer.write(last.index.rawValue)
        writer.write(configurationIndex.rawValue)
        writer.write(last.term.rawValue)
    }

    init(decoding reader: inout ByteReader) throws(DecodeError) {
        versions = try reader.readVersions()
        identity = try reader.readIdentity()
        sender = NodeID(try reader.readUInt64())
        name = try reader.readText()
        let receiver = NodeID(try reader.readUInt64())
        expectedReceiver = receiver.rawValue == 0 ? nil : receiver
        peerAddress = try reader.readText()
        clientAddress = try reader.readText()
        softwareVersion = try reader.readText()
        featureLevel = try reader.readUInt32()
        let lastIndex = try reader.readLogIndex()
        configurationIndex = try reader.readLogIndex()
        last = EntryID(term: try reader.readTermIfAny(), index: lastIndex)
    }
}

extension PeerHelloReply {
    func encode(into writer: inout ByteWriter) {
        writer.write(refusal?.rawValue ?? 0)
        writer.writeText(message, max: 1_024)
        writer.write(version)
        writer.write(identity)
        writer.write(node.rawValue)
        writer.writeText(name)
        writer.writeText(clientAddress)
        writer.writeText(softwareVersion)
        writer.write(featureLevel)
        writer.write(lastIndex.rawValue)
        writer.write(acknowledgedByCaller.index.rawValue)
        writer.write(acknowledgedByCaller.term.rawValue)
    }

    init(decoding reader: inout ByteReader) throws(DecodeError) {
        let code = try reader.readUInt16()
        refusal = PeerRefusal(rawValue: code)
        guard code == 0 || refusal != nil else { throw .unknown("refusal", UInt64(code)) }
        message = try reader.readString16(max: 1_024)
        version = try reader.readUInt16()
        identity = try reader.readIdentity()
        node = NodeID(try reader.readUInt64())
        name = try reader.readText()
        clientAddress = try reader.readText()
        softwareVersion = try reader.readText()
        featureLevel = try reader.readUInt32()
        lastIndex = try reader.readLogIndex()
        let acknowledged = try reader.readLogIndex()
        acknowledgedByCaller = EntryID(term: try reader.readTermIfAny(), index: acknowledged)
    }
}

extension MemberReport {
    func encode(into writer: inout ByteWriter) {
        writer.writeText(clientAddress)
        writer.writeText(softwareVersion)
        writer.write(featureLevel)
        writer.write(lastApplied.rawValue)
        writer.write(state.rawValue)
        writer.write(diskFree)
    }

    init(decoding reader: inout ByteReader) throws(DecodeError) {
        clientAddress = try reader.readText()
        softwareVersion = try reader.readText()
        featureLevel = try reader.readUInt32()
        lastApplied = try reader.readLogIndex()
        state = try reader.readNodeState()
        diskFree = try reader.readUInt64()
    }
}

extension FoundingProbeReply {
    func encode(into writer: inout ByteWriter) {
        writer.write(isEmpty)
        writer.write(node.rawValue)
        writer.writeText(name)
        writer.write(members)
        if featureLevel != FeatureLevel.first { writer.write(featureLevel) }
    }

    init(decoding reader: inout ByteReader) throws(DecodeError) {
        isEmpty = try reader.readBool()
        node = NodeID(try reader.readUInt64())
        name = try reader.readText()
        members = try reader.readFoundingMembers()
        // Nodes that know only the first level do not say so.
        featureLevel = reader.isAtEnd ? FeatureLevel.first : try reader.readUInt32()
    }
}

extension ByteWriter {
    /// `u16` count, then name and peer address each.
    fileprivate mutating func write(_ members: [FoundingMember]) {
        write(UInt16(members.count))
        for member in members {
            writeText(member.name)
            writeText(member.peerAddress)
        }
    }
}

extension ByteReader {
    /// Zero, "not known", from a node that does not tell it.
    @_lifetime(self: copy self)
    fileprivate mutating func readTermIfAny() throws(DecodeError) -> Term { isAtEnd ? .zero : try readTerm() }

    @_lifetime(self: copy self)
    fileprivate mutating func readFoundingMembers() throws(DecodeError) -> [FoundingMember] {
        let count = Int(try readUInt16())
        guard count <= PeerMessage.membersMax else { throw .tooLarge(UInt64(count)) }
        var members: [FoundingMember] = []
        for _ in 0..<count {
            let name = try readText()
            members.append(FoundingMember(name: name, peerAddress: try readText()))
        }
        return members
    }
}
