import Client
import Foundation
import Testing

extension ServerTests {
    /// Who may belong to a cluster, and which directory a process may use.
    @Suite struct IdentityTests {
        /// Longer than the greatest election timeout (2 s): whoever would campaign has done so by then.
        private static let observation = Duration.seconds(3)

        /// Fails as soon as `body` does not hold, and returns when it has held for long enough to mean something.
        private func holds(_ claim: String, _ body: () async throws -> Bool) async throws {
            let end = ContinuousClock.now + Self.observation
            while ContinuousClock.now < end {
                guard try await body() else { throw TestFailure("does not hold: \(claim)") }
                try await Task.sleep(for: .milliseconds(20))
            }
        }

        @Test(
            "three wiped nodes do not form an empty cluster: they wait, and a client gets an error",
            .timeLimit(.minutes(1)))
        func wipedNodesFormNothing() async throws {
            try await withCluster { cluster in
                let client = cluster.client()
                try await client.put("kept", "1")
                await client.shutdown()
                try await cluster.kill(cluster.names)
                for name in cluster.names { try await cluster.wipe(name) }
                for name in cluster.names { try cluster.start(name) }
                for name in cluster.names {
                    _ = try await eventually("\(name) answers") { try await cluster.status(name) }
                }
                try await holds("no node belongs to a cluster") {
                    await cluster.statuses(cluster.names).allSatisfy { $0.clusterID == nil && $0.state == "waiting" }
                }
                let late = cluster.client(timeout: .seconds(1))
                let reading = await #expect(throws: ClientError.self) { try await late.get("kept") }
                let writing = await #expect(throws: ClientError.self) { try await late.put("kept", "2") }
                #expect(writing?.mayHaveTakenEffect == false)
                print("of wiped nodes a client hears: \(reading.map { "\($0)" } ?? "-")")
                await late.shutdown()
                let (ending, output, errors) = try await cluster.run([
                    "get", "kept", "--timeout", "1s", "--endpoints", cluster.endpoints.joined(separator: ","),
                ])
                #expect(ending == .exited(1))
                #expect(output.isEmpty)
                #expect(!errors.isEmpty)
            }
        }

        @Test("one wiped node does not vote: with one of the others away nobody leads", .timeLimit(.minutes(2)))
        func wipedNodeDoesNotVote() async throws {
            try await withCluster { cluster in
                let client = cluster.client()
                try await client.put("kept", "1")
                let leader = try await cluster.leader().name
                let others = cluster.names.filter { $0 != leader }
                let (wiped, whole) = (others[0], others[1])
                try await cluster.kill(wiped)
                try await cluster.wipe(wiped)
                try cluster.start(wiped)
                _ = try await eventually("\(wiped) answers") { try await cluster.status(wiped) }
                try await client.put("kept", "2")
                #expect(try await client.get("kept")?.value == Array("2".utf8))

                try await cluster.kill(leader)
                try await holds("\(whole) alone does not lead, and \(wiped) waits") {
                    let reports = await cluster.statuses([wiped, whole])
                    return reports.allSatisfy { $0.name == wiped ? $0.clusterID == nil : $0.role != "leader" }
                }
                let error = await #expect(throws: ClientError.self) {
                    try await client.get("kept", timeout: .milliseconds(500))
                }
                #expect(error?.mayHaveTakenEffect == false)

                try cluster.start(leader)
                try await client.put("kept", "3")
                #expect(try await client.get("kept")?.value == Array("3".utf8))
                #expect(try await cluster.status(wiped).clusterID == nil)
                await client.shutdown()
            }
        }

        @Test(
            "init names a node that does not run; it waits a moment for one that is still starting",
            .timeLimit(.minutes(1)))
        func initWaitsForNodes() async throws {
            try await withCluster { cluster in
                try await cluster.kill(cluster.names)
                for name in cluster.names { try await cluster.wipe(name) }
                for name in ["n1", "n2"] {
                    try cluster.start(name)
                    _ = try await eventually("\(name) answers") { try await cluster.status(name) }
                }
                let endpoints = ["--endpoints", cluster["n1"].client]
                let refused = try await cluster.run(["init"] + endpoints)
                #expect(refused.ending == .exited(1))
                #expect(refused.errors.contains("n3 (\(cluster["n3"].peer): "), "\(refused.errors)")
                #expect(!refused.errors.contains("n2"), "\(refused.errors)")

                let (executable, directory) = (cluster.executable, cluster.directory)
                async let formed = Command.run(executable, ["init"] + endpoints, in: directory)
                try await Task.sleep(for: .seconds(1))
                try cluster.start("n3")
                let outcome = try await formed
                #expect(outcome.ending == .exited(0), "\(outcome.errors)")
                try await cluster.waitUntilWhole()
            }
        }

        @Test(
            "a node of another cluster at a member's address neither votes nor serves",
            .timeLimit(.minutes(2)))
        func foreignPeerRefused() async throws {
            try await withCluster { cluster in
                let client = cluster.client()
                let revision = try await client.put("ours", "1")
                let foreign = try await cluster.followers()[0]
                try await cluster.kill(foreign)
                // A cluster of its own, of one node with the same name and addresses.
                let node = cluster[foreign]
                let stranger = try ChildProcess(
                    cluster.executable,
                    [
                        "serve", "--name", foreign, "--data", "\(cluster.directory)/foreign", "--client", node.client,
                        "--peer", node.peer, "--cluster", "\(foreign)=\(node.peer)", "--stop-with-standard-input",
                        "--segment-size", "2MiB", "--log-max", "64MiB",
                    ], outputPath: "\(cluster.directory)/foreign.log")
                let own = MetadataClient(MetadataClientConfiguration(endpoints: [node.client]))
                try await eventually("the foreign cluster forms") {
                    try await own.initialize()
                    return true
                }
                try await own.put("theirs", "1")

                try await client.put("ours", "2", ifRevision: revision)
                #expect(try await client.get("theirs") == nil)
                #expect(try await own.get("ours") == nil)
                let leader = try await cluster.leader().name
                try await cluster.kill(leader)
                let rest = cluster.names.filter { $0 != leader && $0 != foreign }
                try await holds("\(rest) does not lead with a foreign vote") {
                    await cluster.statuses(rest).allSatisfy { $0.role != "leader" }
                }
                #expect(stranger.poll() == nil)
                try await stranger.killAndWait()
                try cluster.start(leader)
                try cluster.start(foreign)
                try await cluster.waitUntilWhole()
                #expect(try await client.get("ours")?.value == Array("2".utf8))
                await own.shutdown()
                await client.shutdown()
            }
        }

        @Test("a directory of another node, with wider modes, or in use is refused, and the message says which")
        func directoryRefused() async throws {
            try await withCluster(nodes: 1) { cluster in
                let node = cluster["n1"]
                let ports = try Ports.free(2)
                func serve(_ name: String, _ directory: String) async throws -> (ChildProcess.Ending, String) {
                    let result = try await cluster.run([
                        "serve", "--name", name, "--data", directory, "--client", "127.0.0.1:\(ports[0])", "--peer",
                        "127.0.0.1:\(ports[1])", "--stop-with-standard-input",
                    ])
                    return (result.ending, result.output + result.errors)
                }
                func refused(_ reason: String, _ result: (ChildProcess.Ending, String)) {
                    #expect(result.0 == .exited(1))
                    #expect(result.1.contains(reason), "\(result.1)")
                }

                refused("another process uses this directory", try await serve("n1", node.directory))
                #expect(try await cluster.stop("n1") == [.exited(0)])
                refused("belongs to node \"n1\", not to \"n2\"", try await serve("n2", node.directory))

                let files = FileManager.default
                try files.setAttributes([.posixPermissions: 0o755], ofItemAtPath: node.directory)
                refused("chmod 700 \(node.directory)", try await serve("n1", node.directory))
                try files.setAttributes([.posixPermissions: 0o700], ofItemAtPath: node.directory)

                let segment = try LogFiles.segments(of: node.directory)[0]
                try files.setAttributes([.posixPermissions: 0o644], ofItemAtPath: segment)
                refused("chmod 600 \(segment)", try await serve("n1", node.directory))
                try files.setAttributes([.posixPermissions: 0o600], ofItemAtPath: segment)

                // Refusals have changed nothing.
                try cluster.start("n1")
                try await cluster.waitUntilWhole()
            }
        }

        @Test("every file of a node is its owner's alone")
        func modesArePrivate() async throws {
            try await withCluster(nodes: 1) { cluster in
                let client = cluster.client()
                try await client.put("a", "1")
                await client.shutdown()
                let directory = cluster["n1"].directory
                var paths = [directory]
                for path in try FileManager.default.subpathsOfDirectory(atPath: directory) { paths.append("\(directory)/\(path)") }
                for path in paths {
                    let mode = try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? NSNumber
                    #expect((mode?.intValue ?? 0o777) & 0o077 == 0, "\(path) has mode \(String(mode?.intValue ?? 0, radix: 8))")
                }
            }
        }

        @Test("an address that other machines can reach needs --insecure, and the message says why")
        func insecureRefused() async throws {
            let directory = try Scratch.makeDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let ports = try Ports.free(2)
            let (ending, output, errors) = try await Command.run(
                try Binary.path(),
                [
                    "serve", "--name", "n1", "--data", "\(directory)/n1", "--client", "0.0.0.0:\(ports[0])", "--peer",
                    "127.0.0.1:\(ports[1])", "--stop-with-standard-input",
                ], in: directory)
            #expect(ending == .exited(2))
            #expect(errors.contains("--insecure"), "\(output)\(errors)")
            #expect(errors.contains("TLS"))
            #expect(!FileManager.default.fileExists(atPath: "\(directory)/n1"))
        }
    }
}
