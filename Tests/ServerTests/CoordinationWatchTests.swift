import Client
import Foundation
import Glibc
import Testing

extension ServerTests {
    /// Who leads, who holds, what is stored: told as it happens, by real nodes.
    @Suite struct CoordinationWatchTests {
        private static func text(_ leader: ElectionCandidate?) -> String? {
            leader.map { String(decoding: $0.data, as: UTF8.self) }
        }

        @Test(
            "C-44: observers are told each leader once, in order, and new data without a new fence, over the loss of nodes",
            .timeLimit(.minutes(2)))
        func observers() async throws {
            try await withCluster { cluster in
                let (first, second, other) = (cluster.client(), cluster.client(), cluster.client())
                var seen = other.observe("g").makeAsyncIterator()
                #expect(try await seen.next()?.leader == nil)
                let ticket = try await first.campaign("g", data: Array("a".utf8))
                let one = try #require(try await seen.next()?.leader)
                #expect(one.ticket == ticket)
                #expect(Self.text(one) == "a")
                let waiting = try await second.campaign("g", data: Array("b".utf8))
                try await first.setCandidateData("g", Array("a2".utf8))
                let changed = try #require(try await seen.next()?.leader)
                #expect(Self.text(changed) == "a2")
                #expect(changed.ticket == one.ticket)
                await #expect(throws: ClientError.self) { try await second.setCandidateData("g", []) }

                // Whatever node the watch is at, it is gone, or its leader is, before the next change.
                for name in cluster.names {
                    try await cluster.kill(name)
                    try await first.setCandidateData("g", Array("without \(name)".utf8))
                    let told = try #require(try await seen.next()?.leader)
                    #expect(Self.text(told) == "without \(name)")
                    #expect(told.ticket == one.ticket)
                    try cluster.start(name)
                    _ = try await eventually("\(name) answers") { try await cluster.status(name) }
                }

                async let turn = second.waitToLead("g", waiting)
                try await first.withdraw("g")
                let two = try #require(try await seen.next())
                #expect(Self.text(two.leader) == "b")
                #expect(try await turn == .election("g", try #require(two.leader?.ticket.fence)))
                #expect(try #require(two.leader?.ticket.fence) > (ticket.fence ?? .max))
                await second.shutdown()
                #expect(try await seen.next()?.leader == nil)
                // One that comes now begins with how things stand.
                var late = other.observe("g").makeAsyncIterator()
                #expect(try await late.next()?.leader == nil)
                await first.shutdown()
                await other.shutdown()
            }
        }

        @Test("C-35: holders of locks, state variables and owners of records, as they change", .timeLimit(.minutes(1)))
        func locksAndState() async throws {
            try await withCluster(nodes: 1) { cluster in
                let (client, other) = (cluster.client(), cluster.client())
                var holders = other.watchLock("l").makeAsyncIterator()
                #expect(try await holders.next()?.holders == [])
                let exclusive = try await client.acquireLock("l")
                #expect(try await holders.next()?.holders.map(\.ticket) == [exclusive])
                let shared = [try await other.acquireLock("l", .shared)]
                #expect(shared[0].fence == nil)
                try await client.releaseLock("l")
                let held = try await other.waitToHold("l", shared[0])
                #expect(try await holders.next()?.holders.map(\.ticket.fence) == [held.number])
                _ = try await client.acquireLock("l", .shared)
                let both = try #require(try await holders.next()?.holders)
                #expect(both.map(\.sharing) == [.shared, .shared])

                var state = other.watchState(prefix: Array("s/".utf8)).makeAsyncIterator()
                _ = try await state.next()
                var variable = try await client.stateFetch("s/x")
                variable.value = Array("1".utf8)
                let stored = try #require(try await client.stateStore(variable))
                #expect(try await client.stateExpunge(stored))
                #expect(try await state.next()?.changes.map(\.variable) == [stored])
                let expunged = try #require(try await state.next()?.changes.first)
                #expect(expunged.name == stored.name)
                #expect(expunged.variable == nil)

                var records = other.watch(prefix: "").makeAsyncIterator()
                _ = try await records.next()
                try await client.put("owned", "1", isOwned: true)
                let session = both[1].session
                let (key, value) = (Array("owned".utf8), Array("1".utf8))
                #expect(try await records.next()?.changes == [.put(key: key, value: value, owner: session)])
                #expect(try await other.get("owned")?.owner == session)
                for try await row in other.list(prefix: key) { #expect(row.owner == session) }
                let got = try await cluster.run(["get", "owned", "--json", "--endpoints", cluster.endpoints[0]])
                #expect(got.output.hasSuffix(",\"owner\":\"\(session)\"}\n"))
                try await other.put("owned", "1")
                #expect(try await other.get("owned") != nil)
                #expect(try await other.get("owned")?.owner == nil)
                #expect(try await records.next()?.changes == [.put(key: key, value: value)])
                await client.shutdown()
                await other.shutdown()
            }
        }

        @Test("quorate leader --watch and watch --table print what happens, and end when asked to", .timeLimit(.minutes(1)))
        func commands() async throws {
            try await withCluster(nodes: 1) { cluster in
                let client = cluster.client()
                let endpoints = ["--endpoints", cluster.endpoints[0]]
                func start(_ name: String, _ arguments: [String]) throws -> ChildProcess {
                    try ChildProcess(
                        cluster.executable, arguments + endpoints, outputPath: "\(cluster.directory)/\(name).txt")
                }
                let leaders = try start("leaders", ["leader", "g", "--watch", "--json"])
                let persons = try start("persons", ["leader", "g", "--watch", "--limit", "3"])
                let tickets = try start("tickets", ["watch", "g", "--table", "elections", "--limit", "2", "--json"])
                let locks = try start("locks", ["watch", "--table", "locks", "--limit", "1", "--json"])
                for process in [leaders, persons, tickets, locks] {
                    try await eventually("it has begun") { !process.output.isEmpty }
                }
                let ticket = try await client.campaign("g", data: Array("v".utf8))
                let session = try #require(try await client.leader("g")?.session)
                let lock = try await client.acquireLock("k", .shared)
                try await client.withdraw("g")
                #expect(try await persons.waitUntilEnded() == .exited(0))
                #expect(persons.output == "nobody\nv, fence \(ticket.number)\nnobody\n")
                try await eventually("all is told") { leaders.output.split(separator: "\n").count == 3 }
                let lines = leaders.output.split(separator: "\n")
                #expect(lines[0].hasPrefix("{\"group\":\"g\",\"found\":false,\"revision\":"))
                let number = ticket.number
                #expect(
                    lines[1]
                        == "{\"group\":\"g\",\"value\":\"v\",\"fence\":\(number),\"ticket\":\(number),\"session\":\"\(session)\",\"revision\":\(number)}"
                )
                leaders.send(SIGTERM)
                #expect(try await leaders.waitUntilEnded() == .exited(0))
                #expect(try await tickets.waitUntilEnded() == .exited(0))
                let told = tickets.output.split(separator: "\n")
                #expect(
                    told[1]
                        == "{\"revision\":\(number),\"changes\":[{\"group\":\"g\",\"ticket\":\(number),\"session\":\"\(session)\",\"fence\":\(number),\"value\":\"v\"}]}"
                )
                #expect(told[2].hasSuffix("\"changes\":[{\"group\":\"g\",\"ticket\":\(number),\"deleted\":true}]}"))
                #expect(try await locks.waitUntilEnded() == .exited(0))
                #expect(locks.output.contains("\"lock\":\"k\",\"ticket\":\(lock.number),\"shared\":true"))
                for wrong in [["leader", "g", "--limit", "1"], ["watch", "--table", "none"]] {
                    #expect(try await cluster.run(wrong).ending == .exited(2))
                }
                await client.shutdown()
            }
        }
    }
}
