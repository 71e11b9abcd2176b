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
import Server
import Snapshots
import StateEngine

/// The data directory of a stopped node with every kind of file in it that a node writes, and what must be read of it.
///
/// Its log begins behind entry 30 or so and reaches through 120; its state was flushed three times and is that of entry
/// 90; the snapshot that it made last is of 60, or of 90 where the state is kept in memory.
final class NodeDirectory<Home: EngineHome> {
    let path: String
    let content: NodeContent
    /// What an operator is told when nothing is wrong.
    let notes: [String]
    private let makeHome: (String) -> Home

    /// - Parameter isAlone: it is the only member, so that nobody else has what it may lose.
    init(isAlone: Bool = false, _ makeHome: @escaping (String) -> Home) throws {
        // In memory where there is such a place: opening syncs a dozen files.
        let root = FileManager.default.fileExists(atPath: "/dev/shm") ? "/dev/shm" : NSTemporaryDirectory()
        path = "\(root)/quorate-bit-rot-\(UUID().uuidString)"
        self.makeHome = makeHome
        try FileManager.default.createDirectory(
            atPath: path, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o700])
        try Self.fill(path, isAlone: isAlone, makeHome)
        switch Examination.of(try Self.copy(path), makeHome) {
        case .read(let content, let notes): (self.content, self.notes) = (content, notes)
        case let other: throw Unexpected(description: "the directory as it was made: \(other)")
        }
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    /// What comes of a copy of it after `damage` was done to that.
    func examine(after damage: (String) throws -> Void) throws -> Examination.Result {
        let copy = try Self.copy(path)
        try damage(copy)
        return Examination.of(copy, makeHome)
    }

    /// It itself, opened as a node does.
    func open(
        _ demand: LogDemand = .whole(isVerified: false), on disk: any FileSystem = PosixFileSystem()
    ) throws -> OpenedNode<Home> {
        guard let identity = try NodeIdentity.load(from: path, on: PosixFileSystem()) else {
            throw Unexpected(description: "\(path) is taken for a new directory")
        }
        let record = try FoundingRecord(decoding: identity.foundingRecord.rawSpan)
        return try Examination.open(path, record, makeHome(path), demand, on: disk)
    }

    /// Every file in it, from its root, sorted.
    func files() throws -> [String] {
        let names = try FileManager.default.subpathsOfDirectory(atPath: path)
        return names.sorted().filter { name in
            var isDirectory: ObjCBool = false
            return FileManager.default.fileExists(atPath: "\(path)/\(name)", isDirectory: &isDirectory)
                && !isDirectory.boolValue
        }
    }

    private static func copy(_ path: String) throws -> String {
        let copy = "\(path)-copy-\(UUID().uuidString)"
        try FileManager.default.copyItem(atPath: path, toPath: copy)
        return copy
    }

    // MARK: - Making it

    private static func fill(_ path: String, isAlone: Bool, _ makeHome: (String) -> Home) throws {
        let disk = PosixFileSystem()
        var members = [Member(id: TestNode.id, name: TestNode.name, peerAddress: "127.0.0.1:7501")]
        if !isAlone {
            members.append(Member(id: NodeID(1 << 32 | 6), name: "n2", peerAddress: "127.0.0.1:7502"))
            members.append(Member(id: NodeID(1 << 32 | 7), name: "n3", peerAddress: "127.0.0.1:7503"))
        }
        let record = FoundingRecord(
            identity: TestNode.cluster, createdAt: time(of: 0),
            membership: Membership(members: members, incoming: members.map(\.id)))
        try NodeIdentity(
            cluster: TestNode.cluster, name: TestNode.name, incarnation: TestNode.id, foundingRecord: record.encoded()
        ).store(in: path, on: disk)
        try PeerMemory([NodeID(6): LogIndex(50), NodeID(7): LogIndex(44)]).store(in: path, on: disk)
        for step in [30, 60, 90] as [UInt64] {
            let opened = try Examination.open(path, record, makeHome(path))
            try append(step - 29...step, to: opened.log.log)
            _ = try Examination.replay(opened, through: LogIndex(step))
            try opened.state.machine.engine.flush()
            if step == 60 || opened.state.home.isVolatile {
                _ = try opened.snapshots.build(try opened.state.snapshotSource(), founding: record.membership)
            }
            if step == 30, !opened.state.home.isVolatile { try replaceState(opened, record) }
            if step == 90 {
                try append(91...120, to: opened.log.log)
                try opened.log.log.compact(through: LogIndex(60))
            }
            try opened.log.log.seal()
        }
    }

    /// As after a state was rebuilt: the live one is not the first, and a file says which it is.
    private static func replaceState(_ opened: OpenedNode<Home>, _ record: FoundingRecord) throws {
        _ = try opened.snapshots.build(try opened.state.snapshotSource(), founding: record.membership)
        guard let manifest = try opened.snapshots.newest(damaged: { _ in }) else { return }
        try opened.snapshots.restore(manifest, into: try opened.state.home.makeSuccessor())
        try opened.state.home.adoptSuccessor()
    }

    /// Entry 1 is the no-op of the term, all others are puts and deletes of one session.
    private static func append(_ range: ClosedRange<UInt64>, to log: SegmentedLog) throws {
        for first in stride(from: range.lowerBound, through: range.upperBound, by: 5) {
            var builder = SlabBuilder(term: Term(1), firstIndex: LogIndex(first), salt: TestNode.cluster.salt)
            for index in first..<first + 5 {
                if index == 1 {
                    builder.append(.noop, payload: [UInt8]().rawSpan, time: time(of: index))
                } else {
                    builder.append(.command, payload: command(index).rawSpan, time: time(of: index))
                }
            }
            let hardState = HardState(currentTerm: Term(1), votedFor: TestNode.id)
            try log.append([LogTask(hardState: hardState, slab: builder.close())])
        }
    }

    private static func command(_ index: UInt64) -> [UInt8] {
        let key = Array("key/\(index % 40)".utf8)
        let mutation: Mutation =
            index % 7 == 0 ? .delete(key: key) : .put(key: key, value: Array("value-\(index)-".utf8) + filler(index))
        let opening = SessionOpening(openedAt: time(of: 1), timeout: .seconds(60))
        var writer = ByteWriter()
        CommandHeader(kind: mutation.kind, session: SessionID(3, 4), sequence: index - 1, opening: opening)
            .encode(into: &writer)
        mutation.encodeBody(into: &writer)
        return writer.takeBytes()
    }

    /// Bytes of chance, so that nothing is packed away.
    private static func filler(_ index: UInt64) -> [UInt8] {
        var random = SplitMix64(seed: index)
        return (0..<220).map { _ in UInt8(truncatingIfNeeded: random.next()) }
    }

    private static func time(of index: UInt64) -> ClusterTime {
        ClusterTime(nanoseconds: 1_700_000_000_000_000_000 + index * 1_000_000)
    }
}

enum TestNode {
    static let cluster = ClusterIdentity(id: 11, generation: 1, generationTag: 7)
    static let id = NodeID(1 << 32 | 5)
    static let name = "n1"
}

/// All that a node says and serves.
struct NodeContent: Equatable {
    var name: String
    var incarnation: NodeID
    var hardState: HardState
    var last: EntryID
    /// Those after the newest entry that any of its states was made durable with.
    var entries: [UInt64: [UInt8]]
    var rows: ContentDigest
    var sessions: [UInt8]
}

struct Unexpected: Error, CustomStringConvertible {
    var description: String
}
