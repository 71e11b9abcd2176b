import Client
import Foundation
import Glibc
import Testing

extension ServerTests {
    /// Leaders that stop, pause and are cut off, as their clients see it.
    @Suite struct FailoverTests {
        @Test("SIGTERM at the leader: office handed over, exit 0, and no writer sees an error", .timeLimit(.minutes(2)))
        func gracefulStop() async throws {
            try await withCluster { cluster in
                let workload = Workload(cluster)
                var stops: [Duration] = []
                for _ in 1...5 {
                    try await workload.waitForProgress(50)
                    let leader = try await cluster.leader()
                    let stoppedAt = ContinuousClock.now
                    #expect(try await cluster.stop(leader.name) == [.exited(0)])
                    stops.append(.now - stoppedAt)
                    // It has gone only after another had taken over.
                    let others = cluster.names.filter { $0 != leader.name }
                    let successor = await cluster.statuses(others).first { $0.role == "leader" }
                    #expect((successor?.term ?? 0) > leader.term, "nobody leads when \(leader.name) has ended")
                    try cluster.start(leader.name)
                    try await cluster.waitUntilWhole()
                }
                let reports = await workload.stop()
                try await Workload.check(reports, on: cluster)
                let slowest = reports.map(\.slowest).max() ?? .zero
                print("5 graceful stops: exit after \(stops.median.milliseconds) (median); slowest write \(slowest.milliseconds)")
                #expect(slowest < .seconds(2))
            }
        }

        @Test("all nodes told to stop at once end with 0 and come back with everything", .timeLimit(.minutes(2)))
        func stopAll() async throws {
            try await withCluster { cluster in
                let workload = Workload(cluster, writers: 2)
                try await workload.waitForProgress(100)
                #expect(try await cluster.stop(cluster.names) == [.exited(0), .exited(0), .exited(0)])
                for name in cluster.names { try cluster.start(name) }
                try await workload.waitForProgress(10)
                try await Workload.check(await workload.stop(), on: cluster)
            }
        }

        @Test(
            "a leader that hears nobody leads no longer, and answers no read",
            .timeLimit(.minutes(2)))
        func deafLeaderStepsDown() async throws {
            try await withCluster { cluster in
                let client = cluster.client()
                try await client.put("a", "1")
                let leader = try await cluster.leader().name
                let followers = cluster.names.filter { $0 != leader }
                for name in followers { try await cluster.process(name).pause() }
                let pausedAt = ContinuousClock.now
                try await eventually("\(leader) steps down", within: .seconds(10)) {
                    try await cluster.status(leader).role != "leader"
                }
                print("a leader that hears nobody steps down after \((ContinuousClock.now - pausedAt).milliseconds)")
                #expect(throws: (any Error).self) {
                    try RawClient(cluster[leader].client, timeout: .seconds(2)).get("a")
                }
                // A read that need not be fresh is still answered.
                #expect(try RawClient(cluster[leader].client).get("a", isStale: true)?.value == "1")
                for name in followers { try cluster.process(name).send(SIGCONT) }
                try await client.put("a", "2")
                try await cluster.waitUntilWhole()
                #expect(try await client.get("a")?.value == Array("2".utf8))
                await client.shutdown()
            }
        }

        @Test("a leader that was paused answers no read from before its pause when it wakes", .timeLimit(.minutes(2)))
        func pausedLeaderAnswersNothingOld() async throws {
            try await withCluster { cluster in
                let client = cluster.client()
                for round in 1...5 {
                    try await client.put("a", "old \(round)")
                    let leader = try await cluster.leader()
                    let raw = try RawClient(cluster[leader.name].client)
                    #expect(try raw.get("a")?.value == "old \(round)")
                    try await cluster.process(leader.name).pause()
                    let others = cluster.names.filter { $0 != leader.name }
                    let successor = try await cluster.leader(among: others)
                    #expect(successor.term > leader.term)
                    let direct = cluster.client(of: others)
                    let revision = try await direct.put("a", "new \(round)")
                    // The read begins after the write has ended. It waits in the paused node's socket until that wakes,
                    // together with whatever peers have sent to it.
                    let request = try raw.send(RawClient.Kind.query, RawClient.getBody("a", isStale: false))
                    try cluster.process(leader.name).send(SIGCONT)
                    let answer = try raw.receive(request)
                    if answer.code == 0 {
                        let row = try RawClient.row(answer)
                        #expect(row?.value == "new \(round)")
                        #expect(row?.revision == revision)
                    }
                    try await cluster.waitUntilWhole()
                    await direct.shutdown()
                }
                await client.shutdown()
            }
        }

        @Test("a follower that is paused and wakes again does not unseat the leader", .timeLimit(.minutes(1)))
        func pausedFollowerDisturbsNobody() async throws {
            try await withCluster { cluster in
                let workload = Workload(cluster, writers: 2)
                let before = try await cluster.leader()
                let follower = cluster.names.filter { $0 != before.name }[0]
                for _ in 1...2 {
                    try await cluster.process(follower).pause()
                    let pausedAt = ContinuousClock.now
                    // Longer than the greatest election timeout.
                    try await eventually("the writers go on") {
                        try await workload.waitForProgress(20)
                        return ContinuousClock.now - pausedAt > .seconds(3)
                    }
                    try cluster.process(follower).send(SIGCONT)
                    try await cluster.waitUntilWhole()
                }
                let after = try await cluster.leader()
                #expect(after.name == before.name)
                #expect(after.term == before.term)
                try await Workload.check(await workload.stop(), on: cluster)
            }
        }

        @Test("a session stays open through elections", .timeLimit(.minutes(1)))
        func newLeaderGrantsFullTimeout() async throws {
            try await withCluster { cluster in
                let client = cluster.client(sessionTimeout: .seconds(5))
                let states = client.sessionStates
                let watch = Task {
                    var seen: [SessionState] = []
                    for await state in states { seen.append(state) }
                    return seen
                }
                try await client.put("a", "0")
                for round in 1...3 {
                    let leader = try await cluster.leader().name
                    try await cluster.kill(leader)
                    try await client.put("a", "\(round)")
                    try cluster.start(leader)
                    try await cluster.waitUntilWhole()
                }
                await client.shutdown()
                watch.cancel()
                let seen = await watch.value
                #expect(!seen.dropLast().contains(.lost) && !seen.contains(.suspended), "\(seen)")
            }
        }
    }
}
