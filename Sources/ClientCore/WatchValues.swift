package import Basics
package import MetadataModel
package import Wire

/// Names one watch of this client; chosen by whoever asks for it, once.
package struct WatchID: Hashable, Comparable, Sendable {
    package var rawValue: UInt64
    package init(_ rawValue: UInt64) { self.rawValue = rawValue }
    package static func < (left: WatchID, right: WatchID) -> Bool { left.rawValue < right.rawValue }
}

/// What a watch is to tell.
package struct WatchOptions: Sendable {
    package var table = FeedTable.records
    package var span: KeySpan
    /// The first revision; 0: from now on.
    package var from: LogIndex
    package var filter: WatchFilter = []
    package var progressInterval = Interval.zero
    /// Bytes that the client takes in before its caller has read them.
    package var window = UInt32(Limits.watchCreditDefault)

    package init(span: KeySpan, from: LogIndex = .zero) {
        self.span = span
        self.from = from
    }
}

/// What a watch tells its caller, in this order: `begun` once, then the rest as it comes, `ended` last.
package enum WatchNews: Sendable {
    /// Everything after this revision follows.
    case begun(after: LogIndex)
    /// All that one revision changed among what is watched.
    /// - Parameter size: to be given back with `watchRead` once the caller has it.
    case changes(LogIndex, [Change], ChangeOrigin?, size: Int)
    /// All changes through this revision have been told.
    case progress(LogIndex, size: Int)
    case ended(CallFailure)
}

/// One watch of a client: where it is, and where it goes on when its node is gone.
struct ClientWatch: Sendable {
    var options: WatchOptions
    /// Not begun by then, it has failed; later it goes on trying for ever.
    var beginBy: Instant
    var hasBegun = false
    /// The next revision that is wanted; 0: whatever comes from now on.
    var next: LogIndex
    /// The request that it is at present, and the node's address; 0: none.
    var requestID: UInt64 = 0
    var address = ""
    var retryAt = Instant.zero
    var failures = 0
    var lastError: ReplyError?
    /// The part of a revision that has come so far.
    var partial: (revision: LogIndex, changes: [Change], size: Int)?
    /// Bytes that the caller has not read.
    var unread = 0
    /// Of these, what came by an earlier request: no credit is given for it.
    var unreadOfBefore = 0
    /// Read, and not given back to the node yet.
    var owed = 0
    /// Nodes that no longer tell what is wanted, with what they begin at.
    var compactedAt: [(address: String, error: ReplyError)] = []

    var isPlaced: Bool { requestID != 0 }
    /// What is unread still comes first.
    var hasRoom: Bool { unread <= Int(options.window) / 2 }
}
