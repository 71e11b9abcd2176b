package import Basics
package import Disk
internal import LogStore
internal import MetadataMachine
package import MetadataModel
internal import RaftCore
package import Snapshots
internal import StateEngine

/// A cluster that is made from a snapshot: a function of the snapshot, the members and a token, so that every member
/// makes the same one by itself.
///
/// It is the same cluster in a new generation. Its log begins far after everything that the old one can have written,
/// in a later term, so that no revision of the old generation is ever given a second meaning. Sessions are over: their
/// clients belong to the old generation, and are told so.
package struct RestoredCluster: Hashable, Sendable {
    package let identity: ClusterIdentity
    package let membership: Membership
    /// The entry that the restored state is taken to be of; the log starts after it.
    package let base: EntryID

    /// Indexes that the old generation may still use up before anybody could mistake one for a new one.
    private static let indexGap: UInt64 = 1 << 32

    /// - Parameters:
    ///   - members: name and peer address of each.
    ///   - token: tells two restores of the same file into the same members apart.
    package init(
        _ manifest: SnapshotManifest, members: [(name: String, peerAddress: String)], token: String
    ) throws(SnapshotError) {
        let (old, last) = (manifest.head.cluster, manifest.head.revision)
        // Numbers from a file: beyond these, none of the product's making.
        guard old.generation < .max, last.term.rawValue < .max / 2, last.index.rawValue < .max / 2 else {
            throw .damaged("manifest: generation \(old.generation), revision \(last)")
        }
        let members = members.sorted { $0.name < $1.name }
        var writer = ByteWriter()
        writer.write(manifest.contentDigest.bytes)
        writer.write(UInt16(clamping: members.count))
        for member in members {
            writer.writeString16(member.name)
            writer.writeString16(member.peerAddress)
        }
        writer.writeString16(token)
        let seed = writer.takeBytes()
        identity = ClusterIdentity(
            id: old.id, generation: old.generation + 1, generationTag: Self.number(from: seed, "generation"))
        let list = members.map { member in
            // Like a drawn one: never a small number.
            let id = NodeID(Self.number(from: seed, "member " + member.name) | 1 << 32)
            return Member(id: id, name: member.name, peerAddress: member.peerAddress)
        }
        membership = Membership(members: list, incoming: list.map(\.id))
        let gap = Mutant.restoreReusesRevisions.isOn ? 1 : Self.indexGap
        base = EntryID(term: Term(last.term.rawValue + 1), index: LogIndex(last.index.rawValue + gap - 1))
    }

    private static func number(from seed: [UInt8], _ purpose: String) -> UInt64 {
        // For the generation the seed itself; the members' numbers are drawn from it and their names.
        let bytes = purpose == "generation" ? seed : seed + Array(purpose.utf8)
        return ContentDigest(of: bytes.rawSpan).bytes.prefix(8).reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }
}

/// Makes the data directory of one member of a restored cluster. Blocking.
package struct RestoredMember<Home: EngineHome> {
    /// While this file is there, a restore has not come to its end, and the directory is of no use.
    package static var markerName: String { "restore-unfinished" }

    /// - Parameters:
    ///   - directory: exists, is empty but for its lock, and is nobody else's.
    ///   - chunk: gives a chunk of the snapshot, which was verified before; it is checked again as it is written.
    package static func make(
        _ cluster: RestoredCluster, name: String, from manifest: SnapshotManifest, home: Home, directory: String,
        fileSystem: any FileSystem, chunk: (Int) throws -> [UInt8]
    ) throws {
        guard let member = cluster.membership.member(named: name) else { return }
        try fileSystem.replaceFile(markerName, in: directory, with: [])
        try makeState(cluster, member, manifest, home, directory, fileSystem, chunk)
        try makeLog(cluster, member, directory, fileSystem)
        // Last: with it, the directory is a member's.
        let founding = FoundingRecord(
            identity: cluster.identity, createdAt: manifest.head.time, membership: cluster.membership)
        let identity = NodeIdentity(
            cluster: cluster.identity, name: name, incarnation: member.id, foundingRecord: founding.encoded())
        try identity.store(in: directory, on: fileSystem)
        try fileSystem.remove("\(directory)/\(markerName)")
        try fileSystem.syncDirectory(directory)
    }

    private static func makeState(
        _ cluster: RestoredCluster, _ member: Member, _ manifest: SnapshotManifest, _ home: Home,
        _ directory: String, _ fileSystem: any FileSystem, _ chunk: (Int) throws -> [UInt8]
    ) throws {
        let engine = try home.openLive()
        let installer = try SnapshotInstaller(manifest, ranges: Keyspace.carried, into: engine)
        for number in manifest.chunks.indices {
            let stored = try chunk(number)
            try installer.install(stored.rawSpan)
        }
        try installer.finish()
        let applied = Applied(last: cluster.base, time: manifest.head.time, changeDigest: manifest.head.changeDigest)
        let members = SnapshotMembership(
            stored: StoredMembership(index: cluster.base.index, membership: cluster.membership), info: [])
        try Machine.prepare(engine, applied: applied, members: members, sessions: NoSessions.encoded)
        // A snapshot of a newer release is refused here, not when the node starts.
        let machine = try Machine(engine: engine, node: member.id)
        guard home.isVolatile else { return }
        // What is kept in memory comes back from a snapshot of our own.
        let keeper = try SnapshotKeeper(
            fileSystem: fileSystem, dataDirectory: directory, cluster: cluster.identity)
        _ = try keeper.build(try machine.snapshotSource(), founding: cluster.membership)
    }

    private static func makeLog(
        _ cluster: RestoredCluster, _ member: Member, _ directory: String, _ fileSystem: any FileSystem
    ) throws {
        let path = "\(directory)/log"
        try fileSystem.makeDirectory(path, in: directory)
        var settings = LogSettings()
        // The node's own setting holds for the segments after this one.
        settings.segmentSize = LogSettings.segmentSizeMin
        let (log, _) = try SegmentedLog.open(
            fileSystem: fileSystem, directory: path, salt: cluster.identity.salt, nodeID: member.id,
            settings: settings, verifyFrom: .zero)
        // A term that is over: nobody has voted in the next one.
        try log.append([LogTask(hardState: HardState(currentTerm: cluster.base.term, votedFor: nil))])
        try log.reset(to: cluster.base)
        try log.seal()
    }
}
