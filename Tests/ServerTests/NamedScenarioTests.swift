import Basics
import Client
import Disk
import Foundation
import Glibc
import LogStore
import RaftCore
import Testing

extension ServerTests {
    /// Stories that every cluster of this kind has to survive, with real processes; docs/TESTING.md lists them all.
    @Suite struct NamedScenarioTests {
        /// Two members whose parts the test plays ask one node for its vote in one term, and it is killed around the
        /// moment in which it gives it.
        @Test("a node that is killed around its vote votes the same when it is back", .timeLimit(.minutes(3)))
        func voteSurvivesRestart() async throws {
            try await withCluster { cluster in
                try await cluster.kill(cluster.names)
                let (first, second) = (try RawPeer(cluster["n2"]), try RawPeer(cluster["n3"]))
                defer {
                    first.stop()
                    second.stop()
                }
                try cluster.start("n1")
                var term = try await eventually("n1 answers") { try await cluster.status("n1").term }
                let voter = try #require(
                    try NodeIdentity.load(from: cluster["n1"].directory, on: PosixFileSystem())?.incarnation)
                let address = cluster["n1"].peer

                var connections: [RawSocket] = []
                defer { connections = [] }
                func answer(to peer: RawPeer, in term: UInt64) async throws -> Bool {
                    let request = Message.requestVote(
                        VoteRequest(
                            term: Term(term), lastEntry: EntryID(term: Term(term - 1), index: LogIndex(1 << 20))))
                    return try await eventually("n1 answers in term \(term)") {
                        connections += [try peer.say(request, to: address, of: voter)]
                        for _ in 0..<20 {
                            for case .requestVoteResponse(let response) in peer.takeHeard()
                            where response.term == Term(term) {
                                return response.isGranted
                            }
                            try await Task.sleep(for: .milliseconds(10))
                        }
                        return nil
                    }
                }

                var votesHeardBefore = 0
                for round in 0..<6 {
                    term += 10
                    var heard: Bool?
                    if round % 2 == 0 {
                        heard = try await answer(to: first, in: term)
                        #expect(heard == true)
                        votesHeardBefore += 1
                    } else {
                        let request = Message.requestVote(
                            VoteRequest(
                                term: Term(term), lastEntry: EntryID(term: Term(term - 1), index: LogIndex(1 << 20))))
                        connections += [try first.say(request, to: address, of: voter)]
                        try await Task.sleep(for: .microseconds(round * 700))
                    }
                    try await cluster.kill("n1")
                    if heard == nil {
                        // The answer may have been under way.
                        for case .requestVoteResponse(let response) in first.takeHeard()
                        where response.term == Term(term) {
                            heard = response.isGranted
                        }
                    }
                    try cluster.start("n1")
                    _ = try await eventually("n1 answers") { try await cluster.status("n1").term }
                    let other = try await answer(to: second, in: term)
                    let again = try await answer(to: first, in: term)
                    #expect(other != again, "round \(round): n1 votes \(other) and \(again) in term \(term)")
                    if heard == true { #expect(again, "round \(round): n1 has forgotten its vote in term \(term)") }
                }
                #expect(votesHeardBefore == 3)
            }
        }

        @Test("a removed node that was away and runs on disturbs nobody", .timeLimit(.minutes(2)))
        func removedNodeIsHarmless() async throws {
            try await withCluster { cluster in
                let workload = Workload(cluster, writers: 2)
                try await workload.waitForProgress(20)
                let before = try await cluster.leader()
                let removed = cluster.names.filter { $0 != before.name }[0]
                // It hears nothing of its removal, and campaigns as soon as it wakes.
                try await cluster.process(removed).pause()
                let admin = cluster.client(of: cluster.names.filter { $0 != removed })
                try await admin.removeMember(removed)
                try await workload.waitForProgress(20)
                try await Task.sleep(for: .seconds(3))
                try cluster.process(removed).send(SIGCONT)
                let until = ContinuousClock.now + .seconds(5)
                while ContinuousClock.now < until {
                    try await workload.waitForProgress(10)
                    let now = try await cluster.leader(among: cluster.names.filter { $0 != removed })
                    #expect(now.name == before.name && now.term == before.term)
                }
                try await eventually("\(removed) knows that it was removed") {
                    try await cluster.status(removed).state == "removed"
                }
                #expect(try await cluster.stop(removed) == [.exited(0)])
                await cluster.forget(removed)
                try await Workload.check(await workload.stop(), on: cluster)
                await admin.shutdown()
            }
        }

        @Test("a lock passes on under a higher fence, and a write under the old one is refused", .timeLimit(.minutes(2)))
        func lockHandOver() async throws {
            try await withCluster { cluster in
                let holder = cluster.client(sessionTimeout: .seconds(10))
                let next = cluster.client()
                let old = try #require(try await holder.acquireLock("l").fence)
                try await next.put("guarded", "old", guards: [.lock("l", old)])
                let ticket = try await next.acquireLock("l")
                #expect(ticket.fence == nil)
                // A crash of all nodes in between changes nothing about whose lock it is.
                try await cluster.kill(cluster.names)
                for name in cluster.names { try cluster.start(name) }
                try await next.put("guarded", "still", guards: [.lock("l", old)])
                await holder.shutdown()
                let new = try await next.waitToHold("l", ticket, deadline: .seconds(20)).number
                #expect(new > old)
                let refusal = await #expect(throws: ClientError.self) {
                    try await next.put("guarded", "late", guards: [.lock("l", old)])
                }
                #expect("\(refusal.map { "\($0)" } ?? "")".contains("fence"))
                try await next.put("guarded", "new", guards: [.lock("l", new)])
                #expect(try await next.get("guarded")?.value == Array("new".utf8))
                await next.shutdown()
            }
        }

        @Test(
            "revisions rise over crashes in the middle of flushes and trims, for writers and readers alike",
            .timeLimit(.minutes(3)))
        func revisionNeverFalls() async throws {
            try await withCluster(flags: ["--segment-size", "1MiB", "--log-max", "4MiB"]) { cluster in
                let client = cluster.client(timeout: .seconds(60))
                let value = [UInt8](repeating: 0x61, count: 100_000)
                var highest: UInt64 = 0
                var trimmed = false
                for round in 1...6 {
                    // Enough that the log rolls, is trimmed, and the state is flushed for it, all the time.
                    let writing = Task {
                        var highest: UInt64 = 0
                        for number in 0..<60 {
                            let revision = try await client.put(Array("large/\(number % 20)".utf8), value)
                            guard revision > highest else { throw TestFailure("\(revision) came after \(highest)") }
                            highest = revision
                        }
                        return highest
                    }
                    try await Task.sleep(for: .milliseconds(150 * round))
                    try await cluster.kill(cluster.names)
                    for name in cluster.names.shuffled() { try cluster.start(name) }
                    let written = try await writing.value
                    #expect(written > highest)
                    highest = written
                    try await cluster.waitUntilWhole()
                    for name in cluster.names {
                        let report = try await cluster.status(name)
                        #expect(report.appliedIndex >= highest, "\(name) is at \(report.appliedIndex)")
                        trimmed = trimmed || report.firstIndex > 1
                    }
                    #expect(try await client.get("large/19")?.revision ?? 0 <= highest)
                }
                #expect(trimmed, "no log was ever trimmed: the story shows nothing")
                try await Workload.checkThatReplicasAreEqual(cluster)
                await client.shutdown()
            }
        }

        @Test("a watch that begins after the last revision seen is told all that was missed, once", .timeLimit(.minutes(2)))
        func watchResumes() async throws {
            try await withCluster { cluster in
                let writer = cluster.client()
                var seen: [UInt64] = []
                var next: UInt64 = 1
                var written: [UInt64] = []
                for round in 1...4 {
                    // Written while nobody watches, and partly while a node is away.
                    for number in 0..<5 { written.append(try await writer.put("k/\(number)", "\(round)")) }
                    let leader = try await cluster.leader().name
                    try await cluster.kill(leader)
                    for number in 0..<5 { written.append(try await writer.put("k/\(number)", "\(round) again")) }
                    let watcher = cluster.client(of: cluster.names.filter { $0 != leader })
                    let last = try #require(written.last)
                    for try await told in watcher.watch(prefix: Array("k/".utf8), from: next) {
                        if !told.changes.isEmpty { seen.append(told.revision) }
                        next = told.revision + 1
                        if told.revision >= last { break }
                    }
                    await watcher.shutdown()
                    try cluster.start(leader)
                    try await cluster.waitUntilWhole()
                }
                #expect(seen == written)
                await writer.shutdown()
            }
        }
    }
}
