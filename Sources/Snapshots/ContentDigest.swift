internal import Basics
internal import Crypto
package import StateEngine

/// A SHA-256 value (FIPS 180-4).
package struct ContentDigest: Hashable, Sendable, CustomStringConvertible {
    package static let size = 32

    /// `size` bytes.
    package let bytes: [UInt8]

    fileprivate init(_ digest: SHA256Digest) { bytes = Array(digest) }

    /// The digest of `bytes`.
    package init(of bytes: RawSpan) {
        var hasher = ContentHasher()
        hasher.update(bytes)
        self = hasher.finish()
    }

    init(decoding reader: inout ByteReader) throws(DecodeError) {
        bytes = [UInt8](try reader.readBytes(Self.size))
    }

    /// The digest of every row in `ranges`, as a snapshot's manifest has it: equal on two replicas exactly when their
    /// rows are. Reads all of them; for `verify`, scrubbing, and `status --deep`.
    package init(ofRowsIn ranges: [KeyRange], of reader: some EngineReader) throws(EngineError) {
        var hasher = ContentHasher()
        var pending: [UInt8] = []
        for range in ranges {
            try reader.scan(from: range.from, to: range.to, reversed: false) { key, value in
                RowFormat.append(key, value, to: &pending)
                if pending.count >= ChunkCut.sizeMin {
                    hasher.update(pending.rawSpan)
                    pending.removeAll(keepingCapacity: true)
                }
                return .next
            }
        }
        hasher.update(pending.rawSpan)
        self = hasher.finish()
    }

    /// 64 hexadecimal digits.
    package var description: String {
        bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }
}

/// The digest of `ContentDigest(ofRowsIn:of:)`, over rows that come one by one, in key order.
package struct RowDigester {
    private let ranges: [KeyRange]
    private var hasher = ContentHasher()
    private var pending: [UInt8] = []

    package init(ranges: [KeyRange]) { self.ranges = ranges }

    package mutating func add(_ key: RawSpan, _ value: RawSpan) {
        guard ranges.contains(where: { $0.contains(key) }) else { return }
        RowFormat.append(key, value, to: &pending)
        if pending.count >= ChunkCut.sizeMin { hashPending() }
    }

    package mutating func finish() -> ContentDigest {
        hashPending()
        return hasher.finish()
    }

    private mutating func hashPending() {
        var bytes: [UInt8] = []
        swap(&bytes, &pending)
        hasher.update(bytes.rawSpan)
        bytes.removeAll(keepingCapacity: true)
        swap(&bytes, &pending)
    }
}

/// SHA-256 over bytes that come in pieces.
struct ContentHasher {
    private var hasher = SHA256()

    mutating func update(_ bytes: RawSpan) {
        bytes.withUnsafeBytes { hasher.update(bufferPointer: $0) }
    }

    func finish() -> ContentDigest { ContentDigest(hasher.finalize()) }
}
