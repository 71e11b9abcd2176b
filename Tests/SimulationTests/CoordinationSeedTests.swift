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
        for seed in 1...6 as ClosedRange<UInt64> {
            var settings = WorldSettings()
            settings.coordinates = true
            let result = Simulation.run(seed: seed, settings: settings)
            #expect(result.violation == nil, "seed \(seed)")
            accepted += result.fencedWritesAccepted
            refused += result.fencedWritesRefused
            fences += result.fencesUsed
        }
        #expect(accepted > 300)
        #expect(refused > 30)
        #expect(fences > 60)
    }
}
