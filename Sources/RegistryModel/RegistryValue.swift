package import Basics

/// Something that stands in commands, rows and replies of the registry as bytes. A list is `u32 count | items`,
/// something optional `u8 present | value`, a text `u16 size | bytes`; all numbers are little-endian.
package protocol RegistryValue {
    func encode(into writer: inout ByteWriter)
    init(decoding reader: inout ByteReader) throws(DecodeError)
}

extension RegistryValue {
    package func encoded() -> [UInt8] {
        var writer = ByteWriter()
        encode(into: &writer)
        return writer.takeBytes()
    }

    /// - Throws: also when bytes are left.
    package init(_ bytes: [UInt8]) throws(DecodeError) {
        var reader = ByteReader(bytes.rawSpan)
        try self.init(decoding: &reader)
        guard reader.isAtEnd else { throw .invalid("bytes behind a \(Self.self)") }
    }
}

extension ByteWriter {
    package mutating func write<Value: RegistryValue>(_ value: Value) { value.encode(into: &self) }

    package mutating func write<Value: RegistryValue>(_ values: [Value]) {
        write(UInt32(values.count))
        for value in values { value.encode(into: &self) }
    }

    package mutating func write<Value: RegistryValue>(_ value: Value?) {
        write(value != nil)
        value?.encode(into: &self)
    }

    package mutating func write(texts: [[UInt8]]) {
        write(UInt32(texts.count))
        for text in texts { writeBytes16(text) }
    }

    package mutating func write(optional number: UInt64?) {
        write(number != nil)
        if let number { write(number) }
    }

    package mutating func write(double: Double) { write(double.bitPattern) }
}

extension ByteReader {
    @_lifetime(self: copy self)
    package mutating func readValue<Value: RegistryValue>() throws(DecodeError) -> Value { try Value(decoding: &self) }

    @_lifetime(self: copy self)
    package mutating func readValues<Value: RegistryValue>() throws(DecodeError) -> [Value] {
        var values: [Value] = []
        for _ in 0..<(try readCount32(itemSizeMin: 1)) { values.append(try Value(decoding: &self)) }
        return values
    }

    @_lifetime(self: copy self)
    package mutating func readOptionalValue<Value: RegistryValue>() throws(DecodeError) -> Value? {
        try readBool() ? try Value(decoding: &self) : nil
    }

    @_lifetime(self: copy self)
    package mutating func readTexts() throws(DecodeError) -> [[UInt8]] {
        var texts: [[UInt8]] = []
        for _ in 0..<(try readCount32(itemSizeMin: 2)) { texts.append(try readText()) }
        return texts
    }

    @_lifetime(self: copy self)
    package mutating func readOptionalUInt64() throws(DecodeError) -> UInt64? {
        try readBool() ? try readUInt64() : nil
    }

    @_lifetime(self: copy self)
    package mutating func readDouble() throws(DecodeError) -> Double { Double(bitPattern: try readUInt64()) }

    /// A number of a closed set.
    @_lifetime(self: copy self)
    package mutating func readNumber<Value: RawRepresentable<UInt8>>(_ what: String) throws(DecodeError) -> Value {
        let number = try readUInt8()
        guard let value = Value(rawValue: number) else { throw .unknown(what, UInt64(number)) }
        return value
    }
}

extension ResourceClaim: RegistryValue {}
extension Labels.Label: RegistryValue {}
