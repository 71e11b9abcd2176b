import Basics
import ClientCore
import MetadataModel
import Testing

/// Who leads or holds, from reads and changes.
@Suite struct LineFollowerTests {
    private let group = Array("g".utf8)

    private func candidate(_ ticket: UInt64, fence: UInt64, _ data: String = "d") -> Candidate {
        Candidate(
            ticket: LogIndex(ticket), session: SessionID(ticket, 1), fence: fence, data: Array(data.utf8))
    }

    private func put(_ row: Candidate, in name: String = "g") -> Change {
        var writer = ByteWriter()
        row.encodeRow(into: &writer)
        return Change(key: LineKey.ticket(row.ticket, of: Array(name.utf8)), value: writer.takeBytes())
    }

    private func put(_ row: LockTicket) -> Change {
        var writer = ByteWriter()
        row.encodeRow(into: &writer)
        return Change(key: LineKey.ticket(row.ticket, of: group), value: writer.takeBytes())
    }

    private func gone(_ ticket: UInt64) -> Change {
        Change(key: LineKey.ticket(LogIndex(ticket), of: group), value: nil)
    }

    private func shared(_ ticket: UInt64, fence: UInt64) -> LockTicket {
        LockTicket(
            ticket: LogIndex(ticket), session: SessionID(ticket, 2), mode: .shared, fence: fence, delay: .zero)
    }

    @Test("nothing is told before something was read; nobody leading is news like any other")
    func beginning() {
        var follower = LineFollower<Candidate>(name: group)
        #expect(follower.takeNews() == nil)
        follower.read([], at: LogIndex(7), isFirst: true)
        let news = follower.takeNews()
        #expect(news?.holders == [])
        #expect(news?.revision == LogIndex(7))
        #expect(follower.watchedAfter == LogIndex(7))
        #expect(follower.takeNews() == nil)
    }

    @Test("a leader goes and the next comes in one change; who waits is no news; new data are, under the same fence")
    func succession() throws {
        var follower = LineFollower<Candidate>(name: group)
        follower.read([candidate(5, fence: 5)], at: LogIndex(6), isFirst: true)
        #expect(follower.takeNews()?.holders == [candidate(5, fence: 5)])
        try follower.apply([put(candidate(8, fence: 0))], at: LogIndex(8))
        #expect(follower.takeNews() == nil)
        try follower.apply([put(candidate(5, fence: 5, "new"))], at: LogIndex(9))
        #expect(follower.takeNews()?.holders == [candidate(5, fence: 5, "new")])
        try follower.apply([gone(5), put(candidate(8, fence: 10))], at: LogIndex(10))
        let news = follower.takeNews()
        #expect(news?.holders == [candidate(8, fence: 10)])
        #expect(news?.revision == LogIndex(10))
        // Progress, and another group whose name begins alike, are none.
        try follower.apply([], at: LogIndex(11))
        try follower.apply([put(candidate(12, fence: 12), in: "g\u{0}h")], at: LogIndex(12))
        #expect(follower.takeNews() == nil)
        try follower.apply([gone(8)], at: LogIndex(13))
        #expect(follower.takeNews()?.holders == [])
    }

    @Test("read again, it tells how things stand, if that is news")
    func readAgain() {
        var follower = LineFollower<Candidate>(name: group)
        follower.read([candidate(5, fence: 5)], at: LogIndex(6), isFirst: true)
        _ = follower.takeNews()
        follower.read([candidate(5, fence: 5)], at: LogIndex(60), isFirst: true)
        #expect(follower.takeNews() == nil)
        follower.read([candidate(70, fence: 80)], at: LogIndex(90), isFirst: true)
        #expect(follower.takeNews()?.holders == [candidate(70, fence: 80)])
        #expect(follower.watchedAfter == LogIndex(90))
    }

    @Test("a line that was read in parts is told once all of it is of one revision")
    func parts() throws {
        var follower = LineFollower<LockTicket>(name: group)
        follower.read([shared(1, fence: 1), shared(2, fence: 2)], at: LogIndex(10), isFirst: true)
        // Between the parts 2 was given up, and the third has come.
        follower.read([shared(11, fence: 11), shared(12, fence: 0)], at: LogIndex(12), isFirst: false)
        #expect(follower.takeNews() == nil)
        try follower.apply([put(shared(11, fence: 11))], at: LogIndex(11))
        #expect(follower.takeNews() == nil)
        try follower.apply([gone(2)], at: LogIndex(12))
        #expect(follower.takeNews()?.holders.map(\.ticket.rawValue) == [1, 11])
    }

    @Test("keys and rows that are none are refused")
    func foreignBytes() {
        var follower = LineFollower<Candidate>(name: group)
        let row = put(candidate(3, fence: 3))
        let bad = [
            Change(key: [], value: nil), Change(key: Array(repeating: 0, count: 8), value: nil),
            Change(key: Array("g".utf8) + Array(repeating: 1, count: 9), value: nil),
            Change(key: row.key, value: Array(row.value!.dropLast())),
            Change(key: row.key, value: [], isValueLeftOut: true),
        ]
        for change in bad {
            #expect(throws: DecodeError.self) { try follower.apply([change], at: LogIndex(1)) }
        }
        // A name may be as long as its bytes say; it ends where the number begins.
        #expect(try! LineChange<Candidate>(row).name == group)
    }
}
