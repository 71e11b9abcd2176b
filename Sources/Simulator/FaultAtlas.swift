internal import Basics
internal import Disk
internal import LogStore
internal import MetadataModel
internal import RaftCore
internal import ReplicaCore

/// Knows what is on which disk, so that no fault takes the last good copy of anything or a promise that nobody else could
/// vouch for. What it lets pass has to be survived.
///
/// It does not reckon with what a fault should do: the fault is done, the disk is looked at with the product's own eyes,
/// and if too much is gone the fault is undone as if it had never been.
struct FaultAtlas {
    /// What one disk holds.
    struct Copy {
        let node: SimNode
        let log: LogInspection
        /// Entries behind it are not synced yet.
        let durable: LogIndex
        /// What it has lost once is noted beside the log; a repair that is under way has sealed that already.
        let knowsPromises: Bool

        var last: EntryID {
            durable >= log.last.index
                ? log.last : EntryID(term: log.knownTerm(at: durable) ?? .zero, index: durable)
        }

        func isReadable(_ range: ClosedRange<LogIndex>) -> Bool {
            range.lowerBound >= log.firstIndex && range.upperBound <= min(durable, log.last.index)
                && !log.faultyRanges.contains { $0.overlaps(range) }
        }

        /// Its rows stand in for what was cut off the log. Where the state is volatile a node that is down may come back
        /// without them, and so will one whose snapshot was damaged.
        var hasState: Bool {
            node.hasSoundState && (node.process != nil || !node.home.isVolatile)
        }

        func shares(_ entry: EntryID) -> Bool {
            entry.term > .zero && entry.index <= durable && log.knownTerm(at: entry.index) == entry.term
        }

        /// In the log, or in the state that has made it superfluous there.
        func holds(_ entry: EntryID) -> Bool {
            entry.index <= log.previous.index && hasState || shares(entry) && isReadable(entry.index...entry.index)
        }
    }

    let copies: [Copy]
    /// Whose disks could not be looked at are counted as well.
    private let memberCount: Int
    private let isMajority: (Int) -> Bool
    private let changesMembers: Bool

    init(_ world: World) {
        let members = world.oracle.members.newest.membership
        copies = world.nodes.compactMap { node in
            members.member(node.id) == nil ? nil : FaultAtlas.look(at: node, world.identity)
        }
        let count = world.settings.changesMembers ? members.members.count : world.nodes.count
        memberCount = count
        isMajority = { 2 * $0 > count }
        changesMembers = world.settings.changesMembers
    }

    static func look(at node: SimNode, _ identity: ClusterIdentity) -> Copy? {
        guard node.isInUse, let log = try? LogInspection(
            fileSystem: node.disk, directory: "/data/log", salt: identity.salt, nodeID: node.id)
        else { return nil }
        let promise = try? PromiseFile.load(
            from: "/data/log", on: node.disk, salt: identity.salt, nodeID: node.id)
        return Copy(
            node: node, log: log, durable: node.process?.replica.raft.durableIndex ?? log.last.index,
            knowsPromises: log.report.promisesAreKnown && promise?.isKnown != false)
    }

    private func others(than node: SimNode) -> [Copy] { copies.filter { $0.node !== node } }

    /// Whether the node on whose disk `after` is now what `before` was comes back whole by itself.
    func allows(_ before: Copy, to after: Copy) -> Bool {
        let others = others(than: before.node)
        guard leavesQuorum(after, others) else { return false }
        guard after.log.report.promisesAreKnown else { return allowsLostPromises(before, others) }
        // What is taken for a torn end was promised.
        guard after.log.last == before.log.last, after.log.hardState == before.log.hardState else { return false }
        return after.log.faultyRanges.allSatisfy { hole in
            let givers = givers(of: hole, in: after, among: others)
            // Where members come and go, who has it today may be gone tomorrow: so all others have it, and they are
            // several. Alone, a node has nobody to ask.
            return changesMembers ? givers.count == others.count && givers.count > 1 : !givers.isEmpty
        }
    }

    /// Who can give back what `copy` lacks there: the entries, or a state that stands for them.
    private func givers(of hole: ClosedRange<LogIndex>, in copy: Copy, among others: [Copy]) -> [Copy] {
        let anchor = copy.log.anchor(of: hole)
        return others.filter { other in
            other.isReadable(hole) && (other.shares(anchor) || other.shares(copy.log.last))
                || !other.node.isWounded && other.hasState && other.log.previous.index >= hole.upperBound
                    && other.last >= copy.log.last
        }
    }

    /// Whether those nodes get well without the others.
    func standAlone(_ nodes: Set<Int>) -> Bool {
        let inside = copies.filter { nodes.contains($0.node.number) }
        return inside.count == nodes.count && mendEachOther(inside)
    }

    /// A node that is bound by what it lost, or has no state, waits for a leader; one whose hole nobody has the entries for
    /// waits for somebody who is as far as it is. If all wait for each other, none comes back. So a majority is whole; or
    /// all lack entries only.
    private func leavesQuorum(_ struck: Copy?, _ others: [Copy]) -> Bool {
        let all = others + (struck.map { [$0] } ?? [])
        return isMajority(all.count { isAble($0) && $0.log.faultyRanges.isEmpty }) || mendEachOther(all)
    }

    /// Whether each lacks entries at most that another one has; and if that one has compacted them when it is asked, there
    /// is one who lacks none and is as far as all those who do.
    private func mendEachOther(_ copies: [Copy]) -> Bool {
        guard copies.allSatisfy(isAble) else { return false }
        let whole = copies.filter { $0.log.faultyRanges.isEmpty }
        return copies.allSatisfy { copy in
            guard !copy.log.faultyRanges.isEmpty else { return true }
            let others = copies.filter { $0.node !== copy.node }
            return whole.contains { $0.last >= copy.log.last }
                && copy.log.faultyRanges.allSatisfy { !givers(of: $0, in: copy, among: others).isEmpty }
        }
    }

    /// Whether nothing but entries can keep it from taking part in elections.
    private func isAble(_ copy: Copy) -> Bool {
        copy.knowsPromises && copy.node.boundBy == nil && copy.node.forgotten == nil && copy.node.hasSoundState
    }

    /// All other voters have to tell what they know, and each entry has to be somewhere else.
    private func allowsLostPromises(_ before: Copy, _ others: [Copy]) -> Bool {
        guard !changesMembers, others.count == memberCount - 1, others.count > 1,
            others.allSatisfy({ !$0.node.isWounded })
        else { return false }
        return entries(of: before, after: before.log.previous.index).allSatisfy { entry in
            others.contains { $0.holds(entry) }
        }
    }

    /// Whether nobody is misled by a node that does not know what it has forgotten: all that it had, and the terms that it
    /// took part in, are known to a majority without it.
    func allowsForgetting(_ before: Copy, back to: Copy) -> Bool {
        let others = others(than: before.node)
        guard !changesMembers, leavesQuorum(nil, others), others.count == memberCount - 1, others.allSatisfy({ !$0.node.isWounded }),
            others.allSatisfy({ $0.log.currentTerm >= before.log.currentTerm }), to.log.report.promisesAreKnown,
            to.log.faultyRanges.isEmpty
        else { return false }
        return entries(of: before, after: sharedEnd(of: before, to)).allSatisfy { entry in
            isMajority(others.count { $0.holds(entry) })
        }
    }

    /// How far both logs are the same (Raft §5.3). The older one may go on with entries that the newer one had to cut, and
    /// so be the longer of the two.
    private func sharedEnd(of one: Copy, _ other: Copy) -> LogIndex {
        var index = min(one.log.last.index, other.log.last.index)
        while index > one.log.previous.index, one.log.knownTerm(at: index) != other.log.knownTerm(at: index) {
            index = index.previous
        }
        return index
    }

    /// The entries of `copy` behind `index`, as far as their terms are known.
    private func entries(of copy: Copy, after index: LogIndex) -> [EntryID] {
        let first = max(index.next, copy.log.firstIndex)
        guard first <= copy.log.last.index else { return [] }
        return (first.rawValue...copy.log.last.index.rawValue).map { raw in
            EntryID(term: copy.log.knownTerm(at: LogIndex(raw)) ?? .zero, index: LogIndex(raw))
        }
    }
}
