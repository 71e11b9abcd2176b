internal import Basics
internal import Disk
internal import Foundation
internal import LogFormat
internal import LogStore
internal import MetadataMachine
internal import MetadataModel
internal import RaftCore
internal import ReplicaStorage
internal import RocksEngine
internal import Snapshots
internal import StateEngine

/// What one goes on with when a majority of a cluster is lost for good: the data directory of one survivor becomes a
/// cluster of one, of a new generation, to which new members are then added.
///
/// Nobody can know what the others had acknowledged beyond this directory. So everything that its log holds is kept,
/// also entries that may never have been committed; what it does not hold is lost; and the new generation sees to it
/// that old members and clients notice.
///
/// All is made beside the old content. Then the old content moves to `before-recovery-<generation>`, and the new one
/// into its place; while that is under way the directory `recovery` is there and no node starts from it.
package struct ClusterRecovery {
    private let node: StoppedNode
    private let peerAddress: HostPort
    private let log: LogInspection
    private let base: Base
    package let plan: RecoveryPlan

    /// Where the rows come from, and through which entry they reach.
    private enum Base {
        case rows(path: String, Applied)
        case snapshot(SnapshotManifest)

        var last: EntryID {
            switch self {
            case .rows(_, let applied): applied.last
            case .snapshot(let manifest): manifest.head.revision
            }
        }

        var time: ClusterTime {
            switch self {
            case .rows(_, let applied): applied.time
            case .snapshot(let manifest): manifest.head.time
            }
        }
    }

    /// While this is there, a recovery has been decided and not finished.
    package static let unfinishedName = "recovery"
    private static let scratchName = "recovery.tmp"
    private static let oldPrefix = "before-recovery-"
    /// Beyond all that the lost members can have appended, so that no revision is given twice.
    private static let indexGap = 1 << 32

    /// Looks at the directory and changes nothing.
    package init(directory: String, name: String, peerAddress: String) throws {
        guard let address = HostPort(peerAddress) else {
            throw OfflineError("invalidRequest", "\(peerAddress) is not HOST:PORT")
        }
        self.peerAddress = address
        node = try StoppedNode(directory, isExclusive: true)
        guard node.name == name else {
            throw OfflineError("otherNode", "\(directory) belongs to node \"\(node.name)\", not to \"\(name)\"")
        }
        log = try node.inspectLog()
        base = try Self.findBase(node, log)
        plan = try Self.makePlan(node, log, base, address)
    }

    // MARK: - What there is

    private static func findBase(_ node: StoppedNode, _ log: LogInspection) throws -> Base {
        if let path = try node.liveStatePath() {
            do throws(EngineError) {
                let key = Applied.storedKey
                if let row = try RocksInspection(directory: path).get(key),
                    case .applied(let applied)? = try? StoredRow(key: key.rawSpan, value: row.rawSpan),
                    applied.last.index >= log.previous.index
                {
                    return .rows(path: path, applied)
                }
            } catch {
                throw OfflineError("damaged", "\(path): \(error)")
            }
        }
        if try node.fileSystem.exists("\(node.directory)/snapshots") {
            let keeper = try SnapshotKeeper(
                fileSystem: node.fileSystem, dataDirectory: node.directory, cluster: node.cluster)
            var damage: SnapshotKeeperError?
            if let manifest = try keeper.newest(damaged: { damage = $0 }),
                manifest.head.revision.index >= log.previous.index
            {
                return .snapshot(manifest)
            }
            if let damage, log.previous > .zero { throw OfflineError("damaged", damage.description) }
        }
        guard log.previous == .zero else {
            throw OfflineError(
                "noState",
                "\(node.directory) holds no state from which its log goes on after \(log.previous.index): recover "
                    + "another survivor, or restore a snapshot")
        }
        return .rows(path: "", .nothing)
    }

    private static func makePlan(
        _ node: StoppedNode, _ log: LogInspection, _ base: Base, _ address: HostPort
    ) throws -> RecoveryPlan {
        let firstLost = log.faultyRanges.first { $0.upperBound > base.last.index }
        let keptThrough = max(
            base.last.index, firstLost.map { max($0.lowerBound.previous, base.last.index) } ?? log.last.index)
        var last = base.last
        var time = base.time
        if keptThrough > base.last.index {
            try log.forEachSlab(in: keptThrough...keptThrough) { slab in
                last = slab.last
                time = slab.record(at: slab.lastIndex).header.time
            }
        }
        let uncertain = keptThrough > base.last.index ? base.last.index.next.rawValue...keptThrough.rawValue : nil
        let founding = node.identity.foundingRecord
        let record = try FoundingRecord(decoding: founding.rawSpan)
        let membership =
            try log.configurations.last.map { entry in try Membership(decoding: entry.payload.rawSpan) }
            ?? record.membership
        return RecoveryPlan(
            directory: node.directory, name: node.name, peerAddress: address.description,
            cluster: String(node.cluster.id, radix: 16), generation: node.cluster.generation,
            members: membership.members.map { "\($0.name)=\($0.peerAddress)" },
            appliedIndex: base.last.index.rawValue, appliedTime: base.time.nanoseconds,
            lastIndex: last.index.rawValue, lastTerm: last.term.rawValue, lastTime: time.nanoseconds,
            uncertain: uncertain,
            damaged: firstLost.map { $0.lowerBound.rawValue...log.last.index.rawValue },
            oldContent: "\(node.directory)/\(oldPrefix)\(node.cluster.generation)")
    }

    // MARK: - Carrying it out

    package func carryOut() throws {
        let work = "\(node.directory)/\(Self.scratchName)"
        removeTree(work)
        try node.fileSystem.createDirectory(work)
        switch base {
        case .rows("", _): try makeContent(in: work, MemoryEngine())
        case .rows(let path, _):
            let scratch = "\(work)/rows"
            try copyRows(from: path, to: scratch)
            try makeContent(in: work, RocksEngine(directory: scratch))
            removeTree(scratch)
        case .snapshot(let manifest):
            let engine = MemoryEngine()
            let keeper = try SnapshotKeeper(
                fileSystem: node.fileSystem, dataDirectory: node.directory, cluster: node.cluster)
            try keeper.restore(manifest, into: engine)
            try makeContent(in: work, engine)
        }
        try node.fileSystem.syncDirectory(work)
        try node.fileSystem.rename(work, to: "\(node.directory)/\(Self.unfinishedName)")
        try node.fileSystem.syncDirectory(node.directory)
        try Self.finish(node.directory, on: node.fileSystem)
    }

    /// The old rows are left as they are. A table file never changes once it is written: another name for it will do.
    private func copyRows(from path: String, to scratch: String) throws {
        let manager = FileManager.default
        try node.fileSystem.createDirectory(scratch)
        for name in try node.fileSystem.list(path) where name != "LOCK" {
            let (old, new) = ("\(path)/\(name)", "\(scratch)/\(name)")
            if name.hasSuffix(".sst"), (try? manager.linkItem(atPath: old, toPath: new)) != nil { continue }
            try manager.copyItem(atPath: old, toPath: new)
        }
    }

    private func makeContent<E: Engine>(in work: String, _ engine: E) throws {
        var random = SystemRandomNumberGenerator()
        let cluster = ClusterIdentity(
            id: node.cluster.id, generation: node.cluster.generation + 1, generationTag: random.next())
        let incarnation = NodeID(random.next() | 1 << 32)
        let membership = Membership(
            members: [Member(id: incarnation, name: node.name, peerAddress: peerAddress.description)],
            incoming: [incarnation])
        let last = EntryID(
            term: Term(max(log.currentTerm, log.last.term).rawValue + 1),
            index: LogIndex(log.last.index.rawValue) + Self.indexGap)

        let machine = try Machine(engine: engine, node: node.identity.incarnation)
        if let kept = plan.uncertain {
            try log.forEachSlab(in: LogIndex(kept.lowerBound)...LogIndex(kept.upperBound)) { slab in
                let range =
                    max(
                        slab.firstIndex, machine.applied.last.index.next)...min(
                        slab.lastIndex, LogIndex(kept.upperBound))
                _ = try machine.apply([slab], in: range)
            }
        }
        let source = try machine.refounded(after: last, membership: membership)
        let keeper = try SnapshotKeeper(fileSystem: node.fileSystem, dataDirectory: work, cluster: cluster)
        _ = try keeper.build(source, founding: membership)

        var settings = LogSettings()
        settings.segmentSize = LogSettings.segmentSizeMin
        settings.sparesMax = 0
        try node.fileSystem.makeDirectory("\(work)/log", in: work)
        let (newLog, _) = try SegmentedLog.open(
            fileSystem: node.fileSystem, directory: "\(work)/log", salt: cluster.salt, nodeID: incarnation,
            settings: settings, verifyFrom: .zero)
        try newLog.append([LogTask(hardState: HardState(currentTerm: last.term, votedFor: nil))])
        try newLog.reset(to: last)

        let record = FoundingRecord(identity: cluster, createdAt: wallClock(), membership: membership)
        try NodeIdentity(
            cluster: cluster, name: node.name, incarnation: incarnation, foundingRecord: record.encoded()
        ).store(in: work, on: node.fileSystem)
    }

    // MARK: - Changing places

    /// Goes on with a recovery that was decided and then interrupted.
    /// - Returns: false when there is none.
    package static func finishInterrupted(in directory: String) throws -> Bool {
        let fileSystem = PosixFileSystem()
        guard try fileSystem.exists("\(directory)/\(unfinishedName)") else { return false }
        let lock: DirectoryLock
        do throws(DiskError) {
            lock = try fileSystem.lock(directory)
        } catch {
            throw OfflineError(lockOf: directory, error)
        }
        try withExtendedLifetime(lock) { try finish(directory, on: fileSystem) }
        return true
    }

    /// Moves the old content away, then the new one in, the identity first: as long as it is still among the new, what
    /// lies in the data directory is old.
    private static func finish(_ directory: String, on fileSystem: PosixFileSystem) throws {
        let new = "\(directory)/\(unfinishedName)"
        let identity = NodeIdentity.fileName
        if try fileSystem.exists("\(new)/\(identity)") {
            guard let cluster = try NodeIdentity.load(from: new, on: fileSystem)?.cluster else {
                throw OfflineError("damaged", "\(new)/\(identity) names no cluster")
            }
            let old = "\(directory)/\(oldPrefix)\(cluster.generation - 1)"
            try fileSystem.makeDirectory(old, in: directory)
            for name in try fileSystem.list(directory)
            where name != "lock" && name != unfinishedName && !name.hasPrefix(oldPrefix) {
                try fileSystem.rename("\(directory)/\(name)", to: "\(old)/\(name)")
            }
            try fileSystem.syncDirectory(old)
            try fileSystem.syncDirectory(directory)
            try fileSystem.rename("\(new)/\(identity)", to: "\(directory)/\(identity)")
            try fileSystem.syncDirectory(directory)
        }
        for name in try fileSystem.list(new) { try fileSystem.rename("\(new)/\(name)", to: "\(directory)/\(name)") }
        try fileSystem.syncDirectory(directory)
        try fileSystem.remove(new)
        try fileSystem.syncDirectory(directory)
    }

    private func removeTree(_ path: String) { try? FileManager.default.removeItem(atPath: path) }
}

/// What a recovery goes on with, and what may be lost by it.
package struct RecoveryPlan: Sendable {
    package var directory: String
    package var name: String
    package var peerAddress: String
    package var cluster: String
    /// The old one; the new one is higher by one.
    package var generation: UInt64
    /// Of the cluster as it was, NAME=HOST:PORT each.
    package var members: [String]
    /// Committed for certain through here; cluster time in ns.
    package var appliedIndex: UInt64
    package var appliedTime: UInt64
    /// The last entry that is kept.
    package var lastIndex: UInt64
    package var lastTerm: UInt64
    package var lastTime: UInt64
    /// Kept, though nobody can say whether they were committed.
    package var uncertain: ClosedRange<UInt64>?
    /// In the log and not readable: lost, with what comes after.
    package var damaged: ClosedRange<UInt64>?
    /// Where the old content of the directory is kept.
    package var oldContent: String
}
