internal import Client
internal import FoundationEssentials
internal import Glibc
internal import Simulator
internal import Synchronization

/// One run: load, faults, an end without faults, and the verdict.
struct Run {
    private let settings: Torture
    private let seed: UInt64
    private let nodes: Nodes
    private let directory: String
    private let recorder = Recorder()
    private var faults: Faults
    /// Of the members at present, for whoever begins now.
    private let endpoints: Endpoints

    /// What tasks share.
    private final class Endpoints: Sendable {
        private let list = Mutex<[String]>([])
        var current: [String] {
            get { list.withLock { $0 } }
            set { list.withLock { $0 = newValue } }
        }
    }

    init(_ settings: Torture, seed: UInt64, nodes: Nodes, directory: String) {
        self.settings = settings
        self.seed = seed
        self.nodes = nodes
        self.directory = directory
        faults = Faults(
            nodes: nodes, recorder: recorder, ttl: settings.ttl, seed: seed,
            only: settings.only.compactMap { Faults.Kind(rawValue: $0) })
        endpoints = Endpoints()
    }

    func writeTimeline() {
        let text = faults.timeline.joined(separator: "\n") + "\n"
        try? text.write(toFile: "\(directory)/faults.txt", atomically: false, encoding: .utf8)
    }

    // MARK: The run

    mutating func carryOut() async throws -> Summary {
        try await nodes.found(settings.nodes)
        _ = try await nodes.waitUntilWhole(within: .seconds(30))
        endpoints.current = nodes.endpoints
        recorder.begin()
        let begunAt = Clock.now()

        let watchers = makeWatchers()
        let watching = watchers.map { watcher in Task { await watcher.run() } }
        let clients = (0..<settings.clients).map { number in client(number) }
        let working = clients.enumerated().map { number, client in
            let worker = KeyspaceWorker(
                number: number, client: client, recorder: recorder, begunAt: begunAt, seed: seed)
            return Task {
                var worker = worker
                await worker.run()
            }
        }
        let strikes = makeStrikes()
        let striking = Task {
            var strikes = strikes
            try await strikes.run()
            return (killed: strikes.killed, stopped: strikes.stopped, outputs: strikes.outputs)
        }

        let end = begunAt + UInt64(settings.minutes * 60e9)
        while Clock.now() < end {
            if settings.sparesNodes {
                try await Task.sleep(for: .milliseconds(200))
                continue
            }
            try await Task.sleep(for: faults.chance.pause(300, 2_500))
            try await faults.next()
            endpoints.current = nodes.endpoints
            for watcher in watchers { watcher.setEndpoints(nodes.endpoints) }
            try await checkService()
        }
        let seconds = Double(Clock.now() - begunAt) / 1e9

        faults.tell("no faults any more")
        recorder.end()
        for worker in working { await worker.value }
        let struck = try await striking.value
        for client in clients { await client.shutdown() }
        let last = try await settle(watchers)
        for task in watching { task.cancel() }
        for task in watching { await task.value }

        var holders = HolderLogs()
        for path in struck.outputs { holders.read((try? String(contentsOfFile: path, encoding: .utf8)) ?? "") }
        var summary = Summary(
            seed: seed, nodes: settings.nodes, seconds: seconds, faults: faults.counts, killed: struck.killed,
            stopped: struck.stopped)
        judge(&summary, watchers, holders, last)
        return summary
    }

    private func client(_ number: Int) -> MetadataClient {
        let all = endpoints.current
        var configuration = MetadataClientConfiguration(
            endpoints: Array(all[(number % all.count)...] + all[..<(number % all.count)]))
        configuration.timeout = .seconds(8)
        configuration.sessionTimeout = .seconds(settings.ttl)
        return MetadataClient(configuration)
    }

    private func makeWatchers() -> [Watcher] {
        let all = endpoints.current
        return [
            Watcher("of everything", prefix: "", lasts: nil, endpoints: all),
            Watcher("of everything, at another node", prefix: "", lasts: nil, endpoints: all),
            Watcher("of everything, begun again and again", prefix: "", lasts: .seconds(3), endpoints: all),
            Watcher("of fenced writes, begun again and again", prefix: "fenced/", lasts: .seconds(7), endpoints: all),
            Watcher("of created keys", prefix: "queue/", lasts: .seconds(20), endpoints: all),
        ]
    }

    private func makeStrikes() -> ActorStrikes {
        let own =
            (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? CommandLine.arguments[0]
        let (settings, seed, directory, endpoints, recorder) = (settings, seed, directory, endpoints, recorder)
        return ActorStrikes(count: settings.actors, ttl: settings.ttl, seed: seed, recorder: recorder) { number in
            try Child(
                own,
                [
                    "actor", "--endpoints", endpoints.current.joined(separator: ","), "--number", "\(number)",
                    "--groups", "\(settings.groups)", "--locks", "\(settings.locks)", "--ttl", "\(settings.ttl)",
                    "--seed", "\(seed)", "--pause", "\(settings.holderPause)",
                ], outputPath: "\(directory)/actor-\(number).log")
        }
    }

    /// Nothing is broken now: a write must succeed before long.
    private func checkService() async throws {
        let probe = MetadataClient(MetadataClientConfiguration(endpoints: nodes.endpoints))
        do throws(ClientError) {
            try await probe.put("probe", "\(Clock.now())", timeout: .seconds(30))
        } catch {
            recorder.violation("no write succeeded for 30 s though nothing was broken: \(error)")
        }
        await probe.shutdown()
    }

    // MARK: The end

    /// All nodes as one, all sessions of the dead ended, all watches at the end.
    private mutating func settle(_ watchers: [Watcher]) async throws -> (revision: UInt64, rows: [Verdict.Row]) {
        let client = MetadataClient(MetadataClientConfiguration(endpoints: nodes.endpoints))
        do {
            _ = try await nodes.waitUntilWhole(within: .seconds(60))
            _ = try await eventually("the rows of dead sessions are gone", within: .seconds(60)) {
                try await client.count(prefix: Array("owned/".utf8)) == 0 ? true : nil
            }
        } catch let failure as TortureFailure {
            recorder.violation("after the end of all faults: \(failure)")
        }
        let last = try await client.put("end", "1")
        do {
            _ = try await eventually("every watch has come to \(last)", within: .seconds(60)) {
                watchers.allSatisfy { $0.through >= last || $0.wrong != nil } ? true : nil
            }
        } catch let failure as TortureFailure {
            recorder.violation("\(failure): \(watchers.map { "\($0.name): \($0.through)" })")
        }
        var rows: [Verdict.Row] = []
        for try await row in client.list(prefix: []) {
            rows.append(.init(key: row.key, value: row.value, revision: row.revision))
        }
        await client.shutdown()
        try await compareDigests()
        for (name, ending) in try await nodes.stopAll() where ending != .exited(0) {
            recorder.violation("\(name), told to stop, ended with \(ending)")
        }
        return (last, rows)
    }

    private func compareDigests() async throws {
        var known: [UInt64: (digest: UInt64, name: String)] = [:]
        for name in nodes.names {
            for digest in try await nodes.status(name).digests {
                if let other = known[digest.index], other.digest != digest.digest {
                    recorder.violation("\(name) and \(other.name) have different states at \(digest.index)")
                }
                known[digest.index] = (digest.digest, name)
            }
        }
    }

    private func judge(
        _ summary: inout Summary, _ watchers: [Watcher], _ holders: HolderLogs,
        _ last: (revision: UInt64, rows: [Verdict.Row])
    ) {
        let state = recorder.with { $0 }
        let feed = watchers[0].told
        var verdict = Verdict()
        for violation in state.violations { verdict.add(violation) }
        if let wrong = watchers[0].wrong { verdict.add("watch \(watchers[0].name): \(wrong)") }
        verdict.checkFeed(feed, state, rows: last.rows, at: last.revision)
        for watcher in watchers.dropFirst() { verdict.checkWatcher(watcher, against: feed) }
        verdict.checkFences(feed, holders)
        verdict.checkLinearizability(state.history)
        for stuck in verdict.stuck {
            let name = stuck.group.split(separator: "/").joined(separator: "-")
            let text = stuck.operations.map(\.description).joined(separator: "\n") + "\n"
            try? text.write(toFile: "\(directory)/history-\(name).txt", atomically: false, encoding: .utf8)
        }
        summary.take(state, verdict, holders, revisions: feed.count, watchers)
        try? (summary.violations.joined(separator: "\n") + "\n").write(
            toFile: "\(directory)/violations.txt", atomically: false, encoding: .utf8)
    }
}
