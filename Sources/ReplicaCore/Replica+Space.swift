internal import Basics
internal import MetadataModel
internal import RaftCore
internal import Wire

/// How much of its reserve a disk has left.
package enum DiskLevel: Hashable, Sendable {
    case ample
    /// Below the reserve: nothing is admitted that takes space and can do without.
    case low
    /// Below half of it. The rest is for what was promised already, for votes, and for the state and the log to get
    /// smaller: no entry is taken any more.
    case exhausted

    package init(free: UInt64, reserve: UInt64) {
        self = free >= reserve ? .ample : free >= reserve / 2 ? .low : .exhausted
    }
}

/// What becomes of leading and writing when disks fill up. A leader below its reserve hands over to a member that is not;
/// writes go on while a majority has space, because an entry needs no more; below that only what frees space is
/// admitted, and members lead all the same, so that reads and deletes go on.
///
/// Space never keeps a member from campaigning: those that have some may lack entries that only the others can give them.
extension Replica {
    var mayCampaign: Bool { !isQuarantined && !isStopping && !isRemoved }

    /// To be called when a disk, a report, a link or the members have changed.
    mutating func reviewSpace() {
        spaceShortage = findSpaceShortage()
        handOverForSpace()
    }

    /// Nothing is proposed meanwhile, so a target that does not take over is not asked again for a while.
    private mutating func handOverForSpace() {
        guard isDiskLow, raft.isLeader, !raft.isTransferring, now >= nextHandOverForSpace, let target = successorWithSpace
        else { return }
        nextHandOverForSpace = now + settings.raft.electionTimeoutMax * 10
        raft.step(.transferRequested(to: target), now: now)
        drainReady()
    }

    /// A connected voter whose disk has space, and which has nearly everything that is in the log.
    private var successorWithSpace: NodeID? {
        raft.peers.first { peer in
            guard peer.isActive, raft.configuration.isVoter(peer.id), let position = links.position(of: peer.id),
                links[position].isUp, links[position].report?.state == .ok
            else { return false }
            return raft.lastIndex.distance(after: peer.matchIndex) <= Self.catchUpMax
        }?.id
    }

    /// Entries that a successor catches up with well before the hand-over is given up.
    private static var catchUpMax: Int { 4_096 }

    /// To be called when anything has changed that `mayCampaign` looks at.
    mutating func reviewCampaigning() {
        let isAllowed = mayCampaign
        guard isAllowed != raft.campaigningAllowed else { return }
        raft.step(.campaigningAllowed(isAllowed), now: now)
        drainReady()
    }

    /// Why nothing that takes space is admitted; nil while a majority of the voters has some.
    func findSpaceShortage() -> ReplyError? {
        let voters = raft.configuration.voters
        let without = voters.filter { voter in
            guard voter != id else { return isDiskLow }
            return links.position(of: voter).map { links[$0].report?.state == .diskLow } ?? false
        }
        guard voters.count - without.count <= voters.count / 2, !without.isEmpty else { return nil }
        let names = without.map { membership.member($0)?.name ?? "\($0)" }.joined(separator: ", ")
        return ReplyError(
            .diskFull,
            "\(without.count) of \(voters.count) voters are below their disk reserve (\(names)): free space there; deletes "
                + "and reads go on",
            retryAfter: .seconds(1))
    }

    /// Why a command of this kind is not admitted now; nil when it is.
    func refusalForSpace(_ kind: CommandKind) -> ReplyError? {
        guard let spaceShortage else { return nil }
        switch kind {
        // History too: it may be what fills the disks.
        case .delete, .deleteRange, .endSession, .withdraw, .releaseLock, .stateExpunge, .setHistory:
            return diskLevel == .exhausted ? spaceShortage : nil
        default: return spaceShortage
        }
    }
}
