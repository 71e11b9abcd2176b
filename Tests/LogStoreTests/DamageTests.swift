import Basics
import Disk
import LogFormat
import LogStore
import RaftCore
import Testing

/// Bytes that were synced and are no longer what they were: never cut, never a wrong entry, named with file and offset,
/// healed from a peer.
@Suite struct DamageTests {
    /// Entries 1…`count` in several segments, sealed.
    private func sealedLog(_ count: UInt64 = 60, seals: Bool = false) throws -> MemoryDisk {
        let disk = MemoryDisk()
        let (log, _) = try open(disk)
        for first in 1...count {
            try log.append([task(slab(first, payloadSize: 100), term: 2, vote: 5)])
            if seals { try log.seal() }
        }
        try log.seal()
        return disk
    }

    /// Opens and expects either all entries or named damage; then the rest of the log in its damaged form.
    private func expectDetectedOrHarmless(
        _ disk: MemoryDisk, count: UInt64, _ what: @autoclosure () -> String
    ) throws {
        do {
            let (log, _) = try open(disk.copy())
            #expect(try contents(log) == entries(1...count), "\(what())")
            #expect(log.hardState == HardState(currentTerm: Term(2), votedFor: NodeID(5)), "\(what())")
        } catch LogOpenError.damaged(let damages) {
            #expect(!damages.isEmpty && damages.allSatisfy { disk.names[$0.file] != nil }, "\(what())")
            let (log, report) = try open(disk.copy(), acceptingDamage: true)
            let found = try contents(log)
            for (index, term) in found { #expect(term == (index <= count ? 1 : 0), "\(what())") }
            guard report.promisesAreKnown else { return }
            let faulty = log.faultyRanges.reduce(0) { $0 + $1.entryCount }
            #expect(faulty > 0 && found.count + faulty == Int(count), "\(what())")
            #expect(log.last == EntryID(term: Term(1), index: LogIndex(count)), "\(what())")
            #expect(log.hardState == HardState(currentTerm: Term(2), votedFor: NodeID(5)), "\(what())")
        } catch LogOpenError.newerFormat, LogOpenError.foreign {
            Issue.record("\(what()): damage taken for something else")
        }
    }

    @Test("A flipped bit in any byte of a sealed log is detected or harmless, and never a wrong value")
    func everyByte() throws {
        let count: UInt64 = 22
        let disk = try sealedLog(count)
        #expect(disk.segments.count == 2)
        for path in disk.segments {
            let end = disk.names[path]!.bytes.lastIndex { $0 != 0 }! + 1
            for offset in 0..<end where offset < 140 || offset >= 4_090 {
                disk.names[path]!.bytes[offset] ^= UInt8(1 << (offset & 7))
                try expectDetectedOrHarmless(disk, count: count, "\(path) byte \(offset)")
                disk.names[path]!.bytes[offset] ^= UInt8(1 << (offset & 7))
            }
        }
    }

    @Test("A bit flipped in the last acknowledged entry is damage, not a torn tail")
    func lastEntry() throws {
        let disk = try sealedLog(3)
        let end = disk.names[disk.segments[0]]!.bytes.lastIndex { $0 != 0 }! + 1
        disk.names[disk.segments[0]]!.bytes[end - 152 - 20] ^= 1
        let error = #expect(throws: LogOpenError.self) { try open(disk) }
        guard case .damaged(let damages) = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(damages.count == 1 && damages[0].file == disk.segments[0])
        #expect(damages[0].indexes == LogIndex(3)...LogIndex(3))
        #expect(damages[0].offset < end && damages[0].offset > 4_096)
    }

    @Test("Opening a log makes its end provably synced: from then on it is never taken for torn")
    func openingSeals() throws {
        let disk = MemoryDisk()
        try open(disk).log.append([task(slab(1, count: 2))])
        let path = disk.segments[0]
        let torn = disk.copy()
        torn.names[path]!.bytes[disk.end(of: path) - 10] ^= 1
        #expect(try open(torn).log.lastIndex == .zero)
        let end = disk.end(of: path)
        #expect(try open(disk).log.lastIndex == LogIndex(2))
        disk.names[path]!.bytes[end - 10] ^= 1
        #expect(throws: LogOpenError.self) { try open(disk) }
    }

    @Test("A zeroed stretch of any length anywhere does not end recovery early")
    func zeroedStretch() throws {
        let disk = try sealedLog()
        var random = SplitMix64(seed: 5)
        for round in 0..<300 {
            let copy = disk.copy()
            let path = disk.segments[Int(random.next() % UInt64(disk.segments.count))]
            let size = copy.names[path]!.bytes.count
            let start = Int(random.next() % UInt64(size))
            let end = min(size, start + Int(random.next() % 5_000))
            for offset in start..<end { copy.names[path]!.bytes[offset] = 0 }
            // Whatever reaches into the seal at the very end may take the proof away that the last batches were synced.
            let tail = disk.names[path]!.bytes.lastIndex { $0 != 0 }! + 1
            if path == disk.segments.last, end > tail - 152 { continue }
            try expectDetectedOrHarmless(copy, count: 60, "round \(round): \(path) \(start)..<\(end)")
        }
    }

    @Test("A missing segment in the middle is a faulty range; the segments around it are served")
    func missingSegment() throws {
        let disk = try sealedLog()
        let missing = disk.segments[1]
        disk.names[missing] = nil
        #expect(throws: LogOpenError.self) { try open(disk) }
        let log = try open(disk, acceptingDamage: true).log
        #expect(log.faultyRanges.count == 1)
        let faulty = try #require(log.faultyRanges.first)
        #expect(try contents(log).count + faulty.entryCount == 60)
        #expect(log.lastIndex == LogIndex(60))
    }

    @Test("Two segments that changed their names are detected")
    func swappedSegments() throws {
        let disk = try sealedLog()
        let (one, two) = (disk.segments[1], disk.segments[2])
        (disk.names[one], disk.names[two]) = (disk.names[two], disk.names[one])
        try expectDetectedOrHarmless(disk, count: 60, "swapped")
        #expect(throws: LogOpenError.self) { try open(disk) }
    }

    @Test("A write that the disk put in the wrong place is detected, there and where it is missing")
    func misdirectedWrite() throws {
        let disk = try sealedLog()
        let bytes = disk.names[disk.segments[0]]!.bytes
        for (source, target) in [(4_096, 5_608), (5_608, 4_096), (4_096, 4_096 + 8)] {
            let copy = disk.copy()
            let piece = bytes[source..<source + 512]
            copy.names[disk.segments[0]]!.bytes.replaceSubrange(target..<target + 512, with: piece)
            try expectDetectedOrHarmless(copy, count: 60, "\(source) -> \(target)")
            #expect(throws: LogOpenError.self) { try open(copy) }
        }
        let copy = disk.copy()
        copy.names[disk.segments[1]]!.bytes.replaceSubrange(4_096..<8_192, with: bytes[4_096..<8_192])
        try expectDetectedOrHarmless(copy, count: 60, "from another segment")
        #expect(throws: LogOpenError.self) { try open(copy) }
    }

    @Test("A lost truncation is not forgotten: what it may have cut is faulty, not served")
    func lostTruncation() throws {
        for truncations in 1...2 {
            let disk = MemoryDisk()
            let (log, _) = try open(disk)
            try log.append([task(slab(1, count: 10))])
            let path = disk.segments[0]
            let start = disk.names[path]!.bytes.lastIndex { $0 != 0 }! + 1
            try log.append([task(slab(7, count: 2, term: 2), term: 2, truncateAfter: 6)])
            if truncations == 2 { try log.append([task(slab(5, count: 4, term: 3), term: 3, truncateAfter: 4)]) }
            let end = disk.names[path]!.bytes.lastIndex { $0 != 0 }! + 1
            try log.append([task(slab(9, term: 4), term: 4)])
            try log.seal()
            for offset in start..<end { disk.names[path]!.bytes[offset] = 0 }
            #expect(throws: LogOpenError.self) { try open(disk) }
            let damaged = try open(disk, acceptingDamage: true).log
            #expect(damaged.faultyRanges == [LogIndex(truncations == 1 ? 7 : 1)...LogIndex(8)])
            #expect(damaged.last == EntryID(term: Term(4), index: LogIndex(9)))
            #expect(try contents(damaged)[9] == 4)
        }
    }

    @Test("A faulty range is filled from a peer, entry by entry, and stays filled")
    func repair() throws {
        let disk = try sealedLog()
        disk.names[disk.segments[1]] = nil
        let log = try open(disk, acceptingDamage: true).log
        let faulty = try #require(log.faultyRanges.first)
        let (low, high) = (faulty.lowerBound.rawValue, faulty.upperBound.rawValue)
        #expect(try !log.repair(slab(low, count: 2, term: 3)), "a later term than the entries behind it")
        #expect(try log.repair(slab(low + 2, count: 3, payloadSize: 100)))
        #expect(log.faultyRanges.map(\.entryCount) == [2, faulty.entryCount - 5])
        // The pieces survive a restart, and the log is still not whole.
        let again = try open(disk, acceptingDamage: true).log
        #expect(again.faultyRanges == log.faultyRanges)
        // A slab that reaches beyond the range on both sides fills only the range.
        #expect(try again.repair(slab(low - 1, count: Int(high - low) + 3, payloadSize: 100)))
        #expect(again.faultyRanges.isEmpty)
        #expect(try contents(again) == entries(1...60))
        let (whole, report) = try open(disk)
        #expect(!report.damages.isEmpty)
        #expect(try contents(whole) == entries(1...60))
        try whole.append([task(slab(61, payloadSize: 100), term: 2, vote: 5)])
        #expect(try contents(try open(disk).log) == entries(1...61))
        try whole.compact(through: LogIndex(high))
        #expect(try open(disk).report.damages.isEmpty)
        #expect(try contents(try open(disk).log) == contents(whole))
    }

    @Test("Votes go on while a range is faulty")
    func hardStateWhileFaulty() throws {
        let disk = try sealedLog()
        disk.names[disk.segments[1]] = nil
        let log = try open(disk, acceptingDamage: true).log
        try log.append([task(nil, term: 7, vote: 1)])
        let again = try open(disk, acceptingDamage: true).log
        #expect(again.hardState == HardState(currentTerm: Term(7), votedFor: NodeID(1)))
        #expect(again.faultyRanges == log.faultyRanges)
    }

    @Test("Damage in a segment that opening does not verify is found by the read, and can be repaired there")
    func damageFoundByReading() throws {
        let disk = try sealedLog()
        disk.names[disk.segments[0]]!.bytes[4_096 + 160] ^= 4
        disk.names[disk.segments[1]]!.bytes[4_096 + 20] ^= 4
        let (log, report) = try open(disk, verifyFrom: LogIndex(60), acceptingDamage: true)
        #expect(report.bytesVerified < 4_096)
        let error = #expect(throws: LogReadError.self) {
            try log.read(from: LogIndex(1), through: LogIndex(5), bytesMax: 10_000)
        }
        guard case .damaged(let damage) = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(damage.file == disk.segments[0] && damage.offset == 4_096 + 152)
        #expect(damage.indexes == LogIndex(1)...LogIndex(1))
        log.takeOut(damage)
        #expect(log.faultyRanges.first == damage.indexes)
        #expect(try log.repair(slab(1, payloadSize: 100)))
        for range in log.faultyRanges {
            #expect(try log.repair(slab(range.lowerBound.rawValue, count: range.entryCount, payloadSize: 100)))
        }
        #expect(try contents(log) == entries(1...60))
        #expect(try contents(try open(disk).log) == entries(1...60))
    }

    /// Takes out what a read of the whole log meets.
    private func takeOutDamage(of log: SegmentedLog) throws -> [ClosedRange<LogIndex>] {
        let error = #expect(throws: LogReadError.self) {
            try log.read(from: log.firstIndex, through: log.lastIndex, bytesMax: 100_000)
        }
        guard case .damaged(let damage) = error else {
            Issue.record("\(String(describing: error))")
            return []
        }
        return log.takeOut(damage)
    }

    @Test("Entries that the disk refused to give back are in service again when it does not any more")
    func readAgain() throws {
        let disk = try sealedLog()
        let (log, _) = try open(disk)
        let (all, runs) = (try contents(log), log.termRuns)
        disk.badSectors[disk.segments[0]] = 4_096..<8_192
        let lost = try takeOutDamage(of: log)
        #expect(lost.reduce(0) { $0 + $1.entryCount } > 2 && log.faultyRanges == lost)
        #expect(!log.reread())
        disk.badSectors = [:]
        // The first has come from another member meanwhile.
        #expect(try log.repair(slab(lost[0].lowerBound.rawValue, payloadSize: 100)))
        #expect(log.reread())
        #expect(log.faultyRanges.isEmpty && log.termRuns == runs)
        #expect(try contents(log) == all)
        #expect(!log.reread())
        #expect(try contents(try open(disk).log) == all)
    }

    @Test("What is damaged stays so when it is read again, and what was cut does not come back")
    func readAgainInVain() throws {
        let disk = try sealedLog()
        let (log, _) = try open(disk)
        disk.badSectors[disk.segments[0]] = 4_096..<8_192
        let lost = try takeOutDamage(of: log)
        disk.badSectors = [:]
        disk.names[disk.segments[0]]!.bytes[4_096 + 160] ^= 4
        #expect(!log.reread() && log.faultyRanges == lost)
        disk.names[disk.segments[0]]!.bytes[4_096 + 160] ^= 4
        let first = lost[0].lowerBound
        let state = HardState(currentTerm: Term(3), votedFor: nil)
        try log.append([LogTask(hardState: state, truncateAfter: first.previous, slab: slab(first.rawValue, term: 3))])
        #expect(!log.reread())
        #expect(log.lastIndex == first && log.term(at: first) == Term(3))
    }

    @Test("A damaged header found by a read takes only its extent out of service")
    func headerDamageFoundByReading() throws {
        let disk = try sealedLog()
        let (log, _) = try open(disk)
        disk.names[disk.segments[0]]!.bytes[4_096 + 320 + 40] ^= 4
        let error = #expect(throws: LogReadError.self) {
            try log.read(from: LogIndex(1), through: LogIndex(60), bytesMax: 100_000)
        }
        guard case .damaged(let damage) = error, let range = damage.indexes else {
            Issue.record("\(String(describing: error))")
            return
        }
        log.takeOut(damage)
        let rest = try contents(log)
        #expect(rest.count == 60 - range.entryCount && range.lowerBound == LogIndex(2))
        #expect(try log.repair(slab(2, count: range.entryCount, payloadSize: 100)))
        #expect(try contents(log) == entries(1...60))
    }

    @Test("When the whole last segment is unreadable, nothing is claimed about what was promised")
    func promisesUnknown() throws {
        let disk = try sealedLog()
        let path = disk.segments.last!
        disk.names[path]!.bytes = [UInt8](repeating: 0, count: 8_192)
        #expect(throws: LogOpenError.self) { try open(disk) }
        let (log, report) = try open(disk, acceptingDamage: true)
        #expect(!report.promisesAreKnown)
        #expect(try contents(log).count == Int(log.lastIndex.rawValue))
    }

    @Test("Before a segment with nothing readable in it nothing is torn: it got its name when all before was synced")
    func damageBeforeUnreadableSegment() throws {
        let disk = try sealedLog()
        let (before, last) = (disk.segments[disk.segments.count - 2], disk.segments.last!)
        disk.names[before]!.bytes[disk.end(of: before) - 20] ^= 1
        disk.names[last]!.bytes = [UInt8](repeating: 0, count: 8_192)
        for _ in 1...2 {
            #expect(throws: LogOpenError.self) { try open(disk) }
            #expect(disk.segments.contains(last), "what may hold promises was removed")
        }
        let (log, report) = try open(disk, acceptingDamage: true)
        #expect(!report.promisesAreKnown && report.tornTail == nil)
        #expect(log.faultyRanges == [log.lastIndex...log.lastIndex])
        #expect(try open(disk, acceptingDamage: true).log.faultyRanges == log.faultyRanges)
    }

    @Test("A sector that cannot be read is a faulty range, not the end of the log")
    func unreadableSector() throws {
        let disk = try sealedLog()
        disk.badSectors[disk.segments[1]] = 4_096..<4_608
        let error = #expect(throws: LogOpenError.self) { try open(disk) }
        guard case .damaged(let damages) = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(damages[0].file == disk.segments[1] && damages[0].offset == 4_096)
        let (log, report) = try open(disk, acceptingDamage: true)
        #expect(report.promisesAreKnown && log.lastIndex == LogIndex(60))
        for range in log.faultyRanges {
            #expect(try log.repair(slab(range.lowerBound.rawValue, count: range.entryCount, payloadSize: 100)))
        }
        #expect(try contents(log) == entries(1...60))
        // The same sector goes bad under an open log.
        disk.badSectors[disk.segments[0]] = 4_608..<5_120
        let read = #expect(throws: LogReadError.self) {
            try log.read(from: LogIndex(1), through: LogIndex(60), bytesMax: 100_000)
        }
        guard case .damaged(let damage) = read else {
            Issue.record("\(String(describing: read))")
            return
        }
        #expect(damage.file == disk.segments[0] && damage.indexes != nil)
    }

    @Test("An unreadable sector where the log seems to end leaves open what was promised")
    func unreadableEnd() throws {
        let disk = try sealedLog()
        let path = disk.segments.last!
        disk.badSectors[path] = disk.end(of: path) - 400..<disk.end(of: path)
        #expect(throws: LogOpenError.self) { try open(disk) }
        let (_, report) = try open(disk, acceptingDamage: true)
        #expect(!report.promisesAreKnown)
    }

    /// Changes one field of one header at a time and makes its checksum right again: what only a forger can do.
    @Test("Headers that lie under a right checksum never trap, and never make a wrong entry")
    func forgedHeaders() throws {
        let disk = try sealedLog(30, seals: true)
        var random = SplitMix64(seed: 3)
        let values: [UInt64] = [0, 1, 2, 29, 30, 31, 255, 1 << 20, 1 << 31, 1 << 40, 1 << 62, .max - 1, .max]
        for round in 0..<1_500 {
            let copy = disk.copy()
            let path = copy.segments[Int(random.next() % UInt64(copy.segments.count))]
            let file = copy.names[path]!
            if round % 5 == 0 {
                file.bytes.store(values[Int(random.next() % 13)], at: 16 + Int(random.next() % 13) * 8)
                let head = CRC32C.checksum(of: Array(file.bytes[..<12]).rawSpan)
                file.bytes.store(CRC32C.checksum(of: Array(file.bytes[16..<128]).rawSpan, continuing: head), at: 12)
            } else {
                var headers: [Int] = []
                for offset in stride(from: 4_096, to: file.bytes.count - 152, by: 8)
                where file.bytes[offset] == 148 && file.bytes[offset + 8] >= 200 {
                    headers.append(offset)
                }
                for _ in 0..<1 + random.next() % 2 {
                    let offset = headers[Int(random.next() % UInt64(headers.count))]
                    file.bytes.store(values[Int(random.next() % 13)], at: offset + 8 + Int(random.next() % 18) * 8)
                    let body = Array(file.bytes[offset + 8..<offset + 152])
                    file.bytes.store(CRC32C.checksum(of: body.rawSpan), at: offset + 4)
                }
            }
            guard let accepted = try? open(copy, acceptingDamage: true) else { continue }
            var next = accepted.log.firstIndex
            while next <= accepted.log.lastIndex, next < LogIndex(1_000) {
                guard let slabs = try? accepted.log.read(from: next, through: next, bytesMax: 1_000) else {
                    next = next.next
                    continue
                }
                for slab in slabs {
                    let found = [UInt8](slab.record(at: next).payload)
                    #expect(found == payload(next.rawValue, term: 1, size: 100), "round \(round)")
                }
                next = next.next
            }
        }
    }

    @Test("Opening a log of random bytes, or of sound headers with random changes, never traps")
    func noTrap() throws {
        let disk = try sealedLog(40, seals: true)
        var random = SplitMix64(seed: 9)
        for round in 0..<400 {
            let copy = disk.copy()
            for path in copy.segments where random.next() % 3 == 0 || round % 2 == 0 {
                var bytes = copy.names[path]!.bytes
                for _ in 0..<1 + random.next() % 30 {
                    let start = Int(random.next() % UInt64(bytes.count))
                    let end = min(bytes.count, start + Int(1 + random.next() % 64))
                    for offset in start..<end { bytes[offset] = UInt8(truncatingIfNeeded: random.next()) }
                }
                if random.next() % 4 == 0 { bytes.removeLast(Int(random.next() % UInt64(bytes.count))) }
                copy.names[path]!.bytes = bytes
            }
            let accepted = try? open(copy, acceptingDamage: true)
            if let accepted { for term in try contents(accepted.log).values { #expect(term == 1) } }
        }
    }
}
