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
        /// Bytes of the manifest that have come in any attempt. Only more than that is progress: one that is refused in
        /// the end, or gone each time before its end, is not begun anew for ever.
        var manifestReached = 0
        /// False when only the state is rebuilt and the log stays.
        var resetsLog: Bool
    }

    var fetch: Fetch?
    /// What has come of its manifest. Beside `fetch`, which is copied at every look.
    var manifest = ManifestPieces()
    /// What the core asked for while another one is being installed: fetched after that, where it is still newer.
    var postponed: SnapshotFetch?
    /// A snapshot is being written, or its pieces are at hand.
    var isBuilding = false
    var built: SnapshotPoint?
    /// Those that were made of a state that turned out to be wrong are being removed. One that is finished meanwhile is one
    /// of them.
    var isDiscarding = false
    /// No snapshot is made, and none is fetched, before these are over: the last one has failed at this node, and the core
    /// asks again with each heartbeat.
    var buildPause = RetryPause()
    var fetchPause = RetryPause()
    /// Why there was no space for the last one; nil when there was, or when none is asked for any more.
    var lackOfSpace: String?
    /// A quarantined node asks for a snapshot of the leader's state, or of another member's, at this time.
    var askForStateAt = Instant.never
    /// How often, where nobody led.
    var giversAsked = 0

    static let retryInterval = Interval.seconds(1)
    static let failuresMax = 10

    /// In the place of what was being fetched.
    mutating func begin(_ next: Fetch) {
        fetch = next
        manifest = ManifestPieces()
    }

    mutating func end() {
        fetch = nil
        manifest = ManifestPieces()
    }

    var nextDeadline: Instant {
        guard let fetch, !fetch.isStoring, !fetch.isInstalling else { return askForStateAt }
        return min(fetch.askAgainAt, askForStateAt)
    }
}

/// A manifest as it comes, which may be larger than a frame: pieces of one snapshot, back to back. Nothing in them is
/// read before the last is there, for only the whole has a checksum.
struct ManifestPieces {
    /// Whose manifest it is, as the first piece says; nil before it has come.
    private(set) var last: EntryID?
    /// Of the whole, as the first piece says.
    private(set) var size = 0
    private(set) var bytes: [UInt8] = []

    var isWhole: Bool { last != nil && bytes.count == size }

    /// Takes a piece that begins where those before it end. Memory grows by what has come, not by what is claimed.
    /// - Returns: why the piece is refused; nil when it was taken.
    mutating func take(_ piece: RawSpan, of snapshot: EntryID, size claimed: Int) -> String? {
        guard claimed <= Limits.snapshotManifestSizeMax else {
            return "the manifest of \(snapshot) has \(claimed) bytes, and at most "
                + "\(Limits.snapshotManifestSizeMax) are taken"
        }
        guard last == nil || claimed == size, piece.byteCount <= claimed - bytes.count else {
            return "the manifest of \(snapshot) does not fit together: after \(bytes.count) of \(size) bytes come "
                + "\(piece.byteCount) of \(claimed)"
        }
        last = snapshot
        size = claimed
        bytes.append(contentsOf: piece)
        return nil
    }

    /// All of it; nothing is left here.
    mutating func takeWhole() -> [UInt8] {
        defer { self = ManifestPieces() }
        return bytes
    }
}
