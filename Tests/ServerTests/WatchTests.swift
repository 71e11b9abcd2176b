import Client
import Foundation
import Synchronization
import Testing

extension ServerTests {
    /// Watches of real nodes, by the library, the command and a client written from the document.
    @Suite struct WatchTests {
        @Test("a watch sees each change once, in order, transactions whole", .timeLimit(.minutes(1)))
        func liveAtOneNode() async throws {
            try await withCluster(nodes: 1) { cluster in
                let client = cluster.client()
                try await client.put("w/before", "1")
                var iterator = client.watch(prefix: "w/").makeAsyncIterator()
                let begun = try #require(try await iterator.next())
                #expect(begun.changes.isEmpty)
                let first = try await client.put("w/a", "1")
                try await client.put("other", "1")
                #expect(begun.revision < first)
                let outcome = try await client.transaction(
                    MetadataTransaction(then: [
                        .put(key: Array("w/b".utf8), value: Array("2".utf8)), .delete(key: Array("w/a".utf8)),
                        .put(key: Array("elsewhere".utf8), value: []),
                    ]))
                try await client.put("w/c", "3")
                let gone = try await client.deletePrefix(Array("w/".utf8))
                #expect(
                    try await iterator.next()
                        == WatchedChanges(revision: first, changes: [.put(key: Array("w/a".utf8), value: Array("1".utf8))]))
                #expect(
                    try await iterator.next()
                        == WatchedChanges(
                            revision: outcome.revision,
                            changes: [
                                .deleted(key: Array("w/a".utf8)),
                                .put(key: Array("w/b".utf8), value: Array("2".utf8)),
                            ]))
                #expect(try await iterator.next()?.changes.count == 1)
                let last = try #require(try await iterator.next())
                #expect(last.revision == gone.revision)
                #expect(last.changes.map(\.key) == ["w/b", "w/before", "w/c"].map { Array($0.utf8) })
                await client.shutdown()
            }
        }

        @Test("quorate watch prints what happens, from now or from a revision", .timeLimit(.minutes(1)))
        func command() async throws {
            try await withCluster(nodes: 1) { cluster in
                let client = cluster.client()
                let output = "\(cluster.directory)/watch.txt"
                let watch = try ChildProcess(
                    cluster.executable,
                    ["watch", "k/", "--limit", "2", "--endpoints", cluster.endpoints[0]], outputPath: output)
                try await eventually("it watches") { watch.output.contains("watching after revision") }
                let first = try await client.put("k/1", "one")
                let second = try await client.delete(Array("k/1".utf8))
                #expect(try await watch.waitUntilEnded() == .exited(0))
                let lines = watch.output.split(separator: "\n").dropFirst()
                #expect(lines == ["\(first)\tput\tk/1\tone", "\(second)\tdeleted\tk/1"])

                let (ending, printed, _) = try await cluster.run([
                    "watch", "k/", "--from", "\(first)", "--limit", "2", "--json", "--endpoints", cluster.endpoints[0],
                ])
                #expect(ending == .exited(0))
                #expect(
                    printed.split(separator: "\n") == [
                        "{\"revision\":\(first - 1),\"changes\":[]}",
                        "{\"revision\":\(first),\"changes\":[{\"key\":\"k/1\",\"value\":\"one\"}]}",
                        "{\"revision\":\(second),\"changes\":[{\"key\":\"k/1\",\"deleted\":true}]}",
                    ])
                for wrong in [["watch", "--from", "0"], ["watch", "--limit", "0"]] {
                    #expect(try await cluster.run(wrong).ending == .exited(2))
                }
                let nobody = try await cluster.run([
                    "watch", "--json", "--timeout", "300ms", "--endpoints", "127.0.0.1:1",
                ])
                #expect(nobody.ending == .exited(1))
                #expect(nobody.output.contains("\"error\":\"unavailable\""))
                await client.shutdown()
            }
        }
    }
}
