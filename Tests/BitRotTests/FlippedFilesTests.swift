import Basics
import Disk
import Foundation
import ReplicaStorage
import Server
import StateEngine
import Testing

/// One bit of one file of a stopped node that is not what was written there: the node refuses, says so and puts it right,
/// or it makes no difference at all.
@Suite struct FlippedFilesTests {
    /// A kind of file: how many of its bytes are tried, and what must be read when one is damaged.
    struct Kind: CustomTestStringConvertible {
        var title: String
        /// Whether a file of this path, from the directory's root, is of the kind.
        var matches: @Sendable (String) -> Bool
        /// All of them where the files are small; else so many, drawn from the seed.
        var flips = Int.max
        /// Where a difference that nobody can see is no surprise: what is never read, or was never used.
        var mayBeHarmless = false
        /// The message names the file.
        var namesFile = true
        var testDescription: String { title }
    }

    static let kinds = [
        Kind(title: "identity", matches: { $0 == "identity" }),
        Kind(title: "peers", matches: { $0 == "peers" }),
        Kind(title: "state", matches: { $0 == "state" }),
        Kind(title: "log segments", matches: { $0.hasSuffix(".segment") }, flips: 300, mayBeHarmless: true),
        Kind(title: "spare segments", matches: { $0.contains("/spare-") }, flips: 30, mayBeHarmless: true),
        Kind(title: "table files", matches: { $0.hasSuffix(".sst") }, flips: 400, mayBeHarmless: true),
        Kind(title: "MANIFEST", matches: { $0.contains("/MANIFEST-") }, mayBeHarmless: true),
        Kind(title: "CURRENT", matches: { $0.hasSuffix("/CURRENT") }),
        Kind(title: "OPTIONS", matches: { $0.contains("/OPTIONS-") }, flips: 60, mayBeHarmless: true),
        Kind(
            title: "RocksDB's IDENTITY, LOG and LOCK",
            matches: { ["IDENTITY", "LOG", "LOCK"].contains($0.split(separator: "/").last) }, flips: 60,
            mayBeHarmless: true),
        Kind(title: "snapshot manifest", matches: { $0.hasPrefix("snapshots/") && $0.hasSuffix("/manifest") }),
        Kind(title: "snapshot chunk", matches: { $0.contains("/chunk-") }, flips: 300),
    ]

    @Test("a flipped bit in a file of a member with RocksDB", arguments: kinds)
    func inRocks(_ kind: Kind) throws {
        let directory = try NodeDirectory { RocksHome(directory: $0, fileSystem: PosixFileSystem()) }
        try flip(kind, in: directory)
    }

    private func flip<Home: EngineHome>(_ kind: Kind, in directory: NodeDirectory<Home>) throws {
        let files = try directory.files().filter(kind.matches)
        let sizes = try files.map { try Data(contentsOf: URL(filePath: "\(directory.path)/\($0)")).count }
        let total = sizes.reduce(0, +)
        var random = SplitMix64(seed: 20_261)
        var places = Array(0..<total)
        if total > kind.flips { places = (0..<kind.flips).map { _ in Int(random.next() % UInt64(total)) } }
        var counts: [String: Int] = [:]
        var messages: [String: Int] = [:]
        for place in places {
            var offset = place
            var number = 0
            while offset >= sizes[number] {
                offset -= sizes[number]
                number += 1
            }
            let bit = UInt8(1) << UInt8(random.next() % 8)
            let result = try directory.examine { path in
                let file = URL(filePath: "\(path)/\(files[number])")
                var bytes = try Data(contentsOf: file)
                bytes[offset] ^= bit
                try bytes.write(to: file)
            }
            let what = "\(files[number]), byte \(offset), bit \(bit)"
            let said: String
            switch result {
            case .read(let content, let notes):
                #expect(content == directory.content, "\(what): read something else; \(notes)")
                said = notes.joined(separator: "; ")
                counts[notes.isEmpty ? "harmless" : "mended", default: 0] += 1
                if notes.isEmpty { #expect(kind.mayBeHarmless, "\(what): nobody noticed") }
            case .asksPeers(let notes):
                said = notes.joined(separator: "; ")
                counts["asks peers", default: 0] += 1
            case .refused(let message):
                said = message
                counts["refused", default: 0] += 1
            case .wrong(let message):
                said = message
                Issue.record("\(what): \(message)")
            }
            if !said.isEmpty {
                let name = files[number].split(separator: "/").last.map(String.init) ?? ""
                messages[
                    said.replacing(directory.path, with: "DIR").replacing(/copy-[0-9A-F-]*/, with: "")
                        .replacing(/[0-9]+/, with: "N") + (said.contains(name) ? "" : " !!!"), default: 0] += 1
            }
        }
        print("== \(kind.title): \(files.count) files, \(total) bytes: \(counts.sorted { $0.key < $1.key })")
        for (message, count) in messages.sorted(by: { $0.value > $1.value }).prefix(30) { print("   \(count)  \(message)") }
    }
}
