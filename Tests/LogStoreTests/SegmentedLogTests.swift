import Basics
import Disk
import Dispatch
import Foundation
import LogFormat
import LogStore
import RaftCore
import Synchronization
import Testing

@Suite struct SegmentedLogTests {
    @Test("What was appended is read back, also after opening again")
    func roundTrip() throws {
        let disk = MemoryDisk()
        let (log, report) = try open(disk)
        #expect(report.isNew)
        #expect(log.lastIndex == .zero && log.firstIndex == LogIndex(1))
        try log.append([task(slab(1, count: 3)), task(slab(4, term: 2), term: 2, vote: 9)])
        #expect(try contents(log) == entries(1...3).merging([4: 2]) { $1 })
        let (again, second) = try open(disk)
        #expect(!second.isNew && second.damages.isEmpty && second.tornTail == nil)
        #expect(try contents(again) == entries(1...3).merging([4: 2]) { $1 })
        #expect(again.last == EntryID(term: Term(2), index: LogIndex(4)))
        #expect(again.hardState == HardState(currentTerm: Term(2), votedFor: NodeID(9)))
        let runs = [
            TermRun(term: Term(1), firstIndex: LogIndex(1)), TermRun(term: Term(2), firstIndex: LogIndex(4)),
        ]
        #expect(again.termRuns == runs && log.termRuns == runs)
    }

    @Test("Many tasks cost one write and one sync")
    func groupCommit() throws {
        let disk = MemoryDisk()
        let (log, _) = try open(disk, settings: smallSettings(64 * 1_024))
        let (syncs, writes) = (disk.syncCount, disk.writeCount)
        try log.append((0..<50).map { task(slab(1 + $0 * 2, count: 2)) })
        #expect(disk.syncCount == syncs + 1 && disk.writeCount == writes + 1)
        #expect(try contents(log) == entries(1...100))
    }

    @Test("A vote without entries survives")
    func hardStateAlone() throws {
        let disk = MemoryDisk()
        let (log, _) = try open(disk)
        try log.append([task(nil, term: 5, vote: 3)])
        #expect(try open(disk).log.hardState == HardState(currentTerm: Term(5), votedFor: NodeID(3)))
        try log.append([task(nil, term: 6)])
        #expect(try open(disk).log.hardState == HardState(currentTerm: Term(6), votedFor: nil))
    }

    @Test("§5.3: a conflicting suffix is cut and written anew")
    func truncateAndRewrite() throws {
        let disk = MemoryDisk()
        let (log, _) = try open(disk)
        try log.append([task(slab(1, count: 10))])
        try log.append([task(slab(7, count: 2, term: 2), term: 2, truncateAfter: 6)])
        try log.append([task(slab(8, count: 4, term: 3), term: 3, truncateAfter: 7), task(slab(12, term: 3), term: 3)])
        let expected = entries(1...6).merging([7: 2]) { $1 }.merging(entries(8...12, term: 3)) { $1 }
        #expect(try contents(log) == expected)
        let again = try open(disk).log
        #expect(try contents(again) == expected)
        #expect(again.term(at: LogIndex(7)) == Term(2) && again.term(at: LogIndex(13)) == nil)
        try again.append([task(nil, term: 4, truncateAfter: 0)])
        #expect(again.last == .zero)
        #expect(try open(disk).log.last == .zero)
    }

    @Test("A log of many segments reads as one")
    func rolling() throws {
        let disk = MemoryDisk()
        let (log, _) = try open(disk)
        for first in 1...200 { try log.append([task(slab(UInt64(first), payloadSize: 100))]) }
        #expect(disk.segments.count > 10)
        #expect(try contents(log) == entries(1...200))
        #expect(try contents(try open(disk, verifyFrom: LogIndex(190)).log) == entries(1...200))
    }

    @Test("One append may span segments, and a batch larger than a segment gets its own")
    func oversized() throws {
        let disk = MemoryDisk()
        let (log, _) = try open(disk)
        try log.append([
            task(slab(1, count: 10, payloadSize: 100)), task(slab(11, count: 3, payloadSize: 20_000)),
            task(slab(14, count: 20, payloadSize: 100)), task(slab(34, count: 20, payloadSize: 100)),
        ])
        #expect(try contents(log) == entries(1...53))
        #expect(try contents(try open(disk).log) == entries(1...53))
    }

    @Test("Configuration entries are found again, and those that were cut are not")
    func configurations() throws {
        let disk = MemoryDisk()
        let (log, _) = try open(disk)
        try log.append([task(slab(1, count: 2)), task(slab(3, type: .configuration))])
        for first in 4...60 { try log.append([task(slab(UInt64(first), payloadSize: 100))]) }
        try log.append([task(slab(61, type: .configuration))])
        let both = [3, 61].map { ConfigurationEntry(index: LogIndex($0), payload: payload($0, term: 1)) }
        #expect(log.configurations == both)
        #expect(try open(disk, verifyFrom: LogIndex(61)).log.configurations == both)
        try log.append([task(slab(61, term: 2), term: 2, truncateAfter: 60)])
        #expect(log.configurations == [both[0]])
        #expect(try open(disk).log.configurations == [both[0]])
    }

    @Test("Reading stops when enough bytes are there, and goes on where it stopped")
    func readInSteps() throws {
        let disk = MemoryDisk()
        let (log, _) = try open(disk)
        for first in stride(from: 1, through: 100, by: 5) {
            try log.append([task(slab(UInt64(first), count: 5))])
            try log.seal()
        }
        var next = LogIndex(3)
        var reads = 0
        while next <= LogIndex(98) {
            let slabs = try log.read(from: next, through: LogIndex(98), bytesMax: 700)
            #expect(!slabs.isEmpty)
            for slab in slabs {
                #expect(slab.firstIndex == next)
                next = slab.lastIndex.next
            }
            reads += 1
        }
        #expect(next == LogIndex(99) && reads > 5)
    }

    @Test("Compaction drops whole segments, keeps their blocks, and the rest is intact")
    func compactionAndRecycling() throws {
        let disk = MemoryDisk()
        let (log, _) = try open(disk)
        for first in 1...100 { try log.append([task(slab(UInt64(first), payloadSize: 100))]) }
        let before = disk.segments.count
        try log.compact(through: LogIndex(60))
        #expect(disk.segments.count < before)
        #expect(disk.names.keys.count { $0.contains("spare-") } == 2)
        let first = log.firstIndex
        #expect(first > LogIndex(30) && first <= LogIndex(61))
        #expect(log.previous == EntryID(term: Term(1), index: first.previous))
        #expect(throws: LogReadError.compacted(firstIndex: first)) {
            try log.read(from: LogIndex(1), through: LogIndex(5), bytesMax: 100)
        }
        // The next segments are the old files, with the old batches still in them.
        for next in 101...200 { try log.append([task(slab(UInt64(next), term: 2, payloadSize: 100), term: 2)]) }
        let expected = entries(first.rawValue...100).merging(entries(101...200, term: 2)) { $1 }
        #expect(try contents(log) == expected)
        let (again, report) = try open(disk)
        #expect(report.damages.isEmpty && report.tornTail == nil)
        #expect(again.firstIndex == first && again.previous == log.previous)
        #expect(try contents(again) == expected)
    }

    @Test("Compaction after a truncation over a segment's border keeps the term before the first entry")
    func compactionAfterTruncation() throws {
        let disk = MemoryDisk()
        let (log, _) = try open(disk)
        for first in 1...40 { try log.append([task(slab(UInt64(first), payloadSize: 100))]) }
        let border = log.lastIndex
        for next in 41...60 { try log.append([task(slab(UInt64(next), term: 2, payloadSize: 100), term: 2)]) }
        try log.append([task(slab(36, term: 3), term: 3, truncateAfter: 35)])
        for next in 37...80 { try log.append([task(slab(UInt64(next), term: 3, payloadSize: 100), term: 3)]) }
        #expect(border == LogIndex(40))
        for floor in 30...75 {
            try log.compact(through: LogIndex(UInt64(floor)))
            let again = try open(disk.copy()).log
            #expect(again.firstIndex == log.firstIndex)
            #expect(again.previous == log.previous)
            #expect(again.previous.term == Term(log.firstIndex.rawValue <= 36 ? 1 : 3))
            #expect(try contents(again) == contents(log))
        }
        #expect(log.firstIndex > LogIndex(50))
    }

    @Test("Retention by size and age names a floor that leaves the newest bytes")
    func retention() throws {
        let disk = MemoryDisk()
        let (log, _) = try open(disk)
        for first in 1...100 { try log.append([task(slab(UInt64(first), payloadSize: 100))]) }
        #expect(log.floor(keepingBytes: .max, youngerThan: .zero) == .zero)
        let bySize = log.floor(keepingBytes: 20_000, youngerThan: .zero)
        #expect(bySize > LogIndex(20) && bySize < LogIndex(80))
        // The entry of index i carries the time i µs.
        let byAge = log.floor(keepingBytes: .max, youngerThan: ClusterTime(nanoseconds: 50_000))
        #expect(byAge > LogIndex(30) && byAge < LogIndex(50))
        try log.compact(through: byAge)
        #expect(log.firstIndex == byAge.next)
    }

    @Test("A log of which so much is kept takes the segment that is written more, and the spares")
    func sizeOnDisk() throws {
        let disk = MemoryDisk()
        let segmentSize = 16 * 1_024
        let (log, _) = try open(disk, settings: smallSettings(segmentSize))
        for index in 1...2_000 {
            try log.append([task(slab(UInt64(index), payloadSize: 100))])
            try log.compact(through: log.floor(keepingBytes: 6 * segmentSize, youngerThan: .zero))
            #expect(disk.usedBytes <= 9 * segmentSize)
        }
        #expect(log.firstIndex > LogIndex(1))
        #expect(log.byteCount == 7 * segmentSize)
    }

    @Test("After a snapshot the log starts behind it, with the same promises")
    func reset() throws {
        let disk = MemoryDisk()
        let (log, _) = try open(disk)
        for first in 1...50 { try log.append([task(slab(UInt64(first), payloadSize: 100), term: 4, vote: 2)]) }
        try log.reset(to: EntryID(term: Term(3), index: LogIndex(500)))
        #expect(log.lastIndex == LogIndex(500) && log.firstIndex == LogIndex(501))
        #expect(disk.segments.count == 1)
        let empty = try open(disk.copy()).log
        #expect(empty.last == EntryID(term: Term(3), index: LogIndex(500)))
        #expect(empty.hardState == HardState(currentTerm: Term(4), votedFor: NodeID(2)))
        try log.append([task(slab(501, term: 4), term: 4, vote: 2)])
        let again = try open(disk).log
        #expect(try contents(again) == [501: 4])
        #expect(again.term(at: LogIndex(500)) == Term(3))
    }

    @Test("Without space for a segment nothing is written, and the log goes on when there is space again")
    func noSpace() throws {
        let disk = MemoryDisk()
        let (log, _) = try open(disk)
        disk.capacity = disk.usedBytes
        var last: UInt64 = 0
        let refused = #expect(throws: DiskError.self) {
            while true {
                try log.append([task(slab(last + 1, payloadSize: 300))])
                last += 1
            }
        }
        #expect(refused?.kind == .noSpace)
        #expect(log.lastIndex == LogIndex(last) && last > 3)
        try log.seal()
        #expect(try contents(log) == entries(1...last))
        #expect(try contents(try open(disk.copy()).log) == entries(1...last))
        disk.capacity = .max
        try log.append([task(slab(last + 1, payloadSize: 300))])
        #expect(try contents(try open(disk).log) == entries(1...last + 1))
    }

    @Test("After a failed sync the log refuses everything, however often it is asked")
    func failedSync() throws {
        let disk = MemoryDisk()
        let (log, _) = try open(disk)
        try log.append([task(slab(1))])
        disk.effectsLeft = 2
        let first = try #require(throws: DiskError.self) { try log.append([task(slab(2))]) }
        disk.effectsLeft = nil
        disk.isDead = false
        let effects = disk.effectCount
        #expect(throws: first) { try log.append([task(slab(2))]) }
        #expect(throws: first) { try log.seal() }
        #expect(throws: first) { try log.compact(through: LogIndex(1)) }
        #expect(disk.effectCount == effects)
    }

    @Test("What a failed sync has left in the page cache is written again before the log opened anew counts on it")
    func failedSyncThenRestart() throws {
        for seed in 1...20 as ClosedRange<UInt64> {
            let disk = MemoryDisk()
            let (log, _) = try open(disk)
            try log.append([task(slab(1, count: 3), term: 2)])
            disk.failsNextSync = true
            #expect(throws: DiskError.self) {
                try log.append([task(slab(4, payloadSize: 3_000), term: 3, vote: 5), task(slab(5), term: 3, vote: 5)])
            }
            // The machine goes on: the process that starts again sees all of it, and promises it.
            let (again, _) = try open(disk)
            #expect(again.lastIndex == LogIndex(5))
            #expect(again.hardState == HardState(currentTerm: Term(3), votedFor: NodeID(5)))
            var survival = SplitMix64(seed: seed)
            let (last, report) = try open(disk.crashed(&survival))
            #expect(last.lastIndex == LogIndex(5), "seed \(seed)")
            #expect(last.hardState == again.hardState, "seed \(seed)")
            #expect(report.damages.isEmpty && report.tornTail == nil, "seed \(seed)")
        }
    }

    @Test("The next segment can be reserved ahead, so that rolling reserves nothing")
    func prepared() throws {
        let disk = MemoryDisk()
        let (log, _) = try open(disk)
        try log.prepareNextSegment()
        try log.prepareNextSegment()
        #expect(disk.names.keys.count { $0.contains("spare-") } == 1)
        disk.capacity = disk.usedBytes
        for first in 1...25 { try log.append([task(slab(UInt64(first), payloadSize: 60))]) }
        #expect(disk.segments.count == 2)
    }

    @Test("The real disk does the same: append, roll, compact, open again, directories 0700 and files 0600")
    func realDisk() throws {
        let fileSystem = PosixFileSystem()
        let path = NSTemporaryDirectory() + "quorate-log-" + UUID().uuidString
        try fileSystem.createDirectory(path)
        defer { try? FileManager.default.removeItem(atPath: path) }
        func open() throws -> SegmentedLog {
            try SegmentedLog.open(
                fileSystem: fileSystem, directory: path, salt: salt, nodeID: node, settings: smallSettings(16_384),
                verifyFrom: .zero
            ).log
        }
        let log = try open()
        for first in 1...200 { try log.append([task(slab(UInt64(first), payloadSize: 200))]) }
        try log.compact(through: LogIndex(100))
        let expected = try contents(log)
        #expect(expected.keys.max() == 200 && expected.keys.min()! > 50)
        #expect(try contents(try open()) == expected)
        for name in try fileSystem.list(path) {
            let mode = try FileManager.default.attributesOfItem(atPath: "\(path)/\(name)")[.posixPermissions] as? Int
            #expect(mode == 0o600)
        }
    }

    @Test("A read beyond the end gives what there is")
    func readPastTheEnd() throws {
        let (log, _) = try open(MemoryDisk())
        try log.append([task(slab(1, count: 3))])
        #expect(try log.read(from: LogIndex(2), through: LogIndex(9), bytesMax: 1_000).last?.lastIndex == LogIndex(3))
        #expect(try log.read(from: LogIndex(4), through: LogIndex(9), bytesMax: 1_000).isEmpty)
    }

    @Test("Readers on another thread see whole entries or an honest refusal while the log is written and compacted")
    func readersBesideTheWriter() throws {
        let fileSystem = PosixFileSystem()
        let path = NSTemporaryDirectory() + "quorate-log-" + UUID().uuidString
        try fileSystem.createDirectory(path)
        defer { try? FileManager.default.removeItem(atPath: path) }
        let log = try SegmentedLog.open(
            fileSystem: fileSystem, directory: path, salt: salt, nodeID: node, settings: smallSettings(),
            verifyFrom: .zero
        ).log
        try log.append([task(slab(1))])
        let finished = Mutex(false)
        let done = DispatchSemaphore(value: 0)
        let entriesRead = Mutex(0)
        Thread.detachNewThread {
            var next = log.firstIndex
            while !finished.withLock({ $0 }) {
                do {
                    for slab in try log.read(from: next, through: log.lastIndex, bytesMax: 4_096) {
                        #expect(slab.firstIndex == next)
                        entriesRead.withLock { $0 += slab.count }
                        next = slab.lastIndex.next
                    }
                } catch LogReadError.compacted(let first) {
                    next = first
                } catch {
                    Issue.record(error)
                    break
                }
                if next > log.lastIndex { next = log.firstIndex }
            }
            done.signal()
        }
        for first in UInt64(2)...1_500 {
            try log.append([task(slab(first, payloadSize: 200))])
            if first % 20 == 0 { try log.compact(through: LogIndex(first - 10)) }
        }
        finished.withLock { $0 = true }
        done.wait()
        #expect(entriesRead.withLock { $0 } > 100)
    }

    @Test("A log of another cluster or node is refused by name")
    func foreign() throws {
        let disk = MemoryDisk()
        try open(disk).log.append([task(slab(1))])
        let otherNode = #expect(throws: LogOpenError.self) {
            try SegmentedLog.open(
                fileSystem: disk, directory: directory, salt: salt, nodeID: NodeID(8), settings: smallSettings(),
                verifyFrom: .zero)
        }
        guard case .foreign(let file, let reason) = otherNode else {
            Issue.record("\(String(describing: otherNode))")
            return
        }
        #expect(file == disk.segments[0] && reason.contains("node n7"))
        let otherCluster = #expect(throws: LogOpenError.self) {
            try SegmentedLog.open(
                fileSystem: disk, directory: directory, salt: salt + 1, nodeID: node, settings: smallSettings(),
                verifyFrom: .zero)
        }
        guard case .foreign = otherCluster else {
            Issue.record("\(String(describing: otherCluster))")
            return
        }
    }
}
