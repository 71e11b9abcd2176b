/// Why bytes from a socket or a file could not be read as what they claim to be. Foreign bytes always end in one of
/// these, never in a trap.
package enum DecodeError: Error, Equatable, Sendable {
    /// The value ends after the last byte that is there.
    case truncated
    /// A length or count is above its limit; the claimed value.
    case tooLarge(UInt64)
    /// A field has a value that it may not have.
    case invalid(String)
    /// The stored checksum is not that of the bytes.
    case checksumMismatch(stored: UInt32, computed: UInt32)
    /// A kind, type or version that this release does not know.
    case unknown(String, UInt64)
}

extension DecodeError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .truncated: "the value is cut off"
        case .tooLarge(let claimed): "a length of \(claimed) is above its limit"
        case .invalid(let what): "invalid \(what)"
        case .checksumMismatch(let stored, let computed):
            "checksum \(String(stored, radix: 16)) stored, \(String(computed, radix: 16)) computed"
        case .unknown(let what, let value): "unknown \(what) \(value)"
        }
    }
}
