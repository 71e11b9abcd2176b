package import Foundation
internal import Logging

/// One JSON object a line on standard error: `time`, `level`, `message`, then the facts by name.
struct JSONLogHandler: LogHandler {
    var logLevel = Logger.Level.info
    var metadata: Logger.Metadata = [:]

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        let facts = metadata.merging(event.metadata ?? [:]) { $1 }.mapValues { "\($0)" }
        var line = Array(
            JSONLogLine.text(level: event.level.rawValue, message: "\(event.message)", facts: facts, at: Date()).utf8)
        line.append(0x0A)
        // In one call, so that lines of two threads do not mix.
        line.withUnsafeBytes { _ = write(STDERR_FILENO, $0.baseAddress, $0.count) }
    }
}

package enum JSONLogLine {
    /// A fact whose name is taken gets an underscore before it.
    package static func text(level: String, message: String, facts: [String: String], at date: Date) -> String {
        let time = date.formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true))
        var fields = [("time", time), ("level", level), ("message", message)]
        let names = fields.map(\.0)
        for (name, value) in facts.sorted(by: { $0.key < $1.key }) {
            fields.append((names.contains(name) ? "_\(name)" : name, value))
        }
        return "{" + fields.map { "\(quoted($0)):\(quoted($1))" }.joined(separator: ",") + "}"
    }

    /// RFC 8259 §7.
    private static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case "\r": result += "\\r"
            case "\t": result += "\\t"
            case _ where scalar.value < 0x20:
                let digits = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}
