import Basics
import Simulator
import Testing

@Suite("Sessions over a long time")
struct SessionScenarioTests {
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
