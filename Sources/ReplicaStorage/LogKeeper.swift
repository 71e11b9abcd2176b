package import Basics
package import Disk
package import LogFormat
package import LogStore
package import ReplicaCore

/// The log's side of a node: carries out what the replica asks of the log. Blocking; on the log thread, `read` on any.
package struct LogKeeper: Sendable {
    package let log: SegmentedLog

    package init(_ log: SegmentedLog) { self.log = log }

    /// One sync for all writes. `.noSpace` leaves the log as it was; every other error is final.
    package func perform(_ work: LogWork) throws(DiskError) {
        try log.append(
            work.writes.map {
                LogTask(hardState: $0.hardState, truncateAfter: $0.truncateAfter, slab: $0.slab)
            })
    }

    /// Empty when the log no longer holds the first entry.
    package func perform(_ read: LogRead) throws(LogReadError) -> [Slab] {
        do throws(LogReadError) {
            let last = min(read.range.upperBound, log.lastIndex)
            guard read.range.lowerBound <= last else { return [] }
            return try log.read(from: read.range.lowerBound, through: last, bytesMax: read.byteCountMax)
        } catch {
            if case .compacted = error { return [] }
            throw error
        }
    }

    /// Drops whole segments that nobody needs: at or below `floor`, except the newest `retention.bytes` of the log unless
    /// they are older than `retention.age`; more when the log would pass `retention.bytesMax`.
    /// - Parameter letGo: damaged entries through here are done without. The segments that hold some are dropped as soon as
    ///   that is possible, whatever else would be kept of them: the next start would miss what is damaged.
    /// - Returns: the first index that is left.
    package func compact(
        through floor: LogIndex, _ retention: LogRetention, time: ClusterTime, letGo: LogIndex = .zero
    ) throws(DiskError) -> LogIndex {
        if log.faultyRanges.contains(where: { $0.upperBound <= letGo }) {
            if floor >= log.firstIndex { try log.compact(through: floor) }
            return log.firstIndex
        }
        let target = min(floor, retained(retention, time))
        if target >= log.firstIndex { try log.compact(through: target) }
        return log.firstIndex
    }

    /// Whether segments could go through `floor` that stay only because the state is not durable beyond `durable`.
    package func waitsForFlush(
        beyond durable: LogIndex, through floor: LogIndex, _ retention: LogRetention, time: ClusterTime
    ) -> Bool {
        let target = min(floor, retained(retention, time))
        return target > durable && log.droppableCount(through: target) > log.droppableCount(through: durable)
    }

    /// The end of what is not retained.
    private func retained(_ retention: LogRetention, _ time: ClusterTime) -> LogIndex {
        log.floor(keepingBytes: retention.bytes, youngerThan: retention.oldest(at: time))
    }
}

/// How much of the log is kept beyond what replication needs, as the change feed.
package struct LogRetention: Hashable, Sendable {
    package var bytes = 96 * 1_024 * 1_024
    package var age = Interval.seconds(24 * 3_600)

    package init() {}

    package init(bytes: Int, age: Interval) {
        self.bytes = bytes
        self.age = age
    }

    func oldest(at time: ClusterTime) -> ClusterTime {
        ClusterTime(nanoseconds: time.nanoseconds - min(time.nanoseconds, UInt64(age.nanoseconds)))
    }
}
