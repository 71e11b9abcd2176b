import Basics
import Simulator
import Testing

/// Whole runs in which an operator changes the members while faults strike.
@Suite("Members that change under fire")
struct MembershipTests {
    private func run(_ seed: UInt64) -> Simulation.Result {
        var settings = WorldSettings()
        settings.changesMembers = true
        return Simulation.run(seed: seed, settings: settings)
    }

    @Test("the same seed gives the same events")
    func isDeterministic() {
        let first = run(7)
        let second = run(7)
        #expect(first.eventHash == second.eventHash)
        #expect(first.eventCount == second.eventCount)
        #expect(first.faults == second.faults)
        #expect(first.eventHash != Simulation.run(seed: 7).eventHash)
    }

    /// Seeds that have once found what they are named after.
    @Test(
        "a mistake that was found once stays away",
        arguments: [
            (42, "a client without a session stays with a node that is cut off"),
            (51, "a node whose log is behind answers the leader where it is no more"),
            (60, "a log that cannot be reset for want of space is waited for for ever"),
            (66, "a node that joins calls the members where its log has them, not where it was told that they are"),
            (90, "commands that wait while a configuration is logged are stamped before it and placed after it"),
            (99, "a removed node tells the leader that it was removed"),
            (321, "a node that was restarted does not take back a change of members that its log took back"),
            (174, "a removed node with a change of its own that came to nothing is never told"),
        ] as [(UInt64, String)])
    func pinned(_ seed: UInt64, _ mistake: String) {
        let violation = run(seed).violation
        #expect(violation == nil, "\(mistake): \(violation ?? "")")
    }

    @Test("each kind of change comes about, some of them while whoever leads is killed")
    func everythingHappens() {
        var counters = FaultCounters()
        for seed in 1...8 as ClosedRange<UInt64> {
            let result = run(seed)
            #expect(result.violation == nil, "seed \(seed): \(result.violation ?? "")")
            counters.add(result.faults)
        }
        let expected: [FaultKind] = [
            .add, .promote, .remove, .replace, .update, .transfer, .changeMeetsCrash, .lostDirectory, .crashIdle,
            .powerLoss, .partitionSymmetric, .snapshotInstalled,
        ]
        for kind in expected { #expect(counters[kind] > 0, "\(kind.rawValue) was never hit") }
    }
}
