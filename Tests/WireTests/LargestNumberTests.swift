import Basics
import MetadataModel
import RaftCore
import Testing
import Wire

/// Numbers after which there is no next one, and text longer than anybody writes. Whoever adds one to an index or a term
/// would trap (`Fuzz/RowFuzz` showed it of a row); so they end where they are read.
@Suite("Largest numbers")
struct LargestNumberTests {
    private static let largest = LogIndex(.max)

    private func isRead(_ message: PeerMessage) -> Bool {
        let bytes = Catalogue.encoded(message)
        guard let frame = try? FrameHeader.scan(bytes.rawSpan, sizeMax: 1 << 16) else { return false }
        return (try? PeerMessage.decode(frame.header, body: frame.body)) != nil
    }

    @Test("a message of the last term or the last index there could be is refused")
    func peers() {
        let last = EntryID(term: Term(4), index: LogIndex(100))
        #expect(isRead(.raft(.preVote(VoteRequest(term: Term(5), lastEntry: last)))))
        #expect(!isRead(.raft(.preVote(VoteRequest(term: Term(.max), lastEntry: last)))))
        #expect(!isRead(.raft(.heartbeat(Heartbeat(term: Term(5), commitIndex: Self.largest, readRound: 1)))))
        let question = RepairQuestion(wanted: LogIndex(1)...Self.largest, anchor: last, last: last)
        #expect(!isRead(.logEntries(question)))
        #expect(!isRead(.digestReport(index: Self.largest, digest: 0)))
    }

    @Test("a reply at the last revision there could be is refused: a client goes on from the next")
    func replies() {
        let bytes = Catalogue.bytes { Reply.writeSuccess(revision: Self.largest, into: &$0) }
        #expect(throws: DecodeError.self) {
            var reader = ByteReader(bytes.rawSpan)
            _ = try ReplyHead(decoding: &reader)
        }
    }

    @Test("a watch from the last revision there could be is refused")
    func watches() throws {
        let bytes = Catalogue.bytes { WatchRequest(span: .prefix([]), from: Self.largest).encode(requestID: 1, into: &$0) }
        let frame = try #require(try scanFrame(bytes.rawSpan, sizeMax: 1 << 16))
        #expect(throws: DecodeError.self) { _ = try ClientRequest.decode(frame.header, body: frame.body.rawSpan) }
    }

    @Test("the name of a leader in a refusal is as long as a node writes one, or the refusal is none")
    func leaderName() {
        func isRead(_ size: Int) -> Bool {
            let bytes = Catalogue.bytes { writer in
                ReplyError(.notLeader).encode(revision: .zero, into: &writer)
                // One field more than the error has: the leader's name.
                writer.overwrite(at: writer.count - 1, with: UInt8(1))
                writer.write(UInt8(5))
                writer.writeBytes16([UInt8](repeating: UInt8(ascii: "n"), count: size))
            }
            var reader = ByteReader(bytes.rawSpan)
            guard case .failure(let error, _)? = try? ReplyHead(decoding: &reader) else { return false }
            return error.leaderName?.utf8.count == size
        }
        #expect(isRead(ReplyError.textSizeMax))
        #expect(!isRead(ReplyError.textSizeMax + 1))
    }
}
