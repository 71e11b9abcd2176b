package import Basics
package import Disk

/// Who owns a data directory: written when the directory is made and when the cluster is formed, checked at every start
/// before anything else is believed.
package struct NodeIdentity: Hashable, Sendable {
    /// nil until the cluster is formed or joined.
    package var cluster: ClusterIdentity?
    /// For people, and for telling that a directory was mounted under the wrong node.
    package var name: String
    /// What votes. Drawn at random when the directory is made.
    package var incarnation: NodeID
    /// What the cluster was founded with, as the founder encoded it; empty until then.
    package var foundingRecord: [UInt8]

    package static let fileName = "identity"
    package static let nameSizeMax = 255
    package static let foundingRecordSizeMax = 1_024 * 1_024

    private static let magic: [UInt8] = Array("QUORNODE".utf8)
    private static let formatVersion: UInt32 = 1

    package init(cluster: ClusterIdentity?, name: String, incarnation: NodeID, foundingRecord: [UInt8] = []) {
        self.cluster = cluster
        self.name = name
        self.incarnation = incarnation
        self.foundingRecord = foundingRecord
    }

    // MARK: File

    /// The identity of a data directory; nil when it has none, that is, when it is new.
    package static func load(
        from directory: String, on fileSystem: any FileSystem
    ) throws(IdentityError) -> NodeIdentity? {
        let path = "\(directory)/\(fileName)"
        let bytes: [UInt8]
        do throws(DiskError) {
            guard try fileSystem.exists(path) else { return nil }
            // Whoever wrote it may have been killed before its name was durable. Others are told of it from here on.
            try fileSystem.syncDirectory(directory)
            let file = try fileSystem.open(path, .existing)
            bytes = try file.read(at: 0, count: min(try file.size(), foundingRecordSizeMax + 4_096))
        } catch {
            throw .disk(error)
        }
        do throws(DecodeError) {
            return try NodeIdentity(decoding: bytes.rawSpan)
        } catch {
            if case .unknown(_, let version) = error { throw .newerFormat(file: path, version: version) }
            throw .damaged(file: path, reason: error.description)
        }
    }

    /// Replaces the file; a crash leaves the old one or this one.
    package func store(in directory: String, on fileSystem: any FileSystem) throws(DiskError) {
        try fileSystem.replaceFile(Self.fileName, in: directory, with: encoded())
    }

    /// Refuses a directory that belongs to another node or, when the caller knows its cluster, to another cluster.
    package func check(name expectedName: String, cluster expected: ClusterIdentity?) throws(IdentityError) {
        guard name == expectedName else { throw .otherName(found: name, expected: expectedName) }
        if let cluster, let expected, cluster != expected { throw .otherCluster(found: cluster, expected: expected) }
    }

    // MARK: Bytes

    package func encoded() -> [UInt8] {
        invariant(name.utf8.count <= Self.nameSizeMax, "node name of \(name.utf8.count) bytes")
        invariant(
            foundingRecord.count <= Self.foundingRecordSizeMax, "founding record of \(foundingRecord.count) bytes")
        var writer = ByteWriter()
        writer.write(Self.magic)
        writer.write(Self.formatVersion)
        writer.write(UInt32(0))
        writer.write(incarnation.rawValue)
        writer.write(cluster != nil)
        writer.write(cluster?.id ?? 0)
        writer.write(cluster?.generation ?? 0)
        writer.write(cluster?.generationTag ?? 0)
        writer.writeString16(name)
        writer.writeBytes32(foundingRecord)
        writer.overwrite(at: 12, with: Self.checksum(of: writer.bytes.rawSpan))
        return writer.takeBytes()
    }

    package init(decoding bytes: RawSpan) throws(DecodeError) {
        var reader = ByteReader(bytes)
        guard try reader.readBytes(8).hasSameBytes(as: Self.magic.rawSpan) else { throw .invalid("identity magic") }
        let version = try reader.readUInt32()
        let stored = try reader.readUInt32()
        let computed = Self.checksum(of: bytes)
        guard stored == computed else { throw .checksumMismatch(stored: stored, computed: computed) }
        guard version == Self.formatVersion else { throw .unknown("identity format version", UInt64(version)) }
        incarnation = NodeID(try reader.readUInt64())
        let hasCluster = try reader.readBool()
        let (id, generation, tag) = (try reader.readUInt64(), try reader.readUInt64(), try reader.readUInt64())
        cluster = hasCluster ? ClusterIdentity(id: id, generation: generation, generationTag: tag) : nil
        name = try reader.readString16(max: Self.nameSizeMax)
        foundingRecord = [UInt8](try reader.readBytes32(max: Self.foundingRecordSizeMax))
        guard reader.isAtEnd else { throw .invalid("identity file: bytes after its end") }
    }

    /// Stands at 12 and covers everything else, in every version of the format.
    private static func checksum(of bytes: RawSpan) -> UInt32 {
        CRC32C.checksum(
            of: bytes.extracting(16..<bytes.byteCount), continuing: CRC32C.checksum(of: bytes.extracting(0..<12)))
    }
}

package enum IdentityError: Error, Hashable, Sendable, CustomStringConvertible {
    case otherCluster(found: ClusterIdentity, expected: ClusterIdentity)
    case otherName(found: String, expected: String)
    case newerFormat(file: String, version: UInt64)
    case damaged(file: String, reason: String)
    case disk(DiskError)

    package var description: String {
        switch self {
        case .otherCluster(let found, let expected):
            "this data directory belongs to cluster \(found), not to \(expected)"
        case .otherName(let found, let expected):
            "this data directory belongs to node \"\(found)\", not to \"\(expected)\""
        case .newerFormat(let file, let version): "\(file) was written by a newer release (format \(version))"
        case .damaged(let file, let reason): "\(file) is damaged: \(reason)"
        case .disk(let error): error.description
        }
    }
}
