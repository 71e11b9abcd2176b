import Client
import Testing

@Suite struct MetadataClientTests {
    private func client(of endpoints: String...) -> MetadataClient {
        MetadataClient(MetadataClientConfiguration(endpoints: endpoints))
    }

    @Test("what was put is read back, with its revision")
    func putAndGet() async throws {
        let node = try await FakeNode.start()
        let client = client(of: node.address)
        let revision = try await client.put("a", "1")
        let row = try await client.get("a")
        #expect(row == KeyValue(key: Array("a".utf8), value: Array("1".utf8), revision: revision))
        #expect(try await client.get("b") == nil)
        await client.shutdown()
        await node.stop()
    }

    @Test("a failed condition is a conflict that names the current revision")
    func conflict() async throws {
        let node = try await FakeNode.start()
        let client = client(of: node.address)
        let revision = try await client.put("a", "1")
        let error = await #expect(throws: ClientError.self) { try await client.put("a", "2", ifRevision: 0) }
        #expect(error?.code == .conflict)
        #expect(error?.currentRevision == revision)
        #expect(error?.mayHaveTakenEffect == false)
        await client.shutdown()
        await node.stop()
    }

    @Test("the other mutations bring what they promise")
    func otherMutations() async throws {
        let node = try await FakeNode.start()
        let client = client(of: node.address)
        let first = try await client.createSequential(prefix: Array("q/".utf8), value: [1])
        let second = try await client.createSequential(prefix: Array("q/".utf8), value: [2])
        #expect(first.key.count == 22 && first.key.lexicographicallyPrecedes(second.key))
        let outcome = try await client.transaction(
            MetadataTransaction(
                if: [.exists(key: first.key, false)], then: [],
                otherwise: [.get(key: first.key), .put(key: [7], value: [])]))
        #expect(!outcome.succeeded)
        #expect(
            outcome.results == [.row(KeyValue(key: first.key, value: [1], revision: first.revision)), .put])
        let deleted = try await client.deletePrefix(Array("q/".utf8))
        #expect(deleted.count == 2 && !deleted.hasMore)
        try await client.put("a", "1")
        try await client.delete("a")
        #expect(try await client.get("a") == nil)
        await client.shutdown()
        await node.stop()
    }

    @Test("what does not fit a frame is refused here, before it breaks the encoding")
    func tooLarge() async throws {
        let client = client(of: "127.0.0.1:1")
        let key = [UInt8](repeating: 1, count: 5_000)
        let long = await #expect(throws: ClientError.self) { try await client.get(key) }
        #expect(long?.code == .tooLarge && long?.limit == 4_096)
        let many = await #expect(throws: ClientError.self) {
            try await client.transaction(
                MetadataTransaction(then: (0..<5_000).map { .get(key: [UInt8(truncatingIfNeeded: $0)]) }))
        }
        #expect(many?.code == .tooLarge)
        await client.shutdown()
    }

    @Test("a node's status arrives as it was sent")
    func status() async throws {
        let node = try await FakeNode.start()
        let client = client(of: node.address)
        let report = try await client.status(of: node.address)
        #expect(report.role == "leader" && report.state == "diskLow" && report.clusterID == 5)
        #expect(report.appliedIndex == 8 && report.leaderAddress == node.address)
        await client.shutdown()
        await node.stop()
    }

    @Test("many calls at once each get their own answer")
    func manyAtOnce() async throws {
        let node = try await FakeNode.start()
        let client = client(of: node.address)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 0..<300 {
                group.addTask {
                    try await client.put("k\(number)", "v\(number)")
                    let row = try await client.get("k\(number)")
                    #expect(row?.value == Array("v\(number)".utf8))
                }
            }
            try await group.waitForAll()
        }
        #expect(try await node.appliedCount() == 300)
        await client.shutdown()
        await node.stop()
    }

    @Test("mutations whose replies were lost with their connections are applied once, and answered")
    func lostRepliesAreNoSecondPuts() async throws {
        let node = try await FakeNode.start(cutting: 3)
        let client = client(of: node.address)
        for number in 0..<5 { try await client.put("k\(number)", "v", isOneShot: number % 2 == 1) }
        #expect(try await node.appliedCount() == 5)
        await client.shutdown()
        await node.stop()
    }

    @Test("a listing goes through all pages, in key order, and may be left early")
    func listing() async throws {
        let node = try await FakeNode.start()
        let client = client(of: node.address)
        for number in 0..<1_203 { try await client.put("p/\(10_000 + number)", "v") }
        try await client.put("q", "v")
        var keys: [String] = []
        for try await row in client.list(prefix: Array("p/".utf8), keysOnly: true) {
            keys.append(String(decoding: row.key, as: UTF8.self))
            #expect(row.value.isEmpty)
        }
        #expect(keys == (0..<1_203).map { "p/\(10_000 + $0)" })
        var first: [KeyValue] = []
        for try await row in client.list(prefix: Array("p/".utf8), limit: 2) { first.append(row) }
        #expect(first.count == 2)
        for try await _ in client.list(prefix: Array("p/".utf8)) { break }
        await client.shutdown()
        await node.stop()
    }

    @Test("a page of another view that bears the same number ends the listing", .timeLimit(.minutes(1)))
    func pageOfAnotherView() async throws {
        let node = try await FakeNode.start(rowsPerPage: 3)
        let client = client(of: node.address)
        for number in 0..<5 { try await client.put("p/\(number)", "v") }
        var rows = client.list(prefix: Array("p/".utf8)).makeAsyncIterator()
        var seen = 0
        do throws(ClientError) {
            while try await rows.next() != nil {
                // This node shows what is there now, as one does whose views are others by the same numbers.
                if seen == 0 { try await client.put("x", "1") }
                seen += 1
            }
            Issue.record("the listing has come to an end")
        } catch {
            #expect(error.code == .viewReleased)
        }
        #expect(seen == 3)
        #expect(try await rows.next() == nil)
        await client.shutdown()
        await node.stop()
    }

    @Test("a part of what has changed that is of another view ends the reading", .timeLimit(.minutes(1)))
    func partOfAnotherView() async throws {
        let node = try await FakeNode.start()
        let client = client(of: node.address)
        var seen = 0
        do {
            try await client.changes(under: [], since: 1) { _ in seen += 1 }
            Issue.record("the reading has come to an end")
        } catch {
            #expect((error as? ClientError)?.code == .viewReleased)
        }
        #expect(seen == 1)
        await client.shutdown()
        await node.stop()
    }

    @Test("a listing with a limit is of one revision too, where its rows fill several pages", .timeLimit(.minutes(1)))
    func limitedListing() async throws {
        let node = try await FakeNode.start(rowsPerPage: 2)
        let client = client(of: node.address)
        for number in 0..<5 { try await client.put("p/\(number)", "v") }
        var keys: [String] = []
        for try await row in client.list(prefix: Array("p/".utf8), limit: 4) {
            keys.append(String(decoding: row.key, as: UTF8.self))
        }
        #expect(keys == ["p/0", "p/1", "p/2", "p/3"])
        // The first page once more, with a view; then the second; then the view is let go.
        #expect(try await node.asked(count: 5) == ["query", "query", "query", "query", "release 9"])
        await client.shutdown()
        await node.stop()
    }

    @Test("another node takes over when the first one has gone")
    func secondNode() async throws {
        let first = try await FakeNode.start()
        let second = try await FakeNode.start()
        await first.stop()
        let client = client(of: first.address, second.address)
        try await client.put("a", "1")
        #expect(try await second.appliedCount() == 1)
        await client.shutdown()
        await second.stop()
    }

    @Test("nobody there: the error says so, and that nothing was done")
    func nobodyThere() async throws {
        let node = try await FakeNode.start()
        let address = node.address
        await node.stop()
        let client = client(of: address)
        let error = await #expect(throws: ClientError.self) {
            try await client.put("a", "1", timeout: .milliseconds(200))
        }
        #expect(error?.code == .unavailable)
        #expect(error?.message == "no quorum: reached 0 of 1; \(address) refused the connection")
        #expect(error?.mayHaveTakenEffect == false)
        let status = await #expect(throws: ClientError.self) { try await client.status(of: address) }
        #expect(status?.message == "\(address) refused the connection")
        await client.shutdown()
    }

    @Test("a cancelled task gets its call back at once")
    func cancellation() async throws {
        let node = try await FakeNode.start()
        let address = node.address
        await node.stop()
        let client = client(of: address)
        let task = Task { try await client.get("a", timeout: .seconds(600)) }
        task.cancel()
        let result = await task.result
        #expect(throws: ClientError.self) { try result.get() }
        await client.shutdown()
    }

    @Test("the session's states are told")
    func sessionStates() async throws {
        let node = try await FakeNode.start()
        let client = client(of: node.address)
        var states = client.sessionStates.makeAsyncIterator()
        try await client.put("a", "1")
        #expect(await states.next() == .connected)
        await client.shutdown()
        #expect(await states.next() == .lost)
        await node.stop()
    }

    @Test("an error of the cluster arrives with its code")
    func clusterError() async throws {
        let node = try await FakeNode.start()
        let client = client(of: node.address)
        let error = await #expect(throws: ClientError.self) { try await client.initialize() }
        #expect(error?.code == .alreadyInitialized)
        #expect(error?.isRetryable == false)
        await client.shutdown()
        await node.stop()
    }

    @Test(
        "who ends the reading of what has changed within its first part lets go of the view", .timeLimit(.minutes(1)),
        arguments: [true, false])
    func changesLeftEarly(atOnce: Bool) async throws {
        struct Enough: Error {}
        let node = try await FakeNode.start()
        let client = MetadataClient(MetadataClientConfiguration(endpoints: [node.address]))
        await #expect(throws: Enough.self) {
            try await client.changes(
                under: [], since: 1, begun: { _ in if atOnce { throw Enough() } }, { _ in throw Enough() })
        }
        #expect(try await node.asked(count: 3) == ["query", "query", "release 9"])
        await client.shutdown()
        await node.stop()
    }
}
