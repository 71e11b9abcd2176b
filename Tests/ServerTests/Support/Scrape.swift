import Foundation
import Testing

/// One answer of a node's `--http` port.
struct Page {
    let status: Int
    let body: String

    static func get(_ path: String, from address: String) async throws -> Page {
        let text = try await onThread {
            let socket = try RawSocket(address, timeout: .seconds(5))
            try socket.send(Array("GET \(path) HTTP/1.1\r\nHost: \(address)\r\n\r\n".utf8))
            var bytes: [UInt8] = []
            while true {
                let part = try socket.receive(atMost: 65_536)
                if part.isEmpty { return String(decoding: bytes, as: UTF8.self) }
                bytes += part
            }
        }
        guard let end = text.range(of: "\r\n\r\n"), let status = text.split(separator: " ").dropFirst().first,
            let number = Int(status)
        else { throw TestFailure("\(address)\(path) answered \"\(text.prefix(100))\"") }
        return Page(status: number, body: String(text[end.upperBound...]))
    }
}

/// What `/metrics` said, read as strictly as Prometheus reads it.
struct Scrape {
    struct Sample {
        let name: String
        let labels: [String: String]
        let value: Double
    }

    /// Type by family.
    private(set) var types: [String: String] = [:]
    private(set) var samples: [Sample] = []

    init(_ text: String) throws {
        var helped: Set<String> = []
        var current = ""
        for line in text.split(separator: "\n", omittingEmptySubsequences: false).dropLast() {
            if let match = line.wholeMatch(of: /# HELP ([a-z_]+) (\S.*\.)/) {
                guard helped.insert(String(match.1)).inserted else { throw TestFailure("second help: \(line)") }
                current = String(match.1)
            } else if let match = line.wholeMatch(of: /# TYPE ([a-z_]+) (counter|gauge|histogram)/) {
                guard match.1 == current else { throw TestFailure("type without help: \(line)") }
                types[current] = String(match.2)
            } else if let match = line.wholeMatch(of: /([a-z_]+)(?:\{(.*)\})? ([0-9.e+-]+)/) {
                let name = String(match.1)
                guard Self.family(of: name, types) == current, let value = Double(match.3) else {
                    throw TestFailure("a sample without help and type: \(line)")
                }
                var labels: [String: String] = [:]
                for label in (match.2 ?? "").matches(of: /([a-z_]+)="([^"]*)"/) {
                    labels[String(label.1)] = String(label.2)
                }
                samples.append(Sample(name: name, labels: labels, value: value))
            } else {
                throw TestFailure("not in the format: \(line)")
            }
        }
    }

    /// A histogram's samples have names of their own.
    static func family(of name: String, _ types: [String: String]) -> String {
        for suffix in ["_bucket", "_sum", "_count"] where name.hasSuffix(suffix) {
            let family = String(name.dropLast(suffix.count))
            if types[family] == "histogram" { return family }
        }
        return name
    }

    func value(_ name: String, _ labels: [String: String] = [:]) throws -> Double {
        let found = samples.filter { sample in
            sample.name == name && labels.allSatisfy { sample.labels[$0.key] == $0.value }
        }
        guard found.count == 1 else { throw TestFailure("\(found.count) samples of \(name) \(labels)") }
        return found[0].value
    }
}
