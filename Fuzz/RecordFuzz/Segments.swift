internal import Basics
internal import Disk
internal import FuzzSupport
internal import LogFormat
internal import LogStore
internal import RaftCore

/// A log that opens can be read to its end, or says where it is damaged; and it opens again. One in which nothing was
/// cut or damaged has the same promises then; of another that was forged, headers may say what no writer would.
let segments = Decoder("segments", seeds: { SegmentInput.seeds }, repair: { SegmentInput.repaired($0) }) { bytes in
    var isOpened = false
    let files = SegmentInput.files(from: bytes)
    guard !files.isEmpty else { return false }
    for acceptingDamage in [false, true] {
        let disk = MemoryDisk()
        for file in files { disk.put(file.path, file.bytes) }
        guard let (log, report) = try? SegmentInput.open(disk, acceptingDamage: acceptingDamage) else { continue }
        isOpened = true
        if log.firstIndex <= log.lastIndex {
            _ = try? log.read(from: log.firstIndex, through: log.lastIndex, bytesMax: 1 << 20)
        }
        let again: SegmentedLog
        do {
            again = try SegmentInput.open(disk, acceptingDamage: acceptingDamage).log
        } catch {
            fail("a log that was opened does not open again: \(error); at first: \(report)")
        }
        guard report.damages.isEmpty, report.tornTail == nil else { continue }
        check(again.last == log.last && again.previous == log.previous, "\(log.last) became \(again.last)")
        check(again.hardState == log.hardState, "\(log.hardState) became \(again.hardState)")
    }
    return isOpened
}
