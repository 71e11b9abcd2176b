internal import Basics
internal import Wire

/// What a node's newest scrub has read and found.
public struct ScrubReport: Hashable, Sendable {
    public enum State: String, Hashable, Sendable {
        /// None since the node was started.
        case never
        case running, ended
        /// It did not come to its end.
        case stopped
    }

    /// Bytes that are not what was written.
    public struct Damage: Hashable, Sendable {
        public enum Outcome: String, Hashable, Sendable {
            case repairing, repaired
            /// Nobody has what was there, and it is needed.
            case standing
            /// Nothing was lost by it.
            case harmless
            /// Nobody has it, and the node does not need it: its log begins behind it.
            case letGo
        }
        public var file: String
        public var offset: UInt64?
        /// Entries of the log that it took.
        public var entries: ClosedRange<UInt64>?
        public var reason: String
        public var outcome: Outcome
    }

    /// False: the request to start was not followed, because one that a client asked for is under way.
    public var isAccepted: Bool
    public var state: State
    /// In nanoseconds since 1970.
    public var startedAt: UInt64
    public var endedAt: UInt64
    public var byteCount: UInt64
    /// About how many it will be in the end.
    public var byteCountExpected: UInt64
    public var recordCount: UInt64
    public var rowCount: UInt64
    /// SHA-256 over the rows that all nodes have alike, as they were at `digestRevision`; nil when they could not all be
    /// read, or have not been yet.
    public var contentDigest: [UInt8]?
    public var digestRevision: UInt64
    /// All that were found; `damages` lists the first ones.
    public var damageCount: Int
    public var damages: [Damage]
}

extension ScrubReport {
    init(_ report: Wire.ScrubReport) {
        let state: State =
            switch report.state {
            case .never: .never
            case .running: .running
            case .ended: .ended
            case .stopped: .stopped
            }
        self.init(
            isAccepted: report.isAccepted, state: state, startedAt: report.startedAt.nanoseconds,
            endedAt: report.endedAt.nanoseconds, byteCount: report.byteCount,
            byteCountExpected: report.byteCountExpected, recordCount: report.recordCount, rowCount: report.rowCount,
            contentDigest: report.contentDigest.isEmpty ? nil : report.contentDigest,
            digestRevision: report.digestAt.rawValue, damageCount: Int(report.damageCount),
            damages: report.damages.map(Damage.init))
    }
}

extension ScrubReport.Damage {
    init(_ damage: ScrubDamage) {
        let outcome: Outcome =
            switch damage.outcome {
            case .repairing: .repairing
            case .repaired: .repaired
            case .standing: .standing
            case .harmless: .harmless
            case .letGo: .letGo
            }
        let (first, last) = (damage.firstIndex.rawValue, damage.lastIndex.rawValue)
        self.init(
            file: damage.file, offset: damage.offset, entries: first > 0 && first <= last ? first...last : nil,
            reason: damage.reason, outcome: outcome)
    }
}
