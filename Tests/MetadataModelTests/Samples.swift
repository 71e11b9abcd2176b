import Basics
import MetadataModel

/// One value of every form that is stored or sent, with fields that are easy to find again in the bytes.
enum Samples {
    static let session = SessionID(0x0706_0504_0302_0100, 0x0F0E_0D0C_0B0A_0908)
    static let opening = SessionOpening(openedAt: ClusterTime(nanoseconds: 0x1122), timeout: .seconds(10))
    static let key = Array("a/b".utf8)
    static let value: [UInt8] = [0xDE, 0xAD]

    static let transaction = Transaction(
        comparisons: [
            .revision(key: key, equals: LogIndex(7)), .value(key: key, equals: value), .exists(key: key, true),
            .unchanged(prefix: Array("a/".utf8), since: LogIndex(5)),
        ],
        then: [.put(key: key, value: value), .get(key: key)],
        otherwise: [.delete(key: key), .deletePrefix(Array("c/".utf8))])

    static let group = Array("m".utf8)
    static let stateEntry = StateEntry(version: StateVersion(1, 2), value: value)
    static let guards = [
        Guard(kind: .election, name: group, fence: 7), Guard(kind: .lock, name: Array("l".utf8), fence: 8),
    ]
    static let candidate = Candidate(ticket: LogIndex(7), session: session, fence: 9, data: value)
    static let lockTicket = LockTicket(
        ticket: LogIndex(7), session: session, mode: .shared, fence: 9, delay: .milliseconds(0x0102),
        heldUntil: ClusterTime(nanoseconds: 0x0304))
    static let sessionInfo = SessionInfo(
        id: session, timeout: .seconds(10), openedAt: ClusterTime(nanoseconds: 0x1122), ownedCount: 3)

    static let mutations: [(name: String, mutation: Mutation)] = [
        ("put", .put(key: key, value: value)),
        ("put over a condition", .put(key: key, value: value, expectedRevision: LogIndex(7))),
        ("delete", .delete(key: key)),
        ("delete over a condition", .delete(key: key, expectedRevision: LogIndex(7))),
        ("delete a prefix", .deleteRange(.prefix(Array("a/".utf8)))),
        ("delete a range", .deleteRange(.range(from: Array("a".utf8), to: Array("b".utf8)), limit: 9)),
        ("delete to the end", .deleteRange(.range(from: Array("a".utf8), to: nil), limit: 9)),
        ("create sequential", .createSequential(prefix: Array("q/".utf8), value: value)),
        ("transaction", .transaction(transaction)),
        ("end session", .endSession),
        ("put owned", .put(key: key, value: value, isOwned: true)),
        ("put owned over a condition", .put(key: key, value: value, expectedRevision: LogIndex(7), isOwned: true)),
        ("create owned sequential", .createSequential(prefix: Array("q/".utf8), value: value, isOwned: true)),
        ("transaction with an owned put", .transaction(Transaction(then: [.putOwned(key: key, value: value)]))),
        ("campaign", .coordination(.campaign(group: group, data: value))),
        ("withdraw", .coordination(.withdraw(group: group))),
        ("set candidate data", .coordination(.setCandidateData(group: group, data: value))),
        (
            "acquire lock",
            .coordination(
                .acquireLock(LockRequest(name: group, mode: .shared, isTry: true, delay: .milliseconds(0x0102))))
        ),
        ("release lock", .coordination(.releaseLock(name: group))),
        (
            "state set",
            .coordination(.stateSet(StateStore(name: group, entry: stateEntry, expected: StateVersion(3, 4))))
        ),
        ("state expunge", .coordination(.stateExpunge(name: group, version: StateVersion(1, 2)))),
        ("set history", .setHistory(prefix: key, isOn: true)),
        ("set history of everything off", .setHistory(prefix: [], isOn: false)),
    ]

    static let housekeeping: [(name: String, command: Housekeeping)] = [
        ("tick", .tick),
        ("expire sessions", .expireSessions([session, SessionID(1, 2)])),
        (
            "digest verdict",
            .digestVerdict(
                DigestVerdict(
                    index: LogIndex(4_096), majority: 0xAABB,
                    votes: [.init(node: NodeID(1), digest: 0xAABB), .init(node: NodeID(2), digest: 0xCC)]))
        ),
        (
            "digest verdict without majority",
            .digestVerdict(DigestVerdict(index: LogIndex(4_096), majority: nil, votes: []))
        ),
        ("delete floor", .deleteFloor(LogIndex(0x0102))),
        (
            "member info",
            .memberInfo(MemberInfo(node: NodeID(0xA1), clientAddress: "h:7", version: "1.0", featureLevel: 2))
        ),
        ("feature level", .featureLevel(3)),
    ]

    static let page = PageRequest(after: Array("a".utf8), limit: 5, isKeysOnly: true, pinsView: true)

    static let queries: [(name: String, query: Query)] = [
        ("get", .get(key: key)),
        ("list", .list(.prefix(Array("a/".utf8)), page)),
        ("count", .list(.range(from: Array("a".utf8), to: Array("b".utf8)), PageRequest(isCountOnly: true))),
        ("page of a view", .page(view: 0x99, .range(from: Array("a".utf8), to: nil), page)),
        ("release view", .releaseView(0x99)),
        ("leader", .leader(group: group)),
        ("candidates", .candidates(group: group, after: LogIndex(7), limit: 5)),
        ("lock", .lock(name: group, after: LogIndex(7), limit: 5)),
        ("validate", .validate(guards[1])),
        ("state get", .stateGet(name: group)),
        ("state names", .stateNames(after: group, limit: 5)),
        ("sessions", .sessions(after: session, limit: 5)),
        ("history", .history),
        ("changes", .changes(DeltaRequest(span: .prefix(Array("a/".utf8)), since: LogIndex(7)))),
        (
            "changes of a view",
            .changes(
                DeltaRequest(
                    view: 0x99, span: .range(from: Array("a".utf8), to: nil), since: LogIndex(7), cursor: [0x10] + key,
                    limit: 5, pinsView: false))
        ),
        ("moment", .moment(ClusterTime(nanoseconds: 0x1122))),
        ("history of", .historyOf(prefix: key)),
        ("registry", .registry(view: 0x99, prefix: [2], page)),
    ]

    static let membership = Membership(
        members: [
            Member(id: NodeID(3), name: "n3", peerAddress: "h:3"),
            Member(id: NodeID(1), name: "n1", peerAddress: "h:1"),
            Member(id: NodeID(2), name: "n2", peerAddress: "h:2"),
        ], incoming: [NodeID(2), NodeID(1)], outgoing: [NodeID(1)], learners: [NodeID(3)])

    static let founding = FoundingRecord(
        identity: ClusterIdentity(id: 0x11, generation: 2, generationTag: 0x33), createdAt: ClusterTime(nanoseconds: 4),
        membership: Membership(
            members: [Member(id: NodeID(1), name: "n1", peerAddress: "h:1")], incoming: [NodeID(1)]))

    /// With every field that an error may carry.
    static let error = ReplyError(
        .conflict, "no", currentRevision: LogIndex(7), expectedSequence: 3, limit: 9, retryAfter: .milliseconds(250),
        leaderName: "n1", leaderAddress: "h:1", succeeded: true)

    static let result = TransactionResult(
        succeeded: true,
        results: [
            .put, .delete, .deletePrefix(rowCount: 4), .get(nil),
            .get(RowResult(revision: LogIndex(7), value: value)),
        ])

    static let listing = Page(
        view: 0x99, hasMore: true, cursor: key, count: 1, rows: [.init(key: key, revision: LogIndex(7), value: value)])

    static let time = ClusterTime(nanoseconds: 0x1122)
    static let history = HistoryPrefix(prefix: key, since: LogIndex(7), time: time)
    static let coverage = HistoryCoverage(since: LogIndex(7), time: time, isWhole: true)
    static let moment = MomentResult(
        revision: LogIndex(7), time: time, newestTime: ClusterTime(nanoseconds: 0x3344))
    static let origin = ChangeOrigin(session: session, principal: 9, time: time)
    static let delta = DeltaPage(
        view: 0x99, hasMore: true, cursor: [0x11] + key,
        items: [.init(key: key, revision: LogIndex(7), value: value), .init(key: key, revision: LogIndex(8), value: nil)])
    /// Without history as they were before there was any; then with it.
    static let changes = [
        Change(key: key, value: value), Change(key: key, value: nil), Change(key: key, value: value, owner: session),
        Change(key: key, value: value, before: .nothing),
        Change(key: key, value: value, owner: session, before: .row(revision: LogIndex(7), value: [0xBE])),
        Change(key: key, value: nil, before: .row(revision: LogIndex(7), value: nil)),
    ]

    // MARK: Bytes

    static func bytes(_ write: (inout ByteWriter) -> Void) -> [UInt8] {
        var writer = ByteWriter()
        write(&writer)
        return writer.takeBytes()
    }

    static func command(
        _ mutation: Mutation, opens: Bool = false, oneShot: Bool = false, guards: [Guard] = []
    ) -> [UInt8] {
        bytes { writer in
            CommandHeader(
                kind: mutation.kind, session: session, sequence: oneShot ? 1 : 5, acknowledgedThrough: oneShot ? 0 : 4,
                opening: opens || oneShot ? opening : nil, isOneShot: oneShot, guards: guards
            ).encode(into: &writer)
            mutation.encodeBody(into: &writer)
        }
    }

    /// Every form, by name.
    static var all: [(name: String, bytes: [UInt8])] {
        var all: [(name: String, bytes: [UInt8])] = mutations.map { ("command " + $0.name, command($0.mutation)) }
        all.append(("command that opens a session", command(mutations[0].mutation, opens: true)))
        all.append(("one-shot command", command(mutations[0].mutation, oneShot: true)))
        all.append(("command with guards", command(mutations[0].mutation, opens: true, guards: guards)))
        all += housekeeping.map { ("housekeeping " + $0.name, $0.command.encoded()) }
        all += queries.map { ("query " + $0.name, $0.query.encoded()) }
        all.append(("membership", membership.encoded()))
        all.append(("founding record", founding.encoded()))
        all.append(("reply success", bytes { Reply.writeSuccess(revision: LogIndex(7), into: &$0) }))
        all.append(("reply error", bytes { error.encode(revision: LogIndex(8), into: &$0) }))
        let fenced = ReplyError(.fenced, "no", currentFence: 0x0506)
        all.append(("reply fenced", bytes { fenced.encode(revision: LogIndex(8), into: &$0) }))
        let rejected = ReplyError(.rejected, "no", rule: "agent.gone")
        all.append(("reply rejected", bytes { rejected.encode(revision: LogIndex(8), into: &$0) }))
        all.append(("reply plain error", bytes { ReplyError(.diskFull, "x").encode(revision: .zero, into: &$0) }))
        all.append(
            ("result of delete range", bytes { DeleteRangeResult(rowCount: 4, hasMore: true).encode(into: &$0) }))
        all.append(("result of transaction", bytes { result.encode(into: &$0) }))
        all.append(("result of get", bytes { $0.write(RowResult(revision: LogIndex(7), value: value)) }))
        all.append(("result of get, nothing", bytes { $0.write(RowResult?.none) }))
        all.append(
            ("result of campaign", bytes { TicketResult(ticket: LogIndex(7), fence: 9).encode(into: &$0) }))
        all.append(("result of validate", bytes { GuardResult(holds: true, currentFence: 9).encode(into: &$0) }))
        all.append(
            ("result of candidates", bytes { ListPart(hasMore: true, items: [candidate]).encode(into: &$0) }))
        all.append(("result of lock", bytes { ListPart(hasMore: false, items: [lockTicket]).encode(into: &$0) }))
        all.append(("result of state get", bytes { stateEntry.encodeRow(into: &$0) }))
        all.append(
            ("result of state names", bytes { ListPart(hasMore: false, items: [StateName(group)]).encode(into: &$0) }))
        all.append(
            ("result of sessions", bytes { ListPart(hasMore: false, items: [sessionInfo]).encode(into: &$0) }))
        all.append(("result of list", bytes { listing.encode(into: &$0) }))
        all.append(
            ("result of set history", bytes { SetHistoryResult(isChanged: true, since: LogIndex(7)).encode(into: &$0) }))
        all.append(("result of history", bytes { ListPart(hasMore: false, items: [history]).encode(into: &$0) }))
        all.append(("result of changes", bytes { delta.encode(into: &$0) }))
        all.append(("result of moment", bytes { moment.encode(into: &$0) }))
        all.append(("result of history of", bytes { coverage.encode(into: &$0) }))
        all.append(("origin of a change", bytes { origin.encode(into: &$0) }))
        for (number, change) in changes.enumerated() {
            all.append(("change \(number + 1)", bytes { change.encode(into: &$0) }))
        }
        return all
    }
}

extension Array where Element == UInt8 {
    var hex: String {
        map { byte in
            let digits = String(byte, radix: 16)
            return digits.count == 1 ? "0" + digits : digits
        }.joined()
    }
}
