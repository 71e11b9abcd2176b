import Basics
import Client
import Foundation
import Testing

extension ServerTests {
    /// What an operator looks at and does while a node is stopped.
    @Suite struct StoppedNodeTests {
        private func fill(_ client: MetadataClient, ballast: Int = 0) async throws {
            for number in 0..<200 { try await client.put("offline/\(number)", value(number, ballast: ballast)) }
        }

        /// With ballast that does not shrink when it is packed, so that a table has many blocks.
        private func value(_ number: Int, ballast: Int) -> String {
            var random = SplitMix64(seed: UInt64(number))
            return (0..<ballast / 16).reduce(into: "value-\(number)-") { text, _ in
                text += String(random.next(), radix: 36)
            }
        }

        private func stoppedNode(_ cluster: Cluster, ballast: Int = 0) async throws -> String {
            let client = cluster.client()
            try await fill(client, ballast: ballast)
            try await client.put([0x66, 0xFF], [0xFE, 0x01])
            try await client.delete("offline/3")
            await client.shutdown()
            #expect(try await cluster.stop("n1") == [.exited(0)])
            return cluster["n1"].directory
        }

        private func snapshot(of directory: String) throws -> [String: Data] {
            var found: [String: Data] = [:]
            for path in try FileManager.default.subpathsOfDirectory(atPath: directory) {
                found[path] = FileManager.default.contents(atPath: "\(directory)/\(path)") ?? Data()
            }
            return found
        }

        @Test(
            "debug log and rows print a stopped node's entries and records, and change no byte", .timeLimit(.minutes(1))
        )
        func prints() async throws {
            try await withCluster(nodes: 1) { cluster in
                let refused = try await cluster.run(["debug", "log", cluster["n1"].directory, "--json"])
                #expect(refused.ending == .exited(1) && refused.output.contains(#""error":"running""#), "\(refused)")

                let directory = try await stoppedNode(cluster)
                let before = try snapshot(of: directory)
                let log = try await cluster.run(["debug", "log", directory, "--json"])
                #expect(log.ending == .exited(0), "\(log.errors)")
                let lines = log.output.split(separator: "\n")
                #expect(
                    lines.contains {
                        $0.contains(#""kind":"put""#) && $0.contains(#""key":"offline/7","value":"value-7-""#)
                    })
                #expect(lines.contains { $0.contains(#""keyBase64":"Zv8=","base64":"/gE=""#) })
                #expect(lines.contains { $0.contains(#""kind":"delete""#) && $0.contains(#""key":"offline/3""#) })
                #expect(lines.last?.hasPrefix(#"{"log":"#) == true)

                let part = try await cluster.run(["debug", "log", directory, "--from", "3", "--to", "5"])
                #expect(part.output.split(separator: "\n").map { $0.prefix(1) } == ["3", "4", "5"], "\(part.output)")

                let rows = try await cluster.run(["debug", "rows", directory, "--prefix", "offline/1"])
                #expect(rows.ending == .exited(0), "\(rows.errors)")
                #expect(rows.output.split(separator: "\n").contains("offline/17\tvalue-17-"))
                #expect(rows.output.split(separator: "\n").allSatisfy { $0.hasPrefix("offline/1") })
                #expect(rows.errors.contains("200 records, 1 tombstones"), "\(rows.errors)")
                #expect(try snapshot(of: directory) == before)

                let wrong = try await cluster.run(["debug", "log", directory, "--from", "9", "--to", "5"])
                #expect(wrong.ending == .exited(2))
                let nothing = try await cluster.run(["debug", "rows", cluster.directory])
                #expect(nothing.ending == .exited(1) && nothing.errors.contains("not the data directory"))
            }
        }

        @Test(
            "debug log names file and offset of a flipped byte, and prints the entries around it",
            .timeLimit(.minutes(1)))
        func damagedLog() async throws {
            try await withCluster(nodes: 1) { cluster in
                let directory = try await stoppedNode(cluster)
                let place = try LogFiles.find("value-77-", in: directory)
                try LogFiles.flipBit(of: place.path, at: place.offset)
                let log = try await cluster.run(["debug", "log", directory])
                #expect(log.ending == .exited(1))
                let named = log.errors.firstMatch(of: /damaged: (.*) at offset ([0-9]+)/)
                #expect(named.map { String($0.1) } == place.path, "\(log.errors)")
                let offset = try #require(named.flatMap { Int($0.2) })
                #expect((place.offset - 4_096...place.offset).contains(offset), "\(log.errors)")
                #expect(log.output.contains("key=offline/76 ") && log.output.contains("key=offline/78 "))
                #expect(!log.output.contains("key=offline/77 "))
                try LogFiles.flipBit(of: place.path, at: place.offset)
                #expect(try await cluster.run(["debug", "log", directory]).ending == .exited(0))
            }
        }

        @Test("debug rows names the table file and the offset of a flipped byte", .timeLimit(.minutes(1)))
        func damagedRows() async throws {
            try await withCluster(nodes: 1) { cluster in
                let directory = try await stoppedNode(cluster, ballast: 3_000)
                let place = try TableFiles.someRow(in: directory)
                try LogFiles.flipBit(of: place.path, at: place.offset)
                let rows = try await cluster.run(["debug", "rows", directory, "--json"])
                #expect(rows.ending == .exited(1), "\(rows.errors)")
                let line = try #require(rows.output.split(separator: "\n").first { $0.hasPrefix(#"{"damage":"#) })
                #expect(
                    line.contains(URL(filePath: place.path).lastPathComponent) && line.contains(#""offset":"#),
                    "\(line)")
                #expect(line.contains(#""offset":null"#) == false, "\(line)")
                // Alone, the node does not serve what it cannot read, does not pretend that there is nothing, and goes
                // on with the rest.
                try cluster.start("n1")
                _ = try await cluster.leader()
                let reader = cluster.client()
                var unreadable = 0
                for number in 0..<200 where number != 3 {
                    do {
                        let row = try await reader.get("offline/\(number)", timeout: .milliseconds(300))
                        #expect(row.map { String(decoding: $0.value, as: UTF8.self) } == value(number, ballast: 3_000))
                    } catch let error as ClientError {
                        #expect(error.isRetryable && !error.mayHaveTakenEffect, "\(error)")
                        unreadable += 1
                    }
                }
                #expect(unreadable > 0 && unreadable < 10)
                try await reader.put("offline/more", "1")
                await reader.shutdown()
                #expect(try cluster.log("n1").contains("no other member has it"))
            }
        }

        @Test(
            "a flipped byte in one node's rows: the query that meets it has it rebuild its state from the others",
            .timeLimit(.minutes(2)))
        func damagedRowsAreRebuilt() async throws {
            try await withCluster { cluster in
                let client = cluster.client()
                try await fill(client, ballast: 3_000)
                try await cluster.waitUntilWhole()
                let damaged = try await cluster.followers()[0]
                #expect(try await cluster.stop(damaged) == [.exited(0)])
                let place = try TableFiles.someRow(in: cluster[damaged].directory)
                try LogFiles.flipBit(of: place.path, at: place.offset)
                try cluster.start(damaged)
                try await cluster.waitUntilWhole()
                let reader = try RawClient(cluster[damaged].client)
                for number in 0..<200 { _ = try? reader.get("offline/\(number)", isStale: true) }
                try await eventually("the damage is met and the state rebuilt", within: .seconds(30)) {
                    let log = try cluster.log(damaged)
                    guard log.contains("state is damaged: quarantined"), log.contains("state rebuilt") else {
                        throw TestFailure(cluster.logTail(damaged))
                    }
                    return true
                }
                try await cluster.waitUntilWhole()
                let after = try RawClient(cluster[damaged].client)
                for number in 0..<200 {
                    #expect(try after.get("offline/\(number)", isStale: true)?.value == value(number, ballast: 3_000))
                }
                try await client.put("offline/more", "1")
                #expect(try await cluster.stop(damaged) == [.exited(0)])
                #expect(try await cluster.run(["debug", "rows", cluster[damaged].directory]).ending == .exited(0))
                try cluster.start(damaged)
                try await cluster.waitUntilWhole()
                await client.shutdown()
            }
        }

        @Test(
            "rows that cannot be opened are made anew from the log, also where nobody else has them",
            .timeLimit(.minutes(1)))
        func damagedAtStart() async throws {
            try await withCluster(nodes: 1) { cluster in
                // So few rows that the service's own share a block with them.
                let directory = try await stoppedNode(cluster)
                let place = try TableFiles.someRow(in: directory)
                try LogFiles.flipBit(of: place.path, at: place.offset)
                try cluster.start("n1")
                let client = cluster.client()
                for number in 0..<200 where number != 3 {
                    let row = try await client.get("offline/\(number)")
                    #expect(row.map { String(decoding: $0.value, as: UTF8.self) } == "value-\(number)-")
                }
                #expect(try await client.get("offline/3") == nil)
                await client.shutdown()
                #expect(try cluster.log("n1").contains("the state is damaged and will be made anew"))
                #expect(try await cluster.stop("n1") == [.exited(0)])
                #expect(try await cluster.run(["debug", "rows", directory]).ending == .exited(0))
            }
        }
    }
}

/// RocksDB's table files of a stopped node.
enum TableFiles {
    /// A byte inside a block that holds records of `offline/…`: packed, it is found by its place.
    static func someRow(in nodeDirectory: String) throws -> LogFiles.Place {
        let state = try FileManager.default.contentsOfDirectory(atPath: nodeDirectory).first { $0.hasPrefix("state-") }
        guard let state else { throw TestFailure("no state in \(nodeDirectory)") }
        let directory = "\(nodeDirectory)/\(state)"
        let tables = try FileManager.default.contentsOfDirectory(atPath: directory).filter { $0.hasSuffix(".sst") }
        let sized = tables.map { name in
            (
                path: "\(directory)/\(name)",
                size: FileManager.default.contents(atPath: "\(directory)/\(name)")?.count ?? 0
            )
        }
        // Rows come first, then indexes and filters, which are much smaller.
        guard let largest = sized.max(by: { $0.size < $1.size }) else { throw TestFailure("no table in \(directory)") }
        return LogFiles.Place(path: largest.path, offset: largest.size / 4)
    }
}
