import Basics
import MetadataModel
import Simulator
import Testing

@Suite("Mixed releases")
struct ReleaseTests {
    @Test("no log holds what its node does not know; once all are upgraded, everything goes", arguments: 1...5 as ClosedRange<UInt64>)
    func mixed(seed: UInt64) {
        var settings = WorldSettings()
        settings.mixesReleases = true
        settings.coordinates = true
        let result = Simulation.run(seed: seed, settings: settings)
        #expect(result.violation == nil)
    }

    @Test("the same while members come and go", arguments: 1...3 as ClosedRange<UInt64>)
    func mixedMembers(seed: UInt64) {
        var settings = WorldSettings()
        settings.mixesReleases = true
        settings.coordinates = true
        settings.changesMembers = true
        let result = Simulation.run(seed: seed, settings: settings)
        #expect(result.violation == nil)
    }

    @Test("the last node that is upgraded is what the level waits for")
    func rollingUpgrade() {
        let world = World.quiet(seed: 3) { $0.oldNodes = [0, 1, 2] }
        world.advance(.seconds(10))
        #expect(world.featureLevel == 1)
        world.upgrade(0)
        world.upgrade(1)
        world.advance(.seconds(10))
        #expect(world.featureLevel == 1)
        world.upgrade(2)
        world.advance(.seconds(5))
        #expect(world.featureLevel == FeatureLevel.known)
        #expect(world.finish() == nil)
    }

    @Test("a node that comes back with an older release than the cluster's does not start, and says why")
    func downgrade() {
        let world = World.quiet(seed: 3)
        world.advance(.seconds(5))
        #expect(world.featureLevel == FeatureLevel.known)
        world.downgrade(1)
        world.advance(.seconds(5))
        #expect(world.violation?.contains("n2 does not start: the cluster is at feature level \(FeatureLevel.known), and this release") == true)
    }
}
