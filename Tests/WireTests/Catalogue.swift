import Basics
import MetadataModel
import RaftCore
import Wire

/// One frame of every kind and direction, with values that are easy to find again in its bytes.
enum Catalogue {
    static let identity = ClusterIdentity(id: 0x1122_3344_5566_7788, generation: 1, generationTag: 0)
    static let session = SessionID(0x0706_0504_0302_0100, 0x0F0E_0D0C_0B0A_0908)
    static let leader = LeaderHint(name: "n1", clientAddress: "127.0.0.1:7400")

    static func bytes(_ write: (inout ByteWriter) -> Void) -> [UInt8] {
        var writer = ByteWriter()
        write(&writer)
        return writer.takeBytes()
    }

    private static func mutation(_ id: UInt64, _ header: CommandHeader, _ mutation: Mutation) -> [UInt8] {
        bytes { writer in
            ClientRequest.encodeMutation(requestID: id, mayForward: true, into: &writer) { writer in
                header.encode(into: &writer)
                mutation.encodeBody(into: &writer)
            }
        }
    }

    private static func header(_ mutation: Mutation, _ sequence: UInt64, opens: Bool = false) -> CommandHeader {
        CommandHeader(
            kind: mutation.kind, session: session, sequence: sequence, acknowledgedThrough: sequence - 1,
            opening: opens
                ? SessionOpening(openedAt: ClusterTime(nanoseconds: 1_700_000_000_000_000_000), timeout: .seconds(10))
                : nil)
    }

    private static func reply(_ kind: ClientFrameKind, _ id: UInt64, _ body: (inout ByteWriter) -> Void) -> [UInt8] {
        bytes { writer in
            let start = ClientReply.begin(kind, requestID: id, into: &writer)
            body(&writer)
            writer.endFrame(start)
        }
    }

    private static let put = Mutation.put(key: Array("a/b".utf8), value: Array("hello".utf8))
    private static let conditional = Mutation.put(
        key: Array("a/b".utf8), value: Array("bye".utf8), expectedRevision: LogIndex(7))
    private static let transaction = Mutation.transaction(
        Transaction(
            comparisons: [.revision(key: Array("k".utf8), equals: LogIndex(7))],
            then: [.put(key: Array("k".utf8), value: Array("v".utf8))], otherwise: [.get(key: Array("k".utf8))]))

    static let helloReply = HelloReply(
        revision: LogIndex(7), version: 1, identity: identity, node: NodeID(0xA1), nodeName: "n1",
        softwareVersion: "0.1.0", clusterTime: ClusterTime(nanoseconds: 1_700_000_000_000_000_000),
        limits: ConnectionLimits(), leader: leader)
    static let statusReply = StatusReply(
        revision: LogIndex(4_100), identity: identity,
        node: NodeStatus(
            id: NodeID(0xA1), name: "n1", role: .leader, state: .ok, term: Term(3), commitIndex: LogIndex(4_100),
            lastApplied: LogIndex(4_100), firstIndex: LogIndex(1), lastIndex: LogIndex(4_101),
            digests: [IndexedDigest(index: LogIndex(4_096), digest: 0xDEAD_BEEF)], diskUsed: 65_536,
            diskFree: 1_048_576, softwareVersion: "0.1.0", uptimeSeconds: 60, clientAddress: "127.0.0.1:7400",
            peerAddress: "127.0.0.1:7500"), leader: leader,
        members: [
            MemberStatus(
                id: NodeID(0xA1), name: "n1", peerAddress: "127.0.0.1:7500", clientAddress: "127.0.0.1:7400",
                softwareVersion: "0.1.0", isVoter: true,
                progress: MemberProgress(
                    isReachable: true, state: .ok, matchIndex: LogIndex(4_100), lastApplied: LogIndex(4_100), lag: 1)),
            MemberStatus(
                id: NodeID(0xA2), name: "n2", peerAddress: "127.0.0.1:7501", clientAddress: "", softwareVersion: "",
                isVoter: false, progress: nil),
        ],
        alarms: [
            Alarm(
                name: "damage", node: "n1", since: ClusterTime(nanoseconds: 1_700_000_000_000_000_000), isActive: false,
                detail: "log: file 3", remedy: "look at the disk")
        ], feedFloor: LogIndex(1))

    private static var watchChanges: [UInt8] {
        changes(
            requestID: 15, filter: [],
            [
                (9, [Change(key: Array("a/b".utf8), value: Array("hello".utf8))]),
                (11, [Change(key: Array("a/b".utf8), value: nil), Change(key: Array("a/c".utf8), value: [])]),
            ])
    }

    static func changes(requestID: UInt64, filter: WatchFilter, _ revisions: [(UInt64, [Change])]) -> [UInt8] {
        let origin = ChangeOrigin(
            session: session, principal: 0, time: ClusterTime(nanoseconds: 1_700_000_000_000_000_000))
        var frame = WatchFrame(requestID: requestID, hasOrigins: filter.contains(.origins))
        for (revision, changes) in revisions {
            frame.begin(LogIndex(revision), origin)
            for change in changes {
                let bytes = bytes { change.encode(into: &$0) }
                var reader = ByteReader(bytes.rawSpan)
                guard let view = try? ChangeView(decoding: &reader) else { fatalError("a change that does not decode") }
                frame.append(view, filter.detail)
            }
        }
        frame.finish(through: LogIndex(revisions.last?.0 ?? 0), goesOn: false)
        return frame.writer.bytes
    }

    private static var scrubReport: ScrubReport {
        var report = ScrubReport()
        report.state = .ended
        report.isByClient = true
        report.startedAt = ClusterTime(nanoseconds: 1_700_000_000_000_000_000)
        report.endedAt = ClusterTime(nanoseconds: 1_700_000_001_000_000_000)
        report.byteCount = 4_096
        report.byteCountExpected = 5_000
        report.recordCount = 17
        report.rowCount = 9
        report.digestAt = LogIndex(4_101)
        report.damageCount = 1
        var damage = ScrubDamage(file: "d/log/1.segment", offset: 4_248, reason: "record", outcome: .repaired)
        damage.firstIndex = LogIndex(3)
        damage.lastIndex = LogIndex(4)
        report.damages = [damage]
        return report
    }

    static let client: [(name: String, bytes: [UInt8])] = [
        (
            "hello",
            bytes { ClientHello(identity: nil, clientName: "doc", clientVersion: "1").encode(requestID: 1, into: &$0) }
        ),
        (
            "changeMembers add",
            bytes {
                MemberChange.add(name: "n4", peerAddress: "127.0.0.1:7503", replacing: nil).encode(
                    requestID: 14, into: &$0)
            }
        ),
        (
            "changeMembers reply",
            bytes {
                ControlReply.membersChanged(
                    MemberChangeReply(revision: LogIndex(4_101), node: NodeID(0xA4), leader: leader)
                ).encode(requestID: 14, into: &$0)
            }
        ),
        ("clearAlarm", bytes { AlarmClearing.encode("damage", requestID: 15, into: &$0) }),
        (
            "clearAlarm reply",
            bytes {
                ControlReply.alarmCleared(AlarmClearedReply(revision: LogIndex(4_101), count: 1)).encode(
                    requestID: 15, into: &$0)
            }
        ),
        (
            "scrub",
            bytes {
                ScrubRequest(.start, rate: 1 << 20, digestAt: LogIndex(4_101)).encode(requestID: 16, into: &$0)
            }
        ),
        (
            "scrub reply",
            bytes {
                ControlReply.scrub(ScrubReply(revision: LogIndex(4_101), report: scrubReport)).encode(
                    requestID: 16, into: &$0)
            }
        ),
        (
            "watch",
            bytes {
                WatchRequest(
                    span: .prefix(Array("a/".utf8)), from: LogIndex(9), progressInterval: .seconds(1)
                ).encode(requestID: 15, into: &$0)
            }
        ),
        (
            "watch created",
            bytes { WatchFrame.writeCreated(requestID: 15, revision: LogIndex(8), floor: LogIndex(1), into: &$0) }
        ),
        ("watch changes", watchChanges),
        (
            "watch progress",
            bytes { WatchFrame.writeProgress(requestID: 15, through: LogIndex(40), isLast: false, into: &$0) }
        ),
        ("watchCredit", bytes { ClientRequest.encodeWatchCredit(requestID: 15, bytes: 103, into: &$0) }),
        ("watchCancel", bytes { ClientRequest.encodeWatchCancel(requestID: 15, into: &$0) }),
        (
            "watch lagged",
            reply(.watch, 15) {
                ReplyError(.lagged, currentRevision: LogIndex(41)).encode(revision: LogIndex(40), into: &$0)
            }
        ),
        ("hello reply", bytes { ControlReply.hello(helloReply).encode(requestID: 1, into: &$0) }),
        (
            "hello refused",
            bytes {
                ControlReply.failed(ReplyError(.generationChanged), .hello).encode(requestID: 1, into: &$0)
            }
        ),
        ("mutate put, opens the session", mutation(2, header(put, 1, opens: true), put)),
        ("mutate reply", reply(.mutate, 2) { Reply.writeSuccess(revision: LogIndex(8), into: &$0) }),
        ("mutate put if revision 7", mutation(3, header(conditional, 2), conditional)),
        (
            "mutate conflict",
            reply(.mutate, 3) {
                ReplyError(.conflict, currentRevision: LogIndex(8)).encode(revision: LogIndex(9), into: &$0)
            }
        ),
        ("mutate transaction", mutation(4, header(transaction, 3), transaction)),
        (
            "mutate transaction reply",
            reply(.mutate, 4) { writer in
                Reply.writeSuccess(revision: LogIndex(10), into: &writer)
                TransactionResult(succeeded: false, results: [.get(nil)]).encode(into: &writer)
            }
        ),
        (
            "mutate not leader",
            reply(.mutate, 5) {
                ReplyError(.notLeader, leaderName: "n1", leaderAddress: "127.0.0.1:7400").encode(
                    revision: .zero, into: &$0)
            }
        ),
        (
            "query get",
            bytes {
                ClientRequest.encodeQuery(
                    requestID: 6, header: ReadHeader(level: .linearizable, atLeast: LogIndex(8)),
                    query: Query.get(key: Array("a/b".utf8)).encoded(), into: &$0)
            }
        ),
        (
            "query get reply",
            reply(.query, 6) { writer in
                Reply.writeSuccess(revision: LogIndex(10), into: &writer)
                writer.write(RowResult(revision: LogIndex(8), value: Array("hello".utf8)))
            }
        ),
        (
            "query list",
            bytes {
                ClientRequest.encodeQuery(
                    requestID: 7, header: ReadHeader(level: .stale, atLeast: LogIndex(8)),
                    query: Query.list(.prefix(Array("a/".utf8)), PageRequest(limit: 100, pinsView: true)).encoded(),
                    into: &$0)
            }
        ),
        (
            "query list reply",
            reply(.query, 7) { writer in
                Reply.writeSuccess(revision: LogIndex(10), into: &writer)
                let row = Page.Row(key: Array("a/b".utf8), revision: LogIndex(8), value: Array("hello".utf8))
                Page(view: 0, hasMore: false, cursor: [], count: 1, rows: [row]).encode(into: &writer)
            }
        ),
        (
            "keepAlive",
            bytes {
                ClientRequest.encodeKeepAlive(requestID: 8, sessions: [session], mayForward: true, into: &$0)
            }
        ),
        (
            "keepAlive reply",
            bytes {
                ControlReply.keepAlive(KeepAliveReply(revision: LogIndex(10), notOpen: [], leader: leader)).encode(
                    requestID: 8, into: &$0)
            }
        ),
        ("status", bytes { ClientRequest.encodeEmpty(.status, requestID: 9, into: &$0) }),
        ("status reply", bytes { ControlReply.status(statusReply).encode(requestID: 9, into: &$0) }),
        ("initialize", bytes { ClientRequest.encodeEmpty(.initialize, requestID: 10, into: &$0) }),
        (
            "initialize reply",
            bytes {
                ControlReply.initialized(InitializeReply(revision: .zero, identity: identity)).encode(
                    requestID: 10, into: &$0)
            }
        ),
        ("snapshot", bytes { ClientRequest.encodeSnapshot(requestID: 12, atLeast: LogIndex(8), into: &$0) }),
        (
            "snapshot reply",
            bytes {
                let reply = SnapshotReply(revision: LogIndex(9), snapshot: 3)
                ControlReply.snapshot(reply).encode(requestID: 12, into: &$0)
            }
        ),
        (
            "snapshotPiece",
            bytes { SnapshotPieceRequest(snapshot: 3, item: 0, offset: 0).encode(requestID: 13, into: &$0) }
        ),
        (
            "snapshotPiece reply",
            bytes {
                let piece = SnapshotPieceReply(
                    revision: LogIndex(9), item: .chunk, itemSize: 4, bytes: Array("QCHK".utf8))
                ControlReply.snapshotPiece(piece).encode(requestID: 13, into: &$0)
            }
        ),
        ("ping", bytes { ClientRequest.encodeEmpty(.ping, requestID: 11, into: &$0) }),
        (
            "ping reply",
            bytes {
                let time = ClusterTime(nanoseconds: 1_700_000_000_000_000_000)
                ControlReply.pong(PingReply(revision: LogIndex(10), clusterTime: time, leader: nil)).encode(
                    requestID: 11, into: &$0)
            }
        ),
        ("goingAway", bytes { GoingAway(leader: leader).encode(into: &$0) }),
    ]

    // MARK: Between nodes

    private static let point = SnapshotPoint(
        last: EntryID(term: Term(2), index: LogIndex(90)),
        configuration: IndexedConfiguration(
            index: LogIndex(5), configuration: Configuration(incoming: [NodeID(1), NodeID(2)], learners: [NodeID(3)])))
    private static let last = EntryID(term: Term(4), index: LogIndex(100))

    static let raft: [Message] = [
        .preVote(VoteRequest(term: Term(5), lastEntry: last)),
        .preVoteResponse(VoteResponse(term: Term(5), isGranted: true)),
        .requestVote(VoteRequest(term: Term(5), lastEntry: last, isTransfer: true)),
        .requestVoteResponse(VoteResponse(term: Term(5), isGranted: false)),
        .appendEntries(
            AppendEntries(
                term: Term(5), previous: last, lastIndex: LogIndex(100), entryTerm: .zero, leaderCommit: LogIndex(99))),
        .appendEntriesResponse(AppendEntriesResponse(term: Term(5), outcome: .accepted(matchIndex: LogIndex(100)))),
        .appendEntriesResponse(
            AppendEntriesResponse(term: Term(5), outcome: .rejected(previousIndex: LogIndex(100), hint: last))),
        .heartbeat(Heartbeat(term: Term(5), commitIndex: LogIndex(99), readRound: 8)),
        .heartbeatResponse(HeartbeatResponse(term: Term(5), readRound: 8)),
        .installSnapshot(InstallSnapshot(term: Term(5), snapshot: point)),
        .installSnapshotResponse(InstallSnapshotResponse(term: Term(5), outcome: .inProgress)),
        .installSnapshotResponse(InstallSnapshotResponse(term: Term(5), outcome: .reached(matchIndex: LogIndex(90)))),
        .installSnapshotResponse(InstallSnapshotResponse(term: Term(5), outcome: .failed)),
        .readIndex(ReadIndexRequest(term: Term(5), token: ReadToken(6))),
        .readIndexResponse(ReadIndexResponse(term: Term(5), token: ReadToken(6), readIndex: LogIndex(99))),
        .readIndexResponse(ReadIndexResponse(term: Term(5), token: ReadToken(6), readIndex: nil)),
        .timeoutNow(TimeoutNow(term: Term(5))),
    ]

    private static let members = [FoundingMember(name: "n1", peerAddress: "127.0.0.1:7500")]

    static let peer: [(message: PeerMessage, payload: [UInt8])] =
        [
            (
                .hello(
                    PeerHello(
                        identity: identity, sender: NodeID(0xA1), name: "n1", expectedReceiver: NodeID(0xA2),
                        peerAddress: "127.0.0.1:7500", clientAddress: "127.0.0.1:7400", softwareVersion: "0.1.0",
                        featureLevel: 1, last: EntryID(term: Term(5), index: LogIndex(100)), configurationIndex: LogIndex(90))), []
            ),
            (
                .hello(
                    PeerHello(
                        identity: nil, sender: NodeID(0xA1), name: "n1", expectedReceiver: nil, peerAddress: "a:1",
                        clientAddress: "a:2", softwareVersion: "", featureLevel: 1, last: .zero, configurationIndex: .zero)), []
            ),
            (
                .helloReply(
                    PeerHelloReply(
                        version: 1, identity: identity, node: NodeID(0xA2), name: "n2", clientAddress: "127.0.0.1:7401",
                        softwareVersion: "0.1.0", featureLevel: 1, lastIndex: LogIndex(98),
                        acknowledgedByCaller: EntryID(term: Term(5), index: LogIndex(97)))), []
            ),
            (
                .helloReply(
                    PeerHelloReply(
                        refusal: .wrongGeneration, message: "another generation", version: 1, identity: identity,
                        node: NodeID(0xA2), name: "n2", clientAddress: "", softwareVersion: "0.1.0", featureLevel: 1,
                        lastIndex: .zero, acknowledgedByCaller: .zero)), []
            ),
            (.ping, []), (.pong, []),
            (.forwardedMutation(principal: 9), [1, 2, 3]), (.forwardedMutationReply, [4, 5]),
            (.sessionTouches([session]), []),
            (.sessionTouchesReply(SessionTouchesReply(isLeader: true, notOpen: [session])), []),
            (.digestReport(index: LogIndex(4_096), digest: 0xDEAD_BEEF), []),
            (
                .memberReport(
                    MemberReport(
                        clientAddress: "127.0.0.1:7400", softwareVersion: "0.1.0", featureLevel: 1,
                        lastApplied: LogIndex(99), state: .repairing, diskFree: 1_048_576)), []
            ),
            (.snapshotManifest(last: last, offset: 5), []),
            (.snapshotManifestReply(last: last, offset: 5, size: 9), [6, 7, 8]),
            (.snapshotManifestReply(last: last, offset: 5, size: 0), []),
            (.snapshotChunk(last: last, number: 3), []), (.snapshotChunkReply(number: 3), [9]),
            (.foundingProbe(members), []),
            (
                .foundingProbeReply(
                    FoundingProbeReply(
                        isEmpty: true, node: NodeID(0xA2), name: "n2", members: members, featureLevel: 1)), []
            ),
            (.foundingCommit, [1]), (.foundingCommitReply(.mismatch), []),
            (.logEntries(RepairQuestion(wanted: LogIndex(5)...LogIndex(9), anchor: last, last: last)), []),
            (
                .logEntriesReply(
                    RepairAnswer(
                        first: LogIndex(5), basis: .committed, isWhole: true, last: last,
                        beginning: EntryID(term: Term(2), index: LogIndex(3)))), [1, 2]
            ),
            (.promises, []),
            (
                .promisesReply(KnownPromises(currentTerm: Term(8), last: last, configurationIndex: LogIndex(4))),
                [3, 4]
            ),
        ] + raft.map { (.raft($0), []) }

    static func encoded(_ message: PeerMessage, payload: [UInt8] = []) -> [UInt8] {
        bytes { message.encode(requestID: 5, payload: payload.rawSpan, into: &$0) }
    }
}

func hex(_ bytes: [UInt8]) -> String {
    bytes.map { byte in
        let digits = String(byte, radix: 16)
        return digits.count == 1 ? "0" + digits : digits
    }.joined()
}

/// A frame that outlives the bytes it was read from.
struct OwnedFrame: Equatable {
    var header: FrameHeader
    var body: [UInt8]
    var totalSize: Int
}

func scanFrame(_ bytes: RawSpan, sizeMax: Int) throws(DecodeError) -> OwnedFrame? {
    guard let scan = try FrameHeader.scan(bytes, sizeMax: sizeMax) else { return nil }
    return OwnedFrame(header: scan.header, body: [UInt8](scan.body), totalSize: scan.totalSize)
}
