import Basics
import Foundation
import MetadataModel
import Testing
import Wire

/// The hex examples of docs/PROTOCOL.md are the golden bytes of the protocol: whoever changes a format changes the
/// document, on purpose.
@Suite struct ProtocolDocumentTests {
    /// Blocks that begin with three backquotes, "hex" and a name; what follows a "#" on a line is for people.
    private func examples() throws -> [String: [UInt8]] {
        var root = URL(fileURLWithPath: #filePath)
        for _ in 0..<3 { root.deleteLastPathComponent() }
        let text = try String(contentsOf: root.appendingPathComponent("docs/PROTOCOL.md"), encoding: .utf8)
        var examples: [String: [UInt8]] = [:]
        var name: String?
        var digits = ""
        for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
            if line.hasPrefix("```hex ") {
                name = String(line.dropFirst(7))
                digits = ""
            } else if line.hasPrefix("```"), let finished = name {
                let pairs = stride(from: 0, to: digits.count - 1, by: 2).map { offset in
                    let start = digits.index(digits.startIndex, offsetBy: offset)
                    return UInt8(digits[start..<digits.index(start, offsetBy: 2)], radix: 16)
                }
                examples[finished] = try pairs.map { try #require($0) }
                name = nil
            } else if name != nil {
                digits += line.split(separator: "#", omittingEmptySubsequences: false)[0].filter { !$0.isWhitespace }
            }
        }
        return examples
    }

    @Test("every example of the document is what this release writes, and every client frame has an example")
    func examplesAreGolden() throws {
        let examples = try examples()
        let catalogue = Catalogue.client + Catalogue.coordination + Catalogue.history
        for (name, bytes) in catalogue {
            #expect(examples[name].map(hex) == hex(bytes), "example \(name)")
        }
        #expect(examples.count == catalogue.count)
    }

    @Test("every example decodes")
    func examplesDecode() throws {
        for (name, bytes) in try examples() {
            let frame = try #require(try scanFrame(bytes.rawSpan, sizeMax: 4_096), "\(name)")
            let (header, body) = (frame.header, frame.body)
            let kind = try #require(ClientFrameKind(rawValue: header.kind))
            if header.isReply {
                var reader = ByteReader(body.rawSpan)
                _ = try ReplyHead(decoding: &reader)
                if kind == .watch {
                    _ = try WatchEvent(decoding: body.rawSpan)
                } else if kind != .mutate, kind != .query {
                    _ = try ControlReply.decode(kind: header.kind, body: body.rawSpan)
                }
            } else if kind == .goingAway {
                _ = try GoingAway(decoding: body.rawSpan)
            } else {
                switch try ClientRequest.decode(header, body: body.rawSpan) {
                case .mutate(let command, _): _ = try Command.validate(command)
                case .query(_, let query): _ = try Query(decoding: query)
                case .unknown: Issue.record("\(name) is of no known kind")
                case .hello, .keepAlive, .status, .initialize, .ping, .snapshot, .snapshotPiece, .changeMembers,
                    .clearAlarm, .scrub, .watch, .watchCredit, .watchCancel:
                    break
                }
            }
        }
    }

    @Test("the document's tables name every kind and every error code with its number")
    func tablesAreComplete() throws {
        var root = URL(fileURLWithPath: #filePath)
        for _ in 0..<3 { root.deleteLastPathComponent() }
        let text = try String(contentsOf: root.appendingPathComponent("docs/PROTOCOL.md"), encoding: .utf8)
        for kind in ClientFrameKind.allCases { #expect(text.contains("| \(kind.rawValue) | `\(kind)` |")) }
        for kind in PeerFrameKind.allCases { #expect(text.contains("| \(kind.rawValue) | `\(kind)` |")) }
        for code in ErrorCode.allCases {
            #expect(
                text.contains("| \(code.rawValue) | `\(code.name)` | \(code.isRetryable ? "yes" : "no") |"), "\(code)")
        }
    }
}
