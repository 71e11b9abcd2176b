import Client
import Foundation
import Glibc
import Testing

extension ServerTests {
    /// Elections, locks and what goes with a session, between real processes.
    @Suite struct CoordinationTests {
        /// `quorate elect` in a group, and what it has printed.
        private static func elect(
            _ cluster: Cluster, _ value: String, _ group: String = "masters"
        ) throws -> ChildProcess {
            try ChildProcess(
                cluster.executable,
                [
                    "elect", group, "--value", value, "--ttl", "2s", "--json", "--endpoints",
                    cluster.endpoints.joined(separator: ","),
                ], outputPath: "\(cluster.directory)/elect-\(value).out",
                errorPath: "\(cluster.directory)/elect-\(value).err")
        }

        /// The fence of the last line that says `state`; 0: the line has none; nil: there is no such line.
        private static func fence(_ process: ChildProcess, _ state: String) -> UInt64? {
            process.output.split(separator: "\n").last { $0.hasPrefix("{\"state\":\"\(state)\"") }.map { line in
                UInt64(line.drop { !$0.isNumber }.prefix { $0.isNumber }) ?? 0
            }
        }

        @Test(
            "a candidate that is killed is followed by the next, under a higher fence; the old one's writes are refused",
            .timeLimit(.minutes(3)))
        func succession() async throws {
            try await withCluster { cluster in
                let endpoints = ["--endpoints", cluster.endpoints.joined(separator: ",")]
                let first = try Self.elect(cluster, "a")
                let old = try await eventually("a leads") { Self.fence(first, "leading") }
                let second = try Self.elect(cluster, "b")
                try await eventually("b waits") { Self.fence(second, "waiting") == 0 }
                let guarded = ["put", "k", "v", "--guard", "election:masters=\(old)"]
                #expect(try await cluster.run(guarded + endpoints).ending == .exited(0))

                try await first.killAndWait()
                let new = try await eventually("b leads") { Self.fence(second, "leading") }
                #expect(new > old)
                let late = try await cluster.run(guarded + endpoints + ["--json"])
                #expect(late.ending == .exited(1))
                #expect(late.output.contains("\"error\":\"fenced\""))
                #expect(late.output.contains("\"currentFence\":\(new)"))
                let validated = try await cluster.run(
                    ["fence", "validate", "election:masters=\(new)", "--json"] + endpoints)
                #expect(validated.ending == .exited(0))
                #expect(validated.output.contains("\"holds\":true"))

                // A paused leader finds out that it is one no more as soon as it goes on.
                let third = try Self.elect(cluster, "c")
                try await eventually("c waits") { Self.fence(third, "waiting") == 0 }
                try await second.pause()
                let newest = try await eventually("c leads") { Self.fence(third, "leading") }
                #expect(newest > new)
                second.send(SIGCONT)
                #expect(try await second.waitUntilEnded() == .exited(1))
                #expect(Self.fence(second, "lost") == new)

                // One that is told to stop makes room at once.
                third.send(SIGTERM)
                #expect(try await third.waitUntilEnded() == .exited(0))
                #expect(try await cluster.run(["leader", "masters"] + endpoints).ending == .exited(1))
            }
        }

        @Test(
            "a candidate outlives all nodes that come back in time, and knows that it is lost when they do not",
            .timeLimit(.minutes(2)))
        func withoutNodes() async throws {
            try await withCluster { cluster in
                func start(_ name: String, ttl: String) throws -> ChildProcess {
                    try ChildProcess(
                        cluster.executable,
                        ["elect", name, "--value", name, "--ttl", ttl, "--endpoints"]
                            + [cluster.endpoints.joined(separator: ",")],
                        outputPath: "\(cluster.directory)/\(name).out", errorPath: "\(cluster.directory)/\(name).err")
                }
                let patient = try start("patient", ttl: "60s")
                let hasty = try start("hasty", ttl: "2s")
                for process in [patient, hasty] {
                    try await eventually("it leads") { process.output.hasPrefix("leading") }
                }
                try await cluster.kill(cluster.names)
                #expect(try await hasty.waitUntilEnded() == .exited(1))
                let fence = try #require(hasty.output.split(separator: "\n").first?.dropFirst("leading".count))
                #expect(hasty.output == "leading\(fence)\nsuspended\(fence)\nlost\(fence)\n")
                let reason = try String(contentsOfFile: "\(cluster.directory)/hasty.err", encoding: .utf8)
                #expect(reason.contains("run it again to campaign anew"))

                for name in cluster.names { try cluster.start(name) }
                let client = cluster.client()
                // The new leader ends the session that it has not heard of, and leaves the other what it has.
                try await eventually("nobody leads for it") { try await client.leader("hasty") == nil }
                let led = try #require(try await client.leader("patient")?.ticket.fence)
                #expect(patient.output == "leading, fence \(led)\n")
                patient.send(SIGINT)
                #expect(try await patient.waitUntilEnded() == .exited(0))
                #expect(try await client.leader("patient") == nil)
                await client.shutdown()
            }
        }

        @Test(
            "owned rows, locks and leadership outlive the cluster's leader and end with their session",
            .timeLimit(.minutes(3)))
        func sessionsAndFailover() async throws {
            try await withCluster { cluster in
                let holder = cluster.client(sessionTimeout: .seconds(5))
                let other = cluster.client()
                let ticket = try await holder.campaign("g", data: Array("holder".utf8))
                let fence = Fence.election("g", try #require(ticket.fence))
                try await holder.put("owned", "1", isOwned: true, guards: [fence])
                let lock = try await holder.acquireLock("l", delay: .seconds(2))
                let waiting = try await other.acquireLock("l")
                #expect(waiting.fence == nil)

                let leader = try await cluster.leader().name
                try await cluster.kill(leader)
                // The session goes on under the next leader, and nothing that belongs to it is touched.
                try await holder.put("kept", "1", guards: [fence, .lock("l", try #require(lock.fence))])
                #expect(try await other.leader("g")?.ticket == ticket)
                #expect(try await other.get("owned") != nil)
                #expect(try await other.sessions().count == 2)
                try cluster.start(leader)

                await holder.shutdown()
                #expect(try await other.get("owned") == nil)
                #expect(try await other.leader("g") == nil)
                #expect(try await other.get("kept") != nil)
                let line = try await other.lockLine("l")
                #expect(line.map(\.isReleasedLater) == [true, false])
                // Nothing else is logged meanwhile: the leader sees to it that the delay ends.
                let held = try await other.waitToHold("l", waiting, deadline: .seconds(20))
                #expect(held.number > (lock.fence ?? .max))
                await #expect(throws: ClientError.self) { try await other.put("late", "1", guards: [fence]) }
                await other.shutdown()
            }
        }

        @Test(
            "a command runs under a lock with its fence, and state variables are stored by version",
            .timeLimit(.minutes(2)))
        func commands() async throws {
            try await withCluster { cluster in
                let endpoints = ["--endpoints", cluster.endpoints.joined(separator: ",")]
                let held = try await cluster.run(
                    ["lock", "l"] + endpoints + ["--", "sh", "-c", "echo $QUORATE_GUARD; exit 7"])
                #expect(held.ending == .exited(7))
                #expect(held.output.hasPrefix("lock:l="))
                let inner = [cluster.executable, "lock", "l", "--try", "--json"] + endpoints + ["--", "true"]
                let nested = try await cluster.run(["lock", "l"] + endpoints + ["--"] + inner)
                #expect(nested.ending == .exited(1))
                #expect(nested.output.contains("\"error\":\"lockHeld\""))
                #expect(try await cluster.run(["lock", "l"] + endpoints).ending == .exited(2))

                let stored = try await cluster.run(["state", "set", "x", "one", "--json"] + endpoints)
                #expect(stored.ending == .exited(0))
                let uuid = try #require(stored.output.split(separator: "\"").dropFirst(7).first.map(String.init))
                let got = try await cluster.run(["state", "get", "x", "--json"] + endpoints)
                #expect(got.output == "{\"name\":\"x\",\"value\":\"one\",\"uuid\":\"\(uuid)\"}\n")
                #expect(try await cluster.run(["state", "set", "x", "two"] + endpoints).ending == .exited(0))
                let late = try await cluster.run(["state", "set", "x", "three", "--if-uuid", uuid] + endpoints)
                #expect(late.ending == .exited(1))
                #expect(try await cluster.run(["state", "names"] + endpoints).output == "x\n")
                #expect(try await cluster.run(["state", "expunge", "x"] + endpoints).ending == .exited(0))
                #expect(try await cluster.run(["state", "get", "x"] + endpoints).ending == .exited(1))
                #expect(try await cluster.run(["put", "k", "v", "--guard", "nonsense"] + endpoints).ending == .exited(2))
            }
        }
    }
}
