package import Basics

/// What an entry left under one key, as the change feed tells it.
///
///     u8 flags          1 put, else deleted; 2 an owner follows; 4 the value was left out
///                       8 whether there was a row before is known; 16 there was one; 32 its value follows
///     u16 size, key     [16 B owner]     put, unless left out: u32 size, value
///                       with 16: u64 revision of the row before      with 32: u32 size, its value
///
/// *Deleted* says that no row is there at this revision: a plain delete is logged without looking whether there was
/// one. What was there before is known only where history is kept, and told only to those who ask.
package struct Change: Hashable, Sendable {
    package var key: [UInt8]
    /// Nil when the key was deleted; empty where the value was left out.
    package var value: [UInt8]?
    /// The session that the row goes with.
    package var owner: SessionID?
    package var isValueLeftOut = false
    /// Nil where it is not known, or was not asked for.
    package var before: RowBefore?

    package init(key: [UInt8], value: [UInt8]?, owner: SessionID? = nil, isValueLeftOut: Bool = false,
        before: RowBefore? = nil
    ) {
        self.key = key
        self.value = value
        self.owner = owner
        self.isValueLeftOut = isValueLeftOut
        self.before = before
    }

    static let put: UInt8 = 1
    static let owned: UInt8 = 2
    static let valueLeftOut: UInt8 = 4
    static let beforeKnown: UInt8 = 8
    static let wasThere: UInt8 = 16
    static let valueBefore: UInt8 = 32

    package func encode(into writer: inout ByteWriter) {
        writer.write(
            (value == nil ? 0 : Self.put) | (owner == nil ? 0 : Self.owned) | (isValueLeftOut ? Self.valueLeftOut : 0)
                | (before?.flags ?? 0))
        writer.writeBytes16(key)
        if let owner { writer.write(owner) }
        if let value, !isValueLeftOut { writer.writeBytes32(value) }
        before?.encode(into: &writer)
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        self.init(try ChangeView(decoding: &reader))
    }

    package init(_ view: borrowing ChangeView) {
        self.init(
            key: [UInt8](view.key), value: view.isPut ? [UInt8](view.value) : nil, owner: view.owner,
            isValueLeftOut: view.isValueLeftOut, before: view.before)
    }
}

/// What was under a key before an entry changed it.
package enum RowBefore: Hashable, Sendable {
    case nothing
    /// - Parameters:
    ///   - revision: of its last change; 0 in tables that do not say.
    ///   - value: nil where it was left out.
    case row(revision: LogIndex, value: [UInt8]?)

    var flags: UInt8 {
        switch self {
        case .nothing: Change.beforeKnown
        case .row(_, nil): Change.beforeKnown | Change.wasThere
        case .row(_, _?): Change.beforeKnown | Change.wasThere | Change.valueBefore
        }
    }

    func encode(into writer: inout ByteWriter) {
        guard case .row(let revision, let value) = self else { return }
        writer.write(revision.rawValue)
        if let value { writer.writeBytes32(value) }
    }
}

/// How much of a change a watch is told.
package struct ChangeDetail: OptionSet, Hashable, Sendable {
    package let rawValue: UInt8
    package init(rawValue: UInt8) { self.rawValue = rawValue }

    /// Of a put its value.
    package static let value = ChangeDetail(rawValue: 1)
    /// Whether there was a row before, and its revision.
    package static let before = ChangeDetail(rawValue: 2)
    /// And its value.
    package static let valueBefore = ChangeDetail(rawValue: 4)
}

/// A change, read in place.
package struct ChangeView: ~Escapable {
    package let flags: UInt8
    package let key: RawSpan
    package let owner: SessionID?
    package let value: RawSpan
    /// 0: there was none, or it is not known.
    package let revisionBefore: LogIndex
    package let valueBefore: RawSpan

    package var isPut: Bool { flags & Change.put != 0 }
    package var isValueLeftOut: Bool { flags & Change.valueLeftOut != 0 }

    @_lifetime(copy reader)
    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        flags = try reader.readUInt8()
        let ofPut = Change.owned | Change.valueLeftOut
        let known = Change.put | ofPut | Change.beforeKnown | Change.wasThere | Change.valueBefore
        guard flags & ~known == 0, flags & Change.put != 0 || flags & ofPut == 0,
            flags & Change.wasThere == 0 || flags & Change.beforeKnown != 0,
            flags & Change.valueBefore == 0 || flags & Change.wasThere != 0
        else { throw .invalid("flags of a change") }
        key = try reader.readBytes16(max: Limits.changeKeySizeMax)
        owner = flags & Change.owned != 0 ? try reader.readSessionID() : nil
        let hasValue = flags & (Change.put | Change.valueLeftOut) == Change.put
        value = hasValue ? try reader.readBytes32(max: Limits.changeValueSizeMax) : try reader.readBytes(0)
        revisionBefore = flags & Change.wasThere != 0 ? LogIndex(try reader.readUInt64()) : .zero
        valueBefore =
            flags & Change.valueBefore != 0
            ? try reader.readBytes32(max: Limits.changeValueSizeMax) : try reader.readBytes(0)
    }

    package var before: RowBefore? {
        guard flags & Change.beforeKnown != 0 else { return nil }
        guard flags & Change.wasThere != 0 else { return .nothing }
        let value = flags & Change.valueBefore != 0 ? [UInt8](valueBefore) : nil
        return .row(revision: revisionBefore, value: value)
    }

    /// What is told of it with this much detail.
    private func flags(_ detail: ChangeDetail) -> UInt8 {
        var flags = flags
        if isPut, !detail.contains(.value) { flags |= Change.valueLeftOut }
        if !detail.contains(.before) { flags &= ~(Change.beforeKnown | Change.wasThere | Change.valueBefore) }
        if !detail.contains(.valueBefore) { flags &= ~Change.valueBefore }
        return flags
    }

    /// Appends the change, or what is to be told of it.
    package func encode(_ detail: ChangeDetail, into writer: inout ByteWriter) {
        let flags = flags(detail)
        writer.write(flags)
        writer.write(UInt16(key.byteCount))
        writer.write(key)
        if let owner { writer.write(owner) }
        if flags & (Change.put | Change.valueLeftOut) == Change.put {
            writer.write(UInt32(value.byteCount))
            writer.write(value)
        }
        if flags & Change.wasThere != 0 { writer.write(revisionBefore.rawValue) }
        guard flags & Change.valueBefore != 0 else { return }
        writer.write(UInt32(valueBefore.byteCount))
        writer.write(valueBefore)
    }

    /// Bytes that `encode` appends.
    package func encodedSize(_ detail: ChangeDetail) -> Int {
        let flags = flags(detail)
        return 3 + key.byteCount + (owner == nil ? 0 : 16)
            + (flags & (Change.put | Change.valueLeftOut) == Change.put ? 4 + value.byteCount : 0)
            + (flags & Change.wasThere != 0 ? 8 : 0)
            + (flags & Change.valueBefore != 0 ? 4 + valueBefore.byteCount : 0)
    }
}

/// What can be watched. Numbers are forever; they are those of the tables that hold the rows.
package enum FeedTable: UInt8, Hashable, Sendable, CaseIterable {
    case records = 0x10
    case elections = 0x20
    case locks = 0x21
    case state = 0x30
    case registry = 0x40
}

/// All changes of a stretch of the log, in order. Revisions that changed nothing are not in the bytes:
///
///     u64 revision | `ChangeOrigin` | u32 size of what follows, in bytes | changes: u8 table, `Change`
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
                let origin = try ChangeOrigin(decoding: &reader)
                let changes = FeedChanges(origin: origin, bytes: try reader.readBytes(Int(try reader.readUInt32())))
                guard revision < first || body(revision, changes) else { return }
            }
        } catch {
            fatalError("a feed batch that was made here cannot be read: \(error)")
        }
    }
}

/// The changes of one revision.
package struct FeedChanges: ~Escapable {
    package let origin: ChangeOrigin
    package let bytes: RawSpan

    @_lifetime(copy bytes)
    init(origin: ChangeOrigin, bytes: RawSpan) {
        self.origin = origin
        self.bytes = bytes
    }

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
