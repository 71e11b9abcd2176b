package import Basics
internal import MetadataModel
internal import StateEngine

/// A row as the engine stores it, read for a person who looks into a node's state.
package enum StoredRow: Hashable, Sendable {
    case record(key: [UInt8], revision: LogIndex, value: [UInt8])
    case tombstone(key: [UInt8], revision: LogIndex)
    case applied(Applied)
    /// The service's own.
    case system

    /// Reads any row of the key space.
    /// - Throws: what is wrong with it, when it is not as the machine wrote it.
    package init(key: RawSpan, value: RawSpan) throws(DecodeError) {
        var keyReader = ByteReader(key)
        let table = try keyReader.readUInt8()
        let rest = [UInt8](keyReader.readRemaining())
        var reader = ByteReader(value)
        switch table {
        case Keyspace.rowTable[0]:
            self = try Self.record(rest, value)
        case Keyspace.tombstoneTable[0]: self = .tombstone(key: rest, revision: LogIndex(try reader.readUInt64()))
        case Keyspace.applied[0]: self = .applied(try Applied(decoding: value))
        case Keyspace.membership[0]:
            _ = try StoredMembership(decoding: value)
            self = .system
        case Keyspace.memberInfoTable:
            _ = try MemberInfo(decoding: &reader)
            self = .system
        case Keyspace.featureLevel[0]:
            _ = try reader.readUInt32()
            self = .system
        case Keyspace.deleteFloor[0], Keyspace.tombstoneSweep[0], Keyspace.feedFloor[0], Keyspace.historyTable,
            Keyspace.timeMarkTable:
            _ = try reader.readUInt64()
            self = .system
        case Keyspace.electionTable:
            _ = try Candidate(ticket: try Keyspace.ticket(ofKey: key), decodingRow: &reader)
            self = .system
        case Keyspace.lockTable:
            _ = try LockTicket(ticket: try Keyspace.ticket(ofKey: key), decodingRow: &reader)
            self = .system
        case Keyspace.stateTable:
            _ = try StateEntry(decodingRow: &reader)
            self = .system
        case Keyspace.lineSizeTable:
            _ = try reader.readUInt32()
            self = .system
        case Keyspace.ownerTable, Keyspace.timerTable, Keyspace.registryTable, Keyspace.outcomeTable, Keyspace.sessions[0]:
            self = .system
        default: throw .unknown("table", UInt64(table))
        }
    }

    private static func record(_ key: [UInt8], _ stored: RawSpan) throws(DecodeError) -> StoredRow {
        do throws(EngineError) {
            let row = try Row.decode(stored)
            return .record(key: key, revision: row.revision, value: row.value)
        } catch {
            throw .truncated
        }
    }
}
