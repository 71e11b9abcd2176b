import Client
import Foundation
import Glibc
import Testing

extension ServerTests {
    /// Changes of the members while nodes are killed and cut off. What must hold: each change takes place in the end, and no
    /// acknowledged write is lost or doubled.
    @Suite struct MembersUnderFireTests {
        /// Asks until the leader's members are as they should be: an answer may have been lost, or the one who would have
        /// given it.
        private func carryThrough(
            _ what: String, _ cluster: Cluster, until isDone: ([NodeReport.Member]) -> Bool,
            _ ask: () async throws -> Void
        ) async throws {
            try await eventually(what, within: .seconds(45)) {
                if isDone(try await cluster.leader(within: .seconds(1)).members) { return true }
                try await ask()
                return isDone(try await cluster.leader(within: .seconds(1)).members)
            }
        }

        @Test(
            "members are added, promoted, given office, replaced and removed while nodes are killed and cut off",
            .timeLimit(.minutes(4)))
        func underFire() async throws {
            try await withCluster(prepare: { cluster in
                for name in cluster.names {
                    cluster.peerProxies[name] = try FlippingProxy(to: cluster[name].peer, seed: 1)
                }
            }) { cluster in
                let workload = Workload(cluster, writers: 3)
                try await workload.waitForProgress(50)
                let admin = cluster.client()

                // The leader dies while a node is added.
                try await cluster.join("n4", through: "n1")
                let address = cluster["n4"].peer
                async let asked = try? admin.addMember("n4", peerAddress: address, timeout: .seconds(5))
                let dying = try await cluster.leader().name
                try await cluster.kill(dying)
                try cluster.start(dying)
                _ = await asked
                try await carryThrough("n4 is a member", cluster, until: { $0.contains { $0.name == "n4" } }) {
                    try await admin.addMember("n4", peerAddress: address, timeout: .seconds(5))
                }

                // A follower hears nothing while the newcomer gets a vote.
                let deaf = try await cluster.followers().first { $0 != "n4" } ?? "n1"
                cluster.peerProxies[deaf]?.hold(true)
                try await carryThrough("n4 votes", cluster, until: { $0.contains { $0.name == "n4" && $0.isVoter } }) {
                    try await admin.promoteMember("n4", timeout: .seconds(5))
                }
                try await workload.waitForProgress(30)
                cluster.peerProxies[deaf]?.hold(false)

                // The newcomer leads.
                try await eventually("n4 leads", within: .seconds(30)) {
                    if try await cluster.leader().name == "n4" { return true }
                    try await admin.transferLeadership(to: "n4", timeout: .seconds(5))
                    return try await cluster.leader().name == "n4"
                }

                // One is dead for good, and another one is cut off when it is replaced: nothing can be committed before
                // that one is heard again.
                let dead = "n1"
                try await cluster.kill(dead)
                try await cluster.join("n5", through: "n2")
                cluster.peerProxies["n3"]?.hold(true)
                let arguments = ["member", "replace", dead, "n5=\(cluster["n5"].peer)", "--endpoints"]
                let endpoints = ["n2", "n3", "n4"].map { cluster[$0].client }.joined(separator: ",")
                _ = try await cluster.run(arguments + [endpoints, "--timeout", "2s"])
                cluster.peerProxies["n3"]?.hold(false)
                let isReplaced: ([NodeReport.Member]) -> Bool = { members in
                    members.contains { $0.name == "n5" && $0.isVoter } && !members.contains { $0.name == dead }
                }
                try await carryThrough("n5 is in the place of \(dead)", cluster, until: isReplaced) {
                    let result = try await cluster.run(arguments + [endpoints])
                    guard result.ending == .exited(0) else { throw TestFailure("\(result.errors)") }
                }
                await cluster.forget(dead)

                // The leader is removed while another one dies.
                let leaving = try await cluster.leader().name
                let killed = cluster.names.first { $0 != leaving } ?? "n2"
                async let removal = try? admin.removeMember(leaving, timeout: .seconds(5))
                try await cluster.kill(killed)
                try cluster.start(killed)
                _ = await removal
                let rest = cluster.names.filter { $0 != leaving }
                try await eventually("\(leaving) is no member", within: .seconds(45)) {
                    let leader = try await cluster.leader(within: .seconds(1))
                    if leader.name != leaving, !leader.members.contains(where: { $0.name == leaving }) { return true }
                    try await admin.removeMember(leaving, timeout: .seconds(5))
                    return false
                }
                try await eventually("\(leaving) knows it") { try await cluster.status(leaving).state == "removed" }
                #expect(try await cluster.stop(leaving) == [.exited(0)])
                await cluster.forget(leaving)

                try await workload.waitForProgress(50)
                await admin.shutdown()
                try await Workload.check(await workload.stop(), on: cluster)
                let voters = try await cluster.leader().members.filter(\.isVoter).map(\.name)
                #expect(Set(voters) == Set(rest))
            }
        }
    }
}
