import Basics
import Client
import Foundation
import Testing

extension ServerTests {
    /// Bits that change on the way between processes, without TLS, whose records would tell: connections end, requests
    /// are sent again, and nobody is given or keeps anything that was not said.
    @Suite struct FlippedWireTests {
        @Test(
            "between clients and nodes: every write that was acknowledged is there, once, with its value",
            .timeLimit(.minutes(3)))
        func betweenClientsAndNodes() async throws {
            try await withCluster(prepare: { cluster in
                for (seed, name) in cluster.names.enumerated() {
                    cluster.clientProxies[name] = try FlippingProxy(to: cluster[name].client, seed: UInt64(seed))
                }
            }) { cluster in
                let workload = Workload(cluster)
                try await workload.waitForProgress(20)
                let proxies = Array(cluster.clientProxies.values)
                for proxy in proxies { proxy.flip(every: 5_000) }
                try await eventually("forty bits are flipped", within: .seconds(90)) {
                    proxies.reduce(0) { $0 + $1.flipCount } >= 40
                }
                for proxy in proxies { proxy.flip(every: nil) }
                try await workload.waitForProgress(20)
                let reports = await workload.stop()
                try await Workload.check(reports, on: cluster)
                let count = reports.reduce(0) { $0 + $1.acknowledged }
                let slowest = reports.map(\.slowest).max() ?? .zero
                let flips = proxies.reduce(0) { $0 + $1.flipCount }
                print("\(flips) bits flipped: \(count) writes acknowledged, the slowest after \(slowest.milliseconds)")
            }
        }

        @Test(
            "between nodes, and while a node takes a snapshot: no entry and no row differs anywhere",
            .timeLimit(.minutes(4)))
        func betweenNodes() async throws {
            try await withCluster(prepare: { cluster in
                for (seed, name) in cluster.names.enumerated() {
                    cluster.peerProxies[name] = try FlippingProxy(to: cluster[name].peer, seed: 100 + UInt64(seed))
                }
            }) { cluster in
                let proxies = Array(cluster.peerProxies.values)
                let workload = Workload(cluster)
                try await workload.waitForProgress(20)
                for proxy in proxies { proxy.flip(every: 20_000) }
                try await eventually("forty bits are flipped", within: .seconds(90)) {
                    proxies.reduce(0) { $0 + $1.flipCount } >= 40
                }
                for proxy in proxies { proxy.flip(every: nil) }
                try await workload.waitForProgress(20)
                try await Workload.check(await workload.stop(), on: cluster)
                try await takeSnapshot(cluster, proxies)
            }
        }

        /// The rows of a follower are damaged, so that it takes those of the leader, which are some megabytes.
        private func takeSnapshot(_ cluster: Cluster, _ proxies: [FlippingProxy]) async throws {
            let client = cluster.client()
            var random = SplitMix64(seed: 5)
            var expected: [[UInt8]: [UInt8]] = [:]
            for number in 0..<40 {
                let key = Array("big/\(number)".utf8)
                let value = (0..<25_000).flatMap { _ in withUnsafeBytes(of: random.next()) { Array($0) } }
                try await client.put(key, value)
                expected[key] = value
            }
            try await cluster.waitUntilWhole()
            let follower = try await cluster.followers()[0]
            #expect(try await cluster.stop(follower) == [.exited(0)])
            let state = "\(cluster[follower].directory)/state-1"
            let tables = try FileManager.default.contentsOfDirectory(atPath: state).filter { $0.hasSuffix(".sst") }
            #expect(!tables.isEmpty)
            for table in tables {
                let path = "\(state)/\(table)"
                let size = try FileManager.default.attributesOfItem(atPath: path)[.size] as? Int ?? 0
                // In a row, not in what is read at the start: then the log would do.
                if size > 1_000_000 { try LogFiles.flipBit(of: path, at: size / 3) }
            }
            let before = proxies.reduce(0) { $0 + $1.flipCount }
            // A chunk has up to a mebibyte: some come whole, some have to be asked for again.
            for proxy in proxies { proxy.flip(every: 1_500_000) }
            try cluster.start(follower)
            _ = try await eventually("\(follower) answers") { try await cluster.status(follower) }
            // It meets the damage when somebody asks for that row.
            let reader = try RawClient(cluster[follower].client)
            for key in expected.keys where try !cluster.log(follower).contains("state is damaged") {
                _ = try? reader.get(String(decoding: key, as: UTF8.self), isStale: true)
            }
            try await eventually("\(follower) has taken the rows of another member", within: .seconds(120)) {
                try cluster.log(follower).contains("state rebuilt")
            }
            let flips = proxies.reduce(0) { $0 + $1.flipCount } - before
            for proxy in proxies { proxy.flip(every: nil) }
            #expect(flips > 0)
            print("\(flips) bits flipped while a snapshot was taken")
            try await Workload.checkThatReplicasAreEqual(cluster)
            let there = cluster.client(of: [follower])
            var found: [[UInt8]: [UInt8]] = [:]
            for try await row in there.list(prefix: Array("big/".utf8)) { found[row.key] = row.value }
            #expect(found == expected)
            await there.shutdown()
            await client.shutdown()
        }

        @Test(
            "a length that was damaged on an idle link between nodes blocks the link for seconds, not for good",
            .timeLimit(.minutes(2)))
        func damagedLength() async throws {
            try await withCluster(prepare: { cluster in
                for (seed, name) in cluster.names.enumerated() {
                    cluster.peerProxies[name] = try FlippingProxy(to: cluster[name].peer, seed: 200 + UInt64(seed))
                }
            }) { cluster in
                let client = cluster.client()
                try await client.put("before", "1")
                let follower = try await cluster.followers()[0]
                let proxy = try #require(cluster.peerProxies[follower])
                // Only heartbeats come, a hundred bytes each: in ten seconds not the mebibyte that the length claims.
                for _ in 0..<3 {
                    proxy.lengthenNextFrame()
                    try await eventually("a length is damaged") { proxy.hasLengthened }
                    let start = ContinuousClock.now
                    try await client.put("after", "\(start)")
                    try await cluster.waitUntilWhole(within: .seconds(20))
                    print("whole again after \((ContinuousClock.now - start).milliseconds)")
                }
                await client.shutdown()
            }
        }
    }
}
