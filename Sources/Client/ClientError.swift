internal import Basics
internal import ClientCore
internal import MetadataModel

/// Why a call failed: a code to act on, a sentence for people, and what else is known.
public struct ClientError: Error, Hashable, Sendable, CustomStringConvertible {
    /// Names that are stable; a later release may add some.
    public struct Code: RawRepresentable, Hashable, Sendable {
        public let rawValue: String
        public init(rawValue: String) { self.rawValue = rawValue }

        /// A condition did not hold; `currentRevision` says what the row is at.
        public static let conflict = Code(rawValue: "conflict")
        /// A mutation was sent and its outcome could not be learnt: it may have taken effect, or still will.
        public static let unknown = Code(rawValue: "unknown")
        /// No node, or no majority of them, could be reached in time. Nothing was done.
        public static let unavailable = Code(rawValue: "unavailable")
        /// The time allowed has passed. Nothing was done.
        public static let timeout = Code(rawValue: "timeout")
        public static let overloaded = Code(rawValue: "overloaded")
        /// The cluster's disks are full; deletes still work.
        public static let diskFull = Code(rawValue: "diskFull")
        public static let invalidRequest = Code(rawValue: "invalidRequest")
        /// Above a bound; `limit` says which.
        public static let tooLarge = Code(rawValue: "tooLarge")
        public static let sessionExpired = Code(rawValue: "sessionExpired")
        /// Applied, but the result was too large to be kept for a retry.
        public static let resultNotKept = Code(rawValue: "resultNotKept")
        /// The revision asked for is no longer kept.
        public static let compacted = Code(rawValue: "compacted")
        /// A guard does not hold; `currentFence` is that of who leads or holds now, 0 when nobody does.
        public static let fenced = Code(rawValue: "fenced")
        /// The session does not lead the group.
        public static let notLeading = Code(rawValue: "notLeading")
        /// The lock is not free.
        public static let lockHeld = Code(rawValue: "lockHeld")
        /// No history is kept of these keys, or only since `currentRevision`.
        public static let historyOff = Code(rawValue: "historyOff")
        /// As many stand in the line of the group or the lock as may.
        public static let lineFull = Code(rawValue: "lineFull")
        /// A rule of the registry refuses it: `rule`. Nothing was done.
        public static let rejected = Code(rawValue: "rejected")
        /// A watch has to begin again; the client does so by itself.
        public static let lagged = Code(rawValue: "lagged")
        /// The state that a listing reads from is gone; list again.
        public static let viewReleased = Code(rawValue: "viewReleased")
        /// The endpoints belong to another cluster.
        public static let clusterMismatch = Code(rawValue: "clusterMismatch")
        /// The cluster was restored or recovered: nothing learnt before holds. Make a new client.
        public static let generationChanged = Code(rawValue: "generationChanged")
        /// `initialize` where a cluster exists.
        public static let alreadyInitialized = Code(rawValue: "alreadyInitialized")
        /// `initialize` where not every node can be part of the cluster.
        public static let foundingRefused = Code(rawValue: "foundingRefused")
        /// The cause of an alarm that was to be cleared goes on.
        public static let alarmHolds = Code(rawValue: "alarmHolds")
        /// No alarm of that name stands at the node.
        public static let noSuchAlarm = Code(rawValue: "noSuchAlarm")
        /// The calling task was cancelled, or the client was shut down.
        public static let cancelled = Code(rawValue: "cancelled")
        /// A node answered what this release cannot read.
        public static let badReply = Code(rawValue: "badReply")
    }

    public var code: Code
    public var message: String
    /// The same call may succeed later.
    public var isRetryable: Bool
    /// False: it is certain that the call has had and will have no effect.
    public var mayHaveTakenEffect: Bool
    public var currentRevision: UInt64?
    public var limit: UInt64?
    public var currentFence: UInt64?
    /// The id of the rule, as `agent.gone`.
    public var rule: String?

    public init(
        code: Code, message: String, isRetryable: Bool = false, mayHaveTakenEffect: Bool = false,
        currentRevision: UInt64? = nil, limit: UInt64? = nil, currentFence: UInt64? = nil, rule: String? = nil
    ) {
        self.code = code
        self.message = message
        self.isRetryable = isRetryable
        self.mayHaveTakenEffect = mayHaveTakenEffect
        self.currentRevision = currentRevision
        self.limit = limit
        self.currentFence = currentFence
        self.rule = rule
    }

    public var description: String { "\(code.rawValue): \(message)" }
}

extension ClientError {
    init(_ failure: CallFailure) {
        let error = failure.error
        self.init(
            code: Code(rawValue: error.code.name), message: error.message, isRetryable: error.isRetryable,
            mayHaveTakenEffect: failure.mayHaveTakenEffect, currentRevision: error.currentRevision?.rawValue,
            limit: error.limit, currentFence: error.currentFence, rule: error.rule)
    }

    static func badReply(_ error: DecodeError) -> ClientError {
        ClientError(code: .badReply, message: error.description, mayHaveTakenEffect: true)
    }
}
