internal import Basics
internal import Disk
internal import MetadataMachine
internal import MetadataModel
internal import Snapshots
internal import StateEngine

/// What can be wrong with a snapshot file, or with what is to be made from it. `code` is for scripts.
package struct SnapshotFileError: Error, Hashable, Sendable, CustomStringConvertible {
    /// "damaged", "unsupported", "file", "notEmpty" or "failed".
    package var code: String
    package var description: String

    init(_ code: String, _ description: String) {
        self.code = code
        self.description = description
    }

    init(_ error: DiskError) { self.init("file", error.description) }

    /// - Parameter offset: where in the file the part begins that is damaged.
    init(_ error: SnapshotError, in path: String, at offset: Int) {
        switch error {
        case .damaged(let text): self.init("damaged", "\(path) is damaged at offset \(offset): \(text)")
        case .unsupported(let text):
            self.init("unsupported", "\(path) at offset \(offset): \(text) of a later release, or damaged")
        case .targetNotEmpty, .engine: self.init("failed", "\(error)")
        }
    }
}

/// What a snapshot file says of itself.
package struct SnapshotSummary: Hashable, Sendable {
    package struct Member: Hashable, Sendable {
        package var name: String
        package var peerAddress: String
        package var isVoter: Bool
    }

    package var path: String
    package var fileSize: Int
    package var clusterID: UInt64
    package var generation: UInt64
    package var generationTag: UInt64
    package var term: UInt64
    package var revision: UInt64
    /// Cluster time of that revision, in nanoseconds since 1970.
    package var time: UInt64
    /// Names the snapshot; equal only for the same state of the same cluster.
    package var id: String
    /// Equal wherever the rows are equal.
    package var contentDigest: String
    package var rowCount: UInt64
    package var rowsSize: UInt64
    package var chunkCount: Int
    package var members: [Member]
}

/// A snapshot in a file, read from its two ends. Chunks are read one at a time; everything that is read is checked.
package final class StoredSnapshot {
    let path: String
    private let file: any File
    private let chunkPlaces: [Range<Int>]
    let manifest: SnapshotManifest
    let manifestOffset: Int
    let members: SnapshotMembership
    package let summary: SnapshotSummary

    package init(_ path: String) throws(SnapshotFileError) {
        self.path = path
        let fileSize: Int
        let header: [UInt8]
        let footer: [UInt8]
        let (headerSize, footerSize) = (SnapshotFileLayout.headerSize, SnapshotFileLayout.footerSize)
        do throws(DiskError) {
            file = try PosixFileSystem().open(path, .readOnly)
            fileSize = try file.size()
            header = try file.read(at: 0, count: headerSize)
            footer = try file.read(at: max(0, fileSize - footerSize), count: footerSize)
        } catch {
            throw SnapshotFileError(error)
        }
        let layout = try Self.checked(path, at: max(0, fileSize - footerSize)) { () throws(SnapshotError) in
            try SnapshotFileLayout(header: header, footer: footer, fileSize: fileSize)
        }
        let index = try Self.read(file, layout.index)
        chunkPlaces = try Self.checked(path, at: layout.index.lowerBound) { () throws(SnapshotError) in
            try layout.chunks(index: index)
        }
        let encoded = try Self.read(file, layout.manifest)
        let manifest = try Self.checked(path, at: layout.manifest.lowerBound) { () throws(SnapshotError) in
            try SnapshotManifest(decoding: encoded.rawSpan)
        }
        guard manifest.chunks.count == chunkPlaces.count else {
            throw SnapshotFileError(
                .damaged("the manifest names \(manifest.chunks.count) chunks, the file holds \(chunkPlaces.count)"),
                in: path, at: layout.manifest.lowerBound)
        }
        do throws(DecodeError) {
            members = try SnapshotMembership(decoding: manifest.head.membership.rawSpan)
        } catch {
            throw SnapshotFileError(.damaged("membership: \(error)"), in: path, at: layout.manifest.lowerBound)
        }
        self.manifest = manifest
        manifestOffset = layout.manifest.lowerBound
        summary = SnapshotSummary(path: path, fileSize: fileSize, manifest, members)
    }

    /// Chunk `number` as it is in the file.
    func chunk(_ number: Int) throws(SnapshotFileError) -> [UInt8] { try Self.read(file, chunkPlaces[number]) }

    func error(_ error: SnapshotError, inChunk number: Int) -> SnapshotFileError {
        let place = chunkPlaces.indices.contains(number) ? chunkPlaces[number].lowerBound : summary.fileSize
        return SnapshotFileError(error, in: path, at: place)
    }

    /// Reads every byte and checks every row, chunk and digest.
    /// - Returns: how many records it holds.
    @discardableResult
    package func verify() throws(SnapshotFileError) -> UInt64 {
        let rows = SnapshotRows(self)
        var count: UInt64 = 0
        while try rows.next() != nil { count += 1 }
        return count
    }

    private static func checked<T>(
        _ path: String, at offset: Int, _ body: () throws(SnapshotError) -> T
    ) throws(SnapshotFileError) -> T {
        do throws(SnapshotError) {
            return try body()
        } catch {
            throw SnapshotFileError(error, in: path, at: offset)
        }
    }

    private static func read(_ file: any File, _ range: Range<Int>) throws(SnapshotFileError) -> [UInt8] {
        do throws(DiskError) {
            return try file.read(at: range.lowerBound, count: range.count)
        } catch {
            throw SnapshotFileError(error)
        }
    }
}

/// The records of a snapshot file in key order, each chunk checked before its first record is given, and the whole
/// before the end is.
final class SnapshotRows {
    struct Record: Hashable {
        var key: [UInt8]
        var revision: UInt64
        var value: [UInt8]
    }

    private let snapshot: StoredSnapshot
    private var reader: SnapshotReader
    private var records: [Record] = []
    private var place = 0

    init(_ snapshot: StoredSnapshot) {
        self.snapshot = snapshot
        reader = SnapshotReader(snapshot.manifest, ranges: Keyspace.carried)
    }

    func next() throws(SnapshotFileError) -> Record? {
        while place == records.count {
            let number = reader.nextNumber
            guard number < snapshot.manifest.chunks.count else {
                do throws(SnapshotError) {
                    try reader.finish()
                } catch {
                    throw snapshot.error(error, inChunk: number)
                }
                return nil
            }
            try take(number)
        }
        defer { place += 1 }
        return records[place]
    }

    private func take(_ number: Int) throws(SnapshotFileError) {
        records.removeAll(keepingCapacity: true)
        place = 0
        let stored = try snapshot.chunk(number)
        var unreadable: DecodeError?
        var found: [Record] = []
        do throws(SnapshotError) {
            try reader.read(stored.rawSpan) { key, value in
                guard Keyspace.records.contains(key) else { return }
                do throws(DecodeError) {
                    guard case .record(let name, let revision, let value) = try StoredRow(key: key, value: value) else {
                        return
                    }
                    found.append(Record(key: name, revision: revision.rawValue, value: value))
                } catch {
                    unreadable = error
                }
            }
            if let unreadable { throw .damaged("chunk \(number): a record: \(unreadable)") }
        } catch {
            throw snapshot.error(error, inChunk: number)
        }
        records = found
    }
}

extension SnapshotSummary {
    init(path: String, fileSize: Int, _ manifest: SnapshotManifest, _ members: SnapshotMembership) {
        let (head, membership) = (manifest.head, members.stored.membership)
        self.init(
            path: path, fileSize: fileSize, clusterID: head.cluster.id, generation: head.cluster.generation,
            generationTag: head.cluster.generationTag, term: head.revision.term.rawValue,
            revision: head.revision.index.rawValue, time: head.time.nanoseconds, id: manifest.id.description,
            contentDigest: manifest.contentDigest.description, rowCount: manifest.rowCount, rowsSize: manifest.size,
            chunkCount: manifest.chunks.count,
            members: membership.members.map {
                Member(name: $0.name, peerAddress: $0.peerAddress, isVoter: !membership.learners.contains($0.id))
            })
    }
}
