import Foundation

/// The log of a stopped node, as bytes.
enum LogFiles {
    struct Place: Hashable {
        var path: String
        var offset: Int
    }

    static func segments(of nodeDirectory: String) throws -> [String] {
        let directory = "\(nodeDirectory)/log"
        return try FileManager.default.contentsOfDirectory(atPath: directory).sorted().map { "\(directory)/\($0)" }
    }

    /// The file and offset where `text` stands in the log; it must be there once.
    static func find(_ text: String, in nodeDirectory: String) throws -> Place {
        var found: [Place] = []
        for path in try segments(of: nodeDirectory) {
            let bytes = try Data(contentsOf: URL(filePath: path))
            var rest = bytes.startIndex..<bytes.endIndex
            while let range = bytes.range(of: Data(text.utf8), in: rest) {
                found.append(Place(path: path, offset: range.lowerBound))
                rest = range.upperBound..<bytes.endIndex
            }
        }
        guard found.count == 1, let place = found.first else {
            throw TestFailure("\"\(text)\" stands \(found.count) times in the log of \(nodeDirectory)")
        }
        return place
    }

    /// Turns one bit over; a second time sets it right.
    static func flipBit(of path: String, at offset: Int) throws {
        let file = try FileHandle(forUpdating: URL(filePath: path))
        defer { try? file.close() }
        try file.seek(toOffset: UInt64(offset))
        guard let byte = try file.read(upToCount: 1)?.first else { throw TestFailure("\(path) ends before \(offset)") }
        try file.seek(toOffset: UInt64(offset))
        try file.write(contentsOf: Data([byte ^ 0x10]))
    }

    /// A bit in every line of the newest segment, so that no header in it can be read; the file's path.
    static func rotNewestSegment(of nodeDirectory: String) throws -> String {
        guard let path = try segments(of: nodeDirectory).last(where: { $0.hasSuffix(".segment") }) else {
            throw TestFailure("no segment in \(nodeDirectory)")
        }
        var bytes = try Data(contentsOf: URL(filePath: path))
        for offset in stride(from: 17, to: bytes.count, by: 64) { bytes[offset] ^= 0x04 }
        let file = try FileHandle(forUpdating: URL(filePath: path))
        defer { try? file.close() }
        try file.write(contentsOf: bytes)
        return path
    }
}
