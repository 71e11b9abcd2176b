import Basics
import Disk
import LogFormat
import LogStore
import RaftCore
import Testing

/// A log that is only looked at.
@Suite struct InspectionTests {
    private func sealedLog(_ count: UInt64) throws -> MemoryDisk {
        let disk = MemoryDisk()
        let (log, _) = try open(disk)
        for first in 1...count { try log.append([task(slab(first, payloadSize: 100), term: 2, vote: 5)]) }
        try log.seal()
        return disk
    }

    private func inspect(_ disk: MemoryDisk) throws -> LogInspection {
        try LogInspection(fileSystem: disk, directory: directory, salt: salt, nodeID: node)
    }

    private func contents(_ log: LogInspection) throws -> [UInt64: UInt64] {
        var found: [UInt64: UInt64] = [:]
        try log.forEachSlab(in: LogIndex(1)...LogIndex(1_000)) { slab in
            for index in slab.firstIndex.rawValue...slab.lastIndex.rawValue {
                let bytes = [UInt8](slab.record(at: LogIndex(index)).payload)
                #expect(bytes == payload(index, term: slab.term.rawValue, size: bytes.count))
                found[index] = slab.term.rawValue
            }
        }
        return found
    }

    @Test("a flipped bit anywhere in a sealed log is named or harmless, and looking at it changes nothing")
    func everyByte() throws {
        let count: UInt64 = 22
        let disk = try sealedLog(count)
        for path in disk.segments {
            for offset in 0..<disk.end(of: path) where offset < 140 || offset >= 4_090 {
                disk.names[path]!.bytes[offset] ^= UInt8(1 << (offset & 7))
                let effects = disk.effectCount
                let log = try inspect(disk)
                let found = try contents(log)
                #expect(disk.effectCount == effects)
                if found != entries(1...count) || !log.report.promisesAreKnown {
                    #expect(
                        log.report.damages.contains { log.isLost($0) && disk.names[$0.file] != nil },
                        "\(path) \(offset)")
                    for (index, term) in found { #expect(index <= count && term == 1) }
                }
                disk.names[path]!.bytes[offset] ^= UInt8(1 << (offset & 7))
            }
        }
    }

    @Test("damage in an old segment, which a start would not read, is found")
    func oldSegment() throws {
        let disk = try sealedLog(60)
        let path = disk.segments[0]
        disk.names[path]!.bytes[5_000] ^= 1
        #expect(try open(disk.copy(), verifyFrom: LogIndex(60)).report.damages.isEmpty)
        let log = try inspect(disk)
        let damage = try #require(log.report.damages.first)
        #expect(damage.file == path && log.isLost(damage) && log.last.index == LogIndex(60))
    }

    @Test("what a repair has brought back is listed and not lost")
    func repaired() throws {
        let disk = try sealedLog(60)
        disk.names[disk.segments[1]] = nil
        let log = try open(disk, acceptingDamage: true).log
        let faulty = try #require(log.faultyRanges.first)
        let whole = slab(faulty.lowerBound.rawValue, count: faulty.entryCount, payloadSize: 100)
        #expect(try log.repair(whole))
        try log.seal()
        let seen = try inspect(disk)
        #expect(!seen.report.damages.isEmpty && !seen.report.damages.contains { seen.isLost($0) })
        #expect(try contents(seen) == entries(1...60))
    }

    @Test("a write that a crash interrupted is told from damage, and stays where it is")
    func tornTail() throws {
        let disk = MemoryDisk()
        try open(disk).log.append([task(slab(1, count: 2))])
        let path = disk.segments[0]
        disk.names[path]!.bytes[disk.end(of: path) - 10] ^= 1
        let before = disk.names[path]!.bytes
        let log = try inspect(disk)
        #expect(log.report.tornTail != nil && log.report.damages.isEmpty && log.last.index == .zero)
        #expect(disk.names[path]!.bytes == before)
    }

    @Test("where no log is, none is made")
    func nothing() throws {
        let disk = MemoryDisk()
        #expect(try inspect(disk).isEmpty)
        #expect(disk.names.isEmpty)
    }
}
