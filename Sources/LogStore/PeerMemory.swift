package import Basics
package import Disk

/// How far other nodes have acknowledged committed entries to this one, kept so that a node which comes back with less
/// is told so, also after everybody has been restarted. A help, never a promise: without it nothing is lost but that.
///
///      0    8   magic      "QUORPEER"
///      8   u32  version    1
///     12   u32  crc32c     over 16 … end
///     16   u32  count      then count × (u64 node, u64 index), ascending by node
package struct PeerMemory: Hashable, Sendable {
    package var acknowledged: [NodeID: LogIndex]

    package static let fileName = "peers"
    private static let magic: [UInt8] = Array("QUORPEER".utf8)
    private static let version: UInt32 = 1
    private static let countMax = 4_096

    package init(_ acknowledged: [NodeID: LogIndex] = [:]) { self.acknowledged = acknowledged }

    /// What is kept in `directory`; nothing when the file is not there. Damage is thrown, for a note in the log.
    package static func load(
        from directory: String, on fileSystem: any FileSystem
    ) throws(IdentityError) -> PeerMemory {
        let path = "\(directory)/\(fileName)"
        let bytes: [UInt8]
        do throws(DiskError) {
            guard try fileSystem.exists(path) else { return PeerMemory() }
            let file = try fileSystem.open(path, .existing)
            bytes = try file.read(at: 0, count: min(try file.size(), 20 + 16 * countMax))
        } catch {
            throw .disk(error)
        }
        do throws(DecodeError) {
            return try PeerMemory(decoding: bytes.rawSpan)
        } catch {
            throw .damaged(file: path, reason: error.description)
        }
    }

    /// Replaces the file; a crash leaves the old one or this one.
    package func store(in directory: String, on fileSystem: any FileSystem) throws(DiskError) {
        try fileSystem.replaceFile(Self.fileName, in: directory, with: encoded())
    }

    package func encoded() -> [UInt8] {
        var writer = ByteWriter()
        writer.write(Self.magic)
        writer.write(Self.version)
        writer.write(UInt32(0))
        let rows = acknowledged.sorted { $0.key < $1.key }.prefix(Self.countMax)
        writer.write(UInt32(rows.count))
        for (node, index) in rows {
            writer.write(node.rawValue)
            writer.write(index.rawValue)
        }
        let end = writer.bytes.count
        writer.overwrite(at: 12, with: CRC32C.checksum(of: writer.bytes.rawSpan.extracting(16..<end)))
        return writer.takeBytes()
    }

    package init(decoding bytes: RawSpan) throws(DecodeError) {
        var reader = ByteReader(bytes)
        guard try reader.readBytes(8).hasSameBytes(as: Self.magic.rawSpan) else { throw .invalid("magic") }
        let version = try reader.readUInt32()
        guard version == Self.version else { throw .unknown("version", UInt64(version)) }
        let stored = try reader.readUInt32()
        let computed = CRC32C.checksum(of: bytes.extracting(16..<bytes.byteCount))
        guard stored == computed else { throw .checksumMismatch(stored: stored, computed: computed) }
        acknowledged = [:]
        for _ in 0..<(try reader.readUInt32()) {
            let node = NodeID(try reader.readUInt64())
            acknowledged[node] = try reader.readLogIndex()
        }
        guard reader.isAtEnd else { throw .invalid("bytes after its end") }
    }
}
