package import Basics

/// The body of every reply begins alike:
///
///     u16 code        0: well; else `ErrorCode`, and what follows is laid out as in `ReplyError`
///     u64 revision    of a mutation: the log index that it was applied at; of a read: of the state that answered
///
/// and goes on with what was asked for:
///
///     put, delete, endSession, releaseView    nothing
///     deleteRange        u32 rows deleted | u8 more
///     createSequential   u16 size, key
///     transaction        u8 succeeded | u16 count | results
///                        result: u8 1 put, 2 delete | u8 3 deletePrefix, u32 rows | u8 4 get, as in get
///     get                u8 found | [u64 revision of the row | u32 size, value]
///     list, page         u64 view, 0 none | u8 more | u16 size, cursor | u32 count | rows unless only counted
///                        row: u16 size, key | u64 revision | u32 size, value (absent in a listing of keys only)
///     campaign, acquireLock    `TicketResult`
///     withdraw, releaseLock    u8 there was a ticket
///     setCandidateData   nothing
///     stateSet, stateExpunge   u8 done
///     leader             u8 found | [`Candidate`, as a list item]
///     validate           `GuardResult`
///     stateGet           u8 found | [`StateEntry`, as in its row]
///     candidates, lock, stateNames, sessions, history   `ListPart`
///     setHistory         `SetHistoryResult`
///     changes            `DeltaPage`
///     moment             `MomentResult`
///     historyOf          `HistoryCoverage`
///
/// Bytes after what is described are to be ignored: a later release may add fields.
package enum Reply {
    /// Code and revision.
    package static let headSize = 10

    /// Appends the head of a reply without error; what was asked for follows.
    package static func writeSuccess(revision: LogIndex, into writer: inout ByteWriter) {
        writer.write(UInt16(0))
        writer.write(revision.rawValue)
    }
}

/// Code and revision of a reply.
package enum ReplyHead: Hashable, Sendable {
    case success(revision: LogIndex)
    case failure(ReplyError, revision: LogIndex)

    /// Reads the head; after `.success` the reader stands at what was asked for, after `.failure` at the end.
    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        let number = try reader.readUInt16()
        let revision = try reader.readLogIndex()
        guard number != 0 else {
            self = .success(revision: revision)
            return
        }
        guard let code = ErrorCode(rawValue: number) else { throw .unknown("error code", UInt64(number)) }
        self = .failure(try ReplyError(code: code, decoding: &reader), revision: revision)
    }
}

package struct DeleteRangeResult: Hashable, Sendable {
    package var rowCount: UInt32
    /// Rows are left, because of the command's limit.
    package var hasMore: Bool

    package init(rowCount: UInt32, hasMore: Bool) {
        self.rowCount = rowCount
        self.hasMore = hasMore
    }

    package func encode(into writer: inout ByteWriter) {
        writer.write(rowCount)
        writer.write(hasMore)
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        rowCount = try reader.readUInt32()
        hasMore = try reader.readBool()
    }
}

/// A row as a read found it.
package struct RowResult: Hashable, Sendable {
    package var revision: LogIndex
    package var value: [UInt8]

    package init(revision: LogIndex, value: [UInt8]) {
        self.revision = revision
        self.value = value
    }
}

extension ByteWriter {
    /// `u8` found; if so `u64` revision and the value.
    package mutating func write(_ row: RowResult?) {
        write(row != nil)
        guard let row else { return }
        write(row.revision.rawValue)
        writeBytes32(row.value)
    }
}

extension ByteWriter {
    /// `u8` 1 and the session that the row goes with; nothing where it goes with none.
    package mutating func writeRowOwner(_ owner: SessionID?) {
        guard let owner else { return }
        write(true)
        write(owner)
    }
}

extension ByteReader {
    @_lifetime(self: copy self)
    package mutating func readRowResult() throws(DecodeError) -> RowResult? {
        guard try readBool() else { return nil }
        let revision = LogIndex(try readUInt64())
        return RowResult(revision: revision, value: [UInt8](try readBytes32(max: Limits.valueSizeMaxCeiling)))
    }

    /// What follows a row in the answer to a get, where the row goes with a session.
    @_lifetime(self: copy self)
    package mutating func readRowOwner() throws(DecodeError) -> SessionID? {
        guard !isAtEnd, try readBool() else { return nil }
        return try readSessionID()
    }

    /// What a sequential create answers.
    @_lifetime(self: copy self)
    package mutating func readCreatedKey() throws(DecodeError) -> [UInt8] {
        [UInt8](try readBytes16(max: Limits.keySizeMax))
    }
}

package struct TransactionResult: Hashable, Sendable {
    package enum Result: Hashable, Sendable {
        case put
        case delete
        case deletePrefix(rowCount: UInt32)
        case get(RowResult?)
    }

    /// The comparisons held.
    package var succeeded: Bool
    /// One for each operation of the branch that was taken, in order.
    package var results: [Result]

    package init(succeeded: Bool, results: [Result]) {
        self.succeeded = succeeded
        self.results = results
    }

    package func encode(into writer: inout ByteWriter) {
        writer.write(succeeded)
        writer.write(UInt16(clamping: results.count))
        for result in results {
            switch result {
            case .put: writer.write(UInt8(1))
            case .delete: writer.write(UInt8(2))
            case .deletePrefix(let rowCount):
                writer.write(UInt8(3))
                writer.write(rowCount)
            case .get(let row):
                writer.write(UInt8(4))
                writer.write(row)
            }
        }
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        succeeded = try reader.readBool()
        results = []
        for _ in 0..<(try reader.readUInt16()) {
            let form = try reader.readUInt8()
            switch form {
            case 1: results.append(.put)
            case 2: results.append(.delete)
            case 3: results.append(.deletePrefix(rowCount: try reader.readUInt32()))
            case 4: results.append(.get(try reader.readRowResult()))
            default: throw .unknown("result", UInt64(form))
            }
        }
    }
}

/// One page of a listing, or a count.
package struct Page: Hashable, Sendable {
    package struct Row: Hashable, Sendable {
        package var key: [UInt8]
        package var revision: LogIndex
        /// Nil in a listing of keys only.
        package var value: [UInt8]?
        /// The session that it goes with.
        package var owner: SessionID?

        package init(key: [UInt8], revision: LogIndex, value: [UInt8]?, owner: SessionID? = nil) {
            self.key = key
            self.revision = revision
            self.value = value
            self.owner = owner
        }
    }

    /// For the pages to come; 0: none is pinned.
    package var view: UInt64
    package var hasMore: Bool
    /// The last key that was looked at, for `PageRequest.after`; empty when there is no more.
    package var cursor: [UInt8]
    /// Rows on this page, or counted for it.
    package var count: UInt32
    package var rows: [Row]

    package init(view: UInt64, hasMore: Bool, cursor: [UInt8], count: UInt32, rows: [Row]) {
        self.view = view
        self.hasMore = hasMore
        self.cursor = cursor
        self.count = count
        self.rows = rows
    }

    /// Without the values when `isKeysOnly`, without the rows when `isCountOnly`, as the request said.
    package init(decoding reader: inout ByteReader, for request: PageRequest) throws(DecodeError) {
        view = try reader.readUInt64()
        hasMore = try reader.readBool()
        cursor = [UInt8](try reader.readBytes16(max: Limits.keySizeMax))
        count = try reader.readUInt32()
        rows = []
        guard !request.isCountOnly else { return }
        for _ in 0..<count {
            let key = [UInt8](try reader.readBytes16(max: Limits.keySizeMax))
            let revision = LogIndex(try reader.readUInt64())
            let value = request.isKeysOnly ? nil : [UInt8](try reader.readBytes32(max: Limits.valueSizeMaxCeiling))
            rows.append(Row(key: key, revision: revision, value: value))
        }
        guard !reader.isAtEnd else { return }
        for _ in 0..<(try reader.readCount32(itemSizeMin: 20)) {
            let row = Int(try reader.readUInt32())
            guard row < rows.count else { throw .invalid("owner of a row that is not on the page") }
            rows[row].owner = try reader.readSessionID()
        }
    }

    package func encode(into writer: inout ByteWriter) {
        writer.write(view)
        writer.write(hasMore)
        writer.writeBytes16(cursor)
        writer.write(count)
        for row in rows {
            writer.writeBytes16(row.key)
            writer.write(row.revision.rawValue)
            if let value = row.value { writer.writeBytes32(value) }
        }
        // At the end, where clients of an earlier release do not look.
        let owned = rows.enumerated().compactMap { row in row.element.owner.map { (row.offset, $0) } }
        guard !owned.isEmpty else { return }
        writer.write(UInt32(owned.count))
        for (row, owner) in owned {
            writer.write(UInt32(row))
            writer.write(owner)
        }
    }
}
