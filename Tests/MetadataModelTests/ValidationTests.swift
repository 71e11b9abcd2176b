import Basics
import MetadataModel
import Testing

/// What a node refuses before it logs a command: the log holds only what every member can apply.
@Suite("Validation of commands")
struct ValidationTests {
    private func refusal(_ bytes: [UInt8], valueSizeMax: Int = Limits.valueSizeMaxDefault) -> ReplyError? {
        do throws(ReplyError) {
            try Command.validate(bytes.rawSpan, valueSizeMax: valueSizeMax)
            return nil
        } catch {
            return error
        }
    }

    private func refusal(_ mutation: Mutation, valueSizeMax: Int = Limits.valueSizeMaxDefault) -> ReplyError? {
        refusal(Samples.command(mutation), valueSizeMax: valueSizeMax)
    }

    private func header(
        _ kind: CommandKind = .endSession, session: SessionID = Samples.session, sequence: UInt64 = 1,
        acknowledged: UInt64 = 0, timeout: Interval? = nil, oneShot: Bool = false
    ) -> [UInt8] {
        Samples.bytes { writer in
            CommandHeader(
                kind: kind, session: session, sequence: sequence, acknowledgedThrough: acknowledged,
                opening: timeout.map { SessionOpening(openedAt: .zero, timeout: $0) }, isOneShot: oneShot
            ).encode(into: &writer)
        }
    }

    @Test("well-formed commands pass, and the header is answered")
    func wellFormed() throws {
        for sample in Samples.mutations {
            let bytes = Samples.command(sample.mutation)
            let header = try Command.validate(bytes.rawSpan).header
            #expect(header.kind == sample.mutation.kind)
            #expect(header.session == Samples.session)
            #expect(header.sequence == 5)
            #expect(header.acknowledgedThrough == 4)
        }
    }

    @Test("bytes after the body are ignored: a later release may add fields")
    func trailingBytes() {
        for sample in Samples.mutations { #expect(refusal(Samples.command(sample.mutation) + [1, 2, 3]) == nil) }
    }

    // MARK: Header

    @Test("a command of an unknown kind is unimplemented")
    func unknownKind() {
        var bytes = header()
        bytes[0] = 99
        #expect(refusal(bytes)?.code == .unimplemented)
    }

    @Test("unknown flags are refused")
    func unknownFlags() {
        for bit in 2..<8 {
            var bytes = header()
            bytes[1] |= 1 << UInt8(bit)
            #expect(refusal(bytes)?.code == .invalidRequest)
        }
    }

    @Test("a client may not send housekeeping")
    func housekeeping() {
        for sample in Samples.housekeeping { #expect(refusal(sample.command.encoded())?.code == .invalidRequest) }
        for kind in CommandKind.allCases where kind.isHousekeeping {
            #expect(refusal(header(kind))?.code == .invalidRequest, "\(kind) under a session")
        }
    }

    @Test("session zero is the leader's own")
    func sessionZero() {
        #expect(refusal(header(session: .housekeeping))?.code == .invalidRequest)
    }

    @Test("a sequence begins at 1, lies above what it acknowledges, and leaves room for the next")
    func sequences() {
        #expect(refusal(header(sequence: 0))?.code == .invalidRequest)
        #expect(refusal(header(sequence: 5, acknowledged: 5))?.code == .invalidRequest)
        #expect(refusal(header(sequence: .max))?.code == .invalidRequest)
        #expect(refusal(header(sequence: 5, acknowledged: 4)) == nil)
    }

    @Test("a session's timeout is 1 s to 24 h")
    func timeouts() {
        #expect(refusal(header(timeout: .milliseconds(999)))?.code == .invalidRequest)
        #expect(refusal(header(timeout: .seconds(1))) == nil)
        #expect(refusal(header(timeout: .seconds(24 * 3_600))) == nil)
        #expect(refusal(header(timeout: .seconds(24 * 3_600) + .milliseconds(1)))?.code == .invalidRequest)
    }

    @Test("a one-shot command opens its session, is its first, and does not end what ends anyway")
    func oneShot() {
        let put = Samples.command(.put(key: Samples.key, value: []), oneShot: true)
        #expect(refusal(put) == nil)
        #expect(refusal(header(timeout: .seconds(1), oneShot: true))?.code == .invalidRequest)
        let body = Samples.bytes { Mutation.put(key: Samples.key, value: []).encodeBody(into: &$0) }
        #expect(refusal(header(.put, oneShot: true) + body)?.code == .invalidRequest)
        #expect(
            refusal(header(.put, sequence: 2, timeout: .seconds(1), oneShot: true) + body)?.code == .invalidRequest)
    }

    // MARK: Keys

    @Test("a key has 1 to 4,096 bytes, wherever it stands")
    func keySizes() {
        let largest = [UInt8](repeating: 1, count: Limits.keySizeMax)
        let makers: [([UInt8]) -> Mutation] = [
            { .put(key: $0, value: []) }, { .delete(key: $0) },
            { .transaction(Transaction(then: [.put(key: $0, value: [])])) },
            { .transaction(Transaction(then: [], otherwise: [.delete(key: $0)])) },
            { .transaction(Transaction(then: [.get(key: $0)])) },
            { .transaction(Transaction(comparisons: [.exists(key: $0, true)], then: [])) },
            { .transaction(Transaction(comparisons: [.revision(key: $0, equals: .zero)], then: [])) },
            { .transaction(Transaction(comparisons: [.value(key: $0, equals: [])], then: [])) },
        ]
        for make in makers {
            #expect(refusal(make(largest)) == nil)
            #expect(refusal(make(largest + [1]))?.code == .tooLarge)
            #expect(refusal(make([]))?.code == .invalidRequest)
        }
    }

    @Test("a prefix may be empty")
    func emptyPrefix() {
        #expect(refusal(.deleteRange(.prefix([]))) == nil)
        #expect(refusal(.createSequential(prefix: [], value: [])) == nil)
        let transaction = Transaction(comparisons: [.unchanged(prefix: [], since: .zero)], then: [.deletePrefix([])])
        #expect(refusal(.transaction(transaction)) == nil)
    }

    @Test("a key has at most 64 slashes")
    func depth() {
        let deepest = [UInt8](repeating: UInt8(ascii: "/"), count: Limits.pathDepthMax)
        #expect(refusal(.put(key: deepest, value: [])) == nil)
        let refused = refusal(.put(key: deepest + deepest, value: []))
        #expect(refused?.code == .tooLarge)
        #expect(refused?.limit == UInt64(Limits.pathDepthMax))
    }

    @Test("the prefix of a sequential create leaves room for the number")
    func sequentialPrefix() {
        let largest = [UInt8](repeating: 1, count: Limits.keySizeMax - 20)
        #expect(refusal(.createSequential(prefix: largest, value: [])) == nil)
        #expect(refusal(.createSequential(prefix: largest + [1], value: []))?.code == .tooLarge)
    }

    // MARK: Values and counts

    @Test("a value is at most as large as configured; of a transaction, all values together")
    func valueSizes() {
        let value = [UInt8](repeating: 0, count: 100)
        for mutation in [
            Mutation.put(key: Samples.key, value: value), .createSequential(prefix: Samples.key, value: value),
            .transaction(
                Transaction(
                    comparisons: [.value(key: Samples.key, equals: Array(value.prefix(30)))],
                    then: [.put(key: Samples.key, value: Array(value.prefix(30)))],
                    otherwise: [.put(key: Samples.key, value: Array(value.prefix(40)))])),
        ] {
            #expect(refusal(mutation, valueSizeMax: 100) == nil)
            let refused = refusal(mutation, valueSizeMax: 99)
            #expect(refused?.code == .tooLarge)
            #expect(refused?.limit == 99)
        }
    }

    @Test("a range delete's limit is bounded")
    func rangeLimit() {
        let most = UInt32(Limits.rangeDeleteRowsMax)
        #expect(refusal(.deleteRange(.prefix([]), limit: most)) == nil)
        #expect(refusal(.deleteRange(.prefix([]), limit: most + 1))?.code == .tooLarge)
    }

    @Test("a transaction has at most 4,096 comparisons and operations together")
    func transactionCount() {
        func transaction(_ count: Int) -> Mutation {
            .transaction(
                Transaction(
                    comparisons: Array(repeating: .exists(key: [1], true), count: 96),
                    then: Array(repeating: .get(key: [1]), count: count - 196),
                    otherwise: Array(repeating: .get(key: [1]), count: 100)))
        }
        #expect(refusal(transaction(Limits.transactionOperationsMax)) == nil)
        #expect(refusal(transaction(Limits.transactionOperationsMax + 1))?.code == .tooLarge)
    }

    @Test("no key is put or deleted by name twice in one branch; in both branches, or read, it may be")
    func oneOutcome() {
        let put = Transaction.Operation.put(key: Samples.key, value: [])
        let delete = Transaction.Operation.delete(key: Samples.key)
        for branch in [[put, put], [put, delete], [delete, delete]] {
            #expect(refusal(.transaction(Transaction(then: branch)))?.code == .invalidRequest)
            #expect(refusal(.transaction(Transaction(then: [], otherwise: branch)))?.code == .invalidRequest)
        }
        let fine = Transaction(
            then: [put, .get(key: Samples.key), .get(key: Samples.key), .deletePrefix(Samples.key)],
            otherwise: [delete])
        #expect(refusal(.transaction(fine)) == nil)
    }
}
