internal import Load

extension LoadReport {
    /// The same keys for every workload; the last two are null where no node is local. Parts are under `windows`, where
    /// there are any.
    var json: JSON {
        var members = whole.figures
        members.append(("errors", errorsJSON))
        members.append(("latencyMicros", whole.latencies.json))
        members.append(("serverCPUMicrosPerOperation", serverCPUMicrosPerOperation.map { .decimal($0) } ?? .null))
        members.append(("residentBytes", residentBytes.map { .array($0.map { .number(UInt64($0)) }) } ?? .null))
        if !parts.isEmpty { members.append(("windows", .array(parts.map(\.json)))) }
        return .object(members)
    }

    var errorsJSON: JSON { .object(sortedErrors.map { ($0.key, .number(UInt64($0.value))) }) }

    func text(_ plan: LoadPlan) -> String {
        let pace = plan.rate.map { "\($0) requests a second" } ?? "as many requests as can be"
        var lines = ["\(plan.connectionCount) connections × \(plan.inFlight), \(pace), values of \(plan.valueSize) bytes"]
        lines += [""] + StatusReport.table([Part.headings] + (parts + [whole]).map(\.cells)) + [""]
        lines.append("errors       \(errorsText)")
        if let micros = serverCPUMicrosPerOperation {
            lines.append("node CPU     \(JSON.decimal(micros).text) µs an operation, all local nodes together")
        }
        if let residentBytes {
            lines.append("node memory  \(residentBytes.map { SizeQuantity.text(UInt64($0)) }.joined(separator: ", "))")
        }
        return lines.joined(separator: "\n")
    }

    var errorsText: String {
        errors.isEmpty ? "none" : sortedErrors.map { "\($0.key) \($0.value)" }.joined(separator: ", ")
    }

    private var sortedErrors: [(key: String, value: Int)] { errors.sorted { $0.key < $1.key } }
}

extension LoadReport.Part {
    var figures: [(String, JSON)] {
        [
            ("operations", .number(UInt64(latencies.count))), ("seconds", .decimal(seconds)),
            ("operationsPerSecond", .number(UInt64(operationsPerSecond.rounded()))),
        ]
    }

    var json: JSON {
        .object([("name", .string(name))] + figures + [("latencyMicros", latencies.json)])
    }

    static let headings =
        ["", "operations", "seconds", "per second"] + Latencies.shares.map(\.title) + ["largest"]

    var cells: [String] {
        let times = Latencies.shares.map { latencies.micros(atPercentile: $0.percent) } + [latencies.largestMicros]
        return [name, "\(latencies.count)", JSON.decimal(seconds).text, "\(UInt64(operationsPerSecond.rounded()))"]
            + times.map { Latencies.text(micros: $0) }
    }
}

extension Latencies {
    /// What is told of all of them: in JSON, to people, and what it means.
    fileprivate static let shares: [(name: String, title: String, percent: Double)] = [
        ("p50", "p50", 50), ("p90", "p90", 90), ("p99", "p99", 99), ("p999", "p99.9", 99.9),
    ]

    var json: JSON {
        .object(
            Self.shares.map { ($0.name, .number(micros(atPercentile: $0.percent))) } + [("max", .number(largestMicros))])
    }

    /// For people.
    static func text(micros: UInt64) -> String {
        switch micros {
        case ..<10_000: "\(micros) µs"
        case ..<10_000_000: "\(JSON.decimal(Double(micros) / 1e3).text) ms"
        default: "\(JSON.decimal(Double(micros) / 1e6).text) s"
        }
    }
}
