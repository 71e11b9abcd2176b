import Basics
import LogFormat
import MetadataModel
@testable import ReplicaCore
import Testing

@Suite("Parts of a replica")
struct ReplicaPartsTests {
    private static func wall(_ seconds: UInt64) -> ClusterTime { ClusterTime(nanoseconds: seconds * 1_000_000_000) }
    private static func instant(_ milliseconds: Int64) -> Instant { .zero + .milliseconds(milliseconds) }

    // MARK: Links

    /// A change of members that is cut from the log and comes again with the same append: nobody outside sees that the
    /// member was gone, so nobody would say again that it can be reached.
    @Test("a member that goes and comes back in one turn keeps its link; in two turns it is a stranger")
    func linkOutlivesATurn() {
        let (first, second) = (NodeID(1), NodeID(2))
        var links = PeerLinks()
        func isUp(_ links: borrowing PeerLinks) -> Bool? {
            guard let place = links.position(of: second) else { return nil }
            return links[place].isUp
        }
        links.setMembers([first, second])
        if let place = links.position(of: second) { links[place].isUp = true }
        links.setMembers([first])
        var seen = [isUp(links)]
        links.setMembers([first, second])
        seen.append(isUp(links))
        links.endTurn()
        seen.append(isUp(links))
        links.setMembers([first])
        links.endTurn()
        links.setMembers([first, second])
        seen.append(isUp(links))
        #expect(seen == [nil, true, true, false])
    }

    // MARK: Cluster time

    @Test("the first leader's cluster time is its wall clock; a later leader goes on from the log")
    func clusterTimeStarts() {
        var first = ClusterClock(last: .zero, wall: Self.wall(100), now: .zero)
        #expect(first.read(now: .zero, wall: Self.wall(100)) == Self.wall(100))
        var later = ClusterClock(last: Self.wall(500), wall: Self.wall(100), now: .zero)
        #expect(later.read(now: .zero, wall: Self.wall(100)) == Self.wall(500))
    }

    @Test("a wall clock that is an hour off pulls cluster time by 1 % of the time passed, either way")
    func clusterTimeSlews() {
        for offset in [3_600, -3_600] as [Int64] {
            var clock = ClusterClock(last: .zero, wall: Self.wall(10_000), now: .zero)
            let jumped = Self.wall(UInt64(10_000 + offset))
            let read = clock.read(now: Self.instant(100_000), wall: jumped + .seconds(100))
            let passed = read - Self.wall(10_000)
            #expect(passed == .seconds(100) + .seconds(offset > 0 ? 1 : -1))
        }
    }

    @Test("cluster time never falls, also when a reading of the monotonic clock is repeated")
    func clusterTimeNeverFalls() {
        var random = SplitMix64(seed: 7)
        var clock = ClusterClock(last: .zero, wall: Self.wall(1_000), now: .zero)
        var last = ClusterTime.zero
        var now = Instant.zero
        for _ in 0..<1_000 {
            now = now + random.interval(from: .zero, through: .milliseconds(50))
            let read = clock.read(now: now, wall: Self.wall(UInt64.random(in: 0...2_000, using: &random)))
            #expect(read >= last)
            last = read
        }
    }

    // MARK: Waiting requests

    @Test("whoever waits is found by the index of the entry, once, however many wait")
    func pendingRequestsAreFound() {
        var pending = PendingRequests()
        let slot = ConnectionSlot(position: 0, generation: 0)
        for index in UInt64(5)..<5_005 {
            let requester = Requester(origin: .client(slot), requestID: index * 2)
            pending.insert(requester, at: EntryID(term: Term(3), index: LogIndex(index)))
        }
        let count = pending.count
        #expect(count == 5_000)
        for index in UInt64(5)..<2_005 {
            let found = pending.take(at: LogIndex(index))
            #expect(found?.requester.requestID == index * 2)
            #expect(found?.term == Term(3))
            let again = pending.take(at: LogIndex(index)) == nil
            #expect(again)
        }
        let rest = pending.takeAll().map(\.requestID)
        #expect(rest == (2_005..<5_005).map { UInt64($0 * 2) })
        let left = pending.count
        #expect(left == 0)
    }

    @Test("a slot that is used again is another connection: a late reply does not reach it")
    func slotsHaveGenerations() {
        var clients = ClientTable()
        let first = clients.open()
        clients.close(first)
        let second = clients.open()
        #expect(second.position == first.position)
        #expect(second != first)
        clients.write(to: first, endsRequest: false) { $0.write(UInt8(1)) }
        let nothing = clients.takeOutput().isEmpty
        #expect(nothing)
        clients.addPending(second)
        clients.write(to: second, endsRequest: true) { $0.write(UInt8(2)) }
        let output = clients.takeOutput()
        #expect(output.map(\.slot) == [second])
        #expect(output.map(\.bytes) == [[2]])
    }

    // MARK: The tail of the log

    private static func slab(_ first: UInt64, count: Int, term: UInt64 = 1) -> Slab {
        var builder = SlabBuilder(term: Term(term), firstIndex: LogIndex(first), salt: 1)
        for _ in 0..<count {
            builder.append(.command, payload: [UInt8](repeating: 7, count: 52).rawSpan, time: ClusterTime(nanoseconds: 1))
        }
        guard let slab = builder.close() else { fatalError("no records") }
        return slab
    }

    @Test("the tail answers any range that it holds, cuts after a truncation and forgets what nobody needs")
    func tailCache() {
        var tail = TailCache()
        for first in [1, 11, 21] as [UInt64] { tail.append(Self.slab(first, count: 10)) }
        let all = tail.slabs(in: LogIndex(5)...LogIndex(25), byteCountMax: .max)?.map(\.indexes)
        #expect(
            all == [LogIndex(5)...LogIndex(10), LogIndex(11)...LogIndex(20), LogIndex(21)...LogIndex(25)])
        let one = tail.slabs(in: LogIndex(5)...LogIndex(25), byteCountMax: 1)?.map(\.indexes)
        #expect(one == [LogIndex(5)...LogIndex(10)])

        tail.truncate(after: LogIndex(23))
        let lastIndex1 = tail.lastIndex
        #expect(lastIndex1 == LogIndex(23))
        tail.append(Self.slab(24, count: 2, term: 2))
        let byteCount1 = tail.byteCount
        #expect(byteCount1 == 25 * 100)

        tail.evict(byteCountMax: 1_000, neededAfter: LogIndex(15))
        let firstIndex1 = tail.firstIndex
        #expect(firstIndex1 == LogIndex(11))
        let gone = tail.slabs(in: LogIndex(5)...LogIndex(12), byteCountMax: .max) == nil
        #expect(gone)
        tail.evict(byteCountMax: 0, neededAfter: LogIndex(25))
        let lastIndex2 = tail.lastIndex
        #expect(lastIndex2 == nil)
        let byteCount2 = tail.byteCount
        #expect(byteCount2 == 0)
    }

    // MARK: Sessions

    @Test("a session ends 1.1 × its timeout after it was last heard of, and never before")
    func leasesExpireLate() {
        var leases = SessionLeases()
        let id = SessionID(1, 2)
        leases.grantAll([OpenSession(id: id, timeout: .seconds(10))], now: .zero)
        for time in stride(from: Int64(0), through: 5_000, by: 250) {
            let expired = leases.takeExpired(now: Self.instant(time))
            #expect(expired.isEmpty)
        }
        let isKnown = leases.touch(id, now: Self.instant(5_000))
        #expect(isKnown)
        for time in stride(from: Int64(5_250), through: 16_000, by: 250) {
            let expired = leases.takeExpired(now: Self.instant(time))
            #expect(expired.isEmpty, "expired at \(time) ms")
        }
        let expired = leases.takeExpired(now: Self.instant(16_250))
        #expect(expired == [id])
    }

    @Test("one entry ends at most 1,024 sessions; the rest follow at once")
    func expiryIsBounded() {
        var leases = SessionLeases()
        let sessions = (1...2_500).map { OpenSession(id: SessionID(0, $0), timeout: .seconds(1)) }
        leases.grantAll(sessions, now: .zero)
        let now = Self.instant(1_500)
        var counts: [Int] = []
        for _ in 0..<4 { counts.append(leases.takeExpired(now: now).count) }
        #expect(counts == [1_024, 1_024, 452, 0])
    }

    // MARK: Digests

    @Test("a verdict is given once, when more than half of the voters agree; a late voter does not hold it up")
    func digestVerdict() {
        let voters = [NodeID(1), NodeID(2), NodeID(3)]
        var ballots = DigestBallots()
        let vote1 = ballots.note(LogIndex(4_096), 7, of: NodeID(2), voters: voters)
        #expect(vote1 == nil)
        let vote2 = ballots.note(LogIndex(4_096), 9, of: NodeID(1), voters: voters)
        #expect(vote2 == nil)
        let verdict = ballots.note(LogIndex(4_096), 7, of: NodeID(3), voters: voters)
        #expect(verdict?.majority == 7)
        #expect(verdict?.votes.map(\.node) == voters)
        let vote3 = ballots.note(LogIndex(4_096), 7, of: NodeID(1), voters: voters)
        #expect(vote3 == nil)
    }

    @Test("without a majority the verdict says so once all have spoken; a stranger's report does not count")
    func digestWithoutMajority() {
        let voters = [NodeID(1), NodeID(2), NodeID(3)]
        var ballots = DigestBallots()
        let vote4 = ballots.note(LogIndex(4_096), 1, of: NodeID(1), voters: voters)
        #expect(vote4 == nil)
        let vote5 = ballots.note(LogIndex(4_096), 1, of: NodeID(9), voters: voters)
        #expect(vote5 == nil)
        let vote6 = ballots.note(LogIndex(4_096), 2, of: NodeID(2), voters: voters)
        #expect(vote6 == nil)
        let verdict = ballots.note(LogIndex(4_096), 3, of: NodeID(3), voters: voters)
        #expect(verdict != nil)
        #expect(verdict?.majority == nil)
    }

    // MARK: Addresses

    @Test("a member that does not answer where the log says is called where it said itself that it is, in turn")
    func toldAddresses() {
        let moved = Member(id: NodeID(2), name: "n2", peerAddress: "old:1")
        let other = Member(id: NodeID(3), name: "n3", peerAddress: "n3:1")
        var told = ToldAddresses()
        #expect(told.address(of: moved, after: 1) == "old:1")
        told.note("new:1", of: moved.id)
        #expect((0..<4).map { told.address(of: moved, after: $0) } == ["old:1", "new:1", "old:1", "new:1"])
        #expect(told.address(of: other, after: 1) == "n3:1")
        told.keep([other])
        #expect(told.address(of: moved, after: 1) == "old:1", "it was removed")
    }
}
