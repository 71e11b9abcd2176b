package import Basics
package import LogFormat
package import MetadataModel
package import RaftCore
package import Wire

/// Everything the shell must do after one turn. The order inside a turn does not matter: what depends on the disk is not
/// here before the disk has answered.
package struct Effects: Sendable {
    /// For the log thread: write these in order, sync once, answer `logWritten(ticket)`. At most one is under way.
    package var log: LogWork?
    /// For the apply thread, first in, first out.
    package var apply: [ApplyWork] = []
    /// Entries to read back from disk, off the loop; answer `logRead`.
    package var logReads: [LogRead] = []
    /// Damaged entries that the disk only did not give back are to be read again. Answer `logReread` where some are there.
    package var rereadsLog = false
    /// One write per connection and turn.
    package var toClients: [(slot: ConnectionSlot, bytes: [UInt8])] = []
    package var closingClients: [ConnectionSlot] = []
    package var toPeers: [(node: NodeID, bytes: [UInt8])] = []
    package var closingPeers: [NodeID] = []
    package var snapshot: [SnapshotWork] = []
    package var exports: [ExportWork] = []
    /// Entries in memory, or from a peer, to be written in the place of damaged ones; answer `logRepaired`.
    package var logRepairs: [Slab] = []
    package var scrubs: [ScrubOrder] = []
    package var notices: [Notice] = []
    /// `latchedAlarms` are to be kept.
    package var alarmsChanged = false
    /// Nodes that are to become members: ask each who it is; answer `probed`.
    package var probes: [MemberProbe] = []
    /// When `deadlineReached` is due if nothing else happens.
    package var nextDeadline: Instant = .never

    package init() {}
}

package struct LogWork: Sendable {
    package var ticket: PersistTicket
    package var writes: [LogWrite]
}

package struct LogWrite: Sendable {
    package var hardState: HardState
    package var truncateAfter: LogIndex?
    package var slab: Slab?
}

package struct LogRead: Sendable {
    package enum Purpose: Hashable, Sendable {
        case apply
        case peer(NodeID)
        /// A member whose log is damaged asked for entries.
        case repair(NodeID, RepairQuestion)
        /// Watches that are behind go on from here.
        case feed
    }
    package var purpose: Purpose
    package var range: ClosedRange<LogIndex>
    package var byteCountMax: Int

    package init(purpose: Purpose, range: ClosedRange<LogIndex>, byteCountMax: Int) {
        self.purpose = purpose
        self.range = range
        self.byteCountMax = byteCountMax
    }
}

package enum ApplyWork: Sendable {
    /// Committed and durable here. Answer `applied`.
    case entries([Slab], range: ClosedRange<LogIndex>)
    /// Reads, bounded by what was handed over before them. Answer `answered`, also where none of them is answered because
    /// the batch before was not answered to its end.
    case queries(QueryBatch)
    /// A new leader wants to know the sessions. Answer `sessionsListed(term)`.
    case listSessions(term: Term)
    /// It looks for what belongs to sessions that there are not, a bounded part at a time. Answer `orphansFound(term)`.
    case findOrphans(after: SessionID?, term: Term)
    /// Applied entries: what they changed. Answer `fed`.
    case feed([Slab], range: ClosedRange<LogIndex>, isLive: Bool)
    /// The log below this is gone; so are the effects that explain it.
    case forgetOutcomes(through: LogIndex)
}

/// Reads on their way to the apply thread: query bytes back to back, and who asked.
package struct QueryBatch: Sendable {
    package struct Item: Sendable {
        package var slot: ConnectionSlot
        package var requestID: UInt64
        package var bytes: Range<Int>
    }
    package var items: [Item] = []
    package var bytes: [UInt8] = []
    /// The first of them have been answered, in an earlier go.
    package private(set) var answeredCount = 0
    /// No other reads are with the apply thread.
    package var isAlone = false

    package init() {}

    /// Those without an answer.
    package var waiting: ArraySlice<Item> { items[answeredCount...] }

    mutating func append(_ query: RawSpan, slot: ConnectionSlot, requestID: UInt64) {
        let start = bytes.count
        bytes.append(contentsOf: query)
        items.append(Item(slot: slot, requestID: requestID, bytes: start..<bytes.count))
    }

    mutating func append(_ item: Item, of other: QueryBatch) {
        append(other.bytes.rawSpan.extracting(item.bytes), slot: item.slot, requestID: item.requestID)
    }

    /// What is left shares the storage: nothing is moved, however often it goes on.
    mutating func answered(_ count: Int) { answeredCount = min(answeredCount + count, items.count) }
}

/// Answers to the first of a batch of queries, as many as one go makes: reply bodies back to back, in the order of the
/// items. The others come again.
package struct AnswerBatch: Sendable {
    package struct Item: Sendable {
        package var slot: ConnectionSlot
        package var requestID: UInt64
        package var bytes: Range<Int>

        package init(slot: ConnectionSlot, requestID: UInt64, bytes: Range<Int>) {
            self.slot = slot
            self.requestID = requestID
            self.bytes = bytes
        }
    }
    package var items: [Item] = []
    package var bytes: [UInt8] = []

    package init() {}
}

package enum SnapshotWork: Sendable {
    /// Write a snapshot of the state as it is applied; answer `snapshotBuilt` or `snapshotBuildFailed`.
    case build
    /// Hand out a chunk of the snapshot at hand, or at most `sizeMax` bytes of its manifest; answer
    /// `snapshotPieceLoaded` or `snapshotPieceDamaged`.
    case loadPiece(SnapshotPiece, sizeMax: Int, for: NodeID)
    /// Keep a chunk of the snapshot that is being fetched, or its manifest, whole; answer `snapshotChunkStored`,
    /// `snapshotManifestStored` or `snapshotPieceRefused`.
    case storePiece(SnapshotPiece, bytes: [UInt8])
    /// All pieces are there: build the new state beside the live one, swap, reset the log; answer `snapshotInstalled`
    /// or `snapshotInstallFailed`. `resetsLog` is false where only the state is rebuilt.
    case install(SnapshotPoint, resetsLog: Bool)
    /// Remove every snapshot that was made here, also those whose making was ordered before this; answer
    /// `snapshotsDiscarded`.
    case discard
}

/// The manifest of a snapshot (`chunk` nil) or one of its chunks.
package struct SnapshotPiece: Hashable, Sendable {
    package var last: EntryID
    package var chunk: UInt32?
    /// In the manifest, where what is asked for begins. A chunk is one piece.
    package var offset: UInt32

    package init(last: EntryID, chunk: UInt32?, offset: UInt32 = 0) {
        self.last = last
        self.chunk = chunk
        self.offset = offset
    }
}

/// What an operator may want to know, as facts; the shell logs and counts them.
package enum Notice: Sendable {
    case roleChanged(RaftStatus)
    case conflictBelowCommit(peer: NodeID)
    case badPeerMessage(peer: NodeID, reason: String)
    case quarantined(index: LogIndex, own: UInt64, majority: UInt64)
    /// Rows cannot be read. They come back from another member, if there is one.
    case stateDamaged(reason: String, isRebuilt: Bool)
    /// Nothing can be applied any more, and nobody has the state: the node stops.
    case stateLost(reason: String)
    /// `peer` knows that this node had acknowledged entries through `acknowledged`, which its log does not hold.
    case regressed(peer: NodeID, last: LogIndex, acknowledged: LogIndex)
    /// It holds them again.
    case caughtUp(through: LogIndex)
    case stateRebuilt(through: LogIndex)
    case digestsDiffer(index: LogIndex)
    case snapshotOffered(from: NodeID, last: EntryID)
    case snapshotInstalled(last: EntryID)
    case snapshotFailed(reason: String)
    /// Entries of the log are not what was written; they are taken from memory or from another member.
    case logDamaged(ClosedRange<LogIndex>, reason: String)
    /// They are there again.
    case logMended(ClosedRange<LogIndex>)
    /// Nobody has them, and this node does not need them: its log begins behind them.
    case logLetGo(ClosedRange<LogIndex>)
    /// A snapshot on this node's disk is damaged; another is made.
    case snapshotDamaged(reason: String)
    case scrubEnded(ScrubReport)
    /// What these entries changed cannot be read, for watches: lasting once that has gone on for a while.
    case changesUnread(ClosedRange<LogIndex>, reason: String, isLasting: Bool)
    case membershipChanged
    /// The cluster is at it from now on.
    case featureLevel(UInt32)
    /// A person has seen the alarms of that name.
    case alarmCleared(String)
    /// "removed by …"
    case removedFromCluster(by: String)
}
