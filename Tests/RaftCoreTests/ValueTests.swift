import Basics
import RaftCore
import Testing

@testable import RaftCore

/// The small values that the core stands on.
@Suite struct ValueTests {
    private func runs(_ terms: [UInt64], after base: EntryID = .zero) -> TermRuns {
        var runs = TermRuns(after: base)
        for term in terms { runs.append(through: runs.lastIndex.next, term: Term(term)) }
        return runs
    }

    @Test("TermRuns answers like an array of terms, whatever is appended, cut and compacted", arguments: 0..<50)
    func termRunsMatchArray(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        var model: [UInt64] = [0]
        var first = 0
        var runs = TermRuns()
        for _ in 0..<200 {
            switch Int.random(in: 0..<10, using: &random) {
            case 0..<6:
                let term = model.last! + UInt64(Int.random(in: 0..<3, using: &random) / 2)
                let count = Int.random(in: 1...4, using: &random)
                if term == 0 { continue }
                model += Array(repeating: term, count: count)
                runs.append(through: LogIndex(UInt64(model.count - 1)), term: Term(term))
            case 6, 7:
                let last = Int.random(in: first..<model.count, using: &random)
                model.removeLast(model.count - 1 - last)
                runs.truncate(after: LogIndex(UInt64(last)))
            default:
                first = Int.random(in: first..<model.count, using: &random)
                runs.compact(through: LogIndex(UInt64(first)))
            }
            #expect(runs.lastIndex == LogIndex(UInt64(model.count - 1)))
            #expect(runs.base == EntryID(term: Term(model[first]), index: LogIndex(UInt64(first))))
            for index in 0..<model.count + 2 {
                let expected = index >= first && index < model.count ? Term(model[index]) : nil
                #expect(runs.term(at: LogIndex(UInt64(index))) == expected)
            }
            let index = Int.random(in: first..<model.count, using: &random)
            let term = UInt64.random(in: model[first]...model.last!, using: &random)
            let shared = (first...index).last { model[$0] <= term } ?? first
            #expect(
                runs.lastEntry(through: LogIndex(UInt64(index)), termAtMost: Term(term))
                    == EntryID(term: Term(model[shared]), index: LogIndex(UInt64(shared))))
            if index > first {
                let conflict = (index..<model.count).first { model[$0] != term }
                #expect(
                    runs.firstConflict(
                        in: LogIndex(UInt64(index))...LogIndex(UInt64(model.count + 3)), term: Term(term))
                        == conflict.map { LogIndex(UInt64($0)) })
                let end = (index..<model.count).last { model[$0] == model[index] }
                #expect(runs.runEnd(from: LogIndex(UInt64(index))) == end.map { LogIndex(UInt64($0)) })
            }
        }
    }

    @Test("a log of many entries and few terms stays small")
    func termRunsAreSmall() {
        var runs = runs([1, 1, 2, 2, 2, 5])
        runs.append(through: LogIndex(1_000_000), term: Term(5))
        #expect(runs.runs.count == 3)
    }

    @Test("a quorum's value is what a sorted list says, for one half and for two")
    func quorumMatchesSorting() {
        var random = SplitMix64(seed: 7)
        for _ in 0..<500 {
            let all = (1...UInt64(7)).map { NodeID($0) }
            var values: [NodeID: Int] = [:]
            for id in all { values[id] = Int.random(in: 0..<6, using: &random) }
            let incoming = all.filter { _ in Bool.random(using: &random) }
            let outgoing = all.filter { _ in Bool.random(using: &random) }
            let configuration = Configuration(incoming: incoming, outgoing: outgoing)
            func reached(_ half: [NodeID]) -> Int? {
                half.isEmpty ? nil : half.map { values[$0]! }.sorted(by: >)[half.count / 2]
            }
            let expected = reached(incoming).map { min($0, reached(outgoing) ?? $0) }
            #expect(Quorum.reached(in: configuration) { values[$0]! } == expected)
            for threshold in 0..<6 where expected != nil {
                #expect(
                    Quorum.isReached(in: configuration) { values[$0]! >= threshold } == (expected! >= threshold))
            }
        }
    }

    @Test("a voter's first answer stands, and an election is lost once no majority can be found")
    func tally() {
        let configuration = Configuration(incoming: [NodeID(1), NodeID(2), NodeID(3)])
        var tally = VoteTally()
        tally.record(true, from: NodeID(1))
        tally.record(false, from: NodeID(2))
        tally.record(true, from: NodeID(2))
        #expect(tally.outcome(in: configuration) == .pending)
        tally.record(false, from: NodeID(3))
        #expect(tally.outcome(in: configuration) == .lost)
    }

    @Test("no message, however absurd, stops a replica", arguments: 0..<20)
    func absurdMessages(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        var cluster = TestCluster(3, seed: seed)
        cluster.campaign(1)
        cluster.propose(1, count: 5)
        cluster.settle()
        func number() -> UInt64 {
            [0, 1, 2, 3, 5, 6, 7, 100, 1 << 61, 1 << 62, .max - 1, .max].randomElement(using: &random)!
        }
        func entry() -> EntryID { EntryID(term: Term(number()), index: LogIndex(number())) }
        func term() -> Term { Term(Bool.random(using: &random) ? cluster.raft(1).currentTerm.rawValue : number()) }
        for _ in 0..<60 {
            let vote = VoteRequest(term: term(), lastEntry: entry(), isTransfer: Bool.random(using: &random))
            let answer = VoteResponse(term: term(), isGranted: Bool.random(using: &random))
            let point = SnapshotPoint(
                last: entry(),
                configuration: IndexedConfiguration(
                    index: LogIndex(number()), configuration: Configuration(incoming: [NodeID(number())])))
            let messages: [Message] = [
                .preVote(vote), .preVoteResponse(answer), .requestVote(vote), .requestVoteResponse(answer),
                .appendEntries(
                    AppendEntries(
                        term: term(), previous: entry(), lastIndex: LogIndex(number()), entryTerm: term(),
                        leaderCommit: LogIndex(number()))),
                .appendEntriesResponse(
                    AppendEntriesResponse(term: term(), outcome: .accepted(matchIndex: LogIndex(number())))),
                .appendEntriesResponse(
                    AppendEntriesResponse(
                        term: term(), outcome: .rejected(previousIndex: LogIndex(number()), hint: entry()))),
                .heartbeat(Heartbeat(term: term(), commitIndex: LogIndex(number()), readRound: number())),
                .heartbeatResponse(HeartbeatResponse(term: term(), readRound: number())),
                .installSnapshot(InstallSnapshot(term: term(), snapshot: point)),
                .installSnapshotResponse(
                    InstallSnapshotResponse(term: term(), outcome: .reached(matchIndex: LogIndex(number())))),
                .readIndex(ReadIndexRequest(term: term(), token: ReadToken(number()))),
                .readIndexResponse(
                    ReadIndexResponse(term: term(), token: ReadToken(number()), readIndex: LogIndex(number()))),
                .timeoutNow(TimeoutNow(term: term())),
            ]
            // A copy takes the blow: what a liar may do to safety is not the question, only that nothing traps.
            let id = UInt64.random(in: 1...3, using: &random)
            var raft = cluster.raft(id)
            for message in messages.shuffled(using: &random) {
                raft.step(.received(message, from: NodeID(UInt64.random(in: 1...4, using: &random))), now: cluster.now)
                raft.checkInvariants()
                while raft.takeReady() != nil {}
            }
        }
    }
}
