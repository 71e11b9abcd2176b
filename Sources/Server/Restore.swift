internal import Basics
internal import Disk
internal import ReplicaStorage
internal import Snapshots

/// Makes the data directory of one member of a new cluster from a snapshot file. Every member runs it with the same
/// file, list and token, and gets the same cluster; they need not talk, and no `init` is needed.
package struct Restore {
    package struct Result: Hashable, Sendable {
        package var clusterID: UInt64
        package var generation: UInt64
        package var generationTag: UInt64
        /// Of the first entry that the new cluster will write.
        package var firstRevision: UInt64
        package var contentDigest: String
        package var recordCount: UInt64
    }

    private let configuration: ServerConfiguration
    private let token: String

    /// - Parameters:
    ///   - name: which of the members this directory is for.
    ///   - token: tells two restores of the same file into the same members apart.
    package init(
        name: String, dataDirectory: String, members: [ServerConfiguration.Founder],
        engine: ServerConfiguration.Engine, token: String
    ) throws(ConfigurationError) {
        let own = members.first { $0.name == name }?.address
        var configuration = ServerConfiguration(
            name: name, dataDirectory: dataDirectory, clientListen: HostPort(host: "127.0.0.1", port: 0),
            peerListen: own ?? HostPort(host: "127.0.0.1", port: 0), cluster: members)
        configuration.engine = engine
        try configuration.validateMembers()
        guard token.utf8.count <= 1_024 else { throw ConfigurationError("--token has more than 1024 bytes") }
        self.configuration = configuration
        self.token = token
    }

    /// The whole file is verified before anything is written.
    package func run(_ path: String) throws(SnapshotFileError) -> Result {
        let snapshot = try StoredSnapshot(path)
        let recordCount = try snapshot.verify()
        let members = configuration.cluster.map { (name: $0.name, peerAddress: $0.address.description) }
        let cluster: RestoredCluster
        do throws(SnapshotError) {
            cluster = try RestoredCluster(snapshot.manifest, members: members, token: token)
        } catch {
            throw SnapshotFileError(error, in: path, at: snapshot.manifestOffset)
        }
        do {
            try make(cluster, from: snapshot)
        } catch let error as SnapshotFileError {
            throw error
        } catch let error as DiskError {
            throw SnapshotFileError(error)
        } catch {
            throw SnapshotFileError("failed", "\(error)")
        }
        return Result(
            clusterID: cluster.identity.id, generation: cluster.identity.generation,
            generationTag: cluster.identity.generationTag, firstRevision: cluster.base.index.next.rawValue,
            contentDigest: snapshot.summary.contentDigest, recordCount: recordCount)
    }

    private func make(_ cluster: RestoredCluster, from snapshot: StoredSnapshot) throws {
        let fileSystem = PosixFileSystem()
        let directory = configuration.dataDirectory
        if try !fileSystem.exists(directory) {
            try fileSystem.createDirectory(directory)
            try fileSystem.syncDirectory(SnapshotSink.parent(of: directory))
        }
        try fileSystem.requirePrivate(directory)
        let found = try fileSystem.list(directory).filter { $0 != "lock" && $0 != "lost+found" }
        guard found.isEmpty else {
            throw SnapshotFileError(
                "notEmpty",
                "\(directory) is not empty: it holds \(found.prefix(3).joined(separator: ", ")). A restore makes a "
                    + "directory anew: name another one, or move this one away")
        }
        let lock = try fileSystem.lock(directory)
        defer { withExtendedLifetime(lock) {} }
        switch configuration.engine {
        case .rocksdb:
            try make(cluster, snapshot, RocksHome(directory: directory, fileSystem: fileSystem), fileSystem)
        case .memory: try make(cluster, snapshot, MemoryHome(), fileSystem)
        }
    }

    private func make<Home: EngineHome>(
        _ cluster: RestoredCluster, _ snapshot: StoredSnapshot, _ home: Home, _ fileSystem: PosixFileSystem
    ) throws {
        try RestoredMember.make(
            cluster, name: configuration.name, from: snapshot.manifest, home: home,
            directory: configuration.dataDirectory, fileSystem: fileSystem, chunk: { try snapshot.chunk($0) })
    }
}
