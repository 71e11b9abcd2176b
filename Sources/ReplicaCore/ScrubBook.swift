package import Basics
internal import Wire

/// What a scrub has found to be damaged.
package struct ScrubFinding: Hashable, Sendable {
    package enum Kind: Hashable, Sendable {
        /// Entries of the log; nil: it took none.
        case log(ClosedRange<LogIndex>?)
        /// The rows.
        case state
        /// The snapshot that ends there; nil when that cannot be read.
        case snapshot(last: EntryID?)
        /// A small file, which the node knows by heart and has written anew; or could not.
        case file(isRepaired: Bool)
    }

    package var kind: Kind
    package var file: String
    package var offset: UInt64?
    package var reason: String

    package init(_ kind: Kind, file: String, offset: UInt64?, reason: String) {
        self.kind = kind
        self.file = file
        self.offset = offset
        self.reason = reason
    }

    var text: String { "\(file)\(offset.map { " at offset \($0)" } ?? ""): \(reason)" }
}

/// For the threads behind the node; `start` is answered with `scrubAdvanced` and `scrubFound` as it goes, and `scrubEnded`.
package enum ScrubOrder: Hashable, Sendable {
    case start(ScrubPlan)
    case stop
}

package struct ScrubPlan: Hashable, Sendable {
    /// Of all since the start of the process; what is reported of another one is late.
    package var number: UInt64
    package var isByClient: Bool
    /// Bytes a second; 0: as the node is set.
    package var rate: UInt64
    package var digestAt: LogIndex
}

package struct ScrubProgress: Hashable, Sendable {
    package var byteCount: UInt64 = 0
    package var byteCountExpected: UInt64 = 0
    package var recordCount: UInt64 = 0
    package var rowCount: UInt64 = 0
    package var digestAt = LogIndex.zero
    package var contentDigest: [UInt8] = []

    package init() {}
}

/// The newest scrub of this node.
package struct ScrubBook: Sendable {
    struct Found: Sendable {
        var finding: ScrubFinding
        /// Snapshots made until then.
        var snapshotsBuilt: UInt64
    }

    private(set) var number: UInt64 = 0
    var report = ScrubReport()
    var found: [Found] = []
    /// Since the start of the process.
    package var bytesRead: UInt64 = 0
    package var damagesFound: UInt64 = 0
    package var completed: UInt64 = 0

    package var isRunning: Bool { report.state == .running }

    mutating func begin(isByClient: Bool, at time: ClusterTime) -> UInt64 {
        number += 1
        report = ScrubReport()
        report.state = .running
        report.isByClient = isByClient
        report.startedAt = time
        found = []
        return number
    }
}
