package import Basics
internal import MetadataMachine
internal import StateEngine
internal import RaftCore
internal import ReplicaCore

/// A world whose faults are chosen by hand: for tests that tell one story.
extension World {
    package static func quiet(seed: UInt64, _ adjust: (inout WorldSettings) -> Void = { _ in }) -> World {
        var settings = WorldSettings()
        settings.nodeCount = 3
        settings.injectsFaults = false
        settings.healsMajorityFirst = false
        settings.volatilePercent = 0
        settings.driftsClocks = false
        settings.networkDelayMax = .milliseconds(2)
        adjust(&settings)
        return World(seed: seed, settings: settings)
    }

    package func advance(_ interval: Interval) { run(until: now + interval) }

    /// Number of the node that leads, if exactly one does.
    package var leaderNumber: Int? {
        let leading = nodes.filter { $0.process?.replica.raft.isLeader == true }
        return leading.count == 1 ? leading[0].number : nil
    }

    package var nodeCount: Int { nodes.count }
    package var entryCount: UInt64 { oracle.lastIndex.rawValue }
    package var mutationsAcknowledged: Int { ackedMutations }
    package var readsAnswered: Int { answeredReads }
    /// Copies of mutations that were logged again and took no effect.
    package var duplicatesSeen: Int { oracle.duplicatesSeen }
    /// Names that a power loss has taken back, on all disks.
    package var namesDropped: Int { nodes.reduce(0) { $0 + $1.disk.faults.namesDropped } }

    package func stop(node: Int, losingPower: Bool) { stopProcess(of: nodes[node], losingPower: losingPower) }
    /// Makes the state of a node another one than its log says, as a bug or bad memory would; it starts again with it.
    package func diverge(node number: Int) {
        let node = nodes[number]
        stopProcess(of: node, losingPower: false)
        Keyspace.corruptDigest(in: node.home.live)
        diverged.insert(number)
        schedule(.start(node: number), after: .zero)
    }
    /// Has a node make a snapshot of its state, as it does for a follower that its log no longer reaches.
    package func makeSnapshot(node number: Int) {
        guard let process = nodes[number].process else { return }
        orderBuild(of: nodes[number], process)
    }
    /// The snapshots on a node's disk that it has made, by the paths of their manifests.
    package func snapshots(madeBy number: Int) -> [String] {
        nodes[number].disk.paths.filter {
            $0.hasPrefix("/data/snapshots/") && $0.hasSuffix("/manifest") && !$0.contains("/incoming-")
        }
    }
    package func startAll() { for node in nodes { schedule(.start(node: node.number), after: .zero) } }

    /// Nothing gets to the node or comes from it, not from clients either.
    package func isolate(node: Int) {
        for host in 0..<nodes.count + clients.count where host != node {
            reachability.block(node, host)
            reachability.block(host, node)
        }
        waysBlocked()
    }

    /// What the node says gets to nobody; it hears everybody.
    package func mute(node: Int) {
        for host in 0..<nodes.count + clients.count where host != node { reachability.block(node, host) }
        waysBlocked()
    }

    /// Nothing gets to the node; what it says is heard.
    package func deafen(node: Int) {
        for host in 0..<nodes.count + clients.count where host != node { reachability.block(host, node) }
        waysBlocked()
    }

    package func reconnect() {
        reachability = Reachability(hosts: settings.hostCount)
        waysFreed()
    }

    /// Heals everything, and demands what every run has to end with.
    /// - Returns: what is wrong; nil when nothing is.
    package func finish() -> String? {
        Simulation.finish(self)
        return violation
    }
}

extension Keyspace {
    /// Flips a bit of the rolling digest, durably. The row is the term, index, time and digest of what was applied.
    fileprivate static func corruptDigest(in engine: MemoryEngine) {
        let key: [UInt8] = [0xF0]
        guard var row = try? engine.get(key.rawSpan), row.count == 32 else { return }
        row[24] ^= 1
        var batch = WriteBatch()
        batch.put(key, row)
        engine.write(batch)
        engine.flush()
    }
}
