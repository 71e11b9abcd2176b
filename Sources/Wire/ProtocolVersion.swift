/// Versions of the protocol. Two sides speak the highest one that both know; it says which kinds and fields they may
/// use, while the frame's own version only says how a frame is laid out.
package enum ProtocolVersion {
    package static let supported: ClosedRange<UInt16> = 1...1

    /// The version to speak with someone who knows `offered`; nil when there is none.
    package static func chosen(from offered: ClosedRange<UInt16>) -> UInt16? {
        guard offered.overlaps(supported) else { return nil }
        return min(offered.upperBound, supported.upperBound)
    }
}

/// Whether a node can do its work. Numbers are forever.
package enum NodeState: UInt8, Hashable, Sendable, CaseIterable {
    case ok = 0
    /// Its state differs from that of the majority: it votes and stores, but serves nothing until it is rebuilt.
    case quarantined = 1
    /// Damaged log entries are being fetched again from peers.
    case repairing = 2
    /// Free space is below the reserve: it accepts no new entries.
    case diskLow = 3
    /// It belongs to no cluster yet.
    case waiting = 4
    /// It is about to stop.
    case stopping = 5
    /// It was a member, and is none any more.
    case removed = 6
    /// Its log lacks entries that it had acknowledged: it takes no part in elections until it has them again.
    case regressed = 7
}
