import Basics
@testable import MetadataMachine
import MetadataModel
import StateEngine
import Testing

@Suite("Feature levels, in the state")
struct FeatureLevelTests {
    private func isTooNew(_ text: String, _ body: () throws -> Void) -> Bool {
        do {
            try body()
            return false
        } catch MachineError.tooNew(let reason) {
            #expect(reason.contains(text))
            return true
        } catch {
            Issue.record("\(error)")
            return false
        }
    }

    @Test("a cluster is at the level of its founding before its first entry, and tells it to whoever gets a snapshot")
    func founding() throws {
        let rig = try Rig(levels: FeatureLevels(known: 3, founding: 2))
        #expect(rig.machine.featureLevel == 2)
        try rig.housekeep(.tick)
        #expect(rig.lastReport?.featureLevel == 2)
        let successor = try Rig.install(rig.machine.snapshotSource())
        #expect(try Machine(engine: successor, node: NodeID(2)).featureLevel == 2)
        // The same entries, from the first on, give every founder the same digest.
        let other = try Rig(levels: FeatureLevels(known: 2, founding: 2))
        try other.housekeep(.tick)
        #expect(other.machine.applied.changeDigest == rig.machine.applied.changeDigest)
    }

    @Test("a state that says no level is at the first, whatever the record of the founding says")
    func oldState() throws {
        let rig = try Rig(base: LogIndex(100), levels: FeatureLevels(known: 2, founding: 2))
        #expect(rig.machine.featureLevel == 1)
    }

    @Test("a release that does not know the cluster's level neither goes on nor starts, and says what to do")
    func tooNewState() throws {
        let next = FeatureLevel.known + 1
        let old = try Rig()
        #expect(isTooNew("at feature level \(next), and this release knows no higher one than \(next - 1): start the node") {
            try old.housekeep(.featureLevel(next))
        })
        let new = try Rig(levels: FeatureLevels(known: next))
        try new.housekeep(.featureLevel(next))
        #expect(isTooNew("at feature level \(next)") { _ = try Machine(engine: new.engine, node: NodeID(1)) })
        let snapshot = try Rig.install(new.machine.snapshotSource())
        #expect(isTooNew("at feature level \(next)") { _ = try Machine(engine: snapshot, node: NodeID(1)) })
    }

    @Test("an entry of an unknown kind stops the node, and it says so")
    func unknownCommand() throws {
        let rig = try Rig()
        var command = Housekeeping.tick.encoded()
        command[0] = 250
        #expect(isTooNew("entry 1 of the log holds what this release does not know (command 250)") {
            try rig.apply(command)
        })
        #expect(rig.machine.applied.last.index == .zero)
    }
}
