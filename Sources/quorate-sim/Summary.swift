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
    /// Worlds in which a majority alone had to get well.
    private var majorities = 0
    /// Seconds, of all processes.
    var processorTime = 0.0

    mutating func add(_ result: Simulation.Result) {
        if result.violation == nil { passed += 1 } else { failed += 1 }
        simulatedTime = simulatedTime + result.simulatedTime
        events += result.eventCount
        writes += result.mutationsAcknowledged
        reads += result.readsAnswered
        unknown += result.outcomesUnknown
        faults.add(result.faults)
        majorities += result.majoritiesHealed
    }

    var neverHit: [FaultKind] { FaultKind.allCases.filter { faults[$0] == 0 } }

    func write(asJSON: Bool) {
        let seconds = simulatedTime.nanoseconds / 1_000_000_000
        let hours = tenths(Double(seconds) / 3_600)
        let perHour = processorTime > 0 ? Int(Double(faults.total) / processorTime * 3_600) : 0
        if asJSON {
            let kinds = FaultKind.allCases.map { "\"\($0.rawValue)\":\(faults[$0])" }.joined(separator: ",")
            print(
                "{\"passed\":\(passed),\"failed\":\(failed),\"simulatedSeconds\":\(seconds),\"events\":\(events),"
                    + "\"writes\":\(writes),\"reads\":\(reads),\"unknown\":\(unknown),"
                    + "\"clusterHours\":\(hours),\"majoritiesHealed\":\(majorities),"
                    + "\"faultsInjected\":\(faults.total),\"processorSeconds\":\(tenths(processorTime)),"
                    + "\"faultsPerProcessorHour\":\(perHour),\"faults\":{\(kinds)}}")
            return
        }
        for kind in FaultKind.allCases {
            let name = kind.rawValue
            print("  \(name)\(String(repeating: " ", count: max(1, 28 - name.utf8.count)))\(faults[kind])")
        }
        print(
            "simulated \(seconds) s in \(events) events; \(writes) writes, \(reads) reads, "
                + "\(unknown) unknown outcomes")
        print(
            "\(hours) cluster-hours; \(faults.total) faults injected; \(majorities) majorities healed alone; "
                + "\(tenths(processorTime)) s of processor time, \(perHour) faults per CPU-hour")
        print("\(passed) passed, \(failed) failed")
    }

    private func tenths(_ number: Double) -> String { "\(Int(number)).\(Int(number * 10) % 10)" }
}
