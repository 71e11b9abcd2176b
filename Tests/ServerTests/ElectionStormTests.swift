import Client
import Foundation
import Glibc
import Testing

extension ServerTests {
    /// Many elections at once, between processes that are killed or stopped for longer than their session lasts, while
    /// nodes of the cluster are killed too. Writes under the fence of a leader that was struck go on all the time.
    @Suite struct ElectionStormTests {
        /// QUORATE_ELECTION_ROUNDS times QUORATE_ELECTION_GROUPS elections; few, unless the environment says otherwise. With
        /// many of them QUORATE_ELECTION_TTL has to be longer: sessions on a machine that cannot keep up are lost.
        private static func setting(_ name: String, _ usual: Int) -> Int {
            ProcessInfo.processInfo.environment[name].flatMap { Int($0) } ?? usual
        }

        /// One election group: the processes that stand in its line, and what was written under their fences.
        private final class Group {
            let name: String
            var line: [ChildProcess] = []
            var fence: UInt64 = 0
            var accepted: [(revision: UInt64, fence: UInt64)] = []
            var refusedCount = 0

            init(_ number: Int) { name = "group\(number)" }

            /// A write under `fence`, by whomever.
            /// - Returns: whether it was accepted.
            func write(_ client: MetadataClient, under fence: UInt64) async throws -> Bool {
                do throws(ClientError) {
                    let revision = try await client.put(
                        "storm/\(name)", "\(fence)", guards: [.election(name, fence)], isOneShot: true)
                    accepted.append((revision, fence))
                    return true
                } catch {
                    guard error.code == .fenced else { throw error }
                    refusedCount += 1
                    return false
                }
            }
        }

        private static func join(_ group: Group, _ cluster: Cluster, _ number: Int) throws {
            let path = "\(cluster.directory)/\(group.name)-\(number)"
            let ttl = setting("QUORATE_ELECTION_TTL", 3)
            group.line.append(
                try ChildProcess(
                    cluster.executable,
                    [
                        "elect", group.name, "--value", "\(number)", "--ttl", "\(ttl)s", "--timeout", "30s", "--json",
                        "--endpoints", cluster.endpoints.joined(separator: ","),
                    ], outputPath: "\(path).out", errorPath: "\(path).err"))
        }

        private static func leadingFence(_ process: ChildProcess) -> UInt64? {
            process.output.split(separator: "\n").last { $0.hasPrefix("{\"state\":\"leading\"") }
                .flatMap { line in UInt64(line.drop { !$0.isNumber }.prefix { $0.isNumber }) }
        }

        @Test(
            "killed or stopped leaders are followed, and never are two heard whose writes under their fences are accepted",
            .timeLimit(.minutes(20)))
        func storm() async throws {
            let rounds = Self.setting("QUORATE_ELECTION_ROUNDS", 4)
            let count = Self.setting("QUORATE_ELECTION_GROUPS", 6)
            try await withCluster { cluster in
                let client = cluster.client()
                let groups = (0..<count).map { Group($0) }
                for group in groups {
                    try Self.join(group, cluster, 0)
                    group.fence = try await eventually("\(group.name) has a leader") {
                        Self.leadingFence(group.line[0])
                    }
                }
                for round in 1...rounds {
                    try await strike(groups, round, cluster, client)
                }
                for group in groups {
                    group.line[0].send(SIGTERM)
                    #expect(try await group.line[0].waitUntilEnded() == .exited(0))
                    let fences = group.accepted.sorted { $0.revision < $1.revision }.map(\.fence)
                    #expect(fences == fences.sorted(), "\(group.name): a leader was heard after its successor")
                    #expect(Set(fences).count == rounds + 1)
                    #expect(group.refusedCount >= rounds)
                }
                let accepted = groups.reduce(0) { $0 + $1.accepted.count }
                let refused = groups.reduce(0) { $0 + $1.refusedCount }
                print("\(rounds * count) elections, \(accepted) writes accepted, \(refused) refused")
                await client.shutdown()
            }
        }

        /// Every group's leader is killed or stopped, and the next one takes over.
        private func strike(
            _ groups: [Group], _ round: Int, _ cluster: Cluster, _ client: MetadataClient
        ) async throws {
            for group in groups {
                #expect(try await group.write(client, under: group.fence))
                try Self.join(group, cluster, round)
                // One after another: a session that is opened while a hundred programs start may not last.
                try await eventually("the next of \(group.name) waits") { group.line[1].output.contains("waiting") }
            }
            var stopped: [ChildProcess] = []
            for group in groups {
                let isStopped = Bool.random()
                if isStopped { stopped.append(group.line[0]) }
                group.line[0].send(isStopped ? SIGSTOP : SIGKILL)
            }
            var revived: String?
            if round.isMultiple(of: 2) {
                let leader = try await cluster.leader().name
                try await cluster.kill(leader)
                revived = leader
            }
            var waiting = groups
            let deadline = ContinuousClock.now + .seconds(60)
            while !waiting.isEmpty {
                guard ContinuousClock.now < deadline else { throw TestFailure("\(waiting.map(\.name)) have no leader") }
                var still: [Group] = []
                for group in waiting {
                    guard let fence = Self.leadingFence(group.line[1]) else {
                        // What it sent before it was struck may still arrive.
                        _ = try await group.write(client, under: group.fence)
                        still.append(group)
                        continue
                    }
                    #expect(fence > group.fence)
                    #expect(try await group.write(client, under: fence))
                    #expect(try await !group.write(client, under: group.fence))
                    group.fence = fence
                }
                waiting = still
            }
            for process in stopped {
                process.send(SIGCONT)
                #expect(try await process.waitUntilEnded() == .exited(1))
            }
            for group in groups {
                #expect(group.line[0].poll() != nil)
                group.line.removeFirst()
            }
            if let revived { try cluster.start(revived) }
        }
    }
}
