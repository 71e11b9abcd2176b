package import Basics

/// What applying a range of log entries brought: the answers, and what the rest of the node must know.
package struct ApplyReport: Sendable {
    /// The entries applied.
    package var range: ClosedRange<LogIndex>
    /// Reply bodies of all entries, back to back.
    package var replyBytes: [UInt8] = []
    /// Where each entry's reply ends in `replyBytes`; it begins where the one before ends. One for each entry of
    /// `range`; an entry that nobody waits for has an empty reply.
    package var replyEnds: [Int] = []
    package var sessionsOpened: [OpenSession] = []
    package var sessionsEnded: [SessionID] = []
    /// An expiry named them, but what they own is more than one entry ends: they are open still, and due.
    package var sessionsKept: [SessionID] = []
    /// Cluster time at which something is due that nobody will ask for: the leader logs a tick then.
    package var nextTimer: ClusterTime?
    /// After the last entry, below the delete floor there are tombstones left: the leader logs an entry for the next part.
    package var tombstoneSweep: TombstoneSweep?
    /// The rolling digest at each multiple of `Limits.digestInterval` in the range.
    package var digests: [IndexedDigest] = []
    /// Verdicts that concern this node's state.
    package var digestFindings: [DigestFinding] = []
    /// The newest one, when an entry of the range changed it.
    package var membership: Membership?
    /// Members that told something new of themselves.
    package var memberInfo: [MemberInfo] = []
    /// The cluster's, after the last entry.
    package var featureLevel = FeatureLevel.first
    /// Cluster time of the last entry.
    package var time: ClusterTime = .zero

    package init(range: ClosedRange<LogIndex>) { self.range = range }

    /// Takes in the report of the entries right after these.
    package mutating func append(_ next: ApplyReport) {
        invariant(next.range.lowerBound == range.upperBound.next, "\(next.range) applied after \(range)")
        range = range.lowerBound...next.range.upperBound
        let size = replyBytes.count
        replyBytes += next.replyBytes
        replyEnds += next.replyEnds.map { $0 + size }
        sessionsOpened += next.sessionsOpened
        sessionsEnded += next.sessionsEnded
        sessionsKept += next.sessionsKept
        nextTimer = next.nextTimer
        tombstoneSweep = next.tombstoneSweep
        digests += next.digests
        digestFindings += next.digestFindings
        membership = next.membership ?? membership
        memberInfo += next.memberInfo
        featureLevel = next.featureLevel
        time = next.time
    }

    /// The reply of the entry at `index`, as a range of `replyBytes`.
    package func reply(at index: LogIndex) -> Range<Int> {
        invariant(range.contains(index), "entry \(index) is not in \(range)")
        let position = index.distance(after: range.lowerBound)
        return (position == 0 ? 0 : replyEnds[position - 1])..<replyEnds[position]
    }
}

/// How far the tombstones at or below the delete floor are removed.
package struct TombstoneSweep: Hashable, Sendable {
    /// The delete floor when it began with the first key; it may have risen since.
    package var floor: LogIndex
    /// The key with which the next part begins; empty: the first.
    package var next: [UInt8]

    package init(floor: LogIndex, next: [UInt8]) {
        self.floor = floor
        self.next = next
    }
}

/// The state's rolling digest once everything through `index` was applied.
package struct IndexedDigest: Hashable, Sendable {
    package var index: LogIndex
    package var digest: UInt64

    package init(index: LogIndex, digest: UInt64) {
        self.index = index
        self.digest = digest
    }
}

package enum DigestFinding: Hashable, Sendable {
    /// This node's state is not that of the majority: it must not be served from, and is to be rebuilt.
    case ownStateDiffers(index: LogIndex, own: UInt64, majority: UInt64)
    /// No value is shared by more than half of the voters.
    case noMajority(index: LogIndex)
}
