import Basics
import Disk
import Foundation
import ReplicaStorage
import Server
import StateEngine
import Testing

/// One bit of one file of a stopped node is not what was written there: the node refuses and says where, it puts things
/// right and says so, or it makes no difference at all.
@Suite struct FlippedFilesTests {
    /// A kind of file: how many of its bytes are tried, and what may come of it.
    struct Kind: CustomTestStringConvertible {
        var title: String
        /// Whether the file of this path, seen from the data directory, is of the kind.
        var matches: @Sendable (String) -> Bool
        /// Every byte where the files are small; else so many, drawn from the seed.
        var flips = Int.max
        /// It has bytes that nobody reads, or that were never written.
        var hasUnused = false
        /// What is said names the file itself; RocksDB names at times only another one beside it.
        var namesFile = true
        /// What is said names the place in the file; for a file that is read as one piece the name is enough.
        var namesOffset = false

        var testDescription: String { title }
    }

    static let common = [
        Kind(title: "identity", matches: { $0 == "identity" }),
        Kind(title: "peers", matches: { $0 == "peers" }),
        Kind(
            title: "log segments", matches: { $0.hasSuffix(".segment") }, flips: 300, hasUnused: true,
            namesOffset: true),
        Kind(title: "spare segments", matches: { $0.contains("/spare-") }, flips: 40, hasUnused: true),
        Kind(
            title: "snapshot manifest", matches: { $0.hasPrefix("snapshots/") && $0.hasSuffix("/manifest") },
            flips: 200),
        Kind(title: "snapshot chunk", matches: { $0.contains("/chunk-") }, flips: 200),
    ]
    static let rocks = [
        Kind(title: "state", matches: { $0 == "state" }, hasUnused: true),
        Kind(
            title: "RocksDB's tables", matches: { $0.hasSuffix(".sst") }, flips: 300, hasUnused: true,
            namesFile: false),
        Kind(title: "RocksDB's MANIFEST", matches: { $0.contains("/MANIFEST-") }, hasUnused: true),
        Kind(title: "RocksDB's CURRENT", matches: { $0.hasSuffix("/CURRENT") }, namesFile: false),
        Kind(title: "RocksDB's OPTIONS", matches: { $0.contains("/OPTIONS-") }, flips: 60, hasUnused: true),
        // What it says of itself for people, and its own write-ahead log, which is off.
        Kind(
            title: "RocksDB's IDENTITY, LOG, LOCK and .log", matches: isUnread, flips: 60, hasUnused: true),
    ]

    private static func isUnread(_ path: String) -> Bool {
        let name = path.split(separator: "/").last ?? ""
        return name == "IDENTITY" || name == "LOCK" || name.hasPrefix("LOG") || name.hasSuffix(".log")
    }

    private static func rocksHome(_ path: String) -> RocksHome {
        RocksHome(directory: path, fileSystem: PosixFileSystem())
    }

    @Test("in a member with RocksDB", arguments: common + rocks)
    func member(_ kind: Kind) throws {
        let counts = try flip(kind, in: NodeDirectory(Self.rocksHome))
        // A state that cannot be opened comes back from the snapshot that the node has made, or from the others.
        if ["RocksDB's MANIFEST", "RocksDB's CURRENT", "state"].contains(kind.title) {
            #expect(counts.refused == 0, "\(counts)")
        }
    }

    /// With nobody to ask: what cannot be put right from this directory alone is refused, and stays as it is.
    @Test("in the only member of a cluster, with RocksDB and no snapshot", arguments: common + rocks)
    func alone(_ kind: Kind) throws {
        let directory = try NodeDirectory(isAlone: true, Self.rocksHome)
        try FileManager.default.removeItem(atPath: "\(directory.path)/snapshots")
        let counts = try flip(kind, in: directory)
        #expect(counts.asksPeers == 0, "\(counts)")
    }

    @Test("in a member that keeps its rows in memory", arguments: common)
    func memory(_ kind: Kind) throws {
        let counts = try flip(kind, in: NodeDirectory { _ in MemoryHome() })
        if kind.title.hasPrefix("snapshot") { #expect(counts.asksPeers > 0, "\(counts)") }
    }

    @Test("every kind of file of a data directory is in the table")
    func tableIsComplete() throws {
        let kinds = Self.common + Self.rocks
        let volatile = try NodeDirectory { _ in MemoryHome() }
        for file in try NodeDirectory(Self.rocksHome).files() + volatile.files() {
            #expect(kinds.count { $0.matches(file) } == 1, "\(file)")
        }
    }

    /// The file that names the live state, damaged while there are two: which one it was is not guessed.
    @Test("in the file that names the live state, while a successor is there")
    func twoStates() throws {
        let directory = try NodeDirectory(Self.rocksHome)
        let live = try #require(try directory.files().first { $0.hasPrefix("state-") }?.split(separator: "/").first)
        let number = try #require(Int(live.dropFirst("state-".count)))
        for other in [number - 1, number + 1] {
            let copy = "\(directory.path)/state-\(other)"
            try FileManager.default.createDirectory(atPath: copy, withIntermediateDirectories: false)
            let counts = try flip(Kind(title: "state beside state-\(other)", matches: { $0 == "state" }), in: directory)
            #expect(counts.mended > 0 && counts.refused == 0, "\(counts)")
            try FileManager.default.removeItem(atPath: copy)
        }
    }

    // MARK: -

    struct Counts {
        var harmless = 0
        /// Put right from what else is in the directory, with a note.
        var mended = 0
        /// To be had from the other members, with a note.
        var asksPeers = 0
        var refused = 0
    }

    private func flip<Home: EngineHome>(_ kind: Kind, in directory: NodeDirectory<Home>) throws -> Counts {
        let files = try directory.files().filter(kind.matches)
        let sizes = try files.map { try Data(contentsOf: URL(filePath: "\(directory.path)/\($0)")).count }
        let total = sizes.reduce(0, +)
        var random = SplitMix64(seed: 20_261)
        var places = Array(0..<total)
        if total > kind.flips { places = (0..<kind.flips).map { _ in Int(random.next() % UInt64(total)) } }
        var counts = Counts()
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
            judge(result, kind, directory, file: files[number], "\(files[number]), byte \(offset)", &counts)
        }
        print("\(kind.title): \(files.count) files, \(total) bytes, \(places.count) flips: \(counts)")
        return counts
    }

    private func judge<Home: EngineHome>(
        _ result: Examination.Result, _ kind: Kind, _ directory: NodeDirectory<Home>, file: String, _ what: String,
        _ counts: inout Counts
    ) {
        switch result {
        case .read(let content, let notes):
            #expect(content == directory.content, "\(what): something else was read; \(notes)")
            if notes == directory.notes {
                counts.harmless += 1
                #expect(kind.hasUnused, "\(what): nobody noticed")
            } else {
                counts.mended += 1
                checkMessage(notes.joined(separator: "; "), kind, file, what)
            }
        case .asksPeers(let notes):
            counts.asksPeers += 1
            checkMessage(notes.joined(separator: "; "), kind, file, what)
        case .refused(let message):
            counts.refused += 1
            checkMessage(message, kind, file, what)
        case .wrong(let message): Issue.record("\(what): \(message)")
        }
    }

    /// The file is named, or at least the directory of the state that it is part of.
    private func checkMessage(_ message: String, _ kind: Kind, _ file: String, _ what: String) {
        let name = file.split(separator: "/").last.map(String.init) ?? file
        let isNamed = message.contains(name) || (!kind.namesFile && message.contains("/state-"))
        #expect(isNamed, "\(what): \(message)")
        if kind.namesOffset { #expect(message.contains("at offset"), "\(what): \(message)") }
    }
}
