import Client
import Foundation
import Testing

extension ServerTests {
    /// Bytes that rot under nodes that run.
    @Suite struct ScrubTests {
        private struct Result {
            var code: ChildProcess.Ending
            var nodes: [[String: Any]]
            var digests: String

            func damages(of name: String) -> [[String: Any]] {
                nodes.first { $0["name"] as? String == name }?["damages"] as? [[String: Any]] ?? []
            }
            var damageCount: Int { nodes.reduce(0) { $0 + ($1["damageCount"] as? Int ?? 0) } }
            var text: String { "\(code), digests \(digests), \(nodes)" }
        }

        private func scrub(_ cluster: Cluster, _ further: [String] = []) async throws -> Result {
            let arguments = ["scrub", "--json", "--rate", "1GiB", "--endpoints", cluster.endpoints.joined(separator: ",")]
            let result = try await Command.run(
                cluster.executable, arguments + further, in: cluster.directory, timeout: .seconds(60))
            let object = try JSONSerialization.jsonObject(with: Data(result.output.utf8)) as? [String: Any] ?? [:]
            return Result(
                code: result.ending, nodes: object["nodes"] as? [[String: Any]] ?? [],
                digests: object["digests"] as? String ?? result.errors)
        }

        private func fill(_ client: MetadataClient, fillers: Int = 12) async throws {
            for number in 0..<300 { try await client.put("rot/\(number)", "value-\(number)-") }
            var random = SystemRandomNumberGenerator()
            let filler = (0..<500_000).map { _ in UInt8.random(in: .min ... .max, using: &random) }
            for number in 0..<fillers { try await client.put(Array("filler/\(number)".utf8), filler) }
        }

        private func check(_ cluster: Cluster) async throws {
            for name in cluster.names {
                let reader = try RawClient(cluster[name].client)
                for number in 0..<300 {
                    #expect(try reader.get("rot/\(number)", isStale: true)?.value == "value-\(number)-", "\(name)")
                }
            }
        }

        private func tables(of name: String, _ cluster: Cluster) throws -> [String] {
            let directory = cluster[name].directory
            let states = try FileManager.default.contentsOfDirectory(atPath: directory).filter { $0.hasPrefix("state-") }
            return try states.sorted().flatMap { state in
                try FileManager.default.contentsOfDirectory(atPath: "\(directory)/\(state)").filter { $0.hasSuffix(".sst") }
                    .map { "\(directory)/\(state)/\($0)" }
            }
        }

        private func name(_ damage: [String: Any]) -> String {
            URL(filePath: damage["file"] as? String ?? "").lastPathComponent
        }

        @Test(
            "scrub names what is damaged on running nodes, it is repaired, and the next scrub is clean",
            .timeLimit(.minutes(3)))
        func flippedFiles() async throws {
            try await withCluster { cluster in
                let client = cluster.client()
                try await fill(client)
                try await cluster.waitUntilWhole()
                let first = try await scrub(cluster)
                #expect(first.code == .exited(0) && first.damageCount == 0 && first.digests == "equal", "\(first.text)")
                let leader = try await cluster.leader().name
                let followers = try await cluster.followers()
                // A log, of the leader; rows, of a follower; and a small file of the other.
                let place = try LogFiles.find("value-150-", in: cluster[leader].directory)
                try LogFiles.flipBit(of: place.path, at: place.offset)
                let table = try #require(try tables(of: followers[0], cluster).first)
                let size = try #require(try FileManager.default.attributesOfItem(atPath: table)[.size] as? Int)
                try LogFiles.flipBit(of: table, at: size / 2)
                try LogFiles.flipBit(of: "\(cluster[followers[1]].directory)/identity", at: 40)

                let second = try await scrub(cluster)
                #expect(second.code == .exited(0), "\(second.text)")
                let log = try #require(second.damages(of: leader).first, "\(second.text)")
                #expect(name(log) == URL(filePath: place.path).lastPathComponent && log["outcome"] as? String == "repaired")
                #expect((place.offset - 4_096...place.offset).contains(log["offset"] as? Int ?? 0), "\(log)")
                let rows = try #require(second.damages(of: followers[0]).first, "\(second.text)")
                #expect(name(rows) == URL(filePath: table).lastPathComponent && rows["outcome"] as? String == "repaired")
                #expect((size / 2 - 65_536...size / 2).contains(rows["offset"] as? Int ?? 0), "\(rows)")
                let file = try #require(second.damages(of: followers[1]).first, "\(second.text)")
                #expect(name(file) == "identity" && file["outcome"] as? String == "repaired")

                let third = try await scrub(cluster)
                #expect(third.code == .exited(0) && third.damageCount == 0 && third.digests == "equal", "\(third.text)")
                try await check(cluster)
                #expect(try await cluster.leader().name == leader)

                // Whoever gave its state to the follower has the snapshot still.
                let snapshot = try #require(try snapshotFile(of: leader, cluster))
                try LogFiles.flipBit(of: snapshot, at: 1_000)
                let fourth = try await scrub(cluster)
                #expect(fourth.code == .exited(0) && fourth.damageCount == 1, "\(fourth.text)")
                #expect(fourth.damages(of: leader).first.map(name) == URL(filePath: snapshot).lastPathComponent)
                let fifth = try await scrub(cluster)
                #expect(fifth.code == .exited(0) && fifth.damageCount == 0, "\(fifth.text)")
                // All of it is known to the next start too.
                for name in cluster.names {
                    try await cluster.kill(name)
                    try cluster.start(name)
                    try await cluster.waitUntilWhole()
                }
                try await check(cluster)
                await client.shutdown()
            }
        }

        private func snapshotFile(of name: String, _ cluster: Cluster) throws -> String? {
            let directory = "\(cluster[name].directory)/snapshots"
            let found = try FileManager.default.contentsOfDirectory(atPath: directory).first { !$0.hasPrefix("incoming") }
            return found.map { "\(directory)/\($0)/chunk-0" }
        }

        @Test(
            "a disk that does not give back a part of the log, or of a table: quarantined and repaired, nobody stops",
            .timeLimit(.minutes(3)))
        func readErrors() async throws {
            let shim = try await ReadErrors(in: try Scratch.makeDirectory())
            try await withCluster(prepare: { $0.environment = shim.environment }) { cluster in
                let client = cluster.client()
                try await fill(client)
                try await cluster.waitUntilWhole()
                #expect(try await scrub(cluster).code == .exited(0))
                let node = try await cluster.followers()[0]
                let flags = ["--node", cluster[node].client]

                let segment = try #require(try LogFiles.segments(of: cluster[node].directory).first)
                try shim.begin("\(node)/log/\(URL(filePath: segment).lastPathComponent)", count: 1_000_000)
                let unread = try await scrub(cluster, flags)
                #expect(shim.end() > 0)
                let log = try #require(unread.damages(of: node).first { $0["firstIndex"] != nil }, "\(unread.text)")
                #expect((log["reason"] as? String)?.contains("Input/output error") == true, "\(log)")
                #expect(unread.code == .exited(0), "\(unread.text)")

                try shim.begin("\(node)/scrub-state", skipping: 2, count: 1)
                let rows = try await scrub(cluster, flags)
                #expect(shim.end() == 1)
                #expect(rows.code == .exited(0) && rows.damageCount >= 1, "\(rows.text)")
                try await cluster.waitUntilWhole()
                let last = try await scrub(cluster)
                #expect(last.code == .exited(0) && last.digests == "equal", "\(last.text)")
                try await check(cluster)
                #expect(try await cluster.status(node).uptimeSeconds > 1)
                await client.shutdown()
            }
        }

        @Test(
            "alone: damaged entries that the state does not need are let go, damaged rows stand, and the rest is served",
            .timeLimit(.minutes(2)))
        func alone() async throws {
            try await withCluster(nodes: 1) { cluster in
                let client = cluster.client()
                try await fill(client)
                #expect(try await scrub(cluster).code == .exited(0))
                // What is still in memory would be written anew from there.
                #expect(try await cluster.stop("n1") == [.exited(0)])
                try cluster.start("n1")
                try await cluster.waitUntilWhole()
                let place = try LogFiles.find("value-150-", in: cluster["n1"].directory)
                try LogFiles.flipBit(of: place.path, at: place.offset)
                let log = try await scrub(cluster)
                #expect(log.code == .exited(0) && log.damages(of: "n1").first?["outcome"] as? String == "letGo", "\(log.text)")
                #expect(try await scrub(cluster).damageCount == 0)

                let table = try #require(try tables(of: "n1", cluster).first)
                let size = try #require(try FileManager.default.attributesOfItem(atPath: table)[.size] as? Int)
                try LogFiles.flipBit(of: table, at: size / 2)
                let rows = try await scrub(cluster)
                #expect(rows.code == .exited(1), "\(rows.text)")
                #expect(rows.damages(of: "n1").contains { $0["outcome"] as? String == "standing" }, "\(rows.text)")
                #expect(try await client.get("rot/7").map { String(decoding: $0.value, as: UTF8.self) } == "value-7-")
                #expect(try await cluster.status("n1").alarms.contains { $0.name == "damage" && $0.isActive })
                await client.shutdown()
            }
        }

        @Test(
            "nodes scrub by themselves: damage is found and repaired without a command, and metrics tell of it",
            .timeLimit(.minutes(2)))
        func background() async throws {
            try await withCluster(flags: ["--scrub-period", "3s", "--scrub-rate", "64MiB"]) { cluster in
                let client = cluster.client()
                try await fill(client)
                try await cluster.waitUntilWhole()
                let node = try await cluster.followers()[0]
                let place = try LogFiles.find("value-150-", in: cluster[node].directory)
                try LogFiles.flipBit(of: place.path, at: place.offset)
                try await eventually("the damage is found", within: .seconds(30)) {
                    try await cluster.status(node).alarms.contains { $0.name == "damage" && !$0.isActive }
                }
                try await eventually("the entry is there again") {
                    (try? LogFiles.find("value-150-", in: cluster[node].directory)) != nil
                }
                try await eventually("the end of a pass is remembered") {
                    FileManager.default.fileExists(atPath: "\(cluster[node].directory)/scrub")
                }
                let report = try await client.scrubReport(of: cluster[node].client)
                #expect(report.state != .never)
                await client.shutdown()
            }
        }
    }
}
