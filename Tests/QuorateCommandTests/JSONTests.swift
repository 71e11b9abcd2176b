import Client
import Testing

@testable import quorate

@Suite("JSON as the command prints it")
struct JSONTests {
    @Test("Escapes are the shortest of RFC 8259, and everything else stays as it is")
    func shortestEscapes() {
        #expect(JSON.string("a\"b\\c/d").text == #""a\"b\\c/d""#)
        #expect(JSON.string("\u{8}\u{9}\u{A}\u{C}\u{D}").text == #""\b\t\n\f\r""#)
        #expect(JSON.string("\u{0}\u{1F}\u{7F}").text == "\"\\u0000\\u001f\u{7F}\"")
        #expect(JSON.string("Grüße 🦊 </script>").text == "\"Grüße 🦊 </script>\"")
    }

    @Test("Objects keep their order and have no blanks")
    func objects() {
        let json = JSON.object([
            ("z", .number(.max)), ("a", .array([.null, .bool(true), .bool(false)])), ("e", .array([])),
            ("o", .object([("x", .string(""))])),
        ])
        #expect(json.text == #"{"z":18446744073709551615,"a":[null,true,false],"e":[],"o":{"x":""}}"#)
    }

    @Test("Bytes that are not UTF-8 appear in Base64 under their other name")
    func bytes() {
        #expect(
            JSON.row(key: Array("k".utf8), value: [0xFF, 0], revision: 7).text
                == #"{"key":"k","base64":"/wA=","revision":7}"#)
        #expect(
            JSON.row(key: [0xC0], value: Array("v".utf8), revision: 7).text
                == #"{"keyBase64":"wA==","value":"v","revision":7}"#)
        #expect(JSON.row(key: Array("k".utf8), value: nil, revision: 1).text == #"{"key":"k","revision":1}"#)
        #expect(JSON.exported(key: Array("k".utf8), value: []).text == #"{"key":"k","value":""}"#)
    }

    @Test("A conflict carries the current revision; other errors their code, message and whether to try again")
    func errors() {
        let conflict = CommandError("conflict", "the row is at another revision", currentRevision: 9)
        #expect(conflict.json.text == #"{"error":"conflict","currentRevision":9}"#)
        let other = CommandError("unavailable", "no quorum", isRetryable: true)
        #expect(other.json.text == #"{"error":"unavailable","message":"no quorum","retryable":true}"#)
        #expect(other.exitCode == 1)
        #expect(CommandError.usage("wrong").exitCode == 2)
    }

    @Test(
        "What was exported is imported as the same bytes",
        arguments: [
            [UInt8](), Array("plain".utf8), Array("\"\\\u{0}\u{1F}\n/é🦊".utf8), [0xFF, 0xFE, 0x00], Array(0...255),
        ])
    func exportedLinesAreImported(value: [UInt8]) throws {
        for key in [Array("k/\u{1}\"".utf8), [0x80, 0x81]] {
            let line = JSON.exported(key: key, value: value).bytes
            #expect(!line.contains(0x0A))
            let record = try #require(try ImportBatch.parse(line, place: "here"))
            #expect(record.key == key)
            #expect(record.value == value)
            #expect(JSON.exported(key: record.key, value: record.value).bytes == line)
        }
    }

    @Test("A transaction's outcome lists a result for each operation of its branch")
    func outcome() {
        let outcome = MetadataTransaction.Outcome(
            succeeded: true, revision: 12,
            results: [
                .put, .deleted, .deletedPrefix(count: 3), .row(nil),
                .row(KeyValue(key: [0x61], value: [0x62], revision: 5)),
            ])
        #expect(
            outcome.json.text
                == #"{"succeeded":true,"revision":12,"results":[{"put":true},{"delete":true},{"deleted":3},{"found":false},{"key":"a","value":"b","revision":5}]}"#
        )
    }
}
