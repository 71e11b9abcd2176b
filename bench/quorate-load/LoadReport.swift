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
        let percentiles = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)].map { name, share in
            "\"\(name)\":\(latencies.percentile(share) / 1_000)"
        }
        let fields = [
            "\"command\":\(Self.quoted(command.joined(separator: " ")))",
            "\"operations\":\(operations)",
            "\"seconds\":\(Self.rounded(seconds))",
            "\"operationsPerSecond\":\(Int(Double(operations) / max(seconds, 1e-9)))",
            "\"errors\":{"
                + errors.sorted { $0.key < $1.key }.map { "\(Self.quoted($0.key)):\($0.value)" }.joined(separator: ",") + "}",
            "\"latencyMicros\":{" + percentiles.joined(separator: ",") + ",\"max\":\(latencies.largest / 1_000)}",
            "\"serverCPUMicrosPerOperation\":["
                + serverMicrosecondsPerOperation.map { $0.map { "\(Self.rounded($0))" } ?? "null" }.joined(separator: ",")
                + "]",
            "\"residentBytes\":[" + residentBytes.map { $0.map { "\($0)" } ?? "null" }.joined(separator: ",") + "]",
        ]
        return "{" + fields.joined(separator: ",") + "}"
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
