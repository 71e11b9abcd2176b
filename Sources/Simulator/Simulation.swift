package import Basics
internal import ClientCore
internal import LogStore
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
        package var nodeCount = 0
        /// What was wrong; nil when nothing was.
        package var violation: String?
        package var eventHash: UInt64 = 0
        package var eventCount = 0
        package var simulatedTime = Interval.zero
        package var entryCount = 0
        package var mutationsAcknowledged = 0
        package var readsAnswered = 0
        package var outcomesUnknown = 0
        /// Writes under fences of elections and locks, where the workload has such.
        package var fencedWritesAccepted = 0
        package var fencedWritesRefused = 0
        package var fencesUsed = 0
        /// Told to watches.
        package var watchedChanges = 0
        /// Of these, what was told rightly of the row before.
        package var historyChecked = 0
        /// Told to observers of elections.
        package var leadersSeen = 0
        /// 1 where a majority alone had to get well before the others were healed.
        package var majoritiesHealed = 0
        /// Of masters, where the workload has such: those that took effect.
        package var registryCommands = 0
        package var registryRowsRead = 0
        package var registryChangesTold = 0
        package var faults = FaultCounters()

        package init(seed: UInt64) { self.seed = seed }
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
        var result = Result(seed: seed)
        result.nodeCount = world.settings.nodeCount
        result.violation = world.violation
        result.eventHash = world.eventHash
        result.eventCount = world.eventCount
        result.simulatedTime = world.now - .zero
        result.entryCount = world.oracle.entries.count
        result.mutationsAcknowledged = world.ackedMutations
        result.readsAnswered = world.answeredReads
        result.outcomesUnknown = world.unknownOutcomes
        result.fencedWritesAccepted = world.fencedWritesAccepted
        result.fencedWritesRefused = world.fencedRefusals
        result.fencesUsed = world.fencesUsed
        result.watchedChanges = world.watchedChanges
        result.historyChecked = world.historyChecked
        result.leadersSeen = world.leadersSeen
        result.majoritiesHealed = world.majoritiesHealed
        result.registryCommands = world.registryCommands
        result.registryRowsRead = world.registryRowsRead
        result.registryChangesTold = world.registryChangesTold
        result.faults = world.counters
        return result
    }

    /// The second phase: a majority is healed and has to get well by itself; then everything is, and the whole cluster
    /// has to.
    static func finish(_ world: World) {
        if world.settings.healsMajorityFirst, world.healMajority() {
            world.restoreFinishes()
            serveByMajority(world)
        }
        world.heal()
        for client in world.clients {
            world.watchersGoOn(of: client)
            world.observersGoOn(of: client)
            world.readersGoOn(of: client)
        }
        world.operatorFinishes()
        world.restoreFinishes()
        settle(world, "ten election timeouts after the last fault") { $0.isSettled }
        probe(world)
        rest(world, .seconds(8))
        world.checkEnd()
        world.checkRebuilt()
        world.checkWatches()
        world.checkObservers()
        world.checkRegistry()
    }

    private static func serveByMajority(_ world: World) {
        world.majoritiesHealed += 1
        let end = world.now + recoveryTime
        let when = "ten election timeouts after \(world.majorityNames) were healed"
        var served = 0
        // A leader whom nobody hears any more is not known as such at once; sessions that then run out take their calls
        // with them.
        repeat {
            settle(world, when, until: end) { $0.isMajoritySettled }
            served = lastWrites(world) { settle(world, when, until: end) { $0.isMajoritySettled } }
            guard served < world.clients.count else { break }
            world.run(until: world.now + .milliseconds(100))
            if world.now >= end { world.fail("only \(served) of \(world.clients.count) writes succeed \(when)") }
        } while world.violation == nil
        // Whoever is outside cannot take its leader from it.
        if world.isLedFromInside { rest(world, .seconds(4)) }
    }

    private static func settle(
        _ world: World, _ when: String, until limit: Instant? = nil, _ isSettled: (World) -> Bool
    ) {
        let end = limit ?? world.now + recoveryTime
        while world.violation == nil, !isSettled(world) {
            guard world.now < end else { return world.fail("not settled \(when): \(world.unrest)") }
            world.run(until: world.now + .milliseconds(100))
        }
    }

    /// Without faults, leadership does not change, and whatever waits for an answer has one before long.
    private static func rest(_ world: World, _ time: Interval) {
        guard world.violation == nil else { return }
        // Whoever began to campaign under the last fault may still win.
        world.run(until: world.now + .seconds(2))
        let terms = world.leaders.count
        world.run(until: world.now + time)
        if world.leaders.count != terms { world.fail("leadership changed without a fault") }
    }

    /// One write of each client.
    /// - Returns: how many were acknowledged when the cluster had settled.
    private static func lastWrites(_ world: World, _ settle: () -> Void) -> Int {
        let before = world.ackedMutations
        for client in world.clients {
            world.submit(world.probeItem(for: client), by: client, within: recoveryTime)
        }
        settle()
        return world.ackedMutations - before
    }

    /// The cluster serves everybody again.
    private static func probe(_ world: World) {
        let end = world.now + recoveryTime
        var served = 0
        // A session that runs out while a leader is elected, or was never opened, takes its calls with it.
        repeat {
            served = lastWrites(world) { settle(world, "while it is written to") { $0.isSettled } }
            if served < world.clients.count { world.run(until: world.now + .milliseconds(100)) }
        } while world.violation == nil && served < world.clients.count && world.now < end
        guard world.violation == nil, served < world.clients.count else { return }
        world.fail("only \(served) of \(world.clients.count) last writes succeeded")
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
                isOwned: settings.mixesReleases && majority == nil))
        return WorkItem(
            call: .mutate(content), expectation: .mutation(content: [content.kind.rawValue] + content.body), group: nil,
            operation: Operation(client: client.number, called: now.nanoseconds, returned: nil))
    }

    func countDiskFaults() {
        for node in nodes {
            countDiskFaults(of: node)
            if let process = node.process { countRefusals(of: node, process) }
        }
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
            let oldest = client.items.min { $0.key.rawValue < $1.key.rawValue }
            let called = oldest.map { "\($0.value.expectation), since \($0.value.operation.called / 1_000_000) ms" } ?? ""
            parts.append("client \(client.number) waits for \(client.items.count): \(called.prefix(200))")
        }
        for node in nodes {
            guard let process = node.process else {
                parts.append("\(node.name) is down" + (node.repair.map { ": it waits for \($0.healer.need)" } ?? ""))
                continue
            }
            let raft = process.replica.raft
            parts.append(
                "\(node.name) \(raft.status.role.rawValue) term \(raft.currentTerm)"
                    + " log \(raft.firstIndex)-\(raft.lastIndex) commit \(raft.commitIndex)"
                    + " applied \(process.state.machine.applied.last)"
                    + (raft.votingAllowed ? "" : " does not vote") + (raft.campaigningAllowed ? "" : " does not campaign")
                    + process.unrest
                    + (lacks(node).map { " \($0)" } ?? "")
                    + (process.replica.featureLevel == FeatureLevel.known ? "" : " level \(process.replica.featureLevel)")
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
