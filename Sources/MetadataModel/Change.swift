package import Basics

/// What an entry left under one key, as the change feed tells it.
///
///     u8 flags          1 put, else deleted; 2 an owner follows; 4 the value was left out
///     u16 size, key     [16 B owner]     put, unless left out: u32 size, value
///
/// *Deleted* says that no row is there at this revision: a plain delete is logged without looking whether there was
/// one.
package struct Change: Hashable, Sendable {
    package var key: [UInt8]
    /// Nil when the key was deleted; empty where the value was left out.
    package var value: [UInt8]?
    /// The session that the row goes with.
    package var owner: SessionID?
    package var isValueLeftOut = false

    package init(key: [UInt8], value: [UInt8]?, owner: SessionID? = nil, isValueLeftOut: Bool = false) {
        self.key = key
        self.value = value
        self.owner = owner
        self.isValueLeftOut = isValueLeftOut
    }

    static let put: UInt8 = 1
    static let owned: UInt8 = 2
    static let valueLeftOut: UInt8 = 4

    package func encode(into writer: inout ByteWriter) {
        writer.write(
            (value == nil ? 0 : Self.put) | (owner == nil ? 0 : Self.owned) | (isValueLeftOut ? Self.valueLeftOut : 0))
        writer.writeBytes16(key)
        if let owner { writer.write(owner) }
        if let value, !isValueLeftOut { writer.writeBytes32(value) }
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        let view = try ChangeView(decoding: &reader)
        self.init(
            key: [UInt8](view.key), value: view.isPut ? [UInt8](view.value) : nil, owner: view.owner,
            isValueLeftOut: view.isValueLeftOut)
    }
}

/// A change, read in place.
package struct ChangeView: ~Escapable {
    package let flags: UInt8
    package let key: RawSpan
    package let owner: SessionID?
    package let value: RawSpan

    package var isPut: Bool { flags & Change.put != 0 }
    package var isValueLeftOut: Bool { flags & Change.valueLeftOut != 0 }

    @_lifetime(copy reader)
    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        flags = try reader.readUInt8()
        let known = Change.put | Change.owned | Change.valueLeftOut
        guard flags & ~known == 0, flags & Change.put != 0 || flags == 0 else {
            throw .invalid("flags of a change")
        }
        key = try reader.readBytes16(max: Limits.changeKeySizeMax)
        owner = flags & Change.owned != 0 ? try reader.readSessionID() : nil
        let hasValue = flags & (Change.put | Change.valueLeftOut) == Change.put
        value = hasValue ? try reader.readBytes32(max: Limits.changeValueSizeMax) : try reader.readBytes(0)
    }

    /// Appends the change as it is, or without its value.
    package func encode(isKeyOnly: Bool, into writer: inout ByteWriter) {
        let leavesOut = isPut && (isKeyOnly || isValueLeftOut)
        writer.write(flags | (leavesOut ? Change.valueLeftOut : 0))
        writer.write(UInt16(key.byteCount))
        writer.write(key)
        if let owner { writer.write(owner) }
        guard isPut, !leavesOut else { return }
        writer.write(UInt32(value.byteCount))
        writer.write(value)
    }

    /// Bytes that `encode` appends.
    package func encodedSize(isKeyOnly: Bool) -> Int {
        let valueSize = isPut && !isKeyOnly && !isValueLeftOut ? 4 + value.byteCount : 0
        return 3 + key.byteCount + (owner == nil ? 0 : 16) + valueSize
    }
}

/// What can be watched. Numbers are forever; they are those of the tables that hold the rows.
package enum FeedTable: UInt8, Hashable, Sendable, CaseIterable {
    case records = 0x10
    case elections = 0x20
    case locks = 0x21
    case state = 0x30
}

/// All changes of a stretch of the log, in order. Revisions that changed nothing are not in the bytes:
///
///     u64 revision | u32 size of what follows, in bytes | changes: u8 table, `Change`
///
/// The changes of one revision are ordered by table and key, and no key is there twice. Only this process reads it.
package struct FeedBatch: Sendable {
    package let range: ClosedRange<LogIndex>
    package let bytes: [UInt8]

    package init(range: ClosedRange<LogIndex>, bytes: [UInt8]) {
        self.range = range
        self.bytes = bytes
    }

    /// Calls `body` with each revision from `first` on and its changes, until it answers false.
    package func forEachRevision(from first: LogIndex = .zero, _ body: (LogIndex, FeedChanges) -> Bool) {
        var reader = ByteReader(bytes.rawSpan)
        do throws(DecodeError) {
            while !reader.isAtEnd {
                let revision = LogIndex(try reader.readUInt64())
                let changes = FeedChanges(bytes: try reader.readBytes(Int(try reader.readUInt32())))
                guard revision < first || body(revision, changes) else { return }
            }
        } catch {
            fatalError("a feed batch that was made here cannot be read: \(error)")
        }
    }
}

/// The changes of one revision.
package struct FeedChanges: ~Escapable {
    package let bytes: RawSpan

    @_lifetime(copy bytes)
    init(bytes: RawSpan) { self.bytes = bytes }

    package func forEach(_ body: (_ table: UInt8, borrowing ChangeView) -> Void) {
        var reader = ByteReader(bytes)
        do throws(DecodeError) {
            while !reader.isAtEnd {
                let table = try reader.readUInt8()
                body(table, try ChangeView(decoding: &reader))
            }
        } catch {
            fatalError("a feed batch that was made here cannot be read: \(error)")
        }
    }
}
