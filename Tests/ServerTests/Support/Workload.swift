import Client
import Synchronization
import Testing

/// Writers that remember everything that was acknowledged to them, so that it can be held against what the cluster has
/// in the end. Each goes through four kinds of mutation that give a second application away:
///
/// - a put of a key of its own: applied again, it would have another revision than the one that was acknowledged;
/// - a counter that moves by compare-and-set on its revision: applied again, it would answer `conflict`;
/// - a balance that moves by a transaction on its value: applied again, the condition would not hold;
/// - a sequential create: applied again, there would be one row too many.
final class Workload: Sendable {
    struct Record: Hashable, Sendable {
        var key: String
        var value: String
        var revision: UInt64
    }

    struct Report: Sendable {
        var records: [Record] = []
        var acknowledged = 0
        var slowest = Duration.zero
        /// Nothing a writer should ever see.
        var failures: [String] = []
    }

    private let isStopped = Atomic(false)
    private let acknowledgedCount = Atomic(0)
    private let tasks: Mutex<[Task<Report, Never>]> = Mutex([])

    /// Starts the writers; each has a client and a session of its own.
    init(_ cluster: Cluster, writers: Int = 4) {
        for number in 0..<writers {
            let client = cluster.client(timeout: .seconds(60))
            let task = Task { [self] in
                let report = await write(number, client)
                await client.shutdown()
                return report
            }
            tasks.withLock { $0.append(task) }
        }
    }

    var acknowledged: Int { acknowledgedCount.load(ordering: .relaxed) }

    /// Returns when `count` more mutations have been acknowledged.
    func waitForProgress(_ count: Int, within timeout: Duration = .seconds(30)) async throws {
        let target = acknowledged + count
        try await eventually("\(count) more writes are acknowledged", within: timeout) { self.acknowledged >= target }
    }

    /// Lets every writer end the call that it is in.
    func stop() async -> [Report] {
        isStopped.store(true, ordering: .relaxed)
        var reports: [Report] = []
        for task in tasks.withLock({ $0 }) { reports.append(await task.value) }
        return reports
    }

    private func write(_ writer: Int, _ client: MetadataClient) async -> Report {
        var report = Report()
        var lastRevision: UInt64 = 0
        var counter = Record(key: "load/\(writer)/counter", value: "", revision: 0)
        var balance = Record(key: "load/\(writer)/balance", value: "", revision: 0)
        var step = 0

        func acknowledge(_ revision: UInt64, since start: ContinuousClock.Instant) {
            report.acknowledged += 1
            report.slowest = max(report.slowest, ContinuousClock.now - start)
            acknowledgedCount.wrappingAdd(1, ordering: .relaxed)
            if revision <= lastRevision {
                report.failures.append("writer \(writer): revision \(revision) came after \(lastRevision)")
            }
            lastRevision = revision
        }

        do {
            while !isStopped.load(ordering: .relaxed) {
                let value = "\(step)"

                var start = ContinuousClock.now
                var record = Record(key: "load/\(writer)/put/\(step)", value: value, revision: 0)
                record.revision = try await client.put(record.key, value)
                acknowledge(record.revision, since: start)
                report.records.append(record)

                start = .now
                counter.revision = try await client.put(counter.key, value, ifRevision: counter.revision)
                counter.value = value
                acknowledge(counter.revision, since: start)

                start = .now
                let balanceKey = Array(balance.key.utf8)
                let condition: MetadataTransaction.Condition =
                    step == 0 ? .exists(key: balanceKey, false) : .value(key: balanceKey, Array(balance.value.utf8))
                let outcome = try await client.transaction(
                    MetadataTransaction(if: [condition], then: [.put(key: balanceKey, value: Array(value.utf8))]))
                guard outcome.succeeded else {
                    report.failures.append("writer \(writer), step \(step): the balance is not what was written last")
                    break
                }
                balance.value = value
                balance.revision = outcome.revision
                acknowledge(outcome.revision, since: start)

                start = .now
                let created = try await client.createSequential(
                    prefix: Array("load/\(writer)/sequence/".utf8), value: Array(value.utf8))
                acknowledge(created.revision, since: start)
                report.records.append(
                    Record(key: String(decoding: created.key, as: UTF8.self), value: value, revision: created.revision))
                step += 1
            }
        } catch {
            report.failures.append("writer \(writer), step \(step): \(error)")
        }
        report.records += [counter, balance].filter { $0.revision != 0 }
        return report
    }

    /// Exactly what was acknowledged is there, at the revisions at which it was, and nothing else.
    static func check(_ reports: [Report], on cluster: Cluster) async throws {
        for failure in reports.flatMap(\.failures) { Issue.record("\(failure)") }
        let expected = Set(reports.flatMap(\.records))
        var found: Set<Record> = []
        let client = cluster.client()
        for try await row in client.list(prefix: Array("load/".utf8)) {
            found.insert(
                Record(
                    key: String(decoding: row.key, as: UTF8.self), value: String(decoding: row.value, as: UTF8.self),
                    revision: row.revision))
        }
        await client.shutdown()
        let lost = expected.subtracting(found).sorted { $0.revision < $1.revision }
        let surplus = found.subtracting(expected).sorted { $0.revision < $1.revision }
        #expect(lost.isEmpty, "acknowledged and not there: \(lost.prefix(5))")
        #expect(surplus.isEmpty, "there, and not acknowledged so: \(surplus.prefix(5))")
        #expect(!expected.isEmpty)
        // It asks over plain sockets.
        if cluster.certificates == nil { try await checkThatReplicasAreEqual(cluster) }
    }

    /// The same rows on each node's own disk, and the same digests wherever two nodes have one at the same index.
    static func checkThatReplicasAreEqual(_ cluster: Cluster) async throws {
        try await cluster.waitUntilWhole()
        var rows: [[String]] = []
        var digests: [UInt64: Set<UInt64>] = [:]
        for name in cluster.names {
            rows.append(try RawClient(cluster[name].client).staleRows(prefix: "l"))
            for digest in try await cluster.status(name).digests { digests[digest.index, default: []].insert(digest.digest) }
        }
        for (name, other) in zip(cluster.names, rows).dropFirst() {
            #expect(other == rows[0], "\(name) has other rows than \(cluster.names[0])")
        }
        #expect(digests.values.allSatisfy { $0.count == 1 }, "replicas differ: \(digests)")
    }
}

extension [Duration] {
    var median: Duration { isEmpty ? .zero : sorted()[count / 2] }
}

extension Duration {
    var milliseconds: String { "\(Int((self / .milliseconds(1)).rounded())) ms" }
}
