import Client
import Foundation
import Glibc
import Testing

extension ServerTests {
    /// What there was before, asked of real nodes: the right answer or the right error, whatever has become of the log.
    @Suite struct HistoryTests {
        private static let key = Array("h/k".utf8)

        /// What a writer knows of one key: its value after each revision at which it was changed.
        private struct Known {
            var since: UInt64 = 0
            var versions: [(revision: UInt64, value: [UInt8]?)] = []

            func value(at revision: UInt64) -> [UInt8]? {
                versions.last { $0.revision <= revision }?.value ?? nil
            }

            /// - Returns: how many of the points were answered.
            func check(_ client: MetadataClient, _ name: String) async throws -> Int {
                let now = try await client.currentRevision()
                var answered = 0
                var points = (0..<12).map { since + (now - since) * $0 / 11 }
                points += versions.suffix(3).flatMap { [$0.revision - 1, $0.revision] }
                for point in points {
                    do {
                        let row = try await client.get(key, at: .revision(point))
                        #expect(row?.value == value(at: point), "\(name): revision \(point)")
                        answered += 1
                    } catch {
                        #expect(error.code == .compacted, "\(name): revision \(point): \(error)")
                    }
                }
                return answered
            }
        }

        private static func write(_ count: Int, _ client: MetadataClient, size: Int, into known: inout Known) async throws {
            for number in 0..<count {
                let value = Array("\(known.versions.count) ".utf8) + [UInt8](repeating: 120, count: size)
                if number % 7 == 6 {
                    known.versions.append((try await client.delete(key), nil))
                } else {
                    known.versions.append((try await client.put(key, value), value))
                }
            }
        }

        @Test(
            "the value of any revision is right or the error is, after restarts, a cut log and a snapshot",
            .timeLimit(.minutes(4)))
        func rightOrRefused() async throws {
            let flags = ["--segment-size", "1MiB", "--log-max", "8MiB", "--feed-size", "1MiB"]
            try await withCluster(flags: flags) { cluster in
                let client = cluster.client()
                var known = Known()
                try await client.put(Self.key, Array("early".utf8))
                known.versions.append((try await client.currentRevision(), Array("early".utf8)))
                known.since = try #require(try await client.setHistory(prefix: Array("h/".utf8), isOn: true).since)
                try await Self.write(20, client, size: 10, into: &known)
                #expect(try await known.check(client, "at first") == 18)

                let leader = try await cluster.leader().name
                try await cluster.kill(leader)
                try cluster.start(leader)
                try await cluster.waitUntilWhole()
                #expect(try await known.check(client, "after a kill") == 18)

                // One is away for longer than the log is kept, and comes back by a snapshot.
                let away = try #require(try await cluster.followers().first)
                _ = try await cluster.stop(away)
                let before = try await cluster.status(try await cluster.leader().name).feedFloor ?? 0
                try await eventually("the log is cut", within: .seconds(90)) {
                    try await Self.write(12, client, size: 200_000, into: &known)
                    let floor = try await cluster.status(try await cluster.leader().name).feedFloor ?? 0
                    return floor > max(before, known.since + 30)
                }
                #expect(try await known.check(client, "after the log was cut") > 5)
                try cluster.start(away)
                try await cluster.waitUntilWhole(within: .seconds(60))
                let own = cluster.client(of: [away])
                #expect(try await known.check(own, "through a node that took a snapshot") > 0)
                try await Self.write(5, client, size: 10, into: &known)
                #expect(try await known.check(own, "and after it") > 5)
                let listed = try await own.history()
                #expect(listed.map(\.since) == [known.since])
                await own.shutdown()
                await client.shutdown()
            }
        }

        @Test("the commands: switching, get --at, log, watch --previous, list --since", .timeLimit(.minutes(2)))
        func commands() async throws {
            try await withCluster(nodes: 1) { cluster in
                let endpoints = ["--endpoints", cluster.endpoints[0]]
                func run(_ arguments: String...) async throws -> (code: Int32, output: String, errors: String) {
                    let result = try await cluster.run(arguments + endpoints)
                    guard case .exited(let code) = result.ending else { return (-1, result.output, result.errors) }
                    return (code, result.output, result.errors)
                }
                let client = cluster.client()
                let early = try await client.put("a/1", "early")
                for command in [["get", "a/1", "--at", "\(early)"], ["log", "a/"], ["log"]] {
                    let refused = try await cluster.run(command + ["--json"] + endpoints)
                    #expect(refused.ending == .exited(1))
                    #expect(refused.output.contains("\"error\":\"historyOff\""))
                    #expect(refused.output.contains("quorate history on"))
                }
                let on = try await run("history", "on", "a/")
                #expect(on.code == 0)
                let since = try #require(try await client.history().first?.since)
                #expect(on.output == "history of a/ is kept since revision \(since)\n")
                #expect(try await run("history", "on", "a/", "--json").output.contains("\"changed\":false,\"since\":\(since)"))
                #expect(try await run("history").output.hasPrefix("a/\tsince revision \(since), 20"))
                #expect(try await run("history", "list", "--json").output.contains("{\"prefix\":\"a/\",\"since\":\(since)"))

                let first = try await client.put("a/1", "one")
                let second = try await client.put("a/2", "two")
                let third = try await client.delete("a/2")
                try await client.put("b/1", "beside")
                let fourth = try await client.put("a/1", "four")
                #expect(try await run("get", "a/1", "--at", "\(since)").output == "early\n")
                #expect(try await run("get", "a/1", "--at", "\(third)").output == "one\n")
                #expect(
                    try await run("get", "a/2", "--at", "\(second)", "--json").output
                        == "{\"key\":\"a/2\",\"value\":\"two\",\"revision\":\(second)}\n")
                let missing = try await run("get", "a/2", "--at", "\(third)", "--json")
                #expect(missing.code == 1)
                #expect(missing.output == "{\"key\":\"a/2\",\"found\":false}\n")
                #expect(try await run("get", "a/1", "--at", "10ms").output == "four\n")
                #expect(try await run("get", "a/1", "--at", "\(early)", "--json").output.contains("historyOff"))
                #expect(try await run("get", "a/1", "--at", "999999", "--json").output.contains("yet to come"))
                #expect(try await run("get", "a/1", "--at", "3h", "--json").output.contains("historyOff"))
                #expect(try await run("get", "a/1", "--at", "2500-01-01T00:00:00Z").code == 1)
                for wrong in ["0", "x", "2026-02-30T00:00:00Z", "-3"] {
                    #expect(try await run("get", "a/1", "--at", wrong).code == 2, "\(wrong)")
                }

                let log = try await run("log", "a/", "--values")
                let lines = log.output.split(separator: "\n").map {
                    $0.split(separator: "\t", omittingEmptySubsequences: false).map(String.init)
                }
                #expect(
                    lines.map { Array($0.dropFirst()).enumerated().filter { $0.offset != 1 }.map(\.element) } == [
                        ["\(first)", "updated", "a/1", "one", "early"], ["\(second)", "created", "a/2", "two", ""],
                        ["\(third)", "deleted", "a/2", "", "two"], ["\(fourth)", "updated", "a/1", "four", "one"],
                    ])
                #expect(Set(lines.map { $0[2] }).count == 1, "all of one session")
                #expect(lines.allSatisfy { $0[0].hasSuffix("Z") && $0[2].count == 32 })
                // A time that the log names is cut to milliseconds, so the change itself comes after it.
                let fromTime = try await run("log", "a/", "--from", lines[1][0]).output.split(separator: "\n")
                #expect(fromTime.suffix(3).map { $0.split(separator: "\t")[1] } == ["\(second)", "\(third)", "\(fourth)"])
                let from = try await run("log", "a/", "--from", "\(third)", "--json")
                #expect(from.output.split(separator: "\n").count == 2)
                #expect(from.output.contains("\"action\":\"deleted\",\"key\":\"a/2\",\"previous\":{\"revision\":\(second)}"))
                #expect(try await run("log", "a/", "--limit", "1").output.split(separator: "\n").count == 1)
                let part = try await run("log", "--limit", "1")
                #expect(part.code == 0)
                #expect(part.errors.contains("only some keys"))
                #expect(try await run("log", "a/", "--from", "\(early)", "--json").output.contains("historyOff"))

                let watched = try await run(
                    "watch", "", "--from", "\(early)", "--previous", "--json", "--limit", "5")
                #expect(
                    watched.output.split(separator: "\n").dropFirst().prefix(4).joined(separator: "\n") == """
                        {"revision":\(early),"changes":[{"key":"a/1","value":"early"}]}
                        {"revision":\(first),"changes":[{"key":"a/1","value":"one","created":false,"previous":{"revision":\(early),"value":"early"}}]}
                        {"revision":\(second),"changes":[{"key":"a/2","value":"two","created":true}]}
                        {"revision":\(third),"changes":[{"key":"a/2","deleted":true,"previous":{"revision":\(second),"value":"two"}}]}
                        """)

                let delta = try await run("list", "a/", "--since", "\(first)", "--json")
                let now = try await client.currentRevision()
                #expect(
                    delta.output == """
                        {"revision":\(now)}
                        {"key":"a/1","value":"four","revision":\(fourth)}
                        {"key":"a/2","deleted":true,"revision":\(third)}

                        """)
                #expect(try await run("list", "--since", "999999", "--json").output.contains("\"error\":\"invalidRequest\""))
                #expect(try await run("list", "--since", "1", "--count").code == 2)
                // Where nothing has happened since the change, which is the newest revision.
                try await client.put("a/1", "last")
                let started = ContinuousClock.now
                #expect(try await run("get", "a/1", "--at", "10ms").output == "last\n")
                #expect(ContinuousClock.now - started < .seconds(2), "waits for a change that nobody makes")
                #expect(try await run("history", "off", "a/").output == "history of a/ is kept no longer\n")
                #expect(try await run("get", "a/1", "--at", "\(third)", "--json").output.contains("historyOff"))
                await client.shutdown()
            }
        }
    }
}
