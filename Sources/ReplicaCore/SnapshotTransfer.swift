internal import Basics
internal import RaftCore

/// Fetching a snapshot, piece by piece: the manifest first, then its chunks in order, each asked for again when no answer
/// comes. A chunk is named by number and checked by the manifest, so the transfer goes on where it stopped after a cut,
/// from this sender or another that has the same snapshot.
struct SnapshotTransfer: ~Copyable {
    struct Fetch {
        var point: SnapshotPoint
        var from: NodeID
        /// Nil until the manifest has come.
        var chunkCount: UInt32?
        /// The next piece: nil the manifest.
        var nextChunk: UInt32?
        var isStoring = false
        var isInstalling = false
        var askAgainAt: Instant
        var failures = 0
        /// False when only the state is rebuilt and the log stays.
        var resetsLog: Bool
    }

    var fetch: Fetch?
    /// What the core asked for while another one is being installed: fetched after that, where it is still newer.
    var postponed: SnapshotFetch?
    /// A snapshot is being written, or its pieces are at hand.
    var isBuilding = false
    var built: SnapshotPoint?
    /// A quarantined node asks for a snapshot of the leader's state, or of another member's, at this time.
    var askForStateAt = Instant.never
    /// How often, where nobody led.
    var giversAsked = 0

    static let retryInterval = Interval.seconds(1)
    static let failuresMax = 10

    var nextDeadline: Instant {
        guard let fetch, !fetch.isStoring, !fetch.isInstalling else { return askForStateAt }
        return min(fetch.askAgainAt, askForStateAt)
    }
}
