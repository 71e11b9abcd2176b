package import Basics

/// What one replica says to another. No message carries entry bytes: `AppendEntries` names an index range and the shell
/// fills the bytes in (and, on arrival, reads `entryTerm` and `configurations` out of them).
package enum Message: Hashable, Sendable {
    case preVote(VoteRequest)
    case preVoteResponse(VoteResponse)
    case requestVote(VoteRequest)
    case requestVoteResponse(VoteResponse)
    case appendEntries(AppendEntries)
    case appendEntriesResponse(AppendEntriesResponse)
    case heartbeat(Heartbeat)
    case heartbeatResponse(HeartbeatResponse)
    case installSnapshot(InstallSnapshot)
    case installSnapshotResponse(InstallSnapshotResponse)
    case readIndex(ReadIndexRequest)
    case readIndexResponse(ReadIndexResponse)
    case timeoutNow(TimeoutNow)
}

/// RequestVote (Raft fig. 2) and its PreVote form (thesis §9.6), whose `term` is the term the candidate *would* enter.
package struct VoteRequest: Hashable, Sendable {
    package var term: Term
    /// Last durable entry of the candidate's log (Raft §5.4.1).
    package var lastEntry: EntryID
    /// The leader itself asked for this election (`TimeoutNow`, thesis §3.10): a live leader is no reason to refuse.
    package var isTransfer: Bool

    package init(term: Term, lastEntry: EntryID, isTransfer: Bool = false) {
        self.term = term
        self.lastEntry = lastEntry
        self.isTransfer = isTransfer
    }
}

package struct VoteResponse: Hashable, Sendable {
    /// The voter's term; for a granted PreVote the term that was asked for.
    package var term: Term
    package var isGranted: Bool

    package init(term: Term, isGranted: Bool) {
        self.term = term
        self.isGranted = isGranted
    }
}

/// AppendEntries (Raft fig. 2). Entries `previous.index + 1 … lastIndex`, all of one term; none when `lastIndex ==
/// previous.index` (a probe).
package struct AppendEntries: Hashable, Sendable {
    package var term: Term
    package var previous: EntryID
    package var lastIndex: LogIndex
    /// Term of every entry carried; meaningless when there is none.
    package var entryTerm: Term
    package var leaderCommit: LogIndex
    /// Configuration entries among those carried, in index order; they take effect when appended (Raft §6).
    package var configurations: [IndexedConfiguration]

    package init(
        term: Term, previous: EntryID, lastIndex: LogIndex, entryTerm: Term, leaderCommit: LogIndex,
        configurations: [IndexedConfiguration] = []
    ) {
        self.term = term
        self.previous = previous
        self.lastIndex = lastIndex
        self.entryTerm = entryTerm
        self.leaderCommit = leaderCommit
        self.configurations = configurations
    }

    package var entries: ClosedRange<LogIndex>? {
        lastIndex > previous.index ? previous.index.next...lastIndex : nil
    }
}

package struct AppendEntriesResponse: Hashable, Sendable {
    package enum Outcome: Hashable, Sendable {
        /// Everything through this index matches the leader's log and is durable here.
        case accepted(matchIndex: LogIndex)
        /// The entry before the range is missing or of another term. `rejected` is the `previous.index` that was asked
        /// for; `hint` is the last entry here that the leader may still share (Raft §5.3, the optimisation at its end).
        case rejected(previousIndex: LogIndex, hint: EntryID)
    }
    package var term: Term
    package var outcome: Outcome

    package init(term: Term, outcome: Outcome) {
        self.term = term
        self.outcome = outcome
    }
}

/// Sent each heartbeat interval whatever the disks do; carries no entries, so it never waits behind any.
package struct Heartbeat: Hashable, Sendable {
    package var term: Term
    /// `min(commitIndex, matchIndex of the receiver)`: safe to commit without a log check.
    package var commitIndex: LogIndex
    /// The newest ReadIndex round that this heartbeat may confirm (thesis §6.4); 0 = none.
    package var readRound: UInt64

    package init(term: Term, commitIndex: LogIndex, readRound: UInt64) {
        self.term = term
        self.commitIndex = commitIndex
        self.readRound = readRound
    }
}

package struct HeartbeatResponse: Hashable, Sendable {
    package var term: Term
    package var readRound: UInt64

    package init(term: Term, readRound: UInt64) {
        self.term = term
        self.readRound = readRound
    }
}

/// An offer: "your log ends before mine begins; fetch this snapshot". The bytes travel in chunks that the follower asks
/// for by number (shell), so that a transfer resumes after a cut, from this sender or another (Raft §7).
package struct InstallSnapshot: Hashable, Sendable {
    package var term: Term
    package var snapshot: SnapshotPoint

    package init(term: Term, snapshot: SnapshotPoint) {
        self.term = term
        self.snapshot = snapshot
    }
}

package struct InstallSnapshotResponse: Hashable, Sendable {
    package enum Outcome: Hashable, Sendable {
        /// Being fetched; keep waiting.
        case inProgress
        /// The follower's log and state now reach this index (it may have had it already).
        case reached(matchIndex: LogIndex)
        /// Could not be fetched or was damaged; offer again.
        case failed
    }
    package var term: Term
    package var outcome: Outcome

    package init(term: Term, outcome: Outcome) {
        self.term = term
        self.outcome = outcome
    }
}

/// A follower asks the leader for a ReadIndex on behalf of its own clients (thesis §6.4).
package struct ReadIndexRequest: Hashable, Sendable {
    package var term: Term
    package var token: ReadToken

    package init(term: Term, token: ReadToken) {
        self.term = term
        self.token = token
    }
}

package struct ReadIndexResponse: Hashable, Sendable {
    package var term: Term
    package var token: ReadToken
    /// Serve the read once `lastApplied` has reached this; nil: the leader could not confirm itself, ask again.
    package var readIndex: LogIndex?

    package init(term: Term, token: ReadToken, readIndex: LogIndex?) {
        self.term = term
        self.token = token
        self.readIndex = readIndex
    }
}

/// "Start an election now, without PreVote" (thesis §3.10).
package struct TimeoutNow: Hashable, Sendable {
    package var term: Term
    package init(term: Term) { self.term = term }
}

/// Names a batch of reads that the shell holds; unique in one run of one node.
package struct ReadToken: Hashable, Comparable, Sendable {
    package var rawValue: UInt64
    package init(_ rawValue: UInt64) { self.rawValue = rawValue }
    package static func < (left: ReadToken, right: ReadToken) -> Bool { left.rawValue < right.rawValue }
}

/// A message and whom it is for.
package struct Envelope: Hashable, Sendable {
    package var to: NodeID
    package var message: Message

    package init(to: NodeID, message: Message) {
        self.to = to
        self.message = message
    }
}
