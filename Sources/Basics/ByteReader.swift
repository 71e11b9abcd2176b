/// Reads little-endian values from borrowed bytes. Every read checks what remains first, so no input can make it trap,
/// and nothing is allocated on the word of a length that was read.
package struct ByteReader: ~Escapable {
    @usableFromInline var bytes: RawSpan
    /// Offset of the next byte, from the start of the bytes given to `init`.
    package private(set) var offset = 0

    @_lifetime(copy bytes)
    package init(_ bytes: RawSpan) { self.bytes = bytes }

    package var remaining: Int { bytes.byteCount - offset }
    package var isAtEnd: Bool { offset == bytes.byteCount }

    @_lifetime(self: copy self)
    package mutating func readUInt8() throws(DecodeError) -> UInt8 { try readInteger() }
    @_lifetime(self: copy self)
    package mutating func readUInt16() throws(DecodeError) -> UInt16 { try readInteger() }
    @_lifetime(self: copy self)
    package mutating func readUInt32() throws(DecodeError) -> UInt32 { try readInteger() }
    @_lifetime(self: copy self)
    package mutating func readUInt64() throws(DecodeError) -> UInt64 { try readInteger() }

    /// A place in the log. None comes near the limit, and beyond it there might be no next one.
    @_lifetime(self: copy self)
    package mutating func readLogIndex() throws(DecodeError) -> LogIndex {
        let number = try readUInt64()
        guard number <= Limits.logNumberMax else { throw .invalid("index \(number)") }
        return LogIndex(number)
    }

    @_lifetime(self: copy self)
    package mutating func readTerm() throws(DecodeError) -> Term {
        let number = try readUInt64()
        guard number <= Limits.logNumberMax else { throw .invalid("term \(number)") }
        return Term(number)
    }

    /// 0 or 1; anything else is invalid, so that each value has one encoding.
    @_lifetime(self: copy self)
    package mutating func readBool() throws(DecodeError) -> Bool {
        switch try readUInt8() {
        case 0: return false
        case 1: return true
        default: throw .invalid("truth value")
        }
    }

    /// The next `count` bytes, borrowed.
    @_lifetime(copy self)
    package mutating func readBytes(_ count: Int) throws(DecodeError) -> RawSpan {
        guard count >= 0, count <= remaining else { throw .truncated }
        defer { offset += count }
        return bytes.extracting(offset..<offset + count)
    }

    /// Bytes behind a `u16` length, borrowed.
    @_lifetime(copy self)
    package mutating func readBytes16(max limit: Int = Int(UInt16.max)) throws(DecodeError) -> RawSpan {
        let count = Int(try readUInt16())
        guard count <= limit else { throw .tooLarge(UInt64(count)) }
        return try readBytes(count)
    }

    /// Bytes behind a `u32` length, borrowed.
    @_lifetime(copy self)
    package mutating func readBytes32(max limit: Int) throws(DecodeError) -> RawSpan {
        let count = Int(try readUInt32())
        guard count <= limit else { throw .tooLarge(UInt64(count)) }
        return try readBytes(count)
    }

    /// Text behind a `u16` length; must be UTF-8.
    @_lifetime(self: copy self)
    package mutating func readString16(max limit: Int = Int(UInt16.max)) throws(DecodeError) -> String {
        guard let text = String(validating: [UInt8](try readBytes16(max: limit)), as: UTF8.self) else {
            throw .invalid("UTF-8 text")
        }
        return text
    }

    /// A count of items of at least `itemSizeMin` bytes each. Refused when so many cannot be in the bytes that remain,
    /// so a caller may reserve room for it.
    @_lifetime(self: copy self)
    package mutating func readCount32(itemSizeMin: Int) throws(DecodeError) -> Int {
        let count = Int(try readUInt32())
        guard count <= remaining / max(1, itemSizeMin) else { throw .tooLarge(UInt64(count)) }
        return count
    }

    /// Everything that is left, borrowed.
    @_lifetime(copy self)
    package mutating func readRemaining() -> RawSpan {
        defer { offset = bytes.byteCount }
        return bytes.extracting(offset..<bytes.byteCount)
    }

    @inline(__always)
    @_lifetime(self: copy self)
    private mutating func readInteger<T: FixedWidthInteger & BitwiseCopyable>() throws(DecodeError) -> T {
        guard remaining >= MemoryLayout<T>.size else { throw .truncated }
        // Any bit pattern is an integer, and the bound was checked on the line above.
        let value = unsafe bytes.unsafeLoadUnaligned(fromUncheckedByteOffset: offset, as: T.self)
        offset += MemoryLayout<T>.size
        return T(littleEndian: value)
    }
}

extension Array where Element == UInt8 {
    /// These bytes, borrowed.
    package var rawSpan: RawSpan {
        @_lifetime(borrow self)
        @inline(__always)
        get { unsafe span.bytes }
    }

    /// A copy of borrowed bytes.
    package init(_ bytes: RawSpan) {
        self = unsafe bytes.withUnsafeBytes { unsafe Array($0) }
    }

    @inline(__always)
    package mutating func append(contentsOf bytes: RawSpan) {
        unsafe bytes.withUnsafeBytes { unsafe append(contentsOf: $0) }
    }
}

extension RawSpan {
    /// True when both hold the same bytes.
    package func hasSameBytes(as other: RawSpan) -> Bool {
        guard byteCount == other.byteCount else { return false }
        for offset in 0..<byteCount
        where unsafe unsafeLoad(fromUncheckedByteOffset: offset, as: UInt8.self)
            != other.unsafeLoad(fromUncheckedByteOffset: offset, as: UInt8.self)
        {
            return false
        }
        return true
    }
}
