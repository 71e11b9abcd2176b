import Basics
import Simulator
import Testing

/// Watches in worlds where everything breaks: each tells every change once, in order, whole, and none is left out.
@Suite("Simulated watches")
struct WatchTests {
    @Test("a log that is cut short takes the feed from those who are behind, and they are told")
    func compacted() {
        var lost = 0
        for seed in 100...101 as ClosedRange<UInt64> {
            var settings = WorldSettings()
            settings.nodeCount = 3
            settings.networkDelayMax = .milliseconds(5)
            settings.watchCount = 12
            settings.logRetention = 1
            settings.segmentSize = 16 * 1_024
            let result = Simulation.run(seed: seed, settings: settings)
            #expect(result.violation == nil, "seed \(seed)")
            lost += result.faults[.watchCompacted]
        }
        #expect(lost > 0)
    }

    @Test("watches are a function of the seed like everything else")
    func isDeterministic() {
        var settings = WorldSettings()
        settings.nodeCount = 3
        settings.networkDelayMax = .milliseconds(5)
        settings.watchCount = 5
        let (first, second) = (Simulation.run(seed: 7, settings: settings), Simulation.run(seed: 7, settings: settings))
        #expect(first.eventHash == second.eventHash)
        #expect(first.watchedChanges == second.watchedChanges)
    }
}
