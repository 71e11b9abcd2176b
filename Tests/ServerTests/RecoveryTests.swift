import Client
import Foundation
import Glibc
import Testing

extension ServerTests {
    /// A majority lost for good, and an old copy of a data directory put back.
    @Suite struct RecoveryTests {
        @Test(
            "recover: a survivor goes on alone with every record, in a new generation that clients and members notice",
            .timeLimit(.minutes(2)))
        func majorityLost() async throws {
            try await withCluster { cluster in
                let client = cluster.client()
                for number in 0..<100 { try await client.put("kept/\(number)", "value-\(number)") }
                try await client.delete("kept/5")
                try await cluster.waitUntilWhole()
                let members = ["--cluster", "n1=\(cluster["n1"].peer)"]
                let command = ["recover", "--data", cluster["n1"].directory, "--name", "n1"]
                let running = try await cluster.run(command + members + ["--accept-data-loss", "--json"])
                #expect(running.ending == .exited(1) && running.output.contains(#""error":"running""#), "\(running)")
                try await cluster.kill("n1", "n2", "n3")

                // Without the flag it says what it would do, and does nothing.
                let asked = try await cluster.run(command + members)
                #expect(asked.ending == .exited(1))
                #expect(
                    asked.output.contains("may be lost") && asked.output.contains("nothing was changed"),
                    "\(asked.output)")
                let wrongNode = try await cluster.run(
                    ["recover", "--data", cluster["n1"].directory, "--name", "n2", "--cluster", "n2=127.0.0.1:1"])
                #expect(
                    wrongNode.ending == .exited(1) && wrongNode.errors.contains(#"belongs to node "n1""#),
                    "\(wrongNode)")
                let severalMembers = try await cluster.run(command + ["--cluster", cluster.founders])
                #expect(severalMembers.ending == .exited(2), "\(severalMembers)")

                let done = try await cluster.run(command + members + ["--accept-data-loss", "--json"])
                #expect(done.ending == .exited(0), "\(done)")
                #expect(done.output.contains(#""recovered":true"#) && done.output.contains(#""newGeneration":2"#))
                let old = "\(cluster["n1"].directory)/before-recovery-1"
                #expect(FileManager.default.fileExists(atPath: "\(old)/identity"))
                #expect(FileManager.default.fileExists(atPath: "\(old)/log"))

                try cluster.start("n1")
                let told = await #expect(throws: ClientError.self) { try await client.get("kept/1") }
                #expect(told?.code == .generationChanged)
                await client.shutdown()
                let later = cluster.client(of: ["n1"])
                for number in 0..<100 {
                    let value = try await later.get("kept/\(number)")?.value
                    #expect(value == (number == 5 ? nil : Array("value-\(number)".utf8)))
                }
                let revision = try await later.put("after", "recovery")
                #expect(revision > 1 << 32)
                // An old member is told, and disturbs nobody.
                try cluster.start("n2")
                try await eventually(
                    "n2 is told of the new generation",
                    holds: {
                        try cluster.log("n2").contains("is of generation 2, n2 of 1")
                    })
                #expect(try await later.get("after")?.value == Array("recovery".utf8))
                // What was recovered starts again from its own log and rows.
                try await cluster.kill("n1")
                try cluster.start("n1")
                #expect(try await later.get("after")?.value == Array("recovery".utf8))
                #expect(try await later.get("kept/99")?.value == Array("value-99".utf8))
                await later.shutdown()
            }
        }

        @Test("recover: with the state in memory, the rows come from snapshot and log", .timeLimit(.minutes(1)))
        func stateInMemory() async throws {
            try await withCluster(flags: ["--engine", "memory"]) { cluster in
                let client = cluster.client()
                for number in 0..<50 { try await client.put("kept/\(number)", "value-\(number)") }
                try await cluster.waitUntilWhole()
                await client.shutdown()
                try await cluster.kill(cluster.names)
                let done = try await cluster.run([
                    "recover", "--data", cluster["n3"].directory, "--name", "n3", "--cluster",
                    "n3=\(cluster["n3"].peer)",
                    "--accept-data-loss",
                ])
                #expect(done.ending == .exited(0), "\(done)")
                #expect(done.output.contains("may never have been committed"), "\(done.output)")
                try cluster.start("n3")
                let later = cluster.client(of: ["n3"])
                for number in 0..<50 {
                    #expect(try await later.get("kept/\(number)")?.value == Array("value-\(number)".utf8))
                }
                await later.shutdown()
            }
        }

        @Test(
            "recover that was interrupted: the node does not start, and the same command finishes it",
            .timeLimit(.minutes(1)))
        func interrupted() async throws {
            try await withCluster(nodes: 1) { cluster in
                let client = cluster.client()
                try await client.put("a", "1")
                await client.shutdown()
                #expect(try await cluster.stop("n1") == [.exited(0)])
                let directory = cluster["n1"].directory
                let command = [
                    "recover", "--data", directory, "--name", "n1", "--cluster", "n1=\(cluster["n1"].peer)",
                    "--accept-data-loss",
                ]
                #expect(try await cluster.run(command).ending == .exited(0))
                // As a crash leaves it in the middle: the identity is in its place, log and snapshot are not.
                let manager = FileManager.default
                try manager.createDirectory(
                    atPath: "\(directory)/recovery", withIntermediateDirectories: false,
                    attributes: [.posixPermissions: 0o700])
                for name in ["log", "snapshots"] {
                    try manager.moveItem(atPath: "\(directory)/\(name)", toPath: "\(directory)/recovery/\(name)")
                }
                let process = try cluster.start("n1")
                #expect(try await process.waitUntilEnded() == .exited(1))
                #expect(try cluster.log("n1").contains("a recovery of"))
                let finished = try await cluster.run(command)
                #expect(finished.ending == .exited(0) && finished.output.contains("interrupted"), "\(finished)")
                try cluster.start("n1")
                let later = cluster.client()
                #expect(try await later.get("a")?.value == Array("1".utf8))
                await later.shutdown()
            }
        }

        /// A follower whose directory was copied before 50 more records came. All nodes run; the copy lies beside it.
        private func copyOfFollower(_ cluster: Cluster, _ client: MetadataClient) async throws -> String {
            for number in 0..<50 { try await client.put("early/\(number)", "1") }
            try await cluster.waitUntilWhole()
            let victim = try await cluster.followers()[0]
            let directory = cluster[victim].directory
            #expect(try await cluster.stop(victim) == [.exited(0)])
            try FileManager.default.copyItem(atPath: directory, toPath: "\(directory)-copy")
            try cluster.start(victim)
            try await cluster.waitUntilWhole()
            for number in 0..<50 { try await client.put("late/\(number)", "2") }
            try await cluster.waitUntilWhole()
            return victim
        }

        private func putCopyBack(_ cluster: Cluster, _ victim: String) throws {
            let directory = cluster[victim].directory
            try FileManager.default.removeItem(atPath: directory)
            try FileManager.default.moveItem(atPath: "\(directory)-copy", toPath: directory)
        }

        @Test(
            "an old copy of a data directory put back: regressed, says so, and catches up before it votes again",
            .timeLimit(.minutes(2)))
        func oldCopy() async throws {
            try await withCluster { cluster in
                let client = cluster.client()
                let victim = try await copyOfFollower(cluster, client)
                #expect(try await cluster.stop(victim) == [.exited(0)])
                try putCopyBack(cluster, victim)
                try cluster.start(victim)
                try await eventually(
                    "\(victim) notices and catches up",
                    holds: {
                        let log = try cluster.log(victim)
                        return log.contains("regressed: this node's log lacks entries")
                            && log.contains("caught up after a regression")
                    })
                try await cluster.waitUntilWhole()
                // Over, but somebody put it there: it stands until it is cleared.
                let endpoints = ["--endpoints", cluster.endpoints.joined(separator: ",")]
                let list = try await cluster.run(["alarm", "list"] + endpoints)
                #expect(list.output.contains("\(victim)    regressed  20"), "\(list.output)")
                let cleared = try await cluster.run(["alarm", "clear", "regressed"] + endpoints)
                #expect(cleared.output == "\(victim): cleared regressed\n", "\(cleared)")
                // It is a voter like any other again: with it, the cluster survives the loss of its leader.
                let leader = try await cluster.leader().name
                try await cluster.kill(leader)
                try await client.put("after", "3")
                for number in 0..<50 { #expect(try await client.get("late/\(number)")?.value == Array("2".utf8)) }
                try cluster.start(leader)
                try await cluster.waitUntilWhole()
                await client.shutdown()
            }
        }

        @Test("an old copy that comes back when all nodes were stopped is known as such", .timeLimit(.minutes(2)))
        func oldCopyAfterRestart() async throws {
            try await withCluster { cluster in
                let client = cluster.client()
                let victim = try await copyOfFollower(cluster, client)
                let leader = try await cluster.leader().name
                // The leader last but for the victim: what it remembers, it keeps when it stops.
                for name in cluster.names where name != leader && name != victim { try await cluster.kill(name) }
                _ = try await cluster.stop(leader)
                try await cluster.kill(victim)
                try putCopyBack(cluster, victim)
                for name in cluster.names { try cluster.start(name) }
                try await eventually(
                    "\(victim) is told",
                    holds: {
                        try cluster.log(victim).contains("regressed: this node's log lacks entries")
                    })
                try await cluster.waitUntilWhole()
                for number in 0..<50 { #expect(try await client.get("late/\(number)")?.value == Array("2".utf8)) }
                await client.shutdown()
            }
        }
    }
}
