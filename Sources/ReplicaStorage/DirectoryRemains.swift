package import Basics
package import Disk
internal import LogStore
internal import MetadataMachine
package import MetadataModel
internal import Snapshots

/// What the directory of a node whose log cannot be opened still tells.
package struct DirectoryRemains {
    /// The other members, as far as this node knew, whatever has become of the founders: whom to ask.
    package let others: [Member]
    /// The state holds everything through here, durably. Zero where it cannot be read, or is kept in memory.
    package let applied: LogIndex

    package init(
        fileSystem: any FileSystem, directory: String, founding: FoundingRecord, node: NodeID, home: some EngineHome
    ) throws {
        let cluster = founding.identity
        let log = try LogInspection(
            fileSystem: fileSystem, directory: "\(directory)/log", salt: cluster.salt, nodeID: node)
        let snapshots = try SnapshotKeeper(fileSystem: fileSystem, dataDirectory: directory, cluster: cluster)
        // Damage to the state is dealt with once the log is whole.
        let machine = try? StateKeeper(home: home, node: node).machine
        applied = machine?.applied.last.index ?? .zero
        others = KnownMembers.others(
            than: node, founding: founding,
            committed: [try? snapshots.newest { _ in }?.members().stored, machine?.membership],
            configurations: log.configurations)
    }
}
