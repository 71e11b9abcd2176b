internal import NIOCore

/// The figures of one run, as one line of JSON.
struct LoadReport: Sendable {
    /// A part of the run, from its beginning to that of the next.
    struct Window: Sendable {
        var name: String
        var begunAt: NIODeadline
        var seconds = 0.0
        var latencies = Histogram()
    }

    var operations: Int
    var seconds: Double
    /// By what went wrong. An error is not an operation.
    var errors: [String: Int]
    var latencies: Histogram
    var windows: [Window]
    /// User and system time of each server process; nil for one that is gone.
    var serverMicrosecondsPerOperation: [Double?]
    var residentBytes: [Int?]

    func json(command: [String]) -> String {
        let failures: [(String, String)] = errors.sorted { $0.key < $1.key }.map { ($0.key, "\($0.value)") }
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
            ("latencyMicros", Self.micros(latencies)),
            ("windows", "[\(windows.map(Self.object).joined(separator: ","))]"),
            ("serverCPUMicrosPerOperation", "[\(cpu.joined(separator: ","))]"),
            ("residentBytes", "[\(memory.joined(separator: ","))]"),
        ])
    }

    private static func object(_ window: Window) -> String {
        object([
            ("name", quoted(window.name)), ("seconds", "\(rounded(window.seconds))"),
            ("operations", "\(window.latencies.count)"), ("latencyMicros", micros(window.latencies)),
        ])
    }

    private static func micros(_ latencies: Histogram) -> String {
        let shares: [(String, Double)] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)]
        let latency = shares.map { ($0.0, "\(latencies.percentile($0.1) / 1_000)") }
        return object(latency + [("max", "\(latencies.largest / 1_000)")])
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
