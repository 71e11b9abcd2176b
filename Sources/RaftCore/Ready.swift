package import Basics

/// What the shell must do next. Taken exactly once; its order is its meaning: what depends on the disk can only be
/// reached through `persist`.
package struct Ready: Sendable {
    /// Vouches for nothing on the local disk: requests, heartbeats, a leader's appends.
    package var sendNow: [Envelope] = []
    package var persist: Persist?
    /// Committed and locally durable; follows on from the last such range.
    package var apply: ClosedRange<LogIndex>?
    /// Reads that are now bounded: serve each when `lastApplied` has reached its index; nil: no leader could confirm
    /// it.
    package var reads: [ReadGrant] = []
    /// A follower is behind the log: have a snapshot of at least `first log index - 1` ready, then
    /// `.snapshotAvailable`.
    package var needsSnapshot = false
    /// This node is behind the leader's log: fetch this from `from`, install it, report it.
    package var fetchSnapshot: SnapshotFetch?
    /// A peer contradicted a committed entry: close its link and raise the alarm `raft.conflictBelowCommit`.
    package var conflictsBelowCommit: [NodeID] = []
    /// Role, term, leader or commit index as they are now; set when one of them changed.
    package var status: RaftStatus?
    package var nextDeadline: Instant = .never

    package init() {}

    package struct Persist: Sendable {
        package var ticket: PersistTicket
        /// `currentTerm`, `votedFor`; before the entries, in the same sync. Always the newest.
        package var hardState: HardState
        /// Cut everything after this first (a follower that contradicts its leader, Raft §5.3); never below commit.
        package var truncateAfter: LogIndex?
        /// Which entries of the slab at hand, all of one term.
        package var entries: ClosedRange<LogIndex>?
        /// Entries among these that the core itself decided on; the shell encodes them before it appends. Each is a
        /// slab of its own.
        package var generated: [GeneratedEntry]
        /// Votes and acknowledgements: only after `fdatasync` has returned.
        package var thenSend: [Envelope]

        package init(
            ticket: PersistTicket, hardState: HardState, truncateAfter: LogIndex? = nil,
            entries: ClosedRange<LogIndex>? = nil, generated: [GeneratedEntry] = [], thenSend: [Envelope] = []
        ) {
            self.ticket = ticket
            self.hardState = hardState
            self.truncateAfter = truncateAfter
            self.entries = entries
            self.generated = generated
            self.thenSend = thenSend
        }
    }
}

/// An entry that no client asked for.
package struct GeneratedEntry: Hashable, Sendable {
    package enum Content: Hashable, Sendable {
        /// The first entry of a term (Raft §8, thesis §6.4).
        case noop
        /// Leaving a joint configuration, or one that the shell proposed (Raft §6).
        case configuration(Configuration)
    }
    package var index: LogIndex
    package var content: Content

    package init(index: LogIndex, content: Content) {
        self.index = index
        self.content = content
    }
}

package struct ReadGrant: Hashable, Sendable {
    package var token: ReadToken
    package var readIndex: LogIndex?

    package init(token: ReadToken, readIndex: LogIndex?) {
        self.token = token
        self.readIndex = readIndex
    }
}

package struct SnapshotFetch: Hashable, Sendable {
    package var from: NodeID
    package var snapshot: SnapshotPoint

    package init(from: NodeID, snapshot: SnapshotPoint) {
        self.from = from
        self.snapshot = snapshot
    }
}

/// The core's view of itself, for the shell, `status` and metrics. Read from the core, never remembered elsewhere.
package struct RaftStatus: Hashable, Sendable {
    package enum RoleName: String, Hashable, Sendable { case follower, candidate, leader, learner }
    package var role: RoleName
    package var term: Term
    package var leader: NodeID?
    package var commitIndex: LogIndex
    /// Leader only: the no-op of this term is committed, so reads and membership changes may start.
    package var hasCommittedInTerm: Bool

    package init(role: RoleName, term: Term, leader: NodeID?, commitIndex: LogIndex, hasCommittedInTerm: Bool) {
        self.role = role
        self.term = term
        self.leader = leader
        self.commitIndex = commitIndex
        self.hasCommittedInTerm = hasCommittedInTerm
    }
}
