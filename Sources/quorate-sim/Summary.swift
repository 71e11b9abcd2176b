internal import Basics
internal import Simulator

/// What many seeds came to.
struct Summary {
    private(set) var passed = 0
    private(set) var failed = 0
    private var simulatedTime = Interval.zero
    private var events = 0
    private var writes = 0
    private var reads = 0
    private var unknown = 0
    private var faults = FaultCounters()

    mutating func add(_ result: Simulation.Result) {
        if result.violation == nil { passed += 1 } else { failed += 1 }
        simulatedTime = simulatedTime + result.simulatedTime
        events += result.eventCount
        writes += result.mutationsAcknowledged
        reads += result.readsAnswered
        unknown += result.outcomesUnknown
        faults.add(result.faults)
    }

    /// A seed that passed and, run again, went otherwise.
    mutating func addNondeterministic(_ seed: UInt64) {
        passed -= 1
        failed += 1
        print("seed \(seed) FAILED: run twice, it gave two hashes")
    }

    func write(asJSON: Bool) {
        let seconds = simulatedTime.nanoseconds / 1_000_000_000
        if asJSON {
            let kinds = FaultKind.allCases.map { "\"\($0.rawValue)\":\(faults[$0])" }.joined(separator: ",")
            print(
                "{\"passed\":\(passed),\"failed\":\(failed),\"simulatedSeconds\":\(seconds),\"events\":\(events),"
                    + "\"writes\":\(writes),\"reads\":\(reads),\"unknown\":\(unknown),\"faults\":{\(kinds)}}")
            return
        }
        for kind in FaultKind.allCases {
            let name = kind.rawValue
            print("  \(name)\(String(repeating: " ", count: max(1, 28 - name.utf8.count)))\(faults[kind])")
        }
        print(
            "simulated \(seconds) s in \(events) events; \(writes) writes, \(reads) reads, "
                + "\(unknown) unknown outcomes")
        print("\(passed) passed, \(failed) failed")
    }
}
