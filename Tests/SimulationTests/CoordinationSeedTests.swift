import Basics
import Simulator
import Testing

@Suite("Simulated masters and locks")
struct CoordinationSeedTests {
    @Test("whatever strikes, nobody is heard under an old fence, and many lead and hold in turn")
    func fencesHold() {
        var accepted = 0
        var refused = 0
        var fences = 0
        for seed in 1...10 as ClosedRange<UInt64> {
            var settings = WorldSettings()
            settings.nodeCount = 3
            settings.networkDelayMax = .milliseconds(5)
            settings.coordinates = true
            let result = Simulation.run(seed: seed, settings: settings)
            #expect(result.violation == nil, "seed \(seed)")
            accepted += result.fencedWritesAccepted
            refused += result.fencedWritesRefused
            fences += result.fencesUsed
        }
        #expect(accepted > 200)
        #expect(refused > 10)
        #expect(fences > 60)
    }

    @Test("whatever strikes, who wants to know who leads sees each leader, once, in order, and knows the present one")
    func observersSeeTheTruth() {
        var seen = 0
        for seed in 20...22 as ClosedRange<UInt64> {
            var settings = WorldSettings()
            settings.nodeCount = 3
            settings.networkDelayMax = .milliseconds(5)
            settings.coordinates = true
            settings.observerCount = 6
            let result = Simulation.run(seed: seed, settings: settings)
            #expect(result.violation == nil, "seed \(seed)")
            seen += result.leadersSeen
        }
        #expect(seen > 50)
    }

    @Test("who has lost the changes reads who leads, and goes on from there")
    func observersAfterCompaction() {
        var lost = 0
        for seed in 100...104 as ClosedRange<UInt64> {
            var settings = WorldSettings()
            settings.nodeCount = 3
            settings.coordinates = true
            settings.observerCount = 8
            settings.logRetention = 1
            settings.segmentSize = 16 * 1_024
            let result = Simulation.run(seed: seed, settings: settings)
            #expect(result.violation == nil, "seed \(seed)")
            lost += result.faults[.watchCompacted]
        }
        #expect(lost > 0)
    }
}
