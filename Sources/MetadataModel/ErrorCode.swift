/// Every way in which a request can end other than well. The numbers are forever; a retired one stays unused.
/// 0 in a reply's place for the code means success.
package enum ErrorCode: UInt16, Hashable, Sendable, CaseIterable {
    // MARK: The request itself

    /// The bytes are not a request, or break a rule that no state could satisfy.
    case invalidRequest = 1
    /// Above a bound; `limit` says which value would have passed.
    case tooLarge = 2
    /// A kind of request that this release does not know.
    case unimplemented = 3
    /// The caller may not do this.
    case unauthorized = 4
    /// Not all members of the cluster know this command yet.
    case featureLevel = 5

    // MARK: The node and the cluster

    /// This node does not lead; `leaderName` and `leaderAddress` say who does, if known.
    case notLeader = 10
    /// No leader, or no majority that confirms it.
    case unavailable = 11
    /// A queue is full; nothing was done. `retryAfter` says when to come back.
    case overloaded = 12
    /// The mutation was proposed and its outcome is not known here; the same sequence sent again tells.
    case unknown = 13
    /// The time that the caller gave has passed before anything was done.
    case timeout = 14
    /// The node is stopping; another one serves.
    case shuttingDown = 15
    /// The node belongs to no cluster yet, or is not yet able to serve.
    case notReady = 16
    /// The disk's reserve is reached; reads and deletes still work.
    case diskFull = 17
    /// The node does not trust its own state and is rebuilding it; another one serves.
    case quarantined = 18
    /// The caller means another cluster than this one.
    case clusterMismatch = 19
    /// The cluster was restored or recovered since; sessions and revisions of before do not hold.
    case generationChanged = 20
    /// `initialize` where a cluster exists.
    case alreadyInitialized = 21
    /// `initialize` while a named node is away, not empty, or names another list.
    case foundingRefused = 22

    // MARK: Members

    /// No member has that name.
    case noSuchMember = 23
    /// The name or the address belongs to another member.
    case memberExists = 24
    /// One change of the members at a time.
    case changeUnderWay = 25
    /// A learner that is not yet close enough to the leader to vote; `limit` is how many entries it lacks.
    case notCaughtUp = 26
    /// The voters that would be left could not form a quorum out of those that can be reached now.
    case quorumAtRisk = 27
    /// The node that is to become a member does not answer as it should.
    case memberUnreachable = 28

    // MARK: The state

    /// A condition did not hold; `currentRevision` is the row's revision, 0 when there is none.
    case conflict = 30
    /// The revision asked for lies below what is kept; `currentRevision` is the floor.
    case compacted = 31
    /// The view was released, or timed out, or is on another node.
    case viewReleased = 32
    /// A guard of the mutation does not hold; nothing was done. `currentFence` is that of who leads or holds now, 0 when
    /// nobody does.
    case fenced = 33
    /// The session does not lead the group.
    case notLeading = 34
    /// The lock is not free; no place in its line was taken.
    case lockHeld = 35
    /// The watch has ended at this node; begin again with the revision `currentRevision`, here or elsewhere.
    case lagged = 36
    /// What was there before is not kept for these keys, or only from a later revision on; `currentRevision` is that one,
    /// 0: not at all.
    case historyOff = 37
    /// As many stand in the line of the group or the lock as may; no place in it was taken.
    case lineFull = 38
    /// A rule of the registry refuses it; `rule` says which, and nothing was done.
    case rejected = 39

    // MARK: The session

    /// An earlier mutation of this session has not arrived; nothing was applied. Send again from `expectedSequence`.
    case sequenceGap = 40
    /// The reply was acknowledged before, so it is no longer kept.
    case sequenceTooOld = 41
    /// Applied once, at the reply's revision; the result was too large to keep. `succeeded` is a transaction's branch.
    case resultNotKept = 42
    /// The session ended, or was never opened; nothing was applied.
    case sessionExpired = 43
    /// As many sessions are open as may be, or as many of this session's replies are unacknowledged as may be.
    case sessionLimit = 44

    // MARK: Alarms

    /// The cause of the alarm that was to be cleared goes on.
    case alarmHolds = 50
    /// No alarm of that name stands at the node.
    case noSuchAlarm = 51

    /// True when the same request, sent again later or to another node, may succeed. A mutation keeps its sequence.
    package var isRetryable: Bool {
        switch self {
        case .notLeader, .unavailable, .overloaded, .unknown, .timeout, .shuttingDown, .notReady, .diskFull,
            .quarantined, .foundingRefused, .changeUnderWay, .notCaughtUp, .quorumAtRisk, .memberUnreachable,
            .lagged, .sequenceGap, .sessionLimit, .alarmHolds:
            true
        case .invalidRequest, .tooLarge, .unimplemented, .unauthorized, .featureLevel, .clusterMismatch,
            .generationChanged, .alreadyInitialized, .noSuchMember, .memberExists, .conflict, .compacted, .viewReleased,
            .fenced, .notLeading, .lockHeld, .historyOff, .lineFull, .rejected, .sequenceTooOld, .resultNotKept, .sessionExpired,
            .noSuchAlarm:
            false
        }
    }

    /// The name on the command line and in JSON.
    package var name: String { String(describing: self) }

    /// For a person, where nothing more precise is known.
    package var defaultMessage: String {
        switch self {
        case .invalidRequest: "the request is malformed"
        case .tooLarge: "the request is above a limit"
        case .unimplemented: "this release does not know the request"
        case .unauthorized: "not allowed"
        case .featureLevel: "not all members know this command yet"
        case .notLeader: "this node does not lead the cluster"
        case .unavailable: "no quorum"
        case .overloaded: "the node is overloaded"
        case .unknown: "the outcome is unknown; the same sequence sent again tells it"
        case .timeout: "the time allowed has passed"
        case .shuttingDown: "the node is stopping"
        case .notReady: "the node belongs to no cluster yet"
        case .diskFull: "the disk is full"
        case .quarantined: "the node is rebuilding its state"
        case .clusterMismatch: "this is another cluster"
        case .generationChanged: "the cluster was restored since"
        case .alreadyInitialized: "a cluster exists already"
        case .foundingRefused: "the cluster cannot be formed"
        case .noSuchMember: "no member has that name"
        case .memberExists: "the name or address belongs to another member"
        case .changeUnderWay: "another change of the members is under way"
        case .notCaughtUp: "the learner has not caught up yet"
        case .quorumAtRisk: "the remaining voters could not form a quorum"
        case .memberUnreachable: "the node that is to become a member does not answer"
        case .conflict: "the condition does not hold"
        case .compacted: "the revision is no longer kept"
        case .viewReleased: "the view is no longer there"
        case .fenced: "a guard does not hold: its fence is not the current one"
        case .notLeading: "the session does not lead the group"
        case .lockHeld: "the lock is not free"
        case .lagged: "the watch has to begin again"
        case .historyOff: "no history is kept for these keys"
        case .lineFull: "as many stand in the line as may"
        case .rejected: "a rule of the registry refuses it"
        case .sequenceGap: "an earlier mutation of the session is missing"
        case .sequenceTooOld: "the reply was acknowledged before"
        case .resultNotKept: "applied before; the result was too large to keep"
        case .sessionExpired: "the session has ended"
        case .sessionLimit: "the limit on sessions or unacknowledged replies is reached"
        case .alarmHolds: "the cause of the alarm goes on"
        case .noSuchAlarm: "no alarm of that name stands at the node"
        }
    }
}
