import Client
import Testing

extension ServerTests {
    @Suite struct CrashTests {
        @Test(
            "20 leader kills under load: no acknowledged write is lost, none is applied twice",
            .timeLimit(.minutes(4)))
        func leaderKillsUnderLoad() async throws {
            try await withCluster { cluster in
                let workload = Workload(cluster)
                let probe = cluster.client()
                try await probe.put("probe", "first")
                var pauses: [Duration] = []
                for round in 1...20 {
                    try await workload.waitForProgress(20)
                    let leader = try await cluster.leader().name
                    let killedAt = ContinuousClock.now
                    try await cluster.kill(leader)
                    try await probe.put("probe", "\(round)")
                    pauses.append(.now - killedAt)
                    try cluster.start(leader)
                    try await cluster.waitUntilWhole()
                }
                let reports = await workload.stop()
                await probe.shutdown()
                try await Workload.check(reports, on: cluster)
                let count = reports.reduce(0) { $0 + $1.acknowledged }
                print(
                    "20 leader kills: \(count) writes acknowledged; from SIGKILL to the next acknowledged write: median",
                    "\(pauses.median.milliseconds), worst \(pauses.max()?.milliseconds ?? "-")")
                #expect(pauses.max() ?? .zero < .seconds(4))
                #expect(pauses.median < .seconds(2))
            }
        }

        @Test(
            "all nodes killed at once, ten times, restarted in random order: nothing is lost or applied twice",
            .timeLimit(.minutes(4)))
        func appliedOnce() async throws {
            try await withCluster { cluster in
                let workload = Workload(cluster)
                var pauses: [Duration] = []
                for _ in 1...10 {
                    try await workload.waitForProgress(100)
                    try await cluster.kill(cluster.names)
                    for name in cluster.names.shuffled() { try cluster.start(name) }
                    let startedAt = ContinuousClock.now
                    _ = try await cluster.leader()
                    pauses.append(.now - startedAt)
                    try await workload.waitForProgress(1)
                }
                let reports = await workload.stop()
                try await Workload.check(reports, on: cluster)
                let count = reports.reduce(0) { $0 + $1.acknowledged }
                print(
                    "all nodes killed ten times: \(count) writes acknowledged; from the start to a leader: median",
                    "\(pauses.median.milliseconds), worst \(pauses.max()?.milliseconds ?? "-")")
                #expect(pauses.max() ?? .zero < .seconds(10))
            }
        }

        @Test(
            "a cluster of one answers after its sync, and a kill costs nothing",
            .timeLimit(.minutes(2)))
        func singleNodeWaits() async throws {
            try await withCluster(nodes: 1) { cluster in
                let workload = Workload(cluster, writers: 2)
                for _ in 1...5 {
                    try await workload.waitForProgress(40)
                    try await cluster.kill("n1")
                    try cluster.start("n1")
                    try await workload.waitForProgress(1)
                }
                try await Workload.check(await workload.stop(), on: cluster)
            }
        }

        @Test(
            "the same log gives the same rows on three nodes: from the log as it came, after a restart, from snapshot and log",
            .timeLimit(.minutes(2)))
        func replayIsDeterministic() async throws {
            try await withCluster(flags: ["--segment-size", "1MiB", "--log-max", "4MiB"]) { cluster in
                let client = cluster.client()
                try await client.put("load/before", "1")
                let away = try await cluster.followers()[0]
                try await cluster.kill(away)
                let lastSeen = try await cluster.leader().commitIndex
                var number = 0
                let value = [UInt8](repeating: 0x61, count: 200_000)
                try await eventually("the log that the absent node needs is gone", within: .seconds(60)) {
                    for _ in 0..<5 {
                        try await client.put(Array("load/large/\(number)".utf8), value)
                        number += 1
                    }
                    return try await cluster.leader().firstIndex > lastSeen + 10
                }
                try cluster.start(away)
                try await Workload.checkThatReplicasAreEqual(cluster)
                let other = try await cluster.followers().first { $0 != away }
                if let other {
                    try await cluster.kill(other)
                    try await client.put("load/meanwhile", "1")
                    try cluster.start(other)
                }
                try await client.put("load/after", "1")
                try await Workload.checkThatReplicasAreEqual(cluster)
                await client.shutdown()
                print("the follower that was away missed \(number) values of \(value.count) bytes")
            }
        }
    }
}
