import Basics
import MetadataModel
import RaftCore
import Testing
import Wire

@Suite struct CodecTests {
    private func scan(_ bytes: [UInt8]) throws -> (FrameHeader, [UInt8]) {
        let frame = try #require(try scanFrame(bytes.rawSpan, sizeMax: 1 << 20))
        return (frame.header, frame.body)
    }

    // MARK: Peers

    @Test("every message between nodes comes back as it was sent", arguments: Catalogue.peer.indices)
    func peerRoundTrip(_ position: Int) throws {
        let (message, payload) = Catalogue.peer[position]
        let (header, body) = try scan(Catalogue.encoded(message, payload: payload))
        #expect(header.requestID == 5)
        #expect(header.kind == message.kind.rawValue)
        #expect(header.isReply == message.isReply)
        let received = try PeerMessage.decode(header, body: body.rawSpan)
        #expect(received.message == message)
        #expect([UInt8](received.payload) == payload)
    }

    @Test("the records after an AppendEntries are handed out untouched, and their term is read")
    func appendEntriesCarriesRecords() throws {
        var records = [UInt8](repeating: 7, count: 48)
        records.store(UInt64(0x55), at: 16)
        let previous = EntryID(term: Term(4), index: LogIndex(10))
        let sent = AppendEntries(
            term: Term(9), previous: previous, lastIndex: LogIndex(11), entryTerm: Term(0x55),
            leaderCommit: LogIndex(10))
        let (header, body) = try scan(Catalogue.encoded(.raft(.appendEntries(sent)), payload: records))
        let received = try PeerMessage.decode(header, body: body.rawSpan)
        #expect(received.message == .raft(.appendEntries(sent)))
        #expect([UInt8](received.payload) == records)
    }

    @Test("a payload may be written in pieces")
    func payloadInPieces() {
        let whole = Catalogue.encoded(.foundingCommit, payload: [1, 2, 3, 4])
        let pieces = Catalogue.bytes { writer in
            let start = PeerMessage.foundingCommit.beginFrame(requestID: 5, into: &writer)
            writer.write([1, 2] as [UInt8])
            writer.write([3, 4] as [UInt8])
            writer.endFrame(start)
        }
        #expect(whole == pieces)
    }

    @Test("an AppendEntries with a range and no whole record, or records and no range, is refused")
    func appendEntriesMustFitItsRange() throws {
        func body(last: UInt64, _ records: [UInt8]) -> [UInt8] {
            Catalogue.bytes { writer in
                writer.write(UInt8(5))
                for value in [9, 4, 10, last, 10] as [UInt64] { writer.write(value) }
                writer.write(records)
            }
        }
        let header = FrameHeader(kind: PeerFrameKind.raft.rawValue, requestID: 0)
        #expect(throws: DecodeError.truncated) { try check(header, body(last: 11, [UInt8](repeating: 0, count: 20))) }
        #expect(throws: DecodeError.invalid("AppendEntries with records but no range")) {
            try check(header, body(last: 10, [1]))
        }
        #expect(throws: DecodeError.invalid("AppendEntries that ends before it begins")) {
            try check(header, body(last: 9, []))
        }
    }

    @Test("a configuration in which a learner votes is a bad message, not the end of the process")
    func learnerThatVotes() throws {
        let body = Catalogue.bytes { writer in
            writer.write(UInt8(9))
            for value in [5, 2, 90, 5] as [UInt64] { writer.write(value) }
            for list in [[1, 2], [], [2]] as [[UInt64]] {
                writer.write(UInt16(list.count))
                for id in list { writer.write(id) }
            }
        }
        #expect(throws: DecodeError.invalid("configuration in which a learner votes")) {
            try check(FrameHeader(kind: PeerFrameKind.raft.rawValue, requestID: 0), body)
        }
    }

    // MARK: Clients

    @Test("a client's requests come back as they were sent")
    func clientRequests() throws {
        let hello = ClientHello(identity: Catalogue.identity, clientName: "c", clientVersion: "1")
        var (header, body) = try scan(Catalogue.bytes { hello.encode(requestID: 1, into: &$0) })
        if case .hello(let received) = try ClientRequest.decode(header, body: body.rawSpan) {
            #expect(received == hello)
        } else {
            Issue.record("not a hello")
        }
        let readHeader = ReadHeader(level: .stale, atLeast: LogIndex(8))
        (header, body) = try scan(
            Catalogue.bytes {
                ClientRequest.encodeQuery(requestID: 2, header: readHeader, query: [1, 2, 3], into: &$0)
            })
        if case .query(let received, let query) = try ClientRequest.decode(header, body: body.rawSpan) {
            #expect(received == readHeader)
            #expect([UInt8](query) == [1, 2, 3])
        } else {
            Issue.record("not a query")
        }
        (header, body) = try scan(
            Catalogue.bytes {
                ClientRequest.encodeKeepAlive(
                    requestID: 3, sessions: [Catalogue.session], mayForward: true, into: &$0)
            })
        if case .keepAlive(let sessions, let mayForward) = try ClientRequest.decode(header, body: body.rawSpan) {
            #expect(sessions == [Catalogue.session])
            #expect(mayForward)
        } else {
            Issue.record("not a keepAlive")
        }
        (header, body) = try scan(
            Catalogue.bytes {
                ClientRequest.encodeMutation(requestID: 4, mayForward: false, into: &$0) { $0.write([9] as [UInt8]) }
            })
        if case .mutate(let command, let mayForward) = try ClientRequest.decode(header, body: body.rawSpan) {
            #expect([UInt8](command) == [9])
            #expect(!mayForward)
        } else {
            Issue.record("not a mutation")
        }
    }

    @Test("a snapshot's requests and replies come back as they were sent, and an impossible piece is refused")
    func snapshots() throws {
        var (header, body) = try scan(
            Catalogue.bytes { ClientRequest.encodeSnapshot(requestID: 1, atLeast: LogIndex(7), into: &$0) })
        if case .snapshot(let atLeast) = try ClientRequest.decode(header, body: body.rawSpan) {
            #expect(atLeast == LogIndex(7))
        } else {
            Issue.record("not a snapshot")
        }
        let request = SnapshotPieceRequest(snapshot: 3, item: .max, offset: 5)
        (header, body) = try scan(Catalogue.bytes { request.encode(requestID: 2, into: &$0) })
        if case .snapshotPiece(let received) = try ClientRequest.decode(header, body: body.rawSpan) {
            #expect(received == request)
        } else {
            Issue.record("not a snapshotPiece")
        }
        let piece = SnapshotPieceReply(revision: LogIndex(9), item: .manifest, itemSize: 3, bytes: [1, 2, 3])
        let begun = SnapshotReply(revision: LogIndex(9), snapshot: 4)
        for reply in [.snapshot(begun), .snapshotPiece(piece)] as [ControlReply] {
            (header, body) = try scan(Catalogue.bytes { reply.encode(requestID: 3, into: &$0) })
            #expect(try ControlReply.decode(kind: header.kind, body: body.rawSpan) == reply)
        }
        let larger = SnapshotPieceReply(revision: LogIndex(9), item: .chunk, itemSize: 2, bytes: [1, 2, 3])
        let wrong = ControlReply.snapshotPiece(larger)
        (header, body) = try scan(Catalogue.bytes { wrong.encode(requestID: 3, into: &$0) })
        #expect(throws: DecodeError.self) { _ = try ControlReply.decode(kind: header.kind, body: body.rawSpan) }
    }

    @Test("a kind that is not known is told apart from a bad frame, so that it can be answered")
    func unknownKind() throws {
        if case .unknown(let kind) = try ClientRequest.decode(FrameHeader(kind: 99, requestID: 1), body: RawSpan()) {
            #expect(kind == 99)
        } else {
            Issue.record("known?")
        }
        #expect(throws: DecodeError.self) {
            _ = try ClientRequest.decode(FrameHeader(kind: 2, flags: .reply, requestID: 1), body: RawSpan())
        }
    }

    @Test("the answers of a node come back as they were sent")
    func controlReplies() throws {
        let replies: [ControlReply] = [
            .hello(Catalogue.helloReply), .status(Catalogue.statusReply),
            .keepAlive(KeepAliveReply(revision: LogIndex(1), notOpen: [Catalogue.session], leader: nil)),
            .initialized(InitializeReply(revision: .zero, identity: Catalogue.identity)),
            .pong(PingReply(revision: LogIndex(1), clusterTime: .zero, leader: Catalogue.leader)),
            .failed(ReplyError(.overloaded, retryAfter: .milliseconds(5)), .status),
        ]
        for reply in replies {
            let (header, body) = try scan(Catalogue.bytes { reply.encode(requestID: 1, into: &$0) })
            #expect(header.isReply)
            #expect(try ControlReply.decode(kind: header.kind, body: body.rawSpan) == reply)
        }
        let (_, body) = try scan(Catalogue.bytes { GoingAway(leader: Catalogue.leader).encode(into: &$0) })
        #expect(try GoingAway(decoding: body.rawSpan) == GoingAway(leader: Catalogue.leader))
    }

    @Test("fields that a later release adds at the end are ignored")
    func trailingFields() throws {
        let (header, body) = try scan(
            Catalogue.bytes { ControlReply.hello(Catalogue.helloReply).encode(requestID: 1, into: &$0) })
        #expect(
            try ControlReply.decode(kind: header.kind, body: (body + [1, 2, 3]).rawSpan) == .hello(Catalogue.helloReply)
        )
    }

    @Test("texts longer than the reader accepts are cut when written, between characters")
    func longTexts() throws {
        let name = String(repeating: "ä", count: 200)
        let (_, body) = try scan(
            Catalogue.bytes {
                ClientHello(identity: nil, clientName: name, clientVersion: "1").encode(requestID: 1, into: &$0)
            })
        #expect(try ClientHello(decoding: body.rawSpan).clientName == String(repeating: "ä", count: 128))
    }

    // MARK: Hostile bytes

    @Test("bodies cut anywhere and with any bit flipped are decoded or refused, never a trap")
    func hostileBodies() throws {
        let clients = Catalogue.client.map(\.bytes)
        let peers = Catalogue.peer.map { Catalogue.encoded($0.message, payload: $0.payload) }
        for bytes in clients + peers {
            let (header, body) = try scan(bytes)
            for size in 0...body.count { decodeAll(header, Array(body[..<size])) }
            for bit in 0..<body.count * 8 {
                var damaged = body
                damaged[bit / 8] ^= 1 << (bit % 8)
                decodeAll(header, damaged)
            }
        }
    }

    @Test("random bodies of every kind are decoded or refused, never a trap")
    func randomBodies() {
        var random = SplitMix64(seed: 1)
        let kinds = ClientFrameKind.allCases.map(\.rawValue) + PeerFrameKind.allCases.map(\.rawValue)
        for round in 0..<20_000 {
            let body = (0..<Int(random.next() % 96)).map { _ in UInt8(truncatingIfNeeded: random.next() & random.next())
            }
            let flags: FrameFlags = round % 2 == 0 ? .reply : []
            decodeAll(FrameHeader(kind: kinds[round % kinds.count], flags: flags, requestID: 1), body)
        }
    }

    @Test("a mandatory field that is cut off is noticed")
    func truncationIsNoticed() throws {
        for (message, payload) in Catalogue.peer where payload.isEmpty {
            let (header, body) = try scan(Catalogue.encoded(message))
            // A term that a greeting does not tell is not known.
            let sizeOfOptional =
                switch message {
                case .hello, .helloReply: 8
                default: 0
                }
            for size in 0..<body.count where size != body.count - sizeOfOptional {
                #expect(throws: DecodeError.self, "\(message) cut to \(size)") {
                    try check(header, Array(body[..<size]))
                }
            }
        }
    }

    @Test("a piece beyond the end of its manifest is refused")
    func pieceBeyondManifest() throws {
        let last = EntryID(term: Term(4), index: LogIndex(100))
        for (offset, size) in [(5, 7), (8, 8), (.max, .max)] as [(UInt32, UInt32)] {
            let message = PeerMessage.snapshotManifestReply(last: last, offset: offset, size: size)
            let (header, body) = try scan(Catalogue.encoded(message, payload: [6, 7, 8]))
            #expect(throws: DecodeError.self, "\(message)") { try check(header, body) }
        }
    }

    @Test("whoever knows more than the first feature level says so when asked who it is; silence means the first")
    func levelOfProbe() throws {
        for level in 1...3 as ClosedRange<UInt32> {
            let reply = FoundingProbeReply(
                isEmpty: true, node: NodeID(1), name: "n1", members: [], featureLevel: level)
            let (header, body) = try scan(Catalogue.encoded(.foundingProbeReply(reply)))
            #expect(body.count == (level == 1 ? 15 : 19))
            #expect(try PeerMessage.decode(header, body: body.rawSpan).message == .foundingProbeReply(reply))
        }
    }

    private func decodeAll(_ header: FrameHeader, _ body: [UInt8]) {
        do { try check(header, body) } catch {}
        do { _ = try ClientRequest.decode(header, body: body.rawSpan) } catch {}
        do { _ = try ControlReply.decode(kind: header.kind, body: body.rawSpan) } catch {}
        do { _ = try GoingAway(decoding: body.rawSpan) } catch {}
    }

    private func check(_ header: FrameHeader, _ body: [UInt8]) throws {
        _ = try PeerMessage.decode(header, body: body.rawSpan)
    }
}
