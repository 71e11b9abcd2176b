internal import Basics
internal import LogFormat
internal import MetadataMachine
internal import MetadataModel
internal import RaftCore
internal import ReplicaCore
internal import ReplicaStorage

/// Worlds in which nodes run different releases: some know the first feature level only, until each is started anew with
/// the present release, at a time drawn for it or when the faults are over.
extension World {
    /// Draws who runs an old release, before anybody starts.
    func drawReleases() {
        for number in settings.oldNodes { nodes[number].featureLevel = FeatureLevel.first }
        guard settings.mixesReleases else { return }
        if !settings.changesMembers, !settings.hasVolatileState {
            let half = settings.faultyTime / 2
            schedule(.special(.downgrade(nil)), after: half + releaseChance.interval(.zero, half))
        }
        for node in nodes where releaseChance.happens(percent: 60) {
            node.featureLevel = FeatureLevel.first
            counters.add(.oldPeer)
            schedule(.upgrade(node: node.number), after: releaseChance.interval(.seconds(2), settings.faultyTime))
        }
    }

    /// What all founders know.
    var foundingLevel: UInt32 { nodes.map(\.featureLevel).min() ?? FeatureLevel.first }

    /// Not while a majority has to get well undisturbed.
    func upgradeIsDue(_ number: Int) {
        guard majority == nil else { return schedule(.upgrade(node: number), after: .seconds(1)) }
        upgrade(number)
    }

    package func upgrade(_ number: Int) {
        let node = nodes[number]
        guard node.featureLevel < FeatureLevel.known else { return }
        node.featureLevel = FeatureLevel.known
        node.isDowngraded = false
        tell("\(node.name) gets the present release")
        guard node.isRunning else { return }
        stopProcess(of: node, losingPower: false)
        stopJoining(node, losingPower: false)
        schedule(.start(node: number), after: .milliseconds(200))
    }

    /// Once a node has on its disk that the cluster is at a level that the old release does not know, somebody puts that
    /// release in its place. It must not start, and not skip what it does not know; until somebody puts it right.
    func downgradeForAWhile(_ planned: (node: Int, index: LogIndex)?) {
        guard isFaulty else { return }
        let number = planned?.node ?? releaseChance.number(in: 0...nodes.count - 1)
        var index = planned?.index
        if let process = nodes[number].process, process.state.machine.featureLevel == FeatureLevel.known {
            let durable = (try? durableApplied(process)) ?? .zero
            if let index, durable >= index {
                tell("\(nodes[number].name) gets an old release")
                downgrade(number)
                schedule(.upgrade(node: number), after: releaseChance.interval(.milliseconds(200), .seconds(3)))
                return
            }
            index = index ?? process.state.machine.applied.last.index
        }
        schedule(.special(.downgrade(index.map { (number, $0) })), after: .milliseconds(500))
    }

    /// - Returns: whether it is right that this node does not start.
    func isTooOld(_ node: SimNode, _ error: any Error) -> Bool {
        guard settings.mixesReleases, node.featureLevel < FeatureLevel.known, case MachineError.tooNew = error else {
            return false
        }
        counters.add(.unknownEntry)
        return true
    }

    /// Somebody puts an old release in the place of the present one.
    package func downgrade(_ number: Int) {
        stopProcess(of: nodes[number], losingPower: false)
        nodes[number].featureLevel = FeatureLevel.first
        nodes[number].isDowngraded = true
        schedule(.start(node: number), after: .zero)
    }

    /// No release finds in its log what it does not know. One that was put where the level is higher starts only if the
    /// state that says so is damaged; then it may be sent such entries before it is told the level, and stops at them.
    func checkReleases(_ slab: Slab, of node: SimNode) {
        guard node.featureLevel < FeatureLevel.known, !node.isDowngraded else { return }
        for index in slab.indexes(of: .command) {
            let record = slab.record(at: index)
            // What the leader logs by itself is no client's command; all releases know it.
            guard let (header, level) = try? Command.validate(record.payload), level > node.featureLevel else { continue }
            fail("\(node.name) knows feature level \(node.featureLevel), and its log holds \(header.kind) at \(index)")
        }
    }

    /// A node whose state has come from another knows at once what level it is at.
    func snapshotInstalled(
        _ point: SnapshotPoint, _ membership: Membership, _ time: ClusterTime, on node: SimNode, _ process: SimProcess
    ) {
        let level = process.state.machine.featureLevel
        turn(node) { $0.snapshotInstalled(point, membership: membership, time: time, featureLevel: level) }
        guard process.replica.featureLevel < level else { return }
        fail("\(node.name) goes by feature level \(process.replica.featureLevel), and its state is at \(level)")
    }

    /// The cluster's level, as every node has it that runs; nil while they differ.
    package var featureLevel: UInt32? {
        let levels = Set(nodes.compactMap { $0.process?.replica.featureLevel })
        return levels.count == 1 ? levels.first : nil
    }

    package var membersAreAtKnownLevel: Bool {
        let members = settings.changesMembers ? reachableMembers : nodes
        return members.allSatisfy { $0.process?.replica.featureLevel == FeatureLevel.known }
    }
}
