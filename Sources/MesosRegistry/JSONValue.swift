internal import Basics

/// A JSON value as it stands in a text: nothing of it is lost, neither the digits of a number nor the order of members.
package enum JSONValue: Hashable, Sendable {
    case null
    case bool(Bool)
    /// As it is written.
    case number([UInt8])
    /// UTF-8, unescaped.
    case string([UInt8])
    case array([JSONValue])
    case object([Member])

    package struct Member: Hashable, Sendable {
        /// UTF-8, unescaped; each is there once in an object.
        package var name: [UInt8]
        package var value: JSONValue

        package init(_ name: [UInt8], _ value: JSONValue) {
            self.name = name
            self.value = value
        }
    }

    /// An object of those members that are there.
    package static func members(_ stated: KeyValuePairs<String, JSONValue?>) -> JSONValue {
        var members: [Member] = []
        for (name, value) in stated {
            if let value { members.append(Member(Array(name.utf8), value)) }
        }
        return .object(members)
    }

    package static func text(_ text: String) -> JSONValue { .string(Array(text.utf8)) }

    package static func integer<Number: FixedWidthInteger>(_ number: Number) -> JSONValue {
        .number(Array(String(number).utf8))
    }

    /// A whole number without a fraction, another as the shortest text that is read as the same.
    /// - Parameter double: finite.
    package static func double(_ double: Double) -> JSONValue {
        if let whole = Int64(exactly: double) { return integer(whole) }
        if let whole = UInt64(exactly: double) { return integer(whole) }
        return .number(Array(double.description.utf8))
    }

    package subscript(name: String) -> JSONValue? {
        guard case .object(let members) = self else { return nil }
        return members.first { $0.name.elementsEqual(name.utf8) }?.value
    }

    /// An array or an object with nothing in it.
    var isEmptyContainer: Bool {
        switch self {
        case .array(let values): values.isEmpty
        case .object(let members): members.isEmpty
        case .null, .bool, .number, .string: false
        }
    }
}

// MARK: - Writing

extension JSONValue {
    /// Without blanks, and with the shortest escape of each character (RFC 8259 §7).
    package var bytes: [UInt8] {
        var output: [UInt8] = []
        write(to: &output)
        return output
    }

    package func write(to output: inout [UInt8]) {
        switch self {
        case .null: output += "null".utf8
        case .bool(let value): output += (value ? "true" : "false").utf8
        case .number(let digits): output += digits
        case .string(let text): JSONText.append(text, to: &output)
        case .array(let values):
            output.append(UInt8(ascii: "["))
            for (position, value) in values.enumerated() {
                if position > 0 { output.append(UInt8(ascii: ",")) }
                value.write(to: &output)
            }
            output.append(UInt8(ascii: "]"))
        case .object(let members):
            output.append(UInt8(ascii: "{"))
            for (position, member) in members.enumerated() {
                if position > 0 { output.append(UInt8(ascii: ",")) }
                JSONText.append(member.name, to: &output)
                output.append(UInt8(ascii: ":"))
                member.value.write(to: &output)
            }
            output.append(UInt8(ascii: "}"))
        }
    }
}

// MARK: - Reading

/// A text that is no JSON, or JSON in which a member is there twice.
package struct JSONSyntaxError: Error, Hashable, CustomStringConvertible {
    /// Counted from 1.
    package var line: Int
    /// In bytes, counted from 1.
    package var column: Int
    package var what: String

    package var description: String { "line \(line), column \(column): \(what)" }
}

extension JSONValue {
    /// - Throws: where and what it is that is not as RFC 8259 says.
    package init(_ text: [UInt8]) throws(JSONSyntaxError) {
        var parser = JSONParser(text)
        self = try parser.document()
    }
}

private struct JSONParser {
    private let text: [UInt8]
    private var offset = 0
    /// What is nested deeper is no document that anybody means, and would use up the stack.
    private static let depthMax = 128

    init(_ text: [UInt8]) { self.text = text }

    mutating func document() throws(JSONSyntaxError) -> JSONValue {
        guard String(validating: text, as: UTF8.self) != nil else { throw failure("the text is not UTF-8") }
        let value = try value(depth: 0)
        skipBlanks()
        guard offset == text.count else { throw failure("something stands behind the end") }
        return value
    }

    private func failure(_ what: String) -> JSONSyntaxError {
        let before = text[..<min(offset, text.count)]
        let line = before.count { $0 == 0x0A } + 1
        let start = before.lastIndex(of: 0x0A).map { $0 + 1 } ?? 0
        return JSONSyntaxError(line: line, column: before.count - start + 1, what: what)
    }

    private var next: UInt8? { offset < text.count ? text[offset] : nil }

    private mutating func skipBlanks() {
        while let byte = next, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 { offset += 1 }
    }

    private mutating func skip(_ byte: UInt8) -> Bool {
        guard next == byte else { return false }
        offset += 1
        return true
    }

    private mutating func expect(_ byte: UInt8) throws(JSONSyntaxError) {
        guard skip(byte) else { throw failure("\(Character(Unicode.Scalar(byte))) is missing") }
    }

    private mutating func value(depth: Int) throws(JSONSyntaxError) -> JSONValue {
        guard depth < Self.depthMax else { throw failure("nested more than \(Self.depthMax) deep") }
        skipBlanks()
        switch next {
        case UInt8(ascii: "{"): return .object(try members(depth: depth + 1))
        case UInt8(ascii: "["): return .array(try values(depth: depth + 1))
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"): return try word("true", .bool(true))
        case UInt8(ascii: "f"): return try word("false", .bool(false))
        case UInt8(ascii: "n"): return try word("null", .null)
        case nil: throw failure("the text ends where a value should be")
        default: return .number(try number())
        }
    }

    private mutating func word(_ word: String, _ value: JSONValue) throws(JSONSyntaxError) -> JSONValue {
        guard text[offset...].starts(with: word.utf8) else { throw failure("this is no value") }
        offset += word.utf8.count
        return value
    }

    private mutating func values(depth: Int) throws(JSONSyntaxError) -> [JSONValue] {
        offset += 1
        skipBlanks()
        var values: [JSONValue] = []
        guard !skip(UInt8(ascii: "]")) else { return values }
        while true {
            values.append(try value(depth: depth))
            skipBlanks()
            if skip(UInt8(ascii: "]")) { return values }
            try expect(UInt8(ascii: ","))
        }
    }

    private mutating func members(depth: Int) throws(JSONSyntaxError) -> [JSONValue.Member] {
        offset += 1
        skipBlanks()
        var members: [JSONValue.Member] = []
        var names: Set<[UInt8]> = []
        guard !skip(UInt8(ascii: "}")) else { return members }
        while true {
            skipBlanks()
            guard next == UInt8(ascii: "\"") else { throw failure("the name of a member is missing") }
            let start = offset
            let name = try string()
            guard names.insert(name).inserted else {
                offset = start
                throw failure("member \(String(decoding: name, as: UTF8.self)) is there twice")
            }
            skipBlanks()
            try expect(UInt8(ascii: ":"))
            members.append(JSONValue.Member(name, try value(depth: depth)))
            skipBlanks()
            if skip(UInt8(ascii: "}")) { return members }
            try expect(UInt8(ascii: ","))
        }
    }

    private mutating func number() throws(JSONSyntaxError) -> [UInt8] {
        let start = offset
        _ = skip(UInt8(ascii: "-"))
        if !skip(UInt8(ascii: "0")) { try digits() }
        if skip(UInt8(ascii: ".")) { try digits() }
        if skip(UInt8(ascii: "e")) || skip(UInt8(ascii: "E")) {
            if !skip(UInt8(ascii: "+")) { _ = skip(UInt8(ascii: "-")) }
            try digits()
        }
        return Array(text[start..<offset])
    }

    private mutating func digits() throws(JSONSyntaxError) {
        let start = offset
        while let byte = next, (0x30...0x39).contains(byte) { offset += 1 }
        guard offset > start else { throw failure("this is no value") }
    }

    private mutating func string() throws(JSONSyntaxError) -> [UInt8] {
        offset += 1
        var unescaped: [UInt8] = []
        var start = offset
        while let byte = next {
            switch byte {
            case UInt8(ascii: "\""):
                unescaped += text[start..<offset]
                offset += 1
                return unescaped
            case UInt8(ascii: "\\"):
                unescaped += text[start..<offset]
                offset += 1
                try unescape(to: &unescaped)
                start = offset
            case 0..<0x20: throw failure("a control character has to be escaped")
            default: offset += 1
            }
        }
        throw failure("the text ends within a string")
    }

    private mutating func unescape(to output: inout [UInt8]) throws(JSONSyntaxError) {
        guard let byte = next else { throw failure("the text ends within a string") }
        offset += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): output.append(byte)
        case UInt8(ascii: "b"): output.append(0x08)
        case UInt8(ascii: "t"): output.append(0x09)
        case UInt8(ascii: "n"): output.append(0x0A)
        case UInt8(ascii: "f"): output.append(0x0C)
        case UInt8(ascii: "r"): output.append(0x0D)
        case UInt8(ascii: "u"):
            var code = try codeUnit()
            if (0xD800..<0xDC00).contains(code) {
                try expect(UInt8(ascii: "\\"))
                try expect(UInt8(ascii: "u"))
                let low = try codeUnit()
                guard (0xDC00..<0xE000).contains(low) else { throw failure("half a character") }
                code = 0x10000 + (code - 0xD800) << 10 + (low - 0xDC00)
            }
            guard let scalar = Unicode.Scalar(code) else { throw failure("half a character") }
            output += String(Character(scalar)).utf8
        default: throw failure("an escape that JSON does not have")
        }
    }

    private mutating func codeUnit() throws(JSONSyntaxError) -> UInt32 {
        let digits = text[offset...].prefix(4)
        var code: UInt32 = 0
        for byte in digits {
            guard let digit = Character(Unicode.Scalar(byte)).hexDigitValue, byte < 0x80 else {
                throw failure("\\u has four hexadecimal digits behind it")
            }
            code = code << 4 | UInt32(digit)
        }
        guard digits.count == 4 else { throw failure("\\u has four hexadecimal digits behind it") }
        offset += 4
        return code
    }
}
