package import Basics
internal import Disk
internal import Foundation
internal import LogFormat
internal import LogStore
internal import MetadataMachine
internal import MetadataModel
internal import RaftCore
internal import RocksEngine
internal import StateEngine

/// The data directory of a node that does not run, looked at without changing a byte of it.
package final class StoppedNode {
    package let directory: String
    let identity: NodeIdentity
    let cluster: ClusterIdentity
    let fileSystem = PosixFileSystem()
    private let lock: DirectoryLock?

    /// - Parameter isExclusive: nobody else may even look meanwhile.
    /// - Throws: `OfflineError`: no node's directory, one that is in use, or one whose identity cannot be read.
    package init(_ directory: String, isExclusive: Bool = false) throws {
        self.directory = directory
        do {
            guard try fileSystem.exists("\(directory)/\(NodeIdentity.fileName)") else {
                throw OfflineError(
                    "noDataDirectory", "\(directory) is not the data directory of a node: it has no file `identity`")
            }
            lock = isExclusive ? try fileSystem.lock(directory) : try fileSystem.lockForReading(directory)
        } catch let error as DiskError {
            throw OfflineError(lockOf: directory, error)
        }
        do {
            guard let found = try NodeIdentity.load(from: directory, on: fileSystem) else {
                throw OfflineError("noDataDirectory", "\(directory) is not the data directory of a node")
            }
            identity = found
        } catch let error as IdentityError {
            throw OfflineError("damaged", "\(error)")
        }
        guard let cluster = identity.cluster else {
            throw OfflineError(
                "noCluster", "\(identity.name) never belonged to a cluster: \(directory) holds nothing yet")
        }
        self.cluster = cluster
    }

    package var name: String { identity.name }

    // MARK: - The log

    /// Verifies the whole log and hands over the readable entries of `range`, in order, one at a time.
    package func readLog(
        in range: ClosedRange<LogIndex>, _ body: (OfflineEntry) throws -> Void
    ) throws -> OfflineLogReport {
        let log = try inspectLog()
        try log.forEachSlab(in: range) { slab in
            for index in slab.firstIndex.rawValue...slab.lastIndex.rawValue {
                try body(OfflineEntry(slab.record(at: LogIndex(index))))
            }
        }
        return OfflineLogReport(
            firstIndex: log.firstIndex.rawValue, lastIndex: log.last.index.rawValue, lastTerm: log.last.term.rawValue,
            currentTerm: log.currentTerm.rawValue,
            damages: log.report.damages.map { damage in
                OfflineDamage(
                    file: damage.file, offset: UInt64(clamping: damage.offset), reason: damage.reason,
                    entries: damage.indexes.map { $0.lowerBound.rawValue...$0.upperBound.rawValue },
                    isRepaired: damage.indexes != nil && !log.isLost(damage))
            },
            tornTail: log.report.tornTail.map(\.description))
    }

    func inspectLog() throws -> LogInspection {
        let path = "\(directory)/log"
        do {
            guard try fileSystem.exists(path) else {
                throw OfflineError("damaged", "\(path) is missing: the log of \(name) was lost")
            }
            return try LogInspection(
                fileSystem: fileSystem, directory: path, salt: cluster.salt, nodeID: identity.incarnation)
        } catch let error as LogOpenError {
            throw OfflineError("unreadable", "\(error)")
        }
    }

    // MARK: - The rows

    /// Reads and verifies all rows; hands over the records whose keys begin with `prefix`, in key order, one at a time.
    package func readRows(prefix: [UInt8], _ body: (OfflineRow) -> Void) throws -> OfflineRowsReport {
        var report = OfflineRowsReport()
        guard let path = try liveStatePath() else {
            throw OfflineError(
                "noRows",
                "\(name) keeps no rows on disk: --engine memory brings them back from \(directory)/snapshots and log"
            )
        }
        do throws(EngineError) {
            let rows = try RocksInspection(directory: path)
            try rows.scan(from: [], to: nil) { key, value in
                do throws(DecodeError) {
                    report.count(try StoredRow(key: key, value: value), prefix: prefix, body)
                } catch {
                    report.damages.append(
                        OfflineDamage(
                            file: path, offset: nil,
                            reason: "a row under key \(hexadecimal([UInt8](key))): \(error)", entries: nil,
                            isRepaired: false))
                }
            } damaged: { damage in
                report.damages.append(
                    OfflineDamage(
                        file: damage.file, offset: damage.offset, reason: damage.reason, entries: nil, isRepaired: false
                    ))
            }
        } catch {
            guard case .corrupt(let text) = error else { throw OfflineError("unreadable", "\(path): \(error)") }
            // The database as a whole does not open.
            let damage = RocksInspection.locate(text, in: path)
            report.damages.append(
                OfflineDamage(
                    file: damage.file, offset: damage.offset, reason: damage.reason, entries: nil, isRepaired: false))
        }
        return report
    }

    /// Where the rows are; nil when the node keeps none on disk.
    func liveStatePath() throws -> String? {
        do {
            let path = try RocksHome(directory: directory, fileSystem: fileSystem).livePath()
            return try fileSystem.exists(path) ? path : nil
        } catch let error as EngineError {
            throw OfflineError("damaged", "\(error)")
        }
    }

    private func hexadecimal(_ bytes: [UInt8]) -> String {
        bytes.prefix(64).map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined() + (bytes.count > 64 ? "…" : "")
    }
}

/// Bytes on disk that are not what was written there.
package struct OfflineDamage: Sendable {
    package var file: String
    package var offset: UInt64?
    package var reason: String
    /// Entries of the log that it took.
    package var entries: ClosedRange<UInt64>?
    /// They have come back from peers since; the bytes are still wrong.
    package var isRepaired: Bool
}

package struct OfflineLogReport: Sendable {
    package var firstIndex: UInt64
    package var lastIndex: UInt64
    package var lastTerm: UInt64
    /// The highest term that the node has taken part in.
    package var currentTerm: UInt64
    package var damages: [OfflineDamage]
    /// A write that a crash interrupted; nobody was told of it, and the next start cuts it off.
    package var tornTail: String?
}

package struct OfflineRowsReport: Sendable {
    package internal(set) var records: UInt64 = 0
    package internal(set) var tombstones: UInt64 = 0
    package internal(set) var systemRows: UInt64 = 0
    /// The entry through which the log has been applied to these rows.
    package internal(set) var appliedIndex: UInt64 = 0
    package internal(set) var appliedTerm: UInt64 = 0
    package internal(set) var damages: [OfflineDamage] = []

    fileprivate mutating func count(_ row: StoredRow, prefix: [UInt8], _ body: (OfflineRow) -> Void) {
        switch row {
        case .record(let key, let revision, let value):
            records += 1
            if key.starts(with: prefix) { body(OfflineRow(key: key, value: value, revision: revision.rawValue)) }
        case .tombstone: tombstones += 1
        case .applied(let applied):
            appliedIndex = applied.last.index.rawValue
            appliedTerm = applied.last.term.rawValue
            systemRows += 1
        case .system: systemRows += 1
        }
    }
}

package struct OfflineRow: Sendable {
    package var key: [UInt8]
    package var value: [UInt8]
    package var revision: UInt64
}

/// What cannot be done with a directory, as a person is told.
package struct OfflineError: Error, Sendable, CustomStringConvertible {
    /// Stable; for scripts.
    package var code: String
    package var message: String

    init(_ code: String, _ message: String) {
        self.code = code
        self.message = message
    }

    init(lockOf directory: String, _ error: DiskError) {
        guard error.kind == .locked else {
            self.init("unreadable", error.description)
            return
        }
        self.init("running", "the node in \(directory) is running: stop it first, then run this again")
    }

    package var description: String { message }
}
