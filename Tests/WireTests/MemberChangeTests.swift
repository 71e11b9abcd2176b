import Basics
import Testing
import Wire

@Suite struct MemberChangeTests {
    private static let changes: [MemberChange] = [
        .add(name: "n4", peerAddress: "a:1", replacing: nil), .add(name: "n4", peerAddress: "a:1", replacing: "n1"),
        .promote(name: "n4"), .remove(name: "n4"), .exchange(old: "n1", new: "n4"),
        .update(name: "n4", peerAddress: "b:2"), .transfer(name: nil), .transfer(name: "n2"),
    ]

    private func decode(_ body: RawSpan) throws(DecodeError) -> MemberChange? {
        let header = FrameHeader(kind: ClientFrameKind.changeMembers.rawValue, requestID: 1)
        if case .changeMembers(let change) = try ClientRequest.decode(header, body: body) { return change }
        return nil
    }

    @Test("each change comes back as it was, and cut at any length it is refused", arguments: changes)
    func roundTrip(_ change: MemberChange) throws {
        var writer = ByteWriter()
        change.encode(requestID: 1, into: &writer)
        let frame = writer.takeBytes()
        let body = Array(frame[16..<frame.count - 4])
        #expect(try decode(body.rawSpan) == change)
        for count in 0..<body.count {
            let part = Array(body.prefix(count))
            #expect(throws: DecodeError.self) { try decode(part.rawSpan) }
        }
    }

    @Test("an unknown change is refused by its number")
    func unknown() {
        let body: [UInt8] = [9]
        #expect(throws: DecodeError.unknown("change of the members", 9)) { try decode(body.rawSpan) }
    }
}
