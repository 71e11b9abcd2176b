package import Basics

/// What a key may be: 1 … `Limits.keySizeMax` bytes of any value, at most `Limits.pathDepthMax` of them a `/`.
/// Keys order as unsigned bytes.
package enum Key {
    /// Why `key` may not be one; nil when it may.
    package static func refusal(of key: RawSpan) -> ReplyError? {
        key.byteCount > 0 ? refusal(ofPrefix: key) : ReplyError(.invalidRequest, "a key may not be empty")
    }

    /// A prefix may be empty: then it stands for every key.
    package static func refusal(ofPrefix prefix: RawSpan, sizeMax: Int = Limits.keySizeMax) -> ReplyError? {
        guard prefix.byteCount <= sizeMax else {
            return ReplyError(.tooLarge, "a key of \(prefix.byteCount) bytes", limit: UInt64(sizeMax))
        }
        var depth = 0
        for offset in 0..<prefix.byteCount where prefix.byte(at: offset) == UInt8(ascii: "/") { depth += 1 }
        guard depth <= Limits.pathDepthMax else {
            return ReplyError(.tooLarge, "a key of \(depth) levels", limit: UInt64(Limits.pathDepthMax))
        }
        return nil
    }

    /// Digits that a sequential create appends to its prefix.
    package static let sequentialDigits = 20
    /// Longest prefix of a sequential create: prefix and digits together are a key.
    package static let sequentialPrefixSizeMax = Limits.keySizeMax - sequentialDigits

    /// The key that a sequential create at `revision` makes: the prefix and the revision in 20 digits. Revisions are
    /// unique and rise, so the keys of one prefix do too, and sort in the order of their creation.
    package static func sequential(prefix: RawSpan, revision: LogIndex) -> [UInt8] {
        var key = [UInt8](prefix)
        let digits = String(revision.rawValue)
        key.append(contentsOf: repeatElement(UInt8(ascii: "0"), count: sequentialDigits - digits.utf8.count))
        key.append(contentsOf: digits.utf8)
        return key
    }
}

/// Which keys a listing or a range delete speaks of.
///
///     u8 form: 0 prefix, 1 range, 2 range without end
///     0: u16 size, prefix      1: u16 size, from | u16 size, to      2: u16 size, from
package enum KeySpan: Hashable, Sendable {
    /// Every key that begins with these bytes; all keys when empty.
    case prefix([UInt8])
    /// From `from` (inclusive) up to `to` (exclusive; nil: no end).
    case range(from: [UInt8], to: [UInt8]?)

    package func encode(into writer: inout ByteWriter) {
        switch self {
        case .prefix(let prefix):
            writer.write(UInt8(0))
            writer.writeBytes16(prefix)
        case .range(let from, let to?):
            writer.write(UInt8(1))
            writer.writeBytes16(from)
            writer.writeBytes16(to)
        case .range(let from, nil):
            writer.write(UInt8(2))
            writer.writeBytes16(from)
        }
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        let form = try reader.readUInt8()
        switch form {
        case 0: self = .prefix([UInt8](try reader.readBytes16(max: Limits.keySizeMax)))
        case 1:
            let from = [UInt8](try reader.readBytes16(max: Limits.keySizeMax))
            self = .range(from: from, to: [UInt8](try reader.readBytes16(max: Limits.keySizeMax)))
        case 2: self = .range(from: [UInt8](try reader.readBytes16(max: Limits.keySizeMax)), to: nil)
        default: throw .unknown("form of a key range", UInt64(form))
        }
    }
}

extension RawSpan {
    /// The byte at `offset`, which must be inside.
    @inline(__always)
    func byte(at offset: Int) -> UInt8 {
        // The bound is checked by `unsafeLoad(fromByteOffset:)` itself; any bit pattern is a byte.
        unsafe unsafeLoad(fromByteOffset: offset, as: UInt8.self)
    }
}
