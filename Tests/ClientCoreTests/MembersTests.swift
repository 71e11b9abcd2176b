import Basics
import ClientCore
import MetadataModel
import Testing
import Wire

@Suite struct MembersTests {
    /// A client that was given n1 only, which leads and lists `members`; one mutation is answered.
    private func connected(members: [String] = ["n1:1", "n2:1", "n3:1"]) -> Harness {
        var harness = Harness(endpoints: ["n1:1"])
        harness.members = { Harness.status(of: $0, members: members) }
        let call = harness.put("first")
        harness.accept("n1:1", leader: "n1:1")
        for request in harness.take(.mutate) { harness.answer(request, revision: 10) }
        #expect(harness.isAnswered(call))
        return harness
    }

    /// Every address that the client dials while nobody answers.
    private func addressesTried(_ harness: inout Harness) -> Set<String> {
        harness.get("x", within: .seconds(2))
        var tried: Set<String> = []
        for _ in 0..<100 {
            tried.formUnion(harness.dialed.map(\.address))
            harness.refuseAll()
            harness.wait(.milliseconds(20))
        }
        return tried
    }

    /// Nobody but n1 answers, and it leads, or nobody is known to.
    private func reconnect(_ harness: inout Harness, leader: String? = "n1:1") {
        for _ in 0..<200 where !harness.dialed.contains(where: { $0.address == "n1:1" }) {
            harness.refuseAll()
            harness.wait(.milliseconds(5))
        }
        harness.refuseAll(but: "n1:1")
        harness.accept("n1:1", leader: leader)
    }

    @Test("a client that was given one node goes to another member when that one dies")
    func oneEndpointIsEnough() throws {
        var harness = connected()
        #expect(harness.dialed.isEmpty, "members are remembered, not connected to")
        let call = harness.put("second")
        _ = harness.take(.mutate)
        harness.cut("n1:1")
        harness.wait(.milliseconds(50))
        harness.wait(.milliseconds(300))
        let next = try #require(harness.dialed.first { $0.address != "n1:1" }).address
        #expect(["n2:1", "n3:1"].contains(next))
        harness.accept(next, leader: next)
        harness.answer(try #require(harness.take(.mutate).last), revision: 11)
        #expect(harness.isAnswered(call))
    }

    @Test("a node is asked once per connection, however many calls it gets")
    func askedOnce() throws {
        var harness = connected()
        for number in 0..<50 {
            harness.put("k\(number)")
            for request in harness.take(.mutate) { harness.answer(request, revision: 11 + UInt64(number)) }
        }
        #expect(harness.statusAsked == ["n1:1"])
        harness.cut("n1:1")
        harness.get("a")
        reconnect(&harness)
        #expect(harness.statusAsked == ["n1:1", "n1:1"])
    }

    @Test("the question is asked by the client itself: it completes no call, and a client at rest asks nothing")
    func nothingWakesUp() throws {
        var harness = Harness(endpoints: ["n1:1"])
        let call = harness.get("a")
        harness.accept("n1:1", leader: "n1:1")
        harness.answer(try #require(harness.take(.query).first), revision: 3)
        #expect(harness.outcomes.keys.sorted() == [call])
        #expect(harness.statusAsked == ["n1:1"])
        harness.wait(.seconds(5))
        #expect(harness.core.nextDeadline == .never)
    }

    @Test("when another node leads, it is asked")
    func askedAgainAfterLeaderChange() throws {
        var harness = connected()
        harness.put("a")
        let hint = ReplyError(.notLeader, leaderName: "n2", leaderAddress: "n2:1")
        harness.answer(try #require(harness.take(.mutate).first), revision: 0, error: hint)
        harness.accept("n2:1", leader: "n2:1")
        #expect(harness.statusAsked == ["n1:1", "n2:1"])
        // Back again, over the connection that is there.
        harness.wait(.seconds(2))
        let back = ReplyError(.notLeader, leaderName: "n1", leaderAddress: "n1:1")
        for request in harness.take(.mutate) where request.address == "n2:1" {
            harness.answer(request, revision: 0, error: back)
        }
        #expect(harness.statusAsked == ["n1:1", "n2:1", "n1:1"])
    }

    @Test("nodes that contradict each other about the leader are not asked in circles")
    func noCircles() throws {
        var harness = connected()
        harness.put("a")
        var asked = 0
        for _ in 0..<100 {
            for request in harness.take(.mutate) {
                let other = request.address == "n1:1" ? "n2:1" : "n1:1"
                harness.answer(
                    request, revision: 0, error: ReplyError(.notLeader, leaderName: "x", leaderAddress: other))
            }
            while let address = harness.dialed.first?.address { harness.accept(address) }
            harness.wait(.milliseconds(10))
            asked = harness.statusAsked.count
        }
        #expect(asked <= 5, "\(asked) questions in one second")
    }

    @Test("while the node does not know every address, it is asked again, and nobody is forgotten meanwhile")
    func incompleteList() throws {
        var harness = connected(members: ["n1:1", "n2:1", ""])
        harness.members = { Harness.status(of: $0, members: ["n1:1", "", "n3:1"]) }
        harness.get("a")
        harness.answer(try #require(harness.take(.query).first), revision: 10)
        #expect(harness.statusAsked == ["n1:1"])
        harness.wait(.milliseconds(1_100))
        #expect(harness.statusAsked == ["n1:1", "n1:1"])
        harness.cut("n1:1")
        #expect(addressesTried(&harness) == ["n1:1", "n2:1", "n3:1"])
    }

    @Test("who has left by the leader's list is forgotten, but never a node that the caller named")
    func leftMembersAreForgotten() throws {
        var harness = connected()
        harness.members = { Harness.status(of: $0, members: ["n4:1", "n3:1"]) }
        harness.cut("n1:1")
        harness.get("a")
        reconnect(&harness)
        harness.cut("n1:1")
        #expect(addressesTried(&harness) == ["n1:1", "n3:1", "n4:1"])
    }

    @Test("the list of a node that does not lead adds members and takes none away")
    func followersListAdds() throws {
        var harness = connected()
        harness.members = { Harness.status(of: $0, members: ["n4:1"], role: .follower) }
        harness.cut("n1:1")
        harness.get("a")
        reconnect(&harness, leader: nil)
        harness.cut("n1:1")
        #expect(addressesTried(&harness) == ["n1:1", "n2:1", "n3:1", "n4:1"])
    }

    @Test("the list of another cluster is not believed")
    func foreignList() throws {
        var harness = Harness(endpoints: ["n1:1"])
        harness.members = {
            var reply = Harness.status(of: $0, members: ["n1:1", "n2:1"])
            reply.identity = ClusterIdentity(id: 8, generation: 1, generationTag: 0)
            return reply
        }
        harness.get("a")
        harness.accept("n1:1", leader: "n1:1")
        harness.cut("n1:1")
        #expect(addressesTried(&harness) == ["n1:1"])
    }

    @Test("no more nodes are remembered than may be, those of the caller and new members first")
    func bounded() throws {
        var harness = Harness(endpoints: ["n1:1"]) { $0.nodesMax = 4 }
        harness.members = { Harness.status(of: $0, members: (1...60).map { "n\($0):1" }) }
        harness.get("a")
        harness.accept("n1:1", leader: "n1:1")
        harness.cut("n1:1")
        #expect(addressesTried(&harness) == ["n1:1", "n2:1", "n3:1", "n4:1"])
        harness.members = { Harness.status(of: $0, members: (1...3).map { "m\($0):1" }) }
        harness.get("a")
        reconnect(&harness)
        harness.cut("n1:1")
        #expect(addressesTried(&harness) == ["n1:1", "m1:1", "m2:1", "m3:1"])
    }

    @Test("forgetting a node leaves the connections to the others what they are")
    func placesMove() throws {
        var harness = Harness(endpoints: ["n1:1"])
        harness.members = { Harness.status(of: $0, members: ["n1:1", "n2:1", "n3:1"], role: .follower) }
        harness.put("a")
        harness.accept("n1:1")
        let hint = ReplyError(.notLeader, leaderName: "n3", leaderAddress: "n3:1")
        harness.answer(try #require(harness.take(.mutate).first), revision: 0, error: hint)
        // By its list n2, which stands before it, has left.
        harness.members = { Harness.status(of: $0, members: ["n1:1", "n3:1"]) }
        harness.accept("n3:1", leader: "n3:1")
        let read = harness.get("b")
        let query = try #require(harness.take(.query).first)
        #expect(query.address == "n3:1")
        harness.answer(query, revision: 4)
        #expect(harness.isAnswered(read))
        harness.cut("n1:1")
        harness.get("c")
        #expect(harness.take(.query).map(\.address) == ["n3:1"])
        harness.cut("n3:1")
        #expect(addressesTried(&harness) == ["n1:1", "n3:1"])
    }

    @Test("a keep-alive that is out when a node is forgotten is still known to be with the node that has it")
    func placesMoveUnderKeepAlive() throws {
        var harness = Harness(endpoints: ["n1:1"]) { $0.sessionTimeout = .seconds(3) }
        harness.members = { Harness.status(of: $0, members: ["n1:1", "n2:1", "n3:1"], role: .follower) }
        harness.put("a", within: .seconds(10))
        harness.accept("n1:1")
        let hint = ReplyError(.notLeader, leaderName: "n3", leaderAddress: "n3:1")
        harness.answer(try #require(harness.take(.mutate).first), revision: 0, error: hint)
        // One address is not known yet: the question is asked again after a second, with the first keep-alive.
        harness.members = { Harness.status(of: $0, members: ["n1:1", "n3:1", ""]) }
        harness.accept("n3:1", leader: "n3:1")
        harness.answer(try #require(harness.take(.mutate).first), revision: 2)
        // By that list n2, which stands before it, has left.
        harness.members = { Harness.status(of: $0, members: ["n1:1", "n3:1"]) }
        harness.wait(.milliseconds(1_000))
        #expect(harness.statusAsked == ["n1:1", "n3:1", "n3:1"])
        #expect(harness.take(.keepAlive).map(\.address) == ["n3:1"])
        // Nothing more comes from it.
        harness.wait(.milliseconds(600))
        let request = try #require(harness.take(.keepAlive).first)
        #expect(request.address == "n1:1")
        harness.answer(request, with: .keepAlive(KeepAliveReply(revision: LogIndex(3), notOpen: [], leader: nil)))
        harness.wait(.milliseconds(1_000))
        #expect(harness.sessions == [.connected])
    }

    @Test("a node whose directory was emptied is reported in its own words")
    func emptiedNode() throws {
        var harness = connected(members: ["n1:1"])
        harness.cut("n1:1")
        let read = harness.get("a", within: .seconds(1))
        harness.wait(.milliseconds(300))
        harness.accept(
            "n1:1",
            refusal: ReplyError(.clusterMismatch, "n1 has an empty data directory and belongs to no cluster, not to 7"))
        harness.wait(.milliseconds(700))
        #expect(
            harness.failure(read)?.error.message
                == "no quorum: reached 0 of 1; n1 refused: n1 has an empty data directory and belongs to no cluster, "
                + "not to 7")
    }

    @Test("the members that were learnt are among those of which the error says whether they were reached")
    func reachabilityNamesMembers() throws {
        var harness = connected()
        harness.cut("n1:1")
        let read = harness.get("a", within: .seconds(1))
        for _ in 0..<120 {
            harness.refuseAll()
            harness.wait(.milliseconds(10))
        }
        #expect(
            harness.failure(read)?.error.message
                == "no quorum: reached 0 of 3; n1 refused the connection, m2 refused the connection, "
                + "m3 refused the connection")
    }

    @Test("a member is counted once, though the caller named it by another address than its own")
    func aliasIsCountedOnce() throws {
        var harness = Harness(endpoints: ["m1.example:1"])
        harness.members = { Harness.status(of: $0, members: ["n1:1", "n2:1"]) }
        harness.get("a")
        harness.accept("m1.example:1")
        harness.cut("m1.example:1")
        let read = harness.get("b", within: .seconds(1))
        for _ in 0..<120 {
            harness.refuseAll()
            harness.wait(.milliseconds(10))
        }
        #expect(harness.failure(read)?.error.message.hasPrefix("no quorum: reached 0 of 2; m1 refused") == true)
    }

    @Test("a status that this release cannot read does not cost the connection")
    func laterStatus() throws {
        var harness = Harness(endpoints: ["n1:1"])
        harness.members = { _ in nil }
        let call = harness.get("a")
        harness.accept("n1:1", leader: "n1:1")
        // The first request after the greeting; a role of 200.
        harness.receive(from: "n1:1") { writer in
            var status = ByteWriter()
            ControlReply.status(Harness.status(of: "n1:1", members: [])).encode(requestID: 2, into: &status)
            var body = frames(status.takeBytes())[0].1
            // Code, revision, identity, node and name come before it.
            let place = 2 + 8 + 1 + 24 + 8 + 2 + 2
            #expect(body[place] == NodeRole.leader.rawValue)
            body[place] = 200
            ClientReply.encode(.status, requestID: 2, body: body.rawSpan, into: &writer)
        }
        #expect(harness.open.count == 1)
        harness.answer(try #require(harness.take(.query).first), revision: 3)
        #expect(harness.isAnswered(call))
    }

    @Test("a call without a session goes on to another node when the one that it reached knows no leader")
    func cutOffNodeIsLeft() throws {
        var harness = Harness()
        let call = harness.get("x")
        let first = try #require(harness.dialed.first).address
        harness.accept(first)
        let error = ReplyError(.unavailable, retryAfter: .milliseconds(50))
        for _ in 0..<20 where harness.dialed.allSatisfy({ $0.address == first }) {
            for request in harness.take(.query) { harness.answer(request, revision: 0, error: error) }
            harness.wait(.milliseconds(20))
        }
        let other = try #require(harness.dialed.first { $0.address != first }).address
        harness.accept(other, leader: other)
        for request in harness.take(.query) { harness.answer(request, revision: 0, error: error) }
        harness.wait(.milliseconds(100))
        harness.answer(try #require(harness.take(.query).last { $0.address == other }), revision: 9)
        #expect(harness.isAnswered(call))
    }

    @Test("a change of members that no node could begin has had no effect")
    func changeNotBegun() throws {
        var harness = Harness()
        let call = harness.submit(.changeMembers(.remove(name: "n2")), within: .milliseconds(400))
        let first = try #require(harness.dialed.first).address
        harness.accept(first)
        let error = ReplyError(.unavailable, retryAfter: .seconds(1))
        harness.answer(try #require(harness.take(.changeMembers).first), revision: 0, error: error)
        harness.wait(.milliseconds(500))
        let failure = try #require(harness.failure(call))
        #expect(!failure.mayHaveTakenEffect)
        #expect(failure.error.code == .unavailable)
    }
}
