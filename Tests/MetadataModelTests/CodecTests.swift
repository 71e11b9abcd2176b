import Basics
import MetadataModel
import Testing

@Suite("Codecs")
struct CodecTests {
    private func decode<T>(_ bytes: [UInt8], _ body: (inout ByteReader) throws -> T) throws -> T {
        var reader = ByteReader(bytes.rawSpan)
        let value = try body(&reader)
        let isAtEnd = reader.isAtEnd
        #expect(isAtEnd)
        return value
    }

    // MARK: Round trips

    @Test("a header comes back as it was", arguments: [false, true])
    func header(opens: Bool) throws {
        let header = CommandHeader(
            kind: .delete, session: Samples.session, sequence: 1, acknowledgedThrough: 0,
            opening: opens ? Samples.opening : nil, isOneShot: opens)
        let bytes = Samples.bytes { header.encode(into: &$0) }
        #expect(try decode(bytes) { try CommandHeader(decoding: &$0) } == header)
    }

    @Test("housekeeping comes back as it was")
    func housekeeping() throws {
        for sample in Samples.housekeeping {
            let decoded = try decode(sample.command.encoded()) { reader in
                let header = try CommandHeader(decoding: &reader)
                #expect(header == .housekeeping(sample.command.kind))
                return try Housekeeping(kind: header.kind, decoding: &reader)
            }
            #expect(decoded == sample.command, "\(sample.name)")
        }
    }

    @Test("a client's kind is no housekeeping")
    func noHousekeeping() throws {
        for kind in CommandKind.allCases where !kind.isHousekeeping {
            #expect(try decode([]) { try Housekeeping(kind: kind, decoding: &$0) } == nil)
        }
    }

    @Test("a transaction comes back as it was")
    func transaction() throws {
        let bytes = Samples.bytes { Samples.transaction.encode(into: &$0) }
        #expect(try decode(bytes) { try Transaction(decoding: &$0) } == Samples.transaction)
    }

    @Test("the bodies that are read in place have the fields that were written")
    func bodies() throws {
        let header = Samples.command(.endSession).count
        for expected in [nil, LogIndex(7)] {
            let put = Samples.command(.put(key: Samples.key, value: Samples.value, expectedRevision: expected))
            var reader = ByteReader(put.rawSpan.extracting(header..<put.count))
            let body = try PutBody(decoding: &reader)
            #expect([UInt8](body.key) == Samples.key)
            #expect([UInt8](body.value) == Samples.value)
            #expect(body.expectedRevision == expected)
            let delete = Samples.command(.delete(key: Samples.key, expectedRevision: expected))
            var deleteReader = ByteReader(delete.rawSpan.extracting(header..<delete.count))
            let deleteBody = try DeleteBody(decoding: &deleteReader)
            #expect([UInt8](deleteBody.key) == Samples.key)
            #expect(deleteBody.expectedRevision == expected)
        }
        let create = Samples.command(.createSequential(prefix: Samples.key, value: Samples.value))
        var createReader = ByteReader(create.rawSpan.extracting(header..<create.count))
        let createBody = try CreateSequentialBody(decoding: &createReader)
        #expect([UInt8](createBody.prefix) == Samples.key)
        #expect([UInt8](createBody.value) == Samples.value)
        let span = KeySpan.range(from: Samples.key, to: nil)
        let range = Samples.command(.deleteRange(span, limit: 3))
        var rangeReader = ByteReader(range.rawSpan.extracting(header..<range.count))
        let rangeBody = try DeleteRangeBody(decoding: &rangeReader)
        #expect(rangeBody.span == span)
        #expect(rangeBody.limit == 3)
    }

    @Test("queries come back as they were")
    func queries() throws {
        for sample in Samples.queries {
            let bytes = sample.query.encoded()
            #expect(try Query(decoding: bytes.rawSpan) == sample.query, "\(sample.name)")
        }
    }

    @Test("a membership comes back as it was, sorted by id")
    func membership() throws {
        let bytes = Samples.membership.encoded()
        let decoded = try Membership(decoding: bytes.rawSpan)
        #expect(decoded == Samples.membership)
        #expect(decoded.members.map(\.id) == [NodeID(1), NodeID(2), NodeID(3)])
        #expect(decoded.incoming == [NodeID(1), NodeID(2)])
        #expect(decoded.member(NodeID(2))?.name == "n2")
        #expect(decoded.member(named: "n3")?.id == NodeID(3))
        let empty = Membership.empty.encoded()
        #expect(try Membership(decoding: empty.rawSpan) == .empty)
    }

    @Test("a founding record comes back as it was")
    func founding() throws {
        let bytes = Samples.founding.encoded()
        #expect(try FoundingRecord(decoding: bytes.rawSpan) == Samples.founding)
        var joined = Samples.founding
        joined.membershipIndex = LogIndex(77)
        let later = joined.encoded()
        #expect(try FoundingRecord(decoding: later.rawSpan) == joined)
        #expect(bytes[0] == 1 && later[0] == 2)
    }

    @Test("an error comes back with every field, or with none")
    func errors() throws {
        let bytes = Samples.bytes { Samples.error.encode(revision: LogIndex(8), into: &$0) }
        #expect(try decode(bytes) { try ReplyHead(decoding: &$0) } == .failure(Samples.error, revision: LogIndex(8)))
        for code in ErrorCode.allCases {
            let error = ReplyError(code)
            let bytes = Samples.bytes { error.encode(revision: .zero, into: &$0) }
            #expect(try decode(bytes) { try ReplyHead(decoding: &$0) } == .failure(error, revision: .zero))
            #expect(!error.message.isEmpty)
        }
    }

    @Test("an error's fields that a later release adds are skipped")
    func unknownFields() throws {
        var bytes = Samples.bytes { ReplyError(.conflict, "no", limit: 9).encode(revision: .zero, into: &$0) }
        let countOffset = Reply.headSize + 2 + 2
        #expect(bytes[countOffset] == 1)
        bytes[countOffset] = 2
        bytes += [200, 3, 0, 1, 2, 3]
        #expect(
            try decode(bytes) { try ReplyHead(decoding: &$0) }
                == .failure(ReplyError(.conflict, "no", limit: 9), revision: .zero))
    }

    @Test("a long text of an error is cut to what a reader admits, between characters")
    func longText() throws {
        let text = String(repeating: "ü", count: 600)
        let bytes = Samples.bytes { ReplyError(.conflict, text).encode(revision: .zero, into: &$0) }
        guard case .failure(let error, _) = try decode(bytes, { try ReplyHead(decoding: &$0) }) else {
            Issue.record("not an error")
            return
        }
        #expect(error.message == String(repeating: "ü", count: ReplyError.textSizeMax / 2))
    }

    @Test("results come back as they were")
    func results() throws {
        let range = DeleteRangeResult(rowCount: 4, hasMore: true)
        let rangeBytes = Samples.bytes { range.encode(into: &$0) }
        #expect(try decode(rangeBytes) { try DeleteRangeResult(decoding: &$0) } == range)
        let transactionBytes = Samples.bytes { Samples.result.encode(into: &$0) }
        #expect(try decode(transactionBytes) { try TransactionResult(decoding: &$0) } == Samples.result)
        for row in [nil, RowResult(revision: LogIndex(7), value: Samples.value)] {
            let bytes = Samples.bytes { $0.write(row) }
            #expect(try decode(bytes) { try $0.readRowResult() } == row)
        }
    }

    @Test("a page comes back as it was: with values, keys only, counted only")
    func pages() throws {
        let whole = Samples.bytes { Samples.listing.encode(into: &$0) }
        #expect(try decode(whole) { try Page(decoding: &$0, for: PageRequest()) } == Samples.listing)
        var keysOnly = Samples.listing
        keysOnly.rows[0].value = nil
        let keyBytes = Samples.bytes { keysOnly.encode(into: &$0) }
        #expect(try decode(keyBytes) { try Page(decoding: &$0, for: PageRequest(isKeysOnly: true)) } == keysOnly)
        var owned = Samples.listing
        owned.rows = (0..<3).map { .init(key: [$0], revision: LogIndex(5), value: [$0]) }
        owned.rows[2].owner = SessionID(3, 4)
        owned.count = 3
        let ownedBytes = Samples.bytes { owned.encode(into: &$0) }
        #expect(try decode(ownedBytes) { try Page(decoding: &$0, for: PageRequest()) } == owned)
        // What names the owner comes last; who does not know of it reads the rows all the same.
        owned.rows[2].owner = nil
        let plainBytes = Samples.bytes { owned.encode(into: &$0) }
        #expect(ownedBytes.count == plainBytes.count + 24)
        #expect(ownedBytes.starts(with: plainBytes))
        let elsewhere = plainBytes + [1, 0, 0, 0, 3, 0, 0, 0] + [UInt8](repeating: 1, count: 16)
        #expect(throws: DecodeError.self) { try decode(elsewhere) { try Page(decoding: &$0, for: PageRequest()) } }
        var counted = Samples.listing
        counted.rows = []
        let countBytes = Samples.bytes { counted.encode(into: &$0) }
        #expect(try decode(countBytes) { try Page(decoding: &$0, for: PageRequest(isCountOnly: true)) } == counted)
    }

    // MARK: Names and numbers

    @Test("a session's name has all 32 digits, and ids order by their parts")
    func sessionNames() {
        #expect(SessionID(0xAB, 1).description == "00000000000000ab0000000000000001")
        #expect(SessionID(1, 9) < SessionID(2, 0))
        #expect(SessionID(1, 1) < SessionID(1, 2))
    }

    @Test("sequential keys sort in the order of their revisions")
    func sequentialKeys() {
        let revisions = [UInt64(0), 1, 9, 10, 99, 1_000_000, .max].map(LogIndex.init)
        let prefix = Samples.key
        let keys = revisions.map { Key.sequential(prefix: prefix.rawSpan, revision: $0) }
        #expect(keys.allSatisfy { $0.count == Samples.key.count + Key.sequentialDigits })
        for (left, right) in zip(keys, keys.dropFirst()) { #expect(left.lexicographicallyPrecedes(right)) }
    }

    @Test("what may succeed when it is sent again is marked so; a final answer is not")
    func retryable() {
        let retryable = Set(ErrorCode.allCases.filter(\.isRetryable))
        #expect(
            retryable == [
                .notLeader, .unavailable, .overloaded, .unknown, .timeout, .shuttingDown, .notReady, .diskFull,
                .quarantined, .foundingRefused, .changeUnderWay, .notCaughtUp, .quorumAtRisk, .memberUnreachable,
                .lagged, .alarmHolds, .sequenceGap, .sessionLimit,
            ])
    }

    @Test("numbers of errors and commands are forever")
    func numbers() {
        let errors = ErrorCode.allCases.map { "\($0.rawValue) \($0.name)" }
        #expect(
            errors == [
                "1 invalidRequest", "2 tooLarge", "3 unimplemented", "4 unauthorized", "5 featureLevel",
                "10 notLeader", "11 unavailable", "12 overloaded", "13 unknown", "14 timeout", "15 shuttingDown",
                "16 notReady", "17 diskFull", "18 quarantined", "19 clusterMismatch", "20 generationChanged",
                "21 alreadyInitialized", "22 foundingRefused", "23 noSuchMember", "24 memberExists",
                "25 changeUnderWay", "26 notCaughtUp", "27 quorumAtRisk", "28 memberUnreachable",
                "30 conflict", "31 compacted", "32 viewReleased", "33 fenced", "34 notLeading", "35 lockHeld", "36 lagged",
                "37 historyOff", "38 lineFull", "39 rejected",
                "40 sequenceGap", "41 sequenceTooOld", "42 resultNotKept", "43 sessionExpired", "44 sessionLimit",
                "50 alarmHolds", "51 noSuchAlarm",
            ])
        let commands = CommandKind.allCases.map { "\($0.rawValue) \($0)" }
        #expect(
            commands == [
                "1 put", "2 delete", "3 deleteRange", "4 createSequential", "5 transaction", "6 endSession",
                "7 createOwnedSequential", "16 campaign", "17 withdraw", "18 setCandidateData", "19 acquireLock",
                "20 releaseLock", "21 stateSet", "22 stateExpunge", "23 setHistory", "24 registry",
                "128 expireSessions", "129 tick", "130 digestVerdict", "131 deleteFloor", "132 memberInfo",
                "133 featureLevel",
            ])
    }
}
