import Client
import Foundation
import Glibc
import Testing

extension ServerTests {
    /// `quorate bench` against real nodes.
    @Suite struct BenchTests {
        private struct Figures: Decodable {
            struct Latency: Decodable {
                var p50: Int
                var p90: Int
                var p99: Int
                var p999: Int
                var max: Int
            }
            struct Window: Decodable {
                var name: String
                var operations: Int
                var latencyMicros: Latency
            }
            var operations: Int
            var seconds: Double
            var operationsPerSecond: Int
            var errors: [String: Int]
            var latencyMicros: Latency
            var serverCPUMicrosPerOperation: Double
            var residentBytes: [Int]
            var windows: [Window]?
        }

        private static let short = [
            "--connections", "3", "--in-flight", "4", "--seconds", "1", "--warm-up", "0.1", "--json",
        ]

        private func count(_ prefix: String, _ client: MetadataClient) async throws -> UInt64 {
            try await client.count(prefix: Array(prefix.utf8))
        }

        private func bench(
            _ cluster: Cluster, _ workload: String, _ further: String...
        ) async throws -> Figures {
            let endpoints = ["--endpoints", cluster.endpoints.joined(separator: ",")]
            let (ending, output, errors) = try await cluster.run(
                ["bench", workload] + Self.short + further + endpoints + (cluster.certificates?.flags("client") ?? []))
            guard ending == .exited(0) else { throw TestFailure("bench \(workload): \(ending)\n\(output)\(errors)") }
            return try JSONDecoder().decode(Figures.self, from: Data(output.utf8))
        }

        private func expectSound(_ figures: Figures, nodes: Int = 3) {
            let latency = figures.latencyMicros
            #expect(figures.operations > 0)
            #expect(figures.errors.isEmpty, "\(figures.errors)")
            #expect(0 < latency.p50 && latency.p50 <= latency.p90 && latency.p90 <= latency.p99)
            #expect(latency.p99 <= latency.p999 && latency.p999 <= latency.max)
            let rate = Double(figures.operations) / figures.seconds
            // Seconds are told with two decimals.
            #expect(abs(Double(figures.operationsPerSecond) - rate) <= 1 + 0.006 / figures.seconds * rate)
            #expect(figures.residentBytes.count == nodes && figures.residentBytes.allSatisfy { $0 > 1 << 20 })
            #expect(figures.serverCPUMicrosPerOperation > 0)
        }

        @Test("every workload does something, says what it cost, and touches no key but its own", .timeLimit(.minutes(3)))
        func workloads() async throws {
            try await withCluster { cluster in
                let client = cluster.client()
                let others = ["a", "bench", "bench0", "benc/0000000001", "c"]
                for key in others { _ = try await client.put(key, "untouched") }
                let before = try await client.put("bench/0000000003", "there")

                let read = try await bench(cluster, "read", "--keys", "200")
                expectSound(read)
                #expect(read.windows?.map(\.name) == ["filling"])
                #expect(read.windows?.first?.operations == 199, "the key that was there stays")
                #expect(try await client.get("bench/0000000003")?.revision == before)
                #expect(try await count("bench/", client) == 200)

                let stale = try await bench(cluster, "read", "--keys", "200", "--read-level", "stale", "--target", "all")
                expectSound(stale)
                #expect(stale.windows == nil, "all keys are there")

                expectSound(try await bench(cluster, "write", "--keys", "200"))
                expectSound(try await bench(cluster, "mixed", "--keys", "200", "--read-share", "50"))
                expectSound(try await bench(cluster, "txn", "--keys", "200"))
                #expect(try await count("bench/", client) == 200)
                let revision = try #require(try await client.get("bench/0000000003")?.revision)
                #expect(revision > before, "writes, and transactions whose condition holds, have taken effect")

                let watch = try await bench(cluster, "watch", "--keys", "10", "--watchers", "5")
                expectSound(watch)
                #expect(watch.operations % 5 == 0, "each watch gets each change")
                #expect(try await count("bench/watch/", client) <= 10)

                let session = try await bench(
                    cluster, "session", "--sessions", "30", "--ttl", "1s", "--per-keep-alive", "4")
                expectSound(session)
                #expect(session.windows?.map(\.name) == ["opening"])
                #expect(session.windows?.first?.operations == 30)
                try await eventually("the sessions' records end with them") {
                    try await count("bench/session/", client) == 0
                }

                let whole = try await bench(cluster, "import", "--keys", "500", "--prefix", "mine/", "--seconds", "30")
                expectSound(whole)
                #expect(whole.operations == 500)
                #expect(try await count("mine/", client) == 500)

                for key in others { #expect(try await client.get(key)?.value == Array("untouched".utf8)) }
                let ours = try await count("bench/", client) + count("mine/", client)
                #expect(try await count("", client) == ours + UInt64(others.count))
                await client.shutdown()
            }
        }

        @Test("requests at a rate are as many as are due, also over TLS", .timeLimit(.minutes(1)))
        func rate() async throws {
            let certificates = try await Certificates()
            try await withCluster(certificates: certificates) { cluster in
                // Room for all of them, should the machine have no time for the nodes.
                let write = try await bench(cluster, "write", "--rate", "100", "--in-flight", "100")
                expectSound(write)
                #expect(abs(Double(write.operations) - 100 * write.seconds) <= 2)
                let watch = try await bench(cluster, "watch", "--rate", "50", "--watchers", "2", "--in-flight", "100")
                expectSound(watch)
                #expect(abs(Double(watch.operations) - 2 * 50 * watch.seconds) <= 4)
            }
        }

        /// All connections are to the leader. Until they are to another node, nothing can be sent; what was due meanwhile
        /// counts from when it was due, or nobody would see that anything had happened.
        @Test("the leader dies: the run goes on, and the time without one is in the latencies", .timeLimit(.minutes(1)))
        func leaderDies() async throws {
            try await withCluster { cluster in
                let leader = try await cluster.leader().name
                let endpoints = cluster.endpoints.joined(separator: ",")
                let process = try ChildProcess(
                    try Binary.path(),
                    [
                        "bench", "write", "--rate", "200", "--seconds", "6", "--warm-up", "0", "--json",
                        "--endpoints", endpoints,
                    ], outputPath: "\(cluster.directory)/bench.out", errorPath: "\(cluster.directory)/bench.err")
                let client = cluster.client()
                try await eventually("it writes") { try await count("bench/", client) > 50 }
                let isStillLeader = try await cluster.leader().name == leader
                try await cluster.kill(leader)
                #expect(try await process.waitUntilEnded() == .exited(0))
                await client.shutdown()
                let output = try JSONSerialization.jsonObject(with: Data(process.output.utf8)) as? [String: Any]
                let operations = output?["operations"] as? Int ?? 0
                let errors = (output?["errors"] as? [String: Int] ?? [:]).filter { $0.key != "connectFailed" }
                #expect(operations + errors.values.reduce(0, +) >= 1_200, "each that was due has an end: \(errors)")
                #expect(operations > 600)
                // On a busy machine another one may lead by then; it is missed for as long as an election takes.
                let longest = (output?["latencyMicros"] as? [String: Int])?["max"] ?? 0
                #expect(longest > (isStillLeader ? 90_000 : 5_000))
                #expect(output?["serverCPUMicrosPerOperation"] is NSNull, "one of the processes has ended")
            }
        }

        private struct RegistryFigures: Decodable {
            struct Load: Decodable {
                var name: String
                var operations: Int
                var errors: [String: Int]
                var logBytesPerOperation: Double
            }
            struct Reading: Decodable { var records: Int }
            struct TakeOver: Decodable {
                var agents: Int
                var leadsAfterSeconds: Double
                var recoveredAfterSeconds: Double
                var attachedAfterSeconds: Double
                var errors: [String: Int]
            }
            struct HeartBeats: Decodable {
                var logEntriesPerSecond: Double
                var errors: [String: Int]
            }
            var filling: [Load]
            var alone: [Load]
            var reading: Reading?
            var takeOver: TakeOver
            var heartBeats: HeartBeats
        }

        private static let smallRegistry = [
            "bench", "registry", "--agents", "40", "--frameworks", "4", "--volumes", "120", "--heart-beats", "50",
            "--seconds", "0.5", "--connections", "4", "--json",
        ]

        private func figures(of process: ChildProcess) async throws -> RegistryFigures {
            try await eventually("it prints its figures", within: .seconds(60)) {
                try process.output.hasSuffix("\n")
                    ? JSONDecoder().decode(RegistryFigures.self, from: Data(process.output.utf8)) : nil
            }
        }

        /// 1. A bench fills the registry, measures, and stays. 2. Another one is refused the lead, and a third stands by.
        /// 3. The first is killed together with the leading node: the third leads and has all agents back.
        @Test(
            "a registry is filled, read and changed; after the loss of master and leader the next master has it",
            .timeLimit(.minutes(3)))
        func registry() async throws {
            try await withCluster { cluster in
                let arguments = Self.smallRegistry + ["--endpoints", cluster.endpoints.joined(separator: ",")]
                let first = try ChildProcess(
                    try Binary.path(), arguments + ["--stay"], outputPath: "\(cluster.directory)/first.out",
                    errorPath: "\(cluster.directory)/first.err")
                let whole = try await figures(of: first)
                #expect(whole.filling.map(\.name) == ["recovery", "frameworks", "agents", "volumes", "reports"])
                #expect(whole.filling.map(\.operations).suffix(4) == [4, 40, 1, 80])
                #expect(whole.alone.map(\.name) == ["write", "agent update", "reservation"])
                for load in whole.filling + whole.alone { #expect(load.errors.isEmpty, "\(load)") }
                for load in whole.alone {
                    #expect(load.operations > 0)
                    #expect(load.logBytesPerOperation > 100 && load.logBytesPerOperation < 1_024, "\(load)")
                }
                // An agent has two rows, and its ledger an entry for each volume at least.
                #expect((whole.reading?.records ?? 0) > 2 * 40 + 120)
                #expect(whole.takeOver.agents == 40 && whole.takeOver.errors.isEmpty)
                #expect(whole.heartBeats.errors.isEmpty && whole.heartBeats.logEntriesPerSecond < 50)

                let second = try await cluster.run(arguments)
                #expect(second.ending == .exited(2))
                #expect(second.output.contains("another master leads"))

                let next = try ChildProcess(
                    try Binary.path(), arguments + ["--stand-by"], outputPath: "\(cluster.directory)/next.out",
                    errorPath: "\(cluster.directory)/next.err")
                try await eventually("it stands by") {
                    try String(contentsOfFile: "\(cluster.directory)/next.err", encoding: .utf8).contains("stands by")
                }
                first.send(SIGKILL)
                try await cluster.kill(try await cluster.leader().name)
                let after = try await figures(of: next)
                #expect(after.filling.isEmpty && after.reading == nil)
                #expect(after.takeOver.agents == 40 && after.takeOver.errors.isEmpty)
                #expect(after.takeOver.leadsAfterSeconds <= after.takeOver.recoveredAfterSeconds)
                #expect(after.takeOver.recoveredAfterSeconds <= after.takeOver.attachedAfterSeconds)
                #expect(try await next.waitUntilEnded() == .exited(0))
            }
        }

        @Test("a cluster that is not there, and what a cluster does not take", .timeLimit(.minutes(1)))
        func refusals() async throws {
            try await withCluster(nodes: 1, flags: ["--value-size-max", "64KiB"]) { cluster in
                let tooLarge = try await cluster.run(
                    ["bench", "write", "--value-size", "65537", "--endpoints", cluster.endpoints[0]])
                #expect(tooLarge.ending == .exited(2))
                #expect(tooLarge.errors.contains("--value-size 65537: the cluster takes at most 65536"))
                let ports = try Ports.free(2)
                let nobody = ports.map { "127.0.0.1:\($0)" }
                let absent = try await cluster.run(
                    ["bench", "read", "--timeout", "300ms", "--endpoints", nobody.joined(separator: ",")])
                #expect(absent.ending == .exited(1))
                for address in nobody { #expect(absent.errors.contains("\(address) refused the connection")) }
                let notANode = try await cluster.run(
                    ["bench", "write", "--timeout", "300ms", "--json", "--endpoints", cluster[cluster.names[0]].peer])
                #expect(notANode.ending == .exited(1))
                #expect(notANode.output.hasPrefix(#"{"error":"unavailable","message":"#))
            }
        }
    }
}
