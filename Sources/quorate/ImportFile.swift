internal import Basics
internal import Crypto
internal import FoundationEssentials
internal import Glibc

/// A file of records, one JSON object a line. Opened once and read twice: for the hash that names its progress row,
/// then line by line.
final class ImportFile {
    let path: String
    private let descriptor: Int32

    init(path: String) throws {
        self.path = path
        descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw InputFile.failure(path) }
    }

    deinit { close(descriptor) }

    struct Summary: Hashable {
        /// SHA-256 of the file, in hexadecimal.
        var hash: String
        var lineCount: Int
    }

    /// Reads the file from its start.
    func summarize() throws -> Summary {
        var hash = SHA256()
        var lineCount = 0
        var last: UInt8 = 0x0A
        try rewind()
        try forEachPiece { piece in
            hash.update(data: piece)
            for byte in piece where byte == 0x0A { lineCount += 1 }
            last = piece.last ?? last
            return true
        }
        if last != 0x0A { lineCount += 1 }
        return Summary(hash: hash.finalize().map { Self.hexadecimal($0) }.joined(), lineCount: lineCount)
    }

    /// Cuts the file into batches from line `start` (counted from 0) on; `body` returns the line to go on with, which
    /// is the end of the batch unless somebody else has imported further.
    func forEachBatch(from start: Int, _ body: (ImportBatch) async throws -> Int) async throws {
        try rewind()
        var batch = ImportBatch(firstLine: start)
        var next = start
        var lines = LineReader(file: self)
        var number = 0
        while let line = try lines.next() {
            defer { number += 1 }
            guard number >= next else { continue }
            let record = try ImportBatch.parse(line, place: "\(path), line \(number + 1)")
            if !batch.hasRoom(for: record) {
                next = try await body(batch)
                batch = ImportBatch(firstLine: next)
                guard number >= next else { continue }
            }
            batch.add(record)
        }
        if batch.lineCount > 0 { _ = try await body(batch) }
    }

    private static func hexadecimal(_ byte: UInt8) -> String {
        let digits = String(byte, radix: 16)
        return digits.count == 1 ? "0" + digits : digits
    }

    private func rewind() throws {
        guard lseek(descriptor, 0, SEEK_SET) == 0 else {
            throw CommandError.usage("\(path) is no file that can be read twice, as resuming an import needs")
        }
    }

    private func forEachPiece(_ body: ([UInt8]) -> Bool) throws {
        while let piece = try readPiece(), body(piece) {}
    }

    fileprivate func readPiece() throws -> [UInt8]? {
        var piece = [UInt8](repeating: 0, count: 1 << 18)
        while true {
            let count = Glibc.read(descriptor, &piece, piece.count)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw InputFile.failure(path) }
            return count == 0 ? nil : Array(piece[..<count])
        }
    }
}

/// Lines of a file without their ends; the last may lack one.
private struct LineReader {
    private let file: ImportFile
    private var buffer: [UInt8] = []
    private var offset = 0
    private var isAtEnd = false
    /// A value in Base64 or escapes, and its key.
    private let lineSizeMax = 6 * Limits.valueSizeMaxCeiling

    init(file: ImportFile) { self.file = file }

    mutating func next() throws -> [UInt8]? {
        var searched = offset
        while true {
            if let end = buffer[searched...].firstIndex(of: 0x0A) {
                defer { offset = end + 1 }
                return Array(buffer[offset..<end])
            }
            if isAtEnd {
                defer { offset = buffer.count }
                return offset < buffer.count ? Array(buffer[offset...]) : nil
            }
            buffer.removeFirst(offset)
            offset = 0
            searched = buffer.count
            guard searched <= lineSizeMax else {
                throw CommandError("tooLarge", "\(file.path) has a line of more than \(lineSizeMax) bytes")
            }
            if let piece = try file.readPiece() { buffer += piece } else { isAtEnd = true }
        }
    }
}

/// Lines that are imported by one transaction.
struct ImportBatch {
    struct Record: Hashable {
        var key: [UInt8]
        var value: [UInt8]
    }

    static let lineCountMax = 1_000
    /// Bytes of keys and values; well below the limit of a transaction, so that one batch never holds up a node for
    /// long.
    static let sizeMax = 1_024 * 1_024

    /// Counted from 0.
    let firstLine: Int
    /// Empty lines count here and leave no record.
    private(set) var lineCount = 0
    private(set) var records: [Record] = []
    private var keys: Set<[UInt8]> = []
    private var size = 0

    init(firstLine: Int) { self.firstLine = firstLine }

    /// Line after the last one.
    var end: Int { firstLine + lineCount }

    /// A transaction puts a key only once, so a second record of one key waits for the next batch.
    func hasRoom(for record: Record?) -> Bool {
        guard lineCount < Self.lineCountMax else { return false }
        guard let record, lineCount > 0 else { return true }
        return size + record.key.count + record.value.count <= Self.sizeMax && !keys.contains(record.key)
    }

    mutating func add(_ record: Record?) {
        lineCount += 1
        guard let record else { return }
        keys.insert(record.key)
        size += record.key.count + record.value.count
        records.append(record)
    }

    /// Nil for an empty line.
    static func parse(_ line: [UInt8], place: String) throws -> Record? {
        guard !line.allSatisfy({ $0 == 0x20 || $0 == 0x09 || $0 == 0x0D }) else { return nil }
        let row: KeyAndValue
        do {
            row = try JSONDecoder().decode(KeyAndValue.self, from: Data(line))
        } catch let error as DecodingError {
            throw CommandError("invalidRequest", "\(place): \(describe(error))")
        }
        guard let value = row.value else { throw CommandError("invalidRequest", "\(place): \"value\" is missing") }
        return Record(key: row.key, value: value)
    }
}
