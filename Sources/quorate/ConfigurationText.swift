/// Looks over a configuration file before the TOML parser does, which takes some things for granted and stops the
/// process where they do not hold: that a table has a name, and that in an array no brace closes nothing and no strange
/// blank stands where a value should. What it refuses is no TOML; all the rest the parser says itself.
struct ConfigurationText {
    private let bytes: [UInt8]
    private let path: String
    private var position = 0
    private var line = 1
    private var isLineStart = true
    /// Of open arrays.
    private var depth = 0
    /// The last byte that means something.
    private var previous = UInt8(ascii: "\n")

    private static let byteOrderMark: [UInt8] = [0xEF, 0xBB, 0xBF]

    private init(_ text: String, path: String) {
        bytes = Array(text.utf8)
        self.path = path
    }

    static func check(_ text: String, path: String) throws(CommandError) {
        var text = ConfigurationText(text, path: path)
        try text.check()
    }

    private mutating func check() throws(CommandError) {
        // The parser takes it for the end of the text.
        if bytes.contains(0) { throw .usage("\(path) has a zero byte") }
        if bytes.starts(with: Self.byteOrderMark) { position = Self.byteOrderMark.count }
        while position < bytes.count {
            let byte = bytes[position]
            position += 1
            switch byte {
            case UInt8(ascii: "\n"):
                line += 1
                isLineStart = true
            case UInt8(ascii: " "), UInt8(ascii: "\t"), UInt8(ascii: "\r"): break
            case UInt8(ascii: "#"): position = bytes[position...].firstIndex(of: UInt8(ascii: "\n")) ?? bytes.count
            case 0x21...0x7E: try take(byte)
            default: throw refusal("outside of quotes and comments only visible ASCII characters may stand")
            }
        }
    }

    private mutating func take(_ byte: UInt8) throws(CommandError) {
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "'"): skipString(byte)
        case UInt8(ascii: "["):
            if isLineStart, depth == 0, !hasTableName {
                throw refusal("a table needs a name, as in [cluster]")
            }
            depth += 1
        case UInt8(ascii: "]"): depth -= 1
        case UInt8(ascii: "}"):
            if previous == UInt8(ascii: ",") || previous == UInt8(ascii: "[") { throw refusal("unexpected '}'") }
        default: break
        }
        isLineStart = false
        previous = byte
    }

    /// Whether a name, or the end of one that is missing, comes behind the bracket of a table or the two of an array of
    /// tables.
    private var hasTableName: Bool {
        let isBlank = { (byte: UInt8) in byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") }
        var rest = bytes[position...].drop(while: isBlank)
        if rest.first == UInt8(ascii: "[") { rest = rest.dropFirst().drop(while: isBlank) }
        return switch rest.first ?? 0 {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"): true
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "-"): true
        case UInt8(ascii: "\""), UInt8(ascii: "'"), UInt8(ascii: "]"): true
        default: false
        }
    }

    /// Goes behind a string that `quote` has begun. One on a single line that does not end there is left to the parser.
    private mutating func skipString(_ quote: UInt8) {
        let isLong = bytes[position...].starts(with: [quote, quote])
        if isLong { position += 2 }
        while position < bytes.count {
            let byte = bytes[position]
            if byte == UInt8(ascii: "\n") {
                guard isLong else { return }
                line += 1
            }
            position += 1
            if byte == UInt8(ascii: "\\"), quote == UInt8(ascii: "\"") {
                // A line break behind it is counted above.
                if position < bytes.count, bytes[position] != UInt8(ascii: "\n") { position += 1 }
            } else if byte == quote, !isLong || bytes[position...].starts(with: [quote, quote]) {
                if isLong { position += 2 }
                // Up to two quotes before the closing ones belong to the text.
                for _ in 0..<2 where isLong && position < bytes.count && bytes[position] == quote { position += 1 }
                return
            }
        }
    }

    private func refusal(_ reason: String) -> CommandError { .usage("\(path): line \(line): \(reason)") }
}
