internal import Basics
internal import MetadataModel
internal import RaftCore
package import Wire

/// A scrub reads every byte that this node keeps. The threads behind the node read; here it is decided when one may begin,
/// and what becomes of what it finds.
extension Replica {
    mutating func scrub(_ request: ScrubRequest, slot: ConnectionSlot, requestID: UInt64) {
        var isAccepted = true
        switch request.action {
        case .look: break
        case .start:
            isAccepted = !scrubs.isRunning || !scrubs.report.isByClient
            if isAccepted { beginScrub(isByClient: true, rate: request.rate, digestAt: request.digestAt) }
        case .stop:
            if scrubs.isRunning { effects.scrubs.append(.stop) }
        }
        var report = scrubReport
        report.isAccepted = isAccepted
        answer(slot, requestID, .scrub(ScrubReply(revision: appliedIndex, report: report)))
    }

    /// It is time for one that nobody has asked for. While the node rebuilds its state, or its disk is full, which reading
    /// the rows would fill further, it waits.
    package mutating func scrubIsDue() {
        guard !scrubs.isRunning, !isQuarantined, !isStopping, !isDiskLow else { return }
        beginScrub(isByClient: false, rate: 0, digestAt: .zero)
    }

    private mutating func beginScrub(isByClient: Bool, rate: UInt64, digestAt: LogIndex) {
        if scrubs.isRunning { effects.scrubs.append(.stop) }
        let number = scrubs.begin(isByClient: isByClient, at: wall)
        effects.scrubs.append(
            .start(ScrubPlan(number: number, isByClient: isByClient, rate: rate, digestAt: digestAt)))
    }

    // MARK: - What the threads report

    package mutating func scrubAdvanced(_ number: UInt64, _ progress: ScrubProgress) {
        guard number == scrubs.number, scrubs.isRunning else { return }
        scrubs.bytesRead += progress.byteCount - min(progress.byteCount, scrubs.report.byteCount)
        scrubs.report.byteCount = progress.byteCount
        scrubs.report.byteCountExpected = max(progress.byteCountExpected, progress.byteCount)
        scrubs.report.recordCount = progress.recordCount
        scrubs.report.rowCount = progress.rowCount
        scrubs.report.digestAt = progress.digestAt
        scrubs.report.contentDigest = progress.contentDigest
    }

    /// - Returns: false when only a start can set it right: then the shell stops the node.
    package mutating func scrubFound(_ number: UInt64, _ finding: ScrubFinding) -> Bool {
        scrubs.damagesFound += 1
        if number == scrubs.number {
            scrubs.report.damageCount += 1
            if scrubs.found.count < ScrubReport.damagesMax {
                scrubs.found.append(ScrubBook.Found(finding: finding, snapshotsBuilt: snapshotsBuilt))
            }
        }
        switch finding.kind {
        case .log(let range?): return logDamaged(range, reason: "log: \(finding.text)")
        case .log(nil): raise(.damage, "log: \(finding.text); nothing is lost by it")
        case .state: stateDamaged(reason: finding.text, isUsable: true)
        case .snapshot(let last): snapshotDamaged(last, reason: finding.text)
        case .file(let isRepaired): raise(.damage, "\(finding.text)\(isRepaired ? "; written anew" : "")")
        }
        return true
    }

    package mutating func scrubEnded(_ number: UInt64, isComplete: Bool) {
        guard number == scrubs.number, scrubs.isRunning else { return }
        scrubs.report.state = isComplete ? .ended : .stopped
        scrubs.report.endedAt = wall
        if isComplete { scrubs.completed += 1 }
        effects.notices.append(.scrubEnded(scrubReport))
    }

    /// Another is made in its place, of the state as it is now; making it removes those before it.
    private mutating func snapshotDamaged(_ last: EntryID?, reason: String) {
        raise(.damage, "snapshot: \(reason)")
        effects.notices.append(.snapshotDamaged(reason: reason))
        if last == nil || snapshots.built?.last == last { snapshots.built = nil }
        offerSnapshot()
    }

    // MARK: - What is told

    package var scrubReport: ScrubReport {
        var report = scrubs.report
        report.damages = scrubs.found.map { found in
            var damage = ScrubDamage(
                file: found.finding.file, offset: found.finding.offset, reason: found.finding.reason,
                outcome: outcome(of: found))
            if case .log(let range?) = found.finding.kind {
                damage.firstIndex = range.lowerBound
                damage.lastIndex = range.upperBound
            }
            return damage
        }
        return report
    }

    private func outcome(of found: ScrubBook.Found) -> ScrubDamage.Outcome {
        switch found.finding.kind {
        case .log(nil): return .harmless
        case .log(let range?):
            if mending.overlaps(range) { return .repairing }
            return mending.letGo.contains { $0.overlaps(range) } ? .letGo : .repaired
        case .state:
            if servesDamagedRows { return .standing }
            return isQuarantined ? .repairing : .repaired
        case .snapshot: return snapshotsBuilt > found.snapshotsBuilt ? .repaired : .repairing
        case .file(let isRepaired): return isRepaired ? .repaired : .standing
        }
    }
}
