import Basics
import Foundation
import LogFormat
import MetadataModel
import RaftCore
@testable import ReplicaCore
import Testing
import Wire

/// The only member of a cluster, whose disk and state machine answer at once.
struct Alone: ~Copyable {
    var replica: Replica
    var now = Instant(nanoseconds: 1_000_000_000)
    var deadline = Instant.zero
    /// What it logged of its own accord, in order.
    var logged: [Housekeeping] = []
    var searches: [SessionID?] = []
    var sessions: [OpenSession] = []
    /// What the state machine says of each group.
    var nextTimer: ClusterTime?
    var kept: [SessionID] = []
    var orphans: (found: [SessionID], next: SessionID?) = ([], nil)
    /// How far it has removed tombstones: each entry that removes a part takes the first of these away.
    var sweeps: [TombstoneSweep] = []

    static let epoch: UInt64 = 1_700_000_000_000_000_000

    var featureLevel: UInt32
    var slot = ConnectionSlot(position: 0, generation: 0)
    var refusals: [ReplyError] = []
    /// Every reply that was sent.
    var output: [(slot: ConnectionSlot, bytes: [UInt8])] = []
    /// Reads that the apply thread has; it answers them only where a test has it do so.
    var queries: [QueryBatch] = []
    /// The state machine is late: what it is to apply waits here.
    var isLate: Bool
    private var late: [ApplyWork] = []
    private var opened: [OpenSession] = []

    /// - Parameter learner: whether `n2` is a member too, without a vote.
    init(
        generation: UInt64 = 1, sessions: [OpenSession] = [], learner: Bool = false,
        featureLevel: UInt32 = FeatureLevel.known, known: UInt32 = FeatureLevel.known,
        uncommittedMax: Int = 0, isLate: Bool = false, sweeps: [TombstoneSweep] = [],
        change: (inout ReplicaSettings) -> Void = { _ in }
    ) {
        self.isLate = isLate
        self.sweeps = sweeps
        var membership = Membership(
            members: [Member(id: NodeID(1), name: "n1", peerAddress: "p:1")], incoming: [NodeID(1)])
        if learner {
            membership.members.append(Member(id: NodeID(2), name: "n2", peerAddress: "p:2"))
            membership.learners = [NodeID(2)]
        }
        self.featureLevel = featureLevel
        var restored = RestoredReplica.empty(membership, generation: generation)
        restored.featureLevel = featureLevel
        var settings = ReplicaSettings.ofNode()
        settings.featureLevel = known
        if uncommittedMax > 0 { settings.raft.uncommittedEntriesMax = uncommittedMax }
        change(&settings)
        self.sessions = sessions
        replica = Replica(restored, settings: settings, seed: 1, now: now, wall: ClusterTime(nanoseconds: Self.epoch))
        slot = replica.clientConnected()
        replica.clients.markHello(slot)
        live(.seconds(5))
        logged.removeAll()
    }

    var clusterTime: ClusterTime { ClusterTime(nanoseconds: Self.epoch + now.nanoseconds - 1_000_000_000) }

    /// Time passes, and the node has its turns.
    mutating func live(_ interval: Interval) {
        let end = now + interval
        while now < end {
            turn()
            now = min(end, max(deadline, now + .milliseconds(1)))
        }
        turn()
    }

    /// One wake-up, and whatever follows from it at this moment.
    mutating func turn() { turn(after: nil) }

    private mutating func turn(after written: LogWork?, _ applying: [ApplyWork] = []) {
        var log = written
        var work = applying
        repeat {
            replica.beginTurn(now: now, wall: clusterTime)
            if let log { replica.logWritten(log.ticket) }
            for item in work { carryOut(item) }
            let effects = replica.endTurn()
            log = effects.log
            work = effects.apply
            deadline = effects.nextDeadline
            for (_, bytes) in effects.toClients { noteReply(bytes) }
            output += effects.toClients
            for slab in (log?.writes ?? []).compactMap(\.slab) { note(slab) }
        } while log != nil || !work.isEmpty
    }

    /// `body` happens while the disk is busy with an entry, and the core admits no more than one that is not committed.
    mutating func whileNothingCanBeProposed(_ body: (inout Replica) -> Void) {
        replica.beginTurn(now: now, wall: clusterTime)
        replica.log(.tick)
        let log = replica.endTurn().log
        #expect(log != nil && !replica.raft.canPropose)
        replica.beginTurn(now: now, wall: clusterTime)
        body(&replica)
        _ = replica.endTurn()
        turn(after: log)
    }

    /// What happens while a write does not return.
    mutating func whileDiskIsBusy(_ body: (inout Alone) -> Void) {
        replica.beginTurn(now: now, wall: clusterTime)
        replica.log(.tick)
        let log = replica.endTurn().log
        #expect(log != nil)
        body(&self)
        turn(after: log)
    }

    /// The state machine catches up; the entries open these sessions.
    mutating func applyLate(opening sessions: [OpenSession]) {
        isLate = false
        opened = sessions
        let work = late
        late = []
        turn(after: nil, work)
    }

    private mutating func noteReply(_ bytes: [UInt8]) {
        guard let frame = try? FrameHeader.scan(bytes.rawSpan, sizeMax: 65_536) else { return }
        var reader = ByteReader(frame.body)
        // What this state machine answers to commands is nothing at all.
        if case .failure(let error, _)? = try? ReplyHead(decoding: &reader) { refusals.append(error) }
    }

    private mutating func note(_ slab: Slab) { logged += Self.housekeeping(in: slab, slab.indexes) }

    private static func housekeeping(in slab: Slab, _ range: ClosedRange<LogIndex>) -> [Housekeeping] {
        var found: [Housekeeping] = []
        for index in slab.indexes(of: .command) where range.contains(index) {
            do throws(DecodeError) {
                var reader = ByteReader(slab.record(at: index).payload)
                let header = try CommandHeader(decoding: &reader)
                if let command = try Housekeeping(kind: header.kind, decoding: &reader) { found.append(command) }
            } catch {
                Issue.record("\(error)")
            }
        }
        return found
    }

    private mutating func carryOut(_ work: ApplyWork) {
        switch work {
        case .entries where isLate: late.append(work)
        case .entries(let slabs, let range):
            var report = ApplyReport(range: range)
            report.sessionsOpened = opened
            opened = []
            report.replyEnds = [Int](repeating: 0, count: range.entryCount)
            if let slab = slabs.last { report.time = slab.record(at: slab.lastIndex).header.time }
            if let due = nextTimer, due <= report.time { nextTimer = nil }
            report.nextTimer = nextTimer
            let parts = slabs.flatMap { Self.housekeeping(in: $0, range) }.count(where: Self.removesTombstones)
            sweeps.removeFirst(min(parts, sweeps.count))
            report.tombstoneSweep = sweeps.first
            for case .featureLevel(let level) in logged { featureLevel = max(featureLevel, level) }
            report.featureLevel = featureLevel
            report.sessionsKept = kept
            kept = []
            replica.applied(report)
        case .listSessions(let term): replica.sessionsListed(sessions, nextTimer: nextTimer, term: term)
        case .findOrphans(let after, let term):
            searches.append(after)
            replica.orphansFound(orphans.found, next: orphans.next, term: term)
            orphans = ([], nil)
        case .queries(let batch): queries.append(batch)
        case .feed, .forgetOutcomes: break
        }
    }

    var expiries: [[SessionID]] {
        logged.compactMap { if case .expireSessions(let sessions) = $0 { sessions } else { nil } }
    }
    var ticks: Int { logged.count { $0 == .tick } }
    var floors: [Housekeeping] { logged.filter(Self.removesTombstones) }

    private static func removesTombstones(_ command: Housekeeping) -> Bool {
        if case .deleteFloor = command { true } else { false }
    }
}

@Suite("What ends without being asked for")
struct SessionEndTests {
    private static let session = OpenSession(id: SessionID(1, 1), timeout: .seconds(10))

    @Test("a session whose end is being logged is not told that it lives")
    func keptAliveTooLate() {
        var node = Alone(sessions: [Self.session])
        node.isLate = true
        let before = node.replica.touch([Self.session.id])
        #expect(before == [])
        node.live(.seconds(12))
        #expect(node.expiries == [[Self.session.id]])
        // The next leader may not have the entry: it is not told that it has ended either.
        let after = node.replica.touch([Self.session.id])
        #expect(after == nil)
    }

    @Test("damaged entries are written anew one piece at a time: no more than one waits for the disk")
    func mendsOneAfterTheOther() {
        var node = Alone()
        for _ in 0..<5 {
            node.replica.log(.tick)
            node.live(.milliseconds(10))
        }
        let range = LogIndex(1)...node.replica.raft.lastIndex
        node.replica.beginTurn(now: node.now, wall: node.clusterTime)
        let canGoOn = node.replica.logDamaged(range, reason: "test")
        #expect(canGoOn)
        var mended: [LogIndex] = []
        var effects = node.replica.endTurn()
        while let slab = effects.logRepairs.first {
            #expect(effects.logRepairs.count == 1)
            mended.append(slab.firstIndex)
            // The disk takes its time.
            node.now = node.now + .seconds(1)
            node.replica.beginTurn(now: node.now, wall: node.clusterTime)
            let meanwhile = node.replica.endTurn().logRepairs.count
            #expect(meanwhile == 0)
            node.replica.beginTurn(now: node.now, wall: node.clusterTime)
            let left = slab.lastIndex < range.upperBound ? [slab.lastIndex.next...range.upperBound] : []
            node.replica.logRepaired(faulty: left)
            effects = node.replica.endTurn()
        }
        #expect(mended.first == range.lowerBound && mended.count > 4)
        let isMending = node.replica.isMending
        #expect(!isMending)
    }

    @Test("entries that the disk gives back later are whole again without anybody's help")
    func readAgain() {
        var node = Alone()
        let range = LogIndex(1)...LogIndex(1)
        node.replica.beginTurn(now: node.now, wall: node.clusterTime)
        let canGoOn = node.replica.logDamaged(range, reason: "test")
        let isReadAgain = node.replica.endTurn().rereadsLog
        #expect(canGoOn && isReadAgain)
        node.replica.beginTurn(now: node.now, wall: node.clusterTime)
        node.replica.logReread(faulty: [])
        let effects = node.replica.endTurn()
        let isMending = node.replica.isMending
        #expect(!isMending && !effects.rereadsLog)
    }

    @Test("a repair that found no space is not tried again at once")
    func mendsLater() {
        var node = Alone()
        let range = LogIndex(1)...LogIndex(1)
        node.replica.beginTurn(now: node.now, wall: node.clusterTime)
        let canGoOn = node.replica.logDamaged(range, reason: "test")
        #expect(canGoOn)
        var repairs = [node.replica.endTurn().logRepairs.count]
        node.replica.beginTurn(now: node.now, wall: node.clusterTime)
        node.replica.logRepaired(faulty: [range])
        repairs.append(node.replica.endTurn().logRepairs.count)
        node.now = node.now + .milliseconds(200)
        node.replica.beginTurn(now: node.now, wall: node.clusterTime)
        repairs.append(node.replica.endTurn().logRepairs.count)
        #expect(repairs == [1, 0, 1])
    }

    @Test("a tick is logged when a timer is due, not before, and once")
    func tick() {
        var node = Alone()
        node.nextTimer = node.clusterTime + .seconds(7)
        node.kept = (1...1_500).map { SessionID(5, $0) }
        node.replica.log(.deleteFloor(LogIndex(1)))
        node.live(.milliseconds(6_800))
        #expect(node.ticks == 0)
        node.live(.milliseconds(400))
        #expect(node.ticks == 1)
        #expect(node.nextTimer == nil)
        node.live(.seconds(10))
        #expect(node.ticks == 1)
        // What one expiry left is ended by the next, as much at once as an entry may name.
        #expect(node.expiries.map(\.count) == [1_024, 476])
    }

    @Test("tombstones that are left below the floor are removed by one entry after the other, under the next leader too")
    func tombstonesLeft() {
        func left(_ keys: ClosedRange<UInt8>) -> [TombstoneSweep] {
            keys.map { TombstoneSweep(floor: LogIndex(9), next: [$0]) }
        }
        var node = Alone(sweeps: left(1...3))
        #expect(node.sweeps.isEmpty, "it has found them when it came to lead")
        node.sweeps = left(4...8)
        node.replica.log(.tick)
        node.live(.milliseconds(100))
        #expect(node.sweeps.isEmpty)
        #expect(node.floors == [Housekeeping](repeating: .deleteFloor(LogIndex(9)), count: 5), "one for each part")
        node.live(.seconds(3))
        #expect(node.floors.count == 5)
    }

    @Test("a part of the tombstones is removed once the one before it is applied, and once there is room for an entry")
    func tombstonesWait() {
        var node = Alone(uncommittedMax: 1)
        node.sweeps = [TombstoneSweep(floor: LogIndex(9), next: [1]), TombstoneSweep(floor: LogIndex(9), next: [2])]
        node.isLate = true
        node.replica.log(.tick)
        node.live(.seconds(1))
        #expect(node.floors.isEmpty, "the tick is not applied, so nobody has been told that some are left")
        node.applyLate(opening: [])
        node.live(.seconds(1))
        #expect(node.floors.count == 2)
        #expect(node.sweeps.isEmpty)
    }

    @Test("time in which the process was stopped is not a session's silence")
    func pause() {
        var node = Alone(sessions: [Self.session])
        node.live(.seconds(3))
        node.now = node.now + .seconds(3_600)
        node.live(.milliseconds(500))
        #expect(node.expiries.isEmpty)
        node.live(.seconds(9))
        #expect(node.expiries == [[Self.session.id]], "the silence that it heard itself counts")
    }

    @Test("a leader that was held up for a moment counts the keep-alives that have come before it ends anybody's session")
    func keptAliveInALateTurn() {
        let others = (1...3).map { OpenSession(id: SessionID(4, $0), timeout: .seconds(10)) }
        var node = Alone()
        node.replica.sessionsListed([Self.session] + others, nextTimer: nil, term: node.replica.raft.currentTerm)
        node.live(.seconds(10))
        // As long as a process may stand still without anybody's silence being excused, and longer than the sessions have.
        node.now = node.now + .milliseconds(1_900)
        let slot = node.slot
        node.receive(on: slot) { writer in
            ClientRequest.encodeKeepAlive(
                requestID: 9, sessions: [Self.session.id], mayForward: false, into: &writer)
        }
        #expect(node.expiries == [others.map(\.id)])
        node.live(.seconds(9))
        #expect(node.expiries.count == 1)
    }

    @Test("a new leader calls no session unknown before it has applied what others committed")
    func openedBefore() {
        var node = Alone(isLate: true)
        #expect(node.replica.raft.isLeader)
        #expect(node.replica.touch([Self.session.id, SessionID(8, 8)]) == nil)
        node.applyLate(opening: [Self.session])
        #expect(node.replica.touch([Self.session.id, SessionID(8, 8)]) == [SessionID(8, 8)])
    }

    @Test("what is decided while the leader cannot log it is logged as soon as it can")
    func decidedLater() {
        var node = Alone(generation: 2, uncommittedMax: 1)
        let orphans = [SessionID(2, 2), SessionID(2, 3)]
        let verdict = DigestVerdict(index: LogIndex(4_096), majority: 1, votes: [])
        node.whileNothingCanBeProposed { replica in
            replica.orphansFound(orphans, next: nil, term: replica.raft.currentTerm)
            replica.log(.digestVerdict(verdict))
        }
        node.live(.milliseconds(50))
        #expect(node.expiries == [orphans])
        #expect(node.logged.contains(.digestVerdict(verdict)))
    }

    /// `QUORATE_SESSIONS=100000` for the whole of it.
    @Test("many sessions that only keep themselves alive cost no entry; all silent at once, few entries, in order")
    func manySessions() {
        let total = ProcessInfo.processInfo.environment["QUORATE_SESSIONS"].flatMap(Int.init) ?? 5_000
        let entries = (total + Limits.sessionsPerExpiryMax - 1) / Limits.sessionsPerExpiryMax
        let rounds = 12
        let sessions = (0..<total).map { OpenSession(id: SessionID(9, UInt64($0)), timeout: .seconds(10)) }
        let clock = ContinuousClock()
        var node = Alone()
        let granted = clock.measure {
            node.replica.sessionsListed(sessions, nextTimer: nil, term: node.replica.raft.currentTerm)
        }
        node.logged.removeAll()
        var longest = Duration.zero
        let kept = clock.measure {
            for round in 0..<rounds {
                // Each every three seconds, as followers pass them on.
                let third = sessions.enumerated().filter { $0.offset % 3 == round % 3 }.map(\.element.id)
                for start in stride(from: 0, to: third.count, by: 4_096) {
                    let notOpen = node.replica.touch(Array(third[start...].prefix(4_096)))
                    #expect(notOpen == [])
                }
                longest = max(longest, clock.measure { node.live(.seconds(1)) })
            }
        }
        #expect(node.expiries.isEmpty)
        #expect(node.logged.count <= rounds / 20 + 1, "ticks of cluster time, and nothing else")
        // All were heard of at the same moment for the last time.
        node.replica.sessionsListed(sessions, nextTimer: nil, term: node.replica.raft.currentTerm)
        node.live(.seconds(10))
        var turns: [Duration] = []
        while node.expiries.count < entries, turns.count < 1_000 {
            turns.append(clock.measure { node.turn() })
            node.now = node.now + .milliseconds(10)
        }
        #expect(node.expiries.allSatisfy { $0.count <= Limits.sessionsPerExpiryMax })
        #expect(node.expiries.flatMap { $0 } == sessions.map(\.id))
        print(
            "\(total) sessions: granted in \(granted), \(rounds) s of keep-alives in \(kept) (a second at most \(longest)), "
                + "expiry in \(turns.count) turns of at most \(turns.max() ?? .zero)")
    }

    @Test("only a restored state is searched for owners without a session, part by part", arguments: [1, 2] as [UInt64])
    func orphans(generation: UInt64) {
        var node = Alone(generation: generation)
        guard generation > 1 else {
            #expect(node.searches.isEmpty)
            return
        }
        #expect(node.searches == [nil])
        node.orphans = ([SessionID(3, 3)], SessionID(4, 4))
        node.replica.orphansFound([SessionID(2, 2)], next: SessionID(2, 2), term: node.replica.raft.currentTerm)
        node.live(.seconds(1))
        #expect(node.searches == [nil, SessionID(2, 2), SessionID(4, 4)])
        #expect(node.expiries == [[SessionID(2, 2)], [SessionID(3, 3)]])
    }
}
