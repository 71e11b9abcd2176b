package import Basics
package import Disk
package import MetadataMachine
package import MetadataModel
package import RaftCore
package import ReplicaCore
package import Snapshots
package import StateEngine

/// Snapshots on their way through this node's disk: one that is given to others and one that is being taken, each in a
/// directory of its own with a manifest and numbered chunks. Blocking; on the snapshot thread.
package final class SnapshotKeeper {
    private let fileSystem: any FileSystem
    private let directory: String
    package let cluster: ClusterIdentity
    private let ranges = Keyspace.carried
    private var assembler: SnapshotAssembler?
    /// Bytes on the volume that stay free while a snapshot is made, and while one is taken; zero: whatever there is may be
    /// used. Set before the first of them.
    package var spaceKept = (making: 0, taking: 0)

    /// - Parameter dataDirectory: `snapshots` below it is made when it is not there.
    package init(fileSystem: any FileSystem, dataDirectory: String, cluster: ClusterIdentity) throws(DiskError) {
        self.fileSystem = fileSystem
        directory = "\(dataDirectory)/snapshots"
        self.cluster = cluster
        try fileSystem.makeDirectory(directory, in: dataDirectory)
    }

    // MARK: - Giving

    /// Writes the rows of `view` as a snapshot and removes the one before it. The manifest is written last: a directory
    /// without one is no snapshot.
    /// - Returns: where it ends.
    package func build<View: EngineView>(
        _ source: SnapshotSource<View>, founding: Membership
    ) throws(SnapshotKeeperError) -> SnapshotPoint {
        let head = source.head(of: cluster, founding: founding)
        let name = Self.name(of: head.revision)
        let path = "\(directory)/\(name)"
        let point = SnapshotPoint(
            last: head.revision, configuration: source.members(founding: founding).stored.indexed)
        // Asked for again before anything else was applied. A volatile state has nothing else to come back from, so it is
        // not taken away to be written anew: a crash meanwhile would leave nothing.
        if try !isWhole(name, head) {
            try removeUnfinished()
            try removeDirectory(name)
            do throws(SnapshotKeeperError) {
                try write(source.view, head, to: path)
            } catch {
                // The next one has another name, and may lack the very space that this one holds.
                try? removeDirectory(name)
                throw error
            }
        }
        // Of one that was there, whoever wrote it may have ended before this.
        try makeNamesDurable(path)
        for other in try names() where other != name && !other.hasPrefix(Self.incoming) { try removeDirectory(other) }
        return point
    }

    private func write<View: EngineView>(
        _ view: View, _ head: SnapshotHead, to path: String
    ) throws(SnapshotKeeperError) {
        try disk { () throws(DiskError) in try fileSystem.createDirectory(path) }
        let builder = SnapshotBuilder(view, ranges: ranges, head: head)
        while let chunk = try snapshot({ () throws(SnapshotError) in try builder.nextChunk() }) {
            try checkSpace(for: chunk.bytes.count, leaving: spaceKept.making)
            try write(chunk.bytes, to: "\(path)/chunk-\(chunk.number)")
        }
        try disk { () throws(DiskError) in
            try fileSystem.replaceFile("manifest", in: path, with: builder.manifest().encoded())
        }
    }

    /// Whether this very snapshot is there, and each of its files is sound.
    private func isWhole(_ name: String, _ head: SnapshotHead) throws(SnapshotKeeperError) -> Bool {
        do throws(SnapshotKeeperError) {
            guard let manifest = try manifest(in: name), manifest.head == head else { return false }
            for number in manifest.chunks.indices {
                let file = "\(directory)/\(name)/chunk-\(number)"
                let bytes = try disk { () throws(DiskError) in try fileSystem.exists(file) ? try readWhole(file) : [] }
                try check(bytes, asChunk: number, of: manifest, file)
            }
            return true
        } catch {
            guard case .damaged = error else { throw error }
            return false
        }
    }

    private func check(
        _ bytes: [UInt8], asChunk number: Int, of manifest: SnapshotManifest, _ file: String
    ) throws(SnapshotKeeperError) {
        try checked(file) { () throws(SnapshotError) in
            var assembler = SnapshotAssembler(manifest)
            try assembler.accept(bytes.rawSpan, number: number)
        }
    }

    /// A chunk of the snapshot that ends at `piece.last`, or at most `sizeMax` bytes of its manifest; empty when it is not
    /// here. One that is damaged is never given away: the peer would refuse it, again and again.
    /// - Returns: with them, how large the whole chunk or manifest is.
    package func load(
        _ piece: SnapshotPiece, sizeMax: Int
    ) throws(SnapshotKeeperError) -> (bytes: [UInt8], itemSize: Int) {
        let file = "\(directory)/\(Self.name(of: piece.last))/\(Self.fileName(of: piece.chunk))"
        // All of a manifest is looked at when its beginning is asked for. What comes to it after that is found by the
        // peer, who then begins anew; to look at the whole for each piece would take longer than to send it.
        guard piece.chunk != nil || piece.offset == 0 else {
            return try readOn(file, from: Int(piece.offset), sizeMax: sizeMax)
        }
        let bytes = try disk { () throws(DiskError) -> [UInt8] in
            guard try fileSystem.exists(file) else { return [] }
            return try readWhole(file)
        }
        guard !bytes.isEmpty else { return ([], 0) }
        try checked(file) { () throws(SnapshotError) in
            if piece.chunk == nil {
                _ = try SnapshotManifest(decoding: bytes.rawSpan)
            } else {
                try StoredChunk.check(bytes.rawSpan)
            }
        }
        return (piece.chunk == nil ? Array(bytes.prefix(sizeMax)) : bytes, bytes.count)
    }

    private func readOn(
        _ path: String, from offset: Int, sizeMax: Int
    ) throws(SnapshotKeeperError) -> (bytes: [UInt8], itemSize: Int) {
        try disk { () throws(DiskError) -> (bytes: [UInt8], itemSize: Int) in
            guard try fileSystem.exists(path) else { return ([], 0) }
            let file = try fileSystem.open(path, .existing)
            let size = try file.size()
            return (try file.read(at: offset, count: min(sizeMax, max(0, size - offset))), size)
        }
    }

    /// The newest snapshot on disk whose manifest is sound, from which a volatile state comes back. Of damaged ones,
    /// `damaged` is told.
    package func newest(
        damaged: (SnapshotKeeperError) -> Void
    ) throws(SnapshotKeeperError) -> SnapshotManifest? {
        var found: SnapshotManifest?
        for name in try names() where !name.hasPrefix(Self.incoming) {
            do throws(SnapshotKeeperError) {
                guard let manifest = try manifest(in: name) else { continue }
                if found.map({ $0.head.revision < manifest.head.revision }) ?? true { found = manifest }
            } catch {
                guard case .damaged = error else { throw error }
                damaged(error)
            }
        }
        // Whoever wrote it may have been killed before its name was durable, and the log gets shorter by it.
        if let found { try makeNamesDurable("\(directory)/\(Self.name(of: found.head.revision))") }
        return found
    }

    private func makeNamesDurable(_ path: String) throws(SnapshotKeeperError) {
        try disk { () throws(DiskError) in
            try fileSystem.syncDirectory(path)
            try fileSystem.syncDirectory(directory)
        }
    }

    // MARK: - Taking

    /// Keeps the manifest and finds which chunks of the same snapshot an earlier attempt has left.
    package func begin(_ bytes: [UInt8]) throws(SnapshotKeeperError) -> (
        SnapshotPoint, chunkCount: UInt32, firstMissing: UInt32
    ) {
        let manifest = try snapshot { () throws(SnapshotError) in try SnapshotManifest(decoding: bytes.rawSpan) }
        guard manifest.head.cluster == cluster else { throw .foreign(manifest.head.cluster) }
        let point = try manifest.point()
        let name = Self.incoming + Self.name(of: manifest.head.revision)
        for other in try names() where other.hasPrefix(Self.incoming) && other != name { try removeDirectory(other) }
        let path = "\(directory)/\(name)"
        var assembler = SnapshotAssembler(manifest)
        try disk { () throws(DiskError) in
            if try !fileSystem.exists(path) { try fileSystem.createDirectory(path) }
            try fileSystem.replaceFile("manifest", in: path, with: bytes)
        }
        for number in manifest.chunks.indices {
            let file = "\(path)/chunk-\(number)"
            let stored = try disk { () throws(DiskError) in try fileSystem.exists(file) ? try readWhole(file) : [] }
            // What an earlier attempt left may be cut off; it is fetched again.
            if !stored.isEmpty { try? assembler.accept(stored.rawSpan, number: number) }
        }
        let firstMissing = assembler.missing(limit: 1).first ?? manifest.chunks.count
        self.assembler = consume assembler
        return (point, UInt32(manifest.chunks.count), UInt32(firstMissing))
    }

    /// Checks a chunk to its last row and keeps it.
    package func store(_ bytes: [UInt8], number: UInt32) throws(SnapshotKeeperError) {
        guard let revision = assembler?.manifest.head.revision else {
            throw .snapshot(.damaged("chunk \(number) without a manifest"))
        }
        try snapshot { () throws(SnapshotError) in try assembler?.accept(bytes.rawSpan, number: Int(number)) }
        // It gets its name when it is synced: a later attempt takes what has one for durable. What a process that was killed
        // before that has left may be in memory only, and where the sync has failed no other makes it durable.
        let path = "\(directory)/\(Self.incoming)\(Self.name(of: revision))/chunk-\(number)"
        do throws(SnapshotKeeperError) {
            try checkSpace(for: bytes.count, leaving: spaceKept.taking)
            try write(bytes, to: "\(path).tmp")
            try disk { () throws(DiskError) in try fileSystem.rename("\(path).tmp", to: path) }
        } catch {
            // What has come would hold the space that it lacks, and that others may need more.
            if error.isLackOfSpace { try? discardTaken() }
            throw error
        }
    }

    /// Writes the rows of the snapshot that was taken into `engine`, which is empty, and flushes it. After an error the
    /// engine is to be thrown away, and the snapshot to be fetched again; the live state never knew.
    /// - Returns: the membership at the snapshot, and its cluster time.
    package func install<Target: Engine>(
        into engine: Target
    ) throws(SnapshotKeeperError) -> (Membership, ClusterTime) {
        guard let manifest = assembler?.manifest else { throw .snapshot(.damaged("no snapshot was taken")) }
        assembler = nil
        do throws(SnapshotKeeperError) {
            try install(manifest, from: Self.incoming + Self.name(of: manifest.head.revision), into: engine)
        } catch {
            try? discardTaken()
            throw error
        }
        return (try manifest.members().stored.membership, manifest.head.time)
    }

    /// The same from a snapshot of our own.
    package func restore<Target: Engine>(
        _ manifest: SnapshotManifest, into engine: Target
    ) throws(SnapshotKeeperError) {
        try install(manifest, from: Self.name(of: manifest.head.revision), into: engine)
    }

    private func install<Target: Engine>(
        _ manifest: SnapshotManifest, from name: String, into engine: Target
    ) throws(SnapshotKeeperError) {
        let installer = try snapshot { () throws(SnapshotError) in
            try SnapshotInstaller(manifest, ranges: ranges, into: engine)
        }
        for number in manifest.chunks.indices {
            let file = "\(directory)/\(name)/chunk-\(number)"
            let stored = try disk { () throws(DiskError) -> [UInt8] in
                guard try fileSystem.exists(file) else { return [] }
                return try readWhole(file)
            }
            // The rows take about as much as they do here.
            try checkSpace(for: stored.count, leaving: spaceKept.taking)
            try checked(file) { () throws(SnapshotError) in try installer.install(stored.rawSpan) }
        }
        try snapshot { () throws(SnapshotError) in try installer.finish() }
        let head = manifest.head
        let applied = Applied(last: head.revision, time: head.time, changeDigest: head.changeDigest)
        let members = try manifest.members()
        do throws(MachineError) {
            try Machine.prepare(engine, applied: applied, members: members, sessions: head.sessions)
        } catch {
            throw .machine(error)
        }
    }

    /// What was taken is installed; its pieces are not needed any more.
    package func discardTaken() throws(SnapshotKeeperError) {
        for name in try names() where name.hasPrefix(Self.incoming) { try removeDirectory(name) }
    }

    /// What was taken is installed, and is what a volatile state comes back from after a restart. A snapshot made here
    /// before goes: the state was replaced because that one's was behind, or wrong.
    package func keepTaken() throws(SnapshotKeeperError) {
        guard let taken = try names().first(where: { $0.hasPrefix(Self.incoming) }) else { return }
        let name = String(taken.dropFirst(Self.incoming.count))
        for other in try names() where other != taken { try removeDirectory(other) }
        try disk { () throws(DiskError) in
            try fileSystem.syncDirectory("\(directory)/\(taken)")
            try fileSystem.rename("\(directory)/\(taken)", to: "\(directory)/\(name)")
            try fileSystem.syncDirectory(directory)
        }
    }

    // MARK: - Scrub

    /// Reads the next file of the snapshots on disk and verifies it to its last row. What is being taken is verified as
    /// it is installed.
    /// - Returns: the size of the file, and what is wrong with it; nil when there is no further one.
    package func scrub(_ walk: inout SnapshotScrub) throws(SnapshotKeeperError) -> SnapshotScrub.Step? {
        while true {
            if walk.manifest == nil {
                let name = try names().first { $0 > walk.name && !$0.hasPrefix(Self.incoming) }
                guard let name else { return nil }
                walk.name = name
                walk.nextChunk = 0
                let path = "\(directory)/\(name)/manifest"
                do throws(SnapshotKeeperError) {
                    // Without one it is no snapshot, and is removed with the next.
                    guard let found = try manifest(in: name) else { continue }
                    walk.manifest = found
                    return SnapshotScrub.Step(byteCount: found.encoded().count)
                } catch {
                    return .damaged(path, error, last: nil)
                }
            }
            guard let manifest = walk.manifest, walk.nextChunk < manifest.chunks.count else {
                walk.manifest = nil
                continue
            }
            let number = walk.nextChunk
            let path = "\(directory)/\(walk.name)/chunk-\(number)"
            walk.nextChunk += 1
            do throws(SnapshotKeeperError) {
                let bytes = try disk { () throws(DiskError) in try readWhole(path) }
                try check(bytes, asChunk: number, of: manifest, path)
                return SnapshotScrub.Step(byteCount: bytes.count)
            } catch {
                // One damaged file condemns the snapshot; unless another has taken its place since the last step.
                walk.manifest = nil
                guard try names().contains(walk.name) else { continue }
                return .damaged(path, error, last: manifest.head.revision)
            }
        }
    }

    // MARK: - What was left

    /// Removes those that were made here, whole or not.
    package func discardMade() throws(SnapshotKeeperError) {
        for name in try names() where !name.hasPrefix(Self.incoming) { try removeDirectory(name) }
    }

    /// Removes what attempts have left that nobody goes on with: to make a snapshot, and to take one that ends at or before
    /// `index`, where the state is already. For the opening.
    package func removeRemains(appliedThrough index: LogIndex) throws(SnapshotKeeperError) {
        try removeUnfinished()
        for name in try names() where name.hasPrefix(Self.incoming) {
            guard let last = Self.lastIndex(in: name.dropFirst(Self.incoming.count)), last <= index else { continue }
            try removeDirectory(name)
        }
    }

    /// Without a manifest it is no snapshot. One that is being taken may still be.
    private func removeUnfinished() throws(SnapshotKeeperError) {
        for name in try names() where Self.lastIndex(in: name[...]) != nil {
            let manifest = "\(directory)/\(name)/manifest"
            let isSnapshot = try disk { () throws(DiskError) in try fileSystem.exists(manifest) }
            if !isSnapshot { try removeDirectory(name) }
        }
    }

    // MARK: - Space

    /// Before anything is written: what a snapshot takes from the reserve would be missing for what the node has promised.
    private func checkSpace(for size: Int, leaving kept: Int) throws(SnapshotKeeperError) {
        guard kept > 0 else { return }
        let free = try disk { () throws(DiskError) in try fileSystem.freeSpace(directory) }
        guard free - kept >= size else { throw .noSpace(free: free, kept: kept) }
    }

    // MARK: - Files

    /// Begins the name of a directory whose snapshot is still being taken.
    private static let incoming = "incoming-"

    private static func name(of last: EntryID) -> String { "\(last.index)-\(last.term)" }

    /// Where the snapshot of this name ends; nil when it is not the name of one.
    private static func lastIndex(in name: Substring) -> LogIndex? {
        let numbers = name.split(separator: "-", omittingEmptySubsequences: false).map { UInt64($0) }
        guard numbers.count == 2, let index = numbers[0], numbers[1] != nil else { return nil }
        return LogIndex(index)
    }

    private static func fileName(of chunk: UInt32?) -> String { chunk.map { "chunk-\($0)" } ?? "manifest" }

    private func names() throws(SnapshotKeeperError) -> [String] {
        try disk { () throws(DiskError) in try fileSystem.list(directory) }
    }

    private func manifest(in name: String) throws(SnapshotKeeperError) -> SnapshotManifest? {
        let path = "\(directory)/\(name)/manifest"
        let bytes = try disk { () throws(DiskError) in try fileSystem.exists(path) ? try readWhole(path) : [] }
        guard !bytes.isEmpty else { return nil }
        return try checked(path) { () throws(SnapshotError) in
            let manifest = try SnapshotManifest(decoding: bytes.rawSpan)
            guard Self.name(of: manifest.head.revision) == name else {
                throw .damaged("it is of entry \(manifest.head.revision)")
            }
            return manifest
        }
    }

    private func readWhole(_ path: String) throws(DiskError) -> [UInt8] {
        let file = try fileSystem.open(path, .existing)
        return try file.read(at: 0, count: try file.size())
    }

    private func write(_ bytes: [UInt8], to path: String) throws(SnapshotKeeperError) {
        try disk { () throws(DiskError) in
            if try fileSystem.exists(path) { try fileSystem.remove(path) }
            let file = try fileSystem.open(path, .create)
            try file.preallocate(bytes.count)
            try file.write([bytes], at: 0)
            try file.sync()
        }
    }

    private func removeDirectory(_ name: String) throws(SnapshotKeeperError) {
        let path = "\(directory)/\(name)"
        try disk { () throws(DiskError) in
            guard try fileSystem.exists(path) else { return }
            // First what makes it a snapshot, for good: a crash leaves none that lacks chunks.
            if try fileSystem.exists("\(path)/manifest") {
                try fileSystem.remove("\(path)/manifest")
                try fileSystem.syncDirectory(path)
            }
            for file in try fileSystem.list(path) { try fileSystem.remove("\(path)/\(file)") }
            try fileSystem.remove(path)
        }
    }

    private func disk<T>(_ body: () throws(DiskError) -> T) throws(SnapshotKeeperError) -> T {
        do throws(DiskError) {
            return try body()
        } catch {
            throw .disk(error)
        }
    }

    /// What was kept here and is damaged is named by its file.
    private func checked<T>(_ file: String, _ body: () throws(SnapshotError) -> T) throws(SnapshotKeeperError) -> T {
        do throws(SnapshotError) {
            return try body()
        } catch {
            switch error {
            case .damaged, .unsupported: throw .damaged(file: file, error)
            case .targetNotEmpty, .engine: throw .snapshot(error)
            }
        }
    }

    private func snapshot<T>(_ body: () throws(SnapshotError) -> T) throws(SnapshotKeeperError) -> T {
        do throws(SnapshotError) {
            return try body()
        } catch {
            throw .snapshot(error)
        }
    }
}

/// How far a walk over the snapshots on disk has come.
package struct SnapshotScrub: Sendable {
    fileprivate var name = ""
    fileprivate var manifest: SnapshotManifest?
    fileprivate var nextChunk = 0

    package init() {}

    package struct Step: Sendable {
        package var byteCount: Int
        package var damage: (file: String, reason: String)?
        /// Where the damaged snapshot ends; nil when that cannot be read.
        package var last: EntryID?

        init(byteCount: Int) { self.byteCount = byteCount }

        static func damaged(_ file: String, _ error: SnapshotKeeperError, last: EntryID?) -> Step {
            var step = Step(byteCount: 0)
            let reason: String
            if case .damaged(_, let what) = error { reason = "\(what)" } else { reason = "\(error)" }
            step.damage = (file, reason)
            step.last = last
            return step
        }
    }
}

package enum SnapshotKeeperError: Error, Sendable, CustomStringConvertible {
    case disk(DiskError)
    case snapshot(SnapshotError)
    /// A file of this node's own is not what was written there.
    case damaged(file: String, SnapshotError)
    case machine(MachineError)
    case foreign(ClusterIdentity)
    /// Of the bytes that are free on the volume, `kept` are not for snapshots.
    case noSpace(free: Int, kept: Int)

    /// It is no use to try again before there is more space.
    package var isLackOfSpace: Bool {
        switch self {
        case .noSpace, .snapshot(.engine(.noSpace)), .machine(.engine(.noSpace)): true
        case .disk(let error): error.kind == .noSpace
        case .snapshot, .damaged, .machine, .foreign: false
        }
    }

    package var description: String {
        switch self {
        case .disk(let error): error.description
        case .snapshot(let error): "\(error)"
        case .damaged(let file, let error): "\(file): \(error)"
        case .machine(let error): error.description
        case .foreign(let identity): "a snapshot of another cluster or generation: \(identity)"
        case .noSpace(let free, let kept):
            "no room for a snapshot: \(free >> 20) MiB are free, and it has to leave \(kept >> 20) MiB (the disk's reserve)"
        }
    }
}

extension SnapshotManifest {
    /// Where this snapshot ends, and the configuration in force there.
    package func point() throws(SnapshotKeeperError) -> SnapshotPoint {
        SnapshotPoint(last: head.revision, configuration: try members().stored.indexed)
    }

    package func members() throws(SnapshotKeeperError) -> SnapshotMembership {
        do throws(DecodeError) {
            return try SnapshotMembership(decoding: head.membership.rawSpan)
        } catch {
            throw .snapshot(.damaged("membership: \(error)"))
        }
    }
}

extension SnapshotSource {
    /// What the manifest says besides the rows.
    package func head(of cluster: ClusterIdentity, founding: Membership) -> SnapshotHead {
        SnapshotHead(
            cluster: cluster, revision: applied.last, time: applied.time, changeDigest: applied.changeDigest,
            membership: members(founding: founding).encoded(), sessions: sessions)
    }
}

extension StoredMembership {
    package var indexed: IndexedConfiguration {
        IndexedConfiguration(index: index, configuration: membership.configuration)
    }
}
