import Client
import Foundation
import Glibc
import Testing

extension ServerTests {
    /// What probes and Prometheus see of real nodes.
    @Suite struct ObservationTests {
        private static let flags = ["--http", "127.0.0.1:0"]
        private static let ops = URL(filePath: #filePath)
            .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent().appending(path: "ops")

        /// The port that the operating system gave is in the node's log.
        private static func address(_ name: String, of cluster: Cluster) async throws -> String {
            try await eventually("\(name) serves metrics") {
                let lines = try cluster.log(name).split(separator: "\n")
                let line = lines.last { $0.contains("serving probes and metrics") }
                return line?.firstMatch(of: /http=(127\.0\.0\.1:\d+)/).map { String($0.1) }
            }
        }

        private static func get(_ path: String, _ name: String, of cluster: Cluster) async throws -> Page {
            try await Page.get(path, from: try await address(name, of: cluster))
        }

        private static func scrape(_ name: String, of cluster: Cluster) async throws -> Scrape {
            let page = try await get("/metrics", name, of: cluster)
            guard page.status == 200 else { throw TestFailure("/metrics answered \(page.status)") }
            return try Scrape(page.body)
        }

        @Test(
            "healthy nodes are live and ready, and every metric has help, type, unit and a value that fits",
            .timeLimit(.minutes(2)))
        func healthy() async throws {
            try await withCluster(flags: Self.flags) { cluster in
                let client = cluster.client()
                for number in 1...20 { try await client.put("key-\(number)", "value") }
                for number in 1...10 { _ = try await client.get("key-\(number)") }
                let leader = try await cluster.leader().name
                var scrapes: [String: Scrape] = [:]
                for name in cluster.names {
                    let live = try await Self.get("/livez", name, of: cluster)
                    #expect(live.status == 200)
                    let ready = try await eventually("\(name) is ready") {
                        let page = try await Self.get("/readyz", name, of: cluster)
                        guard page.status == 200 else { throw TestFailure(page.body) }
                        return page
                    }
                    let lines = ready.body.split(separator: "\n")
                    #expect(lines.count >= 8)
                    #expect(lines.allSatisfy { $0.hasPrefix("ok ") })
                    let known = "ok leader known: \(name == leader ? "this node" : leader)"
                    #expect(lines.contains { $0.hasPrefix(known) })
                    scrapes[name] = try await Self.scrape(name, of: cluster)
                }
                let led = try #require(scrapes[leader])
                #expect(try led.value("quorate_node_role", ["role": "leader"]) == 1)
                #expect(try led.value("quorate_node_role", ["role": "follower"]) == 0)
                #expect(try led.value("quorate_writes_total") >= 20)
                #expect(try led.value("quorate_write_seconds_count") >= 20)
                #expect(try led.value("quorate_commit_seconds_count") >= 20)
                let reads = try scrapes.values.reduce(0) { try $0 + $1.value("quorate_reads_total") }
                #expect(reads >= 10)
                for (name, scrape) in scrapes {
                    Self.checkUnits(of: scrape)
                    #expect(try scrape.value("quorate_node_info", ["node": name]) == 1)
                    #expect(try scrape.value("quorate_leader_known") == 1)
                    #expect(try scrape.value("quorate_commit_index") >= 20)
                    #expect(try scrape.value("quorate_log_sync_seconds_count") >= 1)
                    #expect(try scrape.value("quorate_log_bytes") >= 2_097_152)
                    #expect(try scrape.value("quorate_disk_free_bytes") > 0)
                    #expect(try scrape.value("quorate_members", ["kind": "voter"]) == 3)
                    for peer in cluster.names where peer != name {
                        #expect(try scrape.value("quorate_peer_connected", ["peer": peer]) == 1)
                    }
                }
                try Self.checkOperatorFiles(against: Array(scrapes.values))
                await client.shutdown()
            }
        }

        /// The unit is the end of the name; states and answers to yes-or-no questions have none.
        private static func checkUnits(of scrape: Scrape) {
            let units = [
                "_seconds", "_bytes", "_index", "_entries", "_requests", "_writes", "_connections", "_sessions",
                "_members", "_term", "_fds", "_info", "_watches",
            ]
            let states = [
                "quorate_up", "quorate_node_role", "quorate_node_state", "quorate_leader_known",
                "quorate_peer_connected", "quorate_peer_reachable", "quorate_alarm",
                "quorate_scrub_running",
            ]
            for (name, type) in scrape.types {
                if type == "counter" {
                    #expect(name.hasSuffix("_total"), "\(name) is a counter")
                } else {
                    #expect(!name.hasSuffix("_total"), "\(name) is no counter")
                    #expect(states.contains(name) || units.contains { name.hasSuffix($0) }, "\(name) has no unit")
                }
            }
        }

        /// Alerts and dashboard ask only for metrics, labels and values that nodes have.
        private static func checkOperatorFiles(against scrapes: [Scrape]) throws {
            let alerts = try String(contentsOf: ops.appending(path: "prometheus/alerts.yml"), encoding: .utf8)
            let dashboard = try JSONSerialization.jsonObject(
                with: Data(contentsOf: ops.appending(path: "grafana/quorate.json")))
            let panels = (dashboard as? [String: Any])?["panels"] as? [[String: Any]] ?? []
            let targets = panels.flatMap { $0["targets"] as? [[String: Any]] ?? [] }
            let queries = targets.compactMap { $0["expr"] as? String }
            #expect(queries.count > 20)
            let alertText = alerts.split(separator: "\n").filter {
                !$0.contains("summary:") && !$0.contains("description:")
            }
            let types = scrapes.reduce(into: [String: String]()) { $0.merge($1.types) { $1 } }
            let samples = scrapes.flatMap(\.samples)
            var count = 0
            for text in queries + alertText.map(String.init) {
                for match in text.matches(of: /\b((?:quorate|process)_[a-z_]+)(?:\{([^}]*)\})?/) {
                    count += 1
                    let family = Scrape.family(of: String(match.1), types)
                    #expect(types[family] != nil, "no node has \(match.1), which is asked for in: \(text)")
                    for label in (match.2 ?? "").matches(of: /([a-z]+)=~?"([^"]*)"/) where label.1 != "job" {
                        for value in label.2.split(separator: "|") {
                            #expect(
                                samples.contains { $0.name == match.1 && $0.labels[String(label.1)] == String(value) },
                                "no node has \(match.1) with \(label.1)=\(value)")
                        }
                    }
                }
            }
            #expect(count > 50)
        }

        @Test(
            "without a quorum a node is live and not ready, and says why; with one again it is",
            .timeLimit(.minutes(2)))
        func withoutQuorum() async throws {
            try await withCluster(flags: Self.flags) { cluster in
                let left = cluster.names[0]
                let others = Array(cluster.names.dropFirst())
                try await cluster.kill(others)
                try await eventually("\(left) is not ready") {
                    let page = try await Self.get("/readyz", left, of: cluster)
                    return page.status == 503 && page.body.contains("\nfailed no leader known: fewer than a majority")
                }
                #expect(try await Self.get("/livez", left, of: cluster).status == 200)
                let scrape = try await Self.scrape(left, of: cluster)
                #expect(try scrape.value("quorate_leader_known") == 0)
                for peer in others { #expect(try scrape.value("quorate_peer_connected", ["peer": peer]) == 0) }
                for name in others { try cluster.start(name) }
                try await eventually("\(left) is ready again") {
                    try await Self.get("/readyz", left, of: cluster).status == 200
                }
            }
        }

        @Test("a node without a cluster, and one without space, say so", .timeLimit(.minutes(2)))
        func notReady() async throws {
            let waiting = try Cluster(nodes: 1, flags: Self.flags)
            defer { try? FileManager.default.removeItem(atPath: waiting.directory) }
            let name = waiting.names[0]
            try waiting.start(name)
            let page = try await Self.get("/readyz", name, of: waiting)
            #expect(page.status == 503)
            #expect(page.body.contains("\nfailed belongs to no cluster: for a new one run `quorate init`"))
            #expect(try await Self.scrape(name, of: waiting).value("quorate_node_state", ["state": "waiting"]) == 1)

            let address = try await Self.address(name, of: waiting)
            let second = try await waiting.run([
                "serve", "--name", "n2", "--data", "\(waiting.directory)/n2", "--client", "127.0.0.1:0", "--peer",
                "127.0.0.1:0", "--http", address,
            ])
            #expect(second.ending == .exited(1))
            #expect(second.errors.contains("cannot listen on \(address) for --http: Address already in use"))
            #expect(try await waiting.stop(name) == [.exited(0)])

            try await withCluster(flags: Self.flags) { cluster in
                let follower = try await cluster.followers()[0]
                _ = try await cluster.stop(follower)
                let started = try ChildProcess(
                    cluster.executable, cluster.arguments(of: follower) + ["--disk-reserve", "900000GiB"],
                    outputPath: cluster.logPath(follower))
                try await eventually("\(follower) has no space") {
                    let page = try await Self.get("/readyz", follower, of: cluster)
                    guard page.status == 503 else { return false }
                    return page.body.contains(/\nfailed disk has \d+ \w+ free, below its reserve of 878 TiB/)
                }
                started.send(SIGTERM)
                #expect(try await started.waitUntilEnded() == .exited(0))
            }
        }

        @Test(
            "rubbish and silent connections at the HTTP port disturb neither the cluster nor, for long, the port",
            .timeLimit(.minutes(2)))
        func rubbish() async throws {
            try await withCluster(flags: Self.flags) { cluster in
                let before = try await cluster.leader()
                let address = try await Self.address(before.name, of: cluster)
                let workload = Workload(cluster, writers: 2)
                try await workload.waitForProgress(10)
                try await onThread {
                    let silent = (0..<100).compactMap { _ in try? RawSocket(address, timeout: .seconds(5)) }
                    #expect(silent.count == 100)
                    var random = SystemRandomNumberGenerator()
                    for _ in 0..<50 {
                        guard let socket = try? RawSocket(address, timeout: .seconds(5)) else { continue }
                        let chunk = (0..<8_192).flatMap { _ in withUnsafeBytes(of: random.next()) { Array($0) } }
                        try? socket.send(chunk)
                    }
                    withExtendedLifetime(silent) {}
                }
                try await workload.waitForProgress(10)
                try await eventually("\(before.name) answers again") {
                    try await Self.get("/livez", before.name, of: cluster).status == 200
                }
                try await Workload.check(await workload.stop(), on: cluster)
                let after = try await cluster.leader()
                #expect(after.name == before.name)
                #expect(after.term == before.term, "the rubbish has cost an election")
            }
        }

        @Test(
            "with --log-format json every line of the log is an object with time, level and message",
            .timeLimit(.minutes(1)))
        func jsonLog() async throws {
            try await withCluster(nodes: 1, flags: ["--log-format", "json"]) { cluster in
                let name = cluster.names[0]
                _ = try await cluster.stop(name)
                let lines = try cluster.log(name).split(separator: "\n")
                #expect(lines.count > 3)
                for line in lines {
                    let fields = try JSONDecoder().decode([String: String].self, from: Data(line.utf8))
                    #expect(fields["node"] == name)
                    #expect(fields["level"] != nil && fields["message"]?.isEmpty == false)
                    let time = fields["time"] ?? ""
                    #expect(time.wholeMatch(of: /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z/) != nil, "\(line)")
                }
            }
        }
    }
}
