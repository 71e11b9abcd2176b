import Client
import Testing

@testable import quorate

@Suite("The JSON of a transaction")
struct TransactionFileTests {
    private func parse(_ text: String) throws -> MetadataTransaction {
        try TransactionFile.parse(Array(text.utf8), name: "file")
    }

    private func message(_ text: String) -> String {
        do {
            _ = try parse(text)
            return "parsed"
        } catch {
            return (error as? CommandError)?.message ?? "another error: \(error)"
        }
    }

    @Test("Every comparison and operation is read, text and Base64 alike")
    func everything() throws {
        let transaction = try parse(
            """
            {"if":[{"key":"a","revision":18446744073709551615},{"key":"b","value":"x"},{"keyBase64":"/w==","base64":"AAE="},
                   {"key":"c","exists":false},{"prefix":"p/","unchangedSince":7}],
             "then":[{"put":{"key":"k","value":"v"}},{"put":{"keyBase64":"/w==","base64":""}},{"delete":{"key":"k2"}},
                     {"deletePrefix":"q/"},{"get":{"key":"g"}}],
             "else":[{"deletePrefixBase64":"/w=="}]}
            """)
        #expect(
            transaction
                == MetadataTransaction(
                    if: [
                        .revision(key: [0x61], .max), .value(key: [0x62], [0x78]), .value(key: [0xFF], [0, 1]),
                        .exists(key: [0x63], false), .unchanged(prefix: Array("p/".utf8), since: 7),
                    ],
                    then: [
                        .put(key: [0x6B], value: [0x76]), .put(key: [0xFF], value: []), .delete(key: Array("k2".utf8)),
                        .deletePrefix(Array("q/".utf8)), .get(key: [0x67]),
                    ], otherwise: [.deletePrefix([0xFF])]))
    }

    @Test("Parts that are left out are empty")
    func partsMayBeMissing() throws {
        #expect(try parse(#"{"then":[{"get":{"key":"a"}}]}"#) == MetadataTransaction(then: [.get(key: [0x61])]))
    }

    @Test("A member that is not known is refused, and the message says where it stands")
    func unknownMembers() {
        #expect(message(#"{"than":[]}"#) == #"file: "than" is not known here"#)
        #expect(
            message(#"{"if":[{"key":"a","exists":true},{"prefix":"a","unchangedsince":3}]}"#)
                == #"file: if[1]: "unchangedsince" is not known here"#)
        #expect(
            message(#"{"then":[{"put":{"key":"a","value":"b","ttl":3}}]}"#)
                == #"file: then[0].put: "ttl" is not known here"#)
    }

    @Test("What does not go together is refused")
    func contradictions() {
        #expect(message(#"{"if":[{"key":"a"}]}"#).hasSuffix(#"needs one of "revision", "value" and "exists""#))
        #expect(
            message(#"{"if":[{"key":"a","exists":true,"revision":3}]}"#).hasSuffix(
                #"needs one of "revision", "value" and "exists""#))
        #expect(message(#"{"if":[{"prefix":"a","key":"b","unchangedSince":3}]}"#).contains("does not go with"))
        #expect(message(#"{"then":[{"put":{"key":"a"}}]}"#).hasSuffix(#"a put needs "value" or "base64""#))
        #expect(message(#"{"then":[{"put":{"key":"a","value":"b"},"get":{"key":"a"}}]}"#).contains("is one of"))
        #expect(message(#"{"then":[{"get":{"key":"a","value":"b"}}]}"#).hasSuffix("a get takes no value"))
        #expect(message(#"{"then":[{"put":{"key":"a","value":"b","base64":""}}]}"#).contains("exclude each other"))
        #expect(message(#"{"then":[{"put":{"keyBase64":"!","value":"b"}}]}"#).hasSuffix("is not Base64"))
    }

    @Test("What is not JSON, or the wrong kind of it, is an error of the command line")
    func notJSON() {
        #expect(message("{").hasPrefix("file: "))
        #expect(message(#"{"if":[{"key":"a","revision":-1}]}"#) != "parsed")
        #expect(message(#"{"if":{"key":"a"}}"#).hasPrefix("file: if: should be a list"))
        #expect(message(#"{"then":[{"put":{"key":3,"value":""}}]}"#).hasPrefix("file: then[0].put.key: should be text"))
    }

    @Test("More operations than a transaction may have are refused before anything is sent")
    func tooMany() {
        let operations = Array(repeating: #"{"get":{"key":"a"}}"#, count: 4_097).joined(separator: ",")
        #expect(message("{\"then\":[\(operations)]}").contains("4096 are the most"))
    }
}
