package import Basics
package import Disk
package import LogFormat
package import RaftCore

/// The log of a stopped node, looked at and not changed: every header and every record has been verified.
package struct LogInspection: Sendable {
    /// What verification has found. Damage that a later repair made good is listed too; see `isLost`.
    package let report: RecoveryReport
    /// As a start would open it, with its files open for reading only. Nil when there is no log.
    private let log: SegmentedLog?

    /// Reads the files once, a batch at a time.
    package init(
        fileSystem: any FileSystem, directory: String, salt: UInt32, nodeID: NodeID
    ) throws(LogOpenError) {
        do throws(RecoveryStop) {
            var recovery = Recovery(
                fileSystem: fileSystem, directory: directory, salt: salt, nodeID: nodeID, settings: LogSettings(),
                verifyFrom: .zero, mode: .readOnly)
            try recovery.findSegments()
            try recovery.walk()
            log = try recovery.inspect().map { opened in
                SegmentedLog(
                    fileSystem: fileSystem, directory: directory, salt: salt, nodeID: nodeID, settings: LogSettings(),
                    opened: opened)
            }
            report = recovery.report
        } catch {
            throw error.reason
        }
    }

    package var isEmpty: Bool { log == nil }
    package var firstIndex: LogIndex { log?.firstIndex ?? LogIndex(1) }
    package var last: EntryID { log?.last ?? .zero }
    package var previous: EntryID { log?.previous ?? .zero }
    package var configurations: [ConfigurationEntry] { log?.configurations ?? [] }
    package var hardState: HardState { log?.hardState ?? .initial }
    package var currentTerm: Term { log?.hardState.currentTerm ?? .zero }
    /// Entries that were promised and cannot be read.
    package var faultyRanges: [ClosedRange<LogIndex>] { log?.faultyRanges ?? [] }

    /// Also of an entry that cannot be read, where a header tells it.
    package func knownTerm(at index: LogIndex) -> Term? { log?.knownTerm(at: index) }
    package func anchor(of range: ClosedRange<LogIndex>) -> EntryID { log?.anchor(of: range) ?? .zero }

    /// Whether entries that this damage took are still missing, or nobody can tell. Not so where no entry was lost or a
    /// repair has brought back those that were.
    package func isLost(_ damage: LogDamage) -> Bool {
        guard let indexes = damage.indexes else { return !report.promisesAreKnown }
        return faultyRanges.contains { $0.overlaps(indexes) }
    }

    /// Hands over the readable entries of `range`, in order, a slab at a time; what cannot be read is left out.
    package func forEachSlab(
        in range: ClosedRange<LogIndex>, _ body: (Slab) throws -> Void
    ) throws {
        guard let log, range.upperBound >= log.firstIndex, range.lowerBound <= log.lastIndex else { return }
        var next = max(range.lowerBound, log.firstIndex)
        let last = min(range.upperBound, log.lastIndex)
        while next <= last {
            if let faulty = faultyRanges.first(where: { $0.contains(next) }) {
                next = faulty.upperBound.next
                continue
            }
            let slabs = try log.read(from: next, through: last, bytesMax: Limits.slabSizeMax)
            guard let end = slabs.last?.lastIndex else { return }
            for slab in slabs { try body(slab) }
            next = end.next
        }
    }
}
