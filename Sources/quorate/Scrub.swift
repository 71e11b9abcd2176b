internal import ArgumentParser
internal import Basics
internal import Client
internal import Server

struct Scrub: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Have nodes read every byte that they keep, and repair what is damaged.",
        discussion: """
            Each node reads its log, its rows, its snapshots and its small files, a few MiB a second beside its work, and
            takes back from the others what is not what was written. The command waits until nothing is under repair and
            prints what was read, what was damaged (file and offset) and what became of it. Rows of one revision are
            compared between the nodes.

            With --data it looks at the directory of a stopped node and changes nothing.

            The exit code is 1 when damage was found that is not repaired, when rows differ, and when a node did not come
            to its end or could not be asked.
            """)

    @Option(help: ArgumentHelp("This node only, by its client address. (default: all members)", valueName: "HOST:PORT"))
    var node: String?
    @Option(help: ArgumentHelp("Bytes that each node reads a second. (default: its --scrub-rate)", valueName: "SIZE"))
    var rate: String?
    @Option(help: ArgumentHelp("The data directory of a stopped node.", valueName: "DIR")) var data: String?
    @OptionGroup var options: ClientOptions

    mutating func validate() throws {
        if let rate, bytes(rate) == nil {
            throw ValidationError("--rate \(rate) is not \(SizeQuantity.form), 64KiB or more.")
        }
        if let node, HostPort(node).map({ $0.port == 0 }) ?? true {
            throw ValidationError("--node \(node) is not HOST:PORT, as in 127.0.0.1:7400.")
        }
        if data != nil, node != nil || rate != nil {
            throw ValidationError("--data looks at a stopped node: leave --node and --rate out.")
        }
    }

    private func bytes(_ text: String) -> UInt64? {
        SizeQuantity.parse(text).flatMap { $0 >= 64 * 1_024 ? UInt64($0) : nil }
    }

    func run() async throws {
        if let data { return try scrubStopped(data) }
        let summary = try await ClusterClient.with(options) { cluster in
            try await cluster.scrub(node: node, rate: rate.flatMap(bytes))
        }
        Output.line(options.json ? summary.json.text : summary.text)
        guard summary.isClean else { throw ExitCode(1) }
    }

    private func scrubStopped(_ directory: String) throws {
        try Offline.run {
            let report = try StoppedNode(directory).scrub()
            Offline.report(report.damages, asJSON: options.json)
            if options.json {
                Output.line(
                    JSON.object([
                        (
                            "scrub",
                            .object([
                                ("entries", .number(report.entries)), ("rows", .number(report.rows)),
                                ("snapshotBytes", .number(report.snapshotBytes)),
                                ("damages", .number(UInt64(report.damages.count))),
                            ])
                        )
                    ]).text)
            } else {
                Output.line(
                    "read: \(report.entries) entries of the log, \(report.rows) rows, "
                        + "\(SizeQuantity.text(report.snapshotBytes)) of snapshots; \(report.damages.count) damaged places")
            }
            return report.damages
        }
    }
}

/// What all nodes have said in the end.
struct ScrubSummary {
    struct Node {
        var name: String
        var address: String
        /// Nil: it could not be asked.
        var report: Client.ScrubReport?
        var problem: String?
    }

    enum Digests: String {
        case equal, differ
        /// The rows were not of one revision, or not all could be read.
        case notCompared
    }

    var nodes: [Node]

    var digests: Digests {
        let known = nodes.compactMap { node -> (UInt64, [UInt8])? in
            guard let report = node.report, let digest = report.contentDigest else { return nil }
            return (report.digestRevision, digest)
        }
        for (position, one) in known.enumerated() {
            for other in known[..<position] where other.0 == one.0 && other.1 != one.1 { return .differ }
        }
        let isComparable = known.count == nodes.count && Set(known.map(\.0)).count == 1
        return isComparable ? .equal : .notCompared
    }

    var isClean: Bool { digests != .differ && nodes.allSatisfy(Self.isClean) }

    private static func isClean(_ node: Node) -> Bool {
        guard let report = node.report, node.problem == nil, report.state == .ended else { return false }
        return report.damages.allSatisfy { ![.repairing, .standing].contains($0.outcome) }
    }

    var text: String {
        var lines: [String] = []
        for node in nodes {
            guard let report = node.report else {
                lines.append("\(node.name)  not scrubbed: \(node.problem ?? "it does not answer")")
                continue
            }
            lines.append(
                "\(node.name)  read \(SizeQuantity.text(report.byteCount)): \(report.recordCount) records of the log, "
                    + "\(report.rowCount) rows; \(report.damageCount == 0 ? "sound" : "\(report.damageCount) damaged")")
            for damage in report.damages { lines.append("  \(damage.text)") }
            if report.damageCount > report.damages.count {
                lines.append("  and \(report.damageCount - report.damages.count) more")
            }
            if let problem = node.problem { lines.append("  \(problem)") }
        }
        if nodes.count > 1 {
            switch digests {
            case .equal: lines.append("rows at revision \(nodes[0].report?.digestRevision ?? 0): equal on all nodes")
            case .differ: lines.append("rows DIFFER between nodes at one revision: keep the logs of all nodes and report it")
            case .notCompared: lines.append("rows were not compared: not all nodes have read them at one revision")
            }
        }
        return lines.joined(separator: "\n")
    }

    var json: JSON {
        .object([
            ("nodes", .array(nodes.map(\.json))), ("digests", .string(digests.rawValue)), ("clean", .bool(isClean)),
        ])
    }
}

extension ScrubSummary.Node {
    var json: JSON {
        var members: [(String, JSON)] = [("name", .string(name)), ("address", .string(address))]
        if let report {
            members += [
                ("state", .string(report.state.rawValue)), ("bytes", .number(report.byteCount)),
                ("records", .number(report.recordCount)), ("rows", .number(report.rowCount)),
                (
                    "contentDigest",
                    .optional(report.contentDigest.map { $0.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined() })
                ),
                ("digestRevision", .number(report.digestRevision)), ("damageCount", .number(UInt64(report.damageCount))),
                ("damages", .array(report.damages.map(\.json))),
            ]
        }
        if let problem { members.append(("problem", .string(problem))) }
        return .object(members)
    }
}

extension Client.ScrubReport.Damage {
    var text: String {
        let place = offset.map { " at offset \($0)" } ?? ""
        let lost = entries.map { "; entries \($0.lowerBound)-\($0.upperBound)" } ?? ""
        return "damaged: \(file)\(place): \(reason)\(lost): \(outcomeText)"
    }

    private var outcomeText: String {
        switch outcome {
        case .repairing: "still being repaired"
        case .repaired: "repaired"
        case .standing: "NOT repaired, nobody else has it"
        case .harmless: "nothing is lost by it, and it goes with its file"
        case .letGo: "nobody else has it and it is not needed: the log begins behind it now"
        }
    }

    var json: JSON {
        var members: [(String, JSON)] = [
            ("file", .string(file)), ("offset", .optional(offset)), ("reason", .string(reason)),
        ]
        if let entries {
            members += [("firstIndex", .number(entries.lowerBound)), ("lastIndex", .number(entries.upperBound))]
        }
        return .object(members + [("outcome", .string(outcome.rawValue))])
    }
}

extension ClusterClient {
    /// How long the end of repairs is waited for, once all is read.
    private static var repairMax: Duration { .seconds(300) }
    /// A node that does not answer for so long is given up.
    private static var silenceMax: Duration { .seconds(60) }

    func scrub(node: String?, rate: UInt64?) async throws -> ScrubSummary {
        var nodes = try await nodesToScrub(node)
        let revision = try await revisionAhead(of: nodes.map(\.address))
        for place in nodes.indices {
            do throws(ClientError) {
                let report = try await client.startScrub(at: nodes[place].address, rate: rate, revision: revision)
                guard report.isAccepted else {
                    nodes[place].problem = "a scrub that another command asked for is under way there"
                    continue
                }
                nodes[place].report = report
            } catch {
                nodes[place].problem = error.message
            }
        }
        var bar = ProgressBar("scrub, MiB")
        var (heardAt, endedAt) = (Array(repeating: ContinuousClock.now, count: nodes.count), ContinuousClock.Instant?.none)
        while true {
            try await Task.sleep(for: .milliseconds(200))
            for place in nodes.indices where nodes[place].problem == nil && !Self.isOver(nodes[place]) {
                do throws(ClientError) {
                    let began = nodes[place].report?.startedAt
                    let report = try await client.scrubReport(of: nodes[place].address)
                    heardAt[place] = .now
                    if report.state == .never || report.startedAt != began {
                        nodes[place].problem = "it was started anew, or another scrub was; this one did not come to its end"
                    } else {
                        nodes[place].report = report
                    }
                } catch {
                    if heardAt[place].duration(to: .now) > Self.silenceMax { nodes[place].problem = error.message }
                }
            }
            let reports = nodes.compactMap(\.report)
            bar.update(
                Int(reports.reduce(0) { $0 &+ $1.byteCount } >> 20),
                of: Int(reports.reduce(0) { $0 &+ $1.byteCountExpected } >> 20))
            if nodes.allSatisfy({ $0.problem != nil || Self.isOver($0) }) { break }
            if nodes.allSatisfy({ $0.problem != nil || $0.report?.state != .running }) {
                endedAt = endedAt ?? .now
                if let endedAt, endedAt.duration(to: .now) > Self.repairMax { break }
            }
        }
        bar.finish()
        return ScrubSummary(nodes: nodes)
    }

    private static func isOver(_ node: ScrubSummary.Node) -> Bool {
        guard let report = node.report else { return false }
        return report.state == .stopped
            || report.state == .ended && !report.damages.contains { $0.outcome == .repairing }
    }

    private func nodesToScrub(_ node: String?) async throws -> [ScrubSummary.Node] {
        if let node {
            let found = try? await client.status(of: node)
            return [ScrubSummary.Node(name: found?.name ?? node, address: node)]
        }
        let nodes = StatusReport(await probe()).nodes.map { found in
            var node = ScrubSummary.Node(name: found.name ?? found.clientAddress, address: found.clientAddress)
            if found.status == nil { node.problem = found.unreachableBecause ?? "it does not answer" }
            return node
        }
        guard nodes.contains(where: { $0.problem == nil }) else {
            throw CommandError("unavailable", "no node answers", isRetryable: true)
        }
        return nodes
    }

    /// The rows of all nodes can be compared where they are of one revision. Under load that is one which none of them has
    /// reached when it is asked; at rest the one that they all have.
    private func revisionAhead(of addresses: [String]) async throws -> UInt64 {
        func newest() async -> UInt64 {
            var newest: UInt64 = 0
            for address in addresses {
                if let report = try? await client.status(of: address) { newest = max(newest, report.appliedIndex) }
            }
            return newest
        }
        let before = await newest()
        try await Task.sleep(for: .milliseconds(200))
        let after = await newest()
        // What a node says of itself is taken as it comes.
        return after &+ 4 &* (after - min(before, after))
    }
}
