import Basics
import MetadataMachine
import MetadataModel
import StateEngine
import Testing

@Suite("Sessions: exactly once")
struct SessionTests {
    let rig: Rig
    let other = SessionID(1, 2)

    init() throws { rig = try Rig() }

    @Test("a retry gets the first reply and changes nothing")
    func retry() throws {
        let command = rig.command(put("a", "1"), 1)
        let first = try rig.send(command)
        try rig.send(rig.command(put("a", "2"), 2))
        let rows = try rig.replicatedRows()
        let again = try rig.send(command)
        #expect(again.bytes == first.bytes)
        #expect(again.revision == LogIndex(1))
        #expect(try rig.replicatedRows() == rows)
        #expect(try rig.value("a") == "2")
    }

    @Test("a retry in the same apply group gets the first reply")
    func retryInOneGroup() throws {
        let command = rig.command(put("a", "1"), 1)
        let answers = try rig.applyTogether([command, command, rig.command(put("a", "2"), 2), command])
        #expect(answers.map(\.revision) == [LogIndex(1), LogIndex(1), LogIndex(3), LogIndex(1)])
        #expect(try rig.revision("a") == LogIndex(3))
    }

    @Test("a retry of what failed fails the same way, though it would succeed now")
    func retryOfConflict() throws {
        try rig.send(rig.command(put("a", "1"), 1))
        let command = rig.command(put("a", "2", ifRevision: .zero), 2)
        let refused = try rig.send(command)
        #expect(refused.code == .conflict)
        #expect(refused.error?.currentRevision == LogIndex(1))
        try rig.send(rig.command(delete("a"), 3))
        #expect(try rig.send(command).bytes == refused.bytes)
        #expect(try rig.value("a") == nil)
    }

    @Test("a retry after a crash and replay gets the first reply", arguments: [false, true])
    func retryAfterCrash(isFlushed: Bool) throws {
        let command = rig.command(put("a", "1"), 1)
        let sequential = rig.command(.createSequential(prefix: Array("s".utf8), value: []), 2)
        let first = [try rig.send(command), try rig.send(sequential)]
        if isFlushed { rig.engine.flush() }
        try rig.crashAndReplay()
        #expect(try [rig.send(command), rig.send(sequential)] == first)
        #expect(try rig.keys().count == 2)
    }

    @Test("a retry after a snapshot was installed gets the first reply")
    func retryAfterSnapshot() throws {
        let command = rig.command(put("a", "1"), 1)
        let first = try rig.send(command)
        try rig.moveToSnapshot()
        #expect(try rig.send(command) == first)
        #expect(rig.machine.openSessions() == [OpenSession(id: Rig.session, timeout: .seconds(10))])
        try rig.restart()
        #expect(try rig.send(command) == first)
    }

    @Test("a retry gets the first reply after the outcomes of a compacted log were forgotten")
    func retryAfterForgetting() throws {
        let command = rig.command(put("a", "1"), 1)
        let first = try rig.send(command)
        try rig.machine.forgetOutcomes(through: LogIndex(1))
        try rig.restart()
        #expect(try rig.send(command) == first)
    }

    @Test("mutations apply in sequence order: a missing predecessor is a gap, and nothing is applied")
    func gap() throws {
        try rig.send(rig.command(put("a", "1"), 1))
        let answer = try rig.send(rig.command(put("a", "3"), 3))
        #expect(answer.code == .sequenceGap)
        #expect(answer.error?.expectedSequence == 2)
        #expect(try rig.value("a") == "1")
        #expect(try rig.send(rig.command(put("a", "2"), 2)).error == nil)
    }

    @Test("a session is not opened by a mutation other than its first")
    func openingOutOfOrder() throws {
        let answer = try rig.send(rig.command(put("a"), 2))
        #expect(answer.code == .sequenceGap)
        #expect(answer.error?.expectedSequence == 1)
        #expect(rig.machine.openSessions().isEmpty)
    }

    @Test("a mutation without opening of a session that is not there is refused")
    func unknownSession() throws {
        #expect(try rig.send(rig.command(put("a"), 1, opens: false)).code == .sessionExpired)
        #expect(try rig.keys().isEmpty)
    }

    @Test("at or below the acknowledged sequence no reply is kept")
    func acknowledged() throws {
        let first = rig.command(put("a", "1"), 1)
        try rig.send(first)
        try rig.send(rig.command(put("a", "2"), 2))
        try rig.send(rig.command(put("a", "3"), 3, acknowledged: 1))
        #expect(try rig.send(first).code == .sequenceTooOld)
        #expect(try rig.send(rig.command(put("a", "2"), 2)).revision == LogIndex(2))
        #expect(try rig.value("a") == "3")
        try rig.crashAndReplay()
        #expect(try rig.send(first).code == .sequenceTooOld)
        #expect(try rig.send(rig.command(put("a", "2"), 2)).revision == LogIndex(2))
    }

    @Test("a refused or repeated mutation acknowledges nothing")
    func onlyAppliedAcknowledge() throws {
        try rig.send(rig.command(put("a", "1"), 1))
        try rig.send(rig.command(put("a", "3"), 3, acknowledged: 1))
        #expect(try rig.send(rig.command(put("a", "1"), 1)).revision == LogIndex(1))
    }

    @Test("a window of unacknowledged replies is bounded, and acknowledging makes room")
    func windowLimit() throws {
        let count = UInt64(Limits.sessionWindowMax)
        _ = try rig.applyTogether((1...count).map { rig.command(put("a"), $0) })
        let refused = try rig.send(rig.command(put("b"), count + 1))
        #expect(refused.code == .sessionLimit)
        #expect(try rig.value("b") == nil)
        #expect(try rig.send(rig.command(put("b"), count + 1, acknowledged: 1)).error == nil)
        #expect(try rig.send(rig.command(put("a"), 2)).revision == LogIndex(2))
        try rig.restart()
        #expect(try rig.send(rig.command(put("a"), 2)).revision == LogIndex(2))
    }

    @Test("a window keeps its replies in order while it moves on")
    func windowMoves() throws {
        for sequence in UInt64(1)...200 {
            let oldest = sequence > 40 ? sequence - 40 : 0
            #expect(try rig.send(rig.command(put("a"), sequence, acknowledged: oldest)).error == nil)
        }
        for sequence in UInt64(161)...200 {
            #expect(try rig.send(rig.command(put("a"), sequence, acknowledged: 0)).revision == LogIndex(sequence))
        }
        #expect(try rig.send(rig.command(put("a"), 160)).code == .sequenceTooOld)
    }

    @Test("a reply above 4 KiB is not kept: a retry is told the revision and the branch")
    func resultNotKept() throws {
        try rig.send(rig.command(.put(key: Array("big".utf8), value: [UInt8](repeating: 1, count: 5_000)), 1))
        let read = Transaction(
            comparisons: [.exists(key: Array("none".utf8), true)], then: [],
            otherwise: [.get(key: Array("big".utf8))])
        let command = rig.command(.transaction(read), 2)
        let first = try rig.send(command)
        #expect(try first.transaction().succeeded == false)
        for _ in 0..<2 {
            let again = try rig.send(command)
            #expect(again.code == .resultNotKept)
            #expect(again.revision == first.revision)
            #expect(again.error?.succeeded == false)
            try rig.crashAndReplay()
        }
    }

    /// As large a value as a transaction may read.
    private func readMuch(_ rig: Rig) throws -> () -> [UInt8] {
        let key = Array("large".utf8)
        try rig.mutate(.put(key: key, value: [UInt8](repeating: 7, count: Limits.transactionReadSizeMax)))
        let read = Mutation.transaction(Transaction(then: [.get(key: key)]))
        return { rig.next(read) }
    }

    @Test("behind as many bytes of replies as a group may have, large ones are told as a retry would be, to no other effect")
    func muchReadInOneGroup() throws {
        let next = try readMuch(rig)
        let commands = (0..<20).map { _ in next() }
        let answers = try rig.applyTogether(commands)
        let given = Limits.groupReplySizeMax / Limits.transactionReadSizeMax
        #expect(answers.prefix(given).allSatisfy { $0.error == nil })
        #expect(answers.dropFirst(given).allSatisfy { $0.code == .resultNotKept && $0.error?.succeeded == true })
        let size = rig.lastReport?.replyBytes.count ?? 0
        #expect(size < Limits.groupReplySizeMax + Limits.transactionReadSizeMax)
        let again = try rig.send(commands[19])
        #expect(again == answers[19])
        // One by one they get all that they read, and leave the same state.
        let other = try Rig()
        let nextAlone = try readMuch(other)
        for _ in 0..<20 { #expect(try other.send(nextAlone()).error == nil) }
        #expect(try other.send(commands[19]).code == .resultNotKept)
        #expect(other.machine.applied == rig.machine.applied)
        #expect(try other.sessionBytes() == rig.sessionBytes())
    }

    // MARK: Opening

    @Test("a session opens only while the time it names is younger than 60 s")
    func openingAge() throws {
        let command = rig.command(put("a"), 1)
        let later = rig.command(put("a"), 1, session: other)
        rig.pass(.seconds(60))
        #expect(try rig.send(command).code == .sessionExpired)
        rig.time = ClusterTime(nanoseconds: rig.time.nanoseconds - 1)
        #expect(try rig.send(later).error == nil)
    }

    @Test("a session that names a time far ahead is remembered until no copy of it could open it again")
    func openingAhead() throws {
        let ahead = rig.time + .seconds(600)
        let command = rig.command(put("a"), 1, openedAt: ahead, oneShot: true)
        let first = try rig.send(command)
        #expect(first.error == nil)
        let later = rig.command(put("b"), 1, session: other, oneShot: true)
        try rig.send(later)
        for step in 0..<60 {
            rig.pass(.seconds(12))
            let copy = try rig.send(command)
            #expect(copy == first || copy.code == .sessionExpired)
            #expect(try rig.revision("a") == first.revision)
            if step % 20 == 10 { try rig.restart() }
            if step % 20 == 15 { try rig.moveToSnapshot() }
        }
        #expect(try rig.send(later).code == .sessionExpired, "one that ended later is forgotten before it")
        #expect(try rig.sessionBytes() == [0, 0, 0, 0])
    }

    @Test("a late copy of an ended session's first mutation is never applied again")
    func lateDuplicate() throws {
        let command = rig.command(put("a", "1"), 1)
        let first = try rig.send(command)
        try rig.send(rig.command(.endSession, 2))
        try rig.send(rig.command(put("a", "2"), 1, session: other))
        for _ in 0..<50 {
            rig.pass(.seconds(5))
            let copy = try rig.send(command)
            #expect(copy == first || copy.code == .sessionExpired)
            #expect(try rig.value("a") == "2")
        }
    }

    @Test("opening is reported with the timeout, once")
    func opened() throws {
        try rig.send(rig.command(put("a"), 1, timeout: .seconds(3)))
        #expect(rig.lastReport?.sessionsOpened == [OpenSession(id: Rig.session, timeout: .seconds(3))])
        try rig.send(rig.command(put("a"), 2))
        #expect(rig.lastReport?.sessionsOpened.isEmpty == true)
    }

    @Test("open sessions are listed by id, the ended ones left out, the same after a restart")
    func openSessions() throws {
        for number in [UInt64(5), 3, 9, 4] {
            try rig.send(rig.command(put("a"), 1, session: SessionID(number, 0)))
        }
        try rig.housekeep(.expireSessions([SessionID(9, 0)]))
        let expected = [UInt64(3), 4, 5].map { OpenSession(id: SessionID($0, 0), timeout: .seconds(10)) }
        #expect(rig.machine.openSessions() == expected)
        try rig.crashAndReplay()
        #expect(rig.machine.openSessions() == expected)
        try rig.restart()
        #expect(rig.machine.openSessions() == expected)
    }

    // MARK: Ending

    @Test("an ended session takes nothing new, but repeats its replies for 120 s")
    func ended() throws {
        let command = rig.command(put("a"), 1)
        let first = try rig.send(command)
        let end = rig.command(.endSession, 2)
        let firstEnd = try rig.send(end)
        #expect(firstEnd.error == nil)
        #expect(rig.lastReport?.sessionsEnded == [Rig.session])
        #expect(try rig.send(rig.command(put("b"), 3)).code == .sessionExpired)
        rig.pass(.seconds(120))
        #expect(try rig.send(command) == first)
        #expect(try rig.send(end) == firstEnd)
        rig.pass(.nanoseconds(1))
        #expect(try rig.send(command).code == .sessionExpired)
        #expect(try rig.keys() == ["a"])
    }

    @Test("a one-shot mutation leaves no open session, and its retry gets the first reply")
    func oneShot() throws {
        let command = rig.command(put("a"), 1, oneShot: true)
        let first = try rig.send(command)
        #expect(rig.lastReport?.sessionsOpened.isEmpty == true)
        #expect(rig.lastReport?.sessionsEnded.isEmpty == true)
        #expect(rig.machine.openSessions().isEmpty)
        #expect(try rig.send(command) == first)
        try rig.crashAndReplay()
        #expect(try rig.send(command) == first)
        try rig.restart()
        #expect(try rig.send(command) == first)
        #expect(try rig.send(rig.command(put("b"), 2)).code == .sessionExpired)
    }

    @Test("expiry ends the sessions it names, each once; the others go on")
    func expiry() throws {
        try rig.send(rig.command(put("a"), 1))
        try rig.send(rig.command(put("a"), 1, session: other))
        try rig.housekeep(.expireSessions([Rig.session, SessionID(9, 9), Rig.session]))
        #expect(rig.lastReport?.sessionsEnded == [Rig.session])
        #expect(rig.lastReport?.replyBytes.isEmpty == true)
        try rig.housekeep(.expireSessions([Rig.session]))
        #expect(rig.lastReport?.sessionsEnded.isEmpty == true)
        #expect(try rig.send(rig.command(put("b"), 2)).code == .sessionExpired)
        #expect(try rig.send(rig.command(put("b"), 2, session: other)).error == nil)
    }

    @Test("an id that was forgotten may open a new session, and a start from outcome rows sees the new one")
    func reusedID() throws {
        try rig.send(rig.command(put("a"), 1))
        try rig.send(rig.command(put("a"), 2))
        try rig.housekeep(.expireSessions([Rig.session]))
        rig.pass(.seconds(121))
        #expect(try rig.send(rig.command(put("b"), 1)).revision == LogIndex(4))
        let sessions = try rig.sessionBytes()
        try rig.restart()
        #expect(try rig.sessionBytes() == sessions)
        #expect(rig.machine.openSessions().count == 1)
        #expect(try rig.send(rig.command(put("b"), 1)).revision == LogIndex(4))
        #expect(try rig.send(rig.command(put("c"), 2)).error == nil)
    }

    @Test("sessions start from a checkpoint and the outcomes after it, also when the earlier ones are gone")
    func checkpoint() throws {
        let rig = try Rig(base: LogIndex(Limits.sessionCheckpointInterval - 2))
        let commands = (UInt64(1)...6).map { rig.command(put("a", "\($0)"), $0) }
        var first: [Answer] = []
        for command in commands { first.append(try rig.send(command)) }
        let outcomes = try outcomeCount(rig)
        try rig.machine.forgetOutcomes(through: rig.machine.applied.last.index)
        #expect(outcomes == 6)
        #expect(try outcomeCount(rig) == 4, "through the checkpoint, not further")
        let sessions = try rig.sessionBytes()
        try rig.restart()
        #expect(try rig.sessionBytes() == sessions)
        for (command, answer) in zip(commands, first) { #expect(try rig.send(command) == answer) }
        #expect(try rig.value("a") == "6")
    }

    @Test("outcomes are kept as long as the log they explain")
    func outcomesKept() throws {
        let rig = try Rig(base: LogIndex(Limits.sessionCheckpointInterval - 2))
        for number in 1...4 { try rig.mutate(put("a", "\(number)")) }
        try rig.machine.forgetOutcomes(through: rig.base)
        #expect(try outcomeCount(rig) == 4)
        try rig.machine.forgetOutcomes(through: rig.base.next)
        #expect(try outcomeCount(rig) == 3)
    }

    private func outcomeCount(_ rig: Rig) throws -> Int {
        var count = 0
        try rig.engine.scan(from: [0xF1], to: [0xF2], reversed: false) { _, _ in
            count += 1
            return .next
        }
        return count
    }
}
