internal import Basics

/// The figures of a run with sessions, as one line of JSON.
struct SessionReport: Sendable {
    /// One part of the run.
    struct Part: Sendable {
        var seconds = 0.0
        var firstIndex = LogIndex.zero
        var lastIndex = LogIndex.zero
        /// User and system time of each server process meanwhile.
        var cpuMicroseconds: [Double?] = []
        /// At its end.
        var residentBytes: [Int?] = []
        /// Of what was asked: puts that open, keep-alives, or other writes.
        var latencies = Histogram()
        /// Sessions, each as often as it was named.
        var keptAlive = 0
        var lost = 0
        var errors = 0
        var otherWrites = 0
    }

    var sessions: Int
    var connections: Int
    /// Before the connections, with them, with the sessions.
    var bare: [ProcessFigures?] = []
    var idle = Part()
    var opening = Part()
    var steady = Part()
    var hurried = Part()
    var ending = Part()
    /// Seconds after the last keep-alive, and how long it took until none was left.
    var endingBegan = 0.0
    var endingTook = 0.0

    var isClean: Bool { [steady, hurried].allSatisfy { $0.lost == 0 && $0.errors == 0 } }

    func json(command: [String]) -> String {
        let perSession = zip(idle.residentBytes, steady.residentBytes).map { before, with -> String in
            guard let before, let with else { return "null" }
            return "\((with - before) / max(1, sessions))"
        }
        let perConnection = zip(bare, idle.residentBytes).map { before, with -> String in
            guard let before, let with else { return "null" }
            return "\((with - before.residentBytes) / max(1, connections))"
        }
        return JSONText.object([
            ("command", JSONText.quoted(command.joined(separator: " "))),
            ("sessions", "\(sessions)"), ("connections", "\(connections)"),
            ("residentBytesBare", JSONText.list(bare.map { JSONText.optional($0?.residentBytes) })),
            ("residentBytesPerConnection", JSONText.list(perConnection)),
            ("residentBytesPerSession", JSONText.list(perSession)),
            ("idle", Self.object(idle)), ("opening", Self.object(opening)), ("steady", Self.object(steady)),
            ("hurried", Self.object(hurried)), ("ending", Self.object(ending)),
            ("endingBeganSeconds", "\(JSONText.rounded(endingBegan))"),
            ("endingTookSeconds", "\(JSONText.rounded(endingTook))"),
        ])
    }

    private static func object(_ part: Part) -> String {
        let cpu = part.cpuMicroseconds.map { value -> String in
            guard let value else { return "null" }
            return "\(JSONText.rounded(value / 1e4 / max(part.seconds, 1e-9)))"
        }
        let sum = part.cpuMicroseconds.reduce(0) { $0 + ($1 ?? 0) }
        return JSONText.object([
            ("seconds", "\(JSONText.rounded(part.seconds))"),
            ("logEntries", "\(part.lastIndex.rawValue - part.firstIndex.rawValue)"),
            ("cpuPercent", JSONText.list(cpu)), ("cpuSecondsSum", "\(JSONText.rounded(sum / 1e6))"),
            ("residentBytes", JSONText.list(part.residentBytes.map { JSONText.optional($0) })),
            ("requests", "\(part.latencies.count)"),
            ("requestsPerSecond", "\(Int(Double(part.latencies.count) / max(part.seconds, 1e-9)))"),
            ("cpuMicrosPerRequestSum", "\(JSONText.rounded(sum / Double(max(1, part.latencies.count))))"),
            ("keptAlive", "\(part.keptAlive)"), ("lost", "\(part.lost)"), ("errors", "\(part.errors)"),
            ("otherWrites", "\(part.otherWrites)"), ("latencyMicros", JSONText.micros(part.latencies)),
        ])
    }
}
