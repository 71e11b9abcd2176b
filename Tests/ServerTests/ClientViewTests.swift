import Client
import Testing

extension ServerTests {
    /// What clients may rely on, whichever node they speak with.
    @Suite struct ClientViewTests {
        @Test("a write acknowledged at the leader is seen by the next read at every node")
        func readYourWriteElsewhere() async throws {
            try await withCluster { cluster in
                let client = cluster.client()
                let readers = try cluster.names.map { try RawClient(cluster[$0].client) }
                for number in 0..<100 {
                    let revision = try await client.put("a", "\(number)")
                    for reader in readers {
                        let row = try reader.get("a")
                        #expect(row?.value == "\(number)")
                        #expect(row?.revision == revision)
                    }
                }
                await client.shutdown()
            }
        }

        @Test(
            "the same mutation sent to every node is applied once and answered alike",
            arguments: [false, true])
        func retryElsewhere(isOneShot: Bool) async throws {
            try await withCluster { cluster in
                let first = try RawClient(cluster[cluster.names[0]].client)
                let session = (0..<16).map { _ in UInt8.random(in: 1...255) }
                let command = RawClient.createSequential(
                    prefix: "retry/", value: "1", session: session, openedAt: first.clusterTime, isOneShot: isOneShot)
                let answer = try first.request(RawClient.Kind.mutate, command)
                #expect(answer.code == 0)
                for name in cluster.names + cluster.names {
                    let again = try RawClient(cluster[name].client).request(RawClient.Kind.mutate, command)
                    #expect(again.code == 0)
                    #expect(again.revision == answer.revision)
                    #expect(again.fields.all == answer.fields.all)
                }
                #expect(try first.staleRows(prefix: "retry/").count == 1)
            }
        }

        @Test(
            "a mutation whose leader died before it answered is applied once",
            .timeLimit(.minutes(2)))
        func retryAfterLeaderDied() async throws {
            try await withCluster { cluster in
                for round in 0..<5 {
                    let leader = try await cluster.leader().name
                    let old = try RawClient(cluster[leader].client)
                    let session = (0..<16).map { _ in UInt8.random(in: 1...255) }
                    let command = RawClient.createSequential(
                        prefix: "retry/\(round)/", value: "1", session: session, openedAt: old.clusterTime, isOneShot: false)
                    // Nobody waits for the answer: it may have been logged, or not.
                    try old.send(RawClient.Kind.mutate, command)
                    try await cluster.kill(leader)
                    var answers: [RawClient.Reply] = []
                    for name in cluster.names where name != leader {
                        answers.append(
                            try await eventually("\(name) answers the retry") {
                                let reply = try RawClient(cluster[name].client).request(RawClient.Kind.mutate, command)
                                guard reply.code == 0 else { throw RefusedRequest(code: reply.code) }
                                return reply
                            })
                    }
                    #expect(answers[0].revision == answers[1].revision)
                    #expect(answers[0].fields.all == answers[1].fields.all)
                    try cluster.start(leader)
                    try await cluster.waitUntilWhole()
                    #expect(try RawClient(cluster[leader].client).staleRows(prefix: "retry/\(round)/").count == 1)
                }
            }
        }

        @Test("a client that knows one node only finds the others when that one dies", .timeLimit(.minutes(1)))
        func oneEndpointIsEnough() async throws {
            try await withCluster { cluster in
                let leader = try await cluster.leader().name
                try await eventually("\(leader) knows where clients find the others") {
                    let members = try await cluster.status(leader).members
                    return members.count == 3 && members.allSatisfy { !$0.clientAddress.isEmpty }
                }
                let client = cluster.client(of: [leader], timeout: .seconds(10))
                for number in 0..<20 { try await client.put("a", "\(number)") }
                try await cluster.kill(leader)
                try await client.put("a", "last")
                #expect(try await client.get("a")?.value == Array("last".utf8))
                await client.shutdown()
            }
        }
    }
}
