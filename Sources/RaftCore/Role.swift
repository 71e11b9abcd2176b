internal import Basics

/// What a replica is doing, with the state that only this role has: `nextIndex` cannot be read on a follower. Being a
/// learner is a matter of membership, not a role.
enum Role: Sendable {
    case follower(Follower)
    /// Asks whether it could win, without disturbing anybody (thesis §9.6).
    case preCandidate(VoteTally)
    case candidate(VoteTally)
    case leader(Leader)
}

struct Follower: Sendable {
    /// Leader of `currentTerm`, once heard.
    var leader: NodeID?
    var leaderHeardAt = Instant.zero
    /// Reads that the leader was asked about, oldest first.
    var forwardedReads: [ForwardedRead] = []

    struct ForwardedRead: Sendable {
        var token: ReadToken
        /// When to give up on the answer.
        var deadline: Instant
    }
}

struct Leader: Sendable {
    /// One for each member but this node, sorted by id.
    var peers: [Progress]
    /// Index of the no-op that opened the term; until it is committed, the commit index may be behind what an earlier
    /// leader acknowledged.
    let termStart: LogIndex
    var heartbeatDeadline: Instant
    /// When a majority will have been silent for an election timeout, unless it is heard before (thesis §6.2).
    var quorumDeadline: Instant
    var reads = ReadRounds()
    var transfer: Transfer?

    func position(of id: NodeID) -> Int? { peers.firstIndex { $0.id == id } }
}

/// Leadership on its way to `target` (thesis §3.10).
struct Transfer: Sendable {
    var target: NodeID
    /// After this the transfer is abandoned.
    let deadline: Instant
    /// The leader must not go on even if the target does not take over: its disk is stuck, or the shell forbids it.
    var stepsDownAtDeadline: Bool
}

/// Reads that wait until a majority confirms that this is still the leader (thesis §6.4). One round of heartbeats is
/// under way at a time; what arrives meanwhile shares the next, for a heartbeat sent before a read says nothing about
/// it.
struct ReadRounds: Sendable {
    struct Read: Sendable {
        var token: ReadToken
        /// The follower that asked; nil: this node.
        var requester: NodeID?
    }

    struct Round: Sendable {
        let number: UInt64
        let readIndex: LogIndex
        var confirmedBy: [NodeID] = []
        let reads: [Read]
    }

    var waiting: [Read] = []
    var underWay: Round?
    var lastNumber: UInt64 = 0
}

/// PreVotes sent before the election timeout, because the connection to the leader has ended, because this node has just
/// started and knows of none, or because it led until a newer term came. Any majority that hears a leader refuses, so it is
/// safe; a crash then costs milliseconds instead of an election timeout.
struct EarlyElection: Sendable {
    /// When to ask next; `.never` once the link is back, until the leader is heard on it.
    var deadline: Instant
    var tally = VoteTally()
    /// Candidacies that came of it. Each is given twice the time of the one before, so a network slower than the first
    /// guess still elects somebody.
    var candidacies = 0
}
