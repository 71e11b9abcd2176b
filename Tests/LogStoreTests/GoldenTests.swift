import Basics
import Disk
import Foundation
import LogFormat
import LogStore
import RaftCore
import Testing

/// The formats, byte for byte. A change here is a change of what is on users' disks: it needs a new version number.
@Suite struct GoldenTests {
    /// Hexadecimal digits of a file in `Golden`; `#` begins a comment, `@N` continues at offset N after zeros.
    private func golden(_ name: String) throws -> [UInt8] {
        let path = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("Golden/\(name)")
        var bytes: [UInt8] = []
        for line in try String(contentsOf: path, encoding: .utf8).split(separator: "\n") {
            for word in line.prefix(while: { $0 != "#" }).split(separator: " ") {
                if word.hasPrefix("@") {
                    let offset = try #require(Int(word.dropFirst()))
                    bytes += [UInt8](repeating: 0, count: offset - bytes.count)
                } else {
                    for digits in stride(from: 0, to: word.count, by: 2) {
                        let start = word.index(word.startIndex, offsetBy: digits)
                        bytes.append(try #require(UInt8(word[start...].prefix(2), radix: 16)))
                    }
                }
            }
        }
        return bytes
    }

    private func expectSame(_ bytes: [UInt8], _ expected: [UInt8]) {
        let first = zip(bytes, expected).enumerated().first { $1.0 != $1.1 }?.offset
        #expect(first == nil, "first difference at \(first ?? 0)")
        #expect(bytes.count == expected.count)
        if bytes != expected { print(bytes.map { hex($0) }.joined()) }
    }

    private func hex(_ byte: UInt8) -> String { (byte < 16 ? "0" : "") + String(byte, radix: 16) }

    /// Two segments: a batch of two records, a seal, a vote, a truncating batch with a configuration; then a batch that
    /// needs the second segment.
    private func pinnedLog() throws -> MemoryDisk {
        let disk = MemoryDisk()
        let (log, _) = try open(disk)
        try log.append([task(slab(1, count: 2, payloadSize: 8), vote: 5)])
        try log.seal()
        try log.append([
            task(nil, term: 2), task(slab(2, term: 2, payloadSize: 4, type: .configuration), term: 2, truncateAfter: 1),
        ])
        try log.append([task(slab(3, term: 2, payloadSize: 3_300), term: 2, vote: 7)])
        return disk
    }

    @Test("Segment header, batch, seal, truncation and record are as drawn", arguments: [0, 1])
    func segments(number: Int) throws {
        let disk = try pinnedLog()
        let path = disk.segments[number]
        var bytes = disk.names[path]!.bytes
        bytes.removeLast(bytes.count - bytes.lastIndex { $0 != 0 }! - 1)
        expectSame(bytes, try golden("segment\(number + 1).hex"))
        #expect(disk.segments.map { String($0.dropFirst(4)) } == [
            "0000000000000001-0000000000000001.segment", "0000000000000002-0000000000000003.segment",
        ])
    }

    @Test("A log written by the first release is read")
    func reading() throws {
        let disk = MemoryDisk()
        for (number, path) in try pinnedLog().segments.enumerated() {
            let file = MemoryDisk.Node()
            file.bytes = try golden("segment\(number + 1).hex")
            file.bytes += [UInt8](repeating: 0, count: 8_192 - file.bytes.count)
            disk.names[path] = file
        }
        let (log, report) = try open(disk)
        #expect(report.damages.isEmpty && report.tornTail == nil)
        #expect(try contents(log) == [1: 1, 2: 2, 3: 2])
        #expect(log.hardState == HardState(currentTerm: Term(2), votedFor: NodeID(7)))
        #expect(log.configurations.map(\.index) == [LogIndex(2)])
    }

    @Test("The identity file is as drawn")
    func identity() throws {
        let identity = NodeIdentity(
            cluster: ClusterIdentity(id: 0x1111, generation: 2, generationTag: 0x3333), name: "alpha",
            incarnation: NodeID(0xABCD), foundingRecord: [1, 2, 3])
        expectSame(identity.encoded(), try golden("identity.hex"))
        let pinned = try golden("identity.hex")
        let decoded = try NodeIdentity(decoding: pinned.rawSpan)
        #expect(decoded == identity)
    }
}
