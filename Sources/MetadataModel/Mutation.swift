package import Basics
package import RegistryModel

/// What a client may change, as a value: for encoding. The machine reads plain puts in place instead (`PutBody`).
package enum Mutation: Hashable, Sendable {
    /// `expectedRevision`: only if the row has this revision; 0: only if there is no row; nil: whatever is there.
    /// `isOwned`: the row goes when the session ends, unless somebody else has put or deleted it by then.
    case put(key: [UInt8], value: [UInt8], expectedRevision: LogIndex? = nil, isOwned: Bool = false)
    /// Without a condition the key need not exist.
    case delete(key: [UInt8], expectedRevision: LogIndex? = nil)
    /// With `limit` 0 all rows at once or, above `Limits.rangeDeleteRowsMax`, none (`tooLarge`); else the first `limit`
    /// rows in key order, and the reply says whether there are more.
    case deleteRange(KeySpan, limit: UInt32 = 0)
    /// Makes the key `Key.sequential(prefix:revision:)`; `conflict` if somebody has put that very key by name.
    case createSequential(prefix: [UInt8], value: [UInt8], isOwned: Bool = false)
    case transaction(Transaction)
    /// The session is over once this is applied.
    case endSession
    case coordination(CoordinationCommand)
    /// Keeps previous values for the keys that begin with the prefix; those of all keys when it is empty.
    case setHistory(prefix: [UInt8], isOn: Bool)
    /// Needs a guard of the masters' election.
    case registry(RegistryCommand)

    package var kind: CommandKind {
        switch self {
        case .put: .put
        case .delete: .delete
        case .deleteRange: .deleteRange
        case .createSequential(_, _, let isOwned): isOwned ? .createOwnedSequential : .createSequential
        case .transaction: .transaction
        case .endSession: .endSession
        case .coordination(let command): command.kind
        case .setHistory: .setHistory
        case .registry: .registry
        }
    }

    /// True for what goes with its session, so that a session which ends at once cannot have it.
    package var isOwned: Bool {
        switch self {
        case .put(_, _, _, let isOwned), .createSequential(_, _, let isOwned): isOwned
        case .transaction(let transaction): transaction.hasOwnedPuts
        case .coordination(let command): command.isOwned
        case .delete, .deleteRange, .endSession, .setHistory, .registry: false
        }
    }

    /// Appends the part of the command after its header:
    ///
    ///     put               u8 flags: 1 has condition, 2 owned | [u64 expected revision] | u16 size, key
    ///                       | u32 size, value
    ///     delete            u8 has condition, [u64 expected revision] | u16 size, key
    ///     deleteRange       `KeySpan` | u32 limit
    ///     createSequential  u16 size, prefix | u32 size, value, as in createOwnedSequential
    ///     transaction       `Transaction`
    ///     endSession        nothing
    ///     setHistory        `SetHistoryBody`
    ///     registry          `RegistryCommand`
    ///     the others        `CoordinationCommand`
    ///
    /// Keys must have passed `Key.refusal(of:)`; `Command.validate` is the judge of the whole.
    package func encodeBody(into writer: inout ByteWriter) {
        switch self {
        case .put(let key, let value, let expected, let isOwned):
            writer.write(UInt8((expected == nil ? 0 : 1) | (isOwned ? 2 : 0)))
            if let expected { writer.write(expected.rawValue) }
            writer.writeBytes16(key)
            writer.writeBytes32(value)
        case .delete(let key, let expected):
            writer.write(condition: expected)
            writer.writeBytes16(key)
        case .deleteRange(let span, let limit):
            span.encode(into: &writer)
            writer.write(limit)
        case .createSequential(let prefix, let value, _):
            writer.writeBytes16(prefix)
            writer.writeBytes32(value)
        case .transaction(let transaction):
            transaction.encode(into: &writer)
        case .endSession:
            break
        case .coordination(let command):
            command.encode(into: &writer)
        case .setHistory(let prefix, let isOn):
            writer.write(isOn)
            writer.writeBytes16(prefix)
        case .registry(let command):
            command.encode(into: &writer)
        }
    }
}

/// A put, read in place.
package struct PutBody: ~Escapable {
    package let expectedRevision: LogIndex?
    /// The row goes with the session.
    package let isOwned: Bool
    package let key: RawSpan
    package let value: RawSpan

    @_lifetime(copy reader)
    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        let flags = try reader.readUInt8()
        guard flags <= 3 else { throw .invalid("put flags") }
        expectedRevision = flags & 1 != 0 ? LogIndex(try reader.readUInt64()) : nil
        isOwned = flags & 2 != 0
        key = try reader.readBytes16(max: Limits.keySizeMax)
        value = try reader.readBytes32(max: Limits.valueSizeMaxCeiling)
    }
}

/// A delete, read in place.
package struct DeleteBody: ~Escapable {
    package let expectedRevision: LogIndex?
    package let key: RawSpan

    @_lifetime(copy reader)
    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        expectedRevision = try reader.readCondition()
        key = try reader.readBytes16(max: Limits.keySizeMax)
    }
}

/// A sequential create, read in place.
package struct CreateSequentialBody: ~Escapable {
    package let prefix: RawSpan
    package let value: RawSpan

    @_lifetime(copy reader)
    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        prefix = try reader.readBytes16(max: Key.sequentialPrefixSizeMax)
        value = try reader.readBytes32(max: Limits.valueSizeMaxCeiling)
    }
}

package struct DeleteRangeBody: Hashable, Sendable {
    package let span: KeySpan
    package let limit: UInt32

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        span = try KeySpan(decoding: &reader)
        limit = try reader.readUInt32()
    }
}

extension ByteWriter {
    fileprivate mutating func write(condition expected: LogIndex?) {
        write(expected != nil)
        if let expected { write(expected.rawValue) }
    }
}

extension ByteReader {
    @_lifetime(self: copy self)
    fileprivate mutating func readCondition() throws(DecodeError) -> LogIndex? {
        try readBool() ? LogIndex(try readUInt64()) : nil
    }
}
