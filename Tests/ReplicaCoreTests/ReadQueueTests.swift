import Basics
import MetadataModel
@testable import ReplicaCore
import Testing
import Wire

extension Alone {
    struct Answered: Equatable {
        var requestID: UInt64
        var error: ErrorCode?
    }

    mutating func connect() -> ConnectionSlot {
        let slot = replica.clientConnected()
        replica.clients.markHello(slot)
        return slot
    }

    /// Frames come, all in one turn.
    mutating func receive(on slot: ConnectionSlot, _ write: (inout ByteWriter) -> Void) {
        var writer = ByteWriter()
        write(&writer)
        let bytes = writer.takeBytes()
        replica.beginTurn(now: now, wall: clusterTime)
        var offset = 0
        while offset < bytes.count {
            do throws(DecodeError) {
                let rest = bytes.rawSpan.extracting(offset..<bytes.count)
                guard let frame = try FrameHeader.scan(rest, sizeMax: 1 << 24) else { break }
                offset += frame.totalSize
                try replica.receiveClientFrame(frame.header, body: frame.body, from: slot)
            } catch {
                Issue.record("\(error)")
                break
            }
        }
        turn()
    }

    mutating func get(_ requestIDs: ClosedRange<UInt64>, on slot: ConnectionSlot, level: ReadLevel = .stale) {
        let query = Query.get(key: [1]).encoded()
        receive(on: slot) { writer in
            for requestID in requestIDs {
                ClientRequest.encodeQuery(
                    requestID: requestID, header: ReadHeader(level: level), query: query, into: &writer)
            }
        }
    }

    mutating func put(_ requestID: UInt64, size: Int) {
        let time = clusterTime
        receive(on: slot) { writer in
            ClientRequest.encodeMutation(requestID: requestID, mayForward: false, into: &writer) { writer in
                let header = CommandHeader(
                    kind: .put, session: SessionID(1, 1), sequence: requestID,
                    opening: SessionOpening(openedAt: time, timeout: .seconds(10)))
                header.encode(into: &writer)
                Mutation.put(key: [1], value: [UInt8](repeating: 7, count: size)).encodeBody(into: &writer)
            }
        }
    }

    /// The apply thread answers that many queries of the batch that it has had for longest.
    mutating func answerReads(_ count: Int) {
        guard !queries.isEmpty else {
            Issue.record("the apply thread has no reads")
            return
        }
        let batch = queries.removeFirst()
        var answers = AnswerBatch()
        var writer = ByteWriter()
        for item in batch.waiting.prefix(count) {
            let start = writer.count
            Reply.writeSuccess(revision: .zero, into: &writer)
            answers.items.append(
                AnswerBatch.Item(slot: item.slot, requestID: item.requestID, bytes: start..<writer.count))
        }
        answers.bytes = writer.takeBytes()
        replica.beginTurn(now: now, wall: clusterTime)
        replica.answered(answers)
        turn()
    }

    /// What the apply thread has, by request.
    var readsUnderWay: [[UInt64]] { queries.map { $0.waiting.map(\.requestID) } }

    /// Replies since this was asked last, in the order in which they were sent.
    mutating func takeAnswers() -> [Answered] {
        var answered: [Answered] = []
        for (_, bytes) in output {
            var offset = 0
            while offset < bytes.count {
                guard
                    let frame = try? FrameHeader.scan(
                        bytes.rawSpan.extracting(offset..<bytes.count), sizeMax: 1 << 24)
                else { break }
                offset += frame.totalSize
                var reader = ByteReader(frame.body)
                var code: ErrorCode?
                if case .failure(let error, _)? = try? ReplyHead(decoding: &reader) { code = error.code }
                answered.append(Answered(requestID: frame.header.requestID, error: code))
            }
        }
        output = []
        return answered
    }
}

@Suite("Reads and commands that take memory")
struct ReadQueueTests {
    private typealias Answered = Alone.Answered

    @Test("the apply thread has two batches of reads at most; what one go leaves over goes first in the next, in order")
    func rest() {
        var node = Alone()
        node.output = []
        let slot = node.slot
        node.get(1...5, on: slot)
        node.get(6...6, on: slot)
        node.get(7...7, on: slot)
        #expect(node.readsUnderWay == [[1, 2, 3, 4, 5], [6]])
        node.answerReads(2)
        #expect(node.readsUnderWay == [[6]])
        // It goes back as it is.
        node.answerReads(0)
        #expect(node.readsUnderWay == [[3, 4, 5]])
        node.answerReads(1)
        #expect(node.readsUnderWay == [[4, 5]])
        node.answerReads(2)
        #expect(node.readsUnderWay == [[6], [7]])
        node.answerReads(1)
        node.get(8...9, on: slot)
        node.answerReads(1)
        node.answerReads(2)
        #expect(node.readsUnderWay.isEmpty)
        let answers = node.takeAnswers()
        #expect(answers.map(\.requestID) == [1, 2, 3, 4, 5, 6, 7, 8, 9])
        #expect(answers.allSatisfy { $0.error == nil })
        let left = node.replica.reads.size
        #expect(left == 0)
    }

    @Test("linearizable reads of one turn, too, are answered in as many goes as it takes")
    func linearizable() {
        var node = Alone()
        node.output = []
        let slot = node.slot
        node.get(1...4, on: slot, level: .linearizable)
        #expect(node.readsUnderWay == [[1, 2, 3, 4]])
        node.answerReads(3)
        #expect(node.readsUnderWay == [[4]])
        node.answerReads(1)
        #expect(node.takeAnswers().map(\.requestID) == [1, 2, 3, 4])
    }

    @Test("a client that does not read gets no more answers until it does; others get theirs")
    func slowClient() {
        var node = Alone()
        node.output = []
        let slow = node.slot
        let other = node.connect()
        node.replica.clientWritable(slow, false)
        node.get(1...3, on: slow)
        #expect(node.readsUnderWay.isEmpty)
        node.get(11...12, on: other)
        #expect(node.readsUnderWay == [[11, 12]])
        node.answerReads(2)
        node.replica.clientWritable(slow, true)
        node.turn()
        #expect(node.readsUnderWay == [[1, 2, 3]])
        // It stops while they are under way: what one go has left over waits.
        node.replica.clientWritable(slow, false)
        node.answerReads(1)
        #expect(node.readsUnderWay.isEmpty)
        node.get(4...4, on: slow)
        node.replica.clientWritable(slow, true)
        node.turn()
        #expect(node.readsUnderWay == [[2, 3, 4]])
        while !node.queries.isEmpty { node.answerReads(9) }
        #expect(node.takeAnswers().map(\.requestID) == [11, 12, 1, 2, 3, 4])
        let left = node.replica.reads.size
        #expect(left == 0)
    }

    @Test("reads of a client that has gone count until they are done, and are not begun; who has its slot gets none of them")
    func goneClient() {
        var node = Alone(change: { $0.requestsPendingMax = 4 })
        node.output = []
        let gone = node.connect()
        node.get(1...4, on: gone)
        #expect(node.readsUnderWay == [[1, 2, 3, 4]])
        node.replica.clientDisconnected(gone)
        let next = node.connect()
        #expect(next.position == gone.position && next != gone)
        node.get(11...11, on: next)
        #expect(node.takeAnswers() == [Answered(requestID: 11, error: .overloaded)])
        node.answerReads(1)
        #expect(node.readsUnderWay.isEmpty)
        node.get(12...12, on: next)
        #expect(node.readsUnderWay == [[12]])
        node.answerReads(1)
        #expect(node.takeAnswers() == [Answered(requestID: 12, error: nil)])
        let left = (node.replica.reads.count, node.replica.reads.size)
        #expect(left.0 == 0)
        #expect(left.1 == 0)
    }

    @Test("reads that a client has not taken the answers to go with it")
    func goneSlowClient() {
        var node = Alone()
        node.output = []
        let gone = node.connect()
        node.replica.clientWritable(gone, false)
        node.get(1...3, on: gone)
        let held = node.replica.reads.count
        #expect(held == 3)
        node.replica.clientDisconnected(gone)
        let left = (node.replica.reads.count, node.replica.reads.size)
        #expect(left.0 == 0)
        #expect(left.1 == 0)
        let next = node.connect()
        node.get(4...4, on: next)
        #expect(node.readsUnderWay == [[4]])
    }

    @Test("queries beyond a number of bytes are refused, and taken again when there is room")
    func queryBytes() {
        // A query of this test has four.
        var node = Alone(change: { $0.queriesSizeMax = 12 })
        node.output = []
        let slot = node.slot
        node.get(1...5, on: slot)
        let refused = [4, 5].map { Answered(requestID: $0, error: .overloaded) }
        #expect(node.takeAnswers() == refused)
        node.answerReads(3)
        node.get(6...6, on: slot)
        node.answerReads(1)
        #expect(node.takeAnswers().map(\.requestID) == [1, 2, 3, 6])
    }

    @Test("commands beyond a number of bytes are refused while those before them are not on disk")
    func commandBytes() {
        var node = Alone { settings in
            settings.logInMemorySizeMax = 64 * 1_024
            settings.tailSizeMax = 0
        }
        node.output = []
        node.whileDiskIsBusy { node in
            for requestID in 1...4 as ClosedRange<UInt64> { node.put(requestID, size: 20 * 1_024) }
            #expect(node.takeAnswers() == [Answered(requestID: 4, error: .overloaded)])
        }
        #expect(node.takeAnswers().map(\.requestID) == [1, 2, 3])
        node.put(4, size: 20 * 1_024)
        #expect(node.takeAnswers() == [Answered(requestID: 4, error: nil)])
    }
}
