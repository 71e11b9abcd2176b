import Basics
import Disk
import Foundation
import LogFormat
import LogStore
import MetadataMachine
import MetadataModel
import RaftCore
import ReplicaCore
import ReplicaStorage
import Snapshots
import StateEngine

/// Starts from a data directory as a node does, and reads everything in it.
enum Examination {
    enum Result {
        /// Opened and read to the end; the notes are what an operator is told.
        case read(NodeContent, notes: [String])
        /// Opened, and says that its state has to come from a peer.
        case asksPeers(notes: [String])
        /// Refused, at the start or by the read that met the damage.
        case refused(String)
        case wrong(String)
    }

    static func of<Home: EngineHome>(_ path: String, _ makeHome: (String) -> Home) -> Result {
        defer { try? FileManager.default.removeItem(atPath: path) }
        do {
            return try read(path, makeHome(path))
        } catch let error as WrongAnswer {
            return .wrong(error.description)
        } catch {
            return .refused("\(error)")
        }
    }

    static func open<Home: EngineHome>(
        _ path: String, _ record: FoundingRecord, _ home: Home, _ demand: LogDemand = .whole(isVerified: false),
        on disk: any FileSystem = PosixFileSystem()
    ) throws -> OpenedNode<Home> {
        var settings = LogSettings()
        settings.segmentSize = 16_384
        return try OpenedNode(
            fileSystem: disk, directory: path, identity: record.identity, node: TestNode.id,
            founding: record, home: home, logSettings: settings, demand: demand)
    }

    private static func read<Home: EngineHome>(_ path: String, _ home: Home) throws -> Result {
        let disk = PosixFileSystem()
        guard let identity = try NodeIdentity.load(from: path, on: disk) else {
            throw Unexpected(description: "\(path) is taken for a new directory")
        }
        try identity.check(name: TestNode.name, cluster: TestNode.cluster)
        let record = try FoundingRecord(decoding: identity.foundingRecord.rawSpan)
        let opened = try open(path, record, home)
        guard !opened.restored.needsState else { return .asksPeers(notes: opened.notes) }
        let log = opened.log.log
        let entries = try replay(opened, through: log.lastIndex)
        let engine = opened.state.machine.engine
        // By scanning, and by key, which goes through indexes and filters that a scan passes by.
        let rows = try ContentDigest(ofRowsIn: Keyspace.replicated, of: engine)
        var missing = 0
        for range in Keyspace.replicated {
            try engine.scan(from: range.from, to: range.to, reversed: false) { (key, value) throws(EngineError) in
                if try engine.get(key) != [UInt8](value) { missing += 1 }
                return .next
            }
        }
        guard missing == 0 else { throw WrongAnswer(description: "\(missing) rows are not found by their keys") }
        try readSnapshots(opened.snapshots, path)
        let content = NodeContent(
            name: identity.name, incarnation: identity.incarnation, hardState: log.hardState, last: log.last,
            entries: entries.filter { $0.key > 90 }, rows: rows,
            sessions: try opened.state.machine.snapshotSource().sessions)
        return .read(content, notes: opened.notes)
    }

    /// Applies what the log has after the state, as a node does once it is committed.
    /// - Returns: the payload of every entry.
    static func replay<Home: EngineHome>(
        _ opened: OpenedNode<Home>, through last: LogIndex
    ) throws -> [UInt64: [UInt8]] {
        let log = opened.log.log
        var entries: [UInt64: [UInt8]] = [:]
        var next = log.firstIndex
        while next <= last {
            let slabs: [Slab]
            do throws(LogReadError) {
                slabs = try log.read(from: next, through: last, bytesMax: 1_000_000)
            } catch {
                guard case .damaged(let damage) = error else { throw error }
                throw damage
            }
            for slab in slabs {
                for index in slab.firstIndex.rawValue...slab.lastIndex.rawValue {
                    entries[index] = [UInt8](slab.record(at: LogIndex(index)).payload)
                }
                next = slab.lastIndex.next
                let due = opened.state.machine.applied.last.index.next
                guard slab.lastIndex >= due else { continue }
                let range = max(due, slab.firstIndex)...slab.lastIndex
                if case .damaged(let reason, _) = try opened.state.perform(.entries([slab], range: range), now: .zero) {
                    throw Unexpected(description: reason)
                }
            }
        }
        return entries
    }

    /// What a peer would be given.
    private static func readSnapshots(_ keeper: SnapshotKeeper, _ path: String) throws {
        var damage: SnapshotKeeperError?
        let newest = try keeper.newest { damage = $0 }
        if let damage { throw damage }
        guard let newest else { return }
        var chunks: [[UInt8]] = []
        for number in newest.chunks.indices {
            let piece = SnapshotPiece(last: newest.head.revision, chunk: UInt32(number))
            chunks.append(try keeper.load(piece, sizeMax: Limits.snapshotPieceSizeMax).bytes)
        }
        let installer = try SnapshotInstaller(newest, ranges: Keyspace.carried, into: MemoryEngine())
        for chunk in chunks { try installer.install(chunk.rawSpan) }
        try installer.finish()
    }
}

/// What damage must never lead to.
struct WrongAnswer: Error, CustomStringConvertible {
    var description: String
}
