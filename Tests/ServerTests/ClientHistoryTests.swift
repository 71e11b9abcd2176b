import Client
import Foundation
import Glibc
import Testing

extension ServerTests {
    /// docs/CLIENTS.md, for the Swift client: what was there before, and what has changed since.
    @Suite struct ClientHistoryTests {
        private typealias Behaviour = ClientBehaviourTests

        private func bytes(_ text: String) -> [UInt8] { Behaviour.bytes(text) }

        /// So many revisions that a watch tells, without its marks.
        private func told(_ watch: Watch, _ count: Int) async throws -> [WatchedChanges] {
            var found: [WatchedChanges] = []
            for try await event in watch where !event.changes.isEmpty {
                found.append(event)
                if found.count == count { break }
            }
            return found
        }

        @Test(
            "C-26 C-76 C-77 C-78: earlier revisions, what was there before, who and when, what has changed since",
            .timeLimit(.minutes(2)))
        func history() async throws {
            try await withCluster(flags: Behaviour.flags) { cluster in
                let client = cluster.client()
                try await earlier(client)
                try await before(client)
                try await origins(client, cluster.client(), cluster.client(sessionTimeout: .seconds(60)))
                try await since(client)
                await client.shutdown()
            }
        }

        private func earlier(_ client: MetadataClient) async throws {
            let key = bytes("e/k")
            let early = try await client.put(key, bytes("early"))
            let off = await Behaviour.failure { try await client.get(key, at: .revision(early)) }
            #expect(off?.code == .historyOff && off?.currentRevision == 0)
            let since = try #require(try await client.setHistory(prefix: bytes("e/"), isOn: true).since)
            #expect(try await client.history().map(\.since) == [since])

            var expected: [UInt64: KeyValue?] = [
                since: KeyValue(key: key, value: bytes("early"), revision: early)
            ]
            for value in ["1", nil, "2", "3", nil] as [String?] {
                var row: KeyValue?
                let revision: UInt64
                if let value {
                    revision = try await client.put(key, bytes(value))
                    row = KeyValue(key: key, value: bytes(value), revision: revision)
                } else {
                    revision = try await client.delete(key)
                }
                expected[revision] = .some(row)
                expected[try await client.put("e/elsewhere", "")] = .some(row)
            }
            for (revision, row) in expected {
                #expect(try await client.get(key, at: .revision(revision)) == row, "revision \(revision)")
            }
            // After everything that had happened by a time is after its last revision.
            let changes = try await told(client.watch(key: key, from: since + 1, filter: .origins), 5)
            for change in changes {
                let time = try #require(change.origin?.time)
                let last = try #require(changes.last { $0.origin?.time == time }?.revision)
                #expect(try await client.get(key, at: .time(time)) == expected[last])
            }
            let tooEarly = await Behaviour.failure { try await client.get(key, at: .revision(early)) }
            #expect(tooEarly?.code == .historyOff && tooEarly?.currentRevision == since)
            let now = try await client.currentRevision()
            let toCome = await Behaviour.failure { try await client.get(key, at: .revision(now + 1_000_000)) }
            #expect(toCome?.code == .invalidRequest)
            #expect(try await client.setHistory(prefix: bytes("e/"), isOn: false).isChanged)
            let again = await Behaviour.failure { try await client.get(key, at: .revision(since)) }
            #expect(again?.code == .historyOff)
        }

        private func before(_ client: MetadataClient) async throws {
            for key in ["b/on/a", "b/off/a"] { try await client.put(key, "0") }
            let since = try #require(try await client.setHistory(prefix: bytes("b/on/"), isOn: true).since)
            let first = try await client.put("b/on/a", "1")
            let puts = ["b/off/a", "b/off/b", "b/on/a", "b/on/b"].map {
                MetadataTransaction.Operation.put(key: bytes($0), value: bytes("2"))
            }
            let second = try await client.transaction(MetadataTransaction(then: puts)).revision
            _ = try await client.deletePrefix(bytes("b/"))
            let watched = try await told(
                client.watch(prefix: bytes("b/"), from: since, filter: .valuesBefore), 3)
            let row = RowBefore.row(revision: second, value: bytes("2"))
            #expect(
                watched.map(\.before) == [
                    [.row(revision: since - 2, value: bytes("0"))],
                    [nil, nil, .row(revision: first, value: bytes("1")), .nothing], [nil, nil, row, row],
                ])
            let keys = try await told(
                client.watch(prefix: bytes("b/on/"), from: second, filter: [.before, .keysOnly]), 1)
            #expect(keys[0].before == [.row(revision: first, value: nil), .nothing])
            let plain = try await told(client.watch(prefix: bytes("b/on/"), from: second), 1)
            #expect(plain[0].before == [] && plain[0].origin == nil)
            try await client.setHistory(prefix: bytes("b/on/"), isOn: false)
        }

        private func origins(
            _ client: MetadataClient, _ brief: MetadataClient, _ owner: MetadataClient
        ) async throws {
            let from = try await client.currentRevision() + 1
            try await owner.put("o/a", "1", isOwned: true)
            let session = try #require(try await client.get("o/a")?.owner)
            await owner.shutdown()
            let ended = try await told(client.watch(prefix: bytes("o/"), from: from, filter: .origins), 2)
            // The client has ended its session itself.
            #expect(ended.map(\.origin?.session) == [session, session])
            #expect(ended.map(\.origin?.principal) == [0, 0])
            let times = ended.compactMap(\.origin?.time)
            #expect(times.count == 2 && times[0] <= times[1] && times[0] > 1_500_000_000_000_000_000)
            await brief.shutdown()
        }

        private func since(_ client: MetadataClient) async throws {
            func key(_ number: Int) -> [UInt8] { bytes("s/\(10_000 + number)") }
            let value = [UInt8](repeating: 7, count: 600)
            for start in stride(from: 0, to: 4_000, by: 1_000) {
                let puts = (start..<start + 1_000).map {
                    MetadataTransaction.Operation.put(key: key($0), value: value)
                }
                _ = try await client.transaction(MetadataTransaction(then: puts))
            }
            let since = try await client.currentRevision()
            var nothing: [ChangedRow] = []
            try await client.changes(under: bytes("s/"), since: since) { nothing.append($0) }
            #expect(nothing == [])
            // More than one part has room for.
            let changed = Array(stride(from: 0, to: 4_000, by: 2)).filter { $0 % 10 != 0 }
            let deleted = Array(stride(from: 0, to: 4_000, by: 10))
            var operations = changed.map { MetadataTransaction.Operation.put(key: key($0), value: value + [8]) }
            operations += deleted.map { .delete(key: key($0)) }
            for start in stride(from: 0, to: operations.count, by: 500) {
                let part = Array(operations[start..<min(start + 500, operations.count)])
                _ = try await client.transaction(MetadataTransaction(then: part))
            }
            let again = try await client.put(key(2), bytes("again"))
            try await client.put("s/new", "")
            try await client.delete("s/new")
            try await client.put("elsewhere", "")

            var rows: [ChangedRow] = []
            let shown = try await client.changes(under: bytes("s/"), since: since) { rows.append($0) }
            #expect(shown >= again)
            #expect(rows.map(\.key) == changed.map(key) + deleted.map(key) + [bytes("s/new")])
            #expect(rows.allSatisfy { $0.revision > since })
            #expect(rows.first == ChangedRow(key: key(2), revision: again, value: bytes("again")))
            #expect(rows.dropFirst().prefix(changed.count - 1).allSatisfy { $0.value == value + [8] })
            #expect(rows.suffix(deleted.count + 1).allSatisfy { $0.value == nil })
            let toCome = await Behaviour.failure {
                try await client.changes(under: bytes("s/"), since: shown + 1_000_000) { _ in }
            }
            #expect(toCome?.code == .invalidRequest)
        }

        @Test("C-79: who was away for longer than changes are told is brought up to date", .timeLimit(.minutes(3)))
        func away() async throws {
            let flags = Behaviour.flags + ["--segment-size", "1MiB", "--log-max", "8MiB", "--feed-size", "1MiB"]
            try await withCluster(flags: flags) { cluster in
                let client = cluster.client()
                for number in 0..<10 { try await client.put("k/\(number)", "old") }
                try await client.setHistory(prefix: bytes("k/"), isOn: true)
                let seen = try await client.currentRevision()
                try await client.put("k/3", "new")
                try await client.delete("k/5")
                let value = [UInt8](repeating: 7, count: 100_000)
                try await eventually("the log is cut at every node", within: .seconds(90)) {
                    for _ in 0..<10 { try await client.put(bytes("other"), value) }
                    for name in cluster.names where (try await cluster.status(name).feedFloor ?? 0) <= seen + 1 {
                        return false
                    }
                    return true
                }
                let ended = await Behaviour.failure {
                    let watch = client.watch(prefix: "k/", from: seen + 1)
                    for try await _ in watch { Issue.record("it tells what is gone") }
                }
                #expect(ended?.code == .compacted && (ended?.currentRevision ?? 0) > seen)
                let unknown = await Behaviour.failure { try await client.get(bytes("k/3"), at: .revision(seen)) }
                #expect(unknown?.code == .compacted)
                // What has not changed since needs no log.
                #expect(try await client.get(bytes("k/4"), at: .revision(seen))?.value == bytes("old"))
                var rows: [ChangedRow] = []
                let shown = try await client.changes(under: bytes("k/"), since: seen) { rows.append($0) }
                #expect(rows.map(\.key) == [bytes("k/3"), bytes("k/5")])
                #expect(rows.map(\.value) == [bytes("new"), nil])
                let last = try await client.put("k/7", "last")
                let next = try await told(client.watch(prefix: "k/", from: shown + 1), 1)
                #expect(next.map(\.revision) == [last])
                await client.shutdown()
            }
        }

        @Test("C-36: a session outlives a node that falls silent", .timeLimit(.minutes(2)))
        func silentNode() async throws {
            try await withCluster(flags: Behaviour.flags) { cluster in
                let client = cluster.client(sessionTimeout: .seconds(3))
                try await client.put("owned", "1", isOwned: true)
                let session = try #require(try await client.get("owned")?.owner)
                let told = Task {
                    var all: [SessionState] = []
                    for await state in client.sessionStates { all.append(state) }
                    return all
                }
                // With it the client speaks.
                let leader = try await cluster.leader().name
                try await cluster.process(leader).pause()
                try await Task.sleep(for: .milliseconds(4_500))
                #expect(try await client.get("owned")?.owner == session)
                try cluster.process(leader).send(SIGCONT)
                told.cancel()
                #expect(await !told.value.contains(.lost))
                await client.shutdown()
            }
        }
    }
}
