import Basics
import Disk
import LogFormat
import LogStore
import RaftCore
import Testing

/// The log of a running node, read to its last byte while it is written.
@Suite struct ScrubTests {
    private func log(_ count: UInt64 = 60) throws -> (MemoryDisk, SegmentedLog) {
        let disk = MemoryDisk()
        let (log, _) = try open(disk)
        for first in 1...count { try log.append([task(slab(first, payloadSize: 100), term: 2, vote: 5)]) }
        try log.seal()
        return (disk, log)
    }

    private func scrub(_ log: SegmentedLog, pieces: Int = 1_000) -> (damages: [LogDamage], walk: LogScrub) {
        var walk = LogScrub()
        var damages: [LogDamage] = []
        while let found = log.scrub(&walk, bytesMax: pieces) { damages += found }
        return (damages, walk)
    }

    private func repairAll(_ log: SegmentedLog) throws {
        for range in log.faultyRanges {
            #expect(try log.repair(slab(range.lowerBound.rawValue, count: range.entryCount, payloadSize: 100)))
        }
    }

    @Test("A sound log is read to its end, in pieces of any size")
    func soundLog() throws {
        let (disk, log) = try log()
        for pieces in [1, 200, 1_000, 100_000] {
            let (damages, walk) = scrub(log, pieces: pieces)
            #expect(damages.isEmpty && walk.recordCount == 60)
            let size = disk.segments.reduce(0) { $0 + disk.end(of: $1) }
            // All that was written but for the seal at the very end, padding aside.
            #expect(walk.byteCount > size - 1_000 && walk.byteCount < size + 8 * disk.segments.count)
        }
    }

    @Test("Any byte of a running log that is not what was written is found and repaired, or takes no entry")
    func everyByte() throws {
        let (sound, _) = try log(22)
        for path in sound.segments {
            for offset in 0..<sound.end(of: path) where offset < 140 || offset >= 4_090 {
                for change in 0..<2 where (offset + change) % 2 == 0 || offset < 4_400 {
                    let disk = sound.copy()
                    let (log, _) = try open(disk)
                    let before = disk.names[path]!.bytes[offset]
                    disk.names[path]!.bytes[offset] = change == 0 ? before ^ UInt8(1 << (offset & 7)) : 0
                    guard disk.names[path]!.bytes[offset] != before else { continue }
                    let (damages, _) = scrub(log)
                    let lost = damages.compactMap(\.indexes)
                    #expect(damages.allSatisfy { $0.file == path }, "\(path) byte \(offset)")
                    #expect(log.faultyRanges.reduce(0) { $0 + $1.entryCount } == lost.reduce(0) { $0 + $1.entryCount })
                    try repairAll(log)
                    #expect(try contents(log) == entries(1...22), "\(path) byte \(offset)")
                    #expect(scrub(log).damages.allSatisfy { $0.indexes == nil }, "\(path) byte \(offset)")
                    // It starts with what was repaired.
                    let (again, _) = try open(disk)
                    #expect(try contents(again) == entries(1...22), "\(path) byte \(offset)")
                }
            }
        }
    }

    @Test("Bytes that the disk does not give are damage to those entries alone, never the end of the log")
    func readErrors() throws {
        let (disk, log) = try log()
        let path = disk.segments[1]
        disk.badSectors[path] = 5_000..<5_001
        let (damages, walk) = scrub(log)
        #expect(!damages.isEmpty && damages.allSatisfy { $0.isUnread && $0.file == path })
        let lost = damages.compactMap(\.indexes).reduce(0) { $0 + $1.entryCount }
        #expect(lost > 0 && walk.recordCount + lost >= 60)
        try repairAll(log)
        #expect(try contents(log) == entries(1...60))
        #expect(scrub(log).damages.allSatisfy { $0.indexes == nil })
    }

    @Test(
        "The log is cut after an entry that cannot be read just now, which is repaired afterwards",
        arguments: [56, 58, 60] as [UInt64])
    func cutAmongDamage(kept: UInt64) throws {
        let (disk, log) = try log()
        let path = disk.segments.last!
        let end = disk.end(of: path)
        disk.badSectors[path] = 4_096..<end
        _ = scrub(log)
        let hole = try #require(log.faultyRanges.last)
        #expect(hole.lowerBound.rawValue <= 56 && hole.upperBound == LogIndex(60))
        disk.badSectors[path] = nil
        try log.append([task(slab(kept + 1, count: 2, term: 3, payloadSize: 100), term: 3, truncateAfter: kept)])
        #expect(log.faultyRanges == [hole.lowerBound...LogIndex(kept)])
        #expect(log.last == EntryID(term: Term(3), index: LogIndex(kept + 2)))
        #expect(log.knownTerm(at: LogIndex(kept)) == Term(1))
        try repairAll(log)
        let expected = entries(1...kept).merging(entries(kept + 1...kept + 2, term: 3)) { $1 }
        #expect(try contents(log) == expected)
        #expect(try contents(try open(disk).log) == expected)
    }

    @Test("What is appended, cut and compacted meanwhile is no damage")
    func changesMeanwhile() throws {
        let (_, log) = try log()
        var walk = LogScrub()
        var round: UInt64 = 0
        while let found = log.scrub(&walk, bytesMax: 300) {
            #expect(found.isEmpty)
            round += 1
            guard round < 100 else { continue }
            let next = log.lastIndex.rawValue + 1
            if round % 5 == 0 {
                try log.append([task(slab(next - 2, payloadSize: 100), term: 2, vote: 5, truncateAfter: next - 3)])
            } else {
                try log.append([task(slab(next, payloadSize: 100), term: 2, vote: 5)])
            }
            if round % 7 == 0 { try log.compact(through: LogIndex(round)) }
        }
        #expect(log.faultyRanges.isEmpty && round > 20)
    }

    @Test("Damage that a read has met is taken out of service where it still lies, and nowhere else")
    func takenOut() throws {
        let (_, log) = try log()
        let segment = log.directory + "/no such file"
        let elsewhere = LogDamage(file: segment, offset: 4_096, indexes: LogIndex(1)...LogIndex(5), reason: "")
        #expect(log.takeOut(elsewhere).isEmpty && log.faultyRanges.isEmpty)
    }
}
