package import Basics

/// What a client may read; follows the read header in the body of a `query` frame. Numbers are forever.
///
///     u8 1 get           u16 size, key
///     u8 2 list          `KeySpan` | `PageRequest`
///     u8 3 page of view  u64 view | `KeySpan` | `PageRequest`
///     u8 4 releaseView   u64 view
///     u8 5 leader        u16 size, group
///     u8 6 candidates    u16 size, group | u64 after ticket | u32 limit
///     u8 7 lock          u16 size, name | u64 after ticket | u32 limit
///     u8 8 validate      `Guard`
///     u8 9 stateGet      u16 size, name
///     u8 10 stateNames   u16 size, after name | u32 limit
///     u8 11 sessions     16 B after session | u32 limit
///     u8 12 history
///     u8 13 changes      u64 view, 0: none | `KeySpan` | u64 since | u16 size, cursor | u32 limit | u8 flags: 4 pin a view
///     u8 14 moment       u64 cluster time, ns
///     u8 15 historyOf    u16 size, prefix or key
///     u8 16 registry     u64 view, 0: none | u16 size, prefix | `PageRequest`
///
/// Lists are in order and go on after what is named; limit 0, or above `Limits.listPageCountMax`: that many.
package enum Query: Hashable, Sendable {
    case get(key: [UInt8])
    case list(KeySpan, PageRequest)
    /// As `list`, from a view that an earlier page pinned: all pages of one view show one revision. The last page lets
    /// go of the view.
    case page(view: UInt64, KeySpan, PageRequest)
    case releaseView(UInt64)
    case leader(group: [UInt8])
    /// In the order in which they will lead.
    case candidates(group: [UInt8], after: LogIndex, limit: UInt32)
    /// Who holds the lock and who waits, in order.
    case lock(name: [UInt8], after: LogIndex, limit: UInt32)
    /// Does the fence still hold? For systems outside, which cannot be guarded.
    case validate(Guard)
    case stateGet(name: [UInt8])
    case stateNames(after: [UInt8], limit: UInt32)
    /// The open sessions, ordered by id.
    case sessions(after: SessionID, limit: UInt32)
    /// The prefixes under which history is kept, in order: all of them, for they are few.
    case history
    /// What changed under some keys since a revision, in its last form.
    case changes(DeltaRequest)
    /// Where in the log a moment is.
    case moment(ClusterTime)
    /// Since when history is kept for all keys with this prefix, or else for some of them; `historyOff` when for none.
    case historyOf(prefix: [UInt8])
    /// Rows of the registry whose keys begin with the prefix, as `list` and `page`: the first byte of a key is its
    /// `RegistryTable`. View 0: of the live state. Their revisions are not kept.
    case registry(view: UInt64, prefix: [UInt8], PageRequest)

    package func encode(into writer: inout ByteWriter) {
        switch self {
        case .get(let key):
            writer.write(UInt8(1))
            writer.writeBytes16(key)
        case .list(let span, let page):
            writer.write(UInt8(2))
            span.encode(into: &writer)
            page.encode(into: &writer)
        case .page(let view, let span, let page):
            writer.write(UInt8(3))
            writer.write(view)
            span.encode(into: &writer)
            page.encode(into: &writer)
        case .releaseView(let view):
            writer.write(UInt8(4))
            writer.write(view)
        case .leader(let group):
            writer.write(UInt8(5))
            writer.writeBytes16(group)
        case .candidates(let name, let after, let limit), .lock(let name, let after, let limit):
            if case .lock = self { writer.write(UInt8(7)) } else { writer.write(UInt8(6)) }
            writer.writeBytes16(name)
            writer.write(after.rawValue)
            writer.write(limit)
        case .validate(let condition):
            writer.write(UInt8(8))
            condition.encode(into: &writer)
        case .stateGet(let name):
            writer.write(UInt8(9))
            writer.writeBytes16(name)
        case .stateNames(let after, let limit):
            writer.write(UInt8(10))
            writer.writeBytes16(after)
            writer.write(limit)
        case .sessions(let after, let limit):
            writer.write(UInt8(11))
            writer.write(after)
            writer.write(limit)
        case .history: writer.write(UInt8(12))
        case .changes(let request):
            writer.write(UInt8(13))
            request.encode(into: &writer)
        case .moment(let time):
            writer.write(UInt8(14))
            writer.write(time.nanoseconds)
        case .historyOf(let prefix):
            writer.write(UInt8(15))
            writer.writeBytes16(prefix)
        case .registry(let view, let prefix, let page):
            writer.write(UInt8(16))
            writer.write(view)
            writer.writeBytes16(prefix)
            page.encode(into: &writer)
        }
    }

    package func encoded() -> [UInt8] {
        var writer = ByteWriter()
        encode(into: &writer)
        return writer.takeBytes()
    }

    package init(decoding bytes: RawSpan) throws(DecodeError) {
        var reader = ByteReader(bytes)
        let form = try reader.readUInt8()
        switch form {
        case 1: self = .get(key: [UInt8](try reader.readBytes16(max: Limits.keySizeMax)))
        case 2:
            let span = try KeySpan(decoding: &reader)
            self = .list(span, try PageRequest(decoding: &reader))
        case 3:
            let view = try reader.readUInt64()
            let span = try KeySpan(decoding: &reader)
            self = .page(view: view, span, try PageRequest(decoding: &reader))
        case 4: self = .releaseView(try reader.readUInt64())
        case 5: self = .leader(group: [UInt8](try reader.readBytes16(max: Limits.nameSizeMax)))
        case 6, 7:
            let name = [UInt8](try reader.readBytes16(max: Limits.nameSizeMax))
            let after = LogIndex(try reader.readUInt64())
            let limit = try reader.readUInt32()
            self =
                form == 6
                ? .candidates(group: name, after: after, limit: limit) : .lock(name: name, after: after, limit: limit)
        case 8: self = .validate(try Guard(decoding: &reader))
        case 9: self = .stateGet(name: [UInt8](try reader.readBytes16(max: Limits.nameSizeMax)))
        case 10:
            let after = [UInt8](try reader.readBytes16(max: Limits.nameSizeMax))
            self = .stateNames(after: after, limit: try reader.readUInt32())
        case 11:
            let after = try reader.readSessionID()
            self = .sessions(after: after, limit: try reader.readUInt32())
        case 12: self = .history
        case 13: self = .changes(try DeltaRequest(decoding: &reader))
        case 14: self = .moment(ClusterTime(nanoseconds: try reader.readUInt64()))
        case 15: self = .historyOf(prefix: [UInt8](try reader.readBytes16(max: Limits.keySizeMax)))
        case 16:
            let view = try reader.readUInt64()
            let prefix = [UInt8](try reader.readBytes16(max: Limits.keySizeMax))
            self = .registry(view: view, prefix: prefix, try PageRequest(decoding: &reader))
        default: throw .unknown("query", UInt64(form))
        }
    }
}

/// Which part of a listing, and how much of each row.
///
///     u16 size, after | u32 limit | u8 flags: 1 keys only, 2 count only, 4 pin a view
package struct PageRequest: Hashable, Sendable {
    /// Only keys after this one: the `cursor` of the page before; empty: from the start.
    package var after: [UInt8]
    /// Rows at most; 0 or more than `Limits.listPageCountMax`: that many. A count goes up to `Limits.countRowsMax` far.
    package var limit: UInt32
    /// Keys and revisions without the values.
    package var isKeysOnly: Bool
    /// No rows, only how many there are.
    package var isCountOnly: Bool
    /// If there is more than this page holds, keep the state as it is for the pages to come.
    package var pinsView: Bool

    package init(
        after: [UInt8] = [], limit: UInt32 = 0, isKeysOnly: Bool = false, isCountOnly: Bool = false,
        pinsView: Bool = false
    ) {
        self.after = after
        self.limit = limit
        self.isKeysOnly = isKeysOnly
        self.isCountOnly = isCountOnly
        self.pinsView = pinsView
    }

    fileprivate func encode(into writer: inout ByteWriter) {
        writer.writeBytes16(after)
        writer.write(limit)
        writer.write(UInt8((isKeysOnly ? 1 : 0) | (isCountOnly ? 2 : 0) | (pinsView ? 4 : 0)))
    }

    fileprivate init(decoding reader: inout ByteReader) throws(DecodeError) {
        after = [UInt8](try reader.readBytes16(max: Limits.keySizeMax))
        limit = try reader.readUInt32()
        let flags = try reader.readUInt8()
        guard flags & ~7 == 0 else { throw .invalid("listing flags") }
        isKeysOnly = flags & 1 != 0
        isCountOnly = flags & 2 != 0
        pinsView = flags & 4 != 0
    }
}

/// Which part of what changed since a revision.
package struct DeltaRequest: Hashable, Sendable {
    /// That an earlier part has pinned; 0: the live state.
    package var view: UInt64
    package var span: KeySpan
    /// Changes after this revision are wanted.
    package var since: LogIndex
    /// Of the part before; empty: from the start.
    package var cursor: [UInt8]
    /// Items at most; 0 or more than `Limits.listPageCountMax`: that many.
    package var limit: UInt32
    package var pinsView: Bool

    package init(
        view: UInt64 = 0, span: KeySpan, since: LogIndex, cursor: [UInt8] = [], limit: UInt32 = 0, pinsView: Bool = true
    ) {
        self.view = view
        self.span = span
        self.since = since
        self.cursor = cursor
        self.limit = limit
        self.pinsView = pinsView
    }

    fileprivate func encode(into writer: inout ByteWriter) {
        writer.write(view)
        span.encode(into: &writer)
        writer.write(since.rawValue)
        writer.writeBytes16(cursor)
        writer.write(limit)
        writer.write(UInt8(pinsView ? 4 : 0))
    }

    fileprivate init(decoding reader: inout ByteReader) throws(DecodeError) {
        view = try reader.readUInt64()
        span = try KeySpan(decoding: &reader)
        since = LogIndex(try reader.readUInt64())
        cursor = [UInt8](try reader.readBytes16(max: Limits.keySizeMax + 1))
        limit = try reader.readUInt32()
        let flags = try reader.readUInt8()
        guard flags & ~4 == 0 else { throw .invalid("flags of a question for changes") }
        pinsView = flags & 4 != 0
    }
}
