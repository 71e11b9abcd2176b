internal import Basics
internal import Disk
internal import LogStore
internal import MetadataMachine
internal import MetadataModel
internal import ReplicaStorage

extension KnownMembers {
    /// The other members as the data directory of a node that has not started last knew them, whatever has become of the
    /// founders.
    static func others(
        than node: NodeID, founding: FoundingRecord, configuration: ServerConfiguration, fileSystem: any FileSystem
    ) throws -> [Member] {
        let (directory, cluster) = (configuration.dataDirectory, founding.identity)
        let log = try LogInspection(
            fileSystem: fileSystem, directory: "\(directory)/log", salt: cluster.salt, nodeID: node)
        let snapshots = try SnapshotKeeper(fileSystem: fileSystem, dataDirectory: directory, cluster: cluster)
        var committed = [try? snapshots.newest { _ in }?.members().stored]
        if configuration.engine == .rocksdb {
            // Damage to the state is dealt with once the log is whole.
            let home = RocksHome(directory: directory, fileSystem: fileSystem)
            committed.append(try? StateKeeper(home: home, node: node).machine.membership)
        }
        return others(than: node, founding: founding, committed: committed, configurations: log.configurations)
    }
}
