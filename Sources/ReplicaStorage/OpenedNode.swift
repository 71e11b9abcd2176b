package import Basics
package import Disk
internal import LogFormat
package import LogStore
internal import MetadataMachine
package import MetadataModel
internal import RaftCore
package import ReplicaCore
internal import Snapshots
package import StateEngine

/// What the log must hold for a node to start from it.
package enum LogDemand: Hashable, Sendable {
    /// All of it; the records that the state does not need are read only if verified.
    case whole(isVerified: Bool)
    /// Everything that the state lacks: holes before that are done without, and the log begins later.
    case behindState
    /// Everything behind this entry, which the log holds. What is before it has to come with another member's state, if
    /// this node's own ends earlier.
    case behind(EntryID)
    /// What is before the first hole that the state does not cover: the rest is given up. How this node is bound all the
    /// same has been noted (`DamagedLog.keep`).
    case short

    /// What is to be let go has to be found first.
    fileprivate var verifiesAll: Bool { self == .whole(isVerified: true) || beginsLater }
    fileprivate var acceptsDamage: Bool { beginsLater || self == .short }
    fileprivate var beginsLater: Bool {
        switch self {
        case .behindState, .behind: true
        case .whole, .short: false
        }
    }
}

/// A data directory, opened: log, state and snapshots agree with each other, and `restored` is what the replica starts
/// from.
///
/// A crash may have come between any two steps of an install. What is found then is one of these, and each is set right:
/// - the state is that of an installed snapshot and the log still ends before it: the log is reset to start after it;
/// - the state is older than the log's first entry (it was lost, or is kept in memory only): it comes back from the newest
///   snapshot on this disk, and if there is none from a peer (`restored.needsState`).
package struct OpenedNode<Home: EngineHome> {
    package let log: LogKeeper
    package let state: StateKeeper<Home>
    package let snapshots: SnapshotKeeper
    package let restored: RestoredReplica
    /// What an operator should know of the opening.
    package let notes: [String]
    /// Found while opening and set right: what, and where.
    package let damages: [String]

    /// - Parameters:
    ///   - demand: throws `LogOpenError.damaged` where the log does not meet it.
    ///   - knownLevel: the highest feature level that this release knows.
    package init(
        fileSystem: any FileSystem, directory: String, identity: ClusterIdentity, node: NodeID,
        founding: FoundingRecord, home: Home, logSettings: LogSettings, demand: LogDemand = .whole(isVerified: false),
        knownLevel: UInt32 = FeatureLevel.known
    ) throws {
        var notes: [String] = []
        let levels = FeatureLevels(known: knownLevel, founding: founding.featureLevel)
        let found = try Self.openState(home, node: node, levels)
        let appliedBefore = found.state?.machine.applied.last ?? .zero
        let snapshots = try SnapshotKeeper(fileSystem: fileSystem, dataDirectory: directory, cluster: identity)
        let logDirectory = "\(directory)/log"
        try fileSystem.makeDirectory(logDirectory, in: directory)
        let promise = try PromiseFile.load(
            from: logDirectory, on: fileSystem, salt: identity.salt, nodeID: node)
        if let promise, !promise.isKnown { throw LogOpenError.damaged([promise.damage(in: logDirectory)]) }
        if demand.beginsLater {
            // No state tells what this node has promised. Looked at first: opening seals the log, and a later start would
            // take the seal for its word.
            let inspection = try LogInspection(
                fileSystem: fileSystem, directory: logDirectory, salt: identity.salt, nodeID: node)
            guard inspection.report.promisesAreKnown, appliedBefore.term <= inspection.currentTerm else {
                throw LogOpenError.damaged(inspection.report.damages)
            }
        }
        let (log, report) = try SegmentedLog.open(
            fileSystem: fileSystem, directory: logDirectory, salt: identity.salt, nodeID: node, settings: logSettings,
            verifyFrom: demand.verifiesAll ? .zero : appliedBefore.index.next, acceptingDamage: demand.acceptsDamage)
        // The term of what is applied was on disk before that was: then the log has lost synced data.
        if appliedBefore.term > log.hardState.currentTerm, !report.isNew, demand != .short {
            let lost = PromiseFile(last: max(appliedBefore, promise?.last ?? .zero), isKnown: false)
            try lost.store(in: logDirectory, on: fileSystem, salt: identity.salt, nodeID: node)
            throw LogOpenError.damaged([lost.damage(in: logDirectory, behind: appliedBefore)])
        }
        // The log is made before the first state, and durably: without it, votes and acknowledgements are forgotten.
        guard !report.isNew || (appliedBefore == .zero && found.damage == nil) else {
            throw LostLogError(directory: logDirectory, applied: appliedBefore)
        }
        if let torn = report.tornTail { notes.append("a write that a crash interrupted was cut off: \(torn)") }
        if let damage = found.damage { notes.append("the state is damaged and will be made anew: \(damage)") }
        var damages = found.damage.map { ["state: \($0)"] } ?? []
        let state = try Self.completeState(
            found, home, node: node, levels, log, snapshots, founding, &notes, &damages)
        let applied = state.machine.applied.last
        let holes = log.faultyRanges.map { "\($0.lowerBound)-\($0.upperBound)" }.joined(separator: ", ")
        switch demand {
        case .whole: break
        case .behindState:
            try log.letGoOfHoles(through: applied)
            guard log.faultyRanges.isEmpty else { throw LogOpenError.damaged(report.damages) }
            if !holes.isEmpty { notes.append("entries \(holes) of the log, which the state holds, are done without") }
        case .behind(let entry):
            try log.begin(behind: entry)
            guard log.faultyRanges.isEmpty else { throw LogOpenError.damaged(report.damages) }
            if !holes.isEmpty { notes.append("entries \(holes) of the log, which another member's state holds, are done without") }
        case .short:
            if !holes.isEmpty { notes.append("entries \(holes) of the log are given up") }
            try log.cutAtDamage(applied: applied)
        }
        let needsState = applied.index < log.previous.index
        // Until a peer has given a state, a damaged one is all there is of it; the installed one takes its place.
        if !needsState { try home.removeOthers() }
        do throws(SnapshotKeeperError) {
            try snapshots.removeRemains(appliedThrough: needsState ? .zero : applied.index)
        } catch {
            notes.append("what is left of a snapshot cannot be removed: \(error)")
        }
        // The header that named the entry before the first one may have rotted; what the state ends with is that entry.
        if log.previous.index == applied.index, log.previous.term == .zero { log.forget(through: applied) }
        if !needsState, log.term(at: applied.index) != applied.term, log.previous != applied {
            try log.reset(to: applied)
            notes.append("the log starts anew after the installed snapshot at \(applied)")
        }
        if needsState { notes.append("the state is missing: it will be fetched from a peer") }
        self.log = LogKeeper(log)
        self.state = state
        self.snapshots = snapshots
        var memory = PeerMemory()
        do throws(IdentityError) {
            memory = try PeerMemory.load(from: directory, on: fileSystem)
        } catch {
            notes.append("what was known of other nodes is forgotten: \(error)")
        }
        var restored = try Self.restore(
            log, state.machine, identity: identity, node: node, founding: founding, needsState: needsState)
        restored.acknowledged = memory.acknowledged
        if let promise {
            if promise.last > log.last {
                restored.raft.promised = promise.last
            } else {
                try PromiseFile.remove(from: logDirectory, on: fileSystem)
            }
        }
        self.restored = restored
        self.notes = notes
        self.damages = damages
    }

    /// The live state, or what is damaged about it.
    private static func openState(
        _ home: Home, node: NodeID, _ levels: FeatureLevels
    ) throws(MachineError) -> (state: StateKeeper<Home>?, damage: EngineError?) {
        do throws(MachineError) {
            return (try StateKeeper(home: home, node: node, levels: levels), nil)
        } catch {
            guard case .engine(let damage) = error, case .corrupt = damage else { throw error }
            return (nil, damage)
        }
    }

    /// A state from which the log can go on, where there is one on this disk: the live one, the newest snapshot, or
    /// nothing at all while the log still holds its first entry. A damaged one is replaced in any case, and what nobody
    /// else can have is not thrown away.
    private static func completeState(
        _ found: (state: StateKeeper<Home>?, damage: EngineError?), _ home: Home, node: NodeID,
        _ levels: FeatureLevels, _ log: SegmentedLog, _ snapshots: SnapshotKeeper, _ founding: FoundingRecord,
        _ notes: inout [String], _ damages: inout [String]
    ) throws -> StateKeeper<Home> {
        if let live = found.state, live.machine.applied.last.index >= log.previous.index { return live }
        if log.previous.index > .zero {
            let kept = try restoreSnapshot(
                home, node: node, levels, through: log.previous.index, snapshots, &notes, &damages)
            if let state = kept.state { return state }
            let others = KnownMembers.others(
                than: node, founding: founding, committed: [found.state?.machine.membership, kept.membership],
                configurations: log.configurations)
            if others.isEmpty {
                let end = found.state?.machine.applied.last.index ?? .zero
                throw LostStateError(
                    damage: found.damage ?? kept.damage
                        ?? .corrupt("the state ends with entry \(end), and the log begins after \(log.previous.index)"))
            }
        }
        if let live = found.state { return live }
        let engine = try home.makeSuccessor()
        try home.adoptSuccessor()
        return try StateKeeper(home: home, node: node, levels: levels, engine: engine)
    }

    /// The state of the newest snapshot that is sound and reaches through `index`, as the live one.
    private static func restoreSnapshot(
        _ home: Home, node: NodeID, _ levels: FeatureLevels, through index: LogIndex, _ snapshots: SnapshotKeeper,
        _ notes: inout [String], _ damages: inout [String]
    ) throws -> (state: StateKeeper<Home>?, membership: StoredMembership?, damage: EngineError?) {
        var reasons: [String] = []
        defer {
            notes += reasons.map { "a snapshot is damaged and not used: \($0)" }
            damages += reasons.map { "snapshot: \($0)" }
        }
        let newest = try snapshots.newest { reasons.append($0.description) }
        if let newest, newest.head.revision.index >= index {
            do {
                let engine = try home.makeSuccessor()
                try snapshots.restore(newest, into: engine)
                try home.adoptSuccessor()
                notes.append("state restored from the snapshot at \(newest.head.revision)")
                return (try StateKeeper(home: home, node: node, levels: levels, engine: engine), nil, nil)
            } catch let error as SnapshotKeeperError {
                guard case .damaged = error else { throw error }
                reasons.append(error.description)
            }
        }
        return (nil, try newest?.members().stored, reasons.first.map { .corrupt($0) })
    }

    private static func restore(
        _ log: SegmentedLog, _ machine: Machine<Home.StateEngineType>, identity: ClusterIdentity, node: NodeID,
        founding: FoundingRecord, needsState: Bool
    ) throws -> RestoredReplica {
        var terms = TermRuns(after: log.previous)
        let runs = log.termRuns
        for (position, run) in runs.enumerated() {
            let last = position + 1 < runs.count ? runs[position + 1].firstIndex.previous : log.lastIndex
            if last >= run.firstIndex { terms.append(through: last, term: run.term) }
        }
        let lastApplied = needsState ? log.previous.index : machine.applied.last.index
        var membership = machine.membership ?? StoredMembership(index: .zero, membership: founding.membership)
        var configurations = [membership.indexed]
        var history = [(index: membership.index, membership: membership.membership)]
        for entry in log.configurations where entry.index > membership.index {
            let found = try Membership(decoding: entry.payload.rawSpan)
            membership = StoredMembership(index: entry.index, membership: found)
            if entry.index <= lastApplied {
                configurations.removeAll()
                history.removeAll()
            }
            configurations.append(membership.indexed)
            history.append((membership.index, membership.membership))
        }
        var lastTime = machine.applied.time
        // What the state holds may be damaged in the log without anybody having looked.
        if log.lastIndex > lastApplied,
            let slab = try log.read(from: log.lastIndex, through: log.lastIndex, bytesMax: 1).last
        {
            lastTime = max(lastTime, slab.record(at: slab.lastIndex).header.time)
        }
        var restored = RestoredReplica(
            identity: identity, id: node,
            raft: RestoredState(
                hardState: log.hardState, log: terms, lastApplied: lastApplied, configurations: configurations),
            membership: membership.membership, memberInfo: machine.memberInfo, lastTime: lastTime,
            needsState: needsState)
        restored.feedFloor = machine.feedFloor
        restored.featureLevel = machine.featureLevel
        restored.membershipHistory = history
        if founding.membershipIndex != .zero {
            restored.contacts = founding.membership.members.filter { $0.id != node }
            restored.joinedAt = founding.membershipIndex
        }
        return restored
    }
}

/// The state is there and the log is not: this node has forgotten what it promised, and must not vote again under its
/// old identity.
package struct LostLogError: Error, Sendable, CustomStringConvertible {
    package var directory: String
    package var applied: EntryID

    package var description: String {
        "\(directory) holds no log, but the state beside it is that of entry \(applied): the log was lost. Move the data "
            + "directory away; the node then comes back empty, as a new member"
    }
}

/// The state cannot be read, and neither the log nor a snapshot here nor another member can bring it back.
package struct LostStateError: Error, Sendable, CustomStringConvertible {
    package var damage: EngineError

    package var description: String {
        "\(damage). This node is the only member and its log no longer reaches back to the first entry: restore a "
            + "snapshot into a new data directory"
    }
}
