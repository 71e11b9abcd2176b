import Client
import Foundation
import Glibc
import Testing

extension ServerTests {
    /// docs/CLIENTS.md, for the Swift client. Behaviours that leave the nodes alone share a cluster.
    @Suite struct ClientBehaviourTests {
        /// Elections that are over sooner: what is looked at here is the client.
        static let flags = ["--heartbeat-interval", "50ms", "--election-timeout", "400ms-800ms"]

        static func addProxies(_ cluster: Cluster) throws {
            for name in cluster.names {
                cluster.clientProxies[name] = try FlippingProxy(to: cluster[name].client, seed: 1)
            }
        }

        static func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

        /// How a call failed; nil: it did not.
        static func failure(_ call: () async throws -> some Any) async -> ClientError? {
            do {
                _ = try await call()
                return nil
            } catch { return error as? ClientError }
        }

        // MARK: Connection and discovery

        @Test("C-01 C-02 C-04: one address is enough; leaders are killed and stopped", .timeLimit(.minutes(2)))
        func leadersGo() async throws {
            try await withCluster(flags: Self.flags) { cluster in
                let first = try await cluster.followers()[0]
                let client = cluster.client(of: [first])
                try await client.put("a", "0")
                try await cluster.kill(first)
                try await client.put("a", "1")
                try cluster.start(first)
                try await cluster.waitUntilWhole()
                for round in 2...3 {
                    let leader = try await cluster.leader().name
                    async let underWay = client.get("a")
                    try await cluster.kill(leader)
                    try await client.put("a", "\(round)")
                    #expect(try await underWay != nil)
                    try cluster.start(leader)
                    try await cluster.waitUntilWhole()
                }
                let leader = try await cluster.leader().name
                let process = try cluster.process(leader)
                process.send(SIGTERM)
                while process.poll() == nil { try await client.put("a", "stopping") }
                #expect(process.poll() == .exited(0))
                try await client.put("a", "stopped")
                try cluster.start(leader)
                #expect(try await client.get("a")?.value == Self.bytes("stopped"))
                await client.shutdown()
            }
        }

        @Test("C-03 C-05: a leader that says nothing; no quorum", .timeLimit(.minutes(2)))
        func silence() async throws {
            try await withCluster(flags: Self.flags) { cluster in
                let client = cluster.client()
                try await client.put("a", "1")
                let leader = try await cluster.leader().name
                try await cluster.process(leader).pause()
                try await client.put("a", "2", timeout: .seconds(10))
                #expect(try await client.get("a", timeout: .seconds(10))?.value == Self.bytes("2"))
                try cluster.process(leader).send(SIGCONT)
                try await cluster.waitUntilWhole()

                try await cluster.kill(try await cluster.followers())
                let startedAt = ContinuousClock.now
                let read = try #require(await Self.failure { try await client.get("a", timeout: .seconds(1)) })
                let write = try #require(await Self.failure { try await client.put("a", "3", timeout: .seconds(1)) })
                #expect(ContinuousClock.now - startedAt < .seconds(4))
                for error in [read, write] {
                    #expect(error.message.contains(/reached \d of 3/), "\(error)")
                }
                for name in cluster.names where cluster[name].process == nil { try cluster.start(name) }
                await client.shutdown()
            }
        }

        @Test("C-06 C-78: a restored cluster is another one", .timeLimit(.minutes(2)))
        func restored() async throws {
            try await withCluster(flags: Self.flags) { cluster in
                let client = cluster.client()
                let before = try await client.put("a", "1")
                let file = "\(cluster.directory)/snapshot"
                let endpoints = ["--endpoints", cluster.endpoints.joined(separator: ",")]
                #expect(try await cluster.run(["snapshot", "save", file] + endpoints).ending == .exited(0))
                try await cluster.kill(cluster.names)
                for name in cluster.names {
                    try await cluster.wipe(name)
                    let arguments = [
                        "restore", file, "--name", name, "--data", cluster[name].directory, "--cluster",
                        cluster.founders,
                    ]
                    #expect(try await cluster.run(arguments).ending == .exited(0))
                    try cluster.start(name)
                }
                try await cluster.waitUntilWhole()
                for _ in 1...2 {
                    #expect(await Self.failure { try await client.get("a") }?.code == .generationChanged)
                }
                #expect(await Self.failure { try await client.put("a", "2") }?.code == .generationChanged)
                let anew = cluster.client()
                #expect(try await anew.get("a")?.value == Self.bytes("1"))
                let first = try await anew.put("c", "1")
                let last = try await anew.put("b", "1")
                let unknown = await Self.failure { try await anew.changes(under: [], since: before) { _ in } }
                #expect(unknown?.code == .compacted)
                let floor = try #require(unknown?.currentRevision)
                #expect(floor > before && floor < last)
                var changed: [ChangedRow] = []
                try await anew.changes(under: [], since: first) { changed.append($0) }
                #expect(changed == [ChangedRow(key: Self.bytes("b"), revision: last, value: Self.bytes("1"))])
                await anew.shutdown()
                await client.shutdown()
            }
        }

        // MARK: Exactly once

        @Test("C-10 C-12 C-13: replies that are lost or late; nodes out of reach", .timeLimit(.minutes(2)))
        func lostReplies() async throws {
            try await withCluster(flags: Self.flags, prepare: Self.addProxies) { cluster in
                let client = cluster.client()
                try await client.put("a", "1")
                let leader = try await cluster.leader().name
                let direct = try RawClient(cluster[leader].client)

                // The client gives the silent connection up; what it then sends again, elsewhere, is the same creation.
                cluster.clientProxies[leader]?.holdReplies(true)
                async let created = client.put("once", "1", ifRevision: 0)
                try await eventually("the creation is applied") { try direct.get("once") != nil }
                #expect(try await created == (try await client.get("once"))?.revision)
                cluster.clientProxies[leader]?.holdReplies(false)

                for proxy in cluster.clientProxies.values { proxy.holdReplies(true) }
                let late = await Self.failure { try await client.put("late", "1", timeout: .seconds(1)) }
                #expect(late?.mayHaveTakenEffect == true, "\(String(describing: late))")
                for proxy in cluster.clientProxies.values { proxy.holdReplies(false) }
                let next = try await client.put("next", "1")
                let row = try #require(try await client.get("late"))
                #expect(row.revision < next)

                for proxy in cluster.clientProxies.values { proxy.stop() }
                // A read finds out that nobody is there.
                #expect(await Self.failure { try await client.get("a", timeout: .seconds(1)) } != nil)
                let never = await Self.failure { try await client.put("never", "1", timeout: .milliseconds(500)) }
                #expect(never?.mayHaveTakenEffect == false, "\(String(describing: never))")
                #expect(try direct.get("never") == nil)
                await client.shutdown()
            }
        }

        @Test(
            "C-11 C-14 C-91: many at once, while the leader is killed, and with some refused", .timeLimit(.minutes(2)))
        func manyAtOnce() async throws {
            try await withCluster(flags: Self.flags) { cluster in
                let client = cluster.client()
                try await client.put("a", "1")
                let leader = try await cluster.leader().name
                let keys = try await withThrowingTaskGroup(of: [UInt8].self) { group in
                    for number in 0..<400 {
                        group.addTask {
                            let value = Self.bytes("\(number)")
                            return try await client.createSequential(prefix: Self.bytes("s/"), value: value).key
                        }
                    }
                    var keys = Set<[UInt8]>()
                    while let key = try await group.next() {
                        keys.insert(key)
                        if keys.count == 100 { try await cluster.kill(leader) }
                    }
                    return keys
                }
                var rows = Set<[UInt8]>(), values = Set<[UInt8]>()
                for try await row in client.list(prefix: Self.bytes("s/")) {
                    rows.insert(row.key)
                    values.insert(row.value)
                }
                #expect(keys.count == 400 && rows == keys && values.count == 400)
                try cluster.start(leader)
                try await cluster.waitUntilWhole()

                let long = String(repeating: "k", count: 5_000)
                try await withThrowingTaskGroup(of: Void.self) { group in
                    for number in 0..<60 {
                        group.addTask {
                            switch number % 3 {
                            case 0: try await client.put("r/\(number)", "1")
                            case 1:
                                let error = await Self.failure { try await client.put("a", "2", ifRevision: 1) }
                                #expect(error?.code == .conflict)
                            default:
                                let error = await Self.failure { try await client.put(long, "1") }
                                #expect(error?.code == .tooLarge)
                            }
                        }
                    }
                    try await group.waitForAll()
                }
                #expect(try await client.count(prefix: Self.bytes("r/")) == 20)

                try await withThrowingTaskGroup(of: Void.self) { group in
                    for number in 0..<3_000 {
                        group.addTask { try await client.put("m/\(number)", "1") }
                        group.addTask { _ = try await client.get("m/\(number)") }
                    }
                    try await group.waitForAll()
                }
                #expect(try await client.count(prefix: Self.bytes("m/")) == 3_000)
                await client.shutdown()
            }
        }

        // MARK: Sessions

        @Test("C-31 C-32 C-33: suspended, connected again, lost, another session", .timeLimit(.minutes(2)))
        func sessionStates() async throws {
            try await withCluster(flags: Self.flags, prepare: Self.addProxies) { cluster in
                let client = cluster.client(sessionTimeout: .seconds(3))
                var states = client.sessionStates.makeAsyncIterator()
                try await client.put("owned", "1", isOwned: true)
                var state = await states.next()
                while state != .connected { state = await states.next() }

                for proxy in cluster.clientProxies.values { proxy.hold(true) }
                #expect(await states.next() == .suspended)
                for proxy in cluster.clientProxies.values { proxy.hold(false) }
                #expect(await states.next() == .connected)
                #expect(try await client.get("owned") != nil)

                let cutAt = ContinuousClock.now
                for proxy in cluster.clientProxies.values { proxy.hold(true) }
                #expect(await states.next() == .suspended)
                let suspendedAfter = ContinuousClock.now - cutAt
                #expect(await states.next() == .lost)
                let lostAfter = ContinuousClock.now - cutAt
                // The last keep-alive was sent before the cut, and at most a third of the timeout before it.
                #expect(suspendedAfter > .milliseconds(900) && suspendedAfter < .milliseconds(2_200))
                #expect(lostAfter > .milliseconds(1_900) && lostAfter < .milliseconds(3_200))
                for proxy in cluster.clientProxies.values { proxy.hold(false) }
                try await client.put("second", "1", isOwned: true)
                try await eventually("what the first session owned is gone") { try await client.get("owned") == nil }
                #expect(try await client.get("second") != nil)
                await client.shutdown()
            }
        }

        // MARK: Over the loss of nodes

        @Test(
            "C-24 C-30 C-41 C-70: reads, sessions, candidates and watches over the loss of nodes",
            .timeLimit(.minutes(2)))
        func lossOfNodes() async throws {
            try await withCluster(flags: Self.flags) { cluster in
                let client = cluster.client(sessionTimeout: .seconds(2))
                let other = cluster.client()
                try await client.put("owned", "1", isOwned: true)
                let leading = try await client.campaign("g", data: [])
                let waiting = try await other.campaign("g", data: [])
                let turn = Task { try await other.waitToLead("g", waiting, deadline: .seconds(40)) }
                let watch = Task {
                    var told: [UInt64] = []
                    for try await event in other.watch(prefix: "w", from: 1) where !event.changes.isEmpty {
                        #expect(event.changes.count == 1)
                        told.append(event.revision)
                        if event.changes[0] == .put(key: Self.bytes("w"), value: Self.bytes("end")) { break }
                    }
                    return told
                }
                let startedAt = ContinuousClock.now
                var written: [UInt64] = []
                for victim in [try await cluster.leader().name] + cluster.names {
                    for number in 1...25 { written.append(try await client.put("w", "\(number)")) }
                    try await cluster.kill(victim)
                    for _ in 1...20 {
                        let row = try await client.get("w", level: .stale)
                        #expect((row?.revision ?? 0) >= written[written.count - 1])
                    }
                    for number in 1...25 { written.append(try await client.put("w", "\(number)")) }
                    try cluster.start(victim)
                    try await cluster.waitUntilWhole()
                }
                try await Task.sleep(until: startedAt + .seconds(6), clock: .continuous)
                written.append(try await client.put("w", "end"))
                #expect(try await watch.value == written)
                #expect(try await client.get("owned") != nil)
                #expect(try await other.candidates("g").map(\.ticket) == [leading, waiting])
                try await client.withdraw("g")
                #expect(try await turn.value.number > (leading.fence ?? .max))
                await client.shutdown()
                await other.shutdown()
            }
        }

        // MARK: TLS

        @Test("C-95: certificates on both sides", .timeLimit(.minutes(2)))
        func certificates() async throws {
            let certificates = try await Certificates()
            let others = try await Certificates()
            try await withCluster(flags: Self.flags, certificates: certificates) { cluster in
                let client = cluster.client()
                try await client.put("a", "1")
                #expect(try await client.get("a")?.value == Self.bytes("1"))
                var configuration = MetadataClientConfiguration(endpoints: cluster.endpoints)
                configuration.timeout = .seconds(1)
                configuration.tls = certificates.client
                configuration.tls?.authority = "\(others.directory)/ca.pem"
                let stranger = MetadataClient(configuration)
                #expect(await Self.failure { try await stranger.get("a") }?.mayHaveTakenEffect == false)
                configuration.tls = nil
                let plain = MetadataClient(configuration)
                #expect(await Self.failure { try await plain.get("a") } != nil)
                await stranger.shutdown()
                await plain.shutdown()
                await client.shutdown()
            }
        }
    }
}
