import Basics
import Simulator
import Testing

@Suite("Divergence")
struct DivergenceTests {
    @Test("a member whose state differs from the majority's finds out, serves nothing, rebuilds it, keeps no snapshot of it")
    func divergedMemberRebuilds() throws {
        let world = World.quiet(seed: 2)
        world.advance(.seconds(3))
        let leader = try #require(world.leaderNumber)
        let member = (leader + 1) % world.nodeCount
        world.diverge(node: member)
        world.advance(.seconds(1))
        world.makeSnapshot(node: member)
        world.advance(.seconds(1))
        let wrong = world.snapshots(madeBy: member)
        #expect(wrong.count == 1)
        // The members compare themselves at each 4,096th entry.
        var waited = 0
        while world.diverged.contains(member), waited < 60 {
            world.advance(.seconds(5))
            waited += 1
        }
        #expect(!world.diverged.contains(member), "after \(world.entryCount) entries nobody has noticed")
        #expect(world.entryCount >= 4_096)
        #expect(!world.snapshots(madeBy: member).contains { wrong.contains($0) })
        world.advance(.seconds(5))
        // At the end all digests are compared again, this node's among them.
        #expect(world.finish() == nil)
    }
}
