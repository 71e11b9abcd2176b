import Client
import Foundation
import Synchronization
import Testing

extension ServerTests {
    /// Watches of real nodes, by the library, the command and a client written from the document.
    @Suite struct WatchTests {
        @Test("a watch sees each change once, in order, transactions whole", .timeLimit(.minutes(1)))
        func liveAtOneNode() async throws {
            try await withCluster(nodes: 1) { cluster in
                let client = cluster.client()
                try await client.put("w/before", "1")
                var iterator = client.watch(prefix: "w/").makeAsyncIterator()
                let begun = try #require(try await iterator.next())
                #expect(begun.changes.isEmpty)
                let first = try await client.put("w/a", "1")
                try await client.put("other", "1")
                #expect(begun.revision < first)
                let outcome = try await client.transaction(
                    MetadataTransaction(then: [
                        .put(key: Array("w/b".utf8), value: Array("2".utf8)), .delete(key: Array("w/a".utf8)),
                        .put(key: Array("elsewhere".utf8), value: []),
                    ]))
                try await client.put("w/c", "3")
                let gone = try await client.deletePrefix(Array("w/".utf8))
                #expect(
                    try await iterator.next()
                        == WatchedChanges(revision: first, changes: [.put(key: Array("w/a".utf8), value: Array("1".utf8))]))
                #expect(
                    try await iterator.next()
                        == WatchedChanges(
                            revision: outcome.revision,
                            changes: [
                                .deleted(key: Array("w/a".utf8)),
                                .put(key: Array("w/b".utf8), value: Array("2".utf8)),
                            ]))
                #expect(try await iterator.next()?.changes.count == 1)
                let last = try #require(try await iterator.next())
                #expect(last.revision == gone.revision)
                #expect(last.changes.map(\.key) == ["w/b", "w/before", "w/c"].map { Array($0.utf8) })
                await client.shutdown()
            }
        }

        @Test("quorate watch prints what happens, from now or from a revision", .timeLimit(.minutes(1)))
        func command() async throws {
            try await withCluster(nodes: 1) { cluster in
                let client = cluster.client()
                let output = "\(cluster.directory)/watch.txt"
                let watch = try ChildProcess(
                    cluster.executable,
                    ["watch", "k/", "--limit", "2", "--endpoints", cluster.endpoints[0]], outputPath: output)
                try await eventually("it watches") { watch.output.contains("watching after revision") }
                let first = try await client.put("k/1", "one")
                let second = try await client.delete(Array("k/1".utf8))
                #expect(try await watch.waitUntilEnded() == .exited(0))
                let lines = watch.output.split(separator: "\n").dropFirst()
                #expect(lines == ["\(first)\tput\tk/1\tone", "\(second)\tdeleted\tk/1"])

                let (ending, printed, _) = try await cluster.run([
                    "watch", "k/", "--from", "\(first)", "--limit", "2", "--json", "--endpoints", cluster.endpoints[0],
                ])
                #expect(ending == .exited(0))
                #expect(
                    printed.split(separator: "\n") == [
                        "{\"revision\":\(first - 1),\"changes\":[]}",
                        "{\"revision\":\(first),\"changes\":[{\"key\":\"k/1\",\"value\":\"one\"}]}",
                        "{\"revision\":\(second),\"changes\":[{\"key\":\"k/1\",\"deleted\":true}]}",
                    ])
                for wrong in [["watch", "--from", "0"], ["watch", "--limit", "0"]] {
                    #expect(try await cluster.run(wrong).ending == .exited(2))
                }
                let nobody = try await cluster.run([
                    "watch", "--json", "--timeout", "300ms", "--endpoints", "127.0.0.1:1",
                ])
                #expect(nobody.ending == .exited(1))
                #expect(nobody.output.contains("\"error\":\"unavailable\""))
                await client.shutdown()
            }
        }

        /// Several watches, each with a client of its own, while leaders are killed, nodes stop and come back, and writers
        /// go on. Each is held against a watch of everything from the beginning, and that against what the writers know
        /// and what the cluster holds in the end.
        @Test(
            "watches outlive leaders and nodes: ordered, unique, whole, without a gap, as filtered",
            .timeLimit(.minutes(4)))
        func watchProperties() async throws {
            try await withCluster { cluster in
                let workload = Workload(cluster, writers: 2)
                let pairs = Pairs(cluster)
                try await workload.waitForProgress(30)
                let started = [
                    Collector("everything", cluster.client(), from: 1) { $0.watch(prefix: "", from: 1) },
                    Collector("pairs from now", cluster.client(), prefix: "pair/") {
                        $0.watch(prefix: Array("pair/".utf8), progressEvery: .milliseconds(300))
                    },
                    Collector("keys of a writer", cluster.client(), from: 1, prefix: "load/0/") {
                        $0.watch(prefix: Array("load/0/".utf8), from: 1, filter: [.keysOnly])
                    },
                    Collector("deletes", cluster.client(), from: 1, keepsPuts: false) {
                        $0.watch(prefix: [], from: 1, filter: [.noPuts])
                    },
                    Collector("one key", cluster.client(), from: 1, prefix: "load/1/counter") {
                        $0.watch(key: Array("load/1/counter".utf8), from: 1)
                    },
                    Collector("a slow reader", cluster.client(), from: 1, pause: .milliseconds(2)) {
                        $0.watch(prefix: "", from: 1)
                    },
                ]
                for round in 1...6 {
                    try await workload.waitForProgress(60)
                    let leader = try await cluster.leader().name
                    switch round % 3 {
                    case 0: _ = try await cluster.stop(leader)
                    case 1: try await cluster.kill(leader)
                    default: try await cluster.kill(cluster.names.filter { $0 != leader })
                    }
                    if round % 3 != 2 { try await workload.waitForProgress(20) }
                    for name in cluster.names where cluster[name].process == nil { try cluster.start(name) }
                    try await cluster.waitUntilWhole()
                }
                let lateJoiner = Collector("from the middle, while writes go on", cluster.client(), from: 200) {
                    $0.watch(prefix: "", from: 200)
                }
                try await workload.waitForProgress(40)
                let reports = await workload.stop()
                let pairCount = try await pairs.stop()
                let client = cluster.client()
                // What ends every watch, whatever it watches.
                var end: UInt64 = 0
                for key in ["zz", "pair/zz", "load/0/zz", "load/1/counter"] { end = try await client.put(key, Collector.end) }
                end = try await client.delete(Array("zz".utf8))
                let everything = try await started[0].finish()
                for collector in started + [lateJoiner] {
                    let told = try await collector.finish()
                    collector.check(told, against: everything, through: end)
                }
                // What was acknowledged was told at its revision.
                let byRevision = Dictionary(uniqueKeysWithValues: everything.map { ($0.revision, $0) })
                for report in reports {
                    for failure in report.failures { Issue.record("\(failure)") }
                    for record in report.records {
                        let change = WatchedChanges.Change.put(
                            key: Array(record.key.utf8), value: Array(record.value.utf8))
                        #expect(byRevision[record.revision]?.changes == [change], "\(record)")
                    }
                }
                let pairChanges = everything.filter { $0.changes.contains { $0.key.starts(with: Array("pair/a".utf8)) } }
                #expect(pairChanges.allSatisfy { $0.changes.count == 2 }, "half a transaction was told")
                #expect(pairChanges.count >= pairCount)
                // Replayed onto nothing it is what the cluster holds.
                var rows: [[UInt8]: KeyValue] = [:]
                for told in everything {
                    for change in told.changes {
                        switch change {
                        case .put(let key, let value, _):
                            rows[key] = KeyValue(key: key, value: value, revision: told.revision)
                        case .deleted(let key): rows[key] = nil
                        }
                    }
                }
                var found: [[UInt8]: KeyValue] = [:]
                for try await row in client.list(prefix: []) { found[row.key] = row }
                #expect(rows == found)
                // Every node tells the same, from its own log.
                for name in cluster.names {
                    let told = try RawClient(cluster[name].client).watchEverything(from: 1, through: end)
                    #expect(told == everything, "\(name) tells otherwise")
                }
                print("watches: \(everything.count) revisions, \(pairChanges.count) transactions, 6 rounds")
                await client.shutdown()
            }
        }

        @Test("a revision larger than a frame, and than what the client takes in at once, comes whole", .timeLimit(.minutes(1)))
        func largeRevisions() async throws {
            try await withCluster(nodes: 1) { cluster in
                let client = cluster.client()
                var iterator = client.watch(prefix: "large/").makeAsyncIterator()
                _ = try await iterator.next()
                let value = [UInt8](repeating: 7, count: 1_000_000)
                let keys = (0..<3).map { Array("large/value \($0)".utf8) }
                let outcome = try await client.transaction(
                    MetadataTransaction(then: keys.map { .put(key: $0, value: value) }))
                #expect(
                    try await iterator.next()
                        == WatchedChanges(revision: outcome.revision, changes: keys.map { .put(key: $0, value: value) }))
                let name = String(repeating: "n", count: 300)
                try await withThrowingTaskGroup(of: Void.self) { group in
                    for number in 0..<2_000 { group.addTask { try await client.put("large/\(name)/\(number)", "") } }
                    try await group.waitForAll()
                }
                let gone = try await client.deletePrefix(Array("large/".utf8))
                var puts = 0
                while let found = try await iterator.next() {
                    guard found.revision == gone.revision else {
                        puts += found.changes.count
                        continue
                    }
                    #expect(found.changes.count == 2_003)
                    let keys = found.changes.map(\.key)
                    #expect(keys == keys.sorted { $0.lexicographicallyPrecedes($1) })
                    break
                }
                #expect(puts == 2_000)
                await client.shutdown()
            }
        }

        @Test("a thousand watches of one node are told of one key, and of nothing else", .timeLimit(.minutes(2)))
        func thousand() async throws {
            try await withCluster(nodes: 1) { cluster in
                let writer = cluster.client()
                let count = 1_000
                let rounds = 20
                let watching = cluster.client()
                let begun = Tally()
                let started = ContinuousClock.now
                try await withThrowingTaskGroup(of: [UInt64].self) { group in
                    for _ in 0..<count {
                        group.addTask {
                            var revisions: [UInt64] = []
                            for try await found in watching.watch(key: Array("hot".utf8)) {
                                if found.changes.isEmpty {
                                    begun.add()
                                    continue
                                }
                                revisions.append(found.revision)
                                if revisions.count == rounds { break }
                            }
                            return revisions
                        }
                    }
                    try await eventually("all have begun", within: .seconds(60)) {
                        begun.count == count
                    }
                    let beganAfter = ContinuousClock.now - started
                    let before = ContinuousClock.now
                    var written: [UInt64] = []
                    for round in 0..<rounds {
                        try await writer.put("cold", "\(round)")
                        written.append(try await writer.put("hot", "\(round)"))
                    }
                    for try await revisions in group { #expect(revisions == written) }
                    print(
                        "1,000 watches: begun after \(beganAfter.milliseconds), \(count * rounds) changes told in "
                            + (ContinuousClock.now - before).milliseconds)
                }
                await watching.shutdown()
                await writer.shutdown()
            }
        }

        @Test(
            "C-75: below the feed's floor a watch is told so, with the floor that status names", .timeLimit(.minutes(2)))
        func compacted() async throws {
            let flags = ["--segment-size", "1MiB", "--log-max", "8MiB", "--feed-size", "1MiB"]
            try await withCluster(nodes: 1, flags: flags) { cluster in
                let client = cluster.client()
                let value = String(repeating: "x", count: 100_000)
                var written: [UInt64] = []
                let floor = try await eventually("the log is cut", within: .seconds(60)) { () -> UInt64? in
                    for _ in 0..<10 { written.append(try await client.put("k", value)) }
                    let floor = try await cluster.status("n1").feedFloor ?? 0
                    return floor > 20 ? floor : nil
                }
                do {
                    for try await _ in client.watch(prefix: "k", from: 2) { Issue.record("it tells what is gone") }
                } catch let error as ClientError {
                    #expect(error.code == .compacted)
                    #expect((error.currentRevision ?? 0) >= floor)
                }
                // From the floor on it is whole.
                let now = try await cluster.status("n1").feedFloor ?? 0
                let last = try await client.put("k", "last")
                written.append(last)
                var told: [UInt64] = []
                do {
                    for try await changes in client.watch(prefix: "k", from: now) where !changes.changes.isEmpty {
                        told.append(changes.revision)
                        if changes.revision == last { break }
                    }
                    #expect(told == written.filter { $0 >= now })
                } catch let error as ClientError {
                    #expect(error.code == .compacted, "the log may have been cut once more")
                }
                let (ending, output, errors) = try await cluster.run([
                    "watch", "k", "--from", "2", "--endpoints", cluster.endpoints[0],
                ])
                #expect(ending == .exited(1))
                #expect((output + errors).contains("tells changes from revision"))
                await client.shutdown()
            }
        }
    }

    /// By the document alone, at one node.
    @Suite struct WatchByDocumentTests {
        @Test("credit, progress and the end of a watch, byte by byte", .timeLimit(.minutes(1)))
        func credit() async throws {
            try await withCluster(nodes: 1) { cluster in
                let client = cluster.client()
                let raw = try RawClient(cluster.endpoints[0])
                let watch = try raw.send(10, RawClient.watchBody(from: 0, progress: 250, credit: 200))
                let created = try raw.receive(watch)
                #expect(created.code == 0)
                for number in 0..<8 { try await client.put("k", "\(number)" + String(repeating: "x", count: 90)) }
                let last = try await client.currentRevision()
                // Two frames use the credit up; then nothing comes before the client gives more.
                var through: UInt64 = 0
                for _ in 0..<2 { through = try raw.receive(watch).revision }
                #expect(through < last)
                var frames = 2
                while through < last {
                    var body = Bytes()
                    body.append(UInt32(150))
                    try raw.send(11, body, id: watch)
                    var reply = try raw.receive(watch)
                    #expect(reply.code == 0)
                    if try reply.fields.readUInt8() == 2 { frames += 1 }
                    #expect(reply.revision > through)
                    through = reply.revision
                }
                #expect(frames == 8)
                try raw.send(12, Bytes(), id: watch)
                var end = try raw.receive(watch)
                #expect(end.code == 0)
                #expect(try end.fields.readUInt8() == 3)
                // The connection serves on, and the id is free again.
                #expect(try raw.get("k")?.revision == last)
                await client.shutdown()
            }
        }
    }

    /// Two keys that change together, again and again; some of them go again.
    private final class Pairs: Sendable {
        private let task: Task<Int, any Error>
        init(_ cluster: Cluster) {
            let client = cluster.client(timeout: .seconds(60))
            let isStopped = Stop()
            stop = isStopped
            task = Task {
                var count = 0
                while !isStopped.isSet {
                    let value = Array("\(count)".utf8)
                    let keys = ["pair/a\(count % 5)", "pair/b\(count % 5)"].map { Array($0.utf8) }
                    let then: [MetadataTransaction.Operation] =
                        count % 7 == 6 ? keys.map { .delete(key: $0) } : keys.map { .put(key: $0, value: value) }
                    _ = try await client.transaction(MetadataTransaction(then: then))
                    count += 1
                }
                await client.shutdown()
                return count
            }
        }

        private let stop: Stop

        func stop() async throws -> Int {
            stop.set()
            return try await task.value
        }
    }

    private final class Tally: Sendable {
        private let value = Atomic(0)
        var count: Int { value.load(ordering: .relaxed) }
        func add() { value.wrappingAdd(1, ordering: .relaxed) }
    }

    private final class Stop: Sendable {
        private let value = Atomic(false)
        var isSet: Bool { value.load(ordering: .relaxed) }
        func set() { value.store(true, ordering: .relaxed) }
    }

    /// One watch that runs until it is told the end, and what it is to have told.
    private final class Collector: Sendable {
        static let end = "the end"
        let name: String
        private let from: UInt64?
        private let prefix: [UInt8]
        private let keepsPuts: Bool
        private let task: Task<(begun: UInt64, told: [WatchedChanges]), any Error>

        init(
            _ name: String, _ client: MetadataClient, from: UInt64? = nil, prefix: String = "", keepsPuts: Bool = true,
            pause: Duration = .zero, _ watch: @escaping @Sendable (MetadataClient) -> Watch
        ) {
            self.name = name
            self.from = from
            self.prefix = Array(prefix.utf8)
            self.keepsPuts = keepsPuts
            let lastKey = prefix.isEmpty ? Array("zz".utf8) : nil
            task = Task {
                var begun: UInt64?
                var told: [WatchedChanges] = []
                var through: UInt64 = 0
                for try await found in watch(client) {
                    if begun == nil {
                        #expect(found.changes.isEmpty, "\(name): the first element is a mark")
                        begun = found.revision
                        through = found.revision
                        continue
                    }
                    if found.changes.isEmpty {
                        #expect(found.revision >= through, "\(name): a mark of the past")
                        through = max(through, found.revision)
                        continue
                    }
                    #expect(found.revision > through, "\(name): \(found.revision) after \(through)")
                    through = found.revision
                    told.append(found)
                    if pause > .zero { try await Task.sleep(for: pause) }
                    // The last one of what it watches.
                    let isLast = found.changes.contains { change in
                        switch change {
                        case .deleted(let key): return key == lastKey
                        case .put(let key, let value, _):
                            guard lastKey == nil else { return false }
                            return value == Array(Self.end.utf8) || (value.isEmpty && key == Array("load/0/zz".utf8))
                        }
                    }
                    if isLast { break }
                }
                await client.shutdown()
                return (begun ?? 0, told)
            }
        }

        func finish() async throws -> [WatchedChanges] {
            let task = self.task
            return try await withThrowingTaskGroup(of: [WatchedChanges]?.self) { group in
                group.addTask { try await task.value.told }
                group.addTask {
                    try await Task.sleep(for: .seconds(60))
                    return nil
                }
                defer { group.cancelAll() }
                guard let told = try await group.next() ?? nil else {
                    task.cancel()
                    throw TestFailure("\(self.name) was not told the end")
                }
                return told
            }
        }

        /// What `everything` says of the keys that this one watches.
        func check(_ told: [WatchedChanges], against everything: [WatchedChanges], through end: UInt64) {
            let begun = from ?? (told.first?.revision ?? end)
            let last = told.last?.revision ?? 0
            var expected: [WatchedChanges] = []
            for found in everything where found.revision >= begun && found.revision <= last {
                let changes = found.changes.filter { change in
                    guard change.key.starts(with: prefix) else { return false }
                    if case .put = change { return keepsPuts }
                    return true
                }
                if !changes.isEmpty { expected.append(WatchedChanges(revision: found.revision, changes: changes)) }
            }
            #expect(!told.isEmpty)
            #expect(told.map(\.revision) == expected.map(\.revision), "\(name): revisions")
            for (found, wanted) in zip(told, expected) {
                #expect(found.changes.map(\.key) == wanted.changes.map(\.key), "\(name) at \(found.revision)")
                guard name != "keys of a writer" else { continue }
                #expect(found.changes == wanted.changes, "\(name) at \(found.revision)")
            }
        }
    }
}

extension RawClient {
    static func watchBody(from: UInt64, progress: UInt32 = 0, credit: UInt32 = 1 << 24) -> Bytes {
        var body = Bytes()
        body.append(UInt8(16))
        body.append(UInt8(0))
        body.append16([])
        body.append(from)
        body.append(UInt64(0))
        body.append(UInt8(0))
        body.append(progress)
        body.append(credit)
        return body
    }

    /// Everything that this node tells, revision by revision.
    func watchEverything(from first: UInt64, through last: UInt64) throws -> [WatchedChanges] {
        let watch = try send(10, Self.watchBody(from: first))
        var told: [WatchedChanges] = []
        while true {
            var reply = try receive(watch)
            guard reply.code == 0 else { throw RefusedRequest(code: reply.code) }
            guard try reply.fields.readUInt8() == 2 else { continue }
            guard try reply.fields.readUInt8() == 0 else { throw TestFailure("a revision of this test fits a frame") }
            while !reply.fields.isAtEnd {
                var found = WatchedChanges(revision: try reply.fields.readUInt64(), changes: [])
                for _ in 0..<(try reply.fields.readUInt32()) {
                    let flags = try reply.fields.readUInt8()
                    let key = try reply.fields.take(Int(reply.fields.readUInt16()))
                    if flags == 0 {
                        found.changes.append(.deleted(key: key))
                    } else {
                        let value = try reply.fields.take(Int(reply.fields.readUInt32()))
                        found.changes.append(.put(key: key, value: value))
                    }
                }
                told.append(found)
            }
            if reply.revision >= last { return told }
        }
    }
}
