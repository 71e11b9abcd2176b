import Basics
import Simulator
import Testing

/// One story each, under the load of all clients.
@Suite("Named scenarios")
struct ScenarioTests {
    @Test("without faults everything is answered and nobody loses leadership")
    func quietClusterServes() {
        let world = World.quiet(seed: 1)
        world.advance(.seconds(10))
        #expect(world.leaderNumber != nil)
        #expect(world.finish() == nil)
        #expect(world.mutationsAcknowledged > 100)
        #expect(world.readsAnswered > 50)
    }

    @Test("a crash at any moment around a group of entries: each takes effect once", arguments: 0..<8)
    func appliedOnce(_ step: Int) {
        let world = World.quiet(seed: UInt64(100 + step))
        world.advance(.milliseconds(2_000 + Int64(step) * 37))
        for node in 0..<world.nodeCount { world.stop(node: node, losingPower: step % 2 == 0) }
        world.advance(.milliseconds(300))
        world.startAll()
        world.advance(.seconds(4))
        #expect(world.finish() == nil)
        #expect(world.mutationsAcknowledged > 50)
    }

    @Test("the same log gives the same state on every node, from the log alone and from snapshot and log")
    func replayIsDeterministic() {
        let world = World.quiet(seed: 7) {
            $0.logRetention = 16 * 1_024
            $0.segmentSize = 16 * 1_024
            $0.hasVolatileState = true
        }
        for round in 0..<4 {
            world.advance(.seconds(3))
            world.stop(node: round % 3, losingPower: true)
            world.advance(.milliseconds(500))
            world.startAll()
        }
        world.advance(.seconds(3))
        #expect(world.finish() == nil)
        #expect(world.entryCount > 200)
    }

    @Test("a mutation that timed out is sent again to another node and takes effect once")
    func retryElsewhere() throws {
        let world = World.quiet(seed: 11)
        world.advance(.seconds(3))
        for _ in 0..<4 {
            let leader = try #require(world.leaderNumber)
            world.isolate(node: leader)
            world.advance(.seconds(4))
            world.reconnect()
            world.advance(.seconds(3))
        }
        #expect(world.finish() == nil)
        #expect(world.duplicatesSeen > 0, "nothing was ever logged twice: the scenario shows nothing")
    }

    @Test("a follower that falls behind the log gets a snapshot, then the log without a gap")
    func slowFollowerGetsSnapshot() throws {
        let world = World.quiet(seed: 3) {
            $0.logRetention = 1
            $0.segmentSize = 16 * 1_024
        }
        world.advance(.seconds(3))
        let leader = try #require(world.leaderNumber)
        let follower = (leader + 1) % 3
        world.stop(node: follower, losingPower: true)
        world.advance(.seconds(15))
        world.startAll()
        world.advance(.seconds(5))
        #expect(world.counters[.snapshotInstalled] > 0)
        #expect(world.counters[.manifestInPieces] > 0)
        #expect(world.finish() == nil)
    }

    @Test("no crash makes a revision fall, and no client is shown an older one than before")
    func revisionNeverFalls() {
        let world = World.quiet(seed: 5) { $0.segmentSize = 16 * 1_024 }
        for round in 0..<6 {
            let before = world.entryCount
            world.advance(.seconds(2))
            for node in 0..<world.nodeCount { world.stop(node: node, losingPower: round % 2 == 1) }
            world.startAll()
            world.advance(.seconds(2))
            #expect(world.entryCount > before)
        }
        #expect(world.finish() == nil)
    }

    @Test("who has written at the leader and reads at a follower, stale or not, sees the write")
    func readYourWriteElsewhere() {
        let world = World.quiet(seed: 9) { $0.networkDelayMax = .milliseconds(100) }
        world.advance(.seconds(20))
        #expect(world.readsAnswered > 200)
        #expect(world.finish() == nil)
    }

    @Test("a power loss right after files were made or renamed loses no name that matters", arguments: 0..<4)
    func directoryEntrySynced(_ step: Int) {
        let world = World.quiet(seed: UInt64(40 + step)) {
            $0.segmentSize = 16 * 1_024
            $0.logRetention = 1
        }
        for round in 0..<6 {
            world.advance(.milliseconds(700 + Int64(step * 31 + round * 17)))
            for node in 0..<world.nodeCount { world.stop(node: node, losingPower: true) }
            world.startAll()
            world.advance(.seconds(1))
        }
        #expect(world.finish() == nil)
    }
}
