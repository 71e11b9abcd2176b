internal import Basics

/// Keys from `from` (inclusive) up to `to` (exclusive; nil: no end). Keys order as unsigned bytes, a prefix first.
package struct KeyRange: Hashable, Sendable {
    package var from: [UInt8]
    package var to: [UInt8]?

    package init(from: [UInt8], to: [UInt8]?) {
        self.from = from
        self.to = to
    }

    /// Every key that begins with `prefix`.
    package init(prefix: [UInt8]) {
        self.init(from: prefix, to: KeyRange.end(ofPrefix: prefix))
    }

    package static var everything: KeyRange { KeyRange(from: [], to: nil) }

    package func contains(_ key: RawSpan) -> Bool {
        guard key.order(comparedWith: from.rawSpan) >= 0 else { return false }
        guard let to else { return true }
        return key.order(comparedWith: to.rawSpan) < 0
    }

    /// The first key after all that begin with `prefix`; nil when there is none (a prefix of 0xFF only).
    package static func end(ofPrefix prefix: [UInt8]) -> [UInt8]? {
        var end = prefix
        while let last = end.popLast() {
            if last < 0xFF {
                end.append(last + 1)
                return end
            }
        }
        return nil
    }

    /// The first key after `key`.
    package static func successor(of key: [UInt8]) -> [UInt8] { key + [0] }
}

extension RawSpan {
    /// Negative when these bytes sort before `other`, 0 when both are the same, positive otherwise.
    package func order(comparedWith other: RawSpan) -> Int {
        let common = Swift.min(byteCount, other.byteCount)
        var offset = 0
        while offset + 8 <= common {
            // Offsets stay below `common`, which is at most the size of either side.
            let left = unsafe unsafeLoadUnaligned(fromUncheckedByteOffset: offset, as: UInt64.self)
            let right = unsafe other.unsafeLoadUnaligned(fromUncheckedByteOffset: offset, as: UInt64.self)
            if left != right { return left.bigEndian < right.bigEndian ? -1 : 1 }
            offset += 8
        }
        while offset < common {
            let left = unsafe unsafeLoad(fromUncheckedByteOffset: offset, as: UInt8.self)
            let right = unsafe other.unsafeLoad(fromUncheckedByteOffset: offset, as: UInt8.self)
            if left != right { return left < right ? -1 : 1 }
            offset += 1
        }
        return byteCount - other.byteCount
    }
}
