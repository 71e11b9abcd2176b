import Basics
import ClientCore
import MetadataModel
import Testing
import Wire

@Suite struct ClientStateTests {
    /// A client connected to n1, which leads, with one mutation answered: its session is open.
    private func connected() -> Harness {
        var harness = Harness(endpoints: ["n1:1"])
        let first = harness.put("first")
        harness.accept("n1:1", leader: "n1:1")
        for request in harness.take(.mutate) { harness.answer(request, revision: 10) }
        #expect(harness.isAnswered(first))
        return harness
    }

    // MARK: Nodes and the leader

    @Test("nothing is connected before there is something to do")
    func idleAtFirst() throws {
        var harness = Harness()
        harness.wait(.seconds(60))
        #expect(harness.dialed.isEmpty)
        #expect(harness.core.nextDeadline == .never)
    }

    @Test("a node that does not lead names the leader, and everything goes there")
    func followsTheHint() throws {
        var harness = Harness(endpoints: ["n1:1"])
        let call = harness.put("a")
        harness.accept("n1:1", leader: "n9:9")
        // The leader was not among the endpoints; it is dialed on the word of n1, which meanwhile may forward.
        #expect(harness.dialed.map(\.address) == ["n9:9"])
        let first = harness.take(.mutate)
        #expect(first.map(\.address) == ["n1:1"])
        #expect(first[0].header.flags.contains(.forward))
        harness.accept("n9:9", leader: "n9:9")
        harness.answer(first[0], revision: 0, error: ReplyError(.notLeader, leaderName: "n9", leaderAddress: "n9:9"))
        let second = harness.take(.mutate)
        #expect(second.last?.address == "n9:9")
        harness.answer(try #require(second.last), revision: 5)
        #expect(harness.isAnswered(call))
    }

    @Test("a mutation that comes during a pause is sent when the pause ends, whatever became of the one that caused it")
    func pauseEndsForTheNext() throws {
        var harness = Harness(endpoints: ["n1:1"])
        let first = harness.put("a")
        harness.accept("n1:1", leader: "n1:1")
        let request = try #require(harness.take(.mutate).first)
        let refusal = ReplyError(.overloaded, retryAfter: .milliseconds(500))
        harness.answer(request, revision: 0, error: refusal)
        harness.step(.cancelled(first))
        let second = harness.put("b")
        // Nothing else happens: only the client's own deadline can end the pause.
        #expect(harness.core.nextDeadline <= harness.now + .milliseconds(500))
        harness.wait(.milliseconds(600))
        let sent = harness.take(.mutate)
        #expect(sent.count == 1)
        harness.answer(try #require(sent.first), revision: 5)
        #expect(harness.isAnswered(second))
    }

    @Test("a node that answers but cannot help is no reason not to try the others")
    func helplessNodeIsNotEnough() throws {
        var harness = Harness(endpoints: ["n1:1", "n2:2"])
        let call = harness.put("a")
        let helpless = try #require(harness.dialed.first?.address)
        let other = helpless == "n1:1" ? "n2:2" : "n1:1"
        harness.accept(helpless, leader: nil)
        let first = try #require(harness.take(.mutate).first)
        // It is cut off from the others, and will say this for as long as it is asked.
        harness.answer(first, revision: 0, error: ReplyError(.unavailable, retryAfter: .milliseconds(100)))
        harness.wait(.milliseconds(500))
        #expect(harness.dialed.contains { $0.address == other })
        harness.accept(other, leader: other)
        harness.wait(.milliseconds(500))
        let second = try #require(harness.take(.mutate).last)
        #expect(second.address == other)
        harness.answer(second, revision: 5)
        #expect(harness.isAnswered(call))
    }

    @Test("what waits behind a mutation that the cluster will not take fails for the same reason")
    func obstacleIsTold() throws {
        var harness = Harness(endpoints: ["n1:1"])
        let first = harness.put("a", within: .seconds(1))
        harness.accept("n1:1", leader: "n1:1")
        #expect(harness.take(.mutate).count == 1)
        // A copy of it may be in the log, so its sequence cannot be used for anything else.
        harness.cut("n1:1")
        harness.wait(.milliseconds(300))
        harness.accept("n1:1", leader: "n1:1")
        var second: CallID?
        for _ in 0..<30 {
            harness.wait(.milliseconds(100))
            for copy in harness.take(.mutate) {
                harness.answer(copy, revision: 0, error: ReplyError(.diskFull, "no space"))
            }
            if second == nil { second = harness.put("b", within: .seconds(1)) }
        }
        let waiting = try #require(second)
        #expect(harness.failure(first)?.error.code == .unknown)
        #expect(harness.failure(waiting)?.error.code == .diskFull)
        #expect(harness.failure(waiting)?.mayHaveTakenEffect == false)
    }

    @Test("what waits behind a mutation that the cluster will not take is not sent again and again")
    func obstacleHoldsBackWhatIsBehind() throws {
        var harness = Harness(endpoints: ["n1:1"])
        harness.put("a", within: .seconds(60))
        harness.accept("n1:1", leader: "n1:1")
        for _ in 0..<9 { harness.put("b", within: .seconds(60)) }
        // A copy of each may be in the log.
        harness.cut("n1:1")
        harness.wait(.milliseconds(300))
        harness.accept("n1:1", leader: "n1:1")
        var sent = 0
        var sentBehind = 0
        for _ in 0..<300 {
            harness.wait(.milliseconds(100))
            for copy in harness.take(.mutate) {
                let isFirst = copy.command?.sequence == 1
                if isFirst { sent += 1 } else { sentBehind += 1 }
                let gap = ReplyError(.sequenceGap, expectedSequence: 1)
                harness.answer(copy, revision: 0, error: isFirst ? ReplyError(.featureLevel, limit: 1) : gap)
            }
        }
        // The first goes again now and then; the others went once over each connection before it was refused, and wait.
        #expect(sent > 10)
        #expect(sentBehind == 18)
    }

    @Test("what was applied before its session was ended, and is not answered, does not go into the next session")
    func endedSessionTakesWhatItApplied() throws {
        var harness = Harness(endpoints: ["n1:1"])
        let first = harness.put("a", within: .seconds(60))
        harness.accept("n1:1", leader: "n1:1")
        harness.answer(try #require(harness.take(.mutate).first), revision: 5)
        #expect(harness.isAnswered(first))
        let second = harness.put("b", within: .seconds(60))
        let end = harness.submit(.mutate(CommandContent(.endSession)), within: .seconds(60))
        let third = harness.put("c", within: .seconds(60))
        let copies = harness.take(.mutate)
        #expect(copies.map { $0.command?.sequence } == [2, 3, 4])
        // Logged by a leader that was deposed: nobody knows what became of it, until the end of the session is told.
        harness.answer(copies[0], revision: 0, error: ReplyError(.unknown))
        harness.answer(copies[1], revision: 7)
        #expect(harness.isAnswered(end))
        #expect(harness.failure(second)?.error.code == .unknown)
        #expect(harness.failure(second)?.mayHaveTakenEffect == true)
        #expect(harness.outcomes[third] == nil)
        harness.wait(.seconds(5))
        let moved = harness.take(.mutate)
        #expect(moved.map { $0.command?.sequence } == [1])
    }

    @Test("a node that names an unreachable leader is not asked again at once")
    func staleHintIsNoLoop() throws {
        var harness = Harness(endpoints: ["n1:1"])
        harness.put("a")
        harness.accept("n1:1", leader: "n9:9")
        harness.refuseAll()
        var asked = 0
        for _ in 0..<200 {
            for request in harness.take(.mutate) {
                asked += 1
                harness.answer(
                    request, revision: 0, error: ReplyError(.notLeader, leaderName: "n9", leaderAddress: "n9:9"))
            }
            harness.refuseAll()
            harness.wait(.milliseconds(5))
        }
        // One second: backed off from 10 ms to 250 ms, that is about ten tries.
        #expect((4...40).contains(asked), "\(asked) requests in one second")
    }

    @Test("when one node does not answer, the next is tried while waiting")
    func staggeredConnects() throws {
        var harness = Harness()
        harness.get("a")
        #expect(harness.dialed.count == 1)
        harness.wait(.milliseconds(99))
        #expect(harness.dialed.count == 1)
        harness.wait(.milliseconds(2))
        #expect(harness.dialed.count == 2)
        harness.wait(.milliseconds(100))
        #expect(Set(harness.dialed.map(\.address)) == ["n1:1", "n2:1", "n3:1"])
    }

    @Test("a connection that owes a reply is asked, then given up, and the read goes to another node")
    func silentNodeIsGivenUp() throws {
        var harness = Harness(endpoints: ["n1:1", "n2:1"])
        let call = harness.get("a", within: .seconds(30))
        let first = try #require(harness.dialed.first).address
        harness.accept(first, leader: first)
        #expect(harness.take(.query).count == 1)
        harness.wait(.milliseconds(1_600))
        #expect(harness.take(.ping).count == 1)
        harness.wait(.milliseconds(1_500))
        #expect(harness.open.isEmpty)
        let second = try #require(harness.dialed.first).address
        #expect(second != first)
        harness.accept(second, leader: second)
        let again = harness.take(.query)
        #expect(again.count == 1)
        harness.answer(again[0], revision: 3)
        #expect(harness.isAnswered(call))
    }

    @Test("an answered ping keeps a connection on which a reply takes long")
    func slowReplyIsWaitedFor() throws {
        var harness = Harness(endpoints: ["n1:1"])
        let call = harness.get("a", within: .seconds(60))
        harness.accept("n1:1", leader: "n1:1")
        let request = try #require(harness.take(.query).first)
        for _ in 0..<10 {
            harness.wait(.milliseconds(1_600))
            for ping in harness.take(.ping) {
                harness.answer(
                    ping, with: .pong(PingReply(revision: LogIndex(1), clusterTime: Harness.startTime, leader: nil)))
            }
        }
        harness.answer(request, revision: 3)
        #expect(harness.isAnswered(call))
    }

    @Test("reads name the highest revision seen")
    func readsNameRevision() throws {
        var harness = connected()
        harness.get("a", level: .stale)
        let request = try #require(harness.take(.query).first)
        var reader = ByteReader(request.body.rawSpan)
        #expect((try? reader.readUInt8()) == ReadLevel.stale.rawValue)
        #expect((try? reader.readUInt64()) == 10)
    }

    @Test("no quorum: the error says which nodes were reached and why the others were not")
    func reachabilityIsTold() throws {
        var harness = Harness()
        let call = harness.get("a", within: .seconds(1))
        harness.accept(try #require(harness.dialed.first).address)
        let reached = try #require(harness.open.first).address
        harness.cut(reached)
        while harness.now < Instant.zero + .milliseconds(2_100) {
            harness.refuseAll()
            harness.wait(.milliseconds(10))
        }
        let failure = harness.failure(call)
        #expect(failure?.error.code == .unavailable)
        #expect(failure?.mayHaveTakenEffect == false)
        #expect(failure?.error.message.hasPrefix("no quorum: reached 0 of 3; ") == true)
        #expect(failure?.error.message.contains("n3:1 refused the connection") == true || reached == "n3:1")
    }

    @Test("a node that is going away gets nothing new, and what it was sent is still answered")
    func goingAway() throws {
        var harness = Harness(endpoints: ["n1:1", "n2:1"])
        let first = harness.get("a")
        let node = try #require(harness.dialed.first).address
        let other = node == "n1:1" ? "n2:1" : "n1:1"
        harness.accept(node, leader: node)
        let request = try #require(harness.take(.query).first)
        harness.receive(from: node) { GoingAway(leader: LeaderHint(name: "x", clientAddress: other)).encode(into: &$0) }
        harness.get("b")
        #expect(harness.take(.query).isEmpty)
        harness.accept(other, leader: other)
        #expect(harness.take(.query).map(\.address) == [other])
        harness.answer(request, revision: 3)
        #expect(harness.isAnswered(first))
    }

    // MARK: Another cluster

    @Test("after a restore every call ends with generationChanged, also later ones")
    func generationChanged() throws {
        var harness = connected()
        let open = harness.put("b")
        harness.cut("n1:1")
        harness.wait(.milliseconds(300))
        harness.accept("n1:1", refusal: ReplyError(.generationChanged))
        #expect(harness.failure(open)?.error.code == .generationChanged)
        #expect(harness.failure(open)?.mayHaveTakenEffect == true)
        let later = harness.get("a")
        #expect(harness.failure(later)?.error.code == .generationChanged)
        #expect(harness.sessions == [.connected, .lost])
        #expect(harness.core.nextDeadline == .never)
    }

    @Test("a node of another cluster that accepts the greeting all the same is not believed")
    func foreignNodeIsNotBelieved() throws {
        var harness = connected()
        harness.cut("n1:1")
        let read = harness.get("a", within: .seconds(1))
        harness.wait(.milliseconds(300))
        harness.accept("n1:1", identity: ClusterIdentity(id: 8, generation: 1, generationTag: 0))
        #expect(harness.take(.query).isEmpty)
        harness.wait(.seconds(2))
        #expect(harness.failure(read)?.error.message.contains("belongs to another cluster") == true)
    }

    @Test("a node without a cluster answers no reads; it is greeted again until it belongs to one")
    func waitsForCluster() throws {
        var harness = Harness(endpoints: ["n1:1"])
        let call = harness.get("a", within: .seconds(10))
        harness.accept("n1:1", identity: nil)
        #expect(harness.take(.query).isEmpty)
        harness.wait(.seconds(1))
        harness.accept("n1:1", leader: "n1:1")
        harness.answer(try #require(harness.take(.query).first), revision: 2)
        #expect(harness.isAnswered(call))
    }

    @Test("initialize goes to a node without a cluster, and is not repeated when its connection is lost")
    func initialize() throws {
        var harness = Harness(endpoints: ["n1:1"])
        let call = harness.submit(.initialize)
        harness.accept("n1:1", identity: nil)
        #expect(harness.take(.initialize).count == 1)
        harness.cut("n1:1")
        #expect(harness.failure(call)?.error.code == .unknown)
        #expect(harness.take(.initialize).isEmpty)
    }

    @Test("a change of the members goes to the leader that is named, though nothing else needs a connection to it")
    func memberChangeFollowsLeader() throws {
        var harness = Harness(endpoints: ["n1:1"])
        let call = harness.submit(.changeMembers(.transfer(name: "n3")))
        harness.accept("n1:1")
        let request = try #require(harness.take(.changeMembers).first)
        harness.answer(
            request, revision: 0, error: ReplyError(.notLeader, leaderName: "n2", leaderAddress: "n2:1"))
        harness.wait(.milliseconds(300))
        harness.accept("n2:1", leader: "n2:1")
        let again = harness.take(.changeMembers)
        #expect(again.map(\.address) == ["n2:1"])
        harness.answer(try #require(again.first), revision: 9)
        #expect(harness.isAnswered(call))
    }

    @Test("a change of the members is not sent again when its connection is lost or its fate unknown")
    func memberChangeIsNotRepeated() throws {
        for code in [nil, ErrorCode.unknown] {
            var harness = Harness(endpoints: ["n1:1"])
            let call = harness.submit(.changeMembers(.remove(name: "n2")))
            harness.accept("n1:1", leader: "n1:1")
            let request = try #require(harness.take(.changeMembers).first)
            if let code { harness.answer(request, revision: 0, error: ReplyError(code)) } else { harness.cut("n1:1") }
            harness.wait(.milliseconds(500))
            #expect(harness.failure(call)?.error.code == .unknown)
            #expect(harness.failure(call)?.mayHaveTakenEffect == true)
            #expect(harness.take(.changeMembers).isEmpty)
        }
    }

    @Test("the status of a node that cannot be reached fails at once")
    func statusFailsAtOnce() throws {
        var harness = Harness()
        let call = harness.submit(.status(address: "n3:1"))
        #expect(harness.dialed.map(\.address) == ["n3:1"])
        harness.refuseAll()
        #expect(harness.failure(call)?.error.message == "n3:1 refused the connection")
    }

    // MARK: Mutations

    @Test("mutations leave at once, in order, with rising sequences; the first ones open the session")
    func pipelined() throws {
        var harness = Harness(endpoints: ["n1:1"])
        for key in ["a", "b", "c"] { harness.put(key) }
        harness.accept("n1:1", leader: "n1:1", time: Harness.startTime)
        let sent = harness.take(.mutate)
        #expect(sent.map { $0.command?.sequence } == [1, 2, 3])
        #expect(sent.allSatisfy { $0.command?.opening?.openedAt == Harness.startTime })
        #expect(Set(sent.compactMap { $0.command?.session }).count == 1)
        harness.answer(sent[0], revision: 10)
        harness.put("d")
        let later = try #require(harness.take(.mutate).first)
        #expect(later.command?.sequence == 4)
        #expect(later.command?.opening == nil)
        #expect(later.command?.acknowledgedThrough == 1)
    }

    @Test("after a lost connection the same sequences go to another node, from the first unanswered one on")
    func retryElsewhere() throws {
        var harness = Harness(endpoints: ["n1:1", "n2:1"])
        let calls = ["a", "b", "c"].map { harness.put($0) }
        let first = try #require(harness.dialed.first).address
        harness.accept(first, leader: first)
        let sent = harness.take(.mutate)
        harness.answer(sent[0], revision: 10)
        harness.cut(first)
        let second = try #require(harness.dialed.first).address
        harness.accept(second, leader: second)
        let again = harness.take(.mutate)
        #expect(again.map { $0.command?.sequence } == [2, 3])
        #expect(again.map(\.body.count) == sent.dropFirst().map { $0.body.count - 12 })
        for (position, request) in again.enumerated() { harness.answer(request, revision: 11 + UInt64(position)) }
        #expect(calls.allSatisfy(harness.isAnswered))
    }

    @Test("sequenceGap: sent again from the sequence that is missing, once")
    func gapIsClosed() throws {
        var harness = connected()
        let calls = ["a", "b", "c"].map { harness.put($0) }
        let sent = harness.take(.mutate)
        // The first was lost on its way to the leader; both later ones find the gap.
        for request in sent.dropFirst() {
            harness.answer(request, revision: 11, error: ReplyError(.sequenceGap, expectedSequence: 2))
        }
        let again = harness.take(.mutate)
        #expect(again.map { $0.command?.sequence } == [2, 3, 4])
        for request in again { harness.answer(request, revision: 12) }
        #expect(calls.allSatisfy(harness.isAnswered))
    }

    @Test("overloaded: nothing of the session is sent before retryAfter has passed")
    func overloadedWaits() throws {
        var harness = connected()
        let call = harness.put("a")
        harness.answer(
            try #require(harness.take(.mutate).first), revision: 0,
            error: ReplyError(.overloaded, retryAfter: .milliseconds(400)))
        harness.put("b")
        harness.wait(.milliseconds(399))
        #expect(harness.take(.mutate).isEmpty)
        harness.wait(.milliseconds(2))
        let again = harness.take(.mutate)
        #expect(again.map { $0.command?.sequence } == [2, 3])
        harness.answer(again[0], revision: 11)
        #expect(harness.isAnswered(call))
    }

    @Test("an error from the log is the answer: conflict is not tried again")
    func conflictIsFinal() throws {
        var harness = connected()
        let call = harness.put("a")
        harness.answer(
            try #require(harness.take(.mutate).first), revision: 11,
            error: ReplyError(.conflict, currentRevision: LogIndex(9)))
        #expect(harness.failure(call)?.error.currentRevision == LogIndex(9))
        #expect(harness.failure(call)?.mayHaveTakenEffect == false)
        harness.put("b")
        #expect(harness.take(.mutate).map { $0.command?.sequence } == [3])
    }

    @Test("a refusal before the log leaves the sequence free, and the next mutation uses it")
    func refusedSequenceIsUsedAgain() throws {
        var harness = connected()
        let call = harness.put("a")
        harness.answer(try #require(harness.take(.mutate).first), revision: 0, error: ReplyError(.diskFull))
        #expect(harness.failure(call)?.error.code == .diskFull)
        #expect(harness.failure(call)?.mayHaveTakenEffect == false)
        harness.put("b")
        #expect(harness.take(.mutate).map { $0.command?.sequence } == [2])
    }

    @Test("what all members know already is asked for again until the level is raised; what one does not know is refused")
    func levelIsBeingRaised() throws {
        var harness = connected()
        let call = harness.put("a", within: .seconds(10))
        for _ in 0..<3 {
            harness.answer(
                try #require(harness.take(.mutate).first), revision: 0,
                error: ReplyError(.featureLevel, limit: 1, retryAfter: .seconds(1)))
            #expect(harness.outcomes[call] == nil)
            harness.wait(.milliseconds(900))
            #expect(harness.take(.mutate).isEmpty)
            harness.wait(.milliseconds(200))
        }
        harness.answer(try #require(harness.take(.mutate).first), revision: 11)
        #expect(harness.isAnswered(call))
        let behind = harness.put("b", within: .seconds(10))
        harness.answer(
            try #require(harness.take(.mutate).first), revision: 0, error: ReplyError(.featureLevel, limit: 1))
        #expect(harness.failure(behind)?.error.code == .featureLevel)
        #expect(harness.failure(behind)?.mayHaveTakenEffect == false)
    }

    @Test("a refused sequence with later ones under way is filled with an empty transaction")
    func refusedSequenceIsFilled() throws {
        var harness = connected()
        let refused = harness.put("a")
        let later = harness.put("b")
        let sent = harness.take(.mutate)
        harness.answer(sent[0], revision: 0, error: ReplyError(.tooLarge, limit: 1))
        #expect(harness.failure(refused)?.mayHaveTakenEffect == false)
        let again = harness.take(.mutate)
        #expect(again.map { $0.command?.sequence } == [2, 3])
        #expect(again.first?.command?.kind == .transaction)
        for request in again { harness.answer(request, revision: 12) }
        #expect(harness.isAnswered(later))
    }

    @Test("a refusal after a copy of unknown fate is no proof: the sequence goes on being asked for")
    func refusalAfterLossIsUncertain() throws {
        var harness = connected()
        let call = harness.put("a")
        #expect(harness.take(.mutate).count == 1)
        harness.cut("n1:1")
        harness.wait(.milliseconds(300))
        harness.accept("n1:1", leader: "n1:1")
        harness.answer(try #require(harness.take(.mutate).first), revision: 0, error: ReplyError(.diskFull))
        #expect(harness.outcomes[call] == nil)
        harness.wait(.seconds(1))
        harness.answer(try #require(harness.take(.mutate).first), revision: 11)
        #expect(harness.isAnswered(call))
    }

    // MARK: Deadlines

    @Test("a mutation that never left ends in an error that says it had no effect, and takes no sequence")
    func unsentTimesOut() throws {
        var harness = Harness(endpoints: ["n1:1"])
        let call = harness.put("a", within: .milliseconds(500))
        let patient = harness.put("b", within: .seconds(10))
        for _ in 0..<100 {
            harness.refuseAll()
            harness.wait(.milliseconds(10))
        }
        #expect(harness.failure(call)?.mayHaveTakenEffect == false)
        #expect(harness.failure(call)?.error.message == "no quorum: reached 0 of 1; n1:1 refused the connection")
        harness.wait(.milliseconds(300))
        harness.accept("n1:1", leader: "n1:1")
        let sent = harness.take(.mutate)
        #expect(sent.map { $0.command?.sequence } == [1])
        harness.answer(sent[0], revision: 2)
        #expect(harness.isAnswered(patient))
    }

    @Test("a mutation that was sent ends in unknown, and is delivered all the same, before those behind it")
    func sentTimesOutAsUnknown() throws {
        var harness = connected()
        let call = harness.put("a", within: .milliseconds(500))
        let behind = harness.put("b", within: .seconds(10))
        let sent = harness.take(.mutate)
        harness.wait(.milliseconds(600))
        #expect(harness.failure(call)?.error.code == .unknown)
        #expect(harness.failure(call)?.mayHaveTakenEffect == true)
        harness.cut("n1:1")
        harness.wait(.milliseconds(300))
        harness.accept("n1:1", leader: "n1:1")
        let again = harness.take(.mutate)
        #expect(again.map { $0.command?.sequence } == [2, 3])
        #expect(again.map(\.body) == sent.map(\.body))
        for request in again { harness.answer(request, revision: 12) }
        #expect(harness.isAnswered(behind))
    }

    @Test("a mutation all of whose copies were refused times out as one without effect")
    func refusedTimesOut() throws {
        var harness = connected()
        let call = harness.put("a", within: .milliseconds(300))
        for _ in 0..<40 {
            for request in harness.take(.mutate) {
                harness.answer(request, revision: 0, error: ReplyError(.overloaded, retryAfter: .milliseconds(50)))
            }
            harness.wait(.milliseconds(10))
        }
        #expect(harness.failure(call)?.error.code == .overloaded)
        #expect(harness.failure(call)?.mayHaveTakenEffect == false)
        harness.put("b")
        harness.wait(.milliseconds(300))
        #expect(harness.take(.mutate).last?.command?.sequence == 2)
    }

    @Test("a cancelled call completes at once")
    func cancelled() throws {
        var harness = Harness(endpoints: ["n1:1"])
        let call = harness.get("a")
        harness.step(.cancelled(call))
        #expect(harness.failure(call)?.mayHaveTakenEffect == false)
    }

    @Test("beyond the bound on calls a further one is refused, and the bound frees up again")
    func callsAreBounded() throws {
        var harness = Harness(endpoints: ["n1:1"]) { $0.callsMax = 2 }
        harness.get("a", within: .milliseconds(100))
        harness.get("b", within: .milliseconds(100))
        let third = harness.get("c")
        #expect(harness.failure(third)?.error.code == .overloaded)
        harness.wait(.milliseconds(200))
        let fourth = harness.get("d")
        #expect(harness.outcomes[fourth] == nil)
    }

    // MARK: One-shot

    @Test("a one-shot mutation keeps its session and its opening through every retry")
    func oneShotKeepsItsName() throws {
        var harness = Harness(endpoints: ["n1:1"])
        let call = harness.put("a", once: true)
        let other = harness.put("b", once: true)
        harness.accept("n1:1", leader: "n1:1")
        let sent = harness.take(.mutate)
        #expect(sent.count == 2)
        #expect(sent.allSatisfy { $0.command?.isOneShot == true && $0.command?.sequence == 1 })
        #expect(sent[0].command?.session != sent[1].command?.session)
        harness.cut("n1:1")
        harness.wait(.seconds(1))
        harness.accept("n1:1", leader: "n1:1", time: Harness.startTime + .seconds(1))
        let again = harness.take(.mutate)
        #expect(again.map(\.body) == sent.map(\.body))
        for request in again { harness.answer(request, revision: 4) }
        #expect(harness.isAnswered(call) && harness.isAnswered(other))
        // No session stays behind that would have to be kept alive.
        harness.wait(.seconds(20))
        #expect(harness.take(.keepAlive).isEmpty)
        #expect(harness.sessions.isEmpty)
    }

    // MARK: The session

    @Test("the session is kept alive at a third of its timeout")
    func keptAlive() throws {
        var harness = connected()
        for _ in 0..<10 {
            harness.wait(.milliseconds(3_334))
            let keepAlives = harness.take(.keepAlive)
            #expect(keepAlives.count == 1)
            for request in keepAlives {
                harness.answer(
                    request, with: .keepAlive(KeepAliveReply(revision: LogIndex(1), notOpen: [], leader: nil)))
            }
            for ping in harness.take(.ping) {
                harness.answer(
                    ping, with: .pong(PingReply(revision: LogIndex(1), clusterTime: Harness.startTime, leader: nil)))
            }
        }
        #expect(harness.sessions == [.connected])
    }

    @Test("suspended at 2/3 of the timeout since the last answered keep-alive was sent, lost at all of it")
    func suspendedThenLost() throws {
        var harness = connected()
        let uncertain = harness.put("sent", within: .seconds(60))
        harness.cut("n1:1")
        let unsent = harness.put("unsent", within: .seconds(60))
        harness.wait(.milliseconds(6_666))
        #expect(harness.sessions == [.connected])
        harness.wait(.milliseconds(1))
        #expect(harness.sessions == [.connected, .suspended])
        harness.wait(.milliseconds(3_332))
        #expect(harness.sessions == [.connected, .suspended])
        harness.wait(.milliseconds(2))
        #expect(harness.sessions == [.connected, .suspended, .lost])
        #expect(harness.failure(uncertain)?.error.code == .unknown)
        #expect(harness.outcomes[unsent] == nil)
        // What had not left goes into the next session.
        let old = harness.sent.first { $0.kind == .mutate }?.command?.session
        _ = harness.take(.mutate)
        harness.wait(.milliseconds(600))
        harness.accept("n1:1", leader: "n1:1", time: Harness.startTime + .seconds(11))
        let sent = harness.take(.mutate)
        try #require(sent.map { $0.command?.sequence } == [1])
        #expect(sent.first?.command?.session != old)
        harness.answer(sent[0], revision: 20)
        #expect(harness.isAnswered(unsent))
        #expect(harness.sessions == [.connected, .suspended, .lost, .connected])
    }

    @Test(
        "a node that falls silent is left in time for another to hear of the session before it is at risk",
        arguments: [1_000, 2_000, 4_000, 10_000])
    func silentNode(timeout: Int64) throws {
        var harness = Harness { $0.sessionTimeout = .milliseconds(timeout) }
        harness.put("open")
        let first = try #require(harness.dialed.first?.address)
        harness.accept(first, leader: first)
        harness.answer(try #require(harness.take(.mutate).first), revision: 2)
        #expect(harness.sessions == [.connected])
        // Nothing comes from it any more, and the connection stays.
        harness.wait(.milliseconds(timeout * 2 / 3 - 1))
        let other = try #require(harness.dialed.first { $0.address != first }?.address, "nobody else is called")
        harness.accept(other, leader: other)
        let request = try #require(harness.take(.keepAlive).last)
        #expect(request.address == other)
        harness.answer(request, with: .keepAlive(KeepAliveReply(revision: LogIndex(3), notOpen: [], leader: nil)))
        harness.wait(.milliseconds(timeout / 3))
        #expect(harness.sessions == [.connected])
    }

    @Test(
        "a node that is only slow with a keep-alive keeps the mutations; another one is asked", arguments: [true, false])
    func busyNode(hasOther: Bool) throws {
        var harness = Harness { $0.sessionTimeout = .seconds(3) }
        harness.put("open", within: .seconds(60))
        let first = try #require(harness.dialed.first?.address)
        harness.accept(first, leader: hasOther ? "n9:1" : first)
        if hasOther { harness.accept("n9:1", leader: "n9:1") }
        let busy = hasOther ? "n9:1" : first
        harness.answer(try #require(harness.take(.mutate).last), revision: 2)
        harness.wait(.milliseconds(900))
        for number in 0..<100 { harness.put("k\(number)", within: .seconds(60)) }
        let sent = harness.take(.mutate)
        #expect(sent.count == 100 && sent.allSatisfy { $0.address == busy })
        harness.wait(.milliseconds(100))
        #expect(harness.take(.keepAlive).map(\.address) == [busy])
        // One of them is answered while the keep-alive waits.
        harness.wait(.milliseconds(200))
        harness.answer(sent[0], revision: 3)
        harness.wait(.milliseconds(400))
        if !hasOther {
            let other = try #require(harness.dialed.first { $0.address != first }?.address, "nobody else is called")
            harness.accept(other)
        }
        let request = try #require(harness.take(.keepAlive).first)
        #expect(request.address != busy)
        harness.answer(request, with: .keepAlive(KeepAliveReply(revision: LogIndex(3), notOpen: [], leader: nil)))
        #expect(harness.take(.mutate).isEmpty, "sent again to another node")
        for position in 1..<100 { harness.answer(sent[position], revision: 3 + UInt64(position)) }
        #expect(harness.outcomes.count == 101)
        #expect(harness.sessions == [.connected])
    }

    @Test("one node that is down, and dialled again and again, does not lead back to the same useless node each time")
    func deadNodeAndUselessNode() throws {
        for useless in ["n1:1", "n2:1", "n3:1"] {
            for dead in ["n1:1", "n2:1", "n3:1"] where dead != useless {
                var harness = Harness()
                let call = harness.put("a", within: .seconds(60))
                for _ in 0..<600 where !harness.isAnswered(call) {
                    for node in harness.dialed where node.address != dead { harness.accept(node.address) }
                    harness.refuseAll()
                    for request in harness.take(.mutate) {
                        if request.address == useless {
                            let error = ReplyError(.unavailable, retryAfter: .milliseconds(200))
                            harness.answer(request, revision: 0, error: error)
                        } else {
                            harness.answer(request, revision: 2)
                        }
                    }
                    harness.wait(.milliseconds(20))
                }
                #expect(harness.isAnswered(call), "\(useless) is useless, \(dead) down")
            }
        }
    }

    @Test("an answer to a keep-alive ends the suspension")
    func suspensionEnds() throws {
        var harness = connected()
        harness.cut("n1:1")
        harness.wait(.milliseconds(7_000))
        #expect(harness.sessions == [.connected, .suspended])
        harness.accept("n1:1", leader: "n1:1")
        let request = try #require(harness.take(.keepAlive).first)
        harness.answer(request, with: .keepAlive(KeepAliveReply(revision: LogIndex(1), notOpen: [], leader: nil)))
        #expect(harness.sessions == [.connected, .suspended, .connected])
    }

    /// A client whose first mutation was applied, without an answer; it is connected again after `pause`.
    private func reconnected(
        after pause: Interval, isOwned: Bool = false
    ) throws -> (harness: Harness, call: CallID, copy: Harness.Sent) {
        var harness = Harness(endpoints: ["n1:1"])
        let call = harness.put("a", isOwned: isOwned, within: .seconds(60))
        harness.accept("n1:1", leader: "n1:1")
        let first = try #require(harness.take(.mutate).first)
        harness.cut("n1:1")
        harness.wait(pause - .milliseconds(300))
        harness.refuseAll()
        harness.wait(.milliseconds(300))
        harness.accept("n1:1", leader: "n1:1", time: Harness.startTime + pause)
        let copy = try #require(harness.take(.mutate).first)
        #expect(copy.body == first.body)
        return (harness, call, copy)
    }

    @Test("the answer that was kept for a first mutation does not bring back a session that has ended since")
    func firstAnswerTooLate() throws {
        var (harness, call, copy) = try reconnected(after: .seconds(11), isOwned: true)
        harness.answer(copy, revision: 10)
        // What it gave to the client, here a row, a lock for example, may be another's.
        #expect(harness.failure(call)?.error.code == .unknown)
        #expect(harness.failure(call)?.mayHaveTakenEffect == true)
        #expect(harness.sessions == [.lost])
        #expect(harness.core.sessionID == nil)
        let next = harness.put("b")
        let request = try #require(harness.take(.mutate).first)
        #expect(request.command?.session != copy.command?.session)
        harness.answer(request, revision: 11)
        #expect(harness.isAnswered(next))
        #expect(harness.sessions == [.lost, .connected])
    }

    @Test("an answer that comes after the session is lost is told where nothing goes with the session")
    func answerOutlivesSession() throws {
        var (harness, call, copy) = try reconnected(after: .seconds(11))
        harness.answer(copy, revision: 10)
        #expect(harness.isAnswered(call))
        #expect(harness.sessions == [.lost])
        #expect(harness.core.sessionID == nil)
    }

    @Test("a session whose first answer comes late is suspended until a keep-alive is answered")
    func firstAnswerLate() throws {
        var (harness, call, copy) = try reconnected(after: .seconds(8))
        harness.answer(copy, revision: 10)
        #expect(harness.isAnswered(call))
        #expect(harness.sessions == [.suspended])
        let request = try #require(harness.take(.keepAlive).first)
        harness.answer(request, with: .keepAlive(KeepAliveReply(revision: LogIndex(10), notOpen: [], leader: nil)))
        #expect(harness.sessions == [.suspended, .connected])
    }

    @Test("copies of a first mutation that were refused without effect do not age its session")
    func refusedCopiesDoNotCount() throws {
        var harness = Harness(endpoints: ["n1:1"])
        let call = harness.put("a", within: .seconds(60))
        harness.accept("n1:1", leader: "n1:1")
        for _ in 0..<24 {
            let copy = try #require(harness.take(.mutate).first)
            harness.answer(copy, revision: 0, error: ReplyError(.overloaded, retryAfter: .milliseconds(500)))
            harness.wait(.milliseconds(500))
        }
        harness.answer(try #require(harness.take(.mutate).first), revision: 10)
        #expect(harness.isAnswered(call))
        #expect(harness.sessions == [.connected])
    }

    @Test("answers about owned rows, read after the process has stood still for the session's timeout, come too late")
    func stoppedProcess() throws {
        var harness = connected()
        let plain = harness.put("a", within: .seconds(60))
        let owned = harness.put("b", isOwned: true, within: .seconds(60))
        let unanswered = harness.put("c", within: .seconds(60))
        let requests = harness.take(.mutate)
        try #require(requests.count == 3)
        harness.now = harness.now + .seconds(11)
        harness.answer(requests[0], revision: 11)
        harness.answer(requests[1], revision: 12)
        #expect(harness.isAnswered(plain))
        #expect(harness.failure(owned)?.error.code == .unknown)
        #expect(harness.failure(unanswered)?.error.code == .unknown)
        #expect(harness.sessions == [.connected, .lost])
    }

    @Test("sessionExpired: what was sent is of unknown outcome, the next mutation opens another session")
    func sessionExpired() throws {
        var harness = connected()
        let first = harness.put("a")
        let second = harness.put("b")
        let sent = harness.take(.mutate)
        harness.answer(sent[0], revision: 30, error: ReplyError(.sessionExpired))
        // The only copy of the first was refused; nobody knows about the second.
        #expect(harness.failure(first)?.error.code == .sessionExpired)
        #expect(harness.failure(first)?.mayHaveTakenEffect == false)
        #expect(harness.failure(second)?.error.code == .unknown)
        #expect(harness.sessions == [.connected, .lost])
        harness.put("c")
        let next = try #require(harness.take(.mutate).first)
        #expect(next.command?.sequence == 1)
        #expect(next.command?.session != sent[0].command?.session)
        #expect(next.command?.opening != nil)
    }

    @Test("an opening that is too old is tried again with the time of now")
    func oldOpening() throws {
        var harness = Harness(endpoints: ["n1:1"])
        let call = harness.put("a")
        harness.accept("n1:1", leader: "n1:1")
        let first = try #require(harness.take(.mutate).first)
        harness.answer(first, revision: 9, error: ReplyError(.sessionExpired))
        let ping = harness.take(.ping)
        #expect(ping.count == 1)
        let time = Harness.startTime + .seconds(3_600)
        harness.answer(ping[0], with: .pong(PingReply(revision: LogIndex(9), clusterTime: time, leader: nil)))
        let second = try #require(harness.take(.mutate).first)
        #expect(second.command?.session != first.command?.session)
        #expect(second.command?.opening?.openedAt == time)
        harness.answer(second, revision: 10)
        #expect(harness.isAnswered(call))
    }

    @Test("a node without a cluster tells no time: its clock may show anything")
    func timeOfAStranger() throws {
        var harness = Harness(endpoints: ["n1:1", "n2:1"])
        harness.put("a", within: .seconds(30))
        let first = try #require(harness.dialed.first).address
        harness.accept(first, identity: nil, time: Harness.startTime + .seconds(86_400))
        harness.wait(.milliseconds(500))
        let others = harness.dialed.map(\.address).filter { $0 != first }
        let second = try #require(others.first)
        harness.accept(second, leader: second)
        let sent = try #require(harness.take(.mutate).first)
        #expect(sent.command?.opening?.openedAt == Harness.startTime)
    }

    @Test("closing waits for the calls that are open, then closes the connections")
    func closing() throws {
        var harness = connected()
        let call = harness.put("a")
        harness.step(.closing)
        let late = harness.get("b")
        #expect(harness.failure(late)?.error.code == .shuttingDown)
        #expect(harness.open.count == 1)
        harness.answer(try #require(harness.take(.mutate).first), revision: 11)
        #expect(harness.isAnswered(call))
        harness.wait(.seconds(1))
        #expect(harness.open.isEmpty)
        #expect(harness.core.nextDeadline == .never)
    }

    @Test("a reply that is none ends the connection, and the call goes elsewhere")
    func badReply() throws {
        var harness = Harness(endpoints: ["n1:1", "n2:1"])
        let call = harness.get("a")
        let node = try #require(harness.dialed.first).address
        harness.accept(node, leader: node)
        let request = try #require(harness.take(.query).first)
        harness.receive(from: node) { writer in
            let start = ClientReply.begin(.query, requestID: request.header.requestID, into: &writer)
            writer.write(UInt8(1))
            writer.endFrame(start)
        }
        #expect(harness.open.isEmpty)
        #expect(harness.dialed.first?.address != node)
        #expect(harness.outcomes[call] == nil)
    }

    @Test("an error code of a later release ends the call, and the connection goes on")
    func laterErrorCode() throws {
        var harness = connected()
        let call = harness.put("a")
        let request = try #require(harness.take(.mutate).first)
        harness.receive(from: "n1:1") { writer in
            let start = ClientReply.begin(.mutate, requestID: request.header.requestID, into: &writer)
            writer.write(UInt16(999))
            writer.write(UInt64(12))
            writer.write(UInt64(0))
            writer.endFrame(start)
        }
        #expect(harness.failure(call)?.error.message == "error 999 of a later release")
        #expect(harness.open.count == 1)
    }

    @Test("under full load the session is kept alive all the same, and the node's limit is kept")
    func keepAliveDoesNotStarve() throws {
        var harness = connected()
        for number in 0..<1_500 { harness.put("k\(number)", within: .seconds(60)) }
        let sent = harness.take(.mutate)
        #expect(sent.count == ConnectionLimits().requestsMax - 3)
        for position in 0..<3 {
            harness.wait(.milliseconds(1_200))
            harness.answer(sent[position], revision: 11 + UInt64(position))
        }
        #expect(harness.take(.keepAlive).count == 1)
    }

    @Test(
        "a mutation that no frame of the node can hold is refused here, and the others go on", arguments: [true, false])
    func tooLargeForTheNode(once: Bool) throws {
        var harness = connected()
        let value = [UInt8](repeating: 0, count: Limits.frameSizeMaxDefault)
        let content = CommandContent(.put(key: [1], value: value))
        let large = harness.submit(once ? .mutateOnce(content) : .mutate(content))
        #expect(harness.failure(large)?.error.code == .tooLarge)
        #expect(harness.failure(large)?.error.limit == UInt64(Limits.valueSizeMaxDefault))
        #expect(harness.failure(large)?.mayHaveTakenEffect == false)
        harness.put("small")
        #expect(harness.take(.mutate).map { $0.command?.sequence } == [2])
    }
}
