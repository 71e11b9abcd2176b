import Basics
import Client
import ClientCore
import MetadataModel
import Testing

/// Waiting for one's turn, at a node that says what it wants.
@Suite struct TurnTests {
    private static let group = Array("g".utf8)

    private static func candidate(_ ticket: UInt64, fence: UInt64, of session: SessionID? = nil) -> Candidate {
        Candidate(ticket: LogIndex(ticket), session: session ?? SessionID(ticket, 1), fence: fence, data: [])
    }

    private static func put(_ candidate: Candidate) -> Change {
        var writer = ByteWriter()
        candidate.encodeRow(into: &writer)
        return Change(key: LineKey.ticket(candidate.ticket, of: group), value: writer.takeBytes())
    }

    /// A client that waits, and what its waiting comes to.
    private static func waiting(
        _ node: FakeNode, _ body: (Ticket, SessionID, Task<Fence, any Error>) async throws -> Void
    ) async throws {
        let client = MetadataClient(MetadataClientConfiguration(endpoints: [node.address]))
        let ticket = try await client.campaign("g", data: [])
        let session = try #require(try await node.campaigner())
        try await node.setLine([candidate(1, fence: 1), candidate(ticket.number, fence: 0, of: session)])
        let turn = Task { try await client.waitToLead("g", ticket) }
        #expect(try await node.asked(count: 2) == ["query", "watch"])
        try await body(ticket, session, turn)
        turn.cancel()
        await client.shutdown()
        await node.stop()
    }

    @Test("who waits asks once, is told, and asks no more", .timeLimit(.minutes(1)))
    func isTold() async throws {
        let node = try await FakeNode.start()
        try await Self.waiting(node) { ticket, session, turn in
            // Others come and go before: that is not its turn.
            try await node.tell(
                [Self.put(Self.candidate(9_999, fence: 0))],
                line: [Self.candidate(1, fence: 1), Self.candidate(ticket.number, fence: 0, of: session)])
            let leads = Self.candidate(ticket.number, fence: 77, of: session)
            try await node.tell([Self.put(leads)], line: [leads])
            #expect(try await turn.value == .election("g", 77))
            #expect(try await node.asked(count: 2) == ["query", "watch"])
        }
    }

    @Test(
        "where the watch cannot go on the line is read again: the moment is not missed", .timeLimit(.minutes(1)),
        arguments: [ReplyError(.compacted, currentRevision: LogIndex(50)), ReplyError(.overloaded)])
    func isReadAgain(error: ReplyError) async throws {
        let node = try await FakeNode.start()
        try await Self.waiting(node) { ticket, session, turn in
            // Nobody is told of this.
            try await node.setLine([Self.candidate(ticket.number, fence: 78, of: session)])
            try await node.endWatches(error)
            // An overloaded node is watched again from where it was; it says then what was missed.
            if error.code == .overloaded {
                #expect(try await node.asked(count: 3).last == "watch")
                try await node.tell([Self.put(Self.candidate(ticket.number, fence: 78, of: session))], line: [])
            }
            #expect(try await turn.value == .election("g", 78))
        }
    }

    @Test("a ticket that is gone ends the waiting", .timeLimit(.minutes(1)))
    func isGone() async throws {
        let node = try await FakeNode.start()
        try await Self.waiting(node) { ticket, _, turn in
            let gone = Change(key: LineKey.ticket(LogIndex(ticket.number), of: Self.group), value: nil)
            try await node.tell([gone], line: [])
            let error = await #expect(throws: ClientError.self) { try await turn.value }
            #expect(error?.code == .notLeading)
        }
    }

    @Test("a ticket of a session that the client does not have any more counts as gone", .timeLimit(.minutes(1)))
    func isOfALostSession() async throws {
        let node = try await FakeNode.start()
        try await Self.waiting(node) { ticket, _, turn in
            let leads = Self.candidate(ticket.number, fence: 77, of: SessionID(8, 8))
            try await node.tell([Self.put(leads)], line: [leads])
            let error = await #expect(throws: ClientError.self) { try await turn.value }
            #expect(error?.code == .notLeading)
        }
    }

    @Test("what is observed ends with the client", .timeLimit(.minutes(1)))
    func endsWithTheClient() async throws {
        let node = try await FakeNode.start()
        let client = MetadataClient(MetadataClientConfiguration(endpoints: [node.address]))
        try await node.setLine([Self.candidate(1, fence: 1)])
        let seen = AsyncStream.makeStream(of: UInt64?.self)
        let observing = Task {
            for try await now in client.observe("g") { seen.continuation.yield(now.leader?.ticket.fence) }
        }
        for await fence in seen.stream {
            #expect(fence == 1)
            break
        }
        #expect(try await node.asked(count: 2) == ["query", "watch"])
        await client.shutdown()
        let error = await #expect(throws: ClientError.self) { try await observing.value }
        #expect(error?.code.rawValue == "shuttingDown")
        await node.stop()
    }
}
