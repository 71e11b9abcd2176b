internal import Basics
internal import RaftCore

/// The body of a `raft` frame: `u8` number of the message, then its fields in the order in which they are declared.
/// After an AppendEntries come the bytes of its records, as they are in the log; the number of the last one is told,
/// its term is read out of the first record.
enum RaftMessageCodec {
    private enum Number: UInt8 {
        case preVote = 1
        case preVoteResponse = 2
        case requestVote = 3
        case requestVoteResponse = 4
        case appendEntries = 5
        case appendEntriesResponse = 6
        case heartbeat = 7
        case heartbeatResponse = 8
        case installSnapshot = 9
        case installSnapshotResponse = 10
        case readIndex = 11
        case readIndexResponse = 12
        case timeoutNow = 13
    }

    /// Offset of the term in a log record, and the bytes needed to read it.
    private static let recordTermOffset = 16

    static func encode(_ message: Message, into writer: inout ByteWriter) {
        switch message {
        case .preVote(let request): writeVoteRequest(.preVote, request, into: &writer)
        case .requestVote(let request): writeVoteRequest(.requestVote, request, into: &writer)
        case .preVoteResponse(let response): writeVoteResponse(.preVoteResponse, response, into: &writer)
        case .requestVoteResponse(let response): writeVoteResponse(.requestVoteResponse, response, into: &writer)
        case .appendEntries(let append):
            begin(.appendEntries, append.term, into: &writer)
            writer.write(append.previous)
            writer.write(append.lastIndex.rawValue)
            writer.write(append.leaderCommit.rawValue)
        case .appendEntriesResponse(let response):
            begin(.appendEntriesResponse, response.term, into: &writer)
            switch response.outcome {
            case .accepted(let matchIndex):
                writer.write(UInt8(0))
                writer.write(matchIndex.rawValue)
            case .rejected(let previousIndex, let hint):
                writer.write(UInt8(1))
                writer.write(previousIndex.rawValue)
                writer.write(hint)
            }
        case .heartbeat(let heartbeat):
            begin(.heartbeat, heartbeat.term, into: &writer)
            writer.write(heartbeat.commitIndex.rawValue)
            writer.write(heartbeat.readRound)
        case .heartbeatResponse(let response):
            begin(.heartbeatResponse, response.term, into: &writer)
            writer.write(response.readRound)
        case .installSnapshot(let offer):
            begin(.installSnapshot, offer.term, into: &writer)
            writer.write(offer.snapshot)
        case .installSnapshotResponse(let response):
            begin(.installSnapshotResponse, response.term, into: &writer)
            switch response.outcome {
            case .inProgress: writer.write(UInt8(0))
            case .reached(let matchIndex):
                writer.write(UInt8(1))
                writer.write(matchIndex.rawValue)
            case .failed: writer.write(UInt8(2))
            }
        case .readIndex(let request):
            begin(.readIndex, request.term, into: &writer)
            writer.write(request.token.rawValue)
        case .readIndexResponse(let response):
            begin(.readIndexResponse, response.term, into: &writer)
            writer.write(response.token.rawValue)
            writer.write(response.readIndex != nil)
            if let readIndex = response.readIndex { writer.write(readIndex.rawValue) }
        case .timeoutNow(let request): begin(.timeoutNow, request.term, into: &writer)
        }
    }

    /// Reads the message; what follows an AppendEntries is left in the reader. Its `configurations` are for the shell
    /// to fill in when it verifies the records.
    static func decode(_ reader: inout ByteReader) throws(DecodeError) -> Message {
        let rawNumber = try reader.readUInt8()
        guard let number = Number(rawValue: rawNumber) else { throw .unknown("raft message", UInt64(rawNumber)) }
        let term = try reader.readTerm()
        switch number {
        case .preVote: return .preVote(try readVoteRequest(term, &reader))
        case .requestVote: return .requestVote(try readVoteRequest(term, &reader))
        case .preVoteResponse: return .preVoteResponse(VoteResponse(term: term, isGranted: try reader.readBool()))
        case .requestVoteResponse:
            return .requestVoteResponse(VoteResponse(term: term, isGranted: try reader.readBool()))
        case .appendEntries: return .appendEntries(try readAppendEntries(term, &reader))
        case .appendEntriesResponse:
            return .appendEntriesResponse(AppendEntriesResponse(term: term, outcome: try readAppendOutcome(&reader)))
        case .heartbeat:
            let commitIndex = try reader.readLogIndex()
            let round = try reader.readUInt64()
            return .heartbeat(Heartbeat(term: term, commitIndex: commitIndex, readRound: round))
        case .heartbeatResponse:
            return .heartbeatResponse(HeartbeatResponse(term: term, readRound: try reader.readUInt64()))
        case .installSnapshot:
            return .installSnapshot(InstallSnapshot(term: term, snapshot: try reader.readSnapshotPoint()))
        case .installSnapshotResponse:
            let outcome = try readInstallOutcome(&reader)
            return .installSnapshotResponse(InstallSnapshotResponse(term: term, outcome: outcome))
        case .readIndex:
            return .readIndex(ReadIndexRequest(term: term, token: ReadToken(try reader.readUInt64())))
        case .readIndexResponse:
            let token = ReadToken(try reader.readUInt64())
            let readIndex = try reader.readBool() ? try reader.readLogIndex() : nil
            return .readIndexResponse(ReadIndexResponse(term: term, token: token, readIndex: readIndex))
        case .timeoutNow: return .timeoutNow(TimeoutNow(term: term))
        }
    }

    private static func begin(_ number: Number, _ term: Term, into writer: inout ByteWriter) {
        writer.write(number.rawValue)
        writer.write(term.rawValue)
    }

    private static func writeVoteRequest(_ number: Number, _ request: VoteRequest, into writer: inout ByteWriter) {
        begin(number, request.term, into: &writer)
        writer.write(request.lastEntry)
        writer.write(request.isTransfer)
    }

    private static func writeVoteResponse(_ number: Number, _ response: VoteResponse, into writer: inout ByteWriter) {
        begin(number, response.term, into: &writer)
        writer.write(response.isGranted)
    }

    private static func readVoteRequest(
        _ term: Term, _ reader: inout ByteReader
    ) throws(DecodeError) -> VoteRequest {
        let lastEntry = try reader.readEntryID()
        return VoteRequest(term: term, lastEntry: lastEntry, isTransfer: try reader.readBool())
    }

    private static func readAppendEntries(
        _ term: Term, _ reader: inout ByteReader
    ) throws(DecodeError) -> AppendEntries {
        let previous = try reader.readEntryID()
        let lastIndex = try reader.readLogIndex()
        let leaderCommit = try reader.readLogIndex()
        guard lastIndex >= previous.index else { throw .invalid("AppendEntries that ends before it begins") }
        var entryTerm = Term.zero
        if lastIndex > previous.index {
            var records = ByteReader(reader.peekRemaining())
            _ = try records.readBytes(recordTermOffset)
            entryTerm = try records.readTerm()
        } else if !reader.isAtEnd {
            throw .invalid("AppendEntries with records but no range")
        }
        return AppendEntries(
            term: term, previous: previous, lastIndex: lastIndex, entryTerm: entryTerm, leaderCommit: leaderCommit)
    }

    private static func readAppendOutcome(
        _ reader: inout ByteReader
    ) throws(DecodeError) -> AppendEntriesResponse.Outcome {
        switch try reader.readUInt8() {
        case 0: return .accepted(matchIndex: try reader.readLogIndex())
        case 1:
            let previousIndex = try reader.readLogIndex()
            return .rejected(previousIndex: previousIndex, hint: try reader.readEntryID())
        case let other: throw .unknown("append outcome", UInt64(other))
        }
    }

    private static func readInstallOutcome(
        _ reader: inout ByteReader
    ) throws(DecodeError) -> InstallSnapshotResponse.Outcome {
        switch try reader.readUInt8() {
        case 0: return .inProgress
        case 1: return .reached(matchIndex: try reader.readLogIndex())
        case 2: return .failed
        case let other: throw .unknown("install outcome", UInt64(other))
        }
    }
}

// MARK: Parts that several messages share

extension ByteWriter {
    /// `u64` term, `u64` index.
    mutating func write(_ id: EntryID) {
        write(id.term.rawValue)
        write(id.index.rawValue)
    }

    /// `u16` count, then `u64` each.
    mutating func write(_ nodes: [NodeID]) {
        write(UInt16(nodes.count))
        for node in nodes { write(node.rawValue) }
    }

    mutating func write(_ point: SnapshotPoint) {
        write(point.last)
        write(point.configuration.index.rawValue)
        write(point.configuration.configuration.incoming)
        write(point.configuration.configuration.outgoing)
        write(point.configuration.configuration.learners)
    }
}

extension ByteReader {
    @_lifetime(self: copy self)
    mutating func readEntryID() throws(DecodeError) -> EntryID {
        let term = try readTerm()
        return EntryID(term: term, index: try readLogIndex())
    }

    @_lifetime(self: copy self)
    mutating func readSnapshotPoint() throws(DecodeError) -> SnapshotPoint {
        let last = try readEntryID()
        let index = try readLogIndex()
        let incoming = try readNodes()
        let outgoing = try readNodes()
        let learners = try readNodes()
        // `Configuration` takes this for its own invariant and stops the process; from a peer it is only a bad message.
        guard learners.allSatisfy({ !incoming.contains($0) && !outgoing.contains($0) }) else {
            throw .invalid("configuration in which a learner votes")
        }
        let configuration = Configuration(incoming: incoming, outgoing: outgoing, learners: learners)
        return SnapshotPoint(
            last: last, configuration: IndexedConfiguration(index: index, configuration: configuration))
    }

    /// Node ids behind a `u16` count, at most `PeerMessage.membersMax`.
    @_lifetime(self: copy self)
    mutating func readNodes() throws(DecodeError) -> [NodeID] {
        let count = Int(try readUInt16())
        guard count <= PeerMessage.membersMax else { throw .tooLarge(UInt64(count)) }
        var nodes: [NodeID] = []
        for _ in 0..<count { nodes.append(NodeID(try readUInt64())) }
        return nodes
    }

    /// What is left, without moving on.
    @_lifetime(copy self)
    func peekRemaining() -> RawSpan {
        var copy = self
        return copy.readRemaining()
    }
}
