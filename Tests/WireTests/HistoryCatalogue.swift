import Basics
import MetadataModel
import Wire

extension Catalogue {
    private static let moment = ClusterTime(nanoseconds: 1_700_000_000_000_000_000)
    private static let prefix = Array("a/".utf8)
    private static let before = RowBefore.row(revision: LogIndex(9), value: Array("old".utf8))

    /// Previous values, who changed what, and what changed since.
    static let history: [(name: String, bytes: [UInt8])] = [
        ("mutate set history", mutation(40, 9, .setHistory(prefix: prefix, isOn: true))),
        (
            "mutate set history reply",
            reply(.mutate, 40, 16) { SetHistoryResult(isChanged: true, since: LogIndex(16)).encode(into: &$0) }
        ),
        ("query history", query(41, .history)),
        (
            "query history reply",
            reply(.query, 41, 16) { writer in
                let item = HistoryPrefix(prefix: prefix, since: LogIndex(16), time: moment)
                ListPart(hasMore: false, items: [item]).encode(into: &writer)
            }
        ),
        ("query changes", query(42, .changes(DeltaRequest(span: .prefix(prefix), since: LogIndex(10), limit: 100)))),
        (
            "query changes reply",
            reply(.query, 42, 17) { writer in
                DeltaPage(
                    view: 0, hasMore: false, cursor: [],
                    items: [
                        .init(key: Array("a/c".utf8), revision: LogIndex(12), value: Array("v".utf8)),
                        .init(key: Array("a/b".utf8), revision: LogIndex(11), value: nil),
                    ]
                ).encode(into: &writer)
            }
        ),
        ("query moment", query(43, .moment(moment))),
        (
            "query moment reply",
            reply(.query, 43, 17) { writer in
                MomentResult(revision: LogIndex(14), time: moment, newestTime: moment + .seconds(3)).encode(into: &writer)
            }
        ),
        ("query history of", query(44, .historyOf(prefix: Array("a/b".utf8)))),
        (
            "query history of reply",
            reply(.query, 44, 17) { writer in
                HistoryCoverage(since: LogIndex(16), time: moment, isWhole: true).encode(into: &writer)
            }
        ),
        (
            "query history off",
            bytes { writer in
                let start = ClientReply.begin(.query, requestID: 44, into: &writer)
                ReplyError(
                    .historyOff, "no history is kept of b: `quorate history on b` keeps it from now on",
                    currentRevision: .zero
                ).encode(revision: LogIndex(17), into: &writer)
                writer.endFrame(start)
            }
        ),
        (
            "watch with history",
            bytes {
                WatchRequest(
                    span: .prefix(prefix), from: LogIndex(17), filter: [.before, .valuesBefore, .origins]
                ).encode(requestID: 45, into: &$0)
            }
        ),
        (
            "watch with history changes",
            changes(
                requestID: 45, filter: [.before, .valuesBefore, .origins],
                [
                    (
                        17,
                        [
                            Change(key: Array("a/b".utf8), value: Array("new".utf8), before: before),
                            Change(key: Array("a/c".utf8), value: Array("v".utf8), before: .nothing),
                        ]
                    ),
                    (18, [Change(key: Array("a/b".utf8), value: nil, before: .row(revision: LogIndex(17), value: nil))]),
                ])
        ),
    ]
}
