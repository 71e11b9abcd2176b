internal import Basics
internal import Disk
internal import MetadataModel
internal import ReplicaStorage

/// Everything that a stopped node keeps, read to its last byte.
package struct OfflineScrubReport: Sendable {
    package var entries: UInt64 = 0
    package var rows: UInt64 = 0
    package var snapshotBytes: UInt64 = 0
    package var damages: [OfflineDamage] = []
}

extension StoppedNode {
    /// - Throws: `OfflineError` where the directory cannot be looked at.
    package func scrub() throws -> OfflineScrubReport {
        var report = OfflineScrubReport()
        let log = try readLog(in: LogIndex(1)...LogIndex(Limits.logNumberMax)) { _ in report.entries += 1 }
        report.damages += log.damages
        if try liveStatePath() != nil {
            let rows = try readRows(prefix: []) { _ in }
            report.rows = rows.records + rows.tombstones + rows.systemRows
            report.damages += rows.damages
        }
        for file in KnownFiles.all(of: identity, in: directory, on: fileSystem) {
            if let reason = file.value.check().reason { report.add(file.value.path, reason) }
        }
        try readSnapshots(&report)
        return report
    }

    private func readSnapshots(_ report: inout OfflineScrubReport) throws {
        guard try fileSystem.exists("\(directory)/snapshots") else { return }
        let keeper = try SnapshotKeeper(fileSystem: fileSystem, dataDirectory: directory, cluster: cluster)
        var walk = SnapshotScrub()
        while let step = try keeper.scrub(&walk) {
            report.snapshotBytes += UInt64(step.byteCount)
            if let (file, reason) = step.damage { report.add(file, reason) }
        }
    }
}

extension OfflineScrubReport {
    fileprivate mutating func add(_ file: String, _ reason: String) {
        damages.append(OfflineDamage(file: file, offset: nil, reason: reason, entries: nil, isRepaired: false))
    }
}
