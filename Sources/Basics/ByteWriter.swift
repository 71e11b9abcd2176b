/// Appends little-endian values to bytes that it owns; the mirror of `ByteReader`.
package struct ByteWriter: Sendable {
    package private(set) var bytes: [UInt8]

    package init(reservingCapacity capacity: Int = 0) {
        bytes = []
        if capacity > 0 { bytes.reserveCapacity(capacity) }
    }

    /// Goes on after `bytes`, in the same storage.
    package init(appendingTo bytes: consuming [UInt8]) { self.bytes = bytes }

    package var count: Int { bytes.count }

    @inline(__always)
    package mutating func write(_ value: UInt8) { bytes.append(value) }
    @inline(__always)
    package mutating func write(_ value: UInt16) { writeInteger(value) }
    @inline(__always)
    package mutating func write(_ value: UInt32) { writeInteger(value) }
    @inline(__always)
    package mutating func write(_ value: UInt64) { writeInteger(value) }
    package mutating func write(_ value: Bool) { bytes.append(value ? 1 : 0) }
    package mutating func write(_ value: RawSpan) { bytes.append(contentsOf: value) }
    package mutating func write(_ value: [UInt8]) { bytes.append(contentsOf: value) }

    /// `u16` length, then the bytes. The caller has checked the length against its limit.
    package mutating func writeBytes16(_ value: [UInt8]) {
        invariant(value.count <= Int(UInt16.max), "\(value.count) bytes do not fit a 16-bit length")
        write(UInt16(value.count))
        write(value)
    }

    /// `u32` length, then the bytes.
    package mutating func writeBytes32(_ value: [UInt8]) {
        write(UInt32(value.count))
        write(value)
    }

    /// `u16` length, then UTF-8.
    package mutating func writeString16(_ value: String) { writeBytes16(Array(value.utf8)) }

    /// Overwrites four bytes at `offset`: for a length or checksum known only after what follows it.
    package mutating func overwrite(at offset: Int, with value: UInt32) { bytes.store(value, at: offset) }

    package mutating func overwrite(at offset: Int, with value: UInt8) { bytes[offset] = value }

    /// CRC-32C of what was written from `offset` on.
    package func checksum(from offset: Int) -> UInt32 {
        CRC32C.checksum(of: bytes.rawSpan.extracting(offset..<bytes.count))
    }

    /// Forgets what was written from `offset` on.
    package mutating func removeAll(after offset: Int) { bytes.removeLast(bytes.count - offset) }

    package mutating func removeAll(keepingCapacity: Bool = true) { bytes.removeAll(keepingCapacity: keepingCapacity) }

    /// Moves the bytes out; the writer is empty afterwards.
    package mutating func takeBytes() -> [UInt8] {
        var taken: [UInt8] = []
        swap(&taken, &bytes)
        return taken
    }

    @inline(__always)
    private mutating func writeInteger<T: FixedWidthInteger & UnsignedInteger>(_ value: T) {
        // To append a buffer of so few bytes takes nearly twice as many instructions.
        var rest = value
        for _ in 0..<MemoryLayout<T>.size {
            bytes.append(UInt8(truncatingIfNeeded: rest))
            rest >>= 8
        }
    }
}

extension Array where Element == UInt8 {
    /// Stores `value` little-endian at `offset`; the bytes must be there already.
    @inline(__always)
    package mutating func store<T: FixedWidthInteger & BitwiseCopyable>(_ value: T, at offset: Int) {
        unsafe withUnsafeMutableBytes { unsafe $0.storeBytes(of: value.littleEndian, toByteOffset: offset, as: T.self) }
    }
}
