import Basics
import Simulator
import Testing

@Suite("Sessions over a long time")
struct SessionScenarioTests {
    private enum Silence: CaseIterable {
        case isolated
        case mute
        case deaf
    }

    /// A deaf leader is heard until it has noticed itself, and only then is there an election.
    @Test(
        "a leader that goes silent costs nobody his session, and whoever was at risk is well again",
        arguments: Silence.allCases, 1...4 as ClosedRange<UInt64>)
    private func silentLeader(silence: Silence, seed: UInt64) throws {
        let world = World.quiet(seed: seed) {
            $0.clientCount = 8
            $0.sessionTimeout = .seconds(silence == .deaf ? 6 : 3)
        }
        world.advance(.seconds(5))
        world.restClients()
        world.advance(.seconds(5))
        try #require(world.sessionsHeld == 8)
        let lost = world.sessionsLost
        for _ in 0..<5 {
            let leader = try #require(world.leaderNumber)
            switch silence {
            case .isolated: world.isolate(node: leader)
            case .mute: world.mute(node: leader)
            case .deaf: world.deafen(node: leader)
            }
            world.advance(.seconds(8))
            #expect(world.sessionsLost == lost)
            #expect(world.sessionsHeld == 8)
            world.reconnect()
            world.advance(.seconds(8))
        }
        #expect(world.sessionsLost == lost && world.sessionsHeld == 8)
        #expect(world.violation == nil)
    }

    @Test("a client that only reads, and reaches a follower only, keeps its session for an hour")
    func readerLives() throws {
        let world = World.quiet(seed: 5) { $0.clientCount = 2 }
        world.advance(.seconds(5))
        world.restClients()
        world.advance(.seconds(10))
        let leader = try #require(world.leaderNumber)
        let follower = (leader + 1) % world.nodeCount
        world.confine(client: 0, to: follower)
        world.advance(.seconds(20))
        try #require(world.sessionsHeld == 2)
        let (lost, answered) = (world.sessionsLost, world.readsAnswered)
        for round in 0..<360 {
            world.read(client: 0, at: follower, isStale: round % 2 == 0)
            world.advance(.seconds(10))
        }
        #expect(world.sessionsLost == lost)
        #expect(world.sessionsHeld == 2)
        #expect(world.openSessions(at: leader) == 2)
        #expect(world.readsAnswered == answered + 360)
        #expect(world.violation == nil)
    }
}
