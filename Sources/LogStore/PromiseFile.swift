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
    private static let size = 36

    package init(last: EntryID, isKnown: Bool) {
        self.last = last
        self.isKnown = isKnown
    }

    /// Nil when there is none. One that cannot be read says as much as one that knows nothing.
    package static func load(
        from directory: String, on fileSystem: any FileSystem
    ) throws(DiskError) -> PromiseFile? {
        let path = "\(directory)/\(name)"
        guard try fileSystem.exists(path) else { return nil }
        let file = try fileSystem.open(path, .existing)
        let unknown = PromiseFile(last: .zero, isKnown: false)
        do throws(DiskError) {
            let bytes = try file.read(at: 0, count: min(try file.size(), 2 * size))
            return read(bytes) ?? unknown
        } catch {
            guard error.kind == .io else { throw error }
            return unknown
        }
    }

    private static func read(_ bytes: [UInt8]) -> PromiseFile? {
        do throws(DecodeError) {
            return try PromiseFile(decoding: bytes.rawSpan)
        } catch {
            return nil
        }
    }

    /// Replaces the file; a crash leaves the old one or this one.
    package func store(in directory: String, on fileSystem: any FileSystem) throws(DiskError) {
        try fileSystem.replaceFile(Self.name, in: directory, with: encoded())
    }

    package static func remove(from directory: String, on fileSystem: any FileSystem) throws(DiskError) {
        try fileSystem.remove("\(directory)/\(name)")
        try fileSystem.syncDirectory(directory)
    }

    func encoded() -> [UInt8] {
        var writer = ByteWriter()
        writer.write(Self.magic)
        writer.write(Self.version)
        writer.write(UInt32(0))
        writer.write(UInt32(isKnown ? 1 : 0))
        writer.write(last.term.rawValue)
        writer.write(last.index.rawValue)
        writer.overwrite(at: 12, with: CRC32C.checksum(of: writer.bytes.rawSpan.extracting(16..<Self.size)))
        return writer.takeBytes()
    }

    init(decoding bytes: RawSpan) throws(DecodeError) {
        var reader = ByteReader(bytes)
        guard try reader.readBytes(8).hasSameBytes(as: Self.magic.rawSpan) else { throw .invalid("magic") }
        let version = try reader.readUInt32()
        guard version == Self.version else { throw .unknown("version", UInt64(version)) }
        let stored = try reader.readUInt32()
        guard bytes.byteCount == Self.size else { throw .truncated }
        let computed = CRC32C.checksum(of: bytes.extracting(16..<Self.size))
        guard stored == computed else { throw .checksumMismatch(stored: stored, computed: computed) }
        isKnown = try reader.readUInt32() == 1
        let term = Term(try reader.readUInt64())
        last = EntryID(term: term, index: LogIndex(try reader.readUInt64()))
    }
}

extension PromiseFile {
    /// For one who cannot start by it.
    package func damage(in directory: String) -> LogDamage {
        LogDamage(
            file: "\(directory)/\(Self.name)", offset: 0, indexes: nil,
            reason: "what this node has promised was lost in an earlier start and has not been found out since")
    }
}
