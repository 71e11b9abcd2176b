import Client
import Foundation
import Testing

extension ServerTests {
    /// What a person is told of, until it is over or seen to.
    @Suite struct AlarmTests {
        private func alarm(_ cluster: Cluster, _ words: String...) async throws -> (
            ending: ChildProcess.Ending, output: String, errors: String
        ) {
            try await cluster.run(["alarm"] + words + ["--endpoints", cluster.endpoints.joined(separator: ",")])
        }

        private func fill(_ client: MetadataClient, _ prefix: String) async throws {
            for number in 0..<50 { try await client.put("\(prefix)/\(number)", "\(prefix)-\(number)-") }
        }

        @Test(
            "damage stands also when it is repaired and the node restarted, until it is cleared, and then for good",
            .timeLimit(.minutes(2)))
        func damage() async throws {
            try await withCluster(flags: ["--http", "127.0.0.1:0"]) { cluster in
                let client = cluster.client()
                try await fill(client, "a")
                try await cluster.waitUntilWhole()
                #expect(try await alarm(cluster, "list").output == "no alarms\n")
                let damaged = try await cluster.followers()[0]
                try await cluster.kill(damaged)
                let place = try LogFiles.find("a-30-", in: cluster[damaged].directory)
                try LogFiles.flipBit(of: place.path, at: place.offset)
                try cluster.start(damaged)
                try await cluster.waitUntilWhole()
                for _ in 0..<2 {
                    let found = try await cluster.status(damaged).alarms
                    #expect(found.map(\.name) == ["damage"] && found.map(\.isActive) == [false])
                    #expect(found.first?.node == damaged)
                    #expect(found.first?.detail.contains(URL(filePath: place.path).lastPathComponent) == true)
                    #expect(found.first?.detail.contains("at offset ") == true)
                    _ = try await cluster.stop(damaged)
                    try cluster.start(damaged)
                    try await cluster.waitUntilWhole()
                }
                let list = try await alarm(cluster, "list")
                #expect(list.ending == .exited(0))
                #expect(list.output.contains("\(damaged)    damage  20") && list.output.contains("over"), "\(list.output)")
                #expect(list.output.contains("do: look at the disk"), "\(list.output)")
                let json = try await alarm(cluster, "list", "--json").output
                #expect(json.contains(#"{"alarms":[{"name":"damage","node":"\#(damaged)","since":"20"#), "\(json)")
                #expect(json.contains(#""active":false"#) && json.hasSuffix("\"unheard\":[]}\n"), "\(json)")
                let status = try await cluster.run(["status", "--endpoints", cluster.endpoints[0]])
                #expect(status.output.contains("1 alarm stands (damage): run `quorate alarm list`"), "\(status.output)")
                let lines = try cluster.log(damaged).split(separator: "\n")
                let http = lines.last { $0.contains("serving probes") }?.firstMatch(of: /http=(127\.0\.0\.1:\d+)/)
                let page = try await Page.get("/metrics", from: String(try #require(http).1))
                let standing = try Scrape(page.body).samples.filter { $0.name == "quorate_alarm" && $0.value == 1 }
                #expect(standing.map(\.labels) == [["name": "damage"]])

                let wrong = try await alarm(cluster, "clear", "regressed")
                #expect(wrong.ending == .exited(1) && wrong.errors.contains("there are damage"), "\(wrong)")
                let elsewhere = cluster.names.first { $0 != damaged } ?? ""
                let other = try await alarm(cluster, "clear", "damage", "--node", elsewhere)
                #expect(other.ending == .exited(1) && other.errors.contains("no alarm damage stands at"), "\(other)")
                let cleared = try await alarm(cluster, "clear", "damage")
                #expect(cleared.ending == .exited(0) && cleared.output == "\(damaged): cleared damage\n", "\(cleared)")
                #expect(try await alarm(cluster, "list").output == "no alarms\n")
                _ = try await cluster.stop(damaged)
                try cluster.start(damaged)
                try await cluster.waitUntilWhole()
                #expect(try await alarm(cluster, "list").output == "no alarms\n")
                await client.shutdown()
            }
        }

        @Test("a damaged node that cannot be repaired yet is listed as such, and refuses to be cleared", .timeLimit(.minutes(1)))
        func whileRepairing() async throws {
            try await withCluster { cluster in
                let client = cluster.client()
                try await fill(client, "a")
                try await cluster.waitUntilWhole()
                await client.shutdown()
                try await cluster.kill(cluster.names)
                let place = try LogFiles.find("a-30-", in: cluster["n1"].directory)
                try LogFiles.flipBit(of: place.path, at: place.offset)
                try cluster.start("n1")
                try await eventually("n1 tells of its damage") {
                    try await cluster.status("n1").alarms.map(\.isActive) == [true]
                }
                #expect(try await cluster.status("n1").state == "repairing")
                let list = try await alarm(cluster, "list")
                #expect(list.output.contains("active  damaged log: "), "\(list.output)")
                #expect(list.output.contains("noQuorum"), "\(list.output)")
                let refused = try await alarm(cluster, "clear", "damage", "--json")
                #expect(refused.ending == .exited(1) && refused.output.contains(#"{"error":"alarmHolds""#), "\(refused)")
                for name in ["n2", "n3"] { try cluster.start(name) }
                try await cluster.waitUntilWhole()
                let cleared = try await alarm(cluster, "clear", "damage", "--json")
                #expect(cleared.output == "{\"name\":\"damage\",\"cleared\":[{\"node\":\"n1\",\"count\":1}]}\n", "\(cleared)")
            }
        }

        @Test("a member that is away is an alarm that ends with its return, and cannot be cleared", .timeLimit(.minutes(1)))
        func unreachable() async throws {
            try await withCluster { cluster in
                let away = try await cluster.followers()[0]
                let leader = try await cluster.leader().name
                try await cluster.kill(away)
                let told = try await eventually("the leader tells of it") {
                    try await cluster.status(leader).alarms.first { $0.name == "unreachable" }
                }
                #expect(told.node == away && told.isActive && told.detail.contains(leader))
                let list = try await alarm(cluster, "list")
                #expect(list.output.contains("\(away)    unreachable  20"), "\(list.output)")
                #expect(list.errors == "not asked, because they do not answer: \(away)\n")
                let refused = try await alarm(cluster, "clear", "unreachable")
                #expect(refused.ending == .exited(1) && refused.errors.contains("ends with its cause"), "\(refused)")
                try cluster.start(away)
                try await eventually("it is over") { try await alarm(cluster, "list").output == "no alarms\n" }
                let nobody = try await cluster.run(["alarm", "list", "--endpoints", "127.0.0.1:1", "--timeout", "1s"])
                #expect(nobody.ending == .exited(1) && nobody.errors.contains("no member answers"), "\(nobody)")
            }
        }

        @Test("a certificate that ends soon is an alarm until a new one is in its place", .timeLimit(.minutes(1)))
        func certificate() async throws {
            let certificates = try await Certificates(["n1"], days: 10)
            try await withCluster(nodes: 1, certificates: certificates) { cluster in
                let found = try await cluster.status("n1").alarms
                #expect(found.map(\.name) == ["certificateExpiring"] && found.allSatisfy(\.isActive), "\(found)")
                #expect(found.first?.detail.contains("its certificate ends on 20") == true, "\(found)")
                try await certificates.make(["n1"])
                try await eventually("it is over") { try await cluster.status("n1").alarms.isEmpty }
            }
        }

        @Test("a file of alarms that is damaged is an alarm itself, and no reason not to start", .timeLimit(.minutes(1)))
        func damagedMemory() async throws {
            try await withCluster(nodes: 1) { cluster in
                #expect(try await cluster.stop("n1") == [.exited(0)])
                let path = "\(cluster["n1"].directory)/alarms"
                #expect(!FileManager.default.fileExists(atPath: path))
                #expect(
                    FileManager.default.createFile(
                        atPath: path, contents: Data("no file of alarms".utf8), attributes: [.posixPermissions: 0o600]))
                try cluster.start("n1")
                let found = try await eventually("n1 answers") { try await cluster.status("n1").alarms.first }
                #expect(found.name == "damage" && found.detail.contains("\(path) is damaged"), "\(found)")
                #expect(try await alarm(cluster, "clear", "damage").ending == .exited(0))
                #expect(try await cluster.stop("n1") == [.exited(0)])
                try cluster.start("n1")
                try await cluster.waitUntilWhole()
                #expect(try await cluster.status("n1").alarms.isEmpty)
            }
        }
    }
}
