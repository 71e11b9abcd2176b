package import Basics

/// Everything that can happen to a replica's core.
package enum Input: Sendable {
    /// `from` has been authenticated by the shell as a node of this cluster.
    case received(Message, from: NodeID)
    /// The shell closed a slab of `count` command entries at `lastIndex + 1 …`, in `currentTerm`. Only while
    /// `canPropose`; the bytes stay with the shell.
    case proposed(count: Int)
    /// As `.proposed(count: 1)`, for an entry that changes the configuration. Only while `canProposeConfiguration`.
    case proposedConfiguration(Configuration)
    /// A batch of reads wants a ReadIndex; answered in `Ready.reads`, once.
    case readRequested(token: ReadToken)
    /// `now` has reached `nextDeadline`.
    case deadlineReached
    /// The log thread has synced the `Persist` that carried this ticket (and all before it).
    case persisted(PersistTicket)
    /// The state machine has applied through here.
    case applied(through: LogIndex)
    /// The log no longer holds entries at or below this (compaction); never above `lastApplied`.
    case compacted(through: LogIndex)
    /// The connection that carried `peer`'s messages has ended: a hint, never proof (early PreVote).
    case linkLost(NodeID)
    /// A connection to or from `peer` works again.
    case linkRestored(NodeID)
    /// Hand leadership to a voter, or to the most up-to-date one (thesis §3.10).
    case transferRequested(to: NodeID?)
    /// The shell has this snapshot to offer to followers that are behind the log.
    case snapshotAvailable(SnapshotPoint)
    /// What it had to offer was of a state that is wrong.
    case snapshotWithdrawn
    /// A snapshot that this follower was offered (`Ready.fetchSnapshot`) is installed and durable.
    case snapshotInstalled(SnapshotPoint)
    /// That snapshot could not be fetched.
    case snapshotFailed(SnapshotPoint)
    /// The state was replaced by one that ends at an entry of the log, which stays as it is. The entry is durable here.
    case stateReplaced(SnapshotPoint)
    /// The shell forbids or allows this node to campaign: quarantined state, disk below its reserve.
    case campaigningAllowed(Bool)
    /// The shell forbids this node to vote and to campaign while its log lacks what it once acknowledged.
    case votingAllowed(Bool)
    /// A peer has named an entry that is committed: one that a snapshot ends at, or that a log begins behind.
    case toldCommitted(EntryID)
    /// `peer` says that its log ends here. Where that is before what it had acknowledged, what this leader knows of it
    /// holds no more.
    case peerSaysLast(NodeID, EntryID)
}

/// Names one `Ready.Persist`; rises by one with each.
package struct PersistTicket: Hashable, Comparable, Sendable {
    package var rawValue: UInt64
    package init(_ rawValue: UInt64) { self.rawValue = rawValue }
    package static func < (left: PersistTicket, right: PersistTicket) -> Bool { left.rawValue < right.rawValue }
}

/// What must survive a crash besides the log (Raft fig. 2, persistent state).
package struct HardState: Hashable, Sendable {
    package var currentTerm: Term
    package var votedFor: NodeID?

    package init(currentTerm: Term, votedFor: NodeID?) {
        self.currentTerm = currentTerm
        self.votedFor = votedFor
    }

    package static let initial = HardState(currentTerm: .zero, votedFor: nil)
}

/// Bounds of the core's timing and windows; checked against each other where the command line is read.
package struct RaftSettings: Hashable, Sendable {
    package var heartbeatInterval = Interval.milliseconds(100)
    /// The election timeout is drawn from this range at each reset.
    package var electionTimeoutMin = Interval.milliseconds(1_000)
    package var electionTimeoutMax = Interval.milliseconds(2_000)
    /// A leader whose oldest unfinished sync is older than this, while a quorum without it acknowledges newer entries,
    /// hands over.
    package var diskStallTimeout = Interval.seconds(2)
    /// First early PreVote after the leader's link was lost: a random 5–50 ms; then again every 50–100 ms.
    package var earlyPreVoteMin = Interval.milliseconds(5)
    package var earlyPreVoteMax = Interval.milliseconds(50)
    /// AppendEntries that may be unanswered to one peer.
    package var inflightMessagesMax = 64
    /// Entries that one AppendEntries may name. The shell may split it on the wire.
    package var entriesPerAppendMax = 4_096
    /// Entries appended by the leader and not yet committed; at the bound `canPropose` is false.
    package var uncommittedEntriesMax = 65_536

    package init() {}
}
