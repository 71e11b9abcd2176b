internal import Basics
internal import FuzzSupport
internal import MetadataModel
internal import Wire

/// What a node sends, as a client reads it, which may have met anybody: the body of each kind of frame.
let replies =
    ClientFrameKind.allCases.map { kind in
        Decoder("reply \(kind)", seeds: { bodies(kind.rawValue, isReply: true) + [refusal] }) { bytes in
            guard let flags = bytes.first else { return false }
            let header = FrameHeader(kind: kind.rawValue, flags: FrameFlags(rawValue: flags), requestID: 5)
            return isReply(header, bytes.rawSpan.extracting(1..<bytes.count))
        }
    } + [
        Decoder("going away", seeds: { bodies(ClientFrameKind.goingAway.rawValue, isReply: false).map { Array($0[1...]) } }) {
            guard let goingAway = try? GoingAway(decoding: $0.rawSpan) else { return false }
            let again = withFrame { goingAway.encode(into: &$0) } _: { try? GoingAway(decoding: $1) }
            check(again == goingAway, "\(goingAway)")
            return true
        }
    ]

/// A reply of any kind, behind its flags.
private let refusal = [1] + written { ReplyError(.unimplemented, "no").encode(revision: .zero, into: &$0) }

/// The answers to mutations and queries, behind code and revision: they do not say what they are.
let results = [
    result("delete range") { try DeleteRangeResult(decoding: &$0) } write: { $0.encode(into: &$1) },
    result("transaction") { try TransactionResult(decoding: &$0) } write: { $0.encode(into: &$1) },
    result("get") { try $0.readRowResult() } write: { $1.write($0) },
    result("row owner") { try $0.readRowOwner() } write: { $1.writeRowOwner($0) },
    result("created key") { try $0.readCreatedKey() } write: { $1.writeBytes16($0) },
    result("campaign") { try TicketResult(decoding: &$0) } write: { $0.encode(into: &$1) },
    result("validate") { try GuardResult(decoding: &$0) } write: { $0.encode(into: &$1) },
    result("set history") { try SetHistoryResult(decoding: &$0) } write: { $0.encode(into: &$1) },
    result("changes") { try DeltaPage(decoding: &$0) } write: { $0.encode(into: &$1) },
    result("moment") { try MomentResult(decoding: &$0) } write: { $0.encode(into: &$1) },
    result("history of") { try HistoryCoverage(decoding: &$0) } write: { $0.encode(into: &$1) },
    result("origin of a change") { try ChangeOrigin(decoding: &$0) } write: { $0.encode(into: &$1) },
    result("change") { try Change(decoding: &$0) } write: { $0.encode(into: &$1) },
    result("state get") { try StateEntry(decodingRow: &$0) } write: { $0.encodeRow(into: &$1) },
    result("candidates") { try ListPart<Candidate>(decoding: &$0) } write: { $0.encode(into: &$1) },
    result("lock") { try ListPart<LockTicket>(decoding: &$0) } write: { $0.encode(into: &$1) },
    result("state names") { try ListPart<StateName>(decoding: &$0) } write: { $0.encode(into: &$1) },
    result("sessions") { try ListPart<SessionInfo>(decoding: &$0) } write: { $0.encode(into: &$1) },
    result("history") { try ListPart<HistoryPrefix>(decoding: &$0) } write: { $0.encode(into: &$1) },
    page("list", PageRequest()), page("list of keys", PageRequest(isKeysOnly: true)),
    page("count", PageRequest(isCountOnly: true)),
]

private func result<T: Equatable & SendableMetatype>(
    _ name: String, read: @escaping @Sendable (inout ByteReader) throws -> T,
    write: @escaping @Sendable (T, inout ByteWriter) -> Void
) -> Decoder {
    Decoder("result \(name)", seeds: { resultSeeds.filter { seed in accepts(seed) { _ = try read(&$0) } } }) { bytes in
        roundTrip(bytes, read: read, write: write)
    }
}

private func page(_ name: String, _ request: PageRequest) -> Decoder {
    result(name) { try Page(decoding: &$0, for: request) } write: { $0.encode(into: &$1) }
}

/// Results of the tests' catalogues.
private let resultSeeds: [[UInt8]] = {
    let samples = Samples.all.filter { $0.name.hasPrefix("result ") || $0.name.contains("change") }.map(\.bytes)
    let replies = [ClientFrameKind.mutate, .query].flatMap { bodies($0.rawValue, isReply: true) }
    let row = Page.Row(key: Samples.key, revision: LogIndex(7), value: nil, owner: Samples.session)
    let page = Page(view: 0, hasMore: false, cursor: [], count: 1, rows: [row])
    return samples + replies.map { Array($0.dropFirst(1 + Reply.headSize)) } + [written { page.encode(into: &$0) }]
}()

func isReply(_ header: FrameHeader, _ body: RawSpan) -> Bool {
    let isControl = isControlReply(header, body)
    let isWatch = isWatchEvent(body)
    var reader = ByteReader(body)
    guard let head = try? ReplyHead(decoding: &reader) else { return isControl || isWatch }
    if case .failure(let error, let revision) = head {
        let again = written { error.encode(revision: revision, into: &$0) }
        var reader = ByteReader(again.rawSpan)
        check((try? ReplyHead(decoding: &reader)) == head, "\(error)")
    }
    return true
}

private func isControlReply(_ header: FrameHeader, _ body: RawSpan) -> Bool {
    guard let reply = try? ControlReply.decode(kind: header.kind, body: body) else { return false }
    let again = withFrame {
        reply.encode(requestID: 5, into: &$0)
    } _: {
        try? ControlReply.decode(kind: $0.kind, body: $1)
    }
    check(again == reply, "\(reply) became \(String(describing: again))")
    return true
}

/// A frame of changes that is read is written again change by change, as a node does it, and read again.
private func isWatchEvent(_ body: RawSpan) -> Bool {
    guard let event = try? WatchEvent(decoding: body) else { return false }
    guard case .changes(let revisions, _, _) = event else { return true }
    for change in revisions.flatMap(\.changes) {
        let bytes = written { change.encode(into: &$0) }
        var reader = ByteReader(bytes.rawSpan)
        check((try? Change(decoding: &reader)) == change, "\(change)")
    }
    return true
}
