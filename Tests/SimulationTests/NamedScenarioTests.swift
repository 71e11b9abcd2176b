import Basics
import Simulator
import Testing

/// Stories that every cluster of this kind has to survive, each under the name by which docs/TESTING.md lists it.
@Suite("Named scenarios, further")
struct NamedScenarioTests {
    @Test(
        "another cluster's id, one's own id, an unknown one: refused with a reason, and nothing is learnt from it",
        arguments: World.Stranger.allCases)
    func foreignPeerRefused(_ stranger: World.Stranger) throws {
        let world = World.quiet(seed: 21)
        world.advance(.seconds(3))
        world.restClients()
        world.advance(.seconds(2))
        let leader = try #require(world.leaderNumber)
        let before = try #require(world.position(of: leader))
        let reason = try #require(world.refusal(by: leader, of: stranger), "\(stranger) is heard")
        #expect(!reason.isEmpty)
        world.advance(.seconds(3))
        let after = try #require(world.position(of: leader))
        #expect(world.leaderNumber == leader)
        #expect(after.term == before.term)
        #expect(world.finish() == nil)
    }

    @Test("damage before the tail of an only node's log: it does not start, and says which file and where")
    func damagedAloneRefuses() throws {
        let world = World.quiet(seed: 22) {
            $0.nodeCount = 1
            $0.segmentSize = 64 * 1_024
            $0.hasVolatileState = false
        }
        world.advance(.seconds(12))
        #expect(world.mutationsAcknowledged > 100)
        world.stop(node: 0, losingPower: false)
        let (said, file, offset) = try #require(world.openingWithDamage(node: 0), "a damaged log opens")
        #expect(said.contains(file), "\(said)")
        let named = said.split { !$0.isNumber }.compactMap { Int($0) }
        #expect(named.contains { $0 <= offset && offset - $0 < 4_096 && $0 > 0 }, "\(said)")
        // Nothing was cut: with the byte as it was, everything is there.
        world.startAll()
        #expect(world.finish() == nil)
    }

    @Test("a session that was about to expire when the leader died gets its whole timeout from the next, and no more")
    func newLeaderGrantsFullTimeout() throws {
        for seed in 1...3 as ClosedRange<UInt64> {
            let world = World.quiet(seed: seed) {
                $0.clientCount = 2
                $0.sessionTimeout = .seconds(6)
            }
            world.advance(.seconds(4))
            world.restClients()
            world.advance(.seconds(3))
            try #require(world.sessionsHeld == 2)
            world.isolate(client: 0)
            // Most of its time is over, and then it is begun anew.
            world.advance(.seconds(4))
            let leader = try #require(world.leaderNumber)
            world.stop(node: leader, losingPower: false)
            var waited = 0
            while world.leaderNumber == nil {
                world.advance(.milliseconds(50))
                waited += 1
                try #require(waited < 100, "nobody leads")
            }
            let next = try #require(world.leaderNumber)
            world.advance(.milliseconds(5_000))
            try #require(world.leaderNumber == next)
            #expect(world.openSessions(at: next) == 2, "seed \(seed): the session got less than its timeout")
            world.advance(.seconds(5))
            #expect(world.openSessions(at: next) == 1, "seed \(seed): the session outlives its client")
            world.reconnect()
            world.startAll()
            #expect(world.finish() == nil)
        }
    }

    @Test("whoever falls silent loses its lock, the next has a higher fence, and writes under the old one are refused")
    func lockHandOver() {
        let world = World.quiet(seed: 23) {
            $0.clientCount = 6
            $0.coordinates = true
            $0.sessionTimeout = .seconds(2)
        }
        world.advance(.seconds(4))
        for round in 0..<9 {
            world.isolate(client: round % 6)
            world.advance(.seconds(4))
            world.reconnect()
            world.advance(.milliseconds(700))
        }
        #expect(world.finish() == nil)
        #expect(world.fencesPassedOn >= 9, "not one a round")
        #expect(world.fencedRefusals > 5, "nobody wrote under an old fence: the story shows nothing")
    }

    @Test("whatever a seed has in store for a cluster, its watches tell what happened", arguments: 1...5 as ClosedRange<UInt64>)
    func watchProperties(seed: UInt64) {
        var settings = WorldSettings()
        settings.nodeCount = 3
        settings.networkDelayMax = .milliseconds(5)
        settings.watchCount = 9
        let result = Simulation.run(seed: seed, settings: settings)
        #expect(result.violation == nil)
        #expect(result.watchedChanges > 200)
        #expect(result.historyChecked > 50)
    }

    @Test("without faults nobody loses leadership, however much there is to do")
    func loadChangesNoLeader() {
        let world = World.quiet(seed: 25) {
            $0.clientCount = 24
            $0.watchCount = 4
            $0.coordinates = true
            $0.segmentSize = 16 * 1_024
            $0.logRetention = 1
        }
        world.advance(.seconds(3))
        let terms = world.termsLed
        world.advance(.seconds(8))
        #expect(world.termsLed == terms && terms == 1)
        #expect(world.mutationsAcknowledged > 300)
        #expect(world.finish() == nil)
    }

    @Test("a watch whose node goes resumes at another and is told what it missed, once and in order")
    func watchResumes() {
        let world = World.quiet(seed: 24) { $0.watchCount = 6 }
        world.advance(.seconds(3))
        for round in 0..<9 {
            let before = world.changesTold
            world.stop(node: round % 3, losingPower: round % 2 == 0)
            world.advance(.seconds(2))
            #expect(world.changesTold > before, "round \(round): nobody was told anything while a node was away")
            world.startAll()
            world.advance(.seconds(1))
        }
        #expect(world.finish() == nil)
        #expect(world.changesTold > 1_000)
    }
}
