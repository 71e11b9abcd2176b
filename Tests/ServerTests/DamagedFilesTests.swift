import Client
import Foundation
import Testing

extension ServerTests {
    /// A bit flipped in one file of one of three nodes while it is down: it comes back without anybody's help, or says
    /// what it refuses.
    @Suite struct DamagedFilesTests {
        /// The first file of `directory` or below whose path has `part` in it.
        private static func find(_ part: String, in directory: String) throws -> String {
            let files = try FileManager.default.subpathsOfDirectory(atPath: directory)
            guard let file = files.sorted().first(where: { $0.contains(part) }) else {
                throw TestFailure("\(directory) has no file like \(part): \(files)")
            }
            return "\(directory)/\(file)"
        }

        private static func flip(_ path: String) throws {
            let size = try FileManager.default.attributesOfItem(atPath: path)[.size] as? Int ?? 0
            try LogFiles.flipBit(of: path, at: size / 2)
        }

        @Test(
            "the rows of a node, and what says which rows are live: whole again by itself",
            .timeLimit(.minutes(2)))
        func comesBack() async throws {
            try await withCluster { cluster in
                let client = cluster.client()
                for number in 0..<200 { try await client.put("damage/\(number)", "value-\(number)") }
                try await cluster.waitUntilWhole()
                let node = try await cluster.followers()[0]
                let directory = cluster[node].directory
                // The second time its state is one that was rebuilt, so that a file says which it is.
                for part in ["/CURRENT", "/CURRENT", "/MANIFEST-", ".sst", "state", "/OPTIONS-"] {
                    #expect(try await cluster.stop(node) == [.exited(0)])
                    let path = part == "state" ? "\(directory)/state" : try Self.find(part, in: directory)
                    try Self.flip(path)
                    try cluster.start(node)
                    try await cluster.waitUntilWhole()
                    let reader = try RawClient(cluster[node].client)
                    for number in [0, 77, 199] {
                        let row = try reader.get("damage/\(number)", isStale: true)
                        #expect(row?.value == "value-\(number)", "\(part)")
                    }
                    try await client.put("after", part)
                }
                try await Workload.checkThatReplicasAreEqual(cluster)
                await client.shutdown()
            }
        }

        @Test("its identity: it does not start, and names the file", .timeLimit(.minutes(1)))
        func identity() async throws {
            try await withCluster { cluster in
                let client = cluster.client()
                let node = try await cluster.followers()[0]
                try await cluster.kill(node)
                let path = "\(cluster[node].directory)/identity"
                try Self.flip(path)
                let process = try cluster.start(node)
                #expect(try await process.waitUntilEnded() == .exited(1))
                #expect(try cluster.log(node).contains("\(path) is damaged"), "\(cluster.logTail(node))")
                try await client.put("meanwhile", "1")
                try Self.flip(path)
                try cluster.start(node)
                try await cluster.waitUntilWhole()
                await client.shutdown()
            }
        }
    }
}
