internal import Basics
internal import MetadataModel
internal import Wire

/// What a code means for a client that decides whether to send again.
extension ErrorCode {
    /// The copy that was refused has not been logged and never will be.
    var provesNoEffect: Bool {
        switch self {
        case .notLeader, .overloaded, .sequenceGap, .diskFull, .notReady, .shuttingDown, .quarantined,
            .invalidRequest, .tooLarge, .unimplemented, .featureLevel, .unauthorized, .clusterMismatch,
            .generationChanged, .sessionLimit, .noSuchMember, .memberExists, .changeUnderWay, .notCaughtUp,
            .quorumAtRisk, .memberUnreachable, .alarmHolds, .noSuchAlarm:
            true
        default: false
        }
    }

    /// When such an error comes from the log, it is the lasting answer to its sequence. The others say that the
    /// sequence has not been used.
    var usesSequence: Bool {
        !isRetryable && self != .sessionExpired
    }

    /// The client tries again by itself (`ReplyError.isWorthRetrying` is what to ask). A full disk, a founding, a change of
    /// members that was refused and an alarm that holds need somebody to act first.
    fileprivate var isWorthRetrying: Bool {
        switch self {
        case .diskFull, .foundingRefused, .changeUnderWay, .notCaughtUp, .quorumAtRisk, .memberUnreachable, .alarmHolds:
            false
        default: isRetryable
        }
    }

    /// Another node may do better.
    var isOfOneNode: Bool {
        switch self {
        case .unavailable, .quarantined, .shuttingDown, .notReady: true
        default: false
        }
    }

    var saysNoQuorum: Bool { self == .unavailable || self == .notLeader }
}

extension ReplyError {
    /// The client tries again by itself. What the cluster's feature level keeps out is let in before long where all members
    /// know it already: then the leader says when to ask again.
    var isWorthRetrying: Bool {
        code == .featureLevel ? retryAfter != nil : code.isWorthRetrying
    }

    /// An error that no node sent.
    static func madeHere(_ code: ErrorCode, _ message: String? = nil) -> ReplyError { ReplyError(code, message) }

    var leaderHint: LeaderHint? {
        leaderAddress.map { LeaderHint(name: leaderName ?? "", clientAddress: $0) }
    }
}
