import MesosRegistry
import Testing

@Suite("JSON that loses nothing")
struct JSONValueTests {
    private func read(_ text: String) throws -> String { MesosRegistryTests.text(try JSONValue(Array(text.utf8))) }

    @Test("what is read is written as it was, without blanks and with the shortest escapes")
    func roundTrip() throws {
        #expect(try read(#" { "b" : [ 1 , 2.50 , -0 , 1E+3 , true , false , null , { } , [ ] ] , "a" : "x" } "#)
            == #"{"b":[1,2.50,-0,1E+3,true,false,null,{},[]],"a":"x"}"#)
        #expect(try read(#""\u0041\/\u00e9\ud83d\ude00\n\u001f\"\\""#) == #""A/é😀\n\u001f\"\\""#)
    }

    @Test(
        "what is no JSON is refused, and where",
        arguments: [
            ("", "line 1, column 1"), ("[1,]", "line 1, column 4"), ("{\"a\":1,\n \"a\":2}", "line 2, column 2"),
            ("[01]", "line 1, column 3"), ("[1 2]", "line 1, column 4"), ("\"\u{1}\"", "line 1, column 2"),
            (#""\ud800""#, "line 1, column 8"), ("[1] x", "line 1, column 5"), ("[+1]", "line 1, column 2"),
            (#""\x""#, "line 1, column 4"), ("[", "line 1, column 2"), ("{1:2}", "line 1, column 2"),
        ])
    func syntax(text: String, place: String) {
        #expect {
            _ = try JSONValue(Array(text.utf8))
        } throws: { error in
            guard let error = error as? JSONSyntaxError else { return false }
            return error.description.hasPrefix(place + ":")
        }
    }

    @Test("nesting has an end, and bytes that are not UTF-8 are no text")
    func bounds() {
        let deep = String(repeating: "[", count: 200) + String(repeating: "]", count: 200)
        #expect(throws: JSONSyntaxError.self) { _ = try JSONValue(Array(deep.utf8)) }
        let less = String(repeating: "[", count: 100) + String(repeating: "]", count: 100)
        #expect(throws: Never.self) { _ = try JSONValue(Array(less.utf8)) }
        #expect(throws: JSONSyntaxError.self) { _ = try JSONValue([0x22, 0xFF, 0x22]) }
    }

    @Test(
        "numbers have one canonical text",
        arguments: [
            ("1.0", "1"), ("1e3", "1000"), ("-0", "0"), ("0.10", "0.1"), ("18446744073709551615", "18446744073709551615"),
            ("9007199254740993", "9007199254740993"), ("1e400", "1e400"), ("1.5e-3", "0.0015"),
        ])
    func numbers(text: String, expected: String) throws {
        #expect(try canonical("{\"x\":\(text)}") == "{\"x\":\(expected)}")
    }
}
