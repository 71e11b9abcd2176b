internal import FoundationEssentials

/// What happened, and what was found.
struct Summary: Encodable {
    var seed: UInt64
    var nodes: Int
    var seconds: Double
    /// By kind.
    var faults: [String: Int]
    /// Of the processes that campaign and lock.
    var actorsKilled: Int
    var actorsStopped: Int
    /// Answers by kind, and errors by code.
    var operations: [String: Int] = [:]
    var errors: [String: Int] = [:]
    var unknownOutcomes = 0
    var longestWithoutServiceMilliseconds = 0
    var longestWithoutServiceDuring = ""
    var elections = 0
    var fences = 0
    var fencedWritesAccepted = 0
    var fencedWritesRefused = 0
    var revisionsWatched = 0
    var watchesBegun = 0
    var historiesDecided = 0
    var historiesUndecided: [String] = []
    var violations: [String] = []

    init(
        seed: UInt64, nodes: Int, seconds: Double, faults: [Faults.Kind: Int], killed: Int, stopped: Int
    ) {
        self.seed = seed
        self.nodes = nodes
        self.seconds = (seconds * 10).rounded() / 10
        self.faults = Dictionary(uniqueKeysWithValues: faults.map { ($0.key.rawValue, $0.value) })
        actorsKilled = killed
        actorsStopped = stopped
    }

    mutating func take(
        _ state: Recorder.State, _ verdict: Verdict, _ holders: HolderLogs, revisions: Int, _ watchers: [Watcher]
    ) {
        operations = state.counts
        errors = state.errors.merging(holders.errors) { $0 + $1 }
        unknownOutcomes = state.unknownCount + holders.unknownCount
        longestWithoutServiceMilliseconds = Int(state.longestGap / 1_000_000)
        longestWithoutServiceDuring = state.longestGapDuring
        elections = holders.elections.count
        fences = verdict.fenceCount
        fencedWritesAccepted = verdict.fencedWrites
        fencedWritesRefused = holders.fencedCount
        revisionsWatched = revisions
        watchesBegun = watchers.reduce(0) { $0 + $1.beginnings }
        historiesDecided = verdict.groupsDecided
        historiesUndecided = verdict.groupsUndecided
        violations = verdict.violations
    }

    var json: String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        return (try? encoder.encode(self)).map { String(decoding: $0, as: UTF8.self) } ?? "{}"
    }

    var text: String {
        func list(_ counts: [String: Int]) -> String {
            guard !counts.isEmpty else { return "none" }
            return counts.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }.joined(separator: ", ")
        }
        var lines = [
            "\(nodes) nodes, seed \(seed), \(seconds) s",
            "operations: \(operations.values.reduce(0, +)): \(list(operations))",
            "errors: \(list(errors)); \(unknownOutcomes) outcomes unknown",
            "faults: \(faults.values.reduce(0, +)): \(list(faults))",
            "candidates and holders: \(actorsKilled) processes killed, \(actorsStopped) stopped beyond their sessions; "
                + "\(elections) elections, \(fences) fences written under, \(fencedWritesAccepted) writes accepted, "
                + "\(fencedWritesRefused) refused as fenced",
            "watches: \(watchesBegun) begun, \(revisionsWatched) revisions",
            "linearizability: \(historiesDecided) histories decided, \(historiesUndecided.count) too much for the search",
            "longest time without service: \(longestWithoutServiceMilliseconds) ms (\(longestWithoutServiceDuring))",
        ]
        lines += historiesUndecided.map { "undecided: \($0)" }
        lines += violations.prefix(20).map { "VIOLATION: \($0)" }
        lines.append("\(violations.count) violations")
        return lines.joined(separator: "\n")
    }
}
