import Basics
import MetadataMachine
import MetadataModel
import StateEngine
import Testing

/// Rows that no machine has written, behind whatever checksum: found by `Fuzz/RowFuzz`.
@Suite("Foreign rows")
struct ForeignRowsTests {
    @Test("a state that ends at the last index there could be is refused, for no entry could follow")
    func largestApplied() throws {
        let engine = MemoryEngine()
        let applied = Applied(
            last: EntryID(term: Term(1), index: LogIndex(.max)), time: Rig.start, changeDigest: 0)
        let nobody = SnapshotMembership(stored: StoredMembership(index: .zero, membership: .empty), info: [])
        try Machine.prepare(engine, applied: applied, members: nobody, sessions: [UInt8](repeating: 0, count: 4))
        #expect(throws: MachineError.self) { _ = try Machine(engine: engine, node: NodeID(1)) }
    }

    @Test("a timer that is due and too short to name a ticket is damage")
    func shortTimer() throws {
        let rig = try Rig()
        try rig.mutate(put("a"))
        var batch = WriteBatch()
        // The first is as it should be, so that the machine starts.
        batch.put([0x22] + [UInt8](repeating: 0, count: 8) + [0, 0, 0, 0, 0, 0, 0, 0, 0, 1], [])
        batch.put([0x22, 0, 1], [])
        rig.engine.write(batch)
        try rig.restart()
        #expect(throws: MachineError.self) { try rig.mutate(put("a")) }
    }
}
