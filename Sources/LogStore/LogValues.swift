package import Basics
package import Disk
package import LogFormat
package import RaftCore

/// What the log thread is asked to make durable: hard state, then truncation, then entries, in one sync.
package struct LogTask: Sendable {
    package var hardState: HardState
    package var truncateAfter: LogIndex?
    /// Continues the log at its last index (after the truncation) plus one.
    package var slab: Slab?

    package init(hardState: HardState, truncateAfter: LogIndex? = nil, slab: Slab? = nil) {
        self.hardState = hardState
        self.truncateAfter = truncateAfter
        self.slab = slab
    }
}

package struct LogSettings: Hashable, Sendable {
    /// Whole segments are kept, with the one that is written and the spares beside them, so smaller ones take less of
    /// the disk. Each begins with a sync of its header and one of the directory.
    package static let segmentSizeDefault = 16 * 1_024 * 1_024
    /// Below this, the header area and the sync of each new segment begin to show.
    package static let segmentSizeMin = 1_024 * 1_024

    /// Size of a segment file in bytes; a batch that does not fit into one gets a file of its own size.
    package var segmentSize = segmentSizeDefault
    /// Emptied segments that are kept for their blocks.
    package var sparesMax = 2

    package init() {}
}

/// Where a term begins in the log.
package struct TermRun: Hashable, Sendable {
    package var term: Term
    package var firstIndex: LogIndex

    package init(term: Term, firstIndex: LogIndex) {
        self.term = term
        self.firstIndex = firstIndex
    }
}

/// A configuration entry of the log and its payload, which this room does not look into.
package struct ConfigurationEntry: Hashable, Sendable {
    package var index: LogIndex
    package var payload: [UInt8]

    package init(index: LogIndex, payload: [UInt8]) {
        self.index = index
        self.payload = payload
    }
}

/// Bytes of the log that are not what was synced there.
package struct LogDamage: Error, Hashable, Sendable, CustomStringConvertible {
    package var file: String
    package var offset: Int
    /// The entries that cannot be read because of it; nil when no entry is lost.
    package var indexes: ClosedRange<LogIndex>?
    package var reason: String
    /// The disk did not give the bytes; what they are is not known.
    package var isUnread: Bool

    package init(
        file: String, offset: Int, indexes: ClosedRange<LogIndex>?, reason: String, isUnread: Bool = false
    ) {
        self.isUnread = isUnread
        self.file = file
        self.offset = offset
        self.indexes = indexes
        self.reason = reason
    }

    package var description: String {
        let entries = indexes.map { "entries \($0.lowerBound)-\($0.upperBound)" } ?? "no entry"
        return "damaged log: \(file) at offset \(offset): \(reason); \(entries) lost"
    }
}

package enum LogReadError: Error, Hashable, Sendable {
    /// The entries asked for are no longer in the log; it starts at `firstIndex`.
    case compacted(firstIndex: LogIndex)
    case damaged(LogDamage)
    case disk(DiskError)
}

package enum LogOpenError: Error, Hashable, Sendable, CustomStringConvertible {
    case disk(DiskError)
    /// Synced bytes are damaged; nothing was changed on disk.
    case damaged([LogDamage])
    /// A segment of another cluster, generation or node.
    case foreign(file: String, reason: String)
    /// Written by a newer release.
    case newerFormat(file: String, reason: String)

    package var description: String {
        switch self {
        case .disk(let error): error.description
        case .damaged(let damages): damages.map(\.description).joined(separator: "\n")
        case .foreign(let file, let reason): "\(file) does not belong to this node: \(reason)"
        case .newerFormat(let file, let reason): "\(file) was written by a newer release: \(reason)"
        }
    }
}

/// What opening the log has found.
package struct RecoveryReport: Hashable, Sendable {
    /// There was no log; an empty one was made.
    package var isNew = false
    /// A write that a crash interrupted, never acknowledged, was cut off here.
    package var tornTail: LogDamage?
    /// Damage to synced bytes; entries that a later repair brought back are listed too.
    package var damages: [LogDamage] = []
    /// False when it is not known what this node has promised last: it must not vote, and comes back as a new member.
    package var promisesAreKnown = true
    package var bytesVerified = 0

    package init() {}
}
