internal import Basics
internal import MetadataMachine
internal import MetadataModel
internal import Snapshots
internal import StateEngine

/// Snapshots as the builder makes them: of nothing, of a few rows, and of so many that they are packed.
enum SnapshotSeeds {
    static let members = SnapshotMembership(
        stored: StoredMembership(
            index: LogIndex(5),
            membership: Membership(
                members: [Member(id: NodeID(1), name: "n1", peerAddress: "h:1")], incoming: [NodeID(1)])),
        info: [MemberInfo(node: NodeID(1), clientAddress: "h:2", version: "1", featureLevel: 1)])

    private struct Parts {
        var chunks: [SnapshotChunk] = []
        var manifest: SnapshotManifest
    }

    private static func parts(rows: Int) throws -> Parts {
        let engine = MemoryEngine()
        var batch = WriteBatch()
        for row in 0..<rows {
            let number = String(row)
            batch.put([0x10] + Array("a/\(number)".utf8), [7, 0, 0, 0, 0, 0, 0, 0] + Array("value \(number)".utf8))
        }
        engine.write(batch)
        let head = SnapshotHead(
            cluster: ClusterIdentity(id: 1, generation: 2, generationTag: 3),
            revision: EntryID(term: Term(2), index: LogIndex(90)), time: ClusterTime(nanoseconds: 0x1122),
            changeDigest: 0x3344, membership: members.encoded(), sessions: NoSessions.encoded)
        let builder = SnapshotBuilder(engine, ranges: Keyspace.carried, head: head)
        var chunks: [SnapshotChunk] = []
        while let chunk = try builder.nextChunk() { chunks.append(chunk) }
        return Parts(chunks: chunks, manifest: builder.manifest())
    }

    private static var all: [Parts] { [0, 2, 40].compactMap { try? parts(rows: $0) } }

    static var files: [[UInt8]] {
        all.map { parts in
            var writer = SnapshotFileWriter()
            var bytes = writer.header
            for chunk in parts.chunks {
                writer.add(chunk)
                bytes += chunk.bytes
            }
            return bytes + writer.finish(parts.manifest)
        }
    }

    static var manifests: [[UInt8]] { all.map { $0.manifest.encoded() } }
    static var chunks: [[UInt8]] { all.flatMap(\.chunks).map(\.bytes) }

    /// Of the chunks that are packed: size of the rows, and the frame. And one that claims more than a frame of its size
    /// may hold.
    static var packed: [[UInt8]] {
        let frames = chunks.filter { $0[5] == 1 }.map { Array($0[8..<12] + $0[20...]) }
        return frames + frames.map { [0, 0, 0, 1] + $0[4...] }
    }
}
