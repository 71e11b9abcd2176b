import Client
import Foundation
import Glibc
import Testing

extension ServerTests {
    /// A process that was stopped has heard nobody meanwhile, and must not take that for its clients' silence.
    @Suite struct PausedLeaderTests {
        private static let pause = Duration.seconds(7)

        @Test(
            "a leader stopped for longer than a session and an election lasts ends no session when it wakes",
            .timeLimit(.minutes(2)))
        func deposed() async throws {
            try await withCluster { cluster in
                let holder = cluster.client(sessionTimeout: .seconds(4))
                try await holder.put("owned", "1", isOwned: true)
                let observer = cluster.client()
                let leader = try await cluster.leader().name
                try await cluster.process(leader).pause()
                let next = try await cluster.leader(among: cluster.names.filter { $0 != leader }).name
                #expect(next != leader)
                try await Task.sleep(for: Self.pause)
                #expect(try await observer.get("owned") != nil)
                try cluster.process(leader).send(SIGCONT)
                try await Task.sleep(for: .seconds(5))
                #expect(try await observer.get("owned") != nil)
                await holder.shutdown()
                #expect(try await observer.get("owned") == nil)
                await observer.shutdown()
            }
        }

        @Test(
            "one that leads on when it wakes counts from then, and ends a session that is silent all the same",
            .timeLimit(.minutes(2)))
        func leadsOn() async throws {
            try await withCluster(nodes: 1) { cluster in
                let holder = cluster.client(sessionTimeout: .seconds(4))
                try await holder.put("owned", "1", isOwned: true)
                let name = try await cluster.leader().name
                try await cluster.process(name).pause()
                try await Task.sleep(for: Self.pause)
                try cluster.process(name).send(SIGCONT)
                let observer = cluster.client()
                // Several times in which the leader looks for sessions that are silent.
                for _ in 0..<5 {
                    #expect(try await observer.get("owned") != nil)
                    try await Task.sleep(for: .milliseconds(300))
                }
                // The client had given it up, and keeps nothing alive.
                try await eventually("the session ends") { try await observer.get("owned") == nil }
                await holder.shutdown()
                await observer.shutdown()
            }
        }
    }
}
