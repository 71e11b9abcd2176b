import Client
import Foundation
import Glibc
import Testing

extension ServerTests {
    /// Snapshots as an operator uses them: saved from running nodes, looked into without any, restored into new
    /// clusters.
    @Suite struct SnapshotTests {
        private struct Answer: Decodable {
            var contentDigest: String?
            var clusterID: String?
            var generation: UInt64?
            var revision: UInt64?
            var firstRevision: UInt64?
            var records: UInt64?
            var added: UInt64?
            var removed: UInt64?
            var changed: UInt64?
            var error: String?
            var message: String?
        }

        /// Runs a command with `--json`; what it printed last.
        private func run(
            _ cluster: Cluster, _ arguments: String..., exits code: Int32 = 0
        ) async throws -> Answer {
            let (ending, output, errors) = try await cluster.run(arguments + ["--json"])
            guard ending == .exited(code), let line = output.split(separator: "\n").last else {
                throw TestFailure("\(arguments): \(ending)\n\(output)\(errors)")
            }
            return try JSONDecoder().decode(Answer.self, from: Data(line.utf8))
        }

        private func fill(_ client: MetadataClient, _ count: Int, valueSize: Int = 100) async throws {
            for number in 0..<count {
                let value = (0..<valueSize / 8).map { _ in String(UInt32.random(in: 0 ... .max), radix: 16) }.joined()
                try await client.put("snap/\(number)", value)
            }
        }

        /// A new cluster out of a file, each member restored for itself.
        private func restored(
            _ file: String, nodes: Int, engine: String, from cluster: Cluster
        ) async throws -> Cluster {
            let new = try Cluster(nodes: nodes, flags: ["--engine", engine])
            for name in new.names {
                let answer = try await run(
                    new, "restore", file, "--name", name, "--data", new[name].directory, "--cluster", new.founders,
                    "--engine", engine)
                #expect(answer.generation == 2)
            }
            for name in new.names { try new.start(name) }
            try await new.waitUntilWhole()
            return new
        }

        @Test(
            "saved from each node while writes go on: whole, private, and with everything that was acknowledged before",
            .timeLimit(.minutes(3)))
        func savedUnderWrites() async throws {
            try await withCluster { cluster in
                let client = cluster.client()
                try await fill(client, 300, valueSize: 20_000)
                let workload = Workload(cluster, writers: 3)
                try await workload.waitForProgress(50)
                for name in cluster.names {
                    let before = try await client.put("mark", name)
                    let file = "\(cluster.directory)/\(name).snapshot"
                    let saved = try await run(cluster, "snapshot", "save", file, "--endpoints", cluster[name].client)
                    #expect(saved.revision.map { $0 >= before } == true, "\(saved)")
                    let verified = try await run(cluster, "snapshot", "verify", file)
                    #expect(verified.contentDigest == saved.contentDigest)
                    #expect(verified.records.map { $0 > 300 } == true)
                    let mode = try FileManager.default.attributesOfItem(atPath: file)[.posixPermissions] as? Int
                    #expect(mode == 0o600)
                    try await workload.waitForProgress(20)
                }
                let left = try FileManager.default.contentsOfDirectory(atPath: cluster.directory)
                #expect(!left.contains { $0.contains("partial") }, "\(left)")
                // The workload has gone on between the first and the last.
                let difference = try await run(
                    cluster, "snapshot", "diff", "\(cluster.directory)/n1.snapshot", "\(cluster.directory)/n3.snapshot",
                    "--summary", exits: 1)
                #expect(difference.added.map { $0 > 0 } == true && difference.changed.map { $0 > 0 } == true)
                try await Workload.check(await workload.stop(), on: cluster)
                await client.shutdown()
            }
        }

        @Test(
            "restored into 5 and into 1, by either engine: the same content, a new generation, and it goes on",
            .timeLimit(.minutes(5)), arguments: ["rocksdb", "memory"])
        func restoredIntoOtherSizes(engine: String) async throws {
            try await withCluster { cluster in
                let client = cluster.client()
                try await fill(client, 400, valueSize: 4_000)
                try await client.delete(Array("snap/7".utf8))
                let file = "\(cluster.directory)/old.snapshot"
                let saved = try await run(cluster, "snapshot", "save", file, "--endpoints", cluster.endpoints[0])
                for nodes in [5, 1] {
                    let new = try await restored(file, nodes: nodes, engine: engine, from: cluster)
                    let again = "\(cluster.directory)/new-\(nodes).snapshot"
                    let fresh = try await run(new, "snapshot", "save", again, "--endpoints", new.endpoints[nodes - 1])
                    #expect(fresh.contentDigest == saved.contentDigest)
                    #expect(fresh.clusterID == saved.clusterID)
                    #expect(fresh.generation == 2 && saved.generation == 1)
                    #expect(try #require(fresh.revision) > (try #require(saved.revision)) + 1 << 32 - 1)
                    let same = try await cluster.run(["snapshot", "diff", file, again])
                    #expect(same.ending == .exited(0) && same.output.isEmpty, "\(same)")
                    let writer = new.client()
                    let revision = try await writer.put("after", "restore")
                    #expect(revision > (try #require(saved.revision)) + 1 << 32 - 1)
                    #expect(try await writer.get("snap/7") == nil)
                    #expect(try await writer.count(prefix: Array("snap/".utf8)) == 399)
                    await writer.shutdown()
                    // What was restored survives a crash of every node, together with what came after.
                    try await new.kill(new.names)
                    for name in new.names { try new.start(name) }
                    try await new.waitUntilWhole()
                    let reader = new.client()
                    #expect(try await reader.get("after")?.revision == revision)
                    #expect(try await reader.count(prefix: Array("snap/".utf8)) == 399)
                    await reader.shutdown()
                    _ = try await new.stop(new.names)
                    try FileManager.default.removeItem(atPath: new.directory)
                }
                await client.shutdown()
            }
        }

        @Test("what went with sessions is gone from a restored cluster, the rest is there", .timeLimit(.minutes(2)))
        func restoredWithoutOwners() async throws {
            try await withCluster { cluster in
                let client = cluster.client()
                let before = try await client.put("kept", "1")
                try await client.put("owned", "1", isOwned: true)
                let old = try await client.campaign("g", data: [])
                _ = try await client.acquireLock("l", delay: .seconds(3_600))
                let file = "\(cluster.directory)/owned.snapshot"
                _ = try await run(cluster, "snapshot", "save", file, "--endpoints", cluster.endpoints[0])
                await client.shutdown()
                let new = try await restored(file, nodes: 3, engine: "rocksdb", from: cluster)
                let reader = new.client()
                try await eventually("the owned row is gone") { try await reader.get("owned") == nil }
                #expect(try await reader.get("kept") != nil)
                #expect(try await reader.leader("g") == nil)
                // What was deleted after the snapshot is not known any more, so a copy of before has to be read anew.
                await #expect {
                    try await reader.changes(under: [], since: before) { _ in }
                } throws: { ($0 as? ClientError)?.code == .compacted }
                // Its holder asked for a delay, and who restored did not take it away.
                #expect(try await reader.lockLine("l").map(\.isReleasedLater) == [true])
                let fence = try #require(try await reader.campaign("g", data: []).fence)
                #expect(fence > old.number)
                await reader.shutdown()
                _ = try await new.stop(new.names)
                try FileManager.default.removeItem(atPath: new.directory)
            }
        }

        @Test("a client of the old generation is told so by the restored cluster", .timeLimit(.minutes(2)))
        func oldClientsAreTold() async throws {
            try await withCluster(nodes: 1) { cluster in
                let client = cluster.client()
                try await client.put("a", "1")
                let file = "\(cluster.directory)/old.snapshot"
                _ = try await run(cluster, "snapshot", "save", file, "--endpoints", cluster.endpoints[0])
                #expect(try await cluster.stop("n1") == [.exited(0)])
                try await cluster.wipe("n1")
                let arguments = [
                    "restore", file, "--name", "n1", "--data", cluster["n1"].directory, "--cluster", cluster.founders,
                ]
                let first = try await cluster.run(arguments + ["--json"])
                #expect(first.ending == .exited(0), "\(first)")
                try cluster.start("n1")
                try await cluster.waitUntilWhole()
                await #expect {
                    try await client.put("a", "2")
                } throws: { ($0 as? ClientError)?.code == .generationChanged }
                let reader = cluster.client()
                #expect(try await reader.get("a")?.value == Array("1".utf8))
                await reader.shutdown()
                await client.shutdown()
                // A directory that is somebody's is left alone.
                let second = try await cluster.run(arguments)
                #expect(second.ending == .exited(1) && second.errors.contains("not empty"), "\(second)")
            }
        }

        @Test(
            "a flipped byte anywhere: verify, diff and restore refuse the file and name the offset, nothing is written",
            .timeLimit(.minutes(3)))
        func damageIsRefused() async throws {
            try await withCluster(nodes: 1) { cluster in
                let client = cluster.client()
                try await fill(client, 40, valueSize: 2_000)
                let file = "\(cluster.directory)/sound.snapshot"
                let damaged = "\(cluster.directory)/damaged.snapshot"
                _ = try await run(cluster, "snapshot", "save", file, "--endpoints", cluster.endpoints[0])
                let whole = try Data(contentsOf: URL(filePath: file))
                // All of header, manifest, index and footer, and a sample of the chunks.
                let ends = Array(0..<40) + Array(whole.count - 60..<whole.count)
                let offsets = Set(ends + stride(from: 0, to: whole.count, by: whole.count / 60))
                for offset in offsets.sorted() {
                    var bytes = whole
                    bytes[offset] ^= 1 << UInt8.random(in: 0..<8)
                    try bytes.write(to: URL(filePath: damaged))
                    let answer = try await run(cluster, "snapshot", "verify", damaged, exits: 1)
                    #expect(["damaged", "unsupported"].contains(answer.error), "offset \(offset): \(answer)")
                    #expect(answer.message?.contains(damaged) == true && answer.message?.contains("offset") == true)
                    guard offset % 5 == 0 else { continue }
                    _ = try await run(cluster, "snapshot", "diff", file, damaged, exits: 1)
                    let directory = "\(cluster.directory)/refused"
                    let refused = try await run(
                        cluster, "restore", damaged, "--name", "n1", "--data", directory, "--cluster", cluster.founders,
                        exits: 1)
                    #expect(["damaged", "unsupported"].contains(refused.error), "\(refused)")
                    #expect(!FileManager.default.fileExists(atPath: directory))
                }
                for size in [0, 10, whole.count / 2, whole.count - 1] {
                    try whole.prefix(size).write(to: URL(filePath: damaged))
                    let answer = try await run(cluster, "snapshot", "verify", damaged, exits: 1)
                    #expect(answer.error == "damaged", "\(size) bytes: \(answer)")
                }
                await client.shutdown()
            }
        }

        @Test("a restore is a function of its arguments; a token tells two of them apart", .timeLimit(.minutes(1)))
        func restoreIsAFunction() async throws {
            try await withCluster(nodes: 1) { cluster in
                let client = cluster.client()
                try await client.put("a", "1")
                let file = "\(cluster.directory)/a.snapshot"
                _ = try await run(cluster, "snapshot", "save", file, "--endpoints", cluster.endpoints[0])
                func identity(_ directory: String, _ further: String...) async throws -> Data {
                    let path = "\(cluster.directory)/\(directory)"
                    let result = try await cluster.run(
                        [
                            "restore", file, "--name", "b", "--data", path, "--engine", "memory",
                        ] + further)
                    guard result.ending == .exited(0) else { throw TestFailure("\(result)") }
                    return try Data(contentsOf: URL(filePath: "\(path)/identity"))
                }
                let list = "a=127.0.0.1:1,b=127.0.0.1:2"
                let first = try await identity("1", "--cluster", list)
                #expect(try await identity("2", "--cluster", "b=127.0.0.1:2, a=127.0.0.1:1") == first)
                #expect(try await identity("3", "--cluster", list, "--token", "again") != first)
                #expect(try await identity("4", "--cluster", "b=127.0.0.1:2") != first)

                // Cut short, a directory is nobody's.
                let marker = "\(cluster.directory)/4/restore-unfinished"
                try Data().write(to: URL(filePath: marker))
                let ports = try Ports.free(1)
                let serve = try await cluster.run([
                    "serve", "--name", "b", "--data", "\(cluster.directory)/4", "--client", "127.0.0.1:\(ports[0])",
                    "--peer", "127.0.0.1:2", "--engine", "memory",
                ])
                #expect(serve.ending == .exited(1) && serve.errors.contains("did not come to its end"), "\(serve)")
                let wrong = try await cluster.run([
                    "restore", file, "--name", "x", "--data", "\(cluster.directory)/5", "--cluster", list,
                ])
                #expect(wrong.ending == .exited(2), "\(wrong)")
                await client.shutdown()
            }
        }

        private enum Kind {
            static let snapshot: UInt16 = 32
            static let piece: UInt16 = 33
        }

        private func begin(_ client: RawClient) throws -> (code: UInt16, snapshot: UInt64) {
            var body = Bytes()
            body.append(UInt64(0))
            var reply = try client.receive(client.send(Kind.snapshot, body, mayBeForwarded: false))
            return (reply.code, reply.code == 0 ? try reply.fields.readUInt64() : 0)
        }

        private func piece(
            _ client: RawClient, _ snapshot: UInt64, item: UInt32, offset: UInt32 = 0
        ) throws -> (code: UInt16, isManifest: Bool, size: UInt32) {
            var body = Bytes()
            body.append(snapshot)
            body.append(item)
            body.append(offset)
            var reply = try client.receive(client.send(Kind.piece, body, mayBeForwarded: false))
            guard reply.code == 0 else { return (reply.code, false, 0) }
            return (0, try reply.fields.readUInt8() == 1, try reply.fields.readUInt32())
        }

        @Test(
            "a client that asks for what it has not begun, out of order, or for too much, gets an answer",
            .timeLimit(.minutes(1)))
        func strangeRequests() async throws {
            let (invalidRequest, overloaded, viewReleased): (UInt16, UInt16, UInt16) = (1, 12, 32)
            try await withCluster(nodes: 1) { cluster in
                let client = cluster.client()
                try await fill(client, 20)
                let address = cluster.endpoints[0]
                let raw = try RawClient(address)
                #expect(try piece(raw, 1, item: 0).code == viewReleased)
                let first = try begin(raw)
                #expect(first.code == 0)
                #expect(try piece(raw, first.snapshot, item: 1).code == invalidRequest)
                let chunk = try piece(raw, first.snapshot, item: 0)
                #expect(chunk.code == 0 && !chunk.isManifest && chunk.size > 0)
                #expect(try piece(raw, first.snapshot, item: 0, offset: chunk.size).code == 0)
                #expect(try piece(raw, first.snapshot, item: 0, offset: chunk.size + 1).code == invalidRequest)
                #expect(try piece(raw, first.snapshot, item: .max).code == invalidRequest)
                // A new one takes the place of the old, at once.
                let second = try begin(raw)
                #expect(second.code == 0 && second.snapshot != first.snapshot)
                #expect(try piece(raw, first.snapshot, item: 0).code == viewReleased)
                #expect(try piece(raw, second.snapshot, item: 0).code == 0)
                // Another connection's is not for this one.
                let other = try RawClient(address)
                #expect(try piece(other, second.snapshot, item: 0).code == viewReleased)
                #expect(try piece(raw, second.snapshot, item: 1).isManifest)
                #expect(try piece(raw, second.snapshot, item: 1).code == viewReleased)

                var crowd = try (0..<4).map { _ in try RawClient(address) }
                for member in crowd { #expect(try begin(member).code == 0) }
                #expect(try begin(raw).code == overloaded)
                crowd.removeLast()
                try await eventually("a connection that ended makes room") { try self.begin(raw).code == 0 }
                await client.shutdown()
            }
        }

        @Test("a node that is killed while it gives a snapshot: the transfer ends in an error", .timeLimit(.minutes(1)))
        func killedWhileGiving() async throws {
            try await withCluster { cluster in
                let client = cluster.client()
                try await fill(client, 200, valueSize: 20_000)
                let follower = try await cluster.followers()[0]
                try await cluster.waitUntilWhole()
                var partCount = 0
                do {
                    try await client.snapshot(from: cluster[follower].client, timeout: .seconds(5)) { part in
                        partCount += 1
                        if partCount == 1 { try await cluster.kill(follower) }
                    }
                    Issue.record("the snapshot came to its end from a node that is dead")
                } catch let error as ClientError {
                    #expect(error.code == .unavailable || error.code == .viewReleased, "\(error)")
                }
                // The second may have come while the first was looked at.
                #expect((1...2).contains(partCount))
                try cluster.start(follower)
                try await cluster.waitUntilWhole()
                await client.shutdown()
            }
        }

        @Test("a snapshot that is taken from a node that stops is taken from another", .timeLimit(.minutes(1)))
        func goesToAnotherNode() async throws {
            try await withCluster { cluster in
                let client = cluster.client()
                try await fill(client, 50)
                let down = try await cluster.followers()[0]
                try await cluster.kill(down)
                let others = cluster.names.filter { $0 != down }
                let endpoints = ([down] + others).map { cluster[$0].client }.joined(separator: ",")
                let file = "\(cluster.directory)/a.snapshot"
                let saved = try await run(cluster, "snapshot", "save", file, "--endpoints", endpoints)
                #expect(saved.revision.map { $0 > 50 } == true)
                // Without a quorum there is no read that is certain to be the newest, and still a snapshot.
                try await cluster.kill(others[0])
                let refused = try await run(
                    cluster, "snapshot", "save", file, "--endpoints", endpoints, "--timeout", "1s", exits: 1)
                #expect(refused.error == "unavailable", "\(refused)")
                let stale = try await run(
                    cluster, "snapshot", "save", file, "--endpoints", endpoints, "--read-level", "stale")
                #expect(stale.contentDigest == saved.contentDigest)
                await client.shutdown()
            }
        }
    }
}
