internal import Basics

/// JSON as this command prints it: keys in the order given, no blanks, and the shortest escape of each character
/// (RFC 8259 §7), so that equal data is equal text.
enum JSON: Hashable {
    case null
    case bool(Bool)
    case number(UInt64)
    /// Rounded to hundredths. Must be finite.
    case decimal(Double)
    case string(String)
    case array([JSON])
    case object([Member])

    struct Member: Hashable {
        var name: String
        var value: JSON
    }

    static func object(_ members: [(String, JSON)]) -> JSON {
        .object(members.map { Member(name: $0.0, value: $0.1) })
    }

    static func optional(_ text: String?) -> JSON { text.map { .string($0) } ?? .null }
    static func optional(_ number: UInt64?) -> JSON { number.map { .number($0) } ?? .null }

    /// Bytes as text under `name` when they are UTF-8, else in Base64 under `base64Name`.
    static func member(_ name: String, orBase64 base64Name: String, _ bytes: [UInt8]) -> (String, JSON) {
        if let text = String(validating: bytes, as: UTF8.self) { return (name, .string(text)) }
        return (base64Name, .string(Base64.encode(bytes)))
    }

    var text: String { String(decoding: bytes, as: UTF8.self) }

    var bytes: [UInt8] {
        var output: [UInt8] = []
        write(to: &output)
        return output
    }

    func write(to output: inout [UInt8]) {
        switch self {
        case .null: output += "null".utf8
        case .bool(let value): output += (value ? "true" : "false").utf8
        case .number(let value): output += String(value).utf8
        case .decimal(let value): output += String((value * 100).rounded() / 100).utf8
        case .string(let value): JSONText.append(value.utf8, to: &output)
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
                JSONText.append(member.name.utf8, to: &output)
                output.append(UInt8(ascii: ":"))
                member.value.write(to: &output)
            }
            output.append(UInt8(ascii: "}"))
        }
    }

    /// A 64-bit number that is a name rather than a count, as text: many JSON readers keep only 53 bits.
    static func hexadecimal(_ number: UInt64) -> String {
        let digits = String(number, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}

extension JSON {
    /// A record as `get` and `list` print it.
    static func row(key: [UInt8], value: [UInt8]?, revision: UInt64, owner: String? = nil) -> JSON {
        var members = [member("key", orBase64: "keyBase64", key)]
        if let value { members.append(member("value", orBase64: "base64", value)) }
        members.append(("revision", .number(revision)))
        if let owner { members.append(("owner", .string(owner))) }
        return .object(members)
    }

    /// A record as `export` prints it and `import` reads it.
    static func exported(key: [UInt8], value: [UInt8]) -> JSON {
        .object([member("key", orBase64: "keyBase64", key), member("value", orBase64: "base64", value)])
    }
}
