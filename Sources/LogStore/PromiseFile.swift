package import Basics
package import Disk

/// Beside the segments while the log holds less than this node has promised, and only then. Drawn in FORMAT.md.
package struct PromiseFile: Hashable, Sendable {
    /// The last entry that was promised.
    package var last: EntryID
    /// False while it is not known in which term this node has voted last, nor what it has acknowledged: it takes no part
    /// in anything before the others have told it enough.
    package var isKnown: Bool

    package static let name = "promise"
    private static let magic: [UInt8] = Array("QUORPROM".utf8)
    private static let version: UInt32 = 1
    private static let size = 48

    package init(last: EntryID, isKnown: Bool) {
        self.last = last
        self.isKnown = isKnown
    }

    /// Nil when there is none. One that cannot be read says as much as one that knows nothing.
    package static func load(
        from directory: String, on fileSystem: any FileSystem, salt: UInt32, nodeID: NodeID
    ) throws(LogOpenError) -> PromiseFile? {
        let path = "\(directory)/\(name)"
        var bytes: [UInt8] = []
        do throws(DiskError) {
            guard try fileSystem.exists(path) else { return nil }
            let file = try fileSystem.open(path, .existing)
            bytes = try file.read(at: 0, count: min(try file.size(), 2 * size))
        } catch {
            guard error.kind == .io else { throw .disk(error) }
        }
        guard let found = read(bytes) else { return PromiseFile(last: .zero, isKnown: false) }
        guard found.salt == salt else { throw .foreign(file: path, reason: "another cluster or generation") }
        guard found.nodeID == nodeID else { throw .foreign(file: path, reason: "written by node \(found.nodeID)") }
        return found.promise
    }

    private typealias Found = (promise: PromiseFile, salt: UInt32, nodeID: NodeID)

    private static func read(_ bytes: [UInt8]) -> Found? {
        do throws(DecodeError) {
            return try decode(bytes.rawSpan)
        } catch {
            return nil
        }
    }

    /// Replaces the file; a crash leaves the old one or this one.
    package func store(
        in directory: String, on fileSystem: any FileSystem, salt: UInt32, nodeID: NodeID
    ) throws(DiskError) {
        try fileSystem.replaceFile(Self.name, in: directory, with: encoded(salt: salt, nodeID: nodeID))
    }

    package static func remove(from directory: String, on fileSystem: any FileSystem) throws(DiskError) {
        try fileSystem.remove("\(directory)/\(name)")
        try fileSystem.syncDirectory(directory)
    }

    func encoded(salt: UInt32, nodeID: NodeID) -> [UInt8] {
        var writer = ByteWriter()
        writer.write(Self.magic)
        writer.write(Self.version)
        writer.write(UInt32(0))
        writer.write(salt)
        writer.write(UInt32(isKnown ? 1 : 0))
        writer.write(nodeID.rawValue)
        writer.write(last.term.rawValue)
        writer.write(last.index.rawValue)
        writer.overwrite(at: 12, with: CRC32C.checksum(of: writer.bytes.rawSpan.extracting(16..<Self.size)))
        return writer.takeBytes()
    }

    private static func decode(_ bytes: RawSpan) throws(DecodeError) -> Found {
        var reader = ByteReader(bytes)
        guard try reader.readBytes(8).hasSameBytes(as: magic.rawSpan) else { throw .invalid("magic") }
        let version = try reader.readUInt32()
        guard version == Self.version else { throw .unknown("version", UInt64(version)) }
        let stored = try reader.readUInt32()
        guard bytes.byteCount == size else { throw .truncated }
        let computed = CRC32C.checksum(of: bytes.extracting(16..<size))
        guard stored == computed else { throw .checksumMismatch(stored: stored, computed: computed) }
        let salt = try reader.readUInt32()
        let isKnown = try reader.readUInt32() == 1
        let nodeID = NodeID(try reader.readUInt64())
        let term = try reader.readTerm()
        let last = EntryID(term: term, index: try reader.readLogIndex())
        return (PromiseFile(last: last, isKnown: isKnown), salt, nodeID)
    }
}

extension PromiseFile {
    /// The log has forgotten what the state has taken in from it.
    package func damage(in directory: String, behind applied: EntryID) -> LogDamage {
        LogDamage(
            file: directory, offset: 0, indexes: nil,
            reason: "the log knows of no term as high as that of entry \(applied), which the state has taken in: synced "
                + "data was lost, or an old copy was put back")
    }

    /// For one who cannot start by it.
    package func damage(in directory: String) -> LogDamage {
        LogDamage(
            file: "\(directory)/\(Self.name)", offset: 0, indexes: nil,
            reason: "what this node has promised was lost in an earlier start and has not been found out since")
    }
}
