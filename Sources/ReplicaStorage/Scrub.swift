internal import Basics
package import LogStore
internal import MetadataMachine
package import ReplicaCore
internal import Snapshots
package import StateEngine

/// Reads every byte that a node keeps, in bounded pieces: small files, the rows past every cache, the log, the snapshots.
/// Whoever drives it paces it; it decides nothing about what it finds.
package final class Scrub {
    package enum Part: Int, Hashable, Sendable, Comparable {
        case files, rows, log, snapshots, over

        package static func < (left: Part, right: Part) -> Bool { left.rawValue < right.rawValue }
    }

    package struct Step: Sendable {
        package var byteCount = 0
        package var findings: [ScrubFinding] = []

        package init() {}
    }

    package private(set) var part = Part.files
    package private(set) var progress = ScrubProgress()
    private let log: SegmentedLog
    private var files: [ScrubbedFile]
    private var rows: (any StoredRows)?
    private var digester = RowDigester(ranges: Keyspace.carried)
    private var areRowsWhole = true
    private var applied = LogIndex.zero
    private var logWalk = LogScrub()
    private var snapshotWalk = SnapshotScrub()

    /// - Parameter byteCountExpected: about how much there is to be read besides the log.
    package init(log: SegmentedLog, files: [ScrubbedFile], byteCountExpected: UInt64) {
        self.log = log
        self.files = files
        progress.byteCountExpected = byteCountExpected + UInt64(log.byteCount)
    }

    /// To be called in part `rows`, before its first step.
    package func setRows(_ rows: any StoredRows) { self.rows = rows }

    /// The rows cannot be opened to be read, or not be read on: what is damaged, if anything is.
    package func rowsFailed(_ error: EngineError, file: String) -> [ScrubFinding] {
        leaveRows()
        if case .corrupt(let reason) = error { return [ScrubFinding(.state, file: file, offset: nil, reason: reason)] }
        return [ScrubFinding(.file(isRepaired: false), file: file, offset: nil, reason: "not read: \(error)")]
    }

    /// There is another state now; what is read of the old one tells nothing any more.
    package func leaveRows() {
        rows = nil
        areRowsWhole = false
        if part <= .rows { part = .log }
    }

    /// Reads on, about `bytesMax` bytes, in any part but `snapshots`.
    package func step(bytesMax: Int) -> Step {
        var step = Step()
        switch part {
        case .files: readFile(&step)
        case .rows: readRows(bytesMax, &step)
        case .log: readLog(bytesMax, &step)
        case .snapshots, .over: break
        }
        progress.byteCount += UInt64(step.byteCount)
        return step
    }

    /// Reads on in part `snapshots`; on the thread that owns `keeper`.
    package func step(over keeper: SnapshotKeeper) -> Step {
        var step = Step()
        do throws(SnapshotKeeperError) {
            guard let found = try keeper.scrub(&snapshotWalk) else {
                part = .over
                return step
            }
            step.byteCount = found.byteCount
            if let (file, reason) = found.damage {
                step.findings.append(ScrubFinding(.snapshot(last: found.last), file: file, offset: nil, reason: reason))
            }
        } catch {
            part = .over
            step.findings.append(
                ScrubFinding(.file(isRepaired: false), file: "snapshots", offset: nil, reason: "not read: \(error)"))
        }
        progress.byteCount += UInt64(step.byteCount)
        return step
    }

    private func readFile(_ step: inout Step) {
        guard let file = files.popLast() else {
            part = .rows
            return
        }
        let (byteCount, reason) = file.check()
        step.byteCount = byteCount
        guard let reason else { return }
        step.findings.append(
            ScrubFinding(.file(isRepaired: file.restore()), file: file.path, offset: nil, reason: reason))
    }

    private func readRows(_ bytesMax: Int, _ step: inout Step) {
        guard let rows else { return leaveRows() }
        var findings: [ScrubFinding] = []
        var size = 0
        do throws(EngineError) {
            let hasMore = try rows.read(bytesMax: bytesMax) { key, value in
                size += key.byteCount + value.byteCount
                progress.rowCount += 1
                digester.add(key, value)
                do throws(DecodeError) {
                    if case .applied(let found) = try StoredRow(key: key, value: value) { applied = found.last.index }
                } catch {
                    let name = "row of \(key.byteCount) bytes of key"
                    findings.append(ScrubFinding(.state, file: "state", offset: nil, reason: "\(name): \(error)"))
                }
            } damaged: { damage in
                findings.append(
                    ScrubFinding(.state, file: damage.file, offset: damage.offset, reason: damage.reason))
            }
            step.byteCount = size
            if !findings.isEmpty { areRowsWhole = false }
            if !hasMore { endRows() }
        } catch {
            findings += rowsFailed(error, file: "state")
        }
        step.findings += findings
    }

    private func endRows() {
        rows = nil
        part = .log
        guard areRowsWhole else { return }
        progress.digestAt = applied
        progress.contentDigest = digester.finish().bytes
    }

    private func readLog(_ bytesMax: Int, _ step: inout Step) {
        let before = logWalk.byteCount
        guard let damages = log.scrub(&logWalk, bytesMax: bytesMax) else {
            part = .snapshots
            return
        }
        step.byteCount = logWalk.byteCount - before
        progress.recordCount = UInt64(logWalk.recordCount)
        step.findings += damages.map { damage in
            ScrubFinding(
                .log(damage.indexes), file: damage.file, offset: UInt64(clamping: damage.offset), reason: damage.reason)
        }
    }
}

/// A small file whose content the running node knows.
package struct ScrubbedFile {
    package var path: String
    /// What is wrong with it, after how many bytes; nil: nothing, or it is not there and need not be.
    package var check: () -> (byteCount: Int, reason: String?)
    /// Writes it anew; false: that was not possible.
    package var restore: () -> Bool

    package init(
        path: String, check: @escaping () -> (byteCount: Int, reason: String?), restore: @escaping () -> Bool
    ) {
        self.path = path
        self.check = check
        self.restore = restore
    }
}
