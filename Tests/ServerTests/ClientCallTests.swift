import Client
import Foundation
import Glibc
import Testing

extension ServerTests {
    /// docs/CLIENTS.md, for the Swift client: what its calls do at nodes that nothing happens to.
    @Suite struct ClientCallTests {
        private typealias Behaviour = ClientBehaviourTests

        private func bytes(_ text: String) -> [UInt8] { Behaviour.bytes(text) }

        @Test("C-20 C-21 C-22 C-23 C-25 C-90: records and errors", .timeLimit(.minutes(2)))
        func records() async throws {
            try await withCluster(flags: Behaviour.flags) { cluster in
                let client = cluster.client()
                try await conditions(client)
                try await prefixes(client)
                try await listing(client, cluster.client())
                try await transactions(client)

                let random = try #require(FileHandle(forReadingAtPath: "/dev/urandom"))
                let value = [UInt8](try #require(try random.read(upToCount: (4 << 20) - 100)))
                let key = (0...255).map { UInt8($0) }
                try await client.put(key, value)
                #expect(try await client.get(key)?.value == value)
                try await client.put(key, [])
                #expect(try await client.get(key)?.value == [])

                let long = await Behaviour.failure { try await client.put(key, value + value) }
                #expect(long?.code == .tooLarge && long?.limit == 4 << 20)
                try await cluster.kill(try await cluster.followers())
                let late = await Behaviour.failure { try await client.get("a", timeout: .seconds(1)) }
                #expect(late?.isRetryable == true && late?.mayHaveTakenEffect == false)
                for name in cluster.names where cluster[name].process == nil { try cluster.start(name) }
                await client.shutdown()
            }
        }

        private func conditions(_ client: MetadataClient) async throws {
            #expect(try await client.get("a") == nil)
            let first = try await client.put("a", "1", ifRevision: 0)
            #expect(try await client.get("a") == KeyValue(key: bytes("a"), value: bytes("1"), revision: first))
            let again = await Behaviour.failure { try await client.put("a", "2", ifRevision: 0) }
            #expect(again?.code == .conflict && again?.currentRevision == first && again?.isRetryable == false)
            let second = try await client.put("a", "2", ifRevision: first)
            let late = await Behaviour.failure { try await client.delete("a", ifRevision: first) }
            #expect(late?.currentRevision == second)
            try await client.delete("a", ifRevision: second)
            try await client.delete("a")
            #expect(try await client.get("a") == nil)
            let gone = await Behaviour.failure { try await client.put("a", "3", ifRevision: second) }
            #expect(gone?.currentRevision == 0)
        }

        private func prefixes(_ client: MetadataClient) async throws {
            var keys: [[UInt8]] = []
            for _ in 1...5 { keys.append(try await client.createSequential(prefix: bytes("s/"), value: []).key) }
            #expect(keys == keys.sorted { $0.lexicographicallyPrecedes($1) })
            let part = try await client.deletePrefix(bytes("s/"), limit: 2)
            #expect(part.count == 2 && part.hasMore)
            let rest = try await client.deletePrefix(bytes("s/"))
            #expect(rest.count == 3 && !rest.hasMore)
            let later = try await client.createSequential(prefix: bytes("s/"), value: []).key
            #expect(keys[4].lexicographicallyPrecedes(later))
        }

        private func listing(_ client: MetadataClient, _ other: MetadataClient) async throws {
            func key(_ number: Int) -> [UInt8] { bytes("l/\(10_000 + number)") }
            for start in stride(from: 0, to: 2_500, by: 500) {
                let puts = (start..<start + 500).map {
                    MetadataTransaction.Operation.put(key: key($0), value: bytes("old"))
                }
                _ = try await client.transaction(MetadataTransaction(then: puts))
            }
            // One transaction at a time takes a row from the end and puts one at the beginning: always 2,500.
            let writing = Task {
                var count = 0
                while !Task.isCancelled {
                    count += 1
                    _ = try await other.transaction(
                        MetadataTransaction(then: [
                            .delete(key: bytes("l/\(12_500 - count)")),
                            .put(key: bytes("l/!\(10_000 + count)"), value: bytes("new")),
                        ]))
                }
                return count
            }
            for _ in 1...3 {
                var keys: [[UInt8]] = []
                for try await row in client.list(prefix: bytes("l/")) { keys.append(row.key) }
                #expect(keys.count == 2_500)
                #expect(zip(keys, keys.dropFirst()).allSatisfy { $0.lexicographicallyPrecedes($1) })
            }
            writing.cancel()
            // The call that the end of the task interrupts may have had an effect, as a whole.
            _ = try? await writing.value
            #expect(try await client.count(prefix: bytes("l/")) == 2_500)
            await other.shutdown()
        }

        private func transactions(_ client: MetadataClient) async throws {
            let revision = try await client.put("t", "1")
            for name in ["x", "y"] { try await client.put("t/\(name)", name) }
            let outcome = try await client.transaction(
                MetadataTransaction(
                    if: [
                        .revision(key: bytes("t"), revision), .value(key: bytes("t"), bytes("1")),
                        .exists(key: bytes("t/x"), true), .exists(key: bytes("t/w"), false),
                    ],
                    then: [
                        .put(key: bytes("t"), value: bytes("2")), .get(key: bytes("t")), .delete(key: bytes("t/x")),
                        .deletePrefix(bytes("t/y")), .get(key: bytes("t/w")),
                    ], otherwise: [.put(key: bytes("t"), value: bytes("wrong"))]))
            #expect(outcome.succeeded)
            let before = KeyValue(key: bytes("t"), value: bytes("1"), revision: revision)
            #expect(outcome.results == [.put, .row(before), .deleted, .deletedPrefix(count: 1), .row(nil)])
            let other = try await client.transaction(
                MetadataTransaction(
                    if: [.unchanged(prefix: bytes("t/"), since: revision)],
                    then: [.put(key: bytes("t"), value: bytes("wrong"))], otherwise: [.get(key: bytes("t"))]))
            let after = KeyValue(key: bytes("t"), value: bytes("2"), revision: outcome.revision)
            #expect(!other.succeeded && other.results == [.row(after)])
        }

        @Test(
            "C-34 C-40 C-42 C-43 C-50 C-51 C-52 C-53 C-60 C-80: sessions' ends, elections, locks, fences, State API",
            .timeLimit(.minutes(2)))
        func coordination() async throws {
            try await withCluster(flags: Behaviour.flags) { cluster in
                let (second, third) = (cluster.client(), cluster.client())
                try await elections(cluster.client(sessionTimeout: .seconds(60)), second, third)
                try await locks(cluster.client(sessionTimeout: .seconds(60)), second, third)
                try await variables(second, third)
                await second.shutdown()
                await third.shutdown()
            }
        }

        private func elections(
            _ first: MetadataClient, _ second: MetadataClient, _ third: MetadataClient
        ) async throws {
            try await first.put("owned", "1", isOwned: true)
            let leading = try await first.campaign("g", data: bytes("a"))
            let old = Fence.election("g", try #require(leading.fence))
            let waiting = try await second.campaign("g", data: bytes("b"))
            #expect(waiting.fence == nil)
            try await first.setCandidateData("g", bytes("a2"))
            #expect(try await third.leader("g")?.data == bytes("a2"))
            let notLeading = await Behaviour.failure { try await second.setCandidateData("g", bytes("b2")) }
            #expect(notLeading?.code == .notLeading)
            try await first.put("k", "1", guards: [old])

            await first.shutdown()
            #expect(try await third.get("owned") == nil)
            let new = try await second.waitToLead("g", waiting, deadline: .seconds(5))
            #expect(new.number > old.number)
            let fenced = await Behaviour.failure { try await third.put("k", "2", guards: [old]) }
            #expect(fenced?.code == .fenced && fenced?.currentFence == new.number)
            try await third.put("k", "3", guards: [new])
            #expect(try await third.validate(new).holds)
            let validity = try await third.validate(old)
            #expect(!validity.holds && validity.current == new.number)

            _ = try await third.campaign("g", data: bytes("c"))
            #expect(try await second.campaign("g", data: bytes("b")).fence == nil)
            #expect(try await third.candidates("g").map(\.data) == [bytes("c"), bytes("b")])
        }

        private func locks(_ first: MetadataClient, _ second: MetadataClient, _ third: MetadataClient) async throws {
            let held = try await first.acquireLock("l")
            let places = (try await second.acquireLock("l"), try await third.acquireLock("l"))
            #expect(places.0.fence == nil && places.1.fence == nil)
            try await first.releaseLock("l")
            let next = try await second.waitToHold("l", places.0, deadline: .seconds(5))
            #expect(next.number > (held.fence ?? .max))
            try await first.put("k", "4", guards: [next])
            #expect(try await third.lockLine("l").map(\.ticket.fence) == [next.number, nil])
            try await second.releaseLock("l")
            let last = try await third.waitToHold("l", places.1, deadline: .seconds(5))
            #expect(last.number > next.number)

            let tried = await Behaviour.failure { try await first.acquireLock("l", isTry: true) }
            #expect(tried?.code == .lockHeld)
            let late = try await first.acquireLock("l")
            let gaveUp = await Behaviour.failure {
                try await first.waitToHold("l", late, deadline: .milliseconds(500))
            }
            #expect(gaveUp?.code == .timeout)
            #expect(try await third.lockLine("l").map(\.ticket.fence) == [last.number])
            try await third.releaseLock("l")

            let shared = (try await first.acquireLock("s", .shared), try await second.acquireLock("s", .shared))
            #expect(shared.0.fence != nil && shared.1.fence != nil)
            let alone = try await third.acquireLock("s")
            try await first.releaseLock("s")
            #expect(try await third.lockLine("s").last?.ticket.fence == nil)
            try await second.releaseLock("s")
            _ = try await third.waitToHold("s", alone, deadline: .seconds(5))

            _ = try await first.acquireLock("d", delay: .seconds(1))
            let delayed = try await second.acquireLock("d")
            await first.shutdown()
            let endedAt = ContinuousClock.now
            #expect(try await second.lockLine("d").map(\.isReleasedLater) == [true, false])
            _ = try await second.waitToHold("d", delayed, deadline: .seconds(10))
            #expect(ContinuousClock.now - endedAt > .milliseconds(800))
        }

        private func variables(_ first: MetadataClient, _ second: MetadataClient) async throws {
            var one = try await first.stateFetch("v")
            var two = try await second.stateFetch("v")
            #expect(!one.isStored && one.value == [])
            one.value = bytes("1")
            two.value = bytes("2")
            let stored = try #require(try await first.stateStore(one))
            #expect(try await second.stateStore(two) == nil)
            #expect(try await second.stateFetch("v") == stored)
            let again = try #require(try await second.stateStore(stored))
            #expect(try await first.stateStore(stored) == nil)
            #expect(try await first.stateExpunge(stored) == false)
            #expect(try await first.stateNames() == [bytes("v")])
            #expect(try await first.stateExpunge(again))
            #expect(try await first.stateNames() == [])
        }

        @Test("C-71 C-72 C-73 C-74: watches", .timeLimit(.minutes(2)))
        func watches() async throws {
            try await withCluster(flags: Behaviour.flags) { cluster in
                let client = cluster.client()
                var outcomes: [UInt64] = []
                for number in 0..<20 {
                    let puts = (0..<5).map {
                        MetadataTransaction.Operation.put(key: bytes("w/\($0)"), value: bytes("\(number)"))
                    }
                    outcomes.append(try await client.transaction(MetadataTransaction(then: puts)).revision)
                }
                try await client.delete("w/0")
                let atomic = try await told(client.watch(prefix: "w/", from: outcomes[5]), until: bytes("w/0"))
                #expect(atomic.map(\.revision).dropLast() == outcomes.dropFirst(5))
                #expect(atomic.dropLast().allSatisfy { $0.changes.count == 5 })
                #expect(atomic.last?.changes == [.deleted(key: bytes("w/0"))])

                let every = bytes("w/")
                let noPuts = try await told(
                    client.watch(prefix: every, from: outcomes[0], filter: .noPuts), until: bytes("w/0"))
                #expect(noPuts.flatMap(\.changes) == [.deleted(key: bytes("w/0"))])
                let key = try await told(client.watch(key: bytes("w/0"), from: outcomes[18]), until: bytes("w/0"))
                #expect(
                    key.flatMap(\.changes) == [
                        .put(key: bytes("w/0"), value: bytes("18")), .put(key: bytes("w/0"), value: bytes("19")),
                        .deleted(key: bytes("w/0")),
                    ])
                var keysOnly = client.watch(
                    prefix: every, from: outcomes[19], filter: [.keysOnly, .noDeletes]
                ).makeAsyncIterator()
                var changes: [WatchedChanges.Change] = []
                while changes.isEmpty { changes = try await keysOnly.next()?.changes ?? [.deleted(key: [])] }
                #expect(changes == (0..<5).map { .put(key: bytes("w/\($0)"), value: []) })

                var marks = client.watch(prefix: bytes("none/"), progressEvery: .milliseconds(250)).makeAsyncIterator()
                _ = try await marks.next()
                let elsewhere = try await client.put("elsewhere", "1")
                var mark = try await marks.next()
                while let seen = mark, seen.revision < elsewhere {
                    #expect(seen.changes.isEmpty)
                    mark = try await marks.next()
                }

                // 8 MiB of changes come before the first of them is read.
                var slow = client.watch(prefix: "slow").makeAsyncIterator()
                _ = try await slow.next()
                let value = [UInt8](repeating: 7, count: 64 << 10)
                var written: [UInt64] = []
                for _ in 1...128 { written.append(try await client.put(bytes("slow"), value)) }
                var seen: [UInt64] = []
                while seen.count < 128, let event = try await slow.next() {
                    if !event.changes.isEmpty { seen.append(event.revision) }
                }
                #expect(seen == written)
                await client.shutdown()
            }
        }

        /// What a watch tells, to the first delete of `last`.
        private func told(_ watch: Watch, until last: [UInt8]) async throws -> [WatchedChanges] {
            var all: [WatchedChanges] = []
            for try await event in watch where !event.changes.isEmpty {
                all.append(event)
                if event.changes.contains(.deleted(key: last)) { break }
            }
            return all
        }
    }
}
