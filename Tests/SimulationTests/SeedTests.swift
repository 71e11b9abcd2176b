import Basics
import Simulator
import Testing

/// Whole runs, each a function of its seed.
@Suite("Simulated clusters")
struct SeedTests {
    @Test("the same seed gives the same events", arguments: [21, 40] as [UInt64])
    func isDeterministic(_ seed: UInt64) {
        let first = Simulation.run(seed: seed)
        let second = Simulation.run(seed: seed)
        #expect(first.eventHash == second.eventHash)
        #expect(first.eventCount == second.eventCount)
        #expect(first.faults == second.faults)
    }

    @Test("another seed gives other events")
    func seedsDiffer() {
        #expect(Simulation.run(seed: 1).eventHash != Simulation.run(seed: 2).eventHash)
    }

    /// Each of these once found what it is named after, in the world that the seed was then; worlds have changed since.
    @Test(
        "a mistake that was found once stays away",
        arguments: [
            (17, "a slab that is closed after the hand-over has begun is proposed all the same"),
            (25, "the answer to a request of a former process is taken for that of another client's request"),
            (170, "a log is cut where a state that was just taken ends, before it is reset to go on from there"),
            (196, "a missing state is fetched from a peer, and the core does not hear how far it goes"),
        ] as [(UInt64, String)])
    func pinned(_ seed: UInt64, _ mistake: String) {
        #expect(Simulation.run(seed: seed).violation == nil, "\(mistake)")
    }

    /// Tokens of ReadIndex questions began at 1 in each life of a node, so an answer that came late could be taken for that
    /// to a question of the next life: a read showed less than its client had seen.
    @Test("an answer to a former process of a node confirms no read of this one")
    func tokensOfFormerLife() {
        var settings = WorldSettings()
        settings.focus = .network
        settings.faultyTime = .seconds(360)
        #expect(Simulation.run(seed: 255, settings: settings).violation == nil)
    }

    /// The copy was longer than what it took the place of: with entries that had been cut since. The node that knew of what
    /// came instead was down, and nobody could tell that this one had acknowledged it.
    @Test("no old copy of a directory takes away what only one other node has")
    func longerOldCopy() {
        var settings = WorldSettings()
        settings.focus = .storage
        settings.faultyTime = .seconds(60)
        #expect(Simulation.run(seed: 77, settings: settings).violation == nil)
    }

    /// The disks of two nodes had refused to give back the same entries, once; the third had none yet, and no state had taken them
    /// in. What was refused was not asked for again before a restart, so they waited for each other's states for ever.
    @Test("entries that the disks of a majority refuse for a moment come back")
    func refusedForAMoment() {
        var settings = WorldProfile.clients.settings
        settings.faultyTime = .seconds(360)
        #expect(Simulation.run(seed: 6014, settings: settings).violation == nil)
    }

    /// The copy was as long as what it took the place of, and lacked a newer leader's entries: the node was told so, and said it.
    @Test("a node that got an old copy, as long as its log was, may say that it lacks something")
    func equallyLongOldCopy() {
        var settings = WorldProfile.limits.settings
        settings.faultyTime = .seconds(360)
        #expect(Simulation.run(seed: 4921, settings: settings).violation == nil)
    }

    /// A learner died between two writes of one batch: the first had cut its log and put a new leader's entries of an old term
    /// there, the second would have been longer than what was cut.
    @Test("a log that ends earlier, with an older term, is what half a truncating write leaves")
    func halfATruncatingWrite() {
        var settings = WorldProfile.swarm.settings
        settings.faultyTime = .seconds(360)
        #expect(Simulation.run(seed: 4658, settings: settings).violation == nil)
    }

    /// The writes were under way when their nodes were killed, and had ended unheard.
    @Test("a log that ends earlier, with a newer term, is what a truncating write leaves that nobody heard of")
    func truncatingWriteUnheard() {
        for (seed, profile) in [(4345, WorldProfile.limits), (9672, .restore)] {
            var settings = profile.settings
            settings.faultyTime = .seconds(360)
            #expect(Simulation.run(seed: UInt64(seed), settings: settings).violation == nil)
        }
    }

    @Test("a node that got its state back, and has no entry after it, goes on from the state's cluster time")
    func timeOfAFetchedState() {
        var settings = WorldProfile.releases.settings
        settings.faultyTime = .seconds(360)
        #expect(Simulation.run(seed: 5993, settings: settings).violation == nil)
    }

    /// Its client was told when the faults were over.
    @Test("an observer whose client hears late that the cluster was restored reads anew who leads")
    func lateObserver() {
        var settings = WorldProfile.restore.settings
        settings.faultyTime = .seconds(20)
        #expect(Simulation.run(seed: 85, settings: settings).violation == nil)
    }

    @Test("an old release in a place whose state is damaged may be sent what it does not know, and stops at it")
    func oldReleaseWithoutAState() {
        var settings = WorldProfile.releases.settings
        settings.faultyTime = .seconds(360)
        #expect(Simulation.run(seed: 8531, settings: settings).violation == nil)
    }

    @Test("a cluster survives everything that a seed has in store for it, and each class of fault strikes")
    func survivesAll() {
        var counters = FaultCounters()
        for seed in 1...12 as ClosedRange<UInt64> {
            let result = Simulation.run(seed: seed)
            #expect(result.violation == nil, "seed \(seed)")
            counters.add(result.faults)
        }
        let expected: [FaultKind] = [
            .crashIdle, .crashInPersist, .crashAfterPersist, .crashAllNodes, .powerLoss, .pause, .tornWrite,
            .writeError, .syncError, .noSpace, .unsyncedDropped, .directoryEntryLost, .slowDisk, .stuckDisk,
            .fullDisk, .clog, .swizzle, .drop, .outsideMajority,
            .bitFlipInLog, .bitFlipOnWire, .partitionSymmetric, .partitionOneWay, .partitionNonTransitive,
            .reset, .halfOpen, .wallJump, .clockDrift, .transfer, .snapshotInstalled, .duplicate, .moveNode,
            .unknownOutcome,
        ]
        for kind in expected { #expect(counters[kind] > 0, "\(kind.rawValue) was never hit") }
    }

    @Test("a cluster of any size survives what it must", arguments: [1, 2, 4, 7])
    func anySize(_ count: Int) {
        var settings = WorldSettings()
        settings.nodeCount = count
        let result = Simulation.run(seed: UInt64(300 + count), settings: settings)
        #expect(result.violation == nil)
        #expect(result.nodeCount == count)
        #expect(result.mutationsAcknowledged > 0)
        // One or two nodes have nobody whom a majority could do without.
        #expect(result.majoritiesHealed == (count > 2 ? 1 : 0))
    }

    @Test("minutes of bursts and lulls end well too, and are as repeatable")
    func longWorld() {
        var settings = WorldSettings()
        settings.faultyTime = .seconds(150)
        let first = Simulation.run(seed: 41, settings: settings)
        #expect(first.violation == nil)
        #expect(first.simulatedTime > .seconds(150))
        #expect(Simulation.run(seed: 41, settings: settings).eventHash == first.eventHash)
    }
}
