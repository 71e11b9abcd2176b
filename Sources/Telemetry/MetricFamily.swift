package import Basics

/// One metric with all its samples, as Prometheus names them.
package struct MetricFamily: Sendable {
    package enum Kind: String, Sendable, CaseIterable {
        /// Only rises, from 0 at the start of the process; its name ends in `_total`.
        case counter
        case gauge
        case histogram
    }

    package struct Sample: Sendable {
        package var labels: [(name: String, value: String)]
        package var value: Value

        package init(_ value: Value, labels: [(name: String, value: String)] = []) {
            self.value = value
            self.labels = labels
        }
    }

    package enum Value: Sendable {
        case whole(UInt64)
        case number(Double)
        case latencies(LatencyHistogram)
    }

    /// Ends in its unit: `_seconds`, `_bytes`, or what is counted.
    package let name: String
    package let kind: Kind
    /// A sentence for a person: what it is and when to look.
    package let help: String
    package var samples: [Sample]

    package init(_ name: String, _ kind: Kind, _ help: String, _ samples: [Sample]) {
        self.name = name
        self.kind = kind
        self.help = help
        self.samples = samples
    }

    /// With one sample, or none while there is nothing to tell.
    package init(_ name: String, _ kind: Kind, _ help: String, _ value: Value?) {
        self.init(name, kind, help, value.map { [Sample($0)] } ?? [])
    }
}

/// The text exposition format of Prometheus, version 0.0.4.
package enum PrometheusText {
    package static let contentType = "text/plain; version=0.0.4; charset=utf-8"

    /// Families in the order given, each with its `# HELP` and `# TYPE`.
    package static func render(_ families: [MetricFamily]) -> String {
        var text = ""
        for family in families {
            text += "# HELP \(family.name) \(escapedHelp(family.help))\n"
            text += "# TYPE \(family.name) \(family.kind.rawValue)\n"
            for sample in family.samples { append(sample, of: family, to: &text) }
        }
        return text
    }

    private static func append(_ sample: MetricFamily.Sample, of family: MetricFamily, to text: inout String) {
        switch sample.value {
        case .whole(let value): text += line(family.name, sample.labels, "\(value)")
        case .number(let value): text += line(family.name, sample.labels, number(value))
        case .latencies(let histogram): append(histogram, named: family.name, sample.labels, to: &text)
        }
    }

    private static func append(
        _ histogram: LatencyHistogram, named name: String, _ labels: [(name: String, value: String)],
        to text: inout String
    ) {
        var total: UInt64 = 0
        for (position, count) in histogram.counts.enumerated() {
            total &+= count
            let bound =
                position < LatencyHistogram.bounds.count ? number(seconds(LatencyHistogram.bounds[position])) : "+Inf"
            text += line("\(name)_bucket", labels + [("le", bound)], "\(total)")
        }
        text += line("\(name)_sum", labels, number(Double(histogram.sum) / 1e9))
        text += line("\(name)_count", labels, "\(total)")
    }

    private static func line(_ name: String, _ labels: [(name: String, value: String)], _ value: String) -> String {
        guard !labels.isEmpty else { return "\(name) \(value)\n" }
        let list = labels.map { "\($0.name)=\"\(escapedLabel($0.value))\"" }.joined(separator: ",")
        return "\(name){\(list)} \(value)\n"
    }

    /// Shortest text that reads back as the same number; whole numbers without a fraction.
    static func number(_ value: Double) -> String {
        if value.isNaN { return "NaN" }
        if value.isInfinite { return value > 0 ? "+Inf" : "-Inf" }
        return value == value.rounded() && abs(value) < 1e15 ? "\(Int64(value))" : "\(value)"
    }

    private static func escapedHelp(_ text: String) -> String { escaped(text, quotes: false) }
    private static func escapedLabel(_ text: String) -> String { escaped(text, quotes: true) }

    /// By scalars: a `Character` may hold a line break together with what stands before it.
    private static func escaped(_ text: String, quotes: Bool) -> String {
        var result = String.UnicodeScalarView()
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\\": result.append(contentsOf: "\\\\".unicodeScalars)
            case "\n": result.append(contentsOf: "\\n".unicodeScalars)
            case "\"" where quotes: result.append(contentsOf: "\\\"".unicodeScalars)
            default: result.append(scalar)
            }
        }
        return String(result)
    }
}

/// As Prometheus counts time.
package func seconds(_ interval: Interval) -> Double { Double(interval.nanoseconds) / 1e9 }
