import Foundation
import Server
import Testing

@Suite("The log as JSON")
struct JSONLogTests {
    private let date = Date(timeIntervalSince1970: 1_700_000_000.25)

    @Test("time, level and message come first, then the facts in the order of their names")
    func order() {
        let line = JSONLogLine.text(
            level: "notice", message: "leader", facts: ["term": "7", "node": "n1", "level": "9"], at: date)
        #expect(
            line == #"{"time":"2023-11-14T22:13:20.250Z","level":"notice","message":"leader","#
                + #""_level":"9","node":"n1","term":"7"}"#)
    }

    @Test("whatever a message holds, the line stays one line and reads back as the same text")
    func escapes() throws {
        let texts = (0..<0x80).map { String(UnicodeScalar($0)!) } + ["\r\n", "\"\\\"", "é 🙂 \u{2028}"]
        for text in texts {
            let line = JSONLogLine.text(level: "info", message: text, facts: [text: text], at: date)
            #expect(!line.utf8.contains(0x0A))
            let fields = try JSONDecoder().decode([String: String].self, from: Data(line.utf8))
            #expect(fields["message"] == text)
            #expect(fields[text] == text)
        }
    }
}
