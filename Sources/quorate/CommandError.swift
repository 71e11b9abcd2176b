/// A command that did not do what was asked. Printed as a sentence, or with `--json` as one object.
struct CommandError: Error, Hashable {
    /// Stable; what scripts compare. A service's own error code, or one of this command's.
    var code: String
    var message: String
    var isRetryable = false
    /// Of a comparison that failed.
    var currentRevision: UInt64?
    /// Of a guard that failed.
    var currentFence: UInt64?
    /// Of the registry, that refused it.
    var rule: String?
    var exitCode: Int32 = 1

    init(_ code: String, _ message: String, isRetryable: Bool = false, currentRevision: UInt64? = nil) {
        self.code = code
        self.message = message
        self.isRetryable = isRetryable
        self.currentRevision = currentRevision
    }

    /// The command line, or a file that it names, is not what it should be.
    static func usage(_ message: String) -> CommandError {
        var error = CommandError("usage", message)
        error.exitCode = 2
        return error
    }

    var json: JSON {
        if code == "conflict", let currentRevision {
            return .object([("error", .string(code)), ("currentRevision", .number(currentRevision))])
        }
        var members: [(String, JSON)] = [
            ("error", .string(code)), ("message", .string(message)), ("retryable", .bool(isRetryable)),
        ]
        if let currentFence { members.append(("currentFence", .number(currentFence))) }
        if let rule { members.append(("rule", .string(rule))) }
        return .object(members)
    }

    func report(asJSON: Bool) {
        if asJSON { Output.line(json.text) } else { Output.error("Error: \(message)") }
    }
}
