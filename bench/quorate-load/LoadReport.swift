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
            value.map { "\(JSONText.rounded($0))" } ?? "null"
        }
        let memory: [String] = residentBytes.map { value in value.map { "\($0)" } ?? "null" }
        return JSONText.object([
            ("command", JSONText.quoted(command.joined(separator: " "))),
            ("operations", "\(operations)"),
            ("seconds", "\(JSONText.rounded(seconds))"),
            ("operationsPerSecond", "\(Int(Double(operations) / max(seconds, 1e-9)))"),
            ("errors", JSONText.object(failures)),
            ("latencyMicros", JSONText.micros(latencies)),
            ("windows", "[\(windows.map(Self.object).joined(separator: ","))]"),
            ("serverCPUMicrosPerOperation", "[\(cpu.joined(separator: ","))]"),
            ("residentBytes", "[\(memory.joined(separator: ","))]"),
        ])
    }

    private static func object(_ window: Window) -> String {
        JSONText.object([
            ("name", JSONText.quoted(window.name)), ("seconds", "\(JSONText.rounded(window.seconds))"),
            ("operations", "\(window.latencies.count)"), ("latencyMicros", JSONText.micros(window.latencies)),
        ])
    }
}

/// JSON as the reports write it.
enum JSONText {
    static func micros(_ latencies: Histogram) -> String {
        let shares: [(String, Double)] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)]
        let latency = shares.map { ($0.0, "\(latencies.percentile($0.1) / 1_000)") }
        return object(latency + [("max", "\(latencies.largest / 1_000)")])
    }

    static func object(_ fields: [(String, String)]) -> String {
        "{" + fields.map { "\(quoted($0.0)):\($0.1)" }.joined(separator: ",") + "}"
    }

    static func list(_ items: [String]) -> String { "[\(items.joined(separator: ","))]" }

    static func optional(_ number: Int?) -> String { number.map { "\($0)" } ?? "null" }

    static func rounded(_ value: Double) -> Double { (value * 100).rounded() / 100 }

    static func quoted(_ text: String) -> String {
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
