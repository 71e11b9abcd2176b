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

    /// The client tries again by itself. A full disk, a founding, a change of members that was refused and an alarm
    /// that holds need somebody to act first.
    var isWorthRetrying: Bool {
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
    /// An error that no node sent.
    static func madeHere(_ code: ErrorCode, _ message: String? = nil) -> ReplyError { ReplyError(code, message) }

    var leaderHint: LeaderHint? {
        leaderAddress.map { LeaderHint(name: leaderName ?? "", clientAddress: $0) }
    }
}
