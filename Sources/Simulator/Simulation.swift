package import Basics
internal import ClientCore
internal import MetadataMachine
internal import MetadataModel
internal import Wire
internal import RaftCore
internal import ReplicaCore
internal import ReplicaStorage

/// One seed, from the founding of the cluster to its last check.
package enum Simulation {
    package struct Result: Sendable {
        package var seed: UInt64
        package var nodeCount: Int
        /// What was wrong; nil when nothing was.
        package var violation: String?
        package var eventHash: UInt64
        package var eventCount: Int
        package var simulatedTime: Interval
        package var entryCount: UInt64
        package var mutationsAcknowledged: Int
        package var readsAnswered: Int
        package var outcomesUnknown: Int
        /// Writes under fences of elections and locks, where the workload has such.
        package var fencedWritesAccepted: Int
        package var fencedWritesRefused: Int
        package var fencesUsed: Int
        /// Told to watches.
        package var watchedChanges: Int
        /// Of these, what was told rightly of the row before.
        package var historyChecked: Int
        /// Told to observers of elections.
        package var leadersSeen: Int
        package var faults: FaultCounters
    }

    /// Ten election timeouts.
    private static let recoveryTime = Interval.seconds(20)

    package static func run(
        seed: UInt64, settings: WorldSettings = WorldSettings(), trace: ((String) -> Void)? = nil
    ) -> Result {
        let world = World(seed: seed, settings: settings)
        world.trace = trace
        world.run(until: .zero + world.settings.faultyTime)
        finish(world)
        world.countDiskFaults()
        return Result(
            seed: seed, nodeCount: world.settings.nodeCount, violation: world.violation, eventHash: world.eventHash,
            eventCount: world.eventCount, simulatedTime: world.now - .zero, entryCount: world.oracle.lastIndex.rawValue,
            mutationsAcknowledged: world.ackedMutations, readsAnswered: world.answeredReads,
            outcomesUnknown: world.unknownOutcomes, fencedWritesAccepted: world.fencedWritesAccepted,
            fencedWritesRefused: world.fencedRefusals, fencesUsed: world.fencesUsed,
            watchedChanges: world.watchedChanges, historyChecked: world.historyChecked, leadersSeen: world.leadersSeen,
            faults: world.counters)
    }

    /// The second phase: everything is healed, and the cluster has to get well.
    static func finish(_ world: World) {
        world.heal()
        for client in world.clients {
            world.watchersGoOn(of: client)
            world.observersGoOn(of: client)
        }
        world.run(until: world.awakeAt)
        world.operatorFinishes()
        settle(world, "ten election timeouts after the last fault")
        probe(world)
        settle(world, "after a last write of each client")
        rest(world)
        world.checkEnd()
        world.checkRebuilt()
        world.checkWatches()
        world.checkObservers()
    }

    private static func settle(_ world: World, _ when: String) {
        let end = world.now + recoveryTime
        while world.violation == nil, !world.isSettled {
            guard world.now < end else { return world.fail("not settled \(when): \(world.unrest)") }
            world.run(until: world.now + .milliseconds(100))
        }
    }

    /// Without faults, leadership does not change, and whatever waits for an answer has one before long.
    private static func rest(_ world: World) {
        guard world.violation == nil else { return }
        let terms = world.leaders.count
        world.run(until: world.now + .seconds(8))
        if world.leaders.count != terms { world.fail("leadership changed without a fault") }
    }

    /// The cluster serves everybody again.
    private static func probe(_ world: World) {
        let before = world.ackedMutations
        for client in world.clients {
            world.submit(world.probeItem(for: client), by: client, within: recoveryTime)
        }
        settle(world, "while it is written to")
        guard world.violation == nil else { return }
        let served = world.ackedMutations - before
        if served < world.clients.count { world.fail("only \(served) of \(world.clients.count) last writes succeeded") }
    }
}

extension World {
    /// A write that nothing but the end of the cluster can refuse.
    func probeItem(for client: SimClient) -> WorkItem {
        lastValueNumber += 1
        // Where releases were mixed, one that only the present one knows.
        let content = CommandContent(
            .put(
                key: Array("probe/\(client.number)".utf8), value: Workload.value(lastValueNumber, size: 8),
                isOwned: settings.mixesReleases))
        return WorkItem(
            call: .mutate(content), expectation: .mutation(content: [content.kind.rawValue] + content.body), group: nil,
            operation: Operation(client: client.number, called: now.nanoseconds, returned: nil))
    }

    func countDiskFaults() {
        for node in nodes { countDiskFaults(of: node) }
        counters.add(.duplicate, oracle.duplicatesSeen)
    }

    func countDiskFaults(of node: SimNode) {
        let faults = node.disk.faults
        counters.add(.tornWrite, faults.tornWrites)
        counters.add(.unsyncedDropped, faults.sectorsDropped)
        counters.add(.directoryEntryLost, faults.namesDropped)
        counters.add(.syncError, faults.syncErrors)
        counters.add(.writeError, faults.writeErrors)
        counters.add(.noSpace, faults.noSpace)
    }

    /// Why it is not settled, for whoever reads the violation.
    var unrest: String {
        var parts: [String] = []
        for client in clients where !client.items.isEmpty {
            parts.append("client \(client.number) waits for \(client.items.count)")
        }
        for node in nodes {
            guard let process = node.process else {
                parts.append("\(node.name) is down")
                continue
            }
            let raft = process.replica.raft
            parts.append(
                "\(node.name) \(raft.status.role.rawValue) term \(raft.currentTerm)"
                    + " log \(raft.firstIndex)-\(raft.lastIndex) commit \(raft.commitIndex)"
                    + " applied \(process.state.machine.applied.last)"
                    + (raft.votingAllowed ? "" : " does not vote") + (raft.campaigningAllowed ? "" : " does not campaign")
                    + process.unrest
                    + (node.struckAt.map { " struck \($0)" } ?? "")
                    + (process.replica.isDiskLow ? " disk \(process.replica.diskLevel)" : "")
                    + process.links.map { " \($0.isUp ? "+" : "-")\($0.member.name)" }.joined())
        }
        if settings.changesMembers {
            let members = oracle.members.newest.membership
            let names = { (ids: [NodeID]) in ids.map { members.member($0)?.name ?? "?" }.joined(separator: " ") }
            parts.append(
                "members of \(oracle.members.newest.index): \(names(members.incoming)), before \(names(members.outgoing)), "
                    + "learners \(names(members.learners)); not told: "
                    + nodes.filter(shouldKnowOfRemoval).map(\.name).joined(separator: " ")
                    + "; operator: \(admin.steps)")
        }
        return parts.joined(separator: "; ")
    }
}
