import Basics
import Foundation
import MetadataModel
import RegistryModel
import Testing
import Wire

/// The hex examples of docs/PROTOCOL.md are the golden bytes of the protocol: whoever changes a format changes the
/// document, on purpose.
@Suite struct ProtocolDocumentTests {
    private func document(_ name: String) throws -> String {
        var root = URL(fileURLWithPath: #filePath)
        for _ in 0..<3 { root.deleteLastPathComponent() }
        return try String(contentsOf: root.appendingPathComponent("docs/\(name)"), encoding: .utf8)
    }

    /// Blocks that begin with three backquotes, "hex" and a name; what follows a "#" on a line is for people.
    private func examples() throws -> [String: [UInt8]] {
        let text = try document("PROTOCOL.md")
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
        let catalogue = Catalogue.client + Catalogue.coordination + Catalogue.history + Catalogue.registry
        for (name, bytes) in catalogue {
            #expect(examples[name].map(hex) == hex(bytes), "to be:\n\(block(name, bytes))")
        }
        #expect(examples.count == catalogue.count)
    }

    /// The example as it stands in the document.
    private func block(_ name: String, _ bytes: [UInt8]) -> String {
        func line(_ digits: String, _ comment: String) -> String {
            digits.padding(toLength: max(digits.count, 50), withPad: " ", startingAt: 0) + "# \(comment)\n"
        }
        let head = [0..<4, 4..<5, 5..<6, 6..<8, 8..<16].map { Array(bytes[$0]) }
        let numbers = head.map { $0.reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) } }
        var text = "```hex \(name)\n"
        text += line(
            head.map(hex).joined(separator: " "),
            "length \(numbers[0]), version \(numbers[1]), flags \(numbers[2]), kind \(numbers[3]), "
                + "request \(numbers[4])")
        for start in stride(from: 16, to: bytes.count - 4, by: 24) {
            let part = Array(bytes[start..<min(start + 24, bytes.count - 4)])
            let shown = part.map { (0x20...0x7E).contains($0) && $0 != 0x23 ? $0 : 0x2E }
            text += line(hex(part), String(decoding: shown, as: UTF8.self))
        }
        return text + line(hex(Array(bytes.suffix(4))), "crc32c") + "```"
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
        let text = try document("PROTOCOL.md")
        for kind in ClientFrameKind.allCases { #expect(text.contains("| \(kind.rawValue) | `\(kind)` |")) }
        for kind in PeerFrameKind.allCases { #expect(text.contains("| \(kind.rawValue) | `\(kind)` |")) }
        for code in ErrorCode.allCases {
            #expect(
                text.contains("| \(code.rawValue) | `\(code.name)` | \(code.isRetryable ? "yes" : "no") |"), "\(code)")
        }
    }

    @Test("docs/REGISTRY.md has a row for each rule of the registry, and for no other")
    func rulesAreComplete() throws {
        let named = try document("REGISTRY.md").split(separator: "\n").compactMap { line -> String? in
            guard line.hasPrefix("| `"), let end = line.dropFirst(3).firstIndex(of: "`") else { return nil }
            let name = line.dropFirst(3)[..<end]
            return name.contains(".") ? String(name) : nil
        }
        #expect(named.sorted() == RegistryRule.allCases.map(\.rawValue).sorted())
    }

    @Test("the document numbers every table of the registry")
    func tablesOfTheRegistry() throws {
        let text = try document("PROTOCOL.md")
        let rest = try #require(text.components(separatedBy: "**Rows.**").last)
        let section = try #require(rest.components(separatedBy: "The **digest**").first)
        for table in RegistryTable.allCases { #expect(section.contains("\n| \(table.rawValue) | "), "\(table)") }
    }
}
