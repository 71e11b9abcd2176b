internal import Basics

/// Keys that are made of a prefix and a number of ten digits.
package struct NumberedKeys: Sendable {
    package static let digits = 10
    /// Numbers have ten digits.
    package static let countMax = 10_000_000_000
    private let prefixSize: Int
    /// One piece of memory for all of them: it is copied only while somebody holds on to the last one.
    private var key: [UInt8]

    package init(prefix: [UInt8]) {
        prefixSize = prefix.count
        key = prefix + repeatElement(UInt8(ascii: "0"), count: Self.digits)
    }

    package subscript(number: Int) -> [UInt8] {
        mutating get {
            var rest = number
            for position in stride(from: key.count - 1, through: prefixSize, by: -1) {
                key[position] = UInt8(ascii: "0") + UInt8(rest % 10)
                rest /= 10
            }
            return key
        }
    }

    /// Nil for a key that is none of these.
    package func number(of other: [UInt8]) -> Int? {
        guard other.count == key.count, other.starts(with: key[..<prefixSize]) else { return nil }
        var number = 0
        for byte in other[prefixSize...] {
            guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) else { return nil }
            number = number * 10 + Int(byte - UInt8(ascii: "0"))
        }
        return number
    }
}
