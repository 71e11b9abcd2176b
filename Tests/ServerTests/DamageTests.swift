import Client
import Foundation
import Testing

extension ServerTests {
    /// A byte of a stopped node's log that is not what was written there.
    @Suite struct DamageTests {
        private func fill(_ client: MetadataClient, from first: Int = 0) async throws {
            for number in first..<first + 300 { try await client.put("damage/\(number)", "value-\(number)-") }
        }

        private func checkValues(_ client: MetadataClient, count: Int) async throws {
            var found = 0
            for try await row in client.list(prefix: Array("damage/".utf8)) {
                let number = String(decoding: row.key.dropFirst("damage/".utf8.count), as: UTF8.self)
                #expect(String(decoding: row.value, as: UTF8.self) == "value-\(number)-")
                found += 1
            }
            #expect(found == count)
        }

        /// The file and the offset of the damaged record, which starts shortly before the byte.
        private func expectReport(_ log: String, _ place: LogFiles.Place) {
            #expect(log.contains("damaged log"), "\(log)")
            #expect(log.contains(URL(filePath: place.path).lastPathComponent), "\(log)")
            let named = log.firstMatch(of: /at offset ([0-9]+)/).flatMap { Int($0.1) }
            #expect(named.map { (place.offset - 4_096...place.offset).contains($0) } == true, "\(log)")
            print("damage at \(place.offset):", log.split(separator: "\n").first { $0.contains("damaged log") } ?? "")
        }

        @Test(
            "a flipped byte in one node's log: named, repaired from the others, which serve meanwhile",
            .timeLimit(.minutes(2)))
        func damagedNodeIsRepaired() async throws {
            try await withCluster { cluster in
                let client = cluster.client()
                try await fill(client)
                try await cluster.waitUntilWhole()
                let damaged = try await cluster.followers()[0]
                try await cluster.kill(damaged)
                let place = try LogFiles.find("value-150-", in: cluster[damaged].directory)
                try LogFiles.flipBit(of: place.path, at: place.offset)
                let workload = Workload(cluster, writers: 2)
                try cluster.start(damaged)
                try await cluster.waitUntilWhole()
                expectReport(try cluster.log(damaged), place)
                try await fill(client, from: 300)
                try await checkValues(client, count: 600)
                try await Workload.check(await workload.stop(), on: cluster)
                let reader = try RawClient(cluster[damaged].client)
                for number in 0..<600 {
                    #expect(try reader.get("damage/\(number)", isStale: true)?.value == "value-\(number)-")
                }
                // Its log has the entry again, so that it can serve as a source itself.
                _ = try LogFiles.find("value-150-", in: cluster[damaged].directory)
                await client.shutdown()
            }
        }

        @Test(
            "a founder that was alone and grew, and a member whose founders have gone, are repaired by those they knew last",
            .timeLimit(.minutes(2)))
        func membersHaveChanged() async throws {
            try await withCluster(nodes: 1) { cluster in
                let client = cluster.client()
                for name in ["n2", "n3"] {
                    try await cluster.join(name, through: "n1")
                    try await eventually("\(name) is added") {
                        try await client.addMember(name, peerAddress: cluster[name].peer)
                        return true
                    }
                    try await eventually("\(name) votes") {
                        try await client.promoteMember(name)
                        return true
                    }
                }
                try await fill(client)
                try await cluster.waitUntilWhole()
                try await damageAndRepair("n1", cluster)

                // n2 was given n1 and itself when it joined. Both the others are new to it.
                try await cluster.join("n4", through: "n2")
                let endpoints = cluster.endpoints.joined(separator: ",")
                try await eventually("n4 takes the place of n1") {
                    let result = try await cluster.run([
                        "member", "replace", "n1", "n4=\(cluster["n4"].peer)", "--endpoints", endpoints,
                    ])
                    guard result.ending == .exited(0) else { throw TestFailure(result.errors) }
                    return true
                }
                try await cluster.kill("n1")
                await cluster.forget("n1")
                try await cluster.waitUntilWhole()
                try await damageAndRepair("n2", cluster)
                await client.shutdown()
                let reader = cluster.client()
                try await checkValues(reader, count: 300)
                await reader.shutdown()
            }
        }

        private func damageAndRepair(_ name: String, _ cluster: Cluster) async throws {
            try await cluster.kill(name)
            let place = try LogFiles.find("value-150-", in: cluster[name].directory)
            try LogFiles.flipBit(of: place.path, at: place.offset)
            try cluster.start(name)
            try await cluster.waitUntilWhole()
            expectReport(try cluster.log(name), place)
            #expect(try cluster.log(name).contains("the log is whole again"), "\(cluster.logTail(name))")
        }

        @Test(
            "damage in an old segment that a late member needs: the leader says so, goes on, and is repaired by another",
            .timeLimit(.minutes(1)))
        func damageFoundByARead() async throws {
            try await withCluster { cluster in
                let client = cluster.client()
                try await cluster.waitUntilWhole()
                let late = try await cluster.followers()[0]
                try await cluster.kill(late)
                try await fill(client)
                let filler = [UInt8](repeating: 0x66, count: 500_000)
                for number in 0..<10 { try await client.put(Array("filler/\(number)".utf8), filler) }
                let rest = cluster.names.filter { $0 != late }
                try await eventually("both have applied all") {
                    Set(await cluster.statuses(rest).map(\.appliedIndex)).count == 1
                }
                let damaged = try await cluster.leader().name
                #expect(try await cluster.stop(damaged) == [.exited(0)])
                let place = try LogFiles.find("value-150-", in: cluster[damaged].directory)
                try LogFiles.flipBit(of: place.path, at: place.offset)
                // It does not need these records itself, so it starts with them.
                try cluster.start(damaged)
                try await eventually("\(damaged) leads again") {
                    if try await cluster.leader().name == damaged { return true }
                    try await client.transferLeadership(to: damaged)
                    return false
                }
                #expect(try await cluster.status(damaged).alarms.allSatisfy { $0.name == "unreachable" })
                try cluster.start(late)
                try await cluster.waitUntilWhole()
                expectReport(try cluster.log(damaged), place)
                #expect(
                    try cluster.log(damaged).contains("entries of the log are whole again"), "\(cluster.logTail(damaged))")
                #expect(try await cluster.leader().name == damaged)
                #expect(try await cluster.status(damaged).alarms.map(\.name) == ["damage"])
                try await checkValues(client, count: 300)
                await client.shutdown()
            }
        }

        @Test(
            "a damaged node takes no part in elections until it is whole; a sound one that has no leader either heals it",
            .timeLimit(.minutes(1)))
        func healedWithoutLeader() async throws {
            try await withCluster { cluster in
                let client = cluster.client()
                try await fill(client)
                try await cluster.waitUntilWhole()
                let leader = try await cluster.leader().name
                let others = cluster.names.filter { $0 != leader }
                try await cluster.kill(cluster.names)
                let place = try LogFiles.find("value-150-", in: cluster[others[0]].directory)
                try LogFiles.flipBit(of: place.path, at: place.offset)
                try cluster.start(others[0])
                try await eventually("\(others[0]) asks") {
                    try cluster.log(others[0]).contains("repairing the log from peers")
                }
                for report in await cluster.statuses([others[0]]) { #expect(report.role != "leader") }
                try cluster.start(others[1])
                // The two are a majority, once the damaged one is whole.
                try await checkValues(client, count: 300)
                #expect(try cluster.log(others[0]).contains("the log is whole again"), "\(cluster.logTail(others[0]))")
                try cluster.start(leader)
                try await cluster.waitUntilWhole()
                await client.shutdown()
            }
        }

        @Test(
            "all are killed under load, two are damaged at different places: both are healed, and all that was acknowledged is there",
            .timeLimit(.minutes(2)))
        func twoDamaged() async throws {
            try await withCluster { cluster in
                let client = cluster.client()
                try await fill(client)
                try await cluster.waitUntilWhole()
                let workload = Workload(cluster, writers: 2)
                try await eventually("the load is on") { workload.acknowledged > 100 }
                try await cluster.kill(cluster.names)
                for (node, values) in [("n1", [7, 8, 150]), ("n2", [90, 151])] {
                    for value in values {
                        let place = try LogFiles.find("value-\(value)-", in: cluster[node].directory)
                        try LogFiles.flipBit(of: place.path, at: place.offset)
                    }
                }
                // Without the third there is nobody who leads, nor anybody who is whole.
                try cluster.start("n1")
                try cluster.start("n2")
                try await checkValues(client, count: 300)
                for node in ["n1", "n2"] {
                    #expect(try cluster.log(node).contains("the log is whole again"), "\(cluster.logTail(node))")
                }
                try cluster.start("n3")
                try await cluster.waitUntilWhole()
                try await Workload.check(await workload.stop(), on: cluster)
                for node in cluster.names {
                    let reader = try RawClient(cluster[node].client)
                    for number in 0..<300 {
                        #expect(try reader.get("damage/\(number)", isStale: true)?.value == "value-\(number)-")
                    }
                }
                await client.shutdown()
            }
        }

        @Test(
            "a log in which nothing can be read: term and vote come from all others, alone the node refuses to start",
            .timeLimit(.minutes(2)))
        func lostHardState() async throws {
            try await withCluster { cluster in
                let client = cluster.client()
                try await fill(client)
                try await cluster.waitUntilWhole()
                let damaged = try await cluster.followers()[0]
                let others = cluster.names.filter { $0 != damaged }
                try await cluster.kill(cluster.names)
                let path = try LogFiles.rotNewestSegment(of: cluster[damaged].directory)
                try cluster.start(damaged)
                try cluster.start(others[0])
                try await eventually("it waits for both") {
                    try cluster.log(damaged).contains("an answer of")
                }
                #expect(try cluster.log(damaged).contains(URL(filePath: path).lastPathComponent))
                for report in await cluster.statuses([damaged]) { #expect(report.state == "repairing", "\(report)") }
                try cluster.start(others[1])
                try await cluster.waitUntilWhole()
                try await checkValues(client, count: 300)
                // It votes again like any other: the leader goes, and it is one of the two that are left.
                let leader = try await cluster.leader().name
                try await cluster.kill(leader == damaged ? others[0] : leader)
                try await fill(client, from: 300)
                try await checkValues(client, count: 600)
                await client.shutdown()
            }
            try await withCluster(nodes: 1) { cluster in
                let client = cluster.client()
                try await client.put("kept", "1")
                try await cluster.kill("n1")
                let path = try LogFiles.rotNewestSegment(of: cluster["n1"].directory)
                let rotten = try Data(contentsOf: URL(filePath: path))
                // Who starts it again and again gets the same answer.
                for _ in 0..<2 {
                    let process = try cluster.start("n1")
                    #expect(try await process.waitUntilEnded() == .exited(1))
                    #expect(try cluster.log("n1").contains(URL(filePath: path).lastPathComponent + " at offset 0"))
                    #expect(try Data(contentsOf: URL(filePath: path)) == rotten)
                }
                await cluster.forget("n1")
                await client.shutdown()
            }
        }

        @Test(
            "a single node with a damaged log does not start, and serves no wrong value",
            .timeLimit(.minutes(1)))
        func damagedAloneRefuses() async throws {
            try await withCluster(nodes: 1) { cluster in
                let client = cluster.client()
                try await fill(client)
                try await cluster.kill("n1")
                let place = try LogFiles.find("value-7-", in: cluster["n1"].directory)
                try LogFiles.flipBit(of: place.path, at: place.offset + 2)
                let process = try cluster.start("n1")
                #expect(try await process.waitUntilEnded() == .exited(1))
                expectReport(try cluster.log("n1"), place)
                await #expect(throws: ClientError.self) { try await client.get("damage/7", timeout: .milliseconds(300)) }
                try LogFiles.flipBit(of: place.path, at: place.offset + 2)
                try cluster.start("n1")
                try await checkValues(client, count: 300)
                await client.shutdown()
            }
        }

        @Test(
            "damage that only a watch meets: an alarm; the only node goes on with it, also when it starts again",
            .timeLimit(.minutes(1)))
        func damageFoundByAWatch() async throws {
            try await withCluster(nodes: 1) { cluster in
                let client = cluster.client()
                let before = try await client.put("before", "1")
                try await fill(client)
                let filler = [UInt8](repeating: 0x66, count: 500_000)
                for number in 0..<10 { try await client.put(Array("filler/\(number)".utf8), filler) }
                #expect(try await cluster.stop("n1") == [.exited(0)])
                let place = try LogFiles.find("value-150-", in: cluster["n1"].directory)
                try LogFiles.flipBit(of: place.path, at: place.offset)
                try cluster.start("n1")
                try await checkValues(client, count: 300)
                do {
                    for try await _ in client.watch(prefix: "damage/", from: before) {}
                    Issue.record("the watch ended without an error")
                } catch let error as ClientError {
                    #expect("\(error)".contains("compacted"), "\(error)")
                }
                try await eventually("the alarm stands") {
                    try await cluster.status("n1").alarms.map(\.name) == ["damage"]
                }
                expectReport(try cluster.log("n1"), place)
                #expect(try await cluster.stop("n1") == [.exited(0)])
                // Now the whole log is verified, and there is nobody to give the entry back.
                try cluster.start("n1")
                try await checkValues(client, count: 300)
                #expect(try await cluster.status("n1").alarms.map(\.name) == ["damage"])
                await client.shutdown()
            }
        }

        private static let smallLogs = ["--segment-size", "1MiB", "--log-max", "8MiB", "--feed-size", "4MiB"]

        private func writeFiller(_ client: MetadataClient, _ count: Int) async throws {
            let filler = [UInt8](repeating: 0x66, count: 500_000)
            for number in 0..<count { try await client.put(Array("filler/\(number % 4)".utf8), filler) }
        }

        /// So that they have nothing any more to repair an old segment with.
        private func cutLogs(_ client: MetadataClient, _ cluster: Cluster, without node: String) async throws {
            let others = cluster.names.filter { $0 != node }
            try await eventually("the others' logs are cut", within: .seconds(30)) {
                try await writeFiller(client, 10)
                return await cluster.statuses(others).allSatisfy { $0.firstIndex > 320 }
            }
        }

        @Test(
            "damage in entries that the state does not need and nobody has any more: the node starts all the same",
            .timeLimit(.minutes(2)))
        func nobodyHasTheEntries() async throws {
            try await withCluster(flags: Self.smallLogs) { cluster in
                let client = cluster.client()
                try await fill(client)
                try await writeFiller(client, 4)
                try await cluster.waitUntilWhole()
                let node = try await cluster.followers()[0]
                #expect(try await cluster.stop(node) == [.exited(0)])
                let place = try LogFiles.find("value-150-", in: cluster[node].directory)
                try LogFiles.flipBit(of: place.path, at: place.offset)
                let others = cluster.names.filter { $0 != node }
                _ = try await cluster.stop(others)
                try cluster.start(node)
                try await eventually("the entry is let go", within: .seconds(30)) {
                    let report = try await client.scrubReport(of: cluster[node].client)
                    if report.state == .never { try await client.startScrub(at: cluster[node].client, rate: 1 << 30) }
                    return report.damages.map(\.outcome) == [.letGo]
                }
                try await eventually("its segment is dropped") {
                    try await cluster.status(node).firstIndex > 160
                }
                #expect(try cluster.log(node).contains("the log begins behind them"), "\(cluster.logTail(node))")
                _ = try await cluster.stop(node)
                for name in cluster.names { try cluster.start(name) }
                try await cluster.waitUntilWhole()
                try await checkValues(client, count: 300)
                await client.shutdown()
            }
        }

        @Test(
            "damage in entries that the state needs and nobody has any more: it starts without, and takes a snapshot",
            .timeLimit(.minutes(2)))
        func nobodyHasWhatIsNeeded() async throws {
            try await withCluster(flags: Self.smallLogs) { cluster in
                let client = cluster.client()
                try await fill(client)
                try await writeFiller(client, 2)
                try await cluster.waitUntilWhole()
                let node = try await cluster.followers()[0]
                try await cluster.kill(node)
                let place = try LogFiles.find("value-150-", in: cluster[node].directory)
                try LogFiles.flipBit(of: place.path, at: place.offset)
                try await cutLogs(client, cluster, without: node)
                try cluster.start(node)
                try await cluster.waitUntilWhole()
                #expect(try cluster.log(node).contains("nobody has the entries"), "\(cluster.logTail(node))")
                try await checkValues(client, count: 300)
                await client.shutdown()
            }
        }

        @Test(
            "damage in an old segment, below what the state has applied, never becomes a wrong value",
            .timeLimit(.minutes(1)))
        func damageBelowApplied() async throws {
            try await withCluster { cluster in
                let client = cluster.client()
                try await fill(client)
                // Another segment or two after the one with these records.
                let filler = [UInt8](repeating: 0x66, count: 500_000)
                for number in 0..<10 { try await client.put(Array("filler/\(number)".utf8), filler) }
                try await cluster.waitUntilWhole()
                let damaged = try await cluster.followers()[0]
                // A graceful stop flushes the state: these records are not needed at the next start.
                #expect(try await cluster.stop(damaged) == [.exited(0)])
                let place = try LogFiles.find("value-150-", in: cluster[damaged].directory)
                try LogFiles.flipBit(of: place.path, at: place.offset)
                try cluster.start(damaged)
                try await cluster.waitUntilWhole()
                let reader = try RawClient(cluster[damaged].client)
                for number in [0, 149, 150, 151, 299] {
                    #expect(try reader.get("damage/\(number)")?.value == "value-\(number)-")
                }
                try await checkValues(client, count: 300)
                await client.shutdown()
            }
        }
    }
}
