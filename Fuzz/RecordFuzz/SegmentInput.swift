internal import Basics
internal import Disk
internal import Glibc
internal import LogFormat
internal import LogStore
internal import RaftCore

/// The input as segment files of a log: each begins with the magic number, in the order of their sequence, without the
/// unused bytes between header and batches. `Sources/LogStore/FORMAT.md` draws what is taken apart here.
enum SegmentInput {
    static let node = NodeID(7)
    private static let magic = Array("QUORLOG\n".utf8)
    private static let headerSize = 128
    private static let areaSize = 4_096
    private static let batchHeaderSize = 152
    private static let segmentSize = 8_192
    private static let directory = "log"
    /// Batches have numbers that no writer uses up: a log whose last number is the largest cannot go on.
    private static let numberMask: UInt64 = 1 << 61 - 1

    /// Where each segment is in the input.
    private static func parts(of input: [UInt8]) -> [Range<Int>] {
        var starts: [Int] = []
        input.withUnsafeBytes { buffer in
            guard let start = buffer.baseAddress else { return }
            var place = 0
            while starts.count < 4, let found = memchr(start + place, CInt(magic[0]), buffer.count - place) {
                place = start.distance(to: UnsafeRawPointer(found))
                if buffer.count - place >= magic.count, memcmp(found, magic, magic.count) == 0 { starts.append(place) }
                place += 1
            }
        }
        return zip(starts, starts.dropFirst() + [input.count]).map { $0..<$1 }
    }

    /// The files of these segments; empty when there is none.
    static func files(from input: [UInt8]) -> [(path: String, bytes: [UInt8])] {
        parts(of: input).enumerated().map { position, part in
            let headerEnd = min(part.lowerBound + headerSize, part.upperBound)
            let firstIndex =
                (headerEnd - part.lowerBound == headerSize ? readUInt64(input, at: part.lowerBound + 64) : 0) &+ 1
            var bytes = [UInt8](repeating: 0, count: max(segmentSize, areaSize + part.upperBound - headerEnd))
            bytes.replaceSubrange(0..<headerEnd - part.lowerBound, with: input[part.lowerBound..<headerEnd])
            bytes.replaceSubrange(
                areaSize..<areaSize + part.upperBound - headerEnd, with: input[headerEnd..<part.upperBound])
            let path = "\(directory)/\(hexadecimal(UInt64(position + 1)))-\(hexadecimal(firstIndex)).segment"
            return (path, bytes)
        }
    }

    static func open(
        _ disk: MemoryDisk, acceptingDamage: Bool
    ) throws(LogOpenError) -> (log: SegmentedLog, report: RecoveryReport) {
        var settings = LogSettings()
        settings.segmentSize = segmentSize
        return try SegmentedLog.open(
            fileSystem: disk, directory: directory, salt: salt, nodeID: node, settings: settings,
            verifyFrom: LogIndex(1), acceptingDamage: acceptingDamage)
    }

    // MARK: Seeds

    /// Logs as the log itself writes them: two terms, a truncation, a vote, a seal; in one segment, and in several.
    static var seeds: [[UInt8]] { [1, 2].compactMap { try? seed(rounds: $0) } }

    private static func seed(rounds: Int) throws -> [UInt8] {
        let disk = MemoryDisk()
        let log = try open(disk, acceptingDamage: false).log
        for round in 1...rounds {
            var builder = SlabBuilder(term: Term(UInt64(round)), firstIndex: log.lastIndex.next, salt: salt)
            let size = rounds == 1 ? 20 : 1_000
            for byte in UInt8(1)...3 {
                let payload = [UInt8](repeating: byte, count: size)
                builder.append(.command, payload: payload.rawSpan, time: ClusterTime(nanoseconds: UInt64(round) << 40))
            }
            let state = HardState(currentTerm: Term(UInt64(round)), votedFor: node)
            try log.append([LogTask(hardState: state, slab: builder.close())])
            try log.append([LogTask(hardState: state, truncateAfter: log.lastIndex.previous)])
        }
        try log.seal()
        let files = disk.files.sorted { $0.key < $1.key }.filter { $0.key.hasSuffix(".segment") }
        return try files.flatMap { file in
            let bytes = try file.value.read(at: 0, count: try file.value.size())
            let end = (bytes.lastIndex { $0 != 0 } ?? -1) + 1
            return Array(bytes.prefix(headerSize)) + Array(bytes[areaSize..<max(areaSize, end)])
        }
    }

    // MARK: Repair

    /// Puts right what a checksum or the place of a header would refuse; what the fields say stays as it is.
    static func repaired(_ input: [UInt8]) -> [UInt8] {
        var bytes = input
        for (position, part) in parts(of: input).enumerated() where part.count >= headerSize {
            bytes.store(UInt32(1), at: part.lowerBound + 8)
            bytes.store(salt, at: part.lowerBound + 16)
            bytes.store(node.rawValue, at: part.lowerBound + 24)
            bytes.store(UInt64(position + 1), at: part.lowerBound + 32)
            bytes.store(readUInt64(bytes, at: part.lowerBound + 48) & numberMask, at: part.lowerBound + 48)
            let head = CRC32C.checksum(of: bytes.rawSpan.extracting(part.lowerBound..<part.lowerBound + 12))
            let whole = CRC32C.checksum(
                of: bytes.rawSpan.extracting(part.lowerBound + 16..<part.lowerBound + headerSize), continuing: head)
            bytes.store(whole, at: part.lowerBound + 12)
            repairBatches(&bytes, part, sequence: UInt64(position + 1))
        }
        return bytes
    }

    private static func repairBatches(_ bytes: inout [UInt8], _ part: Range<Int>, sequence: UInt64) {
        var offset = part.lowerBound + headerSize
        var previousChecksum = readUInt32(bytes, at: part.lowerBound + 80)
        while offset + batchHeaderSize <= part.upperBound {
            let rest = part.upperBound - offset - batchHeaderSize
            let recordsSize = min(Int(readUInt32(bytes, at: offset + 140)), rest)
            bytes.store(UInt32(batchHeaderSize - 4), at: offset)
            bytes[offset + 9] = 1
            bytes.store(salt, at: offset + 12)
            bytes.store(readUInt64(bytes, at: offset + 16) & numberMask, at: offset + 16)
            bytes.store(sequence, at: offset + 24)
            bytes.store(UInt64(areaSize + offset - part.lowerBound - headerSize), at: offset + 32)
            bytes.store(UInt32(recordsSize), at: offset + 140)
            bytes.store(previousChecksum, at: offset + 148)
            let records = offset + batchHeaderSize..<offset + batchHeaderSize + recordsSize
            repairRecords(&bytes, records)
            previousChecksum = CRC32C.checksum(of: bytes.rawSpan.extracting(offset + 8..<offset + batchHeaderSize))
            bytes.store(previousChecksum, at: offset + 4)
            offset += (batchHeaderSize + recordsSize + 7) & ~7
        }
    }

    static func repairRecords(_ bytes: inout [UInt8], _ range: Range<Int>) {
        var offset = range.lowerBound
        while range.upperBound - offset >= RecordFormat.headerSize {
            let claimed = Int(readUInt32(bytes, at: offset)) + RecordFormat.lengthSize
            let rest = range.upperBound - offset
            let size = claimed < RecordFormat.headerSize || claimed > rest ? rest : claimed
            bytes.store(UInt32(size - RecordFormat.lengthSize), at: offset)
            bytes[offset + 9] = RecordFormat.version
            bytes.store(UInt16(0), at: offset + 10)
            bytes.store(salt, at: offset + 12)
            bytes.store(CRC32C.checksum(of: bytes.rawSpan.extracting(offset + 8..<offset + size)), at: offset + 4)
            offset += size
        }
    }

    private static func readUInt32(_ bytes: [UInt8], at offset: Int) -> UInt32 {
        (0..<4).reduce(0) { $0 | UInt32(bytes[offset + $1]) << UInt32($1 * 8) }
    }

    private static func readUInt64(_ bytes: [UInt8], at offset: Int) -> UInt64 {
        UInt64(readUInt32(bytes, at: offset)) | UInt64(readUInt32(bytes, at: offset + 4)) << 32
    }

    private static func hexadecimal(_ value: UInt64) -> String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}
