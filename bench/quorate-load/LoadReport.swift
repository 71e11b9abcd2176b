/// The figures of one run, as one line of JSON.
struct LoadReport: Sendable {
    var operations: Int
    var seconds: Double
    /// By what went wrong. An error is not an operation.
    var errors: [String: Int]
    var latencies: Histogram
    /// User and system time of each server process; nil for one that is gone.
    var serverMicrosecondsPerOperation: [Double?]
    var residentBytes: [Int?]

    func json(command: [String]) -> String {
        let failures: [(String, String)] = errors.sorted { $0.key < $1.key }.map { ($0.key, "\($0.value)") }
        let shares: [(String, Double)] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)]
        var latency: [(String, String)] = shares.map { ($0.0, "\(latencies.percentile($0.1) / 1_000)") }
        latency.append(("max", "\(latencies.largest / 1_000)"))
        let cpu: [String] = serverMicrosecondsPerOperation.map { value in
            value.map { "\(Self.rounded($0))" } ?? "null"
        }
        let memory: [String] = residentBytes.map { value in value.map { "\($0)" } ?? "null" }
        return Self.object([
            ("command", Self.quoted(command.joined(separator: " "))),
            ("operations", "\(operations)"),
            ("seconds", "\(Self.rounded(seconds))"),
            ("operationsPerSecond", "\(Int(Double(operations) / max(seconds, 1e-9)))"),
            ("errors", Self.object(failures)),
            ("latencyMicros", Self.object(latency)),
            ("serverCPUMicrosPerOperation", "[\(cpu.joined(separator: ","))]"),
            ("residentBytes", "[\(memory.joined(separator: ","))]"),
        ])
    }

    private static func object(_ fields: [(String, String)]) -> String {
        "{" + fields.map { "\(quoted($0.0)):\($0.1)" }.joined(separator: ",") + "}"
    }

    private static func rounded(_ value: Double) -> Double { (value * 100).rounded() / 100 }

    private static func quoted(_ text: String) -> String {
        var quoted = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"", "\\": quoted += "\\\(scalar)"
            case _ where scalar.value < 0x20: quoted += " "
            default: quoted.unicodeScalars.append(scalar)
            }
        }
        return quoted + "\""
    }
}
