import Client
import Foundation
import Glibc
import Testing

extension ServerTests {
    /// Members that come and go while clients write.
    @Suite struct MembershipTests {
        /// Added as a learner, promoted when it has caught up. The client follows the leader by itself.
        private func grow(
            _ cluster: Cluster, by name: String, through member: String, _ client: MetadataClient
        ) async throws {
            try await cluster.join(name, through: member)
            try await eventually("\(name) is added") {
                try await client.addMember(name, peerAddress: cluster[name].peer)
                return true
            }
            try await eventually("\(name) has caught up and votes") {
                try await client.promoteMember(name)
                return true
            }
        }

        private func waitUntilItSaysRemoved(_ name: String, _ cluster: Cluster) async throws {
            try await eventually("\(name) knows that it was removed") {
                try await cluster.status(name).state == "removed"
            }
            #expect(try await cluster.status(name).role == nil)
            let log = try cluster.log(name)
            #expect(log.contains("this node was removed from the cluster by"), "\(cluster.logTail(name))")
            #expect(log.contains("its data directory can be deleted"))
            let error = #expect(throws: (any Error).self) { try RawClient(cluster[name].client).get("load/0/counter") }
            print("a removed node answers: \(error.map { "\($0)" } ?? "-")")
        }

        @Test(
            "1 node grows to 3 and 5 and shrinks to 3, the leader among those that go; nothing acknowledged is lost",
            .timeLimit(.minutes(4)))
        func growAndShrink() async throws {
            try await withCluster(nodes: 1) { cluster in
                let workload = Workload(cluster, writers: 3)
                try await workload.waitForProgress(50)
                let admin = cluster.client()
                for name in ["n2", "n3", "n4", "n5"] {
                    try await grow(cluster, by: name, through: "n1", admin)
                    try await workload.waitForProgress(50)
                }
                try await cluster.waitUntilWhole()

                let (_, list, _) = try await cluster.run([
                    "member", "list", "--json", "--endpoints", cluster.endpoints.joined(separator: ","),
                ])
                for name in cluster.names { #expect(list.contains("\"name\":\"\(name)\""), "\(list)") }
                #expect(!list.contains("\"voter\":false"), "\(list)")

                // A follower goes: nobody is disturbed, neither at once nor when it has noticed.
                let before = try await cluster.leader()
                let follower = cluster.names.filter { $0 != before.name && $0 != "n1" }[0]
                try await admin.removeMember(follower)
                try await waitUntilItSaysRemoved(follower, cluster)
                try await workload.waitForProgress(100)
                let after = try await cluster.leader(among: cluster.names.filter { $0 != follower })
                #expect(after.term == before.term && after.name == before.name)
                // Started again it still takes no part, and says why.
                #expect(try await cluster.stop(follower) == [.exited(0)])
                try cluster.start(follower)
                try await waitUntilItSaysRemoved(follower, cluster)
                #expect(try await cluster.stop(follower) == [.exited(0)])
                await cluster.forget(follower)

                // The leader goes.
                let leader = try await cluster.leader().name
                try await admin.removeMember(leader)
                try await workload.waitForProgress(100)
                try await waitUntilItSaysRemoved(leader, cluster)
                #expect(try await cluster.stop(leader) == [.exited(0)])
                await cluster.forget(leader)

                try await workload.waitForProgress(50)
                await admin.shutdown()
                try await Workload.check(await workload.stop(), on: cluster)
                #expect(cluster.names.count == 3)
            }
        }

        @Test(
            "a killed node is replaced by a new one, and a wiped one by itself, while clients write",
            .timeLimit(.minutes(3)))
        func replace() async throws {
            try await withCluster { cluster in
                let workload = Workload(cluster, writers: 2)
                try await workload.waitForProgress(100)
                let dead = try await cluster.followers()[0]
                try await cluster.kill(dead)
                let rest = cluster.names.filter { $0 != dead }
                try await cluster.join("n4", through: rest[0])
                let endpoints = rest.map { cluster[$0].client }.joined(separator: ",")
                func replace(_ old: String, by new: String) async throws {
                    try await eventually("\(old) is replaced by \(new)") {
                        let result = try await cluster.run([
                            "member", "replace", old, "\(new)=\(cluster[new].peer)", "--endpoints", endpoints,
                        ])
                        guard result.ending == .exited(0) else { throw TestFailure("\(result.errors)") }
                        return true
                    }
                }
                try await replace(dead, by: "n4")
                await cluster.forget(dead)
                try await cluster.waitUntilWhole()
                try await workload.waitForProgress(50)

                // The same name, the same address, the same flags: only the directory is lost.
                let leader = try await cluster.leader().name
                let wiped = rest.filter { $0 != leader }.first ?? rest[0]
                try await cluster.kill(wiped)
                try await cluster.wipe(wiped)
                try cluster.start(wiped)
                try await replace(wiped, by: wiped)
                try await cluster.waitUntilWhole()
                let members = try await cluster.leader().members
                #expect(members.count == 3 && members.allSatisfy(\.isVoter))
                #expect(Set(members.map(\.name)) == Set(cluster.names))
                try await Workload.check(await workload.stop(), on: cluster)
            }
        }

        @Test(
            "leadership goes where it is told to, and what cannot be done is refused with a reason",
            .timeLimit(.minutes(2)))
        func transferAndRefusals() async throws {
            try await withCluster { cluster in
                let client = cluster.client()
                for name in ["n2", "n3", "n1"] {
                    if try await cluster.leader().name != name { try await client.transferLeadership(to: name) }
                    #expect(try await cluster.leader().name == name)
                }
                #expect(try await client.transferLeadership().leaderName != "n1")
                try await client.transferLeadership(to: "n1")

                func refused(_ code: String, _ text: String, _ arguments: String...) async throws {
                    let result = try await cluster.run(
                        ["member"] + arguments + ["--json", "--endpoints", cluster.endpoints.joined(separator: ",")])
                    #expect(result.ending == .exited(1))
                    #expect(result.output.contains("\"error\":\"\(code)\""), "\(result.output)\(result.errors)")
                    #expect(result.output.contains(text), "\(result.output)")
                }
                let free = "127.0.0.1:\(try Ports.free(1)[0])"
                try await refused("noSuchMember", "there are n1, n2, n3", "remove", "n7")
                try await refused("memberExists", "is a member already", "add", "n2=\(free)")
                try await refused("memberExists", "is the peer address of n2", "add", "n4=\(cluster["n2"].peer)")
                try await refused("memberUnreachable", "--join \(cluster["n1"].peer)", "add", "n4=\(free)")
                try await refused("invalidRequest", "votes already", "promote", "n2")
                // Nothing to do is no failure.
                let transferred = try await cluster.run(
                    ["member", "transfer", "n1", "--endpoints", cluster.endpoints.joined(separator: ",")])
                #expect(transferred.ending == .exited(0) && transferred.output == "n1 leads\n", "\(transferred)")

                // Without n2 there would be two voters, one of them dead.
                try await cluster.kill("n3")
                try await eventually("the leader has noticed that n3 is away") {
                    try await cluster.status("n1").members.contains { $0.progress?.isReachable == false }
                }
                try await refused("quorumAtRisk", "n3 cannot be reached", "remove", "n2")
                // The dead one can go.
                try await client.removeMember("n3")
                await cluster.forget("n3")
                #expect(try await cluster.leader().members.count == 2)
                try await client.put("a", "1")
                await client.shutdown()
            }
        }

        @Test(
            "a member that was away while all others were replaced is told by those who came", .timeLimit(.minutes(3)))
        func awayMeanwhile() async throws {
            try await withCluster { cluster in
                let client = cluster.client()
                try await client.put("a", "1")
                if try await cluster.leader().name != "n2" { try await client.transferLeadership(to: "n2") }
                _ = try await cluster.stop("n1")
                for (old, new) in [("n2", "n4"), ("n3", "n5")] {
                    try await cluster.join(new, through: "n3")
                    let endpoints = cluster.endpoints.joined(separator: ",")
                    try await eventually("\(old) is replaced by \(new)") {
                        let result = try await cluster.run([
                            "member", "replace", old, "\(new)=\(cluster[new].peer)", "--endpoints", endpoints,
                        ])
                        guard result.ending == .exited(0) else { throw TestFailure("\(result.errors)") }
                        return true
                    }
                }
                for name in ["n2", "n3"] {
                    #expect(try await cluster.stop(name) == [.exited(0)])
                    await cluster.forget(name)
                }
                try cluster.start("n1")
                try await cluster.waitUntilWhole()
                #expect(try await client.get("a")?.value == Array("1".utf8))
                await client.shutdown()
            }
        }
    }
}
