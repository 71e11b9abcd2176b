import Basics
import Simulator
import Testing

@Suite("Simulated masters' registries")
struct RegistrySeedTests {
    @Test("whatever strikes, nothing is lost, held twice, done twice or done for an old master, and readers see all")
    func ledgersHold() {
        var (commands, rowsRead, changesTold) = (0, 0, 0)
        var counters = FaultCounters()
        for seed in 1...8 as ClosedRange<UInt64> {
            var settings = WorldProfile.registry.settings
            settings.nodeCount = 3
            settings.networkDelayMax = .milliseconds(5)
            let result = Simulation.run(seed: seed, settings: settings)
            #expect(result.violation == nil, "seed \(seed)")
            commands += result.registryCommands
            rowsRead += result.registryRowsRead
            changesTold += result.registryChangesTold
            counters.add(result.faults)
        }
        #expect(commands > 400)
        #expect(rowsRead > 400)
        #expect(changesTold > 400)
        #expect(counters[.masterFailedOver] > 4)
        #expect(counters[.staleMaster] > 4)
        #expect(counters[.operationRepeated] > 10)
    }

    @Test("the same seed gives the same registry")
    func isDeterministic() {
        let settings = WorldProfile.registry.settings
        let first = Simulation.run(seed: 31, settings: settings)
        let second = Simulation.run(seed: 31, settings: settings)
        #expect(first.eventHash == second.eventHash)
        #expect(first.registryCommands == second.registryCommands)
        #expect(first.registryChangesTold == second.registryChangesTold)
    }

    /// Its state was taken from a peer and is volatile; entries behind which it had applied were damaged, and the others'
    /// logs began after them. The log was short, so that no snapshot was due, and without one they could not be let go of.
    @Test("a volatile state is made durable where only that ends the mending of the log")
    func snapshotForMending() {
        var settings = WorldProfile.registry.settings
        settings.faultyTime = .seconds(120)
        #expect(Simulation.run(seed: 526, settings: settings).violation == nil)
    }

    /// The log went on, longer, with what an earlier leader never committed.
    @Test("a log that ends earlier is what is left when a crash comes between an installed state and the reset of the log")
    func crashBeforeTheReset() {
        var settings = WorldProfile.registry.settings
        settings.faultyTime = .seconds(120)
        #expect(Simulation.run(seed: 3906, settings: settings).violation == nil)
    }

    @Test("a master that cannot be reached is succeeded, and what it still sends is refused")
    func masterFailsOver() {
        let world = World.quiet(seed: 5) {
            $0.hasRegistry = true
            $0.clientCount = 6
            $0.sessionTimeout = .seconds(2)
        }
        world.advance(.seconds(4))
        for round in 0..<6 {
            // The clients of the lowest numbers are masters.
            world.isolate(client: round % 3)
            world.advance(.seconds(4))
            world.reconnect()
            world.advance(.milliseconds(700))
        }
        #expect(world.finish() == nil)
        #expect(world.counters[.masterFailedOver] >= 2)
        #expect(world.fencedRefusals > 0, "nobody wrote under an old fence: the story shows nothing")
        #expect(world.registryCommands > 50)
    }
}
