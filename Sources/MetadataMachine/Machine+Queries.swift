package import Basics
internal import MetadataModel
internal import StateEngine

/// Reads: of the live state, or of a *view* that an earlier page of a listing has pinned, so that all its pages show
/// one revision.
extension Machine {
    /// Appends the body of the reply. Any barrier has been waited for. `now` only bounds how long views live.
    package func answer(_ query: RawSpan, at now: Instant, into writer: inout ByteWriter) {
        views.expire(now: now)
        do {
            let query = try Query(decoding: query)
            switch query {
            case .get(let key):
                let stored = try engine.get(Row.key(key.rawSpan).rawSpan)
                let row = try stored.map { try Row.decode($0.rawSpan) }
                let owner = try stored.flatMap { try Row.owner($0.rawSpan) }
                Reply.writeSuccess(revision: applied.last.index, into: &writer)
                writer.write(row)
                writer.writeRowOwner(owner)
            case .list(let span, let request):
                var page = try page(of: engine, span, request)
                if page.hasMore, request.pinsView {
                    page.view = try views.add(try engine.makeView(), revision: applied.last.index, now: now)
                }
                Reply.writeSuccess(revision: applied.last.index, into: &writer)
                page.encode(into: &writer)
            case .page(let id, let span, let request):
                guard let (view, revision) = views.use(id, now: now) else {
                    throw ReplyError(.viewReleased, "view \(id) is not kept any more: list again from the start")
                }
                var page = try page(of: view, span, request)
                if page.hasMore { page.view = id } else { views.release(id) }
                Reply.writeSuccess(revision: revision, into: &writer)
                page.encode(into: &writer)
            case .releaseView(let id):
                views.release(id)
                Reply.writeSuccess(revision: applied.last.index, into: &writer)
            case .leader, .candidates, .lock, .validate, .stateGet, .stateNames, .sessions:
                try answerCoordination(query, into: &writer)
            case .history:
                Reply.writeSuccess(revision: applied.last.index, into: &writer)
                ListPart(hasMore: false, items: history.prefixes).encode(into: &writer)
            case .changes(let request): try answer(request, at: now, into: &writer)
            case .historyOf(let prefix):
                let coverage = try history.coverage(of: prefix)
                Reply.writeSuccess(revision: applied.last.index, into: &writer)
                coverage.encode(into: &writer)
            case .registry(let id, let prefix, let request):
                try answerRegistry(id, prefix, request, at: now, into: &writer)
            case .moment(let time):
                let result = try moment(time)
                Reply.writeSuccess(revision: applied.last.index, into: &writer)
                result.encode(into: &writer)
            }
        } catch let error as ReplyError {
            error.encode(revision: applied.last.index, into: &writer)
        } catch let error as DecodeError {
            Command.reply(to: error).encode(revision: .zero, into: &writer)
        } catch {
            if case EngineError.corrupt(let reason) = error { damage = reason }
            let refusal = ReplyError(.unavailable, "this node cannot read its state: \(error)")
            refusal.encode(revision: .zero, into: &writer)
        }
    }

    private func page<Reader: EngineReader>(
        of reader: Reader, _ span: KeySpan, _ request: PageRequest
    ) throws -> Page {
        var range = Row.range(of: span, in: Keyspace.rowTable)
        if !request.after.isEmpty {
            range.from = max(range.from, KeyRange.successor(of: Keyspace.rowTable + request.after)) { left, right in
                left.lexicographicallyPrecedes(right)
            }
        }
        let cap = request.isCountOnly ? Limits.countRowsMax : Limits.listPageCountMax
        let limit = request.limit == 0 ? cap : min(Int(request.limit), cap)
        var page = Page(view: 0, hasMore: false, cursor: [], count: 0, rows: [])
        var size = 0
        try reader.scan(from: range.from, to: range.to, reversed: false) { (key, stored) throws(EngineError) in
            let revision = try Row.revision(stored)
            let value = try Row.value(stored)
            let valueSize = request.isKeysOnly ? 0 : value.byteCount
            let owner = request.isCountOnly ? nil : try Row.owner(stored)
            let ownerSize = owner == nil ? 0 : Self.ownerSize
            if !request.isCountOnly { size += key.byteCount + valueSize + Self.rowOverhead + ownerSize }
            // One row is always admitted, however large; it fits a frame, as the put did that brought it.
            guard page.count < limit, size <= Limits.listPageSizeMax || page.count == 0 else {
                page.hasMore = true
                return .stop
            }
            page.count += 1
            guard !request.isCountOnly else {
                if page.count == limit { page.cursor = [UInt8](key.extracting(1..<key.byteCount)) }
                return .next
            }
            page.rows.append(
                Page.Row(
                    key: [UInt8](key.extracting(1..<key.byteCount)), revision: revision,
                    value: request.isKeysOnly ? nil : [UInt8](value), owner: owner))
            return .next
        }
        rowsLookedAt += Int(page.count)
        if !page.hasMore {
            page.cursor = []
        } else if let last = page.rows.last {
            page.cursor = last.key
        }
        return page
    }

    /// Of a row on a page, besides its key and value: their sizes and the revision.
    private static var rowOverhead: Int { 14 }
    /// Of a row that goes with a session, besides that.
    private static var ownerSize: Int { 20 }

    private func max(_ left: [UInt8], _ right: [UInt8], by precedes: ([UInt8], [UInt8]) -> Bool) -> [UInt8] {
        precedes(left, right) ? right : left
    }
}

/// Pinned states of this node, each held for a listing that goes on.
///
/// The number of a view holds the revision that it shows. A client may ask for the next page of a view that this node had
/// pinned before it started anew, or before a snapshot took the place of its state, while others have pinned views since.
/// With numbers that only counted it could get a page of theirs, and a listing of two revisions without an error. So it
/// finds none, or one of the same revision, in which the same rows are.
struct ViewTable<View: EngineView> {
    private struct Entry {
        var id: UInt64
        var view: View
        var revision: LogIndex
        var madeAt: Instant
        var usedAt: Instant
    }
    private var entries: [Entry] = []
    /// What the number of the last one holds besides its revision.
    private var lastOrdinal: UInt64 = 0

    mutating func add(_ view: View, revision: LogIndex, now: Instant) throws(ReplyError) -> UInt64 {
        guard entries.count < Limits.viewsMax else {
            throw ReplyError(
                .overloaded, "\(Limits.viewsMax) listings are under way on this node", limit: UInt64(Limits.viewsMax),
                retryAfter: .seconds(1))
        }
        let id = newID(at: revision)
        entries.append(Entry(id: id, view: view, revision: revision, madeAt: now, usedAt: now))
        return id
    }

    /// Never 0, which means no view. There are fewer views than ordinals, so one is free.
    private mutating func newID(at revision: LogIndex) -> UInt64 {
        while true {
            lastOrdinal = lastOrdinal % Self.ordinalMax + 1
            let id = revision.rawValue << 8 | lastOrdinal
            if !entries.contains(where: { $0.id == id }) { return id }
        }
    }

    private static var ordinalMax: UInt64 { 255 }

    mutating func use(_ id: UInt64, now: Instant) -> (View, LogIndex)? {
        guard let position = entries.firstIndex(where: { $0.id == id }) else { return nil }
        entries[position].usedAt = now
        return (entries[position].view, entries[position].revision)
    }

    mutating func release(_ id: UInt64) { entries.removeAll { $0.id == id } }

    /// Lets go of views that nobody has used for a while: each keeps the engine from freeing what it shows.
    mutating func expire(now: Instant) {
        guard !entries.isEmpty else { return }
        entries.removeAll { now - $0.usedAt > Limits.viewIdleMax || now - $0.madeAt > Limits.viewAgeMax }
    }
}
