import Basics
import MetadataMachine
import MetadataModel
import StateEngine
import Testing

@Suite("Reads and views")
struct QueryTests {
    let rig: Rig

    init() throws { rig = try Rig() }

    private func page(_ span: KeySpan, _ request: PageRequest, view: UInt64? = nil, at now: Instant = .zero) throws
        -> Page
    {
        let query = if let view { Query.page(view: view, span, request) } else { Query.list(span, request) }
        return try rig.ask(query, at: now).page(for: request)
    }

    private func names(_ page: Page) -> [String] { page.rows.map { String(decoding: $0.key, as: UTF8.self) } }

    @Test("a listing has the keys of its prefix in order, with values and revisions")
    func list() throws {
        for key in ["b/2", "a", "b/1", "b", "c"] { try rig.mutate(put(key, key)) }
        let found = try page(prefix("b/"), PageRequest())
        #expect(names(found) == ["b/1", "b/2"])
        #expect(found.rows.map(\.revision) == [LogIndex(3), LogIndex(1)])
        #expect(found.rows.first?.value == Array("b/1".utf8))
        #expect(!found.hasMore)
        #expect(found.cursor.isEmpty)
        #expect(try rig.keys() == ["a", "b", "b/1", "b/2", "c"])
    }

    @Test("pages that go on after their cursor show every key once", arguments: [UInt32(1), 2, 3, 7, 100])
    func paging(limit: UInt32) throws {
        let keys = (0..<23).map { "k\($0 + 10)" }
        for key in keys { try rig.mutate(put(key)) }
        var seen: [String] = []
        var request = PageRequest(limit: limit, isKeysOnly: true)
        while true {
            let found = try page(prefix("k"), request)
            #expect(found.count == UInt32(found.rows.count))
            #expect(found.rows.allSatisfy { $0.value == nil })
            seen += names(found)
            guard found.hasMore else { break }
            #expect(found.cursor == found.rows.last?.key)
            request.after = found.cursor
        }
        #expect(seen == keys)
    }

    @Test("a cursor before the range does not widen it")
    func cursorBeforeRange() throws {
        for key in ["a", "b", "c"] { try rig.mutate(put(key)) }
        #expect(names(try page(prefix("b"), PageRequest(after: Array("a".utf8)))) == ["b"])
        #expect(names(try page(prefix("b"), PageRequest(after: Array("c".utf8)))) == [])
    }

    @Test("a listing leaves deleted rows and housekeeping out")
    func rowsOnly() throws {
        try rig.mutate(put("a"))
        try rig.mutate(put("b"))
        try rig.mutate(delete("a"))
        try rig.housekeep(.featureLevel(2))
        #expect(try rig.keys() == ["b"])
    }

    @Test("a page ends before its bytes pass 1 MiB, and holds one row however large")
    func pageSize() throws {
        let large = [UInt8](repeating: 1, count: Limits.listPageSizeMax + 1)
        try rig.mutate(put("a"))
        try rig.mutate(.put(key: Array("b".utf8), value: large))
        try rig.mutate(put("c"))
        let first = try page(prefix(""), PageRequest())
        #expect(names(first) == ["a"])
        #expect(first.hasMore)
        let second = try page(prefix(""), PageRequest(after: first.cursor))
        #expect(names(second) == ["b"])
        #expect(second.hasMore)
        let keysOnly = try page(prefix(""), PageRequest(isKeysOnly: true))
        #expect(names(keysOnly) == ["a", "b", "c"])
    }

    @Test("a count counts without rows, and goes on where its limit ended it")
    func count() throws {
        for number in 0..<10 { try rig.mutate(put("k\(number)")) }
        let all = try page(prefix("k"), PageRequest(isCountOnly: true))
        #expect(all.count == 10)
        #expect(all.rows.isEmpty)
        #expect(!all.hasMore)
        let part = try page(prefix("k"), PageRequest(limit: 4, isCountOnly: true))
        #expect(part.count == 4)
        #expect(part.hasMore)
        #expect(part.cursor == Array("k3".utf8))
        let rest = try page(prefix("k"), PageRequest(after: part.cursor, isCountOnly: true))
        #expect(rest.count == 6)
    }

    @Test("a listing has at most a thousand rows a page, whatever is asked for")
    func pageCount() throws {
        _ = try rig.applyTogether((0...Limits.listPageCountMax).map { rig.next(put("k\($0)")) })
        let found = try page(prefix("k"), PageRequest(limit: .max))
        #expect(found.rows.count == Limits.listPageCountMax)
        #expect(found.hasMore)
    }

    // MARK: Views

    @Test("all pages of a view show the revision of the first, whatever is written meanwhile")
    func viewIsOneRevision() throws {
        for key in ["a", "b", "c"] { try rig.mutate(put(key, "old")) }
        var request = PageRequest(limit: 1, pinsView: true)
        let first = try page(prefix(""), request)
        #expect(first.view != 0)
        try rig.mutate(put("b", "new"))
        try rig.mutate(put("bb"))
        try rig.mutate(delete("c"))
        request.after = first.cursor
        let second = try rig.ask(.page(view: first.view, prefix(""), request))
        #expect(second.revision == LogIndex(3))
        let rows = try second.page(for: request)
        #expect(rows.rows.map(\.value) == [Array("old".utf8)])
        #expect(rows.view == first.view)
        request.after = rows.cursor
        let third = try page(prefix(""), request, view: first.view)
        #expect(names(third) == ["c"])
        #expect(third.view == 0, "after the last page nothing is pinned")
        #expect(try rig.ask(.page(view: first.view, prefix(""), request)).code == .viewReleased)
    }

    @Test(
        "a page of a view is never answered from another revision: not after a restart, and not in another state",
        arguments: [false, true])
    func viewOfBefore(movesToSnapshot: Bool) throws {
        for key in ["a", "b", "c"] { try rig.mutate(put(key, "old")) }
        var request = PageRequest(limit: 1, pinsView: true)
        let first = try page(prefix(""), request)
        if movesToSnapshot { try rig.moveToSnapshot() } else { try rig.restart() }
        try rig.mutate(put("b", "new"))
        // Somebody else's listing.
        let other = try page(prefix(""), request)
        #expect(other.view != 0)
        #expect(other.view != first.view)
        request.after = first.cursor
        #expect(try rig.ask(.page(view: first.view, prefix(""), request)).code == .viewReleased)
        let delta = DeltaRequest(view: first.view, span: prefix(""), since: .zero)
        #expect(try rig.ask(.changes(delta)).code == .viewReleased)
        #expect(try rig.ask(.page(view: other.view, prefix(""), request)).revision == LogIndex(4))
    }

    @Test("views that are pinned at the same time have different numbers, however many there were")
    func viewNumbers() throws {
        for key in ["a", "b"] { try rig.mutate(put(key)) }
        let request = PageRequest(limit: 1, pinsView: true)
        let kept = try page(prefix(""), request).view
        for _ in 0..<1_000 {
            let view = try page(prefix(""), request).view
            #expect(view != 0)
            #expect(view != kept)
            #expect(try rig.ask(.releaseView(view)).error == nil)
        }
        #expect(try rig.ask(.page(view: kept, prefix(""), request)).error == nil)
    }

    @Test("a listing that fits one page pins nothing")
    func noViewForOnePage() throws {
        try rig.mutate(put("a"))
        #expect(try page(prefix(""), PageRequest(pinsView: true)).view == 0)
    }

    @Test("a released view is gone; releasing again is no error")
    func release() throws {
        for key in ["a", "b"] { try rig.mutate(put(key)) }
        let view = try page(prefix(""), PageRequest(limit: 1, pinsView: true)).view
        for _ in 0..<2 { #expect(try rig.ask(.releaseView(view)).error == nil) }
        #expect(try rig.ask(.page(view: view, prefix(""), PageRequest())).code == .viewReleased)
    }

    @Test("a view lives 5 minutes after its last use, 30 in all")
    func viewAge() throws {
        for key in ["a", "b", "c"] { try rig.mutate(put(key)) }
        let request = PageRequest(limit: 1, pinsView: true)
        let idle = try page(prefix(""), request).view
        let used = try page(prefix(""), request).view
        for minute in Int64(1)...30 {
            let now = Instant.zero + .seconds(minute * 60)
            #expect(try rig.ask(.page(view: used, prefix(""), request), at: now).error == nil)
        }
        let later = Instant.zero + .seconds(30 * 60) + .nanoseconds(1)
        #expect(try rig.ask(.page(view: used, prefix(""), request), at: later).code == .viewReleased)
        #expect(try rig.ask(.page(view: idle, prefix(""), request), at: later).code == .viewReleased)
    }

    @Test("at most 64 views are pinned; any read lets go of those that have aged")
    func viewLimit() throws {
        for key in ["a", "b"] { try rig.mutate(put(key)) }
        let request = PageRequest(limit: 1, pinsView: true)
        for _ in 0..<Limits.viewsMax { #expect(try page(prefix(""), request).view != 0) }
        let refused = try rig.ask(.list(prefix(""), request))
        #expect(refused.code == .overloaded)
        #expect(refused.error?.retryAfter != nil)
        let later = Instant.zero + Limits.viewIdleMax + .nanoseconds(1)
        #expect(try page(prefix(""), request, at: later).view != 0)
    }

    // MARK: Refusals

    @Test("bytes that are no query are refused as such")
    func malformed() throws {
        var writer = ByteWriter()
        let unknown: [UInt8] = [99]
        rig.machine.answer(unknown.rawSpan, at: .zero, into: &writer)
        #expect(try Answer(writer.takeBytes()).code == .unimplemented)
        let cut = Array(Query.get(key: Array("abc".utf8)).encoded().dropLast())
        rig.machine.answer(cut.rawSpan, at: .zero, into: &writer)
        #expect(try Answer(writer.takeBytes()).code == .invalidRequest)
    }

    @Test("a row that cannot be read is an error, never a wrong answer or half a reply")
    func damaged() throws {
        try rig.mutate(put("a"))
        rig.engine.readFault = KeyRange(prefix: [0x10])
        #expect(try rig.ask(.get(key: Array("a".utf8))).code == .unavailable)
        var batch = WriteBatch()
        batch.put([0x10, UInt8(ascii: "a")], [1, 2, 3])
        rig.engine.write(batch)
        #expect(try rig.ask(.get(key: Array("a".utf8))).code == .unavailable)
        #expect(try rig.ask(.list(prefix(""), PageRequest())).code == .unavailable)
    }
}
