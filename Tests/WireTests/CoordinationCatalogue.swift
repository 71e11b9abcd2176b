import Basics
import MetadataModel
import Wire

extension Catalogue {
    static func mutation(
        _ id: UInt64, _ sequence: UInt64, _ mutation: Mutation, guards: [Guard] = []
    ) -> [UInt8] {
        bytes { writer in
            ClientRequest.encodeMutation(requestID: id, mayForward: true, into: &writer) { writer in
                CommandHeader(
                    kind: mutation.kind, session: session, sequence: sequence, acknowledgedThrough: sequence - 1,
                    guards: guards
                ).encode(into: &writer)
                mutation.encodeBody(into: &writer)
            }
        }
    }

    static func query(_ id: UInt64, _ query: Query) -> [UInt8] {
        bytes {
            ClientRequest.encodeQuery(
                requestID: id, header: ReadHeader(level: .linearizable, atLeast: LogIndex(15)),
                query: query.encoded(), into: &$0)
        }
    }

    static func reply(
        _ kind: ClientFrameKind, _ id: UInt64, _ revision: UInt64, _ rest: (inout ByteWriter) -> Void
    ) -> [UInt8] {
        bytes { writer in
            let start = ClientReply.begin(kind, requestID: id, into: &writer)
            Reply.writeSuccess(revision: LogIndex(revision), into: &writer)
            rest(&writer)
            writer.endFrame(start)
        }
    }

    private static let group = Array("masters".utf8)
    private static let address = Array("10.0.0.1:5050".utf8)
    private static let store = StateStore(
        name: Array("s".utf8),
        entry: StateEntry(
            version: StateVersion(0x1716_1514_1312_1110, 0x1F1E_1D1C_1B1A_1918), value: Array("v".utf8)),
        expected: StateVersion(0x2726_2524_2322_2120, 0x2F2E_2D2C_2B2A_2928))
    private static let request = LockRequest(name: Array("l".utf8), mode: .shared, delay: .seconds(5))
    private static let fence = Guard(kind: .election, name: group, fence: 11)
    private static let fenced = ReplyError(
        .fenced, "fence 11 of the election masters does not hold: the current one is 12", currentFence: 12)
    private static let place = LockTicket(
        ticket: LogIndex(14), session: session, mode: .shared, fence: 0, delay: .seconds(5))
    private static let opened = SessionInfo(
        id: session, timeout: .seconds(10), openedAt: ClusterTime(nanoseconds: 1_700_000_000_000_000_000), ownedCount: 3)

    private static func watched(_ id: UInt64, _ revision: UInt64, _ changes: [Change]) -> [UInt8] {
        Catalogue.changes(requestID: id, filter: [], [(revision, changes)])
    }

    private static func ticket(_ name: [UInt8], _ ticket: UInt8) -> [UInt8] { name + [0, 0, 0, 0, 0, 0, 0, 0, ticket] }

    private static let leads = Candidate(ticket: LogIndex(11), session: session, fence: 16, data: address)
    private static let holds = LockTicket(
        ticket: LogIndex(14), session: session, mode: .shared, fence: 17, delay: .seconds(5))

    /// Elections, locks, guards and the State API.
    static let coordination: [(name: String, bytes: [UInt8])] = [
        ("mutate campaign", mutation(20, 4, .coordination(.campaign(group: group, data: address)))),
        (
            "mutate campaign reply",
            reply(.mutate, 20, 11) { TicketResult(ticket: LogIndex(11), fence: 11).encode(into: &$0) }
        ),
        (
            "mutate put under a guard",
            mutation(21, 5, .put(key: Array("k".utf8), value: Array("v".utf8)), guards: [fence])
        ),
        (
            "mutate fenced",
            bytes { writer in
                let start = ClientReply.begin(.mutate, requestID: 21, into: &writer)
                fenced.encode(revision: LogIndex(13), into: &writer)
                writer.endFrame(start)
            }
        ),
        ("mutate put owned", mutation(22, 6, .put(key: Array("k".utf8), value: Array("v".utf8), isOwned: true))),
        ("mutate acquire lock", mutation(23, 7, .coordination(.acquireLock(request)))),
        (
            "mutate acquire lock reply",
            reply(.mutate, 23, 14) { TicketResult(ticket: LogIndex(14), fence: 0).encode(into: &$0) }
        ),
        ("mutate state set", mutation(24, 8, .coordination(.stateSet(store)))),
        ("mutate state set reply", reply(.mutate, 24, 15) { $0.write(true) }),
        ("query leader", query(25, .leader(group: group))),
        (
            "query leader reply",
            reply(.query, 25, 15) { writer in
                writer.write(true)
                Candidate(ticket: LogIndex(11), session: session, fence: 11, data: address).encodeItem(into: &writer)
            }
        ),
        ("query validate", query(26, .validate(Guard(kind: .lock, name: Array("l".utf8), fence: 14)))),
        (
            "query validate reply",
            reply(.query, 26, 15) { GuardResult(holds: false, currentFence: 13).encode(into: &$0) }
        ),
        ("query lock", query(27, .lock(name: Array("l".utf8), after: .zero, limit: 10))),
        ("query lock reply", reply(.query, 27, 15) { ListPart(hasMore: false, items: [place]).encode(into: &$0) }),
        ("query sessions", query(28, .sessions(after: .housekeeping, limit: 10))),
        (
            "query sessions reply",
            reply(.query, 28, 15) { ListPart(hasMore: false, items: [opened]).encode(into: &$0) }
        ),
        (
            "watch changes, elections",
            watched(
                29, 16,
                [
                    Change(key: ticket(group, 9), value: nil),
                    Change(key: ticket(group, 11), value: bytes { leads.encodeRow(into: &$0) }),
                ])
        ),
        (
            "watch changes, locks",
            watched(
                30, 17, [Change(key: ticket(Array("l".utf8), 14), value: bytes { holds.encodeRow(into: &$0) })])
        ),
        (
            "watch changes, state",
            watched(
                31, 18,
                [
                    Change(key: store.name, value: bytes { store.entry.encodeRow(into: &$0) }),
                    Change(key: Array("t".utf8), value: nil),
                ])
        ),
        (
            "query get reply, owned",
            reply(.query, 32, 19) { writer in
                writer.write(RowResult(revision: LogIndex(16), value: Array("v".utf8)))
                writer.writeRowOwner(session)
            }
        ),
    ]
}
