package import Basics
package import Disk
package import LogStore
internal import MetadataModel

/// A log that a node cannot start from as it is, and what is kept of its promises until it can.
package struct DamagedLog {
    package let log: SegmentedLog
    /// What is known to be damaged: file, offset, what is lost.
    package let damages: [LogDamage]
    /// Whether this node knows in which term it has voted last, and what it has acknowledged.
    package let knowsPromises: Bool
    /// The last entry that it has promised besides what the log says.
    package let promised: EntryID
    private let fileSystem: any FileSystem
    private let nodeID: NodeID

    /// What is not known any more is noted before the log is opened: that seals its end, and a later start would take the
    /// seal for its word.
    package init(
        fileSystem: any FileSystem, directory: String, identity: ClusterIdentity, node: NodeID, settings: LogSettings
    ) throws {
        self.fileSystem = fileSystem
        let logDirectory = "\(directory)/log"
        let inspection = try LogInspection(
            fileSystem: fileSystem, directory: logDirectory, salt: identity.salt, nodeID: node)
        nodeID = node
        let before = try PromiseFile.load(from: logDirectory, on: fileSystem, salt: identity.salt, nodeID: node)
        promised = before?.last ?? .zero
        knowsPromises = inspection.report.promisesAreKnown && before?.isKnown != false
        if !knowsPromises, before?.isKnown != false {
            try PromiseFile(last: promised, isKnown: false).store(
                in: logDirectory, on: fileSystem, salt: identity.salt, nodeID: node)
        }
        (log, _) = try SegmentedLog.open(
            fileSystem: fileSystem, directory: logDirectory, salt: identity.salt, nodeID: node, settings: settings,
            verifyFrom: .zero, acceptingDamage: true)
        damages = inspection.report.damages
    }

    package func healer(_ remains: DirectoryRemains) -> LogHealer {
        LogHealer(
            log, node: nodeID, knowsPromises: knowsPromises, promised: promised, voters: remains.others.map(\.id),
            applied: remains.applied)
    }

    /// Durable before the node is opened by it.
    package func keep(_ verdict: LogHealer.Verdict) throws(DiskError) {
        switch verdict {
        case .goesOn, .behindState, .behind: break
        case .whole:
            if !knowsPromises { try store(max(promised, log.last)) }
        case .short(let promised): try store(promised)
        }
        try log.seal()
    }

    private func store(_ last: EntryID) throws(DiskError) {
        try PromiseFile(last: last, isKnown: true).store(
            in: log.directory, on: fileSystem, salt: log.salt, nodeID: nodeID)
    }
}
