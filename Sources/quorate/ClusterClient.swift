internal import Basics
internal import Client
internal import Server

/// The client library as the commands use it: one client per command, errors as a person reads them, and the rows that
/// this command keeps for itself left out of listings.
struct ClusterClient {
    let client: MetadataClient
    private let endpoints: [String]

    struct Options {
        var endpoints: [String]
        var timeout: Duration
        var tls: MetadataClientTLS?
        var sessionTimeout = Duration.seconds(10)
    }

    /// Runs `body` with a client, and shuts the client down whatever happens.
    static func with<Value>(
        _ options: Options, _ body: (ClusterClient) async throws -> Value
    ) async throws -> Value {
        var configuration = MetadataClientConfiguration(endpoints: options.endpoints)
        configuration.clientName = "quorate"
        configuration.timeout = options.timeout
        configuration.tls = options.tls
        configuration.sessionTimeout = options.sessionTimeout
        let client = MetadataClient(configuration)
        let result: Result<Value, any Error>
        do {
            result = .success(try await body(ClusterClient(client: client, endpoints: options.endpoints)))
        } catch {
            result = .failure((error as? ClientError).map { CommandError($0) } ?? error)
        }
        await client.shutdown()
        return try result.get()
    }

    static func with<Value>(
        _ options: ClientOptions, sessionTimeout: Interval = Limits.sessionTimeoutDefault,
        _ body: (ClusterClient) async throws -> Value
    ) async throws -> Value {
        let nanoseconds = options.timeout.interval.nanoseconds
        return try await with(
            Options(
                endpoints: try options.endpointList(), timeout: .nanoseconds(nanoseconds),
                tls: try options.tls.files(), sessionTimeout: .nanoseconds(sessionTimeout.nanoseconds)), body)
    }

    // MARK: Records

    func put(key: [UInt8], value: [UInt8], ifRevision: UInt64?, guards: [Fence]) async throws -> UInt64 {
        try await client.put(key, value, ifRevision: ifRevision, guards: guards, isOneShot: true)
    }

    func delete(key: [UInt8], ifRevision: UInt64?, guards: [Fence]) async throws -> UInt64 {
        try await client.delete(key, ifRevision: ifRevision, guards: guards, isOneShot: true)
    }

    /// In batches, because one command deletes so many rows and no more.
    func delete(prefix: [UInt8]) async throws -> (count: UInt64, revision: UInt64) {
        var count: UInt64 = 0
        while true {
            let batch = try await client.deletePrefix(prefix, limit: UInt32(Limits.rangeDeleteRowsMax), isOneShot: true)
            count += batch.count
            guard batch.hasMore else { return (count, batch.revision) }
        }
    }

    func get(key: [UInt8], level: ReadLevelOption) async throws -> KeyValue? {
        try await client.get(key, level: level.level)
    }

    func count(prefix: [UInt8], level: ReadLevelOption) async throws -> UInt64 {
        let total = try await client.count(prefix: prefix, level: level.level)
        guard ReservedKeys.mayAppear(under: prefix) else { return total }
        return total - min(total, try await client.count(prefix: ReservedKeys.prefix, level: level.level))
    }

    /// Every row under `prefix` in key order, all of one revision.
    func list(
        prefix: [UInt8], keysOnly: Bool, limit: Int?, level: ReadLevelOption, _ body: (KeyValue) -> Void
    ) async throws {
        let hidesReserved = ReservedKeys.mayAppear(under: prefix)
        var left = limit ?? Int.max
        for try await row in client.list(
            prefix: prefix, keysOnly: keysOnly, limit: hidesReserved ? nil : limit, level: level.level)
        {
            if hidesReserved, row.key.starts(with: ReservedKeys.prefix) { continue }
            body(row)
            left -= 1
            if left == 0 { return }
        }
    }

    func watch(prefix: [UInt8], from revision: UInt64?, filter: WatchFilter) -> Client.Watch {
        client.watch(prefix: prefix, from: revision, filter: filter)
    }

    /// On its own; a retry by a later run of the program is a new transaction.
    func transact(
        _ transaction: MetadataTransaction, guards: [Fence] = []
    ) async throws -> MetadataTransaction.Outcome {
        do {
            return try await client.transaction(transaction, guards: guards, isOneShot: true)
        } catch {
            throw CommandError(error)
        }
    }

    // MARK: The cluster

    /// - Returns: id of the new cluster.
    func initialize() async throws -> UInt64 { try await client.initialize() }

    /// Asks every node about itself: those named, and those that they name.
    func probe() async -> [StatusReport.Probe] {
        let named = await ask(endpoints)
        let known = Set(
            named.flatMap { probe in
                [probe.address] + ((try? probe.answer.get()).map { [$0.clientAddress] } ?? [])
            })
        var further: [String] = []
        for probe in named {
            for member in (try? probe.answer.get())?.members ?? []
            where !member.clientAddress.isEmpty && !known.contains(member.clientAddress)
                && !further.contains(member.clientAddress)
            {
                further.append(member.clientAddress)
            }
        }
        return named
            + (await ask(further)).map { probe in
                var probe = probe
                probe.isNamed = false
                return probe
            }
    }

    /// Takes a snapshot from the first of the endpoints that gives one, and starts again with the next when it is cut
    /// off.
    /// - Returns: what was saved, and from where.
    func saveSnapshot(
        _ path: String, level: ReadLevelOption
    ) async throws -> (SnapshotSummary, endpoint: String) {
        let revision = level == .stale ? 0 : try await client.currentRevision()
        var failure: (any Error)?
        for attempt in 0..<3 {
            // A node that is a little behind, or takes its time to begin, is asked again.
            if attempt > 0 { try await Task.sleep(for: .milliseconds(200)) }
            for endpoint in endpoints {
                do {
                    return (try await saveSnapshot(path, from: endpoint, atLeast: revision), endpoint)
                } catch let error as SnapshotFileError where error.code != "damaged" {
                    // What is wrong here is wrong with every node.
                    throw CommandError(error.code, error.description)
                } catch let error as ClientError
                    where error.code == .generationChanged || error.code == .clusterMismatch
                {
                    throw error
                } catch {
                    failure = failure ?? error
                }
            }
        }
        if let failure = failure as? SnapshotFileError { throw CommandError(failure.code, failure.description) }
        throw failure ?? CommandError("unavailable", "no node gave a snapshot", isRetryable: true)
    }

    private func saveSnapshot(
        _ path: String, from endpoint: String, atLeast revision: UInt64
    ) async throws -> SnapshotSummary {
        let sink = try SnapshotSink(path)
        var summary: SnapshotSummary?
        var bar = ProgressBar("snapshot save, KiB")
        defer { bar.finish() }
        try await client.snapshot(from: endpoint, atLeast: revision) { part in
            switch part {
            case .chunk(let bytes): try sink.append(chunk: bytes)
            case .manifest(let bytes): summary = try sink.finish(manifest: bytes)
            }
            bar.update(sink.size / 1_024, of: nil)
        }
        guard let summary else { throw CommandError("failed", "the node ended the snapshot without its manifest") }
        return summary
    }

    private func ask(_ addresses: [String]) async -> [StatusReport.Probe] {
        await withTaskGroup(of: (Int, StatusReport.Probe).self) { [client] group in
            for (position, address) in addresses.enumerated() {
                group.addTask {
                    do throws(ClientError) {
                        let report = try await client.status(of: address)
                        return (position, StatusReport.Probe(address: address, answer: .success(report)))
                    } catch {
                        return (position, StatusReport.Probe(unreachable: address, message: error.message))
                    }
                }
            }
            var probes: [(Int, StatusReport.Probe)] = []
            for await probe in group { probes.append(probe) }
            return probes.sorted { $0.0 < $1.0 }.map(\.1)
        }
    }
}

extension CommandError {
    init(_ error: ClientError) {
        var message = error.message
        if error.code == .conflict, let revision = error.currentRevision {
            message += revision == 0 ? ": there is no such key" : ": the key is at revision \(revision)"
        }
        self.init(
            error.code.rawValue, message, isRetryable: error.isRetryable, currentRevision: error.currentRevision)
        currentFence = error.currentFence
        rule = error.rule
    }
}

extension ReadLevelOption {
    var level: ReadLevel { self == .stale ? .stale : .linearizable }
}
