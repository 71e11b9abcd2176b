import Basics
import MetadataModel
import RaftCore
import Testing
import Wire

/// Streams as they go over a connection, one bit of which is not what was sent: what comes before the frame that it
/// hits is read as it was, and nothing of that frame or after it, until the connection ends.
@Suite struct FlippedStreamTests {
    /// A connection has its own limit; above it a length is refused at once.
    private static let frameSizeMax = 1 << 16

    enum Outcome: Hashable {
        /// The reader closes the connection.
        case refused
        /// A length that was made longer: the frames that follow count as its body, until its checksum refuses them.
        case waits
    }

    /// Everything that clients and nodes say to each other, twice.
    static let clientStream = stream(Catalogue.client.map(\.bytes) + Catalogue.client.map(\.bytes))
    /// The same for two nodes.
    static let peerStream = stream(Catalogue.peer.map { Catalogue.encoded($0.message, payload: $0.payload) })
    /// A snapshot on its way: manifest and chunks, whose bytes have checksums of their own besides.
    static let snapshotStream: [[UInt8]] = {
        var random = SplitMix64(seed: 9)
        let piece = (0..<300).map { _ in UInt8(truncatingIfNeeded: random.next()) }
        let last = EntryID(term: Term(4), index: LogIndex(100))
        return [Catalogue.encoded(.snapshotManifestReply(last: last, offset: 600, size: 900), payload: piece)]
            + (0..<4).map { Catalogue.encoded(.snapshotChunkReply(number: $0), payload: piece) }
    }()

    private static func stream(_ frames: [[UInt8]]) -> [[UInt8]] { frames.filter { !$0.isEmpty } }

    /// Reads as `FrameConnection` does, and decodes each frame as its owner would.
    private func read(_ bytes: [UInt8]) -> (frames: [OwnedFrame], outcome: Outcome) {
        var frames: [OwnedFrame] = []
        var offset = 0
        while true {
            do throws(DecodeError) {
                let rest = bytes.rawSpan.extracting(offset..<bytes.count)
                guard let frame = try scanFrame(rest, sizeMax: Self.frameSizeMax) else { return (frames, .waits) }
                _ = try? ClientRequest.decode(frame.header, body: frame.body.rawSpan)
                _ = try? ControlReply.decode(kind: frame.header.kind, body: frame.body.rawSpan)
                _ = try? PeerMessage.decode(frame.header, body: frame.body.rawSpan)
                frames.append(frame)
                offset += frame.totalSize
            } catch {
                return (frames, .refused)
            }
        }
    }

    private func check(_ title: String, _ sent: [[UInt8]]) {
        #expect(read(sent.flatMap { $0 }).frames.count == sent.count)
        var counts: [Outcome: Int] = [:]
        for (number, frame) in sent.enumerated() {
            // With the two frames before it, which are right, and all that follow.
            let before = Array(sent[max(0, number - 2)..<number])
            var bytes = before.flatMap { $0 } + sent[number...].flatMap { $0 }
            let place = before.reduce(0) { $0 + $1.count }
            for offset in frame.indices {
                for bit in 0..<8 {
                    bytes[place + offset] ^= 1 << bit
                    let (frames, outcome) = read(bytes)
                    bytes[place + offset] ^= 1 << bit
                    counts[outcome, default: 0] += 1
                    // Only a length can make the reader wait; what else is wrong is refused as soon as it is there.
                    guard frames.count == before.count, outcome == .refused || offset < 4 else {
                        Issue.record("\(title): frame \(number), byte \(offset), bit \(bit): \(outcome)")
                        continue
                    }
                }
            }
        }
        #expect(counts[.refused, default: 0] > counts[.waits, default: 0] * 10, "\(title): \(counts)")
    }

    @Test("each bit of what clients and nodes say to each other")
    func client() { check("client", Self.clientStream) }

    @Test("each bit of what nodes say to each other")
    func peer() { check("peer", Self.peerStream) }

    @Test("each bit of a snapshot on its way to a follower")
    func snapshot() { check("snapshot", Self.snapshotStream) }

    @Test("a length made longer swallows what follows, and is refused when as much has come")
    func longerLength() throws {
        let frame = try #require(Self.peerStream.first)
        for bit in 0..<12 {
            var bytes = frame
            bytes[bit / 8] ^= 1 << (bit % 8)
            guard bytes[bit / 8] > frame[bit / 8] else { continue }
            for _ in 0..<1_000 where read(bytes).outcome == .waits { bytes += frame }
            let (frames, outcome) = read(bytes)
            #expect(frames.isEmpty && outcome == .refused, "bit \(bit) of the length")
        }
    }
}
