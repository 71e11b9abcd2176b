internal import Basics

/// Puts, deletes and range deletes, in order, in one piece of memory that is used again for the next batch.
///
/// An operation is stored as
///
///     u8 kind | u32 size of first | u32 size of second | first | second        little-endian
///
/// where *first* is the key (of a range delete: where it begins) and *second* the value (of a delete: nothing; of a
/// range delete: where it ends). The layout is canonical: equal operations have equal bytes on every replica, so a
/// digest may be taken over `bytes(since:)`.
package struct WriteBatch: ~Copyable {
    package enum Kind: UInt8, Sendable {
        case put = 1
        case delete = 2
        case deleteRange = 3
    }

    static let operationHeaderSize = 9

    /// Room; the operations fill it up to `byteCount`. Its size is not the batch's: bytes are stored into zeroed room
    /// because appending field by field costs several times as much.
    private var room: [UInt8]

    /// Bytes of all operations.
    package private(set) var byteCount = 0
    package private(set) var operationCount = 0
    /// Changes with each `removeAll`, so that an index over the operations knows when it is void.
    private(set) var generation: UInt64 = 0

    package init(reservingCapacity capacity: Int = 4_096) {
        room = [UInt8](repeating: 0, count: max(64, capacity))
    }

    package var isEmpty: Bool { operationCount == 0 }

    // MARK: Adding

    /// The row `key` gets `value`, whatever it was before.
    package mutating func put(_ key: RawSpan, _ value: RawSpan) {
        put(keyHead: RawSpan(), key: key, valueHead: RawSpan(), value: value)
    }

    package mutating func put(_ key: [UInt8], _ value: [UInt8]) { put(key.rawSpan, value.rawSpan) }

    /// The row whose key is `keyHead` and `key` together gets `valueHead` and `value` together: a table's prefix and a
    /// row's header are joined to the client's bytes here, without a copy in between.
    package mutating func put(keyHead: RawSpan, key: RawSpan, valueHead: RawSpan, value: RawSpan) {
        let keySize = keyHead.byteCount + key.byteCount
        let valueSize = valueHead.byteCount + value.byteCount
        let start = begin(.put, firstSize: keySize, secondSize: valueSize)
        room.copy(keyHead, at: start)
        room.copy(key, at: start + keyHead.byteCount)
        room.copy(valueHead, at: start + keySize)
        room.copy(value, at: start + keySize + valueHead.byteCount)
    }

    /// Nothing is stored under `key` any more; no error when nothing was.
    package mutating func delete(_ key: RawSpan) { delete(keyHead: RawSpan(), key: key) }

    package mutating func delete(_ key: [UInt8]) { delete(key.rawSpan) }

    package mutating func delete(keyHead: RawSpan, key: RawSpan) {
        let start = begin(.delete, firstSize: keyHead.byteCount + key.byteCount, secondSize: 0)
        room.copy(keyHead, at: start)
        room.copy(key, at: start + keyHead.byteCount)
    }

    /// Deletes every key from `from` up to but without `to`; nothing when `to` is not after `from`.
    package mutating func deleteRange(from: [UInt8], to: [UInt8]) {
        let start = begin(.deleteRange, firstSize: from.count, secondSize: to.count)
        room.copy(from.rawSpan, at: start)
        room.copy(to.rawSpan, at: start + from.count)
    }

    package mutating func removeAll() {
        byteCount = 0
        operationCount = 0
        generation &+= 1
        // One giant value must not hold its room for the rest of the process.
        if room.count > Self.roomKeptMax { room = [UInt8](repeating: 0, count: Self.roomKeptMax) }
    }

    // MARK: Reading

    /// A position between two operations: everything added later lies after it. Void after `removeAll`.
    package var mark: Int { byteCount }

    /// The operations added since `mark`, as stored.
    @_lifetime(borrow self)
    package func bytes(since mark: Int = 0) -> RawSpan { room.rawSpan.extracting(mark..<byteCount) }

    /// Calls `body` with each operation since `mark`, in order.
    package func forEach<Failure: Error>(
        since mark: Int = 0,
        _ body: (_ kind: Kind, _ first: RawSpan, _ second: RawSpan) throws(Failure) -> Void
    ) throws(Failure) {
        let bytes = room.rawSpan
        var offset = mark
        while offset < byteCount {
            let operation = self.operation(at: offset)
            try body(operation.kind, bytes.extracting(operation.first), bytes.extracting(operation.second))
            offset = operation.second.upperBound
        }
    }

    /// Where the operation that starts at `offset` has its parts; the next one starts at `second.upperBound`.
    struct Operation {
        let kind: Kind
        let first: Range<Int>
        let second: Range<Int>
    }

    func operation(at offset: Int) -> Operation {
        let bytes = room.rawSpan
        invariant(
            offset + Self.operationHeaderSize <= byteCount, "no operation at \(offset) of \(byteCount) bytes")
        // In bounds by the line above; the batch wrote the header itself.
        let kind = Kind(rawValue: unsafe bytes.unsafeLoad(fromUncheckedByteOffset: offset, as: UInt8.self))
        guard let kind else { fatalError("a write batch holds an operation of no kind") }
        let firstSize = unsafe bytes.unsafeLoadUnaligned(fromUncheckedByteOffset: offset + 1, as: UInt32.self)
        let secondSize = unsafe bytes.unsafeLoadUnaligned(fromUncheckedByteOffset: offset + 5, as: UInt32.self)
        let start = offset + Self.operationHeaderSize
        let end = start + Int(UInt32(littleEndian: firstSize))
        return Operation(
            kind: kind, first: start..<end, second: end..<end + Int(UInt32(littleEndian: secondSize)))
    }

    /// Lends the bytes of the batch in `range`, as `operation(at:)` gave it.
    func withBytes<Result, Failure: Error>(
        in range: Range<Int>, _ body: (RawSpan) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try body(room.rawSpan.extracting(range))
    }

    // MARK: -

    private static let roomKeptMax = 16 * 1_024 * 1_024

    /// Stores the header of an operation and makes room for its parts; returns where they start.
    private mutating func begin(_ kind: Kind, firstSize: Int, secondSize: Int) -> Int {
        let end = byteCount + Self.operationHeaderSize + firstSize + secondSize
        if end > room.count {
            room.append(contentsOf: repeatElement(0, count: max(end - room.count, room.count)))
        }
        room.store(kind.rawValue, at: byteCount)
        room.store(UInt32(firstSize), at: byteCount + 1)
        room.store(UInt32(secondSize), at: byteCount + 5)
        let start = byteCount + Self.operationHeaderSize
        byteCount = end
        operationCount += 1
        return start
    }
}

extension Array where Element == UInt8 {
    /// Copies `source` to `offset`; the room is there already.
    @inline(__always)
    fileprivate mutating func copy(_ source: RawSpan, at offset: Int) {
        guard source.byteCount > 0 else { return }
        unsafe withUnsafeMutableBytes { target in
            unsafe source.withUnsafeBytes { source in
                unsafe UnsafeMutableRawBufferPointer(rebasing: target[offset..<offset + source.count])
                    .copyMemory(from: source)
            }
        }
    }
}
