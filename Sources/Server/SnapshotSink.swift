internal import Basics
package import Disk
internal import Glibc
internal import MetadataMachine
internal import Snapshots

/// Keeps a snapshot that comes part by part in a file of its final form. Under its name there is the old file or the
/// new one, whole and checked; what fails leaves nothing, and a process that is killed a file whose name says what it
/// is.
///
/// The file goes to the disk while it grows. Synced at its end only, it would hold up the logs of nodes on the same
/// disk for as long as all of it takes.
package final class SnapshotSink {
    /// Bytes that begin to be written to the disk at once.
    private static let stretchSize = 1_024 * 1_024
    /// Bytes that may be on their way there: a disk that is slower than what comes is waited for.
    private static let unsyncedSizeMax = 16 * stretchSize

    private let path: String
    private let temporary: String
    private let fileSystem: any FileSystem
    private let file: any File
    private var offset: Int
    private var syncedThrough = 0
    private var syncBegunThrough = 0
    private var receiver = SnapshotReceiver(ranges: Keyspace.carried)
    private var isDone = false

    package init(_ path: String, on fileSystem: any FileSystem = PosixFileSystem()) throws(SnapshotFileError) {
        self.path = path
        self.fileSystem = fileSystem
        temporary = "\(path).partial-\(getpid())"
        do throws(DiskError) {
            if try fileSystem.exists(temporary) { try fileSystem.remove(temporary) }
            file = try fileSystem.open(temporary, .create)
            try file.write([receiver.header], at: 0)
        } catch {
            throw SnapshotFileError(error)
        }
        offset = receiver.header.count
    }

    deinit { if !isDone { try? fileSystem.remove(temporary) } }

    package var size: Int { offset }
    package var rowCount: UInt64 { receiver.rowCount }

    /// Checks the chunk and keeps it.
    package func append(chunk bytes: [UInt8]) throws(SnapshotFileError) {
        do throws(SnapshotError) {
            try receiver.accept(bytes)
        } catch {
            throw SnapshotFileError(error, in: "what the node sent", at: offset)
        }
        try write(bytes)
        try syncOn()
    }

    /// Checks that the manifest names what has come, and gives the file its name.
    package func finish(manifest bytes: [UInt8]) throws(SnapshotFileError) -> SnapshotSummary {
        let tail: [UInt8]
        do throws(SnapshotError) {
            let manifest = try SnapshotManifest(decoding: bytes.rawSpan)
            var taken = SnapshotReceiver(ranges: Keyspace.carried)
            swap(&taken, &receiver)
            tail = try taken.finish(manifest)
        } catch {
            throw SnapshotFileError(error, in: "what the node sent", at: offset)
        }
        try write(tail)
        do throws(DiskError) {
            try file.sync()
            try fileSystem.rename(temporary, to: path)
            isDone = true
            try fileSystem.syncDirectory(Self.parent(of: path))
        } catch {
            throw SnapshotFileError(error)
        }
        return try StoredSnapshot(path).summary
    }

    private func write(_ bytes: [UInt8]) throws(SnapshotFileError) {
        do throws(DiskError) {
            try file.write([bytes], at: offset)
        } catch {
            throw SnapshotFileError(error)
        }
        offset += bytes.count
    }

    private func syncOn() throws(SnapshotFileError) {
        if offset - syncedThrough >= Self.unsyncedSizeMax {
            do throws(DiskError) {
                try file.sync()
            } catch {
                throw SnapshotFileError(error)
            }
            syncedThrough = offset
            syncBegunThrough = offset
        } else if offset - syncBegunThrough >= Self.stretchSize {
            file.beginSync(syncBegunThrough..<offset)
            syncBegunThrough = offset
        }
    }

    static func parent(of path: String) -> String {
        guard let slash = path.lastIndex(of: "/") else { return "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }
}
