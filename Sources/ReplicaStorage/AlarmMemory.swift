package import Basics
package import Disk
package import LogStore
package import ReplicaCore

/// The alarms that nobody has cleared yet, kept so that a person sees them also after the node was restarted.
///
///      0    8   magic      "QUORALRM"
///      8   u32  version    1
///     12   u32  crc32c     over 16 … end
///     16   u16  count      then count × (string16 name, u64 since, string16 detail), in the order in which they were raised
package enum AlarmMemory {
    package static let fileName = "alarms"
    private static let magic: [UInt8] = Array("QUORALRM".utf8)
    private static let version: UInt32 = 1
    private static let countMax = 1_024
    private static let textSizeMax = 4_096

    /// What is kept in `directory`; nothing when the file is not there.
    package static func load(
        from directory: String, on fileSystem: any FileSystem
    ) throws(IdentityError) -> [LatchedAlarm] {
        let path = "\(directory)/\(fileName)"
        let bytes: [UInt8]
        do throws(DiskError) {
            guard try fileSystem.exists(path) else { return [] }
            let file = try fileSystem.open(path, .existing)
            bytes = try file.read(at: 0, count: min(try file.size(), 18 + countMax * (12 + 2 * textSizeMax)))
        } catch {
            throw .disk(error)
        }
        do throws(DecodeError) {
            return try decode(bytes.rawSpan)
        } catch {
            if case .unknown(_, let version) = error { throw .newerFormat(file: path, version: version) }
            throw .damaged(file: path, reason: error.description)
        }
    }

    /// Replaces the file; a crash leaves the old one or this one.
    package static func store(
        _ alarms: [LatchedAlarm], in directory: String, on fileSystem: any FileSystem
    ) throws(DiskError) {
        try fileSystem.replaceFile(fileName, in: directory, with: encode(alarms))
    }

    package static func encode(_ alarms: [LatchedAlarm]) -> [UInt8] {
        var writer = ByteWriter()
        writer.write(magic)
        writer.write(version)
        writer.write(UInt32(0))
        let listed = alarms.prefix(countMax)
        writer.write(UInt16(listed.count))
        for alarm in listed {
            writer.writeString16(cut(alarm.name))
            writer.write(alarm.since.nanoseconds)
            writer.writeString16(cut(alarm.detail))
        }
        let end = writer.bytes.count
        writer.overwrite(at: 12, with: CRC32C.checksum(of: writer.bytes.rawSpan.extracting(16..<end)))
        return writer.takeBytes()
    }

    package static func decode(_ bytes: RawSpan) throws(DecodeError) -> [LatchedAlarm] {
        var reader = ByteReader(bytes)
        guard try reader.readBytes(8).hasSameBytes(as: magic.rawSpan) else { throw .invalid("magic") }
        let version = try reader.readUInt32()
        guard version == Self.version else { throw .unknown("version", UInt64(version)) }
        let stored = try reader.readUInt32()
        let computed = CRC32C.checksum(of: bytes.extracting(16..<bytes.byteCount))
        guard stored == computed else { throw .checksumMismatch(stored: stored, computed: computed) }
        var alarms: [LatchedAlarm] = []
        for _ in 0..<(try reader.readUInt16()) {
            let name = try reader.readString16(max: textSizeMax)
            let since = ClusterTime(nanoseconds: try reader.readUInt64())
            alarms.append(LatchedAlarm(name: name, since: since, detail: try reader.readString16(max: textSizeMax)))
        }
        guard reader.isAtEnd else { throw .invalid("bytes after its end") }
        return alarms
    }

    private static func cut(_ text: String) -> String {
        var text = text
        while text.utf8.count > textSizeMax { text.removeLast() }
        return text
    }
}
