import Client
import Foundation
import Testing

extension ServerTests {
    /// A byte of a stopped node's log that is not what was written there.
    @Suite struct DamageTests {
        private func fill(_ client: MetadataClient, from first: Int = 0) async throws {
            for number in first..<first + 300 { try await client.put("damage/\(number)", "value-\(number)-") }
        }

        private func checkValues(_ client: MetadataClient, count: Int) async throws {
            var found = 0
            for try await row in client.list(prefix: Array("damage/".utf8)) {
                let number = String(decoding: row.key.dropFirst("damage/".utf8.count), as: UTF8.self)
                #expect(String(decoding: row.value, as: UTF8.self) == "value-\(number)-")
                found += 1
            }
            #expect(found == count)
        }

        /// Starts the node, which is to refuse; its log must name what is damaged.
        private func expectRefusal(_ cluster: Cluster, _ name: String, _ place: (path: String, offset: Int)) async throws {
            let process = try ChildProcess(
                cluster.executable, cluster.arguments(of: name), outputPath: "\(cluster.directory)/refusal.log")
            let ending = try await process.waitUntilEnded()
            #expect(ending == .exited(1))
            let message = process.output
            #expect(message.contains("damaged log"), "\(message)")
            #expect(message.contains(URL(filePath: place.path).lastPathComponent), "\(message)")
            // The record that holds the byte starts shortly before it.
            let named = message.firstMatch(of: /at offset ([0-9]+)/).flatMap { Int($0.1) }
            #expect(named.map { (place.offset - 4_096...place.offset).contains($0) } == true, "\(message)")
            print("damage at \(place.offset): \(message.split(separator: "\n").last ?? "")")
        }

        @Test("a flipped byte in one node's log: it refuses, names the place, and the others go on", .timeLimit(.minutes(2)))
        func damagedNodeRefuses() async throws {
            try await withCluster { cluster in
                let client = cluster.client()
                try await fill(client)
                try await cluster.waitUntilWhole()
                let damaged = try await cluster.followers()[0]
                try await cluster.kill(damaged)
                let place = try LogFiles.find("value-150-", in: cluster[damaged].directory)
                try LogFiles.flipBit(of: place.path, at: place.offset)
                let workload = Workload(cluster, writers: 2)
                try await expectRefusal(cluster, damaged, place)
                try await fill(client, from: 300)
                try await checkValues(client, count: 600)
                // Refusing has changed nothing on its disk: with the byte set right it comes back.
                try LogFiles.flipBit(of: place.path, at: place.offset)
                try cluster.start(damaged)
                try await cluster.waitUntilWhole()
                try await Workload.check(await workload.stop(), on: cluster)
                try await checkValues(client, count: 600)
                await client.shutdown()
            }
        }

        @Test("damagedAloneRefuses: a single node with a damaged log does not start, and serves no wrong value", .timeLimit(.minutes(1)))
        func damagedAloneRefuses() async throws {
            try await withCluster(nodes: 1) { cluster in
                let client = cluster.client()
                try await fill(client)
                try await cluster.kill("n1")
                let place = try LogFiles.find("value-7-", in: cluster["n1"].directory)
                try LogFiles.flipBit(of: place.path, at: place.offset + 2)
                try await expectRefusal(cluster, "n1", place)
                await #expect(throws: ClientError.self) { try await client.get("damage/7", timeout: .milliseconds(300)) }
                try LogFiles.flipBit(of: place.path, at: place.offset + 2)
                try cluster.start("n1")
                try await checkValues(client, count: 300)
                await client.shutdown()
            }
        }

        @Test("damage in an old segment, below what the state has applied, never becomes a wrong value", .timeLimit(.minutes(1)))
        func damageBelowApplied() async throws {
            try await withCluster { cluster in
                let client = cluster.client()
                try await fill(client)
                // Another segment or two after the one with these records.
                let filler = [UInt8](repeating: 0x66, count: 500_000)
                for number in 0..<10 { try await client.put(Array("filler/\(number)".utf8), filler) }
                try await cluster.waitUntilWhole()
                let damaged = try await cluster.followers()[0]
                // A graceful stop flushes the state: these records are not needed at the next start.
                #expect(try await cluster.stop(damaged) == .exited(0))
                let place = try LogFiles.find("value-150-", in: cluster[damaged].directory)
                try LogFiles.flipBit(of: place.path, at: place.offset)
                try cluster.start(damaged)
                try await cluster.waitUntilWhole()
                let reader = try RawClient(cluster[damaged].client)
                for number in [0, 149, 150, 151, 299] {
                    #expect(try reader.get("damage/\(number)")?.value == "value-\(number)-")
                }
                try await checkValues(client, count: 300)
                await client.shutdown()
            }
        }
    }
}
