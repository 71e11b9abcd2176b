internal import Basics
internal import Client
internal import Dispatch
internal import Glibc

/// The processes of `quorate local`. One task owns all of it and takes events one after another; threads and signal
/// handlers only add events.
final class LocalCluster {
    let layout: LocalLayout
    private let dataDirectory: String
    private let executable: String
    private let furtherArguments: [String]
    private let servesHTTP: Bool
    private let restartsNodes: Bool
    private var children: [ChildProcess?]
    private var isStopping = false

    /// What `stop` gives the nodes to hand over and finish.
    private static let stopTimeout = Duration.seconds(10)
    /// A node that ends at once, again and again, is not started in a tight loop.
    private static let restartPause = Duration.milliseconds(500)
    private static let readyTimeout = Duration.seconds(60)
    private static let stragglerTimeout = Duration.seconds(10)

    private enum Event: Sendable {
        case ended(node: Int, processID: pid_t)
        case restart(node: Int)
        case stop
        case stopTimedOut
        case ready
        case notReady(CommandError)
    }

    init(
        layout: LocalLayout, dataDirectory: String, executable: String, furtherArguments: [String],
        servesHTTP: Bool = false, restartsNodes: Bool
    ) {
        self.layout = layout
        self.dataDirectory = dataDirectory
        self.executable = executable
        self.furtherArguments = furtherArguments
        self.servesHTTP = servesHTTP
        self.restartsNodes = restartsNodes
        children = Array(repeating: nil, count: layout.nodes)
    }

    /// Runs until it is told to stop, or until too few nodes are left; returns the exit code.
    func run(whenReady: (Double, LocalCluster) -> Void) async throws -> Int32 {
        let (events, continuation) = AsyncStream.makeStream(of: Event.self)
        let signals = Self.watchSignals { continuation.yield(.stop) }
        defer { for signal in signals { signal.cancel() } }

        try layout.checkPortsAreFree(withHTTP: servesHTTP)
        let startedAt = ContinuousClock.now
        do {
            for node in 0..<layout.nodes { try start(node, continuation) }
        } catch {
            stopAtOnce()
            throw error
        }
        let bringUp = Self.startBringUp(layout, continuation)
        defer { bringUp.cancel() }

        var code: Int32 = 0
        for await event in events {
            switch event {
            case .ready:
                guard !isStopping else { break }
                whenReady((ContinuousClock.now - startedAt) / .seconds(1), self)
            case .notReady(let error):
                guard !isStopping else { break }
                error.report(asJSON: false)
                code = 1
                stop(continuation)
            case .ended(let node, let processID):
                guard let child = children[node], child.processID == processID else { break }
                let ending = child.reap()
                children[node] = nil
                if isStopping { break }
                report(node, ending)
                if restartsNodes {
                    after(Self.restartPause) { continuation.yield(.restart(node: node)) }
                } else if children.count(where: { $0 != nil }) < layout.majority {
                    Output.error(
                        "fewer than \(layout.majority) of \(layout.nodes) nodes are left, which is no quorum: stopping")
                    code = 1
                    stop(continuation)
                }
            case .restart(let node):
                guard !isStopping else { break }
                try start(node, continuation)
            case .stop:
                stop(continuation)
            case .stopTimedOut:
                for child in children { child?.send(signal: SIGKILL) }
            }
            if isStopping, children.allSatisfy({ $0 == nil }) { break }
        }
        return code
    }

    // MARK: Starting and stopping

    private func start(_ node: Int, _ continuation: AsyncStream<Event>.Continuation) throws(CommandError) {
        let member = layout.members[node]
        let child = try ChildProcess(
            executable: executable,
            arguments: layout.arguments(
                for: member, dataDirectory: dataDirectory, withHTTP: servesHTTP, further: furtherArguments),
            logPath: logPath(member))
        children[node] = child
        let processID = child.processID
        child.whenEnded { continuation.yield(.ended(node: node, processID: processID)) }
    }

    private func stop(_ continuation: AsyncStream<Event>.Continuation) {
        guard !isStopping else { return }
        isStopping = true
        for child in children { child?.send(signal: SIGTERM) }
        after(Self.stopTimeout) { continuation.yield(.stopTimedOut) }
    }

    private func stopAtOnce() {
        for child in children {
            child?.send(signal: SIGKILL)
            _ = child?.reap()
        }
    }

    private func after(_ pause: Duration, _ body: @escaping @Sendable () -> Void) {
        Task {
            try? await Task.sleep(for: pause)
            body()
        }
    }

    /// The default action of these would end us and leave the stopping to the nodes themselves.
    private static func watchSignals(_ body: @escaping @Sendable () -> Void) -> [any DispatchSourceSignal] {
        [SIGINT, SIGTERM, SIGHUP].map { number in
            signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
            source.setEventHandler { body() }
            source.resume()
            return source
        }
    }

    // MARK: Forming and waiting

    private static func startBringUp(
        _ layout: LocalLayout, _ continuation: AsyncStream<Event>.Continuation
    ) -> Task<Void, Never> {
        Task { _ = continuation.yield(await outcomeOfBringUp(layout)) }
    }

    private static func outcomeOfBringUp(_ layout: LocalLayout) async -> Event {
        do {
            try await waitUntilReady(layout)
            return .ready
        } catch let error as CommandError {
            return .notReady(error)
        } catch {
            return .notReady(CommandError("cancelled", "stopped while waiting for a leader"))
        }
    }

    /// Forms the cluster if all nodes are empty, and returns when there is a leader with a quorum and every node answers;
    /// when some do not for a while, the quorum is enough.
    private static func waitUntilReady(_ layout: LocalLayout) async throws {
        let options = ClusterClient.Options(endpoints: layout.endpoints, timeout: .seconds(5))
        try await ClusterClient.with(options) { client in
            let startedAt = ContinuousClock.now
            var lastHeadline = ""
            while ContinuousClock.now - startedAt < readyTimeout {
                let probes = await client.probe()
                let report = StatusReport(probes)
                let waitsForAll = ContinuousClock.now - startedAt < stragglerTimeout
                if report.hasQuorum, !waitsForAll || answers(probes).count == layout.nodes { return }
                lastHeadline = report.headline
                if isEmpty(probes, layout: layout) {
                    // Refused when a node is not ready after all, or has formed meanwhile: the next look tells.
                    _ = try? await client.initialize()
                }
                try await Task.sleep(for: .milliseconds(20))
            }
            throw CommandError("unavailable", "no leader after \(readyTimeout): \(lastHeadline)")
        }
    }

    /// All nodes answer, and none belongs to a cluster.
    private static func isEmpty(_ probes: [StatusReport.Probe], layout: LocalLayout) -> Bool {
        let replies = answers(probes)
        return replies.count == layout.nodes && replies.allSatisfy { $0.clusterID == nil }
    }

    private static func answers(_ probes: [StatusReport.Probe]) -> [NodeReport] {
        probes.compactMap { try? $0.answer.get() }
    }

    // MARK: What a person or a script reads

    var readyJSON: JSON {
        let nodes = zip(layout.members, children).map { member, child in
            JSON.object([
                ("name", .string(member.name)),
                ("pid", .optional(child.map { UInt64($0.processID) })),
                ("client", .string(member.client.description)),
                ("peer", .string(member.peer.description)),
            ] + (servesHTTP ? [("http", .string(member.http.description))] : []))
        }
        return .object([
            ("ready", .bool(true)), ("endpoints", .array(layout.endpoints.map { .string($0) })),
            ("nodes", .array(nodes)),
        ])
    }

    func readyText(seconds: Double) -> String {
        let command = CommandLine.arguments.first ?? "quorate"
        let endpoints = layout.isFoundByDefault ? "" : " --endpoints \(layout.endpoints.joined(separator: ","))"
        let running = children.count { $0 != nil }
        let nodes = running == 1 ? "1 node is" : "\(running) nodes are"
        var lines = ["\(nodes) up, with a leader (\((seconds * 100).rounded() / 100) s)"]
        for (member, child) in zip(layout.members, children) {
            let process = child.map { "pid \($0.processID)" } ?? "down"
            lines.append("  \(member.name)  \(member.client)  \(process)  log \(logPath(member))")
        }
        if servesHTTP {
            lines.append("Metrics: " + layout.members.map { "http://\($0.http)/metrics" }.joined(separator: " "))
        }
        lines += [
            "",
            "In another terminal:",
            "  \(command) put\(endpoints) hello world",
            "  \(command) get\(endpoints) hello",
            "  \(command) status\(endpoints)",
            "",
            "Ctrl-C stops all of them; the data stays in \(dataDirectory).",
        ]
        return lines.joined(separator: "\n")
    }

    private func report(_ node: Int, _ ending: ChildProcess.Ending) {
        let member = layout.members[node]
        var text = "\(member.name) \(ending.text); its log is \(logPath(member))"
        if let line = lastLogLine(member) { text += ", which ends with:\n  \(line)" }
        Output.error(text)
    }

    private func logPath(_ member: LocalLayout.Node) -> String { "\(dataDirectory)/\(member.name).log" }

    private func lastLogLine(_ member: LocalLayout.Node) -> String? {
        let descriptor = open(logPath(member), O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        let size = lseek(descriptor, 0, SEEK_END)
        var tail = [UInt8](repeating: 0, count: 4_096)
        let count = pread(descriptor, &tail, tail.count, max(0, size - tail.count))
        guard count > 0 else { return nil }
        return tail[..<count].split(separator: 0x0A).last.map { String(decoding: $0, as: UTF8.self) }
    }
}
